//! `adapt`, `eval` and `ask` with Qwen2.5-VL: `--policy qwen:DIR`, DIR being a checkpoint folder
//! (perhaps with `--adapter`) or a run that `adapt` wrote with one.

use std::path::{Path, PathBuf};

use burn::tensor::FloatDType;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{
    CliError, Context, Outcome,
    adapt::{
        AdaptArgs, CHECKPOINTS, Reading, append, free_folder, make_folder, outcome, seconds, write,
    },
    eval::EvalArgs,
    machine::{self, Pace, memory_bytes},
    run_watch::RunWatch,
};
use crate::{
    adapt::{
        checkpoint::{self, CheckpointConfig, Checkpoints, FileSystem, Files, Loaded},
        replay::measure,
        score::{self, Scores},
        summary::FrameCounts,
        words::{self, Job, Progress, WeightType, WordsConfig, WordsError, WordsSummary},
    },
    config::read_toml,
    device::DeviceName,
    frame::Extent,
    policy::qwen::{
        QwenConfig, peft,
        picture::PictureConfig,
        plan::{self, Work},
        policy::{QwenPolicy, QwenPolicyConfig},
        published,
    },
    report::{table, words as words_table},
    source::{self, SourceError, SourceOptions},
    tally::Tally,
};

/// The folder that a policy's name means, if it is one of these.
pub fn folder(policy: &str) -> Option<&Path> {
    policy.strip_prefix("qwen:").map(Path::new)
}

/// A checkpoint, and the adapter that was learnt on it, if there is one.
struct Named {
    checkpoint: PathBuf,
    adapter: Option<PathBuf>,
    /// The settings of the run that learnt it.
    config: Option<PathBuf>,
}

impl Named {
    /// `adapter`: what `--adapter` names, if it was given.
    fn find(folder: &Path, adapter: Option<&Path>) -> Result<Self, CliError> {
        if let Some(run) = adapter {
            let adapter = adapter_in(run).ok_or_else(|| {
                let (run, file) = (run.display(), peft::CONFIG);
                CliError::Nothing(format!("--adapter {run}: there is no {file} in it"))
            })?;
            let (checkpoint, config) = (folder.to_owned(), config_in(run));
            return Ok(Named { checkpoint, adapter: Some(adapter), config });
        }
        let Some(adapter) = adapter_in(folder) else {
            let checkpoint = folder.to_owned();
            return Ok(Named { checkpoint, adapter: None, config: None });
        };
        let base = peft::base(&adapter).map_err(other)?;
        let checkpoint = base.as_deref().map(PathBuf::from).filter(|base| base.is_dir());
        let checkpoint = checkpoint.ok_or_else(|| {
            let base = base.map_or("nothing".to_owned(), |base| format!("{base:?}"));
            let (folder, config) = (folder.display(), adapter.join(peft::CONFIG));
            CliError::Nothing(format!(
                "{}: base_model_name_or_path is {base}, which is no folder here; name the \
                 checkpoint: --policy qwen:CHECKPOINT --adapter {folder}",
                config.display()
            ))
        })?;
        Ok(Named { checkpoint, adapter: Some(adapter), config: config_in(folder) })
    }

    /// Supervised steps that the run has made which learnt the adapter; none without one.
    fn taught(&self) -> u64 {
        let metrics = self.config.as_ref().map(|config| config.with_file_name("metrics.jsonl"));
        let lines = metrics.and_then(|path| std::fs::read_to_string(path).ok());
        lines.map_or(0, |lines| lines.lines().filter(|line| is_cold(line)).count() as u64)
    }
}

/// Whether this line of metrics is of a supervised step that was made.
fn is_cold(line: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(line)
        .is_ok_and(|line| line["phase"] == "cold_start" && line["loss"].is_number())
}

/// Where in a run, or a folder that peft wrote, the adapter is.
fn adapter_in(folder: &Path) -> Option<PathBuf> {
    let all = [folder.to_owned(), folder.join("policy")];
    all.into_iter().find(|dir| dir.join(peft::CONFIG).is_file())
}

/// The settings of a run, of which the adapter's folder may be named as well; none of a folder that
/// peft wrote.
fn config_in(run: &Path) -> Option<PathBuf> {
    let around = run.parent().filter(|_| run.ends_with("policy"));
    let all = [Some(run), around].into_iter().flatten().map(|dir| dir.join("config.toml"));
    all.into_iter().find(|config| config.is_file())
}

