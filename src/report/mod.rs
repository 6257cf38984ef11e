//! What people look at: tasks and results in, pictures, tables and progress out.

pub mod contact_sheet;
pub mod progress;
pub mod sample;
pub mod table;
#[cfg(feature = "vlm")]
pub mod words;
