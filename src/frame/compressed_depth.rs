//! ROS `compressedDepth`: twelve bytes of header (an enum and the two quantisation
//! parameters, little-endian), then a 16-bit PNG or an RVL stream. The layout is that of
//! `compressed_depth_image_transport`, `ConfigHeader` in `compression_common.h` and
//! `codec.cpp`.

use super::{
    DepthMap,
    convert::{
        ConvertError, MM_PER_M, check_size, depth_map, positive_or_none, shortened, units_to_m,
    },
    encoded::{PNG_START, png_to_depth},
    rvl,
};

/// Bytes before the picture.
const HEADER_BYTES: usize = 12;

/// How the 16-bit values stand for metres.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Units {
    /// Millimetres.
    Millimetres,
    /// `depth = A / (q - B)`, for pictures that were `32FC1`.
    InverseDepth { a: f32, b: f32 },
}

impl Units {
    #[inline]
    fn to_m(self, q: u16) -> f32 {
        match self {
            Units::Millimetres => units_to_m(q, MM_PER_M),
            Units::InverseDepth { .. } if q == 0 => f32::NAN,
            Units::InverseDepth { a, b } => positive_or_none(a / (f32::from(q) - b)),
        }
    }
}

fn float_at(data: &[u8], at: usize) -> Option<f32> {
    Some(f32::from_le_bytes(*data.get(at..)?.first_chunk::<4>()?))
}

fn size_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*data.get(at..)?.first_chunk::<4>()?))
}

/// The quantisation of `encoding`, read from the message's header.
fn units_of(encoding: &str, header: &[u8]) -> Result<Units, ConvertError> {
    match encoding {
        "16UC1" | "mono16" => Ok(Units::Millimetres),
        "32FC1" => {
            // The caller has checked that the header is there.
            let a = float_at(header, 4).unwrap_or(f32::NAN);
            let b = float_at(header, 8).unwrap_or(f32::NAN);
            if a.is_finite() && a > 0.0 && b.is_finite() {
                Ok(Units::InverseDepth { a, b })
            } else {
                Err(ConvertError::Quantisation { a, b })
            }
        }
        other => Err(ConvertError::UnknownEncoding {
            encoding: shortened(other),
            known: super::convert::DEPTH_ENCODINGS,
        }),
    }
}

/// A compressed depth picture in metres, none = NaN.
///
/// `format` is the message's: `16UC1; compressedDepth png`, `16UC1; compressedDepth rvl`,
/// `32FC1; compressedDepth png`, `32FC1; compressedDepth rvl`, or the older
/// `16UC1; compressedDepth`. A 16-bit PNG without the header, as `compressed` topics of
/// depth pictures carry it, is read as millimetres.
///
/// # Errors
/// What is wrong with the format, the header or the picture, with the numbers.
///
/// ```
/// use spatial_ssrl::frame::{compressed_depth::depth_from_compressed, rvl};
/// let mut data = vec![0; 12];
/// data.extend(2_u32.to_le_bytes());
/// data.extend(1_u32.to_le_bytes());
/// data.extend(rvl::encode(&[1500, 0]));
/// let depth_m = depth_from_compressed("16UC1; compressedDepth rvl", &data)?;
/// assert_eq!(depth_m[[0, 0]], 1.5);
/// assert!(depth_m[[0, 1]].is_nan());
/// # Ok::<(), spatial_ssrl::frame::convert::ConvertError>(())
/// ```
pub fn depth_from_compressed(format: &str, data: &[u8]) -> Result<DepthMap, ConvertError> {
    let (encoding, how) = format.split_once(';').unwrap_or((format, ""));
    let encoding = encoding.trim();
    let refused =
        |why| ConvertError::CompressedDepth { format: shortened(format), got: data.len(), why };

    if data.starts_with(PNG_START) {
        if encoding == "32FC1" {
            return Err(refused("a PNG of 32FC1 needs the quantisation header before it"));
        }
        return png_to_depth(data, |mm| Units::Millimetres.to_m(mm));
    }
    let (header, picture) = data
        .split_at_checked(HEADER_BYTES)
        .ok_or_else(|| refused("12 bytes of header must come before the picture"))?;
    // Which code it is says the data where it can: old drivers leave it out of the format,
    // and no RVL picture is wide enough to start like a PNG.
    if picture.starts_with(PNG_START) {
        let units = units_of(encoding, header)?;
        return png_to_depth(picture, |q| units.to_m(q));
    }
    if how.split_whitespace().any(|word| word.eq_ignore_ascii_case("rvl")) {
        let units = units_of(encoding, header)?;
        return rvl_to_depth(picture, units)
            .ok_or_else(|| refused("RVL needs 8 bytes of width and height after the header"))?;
    }
    Err(refused("no PNG after the 12 bytes of header, and the format does not say rvl"))
}

