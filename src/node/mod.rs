//! The ROS 2 node: live frames in, spatial skill out.
//!
//! [`msg`] holds what goes over the wire.
//!
//! Nothing here may serve a safety function.

pub mod msg;
