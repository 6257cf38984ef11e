//! Tasks a second on one core for the three colour tasks, their pictures made in memory
//! from one 640x480 frame, beside the times of the published generators.
//!
//! The frame is a real one when `SPATIAL_SSRL_SHARED` (default `../shared`) holds the
//! recording `tum-fr1-rpy`, else a synthetic one.

use std::{hint::black_box, path::PathBuf, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use image::{Rgb, RgbImage};
use spatial_ssrl::{
    frame::{FrameId, Registration, RgbdFrame, SensorModel},
    task::{PreparedFrame, Preset, TaskKind, TaskSet, draw::Painter},
};

/// Seconds a task of the published Python generators on one core of a two-core machine,
/// picture reading and JPEG writing included (inpainting on 902x1186 pictures).
const PUBLISHED_SECONDS: [(&str, f64); 3] =
    [("reorder", 0.078), ("flip", 0.059), ("inpaint", 0.065)];

/// What the design asks for.
const NEEDED_PER_SECOND: f64 = 500.0;

fn frame() -> (RgbdFrame, &'static str) {
    let shared = std::env::var_os("SPATIAL_SSRL_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")),
        PathBuf::from,
    );
    let folder = shared.join("data/tum-fr1-rpy/rgb");
    let mut pictures: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    pictures.sort();
    let real = pictures.first().and_then(|path| image::open(path).ok());
    let (color, name) = real.map_or_else(|| (synthetic(), "synthetic"), |p| (p.to_rgb8(), "real"));
    let frame = RgbdFrame {
        id: FrameId(1),
        stamp_ns: 1,
        depth_stamp_ns: None,
        color,
        depth_m: None,
        intrinsics: None,
        registration: Registration::Unregistered,
    };
    (frame, name)
}

fn synthetic() -> RgbImage {
    RgbImage::from_fn(640, 480, |x, y| {
        let wave = |a: f32, b: f32| (128.0 + 100.0 * (x as f32 * a + y as f32 * b).sin()) as u8;
        Rgb([wave(0.013, 0.021), wave(0.031, -0.017), wave(0.005, 0.043)])
    })
}

fn colour_tasks(criterion: &mut Criterion) {
    let (frame, name) = frame();
    let (width, height) = frame.color.dimensions();
    println!("frame: {name}, {width}x{height}; needed: {NEEDED_PER_SECOND} tasks/s");
    for (kind, seconds) in PUBLISHED_SECONDS {
        println!("published generator, {kind}: {:.1} tasks/s", 1.0 / seconds);
    }
    let prepared = PreparedFrame::new(&frame, SensorModel::default());
    for preset in [Preset::Balanced, Preset::Published] {
        let set = TaskSet::new(preset);
        let mut group = criterion.benchmark_group(format!("{preset:?}").to_lowercase());
        group.throughput(Throughput::Elements(1)).sample_size(20);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        for kind in [TaskKind::Reorder, TaskKind::Flip, TaskKind::Inpaint] {
            let mut number = 0;
            group.bench_function(format!("{kind}, metadata"), |bencher| {
                bencher.iter(|| {
                    number += 1;
                    black_box(set.make(&prepared, &kind, 1, number))
                });
            });
            let mut painter = Painter::default();
            group.bench_function(format!("{kind}, with pictures"), |bencher| {
                bencher.iter(|| {
                    number += 1;
                    let task = set.make(&prepared, &kind, 1, number);
                    task.map(|task| black_box(painter.pictures(&task, &frame).is_ok()))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, colour_tasks);
criterion_main!(benches);
