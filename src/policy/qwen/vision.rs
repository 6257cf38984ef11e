//! The vision tower: patches of one picture in, one vector for each 2 x 2 patches out.
//!
//! Most blocks attend within windows only. The patches are put in an order in which windows
//! of one size stand together, so that their attention is one batched product each and no
//! mask over all pairs of patches is ever made. The tower of Qwen2-VL has no windows: one order
//! serves it as well as another, so it goes through the same steps.

use burn::{
    Tensor,
    tensor::{Device, FloatDType, Int, TensorData, activation},
};

use super::{
    QwenConfig, QwenError, attention,
    config::Tower,
    layers::{Loader, Mlp, Norm, PlainMlp},
    linear::{Adapter, Linear},
    rope::{PositionRule, Rope},
};

/// One picture as the processor gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Patches {
    /// Patches along time (1), height and width.
    pub grid: [usize; 3],
    /// `[patches, 3 * 2 * 14 * 14]`, patches of one merged token next to each other.
    pub pixels: Vec<f32>,
}

/// Windows of one size that stand next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Windows {
    start: usize,
    count: usize,
    patches: usize,
}

/// The order in which a picture's tokens go through the tower.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Order {
    /// Which merged token comes at each place.
    tokens: Vec<usize>,
    windows: Vec<Windows>,
}

impl Order {
    /// `side` is a window's, in merged tokens.
    fn new([rows, cols]: [usize; 2], side: usize, unit: usize) -> Self {
        let mut windows = Vec::new();
        for top in (0..rows).step_by(side) {
            for left in (0..cols).step_by(side) {
                let cells = (top..rows.min(top + side))
                    .flat_map(|r| (left..cols.min(left + side)).map(move |c| r * cols + c));
                windows.push(cells.collect::<Vec<usize>>());
            }
        }
        windows.sort_by_key(Vec::len);
        let mut classes: Vec<Windows> = Vec::new();
        let mut start = 0;
        for window in &windows {
            let patches = window.len() * unit;
            match classes.last_mut().filter(|class| class.patches == patches) {
                Some(class) => class.count += 1,
                None => classes.push(Windows { start, count: 1, patches }),
            }
            start += patches;
        }
        Order { tokens: windows.into_iter().flatten().collect(), windows: classes }
    }

    /// Where each merged token, in reading order, went.
    fn back(&self) -> Vec<usize> {
        let mut back = vec![0; self.tokens.len()];
        self.tokens.iter().enumerate().for_each(|(place, &token)| back[token] = place);
        back
    }
}

/// Everything about a picture that the blocks need beside their input.
pub struct Route {
    order: Order,
    rope: Rope,
}

/// The feed-forward layers of a block.
#[derive(Debug)]
enum Feed {
    Gated(Box<Mlp>),
    Plain(Box<PlainMlp>),
}

impl Feed {
    fn forward(&self, x: Tensor<2>, adapter: Option<&Adapter>) -> Tensor<2> {
        match self {
            Feed::Gated(mlp) => mlp.forward(x, adapter),
            Feed::Plain(mlp) => mlp.forward(x, adapter),
        }
    }

    fn slots(&self) -> Vec<usize> {
        match self {
            Feed::Gated(mlp) => mlp.slots().collect(),
            Feed::Plain(mlp) => mlp.slots().collect(),
        }
    }
}

#[derive(Debug)]
struct Block {
    norm1: Norm,
    norm2: Norm,
    qkv: Linear,
    proj: Linear,
    mlp: Feed,
    heads: usize,
    full: bool,
}

