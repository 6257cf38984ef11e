//! Frame in, [`Verdict`] out: what is too dark, smeared or seen already makes no tasks at
//! all; what has no depth to trust makes only the tasks that need none.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::frame::{
    Registration, RgbdFrame,
    displaced::{self, Displacement},
    quality::{Quality, QualityMeter, Signature},
};

/// The most signatures that a gate remembers, whatever the configuration asks for.
pub const MAX_REMEMBERED: usize = 256;

/// What a frame must have. Every key may be left out; unknown keys are refused.
///
/// ```
/// use spatial_ssrl::adapt::gate::GateConfig;
/// let config: GateConfig = toml::from_str("min_valid_depth = 0.3")?;
/// assert_eq!(config.min_valid_depth, 0.3);
/// assert_eq!(config.remember, GateConfig::default().remember);
/// assert!(toml::from_str::<GateConfig>("min_depth = 0.3").is_err());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateConfig {
    /// Mean brightness below which a frame is too dark, 0 to 255.
    pub min_mean_luma: f32,
    /// Fraction of black pixels (at most 5 of 255) above which a frame is too dark.
    pub max_dark_fraction: f32,
    /// Fraction of white pixels (at least 250 of 255) above which a frame is saturated.
    pub max_bright_fraction: f32,
    /// Sharpness below which a frame is blurred, 0 (never) to 1: see
    /// [`Quality::sharpness`]. Sharp pictures have 0.55 to 0.85; at 0.36 edges are smeared
    /// over 2 % of the picture's width. A frame with too few edges to tell passes.
    pub min_sharpness: f32,
    /// How much a frame must differ from each one remembered, 0 (not at all) to about 1.4:
    /// see [`Signature::distance`].
    pub min_novelty: f32,
    /// How many accepted frames are remembered for that, at most [`MAX_REMEMBERED`].
    pub remember: usize,
    /// Fraction of pixels with a depth below which a frame makes no depth tasks. Low,
    /// because holes in a grid cost no task while regions between them are even.
    pub min_valid_depth: f32,
    /// How much the stamps of colour and depth may differ, milliseconds, for the frame to
    /// make depth tasks.
    pub max_skew_ms: f64,
    /// Depth that was taken at another moment than colour is brought to where its edges meet
    /// those of colour: see [`displaced`].
    pub bring_back_depth: bool,
}

impl Default for GateConfig {
    fn default() -> Self {
        GateConfig {
            min_mean_luma: 16.0,
            max_dark_fraction: 0.7,
            max_bright_fraction: 0.5,
            min_sharpness: 0.36,
            min_novelty: 0.04,
            remember: 32,
            min_valid_depth: 0.1,
            max_skew_ms: 20.0,
            bring_back_depth: true,
        }
    }
}

/// A threshold outside its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("gate: {key} = {value} is not between {min} and {max}")]
pub struct GateConfigError {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: f64,
    /// The least that makes sense.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl GateConfig {
    /// Checks every threshold against its range.
    ///
    /// # Errors
    /// The first key that is outside its range, or not a number.
    pub fn check(&self) -> Result<(), GateConfigError> {
        for (key, value, max) in [
            ("min_mean_luma", f64::from(self.min_mean_luma), 255.0),
            ("max_dark_fraction", f64::from(self.max_dark_fraction), 1.0),
            ("max_bright_fraction", f64::from(self.max_bright_fraction), 1.0),
            ("min_sharpness", f64::from(self.min_sharpness), 1.0),
            ("min_novelty", f64::from(self.min_novelty), 2.0),
            ("remember", self.remember as f64, MAX_REMEMBERED as f64),
            ("min_valid_depth", f64::from(self.min_valid_depth), 1.0),
            ("max_skew_ms", self.max_skew_ms, 1e6),
        ] {
            if !(0.0..=max).contains(&value) {
                return Err(GateConfigError { key, value, min: 0.0, max });
            }
        }
        Ok(())
    }
}

