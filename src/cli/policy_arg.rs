//! Which policy a user means: `builtin`, a run, or a policy folder.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::CliError;
use crate::policy::compact::CompactPolicy;

/// Loads the policy that `name` means, and tells where the settings of its run are, if it
/// has any.
///
/// # Errors
/// [`CliError`] when there is no such policy or it is damaged.
pub fn load(name: &str) -> Result<(CompactPolicy, Option<PathBuf>), CliError> {
    let (policy, settings) = if name == "builtin" {
        (CompactPolicy::builtin(Device::flex()), None)
    } else {
        let run = Path::new(name);
        // Both the run and its policy folder may be named.
        let folder = if run.join("policy").is_dir() { run.join("policy") } else { run.to_owned() };
        let settings = run.join("config.toml");
        (CompactPolicy::load(&folder, Device::flex()), settings.is_file().then_some(settings))
    };
    Ok((policy.map_err(|e| CliError::Other(Box::new(e)))?, settings))
}
