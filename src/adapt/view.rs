//! Views of a frame: itself, and crops, mirrored and recoloured ones, so that few frames
//! are not learnt by heart.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    frame::{RgbdFrame, augment},
    task::seed,
};

/// How views differ from their frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewConfig {
    /// The smallest crop, as a part of each side of the frame; 1 turns cropping off.
    pub min_crop: f64,
    /// Chance that a view is mirrored.
    pub mirror: f64,
    /// Strength of the colour jitter; 0 turns it off.
    pub jitter: f32,
}

impl Default for ViewConfig {
    fn default() -> Self {
        ViewConfig { min_crop: 0.5, mirror: 0.5, jitter: 1.0 }
    }
}

/// View `number` of a frame: 0 is the frame itself, others depend on `(run_seed, frame,
/// number)` alone.
///
/// # Errors
/// When the frame is too small to be cropped.
pub fn view(
    frame: &RgbdFrame,
    config: &ViewConfig,
    run_seed: u64,
    number: u64,
) -> Result<RgbdFrame, augment::AugmentError> {
    if number == 0 {
        return Ok(frame.clone());
    }
    let mut rng = seed::rng(seed::mix(seed::mix(run_seed, frame.id.0), number));
    let part = rng.random_range(config.min_crop.clamp(0.1, 1.0)..=1.0);
    let side = |side: u32| ((f64::from(side) * part).round() as u32).clamp(1, side);
    let (width, height) = (side(frame.width()), side(frame.height()));
    let x = rng.random_range(0..=frame.width() - width);
    let y = rng.random_range(0..=frame.height() - height);
    let mut view = augment::crop(frame, x, y, width, height)?;
    if rng.random_bool(config.mirror.clamp(0.0, 1.0)) {
        view = augment::mirror(&view);
    }
    if config.jitter > 0.0 {
        let usual = augment::Jitter::default();
        let jitter = augment::Jitter {
            brightness: usual.brightness * config.jitter,
            contrast: usual.contrast * config.jitter,
            color_balance: usual.color_balance * config.jitter,
            blur: usual.blur * config.jitter,
            noise: usual.noise * config.jitter,
        };
        view = augment::jitter(&view, &jitter, &mut rng);
    }
    Ok(view)
}
