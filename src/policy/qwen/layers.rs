//! The parts that vision tower and language model share, and how they are loaded.

use burn::{
    Tensor,
    tensor::{Device, FloatDType, TensorData, activation},
};

use super::{
    QwenError, VisionConfig,
    linear::{Adapter, Linear, LinearShape, UNADAPTED},
};

/// RMSNorm (Zhang and Sennrich 2019), or with a bias LayerNorm (Ba et al. 2016), computed in
/// float32.
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[1, width]`.
    weight: Tensor<2>,
    /// `[1, width]`.
    bias: Option<Tensor<2>>,
    eps: f64,
}

impl Norm {
    /// `[rows, width]` to the same.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let given = FloatDType::from(x.dtype());
        let x = x.cast(FloatDType::F32);
        let x = match self.bias {
            Some(_) => x.clone() - x.mean_dim(1),
            None => x,
        };
        let scale = x.clone().square().mean_dim(1).add_scalar(self.eps).sqrt().recip();
        let x = (x * scale).cast(given) * self.weight.clone();
        match &self.bias {
            Some(bias) => x + bias.clone(),
            None => x,
        }
    }
}

/// SwiGLU (Shazeer 2020): `down(silu(gate x) * up x)`.
#[derive(Clone, Debug)]
pub struct Mlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Mlp {
    /// Loads the three layers at `name`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        loader: &mut Loader<'_>,
        name: &str,
        hidden: usize,
        inner: usize,
        bias: bool,
    ) -> Result<Self, QwenError> {
        Ok(Mlp {
            gate: loader.linear(&format!("{name}.gate_proj"), hidden, inner, bias)?,
            up: loader.linear(&format!("{name}.up_proj"), hidden, inner, bias)?,
            down: loader.linear(&format!("{name}.down_proj"), inner, hidden, bias)?,
        })
    }

    /// `[rows, hidden]` to the same.
    pub fn forward(&self, x: Tensor<2>, adapter: Option<&Adapter>) -> Tensor<2> {
        let gate = activation::silu(self.gate.forward(x.clone(), adapter));
        self.down.forward(gate * self.up.forward(x, adapter), adapter)
    }

    /// Its layers, by number.
    pub fn slots(&self) -> impl Iterator<Item = usize> {
        [self.gate.slot(), self.up.slot(), self.down.slot()].into_iter()
    }
}

/// `fc2(act(fc1 x))` with QuickGELU, `x sigmoid(1.702 x)` (Hendrycks and Gimpel 2016).
#[derive(Clone, Debug)]
pub struct PlainMlp {
    first: Linear,
    second: Linear,
}

impl PlainMlp {
    /// Loads the two layers at `name`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(
        loader: &mut Loader<'_>,
        name: &str,
        hidden: usize,
        inner: usize,
    ) -> Result<Self, QwenError> {
        Ok(PlainMlp {
            first: loader.linear(&format!("{name}.fc1"), hidden, inner, true)?,
            second: loader.linear(&format!("{name}.fc2"), inner, hidden, true)?,
        })
    }

    /// `[rows, hidden]` to the same.
    pub fn forward(&self, x: Tensor<2>, adapter: Option<&Adapter>) -> Tensor<2> {
        let x = self.first.forward(x, adapter);
        let gate = activation::sigmoid(x.clone().mul_scalar(1.702));
        self.second.forward(x * gate, adapter)
    }

    /// Its layers, by number.
    pub fn slots(&self) -> impl Iterator<Item = usize> {
        [self.first.slot(), self.second.slot()].into_iter()
    }
}

/// Where tensors come from: a name and the shape that is needed, row by row, in float32,
/// float16 or bfloat16.
pub type TensorSource<'a> = dyn FnMut(&str, &[usize]) -> Result<TensorData, QwenError> + 'a;

/// Puts named tensors on the device and numbers the linear layers.
pub struct Loader<'a> {
    source: &'a mut TensorSource<'a>,
    device: Device,
    dtype: FloatDType,
    layers: Vec<LinearShape>,
}

impl<'a> Loader<'a> {
    /// A loader that keeps the weights in `dtype` on `device`.
    pub fn new(source: &'a mut TensorSource<'a>, device: Device, dtype: FloatDType) -> Self {
        Loader { source, device: device.inner(), dtype, layers: Vec::new() }
    }

    /// The device without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the weights are kept in.
    pub fn dtype(&self) -> FloatDType {
        self.dtype
    }

    /// The linear layers loaded so far.
    pub fn into_layers(self) -> Vec<LinearShape> {
        self.layers
    }

    /// A tensor by its name.
    ///
    /// # Errors
    /// When it is missing or misshapen.
    pub fn tensor<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, QwenError> {
        let data = (self.source)(name, &shape)?;
        Ok(Tensor::from_data(data, (&self.device, self.dtype.into())))
    }

    /// A linear layer from `NAME.weight` `[outputs, inputs]` and `NAME.bias`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn linear(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Result<Linear, QwenError> {
        let weight = self.tensor(&format!("{name}.weight"), [outputs, inputs])?;
        let bias = match bias {
            true => Some(self.tensor(&format!("{name}.bias"), [outputs])?),
            false => None,
        };
        Ok(self.number(name, weight, bias))
    }

    /// A linear layer whose weight `[outputs, inputs]` is already there.
    pub fn number(&mut self, name: &str, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Linear {
        let [outputs, inputs] = weight.dims();
        self.layers.push(LinearShape { name: name.to_owned(), inputs, outputs });
        Linear::new(weight, bias, self.layers.len() - 1)
    }

    /// The convolution over single patches, which is a linear layer.
    ///
    /// # Errors
    /// When the tensor is missing or misshapen.
    pub fn patch_embed(&mut self, name: &str, config: &VisionConfig) -> Result<Linear, QwenError> {
        let VisionConfig { hidden, channels, temporal_patch, patch, .. } = *config;
        let shape = [hidden, channels, temporal_patch, patch, patch];
        let weight: Tensor<5> = self.tensor(&format!("{name}.weight"), shape)?;
        Ok(Linear::new(weight.flatten(1, 4), None, UNADAPTED))
    }

    /// A norm from `NAME.weight`.
    ///
    /// # Errors
    /// When the tensor is missing or misshapen.
    pub fn norm(&mut self, name: &str, width: usize, eps: f64) -> Result<Norm, QwenError> {
        let weight: Tensor<1> = self.tensor(&format!("{name}.weight"), [width])?;
        Ok(Norm { weight: weight.unsqueeze(), bias: None, eps })
    }

    /// A norm with a mean and a bias, from `NAME.weight` and `NAME.bias`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn layer_norm(&mut self, name: &str, width: usize, eps: f64) -> Result<Norm, QwenError> {
        let bias: Tensor<1> = self.tensor(&format!("{name}.bias"), [width])?;
        Ok(Norm { bias: Some(bias.unsqueeze()), ..self.norm(name, width, eps)? })
    }
}
