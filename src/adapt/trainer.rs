//! Frames in, tasks remembered, and step by step a better candidate.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    blind::Shown,
    maker::{Counts, Maker, asked, kept, leave_out},
    memory::{Capacity, Memory, Reservoir, ReservoirState},
    places::Places,
    rollouts::{Drawn, rollouts},
    view::{ViewConfig, view},
};
#[cfg(test)]
use crate::task::Answer;
use crate::{
    frame::{RgbdFrame, SensorModel, quality::QualityMeter},
    grpo::{GrpoConfig, GrpoMetrics, StepGuard, UpdateSkip},
    policy::{
        Policy, Rewarded,
        compact::{CompactPolicy, observe::Observation},
    },
    task::{Preset, TaskKind, TaskSet, foretold::Foretold, seed},
};

/// How the learner learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearnConfig {
    /// Update steps of a run; 0: without end.
    pub steps: u64,
    /// The most views of a frame; the first is the frame itself.
    pub views: u64,
    /// At most this many views are encoded in a run: of a long recording, frames are taken
    /// at even intervals, and a frame of a short one gets more views.
    pub max_views: u64,
    /// Tasks made of each view, by kind; 0.5 is one task on every other view.
    pub tasks_per_view: BTreeMap<String, f64>,
    /// Balanced tasks whose answers the coordinates of those before foretell are mostly left out:
    /// see [`Foretold`].
    pub leave_out_foretold: bool,
    /// Tasks that are remembered of each kind that asks about marked points.
    pub memory_per_kind: usize,
    /// Tasks that are remembered of each kind that shows patches, which are twenty times as
    /// large.
    pub memory_per_patch_kind: usize,
    /// Updates after each frame of a run without end.
    pub steps_per_frame: u64,
    /// Tasks in a step, by kind.
    pub tasks_per_step: BTreeMap<String, usize>,
    /// How often tasks whose answers were all equally right are drawn anew in a step.
    pub redraws: usize,
    /// Part of a step's tasks that is drawn from those which the start handed on, so that
    /// nothing is forgotten; 0: none.
    pub rehearse: f64,
    /// The highest learning rate; it rises over the first tenth of the steps and then falls
    /// to nothing along a cosine.
    pub learning_rate: f64,
    /// The same for a start that was learnt.
    pub start_learning_rate: f64,
    /// How views differ from their frame.
    pub view: ViewConfig,
}

impl Default for LearnConfig {
    fn default() -> Self {
        fn by_kind<T: Copy>(rgb: [T; 3], depth: [T; 2]) -> BTreeMap<String, T> {
            let values = rgb.into_iter().chain(depth);
            TaskKind::BUILTIN.iter().map(|kind| kind.name().to_owned()).zip(values).collect()
        }
        LearnConfig {
            steps: 2300,
            views: 24,
            max_views: 900,
            // Colour tasks need many pictures encoded and are soon learnt; depth tasks share
            // one picture and are the hard part.
            tasks_per_view: by_kind([0.15, 0.08, 0.08], [30.0, 44.0]),
            leave_out_foretold: true,
            memory_per_kind: 16_000,
            memory_per_patch_kind: 1500,
            steps_per_frame: 4,
            tasks_per_step: by_kind([2; 3], [96, 128]),
            redraws: 0,
            rehearse: 0.2,
            learning_rate: 4e-3,
            start_learning_rate: 2e-3,
            view: ViewConfig::default(),
        }
    }
}

impl LearnConfig {
    fn capacity(&self) -> Capacity {
        Capacity { points: self.memory_per_kind, patches: self.memory_per_patch_kind }
    }
}

/// Steps over which the rate rises in a run without end.
const ENDLESS_WARM_UP: f64 = 100.0;

/// One update, or why there was none.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was measured.
    pub metrics: GrpoMetrics,
    /// Why the weights stayed as they were.
    pub skipped: Option<UpdateSkip>,
}

/// A supervised step before the first rollout, or why there was none.
#[derive(Clone, Debug)]
pub struct Taught {
    /// Its number.
    pub step: u64,
    /// Mean cross-entropy of a token before the step, nats.
    pub loss: Option<f64>,
    /// Its learning rate.
    pub learning_rate: f64,
    /// How long it took.
    pub seconds: f64,
    /// Why the weights stayed as they were.
    pub skipped: Option<UpdateSkip>,
}

