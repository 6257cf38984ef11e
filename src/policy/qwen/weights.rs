//! Tensors of a checkpoint folder: one safetensors file or several with an index, read by
//! memory map, one tensor at a time, so that no second copy of the model is ever in memory.
//!
//! Two families of names exist for the same tensors; here they always have the longer ones:
//! `model.visual.*`, `model.language_model.*` and `lm_head.weight`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use burn::tensor::TensorData;
use safetensors::tensor::TensorInfo;
use serde_json::Value;

use super::tensor_file::TensorFile;

/// The one-file name of a checkpoint's weights.
pub const SINGLE: &str = "model.safetensors";
/// The index of a checkpoint in several files.
pub const INDEX: &str = "model.safetensors.index.json";

/// The largest index that is read, bytes.
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// The most files of one checkpoint.
const MAX_SHARDS: usize = 1024;
/// How many names an error lists.
const LISTED: usize = 8;

/// Why weights cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither one file nor an index.
    #[error("{}: neither {SINGLE} nor {INDEX} is there", .0.display())]
    None(PathBuf),
    /// Not a safetensors file, or a damaged one.
    #[error("{}: damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An index that names files outside its folder.
    #[error("{}: {file:?} is not a plain name of a .safetensors file in the same folder", path.display())]
    Escape {
        /// The index.
        path: PathBuf,
        /// What it names.
        file: String,
    },
    /// A tensor that is needed is not there.
    #[error("tensor {name} is missing (shape {shape:?} is needed){}", hint(name))]
    Missing {
        /// Its name.
        name: String,
        /// The shape that is needed.
        shape: Vec<usize>,
    },
    /// A tensor of another shape.
    #[error("tensor {name} has shape {got:?}, but the configuration needs {needed:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape.
        got: Vec<usize>,
        /// The shape that is needed.
        needed: Vec<usize>,
    },
    /// A tensor of a type that is not read.
    #[error("tensor {name} is {dtype}: F32, F16 or BF16 is needed")]
    Type {
        /// Its name.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor with NaN or infinity in it.
    #[error("tensor {name} holds a value that is not finite at place {at}")]
    NotFinite {
        /// Its name.
        name: String,
        /// Which value.
        at: usize,
    },
    /// Tensors that belong nowhere.
    #[error("{count} tensors belong to no part of this model: {}", list(names))]
    Extra {
        /// How many.
        count: usize,
        /// The first of them.
        names: Vec<String>,
    },
    /// A tensor that is there twice.
    #[error("tensor {name} is there twice: in {} and in {}", first.display(), second.display())]
    Twice {
        /// Its name.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A tied head that is not the embedding.
    #[error(
        "lm_head.weight differs from the embedding although tie_word_embeddings is true: set it to false in config.json"
    )]
    Untied,
}

fn hint(name: &str) -> &'static str {
    match name {
        HEAD => "; a checkpoint whose head is its embedding has tie_word_embeddings = true",
        _ => "",
    }
}

fn list(names: &[String]) -> String {
    names.join(", ")
}

const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.language_model.embed_tokens.weight";

/// The long name of a tensor.
pub fn long_name(name: &str) -> String {
    let under = |prefix: &str, rest: &str| format!("{prefix}{rest}");
    if name.starts_with("model.visual.") || name.starts_with("model.language_model.") {
        return name.to_owned();
    }
    if let Some(rest) = name.strip_prefix("visual.") {
        return under("model.visual.", rest);
    }
    match name.strip_prefix("model.") {
        Some(rest) => under("model.language_model.", rest),
        None => name.to_owned(),
    }
}

/// Where a tensor lies.
#[derive(Debug)]
struct Place {
    shard: usize,
    /// Its name in the file.
    name: String,
}

/// The tensors of a checkpoint folder.
#[derive(Debug)]
pub struct Checkpoint {
    shards: Vec<TensorFile>,
    places: BTreeMap<String, Place>,
    taken: BTreeSet<String>,
}

