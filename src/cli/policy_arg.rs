//! What a user may name as a policy: `builtin`, a run that `adapt` wrote, or its policy folder.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::CliError;
use crate::policy::compact::CompactPolicy;

/// A loaded policy and what stands beside it.
pub struct Loaded {
    /// The policy.
    pub policy: CompactPolicy,
    /// The settings of the run that made it, if they are there.
    pub config: Option<PathBuf>,
    /// Where it was read from; none for the one that ships.
    pub folder: Option<PathBuf>,
}

/// Loads the policy that `name` names.
///
/// # Errors
/// [`CliError`] with what is missing or damaged.
pub fn load(name: &str) -> Result<Loaded, CliError> {
    let device = Device::flex();
    let other = |error| CliError::Other(Box::new(error));
    if name == "builtin" {
        let policy = CompactPolicy::builtin(device).map_err(other)?;
        return Ok(Loaded { policy, config: None, folder: None });
    }
    let run = Path::new(name);
    // Both the run and its policy folder may be named.
    let folder = if run.join("policy").is_dir() { run.join("policy") } else { run.to_owned() };
    if !folder.join("policy.json").is_file() {
        return Err(CliError::Nothing(format!(
            "there is no policy in {name}: name a folder that `spatial-ssrl adapt --out RUN` \
             wrote, or builtin"
        )));
    }
    let config = run.join("config.toml");
    Ok(Loaded {
        policy: CompactPolicy::load(&folder, device).map_err(other)?,
        config: config.is_file().then_some(config),
        folder: Some(folder),
    })
}
