//! The real binary as a ROS 2 node, driven by real peers.
#![cfg(feature = "ros2")]

mod common;
mod ros;

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use common::shared;
use ros::{Caller, Peer, domain, python};
use spatial_ssrl::node::msg::{
    DiagnosticArray, Health, HealthRequest, OrderPoints, OrderPointsRequest, Pixel,
    RelativeDirection, RelativeDirectionRequest, RelativeDirectionResponse, Status,
};

/// The binary as a node that listens to the camera of the peers.
fn binary(domain: u16, folder: &std::path::Path, more: &[&str]) -> Peer {
    let mut node = Command::new(env!("CARGO_BIN_EXE_spatial-ssrl"));
    node.arg("node").arg("--ros-args");
    node.args(["-p", "cameras:=[/camera]", "-p", "threads:=1", "--params-file"]);
    let file = folder.join("node.yaml");
    let parameters = format!(
        "/**:\n  ros__parameters:\n    out_directory: {}\n    duty_cycle: 0.5\n",
        folder.join("out").display()
    );
    std::fs::write(&file, parameters).unwrap();
    node.arg(file).args(more);
    Peer::start(node, domain)
}

fn camera(domain: u16, seconds: &str) -> Option<Peer> {
    let folder = shared("data/tum-fr1-rpy")?;
    let python = python("rclpy, sensor_msgs, rosgraph_msgs, numpy, PIL")?;
    let args = [folder.to_str()?, "--seconds", seconds, "--wait", "60"];
    Some(Peer::script(&python, "ros_camera.py", domain, &args))
}

fn wait(patience: Duration, mut so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn ros_rclpy_calls_every_service_parameter_and_transition() {
    let Some(python) = python("rclpy, lifecycle_msgs, rcl_interfaces, diagnostic_msgs, std_srvs")
    else {
        return;
    };
    let (folder, domain) = (tempfile::tempdir().unwrap(), domain());
    let Some(_camera) = camera(domain, "300") else { return };
    let _node = binary(domain, folder.path(), &[]);
    let calls = Peer::script(&python, "ros_calls.py", domain, &["/spatial_ssrl"]);
    let told = calls.finish();
    eprintln!("{told}");
    assert!(told.contains("calls done 0 failed"));
    assert!(folder.path().join("out/policy/policy.json").is_file(), "~/save wrote the policy");
}

#[test]
fn ros_own_services_answer_about_the_latest_picture() {
    let (folder, domain) = (tempfile::tempdir().unwrap(), domain());
    let Some(_camera) = camera(domain, "120") else { return };
    let _node = binary(domain, folder.path(), &["-r", "__ns:=/robot", "-p", "autostart:=true"]);
    let caller = Caller::new(domain);
    let statuses: Arc<Mutex<Vec<Status>>> = Arc::default();
    let _status = caller.listen::<Status>("/robot/spatial_ssrl/status", statuses.clone(), true);
    let used = wait(Duration::from_secs(60), || {
        statuses.lock().unwrap().last().is_some_and(|status| status.frames_used > 2)
    });
    assert!(used, "{:?}", statuses.lock().unwrap().last());
    let name = |service: &str| format!("/robot/spatial_ssrl/{service}");

    let pixels = vec![Pixel { x: 40, y: 460 }, Pixel { x: 320, y: 240 }, Pixel { x: 600, y: 20 }];
    let request = OrderPointsRequest { camera: String::new(), pixels };
    let order = caller.call::<OrderPoints>(&name("order_points"), request.clone());
    assert!(order.success, "{order:?}");
    assert_eq!((order.width, order.height, order.farness.len()), (640, 480, 3));
    let mut places = order.nearest_first.clone();
    let sorted = |a: u32, b: u32| order.farness[a as usize] <= order.farness[b as usize];
    assert!(places.windows(2).all(|pair| sorted(pair[0], pair[1])));
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2]);
    assert!(order.probability > 0.0 && order.probability <= 1.0);
    let outside = OrderPointsRequest {
        pixels: vec![Pixel { x: 0, y: 0 }, Pixel { x: 640, y: 0 }],
        ..Default::default()
    };
    let refused = caller.call::<OrderPoints>(&name("order_points"), outside);
    assert!(!refused.success && refused.message.contains("640,0"), "{refused:?}");
    let nobody = OrderPointsRequest { camera: "rear".to_owned(), ..request };
    let refused = caller.call::<OrderPoints>(&name("order_points"), nobody);
    assert!(!refused.success && refused.message.contains("no camera \"rear\""), "{refused:?}");

    let mut request = RelativeDirectionRequest {
        observer: Pixel { x: 100, y: 400 },
        target: Pixel { x: 550, y: 400 },
        facing: RelativeDirectionRequest::FACING_AWAY_FROM_CAMERA,
        ..Default::default()
    };
    let bearing = caller.call::<RelativeDirection>(&name("relative_direction"), request.clone());
    assert!(bearing.success && bearing.metric, "{bearing:?}");
    let total: f32 = bearing.probabilities.iter().sum();
    assert!((total - 1.0).abs() < 1e-3, "{bearing:?}");
    assert!(bearing.stamp.ns() > 0);
    let right = [
        RelativeDirectionResponse::RIGHT_FRONT,
        RelativeDirectionResponse::RIGHT,
        RelativeDirectionResponse::RIGHT_BACK,
    ];
    assert!(right.contains(&bearing.direction), "{bearing:?}");
    request.facing = 9;
    let refused = caller.call::<RelativeDirection>(&name("relative_direction"), request);
    assert!(!refused.success && refused.message.contains("facing 9"), "{refused:?}");

    let health = caller.call::<Health>(&name("health"), HealthRequest::default());
    assert!(health.success && health.frames > 0 && !health.findings.is_empty(), "{health:?}");
    assert!(health.findings.iter().all(|finding| !finding.evidence.is_empty()));
}

