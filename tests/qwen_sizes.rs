//! Random models of other sizes, with a tied head and with learning vision layers: what must
//! hold whatever the weights are.
#![cfg(feature = "vlm")]

mod common;

use burn::{
    Tensor,
    tensor::{Device, FloatDType},
};
use common::tiny::{self, Tiny};
use rand::RngExt;
use spatial_ssrl::{
    grpo::UpdateSkip,
    policy::qwen::{
        QwenConfig,
        generate::{SamplerConfig, generate},
        linear::{Adapter, LinearShape, PairData},
        model::{Model, Prompt},
        train::{AdapterGradients, Answered},
        vision::Patches,
    },
    task::seed,
};

fn open(tiny: &Tiny, run_seed: u64) -> (Model, QwenConfig) {
    let folder = tempfile::tempdir().unwrap();
    tiny::write(folder.path(), tiny, &[], run_seed);
    let config = QwenConfig::read(folder.path()).unwrap();
    (Model::open(folder.path(), &config, Device::flex(), FloatDType::F32).unwrap(), config)
}

/// Two pictures of these merged sizes between words.
fn prompt(config: &QwenConfig, sizes: [[usize; 2]; 2], run_seed: u64) -> Prompt {
    let mut rng = seed::rng(run_seed);
    let mut ids = vec![7, 8];
    let mut pictures = Vec::new();
    for [rows, cols] in sizes {
        ids.push(config.vision_start);
        ids.extend(std::iter::repeat_n(config.image_token, rows * cols));
        ids.push(config.vision_end);
        let values = rows * cols * 4 * 1176;
        let pixels = (0..values).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
        pictures.push(Patches { grid: [1, 2 * rows, 2 * cols], pixels });
    }
    ids.extend([9, 10, 11]);
    Prompt { ids, pictures }
}

/// An adapter whose B is not zero, so that A has a gradient as well.
fn data(layers: &[LinearShape], targets: &[&str], run_seed: u64) -> Vec<(String, PairData)> {
    let mut rng = seed::rng(run_seed);
    let mut draw = |n: usize| (0..n).map(|_| rng.random::<f32>() * 0.4 - 0.2).collect();
    let chosen = layers.iter().filter(|l| targets.iter().any(|t| l.name.ends_with(t)));
    chosen
        .map(|l| {
            let (a, b) = (draw(2 * l.inputs), draw(2 * l.outputs));
            (l.name.clone(), PairData { rank: 2, a, b, scale: 1.5 })
        })
        .collect()
}

fn adapter(model: &Model, data: &[(String, PairData)], device: &Device) -> Adapter {
    let of = |name: &str| data.iter().find(|(n, _)| n == name).map(|(_, pair)| pair.clone());
    Adapter::from_data(model.layers(), of, device).unwrap()
}

#[test]
fn qwen_sizes_sampler_and_learner_agree_for_any_heads_and_a_tied_head() {
    for (i, tiny) in [
        Tiny { tied: true, ..Tiny::default() },
        Tiny { hidden: 96, heads: 6, kv_heads: 1, layers: 3, ..Tiny::default() },
        Tiny { hidden: 64, heads: 2, kv_heads: 2, vision_depth: 4, ..Tiny::default() },
    ]
    .into_iter()
    .enumerate()
    {
        let (model, config) = open(&tiny, i as u64);
        let prompt = prompt(&config, [[5, 3], [1, 6]], i as u64);
        let data = data(model.layers(), &["q_proj", "down_proj", "lm_head", "attn.qkv"], 3);
        let adapter = adapter(&model, &data, &Device::flex());
        let seen = model.see(&prompt, Some(&adapter)).unwrap();
        let embedded = model.embed(&prompt, seen).unwrap();
        // More tokens than one stride of the cache.
        let sampler = SamplerConfig { max_tokens: 70, ..SamplerConfig::default() };
        let sampled =
            generate(&model, Some(&adapter), &embedded, &[1, 2, 3], &config.stop, &sampler)
                .unwrap();
        let answers: Vec<&[u32]> = sampled.iter().map(|c| c.tokens.as_slice()).collect();
        let kept: Vec<&[f32]> = sampled.iter().map(|c| c.logp.as_slice()).collect();
        let group = Answered { prompt: &prompt, answers: &answers };
        let learner = model.log_probabilities(&group, 1.0, Some(&adapter)).unwrap();
        let kept = group.table(&kept).unwrap();
        let worst = learner.iter().zip(&kept).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("model {i}: sampler against learner {worst:e}, {} tokens", kept.len());
        assert!(worst < 1e-4, "model {i}: {worst}");
        // Alone, an answer has the same log-probabilities as packed beside others.
        let alone = Answered { prompt: &prompt, answers: &answers[1..2] };
        let alone = model.log_probabilities(&alone, 1.0, Some(&adapter)).unwrap();
        let packed = &learner[group.rows()..];
        let worst = alone.iter().zip(packed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "model {i}: {worst}");
    }
}