/// Adapts a policy to the frames that it is offered.
pub struct Trainer<P: Policy> {
    policy: P,
    tasks: TaskSet,
    sensor: SensorModel,
    config: LearnConfig,
    grpo: GrpoConfig,
    run_seed: u64,
    memory: Reservoir<P::Observation>,
    rehearsal: BTreeMap<TaskKind, Vec<Memory<P::Observation>>>,
    meter: QualityMeter,
    places: Places,
    foretold: Option<Foretold>,
    counts: Counts,
    guard: StepGuard,
    steps: u64,
    tokens: u64,
    rollout_time: Duration,
    update_time: Duration,
}

/// Everything of a trainer but its policy and its tasks, for a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainerState {
    steps: u64,
    tokens: u64,
    counts: Counts,
    guard: StepGuard,
    memory: ReservoirState,
    places: Places,
    #[serde(default)]
    foretold: Option<Foretold>,
    rollout_time: Duration,
    update_time: Duration,
}

impl TrainerState {
    /// Steps made, skipped ones included.
    pub fn steps(&self) -> u64 {
        self.steps
    }
}

impl<P: Policy + Sync> Trainer<P>
where
    P::Observation: Shown + Sync,
{
    /// A learner that has seen nothing yet.
    pub fn new(
        policy: P,
        tasks: TaskSet,
        sensor: SensorModel,
        config: LearnConfig,
        grpo: GrpoConfig,
        run_seed: u64,
    ) -> Self {
        Trainer {
            memory: Reservoir::new(config.capacity(), run_seed),
            rehearsal: BTreeMap::new(),
            meter: QualityMeter::default(),
            places: Places::default(),
            foretold: (config.leave_out_foretold && tasks.preset == Preset::Balanced)
                .then(Foretold::default),
            policy,
            tasks,
            sensor,
            config,
            grpo,
            run_seed,
            counts: Counts::default(),
            guard: StepGuard::default(),
            steps: 0,
            tokens: 0,
            rollout_time: Duration::ZERO,
            update_time: Duration::ZERO,
        }
    }

    /// Makes tasks from a frame and remembers them.
    ///
    /// # Errors
    /// When the policy cannot observe a task.
    pub fn offer_frame(&mut self, frame: &RgbdFrame) -> Result<(), P::Error> {
        self.offer_frames(std::slice::from_ref(frame))
    }

    /// As [`Trainer::offer_frame`] for several frames at once, on all threads of the
    /// current rayon pool. What is remembered does not depend on their number.
    ///
    /// # Errors
    /// When the policy cannot observe a task.
    pub fn offer_frames(&mut self, frames: &[RgbdFrame]) -> Result<(), P::Error> {
        self.offer_views(frames, self.config.views)
    }

    /// As [`Trainer::offer_frames`] with this many views of each frame.
    ///
    /// # Errors
    /// When the policy cannot observe a task.
    pub fn offer_views(&mut self, frames: &[RgbdFrame], views: u64) -> Result<(), P::Error> {
        let maker = Maker { tasks: &self.tasks, sensor: self.sensor, run_seed: self.run_seed };
        let per_view = |kind: &TaskKind, view: u64| {
            let rate = self.config.tasks_per_view.get(kind.name()).copied().unwrap_or(1.0);
            // Rounded up along the views of a frame, so that a fraction skips some of them.
            let until = |views: u64| (views as f64 * rate.clamp(0.0, 1e4)).ceil() as u64;
            until(view + 1) - until(view)
        };
        let placed: Vec<(&RgbdFrame, u16)> = frames
            .iter()
            .map(|frame| (frame, self.places.place(&self.meter.measure(frame).signature)))
            .collect();
        let each = usize::try_from(views).unwrap_or(usize::MAX);
        let views: Vec<(&RgbdFrame, u16, u64)> = placed
            .iter()
            .flat_map(|&(frame, place)| (0..views).map(move |number| (frame, place, number)))
            .collect();
        let made: Vec<_> = views
            .into_par_iter()
            .map(|(frame, place, number)| {
                let started = Instant::now();
                match view(frame, &self.config.view, self.run_seed, number) {
                    Ok(view) => {
                        let viewed = started.elapsed();
                        let (memories, mut counts) =
                            maker
                                .make(&self.policy, &view, place, |kind| per_view(kind, number))?;
                        counts.build_tasks += viewed;
                        Ok((memories, counts))
                    }
                    Err(error) => {
                        tracing::debug!("frame {:?} has no view {number}: {error}", frame.id);
                        let mut counts = Counts::default();
                        counts.skipped.add("view");
                        Ok((Vec::new(), counts))
                    }
                }
            })
            .collect::<Result<_, P::Error>>()?;
        let mut made = made.into_iter();
        for _ in frames {
            let (mut tasks, mut counts) = (Vec::new(), Counts::default());
            for (of_view, own) in made.by_ref().take(each) {
                tasks.extend(of_view);
                counts.merge(&own);
            }
            if let Some(foretold) = &mut self.foretold {
                // By earlier frames alone: those of one frame are fair among themselves.
                let keeps = kept(foretold, &tasks, self.run_seed);
                tasks.iter().for_each(|task| foretold.remember(&asked(task)));
                leave_out(&mut tasks, keeps, &mut counts);
            }
            self.counts.merge(&counts);
            tasks.into_iter().for_each(|task| {
                self.memory.offer(task);
            });
        }
        Ok(())
    }

    /// One GRPO update on tasks drawn evenly from the kinds that are remembered.
    ///
    /// # Errors
    /// When the policy cannot answer. A skipped update is not an error: it is in the step.
    pub fn step(&mut self) -> Result<Step, P::Error> {
        let number = self.steps;
        self.steps += 1;
        let learning_rate = self.learning_rate(number);
        let mut metrics = GrpoMetrics { step: number, learning_rate, ..Default::default() };

        let started = Instant::now();
        let step_seed = seed::mix(seed::mix(self.run_seed, 0x57e9), number);
        let (teaching, asked) = rollouts(
            &self.policy,
            Drawn { memory: &self.memory, rehearsal: &self.rehearsal },
            &self.config,
            &self.grpo,
            step_seed,
            &mut metrics,
        )?;
        let rollout = started.elapsed();
        self.rollout_time += rollout;

        let started = Instant::now();
        let rewarded: Vec<Rewarded<'_, P::Observation>> = teaching
            .iter()
            .map(|teaching| Rewarded {
                observation: &teaching.memory.observation,
                group: &teaching.group,
                advantages: teaching.advantages.clone(),
            })
            .collect();
        let updated = match rewarded.is_empty() {
            true => Err(UpdateSkip::NoSpread),
            false => self.policy.update(&rewarded, &self.grpo, learning_rate),
        };
        let update = started.elapsed();
        self.update_time += update;

        self.tokens += asked;
        let skipped = match updated {
            Ok(updated) => {
                metrics = GrpoMetrics {
                    step: number,
                    reward: metrics.reward,
                    reward_std: metrics.reward_std,
                    frac_reward_zero_std: metrics.frac_reward_zero_std,
                    named: metrics.named,
                    ..updated
                };
                let _ = self.guard.admit(Ok(()));
                None
            }
            Err(skip) => {
                self.guard.skip(&skip);
                Some(skip)
            }
        };
        metrics.num_tokens = self.tokens;
        metrics.set_seconds("rollout", rollout.as_secs_f64());
        metrics.set_seconds("update", update.as_secs_f64());
        Ok(Step { metrics, skipped })
    }

    /// Linear warm-up over a tenth of the run, then a cosine to nothing. Of a run without
    /// end: warm-up over [`ENDLESS_WARM_UP`] steps, then a tenth of the highest rate for ever.
    fn learning_rate(&self, step: u64) -> f64 {
        if self.config.steps == 0 {
            let risen = (step as f64 + 1.0) / ENDLESS_WARM_UP;
            return self.config.learning_rate * 0.1 * risen.min(1.0);
        }
        let progress = (step as f64 + 1.0) / self.config.steps.max(1) as f64;
        let shape = if progress < 0.1 {
            progress / 0.1
        } else {
            0.5 * (1.0 + (std::f64::consts::PI * ((progress - 0.1) / 0.9).min(1.0)).cos())
        };
        self.config.learning_rate * shape.max(1e-3)
    }

    /// The policy as it is now.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// The policy, when learning is over.
    pub fn into_policy(self) -> P {
        self.policy
    }

    /// The policy, to be calibrated before the first step.
    pub fn policy_mut(&mut self) -> &mut P {
        &mut self.policy
    }

    /// Puts another answer in the place of the right one of everything remembered.
    #[cfg(test)]
    pub(super) fn poison(&mut self, answer: impl Fn(&Memory<P::Observation>) -> Answer) {
        let state = self.memory.state();
        let tasks: Vec<_> =
            std::mem::replace(&mut self.memory, Reservoir::new(self.config.capacity(), 0))
                .into_all()
                .map(|task| Memory { answer: answer(&task), ..task })
                .collect();
        self.memory = Reservoir::restore(self.config.capacity(), state, tasks);
    }

    /// Tasks to be rehearsed: see [`LearnConfig::rehearse`].
    pub fn set_rehearsal(&mut self, tasks: Vec<Memory<P::Observation>>) {
        self.rehearsal.clear();
        for task in tasks {
            self.rehearsal.entry(task.kind.clone()).or_default().push(task);
        }
    }

    /// The tasks that are rehearsed.
    pub fn rehearsal(&self) -> impl Iterator<Item = &Memory<P::Observation>> {
        self.rehearsal.values().flatten()
    }

    /// What a checkpoint needs beside the policy and the remembered tasks.
    pub fn state(&self) -> TrainerState {
        TrainerState {
            steps: self.steps,
            tokens: self.tokens,
            counts: self.counts.clone(),
            guard: self.guard.clone(),
            memory: self.memory.state(),
            places: self.places.clone(),
            foretold: self.foretold.clone(),
            rollout_time: self.rollout_time,
            update_time: self.update_time,
        }
    }

    /// Goes on where another trainer was, with its remembered tasks in their order.
    pub fn restore(&mut self, state: TrainerState, tasks: Vec<Memory<P::Observation>>) {
        self.memory = Reservoir::restore(self.config.capacity(), state.memory, tasks);
        (self.steps, self.tokens) = (state.steps, state.tokens);
        (self.counts, self.guard, self.places) = (state.counts, state.guard, state.places);
        self.foretold = state.foretold;
        (self.rollout_time, self.update_time) = (state.rollout_time, state.update_time);
    }

    /// Goes on where another trainer was that remembered the same tasks.
    pub fn go_on(&mut self, state: &TrainerState) {
        (self.steps, self.tokens) = (state.steps, state.tokens);
        self.guard = state.guard.clone();
        (self.rollout_time, self.update_time) = (state.rollout_time, state.update_time);
    }

    /// Steps made so far, skipped ones included.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What is remembered.
    pub fn memory(&self) -> &Reservoir<P::Observation> {
        &self.memory
    }

    /// What coordinates foretell, unless that is not asked.
    pub fn foretold(&self) -> Option<&Foretold> {
        self.foretold.as_ref()
    }

    /// How many places were told apart.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Tasks made and skipped so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Updates applied and skipped so far.
    pub fn guard(&self) -> &StepGuard {
        &self.guard
    }

    /// Time spent in rollouts and in updates.
    pub fn times(&self) -> (Duration, Duration) {
        (self.rollout_time, self.update_time)
    }
}

impl Trainer<CompactPolicy> {
    /// Shows a policy with random weights the spread of the features, on a sample of what is
    /// remembered: its head sees them at unit size.
    pub fn calibrate(&mut self) {
        const SAMPLE: usize = 400;
        let sample: Vec<&Observation> = self
            .memory
            .kinds()
            .flat_map(|kind| {
                let kept = self.memory.of(kind);
                kept.iter().step_by((kept.len() / SAMPLE).max(1)).take(SAMPLE)
            })
            .map(|memory| &memory.observation)
            .collect();
        self.policy.calibrate(&sample);
    }
}
