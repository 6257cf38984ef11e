//! The node's parameters: what was given is checked against what is [declared](super::declared),
//! with reasons, at start and when somebody changes one.

use std::collections::{BTreeMap, BTreeSet};

use ros2_client::{
    ParameterValue,
    parameters::{NumericRange, ParameterDescriptor},
};

use super::{
    declared::{Change, DECLARED, Declared, Kind},
    lifecycle::Stage,
    yaml::Values,
};

/// The longest text that a parameter may be.
const MAX_TEXT: usize = 4096;
/// The most texts in a list.
const MAX_TEXTS: usize = 16;

/// A parameter that cannot be set.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// There is no such parameter.
    #[error("{name} is not a parameter of this node{hint}")]
    Unknown {
        /// As given.
        name: String,
        /// The nearest one there is.
        hint: String,
    },
    /// A value of another type or out of its range.
    #[error("{name} = {given}: expected {expected}")]
    Value {
        /// Which parameter.
        name: String,
        /// What was given.
        given: String,
        /// What it must be.
        expected: String,
    },
    /// It cannot be changed now.
    #[error("{name} cannot be changed while the node is {}; it {}", .stage.label(), .change.words())]
    NotNow {
        /// Which parameter.
        name: String,
        /// Where the node is.
        stage: Stage,
        /// When it can be changed.
        change: Change,
    },
    /// It does not fit another parameter, or a file that it names.
    #[error("{name}: {why}")]
    Unfit {
        /// Which parameter.
        name: String,
        /// What does not fit.
        why: String,
    },
}

/// The declared parameter of that name.
pub fn declared(name: &str) -> Option<&'static Declared> {
    DECLARED.iter().find(|declared| declared.name == name)
}

fn unknown(name: &str) -> ParameterError {
    let likeness = |of: &&Declared| strsim::normalized_damerau_levenshtein(of.name, name);
    let nearest = DECLARED.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = match nearest {
        Some(nearest) if likeness(&nearest) >= 0.6 => format!("; did you mean {}?", nearest.name),
        _ => String::new(),
    };
    ParameterError::Unknown { name: name.chars().take(80).collect(), hint }
}

/// A value in a few words.
fn shown(value: &ParameterValue) -> String {
    let text = match value {
        ParameterValue::NotSet => "nothing".to_owned(),
        ParameterValue::Boolean(value) => value.to_string(),
        ParameterValue::Integer(value) => value.to_string(),
        ParameterValue::Double(value) => format!("{value:?}"),
        ParameterValue::String(value) => format!("{value:?}"),
        ParameterValue::ByteArray(_) => "bytes".to_owned(),
        ParameterValue::BooleanArray(value) => format!("{value:?}"),
        ParameterValue::IntegerArray(value) => format!("{value:?}"),
        ParameterValue::DoubleArray(value) => format!("{value:?}"),
        ParameterValue::StringArray(value) => format!("{value:?}"),
    };
    match text.char_indices().nth(120) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// The value as the parameter has it: whole numbers become numbers where those are expected, and
/// an empty list is one of the right type.
fn fitted(of: &Declared, value: &ParameterValue) -> Result<ParameterValue, ParameterError> {
    use ParameterValue as V;
    let wrong = || ParameterError::Value {
        name: of.name.to_owned(),
        given: shown(value),
        expected: of.kind.words(),
    };
    let in_range = |value: f64, [least, most]: [f64; 2]| (least..=most).contains(&value);
    let texts =
        |all: &[String]| all.len() <= MAX_TEXTS && all.iter().all(|text| text.len() <= MAX_TEXT);
    let fits = match (&of.kind, value) {
        (Kind::Bool(_), V::Boolean(_)) => true,
        (Kind::Int(_, [least, most]), V::Integer(value)) => (least..=most).contains(&value),
        (Kind::Float(_, range), V::Double(value)) => in_range(*value, *range),
        (Kind::Float(_, range), V::Integer(value)) if in_range(*value as f64, *range) => {
            return Ok(V::Double(*value as f64));
        }
        (Kind::Text(_), V::String(value)) => value.len() <= MAX_TEXT && !value.contains('\0'),
        (Kind::Choice(_, all), V::String(value)) => all.contains(&value.as_str()),
        (Kind::Texts(_), V::StringArray(values)) => !values.is_empty() && texts(values),
        (Kind::Choices(all), V::StringArray(values)) => {
            let known = values.iter().all(|value| all.contains(&value.as_str()));
            let different: BTreeSet<_> = values.iter().collect();
            !values.is_empty() && known && different.len() == values.len()
        }
        (Kind::FourFloats, V::NotSet) => return Ok(V::DoubleArray(Vec::new())),
        (Kind::FourFloats, V::DoubleArray(values)) => {
            let finite = values.iter().all(|value| value.is_finite());
            values.is_empty() || values.len() == 4 && finite && values[0] > 0.0 && values[1] > 0.0
        }
        (Kind::FourFloats, V::IntegerArray(values)) => {
            let values = values.iter().map(|&value| value as f64).collect();
            return fitted(of, &V::DoubleArray(values));
        }
        _ => false,
    };
    if fits { Ok(value.clone()) } else { Err(wrong()) }
}

/// The values of all parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    values: Values,
    given: BTreeSet<String>,
}

