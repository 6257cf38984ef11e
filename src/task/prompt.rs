//! The question in words, for vision-language models and for people.
//!
//! The words say how many pictures there are and which is which, what to answer, and in
//! which form. Several wordings of each question, chosen by the task's seed, keep a model
//! from hanging on one of them; what they say is the same.

use super::{Direction, Facing, MAX_PARTS, Piece, PositionRule, Question, Task, seed};

/// How every answer is to be given.
const FORMAT: &str = "First reason inside one <think> </think> pair, then give only the final answer inside \\boxed{}.";

impl Task {
    /// How many pictures the task shows: as many as [`Task::pictures`] gives.
    pub fn picture_count(&self) -> usize {
        match self.question {
            Question::FillHole { .. } => self.pieces().len(),
            _ => 1,
        }
    }

    /// The question in words, with the form of the answer. The same task always has the
    /// same words.
    ///
    /// ```
    /// # use image::{Rgb, RgbImage};
    /// # use spatial_ssrl::{
    /// #     frame::{FrameId, Registration, RgbdFrame, SensorModel},
    /// #     task::{PreparedFrame, Preset, TaskSource, flip::Flip},
    /// # };
    /// # let frame = RgbdFrame {
    /// #     id: FrameId(1),
    /// #     stamp_ns: 1,
    /// #     depth_stamp_ns: None,
    /// #     color: RgbImage::from_fn(64, 64, |x, y| Rgb([4 * x as u8, 4 * y as u8, 0])),
    /// #     depth_m: None,
    /// #     intrinsics: None,
    /// #     registration: Registration::Unregistered,
    /// # };
    /// # let prepared = PreparedFrame::new(&frame, SensorModel::default());
    /// let task = Flip::new(Preset::Balanced).make(&prepared, 7)?;
    /// assert!(task.prompt().contains("flipped"));
    /// assert!(task.prompt().ends_with("inside \\boxed{}."));
    /// # Ok::<(), spatial_ssrl::task::Skip>(())
    /// ```
    pub fn prompt(&self) -> String {
        // Mixed, so that the wording does not follow the draws that made the task.
        let wording = (seed::mix(self.seed, 0x776f_7264) % 3) as usize;
        let whole = matches!(self.pieces().first(), Some(Piece::Whole));
        let body = match &self.question {
            &Question::Arrange { rows, cols, blank } => arrange(rows, cols, blank, wording),
            &Question::FindFlip { rows, cols } => find_flip(rows, cols, wording),
            Question::FillHole { options, .. } => fill_hole(*options, whole, wording),
            Question::OrderPoints { points } => order_points(points.len(), wording),
            Question::RelativePosition { facing, options, rule, .. } => {
                relative_position(*facing, options, *rule, wording)
            }
        };
        format!("{body}\n{FORMAT}")
    }
}

fn count_word(n: usize) -> &'static str {
    ["no", "one", "two", "three", "four"].get(n).copied().unwrap_or("several")
}

/// `A, B, C or D`.
fn letters(n: u8) -> String {
    let mut text = String::new();
    for option in 0..n.min(MAX_PARTS as u8) {
        if option > 0 {
            text.push_str(if option + 1 == n { " or " } else { ", " });
        }
        text.push((b'A' + option) as char);
    }
    text
}

fn arrange(rows: u8, cols: u8, blank: Option<u8>, wording: usize) -> String {
    let n = usize::from(rows) * usize::from(cols);
    let count = count_word(n);
    let last = n.saturating_sub(1);
    let (cut, reading) = match (rows, cols) {
        (1, _) => (format!("{count} upright strips side by side"), "from left to right".to_owned()),
        (_, 1) => (format!("{count} strips, one above the other"), "from top to bottom".to_owned()),
        _ => (
            format!("a grid of {rows} rows and {cols} columns"),
            "row by row from the top, each row from left to right".to_owned(),
        ),
    };
    let white = blank.map_or_else(String::new, |label| {
        format!(" Patch {label} has been painted white; it still takes the one place that is left.")
    });
    let example = (0..n).rev().map(|i| i.to_string()).collect::<Vec<_>>().join("-");
    let ask = [
        format!(
            "A photograph was cut into {cut}, and the patches were put back in shuffled places. The picture shows the result; above each patch stands its number, 0 to {last}.{white} Put the photograph together again."
        ),
        format!(
            "The picture shows a photograph that was divided into {cut}. The patches have changed places and are numbered 0 to {last} as they stand now.{white} Which patch belongs where?"
        ),
        format!(
            "You see {count} numbered patches (0 to {last}) of one photograph, which was cut into {cut} and shuffled.{white} Find the order that restores it."
        ),
    ];
    format!(
        "{} Go through the places of the restored photograph {reading}, and name for each the number of the patch that belongs there, joined by hyphens, for example {example}.",
        ask[wording % ask.len()]
    )
}

