//! What coordinates alone foretell in one recording, and fewer tasks of that.
//!
//! Each task of the balanced preset is fair within its frame. A recording that comes back to the
//! same desk gives its answers away all the same: where a marker was far, it will be far again. So
//! much is asked less often, as adversarial filters do (Le Bras et al. 2020, AFLite): all answers of
//! a task are looked up among the coordinates and right answers of those before it, and a task whose
//! right answer is the expected one is kept with the chance that makes it as rare as the least
//! expected.
//!
//! ```
//! use spatial_ssrl::task::{Answer, Pixel, Question, TaskKind, foretold::{Asked, Foretold}};
//! let points = [(100, 400), (300, 200), (500, 60)].map(|(x, y)| Pixel { x, y });
//! let question = Question::OrderPoints { points: points.into_iter().collect() };
//! let asked = |answer| Asked {
//!     kind: &TaskKind::Depth, question: &question, picture_size: (640, 480), answer
//! };
//! let (lowest_first, other) = ([0, 1, 2], [1, 0, 2]);
//! let [lowest_first, other] =
//!     [lowest_first, other].map(|order| Answer::Order(order.into_iter().collect()));
//! let mut before = Foretold::default();
//! (0..50).for_each(|_| before.remember(&asked(&lowest_first)));
//! assert!(before.chance(&asked(&lowest_first)) < 0.1, "seen too often");
//! assert_eq!(before.chance(&asked(&other)), 1.0);
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Answer, Direction, Facing, Pixel, Question, Task, TaskKind, seed};

/// The name under which tasks that are left out are counted.
pub const REASON: &str = "foretold_by_coordinates";
/// Tasks of a kind that are remembered: an even sample of all that were made.
const KNOWN: usize = 2048;
/// Square of the distance at which two tasks tell nothing of each other; coordinates are from -1
/// to 1.
const REACH_SQUARED: f32 = 1.5;
/// Votes that each answer has beforehand: a few tasks tell nothing.
const BEFOREHAND: f32 = 2.0;
/// Answers of a task at most, those of four points: others are not looked up.
const ANSWERS: usize = 24;

/// What of a task is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which task.
    pub kind: &'a TaskKind,
    /// What is asked.
    pub question: &'a Question,
    /// Width and height of the picture, pixels.
    pub picture_size: (u32, u32),
    /// The right answer.
    pub answer: &'a Answer,
}

impl<'a> From<&'a Task> for Asked<'a> {
    fn from(task: &'a Task) -> Self {
        let Task { kind, question, picture_size, answer, .. } = task;
        Asked { kind, question, picture_size: *picture_size, answer }
    }
}

/// Coordinates of tasks with their right answers, by kind; bounded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Foretold(BTreeMap<TaskKind, Known>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    seen: u64,
    rows: Vec<Vec<f32>>,
}

impl Foretold {
    /// Whether a task is kept; the seed decides, and the same seed decides the same.
    pub fn keeps(&self, task: &Asked<'_>, seed: u64) -> bool {
        // 24 bits: as many as a float tells apart.
        ((seed::mix(seed, 0xf0e7) >> 40) as f32) < self.chance(task) * (1_u64 << 24) as f32
    }

    /// The chance with which a task is kept; 1 where there are no coordinates, and of an answer
    /// that is the least expected.
    pub fn chance(&self, task: &Asked<'_>) -> f32 {
        let Some(known) = self.0.get(task.kind) else { return 1.0 };
        let Some((rows, right)) = looked_up(task) else { return 1.0 };
        let votes: Vec<f32> = rows.iter().map(|row| known.votes(row)).collect();
        votes.iter().copied().fold(f32::INFINITY, f32::min) / votes[right]
    }

    /// Remembers a task, kept or not, for those after it.
    pub fn remember(&mut self, task: &Asked<'_>) {
        let Some((mut rows, right)) = looked_up(task) else { return };
        let row = rows.swap_remove(right);
        let known = self.0.entry(task.kind.clone()).or_default();
        known.seen += 1;
        if known.rows.len() < KNOWN {
            known.rows.push(row);
        } else if let Ok(at) = usize::try_from(seed::mix(known.seen, 0x4b0e) % known.seen)
            && let Some(old) = known.rows.get_mut(at)
        {
            // The odds of reservoir sampling (Vitter 1985, algorithm R).
            *old = row;
        }
    }
}

