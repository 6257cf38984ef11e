//! `--ros-args` mean to our node what they mean to one of `rclpy`: names, remaps, parameters of
//! the command line and of files, and what is refused.
#![cfg(feature = "ros2")]

#[allow(dead_code)]
#[path = "common/ros_peer.rs"]
mod ros_peer;

use ros2_client::ParameterValue;
use serde_json::{Value, json};
use spatial_ssrl::node::{args::RosArgs, names::NameKind};

/// Names that are resolved in every case; an empty answer: refused.
const NAMES: [&str; 14] = [
    "a", "/a", "~/a", "b", "ns/a", "a/b", "~", "{node}/x", "/rosout", "a//b", "", "a/", "9a",
    "sub/~/x",
];

/// Command lines after `--ros-args`, parted by `|` since values may hold spaces.
const LINES: [&str; 116] = [
    "",
    "-r|a:=b",
    "-r|/a:=b",
    "-r|/ns/a:=b",
    "-r|a:=/b",
    "-r|~/a:=~/z",
    "-r|a:=b|-r|b:=c",
    "-r|a:=b|-r|a:=c",
    "-r|n:a:=b",
    "-r|m:a:=b",
    "-r|__node:=m|-r|n:a:=b",
    "-r|__node:=m|-r|m:a:=b",
    "-r|__node:=m|-r|~/a:=b",
    "-r|__name:=m",
    "-r|n:__node:=m",
    "-r|k:__node:=m",
    "-r|__ns:=/q",
    "-r|__ns:=q",
    "-r|__ns:=/",
    "-r|__ns:=/q/",
    "-r|__ns:=/q/r|-r|a:=b",
    "-r|n:__ns:=/q|-r|__node:=m",
    "-r|m:__ns:=/q|-r|__node:=m",
    "-r|__node:=m|-r|__node:=k",
    "-r|__node:=9",
    "-r|__node:=a/b",
    "-r|__node:=",
    "-r|rostopic://a:=b",
    "-r|rosservice://a:=b",
    "-r|n:rosservice://a:=b",
    "-r|*:=b",
    "-r|a/*:=b",
    "-r|a:=\\1",
    "-r|a=b",
    "-r|a:b",
    "-r",
    "-r|a:=",
    "-r|:=b",
    "-r|a:=b:=c",
    "-r|a:=b c",
    "-r|a:=b|--|x",
    "-r|a:=b|--|--ros-args|-r|b:=c",
    "--remap|a:=b",
    "a:=b",
    "-z",
    "--log-level|debug",
    "--log-level|DEBUG",
    "--log-level|n:=info",
    "--log-level|loud",
    "--log-level|warning",
    "--log-level",
    "--enable-rosout-logs|--disable-stdout-logs|--enable-external-lib-logs",
    "--enclave|x",
    "--enclave",
    "-p|n:a:=1",
    "-p|/n:a:=1",
    "-p|m:a:=1",
    "-p|a.b.c:=1",
    "-p|a/b:=1",
    "-p|a",
    "-p|a:1",
    "-p|:=1",
    "-p|a:=1|-p|a:=2",
    "-p|n:a:=1|-p|a:=2",
    "-p|a:=2|-p|n:a:=1",
    "-p|ns/n:a:=1",
    "-p|/**:a:=1",
    "-p|9a:=1",
    "-p|a b:=1",
    "-p|a-b:=1",
    "-p|n:a:=b:=c",
    "--param|a:=x:y",
    // Types.
    "-p|a:=-5",
    "-p|a:=+5",
    "-p|a:=--5",
    "-p|a:=0x10",
    "-p|a:=-0X1f",
    "-p|a:=010",
    "-p|a:=08",
    "-p|a:=0",
    "-p|a:=1.0",
    "-p|a:=1e3",
    "-p|a:=1.",
    "-p|a:=.5",
    "-p|a:=true",
    "-p|a:=on",
    "-p|a:=Y",
    "-p|a:=n",
    "-p|a:=No",
    "-p|a:=tRue",
    "-p|a:=\"5\"",
    "-p|a:='true'",
    "-p|a:=[1, 2]",
    "-p|a:=[1, 2.0]",
    "-p|a:=[1.0, 2.5]",
    "-p|a:=[a, b]",
    "-p|a:=[true, off]",
    "-p|a:=[\"1\", 2]",
    "-p|a:=",
    "-p|a:=~",
    "-p|a:=null",
    "-p|a:=.nan",
    "-p|a:=nan",
    "-p|a:=-.inf",
    "-p|a:=infinity",
    "-p|a:=99999999999999999999",
    "-p|a:=1e400",
    "-p|a:=1_000",
    "-p|a:=0b1",
    "-p|a:=0o7",
    "-p|a:=!!str 5",
    "-p|a:={a: 1}",
    "-p|a:=\"a",
    "-p|a:=[1",
    "-p|a:=5 # c",
    "-p|a:=*x",
];

