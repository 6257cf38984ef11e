//! The exact policy gradient of a policy whose answers can be enumerated: what the sampled
//! gradient of GRPO must come to on average.
//!
//! With `pi = softmax(logits)` and `J = sum_k pi_k r_k`, `dJ/dlogits_k = pi_k (r_k - J)`
//! (Sutton et al. 2000, theorem 1, for one step).

use rand::{Rng, RngExt};

use super::{
    advantage::{Advantage, group_advantages},
    guard::UpdateSkip,
};

/// The expected reward of a policy and its exact gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct ExactGradient {
    /// Expected reward.
    pub reward: f64,
    /// Its derivative with respect to each logit, `[candidates]`: the direction in which to
    /// *climb*.
    pub grad: Vec<f64>,
}

/// The probabilities of candidates, `[candidates]`. A logit of minus infinity is a candidate
/// that is never given.
///
/// # Errors
/// [`UpdateSkip::NonFiniteLogp`] for a logit that is NaN or plus infinity, or when no
/// candidate is left.
pub fn softmax(logits: &[f64]) -> Result<Vec<f64>, UpdateSkip> {
    for (index, value) in logits.iter().copied().enumerate() {
        if value.is_nan() || value == f64::INFINITY {
            return Err(UpdateSkip::NonFiniteLogp { index, value });
        }
    }
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return Err(UpdateSkip::NonFiniteLogp { index: 0, value: top });
    }
    let exps: Vec<f64> = logits.iter().map(|z| (z - top).exp()).collect();
    let sum: f64 = exps.iter().sum();
    Ok(exps.into_iter().map(|e| e / sum).collect())
}

/// The exact gradient of the expected reward; `logits` and `rewards` are `[candidates]`.
///
/// # Errors
/// [`UpdateSkip`]: lengths that differ, logits or rewards that are not finite.
///
/// ```
/// use spatial_ssrl::grpo::exact_policy_gradient;
/// let exact = exact_policy_gradient(&[0.0, 0.0], &[1.0, 0.0])?;
/// assert_eq!((exact.reward, exact.grad), (0.5, vec![0.25, -0.25]));
/// # Ok::<(), spatial_ssrl::grpo::UpdateSkip>(())
/// ```
pub fn exact_policy_gradient(logits: &[f64], rewards: &[f64]) -> Result<ExactGradient, UpdateSkip> {
    let probabilities = softmax(logits)?;
    check_rewards(logits, rewards)?;
    let reward: f64 = probabilities.iter().zip(rewards).map(|(p, r)| p * r).sum();
    let grad = probabilities.iter().zip(rewards).map(|(p, r)| p * (r - reward)).collect();
    Ok(ExactGradient { reward, grad })
}

/// The gradient that one group of sampled answers gives, `[candidates]`:
/// `mean over the group of A_i (onehot(a_i) - pi)`, the direction in which to climb.
///
/// Its mean over groups is the exact gradient times [`expected_scale`].
///
/// # Errors
/// [`UpdateSkip`]: lengths that differ, values that are not finite, a group of fewer than 2.
///
/// ```
/// use spatial_ssrl::{grpo::{Advantage, sampled_gradient}, task::seed::rng};
/// let grad = sampled_gradient(&[0.0, 1.0], &[1.0, 0.0], 5, Advantage::None, 1e-6, &mut rng(7))?;
/// assert!(grad[0] >= 0.0 && (grad[0] + grad[1]).abs() < 1e-12);
/// # Ok::<(), spatial_ssrl::grpo::UpdateSkip>(())
/// ```
pub fn sampled_gradient(
    logits: &[f64],
    rewards: &[f64],
    group_size: usize,
    advantage: Advantage,
    eps: f64,
    rng: &mut impl Rng,
) -> Result<Vec<f64>, UpdateSkip> {
    let probabilities = softmax(logits)?;
    check_rewards(logits, rewards)?;
    let answers: Vec<usize> =
        (0..group_size).map(|_| pick(&probabilities, rng.random::<f64>())).collect();
    let earned: Vec<f64> =
        answers.iter().map(|answer| rewards.get(*answer).copied().unwrap_or(0.0)).collect();
    let mut advantages = Vec::with_capacity(group_size);
    group_advantages(&earned, advantage, eps, &mut advantages)?;
    let mut grad = vec![0.0; logits.len()];
    let each = 1.0 / group_size as f64;
    for (answer, advantage) in answers.iter().zip(&advantages) {
        for (k, (grad, p)) in grad.iter_mut().zip(&probabilities).enumerate() {
            let hit = f64::from(u8::from(k == *answer));
            *grad += each * advantage * (hit - p);
        }
    }
    Ok(grad)
}

/// By what factor the mean of [`sampled_gradient`] differs from the exact gradient when
/// rewards are 0 or 1 and an answer is right with probability `right`.
///
/// Leave-one-out is unbiased; a mean that includes the answer itself shrinks the gradient by
/// `(G - 1) / G`; dividing by the group's spread stretches it, most where nearly all answers
/// are right or nearly all wrong.
///
/// ```
/// use spatial_ssrl::grpo::{Advantage, exact::expected_scale};
/// assert_eq!(expected_scale(0.3, 5, Advantage::LeaveOneOut, 1e-6), 1.0);
/// let hard = expected_scale(0.02, 5, Advantage::Group, 1e-6);
/// assert!(hard > expected_scale(0.5, 5, Advantage::Group, 1e-6));
/// ```
pub fn expected_scale(right: f64, group_size: usize, advantage: Advantage, eps: f64) -> f64 {
    let n = group_size as f64;
    match advantage {
        Advantage::LeaveOneOut => 1.0,
        Advantage::None => (n - 1.0) / n,
        Advantage::Group => {
            let wrong = 1.0 - right;
            if !(right > 0.0 && wrong > 0.0) {
                return 0.0;
            }
            // With k right answers: A = (1 - k/n) / (s + eps) for each, -(k/n) / (s + eps) for
            // the others, and the mean of the score is grad J / p over the right ones,
            // -grad J / (1 - p) over the others.
            let mut binomial = wrong.powf(n);
            let mut scale = 0.0;
            for hits in 0..=group_size {
                let k = hits as f64;
                let std = (k * (n - k) / (n * (n - 1.0))).sqrt();
                if hits > 0 && hits < group_size {
                    scale += binomial * k * (n - k) / (n * n * (std + eps)) / (right * wrong);
                }
                binomial *= (n - k) / (k + 1.0) * right / wrong;
            }
            scale
        }
    }
}

