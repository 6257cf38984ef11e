//! The policy objective, as a loss to be made small, with its analytic gradient.

use serde::{Deserialize, Serialize};

use super::{
    average::{EPS, Totals},
    batch::{Row, ShapeError, Token, TokenBatch},
    config::GrpoConfig,
    kl::{MAX_LOG_RATIO, kl_loss},
};

/// Which policy objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// `max(-A rho, -A clip(rho))` at each token (PPO, Schulman et al. 2017, section 3), with
    /// separate bounds below and above (DAPO, Yu et al. 2025, section 3.1) and, for negative
    /// advantages, `min(., -dual A)` (dual clip, Ye et al. 2020, section 3). As published.
    #[default]
    Clip,
    /// The same with the ratio of the whole answer, `exp(mean log ratio)`, whose gradient
    /// goes to each token (GSPO-token, Zheng et al. 2025, section 4.3).
    GspoToken,
    /// `-stop_grad(clip rho) A logp`: no token's gradient is cut off (CISPO, MiniMax-M1 2025,
    /// section 3.1).
    Cispo,
}

/// The range in which a probability ratio counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// The ratio is clipped below at `1 - low`.
    pub low: f64,
    /// The ratio is clipped above at `1 + high`.
    pub high: f64,
    /// A token with negative advantage A loses at most `-dual * A`.
    pub dual: f64,
}

impl Clip {
    /// The range of the log ratio. Without a lower bound (`low` 1) it is the clamp that
    /// keeps exponentials finite.
    pub(crate) fn log_range(&self) -> (f64, f64) {
        let low = (1.0 - self.low).ln().max(-MAX_LOG_RATIO);
        (low, (1.0 + self.high).ln().min(MAX_LOG_RATIO))
    }
}

/// A loss and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The averaged loss.
    pub loss: f64,
    /// Its derivative with respect to every log-probability, `[sequences, tokens]`; zero at
    /// padding.
    pub grad_logp: Vec<f64>,
}

impl Loss {
    pub(crate) fn zeros(batch: &TokenBatch<'_>) -> Self {
        Loss { loss: 0.0, grad_logp: vec![0.0; batch.sequences() * batch.tokens()] }
    }
}

/// What the objective made of one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Term {
    pub value: f64,
    /// Derivative with respect to the token's own log-probability.
    pub slope: f64,
    /// The ratio's upper bound held it.
    pub clipped_high: bool,
    /// The ratio's lower bound held it.
    pub clipped_low: bool,
    /// The dual bound was taken.
    pub dual: bool,
}

/// One token under `objective`: `log_ratio` is the token's own, or the answer's mean for
/// [`Objective::GspoToken`].
pub(crate) fn term(
    objective: Objective,
    clip: Clip,
    advantage: f64,
    logp: f64,
    log_ratio: f64,
) -> Term {
    let (low, high) = clip.log_range();
    let clipped_ratio = log_ratio.clamp(low, high).exp();
    let term = |branch: Branch, clipped: bool, dual: bool| Term {
        value: branch.value,
        slope: branch.slope,
        clipped_high: clipped && log_ratio > high,
        clipped_low: clipped && log_ratio < low,
        dual,
    };
    if objective == Objective::Cispo {
        let slope = -advantage * clipped_ratio;
        return term(Branch { value: slope * logp, slope }, true, false);
    }
    let ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp();
    let free = Branch::new(-advantage * ratio, log_ratio.abs() <= MAX_LOG_RATIO);
    let bound = Branch::new(-advantage * clipped_ratio, (low..=high).contains(&log_ratio));
    // At a tie the ratio lies in the range, where both slopes are the same.
    let clipped = free.value < bound.value;
    let higher = if clipped { bound } else { free };
    let worst = -advantage * clip.dual;
    if advantage < 0.0 && higher.value > worst {
        return term(Branch { value: worst, slope: 0.0 }, clipped, true);
    }
    term(higher, clipped, false)
}

