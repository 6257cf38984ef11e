//! A whole run on recorded frames: learn on the first part, test on the last.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use burn::tensor::Device;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    blind,
    gate::{Gate, GateConfig, GateConfigError, Verdict},
    learner::{Counts, LearnConfig, Learner, Maker, Step},
    memory::Memory,
    score::{self, Scores},
    split::{Part, Split, SplitConfig, SplitError},
};
use crate::{
    frame::{Extent, Registration, RgbdFrame, SensorModel},
    grpo::{ConfigError as GrpoConfigError, GrpoConfig},
    policy::compact::{CompactConfig, CompactError, CompactPolicy, observe::Observation},
    tally::Tally,
    task::{Preset, TaskKind, TaskSet},
};

/// Every setting of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Decides every random choice.
    pub seed: u64,
    /// Which tasks are made.
    pub tasks: TaskConfig,
    /// Which frames are used.
    pub gate: GateConfig,
    /// What is learnt from and what is tested on.
    pub split: SplitConfig,
    /// How the learner learns.
    pub learn: LearnConfig,
    /// The loss.
    pub grpo: GrpoConfig,
    /// The compact policy.
    pub policy: CompactConfig,
}

impl Default for RunConfig {
    fn default() -> Self {
        RunConfig {
            seed: 1,
            tasks: TaskConfig::default(),
            gate: GateConfig::default(),
            split: SplitConfig::default(),
            learn: LearnConfig::default(),
            // Answers of the compact policy cost next to nothing, so its groups are larger
            // than the published 5; a start from random weights has no reference to keep to.
            grpo: GrpoConfig { group_size: 16, kl_coef: 0.0, ..GrpoConfig::default() },
            policy: CompactConfig::default(),
        }
    }
}

impl crate::config::OptionalKeys for RunConfig {
    const OPTIONAL_KEYS: &'static [&'static str] =
        &["learn.tasks_per_view.*", "learn.tasks_per_step.*"];
}

/// Which tasks are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskConfig {
    /// `balanced` or `published`.
    pub preset: Preset,
    /// Kinds by name.
    pub kinds: Vec<String>,
    /// The noise of the depth camera.
    pub sensor: SensorModel,
}

impl Default for TaskConfig {
    fn default() -> Self {
        TaskConfig {
            preset: Preset::default(),
            kinds: TaskKind::BUILTIN.iter().map(|kind| kind.name().to_owned()).collect(),
            sensor: SensorModel::default(),
        }
    }
}

/// What a run tells while it runs.
pub trait Watch {
    /// A phase begins; `total` items are expected.
    fn phase(&mut self, name: &str, unit: &str, total: Option<u64>);
    /// Items of the present phase that are done.
    fn advance(&mut self, items: u64);
    /// An update was made or skipped.
    fn step(&mut self, step: &Step);
    /// Whether to stop learning and finish with what there is.
    fn stopped(&self) -> bool;
}

/// Frames of a recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FrameCounts {
    /// Given by the source.
    pub read: u64,
    /// Learnt from or tested on.
    pub used: u64,
    /// Used for nothing, by reason.
    pub skipped: Tally,
    /// Used for colour tasks alone, by reason.
    pub color_only: Tally,
}

