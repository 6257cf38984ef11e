//! The compact policy: a frozen ONNX encoder run by tract, and a small head in burn that
//! scores candidate answers and samples from the softmax over them.
//!
//! Since its answers can be enumerated (at most 24), probabilities, entropy and the exact
//! policy gradient are known in closed form; GRPO samples from it as from any policy.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Bool, Device, Int, TensorData, activation},
};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{Group, Policy, Rewarded};
use crate::{
    frame::RgbdFrame,
    grpo::{GrpoConfig, GrpoMetrics, TensorBatch, TokenBatch, Totals, UpdateSkip, guard, tensor},
    task::{Answer, Task, seed},
};

pub mod batch;
pub mod encoder;
pub mod geometry;
pub mod head;
pub mod observe;
pub mod weights;

use batch::Shape;
use encoder::{Encoder, EncoderConfig, EncoderError};
use head::{Head, HeadShape};
use observe::{Evidence, Observation, ObserveError, Observer};
use weights::WeightsError;

/// Sizes and regularisation of the compact policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompactConfig {
    /// The frozen encoder.
    pub encoder: EncoderConfig,
    /// Width of the embedding of a place on a border.
    pub border_dim: usize,
    /// Width of the hidden layer that compares two borders.
    pub pair_dim: usize,
    /// Widths of the two hidden layers that say how far a point is.
    pub far_dims: [usize; 2],
    /// Chance that an input of the farness scorer is dropped while learning.
    pub dropout: f64,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: f32,
    /// The gradient is scaled down to this norm.
    pub max_grad_norm: f64,
}

impl Default for CompactConfig {
    fn default() -> Self {
        CompactConfig {
            encoder: EncoderConfig::default(),
            border_dim: 32,
            pair_dim: 32,
            far_dims: [128, 64],
            dropout: 0.3,
            weight_decay: 0.05,
            max_grad_norm: 1.0,
        }
    }
}

/// Why the compact policy cannot be made, loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The encoder.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// An observation.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// The weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A configuration that no head can have.
    #[error("compact policy: {0}")]
    Config(String),
    /// `policy.json` is not what this version writes.
    #[error("{path}: {why}")]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The device did not give back a result.
    #[error("the device failed: {0}")]
    Device(String),
}

/// What `policy.json` says beside the weights.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    format: u32,
    config: CompactConfig,
    shape: HeadShape,
    encoder_sha256: String,
    weights_sha256: String,
}

/// The version of the files written here.
const FORMAT: u32 = 1;

/// A frozen encoder and a learning head.
pub struct CompactPolicy {
    config: CompactConfig,
    shape: HeadShape,
    encoder: Arc<Encoder>,
    head: Head,
    reference: Option<Head>,
    optimizer: ModuleOptimizer,
    device: Device,
}

impl CompactPolicy {
    /// A policy with random weights.
    ///
    /// # Errors
    /// [`CompactError`] when the configuration or the encoder cannot be used.
    pub fn new(config: CompactConfig, seed: u64, device: Device) -> Result<Self, CompactError> {
        let encoder = Arc::new(Encoder::load(&config.encoder)?);
        Self::with_encoder(config, encoder, seed, device)
    }

    fn with_encoder(
        config: CompactConfig,
        encoder: Arc<Encoder>,
        seed: u64,
        device: Device,
    ) -> Result<Self, CompactError> {
        let dims = [config.border_dim, config.pair_dim, config.far_dims[0], config.far_dims[1]];
        if dims.iter().any(|dim| !(1..=4096).contains(dim)) {
            return Err(CompactError::Config(format!("widths must lie in 1..=4096, got {dims:?}")));
        }
        if !(0.0..1.0).contains(&config.dropout) {
            return Err(CompactError::Config(format!(
                "dropout must lie in 0..1, got {}",
                config.dropout
            )));
        }
        let sound = config.max_grad_norm > 0.0 && config.weight_decay >= 0.0;
        if !sound {
            return Err(CompactError::Config(format!(
                "max_grad_norm must be positive and weight_decay not negative, got {} and {}",
                config.max_grad_norm, config.weight_decay
            )));
        }
        let shape = HeadShape {
            border_channels: encoder.border_channels(),
            border_places: config.encoder.border_places,
            context_channels: encoder.context_channels(),
            point_channels: encoder.point_channels(),
            border_dim: config.border_dim,
            pair_dim: config.pair_dim,
            far_dims: config.far_dims,
            dropout: config.dropout,
        };
        let device = device.autodiff();
        device.seed(seed);
        let head = Head::new(&shape, &device);
        let optimizer = AdamWConfig::new().with_weight_decay(config.weight_decay).init();
        Ok(CompactPolicy { config, shape, encoder, head, reference: None, optimizer, device })
    }

