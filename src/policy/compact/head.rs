//! The part of the compact policy that learns: it scores candidate answers from frozen
//! features, with the symmetries of the tasks built in.
//!
//! * Reordering: a score for "this patch stands left of / above that one" from the features
//!   along their touching borders, plus a score for "this patch belongs in that place". A
//!   permutation's score is the sum, for any grid.
//! * Flip: each patch is turned back in thought; the turned borders are compared with the
//!   neighbours'.
//! * Hole: each option's borders against the features around the hole, by the same scorer.
//! * Depth and position share one farness score a point, in units of log depth. An order is
//!   Plackett-Luce over the scores (Plackett 1975); a direction is read off the bearing that
//!   the difference of two scores gives together with the two rays.

use burn::{
    Tensor,
    module::{Module, Param},
    nn::{Linear, LinearConfig},
    tensor::{Device, activation},
};

use super::geometry::{self, BINS};

/// Sizes of the head, fixed by the encoder and the configuration.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HeadShape {
    /// Values at one place of a border.
    pub border_channels: usize,
    /// Places along a border.
    pub border_places: usize,
    /// Values of a patch's context.
    pub context_channels: usize,
    /// Values at a marked point.
    pub point_channels: usize,
    /// Width of the border embedding.
    pub border_dim: usize,
    /// Width of the pair scorers' hidden layer.
    pub pair_dim: usize,
    /// Widths of the farness scorer's hidden layers.
    pub far_dims: [usize; 2],
}

/// Two linear layers with a GELU between.
#[derive(Module, Debug)]
pub struct Mlp {
    inner: Linear,
    outer: Linear,
}

impl Mlp {
    fn new(input: usize, hidden: usize, output: usize, device: &Device) -> Self {
        Mlp {
            inner: LinearConfig::new(input, hidden).init(device),
            outer: LinearConfig::new(hidden, output).init(device),
        }
    }

    /// `[.., input]` to `[.., output]`.
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.outer.forward(activation::gelu(self.inner.forward(x)))
    }
}

/// Mean and scale by which one kind of feature is brought to unit size, `[channels]` each.
/// Measured once, on the first observations; never learnt.
#[derive(Module, Debug)]
pub struct Scaler {
    mean: Param<Tensor<1>>,
    scale: Param<Tensor<1>>,
}

impl Scaler {
    fn new(channels: usize, device: &Device) -> Self {
        Scaler {
            mean: Param::from_tensor(Tensor::zeros([channels], device)).set_require_grad(false),
            scale: Param::from_tensor(Tensor::ones([channels], device)).set_require_grad(false),
        }
    }

    /// Takes the measured mean and standard deviation of each channel.
    pub(super) fn set(&mut self, mean: Vec<f32>, std: &[f32], device: &Device) {
        let scale: Vec<f32> = std.iter().map(|std| 1.0 / (std + 1e-3)).collect();
        let param = |values: Vec<f32>| {
            let values = Tensor::<1>::from_floats(values.as_slice(), device);
            Param::from_tensor(values).set_require_grad(false)
        };
        self.mean = param(mean);
        self.scale = param(scale);
    }

    pub(super) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        (x - self.mean.val().unsqueeze()) * self.scale.val().unsqueeze()
    }
}

/// The learning part of the compact policy.
#[derive(Module, Debug)]
pub struct Head {
    pub(super) border_scaler: Scaler,
    pub(super) context_scaler: Scaler,
    pub(super) point_scaler: Scaler,
    border: Linear,
    /// "the first stands left of the second"
    beside: Mlp,
    /// "the first stands above the second"
    above: Mlp,
    /// From a patch's context: column, row, upside down, mirrored, fills a hole.
    patch: Mlp,
    far_in: Linear,
    far_mid: Linear,
    far_out: Linear,
    /// Log of the inverse temperature of depth orders, over [`ORDER_SHARPNESS`].
    order_sharpness: Param<Tensor<1>>,
    /// Log of the spread of a difference of two farness scores, over [`FARNESS_SPREAD`].
    farness_spread: Param<Tensor<1>>,
}

/// Where these two start. They are learnt as what is added, which weight decay may draw to
/// nothing without harm.
pub(super) const ORDER_SHARPNESS: f32 = 2.0;
pub(super) const FARNESS_SPREAD: f32 = -2.3;

/// What the patch scorer says, in order.
pub(super) const PATCH_SAYS: usize = 5;

impl Head {
    /// A head with random weights. Seed the device first.
    pub fn new(shape: &HeadShape, device: &Device) -> Self {
        let linear = |input, output| LinearConfig::new(input, output).init(device);
        let [far_first, far_second] = shape.far_dims;
        let constant = |value: f32| Param::from_tensor(Tensor::from_floats([value], device));
        Head {
            border_scaler: Scaler::new(shape.border_channels, device),
            context_scaler: Scaler::new(shape.context_channels, device),
            point_scaler: Scaler::new(shape.point_channels, device),
            border: linear(shape.border_channels, shape.border_dim),
            beside: Mlp::new(2 * shape.border_dim, shape.pair_dim, 1, device),
            above: Mlp::new(2 * shape.border_dim, shape.pair_dim, 1, device),
            patch: Mlp::new(shape.context_channels, shape.pair_dim, PATCH_SAYS, device),
            far_in: linear(shape.point_channels, far_first),
            far_mid: linear(far_first, far_second),
            far_out: linear(far_second, 1),
            order_sharpness: constant(0.0),
            farness_spread: constant(0.0),
        }
    }

