//! The node's DDS side, which can be made anew beneath everything else.
//!
//! `epoll_wait` fails with `EINTR` when a stopped process goes on (signal(7)): after SIGCONT,
//! under a debugger, when the machine wakes up. RustDDS 0.15 ends its event loops then, and the
//! participant is deaf and dumb for good. So the loops are watched, as threads that have to be
//! there, and a participant without them is replaced.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ros2_client::{
    Context, CreateError, NodeName, NodeOptions, dds::rustdds::DomainParticipantBuilder,
};

use super::{
    args::{Discovery, Environment},
    ingest::drain::{SharedNode, locked},
    names::Identity,
    params_service::{self, SharedParameters},
    run::NodeError,
};

/// What the names of RustDDS's threads begin with.
const LOOPS: &str = "RustDDS";
/// One takes what comes from the network, the other finds participants.
const LOOPS_OF_ONE: usize = 2;
/// Threads get their names after they began.
const NAMED_WITHIN: Duration = Duration::from_secs(1);

/// Says which thing DDS did not make.
pub(super) fn dds(what: &str) -> impl FnOnce(CreateError) -> NodeError {
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

/// The threads of this process that run an event loop of DDS; none where that cannot be told.
fn loops() -> BTreeSet<u32> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return BTreeSet::new() };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    threads.flatten().filter_map(number).filter(|thread| is_loop(*thread)).collect()
}

fn is_loop(thread: u32) -> bool {
    let name = Path::new("/proc/self/task").join(thread.to_string()).join("comm");
    std::fs::read_to_string(name).is_ok_and(|name| name.starts_with(LOOPS))
}

/// A participant and the node on it.
pub struct Link {
    /// What topics and services are made with.
    pub node: SharedNode,
    /// The participant.
    pub context: Context,
    loops: BTreeSet<u32>,
}

impl Link {
    /// Makes both.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn open(
        identity: &Identity,
        environment: &Environment,
        parameters: &SharedParameters,
    ) -> Result<Self, NodeError> {
        let others = loops();
        let context = context(environment)?;
        let begun = Instant::now();
        let mut own = BTreeSet::new();
        while own.len() < LOOPS_OF_ONE && begun.elapsed() < NAMED_WITHIN {
            own = loops().difference(&others).copied().collect();
            std::thread::sleep(Duration::from_millis(5));
        }
        let name = NodeName::new(identity.namespace(), identity.name())
            .map_err(|e| NodeError::Dds { what: identity.full(), why: e.to_string() })?;
        // Parameter services and /rosout are ours: those of the library have no descriptions
        // and no stamps of a simulated clock.
        let mut options = NodeOptions::new()
            .enable_rosout(false)
            .start_parameter_services(false)
            .allow_undeclared_parameters(true);
        for (name, value) in params_service::locked(parameters).iter() {
            // The library would take the time from a topic of the wrong type.
            if name != "use_sim_time" {
                options = options.declare_parameter(name, value.clone());
            }
        }
        let mut node = context
            .new_node(name, options)
            .map_err(|e| NodeError::Dds { what: identity.full(), why: e.to_string() })?;
        let spinner = node.spinner().map_err(dds("spinner"))?;
        // It ends with the node, which tells it when it is dropped.
        std::thread::Builder::new().name("ros graph".to_owned()).spawn(move || {
            if let Err(error) = futures::executor::block_on(spinner.spin()) {
                tracing::error!("the graph is no longer followed: {error}");
            }
        })?;
        let node = Arc::new(Mutex::new(node));
        Ok(Link { node, context, loops: own })
    }

    /// Whether its event loops run.
    pub fn is_alive(&self) -> bool {
        self.loops.iter().all(|thread| is_loop(*thread))
    }

    /// Puts another participant and node in the place of these, also for everybody who shares
    /// the node, and gives back the old ones: they go when the last topic on them does.
    pub fn replace(&mut self, new: Link) -> Link {
        let mut new = new;
        // Whoever shares the node shares it through the same lock.
        std::mem::swap(&mut *locked(&self.node), &mut *locked(&new.node));
        std::mem::swap(&mut self.node, &mut new.node);
        std::mem::replace(self, new)
    }
}
