//! Making a task's metadata allocates nothing.
//!
//! Counted by the allocator itself, in this test program only: the library has no unsafe
//! code.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use image::{Rgb, RgbImage};
use spatial_ssrl::{
    frame::{FrameId, Registration, RgbdFrame, SensorModel},
    task::{PreparedFrame, Preset, TaskKind, TaskSet},
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.with(Cell::get);
    let result = work();
    (ALLOCATIONS.with(Cell::get) - before, result)
}

fn frame() -> RgbdFrame {
    let color = RgbImage::from_fn(320, 240, |x, y| {
        let blob = |a: u32, b: u32| ((x / a * 37 + y / b * 101 + x * y / 97) % 256) as u8;
        Rgb([blob(23, 17), blob(41, 29), blob(11, 53)])
    });
    RgbdFrame {
        id: FrameId(3),
        stamp_ns: 3,
        depth_stamp_ns: None,
        color,
        depth_m: None,
        intrinsics: None,
        registration: Registration::Unregistered,
    }
}

#[test]
fn making_colour_tasks_allocates_nothing() {
    let (counted, vec) = allocations(|| vec![1_u8; 100]);
    assert_eq!((counted, vec.len()), (1, 100), "the counter counts");

    let frame = frame();
    let prepared = PreparedFrame::new(&frame, SensorModel::default());
    for preset in [Preset::Balanced, Preset::Published] {
        let set = TaskSet::new(preset);
        for kind in [TaskKind::Reorder, TaskKind::Flip, TaskKind::Inpaint] {
            let mut made = 0;
            for number in 0..200 {
                let (counted, task) = allocations(|| set.make(&prepared, &kind, 9, number));
                assert_eq!(counted, 0, "{kind} {number} {preset:?}");
                made += u32::from(task.is_ok());
                if let Ok(task) = task {
                    let (counted, pieces) = allocations(|| {
                        (task.pieces(), task.question.candidates(), task.answer_index())
                    });
                    assert_eq!(counted, 0, "pieces and candidates of {kind}");
                    assert!(!pieces.0.is_empty());
                }
            }
            assert!(made > 150, "{kind} {preset:?}: {made}");
        }
    }
}
