//! Which tasks are made from a frame.

use super::Preset;

/// The task sources in use and their settings.
#[derive(Debug, Default)]
pub struct TaskSet {
    /// Which rules make the tasks.
    pub preset: Preset,
}
