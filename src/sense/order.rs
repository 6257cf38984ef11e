//! Which of some pixels are nearer, with a probability.

use serde::Serialize;

use super::{Look, MAX_PLACES, SenseError, Skill};
use crate::task::Pixel;

/// A policy that learns by reward sharpens its answers beyond what held-out pictures bear out:
/// on random pairs of the room it learnt in (TUM fr1_rpy) it was right as often as it said only
/// at a third of its own sharpness, and in rooms it never saw at a quarter.
const TEMPER: f32 = 3.0;

/// Pixels in order of their distance.
///
/// The probabilities are Plackett and Luce's: at every step the next nearest is drawn with
/// odds that fall with farness. The most probable order sorts by farness, so that any number
/// of pixels can be ordered without listing the orders.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Order {
    nearest_first: Vec<usize>,
    farness: Vec<f32>,
    sharpness: f32,
    log_probability: f64,
}

impl Order {
    /// The order of places with these farness scores. `sharpness` is the inverse temperature.
    ///
    /// ```
    /// use spatial_ssrl::sense::Order;
    /// let order = Order::new(vec![0.4, 0.1, 0.9], 10.0);
    /// assert_eq!(order.nearest_first(), [1, 0, 2]);
    /// assert!((order.nearer(1, 0) - 1.0 / (1.0 + (-3.0_f64).exp())).abs() < 1e-6);
    /// ```
    pub fn new(farness: Vec<f32>, sharpness: f32) -> Self {
        let mut nearest_first: Vec<usize> = (0..farness.len()).collect();
        nearest_first.sort_by(|&a, &b| farness[a].total_cmp(&farness[b]));
        let worth = |at: usize| -f64::from(sharpness) * f64::from(farness[at]);
        // From the farthest: the log of the sum over all that are left.
        let (mut left, mut log_probability) = (f64::NEG_INFINITY, 0.0);
        for &at in nearest_first.iter().rev() {
            let own = worth(at);
            let most = own.max(left);
            left = most + ((own - most).exp() + (left - most).exp()).ln();
            log_probability += own - left;
        }
        Order { nearest_first, farness, sharpness, log_probability }
    }

    /// Which of the asked pixels is nearest, which next, …: their places in the question.
    pub fn nearest_first(&self) -> &[usize] {
        &self.nearest_first
    }

    /// The farness of each asked pixel, in the order of the question.
    pub fn farness(&self) -> &[f32] {
        &self.farness
    }

    /// The probability of exactly this order. It falls fast with the number of pixels; ask
    /// [`Order::nearer`] for pairs.
    pub fn probability(&self) -> f64 {
        self.log_probability.exp()
    }

    /// The natural logarithm of [`Order::probability`].
    pub fn log_probability(&self) -> f64 {
        self.log_probability
    }

    /// The probability that pixel `a` of the question is nearer than pixel `b`; one half for
    /// numbers that were not asked about.
    pub fn nearer(&self, a: usize, b: usize) -> f64 {
        let (Some(a), Some(b)) = (self.farness.get(a), self.farness.get(b)) else { return 0.5 };
        1.0 / (1.0 + (-f64::from(self.sharpness) * f64::from(b - a)).exp())
    }
}

impl<S: Skill> Look<'_, S> {
    /// Orders two or more pixels by their distance.
    ///
    /// # Errors
    /// [`SenseError::Count`] for fewer than two pixels or more than [`MAX_PLACES`],
    /// [`SenseError::PixelOutside`], [`SenseError::Skill`].
    pub fn order(&self, pixels: &[Pixel]) -> Result<Order, SenseError> {
        let (got, least, most) = (pixels.len(), 2, MAX_PLACES);
        if !(least..=most).contains(&got) {
            return Err(SenseError::Count { what: "pixels to order", got, least, most });
        }
        let sharpness = self.skill.order_sharpness().map_err(SenseError::Skill)?;
        Ok(Order::new(self.farness(pixels)?, sharpness / TEMPER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_of_all_orders_add_up_to_one() {
        let farness = [0.3, -0.2, 0.05, 0.9];
        let sharpness = 4.0_f64;
        let mut total = 0.0;
        for order in crate::policy::compact::geometry::permutations(4) {
            let mut p = 1.0;
            for at in 0..4 {
                let worth = |i: usize| (-sharpness * f64::from(farness[order[i]])).exp();
                p *= worth(at) / (at..4).map(worth).sum::<f64>();
            }
            let sorted = order.windows(2).all(|w| farness[w[0]] < farness[w[1]]);
            if sorted {
                let found = Order::new(farness.to_vec(), sharpness as f32).probability();
                assert!((found - p).abs() < 1e-6, "{found} {p}");
            }
            total += p;
        }
        assert!((total - 1.0).abs() < 1e-9);
    }

    #[test]
    fn thousands_of_pixels_are_ordered_without_overflow() {
        let farness: Vec<f32> = (0..5000).map(|i| ((i * 37) % 5000) as f32 * 1e-3).collect();
        let order = Order::new(farness, 50.0);
        assert!(order.log_probability().is_finite() && order.log_probability() < 0.0);
        let sorted = order.nearest_first().windows(2);
        assert!(sorted.into_iter().all(|w| order.farness()[w[0]] <= order.farness()[w[1]]));
        assert_eq!(Order::new(vec![1e30, -1e30], 7.0).probability(), 1.0);
    }
}
