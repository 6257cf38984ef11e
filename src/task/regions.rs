//! Regions of even depth, found once a frame by sliding windows over a grid.
//!
//! Depth tasks draw thousands of regions from one frame, so everything that a draw needs is
//! laid out here beforehand: a grid of at most [`MAX_GRID`] x [`MAX_GRID`] cells, each with
//! the depth of the window around it, and one 128-bit mask for each grid row that tells
//! which cells are even, and which lie in the near, middle and far band. Drawing a region,
//! or testing a whole row of pairs, is then a few bit operations and allocates nothing.

use super::{
    Pixel, Skip,
    layout::{Layout, PlacedBands},
    windows::{Counts, Strip},
};
use crate::frame::{DepthMap, SensorModel};

/// The most cells along each side of the grid: the bits of a row's mask.
pub const MAX_GRID: usize = 128;

/// The shortest picture side from which depth tasks are made, in pixels.
pub const MIN_SIDE_PX: u32 = 64;

/// A difference of depth counts only when it exceeds this many standard deviations of the
/// sensor's noise.
pub const NOISE_SIGMAS: f32 = 5.0;

/// The height in pixels for which the published window sizes are meant.
const REFERENCE_ROWS: u32 = 480;
/// Published window sides at [`REFERENCE_ROWS`], and the largest spread of normalised
/// depth inside them: the main window, and the fallback.
const WINDOWS: [(u32, f32); 2] = [(25, 0.15), (11, 0.2)];
/// Markers are drawn around a region: none comes nearer to the picture's border than this
/// (at [`REFERENCE_ROWS`]).
const BORDER_PX: u32 = 20;
/// Frames with less valid depth than this make no depth task, percent.
const MIN_VALID_PERCENT: f32 = 5.0;
/// No depth camera reads farther; larger values are errors of the sensor.
const MAX_DEPTH_M: f32 = 200.0;
/// Published band limits of normalised depth: near up to, middle from and to, far from.
const BANDS: [f32; 4] = [0.3, 0.35, 0.65, 0.7];
/// Percentiles are read off a sample of about this many pixels.
const PERCENTILE_SAMPLE: usize = 1 << 15;

/// One region of even depth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Its centre.
    pub pixel: Pixel,
    /// Mean depth, metres.
    pub depth_m: f32,
    /// The nearest reading inside it, metres.
    pub nearest_m: f32,
    /// The farthest reading inside it, metres.
    pub farthest_m: f32,
}

/// The three bands of depth from which a depth ordering task draws its regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Band {
    Near = 0,
    Middle = 1,
    Far = 2,
}

impl Band {
    /// From nearest to farthest.
    pub const ALL: [Band; 3] = [Band::Near, Band::Middle, Band::Far];
}

/// Depth limits of the bands in metres. Every reading of a near region is at most
/// `near_max`, every reading of a middle one within `middle_min..=middle_max`, every
/// reading of a far one at least `far_min`; the gaps between them exceed both 0.05 of the
/// frame's depth range and the sensor's noise, so any near region *is* nearer than any
/// middle one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct BandLimits {
    pub near_max_m: f32,
    pub middle_min_m: f32,
    pub middle_max_m: f32,
    pub far_min_m: f32,
}

/// Depth of the window around one grid cell, metres; NaN where it is no region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) mean_m: f32,
    pub(super) nearest_m: f32,
    pub(super) farthest_m: f32,
}

const NO_CELL: Cell = Cell { mean_m: f32::NAN, nearest_m: f32::NAN, farthest_m: f32::NAN };

/// All regions of one window size.
#[derive(Debug)]
pub struct Level {
    window_px: u32,
    cols: usize,
    cells: Vec<Cell>,
    even: Vec<u128>,
    bands: Vec<[u128; 3]>,
    even_rows: u128,
    complete_rows: u128,
}

