//! How far everything in a picture is, relative to the rest of it.

use image::{Rgb, RgbImage};
use ndarray::Array2;

use super::{Look, MAX_PLACES, SenseError, Skill};

/// Shares of the places that may lie beyond either end of the colours.
const TAIL: f32 = 0.01;
/// A map flatter than this, in units of log depth, is not stretched to the full colours.
const LEAST_RANGE: f32 = 0.05;

/// The farness of a whole picture, in units of log depth up to one offset: a difference of
/// 0.7 means about twice as far.
#[derive(Clone, Debug, PartialEq)]
pub struct FarnessMap {
    grid: Array2<f32>,
    size: (u32, u32),
}

impl FarnessMap {
    /// From farness at an even grid of places, `[rows, columns]`, for a picture of this width
    /// and height.
    pub fn new(grid: Array2<f32>, size: (u32, u32)) -> Self {
        FarnessMap { grid, size }
    }

    /// Farness at the places where it was asked for, `[rows, columns]`: place (r, c) stands at
    /// ((c + 0.5) / columns, (r + 0.5) / rows) of the picture.
    pub fn grid(&self) -> &Array2<f32> {
        &self.grid
    }

    /// Farness of every pixel, `[height, width]`, bilinear between the grid's places.
    pub fn pixels(&self) -> Array2<f32> {
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let (rows, cols) = self.grid.dim();
        if rows == 0 || cols == 0 {
            return Array2::from_elem((height, width), f32::NAN);
        }
        let split = |at: usize, side: usize, cells: usize| {
            let at = (at as f32 + 0.5) / side as f32 * cells as f32 - 0.5;
            let at = at.clamp(0.0, (cells - 1) as f32);
            let low = at as usize;
            (low, (low + 1).min(cells - 1), at - low as f32)
        };
        let columns: Vec<_> = (0..width).map(|x| split(x, width, cols)).collect();
        Array2::from_shape_fn((height, width), |(y, x)| {
            let (r0, r1, fr) = split(y, height, rows);
            let (c0, c1, fc) = columns[x];
            let upper = self.grid[[r0, c0]] * (1.0 - fc) + self.grid[[r0, c1]] * fc;
            let lower = self.grid[[r1, c0]] * (1.0 - fc) + self.grid[[r1, c1]] * fc;
            upper * (1.0 - fr) + lower * fr
        })
    }

    /// Farness that is nearer and farther than all but one in a hundred places.
    pub fn range(&self) -> (f32, f32) {
        let mut sorted: Vec<f32> = self.grid.iter().copied().filter(|f| f.is_finite()).collect();
        sorted.sort_by(f32::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return (0.0, 0.0) };
        let cut = (last as f32 * TAIL) as usize;
        (sorted[cut], sorted[last - cut])
    }

    /// The map as a picture of the same size: near is warm (red, orange), the middle green,
    /// far is cool (blue). Colours are stretched to this picture's own range.
    pub fn false_colour(&self) -> RgbImage {
        let (near, far) = self.range();
        let middle = (near + far) / 2.0;
        let half = ((far - near) / 2.0).max(LEAST_RANGE / 2.0);
        let pixels = self.pixels();
        RgbImage::from_fn(self.size.0, self.size.1, |x, y| {
            let farness = pixels[[y as usize, x as usize]];
            colour(0.5 - 0.5 * (farness - middle) / half)
        })
    }
}

/// The Turbo colour map as its authors' polynomial (Mikhailov 2019, Apache-2.0): 0 is blue, 1
/// is red. The ends are left out: they are so dark that they read as shadow.
fn colour(value: f32) -> Rgb<u8> {
    let t = 0.04 + 0.92 * if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
    let polynomial = |c: [f32; 6]| {
        let value = c.iter().rev().fold(0.0, |sum, c| sum * t + c);
        (value.clamp(0.0, 1.0) * 255.0).round() as u8
    };
    Rgb([
        polynomial([0.135_721_38, 4.615_392_6, -42.660_324, 132.131_08, -152.942_4, 59.286_38]),
        polynomial([0.091_402_61, 2.194_188_4, 4.842_966_6, -14.185_034, 4.277_298_6, 2.829_566]),
        polynomial([0.106_673_3, 12.641_946, -60.582_05, 110.362_77, -89.903_11, 27.348_25]),
    ])
}

impl<S: Skill> Look<'_, S> {
    /// How far everything is: one place for each cell of the finest feature map that points
    /// are read from (with the shipped encoder 96x72 places).
    ///
    /// # Errors
    /// [`SenseError::Skill`] when the policy fails.
    pub fn map(&self) -> Result<FarnessMap, SenseError> {
        let encoder = self.skill.encoder();
        let cells = encoder.point_outputs().iter().map(|&output| {
            let (_, rows, cols) = self.maps.0[output].dim();
            (rows, cols)
        });
        let finest = cells.filter(|(rows, cols)| rows * cols <= MAX_PLACES);
        let (rows, cols) = finest.max_by_key(|(rows, cols)| rows * cols).unwrap_or((1, 1));
        let place = |at: usize, cells: usize| (at as f32 + 0.5) / cells as f32;
        let places = (0..rows * cols).map(|i| (place(i % cols, cols), place(i / cols, rows)));
        let farness = self.farness_at(places)?;
        let grid = Array2::from_shape_fn((rows, cols), |(row, col)| {
            farness.get(row * cols + col).copied().unwrap_or(f32::NAN)
        });
        Ok(FarnessMap::new(grid, self.size()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_warm_and_far_is_cool() {
        let grid = Array2::from_shape_fn((6, 8), |(_, col)| col as f32);
        let map = FarnessMap::new(grid, (80, 60));
        let picture = map.false_colour();
        let (near, far) = (picture.get_pixel(1, 30).0, picture.get_pixel(78, 30).0);
        assert!(near[0] > 150 && near[2] < 60, "{near:?}");
        assert!(far[2] > far[0] + 50, "{far:?}");
        let green = picture.get_pixel(40, 30).0;
        assert!(green[1] > 200, "{green:?}");
    }

    #[test]
    fn pixels_lie_between_the_places_of_the_grid() {
        let map = FarnessMap::new(ndarray::arr2(&[[0.0, 1.0]]), (4, 2));
        let pixels = map.pixels();
        assert_eq!(pixels.dim(), (2, 4));
        assert_eq!(pixels.row(0).to_vec(), [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn a_flat_map_shows_one_colour() {
        let map = FarnessMap::new(Array2::from_elem((3, 3), 0.7), (9, 9));
        let picture = map.false_colour();
        assert!(picture.pixels().all(|p| p == picture.get_pixel(0, 0)));
        assert_eq!(map.range(), (0.7, 0.7));
    }
}
