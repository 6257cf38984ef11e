//! The learner's thread. Nobody waits for it: it takes the newest pair when it has time, and
//! what serves is swapped when a candidate was promoted.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    ingest::{Camera, CameraTopics, framer::Framer},
    keep::{self, SharedKeep},
    msg::{CameraInfo, SkillAccuracy},
};
use crate::{
    adapt::{
        Learner,
        budget::{BudgetConfig, Governor, Load, Pause},
        check::{Candidates, Check},
        checkpoint::{Checkpoints, FileSystem},
        health::shrunk,
        keeper::Keeper,
        learner::Progress,
        promote::Set,
        summary::{CheckpointCounts, FrameCounts, UpdateCounts},
    },
    frame::RgbdFrame,
    policy::compact::{
        CompactPolicy, onnx, served::Served, serving::Serving, weights::write_atomically,
    },
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

/// What a caller asks of the learner.
enum Order {
    Learn(bool),
    Pause(bool),
    Budget(BudgetConfig, Duration),
    Save(SyncSender<Result<String, String>>),
    RollBack(SyncSender<Result<String, String>>),
    Block(Duration),
    Stop,
}

/// What the learner has done, as others may see it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether updates are being made.
    pub learning: bool,
    /// Why they are not.
    pub paused_because: String,
    /// Frames offered.
    pub frames: FrameCounts,
    /// Pairs whose colour could not be decoded, by reason.
    pub undecoded: Tally,
    /// Pairs whose depth could not be decoded, by reason: they make colour tasks.
    pub depth_undecoded: Tally,
    /// Whether each camera's depth is aligned with its colour, and why.
    pub registration: Vec<(String, String)>,
    /// Tasks made, by kind.
    pub tasks: Tally,
    /// Tasks not made, by `kind/reason`.
    pub tasks_skipped: Tally,
    /// Updates.
    pub updates: UpdateCounts,
    /// Mean reward of the last update.
    pub reward: f64,
    /// Updates a second, lately.
    pub updates_per_s: f64,
    /// Accuracy by set and kind when it was last tested.
    pub skills: Vec<SkillAccuracy>,
    /// Its mean.
    pub accuracy: f64,
    /// The version that serves.
    pub version: u64,
    /// Candidates.
    pub candidates: Candidates,
    /// The last alarm: when, in words, whether it is an error.
    pub alarm: Option<(Instant, String, bool)>,
    /// Learning stands still until something new is seen.
    pub frozen: bool,
    /// What the machine is doing.
    pub load: Load,
    /// Checkpoints.
    pub checkpoints: CheckpointCounts,
    /// Why the learner has ended, when it failed.
    pub failed: Option<String>,
    /// When the thread last showed that it lives.
    pub alive: Option<Instant>,
}

/// What the learner's thread shares.
struct Shared {
    report: Mutex<Report>,
    health: Mutex<VecDeque<(String, RgbdFrame)>>,
    serving: Serving,
    policy: Mutex<Arc<CompactPolicy>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A report is whole after every statement, even beside a thread that panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a learner keeps what it learnt, and how it looks at the machine.
pub struct Surroundings {
    /// The folder; nothing is written outside it.
    pub run: PathBuf,
    /// The user's word on whether depth is aligned with colour.
    pub registered: Option<bool>,
    /// The user's word on `fx, fy, cx, cy`, pixels.
    pub intrinsics: Option<[f64; 4]>,
    /// What the machine is doing.
    pub load: fn() -> Load,
    /// Keeps frames that taught something.
    pub keep: Option<SharedKeep>,
}

/// A frame that taught something.
pub struct Taught<'a> {
    /// The topics of its camera.
    pub topics: &'a CameraTopics,
    /// The camera infos of colour and depth.
    pub infos: [Option<&'a CameraInfo>; 2],
    /// The messages as they came.
    pub pair: &'a super::ingest::Paired,
    /// Whether an alarm of the last minutes says that the world has changed.
    pub drifting: bool,
}

/// A learner on its own thread. It ends, and saves, when this is dropped.
pub struct Learning {
    orders: SyncSender<Order>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Learning {
    /// Starts the thread; it learns when [`Learning::learn`] says so.
    ///
    /// # Errors
    /// In words, when the settings cannot be used or the policy cannot serve.
    pub fn start(
        learner: Learner,
        cameras: Arc<Vec<Camera>>,
        surroundings: Surroundings,
    ) -> Result<Self, String> {
        let budget = learner.config().budget.clone();
        let governor = Governor::new(budget.clone()).map_err(|e| e.to_string())?;
        let BudgetConfig { threads, niceness, .. } = budget;
        let served = Served::from_policy(&learner.policy()).map_err(|e| e.to_string())?;
        let shared = Arc::new(Shared {
            report: Mutex::default(),
            health: Mutex::default(),
            serving: Serving::new(Arc::new(served)),
            policy: Mutex::new(learner.policy()),
        });
        let (orders, receiver) = sync_channel(8);
        let framers = cameras
            .iter()
            .map(|camera| {
                let depth = camera.topics().depth.as_deref();
                Framer::new(depth, surroundings.registered, surroundings.intrinsics)
            })
            .collect();
        let worker = Worker {
            learner,
            cameras,
            framers,
            governor,
            surroundings,
            shared: shared.clone(),
            learning: false,
            paused: false,
            apart: Duration::ZERO,
            looked: None,
            reported: None,
            steps_since: (Instant::now(), 0),
            health_taken: None,
            first_frame: None,
            report: Report::default(),
        };
        let thread = std::thread::Builder::new().name("learner".to_owned()).spawn(move || {
            // On Linux a thread has its own niceness, and those that it starts inherit it.
            if niceness > 0
                && let Err(error) = rustix::process::nice(niceness as i32)
            {
                tracing::warn!("cannot lower the learner's priority by {niceness}: {error}");
            }
            match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
                Ok(pool) => pool.install(move || worker.run(&receiver)),
                Err(error) => {
                    tracing::error!("no threads for the learner: {error}");
                    locked(&worker.shared.report).failed = Some(error.to_string());
                }
            }
        });
        let thread = Some(thread.map_err(|e| format!("no thread for the learner: {e}"))?);
        Ok(Learning { orders, thread, shared })
    }

