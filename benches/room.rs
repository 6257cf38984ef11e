//! How fast the rendered room is, beside the limit that no renderer can pass: writing a
//! frame's colour, depth and intermediate buffers once.

use criterion::{Criterion, criterion_group, criterion_main};
use spatial_ssrl::source::room::{RoomKind, RoomSource, RoomSpec};

/// Bytes a pixel that a frame takes on its way: linear colour 12, exact and measured depth
/// 8, losses 1, solids 4, colour 3.
const BYTES: usize = 28;

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("room_frame_640x480");
    group.sample_size(20);
    for threads in [1, 2] {
        let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(threads).build() else { return };
        for (seed, kind) in (0..).zip(RoomKind::ALL) {
            let source = RoomSource::new(RoomSpec { seed, ..RoomSpec::default() });
            let mut number = 0;
            group.bench_function(format!("{kind:?}/{threads}_threads"), |b| {
                b.iter(|| {
                    number += 7;
                    pool.install(|| source.frame(number))
                });
            });
        }
    }
    group.bench_function("limit_write_buffers", |b| {
        b.iter(|| std::hint::black_box(vec![1u8; 640 * 480 * BYTES]));
    });
    group.finish();
}

fn rooms(c: &mut Criterion) {
    let mut group = c.benchmark_group("room_build");
    group.sample_size(10);
    group.bench_function("office", |b| {
        b.iter(|| RoomSource::new(RoomSpec { seed: 6, ..RoomSpec::default() }));
    });
    group.finish();
}

criterion_group!(benches, frames, rooms);
criterion_main!(benches);
