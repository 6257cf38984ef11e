//! The replay memory: a bounded number of observed tasks of each kind, never pictures.

use std::collections::BTreeMap;

use rand::RngExt;

use crate::{
    frame::FrameId,
    task::{Answer, TaskKind, seed},
};

/// One task as it is remembered.
#[derive(Clone, Debug)]
pub struct Memory<O> {
    /// Which task.
    pub kind: TaskKind,
    /// The frame it was made from.
    pub frame_id: FrameId,
    /// That frame's stamp.
    pub stamp_ns: i64,
    /// The right answer: only the reward reads it.
    pub answer: Answer,
    /// What the policy keeps of it.
    pub observation: O,
}

/// Remembered tasks by kind. When a kind is full, a newcomer takes the place of a random
/// one with the odds of reservoir sampling (Vitter 1985, algorithm R), so that what is kept
/// stays an even sample of everything offered.
#[derive(Debug)]
pub struct Reservoir<O> {
    capacity: usize,
    rng: seed::Rng,
    kinds: BTreeMap<TaskKind, Kind<O>>,
}

#[derive(Debug)]
struct Kind<O> {
    offered: u64,
    kept: Vec<Memory<O>>,
}

impl<O> Reservoir<O> {
    /// A memory for at most `capacity` tasks of each kind.
    pub fn new(capacity: usize, run_seed: u64) -> Self {
        let rng = seed::rng(seed::mix(run_seed, 0x5e5e_0001));
        Reservoir { capacity: capacity.max(1), rng, kinds: BTreeMap::new() }
    }

    /// Offers one task; says whether it was kept.
    pub fn offer(&mut self, memory: Memory<O>) -> bool {
        let kind = self
            .kinds
            .entry(memory.kind.clone())
            .or_insert_with(|| Kind { offered: 0, kept: Vec::new() });
        kind.offered += 1;
        if kind.kept.len() < self.capacity {
            kind.kept.push(memory);
            return true;
        }
        let at = self.rng.random_range(0..kind.offered);
        match usize::try_from(at).ok().and_then(|at| kind.kept.get_mut(at)) {
            Some(place) => {
                *place = memory;
                true
            }
            None => false,
        }
    }

    /// The kinds of which anything is kept.
    pub fn kinds(&self) -> impl Iterator<Item = &TaskKind> {
        self.kinds.keys()
    }

    /// What is kept of one kind.
    pub fn of(&self, kind: &TaskKind) -> &[Memory<O>] {
        self.kinds.get(kind).map_or(&[], |kind| &kind.kept)
    }

    /// How many tasks of one kind were ever offered.
    pub fn offered(&self, kind: &TaskKind) -> u64 {
        self.kinds.get(kind).map_or(0, |kind| kind.offered)
    }

    /// How many tasks are kept.
    pub fn len(&self) -> usize {
        self.kinds.values().map(|kind| kind.kept.len()).sum()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(n: i64) -> Memory<()> {
        Memory {
            kind: TaskKind::Flip,
            frame_id: FrameId(n as u64),
            stamp_ns: n,
            answer: Answer::Choice(0),
            observation: (),
        }
    }

    #[test]
    fn a_full_memory_stays_full_and_keeps_an_even_sample() {
        let mut late = 0;
        for seed in 0..40 {
            let mut reservoir = Reservoir::new(50, seed);
            (0..500).for_each(|n| {
                reservoir.offer(memory(n));
            });
            assert_eq!(reservoir.len(), 50);
            assert_eq!(reservoir.offered(&TaskKind::Flip), 500);
            late += reservoir.of(&TaskKind::Flip).iter().filter(|m| m.stamp_ns >= 250).count();
        }
        // 2,000 draws at one half: five standard deviations are 112.
        assert!((late as i64 - 1000).abs() < 112, "{late} of 2000 from the later half");
    }

    #[test]
    fn the_same_seed_keeps_the_same_tasks() {
        let kept = |seed| {
            let mut reservoir = Reservoir::new(10, seed);
            (0..100).for_each(|n| {
                reservoir.offer(memory(n));
            });
            reservoir.of(&TaskKind::Flip).iter().map(|m| m.stamp_ns).collect::<Vec<_>>()
        };
        assert_eq!(kept(3), kept(3));
        assert_ne!(kept(3), kept(4));
    }
}
