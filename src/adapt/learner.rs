//! The continual loop: frames are offered, steps are taken, and now and then the candidate
//! takes the place of the policy that serves. One engine for a replayed recording, a live
//! camera, and a program that uses this crate as a library.
//!
//! ```no_run
//! use spatial_ssrl::{adapt::{Learner, settings::RunConfig}, policy::compact::CompactPolicy};
//! # fn camera() -> Option<spatial_ssrl::frame::RgbdFrame> { None }
//! let start = CompactPolicy::builtin(burn::tensor::Device::flex())?;
//! let mut learner = Learner::new(start, true, RunConfig::default())?;
//! while let Some(frame) = camera() {
//!     learner.offer_frame(frame)?;
//!     let progress = learner.step()?;
//!     let serving = learner.policy(); // an Arc: answers go on while learning does
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    alarm::AlarmConfig,
    check::{Candidates, Check},
    exam::Exam,
    gate::{Gate, GateConfigError},
    held_out::{HeldOut, LocalConfig, Use},
    heritage::{self, Heritage},
    maker::{Counts, Maker},
    memory::{Capacity, Memory},
    promote,
    settings::{RunConfig, task_set},
    summary::FrameCounts,
    trainer::{Step, Trainer},
};
use crate::{
    frame::RgbdFrame,
    grpo::ConfigError as GrpoConfigError,
    policy::compact::{CompactError, CompactPolicy, observe::Observation},
    task::{TaskKind, TaskSet},
};

/// When candidates are tested and what becomes of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromoteConfig {
    /// Updates between two tests of the candidate. [`super::replay::replay`] tests the last one
    /// only: earlier ones have not settled.
    pub check_every: u64,
    /// Promoted policies that are kept for a rollback.
    pub history: usize,
    /// The local held-out set.
    pub local: LocalConfig,
    /// Alarms.
    pub alarm: AlarmConfig,
}

impl Default for PromoteConfig {
    fn default() -> Self {
        PromoteConfig {
            check_every: 300,
            history: 5,
            local: LocalConfig::default(),
            alarm: AlarmConfig::default(),
        }
    }
}

