//! Which part of a recording is learnt from and which is kept for the test.

use serde::{Deserialize, Serialize};

use super::memory::Capacity;

/// How a recording is split by time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitConfig {
    /// The last part of the recording that is only tested on, 0 to 1.
    pub held_out: f64,
    /// The part before it that is used for neither, so that the first test frame does not
    /// look like the last training frame.
    pub gap: f64,
    /// Held-out tasks of each kind.
    pub tasks_per_kind: usize,
    /// Held-out tasks of each kind that shows patches, if fewer: each has pictures of its own to
    /// be encoded, where those that ask about marked points share one.
    pub tasks_per_patch_kind: usize,
}

impl Default for SplitConfig {
    fn default() -> Self {
        SplitConfig { held_out: 0.25, gap: 0.05, tasks_per_kind: 1000, tasks_per_patch_kind: 320 }
    }
}

/// Where a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Learnt from.
    Train,
    /// Between the two: used for neither.
    Gap,
    /// Tested on.
    HeldOut,
}

/// A recording's split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    train_until_ns: i64,
    held_out_from_ns: i64,
}

/// A split that leaves nothing to learn from or nothing to test on.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "held_out {held_out} and gap {gap} must not be negative and must leave something to learn from (together below 0.95, held_out at least 0.01)"
)]
pub struct SplitError {
    held_out: f64,
    gap: f64,
}

impl SplitConfig {
    /// How many held-out tasks there are of a kind.
    pub fn tasks(&self) -> Capacity {
        Capacity {
            points: self.tasks_per_kind,
            patches: self.tasks_per_kind.min(self.tasks_per_patch_kind),
        }
    }

    /// Splits a recording that lasts from `first_ns` to `last_ns`.
    ///
    /// # Errors
    /// [`SplitError`] when a part would be empty.
    ///
    /// ```
    /// use spatial_ssrl::adapt::split::{Part, SplitConfig};
    /// let split = SplitConfig::default().split(0, 100)?;
    /// assert_eq!(split.part(69), Part::Train);
    /// assert_eq!(split.part(72), Part::Gap);
    /// assert_eq!(split.part(75), Part::HeldOut);
    /// # Ok::<(), spatial_ssrl::adapt::split::SplitError>(())
    /// ```
    pub fn split(&self, first_ns: i64, last_ns: i64) -> Result<Split, SplitError> {
        let SplitConfig { held_out, gap, .. } = *self;
        if !(held_out >= 0.01 && gap >= 0.0 && held_out + gap < 0.95) {
            return Err(SplitError { held_out, gap });
        }
        let span = last_ns.saturating_sub(first_ns).max(0) as f64;
        let at = |part: f64| first_ns.saturating_add((span * part).round() as i64);
        Ok(Split { train_until_ns: at(1.0 - held_out - gap), held_out_from_ns: at(1.0 - held_out) })
    }
}

impl Split {
    /// A split that keeps every frame for the test.
    pub fn everything() -> Self {
        Split { train_until_ns: i64::MIN, held_out_from_ns: i64::MIN }
    }

    /// Where a frame with this stamp belongs.
    pub fn part(&self, stamp_ns: i64) -> Part {
        if stamp_ns >= self.held_out_from_ns {
            Part::HeldOut
        } else if stamp_ns <= self.train_until_ns {
            Part::Train
        } else {
            Part::Gap
        }
    }
}
