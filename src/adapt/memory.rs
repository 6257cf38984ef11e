//! The replay memory: a bounded number of observed tasks of each kind, shared fairly by the
//! places that were seen and by time, so that one long corridor does not push out the rest.
//! It keeps encoded features, never pictures.

use std::collections::BTreeMap;

use rand::RngExt;
use serde::{Deserialize, Serialize};

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
    /// Where that was, as far as pictures tell: see [`Places`](super::places::Places).
    pub place: u16,
    /// The right answer: only the reward reads it.
    pub answer: Answer,
    /// What the policy keeps of it.
    pub observation: O,
}

/// How many tasks of a kind are remembered. What is kept of a task with patches is twenty
/// times as large as of one with marked points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Of each kind that asks about marked points.
    pub points: usize,
    /// Of each kind that shows patches.
    pub patches: usize,
}

impl Capacity {
    /// The same for all kinds.
    pub fn same(tasks: usize) -> Self {
        Capacity { points: tasks, patches: tasks }
    }

    /// Of one kind, at least 1.
    pub fn of(self, kind: &TaskKind) -> usize {
        if kind.needs_depth() { self.points.max(1) } else { self.patches.max(1) }
    }
}

/// Remembered tasks by kind.
///
/// A kind that is full gives room to a newcomer from a place that has less than the place
/// that has most: a random task of that one goes. Among tasks of one place a newcomer
/// takes the place of a random one with the odds of reservoir sampling (Vitter 1985,
/// algorithm R), so that what is kept of a place stays an even sample over time.
#[derive(Debug)]
pub struct Reservoir<O> {
    capacity: Capacity,
    rng: seed::Rng,
    kinds: BTreeMap<TaskKind, Kind<O>>,
}

#[derive(Debug)]
struct Kind<O> {
    offered: u64,
    kept: Vec<Memory<O>>,
    places: BTreeMap<u16, Share>,
}

/// What a place has offered and what of that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    offered: u64,
    kept: usize,
}

/// Everything of a reservoir but the tasks themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReservoirState {
    rng: seed::Rng,
    kinds: Vec<(TaskKind, u64, BTreeMap<u16, Share>)>,
}

impl<O> Reservoir<O> {
    /// A memory for at most so many tasks of each kind.
    pub fn new(capacity: Capacity, run_seed: u64) -> Self {
        let rng = seed::rng(seed::mix(run_seed, 0x5e5e_0001));
        Reservoir { capacity, rng, kinds: BTreeMap::new() }
    }

    /// Offers one task; says whether it was kept.
    pub fn offer(&mut self, memory: Memory<O>) -> bool {
        let kind = self.kinds.entry(memory.kind.clone()).or_insert_with(|| Kind {
            offered: 0,
            kept: Vec::new(),
            places: BTreeMap::new(),
        });
        kind.offered += 1;
        let place = memory.place;
        let share = kind.places.entry(place).or_default();
        share.offered += 1;
        if kind.kept.len() < self.capacity.of(&memory.kind) {
            share.kept += 1;
            kind.kept.push(memory);
            return true;
        }
        let own = *share;
        let most = kind.places.iter().max_by_key(|(_, share)| share.kept);
        let Some((&fullest, _)) = most.filter(|(_, share)| share.kept > own.kept) else {
            // Among its like: the n-th one offered is kept with odds kept / n.
            let at = self.rng.random_range(0..own.offered);
            let Ok(nth) = usize::try_from(at) else { return false };
            return nth < own.kept && kind.replace(place, nth, memory);
        };
        let count = kind.places.get(&fullest).map_or(1, |share| share.kept);
        let nth = self.rng.random_range(0..count);
        let replaced = kind.replace(fullest, nth, memory);
        if replaced {
            kind.count(fullest, -1);
            kind.count(place, 1);
        }
        replaced
    }

    /// The kinds of which anything is kept.
    pub fn kinds(&self) -> impl Iterator<Item = &TaskKind> {
        self.kinds.keys()
    }

    /// What is kept of one kind.
    pub fn of(&self, kind: &TaskKind) -> &[Memory<O>] {
        self.kinds.get(kind).map_or(&[], |kind| &kind.kept)
    }

