//! The sizes of a Qwen2.5-VL or Qwen2-VL, whatever layout its `config.json` has.
//!
//! The two families share the language model, the merger and the processor; [`Tower`] says what
//! differs. A further family of the same kind needs: its `model_type` here, its blocks in
//! [`vision`](super::vision), names and shapes of its layers in
//! [`plan::linear_layers`](super::plan::linear_layers), its rules for positions in
//! [`rope`](super::rope), and its order of patches and chat template in
//! [`processor`](super::processor) where they are other ones. (Qwen3-VL has learnt positions in the
//! tower, feeds several of its blocks into the language model and norms queries and keys; SmolVLM
//! has a SigLIP tower, another merger and plain rotary positions.)
//!
//! Published checkpoints are flat (`hidden_size` beside `vision_config`, rotary sections in
//! `rope_scaling`); what transformers saves today is nested (`text_config`, sections in
//! `rope_parameters`). Both become one [`QwenConfig`], in which every size is plausible and
//! fits the others, so that nothing behind it needs to check again.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::section::{Section, in_file, object, wrong};

/// What the blocks of the vision tower are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tower {
    /// Qwen2.5-VL: RMSNorm, SwiGLU, attention within windows in most blocks.
    Qwen2_5,
    /// Qwen2-VL: LayerNorm, QuickGELU without a gate, attention over the whole picture throughout.
    Qwen2,
}

impl Tower {
    /// `model_type` of a checkpoint.
    pub fn model_type(self) -> &'static str {
        match self {
            Tower::Qwen2_5 => "qwen2_5_vl",
            Tower::Qwen2 => "qwen2_vl",
        }
    }

    /// The feed-forward layers of a block: name, and whether it is the one that narrows.
    pub fn mlp(self) -> &'static [(&'static str, bool)] {
        match self {
            Tower::Qwen2_5 => &[("gate_proj", false), ("up_proj", false), ("down_proj", true)],
            Tower::Qwen2 => &[("fc1", false), ("fc2", true)],
        }
    }
}

/// Sizes of the vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// What its blocks are made of.
    pub tower: Tower,
    /// Blocks.
    pub depth: usize,
    /// Width.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward layers.
    pub intermediate: usize,
    /// Width of what it gives, the language model's.
    pub out: usize,
    /// Colour channels: 3.
    pub channels: usize,
    /// Pixels a side of a patch.
    pub patch: usize,
    /// Pictures in time that one patch spans.
    pub temporal_patch: usize,
    /// Patches a side that are merged into one token.
    pub merge: usize,
    /// Pixels a side of an attention window; of no use where every block attends to the whole
    /// picture.
    pub window: usize,
    /// Blocks that attend to the whole picture, ascending.
    pub full_blocks: Vec<usize>,
}

/// Sizes of the language model.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Blocks.
    pub layers: usize,
    /// Width.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width inside the feed-forward layers.
    pub intermediate: usize,
    /// Words.
    pub vocabulary: usize,
    /// Positions for which it was trained.
    pub max_positions: usize,
    /// Added to the mean square in the norms.
    pub norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Frequencies that follow time, height and width.
    pub mrope_sections: [usize; 3],
}

impl TextConfig {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }
}

/// Sizes of the whole model.
#[derive(Clone, Debug, PartialEq)]
pub struct QwenConfig {
    /// The vision tower's.
    pub vision: VisionConfig,
    /// The language model's.
    pub text: TextConfig,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// The token that stands for one merged patch.
    pub image_token: u32,
    /// The token before a picture.
    pub vision_start: u32,
    /// The token after a picture.
    pub vision_end: u32,
    /// Tokens that end an answer, should `generation_config.json` name none.
    pub stop: Vec<u32>,
}

