//! `export`: a saved policy for other programs.

use std::{fmt::Write, path::PathBuf};

use burn::tensor::Device;
use clap::Args;
use serde::Serialize;

use super::{CliError, Context, Outcome, policy_arg};
use crate::{
    digest,
    export::onnx::{self, OnnxFile, Port},
};

/// Writes a saved policy as one ONNX file, which any ONNX runtime serves
///
/// One graph holds the encoder and the learnt parts of the head; batches are free. The same
/// policy gives the same file, byte by byte. A file of that name is replaced, whole or not at
/// all.
#[derive(Debug, Args)]
#[command(after_help = "The graph gives what answers are put together from: feature maps of a \
    picture, how far points are, how borders of patches continue each other, what a patch looks \
    like. Metadata entries spatial_ssrl.* hold sizes and hashes.\n\n\
    Examples:\n  \
    spatial-ssrl export run --onnx policy.onnx        what `adapt --out run` promoted\n  \
    spatial-ssrl export builtin --onnx policy.onnx    the policy that ships\n  \
    spatial-ssrl export run --onnx policy.onnx --json | jq .weights_sha256")]
pub struct ExportArgs {
    /// A folder that adapt wrote, or builtin
    #[arg(value_name = "RUN")]
    pub policy: String,

    /// The file to be written
    #[arg(long, value_name = "FILE")]
    pub onnx: PathBuf,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// What `export --json` prints.
#[derive(Debug, Serialize)]
struct Exported {
    policy: String,
    file: PathBuf,
    bytes: usize,
    sha256: String,
    opset: i64,
    inputs: Vec<String>,
    outputs: Vec<String>,
    encoder_sha256: String,
    weights_sha256: String,
}

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`]: there is no such policy, its encoder cannot be exported, or the file cannot
/// be written.
pub fn run(args: ExportArgs, context: &Context) -> Result<Outcome, CliError> {
    let policy = policy_arg::load(&args.policy, Device::flex())?.policy;
    let file = onnx::save(&policy, &args.onnx).map_err(|e| CliError::Other(Box::new(e)))?;
    let exported = exported(args.policy, args.onnx, file);
    if args.json {
        let json =
            serde_json::to_string_pretty(&exported).map_err(|e| CliError::Other(Box::new(e)))?;
        context.print(&format!("{json}\n"))?;
    } else {
        context.print(&told(&exported))?;
    }
    Ok(Outcome::Done)
}

fn exported(policy: String, path: PathBuf, file: OnnxFile) -> Exported {
    let ports = |ports: &[Port]| ports.iter().map(Port::to_string).collect();
    Exported {
        policy,
        file: path,
        bytes: file.bytes.len(),
        sha256: digest::hex(&file.bytes),
        opset: file.description.opset,
        inputs: ports(&file.inputs),
        outputs: ports(&file.outputs),
        encoder_sha256: file.description.encoder_sha256,
        weights_sha256: file.description.weights_sha256,
    }
}

fn told(exported: &Exported) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (title, ports) in [("inputs", &exported.inputs), ("outputs", &exported.outputs)] {
        for (i, port) in ports.iter().enumerate() {
            let _ = writeln!(text, "{:<9}{port}", if i == 0 { title } else { "" });
        }
    }
    let _ = writeln!(text, "opset    {}", exported.opset);
    let _ = writeln!(text, "weights  sha256 {}", exported.weights_sha256);
    let _ = writeln!(text, "encoder  sha256 {}", exported.encoder_sha256);
    let _ = writeln!(text, "file     sha256 {}", exported.sha256);
    let _ = writeln!(text, "written: {} ({} bytes)", exported.file.display(), exported.bytes);
    text
}
