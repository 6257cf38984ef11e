//! Regional depth ordering: three marked regions, from nearest to farthest.
//!
//! In most pictures what stands lower is nearer, so markers put anywhere give their order
//! away by their places alone. The balanced preset first fixes the *pattern* of the markers,
//! their offsets from each other, and looks where in the frame it can lie so that the first
//! marker is nearest, so that the second is, and so on: all six relations must occur. Only
//! then is one of the six drawn, all equally likely, so that rows, columns and distances
//! of the markers to each other tell exactly nothing. Of the places where each relation
//! occurs those nearest to one common point are taken, so that the place tells little.

use rand::RngExt;

use super::{
    Answer, Pixel, Places, Preset, PreparedFrame, Question, Recipe, Skip, Task, TaskKind,
    TaskSource,
    regions::{Band, Level, MAX_GRID, RegionIndex},
    seed::{Rng, rng},
};

/// Two markers never come nearer to each other than this share of the shorter side.
const MIN_DISTANCE: f32 = 0.1;
/// How far the markers of a pattern lie apart at most, as a share of the picture's height.
const REACH: f32 = 0.45;
/// How many patterns of three markers are tried before a frame is given up.
const PATTERNS: usize = 100;
/// How many points are tried as the common place of a pattern.
const CENTRES: usize = 16;
/// How many times the published rules draw three regions.
const PUBLISHED_DRAWS: usize = 64;

/// A cell of the region index: row, column.
type Cell = (usize, usize);

/// The six ways in which three rows can hold the three bands.
const RELATIONS: [[Band; 3]; 6] = {
    use Band::{Far as F, Middle as M, Near as N};
    [[N, M, F], [N, F, M], [M, N, F], [M, F, N], [F, N, M], [F, M, N]]
};

/// Makes depth ordering tasks.
///
/// ```
/// use spatial_ssrl::task::{Preset, TaskSource, depth_order::DepthOrder};
/// assert_eq!(DepthOrder::new(Preset::Balanced).kind().name(), "depth");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DepthOrder {
    preset: Preset,
}

impl DepthOrder {
    /// A source with the rules of `preset`.
    pub fn new(preset: Preset) -> Self {
        DepthOrder { preset }
    }
}

impl TaskSource for DepthOrder {
    fn kind(&self) -> TaskKind {
        TaskKind::Depth
    }

    fn make(&self, frame: &PreparedFrame<'_>, seed: u64) -> Result<Task, Skip> {
        let index = frame.regions()?;
        if index.band_limits().is_none() {
            return Err(Skip::DepthRangeTooSmall { range_m: index.range_m().1 });
        }
        let mut rng = rng(seed);
        let cells = match self.preset {
            Preset::Published => published(index, &mut rng)?,
            Preset::Balanced => balanced(index, &mut rng)?,
        };
        // Marker numbers are dealt at random: `numbers[b]` is the marker of band b.
        let mut numbers = [0_usize, 1, 2];
        for i in (1..3).rev() {
            numbers.swap(i, rng.random_range(0..=i));
        }
        let mut marked = [Pixel { x: 0, y: 0 }; 3];
        for ((row, col), number) in cells.into_iter().zip(numbers) {
            marked[number] = index.pixel(row, col);
        }
        let order: Places = numbers.iter().map(|number| *number as u8).collect();
        Ok(Task {
            kind: TaskKind::Depth,
            frame_id: frame.frame().id,
            stamp_ns: frame.frame().stamp_ns,
            picture_size: index.picture_size(),
            seed,
            preset: self.preset,
            question: Question::OrderPoints { points: marked.into_iter().collect() },
            answer: Answer::Order(order),
            recipe: Recipe::Whole,
        })
    }
}

/// A random cell of each band, from nearest to farthest, wherever it lies.
fn published(index: &RegionIndex, rng: &mut Rng) -> Result<[Cell; 3], Skip> {
    for at in 0..2 {
        let level = index.level(at);
        for _ in 0..PUBLISHED_DRAWS {
            let mut cells = [(0, 0); 3];
            let mut all = true;
            for band in Band::ALL {
                match any_cell(level, index.grid_size().1, band, rng) {
                    Some(cell) => cells[band as usize] = cell,
                    None => all = false,
                }
            }
            if !all {
                break;
            }
            if apart(index, &cells) {
                return Ok(cells);
            }
        }
    }
    Err(Skip::NoRegions)
}

/// Any region of a band, all equally likely.
fn any_cell(level: &Level, rows: usize, band: Band, rng: &mut Rng) -> Option<Cell> {
    let total: u32 = (0..rows).map(|row| level.band(row, band).count_ones()).sum();
    let mut nth = random_below(total, rng)?;
    for row in 0..rows {
        let mask = level.band(row, band);
        let here = mask.count_ones();
        if nth < here {
            return nth_bit(mask, nth).map(|col| (row, col));
        }
        nth -= here;
    }
    None
}

/// Regions from nearest to farthest whose places tell nothing about their depth.
fn balanced(index: &RegionIndex, rng: &mut Rng) -> Result<[Cell; 3], Skip> {
    let (cols, rows) = index.grid_size();
    let reach = (REACH * index.picture_size().1 as f32 / index.stride_px() as f32) as i32;
    for at in 0..2 {
        let level = index.level(at);
        for _ in 0..PATTERNS / (at + 1) {
            let mut step = || (rng.random_range(-reach..=reach), rng.random_range(-reach..=reach));
            let pattern = [(0, 0), step(), step()];
            if !pattern_apart(index, &pattern) {
                continue;
            }
            let (places, possible) = relations(level, rows, &pattern);
            if !possible {
                continue;
            }
            let cells = common_place(&places, rows, cols, rng);
            let which = rng.random_range(0..RELATIONS.len());
            let (row, col) = cells[which];
            let shifted = pattern.map(|(down, right)| {
                ((row as i32 + down) as usize, (col as i32 + right) as usize)
            });
            return Ok(by_band(RELATIONS[which], shifted));
        }
    }
    Err(Skip::NoBalancedRegions)
}