impl Block {
    /// `[patches, hidden]` to the same.
    fn forward(&self, x: Tensor<2>, route: &Route, adapter: Option<&Adapter>) -> Tensor<2> {
        let [rows, hidden] = x.dims();
        let dim = hidden / self.heads;
        let qkv = self.qkv.forward(self.norm1.forward(x.clone()), adapter);
        let part =
            |i: usize| qkv.clone().narrow(1, i * hidden, hidden).reshape([rows, self.heads, dim]);
        let (q, k, v) = (route.rope.apply(part(0)), route.rope.apply(part(1)), part(2));
        let whole = [Windows { start: 0, count: 1, patches: rows }];
        let windows = if self.full { &whole[..] } else { &route.order.windows };
        let attended = windows.iter().map(|w| {
            let batch = |x: &Tensor<3>| {
                let x = x.clone().narrow(0, w.start, w.count * w.patches);
                x.reshape([w.count, w.patches, self.heads, dim]).swap_dims(1, 2)
            };
            let out = attention::full(batch(&q), batch(&k), batch(&v));
            out.swap_dims(1, 2).reshape([w.count * w.patches, hidden])
        });
        let attended = Tensor::cat(attended.collect(), 0);
        let x = x + self.proj.forward(attended, adapter);
        x.clone() + self.mlp.forward(self.norm2.forward(x), adapter)
    }

    fn slots(&self) -> impl Iterator<Item = usize> {
        [self.qkv.slot(), self.proj.slot()].into_iter().chain(self.mlp.slots())
    }
}

/// The vision tower and the merger behind it.
#[derive(Debug)]
pub struct Vision {
    patch_embed: Linear,
    blocks: Vec<Block>,
    norm: Norm,
    merge_in: Linear,
    merge_out: Linear,
    rule: PositionRule,
    /// A window's side in merged tokens.
    window: usize,
    /// Values of one patch.
    patch_values: usize,
    head_dim: usize,
    device: Device,
    dtype: FloatDType,
}

