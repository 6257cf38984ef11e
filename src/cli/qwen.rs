//! `adapt`, `eval` and `ask` with Qwen2.5-VL: `--policy qwen:DIR`, DIR being a checkpoint folder
//! or a run that `adapt` wrote with one.

use std::path::{Path, PathBuf};

use burn::tensor::FloatDType;
use image::RgbImage;
use serde::Serialize;

use super::{
    CliError, Context, Outcome,
    adapt::{AdaptArgs, Reading, free_folder, make_folder, outcome, seconds, write},
    eval::EvalArgs,
    machine::{self, Pace, memory_bytes},
    run_watch::RunWatch,
};
use crate::{
    adapt::{
        replay::measure,
        score::{self, Scores},
        summary::{FrameCounts, Summary},
        words::{self, WeightType, WordsConfig, WordsError},
    },
    config::read_toml,
    device::DeviceName,
    frame::Extent,
    policy::qwen::{
        QwenConfig,
        config::GenerationConfig,
        generate::{SamplerConfig, generate},
        peft,
        plan::{self, Work},
        policy::{QwenPolicy, QwenPolicyConfig},
        published,
    },
    report::table,
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
    fn find(folder: &Path) -> Result<Self, CliError> {
        let inside = folder.join("policy");
        let adapter = [folder, inside.as_path()];
        let adapter = adapter.into_iter().find(|dir| dir.join(peft::CONFIG).is_file());
        let Some(adapter) = adapter else {
            let checkpoint = folder.to_owned();
            return Ok(Named { checkpoint, adapter: None, config: None });
        };
        let base = peft::base(adapter).map_err(other)?.ok_or_else(|| {
            CliError::Nothing(format!(
                "{}: base_model_name_or_path is missing; name there the checkpoint folder that \
                 the adapter belongs to",
                adapter.join(peft::CONFIG).display()
            ))
        })?;
        let config = folder.join("config.toml");
        Ok(Named {
            checkpoint: PathBuf::from(base),
            adapter: Some(adapter.to_owned()),
            config: config.is_file().then_some(config),
        })
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> CliError {
    CliError::Other(Box::new(error))
}

/// Opens a policy once it is known to fit into memory.
fn open(named: &Named, config: &mut WordsConfig, name: DeviceName) -> Result<QwenPolicy, CliError> {
    let device = name.open()?;
    let sizes = QwenConfig::read(&named.checkpoint).map_err(other)?;
    tracing::info!("{}", published::licence(&sizes));
    let (dtype, value_bytes) = match (config.weights, name) {
        (WeightType::F32, _) | (WeightType::Auto, DeviceName::Cpu) => (FloatDType::F32, 4),
        (WeightType::Bf16, _) | (WeightType::Auto, DeviceName::Cuda(_)) => (FloatDType::BF16, 2),
    };
    let QwenPolicyConfig { processor, sampler, lora, learner, .. } = &config.policy;
    let prompt = processor.max_prompt_tokens as u64;
    let unit = (sizes.vision.merge * sizes.vision.merge) as u64;
    let work = Work {
        value_bytes,
        rank: lora.rank as u64,
        group: config.grpo.group_size as u64,
        micro_batch: learner.micro_batch as u64,
        prompt,
        answer: sampler.max_tokens as u64,
        patches: vec![prompt * unit],
    };
    match machine::available_bytes(name) {
        Some(available) => {
            let fitted = plan::fit(&sizes, |name| lora.targets(name), &work, available);
            let (work, plan) = fitted.map_err(other)?;
            let (peak, available) = (plan::gb(plan.peak_bytes()), plan::gb(available));
            tracing::info!("at most {peak} of {available} will be used");
            config.policy.learner.micro_batch = work.micro_batch as usize;
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
        WordsError::Nothing { .. } => CliError::Nothing(error.to_string()),
        error => other(error),
    }
}

/// `summary.json`: the run's, and what the source lost.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    unpaired: &'a Tally,
    lost: &'a Tally,
}

/// `adapt --policy qwen:DIR`.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn adapt(args: AdaptArgs, folder: &Path, context: &Context) -> Result<Outcome, CliError> {
    if args.forever {
        let why = "--forever is not there for qwen: policies yet; leave it out";
        return Err(CliError::Nothing(why.to_owned()));
    }
    let named = Named::find(folder)?;
    let mut config = settings(args.config.as_ref(), &named, args.seed)?;
    config.split.held_out = args.held_out.unwrap_or(config.split.held_out);
    config.learn.steps = args.steps.unwrap_or(config.learn.steps);
    let policy = open(&named, &mut config, args.device)?;

    let out = args.out.clone().unwrap_or_else(|| free_folder(&args.source));
    make_folder(&out)?;
    let toml = toml::to_string(&config).map_err(other)?;
    write(&out.join("config.toml"), toml.as_bytes())?;
    let metrics = super::adapt::create(&out.join("metrics.jsonl"))?;
    let mut watch = RunWatch::writing(context, metrics, None);
    watch.pace = Some(Pace::start(&config.budget)?);
    let (options, reading) = (args.source_args.options(), Reading::default());
    let extent = extent(&args.source, &options, &reading, &mut watch)?;
    let frames = reading.open(&args.source, &options)?;
    let budget = args.max_seconds.map(seconds).transpose()?;
    let adapted = words::adapt(&args.source, &config, policy, frames, extent, budget, &mut watch);
    watch.finish();
    let (policy, mut summary) = adapted.map_err(from_words)?;
    summary.peak_rss_bytes = memory_bytes("VmHWM:").unwrap_or(0);
    let base = std::fs::canonicalize(&named.checkpoint).unwrap_or(named.checkpoint);
    let base = base.to_string_lossy();
    let layers = policy.model().layers();
    peft::write(&out.join("policy"), &policy.adapter(), layers, &base).map_err(other)?;
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
        let told = table::adapted(&summary, &report.unpaired, &report.lost);
        context.print(&format!("{told}\nadapter written to {}/policy\n", out.display()))?;
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
    let named = Named::find(folder)?;
    let mut config = settings(args.config.as_ref(), &named, args.seed)?;
    let policy = open(&named, &mut config, args.device)?;
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
pub fn say(folder: &Path, picture: RgbImage, text: &str) -> Result<String, CliError> {
    let named = Named::find(folder)?;
    let mut config = settings(None, &named, None)?;
    let policy = open(&named, &mut config, DeviceName::Cpu)?;
    let sizes = QwenConfig::read(&named.checkpoint).map_err(other)?;
    let stop = GenerationConfig::read(&named.checkpoint, &sizes).map_err(other)?.stop;
    let prompt = policy.processor().prompt(&[picture], text).map_err(other)?;
    let (model, adapter) = (policy.model(), policy.adapter());
    let seen = model.see(&prompt, Some(&adapter)).map_err(other)?;
    let embedded = model.embed(&prompt, seen).map_err(other)?;
    let sampler: SamplerConfig = config.policy.sampler.greedy();
    let said = generate(model, Some(&adapter), &embedded, &[0], &stop, &sampler);
    let said = said.map_err(other)?;
    let tokens = said.first().map_or(&[][..], |said| &said.tokens);
    policy.processor().decode(tokens).map_err(other)
}
