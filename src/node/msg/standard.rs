//! What ROS itself defines.

use serde::{Deserialize, Serialize};

use super::ros_types;

/// `builtin_interfaces/msg/Time`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Time {
    /// Whole seconds since the epoch of the clock.
    pub sec: i32,
    /// Nanoseconds beyond them; below 1e9 in a sound message.
    pub nanosec: u32,
}

impl Time {
    /// Nanoseconds since the epoch.
    ///
    /// ```
    /// use spatial_ssrl::node::msg::Time;
    /// assert_eq!(Time { sec: -1, nanosec: 999_999_999 }.ns(), -1);
    /// assert_eq!(Time::from_ns(-1), Time { sec: -1, nanosec: 999_999_999 });
    /// ```
    pub fn ns(self) -> i64 {
        i64::from(self.sec) * 1_000_000_000 + i64::from(self.nanosec)
    }

    /// From nanoseconds since the epoch; what 32 bits of seconds cannot hold (after 2038) is
    /// cut to the nearest time that they can.
    pub fn from_ns(ns: i64) -> Self {
        match i32::try_from(ns.div_euclid(1_000_000_000)) {
            Ok(sec) => Time { sec, nanosec: ns.rem_euclid(1_000_000_000) as u32 },
            Err(_) if ns < 0 => Time { sec: i32::MIN, nanosec: 0 },
            Err(_) => Time { sec: i32::MAX, nanosec: 999_999_999 },
        }
    }
}

/// `std_msgs/msg/Header`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// When it was measured.
    pub stamp: Time,
    /// The frame that it was measured in.
    pub frame_id: String,
}

/// `sensor_msgs/msg/Image`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Stamp and optical frame.
    pub header: Header,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// `rgb8`, `16UC1`, ….
    pub encoding: String,
    /// 1 when values of more than one byte have the highest first.
    pub is_bigendian: u8,
    /// Bytes from one row to the next.
    pub step: u32,
    /// `step * height` bytes.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// `sensor_msgs/msg/CompressedImage`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CompressedImage {
    /// Stamp and optical frame.
    pub header: Header,
    /// `jpeg`, `bgr8; jpeg compressed bgr8`, `16UC1; compressedDepth png`, ….
    pub format: String,
    /// The compressed picture.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// `sensor_msgs/msg/RegionOfInterest`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RegionOfInterest {
    /// Leftmost column.
    pub x_offset: u32,
    /// Topmost row.
    pub y_offset: u32,
    /// Rows; 0 with width 0: the whole picture.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Whether a picture of the region was rectified as such.
    pub do_rectify: bool,
}

/// `sensor_msgs/msg/CameraInfo`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CameraInfo {
    /// Stamp and optical frame.
    pub header: Header,
    /// Rows of the full picture.
    pub height: u32,
    /// Columns of the full picture.
    pub width: u32,
    /// `plumb_bob`, `rational_polynomial`, ….
    pub distortion_model: String,
    /// Distortion coefficients.
    pub d: Vec<f64>,
    /// Camera matrix, row by row.
    pub k: [f64; 9],
    /// Rectification, row by row.
    pub r: [f64; 9],
    /// Projection, row by row.
    pub p: [f64; 12],
    /// Columns of the sensor that make one of the picture; 0 means 1.
    pub binning_x: u32,
    /// Rows of the sensor that make one of the picture; 0 means 1.
    pub binning_y: u32,
    /// The part of the full picture that is sent.
    pub roi: RegionOfInterest,
}

/// `rosgraph_msgs/msg/Clock`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// The simulated time.
    pub clock: Time,
}

/// `diagnostic_msgs/msg/KeyValue`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyValue {
    /// What is told.
    pub key: String,
    /// Its value as text.
    pub value: String,
}

/// `diagnostic_msgs/msg/DiagnosticStatus`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiagnosticStatus {
    /// OK, WARN, ERROR or STALE.
    pub level: u8,
    /// What is tested.
    pub name: String,
    /// What was found.
    pub message: String,
    /// The robot's hardware that it is about.
    pub hardware_id: String,
    /// The numbers.
    pub values: Vec<KeyValue>,
}

/// `diagnostic_msgs/msg/DiagnosticArray`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiagnosticArray {
    /// When it was tested.
    pub header: Header,
    /// One for each thing tested.
    pub status: Vec<DiagnosticStatus>,
}

