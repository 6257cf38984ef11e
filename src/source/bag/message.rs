//! The three `sensor_msgs` types that frames are made of, read out of CDR without copying
//! a picture's bytes. Both byte orders of the encapsulation header; every length is checked
//! against the bytes that are there.

use byteorder::{BigEndian, LittleEndian};
use serde::Deserialize;

use crate::frame::convert::RawImage;

/// Why a message's bytes are not the message that its topic promises.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// Shorter than the encapsulation header.
    #[error("a CDR message has at least 4 bytes, this one has {got}")]
    TooShort {
        /// Bytes there.
        got: usize,
    },
    /// Not plain CDR.
    #[error("encapsulation {kind:#06x} is not plain CDR (0x0000 big endian, 0x0001 little)")]
    Encapsulation {
        /// The identifier as found.
        kind: u16,
    },
    /// The fields do not fit the bytes.
    #[error("the message of {got} bytes does not hold a {what}: {why}")]
    Fields {
        /// The ROS type that was expected.
        what: &'static str,
        /// Bytes there.
        got: usize,
        /// What the decoder said.
        why: String,
    },
}

/// `sensor_msgs/msg/Image`, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct ImageMsg<'a> {
    /// Header stamp in nanoseconds.
    pub stamp_ns: i64,
    /// The optical frame.
    pub frame_id: &'a str,
    /// Size, encoding and pixels.
    pub raw: RawImage<'a>,
}

/// `sensor_msgs/msg/CompressedImage`, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct CompressedMsg<'a> {
    /// Header stamp in nanoseconds.
    pub stamp_ns: i64,
    /// The optical frame.
    pub frame_id: &'a str,
    /// What the publisher says about the data, `bgr8; jpeg compressed bgr8`.
    pub format: &'a str,
    /// The compressed picture.
    pub data: &'a [u8],
}

/// `sensor_msgs/msg/CameraInfo`.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraInfoMsg {
    /// Header stamp in nanoseconds.
    pub stamp_ns: i64,
    /// The optical frame.
    pub frame_id: String,
    /// Width of the full picture in pixels.
    pub width: u32,
    /// Height of the full picture in pixels.
    pub height: u32,
    /// `plumb_bob`, `rational_polynomial`, `equidistant`, ….
    pub distortion_model: String,
    /// Distortion coefficients.
    pub d: Vec<f64>,
    /// Camera matrix, row by row.
    pub k: [f64; 9],
    /// Columns and rows of the sensor that make one pixel; 0 means 1.
    pub binning: (u32, u32),
    /// Region of interest `x, y, width, height` in full-resolution pixels; all 0: everything.
    pub roi: [u32; 4],
}

#[derive(Deserialize)]
struct CdrTime {
    sec: i32,
    nanosec: u32,
}

impl CdrTime {
    fn ns(&self) -> i64 {
        i64::from(self.sec) * 1_000_000_000 + i64::from(self.nanosec)
    }
}

#[derive(Deserialize)]
struct CdrHeader<'a> {
    stamp: CdrTime,
    frame_id: &'a [u8],
}

#[derive(Deserialize)]
struct CdrImage<'a> {
    #[serde(borrow)]
    header: CdrHeader<'a>,
    height: u32,
    width: u32,
    encoding: &'a [u8],
    is_bigendian: u8,
    step: u32,
    data: &'a [u8],
}

#[derive(Deserialize)]
struct CdrCompressed<'a> {
    #[serde(borrow)]
    header: CdrHeader<'a>,
    format: &'a [u8],
    data: &'a [u8],
}

// Fields must stand in wire order, so the ones that nobody reads are here too.
#[derive(Deserialize)]
#[allow(dead_code)]
struct CdrInfo<'a> {
    #[serde(borrow)]
    header: CdrHeader<'a>,
    height: u32,
    width: u32,
    distortion_model: &'a [u8],
    d: Vec<f64>,
    k: [f64; 9],
    r: [f64; 9],
    p: [f64; 12],
    binning_x: u32,
    binning_y: u32,
    roi_x: u32,
    roi_y: u32,
    roi_height: u32,
    roi_width: u32,
    roi_do_rectify: u8,
}

/// A CDR string arrives with its closing NUL; what is not UTF-8 is no name that we know.
pub(super) fn text(bytes: &[u8]) -> &str {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    std::str::from_utf8(bytes).unwrap_or("")
}

/// The fields of a message whose bytes start with the encapsulation header.
pub(super) fn cdr<'a, T: Deserialize<'a>>(
    message: &'a [u8],
    what: &'static str,
) -> Result<T, MessageError> {
    let Some((header, body)) = message.split_first_chunk::<4>() else {
        return Err(MessageError::TooShort { got: message.len() });
    };
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let decoded = match kind {
        0 => cdr_encoding::from_bytes::<T, BigEndian>(body),
        1 => cdr_encoding::from_bytes::<T, LittleEndian>(body),
        kind => return Err(MessageError::Encapsulation { kind }),
    };
    decoded.map(|(value, _)| value).map_err(|error| MessageError::Fields {
        what,
        got: message.len(),
        why: error.to_string(),
    })
}

