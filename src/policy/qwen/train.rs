//! Log-probabilities of answers, and the adapter's gradient, within bounded memory.
//!
//! The forward pass keeps the input of each block and nothing else; the backward pass runs
//! each block again (checkpointing, Chen et al. 2016). Logits exist for a few rows of the
//! answers at a time. A prompt runs once for all its answers: they are packed behind it.

use burn::{
    Tensor,
    optim::GradientsParams,
    tensor::{Bool, FloatDType, Gradients, TensorData},
};

use super::{
    QwenError,
    linear::Adapter,
    model::{Model, Prompt},
    text::{Packing, Text},
    vision::Route,
};

/// Answers to one prompt, as tokens.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The prompt.
    pub prompt: &'a Prompt,
    /// Its answers, none of them empty.
    pub answers: &'a [&'a [u32]],
}

impl Answered<'_> {
    /// Tokens of the longest answer.
    pub fn rows(&self) -> usize {
        self.answers.iter().map(|answer| answer.len()).max().unwrap_or(0)
    }

    /// Values of the answers' tokens as `[answers, rows]`, row by row, 0 at padding.
    ///
    /// # Errors
    /// [`QwenError::OldLogp`] when there is not one for each token.
    pub fn table(&self, values: &[&[f32]]) -> Result<Vec<f32>, QwenError> {
        let rows = self.rows();
        let mut table = Vec::with_capacity(self.answers.len() * rows);
        for (i, answer) in self.answers.iter().enumerate() {
            let own = values.get(i).copied().unwrap_or_default();
            if own.len() != answer.len() {
                return Err(QwenError::OldLogp { got: own.len(), needed: answer.len() });
            }
            table.extend_from_slice(own);
            table.resize((i + 1) * rows, 0.0);
        }
        Ok(table)
    }

    /// Which places of `[answers, rows]` hold a token.
    pub fn mask(&self) -> Vec<bool> {
        let rows = self.rows();
        self.answers.iter().flat_map(|a| (0..rows).map(|i| i < a.len())).collect()
    }
}

/// The gradient of every matrix of an adapter, by layer.
#[derive(Default)]
pub struct AdapterGradients(Vec<Option<[Tensor<2>; 2]>>);

impl AdapterGradients {
    /// Adds the gradients that one backward pass left.
    fn add(&mut self, adapter: &Adapter, gradients: &Gradients) {
        for (slot, pair) in adapter.pairs() {
            let new = (pair.a.val().grad(gradients), pair.b.val().grad(gradients));
            let (Some(a), Some(b)) = new else { continue };
            if self.0.len() <= slot {
                self.0.resize(slot + 1, None);
            }
            self.0[slot] = Some(match self.0[slot].take() {
                Some([c, d]) => [a + c, b + d],
                None => [a, b],
            });
        }
    }

    /// The gradients of a layer's A and B.
    pub fn pair(&self, slot: usize) -> Option<&[Tensor<2>; 2]> {
        self.0.get(slot)?.as_ref()
    }

    /// As an optimiser takes them, each times `factor`.
    pub fn scaled(&self, adapter: &Adapter, factor: f64) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        for (slot, pair) in adapter.pairs() {
            let Some([a, b]) = self.pair(slot) else { continue };
            gradients.register(pair.a.id, a.clone().mul_scalar(factor));
            gradients.register(pair.b.id, b.clone().mul_scalar(factor));
        }
        gradients
    }

    /// The Euclidean norm over all of it, read from the device once; NaN or infinite if any
    /// value is.
    ///
    /// # Errors
    /// [`QwenError::Device`] when it cannot be read.
    pub fn norm(&self) -> Result<f64, QwenError> {
        let squares: Vec<Tensor<1>> =
            self.0.iter().flatten().flatten().map(|g| g.clone().square().sum()).collect();
        if squares.is_empty() {
            return Ok(0.0);
        }
        let sums = read(Tensor::cat(squares, 0))?;
        Ok(sums.into_iter().map(f64::from).sum::<f64>().sqrt())
    }
}

/// A group's forward pass: what the backward pass needs of it.
struct Forward {
    /// The input of each block, and what the last one gave, `[rows, hidden]`.
    inputs: Vec<Tensor<2>>,
    packing: Packing,
    /// Rows whose hidden states predict a token, and the tokens that they predict.
    rows: Vec<usize>,
    tokens: Vec<u32>,
    /// Of each picture.
    pictures: Vec<SeenPicture>,
    /// Where each picture's tokens start.
    starts: Vec<usize>,
}

/// A picture's way through the tower.
struct SeenPicture {
    inputs: Vec<Tensor<2>>,
    route: Route,
    tokens: usize,
}

