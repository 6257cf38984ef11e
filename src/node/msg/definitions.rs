//! The text of the definitions that a recording carries, so that any tool can read it.

/// What a recording says about a type.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// `sensor_msgs/msg/Image`.
    pub name: &'static str,
    /// The definition with all those that it needs, as `ros2msg` has it.
    pub text: &'static str,
    /// The hash by which ROS compares definitions (REP 2016).
    pub hash: &'static str,
}

macro_rules! with_header {
    ($own:literal, $more:literal) => {
        concat!(
            $own,
            "================================================================================\n\
             MSG: std_msgs/Header\n\
             builtin_interfaces/Time stamp\n\
             string frame_id\n\
             ================================================================================\n\
             MSG: builtin_interfaces/Time\n\
             int32 sec\n\
             uint32 nanosec\n",
            $more
        )
    };
}

/// The types that can be recorded.
pub const RECORDED: [Definition; 3] = [
    Definition {
        name: "sensor_msgs/msg/Image",
        text: with_header!(
            "std_msgs/Header header\n\
             uint32 height\n\
             uint32 width\n\
             string encoding\n\
             uint8 is_bigendian\n\
             uint32 step\n\
             uint8[] data\n",
            ""
        ),
        hash: "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
    },
    Definition {
        name: "sensor_msgs/msg/CompressedImage",
        text: with_header!("std_msgs/Header header\nstring format\nuint8[] data\n", ""),
        hash: "RIHS01_15640771531571185e2efc8a100baf923961a4d15d5569652e6cb6691e8e371a",
    },
    Definition {
        name: "sensor_msgs/msg/CameraInfo",
        text: with_header!(
            "std_msgs/Header header\n\
             uint32 height\n\
             uint32 width\n\
             string distortion_model\n\
             float64[] d\n\
             float64[9] k\n\
             float64[9] r\n\
             float64[12] p\n\
             uint32 binning_x\n\
             uint32 binning_y\n\
             sensor_msgs/RegionOfInterest roi\n",
            "================================================================================\n\
             MSG: sensor_msgs/RegionOfInterest\n\
             uint32 x_offset\n\
             uint32 y_offset\n\
             uint32 height\n\
             uint32 width\n\
             bool do_rectify\n"
        ),
        hash: "RIHS01_b3dfd68ff46c9d56c80fd3bd4ed22c7a4ddce8c8348f2f59c299e73118e7e275",
    },
];

/// The definition of a type, if it can be recorded.
pub fn recorded(name: &str) -> Option<&'static Definition> {
    RECORDED.iter().find(|definition| definition.name == name)
}