/// The header stamp alone, in nanoseconds: every type here starts with one.
///
/// # Errors
/// When the bytes are no CDR message or end before the header does.
pub fn stamp_ns(message: &[u8]) -> Result<i64, MessageError> {
    cdr::<CdrHeader>(message, "std_msgs/Header").map(|header| header.stamp.ns())
}

impl<'a> ImageMsg<'a> {
    /// Reads an `Image`; its pixels stay where they are.
    ///
    /// # Errors
    /// When the bytes do not hold one.
    pub fn read(message: &'a [u8]) -> Result<Self, MessageError> {
        let image: CdrImage<'a> = cdr(message, "sensor_msgs/Image")?;
        Ok(ImageMsg {
            stamp_ns: image.header.stamp.ns(),
            frame_id: text(image.header.frame_id),
            raw: RawImage {
                width: image.width,
                height: image.height,
                encoding: text(image.encoding),
                is_bigendian: image.is_bigendian != 0,
                step: image.step,
                data: image.data,
            },
        })
    }
}

impl<'a> CompressedMsg<'a> {
    /// Reads a `CompressedImage`; its data stays where it is.
    ///
    /// # Errors
    /// When the bytes do not hold one.
    pub fn read(message: &'a [u8]) -> Result<Self, MessageError> {
        let image: CdrCompressed<'a> = cdr(message, "sensor_msgs/CompressedImage")?;
        Ok(CompressedMsg {
            stamp_ns: image.header.stamp.ns(),
            frame_id: text(image.header.frame_id),
            format: text(image.format),
            data: image.data,
        })
    }
}

impl CameraInfoMsg {
    /// Reads a `CameraInfo`.
    ///
    /// # Errors
    /// When the bytes do not hold one.
    pub fn read(message: &[u8]) -> Result<Self, MessageError> {
        let info: CdrInfo<'_> = cdr(message, "sensor_msgs/CameraInfo")?;
        Ok(CameraInfoMsg {
            stamp_ns: info.header.stamp.ns(),
            frame_id: text(info.header.frame_id).to_owned(),
            width: info.width,
            height: info.height,
            distortion_model: text(info.distortion_model).to_owned(),
            d: info.d,
            k: info.k,
            binning: (info.binning_x, info.binning_y),
            roi: [info.roi_x, info.roi_y, info.roi_width, info.roi_height],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An `Image` written by hand, byte by byte as the CDR rules say.
    fn image_by_hand(big: bool) -> Vec<u8> {
        let mut m = vec![0, u8::from(!big), 0, 0];
        let mut put = |value: u32| {
            m.extend(if big { value.to_be_bytes() } else { value.to_le_bytes() });
        };
        put(7);
        put(500);
        put(4);
        m.extend(b"cam\0");
        let mut put = |value: u32| {
            m.extend(if big { value.to_be_bytes() } else { value.to_le_bytes() });
        };
        put(1);
        put(2);
        put(6);
        m.extend(b"mono8\0");
        m.extend([0]); // is_bigendian
        m.extend([0]); // padding to 4
        let mut put = |value: u32| {
            m.extend(if big { value.to_be_bytes() } else { value.to_le_bytes() });
        };
        put(2);
        put(2);
        m.extend([10, 20]);
        m
    }

    #[test]
    fn both_byte_orders_give_the_same_image_without_copying_its_pixels() {
        for big in [false, true] {
            let bytes = image_by_hand(big);
            let image = ImageMsg::read(&bytes).unwrap();
            assert_eq!(image.stamp_ns, 7_000_000_500);
            assert_eq!(image.frame_id, "cam");
            assert_eq!((image.raw.width, image.raw.height, image.raw.step), (2, 1, 2));
            assert_eq!(image.raw.encoding, "mono8");
            assert_eq!(image.raw.data, [10, 20]);
            assert!(bytes.as_ptr_range().contains(&image.raw.data.as_ptr()), "copied");
            assert_eq!(stamp_ns(&bytes).unwrap(), 7_000_000_500);
        }
    }

    #[test]
    fn every_shorter_message_is_refused_with_its_length() {
        let bytes = image_by_hand(false);
        for end in 0..bytes.len() {
            assert!(ImageMsg::read(&bytes[..end]).is_err(), "{end} bytes were accepted");
        }
    }

    #[test]
    fn a_length_beyond_the_message_is_refused_before_anything_is_allocated() {
        let mut bytes = image_by_hand(false);
        let at = bytes.len() - 6;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(ImageMsg::read(&bytes), Err(MessageError::Fields { .. })));
    }

    #[test]
    fn other_encapsulations_are_refused_by_number() {
        let mut bytes = image_by_hand(false);
        bytes[1] = 7;
        let Err(error) = ImageMsg::read(&bytes) else { panic!("accepted") };
        assert_eq!(error, MessageError::Encapsulation { kind: 7 });
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = bytes;
            if bytes.len() > 1 {
                bytes[0] = 0;
                bytes[1] &= 1;
            }
            let _ = ImageMsg::read(&bytes);
            let _ = CompressedMsg::read(&bytes);
            let _ = CameraInfoMsg::read(&bytes);
        }
    }
}
