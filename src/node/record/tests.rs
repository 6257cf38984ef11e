use std::{collections::BTreeSet, time::Duration};

use super::{super::*, *};
use crate::node::msg::{CameraInfo, Clock, Header, Image, Time};

const MIB: u64 = 1 << 20;

fn limits(max: u64, file: u64) -> RingLimits {
    RingLimits { max_bytes: max, file_bytes: file, disk_floor_bytes: 0 }
}

/// A picture that zstd cannot make smaller, and its camera info.
fn frame(number: u32, side: u32) -> Vec<Sample> {
    let mut state = number.wrapping_mul(2_654_435_761) | 1;
    let data = (0..side * side).map(|_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    });
    let header = Header { stamp: Time { sec: number as i32, nanosec: 7 }, frame_id: "eye".into() };
    let image = Image {
        header: header.clone(),
        height: side,
        width: side,
        encoding: "mono8".into(),
        is_bigendian: 0,
        step: side,
        data: data.collect(),
    };
    let info = CameraInfo { header, height: side, width: side, ..CameraInfo::default() };
    vec![Sample::of("/eye/image", &image).unwrap(), Sample::of("/eye/camera_info", &info).unwrap()]
}

fn log_ns(number: u32) -> i64 {
    i64::from(number) * 1_000_000_000
}

fn bytes_on_disk(folder: &Path) -> u64 {
    let sizes = fs::read_dir(folder).unwrap().map(|e| e.unwrap().metadata().unwrap().len());
    sizes.sum()
}

#[test]
fn ros_record_never_holds_more_than_its_limit_and_keeps_the_newest() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("ring");
    let mut ring = Ring::open(&folder, limits(4 * MIB, MIB)).unwrap();
    for number in 1..=60 {
        ring.append(log_ns(number), &frame(number, 400)).unwrap();
        assert!(bytes_on_disk(&folder) <= 4 * MIB, "after frame {number}");
    }
    ring.close().unwrap();
    assert!(bytes_on_disk(&folder) <= 4 * MIB);
    assert!(ring.removed() >= 5, "{}", ring.removed());
    let span = |ring: &Ring| {
        let spans: Vec<_> = ring.closed.iter().filter_map(|(_, c)| c.span_ns).collect();
        (spans.first().unwrap().0, spans.last().unwrap().1)
    };
    let (first, last) = span(&ring);
    assert_eq!(last, log_ns(60) as u64, "the newest frame is there");
    assert!(first > log_ns(30) as u64 && last - first >= log_ns(12) as u64, "{first}");
    // Every file is finished, and what was counted is what lies in it.
    for (number, contents) in &ring.closed {
        let read = file::read_contents(&ring.path(*number)).unwrap().unwrap();
        assert_eq!(read, *contents);
    }
    // A later run goes on in the same ring.
    drop(ring);
    let mut ring = Ring::open(&folder, limits(4 * MIB, MIB)).unwrap();
    assert_eq!(span(&ring), (first, last));
    let before = ring.next;
    ring.append(log_ns(61), &frame(61, 400)).unwrap();
    assert_eq!(ring.open.as_ref().unwrap().0, before);
    // Smaller limits are kept from the start.
    drop(ring);
    let ring = Ring::open(&folder, limits(2 * MIB, MIB)).unwrap();
    assert!(bytes_on_disk(&folder) <= 2 * MIB && ring.held().0 > 0);
}

