//! The sizes of a Qwen2.5-VL, whatever layout its `config.json` has.


/// Sizes of the vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
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
    /// Colour channels.
    pub channels: usize,
    /// Pixels a side of a patch.
    pub patch: usize,
    /// Pictures in time that one patch spans.
    pub temporal_patch: usize,
    /// Patches a side that are merged into one token.
    pub merge: usize,
    /// Pixels a side of an attention window.
    pub window: usize,
    /// Blocks that attend to the whole picture.
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
    /// Added to the mean square in the norms.
    pub norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Frequencies that follow time, height and width.
    pub mrope_sections: [usize; 3],
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
}
