//! A bounding-volume hierarchy over the solids of a scene: built once, surface-area
//! heuristic, walked nearest child first.

use super::math::{Vec3, v3};

/// An axis-aligned box in the world, metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub min: Vec3,
    pub max: Vec3,
}

impl Bounds {
    const EMPTY: Bounds = Bounds {
        min: v3(f32::INFINITY, f32::INFINITY, f32::INFINITY),
        max: v3(f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY),
    };

    fn join(self, o: Bounds) -> Bounds {
        Bounds { min: self.min.min(o.min), max: self.max.max(o.max) }
    }

    fn half_area(&self) -> f32 {
        let d = (self.max - self.min).max(Vec3::default());
        d.x * d.y + d.y * d.z + d.z * d.x
    }

    fn middle(&self) -> [f32; 3] {
        let m = (self.min + self.max) * 0.5;
        [m.x, m.y, m.z]
    }

    /// Where the ray enters the box, or infinity when it misses it before `t_max`.
    #[inline]
    fn entry(&self, o: Vec3, inv: Vec3, t_max: f32) -> f32 {
        let (a, b) = ((self.min - o).times(inv), (self.max - o).times(inv));
        let (low, high) = (a.min(b), a.max(b));
        let enter = low.x.max(low.y).max(low.z).max(0.0);
        let leave = high.x.min(high.y).min(high.z).min(t_max);
        if enter <= leave { enter } else { f32::INFINITY }
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    bounds: Bounds,
    /// Inner: the left child, the right one follows it. Leaf: the first item.
    first: u32,
    /// 0 for an inner node.
    count: u32,
}

/// The deepest that a tree may grow; leaves there take what is left.
const DEPTH: usize = 30;

/// The hierarchy; it orders the items itself, see [`Bvh::build`].
#[derive(Debug)]
pub(super) struct Bvh {
    nodes: Vec<Node>,
}

impl Bvh {
    /// Builds over the items' bounds and returns the order that items must be stored in.
    pub fn build(bounds: &[Bounds]) -> (Bvh, Vec<u32>) {
        let mut order: Vec<u32> = (0..bounds.len() as u32).collect();
        let mut nodes = vec![Node { bounds: Bounds::EMPTY, first: 0, count: 0 }];
        if !bounds.is_empty() {
            split(&mut nodes, 0, bounds, &mut order, 0, 0);
        }
        (Bvh { nodes }, order)
    }

