//! From a recorded message to a picture, with a stable name for whatever is wrong with it.

use image::RgbImage;

use super::{
    message::{CameraInfoMsg, CompressedMsg, ImageMsg},
    topics::{First, Kind},
};
use crate::frame::{
    DepthMap, Intrinsics, IntrinsicsError, compressed_depth::depth_from_compressed, convert,
};

/// The name under which bytes that are no message are counted.
pub const BAD_MESSAGE: &str = "bad_message";

/// A picture as it was sent.
#[derive(Clone, Copy, Debug)]
pub enum PictureMsg<'a> {
    /// Plain pixels.
    Image(ImageMsg<'a>),
    /// A file's bytes.
    Compressed(CompressedMsg<'a>),
}

impl<'a> PictureMsg<'a> {
    /// Reads the message of a topic.
    ///
    /// # Errors
    /// [`BAD_MESSAGE`].
    pub fn read(kind: Kind, data: &'a [u8]) -> Result<Self, &'static str> {
        let read = match kind {
            Kind::Image => ImageMsg::read(data).map(PictureMsg::Image),
            Kind::Compressed => CompressedMsg::read(data).map(PictureMsg::Compressed),
            Kind::Info | Kind::Transforms | Kind::DepthToColor => return Err(BAD_MESSAGE),
        };
        read.map_err(|_| BAD_MESSAGE)
    }

    /// It as colour.
    ///
    /// # Errors
    /// The name under which the failure is counted.
    pub fn color(&self) -> Result<RgbImage, &'static str> {
        let picture = match self {
            PictureMsg::Image(image) => convert::color_from_raw(&image.raw),
            PictureMsg::Compressed(image) => convert::color_from_encoded(image.data),
        };
        picture.map_err(|error| {
            tracing::debug!(%error, "colour picture");
            error.name()
        })
    }

    /// It as depth in metres.
    ///
    /// # Errors
    /// The name under which the failure is counted.
    pub fn depth(&self) -> Result<DepthMap, &'static str> {
        let picture = match self {
            PictureMsg::Image(image) => convert::depth_from_raw(&image.raw),
            PictureMsg::Compressed(image) => depth_from_compressed(image.format, image.data),
        };
        picture.map_err(|error| {
            tracing::debug!(%error, "depth picture");
            error.name()
        })
    }

    /// What it tells without being decoded.
    pub fn first(&self) -> First {
        match self {
            PictureMsg::Image(image) => First {
                format: image.raw.encoding.to_owned(),
                size: Some((image.raw.width, image.raw.height)),
                frame_id: image.frame_id.to_owned(),
                info: None,
            },
            PictureMsg::Compressed(image) => {
                // `compressedDepth` puts a header of 12 bytes before its PNG; RVL has the size
                // there.
                let tail = image.data.get(12..).unwrap_or_default();
                let side =
                    |at: usize| tail.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
                let size = convert::size_of_encoded(image.data)
                    .or_else(|_| convert::size_of_encoded(tail))
                    .ok()
                    .or_else(|| side(0).zip(side(4)).filter(|_| image.format.contains("rvl")));
                First {
                    format: image.format.to_owned(),
                    size,
                    frame_id: image.frame_id.to_owned(),
                    info: None,
                }
            }
        }
    }
}

/// The colour picture of a message.
///
/// # Errors
/// The name under which the failure is counted.
pub fn color(kind: Kind, data: &[u8]) -> Result<RgbImage, &'static str> {
    PictureMsg::read(kind, data)?.color()
}

/// The depth picture of a message in metres.
///
/// # Errors
/// The name under which the failure is counted.
pub fn depth(kind: Kind, data: &[u8]) -> Result<DepthMap, &'static str> {
    PictureMsg::read(kind, data)?.depth()
}

/// What the first message of a topic tells, `None` where it is no such message.
pub fn first(kind: Kind, data: &[u8]) -> Option<First> {
    match kind {
        Kind::Image | Kind::Compressed => Some(PictureMsg::read(kind, data).ok()?.first()),
        Kind::Info => Some(first_info(CameraInfoMsg::read(data).ok()?)),
        Kind::Transforms | Kind::DepthToColor => None,
    }
}

/// What a camera info tells.
pub fn first_info(info: CameraInfoMsg) -> First {
    First {
        format: String::new(),
        size: Some((info.width, info.height)),
        frame_id: info.frame_id.clone(),
        info: Some(info),
    }
}

/// The intrinsics that a camera info gives for a picture of `size` pixels: for the region
/// and the binning that it names, and for a picture that was scaled down since.
///
/// # Errors
/// Why its numbers are no camera's, or another picture's.
pub fn intrinsics(info: &CameraInfoMsg, size: (u32, u32)) -> Result<Intrinsics, IntrinsicsError> {
    let CameraInfoMsg { width, height, distortion_model, d, k, .. } = info;
    let mut camera = Intrinsics::from_camera_info(*width, *height, distortion_model, d, k)?;
    let [x, y, roi_width, roi_height] = info.roi;
    if roi_width > 0 && roi_height > 0 && (roi_width, roi_height) != (*width, *height) {
        camera = camera.cropped(x, y, roi_width, roi_height);
    }
    let (bin_x, bin_y) = (info.binning.0.max(1), info.binning.1.max(1));
    if (bin_x, bin_y) != (1, 1) {
        camera = camera.resized((camera.width / bin_x).max(1), (camera.height / bin_y).max(1));
    }
    camera.scaled_to(size.0, size.1)
}
