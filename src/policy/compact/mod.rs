//! The compact policy: a frozen ONNX encoder run by tract, and a small head in burn that
//! scores candidate answers and samples from the softmax over them.
//!
//! Since its answers can be enumerated (at most 24), probabilities, entropy and the exact
//! policy gradient are known in closed form; GRPO samples from it as from any policy.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use burn::{
    module::Module,
    optim::{AdamWConfig, ModuleOptimizer},
    tensor::{Device, activation},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{policy::numbered::numbered, task::Question};

mod answers;
mod ask;
pub mod batch;
pub mod encoder;
mod files;
pub mod geometry;
pub mod head;
mod learn;
pub mod observe;
pub mod onnx;
mod resume;
pub mod served;
pub mod serving;
mod start;
pub mod weights;

use batch::{Noise, Shape};
use encoder::{Encoder, EncoderConfig, EncoderError};
use head::{Head, HeadShape};
use observe::{Evidence, Observation, ObserveError};
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
    /// Chance that an input of the farness scorer is dropped while learning, in the answers and
    /// in the update alike.
    pub dropout: f64,
    /// Decoupled weight decay of AdamW, for a start from random weights.
    pub weight_decay: f32,
    /// The same for a start that was learnt: it draws to the weights of the start instead of
    /// to zero.
    pub start_decay: f32,
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
            dropout: 0.35,
            weight_decay: 0.6,
            start_decay: 1.0,
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

