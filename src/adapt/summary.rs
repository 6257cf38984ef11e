//! What a run did, as `summary.json` tells it.

use serde::{Deserialize, Serialize};

use super::{check::Candidates, gate::Gate, score::Scores};
use crate::{frame::RgbdFrame, tally::Tally, task::Preset};

/// Frames of a recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameCounts {
    /// Given by the source.
    pub read: u64,
    /// Learnt from or tested on.
    pub used: u64,
    /// Used for nothing, by reason.
    pub skipped: Tally,
    /// Used for colour tasks alone, by reason.
    pub color_only: Tally,
    /// Used after their depth, which lay beside colour, was moved.
    #[serde(default)]
    pub depth_moved: u64,
}

impl FrameCounts {
    /// A frame that is read and, if the gate lets it through, used; without its depth where
    /// the gate does not trust that.
    pub fn admit(&mut self, gate: &mut Gate, frame: RgbdFrame) -> Option<RgbdFrame> {
        let admitted = match gate.admit(frame) {
            Err(reason) => {
                self.drop(reason.name());
                return None;
            }
            Ok(admitted) => admitted,
        };
        if let Some(reason) = admitted.color_only {
            self.color_only.add(reason.name());
        }
        self.depth_moved += u64::from(admitted.depth_moved);
        self.read += 1;
        self.used += 1;
        Some(admitted.frame)
    }

    /// These and `other` together.
    pub fn with(&self, other: &FrameCounts) -> FrameCounts {
        let mut sum = self.clone();
        sum.read += other.read;
        sum.used += other.used;
        sum.skipped.merge(&other.skipped);
        sum.color_only.merge(&other.color_only);
        sum.depth_moved += other.depth_moved;
        sum
    }

    /// A frame that is read and used for nothing.
    pub fn drop(&mut self, reason: &str) {
        self.read += 1;
        self.skipped.add(reason);
    }
}

/// Updates of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UpdateCounts {
    /// Weights changed.
    pub applied: u64,
    /// Weights left as they were, by reason.
    pub skipped: Tally,
}

/// Checkpoints of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckpointCounts {
    /// Written.
    pub written: u64,
    /// Not written because the disk refused.
    pub failed: u64,
}

/// Where the time went, seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WallSeconds {
    /// Reading frames and making views and tasks.
    pub build_tasks: f64,
    /// Encoding pictures.
    pub encode: f64,
    /// Sampling answers.
    pub rollout: f64,
    /// Updating weights.
    pub update: f64,
    /// The whole run.
    pub total: f64,
}

/// What a run did; `summary.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The SOURCE argument.
    pub source: String,
    /// The run's seed.
    pub seed: u64,
    /// Which rules made the tasks.
    pub preset: Preset,
    /// Frames.
    pub frames: FrameCounts,
    /// Tasks made, by kind.
    pub tasks: Tally,
    /// Tasks not made, by `kind/reason`.
    pub tasks_skipped: Tally,
    /// Held-out accuracy before learning.
    pub before: Scores,
    /// Held-out accuracy after learning.
    pub after: Scores,
    /// Mean of `before` over kinds.
    pub mean_before: f64,
    /// Mean of `after` over kinds.
    pub mean_after: f64,
    /// Updates.
    pub updates: UpdateCounts,
    /// Candidates promoted and rejected.
    pub candidates: Candidates,
    /// The version that serves at the end; 0 is the start.
    pub version: u64,
    /// Checkpoints.
    pub checkpoints: CheckpointCounts,
    /// Time.
    pub wall_seconds: WallSeconds,
    /// The most memory that the process held.
    pub peak_rss_bytes: u64,
}
