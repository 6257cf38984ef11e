//! From light on the sensor to an 8-bit picture: exposure, white balance, lens blur,
//! vignette, shot and read noise, tone curve.

use image::RgbImage;
use rayon::prelude::*;

use super::{
    dice::{Dice, hash2, normal},
    render::Raw,
};

/// The colour camera of one room.
#[derive(Clone, Debug)]
pub(super) struct ColorCamera {
    /// Linear gains of red, green and blue.
    white: [f32; 3],
    /// The mean that exposure aims at, linear.
    target: f32,
    /// What the room's mean light is, linear; set once it is known.
    pub room_mean: f32,
    /// Share of each neighbour in the blur, 0 to 0.25.
    blur: f32,
    /// Loss of light in the corners.
    vignette: f32,
    /// Noise of a full pixel and of a dark one, linear.
    shot: f32,
    read: f32,
    curve: Vec<u8>,
}

/// Entries of the tone curve; linear light 0 to [`FULL`].
const CURVE: usize = 4096;
const FULL: f32 = 1.6;

impl ColorCamera {
    pub fn new(dice: &mut Dice) -> Self {
        let warm = dice.range(-0.09, 0.09);
        let contrast = dice.range(0.95, 1.18);
        let curve = (0..CURVE)
            .map(|i| {
                let x = FULL * i as f32 / CURVE as f32;
                // A soft shoulder keeps lamps and windows from clipping hard.
                let x = if x > 0.7 { 0.7 + 0.3 * (1.0 - (-(x - 0.7) / 0.3).exp()) } else { x };
                let s =
                    if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 };
                let s = 0.5 + (s - 0.5) * contrast;
                (s.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
            })
            .collect();
        ColorCamera {
            white: [1.0 + warm, 1.0 + dice.range(-0.02, 0.02), 1.0 - warm],
            target: dice.range(0.17, 0.27),
            room_mean: 0.2,
            blur: dice.range(0.06, 0.2),
            vignette: dice.range(0.05, 0.32),
            shot: dice.range(0.004, 0.012),
            read: dice.range(0.001, 0.004),
            curve,
        }
    }

    /// The picture. `noise_seed`: none for a noiseless camera.
    pub fn develop(&self, raw: &Raw, noise_seed: Option<u32>) -> RgbImage {
        let width = raw.width.max(1);
        let height = raw.linear.len() / width;
        let gain = self.exposure(raw);
        let gains = self.white.map(|w| w * gain);
        let mut bytes = vec![0u8; width * height * 3];
        bytes.par_chunks_mut(width * 3).enumerate().for_each(|(v, row)| {
            let line = |v: usize| raw.linear.get(v * width..(v + 1) * width).unwrap_or_default();
            let own = line(v);
            let above = line(v.saturating_sub(1));
            let below = line((v + 1).min(height - 1));
            let y = (v as f32 + 0.5) / height as f32 * 2.0 - 1.0;
            let keep = 1.0 - 2.0 * self.blur;
            let column = |u: usize| {
                let get = |l: &[[f32; 3]]| l.get(u).copied().unwrap_or_default();
                let (a, b, c) = (get(above), get(own), get(below));
                [0, 1, 2].map(|i| self.blur * (a[i] + c[i]) + keep * b[i])
            };
            let mut left = column(0);
            let mut here = left;
            for (u, out) in row.chunks_exact_mut(3).enumerate() {
                let right = column((u + 1).min(width - 1));
                let x = (u as f32 + 0.5) / width as f32 * 2.0 - 1.0;
                let corner = 0.5 * (x * x + y * y);
                let fall = 1.0 - self.vignette * corner;
                for (i, out) in out.iter_mut().enumerate() {
                    let blurred = self.blur * (left[i] + right[i]) + keep * here[i];
                    let mut light = blurred * gains[i] * fall;
                    if let Some(seed) = noise_seed {
                        let at = (v * width + u) as u32 * 3 + i as u32;
                        let sigma =
                            (self.read * self.read + self.shot * self.shot * light.max(0.0)).sqrt();
                        light += sigma * normal(hash2(seed, at));
                    }
                    let entry = (light.max(0.0) * (CURVE as f32 / FULL)) as usize;
                    *out = self.curve.get(entry.min(CURVE - 1)).copied().unwrap_or(255);
                }
                (left, here) = (here, right);
            }
        });
        RgbImage::from_raw(width as u32, height as u32, bytes).unwrap_or_default()
    }

    /// Automatic exposure: mostly this picture's own mean, in part the room's.
    fn exposure(&self, raw: &Raw) -> f32 {
        let mean = mean_light(raw).max(1e-4);
        self.target / (mean.powf(0.65) * self.room_mean.max(1e-4).powf(0.35))
    }
}

/// The mean light of every 17th pixel, bright ones capped so that a window does not darken
/// all else.
pub(super) fn mean_light(raw: &Raw) -> f32 {
    let (mut sum, mut n) = (0.0f32, 0u32);
    for c in raw.linear.iter().step_by(17) {
        sum += (0.3 * c[0] + 0.6 * c[1] + 0.1 * c[2]).min(1.2);
        n += 1;
    }
    sum / n.max(1) as f32
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn grey(level: f32) -> Raw {
        let depth_m = Array2::from_elem((48, 64), 1.0);
        Raw { width: 64, linear: vec![[level; 3]; 64 * 48], depth_m, lost: vec![0; 64 * 48] }
    }

    #[test]
    fn exposure_brings_dark_and_bright_rooms_to_a_middle() {
        for level in [0.02, 0.2, 1.0] {
            let mut camera = ColorCamera::new(&mut Dice::new(3, 0));
            camera.room_mean = level;
            let picture = camera.develop(&grey(level), None);
            let mean = picture.as_raw().iter().map(|&b| u64::from(b)).sum::<u64>()
                / picture.as_raw().len() as u64;
            assert!((90..170).contains(&mean), "{level}: {mean}");
        }
    }

    #[test]
    fn noise_changes_pixels_but_not_the_mean() {
        let camera = ColorCamera::new(&mut Dice::new(4, 0));
        let (clean, noisy) =
            (camera.develop(&grey(0.2), None), camera.develop(&grey(0.2), Some(9)));
        assert_ne!(clean, noisy);
        let mean = |p: &RgbImage| {
            p.as_raw().iter().map(|&b| f64::from(b)).sum::<f64>() / p.as_raw().len() as f64
        };
        assert!((mean(&clean) - mean(&noisy)).abs() < 1.0);
    }
}