/// Refuses `--adapter` where no checkpoint was named to put it on.
///
/// # Errors
/// [`CliError::Nothing`] with the way out.
pub fn no_adapter(adapter: Option<&Path>, policy: &str) -> Result<(), CliError> {
    match adapter {
        None => Ok(()),
        Some(adapter) => Err(CliError::Nothing(format!(
            "--adapter {} goes with --policy qwen:CHECKPOINT, not with --policy {policy}",
            adapter.display()
        ))),
    }
}

/// What a policy is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Learning,
    Answering,
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> CliError {
    CliError::Other(Box::new(error))
}

/// Opens a policy once it is known to fit into memory.
fn open(
    named: &Named,
    config: &mut WordsConfig,
    name: DeviceName,
    what_for: For,
) -> Result<QwenPolicy, CliError> {
    let device = name.open()?;
    let sizes = QwenConfig::read(&named.checkpoint).map_err(other)?;
    tracing::info!("{}", published::licence(&sizes));
    let (dtype, value_bytes) = match (config.weights, name) {
        (WeightType::F32, _) | (WeightType::Auto, DeviceName::Cpu) => (FloatDType::F32, 4),
        (WeightType::Bf16, _) | (WeightType::Auto, DeviceName::Cuda(_)) => (FloatDType::BF16, 2),
    };
    let QwenPolicyConfig { processor, sampler, lora, learner, .. } = &config.policy;
    let prompt = processor.max_prompt_tokens as u64;
    let pictures = PictureConfig::read(&named.checkpoint, &sizes.vision).map_err(other)?;
    let pictures = pictures.with_limits(processor.min_pixels, processor.max_pixels);
    let pictures = pictures.map_err(other)?;
    let work = Work {
        value_bytes,
        rank: lora.rank as u64,
        group: if what_for == For::Learning { config.grpo.group_size as u64 } else { 1 },
        micro_batch: learner.micro_batch as u64,
        prompt,
        answer: sampler.max_tokens as u64,
        patches: pictures_of(prompt, &pictures, &sizes),
    };
    let gpu = matches!(name, DeviceName::Cuda(_));
    match config.budget.device_bytes(gpu, machine::available_bytes(name)) {
        Some(available) => {
            let targets = |name: &str| lora.targets(name);
            let peak = match what_for {
                For::Learning => {
                    let fitted = plan::fit(&sizes, targets, &work, available);
                    let (work, plan) = fitted.map_err(other)?;
                    config.policy.learner.micro_batch = work.micro_batch as usize;
                    plan.peak_bytes()
                }
                For::Answering => {
                    let plan = plan::fit_answering(&sizes, targets, &work, available);
                    plan.map_err(other)?.answering_bytes()
                }
            };
            let (peak, available) = (plan::gb(peak), plan::gb(available));
            tracing::info!("at most {peak} of {available} will be used");
        }
        None => tracing::warn!("how much memory {name} has is not known: nothing is planned"),
    }
    let policy =
        QwenPolicy::open(&named.checkpoint, config.policy.clone(), config.seed, &device, dtype);
    let mut policy = policy.map_err(other)?;
    if let Some(folder) = &named.adapter {
        let adapter = peft::read(folder, policy.model().layers(), &device.autodiff());
        policy.take_adapter(&adapter.map_err(other)?);
    }
    Ok(policy)
}

/// Patches of the pictures that fill the longest prompt.
fn pictures_of(prompt: u64, pictures: &PictureConfig, sizes: &QwenConfig) -> Vec<u64> {
    let unit = (sizes.vision.merge * sizes.vision.merge) as u64;
    let side = (sizes.vision.patch * sizes.vision.merge) as u64;
    let largest = (pictures.max_pixels / (side * side)).clamp(1, prompt.max(1));
    let whole = std::iter::repeat_n(largest * unit, (prompt / largest) as usize);
    whole.chain([prompt % largest * unit]).filter(|patches| *patches > 0).collect()
}

fn settings(
    given: Option<&PathBuf>,
    named: &Named,
    seed: Option<u64>,
) -> Result<WordsConfig, CliError> {
    let mut config: WordsConfig = match given.or(named.config.as_ref()) {
        Some(path) => read_toml(path)?,
        None => WordsConfig::default(),
    };
    config.seed = seed.unwrap_or(config.seed);
    Ok(config)
}

/// How long a source is; read once to learn it if it does not tell.
fn extent(
    spec: &str,
    options: &SourceOptions,
    reading: &Reading,
    watch: &mut RunWatch<'_>,
) -> Result<Extent, CliError> {
    match source::extent(spec) {
        Some(extent) => Ok(extent),
        None => {
            let frames = reading.open(spec, options)?;
            measure(frames, watch).map_err(super::adapt::from_replay)
        }
    }
}

