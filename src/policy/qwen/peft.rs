//! Adapters in the format of PEFT, so that transformers and peft load what is trained here and
//! the other way round: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! The weights file says which layers have matrices; the configuration says how they are
//! scaled. What changes the computation beyond plain LoRA (DoRA, a trained bias, whole modules
//! saved beside it, …) is refused by name rather than ignored.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use regex::Regex;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value, json};

use super::{
    config::Tower,
    linear::{Adapter, LinearShape, MisfitError, PairData},
    tensor_file::TensorFile,
    weights::{WeightsError, long_name},
};
use crate::policy::compact::weights::write_atomically;

/// The configuration's file name.
pub const CONFIG: &str = "adapter_config.json";
/// The weights' file name.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// What stands before a layer's name in the weights file.
const PREFIX: &str = "base_model.model.";
/// The largest configuration that is read, bytes.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// The largest rank that is believed.
const MAX_RANK: u64 = 4096;

/// Why an adapter cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PeftError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration is damaged, or asks for what is not implemented.
    #[error("{}: {why}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The weights file.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tensor that no layer of this model takes.
    #[error("{}: tensor {name} belongs to no layer of this model", path.display())]
    Extra {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// One of the two matrices of a layer is missing.
    #[error("{}: layer {layer} has no {which}", path.display())]
    Half {
        /// The file.
        path: PathBuf,
        /// The layer.
        layer: String,
        /// The one that is missing.
        which: &'static str,
    },
    /// A matrix of the wrong shape.
    #[error("{}: {which} of {layer} has shape {got:?}, but {needed:?} is needed (rank {rank} by {CONFIG})", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The layer.
        layer: String,
        /// Which matrix.
        which: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The shape that is needed.
        needed: [usize; 2],
        /// The rank by the configuration.
        rank: usize,
    },
    /// An adapter that changes nothing.
    #[error("{}: has no matrices", .0.display())]
    Empty(PathBuf),
    /// A matrix that does not fit its layer.
    #[error(transparent)]
    Misfit(#[from] MisfitError),
    /// The device does not give a matrix back, or it cannot be written.
    #[error("the adapter cannot be written: {0}")]
    Write(String),
}

/// How the matrices of an adapter are scaled.
#[derive(Debug)]
struct Scaling {
    rank: usize,
    alpha: f64,
    /// Rank-stabilised: divided by the root of the rank.
    by_root: bool,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

impl Scaling {
    fn rank(&self, layer: &str) -> usize {
        self.ranks.iter().find(|(key, _)| key.is_match(layer)).map_or(self.rank, |(_, r)| *r)
    }

    fn scale(&self, layer: &str) -> f64 {
        let alpha = self.alphas.iter().find(|(key, _)| key.is_match(layer));
        let (alpha, rank) = (alpha.map_or(self.alpha, |(_, a)| *a), self.rank(layer) as f64);
        alpha / if self.by_root { rank.sqrt() } else { rank }
    }

    fn parse(json: &[u8]) -> Result<Self, String> {
        let config: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let kind = config.get("peft_type").and_then(Value::as_str);
        if kind != Some("LORA") {
            return Err(format!("peft_type is {kind:?}: only \"LORA\" is implemented"));
        }
        let empty = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(all) => all.is_empty(),
            Value::Object(all) => all.is_empty(),
            Value::String(text) => text == "none",
            Value::Number(_) | Value::Bool(true) => false,
        };
        // Each of these changes what the matrices mean, or which there are.
        for key in [
            "alora_invocation_tokens",
            "arrow_config",
            "bias",
            "fan_in_fan_out",
            "kasa_config",
            "layer_replication",
            "lora_bias",
            "modules_to_save",
            "monteclora_config",
            "target_parameters",
            "trainable_token_indices",
            "use_bdlora",
            "use_dora",
            "use_qalora",
            "velora_config",
        ] {
            if let Some(value) = config.get(key).filter(|value| !empty(value)) {
                return Err(format!("{key} = {value} is not implemented"));
            }
        }
        let rank = |value: &Value, key: &str| {
            let rank = value.as_u64().filter(|rank| (1..=MAX_RANK).contains(rank));
            rank.map(|rank| rank as usize)
                .ok_or_else(|| format!("{key} = {value}: a rank from 1 to {MAX_RANK} is needed"))
        };
        let alpha = |value: &Value, key: &str| {
            let alpha = value.as_f64().filter(|alpha| alpha.is_finite());
            alpha.ok_or_else(|| format!("{key} = {value}: a number is needed"))
        };
        let given = |key: &str| config.get(key).ok_or_else(|| format!("{key} is missing"));
        Ok(Scaling {
            rank: rank(given("r")?, "r")?,
            alpha: alpha(given("lora_alpha")?, "lora_alpha")?,
            by_root: config.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
            ranks: patterns(config.get("rank_pattern"), rank)?,
            alphas: patterns(config.get("alpha_pattern"), alpha)?,
        })
    }
}

