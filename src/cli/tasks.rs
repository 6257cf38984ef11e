//! `tasks`: the tasks of a source as a data set, with sheets that a person can check by eye.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

use clap::{Args, ValueEnum};
use rayon::prelude::*;
use serde::Serialize;

use super::{CliError, Context, Outcome, SourceArgs};
use crate::{
    adapt::gate::{Admitted, Gate, GateConfig},
    export::{DatasetWriter, Format, TaskRow, row::encode_png},
    frame::{RgbdFrame, SensorModel},
    report::{contact_sheet::ContactSheet, sample::Sampler},
    source::{self, FrameSource, SourceReport},
    tally::Tally,
    task::{
        PreparedFrame, Preset, Task, TaskKind, TaskSet,
        draw::Painter,
        foretold::{self, Asked, Foretold},
    },
};

/// Tasks that are made and encoded at a time: bounds memory, keeps all threads busy. Fewer
/// of large pictures.
const BATCH_TASKS: usize = 64;
const BATCH_TASK_BYTES: usize = 256 << 20;
/// Frames that are held at a time hold at most this much beyond the first.
const BATCH_FRAME_BYTES: usize = 64 << 20;
/// And are at most so many.
const BATCH_FRAMES: usize = 16;
/// Tasks side by side on a sheet.
const SHEET_COLUMNS: u32 = 3;

/// Writes the tasks of a source as a data set
///
/// The same source, seed and options give the same files, byte by byte, on any number of
/// threads. DIR gets data/train.jsonl (pictures under images/) or data/train.parquet
/// (pictures inside), one sheet a kind under sheets/, and summary.json. Balanced depth and
/// position tasks whose answers the markers of earlier ones foretell are mostly left out
/// (counted as foretold_by_coordinates).
#[derive(Debug, Args)]
#[command(
    after_help = "Columns: problem, prompt, answer, images, kind, variant, preset, stamp_ns, \
    frame_id, seed, question.\n\n\
    EasyR1 / verl: prompt_key=problem answer_key=answer image_key=images, and for JSONL \
    image_dir=DIR.\n\
    TRL: reads prompt and images of the Parquet form as they are.\n\n\
    Examples:\n  \
    spatial-ssrl tasks my_bag --out tasks\n  \
    spatial-ssrl tasks room:seed=7,frames=50 --out tasks --per-frame 4 --kinds depth,position\n  \
    spatial-ssrl tasks my_bag --out tasks --format parquet --preset published"
)]
pub struct TasksArgs {
    /// Where frames come from: a bag, a folder, or a rendered room
    pub source: String,

    /// The folder to be made; it must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Tasks of each kind tried on each frame
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub per_frame: u64,

    /// Which kinds, with commas [default: all five]
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = kind)]
    pub kinds: Vec<TaskKind>,

    /// Decides every random choice
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,

    /// How rows are written
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    pub format: FormatArg,

    /// Which rules make the tasks; balanced closes the published tasks' shortcuts
    #[arg(long, value_name = "PRESET", default_value = "balanced")]
    pub preset: PresetArg,

    /// Also use frames that are dark, blurred or nearly the same as one before
    #[arg(long)]
    pub no_gate: bool,

    /// Threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Options about the source.
    #[command(flatten)]
    pub source_args: SourceArgs,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum FormatArg {
    Jsonl,
    Parquet,
}

/// Which rules make the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum PresetArg {
    Balanced,
    Published,
}

fn kind(name: &str) -> Result<TaskKind, String> {
    TaskSet::default().find_name(name).map_err(|error| error.to_string())
}

/// What was made, as `summary.json` has it. Nothing here depends on time or threads.
#[derive(Debug, Default, Serialize)]
struct Summary {
    source: String,
    seed: u64,
    preset: Preset,
    per_frame: u64,
    frames: Frames,
    /// Tasks made, by kind.
    tasks: BTreeMap<String, u64>,
    /// Tries that made no task, by kind and reason.
    not_made: BTreeMap<String, Tally>,
    /// Sound data of the source that became no frame.
    unpaired: Tally,
    /// Damaged or missing data of the source.
    lost: Tally,
    stopped: bool,
}

