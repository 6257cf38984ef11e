//! Recorded bags. Files in, messages out ([`files`] over [`mcap`](self::mcap) and [`db3`]);
//! messages in, frames out ([`BagSource`], with [`topics`], [`message`], [`decode`] and
//! [`crate::source::pair`]). Memory does not grow with the bag.

use std::path::Path;

use self::{
    align::Evidence,
    files::BagFiles,
    message::{CameraInfoMsg, stamp_ns},
    storage::{Recorded, StoredTopic},
    topics::{Chosen, First, Kind, Seen, Wishes},
};
use super::{
    FrameSource, SourceError, SourceOptions, SourceReport, TopicReport,
    pair::{Pair, PairOptions, Pairer, Stream},
};
use crate::{
    frame::{FrameId, Intrinsics, Registration, RgbdFrame},
    tally::Tally,
};

pub mod align;
pub mod db3;
pub mod decode;
pub mod files;
pub mod mcap;
pub mod message;
pub mod meta;
pub mod storage;
pub mod tlv;
pub mod topics;
pub mod unpack;

/// The default most that colour and depth stamps may differ.
const TOLERANCE_NS: i64 = 20_000_000;

/// The tolerance is not made smaller than this, however fast the camera.
const MIN_TOLERANCE_NS: i64 = 5_000_000;

/// The most topics that are looked at.
const MAX_CANDIDATES: usize = 256;

/// How far a bag is read to see one message of each topic: so many messages without a new
/// topic, so many bytes at all.
const PROBE_MESSAGES: usize = 300;
const PROBE_BYTES: usize = 256 << 20;

/// Messages, first and last stamp of a topic.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    messages: u64,
    span_ns: Option<(i64, i64)>,
}

impl Rate {
    fn count(&mut self, stamp_ns: i64) {
        self.messages += 1;
        self.span_ns = Some(match self.span_ns {
            None => (stamp_ns, stamp_ns),
            Some((first, last)) => (first.min(stamp_ns), last.max(stamp_ns)),
        });
    }

    fn hz(&self) -> Option<f64> {
        let (first, last) = self.span_ns?;
        let span_s = last.checked_sub(first)? as f64 * 1e-9;
        (self.messages > 1 && span_s > 0.0).then(|| (self.messages - 1) as f64 / span_s)
    }
}

/// What a wanted topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Color(Kind),
    Depth(Kind),
    Info,
}

/// Frames of a recorded bag.
pub struct BagSource {
    files: BagFiles,
    /// What each wanted topic is for, in the order in which they are wanted, with its place
    /// in the report and its rate.
    parts: Vec<(Part, usize, Rate)>,
    color_kind: Kind,
    depth_kind: Option<Kind>,
    pairer: Pairer<Vec<u8>>,
    /// For a bag without depth: the last stamp given out.
    last_alone_ns: Option<i64>,
    info: Option<CameraInfoMsg>,
    told_intrinsics: Option<[f64; 4]>,
    registration: Registration,
    /// Loss by reason, without what is counted elsewhere.
    lost: Tally,
    ended: bool,
    report: SourceReport,
}

