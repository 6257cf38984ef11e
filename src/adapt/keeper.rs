//! Writes checkpoints when they are due. A failure is told and counted; learning goes on.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    checkpoint::{Checkpoints, Files},
    learner::Learner,
    snapshot::SnapshotError,
    summary::CheckpointCounts,
};

/// Keeps a run's checkpoints.
pub struct Keeper<'a> {
    checkpoints: Option<&'a Checkpoints>,
    every: Duration,
    last: Instant,
    /// Written and failed.
    pub counts: CheckpointCounts,
}

impl<'a> Keeper<'a> {
    /// Every so many seconds; 0: never of its own accord.
    pub fn new(checkpoints: Option<&'a Checkpoints>, every_s: f64) -> Self {
        let every = Duration::try_from_secs_f64(every_s).unwrap_or_default();
        Keeper { checkpoints, every, last: Instant::now(), counts: CheckpointCounts::default() }
    }

    /// Whether a checkpoint is due.
    pub fn due(&self) -> bool {
        self.checkpoints.is_some() && !self.every.is_zero() && self.last.elapsed() >= self.every
    }

    /// Writes one now; `more` adds files to the learner's.
    pub fn save(
        &mut self,
        learner: &Learner,
        cursor: &impl Serialize,
        more: impl FnOnce(&mut Files) -> Result<(), SnapshotError>,
    ) {
        let Some(checkpoints) = self.checkpoints else { return };
        let files = learner.files(cursor).and_then(|mut files| more(&mut files).map(|()| files));
        let saved = match files {
            Ok(files) => checkpoints.save(&files, learner.score()).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match saved {
            Ok(_) => self.counts.written += 1,
            Err(error) => {
                self.counts.failed += 1;
                tracing::error!("no checkpoint was written, the last one stays: {error}");
            }
        }
        self.last = Instant::now();
    }
}
