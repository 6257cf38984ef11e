//! How the compact policy answers, and how it learns from rewards.

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Bool, Int, TensorData, activation},
};
use rand::RngExt;

use super::{
    CompactError, CompactPolicy,
    batch::{self, Noise},
    by_shape,
    head::Head,
    observe::{Observation, Observer},
    start,
};
use crate::{
    frame::RgbdFrame,
    grpo::{GrpoConfig, GrpoMetrics, TensorBatch, TokenBatch, Totals, UpdateSkip, guard, tensor},
    policy::{Group, Policy, Rewarded},
    task::{Answer, Task, seed},
};

/// Keeps the noise of a rollout apart from its draws.
const NOISE: u64 = 0x6e01_5e00_0000_0000;

impl Policy for CompactPolicy {
    type Observation = Observation;
    type Error = CompactError;

    fn observe(&self, frame: &RgbdFrame, tasks: &[Task]) -> Result<Vec<Observation>, CompactError> {
        let mut observer = Observer::new(&self.encoder, frame);
        tasks.iter().map(|task| Ok(observer.observe(task)?)).collect()
    }

    fn rollout(
        &self,
        observations: &[&Observation],
        group_size: usize,
        seed: u64,
    ) -> Result<Vec<Group>, CompactError> {
        let noise: Vec<u64> =
            (0..observations.len()).map(|i| seed::mix(seed ^ NOISE, i as u64)).collect();
        let all = self.log_probabilities_of(&self.head.valid(), observations, Some(&noise))?;
        let groups = observations.iter().zip(all).enumerate().map(|(i, (observation, logp))| {
            let mut rng = seed::rng(seed::mix(seed, i as u64));
            let candidates = observation.question.candidates();
            let mut group = Group {
                noise: noise[i],
                responses: Vec::new(),
                answers: Vec::with_capacity(group_size),
                logp: Vec::with_capacity(group_size),
                entropy: -logp.iter().map(|l| l * l.exp()).sum::<f32>(),
            };
            for _ in 0..group_size {
                let drawn = draw(&logp, rng.random::<f32>());
                group.answers.push(candidates[drawn].clone());
                group.logp.push(logp[drawn]);
            }
            group
        });
        Ok(groups.collect())
    }

    fn best(
        &self,
        observations: &[&Observation],
    ) -> Result<Vec<(Option<Answer>, f32)>, CompactError> {
        let all = self.log_probabilities(observations)?;
        let best = observations.iter().zip(all).map(|(observation, logp)| {
            let at = (0..logp.len()).max_by(|&a, &b| logp[a].total_cmp(&logp[b])).unwrap_or(0);
            (observation.question.candidates().get(at).cloned(), logp[at].exp())
        });
        Ok(best.collect())
    }

