//! `ask`: questions about one colour picture.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::{Args, Subcommand, ValueEnum};
use image::RgbImage;
use serde_json::{Value, json};

use super::{CliError, Context, Outcome, policy_arg};
use crate::{
    frame::{Intrinsics, convert::color_from_encoded},
    policy::compact::served::Served,
    sense::{DepthSample, Look, SpatialSense},
    task::{Direction, Facing, Pixel, Rect},
};

/// The largest picture file that is read, bytes.
const MAX_FILE_BYTES: u64 = 128 << 20;

/// Answers questions about one colour picture: what is nearer, how far everything is, where
/// things lie
///
/// The policy knows what it has learnt: adapt it in the room where it is asked. Distances are
/// relative and come from colour alone; nothing here may serve a safety function. Pixels are
/// column,row from the upper left corner, which is 0,0.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    spatial-ssrl ask photo.jpg order 120,400 320,240 500,90\n  \
    spatial-ssrl ask photo.jpg --policy run map --out map.png\n  \
    spatial-ssrl ask photo.jpg position --observer 120,400 --target 500,300 --facing away\n  \
    spatial-ssrl ask photo.jpg orientation\n  \
    spatial-ssrl ask photo.jpg hole 200,150,240,240 a.png b.png c.png\n  \
    spatial-ssrl ask photo.jpg distance --known 100,400,0.8 320,200,2.1 --at 500,300\n  \
    spatial-ssrl ask photo.jpg --policy qwen:DIR say \"Which chair is nearer?\"\n  \
    spatial-ssrl ask photo.jpg --json order 120,400 320,240 | jq .probability"
)]
pub struct AskArgs {
    /// The colour picture, PNG or JPEG
    pub picture: PathBuf,

    /// A folder that adapt wrote, or builtin
    #[arg(long, value_name = "RUN", default_value = "builtin", global = true)]
    pub policy: String,

    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub json: bool,

    /// What is asked.
    #[command(subcommand)]
    pub question: AskQuestion,
}

/// What is asked.
#[derive(Debug, Subcommand)]
pub enum AskQuestion {
    /// Orders two or more pixels from nearest to farthest, with the probability of that order
    Order {
        /// The pixels
        #[arg(value_name = "X,Y", required = true, num_args = 2.., value_parser = pixel)]
        pixels: Vec<Pixel>,
    },
    /// Writes how far everything is as a picture: red is near, blue is far
    Map {
        /// The PNG to be written
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Tells where a target lies for an observer who stands in the picture
    Position {
        /// Where the observer stands
        #[arg(long, value_name = "X,Y", value_parser = pixel)]
        observer: Pixel,

        /// What the observer is asked about
        #[arg(long, value_name = "X,Y", value_parser = pixel)]
        target: Pixel,

        /// Where the observer looks, as seen in the picture: to its left, to its right, toward
        /// the camera, or away from it
        #[arg(long, value_name = "WAY")]
        facing: FacingArg,

        /// Pinhole intrinsics in pixels; without them columns alone tell left from right
        #[arg(long, value_name = "FX,FY,CX,CY", value_parser = camera)]
        intrinsics: Option<Camera>,
    },
    /// Asks a vision-language model in words (--policy qwen:DIR, feature vlm)
    #[cfg(feature = "vlm")]
    Say {
        /// What is asked
        text: String,

        /// An adapter in PEFT format (or the run that wrote it) that belongs to DIR
        #[arg(long, value_name = "DIR")]
        adapter: Option<PathBuf>,

        /// What computes: cpu, cuda or cuda:N
        #[arg(long, value_name = "DEVICE", default_value_t)]
        device: crate::device::DeviceName,
    },
    /// Tells whether the picture is upside down or mirrored
    Orientation,
    /// Tells which of some crops completes a hole
    Hole {
        /// The hole: left, top, width and height in pixels
        #[arg(value_name = "X,Y,W,H", value_parser = rect)]
        hole: Rect,

        /// Two or more crops, PNG or JPEG
        #[arg(value_name = "CROP", required = true, num_args = 2..)]
        crops: Vec<PathBuf>,
    },
    /// Tells distances in metres from a few pixels whose depth is known; some may be wrong
    Distance {
        /// Pixels and their depth in metres, two or more
        #[arg(long, value_name = "X,Y,METRES", required = true, num_args = 2.., value_parser = sample)]
        known: Vec<DepthSample>,

        /// Pixels whose distance is asked for
        #[arg(long, value_name = "X,Y", required = true, num_args = 1.., value_parser = pixel)]
        at: Vec<Pixel>,
    },
}

/// Where an observer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum FacingArg {
    Left,
    Right,
    Toward,
    Away,
}

