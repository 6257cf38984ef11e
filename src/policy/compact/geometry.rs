//! Fixed tables of the head: which borders touch under which answer, and which depth ratio
//! means which direction.

use burn::{
    Tensor,
    tensor::{Device, TensorData},
};

use crate::{
    frame::Intrinsics,
    task::{Direction, Facing, Pixel, PositionRule},
};

/// A constant matrix, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// `rows * cols` values.
    pub values: Vec<f32>,
}

impl Matrix {
    fn zeros(rows: usize, cols: usize) -> Self {
        Matrix { rows, cols, values: vec![0.0; rows * cols] }
    }

    fn add(&mut self, row: usize, col: usize, value: f32) {
        self.values[row * self.cols + col] += value;
    }
}

/// `[rows, cols]` on a device.
pub fn tensor(matrix: &Matrix, device: &Device) -> Tensor<2> {
    let data = TensorData::new(matrix.values.clone(), [matrix.rows, matrix.cols]);
    Tensor::from_data(data, device)
}

/// All permutations of `0..n` in lexicographic order, as the candidates list them.
pub fn permutations(n: usize) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    let mut order: Vec<usize> = (0..n).collect();
    loop {
        all.push(order.clone());
        let Some(last) = (1..n).rev().find(|&i| order[i - 1] < order[i]) else { return all };
        let swap = (last..n).rev().find(|&i| order[i] > order[last - 1]).unwrap_or(last);
        order.swap(last - 1, swap);
        order[last..].reverse();
    }
}

/// From pair scores and place scores to arrangement scores.
///
/// Rows: `beside[i][j]` (if there is more than one column), `above[i][j]` (if more than one
/// row), then each patch's column score and row score. Columns: arrangements, where
/// `order[place]` is the patch that belongs at `place`.
pub fn arrangement_matrix(rows: usize, cols: usize) -> Matrix {
    let n = rows * cols;
    let orders = permutations(n);
    let beside = 0;
    let above = if cols > 1 { n * n } else { 0 };
    let column = above + if rows > 1 { n * n } else { 0 };
    let row_scores = column + n;
    let mut matrix = Matrix::zeros(row_scores + n, orders.len());
    let middle = |at: usize, count: usize| (2 * at + 1) as f32 / count as f32 - 1.0;
    for (candidate, order) in orders.iter().enumerate() {
        for (place, &patch) in order.iter().enumerate() {
            let (row, col) = (place / cols, place % cols);
            if col + 1 < cols {
                matrix.add(beside + patch * n + order[place + 1], candidate, 1.0);
            }
            if row + 1 < rows {
                matrix.add(above + patch * n + order[place + cols], candidate, 1.0);
            }
            matrix.add(column + patch, candidate, middle(col, cols));
            matrix.add(row_scores + patch, candidate, middle(row, rows));
        }
    }
    matrix
}

/// Which border of a patch is looked at, and whether from its other end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// 0 left, 1 right, 2 top, 3 bottom.
    pub side: usize,
    /// Read backwards.
    pub reversed: bool,
}

/// Two borders that touch, first left of or above second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Patch and border.
    pub first: (usize, View),
    /// Patch and border.
    pub second: (usize, View),
}

/// Which borders to compare for a flip task and how their scores add up.
#[derive(Clone, Debug)]
pub struct FlipPlan {
    /// Comparisons across vertical borders.
    pub beside: Vec<Edge>,
    /// Comparisons across horizontal borders.
    pub above: Vec<Edge>,
    /// Rows: the comparisons in order, each patch's "upside down", each patch's "mirrored".
    /// Columns: candidates (patch, direction).
    pub matrix: Matrix,
}