/// Why a frame was not taken whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateReason {
    /// Too little light.
    TooDark,
    /// Too much light.
    Saturated,
    /// Smeared by motion, or out of focus.
    Blurred,
    /// Almost the same view as a frame taken shortly before.
    NearDuplicate,
    /// Too few pixels with a depth, or no depth picture at all.
    TooLittleDepth,
    /// The depth picture is not aligned with the colour picture.
    UnregisteredDepth,
    /// Colour and depth were taken too far apart in time.
    SkewedStamps,
    /// The camera turned so fast between the moments of colour and depth that depth lies farther
    /// beside colour than is looked for.
    DisplacedDepth,
}

impl GateReason {
    /// All of them.
    pub const ALL: [GateReason; 8] = [
        GateReason::TooDark,
        GateReason::Saturated,
        GateReason::Blurred,
        GateReason::NearDuplicate,
        GateReason::TooLittleDepth,
        GateReason::UnregisteredDepth,
        GateReason::SkewedStamps,
        GateReason::DisplacedDepth,
    ];

    /// The stable name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            GateReason::TooDark => "too_dark",
            GateReason::Saturated => "saturated",
            GateReason::Blurred => "blurred",
            GateReason::NearDuplicate => "near_duplicate",
            GateReason::TooLittleDepth => "too_little_depth",
            GateReason::UnregisteredDepth => "unregistered_depth",
            GateReason::SkewedStamps => "skewed_stamps",
            GateReason::DisplacedDepth => "displaced_depth",
        }
    }
}

/// Which tasks a frame may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of them.
    Full,
    /// Only those that need no depth, and why.
    ColorOnly(GateReason),
    /// None, and why.
    Reject(GateReason),
}

impl Verdict {
    /// Why the frame was not taken whole.
    pub fn reason(self) -> Option<GateReason> {
        match self {
            Verdict::Full => None,
            Verdict::ColorOnly(reason) | Verdict::Reject(reason) => Some(reason),
        }
    }
}

/// A frame that may be used, as it may be used.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The frame; its depth is unregistered where it may not be used, and moved where it was
    /// taken at another moment than colour.
    pub frame: RgbdFrame,
    /// Why its depth may not be used.
    pub color_only: Option<GateReason>,
    /// Its depth was moved.
    pub depth_moved: bool,
}

/// Decides frame by frame. Its only memory is the signatures of the frames it took last.
///
/// ```
/// use spatial_ssrl::adapt::gate::{Gate, GateReason, Verdict};
/// use spatial_ssrl::frame::{FrameId, Registration, RgbdFrame};
/// let night = RgbdFrame {
///     id: FrameId(1),
///     stamp_ns: 1,
///     depth_stamp_ns: None,
///     color: image::RgbImage::new(64, 48),
///     depth_m: None,
///     intrinsics: None,
///     registration: Registration::Unregistered,
/// };
/// assert_eq!(Gate::default().check(&night), Verdict::Reject(GateReason::TooDark));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Gate {
    config: GateConfig,
    meter: QualityMeter,
    taken: VecDeque<Signature>,
}

impl Gate {
    /// A gate that has seen nothing yet.
    ///
    /// # Errors
    /// A threshold outside its range.
    pub fn new(config: GateConfig) -> Result<Self, GateConfigError> {
        config.check()?;
        let taken = VecDeque::with_capacity(config.remember);
        Ok(Gate { config, meter: QualityMeter::default(), taken })
    }

    /// The frames that it remembers, for a checkpoint.
    pub fn taken(&self) -> Vec<Signature> {
        self.taken.iter().copied().collect()
    }

    /// Takes up where another gate was: see [`Gate::taken`].
    pub fn resume(&mut self, taken: Vec<Signature>) {
        self.taken = taken.into_iter().take(MAX_REMEMBERED).collect();
    }

    /// Judges a frame, and remembers it when it is taken.
    pub fn check(&mut self, frame: &RgbdFrame) -> Verdict {
        self.check_measured(frame).0
    }

    /// As [`Gate::check`], with what was measured.
    pub fn check_measured(&mut self, frame: &RgbdFrame) -> (Verdict, Quality) {
        let quality = self.meter.measure(frame);
        if let Some(reason) = self.rejects(&quality) {
            return (Verdict::Reject(reason), quality);
        }
        self.remember(quality.signature);
        let verdict =
            self.distrusts_depth(frame, &quality).map_or(Verdict::Full, Verdict::ColorOnly);
        (verdict, quality)
    }

