//! What a user may say about a SOURCE; the same for every subcommand that reads one.

use clap::{Args, ValueEnum};

use crate::source::SourceOptions;

/// Options about the source.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// Topic of the colour picture, if the rules choose another (bags)
    #[arg(long, value_name = "TOPIC")]
    color: Option<String>,

    /// Topic of the depth picture (bags)
    #[arg(long, value_name = "TOPIC")]
    depth: Option<String>,

    /// Topic of the colour camera's info (bags)
    #[arg(long, value_name = "TOPIC")]
    info: Option<String>,

    /// Depth units per metre of 16-bit pictures: 5000 as TUM has it, 1000 for millimetres; left out, the
    /// folder tells which of the two (folders)
    #[arg(long, value_name = "UNITS", value_parser = positive)]
    depth_scale: Option<f64>,

    /// Pinhole intrinsics in pixels, where the source has none (525,525,319.5,239.5)
    #[arg(long, value_name = "FX,FY,CX,CY", value_parser = four)]
    intrinsics: Option<Four>,

    /// The most that the stamps of colour and depth may differ, milliseconds [default: 20]
    #[arg(long, value_name = "MS", value_parser = not_negative)]
    tolerance_ms: Option<f64>,

    /// Whether depth is aligned with colour pixel by pixel; auto decides from topics and
    /// intrinsics, in folders from where edges lie
    #[arg(long, value_name = "WHETHER", default_value = "auto")]
    registered: Registered,
}

/// Whether depth is registered to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Registered {
    Yes,
    No,
    #[default]
    Auto,
}

/// `fx, fy, cx, cy`.
type Four = std::sync::Arc<[f64; 4]>;

impl SourceArgs {
    /// The options as sources take them.
    pub fn options(&self) -> SourceOptions {
        SourceOptions {
            color_topic: self.color.clone(),
            depth_topic: self.depth.clone(),
            info_topic: self.info.clone(),
            depth_scale: self.depth_scale,
            intrinsics: self.intrinsics.as_deref().copied(),
            // Saturates far beyond any tolerance that makes sense.
            tolerance_ns: self.tolerance_ms.map(|ms| (ms * 1e6).round() as i64),
            registered: match self.registered {
                Registered::Yes => Some(true),
                Registered::No => Some(false),
                Registered::Auto => None,
            },
        }
    }
}

fn number(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!("{text:?} is not a number")),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    if number > 0.0 { Ok(number) } else { Err(format!("{number} is not above 0")) }
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    if number >= 0.0 { Ok(number) } else { Err(format!("{number} is below 0")) }
}

fn four(text: &str) -> Result<Four, String> {
    let numbers = text.split(',').map(number).collect::<Result<Vec<f64>, _>>()?;
    let four: [f64; 4] = numbers
        .try_into()
        .map_err(|got: Vec<f64>| format!("4 numbers fx,fy,cx,cy are needed, not {}", got.len()))?;
    Ok(Four::new(four))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        source: SourceArgs,
    }

    fn parse(args: &[&str]) -> Result<SourceOptions, String> {
        let args = std::iter::once("test").chain(args.iter().copied());
        Only::try_parse_from(args)
            .map(|only| only.source.options())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_arrive_in_the_units_that_sources_take() {
        let options = parse(&[
            "--color=/c",
            "--depth-scale=1000",
            "--intrinsics=525,525.5, 319.5,239.5",
            "--tolerance-ms=33.4",
            "--registered=no",
        ])
        .unwrap();
        assert_eq!(options.color_topic.as_deref(), Some("/c"));
        assert_eq!(options.depth_scale, Some(1000.0));
        assert_eq!(options.intrinsics, Some([525.0, 525.5, 319.5, 239.5]));
        assert_eq!(options.tolerance_ns, Some(33_400_000));
        assert_eq!(options.registered, Some(false));
        assert_eq!(parse(&[]).unwrap().registered, None);
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused_with_a_reason() {
        for (args, reason) in [
            (["--depth-scale=0"], "0 is not above 0"),
            (["--depth-scale=nan"], "is not a number"),
            (["--tolerance-ms=-1"], "-1 is below 0"),
            (["--intrinsics=1,2,3"], "fx,fy,cx,cy are needed, not 3"),
            (["--intrinsics=1,2,3,x"], "is not a number"),
            (["--registered=maybe"], "possible values: yes, no, auto"),
        ] {
            let message = parse(&args).unwrap_err();
            assert!(message.contains(reason), "{args:?}: {message}");
        }
    }
}
