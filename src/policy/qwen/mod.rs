//! Qwen2.5-VL with a low-rank adapter, in burn.
//!
//! A prompt with its pictures becomes embeddings ([`vision`], [`rope`], [`model`]), these
//! become answers ([`generate`](mod@generate)); answers and what they were worth become the
//! gradient of the adapter ([`train`]) and a better adapter ([`learn`]).

pub mod attention;
pub mod config;
pub mod error;
pub mod generate;
pub mod layers;
pub mod learn;
pub mod linear;
pub mod model;
pub mod rope;
pub mod text;
pub mod train;
pub mod vision;

pub use config::{QwenConfig, TextConfig, VisionConfig};
pub use error::QwenError;
