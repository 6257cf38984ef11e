//! `health`: is the camera well? Told from frames alone.

use std::path::Path;

use burn::tensor::Device;
use clap::Args;
use serde::Serialize;

use super::{CliError, Context, Outcome, SourceArgs, adapt::outcome, policy_arg};
use crate::{
    adapt::health::{Checker, EvenSample, Finding, HealthReport, Likely, Reference},
    frame::SensorModel,
    source,
};

/// The file beside a policy's weights that says what its own frames looked like.
pub const REFERENCE_FILE: &str = "health.json";

/// Tells from frames alone, without labels, whether a camera is well
///
/// Upside down, mirrored, red and blue exchanged, depth with an offset, with a wrong scale or not
/// registered to colour, or a scene unlike anything learnt: for each, whether it is likely, how
/// sure that is, and the numbers it rests on. What cannot be told is said to be so. A policy that
/// `adapt` wrote knows what its own frames looked like; `builtin` does not and can tell less.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    spatial-ssrl health my_bag --policy run        with the policy that `adapt --out run` saved\n  \
    spatial-ssrl health my_bag                     with the policy that ships\n  \
    spatial-ssrl health my_bag --policy run --json | jq '.findings[] | select(.likely == \"yes\")'\n  \
    spatial-ssrl health my_bag --policy run --strict || echo stop\n\n\
    --strict: exit code 1 when a fault is likely.")]
pub struct HealthArgs {
    /// Where frames come from: a bag, a folder, or a rendered room
    pub source: String,

    /// A folder that adapt wrote, or builtin
    #[arg(long, value_name = "RUN", default_value = "builtin")]
    pub policy: String,

    /// How many frames are looked at, spread evenly over the source
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=48))]
    pub frames: u16,

    /// End with exit code 1 when a fault is likely
    #[arg(long)]
    pub strict: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,

    /// Options about the source.
    #[command(flatten)]
    pub source_args: SourceArgs,
}

/// What `health --json` prints.
#[derive(Serialize)]
struct Told<'a> {
    source: &'a str,
    policy: &'a str,
    reference: bool,
    #[serde(flatten)]
    report: &'a HealthReport,
}

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn run(args: HealthArgs, context: &Context) -> Result<Outcome, CliError> {
    let other = |error: Box<dyn std::error::Error + Send + Sync>| CliError::Other(error);
    let loaded = policy_arg::load(&args.policy, Device::flex())?;
    let reference = match &loaded.folder {
        Some(folder) => read_reference(&folder.join(REFERENCE_FILE))?,
        None => None,
    };
    let mut options = args.source_args.options();
    // Whether the depth of a folder lies where colour does, and else why, is found out here: a
    // folder that decides it itself would hide colour that is turned.
    if source::folder::is_picture_folder(std::path::Path::new(&args.source)) {
        options.registered = options.registered.or(Some(true));
    }
    let mut source = source::open(&args.source, &options)?;
    let mut sample = EvenSample::default();
    let progress = context.progress("read", "frames", None);
    while let Some(frame) = source.next_frame()? {
        sample.offer(&frame);
        progress.add(1);
        if context.stopped() {
            break;
        }
    }
    progress.finish();
    let frames = sample.evenly(usize::from(args.frames), |_| true);
    if frames.is_empty() {
        let why = source.report().no_frame_left();
        return Err(CliError::Nothing(why.unwrap_or_else(|| "the source has no frame".to_owned())));
    }
    let progress = context.progress("check", "frames", Some(frames.len() as u64));
    let mut checker = Checker::new(&loaded.policy, SensorModel::default());
    for frames in frames.chunks(4) {
        checker.add_all(frames).map_err(|e| other(Box::new(e)))?;
        progress.add(frames.len() as u64);
    }
    progress.finish();
    let report = checker.report(reference.as_ref());
    let text = match args.json {
        true => {
            let told = Told {
                source: &args.source,
                policy: &args.policy,
                reference: reference.is_some(),
                report: &report,
            };
            serde_json::to_string_pretty(&told).map_err(|e| other(Box::new(e)))? + "\n"
        }
        false => told(&args, &report, reference.is_some()),
    };
    context.print(&text)?;
    if args.strict && !report.healthy {
        let likely = report.findings.iter().filter(|f| f.likely == Likely::Yes);
        let names: Vec<&str> = likely.map(|finding| finding.fault.name()).collect();
        return Err(CliError::Nothing(format!("likely: {}", names.join(", "))));
    }
    Ok(outcome(context, source.report()))
}

pub(super) fn read_reference(path: &Path) -> Result<Option<Reference>, CliError> {
    let failed = |why: String| CliError::Nothing(format!("cannot read {}: {why}", path.display()));
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| failed(e.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn told(args: &HealthArgs, report: &HealthReport, reference: bool) -> String {
    let mut text = format!(
        "{}: {} frames, {} with depth; policy {}{}\n\n",
        args.source,
        report.frames,
        report.frames_with_depth,
        args.policy,
        if reference { "" } else { " (without a reference of its own frames)" }
    );
    for Finding { fault, likely, confidence, evidence } in &report.findings {
        let likely = match likely {
            Likely::Yes => format!("LIKELY {:.0} %", 100.0 * confidence),
            Likely::No => format!("no, {:.0} %", 100.0 * confidence),
            Likely::CannotTell => "cannot tell".to_owned(),
        };
        text += &format!("{:<19} {likely:<13} {}\n", fault.name(), wrapped(evidence));
    }
    text += match report.healthy {
        true => "\nno fault is likely\n",
        false => "\nsomething is likely wrong: see above\n",
    };
    text
}

/// Lines of a readable length, indented beneath the first.
fn wrapped(text: &str) -> String {
    let (mut out, mut line) = (String::new(), 0);
    for word in text.split_whitespace() {
        if line > 0 && line + word.len() > 64 {
            out += "\n                                  ";
            line = 0;
        } else if line > 0 {
            out.push(' ');
        }
        out += word;
        line += word.len() + 1;
    }
    out
}
