//! From observations of one shape to tensors, and through the head to scores.

use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use half::f16;
use rand::Rng as _;

use super::{
    geometry::{BINS, Placement},
    head::{Head, HeadShape},
    observe::{Evidence, Observation, PatchFeatures, SIDES},
};
use crate::task::{Question, seed};

/// What observations must share to be scored together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// A shuffled grid: rows, columns.
    Arrange(usize, usize),
    /// A grid with a flipped patch: rows, columns.
    Flip(usize, usize),
    /// This many options.
    Hole(usize),
    /// This many points.
    Order(usize),
    /// An observer, a target and this many directions.
    Direction(usize),
}

impl Shape {
    /// The shape of an observation.
    pub fn of(observation: &Observation) -> Shape {
        match &observation.question {
            Question::Arrange { rows, cols, .. } => {
                Shape::Arrange(usize::from(*rows), usize::from(*cols))
            }
            Question::FindFlip { rows, cols } => {
                Shape::Flip(usize::from(*rows), usize::from(*cols))
            }
            Question::FillHole { options, .. } => Shape::Hole(usize::from(*options)),
            Question::OrderPoints { points } => Shape::Order(points.len()),
            Question::RelativePosition { options, .. } => Shape::Direction(options.len()),
        }
    }
}

/// Inputs of the farness scorer that are dropped while learning (dropout, Srivastava 2014),
/// by a seed for each observation: answers are sampled from the policy that is updated.
#[derive(Clone, Copy, Debug)]
pub struct Noise<'a> {
    /// Chance that an input is dropped.
    pub rate: f64,
    /// One for each observation of the batch.
    pub seeds: &'a [u64],
}

impl Noise<'_> {
    /// 0 for a dropped input, else what keeps the mean: `values` for each observation.
    fn keep(&self, values: usize) -> Vec<f32> {
        let least = (self.rate * 256.0).round().clamp(0.0, 255.0);
        let kept = (256.0 / (256.0 - least)) as f32;
        let mut keep = Vec::with_capacity(self.seeds.len() * values);
        let mut bytes = vec![0_u8; values];
        for &seed in self.seeds {
            seed::rng(seed).fill_bytes(&mut bytes);
            keep.extend(bytes.iter().map(|&b| if f64::from(b) < least { 0.0 } else { kept }));
        }
        keep
    }
}

/// Scores of every candidate, `[batch, candidates]`, for observations of one shape.
pub fn scores(
    head: &Head,
    sizes: &HeadShape,
    shape: Shape,
    observations: &[&Observation],
    noise: Option<Noise<'_>>,
    device: &Device,
) -> Tensor<2> {
    let batch = observations.len();
    match shape {
        Shape::Arrange(rows, cols) => {
            let patches = Patches::of(observations, rows * cols, sizes);
            let (borders, context, seen) = patches.tensors(device);
            head.arrange(borders, context, seen, (rows, cols))
        }
        Shape::Flip(rows, cols) => {
            let patches = Patches::of(observations, rows * cols, sizes);
            let (borders, context, _) = patches.tensors(device);
            head.find_flip(borders, context, (rows, cols))
        }
        Shape::Hole(options) => {
            let patches = Patches::of(observations, options, sizes);
            let mut ring = Vec::with_capacity(batch * sizes.border_len());
            let mut open = Vec::with_capacity(batch * SIDES);
            for observation in observations {
                if let Evidence::Hole { ring: around, .. } = &observation.evidence {
                    extend(&mut ring, &around.borders);
                    open.extend(around.open.map(|open| f32::from(u8::from(open))));
                }
            }
            let ring =
                TensorData::new(ring, [batch, SIDES, sizes.border_places, sizes.border_channels]);
            let open = TensorData::new(open, [batch, SIDES]);
            let (borders, context, _) = patches.tensors(device);
            head.fill_hole(
                Tensor::from_data(ring, device),
                Tensor::from_data(open, device),
                borders,
                context,
            )
        }
        Shape::Order(points) => {
            head.order(farness(head, sizes, observations, points, noise, device))
        }
        Shape::Direction(options) => {
            let consistent: Vec<f32> =
                observations.iter().flat_map(|observation| consistent(observation)).collect();
            let consistent = TensorData::new(consistent, [batch, BINS, options]);
            head.direction(
                farness(head, sizes, observations, 2, noise, device),
                Tensor::from_data(consistent, device),
            )
        }
    }
}

