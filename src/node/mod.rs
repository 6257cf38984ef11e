//! The ROS 2 node: live frames in, spatial skill out.
//!
//! [`msg`] holds what goes over the wire, [`lifecycle`] the states of a managed node.
//!
//! Nothing here may serve a safety function.

pub mod lifecycle;
pub mod msg;
