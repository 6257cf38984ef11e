//! What the tests against real ROS peers share: the peers, and a node in this process.
#![allow(dead_code)]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use burn::tensor::Device;
use ros2_client::{
    Name, NodeName, NodeOptions, QosProfile, ServiceMapping,
    dds::rustdds::DomainParticipantBuilder,
    qos::{Durability, History},
};
use spatial_ssrl::{
    adapt::{Learner, budget::Load, heritage::Heritage, settings::RunConfig},
    node::{
        args::{Discovery, Environment},
        core::{Live, Setup},
        ingest::{CameraOptions, CameraTopics, Tap, drain},
        msg::{RosService, RosType, message_type, service_type},
        names::{Identity, Remaps},
        run::{Launch, Running},
        service::service_qos,
    },
    policy::compact::CompactPolicy,
};

/// A DDS domain of its own for each test of each process.
pub fn domain() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Fewer than 100, so that the ports of all participants exist.
    (std::process::id() as u16 % 80) + 20 + NEXT.fetch_add(1, Ordering::Relaxed) % 10
}

/// The Python that has the peers, if it has these modules; else why the test is skipped.
pub fn python(modules: &str) -> Option<PathBuf> {
    let given = std::env::var_os("SPATIAL_SSRL_PYTHON").map(PathBuf::from);
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin/python");
    let candidates = given.into_iter().chain([installed, PathBuf::from("python3")]);
    for python in candidates {
        let check = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
        if check.is_ok_and(|check| check.status.success()) {
            return Some(python);
        }
    }
    assert!(std::env::var_os("CI").is_none(), "no Python with {modules}: .ci/run installs it");
    eprintln!("skipped: no Python with {modules}; .ci/run installs it into target/peers");
    None
}

/// A peer program that ends with the test.
pub struct Peer {
    pub child: Child,
    /// What it writes, taken at once: a peer must not wait for the test.
    lines: Receiver<String>,
}

impl Peer {
    /// Starts a script of `tests/peers` in this domain.
    pub fn script(python: &Path, script: &str, domain: u16, args: &[&str]) -> Peer {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
        let mut command = Command::new(python);
        command.arg(script).args(args);
        Peer::start(command, domain)
    }

