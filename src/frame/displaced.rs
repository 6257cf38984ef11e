//! Depth that lies beside colour because the two were taken at different moments of a turn.
//!
//! A camera that turns by 60 degrees a second moves its picture by ten pixels in 20 ms, which is
//! how far apart the stamps of a registered pair often are. Regions near an edge then have the
//! depth of what is beyond it, and tasks would be asked whose answers are wrong. Between two
//! moments that near a camera has turned, hardly moved: what yaw, pitch and roll do to a picture is
//! a shift and a turn. The one by which edges of depth meet edges of colour best is looked for.

use ndarray::Array2;

use super::{
    DepthMap, RgbdFrame,
    align::{self, LEAST_EDGES},
};

/// The farthest shift that is tried, in pixels of the small picture, 384 on its longer side.
const REACH: i32 = 28;
/// The shifts that are tried first are so many pixels apart.
const STEP: i32 = 2;
/// The farthest turn that is tried, in half degrees; as many lie between two as with shifts.
const MOST_TURN: i32 = 12;
/// Edges that take part in the first search, which is the longest.
const FEW_EDGES: usize = 800;
/// A peak lower than this, in standard deviations, tells nothing: scenes of few or repeated edges
/// have such peaks anywhere (a shelf 1.2 to 1.7, a tote 1.5 to 2.5, rooms after a turn that is
/// beyond reach 3.3; `freiburg1_rpy` has 3.5 to 5.8, rooms after a turn 3.7 to 11).
const LEAST_PEAK: f64 = 3.5;
/// A peak that is no higher than this above what depth has as it is says that it lies well. Where no
/// stamp tells that there was time to move, more is asked: of 200 rendered frames, whose depth lies
/// right, 3 % have such a peak elsewhere by 0.3 to 0.8, and 1 % by more; three D435 stills in which
/// depth lies 3 to 7 pixels beside its colour gain 1.1 to 2.5.
const LEAST_GAIN: f64 = 0.3;
const LEAST_GAIN_UNEXPECTED: f64 = 1.0;

/// How far depth lies beside colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Displacement {
    /// Where the middle of depth would have to go, in pixels to the right.
    pub right_px: f64,
    /// The same, in pixels down.
    pub down_px: f64,
    /// How far it would have to be turned, clockwise as seen.
    pub roll_rad: f64,
    /// How well the edges meet there, in standard deviations over all that was tried.
    pub peak: f64,
    /// How well they meet as they are.
    pub as_is: f64,
    /// The best is the farthest that is tried: there may be a better one.
    pub out_of_reach: bool,
}

impl Displacement {
    /// Whether depth lies beside colour beyond doubt. It is to be `expected` where the stamps tell
    /// that colour and depth were taken at different moments.
    pub fn is_certain(&self, expected: bool) -> bool {
        let least_gain = if expected { LEAST_GAIN } else { LEAST_GAIN_UNEXPECTED };
        self.peak >= LEAST_PEAK && self.peak - self.as_is >= least_gain
    }
}

/// A shift, small pixels, and a turn, half degrees.
#[derive(Clone, Copy)]
struct Way {
    right: i32,
    down: i32,
    turn: i32,
}

impl Way {
    fn roll_rad(self) -> f64 {
        (f64::from(self.turn) / 2.0).to_radians()
    }
}

/// What is looked at: edges relative to the middle, and how steep colour is.
struct Looked {
    edges: Vec<(f64, f64)>,
    ranks: Vec<f32>,
    width: i32,
    height: i32,
}

impl Looked {
    /// Where every `every`th edge lies after the turn of `way`, before its shift.
    fn turned(&self, way: Way, every: usize) -> Vec<(i32, i32)> {
        let (sin, cos) = way.roll_rad().sin_cos();
        let middle = [f64::from(self.width - 1) / 2.0, f64::from(self.height - 1) / 2.0];
        let at = |&(x, y): &(f64, f64)| {
            let (u, v) = (cos * x - sin * y + middle[0], sin * x + cos * y + middle[1]);
            (u.round() as i32, v.round() as i32)
        };
        self.edges.iter().step_by(every.max(1)).map(at).collect()
    }

    /// The scores of all ways around one, by so many steps each way of that length; turns go no
    /// farther than [`MOST_TURN`].
    fn around(&self, way: Way, (reach, step): (i32, i32), every: usize) -> Vec<(f64, Way)> {
        let steps = |most: i32| (-most..=most).step_by(step as usize);
        let mut scored = Vec::new();
        for turn in steps(reach.min(MOST_TURN)) {
            let turned = self.turned(Way { turn: way.turn + turn, ..way }, every);
            for down in steps(reach) {
                for right in steps(reach) {
                    let (right, down) = (way.right + right, way.down + down);
                    let way = Way { right, down, turn: way.turn + turn };
                    scored.push((self.score(&turned, way), way));
                }
            }
        }
        scored
    }

