//! Adapting a policy that answers in words: the same frames, gate, tasks, reward and GRPO as
//! for the compact one, with a cold start before it. An untrained model hardly ever answers in
//! the form asked for, and groups without a right answer teach nothing.
//!
//! What is learnt is an adapter. It is tested on the last part of the recording before the cold
//! start, and after the last step; there is no promotion in between.

use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    budget::BudgetConfig,
    check::Candidates,
    gate::{Gate, GateConfig, GateConfigError},
    learner::evenly,
    memory::Memory,
    replay::{Frames, Plan, Watch},
    score::{self, Score, Scores},
    settings::TaskConfig,
    split::{Part, Split, SplitConfig, SplitError},
    summary::{CheckpointCounts, FrameCounts, Summary, UpdateCounts, WallSeconds},
    trainer::{Counts, LearnConfig, Maker, Step, Trainer},
};
use crate::{
    config::OptionalKeys,
    frame::{Extent, RgbdFrame},
    grpo::{ConfigError as GrpoConfigError, GrpoConfig, GrpoMetrics},
    policy::{
        Policy,
        qwen::{
            QwenError,
            policy::{Observation, QwenPolicy, QwenPolicyConfig},
        },
    },
    task::{Answer, TaskKind, TaskSet, seed},
};

/// Frames that are prepared at once, so that no more than these are in memory.
const CHUNK: usize = 8;

/// Every setting of a run with Qwen2.5-VL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WordsConfig {
    /// Decides every random choice.
    pub seed: u64,
    /// What the frozen weights are kept in.
    pub weights: WeightType,
    /// Which tasks are made.
    pub tasks: TaskConfig,
    /// Which frames are used.
    pub gate: GateConfig,
    /// What is learnt from and what is tested on.
    pub split: SplitConfig,
    /// Supervised steps before the first rollout.
    pub cold_start: ColdStart,
    /// How the learner learns.
    pub learn: LearnConfig,
    /// The loss.
    pub grpo: GrpoConfig,
    /// The policy.
    pub policy: QwenPolicyConfig,
    /// How much of the machine learning may take.
    pub budget: BudgetConfig,
}

/// What the frozen weights are kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// bfloat16 on a GPU, float32 on the processor, which is slow at anything else.
    #[default]
    Auto,
    /// bfloat16.
    Bf16,
    /// float32.
    F32,
}

/// Supervised steps on tasks and their answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColdStart {
    /// Steps; 0: none.
    pub steps: u64,
    /// Tasks in a step.
    pub batch: usize,
    /// Learning rate.
    pub learning_rate: f64,
}

impl Default for ColdStart {
    fn default() -> Self {
        ColdStart { steps: 50, batch: 8, learning_rate: 1e-4 }
    }
}

impl Default for WordsConfig {
    fn default() -> Self {
        let mut learn = LearnConfig {
            steps: 200,
            views: 4,
            max_views: 400,
            // A task is remembered with its pictures, 0.9 MB each at 640x480.
            memory_per_kind: 200,
            memory_per_patch_kind: 60,
            rehearse: 0.0,
            // About ten times the published rate for all parameters.
            learning_rate: 1e-5,
            start_learning_rate: 1e-5,
            ..LearnConfig::default()
        };
        learn.tasks_per_view.values_mut().for_each(|rate| *rate = 1.0);
        learn.tasks_per_step.values_mut().for_each(|tasks| *tasks = 2);
        WordsConfig {
            seed: 1,
            weights: WeightType::default(),
            tasks: TaskConfig::default(),
            gate: GateConfig::default(),
            split: SplitConfig { tasks_per_kind: 24, ..SplitConfig::default() },
            cold_start: ColdStart::default(),
            learn,
            grpo: GrpoConfig::default(),
            policy: QwenPolicyConfig::default(),
            budget: BudgetConfig::default(),
        }
    }
}

impl OptionalKeys for WordsConfig {
    const OPTIONAL_KEYS: &'static [&'static str] = &[
        "learn.tasks_per_view.*",
        "learn.tasks_per_step.*",
        "policy.processor.min_pixels",
        "policy.processor.max_pixels",
    ];
}

