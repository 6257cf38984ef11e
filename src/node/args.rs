//! `--ros-args … --` and the environment variables of ROS: what a user says to any node.

use std::path::{Path, PathBuf};

use super::{
    names::{Identity, NameError, Remap, Remaps},
    yaml::{self, MAX_YAML_BYTES, Overrides, Values},
};

/// An argument that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// A flag at the end of the line.
    #[error("{flag} needs a value after it: {usage}")]
    Missing {
        /// The flag.
        flag: String,
        /// What could stand there.
        usage: &'static str,
    },
    /// A value that cannot be read.
    #[error("{flag} {given}: {why}; expected {usage}")]
    Bad {
        /// The flag.
        flag: String,
        /// What was given.
        given: String,
        /// What is wrong with it.
        why: String,
        /// What could stand there.
        usage: &'static str,
    },
    /// Not an argument of ROS.
    #[error("{argument} is no argument of ROS{hint}; end the arguments of ROS with -- before it")]
    Unknown {
        /// As given.
        argument: String,
        /// The nearest one there is.
        hint: String,
    },
    /// A parameter file.
    #[error("--params-file {}: {why}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An environment variable.
    #[error("{name}={value}: expected {usage}")]
    Environment {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        usage: &'static str,
    },
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// As if nothing was said.
    Unset,
    /// Everything.
    Debug,
    /// What is of interest.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
    /// What ends the node.
    Fatal,
}

impl LogLevel {
    fn from_name(name: &str) -> Option<LogLevel> {
        Some(match name.to_ascii_lowercase().as_str() {
            "unset" => LogLevel::Unset,
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warn" => LogLevel::Warn,
            "error" => LogLevel::Error,
            "fatal" => LogLevel::Fatal,
            _ => return None,
        })
    }
}

/// What was said between `--ros-args` and `--`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RosArgs {
    /// Remap rules.
    pub remaps: Remaps,
    /// Parameters of files and `-p`.
    pub overrides: Overrides,
    /// The level for all loggers, if one was given.
    pub log_level: Option<LogLevel>,
    /// Levels of single loggers.
    pub logger_levels: Vec<(String, LogLevel)>,
    /// Whether logs go to `/rosout`; nothing said: yes.
    pub rosout_logs: Option<bool>,
    /// Whether logs go to the terminal; nothing said: yes.
    pub stdout_logs: Option<bool>,
    /// The security enclave, `/robot/eye`.
    pub enclave: Option<String>,
    /// Accepted because every node accepts them, but of no effect here: for a warning.
    pub without_effect: Vec<String>,
}

const REMAP: &str = "[NODE:]OLD:=NEW, as in color/image:=/camera/color/image_raw, __node:=eye or \
                     __ns:=/robot";
const PARAMETER: &str = "[NODE:]NAME:=VALUE, as in autostart:=true";
const FILE: &str = "a YAML file with NODE: ros__parameters: NAME: VALUE";
const LEVEL: &str = "debug, info, warn, error or fatal, or LOGGER:=LEVEL";
const ENCLAVE: &str = "an absolute name, as in /robot/eye";

/// Flags with a value, by what is to be done with it.
const WITH_VALUE: [(&str, &str); 11] = [
    ("-r", REMAP),
    ("--remap", REMAP),
    ("-p", PARAMETER),
    ("--param", PARAMETER),
    ("--params-file", FILE),
    ("--log-level", LEVEL),
    ("-e", ENCLAVE),
    ("--enclave", ENCLAVE),
    ("--log-config-file", "a file"),
    ("--log-file-name", "a name"),
    // Not in `rcl`, but what people write.
    ("--parameter", PARAMETER),
];

/// Flags without one.
const SWITCHES: [&str; 6] = [
    "--enable-rosout-logs",
    "--disable-rosout-logs",
    "--enable-stdout-logs",
    "--disable-stdout-logs",
    "--enable-external-lib-logs",
    "--disable-external-lib-logs",
];