    /// The configuration.
    pub fn config(&self) -> &CompactConfig {
        &self.config
    }

    /// The frozen encoder, to be shared with threads that observe.
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// How many weights learn.
    pub fn parameters(&self) -> usize {
        let scalers = 2
            * (self.shape.border_channels
                + self.shape.context_channels
                + self.shape.point_channels);
        self.head.num_params() - scalers
    }

    /// Measures mean and spread of the features, so that the head sees them at unit size.
    /// Call it once, on a few hundred observations, before anything is learnt.
    pub fn calibrate(&mut self, observations: &[&Observation]) {
        let mut border = Moments::new(self.shape.border_channels);
        let mut context = Moments::new(self.shape.context_channels);
        let mut point = Moments::new(self.shape.point_channels);
        for observation in observations {
            let mut patch = |patch: &observe::PatchFeatures| {
                border.add(&patch.borders);
                context.add(&patch.context);
            };
            match &observation.evidence {
                Evidence::Patches(patches) => patches.iter().flatten().for_each(|p| patch(p)),
                Evidence::Hole { options, .. } => options.iter().for_each(|p| patch(p)),
                Evidence::Points(points) => points.iter().for_each(|p| point.add(p)),
            }
        }
        for (moments, scaler) in [
            (border, &mut self.head.border_scaler),
            (context, &mut self.head.context_scaler),
            (point, &mut self.head.point_scaler),
        ] {
            if let Some((mean, std)) = moments.finish() {
                scaler.set(mean, &std, &self.device);
            }
        }
    }

    /// Makes the present weights the reference from which the KL term measures.
    pub fn set_reference(&mut self) {
        self.reference = Some(self.head.valid());
    }

    /// Log-probability of every candidate answer to every task, in the order of
    /// [`crate::task::Question::candidates`].
    ///
    /// # Errors
    /// [`CompactError::Device`] when the device fails.
    pub fn log_probabilities(
        &self,
        observations: &[&Observation],
    ) -> Result<Vec<Vec<f32>>, CompactError> {
        self.log_probabilities_of(&self.head.valid(), observations)
    }

    fn log_probabilities_of(
        &self,
        head: &Head,
        observations: &[&Observation],
    ) -> Result<Vec<Vec<f32>>, CompactError> {
        /// More at once gains nothing and costs memory.
        const CHUNK: usize = 64;
        let device = self.device.clone().inner();
        let mut all = vec![Vec::new(); observations.len()];
        for (shape, members) in by_shape(observations) {
            for members in members.chunks(CHUNK) {
                let batch: Vec<&Observation> = members.iter().map(|&i| observations[i]).collect();
                let scores = batch::scores(head, &self.shape, shape, &batch, &device);
                let [_, candidates] = scores.dims();
                let values = activation::log_softmax(scores, 1)
                    .try_into_vec_as::<f32>()
                    .map_err(|e| CompactError::Device(e.to_string()))?;
                for (&member, row) in members.iter().zip(values.chunks_exact(candidates)) {
                    all[member] = row.to_vec();
                }
            }
        }
        Ok(all)
    }

