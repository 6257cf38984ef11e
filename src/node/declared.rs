//! Every parameter of the node: type, default, range, when it may be changed, and what it is for.

use ros2_client::ParameterValue;

use super::lifecycle::Stage;

/// When a parameter may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only when the node is started.
    AtStart,
    /// While the node is unconfigured: the next configure takes it.
    Unconfigured,
    /// At any time, with effect at once.
    Always,
}

impl Change {
    /// Whether it may be changed in this state.
    pub fn allowed(self, stage: Stage) -> bool {
        match self {
            Change::AtStart => false,
            Change::Unconfigured => stage == Stage::Unconfigured,
            Change::Always => true,
        }
    }

    /// For descriptions and refusals.
    pub fn words(self) -> &'static str {
        match self {
            Change::AtStart => "is set when the node is started",
            Change::Unconfigured => "can be changed while the node is unconfigured",
            Change::Always => "can be changed at any time",
        }
    }
}

/// Type, default and range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Yes or no.
    Bool(bool),
    /// A whole number, from the first to the second.
    Int(i64, [i64; 2]),
    /// A number, from the first to the second.
    Float(f64, [f64; 2]),
    /// Any text.
    Text(&'static str),
    /// One of these.
    Choice(&'static str, &'static [&'static str]),
    /// Texts.
    Texts(&'static [&'static str]),
    /// Some of these.
    Choices(&'static [&'static str]),
    /// No number, or four.
    FourFloats,
}

impl Kind {
    /// The default as ROS has it.
    pub fn default_value(&self) -> ParameterValue {
        let texts = |texts: &[&str]| {
            ParameterValue::StringArray(texts.iter().map(|&text| text.to_owned()).collect())
        };
        match *self {
            Kind::Bool(value) => ParameterValue::Boolean(value),
            Kind::Int(value, _) => ParameterValue::Integer(value),
            Kind::Float(value, _) => ParameterValue::Double(value),
            Kind::Text(value) | Kind::Choice(value, _) => ParameterValue::String(value.to_owned()),
            Kind::Texts(values) | Kind::Choices(values) => texts(values),
            Kind::FourFloats => ParameterValue::DoubleArray(Vec::new()),
        }
    }

    /// What the value must be, for descriptions and refusals.
    pub fn words(&self) -> String {
        match self {
            Kind::Bool(_) => "true or false".to_owned(),
            Kind::Int(_, [least, most]) => format!("a whole number from {least} to {most}"),
            Kind::Float(_, [least, most]) => format!("a number from {least:?} to {most:?}"),
            Kind::Text(_) => "a text".to_owned(),
            Kind::Choice(_, all) => format!("one of {}", all.join(", ")),
            Kind::Texts(_) => "a list of texts".to_owned(),
            Kind::Choices(all) => format!("a list of one or more of {}", all.join(", ")),
            Kind::FourFloats => "an empty list, or fx, fy, cx, cy in pixels".to_owned(),
        }
    }
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// Type, default and range.
    pub kind: Kind,
    /// When it may be changed.
    pub change: Change,
    /// What it is for.
    pub description: &'static str,
}

const fn p(name: &'static str, kind: Kind, change: Change, description: &'static str) -> Declared {
    Declared { name, kind, change, description }
}

use Change::{Always, AtStart, Unconfigured};
use Kind::*;

/// All kinds of tasks.
pub const TASK_KINDS: &[&str] = &["reorder", "flip", "inpaint", "depth", "position"];

