//! The running node: its DDS participant, its services and topics, and the loop that tends them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ros2_client::{
    Context, CreateError, Name, NodeName, NodeOptions, ServiceMapping,
    dds::rustdds::DomainParticipantBuilder, ros2::QosProfile,
};

use super::{
    answers,
    args::{Discovery, Environment},
    core::{Core, Live, Planner},
    ingest::drain::{Drain, SharedNode, locked},
    lifecycle::Lifecycle,
    msg::{
        ChangeState, ChangeStateResponse, Clock, GetAvailableStates, GetAvailableStatesResponse,
        GetAvailableTransitions, GetAvailableTransitionsResponse, GetState, GetStateResponse,
        Health, OrderPoints, RelativeDirection, RosService, Transition, Trigger, TriggerResponse,
        message_type,
    },
    names::{Identity, NameError, NameKind, Remaps},
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

fn dds(what: &str) -> impl FnOnce(CreateError) -> NodeError {
    let what = what.to_owned();
    move |error| NodeError::Dds { what, why: error.to_string() }
}

/// The participant as the environment asks.
fn context(environment: &Environment) -> Result<Context, NodeError> {
    let builder = DomainParticipantBuilder::new(environment.domain_id);
    let builder = match environment.discovery {
        Discovery::Localhost => builder.with_only_networks([IpAddr::V4(Ipv4Addr::LOCALHOST)]),
        Discovery::Off => {
            builder.with_only_networks(std::iter::empty::<IpAddr>()).same_host_loopback(false)
        }
        Discovery::Subnet | Discovery::SystemDefault => builder,
    };
    if !environment.static_peers.is_empty() {
        tracing::warn!(
            "ROS_STATIC_PEERS is set, but RustDDS cannot ask single machines: {} ignored",
            environment.static_peers.join(", ")
        );
    }
    let what = format!("DDS participant in domain {}", environment.domain_id);
    let participant = builder
        .build()
        .map_err(|error| NodeError::Dds { what: what.clone(), why: error.to_string() })?;
    Context::from_domain_participant(participant).map_err(dds(&what))
}

/// What happened that `~/status` and `/diagnostics` tell.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// The node stood still: when it went on, and for how long it had.
    pub stood_still: Option<(Instant, Duration)>,
    /// A subscription was made anew: when, and its topic.
    pub made_anew: Option<(Instant, String)>,
    /// `/clock` went back: when last.
    pub clock_back: Option<Instant>,
    /// Publishers on a topic.
    pub publishers: BTreeMap<String, usize>,
    /// Topics on which somebody publishes another type, with that type.
    pub wrong_types: BTreeMap<String, String>,
}

/// A node that is up.
pub struct Running {
    core: Arc<Core>,
    node: SharedNode,
    context: Context,
    publishers: Publishers,
    services: Vec<Service>,
    clock: Option<Drain>,
    clock_back: Arc<Mutex<Option<Instant>>>,
    spinning: Option<std::thread::JoinHandle<()>>,
    lines: Option<std::sync::mpsc::Receiver<rosout::Line>>,
    events: Events,
    ticked: Instant,
    tended: Option<Instant>,
}

