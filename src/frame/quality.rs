//! Measures on a frame: how bright, how sharp, how much depth, and how much it differs
//! from another. One pass over the picture, and no allocation once a [`QualityMeter`] has
//! seen a picture of the size.

use image::RgbImage;

use serde::{Deserialize, Serialize};

use super::RgbdFrame;

/// Cells of a signature: a 16x12 thumbnail.
pub const SIGNATURE_CELLS: usize = SIGNATURE_COLUMNS * SIGNATURE_ROWS;
const SIGNATURE_COLUMNS: usize = 16;
const SIGNATURE_ROWS: usize = 12;

/// The longer side of the grey picture on which sharpness is measured, about. Fixed, so
/// that a threshold holds for every camera's resolution.
const WORK_SIDE_PX: usize = 320;
/// Half of the window of the second blur, and its length: 9 pixels as in the paper.
const HALF_WINDOW: usize = 4;
const WINDOW: u32 = 9;
/// The grey picture counts in sixteenths of a level, because integers add up in vectors.
const PER_LEVEL: u32 = 16;
/// Smaller steps between neighbours are noise and shading, not edges: 3 levels.
const EDGE_STEP: u32 = 3 * PER_LEVEL;
/// Fewer edge pixels than this fraction say nothing about sharpness.
const MIN_EDGE_FRACTION: f32 = 0.002;
/// A picture flatter than this many grey levels is not stretched to look like another.
const MIN_SPREAD: f32 = 4.0;
const DARK: u8 = 5;
const BRIGHT: u8 = 250;

/// A small picture of a frame that does not change with exposure: a 16x12 grey thumbnail
/// with mean 0 and spread 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f32>", into = "Vec<f32>")]
pub struct Signature([f32; SIGNATURE_CELLS]);

impl From<Signature> for Vec<f32> {
    fn from(signature: Signature) -> Self {
        signature.0.to_vec()
    }
}

impl TryFrom<Vec<f32>> for Signature {
    type Error = String;

    fn try_from(cells: Vec<f32>) -> Result<Self, String> {
        let got = cells.len();
        let cells = cells.try_into();
        cells.map(Signature).map_err(|_| format!("{got} cells, not {SIGNATURE_CELLS}"))
    }
}

impl Signature {
    /// How different two pictures are: the root mean square difference of the cells, in
    /// units of a picture's own spread. 0 for the same view, about 1.4 for unrelated ones.
    pub fn distance(&self, other: &Signature) -> f32 {
        let squares: f32 = self.0.iter().zip(&other.0).map(|(a, b)| (a - b) * (a - b)).sum();
        (squares / SIGNATURE_CELLS as f32).sqrt()
    }
}

/// What was measured on a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Mean brightness, 0 to 255.
    pub mean_luma: f32,
    /// Fraction of pixels that are black or nearly so (at most 5 of 255).
    pub dark_fraction: f32,
    /// Fraction of pixels that are white or nearly so (at least 250 of 255).
    pub bright_fraction: f32,
    /// Sharpness, 0 (smeared) to 1, along the direction in which the picture is less
    /// sharp; `None` when there are too few edges to tell, as on a bare wall.
    ///
    /// This is one minus the blur of Crete et al., "The Blur Effect" (2007): how much of
    /// the steps between neighbours a blur takes away; what is blurred already loses
    /// little. Unlike the variance of the Laplacian it does not grow with the scene's
    /// contrast, so that a sharp picture of a plain floor stays above a smeared one of a
    /// desk full of things.
    pub sharpness: Option<f32>,
    /// Fraction of the depth picture's pixels that hold a depth; `None` without depth.
    pub valid_depth_fraction: Option<f32>,
    /// For telling near-duplicates.
    pub signature: Signature,
}

/// Measures frames, reusing its memory.
///
/// ```
/// use spatial_ssrl::frame::{FrameId, Registration, RgbdFrame, quality::QualityMeter};
/// let frame = RgbdFrame {
///     id: FrameId(1),
///     stamp_ns: 1,
///     depth_stamp_ns: None,
///     color: image::RgbImage::from_pixel(64, 48, image::Rgb([90, 90, 90])),
///     depth_m: None,
///     intrinsics: None,
///     registration: Registration::Unregistered,
/// };
/// let quality = QualityMeter::default().measure(&frame);
/// assert_eq!(quality.mean_luma, 90.0);
/// assert_eq!(quality.sharpness, None, "a plain wall is neither sharp nor smeared");
/// assert_eq!(quality.signature.distance(&quality.signature), 0.0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct QualityMeter {
    /// Grey in sixteenths of a level, `[work_height, work_width]`.
    grey: Vec<i32>,
    /// Grey of one row of the frame.
    row_luma: Vec<u8>,
    /// Sums of each of the frame's columns over one row of blocks.
    column_sums: Vec<u32>,
}