/// Regions of even depth of one frame, for the main window and the fallback.
#[derive(Debug)]
pub struct RegionIndex {
    grid: Grid,
    sensor: SensorModel,
    nearest_m: f32,
    range_m: f32,
    limits: Option<BandLimits>,
    levels: [Level; 2],
    placed: [Option<PlacedBands>; 2],
}

/// Where the grid's cells lie in the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    width: usize,
    height: usize,
    stride: usize,
    x0: usize,
    y0: usize,
    pub(super) cols: usize,
    pub(super) rows: usize,
}

impl Grid {
    fn new(width: usize, height: usize) -> Self {
        let stride = width.max(height).div_ceil(MAX_GRID).max(1);
        let side = width.min(height) as u32;
        let border = scaled(BORDER_PX, side).max(window_px(0, side) / 2 + 1) as usize;
        // Centred, so that a mirrored picture has a mirrored grid (to within a pixel).
        let along = |length: usize| {
            let room = length.saturating_sub(2 * border + 1);
            (border + room % stride / 2, room / stride + 1)
        };
        let ((x0, cols), (y0, rows)) = (along(width), along(height));
        Grid { width, height, stride, x0, y0, cols, rows }
    }

    pub(super) fn x(&self, col: usize) -> usize {
        self.x0 + col * self.stride
    }

    pub(super) fn y(&self, row: usize) -> usize {
        self.y0 + row * self.stride
    }
}

/// A length given for pictures of 480 rows, in a picture whose shorter side is `side`.
fn scaled(length: u32, side: u32) -> u32 {
    (length * side + REFERENCE_ROWS / 2) / REFERENCE_ROWS
}

/// The odd window side of a level in a picture whose shorter side is `side`.
fn window_px(level: usize, side: u32) -> u32 {
    let (published, _) = WINDOWS[level.min(1)];
    (scaled(published, side) | 1).max(3)
}

impl RegionIndex {
    /// Indexes depth in metres, `[height, width]`, NaN for none.
    ///
    /// # Errors
    /// [`Skip::PictureTooSmall`], [`Skip::TooLittleDepth`], or [`Skip::DepthRangeTooSmall`]
    /// when the whole scene lies within the sensor's noise.
    ///
    /// ```
    /// use spatial_ssrl::{frame::SensorModel, task::regions::RegionIndex};
    /// // A floor that runs from 1 m at the bottom to 3 m at the top.
    /// let depth_m = ndarray::Array2::from_shape_fn((120, 160), |(y, _)| 3.0 - y as f32 / 60.0);
    /// let index = RegionIndex::build(&depth_m, SensorModel::default())?;
    /// let region = index.level(0).region(0, 0, &index).unwrap();
    /// assert!((region.depth_m - (3.0 - region.pixel.y as f32 / 60.0)).abs() < 1e-3);
    /// # Ok::<(), spatial_ssrl::task::Skip>(())
    /// ```
    pub fn build(depth_m: &DepthMap, sensor: SensorModel) -> Result<Self, Skip> {
        let (height, width) = depth_m.dim();
        if width.min(height) < MIN_SIDE_PX as usize {
            let (width, height) = (width as u32, height as u32);
            return Err(Skip::PictureTooSmall { width, height, min: MIN_SIDE_PX });
        }
        let clean: Vec<f32> = depth_m
            .iter()
            .map(|&z| if z > 0.0 && z < MAX_DEPTH_M { z } else { f32::NAN })
            .collect();
        let counts = Counts::new(&clean, width, height);
        let valid = counts.total();
        let valid_percent = 100.0 * valid as f32 / clean.len() as f32;
        if valid_percent < MIN_VALID_PERCENT {
            let needed_percent = MIN_VALID_PERCENT;
            return Err(Skip::TooLittleDepth { valid_percent, needed_percent });
        }
        let (nearest_m, farthest_m) = percentiles(&clean, valid);
        let range_m = farthest_m - nearest_m;
        // A slack of a micrometre, so that a constant picture never passes on rounding.
        if range_m <= 2.0 * NOISE_SIGMAS * sensor.sigma_m(farthest_m) + 1e-6 {
            return Err(Skip::DepthRangeTooSmall { range_m });
        }
        let limits = band_limits(nearest_m, range_m, sensor);
        let grid = Grid::new(width, height);
        let level = |at| Level::new(at, &clean, &counts, grid, range_m, limits);
        let levels = [level(0), level(1)];
        let mut index =
            RegionIndex { grid, sensor, nearest_m, range_m, limits, levels, placed: [None, None] };
        if let Some(layout) = Layout::fit(&index, index.level(1)) {
            let placed = |at| Some(PlacedBands::new(index.level(at), &layout, grid.rows));
            index.placed = [placed(0), placed(1)];
        }
        Ok(index)
    }

