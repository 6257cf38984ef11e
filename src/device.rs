//! What computes: the processor, or an NVIDIA GPU.
//!
//! A device is always named, never guessed: burn's own default takes a GPU whenever CUDA is
//! compiled in, and panics where there is no driver.

use std::{
    cell::Cell,
    fmt,
    panic::{self, AssertUnwindSafe, catch_unwind},
    str::FromStr,
    sync::Once,
};

use burn::{Tensor, tensor::Device};

/// The name of a device: `cpu`, `cuda` (the first GPU) or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number.
    Cuda(usize),
}

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No such name.
    #[error("{0:?} is no device: cpu, cuda or cuda:N is needed")]
    Name(String),
    /// Built without CUDA.
    #[error(
        "this program was built without CUDA: use --device cpu, or build it with `cargo build --release --features cuda`"
    )]
    NotBuilt,
    /// No GPU, or no driver.
    #[error(
        "no NVIDIA GPU was found ({0} were): use --device cpu, or check that `nvidia-smi` (on a Jetson: `nvpmodel -q`) sees the GPU and that libcuda.so.1 can be loaded"
    )]
    NotFound(usize),
    /// No GPU of that number.
    #[error("there is no cuda:{index}: {found} GPUs were found, cuda:0 to cuda:{}", found.saturating_sub(1))]
    Index {
        /// The number asked for.
        index: usize,
        /// How many there are.
        found: usize,
    },
    /// A GPU that is there but does not compute.
    #[error(
        "{name} was found but does not compute: {why}; check the driver, and that $CUDA_PATH/nvvm/libdevice/libdevice.10.bc is there"
    )]
    Broken {
        /// The device.
        name: DeviceName,
        /// What it said.
        why: String,
    },
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Cpu => f.write_str("cpu"),
            DeviceName::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let index = name.strip_prefix("cuda").map(|rest| rest.strip_prefix(':').unwrap_or(rest));
        match (name, index) {
            ("cpu", _) => Ok(DeviceName::Cpu),
            ("cuda", _) => Ok(DeviceName::Cuda(0)),
            (_, Some(index)) if name.starts_with("cuda:") && !index.starts_with('+') => {
                index.parse().map(DeviceName::Cuda).map_err(|_| DeviceError::Name(name.to_owned()))
            }
            _ => Err(DeviceError::Name(name.to_owned())),
        }
    }
}

impl DeviceName {
    /// Opens the device and lets it compute something small, so that what is wrong with it is
    /// known before any work is done.
    ///
    /// # Errors
    /// [`DeviceError`] with what is missing.
    ///
    /// ```
    /// use spatial_ssrl::device::DeviceName;
    ///
    /// let device = "cpu".parse::<DeviceName>()?.open()?;
    /// assert!("gpu".parse::<DeviceName>().is_err());
    /// # Ok::<(), spatial_ssrl::device::DeviceError>(())
    /// ```
    pub fn open(self) -> Result<Device, DeviceError> {
        let DeviceName::Cuda(index) = self else { return Ok(Device::flex()) };
        let gpus = gpus()?;
        let found = gpus.len();
        let Some(device) = gpus.into_iter().nth(index) else {
            return Err(match found {
                0 => DeviceError::NotFound(found),
                _ => DeviceError::Index { index, found },
            });
        };
        match quietly(|| probe(&device)) {
            Ok(Ok(2.0)) => Ok(device),
            Ok(Ok(sum)) => {
                Err(DeviceError::Broken { name: self, why: format!("1 + 1 gave {sum}") })
            }
            Ok(Err(why)) | Err(why) => Err(DeviceError::Broken { name: self, why }),
        }
    }
}

/// 1 + 1 on the device.
fn probe(device: &Device) -> Result<f32, String> {
    let ones = Tensor::<1>::from_floats([1.0], device);
    let values = (ones.clone() + ones).try_into_vec_as::<f32>().map_err(|e| e.to_string())?;
    values.first().copied().ok_or_else(|| "nothing came back".to_owned())
}

/// Every GPU that can be seen.
#[cfg(feature = "cuda")]
fn gpus() -> Result<Vec<Device>, DeviceError> {
    use burn::tensor::DeviceType;
    // A damaged driver must not end the program.
    Ok(quietly(|| Device::enumerate(DeviceType::Cuda).into_vec()).unwrap_or_default())
}

#[cfg(not(feature = "cuda"))]
fn gpus() -> Result<Vec<Device>, DeviceError> {
    Err(DeviceError::NotBuilt)
}

thread_local! {
    /// Whether a panic of this thread is caught and told in other words.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives, or the words with which it panicked, which are not printed: the libraries
/// below answer a missing or damaged driver with a panic.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |told| {
            if !CAUGHT.get() {
                before(told);
            }
        }));
    });
    let outer = CAUGHT.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(outer);
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("it gave no reason").to_owned()
    })
}

/// A device as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name for `--device`.
    pub name: DeviceName,
    /// What it is.
    pub what: String,
}

/// Every device that this program can use, and why there is no GPU among them if there is
/// none.
pub fn list() -> (Vec<Listed>, Option<DeviceError>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = vec![Listed { name: DeviceName::Cpu, what: format!("{threads} threads") }];
    let why =
        match gpus() {
            Ok(gpus) if gpus.is_empty() => Some(DeviceError::NotFound(0)),
            Ok(gpus) => {
                all.extend(gpus.iter().enumerate().map(|(index, gpu)| Listed {
                    name: DeviceName::Cuda(index),
                    what: describe(gpu),
                }));
                None
            }
            Err(why) => Some(why),
        };
    (all, why)
}

#[cfg(feature = "cuda")]
fn describe(gpu: &Device) -> String {
    match quietly(|| gpu.identity()) {
        Ok(Some(identity)) => format!("{} ({})", identity.name, identity.fingerprint),
        Ok(None) => "an NVIDIA GPU".to_owned(),
        Err(why) => format!("does not open: {why}"),
    }
}

#[cfg(not(feature = "cuda"))]
fn describe(_: &Device) -> String {
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_exactly() {
        for (name, device) in [
            ("cpu", DeviceName::Cpu),
            ("cuda", DeviceName::Cuda(0)),
            ("cuda:3", DeviceName::Cuda(3)),
        ] {
            assert_eq!(name.parse(), Ok(device));
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for name in ["", "CPU", "cuda:", "cuda3", "cuda:-1", "cuda:+1", "cuda:x", "rocm", "cpu:0"] {
            assert_eq!(name.parse::<DeviceName>(), Err(DeviceError::Name(name.to_owned())));
        }
    }

    #[test]
    fn the_processor_is_always_there() {
        let (all, why) = list();
        assert_eq!(all[0].name, DeviceName::Cpu);
        assert_eq!(all.len() == 1, why.is_some());
        let device = DeviceName::Cpu.open().unwrap();
        assert_eq!(probe(&device), Ok(2.0));
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_that_says_what_to_do() {
        let found = list().0.len() - 1;
        let error = DeviceName::Cuda(found).open().unwrap_err().to_string();
        assert!(error.contains("cuda") || error.contains("--device cpu"), "{error}");
    }

    #[test]
    fn a_panic_below_becomes_its_words() {
        assert_eq!(quietly(|| 3), Ok(3));
        assert_eq!(quietly(|| -> u8 { panic!("no {}", "driver") }), Err("no driver".to_owned()));
    }
}