impl Checkpoint {
    /// Opens the weights in `folder` and checks where every tensor lies; no tensor is read.
    ///
    /// # Errors
    /// [`WeightsError`] with the file that is missing, damaged or hostile.
    pub fn open(folder: &Path) -> Result<Self, WeightsError> {
        let (index, single) = (folder.join(INDEX), folder.join(SINGLE));
        let mut checkpoint =
            Checkpoint { shards: Vec::new(), places: BTreeMap::new(), taken: BTreeSet::new() };
        if index.is_file() {
            let listed = read_index(&index)?;
            let files: BTreeSet<&String> = listed.values().collect();
            if files.len() > MAX_SHARDS {
                let why = format!("{} files (at most {MAX_SHARDS})", files.len());
                return Err(WeightsError::Damaged { path: index, why });
            }
            for file in files {
                checkpoint.add(folder.join(file), |name| listed.get(name) == Some(file))?;
            }
            if let Some((name, file)) =
                listed.iter().find(|(name, _)| !checkpoint.places.contains_key(&long_name(name)))
            {
                let why = format!("has no tensor {name}, which the index says it has");
                return Err(WeightsError::Damaged { path: folder.join(file), why });
            }
            Ok(checkpoint)
        } else if single.is_file() {
            checkpoint.add(single, |_| true)?;
            Ok(checkpoint)
        } else {
            Err(WeightsError::None(folder.to_owned()))
        }
    }

    fn add(&mut self, path: PathBuf, listed: impl Fn(&str) -> bool) -> Result<(), WeightsError> {
        let file = TensorFile::open(path)?;
        let shard = self.shards.len();
        for name in file.tensors.keys() {
            if !listed(name) {
                let why = format!("tensor {name} is not in the index");
                return Err(WeightsError::Damaged { path: file.path, why });
            }
            let place = Place { shard, name: name.clone() };
            if let Some(there) = self.places.insert(long_name(name), place) {
                let first = self.shards.get(there.shard).map_or(&file.path, |shard| &shard.path);
                let (first, second) = (first.clone(), file.path.clone());
                return Err(WeightsError::Twice { name: long_name(name), first, second });
            }
        }
        self.shards.push(file);
        Ok(())
    }

    /// The file of a tensor, and where in it the tensor lies.
    fn find(&self, name: &str) -> Option<(&TensorFile, &TensorInfo)> {
        let place = self.places.get(name)?;
        let file = self.shards.get(place.shard)?;
        Some((file, file.tensors.get(&place.name)?))
    }

    /// The long names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// What all tensors take together, bytes.
    pub fn bytes(&self) -> u64 {
        let found = self.names().filter_map(|name| self.find(name));
        found.map(|(file, info)| file.bytes(info).len() as u64).sum()
    }

    /// A tensor by its long name, in the type in which the file has it.
    ///
    /// # Errors
    /// [`WeightsError`] when it is missing, of another shape or type, or not finite.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<TensorData, WeightsError> {
        let Some((file, info)) = self.find(name) else {
            let shape = shape.to_vec();
            return Err(WeightsError::Missing { name: name.to_owned(), shape });
        };
        if info.shape != shape {
            let (got, needed) = (info.shape.clone(), shape.to_vec());
            return Err(WeightsError::Shape { name: name.to_owned(), got, needed });
        }
        let data = file.read(info, name)?;
        self.taken.insert(name.to_owned());
        Ok(data)
    }

    /// Says whether everything that is there was taken. With `tied`, a head may lie beside the
    /// embedding if it is the same.
    ///
    /// # Errors
    /// [`WeightsError::Extra`] with the tensors left over; [`WeightsError::Untied`].
    pub fn finish(&self, tied: bool) -> Result<(), WeightsError> {
        let same = |(a, of_a): (&TensorFile, &TensorInfo),
                    (b, of_b): (&TensorFile, &TensorInfo)| {
            of_a.shape == of_b.shape && of_a.dtype == of_b.dtype && a.bytes(of_a) == b.bytes(of_b)
        };
        if let (true, Some(head), Some(words)) = (tied, self.find(HEAD), self.find(EMBEDDING))
            && !same(head, words)
        {
            return Err(WeightsError::Untied);
        }
        let left = |name: &&String| !(self.taken.contains(*name) || tied && name.as_str() == HEAD);
        let left: Vec<&String> = self.places.keys().filter(left).collect();
        match left.len() {
            0 => Ok(()),
            count => {
                let names = left.into_iter().take(LISTED).cloned().collect();
                Err(WeightsError::Extra { count, names })
            }
        }
    }
}

