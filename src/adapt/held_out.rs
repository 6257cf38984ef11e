//! What candidates are tested on and never learn from: a factory set that stays the same,
//! and a local set that moves along with the robot, in blocks of time apart from those
//! that are learnt from.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    memory::{Capacity, Memory, Reservoir},
    promote::Set,
};
use crate::task::TaskKind;

/// How time is divided between learning and testing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// Length of a block, seconds.
    pub block_s: f64,
    /// One block in so many is tested on; 0: none.
    pub every: u64,
    /// At both ends of such a block this much is used for nothing, seconds, so that what is
    /// tested does not look like what was just learnt.
    pub gap_s: f64,
    /// Local tasks of each kind that are kept: half of them the latest, half an even sample
    /// of all earlier ones.
    pub tasks_per_kind: usize,
}

impl Default for LocalConfig {
    fn default() -> Self {
        LocalConfig { block_s: 2.0, every: 16, gap_s: 0.4, tasks_per_kind: 120 }
    }
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Learnt from.
    Learn,
    /// Neither.
    Gap,
    /// Candidates are tested on it.
    Test,
}

impl LocalConfig {
    /// How long a recording must be for three whole rounds of blocks, seconds.
    pub fn enough_s(&self) -> f64 {
        const ROUNDS: f64 = 3.0;
        ROUNDS * self.every.max(1) as f64 * self.block_s
    }

    /// As it suits a recording of this length: at least three whole rounds of blocks fit in, so
    /// that candidates are not judged by a single place.
    pub fn fitted(self, length_s: f64) -> Self {
        let shorter = length_s / self.enough_s();
        let block_s = self.block_s * if shorter < 1.0 { shorter } else { 1.0 };
        let block_s = block_s.max(1e-9);
        LocalConfig { block_s, gap_s: self.gap_s.min(0.2 * block_s), ..self }
    }

    /// What a frame taken `since_start_ns` after the first one is for. The middle block of
    /// each `every` is for testing.
    ///
    /// ```
    /// use spatial_ssrl::adapt::held_out::{LocalConfig, Use};
    /// let local = LocalConfig { block_s: 1.0, every: 4, gap_s: 0.2, tasks_per_kind: 10 };
    /// let second = 1_000_000_000;
    /// assert_eq!(local.of(0), Use::Learn);
    /// assert_eq!(local.of(2 * second), Use::Gap);
    /// assert_eq!(local.of(2 * second + second / 2), Use::Test);
    /// assert_eq!(local.of(3 * second), Use::Learn);
    /// ```
    pub fn of(&self, since_start_ns: i64) -> Use {
        let block_ns = (self.block_s * 1e9).round();
        if self.every == 0 || block_ns < 1.0 {
            return Use::Learn;
        }
        let at = since_start_ns.max(0) as f64;
        let block = (at / block_ns).floor();
        if block as u64 % self.every != self.every / 2 {
            return Use::Learn;
        }
        let inside = at - block * block_ns;
        let gap = self.gap_s * 1e9;
        if inside < gap || inside > block_ns - gap { Use::Gap } else { Use::Test }
    }
}

/// The held-out tasks.
#[derive(Debug)]
pub struct HeldOut<O> {
    factory: Vec<Memory<O>>,
    recent: BTreeMap<TaskKind, VecDeque<Memory<O>>>,
    earlier: Reservoir<O>,
    half: usize,
    /// Rises whenever the tasks change.
    version: u64,
}

impl<O> HeldOut<O> {
    /// No tasks yet.
    pub fn new(config: &LocalConfig, run_seed: u64) -> Self {
        let half = config.tasks_per_kind.div_ceil(2).max(1);
        let earlier = Reservoir::new(Capacity::same(half), run_seed ^ 0x10ca1);
        HeldOut { factory: Vec::new(), recent: BTreeMap::new(), earlier, half, version: 0 }
    }

    /// Sets what never changes.
    pub fn set_factory(&mut self, tasks: Vec<Memory<O>>) {
        self.factory = tasks;
        self.version += 1;
    }

    /// Adds a local task; the oldest of the latest moves to the sample of earlier ones.
    pub fn offer(&mut self, task: Memory<O>) {
        self.version += 1;
        let recent = self.recent.entry(task.kind.clone()).or_default();
        recent.push_back(task);
        if recent.len() > self.half
            && let Some(oldest) = recent.pop_front()
        {
            self.earlier.offer(oldest);
        }
    }

    /// All tasks in a fixed order.
    pub fn tasks(&self) -> impl Iterator<Item = (Set, &Memory<O>)> {
        let factory = self.factory.iter().map(|task| (Set::Factory, task));
        let local = self.earlier.all().chain(self.recent.values().flatten());
        factory.chain(local.map(|task| (Set::Local, task)))
    }

    /// The factory set.
    pub fn factory(&self) -> &[Memory<O>] {
        &self.factory
    }

    /// The latest local tasks, and the sample of earlier ones: for a checkpoint.
    pub fn local(&self) -> (impl Iterator<Item = &Memory<O>>, &Reservoir<O>) {
        (self.recent.values().flatten(), &self.earlier)
    }

    /// Puts back what [`HeldOut::local`] gave.
    pub fn restore(&mut self, recent: Vec<Memory<O>>, earlier: Reservoir<O>) {
        self.recent.clear();
        for task in recent {
            self.recent.entry(task.kind.clone()).or_default().push_back(task);
        }
        self.earlier = earlier;
        self.version += 1;
    }

    /// Rises whenever the tasks change.
    pub fn version(&self) -> u64 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{frame::FrameId, task::Answer};

    fn task(n: i64) -> Memory<()> {
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
    fn the_local_set_is_bounded_and_holds_the_latest_and_a_sample_of_the_earlier() {
        let config = LocalConfig { tasks_per_kind: 40, ..LocalConfig::default() };
        let mut held_out = HeldOut::new(&config, 1);
        held_out.set_factory(vec![task(-1)]);
        (0..1000).for_each(|n| held_out.offer(task(n)));
        let stamps: Vec<i64> =
            held_out.tasks().filter(|(set, _)| *set == Set::Local).map(|t| t.1.stamp_ns).collect();
        assert_eq!(stamps.len(), 40);
        assert!((980..1000).all(|n| stamps.contains(&n)));
        assert!(stamps.iter().filter(|n| **n < 500).count() >= 4, "{stamps:?}");
        assert_eq!(held_out.factory().len(), 1);
    }

    #[test]
    fn what_is_tested_is_apart_in_time_from_what_is_learnt() {
        let local = LocalConfig::default();
        let step = 33_000_000_i64;
        let uses: Vec<Use> = (0..10_000).map(|i| local.of(i * step)).collect();
        let gap = (local.gap_s * 1e9) as i64 / step;
        for (i, used) in uses.iter().enumerate().filter(|(_, used)| **used == Use::Test) {
            let near = i.saturating_sub(gap as usize)..(i + gap as usize).min(uses.len());
            assert!(uses[near].iter().all(|u| *u != Use::Learn), "{i}: {used:?}");
        }
        let tested = uses.iter().filter(|u| **u == Use::Test).count();
        assert!((250..500).contains(&tested), "{tested} of 10,000");
    }
}
