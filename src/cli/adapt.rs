//! `adapt`: learn on the first part of a recording, test on its last.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use burn::tensor::Device;
use clap::Args;

use super::{
    CliError, Context, Outcome, SourceArgs, forever,
    health::REFERENCE_FILE,
    machine::{Pace, memory_bytes},
    policy_arg,
    run_watch::RunWatch,
};
use crate::{
    adapt::{
        checkpoint::{CheckpointConfig, Checkpoints, FileSystem, Loaded},
        health::{Checker, EvenSample},
        heritage::Heritage,
        replay::{Begin, Frames, Interrupted, Job, ReplayError, RunConfig, Summary, replay},
        split::Part,
    },
    config::read_toml,
    device::DeviceName,
    frame::RgbdFrame,
    policy::compact::CompactPolicy,
    report::table,
    source::{self, FrameSource, SourceError, SourceOptions, SourceReport},
    tally::Tally,
};

/// Learns on the first part of a recording and tests on its last part
///
/// Prints a table by kind of task: accuracy before and after with its 95 % interval, chance,
/// and the best score of a policy that sees no picture. Ctrl-C ends it and keeps what was
/// learnt.
#[derive(Debug, Args)]
#[command(
    after_help = "RUN gets policy/ (for eval, ask and health), summary.json, metrics.jsonl and config.toml.\n\n\
    Examples:\n  \
    spatial-ssrl adapt                           a rendered room, nothing needed\n  \
    spatial-ssrl adapt my_bag --out run          a bag; the policy and the figures go to run/\n  \
    spatial-ssrl adapt my_bag --max-seconds 60   stop learning after a minute\n  \
    spatial-ssrl adapt my_bag --config configs/compact.toml\n  \
    spatial-ssrl adapt my_bag --policy qwen:DIR  Qwen2.5-VL, see README.md"
)]
pub struct AdaptArgs {
    /// Where frames come from: a bag, a folder, or a rendered room
    #[arg(default_value = "room")]
    pub source: String,

    /// Where the policy, summary.json, metrics and the exact settings go; it must not exist or
    /// be empty [default: the first free runs/SOURCE, runs/SOURCE-2, …]
    #[arg(long, value_name = "RUN")]
    pub out: Option<PathBuf>,

    /// Settings, see configs/compact.toml; what is given here on the command line wins
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Decides every random choice
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// The last part of the recording, which is tested on and never learnt from
    #[arg(long, value_name = "PART", value_parser = part)]
    pub held_out: Option<f64>,

    /// Stop learning after this long, seconds, reading and encoding included
    #[arg(long, value_name = "N")]
    pub max_seconds: Option<f64>,

    /// Stop learning after this many updates
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,

    /// Learn from all of the source, again and again, until Ctrl-C, --max-seconds or --steps;
    /// nothing is kept apart for a last test, and each frame gets at most two views
    #[arg(long, conflicts_with = "held_out")]
    pub forever: bool,

    /// What to start from: the policy that ships, one that adapt or pretrain wrote, or none
    /// (random weights). qwen:DIR is a Qwen2.5-VL or Qwen2-VL checkpoint folder (feature vlm; the
    /// weights of 7B and 2B are under Apache-2.0, those of 3B under a research licence without
    /// commercial use), or a run that began with one
    #[arg(long, value_name = "builtin|none|RUN|qwen:DIR", default_value = "builtin")]
    pub policy: String,

    /// With qwen:DIR: an adapter in PEFT format (or the run that wrote it) to go on from; it
    /// belongs to DIR. A run as DIR brings its own
    #[cfg(feature = "vlm")]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub adapter: Option<PathBuf>,

    /// Go on with an interrupted run where its last checkpoint is; its source and settings
    /// are known
    #[arg(long, value_name = "RUN", conflicts_with_all = ["out", "config", "seed", "held_out", "policy"])]
    pub resume: Option<PathBuf>,

    /// What computes: cpu, cuda or cuda:N (`spatial-ssrl devices` lists them). Pictures are
    /// encoded by the processor in any case
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceName,

    /// Print summary.json instead of the table
    #[arg(long)]
    pub json: bool,

