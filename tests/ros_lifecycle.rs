//! The state machine is that of ROS: `rclpy` lists the same states and arrows, and is where we
//! are after the same requests, granted or not.
#![cfg(feature = "ros2")]

#[allow(dead_code)]
#[path = "common/ros_peer.rs"]
mod ros_peer;

use serde_json::{Value, json};
use spatial_ssrl::node::{
    lifecycle::{Lifecycle, Outcome, Stage},
    msg::{Transition, TransitionDescription},
};

fn listed(all: Vec<TransitionDescription>) -> Value {
    let arrow = |t: TransitionDescription| {
        let (from, to) = (t.start_state, t.goal_state);
        json!([t.transition.id, t.transition.label, from.id, from.label, to.id, to.label])
    };
    all.into_iter().map(arrow).collect()
}

/// Requests, and how the work of each ends (of the clean-up after an error: the last).
const WALKS: [&[(&str, &str)]; 5] = [
    &[("configure", "s"), ("activate", "s"), ("deactivate", "f"), ("deactivate", "s")],
    &[("activate", "s"), ("configure", "f"), ("configure", "e"), ("configure", "s")],
    &[("configure", "s"), ("activate", "ef"), ("shutdown", "s"), ("configure", "s")],
    &[("shutdown", "f"), ("configure", "s")],
    &[("configure", "s"), ("cleanup", "f"), ("cleanup", "s"), ("shutdown", "es"), ("cleanup", "s")],
];

#[test]
fn ros_states_and_transitions_are_those_of_rclpy() {
    let Some(python) = ros_peer::python("rclpy.lifecycle") else { return };
    let walks = json!(WALKS).to_string();
    let peer = ros_peer::run(&python, "ros_lifecycle.py", &[], &walks);
    let peer: Value = serde_json::from_str(&peer).expect("JSON");
    let states: Value = Lifecycle::states().iter().map(|s| json!([s.id, s.label])).collect();
    assert_eq!(peer["states"], states);
    assert_eq!(peer["graph"], listed(Lifecycle::graph()));
    for (walk, peer) in WALKS.iter().zip(peer["walks"].as_array().expect("a list")) {
        let mut node = Lifecycle::default();
        let mut ours = Vec::new();
        for (label, outcomes) in *walk {
            let mut outcomes = outcomes.chars();
            let work = |_: Stage, _: Stage| match outcomes.next() {
                Some('f') => Outcome::Failure,
                Some('e') => Outcome::Error,
                _ => Outcome::Success,
            };
            let asked = Transition { id: 0, label: (*label).to_owned() };
            let granted = node.change(&asked, || 0, work, |_| ());
            let success = granted == Ok(Outcome::Success);
            ours.push(json!([success, node.stage().label(), listed(node.transitions())]));
        }
        assert_eq!(*peer, Value::Array(ours), "{walk:?}");
    }
}
