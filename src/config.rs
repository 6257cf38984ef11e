//! Settings from TOML files that say what is wrong with them: an unknown key is refused with
//! the nearest valid one, a wrong type with what was expected and where.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

/// The largest settings file that is read, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Names closer than this to an unknown key are suggested; 1 is the same name.
const NEAR_ENOUGH: f64 = 0.6;

/// What is wrong with a settings file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is too large to be a settings file.
    #[error("{path} is larger than {MAX_CONFIG_BYTES} bytes: this is no settings file")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not TOML.
    #[error("{path}:{line}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// A key that does not exist.
    #[error("{path}:{line}: {key} is not a key here; {hint}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key with the tables that it stands in, `learn.goup_size`.
        key: String,
        /// `did you mean learn.group_size?`, or which keys there are.
        hint: String,
    },
    /// A value of the wrong type or out of its range.
    #[error("{path}:{line}: {key}: {message}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key with the tables that it stands in.
        key: String,
        /// What was found and what was expected.
        message: String,
    },
}

/// Settings that may hold keys which their default lacks.
///
/// The valid keys are read off the default value. A key whose default is "none" does not
/// show there: list it, with the tables that it stands in (`policy.encoder`). A table whose
/// keys are the user's own is listed with a star (`sensor.*`).
pub trait OptionalKeys {
    /// Keys that the default value lacks.
    const OPTIONAL_KEYS: &'static [&'static str] = &[];
}

/// Settings from TOML text; what is not given keeps its default. `path` is for messages.
///
/// `T` should carry `#[serde(default, deny_unknown_fields)]`.
///
/// # Errors
/// [`ConfigError`] with the line, and for an unknown key the nearest valid one.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use spatial_ssrl::{config::{OptionalKeys, load_toml}, grpo::GrpoConfig};
/// #[derive(Default, Serialize, Deserialize)]
/// #[serde(default, deny_unknown_fields)]
/// struct Settings {
///     learn: GrpoConfig,
/// }
/// impl OptionalKeys for Settings {}
/// let settings: Settings = load_toml("[learn]\ngroup_size = 8", "my.toml".as_ref())?;
/// assert_eq!(settings.learn.group_size, 8);
/// let error = load_toml::<Settings>("[learn]\ngoup_size = 8", "my.toml".as_ref()).err().unwrap();
/// assert_eq!(
///     error.to_string(),
///     "my.toml:2: learn.goup_size is not a key here; did you mean learn.group_size?"
/// );
/// # Ok::<(), spatial_ssrl::config::ConfigError>(())
/// ```
pub fn load_toml<T>(text: &str, path: &Path) -> Result<T, ConfigError>
where
    T: DeserializeOwned + Serialize + Default + OptionalKeys,
{
    let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.into(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let valid = ValidKeys::of::<T>();
    valid.check(document.get_ref(), "").map_err(|(key, offset)| {
        let hint = valid.hint(&key);
        ConfigError::UnknownKey { path: path.into(), line: line_of(text, offset), key, hint }
    })?;
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        ConfigError::Value {
            path: path.into(),
            line: line_of(text, offset),
            key: key_at(document.get_ref(), offset).unwrap_or_else(|| "the file".to_owned()),
            message: error.message().to_owned(),
        }
    })
}