impl RosArgs {
    /// Takes the arguments of ROS out of a command line; what is left comes second. Parameter
    /// files are read.
    ///
    /// ```
    /// use spatial_ssrl::node::{args::RosArgs, names::NameKind::Topic};
    /// let line = "--out run --ros-args -r color/image:=/cam/rgb -r __ns:=/robot -- --verbose";
    /// let (ros, rest) = RosArgs::parse(line.split(' ').map(str::to_owned))?;
    /// assert_eq!(rest, ["--out", "run", "--verbose"]);
    /// let node = ros.identity("eye", "/")?;
    /// assert_eq!(node.full(), "/robot/eye");
    /// assert_eq!(ros.remaps.resolve(&node, "color/image", Topic)?, "/cam/rgb");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ArgsError`] with the argument and what could stand in its place.
    pub fn parse(
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<(Self, Vec<String>), ArgsError> {
        let (mut ros, mut rest) = (RosArgs::default(), Vec::new());
        let mut inside = false;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match (inside, argument.as_str()) {
                (_, "--ros-args") => inside = true,
                (true, "--") => inside = false,
                (false, _) => rest.push(argument),
                (true, flag) => match WITH_VALUE.iter().find(|(name, _)| *name == flag) {
                    Some((_, usage)) => {
                        let Some(given) = arguments.next() else {
                            return Err(ArgsError::Missing { flag: argument, usage });
                        };
                        ros.valued(&argument, given, usage)?;
                    }
                    None => ros.switch(argument)?,
                },
            }
        }
        Ok((ros, rest))
    }

    fn valued(&mut self, flag: &str, given: String, usage: &'static str) -> Result<(), ArgsError> {
        let bad = |given: &str, why: String| ArgsError::Bad {
            flag: flag.to_owned(),
            given: given.to_owned(),
            why,
            usage,
        };
        match flag {
            "-r" | "--remap" => {
                self.remaps.0.push(Remap::parse(&given).map_err(|why| bad(&given, why))?);
            }
            "-p" | "--param" | "--parameter" => {
                let (node, name, value) = parameter(&given).map_err(|why| bad(&given, why))?;
                self.overrides.set(node, name.to_owned(), value);
            }
            "--params-file" => {
                let path = Path::new(&given);
                let file = |why| ArgsError::File { path: path.to_owned(), why };
                let text = read_bounded(path).map_err(file)?;
                self.overrides.read(&text).map_err(file)?;
            }
            "--log-level" => match given.split_once(":=") {
                None => match LogLevel::from_name(&given) {
                    Some(level) => self.log_level = Some(level),
                    None => return Err(bad(&given, "there is no such level".to_owned())),
                },
                Some((logger, level)) => match LogLevel::from_name(level) {
                    Some(level) if !logger.is_empty() => {
                        self.logger_levels.push((logger.to_owned(), level));
                    }
                    _ => return Err(bad(&given, "there is no such level or logger".to_owned())),
                },
            },
            "-e" | "--enclave" => match given.starts_with('/') {
                true => self.enclave = Some(given),
                false => return Err(bad(&given, "it does not begin with /".to_owned())),
            },
            _ => self.without_effect.push(format!("{flag} {given}")),
        }
        Ok(())
    }

    fn switch(&mut self, flag: String) -> Result<(), ArgsError> {
        match flag.as_str() {
            "--enable-rosout-logs" => self.rosout_logs = Some(true),
            "--disable-rosout-logs" => self.rosout_logs = Some(false),
            "--enable-stdout-logs" => self.stdout_logs = Some(true),
            "--disable-stdout-logs" => self.stdout_logs = Some(false),
            "--enable-external-lib-logs" | "--disable-external-lib-logs" => {
                self.without_effect.push(flag);
            }
            _ => {
                let known = WITH_VALUE.iter().map(|(name, _)| *name).chain(SWITCHES);
                let likeness = |name: &&str| strsim::normalized_damerau_levenshtein(name, &flag);
                let nearest = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
                let hint = match nearest {
                    Some(name) if flag.contains(":=") || likeness(&name) < 0.6 => {
                        // Most often a rule without its flag.
                        if flag.contains(":=") {
                            " (did you mean -r or -p before it?)".to_owned()
                        } else {
                            String::new()
                        }
                    }
                    Some(name) => format!(" (did you mean {name}?)"),
                    None => String::new(),
                };
                return Err(ArgsError::Unknown { argument: flag, hint });
            }
        }
        Ok(())
    }

    /// What the node is called; `name` and `namespace` are used where nothing is said.
    ///
    /// # Errors
    /// [`NameError`] for names that cannot be used.
    pub fn identity(&self, name: &str, namespace: &str) -> Result<Identity, NameError> {
        self.remaps.identity(name, namespace)
    }

    /// The parameters that were given for this node.
    pub fn parameters(&self, node: &Identity) -> Values {
        self.overrides.for_node(&node.full())
    }
}

