//! How fast bags become frames, beside what limits it: reading the same file and no more,
//! and the Python peer (`rosbags`, deserialised messages).
//!
//! `cargo bench --bench bag_read`; reads the TUM bag of `SPATIAL_SSRL_SHARED` (default
//! `../shared`) and writes it anew without compression into a temporary folder.

use std::{
    hint::black_box,
    io::{BufWriter, Read},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use byteorder::LittleEndian;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Serialize;
use spatial_ssrl::{
    source::{
        SourceOptions,
        bag::{files::BagFiles, mcap::McapFile, storage::Storage},
        open::open_path,
    },
    tally::Tally,
};

/// Frames of the rewritten bag: 138 MB.
const FRAMES: usize = 90;

fn shared_bag() -> Option<PathBuf> {
    let root = std::env::var_os("SPATIAL_SSRL_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let bag = root.join("data/tum-fr1-rpy-10hz/tum-fr1-rpy-10hz.mcap");
    bag.exists().then_some(bag)
}

#[derive(Serialize)]
struct RawImage<'a> {
    sec: i32,
    nanosec: u32,
    frame_id: &'a str,
    height: u32,
    width: u32,
    encoding: &'a str,
    is_bigendian: u8,
    step: u32,
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
}

/// The first frames as raw `rgb8` and `16UC1` without compression.
fn rewrite_raw(bag: &Path, out: &Path) {
    let mut source = open_path("", bag, &SourceOptions::default()).expect("the TUM bag");
    let file = BufWriter::new(std::fs::File::create(out).expect("temporary file"));
    let options = mcap::WriteOptions::new().profile("ros2").compression(None);
    let mut writer = options.create(file).expect("writer");
    let schema = writer.add_schema("sensor_msgs/msg/Image", "ros2msg", b"").expect("schema");
    let topics = ["/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"];
    let channels = topics.map(|topic| {
        writer.add_channel(schema, topic, "cdr", &Default::default()).expect("channel")
    });
    for _ in 0..FRAMES {
        let frame = source.next_frame().expect("readable").expect("enough frames");
        let mm = frame.depth_m.iter().flatten().flat_map(|z_m| {
            let mm = if z_m.is_nan() { 0 } else { (z_m * 1000.0).round() as u16 };
            mm.to_le_bytes()
        });
        let pictures = [
            ("rgb8", 3, frame.stamp_ns, frame.color.as_raw().clone()),
            ("16UC1", 2, frame.depth_stamp_ns.unwrap_or(frame.stamp_ns), mm.collect()),
        ];
        for (channel_id, (encoding, bytes, at, data)) in channels.into_iter().zip(pictures) {
            let image = RawImage {
                sec: (at / 1_000_000_000) as i32,
                nanosec: (at % 1_000_000_000) as u32,
                frame_id: "camera_color_optical_frame",
                height: frame.height(),
                width: frame.width(),
                encoding,
                is_bigendian: 0,
                step: frame.width() * bytes,
                data,
            };
            let mut cdr = vec![0, 1, 0, 0];
            cdr.extend(cdr_encoding::to_vec::<_, LittleEndian>(&image).expect("serialised"));
            let (log_time, publish_time) = (at as u64, at as u64);
            let header =
                mcap::records::MessageHeader { channel_id, sequence: 0, log_time, publish_time };
            writer.write_to_known_channel(&header, &cdr).expect("written");
        }
    }
    writer.finish().expect("finished");
}

fn read_plainly(path: &Path) -> usize {
    let mut file = std::fs::File::open(path).expect("file");
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).expect("readable") {
            0 => return bytes,
            n => bytes += n,
        }
    }
}

fn read_messages(path: &Path) -> usize {
    let mut file = McapFile::open(path).expect("file");
    let topics: Vec<String> = file.topics().into_iter().map(|topic| topic.name).collect();
    file.want(&topics);
    let mut lost = Tally::default();
    std::iter::from_fn(|| file.next(&mut lost)).map(|message| message.data.len()).sum()
}

fn read_frames(path: &Path) -> u64 {
    let mut source = open_path("", path, &SourceOptions::default()).expect("source");
    while let Some(frame) = source.next_frame().expect("readable") {
        black_box(frame);
    }
    source.report().frames
}

/// Seconds that the Python peer takes to read and deserialise all messages.
fn peer_seconds(path: &Path) -> Option<f64> {
    let script = "import sys, time\n\
        from pathlib import Path\n\
        from rosbags.highlevel import AnyReader\n\
        from rosbags.typesys import Stores, get_typestore\n\
        store = get_typestore(Stores.ROS2_HUMBLE)\n\
        from rosbags.rosbag2.storage_mcap import McapReader\n\
        best = 1e9\n\
        for _ in range(3):\n\
        \x20   start = time.perf_counter()\n\
        \x20   reader = McapReader([Path(sys.argv[1])])\n\
        \x20   reader.open()\n\
        \x20   connections = reader.connections\n\
        \x20   for c, _, raw in reader.messages(connections):\n\
        \x20       store.deserialize_cdr(raw, c.msgtype)\n\
        \x20   reader.close()\n\
        \x20   best = min(best, time.perf_counter() - start)\n\
        print(best)\n";
    let output = Command::new("python3").args(["-c", script]).arg(path).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn bench(c: &mut Criterion) {
    let Some(bag) = shared_bag() else {
        eprintln!("skipped: the TUM bag is not there");
        return;
    };
    let dir = tempfile::tempdir().expect("temporary folder");
    let raw = dir.path().join("raw.mcap");
    rewrite_raw(&bag, &raw);
    assert!(BagFiles::find(&raw).is_ok());
    for (name, path) in [("raw", &raw), ("jpeg_and_png", &bag)] {
        let bytes = std::fs::metadata(path).expect("size").len();
        if let Some(seconds) = peer_seconds(path) {
            let rate = bytes as f64 / seconds / 1e6;
            println!("{name}: python rosbags, deserialised, pictures not decoded: {rate:.0} MB/s");
        }
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes)).sample_size(10);
        group.measurement_time(Duration::from_secs(5)).warm_up_time(Duration::from_secs(1));
        group.bench_function("limit_plain_read", |b| b.iter(|| read_plainly(path)));
        group.bench_function("messages", |b| b.iter(|| read_messages(path)));
        group.bench_function("frames", |b| b.iter(|| read_frames(path)));
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
