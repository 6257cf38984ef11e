//! An offset of a depth camera bends planes: what planes in its pictures say about it.
//!
//! Through a pinhole a plane's inverse depth is linear in column and row. Were the camera to add
//! `c` metres to every depth, only `1 / (z - c)` would be. So `z = c + 1 / (a u + b v + d)` is
//! fitted to windows of the picture; those that no plane explains are left out, and the middle
//! of the others' `c` is the offset. A wrong scale leaves planes flat and cannot be seen.

use crate::frame::{DepthMap, SensorModel};

/// Sides of the windows, as parts of the picture's; windows overlap by half.
const WINDOWS: [f64; 4] = [0.5, 0.36, 0.26, 0.18];
/// Pixels along each side of a window that are used.
const SAMPLES: usize = 18;
/// A window needs this part of its pixels to have depth …
const LEAST_VALID: f64 = 0.6;
/// … its farthest depths to be this many times its nearest: a wall seen straight on stays flat
/// under any offset …
const LEAST_RANGE: f64 = 1.25;
/// … a plane that explains it within this many times the sensor's noise …
const LARGEST_NOISE: f64 = 2.0;
/// … and this part of its pixels to lie on the plane.
const LEAST_ON_PLANE: f64 = 0.85;
/// Offsets beyond this are never found, metres, give or take.
const PRIOR_M: f64 = 0.5;
/// How rough surfaces are, metres …
const ROUGH_M: f64 = 0.003;
/// … and how much less than independent readings neighbouring ones say, in standard errors.
const CORRELATED: f64 = 2.0;
/// Windows that leave the offset less certain are not asked, metres.
const LARGEST_SIGMA_M: f64 = 0.12;
/// What a window's offset is off by beside noise, metres: no floor is quite flat.
const UNEVEN_M: f64 = 0.03;

/// The offset that one window speaks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowOffset {
    /// Metres that the camera adds.
    pub offset_m: f64,
    /// Its standard error.
    pub sigma_m: f64,
}

/// What all windows say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaneOffset {
    /// Metres that the camera adds.
    pub offset_m: f64,
    /// Its standard error.
    pub sigma_m: f64,
    /// How many windows hold a slanted plane.
    pub windows: usize,
}

/// The offsets that the planes of one depth picture speak for.
pub fn windows(depth_m: &DepthMap, sensor: SensorModel) -> Vec<WindowOffset> {
    let (rows, cols) = depth_m.dim();
    let mut found = Vec::new();
    for part in WINDOWS {
        let (height, width) = ((rows as f64 * part) as usize, (cols as f64 * part) as usize);
        if height < SAMPLES || width < SAMPLES {
            continue;
        }
        for top in (0..=rows - height).step_by(height / 2) {
            for left in (0..=cols - width).step_by(width / 2) {
                let mut points = Vec::with_capacity(SAMPLES * SAMPLES);
                for i in 0..SAMPLES {
                    for j in 0..SAMPLES {
                        let (row, col) = (top + i * height / SAMPLES, left + j * width / SAMPLES);
                        let z_m = f64::from(depth_m[[row, col]]);
                        if z_m.is_finite() && z_m > 0.05 {
                            let place = |at: usize| at as f64 / SAMPLES as f64 - 0.5;
                            points.push([place(j), place(i), z_m]);
                        }
                    }
                }
                found.extend(window(&points, sensor));
            }
        }
    }
    found
}

