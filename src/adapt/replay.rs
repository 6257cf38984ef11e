//! A whole run on recorded frames: learn on the first part, test on the last.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{
    blind,
    check::Check,
    checkpoint::{Checkpoints, Files},
    feed::{Plan, Run, nothing},
    gate::{Gate, GateConfigError},
    heritage::Heritage,
    keeper::Keeper,
    learner::{Learner, LearnerError, Progress},
    maker::Counts,
    memory::Memory,
    score::{self, Scores},
    snapshot::SnapshotError,
    split::{Split, SplitConfig, SplitError},
    store,
    trainer::{Step, Taught},
};
pub use super::{
    settings::{RunConfig, TaskConfig, task_set},
    summary::{FrameCounts, Summary, UpdateCounts, WallSeconds},
};
use crate::{
    frame::{Extent, RgbdFrame, quality::Signature},
    policy::compact::{CompactError, CompactPolicy, observe::Observation},
};

/// What a run tells while it runs.
pub trait Watch {
    /// A phase begins; `total` items are expected.
    fn phase(&mut self, name: &str, unit: &str, total: Option<u64>);
    /// Items of the present phase that are done.
    fn advance(&mut self, items: u64);
    /// An update was made or skipped.
    fn step(&mut self, step: &Step);
    /// A supervised step was made or skipped.
    fn taught(&mut self, _taught: &Taught) {}
    /// A candidate was tested.
    fn checked(&mut self, _check: &Check) {}
    /// A checkpoint is about to be written: what was told so far must be on the disk with it.
    fn flush(&mut self) {}
    /// Work was done: rest as long as the budget asks.
    fn rest(&mut self) {}
    /// Whether to stop learning and finish with what there is.
    fn stopped(&self) -> bool;
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
    /// The settings.
    #[error(transparent)]
    Learner(#[from] LearnerError),
    /// The gate's settings.
    #[error(transparent)]
    Gate(#[from] GateConfigError),
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

/// What a run starts from.
pub struct Job<'a> {
    /// The SOURCE argument, for the report.
    pub source: &'a str,
    /// All settings.
    pub config: &'a RunConfig,
    /// Where learning starts.
    pub begin: Begin,
    /// Where checkpoints are written; none: nowhere.
    pub checkpoints: Option<&'a Checkpoints>,
    /// How long the recording is, if that is known.
    pub extent: Option<Extent>,
    /// Bounds the time spent, tests included as far as they are foreseeable.
    pub budget: Option<Duration>,
    /// What computes.
    pub device: Device,
}

/// Where learning starts.
pub enum Begin {
    /// From random weights.
    Random,
    /// From a policy that was learnt before, with what it hands on.
    From(Box<CompactPolicy>, Heritage),
    /// Where an interrupted run was.
    Resume(Box<Interrupted>),
}

/// An interrupted run, as its last checkpoint has it.
pub struct Interrupted {
    learner: Learner,
    cursor: Cursor,
    tests: Vec<Memory<Observation>>,
}

/// Where the recording stood.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) source: String,
    pub(super) extent: Option<Extent>,
    /// Frames read.
    pub(super) read: u64,
    pub(super) train_seen: u64,
    pub(super) held_out_seen: u64,
    /// Colour tasks of each kind that were asked of held-out frames.
    pub(super) color_tasks: u64,
    /// All frames were read.
    pub(super) fed: bool,
    pub(super) frames: FrameCounts,
    pub(super) counts: Counts,
    pub(super) taken: Vec<Signature>,
    pub(super) elapsed_s: f64,
}

/// Tasks of the last part, beside the learner's files.
pub const TESTS: &str = "test.tasks";

impl Interrupted {
    /// The run of which these are the files.
    ///
    /// # Errors
    /// When they are damaged or of another version.
    pub fn from_files(files: &Files, device: Device) -> Result<Self, SnapshotError> {
        let (learner, cursor) = Learner::from_files(files, device)?;
        let tests = files.get(TESTS).ok_or_else(|| SnapshotError::Missing(TESTS.to_owned()))?;
        Ok(Interrupted { learner, cursor, tests: store::from_bytes(tests)? })
    }

    /// The SOURCE argument of the run.
    pub fn source(&self) -> &str {
        &self.cursor.source
    }

