//! What `inspect` tells of real recordings.

mod common;

use common::shared;
use spatial_ssrl::{
    cli::inspect::{TaskCounts, inspect},
    source::SourceOptions,
};

#[test]
fn a_real_bag_is_told_in_words_and_in_json() {
    let Some(bag) = shared("data/tum-fr1-rpy-10hz") else { return };
    let mut count = |_: &spatial_ssrl::frame::RgbdFrame, _, counts: &mut TaskCounts| {
        counts.entry("reorder".to_owned()).or_default().made += 1;
    };
    let report = inspect(bag.to_str().unwrap(), &SourceOptions::default(), &mut count).unwrap();
    let text = report.render(false);
    println!("{text}");
    for part in ["color_info", "232 of 640x480", "fx 517.3", "registered:", "lost        nothing"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.render(true)).unwrap();
    assert_eq!(json["frames"], 232);
    assert_eq!(json["topics"].as_array().unwrap().len(), 3);
    assert_eq!(json["intrinsics"]["fx"], 517.3);
    assert_eq!(report.exit_code(), 0);
}

#[test]
fn unregistered_depth_is_said_with_the_reason() {
    let Some(bag) = shared("data/librealsense/rs_mcap") else { return };
    let options = SourceOptions { tolerance_ns: Some(200_000_000), ..SourceOptions::default() };
    let report = inspect(bag.to_str().unwrap(), &options, &mut |_, _, _| {}).unwrap();
    let text = report.render(false);
    println!("{text}");
    assert!(text.contains("not registered: "), "{text}");
    assert_eq!(report.gate.all_tasks, 0);
}