impl Known {
    fn votes(&self, row: &[f32]) -> f32 {
        BEFOREHAND + self.rows.iter().map(|known| kernel(known, row)).sum::<f32>()
    }
}

/// How much a task tells of another, 0 to 1 (a biweight: the same on every processor).
fn kernel(known: &[f32], row: &[f32]) -> f32 {
    if known.len() != row.len() {
        return 0.0;
    }
    let squares: f32 = known.iter().zip(row).map(|(a, b)| (a - b) * (a - b)).sum();
    let near = (1.0 - squares / REACH_SQUARED).max(0.0);
    near * near
}

/// The coordinates as each candidate answer reads them, and which of them is right.
fn looked_up(task: &Asked<'_>) -> Option<(Vec<Vec<f32>>, usize)> {
    let rows = coordinates(task.question, task.picture_size)?;
    if rows.len() > ANSWERS {
        return None;
    }
    let right = task.question.candidates().iter().position(|answer| answer == task.answer)?;
    (right < rows.len()).then_some((rows, right))
}

/// A question about marked points as numbers, one row for each candidate answer: the points in
/// the order of that answer and the steps between them; or observer and target, the way from one
/// to the other and in which eighth of the camera's view the option lies. Coordinates are from -1
/// to 1; those of two points that lie near each other count twice, the way between them three
/// times. None for other questions.
pub fn coordinates(question: &Question, (width, height): (u32, u32)) -> Option<Vec<Vec<f32>>> {
    let place = |point: Pixel| {
        [point.x as f32 / width as f32 * 2.0 - 1.0, point.y as f32 / height as f32 * 2.0 - 1.0]
    };
    let rows = match question {
        Question::OrderPoints { points } => {
            let row = |answer: Answer| {
                let Answer::Order(order) = answer else { return Vec::new() };
                let at: Vec<[f32; 2]> =
                    order.iter().map(|&i| place(points[usize::from(i)])).collect();
                let steps = at.windows(2).flat_map(|p| [p[1][0] - p[0][0], p[1][1] - p[0][1]]);
                at.iter().flatten().copied().chain(steps).collect()
            };
            question.candidates().into_iter().map(row).collect()
        }
        Question::RelativePosition { observer, target, facing, options, .. } => {
            let (o, t) = (place(*observer), place(*target));
            let row = |option: &Direction| {
                let way = [t[0] - o[0], t[1] - o[1]].map(|way| 3.0 * way);
                let (o, t) = (o.map(|at| 2.0 * at), t.map(|at| 2.0 * at));
                let eighth = in_camera(*option, *facing);
                let is = (0..8).map(|at| f32::from(u8::from(at == eighth)));
                [o, t, way].into_iter().flatten().chain(is).collect()
            };
            options.iter().map(row).collect()
        }
        _ => return None,
    };
    Some(rows)
}