    /// `[.., places, channels]` to `[.., places, border_dim]`.
    fn embed<const D: usize>(&self, borders: Tensor<D>) -> Tensor<D> {
        self.border.forward(self.border_scaler.forward(borders))
    }

    /// How well two rows of border features continue each other: `[n, places, border_dim]`
    /// twice to `[n]`.
    fn continues(scorer: &Mlp, a: Tensor<3>, b: Tensor<3>) -> Tensor<1> {
        let pair = Tensor::cat(vec![(a.clone() - b.clone()).abs(), a * b], 2);
        scorer.forward(pair).mean_dim(1).flatten(0, 2)
    }

    /// Scores of all arrangements, `[batch, n!]`, in the order of the candidates.
    ///
    /// `borders` is `[batch, n, 4, places, channels]`, `context` `[batch, n, channels]`,
    /// `seen` `[batch, n]` is 1 for a patch and 0 for a white one.
    pub fn arrange(
        &self,
        borders: Tensor<5>,
        context: Tensor<3>,
        seen: Tensor<2>,
        grid: (usize, usize),
    ) -> Tensor<2> {
        let [batch, n, _, places, _] = borders.dims();
        let device = borders.device();
        let seen_border = seen.clone().reshape([batch, n, 1, 1, 1]);
        let e = self.embed(borders) * seen_border;
        let dim = e.dims()[4];
        let side = |side: usize| e.clone().narrow(2, side, 1).reshape([batch, n, places, dim]);
        // [batch, first, second, places, dim] -> [batch, n * n]
        let pairs = |scorer: &Mlp, first: Tensor<4>, second: Tensor<4>| {
            let first = first.unsqueeze_dim::<5>(2).expand([batch, n, n, places, dim]);
            let second = second.unsqueeze_dim::<5>(1).expand([batch, n, n, places, dim]);
            let shape = [batch * n * n, places, dim];
            Self::continues(scorer, first.reshape(shape), second.reshape(shape))
                .reshape([batch, n * n])
        };
        let (rows, cols) = grid;
        let mut parts = Vec::new();
        if cols > 1 {
            parts.push(pairs(&self.beside, side(1), side(0)));
        }
        if rows > 1 {
            parts.push(pairs(&self.above, side(3), side(2)));
        }
        // A white patch says nothing about its place.
        let says =
            self.patch.forward(self.context_scaler.forward(context)) * seen.unsqueeze_dim::<3>(2);
        parts.push(says.clone().narrow(2, 0, 1).reshape([batch, n]));
        parts.push(says.narrow(2, 1, 1).reshape([batch, n]));
        let layout = geometry::arrangement_matrix(rows, cols);
        Tensor::cat(parts, 1).matmul(geometry::tensor(&layout, &device))
    }

    /// Scores of "patch p is upside down" and "patch p is mirrored" for each patch,
    /// `[batch, 2 n]`, in the order of the candidates. Shapes as in [`Head::arrange`].
    pub fn find_flip(
        &self,
        borders: Tensor<5>,
        context: Tensor<3>,
        grid: (usize, usize),
    ) -> Tensor<2> {
        let [batch, n, _, places, _] = borders.dims();
        let device = borders.device();
        let e = self.embed(borders);
        let dim = e.dims()[4];
        let plan = geometry::flip_plan(grid.0, grid.1);
        // The border of `patch` that lies at `side` after it is turned back.
        let border = |patch: usize, view: geometry::View| {
            let row =
                e.clone().narrow(1, patch, 1).narrow(2, view.side, 1).reshape([batch, places, dim]);
            if view.reversed { row.flip([1]) } else { row }
        };
        let mut parts = Vec::new();
        for (scorer, edges) in [(&self.beside, &plan.beside), (&self.above, &plan.above)] {
            if edges.is_empty() {
                continue;
            }
            let side = |end: fn(&geometry::Edge) -> (usize, geometry::View)| {
                let rows = edges.iter().map(|edge| {
                    let (patch, view) = end(edge);
                    border(patch, view)
                });
                Tensor::cat(rows.collect(), 0)
            };
            let scores = Self::continues(scorer, side(|e| e.first), side(|e| e.second));
            parts.push(scores.reshape([edges.len(), batch]).transpose());
        }
        let says = self.patch.forward(self.context_scaler.forward(context));
        parts.push(says.clone().narrow(2, 2, 1).reshape([batch, n]));
        parts.push(says.narrow(2, 3, 1).reshape([batch, n]));
        Tensor::cat(parts, 1).matmul(geometry::tensor(&plan.matrix, &device))
    }