    /// The settings of the run.
    pub fn config(&self) -> &RunConfig {
        self.learner.config()
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.learner.trainer().steps()
    }
}

/// The tasks of the last part, as a file beside the learner's.
pub(super) fn add_tests(
    files: &mut Files,
    tests: &[Memory<Observation>],
) -> Result<(), SnapshotError> {
    files.insert(TESTS.to_owned(), store::to_bytes(tests)?);
    Ok(())
}

/// Learns on the first part of a recording and tests on its last part. Gives the learner,
/// whose serving policy is the outcome, and what was measured.
///
/// `open` starts the recording from its beginning; it is called twice when the extent is
/// not known.
///
/// # Errors
/// [`ReplayError`] with what is missing or wrong. An interrupted run is no error: it ends
/// with what was learnt.
pub fn replay<'a, E: std::error::Error + 'static>(
    job: Job<'_>,
    mut open: impl FnMut() -> Result<Frames<'a, E>, E>,
    watch: &mut dyn Watch,
) -> Result<(Learner, Summary), ReplayError<E>> {
    let started = Instant::now();
    let Job { source, config, begin, checkpoints, extent, budget, device } = job;
    let mut keeper = Keeper::new(checkpoints, config.checkpoint.every_s);
    let (mut learner, mut cursor, tests) = match begin {
        Begin::Resume(run) => (run.learner, run.cursor, run.tests),
        begin => {
            let extent = match extent {
                Some(extent) => extent,
                None => measure(open().map_err(ReplayError::Source)?, watch)?,
            };
            let cursor =
                Cursor { source: source.to_owned(), extent: Some(extent), ..Cursor::default() };
            (learner(begin, config, &extent, device)?, cursor, Vec::new())
        }
    };
    let extent = cursor.extent.unwrap_or(Extent { first_ns: 0, last_ns: 0, frames: 0 });
    let mut run = Run {
        config,
        split: config.split.split(extent.first_ns, extent.last_ns)?,
        plan: Plan::new(config, &extent),
        tasks: task_set(config).map_err(ReplayError::Kinds)?,
        gate: Gate::new(config.gate.clone())?,
        observer: learner.policy(),
        held_out: tests,
        cursor,
    };
    if !run.cursor.fed {
        watch.phase("encode", "frames", Some(extent.frames));
        let frames = open().map_err(ReplayError::Source)?;
        run.feed(frames, Some((&mut learner, &mut keeper)), watch)?;
    }
    let fed = started.elapsed();
    cursor = run.cursor;
    let frames = cursor.frames.with(&learner.state().frames);
    if learner.trainer().memory().is_empty() {
        return Err(nothing("learn from", &frames, learner.trainer().counts()));
    }
    if run.held_out.is_empty() {
        return Err(nothing("test on", &frames, &cursor.counts));
    }
    learner.calibrate();

    let mut all = learner.trainer().counts().clone();
    all.merge(&cursor.counts);
    all.merge(&learner.state().tested);
    // Measured on several threads at once; here as parts of the time that went by.
    let part = |of: Duration| {
        let both = (all.build_tasks + all.encode).as_secs_f64().max(1e-9);
        fed.as_secs_f64() * of.as_secs_f64() / both
    };

    let question = |observation: &Observation| observation.question.clone();
    let mut before = score::evaluate(learner.start(), &run.held_out, question)?;
    let todo = config.learn.steps.saturating_sub(learner.trainer().steps());
    watch.phase("learn", "steps", Some(todo));
    let mut checked = 0;
    while learner.trainer().steps() < config.learn.steps {
        if watch.stopped() || budget.is_some_and(|budget| started.elapsed() >= budget) {
            break;
        }
        let Progress::Step(step, check) = learner.step()? else { break };
        watch.step(&step);
        watch.advance(1);
        if let Some(check) = check {
            watch.checked(&check);
            checked = check.step;
        }
        if keeper.due() {
            let elapsed_s = cursor.elapsed_s + started.elapsed().as_secs_f64();
            let cursor = Cursor { elapsed_s, ..cursor.clone() };
            watch.flush();
            keeper.save(&learner, &cursor, |files| add_tests(files, &run.held_out));
        }
        watch.rest();
    }
    if watch.stopped() {
        let elapsed_s = cursor.elapsed_s + started.elapsed().as_secs_f64();
        let cursor = Cursor { elapsed_s, ..cursor.clone() };
        watch.flush();
        keeper.save(&learner, &cursor, |files| add_tests(files, &run.held_out));
    }
    if learner.trainer().steps() > checked {
        watch.checked(&learner.check()?);
    }
    let mut after = score::evaluate(&*learner.policy(), &run.held_out, question)?;
    let train: Vec<&Memory<Observation>> = learner.trainer().memory().all().collect();
    let held_out: Vec<&Memory<Observation>> = run.held_out.iter().collect();
    add_blind(&mut [&mut before, &mut after], &train, &held_out, config.seed);

    let (rollout, update) = learner.trainer().times();
    let guard = learner.trainer().guard();
    let summary = Summary {
        source: source.to_owned(),
        seed: config.seed,
        preset: config.tasks.preset,
        frames,
        mean_before: score::mean(&before),
        mean_after: score::mean(&after),
        before,
        after,
        updates: UpdateCounts { applied: guard.applied(), skipped: guard.skipped().clone() },
        candidates: learner.state().candidates.clone(),
        version: learner.state().version,
        checkpoints: keeper.counts,
        wall_seconds: WallSeconds {
            build_tasks: part(all.build_tasks),
            encode: part(all.encode),
            rollout: rollout.as_secs_f64(),
            update: update.as_secs_f64(),
            total: cursor.elapsed_s + started.elapsed().as_secs_f64(),
        },
        tasks: all.tasks,
        tasks_skipped: all.skipped,
        peak_rss_bytes: 0,
    };
    Ok((learner, summary))
}

fn learner<E: std::error::Error + 'static>(
    begin: Begin,
    config: &RunConfig,
    extent: &Extent,
    device: Device,
) -> Result<Learner, ReplayError<E>> {
    let (known, start, heritage) = match begin {
        Begin::From(start, heritage) => (true, *start, heritage),
        Begin::Resume(run) => return Ok(run.learner),
        Begin::Random => {
            let random = CompactPolicy::new(config.policy.clone(), config.seed, device)?;
            (false, random, Heritage::default())
        }
    };
    let learnt = 1.0 - config.split.held_out - config.split.gap;
    let mut fitted = config.clone();
    fitted.promote.local = fitted.promote.local.fitted(extent.seconds() * learnt);
    // A run with an end has one candidate, its last: what is tested while the learning rate is
    // high was promoted for its luck, and stood in the way of what came later.
    fitted.promote.check_every = fitted.promote.check_every.max(config.learn.steps);
    let mut learner = Learner::new(start, known, fitted)?;
    learner.inherit(heritage);
    Ok(learner)
}

