//! The shapes of the published checkpoints, and under which licence each is.

use super::{QwenConfig, TextConfig, VisionConfig, config::Tower};

/// Qwen2.5-VL-3B.
pub fn qwen2_5_vl_3b() -> QwenConfig {
    published(36, 2048, 16, 2, 11_008, 151_936, true)
}

/// Qwen2.5-VL-7B.
pub fn qwen2_5_vl_7b() -> QwenConfig {
    published(28, 3584, 28, 4, 18_944, 152_064, false)
}

/// Qwen2-VL-2B.
pub fn qwen2_vl_2b() -> QwenConfig {
    let mut config = published(28, 1536, 12, 2, 8960, 151_936, true);
    config.text.max_positions = 32_768;
    config.vision.tower = Tower::Qwen2;
    config.vision.intermediate = 5120;
    config.vision.full_blocks = (0..config.vision.depth).collect();
    config
}

/// What a user must know about the licence of the checkpoint with this shape.
pub fn licence(config: &QwenConfig) -> &'static str {
    match (config.vision.tower, config.text.layers, config.text.hidden) {
        (Tower::Qwen2_5, 36, 2048) => {
            "Qwen2.5-VL-3B: its weights are under the Qwen research licence, which does not allow commercial use"
        }
        (Tower::Qwen2_5, 28, 3584) => "Qwen2.5-VL-7B: its weights are under Apache-2.0",
        (Tower::Qwen2, 28, 1536) => "Qwen2-VL-2B: its weights are under Apache-2.0",
        (Tower::Qwen2, 28, 3584) => "Qwen2-VL-7B: its weights are under Apache-2.0",
        _ => "weights of another size: see the licence that came with them",
    }
}

fn published(
    layers: usize,
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    intermediate: usize,
    vocabulary: usize,
    tied: bool,
) -> QwenConfig {
    QwenConfig {
        vision: VisionConfig {
            tower: Tower::Qwen2_5,
            depth: 32,
            hidden: 1280,
            heads: 16,
            intermediate: 3420,
            out: hidden,
            channels: 3,
            patch: 14,
            temporal_patch: 2,
            merge: 2,
            window: 112,
            full_blocks: vec![7, 15, 23, 31],
        },
        text: TextConfig {
            layers,
            hidden,
            heads,
            kv_heads,
            intermediate,
            vocabulary,
            max_positions: 128_000,
            norm_eps: 1e-6,
            rope_theta: 1e6,
            mrope_sections: [16, 24, 24],
        },
        tied,
        image_token: 151_655,
        vision_start: 151_652,
        vision_end: 151_653,
        stop: vec![151_645],
    }
}