/// Which file each tensor is in. Every file must be a plain name: an index from elsewhere
/// must not make this process read other folders.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    let damaged = |why: String| WeightsError::Damaged { path: path.to_owned(), why };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > MAX_INDEX_BYTES {
        return Err(damaged(format!("{bytes} bytes (at most {MAX_INDEX_BYTES})")));
    }
    let text = std::fs::read(path).map_err(failed)?;
    let index: Value = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    let listed = index.get("weight_map").and_then(Value::as_object);
    let listed = listed.ok_or_else(|| damaged("weight_map is missing".to_owned()))?;
    let mut files = BTreeMap::new();
    for (name, file) in listed {
        let file = file.as_str().ok_or_else(|| damaged(format!("no file for tensor {name}")))?;
        let plain = !file.contains(['/', '\\', ':', '\0']) && !file.starts_with('.');
        if !plain || !file.ends_with(".safetensors") {
            return Err(WeightsError::Escape { path: path.to_owned(), file: file.to_owned() });
        }
        files.insert(name.clone(), file.to_owned());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;
    use half::{bf16, f16};
    use safetensors::{Dtype, tensor::TensorView};
    use tempfile::TempDir;

    use super::{super::tensor_file::MAX_HEADER_BYTES, *};

    fn write(path: &Path, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) {
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
        });
        std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn folder() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn qwen_names_of_both_families_become_the_long_ones() {
        for (short, long) in [
            ("visual.blocks.0.norm1.weight", "model.visual.blocks.0.norm1.weight"),
            ("model.visual.merger.ln_q.weight", "model.visual.merger.ln_q.weight"),
            (
                "model.layers.3.mlp.up_proj.weight",
                "model.language_model.layers.3.mlp.up_proj.weight",
            ),
            ("model.language_model.norm.weight", "model.language_model.norm.weight"),
            ("lm_head.weight", "lm_head.weight"),
        ] {
            assert_eq!(long_name(short), long);
            assert_eq!(long_name(long), long);
        }
    }

    #[test]
    fn qwen_shards_of_three_types_are_read_and_what_is_wrong_is_named() {
        let dir = folder();
        let halves = |v: &[f32]| v.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let brains = |v: &[f32]| v.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        let a = [("visual.a", Dtype::F32, &[2][..], f32s(&[1.0, -2.0]))];
        let b = [
            ("model.b", Dtype::F16, &[1, 2][..], halves(&[0.5, 4.0])),
            ("lm_head.weight", Dtype::BF16, &[2, 1][..], brains(&[3.0, f32::INFINITY])),
            ("model.c", Dtype::I64, &[1][..], vec![0; 8]),
        ];
        write(&dir.path().join("one.safetensors"), &a);
        write(&dir.path().join("two.safetensors"), &b);
        let index = r#"{"weight_map": {"visual.a": "one.safetensors", "model.b": "two.safetensors",
            "lm_head.weight": "two.safetensors", "model.c": "two.safetensors"}}"#;
        std::fs::write(dir.path().join(INDEX), index).unwrap();

        let mut checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.bytes(), 8 + 4 + 4 + 8);
        let values = |data: TensorData| data.convert::<f32>().try_into_vec::<f32>().unwrap();
        assert_eq!(values(checkpoint.tensor("model.visual.a", &[2]).unwrap()), [1.0, -2.0]);
        let b = checkpoint.tensor("model.language_model.b", &[1, 2]).unwrap();
        assert_eq!((b.dtype(), values(b)), (DType::F16, vec![0.5, 4.0]));
        let mut says = |name: &str, shape: &[usize], part: &str| {
            let error = checkpoint.tensor(name, shape).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(name), "{error}");
        };
        says("lm_head.weight", &[2, 1], "not finite at place 1");
        says("model.language_model.c", &[1], "I64");
        says("model.language_model.b", &[2, 1], "[1, 2]");
        says("model.language_model.d", &[3], "missing");
        let error = checkpoint.finish(false).unwrap_err().to_string();
        assert!(error.contains("2 tensors") && error.contains("lm_head.weight"), "{error}");
    }

    #[test]
    fn qwen_a_tied_head_may_lie_beside_its_embedding_only_if_it_is_the_same() {
        for (head, fine) in [(&[1.0, 2.0], true), (&[1.0, 2.5], false)] {
            let dir = folder();
            let tensors = [
                ("lm_head.weight", Dtype::F32, &[2, 1][..], f32s(head)),
                ("model.embed_tokens.weight", Dtype::F32, &[2, 1][..], f32s(&[1.0, 2.0])),
            ];
            write(&dir.path().join(SINGLE), &tensors);
            let mut checkpoint = Checkpoint::open(dir.path()).unwrap();
            checkpoint.tensor(EMBEDDING, &[2, 1]).unwrap();
            assert_eq!(checkpoint.finish(true).is_ok(), fine);
            assert!(checkpoint.finish(false).is_err());
        }
    }

    #[test]
    fn qwen_hostile_weight_files_are_refused() {
        let dir = folder();
        let path = dir.path().join(SINGLE);
        write(&path, &[("model.a", Dtype::F32, &[2], f32s(&[1.0, 2.0]))]);
        let good = std::fs::read(&path).unwrap();
        for cut in [0, 1, 7, 8, 9, good.len() / 2, good.len() - 1] {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert!(Checkpoint::open(dir.path()).is_err(), "{cut} of {}", good.len());
        }
        for length in [u64::MAX, 1 << 62, MAX_HEADER_BYTES + 1, good.len() as u64] {
            let mut hostile = good.clone();
            hostile[..8].copy_from_slice(&length.to_le_bytes());
            std::fs::write(&path, hostile).unwrap();
            assert!(matches!(Checkpoint::open(dir.path()), Err(WeightsError::Damaged { .. })));
        }
        for header in [
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,80]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
            r#"{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}"#,
            "[]",
            "\u{1}",
        ] {
            let mut hostile = (header.len() as u64).to_le_bytes().to_vec();
            hostile.extend_from_slice(header.as_bytes());
            hostile.extend_from_slice(&[0; 8]);
            std::fs::write(&path, hostile).unwrap();
            assert!(
                matches!(Checkpoint::open(dir.path()), Err(WeightsError::Damaged { .. })),
                "{header}"
            );
        }
    }

    #[test]
    fn qwen_an_index_cannot_point_outside_its_folder_or_lie() {
        let outside = folder();
        write(
            &outside.path().join("w.safetensors"),
            &[("model.a", Dtype::F32, &[1], f32s(&[1.0]))],
        );
        let dir = outside.path().join("model");
        std::fs::create_dir(&dir).unwrap();
        let absolute = outside.path().join("w.safetensors").display().to_string();
        for file in
            ["../w.safetensors", &absolute, ".w.safetensors", "..\\w.safetensors", "", "w.bin"]
        {
            let index = serde_json::json!({"weight_map": {"model.a": file}}).to_string();
            std::fs::write(dir.join(INDEX), index).unwrap();
            let error = Checkpoint::open(&dir).unwrap_err();
            assert!(matches!(error, WeightsError::Escape { .. }), "{file}: {error}");
        }
        std::fs::copy(&absolute, dir.join("w.safetensors")).unwrap();
        for listed in [
            r#"{"model.b": "w.safetensors"}"#,
            r#"{"model.a": "w.safetensors", "model.b": "w.safetensors"}"#,
            r#"{"model.a": "v.safetensors"}"#,
            r#"{"model.a": 7}"#,
            "[]",
        ] {
            std::fs::write(dir.join(INDEX), format!(r#"{{"weight_map": {listed}}}"#)).unwrap();
            assert!(Checkpoint::open(&dir).is_err(), "{listed}");
        }
        std::fs::remove_file(dir.join(INDEX)).unwrap();
        assert!(matches!(Checkpoint::open(&dir), Err(WeightsError::None(_))));
    }
}