/// `lifecycle_msgs/msg/State`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// One of the constants.
    pub id: u8,
    /// Its name in small letters.
    pub label: String,
}

/// `lifecycle_msgs/msg/Transition`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// One of the constants.
    pub id: u8,
    /// Its name in small letters.
    pub label: String,
}

/// `lifecycle_msgs/msg/TransitionDescription`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionDescription {
    /// What happens.
    pub transition: Transition,
    /// From where.
    pub start_state: State,
    /// To where.
    pub goal_state: State,
}

/// `lifecycle_msgs/msg/TransitionEvent`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionEvent {
    /// When, nanoseconds.
    pub timestamp: u64,
    /// What happened.
    pub transition: Transition,
    /// From where.
    pub start_state: State,
    /// To where.
    pub goal_state: State,
}

ros_types! {
    "builtin_interfaces/msg/Time" Time {}
    "std_msgs/msg/Header" Header {}
    "sensor_msgs/msg/Image" Image {}
    "sensor_msgs/msg/CompressedImage" CompressedImage {}
    "sensor_msgs/msg/RegionOfInterest" RegionOfInterest {}
    "sensor_msgs/msg/CameraInfo" CameraInfo {}
    "rosgraph_msgs/msg/Clock" Clock {}
    "diagnostic_msgs/msg/KeyValue" KeyValue {}
    "diagnostic_msgs/msg/DiagnosticStatus" DiagnosticStatus {
        OK = 0, WARN = 1, ERROR = 2, STALE = 3
    }
    "diagnostic_msgs/msg/DiagnosticArray" DiagnosticArray {}
    "lifecycle_msgs/msg/State" State {
        PRIMARY_STATE_UNKNOWN = 0, PRIMARY_STATE_UNCONFIGURED = 1, PRIMARY_STATE_INACTIVE = 2,
        PRIMARY_STATE_ACTIVE = 3, PRIMARY_STATE_FINALIZED = 4, TRANSITION_STATE_CONFIGURING = 10,
        TRANSITION_STATE_CLEANINGUP = 11, TRANSITION_STATE_SHUTTINGDOWN = 12,
        TRANSITION_STATE_ACTIVATING = 13, TRANSITION_STATE_DEACTIVATING = 14,
        TRANSITION_STATE_ERRORPROCESSING = 15
    }
    "lifecycle_msgs/msg/Transition" Transition {
        TRANSITION_CREATE = 0, TRANSITION_CONFIGURE = 1, TRANSITION_CLEANUP = 2,
        TRANSITION_ACTIVATE = 3, TRANSITION_DEACTIVATE = 4,
        TRANSITION_UNCONFIGURED_SHUTDOWN = 5, TRANSITION_INACTIVE_SHUTDOWN = 6,
        TRANSITION_ACTIVE_SHUTDOWN = 7, TRANSITION_DESTROY = 8,
        TRANSITION_ON_CONFIGURE_SUCCESS = 10, TRANSITION_ON_CONFIGURE_FAILURE = 11,
        TRANSITION_ON_CONFIGURE_ERROR = 12, TRANSITION_ON_CLEANUP_SUCCESS = 20,
        TRANSITION_ON_CLEANUP_FAILURE = 21, TRANSITION_ON_CLEANUP_ERROR = 22,
        TRANSITION_ON_ACTIVATE_SUCCESS = 30, TRANSITION_ON_ACTIVATE_FAILURE = 31,
        TRANSITION_ON_ACTIVATE_ERROR = 32, TRANSITION_ON_DEACTIVATE_SUCCESS = 40,
        TRANSITION_ON_DEACTIVATE_FAILURE = 41, TRANSITION_ON_DEACTIVATE_ERROR = 42,
        TRANSITION_ON_SHUTDOWN_SUCCESS = 50, TRANSITION_ON_SHUTDOWN_FAILURE = 51,
        TRANSITION_ON_SHUTDOWN_ERROR = 52, TRANSITION_ON_ERROR_SUCCESS = 60,
        TRANSITION_ON_ERROR_FAILURE = 61, TRANSITION_ON_ERROR_ERROR = 62,
        TRANSITION_CALLBACK_SUCCESS = 97, TRANSITION_CALLBACK_FAILURE = 98,
        TRANSITION_CALLBACK_ERROR = 99
    }
    "lifecycle_msgs/msg/TransitionDescription" TransitionDescription {}
    "lifecycle_msgs/msg/TransitionEvent" TransitionEvent {}
}
