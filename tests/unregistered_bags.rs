//! Depth that another camera took: moved into the colour picture where the bag tells how,
//! of no use otherwise.

#[path = "common/bags.rs"]
mod bags;
mod common;

use bags::{Form, mcap_bytes, two_cameras};
use spatial_ssrl::{
    frame::Registration,
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
