//! One camera: its streams, a thread that pairs them, and the pairs that wait for whoever
//! looks at them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    drain::SharedNode,
    ring::Ring,
    stream::{Arrived, Content, Inbox, IngestError, Stream, StreamCounts},
};
use crate::{
    source::pair::{PairOptions, Pairer, Stream as Side},
    tally::Tally,
};

/// The most pairs that wait for the learner. It takes the newest; more than one waits only so
/// that a short nap of the learner costs none.
const PAIRS: usize = 4;
/// How much later than the next one of its stream a picture may come, by its stamp.
const DISORDER_NS: i64 = 50_000_000;
/// The most bytes that wait for a partner.
const PAIRING_BYTES: usize = 128 << 20;
/// How often the pairing thread looks whether it is to end.
const NAP: Duration = Duration::from_millis(200);

/// The topics of one camera, names from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraTopics {
    /// What the camera is called; its namespace.
    pub name: String,
    /// Colour.
    pub color: String,
    /// Depth; none: colour alone.
    pub depth: Option<String>,
    /// Camera info of the colour camera.
    pub info: Option<String>,
    /// Camera info of the depth camera.
    pub depth_info: Option<String>,
}

/// How its messages are put together.
#[derive(Clone, Copy, Debug)]
pub struct CameraOptions {
    /// The most that the stamps of colour and depth differ, nanoseconds.
    pub tolerance_ns: i64,
    /// Older pairs are used for nothing.
    pub max_age: Duration,
    /// Pictures of one stream that wait to be paired.
    pub waiting: usize,
}

impl Default for CameraOptions {
    fn default() -> Self {
        CameraOptions { tolerance_ns: 20_000_000, max_age: Duration::from_millis(150), waiting: 16 }
    }
}

/// Colour and depth of one moment, as they came.
#[derive(Clone, Debug)]
pub struct Paired {
    /// Stamp of the colour picture, nanoseconds.
    pub stamp_ns: i64,
    /// The colour picture.
    pub color: Arrived,
    /// The depth picture with its stamp.
    pub depth: Option<(i64, Arrived)>,
    /// When the two were put together.
    pub paired_at: Instant,
}

impl Paired {
    /// How old the older of its pictures is.
    pub fn age(&self) -> Duration {
        let depth = self.depth.as_ref().map(|(_, depth)| depth.born);
        let born = depth.map_or(self.color.born, |depth| depth.min(self.color.born));
        born.elapsed()
    }
}

/// Sees every pair at once, on the pairing thread: it must be quick.
pub type Tap = Arc<dyn Fn(&Paired) + Send + Sync>;

/// What became of the pairs of a camera.
#[derive(Clone, Debug, Default)]
pub struct PairCounts {
    /// Pairs, or colour pictures alone.
    pub paired: u64,
    /// Given to whoever asked for one.
    pub taken: u64,
    /// How old the oldest of those was when it was given.
    pub oldest_taken: Duration,
    /// Not given, by reason.
    pub dropped: Tally,
    /// Messages without a partner, by reason.
    pub unpaired: Tally,
    /// Messages that wait for a partner.
    pub waiting: u64,
    /// Times that the stamps went back.
    pub clock_set_back: u64,
    /// When they last did.
    pub set_back_at: Option<Instant>,
}

struct Outbox {
    ring: Ring<Arc<Paired>, PAIRS>,
    latest: Option<Arc<Paired>>,
    counts: PairCounts,
    /// The least time between two pairs that somebody wants; none: nobody does.
    wanted: Option<Duration>,
    due: Option<Instant>,
}

impl Outbox {
    /// Whether a pair of this moment is wanted, or why not.
    fn admit(&mut self, at: Instant) -> Result<(), &'static str> {
        let Some(apart) = self.wanted else { return Err("not_learning") };
        // A camera that is exactly as fast as wanted, give or take, loses nothing.
        if self.due.is_some_and(|due| at + apart / 2 < due) {
            return Err("rate_limited");
        }
        let due = self.due.unwrap_or(at).max(at.checked_sub(apart).unwrap_or(at));
        self.due = Some(due + apart);
        Ok(())
    }
}

