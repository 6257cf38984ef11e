//! Many rendered rooms one after another: variety for a start that is to know something of
//! places it has never seen.

use super::{RoomSensor, RoomSource, RoomSpec};
use crate::{
    frame::{FrameId, RgbdFrame},
    source::{FrameSource, SourceError, SourceReport},
};

/// Rooms in a request at most, and frames of each.
const MAX_ROOMS: u64 = 100_000;
const MAX_FRAMES: u32 = 10_000;

/// Seconds between the frames of one room: far enough for another sight.
const APART_S: f64 = 2.7;

/// From the start of one room's recording to the next one's, nanoseconds.
const NEXT_ROOM_NS: i64 = 100_000_000_000_000;

/// Which rooms, and how many frames of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomsSpec {
    /// Seeds of the rooms; each seed is another room.
    pub seeds: std::ops::RangeInclusive<u64>,
    /// Frames of each room.
    pub frames: u32,
}

impl RoomsSpec {
    /// Reads `seeds=1-80,frames=8`.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what would be right.
    ///
    /// ```
    /// use spatial_ssrl::source::room::RoomsSpec;
    /// let spec = RoomsSpec::parse("seeds=1-80,frames=4")?;
    /// assert_eq!((spec.seeds, spec.frames), (1..=80, 4));
    /// # Ok::<(), String>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut spec = RoomsSpec { seeds: 1..=20, frames: 8 };
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let wrong = || format!("{pair:?} is not seeds=FIRST-LAST or frames=NUMBER");
            let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
            match key {
                "seeds" => {
                    let (first, last) = value.split_once('-').ok_or_else(wrong)?;
                    let first: u64 = first.parse().map_err(|_| wrong())?;
                    let last: u64 = last.parse().map_err(|_| wrong())?;
                    if last < first || last - first >= MAX_ROOMS {
                        return Err(format!("{pair}: 1 to {MAX_ROOMS} rooms are possible"));
                    }
                    spec.seeds = first..=last;
                }
                "frames" => {
                    spec.frames = value.parse().map_err(|_| wrong())?;
                    if !(1..=MAX_FRAMES).contains(&spec.frames) {
                        return Err(format!("{pair}: 1 to {MAX_FRAMES} frames are possible"));
                    }
                }
                _ => return Err(wrong()),
            }
        }
        Ok(spec)
    }

    /// All frames of all rooms.
    pub fn total_frames(&self) -> u64 {
        (self.seeds.end() - self.seeds.start() + 1) * u64::from(self.frames)
    }
}

/// Frames of many rooms, each seen through one of the known depth cameras in turn.
pub struct RoomsSource {
    spec: RoomsSpec,
    seed: u64,
    number: u32,
    room: Option<RoomSource>,
    report: SourceReport,
}

impl RoomsSource {
    /// Builds each room when its first frame is asked for.
    pub fn new(spec: RoomsSpec) -> Self {
        let report = SourceReport {
            registration: Some("rendered: each depth belongs to the colour at its pixel".into()),
            ..SourceReport::default()
        };
        RoomsSource { seed: *spec.seeds.start(), number: 0, room: None, report, spec }
    }

    fn room(seed: u64, frames: u32) -> RoomSource {
        let sensors =
            [RoomSensor::StructuredLight, RoomSensor::ActiveStereo, RoomSensor::TimeOfFlight];
        let sensor = sensors[(seed % 3) as usize];
        RoomSource::new(RoomSpec {
            seed,
            frames,
            rate_hz: 1.0 / APART_S,
            sensor,
            ..RoomSpec::default()
        })
    }
}

impl FrameSource for RoomsSource {
    fn next_frame(&mut self) -> Result<Option<RgbdFrame>, SourceError> {
        if self.number >= self.spec.frames {
            (self.number, self.room) = (0, None);
            self.seed = self.seed.saturating_add(1);
        }
        if self.seed > *self.spec.seeds.end() {
            return Ok(None);
        }
        let (seed, frames) = (self.seed, self.spec.frames);
        let room = self.room.get_or_insert_with(|| Self::room(seed, frames));
        let frame = room.frame(self.number);
        let since_first = i64::try_from(seed - self.spec.seeds.start()).unwrap_or(i64::MAX);
        let stamp_ns = frame.stamp_ns.saturating_add(since_first.saturating_mul(NEXT_ROOM_NS));
        self.number += 1;
        self.report.color_read += 1;
        self.report.depth_read += 1;
        self.report.frames += 1;
        self.report.intrinsics = frame.intrinsics;
        let (first, _) = self.report.stamps_ns.unwrap_or((stamp_ns, stamp_ns));
        self.report.stamps_ns = Some((first, stamp_ns));
        let depth_stamp_ns = Some(stamp_ns);
        Ok(Some(RgbdFrame { id: FrameId::from_stamp(stamp_ns), stamp_ns, depth_stamp_ns, ..frame }))
    }

    fn report(&self) -> &SourceReport {
        &self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_room_gives_its_frames_with_rising_stamps() {
        let mut source = RoomsSource::new(RoomsSpec { seeds: 3..=4, frames: 2 });
        let mut frames = Vec::new();
        while let Some(frame) = source.next_frame().unwrap() {
            frames.push(frame);
        }
        assert_eq!(frames.len(), 4);
        assert!(frames.windows(2).all(|pair| pair[0].stamp_ns < pair[1].stamp_ns));
        assert_ne!(frames[0].color, frames[1].color);
        assert_ne!(frames[0].color, frames[2].color);
        assert_eq!(source.report().frames, 4);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for text in ["seeds=4", "seeds=5-4", "frames=0", "room=3", "seeds=0-18446744073709551615"] {
            assert!(RoomsSpec::parse(text).is_err(), "{text}");
        }
    }
}
