//! `metadata.yaml` of a rosbag2 folder, versions 1 to 9: which files, which topics, how
//! compressed. What it says is a promise, not a fact: readers believe the files.

use std::{fs::File, io::Read, path::Path};

use serde::Deserialize;

/// The largest `metadata.yaml` that is read, bytes. One of 10,000 split files has 3 MB.
const MAX_METADATA_BYTES: u64 = 16 << 20;

/// What is used of `metadata.yaml`.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Format version, 1 to 9.
    pub version: u32,
    /// Files in recorded order, relative to the folder.
    pub files: Vec<String>,
    /// Topics with their types and counts.
    pub topics: Vec<MetaTopic>,
    /// Length of the recording by bag time, seconds; `None` where it is not positive.
    pub duration_s: Option<f64>,
}

/// One topic as `metadata.yaml` has it.
#[derive(Clone, Debug)]
pub struct MetaTopic {
    /// Name.
    pub name: String,
    /// ROS type.
    pub ros_type: String,
    /// `cdr` where a message can be read here.
    pub serialization: String,
    /// How many messages there are said to be.
    pub messages: u64,
}

#[derive(Deserialize)]
struct Root {
    rosbag2_bagfile_information: Info,
}

// Not read: `offered_qos_profiles` (text, list or empty, depending on the version),
// `starting_time` (INT64_MAX in empty bags), `custom_data`. Compression is recognised in
// the data itself, so `compression_format` and `compression_mode` are not needed either.
#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    version: u32,
    #[serde(default)]
    relative_file_paths: Option<Vec<String>>,
    #[serde(default)]
    files: Option<Vec<FileInfo>>,
    #[serde(default)]
    topics_with_message_count: Option<Vec<Counted>>,
    #[serde(default)]
    duration: Option<Duration>,
}

#[derive(Deserialize)]
struct FileInfo {
    path: String,
}

#[derive(Deserialize)]
struct Duration {
    nanoseconds: i64,
}

#[derive(Deserialize)]
struct Counted {
    topic_metadata: Topic,
    #[serde(default)]
    message_count: u64,
}

#[derive(Deserialize)]
struct Topic {
    name: String,
    r#type: String,
    #[serde(default)]
    serialization_format: Option<String>,
}

/// Reads `metadata.yaml` at `path`.
///
/// # Errors
/// In words, why it cannot be used.
pub fn read(path: &Path) -> Result<Metadata, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file
        .take(MAX_METADATA_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if read as u64 > MAX_METADATA_BYTES {
        return Err(format!("it is larger than {MAX_METADATA_BYTES} bytes"));
    }
    parse(&text)
}

/// Parses the text of a `metadata.yaml`.
///
/// # Errors
/// In words, what is wrong with it.
pub fn parse(text: &str) -> Result<Metadata, String> {
    let root: Root = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let info = root.rosbag2_bagfile_information;
    let mut files = info.relative_file_paths.unwrap_or_default();
    if files.is_empty() {
        files = info.files.unwrap_or_default().into_iter().map(|file| file.path).collect();
    }
    let topics = info
        .topics_with_message_count
        .unwrap_or_default()
        .into_iter()
        .map(|counted| MetaTopic {
            name: counted.topic_metadata.name,
            ros_type: counted.topic_metadata.r#type,
            serialization: counted
                .topic_metadata
                .serialization_format
                .unwrap_or_else(|| "cdr".to_owned()),
            messages: counted.message_count,
        })
        .collect();
    let duration_s =
        info.duration.map(|d| d.nanoseconds as f64 * 1e-9).filter(|s| *s > 0.0 && *s < 1e9);
    Ok(Metadata { version: info.version, files, topics, duration_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(version: u32, qos: &str, tail: &str) -> String {
        format!(
            "rosbag2_bagfile_information:\n  version: {version}\n  storage_identifier: mcap\n  \
             duration:\n    nanoseconds: 2500000000\n  starting_time:\n    \
             nanoseconds_since_epoch: 9223372036854775807\n  message_count: 3\n  \
             topics_with_message_count:\n    - topic_metadata:\n        name: /c\n        \
             type: sensor_msgs/msg/Image\n        serialization_format: cdr\n        \
             offered_qos_profiles: {qos}\n      message_count: 3\n  compression_format: \"\"\n  \
             compression_mode: \"\"\n{tail}"
        )
    }

    #[test]
    fn all_forms_of_qos_and_file_lists_are_read() {
        let paths = "  relative_file_paths:\n    - a_0.mcap\n    - a_1.mcap\n";
        for (version, qos) in [
            (4, "\"\""),
            (5, "\"- history: 3\\n  depth: 0\""),
            (9, "[]"),
            (9, "\n          - history: keep_last\n            depth: 5"),
        ] {
            let meta = parse(&with(version, qos, paths)).unwrap();
            assert_eq!(meta.version, version);
            assert_eq!(meta.files, ["a_0.mcap", "a_1.mcap"]);
            assert_eq!(meta.topics[0].messages, 3);
            assert_eq!(meta.duration_s, Some(2.5));
        }
        let only_files =
            "  files:\n    - path: b_0.db3\n      message_count: 3\n  custom_data: ~\n";
        assert_eq!(parse(&with(8, "[]", only_files)).unwrap().files, ["b_0.db3"]);
    }

    #[test]
    fn hostile_yaml_is_refused_without_blowing_up() {
        assert!(parse("").is_err());
        assert!(parse("rosbag2_bagfile_information: 3").is_err());
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..30 {
            let last = format!("*a{},", i - 1).repeat(9);
            bomb += &format!("a{i}: &a{i} [{last}]\n");
        }
        bomb += "rosbag2_bagfile_information: *a29\n";
        assert!(parse(&bomb).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