    /// Writes `policy.json` and `weights.safetensors` into `folder`, each whole or not at all.
    ///
    /// # Errors
    /// [`CompactError::Weights`] when the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), CompactError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| WeightsError::Io { path: folder.to_owned(), source })?;
        let weights = weights::to_bytes(&self.head)?;
        let description = Description {
            format: FORMAT,
            config: self.config.clone(),
            shape: self.shape.clone(),
            encoder_sha256: self.encoder.digest().to_owned(),
            weights_sha256: crate::digest::hex(&weights),
        };
        weights::write_atomically(&folder.join("weights.safetensors"), &weights)?;
        let text = serde_json::to_string_pretty(&description)
            .map_err(|e| CompactError::Config(e.to_string()))?;
        weights::write_atomically(&folder.join("policy.json"), text.as_bytes())?;
        Ok(())
    }

    /// The policy that ships with the crate.
    ///
    /// # Errors
    /// As [`CompactPolicy::load`]; the shipped files are tested.
    pub fn builtin(device: Device) -> Result<Self, CompactError> {
        const DESCRIPTION: &[u8] = include_bytes!("../../../assets/builtin/policy.json");
        const WEIGHTS: &[u8] = include_bytes!("../../../assets/builtin/weights.safetensors");
        Self::from_parts(Path::new("builtin"), DESCRIPTION, WEIGHTS, device)
    }

    /// Reads what [`CompactPolicy::save`] wrote.
    ///
    /// # Errors
    /// [`CompactError::Description`] when the files do not belong together or were written
    /// by another version, [`CompactError::Weights`] when the weights are damaged.
    pub fn load(folder: &Path, device: Device) -> Result<Self, CompactError> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|source| WeightsError::Io { path, source })
        };
        let (description, weights) = (read("policy.json")?, read("weights.safetensors")?);
        Self::from_parts(&folder.join("policy.json"), &description, &weights, device)
    }

    fn from_parts(
        path: &Path,
        description: &[u8],
        weights: &[u8],
        device: Device,
    ) -> Result<Self, CompactError> {
        let wrong = |why: String| CompactError::Description { path: path.to_owned(), why };
        let description: Description =
            serde_json::from_slice(description).map_err(|e| wrong(e.to_string()))?;
        if description.format != FORMAT {
            return Err(wrong(format!(
                "format {} is not known here (this version reads {FORMAT})",
                description.format
            )));
        }
        if crate::digest::hex(weights) != description.weights_sha256 {
            return Err(wrong("weights.safetensors is not the file that belongs here".to_owned()));
        }
        let mut policy = Self::new(description.config, 0, device)?;
        if policy.encoder.digest() != description.encoder_sha256 {
            return Err(wrong(format!(
                "the weights belong to the encoder with SHA-256 {}, this one has {}",
                description.encoder_sha256,
                policy.encoder.digest()
            )));
        }
        if policy.shape != description.shape {
            return Err(wrong(format!(
                "the head is {:?}, the encoder makes {:?}",
                description.shape, policy.shape
            )));
        }
        policy.head = weights::from_bytes(policy.head, weights, &policy.device)?;
        Ok(policy)
    }
}

/// Observations by shape, in a fixed order.
fn by_shape(observations: &[&Observation]) -> BTreeMap<Shape, Vec<usize>> {
    let mut groups: BTreeMap<Shape, Vec<usize>> = BTreeMap::new();
    for (i, observation) in observations.iter().enumerate() {
        groups.entry(Shape::of(observation)).or_default().push(i);
    }
    groups
}

impl Policy for CompactPolicy {
    type Observation = Observation;
    type Error = CompactError;

    fn observe(&self, frame: &RgbdFrame, tasks: &[Task]) -> Result<Vec<Observation>, CompactError> {
        let mut observer = Observer::new(&self.encoder, frame);
        tasks.iter().map(|task| Ok(observer.observe(task)?)).collect()
    }

    fn rollout(
        &self,
        observations: &[&Observation],
        group_size: usize,
        seed: u64,
    ) -> Result<Vec<Group>, CompactError> {
        let all = self.log_probabilities(observations)?;
        let groups = observations.iter().zip(all).enumerate().map(|(i, (observation, logp))| {
            let mut rng = seed::rng(seed::mix(seed, i as u64));
            let candidates = observation.question.candidates();
            let mut group = Group {
                answers: Vec::with_capacity(group_size),
                logp: Vec::with_capacity(group_size),
                entropy: -logp.iter().map(|l| l * l.exp()).sum::<f32>(),
            };
            for _ in 0..group_size {
                let drawn = draw(&logp, rng.random::<f32>());
                group.answers.push(candidates[drawn].clone());
                group.logp.push(logp[drawn]);
            }
            group
        });
        Ok(groups.collect())
    }

