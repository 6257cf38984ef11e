//! Policies named on the command line.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::CliError;
use crate::policy::compact::CompactPolicy;

/// A policy by its name: `builtin`, a run that `adapt` wrote, or the `policy` folder in it;
/// with the settings of the run, where they are.
pub(super) fn load(name: &str) -> Result<(CompactPolicy, Option<PathBuf>), CliError> {
    let (policy, settings) = if name == "builtin" {
        (CompactPolicy::builtin(Device::flex()), None)
    } else {
        let run = Path::new(name);
        let folder = if run.join("policy").is_dir() { run.join("policy") } else { run.to_owned() };
        let settings = run.join("config.toml");
        (CompactPolicy::load(&folder, Device::flex()), settings.is_file().then_some(settings))
    };
    Ok((policy.map_err(|e| CliError::Other(Box::new(e)))?, settings))
}