/// The patterns of layer names for which something else holds. As in PEFT, a key matches the
/// end of a name from one of its parts on, or all of it when it begins with `^`.
fn patterns<T>(
    given: Option<&Value>,
    read: impl Fn(&Value, &str) -> Result<T, String>,
) -> Result<Vec<(Regex, T)>, String> {
    let Some(given) = given.and_then(Value::as_object) else { return Ok(Vec::new()) };
    let pattern = |(key, value): (&String, &Value)| {
        let regex = match key.strip_prefix('^') {
            Some(rest) => Regex::new(&format!("^(?:{rest})$")),
            None => Regex::new(&format!(r"^(?:.*\.)?(?:{key})$")),
        };
        let regex = regex.map_err(|error| format!("pattern {key:?}: {error}"))?;
        Ok((regex, read(value, key)?))
    };
    given.iter().map(pattern).collect()
}

/// The checkpoint folder that the adapter in `folder` says it belongs to.
///
/// # Errors
/// [`PeftError`] when the configuration cannot be read.
pub fn base(folder: &Path) -> Result<Option<String>, PeftError> {
    let path = folder.join(CONFIG);
    let config: Value = serde_json::from_slice(&read_config(&path)?)
        .map_err(|error| PeftError::Config { path, why: error.to_string() })?;
    Ok(config.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned))
}

