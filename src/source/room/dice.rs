//! Random choices of scene building, and the hashes that per-pixel noise is made of. A
//! pixel's noise depends on its place and number alone, so any number of threads agree.

use rand::Rng as _;

use crate::task::seed::{Rng, mix, rng};

/// A seeded source of choices.
pub(super) struct Dice(Rng);

impl Dice {
    pub fn new(seed: u64, stream: u64) -> Self {
        Dice(rng(mix(seed, stream)))
    }

    pub fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 0 (in) to 1 (out).
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// `low` to `high`, both in.
    pub fn int(&mut self, low: u32, high: u32) -> u32 {
        let span = u64::from(high.saturating_sub(low)) + 1;
        low + ((u64::from(self.0.next_u32()) * span) >> 32) as u32
    }

    pub fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// -1 or 1.
    pub fn sign(&mut self) -> f32 {
        if self.chance(0.5) { 1.0 } else { -1.0 }
    }

    /// One of `items`.
    pub fn pick<T: Copy, const N: usize>(&mut self, items: [T; N]) -> T {
        const { assert!(N > 0) };
        let i = self.int(0, N as u32 - 1) as usize;
        items[i.min(N - 1)]
    }

    /// An index drawn by weight.
    pub fn weighted<const N: usize>(&mut self, weights: [f32; N]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f32>();
        for (i, w) in weights.iter().enumerate() {
            left -= w;
            if left < 0.0 {
                return i;
            }
        }
        N.saturating_sub(1)
    }
}

/// A 32-bit hash of two numbers (the `lowbias32` finaliser of Wellons, 2018).
#[inline]
pub(super) fn hash2(a: u32, b: u32) -> u32 {
    let mut x = a ^ b.wrapping_mul(0x9E37_79B9).rotate_left(15);
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// 0 (in) to 1 (out) from a hash.
#[inline]
pub(super) fn unit(hash: u32) -> f32 {
    (hash >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Approximately standard normal from a hash: the sum of the hash's and its rehash's eight
/// bytes, within 4.9 standard deviations, far cheaper than an exact transform.
#[inline]
pub(super) fn normal(hash: u32) -> f32 {
    let sum = |h: u32| (h & 255) + ((h >> 8) & 255) + ((h >> 16) & 255) + (h >> 24);
    let total = sum(hash) + sum(hash2(hash, 0x51ed_270b));
    // Eight uniform bytes: mean 8 x 127.5, variance 8 x (256^2 - 1) / 12.
    (total as f32 - 1020.0) * (1.0 / 209.022_33)
}

/// The whole number at or below `x`, without the call that `f32::floor` is on plain x86-64.
#[inline]
pub(super) fn floor(x: f32) -> i32 {
    let i = x as i32;
    i - i32::from((i as f32) > x)
}

/// Smooth noise on a lattice of `period` cells (0: endless): 0 to 1.
pub(super) fn lattice_noise(x: f32, y: f32, period: i32, seed: u32) -> f32 {
    let (ix, iy) = (floor(x), floor(y));
    let (fx, fy) = (ix as f32, iy as f32);
    // One turn is all that callers within the unit square need; a division would cost more
    // than the noise.
    let wrap = |i: i32| match period {
        0 => i,
        n if i < 0 => i + n,
        n if i >= n => i - n,
        _ => i,
    };
    let corner = |i: i32, j: i32| unit(hash2(hash2(seed, wrap(i) as u32), wrap(j) as u32));
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (tx, ty) = (ease(x - fx), ease(y - fy));
    let top = corner(ix, iy) + (corner(ix + 1, iy) - corner(ix, iy)) * tx;
    let low = corner(ix, iy + 1) + (corner(ix + 1, iy + 1) - corner(ix, iy + 1)) * tx;
    top + (low - top) * ty
}

/// Fractal noise that repeats over the unit square: `octaves` octaves from `cells` cells a
/// side, 0 to 1, mean about a half.
pub(super) fn tiling_fractal(u: f32, v: f32, cells: i32, octaves: u32, seed: u32) -> f32 {
    let (mut sum, mut weight, mut total, mut n) = (0.0, 1.0, 0.0, cells.max(1));
    for octave in 0..octaves {
        let k = n as f32;
        sum += weight * lattice_noise(u * k, v * k, n, seed.wrapping_add(octave * 977));
        total += weight;
        weight *= 0.55;
        n = n.saturating_mul(2);
    }
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_noise_has_mean_0_and_deviation_1() {
        let n = 200_000;
        let (mut sum, mut squares) = (0.0f64, 0.0f64);
        for i in 0..n {
            let x = f64::from(normal(hash2(i, 7)));
            sum += x;
            squares += x * x;
        }
        let mean = sum / f64::from(n);
        let deviation = (squares / f64::from(n) - mean * mean).sqrt();
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((deviation - 1.0).abs() < 0.01, "{deviation}");
    }

    #[test]
    fn tiling_noise_repeats() {
        for i in 0..50 {
            let v = i as f32 / 50.0;
            let (a, b) = (tiling_fractal(0.0, v, 4, 4, 3), tiling_fractal(1.0, v, 4, 4, 3));
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn whole_numbers_stay_in_bounds() {
        let mut dice = Dice::new(1, 2);
        let mut seen = [0u32; 4];
        for _ in 0..1000 {
            let i = dice.int(2, 5);
            assert!((2..=5).contains(&i));
            seen[i as usize - 2] += 1;
        }
        assert!(seen.iter().all(|&n| n > 150), "{seen:?}");
    }
}
