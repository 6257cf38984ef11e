//! Small bags written for tests: real messages of the TUM recording with their pictures
//! scaled down, in every storage form.

use std::{io::Cursor, path::Path};

use byteorder::LittleEndian;
use image::{DynamicImage, ImageFormat, RgbImage, imageops::FilterType};
use serde::Serialize;

pub const COLOR: &str = "/camera/color/image_raw/compressed";
pub const DEPTH: &str = "/camera/aligned_depth_to_color/image_raw/compressedDepth";
pub const INFO: &str = "/camera/color/camera_info";

/// A recorded message: topic, type, log time, CDR.
#[derive(Clone)]
pub struct Message {
    pub topic: &'static str,
    pub ros_type: &'static str,
    pub log_ns: u64,
    pub data: Vec<u8>,
}

#[derive(Serialize)]
struct Header<'a> {
    sec: i32,
    nanosec: u32,
    frame_id: &'a str,
}

#[derive(Serialize)]
struct Compressed<'a> {
    header: Header<'a>,
    format: &'a str,
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
}

#[derive(Serialize)]
struct Info<'a> {
    header: Header<'a>,
    height: u32,
    width: u32,
    distortion_model: &'a str,
    d: Vec<f64>,
    k: [f64; 9],
    r: [f64; 9],
    p: [f64; 12],
    binning: [u32; 2],
    roi: [u32; 4],
    do_rectify: bool,
}

pub fn cdr<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = vec![0, 1, 0, 0];
    out.extend(cdr_encoding::to_vec::<T, LittleEndian>(message).unwrap());
    out
}

fn header(at_ns: u64) -> Header<'static> {
    Header {
        sec: (at_ns / 1_000_000_000) as i32,
        nanosec: (at_ns % 1_000_000_000) as u32,
        frame_id: "camera_color_optical_frame",
    }
}

/// `n` moments, 100 ms apart, with pictures of `width` x `height` that look like something.
pub fn messages(n: u64, width: u32, height: u32) -> Vec<Message> {
    let mut out = Vec::new();
    for i in 0..n {
        let at = 1_305_031_229_528_748_000 + i * 100_000_000;
        let picture = RgbImage::from_fn(width, height, |x, y| {
            let wave = ((x * 7 + y * 3 + i as u32 * 11) % 64) as u8;
            image::Rgb([wave * 3, (x * 255 / width) as u8, (y * 255 / height) as u8])
        });
        let picture = image::imageops::resize(&picture, width, height, FilterType::Triangle);
        let mut jpeg = Cursor::new(Vec::new());
        DynamicImage::from(picture).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let depth = image::ImageBuffer::from_fn(width, height, |x, y| {
            image::Luma([(600 + x * 9 + y * 5 + i as u32) as u16])
        });
        let mut png = Cursor::new(vec![0; 12]);
        png.set_position(12);
        DynamicImage::from(depth).write_to(&mut png, ImageFormat::Png).unwrap();
        let k = [50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0];
        let info = Info {
            header: header(at),
            height,
            width,
            distortion_model: "plumb_bob",
            d: vec![0.0; 5],
            k,
            r: [0.0; 9],
            p: [0.0; 12],
            binning: [0; 2],
            roi: [0; 4],
            do_rectify: false,
        };
        let color = Compressed {
            header: header(at),
            format: "bgr8; jpeg compressed bgr8",
            data: jpeg.into_inner(),
        };
        let depth = Compressed {
            header: header(at + 40_000),
            format: "16UC1; compressedDepth png",
            data: png.into_inner(),
        };
        let picture = "sensor_msgs/msg/CompressedImage";
        let info = ("sensor_msgs/msg/CameraInfo", cdr(&info));
        for (topic, (ros_type, data)) in
            [(COLOR, (picture, cdr(&color))), (INFO, info), (DEPTH, (picture, cdr(&depth)))]
        {
            out.push(Message { topic, ros_type, log_ns: at + 1_000_000, data });
        }
    }
    out
}

/// How an MCAP file is written.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Plain,
    Zstd,
    Lz4,
    Unchunked,
    /// No summary, no index.
    Bare,
}

pub const FORMS: [Form; 5] = [Form::Plain, Form::Zstd, Form::Lz4, Form::Unchunked, Form::Bare];

pub fn mcap_bytes(messages: &[Message], form: Form) -> Vec<u8> {
    let mut options = mcap::WriteOptions::new().profile("ros2").chunk_size(Some(12_000));
    options = match form {
        Form::Plain | Form::Bare => options.compression(None),
        Form::Zstd => options.compression(Some(mcap::Compression::Zstd)),
        Form::Lz4 => options.compression(Some(mcap::Compression::Lz4)),
        Form::Unchunked => options.compression(None).use_chunks(false),
    };
    if let Form::Bare = form {
        options = options
            .calculate_chunk_crcs(false)
            .emit_summary_records(false)
            .emit_message_indexes(false)
            .emit_summary_offsets(false);
    }
    let mut file = Cursor::new(Vec::new());
    let mut writer = options.create(&mut file).unwrap();
    let mut channels = std::collections::HashMap::new();
    for message in messages {
        let channel = *channels.entry(message.topic).or_insert_with(|| {
            let schema = writer.add_schema(message.ros_type, "ros2msg", b"# left out").unwrap();
            writer.add_channel(schema, message.topic, "cdr", &Default::default()).unwrap()
        });
        let header = mcap::records::MessageHeader {
            channel_id: channel,
            sequence: 0,
            log_time: message.log_ns,
            publish_time: message.log_ns,
        };
        writer.write_to_known_channel(&header, &message.data).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    file.into_inner()
}

/// Writes a `.db3` as rosbag2 does.
pub fn write_db3(path: &Path, messages: &[Message]) {
    let mut db = rusqlite::Connection::open(path).unwrap();
    db.execute_batch(
        "CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
         CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL,
             metadata TEXT NOT NULL);
         CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
             serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL,
             type_description_hash TEXT NOT NULL);
         CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,
             timestamp INTEGER NOT NULL, data BLOB NOT NULL);
         CREATE INDEX timestamp_idx ON messages (timestamp ASC);",
    )
    .unwrap();
    let all = db.transaction().unwrap();
    let mut topics: Vec<&str> = Vec::new();
    for message in messages {
        if !topics.contains(&message.topic) {
            topics.push(message.topic);
            let id = topics.len() as i64;
            let row = rusqlite::params![id, message.topic, message.ros_type];
            all.execute("INSERT INTO topics VALUES (?1, ?2, ?3, 'cdr', '', '')", row).unwrap();
        }
        let topic = topics.iter().position(|topic| *topic == message.topic).unwrap() as i64 + 1;
        let row = rusqlite::params![topic, message.log_ns as i64, message.data];
        all.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES (?1, ?2, ?3)", row)
            .unwrap();
    }
    all.commit().unwrap();
}

/// The highest memory use of this process so far, bytes (Linux; 0 elsewhere).
pub fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