/// All parameters, by what they are about.
#[rustfmt::skip]
pub const DECLARED: [Declared; 43] = [
    // Frames.
    p("cameras", Texts(&[""]), Unconfigured,
        "Namespaces of the cameras, each relative to the node's namespace or absolute; an empty \
         text is the node's own."),
    p("color_topic", Text("color/image_raw"), Unconfigured,
        "Colour pictures, relative to the camera's namespace; with transport compressed or auto, \
         /compressed is added."),
    p("depth_topic", Text("aligned_depth_to_color/image_raw"), Unconfigured,
        "Depth pictures aligned with colour, relative to the camera's namespace; none: colour \
         alone, which teaches less. With transport compressed or auto, /compressedDepth is added."),
    p("camera_info_topic", Text("color/camera_info"), Unconfigured,
        "Intrinsics of the colour camera, relative to the camera's namespace; none: none."),
    p("transport", Choice("raw", &["raw", "compressed", "auto"]), Unconfigured,
        "raw: Image. compressed: CompressedImage and compressedDepth. auto: compressed where \
         somebody publishes that, else raw."),
    p("tolerance_ms", Float(20.0, [0.0, 1000.0]), Unconfigured,
        "The most that the header stamps of colour and depth may differ to be one frame."),
    p("registered", Choice("auto", &["auto", "yes", "no"]), Unconfigured,
        "Whether depth lies where colour does, pixel by pixel; auto decides from topics and \
         intrinsics."),
    p("intrinsics", FourFloats, Unconfigured,
        "Intrinsics where there is no camera info."),
    p("stall_timeout_s", Float(2.0, [0.2, 60.0]), Always,
        "A stream that is silent for so long while somebody publishes it is subscribed anew."),
    p("queue_depth", Int(4, [1, 64]), Unconfigured,
        "Pictures of one stream that wait to be paired; the oldest is dropped and counted."),
    p("max_rate_hz", Float(30.0, [0.1, 1000.0]), Always,
        "Frames a second that are looked at; others are counted as rate_limited."),
    // Life.
    p("autostart", Bool(false), AtStart,
        "Configure and activate at once, without a lifecycle manager. Learning is off until \
         activated."),
    p("use_sim_time", Bool(false), AtStart,
        "Take the time from /clock."),
    // Learning.
    p("policy", Text("builtin"), Unconfigured,
        "What to start from: builtin, none (random weights), or a folder that adapt wrote. A \
         checkpoint in out_directory wins, unless resume is false."),
    p("resume", Bool(true), Unconfigured,
        "Go on from the last checkpoint in out_directory."),
    p("config_file", Text(""), Unconfigured,
        "A TOML file with every setting of a run; parameters that are given win over it."),
    p("seed", Int(1, [0, i64::MAX]), Unconfigured,
        "Decides every random choice."),
    p("task_kinds", Choices(TASK_KINDS), Unconfigured,
        "Which tasks are made."),
    p("task_preset", Choice("balanced", &["balanced", "published"]), Unconfigured,
        "balanced closes the shortcuts of the published tasks; published keeps them."),
    p("views_per_frame", Int(2, [1, 64]), Unconfigured,
        "The most views of a frame that are learnt from: itself, then crops and mirrored ones."),
    p("updates_per_frame", Int(4, [0, 1000]), Unconfigured,
        "Updates after each frame that is used."),
    p("check_every", Int(300, [1, 1_000_000]), Unconfigured,
        "Updates between two tests of the candidate."),
    // Budget.
    p("duty_cycle", Float(0.5, [0.01, 1.0]), Always,
        "Part of the time that the learner works; it rests in between."),
    p("threads", Int(1, [0, 256]), AtStart,
        "Threads that make tasks, encode and update; 0: one for each core."),
    p("niceness", Int(10, [0, 19]), AtStart,
        "How far learning stands back behind everything else on the machine."),
    p("max_memory_mb", Int(0, [0, 1 << 30]), Always,
        "Learning pauses while the process holds more; 0: no limit."),
    p("max_temperature_c", Float(0.0, [0.0, 150.0]), Always,
        "Learning pauses when any thermal zone is this hot; 0: no limit."),
    p("resume_below_c", Float(0.0, [0.0, 150.0]), Always,
        "It goes on when all are cooler than this; 0: five degrees below max_temperature_c."),
    p("min_battery", Float(0.0, [0.0, 1.0]), Always,
        "Learning pauses while the battery has less than this part of its charge."),
    // What is kept.
    p("out_directory", Text(""), Unconfigured,
        "Where policy and checkpoints are kept, and nothing outside it; empty: spatial_ssrl below \
         $ROS_HOME or ~/.ros, with the node's full name."),
    p("checkpoint_every_s", Float(600.0, [1.0, 86_400.0]), Unconfigured,
        "Seconds between two checkpoints."),
    p("checkpoints_kept", Int(2, [1, 100]), Unconfigured,
        "The latest that are kept, beside the best."),
    p("disk_floor_mb", Int(512, [0, 1 << 30]), Unconfigured,
        "Free space that checkpoints and recordings leave on the disk."),
    // Recording.
    p("record_when", Choice("never", &["drift", "always", "never"]), Always,
        "always: keep every frame that taught something. drift: only while learning has an alarm \
         or the scene is unlike what was learnt. never."),
    p("record_directory", Text(""), Unconfigured,
        "A folder of its own for the recording; empty: recording in out_directory."),
    p("record_max_mb", Int(1024, [16, 1 << 30]), Unconfigured,
        "The most that the recording takes; then its oldest file is removed."),
    p("record_file_mb", Int(128, [4, 1 << 20]), Unconfigured,
        "A file of the recording is closed at this size; at most half of record_max_mb."),
    p("record_hold_s", Float(30.0, [0.0, 3600.0]), Always,
        "How long drift is recorded after its last sign."),
    // What is published.
    p("status_period_s", Float(1.0, [0.1, 3600.0]), Always,
        "Seconds between two messages on ~/status."),
    p("diagnostics_period_s", Float(1.0, [0.1, 3600.0]), Always,
        "Seconds between two messages on /diagnostics."),
    p("farness_period_s", Float(1.0, [0.0, 3600.0]), Always,
        "Seconds between two pictures on ~/farness, made only while somebody listens; 0: none."),
    p("preview_period_s", Float(2.0, [0.0, 3600.0]), Always,
        "Seconds between two pictures on ~/task_preview, made only while somebody listens; 0: \
         none."),
    p("stale_after_s", Float(5.0, [0.5, 3600.0]), Always,
        "Diagnostics call a camera STALE when no frame of it came for so long."),
];
