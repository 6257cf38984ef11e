//! What the node does in each state of its life: open topics, learn, serve, put away.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use ros2_client::Context;

use super::{
    ingest::{
        Camera, CameraOptions, CameraTopics, Paired, Tap, drain::SharedNode, framer::Framer,
        stream::wall_ns,
    },
    keep::{self, SharedKeep},
    learning::{Learning, Report, Surroundings},
    lifecycle::{Lifecycle, Outcome, Refused, Stage},
    msg::{State, Transition, TransitionEvent},
    record::When,
};
use crate::{
    adapt::{
        Learner,
        budget::{BudgetConfig, Load},
        health::Reference,
        settings::task_set,
    },
    frame::{RgbdFrame, SensorModel},
    task::TaskSet,
};

/// Says what the node is to do; asked anew each time that it is configured.
pub type Planner = Box<dyn Fn(&Context) -> Result<Setup, String> + Send + Sync>;

/// Where transition events go.
pub type OnEvent = Box<dyn Fn(TransitionEvent) + Send>;

/// What may change while the node runs.
#[derive(Clone, Debug)]
pub struct Live {
    /// What the learner may take.
    pub budget: BudgetConfig,
    /// Frames a second that are looked at.
    pub max_rate_hz: f64,
    /// Seconds between two messages on `~/status`.
    pub status_every: Duration,
    /// Seconds between two messages on `/diagnostics`.
    pub diagnostics_every: Duration,
    /// Seconds between two pictures on `~/farness`; none: no pictures.
    pub farness_every: Option<Duration>,
    /// Seconds between two pictures on `~/task_preview`; none: no pictures.
    pub preview_every: Option<Duration>,
    /// A camera that is silent for so long is stale.
    pub stale_after: Duration,
    /// When frames that taught something are kept.
    pub record: When,
    /// A stream that is silent for so long though somebody publishes it is subscribed anew.
    pub stall_after: Duration,
}

impl Default for Live {
    fn default() -> Self {
        Live {
            budget: BudgetConfig::default(),
            max_rate_hz: 30.0,
            status_every: Duration::from_secs(1),
            diagnostics_every: Duration::from_secs(1),
            farness_every: Some(Duration::from_secs(1)),
            preview_every: Some(Duration::from_secs(2)),
            record: When::Never,
            stale_after: Duration::from_secs(5),
            stall_after: Duration::from_secs(2),
        }
    }
}

impl Live {
    /// The least time between two frames that are looked at.
    fn apart(&self) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.max_rate_hz).unwrap_or_default()
    }
}

/// What the node listens to and how.
pub struct Setup {
    /// Its cameras.
    pub cameras: Vec<CameraTopics>,
    /// How their messages are put together.
    pub options: CameraOptions,
    /// The user's word on whether depth is aligned with colour.
    pub registered: Option<bool>,
    /// The user's word on `fx, fy, cx, cy`, pixels.
    pub intrinsics: Option<[f64; 4]>,
    /// Where what is learnt is kept.
    pub run: std::path::PathBuf,
    /// What learns, as it stands.
    pub learner: Learner,
    /// What the camera of that policy looked like, if it is known.
    pub reference: Option<Reference>,
    /// What the machine is doing.
    pub machine: fn() -> Load,
    /// Keeps frames that taught something.
    pub keep: Option<SharedKeep>,
    /// Sees every pair.
    pub tap: Option<Tap>,
}

/// What is there from configure to cleanup.
pub struct Listening {
    cameras: Arc<Vec<Camera>>,
    /// The learner and what serves.
    pub learning: Learning,
    /// Which tasks are made.
    pub tasks: TaskSet,
    /// The noise of the depth cameras.
    pub sensor: SensorModel,
    /// What the camera of the start looked like, if it is known.
    pub reference: Option<Reference>,
    /// What keeps frames that taught something.
    pub keep: Option<SharedKeep>,
    framers: Mutex<Vec<Framer>>,
}

impl Listening {
    /// The cameras.
    pub fn cameras(&self) -> &[Camera] {
        &self.cameras
    }

