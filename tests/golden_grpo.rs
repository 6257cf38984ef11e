//! Advantages, losses, gradients and metrics against the published training code.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;
use spatial_ssrl::grpo::{
    Advantage, Average, GrpoConfig, GrpoMetrics, KlEstimator, Objective, TensorBatch, TokenBatch,
    Totals, advantages, group_signal, kl_loss, policy_loss, tensor,
};

#[derive(Deserialize)]
struct Golden {
    groups: usize,
    group_size: usize,
    tokens: usize,
    mask: Vec<Vec<f64>>,
    logp: Vec<Vec<f64>>,
    old_logp: Vec<Vec<f64>>,
    ref_logp: Vec<Vec<f64>>,
    reward: Vec<f64>,
    accuracy: Vec<f64>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    advantage_grpo: Vec<f64>,
    advantage_rloo: Vec<f64>,
    policy_loss: Vec<PolicyRow>,
    kl: Vec<KlRow>,
}

#[derive(Deserialize)]
struct PolicyRow {
    loss_type: String,
    average: String,
    clip_low: f64,
    clip_high: f64,
    clip_dual: f64,
    loss: f64,
    grad_logp: Vec<Vec<f64>>,
    metrics: PolicyMetrics,
}

#[derive(Deserialize)]
struct PolicyMetrics {
    ppo_kl: f64,
    entropy_loss: f64,
    pg_clipfrac_higher: Option<f64>,
    pg_clipfrac_lower: Option<f64>,
}

#[derive(Deserialize)]
struct KlRow {
    penalty: String,
    average: String,
    loss: f64,
    grad_logp: Vec<Vec<f64>>,
}

/// The inputs, flattened to `[groups * group_size, tokens]`.
struct Inputs {
    golden: Golden,
    logp: Vec<f64>,
    old_logp: Vec<f64>,
    ref_logp: Vec<f64>,
    mask: Vec<bool>,
}

impl Inputs {
    fn read() -> Option<Self> {
        let shared = std::env::var_os("SPATIAL_SSRL_SHARED").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
            PathBuf::from,
        );
        let path = shared.join("golden/grpo/grpo.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                println!("skipped: {} is not there ({error})", path.display());
                return None;
            }
        };
        let golden: Golden = serde_json::from_str(&text).unwrap();
        let mask = golden.mask.concat().iter().map(|m| *m == 1.0).collect();
        let (logp, old_logp) = (golden.logp.concat(), golden.old_logp.concat());
        let ref_logp = golden.ref_logp.concat();
        Some(Inputs { golden, logp, old_logp, ref_logp, mask })
    }

    fn slices(&self) -> TokenBatch<'_> {
        let batch = TokenBatch::new(&self.logp, &self.mask, self.golden.tokens).unwrap();
        batch.with_old(&self.old_logp).unwrap().with_reference(&self.ref_logp).unwrap()
    }

    fn tensors(&self, device: &Device) -> TensorBatch {
        let shape = [self.golden.groups * self.golden.group_size, self.golden.tokens];
        let floats = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            Tensor::<2>::from_data(TensorData::new(values, shape), device)
        };
        let advantages: Vec<f32> =
            self.golden.expected.advantage_grpo.iter().map(|a| *a as f32).collect();
        TensorBatch {
            logp: floats(&self.logp).require_grad(),
            old_logp: Some(floats(&self.old_logp)),
            ref_logp: Some(floats(&self.ref_logp)),
            mask: Tensor::from_data(TensorData::new(self.mask.clone(), shape), device),
            advantages: Tensor::from_data(TensorData::new(advantages, [shape[0]]), device),
        }
    }
}

fn average(name: &str) -> Average {
    match name {
        "token" => Average::Token,
        "seq" => Average::Sequence,
        other => panic!("average {other} is not known"),
    }
}

fn policy_config(row: &PolicyRow) -> GrpoConfig {
    let objective = match row.loss_type.as_str() {
        "default" => Objective::Clip,
        "gspo_token" => Objective::GspoToken,
        "cispo" => Objective::Cispo,
        other => panic!("objective {other} is not known"),
    };
    GrpoConfig {
        objective,
        average: average(&row.average),
        clip_low: row.clip_low,
        clip_high: row.clip_high,
        clip_dual: row.clip_dual,
        kl_coef: 0.0,
        ..GrpoConfig::default()
    }
}

fn kl_config(row: &KlRow) -> GrpoConfig {
    let kl = match row.penalty.as_str() {
        "kl" => KlEstimator::Kl,
        "abs" => KlEstimator::Abs,
        "mse" => KlEstimator::Mse,
        "low_var_kl" => KlEstimator::LowVarKl,
        other => panic!("penalty {other} is not known"),
    };
    GrpoConfig { kl, average: average(&row.average), kl_coef: 1.0, ..GrpoConfig::default() }
}

#[track_caller]
fn near(got: f64, expected: f64, tolerance: f64, what: &str) {
    let off = (got - expected).abs();
    assert!(off <= tolerance, "{what}: got {got}, expected {expected}, off by {off}");
}

#[track_caller]
fn all_near(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        near(*got, *expected, tolerance, &format!("{what}[{i}]"));
    }
}

#[test]
fn golden_advantages_equal_the_published_code() {
    let Some(inputs) = Inputs::read() else { return };
    let golden = &inputs.golden;
    let made = |kind| advantages(&golden.reward, golden.group_size, kind, 1e-6).unwrap();
    all_near(&made(Advantage::Group), &golden.expected.advantage_grpo, 1e-6, "group");
    all_near(&made(Advantage::LeaveOneOut), &golden.expected.advantage_rloo, 1e-6, "rloo");
}

