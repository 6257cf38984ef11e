//! How wrong a depth camera is at a given distance: a margin in a task must exceed it.

use serde::{Deserialize, Serialize};

/// Standard deviation of one depth reading: `a + b z + c z^2` metres at depth `z` metres.
///
/// In a configuration it is a name or its three parts:
///
/// ```
/// use spatial_ssrl::frame::SensorModel;
/// let named: SensorModel = serde_json::from_str(r#""time_of_flight""#)?;
/// assert_eq!(named, SensorModel::TIME_OF_FLIGHT);
/// let own: SensorModel = serde_json::from_str(r#"{"a": 0.002, "b": 0.0, "c": 0.001}"#)?;
/// assert_eq!(own.sigma_m(1.0), 0.003);
/// assert!(serde_json::from_str::<SensorModel>(r#""radar""#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form")]
pub struct SensorModel {
    /// Constant part, metres.
    pub a: f32,
    /// Part that grows with distance.
    pub b: f32,
    /// Part that grows with distance squared, 1/m (triangulating sensors).
    pub c: f32,
}

/// How a model is written down.
#[derive(Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a sensor: \"structured_light\", \"active_stereo\", \"time_of_flight\", or numbers a, b and c"
)]
enum Form {
    Name(Name),
    Parts { a: f32, b: f32, c: f32 },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    StructuredLight,
    ActiveStereo,
    TimeOfFlight,
}

/// Why three numbers are no sensor.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("sensor noise a={a}, b={b}, c={c}: none may be negative or infinite")]
pub struct SensorError {
    /// Constant part as given.
    pub a: f32,
    /// Linear part as given.
    pub b: f32,
    /// Quadratic part as given.
    pub c: f32,
}

impl TryFrom<Form> for SensorModel {
    type Error = SensorError;

    fn try_from(form: Form) -> Result<Self, SensorError> {
        match form {
            Form::Name(Name::StructuredLight) => Ok(Self::STRUCTURED_LIGHT),
            Form::Name(Name::ActiveStereo) => Ok(Self::ACTIVE_STEREO),
            Form::Name(Name::TimeOfFlight) => Ok(Self::TIME_OF_FLIGHT),
            Form::Parts { a, b, c } => {
                let sound = [a, b, c].iter().all(|part| part.is_finite() && *part >= 0.0);
                sound.then_some(SensorModel { a, b, c }).ok_or(SensorError { a, b, c })
            }
        }
    }
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