    /// Options about the source.
    #[command(flatten)]
    pub source_args: SourceArgs,
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(part) if part > 0.0 && part < 1.0 => Ok(part),
        _ => Err("a part between 0 and 1 is needed, such as 0.25".to_owned()),
    }
}

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn run(args: AdaptArgs, context: &Context) -> Result<Outcome, CliError> {
    #[cfg(feature = "vlm")]
    if args.resume.is_none()
        && let Some(folder) = super::qwen::folder(&args.policy).map(Path::to_owned)
    {
        return super::qwen::adapt(args, &folder, context);
    }
    #[cfg(feature = "vlm")]
    super::qwen::no_adapter(args.adapter.as_deref(), &args.policy)?;
    let started = Instant::now();
    let device = args.device.open()?;
    let loaded = args.resume.as_deref().map(last_checkpoint).transpose()?;
    #[cfg(feature = "vlm")]
    if let (Some(run), Some(loaded)) = (&args.resume, &loaded)
        && super::qwen::wrote(&loaded.files)
    {
        return super::qwen::resume(&args, run, loaded, context);
    }
    let files = loaded.map(|loaded| loaded.files);
    if args.forever || files.as_ref().is_some_and(forever::is_forever) {
        return forever::run(&args, files, &device, context);
    }
    let resumed = files.map(|files| {
        Interrupted::from_files(&files, device.clone()).map_err(|e| CliError::Other(Box::new(e)))
    });
    let (config, begin, source) = match resumed.transpose()? {
        Some(run) => {
            let (mut config, source) = (run.config().clone(), run.source().to_owned());
            config.learn.steps = args.steps.unwrap_or(config.learn.steps);
            tracing::info!("going on at step {}", run.steps());
            (config, Begin::Resume(Box::new(run)), source)
        }
        None => {
            let mut config = config(&args)?;
            let begin = match start(&args.policy, &device, &mut config)? {
                Some((policy, heritage)) => Begin::From(Box::new(policy), heritage),
                None => Begin::Random,
            };
            (config, begin, args.source.clone())
        }
    };
    let from_step = match &begin {
        Begin::Resume(run) => run.steps(),
        _ => 0,
    };
    let (out, mut watch) = open_run(&args, &source, &config, from_step, context)?;
    let options = args.source_args.options();
    let report = Reading::default();
    let checkpoints =
        Checkpoints::new(out.join(CHECKPOINTS), FileSystem, config.checkpoint.clone());
    let job = Job {
        source: &source,
        config: &config,
        begin,
        checkpoints: Some(&checkpoints),
        extent: source::extent(&source),
        budget: args.max_seconds.map(seconds).transpose()?,
        device,
    };
    let sampled = RefCell::new(EvenSample::default());
    let open = || {
        *sampled.borrow_mut() = EvenSample::default();
        let mut frames = report.open(&source, &options)?;
        let sampled = &sampled;
        let frames: Frames<'_, SourceError> = Box::new(move || {
            let frame = frames()?;
            frame.iter().for_each(|frame| sampled.borrow_mut().offer(frame));
            Ok(frame)
        });
        Ok(frames)
    };
    let loaded = started.elapsed();
    let replayed = replay(job, open, &mut watch);
    let learnt = Instant::now();
    watch.finish();
    let (learner, mut summary) = replayed.map_err(from_replay)?;
    policy_arg::save(&out.join("policy"), &learner.policy(), &learner.heritage())?;
    if !context.stopped() {
        // It came to its end: there is nothing to resume.
        let _ = std::fs::remove_dir_all(out.join(CHECKPOINTS));
    }
    let report = report.latest();
    if !context.stopped() {
        write_reference(
            &out.join("policy"),
            &learner.policy(),
            &config,
            &report,
            &sampled.borrow(),
        )?;
    }
    summary.peak_rss_bytes = memory_bytes("VmHWM:").unwrap_or(0);
    // What a user waits for: all of it.
    summary.wall_seconds.total += (loaded + learnt.elapsed()).as_secs_f64();
    let written = Written { summary: &summary, unpaired: &report.unpaired, lost: &report.lost };
    let json =
        serde_json::to_string_pretty(&written).map_err(|e| CliError::Other(Box::new(e)))? + "\n";
    write(&out.join("summary.json"), json.as_bytes())?;
    if let Some(error) = watch.metrics_error {
        return Err(io(&out.join("metrics.jsonl"), error));
    }
    if args.json {
        context.print(&json)?;
    } else {
        let told = table::adapted(&summary, &report.unpaired, &report.lost);
        context.print(&format!("{told}\nwritten to {}\n", out.display()))?;
    }
    Ok(outcome(context, &report))
}

