//! Frames that taught something, kept as a rosbag2 recording of a bounded size, so that what
//! happened in the field can be replayed at the desk.
//!
//! A [`Sample`] is a message as it came; [`Recorder::offer`] takes those of one frame. They go
//! into MCAP files of one folder, each frame as a chunk of its own that is on its way to the disk
//! when `offer` returns: a file that is cut off by a crash or a loss of power is readable up to
//! its last whole frame, and is repaired at the next start. When the recording is full its oldest
//! file is removed. Nothing outside the folder is ever written or removed, and no topic's name
//! becomes a part of a file's name.

use std::time::{Duration, Instant};

use byteorder::LittleEndian;

use super::msg::{RosType, definitions};
use crate::tally::Tally;

mod file;
mod metadata;
mod ring;

pub use ring::{Ring, RingLimits};

/// Why something is not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// File or folder.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder holds something else.
    #[error(
        "{path} is not empty and holds no recording of this node ({found}); give another \
         record_directory"
    )]
    NotOurs {
        /// The folder.
        path: std::path::PathBuf,
        /// A file in it.
        found: String,
    },
    /// Limits that cannot be kept.
    #[error("record_file_mb is {file_bytes} bytes, more than half of {max_bytes} in all")]
    Limits {
        /// Bytes of a file.
        file_bytes: u64,
        /// Bytes of all files.
        max_bytes: u64,
    },
    /// One frame is larger than a whole recording may be.
    #[error("a frame of {bytes} bytes is larger than the recording may be, {max_bytes} bytes")]
    TooLarge {
        /// Bytes of the frame.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// The disk would be too full.
    #[error(
        "{needed} bytes must leave {floor} free on the disk, but only {free} are, and no older \
         file of the recording is left to remove"
    )]
    DiskFloor {
        /// Bytes to be written.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that must stay free.
        floor: u64,
    },
    /// A message that cannot be recorded.
    #[error("{type_name} cannot be recorded: {why}")]
    Message {
        /// Its type.
        type_name: &'static str,
        /// Why.
        why: String,
    },
}

impl RecordError {
    /// The stable name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            RecordError::Io { .. } => "disk_error",
            RecordError::NotOurs { .. } => "folder_not_ours",
            RecordError::Limits { .. } => "limits",
            RecordError::TooLarge { .. } => "larger_than_limit",
            RecordError::DiskFloor { .. } => "disk_floor",
            RecordError::Message { .. } => "message",
        }
    }
}

/// One message of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    topic: String,
    definition: &'static str,
    /// With its encapsulation header.
    cdr: Vec<u8>,
}

impl Sample {
    /// A message as it came on a topic: [`Image`](super::msg::Image),
    /// [`CompressedImage`](super::msg::CompressedImage) or
    /// [`CameraInfo`](super::msg::CameraInfo).
    ///
    /// # Errors
    /// [`RecordError::Message`] for another type.
    pub fn of<T: RosType>(topic: &str, message: &T) -> Result<Self, RecordError> {
        let failed = |why: String| RecordError::Message { type_name: T::TYPE, why };
        let definition = definitions::recorded(T::TYPE);
        let definition =
            definition.ok_or_else(|| failed("only pictures and camera infos are".to_owned()))?;
        // Plain CDR, lowest byte first.
        let mut cdr = vec![0, 1, 0, 0];
        cdr_encoding::to_writer::<T, LittleEndian, _>(&mut cdr, message)
            .map_err(|error| failed(error.to_string()))?;
        Ok(Sample { topic: topic.to_owned(), definition: definition.name, cdr })
    }

    /// The message's bytes.
    pub fn len(&self) -> usize {
        self.cdr.len()
    }

    /// Never: a message has at least its header.
    pub fn is_empty(&self) -> bool {
        self.cdr.is_empty()
    }
}

/// When frames that taught something are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// From a sign of drift until so long after the last.
    Drift(Duration),
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What was recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordCounts {
    /// Frames recorded since the start.
    pub frames: u64,
    /// Bytes of all files on the disk now.
    pub bytes: u64,
    /// Files on the disk now.
    pub files: u64,
    /// Files removed to make room.
    pub files_removed: u64,
    /// Frames that taught something and were not recorded, by reason.
    pub not_recorded: Tally,
}

/// Records frames that taught something.
#[derive(Debug)]
pub struct Recorder {
    ring: Ring,
    when: When,
    drift: Option<Instant>,
    frames: u64,
    not_recorded: Tally,
}

impl Recorder {
    /// Records into this ring.
    pub fn new(ring: Ring, when: When) -> Self {
        Recorder { ring, when, drift: None, frames: 0, not_recorded: Tally::default() }
    }

    /// Changes when frames are recorded.
    pub fn set_when(&mut self, when: When) {
        self.when = when;
    }

    /// Tells it of a sign of drift: an alarm of the learner, or a scene unlike what was learnt.
    pub fn drift_seen(&mut self, now: Instant) {
        self.drift = Some(now);
    }

    /// Whether a frame that taught something would be recorded now; so that samples need not be
    /// made in vain.
    pub fn wants(&mut self, now: Instant) -> bool {
        match self.when {
            When::Always => true,
            When::Never => false,
            When::Drift(hold) => {
                let recent = |seen: Instant| now.saturating_duration_since(seen) <= hold;
                let wants = self.drift.is_some_and(recent);
                if !wants {
                    self.not_recorded.add("no_drift");
                }
                wants
            }
        }
    }

    /// Records the messages of one frame. `log_ns`: when it was received, nanoseconds.
    ///
    /// # Errors
    /// Why it was not recorded; that is counted too, and the next frame may be offered.
    pub fn offer(&mut self, log_ns: i64, samples: &[Sample]) -> Result<(), RecordError> {
        let written = self.ring.append(log_ns, samples);
        match &written {
            Ok(()) => self.frames += 1,
            Err(error) => self.not_recorded.add(error.name()),
        }
        written
    }

    /// What was recorded so far.
    pub fn counts(&self) -> RecordCounts {
        let (files, bytes) = self.ring.held();
        RecordCounts {
            frames: self.frames,
            bytes,
            files,
            files_removed: self.ring.removed(),
            not_recorded: self.not_recorded.clone(),
        }
    }

    /// Closes the file that is being written, so that every tool can read it.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn close(&mut self) -> Result<(), RecordError> {
        self.ring.close()
    }
}
