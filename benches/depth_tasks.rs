//! The region index and the two depth tasks on one core, metadata only (drawing is measured
//! with the colour tasks), beside the times of the published generators.
//!
//! The frame is a real one when `SPATIAL_SSRL_SHARED` (default `../shared`) holds the
//! recording `tum-fr1-rpy`, else a synthetic desk.

use std::{hint::black_box, path::PathBuf, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use image::RgbImage;
use spatial_ssrl::{
    frame::{DepthMap, FrameId, Intrinsics, Registration, RgbdFrame, SensorModel},
    task::{PreparedFrame, Preset, TaskKind, TaskSet, regions::RegionIndex},
};

/// Seconds a task of the published Python generators on one core of a two-core machine,
/// picture reading and JPEG writing included (depth on 1024x768, position on 1600x1064
/// pictures; position takes 11 to 32 s).
const PUBLISHED_SECONDS: [(&str, f64); 2] = [("depth", 1.3), ("position", 11.0)];

/// What the design asks for, drawing included.
const NEEDED_PER_SECOND: f64 = 1000.0;

fn frame() -> (RgbdFrame, &'static str) {
    let shared = std::env::var_os("SPATIAL_SSRL_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")),
        PathBuf::from,
    );
    let folder = shared.join("data/tum-fr1-rpy/depth");
    let mut pictures: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    pictures.sort();
    let real = pictures.first().and_then(|path| image::open(path).ok()).map(|picture| {
        let picture = picture.to_luma16();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        DepthMap::from_shape_fn((height, width), |(y, x)| {
            match picture.get_pixel(x as u32, y as u32).0[0] {
                0 => f32::NAN,
                value => f32::from(value) / 5000.0,
            }
        })
    });
    let (depth_m, name) = real.map_or_else(|| (desk(), "synthetic"), |depth| (depth, "real"));
    let (height, width) = depth_m.dim();
    let (width, height) = (width as u32, height as u32);
    let frame = RgbdFrame {
        id: FrameId(1),
        stamp_ns: 1,
        depth_stamp_ns: Some(1),
        color: RgbImage::new(width, height),
        depth_m: Some(depth_m),
        intrinsics: Intrinsics::new(width, height, 517.3, 516.5, 318.6, 255.3).ok(),
        registration: Registration::Registered,
    };
    (frame, name)
}

/// Boxes at many depths before a floor.
fn desk() -> DepthMap {
    DepthMap::from_shape_fn((480, 640), |(y, x)| {
        let floor = 3.5 - 2.5 * y as f32 / 480.0;
        let block = (x / 60 * 7 + y / 60 * 13) % 9;
        if block < 5 { 0.8 + 0.5 * block as f32 } else { floor }
    })
}

fn depth_tasks(criterion: &mut Criterion) {
    let (frame, name) = frame();
    println!(
        "frame: {name}, {}x{}; needed: {NEEDED_PER_SECOND} tasks/s",
        frame.width(),
        frame.height()
    );
    for (kind, seconds) in PUBLISHED_SECONDS {
        println!("published generator, {kind}: {:.2} tasks/s", 1.0 / seconds);
    }
    let sensor = SensorModel::default();
    let Some(depth_m) = frame.depth_m.as_ref() else { return };
    criterion.bench_function("region index", |b| {
        b.iter(|| RegionIndex::build(black_box(depth_m), sensor))
    });
    let mut group = criterion.benchmark_group("depth tasks");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3));
    for preset in [Preset::Balanced, Preset::Published] {
        let set = TaskSet::new(preset);
        let prepared = PreparedFrame::new(&frame, sensor);
        for kind in [TaskKind::Depth, TaskKind::Position] {
            let made = (0..200).filter(|&n| set.make(&prepared, &kind, 1, n).is_ok()).count();
            println!("{kind} {preset:?}: {made} of 200 seeds make a task");
            let mut number = 0;
            group.bench_function(format!("{kind} {preset:?}"), |b| {
                b.iter(|| {
                    number += 1;
                    set.make(black_box(&prepared), &kind, 1, number)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, depth_tasks);
criterion_main!(benches);