/// Writes what the frames that were learnt from look like, for `health`.
fn write_reference(
    folder: &Path,
    policy: &CompactPolicy,
    config: &RunConfig,
    report: &SourceReport,
    sampled: &EvenSample,
) -> Result<(), CliError> {
    /// More frames of one recording tell nothing new.
    const FRAMES: usize = 20;
    let other = |error: Box<dyn std::error::Error + Send + Sync>| CliError::Other(error);
    let split = report.stamps_ns.and_then(|(first, last)| config.split.split(first, last).ok());
    let learnt = |frame: &RgbdFrame| {
        split.as_ref().is_none_or(|split| split.part(frame.stamp_ns) == Part::Train)
    };
    let mut checker = Checker::for_reference(policy, config.tasks.sensor);
    let frames = sampled.evenly(FRAMES, learnt);
    checker.add_all(&frames).map_err(|e| other(Box::new(e)))?;
    if let Some(reference) = checker.reference() {
        let json = serde_json::to_string(&reference).map_err(|e| other(Box::new(e)))? + "\n";
        write(&folder.join(REFERENCE_FILE), json.as_bytes())?;
    }
    Ok(())
}

/// `summary.json`: the run's, and what the source lost.
#[derive(serde::Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    unpaired: &'a Tally,
    lost: &'a Tally,
}

pub(super) fn config(args: &AdaptArgs) -> Result<RunConfig, CliError> {
    let mut config: RunConfig = match &args.config {
        Some(path) => read_toml(path)?,
        None => RunConfig::default(),
    };
    config.seed = args.seed.unwrap_or(config.seed);
    config.split.held_out = args.held_out.unwrap_or(config.split.held_out);
    config.learn.steps = args.steps.unwrap_or(config.learn.steps);
    Ok(config)
}

/// The run's folder with its settings in it, and what writes the rest.
pub(super) fn open_run<'a>(
    args: &AdaptArgs,
    source: &str,
    config: &RunConfig,
    from_step: u64,
    context: &'a Context,
) -> Result<(PathBuf, RunWatch<'a>), CliError> {
    let out = match (&args.resume, &args.out) {
        (Some(run), _) => run.clone(),
        (None, Some(out)) => out.clone(),
        (None, None) => free_folder(source),
    };
    if args.resume.is_none() {
        make_folder(&out)?;
    }
    let toml = toml::to_string(config).map_err(|e| CliError::Other(Box::new(e)))?;
    write(&out.join("config.toml"), toml.as_bytes())?;
    let metrics = append(&out.join("metrics.jsonl"), from_step)?;
    let checks = append(&out.join("checks.jsonl"), from_step + 1)?;
    let mut watch = RunWatch::writing(context, metrics, Some(checks));
    watch.pace = Some(Pace::start(&config.budget)?);
    Ok((out, watch))
}

/// What learning starts from; none: random weights. A policy's sizes and its encoder take the
/// place of the configured ones.
pub(super) fn start(
    name: &str,
    device: &Device,
    config: &mut RunConfig,
) -> Result<Option<(CompactPolicy, Heritage)>, CliError> {
    if name == "none" {
        return Ok(None);
    }
    let mut policy = policy_arg::load(name, device.clone())?.policy;
    policy.learn_with(&config.policy);
    config.policy = policy.config().clone();
    let heritage = policy_arg::heritage(name, &policy)?;
    Ok(Some((policy, heritage)))
}

/// Where a run keeps its checkpoints.
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// What tells that a run learnt an adapter.
const ADAPTER: &str = "adapter_config.json";

