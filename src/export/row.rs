//! One task as one row of a data set.

use image::{
    ExtendedColorType, ImageEncoder, RgbImage,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};
use serde::Serialize;

use crate::task::{Facing, PositionRule, Preset, Question, Recipe, Task};

/// Where in a problem's text a picture stands, as EasyR1 and verl read it.
pub const IMAGE_PLACEHOLDER: &str = "<image>";

/// One task, ready to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRow {
    /// The question with one [`IMAGE_PLACEHOLDER`] for each picture.
    pub problem: String,
    /// The right answer, as it is scored.
    pub answer: String,
    /// The pictures, PNG files, in the order of their placeholders.
    pub images: Vec<Vec<u8>>,
    /// The kind of task.
    pub kind: String,
    /// The variant within its kind, see [`variant`].
    pub variant: String,
    /// `balanced` or `published`.
    pub preset: String,
    /// Header stamp of the frame, nanoseconds.
    pub stamp_ns: i64,
    /// The frame's id.
    pub frame_id: u64,
    /// The seed that makes this very task again from that frame.
    pub seed: u64,
    /// The machine-readable question, JSON.
    pub question: String,
}

/// A message of a chat, as TRL reads it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Message {
    pub role: &'static str,
    pub content: String,
}

impl TaskRow {
    /// A row from a task, its text and its pictures.
    ///
    /// `problem` holds one [`IMAGE_PLACEHOLDER`] for each picture; where it holds fewer, the
    /// missing ones are put in front, as the loaders refuse rows that do not match.
    ///
    /// # Errors
    /// When a picture cannot be encoded or the question cannot be written as JSON.
    pub fn new(task: &Task, problem: &str, pictures: &[RgbImage]) -> Result<Self, RowError> {
        let placed = problem.matches(IMAGE_PLACEHOLDER).count();
        if placed > pictures.len() {
            return Err(RowError::Placeholders { placed, pictures: pictures.len() });
        }
        let missing = IMAGE_PLACEHOLDER.repeat(pictures.len() - placed);
        Ok(TaskRow {
            problem: format!("{missing}{problem}"),
            answer: task.answer.to_string(),
            images: pictures.iter().map(encode_png).collect::<Result<_, _>>()?,
            kind: task.kind.name().to_owned(),
            variant: variant(task),
            preset: preset_name(task.preset).to_owned(),
            stamp_ns: task.stamp_ns,
            frame_id: task.frame_id.0,
            seed: task.seed,
            question: serde_json::to_string(&task.question)?,
        })
    }

    /// The chat that TRL trains on: it places the pictures itself, so the text has none of
    /// the placeholders.
    pub(crate) fn prompt(&self) -> [Message; 1] {
        let content = self.problem.replace(IMAGE_PLACEHOLDER, "").trim().to_owned();
        [Message { role: "user", content }]
    }

    /// About how many bytes the row takes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.images.iter().map(Vec::len).sum::<usize>()
            + 2 * self.problem.len()
            + self.question.len()
    }
}

/// Why a task makes no row.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The text speaks of more pictures than there are.
    #[error("the problem has {placed} {IMAGE_PLACEHOLDER} placeholders but {pictures} pictures")]
    Placeholders {
        /// Placeholders in the text.
        placed: usize,
        /// Pictures given.
        pictures: usize,
    },
    /// A picture cannot be encoded.
    #[error("cannot encode a picture as PNG: {0}")]
    Picture(#[from] image::ImageError),
    /// The question cannot be written.
    #[error("cannot write the question as JSON: {0}")]
    Question(#[from] serde_json::Error),
}

/// A picture as a PNG file: lossless, since blocks of a lossy codec would show where patches
/// were cut.
///
/// # Errors
/// When the encoder refuses it (an empty picture, say).
pub fn encode_png(picture: &RgbImage) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
        .write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)?;
    Ok(bytes)
}

/// The name of a preset in files.
pub fn preset_name(preset: Preset) -> &'static str {
    match preset {
        Preset::Balanced => "balanced",
        Preset::Published => "published",
    }
}