    /// The camera of this name; the first when the name is empty.
    ///
    /// # Errors
    /// Which there are.
    pub fn camera(&self, name: &str) -> Result<&Camera, String> {
        let wanted = name.trim_matches('/');
        let same = |camera: &&Camera| {
            wanted.is_empty() || camera.topics().name.trim_matches('/') == wanted
        };
        self.cameras.iter().find(same).ok_or_else(|| {
            let known: Vec<&str> =
                self.cameras.iter().map(|camera| camera.topics().name.as_str()).collect();
            let shown: String = wanted.chars().take(80).collect();
            format!("there is no camera {shown:?}; there are {known:?}")
        })
    }

    /// A pair of the `at`-th camera as a frame.
    pub fn frame(&self, at: usize, pair: &Paired) -> Option<RgbdFrame> {
        let camera = self.cameras.get(at)?;
        let infos = camera.infos();
        let mut framers = self.framers.lock().unwrap_or_else(PoisonError::into_inner);
        framers.get_mut(at)?.frame(pair, infos.each_ref().map(Option::as_ref))
    }
}

/// The node's time: the machine's, or the one on `/clock`.
#[derive(Debug, Default)]
pub struct NodeClock {
    simulated: AtomicBool,
    sim_ns: AtomicI64,
    jumps_back: AtomicU64,
}

impl NodeClock {
    /// Nanoseconds; 0 before the first message on `/clock`.
    pub fn now_ns(&self) -> i64 {
        match self.simulated.load(Ordering::Relaxed) {
            true => self.sim_ns.load(Ordering::Relaxed),
            false => wall_ns(),
        }
    }

    /// Whether `/clock` counts.
    pub fn simulate(&self, on: bool) {
        self.simulated.store(on, Ordering::Relaxed);
    }

    /// A message on `/clock`; true when it goes back.
    pub fn tick(&self, sim_ns: i64) -> bool {
        let before = self.sim_ns.swap(sim_ns, Ordering::Relaxed);
        let back = sim_ns < before;
        if back {
            self.jumps_back.fetch_add(1, Ordering::Relaxed);
        }
        back
    }

    /// How often the time went back.
    pub fn jumps_back(&self) -> u64 {
        self.jumps_back.load(Ordering::Relaxed)
    }
}

/// The node without its services and publishers.
pub struct Core {
    node: SharedNode,
    context: RwLock<Context>,
    plan: Planner,
    live: RwLock<Live>,
    lifecycle: Mutex<Lifecycle>,
    stage: Mutex<Stage>,
    listening: RwLock<Option<Arc<Listening>>>,
    /// The node's time.
    pub clock: NodeClock,
    events: Mutex<Option<OnEvent>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// An unconfigured node.
    pub fn new(node: SharedNode, context: Context, plan: Planner) -> Self {
        Core {
            node,
            context: RwLock::new(context),
            plan,
            live: RwLock::default(),
            lifecycle: Mutex::default(),
            stage: Mutex::new(Stage::Unconfigured),
            listening: RwLock::new(None),
            clock: NodeClock::default(),
            events: Mutex::new(None),
        }
    }

    /// Where transition events go.
    pub fn on_event(&self, publish: OnEvent) {
        *locked(&self.events) = Some(publish);
    }

    /// The DDS side.
    pub fn node(&self) -> &SharedNode {
        &self.node
    }

    /// Another participant from now on; the node is shared and was changed beneath.
    pub fn set_context(&self, context: Context) {
        *self.context.write().unwrap_or_else(PoisonError::into_inner) = context;
        if let Some(listening) = self.listening() {
            listening.cameras().iter().for_each(Camera::subscribe_again);
        }
    }

