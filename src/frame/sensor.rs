//! How wrong a depth camera is at a given distance: a margin in a task must exceed it.

use serde::{Deserialize, Serialize};

/// Standard deviation of one depth reading: `a + b z + c z^2` metres at depth `z` metres.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensorModel {
    /// Constant part, metres.
    pub a: f32,
    /// Part that grows with distance.
    pub b: f32,
    /// Part that grows with distance squared, 1/m (triangulating sensors).
    pub c: f32,
}

impl Default for SensorModel {
    /// Structured light, the most common recorded sensor with the middle noise of the three.
    fn default() -> Self {
        Self::STRUCTURED_LIGHT
    }
}

impl SensorModel {
    /// Kinect v1 and alike: Khoshelham and Oude Elberink 2012, sigma = 1.425e-3 z^2.
    pub const STRUCTURED_LIGHT: SensorModel = SensorModel { a: 0.001, b: 0.0, c: 0.001_425 };
    /// RealSense D4xx and alike: subpixel 0.1 px, 640 px wide, 50 mm baseline.
    pub const ACTIVE_STEREO: SensorModel = SensorModel { a: 0.001, b: 0.0, c: 0.0035 };
    /// Time of flight (Kinect v2, Azure Kinect): nearly constant, then linear.
    pub const TIME_OF_FLIGHT: SensorModel = SensorModel { a: 0.005, b: 0.0015, c: 0.0 };

    /// The standard deviation of a reading of `z_m` metres, in metres.
    ///
    /// ```
    /// use spatial_ssrl::frame::SensorModel;
    /// let kinect = SensorModel::STRUCTURED_LIGHT;
    /// assert!(kinect.sigma_m(4.0) > 10.0 * kinect.sigma_m(0.8));
    /// ```
    pub fn sigma_m(&self, z_m: f32) -> f32 {
        self.a + z_m * (self.b + z_m * self.c)
    }
}
