//! Whether a candidate may take the place of the policy that serves.
//!
//! Both answer the same held-out tasks, so the comparison is paired: what counts is on
//! which tasks they differ. A candidate is promoted if its mean over all kinds rises by
//! more than half its standard error, no kind of any set falls beyond its confidence bound,
//! and what the start knew falls by at most two points in the mean. (With a whole standard error most of what is learnt late in a run was thrown away,
//! a little at a time; with none, chance would promote every other candidate.)

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::task::TaskKind;

/// Quantile of the normal distribution: of the ten groups that are compared (five kinds, two
/// sets) none falls farther by chance in 95 of 100 candidates (Bonferroni: 1 - 0.05 / 20).
const Z: f64 = 2.807_033_768_343_811;

/// By how much the mean over the factory set's kinds may lie below the start's.
const FORGIVEN: f64 = 0.02;

/// By how many standard errors the mean must rise.
const ENOUGH: f64 = 0.5;

/// A set of held-out tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Set {
    /// The same for ever: what a policy must never unlearn.
    Factory,
    /// From the robot's own frames, apart in time from those that are learnt from.
    Local,
}

/// Which answers were right, task by task in a fixed order, by set and kind.
pub type Answers = BTreeMap<(Set, TaskKind), Vec<bool>>;

/// Why a candidate was not promoted.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Rejection {
    /// A kind fell beyond its confidence bound.
    #[error("{kind} fell by {by:.3} on the {set:?} set, more than chance explains ({bound:.3})")]
    KindFell {
        /// On which set.
        set: Set,
        /// Which kind.
        kind: TaskKind,
        /// By how much, 0..1.
        by: f64,
        /// What chance explains.
        bound: f64,
    },
    /// What the start knew was lost in part.
    #[error("the mean over the factory set fell by {by:.3}, more than {allowed}")]
    Forgot {
        /// By how much, 0..1.
        by: f64,
        /// How much is forgiven.
        allowed: f64,
    },
    /// The mean did not rise by more than half its standard error.
    #[error("the mean rose by {by:.4}, not beyond half its standard error {standard_error:.4}")]
    NotBetter {
        /// By how much it rose.
        by: f64,
        /// The standard error of that.
        standard_error: f64,
    },
    /// There is nothing to test it on yet.
    #[error("there are no held-out tasks to test it on")]
    Untested,
    /// An alarm went off.
    #[error("alarm: {0}")]
    Alarm(String),
}

impl Rejection {
    /// The stable name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Rejection::KindFell { .. } => "kind_fell",
            Rejection::Forgot { .. } => "forgot",
            Rejection::NotBetter { .. } => "not_better",
            Rejection::Untested => "untested",
            Rejection::Alarm(_) => "alarm",
        }
    }
}

/// The mean paired difference of two policies on one group of tasks, and its variance.
fn difference(serving: &[bool], candidate: &[bool]) -> (f64, f64) {
    let n = serving.len().min(candidate.len()).max(1) as f64;
    let gained = serving.iter().zip(candidate).filter(|(s, c)| !**s && **c).count() as f64;
    let lost = serving.iter().zip(candidate).filter(|(s, c)| **s && !**c).count() as f64;
    let mean = (gained - lost) / n;
    // Variance of the mean of -1, 0, 1; one task of doubt so that it is never zero.
    let variance = ((gained + lost + 1.0) / n - mean * mean).max(0.0) / n;
    (mean, variance)
}

/// The kind that fell farthest beyond its bound, if any did.
///
/// # Errors
/// [`Rejection::KindFell`].
pub fn nothing_fell(before: &Answers, candidate: &Answers) -> Result<(), Rejection> {
    let mut worst: Option<(f64, Rejection)> = None;
    for (group @ (set, kind), before) in before {
        let Some(now) = candidate.get(group) else { continue };
        let (mean, variance) = difference(before, now);
        let (by, bound) = (-mean, Z * variance.sqrt());
        if by > bound && worst.as_ref().is_none_or(|(beyond, _)| by - bound > *beyond) {
            let fell = Rejection::KindFell { set: *set, kind: kind.clone(), by, bound };
            worst = Some((by - bound, fell));
        }
    }
    worst.map_or(Ok(()), |(_, fell)| Err(fell))
}

/// The answers to one set alone.
pub fn of_set(answers: &Answers, wanted: Set) -> Answers {
    let of_it = answers.iter().filter(|((set, _), _)| *set == wanted);
    of_it.map(|(group, tasks)| (group.clone(), tasks.clone())).collect()
}

/// Whether a candidate still knows what the start did: no kind of the factory set fell, and
/// hardly their mean. Many small falls, each within its bound, must not add up either.
///
/// # Errors
/// [`Rejection::KindFell`] or [`Rejection::Forgot`].
pub fn nothing_forgotten(start: &Answers, candidate: &Answers) -> Result<(), Rejection> {
    let (start, candidate) = (of_set(start, Set::Factory), of_set(candidate, Set::Factory));
    nothing_fell(&start, &candidate)?;
    let by = mean(&start) - mean(&candidate);
    match by > FORGIVEN + 1e-9 {
        true => Err(Rejection::Forgot { by, allowed: FORGIVEN }),
        false => Ok(()),
    }
}