    /// Scores of the options, `[batch, options]`.
    ///
    /// `ring` is `[batch, 4, places, channels]` around the hole, `open` `[batch, 4]` is 1
    /// where the picture goes on beyond that side, `borders` is
    /// `[batch, options, 4, places, channels]`, `context` `[batch, options, channels]`.
    pub fn fill_hole(
        &self,
        ring: Tensor<4>,
        open: Tensor<2>,
        borders: Tensor<5>,
        context: Tensor<3>,
    ) -> Tensor<2> {
        let [batch, options, sides, places, _] = borders.dims();
        let ring = self.embed(ring);
        let inside = self.embed(borders);
        let dim = ring.dims()[3];
        let ring = ring.unsqueeze_dim::<5>(1).expand([batch, options, sides, places, dim]);
        let at = |of: &Tensor<5>, side: usize| {
            of.clone().narrow(2, side, 1).reshape([batch * options, places, dim])
        };
        // Left, right, top, bottom; the scorer takes "left of" and "above" in that order.
        let scores = [
            Self::continues(&self.beside, at(&ring, 0), at(&inside, 0)),
            Self::continues(&self.beside, at(&inside, 1), at(&ring, 1)),
            Self::continues(&self.above, at(&ring, 2), at(&inside, 2)),
            Self::continues(&self.above, at(&inside, 3), at(&ring, 3)),
        ];
        let scores = scores.map(|score| score.reshape([batch, options, 1]));
        let open = open.unsqueeze_dim::<3>(1).expand([batch, options, sides]);
        let fits = (Tensor::cat(scores.to_vec(), 2) * open).sum_dim(2);
        let says = self.patch.forward(self.context_scaler.forward(context)).narrow(2, 4, 1);
        (fits + says).reshape([batch, options])
    }

    /// How far each point is, in units of log depth up to one offset a picture: `[n,
    /// channels]` to `[n]`. `keep`, of the same shape as `points`, scales each scaled input.
    pub fn farness(&self, points: Tensor<2>, keep: Option<Tensor<2>>) -> Tensor<1> {
        let x = self.point_scaler.forward(points);
        let x = match keep {
            Some(keep) => x * keep,
            None => x,
        };
        let x = activation::gelu(self.far_in.forward(x));
        let x = activation::gelu(self.far_mid.forward(x));
        self.far_out.forward(x).flatten(0, 1)
    }

    /// The inverse temperature of depth orders.
    pub fn order_sharpness(&self) -> Tensor<1> {
        (self.order_sharpness.val() + ORDER_SHARPNESS).exp()
    }

    /// The standard deviation of a difference of two farness scores, log depth.
    pub fn farness_spread(&self) -> Tensor<1> {
        (self.farness_spread.val() + FARNESS_SPREAD).exp()
    }

    /// Scores of all orders from nearest to farthest, `[batch, n!]`: log-probabilities under
    /// Plackett-Luce with the nearness as worth. `farness` is `[batch, n]`.
    pub fn order(&self, farness: Tensor<2>) -> Tensor<2> {
        let [batch, n] = farness.dims();
        let device = farness.device();
        let worth = -farness * self.order_sharpness().unsqueeze();
        let orders = geometry::permutations(n);
        let count = orders.len();
        let index: Vec<i64> = orders.iter().flatten().map(|&at| at as i64).collect();
        let index = Tensor::<1, burn::tensor::Int>::from_data(index.as_slice(), &device);
        let ordered = worth.select(1, index).reshape([batch, count, n]);
        let mut score = Tensor::<3>::zeros([batch, count, 1], &device);
        for first in 0..n.saturating_sub(1) {
            let rest = ordered.clone().narrow(2, first, n - first);
            score = score + activation::log_softmax(rest, 2).narrow(2, 0, 1);
        }
        score.reshape([batch, count])
    }

    /// Scores of the offered directions, `[batch, options]`.
    ///
    /// `farness` is `[batch, 2]` (observer, target); `consistent` is `[batch, BINS,
    /// options]`: 1 where a log depth ratio in that bin makes that option right.
    pub fn direction(&self, farness: Tensor<2>, consistent: Tensor<3>) -> Tensor<2> {
        let [batch, bins, options] = consistent.dims();
        debug_assert_eq!(bins, BINS);
        let device = farness.device();
        let ratio = farness.clone().narrow(1, 1, 1) - farness.narrow(1, 0, 1);
        let centres = geometry::bin_centres();
        let centres = Tensor::<1>::from_floats(centres.as_slice(), &device).unsqueeze::<2>();
        let spread = self.farness_spread().unsqueeze::<2>();
        let off = (ratio - centres) / spread;
        let weights = activation::softmax(-(off.clone() * off) * 0.5, 1);
        let mass = weights.reshape([batch, 1, bins]).matmul(consistent);
        (mass.reshape([batch, options]) + geometry::LEAST_MASS).log()
    }
}