impl From<FacingArg> for Facing {
    fn from(facing: FacingArg) -> Facing {
        match facing {
            FacingArg::Left => Facing::Left,
            FacingArg::Right => Facing::Right,
            FacingArg::Toward => Facing::TowardViewer,
            FacingArg::Away => Facing::AwayFromViewer,
        }
    }
}

/// `fx, fy, cx, cy` in pixels.
pub type Camera = std::sync::Arc<[f64; 4]>;

/// Runs the subcommand.
///
/// # Errors
/// [`CliError`] with what went wrong.
pub fn run(args: AskArgs, context: &Context) -> Result<Outcome, CliError> {
    let picture = read_picture(&args.picture)?;
    #[cfg(feature = "vlm")]
    if let AskQuestion::Say { text, adapter, device } = &args.question {
        let folder = super::qwen::folder(&args.policy).ok_or_else(|| {
            let policy = &args.policy;
            CliError::Nothing(format!("{policy} knows no words: name a --policy qwen:DIR"))
        })?;
        let said = super::qwen::say(folder, adapter.as_deref(), *device, picture, text)?;
        let object = json!({ "picture": args.picture, "policy": args.policy, "said": said });
        let told = match args.json {
            true => serde_json::to_string_pretty(&object).map_err(other)?,
            false => said,
        };
        context.print(&format!("{told}\n"))?;
        return Ok(Outcome::Done);
    }
    let policy = policy_arg::load(&args.policy, Device::flex())?.policy;
    // Answered as a robot would be: by tract alone, from the policy's ONNX.
    let sense = SpatialSense::new(Served::from_policy(&policy).map_err(other)?);
    let look = sense.look(&picture).map_err(other)?;
    let answer = answer(&look, &picture, &args.question)?;
    if args.json {
        let mut object = json!({ "picture": args.picture, "policy": args.policy });
        if let (Some(object), Value::Object(answer)) = (object.as_object_mut(), answer.json) {
            object.extend(answer);
        }
        let text = serde_json::to_string_pretty(&object).map_err(other)?;
        context.print(&format!("{text}\n"))?;
    } else {
        context.print(&answer.text)?;
    }
    Ok(Outcome::Done)
}

/// For people and for programs.
struct Answer {
    text: String,
    json: Value,
}

fn answer(
    look: &Look<'_, Served>,
    picture: &RgbImage,
    question: &AskQuestion,
) -> Result<Answer, CliError> {
    match question {
        AskQuestion::Order { pixels } => order(look, pixels),
        AskQuestion::Map { out } => map(look, out),
        AskQuestion::Position { observer, target, facing, intrinsics } => {
            let camera = intrinsics.as_deref().map(|[fx, fy, cx, cy]| {
                Intrinsics::new(picture.width(), picture.height(), *fx, *fy, *cx, *cy)
            });
            position(look, *observer, *target, *facing, camera.transpose().map_err(other)?)
        }
        #[cfg(feature = "vlm")]
        AskQuestion::Say { .. } => {
            Err(CliError::Nothing("a compact policy knows no words".to_owned()))
        }
        AskQuestion::Orientation => orientation(look),
        AskQuestion::Hole { hole, crops } => fill(look, *hole, crops),
        AskQuestion::Distance { known, at } => distance(look, known, at),
    }
}

fn order(look: &Look<'_, Served>, pixels: &[Pixel]) -> Result<Answer, CliError> {
    let order = look.order(pixels).map_err(other)?;
    let mut text = "nearest to farthest\n".to_owned();
    let mut pairs = Vec::new();
    for (place, &at) in order.nearest_first().iter().enumerate() {
        let Pixel { x, y } = pixels[at];
        text += &format!("  {:<12} farness {:+.2}", format!("{x},{y}"), order.farness()[at]);
        if let Some(&next) = order.nearest_first().get(place + 1) {
            let probability = order.nearer(at, next);
            text += &format!("   nearer than the next: {:.1} %", 100.0 * probability);
            let (nearer, farther) = (pair(pixels[at]), pair(pixels[next]));
            pairs.push(json!({
                "nearer": nearer, "farther": farther, "probability": probability
            }));
        }
        text.push('\n');
    }
    text += &format!("exactly this order: {:.1} %\n", 100.0 * order.probability());
    let nearest_first: Vec<_> = order.nearest_first().iter().map(|&at| pair(pixels[at])).collect();
    let json = json!({
        "nearest_first": nearest_first,
        "probability": order.probability(),
        "log_probability": order.log_probability(),
        "neighbours": pairs,
        "farness": order.farness(),
    });
    Ok(Answer { text, json })
}

