//! How far a long job is: a bar on a terminal, a plain line now and then elsewhere. Always on
//! stderr, so that stdout holds results alone.

use std::{
    io::{IsTerminal, Write},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Elsewhere than on a terminal a line is written this often, and one at the end.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// All bars of the process: log lines are written between them, never through them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// One phase of a job. Shared by reference between threads.
///
/// ```
/// use spatial_ssrl::report::progress::Progress;
/// let progress = Progress::silent();
/// progress.add(3);
/// assert_eq!(progress.done(), 3);
/// progress.finish();
/// ```
pub struct Progress {
    done: AtomicU64,
    show: Show,
}

enum Show {
    Silent,
    Bar(ProgressBar),
    Lines(Lines),
}

struct Lines {
    phase: String,
    unit: String,
    total: Option<u64>,
    started: Instant,
    last: Mutex<(Instant, String)>,
}

impl Progress {
    /// Starts a phase: a bar where stderr is a terminal, lines elsewhere. `total` is how many
    /// `unit` there will be, if that is known.
    pub fn start(phase: &str, unit: &str, total: Option<u64>) -> Self {
        let show = if std::io::stderr().is_terminal() {
            Show::Bar(bar(phase, unit, total))
        } else {
            let now = Instant::now();
            Show::Lines(Lines {
                phase: phase.to_owned(),
                unit: unit.to_owned(),
                total,
                started: now,
                last: Mutex::new((now, String::new())),
            })
        };
        Progress { done: AtomicU64::new(0), show }
    }

    /// Counts, but shows nothing.
    pub fn silent() -> Self {
        Progress { done: AtomicU64::new(0), show: Show::Silent }
    }

    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        let done = self.done.fetch_add(n, Ordering::Relaxed) + n;
        match &self.show {
            Show::Silent => {}
            Show::Bar(bar) => bar.inc(n),
            Show::Lines(lines) => lines.tick(done),
        }
    }

    /// Shows a few words beside the count from now on (`reward 0.83`).
    pub fn note(&self, words: &str) {
        match &self.show {
            Show::Silent => {}
            Show::Bar(bar) => bar.set_message(words.to_owned()),
            Show::Lines(lines) => lines.set_note(words),
        }
    }

    /// How many were counted.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the phase; the bar disappears, elsewhere the last line stands.
    pub fn finish(self) {
        match &self.show {
            Show::Silent => {}
            Show::Bar(bar) => bar.finish_and_clear(),
            Show::Lines(lines) => lines.end(self.done()),
        }
    }
}

impl Lines {
    fn tick(&self, done: u64) {
        // A thread that finds another one writing has nothing to add.
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.0.elapsed() < LINE_EVERY {
            return;
        }
        last.0 = Instant::now();
        write_line(&self.line(done, &last.1));
    }

    fn set_note(&self, words: &str) {
        if let Ok(mut last) = self.last.lock() {
            words.clone_into(&mut last.1);
        }
    }

    fn end(&self, done: u64) {
        let note = self.last.lock().map(|last| last.1.clone()).unwrap_or_default();
        write_line(&self.line(done, &note));
    }

    fn line(&self, done: u64, note: &str) -> String {
        let of = self.total.map_or_else(String::new, |total| format!(" of {total}"));
        let seconds = self.started.elapsed().as_secs_f64();
        let gap = if note.is_empty() { "" } else { ", " };
        format!("{}: {done}{of} {} in {seconds:.1} s{gap}{note}", self.phase, self.unit)
    }
}

fn bar(phase: &str, unit: &str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            format!("{{prefix}} {{wide_bar}} {{pos}}/{{len}} {unit} {{eta}} {{msg}}"),
        ),
        None => (
            ProgressBar::new_spinner(),
            format!("{{spinner}} {{prefix}} {{pos}} {unit} {{elapsed}} {{msg}}"),
        ),
    };
    let bar = BARS.add(bar).with_prefix(phase.to_owned());
    // A template that does not parse shows the default bar.
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Writes to stderr between the bars. A closed stderr loses the line, nothing else.
fn write_line(line: &str) {
    BARS.suspend(|| {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    });
}

/// Where log lines go: stderr, between the bars.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        BARS.suspend(|| std::io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(total: Option<u64>) -> Lines {
        Lines {
            phase: "tasks".to_owned(),
            unit: "frames".to_owned(),
            total,
            started: Instant::now(),
            last: Mutex::new((Instant::now(), String::new())),
        }
    }

    #[test]
    fn a_line_says_what_is_counted_and_how_much_is_left() {
        assert!(lines(Some(9)).line(3, "").starts_with("tasks: 3 of 9 frames in "));
        assert!(lines(None).line(3, "").starts_with("tasks: 3 frames in "));
        assert!(lines(None).line(3, "reward 0.50").ends_with(" s, reward 0.50"));
    }

    #[test]
    fn any_number_of_threads_counts_right() {
        let progress = Progress::silent();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| progress.add(1)));
            }
        });
        assert_eq!(progress.done(), 4000);
    }
}
