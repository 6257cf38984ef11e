//! Depth that another camera took: moved into the colour picture where the bag tells how,
//! of no use otherwise.

#[path = "common/bags.rs"]
mod bags;
mod common;

use bags::{Form, mcap_bytes, two_cameras};
use spatial_ssrl::{
    frame::{Registration, RgbdFrame, align, augment},
    source::{SourceOptions, open},
};

#[test]
fn depth_is_moved_into_the_colour_picture_by_what_tf_static_tells() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("two.mcap");
    std::fs::write(&path, mcap_bytes(&two_cameras(true), Form::Zstd)).unwrap();
    let mut source = open(path.to_str().unwrap(), &SourceOptions::default()).unwrap();
    let (frames, report) = common::read_all(source.as_mut());
    assert_eq!(frames.len(), 3);
    let why = report.registration.unwrap();
    assert!(why.contains("/tf_static"), "{why}");
    for frame in &frames {
        assert_eq!(frame.registration, Registration::Reprojected);
        let depth_m = frame.usable_depth_m().unwrap();
        assert_eq!(depth_m.dim(), (480, 640));
        // All of the narrower colour picture sees the wall.
        assert!(depth_m.iter().all(|z_m| (z_m - 2.0).abs() < 1e-6));
        assert_eq!(frame.intrinsics.unwrap().fx, 600.0);
    }
}

#[test]
fn without_extrinsics_depth_stays_unregistered_and_the_report_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("two.mcap");
    std::fs::write(&path, mcap_bytes(&two_cameras(false), Form::Plain)).unwrap();
    let mut source = open(path.to_str().unwrap(), &SourceOptions::default()).unwrap();
    let (frames, report) = common::read_all(source.as_mut());
    assert_eq!(frames.len(), 3);
    assert!(frames.iter().all(|frame| frame.usable_depth_m().is_none()));
    assert!(report.registration.unwrap().contains("not registered: colour is 640x480"));
    assert!(report.notes.iter().any(|note| note.contains("/tf_static")), "{:?}", report.notes);
}

/// Registrations of all frames of a folder, and what the report says about them.
fn folder(path: &std::path::Path, registered: Option<bool>) -> (Vec<Registration>, String) {
    let options = SourceOptions { registered, ..SourceOptions::default() };
    let mut source = open(path.to_str().unwrap(), &options).unwrap();
    let (frames, report) = common::read_all(source.as_mut());
    (frames.iter().map(|frame| frame.registration).collect(), report.registration.unwrap())
}

#[test]
fn edges_tell_whether_the_depth_of_a_folder_is_registered() {
    let Some(data) = common::shared("data") else { return };
    for (name, registered) in [
        ("unregistered-d435", false),
        ("d435-felixchenfy", true),
        ("apc-f200-shelf", true),
        ("ycb-table", true),
        ("tote-sr300", true),
        ("tum-fr1-rpy", true),
    ] {
        let (frames, told) = folder(&data.join(name), None);
        let expected =
            if registered { Registration::Registered } else { Registration::Unregistered };
        assert!(frames.iter().all(|&frame| frame == expected), "{name}: {told}");
        assert!(told.contains("edges of depth"), "{name}: {told}");
        assert_eq!(told.contains("--registered yes"), !registered, "{name}: {told}");
    }
    // The user knows better.
    let (frames, told) = folder(&data.join("unregistered-d435"), Some(true));
    assert!(frames.iter().all(|&frame| frame == Registration::Registered), "{told}");
}

#[test]
fn depth_of_a_wider_field_does_not_lie_where_colour_does() {
    let mut source = open("rooms:seeds=1-4,frames=3", &SourceOptions::default()).unwrap();
    let (frames, _) = common::read_all(source.as_mut());
    let peak = |frames: Vec<RgbdFrame>| align::over_frames(frames).unwrap().peak();
    let wider = frames.iter().map(|frame| {
        let (width, height) = (frame.width(), frame.height());
        let middle = augment::crop(frame, width / 8, height / 8, width * 3 / 4, height * 3 / 4);
        let color = augment::resize(&middle.unwrap(), width, height).unwrap().color;
        RgbdFrame { color, ..frame.clone() }
    });
    let wider = peak(wider.collect());
    let as_it_is = peak(frames);
    assert!(as_it_is > 3.0 && wider < 0.75, "{as_it_is} as it is, {wider} with a wider field");
}