    fn update(
        &mut self,
        groups: &[Rewarded<'_, Observation>],
        config: &GrpoConfig,
        learning_rate: f64,
    ) -> Result<GrpoMetrics, UpdateSkip> {
        let broken = |e: &dyn std::fmt::Display| UpdateSkip::Shape(e.to_string());
        let observations: Vec<&Observation> = groups.iter().map(|g| g.observation).collect();
        let reference = match &self.reference {
            Some(head) if config.kl_coef > 0.0 => {
                Some(self.log_probabilities_of(head, &observations, None).map_err(|e| broken(&e))?)
            }
            _ => None,
        };
        // Answers in the order in which the shapes are scored.
        let mut logp = Vec::new();
        let (mut old, mut refs, mut advantages) = (Vec::new(), Vec::new(), Vec::new());
        for (shape, members) in by_shape(&observations) {
            let batch: Vec<&Observation> = members.iter().map(|&i| observations[i]).collect();
            // The very policy that gave the answers: the same inputs are dropped.
            let seeds: Vec<u64> = members.iter().map(|&i| groups[i].group.noise).collect();
            let noise = Noise { rate: self.config.dropout, seeds: &seeds };
            let scores =
                batch::scores(&self.head, &self.shape, shape, &batch, Some(noise), &self.device);
            let all = activation::log_softmax(scores, 1);
            let candidates = batch.first().map(|o| o.question.candidates()).unwrap_or_default();
            let mut chosen: Vec<i64> = Vec::new();
            let mut answers = 0;
            for &member in &members {
                let Rewarded { group, advantages: own, .. } = &groups[member];
                answers = group.answers.len();
                for (answer, &logp) in group.answers.iter().zip(&group.logp) {
                    let at = candidates.iter().position(|c| c == answer).ok_or_else(|| {
                        UpdateSkip::Shape(format!("answer {answer} is no candidate"))
                    })?;
                    chosen.push(at as i64);
                    old.push(f64::from(logp));
                    refs.extend(reference.as_ref().map(|all| f64::from(all[member][at])));
                }
                advantages.extend_from_slice(own);
            }
            let index = TensorData::new(chosen, [members.len(), answers]);
            let index = Tensor::<2, Int>::from_data(index, &self.device);
            logp.push(all.gather(1, index).reshape([members.len() * answers, 1]));
        }
        if logp.is_empty() {
            return Err(UpdateSkip::NoSpread);
        }
        guard::check_advantages(&advantages)?;
        let logp = Tensor::cat(logp, 0);
        let [sequences, _] = logp.dims();
        let column = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            Tensor::<2>::from_data(TensorData::new(values, [sequences, 1]), &self.device)
        };
        let batch = TensorBatch {
            logp: logp.clone(),
            old_logp: None,
            ref_logp: reference.is_some().then(|| column(&refs)),
            mask: Tensor::<2, Bool>::from_data(
                TensorData::new(vec![true; sequences], [sequences, 1]),
                &self.device,
            ),
            advantages: column(&advantages).reshape([sequences]),
        };
        let totals = Totals { sequences, tokens: sequences };
        let loss = tensor::grpo_loss(batch, totals, config).map_err(|e| broken(&e))?.loss;
        let value = loss.clone().try_into_scalar::<f32>().map_err(|e| broken(&e))?;
        guard::check_loss(f64::from(value))?;
        let gradients = GradientsParams::from_grads(loss.backward(), &self.head);
        let grad_norm = tensor::module_gradient_norm(&self.head, &gradients);
        guard::check_gradient(grad_norm)?;
        let gradients = clipped(&self.head, gradients, self.config.max_grad_norm / grad_norm);
        let drawn = self.start.as_ref().map(|_| start::touched(&self.head, &gradients));
        self.head = self.optimizer.step(learning_rate, self.head.clone(), gradients);
        if let (Some(start), Some(touched)) = (&self.start, drawn) {
            let part = learning_rate * f64::from(self.decay());
            self.head = start::drawn_to(self.head.clone(), start, part, &touched);
        }

        let mut metrics =
            GrpoMetrics { loss: f64::from(value), grad_norm, learning_rate, ..Default::default() };
        let logp: Vec<f64> = logp
            .try_into_vec_as::<f32>()
            .map_err(|e| broken(&e))?
            .into_iter()
            .map(f64::from)
            .collect();
        let mask = vec![true; sequences];
        let tokens = TokenBatch::new(&logp, &mask, 1)
            .and_then(|batch| batch.with_old(&old))
            .and_then(|batch| if refs.is_empty() { Ok(batch) } else { batch.with_reference(&refs) })
            .map_err(|e| broken(&e))?;
        metrics.set_tokens(&tokens, &advantages, config).map_err(|e| broken(&e))?;
        Ok(metrics)
    }
}

/// The candidate at which the cumulated probability passes `u` in 0..1.
fn draw(logp: &[f32], u: f32) -> usize {
    let mut left = u;
    for (at, logp) in logp.iter().enumerate() {
        left -= logp.exp();
        if left < 0.0 {
            return at;
        }
    }
    logp.len().saturating_sub(1)
}