#[test]
fn ros_status_reaches_those_who_come_late() {
    let (folder, domain) = (tempfile::tempdir().unwrap(), domain());
    if python("rclpy").is_none() {
        return;
    }
    // Nothing is published again within the test: only the latched message can arrive.
    let _node = binary(domain, folder.path(), &["-p", "status_period_s:=3600.0"]);
    std::thread::sleep(Duration::from_secs(3));
    let caller = Caller::new(domain);
    let statuses: Arc<Mutex<Vec<Status>>> = Arc::default();
    let _status = caller.listen::<Status>("/spatial_ssrl/status", statuses.clone(), true);
    assert!(wait(Duration::from_secs(10), || !statuses.lock().unwrap().is_empty()));
    assert_eq!(statuses.lock().unwrap()[0].state, "unconfigured");
}

#[test]
fn ros_stopped_and_continued_node_recovers_within_seconds_and_says_so() {
    let (folder, domain) = (tempfile::tempdir().unwrap(), domain());
    let Some(_camera) = camera(domain, "120") else { return };
    let node = binary(domain, folder.path(), &["-p", "autostart:=true"]);
    let caller = Caller::new(domain);
    let statuses: Arc<Mutex<Vec<Status>>> = Arc::default();
    let _status = caller.listen::<Status>("/spatial_ssrl/status", statuses.clone(), true);
    let diagnostics: Arc<Mutex<Vec<DiagnosticArray>>> = Arc::default();
    let _diagnostics = caller.listen::<DiagnosticArray>("/diagnostics", diagnostics.clone(), false);
    let last = || statuses.lock().unwrap().last().cloned().unwrap_or_default();
    assert!(wait(Duration::from_secs(60), || last().frames_used > 2), "{:?}", last());

    node.signal(rustix::process::Signal::STOP);
    std::thread::sleep(Duration::from_secs(5));
    let before = last();
    node.signal(rustix::process::Signal::CONT);
    let continued = Instant::now();
    let count = |status: &Status, name: &str| {
        status.frames_skipped.iter().filter(|c| c.name == name).map(|c| c.count).sum::<u64>()
    };
    let looked_at = |status: &Status| {
        status.frames_used + count(status, "near_duplicate") + count(status, "newer_came")
    };
    let back = wait(Duration::from_secs(20), || {
        last().frames_paired > before.frames_paired + 30 && looked_at(&last()) > looked_at(&before)
    });
    let took = continued.elapsed();
    assert!(back, "{before:?} {:?}", last());
    eprintln!(
        "stopped for 5 s: 30 more pairs {:.1} s after it went on; {:?}",
        took.as_secs_f64(),
        last().frames_skipped
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
    let said = wait(Duration::from_secs(5), || {
        let diagnostics = diagnostics.lock().unwrap();
        let mut all = diagnostics.iter().flat_map(|array| &array.status);
        all.any(|status| status.message.contains("stood still for"))
    });
    assert!(said, "{:?}", diagnostics.lock().unwrap().last());
}

#[test]
fn ros_node_refuses_what_it_cannot_do_with_a_reason() {
    let run = |args: &[&str], variable: (&str, &str)| {
        let output = Command::new(env!("CARGO_BIN_EXE_spatial-ssrl"))
            .arg("node")
            .args(args)
            .env(variable.0, variable.1)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let none = ("SPATIAL_SSRL_NOTHING", "1");
    for (args, variable, reason) in [
        (&["--ros-args", "-p", "duty_cycle:=7.0"][..], none, "duty_cycle = 7.0"),
        (&["--ros-args", "-r", "nonsense"], none, "nonsense"),
        (&["--ros-args", "-r", "__node:=a b"], none, "a b"),
        (&["--ros-args", "--params-file", "/no/such/file.yaml"], none, "/no/such/file.yaml"),
        (&[], ("ROS_DOMAIN_ID", "many"), "ROS_DOMAIN_ID"),
        (&[], ("ROS_SECURITY_ENABLE", "true"), "security"),
    ] {
        let (code, told) = run(args, variable);
        assert!(matches!(code, Some(1 | 2)), "{args:?}: {code:?} {told}");
        assert!(told.contains(reason), "{args:?}: {told}");
    }
}