/// Why a `config.json` or `generation_config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QwenConfigError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is too large to be one.
    #[error("{}: {bytes} bytes are no configuration (at most {MAX_BYTES})", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It is no JSON object.
    #[error("not a JSON object: {0}")]
    Json(String),
    /// Another kind of model.
    #[error(
        "model_type is {0:?}: only \"qwen2_5_vl\" and \"qwen2_vl\" are implemented; other families have other vision towers or positions"
    )]
    ModelType(String),
    /// A key that must be there is not.
    #[error("{key} is missing")]
    Missing {
        /// The key, with the section that it belongs in.
        key: String,
    },
    /// A value that cannot be used.
    #[error("{key} = {value}: {needed} is needed")]
    Wrong {
        /// The key, with the section that it belongs in.
        key: String,
        /// What stands there.
        value: String,
        /// What should.
        needed: String,
    },
    /// One of the above, in a file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<QwenConfigError>,
    },
}

/// The largest configuration that is read, bytes.
pub(super) const MAX_BYTES: u64 = 4 << 20;

impl QwenConfig {
    /// Reads `config.json` of a checkpoint folder.
    ///
    /// # Errors
    /// [`QwenConfigError`] with the key that is wrong.
    pub fn read(folder: &Path) -> Result<Self, QwenConfigError> {
        Self::read_file(&folder.join("config.json"))
    }

    /// Reads a configuration of either layout.
    ///
    /// # Errors
    /// [`QwenConfigError`] with the key that is wrong.
    pub fn read_file(path: &Path) -> Result<Self, QwenConfigError> {
        in_file(path, Self::from_json)
    }

    /// A configuration of either layout from its text.
    ///
    /// # Errors
    /// [`QwenConfigError`] with the key that is wrong.
    pub fn from_json(json: &str) -> Result<Self, QwenConfigError> {
        let top = object(json)?;
        let top = Section { name: "", values: &top };
        let tower = match top.text("model_type") {
            Some("qwen2_5_vl") => Tower::Qwen2_5,
            Some("qwen2_vl") => Tower::Qwen2,
            other => return Err(QwenConfigError::ModelType(other.unwrap_or("missing").to_owned())),
        };
        let text = top.section("text_config").unwrap_or(Section { name: "", values: top.values });
        let vision = top.section("vision_config").ok_or_else(|| top.missing("vision_config"))?;
        let vision = match tower {
            Tower::Qwen2_5 => vision_config(&vision)?,
            Tower::Qwen2 => qwen2_vision_config(&vision)?,
        };
        let text_config = text_config(&text, tower)?;
        if vision.out != text_config.hidden {
            let needed = format!("the language model's hidden_size, {},", text_config.hidden);
            let key = match tower {
                Tower::Qwen2_5 => "vision_config.out_hidden_size",
                Tower::Qwen2 => "vision_config.hidden_size",
            };
            return Err(wrong(key, vision.out, needed));
        }
        let tied = match top.values.get("tie_word_embeddings") {
            None => text.flag("tie_word_embeddings", false)?,
            Some(_) => top.flag("tie_word_embeddings", false)?,
        };
        // A checkpoint may name tokens in either place.
        let token = |key: &str| match top.values.contains_key(key) {
            true => top.token(key, text_config.vocabulary),
            false => text.token(key, text_config.vocabulary),
        };
        Ok(QwenConfig {
            image_token: token("image_token_id")?,
            vision_start: token("vision_start_token_id")?,
            vision_end: token("vision_end_token_id")?,
            stop: text.tokens("eos_token_id")?.or(top.tokens("eos_token_id")?).unwrap_or_default(),
            vision,
            text: text_config,
            tied,
        })
    }
}

