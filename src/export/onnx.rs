//! A policy as an ONNX file on disk; the graph itself is made in
//! [`crate::policy::compact::onnx`].

use std::path::Path;

pub use crate::policy::compact::onnx::{Description, Dim, OnnxError, OnnxFile, Port};
use crate::policy::compact::{CompactPolicy, onnx, weights};

/// The bytes of a policy's ONNX file: encoder and head in one graph. They depend on the
/// policy alone. [`crate::policy::compact::served::Served::from_onnx`] reads them.
///
/// ```
/// use burn::tensor::Device;
/// use spatial_ssrl::{
///     export::onnx,
///     policy::compact::{CompactPolicy, served::Served},
/// };
/// let bytes = onnx::onnx(&CompactPolicy::builtin(Device::flex())?)?;
/// assert_eq!(Served::from_onnx(&bytes)?.description().opset, 13);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`OnnxError`] when the encoder cannot be the first part of such a graph.
pub fn onnx(policy: &CompactPolicy) -> Result<Vec<u8>, OnnxError> {
    Ok(onnx::export(policy)?.bytes)
}

/// Writes a policy's ONNX file, whole or not at all, in place of one that may be there.
///
/// # Errors
/// As [`onnx()`], and [`OnnxError::Weights`] when the file cannot be written.
pub fn save(policy: &CompactPolicy, path: &Path) -> Result<OnnxFile, OnnxError> {
    let file = onnx::export(policy)?;
    weights::write_atomically(path, &file.bytes)?;
    Ok(file)
}
