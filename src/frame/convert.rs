//! Raw camera bytes, as `sensor_msgs/Image` carries them, to pictures. Every size is
//! checked against the data that is there before anything is allocated.

use image::RgbImage;
use ndarray::Array2;

use super::{DepthMap, MAX_PIXELS, MAX_SIDE_PX, rvl::RvlError};

pub use super::encoded::{color_from_encoded, depth_from_png, size_of_encoded};

/// The colour encodings that [`color_from_raw`] reads, as error messages list them.
pub const COLOR_ENCODINGS: &str = "rgb8, bgr8, rgba8, bgra8, mono8, mono16, 8UC1, 8UC3, 8UC4";

/// The depth encodings that [`depth_from_raw`] reads, as error messages list them.
pub const DEPTH_ENCODINGS: &str = "16UC1, mono16, 32FC1";

/// Units per metre of 16-bit depth in ROS.
pub(super) const MM_PER_M: f32 = 1e3;

/// A raw picture whose bytes are borrowed from the message it came in.
#[derive(Clone, Copy, Debug)]
pub struct RawImage<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// ROS name of the pixel format, `rgb8`.
    pub encoding: &'a str,
    /// Whether 16- and 32-bit values have their high byte first.
    pub is_bigendian: bool,
    /// Bytes from the start of one row to the start of the next; may exceed the row.
    pub step: u32,
    /// `step * height` bytes, perhaps more.
    pub data: &'a [u8],
}

/// Why bytes did not become a picture.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConvertError {
    /// No conversion for this encoding.
    #[error("encoding {encoding:?} is not one of {known}")]
    UnknownEncoding {
        /// The encoding, shortened when it is long.
        encoding: String,
        /// Those that are read here.
        known: &'static str,
    },
    /// A side is zero.
    #[error("the picture is empty: {width}x{height}")]
    Empty {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Larger than anything a camera of a robot gives.
    #[error(
        "the picture is too large: {width}x{height}, the limit is {MAX_SIDE_PX} a side and \
         {MAX_PIXELS} pixels"
    )]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Rows overlap.
    #[error("step {step} is less than width {width} * {bytes_per_pixel} bytes")]
    Step {
        /// Bytes a row as given.
        step: u32,
        /// Width in pixels.
        width: u32,
        /// What the encoding needs for a pixel.
        bytes_per_pixel: u32,
    },
    /// The data ends before the picture does.
    #[error("{got} bytes of data, but step {step} * height {height} is {need}")]
    TooShort {
        /// Bytes there.
        got: usize,
        /// Bytes a row.
        step: u32,
        /// Rows.
        height: u32,
        /// Bytes that must be there.
        need: u64,
    },
    /// Neither JPEG nor PNG.
    #[error("{got} bytes that start with {start:02x?} are neither JPEG nor PNG")]
    UnknownFormat {
        /// How many bytes there are.
        got: usize,
        /// The first of them.
        start: Vec<u8>,
    },
    /// A JPEG whose end marker is missing.
    #[error("the JPEG of {got} bytes is cut off: it has no end marker")]
    CutOffJpeg {
        /// Bytes there.
        got: usize,
    },
    /// The JPEG decoder refused it.
    #[error("damaged JPEG of {got} bytes: {why}")]
    Jpeg {
        /// Bytes there.
        got: usize,
        /// What the decoder said.
        why: String,
    },
    /// The PNG decoder refused it.
    #[error("damaged PNG of {got} bytes: {why}")]
    Png {
        /// Bytes there.
        got: usize,
        /// What the decoder said.
        why: String,
    },
    /// A PNG that holds no depth.
    #[error("depth needs a 16-bit grey PNG, this one is {color_type}")]
    NotDepth {
        /// The PNG's colour type.
        color_type: String,
    },
    /// Units per metre that cannot be.
    #[error("a depth scale of {units_per_m} units per metre is not positive")]
    Scale {
        /// As given.
        units_per_m: f64,
    },
    /// A `compressedDepth` message without its header or its picture.
    #[error("compressedDepth format {format:?} with {got} bytes: {why}")]
    CompressedDepth {
        /// The format as given, shortened when it is long.
        format: String,
        /// Bytes there.
        got: usize,
        /// What is wrong and what would be right.
        why: &'static str,
    },
    /// Quantisation parameters that give no depth.
    #[error("compressedDepth quantisation A={a}, B={b}: A must be positive, both finite")]
    Quantisation {
        /// A of `depth = A / (q - B)`.
        a: f32,
        /// B.
        b: f32,
    },
    /// The RVL stream is damaged.
    #[error(transparent)]
    Rvl(#[from] RvlError),
}

