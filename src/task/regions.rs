//! Regions of even depth, found by integral images.

use super::Skip;
use crate::frame::{DepthMap, SensorModel};

/// Regions of even depth of one frame.
#[derive(Debug)]
pub struct RegionIndex {}

impl RegionIndex {
    /// Indexes the depth of one frame.
    ///
    /// # Errors
    /// Why the depth cannot be used.
    pub fn build(_depth_m: &DepthMap, _sensor: SensorModel) -> Result<Self, Skip> {
        Err(Skip::NoRegions)
    }
}
