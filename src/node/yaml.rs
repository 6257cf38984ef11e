//! Parameter values as ROS writes them: YAML in, typed values by node out. The rules are those
//! of `rcl_yaml_param_parser`, which differ from YAML's own: `on`, `Y` and `010` are true, true
//! and 8.

use std::collections::BTreeMap;

use ros2_client::ParameterValue;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle};

/// The largest parameter file or value that is read, bytes.
pub const MAX_YAML_BYTES: u64 = 1 << 20;
/// How deep maps and lists may be nested.
const MAX_DEPTH: usize = 32;
const PARAMETERS: &str = "ros__parameters";

/// Values by parameter name.
pub type Values = BTreeMap<String, ParameterValue>;

/// Values for the nodes whose full name fits a pattern.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    pattern: String,
    values: Values,
}

/// All values of parameter files and `-p`, in the order in which their patterns came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    entries: Vec<Entry>,
}

impl Overrides {
    /// Adds one value for the nodes whose name fits `pattern`; it takes the place of one that is
    /// there for the same pattern.
    pub fn set(&mut self, pattern: &str, name: String, value: ParameterValue) {
        let pattern = format!("/{}", pattern.trim_start_matches('/'));
        let at = match self.entries.iter().position(|entry| entry.pattern == pattern) {
            Some(at) => at,
            None => {
                self.entries.push(Entry { pattern, values: Values::new() });
                self.entries.len() - 1
            }
        };
        self.entries[at].values.insert(name, value);
    }

    /// Adds all values of a parameter file.
    ///
    /// # Errors
    /// What is wrong with it and in which line.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        for document in documents(text)? {
            match document {
                Node { what: What::Map(map), .. } => self.nodes(&map, "")?,
                Node { what: What::Scalar { ref text, .. }, .. } if text.is_empty() => {}
                node => return Err(node.fault("a map of node names was expected")),
            }
        }
        Ok(())
    }

    /// A map whose keys are node names or namespaces.
    fn nodes(&mut self, map: &[(String, Node)], above: &str) -> Result<(), String> {
        for (key, node) in map {
            if key == PARAMETERS {
                if above.is_empty() {
                    return Err(node.fault("ros__parameters must stand below a node's name"));
                }
                match &node.what {
                    What::Map(map) => self.parameters(above, map, "")?,
                    What::List(list) if list.is_empty() => {}
                    _ => return Err(node.fault("ros__parameters must be a map")),
                }
                continue;
            }
            let name = match above {
                "" => key.clone(),
                above => format!("{above}/{}", key.trim_start_matches('/')),
            };
            match &node.what {
                What::Map(map) => self.nodes(map, &name)?,
                _ => {
                    let why = format!("{key} has a value, but ros__parameters is missing above it");
                    return Err(node.fault(&why));
                }
            }
        }
        Ok(())
    }

    fn parameters(
        &mut self,
        node: &str,
        map: &[(String, Node)],
        above: &str,
    ) -> Result<(), String> {
        for (key, value) in map {
            let name = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
            match &value.what {
                What::Map(map) => self.parameters(node, map, &name)?,
                _ => {
                    let typed = value.typed().map_err(|why| format!("{why}, for {name}"))?;
                    self.set(node, name, typed);
                }
            }
        }
        Ok(())
    }

    /// The values for a node of this full name; where several patterns fit, that which came last
    /// wins, as in `rcl`. (So a `-p` loses against the node's own section of a file that also
    /// has a `/**` above it.)
    pub fn for_node(&self, full_name: &str) -> Values {
        let fits = self.entries.iter().filter(|entry| matches(&entry.pattern, full_name));
        fits.flat_map(|entry| entry.values.clone()).collect()
    }

    /// Patterns that fit no node of this name, for a warning: a misspelt name silently gives
    /// defaults.
    pub fn unused<'a>(&'a self, full_name: &'a str) -> impl Iterator<Item = &'a str> {
        let unused = self.entries.iter().filter(|entry| !matches(&entry.pattern, full_name));
        unused.map(|entry| entry.pattern.as_str())
    }
}