impl BagSource {
    /// Opens the bag at `path`, a folder or a file, and decides which topics are used: reads
    /// one message of each.
    ///
    /// # Errors
    /// When there is no file that can be read, or no colour topic with a readable message.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self, SourceError> {
        let mut files = BagFiles::find(path)?;
        let topics = files.topics();
        if topics.is_empty() {
            return Err(files.nothing("no topic can be read"));
        }
        let mut damage = Tally::default();
        let seen = probe(&mut files, topics, &mut damage);
        let wishes = Wishes {
            color: options.color_topic.as_deref(),
            depth: options.depth_topic.as_deref(),
            info: options.info_topic.as_deref(),
        };
        let chosen = topics::choose(&seen, wishes).map_err(|why| files.nothing(&why))?;
        Self::with(files, &seen, chosen, options, &damage)
    }

    fn with(
        mut files: BagFiles,
        seen: &[Seen],
        chosen: Chosen,
        options: &SourceOptions,
        damage: &Tally,
    ) -> Result<Self, SourceError> {
        let nothing = |files: &BagFiles, why: String| Err(files.nothing(&why));
        let Some(color) = seen.get(chosen.color) else {
            return nothing(&files, "no colour topic".to_owned());
        };
        let name = |i: usize| seen.get(i).map_or("", |seen| seen.topic.name.as_str());
        let first = |i: Option<usize>| i.and_then(|i| seen.get(i)).and_then(|s| s.first.as_ref());
        let kind = |i: usize| seen.get(i).and_then(|seen| seen.kind).unwrap_or(Kind::Image);
        let Some(color_first) = &color.first else {
            let damage: Vec<String> = damage.iter().map(|(why, n)| format!("{why}: {n}")).collect();
            return nothing(
                &files,
                format!(
                    "no message of the colour topic {} can be read ({}); another one can be \
                     named with --color",
                    color.topic.name,
                    if damage.is_empty() { "there is none".to_owned() } else { damage.join(", ") }
                ),
            );
        };

        let mut report = SourceReport { notes: files.notes.clone(), ..SourceReport::default() };
        let camera = |info: Option<usize>, picture: Option<&First>| {
            let size = picture?.size?;
            first(info)?.info.as_ref().map(|info| decode::intrinsics(info, size))
        };
        let color_camera = camera(chosen.info, Some(color_first));
        if let Some(Err(error)) = &color_camera {
            report.notes.push(format!(
                "intrinsics of {} are not used: {error}",
                chosen.info.map(name).unwrap_or_default()
            ));
        }
        let info = first(chosen.info).and_then(|first| first.info.clone());
        let (registration, why) = match chosen.depth {
            None => (Registration::Unregistered, "there is no depth topic".to_owned()),
            Some(depth) => align::decide(&Evidence {
                told: options.registered,
                depth_topic: name(depth),
                color: Some(color_first),
                depth: first(chosen.depth),
                color_camera: color_camera.and_then(Result::ok),
                depth_camera: camera(chosen.depth_info, first(chosen.depth)).and_then(Result::ok),
            }),
        };
        report.registration = Some(why);

        let mut wanted = vec![name(chosen.color).to_owned()];
        let mut parts = vec![(Part::Color(kind(chosen.color)), chosen.color, Rate::default())];
        if let Some(depth) = chosen.depth {
            wanted.push(name(depth).to_owned());
            parts.push((Part::Depth(kind(depth)), depth, Rate::default()));
        }
        if let Some(info) = chosen.info {
            wanted.push(name(info).to_owned());
            parts.push((Part::Info, info, Rate::default()));
        }
        for (i, seen) in seen.iter().enumerate() {
            let role = match Some(i) {
                this if this == Some(chosen.color) => Some("color"),
                this if this == chosen.depth => Some("depth"),
                this if this == chosen.info => Some("color_info"),
                this if this == chosen.depth_info => Some("depth_info"),
                _ => None,
            };
            report.topics.push(TopicReport {
                name: seen.topic.name.clone(),
                ros_type: seen.topic.ros_type.clone(),
                messages: seen.topic.messages.unwrap_or(0),
                role,
                format: seen.first.as_ref().map(describe),
                rate_hz: None,
            });
        }
        let tolerance_ns = options
            .tolerance_ns
            .unwrap_or_else(|| default_tolerance_ns(files.duration_s(), color.topic.messages));
        files.want(&wanted);
        let lost = files.lost_on_opening();
        // Depth that cannot be used costs no colour picture.
        let lone_color = registration == Registration::Unregistered;
        let pairer =
            Pairer::new(PairOptions { tolerance_ns, lone_color, ..PairOptions::default() });
        let mut source = BagSource {
            files,
            parts,
            color_kind: kind(chosen.color),
            depth_kind: chosen.depth.map(kind),
            pairer,
            last_alone_ns: None,
            info,
            told_intrinsics: options.intrinsics,
            registration,
            lost,
            ended: false,
            report,
        };
        if let Some((width, height)) = color_first.size {
            source.report.intrinsics = source.intrinsics(width, height);
        }
        Ok(source)
    }

    /// The intrinsics for a colour picture of this size.
    fn intrinsics(&self, width: u32, height: u32) -> Option<Intrinsics> {
        match self.told_intrinsics {
            Some([fx, fy, cx, cy]) => Intrinsics::new(width, height, fx, fy, cx, cy).ok(),
            None => decode::intrinsics(self.info.as_ref()?, (width, height)).ok(),
        }
    }

    /// Takes in one message; gives a frame where the bag has no depth.
    fn take(&mut self, message: Recorded) -> Option<RgbdFrame> {
        let Some((part, _, rate)) = self.parts.get_mut(message.topic) else { return None };
        let part = *part;
        let stamp = unpack::message(message.data)
            .map_err(|_| "zstd_damaged")
            .and_then(|data| Ok((stamp_ns(&data).map_err(|_| decode::BAD_MESSAGE)?, data)));
        let (mut stamp, data) = match stamp {
            Ok(good) => good,
            Err(why) => {
                self.lost.add(why);
                return None;
            }
        };
        if stamp == 0 {
            // A driver that does not stamp: when it was recorded is the best there is.
            stamp = message.log_ns;
        }
        rate.count(stamp);
        match part {
            Part::Info => {
                match CameraInfoMsg::read(&data) {
                    Ok(info) => self.info = Some(info),
                    Err(_) => self.lost.add(decode::BAD_MESSAGE),
                }
                None
            }
            Part::Color(_) if self.depth_kind.is_none() => {
                self.report.color_read += 1;
                if self.last_alone_ns.replace(stamp) == Some(stamp) {
                    self.report.unpaired.add("duplicate_stamp");
                    return None;
                }
                self.frame(stamp, &data, None)
            }
            Part::Color(_) => {
                self.report.color_read += 1;
                self.pairer.push(Stream::Color, stamp, data.len(), data);
                None
            }
            Part::Depth(_) => {
                self.report.depth_read += 1;
                self.pairer.push(Stream::Depth, stamp, data.len(), data);
                None
            }
        }
    }

    fn frame_of(&mut self, pair: Pair<Vec<u8>>) -> Option<RgbdFrame> {
        let depth = pair.depth.as_ref().map(|(stamp_ns, depth)| (*stamp_ns, depth.as_slice()));
        self.frame(pair.stamp_ns, &pair.color, depth)
    }

    /// Decodes. A frame whose depth is damaged is still a colour picture.
    fn frame(
        &mut self,
        stamp_ns: i64,
        color: &[u8],
        depth: Option<(i64, &[u8])>,
    ) -> Option<RgbdFrame> {
        let color = match decode::color(self.color_kind, color) {
            Ok(color) => color,
            Err(why) => {
                self.lost.add(why);
                return None;
            }
        };
        let depth = match depth.zip(self.depth_kind) {
            None => None,
            Some(((depth_stamp_ns, depth), kind)) => match decode::depth(kind, depth) {
                Ok(depth_m) => Some((depth_stamp_ns, depth_m)),
                Err(why) => {
                    self.lost.add(why);
                    None
                }
            },
        };
        let (depth_stamp_ns, depth_m) = depth.unzip();
        let (width, height) = color.dimensions();
        let same_size = depth_m
            .as_ref()
            .is_none_or(|depth_m| depth_m.dim() == (height as usize, width as usize));
        let intrinsics = self.intrinsics(width, height);
        if self.report.intrinsics.is_none() {
            self.report.intrinsics = intrinsics;
        }
        Some(RgbdFrame {
            id: FrameId::from_stamp(stamp_ns),
            stamp_ns,
            depth_stamp_ns,
            color,
            depth_m,
            intrinsics,
            registration: if same_size { self.registration } else { Registration::Unregistered },
        })
    }

    /// Brings the report up to date.
    fn tell(&mut self) {
        for (_, place, rate) in &self.parts {
            if let Some(topic) = self.report.topics.get_mut(*place) {
                topic.rate_hz = rate.hz();
                if self.ended {
                    // What was promised and did not come was counted; now the truth.
                    topic.messages = rate.messages;
                }
            }
        }
        self.report.lost = self.lost.clone();
        if self.depth_kind.is_some() {
            self.report.unpaired = self.pairer.unpaired().clone();
        }
    }

    /// At the end: counts the messages that the metadata promises and that did not come.
    fn count_missing(&mut self) {
        let missing = self.parts.iter().fold(0_u64, |sum, (_, place, rate)| {
            let promised = self.report.topics.get(*place).map_or(0, |topic| topic.messages);
            sum.saturating_add(promised.saturating_sub(rate.messages))
        });
        // The files' own indices may have told of the same ones, and messages that are
        // there but damaged are counted by what is wrong with them.
        let known = self.lost.get("messages_missing")
            + self.lost.get(decode::BAD_MESSAGE)
            + self.lost.get("zstd_damaged")
            + self.lost.get("message_too_large")
            + self.lost.get("db_row");
        self.lost.add_n("messages_missing", missing.saturating_sub(known));
    }

    fn give(&mut self, frame: RgbdFrame) -> RgbdFrame {
        self.report.frames += 1;
        let stamp = frame.stamp_ns;
        let (first, last) = self.report.stamps_ns.unwrap_or((stamp, stamp));
        self.report.stamps_ns = Some((first.min(stamp), last.max(stamp)));
        frame
    }
}