impl Default for Parameters {
    fn default() -> Self {
        let values = DECLARED.iter().map(|of| (of.name.to_owned(), of.kind.default_value()));
        Parameters { values: values.collect(), given: BTreeSet::new() }
    }
}

impl Parameters {
    /// Defaults, and what was given on the command line and in files over them. Names that are
    /// not declared are returned for a warning: parameter files are often shared by nodes.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use ros2_client::ParameterValue::Double;
    /// use spatial_ssrl::node::params::Parameters;
    /// let given = BTreeMap::from([("duty_cycle".to_owned(), Double(1.5))]);
    /// let refused = Parameters::new(given).unwrap_err();
    /// assert_eq!(refused[0].to_string(), "duty_cycle = 1.5: expected a number from 0.01 to 1.0");
    /// ```
    ///
    /// # Errors
    /// Every value that cannot be used, with what was expected.
    pub fn new(given: Values) -> Result<(Self, Vec<ParameterError>), Vec<ParameterError>> {
        let mut all = Parameters::default();
        let (mut wrong, mut ignored) = (Vec::new(), Vec::new());
        for (name, value) in given {
            let Some(of) = declared(&name) else {
                // QoS overrides are for nodes that publish what they receive; frames are always
                // received best effort.
                ignored.push(unknown(&name));
                continue;
            };
            match fitted(of, &value) {
                Ok(value) => {
                    all.values.insert(name.clone(), value);
                    all.given.insert(name);
                }
                Err(error) => wrong.push(error),
            }
        }
        wrong.extend(all.misfit());
        if wrong.is_empty() { Ok((all, ignored)) } else { Err(wrong) }
    }

    /// Whether a parameter may be set to this value now; for the validator of `ros2_client`.
    ///
    /// # Errors
    /// Why not.
    pub fn check(
        &self,
        name: &str,
        value: &ParameterValue,
        stage: Stage,
    ) -> Result<(), ParameterError> {
        self.clone().set(name, value, stage)
    }

    /// Sets a parameter, as somebody asks for while the node runs.
    ///
    /// # Errors
    /// Why that cannot be; then nothing has changed.
    pub fn set(
        &mut self,
        name: &str,
        value: &ParameterValue,
        stage: Stage,
    ) -> Result<(), ParameterError> {
        let of = declared(name).ok_or_else(|| unknown(name))?;
        let value = fitted(of, value)?;
        if self.values.get(name) == Some(&value) {
            return Ok(());
        }
        if !of.change.allowed(stage) {
            return Err(ParameterError::NotNow { name: name.to_owned(), stage, change: of.change });
        }
        let before = self.values.insert(name.to_owned(), value);
        if let Some(why) = self.misfit() {
            self.values.extend(before.map(|before| (name.to_owned(), before)));
            return Err(why);
        }
        self.given.insert(name.to_owned());
        Ok(())
    }