#[derive(Clone, Copy)]
struct Branch {
    value: f64,
    slope: f64,
}

impl Branch {
    /// `-A exp(log ratio)` is its own derivative as long as no clamp holds it.
    fn new(value: f64, moves: bool) -> Self {
        Branch { value, slope: if moves { value } else { 0.0 } }
    }
}

/// The averaged policy loss of a batch and its gradient.
///
/// `advantages` is `[sequences]`; `totals` are the whole batch's, of which `batch` may be a
/// part.
///
/// # Errors
/// [`ShapeError`] when there is not one advantage for each answer.
///
/// ```
/// use spatial_ssrl::grpo::{GrpoConfig, TokenBatch, Totals, policy_loss};
/// // Two answers of one token each, sampled by the policy that learns: the gradient is that
/// // of REINFORCE, -A / tokens.
/// let batch = TokenBatch::new(&[-0.7, -1.2], &[true, true], 1)?;
/// let loss = policy_loss(&batch, Totals::of(&batch), &[1.0, -1.0], &GrpoConfig::default())?;
/// assert!((loss.grad_logp[0] + 0.5).abs() < 1e-8 && (loss.grad_logp[1] - 0.5).abs() < 1e-8);
/// # Ok::<(), spatial_ssrl::grpo::ShapeError>(())
/// ```
pub fn policy_loss(
    batch: &TokenBatch<'_>,
    totals: Totals,
    advantages: &[f64],
    config: &GrpoConfig,
) -> Result<Loss, ShapeError> {
    batch.check_advantages(advantages)?;
    let mut loss = Loss::zeros(batch);
    let grads = loss.grad_logp.chunks_exact_mut(batch.tokens());
    for ((row, advantage), grad) in batch.rows().zip(advantages).zip(grads) {
        let weight = totals.weight(config.average, row.len(), config.max_tokens);
        for (token, term) in terms(&row, *advantage, config) {
            loss.loss += weight * term.value;
            if let Some(grad) = grad.get_mut(token.at) {
                *grad = weight * term.slope;
            }
        }
    }
    Ok(loss)
}

/// The whole loss, policy and KL term.
///
/// # Errors
/// [`ShapeError`] when there is not one advantage for each answer.
pub fn grpo_loss(
    batch: &TokenBatch<'_>,
    totals: Totals,
    advantages: &[f64],
    config: &GrpoConfig,
) -> Result<Loss, ShapeError> {
    let mut loss = policy_loss(batch, totals, advantages, config)?;
    if config.kl_coef > 0.0 {
        let kl = kl_loss(batch, totals, config);
        loss.loss += config.kl_coef * kl.loss;
        for (grad, kl_grad) in loss.grad_logp.iter_mut().zip(&kl.grad_logp) {
            *grad += config.kl_coef * kl_grad;
        }
    }
    Ok(loss)
}

/// What the objective makes of each token of an answer.
pub(crate) fn terms(
    row: &Row<'_>,
    advantage: f64,
    config: &GrpoConfig,
) -> impl Iterator<Item = (Token, Term)> {
    let (objective, clip) = (config.objective, config.clip());
    let of_answer = (objective == Objective::GspoToken).then(|| mean_log_ratio(row));
    row.tokens().map(move |token| {
        let log_ratio = of_answer.unwrap_or(token.logp - token.old_logp);
        (token, term(objective, clip, advantage, token.logp, log_ratio))
    })
}

