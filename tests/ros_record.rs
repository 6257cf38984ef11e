//! What the node records is a rosbag2 recording to everybody: `rosbags`, `mcap-ros2-support`, and
//! our own reader; also when it was cut off.
#![cfg(feature = "ros2")]

mod common;
#[allow(dead_code)]
#[path = "common/ros_peer.rs"]
mod ros_peer;

use std::{path::Path, time::Duration};

use common::{hash, read_all};
use sha2::{Digest, Sha256};
use spatial_ssrl::{
    frame::{Registration, RgbdFrame},
    node::{
        msg::{CameraInfo, CompressedImage, Header, Image, Time, definitions},
        record::{Recorder, Ring, RingLimits, Sample, When},
    },
    source::{SourceOptions, open},
};

const MIB: u64 = 1 << 20;
const FRAMES: u32 = 24;

/// A frame as a camera sends it, with noise so that it does not become small.
fn frame(number: u32) -> (Image, Image, CameraInfo) {
    let stamp = Time::from_ns(1_700_000_000_000_000_000 + i64::from(number) * 33_000_000);
    let header = Header { stamp, frame_id: "eye_color_optical_frame".to_owned() };
    let mut state = number.wrapping_mul(747_796_405) | 1;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let (width, height) = (160, 120);
    let color = Image {
        header: header.clone(),
        height,
        width,
        encoding: "rgb8".to_owned(),
        is_bigendian: 0,
        step: 3 * width,
        data: (0..3 * width * height).map(|_| noise() as u8).collect(),
    };
    let depth = Image {
        encoding: "16UC1".to_owned(),
        step: 2 * width,
        data: (0..width * height)
            .flat_map(|_| (500 + (noise() % 4000) as u16).to_le_bytes())
            .collect(),
        ..color.clone()
    };
    let info = CameraInfo {
        header,
        height,
        width,
        distortion_model: "plumb_bob".to_owned(),
        d: vec![0.1, -0.2, 0.0, 0.0, 0.05],
        k: [150.0, 0.0, 79.5, 0.0, 151.0, 59.5, 0.0, 0.0, 1.0],
        r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p: [150.0, 0.0, 79.5, 0.0, 0.0, 151.0, 59.5, 0.0, 0.0, 0.0, 1.0, 0.0],
        ..CameraInfo::default()
    };
    (color, depth, info)
}

fn samples(number: u32) -> Vec<Sample> {
    let (color, depth, info) = frame(number);
    vec![
        Sample::of("/eye/color/image_raw", &color).unwrap(),
        Sample::of("/eye/aligned_depth_to_color/image_raw", &depth).unwrap(),
        Sample::of("/eye/color/camera_info", &info).unwrap(),
    ]
}

fn log_ns(number: u32) -> i64 {
    1_700_000_000_010_000_000 + i64::from(number) * 33_000_000
}

/// Records all frames.
fn record(folder: &Path, limits: RingLimits) -> Recorder {
    let mut recorder = Recorder::new(Ring::open(folder, limits).unwrap(), When::Always);
    for number in 0..FRAMES {
        recorder.offer(log_ns(number), &samples(number)).unwrap();
    }
    recorder
}

fn limits(max_bytes: u64, file_bytes: u64) -> RingLimits {
    RingLimits { max_bytes, file_bytes, disk_floor_bytes: 0 }
}

/// What the peer must find: a line for each message.
fn expected(numbers: std::ops::Range<u32>) -> Vec<String> {
    let sha = |bytes: &[u8]| -> String {
        Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    };
    let mut lines = Vec::new();
    for number in numbers {
        let (color, depth, info) = frame(number);
        let stamp = color.header.stamp.ns();
        for (topic, image) in
            [("/eye/color/image_raw", &color), ("/eye/aligned_depth_to_color/image_raw", &depth)]
        {
            let what = format!("{} {}x{}", image.encoding, image.width, image.height);
            let hash = sha(&image.data);
            lines.push(format!("{} {topic} {stamp} {what} {hash}", log_ns(number)));
        }
        let what = format!("{:?} {:?}", info.k[4], info.d[1]);
        lines.push(format!("{} /eye/color/camera_info {stamp} {what}", log_ns(number)));
    }
    lines.sort();
    lines
}

fn peer(mode: &str, path: &Path) -> Option<Vec<String>> {
    let python = ros_peer::python("rosbags, mcap_ros2, rclpy")?;
    let out = ros_peer::run(&python, "ros_record.py", &[mode, path.to_str().unwrap()], "");
    let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
    lines.sort();
    Some(lines)
}

#[test]
fn ros_recording_is_read_by_rosbags_and_mcap_ros2() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("recording");
    let mut recorder = record(&folder, limits(64 * MIB, MIB));
    recorder.close().unwrap();
    let counts = recorder.counts();
    assert_eq!(counts.frames, u64::from(FRAMES));
    assert!(counts.files > 1, "it is split: {counts:?}");
    for mode in ["rosbags", "mcap_ros2"] {
        let Some(lines) = peer(mode, &folder) else { return };
        assert_eq!(lines, expected(0..FRAMES), "{mode}");
    }
}

