//! A whole run: tasks, a test, the cold start, GRPO, another test.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::{
    ColdStart, ColdStartCounts, Progress, WordsConfig, WordsError, WordsSeconds, WordsSummary,
    cold_text,
    progress::digest_of,
    tasks::{CHUNK, Marks, Tasks, evaluate},
};
use crate::{
    adapt::{
        feed::Plan,
        maker::Counts,
        memory::Memory,
        replay::{Frames, Watch, add_blind},
        score::{self, Scores},
        split::{Part, Split, SplitConfig},
        summary::{FrameCounts, UpdateCounts},
        trainer::{Taught, Trainer},
    },
    frame::Extent,
    policy::qwen::policy::{Observation, QwenPolicy},
    task::{TaskKind, seed},
};

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
/// [`WordsError`] with what is missing or wrong; [`WordsError::Stopped`] when the watch says so
/// before the last task was answered.
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
        if watch.stopped() {
            return Err(WordsError::Stopped);
        }
        watch.advance(1);
        match tasks.plan.is_held_out(&mut seen) {
            true => chunk.extend(tasks.frames.admit(&mut tasks.gate, frame)),
            false => tasks.frames.drop("not_needed"),
        }
        if chunk.len() >= CHUNK {
            tasks.test_on(policy, None, &std::mem::take(&mut chunk))?;
        }
    }
    tasks.test_on(policy, None, &chunk)?;
    if tasks.tests.is_empty() {
        return Err(tasks.nothing("test on"));
    }
    watch.phase("answer", "tasks", Some(tasks.tests.len() as u64));
    let marks = evaluate(policy, &tasks.tests, watch)?.ok_or(WordsError::Stopped)?;
    let mut scores = marks.scores;
    // The blind policies learn on the earlier half of the tasks and are tested on the later.
    let mut by_time: Vec<_> = tasks.tests.iter().collect();
    by_time.sort_by_key(|task| task.stamp_ns);
    let (earlier, later) = by_time.split_at(by_time.len() / 2);
    add_blind(&mut [&mut scores], earlier, later, config.seed);
    Ok(Tested { scores, frames: tasks.frames, counts: tasks.counts })
}

/// What is adapted to, and how.
pub struct Job<'a> {
    /// The SOURCE argument, for the report.
    pub source: &'a str,
    /// All settings.
    pub config: &'a WordsConfig,
    /// How long the recording is.
    pub extent: Extent,
    /// Learning ends after this long.
    pub budget: Option<Duration>,
    /// Where an interrupted run stood, to go on from there.
    pub progress: Option<Progress>,
}

/// What is given the policy from time to time.
pub type Keep<'k> = dyn FnMut(&QwenPolicy, &Progress) + 'k;

