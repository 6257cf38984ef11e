//! What the node tells about itself: `~/status` and `/diagnostics` from what was counted.

use std::time::{Duration, Instant};

use super::{
    core::Core,
    ingest::Camera,
    learning::Report,
    msg::{DiagnosticStatus, KeyValue, Status, Time, counts},
    run::Events,
};
use crate::tally::Tally;

/// What happened this long ago is still told.
const TOLD_FOR: Duration = Duration::from_secs(10);
/// An alarm is told for longer: a person must see it.
const ALARM_FOR: Duration = Duration::from_secs(300);

/// What `~/status` says now.
pub fn status(core: &Core, stamp: Time) -> Status {
    let state = core.state();
    let mut status = Status {
        stamp,
        state_id: state.id,
        state: state.label,
        temperature_c: f64::NAN,
        battery: f64::NAN,
        ..Status::default()
    };
    let Some(listening) = core.listening() else { return status };
    let report = listening.learning.report();
    let (mut dropped, mut skipped) = (Tally::default(), report.frames.skipped.clone());
    for camera in listening.cameras() {
        for (_, stream) in camera.stream_counts() {
            status.messages_received += stream.received;
            dropped.merge(&stream.dropped);
        }
        let pairs = camera.counts();
        dropped.merge(&pairs.unpaired);
        skipped.merge(&pairs.dropped);
        status.frames_paired += pairs.paired;
    }
    skipped.merge(&report.undecoded);
    let budget = core.live().budget;
    status.learning = report.learning;
    status.paused_because = report.paused_because;
    status.messages_dropped = counts(&dropped);
    status.frames_used = report.frames.used;
    status.frames_skipped = counts(&skipped);
    let mut color_only = report.frames.color_only.clone();
    color_only.merge(&report.depth_undecoded);
    status.frames_color_only = counts(&color_only);
    status.tasks = counts(&report.tasks);
    status.tasks_skipped = counts(&report.tasks_skipped);
    status.updates = report.updates.applied;
    status.updates_skipped = counts(&report.updates.skipped);
    status.reward = report.reward;
    status.updates_per_s = report.updates_per_s;
    status.skills = report.skills;
    status.accuracy = report.accuracy;
    status.version = report.version;
    status.promoted = report.candidates.promoted;
    status.rejected = counts(&report.candidates.rejected);
    status.rolled_back = report.candidates.rolled_back;
    status.alarms = counts(&report.candidates.alarms);
    status.alarm = report.alarm.map(|(_, told, _)| told).unwrap_or_default();
    status.duty_cycle = budget.duty_cycle;
    status.memory_bytes = report.load.memory_bytes.unwrap_or(0);
    status.max_memory_bytes = budget.max_memory_bytes;
    status.temperature_c = report.load.temperature_c.unwrap_or(f64::NAN);
    status.max_temperature_c = budget.max_temperature_c;
    status.battery = report.load.battery.unwrap_or(f64::NAN);
    if let Some(keep) = &listening.keep {
        let kept = super::keep::locked(keep).counts();
        status.recorded_bytes = kept.bytes;
        status.recorded_frames = kept.frames;
        status.not_recorded = counts(&kept.not_recorded);
    }
    status.checkpoints_written = report.checkpoints.written;
    status.checkpoints_failed = report.checkpoints.failed;
    status
}

fn values(tally: &Tally, prefix: &str) -> impl Iterator<Item = KeyValue> {
    tally
        .iter()
        .map(move |(name, n)| KeyValue { key: format!("{prefix}{name}"), value: n.to_string() })
}

fn value(key: &str, value: impl ToString) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_string() }
}

/// What `/diagnostics` says now: one entry for the node, one for each camera, one for the learner.
pub fn diagnostics(
    core: &Core,
    events: &Events,
    node: &str,
    now: Instant,
) -> Vec<DiagnosticStatus> {
    let mut all = vec![node_itself(core, events, node, now)];
    let Some(listening) = core.listening() else { return all };
    all.extend(
        listening
            .cameras()
            .iter()
            .map(|camera| camera_status(camera, events, node, now, core.live().stale_after)),
    );
    all.push(learner(&listening.learning.report(), node));
    all
}

fn node_itself(core: &Core, events: &Events, node: &str, now: Instant) -> DiagnosticStatus {
    let recent = |at: Instant| now.saturating_duration_since(at) < TOLD_FOR;
    let mut told = Vec::new();
    if let Some((at, slept)) = events.stood_still
        && recent(at)
    {
        told.push(format!("the node stood still for {:.1} s", slept.as_secs_f64()));
    }
    if events.reconnected_at.is_some_and(recent) {
        told.push("DDS had ended its event loops and was started anew".to_owned());
    }
    if events.clock_back.is_some_and(recent) {
        told.push("/clock went back".to_owned());
    }
    let (level, message) = match told.is_empty() {
        true => (DiagnosticStatus::OK, core.stage().label().to_owned()),
        false => (DiagnosticStatus::WARN, told.join("; ")),
    };
    DiagnosticStatus {
        level,
        name: format!("{node}: node"),
        message,
        hardware_id: "spatial_ssrl".to_owned(),
        values: vec![
            value("state", core.stage().label()),
            value("clock_jumps_back", core.clock.jumps_back()),
            value("dds_started_anew", events.reconnected),
            value("log_lines_lost", super::rosout::lost()),
        ],
    }
}

