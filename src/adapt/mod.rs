//! From frames to a better policy: gate, views, tasks, replay memory, rollouts, updates,
//! and the held-out test that says whether it helped.

pub mod blind;
pub mod gate;
pub mod health;
pub mod learner;
pub mod memory;
pub mod replay;
pub mod score;
pub mod split;
pub mod view;

pub use gate::{Gate, GateConfig};
pub use learner::{LearnConfig, Learner};
