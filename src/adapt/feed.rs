//! Frames of a recording as what is learnt from and what is tested on.

use std::sync::Arc;

use rayon::prelude::*;

use super::{
    gate::Gate,
    keeper::Keeper,
    learner::{Learner, evenly},
    maker::{Counts, Maker, kept, leave_out},
    memory::{Capacity, Memory},
    replay::{Cursor, Frames, ReplayError, Watch, add_tests},
    settings::RunConfig,
    split::{Part, Split, SplitConfig},
    summary::FrameCounts,
    trainer::LearnConfig,
};
use crate::{
    frame::{Extent, RgbdFrame},
    policy::compact::{CompactError, CompactPolicy, observe::Observation},
    tally::Tally,
    task::{TaskKind, TaskSet, seed},
};

/// Frames that are prepared at once, so that no more than these are in memory.
const CHUNK: usize = 8;
/// Colour tasks asked for, of those that are wanted: hardly one cannot be made.
const SPARE: f64 = 1.05;
/// More held-out frames than this tell nothing new.
const MAX_HELD_OUT_FRAMES: u64 = 160;

/// How many frames are taken and what is made of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    train_every: u64,
    views: u64,
    held_out_every: u64,
    held_out_frames: u64,
    tasks: Capacity,
}

impl Plan {
    pub(super) fn new(config: &RunConfig, extent: &Extent) -> Self {
        Self::of(&config.split, &config.learn, extent)
    }

    pub(super) fn of(split: &SplitConfig, learn: &LearnConfig, extent: &Extent) -> Self {
        let part = |part: f64| ((extent.frames as f64 * part).ceil() as u64).max(1);
        let train = part(1.0 - split.held_out - split.gap);
        let held_out = part(split.held_out);
        let max_views = learn.max_views.max(1);
        Plan {
            train_every: train.div_ceil(max_views),
            views: (max_views / train).clamp(1, learn.views.max(1)),
            held_out_every: held_out.div_ceil(MAX_HELD_OUT_FRAMES),
            held_out_frames: held_out.min(MAX_HELD_OUT_FRAMES),
            tasks: split.tasks(),
        }
    }

    /// Views of each training frame.
    #[cfg(feature = "vlm")]
    pub(super) fn views(&self) -> u64 {
        self.views
    }

    /// Whether the next training frame is used; counts it.
    #[cfg(feature = "vlm")]
    pub(super) fn is_train(&self, seen: &mut u64) -> bool {
        *seen += 1;
        (*seen - 1).is_multiple_of(self.train_every.max(1))
    }

    /// Whether the next held-out frame is used; counts it.
    #[cfg(feature = "vlm")]
    pub(super) fn is_held_out(&self, seen: &mut u64) -> bool {
        *seen += 1;
        (*seen - 1).is_multiple_of(self.held_out_every.max(1))
    }

    pub(super) fn for_all(self, extent: &Extent) -> Self {
        Plan {
            held_out_every: extent.frames.div_ceil(MAX_HELD_OUT_FRAMES).max(1),
            held_out_frames: extent.frames.clamp(1, MAX_HELD_OUT_FRAMES),
            ..self
        }
    }

    /// How many colour tasks of each kind to ask of the next held-out frame, when `asked` were
    /// asked of those before it and `seen` held-out frames came, this one and such as the gate
    /// refused among them. Each of their pictures is encoded: hardly more than are needed.
    fn color_tasks(&self, seen: u64, asked: u64) -> u64 {
        let wanted = self.tasks.patches as f64 * SPARE;
        let by_now = wanted * seen.div_ceil(self.held_out_every.max(1)) as f64;
        let by_now = (by_now / self.held_out_frames as f64).ceil() as u64;
        by_now.saturating_sub(asked).min(48)
    }

    /// Tasks of each kind on each held-out frame, if all frames give the same.
    pub(super) fn even(&self) -> u64 {
        (self.tasks.points as u64).div_ceil(self.held_out_frames)
    }

    /// Attempts at tasks of a kind on a held-out frame of which so many colour tasks are asked.
    /// Depth tasks are often not to be had, and cheap: they share the frame's own picture.
    pub(super) fn attempts(&self, kind: &TaskKind, color_tasks: u64) -> u64 {
        if kind.needs_depth() { self.even().saturating_mul(6).min(192) } else { color_tasks }
    }
}

/// A recording that is read.
pub(super) struct Run<'a> {
    pub(super) config: &'a RunConfig,
    pub(super) split: Split,
    pub(super) plan: Plan,
    pub(super) tasks: TaskSet,
    pub(super) gate: Gate,
    pub(super) observer: Arc<CompactPolicy>,
    pub(super) held_out: Vec<Memory<Observation>>,
    pub(super) cursor: Cursor,
}

