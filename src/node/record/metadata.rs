//! `metadata.yaml` of a rosbag2 recording, version 9.

use std::{collections::BTreeMap, fmt::Write};

use super::file::Contents;
use crate::node::msg::definitions;

/// The text for these files, in their order.
pub(super) fn yaml(files: &[(String, &Contents)]) -> String {
    let mut topics: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for (_, contents) in files {
        for (topic, (type_name, count)) in &contents.topics {
            topics.entry(topic).or_insert((type_name, 0)).1 += count;
        }
    }
    let spans = || files.iter().filter_map(|(_, contents)| contents.span_ns);
    let first = spans().map(|(first, _)| first).min();
    let span = first.zip(spans().map(|(_, last)| last).max());
    let messages: u64 = files.iter().map(|(_, contents)| contents.messages()).sum();
    let mut yaml =
        String::from("rosbag2_bagfile_information:\n  version: 9\n  storage_identifier: mcap\n");
    time(&mut yaml, "  ", span);
    let _ = writeln!(yaml, "  message_count: {messages}");
    list(&mut yaml, "  ", "topics_with_message_count", topics.is_empty());
    for (topic, (type_name, count)) in topics {
        let hash = definitions::recorded(type_name).map_or("", |definition| definition.hash);
        // Names of topics and types were checked: they hold nothing that needs more quotes.
        let _ = write!(
            yaml,
            "    - topic_metadata:\n        name: \"{topic}\"\n        type: {type_name}\n        \
             serialization_format: cdr\n        offered_qos_profiles: []\n        \
             type_description_hash: \"{hash}\"\n      message_count: {count}\n"
        );
    }
    yaml += "  compression_format: \"\"\n  compression_mode: \"\"\n";
    list(&mut yaml, "  ", "relative_file_paths", files.is_empty());
    for (name, _) in files {
        let _ = writeln!(yaml, "    - {name}");
    }
    list(&mut yaml, "  ", "files", files.is_empty());
    for (name, contents) in files {
        let _ = writeln!(yaml, "    - path: {name}");
        time(&mut yaml, "      ", contents.span_ns);
        let _ = writeln!(yaml, "      message_count: {}", contents.messages());
    }
    yaml += "  custom_data: ~\n  ros_distro: spatial_ssrl\n";
    yaml
}

fn list(yaml: &mut String, indent: &str, name: &str, empty: bool) {
    let _ = writeln!(yaml, "{indent}{name}:{}", if empty { " []" } else { "" });
}

/// Start and length; those of an empty recording are as rosbag2 has them.
fn time(yaml: &mut String, indent: &str, span: Option<(u64, u64)>) {
    let (start, duration) = match span {
        Some((first, last)) => (first, last - first),
        None => (i64::MAX as u64, 0),
    };
    let _ = write!(
        yaml,
        "{indent}duration:\n{indent}  nanoseconds: {duration}\n{indent}starting_time:\n\
         {indent}  nanoseconds_since_epoch: {start}\n"
    );
}