impl FrameSource for BagSource {
    fn next_frame(&mut self) -> Result<Option<RgbdFrame>, SourceError> {
        loop {
            if let Some(pair) = self.pairer.pop() {
                if let Some(frame) = self.frame_of(pair) {
                    let frame = self.give(frame);
                    self.tell();
                    return Ok(Some(frame));
                }
                continue;
            }
            if self.ended {
                // The last pairs may have been damaged.
                self.tell();
                return Ok(None);
            }
            match self.files.next(&mut self.lost) {
                Some(message) => {
                    if let Some(frame) = self.take(message) {
                        let frame = self.give(frame);
                        self.tell();
                        return Ok(Some(frame));
                    }
                }
                None => {
                    self.count_missing();
                    self.ended = true;
                    self.pairer.finish();
                    self.tell();
                }
            }
        }
    }

    fn report(&self) -> &SourceReport {
        &self.report
    }
}

/// Half the time between two pictures, so that a picture is never paired with its
/// neighbour's depth; 20 ms where the rate is slower or not known.
fn default_tolerance_ns(duration_s: Option<f64>, messages: Option<u64>) -> i64 {
    match (duration_s, messages) {
        (Some(duration_s), Some(n)) if n > 1 => {
            let half_ns = (0.5e9 * duration_s / (n - 1) as f64) as i64;
            half_ns.clamp(MIN_TOLERANCE_NS, TOLERANCE_NS)
        }
        _ => TOLERANCE_NS,
    }
}

