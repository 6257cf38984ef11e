//! Which policy a user means: `builtin`, a run, or a policy folder.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::CliError;
use crate::{
    adapt::heritage::Heritage,
    policy::compact::{CompactPolicy, weights::write_atomically},
};

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
        let settings = run.join("config.toml");
        (CompactPolicy::load(&folder(run), Device::flex()), settings.is_file().then_some(settings))
    };
    Ok((policy.map_err(|e| CliError::Other(Box::new(e)))?, settings))
}

/// Both a run and its policy folder may be named.
fn folder(run: &Path) -> PathBuf {
    if run.join("policy").is_dir() { run.join("policy") } else { run.to_owned() }
}

/// What the policy that `name` means hands on beside its weights.
///
/// # Errors
/// [`CliError`] when that is damaged.
pub fn heritage(name: &str) -> Result<Heritage, CliError> {
    let read = |file: &str| std::fs::read(folder(Path::new(name)).join(file)).ok();
    let heritage = match name {
        "builtin" => Heritage::builtin(),
        _ => Heritage::from_files(read),
    };
    heritage.map_err(|e| CliError::Nothing(format!("{name}: {e}")))
}

/// Writes a policy and what it hands on into `folder`.
///
/// # Errors
/// [`CliError`] when it cannot be written.
pub fn save(folder: &Path, policy: &CompactPolicy, heritage: &Heritage) -> Result<(), CliError> {
    let other = |e: Box<dyn std::error::Error + Send + Sync>| CliError::Other(e);
    policy.save(folder).map_err(|e| other(Box::new(e)))?;
    for (name, bytes) in heritage.files().map_err(|e| other(Box::new(e)))? {
        write_atomically(&folder.join(name), &bytes).map_err(|e| other(Box::new(e)))?;
    }
    Ok(())
}