impl FrameCounts {
    /// A frame that is read and, if the gate lets it through, used; without its depth where
    /// the gate does not trust that.
    pub fn admit(&mut self, gate: &mut Gate, frame: RgbdFrame) -> Option<RgbdFrame> {
        let frame = match gate.check(&frame) {
            Verdict::Reject(reason) => {
                self.drop(reason.name());
                return None;
            }
            Verdict::ColorOnly(reason) => {
                self.color_only.add(reason.name());
                RgbdFrame { registration: Registration::Unregistered, ..frame }
            }
            Verdict::Full => frame,
        };
        self.read += 1;
        self.used += 1;
        Some(frame)
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
    /// Time.
    pub wall_seconds: WallSeconds,
    /// The most memory that the process held.
    pub peak_rss_bytes: u64,
}

/// Why a run did not come to a result.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError<E: std::error::Error + 'static> {
    /// The source.
    #[error(transparent)]
    Source(E),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] CompactError),
    /// The split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The gate's settings.
    #[error(transparent)]
    Gate(#[from] GateConfigError),
    /// The loss's settings.
    #[error("grpo: {0}")]
    Grpo(#[from] GrpoConfigError),
    /// A kind that does not exist.
    #[error("{0}")]
    Kinds(String),
    /// No frame came, or none passed the gate, or none made a task.
    #[error("nothing to {what}: {why}")]
    Nothing {
        /// `learn from` or `test on`.
        what: &'static str,
        /// Which counts say why.
        why: String,
    },
}

/// Frames one by one.
pub type Frames<'a, E> = Box<dyn FnMut() -> Result<Option<RgbdFrame>, E> + 'a>;

/// Frames that are prepared at once, so that no more than these are in memory.
const CHUNK: usize = 8;
/// More held-out frames than this tell nothing new.
const MAX_HELD_OUT_FRAMES: u64 = 160;

/// Learns on the first part of a recording and tests on its last part.
///
/// `open` starts the recording from its beginning; it is called twice when `extent` is not
/// known. `budget` bounds the time spent, tests included as far as they are foreseeable.
///
/// # Errors
/// [`ReplayError`] with what is missing or wrong. An interrupted run is no error: it ends
/// with what was learnt.
pub fn replay<'a, E: std::error::Error + 'static>(
    source: &str,
    config: &RunConfig,
    mut open: impl FnMut() -> Result<Frames<'a, E>, E>,
    extent: Option<Extent>,
    budget: Option<Duration>,
    device: Device,
    watch: &mut dyn Watch,
) -> Result<(CompactPolicy, Summary), ReplayError<E>> {
    let started = Instant::now();
    config.grpo.validate()?;
    let tasks = task_set(config).map_err(ReplayError::Kinds)?;
    let policy = CompactPolicy::new(config.policy.clone(), config.seed, device)?;
    let extent = match extent {
        Some(extent) => extent,
        None => measure(open().map_err(ReplayError::Source)?, watch)?,
    };
    let split = config.split.split(extent.first_ns, extent.last_ns)?;
    let plan = Plan::new(config, &extent);
    let mut learn = config.learn.clone();
    learn.views = plan.views;
    let learner = Learner::new(
        policy,
        tasks.clone(),
        config.tasks.sensor,
        learn,
        config.grpo.clone(),
        config.seed,
    );
    let mut run = Run {
        config,
        split,
        plan,
        learner,
        tasks,
        gate: Gate::new(config.gate.clone())?,
        frames: FrameCounts::default(),
        held_out: Vec::new(),
        held_out_counts: Counts::default(),
    };
    watch.phase("encode", "frames", Some(extent.frames));
    run.feed(open().map_err(ReplayError::Source)?, watch)?;
    let fed = started.elapsed();
    run.enough()?;
    calibrate(&mut run.learner);

    let (learnt, held_out) = (run.learner.counts(), &run.held_out_counts);
    let (mut made, mut skipped) = (learnt.tasks.clone(), learnt.skipped.clone());
    made.merge(&held_out.tasks);
    skipped.merge(&held_out.skipped);
    let (build, encode) =
        (learnt.build_tasks + held_out.build_tasks, learnt.encode + held_out.encode);
    // Measured on several threads at once; here as parts of the time that went by.
    let part = |of: Duration| {
        fed.as_secs_f64() * of.as_secs_f64() / (build + encode).as_secs_f64().max(1e-9)
    };

    let question = |observation: &Observation| observation.question.clone();
    let mut before = score::evaluate(run.learner.policy(), &run.held_out, question)?;
    watch.phase("learn", "steps", Some(config.learn.steps));
    for _ in 0..config.learn.steps {
        if watch.stopped() || budget.is_some_and(|budget| started.elapsed() >= budget) {
            break;
        }
        let step = run.learner.step()?;
        watch.step(&step);
        watch.advance(1);
    }
    let mut after = score::evaluate(run.learner.policy(), &run.held_out, question)?;
    let train: Vec<&Memory<Observation>> =
        run.learner.memory().kinds().flat_map(|kind| run.learner.memory().of(kind)).collect();
    let held_out: Vec<&Memory<Observation>> = run.held_out.iter().collect();
    for (kind, accuracy) in blind::blind(&train, &held_out, config.seed) {
        for scores in [&mut before, &mut after] {
            if let Some(score) = scores.get_mut(&kind) {
                score.blind = accuracy;
            }
        }
    }

    let (rollout, update) = run.learner.times();
    let summary = Summary {
        source: source.to_owned(),
        seed: config.seed,
        preset: config.tasks.preset,
        frames: run.frames,
        tasks: made,
        tasks_skipped: skipped,
        mean_before: score::mean(&before),
        mean_after: score::mean(&after),
        before,
        after,
        updates: UpdateCounts {
            applied: run.learner.guard().applied(),
            skipped: run.learner.guard().skipped().clone(),
        },
        wall_seconds: WallSeconds {
            build_tasks: part(build),
            encode: part(encode),
            rollout: rollout.as_secs_f64(),
            update: update.as_secs_f64(),
            total: started.elapsed().as_secs_f64(),
        },
        peak_rss_bytes: 0,
    };
    Ok((run.learner.into_policy(), summary))
}

/// The task set that a configuration asks for.
///
/// # Errors
/// Which kind does not exist, and which do.
pub fn task_set(config: &RunConfig) -> Result<TaskSet, String> {
    TaskSet::new(config.tasks.preset).only(&config.tasks.kinds).map_err(|e| e.to_string())
}

/// A policy and tasks to test it on.
pub struct Tested {
    /// The policy that observed the tasks.
    pub policy: CompactPolicy,
    /// The tasks.
    pub tasks: Vec<Memory<Observation>>,
    /// Frames read, used and skipped.
    pub frames: FrameCounts,
    /// Tasks made and skipped.
    pub counts: Counts,
}

/// Tasks of a whole source as held-out tasks, for `eval`: no split, no learning.
///
/// # Errors
/// As [`replay`].
pub fn held_out_tasks<'a, E: std::error::Error + 'static>(
    config: &RunConfig,
    policy: CompactPolicy,
    frames: Frames<'a, E>,
    extent: Extent,
    watch: &mut dyn Watch,
) -> Result<Tested, ReplayError<E>> {
    let tasks = task_set(config).map_err(ReplayError::Kinds)?;
    let whole = SplitConfig { held_out: 0.5, gap: 0.0, ..config.split };
    let learner = Learner::new(
        policy,
        tasks.clone(),
        config.tasks.sensor,
        config.learn.clone(),
        config.grpo.clone(),
        config.seed,
    );
    let mut run = Run {
        config,
        split: Split::everything(),
        plan: Plan::new(&RunConfig { split: whole, ..config.clone() }, &extent).for_all(&extent),
        learner,
        tasks,
        gate: Gate::new(config.gate.clone())?,
        frames: FrameCounts::default(),
        held_out: Vec::new(),
        held_out_counts: Counts::default(),
    };
    watch.phase("encode", "frames", Some(extent.frames));
    run.feed(frames, watch)?;
    run.enough_to_test()?;
    let (frames, counts) = (run.frames, run.held_out_counts);
    Ok(Tested { policy: run.learner.into_policy(), tasks: run.held_out, frames, counts })
}

/// Reads a recording once to learn how long it is.
///
/// # Errors
/// As [`replay`].
pub fn measure<E: std::error::Error + 'static>(
    mut frames: Frames<'_, E>,
    watch: &mut dyn Watch,
) -> Result<Extent, ReplayError<E>> {
    watch.phase("measure", "frames", None);
    let mut extent: Option<Extent> = None;
    while let Some(frame) = frames().map_err(ReplayError::Source)? {
        let stamp_ns = frame.stamp_ns;
        let so_far =
            extent.get_or_insert(Extent { first_ns: stamp_ns, last_ns: stamp_ns, frames: 0 });
        so_far.first_ns = so_far.first_ns.min(stamp_ns);
        so_far.last_ns = so_far.last_ns.max(stamp_ns);
        so_far.frames += 1;
        watch.advance(1);
        if watch.stopped() {
            break;
        }
    }
    extent.ok_or_else(|| ReplayError::Nothing {
        what: "learn from",
        why: "the source gave no frame; `inspect` tells why".to_owned(),
    })
}

