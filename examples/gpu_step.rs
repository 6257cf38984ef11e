//! One training step of the compact policy on a GPU, against the same step on the processor.
//!
//! ```text
//! cargo run --release --features cuda --example gpu_step            # float32, then bfloat16
//! ```
//!
//! Both start from the same weights and learn from the same answers, which the processor
//! gave. Told are the loss, the gradient's norm, and how far the answers' log-probabilities
//! and the new weights are apart. In float32 they must agree to 1e-4, in bfloat16 (8 bits of
//! mantissa) to 5e-2. Exit code 1: they do not. Without a GPU it says why and ends with 0.

use std::process::{Command, ExitCode};

use burn::tensor::{Device, FloatDType, IntDType};
use spatial_ssrl::{
    device::{self, DeviceName},
    frame::SensorModel,
    grpo::GrpoConfig,
    policy::{Group, Policy, Rewarded, compact::CompactPolicy},
    source::{
        FrameSource,
        room::{RoomSource, RoomSpec},
    },
    tally::Tally,
    task::{Answer, PreparedFrame, TaskSet},
};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Error> {
    // What a device computes in is settled before its first tensor: one process for each type.
    match std::env::args().nth(1).as_deref() {
        Some("f32") => compare(FloatDType::F32, 1e-4),
        Some("bf16") => compare(FloatDType::BF16, 5e-2),
        Some(other) => Err(format!("{other}: f32 or bf16 is needed, or nothing for both").into()),
        None => {
            // This computes something on the device, which settles its types: in this process
            // nothing else does.
            if let Err(why) = DeviceName::Cuda(0).open() {
                println!("skipped: {why}");
                return Ok(ExitCode::SUCCESS);
            }
            let this = std::env::current_exe()?;
            let mut all = ExitCode::SUCCESS;
            for dtype in ["f32", "bf16"] {
                if !Command::new(&this).arg(dtype).status()?.success() {
                    all = ExitCode::FAILURE;
                }
            }
            Ok(all)
        }
    }
}

fn compare(dtype: FloatDType, tolerance: f64) -> Result<ExitCode, Error> {
    if let (_, Some(why)) = device::list() {
        println!("skipped: {why}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut gpu = Device::cuda(0);
    gpu.configure((dtype, IntDType::I32)).map_err(|e| format!("{dtype:?}: {e:?}"))?;
    let here = step(Device::flex(), None)?;
    let there = step(gpu, Some(&here.groups))?;
    println!("{dtype:?} on cuda:0 against float32 on the processor, {} answers", here.logp.len());
    let mut sound = true;
    for (what, cpu, gpu) in [
        ("loss", &here.loss, &there.loss),
        ("gradient norm", &here.grad_norm, &there.grad_norm),
        ("log-probabilities before", &here.before, &there.before),
        ("log-probabilities after", &here.logp, &there.logp),
        ("weights after", &here.weights, &there.weights),
    ] {
        let far = cpu.iter().zip(gpu).map(|(a, b)| (a - b).abs() / a.abs().max(1.0));
        let far: Vec<f64> = far.collect();
        // AdamW's first step goes by the sign of a gradient, so a weight whose gradient is
        // next to nothing may go either way: of weights the mean counts.
        let far = match what {
            "weights after" => far.iter().sum::<f64>() / far.len().max(1) as f64,
            _ => far.into_iter().fold(0.0, f64::max),
        };
        let same = cpu.len() == gpu.len() && far <= tolerance;
        sound &= same;
        println!("  {what:<26} {far:.2e} {}", if same { "" } else { "TOO FAR" });
    }
    println!("  step on the processor {:.1} ms, on the GPU {:.1} ms", here.ms, there.ms);
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a step came to.
struct Outcome {
    loss: Vec<f64>,
    grad_norm: Vec<f64>,
    before: Vec<f64>,
    logp: Vec<f64>,
    weights: Vec<f64>,
    groups: Vec<Group>,
    ms: f64,
}

/// One step on `device`, on these answers if there are any.
fn step(device: Device, given: Option<&[Group]>) -> Result<Outcome, Error> {
    let mut policy = CompactPolicy::builtin(device)?;
    let frame = RoomSource::new(RoomSpec::parse("seed=7,frames=1")?)
        .next_frame()?
        .ok_or("the room gave no frame")?;
    let prepared = PreparedFrame::new(&frame, SensorModel::default());
    let tasks = TaskSet::default().make_all(&prepared, 8, 1, &mut Tally::default());
    let observed = policy.observe(&frame, &tasks)?;
    let observed: Vec<_> = observed.iter().collect();
    let groups = match given {
        Some(groups) => groups.to_vec(),
        None => policy.rollout(&observed, 8, 3)?,
    };
    let reward = |answer: &Answer, right: &Answer| if answer == right { 1.0 } else { -0.25 };
    let rewarded: Vec<_> = observed
        .iter()
        .zip(&groups)
        .zip(&tasks)
        .map(|((observation, group), task)| Rewarded {
            observation: *observation,
            group,
            advantages: group.answers.iter().map(|a| reward(a, &task.answer)).collect(),
        })
        .collect();
    let flat = |all: Vec<Vec<f32>>| all.into_iter().flatten().map(f64::from).collect();
    let before = flat(policy.log_probabilities(&observed)?);
    let metrics = policy.update(&rewarded, &GrpoConfig::default(), 1e-3)?;
    // The first step compiled the kernels; the second one is timed.
    let after = flat(policy.log_probabilities(&observed)?);
    let weights = weights(&policy)?;
    let started = std::time::Instant::now();
    policy.update(&rewarded, &GrpoConfig::default(), 1e-3)?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    Ok(Outcome {
        loss: vec![metrics.loss],
        grad_norm: vec![metrics.grad_norm],
        before,
        logp: after,
        weights,
        groups,
        ms,
    })
}

/// All weights, by name.
fn weights(policy: &CompactPolicy) -> Result<Vec<f64>, Error> {
    let bytes = policy.weights()?;
    let file = safetensors::SafeTensors::deserialize(&bytes)?;
    let mut tensors = file.tensors();
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    let values = tensors.iter().flat_map(|(_, tensor)| tensor.data().chunks_exact(4));
    Ok(values.map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect())
}