fn find_flip(rows: u8, cols: u8, wording: usize) -> String {
    let n = usize::from(rows) * usize::from(cols);
    let (count, last) = (count_word(n), n.saturating_sub(1));
    let ask = [
        format!(
            "A photograph was cut into a grid of {rows} rows and {cols} columns; above each patch stands its number, 0 to {last}. All patches stand where they belong, but one of them was flipped in place. Which one, and how?"
        ),
        format!(
            "The picture shows the {count} patches (numbers 0 to {last}) of one photograph in their right places. Exactly one was flipped, either upside down or left to right. Find it and say how it was flipped."
        ),
        format!(
            "One of the {count} numbered patches of this photograph does not fit its neighbours, because it was flipped. Which number, 0 to {last}, and in which way?"
        ),
    ];
    format!(
        "{} Answer with the patch's number, a hyphen, and 0 if it was flipped vertically (upside down) or 1 if it was flipped horizontally (mirrored), for example 1-0.",
        ask[wording % ask.len()]
    )
}

fn fill_hole(options: u8, one_picture: bool, wording: usize) -> String {
    let letters = letters(options);
    let count = count_word(usize::from(options));
    let which = if one_picture {
        String::new()
    } else {
        format!(
            "There are {} pictures. The first is a photograph with a black square in it; the others are, in this order, the options {letters}. ",
            usize::from(options) + 1
        )
    };
    let ask = [
        format!(
            "{which}A square was cut out of the photograph. Which of the {count} options is the missing part, at the right scale and turned the right way?"
        ),
        format!(
            "{which}Which option fills the black square so that it continues its surroundings on all four sides, neither turned against it nor larger or smaller than it should be?"
        ),
        format!(
            "{which}Only one option shows exactly what was where the black square is now; the others are turned against it, or show too small or too large a part of the scene. Which one is it?"
        ),
    ];
    format!("{} Answer with one letter: {letters}.", ask[wording % ask.len()])
}

fn order_points(n: usize, wording: usize) -> String {
    let count = count_word(n);
    let example = (1..=n).rev().map(|i| i.to_string()).collect::<Vec<_>>().join("-");
    let ask = [
        format!(
            "In the picture {count} places are marked by rings numbered 1 to {n}. How far is what is seen inside each ring from the camera?"
        ),
        format!(
            "The numbered rings 1 to {n} each mark a place in the scene. Compare the distances of these {count} places from the camera."
        ),
        format!(
            "Look at what lies inside the {count} rings, 1 to {n}. Which is nearest to the camera, which is farthest?"
        ),
    ];
    format!(
        "{} List the numbers from the nearest to the farthest, joined by hyphens, for example {example}.",
        ask[wording % ask.len()]
    )
}