fn vision_config(section: &Section<'_>) -> Result<VisionConfig, QwenConfigError> {
    section.only("hidden_act", &["silu"])?;
    section.only("model_type", &["qwen2_5_vl", "qwen2_5_vl_vision"])?;
    let config = VisionConfig {
        tower: Tower::Qwen2_5,
        depth: section.size("depth", 1, MAX_BLOCKS)?,
        hidden: section.size("hidden_size", 1, MAX_WIDTH)?,
        heads: section.size("num_heads", 1, MAX_WIDTH)?,
        intermediate: section.size("intermediate_size", 1, MAX_WIDTH)?,
        out: section.size("out_hidden_size", 1, MAX_WIDTH)?,
        channels: channels(section)?,
        patch: section.size("patch_size", 1, 256)?,
        temporal_patch: section.size("temporal_patch_size", 1, 16)?,
        merge: section.size("spatial_merge_size", 1, 16)?,
        window: section.size("window_size", 1, MAX_WIDTH)?,
        full_blocks: full_blocks(section)?,
    };
    rotary(section, &config)?;
    let token = config.patch * config.merge;
    if !config.window.is_multiple_of(token) {
        let needed = format!("a multiple of patch_size x spatial_merge_size, {token},");
        return Err(wrong("vision_config.window_size", config.window, needed));
    }
    Ok(config)
}

/// Of Qwen2-VL, which calls the tower's width `embed_dim` and the language model's `hidden_size`.
fn qwen2_vision_config(section: &Section<'_>) -> Result<VisionConfig, QwenConfigError> {
    section.only("hidden_act", &["quick_gelu"])?;
    section.only("model_type", &["qwen2_vl", "qwen2_vl_vision"])?;
    let hidden = section.size("embed_dim", 1, MAX_WIDTH)?;
    let times = match section.values.contains_key("mlp_ratio") {
        true => section.size("mlp_ratio", 1, 64)?,
        false => 4,
    };
    let depth = section.size("depth", 1, MAX_BLOCKS)?;
    let (patch, merge) =
        (section.size("patch_size", 1, 256)?, section.size("spatial_merge_size", 1, 16)?);
    let config = VisionConfig {
        tower: Tower::Qwen2,
        depth,
        hidden,
        heads: section.size("num_heads", 1, MAX_WIDTH)?,
        intermediate: hidden * times,
        out: section.size("hidden_size", 1, MAX_WIDTH)?,
        channels: channels(section)?,
        patch,
        temporal_patch: section.size("temporal_patch_size", 1, 16)?,
        merge,
        window: patch * merge,
        full_blocks: (0..depth).collect(),
    };
    rotary(section, &config)?;
    Ok(config)
}

fn channels(section: &Section<'_>) -> Result<usize, QwenConfigError> {
    let key = ["in_channels", "in_chans"];
    let key = key.into_iter().find(|key| section.values.contains_key(*key));
    key.map_or(Ok(3), |key| section.size(key, 3, 3))
}

/// The rotary angles of rows and columns take half of a head each, in pairs.
fn rotary(section: &Section<'_>, config: &VisionConfig) -> Result<(), QwenConfigError> {
    section.whole_heads(config.hidden, config.heads, "num_heads", 4)?;
    if let Some(rope) = section.section("rope_parameters")
        && let Some(theta) = rope.values.get("rope_theta").and_then(Value::as_f64)
        && theta != 10_000.0
    {
        return Err(wrong("vision_config.rope_parameters.rope_theta", theta, "10000"));
    }
    Ok(())
}

fn full_blocks(section: &Section<'_>) -> Result<Vec<usize>, QwenConfigError> {
    let key = "fullatt_block_indexes";
    let depth = section.size("depth", 1, MAX_BLOCKS)?;
    let listed = section.values.get(key).ok_or_else(|| section.missing(key))?;
    let block = |value: &Value| {
        let block = value.as_u64().and_then(|block| usize::try_from(block).ok());
        block.filter(|block| *block < depth)
    };
    let blocks = listed.as_array().and_then(|all| all.iter().map(block).collect());
    let mut blocks: Vec<usize> = blocks.ok_or_else(|| {
        wrong(&section.key(key), listed, format!("a list of blocks below {depth}"))
    })?;
    blocks.sort_unstable();
    blocks.dedup();
    Ok(blocks)
}

