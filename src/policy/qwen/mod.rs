//! Qwen2.5-VL with a low-rank adapter, in burn.
//!
//! A checkpoint folder is read by [`config`] and [`weights`]; questions and pictures become
//! prompts in [`processor`] and [`picture`].

pub mod config;
mod mapped;
pub mod picture;
pub mod processor;
pub mod weights;

pub use config::{QwenConfig, TextConfig, VisionConfig};