    fn best(&self, observations: &[&Observation]) -> Result<Vec<(Answer, f32)>, CompactError> {
        let all = self.log_probabilities(observations)?;
        let best = observations.iter().zip(all).map(|(observation, logp)| {
            let at = (0..logp.len()).max_by(|&a, &b| logp[a].total_cmp(&logp[b])).unwrap_or(0);
            (observation.question.candidates()[at].clone(), logp[at].exp())
        });
        Ok(best.collect())
    }

    fn update(
        &mut self,
        groups: &[Rewarded<'_, Observation>],
        config: &GrpoConfig,
        learning_rate: f64,
    ) -> Result<GrpoMetrics, UpdateSkip> {
        let broken = |e: &dyn std::fmt::Display| UpdateSkip::Shape(e.to_string());
        let observations: Vec<&Observation> = groups.iter().map(|g| g.observation).collect();
        let reference = match &self.reference {
            Some(head) if config.kl_coef > 0.0 => {
                Some(self.log_probabilities_of(head, &observations).map_err(|e| broken(&e))?)
            }
            _ => None,
        };
        // Answers in the order in which the shapes are scored.
        let mut logp = Vec::new();
        let (mut old, mut refs, mut advantages) = (Vec::new(), Vec::new(), Vec::new());
        for (shape, members) in by_shape(&observations) {
            let batch: Vec<&Observation> = members.iter().map(|&i| observations[i]).collect();
            let scores = batch::scores(&self.head, &self.shape, shape, &batch, &self.device);
            let all = activation::log_softmax(scores, 1);
            let candidates = batch.first().map(|o| o.question.candidates()).unwrap_or_default();
            let mut chosen: Vec<i64> = Vec::new();
            let mut answers = 0;
            for &member in &members {
                let Rewarded { group, advantages: own, .. } = &groups[member];
                answers = group.answers.len();
                for (answer, &logp) in group.answers.iter().zip(&group.logp) {
                    let at = candidates.iter().position(|c| c == answer).ok_or_else(|| {
                        UpdateSkip::Shape(format!("answer {answer} is no candidate"))
                    })?;
                    chosen.push(at as i64);
                    old.push(f64::from(logp));
                    refs.extend(reference.as_ref().map(|all| f64::from(all[member][at])));
                }
                advantages.extend_from_slice(own);
            }
            let index = TensorData::new(chosen, [members.len(), answers]);
            let index = Tensor::<2, Int>::from_data(index, &self.device);
            logp.push(all.gather(1, index).reshape([members.len() * answers, 1]));
        }
        if logp.is_empty() {
            return Err(UpdateSkip::NoSpread);
        }
        guard::check_advantages(&advantages)?;
        let logp = Tensor::cat(logp, 0);
        let [sequences, _] = logp.dims();
        let column = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            Tensor::<2>::from_data(TensorData::new(values, [sequences, 1]), &self.device)
        };
        let batch = TensorBatch {
            logp: logp.clone(),
            old_logp: None,
            ref_logp: reference.is_some().then(|| column(&refs)),
            mask: Tensor::<2, Bool>::from_data(
                TensorData::new(vec![true; sequences], [sequences, 1]),
                &self.device,
            ),
            advantages: column(&advantages).reshape([sequences]),
        };
        let totals = Totals { sequences, tokens: sequences };
        let loss = tensor::grpo_loss(batch, totals, config).map_err(|e| broken(&e))?.loss;
        let value = loss.clone().try_into_scalar::<f32>().map_err(|e| broken(&e))?;
        guard::check_loss(f64::from(value))?;
        let gradients = GradientsParams::from_grads(loss.backward(), &self.head);
        let grad_norm = tensor::module_gradient_norm(&self.head, &gradients);
        guard::check_gradient(grad_norm)?;
        let gradients = clipped(&self.head, gradients, self.config.max_grad_norm / grad_norm);
        self.head = self.optimizer.step(learning_rate, self.head.clone(), gradients);

        let mut metrics =
            GrpoMetrics { loss: f64::from(value), grad_norm, learning_rate, ..Default::default() };
        let logp: Vec<f64> = logp
            .try_into_vec_as::<f32>()
            .map_err(|e| broken(&e))?
            .into_iter()
            .map(f64::from)
            .collect();
        let mask = vec![true; sequences];
        let tokens = TokenBatch::new(&logp, &mask, 1)
            .and_then(|batch| batch.with_old(&old))
            .and_then(|batch| if refs.is_empty() { Ok(batch) } else { batch.with_reference(&refs) })
            .map_err(|e| broken(&e))?;
        metrics.set_tokens(&tokens, &advantages, config).map_err(|e| broken(&e))?;
        Ok(metrics)
    }
}

