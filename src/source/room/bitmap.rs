//! Textures painted once and looked up per pixel, with averaged smaller copies (a mip
//! chain) so that distant texture turns into its mean instead of flicker.

/// One size of a texture; sides are powers of two.
#[derive(Debug)]
struct Level {
    width: usize,
    height: usize,
    /// Red, green and blue from the lowest byte up.
    texels: Vec<u32>,
}

/// A texture. Values are stored as square roots of linear light, which spends the 8 bits
/// about as the eye does and decodes with one multiplication.
#[derive(Debug)]
pub(super) struct Bitmap {
    levels: Vec<Level>,
}

impl Bitmap {
    /// From `height` rows of `width` linear colours, 0 to 1; both sides powers of two.
    pub fn new(width: usize, height: usize, linear: &[[f32; 3]]) -> Self {
        debug_assert!(width.is_power_of_two() && height.is_power_of_two());
        debug_assert_eq!(linear.len(), width * height);
        let mut levels = Vec::new();
        let (mut w, mut h, mut rows) = (width, height, linear.to_vec());
        loop {
            let encode = |c: f32| (c.clamp(0.0, 1.0).sqrt() * 255.0 + 0.5) as u32;
            let texels = rows.iter().map(|c| encode(c[0]) | encode(c[1]) << 8 | encode(c[2]) << 16);
            levels.push(Level { width: w, height: h, texels: texels.collect() });
            if w == 1 && h == 1 {
                break;
            }
            let (nw, nh) = ((w / 2).max(1), (h / 2).max(1));
            let (sx, sy) = (w / nw, h / nh);
            let mut smaller = Vec::with_capacity(nw * nh);
            for y in 0..nh {
                for x in 0..nw {
                    let mut sum = [0.0f32; 3];
                    for (dx, dy) in [(0, 0), (sx - 1, 0), (0, sy - 1), (sx - 1, sy - 1)] {
                        let c = rows.get((y * sy + dy) * w + x * sx + dx).copied();
                        for (s, c) in sum.iter_mut().zip(c.unwrap_or_default()) {
                            *s += 0.25 * c;
                        }
                    }
                    smaller.push(sum);
                }
            }
            (w, h, rows) = (nw, nh, smaller);
        }
        Bitmap { levels }
    }

    /// The linear colour at (`u`, `v`), repeating; u to the right, v up, 1 is one repeat.
    /// `texels_per_pixel`: how many texels of the full size one picture pixel covers, along
    /// u and v.
    #[inline]
    pub fn sample(&self, u: f32, v: f32, texels_per_pixel: f32) -> [f32; 3] {
        let last = self.levels.len().saturating_sub(1);
        let level = log2(texels_per_pixel.max(1.0)).min(last as f32);
        let (low, part) = (level as usize, level.fract());
        let Some(a) = self.levels.get(low) else { return [0.5; 3] };
        let mut c = a.bilinear(u, v);
        if part > 0.02
            && let Some(b) = self.levels.get(low + 1)
        {
            let other = b.bilinear(u, v);
            for (c, o) in c.iter_mut().zip(other) {
                *c += (o - *c) * part;
            }
        }
        [c[0] * c[0], c[1] * c[1], c[2] * c[2]]
    }

    /// As [`Bitmap::sample`] without the square and from the nearest size only: for noise.
    #[inline]
    pub fn grain(&self, u: f32, v: f32, texels_per_pixel: f32) -> [f32; 3] {
        let level = (log2(texels_per_pixel.max(1.0)) + 0.5) as usize;
        let level = level.min(self.levels.len().saturating_sub(1));
        self.levels.get(level).map_or([0.5; 3], |l| l.bilinear(u, v))
    }

    /// The mean colour, linear.
    pub fn mean(&self) -> [f32; 3] {
        self.sample(0.5, 0.5, 1e9)
    }

    /// Columns of the full size.
    pub fn width(&self) -> usize {
        self.levels.first().map_or(1, |l| l.width)
    }

    /// Rows of the full size.
    pub fn height(&self) -> usize {
        self.levels.first().map_or(1, |l| l.height)
    }
}

/// The logarithm to base 2 of `x` >= 1, linear between powers of two: enough to mix two
/// neighbouring sizes, without a call per pixel.
#[inline]
fn log2(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as f32 - 127.0;
    exponent + f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000) - 1.0
}

impl Level {
    /// The encoded colour at (`u`, `v`), 0 to 1.
    #[inline]
    fn bilinear(&self, u: f32, v: f32) -> [f32; 3] {
        // Shifted far into the positive so that truncation rounds down for every u.
        const SHIFT: f32 = 256.0;
        // Places in 256ths of a texel: the weights of the four neighbours add up to 256.
        let x = (((u + SHIFT) * self.width as f32 - 0.5) * 256.0) as usize;
        let y = (((SHIFT - v) * self.height as f32 - 0.5) * 256.0) as usize;
        let (ix, iy) = (x >> 8, y >> 8);
        let (tx, ty) = ((x & 255) as u64, (y & 255) as u64);
        let (wm, hm) = (self.width - 1, self.height - 1);
        let (x0, x1) = (ix & wm, (ix + 1) & wm);
        let (r0, r1) = ((iy & hm) * self.width, ((iy + 1) & hm) * self.width);
        // A texel's bytes in 16-bit lanes, so that one product weighs all of them.
        let get = |i: usize| {
            let t = u64::from(self.texels.get(i).copied().unwrap_or_default());
            (t & 0x00ff_00ff) | ((t & 0xff00_ff00) << 24)
        };
        let wd = (tx * ty) >> 8;
        let (wb, wc) = (tx - wd, ty - wd);
        let wa = 256 - tx - ty + wd;
        let sum = get(r0 + x0) * wa + get(r0 + x1) * wb + get(r1 + x0) * wc + get(r1 + x1) * wd;
        let lane = |shift: u32| ((sum >> shift) & 0xffff) as f32 * (1.0 / (255.0 * 256.0));
        // Red, green and blue are bytes 0, 1 and 2: lanes 0, 2 and 1.
        [lane(0), lane(32), lane(16)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_texture_repeats_and_keeps_its_up() {
        let linear = [[0.0; 3], [0.0; 3], [1.0; 3], [1.0; 3]];
        let map = Bitmap::new(2, 2, &linear);
        // The second row (bright) is the lower half: v below a half.
        assert!(map.sample(0.25, 0.25, 1.0)[0] > 0.99);
        assert!(map.sample(0.25, 0.75, 1.0)[0] < 0.01);
        for turns in [-3.0, 5.0] {
            assert!((map.sample(0.25 + turns, 0.25 - turns, 1.0)[0] - 1.0).abs() < 0.01);
        }
    }

    #[test]
    fn a_distant_texture_is_its_mean() {
        let linear: Vec<[f32; 3]> =
            (0..64 * 64).map(|i| [((i + i / 64) % 2) as f32, 0.25, 0.5]).collect();
        let map = Bitmap::new(64, 64, &linear);
        let far = map.sample(0.3, 0.8, 1000.0);
        assert!((far[0] - 0.5).abs() < 0.01, "{far:?}");
    }

    #[test]
    fn the_fast_logarithm_is_exact_at_powers_of_two() {
        for k in 0..20 {
            assert_eq!(log2((1u32 << k) as f32), k as f32);
        }
        assert!((log2(3.0) - 1.5).abs() < 1e-6);
    }
}
