//! `eval`: how well a policy answers the tasks of a source.

use clap::Args;

use super::{CliError, Context, Outcome, SourceArgs};

/// Tests a policy on the tasks of a source, without learning
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    spatial-ssrl eval my_bag --policy run        the policy that `adapt --out run` saved\n  \
    spatial-ssrl eval my_bag --policy builtin    the policy that ships\n  \
    spatial-ssrl eval room:seed=9 --policy run --json | jq .mean")]
pub struct EvalArgs {
    /// Where frames come from: a bag, a folder, or a rendered room
    pub source: String,

    /// A folder that adapt wrote, or builtin
    #[arg(long, value_name = "RUN")]
    pub policy: String,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,

    /// Options about the source.
    #[command(flatten)]
    pub source_args: SourceArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn run(_args: EvalArgs, _context: &Context) -> Result<Outcome, CliError> {
    Err(CliError::NotBuilt("eval"))
}