struct Shared {
    outbox: Mutex<Outbox>,
    stop: AtomicBool,
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A camera that is listened to. It stops when this is dropped.
pub struct Camera {
    topics: CameraTopics,
    options: CameraOptions,
    color: Stream,
    depth: Option<Stream>,
    info: Option<Stream>,
    depth_info: Option<Stream>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Camera {
    /// Subscribes to the camera's topics.
    ///
    /// # Errors
    /// [`IngestError`] naming the topic.
    pub fn open(
        node: &SharedNode,
        topics: CameraTopics,
        options: CameraOptions,
        tap: Option<Tap>,
    ) -> Result<Self, IngestError> {
        let (bell, rung) = sync_channel(1);
        let picture = |topic: &str| {
            Stream::open(node, topic, Content::of(topic), options.waiting, bell.clone())
        };
        let info = |topic: &Option<String>| {
            let open = |topic: &String| Stream::open(node, topic, Content::Info, 1, bell.clone());
            topic.as_ref().map(open).transpose()
        };
        let color = picture(&topics.color)?;
        let depth = topics.depth.as_deref().map(picture).transpose()?;
        let (info, depth_info) = (info(&topics.info)?, info(&topics.depth_info)?);
        let shared = Arc::new(Shared {
            outbox: Mutex::new(Outbox {
                ring: Ring::new(PAIRS, 2 * PAIRING_BYTES),
                latest: None,
                counts: PairCounts::default(),
                wanted: None,
                due: None,
            }),
            stop: AtomicBool::new(false),
        });
        let pairing = Pairing {
            color: color.inbox().clone(),
            depth: depth.as_ref().map(|depth| depth.inbox().clone()),
            shared: shared.clone(),
            pairer: Pairer::new(PairOptions {
                tolerance_ns: options.tolerance_ns,
                // Large pictures of one stream overtake each other when a fragment is late.
                disorder_ns: DISORDER_NS,
                eager: true,
                max_bytes: PAIRING_BYTES,
                lone_color: depth.is_none(),
            }),
            newest_ns: None,
            tap,
        };
        let thread = std::thread::Builder::new()
            .name(format!("pair {}", topics.name))
            .spawn(move || pairing.run(&rung))
            .map_err(IngestError::Thread)?;
        let thread = Some(thread);
        Ok(Camera { topics, options, color, depth, info, depth_info, shared, thread })
    }

    /// Its topics.
    pub fn topics(&self) -> &CameraTopics {
        &self.topics
    }

    /// Its streams: colour first, then those that it has of depth, info and depth info.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        let others = [&self.depth, &self.info, &self.depth_info];
        std::iter::once(&self.color).chain(others.into_iter().flatten())
    }

    /// Makes all subscriptions anew, for another participant.
    pub fn subscribe_again(&self) {
        self.streams().for_each(Stream::subscribe_again);
    }

    /// Makes stalled subscriptions anew; `publishers` says how many a topic has. Gives the topic
    /// of the last one that was.
    pub fn tend(
        &self,
        now: Instant,
        patience: Duration,
        publishers: impl Fn(&str) -> usize,
    ) -> Option<String> {
        let tend =
            |anew, stream: &Stream| match stream.tend(now, publishers(stream.topic()), patience) {
                true => Some(stream.topic().to_owned()),
                false => anew,
            };
        self.streams().fold(None, tend)
    }

    /// Whether pairs are to wait for [`Camera::take`], and how far apart; else they are counted
    /// as `not_learning`.
    pub fn want(&self, wanted: Option<Duration>) {
        let mut outbox = self.shared.locked();
        outbox.wanted = wanted;
        if wanted.is_none() {
            while outbox.ring.pop().is_some() {
                outbox.counts.dropped.add("not_learning");
            }
        }
    }

    /// The newest pair that nobody took and that is young enough. All others that wait are
    /// counted.
    pub fn take(&self) -> Option<Arc<Paired>> {
        let mut outbox = self.shared.locked();
        let gone = outbox.ring.keep_newest();
        outbox.counts.dropped.add_n("newer_came", gone);
        let pair = outbox.ring.pop()?;
        let age = pair.age();
        if age > self.options.max_age {
            outbox.counts.dropped.add("too_old");
            return None;
        }
        outbox.counts.taken += 1;
        outbox.counts.oldest_taken = outbox.counts.oldest_taken.max(age);
        Some(pair)
    }

    /// The newest pair, whoever took it.
    pub fn latest(&self) -> Option<Arc<Paired>> {
        self.shared.locked().latest.clone()
    }

