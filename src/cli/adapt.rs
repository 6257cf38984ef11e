//! `adapt`: learn on the first part of a recording, test on its last.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, Context, Outcome, SourceArgs};

/// Learns on the first part of a recording and tests on its last part
///
/// Prints a table by kind of task: accuracy before and after with its 95 % interval, chance,
/// and the best score of a policy that sees no picture. Ctrl-C ends it and keeps what was
/// learnt.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    spatial-ssrl adapt                           a rendered room, nothing needed\n  \
    spatial-ssrl adapt my_bag --out run          a bag; the policy and the figures go to run/\n  \
    spatial-ssrl adapt my_bag --max-seconds 60   stop learning after a minute\n  \
    spatial-ssrl adapt my_bag --config configs/compact.toml")]
pub struct AdaptArgs {
    /// Where frames come from: a bag, a folder, or a rendered room
    #[arg(default_value = "room")]
    pub source: String,

    /// Where the policy, summary.json, metrics and the exact settings go
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

    /// Stop learning after this long, seconds
    #[arg(long, value_name = "N")]
    pub max_seconds: Option<f64>,

    /// Stop learning after this many updates
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,

    /// What computes
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = ["cpu"])]
    pub device: String,

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
pub fn run(_args: AdaptArgs, _context: &Context) -> Result<Outcome, CliError> {
    Err(CliError::NotBuilt("adapt"))
}
