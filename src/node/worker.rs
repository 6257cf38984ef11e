//! The learner's thread: it takes the newest pair when it has time, learns a little, and swaps what
//! serves when a candidate was promoted.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::{
    ingest::{Camera, framer::Framer},
    keep,
    learning::{Order, Report, Shared, Surroundings, Taught, locked},
    msg::SkillAccuracy,
};
use crate::{
    adapt::{
        Learner,
        budget::{Governor, Pause},
        check::Check,
        checkpoint::{Checkpoints, FileSystem},
        health::shrunk,
        keeper::Keeper,
        learner::Progress,
        promote::Set,
        summary::UpdateCounts,
    },
    policy::compact::{onnx, weights::write_atomically},
    tally::Tally,
};

/// How long the learner naps when there is no frame, and when it is not to learn.
const NAP: Duration = Duration::from_millis(4);
const LONG_NAP: Duration = Duration::from_millis(50);
/// How often temperature, memory and battery are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the report is brought up to date, at least.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// Frames wait so long for the first camera info: without it tasks about positions are others.
const INFO_PATIENCE: Duration = Duration::from_secs(3);
/// Frames kept for a look at the camera's health, and how far apart they are taken.
const HEALTH_FRAMES: usize = 16;
const HEALTH_EVERY: Duration = Duration::from_secs(2);

/// The learner and what it works with.
pub(super) struct Worker {
    learner: Learner,
    cameras: Arc<Vec<Camera>>,
    framers: Vec<Framer>,
    governor: Governor,
    surroundings: Surroundings,
    shared: Arc<Shared>,
    learning: bool,
    paused: bool,
    apart: Duration,
    looked: Option<Instant>,
    reported: Option<Instant>,
    steps_since: (Instant, u64),
    health_taken: Option<Instant>,
    first_frame: Option<Instant>,
    report: Report,
}

impl Worker {
    pub(super) fn new(
        learner: Learner,
        cameras: Arc<Vec<Camera>>,
        governor: Governor,
        surroundings: Surroundings,
        shared: Arc<Shared>,
    ) -> Self {
        let framer = |camera: &Camera| {
            let depth = camera.topics().depth.as_deref();
            Framer::new(depth, surroundings.registered, surroundings.intrinsics)
        };
        Worker {
            framers: cameras.iter().map(framer).collect(),
            learner,
            cameras,
            governor,
            surroundings,
            shared,
            learning: false,
            paused: false,
            apart: Duration::ZERO,
            looked: None,
            reported: None,
            steps_since: (Instant::now(), 0),
            health_taken: None,
            first_frame: None,
            report: Report::default(),
        }
    }

    /// Tells why there is no learning.
    pub(super) fn failed(&self, why: String) {
        locked(&self.shared.report).failed = Some(why);
    }

