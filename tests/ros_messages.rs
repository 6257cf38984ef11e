//! The Rust types are what the `.msg` and `.srv` files say, on the wire too.
#![cfg(feature = "ros2")]

#[allow(dead_code)]
#[path = "common/ros_peer.rs"]
mod ros_peer;
#[path = "common/wire.rs"]
mod wire;

use std::{collections::BTreeSet, fmt::Write, path::Path};

use byteorder::LittleEndian;
use serde_json::json;
use spatial_ssrl::node::msg::{self, RosService, RosType};
use wire::{Definition, Definitions, Kind, fill, parse};

/// What is known of one Rust type.
struct Known {
    name: &'static str,
    constants: Vec<(String, i64)>,
    kind: Kind,
    /// A message with its values, for the peer.
    line: String,
}

fn known<T: RosType + PartialEq + std::fmt::Debug>() -> Known {
    let filled = fill::<T>();
    let mut bytes = vec![0, 1, 0, 0];
    bytes.extend(cdr_encoding::to_vec::<T, LittleEndian>(&filled.message).expect("serialises"));
    let (again, _) = cdr_encoding::from_bytes::<T, LittleEndian>(&bytes[4..]).expect("reads back");
    assert_eq!(again, filled.message);
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let constants = T::CONSTANTS.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
    Known {
        name: T::TYPE,
        constants: constants.collect(),
        kind: filled.kind,
        line: json!({ "type": T::TYPE, "cdr": hex, "values": filled.values }).to_string(),
    }
}

fn service<S: RosService>() -> [Known; 2]
where
    S::Request: PartialEq + std::fmt::Debug,
    S::Response: PartialEq + std::fmt::Debug,
{
    assert_eq!(S::Request::TYPE, format!("{}_Request", S::TYPE));
    assert_eq!(S::Response::TYPE, format!("{}_Response", S::TYPE));
    [known::<S::Request>(), known::<S::Response>()]
}

fn own() -> Vec<Known> {
    let mut all = vec![
        known::<msg::Count>(),
        known::<msg::Pixel>(),
        known::<msg::Finding>(),
        known::<msg::SkillAccuracy>(),
        known::<msg::Status>(),
    ];
    all.extend(service::<msg::OrderPoints>());
    all.extend(service::<msg::RelativeDirection>());
    all.extend(service::<msg::Health>());
    all
}

fn standard() -> Vec<Known> {
    let mut all = vec![
        known::<msg::Time>(),
        known::<msg::Header>(),
        known::<msg::Image>(),
        known::<msg::CompressedImage>(),
        known::<msg::RegionOfInterest>(),
        known::<msg::CameraInfo>(),
        known::<msg::Clock>(),
        known::<msg::KeyValue>(),
        known::<msg::DiagnosticStatus>(),
        known::<msg::DiagnosticArray>(),
        known::<msg::State>(),
        known::<msg::Transition>(),
        known::<msg::TransitionDescription>(),
        known::<msg::TransitionEvent>(),
    ];
    all.extend(service::<msg::GetState>());
    all.extend(service::<msg::ChangeState>());
    all.extend(service::<msg::GetAvailableStates>());
    all.extend(service::<msg::GetAvailableTransitions>());
    all.extend(service::<msg::Trigger>());
    all.extend(service::<msg::SetBool>());
    all
}

/// All definitions of a package: `folder/msg/*.msg` and `folder/srv/*.srv`.
fn read(package: &str, folder: &Path, definitions: &mut Definitions) {
    for part in ["msg", "srv"] {
        let Ok(files) = std::fs::read_dir(folder.join(part)) else { continue };
        for file in files {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != part) {
                continue;
            }
            let name = format!("{package}/{part}/{}", path.file_stem().unwrap().display());
            let text = std::fs::read_to_string(&path).unwrap();
            if part == "msg" {
                definitions.insert(name, parse(&text));
                continue;
            }
            // A line of three dashes parts the request from the response.
            let lines: Vec<&str> = text.lines().collect();
            let cut = lines.iter().position(|line| line.trim() == "---").expect("---");
            for (half, lines) in [("Request", &lines[..cut]), ("Response", &lines[cut + 1..])] {
                definitions.insert(format!("{name}_{half}"), parse(&lines.join("\n")));
            }
        }
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ros/spatial_ssrl_msgs")
}