/// The eighth in which a direction lies as the camera sees it, clockwise from ahead.
pub fn in_camera(direction: Direction, facing: Facing) -> usize {
    let heading = match facing {
        Facing::AwayFromViewer => 0,
        Facing::Right => 2,
        Facing::TowardViewer => 4,
        Facing::Left => 6,
    };
    let at = Direction::ALL.iter().position(|&d| d == direction).unwrap_or(0);
    (at + heading) % 8
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    type Made = (Question, Answer);

    /// Tasks of three random places; in so many of ten the lowest is nearest.
    fn tasks(seed: u64, lower_is_nearer: u32) -> Vec<Made> {
        let mut rng = seed::rng(seed);
        let mut task = |_| {
            let points: [Pixel; 3] = std::array::from_fn(|_| Pixel {
                x: rng.random_range(0..640),
                y: rng.random_range(0..480),
            });
            let mut order = [0_u8, 1, 2];
            if rng.random_range(0..10) < lower_is_nearer {
                order.sort_by_key(|&i| std::cmp::Reverse(points[usize::from(i)].y));
            } else {
                (1..3).rev().for_each(|i| order.swap(i, rng.random_range(0..=i)));
            }
            let question = Question::OrderPoints { points: points.into_iter().collect() };
            (question, Answer::Order(order.into_iter().collect()))
        };
        (0..3000).map(&mut task).collect()
    }

    fn asked((question, answer): &Made) -> Asked<'_> {
        Asked { kind: &TaskKind::Depth, question, picture_size: (640, 480), answer }
    }

    /// Which are kept when one comes after the other.
    fn kept<'m>(before: &mut Foretold, tasks: &'m [Made]) -> Vec<&'m Made> {
        let mut seed = 0;
        let keep = |task: &&Made| {
            seed += 1;
            let keeps = before.keeps(&asked(task), seed);
            before.remember(&asked(task));
            keeps
        };
        tasks.iter().filter(keep).collect()
    }

    /// Part of the tasks in which the lowest is nearest and the highest farthest.
    fn lower_is_nearer<'m>(tasks: impl ExactSizeIterator<Item = &'m Made>) -> f64 {
        let n = tasks.len() as f64;
        let fits = tasks.filter(|(question, answer)| {
            let Question::OrderPoints { points } = question else { return false };
            let Answer::Order(order) = answer else { return false };
            let rows: Vec<u32> = order.iter().map(|&i| points[usize::from(i)].y).collect();
            rows.is_sorted_by(|a, b| a >= b)
        });
        fits.count() as f64 / n
    }

    #[test]
    fn what_coordinates_foretell_is_asked_less_often() {
        let (earlier, later) = (tasks(1, 5), tasks(2, 5));
        let mut before = Foretold::default();
        kept(&mut before, &earlier);
        let stay = kept(&mut before.clone(), &later);
        let (all, of_kept) = (lower_is_nearer(later.iter()), lower_is_nearer(stay.iter().copied()));
        assert!(all > 0.5 && of_kept < all - 0.15, "{all} before, {of_kept} after");
        assert!(stay.len() > later.len() / 3, "{} kept", stay.len());
        assert_eq!(stay, kept(&mut before, &later), "the same seeds, the same tasks");
    }

    #[test]
    fn fair_tasks_and_the_first_tasks_are_nearly_all_kept() {
        let (fair, unfair) = (tasks(3, 0), tasks(4, 10));
        let of_fair = kept(&mut Foretold::default(), &fair).len();
        let of_first = kept(&mut Foretold::default(), &unfair[..10]).len();
        assert!(of_fair > 2000 && of_first > 7, "{of_fair} of 3000, {of_first} of 10");
    }

    #[test]
    fn memory_is_bounded_and_an_even_sample_however_long_it_runs() {
        let mut before = Foretold::default();
        // What a task shows is its number: the first point's column.
        let n = 20 * KNOWN as u32;
        for x in 0..n {
            let points = [Pixel { x, y: 0 }, Pixel { x: 0, y: 9 }].into_iter().collect();
            let made =
                (Question::OrderPoints { points }, Answer::Order([0, 1].into_iter().collect()));
            before.remember(&Asked { picture_size: (n, 10), ..asked(&made) });
        }
        let rows = &before.0[&TaskKind::Depth].rows;
        assert_eq!(rows.len(), KNOWN);
        let of_last_half = rows.iter().filter(|row| row[0] > 0.0).count();
        assert!((KNOWN * 45 / 100..KNOWN * 55 / 100).contains(&of_last_half), "{of_last_half}");
    }

    #[test]
    fn where_a_target_lay_is_remembered_as_the_camera_sees_it_whoever_looks() {
        let question = |facing, first| Question::RelativePosition {
            observer: Pixel { x: 300, y: 200 },
            target: Pixel { x: 340, y: 200 },
            facing,
            options: [first, Direction::Left, Direction::LeftBack, Direction::LeftFront],
            rule: super::super::PositionRule::Pixel,
            intrinsics: None,
        };
        let away = (question(Facing::AwayFromViewer, Direction::Right), Answer::Choice(0));
        // To the right of the picture is in front of who looks to the right.
        let right = (question(Facing::Right, Direction::Front), Answer::Choice(0));
        let other = (question(Facing::Right, Direction::Front), Answer::Choice(1));
        let of = |made| Asked { kind: &TaskKind::Position, ..asked(made) };
        let mut before = Foretold::default();
        (0..20).for_each(|_| before.remember(&of(&away)));
        assert!(before.chance(&of(&right)) < 0.2);
        assert_eq!(before.chance(&of(&other)), 1.0);
    }

    #[test]
    fn what_has_no_coordinates_is_always_kept() {
        let mut before = Foretold::default();
        let made = (Question::FindFlip { rows: 2, cols: 2 }, Answer::Choice(0));
        before.remember(&asked(&made));
        assert_eq!((before.chance(&asked(&made)), before.0.len()), (1.0, 0));
    }
}