    fn order(&self, order: Order) -> Result<(), String> {
        self.orders.try_send(order).map_err(|e| format!("the learner does not listen: {e}"))
    }

    /// Whether it is to learn.
    ///
    /// # Errors
    /// When the learner has ended or is busy with too many orders.
    pub fn learn(&self, on: bool) -> Result<(), String> {
        self.order(Order::Learn(on))
    }

    /// Somebody wants it to pause, or to go on.
    ///
    /// # Errors
    /// As [`Learning::learn`].
    pub fn pause(&self, on: bool) -> Result<(), String> {
        self.order(Order::Pause(on))
    }

    /// Changes what it may take of the machine. Threads and niceness stay as they are.
    /// Frames are taken at least `apart` from each other.
    pub fn budget(&self, budget: BudgetConfig, apart: Duration) {
        if let Err(error) = self.order(Order::Budget(budget, apart)) {
            tracing::error!("the budget is not changed: {error}");
        }
    }

    /// For a test of what happens to frames meanwhile: the learner does nothing for so long.
    ///
    /// # Errors
    /// As [`Learning::learn`].
    pub fn block(&self, time: Duration) -> Result<(), String> {
        self.order(Order::Block(time))
    }

    fn ask(
        &self,
        order: impl FnOnce(SyncSender<Result<String, String>>) -> Order,
    ) -> Result<String, String> {
        /// A check of a candidate takes seconds; more means that something is wrong.
        const PATIENCE: Duration = Duration::from_secs(60);
        let (reply, answer) = sync_channel(1);
        self.order(order(reply))?;
        match answer.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(_) => Err(format!("the learner did not answer within {} s", PATIENCE.as_secs())),
        }
    }

    /// Writes the serving policy and a checkpoint; says where.
    ///
    /// # Errors
    /// Why they were not written.
    pub fn save(&self) -> Result<String, String> {
        self.ask(Order::Save)
    }

    /// Lets the policy before the last promotion serve again; says which.
    ///
    /// # Errors
    /// When it cannot be served.
    pub fn roll_back(&self) -> Result<String, String> {
        self.ask(Order::RollBack)
    }

    /// What it has done.
    pub fn report(&self) -> Report {
        locked(&self.shared.report).clone()
    }

    /// What serves.
    pub fn serving(&self) -> &Serving {
        &self.shared.serving
    }

    /// The same as a policy that can learn, for what tract does not serve.
    pub fn policy(&self) -> Arc<CompactPolicy> {
        locked(&self.shared.policy).clone()
    }

    /// Frames for a look at the health of the camera of this name.
    pub fn health_frames(&self, camera: &str) -> Vec<RgbdFrame> {
        let frames = locked(&self.shared.health);
        frames.iter().filter(|(name, _)| name == camera).map(|(_, frame)| frame.clone()).collect()
    }
}

impl Drop for Learning {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the learner's thread panicked");
        }
    }
}

struct Worker {
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
    fn run(mut self, orders: &Receiver<Order>) {
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