/// Whether `candidate` may take the place of `serving`. Gives by how much the mean over
/// all sets and kinds rises.
///
/// # Errors
/// Why it may not.
///
/// ```
/// use spatial_ssrl::{adapt::promote::{Answers, Set, compare}, task::TaskKind};
/// let answers = |right: usize| -> Answers {
///     let tasks = (0..100).map(|i| i < right).collect();
///     [((Set::Local, TaskKind::Depth), tasks)].into()
/// };
/// assert!(compare(&answers(60), &answers(75)).is_ok());
/// assert!(compare(&answers(60), &answers(60)).is_err(), "no better");
/// assert!(compare(&answers(60), &answers(40)).is_err());
/// ```
pub fn compare(serving: &Answers, candidate: &Answers) -> Result<f64, Rejection> {
    if serving.is_empty() {
        return Err(Rejection::Untested);
    }
    nothing_fell(serving, candidate)?;
    let none = Vec::new();
    let differences = serving
        .iter()
        .map(|(group, before)| difference(before, candidate.get(group).unwrap_or(&none)));
    let (mut by, mut variance) = (0.0, 0.0);
    for (mean, own) in differences {
        by += mean;
        variance += own;
    }
    let groups = serving.len() as f64;
    let (by, standard_error) = (by / groups, variance.sqrt() / groups);
    if by > ENOUGH * standard_error {
        Ok(by)
    } else {
        Err(Rejection::NotBetter { by, standard_error })
    }
}

/// The mean accuracy over sets and kinds, each counting the same.
pub fn mean(answers: &Answers) -> f64 {
    let part = |tasks: &Vec<bool>| {
        tasks.iter().filter(|right| **right).count() as f64 / tasks.len().max(1) as f64
    };
    answers.values().map(part).sum::<f64>() / answers.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answers(groups: &[(Set, TaskKind, usize, usize)]) -> Answers {
        let group = |&(set, ref kind, right, n): &(Set, TaskKind, usize, usize)| {
            ((set, kind.clone()), (0..n).map(|i| i < right).collect())
        };
        groups.iter().map(group).collect()
    }

    #[test]
    fn one_kind_that_falls_keeps_a_better_mean_from_being_promoted() {
        let serving = answers(&[
            (Set::Factory, TaskKind::Flip, 90, 100),
            (Set::Local, TaskKind::Depth, 40, 100),
        ]);
        let candidate = answers(&[
            (Set::Factory, TaskKind::Flip, 75, 100),
            (Set::Local, TaskKind::Depth, 90, 100),
        ]);
        let why = compare(&serving, &candidate).unwrap_err();
        let Rejection::KindFell { set, kind, .. } = why else { panic!("{why}") };
        assert_eq!((set, kind), (Set::Factory, TaskKind::Flip));
    }

    #[test]
    fn small_falls_of_many_kinds_add_up_to_forgetting() {
        let answers = |right: usize| -> Answers {
            let tasks: Vec<bool> = (0..100).map(|i| i < right).collect();
            let kinds = [TaskKind::Depth, TaskKind::Position, TaskKind::Flip];
            kinds.into_iter().map(|kind| ((Set::Factory, kind), tasks.clone())).collect()
        };
        assert_eq!(nothing_forgotten(&answers(80), &answers(78)), Ok(()));
        assert_eq!(nothing_fell(&answers(80), &answers(77)), Ok(()), "each within its bound");
        let forgot = nothing_forgotten(&answers(80), &answers(77)).unwrap_err();
        assert!(matches!(forgot, Rejection::Forgot { by, .. } if (by - 0.03).abs() < 1e-9));
        assert_eq!(forgot.name(), "forgot");
        let elsewhere: Answers =
            answers(50).into_iter().map(|((_, kind), tasks)| ((Set::Local, kind), tasks)).collect();
        assert_eq!(nothing_forgotten(&elsewhere, &elsewhere), Ok(()), "no factory set");
    }

    #[test]
    fn nothing_to_test_on_promotes_nothing() {
        assert_eq!(compare(&Answers::new(), &Answers::new()), Err(Rejection::Untested));
    }

    proptest! {
        #[test]
        fn a_policy_never_takes_its_own_place(
            tasks in prop::collection::vec(any::<bool>(), 1..200),
        ) {
            let same: Answers = [((Set::Local, TaskKind::Flip), tasks)].into();
            prop_assert!(compare(&same, &same).is_err());
        }

        #[test]
        fn not_both_of_two_policies_are_better_than_the_other(
            pairs in prop::collection::vec((any::<bool>(), any::<bool>()), 1..200),
        ) {
            let (a, b): (Vec<bool>, Vec<bool>) = pairs.into_iter().unzip();
            let a: Answers = [((Set::Local, TaskKind::Flip), a)].into();
            let b: Answers = [((Set::Local, TaskKind::Flip), b)].into();
            prop_assert!(compare(&a, &b).is_err() || compare(&b, &a).is_err());
        }
    }

    #[test]
    fn luck_alone_is_seldom_promoted_and_never_far() {
        // Candidates that are right as often as the serving policy, task by task at random.
        let mut rng = crate::task::seed::rng(4);
        let mut draw = |n: usize| -> Vec<bool> {
            (0..n).map(|_| rand::RngExt::random_bool(&mut rng, 0.7)).collect()
        };
        let (mut promoted, mut most) = (0, 0.0_f64);
        for _ in 0..500 {
            let group = |draw: &mut dyn FnMut(usize) -> Vec<bool>| -> Answers {
                TaskKind::BUILTIN.iter().map(|k| ((Set::Local, k.clone()), draw(100))).collect()
            };
            let (a, b) = (group(&mut draw), group(&mut draw));
            if let Ok(by) = compare(&a, &b) {
                promoted += 1;
                most = most.max(by);
            }
        }
        assert!(promoted < 190, "{promoted} of 500 by luck");
        assert!(most < 0.12, "one by {most}");
    }
}
