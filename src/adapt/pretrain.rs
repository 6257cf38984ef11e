//! A start that already knows something: one policy learnt from many sources at once.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use serde::Serialize;

use super::{
    feed::nothing,
    gate::Gate,
    heritage::{self, Heritage},
    learner::LearnerError,
    maker::Maker,
    memory::Memory,
    replay::{FrameCounts, Frames, ReplayError, RunConfig, UpdateCounts, Watch, task_set},
    trainer::Trainer,
};
use crate::{
    frame::RgbdFrame,
    policy::compact::{CompactPolicy, observe::Observation},
    tally::Tally,
    task::TaskKind,
};

/// One source to learn from.
pub struct Lesson<'a, E> {
    /// Its name, for the report.
    pub name: String,
    /// Its frames.
    pub frames: Frames<'a, E>,
    /// Views made of each frame: of few frames, many.
    pub views: u64,
}

/// What was learnt from.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Taught {
    /// Frames by source.
    pub frames: Vec<(String, FrameCounts)>,
    /// Tasks made, by kind.
    pub tasks: Tally,
    /// Tasks not made, by `kind/reason`.
    pub tasks_skipped: Tally,
    /// Updates.
    pub updates: UpdateCounts,
    /// Part of the sampled answers to the last hundred steps' tasks that was right.
    pub reward: f64,
    /// Seconds from the first frame to the last update.
    pub seconds: f64,
}

/// Frames that are prepared at once.
const CHUNK: usize = 8;

/// Learns one policy from all lessons: their tasks are made and remembered first, then
/// drawn at random, so that what comes last does not push out what came first. `tests` are
/// never learnt from: they become the factory set. Gives the policy with what it hands on.
///
/// # Errors
/// [`ReplayError`] with what is missing or wrong.
pub fn pretrain<'a, E: std::error::Error + 'static>(
    lessons: impl IntoIterator<Item = Result<Lesson<'a, E>, E>>,
    tests: impl IntoIterator<Item = Result<Lesson<'a, E>, E>>,
    config: &RunConfig,
    device: Device,
    watch: &mut dyn Watch,
) -> Result<(CompactPolicy, Heritage, Taught), ReplayError<E>> {
    let started = Instant::now();
    config.grpo.validate().map_err(LearnerError::from)?;
    let tasks = task_set(config).map_err(ReplayError::Kinds)?;
    let policy = CompactPolicy::new(config.policy.clone(), config.seed, device)?;
    let (learn, grpo) = (config.learn.clone(), config.grpo.clone());
    let mut learner = Trainer::new(policy, tasks, config.tasks.sensor, learn, grpo, config.seed);
    let mut taught = Taught::default();
    for lesson in lessons {
        let lesson = lesson.map_err(ReplayError::Source)?;
        let name = lesson.name.clone();
        watch.phase(&name, "frames", None);
        let counts = attend(lesson, &mut learner, Gate::new(config.gate.clone())?, watch)?;
        taught.frames.push((name, counts));
    }
    (taught.tasks, taught.tasks_skipped) =
        (learner.counts().tasks.clone(), learner.counts().skipped.clone());
    let mut factory = Vec::new();
    for lesson in tests {
        let lesson = lesson.map_err(ReplayError::Source)?;
        let name = format!("{} (tested on)", lesson.name);
        watch.phase(&name, "frames", None);
        let (counts, made) = examine(lesson, learner.policy(), config, watch)?;
        factory.extend(made);
        taught.frames.push((name, counts));
    }
    if learner.memory().is_empty() {
        let mut all = FrameCounts::default();
        for (_, counts) in &taught.frames {
            all.read += counts.read;
            all.used += counts.used;
            all.skipped.merge(&counts.skipped);
        }
        return Err(nothing("learn from", &all, learner.counts()));
    }
    learner.calibrate();
    watch.phase("learn", "steps", Some(config.learn.steps));
    let mut last = std::collections::VecDeque::with_capacity(100);
    for _ in 0..config.learn.steps {
        if watch.stopped() {
            break;
        }
        let step = learner.step()?;
        watch.step(&step);
        watch.advance(1);
        if last.len() == 100 {
            last.pop_front();
        }
        last.push_back(step.metrics.reward);
    }
    taught.reward = last.iter().sum::<f64>() / last.len().max(1) as f64;
    taught.updates = UpdateCounts {
        applied: learner.guard().applied(),
        skipped: learner.guard().skipped().clone(),
    };
    taught.seconds = started.elapsed().max(Duration::ZERO).as_secs_f64();
    let rehearsal = heritage::sample(learner.memory().all(), heritage::REHEARSAL);
    let factory = heritage::sample(&factory, heritage::FACTORY);
    Ok((learner.into_policy(), Heritage { rehearsal, factory }, taught))
}

/// Tasks of a lesson that is never learnt from.
fn examine<E: std::error::Error + 'static>(
    mut lesson: Lesson<'_, E>,
    policy: &CompactPolicy,
    config: &RunConfig,
    watch: &mut dyn Watch,
) -> Result<(FrameCounts, Vec<Memory<Observation>>), ReplayError<E>> {
    let tasks = task_set(config).map_err(ReplayError::Kinds)?;
    let run_seed = crate::task::seed::mix(config.seed, 0xfac7);
    let maker = Maker { tasks: &tasks, sensor: config.tasks.sensor, run_seed };
    let mut gate = Gate::new(config.gate.clone())?;
    let (mut counts, mut made) = (FrameCounts::default(), Vec::new());
    while let Some(frame) = (lesson.frames)().map_err(ReplayError::Source)? {
        watch.advance(1);
        if watch.stopped() {
            counts.drop("stopped");
            break;
        }
        let Some(frame) = counts.admit(&mut gate, frame) else { continue };
        let attempts = |kind: &TaskKind| if kind.needs_depth() { 16 } else { 2 };
        made.extend(maker.make(policy, &frame, 0, attempts)?.0);
    }
    Ok((counts, made))
}

fn attend<E: std::error::Error + 'static>(
    mut lesson: Lesson<'_, E>,
    learner: &mut Trainer<CompactPolicy>,
    mut gate: Gate,
    watch: &mut dyn Watch,
) -> Result<FrameCounts, ReplayError<E>> {
    let mut counts = FrameCounts::default();
    let mut ready: Vec<RgbdFrame> = Vec::new();
    while let Some(frame) = (lesson.frames)().map_err(ReplayError::Source)? {
        watch.advance(1);
        if watch.stopped() {
            counts.skipped.add("stopped");
            break;
        }
        ready.extend(counts.admit(&mut gate, frame));
        if ready.len() >= CHUNK {
            learner.offer_views(&ready, lesson.views)?;
            ready.clear();
        }
    }
    learner.offer_views(&ready, lesson.views)?;
    Ok(counts)
}
