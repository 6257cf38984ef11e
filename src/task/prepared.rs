//! A frame with what several tasks share, computed once and only when asked for.

use std::sync::OnceLock;

use super::{Skip, regions::RegionIndex};
use crate::frame::{Registration, RgbdFrame, SensorModel};

/// A frame ready to make tasks: the region index of its depth is built at the first depth
/// task and shared by all later ones.
pub struct PreparedFrame<'a> {
    frame: &'a RgbdFrame,
    sensor: SensorModel,
    regions: OnceLock<Result<RegionIndex, Skip>>,
}

impl<'a> PreparedFrame<'a> {
    /// Wraps a frame; nothing is computed yet.
    pub fn new(frame: &'a RgbdFrame, sensor: SensorModel) -> Self {
        PreparedFrame { frame, sensor, regions: OnceLock::new() }
    }

    /// The frame itself.
    pub fn frame(&self) -> &'a RgbdFrame {
        self.frame
    }

    /// The noise of the sensor that took the depth.
    pub fn sensor(&self) -> SensorModel {
        self.sensor
    }

    /// Regions of even depth, built once.
    ///
    /// # Errors
    /// Why the frame's depth cannot be used; the same reason each time.
    pub fn regions(&self) -> Result<&RegionIndex, Skip> {
        let built = self.regions.get_or_init(|| {
            if self.frame.registration == Registration::Unregistered && self.frame.depth_m.is_some()
            {
                return Err(Skip::DepthUnregistered);
            }
            let depth_m = self.frame.usable_depth_m().ok_or(Skip::NoDepth)?;
            RegionIndex::build(depth_m, self.sensor)
        });
        built.as_ref().map_err(|skip| *skip)
    }
}