/// The plan for a `rows` x `cols` grid. A candidate's score is how much better its patch
/// fits its neighbours after turning it back than as it is shown.
pub fn flip_plan(rows: usize, cols: usize) -> FlipPlan {
    let n = rows * cols;
    // (horizontal neighbour?, comparison, patch that is turned, how)
    let mut beside = Vec::new();
    let mut above = Vec::new();
    let mut terms: Vec<(bool, usize, usize, Option<usize>)> = Vec::new();
    for place in 0..n {
        let (row, col) = (place / cols, place % cols);
        let neighbours = [
            (col + 1 < cols).then_some((true, place + 1)),
            (row + 1 < rows).then_some((false, place + cols)),
        ];
        for (horizontal, other) in neighbours.into_iter().flatten() {
            let (near, far) = if horizontal { (1, 0) } else { (3, 2) };
            for (turned_first, turn) in
                [(true, None), (true, Some(0)), (true, Some(1)), (false, Some(0)), (false, Some(1))]
            {
                let as_is = |side| View { side, reversed: false };
                let (first, second) = if turned_first {
                    ((place, turned_back(near, turn)), (other, as_is(far)))
                } else {
                    ((place, as_is(near)), (other, turned_back(far, turn)))
                };
                let list = if horizontal { &mut beside } else { &mut above };
                let at = list.len();
                list.push(Edge { first, second });
                let ends: &[usize] = match (turn, turned_first) {
                    (None, _) => &[place, other],
                    (Some(_), true) => &[place],
                    (Some(_), false) => &[other],
                };
                terms.extend(ends.iter().map(|&patch| (horizontal, at, patch, turn)));
            }
        }
    }
    let (edges_beside, edges) = (beside.len(), beside.len() + above.len());
    let mut matrix = Matrix::zeros(edges + 2 * n, 2 * n);
    for (horizontal, at, patch, turn) in terms {
        let row = if horizontal { at } else { edges_beside + at };
        match turn {
            // As it is shown counts against both turns of this patch.
            None => (0..2).for_each(|d| matrix.add(row, 2 * patch + d, -1.0)),
            Some(direction) => matrix.add(row, 2 * patch + direction, 1.0),
        }
    }
    for patch in 0..n {
        for direction in 0..2 {
            matrix.add(edges + direction * n + patch, 2 * patch + direction, 1.0);
        }
    }
    FlipPlan { beside, above, matrix }
}

/// Which shown border lies at `side` once a flip is undone.
fn turned_back(side: usize, turn: Option<usize>) -> View {
    match (turn, side) {
        (None, side) => View { side, reversed: false },
        // Upside down: top and bottom change places, left and right are read backwards.
        (Some(0), 2) => View { side: 3, reversed: false },
        (Some(0), 3) => View { side: 2, reversed: false },
        (Some(0), side) => View { side, reversed: true },
        // Mirrored.
        (Some(_), 0) => View { side: 1, reversed: false },
        (Some(_), 1) => View { side: 0, reversed: false },
        (Some(_), side) => View { side, reversed: true },
    }
}

/// How many log depth ratios are told apart.
pub const BINS: usize = 81;

/// The largest log depth ratio that is told apart: e^2, more than seven times as far.
const LARGEST: f32 = 2.0;

/// The middle of each bin, from nearer to farther.
pub fn bin_centres() -> [f32; BINS] {
    core::array::from_fn(|bin| LARGEST * (2.0 * bin as f32 / (BINS - 1) as f32 - 1.0))
}

/// Added to the mass of every direction: an option that geometry rules out is never minus
/// infinity.
pub const LEAST_MASS: f32 = 1e-3;

/// Half the width of "the same depth" under the pixel rule, in log depth ratio.
const SAME_DEPTH: f32 = 0.12;

/// What a position question asks, as far as geometry goes.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// Where the observer stands.
    pub observer: Pixel,
    /// Where the target is.
    pub target: Pixel,
    /// Where the observer looks.
    pub facing: Facing,
    /// The offered directions.
    pub options: &'a [Direction],
    /// How directions were decided.
    pub rule: PositionRule,
    /// The camera, when known.
    pub intrinsics: Option<Intrinsics>,
    /// Width and height of the picture in pixels.
    pub picture_size: (u32, u32),
}

impl Placement<'_> {
    /// `[BINS, options]`: 1 where a log depth ratio (target over observer) in that bin makes
    /// that option right. Scale never matters: both points are seen along known rays, so
    /// the bearing depends on the ratio of their depths alone.
    pub fn consistent(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(BINS * self.options.len());
        for log_ratio in bin_centres() {
            let seen = self.bearing_degrees(log_ratio).map(|bearing| sector(bearing, self.facing));
            values.extend(
                self.options.iter().map(|&option| f32::from(u8::from(seen == Some(option)))),
            );
        }
        values
    }

    /// The target's bearing from the observer on the ground plane, clockwise from the way
    /// the camera looks, if the two are not at one place.
    fn bearing_degrees(&self, log_ratio: f32) -> Option<f32> {
        let (right, forward) = match (self.rule, self.intrinsics) {
            (PositionRule::Metric, Some(camera)) => {
                let ray = |x: u32| ((f64::from(x) - camera.cx) / camera.fx) as f32;
                let ratio = log_ratio.exp();
                (ray(self.target.x) * ratio - ray(self.observer.x), ratio - 1.0)
            }
            _ => {
                let offset = self.target.x as f32 - self.observer.x as f32;
                let column = self.picture_size.0.min(self.picture_size.1) as f32 / 8.0;
                let beyond = |value: f32, limit: f32| {
                    if value.abs() < limit { 0.0 } else { value.signum() }
                };
                (beyond(offset, column), beyond(log_ratio, SAME_DEPTH))
            }
        };
        (right != 0.0 || forward != 0.0).then(|| right.atan2(forward).to_degrees())
    }
}