/// `[node:]name:=value`: the pattern of nodes, the name, the value.
fn parameter(rule: &str) -> Result<(&str, &str, ros2_client::ParameterValue), String> {
    let Some((left, value)) = rule.split_once(":=") else {
        return Err("it has no := between name and value".to_owned());
    };
    let (node, name) = match left.split_once(':') {
        None => ("/**", left),
        Some((node, name)) if super::names::is_token(node) => (node, name),
        Some((node, _)) => return Err(format!("{node:?} before : is not a node's name")),
    };
    let token = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !name.split(['.', '/']).all(token) {
        return Err(format!("{name:?} is not a parameter's name"));
    }
    Ok((node, name, yaml::value(value)?))
}

fn read_bounded(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(MAX_YAML_BYTES + 1).read_to_string(&mut text);
    match read.map_err(|error| error.to_string())? as u64 {
        bytes if bytes > MAX_YAML_BYTES => {
            Err(format!("it is larger than {MAX_YAML_BYTES} bytes: this is no parameter file"))
        }
        _ => Ok(text),
    }
}

/// How far away other nodes are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// Not at all.
    Off,
    /// On this machine.
    Localhost,
    /// In the same subnet.
    Subnet,
    /// Whatever the middleware does by itself.
    SystemDefault,
}

/// What the environment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// `ROS_DOMAIN_ID`, 0 to 232.
    pub domain_id: u16,
    /// `ROS_AUTOMATIC_DISCOVERY_RANGE`, or on this machine alone by `ROS_LOCALHOST_ONLY=1`.
    pub discovery: Discovery,
    /// `ROS_STATIC_PEERS`: machines that are asked beside.
    pub static_peers: Vec<String>,
}

