//! Signs that learning goes wrong, and what is done about each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::promote::{Answers, Set};
use crate::task::TaskKind;

/// When the alarms go off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlarmConfig {
    /// Answer entropy as a part of the highest possible, below which a kind has collapsed
    /// unless it is mostly right.
    pub min_entropy: f64,
    /// By how much the most frequent answer of a kind may exceed its true share.
    pub max_imbalance: f64,
    /// Mean KL divergence from the start's answers in nats, beyond which the candidate has
    /// drifted unless it is mostly right.
    pub max_kl: f64,
    /// Rejections in a row after which the candidate starts again from the serving policy.
    pub patience: u64,
    /// Restarts in a row after which learning stops until new frames have come.
    pub max_restarts: u64,
}

impl Default for AlarmConfig {
    fn default() -> Self {
        AlarmConfig {
            min_entropy: 0.05,
            max_imbalance: 0.4,
            max_kl: 6.0,
            patience: 8,
            max_restarts: 3,
        }
    }
}

/// What is measured of a kind at each check, over all held-out tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Vitals {
    /// Tasks.
    pub n: u64,
    /// Part that is answered right.
    pub accuracy: f64,
    /// Mean entropy of the answers as a part of the highest possible.
    pub entropy: f64,
    /// Share of the most frequent answer minus its share among the true ones.
    pub imbalance: f64,
    /// Mean KL divergence from the start's answers, nats.
    pub kl: f64,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// The candidate starts again from the serving policy.
    Restart,
    /// Learning stops until new frames have come; serving goes on.
    Freeze,
    /// The policy before the serving one serves again, and the candidate starts from it.
    RollBack,
}

/// A sign that learning goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "alarm", rename_all = "snake_case")]
pub enum Alarm {
    /// A kind is always answered alike, and mostly wrong.
    #[error("{kind} has collapsed: entropy {entropy:.3}, {accuracy:.2} right")]
    Collapse {
        /// Which kind.
        kind: TaskKind,
        /// Part of the highest entropy.
        entropy: f64,
        /// Part that is right.
        accuracy: f64,
    },
    /// One answer is given far more often than it is true.
    #[error("{kind}: one answer is given {by:.2} more often than it is true")]
    Imbalance {
        /// Which kind.
        kind: TaskKind,
        /// By how much, as a share of all answers.
        by: f64,
    },
    /// The candidate has moved far from the start without being right.
    #[error("{kind} is {kl:.2} nats from the start and {accuracy:.2} right")]
    Drift {
        /// Which kind.
        kind: TaskKind,
        /// Nats.
        kl: f64,
        /// Part that is right.
        accuracy: f64,
    },
    /// Candidate after candidate is rejected.
    #[error("{rejections} candidates in a row were rejected")]
    Stalled {
        /// How many.
        rejections: u64,
    },
    /// Restarts did not help.
    #[error("{restarts} restarts in a row did not lead to a promotion")]
    Fruitless {
        /// How many.
        restarts: u64,
    },
    /// The serving policy has become worse on what must never be unlearnt.
    #[error("the serving policy has lost {kind} on the factory set: {now:.2}, was {was:.2}")]
    FactoryLost {
        /// Which kind.
        kind: TaskKind,
        /// Accuracy now.
        now: f64,
        /// Accuracy of the start.
        was: f64,
    },
}

impl Alarm {
    /// The stable name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Alarm::Collapse { .. } => "collapse",
            Alarm::Imbalance { .. } => "imbalance",
            Alarm::Drift { .. } => "drift",
            Alarm::Stalled { .. } => "stalled",
            Alarm::Fruitless { .. } => "fruitless",
            Alarm::FactoryLost { .. } => "factory_lost",
        }
    }

    /// What is done about it.
    pub fn reaction(&self) -> Reaction {
        match self {
            Alarm::Fruitless { .. } => Reaction::Freeze,
            Alarm::FactoryLost { .. } => Reaction::RollBack,
            _ => Reaction::Restart,
        }
    }

    /// Whether people must be told (ERROR): else it is a warning.
    pub fn is_error(&self) -> bool {
        matches!(self, Alarm::FactoryLost { .. } | Alarm::Fruitless { .. })
    }
}

