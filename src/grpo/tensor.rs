//! The same loss on burn tensors: what a policy learns through.

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Bool,
};

use super::{
    average::{Average, EPS, Totals},
    batch::ShapeError,
    config::GrpoConfig,
    kl::{KlEstimator, MAX_K3, MAX_LOG_RATIO},
    objective::Objective,
};

/// A batch of answers on a device, each padded to the same number of tokens.
///
/// What padding holds does not matter, NaN included. Only `logp` is learnt through; the
/// other tensors may live with or without autodiff on the same device.
#[derive(Clone, Debug)]
pub struct TensorBatch {
    /// Log-probabilities under the policy that learns, `[sequences, tokens]`.
    pub logp: Tensor<2>,
    /// Those under the policy that sampled, `[sequences, tokens]`; `None` when that is the
    /// policy that learns, as at the first update after a rollout.
    pub old_logp: Option<Tensor<2>>,
    /// Those under the reference policy, `[sequences, tokens]`; `None` leaves the KL term out.
    pub ref_logp: Option<Tensor<2>>,
    /// Which tokens count, `[sequences, tokens]`.
    pub mask: Tensor<2, Bool>,
    /// One advantage for each answer, `[sequences]`.
    pub advantages: Tensor<1>,
}

/// A loss that can be differentiated, and its parts.
#[derive(Clone, Debug)]
pub struct TensorLoss {
    /// Policy term + coefficient x KL term, `[1]`.
    pub loss: Tensor<1>,
    /// The policy term, `[1]`.
    pub policy: Tensor<1>,
    /// The KL term before its coefficient, `[1]`, where it takes part.
    pub kl: Option<Tensor<1>>,
}

impl TensorBatch {
    fn check(&self) -> Result<(), ShapeError> {
        let [sequences, tokens] = self.logp.dims();
        let expected = sequences * tokens;
        let fits = |what, dims: [usize; 2]| {
            if dims == [sequences, tokens] {
                return Ok(());
            }
            Err(ShapeError { what, got: dims[0] * dims[1], expected, sequences, tokens })
        };
        fits("mask", self.mask.dims())?;
        self.old_logp.as_ref().map_or(Ok(()), |old| fits("old_logp", old.dims()))?;
        self.ref_logp.as_ref().map_or(Ok(()), |reference| fits("ref_logp", reference.dims()))?;
        let [got] = self.advantages.dims();
        if got == sequences {
            return Ok(());
        }
        Err(ShapeError { what: "advantages", got, expected: sequences, sequences, tokens })
    }
}

/// The loss of a batch, as [`super::objective::grpo_loss`] has it for slices.
///
/// `totals` are the whole batch's, of which this may be a micro-batch: the losses (and so
/// the gradients) of micro-batches add up to the whole batch's. Nothing is read back from
/// the device.
///
/// # Errors
/// [`ShapeError`] when the tensors do not fit together.
///
/// ```
/// use burn::tensor::{Bool, Device, Tensor};
/// use spatial_ssrl::grpo::{GrpoConfig, TensorBatch, Totals, tensor::grpo_loss};
/// let device = Device::flex().autodiff();
/// let logp = Tensor::<2>::from_floats([[-0.7], [-1.2]], &device).require_grad();
/// let batch = TensorBatch {
///     logp: logp.clone(),
///     old_logp: None,
///     ref_logp: None,
///     mask: Tensor::<2, Bool>::from_bool([[true], [true]], &device),
///     advantages: Tensor::from_floats([1.0, -1.0], &device),
/// };
/// let totals = Totals { sequences: 2, tokens: 2 };
/// let gradients = grpo_loss(batch, totals, &GrpoConfig::default())?.loss.backward();
/// let grad = logp.grad(&gradients).unwrap().into_data();
/// assert_eq!(grad.as_slice::<f32>().unwrap(), [-0.5, 0.5]);
/// # Ok::<(), spatial_ssrl::grpo::ShapeError>(())
/// ```
pub fn grpo_loss(
    batch: TensorBatch,
    totals: Totals,
    config: &GrpoConfig,
) -> Result<TensorLoss, ShapeError> {
    batch.check()?;
    let TensorBatch { logp, old_logp, ref_logp, mask, advantages } = batch;
    let padding = mask.clone().bool_not();
    // Filled before anything else, so that no NaN of the padding reaches a gradient.
    let clean = |logp: Tensor<2>| logp.mask_fill(padding.clone(), 0.0);
    let logp = clean(logp);
    let old_logp = old_logp.map_or_else(|| logp.clone(), clean).detach();
    let weights = Weights::new(mask.float(), totals, config);

    let terms = policy_terms(logp.clone(), old_logp, advantages, &weights, config);
    let policy = weights.average(terms);
    let kl = ref_logp
        .filter(|_| config.kl_coef > 0.0)
        .map(|reference| weights.average(kl_terms(logp, clean(reference).detach(), config.kl)));
    let loss = match &kl {
        None => policy.clone(),
        Some(kl) => policy.clone() + kl.clone().mul_scalar(config.kl_coef),
    };
    Ok(TensorLoss { loss, policy, kl })
}

