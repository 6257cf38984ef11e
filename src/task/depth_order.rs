//! Regional depth ordering: three marked regions, from nearest to farthest.
//!
//! In most pictures what stands lower is nearer, and one side of a room is nearer than the
//! other, so markers put anywhere give their order away by their coordinates. The balanced
//! preset asks only what coordinates cannot tell: it fits the frame's smooth layout (a
//! polynomial of column and row), draws three places for which the layout foretells a depth
//! at which near, middle and far regions all exist, decides who is near, middle and far, and
//! takes regions that are alike in what is foretold, close to those places. How rows relate
//! to depths is decided beforehand, all six ways equally likely.
//!
//! Stricter rules were measured and left out: places where all six orders can be had with rows
//! and columns kept, or with a region of each band within 40 to 110 pixels, make rows and columns
//! uniform, but a half to nine tenths of the attempts fail (four tenths now), and from the few
//! places that remain a learner that sees coordinates alone remembers more (up to .43 instead of
//! .27 on a recording of a hand-held camera).

use rand::RngExt;

use super::{
    Answer, Pixel, Places, PreparedFrame, Preset, Question, Recipe, Skip, Task, TaskKind,
    TaskSource,
    layout::{Placed, PlacedBands},
    regions::{Band, Level, RegionIndex},
    seed::{Rng, rng},
};

/// Two markers never come nearer to each other than this share of the shorter side.
const MIN_DISTANCE: f32 = 0.1;
/// The places that the markers are drawn for are farther apart, as such a share.
const PLACES_APART: f32 = 0.3;
/// How many times three regions are drawn before a frame is given up.
const DRAWS: usize = 300;
/// Of how many regions that are alike the one nearest to its place is taken.
const CANDIDATES: usize = 128;
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
            if apart(index, &cells, MIN_DISTANCE) {
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

/// Regions from nearest to farthest whose coordinates tell next to nothing about depth.
fn balanced(index: &RegionIndex, rng: &mut Rng) -> Result<[Cell; 3], Skip> {
    let mut skip = Skip::NoRegions;
    for at in 0..2 {
        let level = index.level(at);
        let any = |band| (0..index.grid_size().1).any(|row| level.band(row, band) != 0);
        if Band::ALL.into_iter().all(any) {
            skip = Skip::NoBalancedRegions;
        }
        let Some(placed) = index.placed(at) else { continue };
        // Which of the three is highest in the picture, which lowest: decided beforehand, so
        // that what a frame offers most often is not asked most often.
        let wanted = RELATIONS[rng.random_range(0..RELATIONS.len())].map(|band| band as usize);
        let found = (0..DRAWS)
            .find_map(|_| exchangeable(index, placed, rng).filter(|cells| by_row(cells) == wanted));
        if let Some(cells) = found {
            return Ok(cells);
        }
    }
    Err(skip)
}

/// The bands from the highest row to the lowest.
fn by_row(cells: &[Cell; 3]) -> [usize; 3] {
    let mut order = [0, 1, 2];
    order.sort_by_key(|&band| cells[band]);
    order
}

/// Draws three places first, for each of which regions of all three bands exist where the
/// layout foretells the same depth; then who is near, middle and far; then the regions
/// themselves, close to those places.
fn exchangeable(index: &RegionIndex, placed: &PlacedBands, rng: &mut Rng) -> Option<[Cell; 3]> {
    let mut places = [Placed { foretold: 0.0, row: 0, col: 0 }; 3];
    for place in &mut places {
        *place = placed.any_open(rng)?;
    }
    let cell = |p: Placed| (usize::from(p.row), usize::from(p.col));
    if !apart(index, &places.map(cell), PLACES_APART) {
        return None;
    }
    let bands = RELATIONS[rng.random_range(0..RELATIONS.len())];
    let mut cells = [(0, 0); 3];
    for (place, band) in places.into_iter().zip(bands) {
        let alike = placed.alike(band, place.foretold);
        let away = |p: &Placed| {
            let (row, col) = (p.row.abs_diff(place.row), p.col.abs_diff(place.col));
            u32::from(row).pow(2) + u32::from(col).pow(2)
        };
        let drawn = (0..CANDIDATES).filter_map(|_| {
            let at = random_below(u32::try_from(alike.len()).ok()?, rng)?;
            alike.get(at as usize).copied()
        });
        cells[band as usize] = cell(drawn.min_by_key(away)?);
    }
    apart(index, &cells, MIN_DISTANCE).then_some(cells)
}

/// Whether all three are farther apart than this share of the shorter side.
fn apart(index: &RegionIndex, cells: &[Cell; 3], share: f32) -> bool {
    let (width, height) = index.picture_size();
    let least = (share * width.min(height) as f32 / index.stride_px() as f32) as usize;
    let pair = |a: Cell, b: Cell| a.0.abs_diff(b.0).max(a.1.abs_diff(b.1)) >= least;
    pair(cells[0], cells[1]) && pair(cells[0], cells[2]) && pair(cells[1], cells[2])
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
