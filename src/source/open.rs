//! From a SOURCE argument to a stream of frames.

use super::{FrameSource, SourceError, SourceOptions};

/// Opens whatever `spec` names: a bag, a folder, `room` or `room:seed=7,frames=300`.
///
/// # Errors
/// What is wrong with the argument, or why nothing in it can be read.
pub fn open(spec: &str, _options: &SourceOptions) -> Result<Box<dyn FrameSource>, SourceError> {
    Err(SourceError::Spec { spec: spec.to_owned(), why: "no source of this kind".to_owned() })
}
