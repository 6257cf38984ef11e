//! Pictures as Qwen2.5-VL sees them: resized to whole merged patches, normalised, cut.

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::Deserialize;

use super::{VisionConfig, resize, vision::Patches};

/// How pictures become patches.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureConfig {
    /// Pixels a side of a patch.
    pub patch: usize,
    /// Pictures in time that one patch spans; the picture is repeated.
    pub temporal_patch: usize,
    /// Patches a side that are merged into one token.
    pub merge: usize,
    /// Smaller pictures are enlarged to this many pixels.
    pub min_pixels: u64,
    /// Larger pictures are shrunk to this many pixels.
    pub max_pixels: u64,
    /// Mean of red, green and blue, which is taken off.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, by which is divided.
    pub std: [f32; 3],
}

/// Why a picture, or the way in which pictures are to be prepared, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// `preprocessor_config.json` cannot be read.
    #[error("{}: {why}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Limits between which no picture fits.
    #[error(
        "min_pixels = {min} and max_pixels = {max}: {token} (one merged patch) <= max_pixels <= {most} and min_pixels <= max_pixels are needed"
    )]
    Limits {
        /// The lower one.
        min: u64,
        /// The upper one.
        max: u64,
        /// Pixels of one token.
        token: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// A picture without pixels.
    #[error("a picture of {width}x{height} pixels: at least 1x1 is needed")]
    Empty {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// A picture far longer than wide, as the reference refuses it too.
    #[error(
        "a picture of {width}x{height} pixels: one side may be at most {MAX_ASPECT} times the other"
    )]
    Aspect {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// A thin picture that no size within the limits fits.
    #[error(
        "a picture of {width}x{height} pixels would become {new_width}x{new_height}, more than max_pixels = {max}"
    )]
    Unfit {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// The width that it would get.
        new_width: u32,
        /// The height that it would get.
        new_height: u32,
        /// The most pixels.
        max: u64,
    },
}

/// How much longer one side of a picture may be.
const MAX_ASPECT: u32 = 200;
/// The most pixels that a picture may be resized to: those of the published limit.
const MOST_PIXELS: u64 = 12_845_056;

/// `preprocessor_config.json`: what of it changes pixels.
#[derive(Debug, Default, Deserialize)]
struct File {
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
    size: Option<Size>,
    patch_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    merge_size: Option<usize>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    rescale_factor: Option<f64>,
    resample: Option<u32>,
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
}

/// The limits as newer files have them.
#[derive(Debug, Default, Deserialize)]
struct Size {
    shortest_edge: Option<u64>,
    longest_edge: Option<u64>,
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
}

