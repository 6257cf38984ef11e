//! `devices`: what `--device` can name.

use clap::Args;

use super::{CliError, Context, Outcome};
use crate::device;

/// Lists what can compute: the processor, and NVIDIA GPUs where this program was built for them
#[derive(Debug, Args)]
pub struct DevicesArgs {}

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] when nothing can be written.
pub fn run(_: DevicesArgs, context: &Context) -> Result<Outcome, CliError> {
    let (devices, no_gpu) = device::list();
    let lines: Vec<String> =
        devices.iter().map(|device| format!("{:<8} {}\n", device.name, device.what)).collect();
    context.print(&lines.concat())?;
    if let Some(why) = no_gpu {
        tracing::info!("{why}");
    }
    Ok(Outcome::Done)
}