/// Puts the scores of blind policies, trained on `train`, beside those of the policies.
pub fn add_blind<O: blind::Shown>(
    scores: &mut [&mut Scores],
    train: &[&Memory<O>],
    held_out: &[&Memory<O>],
    seed: u64,
) {
    for (kind, accuracy) in blind::blind(train, held_out, seed) {
        for score in scores.iter_mut().filter_map(|scores| scores.get_mut(&kind)) {
            score.blind = accuracy;
        }
    }
}

/// A policy and tasks to test it on.
pub struct Tested {
    /// The policy that observed the tasks.
    pub policy: Arc<CompactPolicy>,
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
    let whole = SplitConfig { held_out: 0.5, gap: 0.0, ..config.split };
    let policy = Arc::new(policy);
    let mut run = Run {
        config,
        split: Split::everything(),
        plan: Plan::new(&RunConfig { split: whole, ..config.clone() }, &extent).for_all(&extent),
        tasks: task_set(config).map_err(ReplayError::Kinds)?,
        gate: Gate::new(config.gate.clone())?,
        observer: policy.clone(),
        held_out: Vec::new(),
        cursor: Cursor::default(),
    };
    watch.phase("encode", "frames", Some(extent.frames));
    run.feed(frames, None, watch)?;
    if run.held_out.is_empty() {
        return Err(nothing("test on", &run.cursor.frames, &run.cursor.counts));
    }
    let (frames, counts) = (run.cursor.frames, run.cursor.counts);
    Ok(Tested { policy, tasks: run.held_out, frames, counts })
}

/// Reads a recording once to learn how long it is.
///
/// # Errors
/// As [`replay`].
pub fn measure<E: std::error::Error + 'static>(
    frames: Frames<'_, E>,
    watch: &mut dyn Watch,
) -> Result<Extent, ReplayError<E>> {
    measure_until(f64::INFINITY, frames, watch)
}

/// As [`measure`], but no further than until it is certain that the recording is `enough_s` long.
///
/// # Errors
/// As [`replay`].
pub fn measure_until<E: std::error::Error + 'static>(
    enough_s: f64,
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
        if watch.stopped() || so_far.seconds() >= enough_s {
            break;
        }
    }
    extent.ok_or_else(|| ReplayError::Nothing {
        what: "learn from",
        why: "the source gave no frame; `inspect` tells why".to_owned(),
    })
}