/// How many frames are taken and what is made of each.
#[derive(Clone, Copy, Debug)]
struct Plan {
    train_every: u64,
    views: u64,
    held_out_every: u64,
    held_out_frames: u64,
    tasks_per_kind: u64,
}

impl Plan {
    fn new(config: &RunConfig, extent: &Extent) -> Self {
        let part = |part: f64| ((extent.frames as f64 * part).ceil() as u64).max(1);
        let train = part(1.0 - config.split.held_out - config.split.gap);
        let held_out = part(config.split.held_out);
        let max_views = config.learn.max_views.max(1);
        Plan {
            train_every: train.div_ceil(max_views),
            views: (max_views / train).clamp(1, config.learn.views.max(1)),
            held_out_every: held_out.div_ceil(MAX_HELD_OUT_FRAMES),
            held_out_frames: held_out.min(MAX_HELD_OUT_FRAMES),
            tasks_per_kind: config.split.tasks_per_kind,
        }
    }

    fn for_all(self, extent: &Extent) -> Self {
        Plan {
            held_out_every: extent.frames.div_ceil(MAX_HELD_OUT_FRAMES).max(1),
            held_out_frames: extent.frames.clamp(1, MAX_HELD_OUT_FRAMES),
            ..self
        }
    }

    /// Attempts for each held-out frame: depth tasks are often not to be had, and cheap.
    fn attempts(&self, kind: &TaskKind) -> u64 {
        let even = self.tasks_per_kind.div_ceil(self.held_out_frames);
        if kind.needs_depth() { (6 * even).min(192) } else { (even + 1).min(48) }
    }
}

