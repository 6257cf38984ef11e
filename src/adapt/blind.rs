//! What a policy reaches that sees no picture: the shortcuts that the tasks leave open.
//!
//! For each kind the best of: the most frequent answer; a small network that is trained,
//! with the answers given, on what stands in the question alone (the markers' coordinates,
//! the direction in which an offered option lies); and for inpainting one that sees the
//! options but not the picture with the hole.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    module::Module,
    nn::{Linear, LinearConfig},
    optim::{AdamWConfig, GradientsParams},
    tensor::{Device, Int, TensorData, activation},
};
use rand::RngExt;

use super::memory::Memory;
use crate::{
    policy::compact::observe::{Evidence, Observation, PatchFeatures},
    task::{
        Question, TaskKind,
        foretold::{coordinates, in_camera},
        seed,
    },
};

/// Training steps and tasks in each.
const STEPS: usize = 500;
const BATCH: usize = 64;

/// What of an observation a blind policy may see.
pub trait Shown {
    /// What is asked.
    fn question(&self) -> &Question;
    /// Width and height of the picture that is not seen, in pixels.
    fn picture_size(&self) -> (u32, u32);
    /// What each option looks like by itself, `[options, values]`; none where no options are
    /// shown.
    fn options(&self) -> Option<Vec<Vec<f32>>>;
}

impl Shown for Observation {
    fn question(&self) -> &Question {
        &self.question
    }

    fn picture_size(&self) -> (u32, u32) {
        self.picture_size
    }

    fn options(&self) -> Option<Vec<Vec<f32>>> {
        match &self.evidence {
            Evidence::Hole { options, .. } => {
                Some(options.iter().map(|option| look(option)).collect())
            }
            _ => None,
        }
    }
}

type Tasks<'a, O> = Vec<&'a Memory<O>>;

/// The best blind accuracy of each kind on `held_out`, after training on `train`.
pub fn blind<O: Shown>(
    train: &[&Memory<O>],
    held_out: &[&Memory<O>],
    run_seed: u64,
) -> BTreeMap<TaskKind, f64> {
    let mut kinds: BTreeMap<&TaskKind, (Tasks<'_, O>, Tasks<'_, O>)> = BTreeMap::new();
    train.iter().for_each(|task| kinds.entry(&task.kind).or_default().0.push(task));
    held_out.iter().for_each(|task| kinds.entry(&task.kind).or_default().1.push(task));
    kinds
        .into_iter()
        .filter(|(_, (_, held_out))| !held_out.is_empty())
        .map(|(kind, (train, held_out))| {
            let constant = most_frequent(&train, &held_out);
            let learnt = learnt(&train, &held_out, run_seed).unwrap_or(0.0);
            (kind.clone(), constant.max(learnt))
        })
        .collect()
}

/// Always the answer that was right most often in training.
fn most_frequent<O: Shown>(train: &[&Memory<O>], held_out: &[&Memory<O>]) -> f64 {
    let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let form = |task: &Memory<O>| format!("{}", task.observation.question().chance());
    for task in train {
        *counts.entry(form(task)).or_default().entry(task.answer.to_string()).or_default() += 1;
    }
    let right = held_out.iter().filter(|task| {
        let answers = counts.get(&form(task));
        let best = answers.and_then(|answers| answers.iter().max_by_key(|(_, n)| **n));
        best.is_some_and(|(answer, _)| *answer == task.answer.to_string())
    });
    right.count() as f64 / held_out.len() as f64
}

/// One row of inputs for each candidate answer; `None` where a question says nothing.
fn inputs(observation: &impl Shown) -> Option<Vec<Vec<f32>>> {
    let question = observation.question();
    if let Some(mut rows) = coordinates(question, observation.picture_size()) {
        if let Question::RelativePosition { facing, options, .. } = question {
            for (row, option) in rows.iter_mut().zip(options) {
                // Which side of the observer the option claims, times where the target is.
                let angle = in_camera(*option, *facing) as f32 * std::f32::consts::FRAC_PI_4;
                row.extend([angle.sin() * row[4], angle.cos() * row[4]]);
            }
        }
        return Some(rows);
    }
    match question {
        Question::FillHole { .. } => {
            let looks = observation.options()?;
            let channels = looks.first()?.len();
            let mean: Vec<f32> = (0..channels)
                .map(|c| looks.iter().map(|look| look[c]).sum::<f32>() / looks.len() as f32)
                .collect();
            let row = |look: &Vec<f32>| {
                let off = look.iter().zip(&mean).map(|(a, b)| a - b);
                look.iter().copied().chain(off.clone()).chain(off.map(f32::abs)).collect()
            };
            Some(looks.iter().map(row).collect())
        }
        _ => None,
    }
}

