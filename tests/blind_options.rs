//! What can be said about an inpainting task's answer from its four options alone, without
//! the picture: much as published, nothing useful when balanced.
//!
//! Each scorer gives one number an option and picks the highest, or the lowest. Scorers
//! judge options singly (sharpness at several scales, contrast, brightness, what stands
//! upright) and against the others (which is most like all of them, which is the odd one).

mod common;

use image::{RgbImage, imageops};
use spatial_ssrl::{
    frame::{RgbdFrame, SensorModel},
    source::{self, SourceOptions},
    task::{Answer, PreparedFrame, Preset, TaskKind, TaskSet, draw::Painter},
};

const SCORERS: [&str; 10] = [
    "sharpness",
    "sharpness at half size",
    "sharpness at an eighth",
    "contrast",
    "brightness",
    "brighter above than below",
    "horizontal against vertical edges",
    "distance from the others' colours",
    "distance from the others' edges",
    "distance from the others",
];

fn grey(picture: &RgbImage, side: u32) -> Vec<Vec<f64>> {
    let small = imageops::resize(picture, side, side, imageops::FilterType::Triangle);
    let rows = small
        .rows()
        .map(|row| row.map(|p| p.0.iter().map(|&v| f64::from(v)).sum::<f64>() / 3.0).collect());
    rows.collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0.0, 0.0), |(n, sum), v| (n + 1.0, sum + v));
    sum / f64::max(n, 1.0)
}

/// Mean squared differences along rows and along columns.
fn edges(grey: &[Vec<f64>]) -> (f64, f64) {
    let across = grey.iter().flat_map(|row| row.windows(2).map(|p| (p[1] - p[0]).powi(2)));
    let down = grey.windows(2).flat_map(|rows| {
        rows[0].iter().zip(&rows[1]).map(|(a, b)| (b - a).powi(2)).collect::<Vec<_>>()
    });
    (mean(across), mean(down))
}

fn look(picture: &RgbImage) -> Vec<f64> {
    let levels = [64, 32, 8].map(|side| grey(picture, side));
    let sharp = levels.each_ref().map(|grey| {
        let (across, down) = edges(grey);
        across + down
    });
    let coarse = &levels[2];
    let brightness = mean(coarse.iter().flatten().copied());
    let contrast = mean(coarse.iter().flatten().map(|v| (v - brightness).powi(2)));
    let above = mean(coarse[..4].iter().flatten().copied());
    let (across, down) = edges(&levels[1]);
    vec![
        sharp[0],
        sharp[1],
        sharp[2],
        contrast,
        brightness,
        above - brightness,
        (across + 1.0).ln() - (down + 1.0).ln(),
    ]
}

/// The scores of the four options under every scorer, `[scorer][option]`.
fn scores(options: &[RgbImage]) -> Vec<Vec<f64>> {
    let looks: Vec<Vec<f64>> = options.iter().map(look).collect();
    let coarse: Vec<Vec<f64>> =
        options.iter().map(|o| grey(o, 8).into_iter().flatten().collect()).collect();
    let distance = |a: usize, f: &dyn Fn(usize, usize) -> f64| {
        (0..options.len()).filter(|&b| b != a).map(|b| f(a, b)).sum::<f64>()
    };
    let mut scores: Vec<Vec<f64>> =
        (0..7).map(|i| looks.iter().map(|look| look[i]).collect()).collect();
    let every = 0..options.len();
    scores.push(
        every.clone().map(|a| distance(a, &|a, b| (looks[a][4] - looks[b][4]).abs())).collect(),
    );
    scores.push(
        every.clone().map(|a| distance(a, &|a, b| (looks[a][6] - looks[b][6]).abs())).collect(),
    );
    let apart =
        |a: usize, b: usize| mean(coarse[a].iter().zip(&coarse[b]).map(|(x, y)| (x - y).abs()));
    scores.push(every.map(|a| distance(a, &apart)).collect());
    scores
}

/// 1 for a lone right winner, a share of it for a tie.
fn credit(scores: &[f64], right: usize, sign: f64) -> f64 {
    let best = scores.iter().map(|s| sign * s).fold(f64::NEG_INFINITY, f64::max);
    let slack = 1e-3 * best.abs().max(1e-3);
    let winners: Vec<usize> =
        (0..scores.len()).filter(|&i| sign * scores[i] >= best - slack).collect();
    if winners.contains(&right) { 1.0 / winners.len() as f64 } else { 0.0 }
}

/// The best scorer's name and its share of right answers.
fn best_blind(frames: &[RgbdFrame], preset: Preset, per_frame: u64) -> (String, f64, usize) {
    let set = TaskSet::new(preset);
    let mut painter = Painter::default();
    let mut sums = vec![[0.0; 2]; SCORERS.len()];
    let mut n = 0;
    for frame in frames {
        let prepared = PreparedFrame::new(frame, SensorModel::default());
        for number in 0..per_frame {
            let Ok(task) = set.make(&prepared, &TaskKind::Inpaint, 4, number) else { continue };
            let Answer::Choice(right) = task.answer else { unreachable!() };
            let pictures = painter.pictures(&task, frame).unwrap();
            n += 1;
            for (sum, scores) in sums.iter_mut().zip(scores(&pictures[1..])) {
                sum[0] += credit(&scores, right.into(), 1.0);
                sum[1] += credit(&scores, right.into(), -1.0);
            }
        }
    }
    let mut best = (String::new(), 0.0, n);
    for (name, sum) in SCORERS.iter().zip(sums) {
        for (direction, sum) in ["highest", "lowest"].iter().zip(sum) {
            let share = sum / n as f64;
            if share > best.1 {
                best = (format!("{direction} {name}"), share, n);
            }
        }
    }
    best
}

fn check(name: &str, frames: &[RgbdFrame], per_frame: u64) {
    let (scorer, share, n) = best_blind(frames, Preset::Balanced, per_frame);
    println!("{name}, balanced: {scorer} is right in {:.1} % of {n}", 100.0 * share);
    assert!(n > 300, "{name}: {n} tasks");
    assert!(share < 0.35, "{name}: {scorer} is right in {:.1} %", 100.0 * share);
    let (scorer, share, n) = best_blind(frames, Preset::Published, per_frame / 3);
    println!("{name}, published: {scorer} is right in {:.1} % of {n}", 100.0 * share);
    assert!(share > 0.35, "{name}: the scorers must be able to find the published shortcut");
}

#[test]
fn options_alone_do_not_give_balanced_inpainting_away_in_a_rendered_room() {
    let mut room = source::open("room:seed=5,frames=40", &SourceOptions::default()).unwrap();
    check("rendered room", &common::read_all(&mut *room).0, 15);
}

#[test]
fn options_alone_do_not_give_balanced_inpainting_away_in_real_frames() {
    let Some(folder) = common::shared("data/tum-fr1-rpy") else { return };
    let folder = folder.to_string_lossy().into_owned();
    let mut recording = source::open(&folder, &SourceOptions::default()).unwrap();
    check("real frames", &common::read_all(&mut *recording).0, 15);
}
