//! Sums and extremes of depth over sliding windows.

use super::regions::{Cell, Grid};

/// Each ninth of a window needs this share of the valid pixels that a window of the frame
/// usually has. Relative, because some sensors leave a regular grid of holes everywhere.
const NINTH_SHARE: f32 = 0.75;
/// A window with less than this share of valid pixels is never a region.
const MIN_WINDOW_SHARE: f32 = 0.1;

/// Integral image of the number of valid pixels.
pub(super) struct Counts {
    sums: Vec<u32>,
    pitch: usize,
}

impl Counts {
    pub(super) fn new(clean: &[f32], width: usize, height: usize) -> Self {
        let pitch = width + 1;
        let mut sums = vec![0_u32; pitch * (height + 1)];
        for (y, line) in clean.chunks_exact(width).enumerate() {
            let (above, below) = sums.split_at_mut((y + 1) * pitch);
            let above = &above[y * pitch..];
            let mut run = 0;
            for ((sum, up), z) in below[1..pitch].iter_mut().zip(&above[1..]).zip(line) {
                run += u32::from(!z.is_nan());
                *sum = up + run;
            }
        }
        Counts { sums, pitch }
    }

    pub(super) fn total(&self) -> usize {
        self.sums.last().copied().unwrap_or(0) as usize
    }

    /// Valid pixels in the rectangle.
    fn within(&self, x: usize, y: usize, width: usize, height: usize) -> u32 {
        let at = |x: usize, y: usize| self.sums[y * self.pitch + x];
        at(x + width, y + height) + at(x, y) - at(x + width, y) - at(x, y + height)
    }

    /// The share of valid pixels that windows of this frame usually have: the third
    /// quartile over those that have any.
    pub(super) fn usual_share(&self, grid: &Grid, half: usize) -> f32 {
        let side = 2 * half + 1;
        let mut histogram = [0_u32; 101];
        let mut n = 0;
        for row in 0..grid.rows {
            for col in 0..grid.cols {
                let valid = self.within(grid.x(col) - half, grid.y(row) - half, side, side);
                if valid > 0 {
                    histogram[valid as usize * 100 / (side * side)] += 1;
                    n += 1;
                }
            }
        }
        let mut above = 0;
        let quartile = histogram.iter().rposition(|count| {
            above += count;
            4 * above >= n
        });
        quartile.unwrap_or(0) as f32 / 100.0
    }

    /// The number of valid pixels in a square window, if all parts of it have enough.
    pub(super) fn filled(&self, x: usize, y: usize, side: usize, usual: f32) -> Option<u32> {
        let valid = self.within(x, y, side, side);
        if (valid as f32) < MIN_WINDOW_SHARE * (side * side) as f32 {
            return None;
        }
        let cut = [0, side / 3, side - side / 3, side];
        for rows in cut.windows(2) {
            for cols in cut.windows(2) {
                let (width, height) = (cols[1] - cols[0], rows[1] - rows[0]);
                let part = self.within(x + cols[0], y + rows[0], width, height);
                if (part as f32) < NINTH_SHARE * usual * (width * height) as f32 {
                    return None;
                }
            }
        }
        Some(valid)
    }
}

/// The rows of one window, reduced to one value a column.
pub(super) struct Strip {
    nearest_m: Vec<f32>,
    farthest_m: Vec<f32>,
    sum_m: Vec<f32>,
}

impl Strip {
    pub(super) fn new(width: usize) -> Self {
        Strip { nearest_m: vec![0.0; width], farthest_m: vec![0.0; width], sum_m: vec![0.0; width] }
    }

    /// Column by column over `rows` rows from `top`. NaN compares as false, so it changes
    /// neither the nearest nor the farthest reading.
    pub(super) fn reduce(&mut self, clean: &[f32], top: usize, rows: usize) {
        self.nearest_m.fill(f32::INFINITY);
        self.farthest_m.fill(f32::NEG_INFINITY);
        self.sum_m.fill(0.0);
        let width = self.sum_m.len();
        for line in clean.chunks_exact(width).skip(top).take(rows) {
            let out = self.nearest_m.iter_mut().zip(&mut self.farthest_m).zip(&mut self.sum_m);
            for (((nearest, farthest), sum), &z) in out.zip(line) {
                *nearest = if z < *nearest { z } else { *nearest };
                *farthest = if z > *farthest { z } else { *farthest };
                *sum += if z.is_nan() { 0.0 } else { z };
            }
        }
    }

    pub(super) fn window(&self, x: usize, side: usize, valid: u32) -> Cell {
        let span = x..x + side;
        let least = |a: f32, &b: &f32| if b < a { b } else { a };
        let most = |a: f32, &b: &f32| if b > a { b } else { a };
        Cell {
            mean_m: self.sum_m[span.clone()].iter().sum::<f32>() / valid as f32,
            nearest_m: self.nearest_m[span.clone()].iter().fold(f32::INFINITY, least),
            farthest_m: self.farthest_m[span].iter().fold(f32::NEG_INFINITY, most),
        }
    }
}