struct Run<'a> {
    config: &'a RunConfig,
    split: Split,
    plan: Plan,
    learner: Learner<CompactPolicy>,
    tasks: TaskSet,
    gate: Gate,
    frames: FrameCounts,
    held_out: Vec<Memory<Observation>>,
    held_out_counts: Counts,
}

impl Run<'_> {
    /// Reads all frames; training frames go to the learner, held-out ones become test tasks.
    fn feed<E: std::error::Error + 'static>(
        &mut self,
        mut frames: Frames<'_, E>,
        watch: &mut dyn Watch,
    ) -> Result<(), ReplayError<E>> {
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        let (mut train_seen, mut held_out_seen) = (0_u64, 0_u64);
        while let Some(frame) = frames().map_err(ReplayError::Source)? {
            watch.advance(1);
            if watch.stopped() && self.split.part(frame.stamp_ns) == Part::Train {
                self.frames.drop("stopped");
                continue;
            }
            let (seen, every, part) = match self.split.part(frame.stamp_ns) {
                Part::Gap => {
                    self.frames.drop("gap");
                    continue;
                }
                Part::Train => (&mut train_seen, self.plan.train_every, &mut train),
                Part::HeldOut => (&mut held_out_seen, self.plan.held_out_every, &mut held_out),
            };
            *seen += 1;
            if !(*seen - 1).is_multiple_of(every.max(1)) {
                self.frames.drop("not_needed");
                continue;
            }
            part.extend(self.frames.admit(&mut self.gate, frame));
            if train.len() >= CHUNK {
                self.learner.offer_frames(&train)?;
                train.clear();
            }
            if held_out.len() >= CHUNK {
                self.keep_for_test(&held_out)?;
                held_out.clear();
            }
        }
        self.learner.offer_frames(&train)?;
        self.keep_for_test(&held_out)?;
        self.even_out();
        Ok(())
    }

    fn keep_for_test(&mut self, frames: &[RgbdFrame]) -> Result<(), CompactError> {
        // Seeds apart from those of training: a rerun on the same frames asks other tasks.
        let run_seed = crate::task::seed::mix(self.config.seed, 0x7e57);
        let maker = Maker { tasks: &self.tasks, sensor: self.config.tasks.sensor, run_seed };
        let (policy, plan) = (self.learner.policy(), self.plan);
        let made: Vec<_> = frames
            .par_iter()
            .map(|frame| maker.make(policy, frame, |kind| plan.attempts(kind)))
            .collect::<Result<_, _>>()?;
        for (memories, counts) in made {
            self.held_out.extend(memories);
            self.held_out_counts.merge(&counts);
        }
        Ok(())
    }

    /// Keeps the wanted number of test tasks of each kind, evenly over time.
    fn even_out(&mut self) {
        let mut kinds: BTreeMap<TaskKind, Vec<Memory<Observation>>> = BTreeMap::new();
        for task in std::mem::take(&mut self.held_out) {
            kinds.entry(task.kind.clone()).or_default().push(task);
        }
        let wanted = self.plan.tasks_per_kind as usize;
        for tasks in kinds.into_values() {
            let (all, mut taken) = (tasks.len(), 0);
            for (i, task) in tasks.into_iter().enumerate() {
                // Every task whose number passes the next multiple of all / wanted.
                if all <= wanted || (i + 1) * wanted / all > taken {
                    taken += 1;
                    self.held_out.push(task);
                }
            }
        }
    }

    fn enough<E: std::error::Error + 'static>(&self) -> Result<(), ReplayError<E>> {
        if self.learner.memory().is_empty() {
            return Err(nothing("learn from", &self.frames, self.learner.counts()));
        }
        self.enough_to_test()
    }

    fn enough_to_test<E: std::error::Error + 'static>(&self) -> Result<(), ReplayError<E>> {
        if self.held_out.is_empty() {
            return Err(nothing("test on", &self.frames, &self.held_out_counts));
        }
        Ok(())
    }
}