impl Running {
    /// Brings the node up, unconfigured, or with `autostart` learning.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn start(launch: Launch) -> Result<Self, NodeError> {
        let Launch { identity, remaps, environment, mapping, .. } = &launch;
        let lines = rosout::listen();
        let context = context(environment)?;
        let name = NodeName::new(identity.namespace(), identity.name())
            .map_err(|e| NodeError::Dds { what: identity.full(), why: e.to_string() })?;
        // Parameter services and /rosout are ours: those of the library have no descriptions
        // and no stamps of a simulated clock.
        let mut options = NodeOptions::new()
            .enable_rosout(false)
            .start_parameter_services(false)
            .allow_undeclared_parameters(true);
        for (name, value) in params_service::locked(&launch.parameters).iter() {
            // The library would take the time from a topic of the wrong type.
            if name != "use_sim_time" {
                options = options.declare_parameter(name, value.clone());
            }
        }
        let mut node = context
            .new_node(name, options)
            .map_err(|e| NodeError::Dds { what: identity.full(), why: e.to_string() })?;
        let spinner = node.spinner().map_err(dds("spinner"))?;
        let spinning =
            std::thread::Builder::new().name("ros graph".to_owned()).spawn(move || {
                if let Err(error) = futures::executor::block_on(spinner.spin()) {
                    tracing::error!("the graph is no longer followed: {error}");
                }
            })?;
        let node: SharedNode = Arc::new(Mutex::new(node));
        let (identity, remaps, mapping) = (identity.clone(), remaps.clone(), *mapping);
        let core = Arc::new(Core::new(node.clone(), context.clone(), launch.plan));
        core.set_live(launch.live);
        core.clock.simulate(launch.use_sim_time);
        let topic = |name: &str| remaps.resolve(&identity, name, NameKind::Topic);
        let publishers = {
            let (identity, remaps) = (identity.clone(), remaps.clone());
            let resolve = move |name: &str| remaps.resolve(&identity, name, NameKind::Topic);
            Publishers::open(&context, &node, Box::new(resolve))?
        };
        let events = publishers.transition_events();
        core.on_event(Box::new(events));
        let mut running = Running {
            core,
            node,
            context,
            publishers,
            services: Vec::new(),
            clock: None,
            clock_back: Arc::default(),
            spinning: Some(spinning),
            lines,
            events: Events::default(),
            ticked: Instant::now(),
            tended: None,
        };
        let service = |name: &str| remaps.resolve(&identity, name, NameKind::Service);
        running.offer(service, mapping)?;
        let changed = running.core.clone();
        let on_change = Arc::new(move |now: &Parameters| changed.set_live(plan::live(now)));
        let parameters = &launch.parameters;
        let offered =
            params_service::offer(&running.core, parameters, service, mapping, on_change)?;
        running.services.extend(offered);
        if launch.use_sim_time {
            running.listen_to_clock(&topic("/clock")?)?;
        }
        if launch.autostart {
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

    fn listen_to_clock(&mut self, topic: &str) -> Result<(), NodeError> {
        let name = Name::parse(topic)
            .map_err(|e| NodeError::Dds { what: topic.to_owned(), why: e.to_string() })?;
        let (core, back) = (self.core.clone(), self.clock_back.clone());
        let take = move |taken: super::ingest::drain::Taken<Clock>, at| {
            if let Ok((clock, _)) = taken
                && core.clock.tick(clock.clock.ns())
            {
                tracing::warn!("/clock went back to {} s", clock.clock.sec);
                if let Ok(mut back) = back.lock() {
                    *back = Some(at);
                }
            }
        };
        let qos = QosProfile::subscription_default();
        let clock = Drain::start(&self.node, &name, message_type::<Clock>(), qos, take);
        self.clock = Some(clock.map_err(dds(topic))?);
        Ok(())
    }

    /// Offers all services.
    fn offer(
        &mut self,
        resolve: impl Fn(&str) -> Result<String, NameError>,
        mapping: ServiceMapping,
    ) -> Result<(), NodeError> {
        let core = &self.core;
        let node = &self.node;
        let mut services = Vec::new();
        macro_rules! offer {
            ($name:literal, $service:ty, |$core:ident, $request:ident| $answer:expr) => {{
                let $core = core.clone();
                let name = resolve($name)?;
                let answer = move |$request: <$service as RosService>::Request| $answer;
                let service = Service::offer::<$service>(node, &name, mapping, answer);
                services.push(service.map_err(dds(&name))?);
            }};
        }
        offer!("~/get_state", GetState, |core, _request| GetStateResponse {
            current_state: core.state()
        });
        offer!("~/change_state", ChangeState, |core, request| {
            let success = match core.change(&request.transition) {
                Ok(outcome) => outcome == super::lifecycle::Outcome::Success,
                Err(refused) => {
                    tracing::warn!("~/change_state: {refused}");
                    false
                }
            };
            ChangeStateResponse { success }
        });
        offer!("~/get_available_states", GetAvailableStates, |_core, _request| {
            GetAvailableStatesResponse { available_states: Lifecycle::states() }
        });
        offer!("~/get_available_transitions", GetAvailableTransitions, |core, _request| {
            GetAvailableTransitionsResponse {
                available_transitions: core.lifecycle().transitions(),
            }
        });
        offer!("~/get_transition_graph", GetAvailableTransitions, |_core, _request| {
            GetAvailableTransitionsResponse { available_transitions: Lifecycle::graph() }
        });
        offer!("~/order_points", OrderPoints, |core, request| {
            let listening = core.listening_or();
            answers::order_points(listening.as_deref().map_err(Clone::clone), &request)
        });
        offer!("~/relative_direction", RelativeDirection, |core, request| {
            let listening = core.listening_or();
            answers::relative_direction(listening.as_deref().map_err(Clone::clone), &request)
        });
        offer!("~/health", Health, |core, request| {
            let listening = core.listening_or();
            let listening = listening.as_deref().map_err(Clone::clone);
            answers::health(listening, &request.camera)
        });
        let told = |done: Result<String, String>| match done {
            Ok(message) => TriggerResponse { success: true, message },
            Err(message) => TriggerResponse { success: false, message },
        };
        offer!("~/pause", Trigger, |core, _request| told(
            core.listening_or()
                .and_then(|l| { l.learning.pause(true).map(|()| "learning pauses".to_owned()) })
        ));
        offer!("~/resume", Trigger, |core, _request| told(
            core.listening_or().and_then(|l| {
                l.learning.pause(false).map(|()| "learning may go on".to_owned())
            })
        ));
        offer!("~/save", Trigger, |core, _request| told(
            core.listening_or().and_then(|l| l.learning.save())
        ));
        offer!("~/rollback", Trigger, |core, _request| told(
            core.listening_or().and_then(|l| l.learning.roll_back())
        ));
        self.services = services;
        Ok(())
    }

    /// Runs until `stop`; then puts everything away.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.tick();
            std::thread::sleep(TICK);
        }
        tracing::info!("stopping");
        self.shut_down();
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
            self.tend(now);
        }
        if let Ok(back) = self.clock_back.lock() {
            self.events.clock_back = *back;
        }
        if let Some(lines) = &self.lines {
            // A flood must not keep the loop.
            for line in lines.try_iter().take(200) {
                self.publishers.log(&self.core, line);
            }
        }
        self.publishers.tick(&self.core, &self.events, now);
    }

    fn tend(&mut self, now: Instant) {
        let Some(listening) = self.core.listening() else {
            self.events.publishers.clear();
            return;
        };
        let writers = self.context.domain_participant().discovered_writers();
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

    fn shut_down(&mut self) {
        self.core.put_away();
        self.services.clear();
        self.clock = None;
        locked(&self.node).stop_spinner();
        if let Some(spinning) = self.spinning.take()
            && spinning.join().is_err()
        {
            tracing::error!("the graph's thread panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.spinning.is_some() {
            self.shut_down();
        }
    }
}