    /// Everything that is kept, by kind.
    pub fn all(&self) -> impl Iterator<Item = &Memory<O>> {
        self.kinds.values().flat_map(|kind| &kind.kept)
    }

    /// Everything that is kept, by kind, by value.
    #[cfg(test)]
    pub(super) fn into_all(self) -> impl Iterator<Item = Memory<O>> {
        self.kinds.into_values().flat_map(|kind| kind.kept)
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

    /// What a checkpoint needs beside [`Reservoir::all`].
    pub fn state(&self) -> ReservoirState {
        let kinds = self.kinds.iter();
        ReservoirState {
            rng: self.rng.clone(),
            kinds: kinds.map(|(kind, k)| (kind.clone(), k.offered, k.places.clone())).collect(),
        }
    }

    /// The reservoir whose [`Reservoir::state`] and [`Reservoir::all`] these were. It goes on
    /// as that one would have.
    pub fn restore(
        capacity: Capacity,
        state: ReservoirState,
        tasks: impl IntoIterator<Item = Memory<O>>,
    ) -> Self {
        let kind = |(kind, offered, places)| (kind, Kind { offered, kept: Vec::new(), places });
        let mut kinds: BTreeMap<TaskKind, Kind<O>> = state.kinds.into_iter().map(kind).collect();
        for task in tasks {
            if let Some(kind) = kinds.get_mut(&task.kind) {
                kind.kept.push(task);
            }
        }
        Reservoir { capacity, rng: state.rng, kinds }
    }
}

impl<O> Kind<O> {
    /// Puts `memory` where the `nth` task of `place` is.
    fn replace(&mut self, place: u16, nth: usize, memory: Memory<O>) -> bool {
        match self.kept.iter_mut().filter(|kept| kept.place == place).nth(nth) {
            Some(kept) => {
                *kept = memory;
                true
            }
            None => false,
        }
    }

    fn count(&mut self, place: u16, change: isize) {
        if let Some(share) = self.places.get_mut(&place) {
            share.kept = share.kept.saturating_add_signed(change);
        }
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
            place: 0,
            answer: Answer::Choice(0),
            observation: (),
        }
    }

    #[test]
    fn a_full_memory_stays_full_and_keeps_an_even_sample() {
        let mut late = 0;
        for seed in 0..40 {
            let mut reservoir = Reservoir::new(Capacity::same(50), seed);
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
            let mut reservoir = Reservoir::new(Capacity::same(10), seed);
            (0..100).for_each(|n| {
                reservoir.offer(memory(n));
            });
            reservoir.of(&TaskKind::Flip).iter().map(|m| m.stamp_ns).collect::<Vec<_>>()
        };
        assert_eq!(kept(3), kept(3));
        assert_ne!(kept(3), kept(4));
    }

    #[test]
    fn a_long_corridor_does_not_push_out_a_short_visit() {
        let mut reservoir = Reservoir::new(Capacity::same(60), 5);
        for n in 0..2000 {
            let place = if (900..930).contains(&n) { 1 } else { 0 };
            reservoir.offer(Memory { place, ..memory(n) });
        }
        let visit = reservoir.of(&TaskKind::Flip).iter().filter(|m| m.place == 1).count();
        assert!(visit >= 25, "{visit} of 30 tasks of the short visit are kept");
        assert_eq!(reservoir.len(), 60);
    }

    #[test]
    fn a_restored_memory_goes_on_as_the_first_would_have() {
        let mut first = Reservoir::new(Capacity::same(20), 9);
        (0..100).for_each(|n| {
            first.offer(Memory { place: (n % 3) as u16, ..memory(n) });
        });
        let tasks: Vec<_> = first.all().cloned().collect();
        let mut second = Reservoir::restore(Capacity::same(20), first.state(), tasks);
        for reservoir in [&mut first, &mut second] {
            (100..300).for_each(|n| {
                reservoir.offer(Memory { place: (n % 4) as u16, ..memory(n) });
            });
        }
        let stamps = |r: &Reservoir<()>| r.all().map(|m| m.stamp_ns).collect::<Vec<_>>();
        assert_eq!(stamps(&first), stamps(&second));
        assert_eq!(first.state(), second.state());
    }
}
