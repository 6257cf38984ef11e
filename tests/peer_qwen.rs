//! Adapters go from here to peft and back, and pictures are what transformers makes of them.
//!
//! Runs where Python with torch, transformers and peft is installed (`SPATIAL_SSRL_PYTHON_QWEN`
//! names another interpreter than `python3`); they are too large to be installed for every run.
#![cfg(feature = "vlm")]

mod common;

use std::{fs, path::Path, process::Command};

use burn::tensor::{Device, FloatDType};
use image::{Rgb, RgbImage};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use spatial_ssrl::policy::qwen::{
    QwenConfig,
    linear::{Adapter, LinearShape, PairData},
    model::{Model, Prompt},
    peft,
    picture::PictureConfig,
};

/// The largest difference of logits that counts as the same.
const SAME: f32 = 1e-4;

fn python() -> Option<String> {
    let python = std::env::var("SPATIAL_SSRL_PYTHON_QWEN").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", "import torch, transformers, peft"]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {python} with torch, transformers and peft is not installed");
    None
}

/// A picture in which neighbours differ.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let mixed = (x * 2_654_435_761_u32.wrapping_add(y)) ^ (y * 40_503);
        Rgb([(mixed >> 8) as u8, (x * 255 / width) as u8, (mixed >> 16) as u8 / 2 + (y % 90) as u8])
    })
}

/// Numbers between -0.5 and 0.5.
fn drawn(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n).map(|_| next()).collect()
}

/// An adapter of two ranks and two scales on the language model and on one layer of the tower.
fn ours(layers: &[LinearShape]) -> Adapter {
    let data = |name: &str| {
        let (slot, layer) = layers.iter().enumerate().find(|(_, layer)| layer.name == name)?;
        let of_tower = name == "model.visual.blocks.2.attn.proj";
        if !of_tower && !name.starts_with("model.language_model.") {
            return None;
        }
        let rank = if name.ends_with("v_proj") { 5 } else { 3 };
        let a = drawn(rank * layer.inputs, slot as u64);
        let b = drawn(layer.outputs * rank, 1000 + slot as u64);
        Some(PairData { rank, a, b, scale: if of_tower { 0.75 } else { 0.2 } })
    };
    Adapter::from_data(layers, data, &Device::flex()).unwrap()
}

fn logits(model: &Model, prompt: &Prompt, adapter: Option<&Adapter>) -> Vec<f32> {
    let seen = model.see(prompt, adapter).unwrap();
    let (hidden, _) = model.prefill(&model.embed(prompt, seen).unwrap(), adapter);
    model.text.logits(hidden, adapter).try_into_vec_as::<f32>().unwrap()
}

fn dump(path: &Path, prompt: &Prompt) {
    let bytes = |values: &[i64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let ids: Vec<i64> = prompt.ids.iter().map(|id| i64::from(*id)).collect();
    let pictures = &prompt.pictures;
    let grids: Vec<i64> = pictures.iter().flat_map(|p| p.grid).map(|n| n as i64).collect();
    let pixels = pictures.iter().flat_map(|p| &p.pixels).flat_map(|v| v.to_le_bytes());
    let pixels: Vec<u8> = pixels.collect();
    let (ids, grids, words) = (bytes(&ids), bytes(&grids), ids.len());
    let shapes = [vec![words], vec![pixels.len() / 4 / 1176, 1176], vec![pictures.len(), 3]];
    let [a, b, c] = shapes;
    let views = [
        ("input_ids", TensorView::new(Dtype::I64, a, &ids).unwrap()),
        ("pixel_values", TensorView::new(Dtype::F32, b, &pixels).unwrap()),
        ("grid_thw", TensorView::new(Dtype::I64, c, &grids).unwrap()),
    ];
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn close(what: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let worst = got.iter().zip(expected).map(|(g, e)| (g - e).abs()).fold(0.0, f32::max);
    println!("{what}: largest difference {worst:.1e}");
    assert!(worst <= SAME, "{what}: {worst}");
}

#[test]
fn peer_qwen_adapters_and_pictures_are_the_same_in_transformers_and_peft() {
    let Some(folder) = common::shared("golden/qwen2_5_vl/model") else { return };
    let Some(python) = python() else { return };
    let config = QwenConfig::read(&folder).unwrap();
    let model = Model::open(&folder, &config, Device::flex(), FloatDType::F32).unwrap();
    let pictures = PictureConfig::published(&config.vision);
    let pictures = pictures.with_limits(Some(56 * 56), Some(200 * 200)).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let sizes = [(61, 200), (640, 480), (56, 84), (33, 31), (199, 25)];
    let shown: Vec<_> = sizes.iter().map(|&(width, height)| picture(width, height)).collect();
    for (i, picture) in shown.iter().enumerate() {
        picture.save(dir.path().join(format!("picture_{i}.png"))).unwrap();
    }
    let patches: Vec<_> = shown.iter().map(|p| pictures.patches(p).unwrap()).collect();
    let mut ids = vec![4, 5];
    for patches in &patches[..3] {
        let tokens = patches.grid.iter().product::<usize>() / 4;
        ids.push(152);
        ids.extend(std::iter::repeat_n(150, tokens));
        ids.extend([153, 9]);
    }
    ids.extend([20, 21, 22, 23]);
    let prompt = Prompt { ids, pictures: patches[..3].to_vec() };
    dump(&dir.path().join("prompt.safetensors"), &prompt);
    let adapter = ours(model.layers());
    peft::write(&dir.path().join("ours"), &adapter, model.layers(), "golden").unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/qwen_peft.py");
    let ran = Command::new(python).arg(script).arg(&folder).arg(dir.path()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let answers = fs::read(dir.path().join("answers.safetensors")).unwrap();
    let answers = SafeTensors::deserialize(&answers).unwrap();
    let f32s = |name: &str| -> Vec<f32> {
        let bytes = answers.tensor(name).unwrap().data().chunks_exact(4);
        bytes.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };

    for (i, patches) in patches.iter().enumerate() {
        let grid = answers.tensor(&format!("picture_{i}.grid_thw")).unwrap();
        let grid = grid.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
        assert!(grid.eq(patches.grid.map(|n| n as i64)), "{:?}", sizes[i]);
        let (width, height) = sizes[i];
        let values = f32s(&format!("picture_{i}.pixel_values"));
        close(&format!("pixel values of {width}x{height}"), &patches.pixels, &values);
    }
    let base = logits(&model, &prompt, None);
    close("logits without an adapter", &base, &f32s("base"));
    let with_ours = logits(&model, &prompt, Some(&adapter));
    close("logits of our adapter in peft", &with_ours, &f32s("ours"));
    let moved = base.iter().zip(&with_ours).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(moved > 0.1, "the adapter changes next to nothing: {moved}");
    let theirs = peft::read(&dir.path().join("theirs"), model.layers(), &Device::flex()).unwrap();
    close(
        "logits of peft's adapter here",
        &logits(&model, &prompt, Some(&theirs)),
        &f32s("theirs"),
    );
    let again = peft::read(&dir.path().join("ours"), model.layers(), &Device::flex()).unwrap();
    assert_eq!(logits(&model, &prompt, Some(&again)), with_ours);
}