fn read_config(path: &Path) -> Result<Vec<u8>, PeftError> {
    let failed = |source| PeftError::Io { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > MAX_CONFIG_BYTES {
        let why = format!("{bytes} bytes (at most {MAX_CONFIG_BYTES})");
        return Err(PeftError::Config { path: path.to_owned(), why });
    }
    std::fs::read(path).map_err(failed)
}

/// Reads the adapter in `folder` for a model with these layers onto `device`, which should have
/// autodiff when the adapter is to learn on.
///
/// # Errors
/// [`PeftError`] with what is missing, misshapen, left over or not implemented.
pub fn read(folder: &Path, layers: &[LinearShape], device: &Device) -> Result<Adapter, PeftError> {
    let mut pairs = read_pairs(folder, layers)?;
    Ok(Adapter::from_data(layers, |name| pairs.remove(name), device)?)
}

/// The matrices in `folder` by layer.
fn read_pairs(
    folder: &Path,
    layers: &[LinearShape],
) -> Result<BTreeMap<String, PairData>, PeftError> {
    let path = folder.join(CONFIG);
    let wrong = |why: String| PeftError::Config { path: path.clone(), why };
    let scaling = Scaling::parse(&read_config(&path)?).map_err(wrong)?;

    let file = TensorFile::open(folder.join(WEIGHTS))?;
    let path = || file.path.clone();
    let shapes: BTreeMap<&str, &LinearShape> =
        layers.iter().map(|layer| (layer.name.as_str(), layer)).collect();
    let mut found: BTreeMap<&LinearShape, [Option<&str>; 2]> = BTreeMap::new();
    for name in file.tensors.keys() {
        let extra = || PeftError::Extra { path: path(), name: name.clone() };
        let rest = name.strip_prefix(PREFIX).ok_or_else(extra)?;
        // Of an adapted head peft saves the frozen weight as well, which the checkpoint has.
        if let Some(layer) = rest.strip_suffix(".base_layer.weight")
            && shapes.contains_key(long_name(layer).as_str())
        {
            continue;
        }
        let (layer, which) = match rest.strip_suffix(".lora_A.weight") {
            Some(layer) => (layer, 0),
            None => (rest.strip_suffix(".lora_B.weight").ok_or_else(extra)?, 1),
        };
        let layer = shapes.get(long_name(layer).as_str()).copied().ok_or_else(extra)?;
        if let Some(slot) = found.entry(layer).or_default().get_mut(which)
            && slot.replace(name.as_str()).is_some()
        {
            return Err(extra());
        }
    }
    if found.is_empty() {
        return Err(PeftError::Empty(path()));
    }
    let mut pairs = BTreeMap::new();
    for (shape, names) in found {
        let LinearShape { name: layer, inputs, outputs } = shape;
        let rank = scaling.rank(layer);
        let matrix = |which: usize, needed: [usize; 2]| {
            let label = ["lora_A", "lora_B"][which];
            let half = || PeftError::Half { path: path(), layer: layer.clone(), which: label };
            let name = names[which].ok_or_else(half)?;
            let info = file.tensors.get(name).ok_or_else(half)?;
            if info.shape != needed {
                let (layer, got) = (layer.clone(), info.shape.clone());
                return Err(PeftError::Shape {
                    path: path(),
                    layer,
                    which: label,
                    got,
                    needed,
                    rank,
                });
            }
            let data = file.read(info, name)?.convert::<f32>();
            data.try_into_vec::<f32>().map_err(|error| PeftError::Write(error.to_string()))
        };
        let (a, b) = (matrix(0, [rank, *inputs])?, matrix(1, [*outputs, rank])?);
        pairs.insert(layer.clone(), PairData { rank, a, b, scale: scaling.scale(layer) });
    }
    Ok(pairs)
}

/// The two files of an adapter, name and bytes. `base` is what peft is told the model is called.
///
/// # Errors
/// [`PeftError`] when the device does not give the matrices back.
pub fn to_files(
    adapter: &Adapter,
    layers: &[LinearShape],
    base: &str,
) -> Result<[(&'static str, Vec<u8>); 2], PeftError> {
    let mut tensors: BTreeMap<String, ([usize; 2], Vec<u8>)> = BTreeMap::new();
    let mut scales: Vec<(&str, usize, f64)> = Vec::new();
    for (slot, pair) in adapter.pairs() {
        let Some(layer) = layers.get(slot) else { continue };
        let rank = pair.a.val().dims()[0];
        for (which, matrix) in [("A", &pair.a), ("B", &pair.b)] {
            let (tensor, name) = (matrix.val(), &layer.name);
            let shape = tensor.dims();
            let values = tensor.try_into_vec_as::<f32>();
            let values = values.map_err(|error| PeftError::Write(error.to_string()))?;
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            tensors.insert(format!("{PREFIX}{name}.lora_{which}.weight"), (shape, bytes));
        }
        scales.push((&layer.name, rank, pair.scale));
    }
    let tower = match layers.iter().any(|layer| layer.name.ends_with("mlp.fc1")) {
        true => Tower::Qwen2,
        false => Tower::Qwen2_5,
    };
    let Some(config) = config(&scales, base, tower) else {
        return Err(PeftError::Empty(WEIGHTS.into()));
    };
    let failed = |error: String| PeftError::Write(error);
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        TensorView::new(Dtype::F32, shape.to_vec(), bytes).map(|view| (name.as_str(), view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(|e| failed(e.to_string()))?;
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let bytes = safetensors::serialize(views, metadata).map_err(|e| failed(e.to_string()))?;
    let config = serde_json::to_string_pretty(&config).map_err(|e| failed(e.to_string()))? + "\n";
    Ok([(WEIGHTS, bytes), (CONFIG, config.into_bytes())])
}

/// Writes an adapter into `folder`, which is made if it is not there.
///
/// # Errors
/// [`PeftError`] as [`to_files`], or when the folder cannot be written.
pub fn write(
    folder: &Path,
    adapter: &Adapter,
    layers: &[LinearShape],
    base: &str,
) -> Result<(), PeftError> {
    let files = to_files(adapter, layers, base)?;
    let io = |source| PeftError::Io { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(io)?;
    for (name, bytes) in &files {
        write_atomically(&folder.join(name), bytes)
            .map_err(|error| PeftError::Write(error.to_string()))?;
    }
    Ok(())
}

/// The configuration of an adapter with these layers, ranks and scales; none without layers.
fn config(layers: &[(&str, usize, f64)], base: &str, tower: Tower) -> Option<Value> {
    let (_, rank, scale) = *layers.first()?;
    let alpha = |rank: usize, scale: f64| scale * rank as f64;
    let (mut ranks, mut alphas) = (Map::new(), Map::new());
    for &(name, other_rank, other_scale) in layers {
        if other_rank != rank {
            ranks.insert(regex::escape(name), json!(other_rank));
        }
        if alpha(other_rank, other_scale) != alpha(rank, scale) {
            alphas.insert(regex::escape(name), json!(alpha(other_rank, other_scale)));
        }
    }
    let names: Vec<&str> = layers.iter().map(|(name, ..)| *name).collect();
    let alpha = match alpha(rank, scale) {
        whole if whole.fract() == 0.0 && whole.abs() < 1e9 => json!(whole as i64),
        other => json!(other),
    };
    let class = match tower {
        Tower::Qwen2_5 => "Qwen2_5_VLForConditionalGeneration",
        Tower::Qwen2 => "Qwen2VLForConditionalGeneration",
    };
    let name = tower.model_type();
    Some(json!({
        "auto_mapping": {
            "base_model_class": class,
            "parent_library": format!("transformers.models.{name}.modeling_{name}"),
        },
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": alpha,
        "alpha_pattern": alphas,
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": ranks,
        "target_modules": names,
        "task_type": null,
        "use_dora": false,
        "use_rslora": false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Vec<LinearShape> {
        let layer =
            |name: &str, inputs, outputs| LinearShape { name: name.to_owned(), inputs, outputs };
        vec![
            layer("model.visual.blocks.0.attn.qkv", 4, 12),
            layer("model.language_model.layers.0.self_attn.q_proj", 6, 4),
            layer("model.language_model.layers.10.self_attn.q_proj", 6, 4),
            layer("lm_head", 6, 9),
        ]
    }

    fn data(rank: usize, inputs: usize, outputs: usize, scale: f64) -> PairData {
        let values = |n: usize| (0..n).map(|i| i as f32 * 0.25 - 1.0).collect();
        PairData { rank, a: values(rank * inputs), b: values(outputs * rank), scale }
    }

    fn written(dir: &Path) -> BTreeMap<String, PairData> {
        let pairs: BTreeMap<String, PairData> = [
            (layers()[0].name.clone(), data(2, 4, 12, 0.5)),
            (layers()[1].name.clone(), data(3, 6, 4, 2.0)),
            (layers()[3].name.clone(), data(2, 6, 9, 0.5)),
        ]
        .into();
        let mut left = pairs.clone();
        let adapter = Adapter::from_data(&layers(), |name| left.remove(name), &Device::flex());
        write(dir, &adapter.unwrap(), &layers(), "a model").unwrap();
        pairs
    }

    #[test]
    fn qwen_an_adapter_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let pairs = written(dir.path());
        assert_eq!(read_pairs(dir.path(), &layers()).unwrap(), pairs);
        let file = TensorFile::open(dir.path().join(WEIGHTS)).unwrap();
        let name = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight";
        assert_eq!(file.tensors[name].shape, [3, 6]);
        assert_eq!(file.tensors.len(), 6);
    }

    #[test]
    fn qwen_ranks_and_scales_follow_their_patterns() {
        let scaling = |json: Value| Scaling::parse(json.to_string().as_bytes()).unwrap();
        let plain = scaling(json!({
            "peft_type": "LORA", "r": 8, "lora_alpha": 32,
            "rank_pattern": {"layers.1.q_proj": 4, "^model.down": 2},
            "alpha_pattern": {"q_proj": 8},
        }));
        assert_eq!(
            (plain.rank("model.layers.1.q_proj"), plain.scale("model.layers.1.q_proj")),
            (4, 2.0)
        );
        // Not the end of a part's name.
        assert_eq!((plain.rank("model.xlayers.1.q_proj"), plain.scale("model.xq_proj")), (8, 4.0));
        assert_eq!((plain.rank("model.down"), plain.rank("a.model.down")), (2, 8));
        let rooted =
            scaling(json!({"peft_type": "LORA", "r": 16, "lora_alpha": 8, "use_rslora": true}));
        assert_eq!(rooted.scale("lm_head"), 2.0);
    }

    #[test]
    fn qwen_what_is_more_than_lora_is_refused_by_name() {
        for (key, value) in [
            ("peft_type", json!("IA3")),
            ("use_dora", json!(true)),
            ("bias", json!("all")),
            ("modules_to_save", json!(["lm_head"])),
            ("fan_in_fan_out", json!(true)),
            ("r", json!(0)),
            ("r", json!(1 << 20)),
            ("lora_alpha", json!("eight")),
            ("rank_pattern", json!({"(": 3})),
            ("rank_pattern", json!({"q_proj": -3})),
        ] {
            let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8});
            config[key] = value;
            let why = Scaling::parse(config.to_string().as_bytes()).unwrap_err();
            assert!(why.contains(key) || key == "rank_pattern", "{why}");
        }
    }

    #[test]
    fn qwen_matrices_that_do_not_fit_are_named() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        let refused = |layers: &[LinearShape]| read_pairs(dir.path(), layers).unwrap_err();
        let mut other = layers();
        other[0].inputs = 5;
        let error = refused(&other);
        assert!(matches!(error, PeftError::Shape { .. }) && error.to_string().contains("visual"));
        let error = refused(&layers()[1..]).to_string();
        assert!(error.contains("visual") && error.contains("no layer"), "{error}");

        let bytes = std::fs::read(dir.path().join(WEIGHTS)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors = file.tensors();
        let dropped = tensors.iter().position(|(name, _)| name.ends_with("lora_B.weight")).unwrap();
        let (dropped, _) = tensors.remove(dropped);
        let halved = safetensors::serialize(tensors, None).unwrap();
        std::fs::write(dir.path().join(WEIGHTS), halved).unwrap();
        let error = refused(&layers()).to_string();
        assert!(error.contains("lora_B"), "{error} {dropped}");
        std::fs::remove_file(dir.path().join(CONFIG)).unwrap();
        assert!(matches!(refused(&layers()), PeftError::Io { .. }));
    }
}
