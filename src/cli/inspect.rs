//! `inspect SOURCE`: what is in a recording, and what can be learnt from it.

use std::{collections::BTreeMap, fmt};

use clap::Args;
use serde::Serialize;

use super::{CliError, Context, Outcome, SourceArgs};
use crate::{
    adapt::gate::{Gate, GateReason},
    frame::{Distortion, RgbdFrame, SensorModel},
    report::progress::Progress,
    source::{FrameSource, SourceError, SourceOptions, SourceReport, open},
    tally::Tally,
    task::{PreparedFrame, TaskSet},
};

/// Shows what is in a source, what pairs up and what does not, and which tasks it can make
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    spatial-ssrl inspect my_bag\n  \
    spatial-ssrl inspect my_bag --color /front/color/image_raw --tolerance-ms 40\n  \
    spatial-ssrl inspect my_bag --json | jq .lost")]
pub struct InspectArgs {
    /// What to look at: a bag, a folder, or a rendered room
    pub source: String,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,

    /// Options about the source.
    #[command(flatten)]
    pub source_args: SourceArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] when nothing can be read.
pub fn run(args: InspectArgs, context: &Context) -> Result<Outcome, CliError> {
    let mut source = Watched {
        inner: open(&args.source, &args.source_args.options())?,
        context,
        progress: context.progress("inspect", "frames", None),
    };
    let set = TaskSet::default();
    let report = inspect_source(&args.source, &mut source, &mut |frame, verdict, counts| {
        count_tasks(&set, frame, verdict, counts);
    })?;
    source.progress.finish();
    context.print(&report.render(args.json))?;
    Ok(match (report.read.lost.is_empty(), context.stopped()) {
        (false, _) => Outcome::DataLost,
        (true, true) => Outcome::Stopped,
        (true, false) => Outcome::Done,
    })
}

/// A source that shows how far it is and ends when the user asks to stop.
struct Watched<'a> {
    inner: Box<dyn FrameSource>,
    context: &'a Context,
    progress: Progress,
}

impl FrameSource for Watched<'_> {
    fn next_frame(&mut self) -> Result<Option<RgbdFrame>, SourceError> {
        if self.context.stopped() {
            return Ok(None);
        }
        let frame = self.inner.next_frame()?;
        self.progress.add(u64::from(frame.is_some()));
        Ok(frame)
    }

    fn report(&self) -> &SourceReport {
        self.inner.report()
    }
}

/// Tries one task of each kind.
fn count_tasks(
    set: &TaskSet,
    frame: &RgbdFrame,
    color_only: Option<GateReason>,
    counts: &mut TaskCounts,
) {
    let prepared = PreparedFrame::new(frame, SensorModel::default());
    for kind in set.kinds() {
        let count = counts.entry(kind.name().to_owned()).or_default();
        match color_only {
            Some(reason) if kind.needs_depth() => count.skipped.add(reason.name()),
            _ => match set.make(&prepared, &kind, 0, 0) {
                Ok(_) => count.made += 1,
                Err(skip) => count.skipped.add(skip.name()),
            },
        }
    }
}

/// How many tasks of one kind a source makes, and why it makes no more.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TaskCount {
    /// Tasks that can be made, one try a frame.
    pub made: u64,
    /// Tries that made none, by reason.
    pub skipped: Tally,
}

/// Task counts by the kind's name.
pub type TaskCounts = BTreeMap<String, TaskCount>;

/// What the gate says to the frames.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GateReport {
    /// Frames good for every task.
    pub all_tasks: u64,
    /// Frames good for tasks without depth only, by reason.
    pub color_only: Tally,
    /// Of the frames good for every task, those whose depth lay beside colour and was moved.
    pub depth_moved: u64,
    /// Frames good for nothing, by reason.
    pub rejected: Tally,
}

/// Depth of all frames together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DepthReport {
    /// Frames with depth.
    pub frames: u64,
    /// Pixels with a depth, 0 to 1.
    pub valid_fraction: f64,
    /// Middle of the frames' middle depths, metres; none where no pixel has a depth.
    pub median_m: Option<f32>,
    /// The largest difference of the stamps of a pair, milliseconds.
    pub largest_skew_ms: Option<f64>,
}

