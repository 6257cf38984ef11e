//! What the node publishes: status, diagnostics, previews, transition events, log lines.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ros2_client::{
    Context, Log, Name, Publisher, ROSTime,
    qos::{Durability, History, QosProfile, WhenFull},
};

use super::{
    answers,
    core::{Core, Listening},
    ingest::{
        Paired,
        drain::{SharedNode, locked},
    },
    lifecycle::Stage,
    msg::{
        CompressedImage, DiagnosticArray, Header, RosType, Status, Time, TransitionEvent,
        message_type,
    },
    names::NameError,
    report,
    rosout::Line,
    run::{Events, NodeError},
};

/// Reliable, the last one kept; a full buffer loses the message and nobody waits.
fn reliable() -> QosProfile {
    QosProfile::publisher_default()
        .reliability_reliable(WhenFull::Fail)
        .history(History::KeepLast { depth: 1 })
}

/// The pictures shown of one camera.
struct Preview {
    farness_topic: String,
    task_topic: String,
    farness: Publisher<CompressedImage>,
    task: Publisher<CompressedImage>,
    shown_ns: [Option<i64>; 2],
}

/// Everything that is published.
pub struct Publishers {
    node: SharedNode,
    status: Publisher<Status>,
    diagnostics: Publisher<DiagnosticArray>,
    transitions: Arc<Publisher<TransitionEvent>>,
    log: Publisher<Log>,
    resolve: Resolve,
    /// One for each camera of what the node listens to.
    previews: Vec<Preview>,
    last: [Option<Instant>; 4],
    stage: Option<Stage>,
}

/// The full name of a topic.
pub type Resolve = Box<dyn Fn(&str) -> Result<String, NameError> + Send>;

fn publisher<M: RosType>(
    node: &SharedNode,
    topic: &str,
    qos: QosProfile,
) -> Result<Publisher<M>, NodeError> {
    let wrong = |why: String| NodeError::Dds { what: topic.to_owned(), why };
    let name = Name::parse(topic).map_err(|e| wrong(e.to_string()))?;
    let mut node = locked(node);
    let topic = node.create_topic(&name, message_type::<M>(), &qos);
    let publisher = topic.and_then(|topic| node.create_publisher::<M>(&topic, Some(qos)));
    publisher.map_err(|e| wrong(e.to_string()))
}

impl Publishers {
    /// Opens all topics.
    ///
    /// # Errors
    /// [`NodeError`] naming the topic.
    pub fn open(context: &Context, node: &SharedNode, resolve: Resolve) -> Result<Self, NodeError> {
        let latched = reliable().durability(Durability::TransientLocal);
        let log = locked(node)
            .create_publisher::<Log>(&context.get_rosout_topic(), None)
            .map_err(|e| NodeError::Dds { what: "/rosout".to_owned(), why: e.to_string() })?;
        Ok(Publishers {
            status: publisher(node, &resolve("~/status")?, latched)?,
            diagnostics: publisher(node, &resolve("/diagnostics")?, reliable())?,
            transitions: Arc::new(publisher(
                node,
                &resolve("~/transition_event")?,
                reliable().history(History::KeepLast { depth: 10 }),
            )?),
            log,
            resolve,
            previews: Vec::new(),
            node: node.clone(),
            last: [None; 4],
            stage: None,
        })
    }

    /// Publishes transition events.
    pub fn transition_events(&self) -> impl Fn(TransitionEvent) + Send + use<> {
        let publisher = self.transitions.clone();
        move |event| {
            if let Err(error) = publisher.publish(event) {
                tracing::warn!("~/transition_event: {error}");
            }
        }
    }

    /// Publishes a line on `/rosout`.
    pub fn log(&self, core: &Core, line: Line) {
        let stamp = ROSTime::from_nanos(core.clock.now_ns());
        let name = locked(&self.node).fully_qualified_name();
        let name = name.trim_start_matches('/').replace('/', ".");
        let Line { level, text: msg, file, module: function, line } = line;
        // A line about a line that was lost would be lost too.
        let _ =
            self.log.publish(Log { stamp: stamp.into(), level, name, msg, file, function, line });
    }

