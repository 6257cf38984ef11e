//! The ROS 2 node: live frames in, spatial skill out.
//!
//! [`args`] is what a user says to any node on the command line, with [`names`] and [`yaml`];
//! [`declared`] are this node's parameters, [`params`] their values, [`settings`] what they ask
//! for, and [`plan`] the cameras and the learner that come of it. [`msg`] holds what goes over the
//! wire, [`lifecycle`] the states of a managed node.
//!
//! [`ingest`] takes frames from DDS, [`learning`] learns from them on its own thread, [`answers`]
//! asks what was learnt, [`keep`] and [`record`] keep frames that taught something. [`core`] does what each
//! state of the node's life asks for; [`run`] has the DDS participant, the services ([`service`],
//! [`params_service`]) and the topics ([`publish`], [`report`], [`rosout`]).
//!
//! Nothing here may serve a safety function.

pub mod answers;
pub mod args;
pub mod core;
pub mod declared;
pub mod ingest;
pub mod keep;
pub mod learning;
pub mod lifecycle;
pub mod link;
pub mod msg;
pub mod names;
pub mod offered;
pub mod params;
pub mod params_service;
pub mod plan;
pub mod publish;
pub mod record;
pub mod report;
pub mod rosout;
pub mod run;
pub mod service;
pub mod settings;
mod worker;
pub mod yaml;