/// Learns on the first part of a recording and tests on its last part. `keep` is given the
/// policy and where the run stands from time to time, and before a run fails that has learnt
/// something. Going on from there equals the uninterrupted run.
///
/// # Errors
/// [`WordsError`] with what is missing or wrong. A run that is stopped is no error: it ends with
/// what was learnt, without the test after it.
pub fn adapt<E: std::error::Error + 'static>(
    job: &Job<'_>,
    policy: QwenPolicy,
    frames: Frames<'_, E>,
    keep: &mut Keep<'_>,
    watch: &mut dyn Watch,
) -> Result<(QwenPolicy, WordsSummary), WordsError<E>> {
    let Job { source, config, extent, budget, progress } = job;
    let started = Instant::now();
    let mut tasks = Tasks::new(config, Plan::of(&config.split, &config.learn, extent))?;
    let (learn, grpo, sensor) = (config.learn.clone(), config.grpo.clone(), config.tasks.sensor);
    let mut trainer = Trainer::new(policy, tasks.set.clone(), sensor, learn, grpo, config.seed);
    draw(job, &mut tasks, &mut trainer, frames, watch)?;
    let drawn = started.elapsed();

    let tests = tasks.tests.len() as u64;
    let mut run = Run {
        config,
        ends: budget.map(|budget| started + budget),
        kept: Instant::now(),
        tasks: digest_of(trainer.memory().all().chain(&tasks.tests)),
        before: None,
        cold: ColdStartCounts::default(),
        rewards: Vec::new(),
    };
    if let Some(progress) = progress.as_ref().filter(|progress| progress.steps() > 0) {
        if progress.tasks != run.tasks {
            return Err(WordsError::OtherTasks { source_name: (*source).to_owned() });
        }
        trainer.go_on(&progress.trainer);
        run.before = progress.before.clone();
        (run.cold, run.rewards) = (progress.cold.clone(), progress.rewards.clone());
    } else {
        watch.phase("test before", "tasks", Some(tests));
        run.before = evaluate(trainer.policy(), &tasks.tests, watch)?;
    }
    let tested_before = started.elapsed() - drawn;

    let begun = Instant::now();
    run.cold_start(&mut trainer, keep, watch);
    let cold_start = begun.elapsed();
    run.reinforce(&mut trainer, keep, watch)?;
    if watch.stopped() {
        keep(trainer.policy(), &run.progress(&trainer));
    }

    let begun = Instant::now();
    watch.phase("test after", "tasks", Some(tests));
    let after = evaluate(trainer.policy(), &tasks.tests, watch)?;
    let tested = tested_before + begun.elapsed();
    let train: Vec<&Memory<Observation>> = trainer.memory().all().collect();
    let held_out: Vec<&Memory<Observation>> = tasks.tests.iter().collect();
    let verdict =
        run.before.as_ref().zip(after.as_ref()).map(|(before, after)| before.compare(after));
    let (mut before, mut after) = (run.before.map(|m| m.scores), after.map(|m| m.scores));
    let mut scored: Vec<&mut Scores> = [&mut before, &mut after].into_iter().flatten().collect();
    if !scored.is_empty() {
        add_blind(&mut scored, &train, &held_out, config.seed);
    }

    let mut all = trainer.counts().clone();
    all.merge(&tasks.counts);
    let (rollout, update) = trainer.times();
    let tenth = run.rewards.len().div_ceil(10);
    let reward = |rewards: &[f64]| {
        (!rewards.is_empty()).then(|| rewards.iter().sum::<f64>() / rewards.len() as f64)
    };
    let summary = WordsSummary {
        source: (*source).to_owned(),
        seed: config.seed,
        preset: config.tasks.preset,
        frames: tasks.frames,
        mean_before: before.as_ref().map(score::mean),
        mean_after: after.as_ref().map(score::mean),
        before,
        after,
        promoted: verdict.as_ref().and_then(|verdict| verdict.as_ref().ok().copied()),
        rejected: verdict.and_then(Result::err),
        cold_start: run.cold,
        updates: UpdateCounts {
            applied: trainer.guard().applied(),
            skipped: trainer.guard().skipped().clone(),
        },
        first_reward: reward(&run.rewards[..tenth]),
        last_reward: reward(&run.rewards[run.rewards.len() - tenth..]),
        wall_seconds: WordsSeconds {
            draw: drawn.as_secs_f64(),
            test: tested.as_secs_f64(),
            cold_start: cold_start.as_secs_f64(),
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

/// Reads all frames: those of the first part become what is learnt from, those of the last part
/// what is tested on.
fn draw<E: std::error::Error + 'static>(
    job: &Job<'_>,
    tasks: &mut Tasks<'_>,
    trainer: &mut Trainer<QwenPolicy>,
    mut frames: Frames<'_, E>,
    watch: &mut dyn Watch,
) -> Result<(), WordsError<E>> {
    let Job { config, extent, .. } = job;
    let split: Split = config.split.split(extent.first_ns, extent.last_ns)?;
    watch.phase("draw", "frames", Some(extent.frames));
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    let (mut train_seen, mut held_out_seen) = (0, 0);
    while let Some(frame) = frames().map_err(WordsError::Source)? {
        if watch.stopped() {
            return Err(WordsError::Stopped);
        }
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
            tasks.test_on(trainer.policy(), trainer.foretold(), &std::mem::take(&mut held_out))?;
        }
    }
    trainer.offer_views(&train, tasks.plan.views())?;
    tasks.test_on(trainer.policy(), trainer.foretold(), &held_out)?;
    if trainer.memory().is_empty() {
        return Err(tasks.nothing("learn from"));
    }
    if tasks.tests.is_empty() {
        return Err(tasks.nothing("test on"));
    }
    Ok(())
}

/// Where a run stands while it learns.
struct Run<'a> {
    config: &'a WordsConfig,
    ends: Option<Instant>,
    kept: Instant,
    tasks: String,
    before: Option<Marks>,
    cold: ColdStartCounts,
    /// Mean reward of each step.
    rewards: Vec<f64>,
}

