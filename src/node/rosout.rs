//! What the crate logs goes to `/rosout` too.
//!
//! A layer of `tracing` puts lines into a bounded channel; the node's loop publishes them. Lines
//! that find it full are counted. What DDS itself logs does not go there: publishing it would
//! make more of it.

use std::{
    fmt::Write,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use ros2_client::Log;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

/// Lines that wait for the node's loop.
const WAITING: usize = 256;
/// A longer line is cut.
const MAX_LINE: usize = 4096;

static LINES: OnceLock<SyncSender<Line>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Severity as ROS numbers it.
    pub level: u8,
    /// What happened.
    pub text: String,
    /// The source file.
    pub file: String,
    /// The module.
    pub module: String,
    /// The line in the file.
    pub line: u32,
}

/// The layer; it does nothing until [`listen`] was called.
#[derive(Clone, Copy, Debug, Default)]
pub struct RosoutLayer;

/// From now on lines are kept for the node's loop. Only the first call in a process gets them.
pub fn listen() -> Option<Receiver<Line>> {
    let (sender, receiver) = sync_channel(WAITING);
    LINES.set(sender).ok().map(|()| receiver)
}

/// Lines lost so far because the loop did not keep up.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        if written.is_err() {
            self.0.push('?');
        }
    }
}

impl<S: Subscriber> Layer<S> for RosoutLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        let Some(lines) = LINES.get() else { return };
        if *meta.level() > Level::INFO || !meta.target().starts_with("spatial_ssrl") {
            return;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        let mut text = text.0;
        if text.len() > MAX_LINE {
            text.truncate((0..=MAX_LINE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
        }
        let line = Line {
            level: match *meta.level() {
                Level::ERROR => Log::ERROR,
                Level::WARN => Log::WARN,
                _ => Log::INFO,
            },
            text,
            file: meta.file().unwrap_or_default().to_owned(),
            module: meta.module_path().unwrap_or_default().to_owned(),
            line: meta.line().unwrap_or_default(),
        };
        if lines.try_send(line).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}
