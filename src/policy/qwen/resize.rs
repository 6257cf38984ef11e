//! Bicubic resizing with antialiasing, bit for bit as the reference does it.
//!
//! The reference resizes bytes: first every row, then every column, each with weights rounded
//! to 16 bits and sums rounded to bytes. One grey level of difference is already twice the
//! tolerance to which its pixel values are compared after normalisation, so another library's
//! rounding, or columns before rows, will not do.

/// Resizes RGB bytes, row by row, from `(width, height)` to another one. Both must be at least
/// 1x1, and `rgb` must have their size.
pub fn bicubic(rgb: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    let rows = match from.0 == to.0 {
        true => rgb.to_vec(),
        false => {
            let taps = Taps::new(from.0, to.0);
            let mut out = Vec::with_capacity(3 * to.0 * from.1);
            for row in rgb.chunks_exact(3 * from.0) {
                for i in 0..to.0 {
                    let (first, weights) = taps.of(i);
                    let mut sums = [taps.half(); 3];
                    for (pixel, weight) in row[3 * first..].chunks_exact(3).zip(weights) {
                        for (sum, value) in sums.iter_mut().zip(pixel) {
                            *sum += i32::from(*value) * i32::from(*weight);
                        }
                    }
                    out.extend(sums.map(|sum| taps.byte(sum)));
                }
            }
            out
        }
    };
    if from.1 == to.1 {
        return rows;
    }
    let taps = Taps::new(from.1, to.1);
    let stride = 3 * to.0;
    let mut out = Vec::with_capacity(stride * to.1);
    let mut sums = vec![0_i32; stride];
    for i in 0..to.1 {
        let (first, weights) = taps.of(i);
        sums.fill(taps.half());
        for (row, weight) in rows[first * stride..].chunks_exact(stride).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * i32::from(*weight);
            }
        }
        out.extend(sums.iter().map(|sum| taps.byte(*sum)));
    }
    out
}

/// The weights of every output place along one side.
struct Taps {
    /// First input place and range of `weights` of each output place.
    places: Vec<(usize, std::ops::Range<usize>)>,
    weights: Vec<i16>,
    /// A weight of one is `1 << bits`.
    bits: u32,
}

impl Taps {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        // Shrinking, the filter spans as many more input places.
        let stretch = scale.max(1.0);
        let support = 2.0 * stretch;
        let mut places = Vec::with_capacity(to);
        let mut exact: Vec<f64> = Vec::new();
        for i in 0..to {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(from);
            let at = exact.len();
            exact.extend((first..last).map(|j| cubic((j as f64 - centre + 0.5) / stretch)));
            let sum: f64 = exact[at..].iter().sum();
            exact[at..].iter_mut().for_each(|weight| *weight /= sum);
            places.push((first, at..exact.len()));
        }
        // As fine as 16 bits hold the largest of them.
        let largest = exact.iter().copied().fold(0.0, f64::max);
        let fits = |bits: &u32| (0.5 + largest * f64::from(1_u32 << bits)) < f64::from(1 << 15);
        let bits = (1..=22).take_while(fits).last().unwrap_or(0);
        let one = f64::from(1_u32 << bits);
        let weights = exact.iter().map(|weight| (weight * one).round() as i16).collect();
        Taps { places, weights, bits }
    }

    fn of(&self, i: usize) -> (usize, &[i16]) {
        let (first, range) = &self.places[i];
        (*first, &self.weights[range.clone()])
    }

    /// What is added before rounding down.
    fn half(&self) -> i32 {
        (1 << self.bits) >> 1
    }

    fn byte(&self, sum: i32) -> u8 {
        (sum >> self.bits).clamp(0, 255) as u8
    }
}

/// Keys' cubic convolution with a = -1/2 (Keys 1981).
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    match x {
        _ if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qwen_an_even_picture_stays_even_at_every_size() {
        for (from, to) in [((1, 1), (56, 28)), ((97, 66), (84, 56)), ((300, 7), (28, 56))] {
            let resized = bicubic(&[[9, 120, 255]].repeat(from.0 * from.1).concat(), from, to);
            assert_eq!(resized.len(), 3 * to.0 * to.1);
            assert!(resized.chunks_exact(3).all(|rgb| rgb == [9, 120, 255]), "{from:?} {to:?}");
        }
    }

    #[test]
    fn qwen_a_picture_of_the_right_size_is_left_alone() {
        let rgb: Vec<u8> = (0..28 * 28 * 3).map(|i| (i * 7) as u8).collect();
        assert_eq!(bicubic(&rgb, (28, 28), (28, 28)), rgb);
    }

    #[test]
    fn qwen_halving_a_picture_of_stripes_gives_grey() {
        let rgb: Vec<u8> =
            (0..64 * 64).flat_map(|i| [if i % 2 == 0 { 0 } else { 255 }; 3]).collect();
        let halved = bicubic(&rgb, (64, 64), (32, 32));
        let inner = halved.chunks_exact(3).skip(32 * 8).take(32 * 16);
        let inner = inner.enumerate().filter(|(i, _)| (4..28).contains(&(i % 32)));
        assert!(inner.map(|(_, rgb)| rgb[0]).all(|v| (120..=136).contains(&v)));
    }
}