/// Parameter files, with what comes after them on the command line.
const FILES: [(&str, &str); 33] = [
    ("/**:\n  ros__parameters:\n    a: 1\n    b:\n      c: x\n      d: {e: 2.5}\n", ""),
    ("n:\n  ros__parameters: {a: 1}\n", ""),
    ("/n:\n  ros__parameters: {a: 1}\n", ""),
    ("ns:\n  n:\n    ros__parameters: {a: 1}\n", ""),
    ("/ns:\n  n:\n    ros__parameters: {a: 1}\n", ""),
    ("/ns/n:\n  ros__parameters: {a: 1}\n", ""),
    ("ns/n:\n  ros__parameters: {a: 1}\n", ""),
    ("/*:\n  ros__parameters: {a: 1}\n", ""),
    ("/*/n:\n  ros__parameters: {a: 1}\n", ""),
    ("/**/n:\n  ros__parameters: {a: 1}\n", ""),
    ("/ns/*:\n  ros__parameters: {a: 1}\n", ""),
    ("**:\n  ros__parameters: {a: 1}\n", ""),
    ("/**:\n  ros__parameters: {a: 1}\nn:\n  ros__parameters: {a: 2}\n", ""),
    ("n:\n  ros__parameters: {a: 2}\n/**:\n  ros__parameters: {a: 1}\n", ""),
    ("/**:\n  a: 1\n", ""),
    ("a: 1\n", ""),
    ("", ""),
    ("[]", ""),
    ("/**:\n  ros__parameters:\n", ""),
    ("/**:\n  ros__parameters: 5\n", ""),
    ("/**:\n  ros__parameters: {a: }\n", ""),
    ("/**:\n  ros__parameters: {a: null}\n", ""),
    ("/**:\n  ros__parameters: {a: [[1,2],[3]]}\n", ""),
    ("/**:\n  ros__parameters: {a: 1, a: 2}\n", ""),
    ("/**:\n  ros__parameters: {a: &x 1, b: *x}\n", ""),
    ("/**:\n  ros__parameters: {a: 1}\n---\n/**:\n  ros__parameters: {b: 1}\n", ""),
    ("/**:\n  ros__parameters:\n    a: \"x\n", ""),
    ("/**:\n  ros__parameters: {q: {/topic: {depth: 3}}}\n", ""),
    ("/**:\n  ros__parameters: {a: 1}\nn:\n  ros__parameters: {a: 2}\n", "-p|a:=3"),
    ("n:\n  ros__parameters: {a: 2}\n", "-p|a:=3"),
    ("n:\n  ros__parameters: {a: 2}\n", "-r|__node:=m"),
    ("ns:\n  m:\n    ros__parameters: {a: 2}\n", "-r|__node:=m|-r|__ns:=/ns"),
    ("/**:\n  ros__parameters:\n    - a\n", ""),
];

/// What a node makes of a line; null where the line is refused.
fn ours(line: &[String], namespace: &str) -> Value {
    let Ok((ros, _)) = RosArgs::parse(line.iter().cloned()) else { return Value::Null };
    let Ok(node) = ros.identity("n", namespace) else { return Value::Null };
    let resolve = |kind| -> Value {
        let full = |name: &&str| ros.remaps.resolve(&node, name, kind).unwrap_or_default();
        NAMES.iter().map(full).collect()
    };
    let plain = |value: &ParameterValue| match value {
        ParameterValue::Boolean(value) => json!(["BOOL", value]),
        ParameterValue::Integer(value) => json!(["INTEGER", value]),
        ParameterValue::Double(value) => json!(["DOUBLE", format!("{value:?}").to_lowercase()]),
        ParameterValue::String(value) => json!(["STRING", value]),
        ParameterValue::BooleanArray(value) => json!(["BOOL_ARRAY", value]),
        ParameterValue::IntegerArray(value) => json!(["INTEGER_ARRAY", value]),
        ParameterValue::DoubleArray(value) => json!(["DOUBLE_ARRAY", value]),
        ParameterValue::StringArray(value) => json!(["STRING_ARRAY", value]),
        other => json!([format!("{other:?}"), null]),
    };
    let values = ros.parameters(&node);
    let values: serde_json::Map<String, Value> =
        values.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
    json!({
        "name": node.name(),
        "namespace": node.namespace(),
        "topics": resolve(NameKind::Topic),
        "services": resolve(NameKind::Service),
        "parameters": values,
    })
}

#[test]
fn ros_arguments_mean_what_they_mean_to_rclpy() {
    let Some(python) = ros_peer::python("rclpy") else { return };
    let home = tempfile::tempdir().unwrap();
    let mut lines: Vec<Vec<String>> = Vec::new();
    let split = |line: &str| -> Vec<String> {
        // Nothing at all is no argument.
        line.split('|').filter(|_| !line.is_empty()).map(str::to_owned).collect()
    };
    for line in LINES {
        lines.push(split(line));
    }
    for (number, (text, after)) in FILES.iter().enumerate() {
        let path = home.path().join(format!("{number}.yaml"));
        std::fs::write(&path, text).unwrap();
        let mut line = vec!["--params-file".to_owned(), path.to_str().unwrap().to_owned()];
        line.extend(split(after));
        lines.push(line);
    }
    lines.push(vec!["--params-file".to_owned(), "/no/such/file.yaml".to_owned()]);
    let cases: Vec<(Vec<String>, &str)> = lines
        .into_iter()
        .flat_map(|mut line| {
            line.insert(0, "--ros-args".to_owned());
            [(line.clone(), "/"), (line, "/ns")]
        })
        .collect();
    let input = json!({ "names": NAMES, "cases": cases }).to_string();
    let peer = ros_peer::run(&python, "ros_arguments.py", &[], &input);
    let peer: Vec<Value> = serde_json::from_str(&peer).expect("JSON");
    assert_eq!(peer.len(), cases.len());
    let mut refused = 0;
    for ((line, namespace), peer) in cases.iter().zip(&peer) {
        let ours = ours(line, namespace);
        assert_eq!(ours, *peer, "ours left, rclpy right: {line:?} in {namespace}");
        refused += usize::from(peer.is_null());
    }
    assert!(refused > 60 && cases.len() - refused > 150, "{refused} of {}", cases.len());
}
