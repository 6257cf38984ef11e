//! The distance to the reference policy, estimated at the tokens that were sampled.

use serde::{Deserialize, Serialize};

use super::{average::Totals, batch::TokenBatch, config::GrpoConfig, objective::Loss};

/// The log ratio is clamped to this before it is exponentiated; as published.
pub(crate) const MAX_LOG_RATIO: f64 = 20.0;
/// A token's k3 term is clamped to this; as published.
pub(crate) const MAX_K3: f64 = 10.0;

/// An estimator of KL(policy, reference) from samples of the policy (Schulman 2020,
/// "Approximating KL divergence"). Below, `d = ref_logp - logp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// `-d` (k1): unbiased, may be negative.
    Kl,
    /// `|d|`.
    Abs,
    /// `d^2 / 2` (k2).
    Mse,
    /// `e^d - d - 1` (k3): unbiased and never negative; `d` clamped to ±20, the result to
    /// 10. As published for the five tasks.
    #[default]
    LowVarKl,
}

impl KlEstimator {
    /// The estimate of one token and its derivative with respect to `logp`.
    ///
    /// ```
    /// use spatial_ssrl::grpo::KlEstimator;
    /// let (value, slope) = KlEstimator::LowVarKl.token(-1.0, -1.0);
    /// assert_eq!((value, slope), (0.0, 0.0));
    /// ```
    pub fn token(self, logp: f64, ref_logp: f64) -> (f64, f64) {
        let d = ref_logp - logp;
        match self {
            KlEstimator::Kl => (-d, 1.0),
            // The derivative at 0 is 0, as autodiff has it.
            KlEstimator::Abs => (d.abs(), if d == 0.0 { 0.0 } else { -d.signum() }),
            KlEstimator::Mse => (0.5 * d * d, -d),
            KlEstimator::LowVarKl => {
                let clamped = d.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO);
                // exp_m1 keeps the digits that `e^d - d - 1` loses near 0.
                let value = clamped.exp_m1() - clamped;
                let flat = d.abs() > MAX_LOG_RATIO || value > MAX_K3;
                (value.min(MAX_K3), if flat { 0.0 } else { -clamped.exp_m1() })
            }
        }
    }
}

/// The averaged KL term of a batch and its gradient with respect to every log-probability,
/// `[sequences, tokens]` (zero at padding). Not yet multiplied by its coefficient.
///
/// `totals` are the whole batch's, of which `batch` may be a part.
///
/// ```
/// use spatial_ssrl::grpo::{GrpoConfig, TokenBatch, Totals, kl_loss};
/// let batch = TokenBatch::new(&[-0.7], &[true], 1)?.with_reference(&[-1.2])?;
/// let kl = kl_loss(&batch, Totals::of(&batch), &GrpoConfig::default());
/// assert!((kl.loss - ((-0.5_f64).exp() + 0.5 - 1.0)).abs() < 1e-8);
/// # Ok::<(), spatial_ssrl::grpo::ShapeError>(())
/// ```
pub fn kl_loss(batch: &TokenBatch<'_>, totals: Totals, config: &GrpoConfig) -> Loss {
    let mut loss = Loss::zeros(batch);
    for (row, grad) in batch.rows().zip(loss.grad_logp.chunks_exact_mut(batch.tokens())) {
        let weight = totals.weight(config.average, row.len(), config.max_tokens);
        for token in row.tokens() {
            let (value, slope) = config.kl.token(token.logp, token.ref_logp);
            loss.loss += weight * value;
            if let Some(grad) = grad.get_mut(token.at) {
                *grad = weight * slope;
            }
        }
    }
    loss
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [KlEstimator; 4] =
        [KlEstimator::Kl, KlEstimator::Abs, KlEstimator::Mse, KlEstimator::LowVarKl];

    proptest! {
        #[test]
        fn derivatives_equal_finite_differences(logp in -12.0..0.0_f64, ref_logp in -12.0..0.0_f64) {
            let h = 1e-6;
            // Not at the kinks, where there is no derivative.
            prop_assume!((logp - ref_logp).abs() > 1e-3);
            let k3 = KlEstimator::LowVarKl.token(logp, ref_logp).0;
            prop_assume!((k3 - MAX_K3).abs() > 1e-2);
            for estimator in ALL {
                let numeric = (estimator.token(logp + h, ref_logp).0
                    - estimator.token(logp - h, ref_logp).0) / (2.0 * h);
                let (_, slope) = estimator.token(logp, ref_logp);
                prop_assert!((numeric - slope).abs() < 1e-4 * (1.0 + slope.abs()), "{estimator:?}");
            }
        }

        #[test]
        fn k3_is_never_negative_and_bounded(logp in -1e3..0.0_f64, ref_logp in -1e3..0.0_f64) {
            let (value, slope) = KlEstimator::LowVarKl.token(logp, ref_logp);
            prop_assert!((0.0..=MAX_K3).contains(&value) && slope.is_finite());
        }
    }

    #[test]
    fn all_estimators_vanish_at_the_reference() {
        for estimator in ALL {
            assert_eq!(estimator.token(-0.7, -0.7).0, 0.0, "{estimator:?}");
        }
    }
}
