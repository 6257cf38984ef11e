//! A tiny Qwen2.5-VL with random weights and a tokenizer of whole words, as a checkpoint folder.

use std::{collections::BTreeSet, fs, path::Path};

use rand::RngExt;
use serde_json::json;
use spatial_ssrl::{
    policy::qwen::{QwenConfig, plan},
    task::seed,
};

/// Sizes of a model.
pub struct Tiny {
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub vision_hidden: usize,
    pub vision_depth: usize,
    pub tied: bool,
}

impl Default for Tiny {
    fn default() -> Self {
        Tiny {
            hidden: 64,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            vision_hidden: 32,
            vision_depth: 2,
            tied: false,
        }
    }
}

const CONTROL: [&str; 6] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
];

/// Writes the checkpoint; its tokenizer knows the words of `texts` and of answers.
pub fn write(folder: &Path, tiny: &Tiny, texts: &[String], run_seed: u64) {
    let split = regex::Regex::new(PATTERN).unwrap();
    let mut words: BTreeSet<String> = ["<unk>", "<think>", "</think>", "\\boxed{", "}", "-", "\n"]
        .map(String::from)
        .into_iter()
        .chain((0..10).map(|d| d.to_string()))
        .chain(["A", "B", "C", "D", "system", "user", "assistant"].map(String::from))
        .collect();
    for text in texts {
        words.extend(split.find_iter(text).map(|word| word.as_str().to_owned()));
    }
    let id = |name: &str| CONTROL.iter().position(|c| *c == name).unwrap();
    // Added tokens keep their ids only if the vocabulary has them there.
    let all = CONTROL.iter().copied().chain(words.iter().map(String::as_str));
    let vocab: serde_json::Map<_, _> =
        all.enumerate().map(|(id, word)| (word.to_owned(), json!(id))).collect();
    let vocabulary = vocab.len();
    tokenizer(folder, vocab);

    let half = tiny.hidden / tiny.heads / 2;
    let config = json!({
        "model_type": "qwen2_5_vl", "hidden_act": "silu", "hidden_size": tiny.hidden,
        "intermediate_size": 2 * tiny.hidden, "max_position_embeddings": 4096,
        "num_attention_heads": tiny.heads, "num_hidden_layers": tiny.layers,
        "num_key_value_heads": tiny.kv_heads, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope",
                         "mrope_section": [half - 2 * (half * 3 / 8), half * 3 / 8, half * 3 / 8]},
        "tie_word_embeddings": tiny.tied, "vocab_size": vocabulary,
        "eos_token_id": id("<|im_end|>"), "image_token_id": id("<|image_pad|>"),
        "vision_start_token_id": id("<|vision_start|>"),
        "vision_end_token_id": id("<|vision_end|>"),
        "vision_config": {
            "depth": tiny.vision_depth, "hidden_act": "silu", "hidden_size": tiny.vision_hidden,
            "intermediate_size": 2 * tiny.vision_hidden, "num_heads": 2,
            "out_hidden_size": tiny.hidden, "patch_size": 14, "spatial_merge_size": 2,
            "window_size": 56, "fullatt_block_indexes": [tiny.vision_depth - 1],
            "temporal_patch_size": 2, "in_chans": 3,
        },
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    weights(folder, run_seed);
}

/// How the tokenizer splits a text.
const PATTERN: &str = r"</?think>|\\boxed\{|[A-Za-z]+|[0-9]|[ \n\t]|.";

/// Writes a tokenizer of whole words with these numbers, control tokens and `<unk>` among them.
pub fn tokenizer(folder: &Path, vocab: serde_json::Map<String, serde_json::Value>) {
    let added: Vec<_> = CONTROL
        .iter()
        .map(|content| {
            json!({"id": vocab[*content], "content": content, "special": true,
                   "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": PATTERN},
                          "behavior": "Isolated", "invert": false},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

fn weights(folder: &Path, run_seed: u64) {
    let config = QwenConfig::read(folder).unwrap();
    let mut rng = seed::rng(run_seed);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, mut draw: Box<dyn FnMut(f32) -> f32>| {
        let values = (0..shape.iter().product()).map(|_| draw(rng.random::<f32>() * 2.0 - 1.0));
        let bytes = values.flat_map(f32::to_le_bytes).collect();
        tensors.push((name, shape, bytes));
    };
    let uniform = |bound: f32| -> Box<dyn FnMut(f32) -> f32> { Box::new(move |u| u * bound) };
    for layer in plan::linear_layers(&config) {
        if layer.name == "lm_head" && config.tied {
            continue;
        }
        let bound = 1.5 / (layer.inputs as f32).sqrt();
        add(format!("{}.weight", layer.name), vec![layer.outputs, layer.inputs], uniform(bound));
        let bare = layer.name.contains("language_model")
            && ["o_proj", "gate_proj", "up_proj", "down_proj"]
                .iter()
                .any(|p| layer.name.ends_with(p));
        if !bare && layer.name != "lm_head" {
            add(format!("{}.bias", layer.name), vec![layer.outputs], uniform(0.02));
        }
    }
    let (text, vision) = (&config.text, &config.vision);
    let embedding = vec![text.vocabulary, text.hidden];
    // A head with larger weights would leave nothing to chance.
    let bound = if config.tied { 0.2 } else { 1.0 };
    add("model.language_model.embed_tokens.weight".into(), embedding, uniform(bound));
    let patch = vec![vision.hidden, 3, 2, vision.patch, vision.patch];
    add("model.visual.patch_embed.proj.weight".into(), patch, uniform(0.05));
    let mut norms = vec![("model.language_model.norm".to_owned(), text.hidden)];
    norms.push(("model.visual.merger.ln_q".to_owned(), vision.hidden));
    for i in 0..text.layers {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            norms.push((format!("model.language_model.layers.{i}.{norm}"), text.hidden));
        }
    }
    for i in 0..vision.depth {
        for norm in ["norm1", "norm2"] {
            norms.push((format!("model.visual.blocks.{i}.{norm}"), vision.hidden));
        }
    }
    for (name, width) in norms {
        add(format!("{name}.weight"), vec![width], Box::new(|_| 1.0));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let dtype = safetensors::Dtype::F32;
        let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
}
