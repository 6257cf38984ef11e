//! The command line: results on stdout, progress and diagnostics on stderr, one small file a
//! subcommand.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | all is well, or the user stopped it and what was done is kept |
//! | 1 | it failed; the last line on stderr says why and what to do |
//! | 2 | the command was used wrongly |
//! | 3 | it finished, but data was lost on the way; the report says what |

use std::{
    io::Write,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::{Parser, Subcommand};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    adapt::store::StoreError,
    config::ConfigError,
    device::DeviceError,
    export::ExportError,
    report::progress::{LogWriter, Progress},
    source::SourceError,
};

pub mod adapt;
pub mod ask;
pub mod devices;
pub mod eval;
pub mod export;
mod forever;
pub mod health;
pub mod inspect;
mod machine;
#[cfg(feature = "ros2")]
pub mod node;
#[cfg(feature = "vlm")]
pub mod plan;
pub mod policy_arg;
pub mod pretrain;
#[cfg(feature = "vlm")]
pub mod qwen;
mod run_watch;
pub mod source_args;
pub mod tasks;

pub use source_args::SourceArgs;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "spatial-ssrl",
    version,
    about = "Lets a robot sharpen its spatial sense from its own RGB-D frames",
    long_about = "Lets a robot sharpen its spatial sense from its own RGB-D frames: tasks that carry \
                  their own answers are made from each frame, a policy answers them, and GRPO turns \
                  right and wrong into better weights. No labels; no picture leaves the machine.",
    after_help = "SOURCE is a rosbag2 folder, a .mcap or .db3 file, a folder with associations.txt \
                  (TUM style), or room / room:seed=7,frames=300 (a rendered room, nothing needed).\n\n\
                  Examples:\n  \
                  spatial-ssrl inspect my_bag          what is in it, and which tasks it can make\n  \
                  spatial-ssrl tasks my_bag --out DIR  tasks as a data set, with sheets to look at\n  \
                  spatial-ssrl adapt my_bag            learn on it, test on its last quarter\n  \
                  spatial-ssrl adapt                   the same on a rendered room\n  \
                  spatial-ssrl ask photo.jpg map --out map.png   how far everything is\n\n\
                  Exit codes: 0 fine, 1 failure, 2 wrong usage, 3 finished but data was lost.",
    arg_required_else_help = true
)]
pub struct Cli {
    /// What is logged on stderr: error, warn, info, debug, trace, or a filter such as
    /// `spatial_ssrl::source=debug`. Default: the variable RUST_LOG, else info
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::InspectArgs),
    Tasks(tasks::TasksArgs),
    Adapt(adapt::AdaptArgs),
    Eval(eval::EvalArgs),
    Pretrain(pretrain::PretrainArgs),
    Export(export::ExportArgs),
    Ask(ask::AskArgs),
    Health(health::HealthArgs),
    #[cfg(feature = "ros2")]
    Node(node::NodeArgs),
    Devices(devices::DevicesArgs),
    #[cfg(feature = "vlm")]
    Plan(plan::PlanArgs),
}

/// What is logged when nobody says otherwise. DDS logs a line for each packet of a peer that it
/// does not understand.
const DEFAULT_LOG: &str = "info,rustdds=error,ros2_client=warn";

/// How a subcommand ended, when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Done,
    /// Finished, but some of the source's data was damaged or missing.
    DataLost,
    /// The user asked it to stop; what was done until then is kept.
    Stopped,
}

impl Outcome {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Outcome::Done | Outcome::Stopped => 0,
            Outcome::DataLost => 3,
        }
    }
}

/// Why a subcommand failed. The message is all that a user sees.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data set cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The tasks that a policy hands on.
    #[error(transparent)]
    Tasks(#[from] StoreError),
    /// Nothing came of it; the text says why and what to do.
    #[error("{0}")]
    Nothing(String),
    /// Results cannot be written to stdout.
    #[error("cannot write to stdout: {0}")]
    Stdout(std::io::Error),
    /// Anything else, with its own words.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// What every subcommand is given.
#[derive(Clone, Debug, Default)]
pub struct Context {
    stop: Arc<AtomicBool>,
}

impl Context {
    /// Whether the user asked to stop. Long jobs look often, end soon and keep what they have.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The flag itself, for a job on another thread.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Starts a phase whose progress is shown on stderr.
    pub fn progress(&self, phase: &str, unit: &str, total: Option<u64>) -> Progress {
        Progress::start(phase, unit, total)
    }

    /// Writes results to stdout. A reader that has seen enough and closed the pipe is no
    /// error.
    ///
    /// # Errors
    /// [`CliError::Stdout`] for anything else that keeps results from being written.
    pub fn print(&self, results: &str) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        match out.write_all(results.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(CliError::Stdout(error))
            }
            _ => Ok(()),
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    main_with(std::env::args_os().collect())
}

/// Runs this command line; its first word is the program's name.
pub fn main_with(arguments: Vec<std::ffi::OsString>) -> ExitCode {
    #[cfg(feature = "ros2")]
    let (arguments, ros) = match node::split(arguments) {
        Ok(split) => split,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            return ExitCode::from(2);
        }
    };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout with code 0, wrong usage to stderr with code 2. A closed
            // pipe loses the text, nothing else.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    #[cfg(feature = "ros2")]
    let level = cli.log_level.clone().or_else(|| ros.log_level.map(node::level));
    #[cfg(not(feature = "ros2"))]
    let level = cli.log_level.clone();
    start_logging(level.as_deref(), DEFAULT_LOG);
    let context = Context::default();
    stop_on_signal(&context);
    let result = match cli.command {
        Command::Inspect(args) => inspect::run(args, &context),
        Command::Tasks(args) => tasks::run(args, &context),
        Command::Adapt(args) => adapt::run(args, &context),
        Command::Eval(args) => eval::run(args, &context),
        Command::Pretrain(args) => pretrain::run(args, &context),
        Command::Export(args) => export::run(args, &context),
        Command::Ask(args) => ask::run(args, &context),
        Command::Health(args) => health::run(args, &context),
        #[cfg(feature = "ros2")]
        Command::Node(args) => node::run(args, &ros, &context),
        Command::Devices(args) => devices::run(args, &context),
        #[cfg(feature = "vlm")]
        Command::Plan(args) => plan::run(args, &context),
    };
    match result {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(1)
        }
    }
}

fn start_logging(level: Option<&str>, default: &str) {
    let filter = match level {
        Some(level) => EnvFilter::builder().parse_lossy(level),
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default)),
    };
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| LogWriter)
        .with_ansi(colours)
        .with_target(false)
        .without_time();
    let layers = tracing_subscriber::registry().with(filter).with(lines);
    #[cfg(feature = "ros2")]
    let layers = layers.with(crate::node::rosout::RosoutLayer);
    if layers.try_init().is_err() {
        tracing::debug!("logging was started before");
    }
}

fn stop_on_signal(context: &Context) {
    let stop = context.stop_flag();
    let set = ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            // The second time is meant: 128 + SIGINT, as shells have it.
            std::process::exit(130);
        }
        let _ = writeln!(
            std::io::stderr(),
            "stopping; what is done is kept (once more: stop at once, keep nothing)"
        );
    });
    if let Err(error) = set {
        tracing::warn!("signals cannot be caught ({error}): Ctrl-C ends at once");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exit_codes_are_what_the_help_says() {
        assert_eq!(Outcome::Done.code(), 0);
        assert_eq!(Outcome::Stopped.code(), 0);
        assert_eq!(Outcome::DataLost.code(), 3);
    }
}