fn text_config(section: &Section<'_>, tower: Tower) -> Result<TextConfig, QwenConfigError> {
    section.only("hidden_act", &["silu"])?;
    let name = tower.model_type();
    section.only("model_type", &[name, &format!("{name}_text")])?;
    if section.flag("use_sliding_window", false)? {
        return Err(wrong(&section.key("use_sliding_window"), true, "false"));
    }
    if let Some(types) = section.values.get("layer_types").filter(|types| !types.is_null()) {
        let full = |kind: &Value| kind.as_str() == Some("full_attention");
        if !types.as_array().is_some_and(|types| types.iter().all(full)) {
            return Err(wrong(&section.key("layer_types"), types, "\"full_attention\" throughout"));
        }
    }
    let rope = ["rope_parameters", "rope_scaling"];
    let rope = rope.into_iter().find_map(|key| section.section(key));
    let rope = rope.ok_or_else(|| section.missing("rope_parameters (or rope_scaling)"))?;
    for key in ["rope_type", "type"] {
        rope.only(key, &["default", "mrope"])?;
    }
    let holder = if rope.values.contains_key("rope_theta") { &rope } else { section };
    let config = TextConfig {
        layers: section.size("num_hidden_layers", 1, MAX_BLOCKS)?,
        hidden: section.size("hidden_size", 1, MAX_WIDTH)?,
        heads: section.size("num_attention_heads", 1, MAX_WIDTH)?,
        kv_heads: section.size("num_key_value_heads", 1, MAX_WIDTH)?,
        intermediate: section.size("intermediate_size", 1, MAX_WIDTH)?,
        vocabulary: section.size("vocab_size", 1, 1 << 24)?,
        max_positions: section.size("max_position_embeddings", 1, 1 << 30)?,
        norm_eps: section.number("rms_norm_eps", 0.0, 1.0)?,
        rope_theta: holder.number("rope_theta", 1.0, 1e12)?,
        mrope_sections: sections(&rope)?,
    };
    section.whole_heads(config.hidden, config.heads, "num_attention_heads", 2)?;
    let (heads, kv_heads, dim) = (config.heads, config.kv_heads, config.head_dim());
    if !heads.is_multiple_of(kv_heads) {
        let needed = format!("a divisor of num_attention_heads, {heads},");
        return Err(wrong(&section.key("num_key_value_heads"), kv_heads, needed));
    }
    if let Some(given) = section.values.get("head_dim").filter(|given| !given.is_null())
        && given.as_u64() != Some(dim as u64)
    {
        let needed = format!("hidden_size / num_attention_heads, {dim},");
        return Err(wrong(&section.key("head_dim"), given, needed));
    }
    if config.mrope_sections.iter().sum::<usize>() != dim / 2 {
        let value = format!("{:?}", config.mrope_sections);
        let needed = format!("a sum of {} (half a head of {dim})", dim / 2);
        return Err(wrong(&rope.key("mrope_section"), value, needed));
    }
    Ok(config)
}

fn sections(rope: &Section<'_>) -> Result<[usize; 3], QwenConfigError> {
    let key = "mrope_section";
    let listed = rope.values.get(key).ok_or_else(|| rope.missing(key))?;
    let section = |value: &Value| {
        let section = value.as_u64().and_then(|section| usize::try_from(section).ok());
        section.filter(|section| *section <= MAX_WIDTH)
    };
    let sections: Option<Vec<usize>> =
        listed.as_array().and_then(|all| all.iter().map(section).collect());
    sections
        .and_then(|sections| <[usize; 3]>::try_from(sections).ok())
        .ok_or_else(|| wrong(&rope.key(key), listed, "three numbers: time, height, width;"))
}

/// What `generation_config.json` says of sampling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end an answer.
    pub stop: Vec<u32>,
    /// Sampling temperature, if it recommends one.
    pub temperature: Option<f64>,
    /// Nucleus, if it recommends one.
    pub top_p: Option<f64>,
}

