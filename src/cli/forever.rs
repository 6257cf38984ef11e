//! `adapt --forever`: learning without end.

use burn::tensor::Device;

use super::{
    CliError, Context, Outcome,
    adapt::{self, AdaptArgs, Reading, from_replay, outcome},
    machine::memory_bytes,
    policy_arg,
};
use crate::{
    adapt::{
        checkpoint::{Checkpoints, FileSystem, Files},
        field::{FieldCursor, FieldSummary, Until, field},
        heritage::Heritage,
        keeper::Keeper,
        learner::Learner,
        replay::measure_until,
    },
    policy::compact::CompactPolicy,
    source,
};

/// The most views of a frame: where frames keep coming, new ones teach more than views.
const VIEWS: u64 = 2;

/// Whether a checkpoint is one of a run without end.
pub fn is_forever(files: &Files) -> bool {
    !files.contains_key(crate::adapt::replay::TESTS)
}

/// Learns until told to stop.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn run(
    args: &AdaptArgs,
    files: Option<Files>,
    device: &Device,
    context: &Context,
) -> Result<Outcome, CliError> {
    let other = |e: Box<dyn std::error::Error + Send + Sync>| CliError::Other(e);
    let reading = Reading::default();
    let resumed = files.map(|files| Learner::from_files::<FieldCursor>(&files, device.clone()));
    let resumed = resumed.transpose().map_err(|e| other(Box::new(e)))?;
    let (out, mut watch, mut learner, mut cursor) = match resumed {
        Some((learner, cursor)) => {
            let from_step = learner.trainer().steps();
            let (out, watch) =
                adapt::open_run(args, &cursor.source, learner.config(), from_step, context)?;
            (out, watch, learner, cursor)
        }
        None => {
            let mut config = adapt::config(args)?;
            // The highest learning rate is for a run with an end.
            config.learn.steps = 0;
            config.learn.views = config.learn.views.min(VIEWS);
            let start = adapt::start(&args.policy, device, &mut config)?;
            let (out, mut watch) = adapt::open_run(args, &args.source, &config, 0, context)?;
            // A recording that is shorter than a round of blocks would never be tested on.
            let local = config.promote.local;
            let extent = match source::extent(&args.source) {
                Some(extent) => extent,
                None => {
                    let frames = reading.open(&args.source, &args.source_args.options())?;
                    measure_until(local.enough_s(), frames, &mut watch).map_err(from_replay)?
                }
            };
            config.promote.local = local.fitted(extent.seconds());
            let (known, policy, heritage) = match start {
                Some((policy, heritage)) => (true, policy, heritage),
                None => {
                    let random =
                        CompactPolicy::new(config.policy.clone(), config.seed, device.clone());
                    (false, random.map_err(|e| other(Box::new(e)))?, Heritage::default())
                }
            };
            let mut learner =
                Learner::new(policy, known, config).map_err(|e| other(Box::new(e)))?;
            learner.inherit(heritage);
            let cursor = FieldCursor { source: args.source.clone(), ..FieldCursor::default() };
            (out, watch, learner, cursor)
        }
    };
    let (config, source) = (learner.config().clone(), cursor.source.clone());
    let checkpoints =
        Checkpoints::new(out.join(adapt::CHECKPOINTS), FileSystem, config.checkpoint.clone());
    let mut keeper = Keeper::new(Some(&checkpoints), config.checkpoint.every_s);
    let until =
        Until { budget: args.max_seconds.map(adapt::seconds).transpose()?, steps: args.steps };
    let options = args.source_args.options();
    let open = || reading.open(&source, &options);
    let learnt = field(&mut learner, &mut cursor, open, until, &mut keeper, &mut watch);
    watch.finish();
    let mut summary = learnt.map_err(from_replay)?;
    summary.peak_rss_bytes = memory_bytes("VmHWM:").unwrap_or(0);
    policy_arg::save(&out.join("policy"), &learner.policy(), &learner.heritage())?;
    let json = serde_json::to_string_pretty(&summary).map_err(|e| other(Box::new(e)))? + "\n";
    adapt::write(&out.join("summary.json"), json.as_bytes())?;
    if args.json {
        context.print(&json)?;
    } else {
        context.print(&format!("{}written to {}\n", told(&summary), out.display()))?;
    }
    Ok(outcome(context, &reading.latest()))
}

fn told(summary: &FieldSummary) -> String {
    let list = |tally: &crate::tally::Tally| {
        let counts: Vec<String> = tally.iter().map(|(why, n)| format!("{why} {n}")).collect();
        if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
    };
    let FieldSummary { frames, candidates, updates, checkpoints, .. } = summary;
    format!(
        "{}: {} frames read in {} whole rounds and a part, {} used\n  skipped {}\n\
         tasks     {}; {} remembered, {} places\n\
         updates   {} applied, skipped {}\n\
         promoted  {}, rejected {}; version {} serves\n  alarms {}, rolled back {}\n\
         kept      {} checkpoints, {} failed\n\
         time      {:.0} s; peak memory {} MiB\n",
        summary.source,
        frames.read,
        summary.rounds,
        frames.used,
        list(&frames.skipped),
        list(&summary.tasks),
        summary.remembered,
        summary.places,
        updates.applied,
        list(&updates.skipped),
        candidates.promoted,
        list(&candidates.rejected),
        summary.version,
        list(&candidates.alarms),
        candidates.rolled_back,
        checkpoints.written,
        checkpoints.failed,
        summary.seconds,
        summary.peak_rss_bytes >> 20,
    )
}
