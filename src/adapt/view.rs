//! Views of a frame: itself, and crops, mirrored and recoloured ones, so that few frames
//! are not learnt by heart.

use rand::RngExt;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{
    frame::{RgbdFrame, Window, augment},
    task::seed::{self, Rng},
};

/// How views differ from their frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewConfig {
    /// The smallest crop, as a part of each side of the frame; 1 turns cropping off.
    #[serde(deserialize_with = "part")]
    pub min_crop: f64,
    /// Chance that a view is mirrored.
    #[serde(deserialize_with = "part")]
    pub mirror: f64,
    /// Chance that a view is rolled, as if the camera had turned about its optical axis.
    #[serde(deserialize_with = "part")]
    pub roll: f64,
    /// The most that it is rolled either way, degrees, 0 to 180.
    #[serde(deserialize_with = "half_turn")]
    pub max_roll_deg: f64,
    /// Strength of the colour jitter; 0 turns it off.
    pub jitter: f32,
}

impl Default for ViewConfig {
    fn default() -> Self {
        ViewConfig { min_crop: 0.5, mirror: 0.5, roll: 0.5, max_roll_deg: 60.0, jitter: 1.0 }
    }
}

fn part<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    within(from, 1.0)
}

fn half_turn<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    within(from, 180.0)
}

fn within<'de, D: Deserializer<'de>>(from: D, most: f64) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    let wrong = || D::Error::custom(format!("must lie in 0..={most}, got {value}"));
    (0.0..=most).contains(&value).then_some(value).ok_or_else(wrong)
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
    let mut view = framed(frame, config, &mut rng)?;
    if rng.random::<f64>() < config.mirror {
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

/// A part of a frame, upright or rolled.
fn framed(
    frame: &RgbdFrame,
    config: &ViewConfig,
    rng: &mut Rng,
) -> Result<RgbdFrame, augment::AugmentError> {
    // Comparisons that not-a-number fails, which no file but a program may give.
    let part =
        rng.random_range(if config.min_crop <= 1.0 { config.min_crop.max(0.1) } else { 1.0 }..=1.0);
    let side = |side: u32| ((f64::from(side) * part).round() as u32).clamp(1, side);
    let (width, height) = (side(frame.width()), side(frame.height()));
    if rng.random::<f64>() >= config.roll {
        let x = rng.random_range(0..=frame.width() - width);
        let y = rng.random_range(0..=frame.height() - height);
        return augment::crop(frame, x, y, width, height);
    }
    let most = if config.max_roll_deg <= 180.0 { config.max_roll_deg.max(0.0) } else { 180.0 };
    let roll_rad = rng.random_range(-most..=most).to_radians();
    let aspect = frame.intrinsics.map_or(1.0, |k| k.fx / k.fy);
    let room = [frame.width(), frame.height()].map(|side| (f64::from(side) - 1.0) / 2.0);
    let mut window = Window { centre: room, size: (width, height), roll_rad };
    // What does not fit when it is turned is made smaller.
    let reach = window.reach(aspect);
    let fits = (room[0] / reach[0]).min(room[1] / reach[1]);
    if fits < 1.0 {
        let smaller = |side: u32| ((f64::from(side) * fits).floor() as u32).max(1);
        window.size = (smaller(width), smaller(height));
    }
    let reach = window.reach(aspect);
    for (centre, (room, reach)) in window.centre.iter_mut().zip(room.into_iter().zip(reach)) {
        let free = (room - reach).max(0.0);
        *centre += rng.random_range(-free..=free);
    }
    augment::roll(frame, &window)
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;
    use crate::{
        adapt::settings::RunConfig,
        config::load_toml,
        frame::{DepthMap, FrameId, Intrinsics, Registration},
    };

    fn frame(width: u32, height: u32) -> RgbdFrame {
        RgbdFrame {
            id: FrameId(9),
            stamp_ns: 9,
            depth_stamp_ns: None,
            color: RgbImage::from_fn(width, height, |u, v| Rgb([u as u8, v as u8, 50])),
            depth_m: Some(DepthMap::from_elem((height as usize, width as usize), 1.5)),
            intrinsics: Intrinsics::new(width, height, 50.0, 60.0, 0.4 * f64::from(width), 0.5)
                .ok(),
            registration: Registration::Registered,
        }
    }

    #[test]
    fn a_view_lies_wholly_in_its_frame_however_it_is_rolled() {
        let config = ViewConfig { roll: 1.0, max_roll_deg: 180.0, ..ViewConfig::default() };
        for (width, height) in [(64, 48), (48, 64), (160, 20), (3, 2), (1, 1)] {
            let frame = frame(width, height);
            for number in 1..200 {
                let view = view(&frame, &config, 1, number).unwrap();
                let depth_m = view.depth_m.unwrap();
                assert!(depth_m.iter().all(|z_m| *z_m == 1.5));
                assert_eq!(
                    depth_m.dim(),
                    (view.color.height() as usize, view.color.width() as usize)
                );
            }
        }
    }

    #[test]
    fn only_so_many_views_are_rolled_and_a_seed_decides_which() {
        let frame = frame(64, 48);
        let count = |roll: f64| {
            let config = ViewConfig { roll, mirror: 0.0, jitter: 0.0, ..ViewConfig::default() };
            let views = (1..300).map(|number| view(&frame, &config, 1, number).unwrap());
            // A crop keeps the step from column to column; a roll does not.
            let upright = |view: &RgbdFrame| {
                let [a, b] = [0, view.width() - 1].map(|u| view.color.get_pixel(u, 0).0);
                a[1] == b[1] && u32::from(b[0] - a[0]) == view.width() - 1
            };
            views.filter(|view| !upright(view)).count()
        };
        assert_eq!(count(0.0), 0);
        assert!((110..190).contains(&count(0.5)), "{}", count(0.5));
        let again = view(&frame, &ViewConfig::default(), 7, 3).unwrap();
        assert_eq!(again.color, view(&frame, &ViewConfig::default(), 7, 3).unwrap().color);
    }

    #[test]
    fn settings_that_no_view_can_have_are_refused_with_the_number() {
        for (line, number) in
            [("roll = 1.5", "1.5"), ("mirror = nan", "NaN"), ("max_roll_deg = -3.0", "-3")]
        {
            let toml = format!("[learn.view]\n{line}\n");
            let error = load_toml::<RunConfig>(&toml, "a.toml".as_ref()).unwrap_err().to_string();
            assert!(error.contains("must lie in") && error.contains(number), "{error}");
        }
        let nan = f64::NAN;
        let config =
            ViewConfig { min_crop: nan, mirror: nan, roll: nan, max_roll_deg: nan, jitter: 1.0 };
        view(&frame(64, 48), &config, 1, 1).unwrap();
        view(&frame(64, 48), &ViewConfig { roll: 1.0, ..config }, 1, 1).unwrap();
    }
}
