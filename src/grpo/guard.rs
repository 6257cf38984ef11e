//! What keeps a bad step away from the weights.

use super::{
    advantage::{GroupError, Signal},
    batch::ShapeError,
};
use crate::tally::Tally;

/// Why a step was not taken. The weights stay as they were.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UpdateSkip {
    /// There is nothing to learn from.
    #[error("no group of answers with spread in accuracy was found")]
    NoSpread,
    /// All answers of the group were equally right.
    #[error("every answer of the group is right: the task is too easy")]
    AllRight,
    /// All answers of the group were equally wrong.
    #[error("every answer of the group is wrong: the task is too hard")]
    AllWrong,
    /// A group of one answer.
    #[error("a group of {n} answers has no advantage")]
    GroupTooSmall {
        /// How many answers there are.
        n: usize,
    },
    /// A reward is NaN or infinite.
    #[error("reward {index} is {value}")]
    NonFiniteReward {
        /// Which reward.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// An advantage is NaN or infinite.
    #[error("advantage {index} is {value}")]
    NonFiniteAdvantage {
        /// Which advantage.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// All advantages are zero.
    #[error("all advantages are zero")]
    ZeroAdvantage,
    /// A log-probability of a token that counts is NaN or infinite.
    #[error("log-probability {index} is {value}")]
    NonFiniteLogp {
        /// Which log-probability.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// The loss is NaN or infinite.
    #[error("the loss is {loss}")]
    NonFiniteLoss {
        /// The loss.
        loss: f64,
    },
    /// The gradient's norm is NaN or infinite.
    #[error("the gradient's norm is {norm}")]
    NonFiniteGradient {
        /// The norm.
        norm: f64,
    },
    /// Rewards, advantages and tokens do not fit together.
    #[error("{0}")]
    Shape(String),
}

impl UpdateSkip {
    /// The stable name under which this reason is counted.
    pub fn name(&self) -> &'static str {
        match self {
            UpdateSkip::NoSpread => "no_spread",
            UpdateSkip::AllRight => "all_right",
            UpdateSkip::AllWrong => "all_wrong",
            UpdateSkip::GroupTooSmall { .. } => "group_too_small",
            UpdateSkip::NonFiniteReward { .. } => "non_finite_reward",
            UpdateSkip::NonFiniteAdvantage { .. } => "non_finite_advantage",
            UpdateSkip::ZeroAdvantage => "zero_advantage",
            UpdateSkip::NonFiniteLogp { .. } => "non_finite_logp",
            UpdateSkip::NonFiniteLoss { .. } => "non_finite_loss",
            UpdateSkip::NonFiniteGradient { .. } => "non_finite_gradient",
            UpdateSkip::Shape(_) => "shape",
        }
    }

    /// The reason why a group of this signal is dropped, if it is.
    pub fn of_signal(signal: Signal) -> Option<UpdateSkip> {
        match signal {
            Signal::Spread => None,
            Signal::AllRight => Some(UpdateSkip::AllRight),
            Signal::AllWrong => Some(UpdateSkip::AllWrong),
        }
    }
}

impl From<GroupError> for UpdateSkip {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::TooSmall { n } => UpdateSkip::GroupTooSmall { n },
            GroupError::NonFinite { index, value } => UpdateSkip::NonFiniteReward { index, value },
            GroupError::NotWholeGroups { .. } => UpdateSkip::Shape(error.to_string()),
        }
    }
}

impl From<ShapeError> for UpdateSkip {
    fn from(error: ShapeError) -> Self {
        UpdateSkip::Shape(error.to_string())
    }
}

/// Refuses advantages that would ruin the weights or leave them where they are.
///
/// # Errors
/// [`UpdateSkip::NonFiniteAdvantage`], or [`UpdateSkip::ZeroAdvantage`] when there is none
/// that is not zero.
pub fn check_advantages(advantages: &[f64]) -> Result<(), UpdateSkip> {
    for (index, value) in advantages.iter().copied().enumerate() {
        if !value.is_finite() {
            return Err(UpdateSkip::NonFiniteAdvantage { index, value });
        }
    }
    if advantages.iter().all(|a| *a == 0.0) { Err(UpdateSkip::ZeroAdvantage) } else { Ok(()) }
}

/// Refuses log-probabilities that are not finite; `mask` of the same length says which count.
///
/// # Errors
/// [`UpdateSkip::NonFiniteLogp`] with the first one.
pub fn check_logp(logp: &[f64], mask: &[bool]) -> Result<(), UpdateSkip> {
    let bad = logp.iter().zip(mask).position(|(value, counts)| *counts && !value.is_finite());
    match bad {
        None => Ok(()),
        Some(index) => {
            let value = logp.get(index).copied().unwrap_or(f64::NAN);
            Err(UpdateSkip::NonFiniteLogp { index, value })
        }
    }
}