/// The gradients times `factor`, if that makes them smaller.
fn clipped(head: &Head, gradients: GradientsParams, factor: f64) -> GradientsParams {
    struct Scale {
        gradients: GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.gradients.register(param.id, gradient.mul_scalar(self.factor));
            }
        }
    }
    if factor >= 1.0 {
        return gradients;
    }
    let mut scale = Scale { gradients, factor };
    head.visit(&mut scale);
    scale.gradients
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{policy::compact::observe::Evidence, task::Pixel};

    /// Points whose features are all different.
    fn order(points: usize, channels: usize) -> Observation {
        let mut rng = seed::rng(3);
        let mut point = || (0..channels).map(|_| half::f16::from_f32(rng.random())).collect();
        Observation {
            picture_size: (640, 480),
            question: crate::task::Question::OrderPoints {
                points: (0..points as u32).map(|i| Pixel { x: 100 * i, y: 100 * i }).collect(),
            },
            evidence: Evidence::Points((0..points).map(|_| point()).collect()),
        }
    }

    #[test]
    fn an_update_scores_the_answers_under_the_policy_that_gave_them() {
        let mut policy = CompactPolicy::builtin(Device::flex()).unwrap();
        let observation = order(3, policy.shape.point_channels);
        let mut groups = policy.rollout(&[&observation; 8], 16, 7).unwrap();
        let plain = policy.log_probabilities(&[&observation]).unwrap();
        let given = |group: &Group| {
            let candidates = observation.question.candidates();
            let at = candidates.iter().position(|c| *c == group.answers[0]).unwrap();
            (group.logp[0] - plain[0][at]).abs()
        };
        assert!(groups.iter().any(|group| given(group) > 0.01), "nothing was dropped");
        // The groups that teach are some of those that were asked, at other places.
        groups.reverse();
        let advantages: Vec<f64> = (0..16).map(|i| if i < 8 { 1.0 } else { -1.0 }).collect();
        let rewarded: Vec<_> = groups[1..6]
            .iter()
            .map(|group| Rewarded {
                observation: &observation,
                group,
                advantages: advantages.clone(),
            })
            .collect();
        let config = GrpoConfig { kl_coef: 0.0, ..GrpoConfig::default() };
        let metrics = policy.update(&rewarded, &config, 1e-3).unwrap();
        assert!(metrics.ppo_kl.abs() < 1e-5, "ppo_kl {}", metrics.ppo_kl);
    }

    #[test]
    fn parts_that_no_task_asks_keep_their_weights() {
        let mut policy = CompactPolicy::builtin(Device::flex()).unwrap();
        policy.learn_with(&crate::policy::compact::CompactConfig {
            start_decay: 1.0,
            ..Default::default()
        });
        policy.start_from_here();
        let weights = |policy: &CompactPolicy| {
            let file = policy.weights().unwrap();
            let file = safetensors::SafeTensors::deserialize(&file).unwrap();
            let tensors = file.tensors().into_iter();
            tensors
                .map(|(name, view)| (name, view.data().to_vec()))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        let before = weights(&policy);
        let observation = order(3, policy.shape.point_channels);
        let config = GrpoConfig { kl_coef: 0.0, ..GrpoConfig::default() };
        for step in 0..4 {
            let groups = policy.rollout(&[&observation; 2], 4, step).unwrap();
            let rewarded = groups.iter().map(|group| Rewarded {
                observation: &observation,
                group,
                advantages: vec![1.0, -1.0, 1.0, -1.0],
            });
            policy.update(&rewarded.collect::<Vec<_>>(), &config, 1e-2).unwrap();
        }
        let after = weights(&policy);
        let moved = |name: &str| before[name] != after[name];
        assert!(before.keys().any(|name| moved(name)), "nothing was learnt");
        for name in
            before.keys().filter(|name| !name.starts_with("far_") && !name.contains("sharp"))
        {
            assert!(!moved(name), "{name} moved, but only depth orders were asked");
        }
    }

    #[test]
    fn answers_are_drawn_in_proportion_to_their_probabilities() {
        let logp = [0.2_f32.ln(), 0.5_f32.ln(), 0.3_f32.ln()];
        let mut rng = seed::rng(1);
        let mut counts = [0; 3];
        (0..10_000).for_each(|_| counts[draw(&logp, rng.random::<f32>())] += 1);
        for (count, expected) in counts.into_iter().zip([2000, 5000, 3000]) {
            assert!(i32::abs(count - expected) < 250, "{counts:?}");
        }
    }
}