    /// What does not fit together, if anything.
    fn misfit(&self) -> Option<ParameterError> {
        let (hot, cool) = (self.float("max_temperature_c"), self.float("resume_below_c"));
        let unfit =
            |name: &str, why: String| Some(ParameterError::Unfit { name: name.to_owned(), why });
        if cool > 0.0 && cool >= hot {
            let why = format!("{cool} is not below max_temperature_c = {hot}");
            return unfit("resume_below_c", why);
        }
        let (all, file) = (self.int("record_max_mb"), self.int("record_file_mb"));
        if 2 * file > all {
            let why = format!("{file} is more than half of record_max_mb = {all}");
            return unfit("record_file_mb", why);
        }
        let cameras = self.texts("cameras");
        let different: BTreeSet<_> = cameras.iter().collect();
        if different.len() < cameras.len() {
            return unfit("cameras", format!("{cameras:?} names one camera twice"));
        }
        None
    }

    /// Whether it was given by somebody: else it has its default.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains(name)
    }

    /// All of them, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ParameterValue)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A parameter that is declared as yes or no.
    pub fn bool(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(ParameterValue::Boolean(true)))
    }

    /// A parameter that is declared as a whole number.
    pub fn int(&self, name: &str) -> i64 {
        match self.values.get(name) {
            Some(ParameterValue::Integer(value)) => *value,
            _ => 0,
        }
    }

    /// A parameter that is declared as a number.
    pub fn float(&self, name: &str) -> f64 {
        match self.values.get(name) {
            Some(ParameterValue::Double(value)) => *value,
            _ => 0.0,
        }
    }

    /// A parameter that is declared as a text.
    pub fn text(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(ParameterValue::String(value)) => value,
            _ => "",
        }
    }

    /// A parameter that is declared as texts.
    pub fn texts(&self, name: &str) -> &[String] {
        match self.values.get(name) {
            Some(ParameterValue::StringArray(values)) => values,
            _ => &[],
        }
    }

    /// A parameter that is declared as no number or four.
    pub fn four(&self, name: &str) -> Option<[f64; 4]> {
        match self.values.get(name) {
            Some(ParameterValue::DoubleArray(values)) => values.as_slice().try_into().ok(),
            _ => None,
        }
    }

    /// What `describe_parameters` answers, by name.
    pub fn descriptors() -> BTreeMap<&'static str, ParameterDescriptor> {
        let describe = |of: &'static Declared| {
            let range = match of.kind {
                Kind::Int(_, [from_value, to_value]) => {
                    NumericRange::IntegerRange { from_value, to_value, step: 1 }
                }
                Kind::Float(_, [from_value, to_value]) => {
                    NumericRange::FloatingPointRange { from_value, to_value, step: 0.0 }
                }
                _ => NumericRange::NotSpecified,
            };
            let descriptor = ParameterDescriptor {
                name: of.name.to_owned(),
                param_type: of.kind.default_value().to_parameter_type(),
                description: of.description.to_owned(),
                additional_constraints: format!("{}; {}", of.kind.words(), of.change.words()),
                read_only: of.change == Change::AtStart,
                dynamic_typing: false,
                range,
            };
            (of.name, descriptor)
        };
        DECLARED.iter().map(describe).collect()
    }
}

#[cfg(test)]
mod tests {
    use ros2_client::ParameterValue as V;

    use super::*;