/// Whether a node's full name fits a pattern, in which `*` is any one part and `**` any number.
fn matches(pattern: &str, full_name: &str) -> bool {
    let parts = |name: &str| -> Vec<String> {
        name.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let (pattern, name) = (parts(pattern), parts(full_name));
    // Whether the pattern read so far fits the first 0, 1, … parts of the name.
    let mut fits = vec![false; name.len() + 1];
    fits[0] = true;
    for part in &pattern {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            next[at] = match part.as_str() {
                "**" => fits[at] || at > 0 && next[at - 1],
                "*" => at > 0 && fits[at - 1],
                part => at > 0 && fits[at - 1] && name[at - 1] == part,
            };
        }
        fits = next;
    }
    fits[name.len()]
}

/// The value of `-p name:=VALUE`.
///
/// # Errors
/// What is wrong with it.
///
/// ```
/// use ros2_client::ParameterValue::{DoubleArray, String};
/// use spatial_ssrl::node::yaml::value;
/// assert_eq!(value("[0.5, 1.0]")?, DoubleArray(vec![0.5, 1.0]));
/// assert_eq!(value("'7'")?, String("7".to_owned()));
/// assert!(value("[1, 2.0]").unwrap_err().contains("of one type"));
/// # Ok::<(), std::string::String>(())
/// ```
pub fn value(text: &str) -> Result<ParameterValue, String> {
    match documents(text)?.as_slice() {
        [only] => only.typed(),
        _ => Err("one value was expected".to_owned()),
    }
}

enum What {
    Scalar { text: String, quoted: bool },
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

struct Node {
    line: usize,
    what: What,
}

impl Node {
    fn fault(&self, why: &str) -> String {
        format!("line {}: {why}", self.line)
    }

    fn typed(&self) -> Result<ParameterValue, String> {
        match &self.what {
            What::Scalar { text, quoted: true } => Ok(ParameterValue::String(text.clone())),
            What::Scalar { text, quoted: false } if text.is_empty() => {
                Err(self.fault("a value is missing"))
            }
            What::Scalar { text, quoted: false } => Ok(plain(text)),
            What::List(list) => self.list(list),
            What::Map(_) => Err(self.fault("a value or a list was expected, not a map")),
        }
    }

    fn list(&self, list: &[Node]) -> Result<ParameterValue, String> {
        if list.iter().any(|node| matches!(node.what, What::List(_))) {
            return Err(self.fault("a list of lists is not possible"));
        }
        let values: Vec<ParameterValue> = list.iter().map(Node::typed).collect::<Result<_, _>>()?;
        macro_rules! all {
            ($one:ident, $many:ident) => {
                values
                    .iter()
                    .map(|value| match value {
                        ParameterValue::$one(value) => Some(value.clone()),
                        _ => None,
                    })
                    .collect::<Option<Vec<_>>>()
                    .map(ParameterValue::$many)
            };
        }
        let same = match values.first() {
            // Of which type it is, only the declaration knows.
            None => return Ok(ParameterValue::NotSet),
            Some(ParameterValue::Boolean(_)) => all!(Boolean, BooleanArray),
            Some(ParameterValue::Integer(_)) => all!(Integer, IntegerArray),
            Some(ParameterValue::Double(_)) => all!(Double, DoubleArray),
            _ => all!(String, StringArray),
        };
        same.ok_or_else(|| {
            self.fault("all values of a list must be of one type; write 1.0 beside 2.5, not 1")
        })
    }
}

/// What a value without quotes is.
fn plain(text: &str) -> ParameterValue {
    match text {
        "Y" | "y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return ParameterValue::Boolean(true);
        }
        "N" | "n" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return ParameterValue::Boolean(false);
        }
        _ => {}
    }
    integer(text)
        .map(ParameterValue::Integer)
        .or_else(|| float(text).map(ParameterValue::Double))
        .unwrap_or_else(|| ParameterValue::String(text.to_owned()))
}

/// As C's `strtol` with base 0 reads it: `0x` is hexadecimal, `0` octal.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (base, digits) = match (hex, digits) {
        (Some(hex), _) => (16, hex),
        (None, octal) if octal.len() > 1 && octal.starts_with('0') => (8, octal),
        (None, decimal) => (10, decimal),
    };
    // A second sign would be read by `from_str_radix`.
    if !digits.starts_with(|c: char| c.is_digit(base)) {
        return None;
    }
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    i64::from_str_radix(&signed, base).ok()
}

fn float(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        ".nan" => return Some(f64::NAN),
        ".inf" | "+.inf" => return Some(f64::INFINITY),
        "-.inf" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let value: f64 = text.parse().ok()?;
    // What is too large for a double stays text.
    (value.is_finite() || !text.contains(|c: char| c.is_ascii_digit())).then_some(value)
}