    pub(super) fn placed(&self, at: usize) -> Option<&PlacedBands> {
        self.placed[at.min(1)].as_ref()
    }

    /// The main windows (0) or the fallback's (1 and above).
    pub fn level(&self, at: usize) -> &Level {
        &self.levels[at.min(1)]
    }

    /// Depth at the 0.5th percentile and the distance from there to the 99.5th, metres.
    pub fn range_m(&self) -> (f32, f32) {
        (self.nearest_m, self.range_m)
    }

    /// Depth scaled so that the 0.5th percentile is 0 and the 99.5th is 1, clipped there.
    pub fn normalised(&self, depth_m: f32) -> f32 {
        ((depth_m - self.nearest_m) / self.range_m).clamp(0.0, 1.0)
    }

    /// The noise of the sensor that took the depth.
    pub fn sensor(&self) -> SensorModel {
        self.sensor
    }

    /// The bands; none when the depth range is too small to part three of them.
    pub fn band_limits(&self) -> Option<BandLimits> {
        self.limits
    }

    /// Distance of neighbouring cells in pixels.
    pub fn stride_px(&self) -> u32 {
        self.grid.stride as u32
    }

    /// Cells along x and along y, at most [`MAX_GRID`] each.
    pub fn grid_size(&self) -> (usize, usize) {
        (self.grid.cols, self.grid.rows)
    }

    /// Width and height of the picture in pixels.
    pub fn picture_size(&self) -> (u32, u32) {
        (self.grid.width as u32, self.grid.height as u32)
    }

    /// The pixel at which a cell is centred.
    pub fn pixel(&self, row: usize, col: usize) -> Pixel {
        Pixel { x: self.grid.x(col) as u32, y: self.grid.y(row) as u32 }
    }
}

impl Level {
    fn new(
        at: usize,
        clean: &[f32],
        counts: &Counts,
        grid: Grid,
        range_m: f32,
        limits: Option<BandLimits>,
    ) -> Self {
        let window_px = window_px(at, grid.width.min(grid.height) as u32);
        let half = (window_px / 2) as usize;
        let max_spread_m = WINDOWS[at.min(1)].1 * range_m;
        let usual = counts.usual_share(&grid, half);
        let mut level = Level {
            window_px,
            cols: grid.cols,
            cells: vec![NO_CELL; grid.cols * grid.rows],
            even: vec![0; grid.rows],
            bands: vec![[0; 3]; grid.rows],
            even_rows: 0,
            complete_rows: 0,
        };
        let mut strip = Strip::new(grid.width);
        for row in 0..grid.rows {
            strip.reduce(clean, grid.y(row) - half, window_px as usize);
            for col in 0..grid.cols {
                let (x, y) = (grid.x(col) - half, grid.y(row) - half);
                let Some(valid) = counts.filled(x, y, window_px as usize, usual) else { continue };
                let cell = strip.window(x, window_px as usize, valid);
                if cell.farthest_m - cell.nearest_m < max_spread_m {
                    level.insert(row, col, cell, limits);
                }
            }
        }
        level
    }

