//! The golden model as a checkpoint folder: it comes without a tokenizer, so it gets one of whole
//! words with its own numbers for control tokens.

use std::{fs, path::Path};

use serde_json::{Map, json};

use super::tiny;

/// Words of the golden model.
const VOCABULARY: usize = 160;

/// What answers and the chat's frame are made of.
const WORDS: [&str; 30] = [
    "<unk>",
    "\n",
    " ",
    ".",
    "-",
    "}",
    "<think>",
    "</think>",
    "\\boxed{",
    "system",
    "user",
    "assistant",
    "I",
    "compare",
    "the",
    "parts",
    "of",
    "what",
    "is",
    "shown",
    "A",
    "B",
    "C",
    "D",
    "marker",
    "picture",
    "which",
    "patch",
    "nearest",
    "observer",
];

/// Writes the checkpoint into `folder`; `false` (and a line that says so) without the golden
/// model.
pub fn write(folder: &Path) -> bool {
    let Some(golden) = super::shared("golden/qwen2_5_vl/model") else { return false };
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        fs::write(folder.join(name), fs::read(golden.join(name)).unwrap()).unwrap();
    }
    let preprocessor = json!({
        "min_pixels": 3136, "max_pixels": 12_845_056, "patch_size": 14, "temporal_patch_size": 2,
        "merge_size": 2, "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73],
        "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11],
        "image_processor_type": "Qwen2VLImageProcessor",
    });
    fs::write(folder.join("preprocessor_config.json"), preprocessor.to_string()).unwrap();
    let mut vocab = Map::new();
    for (word, id) in [
        ("<|endoftext|>", 0),
        ("<|im_end|>", 2),
        ("<|im_start|>", 3),
        ("<|image_pad|>", 150),
        ("<|vision_start|>", 152),
        ("<|vision_end|>", 153),
    ] {
        vocab.insert(word.to_owned(), json!(id));
    }
    let digits: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    let words = WORDS.iter().copied().chain(digits.iter().map(String::as_str));
    let free = (4..VOCABULARY).filter(|id| !(150..=153).contains(id));
    for (word, id) in words.zip(free) {
        vocab.insert(word.to_owned(), json!(id));
    }
    tiny::tokenizer(folder, vocab);
    true
}
