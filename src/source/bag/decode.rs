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

/// The colour picture of a message.
///
/// # Errors
/// The name under which the failure is counted.
pub fn color(kind: Kind, data: &[u8]) -> Result<RgbImage, &'static str> {
    let bad = |error: convert::ConvertError| {
        tracing::debug!(%error, "colour picture");
        error.name()
    };
    match kind {
        Kind::Image => {
            let image = ImageMsg::read(data).map_err(|_| BAD_MESSAGE)?;
            convert::color_from_raw(&image.raw).map_err(bad)
        }
        Kind::Compressed => {
            let image = CompressedMsg::read(data).map_err(|_| BAD_MESSAGE)?;
            convert::color_from_encoded(image.data).map_err(bad)
        }
        Kind::Info => Err(BAD_MESSAGE),
    }
}

/// The depth picture of a message in metres.
///
/// # Errors
/// The name under which the failure is counted.
pub fn depth(kind: Kind, data: &[u8]) -> Result<DepthMap, &'static str> {
    let bad = |error: convert::ConvertError| {
        tracing::debug!(%error, "depth picture");
        error.name()
    };
    match kind {
        Kind::Image => {
            let image = ImageMsg::read(data).map_err(|_| BAD_MESSAGE)?;
            convert::depth_from_raw(&image.raw).map_err(bad)
        }
        Kind::Compressed => {
            let image = CompressedMsg::read(data).map_err(|_| BAD_MESSAGE)?;
            depth_from_compressed(image.format, image.data).map_err(bad)
        }
        Kind::Info => Err(BAD_MESSAGE),
    }
}

/// What the first message of a topic tells, `None` where it is no such message.
pub fn first(kind: Kind, data: &[u8]) -> Option<First> {
    match kind {
        Kind::Image => {
            let image = ImageMsg::read(data).ok()?;
            Some(First {
                format: image.raw.encoding.to_owned(),
                size: Some((image.raw.width, image.raw.height)),
                frame_id: image.frame_id.to_owned(),
                info: None,
            })
        }
        Kind::Compressed => {
            let image = CompressedMsg::read(data).ok()?;
            // `compressedDepth` puts a header of 12 bytes before its PNG; RVL has the size there.
            let tail = image.data.get(12..).unwrap_or_default();
            let side = |at: usize| tail.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
            let size = convert::size_of_encoded(image.data)
                .or_else(|_| convert::size_of_encoded(tail))
                .ok()
                .or_else(|| side(0).zip(side(4)).filter(|_| image.format.contains("rvl")));
            Some(First {
                format: image.format.to_owned(),
                size,
                frame_id: image.frame_id.to_owned(),
                info: None,
            })
        }
        Kind::Info => {
            let info = CameraInfoMsg::read(data).ok()?;
            Some(First {
                format: String::new(),
                size: Some((info.width, info.height)),
                frame_id: info.frame_id.clone(),
                info: Some(info),
            })
        }
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
