//! What a run shows while it runs: progress on stderr, one JSON line an update in a file.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use super::Context;
use crate::{
    adapt::{learner::Step, replay::Watch},
    report::progress::Progress,
};

/// Shows a run's progress and writes its metrics.
pub struct RunWatch<'a> {
    context: &'a Context,
    progress: Option<Progress>,
    metrics: Option<BufWriter<File>>,
    /// The first reason why metrics could not be written.
    pub metrics_error: Option<std::io::Error>,
}

impl<'a> RunWatch<'a> {
    /// Writes metrics into `metrics`, if given.
    pub fn new(context: &'a Context, metrics: Option<File>) -> Self {
        let metrics = metrics.map(BufWriter::new);
        RunWatch { context, progress: None, metrics, metrics_error: None }
    }

    /// Ends the last phase and writes out what is buffered.
    pub fn finish(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
        if let Some(Err(error)) = self.metrics.as_mut().map(Write::flush) {
            self.metrics_error.get_or_insert(error);
        }
    }

    fn write(&mut self, step: &Step) -> std::io::Result<()> {
        let Some(file) = &mut self.metrics else { return Ok(()) };
        let mut line = serde_json::to_value(&step.metrics)?;
        if let (Some(reason), Some(line)) = (&step.skipped, line.as_object_mut()) {
            line.insert("skipped".to_owned(), reason.name().into());
        }
        serde_json::to_writer(&mut *file, &line)?;
        file.write_all(b"\n")
    }
}

impl Watch for RunWatch<'_> {
    fn phase(&mut self, name: &str, unit: &str, total: Option<u64>) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
        self.progress = Some(self.context.progress(name, unit, total));
    }

    fn advance(&mut self, items: u64) {
        if let Some(progress) = &self.progress {
            progress.add(items);
        }
    }

    fn step(&mut self, step: &Step) {
        if let Err(error) = self.write(step) {
            self.metrics_error.get_or_insert(error);
        }
    }

    fn stopped(&self) -> bool {
        self.context.stopped()
    }
}