    /// Messages that wait to be paired, in rings and in the pairer, and pairs that wait.
    pub fn waiting(&self) -> (u64, u64) {
        let pictures = self.streams().filter(|stream| stream.is_picture());
        let rings: usize = pictures.map(|stream| stream.inbox().waiting()).sum();
        let outbox = self.shared.locked();
        (rings as u64 + outbox.counts.waiting, outbox.ring.len() as u64)
    }

    /// The newest camera info of colour and of depth.
    pub fn infos(&self) -> [Option<crate::node::msg::CameraInfo>; 2] {
        [&self.info, &self.depth_info].map(|stream| stream.as_ref()?.inbox().info())
    }

    /// What became of its pairs.
    pub fn counts(&self) -> PairCounts {
        self.shared.locked().counts.clone()
    }

    /// What each stream has seen, with the topic's name.
    pub fn stream_counts(&self) -> Vec<(String, StreamCounts)> {
        self.streams().map(|s| (s.topic().to_owned(), s.inbox().counts())).collect()
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the pairing thread of camera {:?} panicked", self.topics.name);
        }
    }
}

/// The pairing thread.
struct Pairing {
    color: Arc<Inbox>,
    depth: Option<Arc<Inbox>>,
    shared: Arc<Shared>,
    pairer: Pairer<Arrived>,
    newest_ns: Option<i64>,
    tap: Option<Tap>,
}

impl Pairing {
    fn run(mut self, rung: &Receiver<()>) {
        loop {
            let wait = rung.recv_timeout(NAP);
            if self.shared.stop.load(Ordering::Relaxed)
                || wait == Err(RecvTimeoutError::Disconnected)
            {
                return;
            }
            let color = self.color.clone();
            while let Some(arrived) = color.pop() {
                self.push(Side::Color, &color, arrived);
            }
            if let Some(depth) = self.depth.clone() {
                while let Some(arrived) = depth.pop() {
                    self.push(Side::Depth, &depth, arrived);
                }
            }
            let mut outbox = self.shared.locked();
            outbox.counts.unpaired = self.pairer.unpaired().clone();
            outbox.counts.waiting = self.pairer.waiting().0 as u64;
        }
    }

    fn push(&mut self, side: Side, inbox: &Inbox, arrived: Arrived) {
        if let Err(why) = arrived.picture.check() {
            inbox.drop_for(why);
            return;
        }
        let stamp_ns = match arrived.picture.stamp_ns() {
            // A driver that does not stamp: its arrival is the best there is.
            0 => arrived.arrived_ns,
            stamp_ns => stamp_ns,
        };
        if side == Side::Color {
            if self.newest_ns.is_some_and(|newest| stamp_ns < newest - 1_000_000_000) {
                tracing::warn!("the camera's stamps went back by more than a second");
                let mut outbox = self.shared.locked();
                outbox.counts.clock_set_back += 1;
                outbox.counts.set_back_at = Some(Instant::now());
            }
            self.newest_ns = Some(stamp_ns);
        }
        if self.depth.is_none() {
            self.give(Paired { stamp_ns, color: arrived, depth: None, paired_at: Instant::now() });
            return;
        }
        self.pairer.push(side, stamp_ns, arrived.picture.data().len(), arrived);
        while let Some(pair) = self.pairer.pop() {
            let paired_at = Instant::now();
            let (stamp_ns, color, depth) = (pair.stamp_ns, pair.color, pair.depth);
            self.give(Paired { stamp_ns, color, depth, paired_at });
        }
    }

    fn give(&self, pair: Paired) {
        if let Some(tap) = &self.tap {
            tap(&pair);
        }
        let data = |arrived: &Arrived| arrived.picture.data().len();
        let bytes = data(&pair.color) + pair.depth.as_ref().map_or(0, |(_, depth)| data(depth));
        let pair = Arc::new(pair);
        let mut outbox = self.shared.locked();
        outbox.counts.paired += 1;
        outbox.latest = Some(pair.clone());
        match outbox.admit(pair.paired_at) {
            Ok(()) => {
                let gone = outbox.ring.push(bytes, pair);
                outbox.counts.dropped.add_n("newer_came", gone);
            }
            Err(why) => outbox.counts.dropped.add(why),
        }
    }
}
