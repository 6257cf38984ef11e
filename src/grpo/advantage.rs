//! How much better an answer was than the other answers to the same task.

use serde::{Deserialize, Serialize};

/// How rewards of one group become advantages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advantage {
    /// `(r - mean) / (std + eps)` with the unbiased standard deviation: GRPO (Shao et al.
    /// 2024, section 4.1.2), as published for the five tasks.
    #[default]
    Group,
    /// `r - mean`: Dr. GRPO (Liu et al. 2025, section 3.2), which does not blow up groups
    /// that are nearly all right or nearly all wrong.
    None,
    /// `r - mean of the others`: RLOO (Ahmadian et al. 2024, section 2.2); unbiased.
    LeaveOneOut,
}

/// A group from which no advantage can be computed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum GroupError {
    /// One answer alone cannot be better than the others.
    #[error("a group of {n} answers has no advantage: at least 2 are needed")]
    TooSmall {
        /// How many answers there are.
        n: usize,
    },
    /// A reward is NaN or infinite.
    #[error("reward {index} of the group is {value}, not a finite number")]
    NonFinite {
        /// Which reward.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// The rewards are not whole groups.
    #[error("{rewards} rewards are not whole groups of {group_size}")]
    NotWholeGroups {
        /// How many rewards there are.
        rewards: usize,
        /// How many belong to one group.
        group_size: usize,
    },
}

/// Whether a group can teach anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Some answers were better than others.
    Spread,
    /// All answers had the highest accuracy, 1: the task is too easy by now.
    AllRight,
    /// All answers had the same accuracy below 1: the task is too hard yet.
    AllWrong,
}

impl Signal {
    /// Whether the group teaches something.
    pub fn teaches(self) -> bool {
        self == Signal::Spread
    }
}

/// Whether a group has spread, judged by *accuracy* alone. A group without it is to be
/// dropped and another task drawn: standardising a difference that is only in format would
/// blow it up to full size.
///
/// # Errors
/// [`GroupError::TooSmall`] or [`GroupError::NonFinite`].
///
/// ```
/// use spatial_ssrl::grpo::{Signal, group_signal};
/// assert_eq!(group_signal(&[0.0, 1.0, 0.0])?, Signal::Spread);
/// assert_eq!(group_signal(&[0.0, 0.0, 0.0])?, Signal::AllWrong);
/// assert_eq!(group_signal(&[1.0, 1.0])?, Signal::AllRight);
/// # Ok::<(), spatial_ssrl::grpo::GroupError>(())
/// ```
pub fn group_signal(accuracy: &[f64]) -> Result<Signal, GroupError> {
    let first = checked(accuracy)?;
    Ok(if accuracy.iter().any(|a| *a != first) {
        Signal::Spread
    } else if first >= 1.0 {
        Signal::AllRight
    } else {
        Signal::AllWrong
    })
}

/// The advantages of one group, written to `out` of the same length.
///
/// # Errors
/// [`GroupError::TooSmall`] or [`GroupError::NonFinite`]; `out` is then untouched.
pub(crate) fn group_advantages(
    rewards: &[f64],
    kind: Advantage,
    eps: f64,
    out: &mut Vec<f64>,
) -> Result<(), GroupError> {
    let first = checked(rewards)?;
    if rewards.iter().all(|r| *r == first) {
        // Exactly zero, not what rounding leaves of `r - mean`.
        out.extend(rewards.iter().map(|_| 0.0));
        return Ok(());
    }
    let n = rewards.len() as f64;
    let mean = rewards.iter().sum::<f64>() / n;
    let scale = match kind {
        Advantage::None => 1.0,
        // r - (sum - r) / (n - 1) = (r - mean) n / (n - 1)
        Advantage::LeaveOneOut => n / (n - 1.0),
        Advantage::Group => 1.0 / (unbiased_std(rewards, mean) + eps),
    };
    out.extend(rewards.iter().map(|r| (r - mean) * scale));
    Ok(())
}

/// The advantage of each answer, `rewards` being `[groups * group_size]`, groups one after
/// another. A group whose rewards are all equal gets exact zeros.
///
/// # Errors
/// [`GroupError`]: groups of fewer than 2, rewards that are no whole groups, a reward that
/// is not finite.
///
/// ```
/// use spatial_ssrl::grpo::{Advantage, advantages};
/// let two_groups = [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
/// let a = advantages(&two_groups, 4, Advantage::None, 1e-6)?;
/// assert_eq!(a, [0.75, -0.25, -0.25, -0.25, 0.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), spatial_ssrl::grpo::GroupError>(())
/// ```
pub fn advantages(
    rewards: &[f64],
    group_size: usize,
    kind: Advantage,
    eps: f64,
) -> Result<Vec<f64>, GroupError> {
    if group_size < 2 {
        return Err(GroupError::TooSmall { n: group_size });
    }
    if !rewards.len().is_multiple_of(group_size) {
        return Err(GroupError::NotWholeGroups { rewards: rewards.len(), group_size });
    }
    let mut out = Vec::with_capacity(rewards.len());
    for group in rewards.chunks_exact(group_size) {
        group_advantages(group, kind, eps, &mut out)?;
    }
    Ok(out)
}

