//! Camera bytes in, [`RgbdFrame`] out: colour as 8-bit RGB, depth in metres with NaN for
//! "none", intrinsics and a stamp. No I/O, no ROS, no clocks.

use image::RgbImage;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

pub mod align;
pub mod augment;
pub mod compressed_depth;
pub mod convert;
pub mod displaced;
mod encoded;
pub mod intrinsics;
pub mod quality;
pub mod registration;
pub mod rvl;
pub mod sensor;
mod window;

pub use intrinsics::{Distortion, Intrinsics, IntrinsicsError};
pub use sensor::SensorModel;
pub use window::Window;

/// Depth of every pixel in metres, `[height, width]`, along the optical axis. NaN: none.
pub type DepthMap = Array2<f32>;

/// The largest picture side that any decoder here accepts, in pixels. Checked before
/// anything is allocated, so a hostile header cannot ask for memory.
pub const MAX_SIDE_PX: u32 = 8192;

/// The most pixels that any decoder here accepts (a 4K picture has 8.3 million).
pub const MAX_PIXELS: u64 = 16_777_216;

/// Names one frame for good: the same recording gives the same ids live, replayed and on
/// any number of threads, because an id depends on the frame's own stamp alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FrameId(pub u64);

impl FrameId {
    /// The id of the frame whose colour picture carries `stamp_ns`.
    pub fn from_stamp(stamp_ns: i64) -> Self {
        FrameId(stamp_ns as u64)
    }

    /// The id of a frame made from this one by the change that `parameters` describe:
    /// the same every time, and different for different changes.
    ///
    /// ```
    /// use spatial_ssrl::frame::FrameId;
    /// let id = FrameId::from_stamp(1_305_031_229_528_748_000);
    /// assert_eq!(id.derived(&[1, 2]), id.derived(&[1, 2]));
    /// assert_ne!(id.derived(&[1, 2]), id.derived(&[2, 1]));
    /// ```
    pub fn derived(self, parameters: &[u64]) -> Self {
        // SplitMix64 (Steele et al. 2014), one step a parameter.
        FrameId(parameters.iter().fold(self.0, |id, parameter| {
            let mut z = (id ^ parameter.rotate_left(32)).wrapping_add(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }))
    }
}

/// First stamp, last stamp and number of a recording's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Stamp of the first frame.
    pub first_ns: i64,
    /// Stamp of the last frame.
    pub last_ns: i64,
    /// How many there are.
    pub frames: u64,
}

impl Extent {
    /// From the first frame to the last, seconds.
    pub fn seconds(&self) -> f64 {
        self.last_ns.saturating_sub(self.first_ns) as f64 * 1e-9
    }
}

/// How the depth picture relates to the colour picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// Each depth pixel belongs to the colour pixel at the same place.
    Registered,
    /// Depth was warped into the colour picture here, from both intrinsics and extrinsics.
    Reprojected,
    /// Depth is not aligned with colour: only tasks that need no depth may be made.
    Unregistered,
}

/// One colour picture with, perhaps, its depth.
///
/// Invariant: when `depth_m` is there and `registration` is not
/// [`Registration::Unregistered`], it has the colour picture's size.
#[derive(Clone, Debug)]
pub struct RgbdFrame {
    /// Stable name, from the stamp.
    pub id: FrameId,
    /// Header stamp of the colour picture, nanoseconds since the epoch of its clock.
    pub stamp_ns: i64,
    /// Header stamp of the depth picture; `None` where it is not known when it was taken.
    pub depth_stamp_ns: Option<i64>,
    /// Colour, 8-bit RGB.
    pub color: RgbImage,
    /// Depth in metres, NaN where there is none.
    pub depth_m: Option<DepthMap>,
    /// Intrinsics of the colour picture.
    pub intrinsics: Option<Intrinsics>,
    /// How depth relates to colour.
    pub registration: Registration,
}

impl RgbdFrame {
    /// Width of the colour picture in pixels.
    pub fn width(&self) -> u32 {
        self.color.width()
    }

    /// Height of the colour picture in pixels.
    pub fn height(&self) -> u32 {
        self.color.height()
    }

    /// The depth, if it may be used at the colour picture's pixels.
    pub fn usable_depth_m(&self) -> Option<&DepthMap> {
        match self.registration {
            Registration::Unregistered => None,
            Registration::Registered | Registration::Reprojected => self.depth_m.as_ref(),
        }
    }
}
