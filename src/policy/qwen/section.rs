//! A configuration's values, each checked before it is believed.

use std::path::Path;

use serde_json::{Map, Value};

use super::config::{MAX_BYTES, QwenConfigError};

/// One object of a configuration, and how it is called in errors.
pub(super) struct Section<'a> {
    pub name: &'a str,
    pub values: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    pub(super) fn key(&self, key: &str) -> String {
        match self.name {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        }
    }

    pub(super) fn missing(&self, key: &str) -> QwenConfigError {
        QwenConfigError::Missing { key: self.key(key) }
    }

    pub(super) fn section(&self, key: &'a str) -> Option<Section<'a>> {
        Some(Section { name: key, values: self.values.get(key)?.as_object()? })
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.values.get(key)?.as_str()
    }

    /// Refuses a text other than `allowed`; a missing one is fine.
    pub(super) fn only(&self, key: &str, allowed: &[&str]) -> Result<(), QwenConfigError> {
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if value.as_str().is_some_and(|text| allowed.contains(&text)) => Ok(()),
            Some(value) => Err(wrong(&self.key(key), value, allowed.join(" or "))),
        }
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, QwenConfigError> {
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => {
                value.as_bool().ok_or_else(|| wrong(&self.key(key), value, "true or false"))
            }
        }
    }

    pub(super) fn size(
        &self,
        key: &str,
        least: usize,
        most: usize,
    ) -> Result<usize, QwenConfigError> {
        let value = self.values.get(key).ok_or_else(|| self.missing(key))?;
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        let needed = || match least == most {
            true => least.to_string(),
            false => format!("a whole number from {least} to {most}"),
        };
        size.filter(|size| (least..=most).contains(size))
            .ok_or_else(|| wrong(&self.key(key), value, needed()))
    }

    pub(super) fn number(&self, key: &str, least: f64, most: f64) -> Result<f64, QwenConfigError> {
        let value = self.values.get(key).ok_or_else(|| self.missing(key))?;
        value
            .as_f64()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| wrong(&self.key(key), value, format!("a number from {least} to {most}")))
    }

    pub(super) fn token(&self, key: &str, vocabulary: usize) -> Result<u32, QwenConfigError> {
        Ok(self.size(key, 0, vocabulary - 1)? as u32)
    }

    /// One token or a list of them.
    pub(super) fn tokens(&self, key: &str) -> Result<Option<Vec<u32>>, QwenConfigError> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let value = match self.values.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let ids = match value {
            Value::Array(all) => all.iter().map(id).collect(),
            one => id(one).map(|id| vec![id]),
        };
        ids.map(Some).ok_or_else(|| wrong(&self.key(key), value, "a token or a list of tokens"))
    }

    /// Refuses heads that do not divide the width into pieces of a multiple of `unit`.
    pub(super) fn whole_heads(
        &self,
        hidden: usize,
        heads: usize,
        key: &str,
        unit: usize,
    ) -> Result<(), QwenConfigError> {
        match hidden.is_multiple_of(heads) && (hidden / heads).is_multiple_of(unit) {
            true => Ok(()),
            false => {
                let needed = format!("a number that divides {hidden} into multiples of {unit}");
                Err(wrong(&self.key(key), heads, needed))
            }
        }
    }
}

pub(super) fn wrong(
    key: &str,
    value: impl std::fmt::Display,
    needed: impl Into<String>,
) -> QwenConfigError {
    // A hostile value may be long.
    let mut value = value.to_string();
    if let Some((end, _)) = value.char_indices().nth(80) {
        value.truncate(end);
        value.push_str("...");
    }
    QwenConfigError::Wrong { key: key.to_owned(), value, needed: needed.into() }
}

pub(super) fn object(json: &str) -> Result<Map<String, Value>, QwenConfigError> {
    serde_json::from_str(json).map_err(|error| QwenConfigError::Json(error.to_string()))
}

pub(super) fn in_file<T>(
    path: &Path,
    parse: impl Fn(&str) -> Result<T, QwenConfigError>,
) -> Result<T, QwenConfigError> {
    let failed = |source| QwenConfigError::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > MAX_BYTES {
        return Err(QwenConfigError::TooLarge { path: path.to_owned(), bytes });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(&text)
        .map_err(|source| QwenConfigError::File { path: path.to_owned(), source: Box::new(source) })
}