/// The weighted middle of what windows say; nothing from fewer than four.
pub fn together(windows: &[WindowOffset]) -> Option<PlaneOffset> {
    if windows.len() < 4 {
        return None;
    }
    let weight = |w: &WindowOffset| 1.0 / (w.sigma_m.powi(2) + UNEVEN_M.powi(2));
    let middle = |values: Vec<(f64, f64)>| {
        let mut values = values;
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
        let mut passed = 0.0;
        values
            .iter()
            .find(|(_, weight)| {
                passed += weight;
                passed >= half
            })
            .map_or(0.0, |(value, _)| *value)
    };
    let offset_m = middle(windows.iter().map(|w| (w.offset_m, weight(w))).collect());
    let spread =
        middle(windows.iter().map(|w| ((w.offset_m - offset_m).abs(), weight(w))).collect());
    // Effective number of windows (Kish 1965); each pixel lies in several.
    let (sum, squares) =
        windows.iter().map(weight).fold((0.0, 0.0), |(a, b), w| (a + w, b + w * w));
    let count = (sum * sum / squares / 3.0).max(1.0);
    let sigma_m = (1.4826 * spread).max(0.005) * 1.2533 / count.sqrt();
    Some(PlaneOffset { offset_m, sigma_m, windows: windows.len() })
}

/// What one window says, if it holds a slanted plane. Points are column and row in -0.5..0.5
/// and depth in metres.
fn window(points: &[[f64; 3]], sensor: SensorModel) -> Option<WindowOffset> {
    if (points.len() as f64) < LEAST_VALID * (SAMPLES * SAMPLES) as f64 {
        return None;
    }
    let mut depths: Vec<f64> = points.iter().map(|p| p[2]).collect();
    depths.sort_by(f64::total_cmp);
    let at = |part: f64| depths[(part * (depths.len() - 1) as f64) as usize];
    if at(0.95) < LEAST_RANGE * at(0.05) {
        return None;
    }
    let noise = |z_m: f64| f64::from(sensor.sigma_m(z_m as f32)).hypot(ROUGH_M);
    // First without an offset: inverse depth by weighted least squares.
    let mut state = [0.0; 4];
    let mut trust = vec![1.0; points.len()];
    for _ in 0..6 {
        let mut normal = Normal::<3>::default();
        for ([u, v, z_m], trust) in points.iter().zip(&trust) {
            let sigma = noise(*z_m) / (z_m * z_m);
            normal.add([*u, *v, 1.0], 1.0 / z_m, trust / (sigma * sigma));
        }
        let [a, b, d] = normal.solve()?;
        state = [a, b, d, 0.0];
        let off =
            |p: &[f64; 3]| (1.0 / p[2] - (a * p[0] + b * p[1] + d)) * p[2] * p[2] / noise(p[2]);
        reweigh(&mut trust, points.iter().map(off), 1.0);
    }
    // Then plane and offset together by Gauss and Newton.
    let (mut sigma, mut scale) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..10 {
        let mut normal = Normal::<4>::default();
        normal.add([0.0, 0.0, 0.0, 1.0], -state[3], 1.0 / (PRIOR_M * PRIOR_M));
        let mut residuals = Vec::with_capacity(points.len());
        for ([u, v, z_m], trust) in points.iter().zip(&trust) {
            let inverse = state[0] * u + state[1] * v + state[2];
            if inverse < 0.02 {
                return None;
            }
            let bend = -1.0 / (inverse * inverse);
            let off = z_m - state[3] - 1.0 / inverse;
            normal.add([bend * u, bend * v, bend, 1.0], off, trust / noise(*z_m).powi(2));
            residuals.push(off / noise(*z_m));
        }
        let step = normal.solve()?;
        sigma = normal.variance_of_last()?.sqrt();
        state.iter_mut().zip(step).for_each(|(state, step)| *state += step);
        scale = reweigh(&mut trust, residuals.into_iter(), 0.5);
    }
    let on_plane = trust.iter().filter(|trust| **trust > 0.2).count() as f64;
    let sound = scale < LARGEST_NOISE
        && on_plane >= LEAST_ON_PLANE * points.len() as f64
        && state[3].is_finite()
        && state[3].abs() < 3.0 * PRIOR_M;
    let sigma_m = CORRELATED * sigma * scale.max(1.0);
    (sound && sigma_m < LARGEST_SIGMA_M).then_some(WindowOffset { offset_m: state[3], sigma_m })
}