    /// How steep colour is under turned edges that are shifted as `way` says: their mean rank.
    fn score(&self, turned: &[(i32, i32)], way: Way) -> f64 {
        let (mut sum, mut count) = (0.0_f32, 0_usize);
        for (x, y) in turned {
            let (u, v) = (x + way.right, y + way.down);
            if u < 1 || v < 1 || u >= self.width - 1 || v >= self.height - 1 {
                continue;
            }
            sum += self.ranks[(v * self.width + u) as usize];
            count += 1;
        }
        if count < turned.len() / 2 { 0.0 } else { f64::from(sum) / count as f64 }
    }
}

/// Where depth meets colour best; nothing for a frame without depth of the size of its colour, or
/// with too few edges of depth.
pub fn displacement(frame: &RgbdFrame) -> Option<Displacement> {
    let size = (frame.height() as usize, frame.width() as usize);
    frame.depth_m.as_ref().filter(|depth_m| depth_m.dim() == size)?;
    let small = align::shrunk(frame).ok()?;
    let edges = align::depth_edges(small.depth_m.as_ref()?);
    if edges.len() < LEAST_EDGES {
        return None;
    }
    let (width, height) = (small.width() as i32, small.height() as i32);
    let middle = [f64::from(width - 1) / 2.0, f64::from(height - 1) / 2.0];
    let looked = Looked {
        edges: edges.into_iter().map(|(x, y)| (x - middle[0], y - middle[1])).collect(),
        ranks: smooth(&align::gradient_ranks(&small.color), width as usize),
        width,
        height,
    };
    let every = looked.edges.len().div_ceil(FEW_EDGES);
    let tried = looked.around(Way { right: 0, down: 0, turn: 0 }, (REACH, STEP), every);
    let first = best(&tried)?.1;
    let (top, way) = best(&looked.around(first, (1, 1), 1))?;
    let as_is = looked.around(Way { right: 0, down: 0, turn: 0 }, (0, 1), 1).first()?.0;

    let n = tried.len() as f64;
    let mean = tried.iter().map(|(score, _)| score).sum::<f64>() / n;
    let squares = tried.iter().map(|(score, _)| (score - mean).powi(2)).sum::<f64>();
    let deviations = |score: f64| (score - mean) / (squares / n).sqrt().max(1e-6);
    let scale = f64::from(frame.width()) / f64::from(small.width());
    Some(Displacement {
        right_px: f64::from(way.right) * scale,
        down_px: f64::from(way.down) * scale,
        roll_rad: way.roll_rad(),
        peak: deviations(top),
        as_is: deviations(as_is),
        out_of_reach: way.right.abs().max(way.down.abs()) >= REACH - 1
            || way.turn.abs() >= MOST_TURN - 1,
    })
}

fn best(tried: &[(f64, Way)]) -> Option<(f64, Way)> {
    // The first of equals: what is tried does not depend on anything else.
    tried.iter().copied().reduce(|a, b| if b.0 > a.0 { b } else { a })
}

/// The mean over three by three pixels: edges need not meet to the pixel.
fn smooth(ranks: &[f32], width: usize) -> Vec<f32> {
    let along = |values: &[f32], step: usize| -> Vec<f32> {
        let at = |i: usize| values.get(i).copied().unwrap_or(0.0);
        (0..values.len()).map(|i| (at(i.wrapping_sub(step)) + at(i) + at(i + step)) / 3.0).collect()
    };
    along(&along(ranks, 1), width)
}

/// The depth where it belongs; what comes in at the borders has none.
pub fn brought_back(depth_m: &DepthMap, by: &Displacement) -> DepthMap {
    let (sin, cos) = by.roll_rad.sin_cos();
    let (rows, cols) = depth_m.dim();
    let middle = [(cols as f64 - 1.0) / 2.0, (rows as f64 - 1.0) / 2.0];
    Array2::from_shape_fn((rows, cols), |(row, col)| {
        let x = col as f64 - middle[0] - by.right_px;
        let y = row as f64 - middle[1] - by.down_px;
        let (u, v) = (cos * x + sin * y + middle[0], cos * y - sin * x + middle[1]);
        let inside = u > -0.5 && v > -0.5;
        let at = inside.then_some((v.round() as usize, u.round() as usize));
        at.and_then(|at| depth_m.get(at)).copied().unwrap_or(f32::NAN)
    })
}
