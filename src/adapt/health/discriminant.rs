//! Telling frames as they are from frames changed on purpose, by the mean of their features.
//!
//! Linear discriminant analysis with a diagonal covariance (Fisher 1936): the difference of the
//! two kinds' means, each channel divided by its variance. How well it tells is measured by
//! leaving each frame out in turn, so that it does not deceive itself.

use serde::{Deserialize, Serialize};

use super::Spread;

/// Variance added to each channel, so that one that hardly varies does not decide alone.
const LEAST_VARIANCE: f64 = 0.02;

/// Tells frames as they are (above 0) from changed ones (below 0).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Discriminant {
    /// `[channel]`.
    weights: Vec<f32>,
    middle: f64,
    /// Scores of frames that it has not seen, as they are.
    pub as_is: Spread,
    /// Scores of frames that it has not seen, changed.
    pub changed: Spread,
}

impl Discriminant {
    /// From the features of frames `[frame][channel]` as they are and changed, in the same
    /// order; nothing from fewer than four frames.
    pub fn new(as_is: &[Vec<f32>], changed: &[Vec<f32>]) -> Option<Self> {
        if as_is.len() < 4 || as_is.len() != changed.len() {
            return None;
        }
        // Neighbours in time look alike: they are left out together.
        let frames = as_is.len();
        let near = (frames / 8).max(1);
        let mut scores = [Vec::with_capacity(frames), Vec::with_capacity(frames)];
        for out in 0..frames {
            let keep = |i: &usize| i.abs_diff(out) >= near;
            let (weights, middle) =
                fit(as_is, changed, &(0..frames).filter(keep).collect::<Vec<_>>());
            scores[0].push(score(&weights, middle, &as_is[out]));
            scores[1].push(score(&weights, middle, &changed[out]));
        }
        let (weights, middle) = fit(as_is, changed, &(0..frames).collect::<Vec<_>>());
        let [usual, other] = scores;
        Some(Discriminant {
            weights,
            middle,
            as_is: Spread::of(usual.into_iter())?,
            changed: Spread::of(other.into_iter())?,
        })
    }

    /// The score of a frame's features, `[channel]`.
    pub fn score(&self, features: &[f32]) -> f64 {
        score(&self.weights, self.middle, features)
    }

    /// How many standard deviations the two kinds lie apart on frames that were left out.
    pub fn apart(&self) -> f64 {
        let deviation = self.as_is.deviation.hypot(self.changed.deviation) / 2.0_f64.sqrt();
        (self.as_is.mean - self.changed.mean) / deviation.max(1e-9)
    }

    /// Log-odds that frames with these scores are as they are: one frame's worth, however many
    /// there are, since they show one scene.
    pub fn odds(&self, seen: &Spread) -> f64 {
        let deviation = self.as_is.deviation.hypot(self.changed.deviation) / 2.0_f64.sqrt();
        let deviation = deviation.max(seen.deviation).max(1e-9);
        let z = |kind: &Spread| (seen.mean - kind.mean) / deviation;
        ((z(&self.changed).powi(2) - z(&self.as_is).powi(2)) / 2.0).clamp(-5.0, 5.0)
    }
}

/// Weights `[channel]` and the middle between the two kinds.
fn fit(as_is: &[Vec<f32>], changed: &[Vec<f32>], frames: &[usize]) -> (Vec<f32>, f64) {
    let channels = as_is.first().map_or(0, Vec::len);
    let count = frames.len().max(1) as f64;
    let mut weights = Vec::with_capacity(channels);
    let mut middle = 0.0;
    for channel in 0..channels {
        let moments = |of: &[Vec<f32>]| {
            let value = |&frame: &usize| f64::from(of[frame][channel]);
            let mean = frames.iter().map(value).sum::<f64>() / count;
            let squares = frames.iter().map(|f| (value(f) - mean).powi(2)).sum::<f64>() / count;
            (mean, squares)
        };
        let ((a, a_squares), (b, b_squares)) = (moments(as_is), moments(changed));
        let weight = (a - b) / ((a_squares + b_squares) / 2.0 + LEAST_VARIANCE);
        weights.push(weight as f32);
        middle += weight * (a + b) / 2.0;
    }
    (weights, middle)
}

fn score(weights: &[f32], middle: f64, features: &[f32]) -> f64 {
    let sum: f64 = weights.iter().zip(features).map(|(w, x)| f64::from(w * x)).sum();
    sum - middle
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::task::seed;

    #[test]
    fn a_real_difference_is_told_and_chance_is_not() {
        let mut rng = seed::rng(4);
        let mut frames = |shift: f32| -> Vec<Vec<f32>> {
            let mut frame = || -> Vec<f32> {
                (0..200)
                    .map(|c| rng.random_range(-1.0_f32..1.0) + if c < 20 { shift } else { 0.0 })
                    .collect()
            };
            (0..20).map(|_| frame()).collect()
        };
        let (as_is, other, same) = (frames(0.0), frames(0.8), frames(0.0));
        let told = Discriminant::new(&as_is, &other).unwrap();
        assert!(told.apart() > 3.0, "{}", told.apart());
        let seen = Spread::of(frames(0.8).iter().map(|f| told.score(f))).unwrap();
        assert!(told.odds(&seen) < -2.0);
        let chance = Discriminant::new(&as_is, &same).unwrap();
        assert!(chance.apart() < 1.5, "{}", chance.apart());
        assert!(Discriminant::new(&as_is[..3], &same[..3]).is_none());
    }
}
