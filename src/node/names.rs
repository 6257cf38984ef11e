//! Names of nodes, topics and services: what is valid, how a relative name becomes a full one,
//! and how remap rules change it. As `rcl` has it.

/// The longest full name of a topic or service: DDS allows 255 characters, ROS takes 8.
pub const MAX_NAME: usize = 247;

/// A name that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?}: {why}")]
pub struct NameError {
    /// What it should have named.
    what: &'static str,
    /// The name as given.
    name: String,
    /// What is wrong with it.
    why: String,
}

fn wrong(what: &'static str, name: &str, why: impl Into<String>) -> NameError {
    let shown: String = name.chars().take(MAX_NAME + 9).collect();
    NameError { what, name: shown, why: why.into() }
}

/// What is wrong with one part of a name, if anything.
fn token_fault(token: &str) -> Option<String> {
    let first = token.chars().next()?;
    if first.is_ascii_digit() {
        return Some(format!("a part must not begin with a digit, as {token} does"));
    }
    if token.contains("__") {
        return Some(format!("two underscores in a row, as in {token}, cannot be sent over DDS"));
    }
    let bad = token.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '_'))?;
    Some(format!("{bad:?} is not a letter, digit or underscore"))
}

/// Whether this is one part of a name.
pub(super) fn is_token(token: &str) -> bool {
    !token.is_empty() && token_fault(token).is_none()
}

/// What is wrong with a full name, if anything.
fn full_fault(name: &str) -> Option<String> {
    let Some(rest) = name.strip_prefix('/') else {
        return Some("it must begin with /".to_owned());
    };
    if name.len() > MAX_NAME {
        return Some(format!("{} characters are too many, {MAX_NAME} fit", name.len()));
    }
    if name.ends_with('/') {
        return Some("it must not end with /".to_owned());
    }
    rest.split('/').find_map(|token| {
        if token.is_empty() { Some("two / in a row".to_owned()) } else { token_fault(token) }
    })
}

/// Topics and services may be remapped apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A topic.
    Topic,
    /// A service.
    Service,
}

impl NameKind {
    fn word(self) -> &'static str {
        match self {
            NameKind::Topic => "topic",
            NameKind::Service => "service",
        }
    }
}

/// Name and namespace of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: String,
    namespace: String,
}

impl Identity {
    /// Checks both. The namespace begins with `/`; `/` alone is the root.
    ///
    /// # Errors
    /// [`NameError`] with what is wrong.
    pub fn new(name: &str, namespace: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(wrong("node name", name, "it is empty"));
        }
        if let Some(why) = token_fault(name) {
            return Err(wrong("node name", name, why));
        }
        if namespace != "/"
            && let Some(why) = full_fault(namespace)
        {
            return Err(wrong("namespace", namespace, why));
        }
        Ok(Identity { name: name.to_owned(), namespace: namespace.to_owned() })
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace, `/` or `/robot/left`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `/robot/left/node`.
    pub fn full(&self) -> String {
        self.inside(&self.name)
    }

