//! `plan`: whether a vision-language model can learn on this machine.

use std::path::Path;

use clap::Args;

use super::{CliError, Context, Outcome, machine};
use crate::{
    device::DeviceName,
    policy::qwen::{
        QwenConfig,
        picture::PictureConfig,
        plan::{Plan, Work, fit, gb},
        published,
    },
};

/// Tells how much memory learning with Qwen2.5-VL or Qwen2-VL takes, and whether this machine has it
///
/// Nothing is loaded and nothing is computed: sizes come from config.json alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    spatial-ssrl plan 3b                                   before downloading anything\n  \
    spatial-ssrl plan Qwen2.5-VL-7B-Instruct --group 8 --answer 1024\n  \
    spatial-ssrl plan 3b --memory-gb 16 --picture 1280x720 --picture 640x480\n\n\
    Exit code 1: it does not fit.")]
pub struct PlanArgs {
    /// A checkpoint folder (or its config.json), or a published shape: 3b and 7b of Qwen2.5-VL,
    /// 2b of Qwen2-VL
    pub model: String,

    /// Answers to each task
    #[arg(long, value_name = "G", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub group: u64,

    /// Longest answer in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub answer: u64,

    /// Tokens of the question's text
    #[arg(long, value_name = "TOKENS", default_value_t = 350, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub text: u64,

    /// Size of a picture of a task, may be repeated [default: 640x480]
    #[arg(long = "picture", value_name = "WxH", value_parser = size)]
    pub pictures: Vec<(u32, u32)>,

    /// Larger pictures are shrunk to this many pixels
    #[arg(long, value_name = "PIXELS")]
    pub max_pixels: Option<u64>,

    /// Rank of the adapter
    #[arg(long, value_name = "R", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub rank: u64,

    /// Keep the weights in float32 instead of bfloat16
    #[arg(long)]
    pub f32: bool,

    /// Let the adapter reach into the vision tower as well
    #[arg(long)]
    pub vision: bool,

    /// Memory that may be used, GB of 10^9 bytes [default: what the device has free]
    #[arg(long, value_name = "GB")]
    pub memory_gb: Option<f64>,

    /// The device whose free memory counts: cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceName,
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    sides.ok_or_else(|| "width and height in pixels are needed, such as 640x480".to_owned())
}

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] when the model is not there, or its run would not fit.
pub fn run(args: PlanArgs, context: &Context) -> Result<Outcome, CliError> {
    let nothing = |error: &dyn std::fmt::Display| CliError::Nothing(error.to_string());
    let path = Path::new(&args.model);
    let config = match args.model.as_str() {
        "3b" => published::qwen2_5_vl_3b(),
        "7b" => published::qwen2_5_vl_7b(),
        "2b" => published::qwen2_vl_2b(),
        _ if path.is_file() => QwenConfig::read_file(path).map_err(|e| nothing(&e))?,
        _ => QwenConfig::read(path).map_err(|e| nothing(&e))?,
    };
    let pictures = match path.is_dir() {
        true => PictureConfig::read(path, &config.vision).map_err(|e| nothing(&e))?,
        false => PictureConfig::published(&config.vision),
    };
    let pictures = pictures.with_limits(None, args.max_pixels).map_err(|e| nothing(&e))?;
    let sizes = if args.pictures.is_empty() { vec![(640, 480)] } else { args.pictures };
    let tokens = sizes.iter().map(|(w, h)| pictures.tokens(*w, *h));
    let tokens: Vec<usize> = tokens.collect::<Result<_, _>>().map_err(|e| nothing(&e))?;
    let unit = config.vision.merge * config.vision.merge;
    let work = Work {
        value_bytes: if args.f32 { 4 } else { 2 },
        rank: args.rank,
        group: args.group,
        micro_batch: args.group,
        prompt: args.text + tokens.iter().sum::<usize>() as u64,
        answer: args.answer,
        patches: tokens.iter().map(|tokens| (tokens * unit) as u64).collect(),
    };
    let target = |name: &str| {
        name.starts_with("model.language_model.")
            || (args.vision && name.starts_with("model.visual."))
    };
    let available = match args.memory_gb {
        Some(gb) if gb.is_finite() && gb > 0.0 => Some((gb * 1e9) as u64),
        Some(gb) => {
            return Err(CliError::Nothing(format!("--memory-gb {gb}: more than 0 is needed")));
        }
        None => machine::available_bytes(args.device),
    };
    tracing::info!("{}", published::licence(&config));
    let Some(available) = available else {
        let plan = Plan::new(&config, target, &work);
        context.print(&format!("{plan}\nhow much memory {} has is not known\n", args.device))?;
        return Ok(Outcome::Done);
    };
    let (fitted, plan) = match fit(&config, target, &work, available) {
        Ok(fitted) => fitted,
        Err(refused) => {
            context.print(&format!("{}\n", Plan::new(&config, target, &work)))?;
            return Err(nothing(&refused));
        }
    };
    let at_a_time = match fitted.micro_batch == work.micro_batch {
        true => "all answers of a task learn at one time".to_owned(),
        false => format!("{} of {} answers learn at one time", fitted.micro_batch, work.group),
    };
    let available = gb(available);
    context.print(&format!("{plan}\nfits into {available} of {}: {at_a_time}\n", args.device))?;
    Ok(Outcome::Done)
}