fn from_words(error: WordsError<SourceError>) -> CliError {
    match error {
        WordsError::Source(error) => CliError::Source(error),
        WordsError::Nothing { .. } | WordsError::Stopped => CliError::Nothing(error.to_string()),
        error => other(error),
    }
}

/// `summary.json`: the run's, and what the source lost.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    summary: &'a WordsSummary,
    unpaired: &'a Tally,
    lost: &'a Tally,
}

/// `adapt --policy qwen:DIR`.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn adapt(args: AdaptArgs, folder: &Path, context: &Context) -> Result<Outcome, CliError> {
    if args.forever {
        let why = "--forever is there for the compact policy only; leave it out";
        return Err(CliError::Nothing(why.to_owned()));
    }
    let named = Named::find(folder, args.adapter.as_deref())?;
    let mut config = settings(args.config.as_ref(), &named, args.seed)?;
    config.split.held_out = args.held_out.unwrap_or(config.split.held_out);
    config.learn.steps = args.steps.unwrap_or(config.learn.steps);
    if args.config.is_none() && named.config.is_some() {
        // What a run has learnt it need not be taught again.
        config.cold_start.steps = config.cold_start.steps.saturating_sub(named.taught());
        let steps = config.cold_start.steps;
        tracing::info!("cold start: {steps} steps left, as {} says", folder.display());
    }
    let policy = open(&named, &mut config, args.device, For::Learning)?;

    let out = args.out.clone().unwrap_or_else(|| free_folder(&args.source));
    make_folder(&out)?;
    let checkpoint = std::fs::canonicalize(&named.checkpoint).unwrap_or(named.checkpoint);
    let run = Run { source: args.source.clone(), checkpoint, config, progress: None };
    learn(&args, run, policy, &out, context)
}

/// The file of a checkpoint that says what this run is and where it stands.
const RUN: &str = "words.json";
/// The file of a checkpoint with the optimiser's state.
const OPTIMIZER: &str = "optimizer.bin";

/// What a run is and where it stands; beside it a checkpoint has the adapter and the optimiser.
#[derive(Serialize, Deserialize)]
struct Run {
    source: String,
    /// The frozen weights.
    checkpoint: PathBuf,
    config: WordsConfig,
    progress: Option<Progress>,
}

impl Run {
    /// All files of a checkpoint.
    fn files(&self, policy: &QwenPolicy) -> Result<Files, CliError> {
        let base = self.checkpoint.to_string_lossy();
        let adapter = peft::to_files(&policy.adapter(), policy.model().layers(), &base);
        let adapter = adapter.map_err(other)?.map(|(name, bytes)| (name.to_owned(), bytes));
        let mut files = Files::from(adapter);
        files.insert(OPTIMIZER.to_owned(), policy.optimizer_bytes().map_err(other)?);
        files.insert(RUN.to_owned(), serde_json::to_vec(self).map_err(other)?);
        Ok(files)
    }
}

/// Whether a run with such a policy wrote this checkpoint.
pub fn wrote(files: &Files) -> bool {
    files.contains_key(RUN)
}

/// `adapt --resume RUN` of a run that began with `--policy qwen:DIR`.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn resume(
    args: &AdaptArgs,
    out: &Path,
    loaded: &Loaded,
    context: &Context,
) -> Result<Outcome, CliError> {
    let file = |name: &str| loaded.files.get(name).map(Vec::as_slice).unwrap_or_default();
    let mut run: Run = serde_json::from_slice(file(RUN)).map_err(other)?;
    run.config.learn.steps = args.steps.unwrap_or(run.config.learn.steps);
    let named = Named {
        checkpoint: run.checkpoint.clone(),
        adapter: Some(out.join(CHECKPOINTS).join(checkpoint::name(loaded.number))),
        config: None,
    };
    let mut policy = open(&named, &mut run.config, args.device, For::Learning)?;
    policy.resume(file(OPTIMIZER).to_vec()).map_err(other)?;
    learn(args, run, policy, out, context)
}

