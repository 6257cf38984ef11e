//! Metres from a colour picture and a few known depths.
//!
//! Farness is log depth up to an offset and, for a policy that has seen little, a slope. Both
//! are fitted to the known depths: a search over slopes with the middle of the shortest half
//! as offset (Rousseeuw and Leroy 1987) stands up to wrong samples, iteratively reweighted
//! least squares with Tukey's biweight refines it, and a prior that the slope is near 1 decides
//! where few samples do not. What is left then is carried over to places near by.

use serde::Serialize;

use super::{Look, SenseError, Skill, nearby::Nearby};
use crate::task::Pixel;

/// The fewest known depths.
const LEAST: usize = 2;
/// The most known depths that are used.
const MOST: usize = super::MAX_PLACES;
/// Slopes that are tried, log depth per farness: from 1/4 to 4.
const SLOPES: i32 = 24;
/// The slope is 1 give or take this, before any depth is known.
const PRIOR_SLOPE: f64 = 0.4;
/// What a policy is off by in log depth before any depth is known, and how many samples this
/// is worth.
const PRIOR_SIGMA: f64 = 0.2;
const PRIOR_SAMPLES: f64 = 1.0;
/// Residuals below this are never taken for wrong, log depth.
const LEAST_SCALE: f64 = 0.02;
/// A residual beyond this many standard deviations has no weight (Tukey's biweight).
const TUKEY: f64 = 4.0;
const ROUNDS: usize = 30;

/// A pixel whose depth is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DepthSample {
    /// Where.
    pub pixel: Pixel,
    /// Its depth along the optical axis, metres.
    pub depth_m: f32,
}

/// A distance with its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distance {
    /// Depth along the optical axis, metres.
    pub depth_m: f32,
    /// Two thirds of the true depths lie within this of `depth_m`, metres. It grows with the
    /// distance and beyond the known depths.
    pub error_m: f32,
}

/// Distances at the asked pixels, and what they rest on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distances {
    /// One for each asked pixel.
    pub at: Vec<Distance>,
    /// How farness became metres.
    pub fit: DepthFit,
}

/// Why known depths do not tell distances.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FitError {
    /// Too few or too many known depths.
    #[error("{got} known depths were given, {LEAST} to {MOST} are needed")]
    Samples {
        /// How many there are.
        got: usize,
    },
    /// A depth that is none.
    #[error("known depth {number} is {depth_m} m: a finite depth above 0 is needed")]
    Depth {
        /// Which sample, from 1.
        number: usize,
        /// Its depth.
        depth_m: f32,
    },
    /// Most of the known depths contradict each other or the picture.
    #[error(
        "only {kept} of {got} known depths agree with each other and the picture: too few to tell \
         distances"
    )]
    Disagree {
        /// How many agree.
        kept: usize,
        /// How many there are.
        got: usize,
    },
}

/// From farness to metres: `ln(depth_m) = offset + slope * farness`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DepthFit {
    /// Log depth at farness 0, metres.
    pub offset: f64,
    /// Log depth per farness; positive.
    pub slope: f64,
    /// Standard deviation of log depth, from leaving each sample out in turn.
    pub sigma: f64,
    /// Which samples (from 0) were taken for wrong and left out.
    pub rejected: Vec<usize>,
    #[serde(skip)]
    weights: Weights,
    /// What is left of each sample's log depth, and how much it is trusted.
    #[serde(skip)]
    left: Vec<(f64, f64)>,
}

/// Sums over the samples that count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Weights {
    /// Sum of the weights.
    total: f64,
    /// Weighted mean of farness.
    mean: f64,
    /// Weighted squares about it, and what the prior adds.
    squares: f64,
}

impl Weights {
    /// How much one sample at this farness would draw the line, 0 to 1 inside the samples and
    /// without bound beyond them.
    fn leverage(&self, farness: f64) -> f64 {
        1.0 / self.total + (farness - self.mean).powi(2) / self.squares
    }
}

