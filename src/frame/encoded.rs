//! JPEG and PNG bytes to pictures. The size is read from the header and checked before a
//! decoder may allocate for it.

use std::io::Cursor;

use image::{
    ColorType, DynamicImage, ImageDecoder, ImageResult, Limits, RgbImage,
    codecs::{jpeg::JpegDecoder, png::PngDecoder},
};

use super::{
    DepthMap, MAX_SIDE_PX,
    convert::{ConvertError, check_size, depth_map, units_to_m},
};

const JPEG_START: &[u8] = &[0xff, 0xd8, 0xff];
const JPEG_SCAN: &[u8] = &[0xff, 0xda];
const JPEG_END: &[u8] = &[0xff, 0xd9];
/// The first eight bytes of every PNG.
pub(super) const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Memory that a decoder may take beside eight bytes a pixel.
const SLACK_BYTES: u64 = 8 << 20;

fn jpeg_error(data: &[u8]) -> impl Fn(image::ImageError) -> ConvertError {
    let got = data.len();
    move |error| ConvertError::Jpeg { got, why: error.to_string() }
}

fn png_error(data: &[u8]) -> impl Fn(image::ImageError) -> ConvertError {
    let got = data.len();
    move |error| ConvertError::Png { got, why: error.to_string() }
}

fn unknown_format(data: &[u8]) -> ConvertError {
    ConvertError::UnknownFormat { got: data.len(), start: data.iter().copied().take(8).collect() }
}

/// Whether a JPEG has its end. The decoder fills what is missing with grey and says
/// nothing, so it is looked for here: neither marker can occur inside coded pixels, and
/// the last scan starts after any thumbnail's end.
fn jpeg_is_whole(data: &[u8]) -> bool {
    let last = |marker: &[u8]| data.windows(2).rposition(|pair| pair == marker);
    last(JPEG_END) > last(JPEG_SCAN)
}

fn png_size(data: &[u8]) -> Option<(u32, u32)> {
    // The header chunk must come first: 8 bytes of length and name, then the sides.
    let side = |at: usize| Some(u32::from_be_bytes(*data.get(at..)?.first_chunk::<4>()?));
    data.starts_with(PNG_START).then_some(())?;
    Some((side(16)?, side(20)?))
}

fn open_png(data: &[u8]) -> Result<PngDecoder<Cursor<&[u8]>>, ConvertError> {
    let (width, height) = png_size(data).ok_or_else(|| unknown_format(data))?;
    check_size(width, height)?;
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(MAX_SIDE_PX);
    limits.max_image_height = Some(MAX_SIDE_PX);
    limits.max_alloc = Some(u64::from(width) * u64::from(height) * 8 + SLACK_BYTES);
    PngDecoder::with_limits(Cursor::new(data), limits).map_err(png_error(data))
}

fn open_jpeg(data: &[u8]) -> Result<JpegDecoder<Cursor<&[u8]>>, ConvertError> {
    let decoder = JpegDecoder::new(Cursor::new(data)).map_err(jpeg_error(data))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    Ok(decoder)
}

fn decode_rgb(decoder: impl ImageDecoder) -> ImageResult<RgbImage> {
    Ok(DynamicImage::from_decoder(decoder)?.into_rgb8())
}

/// Width and height of a JPEG or PNG in pixels, from its header alone.
///
/// # Errors
/// When it is neither, when its header is damaged, or when it is too large.
pub fn size_of_encoded(data: &[u8]) -> Result<(u32, u32), ConvertError> {
    if data.starts_with(JPEG_START) {
        return Ok(open_jpeg(data)?.dimensions());
    }
    let (width, height) = png_size(data).ok_or_else(|| unknown_format(data))?;
    check_size(width, height)?;
    Ok((width, height))
}

