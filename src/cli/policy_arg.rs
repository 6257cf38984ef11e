//! What a user may name as a policy: `builtin`, a run that `adapt` wrote, or its policy folder.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::CliError;
use crate::{
    adapt::heritage::Heritage,
    policy::compact::{CompactPolicy, weights::write_atomically},
};

/// A loaded policy and what stands beside it.
pub struct Loaded {
    /// The policy.
    pub policy: CompactPolicy,
    /// The settings of the run that made it, if they are there.
    pub config: Option<PathBuf>,
    /// Where it was read from; none for the one that ships.
    pub folder: Option<PathBuf>,
}

/// Loads the policy that `name` names onto `device`.
///
/// # Errors
/// [`CliError`] with what is missing or damaged.
pub fn load(name: &str, device: Device) -> Result<Loaded, CliError> {
    let other = |error| CliError::Other(Box::new(error));
    if name == "builtin" {
        let policy = CompactPolicy::builtin(device).map_err(other)?;
        return Ok(Loaded { policy, config: None, folder: None });
    }
    if let Some(folder) = name.strip_prefix("qwen:") {
        return Err(CliError::Nothing(match cfg!(feature = "vlm") {
            true => format!("qwen:{folder} can be named to adapt and eval, and to ask ... say"),
            false => "this program was built without Qwen2.5-VL: build it with `cargo build \
                      --release --features vlm` (on a GPU: --features cuda,vlm)"
                .to_owned(),
        }));
    }
    let run = Path::new(name);
    let folder = folder(run);
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

/// Both a run and its policy folder may be named.
fn folder(run: &Path) -> PathBuf {
    if run.join("policy").is_dir() { run.join("policy") } else { run.to_owned() }
}

/// The largest file of tasks that is read, bytes.
const MAX_TASKS_BYTES: u64 = 1 << 30;

/// What the policy that `name` means hands on beside its weights.
///
/// # Errors
/// [`CliError`] when that is damaged or belongs to another policy.
pub fn heritage(name: &str, policy: &CompactPolicy) -> Result<Heritage, CliError> {
    let read = |file: &str| -> Result<Option<Vec<u8>>, CliError> {
        let path = folder(Path::new(name)).join(file);
        let wrong = |why: String| CliError::Nothing(format!("{}: {why}", path.display()));
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(error.to_string())),
            Ok(there) if there.len() > MAX_TASKS_BYTES => Err(wrong(format!(
                "{} bytes are no tasks of a policy (at most {MAX_TASKS_BYTES})",
                there.len()
            ))),
            Ok(_) => std::fs::read(&path).map(Some).map_err(|e| wrong(e.to_string())),
        }
    };
    let heritage = match name {
        "builtin" => Heritage::builtin().map_err(CliError::from)?,
        _ => Heritage::from_files(read)?,
    };
    match heritage.misfits(policy) {
        0 => Ok(heritage),
        n => Err(CliError::Nothing(format!(
            "{name}: {n} of its tasks were made for another encoder; remove its *.tasks files to \
             adapt without them"
        ))),
    }
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