impl Run<'_> {
    fn over(&self, watch: &dyn Watch) -> bool {
        watch.stopped() || self.ends.is_some_and(|ends| Instant::now() >= ends)
    }

    fn progress(&self, trainer: &Trainer<QwenPolicy>) -> Progress {
        Progress {
            tasks: self.tasks.clone(),
            before: self.before.clone(),
            cold: self.cold.clone(),
            rewards: self.rewards.clone(),
            trainer: trainer.state(),
        }
    }

    fn after_step(
        &mut self,
        trainer: &Trainer<QwenPolicy>,
        keep: &mut Keep<'_>,
        watch: &mut dyn Watch,
    ) {
        watch.advance(1);
        if self.kept.elapsed().as_secs_f64() >= self.config.save_every_s {
            watch.flush();
            keep(trainer.policy(), &self.progress(trainer));
            self.kept = Instant::now();
        }
        watch.rest();
    }

    fn cold_start(
        &mut self,
        trainer: &mut Trainer<QwenPolicy>,
        keep: &mut Keep<'_>,
        watch: &mut dyn Watch,
    ) {
        let steps = self.config.cold_start.steps;
        let made = self.cold.steps();
        watch.phase("cold start", "steps", Some(steps.saturating_sub(made)));
        for step in made..steps {
            if self.over(watch) {
                break;
            }
            let taught = cold_step(trainer, self.config, step);
            match (&taught.skipped, taught.loss) {
                (Some(why), _) => {
                    self.cold.skipped.add(why.name());
                }
                (None, loss) => {
                    self.cold.applied += 1;
                    self.cold.first_loss = self.cold.first_loss.or(loss);
                    self.cold.last_loss = loss;
                }
            }
            watch.taught(&taught);
            self.after_step(trainer, keep, watch);
        }
    }

    fn reinforce<E: std::error::Error + 'static>(
        &mut self,
        trainer: &mut Trainer<QwenPolicy>,
        keep: &mut Keep<'_>,
        watch: &mut dyn Watch,
    ) -> Result<(), WordsError<E>> {
        let taught = self.cold.steps();
        let steps = self.config.learn.steps;
        watch.phase("learn", "steps", Some(steps.saturating_sub(trainer.steps())));
        while trainer.steps() < steps && !self.over(watch) {
            let mut step = match trainer.step() {
                Ok(step) => step,
                Err(error) => {
                    // What was learnt until here is worth keeping.
                    watch.flush();
                    keep(trainer.policy(), &self.progress(trainer));
                    return Err(error.into());
                }
            };
            // One count for all lines of a run.
            step.metrics.step += taught;
            self.rewards.push(step.metrics.reward);
            watch.step(&step);
            self.after_step(trainer, keep, watch);
        }
        Ok(())
    }
}

/// One supervised step on tasks drawn evenly from the kinds that are remembered.
fn cold_step(trainer: &mut Trainer<QwenPolicy>, config: &WordsConfig, step: u64) -> Taught {
    let ColdStart { batch, learning_rate, .. } = config.cold_start;
    let mut rng = seed::rng(seed::mix(config.seed ^ 0xc01d, step));
    let kinds: Vec<TaskKind> = trainer.memory().kinds().cloned().collect();
    let drawn: Vec<(Observation, String)> = (0..batch.max(1))
        .filter_map(|i| {
            // A small batch must not always be of the same kinds.
            let at = (step as usize).wrapping_mul(batch.max(1)).wrapping_add(i);
            let of = trainer.memory().of(kinds.get(at % kinds.len().max(1))?);
            let memory = of.get(rng.random_range(0..of.len().max(1)))?;
            Some((memory.observation.clone(), cold_text(&memory.answer)))
        })
        .collect();
    let examples: Vec<(&Observation, &str)> =
        drawn.iter().map(|(observation, text)| (observation, text.as_str())).collect();
    let started = Instant::now();
    let taught = trainer.policy_mut().teach(&examples, learning_rate);
    let seconds = started.elapsed().as_secs_f64();
    match taught {
        Ok(loss) => Taught { step, loss: Some(loss), learning_rate, seconds, skipped: None },
        Err(why) => Taught { step, loss: None, learning_rate, seconds, skipped: Some(why) },
    }
}
