//! What known depths near a pixel say beyond the line through all of them.
//!
//! What is left of the known depths after farness is fitted is not noise alone: where the policy
//! misjudges a thing, it does so for all of the thing. The rest is therefore carried over to
//! places near by that look as far (kriging, or regression by a Gaussian process: Rasmussen and
//! Williams 2006, chapter 2). How much is decided by leaving each sample out in turn (chapter
//! 5.4.2); if that does not help, nothing is carried over.

use super::metric::median;

/// The most samples that are used: solving for them takes some milliseconds.
const MOST: usize = 128;
/// How far samples reach, as parts of the picture's width …
const REACH: f64 = 0.15;
/// … and in farness: over an edge of depth they do not.
const REACH_FARNESS: f64 = 0.4;
/// Variances of what is carried over, against that of the rest.
const SHARES: [f64; 4] = [0.5, 1.5, 5.0, 15.0];
/// What is carried over must make left-out samples this much better to be trusted.
const WORTH: f64 = 0.95;

/// A place: column and row as parts of the picture's width, and farness.
pub(super) type Place = [f64; 3];

/// What is left at samples, to be carried over.
pub(super) struct Nearby {
    places: Vec<Place>,
    /// `[samples]`: what each sample adds.
    adds: Vec<f64>,
    /// Lower triangle of the Cholesky factor of the samples' covariance.
    factor: Vec<Vec<f64>>,
    share: f64,
    /// Standard deviation of the rest, log depth.
    sigma: f64,
}

impl Nearby {
    /// From places, what is left there in log depth, and how much each is trusted, 0 to 1.
    /// Nothing where carrying over does not help; a sample without trust is left out.
    pub(super) fn new(all: &[(Place, f64, f64)]) -> Option<Self> {
        let kept: Vec<&(Place, f64, f64)> =
            all.iter().filter(|(_, _, trust)| *trust > 0.05).collect();
        let every = kept.len().div_ceil(MOST).max(1);
        let kept: Vec<_> = kept.into_iter().step_by(every).collect();
        if kept.len() < 6 {
            return None;
        }
        let places: Vec<Place> = kept.iter().map(|(place, _, _)| *place).collect();
        let rest: Vec<f64> = kept.iter().map(|(_, rest, _)| *rest).collect();
        let plain = median(rest.iter().map(|rest| rest.abs()));
        let mut best: Option<(f64, Nearby)> = None;
        for share in SHARES {
            let covariance = |i: usize, j: usize| {
                let noise = if i == j { 1.0 / kept[i].2.max(0.05) } else { 0.0 };
                share * alike(places[i], places[j]) + noise
            };
            let Some(factor) = cholesky(places.len(), covariance) else { continue };
            let adds = solve(&factor, &rest);
            // What each sample would be off by, were it left out: its share of the solution over
            // its place in the inverse of the covariance.
            let inverse = (0..places.len()).map(|i| {
                let unit: Vec<f64> =
                    (0..places.len()).map(|j| f64::from(u8::from(i == j))).collect();
                solve(&factor, &unit)[i].max(1e-9)
            });
            let inverse: Vec<f64> = inverse.collect();
            let off = median(adds.iter().zip(&inverse).map(|(add, inverse)| (add / inverse).abs()));
            let scaled =
                adds.iter().zip(&inverse).map(|(add, inverse)| (add / inverse.sqrt()).abs());
            let sigma = 1.4826 * median(scaled);
            if off < WORTH * plain && best.as_ref().is_none_or(|(least, _)| off < *least) {
                let places = places.clone();
                best = Some((off, Nearby { places, adds, factor, share, sigma }));
            }
        }
        best.map(|(_, nearby)| nearby)
    }