/// What each token weighs in the average.
struct Weights {
    /// 1 where a token counts, `[sequences, tokens]`.
    counts: Tensor<2>,
    /// Tokens of each answer, `[sequences, 1]`.
    lengths: Tensor<2>,
    average: Average,
    scale: f64,
}

impl Weights {
    fn new(counts: Tensor<2>, totals: Totals, config: &GrpoConfig) -> Self {
        let scale = match config.average {
            // The weight of one answer; its tokens share it by its length.
            Average::Sequence => 1.0 / totals.sequences.max(1) as f64,
            average => totals.weight(average, 0, config.max_tokens),
        };
        let lengths = counts.clone().sum_dim(1).add_scalar(EPS);
        Weights { counts, lengths, average: config.average, scale }
    }

    fn average(&self, terms: Tensor<2>) -> Tensor<1> {
        let terms = terms * self.counts.clone();
        let sum = match self.average {
            Average::Sequence => (terms.sum_dim(1) / self.floored_lengths()).sum(),
            Average::Token | Average::DrGrpo => terms.sum(),
        };
        sum.mul_scalar(self.scale)
    }

    /// An answer without tokens divides 0 by 1, not by next to nothing.
    fn floored_lengths(&self) -> Tensor<2> {
        self.lengths.clone().clamp_min(1.0)
    }
}

/// The objective of each token, `[sequences, tokens]`.
fn policy_terms(
    logp: Tensor<2>,
    old_logp: Tensor<2>,
    advantages: Tensor<1>,
    weights: &Weights,
    config: &GrpoConfig,
) -> Tensor<2> {
    let dims = logp.dims();
    let advantages = advantages.detach().unsqueeze_dim::<2>(1).expand(dims);
    let own = logp.clone() - old_logp;
    let log_ratio = match config.objective {
        Objective::Clip | Objective::Cispo => own,
        Objective::GspoToken => {
            let sum = (own.detach() * weights.counts.clone()).sum_dim(1);
            let mean = (sum / weights.floored_lengths()).expand(dims);
            // Worth the answer's mean, with the gradient of the token's own.
            mean + (logp.clone() - logp.clone().detach())
        }
    };
    let clip = config.clip();
    let (low, high) = clip.log_range();
    let clipped_ratio = log_ratio.clone().clamp(low, high).exp();
    if config.objective == Objective::Cispo {
        return (advantages * clipped_ratio.detach() * logp).neg();
    }
    let ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp();
    let free = (advantages.clone() * ratio).neg();
    let bound = (advantages.clone() * clipped_ratio).neg();
    let clipped = free.clone().lower(bound.clone());
    let higher = free.mask_where(clipped, bound);
    let worst = advantages.clone().mul_scalar(-clip.dual);
    let dual = advantages.lower_scalar(0.0).bool_and(higher.clone().greater(worst.clone()));
    higher.mask_where(dual, worst)
}

/// The KL estimate of each token, `[sequences, tokens]`.
fn kl_terms(logp: Tensor<2>, ref_logp: Tensor<2>, estimator: KlEstimator) -> Tensor<2> {
    match estimator {
        KlEstimator::Kl => logp - ref_logp,
        KlEstimator::Abs => (logp - ref_logp).abs(),
        KlEstimator::Mse => (logp - ref_logp).square().mul_scalar(0.5),
        KlEstimator::LowVarKl => {
            let d = (ref_logp - logp).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO);
            (d.clone().exp() - d).sub_scalar(1.0).clamp_max(MAX_K3)
        }
    }
}

