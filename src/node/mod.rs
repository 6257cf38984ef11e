//! The ROS 2 node: live frames in, spatial skill out.
//!
//! [`args`] is what a user says to any node on the command line, with [`names`] and [`yaml`];
//! [`msg`] holds what goes over the wire, [`lifecycle`] the states of a managed node.
//!
//! Nothing here may serve a safety function.

pub mod args;
pub mod lifecycle;
pub mod msg;
pub mod names;
pub mod yaml;