/// Learns, and writes everything into `out`.
fn learn(
    args: &AdaptArgs,
    mut run: Run,
    policy: QwenPolicy,
    out: &Path,
    context: &Context,
) -> Result<Outcome, CliError> {
    let (config, source) = (run.config.clone(), run.source.clone());
    let progress = run.progress.take();
    let toml = toml::to_string(&config).map_err(other)?;
    write(&out.join("config.toml"), toml.as_bytes())?;
    let made = progress.as_ref().map_or(0, Progress::steps);
    let metrics = append(&out.join("metrics.jsonl"), made)?;
    let mut watch = RunWatch::writing(context, metrics, None);
    watch.pace = Some(Pace::start(&config.budget)?);
    let (options, reading) = (args.source_args.options(), Reading::default());
    let extent = extent(&source, &options, &reading, &mut watch)?;
    let frames = reading.open(&source, &options)?;
    let budget = args.max_seconds.map(seconds).transpose()?;
    let base = run.checkpoint.to_string_lossy().into_owned();
    let save = |policy: &QwenPolicy| {
        let layers = policy.model().layers();
        peft::write(&out.join("policy"), &policy.adapter(), layers, &base).map_err(other)
    };
    let checkpoints = out.join(CHECKPOINTS);
    let kept = Checkpoints::new(checkpoints.clone(), FileSystem, CheckpointConfig::default());
    let mut keep = |policy: &QwenPolicy, progress: &Progress| {
        run.progress = Some(progress.clone());
        // Of two the later is the better guess.
        let score = progress.steps() as f64;
        let written = save(policy)
            .and_then(|()| run.files(policy))
            .and_then(|files| kept.save(&files, score).map_err(other));
        if let Err(error) = written {
            tracing::warn!("what is learnt so far cannot be written: {error}");
        }
    };
    let job = Job { source: &source, config: &config, extent, budget, progress };
    let adapted = words::adapt(&job, policy, frames, &mut keep, &mut watch);
    watch.finish();
    let (policy, mut summary) = adapted.map_err(from_words)?;
    summary.peak_rss_bytes = memory_bytes("VmHWM:").unwrap_or(0);
    save(&policy)?;
    if !context.stopped() {
        // It came to its end: there is nothing to resume.
        let _ = std::fs::remove_dir_all(checkpoints);
    }
    let report = reading.latest();
    let written = Written { summary: &summary, unpaired: &report.unpaired, lost: &report.lost };
    let json = serde_json::to_string_pretty(&written).map_err(other)? + "\n";
    write(&out.join("summary.json"), json.as_bytes())?;
    if let Some(error) = watch.metrics_error {
        return Err(super::adapt::io(&out.join("metrics.jsonl"), error));
    }
    if args.json {
        context.print(&json)?;
    } else {
        let told = words_table::adapted(&summary, &report.unpaired, &report.lost);
        let out = out.display();
        context.print(&format!("{told}\nwritten to {out}; the adapter to {out}/policy\n"))?;
    }
    Ok(outcome(context, &report))
}

/// What `eval --json` prints.
#[derive(Serialize)]
struct Evaluated {
    source: String,
    policy: String,
    seed: u64,
    frames: FrameCounts,
    tasks: Tally,
    tasks_skipped: Tally,
    scores: Scores,
    mean: f64,
    unpaired: Tally,
    lost: Tally,
}

/// `eval --policy qwen:DIR`.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn eval(args: EvalArgs, folder: &Path, context: &Context) -> Result<Outcome, CliError> {
    let named = Named::find(folder, args.adapter.as_deref())?;
    let mut config = settings(args.config.as_ref(), &named, args.seed)?;
    let policy = open(&named, &mut config, args.device, For::Answering)?;
    let mut watch = RunWatch::new(context);
    let (options, reading) = (args.source_args.options(), Reading::default());
    let extent = extent(&args.source, &options, &reading, &mut watch)?;
    let frames = reading.open(&args.source, &options)?;
    let tested = words::test(&config, &policy, frames, extent, &mut watch);
    watch.finish();
    let words::Tested { scores, frames, counts } = tested.map_err(from_words)?;
    let report = reading.latest();
    let evaluated = Evaluated {
        mean: score::mean(&scores),
        source: args.source,
        policy: args.policy,
        seed: config.seed,
        frames,
        tasks: counts.tasks,
        tasks_skipped: counts.skipped,
        scores,
        unpaired: report.unpaired.clone(),
        lost: report.lost.clone(),
    };
    if args.json {
        let json = serde_json::to_string_pretty(&evaluated).map_err(other)?;
        context.print(&format!("{json}\n"))?;
    } else {
        context.print(&table::evaluated(&evaluated.source, &evaluated.scores, evaluated.mean))?;
    }
    Ok(outcome(context, &report))
}

/// `ask PICTURE --policy qwen:DIR say TEXT`: what the model says.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn say(
    folder: &Path,
    adapter: Option<&Path>,
    device: DeviceName,
    picture: RgbImage,
    text: &str,
) -> Result<String, CliError> {
    let named = Named::find(folder, adapter)?;
    let mut config = settings(None, &named, None)?;
    let policy = open(&named, &mut config, device, For::Answering)?;
    policy.say(&[picture], text).map_err(other)
}
