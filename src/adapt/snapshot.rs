//! A learner as the files of a checkpoint, and back: it goes on as if nothing had happened.

use std::{collections::VecDeque, sync::Arc};

use burn::tensor::Device;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    checkpoint::Files,
    learner::{Learner, LearnerError, LearnerState},
    memory::{Capacity, Memory, Reservoir, ReservoirState},
    settings::RunConfig,
    store::{self, StoreError},
    trainer::TrainerState,
};
use crate::{
    frame::quality::Signature,
    policy::compact::{CompactError, CompactPolicy, observe::Observation},
};

/// Why a learner cannot be put away or taken up again.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The policy.
    #[error(transparent)]
    Policy(#[from] CompactError),
    /// The tasks.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The settings.
    #[error(transparent)]
    Learner(#[from] LearnerError),
    /// A file that must be there.
    #[error("the checkpoint lacks {0}")]
    Missing(String),
    /// The plain state.
    #[error("the checkpoint's state: {0}")]
    State(String),
}

/// Everything of a learner that is neither weights nor tasks, and where its source stood.
#[derive(Serialize, Deserialize)]
struct Plain<C> {
    config: RunConfig,
    learner: LearnerState,
    trainer: TrainerState,
    taken: Vec<Signature>,
    earlier_tasks: ReservoirState,
    versions: Vec<u64>,
    cursor: C,
}

const STATE: &str = "state.cbor";
const CANDIDATE: &str = "candidate.safetensors";
const START: &str = "start.safetensors";
const SERVING: &str = "serving.safetensors";
const OPTIMIZER: &str = "optimizer.burnpack";
const MEMORY: &str = "memory.tasks";
const REHEARSAL: &str = "rehearsal.tasks";
const FACTORY: &str = "factory.tasks";
const RECENT: &str = "recent.tasks";
const EARLIER: &str = "earlier.tasks";

fn earlier_policy(version: u64) -> String {
    format!("version-{version}.safetensors")
}

impl Learner {
    /// The learner as files; `cursor` says where its source stands.
    ///
    /// # Errors
    /// When weights or tasks cannot be encoded.
    pub fn files(&self, cursor: &impl Serialize) -> Result<Files, SnapshotError> {
        let (recent, earlier) = self.held_out.local();
        let plain = Plain {
            config: self.config.clone(),
            learner: self.state.clone(),
            trainer: self.trainer.state(),
            taken: self.gate.taken(),
            earlier_tasks: earlier.state(),
            versions: self.earlier.iter().map(|(version, _)| *version).collect(),
            cursor,
        };
        let mut state = Vec::new();
        ciborium::into_writer(&plain, &mut state)
            .map_err(|e| SnapshotError::State(e.to_string()))?;
        let candidate = self.trainer.policy();
        let mut files: Files = [
            (STATE, state),
            (CANDIDATE, candidate.weights()?),
            (OPTIMIZER, candidate.optimizer_bytes()?),
            (START, self.start.weights()?),
            (SERVING, self.serving.weights()?),
            (MEMORY, store::to_bytes(self.trainer.memory().all())?),
            (REHEARSAL, store::to_bytes(self.trainer.rehearsal())?),
            (FACTORY, store::to_bytes(self.held_out.factory())?),
            (RECENT, store::to_bytes(recent)?),
            (EARLIER, store::to_bytes(earlier.all())?),
        ]
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .into_iter()
        .collect();
        for (version, policy) in &self.earlier {
            files.insert(earlier_policy(*version), policy.weights()?);
        }
        Ok(files)
    }

    /// The learner whose [`Learner::files`] these are, and where its source stood.
    ///
    /// # Errors
    /// When a file is missing, damaged, or of another version.
    pub fn from_files<C: DeserializeOwned>(
        files: &Files,
        device: Device,
    ) -> Result<(Self, C), SnapshotError> {
        let file =
            |name: &str| files.get(name).ok_or_else(|| SnapshotError::Missing(name.to_owned()));
        let plain: Plain<C> = ciborium::from_reader(file(STATE)?.as_slice())
            .map_err(|e| SnapshotError::State(e.to_string()))?;
        let (config, state) = (plain.config, plain.learner);
        let random = CompactPolicy::new(config.policy.clone(), config.seed, device)?;
        let tasks = |name: &str| -> Result<Vec<Memory<Observation>>, SnapshotError> {
            let tasks = store::from_bytes(file(name)?)?;
            match tasks.iter().all(|task| random.fits(&task.observation)) {
                true => Ok(tasks),
                false => Err(SnapshotError::State(format!("{name} is of another encoder"))),
            }
        };
        let start = random.with_weights(file(START)?)?;
        let mut learner = Learner::new(start, state.known_start, config)?;
        let start = learner.start.clone();
        learner.serving = match state.version {
            0 => start.clone(),
            _ => Arc::new(start.with_weights(file(SERVING)?)?),
        };
        learner.earlier = VecDeque::new();
        for version in plain.versions {
            let policy = match version {
                0 => start.clone(),
                _ => Arc::new(start.with_weights(file(&earlier_policy(version))?)?),
            };
            learner.earlier.push_back((version, policy));
        }
        learner.gate.resume(plain.taken);
        learner.held_out.set_factory(tasks(FACTORY)?);
        let half = learner.config.promote.local.tasks_per_kind.div_ceil(2).max(1);
        let earlier =
            Reservoir::restore(Capacity::same(half), plain.earlier_tasks, tasks(EARLIER)?);
        learner.held_out.restore(tasks(RECENT)?, earlier);
        learner.trainer.set_rehearsal(tasks(REHEARSAL)?);
        learner.trainer.restore(plain.trainer, tasks(MEMORY)?);
        learner.trainer.policy_mut().resume(file(CANDIDATE)?, file(OPTIMIZER)?)?;
        learner.state = state;
        Ok((learner, plain.cursor))
    }
}