    fn given(values: &[(&str, V)]) -> Result<(Parameters, Vec<ParameterError>), String> {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Parameters::new(values.collect())
            .map_err(|all| all.iter().map(|e| e.to_string()).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn ros_parameters_default_to_what_is_declared_and_every_default_is_valid() {
        let (all, ignored) = given(&[]).unwrap();
        assert!(ignored.is_empty());
        let mut names = BTreeSet::new();
        for of in &DECLARED {
            assert!(names.insert(of.name), "{} twice", of.name);
            assert_eq!(fitted(of, &of.kind.default_value()), Ok(of.kind.default_value()));
            assert!(of.description.ends_with('.'), "{}", of.name);
        }
        assert_eq!(all.iter().count(), DECLARED.len());
        assert_eq!(Parameters::descriptors().len(), DECLARED.len());
        assert!(!all.bool("autostart"), "learning is off until activated");
        assert_eq!(all.text("record_when"), "never");
    }

    #[test]
    fn ros_parameters_that_cannot_be_used_say_what_was_expected() {
        let text = |text: &str| V::String(text.to_owned());
        let why = |name, value| given(&[(name, value)]).unwrap_err();
        assert_eq!(
            why("transport", text("zip")),
            "transport = \"zip\": expected one of raw, compressed, auto"
        );
        assert_eq!(why("autostart", text("yes")), "autostart = \"yes\": expected true or false");
        assert_eq!(
            why("niceness", V::Integer(20)),
            "niceness = 20: expected a whole number from 0 to 19"
        );
        assert!(why("tolerance_ms", V::Double(f64::NAN)).contains("from 0.0 to 1000.0"));
        assert!(why("intrinsics", V::DoubleArray(vec![1.0; 3])).contains("fx, fy, cx, cy"));
        assert!(why("task_kinds", V::StringArray(vec!["deep".into()])).contains("reorder"));
        assert!(why("cameras", V::StringArray(vec!["a".into(); 2])).contains("twice"));
        assert_eq!(
            why("record_file_mb", V::Integer(600)),
            "record_file_mb: 600 is more than half of record_max_mb = 1024"
        );
        assert!(why("out_directory", text(&"x".repeat(5000))).len() < 300);
        let both = given(&[("duty_cycle", V::Double(2.0)), ("seed", V::Integer(-1))]);
        assert_eq!(both.unwrap_err().lines().count(), 2, "all of them are told at once");
    }

    #[test]
    fn ros_parameters_take_whole_numbers_for_numbers_and_other_nodes_parameters_are_left() {
        let other = V::Boolean(true);
        let (all, ignored) =
            given(&[("duty_cycle", V::Integer(1)), ("colour_topic", other), ("x", V::NotSet)])
                .unwrap();
        assert_eq!(all.float("duty_cycle"), 1.0);
        assert!(all.is_given("duty_cycle") && !all.is_given("seed"));
        let told: Vec<String> = ignored.iter().map(|error| error.to_string()).collect();
        let near = "colour_topic is not a parameter of this node; did you mean color_topic?";
        assert_eq!(told, [near, "x is not a parameter of this node"]);
    }

    #[test]
    fn ros_parameters_are_changed_when_that_is_safe() {
        let (mut all, _) = given(&[]).unwrap();
        let topic = V::String("rgb".to_owned());
        let refused = all.set("color_topic", &topic, Stage::Active).unwrap_err().to_string();
        assert_eq!(
            refused,
            "color_topic cannot be changed while the node is active; it can be changed while the \
             node is unconfigured"
        );
        assert!(all.set("color_topic", &all.values["color_topic"].clone(), Stage::Active).is_ok());
        all.set("color_topic", &topic, Stage::Unconfigured).unwrap();
        assert_eq!(all.text("color_topic"), "rgb");
        all.set("duty_cycle", &V::Double(0.1), Stage::Active).unwrap();
        assert!(all.set("use_sim_time", &V::Boolean(true), Stage::Unconfigured).is_err());
        // What does not fit together changes nothing.
        assert!(all.set("resume_below_c", &V::Double(60.0), Stage::Active).is_err());
        assert_eq!(all.float("resume_below_c"), 0.0);
        all.set("max_temperature_c", &V::Double(80.0), Stage::Active).unwrap();
        all.check("resume_below_c", &V::Double(60.0), Stage::Active).unwrap();
        assert_eq!(all.float("resume_below_c"), 0.0, "a check sets nothing");
        assert!(all.set("nothing", &topic, Stage::Active).is_err());
    }
}