fn compare(known: &[Known], definitions: &Definitions) {
    for known in known {
        let name = known.name;
        assert_eq!(known.kind, wire::wire(definitions, name), "{name}");
        let Definition { constants, .. } = &definitions[name];
        // ROS adds constants to its definitions now and then.
        for constant in &known.constants {
            assert!(constants.contains(constant), "{name}: {constant:?} is not in {constants:?}");
        }
    }
}

#[test]
fn ros_types_of_our_own_are_what_their_files_say() {
    let mut definitions = Definitions::new();
    definitions.insert("builtin_interfaces/msg/Time".into(), parse("int32 sec\nuint32 nanosec"));
    read("spatial_ssrl_msgs", &folder(), &mut definitions);
    let own = own();
    compare(&own, &definitions);
    for known in &own {
        assert_eq!(known.constants, definitions[known.name].constants, "{}", known.name);
    }
    // No file without a type.
    let types: BTreeSet<&str> = own.iter().map(|known| known.name).collect();
    let files = definitions.keys().map(String::as_str).filter(|name| name.starts_with("spatial"));
    assert_eq!(types, files.collect());
    // What is not in the list of CMake is not built.
    let cmake = std::fs::read_to_string(folder().join("CMakeLists.txt")).unwrap();
    for name in types {
        let name = name.strip_prefix("spatial_ssrl_msgs/").unwrap();
        let (part, name) = name.split_once('/').unwrap();
        let name = name.trim_end_matches("_Request").trim_end_matches("_Response");
        assert!(cmake.contains(&format!("\"{part}/{name}.{part}\"")), "{name} in CMakeLists.txt");
    }
}

#[test]
fn ros_a_field_that_moves_or_changes_its_type_is_noticed() {
    let mut definitions = Definitions::new();
    definitions.insert("spatial_ssrl_msgs/msg/Pixel".into(), parse("uint32 x\nuint32 y"));
    let kind = fill::<msg::Pixel>().kind;
    assert_eq!(kind, wire::wire(&definitions, "spatial_ssrl_msgs/msg/Pixel"));
    for other in ["uint32 y\nuint32 x", "uint32 x\nint32 y", "uint32 x", "uint32 x\nuint32[] y"] {
        definitions.insert("spatial_ssrl_msgs/msg/Pixel".into(), parse(other));
        assert_ne!(kind, wire::wire(&definitions, "spatial_ssrl_msgs/msg/Pixel"), "{other}");
    }
}

#[test]
fn ros_standard_types_are_what_the_packages_of_ros_say() {
    let Some(python) = ros_peer::python("rclpy, rosbags") else { return };
    let share = ros_peer::share(&python);
    let mut definitions = Definitions::new();
    for package in [
        "builtin_interfaces",
        "std_msgs",
        "sensor_msgs",
        "rosgraph_msgs",
        "diagnostic_msgs",
        "lifecycle_msgs",
        "std_srvs",
    ] {
        read(package, &share.join(package), &mut definitions);
    }
    compare(&standard(), &definitions);
}

/// Every type with a different value in each field: an independent implementation finds the
/// same values at the same places, and writes the same bytes.
#[test]
fn ros_messages_mean_the_same_to_rosbags() {
    let Some(python) = ros_peer::python("rclpy, rosbags, rosidl_adapter") else { return };
    let share = ros_peer::share(&python);
    let lines: Vec<String> = own().into_iter().chain(standard()).map(|known| known.line).collect();
    let out = ros_peer::run(
        &python,
        "ros_messages.py",
        &[share.to_str().unwrap(), folder().to_str().unwrap()],
        &lines.join("\n"),
    );
    assert_eq!(out.trim(), format!("{} types agree", lines.len()));
}
