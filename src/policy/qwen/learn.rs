//! The learner: cold start by supervision, then GRPO, both through one adapter.

use burn::{
    Tensor,
    module::Module,
    optim::{AdamWConfig, ModuleOptimizer},
    tensor::{Bool, Bytes, TensorData},
};
use serde::{Deserialize, Serialize};

use super::{
    QwenError,
    linear::Adapter,
    model::{Model, Prompt},
    train::{AdapterGradients, Answered},
};
use crate::{
    grpo::{GrpoConfig, GrpoMetrics, TensorBatch, TokenBatch, Totals, UpdateSkip, guard, tensor},
    policy::numbered::numbered,
};

/// How the adapter learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnerConfig {
    /// Decoupled weight decay of AdamW. Published: 1e-2.
    pub weight_decay: f32,
    /// The gradient is scaled down to this norm. Published: 1.
    pub max_grad_norm: f64,
    /// Answers that go through the network at one time; the gradient does not depend on it.
    pub micro_batch: usize,
}

impl Default for LearnerConfig {
    fn default() -> Self {
        LearnerConfig { weight_decay: 1e-2, max_grad_norm: 1.0, micro_batch: 8 }
    }
}

/// A prompt and the answer that should be given.
#[derive(Clone, Debug)]
pub struct Example {
    /// The prompt.
    pub prompt: Prompt,
    /// The answer's tokens, the stop token included.
    pub answer: Vec<u32>,
}

/// A prompt's answers and what each was worth.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// The prompt.
    pub prompt: &'a Prompt,
    /// The answers' tokens.
    pub answers: &'a [&'a [u32]],
    /// One advantage for each answer.
    pub advantages: &'a [f64],
    /// The sampler's log-probabilities, one for each token. Needed from the second update of a
    /// rollout on; at the first one the policy that learns is the one that sampled.
    pub old_logp: Option<&'a [&'a [f32]]>,
}

/// An adapter that learns, and its optimiser.
pub struct Learner {
    adapter: Adapter,
    optimizer: ModuleOptimizer,
    config: LearnerConfig,
}

impl From<QwenError> for UpdateSkip {
    fn from(error: QwenError) -> Self {
        UpdateSkip::Shape(error.to_string())
    }
}

impl Learner {
    /// `adapter` must be on a device with autodiff.
    pub fn new(adapter: Adapter, config: LearnerConfig) -> Self {
        let optimizer = optimizer(&config);
        Learner { adapter: numbered(adapter), optimizer, config }
    }

    /// The optimiser's state.
    ///
    /// # Errors
    /// [`QwenError::Device`] when it cannot be encoded.
    pub fn optimizer_bytes(&self) -> Result<Vec<u8>, QwenError> {
        let bytes = self.optimizer.into_bytes();
        Ok(bytes.map_err(|e| QwenError::Device(e.to_string()))?.to_vec())
    }

    /// Goes on with this state of the optimiser.
    ///
    /// # Errors
    /// [`QwenError::Device`] when it is damaged.
    pub fn resume(&mut self, optimizer_bytes: Vec<u8>) -> Result<(), QwenError> {
        self.optimizer = optimizer(&self.config)
            .from_bytes(Bytes::from_bytes_vec(optimizer_bytes))
            .map_err(|e| QwenError::Device(format!("the optimiser's state: {e}")))?;
        Ok(())
    }

    /// The adapter as it is now, without autodiff: for sampling.
    pub fn adapter(&self) -> Adapter {
        self.adapter.valid()
    }

    /// Takes other matrices and forgets the optimiser's state.
    pub fn take(&mut self, adapter: &Adapter) {
        *self = Learner::new(adapter.clone().train(), self.config.clone());
    }