/// The standard deviation with `n - 1` in the denominator.
pub(crate) fn unbiased_std(values: &[f64], mean: f64) -> f64 {
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (squares / (values.len() as f64 - 1.0)).sqrt()
}

/// The first value of a group that is large enough and finite throughout.
fn checked(values: &[f64]) -> Result<f64, GroupError> {
    if let Some(index) = values.iter().position(|v| !v.is_finite()) {
        let value = values.get(index).copied().unwrap_or(f64::NAN);
        return Err(GroupError::NonFinite { index, value });
    }
    match values {
        [first, _, ..] => Ok(*first),
        _ => Err(GroupError::TooSmall { n: values.len() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_group_of_one_is_refused() {
        assert_eq!(group_signal(&[1.0]), Err(GroupError::TooSmall { n: 1 }));
        assert_eq!(group_signal(&[]), Err(GroupError::TooSmall { n: 0 }));
        for n in [0, 1] {
            let refused = advantages(&[1.0; 4], n, Advantage::Group, 1e-6);
            assert_eq!(refused, Err(GroupError::TooSmall { n }));
        }
    }

    #[test]
    fn a_reward_that_is_not_finite_is_refused_with_its_place() {
        for kind in [Advantage::Group, Advantage::None, Advantage::LeaveOneOut] {
            let refused = advantages(&[1.0, f64::INFINITY], 2, kind, 1e-6);
            assert_eq!(refused, Err(GroupError::NonFinite { index: 1, value: f64::INFINITY }));
        }
        assert!(matches!(
            group_signal(&[f64::NAN, f64::NAN]),
            Err(GroupError::NonFinite { index: 0, .. })
        ));
    }

    #[test]
    fn rewards_that_are_no_whole_groups_are_refused() {
        let refused = advantages(&[1.0; 7], 5, Advantage::Group, 1e-6);
        assert_eq!(refused, Err(GroupError::NotWholeGroups { rewards: 7, group_size: 5 }));
    }

    #[test]
    fn a_difference_in_format_alone_is_no_signal() {
        let rewards = [0.0, 0.1, 0.0, 0.1, 0.1];
        let blown_up = advantages(&rewards, 5, Advantage::Group, 1e-6).unwrap();
        assert!(blown_up.iter().any(|a| a.abs() > 1.0), "what keying on accuracy avoids");
        assert_eq!(group_signal(&[0.0; 5]), Ok(Signal::AllWrong));
    }

    proptest! {
        #[test]
        fn equal_rewards_give_exact_zeros(reward in -10.0..10.0_f64, n in 2..9_usize) {
            for kind in [Advantage::Group, Advantage::None, Advantage::LeaveOneOut] {
                let a = advantages(&vec![reward; n], n, kind, 1e-6).unwrap();
                prop_assert!(a.iter().all(|a| *a == 0.0));
            }
        }

        #[test]
        fn advantages_sum_to_zero_and_keep_the_order(
            rewards in proptest::collection::vec(0.0..1.0_f64, 2..9)
        ) {
            for kind in [Advantage::Group, Advantage::None, Advantage::LeaveOneOut] {
                let a = advantages(&rewards, rewards.len(), kind, 1e-6).unwrap();
                prop_assert!(a.iter().sum::<f64>().abs() < 1e-9);
                for i in 1..a.len() {
                    prop_assert_eq!(a[i] > a[0], rewards[i] > rewards[0]);
                }
            }
        }

        #[test]
        fn leave_one_out_is_the_reward_less_the_mean_of_the_others(
            rewards in proptest::collection::vec(0.0..1.0_f64, 2..9)
        ) {
            let a = advantages(&rewards, rewards.len(), Advantage::LeaveOneOut, 0.0).unwrap();
            for (i, advantage) in a.iter().enumerate() {
                let others: f64 =
                    rewards.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, r)| r).sum();
                let expected = rewards[i] - others / (rewards.len() - 1) as f64;
                prop_assert!((advantage - expected).abs() < 1e-12);
            }
        }

        #[test]
        fn group_advantages_have_unit_spread(
            rewards in proptest::collection::vec(prop_oneof![Just(0.0), Just(1.0)], 2..9)
        ) {
            prop_assume!(rewards.contains(&0.0) && rewards.contains(&1.0));
            let a = advantages(&rewards, rewards.len(), Advantage::Group, 0.0).unwrap();
            prop_assert!((unbiased_std(&a, 0.0) - 1.0).abs() < 1e-9);
        }
    }
}
