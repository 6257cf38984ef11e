//! A recording as tasks with their pictures, and how many of them a policy answers right.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{WordsConfig, WordsError};
use crate::{
    adapt::{
        blind::Shown,
        feed::Plan,
        gate::Gate,
        learner::evenly,
        maker::{Counts, Maker, kept, leave_out},
        memory::Memory,
        promote::{self, Answers, Rejection, Set},
        replay::Watch,
        score::{Score, Scores},
        summary::FrameCounts,
    },
    frame::RgbdFrame,
    policy::{
        Policy,
        qwen::{
            QwenError,
            policy::{Observation, QwenPolicy},
        },
    },
    task::{Question, TaskKind, TaskSet, foretold::Foretold, seed},
};

/// Frames that are prepared at once, so that no more than these are in memory.
pub const CHUNK: usize = 8;

/// A recording as tasks.
pub struct Tasks<'a> {
    config: &'a WordsConfig,
    pub set: TaskSet,
    pub gate: Gate,
    pub plan: Plan,
    pub frames: FrameCounts,
    pub counts: Counts,
    /// What is tested on.
    pub tests: Vec<Memory<Observation>>,
}

impl<'a> Tasks<'a> {
    pub fn new<E: std::error::Error + 'static>(
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

    /// Tasks of these frames to test on, with seeds apart from those of training, without those
    /// that are foretold.
    pub fn test_on(
        &mut self,
        policy: &QwenPolicy,
        foretold: Option<&Foretold>,
        frames: &[RgbdFrame],
    ) -> Result<(), QwenError> {
        let run_seed = seed::mix(self.config.seed, 0x7e57);
        let maker = Maker { tasks: &self.set, sensor: self.config.tasks.sensor, run_seed };
        // Tasks that are kept hold pictures: no more attempts than are needed.
        let attempts = |kind: &TaskKind| self.plan.attempts(kind, self.plan.even() + 1).min(4);
        let made: Vec<_> = frames
            .par_iter()
            .map(|frame| maker.make(policy, frame, 0, attempts))
            .collect::<Result<_, _>>()?;
        for (mut memories, mut counts) in made {
            if let Some(foretold) = foretold {
                let keeps = kept(foretold, &memories, run_seed);
                leave_out(&mut memories, keeps, &mut counts);
            }
            self.tests.extend(memories);
            self.counts.merge(&counts);
        }
        self.tests = evenly(std::mem::take(&mut self.tests), self.config.split.tasks());
        Ok(())
    }

    pub fn nothing<E: std::error::Error + 'static>(&self, what: &'static str) -> WordsError<E> {
        let skipped: Vec<String> =
            self.frames.skipped.iter().map(|(why, n)| format!("{why} {n}")).collect();
        let (read, used) = (self.frames.read, self.frames.used);
        let frames = format!("{read} frames read, {used} used, skipped: {}", skipped.join(", "));
        WordsError::Nothing { what, frames }
    }
}

/// How a policy answered the tests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Marks {
    /// Scores by kind.
    pub scores: Scores,
    /// Which answers were right, test by test.
    pub right: BTreeMap<TaskKind, Vec<bool>>,
}

impl Marks {
    /// By how much the mean over kinds rises to `after`, if that may take the place of this: by
    /// the rule for promotions, no kind fell, and the mean rose.
    ///
    /// # Errors
    /// Why it may not.
    pub fn compare(&self, after: &Marks) -> Result<f64, Rejection> {
        let answers = |marks: &Marks| -> Answers {
            let kinds = marks.right.iter();
            kinds.map(|(kind, right)| ((Set::Local, kind.clone()), right.clone())).collect()
        };
        promote::compare(&answers(self), &answers(after))
    }
}

/// Lets the policy answer the tests, one by one; none when the run is stopped before the last of
/// them.
pub fn evaluate(
    policy: &QwenPolicy,
    tests: &[Memory<Observation>],
    watch: &mut dyn Watch,
) -> Result<Option<Marks>, QwenError> {
    let mut all = BTreeMap::<TaskKind, (Vec<bool>, f64)>::new();
    for test in tests {
        if watch.stopped() {
            return Ok(None);
        }
        let said = policy.best(&[&test.observation])?;
        let right = said.first().is_some_and(|(answer, _)| answer.as_ref() == Some(&test.answer));
        let (marks, chance) = all.entry(test.kind.clone()).or_default();
        marks.push(right);
        *chance += test.observation.question.chance();
        watch.advance(1);
    }
    let score = |(right, chance): &(Vec<bool>, f64)| {
        let (correct, n) = (right.iter().filter(|right| **right).count(), right.len());
        Score::new(correct as u64, n as u64, chance / n as f64)
    };
    Ok(Some(Marks {
        scores: all.iter().map(|(kind, marks)| (kind.clone(), score(marks))).collect(),
        right: all.into_iter().map(|(kind, (right, _))| (kind, right)).collect(),
    }))
}

impl Shown for Observation {
    fn question(&self) -> &Question {
        &self.question
    }

    fn picture_size(&self) -> (u32, u32) {
        self.picture_size
    }

    fn options(&self) -> Option<Vec<Vec<f32>>> {
        let (_, options) = self.pictures.split_first()?;
        Some(options.iter().map(colours).collect())
    }
}

/// What a picture looks like without its place in another: mean and spread of each colour, and
/// the mean of each colour in each quarter, 0 to 1.
fn colours(picture: &image::RgbImage) -> Vec<f32> {
    let (width, height) = picture.dimensions();
    let mut quarters = [[0.0_f32; 4]; 3];
    let mut squares = [0.0_f32; 3];
    for (x, y, pixel) in picture.enumerate_pixels() {
        let quarter = usize::from(2 * x >= width) + 2 * usize::from(2 * y >= height);
        for (channel, value) in pixel.0.iter().enumerate() {
            let value = f32::from(*value) / 255.0;
            quarters[channel][quarter] += value;
            squares[channel] += value * value;
        }
    }
    let n = (width * height).max(1) as f32;
    let mut look = Vec::with_capacity(18);
    for (quarters, squares) in quarters.iter().zip(squares) {
        let mean = quarters.iter().sum::<f32>() / n;
        look.extend([mean, (squares / n - mean * mean).max(0.0).sqrt()]);
        look.extend(quarters.iter().map(|sum| 4.0 * sum / n));
    }
    look
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qwen_an_adapter_that_lost_a_kind_is_rejected_however_much_it_gained() {
        let marks = |flip: usize, depth: usize| {
            let right = |n: usize| (0..24).map(|i| i < n).collect();
            let right = [(TaskKind::Flip, right(flip)), (TaskKind::Depth, right(depth))].into();
            Marks { scores: Scores::new(), right }
        };
        let start = marks(20, 4);
        assert!((start.compare(&marks(20, 16)).unwrap() - 0.25).abs() < 1e-9);
        assert!(matches!(start.compare(&marks(4, 24)), Err(Rejection::KindFell { .. })));
        assert!(matches!(start.compare(&start), Err(Rejection::NotBetter { .. })));
    }
}
