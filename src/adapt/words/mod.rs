//! Adapting a policy that answers in words: the same frames, gate, tasks, reward and GRPO as
//! for the compact one, with a cold start before it. An untrained model hardly ever answers in
//! the form asked for, and groups without a right answer teach nothing.
//!
//! What is learnt is an adapter. It is tested on the last part of the recording before the cold
//! start, and after the last step: then a run says whether the adapter may take the place of what
//! it began with. It is kept in any case. Frames become tasks, which are kept with their pictures; a
//! run learns from them ([`run`]) and tells what it did ([`summary`]).

pub mod progress;
pub mod run;
pub mod summary;
mod tasks;

pub use progress::Progress;
pub use run::{Job, Tested, adapt, test};
use serde::{Deserialize, Serialize};
pub use summary::{ColdStartCounts, WordsSeconds, WordsSummary};
pub use tasks::Marks;

use super::{
    budget::BudgetConfig,
    gate::{GateConfig, GateConfigError},
    settings::TaskConfig,
    split::{SplitConfig, SplitError},
    trainer::LearnConfig,
};
use crate::{
    config::OptionalKeys,
    grpo::{ConfigError as GrpoConfigError, GrpoConfig},
    policy::qwen::{QwenError, policy::QwenPolicyConfig},
    task::Answer,
};

/// Every setting of a run with Qwen2.5-VL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WordsConfig {
    /// Decides every random choice.
    pub seed: u64,
    /// The adapter and a checkpoint are written this often while it learns, seconds, for a loss
    /// of power; 0: after every step.
    pub save_every_s: f64,
    /// What the frozen weights are kept in.
    pub weights: WeightType,
    /// Which tasks are made.
    pub tasks: TaskConfig,
    /// Which frames are used.
    pub gate: GateConfig,
    /// What is learnt from and what is tested on.
    pub split: SplitConfig,
    /// Supervised steps before the first rollout.
    pub cold_start: ColdStart,
    /// How the learner learns.
    pub learn: LearnConfig,
    /// The loss.
    pub grpo: GrpoConfig,
    /// The policy.
    pub policy: QwenPolicyConfig,
    /// How much of the machine learning may take.
    pub budget: BudgetConfig,
}

/// What the frozen weights are kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// bfloat16 on a GPU, float32 on the processor, which is slow at anything else.
    #[default]
    Auto,
    /// bfloat16.
    Bf16,
    /// float32.
    F32,
}

/// Supervised steps on tasks and their answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColdStart {
    /// Steps; 0: none.
    pub steps: u64,
    /// Tasks in a step.
    pub batch: usize,
    /// Learning rate.
    pub learning_rate: f64,
}

impl Default for ColdStart {
    fn default() -> Self {
        ColdStart { steps: 50, batch: 8, learning_rate: 1e-4 }
    }
}

impl Default for WordsConfig {
    fn default() -> Self {
        let mut learn = LearnConfig {
            steps: 200,
            views: 4,
            max_views: 400,
            // A task is remembered with its pictures, 0.9 MB each at 640x480.
            memory_per_kind: 200,
            memory_per_patch_kind: 60,
            rehearse: 0.0,
            // About ten times the published rate for all parameters.
            learning_rate: 1e-5,
            start_learning_rate: 1e-5,
            ..LearnConfig::default()
        };
        learn.tasks_per_view.values_mut().for_each(|rate| *rate = 1.0);
        learn.tasks_per_step.values_mut().for_each(|tasks| *tasks = 2);
        WordsConfig {
            seed: 1,
            save_every_s: 300.0,
            weights: WeightType::default(),
            tasks: TaskConfig::default(),
            gate: GateConfig::default(),
            split: SplitConfig { tasks_per_kind: 24, ..SplitConfig::default() },
            cold_start: ColdStart::default(),
            learn,
            grpo: GrpoConfig::default(),
            policy: QwenPolicyConfig::default(),
            budget: BudgetConfig::default(),
        }
    }
}

impl OptionalKeys for WordsConfig {
    const OPTIONAL_KEYS: &'static [&'static str] = &[
        "learn.tasks_per_view.*",
        "learn.tasks_per_step.*",
        "policy.processor.min_pixels",
        "policy.processor.max_pixels",
    ];
}

/// Why a run did not come to a result.
#[derive(Debug, thiserror::Error)]
pub enum WordsError<E: std::error::Error + 'static> {
    /// The source.
    #[error(transparent)]
    Source(E),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] QwenError),
    /// The split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The gate's settings.
    #[error(transparent)]
    Gate(#[from] GateConfigError),
    /// The loss's settings.
    #[error("grpo: {0}")]
    Grpo(#[from] GrpoConfigError),
    /// A setting.
    #[error("{0}")]
    Settings(String),
    /// A run goes on with other tasks than those that it had.
    #[error(
        "{source_name} gives other tasks than when the run was interrupted: has the recording \
         changed, or were other options about it given?"
    )]
    OtherTasks {
        /// The SOURCE argument.
        source_name: String,
    },
    /// The user stopped the run.
    #[error("stopped before there was a result")]
    Stopped,
    /// No frame came, or none passed the gate, or none made a task.
    #[error("nothing to {what}: {frames}")]
    Nothing {
        /// `learn from` or `test on`.
        what: &'static str,
        /// Which counts say why.
        frames: String,
    },
}

/// The text that answers a task as it is asked to be answered: thoughts, then the answer in a
/// box. The cold start teaches the form; what is right is learnt from the reward.
pub fn cold_text(answer: &Answer) -> String {
    format!("<think>I compare the parts of what is shown.</think> \\boxed{{{answer}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{adapt::settings::RunConfig, config::load_toml, reward::text::score_text};

    #[test]
    fn qwen_the_presets_are_read_and_say_what_their_names_say() {
        let three = include_str!("../../../configs/qwen2_5_vl-3b.toml");
        let orin = include_str!("../../../configs/jetson-agx-orin.toml");
        let nano = include_str!("../../../configs/jetson-orin-nano.toml");
        let three: WordsConfig = load_toml(three, "3b".as_ref()).unwrap();
        let orin: WordsConfig = load_toml(orin, "orin".as_ref()).unwrap();
        let nano: RunConfig = load_toml(nano, "nano".as_ref()).unwrap();
        assert_eq!((three.grpo.group_size, orin.grpo.group_size), (5, 8));
        assert_eq!((orin.weights, nano.budget.threads), (WeightType::Bf16, 3));
        for config in [three, orin] {
            let (prompt, sampler) =
                (config.policy.processor.max_prompt_tokens, &config.policy.sampler);
            assert!(prompt + sampler.max_tokens <= sampler.max_context);
        }
        assert!(load_toml::<WordsConfig>("[learn]\nstep = 3", "x".as_ref()).is_err());
        // What is written beside a run is read again.
        let written = toml::to_string(&WordsConfig::default()).unwrap();
        let read: WordsConfig = load_toml(&written, "x".as_ref()).unwrap();
        assert_eq!(read, WordsConfig::default());
    }

    #[test]
    fn qwen_the_cold_start_teaches_the_form_that_is_rewarded() {
        let right = Answer::Choice(2);
        let score = score_text(&cold_text(&right), &right.to_string(), Default::default());
        assert_eq!((score.accuracy, score.format), (1.0, 1.0));
    }
}