#[test]
fn qwen_sizes_gradients_of_text_head_and_vision_layers_are_those_of_finite_differences() {
    let (model, config) = open(&Tiny { tied: true, ..Tiny::default() }, 5);
    let prompt = prompt(&config, [[3, 2], [5, 4]], 6);
    let targets = ["v_proj", "up_proj", "lm_head", "attn.proj", "merger.mlp.0", "mlp.gate_proj"];
    let data = data(model.layers(), &targets, 7);
    let answers: [&[u32]; 2] = [&[9, 12, 13, 2], &[14, 2]];
    let group = Answered { prompt: &prompt, answers: &answers };
    let value = |data: &[(String, PairData)]| -> f64 {
        let adapter = adapter(&model, data, &Device::flex());
        let logp = model.log_probabilities(&group, 1.0, Some(&adapter)).unwrap();
        logp.into_iter().map(f64::from).sum()
    };
    let trained = adapter(&model, &data, &Device::flex().autodiff());
    let mut gradients = AdapterGradients::default();
    let loss = |logp: Tensor<2>, _| Ok::<_, UpdateSkip>(logp.sum());
    model.learn(&group, 1.0, &trained, &mut gradients, loss).unwrap();
    let read = |x: &Tensor<2>| x.clone().try_into_vec_as::<f32>().unwrap();
    let mut rng = seed::rng(8);
    for (i, (name, pair)) in data.iter().enumerate() {
        let slot = model.layers().iter().position(|l| l.name == *name).unwrap();
        let [a, b] = gradients.pair(slot).unwrap_or_else(|| panic!("{name} has no gradient"));
        // Along a random direction of both matrices at once.
        let mut slope = 0.0;
        let mut step = |values: &[f32], gradient: Vec<f32>| -> Vec<f32> {
            let direction: Vec<f32> = values.iter().map(|_| rng.random::<f32>() - 0.5).collect();
            slope += direction.iter().zip(gradient).map(|(d, g)| f64::from(d * g)).sum::<f64>();
            direction
        };
        let (da, db) = (step(&pair.a, read(a)), step(&pair.b, read(b)));
        const H: f32 = 2e-3;
        let at = |sign: f32| {
            let mut moved = data.clone();
            let shift = |values: &mut [f32], d: &[f32]| {
                values.iter_mut().zip(d).for_each(|(v, d)| *v += sign * H * d);
            };
            shift(&mut moved[i].1.a, &da);
            shift(&mut moved[i].1.b, &db);
            value(&moved)
        };
        let measured = (at(1.0) - at(-1.0)) / (2.0 * f64::from(H));
        let gap = (measured - slope).abs();
        println!("{name}: {slope:.5} against {measured:.5}");
        assert!(gap < 2e-2 * slope.abs().max(0.1), "{name}: {slope} against {measured}");
    }
}
