//! From what the head's parts say to the scores of candidate answers, on plain slices: the
//! same sums as in [`super::head`], for policies that are served without burn.

use half::f16;

use super::{
    batch::Shape,
    geometry::{self, BINS, Matrix},
    head::{HeadShape, PATCH_SAYS},
    observe::{Evidence, Observation, PatchFeatures, SIDES},
};

/// Rows for the scorers of touching borders.
#[derive(Default)]
pub(super) struct Pairs {
    /// `[pairs, places, channels]`.
    pub first: Vec<f32>,
    /// `[pairs, places, channels]`.
    pub second: Vec<f32>,
    /// `[pairs]`: 1, or 0 for a white patch.
    pub first_seen: Vec<f32>,
    /// `[pairs]`.
    pub second_seen: Vec<f32>,
}

/// What the parts of the head are asked about a batch of observations.
#[derive(Default)]
pub(super) struct Asked {
    /// `[points, channels]`.
    pub points: Vec<f32>,
    /// First left of second?
    pub beside: Pairs,
    /// First above second?
    pub above: Pairs,
    /// `[patches, channels]`.
    pub patches: Vec<f32>,
    /// For each observation, where its rows begin.
    starts: Vec<Start>,
}

/// Where the rows of one observation begin.
#[derive(Clone, Copy)]
struct Start {
    point: usize,
    beside: usize,
    above: usize,
    patch: usize,
}

/// What the parts said, row by row, and the two learnt constants.
pub(super) struct Said<'a> {
    pub farness: &'a [f32],
    pub beside: &'a [f32],
    pub above: &'a [f32],
    /// `[patches, PATCH_SAYS]`.
    pub patches: &'a [f32],
    /// Inverse temperature of depth orders.
    pub order_sharpness: f32,
    /// Spread of a difference of two farness scores.
    pub farness_spread: f32,
}

/// One border: its values and from which end they are read.
#[derive(Clone, Copy)]
struct Border<'a> {
    /// `None`: of a white patch.
    patch: Option<&'a [f16]>,
    side: usize,
    reversed: bool,
}

impl Pairs {
    fn push(&mut self, sizes: &HeadShape, first: Border<'_>, second: Border<'_>) {
        for (border, values, seen) in [
            (first, &mut self.first, &mut self.first_seen),
            (second, &mut self.second, &mut self.second_seen),
        ] {
            let length = sizes.border_places * sizes.border_channels;
            seen.push(f32::from(u8::from(border.patch.is_some())));
            let Some(patch) = border.patch else {
                values.resize(values.len() + length, 0.0);
                continue;
            };
            let side = &patch[border.side * length..][..length];
            let places = side.chunks_exact(sizes.border_channels);
            let mut extend = |place: &[f16]| values.extend(place.iter().map(|v| v.to_f32()));
            if border.reversed {
                places.rev().for_each(&mut extend);
            } else {
                places.for_each(&mut extend);
            }
        }
    }

    fn len(&self) -> usize {
        self.first_seen.len()
    }
}

/// A border as it is.
fn plain(patch: Option<&[f16]>, side: usize) -> Border<'_> {
    Border { patch, side, reversed: false }
}

impl Asked {
    /// Adds the rows of one observation.
    ///
    /// # Errors
    /// What is wrong with an observation that does not fit the head or its own question.
    pub fn push(&mut self, sizes: &HeadShape, observation: &Observation) -> Result<(), String> {
        check(sizes, observation)?;
        self.starts.push(Start {
            point: self.points.len() / sizes.point_channels,
            beside: self.beside.len(),
            above: self.above.len(),
            patch: self.patches.len() / sizes.context_channels,
        });
        match (&observation.evidence, Shape::of(observation)) {
            (Evidence::Patches(patches), shape) => {
                let borders: Vec<Option<&[f16]>> =
                    patches.iter().map(|p| p.as_ref().map(|p| p.borders.as_slice())).collect();
                match shape {
                    Shape::Flip(rows, cols) => self.push_flip(sizes, &borders, (rows, cols)),
                    Shape::Arrange(rows, cols) => self.push_grid(sizes, &borders, (rows, cols)),
                    _ => {}
                }
                for patch in patches {
                    self.push_context(sizes, patch.as_deref());
                }
            }
            (Evidence::Hole { ring, options }, _) => {
                let ring = Some(ring.borders.as_slice());
                for option in options {
                    let inside = Some(option.borders.as_slice());
                    // Left, right, top, bottom.
                    self.beside.push(sizes, plain(ring, 0), plain(inside, 0));
                    self.beside.push(sizes, plain(inside, 1), plain(ring, 1));
                    self.above.push(sizes, plain(ring, 2), plain(inside, 2));
                    self.above.push(sizes, plain(inside, 3), plain(ring, 3));
                    self.push_context(sizes, Some(option));
                }
            }
            (Evidence::Points(points), _) => {
                for point in points {
                    self.points.extend(point.iter().map(|value| value.to_f32()));
                }
            }
        }
        Ok(())
    }

