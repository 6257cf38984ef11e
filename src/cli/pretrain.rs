//! `pretrain`: one policy from many sources, as a start for places not seen yet.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    CliError, Context, Outcome, SourceArgs,
    adapt::{Reading, create, from_replay, make_folder, outcome, write},
    policy_arg,
    run_watch::RunWatch,
};
use crate::{
    adapt::{
        pretrain::{Lesson, Taught, pretrain},
        replay::RunConfig,
    },
    config::{OptionalKeys, read_toml},
    device::DeviceName,
    source::SourceOptions,
};

/// Learns one policy from many sources, as a start for places not seen yet
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    spatial-ssrl pretrain rooms:seeds=1-80,frames=8 --out start   eighty rendered rooms\n  \
    spatial-ssrl pretrain bag_a bag_b --views 4 --out start       your own recordings\n  \
    spatial-ssrl pretrain --config configs/builtin.toml --out start   as `builtin` was made\n\n\
    Then: spatial-ssrl adapt my_bag --policy start")]
pub struct PretrainArgs {
    /// Where frames come from: bags, folders, rooms:seeds=1-80,frames=8; added to those of the
    /// config
    pub sources: Vec<String>,

    /// Where the policy, the report, metrics and the exact settings go; it must not exist or be
    /// empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Settings and sources, see configs/builtin.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Leave out the config's sources whose name holds this text (may be repeated)
    #[arg(long, value_name = "TEXT")]
    pub without: Vec<String>,

    /// Decides every random choice
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// Views made of each frame of the SOURCES given here
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub views: u64,

    /// Stop after this many updates
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,

    /// What computes: cpu, cuda or cuda:N (`spatial-ssrl devices` lists them). Pictures are
    /// encoded by the processor in any case
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceName,

    /// Options about the sources given here.
    #[command(flatten)]
    pub source_args: SourceArgs,
}

/// Settings of `pretrain`: those of a run, and what to learn from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainConfig {
    /// What to learn from, in this order.
    pub sources: Vec<Listed>,
    /// What the policy and those that grow from it are tested on and never learn from.
    pub factory: Vec<Listed>,
    /// As for `adapt`; `split` is not used.
    pub run: RunConfig,
}

impl OptionalKeys for PretrainConfig {
    const OPTIONAL_KEYS: &'static [&'static str] =
        &["sources.*", "factory.*", "run.learn.tasks_per_view.*", "run.learn.tasks_per_step.*"];
}

/// One source with what must be said about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// SOURCE as on the command line.
    pub source: String,
    /// Views made of each frame.
    pub views: u64,
    /// Depth units per metre.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth_scale: Option<f64>,
    /// `[fx, fy, cx, cy]` in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intrinsics: Option<[f64; 4]>,
}

impl Listed {
    fn options(&self) -> SourceOptions {
        SourceOptions {
            depth_scale: self.depth_scale,
            intrinsics: self.intrinsics,
            ..SourceOptions::default()
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn run(args: PretrainArgs, context: &Context) -> Result<Outcome, CliError> {
    let device = args.device.open()?;
    let mut config: PretrainConfig = match &args.config {
        Some(path) => read_toml(path)?,
        None => PretrainConfig::default(),
    };
    config.sources.retain(|listed| !args.without.iter().any(|text| listed.source.contains(text)));
    let given = args.sources.iter().map(|source| Listed {
        source: source.clone(),
        views: args.views.max(1),
        depth_scale: None,
        intrinsics: None,
    });
    let of_config = config.sources.len();
    config.sources.extend(given);
    config.run.seed = args.seed.unwrap_or(config.run.seed);
    config.run.learn.steps = args.steps.unwrap_or(config.run.learn.steps);
    if config.sources.is_empty() {
        return Err(CliError::Nothing(
            "nothing to learn from: name a SOURCE, or a --config with [[sources]]".to_owned(),
        ));
    }
    make_folder(&args.out)?;
    let toml = toml::to_string(&config).map_err(|e| CliError::Other(Box::new(e)))?;
    write(&args.out.join("pretrain.toml"), toml.as_bytes())?;
    let metrics = create(&args.out.join("metrics.jsonl"))?;

    let mut watch = RunWatch::writing(context, metrics, None);
    let reading = Reading::default();
    let given = args.source_args.options();
    let lesson = |(listed, options): (&Listed, SourceOptions)| {
        let frames = reading.open(&listed.source, &options)?;
        Ok(Lesson { name: short(&listed.source), frames, views: listed.views })
    };
    let of_config = config.sources.iter().take(of_config).map(|l| (l, l.options()));
    let of_user = config.sources.iter().skip(of_config.len()).map(|l| (l, given.clone()));
    let lessons = of_config.chain(of_user).map(lesson);
    let tests = config.factory.iter().map(|l| lesson((l, l.options())));
    let taught = pretrain(lessons, tests, &config.run, device, &mut watch);
    watch.finish();
    let (policy, heritage, taught) = taught.map_err(from_replay)?;
    policy_arg::save(&args.out.join("policy"), &policy, &heritage)?;
    let json = serde_json::to_string_pretty(&taught).map_err(|e| CliError::Other(Box::new(e)))?;
    write(&args.out.join("summary.json"), (json + "\n").as_bytes())?;
    // Settings that `eval` and `adapt` find beside the policy.
    let toml = toml::to_string(&config.run).map_err(|e| CliError::Other(Box::new(e)))?;
    write(&args.out.join("config.toml"), toml.as_bytes())?;
    context.print(&told(&taught, &args.out))?;
    Ok(outcome(context, &reading.latest()))
}

/// The last part of a path; other sources as they are.
fn short(source: &str) -> String {
    let name = Path::new(source).file_name().and_then(|name| name.to_str());
    name.unwrap_or(source).to_owned()
}

fn told(taught: &Taught, out: &Path) -> String {
    let mut text = String::from("source                            read    used\n");
    for (name, counts) in &taught.frames {
        text += &format!("{name:<30} {:>7} {:>7}", counts.read, counts.used);
        for (why, n) in counts.skipped.iter().chain(counts.color_only.iter()) {
            text += &format!("  {why} {n}");
        }
        text += "\n";
    }
    let tasks: Vec<String> = taught.tasks.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    text += &format!("tasks    {}\n", tasks.join(", "));
    text += &format!("updates  {} applied\n", taught.updates.applied);
    text += &format!("answers right in the last updates {:.1} %\n", 100.0 * taught.reward);
    text += &format!("took {:.0} s; written to {}\n", taught.seconds, out.display());
    text
}
