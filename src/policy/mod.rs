//! What answers a task and learns from rewards.
//!
//! A [`Policy`] keeps of a task what it needs ([`Policy::observe`]), gives groups of sampled
//! answers ([`Policy::rollout`]), and turns rewarded groups into better weights
//! ([`Policy::update`]).

use crate::{
    frame::RgbdFrame,
    grpo::{GrpoConfig, GrpoMetrics, UpdateSkip},
    reward::{Score, score_answer},
    task::{Answer, Task},
};

pub mod compact;
mod numbered;
#[cfg(feature = "vlm")]
pub mod qwen;

/// Several sampled answers to one task.
#[derive(Clone, Debug)]
pub struct Group {
    /// The answers; none of a policy that answers in words.
    pub answers: Vec<Answer>,
    /// Log-probability of each answer under the policy that gave it.
    pub logp: Vec<f32>,
    /// Entropy of that policy's answers to this task, nats.
    pub entropy: f32,
    /// Seed of the noise under which the policy answered (a policy that learns without any
    /// ignores it): the update scores the answers under the same.
    pub noise: u64,
    /// What was said, one for each answer; none of a policy that chooses among candidates.
    pub responses: Vec<Response>,
}

/// A sampled answer in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The words.
    pub text: String,
    /// The tokens that make them.
    pub tokens: Vec<u32>,
    /// Log-probability of each token under the policy that gave it, nats.
    pub logp: Vec<f32>,
}

/// A group that takes part in an update.
pub struct Rewarded<'a, O> {
    /// What was asked.
    pub observation: &'a O,
    /// What was answered.
    pub group: &'a Group,
    /// One advantage for each answer.
    pub advantages: Vec<f64>,
}

/// Answers tasks and learns from rewards.
pub trait Policy {
    /// What this policy keeps of a task: everything that it needs to answer it again.
    type Observation: Send + Sync;
    /// Why a task cannot be observed or answered.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Observes tasks that were all made from `frame`.
    ///
    /// # Errors
    /// When the tasks do not fit the frame or the policy's encoder fails.
    fn observe(
        &self,
        frame: &RgbdFrame,
        tasks: &[Task],
    ) -> Result<Vec<Self::Observation>, Self::Error>;

    /// `group_size` answers to each task, sampled from the policy.
    ///
    /// # Errors
    /// When the policy fails.
    fn rollout(
        &self,
        observations: &[&Self::Observation],
        group_size: usize,
        seed: u64,
    ) -> Result<Vec<Group>, Self::Error>;

    /// The most probable answer to each task with its probability; none where what the policy
    /// says is no answer.
    ///
    /// # Errors
    /// When the policy fails.
    fn best(
        &self,
        observations: &[&Self::Observation],
    ) -> Result<Vec<(Option<Answer>, f32)>, Self::Error>;

    /// What each answer of a group earned, given the right one.
    fn scores(&self, group: &Group, right: &Answer) -> Vec<Score> {
        group.answers.iter().map(|answer| score_answer(answer, right)).collect()
    }

    /// One step on rewarded groups. When it is skipped, the weights are as they were.
    ///
    /// # Errors
    /// The typed reason why nothing was learnt.
    fn update(
        &mut self,
        groups: &[Rewarded<'_, Self::Observation>],
        config: &GrpoConfig,
        learning_rate: f64,
    ) -> Result<GrpoMetrics, UpdateSkip>;
}