/// `rgb8 640x480`.
fn describe(first: &First) -> String {
    let size = first.size.map(|(width, height)| format!("{width}x{height}"));
    [Some(first.format.clone()), size]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
        .trim()
        .to_owned()
}

/// Reads on until each topic that may be used has shown one message.
fn probe(files: &mut BagFiles, topics: Vec<StoredTopic>, damage: &mut Tally) -> Vec<Seen> {
    let mut seen: Vec<Seen> = topics
        .into_iter()
        .map(|topic| Seen { kind: Kind::of(&topic), topic, first: None })
        .collect();
    let places: Vec<usize> = (0..seen.len())
        .filter(|i| seen.get(*i).is_some_and(|s| s.kind.is_some() && s.topic.messages != Some(0)))
        .take(MAX_CANDIDATES)
        .collect();
    let names: Vec<String> =
        places.iter().filter_map(|i| seen.get(*i)).map(|seen| seen.topic.name.clone()).collect();
    files.want(&names);
    let (mut missing, mut quiet, mut bytes) = (places.len(), 0, 0);
    while missing > 0 && quiet < PROBE_MESSAGES && bytes < PROBE_BYTES {
        let Some(message) = files.next(damage) else { break };
        quiet += 1;
        bytes += message.data.len();
        let place = places.get(message.topic).and_then(|place| seen.get_mut(*place));
        let Some((seen, kind)) = place.and_then(|seen| seen.kind.map(|kind| (seen, kind))) else {
            continue;
        };
        if seen.first.is_none()
            && let Ok(data) = unpack::message(message.data)
            && let Some(first) = decode::first(kind, &data)
        {
            seen.first = Some(first);
            missing -= 1;
            quiet = 0;
        }
    }
    seen
}