/// Why there is nothing to learn from or to test on, with the counts that say so.
pub(super) fn nothing<E: std::error::Error + 'static>(
    what: &'static str,
    frames: &FrameCounts,
    counts: &Counts,
) -> ReplayError<E> {
    let list = |tally: &Tally| {
        let counts: Vec<String> = tally.iter().map(|(k, n)| format!("{k} {n}")).collect();
        if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
    };
    let why = format!(
        "{} frames read, {} used (skipped: {}); tasks not made: {}",
        frames.read,
        frames.used,
        list(&frames.skipped),
        list(&counts.skipped)
    );
    ReplayError::Nothing { what, why }
}

/// The head sees features at unit size, as measured on a sample of what is remembered.
pub(super) fn calibrate(learner: &mut Learner<CompactPolicy>) {
    const SAMPLE: usize = 400;
    let memory = learner.memory();
    let sample: Vec<Observation> = memory
        .kinds()
        .flat_map(|kind| {
            let kept = memory.of(kind);
            kept.iter().step_by((kept.len() / SAMPLE).max(1)).take(SAMPLE)
        })
        .map(|memory| memory.observation.clone())
        .collect();
    learner.policy_mut().calibrate(&sample.iter().collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_toml;

    const SHIPPED: &str = include_str!("../../configs/compact.toml");

    #[test]
    fn the_shipped_settings_are_the_defaults_and_every_key_is_explained() {
        let shipped: RunConfig = load_toml(SHIPPED, "configs/compact.toml".as_ref()).unwrap();
        assert_eq!(shipped, RunConfig::default());
        let lines: Vec<&str> = SHIPPED.lines().collect();
        let mut keys = 0;
        for (i, line) in lines.iter().enumerate() {
            if line.contains(" = ") && !line.starts_with('#') {
                keys += 1;
                assert!(lines[i - 1].starts_with('#'), "{line} is not explained");
            }
        }
        fn leaves(value: &toml::Value) -> usize {
            match value {
                toml::Value::Table(table) => table.values().map(leaves).sum(),
                _ => 1,
            }
        }
        let all = leaves(&toml::Value::try_from(RunConfig::default()).unwrap());
        assert_eq!(keys, all, "configs/compact.toml has every key");
    }

    #[test]
    fn a_partly_given_table_keeps_the_other_defaults_of_a_run() {
        let text = "[grpo]\nclip_low = 0.1";
        let config: RunConfig = load_toml(text, "a.toml".as_ref()).unwrap();
        assert_eq!(config.grpo.clip_low, 0.1);
        assert_eq!(config.grpo.group_size, RunConfig::default().grpo.group_size);
        assert_eq!(config.grpo.kl_coef, 0.0);
    }

    #[test]
    fn a_mistyped_key_is_refused_with_the_nearest_one() {
        let error = load_toml::<RunConfig>("[learn]\nstep = 3", "a.toml".as_ref()).unwrap_err();
        assert!(error.to_string().contains("did you mean learn.steps?"), "{error}");
    }
}
