//! Directions of one place from another, as the camera sees them and as an observer names them.

use super::{Direction, Facing};

/// Bearings at most 14 degrees from the middle of a sector count; sectors end at 22.5.
/// Tangents of 14 degrees, of the 31 that are left of 45, and of 22.5.
const CORE_TANGENT: f32 = 0.249_328;
const DIAGONAL_TANGENT: f32 = 0.600_861;
const EDGE_TANGENT: f32 = 0.414_214;

/// Where the target lies sideways, as the camera sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Lateral {
    Left,
    Same,
    Right,
}

/// Where the target lies in depth, as the camera sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Range {
    Nearer,
    Same,
    Farther,
}

/// How the observer names a place that the camera sees sideways and in depth like this;
/// nothing when both are the same.
///
/// ```
/// use spatial_ssrl::task::{Direction, Facing, position::{Lateral, Range, direction}};
/// let named = direction(Facing::Left, Lateral::Left, Range::Farther);
/// assert_eq!(named, Some(Direction::RightFront));
/// ```
pub fn direction(facing: Facing, lateral: Lateral, range: Range) -> Option<Direction> {
    let right = match lateral {
        Lateral::Left => -1.0,
        Lateral::Same => 0.0,
        Lateral::Right => 1.0,
    };
    let forward = match range {
        Range::Nearer => -1.0,
        Range::Same => 0.0,
        Range::Farther => 1.0,
    };
    sector(right, forward).map(|camera| turned(camera, facing))
}

/// The sector of a bearing in the camera's frame (`right`, `forward` in any one unit), from
/// [`Direction::Front`] = the way the camera looks; nothing at one and the same place.
pub fn sector(right: f32, forward: f32) -> Option<Direction> {
    if (right == 0.0 && forward == 0.0) || !right.is_finite() || !forward.is_finite() {
        return None;
    }
    named(right, forward, EDGE_TANGENT, EDGE_TANGENT)
}

/// The sector of a bearing that lies at most 14 degrees from the sector's middle.
pub(super) fn core(right: f32, forward: f32) -> Option<Direction> {
    named(right, forward, CORE_TANGENT, DIAGONAL_TANGENT)
}

/// Straight directions reach to the tangent `straight` off an axis, diagonal ones begin at
/// the tangent `diagonal`. Tangents, because this is asked millions of times a second.
fn named(right: f32, forward: f32, straight: f32, diagonal: f32) -> Option<Direction> {
    let (across, along) = (right.abs(), forward.abs());
    let off = across.min(along) / across.max(along);
    let (left, back) = (right < 0.0, forward < 0.0);
    if off <= straight {
        return Some(match (across > along, left, back) {
            (true, false, _) => Direction::Right,
            (true, true, _) => Direction::Left,
            (false, _, false) => Direction::Front,
            (false, _, true) => Direction::Back,
        });
    }
    (off >= diagonal).then_some(match (left, back) {
        (false, false) => Direction::RightFront,
        (false, true) => Direction::RightBack,
        (true, false) => Direction::LeftFront,
        (true, true) => Direction::LeftBack,
    })
}

/// A direction of the camera's frame as an observer names it who looks that way.
pub fn turned(camera: Direction, facing: Facing) -> Direction {
    let heading = match facing {
        Facing::AwayFromViewer => 0,
        Facing::Right => 2,
        Facing::TowardViewer => 4,
        Facing::Left => 6,
    };
    Direction::ALL[(camera as usize + 8 - heading) % 8]
}
