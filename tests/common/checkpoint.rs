//! A checkpoint folder as published, small enough for a processor: the golden model with the
//! published tokenizer, its vocabulary widened to fit.

use std::{fs, path::Path};

use half::bf16;
use rand::RngExt;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use spatial_ssrl::task::seed;

/// Rows of the published 3B's embedding.
const VOCABULARY: usize = 151_936;

/// Writes the checkpoint into `folder`, in bfloat16 with the flat configuration; `false` (and a
/// line that says so) without the golden model or the tokenizer.
pub fn write(folder: &Path) -> bool {
    let (Some(golden), Some(tokenizer)) =
        (super::shared("golden/qwen2_5_vl/model"), super::shared("tokenizers/qwen2.5-vl"))
    else {
        return false;
    };
    for name in ["tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"] {
        fs::write(folder.join(name), fs::read(tokenizer.join(name)).unwrap()).unwrap();
    }
    let config = fs::read(golden.join("config.hub.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    for (key, value) in [
        ("vocab_size", VOCABULARY),
        ("eos_token_id", 151_645),
        ("vision_start_token_id", 151_652),
        ("vision_end_token_id", 151_653),
        ("image_token_id", 151_655),
        ("video_token_id", 151_656),
    ] {
        config[key] = json!(value);
    }
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let generation = json!({"eos_token_id": [151_645, 151_643], "pad_token_id": 151_643});
    fs::write(folder.join("generation_config.json"), generation.to_string()).unwrap();

    let bytes = fs::read(golden.join("model.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let mut rng = seed::rng(1);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = golden
        .iter()
        .map(|(name, view)| {
            let mut shape = view.shape().to_vec();
            let mut values: Vec<f32> = view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            if name.contains("embed_tokens") || name.contains("lm_head") {
                let largest = values.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
                let more = VOCABULARY * shape[1] - values.len();
                values.extend((0..more).map(|_| (rng.random::<f32>() - 0.5) * largest));
                shape[0] = VOCABULARY;
            }
            let bytes = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
            (name.to_owned(), shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
    true
}
