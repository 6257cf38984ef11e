//! A picture as it came, decoded only when somebody wants to see it.

use image::RgbImage;

use crate::{
    frame::{
        DepthMap,
        convert::{RawImage, check_size},
    },
    node::msg::{CameraInfo, CompressedImage, Image},
    source::bag::{
        decode::PictureMsg,
        message::{CameraInfoMsg, CompressedMsg, ImageMsg},
        topics::First,
    },
};

/// The largest message that is kept, bytes: a raw 4K picture of four channels has 33 MB.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// A message of a picture topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Picture {
    /// Plain pixels.
    Raw(Image),
    /// JPEG, PNG, RVL.
    Compressed(CompressedImage),
}

impl From<Image> for Picture {
    fn from(image: Image) -> Self {
        Picture::Raw(image)
    }
}

impl From<CompressedImage> for Picture {
    fn from(image: CompressedImage) -> Self {
        Picture::Compressed(image)
    }
}

impl Picture {
    /// Header stamp, nanoseconds; 0 from a driver that does not stamp.
    pub fn stamp_ns(&self) -> i64 {
        match self {
            Picture::Raw(image) => image.header.stamp.ns(),
            Picture::Compressed(image) => image.header.stamp.ns(),
        }
    }

    /// The pixels' or the file's bytes.
    pub fn data(&self) -> &[u8] {
        match self {
            Picture::Raw(image) => &image.data,
            Picture::Compressed(image) => &image.data,
        }
    }

    /// Whether it can be a picture at all, from its header alone.
    ///
    /// # Errors
    /// The name under which it is counted.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.data().len() > MAX_MESSAGE_BYTES {
            return Err("message_too_large");
        }
        if let Picture::Raw(image) = self {
            check_size(image.width, image.height).map_err(|error| error.name())?;
            let need = u64::from(image.step) * u64::from(image.height);
            if image.step < image.width {
                return Err("bad_step");
            }
            if (image.data.len() as u64) < need {
                return Err("picture_too_short");
            }
        } else if self.data().is_empty() {
            return Err("picture_too_short");
        }
        Ok(())
    }

    fn read(&self) -> PictureMsg<'_> {
        match self {
            Picture::Raw(image) => PictureMsg::Image(ImageMsg {
                stamp_ns: image.header.stamp.ns(),
                frame_id: &image.header.frame_id,
                raw: RawImage {
                    width: image.width,
                    height: image.height,
                    encoding: &image.encoding,
                    is_bigendian: image.is_bigendian != 0,
                    step: image.step,
                    data: &image.data,
                },
            }),
            Picture::Compressed(image) => PictureMsg::Compressed(CompressedMsg {
                stamp_ns: image.header.stamp.ns(),
                frame_id: &image.header.frame_id,
                format: &image.format,
                data: &image.data,
            }),
        }
    }

    /// It as colour.
    ///
    /// # Errors
    /// The name under which the failure is counted.
    pub fn color(&self) -> Result<RgbImage, &'static str> {
        self.read().color()
    }

    /// It as depth in metres.
    ///
    /// # Errors
    /// The name under which the failure is counted.
    pub fn depth(&self) -> Result<DepthMap, &'static str> {
        self.read().depth()
    }

    /// Encoding, size and optical frame, without decoding it.
    pub fn first(&self) -> First {
        self.read().first()
    }
}

impl From<&CameraInfo> for CameraInfoMsg {
    fn from(info: &CameraInfo) -> Self {
        CameraInfoMsg {
            stamp_ns: info.header.stamp.ns(),
            frame_id: info.header.frame_id.clone(),
            width: info.width,
            height: info.height,
            distortion_model: info.distortion_model.clone(),
            d: info.d.clone(),
            k: info.k,
            binning: (info.binning_x, info.binning_y),
            roi: [info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_headers_are_refused_by_name_before_anything_is_decoded() {
        let image = |width, height, step, bytes| {
            let data = vec![0; bytes];
            Picture::Raw(Image { width, height, step, data, ..Image::default() }).check()
        };
        assert_eq!(image(640, 480, 1280, 640 * 480 * 2), Ok(()));
        assert_eq!(image(640, 480, 1280, 640 * 480 * 2 - 1), Err("picture_too_short"));
        assert_eq!(image(640, 480, 0, 0), Err("bad_step"));
        assert_eq!(image(640, 480, u32::MAX, 100), Err("picture_too_short"));
        assert!(image(u32::MAX, u32::MAX, u32::MAX, 100).is_err());
        assert!(image(0, 0, 0, 0).is_err());
        let empty = Picture::Compressed(CompressedImage::default());
        assert_eq!(empty.check(), Err("picture_too_short"));
        assert!(empty.color().is_err() && empty.depth().is_err());
    }
}
