//! Every setting of a run, as `configs/compact.toml` holds them.

use serde::{Deserialize, Serialize};

use super::{
    budget::BudgetConfig, checkpoint::CheckpointConfig, gate::GateConfig, learner::PromoteConfig,
    split::SplitConfig, trainer::LearnConfig,
};
use crate::{
    frame::SensorModel,
    grpo::GrpoConfig,
    policy::compact::CompactConfig,
    task::{Preset, TaskKind, TaskSet},
};

/// Every setting of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Decides every random choice.
    pub seed: u64,
    /// Which tasks are made.
    pub tasks: TaskConfig,
    /// Which frames are used.
    pub gate: GateConfig,
    /// What is learnt from and what is tested on.
    pub split: SplitConfig,
    /// How the learner learns.
    pub learn: LearnConfig,
    /// The loss.
    pub grpo: GrpoConfig,
    /// The compact policy.
    pub policy: CompactConfig,
    /// When a candidate takes the place of the policy that serves.
    pub promote: PromoteConfig,
    /// How often checkpoints are written.
    pub checkpoint: CheckpointConfig,
    /// How much of the machine learning may take.
    pub budget: BudgetConfig,
}

impl Default for RunConfig {
    fn default() -> Self {
        RunConfig {
            seed: 1,
            tasks: TaskConfig::default(),
            gate: GateConfig::default(),
            split: SplitConfig::default(),
            learn: LearnConfig::default(),
            // Answers of the compact policy cost next to nothing, so its groups are larger
            // than the published 5; a start from random weights has no reference to keep to.
            grpo: GrpoConfig { group_size: 16, kl_coef: 0.0, ..GrpoConfig::default() },
            policy: CompactConfig::default(),
            promote: PromoteConfig::default(),
            checkpoint: CheckpointConfig::default(),
            budget: BudgetConfig::default(),
        }
    }
}

impl crate::config::OptionalKeys for RunConfig {
    const OPTIONAL_KEYS: &'static [&'static str] =
        &["learn.tasks_per_view.*", "learn.tasks_per_step.*"];
}

/// Which tasks are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskConfig {
    /// `balanced` or `published`.
    pub preset: Preset,
    /// Kinds by name.
    pub kinds: Vec<String>,
    /// The noise of the depth camera.
    pub sensor: SensorModel,
}

impl Default for TaskConfig {
    fn default() -> Self {
        TaskConfig {
            preset: Preset::default(),
            kinds: TaskKind::BUILTIN.iter().map(|kind| kind.name().to_owned()).collect(),
            sensor: SensorModel::default(),
        }
    }
}

/// The task set that a configuration asks for.
///
/// # Errors
/// Which kind does not exist, and which do.
pub fn task_set(config: &RunConfig) -> Result<TaskSet, String> {
    TaskSet::new(config.tasks.preset).only(&config.tasks.kinds).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_toml;

    const SHIPPED: &str = include_str!("../../configs/compact.toml");

    #[test]
    fn the_shipped_settings_are_the_defaults_and_every_key_is_explained() {
        let shipped: RunConfig = load_toml(SHIPPED, "configs/compact.toml".as_ref()).unwrap();
        assert_eq!(shipped, RunConfig::default());
        let lines: Vec<&str> = SHIPPED.lines().collect();
        let mut keys = 0;
        for (i, line) in lines.iter().enumerate() {
            if line.contains(" = ") && !line.starts_with('#') {
                keys += 1;
                assert!(lines[i - 1].starts_with('#'), "{line} is not explained");
            }
        }
        fn leaves(value: &toml::Value) -> usize {
            match value {
                toml::Value::Table(table) => table.values().map(leaves).sum(),
                _ => 1,
            }
        }
        let all = leaves(&toml::Value::try_from(RunConfig::default()).unwrap());
        assert_eq!(keys, all, "configs/compact.toml has every key");
    }

    #[test]
    fn a_partly_given_table_keeps_the_other_defaults_of_a_run() {
        let text = "[grpo]\nclip_low = 0.1";
        let config: RunConfig = load_toml(text, "a.toml".as_ref()).unwrap();
        assert_eq!(config.grpo.clip_low, 0.1);
        assert_eq!(config.grpo.group_size, RunConfig::default().grpo.group_size);
        assert_eq!(config.grpo.kl_coef, 0.0);
    }

    #[test]
    fn a_mistyped_key_is_refused_with_the_nearest_one() {
        let error = load_toml::<RunConfig>("[learn]\nstep = 3", "a.toml".as_ref()).unwrap_err();
        assert!(error.to_string().contains("did you mean learn.steps?"), "{error}");
    }
}
