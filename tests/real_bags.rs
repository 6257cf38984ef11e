//! Recordings of real cameras and bags that rosbag2 itself wrote, read in place.

mod common;

use common::{read_all, shared};
use spatial_ssrl::{
    frame::Registration,
    source::{SourceError, SourceOptions, open, open::open_path},
};

#[test]
fn the_tum_bag_gives_all_232_pairs_registered_with_its_intrinsics() {
    let Some(bag) = shared("data/tum-fr1-rpy-10hz") else { return };
    let mut source = open(bag.to_str().unwrap(), &SourceOptions::default()).unwrap();
    let (frames, report) = read_all(source.as_mut());
    assert_eq!(frames.len(), 232);
    assert_eq!((report.frames, report.color_read, report.depth_read), (232, 232, 232));
    assert!(report.lost.is_empty(), "{:?}", report.lost);
    assert!(report.unpaired.is_empty(), "{:?}", report.unpaired);
    assert!(frames.is_sorted_by_key(|frame| frame.stamp_ns));
    for frame in &frames {
        assert_eq!((frame.width(), frame.height()), (640, 480));
        assert_eq!(frame.registration, Registration::Registered);
        let apart_ns = frame.depth_stamp_ns.unwrap() - frame.stamp_ns;
        assert!(apart_ns.abs() < 20_000_000, "{apart_ns}");
        let depth_m = frame.usable_depth_m().unwrap();
        let valid: Vec<f32> = depth_m.iter().copied().filter(|z_m| z_m.is_finite()).collect();
        assert!(valid.len() > 50_000 && valid.iter().all(|z_m| (0.3..11.0).contains(z_m)));
        let k = frame.intrinsics.unwrap();
        assert_eq!((k.fx, k.fy, k.cx, k.cy), (517.3, 516.5, 318.6, 255.3));
    }
    assert_eq!(frames[0].stamp_ns, 1_305_031_229_528_748_000);
    let rate = report.topics.iter().find(|t| t.role == Some("color")).unwrap().rate_hz.unwrap();
    assert!((9.0..11.0).contains(&rate), "{rate}");
}

#[test]
fn the_bare_file_and_the_folder_give_the_same() {
    let Some(bag) = shared("data/tum-fr1-rpy-10hz") else { return };
    let file = bag.join("tum-fr1-rpy-10hz.mcap");
    let first = |path: &std::path::Path| {
        let mut source = open_path("", path, &SourceOptions::default()).unwrap();
        common::hash(&source.next_frame().unwrap().unwrap())
    };
    assert_eq!(first(&bag), first(&file));
    assert_eq!(first(&bag), first(&bag.join("metadata.yaml")));
}

#[test]
fn a_realsense_recording_has_mono16_depth_of_another_camera_and_is_not_registered() {
    for form in ["rs_mcap", "rs_sqlite3"] {
        let Some(bag) = shared(&format!("data/librealsense/{form}")) else { return };
        // Its colour was taken 102 ms from the nearer depth. Depth that is not registered
        // is of no use, so the colour picture comes out alone.
        let bag = bag.to_str().unwrap();
        let (frames, report) = read_all(open(bag, &SourceOptions::default()).unwrap().as_mut());
        assert_eq!((frames.len(), report.unpaired.total()), (1, 2), "{report:?}");
        assert!(frames[0].depth_m.is_none());
        let options = SourceOptions { tolerance_ns: Some(200_000_000), ..SourceOptions::default() };
        let mut source = open(bag, &options).unwrap();
        let (frames, report) = read_all(source.as_mut());
        assert_eq!(frames.len(), 1, "{report:?}");
        let frame = &frames[0];
        assert_eq!(frame.registration, Registration::Unregistered);
        assert!(frame.depth_m.is_some() && frame.usable_depth_m().is_none());
        assert!(report.registration.unwrap().starts_with("not registered"));
        assert_eq!(report.topics.iter().filter(|topic| topic.role.is_some()).count(), 4);
        assert!(report.lost.is_empty(), "{:?}", report.lost);
        assert!(frame.intrinsics.is_some());
    }
}

#[test]
fn bags_of_rosbag2_without_pictures_are_refused_with_the_reason() {
    let Some(root) = shared("data/rosbag2") else { return };
    for bag in [
        "rosbag2_py/test/resources/mcap/talker",
        "rosbag2_py/test/resources/mcap/wbag",
        "rosbag2_py/test/resources/sqlite3/talker",
        "rosbag2_py/test/resources/sqlite3/wbag",
        "rosbag2_tests/resources/mcap/bag_with_topics_and_service_events",
        "rosbag2_tests/resources/mcap/cdr_test",
        "rosbag2_tests/resources/sqlite3/cdr_test",
        "rosbag2_tests/resources/sqlite3/wrong_rmw_test",
        "rosbag2_transport/test/resources/sqlite3/test_bag_for_seek",
    ] {
        let path = root.join(bag);
        match open(path.to_str().unwrap(), &SourceOptions::default()).map(|_| ()) {
            Err(SourceError::Nothing { why, .. }) => {
                assert!(why.contains("no topic of type sensor_msgs/Image"), "{bag}: {why}");
            }
            other => panic!("{bag}: {other:?}"),
        }
    }
    let Some(broken) = shared("data/mcap-malformed/chunk_not_closed.mcap") else { return };
    assert!(open(broken.to_str().unwrap(), &SourceOptions::default()).is_err());
}

#[test]
fn the_real_folders_are_read_and_units_are_said() {
    let read = |name: &str, depth_scale: Option<f64>| {
        let folder = shared(&format!("data/{name}"))?;
        let options = SourceOptions { depth_scale, ..SourceOptions::default() };
        let mut source = open(folder.to_str().unwrap(), &options).unwrap();
        let (frames, report) = read_all(source.as_mut());
        assert!(report.lost.is_empty(), "{name}: {:?}", report.lost);
        assert!(frames.is_sorted_by_key(|frame| frame.stamp_ns));
        let depth_m = frames[0].depth_m.as_ref().unwrap();
        let mut valid: Vec<f32> = depth_m.iter().copied().filter(|z| z.is_finite()).collect();
        valid.sort_by(f32::total_cmp);
        Some((frames.len(), valid[valid.len() / 2], report.notes.join("; ")))
    };
    let Some((n, median_m, _)) = read("tum-fr1-rpy", None) else { return };
    assert_eq!(n, 40);
    assert!((0.5..4.0).contains(&median_m), "{median_m}");
    let (n, median_m, notes) = read("apc-f200-shelf", None).unwrap();
    assert_eq!(n, 15);
    assert!((0.3..2.0).contains(&median_m), "{median_m}");
    assert!(notes.contains("10000 units per metre"), "{notes}");
    let (n, median_m, _) = read("d435-felixchenfy", Some(1000.0)).unwrap();
    assert_eq!(n, 10);
    assert!((0.3..4.0).contains(&median_m), "{median_m}");
    // TUM's units would be wrong here: the first picture tells.
    let (_, assumed_m, notes) = read("d435-felixchenfy", None).unwrap();
    assert_eq!(assumed_m, median_m);
    assert!(notes.contains("taken to be in millimetres"), "{notes}");
}