impl GenerationConfig {
    /// Reads `generation_config.json` of a checkpoint folder; where there is none, or it names
    /// no token that ends an answer, the model's own are taken.
    ///
    /// # Errors
    /// [`QwenConfigError`] when it is damaged, or when no token ends an answer.
    pub fn read(folder: &Path, config: &QwenConfig) -> Result<Self, QwenConfigError> {
        let path = folder.join("generation_config.json");
        let mut read = match path.exists() {
            true => in_file(&path, Self::from_json)?,
            false => Self::default(),
        };
        if read.stop.is_empty() {
            read.stop.clone_from(&config.stop);
        }
        let vocabulary = config.text.vocabulary;
        match read.stop.iter().find(|&&id| id as usize >= vocabulary) {
            _ if read.stop.is_empty() => Err(QwenConfigError::Missing {
                key: format!("eos_token_id (in {} or config.json)", path.display()),
            }),
            Some(id) => Err(wrong("eos_token_id", id, format!("a token below {vocabulary}"))),
            None => Ok(read),
        }
    }

    /// From the file's text.
    ///
    /// # Errors
    /// [`QwenConfigError`] with the key that is wrong.
    pub fn from_json(json: &str) -> Result<Self, QwenConfigError> {
        let top = object(json)?;
        let top = Section { name: "", values: &top };
        let number = |key: &str, most: f64| match top.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => top.number(key, 0.0, most).map(Some),
        };
        Ok(GenerationConfig {
            stop: top.tokens("eos_token_id")?.unwrap_or_default(),
            temperature: number("temperature", 100.0)?,
            top_p: number("top_p", 1.0)?,
        })
    }
}