/// Tukey's biweight about a robust scale, which is returned.
fn reweigh(trust: &mut [f64], residuals: impl Iterator<Item = f64>, least: f64) -> f64 {
    let residuals: Vec<f64> = residuals.collect();
    let mut sizes: Vec<f64> = residuals.iter().map(|r| r.abs()).collect();
    let middle = sizes.len() / 2;
    let (_, middle, _) = sizes.select_nth_unstable_by(middle, f64::total_cmp);
    let scale = (1.4826 * *middle).max(least);
    for (trust, residual) in trust.iter_mut().zip(residuals) {
        *trust = (1.0 - (residual / (4.0 * scale)).powi(2)).max(0.0).powi(2);
    }
    scale
}

/// Normal equations of least squares with `N` unknowns.
struct Normal<const N: usize> {
    left: [[f64; N]; N],
    right: [f64; N],
}

impl<const N: usize> Default for Normal<N> {
    fn default() -> Self {
        Normal { left: [[0.0; N]; N], right: [0.0; N] }
    }
}

impl<const N: usize> Normal<N> {
    fn add(&mut self, row: [f64; N], value: f64, weight: f64) {
        for i in 0..N {
            for j in 0..N {
                self.left[i][j] += weight * row[i] * row[j];
            }
            self.right[i] += weight * row[i] * value;
        }
    }

    fn solve(&self) -> Option<[f64; N]> {
        solve(self.left, self.right)
    }

    /// The last unknown's place in the inverse of the left side.
    fn variance_of_last(&self) -> Option<f64> {
        let mut unit = [0.0; N];
        unit[N - 1] = 1.0;
        solve(self.left, unit).map(|column| column[N - 1]).filter(|variance| *variance > 0.0)
    }
}

/// Gaussian elimination with pivots; nothing when the matrix is singular.
fn solve<const N: usize>(mut left: [[f64; N]; N], mut right: [f64; N]) -> Option<[f64; N]> {
    for at in 0..N {
        let pivot = (at..N).max_by(|&a, &b| left[a][at].abs().total_cmp(&left[b][at].abs()))?;
        left.swap(at, pivot);
        right.swap(at, pivot);
        let (pivot_row, pivot_right) = (left[at], right[at]);
        if pivot_row[at].abs() < 1e-12 {
            return None;
        }
        for row in 0..N {
            if row != at {
                let factor = left[row][at] / pivot_row[at];
                for col in at..N {
                    left[row][col] -= factor * pivot_row[col];
                }
                right[row] -= factor * pivot_right;
            }
        }
    }
    for at in 0..N {
        right[at] /= left[at][at];
    }
    right.iter().all(|value| value.is_finite()).then_some(right)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::task::seed;

    /// A floor under a wall, seen by a camera that looks down a little.
    fn floor(offset_m: f32) -> DepthMap {
        let mut rng = seed::rng(3);
        DepthMap::from_shape_fn((288, 384), |(row, _)| {
            let down = (row as f32 - 60.0) / 300.0;
            let z_m = (1.0 / down.max(0.01)).min(4.0);
            let noise: f32 = (0..4).map(|_| rng.random_range(-1.0_f32..1.0)).sum();
            z_m + offset_m + noise * SensorModel::default().sigma_m(z_m)
        })
    }

    #[test]
    fn the_offset_of_a_bent_floor_is_found() {
        for offset_m in [-0.2, -0.05, 0.0, 0.1, 0.3] {
            let all = windows(&floor(offset_m), SensorModel::default());
            let found = together(&all).unwrap();
            assert!((found.offset_m - f64::from(offset_m)).abs() < 0.02, "{offset_m}: {found:?}");
            assert!(found.sigma_m < 0.03, "{found:?}");
        }
    }

    #[test]
    fn a_wall_seen_straight_on_says_nothing() {
        let wall = DepthMap::from_elem((288, 384), 2.0);
        assert!(windows(&wall, SensorModel::default()).is_empty());
        assert_eq!(together(&[]), None);
    }
}
