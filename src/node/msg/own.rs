//! The messages of `ros/spatial_ssrl_msgs`.

use serde::{Deserialize, Serialize};

use super::{Time, ros_types};
use crate::tally::Tally;

/// How often something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// A stable name.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// All counts of a tally.
pub fn counts(tally: &Tally) -> Vec<Count> {
    tally.iter().map(|(name, count)| Count { name: name.to_owned(), count }).collect()
}

/// A pixel of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pixel {
    /// Column from the left, from 0.
    pub x: u32,
    /// Row from the top, from 0.
    pub y: u32,
}

/// What is known about one fault of a camera.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its name.
    pub fault: String,
    /// NO, YES or CANNOT_TELL.
    pub likely: u8,
    /// The probability that `likely` is right, 0.5 to 1.
    pub confidence: f64,
    /// What it rests on.
    pub evidence: String,
}

/// How well one kind of task is answered on one set of held-out tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SkillAccuracy {
    /// `local` or `factory`.
    pub set: String,
    /// The kind of task.
    pub kind: String,
    /// How many tasks.
    pub tasks: u64,
    /// Part that the serving policy answers right, 0 to 1.
    pub accuracy: f64,
    /// Part that the start answers right, 0 to 1.
    pub accuracy_at_start: f64,
}

/// What the node is doing; see `Status.msg`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// When this was so.
    pub stamp: Time,
    /// Lifecycle state.
    pub state_id: u8,
    /// Its label.
    pub state: String,
    /// Whether updates are being made.
    pub learning: bool,
    /// Why they are not.
    pub paused_because: String,
    /// Pictures and camera infos that arrived.
    pub messages_received: u64,
    /// Those not paired, by reason.
    pub messages_dropped: Vec<Count>,
    /// Pairs of colour and depth, or colour alone.
    pub frames_paired: u64,
    /// Those learnt from or tested on.
    pub frames_used: u64,
    /// Those used for nothing, by reason.
    pub frames_skipped: Vec<Count>,
    /// Those used only for their colour, by reason.
    pub frames_color_only: Vec<Count>,
    /// Tasks made, by kind.
    pub tasks: Vec<Count>,
    /// Tasks not made, by `kind/reason`.
    pub tasks_skipped: Vec<Count>,
    /// Updates that changed weights.
    pub updates: u64,
    /// Updates that did not, by reason.
    pub updates_skipped: Vec<Count>,
    /// Mean reward of the last update, 0 to 1.
    pub reward: f64,
    /// How fast updates are made.
    pub updates_per_s: f64,
    /// Held-out accuracy by set and kind.
    pub skills: Vec<SkillAccuracy>,
    /// Its mean.
    pub accuracy: f64,
    /// The version that serves; 0 is the start.
    pub version: u64,
    /// Candidates that were promoted.
    pub promoted: u64,
    /// Those that were not, by reason.
    pub rejected: Vec<Count>,
    /// Promotions that were undone.
    pub rolled_back: u64,
    /// Alarms by name.
    pub alarms: Vec<Count>,
    /// The last alarm in words.
    pub alarm: String,
    /// Part of the time that the learner may work.
    pub duty_cycle: f64,
    /// Held by the process.
    pub memory_bytes: u64,
    /// Its limit; 0: none.
    pub max_memory_bytes: u64,
    /// The hottest thermal zone; NaN where it cannot be told.
    pub temperature_c: f64,
    /// Its limit; 0: none.
    pub max_temperature_c: f64,
    /// Part of the charge, 0 to 1; NaN where it cannot be told.
    pub battery: f64,
    /// Recorded frames on the disk.
    pub recorded_bytes: u64,
    /// Frames recorded.
    pub recorded_frames: u64,
    /// Frames not recorded, by reason.
    pub not_recorded: Vec<Count>,
    /// Checkpoints written.
    pub checkpoints_written: u64,
    /// Checkpoints that the disk refused.
    pub checkpoints_failed: u64,
}

ros_types! {
    "spatial_ssrl_msgs/msg/Count" Count {}
    "spatial_ssrl_msgs/msg/Pixel" Pixel {}
    "spatial_ssrl_msgs/msg/Finding" Finding { NO = 0, YES = 1, CANNOT_TELL = 2 }
    "spatial_ssrl_msgs/msg/SkillAccuracy" SkillAccuracy {}
    "spatial_ssrl_msgs/msg/Status" Status {}
}
