//! `eval`: how well a policy answers the tasks of a source.

use clap::Args;
use serde::Serialize;

use super::{
    CliError, Context, Outcome, SourceArgs,
    adapt::{Reading, from_replay, outcome},
    policy_arg::{self, Loaded},
    run_watch::RunWatch,
};
use crate::{
    adapt::{
        replay::{FrameCounts, RunConfig, Tested, add_blind, held_out_tasks, measure},
        score::{self, Scores},
    },
    config::read_toml,
    device::DeviceName,
    report::table,
    source,
    tally::Tally,
};

/// Tests a policy on the tasks of a source, without learning
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    spatial-ssrl eval my_bag --policy run        the policy that `adapt --out run` saved\n  \
    spatial-ssrl eval my_bag --policy builtin    the policy that ships\n  \
    spatial-ssrl eval room:seed=9 --policy run --json | jq .mean")]
pub struct EvalArgs {
    /// Where frames come from: a bag, a folder, or a rendered room
    pub source: String,

    /// A folder that adapt wrote, or builtin; qwen:DIR for a Qwen2.5-VL checkpoint or a run that
    /// began with one (feature vlm)
    #[arg(long, value_name = "RUN")]
    pub policy: String,

    /// With qwen:DIR: an adapter in PEFT format (or the run that wrote it) that belongs to DIR
    #[cfg(feature = "vlm")]
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<std::path::PathBuf>,

    /// Settings of tasks and gate; default: those of the run
    #[arg(long, value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,

    /// Decides which tasks are made
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// What computes: cpu, cuda or cuda:N (`spatial-ssrl devices` lists them)
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceName,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,

    /// Options about the source.
    #[command(flatten)]
    pub source_args: SourceArgs,
}

/// What `eval --json` prints.
#[derive(Debug, Serialize)]
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

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn run(args: EvalArgs, context: &Context) -> Result<Outcome, CliError> {
    let other = |error: Box<dyn std::error::Error + Send + Sync>| CliError::Other(error);
    #[cfg(feature = "vlm")]
    if let Some(folder) = super::qwen::folder(&args.policy).map(std::path::Path::to_owned) {
        return super::qwen::eval(args, &folder, context);
    }
    #[cfg(feature = "vlm")]
    super::qwen::no_adapter(args.adapter.as_deref(), &args.policy)?;
    let device = args.device.open()?;
    let Loaded { policy, config: written, .. } = policy_arg::load(&args.policy, device)?;
    let mut config: RunConfig = match args.config.as_ref().or(written.as_ref()) {
        Some(path) => read_toml(path)?,
        None => RunConfig::default(),
    };
    config.seed = args.seed.unwrap_or(config.seed);

    let options = args.source_args.options();
    let mut watch = RunWatch::new(context);
    let reading = Reading::default();
    let extent = match source::extent(&args.source) {
        Some(extent) => extent,
        None => measure(reading.open(&args.source, &options)?, &mut watch).map_err(from_replay)?,
    };
    let frames = reading.open(&args.source, &options)?;
    let tested = held_out_tasks(&config, policy, frames, extent, &mut watch);
    watch.finish();
    let Tested { policy, tasks, frames, counts } = tested.map_err(from_replay)?;
    let mut scores = score::evaluate(&*policy, &tasks, |o| o.question.clone())
        .map_err(|e| other(Box::new(e)))?;
    // The blind policies learn on the earlier half of the tasks and are tested on the later.
    let mut by_time: Vec<_> = tasks.iter().collect();
    by_time.sort_by_key(|task| task.stamp_ns);
    let (earlier, later) = by_time.split_at(by_time.len() / 2);
    add_blind(&mut [&mut scores], earlier, later, config.seed);
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
        let json = serde_json::to_string_pretty(&evaluated).map_err(|e| other(Box::new(e)))?;
        context.print(&format!("{json}\n"))?;
    } else {
        let told = table::evaluated(&evaluated.source, &evaluated.scores, evaluated.mean);
        context.print(&told)?;
    }
    Ok(outcome(context, &report))
}