impl Vision {
    /// Loads the tower.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(config: &QwenConfig, loader: &mut Loader<'_>) -> Result<Self, QwenError> {
        let vision = &config.vision;
        let (hidden, unit) = (vision.hidden, vision.merge * vision.merge);
        let patch_values = vision.channels * vision.temporal_patch * vision.patch * vision.patch;
        let norm = |loader: &mut Loader<'_>, name: &str| match vision.tower {
            Tower::Qwen2_5 => loader.norm(name, hidden, 1e-6),
            Tower::Qwen2 => loader.layer_norm(name, hidden, 1e-6),
        };
        let inner = vision.intermediate;
        let feed = |loader: &mut Loader<'_>, name: &str| match vision.tower {
            Tower::Qwen2_5 => {
                Mlp::load(loader, name, hidden, inner, true).map(|mlp| Feed::Gated(mlp.into()))
            }
            Tower::Qwen2 => {
                PlainMlp::load(loader, name, hidden, inner).map(|mlp| Feed::Plain(mlp.into()))
            }
        };
        let patch_embed = loader.patch_embed("model.visual.patch_embed.proj", vision)?;
        let mut blocks = Vec::with_capacity(vision.depth);
        for i in 0..vision.depth {
            let at = |part: &str| format!("model.visual.blocks.{i}.{part}");
            blocks.push(Block {
                norm1: norm(loader, &at("norm1"))?,
                norm2: norm(loader, &at("norm2"))?,
                qkv: loader.linear(&at("attn.qkv"), hidden, 3 * hidden, true)?,
                proj: loader.linear(&at("attn.proj"), hidden, hidden, true)?,
                mlp: feed(loader, &at("mlp"))?,
                heads: vision.heads,
                full: vision.full_blocks.contains(&i),
            });
        }
        let merged = hidden * unit;
        Ok(Vision {
            patch_embed,
            blocks,
            norm: norm(loader, "model.visual.merger.ln_q")?,
            merge_in: loader.linear("model.visual.merger.mlp.0", merged, merged, true)?,
            merge_out: loader.linear("model.visual.merger.mlp.2", merged, vision.out, true)?,
            rule: PositionRule { image_token: config.image_token, merge: vision.merge },
            window: (vision.window / vision.merge / vision.patch).max(1),
            patch_values,
            head_dim: hidden / vision.heads,
            device: loader.device().clone(),
            dtype: loader.dtype(),
        })
    }

    /// The first vectors of a picture's patches, `[patches, hidden]`, and its route through
    /// the blocks.
    ///
    /// # Errors
    /// When grid and pixels disagree.
    pub fn embed(
        &self,
        picture: usize,
        patches: &Patches,
    ) -> Result<(Tensor<2>, Route), QwenError> {
        let [rows, cols] = self.rule.merged(picture, &patches.grid)?;
        let merge = self.rule.merge;
        let unit = merge * merge;
        let count = rows * cols * unit;
        if patches.pixels.len() != count * self.patch_values {
            return Err(QwenError::Pixels {
                picture,
                grid: patches.grid,
                needed: count * self.patch_values,
                got: patches.pixels.len(),
            });
        }
        let order = Order::new([rows, cols], self.window, unit);
        let mut pixels = Vec::with_capacity(patches.pixels.len());
        let mut places = Vec::with_capacity(count);
        let values = unit * self.patch_values;
        for &token in &order.tokens {
            pixels.extend_from_slice(&patches.pixels[token * values..(token + 1) * values]);
            let (top, left) = (token / cols * merge, token % cols * merge);
            places.extend((0..unit).map(|i| [top + i / merge, left + i % merge].map(|p| p as u32)));
        }
        let pixels = TensorData::new(pixels, [count, self.patch_values]);
        let x = Tensor::<2>::from_data(pixels, (&self.device, self.dtype.into()));
        let rope = Rope::patches(&places, self.head_dim, &self.device);
        Ok((self.patch_embed.forward(x, None), Route { order, rope }))
    }

    /// How many blocks there are.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Block `i`, `[patches, hidden]` to the same.
    pub fn block(
        &self,
        i: usize,
        x: Tensor<2>,
        route: &Route,
        adapter: Option<&Adapter>,
    ) -> Tensor<2> {
        self.blocks[i].forward(x, route, adapter)
    }

    /// What the language model sees: `[patches, hidden]` to `[patches / 4, text hidden]`, in
    /// reading order.
    pub fn merge(&self, x: Tensor<2>, route: &Route, adapter: Option<&Adapter>) -> Tensor<2> {
        let [rows, hidden] = x.dims();
        let unit = self.rule.merge * self.rule.merge;
        let x = self.norm.forward(x).reshape([rows / unit, hidden * unit]);
        let x =
            self.merge_out.forward(activation::gelu(self.merge_in.forward(x, adapter)), adapter);
        let back: Vec<i32> = route.order.back().into_iter().map(|place| place as i32).collect();
        let n = back.len();
        let back = Tensor::<1, Int>::from_data(TensorData::new(back, [n]), &self.device);
        x.select(0, back)
    }

    /// One picture, `[patches / 4, text hidden]`.
    ///
    /// # Errors
    /// When grid and pixels disagree.
    pub fn forward(
        &self,
        picture: usize,
        patches: &Patches,
        adapter: Option<&Adapter>,
    ) -> Result<Tensor<2>, QwenError> {
        let (mut x, route) = self.embed(picture, patches)?;
        for block in &self.blocks {
            x = block.forward(x, &route, adapter);
        }
        Ok(self.merge(x, &route, adapter))
    }

    /// The layers of block `i`, by number.
    pub fn block_slots(&self, i: usize) -> impl Iterator<Item = usize> {
        self.blocks[i].slots()
    }

    /// Every layer of the tower, by number.
    pub fn slots(&self) -> impl Iterator<Item = usize> {
        let ends = [&self.merge_in, &self.merge_out];
        ends.map(Linear::slot).into_iter().chain(self.blocks.iter().flat_map(Block::slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qwen_windows_of_one_size_stand_together_and_every_token_comes_once() {
        for (rows, cols) in [(1, 1), (4, 4), (5, 7), (3, 9), (8, 12), (17, 2)] {
            let order = Order::new([rows, cols], 4, 4);
            let mut tokens = order.tokens.clone();
            tokens.sort_unstable();
            assert!(tokens.iter().copied().eq(0..rows * cols), "{rows}x{cols}");
            let mut start = 0;
            for w in &order.windows {
                assert_eq!(w.start, start);
                start += w.count * w.patches;
            }
            assert_eq!(start, rows * cols * 4);
            assert!(order.windows.len() <= 4, "{:?}", order.windows);
            let back = order.back();
            assert!((0..rows * cols).all(|token| order.tokens[back[token]] == token));
        }
    }
}
