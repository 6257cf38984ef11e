//! Qwen2-VL, the older family, against transformers and peft (`tests/peers/qwen2_vl.py` made
//! `tests/data/qwen2_vl`).
#![cfg(feature = "vlm")]

use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use safetensors::SafeTensors;
use spatial_ssrl::policy::qwen::{
    QwenConfig,
    config::Tower,
    linear::Adapter,
    model::{Model, Prompt},
    peft, plan,
    train::{AdapterGradients, Answered},
    vision::Patches,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/qwen2_vl")
}

fn model() -> Model {
    let config = QwenConfig::read(&folder()).unwrap();
    assert_eq!(config.vision.tower, Tower::Qwen2);
    Model::open(&folder(), &config, Device::flex(), FloatDType::F32).unwrap()
}

/// The prompt of the script.
fn prompt(ids: Vec<u32>) -> Prompt {
    let mut at = 0;
    let pictures = [[1, 4, 6], [1, 8, 4]].map(|grid: [usize; 3]| {
        let values = grid.iter().product::<usize>() * 1176;
        let pixels = (at..at + values).map(|i| ((i * 37 % 101) as f64 / 50.0 - 1.0) as f32);
        at += values;
        Patches { grid, pixels: pixels.collect() }
    });
    Prompt { ids, pictures: pictures.into() }
}

fn expected(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(folder().join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let bytes = tensors.tensor(name).unwrap().data().chunks_exact(4);
    bytes.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn ids() -> Vec<u32> {
    let bytes = std::fs::read(folder().join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let bytes = tensors.tensor("input_ids").unwrap().data().chunks_exact(8);
    bytes.map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect()
}

fn close(what: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let worst = got.iter().zip(expected).map(|(g, e)| (g - e).abs()).fold(0.0, f32::max);
    println!("{what}: largest difference {worst:.1e}");
    assert!(worst <= 1e-4, "{what}: {worst}");
}

fn logits(model: &Model, prompt: &Prompt, adapter: Option<&Adapter>) -> Vec<f32> {
    let seen = model.see(prompt, adapter).unwrap();
    let (hidden, _) = model.prefill(&model.embed(prompt, seen).unwrap(), adapter);
    model.text.logits(hidden, adapter).try_into_vec_as::<f32>().unwrap()
}

#[test]
fn qwen2_vision_and_logits_are_the_references() {
    let (model, prompt) = (model(), prompt(ids()));
    let seen = model.see(&prompt, None).unwrap();
    let seen = seen.into_iter().flat_map(|x| x.try_into_vec_as::<f32>().unwrap());
    close("vision", &seen.collect::<Vec<_>>(), &expected("vision"));
    close("logits", &logits(&model, &prompt, None), &expected("logits"));
}

#[test]
fn qwen2_an_adapter_of_peft_gives_the_references_logits_and_is_written_for_this_family() {
    let (model, prompt) = (model(), prompt(ids()));
    let adapter = peft::read(&folder().join("adapter"), model.layers(), &Device::flex()).unwrap();
    close("logits", &logits(&model, &prompt, Some(&adapter)), &expected("adapted"));
    let written = tempfile::tempdir().unwrap();
    peft::write(written.path(), &adapter, model.layers(), "base").unwrap();
    let config = std::fs::read_to_string(written.path().join(peft::CONFIG)).unwrap();
    assert!(config.contains("Qwen2VLForConditionalGeneration"), "{config}");
}

#[test]
fn qwen2_the_tower_of_the_older_family_learns() {
    let (model, prompt) = (model(), prompt(ids()));
    let device = Device::flex().autodiff();
    let adapter = Adapter::new(model.layers(), |name| name.contains("fc"), 2, 4.0, 1, &device);
    let answers: [&[u32]; 1] = [&[5, 6, 7]];
    let group = Answered { prompt: &prompt, answers: &answers };
    let mut gradients = AdapterGradients::default();
    let loss =
        |logp: burn::Tensor<2>, _| Ok::<_, spatial_ssrl::policy::qwen::QwenError>(logp.sum().neg());
    let before = model.learn(&group, 1.0, &adapter, &mut gradients, loss).unwrap().0;
    assert!(before.is_finite() && gradients.norm().unwrap() > 1e-6, "{before}");
    // As many layers as the plan counts.
    let config = QwenConfig::read(&folder()).unwrap();
    let planned = plan::linear_layers(&config);
    let names = |layers: &[spatial_ssrl::policy::qwen::linear::LinearShape]| {
        let mut names: Vec<String> = layers.iter().map(|layer| layer.name.clone()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&planned), names(model.layers()));
}
