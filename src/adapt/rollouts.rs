//! The tasks of a step, the answers to them, and which groups of answers teach something.

use std::collections::BTreeMap;

use rand::RngExt;

use super::{
    memory::{Memory, Reservoir},
    trainer::LearnConfig,
};
use crate::{
    grpo::{GrpoConfig, GrpoMetrics, advantages, group_signal},
    policy::{Group, Policy},
    task::{TaskKind, seed},
};

/// Fewer tasks of a kind are rehearsed less.
const ENOUGH_TO_REHEARSE: f64 = 400.0;

/// Tasks of one kind in a step; a user's own kind counts like a colour kind.
pub(super) fn per_step(config: &LearnConfig, kind: &TaskKind) -> usize {
    config.tasks_per_step.get(kind.name()).copied().unwrap_or(8)
}

/// A task whose group of answers teaches something.
pub(super) struct Teaching<'m, O> {
    pub memory: &'m Memory<O>,
    pub group: Group,
    pub advantages: Vec<f64>,
}

/// Where a step's tasks come from.
pub(super) struct Drawn<'m, O> {
    pub memory: &'m Reservoir<O>,
    pub rehearsal: &'m BTreeMap<TaskKind, Vec<Memory<O>>>,
}

/// Groups that teach something, and the number of answers of all groups.
pub(super) type Rollouts<'m, O> = (Vec<Teaching<'m, O>>, u64);

/// Draws tasks of each kind, lets the policy answer them, and keeps the groups whose
/// answers differ in reward. Also gives the number of answers.
pub(super) fn rollouts<'m, P: Policy>(
    policy: &P,
    from: Drawn<'m, P::Observation>,
    config: &LearnConfig,
    grpo: &GrpoConfig,
    step_seed: u64,
    metrics: &mut GrpoMetrics,
) -> Result<Rollouts<'m, P::Observation>, P::Error> {
    let mut rng = seed::rng(step_seed);
    let mut teaching = Vec::new();
    let (mut rewards, mut exacts) = (Vec::new(), Vec::new());
    let mut wanted: BTreeMap<&TaskKind, usize> =
        from.memory.kinds().map(|kind| (kind, per_step(config, kind))).collect();
    let mut accuracy: BTreeMap<&TaskKind, (f64, f64)> = BTreeMap::new();
    for round in 0..=config.redraws {
        let mut drawn = Vec::new();
        for (kind, wanted) in &wanted {
            let kept = from.memory.of(kind);
            let old = from.rehearsal.get(*kind).map_or(&[][..], Vec::as_slice);
            // A handful of tasks would only be learnt by heart.
            let known = (old.len() as f64 / ENOUGH_TO_REHEARSE).min(1.0);
            let part = if known < 0.25 { 0.0 } else { known * config.rehearse.clamp(0.0, 1.0) };
            let rehearsed = (*wanted as f64 * part).round() as usize;
            for (tasks, count) in [(old, rehearsed), (kept, wanted.saturating_sub(rehearsed))] {
                drawn.extend((0..count).map(|_| &tasks[rng.random_range(0..tasks.len())]));
            }
        }
        if drawn.is_empty() {
            break;
        }
        let observations: Vec<_> = drawn.iter().map(|memory| &memory.observation).collect();
        let seed = seed::mix(step_seed, round as u64 + 1);
        let groups = policy.rollout(&observations, grpo.group_size, seed)?;
        for (memory, group) in drawn.into_iter().zip(groups) {
            let scores = policy.scores(&group, &memory.answer);
            let exact: Vec<f64> = scores.iter().map(|score| score.accuracy).collect();
            let reward: Vec<f64> = scores.iter().map(|score| score.overall).collect();
            let (right, all) = accuracy.entry(&memory.kind).or_default();
            *right += exact.iter().sum::<f64>();
            *all += exact.len() as f64;
            rewards.extend_from_slice(&reward);
            exacts.extend_from_slice(&exact);
            let teaches = group_signal(&exact).is_ok_and(|signal| signal.teaches());
            if !teaches {
                continue;
            }
            let advantages = advantages(&reward, reward.len(), grpo.advantage, grpo.advantage_eps);
            if let Ok(advantages) = advantages {
                if let Some(wanted) = wanted.get_mut(&memory.kind) {
                    *wanted = wanted.saturating_sub(1);
                }
                teaching.push(Teaching { memory, group, advantages });
            }
        }
    }
    for (kind, (right, all)) in accuracy {
        metrics.set_accuracy(kind.name(), right / all.max(1.0));
    }
    // Group sizes are checked by the configuration, so this cannot fail; if it did,
    // only the log would lack these figures.
    let _ = metrics.set_rewards(&rewards, &exacts, grpo.group_size);
    Ok((teaching, rewards.len() as u64))
}
