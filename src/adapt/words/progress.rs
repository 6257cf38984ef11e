//! Where a run with a policy in words stands, as its checkpoints have it beside the adapter and
//! the optimiser's state. Tasks are not kept: drawn again from the same recording with the same
//! seed they are the same, which is checked.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ColdStartCounts, tasks::Marks};
use crate::{
    adapt::{memory::Memory, trainer::TrainerState},
    digest,
    policy::qwen::policy::Observation,
};

/// Where a run stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// [`digest_of`] the tasks that are learnt from and tested on.
    pub tasks: String,
    /// How the held-out tasks were answered before learning.
    pub before: Option<Marks>,
    /// The cold start so far.
    pub cold: ColdStartCounts,
    /// Mean reward of each update so far.
    pub rewards: Vec<f64>,
    /// The learner.
    pub trainer: TrainerState,
}

impl Progress {
    /// Steps that were made, of the cold start and by reward.
    pub fn steps(&self) -> u64 {
        self.cold.steps() + self.trainer.steps()
    }
}

/// SHA-256 of what is asked, what is shown and what is right.
pub fn digest_of<'t>(tasks: impl Iterator<Item = &'t Memory<Observation>>) -> String {
    let mut all = Sha256::new();
    for task in tasks {
        let Observation { text, pictures, .. } = &task.observation;
        all.update(format!("{} {} {} {text}\n", task.kind, task.stamp_ns, task.answer));
        for picture in pictures {
            all.update(format!("{:?}", picture.dimensions()));
            all.update(picture.as_raw());
        }
    }
    digest::text(&all.finalize())
}
