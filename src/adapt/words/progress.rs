//! Where a run with a policy in words stands, as its checkpoints have it beside the adapter and
//! the optimiser's state. Tasks are not kept: drawn again from the same recording with the same
//! seed they are the same, which is checked.

use serde::{Deserialize, Serialize};

use super::ColdStartCounts;
use crate::adapt::{score::Scores, trainer::TrainerState};

/// Where a run stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Held-out accuracy before learning.
    pub before: Option<Scores>,
    /// The cold start so far.
    pub cold: ColdStartCounts,
    /// Mean reward of each update so far.
    pub rewards: Vec<f64>,
    /// The learner; its memory tells whether the tasks are the same.
    pub trainer: TrainerState,
}

impl Progress {
    /// Steps that were made, of the cold start and by reward.
    pub fn steps(&self) -> u64 {
        self.cold.steps() + self.trainer.steps()
    }
}
