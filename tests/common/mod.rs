//! What several tests share.
#![allow(dead_code)]

#[cfg(feature = "vlm")]
pub mod checkpoint;
#[cfg(feature = "vlm")]
pub mod qwen;
#[cfg(feature = "vlm")]
pub mod tiny;

use std::path::{Path, PathBuf};

use spatial_ssrl::{
    frame::RgbdFrame,
    source::{FrameSource, SourceReport},
};

/// A folder of the shared test data, `None` (and a line that says so) where it is not there.
pub fn shared(relative: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SPATIAL_SSRL_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let path = root.join(relative);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

/// Reads a source to its end.
pub fn read_all(source: &mut dyn FrameSource) -> (Vec<RgbdFrame>, SourceReport) {
    let mut frames = Vec::new();
    while let Some(frame) = source.next_frame().expect("readable") {
        frames.push(frame);
    }
    (frames, source.report().clone())
}

/// A hash of all pixels of a frame.
pub fn hash(frame: &RgbdFrame) -> String {
    use sha2::Digest;
    let mut hasher = sha2::Sha256::new();
    hasher.update(frame.color.as_raw());
    for z_m in frame.depth_m.iter().flatten() {
        // Every NaN means the same.
        let bits = if z_m.is_nan() { u32::MAX } else { z_m.to_bits() };
        hasher.update(bits.to_le_bytes());
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
