//! `inspect`: what is in a source.

use clap::Args;

use super::{CliError, Context, Outcome, SourceArgs};

/// Shows what is in a source, what pairs up and what does not, and which tasks it can make
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    spatial-ssrl inspect my_bag\n  \
    spatial-ssrl inspect my_bag --color /front/color/image_raw --tolerance-ms 40\n  \
    spatial-ssrl inspect my_bag --json | jq .lost")]
pub struct InspectArgs {
    /// What to look at: a bag, a folder, or a rendered room
    pub source: String,

    /// Print one JSON object instead of tables
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
pub fn run(_args: InspectArgs, _context: &Context) -> Result<Outcome, CliError> {
    Err(CliError::NotBuilt("inspect"))
}