/// The candidate at `u` in [0, 1) of the cumulated probabilities.
pub(crate) fn pick(probabilities: &[f64], u: f64) -> usize {
    let mut rest = u;
    for (index, p) in probabilities.iter().enumerate() {
        rest -= p;
        if rest < 0.0 {
            return index;
        }
    }
    // Rounding may leave a little: the last candidate that can be given at all.
    probabilities.iter().rposition(|p| *p > 0.0).unwrap_or(0)
}

fn check_rewards(logits: &[f64], rewards: &[f64]) -> Result<(), UpdateSkip> {
    if logits.len() != rewards.len() {
        let (l, r) = (logits.len(), rewards.len());
        return Err(UpdateSkip::Shape(format!("{l} logits but {r} rewards")));
    }
    match rewards.iter().position(|r| !r.is_finite()) {
        None => Ok(()),
        Some(index) => {
            let value = rewards.get(index).copied().unwrap_or(f64::NAN);
            Err(UpdateSkip::NonFiniteReward { index, value })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::task::seed::rng;

    #[test]
    fn the_mean_of_sampled_gradients_is_the_exact_one_times_its_scale() {
        let logits = [0.3, -0.5, 1.1, 0.0, -1.2];
        let rewards = [0.0, 1.0, 0.0, 0.0, 1.0];
        let exact = exact_policy_gradient(&logits, &rewards).unwrap();
        let mut rng = rng(11);
        let groups = 60_000;
        for advantage in [Advantage::Group, Advantage::None, Advantage::LeaveOneOut] {
            for group_size in [2, 5] {
                let mut mean = [0.0; 5];
                let mut squares = [0.0; 5];
                for _ in 0..groups {
                    let one =
                        sampled_gradient(&logits, &rewards, group_size, advantage, 1e-6, &mut rng);
                    for (k, g) in one.unwrap().into_iter().enumerate() {
                        mean[k] += g / f64::from(groups);
                        squares[k] += g * g / f64::from(groups);
                    }
                }
                let scale = expected_scale(exact.reward, group_size, advantage, 1e-6);
                for k in 0..5 {
                    let error = ((squares[k] - mean[k] * mean[k]) / f64::from(groups)).sqrt();
                    let off = (mean[k] - scale * exact.grad[k]).abs();
                    assert!(off < 5.0 * error, "{advantage:?} {group_size} {k}: {off} {error}");
                    // Sharp enough to tell a wrong scale or baseline.
                    assert!(5.0 * error < 0.02);
                }
            }
        }
    }

    #[test]
    fn a_candidate_that_is_excluded_is_never_picked_and_never_moves() {
        let logits = [0.0, f64::NEG_INFINITY, 0.0];
        let exact = exact_policy_gradient(&logits, &[0.0, 1.0, 1.0]).unwrap();
        assert_eq!(exact.reward, 0.5);
        assert_eq!(exact.grad[1], 0.0);
        let p = softmax(&logits).unwrap();
        assert!([0.0, 0.49, 0.5, 0.51, 0.999_999, 1.0].iter().all(|u| pick(&p, *u) != 1));
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for logits in [[f64::NAN, 0.0], [f64::INFINITY, 0.0], [f64::NEG_INFINITY; 2]] {
            assert_eq!(
                exact_policy_gradient(&logits, &[0.0, 1.0]).unwrap_err().name(),
                "non_finite_logp"
            );
        }
        let error = exact_policy_gradient(&[0.0, 0.0], &[0.0, f64::NAN]).unwrap_err();
        assert_eq!(error.name(), "non_finite_reward");
        assert_eq!(exact_policy_gradient(&[0.0], &[0.0, 1.0]).unwrap_err().name(), "shape");
        let alone = sampled_gradient(&[0.0], &[1.0], 1, Advantage::None, 0.0, &mut rng(1));
        assert_eq!(alone.unwrap_err().name(), "group_too_small");
    }

    proptest! {
        #[test]
        fn the_exact_gradient_equals_finite_differences(
            logits in proptest::collection::vec(-3.0..3.0_f64, 2..24),
            seed in any::<u64>(),
        ) {
            let mut rng = rng(seed);
            let rewards: Vec<f64> = logits.iter().map(|_| rng.random::<f64>()).collect();
            let exact = exact_policy_gradient(&logits, &rewards).unwrap();
            for k in 0..logits.len() {
                let at = |h: f64| {
                    let mut moved = logits.clone();
                    moved[k] += h;
                    exact_policy_gradient(&moved, &rewards).unwrap().reward
                };
                let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
                prop_assert!((numeric - exact.grad[k]).abs() < 1e-8);
            }
            prop_assert!(exact.grad.iter().sum::<f64>().abs() < 1e-12);
        }
    }
}