impl Model {
    fn pass(&self, group: &Answered<'_>, adapter: Option<&Adapter>) -> Result<Forward, QwenError> {
        if group.answers.iter().any(|answer| answer.is_empty()) || group.answers.is_empty() {
            return Err(QwenError::EmptyAnswer);
        }
        let mut pictures = Vec::with_capacity(group.prompt.pictures.len());
        let mut seen = Vec::with_capacity(group.prompt.pictures.len());
        for (i, patches) in group.prompt.pictures.iter().enumerate() {
            let (mut x, route) = self.vision.embed(i, patches)?;
            let mut inputs = Vec::with_capacity(self.vision.depth() + 1);
            for i in 0..self.vision.depth() {
                inputs.push(x.clone());
                x = self.vision.block(i, x, &route, adapter);
            }
            inputs.push(x.clone());
            let x = self.vision.merge(x, &route, adapter);
            pictures.push(SeenPicture { inputs, route, tokens: x.dims()[0] });
            seen.push(x);
        }
        let embedded = self.embed(group.prompt, seen)?;
        let starts = self.picture_starts(group.prompt);

        let (prompt, longest) = (group.prompt.ids.len(), group.rows());
        let mut padded = Vec::with_capacity(group.answers.len() * longest);
        let (mut rows, mut tokens) = (Vec::new(), Vec::new());
        for (number, answer) in group.answers.iter().enumerate() {
            padded.extend((0..longest).map(|i| answer.get(i).copied().unwrap_or(0)));
            for (i, &token) in answer.iter().enumerate() {
                // The row before a token predicts it; before the first stands the prompt.
                rows.push(if i == 0 { prompt - 1 } else { prompt + number * longest + i - 1 });
                tokens.push(token);
            }
        }
        let x = Tensor::cat(vec![embedded.x, self.text.embed(&padded)?], 0);
        let packing =
            self.text.packing(&embedded.positions, embedded.next, group.answers.len(), longest);
        let mut inputs = vec![x];
        for i in 0..self.text.depth() {
            let x = inputs[i].clone();
            inputs.push(self.text.block(i, x, &packing, adapter).0);
        }
        Ok(Forward { inputs, packing, rows, tokens, pictures, starts })
    }

    /// Log-probabilities of the answers' tokens one after another, padding left out, at a
    /// temperature.
    fn score(
        &self,
        pass: &Forward,
        temperature: f64,
        adapter: Option<&Adapter>,
    ) -> Result<Vec<f32>, QwenError> {
        let last = &pass.inputs[self.text.depth()];
        let mut parts = Vec::new();
        for chunk in Text::chunks(pass.rows.len()) {
            let x = self.text.rows(last.clone(), &pass.rows[chunk.clone()]);
            let tokens = &pass.tokens[chunk];
            parts.push(self.text.log_probabilities(x, tokens, temperature, adapter));
        }
        read(Tensor::cat(parts, 0))
    }

    /// Log-probabilities `[answers, rows]` of the answers' tokens, row by row, 0 at padding.
    /// Without an adapter they are the reference policy's.
    ///
    /// # Errors
    /// When prompt and pictures do not fit together or an answer is empty.
    pub fn log_probabilities(
        &self,
        group: &Answered<'_>,
        temperature: f64,
        adapter: Option<&Adapter>,
    ) -> Result<Vec<f32>, QwenError> {
        let pass = self.pass(group, adapter)?;
        Ok(spread(group, self.score(&pass, temperature, adapter)?))
    }

    /// Adds the gradient of a loss of the answers' log-probabilities to `into`.
    ///
    /// `adapter` is on a device with autodiff. `loss` gets the log-probabilities `[answers,
    /// rows]` with autodiff and which of them count; it gives a loss `[1]`, or why there is
    /// none. What is given back is the loss and the log-probabilities.
    ///
    /// # Errors
    /// As [`Model::log_probabilities`], and what `loss` refuses.
    pub fn learn<E: From<QwenError>>(
        &self,
        group: &Answered<'_>,
        temperature: f64,
        adapter: &Adapter,
        into: &mut AdapterGradients,
        loss: impl FnOnce(Tensor<2>, Tensor<2, Bool>) -> Result<Tensor<1>, E>,
    ) -> Result<(f64, Vec<f32>), E> {
        use burn::module::Module;
        let frozen = adapter.valid();
        let mut pass = self.pass(group, Some(&frozen))?;
        let logp = spread(group, self.score(&pass, temperature, Some(&frozen))?);
        drop(frozen);

        let shape = [group.answers.len(), group.rows()];
        let device = self.text.device();
        let leaf = TensorData::new(logp.clone(), shape);
        let leaf = Tensor::<2>::from_data(leaf, (device, FloatDType::F32.into()));
        let leaf = leaf.autodiff().require_grad();
        let mask = Tensor::<2, Bool>::from_data(TensorData::new(group.mask(), shape), device);
        let loss = loss(leaf.clone(), mask.autodiff())?;
        let value = f64::from(read(loss.clone().inner())?.first().copied().unwrap_or(f32::NAN));
        let slopes = match leaf.grad(&loss.backward()) {
            Some(slopes) => read(slopes)?,
            None => vec![0.0; logp.len()],
        };
        let slopes: Vec<f32> =
            slopes.into_iter().zip(group.mask()).filter_map(|(s, m)| m.then_some(s)).collect();
        self.backward(&mut pass, &slopes, temperature, adapter, into)?;
        Ok((value, logp))
    }

