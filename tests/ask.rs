//! What a policy knows, asked through the real binary and through the library, on real frames.

mod common;

use std::{path::Path, process::Command};

use burn::tensor::Device;
use common::shared;
use image::{RgbImage, imageops};
use rand::RngExt;
use serde_json::Value;
use spatial_ssrl::{
    adapt::replay::{Begin, Job, RunConfig, Watch, replay},
    frame::RgbdFrame,
    sense::{DepthSample, SpatialSense},
    source::{
        self, FrameSource, SourceError, SourceOptions,
        room::{RoomSource, RoomSpec},
    },
    task::{Pixel, Rect, seed},
};

fn run(args: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_spatial-ssrl")).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

fn asked(picture: &str, question: &[&str]) -> Value {
    let (code, stdout, stderr) = run(&[&["ask", picture, "--json"], question].concat());
    assert_eq!(code, 0, "{question:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

fn frames(path: &Path, options: &SourceOptions) -> Vec<RgbdFrame> {
    let mut source = source::open(path.to_str().unwrap(), options).unwrap();
    std::iter::from_fn(move || source.next_frame().unwrap()).collect()
}

#[test]
fn every_question_is_answered_in_text_and_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut room = RoomSource::new(RoomSpec { frames: 1, ..RoomSpec::default() });
    let color = room.next_frame().unwrap().unwrap().color;
    let picture = path("picture.png");
    color.save(&picture).unwrap();

    let order = asked(&picture, &["order", "320,450", "320,240", "10,10"]);
    assert_eq!(order["nearest_first"].as_array().unwrap().len(), 3);
    assert_eq!(order["neighbours"].as_array().unwrap().len(), 2);
    assert!(order["neighbours"][0]["probability"].as_f64().unwrap() >= 0.5);

    let map = path("map.png");
    assert_eq!(asked(&picture, &["map", "--out", &map])["near"], "red");
    assert_eq!(image::open(&map).unwrap().into_rgb8().dimensions(), color.dimensions());

    let camera = ["--intrinsics", "525,525,319.5,239.5"];
    let ask = ["position", "--observer", "100,400", "--target", "500,300", "--facing", "left"];
    let metric = asked(&picture, &[&ask[..], &camera[..]].concat());
    let total: f64 =
        metric["directions"].as_object().unwrap().values().map(|p| p.as_f64().unwrap()).sum();
    assert!((total - 1.0).abs() < 1e-4);
    assert_eq!(metric["rule"], "metric");
    assert_eq!(asked(&picture, &ask)["rule"], "pixel");

    let upside_down = asked(&picture, &["orientation"])["upside_down"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&upside_down));

    let crop = imageops::crop_imm(&color, 200, 120, 240, 240).to_image();
    let (right, wrong) = (path("right.png"), path("wrong.jpg"));
    crop.save(&right).unwrap();
    imageops::rotate90(&crop).save(&wrong).unwrap();
    let filled = asked(&picture, &["hole", "200,120,240,240", &wrong, &right]);
    assert_eq!(filled["crops"].as_array().unwrap().len(), 2);

    let distance = asked(
        &picture,
        &["distance", "--known", "320,450,1.0", "320,100,3.0", "--at", "320,240", "10,10"],
    );
    assert_eq!(distance["distances"].as_array().unwrap().len(), 2);
    assert!(distance["distances"][0]["error_m"].as_f64().unwrap() > 0.0);

    let (code, text, _) = run(&["ask", &picture, "order", "320,450", "320,240"]);
    assert!(code == 0 && text.starts_with("nearest to farthest\n"), "{text}");

    let small = path("small.png");
    RgbImage::new(40, 300).save(&small).unwrap();
    for (args, reason) in [
        (vec!["ask", &picture, "order", "1,1", "640,2"], "pixel 640,2 is not in the 640x480"),
        (vec!["ask", &small, "order", "1,1", "2,2"], "40x300; at least 64 pixels"),
        (vec!["ask", "/no/such.png", "orientation"], "/no/such.png"),
        (vec!["ask", &picture, "hole", "0,0,640,480", &right, &wrong], "leave something"),
        (vec!["ask", &picture, "--policy", "/no/run", "orientation"], "adapt --out RUN"),
        (
            vec!["ask", &picture, "position", "--observer=1,1", "--target=1,1", "--facing=left"],
            "both at 1,1",
        ),
    ] {
        let (code, stdout, stderr) = run(&args);
        assert_eq!(code, 1, "{args:?}: {stderr}");
        assert!(stderr.contains(reason) && stdout.is_empty(), "{args:?}: {stderr}");
    }
}

#[test]
fn pictures_of_any_shape_are_looked_at() {
    let sense = SpatialSense::builtin().unwrap();
    for (width, height) in [(64, 64), (1920, 300), (96, 1000)] {
        let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let look = sense.look(&picture).unwrap();
        let corner = Pixel { x: width - 1, y: height - 1 };
        assert_eq!(look.order(&[Pixel { x: 0, y: 0 }, corner]).unwrap().farness().len(), 2);
        assert_eq!(look.map().unwrap().false_colour().dimensions(), (width, height));
        look.orientation().unwrap();
    }
}

/// In real pictures of a place that the shipped policy has learnt from.
#[test]
fn upright_is_told_from_upside_down_and_holes_are_filled_in_real_pictures() {
    let Some(stills) = shared("data/d435-felixchenfy") else { return };
    let sense = SpatialSense::builtin().unwrap();
    let (mut upright, mut filled, mut all) = (0, 0, 0);
    for frame in frames(&stills, &SourceOptions::default()) {
        let turned = imageops::rotate180(&frame.color);
        let ask = |picture| sense.look(picture).unwrap().orientation().unwrap().upside_down;
        upright += usize::from(ask(&frame.color) < 0.5) + usize::from(ask(&turned) > 0.5);
        let hole = Rect { x: 180, y: 60, width: 240, height: 240 };
        let crop = imageops::crop_imm(&frame.color, 180, 60, 240, 240).to_image();
        let crops = [
            imageops::rotate90(&crop),
            imageops::rotate180(&crop),
            crop.clone(),
            imageops::rotate270(&crop),
        ];
        let look = sense.look(&frame.color).unwrap();
        filled += usize::from(look.hole(hole, &crops).unwrap().best().0 == 2);
        all += 1;
    }
    println!("{all} pictures: upright told in {upright} of {}, holes {filled}", 2 * all);
    assert!(upright * 10 >= 2 * all * 8 && filled * 10 >= all * 7);
}

struct Quiet;

impl Watch for Quiet {
    fn phase(&mut self, _: &str, _: &str, _: Option<u64>) {}
    fn advance(&mut self, _: u64) {}
    fn step(&mut self, _: &spatial_ssrl::adapt::trainer::Step) {}
    fn stopped(&self) -> bool {
        false
    }
}

/// A short run on the first part of a recording; answers are checked on its last part.
#[test]
fn a_policy_orders_and_measures_the_room_that_it_learnt_in() {
    let Some(bag) = shared("data/tum-fr1-rpy-10hz") else { return };
    let spec = bag.to_str().unwrap();
    let mut config = RunConfig::default();
    config.tasks.kinds = vec!["depth".to_owned(), "position".to_owned()];
    config.learn.max_views = 300;
    config.learn.steps = 500;
    let open = || {
        let mut source = source::open(spec, &SourceOptions::default())?;
        Ok::<_, SourceError>(Box::new(move || source.next_frame()) as _)
    };
    let job = Job {
        source: spec,
        config: &config,
        begin: Begin::Random,
        checkpoints: None,
        extent: None,
        budget: None,
        device: Device::flex(),
    };
    let (learner, _) = replay(job, open, &mut Quiet).unwrap();
    let sense = SpatialSense::new(learner.policy());

    let mut rng = seed::rng(11);
    let (mut pairs, mut right, mut said) = (0_u32, 0_u32, 0.0);
    let (mut errors, mut baseline, mut within) = (Vec::new(), Vec::new(), 0_u32);
    let held_out: Vec<RgbdFrame> =
        frames(&bag, &SourceOptions::default()).into_iter().skip(179).step_by(5).collect();
    for frame in &held_out {
        let depth_m = frame.usable_depth_m().unwrap();
        let look = sense.look(&frame.color).unwrap();
        let mut draw = || loop {
            let x = rng.random_range(0..frame.width());
            let y = rng.random_range(0..frame.height());
            let z_m = depth_m[[y as usize, x as usize]];
            if z_m.is_finite() {
                break (Pixel { x, y }, z_m);
            }
        };
        for _ in 0..150 {
            let ((a, a_m), (b, b_m)) = (draw(), draw());
            if (a_m - b_m).abs() < 0.3 || (a_m - b_m).abs() < 0.1 * a_m.min(b_m) {
                continue;
            }
            let order = look.order(&[a, b]).unwrap();
            pairs += 1;
            right += u32::from((order.nearest_first()[0] == 0) == (a_m < b_m));
            said += order.probability();
        }
        // Twenty known depths, every fifth of them wrong.
        let mut known = Vec::new();
        for i in 0..20 {
            let (pixel, z_m) = draw();
            let wrong = if i % 5 == 0 { [0.4, 0.6, 1.8, 2.5][i / 5] } else { 1.0 };
            known.push(DepthSample { pixel, depth_m: z_m * wrong });
        }
        let mut sorted: Vec<f32> = known.iter().map(|sample| sample.depth_m).collect();
        sorted.sort_by(f32::total_cmp);
        let asked: Vec<(Pixel, f32)> = (0..100).map(|_| draw()).collect();
        let pixels: Vec<Pixel> = asked.iter().map(|(pixel, _)| *pixel).collect();
        for (found, (_, z_m)) in look.distance(&known, &pixels).unwrap().at.iter().zip(&asked) {
            errors.push((found.depth_m / z_m - 1.0).abs());
            baseline.push((sorted[10] / z_m - 1.0).abs());
            within += u32::from((found.depth_m - z_m).abs() <= found.error_m);
        }
    }
    let median = |values: &mut Vec<f32>| {
        values.sort_by(f32::total_cmp);
        values[values.len() / 2]
    };
    let accuracy = f64::from(right) / f64::from(pairs);
    let said = said / f64::from(pairs);
    let share = f64::from(within) / errors.len() as f64;
    let (error, baseline) = (median(&mut errors), median(&mut baseline));
    println!(
        "{pairs} pairs: right {accuracy:.3}, said {said:.3}; distance off by {error:.3}, the \
         samples' median by {baseline:.3}, within the error {share:.2}"
    );
    assert!(accuracy >= 0.85, "pairs at least 0.3 m and 10 % apart: {accuracy}");
    assert!((accuracy - said).abs() < 0.08, "right {accuracy}, said {said}");
    assert!(error < 0.7 * baseline, "{error} against {baseline}");
    assert!((0.55..0.95).contains(&share), "{share} within one standard error");
}
