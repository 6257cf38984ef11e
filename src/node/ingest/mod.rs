//! From DDS to pairs of messages, in bounded memory and time however slow the learner is.
//!
//! ```text
//! topic -> draining thread -> ring -> pairing thread -> newest pair -> learner, answers
//! ```
//!
//! Each subscription has a thread that only takes ([`drain`]), each camera a thread that only
//! pairs ([`camera`]). Between them lie rings that drop the oldest and count ([`ring`],
//! [`stream`]). Nothing is decoded before somebody wants to see it ([`picture`], [`framer`]);
//! what is too old then is dropped and counted ([`age`]). A subscription that stalls is made
//! anew ([`watch`]).

pub mod age;
pub mod camera;
pub mod drain;
pub mod framer;
pub mod picture;
pub mod ring;
pub mod stream;
pub mod watch;

pub use camera::{Camera, CameraOptions, CameraTopics, Paired, Tap};