/// Accuracy from which a sure answer is no collapse and a far one no drift.
const MOSTLY_RIGHT: f64 = 0.5;
/// Fewer tasks than this say nothing.
const ENOUGH: u64 = 20;

/// What a candidate's vitals say.
pub fn candidate_alarm(vitals: &BTreeMap<TaskKind, Vitals>, config: &AlarmConfig) -> Option<Alarm> {
    vitals.iter().filter(|(_, vitals)| vitals.n >= ENOUGH).find_map(|(kind, vitals)| {
        let Vitals { accuracy, entropy, imbalance, kl, .. } = *vitals;
        let kind = kind.clone();
        let wrong = accuracy < MOSTLY_RIGHT;
        if imbalance > config.max_imbalance {
            Some(Alarm::Imbalance { kind, by: imbalance })
        } else if wrong && entropy < config.min_entropy {
            Some(Alarm::Collapse { kind, entropy, accuracy })
        } else if wrong && kl > config.max_kl {
            Some(Alarm::Drift { kind, kl, accuracy })
        } else {
            None
        }
    })
}

/// Whether the serving policy has lost a kind of the factory set since the start, beyond
/// what chance explains.
pub fn factory_alarm(start: &Answers, serving: &Answers) -> Option<Alarm> {
    let factory = |answers: &Answers| -> Answers {
        let own = answers.iter().filter(|((set, _), _)| *set == Set::Factory);
        own.map(|(group, tasks)| (group.clone(), tasks.clone())).collect()
    };
    let (start, serving) = (factory(start), factory(serving));
    let Err(super::promote::Rejection::KindFell { set, kind, .. }) =
        super::promote::nothing_fell(&start, &serving)
    else {
        return None;
    };
    let part = |answers: &Answers| {
        let tasks = answers.get(&(set, kind.clone())).cloned().unwrap_or_default();
        tasks.iter().filter(|right| **right).count() as f64 / tasks.len().max(1) as f64
    };
    Some(Alarm::FactoryLost { was: part(&start), now: part(&serving), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Vitals {
        Vitals { n: 100, accuracy: 0.7, entropy: 0.4, imbalance: 0.05, kl: 1.0 }
    }

    #[test]
    fn each_sign_raises_its_own_alarm_and_health_raises_none() {
        let config = AlarmConfig::default();
        let name = |vitals: Vitals| {
            let all = [(TaskKind::Depth, vitals)].into();
            candidate_alarm(&all, &config).map(|alarm| alarm.name())
        };
        assert_eq!(name(healthy()), None);
        assert_eq!(name(Vitals { imbalance: 0.5, ..healthy() }), Some("imbalance"));
        let wrong = Vitals { accuracy: 0.2, ..healthy() };
        assert_eq!(name(wrong), None, "a hard kind is no alarm");
        assert_eq!(name(Vitals { entropy: 0.01, ..wrong }), Some("collapse"));
        assert_eq!(name(Vitals { entropy: 0.01, ..healthy() }), None, "sure and right");
        assert_eq!(name(Vitals { kl: 9.0, ..wrong }), Some("drift"));
        assert_eq!(name(Vitals { n: 5, imbalance: 0.9, ..healthy() }), None, "too few tasks");
    }

    #[test]
    fn a_lost_factory_skill_rolls_back_and_is_an_error() {
        let answers = |right: usize| -> Answers {
            [((Set::Factory, TaskKind::Flip), (0..100).map(|i| i < right).collect())].into()
        };
        assert_eq!(factory_alarm(&answers(90), &answers(88)), None);
        let alarm = factory_alarm(&answers(90), &answers(60)).unwrap();
        assert_eq!(alarm.reaction(), Reaction::RollBack);
        assert!(alarm.is_error() && alarm.to_string().contains("0.60"), "{alarm}");
    }
}