    /// A relative name in the node's namespace.
    fn inside(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace.trim_end_matches('/'))
    }

    /// The full name that `name` stands for: `/absolute`, `relative` to the namespace, `~` and
    /// `~/private` to the node, with `{node}`, `{ns}` and `{namespace}` filled in.
    ///
    /// ```
    /// use spatial_ssrl::node::names::{Identity, NameKind::Topic};
    /// let node = Identity::new("eye", "/robot")?;
    /// assert_eq!(node.expand("color/image", Topic)?, "/robot/color/image");
    /// assert_eq!(node.expand("~/status", Topic)?, "/robot/eye/status");
    /// assert_eq!(node.expand("/clock", Topic)?, "/clock");
    /// let refused = node.expand("color//image", Topic).unwrap_err();
    /// assert_eq!(refused.to_string(), "topic \"color//image\": two / in a row");
    /// # Ok::<(), spatial_ssrl::node::names::NameError>(())
    /// ```
    ///
    /// # Errors
    /// [`NameError`] with what is wrong.
    pub fn expand(&self, name: &str, kind: NameKind) -> Result<String, NameError> {
        let refuse = |why: String| Err(wrong(kind.word(), name, why));
        if name.is_empty() {
            return refuse("it is empty".to_owned());
        }
        let mut filled = name.to_owned();
        if name.contains('{') {
            let namespace = self.namespace.trim_start_matches('/');
            for (mark, value) in
                [("{node}", self.name.as_str()), ("{ns}", namespace), ("{namespace}", namespace)]
            {
                filled = filled.replace(mark, value);
            }
            if filled.contains('{') {
                return refuse("only {node}, {ns} and {namespace} are filled in".to_owned());
            }
        }
        let full = match filled.strip_prefix('~') {
            Some("") => self.full(),
            Some(rest) if rest.starts_with('/') => format!("{}{rest}", self.full()),
            Some(_) => return refuse("~ must be followed by /".to_owned()),
            None if filled.starts_with('/') => filled,
            None => self.inside(&filled),
        };
        if full.contains('~') {
            return refuse("~ may only stand at the beginning".to_owned());
        }
        match full_fault(&full) {
            Some(why) => refuse(why),
            None => Ok(full),
        }
    }
}

/// What a rule changes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Node,
    Namespace,
    /// Of one kind, or of both.
    Name(Option<NameKind>, String),
}

/// One `-r` rule, `[node:]match:=replacement`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remap {
    only_node: Option<String>,
    subject: Subject,
    replacement: String,
}

impl Remap {
    /// Reads a rule.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(rule: &str) -> Result<Self, String> {
        let Some((left, right)) = rule.split_once(":=") else {
            return Err("it has no := between the old and the new name".to_owned());
        };
        if right.contains(":=") {
            return Err("it has more than one :=".to_owned());
        }
        let (only_node, left) = match left.split_once(':') {
            Some((node, rest)) if !rest.starts_with("//") => {
                if !is_token(node) {
                    return Err(format!("{node:?} before : is not a node's name"));
                }
                (Some(node.to_owned()), rest)
            }
            _ => (None, left),
        };
        let subject = match left {
            "__node" | "__name" => {
                if !is_token(right) {
                    return Err(format!("{right:?} is not a node's name"));
                }
                Subject::Node
            }
            "__ns" => {
                if right != "/"
                    && let Some(why) = full_fault(right)
                {
                    return Err(format!("namespace {right:?}: {why}"));
                }
                Subject::Namespace
            }
            _ => {
                let (kind, name) = match left.split_once("://") {
                    Some(("rostopic", name)) => (Some(NameKind::Topic), name),
                    Some(("rosservice", name)) => (Some(NameKind::Service), name),
                    Some((scheme, _)) => {
                        return Err(format!("{scheme}:// is not rostopic:// or rosservice://"));
                    }
                    None => (None, left),
                };
                // Any node will do to see whether it can be expanded.
                let any = Identity { name: "node".to_owned(), namespace: "/".to_owned() };
                for name in [name, right] {
                    if name.contains('*') {
                        return Err("wildcards are not possible in a remap rule".to_owned());
                    }
                    if name.contains('{') {
                        return Err("{} is not possible in a remap rule".to_owned());
                    }
                    any.expand(name, kind.unwrap_or(NameKind::Topic)).map_err(|e| e.to_string())?;
                }
                Subject::Name(kind, name.to_owned())
            }
        };
        Ok(Remap { only_node, subject, replacement: right.to_owned() })
    }

    fn is_for(&self, node: &str) -> bool {
        self.only_node.as_deref().is_none_or(|only| only == node)
    }
}

/// All rules, in the order of the command line: the first that fits is used, once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaps(pub Vec<Remap>);

