//! Is the camera well? Told from frames alone, without labels: the pretext tasks carry their own
//! answers, planes must be flat, edges must meet, and a policy knows what its pictures look like.
//!
//! Frames go into a [`Checker`], a [`HealthReport`] comes out: for each [`Fault`] whether it is
//! likely, with a confidence and the numbers that speak for it. What cannot be told is said to be
//! so. A [`Reference`] holds what a policy's own frames looked like when it learnt.

use image::imageops;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    frame::{Registration, RgbdFrame, SensorModel, align, augment::AugmentError},
    policy::compact::{CompactError, CompactPolicy, encoder::Maps, observe::PointReader},
    sense::{SenseError, SpatialSense},
};

mod discriminant;
mod findings;
mod planes;
mod sample;

pub use crate::frame::align::{Turned, Way, shrunk};
pub use discriminant::Discriminant;
pub use planes::{PlaneOffset, WindowOffset};
pub use sample::EvenSample;

/// Places of the grid at which farness and depth are compared, columns and rows.
const PLACES: [u32; 2] = [24, 18];
/// Pairs of places whose depths differ by more than this in log depth have an order.
const ORDERED: f32 = 0.15;

/// What may be wrong with a camera or the place it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The camera is mounted upside down, or its driver turns the picture.
    UpsideDown,
    /// Left and right are exchanged.
    Mirrored,
    /// Red and blue are exchanged.
    ColourSwapped,
    /// The same length is added to every depth.
    DepthOffset,
    /// Every depth is multiplied by the same number.
    DepthScaled,
    /// Depth does not lie where colour does.
    DepthUnregistered,
    /// The scene is unlike anything that the policy learnt from.
    Unfamiliar,
}

impl Fault {
    /// All of them, in the order of reports.
    pub const ALL: [Fault; 7] = [
        Fault::UpsideDown,
        Fault::Mirrored,
        Fault::ColourSwapped,
        Fault::DepthOffset,
        Fault::DepthScaled,
        Fault::DepthUnregistered,
        Fault::Unfamiliar,
    ];

    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Fault::UpsideDown => "upside_down",
            Fault::Mirrored => "mirrored",
            Fault::ColourSwapped => "colour_swapped",
            Fault::DepthOffset => "depth_offset",
            Fault::DepthScaled => "depth_scaled",
            Fault::DepthUnregistered => "depth_unregistered",
            Fault::Unfamiliar => "unfamiliar",
        }
    }
}

/// Whether there is a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Likely {
    /// The frames speak for it.
    Yes,
    /// The frames speak against it.
    No,
    /// The frames say nothing or contradict each other.
    CannotTell,
}

/// What is known about one fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which fault.
    pub fault: Fault,
    /// Whether it is there.
    pub likely: Likely,
    /// The probability that `likely` is right as far as the frames can say, 0.5 to 1; 0.5 for
    /// what cannot be told.
    pub confidence: f64,
    /// The numbers that it rests on, in words.
    pub evidence: String,
}

/// All findings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthReport {
    /// Frames looked at.
    pub frames: usize,
    /// Those with depth.
    pub frames_with_depth: usize,
    /// Whether no fault is likely.
    pub healthy: bool,
    /// One for each of [`Fault::ALL`].
    pub findings: Vec<Finding>,
}

impl HealthReport {
    /// The finding about one fault.
    pub fn finding(&self, fault: Fault) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.fault == fault)
    }
}

/// Why a frame cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// It cannot be brought to the size at which frames are checked.
    #[error(transparent)]
    Resize(#[from] AugmentError),
    /// It cannot be looked at.
    #[error(transparent)]
    Sense(#[from] SenseError),
    /// The policy failed.
    #[error(transparent)]
    Policy(#[from] CompactError),
}

/// Mean and standard deviation of something over frames.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// How many frames.
    pub frames: usize,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let values: Vec<f64> = values.collect();
        let count = values.len() as f64;
        (!values.is_empty()).then(|| {
            let mean = values.iter().sum::<f64>() / count;
            let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
            Spread { mean, deviation, frames: values.len() }
        })
    }

    /// The standard error of the mean. Frames of one recording resemble each other: together
    /// they count as at most six.
    fn error(&self) -> f64 {
        self.deviation / (self.frames.clamp(1, 6) as f64).sqrt()
    }
}