/// The last whole checkpoint of a run.
fn last_checkpoint(run: &Path) -> Result<Loaded, CliError> {
    let config = CheckpointConfig::default();
    let checkpoints = Checkpoints::new(run.join(CHECKPOINTS), FileSystem, config);
    let loaded = checkpoints.load().map_err(|e| {
        if run.join("policy").join(ADAPTER).is_file() {
            let run = run.display();
            return CliError::Nothing(format!(
                "{run} learnt an adapter and has no whole checkpoint (it came to its end, or was \
                 killed before the first): go on from it with --policy qwen:{run}"
            ));
        }
        let hint = "a run that came to its end, or never wrote a checkpoint, has none";
        CliError::Nothing(format!("cannot resume: {e} ({hint})"))
    })?;
    for skipped in &loaded.skipped {
        tracing::warn!("checkpoint {} was skipped: {}", skipped.name, skipped.why);
    }
    tracing::info!("going on from checkpoint {}", loaded.number);
    Ok(loaded)
}

/// Opens a file of JSON lines to go on with it: lines of steps from `from_step` on are made
/// anew.
pub(super) fn append(path: &Path, from_step: u64) -> Result<std::fs::File, CliError> {
    let before = std::fs::read_to_string(path).unwrap_or_default();
    let step =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?.get("step")?.as_u64();
    let kept = before.lines().filter(|line| step(line).is_some_and(|step| step < from_step));
    let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
    let mut file = create(path)?;
    std::io::Write::write_all(&mut file, kept.as_bytes()).map_err(|e| io(path, e))?;
    Ok(file)
}

pub(super) fn seconds(seconds: f64) -> Result<Duration, CliError> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        CliError::Nothing(format!("--max-seconds {seconds}: a number of seconds is needed"))
    })
}

/// How a run ends whose source was read to its end or whose user stopped it.
pub fn outcome(context: &Context, report: &SourceReport) -> Outcome {
    match (report.lost.is_empty(), context.stopped()) {
        (false, _) => Outcome::DataLost,
        (true, true) => Outcome::Stopped,
        (true, false) => Outcome::Done,
    }
}

/// Opens a source, perhaps several times, and keeps its latest report.
#[derive(Default)]
pub struct Reading {
    report: std::sync::Arc<std::sync::Mutex<SourceReport>>,
}

impl Reading {
    /// Starts the source from its beginning.
    ///
    /// # Errors
    /// As [`source::open()`].
    pub fn open(
        &self,
        spec: &str,
        options: &SourceOptions,
    ) -> Result<Frames<'static, SourceError>, SourceError> {
        let mut source: Box<dyn FrameSource> = source::open(spec, options)?;
        let shared = self.report.clone();
        Ok(Box::new(move || {
            let frame = source.next_frame();
            if !matches!(frame, Ok(Some(_)))
                && let Ok(mut report) = shared.lock()
            {
                *report = source.report().clone();
            }
            frame
        }))
    }

    /// What the source reported when it last ended.
    pub fn latest(&self) -> SourceReport {
        self.report.lock().map(|report| report.clone()).unwrap_or_default()
    }
}

/// A run's failure in the words of the command line.
pub fn from_replay(error: ReplayError<SourceError>) -> CliError {
    match error {
        ReplayError::Source(error) => CliError::Source(error),
        ReplayError::Nothing { .. } => CliError::Nothing(error.to_string()),
        error => CliError::Other(Box::new(error)),
    }
}

/// The first of `runs/NAME`, `runs/NAME-2`, … that does not exist.
pub(super) fn free_folder(source: &str) -> PathBuf {
    let name: String = Path::new(source.trim_end_matches('/'))
        .file_stem()
        .and_then(|name| name.to_str())
        .unwrap_or("run")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .collect();
    let named = |n: u32| match n {
        1 => Path::new("runs").join(&name),
        n => Path::new("runs").join(format!("{name}-{n}")),
    };
    (1..=u32::MAX).map(named).find(|path| !path.exists()).unwrap_or_else(|| named(1))
}

pub(super) fn make_folder(path: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(path).map_err(|e| io(path, e))?;
    let mut inside = std::fs::read_dir(path).map_err(|e| io(path, e))?;
    if inside.next().is_some() {
        return Err(CliError::Nothing(format!(
            "{} is not empty; give another --out, or remove it",
            path.display()
        )));
    }
    Ok(())
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    std::fs::write(path, bytes).map_err(|e| io(path, e))
}

pub(super) fn create(path: &Path) -> Result<std::fs::File, CliError> {
    std::fs::File::create(path).map_err(|e| io(path, e))
}

pub(super) fn io(path: &Path, error: std::io::Error) -> CliError {
    CliError::Nothing(format!("cannot write {}: {error}", path.display()))
}
