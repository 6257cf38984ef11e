//! Regional depth ordering: three marked regions, from nearest to farthest.
//!
//! In most pictures what stands lower is nearer, so markers put anywhere give their order
//! away by their rows alone. The balanced preset first fixes *where* the markers stand and
//! only then decides which of them is near: it takes three grid rows that each offer
//! regions of all three bands, and draws the relation of rows to bands from the six that
//! are possible, all equally likely. Rows then tell exactly nothing. Columns are held as
//! well where the frame allows it: the three markers' column offsets are drawn before the
//! relation too, and kept only if every relation exists somewhere along those rows.

use rand::RngExt;

use super::{
    Answer, Pixel, Places, PreparedFrame, Preset, Question, Recipe, Skip, Task, TaskKind,
    TaskSource,
    regions::{Band, Level, RegionIndex},
    seed::{Rng, rng},
};

/// Two markers never come nearer to each other than this share of the shorter side.
const MIN_DISTANCE: f32 = 0.1;
/// How many row triples are drawn before a frame is given up.
const ROW_DRAWS: usize = 24;
/// How many column offsets are tried for each row triple.
const OFFSET_DRAWS: usize = 16;
/// How many times columns are drawn freely for one row triple.
const COLUMN_DRAWS: usize = 8;
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

/// Regions from nearest to farthest whose rows tell nothing about their depth.
fn balanced(index: &RegionIndex, rng: &mut Rng) -> Result<[Cell; 3], Skip> {
    let envf = |n: &str, d: f32| std::env::var(n).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let tries = envf("TRIES", 100.0) as usize;
    let nc = envf("NC", 16.0) as usize;
    let reach = envf("REACH", 0.45);
    for at in 0..2 {
        let level = index.level(at);
        let (cols, rows) = index.grid_size();
        let m = (reach * index.picture_size().1 as f32 / index.stride_px() as f32) as i32;
        for _ in 0..tries {
            let mut o = || (rng.random_range(-m..=m), rng.random_range(-m..=m));
            let off = [(0, 0), o(), o()];
            let ctr = (200i32, 200i32);
            let c = off.map(|(y, x)| ((ctr.0 + y) as usize, (ctr.1 + x) as usize));
            if !apart(index, &c) {
                continue;
            }
            let mut masks = [[0u128; 128]; 6];
            let mut any = [0u128; 6];
            for y in 0..rows {
                let mut lv = [[0u128; 3]; 3];
                let mut ok = true;
                for i in 0..3 {
                    let yy = y as i32 + off[i].0;
                    if yy < 0 || yy >= rows as i32 {
                        ok = false;
                        break;
                    }
                    for b in Band::ALL {
                        lv[i][b as usize] = shifted(level.band(yy as usize, b), off[i].1);
                    }
                }
                if !ok {
                    continue;
                }
                for (r, bands) in RELATIONS.iter().enumerate() {
                    let v = lv[0][bands[0] as usize]
                        & lv[1][bands[1] as usize]
                        & lv[2][bands[2] as usize];
                    masks[r][y] = v;
                    any[r] |= v;
                }
            }
            if any.contains(&0) {
                continue;
            }
            let mut best: (i32, [(usize, usize); 6]) = (i32::MAX, [(0, 0); 6]);
            for _ in 0..nc {
                let cy = rng.random_range(0..rows as i32);
                let cx = rng.random_range(0..cols as i32);
                let mut worst = 0;
                let mut pick = [(0, 0); 6];
                for r in 0..6 {
                    let mut bd = i32::MAX;
                    for y in 0..rows {
                        let mk = masks[r][y];
                        if mk == 0 {
                            continue;
                        }
                        let dy = (y as i32 - cy).abs();
                        if dy * dy >= bd {
                            continue;
                        }
                        // nearest bit
                        let lo = if cx == 127 { mk } else { mk & ((1u128 << (cx + 1)) - 1) };
                        let hi = mk & !lo;
                        for (has, x) in [
                            (lo != 0, 127 - lo.leading_zeros() as i32),
                            (hi != 0, hi.trailing_zeros() as i32),
                        ] {
                            if has {
                                let d = dy * dy + (x - cx) * (x - cx);
                                if d < bd {
                                    bd = d;
                                    pick[r] = (y, x as usize)
                                }
                            }
                        }
                    }
                    worst = worst.max(bd);
                }
                if worst < best.0 {
                    best = (worst, pick)
                }
            }
            let lim = envf("LIM", 1000.0) * index.picture_size().1 as f32
                / 480.0
                / index.stride_px() as f32;
            if best.0 as f32 > lim * lim {
                continue;
            }
            let which = rng.random_range(0..6);
            let (y, x) = best.1[which];
            let cells = off.map(|(dy, dx)| ((y as i32 + dy) as usize, (x as i32 + dx) as usize));
            return Ok(by_band(RELATIONS[which], cells));
        }
    }
    Err(Skip::NoBalancedRegions)
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

/// The place of any set bit, all equally likely.
pub(super) fn random_bit(mask: u128, rng: &mut Rng) -> Option<usize> {
    nth_bit(mask, random_below(mask.count_ones(), rng)?)
}

fn nth_bit(mut mask: u128, n: u32) -> Option<usize> {
    for _ in 0..n {
        mask &= mask.wrapping_sub(1);
    }
    (mask != 0).then(|| mask.trailing_zeros() as usize)
}

/// Three different set bits in random order.
fn three_bits(mut mask: u128, rng: &mut Rng) -> Option<[usize; 3]> {
    let mut bits = [0; 3];
    for bit in &mut bits {
        *bit = random_bit(mask, rng)?;
        mask &= !(1 << *bit);
    }
    Some(bits)
}
