//! Weights of a head as safetensors, by parameter path, checked by name and shape.

use std::{collections::BTreeMap, path::Path};

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, TensorData},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::head::Head;

/// Why weights were not read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a safetensors file, or a damaged one.
    #[error("the weights are damaged: {0}")]
    Format(String),
    /// Names or shapes differ from what this head needs.
    #[error("the weights do not fit this policy: {0}")]
    Mismatch(String),
}

/// One parameter: its shape and values.
type Values = (Vec<usize>, Vec<f32>);

/// All parameters by path, `beside.inner.weight` for example.
#[derive(Default)]
struct Collect {
    path: Vec<String>,
    found: BTreeMap<String, Values>,
    failed: Option<String>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        match tensor.try_into_vec_as::<f32>() {
            Ok(values) => {
                self.found.insert(self.path.join("."), (shape, values));
            }
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

/// Every parameter of a head by path.
///
/// # Errors
/// [`WeightsError::Format`] when the device does not give the values back.
pub fn collect(head: &Head) -> Result<BTreeMap<String, Values>, WeightsError> {
    let mut collect = Collect::default();
    head.visit(&mut collect);
    match collect.failed {
        Some(why) => Err(WeightsError::Format(why)),
        None => Ok(collect.found),
    }
}

/// The head's weights as the bytes of a safetensors file.
///
/// # Errors
/// As [`collect`].
pub fn to_bytes(head: &Head) -> Result<Vec<u8>, WeightsError> {
    let values = collect(head)?;
    let bytes: BTreeMap<&str, (Vec<usize>, Vec<u8>)> = values
        .iter()
        .map(|(name, (shape, values))| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name.as_str(), (shape.clone(), bytes))
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, (shape, bytes))| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (*name, view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| WeightsError::Format(e.to_string()))?;
    safetensors::serialize(views, None).map_err(|e| WeightsError::Format(e.to_string()))
}

/// A head with the weights of a safetensors file in place of its own.
///
/// # Errors
/// [`WeightsError::Format`] for damage, [`WeightsError::Mismatch`] naming a tensor that is
/// missing, left over, of another shape or not finite.
pub fn from_bytes(head: Head, bytes: &[u8], device: &Device) -> Result<Head, WeightsError> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| WeightsError::Format(e.to_string()))?;
    let mut given = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(WeightsError::Mismatch(format!("{name} is {:?}, not F32", view.dtype())));
        }
        let values: Vec<f32> = view
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            return Err(WeightsError::Mismatch(format!("{name} holds {bad}")));
        }
        given.insert(name, (view.shape().to_vec(), values));
    }
    let needed = collect(&head)?;
    for (name, (shape, _)) in &needed {
        match given.get(name) {
            None => return Err(WeightsError::Mismatch(format!("{name} {shape:?} is missing"))),
            Some((got, _)) if got != shape => {
                return Err(WeightsError::Mismatch(format!("{name} is {got:?}, needed {shape:?}")));
            }
            Some(_) => {}
        }
    }
    if let Some(extra) = given.keys().find(|name| !needed.contains_key(*name)) {
        return Err(WeightsError::Mismatch(format!("{extra} is not part of this policy")));
    }
    Ok(head.map(&mut Replace { path: Vec::new(), given, device: device.clone() }))
}

/// Puts given values in the place of a module's own.
struct Replace {
    path: Vec<String>,
    given: BTreeMap<String, Values>,
    device: Device,
}

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((shape, values)) = self.given.remove(&self.path.join(".")) else { return param };
        let data = TensorData::new(values, shape);
        let learns = param.val().is_require_grad();
        param.map(|_| Tensor::from_data(data, &self.device).set_require_grad(learns))
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

/// Writes a file so that either the old one or the whole new one is there, even after a
/// loss of power: temporary file, fsync, rename, fsync of the folder.
///
/// # Errors
/// [`WeightsError::Io`] with the file's name.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WeightsError> {
    let io = |source| WeightsError::Io { path: path.to_owned(), source };
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        use std::io::Write;
        let mut file = std::fs::File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)?;
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => {
                std::fs::File::open(folder)?.sync_all()
            }
            _ => Ok(()),
        }
    };
    write().map_err(io)
}