    /// One supervised step: the mean cross-entropy of the answers' tokens before it, nats.
    ///
    /// # Errors
    /// Why the weights stayed as they were.
    pub fn supervise(
        &mut self,
        model: &Model,
        examples: &[&Example],
        learning_rate: f64,
    ) -> Result<f64, UpdateSkip> {
        let tokens: usize = examples.iter().map(|example| example.answer.len()).sum();
        let mut gradients = AdapterGradients::default();
        let mut total = 0.0;
        for example in examples {
            let answers = [example.answer.as_slice()];
            let group = Answered { prompt: &example.prompt, answers: &answers };
            let loss = |logp: Tensor<2>, _: Tensor<2, Bool>| {
                Ok::<_, UpdateSkip>(logp.sum().mul_scalar(-1.0 / tokens as f64))
            };
            total += model.learn(&group, 1.0, &self.adapter, &mut gradients, loss)?.0;
        }
        guard::check_loss(total)?;
        self.apply(&gradients, learning_rate)?;
        Ok(total)
    }

    /// One GRPO step on whole groups, in micro-batches.
    ///
    /// # Errors
    /// Why the weights stayed as they were.
    pub fn reinforce(
        &mut self,
        model: &Model,
        groups: &[Judged<'_>],
        temperature: f64,
        config: &GrpoConfig,
        learning_rate: f64,
    ) -> Result<GrpoMetrics, UpdateSkip> {
        let mut gradients = AdapterGradients::default();
        let mut batch = Batch::default();
        let loss = self.gradient(model, groups, temperature, config, &mut gradients, &mut batch)?;
        guard::check_loss(loss)?;
        let grad_norm = self.apply(&gradients, learning_rate)?;
        let mut metrics = GrpoMetrics { loss, grad_norm, learning_rate, ..Default::default() };
        batch.measure(&mut metrics, config)?;
        Ok(metrics)
    }

    /// The loss of `groups` and its gradient; nothing is learnt.
    ///
    /// # Errors
    /// Why there is none.
    pub fn gradient(
        &self,
        model: &Model,
        groups: &[Judged<'_>],
        temperature: f64,
        config: &GrpoConfig,
        into: &mut AdapterGradients,
        batch: &mut Batch,
    ) -> Result<f64, UpdateSkip> {
        let advantages: Vec<f64> = groups.iter().flat_map(|g| g.advantages).copied().collect();
        guard::check_advantages(&advantages)?;
        let answers = groups.iter().flat_map(|g| g.answers);
        let totals = Totals {
            sequences: advantages.len(),
            tokens: answers.clone().map(|answer| answer.len()).sum(),
        };
        *batch = Batch::new(answers.clone().count(), answers.map(|a| a.len()).max().unwrap_or(0));
        let mut loss = 0.0;
        for group in groups {
            if group.advantages.len() != group.answers.len() {
                let (got, expected) = (group.advantages.len(), group.answers.len());
                let why = format!("{got} advantages for {expected} answers");
                return Err(UpdateSkip::Shape(why));
            }
            let micro = self.config.micro_batch.max(1);
            for start in (0..group.answers.len()).step_by(micro) {
                let part = start..group.answers.len().min(start + micro);
                loss += self.part(model, group, part, temperature, config, totals, into, batch)?;
            }
        }
        Ok(loss)
    }

    #[allow(clippy::too_many_arguments)]
    fn part(
        &self,
        model: &Model,
        group: &Judged<'_>,
        part: std::ops::Range<usize>,
        temperature: f64,
        config: &GrpoConfig,
        totals: Totals,
        into: &mut AdapterGradients,
        batch: &mut Batch,
    ) -> Result<f64, UpdateSkip> {
        let answers = &group.answers[part.clone()];
        let advantages = &group.advantages[part.clone()];
        let answered = Answered { prompt: group.prompt, answers };
        let shape = [answers.len(), answered.rows()];
        let device = model.text.device().clone();
        let table = |values: Vec<f32>| {
            Tensor::<2>::from_data(TensorData::new(values, shape), &device).autodiff()
        };
        let old = match group.old_logp {
            None => None,
            Some(old) => Some(answered.table(&old[part])?),
        };
        let reference = match config.kl_coef > 0.0 {
            true => Some(model.log_probabilities(&answered, temperature, None)?),
            false => None,
        };
        let of_answers: Vec<f32> = advantages.iter().map(|&a| a as f32).collect();
        let of_answers = TensorData::new(of_answers, [answers.len()]);
        let tensors = (old.clone().map(table), reference.clone().map(table));
        let loss = |logp: Tensor<2>, mask: Tensor<2, Bool>| {
            let (old_logp, ref_logp) = tensors;
            let advantages = Tensor::<1>::from_data(of_answers, &device).autodiff();
            let batch = TensorBatch { logp, old_logp, ref_logp, mask, advantages };
            let loss = tensor::grpo_loss(batch, totals, config);
            Ok::<_, UpdateSkip>(loss.map_err(|e| UpdateSkip::Shape(e.to_string()))?.loss)
        };
        let (loss, logp) = model.learn(&answered, temperature, &self.adapter, into, loss)?;
        let old = old.as_deref().unwrap_or(&logp);
        batch.add(&answered, advantages, &logp, old, reference.as_deref());
        Ok(loss)
    }

    /// One step of the optimiser along the clipped gradient, whose norm before that is given
    /// back. A gradient that is not finite leaves everything as it was.
    fn apply(&mut self, gradients: &AdapterGradients, rate: f64) -> Result<f64, UpdateSkip> {
        let norm = gradients.norm()?;
        guard::check_gradient(norm)?;
        let factor = (self.config.max_grad_norm / norm.max(f64::MIN_POSITIVE)).min(1.0);
        let gradients = gradients.scaled(&self.adapter, factor);
        self.adapter = self.optimizer.step(rate, self.adapter.clone(), gradients);
        Ok(norm)
    }
}

fn optimizer(config: &LearnerConfig) -> ModuleOptimizer {
    AdamWConfig::new().with_weight_decay(config.weight_decay).init()
}

/// The tokens of a step, for what is logged.
#[derive(Default)]
pub struct Batch {
    tokens: usize,
    logp: Vec<f64>,
    old: Vec<f64>,
    reference: Vec<f64>,
    mask: Vec<bool>,
    advantages: Vec<f64>,
}

impl Batch {
    fn new(answers: usize, tokens: usize) -> Self {
        let (values, mask) = (Vec::with_capacity(answers * tokens), Vec::new());
        Batch { tokens, logp: values, mask, ..Batch::default() }
    }

    fn add(
        &mut self,
        answered: &Answered<'_>,
        advantages: &[f64],
        logp: &[f32],
        old: &[f32],
        reference: Option<&[f32]>,
    ) {
        let rows = answered.rows().max(1);
        let wider = |into: &mut Vec<f64>, values: &[f32]| {
            for row in values.chunks_exact(rows) {
                into.extend(row.iter().map(|&v| f64::from(v)));
                into.resize(into.len() + self.tokens - rows, 0.0);
            }
        };
        wider(&mut self.logp, logp);
        wider(&mut self.old, old);
        reference.into_iter().for_each(|values| wider(&mut self.reference, values));
        for row in answered.mask().chunks_exact(rows) {
            self.mask.extend_from_slice(row);
            self.mask.resize(self.mask.len() + self.tokens - rows, false);
        }
        self.advantages.extend_from_slice(advantages);
    }

    fn measure(&self, metrics: &mut GrpoMetrics, config: &GrpoConfig) -> Result<(), UpdateSkip> {
        TokenBatch::new(&self.logp, &self.mask, self.tokens)
            .and_then(|batch| batch.with_old(&self.old))
            .and_then(|batch| match self.reference.is_empty() {
                true => Ok(batch),
                false => batch.with_reference(&self.reference),
            })
            .and_then(|batch| metrics.set_tokens(&batch, &self.advantages, config))
            .map_err(|e| UpdateSkip::Shape(e.to_string()))
    }
}
