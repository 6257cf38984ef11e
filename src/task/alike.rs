//! How different two parts of a picture look, cheaply: a question about parts that look
//! the same has no answer that can be read off the picture.

use image::RgbImage;

use super::{Rect, Skip, Turn};

/// Cells a side of the grid on which parts are compared.
const CELLS: usize = 8;

/// Samples a side of a cell; their mean takes the camera's noise down by this factor.
const SAMPLES: usize = 4;

/// Parts whose cells differ by less than this on average, in grey levels, count as alike.
/// Above the noise that remains in cell means of a dim 8-bit picture (sigma of 6 levels
/// leaves a mean difference of 1.7); two real patches of one frame differ by 20 to 60.
pub(crate) const ALIKE_BELOW: f32 = 2.0;

/// The mean colour of each cell of a part, rows from the top.
#[derive(Clone, Copy)]
pub(crate) struct Look([[f32; 3]; CELLS * CELLS]);

impl Look {
    /// Samples a rectangle, which is clamped to the picture.
    pub(crate) fn of(picture: &RgbImage, rect: Rect) -> Look {
        let (width, height) = picture.dimensions();
        let bytes: &[u8] = picture;
        let at = |start: i32, length: u32, limit: u32, i: usize| {
            let offset = (2 * i as u64 + 1) * u64::from(length) / (2 * (CELLS * SAMPLES) as u64);
            (i64::from(start) + offset as i64).clamp(0, i64::from(limit.saturating_sub(1))) as usize
        };
        let mut columns = [0; CELLS * SAMPLES];
        for (i, column) in columns.iter_mut().enumerate() {
            *column = at(rect.x, rect.width, width, i) * 3;
        }
        let mut cells = [[0.0; 3]; CELLS * CELLS];
        for sample_row in 0..CELLS * SAMPLES {
            let row = at(rect.y, rect.height, height, sample_row) * width as usize * 3;
            for (i, column) in columns.iter().enumerate() {
                let cell = &mut cells[sample_row / SAMPLES * CELLS + i / SAMPLES];
                if let Some(pixel) = bytes.get(row + column..row + column + 3) {
                    for (sum, value) in cell.iter_mut().zip(pixel) {
                        *sum += f32::from(*value);
                    }
                }
            }
        }
        let scale = 1.0 / (SAMPLES * SAMPLES) as f32;
        Look(cells.map(|cell| cell.map(|sum| sum * scale)))
    }

    /// The same part turned.
    pub(crate) fn turned(&self, turn: Turn) -> Look {
        let last = CELLS - 1;
        let mut cells = self.0;
        for row in 0..CELLS {
            for col in 0..CELLS {
                let (from_row, from_col) = match turn {
                    Turn::None => (row, col),
                    Turn::FlipVertical => (last - row, col),
                    Turn::FlipHorizontal => (row, last - col),
                    Turn::Rotate90 => (last - col, row),
                    Turn::Rotate180 => (last - row, last - col),
                    Turn::Rotate270 => (col, last - row),
                };
                cells[row * CELLS + col] = self.0[from_row * CELLS + from_col];
            }
        }
        Look(cells)
    }

    /// The mean absolute difference over cells and channels, in grey levels.
    pub(crate) fn difference(&self, other: &Look) -> f32 {
        let cells = self.0.as_flattened().iter().zip(other.0.as_flattened());
        cells.map(|(a, b)| (a - b).abs()).sum::<f32>() / (CELLS * CELLS * 3) as f32
    }
}

/// Refuses a smallest difference that is too small.
pub(crate) fn require_different(difference: f32) -> Result<(), Skip> {
    if difference < ALIKE_BELOW {
        return Err(Skip::PatchesAlike { difference, needed: ALIKE_BELOW });
    }
    Ok(())
}

/// Refuses a picture whose shorter side is below `min` pixels.
pub(crate) fn require_size(picture: &RgbImage, min: u32) -> Result<(), Skip> {
    let (width, height) = picture.dimensions();
    if width.min(height) < min {
        return Err(Skip::PictureTooSmall { width, height, min });
    }
    Ok(())
}

