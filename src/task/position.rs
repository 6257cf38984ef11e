//! Relative 3D position: where does the target lie for an observer who stands at a marked
//! point and looks left, right, toward the viewer or away?
//!
//! Two rules say what "left" and "in front" mean:
//!
//! * **Metric** (balanced preset, intrinsics known): the two points are put into 3D. The
//!   direction is the 45-degree sector of the target's bearing from the observer on the
//!   camera's ground plane (X right, Z forward), as the observer would name it.
//! * **Pixel** (otherwise): columns of the picture decide left and right, normalised depth
//!   decides nearer and farther, as published.
//!
//! Coordinates alone must not give the answer away. The balanced preset therefore fixes the
//! offset between the two markers first, slides the pair over the picture, and collects the
//! directions that occur *for this very offset*. It offers four of them and only then draws
//! which is to be true, all equally likely: the offset tells nothing. Each direction's place
//! is the one nearest to a common random point, so that the absolute place tells little.

use rand::RngExt;

use super::{
    Answer, Direction, Facing, PositionRule, PreparedFrame, Preset, Question, Recipe, Skip, Task,
    TaskKind, TaskSource,
    bearing::core,
    regions::{Level, Region, RegionIndex},
    seed::{Rng, rng},
};
use crate::frame::Intrinsics;

pub use super::bearing::{Lateral, Range, direction, sector, turned};

/// A direction that is not sideways needs at least this ratio of depths, exp(0.12) …
const LEAST_RATIO: f32 = 1.127_497;
/// … and a sideways one at most this, exp(0.035).
const SAME_RATIO: f32 = 1.035_62;
/// The answer stays the same if the target were farther or nearer by this ratio, exp(0.08):
/// what one picture cannot tell is not asked.
const ROOM_RATIO: f32 = 1.083_287;
/// Sideways offsets at which four directions have that much room, in units of depth. On a
/// shorter one the middle directions are too narrow; beyond a longer one a room has no
/// depths to tell the outer ones apart.
const OFFSET_RAYS: core::ops::Range<f32> = 0.16..0.45;
/// Two points nearer to each other on the ground than this are one place, metres.
const LEAST_DISTANCE_M: f32 = 0.1;
/// How many standard deviations of the sensor a bearing must withstand.
const NOISE_SIGMAS: f32 = 3.0;
/// Offsets that are tried before a frame is given up.
const OFFSETS: usize = 60;
/// Random places to which each offset's pair is put …
const ANCHORS: usize = 320;
/// … all this near to one point, along rows and columns, as a share of the shorter side: at
/// a given place in a room some directions are more likely than others.
const PLACE_REACH: f32 = 0.17;
/// Markers are at least this part of the shorter side apart.
const MIN_DISTANCE: f32 = 0.1;
/// Published: pairs tried at random.
const PUBLISHED_DRAWS: usize = 400;
/// Published: difference of normalised depth that is "nearer" or "farther".
const DEPTH_STEP: f32 = 0.25;
/// Below this difference of normalised depth two points are at the same depth.
const SAME_DEPTH: f32 = 0.05;

/// Makes relative position tasks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    preset: Preset,
}

/// Grid cells of observer and target.
#[derive(Clone, Copy, Debug)]
struct Pair {
    observer: (usize, usize),
    target: (usize, usize),
}

impl Position {
    /// A source with the rules of `preset`.
    pub fn new(preset: Preset) -> Self {
        Position { preset }
    }
}

impl TaskSource for Position {
    fn kind(&self) -> TaskKind {
        TaskKind::Position
    }

    fn make(&self, frame: &PreparedFrame<'_>, seed: u64) -> Result<Task, Skip> {
        let index = frame.regions()?;
        let mut rng = rng(seed);
        let intrinsics = frame.frame().intrinsics;
        let metric = match self.preset {
            Preset::Balanced => intrinsics,
            Preset::Published => None,
        };
        let facing = self.facing(&mut rng);
        let (pair, mut offered, truth) = match (self.preset, metric) {
            (Preset::Published, _) => published(index, &mut rng)?,
            (_, Some(camera)) => balanced(index, &mut rng, &Metric::new(index, &camera))?,
            (_, None) => balanced(index, &mut rng, &Columns::new(index))?,
        };
        for i in (1..offered.len()).rev() {
            offered.swap(i, rng.random_range(0..=i));
        }
        let right = offered.iter().position(|option| *option == truth).unwrap_or(0);
        Ok(Task {
            kind: TaskKind::Position,
            frame_id: frame.frame().id,
            stamp_ns: frame.frame().stamp_ns,
            picture_size: index.picture_size(),
            seed,
            preset: self.preset,
            question: Question::RelativePosition {
                observer: index.pixel(pair.observer.0, pair.observer.1),
                target: index.pixel(pair.target.0, pair.target.1),
                facing,
                options: offered.map(|camera| turned(camera, facing)),
                rule: if metric.is_some() { PositionRule::Metric } else { PositionRule::Pixel },
                intrinsics: metric,
            },
            answer: Answer::Choice(right as u8),
            recipe: Recipe::Whole,
        })
    }
}