impl Environment {
    /// Reads the variables of ROS with `get`, which gives the value of one.
    ///
    /// ```
    /// use spatial_ssrl::node::args::{Discovery, Environment};
    /// let set = |name: &str| (name == "ROS_DOMAIN_ID").then(|| "42".to_owned());
    /// let environment = Environment::read(set)?;
    /// assert_eq!(environment.domain_id, 42);
    /// assert_eq!(environment.discovery, Discovery::Subnet);
    /// # Ok::<(), spatial_ssrl::node::args::ArgsError>(())
    /// ```
    ///
    /// # Errors
    /// [`ArgsError::Environment`]: a mistyped range must not open the node to the network.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, ArgsError> {
        let set = |name| get(name).filter(|value| !value.is_empty());
        let bad = |name, value, usage| ArgsError::Environment { name, value, usage };
        let domain_id = match set("ROS_DOMAIN_ID") {
            None => 0,
            Some(value) => match value.trim().parse() {
                // Higher ones have no UDP ports.
                Ok(id @ 0..=232) => id,
                _ => return Err(bad("ROS_DOMAIN_ID", value, "a number from 0 to 232")),
            },
        };
        let range = match set("ROS_AUTOMATIC_DISCOVERY_RANGE") {
            None => Discovery::Subnet,
            Some(value) => match value.as_str() {
                "NOT_SET" | "SUBNET" => Discovery::Subnet,
                "LOCALHOST" => Discovery::Localhost,
                "OFF" => Discovery::Off,
                "SYSTEM_DEFAULT" => Discovery::SystemDefault,
                _ => {
                    let usage = "SUBNET, LOCALHOST, OFF or SYSTEM_DEFAULT";
                    return Err(bad("ROS_AUTOMATIC_DISCOVERY_RANGE", value, usage));
                }
            },
        };
        let (only, peers) = match set("ROS_LOCALHOST_ONLY").as_deref() {
            // The older variable wins over both newer ones.
            Some("1") => (true, None),
            Some("0") | None => (false, set("ROS_STATIC_PEERS")),
            Some(value) => {
                return Err(bad("ROS_LOCALHOST_ONLY", value.to_owned(), "0 or 1"));
            }
        };
        let peers = peers.unwrap_or_default();
        let peers = peers.split(';').map(str::trim).filter(|peer| !peer.is_empty());
        Ok(Environment {
            domain_id,
            discovery: if only { Discovery::Localhost } else { range },
            static_peers: peers.map(str::to_owned).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ros2_client::ParameterValue;

    use super::*;

    fn parse(line: &[&str]) -> Result<(RosArgs, Vec<String>), ArgsError> {
        RosArgs::parse(line.iter().map(|&argument| argument.to_owned()))
    }

    #[test]
    fn ros_arguments_that_cannot_be_used_say_why_and_what_could_be() {
        let why = |line: &[&str]| parse(line).unwrap_err().to_string();
        let told = why(&["--ros-args", "-r"]);
        assert!(told.starts_with("-r needs a value after it: [NODE:]OLD:=NEW"), "{told}");
        let told = why(&["--ros-args", "-p", "autostart=true"]);
        assert_eq!(
            told,
            "-p autostart=true: it has no := between name and value; expected [NODE:]NAME:=VALUE, \
             as in autostart:=true"
        );
        assert!(why(&["--ros-args", "-p", "a:=[1, x]"]).contains("of one type"));
        assert!(why(&["--ros-args", "--log-level", "loud"]).contains("there is no such level"));
        assert!(why(&["--ros-args", "--log-levle", "info"]).contains("did you mean --log-level?"));
        assert!(why(&["--ros-args", "a:=b"]).contains("did you mean -r or -p before it?"));
        let told = why(&["--ros-args", "--params-file", "/no/such.yaml"]);
        assert!(told.starts_with("--params-file /no/such.yaml: No such file"), "{told}");
        assert!(why(&["--ros-args", "-e", "x"]).contains("it does not begin with /"));
    }

    #[test]
    fn ros_arguments_end_and_begin_again() {
        let line = ["a", "--ros-args", "-p", "x:=1", "--", "b", "--ros-args", "-p", "y:=on"];
        let (ros, rest) = parse(&line).unwrap();
        assert_eq!(rest, ["a", "b"]);
        let values = ros.parameters(&ros.identity("n", "/").unwrap());
        assert_eq!(values["x"], ParameterValue::Integer(1));
        assert_eq!(values["y"], ParameterValue::Boolean(true));
        let line = ["--ros-args", "--log-level", "WARN", "--log-level", "rustdds:=error"];
        let (ros, _) = parse(&line).unwrap();
        assert_eq!(ros.log_level, Some(LogLevel::Warn));
        assert_eq!(ros.logger_levels, [("rustdds".to_owned(), LogLevel::Error)]);
        let line = ["--ros-args", "--disable-rosout-logs", "--enable-external-lib-logs"];
        let (ros, _) = parse(&line).unwrap();
        assert_eq!(ros.rosout_logs, Some(false));
        assert_eq!(ros.without_effect, ["--enable-external-lib-logs"]);
    }

    #[test]
    fn ros_environment_is_read_or_refused() {
        let read = |set: &[(&str, &str)]| {
            let set: std::collections::BTreeMap<_, _> = set.iter().copied().collect();
            Environment::read(|name| set.get(name).map(|&value| value.to_owned()))
        };
        let none = read(&[]).unwrap();
        assert_eq!((none.domain_id, none.discovery), (0, Discovery::Subnet));
        assert_eq!(read(&[("ROS_DOMAIN_ID", "")]).unwrap(), none);
        for bad in ["233", "-1", "x"] {
            let told = read(&[("ROS_DOMAIN_ID", bad)]).unwrap_err().to_string();
            assert_eq!(told, format!("ROS_DOMAIN_ID={bad}: expected a number from 0 to 232"));
        }
        let range = "ROS_AUTOMATIC_DISCOVERY_RANGE";
        assert_eq!(read(&[(range, "OFF")]).unwrap().discovery, Discovery::Off);
        assert!(read(&[(range, "localhost")]).is_err(), "no guess opens the network");
        let both = [(range, "SUBNET"), ("ROS_LOCALHOST_ONLY", "1"), ("ROS_STATIC_PEERS", "a;b")];
        let both = read(&both).unwrap();
        assert_eq!((both.discovery, both.static_peers.len()), (Discovery::Localhost, 0));
        let peers = read(&[("ROS_STATIC_PEERS", "10.0.0.1; robot;")]).unwrap().static_peers;
        assert_eq!(peers, ["10.0.0.1", "robot"]);
    }

    proptest! {
        #[test]
        fn ros_any_command_line_is_read_or_refused_without_panic(
            line in prop::collection::vec(
                "(--ros-args|--|-r|-p|--log-level|--params-file|-e|--enable-rosout-logs|\
                 [a-z_:=/~*\\[\\]{}é\"0-9 ]{0,12}|a:=b|n:a:=\\[1,2\\]|__ns:=/x)",
                0..10,
            )
        ) {
            if let Ok((ros, _)) = RosArgs::parse(line)
                && let Ok(node) = ros.identity("n", "/")
            {
                let _ = ros.parameters(&node);
            }
        }
    }
}