/// Why a run did not come to a result.
#[derive(Debug, thiserror::Error)]
pub enum WordsError<E: std::error::Error + 'static> {
    /// The source.
    #[error(transparent)]
    Source(E),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] QwenError),
    /// The split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The gate's settings.
    #[error(transparent)]
    Gate(#[from] GateConfigError),
    /// The loss's settings.
    #[error("grpo: {0}")]
    Grpo(#[from] GrpoConfigError),
    /// A setting.
    #[error("{0}")]
    Settings(String),
    /// No frame came, or none passed the gate, or none made a task.
    #[error("nothing to {what}: {frames}")]
    Nothing {
        /// `learn from` or `test on`.
        what: &'static str,
        /// Which counts say why.
        frames: String,
    },
}

/// The text that answers a task as it is asked to be answered: thoughts, then the answer in a
/// box. The cold start teaches the form; what is right is learnt from the reward.
pub fn cold_text(answer: &Answer) -> String {
    format!("<think>I compare the parts of what is shown.</think> \\boxed{{{answer}}}")
}

/// A recording as tasks.
struct Tasks<'a> {
    config: &'a WordsConfig,
    set: TaskSet,
    gate: Gate,
    plan: Plan,
    frames: FrameCounts,
    counts: Counts,
    tests: Vec<Memory<Observation>>,
}

impl<'a> Tasks<'a> {
    fn new<E: std::error::Error + 'static>(
        config: &'a WordsConfig,
        plan: Plan,
    ) -> Result<Self, WordsError<E>> {
        config.grpo.validate()?;
        let set = TaskSet::new(config.tasks.preset).only(&config.tasks.kinds);
        Ok(Tasks {
            config,
            set: set.map_err(|error| WordsError::Settings(error.to_string()))?,
            gate: Gate::new(config.gate.clone())?,
            plan,
            frames: FrameCounts::default(),
            counts: Counts::default(),
            tests: Vec::new(),
        })
    }

    /// Tasks of these frames to test on, with seeds apart from those of training.
    fn test_on(&mut self, policy: &QwenPolicy, frames: &[RgbdFrame]) -> Result<(), QwenError> {
        let run_seed = seed::mix(self.config.seed, 0x7e57);
        let maker = Maker { tasks: &self.set, sensor: self.config.tasks.sensor, run_seed };
        // Tasks that are kept hold pictures: no more attempts than are needed.
        let attempts = |kind: &TaskKind| self.plan.attempts(kind).min(4);
        let made: Vec<_> = frames
            .par_iter()
            .map(|frame| maker.make(policy, frame, 0, attempts))
            .collect::<Result<_, _>>()?;
        for (memories, counts) in made {
            self.tests.extend(memories);
            self.counts.merge(&counts);
        }
        self.tests =
            evenly(std::mem::take(&mut self.tests), self.config.split.tasks_per_kind as usize);
        Ok(())
    }

    fn nothing<E: std::error::Error + 'static>(&self, what: &'static str) -> WordsError<E> {
        let skipped: Vec<String> =
            self.frames.skipped.iter().map(|(why, n)| format!("{why} {n}")).collect();
        let (read, used) = (self.frames.read, self.frames.used);
        let frames = format!("{read} frames read, {used} used, skipped: {}", skipped.join(", "));
        WordsError::Nothing { what, frames }
    }
}

/// How many of the tests the policy answers right, one by one.
fn evaluate(
    policy: &QwenPolicy,
    tests: &[Memory<Observation>],
    watch: &mut dyn Watch,
) -> Result<Scores, QwenError> {
    let mut counts = std::collections::BTreeMap::<TaskKind, (u64, u64, f64)>::new();
    for test in tests {
        let said = policy.best(&[&test.observation])?;
        let right = said.first().is_some_and(|(answer, _)| answer.as_ref() == Some(&test.answer));
        let (correct, n, chance) = counts.entry(test.kind.clone()).or_default();
        *correct += u64::from(right);
        *n += 1;
        *chance += test.observation.question.chance();
        watch.advance(1);
        if watch.stopped() {
            break;
        }
    }
    let score = |(correct, n, chance): (u64, u64, f64)| Score::new(correct, n, chance / n as f64);
    Ok(counts.into_iter().map(|(kind, counts)| (kind, score(counts))).collect())
}

/// What a test of a policy came to.
pub struct Tested {
    /// Scores by kind.
    pub scores: Scores,
    /// Frames read, used and skipped.
    pub frames: FrameCounts,
    /// Tasks made and skipped.
    pub counts: Counts,
}