/// The 45-degree sector of a bearing as an observer who faces that way would name it.
fn sector(bearing_degrees: f32, facing: Facing) -> Direction {
    let heading = match facing {
        Facing::AwayFromViewer => 0.0,
        Facing::Right => 90.0,
        Facing::TowardViewer => 180.0,
        Facing::Left => 270.0,
    };
    let eighth = ((bearing_degrees - heading) / 45.0).round().rem_euclid(8.0);
    Direction::ALL[eighth as usize % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_are_complete_and_in_order() {
        let all = permutations(4);
        assert_eq!(all.len(), 24);
        assert_eq!(all[0], [0, 1, 2, 3]);
        assert_eq!(all[23], [3, 2, 1, 0]);
        assert!(all.is_sorted());
    }

    #[test]
    fn an_arrangement_scores_the_borders_that_touch() {
        // Patch 1 left of patch 0, patch 3 left of 2; 1 above 3, 0 above 2.
        let matrix = arrangement_matrix(2, 2);
        let order = [1, 0, 3, 2];
        let candidate = permutations(4).iter().position(|p| p[..] == order).unwrap();
        let weight = |row: usize| matrix.values[row * matrix.cols + candidate];
        let beside: Vec<_> = (0..16).filter(|&row| weight(row) > 0.0).collect();
        assert_eq!(beside, [4, 3 * 4 + 2]);
        let above: Vec<_> = (0..16).filter(|&row| weight(16 + row) > 0.0).collect();
        assert_eq!(above, [2, 4 + 3]);
    }

    #[test]
    fn turning_back_twice_changes_nothing() {
        for turn in [Some(0), Some(1)] {
            for side in 0..4 {
                let once = turned_back(side, turn);
                let twice = turned_back(once.side, turn);
                assert_eq!(twice.side, side);
                assert_eq!(twice.reversed, once.reversed);
            }
        }
    }

    #[test]
    fn every_flip_candidate_weighs_both_its_borders() {
        let plan = flip_plan(2, 2);
        assert_eq!((plan.beside.len(), plan.above.len()), (10, 10));
        for candidate in 0..8 {
            let column: Vec<f32> =
                (0..plan.matrix.rows).map(|r| plan.matrix.values[r * 8 + candidate]).collect();
            assert_eq!(column.iter().filter(|&&w| w == 1.0).count(), 3, "two borders, own look");
            assert_eq!(column.iter().filter(|&&w| w == -1.0).count(), 2);
        }
    }

    #[test]
    fn a_farther_target_on_the_left_is_right_front_for_who_faces_left() {
        assert_eq!(sector(-45.0, Facing::Left), Direction::RightFront);
        assert_eq!(sector(90.0, Facing::AwayFromViewer), Direction::Right);
        assert_eq!(sector(180.0, Facing::AwayFromViewer), Direction::Back);
        assert_eq!(sector(90.0, Facing::TowardViewer), Direction::Left);
    }

    #[test]
    fn the_same_columns_mean_different_directions_at_different_depths() {
        let camera = Intrinsics::new(640, 480, 525.0, 525.0, 319.5, 239.5).unwrap();
        let options =
            [Direction::Front, Direction::RightFront, Direction::RightBack, Direction::Back];
        let placement = Placement {
            observer: Pixel { x: 290, y: 200 },
            target: Pixel { x: 350, y: 240 },
            facing: Facing::AwayFromViewer,
            options: &options,
            rule: PositionRule::Metric,
            intrinsics: Some(camera),
            picture_size: (640, 480),
        };
        let consistent = placement.consistent();
        let first = |option: usize| (0..BINS).find(|bin| consistent[bin * 4 + option] == 1.0);
        let (front, right_front, right_back, back) = (first(0), first(1), first(2), first(3));
        assert!(back < right_back && right_back < right_front && right_front < front);
        assert!(back.is_some());
    }
}