/// What a policy's own frames looked like when it learnt; `health.json` beside its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Log-odds that a frame is upright.
    pub upright: Spread,
    /// Strangeness of the features.
    pub strangeness: Spread,
    /// Tells frames from such with red and blue exchanged, upside down, and mirrored ones.
    pub swapped: Option<Discriminant>,
    /// Upside down.
    pub turned: Option<Discriminant>,
    /// Mirrored.
    pub mirrored: Option<Discriminant>,
    /// Log depth less farness, the middle of a frame.
    pub level: Option<Spread>,
    /// Part of the pairs of places that are ordered as the depth camera says.
    pub ordered: Option<Spread>,
}

/// What one frame says.
struct Signs {
    upright: f64,
    unmirrored: f64,
    strangeness: f64,
    /// What the frame looks like on average, `[channel]`; and changed on purpose.
    look: Vec<f32>,
    changed: Vec<Vec<f32>>,
    /// Farness and depth in metres at places that have depth.
    points: Vec<(f32, f32)>,
    ordered: Option<f64>,
    /// How much farther the upper edge is than the lower by the depth camera, log depth.
    upper_farther: Option<f64>,
    aligned: Option<Vec<f64>>,
    windows: Vec<WindowOffset>,
}

/// Looks at frames, one after another.
pub struct Checker<'a> {
    policy: &'a CompactPolicy,
    sense: SpatialSense<&'a CompactPolicy>,
    sensor: SensorModel,
    ways: Vec<Way>,
    signs: Vec<Signs>,
    unregistered: usize,
    learns: bool,
}

impl<'a> Checker<'a> {
    /// With this policy, for a depth camera with this noise.
    pub fn new(policy: &'a CompactPolicy, sensor: SensorModel) -> Self {
        let sense = SpatialSense::new(policy);
        Checker {
            policy,
            sense,
            sensor,
            ways: align::ways(),
            signs: Vec::new(),
            unregistered: 0,
            learns: false,
        }
    }

    /// As [`Checker::new`], to make a [`Reference`] from the policy's own frames: looks at
    /// each frame changed on purpose too.
    pub fn for_reference(policy: &'a CompactPolicy, sensor: SensorModel) -> Self {
        Checker { learns: true, ..Checker::new(policy, sensor) }
    }

    /// Looks at one frame. Two dozen, spread over a recording, are enough.
    ///
    /// # Errors
    /// [`HealthError`] when the frame is too small or the policy fails.
    pub fn add(&mut self, frame: &RgbdFrame) -> Result<(), HealthError> {
        let signs = self.signs_of(frame)?;
        self.count(frame, signs);
        Ok(())
    }

    /// As [`Checker::add`] for several frames at once, on all threads of the current rayon pool.
    ///
    /// # Errors
    /// As [`Checker::add`]; then none of them counts.
    pub fn add_all(&mut self, frames: &[&RgbdFrame]) -> Result<(), HealthError> {
        let signs: Vec<Signs> =
            frames.par_iter().map(|frame| self.signs_of(frame)).collect::<Result<_, _>>()?;
        frames.iter().zip(signs).for_each(|(frame, signs)| self.count(frame, signs));
        Ok(())
    }

    fn count(&mut self, frame: &RgbdFrame, signs: Signs) {
        let unregistered = frame.registration == Registration::Unregistered;
        self.unregistered += usize::from(frame.depth_m.is_some() && unregistered);
        self.signs.push(signs);
    }

    fn signs_of(&self, frame: &RgbdFrame) -> Result<Signs, HealthError> {
        let frame = &shrunk(frame)?;
        let look = self.sense.look(&frame.color)?;
        let lies = look.orientation()?;
        let odds = |p: f32| (f64::from(1.0 - p).max(1e-9) / f64::from(p).max(1e-9)).ln();
        let points = self.points(frame, look.maps());
        let (mean, strangeness) = self.policy.scaled_look(&points)?;
        let mut changed = Vec::new();
        if self.learns {
            let mut swapped = frame.color.clone();
            swapped.pixels_mut().for_each(|pixel| pixel.0.swap(0, 2));
            let turned = imageops::rotate180(&frame.color);
            let mirrored = imageops::flip_horizontal(&frame.color);
            for color in [swapped, turned, mirrored] {
                let points = self.points(frame, &self.sense.encode(&color)?);
                changed.push(self.policy.scaled_look(&points)?.0);
            }
        }
        let mut signs = Signs {
            upright: odds(lies.upside_down),
            unmirrored: f64::from(lies.unmirrored_nats),
            strangeness: f64::from(strangeness),
            look: mean,
            changed,
            points: Vec::new(),
            ordered: None,
            upper_farther: None,
            aligned: None,
            windows: Vec::new(),
        };
        if let Some(depth_m) = frame.usable_depth_m() {
            let farness = self.policy.farness(&points)?;
            let mut heights = Vec::new();
            for ((column, row), farness) in places(frame).zip(farness) {
                let z_m = depth_m.get((row as usize, column as usize)).copied();
                if let Some(z_m) = z_m.filter(|z_m| z_m.is_finite() && *z_m > 0.0) {
                    signs.points.push((farness, z_m));
                    let height = 0.5 - f64::from(row) / f64::from(frame.height());
                    heights.push((height, f64::from(z_m).ln()));
                }
            }
            signs.ordered = ordered(&signs.points);
            signs.upper_farther = slope(&heights);
            // These two speak for themselves: a reference holds nothing of them.
            if !self.learns {
                signs.aligned = align::scores(&frame.color, depth_m, &self.ways);
                signs.windows = planes::windows(depth_m, self.sensor);
            }
        }
        Ok(signs)
    }

