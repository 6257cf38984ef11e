//! Reading an [`Answer`] back from its string.

use crate::task::{Answer, FlipDirection, MAX_PARTS, Places, Question};

/// The answer that `text` writes to `question`, if it is one.
///
/// Strict: only the very string that [`Answer`]'s `Display` writes is read, and only an
/// answer that the question allows (a permutation of its labels, an option that it offers).
///
/// ```
/// use spatial_ssrl::{reward::parse_answer, task::{Answer, FlipDirection, Question}};
/// let question = Question::FindFlip { rows: 2, cols: 2 };
/// let answer = Answer::Flipped { patch: 3, direction: FlipDirection::Vertical };
/// assert_eq!(parse_answer("3-0", &question), Some(answer));
/// assert_eq!(parse_answer("4-0", &question), None);
/// assert_eq!(parse_answer(" 3-0", &question), None);
/// ```
pub fn parse_answer(text: &str, question: &Question) -> Option<Answer> {
    match question {
        Question::Arrange { rows, cols, .. } => {
            permutation(text, rows.checked_mul(*cols)?, 0).map(Answer::Arrangement)
        }
        Question::FindFlip { rows, cols } => {
            let (patch, direction) = text.split_once('-')?;
            let patch = digit(patch)?;
            let direction = match direction {
                "0" => FlipDirection::Vertical,
                "1" => FlipDirection::Horizontal,
                _ => return None,
            };
            (patch < rows.checked_mul(*cols)?).then_some(Answer::Flipped { patch, direction })
        }
        Question::FillHole { options, .. } => choice(text, *options),
        Question::OrderPoints { points } => {
            permutation(text, u8::try_from(points.len()).ok()?, 1).map(Answer::Order)
        }
        Question::RelativePosition { options, .. } => {
            choice(text, u8::try_from(options.len()).ok()?)
        }
    }
}

fn digit(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte @ b'0'..=b'9'] => Some(byte - b'0'),
        _ => None,
    }
}

fn choice(text: &str, options: u8) -> Option<Answer> {
    match text.as_bytes() {
        [letter @ b'A'..=b'Z'] => {
            let option = letter - b'A';
            (option < options).then_some(Answer::Choice(option))
        }
        _ => None,
    }
}

/// Each of the labels `first .. first + n` once, written with dashes, held from 0.
fn permutation(text: &str, n: u8, first: u8) -> Option<Places> {
    if n == 0 || usize::from(n) > MAX_PARTS {
        return None;
    }
    let mut places = Places::new();
    for label in text.split('-') {
        let place = digit(label)?.checked_sub(first)?;
        if place >= n || places.contains(&place) {
            return None;
        }
        places.push(place).ok()?;
    }
    (places.len() == usize::from(n)).then_some(places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::task::{Direction, Facing, Pixel, PositionRule, Rect};

    fn questions() -> Vec<Question> {
        let pixel = Pixel { x: 1, y: 2 };
        let points = |n: usize| Question::OrderPoints { points: (0..n).map(|_| pixel).collect() };
        vec![
            Question::Arrange { rows: 2, cols: 2, blank: Some(1) },
            Question::Arrange { rows: 1, cols: 3, blank: None },
            Question::FindFlip { rows: 2, cols: 2 },
            Question::FillHole { hole: Rect { x: 0, y: 0, width: 8, height: 8 }, options: 4 },
            points(3),
            points(2),
            Question::RelativePosition {
                observer: pixel,
                target: pixel,
                facing: Facing::Left,
                options: [Direction::Front, Direction::Back, Direction::Left, Direction::Right],
                rule: PositionRule::Pixel,
                intrinsics: None,
            },
        ]
    }

    /// Every answer that a question allows, written independently of the parser.
    fn allowed(question: &Question) -> Vec<Answer> {
        fn permutations(n: u8) -> Vec<Places> {
            let mut found = Vec::new();
            for code in 0..4_u32.pow(u32::from(n)) {
                let places: Places =
                    (0..n).map(|i| (code / 4_u32.pow(u32::from(i)) % 4) as u8).collect();
                if (0..n).all(|label| places.contains(&label)) {
                    found.push(places);
                }
            }
            found
        }
        match question {
            Question::Arrange { rows, cols, .. } => {
                permutations(rows * cols).into_iter().map(Answer::Arrangement).collect()
            }
            Question::OrderPoints { points } => {
                permutations(points.len() as u8).into_iter().map(Answer::Order).collect()
            }
            Question::FindFlip { .. } => [FlipDirection::Vertical, FlipDirection::Horizontal]
                .into_iter()
                .flat_map(|direction| (0..4).map(move |patch| Answer::Flipped { patch, direction }))
                .collect(),
            Question::FillHole { .. } | Question::RelativePosition { .. } => {
                (0..4).map(Answer::Choice).collect()
            }
        }
    }

    #[test]
    fn every_answer_is_read_back_from_its_string() {
        let mut read = 0;
        for question in questions() {
            for answer in allowed(&question) {
                assert_eq!(parse_answer(&answer.to_string(), &question), Some(answer));
                read += 1;
            }
        }
        assert_eq!(read, 24 + 6 + 8 + 4 + 6 + 2 + 4);
    }

    #[test]
    fn what_is_not_an_answer_is_not_read() {
        let questions = questions();
        for text in ["", "-", "0", "0-1", "0-1-2-4", "0-0-1-2", "0-1-2-3-", "0-1-2-3-0", "a-b-c-d"]
        {
            assert_eq!(parse_answer(text, &questions[0]), None, "{text:?}");
        }
        for text in ["0-1-2", "1-2-4", "1-1-2", "1,2,3", "１-2-3"] {
            assert_eq!(parse_answer(text, &questions[4]), None, "{text:?}");
        }
        for text in ["a", "E", "AB", "A ", "Ａ"] {
            assert_eq!(parse_answer(text, &questions[3]), None, "{text:?}");
        }
        let huge = Question::Arrange { rows: 255, cols: 255, blank: None };
        assert_eq!(parse_answer("0-1-2-3", &huge), None);
    }

    proptest! {
        #[test]
        fn whatever_is_read_writes_the_same_string(text in "([0-5]|[A-F]|-|.){0,8}", which in 0..7_usize) {
            if let Some(answer) = parse_answer(&text, &questions()[which]) {
                prop_assert_eq!(answer.to_string(), text);
            }
        }
    }
}
