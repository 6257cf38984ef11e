//! Tasks in, files out that other trainers read.

pub mod dataset;
mod jsonl;
mod parquet;
pub mod row;

pub use dataset::{DatasetWriter, ExportError, Format};
pub use row::TaskRow;
