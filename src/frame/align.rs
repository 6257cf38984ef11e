//! Whether depth lies where colour does: edges of depth should fall on edges of colour.
//!
//! Depth edges are laid over the colour picture shifted and scaled in many ways, and turned.
//! The score of each way is the mean rank of the colour's gradient under them. Registered
//! pictures score best as they are.

use image::RgbImage;

use super::{
    DepthMap, RgbdFrame,
    augment::{self, AugmentError},
};

/// Shifts that are tried, as parts of the picture's width, in steps each way.
const STEP: f64 = 0.008;
const STEPS: i32 = 6;
/// Scales about the middle that are tried, with fewer shifts: depth cameras often see a wider
/// field than colour cameras.
const SCALES: [f64; 10] = [0.62, 0.7, 0.8, 0.9, 0.95, 1.05, 1.12, 1.25, 1.4, 1.55];
const SCALE_SHIFTS: [f64; 3] = [-0.03, 0.0, 0.03];
/// Neighbours whose depths differ by more than this in log depth are an edge.
const DEPTH_EDGE: f32 = 0.06;
/// Fewer edges say nothing; more than the most tell nothing new.
pub(super) const LEAST_EDGES: usize = 60;
const MOST_EDGES: usize = 3000;
/// The longer side at which frames are compared, pixels.
const SIDE_PX: u32 = 384;
/// A shift by this part of the width counts among those that say what any shift gives.
const FAR_MOVE: f64 = 0.018;
/// Fewer frames than this tell nothing.
const LEAST_FRAMES: usize = 3;

/// How colour is turned before depth is laid over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Not at all.
    No,
    /// Left and right exchanged.
    Mirrored,
    /// By 180 degrees.
    UpsideDown,
}

/// One way to lay depth over colour. Shifts are parts of the picture's width, to the right and
/// down; they say where depth would have to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// Scale about the middle.
    pub scale: f64,
    /// Shift to the right.
    pub right: f64,
    /// Shift down.
    pub down: f64,
    /// How colour is turned.
    pub turned: Turned,
}

impl Way {
    const AS_IS: Way = Way { scale: 1.0, right: 0.0, down: 0.0, turned: Turned::No };

    /// The farthest that an edge of the picture moves, as a part of its width.
    pub fn moves(&self) -> f64 {
        self.right.hypot(self.down) + (self.scale - 1.0).abs() / 2.0
    }
}

/// All ways that are tried; the first is as it is, the next two are turned.
pub fn ways() -> Vec<Way> {
    let as_is = Way::AS_IS;
    let mut all = vec![
        as_is,
        Way { turned: Turned::Mirrored, ..as_is },
        Way { turned: Turned::UpsideDown, ..as_is },
    ];
    for down in -STEPS..=STEPS {
        for right in -STEPS..=STEPS {
            let (right, down) = (STEP * f64::from(right), STEP * f64::from(down));
            if (right, down) != (0.0, 0.0) {
                all.push(Way { right, down, ..as_is });
            }
        }
    }
    for scale in SCALES {
        for down in SCALE_SHIFTS {
            all.extend(SCALE_SHIFTS.map(|right| Way { scale, right, down, turned: Turned::No }));
        }
    }
    all
}

/// A frame at the size at which it is compared, the longer side 384 pixels.
///
/// # Errors
/// When the frame is empty or too large.
pub fn shrunk(frame: &RgbdFrame) -> Result<RgbdFrame, AugmentError> {
    let (width, height) = (frame.width(), frame.height());
    let longer = width.max(height).max(1);
    let side = |side: u32| {
        let side = u64::from(side) * u64::from(SIDE_PX) / u64::from(longer);
        (side as u32).max(1)
    };
    augment::resize(frame, side(width), side(height))
}

/// The score of each way for one frame, -0.5 to 0.5; nothing with too few depth edges. Both
/// pictures have the same size.
pub fn scores(color: &RgbImage, depth_m: &DepthMap, ways: &[Way]) -> Option<Vec<f64>> {
    let (width, height) = (color.width() as usize, color.height() as usize);
    let edges = depth_edges(depth_m);
    if depth_m.dim() != (height, width) || edges.len() < LEAST_EDGES {
        return None;
    }
    let ranks = gradient_ranks(color);
    let (cx, cy) = (width as f64 / 2.0, height as f64 / 2.0);
    let score = |way: &Way| {
        let (dx, dy) = (way.right * width as f64, way.down * width as f64);
        let (mut sum, mut count) = (0.0, 0_u32);
        for &(x, y) in &edges {
            let u = ((x - cx) * way.scale + cx + dx).round();
            let v = ((y - cy) * way.scale + cy + dy).round();
            // The outermost pixels have no gradient.
            if u < 1.0 || v < 1.0 || u >= width as f64 - 1.0 || v >= height as f64 - 1.0 {
                continue;
            }
            let (u, v) = match way.turned {
                Turned::No => (u as usize, v as usize),
                Turned::Mirrored => (width - 1 - u as usize, v as usize),
                Turned::UpsideDown => (width - 1 - u as usize, height - 1 - v as usize),
            };
            sum += f64::from(ranks[v * width + u]);
            count += 1;
        }
        if count < LEAST_EDGES as u32 / 2 { 0.0 } else { sum / f64::from(count) - 0.5 }
    };
    Some(ways.iter().map(score).collect())
}

/// Mean scores of the ways over frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    /// Of each way; the first is as it is.
    pub means: Vec<f64>,
    /// Mean over the shifts that are not small.
    pub middle: f64,
    /// Standard deviation over those.
    pub deviation: f64,
}

