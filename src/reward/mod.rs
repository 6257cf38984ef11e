//! Answer or text in, reward out. Every reward here is verifiable: a comparison with the
//! answer that the task carries, never a model's opinion. No I/O, no state.

use serde::{Deserialize, Serialize};

use crate::task::Answer;

pub mod parse;
pub mod text;

pub use parse::parse_answer;
pub use text::{boxed, score_text};

/// How much of the reward is being right and how much is keeping to the format.
///
/// Published: 0.9 and 0.1.
///
/// ```
/// use spatial_ssrl::reward::RewardWeights;
/// assert_eq!(RewardWeights::default(), RewardWeights::new(0.9, 0.1)?);
/// assert!(RewardWeights::new(0.0, 1.0).is_err(), "format alone teaches nothing");
/// # Ok::<(), spatial_ssrl::reward::WeightsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawWeights")]
pub struct RewardWeights {
    accuracy: f64,
    format: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWeights {
    accuracy: f64,
    format: f64,
}

impl TryFrom<RawWeights> for RewardWeights {
    type Error = WeightsError;

    fn try_from(raw: RawWeights) -> Result<Self, WeightsError> {
        RewardWeights::new(raw.accuracy, raw.format)
    }
}

/// Weights that would reward the wrong thing.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "reward weights accuracy={accuracy}, format={format}: both must be finite, accuracy above 0 and format 0 or more (published: 0.9 and 0.1)"
)]
pub struct WeightsError {
    /// Weight of accuracy as given.
    pub accuracy: f64,
    /// Weight of format as given.
    pub format: f64,
}

impl Default for RewardWeights {
    fn default() -> Self {
        RewardWeights { accuracy: 0.9, format: 0.1 }
    }
}

impl RewardWeights {
    /// Checked weights.
    ///
    /// # Errors
    /// When a weight is negative or not finite, or accuracy weighs nothing.
    pub fn new(accuracy: f64, format: f64) -> Result<Self, WeightsError> {
        let sound = accuracy.is_finite() && format.is_finite() && accuracy > 0.0 && format >= 0.0;
        if sound {
            Ok(RewardWeights { accuracy, format })
        } else {
            Err(WeightsError { accuracy, format })
        }
    }

    /// Weight of a right answer.
    pub fn accuracy(&self) -> f64 {
        self.accuracy
    }

    /// Weight of a well-formed response.
    pub fn format(&self) -> f64 {
        self.format
    }
}

/// What one response earned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The weighted sum that advantages are made from.
    pub overall: f64,
    /// 1 when the answer is right, else 0.
    pub accuracy: f64,
    /// 1 when the response keeps to the format, else 0.
    pub format: f64,
}

/// Scores a machine answer, which has no format to keep: 1 when it equals the right one,
/// else 0.
///
/// ```
/// use spatial_ssrl::{reward::score_answer, task::Answer};
/// assert_eq!(score_answer(&Answer::Choice(1), &Answer::Choice(1)).overall, 1.0);
/// assert_eq!(score_answer(&Answer::Choice(0), &Answer::Choice(1)).overall, 0.0);
/// ```
pub fn score_answer(given: &Answer, right: &Answer) -> Score {
    let accuracy = f64::from(u8::from(given == right));
    Score { overall: accuracy, accuracy, format: 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_reward_the_wrong_thing_are_refused() {
        for (accuracy, format) in [
            (f64::NAN, 0.1),
            (0.9, f64::NAN),
            (f64::INFINITY, 0.1),
            (-0.9, 0.1),
            (0.9, -0.1),
            (0.0, 1.0),
        ] {
            assert!(RewardWeights::new(accuracy, format).is_err(), "{accuracy} {format}");
        }
        assert!(RewardWeights::new(1.0, 0.0).is_ok());
    }

    #[test]
    fn weights_from_a_file_are_checked_like_weights_from_code() {
        let read = |text: &str| toml::from_str::<RewardWeights>(text);
        assert_eq!(read("accuracy = 0.8\nformat = 0.2").unwrap().accuracy(), 0.8);
        let message = read("accuracy = -1.0\nformat = 0.2").unwrap_err().to_string();
        assert!(message.contains("accuracy=-1"), "{message}");
        assert!(read("accuracy = 0.8\nformat = 0.2\nlength = 1.0").is_err());
    }
}