/// Why there is no learner.
#[derive(Debug, thiserror::Error)]
pub enum LearnerError {
    /// The policy.
    #[error(transparent)]
    Policy(#[from] CompactError),
    /// The gate's settings.
    #[error(transparent)]
    Gate(#[from] GateConfigError),
    /// The loss's settings.
    #[error("grpo: {0}")]
    Grpo(#[from] GrpoConfigError),
    /// A kind that does not exist.
    #[error("{0}")]
    Kinds(String),
}

/// What one call of [`Learner::step`] did.
#[derive(Clone, Debug)]
pub enum Progress {
    /// An update, and the test of the candidate if one was due.
    Step(Box<Step>, Option<Box<Check>>),
    /// Nothing: there is nothing to learn from yet.
    Waiting,
    /// Nothing: an alarm stopped learning until new frames come.
    Frozen,
}

/// Adapts a policy for as long as it helps.
pub struct Learner {
    pub(super) config: RunConfig,
    pub(super) tasks: TaskSet,
    pub(super) trainer: Trainer<CompactPolicy>,
    pub(super) gate: Gate,
    pub(super) held_out: HeldOut<Observation>,
    pub(super) start: Arc<CompactPolicy>,
    pub(super) serving: Arc<CompactPolicy>,
    /// The one that serves is the last; those before it are kept for a rollback.
    pub(super) earlier: VecDeque<(u64, Arc<CompactPolicy>)>,
    pub(super) state: LearnerState,
    /// Exams of the start and of the serving policy, with the versions of the held-out tasks
    /// and of that policy.
    pub(super) known: Option<(u64, u64, Exam, Exam)>,
}

/// The plain part of what a learner is, for a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearnerState {
    /// The start was learnt, not random.
    pub known_start: bool,
    /// Features are scaled.
    pub calibrated: bool,
    /// Stamp of the first frame, nanoseconds.
    pub first_ns: Option<i64>,
    /// Version of the serving policy; 0 is the start.
    pub version: u64,
    /// Versions given so far.
    pub versions: u64,
    /// Rejections since the last promotion or restart.
    pub rejections: u64,
    /// Restarts since the last promotion.
    pub restarts: u64,
    /// An alarm stopped learning.
    pub frozen: bool,
    /// Frames.
    pub frames: FrameCounts,
    /// Tasks of the local held-out set, made and not made.
    pub tested: Counts,
    /// Candidates.
    pub candidates: Candidates,
}

impl Learner {
    /// A learner that starts from `start`; `known` says that it was learnt and not just
    /// initialised at random. Sizes and encoder are those of `start`; how it learns is what
    /// `config` says.
    ///
    /// # Errors
    /// [`LearnerError`] for settings that cannot be used.
    pub fn new(
        mut start: CompactPolicy,
        known: bool,
        mut config: RunConfig,
    ) -> Result<Self, LearnerError> {
        start.learn_with(&config.policy);
        config.policy = start.config().clone();
        config.grpo.validate()?;
        let tasks = task_set(&config).map_err(LearnerError::Kinds)?;
        let gate = Gate::new(config.gate.clone())?;
        if known {
            start.start_from_here();
            start.set_reference();
        }
        let first = Arc::new(start.frozen());
        let mut learn = config.learn.clone();
        if known {
            learn.learning_rate = learn.start_learning_rate;
        }
        let trainer = Trainer::new(
            start,
            tasks.clone(),
            config.tasks.sensor,
            learn,
            config.grpo.clone(),
            config.seed,
        );
        Ok(Learner {
            held_out: HeldOut::new(&config.promote.local, config.seed),
            tasks,
            trainer,
            gate,
            start: first.clone(),
            serving: first,
            earlier: VecDeque::new(),
            state: LearnerState { known_start: known, calibrated: known, ..Default::default() },
            known: None,
            config,
        })
    }

    /// Takes what the start handed on: tasks to rehearse and the factory set.
    pub fn inherit(&mut self, heritage: Heritage) {
        self.trainer.set_rehearsal(heritage.rehearsal);
        self.held_out.set_factory(heritage.factory);
    }

    /// What the serving policy hands on: what it inherited, and a share of its own tasks.
    pub fn heritage(&self) -> Heritage {
        let mut rehearsal: Vec<_> = self.trainer.rehearsal().cloned().collect();
        rehearsal.extend(heritage::sample(self.trainer.memory().all(), heritage::REHEARSAL));
        let mut factory = self.held_out.factory().to_vec();
        let local = self.held_out.tasks().filter(|(set, _)| *set == promote::Set::Local);
        factory.extend(heritage::sample(local.map(|(_, task)| task), heritage::FACTORY));
        // After many generations each keeps its share of a bounded whole.
        let bound = |share: Capacity| Capacity {
            points: GENERATIONS * share.points,
            patches: GENERATIONS * share.patches,
        };
        Heritage {
            rehearsal: heritage::sample(&rehearsal, bound(heritage::REHEARSAL)),
            factory: heritage::sample(&factory, bound(heritage::FACTORY)),
        }
    }

    /// Offers one frame: it is learnt from, tested on, or counted with the reason why not.
    ///
    /// # Errors
    /// When the policy cannot observe a task.
    pub fn offer_frame(&mut self, frame: RgbdFrame) -> Result<(), CompactError> {
        let views = self.config.learn.views;
        self.offer_frames(vec![frame], views)
    }

    /// As [`Learner::offer_frame`] for several frames at once, with this many views of each,
    /// on all threads of the current rayon pool. Their number changes nothing.
    ///
    /// # Errors
    /// When the policy cannot observe a task.
    pub fn offer_frames(&mut self, frames: Vec<RgbdFrame>, views: u64) -> Result<(), CompactError> {
        let (mut learn, mut test) = (Vec::new(), Vec::new());
        for frame in frames {
            let first_ns = *self.state.first_ns.get_or_insert(frame.stamp_ns);
            let used = self.config.promote.local.of(frame.stamp_ns.saturating_sub(first_ns));
            let part = match used {
                Use::Learn => &mut learn,
                Use::Test => &mut test,
                Use::Gap => {
                    self.state.frames.drop("between_learning_and_testing");
                    continue;
                }
            };
            part.extend(self.state.frames.admit(&mut self.gate, frame));
        }
        if !learn.is_empty() {
            // What is new may help where more of the old did not.
            self.state.frozen = false;
        }
        self.trainer.offer_views(&learn, views)?;
        let attempts = |kind: &TaskKind| if kind.needs_depth() { 16 } else { 4 };
        let (made, counts) = self.make_tests(&test, LOCAL_SEED, attempts)?;
        self.state.tested.merge(&counts);
        made.into_iter().for_each(|task| self.held_out.offer(task));
        Ok(())
    }

    /// Tasks to test on; seeds apart from those of training.
    fn make_tests(
        &self,
        frames: &[RgbdFrame],
        seed: u64,
        attempts: impl Fn(&TaskKind) -> u64 + Sync,
    ) -> Result<(Vec<Memory<Observation>>, Counts), CompactError> {
        let run_seed = crate::task::seed::mix(self.config.seed, seed);
        let maker = Maker { tasks: &self.tasks, sensor: self.config.tasks.sensor, run_seed };
        let policy = self.trainer.policy();
        let made: Vec<_> = frames
            .par_iter()
            .map(|frame| maker.make(policy, frame, 0, &attempts))
            .collect::<Result<_, _>>()?;
        let (mut all, mut counts) = (Vec::new(), Counts::default());
        for (tasks, own) in made {
            all.extend(tasks);
            counts.merge(&own);
        }
        Ok((all, counts))
    }

    /// One update of the candidate, and its test when one is due.
    ///
    /// # Errors
    /// When the policy cannot answer. A skipped update or a rejected candidate is no error.
    pub fn step(&mut self) -> Result<Progress, CompactError> {
        if self.state.frozen {
            return Ok(Progress::Frozen);
        }
        if self.trainer.memory().is_empty() {
            return Ok(Progress::Waiting);
        }
        self.calibrate();
        let step = self.trainer.step()?;
        let due = self.trainer.steps().is_multiple_of(self.config.promote.check_every.max(1));
        let check = if due { Some(Box::new(self.check()?)) } else { None };
        Ok(Progress::Step(Box::new(step), check))
    }

    /// A policy with random weights is shown the spread of the features before it learns:
    /// the head sees them at unit size. Of no effect on a start that was learnt.
    pub fn calibrate(&mut self) {
        if self.state.calibrated || self.trainer.memory().is_empty() {
            return;
        }
        self.state.calibrated = true;
        self.trainer.calibrate();
        self.start = Arc::new(self.trainer.policy().frozen());
        self.serving = self.start.clone();
    }

    /// The policy that serves. It never changes: a promotion puts another in its place.
    pub fn policy(&self) -> Arc<CompactPolicy> {
        self.serving.clone()
    }

    /// The policy that it started from.
    pub fn start(&self) -> &CompactPolicy {
        &self.start
    }

    /// Mean accuracy of the serving policy when it was last tested, 0 before that.
    pub fn score(&self) -> f64 {
        self.known.as_ref().map_or(0.0, |(_, _, _, serving)| promote::mean(&serving.answers))
    }

    /// What the start and the serving policy answered when they were last tested.
    pub fn last_exams(&self) -> Option<[&Exam; 2]> {
        self.known.as_ref().map(|(_, _, start, serving)| [start, serving])
    }

    /// The policy that learns.
    pub fn candidate(&self) -> &CompactPolicy {
        self.trainer.policy()
    }

    /// The part that makes tasks and updates.
    pub fn trainer(&self) -> &Trainer<CompactPolicy> {
        &self.trainer
    }

    /// For tests of what a faulty teacher does.
    #[cfg(test)]
    pub(super) fn trainer_mut(&mut self) -> &mut Trainer<CompactPolicy> {
        &mut self.trainer
    }

    /// What candidates are tested on.
    pub fn held_out(&self) -> &HeldOut<Observation> {
        &self.held_out
    }

    /// Everything that is counted.
    pub fn state(&self) -> &LearnerState {
        &self.state
    }

    /// For frames that the caller did not offer, and why.
    pub fn frames_mut(&mut self) -> &mut FrameCounts {
        &mut self.state.frames
    }

    /// The settings.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }
}

/// A heritage holds at most so many generations' shares.
const GENERATIONS: usize = 4;
const LOCAL_SEED: u64 = 0x10ca;

/// At most so many tasks of each kind, evenly spread over those given.
pub(super) fn evenly<O>(tasks: Vec<Memory<O>>, wanted: Capacity) -> Vec<Memory<O>> {
    let mut kinds: BTreeMap<TaskKind, Vec<Memory<O>>> = BTreeMap::new();
    for task in tasks {
        kinds.entry(task.kind.clone()).or_default().push(task);
    }
    let mut kept = Vec::new();
    for (kind, tasks) in kinds {
        let (all, wanted, mut taken) = (tasks.len(), wanted.of(&kind), 0);
        for (i, task) in tasks.into_iter().enumerate() {
            // Every task whose number passes the next multiple of all / wanted.
            if all <= wanted || (i + 1) * wanted / all > taken {
                taken += 1;
                kept.push(task);
            }
        }
    }
    kept
}

#[cfg(test)]
#[path = "learner_tests.rs"]
mod tests;