    /// How many frames have been looked at.
    pub fn frames(&self) -> usize {
        self.signs.len()
    }

    /// What these frames look like, to compare later ones with; nothing without frames.
    pub fn reference(&self) -> Option<Reference> {
        let of = |value: fn(&Signs) -> f64| Spread::of(self.signs.iter().map(value));
        let looks: Vec<Vec<f32>> = self.signs.iter().map(|signs| signs.look.clone()).collect();
        let told = |change: usize| {
            let changed = self.signs.iter().filter_map(|signs| signs.changed.get(change).cloned());
            Discriminant::new(&looks, &changed.collect::<Vec<_>>())
        };
        Some(Reference {
            upright: of(|signs| signs.upright)?,
            strangeness: of(|signs| signs.strangeness)?,
            swapped: told(0),
            turned: told(1),
            mirrored: told(2),
            level: Spread::of(self.levels(0.0)),
            ordered: Spread::of(self.signs.iter().filter_map(|signs| signs.ordered)),
        })
    }

    /// What the frames say about every fault. Without a reference some cannot be told.
    pub fn report(&self, reference: Option<&Reference>) -> HealthReport {
        let findings: Vec<Finding> =
            Fault::ALL.into_iter().map(|fault| self.finding(fault, reference)).collect();
        HealthReport {
            frames: self.signs.len(),
            frames_with_depth: self.signs.iter().filter(|s| !s.points.is_empty()).count(),
            healthy: findings.iter().all(|finding| finding.likely != Likely::Yes),
            findings,
        }
    }

    /// The middle of log depth less farness of each frame, after `offset_m` is taken off.
    fn levels(&self, offset_m: f64) -> impl Iterator<Item = f64> {
        self.signs.iter().filter_map(move |signs| {
            let mut levels: Vec<f64> = signs
                .points
                .iter()
                .map(|&(farness, z_m)| (f64::from(z_m) - offset_m).ln() - f64::from(farness))
                .filter(|level| level.is_finite())
                .collect();
            let middle = levels.len() / 2;
            (levels.len() >= 30).then(|| *levels.select_nth_unstable_by(middle, f64::total_cmp).1)
        })
    }

    /// What the policy sees at the places of the grid, in the maps of a picture of that size.
    fn points(&self, frame: &RgbdFrame, maps: &Maps) -> Vec<Vec<half::f16>> {
        let mut reader = PointReader::new(self.policy.encoder(), maps);
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let read = |(column, row): (u32, u32)| {
            reader.read((column as f32 + 0.5) / width, (row as f32 + 0.5) / height)
        };
        places(frame).map(read).collect()
    }
}

/// Columns and rows of the grid of places, in pixels of the frame.
fn places(frame: &RgbdFrame) -> impl Iterator<Item = (u32, u32)> {
    let [columns, rows] = PLACES;
    let (width, height) = (frame.width(), frame.height());
    let at = |i: u32, count: u32, side: u32| (2 * i + 1) * side / (2 * count);
    (0..rows * columns)
        .map(move |i| (at(i % columns, columns, width), at(i / columns, rows, height)))
}

/// The part of the pairs of places that farness orders as depth does.
fn ordered(points: &[(f32, f32)]) -> Option<f64> {
    let (mut right, mut all) = (0_u32, 0_u32);
    for (i, (farness, z_m)) in points.iter().enumerate() {
        for (other_farness, other_m) in &points[i + 1..] {
            let ratio = (other_m / z_m).ln();
            if ratio.abs() > ORDERED {
                all += 1;
                right += u32::from((other_farness > farness) == (ratio > 0.0));
            }
        }
    }
    (all >= 200).then(|| f64::from(right) / f64::from(all))
}

/// The slope of the straight line through points.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    if points.len() < 30 {
        return None;
    }
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let products: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let squares: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    (squares > 0.0).then(|| products / squares)
}
