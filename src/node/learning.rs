//! A learner as the rest of the node sees it: orders go to its thread, reports and the serving
//! policy come from it, and nobody waits.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    ingest::{Camera, CameraTopics},
    keep::SharedKeep,
    msg::{CameraInfo, SkillAccuracy},
    worker::Worker,
};
use crate::{
    adapt::{
        Learner,
        budget::{BudgetConfig, Governor, Load},
        check::Candidates,
        summary::{CheckpointCounts, FrameCounts, UpdateCounts},
    },
    frame::RgbdFrame,
    policy::compact::{CompactPolicy, served::Served, serving::Serving},
    tally::Tally,
};

/// What a caller asks of the learner.
pub(super) enum Order {
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
pub(super) struct Shared {
    pub(super) report: Mutex<Report>,
    pub(super) health: Mutex<VecDeque<(String, RgbdFrame)>>,
    pub(super) serving: Serving,
    pub(super) policy: Mutex<Arc<CompactPolicy>>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
        let worker = Worker::new(learner, cameras, governor, surroundings, shared.clone());
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
                    worker.failed(error.to_string());
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