/// Tests a policy on the tasks of a whole source.
///
/// # Errors
/// [`WordsError`] with what is missing or wrong.
pub fn test<E: std::error::Error + 'static>(
    config: &WordsConfig,
    policy: &QwenPolicy,
    mut frames: Frames<'_, E>,
    extent: Extent,
    watch: &mut dyn Watch,
) -> Result<Tested, WordsError<E>> {
    let whole = SplitConfig { held_out: 0.5, gap: 0.0, ..config.split };
    let mut tasks = Tasks::new(config, Plan::of(&whole, &config.learn, &extent).for_all(&extent))?;
    watch.phase("draw", "frames", Some(extent.frames));
    let (mut seen, mut chunk) = (0, Vec::new());
    while let Some(frame) = frames().map_err(WordsError::Source)? {
        watch.advance(1);
        match tasks.plan.is_held_out(&mut seen) {
            true => chunk.extend(tasks.frames.admit(&mut tasks.gate, frame)),
            false => tasks.frames.drop("not_needed"),
        }
        if chunk.len() >= CHUNK {
            tasks.test_on(policy, &std::mem::take(&mut chunk))?;
        }
    }
    tasks.test_on(policy, &chunk)?;
    if tasks.tests.is_empty() {
        return Err(tasks.nothing("test on"));
    }
    watch.phase("answer", "tasks", Some(tasks.tests.len() as u64));
    let scores = evaluate(policy, &tasks.tests, watch)?;
    Ok(Tested { scores, frames: tasks.frames, counts: tasks.counts })
}

/// Learns on the first part of a recording and tests on its last part.
///
/// # Errors
/// [`WordsError`] with what is missing or wrong. A run that is stopped ends with what was
/// learnt.
pub fn adapt<E: std::error::Error + 'static>(
    source: &str,
    config: &WordsConfig,
    policy: QwenPolicy,
    mut frames: Frames<'_, E>,
    extent: Extent,
    budget: Option<Duration>,
    watch: &mut dyn Watch,
) -> Result<(QwenPolicy, Summary), WordsError<E>> {
    let started = Instant::now();
    let split: Split = config.split.split(extent.first_ns, extent.last_ns)?;
    let mut tasks = Tasks::new(config, Plan::of(&config.split, &config.learn, &extent))?;
    let (learn, grpo, sensor) = (config.learn.clone(), config.grpo.clone(), config.tasks.sensor);
    let mut trainer = Trainer::new(policy, tasks.set.clone(), sensor, learn, grpo, config.seed);

    watch.phase("draw", "frames", Some(extent.frames));
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    let (mut train_seen, mut held_out_seen) = (0, 0);
    while let Some(frame) = frames().map_err(WordsError::Source)? {
        watch.advance(1);
        let (needed, into) = match split.part(frame.stamp_ns) {
            Part::Train => (tasks.plan.is_train(&mut train_seen), &mut train),
            Part::HeldOut => (tasks.plan.is_held_out(&mut held_out_seen), &mut held_out),
            Part::Gap => {
                tasks.frames.drop("gap");
                continue;
            }
        };
        match needed {
            true => into.extend(tasks.frames.admit(&mut tasks.gate, frame)),
            false => tasks.frames.drop("not_needed"),
        }
        if train.len() >= CHUNK {
            trainer.offer_views(&std::mem::take(&mut train), tasks.plan.views())?;
        }
        if held_out.len() >= CHUNK {
            tasks.test_on(trainer.policy(), &std::mem::take(&mut held_out))?;
        }
    }
    trainer.offer_views(&train, tasks.plan.views())?;
    tasks.test_on(trainer.policy(), &held_out)?;
    if trainer.memory().is_empty() {
        return Err(tasks.nothing("learn from"));
    }
    if tasks.tests.is_empty() {
        return Err(tasks.nothing("test on"));
    }
    let drawn = started.elapsed();

    watch.phase("test before", "tasks", Some(tasks.tests.len() as u64));
    let before = evaluate(trainer.policy(), &tasks.tests, watch)?;
    let over = |watch: &dyn Watch| {
        watch.stopped() || budget.is_some_and(|budget| started.elapsed() >= budget)
    };
    watch.phase("cold start", "steps", Some(config.cold_start.steps));
    let mut cold_skipped = crate::tally::Tally::default();
    for step in 0..config.cold_start.steps {
        if over(watch) {
            break;
        }
        let told = cold_step(&mut trainer, config, step, &mut cold_skipped);
        watch.step(&told);
        watch.advance(1);
        watch.rest();
    }
    watch.phase("learn", "steps", Some(config.learn.steps));
    while trainer.steps() < config.learn.steps && !over(watch) {
        let step = trainer.step()?;
        watch.step(&step);
        watch.advance(1);
        watch.rest();
    }
    watch.phase("test after", "tasks", Some(tasks.tests.len() as u64));
    let after = evaluate(trainer.policy(), &tasks.tests, watch)?;

    let mut all = trainer.counts().clone();
    all.merge(&tasks.counts);
    let (rollout, update) = trainer.times();
    let mut skipped = trainer.guard().skipped().clone();
    skipped.merge(&cold_skipped);
    let summary = Summary {
        source: source.to_owned(),
        seed: config.seed,
        preset: config.tasks.preset,
        frames: tasks.frames,
        mean_before: score::mean(&before),
        mean_after: score::mean(&after),
        before,
        after,
        updates: UpdateCounts { applied: trainer.guard().applied(), skipped },
        candidates: Candidates::default(),
        version: 0,
        checkpoints: CheckpointCounts::default(),
        wall_seconds: WallSeconds {
            build_tasks: drawn.as_secs_f64(),
            encode: 0.0,
            rollout: rollout.as_secs_f64(),
            update: update.as_secs_f64(),
            total: started.elapsed().as_secs_f64(),
        },
        tasks: all.tasks,
        tasks_skipped: all.skipped,
        peak_rss_bytes: 0,
    };
    Ok((trainer.into_policy(), summary))
}