fn farness(
    head: &Head,
    sizes: &HeadShape,
    observations: &[&Observation],
    points: usize,
    noise: Option<Noise<'_>>,
    device: &Device,
) -> Tensor<2> {
    let mut values = Vec::with_capacity(observations.len() * points * sizes.point_channels);
    for observation in observations {
        if let Evidence::Points(seen) = &observation.evidence {
            seen.iter().for_each(|point| extend(&mut values, point));
        }
    }
    let tensor = |values: Vec<f32>| {
        let shape = [observations.len() * points, sizes.point_channels];
        Tensor::from_data(TensorData::new(values, shape), device)
    };
    let keep = noise.filter(|noise| noise.rate > 0.0);
    let keep = keep.map(|noise| tensor(noise.keep(points * sizes.point_channels)));
    head.farness(tensor(values), keep).reshape([observations.len(), points])
}

/// [`Placement::consistent`] of a position question; nothing for any other.
pub(super) fn consistent(observation: &Observation) -> Vec<f32> {
    match &observation.question {
        Question::RelativePosition { observer, target, facing, options, rule, intrinsics } => {
            Placement {
                observer: *observer,
                target: *target,
                facing: *facing,
                options,
                rule: *rule,
                intrinsics: *intrinsics,
                picture_size: observation.picture_size,
            }
            .consistent()
        }
        _ => Vec::new(),
    }
}

fn extend(values: &mut Vec<f32>, halves: &[f16]) {
    values.extend(halves.iter().map(|half| half.to_f32()));
}

impl HeadShape {
    /// Values along all borders of a patch.
    pub(super) fn border_len(&self) -> usize {
        SIDES * self.border_places * self.border_channels
    }
}

/// The patches of a batch, side by side.
struct Patches<'a> {
    sizes: &'a HeadShape,
    batch: usize,
    count: usize,
    borders: Vec<f32>,
    context: Vec<f32>,
    seen: Vec<f32>,
}

impl<'a> Patches<'a> {
    fn of(observations: &[&Observation], count: usize, sizes: &'a HeadShape) -> Self {
        let patches = observations.len() * count;
        let mut all = Patches {
            sizes,
            batch: observations.len(),
            count,
            borders: Vec::with_capacity(patches * sizes.border_len()),
            context: Vec::with_capacity(patches * sizes.context_channels),
            seen: Vec::with_capacity(patches),
        };
        for observation in observations {
            match &observation.evidence {
                Evidence::Patches(patches) => {
                    patches.iter().for_each(|patch| all.push(patch.as_deref()));
                }
                Evidence::Hole { options, .. } => {
                    options.iter().for_each(|patch| all.push(Some(patch)));
                }
                Evidence::Points(_) => {}
            }
        }
        all
    }

    fn push(&mut self, patch: Option<&PatchFeatures>) {
        match patch {
            Some(patch) => {
                extend(&mut self.borders, &patch.borders);
                extend(&mut self.context, &patch.context);
            }
            None => {
                self.borders.resize(self.borders.len() + self.sizes.border_len(), 0.0);
                self.context.resize(self.context.len() + self.sizes.context_channels, 0.0);
            }
        }
        self.seen.push(f32::from(u8::from(patch.is_some())));
    }

    /// `[batch, n, 4, places, channels]`, `[batch, n, channels]`, `[batch, n]`.
    fn tensors(self, device: &Device) -> (Tensor<5>, Tensor<3>, Tensor<2>) {
        let (batch, n, sizes) = (self.batch, self.count, self.sizes);
        let borders = [batch, n, SIDES, sizes.border_places, sizes.border_channels];
        (
            Tensor::from_data(TensorData::new(self.borders, borders), device),
            Tensor::from_data(
                TensorData::new(self.context, [batch, n, sizes.context_channels]),
                device,
            ),
            Tensor::from_data(TensorData::new(self.seen, [batch, n]), device),
        )
    }
}