/// The candidate at which the cumulated probability passes `u` in 0..1.
fn draw(logp: &[f32], u: f32) -> usize {
    let mut left = u;
    for (at, logp) in logp.iter().enumerate() {
        left -= logp.exp();
        if left < 0.0 {
            return at;
        }
    }
    logp.len().saturating_sub(1)
}

/// The gradients times `factor`, if that makes them smaller.
fn clipped(head: &Head, gradients: GradientsParams, factor: f64) -> GradientsParams {
    struct Scale {
        gradients: GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.gradients.register(param.id, gradient.mul_scalar(self.factor));
            }
        }
    }
    if factor >= 1.0 {
        return gradients;
    }
    let mut scale = Scale { gradients, factor };
    head.visit(&mut scale);
    scale.gradients
}

/// Running sums of each channel.
struct Moments {
    count: f64,
    sum: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    fn new(channels: usize) -> Self {
        Moments { count: 0.0, sum: vec![0.0; channels], squares: vec![0.0; channels] }
    }

    /// `values` is `[.., channels]`.
    fn add(&mut self, values: &[half::f16]) {
        for row in values.chunks_exact(self.sum.len()) {
            self.count += 1.0;
            for ((sum, square), value) in self.sum.iter_mut().zip(&mut self.squares).zip(row) {
                let value = value.to_f64();
                *sum += value;
                *square += value * value;
            }
        }
    }

    /// Mean and standard deviation of each channel, if anything was added.
    fn finish(self) -> Option<(Vec<f32>, Vec<f32>)> {
        (self.count > 0.0).then(|| {
            let mean: Vec<f64> = self.sum.iter().map(|sum| sum / self.count).collect();
            let std = self.squares.iter().zip(&mean);
            let std = std.map(|(s, m)| (s / self.count - m * m).max(0.0).sqrt() as f32).collect();
            (mean.iter().map(|&m| m as f32).collect(), std)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_policy_belongs_to_the_shipped_encoder() {
        let policy = CompactPolicy::builtin(Device::flex()).unwrap();
        assert_eq!(policy.config(), &CompactConfig::default());
        let folder = tempfile::tempdir().unwrap();
        policy.save(folder.path()).unwrap();
        let weights = std::fs::read(folder.path().join("weights.safetensors")).unwrap();
        assert_eq!(
            crate::digest::hex(&weights),
            crate::digest::hex(include_bytes!("../../../assets/builtin/weights.safetensors")),
            "what is saved is what was loaded"
        );
    }

    #[test]
    fn answers_are_drawn_in_proportion_to_their_probabilities() {
        let logp = [0.2_f32.ln(), 0.5_f32.ln(), 0.3_f32.ln()];
        let mut rng = seed::rng(1);
        let mut counts = [0; 3];
        (0..10_000).for_each(|_| counts[draw(&logp, rng.random::<f32>())] += 1);
        for (count, expected) in counts.into_iter().zip([2000, 5000, 3000]) {
            assert!(i32::abs(count - expected) < 250, "{counts:?}");
        }
    }
}