/// Frames for unit tests.
#[cfg(test)]
pub(crate) mod test_frames {
    use image::{Rgb, RgbImage};
    use rand::RngExt;

    use crate::{
        frame::{FrameId, Registration, RgbdFrame},
        task::seed,
    };

    /// A frame around a picture.
    pub(crate) fn frame(id: u64, color: RgbImage) -> RgbdFrame {
        RgbdFrame {
            id: FrameId(id),
            stamp_ns: id as i64,
            depth_stamp_ns: None,
            color,
            depth_m: None,
            intrinsics: None,
            registration: Registration::Unregistered,
        }
    }

    /// A picture of overlapping coloured boxes of all sizes with a little noise: structure
    /// at every scale and no symmetry.
    pub(crate) fn textured(id: u64, width: u32, height: u32) -> RgbdFrame {
        let mut rng = seed::rng(seed::mix(id, 77));
        let mut picture = RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 160 / width) as u8, (y * 160 / height) as u8, 90])
        });
        for i in 0..160_u32 {
            let side = (width.min(height) * 2 / (3 + i / 2)).max(1);
            let (w, h) = (rng.random_range(1..=side), rng.random_range(1..=side));
            let (x0, y0) = (rng.random_range(0..width), rng.random_range(0..height));
            let color = Rgb([rng.random(), rng.random(), rng.random()]);
            for y in y0..(y0 + h).min(height) {
                for x in x0..(x0 + w).min(width) {
                    picture.put_pixel(x, y, color);
                }
            }
        }
        for value in picture.iter_mut() {
            *value = value.saturating_add(rng.random_range(0..6));
        }
        frame(id, picture)
    }

    /// One colour with the noise of a camera.
    pub(crate) fn flat(id: u64, grey: u8, noise: i32, width: u32, height: u32) -> RgbdFrame {
        let mut rng = seed::rng(id);
        let mut picture = RgbImage::new(width, height);
        for value in picture.iter_mut() {
            let noise = if noise == 0 { 0 } else { rng.random_range(-noise..=noise) };
            *value = (i32::from(grey) + noise).clamp(0, 255) as u8;
        }
        frame(id, picture)
    }
}

#[cfg(test)]
mod tests {
    use super::{test_frames::*, *};

    const ALL: Rect = Rect { x: 0, y: 0, width: 96, height: 96 };

    #[test]
    fn a_turned_look_is_the_look_of_the_turned_picture() {
        let frame = textured(4, 96, 96);
        let look = Look::of(&frame.color, ALL);
        let quarter = Look::of(&image::imageops::rotate90(&frame.color), ALL);
        let three = Look::of(&image::imageops::rotate270(&frame.color), ALL);
        let down = Look::of(&image::imageops::flip_vertical(&frame.color), ALL);
        let mirrored = Look::of(&image::imageops::flip_horizontal(&frame.color), ALL);
        // The sample of a cell shifts by one pixel when the picture is turned.
        for (turn, expected) in [
            (Turn::Rotate90, quarter),
            (Turn::Rotate270, three),
            (Turn::FlipVertical, down),
            (Turn::FlipHorizontal, mirrored),
        ] {
            let off = look.turned(turn).difference(&expected);
            let straight = look.difference(&expected);
            assert!(off < 0.3 * straight, "{turn:?}: {off} against {straight}");
        }
    }

    #[test]
    fn noise_alone_is_alike_and_texture_is_not() {
        let left = Rect { width: 48, ..ALL };
        let right = Rect { x: 48, ..left };
        let difference = |frame: &crate::frame::RgbdFrame| {
            Look::of(&frame.color, left).difference(&Look::of(&frame.color, right))
        };
        for seed in 0..20 {
            assert!(difference(&flat(seed, 120, 10, 96, 96)) < ALIKE_BELOW);
            assert!(difference(&flat(seed, 255, 0, 96, 96)) < ALIKE_BELOW);
            assert!(difference(&textured(seed, 96, 96)) > 3.0 * ALIKE_BELOW);
        }
    }
}