#[test]
fn golden_groups_without_spread_are_found() {
    let Some(inputs) = Inputs::read() else { return };
    let golden = &inputs.golden;
    // Group 0 has no right answer and differs in format alone: the published code blows that
    // up, keying on accuracy does not.
    let first = group_signal(&golden.accuracy[..golden.group_size]).unwrap();
    assert!(!first.teaches());
    // Group 1 has equal rewards.
    let zero: Vec<bool> = golden
        .expected
        .advantage_grpo
        .chunks(golden.group_size)
        .map(|group| group.iter().all(|a| *a == 0.0))
        .collect();
    let ours: Vec<bool> = golden
        .reward
        .chunks(golden.group_size)
        .map(|group| !group_signal(group).unwrap().teaches())
        .collect();
    assert_eq!(ours, zero);
    assert_eq!(ours, [false, true, false, false]);
}

#[test]
fn golden_policy_losses_and_gradients_on_slices() {
    let Some(inputs) = Inputs::read() else { return };
    let batch = inputs.slices();
    let expected = &inputs.golden.expected;
    assert_eq!(expected.policy_loss.len(), 6);
    for row in &expected.policy_loss {
        let what = format!("{} {}", row.loss_type, row.average);
        let config = policy_config(row);
        let totals = Totals::of(&batch);
        let loss = policy_loss(&batch, totals, &expected.advantage_grpo, &config).unwrap();
        near(loss.loss, row.loss, 1e-6, &what);
        all_near(&loss.grad_logp, &row.grad_logp.concat(), 1e-6, &what);

        let mut metrics = GrpoMetrics::default();
        metrics.set_tokens(&batch, &expected.advantage_grpo, &config).unwrap();
        near(metrics.ppo_kl, row.metrics.ppo_kl, 1e-6, &format!("{what} ppo_kl"));
        near(metrics.entropy, row.metrics.entropy_loss, 1e-6, &format!("{what} entropy"));
        if let Some(clipped) = row.metrics.pg_clipfrac_higher {
            near(metrics.clip_ratio_region_mean, clipped, 1e-6, &format!("{what} clipped"));
        }
        if let Some(dual) = row.metrics.pg_clipfrac_lower {
            near(metrics.clip_ratio_dual_mean, dual, 1e-6, &format!("{what} dual"));
        }
    }
}

#[test]
fn golden_policy_losses_and_gradients_on_tensors() {
    let Some(inputs) = Inputs::read() else { return };
    let totals = Totals::of(&inputs.slices());
    for row in &inputs.golden.expected.policy_loss {
        let what = format!("{} {}", row.loss_type, row.average);
        let batch = inputs.tensors(&Device::flex().autodiff());
        let logp = batch.logp.clone();
        let loss = tensor::grpo_loss(batch, totals, &policy_config(row)).unwrap();
        assert!(loss.kl.is_none(), "coefficient 0 leaves the reference out");
        let gradients = loss.loss.backward();
        near(f64::from(loss.policy.into_scalar::<f32>()), row.loss, 1e-4, &what);
        let grad = logp.grad(&gradients).unwrap().into_data();
        let grad: Vec<f64> =
            grad.as_slice::<f32>().unwrap().iter().map(|g| f64::from(*g)).collect();
        all_near(&grad, &row.grad_logp.concat(), 1e-4, &what);
    }
}

#[test]
fn golden_kl_terms_and_gradients_on_slices() {
    let Some(inputs) = Inputs::read() else { return };
    let batch = inputs.slices();
    assert_eq!(inputs.golden.expected.kl.len(), 8);
    for row in &inputs.golden.expected.kl {
        let what = format!("{} {}", row.penalty, row.average);
        let config = kl_config(row);
        let loss = kl_loss(&batch, Totals::of(&batch), &config);
        near(loss.loss, row.loss, 1e-6, &what);
        all_near(&loss.grad_logp, &row.grad_logp.concat(), 1e-6, &what);
        let mut metrics = GrpoMetrics::default();
        metrics.set_tokens(&batch, &inputs.golden.expected.advantage_grpo, &config).unwrap();
        near(metrics.kl, row.loss, 1e-6, &format!("{what} metric"));
    }
}

#[test]
fn golden_kl_terms_and_gradients_on_tensors() {
    let Some(inputs) = Inputs::read() else { return };
    let totals = Totals::of(&inputs.slices());
    for row in &inputs.golden.expected.kl {
        let what = format!("{} {}", row.penalty, row.average);
        let device = Device::flex().autodiff();
        // With advantages of zero the KL term is all there is.
        let batch = TensorBatch {
            advantages: Tensor::zeros([totals.sequences], &device),
            ..inputs.tensors(&device)
        };
        let logp = batch.logp.clone();
        let loss = tensor::grpo_loss(batch, totals, &kl_config(row)).unwrap();
        let gradients = loss.loss.backward();
        near(f64::from(loss.kl.unwrap().into_scalar::<f32>()), row.loss, 1e-4, &what);
        let grad = logp.grad(&gradients).unwrap().into_data();
        let grad: Vec<f64> =
            grad.as_slice::<f32>().unwrap().iter().map(|g| f64::from(*g)).collect();
        all_near(&grad, &row.grad_logp.concat(), 1e-4, &what);
    }
}