impl Remaps {
    /// What the node is called after the rules; `name` and `namespace` are what it is called
    /// without any. Rules for one node alone mean its old name where they change the name, and
    /// its new one elsewhere.
    ///
    /// # Errors
    /// [`NameError`] when the names given cannot be used.
    pub fn identity(&self, name: &str, namespace: &str) -> Result<Identity, NameError> {
        let first = |subject: Subject, node: &str| {
            let fits = |rule: &&Remap| rule.subject == subject && rule.is_for(node);
            self.0.iter().find(fits).map(|rule| rule.replacement.as_str())
        };
        let name = first(Subject::Node, name).unwrap_or(name);
        Identity::new(name, first(Subject::Namespace, name).unwrap_or(namespace))
    }

    /// The full name under which a node opens a topic or service.
    ///
    /// # Errors
    /// [`NameError`] when the name cannot be used.
    pub fn resolve(
        &self,
        node: &Identity,
        name: &str,
        kind: NameKind,
    ) -> Result<String, NameError> {
        let full = node.expand(name, kind)?;
        for rule in self.0.iter().filter(|rule| rule.is_for(node.name())) {
            if let Subject::Name(only, old) = &rule.subject
                && only.is_none_or(|only| only == kind)
                && node.expand(old, kind)? == full
            {
                return node.expand(&rule.replacement, kind);
            }
        }
        Ok(full)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ros_names_that_cannot_be_used_say_why() {
        let node = Identity::new("eye", "/robot").unwrap();
        let why = |name: &str| node.expand(name, NameKind::Topic).unwrap_err().to_string();
        assert_eq!(why(""), "topic \"\": it is empty");
        assert_eq!(why("/"), "topic \"/\": it must not end with /");
        assert_eq!(why("a/9b"), "topic \"a/9b\": a part must not begin with a digit, as 9b does");
        assert_eq!(why("a-b"), "topic \"a-b\": '-' is not a letter, digit or underscore");
        assert_eq!(why("a/~/b"), "topic \"a/~/b\": ~ may only stand at the beginning");
        assert_eq!(why("~b"), "topic \"~b\": ~ must be followed by /");
        assert!(why("{me}/b").ends_with("only {node}, {ns} and {namespace} are filled in"));
        assert!(why(&"a".repeat(300)).ends_with("307 characters are too many, 247 fit"));
        let why = |name, space| Identity::new(name, space).unwrap_err().to_string();
        assert_eq!(why("", "/"), "node name \"\": it is empty");
        assert_eq!(why("a/b", "/"), "node name \"a/b\": '/' is not a letter, digit or underscore");
        assert_eq!(why("a", "b"), "namespace \"b\": it must begin with /");
        assert_eq!(why("a", "/b/"), "namespace \"/b/\": it must not end with /");
    }

    #[test]
    fn ros_remap_rules_that_cannot_be_read_say_why() {
        for (rule, why) in [
            ("a=b", "it has no := between the old and the new name"),
            ("a:=b:=c", "it has more than one :="),
            ("a:=", "topic \"\": it is empty"),
            (":=b", "topic \"\": it is empty"),
            ("__node:=a/b", "\"a/b\" is not a node's name"),
            ("__ns:=q", "namespace \"q\": it must begin with /"),
            ("9:a:=b", "\"9\" before : is not a node's name"),
            ("http://a:=b", "http:// is not rostopic:// or rosservice://"),
            ("a/*:=b", "wildcards are not possible in a remap rule"),
            ("a:=b c", "topic \"b c\": ' ' is not a letter, digit or underscore"),
        ] {
            assert_eq!(Remap::parse(rule).unwrap_err(), why, "{rule}");
        }
    }

    proptest! {
        #[test]
        fn ros_any_rule_and_any_name_is_read_or_refused_without_panic(
            rule in "([a-z_~/:=*{}9 é]|:=|__ns|__node|rostopic://){0,12}",
            name in "([a-z_~/{}9é]|\\{ns\\}){0,8}",
        ) {
            let node = Identity::new("n", "/ns").unwrap();
            let rules = Remaps(Remap::parse(&rule).into_iter().collect());
            for kind in [NameKind::Topic, NameKind::Service] {
                if let Ok(full) = rules.resolve(&node, &name, kind) {
                    prop_assert_eq!(full_fault(&full), None);
                }
            }
            let _ = rules.identity(&name, "/x");
        }
    }
}