/// Refuses a loss that is not finite.
///
/// # Errors
/// [`UpdateSkip::NonFiniteLoss`].
pub fn check_loss(loss: f64) -> Result<(), UpdateSkip> {
    if loss.is_finite() { Ok(()) } else { Err(UpdateSkip::NonFiniteLoss { loss }) }
}

/// Refuses a gradient whose norm is not finite (one NaN or infinity anywhere makes it so).
///
/// # Errors
/// [`UpdateSkip::NonFiniteGradient`].
pub fn check_gradient(norm: f64) -> Result<(), UpdateSkip> {
    if norm.is_finite() { Ok(()) } else { Err(UpdateSkip::NonFiniteGradient { norm }) }
}

/// The Euclidean norm over all the parts of a gradient. NaN or infinite if any value is.
///
/// ```
/// use spatial_ssrl::grpo::guard::gradient_norm;
/// assert_eq!(gradient_norm([[3.0].as_slice(), [4.0].as_slice()]), 5.0);
/// assert!(gradient_norm([[3.0, f32::NAN].as_slice()]).is_nan());
/// ```
pub fn gradient_norm<'a>(parts: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    let squares: f64 = parts.into_iter().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum();
    squares.sqrt()
}

/// Counts the steps that were taken and those that were not, by reason.
///
/// ```
/// use spatial_ssrl::grpo::{StepGuard, guard};
/// let mut steps = StepGuard::default();
/// let (mut weight, lr) = (1.0, 0.1);
/// for gradient in [0.5_f32, f32::NAN] {
///     let norm = guard::gradient_norm([[gradient].as_slice()]);
///     if steps.admit(guard::check_gradient(norm)).is_ok() {
///         weight -= lr * gradient;
///     }
/// }
/// assert_eq!((steps.applied(), steps.skipped().get("non_finite_gradient")), (1, 1));
/// assert_eq!(weight, 0.95);
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StepGuard {
    applied: u64,
    skipped: Tally,
}

impl StepGuard {
    /// Counts one step by the outcome of its checks and hands the outcome on. Ask once a
    /// step, right before the weights change.
    ///
    /// # Errors
    /// The reason, as given: the weights must then stay as they were.
    pub fn admit(&mut self, checked: Result<(), UpdateSkip>) -> Result<(), UpdateSkip> {
        match &checked {
            Ok(()) => self.applied += 1,
            Err(skip) => self.skip(skip),
        }
        checked
    }

    /// Counts a step that ended before its checks.
    pub fn skip(&mut self, skip: &UpdateSkip) {
        self.skipped.add(skip.name());
    }

    /// Steps that were taken.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Steps that were not, by reason.
    pub fn skipped(&self) -> &Tally {
        &self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpo::{Advantage, advantages, group_signal};

    #[test]
    fn every_bad_step_is_refused_with_its_reason() {
        let skip = |result: Result<(), UpdateSkip>| result.unwrap_err().name();
        assert_eq!(skip(check_loss(f64::NAN)), "non_finite_loss");
        assert_eq!(skip(check_gradient(f64::INFINITY)), "non_finite_gradient");
        assert_eq!(skip(check_advantages(&[0.0, f64::NAN])), "non_finite_advantage");
        assert_eq!(skip(check_advantages(&[0.0, 0.0])), "zero_advantage");
        assert_eq!(skip(check_advantages(&[])), "zero_advantage");
        assert_eq!(skip(check_logp(&[f64::NEG_INFINITY], &[true])), "non_finite_logp");
        assert!(check_logp(&[f64::NEG_INFINITY], &[false]).is_ok());
        let group = |rewards: &[f64]| {
            let made = advantages(rewards, rewards.len(), Advantage::Group, 1e-6);
            UpdateSkip::from(made.unwrap_err()).name()
        };
        assert_eq!(group(&[1.0]), "group_too_small");
        assert_eq!(group(&[1.0, f64::NAN]), "non_finite_reward");
        let signal = |accuracy: &[f64]| UpdateSkip::of_signal(group_signal(accuracy).unwrap());
        assert_eq!(signal(&[1.0, 1.0]), Some(UpdateSkip::AllRight));
        assert_eq!(signal(&[0.0, 0.0]), Some(UpdateSkip::AllWrong));
        assert_eq!(signal(&[0.0, 1.0]), None);
    }

    #[test]
    fn the_norm_of_huge_gradients_does_not_overflow() {
        assert!(gradient_norm([[f32::MAX; 4].as_slice()]).is_finite());
        assert_eq!(gradient_norm([]), 0.0);
    }
}