    /// Works until it is told to stop, or nobody can tell it anything any more.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let config = self.learner.config().checkpoint.clone();
        let checkpoints =
            Checkpoints::new(self.surroundings.run.join("checkpoints"), FileSystem, config.clone());
        let mut keeper = Keeper::new(Some(&checkpoints), config.every_s);
        let mut wait = Duration::ZERO;
        loop {
            match orders.recv_timeout(wait) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(order) => self.obey(order, &mut keeper),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.sample_health();
            let pause = self.pause();
            let learning = self.learning && pause.is_none();
            let wanted = learning.then_some(self.apart);
            self.cameras.iter().for_each(|camera| camera.want(wanted));
            wait = if learning { NAP } else { LONG_NAP };
            let started = Instant::now();
            match self.work(learning) {
                Ok(false) => {}
                Ok(true) => wait = self.governor.rest(started.elapsed()),
                Err(error) => {
                    tracing::error!("the learner failed: {error}");
                    self.report.failed = Some(error);
                    self.learning = false;
                }
            }
            if keeper.due() && self.learner.trainer().steps() > 0 && self.learning {
                self.keep(&mut keeper);
            }
            self.tell(learning, pause, &keeper);
        }
        self.cameras.iter().for_each(|camera| camera.want(None));
        if self.learner.trainer().steps() > 0 {
            self.keep(&mut keeper);
            if let Err(error) = self.save_policy() {
                tracing::error!("what was learnt is not saved: {error}");
            }
        }
    }

    fn obey(&mut self, order: Order, keeper: &mut Keeper<'_>) {
        match order {
            Order::Learn(on) => self.learning = on,
            Order::Pause(on) => self.paused = on,
            Order::Budget(budget, apart) => {
                self.apart = apart;
                match Governor::new(budget) {
                    Ok(governor) => self.governor = governor,
                    Err(error) => tracing::error!("the budget is not changed: {error}"),
                }
            }
            Order::Save(reply) => {
                let failed = keeper.counts.failed;
                let saved =
                    self.save_policy().and_then(|told| {
                        self.keep(keeper);
                        match keeper.counts.failed > failed {
                            true => Err("the policy is saved, the checkpoint is not: see the log"
                                .to_owned()),
                            false => Ok(told),
                        }
                    });
                let _ = reply.try_send(saved);
            }
            Order::RollBack(reply) => {
                let version = self.learner.roll_back(1);
                let served = self.serve();
                let _ = reply.try_send(served.map(|()| format!("version {version} serves")));
            }
            Order::Block(time) => std::thread::sleep(time),
            Order::Stop => {}
        }
    }

    /// Why learning pauses, if it does.
    fn pause(&mut self) -> Option<Pause> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            self.report.load = (self.surroundings.load)();
        }
        self.report.load.paused = self.paused;
        self.governor.pause(&self.report.load)
    }

    /// Offers what is new and learns a little; whether there was anything to do.
    fn work(&mut self, learning: bool) -> Result<bool, String> {
        if !learning {
            return Ok(false);
        }
        let mut worked = false;
        for i in 0..self.cameras.len() {
            let Some(camera) = self.cameras.get(i) else { break };
            let (Some(pair), Some(framer)) = (camera.take(), self.framers.get_mut(i)) else {
                continue;
            };
            let infos = camera.infos();
            let infos = infos.each_ref().map(Option::as_ref);
            let Some(frame) = framer.frame(&pair, infos) else { continue };
            worked = true;
            let first = *self.first_frame.get_or_insert_with(Instant::now);
            if camera.topics().info.is_some()
                && infos[0].is_none()
                && first.elapsed() < INFO_PATIENCE
            {
                self.learner.frames_mut().drop("no_camera_info_yet");
                continue;
            }
            let used = self.learner.state().frames.used;
            self.learner.offer_frame(frame).map_err(|e| e.to_string())?;
            if self.learner.state().frames.used > used
                && let Some(keep) = &self.surroundings.keep
            {
                let drifting = self
                    .report
                    .alarm
                    .as_ref()
                    .is_some_and(|(at, ..)| at.elapsed() < Duration::from_secs(300));
                let topics = camera.topics();
                keep::locked(keep).offer(&Taught { topics, infos, pair: &pair, drifting });
            }
            for _ in 0..self.learner.config().learn.steps_per_frame {
                match self.learner.step().map_err(|e| e.to_string())? {
                    Progress::Step(step, check) => {
                        self.report.reward = step.metrics.reward;
                        if let Some(check) = check {
                            self.checked(&check)?;
                        }
                    }
                    Progress::Waiting | Progress::Frozen => break,
                }
            }
        }
        Ok(worked)
    }

    fn checked(&mut self, check: &Check) -> Result<(), String> {
        if let Some(alarm) = &check.alarm {
            let (told, error) = (alarm.to_string(), alarm.is_error());
            match error {
                true => tracing::error!("step {}: {told}", check.step),
                false => tracing::warn!("step {}: {told}", check.step),
            }
            self.report.alarm = Some((Instant::now(), told, error));
        }
        tracing::info!("{check}");
        if check.version != self.report.version {
            self.serve()?;
        }
        Ok(())
    }

    /// Puts the learner's serving policy into service.
    fn serve(&mut self) -> Result<(), String> {
        let exported = onnx::export(&self.learner.policy()).map_err(|e| e.to_string())?;
        let serving = &self.shared.serving;
        let next = serving.current().successor(&exported.bytes).map_err(|e| e.to_string())?;
        serving.swap(Arc::new(next));
        *locked(&self.shared.policy) = self.learner.policy();
        self.report.version = self.learner.state().version;
        Ok(())
    }

    fn keep(&mut self, keeper: &mut Keeper<'_>) {
        if let Err(error) = std::fs::create_dir_all(&self.surroundings.run) {
            tracing::error!("cannot make {}: {error}", self.surroundings.run.display());
        }
        keeper.save(&self.learner, &"node", |_| Ok(()));
    }

    fn save_policy(&self) -> Result<String, String> {
        let folder = self.surroundings.run.join("policy");
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(&folder).map_err(|e| told(&e))?;
        self.learner.policy().save(&folder).map_err(|e| told(&e))?;
        let files = self.learner.heritage().files().map_err(|e| told(&e))?;
        for (name, bytes) in files {
            write_atomically(&folder.join(name), &bytes).map_err(|e| told(&e))?;
        }
        let version = self.learner.state().version;
        Ok(format!("version {version} is saved in {}", folder.display()))
    }

    /// A frame of each camera now and then, small, for a look at the camera's health.
    fn sample_health(&mut self) {
        if self.health_taken.is_some_and(|taken| taken.elapsed() < HEALTH_EVERY) {
            return;
        }
        self.health_taken = Some(Instant::now());
        for (camera, framer) in self.cameras.iter().zip(&mut self.framers) {
            let Some(pair) = camera.latest().filter(|pair| pair.age() < HEALTH_EVERY) else {
                continue;
            };
            let infos = camera.infos();
            // Not counted: it is what learning takes too, or leaves.
            let frame = framer.look(&pair, infos.each_ref().map(Option::as_ref));
            let Some(small) = frame.ok().and_then(|(frame, _)| shrunk(&frame).ok()) else {
                continue;
            };
            let mut frames = locked(&self.shared.health);
            let name = &camera.topics().name;
            while frames.iter().filter(|(of, _)| of == name).count() >= HEALTH_FRAMES
                && let Some(oldest) = frames.iter().position(|(of, _)| of == name)
            {
                frames.remove(oldest);
            }
            frames.push_back((name.clone(), small));
        }
    }

    /// Brings the report up to date.
    fn tell(&mut self, learning: bool, pause: Option<Pause>, keeper: &Keeper<'_>) {
        if self.reported.is_some_and(|reported| reported.elapsed() < REPORT_EVERY) {
            return;
        }
        self.reported = Some(Instant::now());
        let (state, trainer) = (self.learner.state(), self.learner.trainer());
        let (since, steps) = self.steps_since;
        if since.elapsed() >= Duration::from_secs(2) {
            let made = trainer.steps().saturating_sub(steps);
            self.report.updates_per_s = made as f64 / since.elapsed().as_secs_f64();
            self.steps_since = (Instant::now(), trainer.steps());
        }
        let mut counts = trainer.counts().clone();
        counts.merge(&state.tested);
        let mut undecoded = Tally::default();
        let mut depth_undecoded = Tally::default();
        for framer in &self.framers {
            undecoded.merge(&framer.undecoded);
            depth_undecoded.merge(&framer.depth_undecoded);
        }
        let registered = self.cameras.iter().zip(&self.framers).filter_map(|(camera, framer)| {
            Some((camera.topics().name.clone(), framer.registration()?.1.to_owned()))
        });
        self.report = Report {
            learning,
            paused_because: match pause {
                Some(why) => why.name().to_owned(),
                None if state.frozen => "frozen".to_owned(),
                None if !self.learning => "not_active".to_owned(),
                None => String::new(),
            },
            frames: state.frames.clone(),
            undecoded,
            depth_undecoded,
            registration: registered.collect(),
            tasks: counts.tasks,
            tasks_skipped: counts.skipped,
            updates: UpdateCounts {
                applied: trainer.guard().applied(),
                skipped: trainer.guard().skipped().clone(),
            },
            skills: self.skills(),
            accuracy: self.learner.score(),
            version: state.version,
            candidates: state.candidates.clone(),
            frozen: state.frozen,
            checkpoints: keeper.counts,
            alive: Some(Instant::now()),
            ..std::mem::take(&mut self.report)
        };
        *locked(&self.shared.report) = self.report.clone();
    }

    fn skills(&self) -> Vec<SkillAccuracy> {
        let Some([start, serving]) = self.learner.last_exams() else { return Vec::new() };
        let part = |right: &[bool]| {
            right.iter().filter(|right| **right).count() as f64 / right.len().max(1) as f64
        };
        let skill = |(group, right): (&(Set, _), &Vec<bool>)| SkillAccuracy {
            set: match group.0 {
                Set::Factory => "factory".to_owned(),
                Set::Local => "local".to_owned(),
            },
            kind: crate::task::TaskKind::name(&group.1).to_owned(),
            tasks: right.len() as u64,
            accuracy: part(right),
            accuracy_at_start: start.answers.get(group).map_or(0.0, |right| part(right)),
        };
        serving.answers.iter().map(skill).collect()
    }
}
