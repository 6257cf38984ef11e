//! How long answers take, idle and while a learner runs beside them.
//!
//! The second part measures single answers (encode a picture, order two pixels) in short
//! blocks with the learner stopped and running by turns, so that both see the same machine, and
//! prints p50, p99 and their ratios. Once the learner has a thread pool of its own with one
//! thread at low priority, as it should, and once the pool that everything shares.

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use burn::tensor::Device;
use criterion::{Criterion, criterion_group, criterion_main};
use spatial_ssrl::{
    adapt::{LearnConfig, Trainer},
    frame::{RgbdFrame, SensorModel},
    grpo::GrpoConfig,
    policy::compact::CompactPolicy,
    sense::{DepthSample, SpatialSense},
    source::{
        FrameSource,
        room::{RoomSource, RoomSpec},
    },
    task::{Pixel, TaskSet},
};

/// Answers in a block, and blocks of each kind.
const ANSWERS: usize = 40;
const BLOCKS: usize = 8;

fn frames(count: u32) -> Vec<RgbdFrame> {
    let mut room = RoomSource::new(RoomSpec { frames: count, ..RoomSpec::default() });
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = room.next_frame() {
        frames.push(frame);
    }
    frames
}

fn questions(c: &mut Criterion) {
    let (Ok(sense), Some(frame)) = (SpatialSense::builtin(), frames(1).pop()) else { return };
    let picture = &frame.color;
    let Ok(look) = sense.look(picture) else { return };
    let pixels: Vec<Pixel> = (0..20).map(|i| Pixel { x: 30 * i, y: 20 * i }).collect();
    let known: Vec<DepthSample> = pixels
        .iter()
        .map(|&pixel| DepthSample { pixel, depth_m: 1.0 + pixel.y as f32 / 200.0 })
        .collect();
    let mut group = c.benchmark_group("ask_640x480");
    group.sample_size(20);
    group.bench_function("look", |b| b.iter(|| sense.look(picture).is_ok()));
    group.bench_function("order_2", |b| b.iter(|| look.order(&pixels[..2])));
    group.bench_function("order_20", |b| b.iter(|| look.order(&pixels)));
    group.bench_function("distance_20_known", |b| b.iter(|| look.distance(&known, &pixels)));
    group.bench_function("map", |b| b.iter(|| look.map()));
    group.bench_function("orientation", |b| b.iter(|| look.orientation()));
    // The limit: what encoding alone takes at the size that a look encodes.
    let size = sense.skill().config().encoder.whole_size;
    let small = image::imageops::thumbnail(picture, size[0], size[1]);
    let encoder = sense.skill().encoder();
    group.bench_function("limit_encode", |b| b.iter(|| encoder.encode(&small).is_ok()));
    group.finish();
}

/// How a learner runs beside the answers.
#[derive(Clone, Copy)]
enum Beside {
    OwnPoolLowPriority,
    SharedPool,
}

fn beside_a_learner(_: &mut Criterion) {
    for (name, beside) in [
        ("own pool of one thread, nice 19", Beside::OwnPoolLowPriority),
        ("the shared pool", Beside::SharedPool),
    ] {
        match measure(beside) {
            Some((idle, busy, steps)) => {
                let [idle, busy] = [idle, busy].map(Latencies::of);
                println!(
                    "ask beside a learner in {name} ({steps} updates): idle p50 {:.1} ms, p99 \
                     {:.1} ms; learning p50 {:.1} ms, p99 {:.1} ms; ratio p50 {:.2}, p99 {:.2}",
                    idle.p50_ms,
                    idle.p99_ms,
                    busy.p50_ms,
                    busy.p99_ms,
                    busy.p50_ms / idle.p50_ms,
                    busy.p99_ms / idle.p99_ms
                );
            }
            None => println!("ask beside a learner in {name}: could not be set up"),
        }
    }
}

struct Latencies {
    p50_ms: f64,
    p99_ms: f64,
}

impl Latencies {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort();
        let at = |part: f64| {
            let place = ((all.len() as f64 * part) as usize).min(all.len().saturating_sub(1));
            all.get(place).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
        };
        Latencies { p50_ms: at(0.5), p99_ms: at(0.99) }
    }
}

type Measured = (Vec<Duration>, Vec<Duration>, u64);

fn measure(beside: Beside) -> Option<Measured> {
    let frames = frames(6);
    let sense = SpatialSense::builtin().ok()?;
    let config = LearnConfig { views: 4, ..LearnConfig::default() };
    let policy = CompactPolicy::builtin(Device::flex()).ok()?;
    let mut learner = Trainer::new(
        policy,
        TaskSet::default(),
        SensorModel::default(),
        config,
        GrpoConfig { group_size: 16, kl_coef: 0.0, ..GrpoConfig::default() },
        1,
    );
    learner.offer_frames(&frames[..2]).ok()?;
    let (learning, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    let answer = |frame: &RgbdFrame| {
        let started = Instant::now();
        let points = [Pixel { x: 100, y: 400 }, Pixel { x: 500, y: 100 }];
        black_box(sense.look(&frame.color).and_then(|look| look.order(&points)).is_ok());
        started.elapsed()
    };
    let steps = std::thread::scope(|scope| {
        let learn = || {
            let mut steps = 0;
            while !done.load(Ordering::Relaxed) {
                if !learning.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
                // New frames come in now and then; most of the time goes into updates.
                if steps % 50 == 0 {
                    let at = (steps / 50) as usize % frames.len();
                    let _ = learner.offer_frame(&frames[at]);
                }
                let _ = learner.step();
                steps += 1;
            }
            steps
        };
        let learner = match beside {
            Beside::SharedPool => scope.spawn(learn),
            Beside::OwnPoolLowPriority => {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(1)
                    .start_handler(|_| lower_priority())
                    .build();
                let Ok(pool) = pool else { return 0 };
                scope.spawn(move || pool.install(learn))
            }
        };
        (0..20).for_each(|_| {
            answer(&frames[0]);
        });
        for _ in 0..BLOCKS {
            for (on, times) in [(false, &mut idle), (true, &mut busy)] {
                learning.store(on, Ordering::Relaxed);
                // A step that is under way ends, or the caches fill.
                std::thread::sleep(Duration::from_millis(600));
                times.extend((0..ANSWERS).map(|i| answer(&frames[i % frames.len()])));
            }
        }
        learning.store(false, Ordering::Relaxed);
        done.store(true, Ordering::Relaxed);
        learner.join().unwrap_or(0)
    });
    (!idle.is_empty()).then_some((idle, busy, steps))
}

/// Linux gives every thread its own priority, and renice takes a thread's number.
fn lower_priority() {
    let thread = std::fs::read_link("/proc/thread-self").ok();
    let number = thread.as_ref().and_then(|path| path.file_name()).map(ToOwned::to_owned);
    let lowered = number.and_then(|number| {
        let mut renice = std::process::Command::new("renice");
        renice.args(["-n", "19", "-p"]).arg(number).stdout(std::process::Stdio::null());
        renice.status().ok()
    });
    if !lowered.is_some_and(|status| status.success()) {
        println!("(the learner's priority could not be lowered here)");
    }
}

criterion_group!(benches, questions, beside_a_learner);
criterion_main!(benches);