    /// What may change while it runs, as it is now.
    pub fn live(&self) -> Live {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what may change while it runs.
    pub fn set_live(&self, live: Live) {
        if let Some(listening) = self.listening() {
            if let Some(keep) = &listening.keep {
                keep::locked(keep).set_when(live.record);
            }
            listening.learning.budget(live.budget.clone(), live.apart());
        }
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
    }

    /// Where it is, also while a transition is under way.
    pub fn state(&self) -> State {
        locked(&self.stage).message()
    }

    /// Where it is.
    pub fn stage(&self) -> Stage {
        *locked(&self.stage)
    }

    /// A look at its state machine.
    pub fn lifecycle(&self) -> Lifecycle {
        locked(&self.lifecycle).clone()
    }

    /// What it listens to, from configure to cleanup.
    pub fn listening(&self) -> Option<Arc<Listening>> {
        self.listening.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same, or why there is nothing.
    ///
    /// # Errors
    /// In words.
    pub fn listening_or(&self) -> Result<Arc<Listening>, String> {
        self.listening()
            .ok_or_else(|| format!("the node is {}: configure it first", self.stage().label()))
    }

    /// What the learner has done.
    pub fn report(&self) -> Option<Report> {
        Some(self.listening()?.learning.report())
    }

    /// Makes a transition.
    ///
    /// # Errors
    /// [`Refused`], which says what can be asked for.
    pub fn change(&self, asked: &Transition) -> Result<Outcome, Refused> {
        let mut lifecycle = locked(&self.lifecycle);
        let now = || u64::try_from(self.clock.now_ns()).unwrap_or(0);
        let work = |stage: Stage, before: Stage| {
            *locked(&self.stage) = stage;
            match self.work(stage, before) {
                Ok(()) => Outcome::Success,
                Err(why) => {
                    tracing::error!("{}: {why}", stage.label());
                    Outcome::Failure
                }
            }
        };
        let publish = |event: TransitionEvent| {
            tracing::info!("{} -> {}", event.start_state.label, event.goal_state.label);
            if let Some(publish) = locked(&self.events).as_ref() {
                publish(event);
            }
        };
        let outcome = lifecycle.change(asked, now, work, publish);
        *locked(&self.stage) = lifecycle.stage();
        outcome
    }

    fn work(&self, stage: Stage, _before: Stage) -> Result<(), String> {
        match stage {
            Stage::Configuring => self.configure(),
            Stage::Activating => self.listening_or()?.learning.learn(true),
            Stage::Deactivating => self.listening_or()?.learning.learn(false),
            Stage::CleaningUp | Stage::ShuttingDown | Stage::ErrorProcessing => {
                self.put_away();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn configure(&self) -> Result<(), String> {
        let context = self.context.read().unwrap_or_else(PoisonError::into_inner).clone();
        let setup = (self.plan)(&context)?;
        let tasks = task_set(setup.learner.config())?;
        let sensor = setup.learner.config().tasks.sensor;
        let open = |topics: CameraTopics| {
            Camera::open(&self.node, topics, setup.options, setup.tap.clone())
        };
        let cameras: Result<Vec<Camera>, _> = setup.cameras.iter().cloned().map(open).collect();
        let cameras = Arc::new(cameras.map_err(|e| e.to_string())?);
        let framers = cameras.iter().map(|camera| {
            let depth = camera.topics().depth.as_deref();
            Framer::new(depth, setup.registered, setup.intrinsics)
        });
        let framers = Mutex::new(framers.collect());
        let surroundings = Surroundings {
            run: setup.run,
            registered: setup.registered,
            intrinsics: setup.intrinsics,
            load: setup.machine,
            keep: setup.keep.clone(),
        };
        let learning = Learning::start(setup.learner, cameras.clone(), surroundings)?;
        let live = self.live();
        learning.budget(live.budget.clone(), live.apart());
        let reference = setup.reference;
        let listening = Arc::new(Listening {
            cameras,
            learning,
            tasks,
            sensor,
            reference,
            keep: setup.keep,
            framers,
        });
        *self.listening.write().unwrap_or_else(PoisonError::into_inner) = Some(listening);
        Ok(())
    }

    /// Closes topics and ends the learner, which saves what it learnt.
    pub fn put_away(&self) {
        let gone = self.listening.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(gone);
    }
}
