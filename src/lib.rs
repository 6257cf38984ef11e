//! **spatial-ssrl** lets a robot sharpen its own spatial sense in the field: five
//! self-supervised tasks are made from each RGB-D frame, a policy answers them, a
//! verifiable reward scores the answers, and GRPO turns the scores into better weights.
//! No labels, and no picture leaves the robot.
//!
//! Data flows one way: frame -> task -> answer -> reward -> update -> promoted policy.
//! Each room (module) knows only the rooms listed before it:
//!
//! | room | what lives there |
//! |---|---|
//! | [`frame`] | [`frame::RgbdFrame`], camera encodings, quality measures |
//! | [`task`] | the five tasks, their questions, answers and pictures |
//! | [`reward`] | reading an answer out of a response, exact match, format |
//! | [`grpo`] | advantages, objectives and KL terms on slices and on tensors |
//! | [`policy`] | what answers a task and learns from rewards |
//! | [`sense`] | what a policy can be asked about a picture: order, distance, direction, … |
//! | [`adapt`] | gate, replay memory, rollouts, updates, evaluation, health of the camera |
//! | [`source`] | where frames come from: bags, folders, a rendered room |
//! | [`export`] | tasks as data sets, policies as ONNX |
//! | [`report`] | contact sheets, tables, progress |
//! | [`config`] | settings files that say what is wrong with them |
//! | `node` | the ROS 2 node (feature `ros2`) |
//! | [`device`] | what computes: the processor or a GPU |
//! | [`cli`] | one small file a subcommand |
//!
//! The first four do no I/O and know no ROS, files, clocks or threads.
//!
//! Learning never belongs in a control path, and nothing here may serve a safety function.

#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod adapt;
pub mod cli;
pub mod config;
pub mod device;
pub mod digest;
pub mod export;
pub mod frame;
pub mod grpo;
#[cfg(feature = "ros2")]
pub mod node;
pub mod policy;
pub mod report;
pub mod reward;
pub mod sense;
pub mod source;
pub mod tally;
pub mod task;