    /// Judges a frame and makes it ready for tasks.
    ///
    /// # Errors
    /// Why it may be used for nothing.
    pub fn admit(&mut self, frame: RgbdFrame) -> Result<Admitted, GateReason> {
        let verdict = self.check(&frame);
        let color_only = match verdict {
            Verdict::Reject(reason) => return Err(reason),
            Verdict::ColorOnly(reason) => Some(reason),
            Verdict::Full => None,
        };
        let mut admitted = Admitted { frame, color_only, depth_moved: false };
        if verdict == Verdict::Full {
            self.bring_back(&mut admitted);
        }
        if admitted.color_only.is_some() {
            admitted.frame.registration = Registration::Unregistered;
        }
        Ok(admitted)
    }

    /// Looks for depth that lies beside colour, unless the stamps tell that both were taken at
    /// one moment.
    fn bring_back(&self, admitted: &mut Admitted) {
        let frame = &mut admitted.frame;
        let one_moment = frame.depth_stamp_ns == Some(frame.stamp_ns);
        if one_moment || !self.config.bring_back_depth {
            return;
        }
        let expected = frame.depth_stamp_ns.is_some();
        let certain = |found: &Displacement| found.is_certain(expected);
        let Some(found) = displaced::displacement(frame).filter(certain) else {
            return;
        };
        if found.out_of_reach {
            admitted.color_only = Some(GateReason::DisplacedDepth);
        } else {
            frame.depth_m = frame.depth_m.take().map(|old| displaced::brought_back(&old, &found));
            admitted.depth_moved = true;
        }
    }

    fn rejects(&self, quality: &Quality) -> Option<GateReason> {
        let config = &self.config;
        if quality.mean_luma < config.min_mean_luma
            || quality.dark_fraction > config.max_dark_fraction
        {
            return Some(GateReason::TooDark);
        }
        if quality.bright_fraction > config.max_bright_fraction {
            return Some(GateReason::Saturated);
        }
        if quality.sharpness.is_some_and(|sharpness| sharpness < config.min_sharpness) {
            return Some(GateReason::Blurred);
        }
        let known = |taken: &Signature| quality.signature.distance(taken) < config.min_novelty;
        self.taken.iter().any(known).then_some(GateReason::NearDuplicate)
    }

    fn distrusts_depth(&self, frame: &RgbdFrame, quality: &Quality) -> Option<GateReason> {
        let Some(valid) = quality.valid_depth_fraction else {
            return Some(GateReason::TooLittleDepth);
        };
        if frame.registration == Registration::Unregistered {
            return Some(GateReason::UnregisteredDepth);
        }
        // In 128 bits: a damaged stamp may be anything.
        let skew_ns = frame
            .depth_stamp_ns
            .map_or(0, |depth_ns| (i128::from(depth_ns) - i128::from(frame.stamp_ns)).abs());
        if skew_ns as f64 > self.config.max_skew_ms * 1e6 {
            return Some(GateReason::SkewedStamps);
        }
        (valid < self.config.min_valid_depth).then_some(GateReason::TooLittleDepth)
    }