/// A JPEG or PNG colour picture, as `CompressedImage` carries it, as 8-bit RGB. Which of
/// the two it is says the data, because drivers write many things into `format`.
///
/// # Errors
/// When it is neither, damaged, cut off or too large.
pub fn color_from_encoded(data: &[u8]) -> Result<RgbImage, ConvertError> {
    if !data.starts_with(JPEG_START) {
        return decode_rgb(open_png(data)?).map_err(png_error(data));
    }
    let decoder = open_jpeg(data)?;
    if !jpeg_is_whole(data) {
        return Err(ConvertError::CutOffJpeg { got: data.len() });
    }
    decode_rgb(decoder).map_err(jpeg_error(data))
}

/// The 16-bit values of a grey PNG through `to_m`: width, height, metres in row order.
pub(super) fn png_to_depth(
    data: &[u8],
    to_m: impl Fn(u16) -> f32,
) -> Result<DepthMap, ConvertError> {
    let decoder = open_png(data)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    if decoder.color_type() != ColorType::L16 {
        let color_type = format!("{:?}", decoder.original_color_type());
        return Err(ConvertError::NotDepth { color_type });
    }
    let mut bytes = vec![0; width as usize * height as usize * 2];
    decoder.read_image(&mut bytes).map_err(png_error(data))?;
    let (values, _) = bytes.as_chunks::<2>();
    let metres = values.iter().map(|value| to_m(u16::from_ne_bytes(*value))).collect();
    depth_map(width, height, metres)
}

/// A depth picture stored as a 16-bit grey PNG with `units_per_m` units per metre (1000:
/// millimetres; 5000: TUM), 0 and 65535 for none.
///
/// # Errors
/// When it is no PNG, damaged, too large or not 16-bit grey, or when the scale is not a
/// positive number.
pub fn depth_from_png(data: &[u8], units_per_m: f64) -> Result<DepthMap, ConvertError> {
    let scale = units_per_m as f32;
    if !(scale.is_normal() && scale > 0.0) {
        return Err(ConvertError::Scale { units_per_m });
    }
    png_to_depth(data, |units| units_to_m(units, scale))
}

#[cfg(test)]
mod tests {
    use image::{
        ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder,
    };
    use proptest::prelude::*;

    use super::*;

    fn png(width: u32, height: u32, color: ExtendedColorType, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PngEncoder::new(&mut out).write_image(data, width, height, color).unwrap();
        out
    }

