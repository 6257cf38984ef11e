//! From frames to a better policy: gate, views, tasks, replay memory, rollouts, updates,
//! and the held-out test that says whether it helped.

pub mod alarm;
pub mod blind;
pub mod budget;
pub mod check;
pub mod checkpoint;
pub mod exam;
mod feed;
pub mod field;
pub mod gate;
pub mod health;
pub mod held_out;
pub mod heritage;
pub mod keeper;
pub mod learner;
pub mod maker;
pub mod memory;
pub mod places;
pub mod pretrain;
pub mod promote;
pub mod replay;
mod rollouts;
pub mod score;
pub mod settings;
pub mod snapshot;
pub mod split;
pub mod store;
pub mod summary;
pub mod trainer;
pub mod view;
#[cfg(feature = "vlm")]
pub mod words;

pub use gate::{Gate, GateConfig};
pub use learner::Learner;
pub use trainer::{LearnConfig, Trainer};
