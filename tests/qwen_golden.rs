//! The vision-language policy against what transformers and peft compute.
#![cfg(feature = "vlm")]

mod common;

use std::collections::HashMap;

use burn::{Tensor, module::Module, tensor::Device};
use common::qwen::Golden;
use spatial_ssrl::{
    grpo::{Average, GrpoConfig},
    policy::qwen::{
        generate::{SamplerConfig, generate},
        learn::{Batch, Judged, Learner, LearnerConfig},
        linear::Adapter,
        model::{Model, Prompt},
        train::{AdapterGradients, Answered},
    },
};

fn close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let worst = got.iter().zip(expected).map(|(g, e)| (g - e).abs()).fold(0.0, f32::max);
    println!("{what}: largest difference {worst:e}");
    assert!(worst <= tolerance, "{what}: {worst} > {tolerance}");
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().unwrap()
}

#[test]
fn qwen_golden_cases_give_the_references_embeddings_positions_logits_and_tokens() {
    let Some(golden) = Golden::open() else { return };
    let model = golden.model();
    for case in 0..3 {
        let prompt = golden.prompt(case);
        let seen = model.see(&prompt, None).unwrap();
        if !seen.is_empty() {
            let got = values(Tensor::cat(seen.clone(), 0));
            close(
                &format!("case {case} vision"),
                &got,
                &golden.f32(&format!("case{case}.vision")),
                1e-4,
            );
            let (positions, _) = model.positions(&prompt).unwrap();
            let expected = golden.i64(&format!("case{case}.position_ids"));
            let got: Vec<i64> =
                (0..3).flat_map(|axis| positions.iter().map(move |p| i64::from(p[axis]))).collect();
            assert_eq!(got, expected, "case {case}");
        }
        let embedded = model.embed(&prompt, seen).unwrap();
        let (hidden, _) = model.prefill(&embedded, None);
        let logits = values(model.text.logits(hidden, None));
        close(
            &format!("case {case} logits"),
            &logits,
            &golden.f32(&format!("case{case}.logits")),
            1e-4,
        );

        let config = SamplerConfig { temperature: 0.0, max_tokens: 12, ..SamplerConfig::default() };
        let got = generate(&model, None, &embedded, &[0], &[], &config).unwrap();
        assert_eq!(got[0].tokens, golden.greedy(case), "case {case}");
    }
}

struct Lora {
    prompt: Prompt,
    answers: Vec<Vec<u32>>,
    old: Vec<Vec<f32>>,
    advantages: Vec<f64>,
    mask: Vec<f32>,
}

fn lora(golden: &Golden) -> Lora {
    let mask = golden.f32("lora.mask");
    let length = |row: &[f32]| row.iter().filter(|m| **m > 0.0).count();
    let tokens = golden.i64("lora.completions");
    let old = golden.f32("lora.old_logp");
    let answers = tokens.chunks(4).zip(mask.chunks(4));
    let olds = old.chunks(4).zip(mask.chunks(4));
    Lora {
        prompt: Prompt {
            ids: golden.i64("lora.prompt_ids").into_iter().map(|id| id as u32).collect(),
            pictures: golden.prompt(0).pictures,
        },
        answers: answers.map(|(t, m)| t[..length(m)].iter().map(|&t| t as u32).collect()).collect(),
        old: olds.map(|(o, m)| o[..length(m)].to_vec()).collect(),
        advantages: golden.f32("lora.advantage").into_iter().map(f64::from).collect(),
        mask,
    }
}

/// GRPO as the golden case has it.
fn grpo() -> GrpoConfig {
    GrpoConfig {
        clip_low: 0.2,
        clip_high: 0.2,
        clip_dual: 1e6,
        kl_coef: 0.01,
        average: Average::Sequence,
        ..GrpoConfig::default()
    }
}

fn gradients(
    model: &Model,
    adapter: &Adapter,
    lora: &Lora,
    micro: usize,
) -> (f64, AdapterGradients) {
    let config = LearnerConfig { micro_batch: micro, ..LearnerConfig::default() };
    let learner = Learner::new(adapter.clone(), config);
    let answers: Vec<&[u32]> = lora.answers.iter().map(Vec::as_slice).collect();
    let old: Vec<&[f32]> = lora.old.iter().map(Vec::as_slice).collect();
    let group = Judged {
        prompt: &lora.prompt,
        answers: &answers,
        advantages: &lora.advantages,
        old_logp: Some(&old),
    };
    let (mut into, mut batch) = (AdapterGradients::default(), Batch::default());
    let loss = learner.gradient(model, &[group], 1.0, &grpo(), &mut into, &mut batch).unwrap();
    (loss, into)
}

