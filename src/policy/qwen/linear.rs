//! Frozen linear layers and the low-rank adapter that learns beside them.
//!
//! A layer computes `x W + b + s (x A^T) B^T` (LoRA, Hu et al. 2021, section 4.1). `W + s A B`
//! is never built: neither a dense gradient nor a second copy of the weights exists, and the
//! reference policy is the same network without an adapter.

use burn::{
    Tensor,
    module::{Module, Param},
    tensor::{Device, FloatDType, TensorData},
};
use rand::RngExt;

use crate::task::seed;

/// The number of a layer that no adapter may touch.
pub const UNADAPTED: usize = usize::MAX;

/// A frozen linear layer.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[in, out]`.
    weight: Tensor<2>,
    /// `[1, out]`.
    bias: Option<Tensor<2>>,
    /// Its number among the model's linear layers, by which an [`Adapter`] knows it.
    slot: usize,
}

impl Linear {
    /// A layer from a weight `[out, in]` as checkpoints have it, and a bias `[out]`.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>, slot: usize) -> Self {
        Linear { weight: weight.transpose(), bias: bias.map(|bias| bias.unsqueeze()), slot }
    }

    /// Its number among the model's linear layers.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// `[rows, in]` to `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>, adapter: Option<&Adapter>) -> Tensor<2> {
        let pair = adapter.and_then(|adapter| adapter.pair(self.slot));
        let y = x.clone().matmul(self.weight.clone());
        let y = match &self.bias {
            Some(bias) => y + bias.clone(),
            None => y,
        };
        match pair {
            Some(pair) => y + pair.forward(x),
            None => y,
        }
    }
}

/// What a linear layer is called and how large it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinearShape {
    /// As PEFT names it inside the model: `model.language_model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Inputs.
    pub inputs: usize,
    /// Outputs.
    pub outputs: usize,
}

/// The two matrices that learn beside one layer.
#[derive(Module, Debug)]
pub struct Pair {
    /// `[rank, in]`, float32.
    pub a: Param<Tensor<2>>,
    /// `[out, rank]`, float32.
    pub b: Param<Tensor<2>>,
    /// `alpha / rank`.
    #[module(skip)]
    pub scale: f64,
}

impl Pair {
    /// `[rows, in]` to `[rows, out]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let dtype = FloatDType::from(x.dtype());
        let a = self.a.val().cast(dtype).transpose();
        let b = self.b.val().cast(dtype).transpose();
        x.matmul(a).mul_scalar(self.scale).matmul(b)
    }
}

/// The matrices of one layer as numbers, to make an adapter from or to write one.
#[derive(Clone, Debug, PartialEq)]
pub struct PairData {
    /// Rank.
    pub rank: usize,
    /// `[rank, in]`, row by row.
    pub a: Vec<f32>,
    /// `[out, rank]`, row by row.
    pub b: Vec<f32>,
    /// What the product is multiplied by.
    pub scale: f64,
}

/// The matrices that learn, by layer.
#[derive(Module, Debug)]
pub struct Adapter {
    pairs: Vec<Option<Pair>>,
}

/// A matrix that does not fit its layer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "adapter of {name}: rank {rank} with {a} + {b} values does not fit a layer of {inputs} inputs and {outputs} outputs ({rank} x {inputs} + {outputs} x {rank} are needed)"
)]
pub struct MisfitError {
    name: String,
    rank: usize,
    a: usize,
    b: usize,
    inputs: usize,
    outputs: usize,
}

impl Adapter {
    /// An adapter of the layers for which `target` is true, that changes nothing yet: A is
    /// drawn as PEFT draws it (uniform within `1 / sqrt(in)`), B is zero. `device` should
    /// have autodiff when it is to learn.
    pub fn new(
        layers: &[LinearShape],
        target: impl Fn(&str) -> bool,
        rank: usize,
        alpha: f64,
        run_seed: u64,
        device: &Device,
    ) -> Self {
        let pair = |(slot, layer): (usize, &LinearShape)| {
            let mut rng = seed::rng(seed::mix(run_seed, slot as u64));
            let bound = 1.0 / (layer.inputs as f32).sqrt();
            let mut draw = || (rng.random::<f32>() * 2.0 - 1.0) * bound;
            let a: Vec<f32> = (0..rank * layer.inputs).map(|_| draw()).collect();
            let scale = alpha / rank.max(1) as f64;
            let b = vec![0.0; layer.outputs * rank];
            target(&layer.name).then(|| make(layer, PairData { rank, a, b, scale }, device))
        };
        Adapter { pairs: layers.iter().enumerate().map(pair).collect() }
    }

    /// An adapter from the numbers that `data` has for the layers.
    ///
    /// # Errors
    /// [`MisfitError`] for matrices that do not fit their layer.
    pub fn from_data(
        layers: &[LinearShape],
        mut data: impl FnMut(&str) -> Option<PairData>,
        device: &Device,
    ) -> Result<Self, MisfitError> {
        let pair = |layer: &LinearShape| {
            let Some(pair) = data(&layer.name) else { return Ok(None) };
            let LinearShape { name, inputs, outputs } = layer;
            let (a, b, rank) = (pair.a.len(), pair.b.len(), pair.rank);
            if rank == 0 || a != rank * inputs || b != rank * outputs {
                let (name, inputs, outputs) = (name.clone(), *inputs, *outputs);
                return Err(MisfitError { name, rank, a, b, inputs, outputs });
            }
            Ok(Some(make(layer, pair, device)))
        };
        Ok(Adapter { pairs: layers.iter().map(pair).collect::<Result<_, _>>()? })
    }

    /// The matrices beside a layer, if it has any.
    pub fn pair(&self, slot: usize) -> Option<&Pair> {
        self.pairs.get(slot)?.as_ref()
    }

    /// Every layer that learns, by its number.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, &Pair)> {
        self.pairs.iter().enumerate().filter_map(|(slot, pair)| Some((slot, pair.as_ref()?)))
    }

    /// Whether any of these layers learns.
    pub fn touches(&self, mut slots: impl Iterator<Item = usize>) -> bool {
        slots.any(|slot| self.pair(slot).is_some())
    }
}

fn make(layer: &LinearShape, data: PairData, device: &Device) -> Pair {
    let PairData { rank, a, b, scale } = data;
    let param = |values: Vec<f32>, shape: [usize; 2]| {
        let options = (device, FloatDType::F32.into());
        Param::from_tensor(Tensor::<2>::from_data(TensorData::new(values, shape), options))
    };
    Pair { a: param(a, [rank, layer.inputs]), b: param(b, [layer.outputs, rank]), scale }
}
