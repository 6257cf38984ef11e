//! Bags written by an independent implementation (`rosbags`, Python) are read to the same
//! pixels, whatever their storage, compression, encoding and byte order.

mod common;

use std::process::Command;

use common::{hash, read_all, shared};
use spatial_ssrl::{
    frame::Registration,
    source::{SourceOptions, open},
};

const FRAMES: usize = 8;

#[test]
fn every_form_that_rosbags_writes_gives_the_same_pixels() {
    let Some(bag) = shared("data/tum-fr1-rpy-10hz") else { return };
    let ready = Command::new("python3").args(["-c", "import rosbags, numpy, PIL"]).output();
    if !ready.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "pip install rosbags numpy pillow: the peer must be there where CI is set"
        );
        eprintln!("skipped: python3 with rosbags, numpy and pillow is not there");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let script =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/rewrite_bag.py");
    let run = Command::new("python3")
        .arg(script)
        .args([&bag, out.path()])
        .arg(FRAMES.to_string())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

    let expected = std::fs::read_to_string(out.path().join("expected.txt")).unwrap();
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(expected.len(), FRAMES);
    let mut forms = 0;
    for form in std::fs::read_dir(out.path()).unwrap() {
        let form = form.unwrap().path();
        if !form.is_dir() {
            continue;
        }
        forms += 1;
        let mut source = open(form.to_str().unwrap(), &SourceOptions::default()).unwrap();
        let (frames, report) = read_all(source.as_mut());
        let got: Vec<String> =
            frames.iter().map(|frame| format!("{} {}", frame.stamp_ns, hash(frame))).collect();
        assert_eq!(got, expected, "{}: {report:?}", form.display());
        assert!(report.lost.is_empty(), "{}: {:?}", form.display(), report.lost);
        assert!(report.unpaired.is_empty(), "{}: {:?}", form.display(), report.unpaired);
        let first = &frames[0];
        assert_eq!(first.registration, Registration::Registered);
        assert_eq!(first.intrinsics.unwrap().fx, 517.3);
    }
    assert_eq!(forms, 18);

    // The recording itself: the same depth, and a JPEG decoder that agrees with another one.
    let raw = out.path().join("mcap_none");
    let mut raw = open(raw.to_str().unwrap(), &SourceOptions::default()).unwrap();
    let mut jpeg = open(bag.to_str().unwrap(), &SourceOptions::default()).unwrap();
    for _ in 0..FRAMES {
        let (a, b) = (raw.next_frame().unwrap().unwrap(), jpeg.next_frame().unwrap().unwrap());
        let same = |a: f32, b: f32| a == b || a.is_nan() && b.is_nan();
        let depths = a.depth_m.iter().flatten().zip(b.depth_m.iter().flatten());
        assert!(depths.clone().count() > 0 && depths.clone().all(|(a, b)| same(*a, *b)));
        let colors = a.color.as_raw().iter().zip(b.color.as_raw());
        let apart: u64 = colors.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(apart < a.color.as_raw().len() as u64, "JPEG decoders differ by {apart}");
    }
}