/// The mean log ratio of an answer's tokens.
fn mean_log_ratio(row: &Row<'_>) -> f64 {
    let sum: f64 = row.tokens().map(|token| token.logp - token.old_logp).sum();
    sum / (row.len() as f64 + EPS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grpo::Average;

    const CLIP: Clip = Clip { low: 0.2, high: 0.3, dual: 3.0 };
    const OBJECTIVES: [Objective; 3] = [Objective::Clip, Objective::GspoToken, Objective::Cispo];
    const AVERAGES: [Average; 3] = [Average::Token, Average::Sequence, Average::DrGrpo];

    #[derive(Debug, Clone)]
    struct Case {
        logp: Vec<f64>,
        old: Vec<f64>,
        reference: Vec<f64>,
        mask: Vec<bool>,
        advantages: Vec<f64>,
    }

    const TOKENS: usize = 4;

    impl Case {
        fn batch(&self) -> TokenBatch<'_> {
            let batch = TokenBatch::new(&self.logp, &self.mask, TOKENS).unwrap();
            batch.with_old(&self.old).unwrap().with_reference(&self.reference).unwrap()
        }
    }

    fn case() -> impl Strategy<Value = Case> {
        (1..7_usize).prop_flat_map(|rows| {
            let n = rows * TOKENS;
            let logp = || proptest::collection::vec(-4.0..0.0_f64, n);
            let mask = proptest::collection::vec(any::<bool>(), n);
            let advantages = proptest::collection::vec(-2.0..2.0_f64, rows);
            (logp(), logp(), logp(), mask, advantages).prop_map(
                |(logp, old, reference, mask, advantages)| Case {
                    logp,
                    old,
                    reference,
                    mask,
                    advantages,
                },
            )
        })
    }

    fn config(objective: Objective, average: Average) -> GrpoConfig {
        GrpoConfig { objective, average, max_tokens: 16, kl_coef: 0.3, ..GrpoConfig::default() }
    }

    #[test]
    fn a_ratio_far_outside_never_overflows() {
        for objective in OBJECTIVES {
            for log_ratio in [-1e9, -700.0, 700.0, 1e9] {
                for advantage in [-1.0, 0.0, 1.0] {
                    let term = term(objective, CLIP, advantage, -1.0, log_ratio);
                    assert!(term.value.is_finite() && term.slope.is_finite());
                }
            }
        }
    }

    #[test]
    fn clip_bounds_hold_where_they_should() {
        let slope = |advantage: f64, ratio: f64| {
            term(Objective::Clip, CLIP, advantage, -1.0, ratio.ln()).slope
        };
        assert_eq!(slope(1.0, 1.31), 0.0, "a better answer is pushed no further than 1 + high");
        assert!(slope(1.0, 1.29) < 0.0 && slope(1.0, 0.5) < 0.0);
        assert_eq!(slope(-1.0, 0.79), 0.0, "a worse answer is pushed no further than 1 - low");
        assert!(slope(-1.0, 0.81) > 0.0 && slope(-1.0, 2.9) > 0.0);
        assert_eq!(slope(-1.0, 3.1), 0.0, "nor does one bad answer take over the step");
        let open = Clip { low: 1.0, ..CLIP };
        assert!(term(Objective::Clip, open, -1.0, -1.0, 1e-3_f64.ln()).slope > 0.0);
    }

    #[test]
    fn an_on_policy_step_is_reinforce_under_every_objective() {
        let logp = [-0.5, -1.5, -0.1, -3.0];
        let batch = TokenBatch::new(&logp, &[true; 4], 2).unwrap();
        for objective in OBJECTIVES {
            let config = GrpoConfig { objective, ..GrpoConfig::default() };
            let loss = policy_loss(&batch, Totals::of(&batch), &[1.0, -0.5], &config);
            for (grad, advantage) in loss.unwrap().grad_logp.iter().zip([1.0, 1.0, -0.5, -0.5]) {
                assert!((grad + advantage / 4.0).abs() < 1e-8, "{objective:?}: {grad}");
            }
        }
    }

    #[test]
    fn what_padding_holds_does_not_matter() {
        let mask = [true, false, true, true];
        let clean = [-0.5, 0.0, -0.1, -3.0];
        let dirty = [-0.5, f64::NAN, -0.1, -3.0];
        for objective in OBJECTIVES {
            for average in AVERAGES {
                let loss = |logp: &[f64]| {
                    let old = [-0.4, logp[1], -0.2, -2.0];
                    let batch = TokenBatch::new(logp, &mask, 2).unwrap().with_old(&old).unwrap();
                    let config = config(objective, average);
                    grpo_loss(&batch, Totals::of(&batch), &[1.0, -1.0], &config).unwrap()
                };
                assert_eq!(loss(&clean), loss(&dirty));
            }
        }
    }

    #[test]
    fn a_batch_without_any_token_has_no_loss() {
        let batch = TokenBatch::new(&[f64::NAN; 4], &[false; 4], 2).unwrap();
        for average in AVERAGES {
            let config = config(Objective::Clip, average);
            let loss = grpo_loss(&batch, Totals::of(&batch), &[1.0, -1.0], &config).unwrap();
            assert_eq!(loss, Loss { loss: 0.0, grad_logp: vec![0.0; 4] });
        }
    }

    proptest! {
        #[test]
        fn gradients_equal_finite_differences(case in case(), at in any::<prop::sample::Index>()) {
            let i = at.index(case.logp.len());
            let h = 1e-6;
            for objective in [Objective::Clip, Objective::Cispo] {
                for average in AVERAGES {
                    let config = config(objective, average);
                    let at = |delta: f64| {
                        let mut moved = case.clone();
                        moved.logp[i] += delta;
                        let batch = moved.batch();
                        grpo_loss(&batch, Totals::of(&batch), &case.advantages, &config).unwrap()
                    };
                    let (below, here, above) = (at(-h), at(0.0), at(h));
                    // Near a kink the two sides differ: no derivative to compare with.
                    let left = (here.loss - below.loss) / h;
                    let right = (above.loss - here.loss) / h;
                    if (left - right).abs() > 1e-3 {
                        continue;
                    }
                    let mut expected = (left + right) / 2.0;
                    if objective == Objective::Cispo {
                        // The ratio's own movement is not part of the gradient by design.
                        let fixed = TokenBatch::new(&case.logp, &case.mask, TOKENS).unwrap();
                        let row = i / TOKENS;
                        let row_tokens =
                            case.mask[row * TOKENS..][..TOKENS].iter().filter(|m| **m).count();
                        let weight = Totals::of(&fixed).weight(average, row_tokens, 16);
                        let log_ratio = case.logp[i] - case.old[i];
                        let (low, high) = CLIP.log_range();
                        if case.mask[i] && (low..=high).contains(&log_ratio) {
                            expected +=
                                weight * case.advantages[row] * log_ratio.exp() * case.logp[i];
                        }
                    }
                    let grad = here.grad_logp[i];
                    prop_assert!((grad - expected).abs() < 2e-3, "{objective:?} {average:?} {grad} {expected}");
                }
            }
        }

        #[test]
        fn micro_batches_add_up_to_the_whole_batch(case in case(), size in 1..4_usize) {
            for objective in OBJECTIVES {
                for average in AVERAGES {
                    let config = config(objective, average);
                    let batch = case.batch();
                    let totals = Totals::of(&batch);
                    let whole = grpo_loss(&batch, totals, &case.advantages, &config).unwrap();
                    let mut sum = Loss { loss: 0.0, grad_logp: Vec::new() };
                    for (part, advantages) in case.advantages.chunks(size).enumerate() {
                        let range = part * size * TOKENS..(part * size + advantages.len()) * TOKENS;
                        let part = Case {
                            logp: case.logp[range.clone()].to_vec(),
                            old: case.old[range.clone()].to_vec(),
                            reference: case.reference[range.clone()].to_vec(),
                            mask: case.mask[range].to_vec(),
                            advantages: advantages.to_vec(),
                        };
                        let loss = grpo_loss(&part.batch(), totals, advantages, &config).unwrap();
                        sum.loss += loss.loss;
                        sum.grad_logp.extend(loss.grad_logp);
                    }
                    prop_assert!((sum.loss - whole.loss).abs() < 1e-9);
                    prop_assert_eq!(sum.grad_logp, whole.grad_logp);
                }
            }
        }
    }
}