/// The variant of a task within its kind: `2x2`, `2x2_blank`, `1x3`, …; `vertical`,
/// `horizontal`; `options_4`; `points_3`; `facing_left_metric`, ….
pub fn variant(task: &Task) -> String {
    match (&task.question, &task.recipe) {
        (Question::Arrange { rows, cols, blank }, _) => {
            format!("{rows}x{cols}{}", if blank.is_some() { "_blank" } else { "" })
        }
        (Question::FindFlip { .. }, Recipe::FlipOne { direction, .. }) => match direction {
            crate::task::FlipDirection::Vertical => "vertical".to_owned(),
            crate::task::FlipDirection::Horizontal => "horizontal".to_owned(),
        },
        (Question::FindFlip { rows, cols }, _) => format!("{rows}x{cols}"),
        (Question::FillHole { options, .. }, _) => format!("options_{options}"),
        (Question::OrderPoints { points }, _) => format!("points_{}", points.len()),
        (Question::RelativePosition { facing, rule, .. }, _) => {
            let facing = match facing {
                Facing::Left => "left",
                Facing::Right => "right",
                Facing::TowardViewer => "toward_viewer",
                Facing::AwayFromViewer => "away_from_viewer",
            };
            let rule = match rule {
                PositionRule::Metric => "metric",
                PositionRule::Pixel => "pixel",
            };
            format!("facing_{facing}_{rule}")
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use image::Rgb;

    use super::*;
    use crate::{
        frame::FrameId,
        task::{Answer, FlipDirection, TaskKind},
    };

    pub(crate) fn flip_task() -> Task {
        Task {
            kind: TaskKind::Flip,
            frame_id: FrameId(u64::MAX),
            stamp_ns: 1_305_031_229_564_442_000,
            picture_size: (16, 12),
            seed: u64::MAX - 1,
            preset: Preset::Balanced,
            question: Question::FindFlip { rows: 2, cols: 2 },
            answer: Answer::Flipped { patch: 3, direction: FlipDirection::Vertical },
            recipe: Recipe::FlipOne { patch: 3, direction: FlipDirection::Vertical },
        }
    }

    /// A row with `pictures` small pictures, each of its own colour.
    pub(crate) fn row(number: usize, pictures: usize) -> TaskRow {
        let pictures: Vec<RgbImage> = (0..pictures)
            .map(|i| RgbImage::from_pixel(16, 12, Rgb([number as u8, i as u8, 7])))
            .collect();
        TaskRow::new(&flip_task(), "Which patch – 0 to 3 – is flipped?", &pictures).unwrap()
    }

    #[test]
    fn every_picture_has_its_placeholder() {
        let row = row(0, 2);
        assert_eq!(row.problem, "<image><image>Which patch – 0 to 3 – is flipped?");
        assert_eq!(row.prompt()[0].content, "Which patch – 0 to 3 – is flipped?");
        let picture = RgbImage::new(4, 4);
        let placed = TaskRow::new(&flip_task(), "In <image>, which?", &[picture]).unwrap();
        assert_eq!(placed.problem, "In <image>, which?");
        let refused = TaskRow::new(&flip_task(), "<image> <image>", &[]);
        assert!(matches!(refused, Err(RowError::Placeholders { placed: 2, pictures: 0 })));
    }

    #[test]
    fn pictures_are_lossless_and_the_answer_is_the_scored_string() {
        let picture = RgbImage::from_fn(33, 17, |x, y| Rgb([x as u8 * 7, y as u8 * 13, 5]));
        let row = TaskRow::new(&flip_task(), "", std::slice::from_ref(&picture)).unwrap();
        assert_eq!(image::load_from_memory(&row.images[0]).unwrap().to_rgb8(), picture);
        assert_eq!((row.answer.as_str(), row.variant.as_str()), ("3-0", "vertical"));
        assert_eq!(row.question, r#"{"form":"find_flip","rows":2,"cols":2}"#);
    }
}
