//! What a rendered recording is to be: `seed=7,frames=300,sensor=active_stereo`.

use crate::frame::SensorModel;

/// The depth camera that is imitated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RoomSensor {
    /// Kinect v1 and alike: coarse disparity steps, wide shadows.
    #[default]
    StructuredLight,
    /// RealSense D4xx and alike: more noise, fine steps, narrow shadows.
    ActiveStereo,
    /// Kinect v2 and alike: no shadows, no steps, shorter range.
    TimeOfFlight,
    /// No faults at all: the depth that was rendered.
    Exact,
}

impl RoomSensor {
    const ALL: [RoomSensor; 4] = [
        RoomSensor::StructuredLight,
        RoomSensor::ActiveStereo,
        RoomSensor::TimeOfFlight,
        RoomSensor::Exact,
    ];

    /// Its name in a spec.
    pub fn name(self) -> &'static str {
        match self {
            RoomSensor::StructuredLight => "structured_light",
            RoomSensor::ActiveStereo => "active_stereo",
            RoomSensor::TimeOfFlight => "time_of_flight",
            RoomSensor::Exact => "exact",
        }
    }

    /// Its noise, none for [`RoomSensor::Exact`].
    pub fn noise(self) -> Option<SensorModel> {
        match self {
            RoomSensor::StructuredLight => Some(SensorModel::STRUCTURED_LIGHT),
            RoomSensor::ActiveStereo => Some(SensorModel::ACTIVE_STEREO),
            RoomSensor::TimeOfFlight => Some(SensorModel::TIME_OF_FLIGHT),
            RoomSensor::Exact => None,
        }
    }
}

/// A rendered recording: which room, how long, how large, through which sensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoomSpec {
    /// Which room; every seed gives another one.
    pub seed: u64,
    /// How many frames, 1 to 100,000.
    pub frames: u32,
    /// Picture width in pixels, 32 to 2048.
    pub width: u32,
    /// Picture height in pixels, 32 to 2048.
    pub height: u32,
    /// Frames a second, 0.1 to 120.
    pub rate_hz: f64,
    /// The depth camera.
    pub sensor: RoomSensor,
}

impl Default for RoomSpec {
    fn default() -> Self {
        RoomSpec {
            seed: 1,
            frames: 300,
            width: 640,
            height: 480,
            rate_hz: 10.0,
            sensor: RoomSensor::default(),
        }
    }
}

const KEYS: [&str; 6] = ["seed", "frames", "width", "height", "rate_hz", "sensor"];

impl RoomSpec {
    /// Reads `key=value` pairs separated by commas; what is not named keeps its default and
    /// an empty text gives all defaults.
    ///
    /// # Errors
    /// A sentence that says which pair is wrong and what would be right.
    ///
    /// ```
    /// use spatial_ssrl::source::room::RoomSpec;
    /// let spec = RoomSpec::parse("seed=7,frames=20")?;
    /// assert_eq!((spec.seed, spec.frames, spec.width), (7, 20, 640));
    /// let wrong = RoomSpec::parse("frame=20").unwrap_err();
    /// assert!(wrong.contains("did you mean `frames`?"));
    /// # Ok::<(), String>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut spec = RoomSpec::default();
        let mut seen: Vec<&str> = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!("`{pair}` is not key=value; keys are {}", KEYS.join(", ")));
            };
            let (key, value) = (key.trim(), value.trim());
            if seen.contains(&key) {
                return Err(format!("`{key}` is given twice"));
            }
            seen.push(key);
            match key {
                "seed" => spec.seed = number(key, value, 0, u64::MAX)?,
                "frames" => spec.frames = number(key, value, 1, 100_000)?,
                "width" => spec.width = number(key, value, 32, 2048)?,
                "height" => spec.height = number(key, value, 32, 2048)?,
                "rate_hz" => spec.rate_hz = number(key, value, 0.1, 120.0)?,
                "sensor" => {
                    let found = RoomSensor::ALL.into_iter().find(|s| s.name() == value);
                    spec.sensor = found.ok_or_else(|| {
                        unknown("sensor", value, &RoomSensor::ALL.map(RoomSensor::name))
                    })?;
                }
                _ => return Err(unknown("key", key, &KEYS)),
            }
        }
        Ok(spec)
    }
}

fn number<T>(key: &str, value: &str, low: T, high: T) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let expected = || format!("{key}={value}: expected a number from {low} to {high}");
    let n: T = value.parse().map_err(|_| expected())?;
    if n >= low && n <= high { Ok(n) } else { Err(expected()) }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|k| (strsim::jaro_winkler(k, name), k))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.7);
    match near {
        Some((_, near)) => format!("unknown {what} `{name}`: did you mean `{near}`?"),
        None => format!("unknown {what} `{name}`; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_spec_is_the_default() {
        assert_eq!(RoomSpec::parse("").unwrap(), RoomSpec::default());
    }

    #[test]
    fn every_key_is_read() {
        let text = "seed=9, frames=5,width=320,height=240,rate_hz=30,sensor=time_of_flight";
        let spec = RoomSpec::parse(text).unwrap();
        let expected = RoomSpec {
            seed: 9,
            frames: 5,
            width: 320,
            height: 240,
            rate_hz: 30.0,
            sensor: RoomSensor::TimeOfFlight,
        };
        assert_eq!(spec, expected);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_way_out() {
        for (text, part) in [
            ("frames=0", "from 1 to 100000"),
            ("width=99999", "from 32 to 2048"),
            ("rate_hz=nan", "from 0.1 to 120"),
            ("seed=-1", "expected a number"),
            ("seeed=1", "did you mean `seed`?"),
            ("sensor=stereo_active", "active_stereo"),
            ("sensor=structured_ligth", "did you mean `structured_light`?"),
            ("zzz=1", "known are seed"),
            ("seed", "not key=value"),
            ("seed=1,seed=2", "twice"),
        ] {
            let error = RoomSpec::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_or_leave_its_bounds(text in "[a-z_=,0-9. -]{0,60}") {
            if let Ok(spec) = RoomSpec::parse(&text) {
                prop_assert!(spec.width <= 2048 && spec.height <= 2048 && spec.frames <= 100_000);
            }
        }
    }
}