impl Alignment {
    /// From the [`scores`] of frames; nothing from fewer than three, nor from ways without
    /// shifts.
    pub fn of(frames: &[&[f64]], ways: &[Way]) -> Option<Self> {
        if frames.len() < LEAST_FRAMES || frames.iter().any(|f| f.len() != ways.len()) {
            return None;
        }
        let mean = |at: usize| frames.iter().map(|f| f[at]).sum::<f64>() / frames.len() as f64;
        let means: Vec<f64> = (0..ways.len()).map(mean).collect();
        let shifted = ways.iter().zip(&means).filter(|(way, _)| {
            way.turned == Turned::No && way.scale == 1.0 && way.moves() >= FAR_MOVE
        });
        let shifted: Vec<f64> = shifted.map(|(_, mean)| *mean).collect();
        if shifted.len() < 2 {
            return None;
        }
        let count = shifted.len() as f64;
        let middle = shifted.iter().sum::<f64>() / count;
        let squares = shifted.iter().map(|mean| (mean - middle).powi(2)).sum::<f64>();
        Some(Alignment { means, middle, deviation: (squares / (count - 1.0)).sqrt() })
    }

    /// By how many standard deviations edges meet better as they are than where any shift
    /// puts them.
    pub fn peak(&self) -> f64 {
        (self.means[0] - self.middle) / self.deviation.max(1e-6)
    }
}

/// Compares frames that all have depth of the size of their colour; others are left out. Nothing
/// comes from fewer than three.
///
/// ```
/// use spatial_ssrl::frame::align;
/// assert!(align::over_frames([]).is_none());
/// ```
pub fn over_frames(frames: impl IntoIterator<Item = RgbdFrame>) -> Option<Alignment> {
    let ways = ways();
    let scored: Vec<Vec<f64>> = frames
        .into_iter()
        .filter(|frame| {
            let size = (frame.height() as usize, frame.width() as usize);
            frame.depth_m.as_ref().is_some_and(|depth_m| depth_m.dim() == size)
        })
        .filter_map(|frame| {
            let small = shrunk(&frame).ok()?;
            scores(&small.color, small.depth_m.as_ref()?, &ways)
        })
        .collect();
    let scored: Vec<&[f64]> = scored.iter().map(Vec::as_slice).collect();
    Alignment::of(&scored, &ways)
}

/// Places (column, row) between neighbours whose depths differ.
pub(super) fn depth_edges(depth_m: &DepthMap) -> Vec<(f64, f64)> {
    let (rows, cols) = depth_m.dim();
    let mut edges = Vec::new();
    for row in 0..rows {
        for col in 0..cols {
            let z_m = depth_m[[row, col]];
            let mut look = |other: Option<&f32>, x: f64, y: f64| {
                // Written so that NaN is no edge.
                if other.is_some_and(|other| (other / z_m).ln().abs() > DEPTH_EDGE) {
                    edges.push((x, y));
                }
            };
            look(depth_m.get((row, col + 1)), col as f64 + 0.5, row as f64);
            look(depth_m.get((row + 1, col)), col as f64, row as f64 + 0.5);
        }
    }
    let every = edges.len().div_ceil(MOST_EDGES).max(1);
    edges.into_iter().step_by(every).collect()
}

/// The rank of every pixel's gradient among all, 0 to 1: light and contrast do not count.
pub(super) fn gradient_ranks(color: &RgbImage) -> Vec<f32> {
    let (width, height) = (color.width() as usize, color.height() as usize);
    let bytes = color.as_raw();
    let mut gradients = vec![0_u8; width * height];
    for row in 1..height.saturating_sub(1) {
        for col in 1..width.saturating_sub(1) {
            let at = row * width + col;
            let step = |a: usize, b: usize| {
                let channel = |c: usize| bytes[a * 3 + c].abs_diff(bytes[b * 3 + c]);
                channel(0).max(channel(1)).max(channel(2))
            };
            gradients[at] = step(at + 1, at - 1).max(step(at + width, at - width));
        }
    }
    let mut counts = [0_u32; 256];
    gradients.iter().for_each(|&g| counts[usize::from(g)] += 1);
    let (mut below, mut ranks) = (0, [0.0_f32; 256]);
    for (rank, count) in ranks.iter_mut().zip(counts) {
        *rank = (below as f32 + count as f32 / 2.0) / gradients.len().max(1) as f32;
        below += count;
    }
    gradients.into_iter().map(|g| ranks[usize::from(g)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_box_is_found_where_it_is() {
        let inside = |x: i64, y: i64| (100..220).contains(&x) && (80..200).contains(&y);
        let color = RgbImage::from_fn(384, 288, |x, y| {
            image::Rgb(if inside(x.into(), y.into()) { [200, 60, 40] } else { [70, 80, 90] })
        });
        for shift in [0_i64, 15] {
            let depth_m = DepthMap::from_shape_fn((288, 384), |(y, x)| {
                if inside(x as i64 + shift, y as i64) { 1.0 } else { 2.0 }
            });
            let ways = ways();
            let scores = scores(&color, &depth_m, &ways).unwrap();
            let best = (0..ways.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
            let moved = ways[best].right * 384.0;
            assert!((moved - shift as f64).abs() < 3.0 && ways[best].scale == 1.0);
        }
        assert!(scores(&color, &DepthMap::from_elem((288, 384), 1.0), &ways()).is_none());
    }
}
