//! What a run with a policy in words did, as `summary.json` tells it.

use serde::{Deserialize, Serialize};

use crate::{
    adapt::{
        promote::Rejection,
        score::Scores,
        summary::{FrameCounts, UpdateCounts},
    },
    tally::Tally,
    task::Preset,
};

/// The supervised steps before the first rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColdStartCounts {
    /// Steps that changed the adapter.
    pub applied: u64,
    /// Steps that left it as it was, by reason.
    pub skipped: Tally,
    /// Mean cross-entropy of a token at the first step, nats; none without a step.
    pub first_loss: Option<f64>,
    /// The same at the last step.
    pub last_loss: Option<f64>,
}

impl ColdStartCounts {
    /// Steps made, those included that changed nothing.
    pub fn steps(&self) -> u64 {
        self.applied + self.skipped.total()
    }
}

/// Where the time went, seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WordsSeconds {
    /// Reading frames and drawing tasks.
    pub draw: f64,
    /// Answering the tests, before and after.
    pub test: f64,
    /// Supervised steps.
    pub cold_start: f64,
    /// Sampling answers.
    pub rollout: f64,
    /// Updates by reward.
    pub update: f64,
    /// The whole run.
    pub total: f64,
}

/// What a run did; `summary.json`.
#[derive(Clone, Debug, Serialize)]
pub struct WordsSummary {
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
    /// Held-out accuracy before learning; none when the run was stopped before it was known.
    pub before: Option<Scores>,
    /// Held-out accuracy after learning; none when the run was stopped.
    pub after: Option<Scores>,
    /// Mean of `before` over kinds.
    pub mean_before: Option<f64>,
    /// Mean of `after` over kinds.
    pub mean_after: Option<f64>,
    /// By how much the mean over kinds rose, if what was learnt may take the place of what it began
    /// with: the mean rose and no kind fell, by the rule of [`crate::adapt::promote`].
    pub promoted: Option<f64>,
    /// Why it may not. It is kept all the same.
    pub rejected: Option<Rejection>,
    /// The cold start.
    pub cold_start: ColdStartCounts,
    /// Updates by reward.
    pub updates: UpdateCounts,
    /// Mean reward of the answers sampled in the first tenth of the updates.
    pub first_reward: Option<f64>,
    /// The same in the last tenth.
    pub last_reward: Option<f64>,
    /// Time.
    pub wall_seconds: WordsSeconds,
    /// The most memory that the process held.
    pub peak_rss_bytes: u64,
}
