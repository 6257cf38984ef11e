//! Which tasks a person gets to see: an even choice over a whole data set that is only seen
//! once, in bounded memory.

use std::collections::BTreeMap;

use crate::{
    frame::RgbdFrame,
    task::{Task, TaskKind, seed::mix},
};

/// Tasks kept of each kind.
pub const TASKS_A_KIND: usize = 12;
/// The pictures that are kept take at most this, all kinds together; few of very large ones.
const MAX_BYTES: usize = 192 << 20;

/// Keeps a few tasks of each kind with their frames (colour alone).
///
/// Which ones depends on their seeds alone: every task is as likely, and the order in which
/// they come does not matter.
#[derive(Default)]
pub struct Sampler {
    kinds: BTreeMap<TaskKind, BTreeMap<u64, (Task, RgbdFrame)>>,
}

impl Sampler {
    /// Considers a task.
    pub fn offer(&mut self, task: &Task, frame: &RgbdFrame) {
        let picture = frame.color.as_raw().len().max(1);
        let room = (MAX_BYTES / TaskKind::BUILTIN.len() / picture).clamp(1, TASKS_A_KIND);
        // Mixed with the frame, so that a user's own source that ignores its seed is sampled
        // evenly too.
        let rank = mix(task.seed, task.frame_id.0);
        let kept = match self.kinds.get_mut(&task.kind) {
            Some(kept) => kept,
            None => self.kinds.entry(task.kind.clone()).or_default(),
        };
        let last = kept.last_key_value().map(|(last, _)| *last);
        if kept.len() >= room && last.is_some_and(|last| rank >= last) {
            return;
        }
        let shown = RgbdFrame { color: frame.color.clone(), depth_m: None, ..*frame };
        kept.insert(rank, (task.clone(), shown));
        while kept.len() > room {
            kept.pop_last();
        }
    }

    /// What was kept, by kind, in the order of stamps.
    pub fn kept(&self) -> impl Iterator<Item = (&TaskKind, Vec<&(Task, RgbdFrame)>)> {
        self.kinds.iter().map(|(kind, kept)| {
            let mut kept: Vec<_> = kept.values().collect();
            kept.sort_by_key(|(task, _)| (task.stamp_ns, task.seed));
            (kind, kept)
        })
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::{
        frame::{FrameId, Registration},
        task::{Answer, FlipDirection, Preset, Question, Recipe},
    };

    fn kept(stamps: impl Iterator<Item = i64>, side: u32) -> Vec<i64> {
        let mut sampler = Sampler::default();
        for stamp_ns in stamps {
            let id = FrameId::from_stamp(stamp_ns);
            let frame = RgbdFrame {
                id,
                stamp_ns,
                depth_stamp_ns: None,
                color: RgbImage::new(side, side),
                depth_m: None,
                intrinsics: None,
                registration: Registration::Registered,
            };
            let task = Task {
                kind: TaskKind::Flip,
                frame_id: id,
                stamp_ns,
                picture_size: (side, side),
                seed: 7,
                preset: Preset::Balanced,
                question: Question::FindFlip { rows: 2, cols: 2 },
                answer: Answer::Flipped { patch: 3, direction: FlipDirection::Vertical },
                recipe: Recipe::FlipOne { patch: 3, direction: FlipDirection::Vertical },
            };
            sampler.offer(&task, &frame);
        }
        let (_, kept) = sampler.kept().next().unwrap();
        kept.iter().map(|(task, _)| task.stamp_ns).collect()
    }

    #[test]
    fn the_choice_is_even_and_does_not_depend_on_the_order() {
        let forward = kept(0..1200, 4);
        assert_eq!(forward.len(), TASKS_A_KIND);
        assert_eq!(forward, kept((0..1200).rev(), 4));
        let late = forward.iter().filter(|stamp| **stamp >= 600).count();
        assert!((2..=10).contains(&late), "both halves are seen: {forward:?}");
    }

    #[test]
    fn large_pictures_are_kept_in_fewer_numbers() {
        assert_eq!(kept(0..20, 2000).len(), MAX_BYTES / 5 / (2000 * 2000 * 3));
    }
}