impl ConvertError {
    /// The stable name under which it is counted.
    ///
    /// ```
    /// use spatial_ssrl::frame::convert::ConvertError;
    /// assert_eq!(ConvertError::Empty { width: 0, height: 480 }.name(), "empty_picture");
    /// ```
    pub fn name(&self) -> &'static str {
        match self {
            ConvertError::UnknownEncoding { .. } => "unknown_encoding",
            ConvertError::Empty { .. } => "empty_picture",
            ConvertError::TooLarge { .. } => "picture_too_large",
            ConvertError::Step { .. } => "bad_step",
            ConvertError::TooShort { .. } => "picture_too_short",
            ConvertError::UnknownFormat { .. } => "neither_jpeg_nor_png",
            ConvertError::CutOffJpeg { .. } => "cut_off_jpeg",
            ConvertError::Jpeg { .. } => "bad_jpeg",
            ConvertError::Png { .. } => "bad_png",
            ConvertError::NotDepth { .. } => "png_without_depth",
            ConvertError::Scale { .. } => "bad_depth_scale",
            ConvertError::CompressedDepth { .. } => "bad_compressed_depth",
            ConvertError::Quantisation { .. } => "bad_depth_quantisation",
            ConvertError::Rvl(_) => "bad_rvl",
        }
    }
}