impl DepthFit {
    /// Fits `(farness, depth in metres)` samples.
    ///
    /// # Errors
    /// [`FitError`] with the numbers.
    ///
    /// ```
    /// use spatial_ssrl::sense::DepthFit;
    /// // Twice as far for every 0.7 of farness; the last sample is wrong.
    /// let known = [(0.0, 1.0), (0.7, 2.01), (1.4, 4.06), (0.35, 1.42), (1.0, 9.0)];
    /// let fit = DepthFit::new(&known)?;
    /// assert_eq!(fit.rejected, [4]);
    /// let at = fit.distance(1.0);
    /// assert!((at.depth_m - 2.72).abs() < 0.1);
    /// # Ok::<(), spatial_ssrl::sense::FitError>(())
    /// ```
    pub fn new(samples: &[(f32, f32)]) -> Result<Self, FitError> {
        let got = samples.len();
        if !(LEAST..=MOST).contains(&got) {
            return Err(FitError::Samples { got });
        }
        let bad = |&(_, depth_m): &(f32, f32)| !depth_m.is_finite() || depth_m <= 0.0;
        if let Some(at) = samples.iter().position(bad) {
            return Err(FitError::Depth { number: at + 1, depth_m: samples[at].1 });
        }
        let points: Vec<(f64, f64)> =
            samples.iter().map(|&(f, z_m)| (f64::from(f), f64::from(z_m).ln())).collect();
        let (mut offset, mut slope) = start(&points);
        let mut weights = Weights::default();
        let mut own: Vec<f64> = vec![1.0; got];
        for _ in 0..ROUNDS {
            let residuals: Vec<f64> = points.iter().map(|(x, y)| y - offset - slope * x).collect();
            let scale = (1.4826 * median(residuals.iter().map(|r| r.abs()))).max(LEAST_SCALE);
            own = residuals
                .iter()
                .map(|r| (1.0 - (r / (TUKEY * scale)).powi(2)).max(0.0).powi(2))
                .collect();
            let total: f64 = own.iter().sum();
            if total <= 0.0 {
                break;
            }
            let mean_of = |value: fn(&(f64, f64)) -> f64| {
                own.iter().zip(&points).map(|(w, p)| w * value(p)).sum::<f64>() / total
            };
            let (mean_x, mean_y) = (mean_of(|p| p.0), mean_of(|p| p.1));
            let prior = (scale.max(PRIOR_SIGMA / 2.0) / PRIOR_SLOPE).powi(2);
            let (mut squares, mut products) = (prior, prior);
            for (w, (x, y)) in own.iter().zip(&points) {
                squares += w * (x - mean_x).powi(2);
                products += w * (x - mean_x) * (y - mean_y);
            }
            // Farness that falls with depth is noise, not a reading.
            slope = (products / squares).max(0.05);
            offset = mean_y - slope * mean_x;
            weights = Weights { total, mean: mean_x, squares };
        }
        let rejected: Vec<usize> = (0..got).filter(|&i| own[i] <= 0.0).collect();
        let kept = got - rejected.len();
        if kept < LEAST || 2 * kept < got {
            return Err(FitError::Disagree { kept, got });
        }
        let (mut sum, mut count) = (PRIOR_SAMPLES * PRIOR_SIGMA.powi(2), PRIOR_SAMPLES);
        for (w, (x, y)) in own.iter().zip(&points).filter(|(w, _)| **w > 0.0) {
            // What the residual would be had the line been fitted without this sample.
            let left_out = (1.0 - w * weights.leverage(*x)).max(0.1);
            sum += w * ((y - offset - slope * x) / left_out).powi(2);
            count += w;
        }
        let sigma = (sum / count).sqrt();
        let left =
            own.iter().zip(&points).map(|(w, (x, y))| (y - offset - slope * x, *w)).collect();
        Ok(DepthFit { offset, slope, sigma, rejected, weights, left })
    }

    /// The distance of a place with this farness in the same picture.
    pub fn distance(&self, farness: f32) -> Distance {
        let farness = f64::from(farness);
        let depth_m = (self.offset + self.slope * farness).exp();
        let sigma = self.sigma * (1.0 + self.weights.leverage(farness)).sqrt();
        Distance { depth_m: depth_m as f32, error_m: (depth_m * sigma.exp_m1()) as f32 }
    }
}

/// The slope and offset that at least half of the points agree with best.
fn start(points: &[(f64, f64)]) -> (f64, f64) {
    let mut best = (f64::INFINITY, 0.0, 1.0);
    for step in -SLOPES / 2..=SLOPES / 2 {
        let slope = 4.0_f64.powf(2.0 * f64::from(step) / f64::from(SLOPES));
        let mut offsets: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
        offsets.sort_by(f64::total_cmp);
        let half = points.len() / 2;
        let spans = offsets.iter().zip(&offsets[half..]);
        let Some((low, high)) = spans.min_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0))) else {
            continue;
        };
        // Slopes far from 1 must be worth it.
        let cost = (high - low) / 2.0 + 0.02 * (slope.ln() / PRIOR_SLOPE).powi(2);
        if cost < best.0 {
            best = (cost, (low + high) / 2.0, slope);
        }
    }
    (best.1, best.2)
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