/// All documents of a text.
fn documents(text: &str) -> Result<Vec<Node>, String> {
    if text.len() as u64 > MAX_YAML_BYTES {
        return Err(format!("{} bytes are too many, {MAX_YAML_BYTES} are read", text.len()));
    }
    let mut documents = Vec::new();
    // Collections that are not closed yet, and the key that waits for its value in each.
    let mut open: Vec<(Node, Option<String>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| format!("line {}: {}", error.marker().line(), error.info()))?;
        let line = span.start.line();
        let done = match event {
            Event::Scalar(value, style, _, tag) => {
                let quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted)
                    || tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                // What is not there is given as ~ by the parser; only its place is empty.
                let there = span.byte_range().is_none_or(|range| !range.is_empty());
                let text = if there { value.into_owned() } else { String::new() };
                Node { line, what: What::Scalar { text, quoted } }
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() == MAX_DEPTH {
                    return Err(format!("line {line}: more than {MAX_DEPTH} levels"));
                }
                let what = match event {
                    Event::SequenceStart(..) => What::List(Vec::new()),
                    _ => What::Map(Vec::new()),
                };
                open.push((Node { line, what }, None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((node, _)) => node,
                None => continue,
            },
            Event::Alias(_) => {
                return Err(format!("line {line}: ROS has no aliases (*name); write the value"));
            }
            _ => continue,
        };
        match open.last_mut() {
            None => documents.push(done),
            Some((Node { what: What::List(list), .. }, _)) => list.push(done),
            Some((Node { what: What::Map(map), .. }, key)) => match (key.take(), done.what) {
                (Some(key), what) => map.push((key, Node { line: done.line, what })),
                (None, What::Scalar { text, .. }) => *key = Some(text),
                (None, _) => return Err(format!("line {line}: a name was expected before :")),
            },
            Some(_) => {}
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ros_patterns_fit_as_many_parts_as_they_say() {
        for (pattern, fits) in [
            ("/**", [true, true, true]),
            ("/*", [true, false, false]),
            ("/*/n", [false, true, false]),
            ("/**/n", [true, true, true]),
            ("/a/**/n", [false, true, true]),
            ("/a/b/n", [false, false, true]),
            ("n", [true, false, false]),
            ("/a/*", [false, true, false]),
            ("/m", [false, false, false]),
        ] {
            let names = ["/n", "/a/n", "/a/b/n"];
            assert_eq!(names.map(|name| matches(pattern, name)), fits, "{pattern}");
        }
    }

    #[test]
    fn ros_files_that_cannot_be_read_say_where_and_why() {
        let why = |text: &str| Overrides::default().read(text).unwrap_err();
        let missing = "line 2: a has a value, but ros__parameters is missing above it";
        assert_eq!(why("/**:\n  a: 1\n"), missing);
        assert_eq!(
            why("ros__parameters: {a: 1}"),
            "line 1: ros__parameters must stand below a node's name"
        );
        assert_eq!(why("n:\n  ros__parameters: 5\n"), "line 2: ros__parameters must be a map");
        assert_eq!(why("n:\n  ros__parameters: {a: }\n"), "line 2: a value is missing, for a");
        let list = why("n:\n  ros__parameters:\n    a: {b: [1, x]}\n");
        assert!(
            list.starts_with("line 3: all values of a list") && list.ends_with("for a.b"),
            "{list}"
        );
        assert!(why("n:\n  ros__parameters: {a: &x 1, b: *x}").contains("no aliases"));
        assert!(why("[]").contains("a map of node names"));
        assert!(why("n:\n\tx: 1\n").starts_with("line 2: "));
        let deep = format!("n: {}{}", "[".repeat(100), "]".repeat(100));
        assert!(why(&deep).contains("levels"), "{}", why(&deep));
        assert!(why(&" ".repeat(2 << 20)).contains("too many"));
    }

    proptest! {
        #[test]
        fn ros_any_text_is_read_or_refused_without_panic(
            text in "([a-z/*:\\[\\]{},0-9\"'|>&!%@~ \n#-]|ros__parameters:|\n  |: |- |/\\*\\*:\n|é){0,40}"
        ) {
            let mut all = Overrides::default();
            let _ = all.read(&text);
            let _ = all.for_node("/a/b");
            let _ = value(&text);
        }
    }
}
