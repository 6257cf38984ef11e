//! From a frame to tasks that a policy has observed.

use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{blind::Shown, memory::Memory};
use crate::{
    frame::{RgbdFrame, SensorModel},
    policy::Policy,
    tally::Tally,
    task::{
        PreparedFrame, TaskKind, TaskSet,
        foretold::{self, Asked, Foretold},
        seed,
    },
};

/// What became of offered frames and tasks, and where the time went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Tasks made, by kind.
    pub tasks: Tally,
    /// Tasks not made, by `kind/reason`.
    pub skipped: Tally,
    /// Time spent making tasks and views, summed over threads.
    pub build_tasks: Duration,
    /// Time spent encoding, summed over threads.
    pub encode: Duration,
}

impl Counts {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Counts) {
        self.tasks.merge(&other.tasks);
        self.skipped.merge(&other.skipped);
        self.build_tasks += other.build_tasks;
        self.encode += other.encode;
    }
}

/// Which tasks are kept of those whose answers others may foretell.
pub fn kept<O: Shown + Sync>(foretold: &Foretold, tasks: &[Memory<O>], run_seed: u64) -> Vec<bool> {
    let keeps = |(number, task): (usize, &Memory<O>)| {
        let seed = seed::mix(seed::mix(run_seed, task.frame_id.0), number as u64);
        foretold.keeps(&asked(task), seed)
    };
    tasks.par_iter().enumerate().map(keeps).collect()
}

/// Leaves out what is not kept, and counts it as not made.
pub fn leave_out<O>(tasks: &mut Vec<Memory<O>>, keeps: Vec<bool>, counts: &mut Counts) {
    let mut keeps = keeps.into_iter();
    tasks.retain(|task| {
        let keep = keeps.next().unwrap_or(true);
        if !keep {
            counts.tasks.take_back(task.kind.name(), 1);
            counts.skipped.add(&format!("{}/{}", task.kind, foretold::REASON));
        }
        keep
    });
}

/// What of a remembered task is looked up.
pub fn asked<O: Shown>(task: &Memory<O>) -> Asked<'_> {
    Asked {
        kind: &task.kind,
        question: task.observation.question(),
        picture_size: task.observation.picture_size(),
        answer: &task.answer,
    }
}

/// Observed tasks, and what became of the others.
pub type Made<O> = (Vec<Memory<O>>, Counts);

/// Makes tasks from frames and lets a policy observe them.
pub struct Maker<'a> {
    /// Which tasks are made.
    pub tasks: &'a TaskSet,
    /// The noise of the depth camera.
    pub sensor: SensorModel,
    /// Seed of the run.
    pub run_seed: u64,
}

impl Maker<'_> {
    /// Tasks of one frame (already a view), `per_kind` of each kind, as `policy` observes
    /// them. Frames without usable depth make the kinds that need none.
    ///
    /// # Errors
    /// When the policy cannot observe a task.
    pub fn make<P: Policy>(
        &self,
        policy: &P,
        frame: &RgbdFrame,
        place: u16,
        per_kind: impl Fn(&TaskKind) -> u64,
    ) -> Result<Made<P::Observation>, P::Error> {
        let mut counts = Counts::default();
        let started = Instant::now();
        let prepared = PreparedFrame::new(frame, self.sensor);
        let mut tasks = Vec::new();
        for kind in self.tasks.kinds() {
            for number in 0..per_kind(&kind) {
                match self.tasks.make(&prepared, &kind, self.run_seed, number) {
                    Ok(task) => tasks.push(task),
                    Err(skip) => {
                        counts.skipped.add(&format!("{kind}/{}", skip.name()));
                    }
                }
            }
            let made = tasks.iter().filter(|task| task.kind == kind).count();
            counts.tasks.add_n(kind.name(), made as u64);
        }
        counts.build_tasks = started.elapsed();
        let started = Instant::now();
        let observations = policy.observe(frame, &tasks)?;
        counts.encode = started.elapsed();
        let memories = tasks.into_iter().zip(observations).map(|(task, observation)| Memory {
            kind: task.kind,
            frame_id: task.frame_id,
            stamp_ns: task.stamp_ns,
            place,
            answer: task.answer,
            observation,
        });
        Ok((memories.collect(), counts))
    }
}