/// Foreign text for an error message: as it is, but never long.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Refuses sizes that no camera gives, before anything is allocated for them.
///
/// # Errors
/// [`ConvertError::Empty`], [`ConvertError::TooLarge`].
pub fn check_size(width: u32, height: u32) -> Result<(), ConvertError> {
    if width == 0 || height == 0 {
        return Err(ConvertError::Empty { width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if width > MAX_SIDE_PX || height > MAX_SIDE_PX || pixels > MAX_PIXELS {
        return Err(ConvertError::TooLarge { width, height });
    }
    Ok(())
}

impl<'a> RawImage<'a> {
    /// The rows without their padding, `width * bytes_per_pixel` bytes each, once all of
    /// them are known to be there.
    fn rows(&self, bytes_per_pixel: u32) -> Result<impl Iterator<Item = &'a [u8]>, ConvertError> {
        check_size(self.width, self.height)?;
        // Both products fit: the sides are at most 8192 and a step at most 2^32.
        let row = self.width * bytes_per_pixel;
        if self.step < row {
            return Err(ConvertError::Step { step: self.step, width: self.width, bytes_per_pixel });
        }
        let need = u64::from(self.step) * u64::from(self.height);
        if (self.data.len() as u64) < need {
            return Err(ConvertError::TooShort {
                got: self.data.len(),
                step: self.step,
                height: self.height,
                need,
            });
        }
        let rows = self.data.chunks_exact(self.step as usize).take(self.height as usize);
        Ok(rows.map(move |bytes| &bytes[..row as usize]))
    }

    /// The bytes of all rows without their padding.
    fn packed(&self, bytes_per_pixel: u32) -> Result<Vec<u8>, ConvertError> {
        let rows = self.rows(bytes_per_pixel)?;
        let bytes = self.width as usize * self.height as usize * bytes_per_pixel as usize;
        let mut out = Vec::with_capacity(bytes);
        rows.for_each(|row| out.extend_from_slice(row));
        Ok(out)
    }

    /// The one value of every pixel through `convert`, in row order.
    fn values<const BYTES: usize>(
        &self,
        convert: impl Fn([u8; BYTES]) -> f32,
    ) -> Result<Vec<f32>, ConvertError> {
        let rows = self.rows(BYTES as u32)?;
        let mut out = Vec::with_capacity(self.width as usize * self.height as usize);
        rows.for_each(|row| out.extend(row.as_chunks::<BYTES>().0.iter().map(|b| convert(*b))));
        Ok(out)
    }

    /// Every pixel of several bytes through `convert`, in row order.
    fn pixels<const BYTES: usize>(
        &self,
        convert: impl Fn([u8; BYTES]) -> [u8; 3],
    ) -> Result<Vec<u8>, ConvertError> {
        let rows = self.rows(BYTES as u32)?;
        let row_out = self.width as usize * 3;
        let mut out = vec![0; row_out * self.height as usize];
        for (row_out, row) in out.chunks_exact_mut(row_out).zip(rows) {
            let (pixels_out, _) = row_out.as_chunks_mut::<3>();
            let (pixels, _) = row.as_chunks::<BYTES>();
            for (to, from) in pixels_out.iter_mut().zip(pixels) {
                *to = convert(*from);
            }
        }
        Ok(out)
    }
}

/// A raw colour picture as 8-bit RGB. `8UC3` and `8UC4` have OpenCV's order (blue first);
/// alpha is dropped; of `mono16` the high byte is kept.
///
/// # Errors
/// What is wrong with the encoding, the size, the step or the data, with the numbers.
///
/// ```
/// use spatial_ssrl::frame::convert::{RawImage, color_from_raw};
/// // One row of two pixels, padded to eight bytes.
/// let raw = RawImage {
///     width: 2,
///     height: 1,
///     encoding: "bgr8",
///     is_bigendian: false,
///     step: 8,
///     data: &[1, 2, 3, 4, 5, 6, 0, 0],
/// };
/// assert_eq!(color_from_raw(&raw)?.into_raw(), [3, 2, 1, 6, 5, 4]);
/// # Ok::<(), spatial_ssrl::frame::convert::ConvertError>(())
/// ```
pub fn color_from_raw(raw: &RawImage<'_>) -> Result<RgbImage, ConvertError> {
    let rgb = match raw.encoding {
        "rgb8" => raw.packed(3)?,
        "bgr8" | "8UC3" => raw.pixels(|[b, g, r]| [r, g, b])?,
        "rgba8" => raw.pixels(|[r, g, b, _]| [r, g, b])?,
        "bgra8" | "8UC4" => raw.pixels(|[b, g, r, _]| [r, g, b])?,
        "mono8" | "8UC1" => raw.pixels(|[y]| [y, y, y])?,
        "mono16" if raw.is_bigendian => raw.pixels(|[high, _]| [high, high, high])?,
        "mono16" => raw.pixels(|[_, high]| [high, high, high])?,
        other => {
            return Err(ConvertError::UnknownEncoding {
                encoding: shortened(other),
                known: COLOR_ENCODINGS,
            });
        }
    };
    // `None` cannot happen: the pixels were counted above.
    RgbImage::from_raw(raw.width, raw.height, rgb)
        .ok_or(ConvertError::Empty { width: raw.width, height: raw.height })
}

/// A raw depth picture in metres: `16UC1` and `mono16` are millimetres with 0 for none,
/// `32FC1` is metres with anything that is not a positive finite number for none.
///
/// # Errors
/// What is wrong with the encoding, the size, the step or the data, with the numbers.
///
/// ```
/// use spatial_ssrl::frame::convert::{RawImage, depth_from_raw};
/// let raw = RawImage {
///     width: 2,
///     height: 1,
///     encoding: "16UC1",
///     is_bigendian: false,
///     step: 4,
///     data: &[0xd2, 0x04, 0, 0],
/// };
/// let depth_m = depth_from_raw(&raw)?;
/// assert_eq!(depth_m[[0, 0]], 1.234);
/// assert!(depth_m[[0, 1]].is_nan());
/// # Ok::<(), spatial_ssrl::frame::convert::ConvertError>(())
/// ```
pub fn depth_from_raw(raw: &RawImage<'_>) -> Result<DepthMap, ConvertError> {
    let metres = match (raw.encoding, raw.is_bigendian) {
        ("16UC1" | "mono16", false) => {
            raw.values(|b| units_to_m(u16::from_le_bytes(b), MM_PER_M))?
        }
        ("16UC1" | "mono16", true) => {
            raw.values(|b| units_to_m(u16::from_be_bytes(b), MM_PER_M))?
        }
        ("32FC1", false) => raw.values(|b| positive_or_none(f32::from_le_bytes(b)))?,
        ("32FC1", true) => raw.values(|b| positive_or_none(f32::from_be_bytes(b)))?,
        (other, _) => {
            return Err(ConvertError::UnknownEncoding {
                encoding: shortened(other),
                known: DEPTH_ENCODINGS,
            });
        }
    };
    depth_map(raw.width, raw.height, metres)
}

/// Sensor units to metres. A division, because `1234 * 0.001` is not `1.234`. NaN for 0, and for
/// the largest number: where it stands the sensor had nothing better to say (7-Scenes marks missing
/// depth so, and what is saturated lies anywhere beyond).
#[inline]
pub(super) fn units_to_m(units: u16, units_per_m: f32) -> f32 {
    if matches!(units, 0 | u16::MAX) { f32::NAN } else { f32::from(units) / units_per_m }
}

/// Metres as they are, NaN for what is no distance.
#[inline]
pub(super) fn positive_or_none(z_m: f32) -> f32 {
    if z_m > 0.0 && z_m < f32::INFINITY { z_m } else { f32::NAN }
}

/// `width * height` metres in row order as a map.
pub(super) fn depth_map(
    width: u32,
    height: u32,
    metres: Vec<f32>,
) -> Result<DepthMap, ConvertError> {
    // An error cannot happen: whoever calls this has made one value a pixel.
    Array2::from_shape_vec((height as usize, width as usize), metres)
        .map_err(|_| ConvertError::Empty { width, height })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw<'a>(
        encoding: &'a str,
        width: u32,
        height: u32,
        step: u32,
        data: &'a [u8],
    ) -> RawImage<'a> {
        RawImage { width, height, encoding, is_bigendian: false, step, data }
    }

    #[test]
    fn every_colour_encoding_gives_the_same_colour() {
        // The pixel (10, 20, 30) twice, rows padded by one byte with 99.
        for (encoding, row) in [
            ("rgb8", &[10, 20, 30, 10, 20, 30, 99][..]),
            ("bgr8", &[30, 20, 10, 30, 20, 10, 99]),
            ("8UC3", &[30, 20, 10, 30, 20, 10, 99]),
            ("rgba8", &[10, 20, 30, 7, 10, 20, 30, 7, 99]),
            ("bgra8", &[30, 20, 10, 7, 30, 20, 10, 7, 99]),
            ("8UC4", &[30, 20, 10, 7, 30, 20, 10, 7, 99]),
        ] {
            let data = row.repeat(3);
            let image = color_from_raw(&raw(encoding, 2, 3, row.len() as u32, &data)).unwrap();
            assert_eq!(image.dimensions(), (2, 3), "{encoding}");
            assert!(image.pixels().all(|pixel| pixel.0 == [10, 20, 30]), "{encoding}");
        }
    }

    #[test]
    fn grey_is_grey_whatever_its_width_and_byte_order() {
        for (encoding, is_bigendian, data) in [
            ("mono8", false, &[7, 200][..]),
            ("8UC1", false, &[7, 200]),
            ("mono16", false, &[255, 7, 255, 200]),
            ("mono16", true, &[7, 255, 200, 255]),
        ] {
            let raw = RawImage { is_bigendian, ..raw(encoding, 2, 1, data.len() as u32, data) };
            let grey = color_from_raw(&raw).unwrap().into_raw();
            assert_eq!(grey, [7, 7, 7, 200, 200, 200], "{encoding} {is_bigendian}");
        }
    }

    #[test]
    fn depth_is_metres_whatever_its_encoding_and_byte_order() {
        for is_bigendian in [false, true] {
            let mm = |v: u16| if is_bigendian { v.to_be_bytes() } else { v.to_le_bytes() };
            let m = |v: f32| if is_bigendian { v.to_be_bytes() } else { v.to_le_bytes() };
            // Two rows of three, padded by one byte.
            let millimetres = [0_u16, 1234, 65534, 1, 65535, 500];
            let mut data = Vec::new();
            for row in millimetres.chunks(3) {
                data.extend(row.iter().flat_map(|v| mm(*v)).chain([0xee]));
            }
            for encoding in ["16UC1", "mono16"] {
                let raw = RawImage { is_bigendian, ..raw(encoding, 3, 2, 7, &data) };
                let depth_m = depth_from_raw(&raw).unwrap();
                assert_eq!(depth_m.dim(), (2, 3));
                for (z_m, mm) in depth_m.iter().zip(millimetres) {
                    let none = mm == 0 || mm == 65535;
                    assert!(if none { z_m.is_nan() } else { *z_m == f32::from(mm) / 1000.0 });
                }
            }
            let metres = [1.5, f32::NAN, f32::INFINITY, -1.0, 0.0, f32::NEG_INFINITY];
            let data: Vec<u8> = metres.iter().flat_map(|v| m(*v)).collect();
            let raw = RawImage { is_bigendian, ..raw("32FC1", 6, 1, 24, &data) };
            let depth_m = depth_from_raw(&raw).unwrap();
            assert_eq!(depth_m[[0, 0]], 1.5);
            assert!(depth_m.iter().skip(1).all(|z_m| z_m.is_nan()), "{depth_m}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_numbers() {
        let data = [0; 64];
        for (bad, name, says) in [
            (raw("rgb8", 640, 1, 100, &data), "bad_step", "step 100 is less than width 640 * 3"),
            (
                raw("rgb8", 2, 11, 6, &data),
                "picture_too_short",
                "64 bytes of data, but step 6 * height 11 is 66",
            ),
            (raw("rgb8", 0, 5, 0, &data), "empty_picture", "0x5"),
            (raw("rgb8", 5, 0, 15, &data), "empty_picture", "5x0"),
            (raw("rgb8", 9000, 1, 27000, &data), "picture_too_large", "9000x1"),
            (raw("rgb8", 8000, 8000, 24000, &data), "picture_too_large", "16777216 pixels"),
            (raw("rgb8", u32::MAX, u32::MAX, u32::MAX, &data), "picture_too_large", "4294967295"),
            (raw("rgb8", 1, 8000, u32::MAX, &data), "picture_too_short", "34359738360000"),
            (
                raw("yuv422", 2, 2, 4, &data),
                "unknown_encoding",
                "\"yuv422\" is not one of rgb8, bgr8",
            ),
            (raw("16UC1", 2, 2, 4, &data), "unknown_encoding", "mono16"),
        ] {
            let error = color_from_raw(&bad).unwrap_err();
            assert_eq!(error.name(), name);
            assert!(error.to_string().contains(says), "{error}");
        }
        let long = "x".repeat(1 << 20);
        let error = depth_from_raw(&raw(&long, 2, 2, 4, &data)).unwrap_err();
        assert!(error.to_string().len() < 200 && error.to_string().contains("32FC1"), "{error}");
    }

    proptest! {
        #[test]
        fn any_raw_picture_converts_whole_or_is_refused(
            (width, height, step) in prop_oneof![
                (0_u32..20, 0_u32..20, 0_u32..90),
                (any::<u32>(), any::<u32>(), any::<u32>()),
            ],
            encoding in prop::sample::select(vec![
                "rgb8", "bgr8", "rgba8", "bgra8", "mono8", "mono16", "8UC1", "8UC3", "8UC4",
                "16UC1", "32FC1", "yuyv", "",
            ]),
            is_bigendian: bool,
            data in prop::collection::vec(any::<u8>(), 0..1800),
        ) {
            let raw = RawImage { width, height, encoding, is_bigendian, step, data: &data };
            if let Ok(image) = color_from_raw(&raw) {
                prop_assert_eq!(image.dimensions(), (width, height));
                prop_assert!(data.len() as u64 >= u64::from(step) * u64::from(height));
            }
            if let Ok(depth_m) = depth_from_raw(&raw) {
                prop_assert_eq!(depth_m.dim(), (height as usize, width as usize));
                prop_assert!(depth_m.iter().all(|z_m| z_m.is_nan() || *z_m > 0.0));
            }
        }
    }
}