impl Position {
    fn facing(&self, rng: &mut Rng) -> Facing {
        let at = rng.random_range(0..100);
        match self.preset {
            Preset::Balanced => Facing::ALL[at % 4],
            // Published odds: 30, 30, 30, 10 %.
            Preset::Published => Facing::ALL[(at / 30).min(3)],
        }
    }
}

/// Says in which direction of the camera's frame a target lies, or that it is too close to
/// call.
trait Rule {
    /// `observer_m` and `target_m` are the depths at two cells of the index.
    fn name(&self, pair: Pair, observer_m: f32, target_m: f32) -> Option<Direction>;
    /// Whether that name holds for every reading in the two regions, not for their means
    /// alone: a region may hold a small step, and the marker stands on one side of it.
    fn holds(&self, _pair: Pair, _named: Direction, _observer: Region, _target: Region) -> bool {
        true
    }

    /// How many directions must occur for one offset.
    fn enough(&self) -> usize;

    /// Sideways offsets worth trying, in grid columns.
    fn columns(&self) -> core::ops::Range<i32>;
}

/// Bearings of 3D points.
struct Metric<'a> {
    index: &'a RegionIndex,
    camera: &'a Intrinsics,
}

impl<'a> Metric<'a> {
    fn new(index: &'a RegionIndex, camera: &'a Intrinsics) -> Self {
        Metric { index, camera }
    }

    fn ray(&self, (row, col): (usize, usize)) -> f32 {
        ((f64::from(self.index.pixel(row, col).x) - self.camera.cx) / self.camera.fx) as f32
    }
}

impl Rule for Metric<'_> {
    fn name(&self, pair: Pair, observer_m: f32, target_m: f32) -> Option<Direction> {
        // Most pairs fail here, so the cheapest test stands first.
        let ratio = target_m.max(observer_m) / target_m.min(observer_m);
        if ratio > SAME_RATIO && ratio < LEAST_RATIO {
            return None;
        }
        let (ray_o, ray_t) = (self.ray(pair.observer), self.ray(pair.target));
        let bearing = |observer_m: f32, target_m: f32| {
            (ray_t * target_m - ray_o * observer_m, target_m - observer_m)
        };
        let (right, forward) = bearing(observer_m, target_m);
        if right * right + forward * forward < LEAST_DISTANCE_M * LEAST_DISTANCE_M {
            return None;
        }
        let named = core(right, forward)?;
        let sideways = matches!(named, Direction::Left | Direction::Right);
        if sideways != (ratio <= SAME_RATIO) {
            return None;
        }
        // What the sensor may have got wrong must not reach the next sector.
        let sigma = |z_m: f32| NOISE_SIGMAS * self.index.sensor().sigma_m(z_m);
        let (so, st) = (sigma(observer_m), sigma(target_m));
        let withstands = |(right, forward)| sector(right, forward) == Some(named);
        (withstands(bearing(observer_m + so, target_m - st))
            && withstands(bearing(observer_m - so, target_m + st))
            && withstands(bearing(observer_m, target_m * ROOM_RATIO))
            && withstands(bearing(observer_m, target_m / ROOM_RATIO)))
        .then_some(named)
    }

    fn holds(&self, pair: Pair, named: Direction, observer: Region, target: Region) -> bool {
        let (ray_o, ray_t) = (self.ray(pair.observer), self.ray(pair.target));
        let depths = |region: Region| [region.nearest_m, region.farthest_m];
        depths(observer).into_iter().all(|o_m| {
            depths(target)
                .into_iter()
                .all(|t_m| sector(ray_t * t_m - ray_o * o_m, t_m - o_m) == Some(named))
        })
    }

    fn enough(&self) -> usize {
        4
    }

    fn columns(&self) -> core::ops::Range<i32> {
        let cells =
            |rays: f32| (rays * self.camera.fx as f32 / self.index.stride_px() as f32) as i32;
        cells(OFFSET_RAYS.start)..cells(OFFSET_RAYS.end).saturating_add(1)
    }
}