impl<S: Skill> Look<'_, S> {
    /// Metric distances at `at`, given the depth of a few pixels, some of which may be wrong.
    ///
    /// # Errors
    /// [`SenseError::Fit`] when there are too few known depths or most contradict each other,
    /// [`SenseError::PixelOutside`], [`SenseError::Count`], [`SenseError::Skill`].
    pub fn distance(&self, known: &[DepthSample], at: &[Pixel]) -> Result<Distances, SenseError> {
        if known.len() > MOST {
            return Err(FitError::Samples { got: known.len() }.into());
        }
        let pixels: Vec<Pixel> = known.iter().map(|sample| sample.pixel).collect();
        let farness = self.farness(&pixels)?;
        let samples: Vec<(f32, f32)> =
            farness.into_iter().zip(known).map(|(f, sample)| (f, sample.depth_m)).collect();
        let fit = DepthFit::new(&samples)?;
        let width = f64::from(self.size().0);
        let place = |pixel: &Pixel, farness: f32| {
            [f64::from(pixel.x) / width, f64::from(pixel.y) / width, f64::from(farness)]
        };
        let places =
            samples.iter().zip(&pixels).map(|((farness, _), pixel)| place(pixel, *farness));
        let left: Vec<_> =
            places.zip(&fit.left).map(|(place, (left, trust))| (place, *left, *trust)).collect();
        let nearby = Nearby::new(&left);
        let tell = |(pixel, farness): (&Pixel, f32)| {
            let plain = fit.distance(farness);
            let Some(nearby) = &nearby else { return plain };
            let (add, sigma) = nearby.at(place(pixel, farness));
            let depth_m = f64::from(plain.depth_m) * add.exp();
            Distance { depth_m: depth_m as f32, error_m: (depth_m * sigma.exp_m1()) as f32 }
        };
        let at = at.iter().zip(self.farness(at)?).map(tell).collect();
        Ok(Distances { at, fit })
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::task::seed;

    #[test]
    fn one_sample_in_five_may_be_wrong() {
        for seed in 0..200 {
            let mut rng = seed::rng(seed);
            let slope = rng.random_range(0.6_f32..1.6);
            let known: Vec<(f32, f32)> = (0..20)
                .map(|i| {
                    let f = rng.random_range(-0.5_f32..0.8);
                    let noise = rng.random_range(-0.03_f32..0.03);
                    let wrong = if i % 5 == 0 { rng.random_range(0.5_f32..1.0) } else { 0.0 };
                    (f, (0.4 + slope * f + noise + wrong).exp())
                })
                .collect();
            let fit = DepthFit::new(&known).unwrap();
            let at = fit.distance(0.1);
            let truth = (0.4 + slope * 0.1).exp();
            assert!((at.depth_m / truth - 1.0).abs() < 0.05, "seed {seed}: {fit:?}");
            assert!(at.error_m > 0.0 && at.error_m < 0.3 * truth);
            assert!(fit.rejected.iter().all(|at| at % 5 == 0), "{:?}", fit.rejected);
        }
    }

    #[test]
    fn two_samples_at_one_farness_fall_back_on_the_prior() {
        let fit = DepthFit::new(&[(0.2, 1.0), (0.2, 1.1)]).unwrap();
        assert!((fit.slope - 1.0).abs() < 1e-9);
        let (near, far) = (fit.distance(0.2), fit.distance(1.2));
        assert!((near.depth_m - 1.05).abs() < 0.01);
        assert!(far.error_m / far.depth_m > 1.5 * near.error_m / near.depth_m);
    }

    #[test]
    fn the_error_grows_beyond_the_samples() {
        let known: Vec<(f32, f32)> =
            (0..10).map(|i| (0.1 * i as f32, (0.1 * i as f32).exp())).collect();
        let fit = DepthFit::new(&known).unwrap();
        let relative = |farness| {
            let Distance { depth_m, error_m } = fit.distance(farness);
            error_m / depth_m
        };
        assert!(relative(0.45) < relative(1.5) && relative(1.5) < relative(4.0));
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_with_numbers() {
        assert_eq!(DepthFit::new(&[(0.0, 1.0)]), Err(FitError::Samples { got: 1 }));
        let bad = DepthFit::new(&[(0.0, 1.0), (0.1, -2.0)]).unwrap_err();
        assert!(bad.to_string().contains("known depth 2 is -2 m"), "{bad}");
        assert!(matches!(
            DepthFit::new(&[(0.0, f32::NAN), (0.1, 2.0)]),
            Err(FitError::Depth { number: 1, .. })
        ));
    }
}
