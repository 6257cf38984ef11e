//! The rendered room as a recording: frames at a steady rate, rendered when asked for.

use super::{
    Room,
    depth_sensor::DepthSensor,
    dice::{Dice, hash2},
    spec::RoomSpec,
};
use crate::{
    frame::{FrameId, Intrinsics, Registration, RgbdFrame},
    source::{FrameSource, SourceError, SourceReport},
};

/// The stamp of the first frame, nanoseconds: a recording has no clock of its own.
const START_NS: i64 = 1_700_000_000_000_000_000;

/// Frames of a rendered room.
///
/// The same spec gives the same bytes on any number of threads.
///
/// ```
/// use spatial_ssrl::source::{FrameSource, room::{RoomSource, RoomSpec}};
/// let spec = RoomSpec { frames: 2, width: 64, height: 48, ..RoomSpec::default() };
/// let mut source = RoomSource::new(spec);
/// let frame = source.next_frame()?.expect("the first of two");
/// assert_eq!((frame.width(), frame.height()), (64, 48));
/// assert!(frame.usable_depth_m().is_some());
/// # Ok::<(), spatial_ssrl::source::SourceError>(())
/// ```
pub struct RoomSource {
    spec: RoomSpec,
    room: Room,
    intrinsics: Intrinsics,
    sensor: Option<DepthSensor>,
    next: u32,
    report: SourceReport,
}

impl RoomSource {
    /// Builds the room that the spec names; frames are rendered one by one later.
    pub fn new(spec: RoomSpec) -> Self {
        let room = Room::new(spec.seed);
        let intrinsics = intrinsics(&spec);
        let report = SourceReport {
            intrinsics: Some(intrinsics),
            registration: Some("rendered: each depth belongs to the colour at its pixel".into()),
            ..SourceReport::default()
        };
        let sensor = DepthSensor::of(spec.sensor);
        RoomSource { spec, room, intrinsics, sensor, next: 0, report }
    }

    /// The room.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// The camera's intrinsics.
    pub fn intrinsics(&self) -> &Intrinsics {
        &self.intrinsics
    }

    /// What was asked for.
    pub fn spec(&self) -> &RoomSpec {
        &self.spec
    }

    /// The stamp of a frame by its number.
    pub fn frame_stamp_ns(&self, frame: u32) -> i64 {
        START_NS + (self.time_s(frame) * 1e9).round() as i64
    }

    /// Seconds after the start at which a frame is taken.
    pub fn time_s(&self, frame: u32) -> f64 {
        f64::from(frame) / self.spec.rate_hz
    }

    /// A frame by its number, whatever was asked for before.
    pub fn frame(&self, number: u32) -> RgbdFrame {
        let t_s = self.time_s(number);
        let stamp_ns = self.frame_stamp_ns(number);
        let raw = self.room.look(&self.room.camera.pose(t_s), &self.intrinsics);
        let seed = hash2(hash2(self.spec.seed as u32, (self.spec.seed >> 32) as u32), number);
        let color = self.room.color.develop(&raw, Some(seed));
        let depth_m = match &self.sensor {
            Some(sensor) => sensor.measure(&raw, self.intrinsics.fx as f32, seed ^ 0x5eed),
            None => raw.depth_m,
        };
        RgbdFrame {
            id: FrameId::from_stamp(stamp_ns),
            stamp_ns,
            depth_stamp_ns: Some(stamp_ns),
            color,
            depth_m: Some(depth_m),
            intrinsics: Some(self.intrinsics),
            registration: Registration::Registered,
        }
    }
}

/// A VGA depth camera's intrinsics, a little different in each room, for the spec's size.
fn intrinsics(spec: &RoomSpec) -> Intrinsics {
    let mut dice = Dice::new(spec.seed, 0x1e5);
    let scale = f64::from(spec.width) / 640.0;
    let f = f64::from(dice.range(525.0, 615.0)) * scale;
    let off = |dice: &mut Dice| f64::from(dice.range(-6.0, 6.0)) * scale;
    Intrinsics {
        width: spec.width,
        height: spec.height,
        fx: f,
        fy: f * f64::from(dice.range(0.997, 1.003)),
        cx: 0.5 * f64::from(spec.width) - 0.5 + off(&mut dice),
        cy: 0.5 * f64::from(spec.height) - 0.5 + off(&mut dice),
        distortion: crate::frame::Distortion::None,
    }
}

impl FrameSource for RoomSource {
    fn next_frame(&mut self) -> Result<Option<RgbdFrame>, SourceError> {
        if self.next >= self.spec.frames {
            return Ok(None);
        }
        let frame = self.frame(self.next);
        self.next += 1;
        self.report.color_read += 1;
        self.report.depth_read += 1;
        self.report.frames += 1;
        let first = self.report.stamps_ns.map_or(frame.stamp_ns, |(first, _)| first);
        self.report.stamps_ns = Some((first, frame.stamp_ns));
        Ok(Some(frame))
    }

    fn report(&self) -> &SourceReport {
        &self.report
    }
}
