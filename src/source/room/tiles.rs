//! Which solids each small tile of a picture may show. All rays of a picture start at one
//! point, so projecting the solids' boxes once replaces the search through a hierarchy for
//! every pixel.

use super::{
    math::{Pose, Vec3, v3},
    scene::{Hit, Scene},
    shape::Shape,
};
use crate::frame::Intrinsics;

/// Side of a tile, pixels.
const TILE: usize = 16;
/// Solids are cut off at this distance before the camera: nothing nearer can be seen.
const PLANE_M: f32 = 1e-3;
/// How far a solid's rectangle is widened, pixels: rounding, and rays beside the centre.
const WIDER_PX: f32 = 1.5;

/// One solid as the camera sees it.
struct Seen {
    item: u32,
    shape: Shape,
    /// The camera's centre and axes in the solid's frame.
    origin: Vec3,
    right: Vec3,
    down: Vec3,
    forward: Vec3,
    /// The rectangle around it in the picture: left, top, right, bottom.
    rect: [f32; 4],
    /// The bounds of u + v and of u - v: long thin things seen askew fill little of their
    /// rectangle.
    askew: [f32; 4],
    /// Nothing of it has less depth.
    near_m: f32,
}

/// The solids of each tile, nearest first.
pub(super) struct Tiles {
    seen: Vec<Seen>,
    columns: usize,
    /// `lists[starts[i]..starts[i + 1]]` are tile i's entries of `seen`.
    starts: Vec<u32>,
    lists: Vec<u32>,
}

impl Tiles {
    /// Projects the scene's solids (not its shell) into the picture.
    pub fn new(scene: &Scene, pose: &Pose, k: &Intrinsics) -> Self {
        let mut seen: Vec<Seen> =
            (0u32..).zip(scene.inner()).filter_map(|(item, _)| see(scene, item, pose, k)).collect();
        seen.sort_by(|a, b| a.near_m.total_cmp(&b.near_m).then(a.item.cmp(&b.item)));
        let columns = (k.width as usize).div_ceil(TILE).max(1);
        let rows = (k.height as usize).div_ceil(TILE).max(1);
        let last = [columns - 1, rows - 1];
        let spans: Vec<[usize; 4]> = seen.iter().map(|s| span(s.rect, last)).collect();
        let mut starts = vec![0u32; columns * rows + 1];
        let each = |[x0, y0, x1, y1]: [usize; 4]| {
            (y0..=y1).flat_map(move |y| (x0..=x1).map(move |x| y * columns + x))
        };
        for &span in &spans {
            for tile in each(span) {
                if let Some(n) = starts.get_mut(tile + 1) {
                    *n += 1;
                }
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut lists = vec![0u32; sum as usize];
        let mut next = starts.clone();
        for (i, &span) in (0u32..).zip(&spans) {
            for tile in each(span) {
                if let Some(at) = next.get_mut(tile) {
                    if let Some(slot) = lists.get_mut(*at as usize) {
                        *slot = i;
                    }
                    *at += 1;
                }
            }
        }
        Tiles { seen, columns, starts, lists }
    }

    /// The first solid on the ray through pixel (`u`, `v`), whose direction in the camera's
    /// frame is (`x`, `y`, 1); looked for among those of the tile at `pixel`.
    #[inline]
    pub fn trace(&self, pixel: [usize; 2], [u, v]: [f32; 2], [x, y]: [f32; 2]) -> Option<Hit> {
        let tile = pixel[1] / TILE * self.columns + pixel[0] / TILE;
        let ends = self.starts.get(tile..tile + 2)?;
        let list = self.lists.get(*ends.first()? as usize..*ends.last()? as usize)?;
        let mut best = None;
        let mut t = f32::INFINITY;
        let (sum, difference) = (u + v, u - v);
        for &i in list {
            let Some(s) = self.seen.get(i as usize) else { continue };
            if s.near_m >= t {
                break;
            }
            let [left, top, right, bottom] = s.rect;
            if u < left || u > right || v < top || v > bottom {
                continue;
            }
            let [low, high, left, right] = s.askew;
            if sum < low || sum > high || difference < left || difference > right {
                continue;
            }
            let d = s.right * x + s.down * y + s.forward;
            if let Some(hit) = s.shape.intersect(s.origin, d, t) {
                t = hit.t;
                best = Some(Hit { t, solid: s.item, face: hit.face });
            }
        }
        best
    }
}

/// The tiles that a rectangle touches: first column and row, last column and row.
fn span(rect: [f32; 4], last: [usize; 2]) -> [usize; 4] {
    let tile = |c: f32, last: usize| ((c / TILE as f32).max(0.0) as usize).min(last);
    let [left, top, right, bottom] = rect;
    [tile(left, last[0]), tile(top, last[1]), tile(right, last[0]), tile(bottom, last[1])]
}

/// How the camera sees a solid; none when it cannot be in the picture.
fn see(scene: &Scene, item: u32, pose: &Pose, k: &Intrinsics) -> Option<Seen> {
    let solid = scene.solids.get(item as usize)?;
    let half = solid.shape.half_extent();
    let (fx, fy) = (k.fx as f32, k.fy as f32);
    let (cx, cy) = (k.cx as f32, k.cy as f32);
    let corners: [Vec3; 8] = std::array::from_fn(|corner| {
        let sign = |bit: usize| if corner & bit == 0 { -1.0 } else { 1.0 };
        let local = half.times(v3(sign(1), sign(2), sign(4)));
        pose.camera_from_world(solid.world(local))
    });
    let mut rect = [f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
    let mut askew = [f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY, f32::NEG_INFINITY];
    let mut near = f32::INFINITY;
    let mut cover = |p: Vec3| {
        let (u, v) = (fx * p.x / p.z + cx, fy * p.y / p.z + cy);
        let (s, d) = (u + v, u - v);
        near = near.min(p.z);
        rect = [rect[0].min(u), rect[1].min(v), rect[2].max(u), rect[3].max(v)];
        askew = [askew[0].min(s), askew[1].max(s), askew[2].min(d), askew[3].max(d)];
    };
    for (i, &a) in corners.iter().enumerate() {
        if a.z >= PLANE_M {
            cover(a);
        }
        // Edges that cross the camera's plane end just before it.
        for &b in [1, 2, 4].iter().filter_map(|bit| corners.get(i ^ bit)) {
            if a.z > PLANE_M && b.z < PLANE_M {
                cover(a.lerp(b, (a.z - PLANE_M) / (a.z - b.z)));
            }
        }
    }
    let rect = [rect[0] - WIDER_PX, rect[1] - WIDER_PX, rect[2] + WIDER_PX, rect[3] + WIDER_PX];
    // Also true where nothing lies before the camera: the rectangle is then empty.
    let outside = !(rect[2] >= 0.0
        && rect[3] >= 0.0
        && rect[0] <= k.width as f32
        && rect[1] <= k.height as f32);
    let wide = 2.0 * WIDER_PX;
    let askew = [askew[0] - wide, askew[1] + wide, askew[2] - wide, askew[3] + wide];
    (!outside).then(|| Seen {
        item,
        shape: solid.shape,
        origin: solid.local(pose.position),
        right: solid.turn.undo(pose.right),
        down: solid.turn.undo(pose.down),
        forward: solid.turn.undo(pose.forward),
        rect,
        askew,
        near_m: (near * 0.9999).max(0.0),
    })
}