/// One supervised step on tasks drawn evenly from the kinds that are remembered.
fn cold_step(
    trainer: &mut Trainer<QwenPolicy>,
    config: &WordsConfig,
    step: u64,
    skipped: &mut crate::tally::Tally,
) -> Step {
    use rand::RngExt;
    let ColdStart { batch, learning_rate, .. } = config.cold_start;
    let mut rng = seed::rng(seed::mix(config.seed ^ 0xc01d, step));
    let kinds: Vec<TaskKind> = trainer.memory().kinds().cloned().collect();
    let drawn: Vec<(Observation, String)> = (0..batch.max(1))
        .filter_map(|i| {
            let of = trainer.memory().of(kinds.get(i % kinds.len().max(1))?);
            let memory = of.get(rng.random_range(0..of.len().max(1)))?;
            Some((memory.observation.clone(), cold_text(&memory.answer)))
        })
        .collect();
    let examples: Vec<(&Observation, &str)> =
        drawn.iter().map(|(observation, text)| (observation, text.as_str())).collect();
    let taught = trainer.policy_mut().teach(&examples, learning_rate);
    let mut metrics = GrpoMetrics { step, learning_rate, ..Default::default() };
    let why = match taught {
        Ok(loss) => {
            metrics.loss = loss;
            None
        }
        Err(why) => {
            skipped.add(&format!("cold_start/{}", why.name()));
            Some(why)
        }
    };
    Step { metrics, skipped: why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{adapt::settings::RunConfig, config::load_toml, reward::text::score_text};

    #[test]
    fn qwen_the_presets_are_read_and_say_what_their_names_say() {
        let three = include_str!("../../configs/qwen2_5_vl-3b.toml");
        let orin = include_str!("../../configs/jetson-agx-orin.toml");
        let nano = include_str!("../../configs/jetson-orin-nano.toml");
        let three: WordsConfig = load_toml(three, "3b".as_ref()).unwrap();
        let orin: WordsConfig = load_toml(orin, "orin".as_ref()).unwrap();
        let nano: RunConfig = load_toml(nano, "nano".as_ref()).unwrap();
        assert_eq!((three.grpo.group_size, orin.grpo.group_size), (5, 8));
        assert_eq!((orin.weights, nano.budget.threads), (WeightType::Bf16, 3));
        for config in [three, orin] {
            let (prompt, sampler) =
                (config.policy.processor.max_prompt_tokens, &config.policy.sampler);
            assert!(prompt + sampler.max_tokens <= sampler.max_context);
        }
        assert!(load_toml::<WordsConfig>("[learn]\nstep = 3", "x".as_ref()).is_err());
        // What is written beside a run is read again.
        let written = toml::to_string(&WordsConfig::default()).unwrap();
        let read: WordsConfig = load_toml(&written, "x".as_ref()).unwrap();
        assert_eq!(read, WordsConfig::default());
    }

    #[test]
    fn qwen_the_cold_start_teaches_the_form_that_is_rewarded() {
        let right = Answer::Choice(2);
        let score = score_text(&cold_text(&right), &right.to_string(), Default::default());
        assert_eq!((score.accuracy, score.format), (1.0, 1.0));
    }
}
