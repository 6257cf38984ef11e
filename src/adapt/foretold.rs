//! What coordinates alone foretell in one recording, and fewer tasks of that.
//!
//! Each task of the balanced preset is fair within its frame. A recording that comes back to the
//! same desk gives its answers away all the same: where a marker was far, it will be far again. So
//! much is asked less often, as adversarial filters do (Le Bras et al. 2020, AFLite): all answers of
//! a task are looked up among the coordinates and right answers of others, and a task whose right
//! answer is the expected one is kept with the chance that makes it as rare as the least expected.

use rand::RngExt;
use rayon::prelude::*;

use super::{
    blind::{Shown, inputs},
    memory::Memory,
};
use crate::task::{Question, seed};

/// Tasks that are looked up at most; they are spread evenly.
const KNOWN: usize = 2048;
/// Width of the kernel, in coordinates from -1 to 1.
const WIDTH: f32 = 0.5;
/// Votes that each answer has beforehand: a few tasks tell nothing.
const BEFOREHAND: f32 = 4.0;

/// Coordinates of tasks, in the order of their right answers.
pub struct Foretold(Vec<Vec<f32>>);

impl Foretold {
    /// From tasks that ask to order marked points; others are left out.
    pub fn by<'m, O: Shown + 'm>(tasks: impl IntoIterator<Item = &'m Memory<O>>) -> Self {
        let rows: Vec<Vec<f32>> =
            tasks.into_iter().filter_map(|task| Some(voted(task)?.1)).collect();
        let every = rows.len().div_ceil(KNOWN).max(1);
        Foretold(rows.into_iter().step_by(every).collect())
    }

    /// The chance with which a task is kept, 1 for one that asks something else.
    pub fn chance<O: Shown>(&self, task: &Memory<O>) -> f32 {
        let Some((all, right)) = voted(task) else { return 1.0 };
        let votes =
            |row: &[f32]| BEFOREHAND + self.0.iter().map(|own| kernel(own, row)).sum::<f32>();
        let least = all.iter().map(|row| votes(row)).fold(f32::INFINITY, f32::min);
        least / votes(&right)
    }

    /// Which of these tasks are kept; the seed decides.
    pub fn keeps<O: Shown + Sync>(&self, tasks: &[&Memory<O>], run_seed: u64) -> Vec<bool> {
        let chances: Vec<f32> = tasks.par_iter().map(|task| self.chance(task)).collect();
        let mut rng = seed::rng(run_seed);
        chances.into_iter().map(|chance| rng.random::<f32>() < chance).collect()
    }
}

/// The coordinates in the order of each candidate answer, and of the right one.
fn voted<O: Shown>(task: &Memory<O>) -> Option<(Vec<Vec<f32>>, Vec<f32>)> {
    let question = task.observation.question();
    if !matches!(question, Question::OrderPoints { .. }) {
        return None;
    }
    let all = inputs(&task.observation)?;
    let right = question.candidates().iter().position(|answer| *answer == task.answer)?;
    let right = all.get(right)?.clone();
    Some((all, right))
}

/// How much a task tells of another; nothing of itself.
fn kernel(own: &[f32], other: &[f32]) -> f32 {
    if own.len() != other.len() || own == other {
        return 0.0;
    }
    let squares: f32 = own.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum();
    (-squares / (2.0 * WIDTH * WIDTH)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::FrameId,
        task::{Answer, Pixel, TaskKind},
    };

    struct Seen(Question);

    impl Shown for Seen {
        fn question(&self) -> &Question {
            &self.0
        }

        fn picture_size(&self) -> (u32, u32) {
            (640, 480)
        }

        fn options(&self) -> Option<Vec<Vec<f32>>> {
            None
        }
    }

    /// Tasks of three random places; in so many of ten the lowest is nearest.
    fn tasks(seed: u64, lower_is_nearer: u32) -> Vec<Memory<Seen>> {
        let mut rng = seed::rng(seed);
        let mut task = |n: i64| {
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
            Memory {
                kind: TaskKind::Depth,
                frame_id: FrameId(n as u64),
                stamp_ns: n,
                place: 0,
                answer: Answer::Order(order.into_iter().collect()),
                observation: Seen(Question::OrderPoints { points: points.into_iter().collect() }),
            }
        };
        (0..3000).map(&mut task).collect()
    }

    /// Part of the tasks in which the lowest is nearest and the highest farthest.
    fn lower_is_nearer(tasks: &[&Memory<Seen>]) -> f64 {
        let fits = tasks.iter().filter(|task| {
            let Question::OrderPoints { points } = &task.observation.0 else { return false };
            let Answer::Order(order) = &task.answer else { return false };
            let rows: Vec<u32> = order.iter().map(|&i| points[usize::from(i)].y).collect();
            rows.is_sorted_by(|a, b| a >= b)
        });
        fits.count() as f64 / tasks.len() as f64
    }

    #[test]
    fn what_coordinates_foretell_is_asked_less_often() {
        let (known, asked) = (tasks(1, 5), tasks(2, 5));
        let asked: Vec<&Memory<Seen>> = asked.iter().collect();
        let keeps = Foretold::by(&known).keeps(&asked, 7);
        let kept: Vec<_> = asked.iter().zip(&keeps).filter(|(_, keep)| **keep).collect();
        let kept: Vec<&Memory<Seen>> = kept.into_iter().map(|(task, _)| *task).collect();
        let (before, after) = (lower_is_nearer(&asked), lower_is_nearer(&kept));
        assert!(before > 0.5 && after < before - 0.1, "{before} before, {after} after");
        assert!(kept.len() > asked.len() / 3, "{} kept", kept.len());
        assert_eq!(keeps, Foretold::by(&known).keeps(&asked, 7), "the same seed, the same tasks");
    }

    #[test]
    fn fair_tasks_and_few_tasks_are_nearly_all_kept() {
        let (fair, unfair) = (tasks(3, 0), tasks(4, 10));
        let kept = |known: &[Memory<Seen>], asked: &[Memory<Seen>]| {
            let asked: Vec<&Memory<Seen>> = asked.iter().collect();
            let keeps = Foretold::by(known).keeps(&asked, 1);
            keeps.iter().filter(|keep| **keep).count() as f64 / keeps.len() as f64
        };
        let (of_fair, of_few) = (kept(&fair, &fair), kept(&unfair[..10], &unfair));
        assert!(of_fair > 0.7 && of_few > 0.85, "{of_fair} {of_few}");
    }
}