/// What an option looks like by itself: its context, and mean and spread along its borders.
fn look(option: &PatchFeatures) -> Vec<f32> {
    let channels = option.border_channels;
    let mut row: Vec<f32> = option.context.iter().map(|v| v.to_f32()).collect();
    for channel in 0..channels.min(64) {
        let values = option.borders.iter().skip(channel).step_by(channels.max(1));
        let (n, sum, squares) = values.fold((0.0, 0.0, 0.0), |(n, sum, squares), v| {
            let v = v.to_f32();
            (n + 1.0, sum + v, squares + v * v)
        });
        let mean = sum / f32::max(n, 1.0);
        row.extend([mean, (squares / f32::max(n, 1.0) - mean * mean).max(0.0).sqrt()]);
    }
    row
}

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Net {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = activation::relu(self.first.forward(x));
        let x = activation::relu(self.second.forward(x));
        self.last.forward(x)
    }
}

/// Trains a small network to pick the right candidate and says how often it does.
fn learnt<O: Shown>(train: &[&Memory<O>], held_out: &[&Memory<O>], run_seed: u64) -> Option<f64> {
    let table = |tasks: &[&Memory<O>]| -> Option<Vec<(Vec<Vec<f32>>, usize)>> {
        let rows = tasks.iter().map(|task| {
            let right = task.observation.question().candidates();
            let right = right.iter().position(|candidate| *candidate == task.answer)?;
            Some((inputs(&task.observation)?, right))
        });
        rows.collect()
    };
    let (train, held_out) = (table(train)?, table(held_out)?);
    let (candidates, width) = train.first().map(|(rows, _)| (rows.len(), rows[0].len()))?;
    let same = |(rows, _): &(Vec<Vec<f32>>, usize)| {
        rows.len() == candidates && rows.iter().all(|row| row.len() == width)
    };
    if !train.iter().chain(&held_out).all(same) {
        return None;
    }
    let (mean, scale) = moments(&train, width);
    let flat = |tasks: &[&(Vec<Vec<f32>>, usize)]| -> TensorData {
        let values = tasks.iter().flat_map(|(rows, _)| rows.iter()).flat_map(|row| {
            row.iter().zip(&mean).zip(&scale).map(|((value, mean), scale)| (value - mean) * scale)
        });
        TensorData::new(values.collect::<Vec<f32>>(), [tasks.len() * candidates, width])
    };
    let device = Device::flex().autodiff();
    device.seed(run_seed);
    let mut net = Net {
        first: LinearConfig::new(width, 64).init(&device),
        second: LinearConfig::new(64, 32).init(&device),
        last: LinearConfig::new(32, 1).init(&device),
    };
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.05).init();
    let mut rng = seed::rng(seed::mix(run_seed, 0xb11d));
    for step in 0..STEPS {
        let batch: Vec<_> = (0..BATCH).map(|_| &train[rng.random_range(0..train.len())]).collect();
        let right: Vec<i64> = batch.iter().map(|(_, right)| *right as i64).collect();
        let right = TensorData::new(right, [BATCH, 1]);
        let right = Tensor::<2, Int>::from_data(right, &device);
        let scores = net.forward(Tensor::from_data(flat(&batch), &device));
        let logp = activation::log_softmax(scores.reshape([BATCH, candidates]), 1);
        let loss = logp.gather(1, right).mean().neg();
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        let rate = 3e-3 * (1.0 - step as f64 / STEPS as f64);
        net = optimizer.step(rate, net, gradients);
    }
    let all: Vec<_> = held_out.iter().collect();
    let scores = net.valid().forward(Tensor::from_data(flat(&all), &device.inner()));
    let scores = scores.try_into_vec_as::<f32>().ok()?;
    let right = scores.chunks_exact(candidates).zip(&held_out).filter(|(scores, (_, right))| {
        (0..candidates).all(|at| at == *right || scores[at] < scores[*right])
    });
    Some(right.count() as f64 / held_out.len() as f64)
}

fn moments(tasks: &[(Vec<Vec<f32>>, usize)], width: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = || tasks.iter().flat_map(|(rows, _)| rows.iter());
    let n = rows().count().max(1) as f32;
    let mut mean = vec![0.0_f32; width];
    rows().for_each(|row| mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / n));
    let mut variance = vec![0.0_f32; width];
    for row in rows() {
        for ((variance, value), mean) in variance.iter_mut().zip(row).zip(&mean) {
            *variance += (value - mean) * (value - mean) / n;
        }
    }
    (mean, variance.iter().map(|v| 1.0 / (v.sqrt() + 1e-3)).collect())
}