    /// The PNG of 16-bit values.
    fn png16(width: u32, height: u32, values: &[u16]) -> Vec<u8> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
        png(width, height, ExtendedColorType::L16, &bytes)
    }

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let rgb: Vec<u8> = (0..width * height * 3).map(|i| (i * 7 % 251) as u8).collect();
        let mut out = Vec::new();
        JpegEncoder::new(&mut out)
            .write_image(&rgb, width, height, ExtendedColorType::Rgb8)
            .unwrap();
        out
    }

    /// The same PNG claiming another size, with the header's checksum made right.
    fn claiming(mut png: Vec<u8>, width: u32, height: u32) -> Vec<u8> {
        png[16..20].copy_from_slice(&width.to_be_bytes());
        png[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = png[12..29].iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
            })
        });
        png[29..33].copy_from_slice(&(!crc).to_be_bytes());
        png
    }

    #[test]
    fn colour_pngs_decode_to_rgb_whatever_their_kind() {
        for (color, data) in [
            (ExtendedColorType::Rgb8, &[1, 2, 3, 1, 2, 3][..]),
            (ExtendedColorType::Rgba8, &[1, 2, 3, 9, 1, 2, 3, 9]),
        ] {
            let image = color_from_encoded(&png(2, 1, color, data)).unwrap();
            assert_eq!(image.into_raw(), [1, 2, 3, 1, 2, 3]);
        }
        let grey = color_from_encoded(&png(2, 1, ExtendedColorType::L8, &[5, 6])).unwrap();
        assert_eq!(grey.into_raw(), [5, 5, 5, 6, 6, 6]);
        let deep = color_from_encoded(&png16(2, 1, &[0, 65535])).unwrap();
        assert_eq!(deep.into_raw(), [0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn depth_pngs_have_the_scale_that_is_given() {
        let png = png16(3, 1, &[0, 5000, 65534]);
        let depth_m = depth_from_png(&png, 5000.0).unwrap();
        assert!(depth_m[[0, 0]].is_nan());
        assert_eq!((depth_m[[0, 1]], depth_m[[0, 2]]), (1.0, 13.1068));
        assert_eq!(depth_from_png(&png, 1000.0).unwrap()[[0, 1]], 5.0);
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 1e300] {
            assert_eq!(depth_from_png(&png, scale).unwrap_err().name(), "bad_depth_scale");
        }
    }

    #[test]
    fn a_picture_that_is_not_depth_is_refused_as_depth() {
        let error = depth_from_png(&png(1, 1, ExtendedColorType::L8, &[9]), 1e3).unwrap_err();
        assert_eq!(error.name(), "png_without_depth");
        assert!(error.to_string().contains("16-bit grey"), "{error}");
        assert_eq!(depth_from_png(&jpeg(4, 4), 1e3).unwrap_err().name(), "neither_jpeg_nor_png");
    }

    #[test]
    fn a_header_that_claims_too_much_is_refused_before_decoding() {
        for (width, height) in [(60_000, 60_000), (u32::MAX, 1), (8192, 8192)] {
            let bomb = claiming(png16(2, 2, &[1; 4]), width, height);
            assert_eq!(color_from_encoded(&bomb).unwrap_err().name(), "picture_too_large");
            assert_eq!(depth_from_png(&bomb, 1e3).unwrap_err().name(), "picture_too_large");
            assert_eq!(size_of_encoded(&bomb).unwrap_err().name(), "picture_too_large");
        }
        let none = claiming(png16(2, 2, &[1; 4]), 0, 2);
        assert_eq!(depth_from_png(&none, 1e3).unwrap_err().name(), "empty_picture");
        // The frame header of a JPEG: marker, length, bits, height, width.
        let mut bomb = jpeg(16, 16);
        let at = bomb.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        bomb[at + 5..at + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
        assert_eq!(color_from_encoded(&bomb).unwrap_err().name(), "picture_too_large");
    }

    #[test]
    fn a_picture_that_is_cut_off_is_refused_wherever_it_is_cut() {
        let whole = jpeg(40, 30);
        assert_eq!(size_of_encoded(&whole), Ok((40, 30)));
        assert_eq!(color_from_encoded(&whole).unwrap().dimensions(), (40, 30));
        // Some cameras pad their pictures.
        assert!(color_from_encoded(&[&whole[..], &[0; 9]].concat()).is_ok());
        for end in (0..whole.len()).step_by(7) {
            assert!(color_from_encoded(&whole[..end]).is_err(), "JPEG cut at {end}");
        }
        let values: Vec<u16> = (0..1200).map(|i| i * 37 % 3001).collect();
        let whole = png16(40, 30, &values);
        let picture_end = whole.len() - 12;
        for end in (0..picture_end).step_by(7) {
            assert!(depth_from_png(&whole[..end], 1e3).is_err(), "PNG cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(
            start in prop::sample::select(vec![&[][..], JPEG_START, PNG_START]),
            data in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let data = [start, &data[..]].concat();
            let _ = (color_from_encoded(&data), depth_from_png(&data, 1e3), size_of_encoded(&data));
        }

        #[test]
        fn damaged_pictures_never_panic(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            width in 1_u32..40,
            height in 1_u32..40,
        ) {
            for mut data in [jpeg(width, height), png16(width, height, &vec![700; (width * height) as usize])] {
                for (at, byte) in &damage {
                    let at = at.index(data.len());
                    data[at] = *byte;
                }
                if let (Ok(image), Ok(size)) = (color_from_encoded(&data), size_of_encoded(&data)) {
                    prop_assert_eq!(image.dimensions(), size);
                }
                let _ = depth_from_png(&data, 1e3);
            }
        }
    }
}
