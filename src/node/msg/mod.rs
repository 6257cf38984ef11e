//! The ROS messages and services that the node speaks, as they lie on the wire.
//!
//! Field for field what the `.msg` and `.srv` files say, in their order; a test compares them
//! with those files. Types of our own (`ros/spatial_ssrl_msgs`) are in [`own`], services in
//! [`srv`], and what ROS itself defines in [`standard`]. The types of `ros2_client` are used
//! where it has them (parameters, `/rosout`); its `Time` is not, because it prints a warning for
//! each damaged stamp and cannot say what was sent.

use ros2_client::{Message, MessageTypeName, ServiceTypeName};
use serde::{Serialize, de::DeserializeOwned};

pub mod definitions;
pub mod own;
pub mod srv;
pub mod standard;

pub use own::*;
pub use srv::*;
pub use standard::*;

/// A message, or the request or response of a service.
pub trait RosType: Message + Serialize + DeserializeOwned + Default {
    /// The full name, `sensor_msgs/msg/Image`.
    const TYPE: &'static str;
    /// The constants of the definition.
    const CONSTANTS: &'static [(&'static str, u8)] = &[];
}

/// A service.
pub trait RosService {
    /// The full name, `std_srvs/srv/Trigger`.
    const TYPE: &'static str;
    /// What is asked.
    type Request: RosType + Clone;
    /// What is answered.
    type Response: RosType;
}

/// The package and the last part of a full type name.
fn parts(full: &'static str) -> (&'static str, &'static str) {
    let (package, rest) = full.split_once('/').unwrap_or(("", full));
    (package, rest.rsplit_once('/').map_or(rest, |(_, name)| name))
}

/// The name under which a topic of `T` is made.
///
/// ```
/// use spatial_ssrl::node::msg::{Image, message_type};
/// assert_eq!(message_type::<Image>().dds_msg_type(), "sensor_msgs::msg::dds_::Image_");
/// ```
pub fn message_type<T: RosType>() -> MessageTypeName {
    let (package, name) = parts(T::TYPE);
    MessageTypeName::new(package, name)
}

/// The name under which a service is made.
pub fn service_type<S: RosService>() -> ServiceTypeName {
    let (package, name) = parts(S::TYPE);
    ServiceTypeName::new(package, name)
}

/// Says which ROS type each Rust type is, and gives it the constants of its definition.
macro_rules! ros_types {
    ($($type:literal $name:ident { $($constant:ident = $value:literal),* })*) => {$(
        impl ros2_client::Message for $name {}

        impl $crate::node::msg::RosType for $name {
            const TYPE: &'static str = $type;
            const CONSTANTS: &'static [(&'static str, u8)] =
                &[$((stringify!($constant), $name::$constant)),*];
        }

        impl $name {
            $(
                #[doc = concat!("`", stringify!($constant), "` of the definition.")]
                pub const $constant: u8 = $value;
            )*
        }
    )*};
}
use ros_types;