/// All that `inspect` tells. [`fmt::Display`] is for people, [`Serialize`] for programs.
#[derive(Clone, Debug, Serialize)]
pub struct InspectReport {
    /// The SOURCE argument.
    pub source: String,
    /// Width and height of the colour pictures in pixels, with the number of frames.
    pub sizes: Vec<((u32, u32), u64)>,
    /// Time from the first to the last frame, seconds.
    pub span_s: f64,
    /// Topics, counts, intrinsics, registration, loss.
    #[serde(flatten)]
    pub read: SourceReport,
    /// Depth, where there is some.
    pub depth: Option<DepthReport>,
    /// The gate's verdicts.
    pub gate: GateReport,
    /// Tasks by kind; empty where nobody counted them.
    pub tasks: TaskCounts,
}

/// Counts the tasks that one frame can make, and why its depth may not be used.
pub type CountTasks<'a> = &'a mut dyn FnMut(&RgbdFrame, Option<GateReason>, &mut TaskCounts);

/// Reads all of `spec` and tells what is in it; `count_tasks` is asked for every frame that
/// the gate does not reject.
///
/// # Errors
/// When nothing in it can be read.
pub fn inspect(
    spec: &str,
    options: &SourceOptions,
    count_tasks: CountTasks<'_>,
) -> Result<InspectReport, SourceError> {
    let mut source = open(spec, options)?;
    inspect_source(spec, source.as_mut(), count_tasks)
}

/// As [`inspect`] for a source that is open.
///
/// # Errors
/// When reading fails for good.
pub fn inspect_source(
    spec: &str,
    source: &mut dyn FrameSource,
    count_tasks: CountTasks<'_>,
) -> Result<InspectReport, SourceError> {
    let mut gate = Gate::default();
    let mut verdicts = GateReport::default();
    let mut tasks = TaskCounts::new();
    let mut sizes: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let (mut pixels, mut valid, mut with_depth) = (0_u64, 0_u64, 0_u64);
    let mut medians: Vec<f32> = Vec::new();
    let mut largest_skew_ms: Option<f64> = None;
    while let Some(frame) = source.next_frame()? {
        *sizes.entry((frame.width(), frame.height())).or_default() += 1;
        if let Some(depth_m) = &frame.depth_m {
            let mut some: Vec<f32> = depth_m.iter().copied().filter(|z| z.is_finite()).collect();
            with_depth += 1;
            pixels += depth_m.len() as u64;
            valid += some.len() as u64;
            // Enough to tell a middle, and bounded for a recording of any length.
            if medians.len() < 10_000 {
                medians.extend(median(&mut some));
            }
            if let Some(at) = frame.depth_stamp_ns {
                let skew_ms = at.abs_diff(frame.stamp_ns) as f64 * 1e-6;
                largest_skew_ms = Some(largest_skew_ms.unwrap_or(0.0).max(skew_ms));
            }
        }
        match gate.admit(frame) {
            Err(reason) => verdicts.rejected.add(reason.name()),
            Ok(admitted) => {
                match admitted.color_only {
                    None => verdicts.all_tasks += 1,
                    Some(reason) => verdicts.color_only.add(reason.name()),
                }
                verdicts.depth_moved += u64::from(admitted.depth_moved);
                count_tasks(&admitted.frame, admitted.color_only, &mut tasks);
            }
        }
    }
    let read = source.report().clone();
    let span_s = read
        .stamps_ns
        .and_then(|(first, last)| last.checked_sub(first))
        .map_or(0.0, |ns| ns as f64 * 1e-9);
    Ok(InspectReport {
        source: spec.to_owned(),
        sizes: sizes.into_iter().collect(),
        span_s,
        depth: (with_depth > 0).then(|| DepthReport {
            frames: with_depth,
            valid_fraction: valid as f64 / pixels.max(1) as f64,
            median_m: median(&mut medians),
            largest_skew_ms,
        }),
        gate: verdicts,
        tasks,
        read,
    })
}