/// Where each relation of a pattern's cells to the bands occurs: bit `c` of row `r` is set
/// if it does with the pattern's first cell there. Also whether all six occur somewhere.
fn relations(level: &Level, rows: usize, pattern: &[(i32, i32); 3]) -> ([[u128; MAX_GRID]; 6], bool) {
    let mut places = [[0_u128; MAX_GRID]; 6];
    let mut any = [0_u128; 6];
    for row in 0..rows.min(MAX_GRID) {
        let mut masks = [[0_u128; 3]; 3];
        for (masks, (down, right)) in masks.iter_mut().zip(pattern) {
            let Ok(row) = usize::try_from(row as i32 + down) else { continue };
            for band in Band::ALL {
                masks[band as usize] = shifted(level.band(row, band), *right);
            }
        }
        for (relation, bands) in RELATIONS.iter().enumerate() {
            let here = masks[0][bands[0] as usize]
                & masks[1][bands[1] as usize]
                & masks[2][bands[2] as usize];
            places[relation][row] = here;
            any[relation] |= here;
        }
    }
    (places, !any.contains(&0))
}

/// For each relation the place nearest to one common point; of a few random points the one
/// to which all six come nearest, so that the place tells as little as the frame allows.
fn common_place(
    places: &[[u128; MAX_GRID]; 6],
    rows: usize,
    cols: usize,
    rng: &mut Rng,
) -> [Cell; 6] {
    let mut best = (i32::MAX, [(0, 0); 6]);
    for _ in 0..CENTRES {
        let centre = (rng.random_range(0..rows.max(1)), rng.random_range(0..cols.max(1)));
        let mut picked = [(0, 0); 6];
        let mut worst = 0;
        for (picked, places) in picked.iter_mut().zip(places) {
            let (away, cell) = nearest(places, rows, centre);
            *picked = cell;
            worst = worst.max(away);
        }
        if worst < best.0 {
            best = (worst, picked);
        }
    }
    best.1
}

/// The set bit nearest to a cell, with its squared distance.
fn nearest(places: &[u128; MAX_GRID], rows: usize, (row, col): Cell) -> (i32, Cell) {
    let mut best = (i32::MAX, (0, 0));
    let up_to = |col: usize| u128::MAX >> (127 - col.min(127));
    // Rows by distance: above and below alternately, until no nearer one can follow.
    for by in 0..rows {
        let down = (by * by) as i32;
        if down >= best.0 {
            break;
        }
        for at in [row.checked_sub(by), Some(row + by).filter(|&at| at < rows)] {
            let Some(&mask) = at.and_then(|at| places.get(at)) else { continue };
            let left = mask & up_to(col);
            let right = mask & !up_to(col);
            let found = [
                (left != 0).then(|| 127 - left.leading_zeros() as usize),
                (right != 0).then(|| right.trailing_zeros() as usize),
            ];
            for found in found.into_iter().flatten() {
                let away = down + (found as i32 - col as i32).pow(2);
                if away < best.0 {
                    best = (away, (at.unwrap_or(row), found));
                }
            }
        }
    }
    best
}

/// Whether no two cells of a pattern would touch.
fn pattern_apart(index: &RegionIndex, pattern: &[(i32, i32); 3]) -> bool {
    let (width, height) = index.picture_size();
    let least = (MIN_DISTANCE * width.min(height) as f32 / index.stride_px() as f32) as u32;
    let pair = |a: (i32, i32), b: (i32, i32)| a.0.abs_diff(b.0).max(a.1.abs_diff(b.1)) >= least;
    pair(pattern[0], pattern[1]) && pair(pattern[0], pattern[2]) && pair(pattern[1], pattern[2])
}

/// Sorts cells by their bands, nearest first.
fn by_band(bands: [Band; 3], cells: [Cell; 3]) -> [Cell; 3] {
    let mut sorted = cells;
    for (band, cell) in bands.into_iter().zip(cells) {
        sorted[band as usize] = cell;
    }
    sorted
}

/// Whether no two markers would touch.
fn apart(index: &RegionIndex, cells: &[Cell; 3]) -> bool {
    let (width, height) = index.picture_size();
    let least = (MIN_DISTANCE * width.min(height) as f32 / index.stride_px() as f32) as usize;
    let pair = |a: Cell, b: Cell| a.0.abs_diff(b.0).max(a.1.abs_diff(b.1)) >= least;
    pair(cells[0], cells[1]) && pair(cells[0], cells[2]) && pair(cells[1], cells[2])
}

/// The columns `c` for which bit `c + offset` of `mask` is set.
pub(super) fn shifted(mask: u128, offset: i32) -> u128 {
    let by = offset.unsigned_abs();
    let moved = if offset >= 0 { mask.checked_shr(by) } else { mask.checked_shl(by) };
    moved.unwrap_or(0)
}

/// Any number below `n`; none if there is none.
fn random_below(n: u32, rng: &mut Rng) -> Option<u32> {
    (n > 0).then(|| rng.random_range(0..n))
}

fn nth_bit(mut mask: u128, n: u32) -> Option<usize> {
    for _ in 0..n {
        mask &= mask.wrapping_sub(1);
    }
    (mask != 0).then(|| mask.trailing_zeros() as usize)
}