/// `None` when the sizes are missing.
fn rvl_to_depth(picture: &[u8], units: Units) -> Option<Result<DepthMap, ConvertError>> {
    let (width, height) = (size_at(picture, 0)?, size_at(picture, 4)?);
    let stream = picture.get(8..)?;
    let decode = || {
        check_size(width, height)?;
        let pixels = width as usize * height as usize;
        let metres = rvl::decode_with(stream, pixels, f32::NAN, |q| units.to_m(q))?;
        depth_map(width, height, metres)
    };
    Some(decode())
}

/// Packs 16-bit depth in row order (millimetres, 0 = none) as a
/// `16UC1; compressedDepth rvl` message; `None` when `mm` is not `width * height` long.
///
/// ```
/// use spatial_ssrl::frame::compressed_depth::{depth_from_compressed, pack_rvl};
/// let data = pack_rvl(2, 1, &[1500, 0]).unwrap();
/// let depth_m = depth_from_compressed("16UC1; compressedDepth rvl", &data)?;
/// assert_eq!(depth_m[[0, 0]], 1.5);
/// # Ok::<(), spatial_ssrl::frame::convert::ConvertError>(())
/// ```
pub fn pack_rvl(width: u32, height: u32, mm: &[u16]) -> Option<Vec<u8>> {
    if mm.len() as u64 != u64::from(width) * u64::from(height) {
        return None;
    }
    let mut data = vec![0; HEADER_BYTES];
    data.extend(width.to_le_bytes());
    data.extend(height.to_le_bytes());
    data.extend(rvl::encode(mm));
    Some(data)
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
    use proptest::prelude::*;

    use super::*;

    fn png(width: u32, height: u32, values: &[u16]) -> Vec<u8> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
        let mut out = Vec::new();
        PngEncoder::new(&mut out)
            .write_image(&bytes, width, height, ExtendedColorType::L16)
            .unwrap();
        out
    }

    fn header(a: f32, b: f32) -> Vec<u8> {
        [0_u32.to_le_bytes(), a.to_le_bytes(), b.to_le_bytes()].concat()
    }

    fn rvl_picture(width: u32, height: u32, values: &[u16]) -> Vec<u8> {
        [&width.to_le_bytes()[..], &height.to_le_bytes(), &rvl::encode(values)].concat()
    }

    #[test]
    fn png_and_rvl_give_the_same_metres_under_every_name_that_drivers_write() {
        let mm = [0, 500, 1234, 65535, 65534, 1];
        let png = [header(0.0, 1.0), png(3, 2, &mm)].concat();
        let rvl = [header(0.0, 1.0), rvl_picture(3, 2, &mm)].concat();
        assert_eq!(pack_rvl(3, 2, &mm).unwrap().len(), rvl.len());
        assert_eq!(pack_rvl(3, 3, &mm), None);
        for (format, data) in [
            ("16UC1; compressedDepth png", &png),
            ("16UC1; compressedDepth", &png),
            ("16UC1;compressedDepth png", &png),
            ("mono16; compressedDepth png", &png),
            ("16UC1", &png),
            ("16UC1; compressedDepth rvl", &rvl),
            ("16UC1;compressedDepth rvl", &rvl),
            ("16UC1; compressedDepth RVL", &rvl),
        ] {
            let depth_m = depth_from_compressed(format, data).unwrap();
            assert_eq!(depth_m.dim(), (2, 3));
            for (z_m, mm) in depth_m.iter().zip(mm) {
                assert!(
                    if matches!(mm, 0 | 65535) {
                        z_m.is_nan()
                    } else {
                        *z_m == f32::from(mm) / 1e3
                    },
                    "{format}"
                );
            }
        }
    }

    #[test]
    fn a_bare_png_is_millimetres() {
        let data = png(1, 1, &[1500]);
        for format in ["16UC1; png compressed ", "png", "16UC1; compressedDepth png", ""] {
            assert_eq!(depth_from_compressed(format, &data).unwrap()[[0, 0]], 1.5);
        }
        let error = depth_from_compressed("32FC1; compressedDepth png", &data).unwrap_err();
        assert_eq!(error.name(), "bad_compressed_depth");
    }

    /// The publisher's own quantisation with its default parameters: 100 steps of inverse
    /// depth, at most 10 m.
    #[test]
    fn quantised_float_depth_comes_back_within_a_step() {
        let (depth_max, steps) = (10.0_f32, 100.0_f32);
        let a = steps * (steps + 1.0);
        let b = 1.0 - a / depth_max;
        let metres: Vec<f32> = (1..60).map(|i| 0.165 * i as f32).collect();
        let coded: Vec<u16> =
            [0].into_iter().chain(metres.iter().map(|z_m| (a / z_m + b) as u16)).collect();
        let width = coded.len() as u32;
        for data in [
            ("32FC1; compressedDepth png", png(width, 1, &coded)),
            ("32FC1; compressedDepth rvl", rvl_picture(width, 1, &coded)),
        ] {
            let message = [header(a, b), data.1].concat();
            let depth_m = depth_from_compressed(data.0, &message).unwrap();
            assert!(depth_m[[0, 0]].is_nan());
            for (decoded, z_m) in depth_m.iter().skip(1).zip(&metres) {
                // One step of q at this depth: |dz| = z^2 / A; q was truncated, so z grows.
                let step_m = decoded * decoded / a * 1.001 + 1e-5;
                assert!(*decoded >= z_m - 1e-5 && decoded - z_m <= step_m, "{z_m} gave {decoded}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mm = [500; 4];
        let picture = png(2, 2, &mm);
        let with = |a, b| [header(a, b), picture.clone()].concat();
        let huge = [header(0.0, 0.0), [u32::MAX.to_le_bytes(); 3].concat()].concat();
        let empty = [header(0.0, 0.0), vec![0; 12]].concat();
        for (format, data, name) in [
            ("16UC1; compressedDepth png", vec![], "bad_compressed_depth"),
            ("16UC1; compressedDepth png", vec![0; 11], "bad_compressed_depth"),
            ("16UC1; compressedDepth png", vec![0; 40], "bad_compressed_depth"),
            ("16UC1; compressedDepth rvl", vec![0; 19], "bad_compressed_depth"),
            ("16UC1; compressedDepth rvl", huge, "picture_too_large"),
            ("16UC1; compressedDepth rvl", empty, "empty_picture"),
            (
                "16UC1; compressedDepth rvl",
                [header(0., 0.), rvl_picture(9, 9, &mm)].concat(),
                "bad_rvl",
            ),
            ("32FC1; compressedDepth png", with(0.0, 1.0), "bad_depth_quantisation"),
            ("32FC1; compressedDepth png", with(f32::NAN, 1.0), "bad_depth_quantisation"),
            ("32FC1; compressedDepth png", with(1.0, f32::INFINITY), "bad_depth_quantisation"),
            ("bgr8; compressedDepth png", with(0.0, 1.0), "unknown_encoding"),
        ] {
            let error = depth_from_compressed(format, &data).unwrap_err();
            assert_eq!(error.name(), name, "{error}");
        }
    }

    proptest! {
        #[test]
        fn random_messages_never_panic(
            format in prop::sample::select(vec![
                "16UC1; compressedDepth png", "16UC1; compressedDepth rvl",
                "32FC1; compressedDepth rvl", "32FC1; compressedDepth png", ";", "",
            ]),
            a: f32,
            b: f32,
            png_start: bool,
            (width, height) in prop_oneof![(0_u32..50, 0_u32..50), (any::<u32>(), any::<u32>())],
            data in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let picture = if png_start {
                [PNG_START, &data].concat()
            } else {
                [&width.to_le_bytes()[..], &height.to_le_bytes(), &data].concat()
            };
            for message in [&data, &[&header(a, b)[..], &picture].concat()] {
                if let Ok(depth_m) = depth_from_compressed(format, message) {
                    prop_assert!(depth_m.iter().all(|z_m| z_m.is_nan() || *z_m > 0.0));
                }
            }
        }
    }
}