/// A frozen encoder and a learning head.
pub struct CompactPolicy {
    config: CompactConfig,
    shape: HeadShape,
    encoder: Arc<Encoder>,
    head: Head,
    reference: Option<Head>,
    /// What weight decay draws to; nothing: to zero.
    start: Option<Head>,
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
        let sound =
            config.max_grad_norm > 0.0 && config.weight_decay >= 0.0 && config.start_decay >= 0.0;
        if !sound {
            return Err(CompactError::Config(format!(
                "max_grad_norm must be positive, weight_decay and start_decay not negative, got {}, \
                 {} and {}",
                config.max_grad_norm, config.weight_decay, config.start_decay
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
        };
        let device = device.autodiff();
        // Drawn by the processor wherever it learns: the same seed, the same weights.
        let drawing = Device::flex().autodiff();
        drawing.seed(seed);
        let mut head = numbered(Head::new(&shape, &drawing));
        if device != drawing {
            let drawn = weights::to_bytes(&head)?;
            head = weights::from_bytes(head, &drawn, &device)?;
        }
        let optimizer = optimizer(config.weight_decay);
        Ok(CompactPolicy {
            config,
            shape,
            encoder,
            head,
            reference: None,
            start: None,
            optimizer,
            device,
        })
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

    /// Makes the present weights the start of an adaptation: weight decay then draws to them
    /// instead of to zero (L2-SP, Li et al. 2018), so that what few frames do not speak of
    /// stays as it was.
    pub fn start_from_here(&mut self) {
        self.start = Some(self.head.clone());
        self.optimizer = self.new_optimizer();
    }

    /// Learns from now on with the dropout, weight decay and gradient bound of `config`; sizes
    /// and encoder stay.
    pub fn learn_with(&mut self, config: &CompactConfig) {
        self.config.dropout = config.dropout;
        self.config.weight_decay = config.weight_decay;
        self.config.start_decay = config.start_decay;
        self.config.max_grad_norm = config.max_grad_norm;
        self.optimizer = self.new_optimizer();
    }

    /// The weight decay in force.
    fn decay(&self) -> f32 {
        if self.start.is_some() { self.config.start_decay } else { self.config.weight_decay }
    }

    fn new_optimizer(&self) -> ModuleOptimizer {
        optimizer(self.decay())
    }

    /// Whether an observation has the sizes that this policy's encoder makes: one that was read
    /// from a file may come from another encoder.
    pub fn fits(&self, observation: &Observation) -> bool {
        let HeadShape { border_channels, context_channels, point_channels, .. } = self.shape;
        let borders = self.shape.border_len();
        let patch = |patch: &observe::PatchFeatures| {
            patch.borders.len() == borders
                && patch.border_channels == border_channels
                && patch.context.len() == context_channels
        };
        let evidence = match (&observation.question, &observation.evidence) {
            (
                Question::Arrange { rows, cols, .. } | Question::FindFlip { rows, cols },
                Evidence::Patches(patches),
            ) => {
                patches.len() == usize::from(*rows) * usize::from(*cols)
                    && patches.iter().flatten().all(|p| patch(p))
            }
            (Question::FillHole { options: asked, .. }, Evidence::Hole { ring, options }) => {
                options.len() == usize::from(*asked)
                    && ring.borders.len() == borders
                    && options.iter().all(|p| patch(p))
            }
            (Question::OrderPoints { points: asked }, Evidence::Points(points)) => {
                points.len() == asked.len() && points.iter().all(|p| p.len() == point_channels)
            }
            (Question::RelativePosition { .. }, Evidence::Points(points)) => {
                points.len() == 2 && points.iter().all(|p| p.len() == point_channels)
            }
            _ => false,
        };
        evidence && !observation.question.candidates().is_empty()
    }

    /// The policy as it is now, to serve while this one goes on learning.
    pub fn frozen(&self) -> Self {
        CompactPolicy {
            config: self.config.clone(),
            shape: self.shape.clone(),
            encoder: self.encoder.clone(),
            head: self.head.clone(),
            reference: None,
            start: None,
            optimizer: optimizer(self.config.weight_decay),
            device: self.device.clone(),
        }
    }

    /// A policy between `from` and this one, weight by weight: `from` at 0, this one at 1. What
    /// lies between two that share a start often keeps most of what either can (Wortsman et
    /// al. 2022).
    pub fn blended(&self, from: &CompactPolicy, part: f64) -> Self {
        CompactPolicy { head: start::between(&from.head, &self.head, part), ..self.frozen() }
    }

    /// Takes the weights of a policy of the same shape and forgets the optimiser's state.
    pub fn take_weights(&mut self, other: &CompactPolicy) {
        self.head = other.head.clone();
        self.optimizer = self.new_optimizer();
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
        self.log_probabilities_of(&self.head.valid(), observations, None)
    }

    fn log_probabilities_of(
        &self,
        head: &Head,
        observations: &[&Observation],
        noise: Option<&[u64]>,
    ) -> Result<Vec<Vec<f32>>, CompactError> {
        /// More at once gains nothing and costs memory.
        const CHUNK: usize = 64;
        let device = self.device.clone().inner();
        let shapes = by_shape(observations);
        let chunks: Vec<(Shape, &[usize])> = shapes
            .iter()
            .flat_map(|(shape, members)| members.chunks(CHUNK).map(|chunk| (*shape, chunk)))
            .collect();
        // Side by side: the products are too small to be worth dividing one by one.
        let answered = chunks.into_par_iter().map(|(shape, members)| {
            let batch: Vec<&Observation> = members.iter().map(|&i| observations[i]).collect();
            let seeds: Option<Vec<u64>> =
                noise.map(|noise| members.iter().map(|&i| noise[i]).collect());
            let rate = self.config.dropout;
            let noise = seeds.as_deref().map(|seeds| Noise { rate, seeds });
            let scores = batch::scores(head, &self.shape, shape, &batch, noise, &device);
            let [_, candidates] = scores.dims();
            let values = activation::log_softmax(scores, 1)
                .try_into_vec_as::<f32>()
                .map_err(|e| CompactError::Device(e.to_string()))?;
            Ok((members, candidates, values))
        });
        let answered: Vec<_> = answered.collect::<Result<_, CompactError>>()?;
        let mut all = vec![Vec::new(); observations.len()];
        for (members, candidates, values) in answered {
            for (&member, row) in members.iter().zip(values.chunks_exact(candidates)) {
                all[member] = row.to_vec();
            }
        }
        Ok(all)
    }
}

fn optimizer(weight_decay: f32) -> ModuleOptimizer {
    AdamWConfig::new().with_weight_decay(weight_decay).init()
}

/// Observations by shape, in a fixed order.
fn by_shape(observations: &[&Observation]) -> BTreeMap<Shape, Vec<usize>> {
    let mut groups: BTreeMap<Shape, Vec<usize>> = BTreeMap::new();
    for (i, observation) in observations.iter().enumerate() {
        groups.entry(Shape::of(observation)).or_default().push(i);
    }
    groups
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