    fn insert(&mut self, row: usize, col: usize, cell: Cell, limits: Option<BandLimits>) {
        self.cells[row * self.cols + col] = cell;
        self.even[row] |= 1 << col;
        self.even_rows |= 1 << row;
        let Some(limits) = limits else { return };
        let band = if cell.farthest_m <= limits.near_max_m {
            Band::Near
        } else if cell.nearest_m >= limits.far_min_m {
            Band::Far
        } else if cell.nearest_m >= limits.middle_min_m && cell.farthest_m <= limits.middle_max_m {
            Band::Middle
        } else {
            return;
        };
        self.bands[row][band as usize] |= 1 << col;
        if self.bands[row].iter().all(|mask| *mask != 0) {
            self.complete_rows |= 1 << row;
        }
    }

    /// Side of the window in pixels.
    pub fn window_px(&self) -> u32 {
        self.window_px
    }

    /// Bit `c` tells whether the cell in column `c` of this grid row is a region.
    pub fn even(&self, row: usize) -> u128 {
        self.even.get(row).copied().unwrap_or(0)
    }

    /// The same for the regions of one band.
    pub fn band(&self, row: usize, band: Band) -> u128 {
        self.bands.get(row).map_or(0, |bands| bands[band as usize])
    }

    /// Bit `r` tells whether grid row `r` has any region.
    pub fn even_rows(&self) -> u128 {
        self.even_rows
    }

    /// Bit `r` tells whether grid row `r` has a region of each of the three bands.
    pub fn complete_rows(&self) -> u128 {
        self.complete_rows
    }

    /// Mean depth of a cell in metres; NaN where it is no region.
    pub(super) fn depth_m(&self, row: usize, col: usize) -> f32 {
        self.cells.get(row * self.cols + col).map_or(f32::NAN, |cell| cell.mean_m)
    }

    /// The region at a cell, if it is one. `index` is the index that this level belongs to.
    pub fn region(&self, row: usize, col: usize, index: &RegionIndex) -> Option<Region> {
        if col >= self.cols || self.even(row) & (1 << col) == 0 {
            return None;
        }
        let cell = self.cells.get(row * self.cols + col)?;
        Some(Region {
            pixel: index.pixel(row, col),
            depth_m: cell.mean_m,
            nearest_m: cell.nearest_m,
            farthest_m: cell.farthest_m,
        })
    }
}

/// Bands as published, their gaps widened to the sensor's noise; none when nothing of the
/// middle band is left.
fn band_limits(nearest_m: f32, range_m: f32, sensor: SensorModel) -> Option<BandLimits> {
    let at = |normalised: f32| nearest_m + normalised * range_m;
    let near_max_m = at(BANDS[0]);
    let far_min_m = at(BANDS[3]);
    let noise_m = |z_m: f32| NOISE_SIGMAS * std::f32::consts::SQRT_2 * sensor.sigma_m(z_m);
    let middle_min_m = at(BANDS[1]).max(near_max_m + noise_m(at(BANDS[1])));
    let middle_max_m = at(BANDS[2]).min(far_min_m - noise_m(far_min_m));
    (middle_min_m < middle_max_m).then_some(BandLimits {
        near_max_m,
        middle_min_m,
        middle_max_m,
        far_min_m,
    })
}

/// The 0.5th and the 99.5th percentile of the valid depths.
fn percentiles(clean: &[f32], valid: usize) -> (f32, f32) {
    // Every nth *valid* pixel: a fixed raster could fall into a regular pattern of holes.
    let step = valid.div_ceil(PERCENTILE_SAMPLE).max(1);
    let mut sample: Vec<f32> =
        clean.iter().copied().filter(|z| !z.is_nan()).step_by(step).collect();
    let last = sample.len().saturating_sub(1);
    let mut at = |share: f32| {
        let nth = (share * last as f32).round() as usize;
        if sample.is_empty() {
            return f32::NAN;
        }
        *sample.select_nth_unstable_by(nth.min(last), f32::total_cmp).1
    };
    (at(0.005), at(0.995))
}
