//! Tasks in, files out that other trainers read; a policy in, a file out that other runtimes
//! serve.

pub mod dataset;
mod jsonl;
pub mod onnx;
mod parquet;
pub mod row;

pub use dataset::{DatasetWriter, ExportError, Format};
pub use row::TaskRow;