impl Run<'_> {
    /// Reads all frames; training frames go to the learner, held-out ones become test tasks.
    pub(super) fn feed<E: std::error::Error + 'static>(
        &mut self,
        mut frames: Frames<'_, E>,
        mut learner: Option<(&mut Learner, &mut Keeper<'_>)>,
        watch: &mut dyn Watch,
    ) -> Result<(), ReplayError<E>> {
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        self.gate.resume(std::mem::take(&mut self.cursor.taken));
        let mut done = self.cursor.read;
        while let Some(frame) = frames().map_err(ReplayError::Source)? {
            watch.advance(1);
            if done > 0 {
                done -= 1;
                continue;
            }
            self.cursor.read += 1;
            match self.part(&frame, watch.stopped()) {
                Some(Part::Train) => train.push(frame),
                Some(_) => held_out.extend(self.admit(frame)),
                None => continue,
            }
            let save = learner.as_ref().is_some_and(|(_, keeper)| keeper.due());
            if let Some((learner, keeper)) = &mut learner
                && (train.len() >= CHUNK || save)
            {
                learner.offer_frames(std::mem::take(&mut train), self.plan.views)?;
                if save {
                    self.keep_for_test(&std::mem::take(&mut held_out))?;
                    let cursor = Cursor { taken: self.gate.taken(), ..self.cursor.clone() };
                    watch.flush();
                    keeper.save(learner, &cursor, |files| add_tests(files, &self.held_out));
                }
                watch.rest();
            }
            if held_out.len() >= CHUNK {
                self.keep_for_test(&std::mem::take(&mut held_out))?;
            }
        }
        if let Some((learner, _)) = &mut learner {
            learner.offer_frames(train, self.plan.views)?;
        }
        self.keep_for_test(&held_out)?;
        let mut all = std::mem::take(&mut self.held_out);
        if let Some(foretold) = learner.as_ref().and_then(|(learner, _)| learner.trainer.foretold())
        {
            let keeps = kept(foretold, &all, self.test_seed());
            leave_out(&mut all, keeps, &mut self.cursor.counts);
        }
        self.held_out = evenly(all, self.plan.tasks);
        self.cursor.fed = true;
        Ok(())
    }

    /// What a frame is for; none: nothing, and it is counted why.
    fn part(&mut self, frame: &RgbdFrame, stopped: bool) -> Option<Part> {
        let part = self.split.part(frame.stamp_ns);
        if stopped && part == Part::Train {
            self.cursor.frames.drop("stopped");
            return None;
        }
        let (seen, every) = match part {
            Part::Gap => {
                self.cursor.frames.drop("gap");
                return None;
            }
            Part::Train => (&mut self.cursor.train_seen, self.plan.train_every),
            Part::HeldOut => (&mut self.cursor.held_out_seen, self.plan.held_out_every),
        };
        *seen += 1;
        if !(*seen - 1).is_multiple_of(every.max(1)) {
            self.cursor.frames.drop("not_needed");
            return None;
        }
        Some(part)
    }

    /// A held-out frame that passes the gate, and how many colour tasks are asked of it.
    fn admit(&mut self, frame: RgbdFrame) -> Option<(RgbdFrame, u64)> {
        let frame = self.cursor.frames.admit(&mut self.gate, frame)?;
        let count = self.plan.color_tasks(self.cursor.held_out_seen, self.cursor.color_tasks);
        self.cursor.color_tasks += count;
        Some((frame, count))
    }

    /// Apart from those of training: a rerun on the same frames asks other tasks.
    fn test_seed(&self) -> u64 {
        seed::mix(self.config.seed, 0x7e57)
    }

    fn keep_for_test(&mut self, frames: &[(RgbdFrame, u64)]) -> Result<(), CompactError> {
        let run_seed = self.test_seed();
        let maker = Maker { tasks: &self.tasks, sensor: self.config.tasks.sensor, run_seed };
        let (policy, plan) = (&*self.observer, self.plan);
        let made: Vec<_> = frames
            .par_iter()
            .map(|(frame, count)| maker.make(policy, frame, 0, |kind| plan.attempts(kind, *count)))
            .collect::<Result<_, _>>()?;
        for (memories, counts) in made {
            self.held_out.extend(memories);
            self.cursor.counts.merge(&counts);
        }
        Ok(())
    }
}

/// Why there is nothing to learn from or to test on, with the counts that say so.
pub(super) fn nothing<E: std::error::Error + 'static>(
    what: &'static str,
    frames: &FrameCounts,
    counts: &Counts,
) -> ReplayError<E> {
    let list = |tally: &Tally| {
        let counts: Vec<String> = tally.iter().map(|(k, n)| format!("{k} {n}")).collect();
        if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
    };
    let why = format!(
        "{} frames read, {} used (skipped: {}); tasks not made: {}",
        frames.read,
        frames.used,
        list(&frames.skipped),
        list(&counts.skipped)
    );
    ReplayError::Nothing { what, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Colour tasks of each kind that are asked of a recording whose gate lets every `passes`th
    /// held-out frame through.
    fn asked(frames: u64, passes: u64) -> u64 {
        let extent = Extent { first_ns: 0, last_ns: 1, frames };
        let plan = Plan::new(&RunConfig::default(), &extent);
        let mut asked = 0;
        for seen in 1..=plan.held_out_frames * plan.held_out_every {
            let used = (seen - 1).is_multiple_of(plan.held_out_every);
            if used && seen.div_ceil(plan.held_out_every).is_multiple_of(passes) {
                asked += plan.color_tasks(seen, asked);
            }
        }
        asked
    }

    #[test]
    fn hardly_more_colour_tasks_are_encoded_than_are_tested_whatever_the_gate_refuses() {
        let wanted = RunConfig::default().split.tasks().patches as u64;
        for (frames, passes) in [(60, 1), (232, 1), (232, 3), (5000, 1), (100_000, 7)] {
            let asked = asked(frames, passes);
            assert!((wanted..=wanted * 11 / 10 + 1).contains(&asked), "{frames} {passes}: {asked}");
        }
    }
}