/// As [`load_toml`], from a file.
///
/// # Errors
/// [`ConfigError`], also when the file cannot be read or is too large.
pub fn read_toml<T>(path: &Path) -> Result<T, ConfigError>
where
    T: DeserializeOwned + Serialize + Default + OptionalKeys,
{
    let io = |source| ConfigError::Io { path: path.into(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(io)?;
    let read = file.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text).map_err(io)?;
    if read as u64 > MAX_CONFIG_BYTES {
        return Err(ConfigError::TooLarge { path: path.into() });
    }
    load_toml(&text, path)
}

/// All keys that a kind of settings has, as dotted paths; tables too.
struct ValidKeys {
    keys: Vec<String>,
}

impl ValidKeys {
    fn of<T: Serialize + Default + OptionalKeys>() -> Self {
        let mut keys: Vec<String> = T::OPTIONAL_KEYS.iter().map(|key| (*key).to_owned()).collect();
        // A default that TOML cannot hold shows in the first test that loads it: every key
        // is then unknown.
        if let Ok(default) = Table::try_from(T::default()) {
            collect(&default, "", &mut keys);
        }
        ValidKeys { keys }
    }

    /// Whether `key` or a table above it, listed with a star, is valid.
    fn holds(&self, key: &str) -> bool {
        self.keys.iter().any(|valid| match valid.strip_suffix(".*") {
            Some(table) => {
                key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
            None => valid == key || valid.strip_prefix(key).is_some_and(|r| r.starts_with('.')),
        })
    }

    /// The first key of `table` that is not valid, with its place in the text.
    fn check(&self, table: &DeTable<'_>, parent: &str) -> Result<(), (String, usize)> {
        for (name, value) in table {
            let key = dotted(parent, name.get_ref());
            if !self.holds(&key) {
                return Err((key, name.span().start));
            }
            // What is not a table in the default has no keys to look up: an inline table
            // given for a plain value is a wrong type.
            if let DeValue::Table(inner) = value.get_ref()
                && self
                    .keys
                    .iter()
                    .any(|valid| valid.strip_prefix(&key).is_some_and(|rest| rest.starts_with('.')))
            {
                self.check(inner, &key)?;
            }
        }
        Ok(())
    }

    /// What to say about an unknown key: the nearest valid key of the same table, else the
    /// nearest of the whole file, else all keys of the table.
    fn hint(&self, unknown: &str) -> String {
        let (table, name) = unknown.rsplit_once('.').unwrap_or(("", unknown));
        let likeness = |key: &str| {
            let (of, its_name) = key.rsplit_once('.').unwrap_or(("", key));
            let likeness = strsim::normalized_damerau_levenshtein(name, its_name);
            // A key of the same table wins over one as near in another table.
            likeness + if of == table { 0.1 } else { 0.0 }
        };
        let plain = || self.keys.iter().filter(|key| !key.ends_with(".*"));
        let nearest = plain().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        match nearest {
            Some(key) if likeness(key) >= NEAR_ENOUGH => format!("did you mean {key}?"),
            _ => {
                let mut here: Vec<&str> = plain()
                    .filter_map(|key| match table {
                        "" => Some(key.as_str()),
                        table => key.strip_prefix(table)?.strip_prefix('.'),
                    })
                    .filter(|rest| !rest.contains('.'))
                    .collect();
                here.sort_unstable();
                format!("the keys here are {}", here.join(", "))
            }
        }
    }
}

fn collect(table: &Table, parent: &str, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = dotted(parent, name);
        if let Value::Table(inner) = value {
            collect(inner, &key, keys);
        }
        keys.push(key);
    }
}

fn dotted(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// The dotted path of the innermost key whose value holds the byte at `offset`.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    for (name, value) in table {
        let inside = value.span().contains(&offset) || name.span().contains(&offset);
        let inner = match value.get_ref() {
            // The span of a `[table]` is its header alone: look below in any case.
            DeValue::Table(inner) => key_at(inner, offset),
            _ => None,
        };
        if let Some(inner) = inner {
            return Some(dotted(name.get_ref(), &inner));
        }
        if inside {
            return Some(name.get_ref().to_string());
        }
    }
    None
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::grpo::GrpoConfig;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        seed: u32,
        learn: GrpoConfig,
        policy: Policy,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Policy {
        hidden: Vec<usize>,
        encoder: Option<PathBuf>,
        names: std::collections::BTreeMap<String, f64>,
    }

    impl OptionalKeys for Settings {
        const OPTIONAL_KEYS: &'static [&'static str] = &["policy.encoder", "policy.names.*"];
    }

    fn load(text: &str) -> Result<Settings, ConfigError> {
        load_toml(text, "a.toml".as_ref())
    }

    fn message(text: &str) -> String {
        load(text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_default_and_the_default_is_a_valid_file() {
        assert_eq!(load("").unwrap(), Settings::default());
        let text = toml::to_string(&Settings::default()).unwrap();
        assert_eq!(load(&text).unwrap(), Settings::default());
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_valid_one() {
        assert_eq!(
            message("seed = 1\n[learn]\ngoup_size = 5"),
            "a.toml:3: learn.goup_size is not a key here; did you mean learn.group_size?"
        );
        assert_eq!(
            message("[polcy]\nhidden = []"),
            "a.toml:1: polcy is not a key here; did you mean policy?"
        );
        assert_eq!(
            message("policy = { encodr = 'x' }"),
            "a.toml:1: policy.encodr is not a key here; did you mean policy.encoder?"
        );
    }

    #[test]
    fn a_key_in_the_wrong_table_is_shown_its_table() {
        assert_eq!(
            message("group_size = 5"),
            "a.toml:1: group_size is not a key here; did you mean learn.group_size?"
        );
    }

    #[test]
    fn a_key_like_no_other_is_shown_what_there_is() {
        assert_eq!(
            message("xyzzy = 5"),
            "a.toml:1: xyzzy is not a key here; the keys here are learn, policy, seed"
        );
        let below = message("[policy]\nxyzzy = 5");
        assert!(below.ends_with("the keys here are encoder, hidden, names"), "{below}");
    }

    #[test]
    fn keys_without_a_default_and_keys_of_the_users_own_are_valid() {
        let read = load("[policy]\nencoder = 'x.onnx'\n[policy.names]\nanything = 0.5").unwrap();
        assert_eq!(read.policy.encoder, Some(PathBuf::from("x.onnx")));
        assert_eq!(read.policy.names["anything"], 0.5);
    }

    #[test]
    fn a_wrong_type_says_what_was_expected_and_where() {
        let text = message("[learn]\nkl_coef = 0.1\ngroup_size = \"five\"");
        assert!(text.starts_with("a.toml:3: learn.group_size: invalid type: string"), "{text}");
        assert!(text.contains("expected usize"), "{text}");
        let text = message("\n\nseed = -1");
        assert!(text.starts_with("a.toml:3: seed: invalid value"), "{text}");
        let text = message("[learn]\naverage = 'sequense'");
        assert!(text.starts_with("a.toml:2: learn.average: "), "{text}");
        assert!(text.contains("`token`, `sequence`, `dr_grpo`"), "{text}");
        let text = message("learn = 3");
        assert!(text.starts_with("a.toml:1: learn: invalid type: integer"), "{text}");
        let text = message("seed = { a = 1 }");
        assert!(text.starts_with("a.toml:1: seed: invalid type: map"), "{text}");
        let text = message("[policy]\nhidden = [1,\n2, 'x']");
        assert!(text.starts_with("a.toml:3: policy.hidden: invalid type: string"), "{text}");
    }

    #[test]
    fn what_is_not_toml_says_where() {
        let text = message("seed = 1\nlearn = [");
        assert!(text.starts_with("a.toml:2: "), "{text}");
        assert!(message("seed = 1\nseed = 2").starts_with("a.toml:2: duplicate key"));
    }

    #[test]
    fn a_file_is_read_with_a_bound_on_its_size() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("big.toml");
        assert!(matches!(read_toml::<Settings>(&path), Err(ConfigError::Io { .. })));
        std::fs::write(&path, "#".repeat(MAX_CONFIG_BYTES as usize + 1)).unwrap();
        assert!(matches!(read_toml::<Settings>(&path), Err(ConfigError::TooLarge { .. })));
        std::fs::write(&path, "seed = 7").unwrap();
        assert_eq!(read_toml::<Settings>(&path).unwrap().seed, 7);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(
            text in "([a-z_.\"'\\[\\]{}=0-9, \n#]|learn|policy|seed|group_size|é){0,40}"
        ) {
            let _ = load(&text);
        }
    }
}
