//! A policy's answers to the held-out tasks, and what they say about its health.

use std::collections::BTreeMap;

use super::{
    alarm::Vitals,
    held_out::HeldOut,
    memory::Memory,
    promote::{Answers, Set},
};
use crate::{
    policy::compact::{CompactError, CompactPolicy, observe::Observation},
    task::TaskKind,
};

/// All answers of one policy.
#[derive(Clone, Debug)]
pub struct Exam {
    /// Which were right.
    pub answers: Answers,
    /// Log-probability of every candidate answer, task by task.
    logp: Vec<Vec<f32>>,
}

/// Lets a policy answer all held-out tasks.
///
/// # Errors
/// When the policy fails.
pub fn exam(policy: &CompactPolicy, held_out: &HeldOut<Observation>) -> Result<Exam, CompactError> {
    let tasks: Vec<(Set, &Memory<Observation>)> = held_out.tasks().collect();
    let observations: Vec<&Observation> = tasks.iter().map(|(_, t)| &t.observation).collect();
    let logp = policy.log_probabilities(&observations)?;
    let mut answers = Answers::new();
    for ((set, task), logp) in tasks.into_iter().zip(&logp) {
        let right = task.observation.question.candidates().get(best(logp)) == Some(&task.answer);
        answers.entry((set, task.kind.clone())).or_default().push(right);
    }
    Ok(Exam { answers, logp })
}

fn best(logp: &[f32]) -> usize {
    (0..logp.len()).max_by(|&a, &b| logp[a].total_cmp(&logp[b])).unwrap_or(0)
}

impl Exam {
    /// Vitals by kind over all sets; `start` is the exam of the start on the same tasks.
    pub fn vitals(
        &self,
        start: Option<&Exam>,
        held_out: &HeldOut<Observation>,
    ) -> BTreeMap<TaskKind, Vitals> {
        let mut kinds: BTreeMap<TaskKind, Sums> = BTreeMap::new();
        for (i, ((_, task), logp)) in held_out.tasks().zip(&self.logp).enumerate() {
            let sums = kinds.entry(task.kind.clone()).or_default();
            let candidates = task.observation.question.candidates();
            let Some(given) = candidates.get(best(logp)) else { continue };
            sums.n += 1;
            sums.right += u64::from(*given == task.answer);
            *sums.given.entry(given.to_string()).or_default() += 1;
            *sums.truth.entry(task.answer.to_string()).or_default() += 1;
            let plain: f64 = logp.iter().map(|&l| f64::from(-l * l.exp())).sum();
            sums.entropy += plain / (logp.len().max(2) as f64).ln();
            if let Some(start) = start.and_then(|start| start.logp.get(i)) {
                let kl = logp.iter().zip(start).map(|(l, s)| f64::from(l.exp() * (l - s)));
                sums.kl += kl.sum::<f64>();
            }
        }
        kinds.into_iter().map(|(kind, sums)| (kind, sums.vitals())).collect()
    }
}

#[derive(Default)]
struct Sums {
    n: u64,
    right: u64,
    entropy: f64,
    kl: f64,
    given: BTreeMap<String, u64>,
    truth: BTreeMap<String, u64>,
}

impl Sums {
    fn vitals(self) -> Vitals {
        let n = self.n.max(1) as f64;
        let most = self.given.iter().max_by_key(|(_, count)| **count);
        let imbalance = most.map_or(0.0, |(answer, count)| {
            let truth = self.truth.get(answer).copied().unwrap_or(0);
            (*count as f64 - truth as f64) / n
        });
        Vitals {
            n: self.n,
            accuracy: self.right as f64 / n,
            entropy: self.entropy / n,
            imbalance,
            kl: self.kl / n,
        }
    }
}