    fn push_context(&mut self, sizes: &HeadShape, patch: Option<&PatchFeatures>) {
        match patch {
            Some(patch) => self.patches.extend(patch.context.iter().map(|value| value.to_f32())),
            None => self.patches.resize(self.patches.len() + sizes.context_channels, 0.0),
        }
    }

    /// Every patch beside and above every other, as far as the grid has columns and rows.
    fn push_grid(
        &mut self,
        sizes: &HeadShape,
        borders: &[Option<&[f16]>],
        (rows, cols): (usize, usize),
    ) {
        for (i, &first) in borders.iter().enumerate() {
            for (j, &second) in borders.iter().enumerate() {
                if i == j {
                    continue;
                }
                if cols > 1 {
                    self.beside.push(sizes, plain(first, 1), plain(second, 0));
                }
                if rows > 1 {
                    self.above.push(sizes, plain(first, 3), plain(second, 2));
                }
            }
        }
    }

    fn push_flip(
        &mut self,
        sizes: &HeadShape,
        borders: &[Option<&[f16]>],
        (rows, cols): (usize, usize),
    ) {
        let plan = geometry::flip_plan(rows, cols);
        let border = |(patch, view): (usize, geometry::View)| Border {
            patch: borders[patch],
            side: view.side,
            reversed: view.reversed,
        };
        for (pairs, edges) in [(&mut self.beside, &plan.beside), (&mut self.above, &plan.above)] {
            for edge in edges {
                pairs.push(sizes, border(edge.first), border(edge.second));
            }
        }
    }

    /// Log-probability of every candidate answer to the `at`-th observation.
    pub fn log_probabilities(
        &self,
        at: usize,
        observation: &Observation,
        said: &Said<'_>,
    ) -> Vec<f32> {
        let start = self.starts[at];
        let scores = match Shape::of(observation) {
            Shape::Arrange(rows, cols) => arrangements(observation, (rows, cols), start, said),
            Shape::Flip(rows, cols) => flips((rows, cols), start, said),
            Shape::Hole(options) => fillings(observation, options, start, said),
            Shape::Order(points) => orders(&said.farness[start.point..][..points], said),
            Shape::Direction(options) => {
                let farness = &said.farness[start.point..][..2];
                directions(observation, options, farness[1] - farness[0], said)
            }
        };
        log_softmax(&scores).into_iter().map(|score| score as f32).collect()
    }
}

/// Whether the evidence fits the question and the head.
fn check(sizes: &HeadShape, observation: &Observation) -> Result<(), String> {
    let question = &observation.question;
    if question.candidates().is_empty() {
        return Err(format!("{question:?} has no candidate answers"));
    }
    let length = |what: &str, got: usize, needed: usize| {
        if got == needed { Ok(()) } else { Err(format!("{got} {what} where {needed} are needed")) }
    };
    let patch = |patch: &PatchFeatures| {
        length("values along a patch's borders", patch.borders.len(), sizes.border_len())?;
        length("values of a patch's context", patch.context.len(), sizes.context_channels)
    };
    match (&observation.evidence, Shape::of(observation)) {
        (Evidence::Patches(patches), Shape::Arrange(rows, cols) | Shape::Flip(rows, cols)) => {
            length("patches", patches.len(), rows * cols)?;
            patches.iter().flatten().try_for_each(|p| patch(p))
        }
        (Evidence::Hole { ring, options }, Shape::Hole(count)) => {
            length("options", options.len(), count)?;
            length("values around the hole", ring.borders.len(), sizes.border_len())?;
            options.iter().try_for_each(|p| patch(p))
        }
        (Evidence::Points(points), shape @ (Shape::Order(_) | Shape::Direction(_))) => {
            let count = if let Shape::Order(count) = shape { count } else { 2 };
            length("points", points.len(), count)?;
            points
                .iter()
                .try_for_each(|p| length("values at a point", p.len(), sizes.point_channels))
        }
        (_, shape) => Err(format!("what was seen does not suit a question of shape {shape:?}")),
    }
}

/// `[parts] x [parts, candidates]`.
fn weigh(parts: &[f64], matrix: &Matrix) -> Vec<f64> {
    let mut scores = vec![0.0; matrix.cols];
    for (part, row) in parts.iter().zip(matrix.values.chunks_exact(matrix.cols)) {
        for (score, weight) in scores.iter_mut().zip(row) {
            *score += part * f64::from(*weight);
        }
    }
    scores
}