    /// What is to be added to log depth at a place, and the standard error of the sum.
    pub(super) fn at(&self, place: Place) -> (f64, f64) {
        let alike: Vec<f64> =
            self.places.iter().map(|sample| self.share * alike(*sample, place)).collect();
        let add = alike.iter().zip(&self.adds).map(|(a, b)| a * b).sum();
        let known: f64 = solve(&self.factor, &alike).iter().zip(&alike).map(|(a, b)| a * b).sum();
        let open = (self.share - known).max(0.0);
        (add, self.sigma * (1.0 + open).sqrt())
    }
}

/// How much two places have in common, 0 to 1.
fn alike(a: Place, b: Place) -> f64 {
    let apart = (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
    let farness = (a[2] - b[2]).powi(2);
    (-apart / (2.0 * REACH * REACH) - farness / (2.0 * REACH_FARNESS * REACH_FARNESS)).exp()
}

/// The lower triangle `L` of a symmetric matrix `L Lᵀ`; nothing if it is not positive.
fn cholesky(size: usize, matrix: impl Fn(usize, usize) -> f64) -> Option<Vec<Vec<f64>>> {
    let mut factor: Vec<Vec<f64>> = Vec::with_capacity(size);
    for i in 0..size {
        let mut row: Vec<f64> = Vec::with_capacity(i + 1);
        for (j, above) in factor.iter().enumerate() {
            let sum: f64 = row.iter().zip(above).map(|(a, b)| a * b).sum();
            row.push((matrix(i, j) - sum) / above[j]);
        }
        let left = matrix(i, i) - row.iter().map(|value| value * value).sum::<f64>();
        if left <= 1e-12 {
            return None;
        }
        row.push(left.sqrt());
        factor.push(row);
    }
    Some(factor)
}

/// Solves `L Lᵀ x = right`.
fn solve(factor: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let mut x: Vec<f64> = Vec::with_capacity(right.len());
    for (row, right) in factor.iter().zip(right) {
        let sum: f64 = row.iter().zip(&x).map(|(a, b)| a * b).sum();
        x.push((right - sum) / row.last().copied().unwrap_or(1.0));
    }
    for i in (0..x.len()).rev() {
        x[i] /= factor[i][i];
        let done = x[i];
        for (j, value) in factor[i][..i].iter().enumerate() {
            x[j] -= value * done;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::task::seed;

    #[test]
    fn what_is_left_is_carried_to_its_neighbours_only() {
        let mut rng = seed::rng(8);
        // The left half is misjudged by +0.4.
        let left_out = |x: f64| if x < 0.5 { 0.4 } else { 0.0 };
        let mut samples = |count: usize| -> Vec<(Place, f64, f64)> {
            (0..count)
                .map(|_| {
                    let place = [rng.random(), 0.75 * rng.random::<f64>(), 0.0];
                    (place, left_out(place[0]) + rng.random_range(-0.02..0.02), 1.0)
                })
                .collect()
        };
        let nearby = Nearby::new(&samples(60)).unwrap();
        let (left, error) = nearby.at([0.2, 0.4, 0.0]);
        assert!((left - 0.4).abs() < 0.08 && error < 0.15, "{left} {error}");
        assert!(nearby.at([0.8, 0.4, 0.0]).0.abs() < 0.08);
        // Far from all samples, nothing is added and less is known.
        let (away, more) = nearby.at([0.2, 0.4, 5.0]);
        assert!(away.abs() < 1e-6 && more > 1.2 * error, "{away} {more} {error}");
    }

    #[test]
    fn noise_is_not_carried_over_for_much() {
        let mut rng = seed::rng(9);
        let mut helped = 0;
        for _ in 0..50 {
            let samples: Vec<(Place, f64, f64)> = (0..20)
                .map(|_| ([rng.random(), rng.random(), 0.0], rng.random_range(-0.1..0.1), 1.0))
                .collect();
            let all = Nearby::new(&samples);
            helped += u32::from(all.is_some_and(|nearby| nearby.at([0.5; 3]).0.abs() > 0.1));
        }
        assert!(helped < 5, "{helped}");
    }
}
