//! Tasks of all kinds with what a policy sees of them.

use spatial_ssrl::{
    frame::{RgbdFrame, SensorModel},
    source::{self, SourceOptions},
    task::{PreparedFrame, Preset, Task, TaskSet},
};

/// Every `step`-th frame of a source, at most `count`.
pub fn frames(spec: &str, count: usize, step: usize) -> Vec<RgbdFrame> {
    let mut source = source::open(spec, &SourceOptions::default()).unwrap();
    let frames = std::iter::from_fn(|| source.next_frame().unwrap());
    frames.step_by(step).take(count).collect()
}

/// `per_kind` tasks of each kind, from all frames alike; those of one frame together.
pub fn tasks(frames: &[RgbdFrame], per_kind: u64) -> Vec<(&RgbdFrame, Vec<Task>)> {
    let set = TaskSet::new(Preset::Balanced);
    let prepared: Vec<_> =
        frames.iter().map(|frame| PreparedFrame::new(frame, SensorModel::default())).collect();
    let mut made: Vec<(&RgbdFrame, Vec<Task>)> = frames.iter().map(|f| (f, Vec::new())).collect();
    for kind in set.kinds() {
        let mut left = per_kind;
        'numbers: for number in 0..200 {
            for ((_, tasks), prepared) in made.iter_mut().zip(&prepared) {
                if let Ok(task) = set.make(prepared, &kind, 5, number) {
                    tasks.push(task);
                    left -= 1;
                    if left == 0 {
                        break 'numbers;
                    }
                }
            }
        }
        assert_eq!(left, 0, "{left} tasks of {kind} could not be made");
    }
    made
}
