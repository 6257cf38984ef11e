//! The settings of GRPO, each with its published value.

use serde::{Deserialize, Serialize};

use super::{
    advantage::Advantage,
    average::Average,
    kl::KlEstimator,
    objective::{Clip, Objective},
};

/// Everything that decides the loss. The default is what was published for the five tasks.
///
/// ```
/// use spatial_ssrl::grpo::GrpoConfig;
/// let config: GrpoConfig = toml::from_str("group_size = 8\nkl_coef = 0.0")?;
/// config.validate()?;
/// assert_eq!(config.clip_high, 0.3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpoConfig {
    /// Answers to each task, at least 2. Published: 5.
    pub group_size: usize,
    /// How rewards become advantages: `group`, `none`, `leave_one_out`. Published: `group`.
    pub advantage: Advantage,
    /// Added to the group's standard deviation. Published: 1e-6.
    pub advantage_eps: f64,
    /// `clip`, `gspo_token` or `cispo`. Published: `clip`.
    pub objective: Objective,
    /// The ratio is clipped below at `1 - clip_low`; 1 turns that off. Published: 0.2.
    pub clip_low: f64,
    /// The ratio is clipped above at `1 + clip_high`. Published: 0.3 (DAPO: 0.28).
    pub clip_high: f64,
    /// The loss of an answer with a negative advantage A is at most `-clip_dual * A`; more
    /// than 1. Published: 3.
    pub clip_dual: f64,
    /// `token`, `sequence` or `dr_grpo`. Published: `token`.
    pub average: Average,
    /// The longest answer in tokens, by which `dr_grpo` divides. Published: 2048.
    pub max_tokens: usize,
    /// How the distance to the reference is estimated: `kl`, `abs`, `mse`, `low_var_kl`.
    /// Published: `low_var_kl`.
    pub kl: KlEstimator,
    /// What the distance to the reference weighs in the loss; 0 turns it off. Published: 0.01.
    pub kl_coef: f64,
}

impl Default for GrpoConfig {
    fn default() -> Self {
        GrpoConfig {
            group_size: 5,
            advantage: Advantage::Group,
            advantage_eps: 1e-6,
            objective: Objective::Clip,
            clip_low: 0.2,
            clip_high: 0.3,
            clip_dual: 3.0,
            average: Average::Token,
            max_tokens: 2048,
            kl: KlEstimator::LowVarKl,
            kl_coef: 0.01,
        }
    }
}

/// A setting outside its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key} = {value} is out of range: {range}")]
pub struct ConfigError {
    /// The setting's name.
    pub key: &'static str,
    /// Its value as given.
    pub value: f64,
    /// What would be right.
    pub range: &'static str,
}

impl GrpoConfig {
    /// Refuses settings under which no step could be right.
    ///
    /// # Errors
    /// [`ConfigError`] with the first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let within = |key, value: f64, range, sound: bool| {
            if sound && value.is_finite() { Ok(()) } else { Err(ConfigError { key, value, range }) }
        };
        let group_size = self.group_size as f64;
        within("group_size", group_size, "2 to 1024", (2..=1024).contains(&self.group_size))?;
        let eps = self.advantage_eps;
        within("advantage_eps", eps, "0 or more", eps >= 0.0)?;
        let low = self.clip_low;
        within("clip_low", low, "0 to 1", (0.0..=1.0).contains(&low))?;
        within("clip_high", self.clip_high, "0 or more", self.clip_high >= 0.0)?;
        within("clip_dual", self.clip_dual, "more than 1", self.clip_dual > 1.0)?;
        within("max_tokens", self.max_tokens as f64, "1 or more", self.max_tokens >= 1)?;
        within("kl_coef", self.kl_coef, "0 or more", self.kl_coef >= 0.0)
    }

    /// The clip range.
    pub fn clip(&self) -> Clip {
        Clip { low: self.clip_low, high: self.clip_high, dual: self.clip_dual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_survives_a_file() {
        let config = GrpoConfig::default();
        config.validate().unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<GrpoConfig>(&text).unwrap(), config);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        type Change = fn(&mut GrpoConfig);
        let changes: [(&str, Change); 9] = [
            ("group_size", |c| c.group_size = 1),
            ("advantage_eps", |c| c.advantage_eps = -1.0),
            ("clip_low", |c| c.clip_low = 1.5),
            ("clip_low", |c| c.clip_low = f64::NAN),
            ("clip_high", |c| c.clip_high = f64::INFINITY),
            ("clip_dual", |c| c.clip_dual = 1.0),
            ("max_tokens", |c| c.max_tokens = 0),
            ("kl_coef", |c| c.kl_coef = -0.1),
            ("kl_coef", |c| c.kl_coef = f64::NAN),
        ];
        for (key, change) in changes {
            let mut config = GrpoConfig::default();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().key, key);
        }
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(toml::from_str::<GrpoConfig>("goup_size = 5").is_err());
    }
}