/// Columns of the picture and normalised depth.
struct Columns<'a> {
    index: &'a RegionIndex,
}

impl<'a> Columns<'a> {
    fn new(index: &'a RegionIndex) -> Self {
        Columns { index }
    }

    fn lateral(&self, pair: Pair) -> Lateral {
        let (width, height) = self.index.picture_size();
        let least = width.min(height) / 8;
        let x = |(row, col): (usize, usize)| self.index.pixel(row, col).x;
        let (observer, target) = (x(pair.observer), x(pair.target));
        if observer.abs_diff(target) < least {
            Lateral::Same
        } else if target < observer {
            Lateral::Left
        } else {
            Lateral::Right
        }
    }

    fn range(&self, observer_m: f32, target_m: f32) -> Option<Range> {
        let step = self.index.normalised(target_m) - self.index.normalised(observer_m);
        let noise_m = NOISE_SIGMAS
            * (self.index.sensor().sigma_m(observer_m) + self.index.sensor().sigma_m(target_m));
        if step.abs() <= SAME_DEPTH {
            Some(Range::Same)
        } else if step.abs() < DEPTH_STEP || (target_m - observer_m).abs() < noise_m {
            None
        } else if step > 0.0 {
            Some(Range::Farther)
        } else {
            Some(Range::Nearer)
        }
    }
}

impl Rule for Columns<'_> {
    fn name(&self, pair: Pair, observer_m: f32, target_m: f32) -> Option<Direction> {
        let range = self.range(observer_m, target_m)?;
        direction(Facing::AwayFromViewer, self.lateral(pair), range)
    }

    /// Columns fix left and right: only nearer, the same and farther are left to tell apart.
    fn enough(&self) -> usize {
        3
    }

    fn columns(&self) -> core::ops::Range<i32> {
        let (width, height) = self.index.picture_size();
        0..(0.6 * width.min(height) as f32 / self.index.stride_px() as f32) as i32 + 1
    }
}

/// Observer and target, the four offered directions and the true one, all in the camera's
/// frame.
type Chosen = (Pair, [Direction; 4], Direction);

fn balanced(index: &RegionIndex, rng: &mut Rng, rule: &impl Rule) -> Result<Chosen, Skip> {
    for at in 0..2 {
        let level = index.level(at);
        if level.even_rows() == 0 {
            continue;
        }
        for _ in 0..OFFSETS / (at + 1) {
            let Some(offset) = offset(index, rule, rng) else { continue };
            let found = occurring(index, level, offset, rule, rng);
            if let Some(chosen) = choose(&found, rule.enough(), rng) {
                return Ok(chosen);
            }
        }
    }
    Err(Skip::NoBalancedRegions)
}

/// A random offset in grid rows and columns, not too short.
fn offset(index: &RegionIndex, rule: &impl Rule, rng: &mut Rng) -> Option<(i32, i32)> {
    let (width, height) = index.picture_size();
    let cells = |part: f32| (part * width.min(height) as f32 / index.stride_px() as f32) as i32;
    let (along, across) = (cells(0.3), rule.columns());
    // No pair fits across the picture if it is too narrow.
    let across = across.start..across.end.min(index.grid_size().0 as i32);
    if across.is_empty() {
        return None;
    }
    let columns = rng.random_range(across) * if rng.random_bool(0.5) { 1 } else { -1 };
    let offset = (rng.random_range(-along..=along), columns);
    let least = cells(MIN_DISTANCE);
    (offset.0.abs().max(offset.1.abs()) >= least).then_some(offset)
}