/// What the patch scorer says about one thing, patch by patch.
fn says<'a>(
    said: &Said<'a>,
    first: usize,
    count: usize,
    what: usize,
) -> impl Iterator<Item = f64> + 'a {
    let rows = said.patches.chunks_exact(PATCH_SAYS).skip(first).take(count);
    rows.map(move |row| f64::from(row[what]))
}

fn arrangements(
    observation: &Observation,
    (rows, cols): (usize, usize),
    start: Start,
    said: &Said<'_>,
) -> Vec<f64> {
    let n = rows * cols;
    let mut parts = Vec::new();
    for (wanted, scores, start) in
        [(cols > 1, said.beside, start.beside), (rows > 1, said.above, start.above)]
    {
        if !wanted {
            continue;
        }
        let mut scores = scores[start..].iter();
        for pair in 0..n * n {
            // No patch touches itself.
            let own = pair / n == pair % n;
            parts.push(if own { 0.0 } else { scores.next().map_or(0.0, |&score| score.into()) });
        }
    }
    let Evidence::Patches(patches) = &observation.evidence else { return Vec::new() };
    for what in [0, 1] {
        // A white patch says nothing about its place.
        let own = says(said, start.patch, n, what).zip(patches);
        parts.extend(own.map(|(says, patch)| if patch.is_some() { says } else { 0.0 }));
    }
    weigh(&parts, &geometry::arrangement_matrix(rows, cols))
}

fn flips((rows, cols): (usize, usize), start: Start, said: &Said<'_>) -> Vec<f64> {
    let plan = geometry::flip_plan(rows, cols);
    let n = rows * cols;
    let edges = |scores: &[f32], start: usize, count: usize| {
        scores[start..][..count].iter().map(|&score| f64::from(score)).collect::<Vec<_>>()
    };
    let mut parts = edges(said.beside, start.beside, plan.beside.len());
    parts.extend(edges(said.above, start.above, plan.above.len()));
    parts.extend(says(said, start.patch, n, 2));
    parts.extend(says(said, start.patch, n, 3));
    weigh(&parts, &plan.matrix)
}

fn fillings(observation: &Observation, options: usize, start: Start, said: &Said<'_>) -> Vec<f64> {
    let Evidence::Hole { ring, .. } = &observation.evidence else { return Vec::new() };
    let open = ring.open.map(|open| f64::from(u8::from(open)));
    let mut looks = says(said, start.patch, options, 4);
    (0..options)
        .map(|option| {
            let at = |scores: &[f32], start: usize, of: usize| {
                f64::from(scores[start + 2 * option + of])
            };
            let fits: [f64; SIDES] = [
                at(said.beside, start.beside, 0),
                at(said.beside, start.beside, 1),
                at(said.above, start.above, 0),
                at(said.above, start.above, 1),
            ];
            let fits: f64 = fits.iter().zip(open).map(|(fit, open)| fit * open).sum();
            fits + looks.next().unwrap_or(0.0)
        })
        .collect()
}

/// Plackett-Luce with the nearness as worth.
fn orders(farness: &[f32], said: &Said<'_>) -> Vec<f64> {
    let sharpness = f64::from(said.order_sharpness);
    let worth: Vec<f64> = farness.iter().map(|&far| -f64::from(far) * sharpness).collect();
    let score = |order: Vec<usize>| -> f64 {
        let ordered: Vec<f64> = order.into_iter().map(|point| worth[point]).collect();
        (0..ordered.len()).map(|first| log_softmax(&ordered[first..])[0]).sum()
    };
    geometry::permutations(farness.len()).into_iter().map(score).collect()
}

/// The mass of log depth ratios that make each option right.
fn directions(observation: &Observation, options: usize, ratio: f32, said: &Said<'_>) -> Vec<f64> {
    let consistent = super::batch::consistent(observation);
    let weights = geometry::bin_centres().map(|centre| {
        let off = f64::from(ratio - centre) / f64::from(said.farness_spread);
        -0.5 * off * off
    });
    let mut mass = vec![0.0; options];
    debug_assert_eq!(consistent.len(), BINS * options);
    for (weight, row) in log_softmax(&weights).iter().zip(consistent.chunks_exact(options)) {
        for (mass, &right) in mass.iter_mut().zip(row) {
            *mass += weight.exp() * f64::from(right);
        }
    }
    mass.into_iter().map(|mass| (mass + f64::from(geometry::LEAST_MASS)).ln()).collect()
}

fn log_softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
    scores.iter().map(|score| score - largest - sum.ln()).collect()
}