    /// Calls `test(item, t_max)` for the items whose boxes the ray may meet, nearest boxes
    /// first; `test` returns a nearer `t_max` when it hit, and a negative one to stop.
    #[inline]
    pub fn walk(&self, o: Vec3, d: Vec3, t_max: f32, mut test: impl FnMut(u32, f32) -> f32) {
        let inv = v3(1.0 / d.x, 1.0 / d.y, 1.0 / d.z);
        let mut stack = [(0u32, 0.0f32); DEPTH + 2];
        let mut top = 0usize;
        let mut best = t_max;
        let Some(root) = self.nodes.first() else { return };
        if root.bounds.entry(o, inv, best) == f32::INFINITY {
            return;
        }
        let mut node = root;
        loop {
            if node.count > 0 {
                for item in node.first..node.first + node.count {
                    best = test(item, best);
                    if best < 0.0 {
                        return;
                    }
                }
            } else if let Some([left, right]) =
                self.nodes.get(node.first as usize..node.first as usize + 2)
            {
                let (tl, tr) = (left.bounds.entry(o, inv, best), right.bounds.entry(o, inv, best));
                let left_first = tl <= tr;
                let (near, far) = if left_first { (tl, tr) } else { (tr, tl) };
                if near < f32::INFINITY {
                    if far < f32::INFINITY
                        && let Some(slot) = stack.get_mut(top)
                    {
                        *slot = (node.first + u32::from(left_first), far);
                        top += 1;
                    }
                    node = if left_first { left } else { right };
                    continue;
                }
            }
            // The next node on the stack that is still nearer than the best hit.
            node = loop {
                if top == 0 {
                    return;
                }
                top -= 1;
                let Some(&(index, entry)) = stack.get(top) else { return };
                if entry <= best
                    && let Some(next) = self.nodes.get(index as usize)
                {
                    break next;
                }
            };
        }
    }
}

/// Splits `order` (items of one node, the first of which is item `first`) where the sum of
/// area times count is least.
fn split(
    nodes: &mut Vec<Node>,
    at: usize,
    bounds: &[Bounds],
    order: &mut [u32],
    first: u32,
    depth: usize,
) {
    let of = |i: u32| bounds.get(i as usize).copied().unwrap_or(Bounds::EMPTY);
    let all = order.iter().fold(Bounds::EMPTY, |sum, &i| sum.join(of(i)));
    let leaf = Node { bounds: all, first, count: order.len() as u32 };
    let mut best = (order.len() as f32 * all.half_area(), 3usize, 0usize);
    if order.len() > 1 && depth < DEPTH {
        for axis in 0..3 {
            sort(order, axis, bounds);
            let mut sum = Bounds::EMPTY;
            let mut right = vec![0.0f32; order.len()];
            for (slot, &i) in right.iter_mut().zip(order.iter()).rev() {
                sum = sum.join(of(i));
                *slot = sum.half_area();
            }
            let mut sum = Bounds::EMPTY;
            for (k, (&i, after)) in order.iter().zip(right.iter().skip(1)).enumerate() {
                sum = sum.join(of(i));
                let left = (k + 1) as f32;
                let cost = 0.5 * all.half_area()
                    + sum.half_area() * left
                    + after * (order.len() as f32 - left);
                if cost < best.0 {
                    best = (cost, axis, k + 1);
                }
            }
        }
    }
    let (_, axis, cut) = best;
    if axis == 3 {
        // `nodes[at]` always exists: it was pushed by the caller.
        if let Some(node) = nodes.get_mut(at) {
            *node = leaf;
        }
        return;
    }
    sort(order, axis, bounds);
    let child = nodes.len();
    let empty = Node { bounds: Bounds::EMPTY, first: 0, count: 0 };
    nodes.extend([empty, empty]);
    if let Some(node) = nodes.get_mut(at) {
        *node = Node { bounds: all, first: child as u32, count: 0 };
    }
    let (left, right) = order.split_at_mut(cut);
    split(nodes, child, bounds, left, first, depth + 1);
    split(nodes, child + 1, bounds, right, first + cut as u32, depth + 1);
}

fn sort(order: &mut [u32], axis: usize, bounds: &[Bounds]) {
    let key =
        |i: u32| bounds.get(i as usize).and_then(|b| b.middle().get(axis).copied()).unwrap_or(0.0);
    // Ties by index: the tree must not depend on how the sort treats equals.
    order.sort_unstable_by(|&a, &b| key(a).total_cmp(&key(b)).then(a.cmp(&b)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::room::dice::Dice;

    #[test]
    fn the_tree_finds_what_testing_every_box_finds() {
        let mut dice = Dice::new(5, 0);
        let mut point = |k: f32| v3(dice.range(-k, k), dice.range(-k, k), dice.range(-k, k));
        let boxes: Vec<Bounds> = (0..150)
            .map(|_| {
                let (c, h) = (point(3.0), point(0.4).abs() + v3(0.01, 0.01, 0.01));
                Bounds { min: c - h, max: c + h }
            })
            .collect();
        let (bvh, order) = Bvh::build(&boxes);
        let stored: Vec<Bounds> = order.iter().map(|&i| boxes[i as usize]).collect();
        for _ in 0..2000 {
            let (o, d) = (point(6.0), point(1.0).normalized());
            let inv = v3(1.0 / d.x, 1.0 / d.y, 1.0 / d.z);
            let all = stored.iter().map(|b| b.entry(o, inv, 100.0)).fold(f32::INFINITY, f32::min);
            let mut found = f32::INFINITY;
            bvh.walk(o, d, 100.0, |item, best| {
                let t = stored[item as usize].entry(o, inv, best);
                if t < best {
                    found = t;
                    t
                } else {
                    best
                }
            });
            assert_eq!(found, all);
        }
    }
}
