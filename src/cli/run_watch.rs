//! What a run shows while it runs: progress on stderr, one JSON line an update in a file.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use serde_json::{Value, json};

use super::{Context, machine::Pace};
use crate::{
    adapt::{
        check::Check,
        replay::Watch,
        trainer::{Step, Taught},
    },
    grpo::UpdateSkip,
    report::progress::Progress,
};

/// Shows a run's progress and writes its metrics.
pub struct RunWatch<'a> {
    context: &'a Context,
    progress: Option<Progress>,
    metrics: Option<BufWriter<File>>,
    checks: Option<BufWriter<File>>,
    /// Keeps the run within its budget.
    pub pace: Option<Pace>,
    /// The first reason why metrics could not be written.
    pub metrics_error: Option<std::io::Error>,
}

impl<'a> RunWatch<'a> {
    /// Shows progress and writes nothing.
    pub fn new(context: &'a Context) -> Self {
        RunWatch {
            context,
            progress: None,
            metrics: None,
            checks: None,
            pace: None,
            metrics_error: None,
        }
    }

    /// Writes a line for each update into `metrics` and for each tested candidate into
    /// `checks`.
    pub fn writing(context: &'a Context, metrics: File, checks: Option<File>) -> Self {
        let metrics = Some(BufWriter::new(metrics));
        RunWatch { metrics, checks: checks.map(BufWriter::new), ..RunWatch::new(context) }
    }

    /// Ends the last phase and writes out what is buffered.
    pub fn finish(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
        self.write_out();
    }

    fn write_out(&mut self) {
        for file in [&mut self.metrics, &mut self.checks].into_iter().flatten() {
            if let Err(error) = file.flush() {
                self.metrics_error.get_or_insert(error);
            }
        }
    }

    /// Writes a line of metrics and, if the update was skipped, why.
    fn write(&mut self, line: Value, skipped: Option<&UpdateSkip>) {
        let Some(file) = &mut self.metrics else { return };
        let mut line = line;
        if let (Some(reason), Some(line)) = (skipped, line.as_object_mut()) {
            line.insert("skipped".to_owned(), reason.name().into());
        }
        let written = serde_json::to_writer(&mut *file, &line).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|()| file.write_all(b"\n")) {
            self.metrics_error.get_or_insert(error);
        }
    }

    fn note(&self, words: &str) {
        if let Some(progress) = &self.progress {
            progress.note(words);
        }
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
        self.note(&format!("reward {:.2}", step.metrics.reward));
        self.write(json!(step.metrics), step.skipped.as_ref());
    }

    fn taught(&mut self, taught: &Taught) {
        let mut line = json!({
            "step": taught.step,
            "phase": "cold_start",
            "learning_rate": taught.learning_rate,
            "time/update": taught.seconds,
        });
        if let (Some(loss), Some(line)) = (taught.loss, line.as_object_mut()) {
            self.note(&format!("loss {loss:.2}"));
            line.insert("loss".to_owned(), json!(loss));
        }
        self.write(line, taught.skipped.as_ref());
    }

    fn checked(&mut self, check: &Check) {
        if let Some(alarm) = &check.alarm {
            match alarm.is_error() {
                true => tracing::error!("step {}: {alarm}", check.step),
                false => tracing::warn!("step {}: {alarm}", check.step),
            }
        }
        tracing::info!("{check}");
        let Some(file) = &mut self.checks else { return };
        let written = serde_json::to_writer(&mut *file, check).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|()| file.write_all(b"\n")) {
            self.metrics_error.get_or_insert(error);
        }
    }

    fn flush(&mut self) {
        self.write_out();
    }

    fn rest(&mut self) {
        if let Some(pace) = &mut self.pace {
            pace.rest(self.context);
        }
    }

    fn stopped(&self) -> bool {
        self.context.stopped()
    }
}