impl QualityMeter {
    /// Measures one frame.
    pub fn measure(&mut self, frame: &RgbdFrame) -> Quality {
        let light = self.shrink(&frame.color);
        let valid_depth_fraction = frame.depth_m.as_ref().map(|depth_m| {
            let valid = depth_m.iter().filter(|z_m| z_m.is_finite()).count();
            valid as f32 / depth_m.len().max(1) as f32
        });
        Quality {
            mean_luma: light.mean,
            dark_fraction: light.dark,
            bright_fraction: light.bright,
            sharpness: sharpness(&self.grey, light.width),
            valid_depth_fraction,
            signature: signature(&self.grey, light.width),
        }
    }

    /// Fills `grey` with the averages of whole blocks and counts light on the way.
    fn shrink(&mut self, color: &RgbImage) -> Light {
        let (width, height) = (color.width() as usize, color.height() as usize);
        let block = ((width.max(height) + WORK_SIDE_PX / 2) / WORK_SIDE_PX).max(1);
        // A picture thinner than a block keeps one pixel across.
        let (block_x, block_y) = (block.min(width.max(1)), block.min(height.max(1)));
        let (work_width, work_height) = (width / block_x, height / block_y);
        self.grey.clear();
        self.grey.reserve(work_width * work_height);
        let (mut sum, mut dark, mut bright) = (0_u64, 0_u32, 0_u32);

        let row_bytes = (width * 3).max(1);
        let area = (block_x * block_y) as u32;
        for rows in color.as_raw().chunks(row_bytes * block_y) {
            self.column_sums.clear();
            self.column_sums.resize(width, 0);
            for row in rows.chunks_exact(row_bytes) {
                self.row_luma.clear();
                self.row_luma.extend(row.as_chunks::<3>().0.iter().map(|rgb| luma(*rgb)));
                let (mut dark_here, mut bright_here) = (0, 0);
                for (sum, y) in self.column_sums.iter_mut().zip(&self.row_luma) {
                    *sum += u32::from(*y);
                    dark_here += u32::from(*y <= DARK);
                    bright_here += u32::from(*y >= BRIGHT);
                }
                dark += dark_here;
                bright += bright_here;
            }
            sum += self.column_sums.iter().map(|sum| u64::from(*sum)).sum::<u64>();
            // What is below or right of the last whole block counts as light alone.
            if rows.len() == row_bytes * block_y {
                let scaled = |block: &[u32]| (block.iter().sum::<u32>() * PER_LEVEL / area) as i32;
                self.grey.extend(self.column_sums.chunks_exact(block_x).map(scaled));
            }
        }
        let pixels = (width * height).max(1) as f32;
        Light {
            width: work_width,
            mean: sum as f32 / pixels,
            dark: dark as f32 / pixels,
            bright: bright as f32 / pixels,
        }
    }
}

/// What [`QualityMeter::shrink`] counts.
struct Light {
    /// Width of the grey picture.
    width: usize,
    mean: f32,
    dark: f32,
    bright: f32,
}

/// Brightness of a pixel (BT.601 weights in 1/256).
#[inline]
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b) + 128) >> 8) as u8
}

/// Steps between neighbours along one direction, and what a blur takes of them.
#[derive(Default)]
struct Steps {
    all: u64,
    taken: u64,
    edges: u64,
}

impl Steps {
    /// Adds the steps from each of `here` to its place in `next`. `before` and `after` are
    /// the pixels that leave and enter the blur's window from one to the other, so that
    /// their difference is the blurred step, `WINDOW` times. The shortest list counts.
    fn add(&mut self, before: &[i32], here: &[i32], next: &[i32], after: &[i32]) {
        // A row is short enough for 32 bits: 9 * 4080 * 512 steps.
        let (mut all, mut taken, mut edges) = (0_u32, 0_u32, 0_u32);
        for (((before, here), next), after) in before.iter().zip(here).zip(next).zip(after) {
            let step = next.abs_diff(*here);
            let left = (step * WINDOW).saturating_sub(after.abs_diff(*before));
            let is_edge = u32::from(step > EDGE_STEP);
            all += step * is_edge;
            taken += left * is_edge;
            edges += is_edge;
        }
        self.all += u64::from(all);
        self.taken += u64::from(taken);
        self.edges += u64::from(edges);
    }

