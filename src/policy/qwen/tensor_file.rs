//! One safetensors file, read by memory map: the one place of this crate that needs `unsafe`.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use burn::tensor::{DType, TensorData};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::TensorInfo};

use super::weights::WeightsError;

/// The largest header of a weight file that is parsed, bytes. Published ones have 0.1 MB.
pub(super) const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Maps a file for reading. An empty file cannot be mapped and is an error.
///
/// Mapped pages are only ever copied out of while a model loads, and the map is dropped
/// after it. Whoever shortens the file within that time ends this process (SIGBUS), as with
/// every program that maps checkpoints; whoever overwrites it gets a mixture of old and new
/// weights.
#[allow(unsafe_code)]
fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    let length = file.metadata()?;
    if !length.is_file() || length.len() == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file, or an empty one"));
    }
    // SAFETY: the map is read-only and stays within this module, which copies plain bytes out
    // of it and never interprets them in place. That no one changes the file meanwhile cannot
    // be enforced on any system; the consequences are the ones above.
    unsafe { Mmap::map(&file) }
}

/// A mapped file whose header says where its tensors lie.
#[derive(Debug)]
pub(super) struct TensorFile {
    /// Its name.
    pub path: PathBuf,
    /// Its tensors by the names that it gives them.
    pub tensors: BTreeMap<String, TensorInfo>,
    map: Mmap,
    /// Where the data begins.
    start: usize,
}

impl TensorFile {
    /// Maps a file and checks that its tensors lie in it, whole and next to each other.
    pub fn open(path: PathBuf) -> Result<Self, WeightsError> {
        let map = map(&path).map_err(|source| WeightsError::Io { path: path.clone(), source })?;
        let damaged = |why: String| WeightsError::Damaged { path: path.clone(), why };
        let header = map.first_chunk::<8>().map_or(0, |n| u64::from_le_bytes(*n));
        if header > MAX_HEADER_BYTES {
            return Err(damaged(format!(
                "a header of {header} bytes (at most {MAX_HEADER_BYTES})"
            )));
        }
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| damaged(error.to_string()))?;
        let copied = |info: &TensorInfo| TensorInfo {
            dtype: info.dtype,
            shape: info.shape.clone(),
            data_offsets: info.data_offsets,
        };
        let tensors = metadata.tensors();
        let tensors = tensors.into_iter().map(|(name, info)| (name, copied(info))).collect();
        Ok(TensorFile { path, tensors, map, start: 8 + header })
    }

    /// The bytes of a tensor.
    pub fn bytes(&self, info: &TensorInfo) -> &[u8] {
        let (from, to) = info.data_offsets;
        self.map.get(self.start + from..self.start + to).unwrap_or_default()
    }

    /// A tensor in the type in which the file has it, called `name` in errors.
    pub fn read(&self, info: &TensorInfo, name: &str) -> Result<TensorData, WeightsError> {
        let name = || name.to_owned();
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => return Err(WeightsError::Type { name: name(), dtype: format!("{other:?}") }),
        };
        let bytes = self.bytes(info);
        if let Some(at) = first_not_finite(bytes, dtype) {
            return Err(WeightsError::NotFinite { name: name(), at });
        }
        TensorData::try_from_bytes_vec(bytes.to_vec(), info.shape.clone(), dtype).map_err(|error| {
            let why = format!("tensor {}: {error}", name());
            WeightsError::Damaged { path: self.path.clone(), why }
        })
    }
}

/// The first value that is NaN or infinite: all bits of its exponent are set.
fn first_not_finite(bytes: &[u8], dtype: DType) -> Option<usize> {
    let of_two = |mask: u16| {
        let mut values = bytes.chunks_exact(2);
        values.position(|value| u16::from_le_bytes([value[0], value[1]]) & mask == mask)
    };
    match dtype {
        DType::BF16 => of_two(0x7f80),
        DType::F16 => of_two(0x7c00),
        _ => bytes
            .chunks_exact(4)
            .position(|v| !f32::from_le_bytes([v[0], v[1], v[2], v[3]]).is_finite()),
    }
}
