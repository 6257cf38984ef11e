//! What is logged of a step, under the names that TRL uses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    advantage::{GroupError, group_signal, unbiased_std},
    average::{Average, Totals},
    batch::{ShapeError, TokenBatch},
    config::GrpoConfig,
    objective::terms,
};

/// The metrics of one step; serialised flat, under TRL's names where it has one. A metric
/// that does not apply is left out.
///
/// ```
/// use spatial_ssrl::grpo::GrpoMetrics;
/// let mut metrics = GrpoMetrics { step: 3, reward: 0.5, ..GrpoMetrics::default() };
/// metrics.set_accuracy("flip", 0.75);
/// metrics.set_seconds("rollout", 0.02);
/// let line = serde_json::to_string(&metrics).unwrap();
/// assert!(line.contains(r#""rewards/flip/accuracy":0.75"#), "{line}");
/// assert!(line.contains(r#""clip_ratio/low_mean":0.0"#) && line.contains(r#""time/rollout":0.02"#));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GrpoMetrics {
    /// Number of the step.
    pub step: u64,
    /// The loss that was made small.
    pub loss: f64,
    /// Mean reward.
    pub reward: f64,
    /// Mean over groups of the rewards' unbiased standard deviation.
    pub reward_std: f64,
    /// Part of the groups without spread in accuracy.
    pub frac_reward_zero_std: f64,
    /// Distance to the reference policy, by the configured estimator.
    pub kl: f64,
    /// Mean of `-logp` of what was sampled: an estimate of the entropy.
    pub entropy: f64,
    /// Mean of `old_logp - logp`: how far the policy has moved since it sampled.
    pub ppo_kl: f64,
    /// Part of the tokens held at the lower bound of the ratio.
    #[serde(rename = "clip_ratio/low_mean")]
    pub clip_ratio_low_mean: f64,
    /// Part of the tokens held at the upper bound of the ratio.
    #[serde(rename = "clip_ratio/high_mean")]
    pub clip_ratio_high_mean: f64,
    /// Part of the tokens held at either bound.
    #[serde(rename = "clip_ratio/region_mean")]
    pub clip_ratio_region_mean: f64,
    /// Part of the tokens held at the dual bound.
    #[serde(rename = "clip_ratio/dual_mean")]
    pub clip_ratio_dual_mean: f64,
    /// Mean number of tokens of an answer.
    #[serde(rename = "completions/mean_length")]
    pub completions_mean_length: f64,
    /// Norm of the gradient before it was clipped.
    pub grad_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Tokens learnt from so far.
    pub num_tokens: u64,
    /// `rewards/<task>/accuracy` and `time/<phase>` in seconds.
    #[serde(flatten)]
    pub named: BTreeMap<String, f64>,
}

impl GrpoMetrics {
    /// Sets `rewards/<task>/accuracy`.
    pub fn set_accuracy(&mut self, task: &str, accuracy: f64) {
        self.named.insert(format!("rewards/{task}/accuracy"), accuracy);
    }

    /// Sets `time/<phase>`, seconds.
    pub fn set_seconds(&mut self, phase: &str, seconds: f64) {
        self.named.insert(format!("time/{phase}"), seconds);
    }

    /// Fills in what rewards tell: `reward`, `reward_std`, `frac_reward_zero_std`. All
    /// groups count, those that were dropped for want of spread too.
    ///
    /// `rewards` and `accuracy`: `[groups * group_size]`, groups one after another.
    ///
    /// # Errors
    /// [`GroupError`]: groups of fewer than 2, values that are no whole groups, a value that
    /// is not finite.
    pub fn set_rewards(
        &mut self,
        rewards: &[f64],
        accuracy: &[f64],
        group_size: usize,
    ) -> Result<(), GroupError> {
        if group_size < 2 {
            return Err(GroupError::TooSmall { n: group_size });
        }
        if rewards.len() != accuracy.len() || !rewards.len().is_multiple_of(group_size) {
            return Err(GroupError::NotWholeGroups { rewards: rewards.len(), group_size });
        }
        let groups = (rewards.len() / group_size).max(1) as f64;
        let (mut spread_sum, mut without) = (0.0, 0.0);
        for (rewards, accuracy) in
            rewards.chunks_exact(group_size).zip(accuracy.chunks_exact(group_size))
        {
            if !group_signal(accuracy)?.teaches() {
                without += 1.0;
            }
            group_signal(rewards)?;
            spread_sum += unbiased_std(rewards, rewards.iter().sum::<f64>() / group_size as f64);
        }
        self.reward = rewards.iter().sum::<f64>() / rewards.len().max(1) as f64;
        self.reward_std = spread_sum / groups;
        self.frac_reward_zero_std = without / groups;
        Ok(())
    }