    fn sharpness(&self, pixels: usize) -> Option<f32> {
        let enough = self.edges as f32 > MIN_EDGE_FRACTION * pixels as f32;
        enough.then(|| self.taken as f32 / (u64::from(WINDOW) * self.all) as f32)
    }
}

/// The smaller of the sharpness along rows and along columns: motion smears one of them.
fn sharpness(grey: &[i32], width: usize) -> Option<f32> {
    let row = |y: usize| grey.get(y * width..(y + 1) * width).unwrap_or(&[]);
    let right = |row: &'_ [i32], by: usize| row.len().min(by)..;
    let (here, next, after) = (HALF_WINDOW, HALF_WINDOW + 1, 2 * HALF_WINDOW + 1);
    let (mut along_x, mut along_y) = (Steps::default(), Steps::default());
    for y in 0..grey.len().checked_div(width)? {
        let r = row(y);
        along_x.add(r, &r[right(r, here)], &r[right(r, next)], &r[right(r, after)]);
        along_y.add(r, row(y + here), row(y + next), row(y + after));
    }
    let pixels = grey.len();
    match (along_x.sharpness(pixels), along_y.sharpness(pixels)) {
        (Some(x), Some(y)) => Some(x.min(y)),
        (x, y) => x.or(y),
    }
}