fn median(values: &mut [f32]) -> Option<f32> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    Some(*values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

impl InspectReport {
    /// The exit code that belongs to it: 3 when something was lost, else 0.
    pub fn exit_code(&self) -> u8 {
        if self.read.lost.is_empty() { 0 } else { 3 }
    }

    /// The report as one JSON document or as text for people, with a newline at its end.
    pub fn render(&self, json: bool) -> String {
        match json {
            // Plain maps, numbers and strings always serialise.
            true => serde_json::to_string_pretty(self).unwrap_or_default() + "\n",
            false => self.to_string(),
        }
    }

    fn topics(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.read.topics.is_empty() {
            return Ok(());
        }
        let mut rows =
            vec![["role", "topic", "type", "messages", "rate", "format"].map(String::from)];
        for topic in &self.read.topics {
            rows.push([
                topic.role.unwrap_or("-").to_owned(),
                topic.name.clone(),
                topic.ros_type.replace("/msg/", "/"),
                topic.messages.to_string(),
                topic.rate_hz.map_or("-".to_owned(), |hz| format!("{hz:.1} Hz")),
                topic.format.clone().unwrap_or_default(),
            ]);
        }
        let mut widths = [0; 6];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        writeln!(f, "\ntopics")?;
        for row in &rows {
            let mut line = String::new();
            for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
                // Numbers to the right.
                let cell = match i {
                    3 | 4 => format!("{cell:>width$}  "),
                    _ => format!("{cell:<width$}  "),
                };
                line.push_str(&cell);
            }
            writeln!(f, "  {}", line.trim_end())?;
        }
        writeln!(f)
    }
}

/// `blurred 3, too_dark 1`.
struct Reasons<'a>(&'a Tally);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (reason, n)) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{reason} {n}")?;
        }
        Ok(())
    }
}

impl fmt::Display for InspectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = &self.read;
        writeln!(f, "{}", self.source)?;
        self.topics(f)?;
        let sizes: Vec<String> = self
            .sizes
            .iter()
            .map(|((width, height), n)| format!("{n} of {width}x{height}"))
            .collect();
        write!(
            f,
            "frames      {}",
            if sizes.is_empty() { "none".into() } else { sizes.join(", ") }
        )?;
        if self.span_s > 0.0 && read.frames > 1 {
            let hz = (read.frames - 1) as f64 / self.span_s;
            write!(f, " over {:.1} s ({hz:.1} Hz)", self.span_s)?;
        }
        writeln!(f)?;
        write!(f, "pairing     {} colour, {} depth pictures", read.color_read, read.depth_read)?;
        match read.unpaired.is_empty() {
            true => writeln!(f, ", none left over")?,
            false => writeln!(f, "; left over: {}", Reasons(&read.unpaired))?,
        }
        match &read.intrinsics {
            None => writeln!(f, "intrinsics  not known: metric tasks use the pixel rule")?,
            Some(k) => {
                let lens = match k.distortion {
                    Distortion::None => "no distortion",
                    Distortion::PlumbBob(_) => "plumb_bob distortion",
                    Distortion::RationalPolynomial(_) => "rational_polynomial distortion",
                    Distortion::Equidistant(_) => "equidistant distortion",
                };
                writeln!(
                    f,
                    "intrinsics  fx {:.1} fy {:.1} cx {:.1} cy {:.1}, {lens}",
                    k.fx, k.fy, k.cx, k.cy
                )?;
            }
        }
        write!(f, "depth       {}", read.registration.as_deref().unwrap_or("not known"))?;
        if let Some(depth) = &self.depth {
            write!(f, "; {:.0} % of the pixels", 100.0 * depth.valid_fraction)?;
            if let Some(median_m) = depth.median_m {
                write!(f, ", middle {median_m:.2} m")?;
            }
            match depth.largest_skew_ms {
                Some(skew_ms) => write!(f, ", stamps at most {skew_ms:.1} ms apart")?,
                None => write!(f, ", no stamps of its own")?,
            }
        }
        writeln!(f)?;
        let gate = &self.gate;
        write!(f, "gate        {} frames for all tasks", gate.all_tasks)?;
        if gate.depth_moved > 0 {
            write!(f, " (depth moved to where its edges meet colour's in {})", gate.depth_moved)?;
        }
        if !gate.color_only.is_empty() {
            write!(f, "; for colour tasks only: {}", Reasons(&gate.color_only))?;
        }
        if !gate.rejected.is_empty() {
            write!(f, "; rejected: {}", Reasons(&gate.rejected))?;
        }
        writeln!(f)?;
        for (i, (kind, count)) in self.tasks.iter().enumerate() {
            let title = if i == 0 { "tasks" } else { "" };
            write!(f, "{title:<12}{kind} {}", count.made)?;
            match count.skipped.is_empty() {
                true => writeln!(f)?,
                false => writeln!(f, " (none for {})", Reasons(&count.skipped))?,
            }
        }
        match read.lost.is_empty() {
            true => writeln!(f, "lost        nothing")?,
            false => writeln!(f, "lost        {}", Reasons(&read.lost))?,
        }
        for (i, note) in read.notes.iter().enumerate() {
            writeln!(f, "{:<12}{note}", if i == 0 { "notes" } else { "" })?;
        }
        Ok(())
    }
}
