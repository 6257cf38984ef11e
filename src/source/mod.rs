//! Where frames come from: recorded bags, folders of pictures, a rendered room. All I/O of
//! the crate's input side stands here; what comes out is [`RgbdFrame`]s and a report of
//! everything that did not become one.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    frame::{Intrinsics, RgbdFrame},
    tally::Tally,
};

pub mod bag;
pub mod folder;
pub mod open;
pub mod pair;
pub mod prefetch;
pub mod room;

pub use open::{extent, open};

/// A stream of frames in recorded order.
///
/// `None` ends it. After the end (or at any time before) [`FrameSource::report`] says what
/// was read and what was lost, by reason.
pub trait FrameSource: Send {
    /// The next frame, or `None` at the end. Damage is not an error here: what is readable
    /// comes out, the rest is counted in the report.
    ///
    /// # Errors
    /// Only when nothing further can ever be read (the disk is gone, say).
    fn next_frame(&mut self) -> Result<Option<RgbdFrame>, SourceError>;

    /// What has been read so far.
    fn report(&self) -> &SourceReport;
}

/// What a user may override about a source.
#[derive(Clone, Debug, Default)]
pub struct SourceOptions {
    /// Topic of the colour picture (bags).
    pub color_topic: Option<String>,
    /// Topic of the depth picture (bags).
    pub depth_topic: Option<String>,
    /// Topic of the colour camera's info (bags).
    pub info_topic: Option<String>,
    /// Depth units per metre of 16-bit pictures (folders; default 5000 as TUM has it).
    pub depth_scale: Option<f64>,
    /// `fx, fy, cx, cy` in pixels (folders, bags without camera info).
    pub intrinsics: Option<[f64; 4]>,
    /// The most that colour and depth stamps may differ, nanoseconds; default 20 ms.
    pub tolerance_ns: Option<i64>,
    /// Whether depth is aligned with colour: `None` decides from topics and intrinsics.
    pub registered: Option<bool>,
}

/// One topic of a bag, as `inspect` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct TopicReport {
    /// The topic's name.
    pub name: String,
    /// The ROS type, `sensor_msgs/msg/Image`.
    pub ros_type: String,
    /// Messages read.
    pub messages: u64,
    /// `color`, `depth`, `color_info`, `depth_info`, or none when it is not used.
    pub role: Option<&'static str>,
    /// Encoding and size of the first message, `rgb8 640x480`.
    pub format: Option<String>,
    /// Messages a second by header stamp.
    pub rate_hz: Option<f64>,
}

/// What a source read, and what it lost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceReport {
    /// Colour pictures that were read.
    pub color_read: u64,
    /// Depth pictures that were read.
    pub depth_read: u64,
    /// Frames given out (pairs, or lone colour pictures where the source has no depth that
    /// can be used).
    pub frames: u64,
    /// Messages that exist but did not become part of a frame though they are sound:
    /// `no_depth_within_tolerance`, `no_color_within_tolerance`, `duplicate_stamp`, ….
    pub unpaired: Tally,
    /// Data that is damaged or missing: `chunk_crc`, `cut_off`, `bad_jpeg`,
    /// `picture_too_large`, …. Not empty means exit code 3.
    pub lost: Tally,
    /// Intrinsics of the colour camera, once known.
    pub intrinsics: Option<Intrinsics>,
    /// Why depth is taken as registered or not, in words for a person.
    pub registration: Option<String>,
    /// Topics (bags only).
    pub topics: Vec<TopicReport>,
    /// First and last stamp given out.
    pub stamps_ns: Option<(i64, i64)>,
    /// What else a person should know: what was assumed, what was not used and why.
    pub notes: Vec<String>,
}

/// Why a source cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The path does not exist or cannot be opened.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is there, but nothing in it can be read as frames.
    #[error("nothing readable in {path}: {why}")]
    Nothing {
        /// The path.
        path: PathBuf,
        /// The reason and the way out.
        why: String,
    },
    /// The SOURCE argument itself is malformed.
    #[error("SOURCE {spec:?}: {why}")]
    Spec {
        /// The argument.
        spec: String,
        /// What is wrong with it and what would be right.
        why: String,
    },
}
