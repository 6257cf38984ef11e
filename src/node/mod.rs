//! The ROS 2 node: live frames in, spatial skill out.
//!
//! [`args`] is what a user says to any node on the command line, with [`names`] and [`yaml`];
//! [`declared`] are this node's parameters, [`params`] their values, [`settings`] what they ask
//! for. [`msg`] holds what goes over the wire, [`lifecycle`] the states of a managed node. [`record`] keeps frames that taught
//! something.
//!
//! Nothing here may serve a safety function.

pub mod args;
pub mod declared;
pub mod lifecycle;
pub mod msg;
pub mod names;
pub mod params;
pub mod record;
pub mod settings;
pub mod yaml;
