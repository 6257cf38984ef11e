//! What a picture's coordinates alone tell about its depth.
//!
//! Rooms have a layout: floors run away from the camera, one side of a desk is nearer than
//! the other. Who has seen a few frames of a recording can guess depth from coordinates
//! without looking. The layout of one frame is modelled as a polynomial of column and row,
//! fitted to the depths of its regions. Regions for which it foretells the same depth are
//! exchangeable to such a guesser: which of them is really near must be looked up in the
//! picture.

use rand::RngExt;

use super::{
    regions::{Band, Level, MAX_GRID, RegionIndex},
    seed::Rng,
};

/// Terms `T_i(x) T_j(y)` with `i + j` up to this are fitted.
const DEGREE: usize = 6;
const TERMS: usize = (DEGREE + 1) * (DEGREE + 2) / 2;
/// At most about this many regions take part in the fit.
const FIT_CELLS: usize = 2000;
/// Foretold depths are the same within this, in normalised depth.
const ALIKE: f32 = 0.06;
/// Keeps the fit tame where a picture has no regions.
const RIDGE: f64 = 1e-4;

/// The polynomial that foretells normalised depth at each cell of a grid.
#[derive(Clone, Debug)]
pub struct Layout {
    weights: [f32; TERMS],
    cols: Vec<[f32; DEGREE + 1]>,
    rows: Vec<[f32; DEGREE + 1]>,
}

/// A region with the depth that the layout foretells for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub foretold: f32,
    pub row: u8,
    pub col: u8,
}

/// The regions of each band, sorted by what the layout foretells.
#[derive(Debug)]
pub(super) struct PlacedBands {
    bands: [Vec<Placed>; 3],
    open: Vec<Placed>,
}

impl Layout {
    /// Fits the layout to all regions of a level; none where there are too few.
    pub fn fit(index: &RegionIndex, level: &Level) -> Option<Self> {
        let (cols, rows) = index.grid_size();
        let along = |n: usize| (0..n).map(|at| chebyshev(at, n)).collect::<Vec<_>>();
        let mut layout = Layout { weights: [0.0; TERMS], cols: along(cols), rows: along(rows) };
        let total: u32 = (0..rows).map(|row| level.even(row).count_ones()).sum();
        let step = (total as usize).div_ceil(FIT_CELLS).max(1);
        let mut normal = [[0.0_f64; TERMS + 1]; TERMS];
        let mut seen = 0_usize;
        for row in 0..rows {
            let mut mask = level.even(row);
            while mask != 0 {
                let col = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                seen += 1;
                if !seen.is_multiple_of(step) {
                    continue;
                }
                let terms = layout.terms(row, col);
                let depth = f64::from(index.normalised(level.depth_m(row, col)));
                for (a, line) in normal.iter_mut().enumerate() {
                    let term = f64::from(terms[a]);
                    for (sum, other) in line.iter_mut().zip(&terms) {
                        *sum += term * f64::from(*other);
                    }
                    line[TERMS] += term * depth;
                }
            }
        }
        let used = seen / step;
        if used < 2 * TERMS {
            return None;
        }
        for (a, line) in normal.iter_mut().enumerate() {
            line[a] += RIDGE * used as f64;
        }
        layout.weights = solve(normal)?;
        Some(layout)
    }

    /// The normalised depth that is foretold for a cell.
    pub fn at(&self, row: usize, col: usize) -> f32 {
        self.terms(row, col).iter().zip(&self.weights).map(|(term, weight)| term * weight).sum()
    }

    fn terms(&self, row: usize, col: usize) -> [f32; TERMS] {
        let mut terms = [0.0; TERMS];
        let (Some(x), Some(y)) = (self.cols.get(col), self.rows.get(row)) else { return terms };
        let mut at = 0;
        for (i, x) in x.iter().enumerate() {
            for y in y.iter().take(DEGREE + 1 - i) {
                terms[at] = x * y;
                at += 1;
            }
        }
        terms
    }
}

/// `T_0 .. T_DEGREE` at place `at` of `n`, mapped to -1..1.
fn chebyshev(at: usize, n: usize) -> [f32; DEGREE + 1] {
    let x = 2.0 * at as f32 / (n.max(2) - 1) as f32 - 1.0;
    let mut values = [1.0; DEGREE + 1];
    values[1] = x;
    for i in 2..=DEGREE {
        values[i] = 2.0 * x * values[i - 1] - values[i - 2];
    }
    values
}

/// Gauss elimination of a symmetric positive definite system, `[TERMS, TERMS + 1]`.
fn solve(mut system: [[f64; TERMS + 1]; TERMS]) -> Option<[f32; TERMS]> {
    for at in 0..TERMS {
        let pivot = system[at];
        if pivot[at].abs() < 1e-12 {
            return None;
        }
        for line in system.iter_mut().skip(at + 1) {
            let by = line[at] / pivot[at];
            line.iter_mut().zip(&pivot).for_each(|(value, above)| *value -= by * above);
        }
    }
    let mut weights = [0.0_f64; TERMS];
    for at in (0..TERMS).rev() {
        let known: f64 = (at + 1..TERMS).map(|i| system[at][i] * weights[i]).sum();
        weights[at] = (system[at][TERMS] - known) / system[at][at];
    }
    let weights = weights.map(|weight| weight as f32);
    weights.iter().all(|weight| weight.is_finite()).then_some(weights)
}

impl PlacedBands {
    /// Sorts the regions of a level.
    pub fn new(level: &Level, layout: &Layout, rows: usize) -> Self {
        let place = |band| {
            let mut placed = Vec::new();
            for row in 0..rows.min(MAX_GRID) {
                let mut mask = level.band(row, band);
                while mask != 0 {
                    let col = mask.trailing_zeros() as usize;
                    mask &= mask - 1;
                    let foretold = layout.at(row, col);
                    placed.push(Placed { foretold, row: row as u8, col: col as u8 });
                }
            }
            placed.sort_unstable_by(|a, b| a.foretold.total_cmp(&b.foretold));
            placed
        };
        let mut placed = PlacedBands { bands: Band::ALL.map(place), open: Vec::new() };
        let open = |at: &&Placed| {
            Band::ALL.into_iter().all(|band| !placed.alike(band, at.foretold).is_empty())
        };
        placed.open = placed.bands.iter().flatten().filter(open).copied().collect();
        placed
    }

    /// A region for whose coordinates all three bands are possible.
    pub fn any_open(&self, rng: &mut Rng) -> Option<Placed> {
        if self.open.is_empty() {
            return None;
        }
        Some(self.open[rng.random_range(0..self.open.len())])
    }

    /// Regions of a band for which about that depth is foretold.
    pub fn alike(&self, band: Band, foretold: f32) -> &[Placed] {
        let placed = &self.bands[band as usize];
        let from = placed.partition_point(|p| p.foretold < foretold - ALIKE);
        let to = placed.partition_point(|p| p.foretold <= foretold + ALIKE);
        placed.get(from..to).unwrap_or_default()
    }
}