#[test]
fn qwen_golden_adapter_gives_the_references_log_probabilities_loss_and_gradients() {
    let Some(golden) = Golden::open() else { return };
    let model = golden.model();
    let adapter = golden.adapter(&model, &Device::flex().autodiff());
    let lora = lora(&golden);
    let answers: Vec<&[u32]> = lora.answers.iter().map(Vec::as_slice).collect();
    let group = Answered { prompt: &lora.prompt, answers: &answers };
    let masked = |name: &str| -> Vec<f32> {
        golden.f32(name).iter().zip(&lora.mask).map(|(v, m)| v * m).collect()
    };
    let logp = model.log_probabilities(&group, 1.0, Some(&adapter.valid())).unwrap();
    close("logp", &logp, &masked("lora.logp"), 1e-4);
    let reference = model.log_probabilities(&group, 1.0, None).unwrap();
    close("ref_logp", &reference, &masked("lora.ref_logp"), 1e-4);

    let (loss, got) = gradients(&model, &adapter, &lora, 8);
    let expected = golden.json["grpo"]["loss"].as_f64().unwrap();
    println!("loss {loss}, expected {expected}");
    assert!((loss - expected).abs() < 1e-5, "{loss} against {expected}");
    let mut worst: f64 = 0.0;
    for (slot, layer) in model.layers().iter().enumerate() {
        let Some([a, b]) = got.pair(slot) else {
            assert!(!layer.name.contains("language_model"), "{} has no gradient", layer.name);
            continue;
        };
        for (got, part) in [(a, "A"), (b, "B")] {
            let expected = golden.f32(&format!("grad.{}.lora_{part}.weight", layer.name));
            let got = values(got.clone());
            assert_eq!(got.len(), expected.len());
            let norm =
                |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x * x)).sum::<f64>().sqrt();
            let gap = norm(&mut got.iter().zip(&expected).map(|(g, e)| g - e));
            let relative = gap / norm(&mut expected.iter().copied());
            worst = worst.max(relative);
            assert!(relative < 1e-3, "{} {part}: {relative}", layer.name);
        }
    }
    println!("gradients: largest relative difference {worst:e}");
}

#[test]
fn qwen_golden_micro_batches_have_the_whole_batchs_gradient() {
    let Some(golden) = Golden::open() else { return };
    let model = golden.model();
    let adapter = golden.adapter(&model, &Device::flex().autodiff());
    let lora = lora(&golden);
    let (whole_loss, whole) = gradients(&model, &adapter, &lora, 4);
    for micro in [1, 2, 3] {
        let (loss, parts) = gradients(&model, &adapter, &lora, micro);
        assert!((loss - whole_loss).abs() < 1e-6, "{loss} against {whole_loss}");
        for (slot, _) in adapter.pairs() {
            let (whole, parts) = (whole.pair(slot).unwrap(), parts.pair(slot).unwrap());
            for (whole, part) in whole.iter().zip(parts) {
                close("gradient", &values(part.clone()), &values(whole.clone()), 1e-5);
            }
        }
    }
}

#[test]
fn qwen_golden_group_sampled_together_is_the_group_sampled_one_by_one() {
    let Some(golden) = Golden::open() else { return };
    let model = golden.model();
    let adapter = golden.adapter(&model, &Device::flex());
    let prompt = golden.prompt(1);
    let embedded = model.embed(&prompt, model.see(&prompt, None).unwrap()).unwrap();
    let seeds = [11, 12, 13, 14, 15];
    for top_p in [1.0, 0.8] {
        let config = SamplerConfig { max_tokens: 40, top_p, ..SamplerConfig::default() };
        let stop: Vec<u32> = (0..160).filter(|id| id % 9 == 5).collect();
        let sample = |seeds: &[u64]| {
            generate(&model, Some(&adapter), &embedded, seeds, &stop, &config).unwrap()
        };
        let together = sample(&seeds);
        let lengths: Vec<usize> = together.iter().map(|c| c.tokens.len()).collect();
        println!("lengths {lengths:?}");
        assert!(lengths.iter().any(|&n| n < 40) && lengths.iter().any(|&n| n != lengths[0]));
        for (completion, &seed) in together.iter().zip(&seeds) {
            let alone = &sample(&[seed])[0];
            assert_eq!(alone.tokens, completion.tokens);
            close("sampled logp", &alone.logp, &completion.logp, 1e-5);
        }
        // What the learner computes of the same tokens is what the sampler kept.
        let answers: Vec<&[u32]> = together.iter().map(|c| c.tokens.as_slice()).collect();
        let group = Answered { prompt: &prompt, answers: &answers };
        let learner = model.log_probabilities(&group, 1.0, Some(&adapter)).unwrap();
        let sampler: Vec<&[f32]> = together.iter().map(|c| c.logp.as_slice()).collect();
        close("sampler against learner", &learner, &group.table(&sampler).unwrap(), 1e-5);
    }
}

#[test]
fn qwen_golden_steps_refuse_what_is_not_finite_and_leave_the_weights() {
    let Some(golden) = Golden::open() else { return };
    let model = golden.model();
    let device = Device::flex().autodiff();
    let lora = lora(&golden);
    let answers: Vec<&[u32]> = lora.answers.iter().map(Vec::as_slice).collect();
    let mut learner = Learner::new(golden.adapter(&model, &device), LearnerConfig::default());
    let weights = |learner: &Learner| -> HashMap<usize, Vec<f32>> {
        learner.adapter().pairs().map(|(slot, pair)| (slot, values(pair.a.val()))).collect()
    };
    let before = weights(&learner);
    let mut step = |advantages: &[f64]| {
        let group = Judged { prompt: &lora.prompt, answers: &answers, advantages, old_logp: None };
        let outcome = learner.reinforce(&model, &[group], 1.0, &grpo(), 1e-3);
        (outcome.map_err(|skip| skip.name()), weights(&learner))
    };
    for (advantages, reason) in [
        ([f64::NAN, 1.0, 0.0, -1.0], "non_finite_advantage"),
        ([0.0; 4], "zero_advantage"),
        ([1e30, -1e30, 0.0, 0.0], "non_finite_gradient"),
    ] {
        let (outcome, after) = step(&advantages);
        assert_eq!(outcome.unwrap_err(), reason);
        assert_eq!(after, before, "{reason}");
    }
    let (outcome, after) = step(&[1.0, -1.0, 0.5, -0.5]);
    assert!(outcome.unwrap().grad_norm > 0.0);
    assert_ne!(after, before);
}
