//! The whole network: a prompt with its pictures in, hidden states out.

use std::path::Path;

use burn::{
    Tensor,
    tensor::{Device, FloatDType},
};

use super::{
    QwenConfig, QwenError,
    layers::{Loader, TensorSource},
    linear::{Adapter, LinearShape},
    rope::{Position, PositionRule},
    text::{KeysValues, Text},
    vision::{Patches, Vision},
    weights::Checkpoint,
};

/// A prompt as tokens and patches.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// Tokens; each picture stands as one image token for each 2 x 2 patches.
    pub ids: Vec<u32>,
    /// The pictures in their order.
    pub pictures: Vec<Patches>,
}

/// A prompt's first vectors.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// `[tokens, hidden]`.
    pub x: Tensor<2>,
    /// One for each token.
    pub positions: Vec<Position>,
    /// The first position behind the prompt.
    pub next: u32,
}

/// A frozen Qwen2.5-VL.
#[derive(Debug)]
pub struct Model {
    /// The vision tower.
    pub vision: Vision,
    /// The language model.
    pub text: Text,
    layers: Vec<LinearShape>,
    rule: PositionRule,
}

impl Model {
    /// Loads the checkpoint in `folder`; its weights are kept in `dtype` on `device`. A tensor
    /// that belongs to no part of the model is an error too.
    ///
    /// # Errors
    /// When the weights are damaged, or a tensor is missing, misshapen or left over.
    pub fn open(
        folder: &Path,
        config: &QwenConfig,
        device: Device,
        dtype: FloatDType,
    ) -> Result<Self, QwenError> {
        let mut checkpoint = Checkpoint::open(folder)?;
        let mut source = |name: &str, shape: &[usize]| Ok(checkpoint.tensor(name, shape)?);
        let model = Self::load(config, &mut source, device, dtype)?;
        checkpoint.finish(config.tied)?;
        Ok(model)
    }

    /// Loads a model; its weights are kept in `dtype` on `device`.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load<'a>(
        config: &QwenConfig,
        source: &'a mut TensorSource<'a>,
        device: Device,
        dtype: FloatDType,
    ) -> Result<Self, QwenError> {
        let mut loader = Loader::new(source, device, dtype);
        let vision = Vision::load(config, &mut loader)?;
        let text = Text::load(config, &mut loader)?;
        Ok(Model {
            vision,
            text,
            layers: loader.into_layers(),
            rule: PositionRule { image_token: config.image_token, merge: config.vision.merge },
        })
    }

    /// Every linear layer that an adapter may touch.
    pub fn layers(&self) -> &[LinearShape] {
        &self.layers
    }

    /// Positions of a prompt's tokens, and the first one behind them.
    ///
    /// # Errors
    /// When image tokens and pictures disagree.
    pub fn positions(&self, prompt: &Prompt) -> Result<(Vec<Position>, u32), QwenError> {
        let grids: Vec<[usize; 3]> = prompt.pictures.iter().map(|p| p.grid).collect();
        self.rule.positions(&prompt.ids, &grids)
    }

    /// What the language model gets of each picture, `[tokens, hidden]`.
    ///
    /// # Errors
    /// When a grid and its pixels disagree.
    pub fn see(
        &self,
        prompt: &Prompt,
        adapter: Option<&Adapter>,
    ) -> Result<Vec<Tensor<2>>, QwenError> {
        let pictures = prompt.pictures.iter().enumerate();
        pictures.map(|(i, patches)| self.vision.forward(i, patches, adapter)).collect()
    }

    /// The prompt's first vectors, with `seen` in the pictures' places.
    ///
    /// # Errors
    /// When the prompt is empty, or image tokens and pictures disagree.
    pub fn embed(&self, prompt: &Prompt, seen: Vec<Tensor<2>>) -> Result<Embedded, QwenError> {
        if prompt.ids.is_empty() {
            return Err(QwenError::EmptyPrompt);
        }
        let (positions, next) = self.positions(prompt)?;
        let words = self.text.embed(&prompt.ids)?;
        let mut parts = Vec::with_capacity(2 * seen.len() + 1);
        let mut at = 0;
        for (start, seen) in self.picture_starts(prompt).into_iter().zip(seen) {
            if start > at {
                parts.push(words.clone().narrow(0, at, start - at));
            }
            at = start + seen.dims()[0];
            parts.push(seen);
        }
        if at < prompt.ids.len() {
            parts.push(words.narrow(0, at, prompt.ids.len() - at));
        }
        Ok(Embedded { x: Tensor::cat(parts, 0), positions, next })
    }

    /// Where each picture's tokens start. The prompt must have been checked by
    /// [`Model::positions`].
    pub fn picture_starts(&self, prompt: &Prompt) -> Vec<usize> {
        let unit = self.rule.merge * self.rule.merge;
        let mut starts = Vec::with_capacity(prompt.pictures.len());
        let mut at = 0;
        for picture in &prompt.pictures {
            let ids = prompt.ids.iter().enumerate().skip(at);
            let Some((start, _)) = ids.into_iter().find(|(_, id)| **id == self.rule.image_token)
            else {
                break;
            };
            starts.push(start);
            at = start + picture.grid.iter().product::<usize>() / unit;
        }
        starts
    }

    /// Runs a prompt: its hidden states `[tokens, hidden]` and every block's keys and values.
    pub fn prefill(
        &self,
        prompt: &Embedded,
        adapter: Option<&Adapter>,
    ) -> (Tensor<2>, Vec<KeysValues>) {
        let packing = self.text.packing(&prompt.positions, prompt.next, 0, 0);
        let mut x = prompt.x.clone();
        let mut kept = Vec::with_capacity(self.text.depth());
        for i in 0..self.text.depth() {
            let (y, kv) = self.text.block(i, x, &packing, adapter);
            x = y;
            kept.push(kv);
        }
        (x, kept)
    }
}
