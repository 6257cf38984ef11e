//! One topic of a camera: what came, what was lost, and what waits.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    time::{Duration, Instant, SystemTime},
};

use ros2_client::{Gid, MessageInfo, ReadError, ros2::QosProfile};

use super::{
    age::Transit,
    drain::{Drain, SharedNode, Taken},
    picture::{MAX_MESSAGE_BYTES, Picture},
    ring::Ring,
    watch::Watch,
};
use crate::{
    node::msg::{CameraInfo, CompressedImage, Image, message_type},
    tally::Tally,
};

/// The most pictures of one stream that can wait to be paired.
pub const MAX_WAITING: usize = 64;
/// A new subscription is given again what the old one had taken, as far as RustDDS still holds
/// it: 64 messages a topic. So many are remembered.
const REMEMBERED: usize = 256;
/// The most bytes that they may have.
const WAITING_BYTES: usize = 96 << 20;

/// A picture with the moments that matter.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The picture.
    pub picture: Picture,
    /// When it was as good as sent.
    pub born: Instant,
    /// Wall clock of its arrival, nanoseconds since 1970.
    pub arrived_ns: i64,
}

/// What a stream has seen.
#[derive(Clone, Debug, Default)]
pub struct StreamCounts {
    /// Messages that came.
    pub received: u64,
    /// Those that became no part of a pair, by reason.
    pub dropped: Tally,
    /// Times that the subscription was made anew.
    pub made_anew: u64,
    /// When the last message came.
    pub heard: Option<Instant>,
    /// The usual time between two messages.
    pub period: Option<Duration>,
}

impl StreamCounts {
    fn count(&mut self, at: Instant) {
        self.received += 1;
        if let Some(heard) = self.heard.replace(at) {
            let gap = at.saturating_duration_since(heard);
            self.period = Some(match self.period {
                None => gap,
                // A gap is no period: only part of it counts.
                Some(period) => (period * 7 + gap.min(period * 4)) / 8,
            });
        }
    }

    /// Messages a second.
    pub fn rate_hz(&self) -> f64 {
        self.period.map_or(0.0, |period| 1.0 / period.as_secs_f64().max(1e-6))
    }
}

struct Inner {
    ring: Ring<Arrived, MAX_WAITING>,
    info: Option<CameraInfo>,
    counts: StreamCounts,
    transit: Transit,
    seen: heapless::Deque<(Gid, i64), REMEMBERED>,
}

impl Inner {
    /// Whether this message was not taken before.
    fn is_new(&mut self, info: &MessageInfo) -> bool {
        let this = (info.publisher_gid(), info.sequence_number());
        if self.seen.iter().any(|seen| *seen == this) {
            return false;
        }
        if self.seen.is_full() {
            self.seen.pop_front();
        }
        self.seen.push_back(this).is_ok()
    }
}

/// What the draining thread and the others share.
pub struct Inbox {
    inner: Mutex<Inner>,
    bell: SyncSender<()>,
}

impl Inbox {
    fn locked(&self) -> MutexGuard<'_, Inner> {
        // Counters and a queue: whole after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest picture that waits.
    pub fn pop(&self) -> Option<Arrived> {
        self.locked().ring.pop()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.locked().ring.len()
    }

    /// The newest camera info.
    pub fn info(&self) -> Option<CameraInfo> {
        self.locked().info.clone()
    }

    /// What was counted.
    pub fn counts(&self) -> StreamCounts {
        self.locked().counts.clone()
    }

    /// Counts a message of this stream that was taken out and is used for nothing.
    pub fn drop_for(&self, reason: &str) {
        self.locked().counts.dropped.add(reason);
    }

    fn failed(&self, error: &ReadError, at: Instant) {
        let mut inner = self.locked();
        inner.counts.count(at);
        inner.counts.dropped.add(match error {
            ReadError::Deserialization { .. } | ReadError::Malformed => "bad_message",
            _ => "read_failed",
        });
        tracing::debug!(%error, "message");
    }

    fn picture(&self, picture: Picture, info: &MessageInfo, at: Instant) {
        let arrived_ns = wall_ns();
        let mut inner = self.locked();
        if !inner.is_new(info) {
            return;
        }
        inner.counts.count(at);
        let sent_ns = info.source_timestamp().map(|sent| sent.to_nanos());
        let born = inner.transit.born(sent_ns, arrived_ns, at);
        let bytes = picture.data().len();
        if bytes > MAX_MESSAGE_BYTES {
            inner.counts.dropped.add("message_too_large");
            return;
        }
        let gone = inner.ring.push(bytes, Arrived { picture, born, arrived_ns });
        inner.counts.dropped.add_n("waiting_too_long", gone);
        drop(inner);
        // A bell that rings already is enough.
        let _ = self.bell.try_send(());
    }
}

/// Nanoseconds since 1970.
pub fn wall_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// What comes on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `sensor_msgs/msg/Image`.
    Raw,
    /// `sensor_msgs/msg/CompressedImage`.
    Compressed,
    /// `sensor_msgs/msg/CameraInfo`.
    Info,
}