fn signature(grey: &[i32], width: usize) -> Signature {
    let mut cells = [0.0; SIGNATURE_CELLS];
    let height = grey.len().checked_div(width).unwrap_or(0);
    if height > 0 {
        // Each cell covers at least one pixel, also of a picture smaller than the grid.
        let span = |i: usize, of: usize, side: usize| {
            let start = i * side / of;
            start..((i + 1) * side / of).max(start + 1)
        };
        for (i, cell) in cells.iter_mut().enumerate() {
            let rows = span(i / SIGNATURE_COLUMNS, SIGNATURE_ROWS, height);
            let columns = span(i % SIGNATURE_COLUMNS, SIGNATURE_COLUMNS, width);
            let area = (rows.len() * columns.len()) as f32 * PER_LEVEL as f32;
            let row = |y: usize| grey.get(y * width..).and_then(|row| row.get(columns.clone()));
            *cell = rows.filter_map(row).flatten().sum::<i32>() as f32 / area;
        }
    }
    let n = SIGNATURE_CELLS as f32;
    let mean = cells.iter().sum::<f32>() / n;
    let spread = (cells.iter().map(|c| (c - mean) * (c - mean)).sum::<f32>() / n).sqrt();
    cells.iter_mut().for_each(|cell| *cell = (*cell - mean) / spread.max(MIN_SPREAD));
    Signature(cells)
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{DepthMap, FrameId, Registration};

    fn frame(color: RgbImage, depth_m: Option<DepthMap>) -> RgbdFrame {
        RgbdFrame {
            id: FrameId(0),
            stamp_ns: 0,
            depth_stamp_ns: None,
            color,
            depth_m,
            intrinsics: None,
            registration: Registration::Registered,
        }
    }

    fn measure(color: RgbImage) -> Quality {
        QualityMeter::default().measure(&frame(color, None))
    }

    /// A scene of rectangles, drawn at any size, with every edge sharp to the pixel.
    fn scene(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let (u, v) = (x * 23 / width, y * 17 / height);
            let value = (u * 7919 + v * 104_729 + u * v * 31) % 200;
            Rgb([value as u8 + 20, value as u8 / 2 + 30, 90])
        })
    }

    /// `image` as a camera that moves `length` pixels along x or y during the exposure.
    fn smeared(image: &RgbImage, length: u32, along_x: bool) -> RgbImage {
        RgbImage::from_fn(image.width(), image.height(), |x, y| {
            let mut sum = [0_u32; 3];
            for i in 0..length {
                let (x, y) = if along_x { (x + i, y) } else { (x, y + i) };
                let at = image.get_pixel(x.min(image.width() - 1), y.min(image.height() - 1));
                sum.iter_mut().zip(at.0).for_each(|(sum, c)| *sum += u32::from(c));
            }
            Rgb(sum.map(|c| (c / length) as u8))
        })
    }

    #[test]
    fn light_is_counted_over_every_pixel() {
        // 5 of 67 columns black, 7 white, the rest 100; 67 is no multiple of a block.
        for (width, height) in [(67, 5), (67 * 20, 3), (67 * 20, 1001)] {
            let image = RgbImage::from_fn(width, height, |x, _| {
                Rgb([match x * 67 / width {
                    0..5 => 0,
                    60..67 => 255,
                    _ => 100,
                }; 3])
            });
            let quality = measure(image);
            assert!((quality.dark_fraction - 5.0 / 67.0).abs() < 1e-6);
            assert!((quality.bright_fraction - 7.0 / 67.0).abs() < 1e-6);
            let mean = (7.0 * 255.0 + 55.0 * 100.0) / 67.0;
            assert!((quality.mean_luma - mean).abs() < 1e-3, "{}", quality.mean_luma);
        }
    }

    #[test]
    fn sharpness_falls_with_every_pixel_of_smear_in_either_direction() {
        let sharp = scene(640, 480);
        for along_x in [true, false] {
            let mut last = measure(sharp.clone()).sharpness.unwrap();
            assert!(last > 0.7, "{last}");
            for length in [4, 8, 16, 32] {
                let now = measure(smeared(&sharp, length, along_x)).sharpness.unwrap();
                assert!(now < 0.95 * last, "{length} px: {now} after {last}");
                last = now;
            }
            assert!(last < 0.25, "{last}");
        }
    }

    #[test]
    fn sharpness_does_not_depend_on_contrast_or_resolution() {
        let at = |width, height| measure(scene(width, height)).sharpness.unwrap();
        let full = at(640, 480);
        assert!((at(1280, 960) - full).abs() < 0.1);
        assert!((at(320, 240) - full).abs() < 0.1);
        let mut faint = scene(640, 480);
        faint.iter_mut().for_each(|c| *c = 100 + *c / 5);
        assert!((measure(faint).sharpness.unwrap() - full).abs() < 0.1);
    }

    #[test]
    fn a_plain_wall_has_no_sharpness() {
        // Shading from one side, and noise of two levels.
        let wall = RgbImage::from_fn(640, 480, |x, y| {
            Rgb([(80 + x / 8 + (x * 7 + y * 13) % 5 / 2) as u8; 3])
        });
        assert_eq!(measure(wall).sharpness, None);
    }

    #[test]
    fn a_signature_ignores_exposure_but_sees_motion_and_objects() {
        let view = scene(640, 480);
        let mut darker = view.clone();
        darker.iter_mut().for_each(|c| *c = (u32::from(*c) * 7 / 10) as u8);
        let mut object = view.clone();
        for (x, y) in (300..380).flat_map(|x| (200..280).map(move |y| (x, y))) {
            object.put_pixel(x, y, Rgb([250, 250, 250]));
        }
        let moved = RgbImage::from_fn(640, 480, |x, y| *view.get_pixel((x + 32) % 640, y));
        let signature = |image| measure(image).signature;
        let here = signature(view);
        assert!(here.distance(&signature(darker)) < 0.02);
        assert!(here.distance(&signature(object)) > 0.1);
        assert!(here.distance(&signature(moved)) > 0.3);
    }

    #[test]
    fn depth_is_counted_by_pixels_that_hold_one() {
        let depth_m = DepthMap::from_shape_fn((4, 5), |(y, _)| if y == 0 { 1.0 } else { f32::NAN });
        let mut meter = QualityMeter::default();
        let with = meter.measure(&frame(scene(5, 4), Some(depth_m)));
        assert_eq!(with.valid_depth_fraction, Some(0.25));
        assert_eq!(meter.measure(&frame(scene(5, 4), None)).valid_depth_fraction, None);
    }

    proptest! {
        #[test]
        fn any_size_is_measured_with_finite_numbers(
            (width, height) in prop_oneof![(0_u32..40, 0_u32..40), (0_u32..3, 300_u32..1500), (300_u32..1500, 0_u32..3)],
        ) {
            let quality = if width == 0 || height == 0 {
                measure(RgbImage::new(width, height))
            } else {
                measure(scene(width, height))
            };
            prop_assert!((0.0..=255.0).contains(&quality.mean_luma));
            prop_assert!(quality.sharpness.is_none_or(|s| (0.0..=1.0).contains(&s)));
            prop_assert!(quality.signature.0.iter().all(|cell| cell.is_finite()));
        }
    }
}