    fn remember(&mut self, signature: Signature) {
        if self.config.remember == 0 {
            return;
        }
        while self.taken.len() >= self.config.remember {
            self.taken.pop_front();
        }
        self.taken.push_back(signature);
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;
    use crate::frame::{DepthMap, FrameId};

    /// A sharp chequered scene; another `seed`, another scene.
    fn frame(seed: u32) -> RgbdFrame {
        RgbdFrame {
            id: FrameId(0),
            stamp_ns: 1_000_000_000,
            depth_stamp_ns: Some(1_005_000_000),
            color: RgbImage::from_fn(320, 240, |x, y| {
                let cell = (x / 16 + 1) * (y / 16 + 3) * (seed * 2 + 1);
                Rgb([40 + (cell * 7919 % 160) as u8; 3])
            }),
            depth_m: Some(DepthMap::from_elem((240, 320), 1.5)),
            intrinsics: None,
            registration: Registration::Registered,
        }
    }

    fn with_color(value: impl Fn(u32, u32) -> u8) -> RgbdFrame {
        let color = RgbImage::from_fn(320, 240, |x, y| Rgb([value(x, y); 3]));
        RgbdFrame { color, ..frame(0) }
    }

    #[test]
    fn a_sound_frame_passes_whole_and_only_once() {
        let mut gate = Gate::default();
        assert_eq!(gate.check(&frame(0)), Verdict::Full);
        assert_eq!(gate.check(&frame(0)), Verdict::Reject(GateReason::NearDuplicate));
        assert_eq!(gate.check(&frame(1)), Verdict::Full);
    }

    #[test]
    fn too_little_or_too_much_light_rejects() {
        let mut gate = Gate::default();
        let checks = |x: u32, y: u32| (x / 8 + y / 8).is_multiple_of(2);
        for (dark, reason) in [
            (with_color(|x, y| if checks(x, y) { 12 } else { 2 }), GateReason::TooDark),
            (with_color(|x, _| if x < 250 { 3 } else { 180 }), GateReason::TooDark),
            (with_color(|x, _| if x < 200 { 252 } else { 90 }), GateReason::Saturated),
        ] {
            assert_eq!(gate.check(&dark), Verdict::Reject(reason));
        }
    }

    #[test]
    fn what_is_wrong_with_depth_costs_only_the_depth_tasks() {
        let sound = frame(0);
        let holes =
            DepthMap::from_shape_fn((240, 320), |(v, _)| if v < 20 { 1.0 } else { f32::NAN });
        for (frame, reason) in [
            (RgbdFrame { depth_m: None, ..sound.clone() }, GateReason::TooLittleDepth),
            (RgbdFrame { depth_m: Some(holes), ..sound.clone() }, GateReason::TooLittleDepth),
            (
                RgbdFrame { registration: Registration::Unregistered, ..sound.clone() },
                GateReason::UnregisteredDepth,
            ),
            (
                RgbdFrame { depth_stamp_ns: Some(979_999_999), ..sound.clone() },
                GateReason::SkewedStamps,
            ),
            (
                RgbdFrame { depth_stamp_ns: Some(i64::MIN), ..sound.clone() },
                GateReason::SkewedStamps,
            ),
        ] {
            assert_eq!(Gate::default().check(&frame), Verdict::ColorOnly(reason));
        }
        let alone = RgbdFrame { depth_stamp_ns: None, ..sound };
        assert_eq!(Gate::default().check(&alone), Verdict::Full);
    }

    #[test]
    fn memory_is_bounded_and_rejected_frames_are_not_remembered() {
        let mut gate = Gate::new(GateConfig { remember: 3, ..GateConfig::default() }).unwrap();
        for seed in 0..4 {
            assert_eq!(gate.check(&frame(seed)), Verdict::Full);
            assert_eq!(gate.check(&frame(seed)), Verdict::Reject(GateReason::NearDuplicate));
        }
        assert_eq!(gate.taken.len(), 3);
        assert_eq!(gate.check(&frame(0)), Verdict::Full, "the oldest is forgotten");
        let mut none = Gate::new(GateConfig { remember: 0, ..GateConfig::default() }).unwrap();
        assert_eq!((none.check(&frame(0)), none.check(&frame(0))), (Verdict::Full, Verdict::Full));
    }

    #[test]
    fn thresholds_out_of_range_are_refused_by_name() {
        let sound = GateConfig::default();
        for (config, says) in [
            (GateConfig { min_mean_luma: 300.0, ..sound.clone() }, "min_mean_luma = 300"),
            (GateConfig { min_novelty: f32::NAN, ..sound.clone() }, "min_novelty = NaN"),
            (GateConfig { max_skew_ms: -1.0, ..sound.clone() }, "max_skew_ms = -1"),
            (GateConfig { remember: usize::MAX, ..sound.clone() }, "between 0 and 256"),
        ] {
            let error = Gate::new(config).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(sound.check(), Ok(()));
    }

    #[test]
    fn reasons_are_counted_under_the_names_that_are_serialised() {
        for reason in GateReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}