    /// Fills in what log-probabilities tell: `kl`, `entropy`, `ppo_kl`, the clip ratios and
    /// the mean length. `kl` and `entropy` are averaged as the loss is (over tokens for
    /// [`Average::DrGrpo`]), the others over tokens.
    ///
    /// `advantages`: `[sequences]`.
    ///
    /// # Errors
    /// [`ShapeError`] when there is not one advantage for each answer.
    pub fn set_tokens(
        &mut self,
        batch: &TokenBatch<'_>,
        advantages: &[f64],
        config: &GrpoConfig,
    ) -> Result<(), ShapeError> {
        batch.check_advantages(advantages)?;
        let totals = Totals::of(batch);
        let average = match config.average {
            Average::DrGrpo => Average::Token,
            other => other,
        };
        let tokens = totals.tokens as f64 + super::average::EPS;
        let (mut kl, mut entropy, mut moved) = (0.0, 0.0, 0.0);
        let (mut low, mut high, mut dual) = (0_usize, 0_usize, 0_usize);
        for (row, advantage) in batch.rows().zip(advantages) {
            let weight = totals.weight(average, row.len(), config.max_tokens);
            for (token, term) in terms(&row, *advantage, config) {
                kl += weight * config.kl.token(token.logp, token.ref_logp).0;
                entropy -= weight * token.logp;
                moved += token.old_logp - token.logp;
                low += usize::from(term.clipped_low);
                high += usize::from(term.clipped_high);
                dual += usize::from(term.dual);
            }
        }
        self.kl = kl;
        self.entropy = entropy;
        self.ppo_kl = moved / tokens;
        self.clip_ratio_low_mean = low as f64 / tokens;
        self.clip_ratio_high_mean = high as f64 / tokens;
        self.clip_ratio_region_mean = (low + high) as f64 / tokens;
        self.clip_ratio_dual_mean = dual as f64 / tokens;
        self.completions_mean_length = totals.tokens as f64 / totals.sequences.max(1) as f64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_without_spread_are_counted_by_accuracy_not_by_reward() {
        let mut metrics = GrpoMetrics::default();
        // First group: a difference in format alone. Second: one answer is right.
        let rewards = [0.1, 0.0, 0.1, 0.0, 1.0, 0.1, 0.1, 0.1];
        let accuracy = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0];
        metrics.set_rewards(&rewards, &accuracy, 4).unwrap();
        assert_eq!(metrics.frac_reward_zero_std, 0.5);
        assert!((metrics.reward - 0.1875).abs() < 1e-12);
        let expected =
            (unbiased_std(&rewards[..4], 0.05) + unbiased_std(&rewards[4..], 0.325)) / 2.0;
        assert!((metrics.reward_std - expected).abs() < 1e-12);
    }

    #[test]
    fn a_reward_that_is_not_a_number_never_reaches_the_log() {
        let mut metrics = GrpoMetrics::default();
        assert!(metrics.set_rewards(&[f64::NAN, 0.0], &[0.0, 0.0], 2).is_err());
        assert!(metrics.set_rewards(&[0.0, 0.0], &[0.0], 2).is_err());
        assert_eq!(metrics, GrpoMetrics::default());
    }

    #[test]
    fn on_policy_metrics_are_what_they_should_be() {
        let logp = [-1.0, -3.0, -2.0, f64::NAN];
        let batch = TokenBatch::new(&logp, &[true, true, true, false], 2).unwrap();
        let mut metrics = GrpoMetrics::default();
        metrics.set_tokens(&batch, &[1.0, -1.0], &GrpoConfig::default()).unwrap();
        assert!((metrics.entropy - 2.0).abs() < 1e-7);
        assert_eq!((metrics.kl, metrics.ppo_kl, metrics.clip_ratio_region_mean), (0.0, 0.0, 0.0));
        assert_eq!(metrics.completions_mean_length, 1.5);
    }

    #[test]
    fn a_line_reads_back() {
        let mut metrics = GrpoMetrics { step: 7, grad_norm: 0.25, ..GrpoMetrics::default() };
        metrics.set_accuracy("depth", 0.5);
        let line = serde_json::to_string(&metrics).unwrap();
        assert_eq!(serde_json::from_str::<GrpoMetrics>(&line).unwrap(), metrics);
    }
}