/// The Euclidean norm of a module's gradient; NaN or infinite if any value is.
///
/// Hand it to [`super::guard::check_gradient`] before the optimiser's step.
pub fn module_gradient_norm(module: &impl Module, gradients: &GradientsParams) -> f64 {
    struct Norm<'a> {
        gradients: &'a GradientsParams,
        squares: f64,
    }
    impl ModuleVisitor for Norm<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(gradient) = self.gradients.get::<D>(param.id) else { return };
            // A gradient that cannot be read back is no gradient to step along.
            let square = gradient.square().sum().try_into_scalar::<f32>().unwrap_or(f32::NAN);
            self.squares += f64::from(square);
        }
    }
    let mut norm = Norm { gradients, squares: 0.0 };
    module.visit(&mut norm);
    norm.squares.sqrt()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use proptest::prelude::*;

    use super::*;
    use crate::grpo::{Loss, TokenBatch, objective};

    const TOKENS: usize = 5;

    #[derive(Debug, Clone)]
    struct Case {
        logp: Vec<f64>,
        old: Vec<f64>,
        reference: Vec<f64>,
        mask: Vec<bool>,
        advantages: Vec<f64>,
    }

    impl Case {
        fn tensors(&self, device: &Device) -> TensorBatch {
            let shape = [self.advantages.len(), TOKENS];
            let floats = |values: &[f64]| {
                let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
                Tensor::<2>::from_data(TensorData::new(values, shape), device)
            };
            let advantages: Vec<f32> = self.advantages.iter().map(|a| *a as f32).collect();
            TensorBatch {
                logp: floats(&self.logp).require_grad(),
                old_logp: Some(floats(&self.old)),
                ref_logp: Some(floats(&self.reference)),
                mask: Tensor::from_data(TensorData::new(self.mask.clone(), shape), device),
                advantages: Tensor::from_data(TensorData::new(advantages, [shape[0]]), device),
            }
        }

        fn slices(&self) -> TokenBatch<'_> {
            let batch = TokenBatch::new(&self.logp, &self.mask, TOKENS).unwrap();
            batch.with_old(&self.old).unwrap().with_reference(&self.reference).unwrap()
        }
    }

    fn on_tensors(case: &Case, config: &GrpoConfig) -> Loss {
        let device = Device::flex().autodiff();
        let batch = case.tensors(&device);
        let logp = batch.logp.clone();
        let totals = Totals::of(&case.slices());
        let loss = grpo_loss(batch, totals, config).unwrap().loss;
        let gradients = loss.backward();
        let grad = logp.grad(&gradients).unwrap().into_data();
        Loss {
            loss: f64::from(loss.into_scalar::<f32>()),
            grad_logp: grad.as_slice::<f32>().unwrap().iter().map(|g| f64::from(*g)).collect(),
        }
    }

    fn all_configs() -> impl Iterator<Item = GrpoConfig> {
        let objectives = [Objective::Clip, Objective::GspoToken, Objective::Cispo];
        let averages = [Average::Token, Average::Sequence, Average::DrGrpo];
        let kls = [KlEstimator::Kl, KlEstimator::Abs, KlEstimator::Mse, KlEstimator::LowVarKl];
        objectives.into_iter().flat_map(move |objective| {
            averages.into_iter().flat_map(move |average| {
                kls.into_iter().map(move |kl| GrpoConfig {
                    objective,
                    average,
                    kl,
                    kl_coef: 0.2,
                    max_tokens: 9,
                    ..GrpoConfig::default()
                })
            })
        })
    }

    fn case() -> impl Strategy<Value = Case> {
        (1..5_usize).prop_flat_map(|rows| {
            let n = rows * TOKENS;
            // A grid away from the kinks, on which f32 and f64 take the same branch.
            let logp =
                || proptest::collection::vec((0..40_i32).prop_map(|i| -0.1 * f64::from(i)), n);
            let mask = proptest::collection::vec(any::<bool>(), n);
            let advantages = proptest::collection::vec(-2.0..2.0_f64, rows);
            (logp(), logp(), logp(), mask, advantages).prop_map(
                |(logp, old, reference, mask, advantages)| Case {
                    logp: logp.iter().map(|v| v - 0.0321).collect(),
                    old,
                    reference: reference.iter().map(|v| v - 0.011).collect(),
                    mask,
                    advantages,
                },
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn tensors_and_slices_agree_for_every_choice(case in case()) {
            for config in all_configs() {
                let batch = case.slices();
                let slices =
                    objective::grpo_loss(&batch, Totals::of(&batch), &case.advantages, &config)
                        .unwrap();
                let tensors = on_tensors(&case, &config);
                let near = |a: f64, b: f64| (a - b).abs() < 1e-4 * (1.0 + a.abs());
                prop_assert!(near(slices.loss, tensors.loss), "{config:?}: {} {}", slices.loss, tensors.loss);
                for (s, t) in slices.grad_logp.iter().zip(&tensors.grad_logp) {
                    prop_assert!(near(*s, *t), "{config:?}: {s} {t}");
                }
            }
        }
    }

    #[test]
    fn what_padding_holds_reaches_no_gradient() {
        let case = Case {
            logp: vec![-0.5, f64::NAN, -0.1, f64::INFINITY, -2.0],
            old: vec![-0.4, f64::NAN, -0.3, 0.0, f64::NAN],
            reference: vec![-0.4, 0.0, -0.2, 0.0, f64::NAN],
            mask: vec![true, false, true, false, false],
            advantages: vec![1.0],
        };
        for config in all_configs() {
            let loss = on_tensors(&case, &config);
            assert!(loss.loss.is_finite() && loss.grad_logp.iter().all(|g| g.is_finite()));
            assert!([1, 3, 4].iter().all(|i| loss.grad_logp[*i] == 0.0));
        }
    }

    #[test]
    fn an_answer_without_tokens_changes_nothing() {
        let case = Case {
            logp: vec![-0.5; 10],
            old: vec![-0.4; 10],
            reference: vec![-0.3; 10],
            mask: [[true; 5], [false; 5]].concat(),
            advantages: vec![1.0, -1.0],
        };
        for config in all_configs() {
            let loss = on_tensors(&case, &config);
            assert!(loss.loss.is_finite() && loss.grad_logp[5..].iter().all(|g| *g == 0.0));
        }
    }

    #[test]
    fn tensors_that_do_not_fit_are_refused_not_a_panic() {
        let device = Device::flex();
        let good = TensorBatch {
            logp: Tensor::zeros([2, 3], &device),
            old_logp: Some(Tensor::zeros([2, 3], &device)),
            ref_logp: Some(Tensor::zeros([2, 3], &device)),
            mask: Tensor::<2>::ones([2, 3], &device).bool(),
            advantages: Tensor::zeros([2], &device),
        };
        let refused = |batch: TensorBatch| {
            let totals = Totals { sequences: 2, tokens: 6 };
            grpo_loss(batch, totals, &GrpoConfig::default()).unwrap_err().what
        };
        let bad = Tensor::zeros([3, 2], &device);
        assert_eq!(
            refused(TensorBatch { old_logp: Some(bad.clone()), ..good.clone() }),
            "old_logp"
        );
        assert_eq!(
            refused(TensorBatch { ref_logp: Some(bad.clone()), ..good.clone() }),
            "ref_logp"
        );
        assert_eq!(refused(TensorBatch { mask: bad.bool(), ..good.clone() }), "mask");
        let advantages = Tensor::zeros([6], &device);
        assert_eq!(refused(TensorBatch { advantages, ..good }), "advantages");
    }

    #[test]
    fn one_bad_value_anywhere_shows_in_the_norm() {
        #[derive(Module, Debug)]
        struct Two {
            a: Param<Tensor<2>>,
            b: Param<Tensor<1>>,
        }
        let device = Device::flex().autodiff();
        let norm = |x: f32| {
            let two = Two {
                a: Param::from_tensor(Tensor::from_floats([[1.0, 2.0]], &device)),
                b: Param::from_tensor(Tensor::from_floats([3.0], &device)),
            };
            let loss = two.a.val().sum().mul_scalar(3.0) + (two.b.val() * x).sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &two);
            module_gradient_norm(&two, &gradients)
        };
        assert!((norm(4.0) - 34.0_f64.sqrt()).abs() < 1e-6);
        assert!(norm(f32::NAN).is_nan());
        assert!(!norm(f32::INFINITY).is_finite());
    }
}
