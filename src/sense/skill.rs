//! What a policy must be able to do so that questions can be asked of it.

use std::sync::Arc;

use half::f16;

use crate::policy::compact::{
    CompactPolicy, encoder::Encoder, observe::Observation, served::Served,
};

/// Why a policy failed, in its own words.
pub type SkillError = Box<dyn std::error::Error + Send + Sync>;

/// A learnt spatial skill.
pub trait Skill {
    /// The encoder whose features it reads.
    fn encoder(&self) -> &Encoder;

    /// How far places are, `[points]`, from `[points, channel]`: see
    /// [`CompactPolicy::farness`].
    ///
    /// # Errors
    /// When the policy fails.
    fn farness(&self, points: &[Vec<f16>]) -> Result<Vec<f32>, SkillError>;

    /// Log-probability of every candidate answer to every question: see
    /// [`CompactPolicy::log_probabilities`].
    ///
    /// # Errors
    /// When the policy fails.
    fn log_probabilities(&self, observations: &[&Observation])
    -> Result<Vec<Vec<f32>>, SkillError>;

    /// The inverse temperature of orders.
    ///
    /// # Errors
    /// When the policy fails.
    fn order_sharpness(&self) -> Result<f32, SkillError>;

    /// The standard deviation of a difference of two farness scores, in units of log depth.
    ///
    /// # Errors
    /// When the policy fails.
    fn farness_spread(&self) -> Result<f32, SkillError>;
}

impl Skill for CompactPolicy {
    fn encoder(&self) -> &Encoder {
        CompactPolicy::encoder(self)
    }

    fn farness(&self, points: &[Vec<f16>]) -> Result<Vec<f32>, SkillError> {
        Ok(CompactPolicy::farness(self, points)?)
    }

    fn log_probabilities(
        &self,
        observations: &[&Observation],
    ) -> Result<Vec<Vec<f32>>, SkillError> {
        Ok(CompactPolicy::log_probabilities(self, observations)?)
    }

    fn order_sharpness(&self) -> Result<f32, SkillError> {
        Ok(CompactPolicy::order_sharpness(self)?)
    }

    fn farness_spread(&self) -> Result<f32, SkillError> {
        Ok(CompactPolicy::farness_spread(self)?)
    }
}

impl Skill for Served {
    fn encoder(&self) -> &Encoder {
        Served::encoder(self)
    }

    fn farness(&self, points: &[Vec<f16>]) -> Result<Vec<f32>, SkillError> {
        Ok(Served::farness(self, points)?)
    }

    fn log_probabilities(
        &self,
        observations: &[&Observation],
    ) -> Result<Vec<Vec<f32>>, SkillError> {
        Ok(Served::log_probabilities(self, observations)?)
    }

    fn order_sharpness(&self) -> Result<f32, SkillError> {
        Ok(Served::order_sharpness(self))
    }

    fn farness_spread(&self) -> Result<f32, SkillError> {
        Ok(Served::farness_spread(self))
    }
}

macro_rules! forward {
    ($($of:ty),*) => {$(
        impl<S: Skill + ?Sized> Skill for $of {
            fn encoder(&self) -> &Encoder {
                (**self).encoder()
            }

            fn farness(&self, points: &[Vec<f16>]) -> Result<Vec<f32>, SkillError> {
                (**self).farness(points)
            }

            fn log_probabilities(
                &self,
                observations: &[&Observation],
            ) -> Result<Vec<Vec<f32>>, SkillError> {
                (**self).log_probabilities(observations)
            }

            fn order_sharpness(&self) -> Result<f32, SkillError> {
                (**self).order_sharpness()
            }

            fn farness_spread(&self) -> Result<f32, SkillError> {
                (**self).farness_spread()
            }
        }
    )*};
}

forward!(&S, Box<S>, Arc<S>);
