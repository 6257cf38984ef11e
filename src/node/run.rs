//! The running node: its DDS participant, its services and topics, and the loop that tends them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ros2_client::{Context, Name, ServiceMapping, ros2::QosProfile};

use super::{
    args::Environment,
    core::{Core, Live, Planner},
    ingest::drain::Drain,
    link::{Link, dds},
    msg::{Clock, Transition, message_type},
    names::{Identity, NameError, NameKind, Remaps},
    offered,
    params::Parameters,
    params_service::{self, SharedParameters},
    plan,
    publish::Publishers,
    rosout,
    service::Service,
};

/// How often the loop wakes up.
const TICK: Duration = Duration::from_millis(100);
/// How often subscriptions are looked after.
const TEND_EVERY: Duration = Duration::from_millis(500);
/// A loop that slept this long was stopped: by a signal, a debugger, a machine that slept.
const STOPPED: Duration = Duration::from_secs(2);
/// How often a participant is tried to be made in the place of one that is dead.
const RECONNECT_EVERY: Duration = Duration::from_secs(2);

/// Everything that is known before the node starts.
pub struct Launch {
    /// Name and namespace.
    pub identity: Identity,
    /// Remap rules.
    pub remaps: Remaps,
    /// Domain and how far other nodes are looked for.
    pub environment: Environment,
    /// How services lie on DDS.
    pub mapping: ServiceMapping,
    /// Configure and activate at once.
    pub autostart: bool,
    /// Take the time from `/clock`.
    pub use_sim_time: bool,
    /// The parameters, for the parameter services.
    pub parameters: SharedParameters,
    /// What may change while it runs.
    pub live: Live,
    /// What to do.
    pub plan: Planner,
}

/// Why the node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A name that cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// DDS refuses.
    #[error("{what}: {why}")]
    Dds {
        /// What was to be made.
        what: String,
        /// What it says.
        why: String,
    },
    /// The system has no thread left.
    #[error("no thread: {0}")]
    Thread(#[from] std::io::Error),
    /// It was to start by itself and cannot.
    #[error("autostart: {0}")]
    Autostart(String),
}

/// What happened that `~/status` and `/diagnostics` tell.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// The node stood still: when it went on, and for how long it had.
    pub stood_still: Option<(Instant, Duration)>,
    /// A subscription was made anew: when, and its topic.
    pub made_anew: Option<(Instant, String)>,
    /// Times that DDS had ended and was started anew.
    pub reconnected: u64,
    /// When that was last.
    pub reconnected_at: Option<Instant>,
    /// `/clock` went back: when last.
    pub clock_back: Option<Instant>,
    /// Publishers on a topic.
    pub publishers: BTreeMap<String, usize>,
    /// Topics on which somebody publishes another type, with that type.
    pub wrong_types: BTreeMap<String, String>,
}

/// What is needed to make the DDS side, at first and anew.
struct Wiring {
    identity: Identity,
    remaps: Remaps,
    environment: Environment,
    mapping: ServiceMapping,
    parameters: SharedParameters,
    use_sim_time: bool,
    clock_back: Arc<Mutex<Option<Instant>>>,
}

/// Everything that lies on a participant beside the cameras' topics.
struct Endpoints {
    publishers: Publishers,
    _services: Vec<Service>,
    _clock: Option<Drain>,
}

impl Wiring {
    fn link(&self) -> Result<Link, NodeError> {
        Link::open(&self.identity, &self.environment, &self.parameters)
    }

    fn name(&self, name: &str, kind: NameKind) -> Result<String, NameError> {
        self.remaps.resolve(&self.identity, name, kind)
    }

    fn endpoints(&self, core: &Arc<Core>, context: &Context) -> Result<Endpoints, NodeError> {
        let publishers = {
            let (identity, remaps) = (self.identity.clone(), self.remaps.clone());
            let resolve = move |name: &str| remaps.resolve(&identity, name, NameKind::Topic);
            Publishers::open(context, core.node(), Box::new(resolve))?
        };
        core.on_event(Box::new(publishers.transition_events()));
        let service = |name: &str| self.name(name, NameKind::Service);
        let mut services = offered::offer(core, service, self.mapping)?;
        let changed = core.clone();
        let on_change = Arc::new(move |now: &Parameters| changed.set_live(plan::live(now)));
        let of_parameters =
            params_service::offer(core, &self.parameters, service, self.mapping, on_change)?;
        services.extend(of_parameters);
        let clock = self.use_sim_time.then(|| self.clock(core)).transpose()?;
        Ok(Endpoints { publishers, _services: services, _clock: clock })
    }

    fn clock(&self, core: &Arc<Core>) -> Result<Drain, NodeError> {
        let topic = self.name("/clock", NameKind::Topic)?;
        let name = Name::parse(&topic)
            .map_err(|e| NodeError::Dds { what: topic.clone(), why: e.to_string() })?;
        let (told, back) = (core.clone(), self.clock_back.clone());
        let take = move |taken: super::ingest::drain::Taken<Clock>, at| {
            if let Ok((clock, _)) = taken
                && told.clock.tick(clock.clock.ns())
            {
                tracing::warn!("/clock went back to {} s", clock.clock.sec);
                if let Ok(mut back) = back.lock() {
                    *back = Some(at);
                }
            }
        };
        let qos = QosProfile::subscription_default();
        Drain::start(core.node(), &name, message_type::<Clock>(), qos, take).map_err(dds(&topic))
    }
}

/// A node that is up.
pub struct Running {
    core: Arc<Core>,
    wiring: Wiring,
    endpoints: Endpoints,
    link: Link,
    lines: Option<std::sync::mpsc::Receiver<rosout::Line>>,
    events: Events,
    ticked: Instant,
    tended: Option<Instant>,
    /// Whether everything lies on the participant that `link` has.
    whole: bool,
    /// When a dead participant was last tried to be replaced.
    tried: Option<Instant>,
}