/// For each direction the pair, of those put to random places, that is nearest to a common
/// random point.
fn occurring(
    index: &RegionIndex,
    level: &Level,
    (rows_on, cols_on): (i32, i32),
    rule: &impl Rule,
    rng: &mut Rng,
) -> [Option<Pair>; 8] {
    let (cols, rows) = index.grid_size();
    let within = |length: usize, by: i32| {
        let (low, high) = ((-by).max(0), length as i32 - by.max(0));
        (low < high).then_some(low..high)
    };
    let (width, height) = index.picture_size();
    let reach = (PLACE_REACH * width.min(height) as f32 / index.stride_px() as f32) as i32;
    let mut found: [Option<Pair>; 8] = [None; 8];
    let mut nearest = [i32::MAX; 8];
    let (Some(rows), Some(cols)) = (within(rows, rows_on), within(cols, cols_on)) else {
        return found;
    };
    let centre = (rng.random_range(rows.clone()), rng.random_range(cols.clone()));
    let around = |at: i32, range: &core::ops::Range<i32>| {
        (at - reach).max(range.start)..(at + reach + 1).min(range.end)
    };
    let (rows, cols) = (around(centre.0, &rows), around(centre.1, &cols));
    for _ in 0..ANCHORS {
        let (row, col) = (rng.random_range(rows.clone()), rng.random_range(cols.clone()));
        let observer = (row as usize, col as usize);
        let target = ((row + rows_on) as usize, (col + cols_on) as usize);
        let observer_m = level.depth_m(observer.0, observer.1);
        let target_m = level.depth_m(target.0, target.1);
        if !(observer_m > 0.0 && target_m > 0.0) {
            continue;
        }
        let pair = Pair { observer, target };
        let away = (row - centre.0).pow(2) + (col - centre.1).pow(2);
        if let Some(named) = rule.name(pair, observer_m, target_m)
            && away < nearest[named as usize]
            && let Some(observer_at) = level.region(observer.0, observer.1, index)
            && let Some(target_at) = level.region(target.0, target.1, index)
            && rule.holds(pair, named, observer_at, target_at)
        {
            nearest[named as usize] = away;
            found[named as usize] = Some(pair);
        }
    }
    found
}

/// Four directions to offer and a true one among those that occur.
fn choose(found: &[Option<Pair>; 8], enough: usize, rng: &mut Rng) -> Option<Chosen> {
    let mut occurring: heapless::Vec<Direction, 8> =
        Direction::ALL.into_iter().filter(|&d| found[d as usize].is_some()).collect();
    if occurring.len() < enough {
        return None;
    }
    for i in (1..occurring.len()).rev() {
        occurring.swap(i, rng.random_range(0..=i));
    }
    occurring.truncate(4);
    let truth = occurring[rng.random_range(0..occurring.len())];
    let pair = found[truth as usize]?;
    // Where fewer than four can occur, another direction fills the place.
    while occurring.len() < 4 {
        let filler = Direction::ALL[rng.random_range(0..8)];
        if !occurring.contains(&filler) {
            let _ = occurring.push(filler);
        }
    }
    let offered = occurring.into_array().ok()?;
    Some((pair, offered, truth))
}

/// A random pair of one of the published kinds: same depth, same column, diagonal.
fn published(index: &RegionIndex, rng: &mut Rng) -> Result<Chosen, Skip> {
    use Direction::{Back, Front, Left, LeftBack, LeftFront, Right, RightBack, RightFront};
    let rule = Columns::new(index);
    let (cols, rows) = index.grid_size();
    let (width, height) = index.picture_size();
    let least = MIN_DISTANCE * width.min(height) as f32;
    let kind = rng.random_range(0..3);
    for at in 0..2 {
        let level = index.level(at);
        for _ in 0..PUBLISHED_DRAWS {
            let mut cell = || (rng.random_range(0..rows), rng.random_range(0..cols));
            let pair = Pair { observer: cell(), target: cell() };
            let depth = |(row, col)| level.depth_m(row, col);
            let (observer_m, target_m) = (depth(pair.observer), depth(pair.target));
            if !(observer_m > 0.0 && target_m > 0.0) {
                continue;
            }
            let [o, t] = [pair.observer, pair.target].map(|(row, col)| index.pixel(row, col));
            let apart = (o.x.abs_diff(t.x) as f32).hypot(o.y.abs_diff(t.y) as f32);
            if apart < least {
                continue;
            }
            let level_rows = o.y.abs_diff(t.y) * 480 < 30 * height;
            let Some(range) = rule.range(observer_m, target_m) else { continue };
            let offered = match (kind, rule.lateral(pair), range) {
                (0, Lateral::Left | Lateral::Right, Range::Same) if level_rows => {
                    [Front, Right, Back, Left]
                }
                (1, Lateral::Same, Range::Nearer | Range::Farther) => [Front, Right, Back, Left],
                (2, Lateral::Left | Lateral::Right, Range::Nearer | Range::Farther) => {
                    [RightFront, RightBack, LeftBack, LeftFront]
                }
                _ => continue,
            };
            if let Some(truth) = rule.name(pair, observer_m, target_m) {
                return Ok((pair, offered, truth));
            }
        }
    }
    Err(Skip::NoRegions)
}
