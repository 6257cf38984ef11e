//! How many held-out tasks a policy answers right, with what can be said about the true rate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use crate::{
    policy::Policy,
    task::{Question, TaskKind},
};

/// Right answers of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Tasks answered.
    pub n: u64,
    /// Answered right.
    pub correct: u64,
    /// `correct / n`.
    pub accuracy: f64,
    /// The true rate lies in here with 95 % confidence (Wilson 1927).
    pub ci95: (f64, f64),
    /// What guessing gives: the mean of one over the number of candidates.
    pub chance: f64,
    /// The best score of a policy that sees no picture.
    pub blind: f64,
}

impl Score {
    /// Counts into a score; `blind` is left at `chance`.
    pub fn new(correct: u64, n: u64, chance: f64) -> Self {
        let accuracy = if n == 0 { 0.0 } else { correct as f64 / n as f64 };
        Score { n, correct, accuracy, ci95: wilson95(correct, n), chance, blind: chance }
    }
}

/// The 95 % score interval of a proportion (Wilson 1927).
///
/// ```
/// let (low, high) = spatial_ssrl::adapt::score::wilson95(90, 100);
/// assert!((low - 0.8256).abs() < 1e-3 && (high - 0.9448).abs() < 1e-3);
/// ```
pub fn wilson95(correct: u64, n: u64) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    if n == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (n as f64, correct as f64 / n as f64);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0))
}

/// Scores by kind, built-in kinds first.
pub type Scores = BTreeMap<TaskKind, Score>;

/// Lets `policy` answer every task, greedily.
///
/// `question` says where a policy's observation keeps its question.
///
/// # Errors
/// When the policy fails.
pub fn evaluate<P: Policy>(
    policy: &P,
    tasks: &[Memory<P::Observation>],
    question: impl Fn(&P::Observation) -> Question,
) -> Result<Scores, P::Error> {
    let observations: Vec<&P::Observation> = tasks.iter().map(|task| &task.observation).collect();
    let answers = policy.best(&observations)?;
    let mut counts: BTreeMap<TaskKind, (u64, u64, f64)> = BTreeMap::new();
    for (task, (answer, _)) in tasks.iter().zip(answers) {
        let (correct, n, chance) = counts.entry(task.kind.clone()).or_default();
        *correct += u64::from(answer.as_ref() == Some(&task.answer));
        *n += 1;
        *chance += question(&task.observation).chance();
    }
    let score = |(correct, n, chance): (u64, u64, f64)| {
        Score::new(correct, n, if n == 0 { 0.0 } else { chance / n as f64 })
    };
    Ok(counts.into_iter().map(|(kind, counts)| (kind, score(counts))).collect())
}

/// The mean accuracy over kinds, each kind counting the same.
pub fn mean(scores: &Scores) -> f64 {
    if scores.is_empty() {
        return 0.0;
    }
    scores.values().map(|score| score.accuracy).sum::<f64>() / scores.len() as f64
}