impl Content {
    /// What a picture topic of this name has, by the names that image transports give.
    ///
    /// ```
    /// use spatial_ssrl::node::ingest::stream::Content;
    /// assert_eq!(Content::of("/depth/image_raw"), Content::Raw);
    /// assert_eq!(Content::of("/depth/image_raw/compressedDepth"), Content::Compressed);
    /// ```
    pub fn of(topic: &str) -> Content {
        let last = topic.rsplit('/').next().unwrap_or("");
        match last.to_ascii_lowercase().as_str() {
            "compressed" | "compresseddepth" => Content::Compressed,
            _ => Content::Raw,
        }
    }

    /// The DDS name of its type.
    pub fn dds_type(self) -> String {
        match self {
            Content::Raw => message_type::<Image>(),
            Content::Compressed => message_type::<CompressedImage>(),
            Content::Info => message_type::<CameraInfo>(),
        }
        .dds_msg_type()
    }
}

/// A subscribed topic.
pub struct Stream {
    topic: String,
    content: Content,
    inbox: Arc<Inbox>,
    drain: Drain,
    watch: Mutex<Watch>,
}

/// Why a camera's topics are not listened to.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A topic's name.
    #[error("topic {topic:?}: {why}")]
    Name {
        /// The name.
        topic: String,
        /// What is wrong with it.
        why: String,
    },
    /// DDS refused.
    #[error("cannot subscribe to {topic}: {why}")]
    Subscribe {
        /// The topic.
        topic: String,
        /// What it says.
        why: String,
    },
    /// The system has no thread left.
    #[error("no thread for the camera's pairs: {0}")]
    Thread(std::io::Error),
}

impl Stream {
    /// Subscribes; at most `waiting` pictures wait to be paired. Best effort always: a reliable reader of large images stops for good under
    /// load, a best-effort one also matches reliable writers.
    ///
    /// # Errors
    /// [`IngestError`] naming the topic.
    pub fn open(
        node: &SharedNode,
        topic: &str,
        content: Content,
        waiting: usize,
        bell: SyncSender<()>,
    ) -> Result<Self, IngestError> {
        let name = ros2_client::Name::parse(topic)
            .map_err(|e| IngestError::Name { topic: topic.to_owned(), why: e.to_string() })?;
        let inbox = Arc::new(Inbox {
            inner: Mutex::new(Inner {
                ring: Ring::new(waiting, WAITING_BYTES),
                info: None,
                counts: StreamCounts::default(),
                transit: Transit::default(),
                seen: heapless::Deque::new(),
            }),
            bell,
        });
        let qos = QosProfile::subscription_default()
            .history(ros2_client::qos::History::KeepLast { depth: 8 });
        let to = inbox.clone();
        let drain = match content {
            Content::Raw => {
                let take = move |taken: Taken<Image>, at| match taken {
                    Ok((image, info)) => to.picture(image.into(), &info, at),
                    Err(error) => to.failed(&error, at),
                };
                Drain::start(node, &name, message_type::<Image>(), qos, take)
            }
            Content::Compressed => {
                let take = move |taken: Taken<CompressedImage>, at| match taken {
                    Ok((image, info)) => to.picture(image.into(), &info, at),
                    Err(error) => to.failed(&error, at),
                };
                Drain::start(node, &name, message_type::<CompressedImage>(), qos, take)
            }
            Content::Info => {
                let take = move |taken: Taken<CameraInfo>, at| match taken {
                    Ok((info, sent)) => {
                        let mut inner = to.locked();
                        if inner.is_new(&sent) {
                            inner.counts.count(at);
                            inner.info = Some(info);
                        }
                    }
                    Err(error) => to.failed(&error, at),
                };
                Drain::start(node, &name, message_type::<CameraInfo>(), qos, take)
            }
        };
        let drain = drain
            .map_err(|e| IngestError::Subscribe { topic: topic.to_owned(), why: e.to_string() })?;
        let topic = topic.to_owned();
        Ok(Stream { topic, content, inbox, drain, watch: Mutex::default() })
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What comes on it.
    pub fn content(&self) -> Content {
        self.content
    }

    /// Whether pictures come on it.
    pub fn is_picture(&self) -> bool {
        self.content != Content::Info
    }

    /// What it shares with others.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Makes the subscription anew if it has stalled, and says so.
    pub fn tend(&self, now: Instant, publishers: usize, patience: Duration) -> bool {
        let (heard, period) = {
            let inner = self.inbox.locked();
            (inner.counts.heard, inner.counts.period)
        };
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let stalled = watch.stalled(now, heard, period, publishers, patience);
        if stalled {
            tracing::warn!(
                "{}: {publishers} publishers but no message; subscribing anew",
                self.topic
            );
            self.subscribe();
        }
        stalled
    }

    fn subscribe(&self) {
        self.inbox.locked().counts.made_anew += 1;
        self.drain.again();
    }

    /// Makes the subscription anew, for another participant.
    pub fn subscribe_again(&self) {
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Watch::default();
        self.subscribe();
    }
}