fn relative_position(
    facing: Facing,
    options: &[Direction; 4],
    rule: PositionRule,
    wording: usize,
) -> String {
    let faces = match facing {
        Facing::Left => "toward the left edge of the picture",
        Facing::Right => "toward the right edge of the picture",
        Facing::TowardViewer => "out of the picture, straight toward the camera",
        Facing::AwayFromViewer => "into the picture, straight away from the camera",
    };
    let ask = [
        format!(
            "Two places in the picture are marked by rings. Imagine standing at ring 1 and facing {faces}. In which direction, from there, is the place in ring 2?"
        ),
        format!(
            "An observer stands in the scene at ring 1 and looks {faces}. Where is ring 2 as this observer would say it?"
        ),
        format!(
            "Put yourself at the place in ring 1, facing {faces}. Where do you find the place in ring 2?"
        ),
    ];
    let rule = match rule {
        PositionRule::Metric => {
            "Judge it as on a map of the scene seen from above; heights do not matter. The full turn around the observer is divided into eight equal sectors of 45 degrees, centred on Front, Right-Front, Right, Right-Back, Back, Left-Back, Left and Left-Front."
        }
        PositionRule::Pixel => {
            "Heights do not matter. Being to the left or right in the picture and being nearer to or farther from the camera are what counts, both seen with the observer's eyes: Front, Back, Left and Right mean that the other of the two is about the same for both places; Left-Front, Right-Front, Left-Back and Right-Back mean both at once."
        }
    };
    let mut listed = String::new();
    for (letter, option) in ('A'..).zip(options) {
        listed.push_str(&format!("\n{letter}. {}", option.name()));
    }
    format!(
        "{} {rule}{listed}\nAnswer with one letter: {}.",
        ask[wording % ask.len()],
        letters(options.len() as u8)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        frame::SensorModel,
        task::{
            Answer, Pixel, PreparedFrame, Preset, Recipe, TaskKind, TaskSource,
            alike::test_frames::textured, flip::Flip, inpaint::Inpaint, reorder::Reorder,
        },
    };

    fn prompts(source: &dyn TaskSource) -> Vec<(Task, String)> {
        let frame = textured(3, 96, 80);
        let prepared = PreparedFrame::new(&frame, SensorModel::default());
        (0..200)
            .filter_map(|seed| source.make(&prepared, seed).ok())
            .map(|task| (task.clone(), task.prompt()))
            .collect()
    }

    fn position(facing: Facing, rule: PositionRule, seed: u64) -> Task {
        let frame = textured(1, 64, 64);
        Task {
            kind: TaskKind::Position,
            frame_id: frame.id,
            stamp_ns: 0,
            picture_size: (64, 64),
            seed,
            preset: Preset::Balanced,
            question: Question::RelativePosition {
                observer: Pixel { x: 9, y: 9 },
                target: Pixel { x: 40, y: 40 },
                facing,
                options: [
                    Direction::LeftFront,
                    Direction::Back,
                    Direction::Right,
                    Direction::RightBack,
                ],
                rule,
                intrinsics: None,
            },
            answer: Answer::Choice(2),
            recipe: Recipe::Whole,
        }
    }

    #[test]
    fn every_question_has_several_wordings_and_all_say_the_form_of_the_answer() {
        for source in
            [&Reorder::default() as &dyn TaskSource, &Flip::default(), &Inpaint::default()]
        {
            let prompts = prompts(source);
            let first_words: HashSet<_> = prompts
                .iter()
                .map(|(_, prompt)| prompt.split(' ').take(4).collect::<Vec<_>>())
                .collect();
            assert!(prompts.len() > 100 && !first_words.is_empty());
            let texts: HashSet<_> = prompts.iter().map(|(_, prompt)| prompt).collect();
            assert!(texts.len() >= 3, "{:?}", source.kind());
            for (task, prompt) in &prompts {
                assert!(prompt.contains("<think>") && prompt.contains("\\boxed{}"), "{prompt}");
                assert_eq!(task.prompt(), *prompt);
            }
        }
    }

    #[test]
    fn the_wording_tells_nothing_about_the_answer() {
        for source in [&Flip::default() as &dyn TaskSource, &Inpaint::default()] {
            let mut answers_by_text = std::collections::HashMap::<String, HashSet<String>>::new();
            for (task, prompt) in prompts(source) {
                answers_by_text.entry(prompt).or_default().insert(task.answer.to_string());
            }
            for (text, answers) in answers_by_text {
                assert!(answers.len() >= 4, "{text}: {answers:?}");
            }
        }
    }

    #[test]
    fn the_example_in_a_prompt_has_the_form_of_a_candidate() {
        for source in [&Reorder::default() as &dyn TaskSource, &Flip::default()] {
            for (task, prompt) in prompts(source) {
                let example = prompt.split("for example ").nth(1).unwrap();
                let example = example.split('.').next().unwrap();
                let candidates = task.question.candidates();
                assert!(candidates.iter().any(|c| c.to_string() == example), "{prompt}");
            }
        }
    }

    #[test]
    fn the_white_patch_and_the_number_of_pictures_are_told() {
        for (task, prompt) in prompts(&Reorder::default()) {
            let Question::Arrange { blank, .. } = task.question else { unreachable!() };
            assert_eq!(prompt.contains("white"), blank.is_some());
            assert_eq!(task.picture_count(), 1);
        }
        for (task, prompt) in prompts(&Inpaint::default()) {
            assert!(prompt.contains("5 pictures"));
            assert_eq!(task.picture_count(), 5);
        }
    }

    #[test]
    fn position_prompts_name_the_options_in_order_and_explain_their_rule() {
        for seed in 0..9 {
            for facing in Facing::ALL {
                let prompt = position(facing, PositionRule::Metric, seed).prompt();
                assert!(prompt.contains("\nA. Left-Front\nB. Back\nC. Right\nD. Right-Back\n"));
                assert!(prompt.contains("45 degrees") && prompt.contains("from above"));
            }
            let prompt = position(Facing::Left, PositionRule::Pixel, seed).prompt();
            assert!(prompt.contains("left edge") && !prompt.contains("45 degrees"));
        }
        let faces: HashSet<_> =
            Facing::ALL.map(|f| position(f, PositionRule::Metric, 3).prompt()).into();
        assert_eq!(faces.len(), 4);
    }
}
