//! The compact policy as two files: `policy.json` and `weights.safetensors`.

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{
    CompactConfig, CompactError, CompactPolicy,
    head::HeadShape,
    weights::{self, WeightsError},
};

/// What `policy.json` says beside the weights.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    format: u32,
    config: CompactConfig,
    shape: HeadShape,
    encoder_sha256: String,
    weights_sha256: String,
}

/// The version of the files written here.
const FORMAT: u32 = 1;

impl CompactPolicy {
    /// Writes `policy.json` and `weights.safetensors` into `folder`, each whole or not at all.
    ///
    /// # Errors
    /// [`CompactError::Weights`] when the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), CompactError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| WeightsError::Io { path: folder.to_owned(), source })?;
        let weights = weights::to_bytes(&self.head)?;
        let description = Description {
            format: FORMAT,
            config: self.config.clone(),
            shape: self.shape.clone(),
            encoder_sha256: self.encoder.digest().to_owned(),
            weights_sha256: crate::digest::hex(&weights),
        };
        weights::write_atomically(&folder.join("weights.safetensors"), &weights)?;
        let text = serde_json::to_string_pretty(&description)
            .map_err(|e| CompactError::Config(e.to_string()))?;
        weights::write_atomically(&folder.join("policy.json"), text.as_bytes())?;
        Ok(())
    }

    /// The policy that ships with the crate.
    ///
    /// # Errors
    /// As [`CompactPolicy::load`]; the shipped files are tested.
    pub fn builtin(device: Device) -> Result<Self, CompactError> {
        const DESCRIPTION: &[u8] = include_bytes!("../../../assets/builtin/policy.json");
        const WEIGHTS: &[u8] = include_bytes!("../../../assets/builtin/weights.safetensors");
        Self::from_parts(Path::new("builtin"), DESCRIPTION, WEIGHTS, device)
    }

    /// Reads what [`CompactPolicy::save`] wrote.
    ///
    /// # Errors
    /// [`CompactError::Description`] when the files do not belong together or were written
    /// by another version, [`CompactError::Weights`] when the weights are damaged.
    pub fn load(folder: &Path, device: Device) -> Result<Self, CompactError> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|source| WeightsError::Io { path, source })
        };
        let (description, weights) = (read("policy.json")?, read("weights.safetensors")?);
        Self::from_parts(&folder.join("policy.json"), &description, &weights, device)
    }

    fn from_parts(
        path: &Path,
        description: &[u8],
        weights: &[u8],
        device: Device,
    ) -> Result<Self, CompactError> {
        let wrong = |why: String| CompactError::Description { path: path.to_owned(), why };
        let description: Description =
            serde_json::from_slice(description).map_err(|e| wrong(e.to_string()))?;
        if description.format != FORMAT {
            return Err(wrong(format!(
                "format {} is not known here (this version reads {FORMAT})",
                description.format
            )));
        }
        if crate::digest::hex(weights) != description.weights_sha256 {
            return Err(wrong("weights.safetensors is not the file that belongs here".to_owned()));
        }
        let mut policy = Self::new(description.config, 0, device)?;
        if policy.encoder.digest() != description.encoder_sha256 {
            return Err(wrong(format!(
                "the weights belong to the encoder with SHA-256 {}, this one has {}",
                description.encoder_sha256,
                policy.encoder.digest()
            )));
        }
        if policy.shape != description.shape {
            return Err(wrong(format!(
                "the head is {:?}, the encoder makes {:?}",
                description.shape, policy.shape
            )));
        }
        policy.head = weights::from_bytes(policy.head, weights, &policy.device)?;
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_policy_belongs_to_the_shipped_encoder() {
        let mut policy = CompactPolicy::builtin(Device::flex()).unwrap();
        policy.learn_with(&CompactConfig::default());
        assert_eq!(policy.config(), &CompactConfig::default());
        let policy = CompactPolicy::builtin(Device::flex()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        policy.save(folder.path()).unwrap();
        let weights = std::fs::read(folder.path().join("weights.safetensors")).unwrap();
        assert_eq!(
            crate::digest::hex(&weights),
            crate::digest::hex(include_bytes!("../../../assets/builtin/weights.safetensors")),
            "what is saved is what was loaded"
        );
    }
}