#[test]
fn ros_record_that_was_cut_off_anywhere_is_repaired_to_its_last_whole_frame() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("ring");
    let mut ring = Ring::open(&folder, limits(64 * MIB, 32 * MIB)).unwrap();
    let mut ends = Vec::new();
    for number in 1..=4 {
        ring.append(log_ns(number), &frame(number, 100)).unwrap();
        ends.push(ring.held().1);
    }
    // What lies on the disk while the file is still open: the process may be killed here.
    let path = ring.path(0);
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len() as u64, ends[3], "a frame is with the system when append returns");
    std::mem::forget(ring);
    let mut seen = BTreeSet::new();
    for cut in (40..whole.len()).step_by(997).chain([whole.len()]) {
        let folder = home.path().join(format!("cut{cut}"));
        fs::create_dir(&folder).unwrap();
        let path = folder.join(file_name(0));
        fs::write(&path, &whole[..cut]).unwrap();
        let ring = Ring::open(&folder, limits(64 * MIB, 32 * MIB)).unwrap();
        let frames = ends.iter().filter(|end| **end <= cut as u64).count() as u64;
        let held: u64 = ring.closed.iter().map(|(_, contents)| contents.messages()).sum();
        // Of a frame that was cut off its first message may be whole.
        assert!(
            (2 * frames..=2 * frames + 1).contains(&held),
            "{held} of {frames} frames at {cut}"
        );
        if held > 0 {
            let read = file::read_contents(&path).unwrap().unwrap();
            assert_eq!(read.messages(), held);
        }
        seen.insert(frames);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn ros_record_leaves_the_disk_free() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("ring");
    let limits = RingLimits { disk_floor_bytes: u64::MAX / 2, ..limits(4 * MIB, MIB) };
    let mut ring = Ring::open(&folder, limits).unwrap();
    let refused = ring.append(1, &frame(1, 100)).unwrap_err();
    assert_eq!(refused.name(), "disk_floor");
    assert!(refused.to_string().contains("must leave 9223372036854775807 free"), "{refused}");
    assert_eq!(ring.held(), (0, 0));
}

#[test]
fn ros_record_writes_only_into_a_folder_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("thesis.txt"), "mine").unwrap();
    let refused = Ring::open(home.path(), limits(4 * MIB, MIB)).unwrap_err();
    assert!(refused.to_string().contains("thesis.txt"), "{refused}");
    // Links with our names are neither followed nor removed.
    let outside = home.path().join("outside");
    fs::write(&outside, "mine").unwrap();
    let folder = home.path().join("ring");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&outside, folder.join(file_name(0))).unwrap();
    assert_eq!(Ring::open(&folder, limits(4 * MIB, MIB)).unwrap_err().name(), "folder_not_ours");
    assert_eq!(fs::read(&outside).unwrap(), b"mine");
    for name in ["spatial_ssrl_01.mcap", "spatial_ssrl_+1.mcap", "spatial_ssrl_.mcap", "a.mcap"] {
        assert_eq!(number_of(name), None, "{name}");
    }
}

#[test]
fn ros_record_refuses_what_cannot_be_recorded() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("ring");
    assert_eq!(Ring::open(&folder, limits(4 * MIB, 3 * MIB)).unwrap_err().name(), "limits");
    let mut ring = Ring::open(&folder, limits(MIB, MIB / 2)).unwrap();
    let refused = ring.append(1, &frame(1, 1200)).unwrap_err();
    assert_eq!(refused.name(), "larger_than_limit");
    ring.append(2, &frame(2, 100)).unwrap();
    let refused = Sample::of("/clock", &Clock::default()).unwrap_err();
    assert!(refused.to_string().starts_with("rosgraph_msgs/msg/Clock cannot be"), "{refused}");
    // Times that MCAP cannot say.
    ring.append(-5, &frame(3, 100)).unwrap();
}

#[test]
fn ros_record_of_drift_begins_with_a_sign_and_ends_after_the_last() {
    let home = tempfile::tempdir().unwrap();
    let ring = Ring::open(&home.path().join("ring"), limits(4 * MIB, MIB)).unwrap();
    let mut recorder = Recorder::new(ring, When::Drift(Duration::from_secs(30)));
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(!recorder.wants(at(0)));
    recorder.drift_seen(at(10));
    assert!(recorder.wants(at(10)) && recorder.wants(at(40)));
    assert!(!recorder.wants(at(41)));
    recorder.offer(5, &frame(1, 50)).unwrap();
    let counts = recorder.counts();
    assert_eq!((counts.frames, counts.files, counts.not_recorded.get("no_drift")), (1, 1, 2));
    recorder.set_when(When::Never);
    assert!(!recorder.wants(at(10)));
    recorder.set_when(When::Always);
    assert!(recorder.wants(at(99)));
}