#[test]
fn ros_recording_says_of_its_types_what_ros_says() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("recording");
    let mut recorder = record(&folder, limits(64 * MIB, MIB));
    recorder.close().unwrap();
    // Hashes and texts come from `rosbags`, which makes them from the definitions of ROS; the
    // rest of metadata.yaml from its reader.
    let Some(lines) = peer("metadata", &folder) else { return };
    let mut wanted: Vec<String> = definitions::RECORDED
        .iter()
        .map(|of| {
            let text = of.text.lines().collect::<Vec<_>>().join("|");
            format!("type {} {} {text}", of.name, of.hash)
        })
        .collect();
    let (files, messages) = (recorder.counts().files, 3 * FRAMES);
    let span = log_ns(FRAMES - 1) - log_ns(0);
    wanted.push(format!("bag 9 mcap {files} {messages} {} {span}", log_ns(0)));
    for (topic, type_name) in [
        ("/eye/aligned_depth_to_color/image_raw", "Image"),
        ("/eye/color/camera_info", "CameraInfo"),
        ("/eye/color/image_raw", "Image"),
    ] {
        let name = format!("sensor_msgs/msg/{type_name}");
        let hash = definitions::recorded(&name).unwrap().hash;
        wanted.push(format!("topic {topic} {name} cdr {FRAMES} {hash}"));
    }
    wanted.sort();
    assert_eq!(lines, wanted);
}

/// Our own reader's frames.
fn frames(path: &Path) -> (Vec<RgbdFrame>, u64) {
    let mut source = open(path.to_str().unwrap(), &SourceOptions::default()).unwrap();
    let (frames, report) = read_all(source.as_mut());
    (frames, report.lost.total())
}

#[test]
fn ros_recording_is_read_by_adapt_with_every_pixel() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("recording");
    record(&folder, limits(64 * MIB, MIB)).close().unwrap();
    let (frames, lost) = frames(&folder);
    assert_eq!((frames.len() as u32, lost), (FRAMES, 0));
    for (number, found) in (0..).zip(&frames) {
        let (color, depth, info) = frame(number);
        assert_eq!(found.stamp_ns, color.header.stamp.ns());
        assert_eq!(found.color.as_raw(), &color.data);
        let depths = found.depth_m.as_ref().unwrap().iter();
        let sent = depth.data.chunks_exact(2).map(|b| f32::from(u16::from_le_bytes([b[0], b[1]])));
        assert!(depths.zip(sent).all(|(found, sent)| (found - sent / 1000.0).abs() < 1e-6));
        assert_eq!(found.intrinsics.unwrap().fx, info.k[0]);
        assert_eq!(found.registration, Registration::Registered);
    }
}

#[test]
fn ros_recording_that_was_cut_off_is_readable_before_and_after_its_repair() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("recording");
    let recorder = record(&folder, limits(64 * MIB, 32 * MIB));
    let file = folder.join("spatial_ssrl_0.mcap");
    let bytes = std::fs::read(&file).unwrap();
    // The process dies, and the disk has all but the end of the last frame.
    std::mem::forget(recorder);
    std::fs::write(&file, &bytes[..bytes.len() - 1000]).unwrap();
    let (cut, _) = frames(&folder);
    let whole: Vec<String> = cut.iter().map(hash).collect();
    assert!(whole.len() as u32 >= FRAMES - 1, "{}", whole.len());
    if let Some(lines) = peer("cut", &file) {
        assert!(lines.len() as u32 >= 3 * (FRAMES - 1), "{}", lines.len());
        let all = expected(0..FRAMES);
        assert!(lines.iter().all(|line| all.contains(line)));
    }
    // The next start repairs it, for those who need an index.
    let ring = Ring::open(&folder, limits(64 * MIB, 32 * MIB)).unwrap();
    drop(ring);
    let (repaired, lost) = frames(&folder);
    assert_eq!(lost, 0);
    assert_eq!(repaired.iter().map(hash).collect::<Vec<_>>(), whole);
    if let Some(lines) = peer("rosbags", &folder) {
        let all = expected(0..FRAMES);
        assert!(lines.len() as u32 >= 3 * (FRAMES - 1) && lines.iter().all(|l| all.contains(l)));
    }
}

#[test]
fn ros_recording_of_compressed_pictures_keeps_their_bytes() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("recording");
    let ring = Ring::open(&folder, limits(64 * MIB, MIB)).unwrap();
    let mut recorder = Recorder::new(ring, When::Drift(Duration::from_secs(1)));
    let (color, depth, info) = frame(3);
    let encoded = |image: &image::DynamicImage| {
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, image::ImageFormat::Png).unwrap();
        file.into_inner()
    };
    let rgb = image::RgbImage::from_raw(160, 120, color.data.clone()).unwrap();
    let z: Vec<u16> =
        depth.data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    let z = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(160, 120, z).unwrap();
    let rgb = CompressedImage {
        header: color.header.clone(),
        format: "rgb8; png compressed bgr8".to_owned(),
        data: encoded(&rgb.into()),
    };
    let z = CompressedImage {
        header: depth.header.clone(),
        format: "16UC1; compressedDepth png".to_owned(),
        data: [vec![0; 12], encoded(&z.into())].concat(),
    };
    let samples = [
        Sample::of("/eye/color/image_raw/compressed", &rgb).unwrap(),
        Sample::of("/eye/aligned_depth_to_color/image_raw/compressedDepth", &z).unwrap(),
        Sample::of("/eye/color/camera_info", &info).unwrap(),
    ];
    recorder.offer(7, &samples).unwrap();
    recorder.close().unwrap();
    let (frames, lost) = frames(&folder);
    assert_eq!((frames.len(), lost), (1, 0));
    assert_eq!(frames[0].color.as_raw(), &color.data);
    assert!(frames[0].depth_m.is_some());
}