#[derive(Debug, Default, Serialize)]
struct Frames {
    read: u64,
    used: u64,
    skipped: Tally,
    /// Frames whose depth was not used.
    color_only: Tally,
    /// Frames whose depth lay beside colour and was moved.
    depth_moved: u64,
}

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`]: the folder is in use, nothing can be read, no task could be made, or the
/// disk refused.
pub fn run(args: TasksArgs, context: &Context) -> Result<Outcome, CliError> {
    let format = match args.format {
        FormatArg::Jsonl => Format::Jsonl,
        FormatArg::Parquet => Format::Parquet,
    };
    let preset = match args.preset {
        PresetArg::Balanced => Preset::Balanced,
        PresetArg::Published => Preset::Published,
    };
    let mut names: Vec<&str> = args.kinds.iter().map(TaskKind::name).collect();
    if names.is_empty() {
        names = TaskKind::BUILTIN.iter().map(TaskKind::name).collect();
    }
    let mut making = Making {
        set: TaskSet::new(preset).only(&names).map_err(other)?,
        seed: args.seed,
        per_frame: args.per_frame,
        foretold: (preset == Preset::Balanced).then(Foretold::default),
        writer: DatasetWriter::create(&args.out, format)?,
        samples: Sampler::default(),
        summary: Summary {
            source: args.source.clone(),
            seed: args.seed,
            preset,
            per_frame: args.per_frame,
            ..Summary::default()
        },
    };
    let mut gate =
        if args.no_gate { None } else { Some(Gate::new(GateConfig::default()).map_err(other)?) };
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.map_or(0, usize::from))
        .build()
        .map_err(other)?;

    let mut frames = source::open(&args.source, &args.source_args.options())?;
    let progress = context.progress("tasks", "frames", None);
    loop {
        let batch = next_batch(frames.as_mut(), gate.as_mut(), &mut making.summary.frames)?;
        if batch.is_empty() {
            break;
        }
        threads.install(|| making.batch(&batch))?;
        progress.add(batch.len() as u64);
        if context.stopped() {
            making.summary.stopped = true;
            break;
        }
    }
    progress.finish();
    let (summary, written) = making.finish(frames.report())?;
    context.print(&table(&summary, &names, &written))?;
    Ok(match (summary.stopped, summary.lost.is_empty()) {
        (_, false) => Outcome::DataLost,
        (true, true) => Outcome::Stopped,
        (false, true) => Outcome::Done,
    })
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> CliError {
    CliError::Other(Box::new(error))
}

/// A frame and whether its depth may be used.
struct Taken {
    frame: RgbdFrame,
    no_depth: Option<&'static str>,
}

impl Taken {
    fn pixels(&self) -> usize {
        self.frame.width() as usize * self.frame.height() as usize
    }
}

/// The next frames that pass the gate; empty at the end.
fn next_batch(
    source: &mut dyn FrameSource,
    mut gate: Option<&mut Gate>,
    counts: &mut Frames,
) -> Result<Vec<Taken>, CliError> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < BATCH_FRAMES && bytes < BATCH_FRAME_BYTES {
        let Some(frame) = source.next_frame()? else { break };
        counts.read += 1;
        let admitted = match gate.as_mut() {
            Some(gate) => gate.admit(frame),
            None => Ok(Admitted { frame, color_only: None, depth_moved: false }),
        };
        let Admitted { frame, color_only, depth_moved } = match admitted {
            Ok(admitted) => admitted,
            Err(reason) => {
                counts.skipped.add(reason.name());
                continue;
            }
        };
        let no_depth = color_only.map(|reason| reason.name());
        if let Some(reason) = no_depth {
            counts.color_only.add(reason);
        }
        counts.depth_moved += u64::from(depth_moved);
        counts.used += 1;
        let taken = Taken { frame, no_depth };
        // 3 bytes of colour and 4 of depth a pixel.
        bytes += taken.pixels() * 7;
        batch.push(taken);
    }
    Ok(batch)
}

/// Everything that making tasks needs and counts.
struct Making {
    set: TaskSet,
    seed: u64,
    per_frame: u64,
    foretold: Option<Foretold>,
    writer: DatasetWriter,
    samples: Sampler,
    summary: Summary,
}

/// One try to make a task.
struct Try<'a> {
    frame: &'a PreparedFrame<'a>,
    no_depth: Option<&'static str>,
    kind: &'a TaskKind,
    number: u64,
}

/// What became of a try.
enum Tried {
    Row(Box<Task>, Box<TaskRow>),
    /// The coordinates of tasks before it foretell its answer.
    Foretold(Box<Task>),
    Not(&'static str),
}

impl Making {
    /// All tasks of these frames, written in the order of frames, kinds and numbers however
    /// many threads made them.
    fn batch(&mut self, frames: &[Taken]) -> Result<(), CliError> {
        let prepared: Vec<PreparedFrame<'_>> = frames
            .iter()
            .map(|taken| PreparedFrame::new(&taken.frame, SensorModel::default()))
            .collect();
        let kinds: Vec<TaskKind> = self.set.kinds().collect();
        let mut tries = Vec::new();
        for (frame, taken) in prepared.iter().zip(frames) {
            for kind in &kinds {
                let no_depth = taken.no_depth;
                let numbers = 0..self.per_frame;
                tries.extend(numbers.map(|number| Try { frame, no_depth, kind, number }));
            }
        }
        let largest = frames.iter().map(Taken::pixels).max().unwrap_or(1).max(1);
        // At most about two pictures of the frame's size, 3 bytes a pixel.
        let at_a_time = (BATCH_TASK_BYTES / (6 * largest)).clamp(4, BATCH_TASKS);
        for tries in tries.chunks(at_a_time) {
            let (set, run_seed, foretold) = (&self.set, self.seed, self.foretold.as_ref());
            let made: Vec<Tried> = tries
                .par_iter()
                .map_init(Painter::default, |painter, one| {
                    one.make(set, run_seed, foretold, painter)
                })
                .collect();
            for (one, made) in tries.iter().zip(made) {
                let kind = one.kind.name().to_owned();
                if let (Tried::Row(task, _) | Tried::Foretold(task), Some(foretold)) =
                    (&made, &mut self.foretold)
                {
                    foretold.remember(&Asked::from(&**task));
                }
                let reason = match made {
                    Tried::Row(task, row) => {
                        *self.summary.tasks.entry(kind).or_default() += 1;
                        self.samples.offer(&task, one.frame.frame());
                        self.writer.push(*row)?;
                        continue;
                    }
                    Tried::Foretold(_) => foretold::REASON,
                    Tried::Not(reason) => reason,
                };
                self.summary.not_made.entry(kind).or_default().add(reason);
            }
        }
        Ok(())
    }

    /// Ends the data set and gives what was counted.
    fn finish(mut self, report: &SourceReport) -> Result<(Summary, PathBuf), CliError> {
        let summary = &mut self.summary;
        summary.unpaired = report.unpaired.clone();
        summary.lost = report.lost.clone();
        if self.writer.is_empty() {
            return Err(CliError::Nothing(why_none(summary)));
        }
        for (kind, kept) in self.samples.kept() {
            let mut sheet = ContactSheet::new(SHEET_COLUMNS);
            for (task, frame) in kept {
                sheet.push(task, frame).map_err(other)?;
            }
            let png = encode_png(&sheet.image()).map_err(other)?;
            self.writer.add_file(&format!("sheets/{kind}.png"), &png)?;
        }
        let mut json = serde_json::to_string_pretty(&self.summary).map_err(other)?;
        json.push('\n');
        self.writer.add_file("summary.json", json.as_bytes())?;
        Ok((self.summary, self.writer.finish()?))
    }
}

impl Try<'_> {
    fn make(
        &self,
        set: &TaskSet,
        run_seed: u64,
        foretold: Option<&Foretold>,
        painter: &mut Painter,
    ) -> Tried {
        if let Some(reason) = self.no_depth
            && self.kind.needs_depth()
        {
            return Tried::Not(reason);
        }
        let task = match set.make(self.frame, self.kind, run_seed, self.number) {
            Ok(task) => Box::new(task),
            Err(skip) => return Tried::Not(skip.name()),
        };
        if foretold.is_some_and(|foretold| !foretold.keeps(&Asked::from(&*task), task.seed)) {
            return Tried::Foretold(task);
        }
        match self.draw(&task, painter) {
            Ok(row) => Tried::Row(task, Box::new(row)),
            Err((reason, error)) => {
                tracing::warn!(kind = self.kind.name(), seed = task.seed, "{reason}: {error}");
                Tried::Not(reason)
            }
        }
    }

    fn draw(
        &self,
        task: &Task,
        painter: &mut Painter,
    ) -> Result<TaskRow, (&'static str, Box<dyn std::error::Error>)> {
        let pictures = painter
            .pictures(task, self.frame.frame())
            .map_err(|error| ("not_drawn", error.into()))?;
        TaskRow::new(task, &task.prompt(), &pictures).map_err(|error| ("not_encoded", error.into()))
    }
}

fn why_none(summary: &Summary) -> String {
    let frames = &summary.frames;
    let mut why = format!("no task could be made from {} frames", frames.read);
    let mut reasons = |title: &str, tally: &Tally| {
        if !tally.is_empty() {
            let _ = write!(why, "; {title}: {}", list(tally));
        }
    };
    reasons("frames not used", &frames.skipped);
    for (kind, tally) in &summary.not_made {
        reasons(kind, tally);
    }
    reasons("not paired", &summary.unpaired);
    reasons("lost", &summary.lost);
    why
}

/// `blurred 3, too_dark 1`.
fn list(tally: &Tally) -> String {
    let parts: Vec<String> = tally.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    parts.join(", ")
}

fn table(summary: &Summary, kinds: &[&str], written: &std::path::Path) -> String {
    let mut text = format!("{:<10} {:>8}  not made\n", "kind", "tasks");
    for kind in kinds {
        let made = summary.tasks.get(*kind).copied().unwrap_or(0);
        let not = summary.not_made.get(*kind).map_or_else(|| "-".to_owned(), list);
        let _ = writeln!(text, "{kind:<10} {made:>8}  {not}");
    }
    let frames = &summary.frames;
    let _ = writeln!(text, "frames: {} read, {} used", frames.read, frames.used);
    for (title, tally) in [
        ("frames not used", &frames.skipped),
        ("frames without depth tasks", &frames.color_only),
        ("messages not paired", &summary.unpaired),
        ("LOST", &summary.lost),
    ] {
        if !tally.is_empty() {
            let _ = writeln!(text, "{title}: {}", list(tally));
        }
    }
    if frames.depth_moved > 0 {
        let _ = writeln!(text, "frames whose depth was moved to colour: {}", frames.depth_moved);
    }
    if summary.stopped {
        text.push_str("stopped early; what was made is kept\n");
    }
    let _ = writeln!(text, "written: {}", written.display());
    text
}