fn map(look: &Look<'_, Served>, out: &Path) -> Result<Answer, CliError> {
    let map = look.map().map_err(other)?;
    let written = map.false_colour().save_with_format(out, image::ImageFormat::Png);
    written.map_err(|e| CliError::Nothing(format!("cannot write {}: {e}", out.display())))?;
    let (near, far) = map.range();
    let times = (far - near).exp();
    let text = format!(
        "written to {}: red is near, green the middle, blue far\n\
         farness {near:+.2} to {far:+.2}: the farthest is about {times:.1} times as far as the \
         nearest\n",
        out.display()
    );
    let json = json!({ "map": out, "near": "red", "far": "blue", "farness": [near, far] });
    Ok(Answer { text, json })
}

fn position(
    look: &Look<'_, Served>,
    observer: Pixel,
    target: Pixel,
    facing: FacingArg,
    camera: Option<Intrinsics>,
) -> Result<Answer, CliError> {
    let bearing = look.position(observer, target, facing.into(), camera).map_err(other)?;
    let mut all: Vec<(Direction, f32)> =
        Direction::ALL.into_iter().map(|d| (d, bearing.probability(d))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (best, probability) = bearing.best();
    let mut text = format!("{} ({:.1} %)\n", best.name(), 100.0 * probability);
    for (direction, probability) in all.iter().skip(1).filter(|(_, p)| *p >= 0.01) {
        text += &format!("  {:<12} {:.1} %\n", direction.name(), 100.0 * probability);
    }
    let (ratio, spread) = bearing.log_depth_ratio();
    let (low, high) = ((ratio - spread).exp(), (ratio + spread).exp());
    text += &format!(
        "seen from the camera the target is {:.2} times as far as the observer ({low:.2} to \
         {high:.2})\n",
        ratio.exp()
    );
    if camera.is_none() {
        text += "without --intrinsics left and right are told by columns alone\n";
    }
    let directions: serde_json::Map<String, Value> =
        all.iter().map(|(direction, p)| (direction.name().to_owned(), json!(p))).collect();
    let json = json!({
        "direction": best.name(),
        "probability": probability,
        "directions": directions,
        "depth_ratio": ratio.exp(),
        "depth_ratio_68": [low, high],
        "rule": if camera.is_some() { "metric" } else { "pixel" },
    });
    Ok(Answer { text, json })
}

fn orientation(look: &Look<'_, Served>) -> Result<Answer, CliError> {
    let orientation = look.orientation().map_err(other)?;
    let text = format!(
        "upside down {:.1} %  (patches fit the upright picture better by {:+.1} nats; the upper \
         edge is {:.2} times as far as the lower)\n\
         mirrored    {:.1} %  (by {:+.1} nats; near 50 %: one picture rarely tells)\n",
        100.0 * orientation.upside_down,
        orientation.upright_nats,
        orientation.upper_farther.exp(),
        100.0 * orientation.mirrored,
        orientation.unmirrored_nats
    );
    Ok(Answer { text, json: json!(orientation) })
}

fn fill(look: &Look<'_, Served>, hole: Rect, files: &[PathBuf]) -> Result<Answer, CliError> {
    let crops = files.iter().map(|file| read_picture(file)).collect::<Result<Vec<_>, _>>()?;
    let filled = look.hole(hole, &crops).map_err(other)?;
    let mut all: Vec<(&PathBuf, f32)> =
        files.iter().zip(filled.probabilities().iter().copied()).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let line = |(file, probability): &(&PathBuf, f32)| {
        format!("{:>5.1} %  {}\n", 100.0 * probability, file.display())
    };
    let crops: Vec<Value> =
        all.iter().map(|(file, p)| json!({ "crop": file, "probability": p })).collect();
    let json = json!({ "best": all.first().map(|(file, _)| file), "crops": crops });
    Ok(Answer { text: all.iter().map(line).collect(), json })
}

fn distance(
    look: &Look<'_, Served>,
    known: &[DepthSample],
    at: &[Pixel],
) -> Result<Answer, CliError> {
    let distances = look.distance(known, at).map_err(other)?;
    let fit = &distances.fit;
    let mut text = String::new();
    let mut told = Vec::new();
    for (pixel, distance) in at.iter().zip(&distances.at) {
        let Pixel { x, y } = pixel;
        let (depth_m, error_m) = (distance.depth_m, distance.error_m);
        text += &format!("{:<12} {depth_m:.2} m +- {error_m:.2}\n", format!("{x},{y}"));
        told.push(json!({ "pixel": [x, y], "depth_m": depth_m, "error_m": error_m }));
    }
    let rejected: Vec<[u32; 2]> =
        fit.rejected.iter().filter_map(|&i| known.get(i)).map(|s| pair(s.pixel)).collect();
    text += &format!(
        "from {} of {} known depths; two truths in three lie within what stands after +-\n",
        known.len() - rejected.len(),
        known.len()
    );
    for [x, y] in &rejected {
        text += &format!("  left out as wrong: {x},{y}\n");
    }
    let json = json!({
        "distances": told,
        "known": known.len(),
        "rejected": rejected,
        "slope": fit.slope,
        "offset": fit.offset,
        "sigma_log_depth": fit.sigma,
    });
    Ok(Answer { text, json })
}

fn pair(pixel: Pixel) -> [u32; 2] {
    [pixel.x, pixel.y]
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> CliError {
    CliError::Other(Box::new(error))
}

fn read_picture(path: &Path) -> Result<RgbImage, CliError> {
    let failed = |why: String| CliError::Nothing(format!("cannot read {}: {why}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(failed(format!("it has {bytes} bytes, at most {MAX_FILE_BYTES} are read")));
    }
    let data = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    color_from_encoded(&data).map_err(|e| failed(e.to_string()))
}

/// Numbers with commas between them.
fn numbers<const N: usize>(text: &str, form: &str) -> Result<[f64; N], String> {
    let wrong = || format!("{text:?} is not {form}");
    let numbers: Result<Vec<f64>, _> = text.split(',').map(|n| n.trim().parse::<f64>()).collect();
    let numbers: [f64; N] = numbers.map_err(|_| wrong())?.try_into().map_err(|_| wrong())?;
    if numbers.iter().all(|n| n.is_finite()) { Ok(numbers) } else { Err(wrong()) }
}

/// A whole number of pixels.
fn whole(number: f64, text: &str) -> Result<u32, String> {
    let sound = number >= 0.0 && number.fract() == 0.0 && number <= f64::from(i32::MAX);
    if sound {
        Ok(number as u32)
    } else {
        Err(format!("{text:?}: pixels are whole numbers from 0"))
    }
}

fn pixel(text: &str) -> Result<Pixel, String> {
    let [x, y] = numbers(text, "column,row as 320,240")?;
    Ok(Pixel { x: whole(x, text)?, y: whole(y, text)? })
}

fn rect(text: &str) -> Result<Rect, String> {
    let all: [f64; 4] = numbers(text, "left,top,width,height as 200,150,240,240")?;
    let mut sides = [0; 4];
    for (side, number) in sides.iter_mut().zip(all) {
        *side = whole(number, text)?;
    }
    let [x, y, width, height] = sides;
    Ok(Rect { x: x as i32, y: y as i32, width, height })
}

fn sample(text: &str) -> Result<DepthSample, String> {
    let [x, y, depth_m] = numbers(text, "column,row,metres as 320,240,1.5")?;
    if depth_m <= 0.0 {
        return Err(format!("{text:?}: a depth above 0 m is needed"));
    }
    Ok(DepthSample {
        pixel: Pixel { x: whole(x, text)?, y: whole(y, text)? },
        depth_m: depth_m as f32,
    })
}

fn camera(text: &str) -> Result<Camera, String> {
    numbers(text, "fx,fy,cx,cy as 525,525,319.5,239.5").map(Camera::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_or_refused_with_an_example() {
        assert_eq!(pixel("12, 34").unwrap(), Pixel { x: 12, y: 34 });
        assert_eq!(sample("1,2,0.5").unwrap().depth_m, 0.5);
        assert_eq!(rect("1,2,30,40").unwrap(), Rect { x: 1, y: 2, width: 30, height: 40 });
        for (error, part) in [
            (pixel("12").unwrap_err(), "320,240"),
            (pixel("1.5,2").unwrap_err(), "whole numbers"),
            (pixel("-1,2").unwrap_err(), "whole numbers"),
            (sample("1,2,0").unwrap_err(), "above 0 m"),
            (sample("1,2,nan").unwrap_err(), "320,240,1.5"),
            (rect("1,2,3").unwrap_err(), "left,top,width,height"),
            (camera("1,2,3").unwrap_err(), "fx,fy,cx,cy"),
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