    /// `slopes`: the derivative of the loss by the log-probability of each token.
    fn backward(
        &self,
        pass: &mut Forward,
        slopes: &[f32],
        temperature: f64,
        adapter: &Adapter,
        into: &mut AdapterGradients,
    ) -> Result<(), QwenError> {
        let text = &self.text;
        let depth = text.depth();
        let last = pass.inputs.pop().ok_or_else(|| QwenError::Device("no pass".into()))?;
        let mut slope = last.zeros_like();
        for chunk in Text::chunks(pass.rows.len()) {
            let rows = &pass.rows[chunk.clone()];
            let x = text.rows(last.clone(), rows).autodiff().require_grad();
            let tokens = &pass.tokens[chunk.clone()];
            let logp = text.log_probabilities(x.clone(), tokens, temperature, Some(adapter));
            let n = chunk.len();
            let slopes = TensorData::new(slopes[chunk].to_vec(), [n]);
            let slopes = Tensor::<1>::from_data(slopes, (text.device(), FloatDType::F32.into()));
            let gradients = (logp * slopes.autodiff()).sum().backward();
            into.add(adapter, &gradients);
            if let Some(of_rows) = x.grad(&gradients) {
                slope = text.add_rows(slope, rows, of_rows);
            }
        }
        let sees = adapter.touches(self.vision.slots());
        for i in (0..depth).rev() {
            let goes_on = sees || (0..i).any(|j| adapter.touches(text.block_slots(j)));
            if !goes_on && !adapter.touches(text.block_slots(i)) {
                return Ok(());
            }
            let Some(x) = pass.inputs.pop() else { break };
            let Some(below) = again(x, &slope, goes_on, adapter, into, |x| {
                text.block(i, x, &pass.packing, Some(adapter)).0
            }) else {
                return Ok(());
            };
            slope = below;
        }
        if !sees {
            return Ok(());
        }
        for (picture, &start) in pass.pictures.iter_mut().zip(&pass.starts) {
            let of_picture = slope.clone().narrow(0, start, picture.tokens);
            self.backward_picture(picture, of_picture, adapter, into);
        }
        Ok(())
    }

    fn backward_picture(
        &self,
        picture: &mut SeenPicture,
        mut slope: Tensor<2>,
        adapter: &Adapter,
        into: &mut AdapterGradients,
    ) {
        let route = &picture.route;
        for i in (0..=self.vision.depth()).rev() {
            let Some(x) = picture.inputs.pop() else { return };
            let goes_on = (0..i).any(|j| adapter.touches(self.vision.block_slots(j)));
            let below = again(x, &slope, goes_on, adapter, into, |x| {
                if i == self.vision.depth() {
                    self.vision.merge(x, route, Some(adapter))
                } else {
                    self.vision.block(i, x, route, Some(adapter))
                }
            });
            let Some(below) = below else { return };
            slope = below;
        }
    }
}

/// Runs a block once more on its input and takes the slope through it: the adapter's
/// gradients go to `into`, the input's is given back where it `goes_on`.
fn again(
    x: Tensor<2>,
    slope: &Tensor<2>,
    goes_on: bool,
    adapter: &Adapter,
    into: &mut AdapterGradients,
    block: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Option<Tensor<2>> {
    let x = x.autodiff().set_require_grad(goes_on);
    let y = block(x.clone());
    if !y.is_tracked() {
        return None;
    }
    let gradients = (y * slope.clone().autodiff()).cast(FloatDType::F32).sum().backward();
    into.add(adapter, &gradients);
    x.grad(&gradients)
}

/// One value for each token of `group`, spread over `[answers, rows]` with 0 at padding.
fn spread(group: &Answered<'_>, values: Vec<f32>) -> Vec<f32> {
    let mut values = values.into_iter();
    group.mask().into_iter().map(|m| if m { values.next().unwrap_or(0.0) } else { 0.0 }).collect()
}

fn read<const D: usize>(x: Tensor<D>) -> Result<Vec<f32>, QwenError> {
    x.try_into_vec_as::<f32>().map_err(|error| QwenError::Device(error.to_string()))
}
