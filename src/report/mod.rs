//! What people look at: progress, contact sheets, tables.

pub mod progress;
pub mod sample;
