//! Whoever sees the markers' coordinates but no picture must not know the answer.
//!
//! A softmax regression on the coordinates, their differences, squares and products learns
//! on the tasks of the first 70 % of a real recording and is tested on those of its last
//! quarter. The published rules show that it finds a shortcut where there is one.

mod common;

use spatial_ssrl::{
    frame::{RgbdFrame, SensorModel},
    source::{self, SourceOptions},
    task::{
        Answer, Pixel, PreparedFrame, Preset, Question, Task, TaskKind, TaskSet,
        foretold::{Asked, Foretold, in_camera},
    },
};

const PER_FRAME: u64 = 24;
const EPOCHS: usize = 60;

/// Rows of inputs, one for each candidate answer, and which of them is right.
struct Example {
    rows: Vec<Vec<f32>>,
    right: usize,
}

fn place(point: Pixel, (width, height): (u32, u32)) -> [f32; 2] {
    [point.x as f32 / width as f32 * 2.0 - 1.0, point.y as f32 / height as f32 * 2.0 - 1.0]
}

/// All values and all products of two of them.
fn squares(values: &[f32]) -> Vec<f32> {
    let mut all = vec![1.0];
    all.extend_from_slice(values);
    for (i, a) in values.iter().enumerate() {
        all.extend(values[i..].iter().map(|b| a * b));
    }
    all
}

/// `values` in the part of a long row that belongs to class `at` of `n`, zeros elsewhere.
fn in_class(values: &[f32], at: usize, n: usize) -> Vec<f32> {
    let mut row = vec![0.0; values.len() * n];
    row[at * values.len()..(at + 1) * values.len()].copy_from_slice(values);
    row
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

fn example(task: &Task) -> Example {
    match (&task.question, &task.answer) {
        (Question::OrderPoints { points }, Answer::Order(order)) => {
            // Markers are renumbered from the highest to the lowest: their numbers say nothing.
            let mut by_row: Vec<usize> = (0..3).collect();
            by_row.sort_by_key(|&i| (points[i].y, points[i].x));
            let values: Vec<f32> =
                by_row.iter().flat_map(|&i| place(points[i], task.picture_size)).collect();
            let values = squares(&values);
            let named = |marker: u8| by_row.iter().position(|&i| i == usize::from(marker)).unwrap();
            let truth: Vec<usize> = order.iter().map(|&marker| named(marker)).collect();
            Example {
                rows: (0..6).map(|class| in_class(&values, class, 6)).collect(),
                right: ORDERS.iter().position(|order| order[..] == truth[..]).unwrap(),
            }
        }
        (
            Question::RelativePosition { observer, target, facing, options, .. },
            Answer::Choice(right),
        ) => {
            let (o, t) = (place(*observer, task.picture_size), place(*target, task.picture_size));
            let values = squares(&[o[0], o[1], t[0] - o[0], t[1] - o[1]]);
            let row = |option| in_class(&values, in_camera(option, *facing), 8);
            Example { rows: options.map(row).to_vec(), right: usize::from(*right) }
        }
        other => panic!("not a depth task: {other:?}"),
    }
}

fn scores(weights: &[f32], example: &Example) -> Vec<f32> {
    let dot = |row: &Vec<f32>| row.iter().zip(weights).map(|(a, b)| a * b).sum();
    example.rows.iter().map(dot).collect()
}

/// Stochastic gradient descent on the likelihood of the right candidate.
fn learn(train: &[Example]) -> Vec<f32> {
    let mut weights = vec![0.0_f32; train[0].rows[0].len()];
    for epoch in 0..EPOCHS {
        let rate = 0.1 * (1.0 - epoch as f32 / EPOCHS as f32);
        // A stride without a common divisor visits tasks of different frames in turn.
        for i in 0..train.len() {
            let example = &train[i * 7919 % train.len()];
            let scores = scores(&weights, example);
            let most = scores.iter().copied().fold(f32::MIN, f32::max);
            let exp: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
            let sum: f32 = exp.iter().sum();
            for (candidate, row) in example.rows.iter().enumerate() {
                let error = f32::from(candidate == example.right) - exp[candidate] / sum;
                let step = rate * error;
                for (weight, value) in weights.iter_mut().zip(row) {
                    if *value != 0.0 {
                        *weight += step * value;
                    }
                }
            }
        }
        weights.iter_mut().for_each(|weight| *weight *= 0.999);
    }
    weights
}

fn accuracy(weights: &[f32], tests: &[Example]) -> f64 {
    let right = tests.iter().filter(|example| {
        let scores = scores(weights, example);
        (0..scores.len()).all(|i| i == example.right || scores[i] < scores[example.right])
    });
    right.count() as f64 / tests.len() as f64
}

/// The tasks of these frames; of balanced ones those that the ones before do not foretell.
fn examples(
    frames: &[RgbdFrame],
    kind: &TaskKind,
    preset: Preset,
    before: &mut Foretold,
) -> Vec<Example> {
    let set = TaskSet::new(preset);
    let mut all = Vec::new();
    for frame in frames {
        let prepared = PreparedFrame::new(frame, SensorModel::default());
        let make = |number| set.make(&prepared, kind, 1, number).ok();
        let mut tasks: Vec<Task> = (0..PER_FRAME).filter_map(make).collect();
        if preset == Preset::Balanced {
            let made = tasks.clone();
            tasks.retain(|task| before.keeps(&Asked::from(task), task.seed));
            made.iter().for_each(|task| before.remember(&Asked::from(task)));
        }
        all.extend(tasks.iter().map(example));
    }
    all
}

/// How often the blind scorer is right on the last quarter, and on how many tasks.
fn blind(frames: &[RgbdFrame], kind: &TaskKind, preset: Preset) -> (f64, usize) {
    let mut before = Foretold::default();
    let train = examples(&frames[..frames.len() * 7 / 10], kind, preset, &mut before);
    let tests = examples(&frames[frames.len() * 3 / 4..], kind, preset, &mut before);
    assert!(train.len() > 700 && tests.len() > 300, "{} and {} tasks", train.len(), tests.len());
    (accuracy(&learn(&train), &tests), tests.len())
}

#[test]
fn coordinates_give_published_tasks_away_and_balanced_ones_not() {
    let Some(bag) = common::shared("data/tum-fr1-rpy-10hz") else { return };
    let mut source = source::open(bag.to_str().unwrap(), &SourceOptions::default()).unwrap();
    let (frames, _) = common::read_all(source.as_mut());
    let mut measured = Vec::new();
    for kind in [TaskKind::Depth, TaskKind::Position] {
        for preset in [Preset::Published, Preset::Balanced] {
            let (accuracy, n) = blind(&frames, &kind, preset);
            println!("{kind} {preset:?}: blind {accuracy:.3} on {n} tasks");
            measured.push(accuracy);
        }
    }
    // Chance is 1/6 and 1/4.
    assert!(measured[0] > 0.40, "the scorer finds no shortcut in published depth orders");
    assert!(measured[1] < 1.0 / 6.0 + 0.05, "balanced depth orders: blind {:.3}", measured[1]);
    assert!(measured[2] > 0.60, "the scorer finds no shortcut in published positions");
    assert!(measured[3] < 0.30, "balanced positions: blind {:.3}", measured[3]);
}