    /// Whether the `at`-th of what is published now and then is due.
    fn due(&mut self, at: usize, every: Option<Duration>, now: Instant) -> bool {
        let (Some(every), Some(last)) = (every, self.last.get_mut(at)) else { return false };
        let due = last.is_none_or(|last| now - last >= every);
        if due {
            *last = Some(now);
        }
        due
    }

    /// Publishes what is due.
    pub fn tick(&mut self, core: &Core, events: &Events, now: Instant) {
        let (stage, live) = (core.stage(), core.live());
        let changed = self.stage.replace(stage) != Some(stage);
        let stamp = Time::from_ns(core.clock.now_ns());
        if self.due(0, Some(live.status_every), now) || changed {
            let status = report::status(core, stamp);
            if let Err(error) = self.status.publish(status) {
                tracing::debug!("~/status: {error}");
            }
        }
        if self.due(1, Some(live.diagnostics_every), now) || changed {
            let header = Header { stamp, frame_id: String::new() };
            let name = locked(&self.node).fully_qualified_name();
            let status = report::diagnostics(core, events, name.trim_start_matches('/'), now);
            if let Err(error) = self.diagnostics.publish(DiagnosticArray { header, status }) {
                tracing::debug!("/diagnostics: {error}");
            }
        }
        let Some(listening) = core.listening() else {
            self.previews.clear();
            return;
        };
        if self.previews.is_empty() {
            match self.open_previews(&listening) {
                Ok(previews) => self.previews = previews,
                Err(error) => tracing::error!("no previews: {error}"),
            }
        }
        let due = [self.due(2, live.farness_every, now), self.due(3, live.preview_every, now)];
        self.preview(&listening, due);
    }

    fn open_previews(&self, listening: &Listening) -> Result<Vec<Preview>, NodeError> {
        let cameras = listening.cameras();
        let open = |name: &str| -> Result<Preview, NodeError> {
            let topic = |what: &str| match name.trim_matches('/') {
                name if cameras.len() > 1 && !name.is_empty() => {
                    (self.resolve)(&format!("~/{name}/{what}"))
                }
                _ => (self.resolve)(&format!("~/{what}")),
            };
            let (farness_topic, task_topic) = (topic("farness")?, topic("task_preview")?);
            Ok(Preview {
                farness: publisher(&self.node, &farness_topic, reliable())?,
                task: publisher(&self.node, &task_topic, reliable())?,
                farness_topic,
                task_topic,
                shown_ns: [None; 2],
            })
        };
        cameras.iter().map(|camera| open(&camera.topics().name)).collect()
    }

    /// Shows the latest pictures to whoever looks.
    fn preview(&mut self, listening: &Listening, [farness, task]: [bool; 2]) {
        for (at, (preview, camera)) in self.previews.iter_mut().zip(listening.cameras()).enumerate()
        {
            let Some(pair) = camera.latest() else { continue };
            let looked_at = |topic: &str| locked(&self.node).subscription_count(topic) > 0;
            let show = |publisher: &Publisher<CompressedImage>,
                        picture: Result<Vec<u8>, String>| {
                let message = picture.map(|data| compressed(&pair, data));
                match message.map(|message| publisher.publish(message)) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!("preview: {error}"),
                    Err(why) => tracing::debug!("no preview: {why}"),
                }
            };
            let [farness_ns, task_ns] = &mut preview.shown_ns;
            if farness && *farness_ns != Some(pair.stamp_ns) && looked_at(&preview.farness_topic) {
                *farness_ns = Some(pair.stamp_ns);
                show(&preview.farness, answers::farness(listening, &pair));
            }
            if task && *task_ns != Some(pair.stamp_ns) && looked_at(&preview.task_topic) {
                *task_ns = Some(pair.stamp_ns);
                show(&preview.task, answers::task_preview(listening, at, &pair));
            }
        }
    }
}

/// A JPEG with the stamp and the frame of the picture that it was made from.
fn compressed(pair: &Paired, data: Vec<u8>) -> CompressedImage {
    let frame_id = pair.color.picture.first().frame_id;
    let header = Header { stamp: Time::from_ns(pair.stamp_ns), frame_id };
    CompressedImage { header, format: "jpeg".to_owned(), data }
}