impl Running {
    /// Brings the node up, unconfigured, or with `autostart` learning.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn start(launch: Launch) -> Result<Self, NodeError> {
        let Launch { identity, remaps, environment, mapping, autostart, use_sim_time, .. } = launch;
        let parameters = launch.parameters;
        let lines = rosout::listen();
        let clock_back = Arc::default();
        let wiring =
            Wiring { identity, remaps, environment, mapping, parameters, use_sim_time, clock_back };
        let link = wiring.link()?;
        let core = Arc::new(Core::new(link.node.clone(), link.context.clone(), launch.plan));
        core.set_live(launch.live);
        core.clock.simulate(use_sim_time);
        let endpoints = wiring.endpoints(&core, &link.context)?;
        let running = Running {
            core,
            wiring,
            endpoints,
            link,
            lines,
            events: Events::default(),
            ticked: Instant::now(),
            tended: None,
            whole: true,
            tried: None,
        };
        if autostart {
            for id in [Transition::TRANSITION_CONFIGURE, Transition::TRANSITION_ACTIVATE] {
                let asked = Transition { id, label: String::new() };
                let outcome = running.core.change(&asked);
                if outcome != Ok(super::lifecycle::Outcome::Success) {
                    let why = match outcome {
                        Err(refused) => refused.to_string(),
                        Ok(_) => "see the log".to_owned(),
                    };
                    return Err(NodeError::Autostart(why));
                }
            }
        }
        Ok(running)
    }

    /// The node without its DDS side.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// What `/diagnostics` says now about a node of this name.
    pub fn diagnostics(&self, node: &str) -> Vec<super::msg::DiagnosticStatus> {
        super::report::diagnostics(&self.core, &self.events, node, Instant::now())
    }

    /// Runs until `stop`; then puts everything away.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.tick();
            std::thread::sleep(TICK);
        }
        tracing::info!("stopping");
        self.core.put_away();
    }

    /// What is to be done ten times a second.
    pub fn tick(&mut self) {
        let now = Instant::now();
        let slept = now.saturating_duration_since(std::mem::replace(&mut self.ticked, now));
        if slept > STOPPED {
            tracing::warn!("the node stood still for {:.1} s", slept.as_secs_f64());
            self.events.stood_still = Some((now, slept));
        }
        if self.tended.is_none_or(|tended| now - tended >= TEND_EVERY) {
            self.tended = Some(now);
            if !self.whole || !self.link.is_alive() {
                self.reconnect(now);
            }
            self.tend(now);
        }
        if let Ok(back) = self.wiring.clock_back.lock() {
            self.events.clock_back = *back;
        }
        if let Some(lines) = &self.lines {
            // A flood must not keep the loop.
            for line in lines.try_iter().take(200) {
                self.endpoints.publishers.log(&self.core, line);
            }
        }
        self.endpoints.publishers.tick(&self.core, &self.events, now);
    }

    fn tend(&mut self, now: Instant) {
        let Some(listening) = self.core.listening() else {
            self.events.publishers.clear();
            return;
        };
        let writers = self.link.context.domain_participant().discovered_writers();
        let patience = self.core.live().stall_after;
        self.events.wrong_types.clear();
        for camera in listening.cameras() {
            for stream in camera.streams() {
                let dds_name = format!("rt{}", stream.topic());
                let right = stream.content().dds_type();
                let mut there = 0;
                for writer in &writers {
                    let data = &writer.publication_topic_data;
                    if data.topic_name != dds_name {
                        continue;
                    }
                    if data.type_name == right {
                        there += 1;
                    } else {
                        let (topic, found) = (stream.topic().to_owned(), data.type_name.clone());
                        self.events.wrong_types.insert(topic, found);
                    }
                }
                self.events.publishers.insert(stream.topic().to_owned(), there);
            }
            let publishers = &self.events.publishers;
            if let Some(topic) =
                camera.tend(now, patience, |topic| publishers.get(topic).copied().unwrap_or(0))
            {
                self.events.made_anew = Some((now, topic));
            }
        }
    }

    /// Puts a new participant in the place of one whose event loops have ended. What was learnt,
    /// what is counted and what serves stay; the cameras' topics are subscribed to anew.
    fn reconnect(&mut self, now: Instant) {
        if self.tried.is_some_and(|tried| now - tried < RECONNECT_EVERY) {
            return;
        }
        self.tried = Some(now);
        tracing::warn!("DDS has ended its event loops; a new participant is made");
        let made = self.wiring.link().and_then(|new| {
            let old = self.link.replace(new);
            self.whole = false;
            self.core.set_context(self.link.context.clone());
            let endpoints = self.wiring.endpoints(&self.core, &self.link.context)?;
            Ok((old, std::mem::replace(&mut self.endpoints, endpoints)))
        });
        match made {
            Ok(old) => {
                self.whole = true;
                self.events.reconnected += 1;
                self.events.reconnected_at = Some(now);
                // An answer that nobody acknowledges any more must not keep the loop, and what
                // the dead participant says of each of its topics tells nothing.
                let away = std::thread::Builder::new().name("old dds".to_owned());
                let quietly = move || {
                    let nobody = tracing::subscriber::NoSubscriber::new();
                    tracing::subscriber::with_default(nobody, || drop(old));
                };
                if let Err(error) = away.spawn(quietly) {
                    tracing::error!("no thread: {error}");
                }
            }
            Err(error) => tracing::error!("no new participant: {error}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.core.put_away();
    }
}
