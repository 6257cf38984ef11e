//! Learning without end: frames as they come, a few updates after each, checkpoints now and
//! then, until somebody says stop. A recording is begun anew when it is over.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    check::Candidates,
    feed::nothing,
    keeper::Keeper,
    learner::{Learner, Progress},
    replay::{Frames, ReplayError, Watch},
    summary::{CheckpointCounts, FrameCounts, UpdateCounts},
};
use crate::tally::Tally;

/// When to stop, beside being told to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until {
    /// After this long.
    pub budget: Option<Duration>,
    /// After this many updates.
    pub steps: Option<u64>,
}

/// Where the source stood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldCursor {
    /// The SOURCE argument.
    pub source: String,
    /// How often it was read to its end.
    pub rounds: u64,
    /// Frames read in this round.
    pub read: u64,
}

/// What was learnt so far; `summary.json` of such a run.
#[derive(Clone, Debug, Serialize)]
pub struct FieldSummary {
    /// The SOURCE argument.
    pub source: String,
    /// How often it was read to its end.
    pub rounds: u64,
    /// Frames.
    pub frames: FrameCounts,
    /// Tasks made, by kind.
    pub tasks: Tally,
    /// Tasks not made, by `kind/reason`.
    pub tasks_skipped: Tally,
    /// Tasks that are remembered.
    pub remembered: u64,
    /// Places that were told apart.
    pub places: u64,
    /// Updates.
    pub updates: UpdateCounts,
    /// Candidates.
    pub candidates: Candidates,
    /// The version that serves; 0 is the start.
    pub version: u64,
    /// Checkpoints.
    pub checkpoints: CheckpointCounts,
    /// Seconds since the run began or was resumed.
    pub seconds: f64,
    /// The most memory that the process held.
    pub peak_rss_bytes: u64,
}

/// Learns until `until` or the watch says stop.
///
/// # Errors
/// [`ReplayError`] when the source fails or gives nothing at all to learn from.
pub fn field<'a, E: std::error::Error + 'static>(
    learner: &mut Learner,
    cursor: &mut FieldCursor,
    mut open: impl FnMut() -> Result<Frames<'a, E>, E>,
    until: Until,
    keeper: &mut Keeper<'_>,
    watch: &mut dyn Watch,
) -> Result<FieldSummary, ReplayError<E>> {
    let started = Instant::now();
    watch.phase("learn", "frames", None);
    let over = |learner: &Learner, watch: &dyn Watch| {
        watch.stopped()
            || until.budget.is_some_and(|budget| started.elapsed() >= budget)
            || until.steps.is_some_and(|steps| learner.trainer().steps() >= steps)
    };
    'rounds: loop {
        let mut frames = open().map_err(ReplayError::Source)?;
        let mut skip = cursor.read;
        while let Some(frame) = frames().map_err(ReplayError::Source)? {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            cursor.read += 1;
            learner.offer_frame(frame)?;
            watch.advance(1);
            for _ in 0..learner.config().learn.steps_per_frame {
                let Progress::Step(step, check) = learner.step()? else { break };
                watch.step(&step);
                if let Some(check) = check {
                    watch.checked(&check);
                }
                watch.rest();
                if over(learner, watch) {
                    break 'rounds;
                }
            }
            if keeper.due() {
                watch.flush();
                keeper.save(learner, cursor, |_| Ok(()));
            }
            watch.rest();
            if over(learner, watch) {
                break 'rounds;
            }
        }
        if learner.trainer().memory().is_empty() {
            let frames = &learner.state().frames;
            return Err(nothing("learn from", frames, learner.trainer().counts()));
        }
        (cursor.rounds, cursor.read) = (cursor.rounds + 1, 0);
    }
    watch.flush();
    keeper.save(learner, cursor, |_| Ok(()));
    let (state, trainer) = (learner.state(), learner.trainer());
    let mut counts = trainer.counts().clone();
    counts.merge(&state.tested);
    Ok(FieldSummary {
        source: cursor.source.clone(),
        rounds: cursor.rounds,
        frames: state.frames.clone(),
        tasks: counts.tasks,
        tasks_skipped: counts.skipped,
        remembered: trainer.memory().len() as u64,
        places: trainer.places() as u64,
        updates: UpdateCounts {
            applied: trainer.guard().applied(),
            skipped: trainer.guard().skipped().clone(),
        },
        candidates: state.candidates.clone(),
        version: state.version,
        checkpoints: keeper.counts,
        seconds: started.elapsed().as_secs_f64(),
        peak_rss_bytes: 0,
    })
}