/// The worse of two levels. STALE has the highest number, but an error is worse.
fn worse(a: u8, b: u8) -> u8 {
    use DiagnosticStatus as D;
    let rank = |level: &u8| [D::OK, D::WARN, D::STALE, D::ERROR].iter().position(|l| l == level);
    if rank(&a) >= rank(&b) { a } else { b }
}

fn camera_status(
    camera: &Camera,
    events: &Events,
    node: &str,
    now: Instant,
    stale_after: Duration,
) -> DiagnosticStatus {
    use DiagnosticStatus as D;
    let (mut level, mut told) = (D::OK, Vec::new());
    let mut found: Vec<KeyValue> = Vec::new();
    let mut say = |at_least: u8, what: String| {
        level = worse(level, at_least);
        told.push(what);
    };
    for stream in camera.streams() {
        let (topic, seen) = (stream.topic(), stream.inbox().counts());
        let there = events.publishers.get(topic).copied().unwrap_or(0);
        let silent =
            seen.heard.is_none_or(|heard| now.saturating_duration_since(heard) > stale_after);
        if stream.is_picture() && silent {
            match there {
                0 => say(D::STALE, format!("nobody publishes {topic}")),
                n => say(D::ERROR, format!("{topic} is silent though {n} publish it")),
            }
        }
        if let Some(other) = events.wrong_types.get(topic) {
            say(D::WARN, format!("somebody publishes {other} on {topic}, ignored"));
        }
        found.push(value(&format!("{topic} received"), seen.received));
        found.push(value(&format!("{topic} rate_hz"), format!("{:.1}", seen.rate_hz())));
        found.push(value(&format!("{topic} publishers"), there));
        found.push(value(&format!("{topic} subscribed_anew"), seen.made_anew));
        found.extend(values(&seen.dropped, &format!("{topic} dropped ")));
    }
    let pairs = camera.counts();
    if let Some((at, topic)) = &events.made_anew
        && now.saturating_duration_since(*at) < TOLD_FOR
        && camera.streams().any(|stream| stream.topic() == topic)
    {
        say(D::WARN, format!("subscribed to {topic} anew"));
    }
    if pairs.set_back_at.is_some_and(|at| now.saturating_duration_since(at) < TOLD_FOR) {
        say(D::WARN, "the stamps went back".to_owned());
    }
    found.push(value("pairs", pairs.paired));
    found.push(value("taken", pairs.taken));
    found.push(value("stamps_went_back", pairs.clock_set_back));
    found.extend(values(&pairs.unpaired, "unpaired "));
    found.extend(values(&pairs.dropped, "pairs dropped "));
    DiagnosticStatus {
        level,
        name: format!("{node}: camera {}", camera.topics().name),
        message: if told.is_empty() { "frames come".to_owned() } else { told.join("; ") },
        hardware_id: camera.topics().name.clone(),
        values: found,
    }
}

fn learner(report: &Report, node: &str) -> DiagnosticStatus {
    use DiagnosticStatus as D;
    let alarm = report.alarm.as_ref().filter(|(at, ..)| at.elapsed() < ALARM_FOR);
    let (level, message) = match (&report.failed, alarm, report.frozen) {
        (Some(why), ..) => (D::ERROR, format!("learning has ended: {why}")),
        (_, Some((_, told, true)), _) => (D::ERROR, told.clone()),
        (_, Some((_, told, false)), _) => (D::WARN, told.clone()),
        (_, _, true) => (D::WARN, "learning stands still until something new is seen".to_owned()),
        _ if report.learning => (D::OK, "learning".to_owned()),
        _ => match report.paused_because.as_str() {
            "memory" | "temperature" | "battery" => {
                (D::WARN, format!("learning pauses: {}", report.paused_because))
            }
            why => (D::OK, format!("not learning: {why}")),
        },
    };
    let mut found = vec![
        value("frames_used", report.frames.used),
        value("frames whose depth was moved", report.frames.depth_moved),
        value("updates", report.updates.applied),
        value("updates_per_s", format!("{:.1}", report.updates_per_s)),
        value("accuracy", format!("{:.3}", report.accuracy)),
        value("version", report.version),
        value("checkpoints_failed", report.checkpoints.failed),
    ];
    found.extend(values(&report.frames.skipped, "frames skipped "));
    found.extend(values(&report.undecoded, "pictures undecoded "));
    found.extend(values(&report.depth_undecoded, "depth undecoded "));
    found.extend(
        report.registration.iter().map(|(camera, why)| value(&format!("depth of {camera}"), why)),
    );
    let name = format!("{node}: learner");
    DiagnosticStatus { level, name, message, hardware_id: "spatial_ssrl".to_owned(), values: found }
}
