//! Qwen2.5-VL, and Qwen2-VL, with a low-rank adapter, in burn.
//!
//! A checkpoint folder is read by [`config`] and [`weights`]; questions and pictures become
//! prompts in [`processor`] and [`picture`]. A prompt becomes embeddings ([`vision`], [`rope`],
//! [`model`](mod@model)), these become answers ([`generate`](mod@generate)); answers and what
//! they were worth become the gradient of the adapter ([`train`]) and a better adapter
//! ([`learn`]).

pub mod attention;
pub mod config;
pub mod error;
pub mod generate;
pub mod layers;
pub mod learn;
pub mod linear;
pub mod model;
pub mod peft;
pub mod picture;
pub mod plan;
pub mod policy;
pub mod processor;
pub mod published;
mod resize;
pub mod rope;
mod section;
mod tensor_file;
pub mod text;
pub mod train;
pub mod vision;
pub mod weights;

pub use config::{QwenConfig, TextConfig, VisionConfig};
pub use error::QwenError;
pub use policy::{QwenPolicy, QwenPolicyConfig};