impl PictureConfig {
    /// As published: 56x56 to 12.8 million pixels, normalised with the figures of CLIP.
    pub fn published(vision: &VisionConfig) -> Self {
        PictureConfig {
            patch: vision.patch,
            temporal_patch: vision.temporal_patch,
            merge: vision.merge,
            min_pixels: 56 * 56,
            max_pixels: MOST_PIXELS,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }

    /// Reads `preprocessor_config.json` of a checkpoint folder; where there is none, the
    /// published figures hold.
    ///
    /// # Errors
    /// [`PictureError::Config`] when it is damaged, or asks for what is not done here.
    pub fn read(folder: &Path, vision: &VisionConfig) -> Result<Self, PictureError> {
        let path = folder.join("preprocessor_config.json");
        let mut config = Self::published(vision);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(config),
            read => read.map_err(|error| error.to_string()),
        };
        let wrong = |why: String| PictureError::Config { path: path.clone(), why };
        let text = text.map_err(wrong)?;
        let file: File = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        for (key, got, needed) in [
            ("patch_size", file.patch_size, vision.patch),
            ("temporal_patch_size", file.temporal_patch_size, vision.temporal_patch),
            ("merge_size", file.merge_size, vision.merge),
        ] {
            if let Some(got) = got.filter(|got| *got != needed) {
                return Err(wrong(format!("{key} = {got}, but config.json says {needed}")));
            }
        }
        for (key, value) in [
            ("do_resize", file.do_resize),
            ("do_rescale", file.do_rescale),
            ("do_normalize", file.do_normalize),
        ] {
            if value == Some(false) {
                return Err(wrong(format!("{key} = false is not implemented")));
            }
        }
        if let Some(factor) = file.rescale_factor.filter(|f| (f * 255.0 - 1.0).abs() > 1e-6) {
            return Err(wrong(format!("rescale_factor = {factor}: 1/255 is needed")));
        }
        if let Some(filter) = file.resample.filter(|filter| *filter != 3) {
            return Err(wrong(format!("resample = {filter}: 3 (bicubic) is needed")));
        }
        let size = file.size.unwrap_or_default();
        let min = file.min_pixels.or(size.min_pixels).or(size.shortest_edge);
        let max = file.max_pixels.or(size.max_pixels).or(size.longest_edge);
        config.min_pixels = min.unwrap_or(config.min_pixels);
        config.max_pixels = max.unwrap_or(config.max_pixels).min(MOST_PIXELS);
        config.mean = file.image_mean.unwrap_or(config.mean);
        config.std = file.image_std.unwrap_or(config.std);
        let sound = config.mean.iter().all(|mean| mean.is_finite())
            && config.std.iter().all(|std| std.is_finite() && *std > 0.0);
        if !sound {
            let (mean, std) = (config.mean, config.std);
            return Err(wrong(format!("image_mean = {mean:?}, image_std = {std:?}")));
        }
        Ok(config)
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// [`PictureError::Limits`] when no picture fits between them.
    pub fn with_limits(mut self, min: Option<u64>, max: Option<u64>) -> Result<Self, PictureError> {
        self.max_pixels = max.unwrap_or(self.max_pixels);
        // Asking for small pictures alone lowers the published minimum as well.
        self.min_pixels = min.unwrap_or(self.min_pixels.min(self.max_pixels));
        let (min, max, token) = (self.min_pixels, self.max_pixels, (self.unit() as u64).pow(2));
        match max >= token && max <= MOST_PIXELS && min <= max {
            true => Ok(self),
            false => Err(PictureError::Limits { min, max, token, most: MOST_PIXELS }),
        }
    }

    /// Pixels a side of one merged token, the factor of every resized side.
    pub fn unit(&self) -> usize {
        self.patch * self.merge
    }

    /// Width and height to which a picture is resized: whole merged patches, within the
    /// limits, the ratio of the sides kept as well as that allows (Qwen2-VL report, section
    /// 2.1; rounding as the reference's).
    ///
    /// # Errors
    /// [`PictureError`] for a picture without pixels or far too long.
    pub fn resized(&self, width: u32, height: u32) -> Result<(u32, u32), PictureError> {
        if width == 0 || height == 0 {
            return Err(PictureError::Empty { width, height });
        }
        if width.max(height) / MAX_ASPECT > width.min(height)
            || u64::from(width.max(height)) > u64::from(width.min(height)) * u64::from(MAX_ASPECT)
        {
            return Err(PictureError::Aspect { width, height });
        }
        let unit = self.unit() as f64;
        let (w, h) = (f64::from(width), f64::from(height));
        // The reference rounds halves to even.
        let nearest = |side: f64| (side / unit).round_ties_even() * unit;
        let (min, max) = (self.min_pixels as f64, self.max_pixels as f64);
        let (mut new_w, mut new_h) = (nearest(w), nearest(h));
        if new_w * new_h > max {
            let shrink = (w * h / max).sqrt();
            let floor = |side: f64| ((side / shrink / unit).floor() * unit).max(unit);
            (new_w, new_h) = (floor(w), floor(h));
        } else if new_w * new_h < min {
            let grow = (min / (w * h)).sqrt();
            let ceil = |side: f64| (side * grow / unit).ceil() * unit;
            (new_w, new_h) = (ceil(w), ceil(h));
        }
        let (new_width, new_height) = (new_w.max(unit) as u32, new_h.max(unit) as u32);
        if u64::from(new_width) * u64::from(new_height) > MOST_PIXELS {
            let max = MOST_PIXELS;
            return Err(PictureError::Unfit { width, height, new_width, new_height, max });
        }
        Ok((new_width, new_height))
    }

    /// Tokens that a picture of this size becomes.
    ///
    /// # Errors
    /// As [`PictureConfig::resized`].
    pub fn tokens(&self, width: u32, height: u32) -> Result<usize, PictureError> {
        let (width, height) = self.resized(width, height)?;
        Ok(width as usize / self.unit() * (height as usize / self.unit()))
    }

    /// A picture at the size at which the model sees it, to keep instead of a larger one.
    ///
    /// # Errors
    /// As [`PictureConfig::resized`].
    pub fn resize(&self, picture: &RgbImage) -> Result<RgbImage, PictureError> {
        let (width, height) = self.resized(picture.width(), picture.height())?;
        if (width, height) == picture.dimensions() {
            return Ok(picture.clone());
        }
        let side = |(width, height): (u32, u32)| (width as usize, height as usize);
        let from = side(picture.dimensions());
        let rgb = resize::bicubic(picture.as_raw(), from, side((width, height)));
        let empty = PictureError::Empty { width, height };
        RgbImage::from_raw(width, height, rgb).ok_or(empty)
    }

    /// A picture as patches.
    ///
    /// # Errors
    /// As [`PictureConfig::resized`].
    pub fn patches(&self, picture: &RgbImage) -> Result<Patches, PictureError> {
        let resized = self.resize(picture)?;
        let (width, height) = resized.dimensions();
        Ok(self.cut(resized.as_raw(), width as usize, height as usize))
    }

    /// Cuts RGB bytes, row by row, whose sides are multiples of [`PictureConfig::unit`].
    fn cut(&self, rgb: &[u8], width: usize, height: usize) -> Patches {
        let (patch, merge) = (self.patch, self.merge);
        let [rows, cols] = [height / patch, width / patch];
        let tables: [Vec<f32>; 3] = std::array::from_fn(|channel| {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            (0..256).map(|value| (value as f32 / 255.0 - mean) / std).collect()
        });
        let mut pixels = Vec::with_capacity(3 * self.temporal_patch * width * height);
        for (top, left) in places(rows, cols, merge) {
            for (channel, table) in tables.iter().enumerate() {
                let first = pixels.len();
                for y in 0..patch {
                    let at = ((top * patch + y) * width + left * patch) * 3;
                    let row = &rgb[at..at + 3 * patch];
                    let row = row.chunks_exact(3).map(|rgb| table[usize::from(rgb[channel])]);
                    pixels.extend(row);
                }
                let last = pixels.len();
                for _ in 1..self.temporal_patch {
                    pixels.extend_from_within(first..last);
                }
            }
        }
        Patches { grid: [1, rows, cols], pixels }
    }
}

/// Row and column of every patch: merged tokens in reading order, within each its patches.
fn places(rows: usize, cols: usize, merge: usize) -> impl Iterator<Item = (usize, usize)> {
    let tokens = (0..rows / merge).flat_map(move |r| (0..cols / merge).map(move |c| (r, c)));
    tokens.flat_map(move |(r, c)| {
        (0..merge * merge).map(move |i| (r * merge + i / merge, c * merge + i % merge))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(min: u64, max: u64) -> PictureConfig {
        PictureConfig {
            patch: 14,
            temporal_patch: 2,
            merge: 2,
            min_pixels: min,
            max_pixels: max,
            mean: [0.5; 3],
            std: [0.25; 3],
        }
    }

    /// Computed by the reference (transformers 5.23).
    #[test]
    fn qwen_pictures_are_resized_to_the_sizes_of_the_reference() {
        let wide = config(3136, 12_845_056);
        let narrow = config(3136, 31_360);
        for (config, (w, h), expected) in [
            (&wide, (640, 480), (644, 476)),
            (&wide, (42, 70), (56, 56)),
            (&wide, (1, 1), (56, 56)),
            (&wide, (10, 2000), (28, 812)),
            (&narrow, (640, 480), (196, 140)),
            (&narrow, (150, 211), (140, 224)),
            (&narrow, (97, 66), (84, 56)),
        ] {
            assert_eq!(config.resized(w, h).unwrap(), expected, "{w}x{h}");
        }
    }

    #[test]
    fn qwen_hostile_picture_sizes_are_refused() {
        let config = config(3136, 12_845_056);
        assert!(matches!(config.resized(0, 9), Err(PictureError::Empty { .. })));
        assert!(matches!(config.resized(2001, 10), Err(PictureError::Aspect { .. })));
        assert!(config.resized(2000, 10).is_ok());
        for (w, h) in [(u32::MAX, u32::MAX), (u32::MAX, u32::MAX / 200), (1, 200)] {
            match config.resized(w, h) {
                Ok((w, h)) => assert!(u64::from(w) * u64::from(h) <= MOST_PIXELS),
                Err(error) => assert!(matches!(error, PictureError::Aspect { .. }), "{error}"),
            }
        }
        for (min, max) in [(None, Some(700)), (Some(5000), Some(4000)), (None, Some(u64::MAX))] {
            assert!(config.clone().with_limits(min, max).is_err(), "{min:?} {max:?}");
        }
    }

    #[test]
    fn qwen_patches_of_a_token_stand_together_and_colours_are_apart() {
        // Red says the row, green the column.
        let picture = RgbImage::from_fn(56, 28, |x, y| image::Rgb([y as u8, x as u8, 255]));
        let patches = config(1, 12_845_056).patches(&picture).unwrap();
        assert_eq!(patches.grid, [1, 2, 4]);
        assert_eq!(patches.pixels.len(), 8 * 1176);
        let value = |v: usize| (v as f32 / 255.0 - 0.5) / 0.25;
        for (i, (top, left)) in
            [(0, 0), (0, 14), (14, 0), (14, 14), (0, 28), (0, 42)].into_iter().enumerate()
        {
            let patch = &patches.pixels[i * 1176..(i + 1) * 1176];
            for time in 0..2 {
                let plane = |channel: usize| &patch[(channel * 2 + time) * 196..][..196];
                assert_eq!(plane(0)[14 * 3 + 5], value(top + 3));
                assert_eq!(plane(1)[14 * 3 + 5], value(left + 5));
                assert_eq!(plane(2)[0], 2.0);
            }
        }
    }
}