    pub fn start(mut command: Command, domain: u16) -> Peer {
        let mut child = command
            .env("ROS_DOMAIN_ID", domain.to_string())
            .env("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
            .env_remove("ROS_LOCALHOST_ONLY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the peer starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Peer { child, lines }
    }

    /// All that it writes until its end.
    pub fn finish(mut self) -> String {
        let told: String = self.lines.iter().map(|line| line + "\n").collect();
        assert!(self.child.wait().expect("it ends").success(), "the peer failed: {told}");
        told
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a node of a test is to do.
pub struct Wish {
    pub domain: u16,
    pub compressed: bool,
    pub active: bool,
    /// Whether the test hashes what comes.
    pub hash: bool,
    pub sim_time: bool,
    pub tap: Option<Tap>,
    pub config: RunConfig,
}

impl Wish {
    pub fn new(domain: u16) -> Self {
        let mut config = RunConfig::default();
        config.learn.steps = 0;
        config.learn.views = 1;
        config.budget.threads = 1;
        config.budget.niceness = 10;
        Wish {
            domain,
            compressed: false,
            active: true,
            hash: true,
            sim_time: false,
            tap: None,
            config,
        }
    }
}

/// The topics of the camera that the peers play.
pub fn topics(compressed: bool) -> CameraTopics {
    let ends = if compressed { ["/compressed", "/compressedDepth"] } else { ["", ""] };
    CameraTopics {
        name: "camera".to_owned(),
        color: format!("/camera/color/image_raw{}", ends[0]),
        depth: Some(format!("/camera/aligned_depth_to_color/image_raw{}", ends[1])),
        info: Some("/camera/color/camera_info".to_owned()),
        depth_info: None,
    }
}

/// A node in this process, with a folder that lives as long as the node.
pub fn node(wish: Wish) -> (Running, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    let identity = Identity::new("spatial_ssrl", "/").expect("sound");
    let Wish { domain, compressed, active, sim_time, tap, config, .. } = wish;
    let plan = move |_: &ros2_client::Context| -> Result<Setup, String> {
        let policy = CompactPolicy::builtin(Device::flex()).map_err(|e| e.to_string())?;
        let heritage = Heritage::builtin().map_err(|e| e.to_string())?;
        let mut learner = Learner::new(policy, true, config.clone()).map_err(|e| e.to_string())?;
        learner.inherit(heritage);
        Ok(Setup {
            cameras: vec![topics(compressed)],
            options: CameraOptions::default(),
            registered: None,
            run: run.clone(),
            intrinsics: None,
            learner,
            reference: None,
            machine: Load::default,
            keep: None,
            tap: tap.clone(),
        })
    };
    let launch = Launch {
        identity,
        remaps: Remaps::default(),
        environment: Environment {
            domain_id: domain,
            discovery: Discovery::Localhost,
            static_peers: Vec::new(),
        },
        mapping: ServiceMapping::Enhanced,
        autostart: false,
        use_sim_time: sim_time,
        parameters: Default::default(),
        live: Live::default(),
        plan: Box::new(plan),
    };
    let running = Running::start(launch).expect("the node starts");
    change(&running, "configure");
    if active {
        change(&running, "activate");
    }
    (running, folder)
}

/// Makes a transition that must succeed.
pub fn change(running: &Running, label: &str) {
    use spatial_ssrl::node::{lifecycle::Outcome, msg::Transition};
    let asked = Transition { id: 0, label: label.to_owned() };
    assert_eq!(running.core().change(&asked), Ok(Outcome::Success), "{label}");
}

/// Lets the node run until this is so.
pub fn until(
    running: &mut Running,
    patience: Duration,
    mut so: impl FnMut(&Running) -> bool,
) -> bool {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        running.tick();
        if so(running) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// CPU time of this process, seconds.
pub fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Level and message of the node's diagnostics about this.
pub fn diagnosed(running: &Running, about: &str) -> (u8, String) {
    let about = format!("test: {about}");
    let all = running.diagnostics("test");
    let found = all.into_iter().find(|status| status.name.starts_with(&about));
    found.map_or((0, String::new()), |status| (status.level, status.message))
}

/// A second node of this process, over the same library as the node under test: for types of our
/// own, which rclpy cannot know without generated code.
pub struct Caller {
    node: drain::SharedNode,
    spinning: Option<std::thread::JoinHandle<()>>,
}

impl Caller {
    pub fn new(domain: u16) -> Self {
        let participant = DomainParticipantBuilder::new(domain)
            .with_only_networks([std::net::IpAddr::from([127, 0, 0, 1])])
            .build()
            .expect("a participant");
        let context = ros2_client::Context::from_domain_participant(participant).expect("sound");
        let name = NodeName::new("/", "caller").expect("sound");
        let mut node = context.new_node(name, NodeOptions::new()).expect("a node");
        let spinner = node.spinner().expect("a spinner");
        let spinning = std::thread::spawn(move || {
            let _ = futures::executor::block_on(spinner.spin());
        });
        Caller { node: Arc::new(Mutex::new(node)), spinning: Some(spinning) }
    }

    /// Collects what comes on a topic.
    pub fn listen<M: RosType + Send + 'static>(
        &self,
        topic: &str,
        to: Arc<Mutex<Vec<M>>>,
        latched: bool,
    ) -> drain::Drain {
        let qos = match latched {
            true => QosProfile::publisher_default()
                .durability(Durability::TransientLocal)
                .history(History::KeepLast { depth: 10 }),
            false => QosProfile::subscription_default(),
        };
        let name = Name::parse(topic).expect("a name");
        let take = move |taken: drain::Taken<M>, _| {
            if let Ok((message, _)) = taken {
                to.lock().unwrap().push(message);
            }
        };
        drain::Drain::start(&self.node, &name, message_type::<M>(), qos, take).expect("subscribed")
    }

    /// Calls a service, again and again until it is there.
    pub fn call<S: RosService>(&self, name: &str, request: S::Request) -> S::Response
    where
        S::Request: 'static,
        S::Response: 'static,
    {
        let full = Name::parse(name).expect("a name");
        let qos = service_qos();
        let client = drain::locked(&self.node)
            .create_client::<S::Request, S::Response>(
                ServiceMapping::Enhanced,
                &full,
                &service_type::<S>(),
                qos.clone(),
                qos,
            )
            .expect("a client");
        let end = Instant::now() + Duration::from_secs(60);
        let mut asked = Instant::now() - Duration::from_secs(60);
        while Instant::now() < end {
            // The first request may go before both ends know of each other.
            if asked.elapsed() > Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(700));
                // A new reader first gets what RustDDS has kept for the last one: its answers.
                while client.receive_response().expect("readable").is_some() {}
                client.send_request(request.clone()).expect("sent");
                asked = Instant::now();
            }
            if let Some((_, response)) = client.receive_response().expect("readable") {
                return response;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{name} did not answer");
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        drain::locked(&self.node).stop_spinner();
        if let Some(spinning) = self.spinning.take() {
            let _ = spinning.join();
        }
    }
}