/// The most blocks that are believed.
const MAX_BLOCKS: usize = 1024;
/// The largest width that is believed: products of three of them fit 64 bits.
const MAX_WIDTH: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of Qwen2.5-VL-3B as its checkpoint has it.
    pub const FLAT_3B: &str = r#"{
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151645, "vision_start_token_id": 151652,
        "vision_end_token_id": 151653, "vision_token_id": 151654, "image_token_id": 151655,
        "video_token_id": 151656, "hidden_act": "silu", "hidden_size": 2048,
        "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 128000,
        "max_window_layers": 70, "model_type": "qwen2_5_vl", "num_attention_heads": 16,
        "num_hidden_layers": 36, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
        "torch_dtype": "bfloat16", "use_cache": true, "use_sliding_window": false,
        "vision_config": {"depth": 32, "hidden_act": "silu", "hidden_size": 1280,
            "intermediate_size": 3420, "num_heads": 16, "in_chans": 3, "out_hidden_size": 2048,
            "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14,
            "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2, "temporal_patch_size": 2},
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "vocab_size": 151936
    }"#;

    #[test]
    fn qwen_the_published_3b_layout_is_read() {
        let config = QwenConfig::from_json(FLAT_3B).unwrap();
        assert!(config.tied);
        assert_eq!(config.text.head_dim(), 128);
        assert_eq!(config.vision.full_blocks, [7, 15, 23, 31]);
        assert_eq!(config.stop, [151645]);
        assert_eq!(
            (config.image_token, config.vision_start, config.vision_end),
            (151655, 151652, 151653)
        );
    }

    #[test]
    fn qwen_wrong_sizes_are_refused_by_name() {
        for (from, to, names) in [
            (
                "\"num_attention_heads\": 16",
                "\"num_attention_heads\": 15",
                "num_attention_heads = 15",
            ),
            ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "num_key_value_heads = 3"),
            ("[16, 24, 24]", "[16, 24, 25]", "mrope_section"),
            ("[16, 24, 24]", "[16, 24]", "mrope_section"),
            ("[16, 24, 24]", "[16, 24, -24]", "mrope_section"),
            ("\"out_hidden_size\": 2048", "\"out_hidden_size\": 3584", "out_hidden_size = 3584"),
            ("\"window_size\": 112", "\"window_size\": 100", "window_size = 100"),
            ("[7, 15, 23, 31]", "[7, 15, 23, 32]", "fullatt_block_indexes"),
            ("\"vocab_size\": 151936", "\"vocab_size\": 151655", "image_token_id = 151655"),
            ("\"vocab_size\": 151936", "\"vocab_size\": 0", "vocab_size = 0"),
            ("\"hidden_size\": 2048,", "\"hidden_size\": 1e300,", "hidden_size"),
            ("\"hidden_size\": 2048,", "", "hidden_size is missing"),
            ("\"use_sliding_window\": false", "\"use_sliding_window\": true", "use_sliding_window"),
            ("\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": -1", "rms_norm_eps = -1"),
            ("\"in_chans\": 3", "\"in_chans\": 1", "in_chans = 1"),
            ("\"model_type\": \"qwen2_5_vl\"", "\"model_type\": \"qwen3_vl\"", "qwen3_vl"),
            // A tower of Qwen2.5-VL under the name of the older family.
            (
                "\"model_type\": \"qwen2_5_vl\"",
                "\"model_type\": \"qwen2_vl\"",
                "vision_config.hidden_act",
            ),
            ("\"vision_config\"", "\"vision\"", "vision_config is missing"),
            ("\"type\": \"mrope\"", "\"type\": \"yarn\"", "type = \"yarn\""),
            (
                "\"hidden_act\": \"silu\", \"hidden_size\": 1280",
                "\"hidden_act\": \"gelu\", \"hidden_size\": 1280",
                "vision_config.hidden_act",
            ),
        ] {
            let json = FLAT_3B.replacen(from, to, 1);
            assert_ne!(json, FLAT_3B, "{from}");
            let error = QwenConfig::from_json(&json).unwrap_err().to_string();
            assert!(error.contains(names), "{from} -> {to}: {error}");
        }
        assert!(matches!(QwenConfig::from_json("[]"), Err(QwenConfigError::Json(_))));
        assert!(matches!(QwenConfig::from_json("{"), Err(QwenConfigError::Json(_))));
    }

    #[test]
    fn qwen_the_published_layout_of_the_older_family_is_read() {
        let old = |vision: &str| {
            let (head, _) = FLAT_3B.split_once("\"vision_config\"").unwrap();
            let head = head
                .replace("qwen2_5_vl", "qwen2_vl")
                .replace("2048", "1536")
                .replace("num_attention_heads\": 16", "num_attention_heads\": 12");
            let rope = r#""rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}"#;
            let json =
                format!("{head} \"vision_config\": {vision}, {rope}, \"vocab_size\": 151936}}");
            QwenConfig::from_json(&json)
        };
        let vision = r#"{"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16,
            "in_chans": 3, "hidden_size": 1536, "patch_size": 14, "spatial_merge_size": 2,
            "spatial_patch_size": 14, "temporal_patch_size": 2}"#;
        let config = old(vision).unwrap();
        assert_eq!((config.vision.tower, config.vision.out), (Tower::Qwen2, 1536));
        assert_eq!((config.vision.hidden, config.vision.intermediate), (1280, 5120));
        assert_eq!(config.vision.full_blocks.len(), 32);
        for (from, to, names) in [
            ("\"embed_dim\": 1280, ", "", "vision_config.embed_dim is missing"),
            ("\"hidden_size\": 1536", "\"hidden_size\": 3584", "vision_config.hidden_size = 3584"),
            ("\"mlp_ratio\": 4", "\"mlp_ratio\": 0", "mlp_ratio = 0"),
        ] {
            let error = old(&vision.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(names), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn qwen_generation_config_names_one_stop_token_or_several() {
        let several = r#"{"eos_token_id": [151645, 151643], "temperature": 1e-06, "top_p": 0.9}"#;
        let read = GenerationConfig::from_json(several).unwrap();
        assert_eq!(read.stop, [151645, 151643]);
        assert_eq!(read.top_p, Some(0.9));
        assert_eq!(GenerationConfig::from_json(r#"{"eos_token_id": 2}"#).unwrap().stop, [2]);
        assert!(GenerationConfig::from_json(r#"{"eos_token_id": "two"}"#).is_err());
        assert!(GenerationConfig::from_json(r#"{"top_p": 7}"#).is_err());
    }
}
