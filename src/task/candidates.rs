//! All answers that a question admits, in a fixed order: what a policy that scores
//! candidates chooses among, and what chance is measured against.

use super::{Answer, Direction, FlipDirection, MAX_PARTS, Places, Question, Task};

/// The most answers that any question admits: the orders of four parts.
pub const MAX_CANDIDATES: usize = 24;

/// All answers of a question.
pub type Candidates = heapless::Vec<Answer, MAX_CANDIDATES>;

impl Question {
    /// Every answer that the question admits, in this fixed order:
    ///
    /// | question | candidates | count |
    /// |---|---|---|
    /// | [`Question::Arrange`] of n patches | permutations in lexicographic order, the identity first | n! |
    /// | [`Question::FindFlip`] | patch by patch, vertical before horizontal | 2 a patch |
    /// | [`Question::FillHole`] | A, B, … | options |
    /// | [`Question::OrderPoints`] | permutations in lexicographic order | n! |
    /// | [`Question::RelativePosition`] | A to D | 4 |
    ///
    /// The identity of an arrangement is listed although the balanced preset never draws
    /// it: what a policy may answer does not depend on how tasks are made.
    ///
    /// A malformed question (more parts than [`MAX_PARTS`]) has no candidates.
    ///
    /// ```
    /// use spatial_ssrl::task::Question;
    /// let flips = Question::FindFlip { rows: 2, cols: 2 }.candidates();
    /// let written: Vec<String> = flips.iter().map(|answer| answer.to_string()).collect();
    /// assert_eq!(written, ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1", "3-0", "3-1"]);
    /// ```
    pub fn candidates(&self) -> Candidates {
        let mut all = Candidates::new();
        match self {
            Question::Arrange { rows, cols, .. } => {
                let parts = usize::from(*rows) * usize::from(*cols);
                all.extend(permutations(parts).map(Answer::Arrangement));
            }
            Question::FindFlip { rows, cols } => {
                let patches = rows.saturating_mul(*cols);
                if usize::from(patches) <= MAX_PARTS {
                    for patch in 0..patches {
                        for direction in [FlipDirection::Vertical, FlipDirection::Horizontal] {
                            let _ = all.push(Answer::Flipped { patch, direction });
                        }
                    }
                }
            }
            Question::FillHole { options, .. } => {
                if usize::from(*options) <= MAX_PARTS {
                    all.extend((0..*options).map(Answer::Choice));
                }
            }
            Question::OrderPoints { points } => {
                all.extend(permutations(points.len()).map(Answer::Order));
            }
            Question::RelativePosition { options, .. } => {
                let options: &[Direction; 4] = options;
                all.extend((0..options.len() as u8).map(Answer::Choice));
            }
        }
        all
    }

    /// The probability of a right answer by drawing one candidate at random. Zero for a
    /// question without candidates.
    ///
    /// ```
    /// use spatial_ssrl::task::Question;
    /// assert_eq!(Question::FindFlip { rows: 2, cols: 2 }.chance(), 1.0 / 8.0);
    /// assert_eq!(Question::Arrange { rows: 1, cols: 3, blank: None }.chance(), 1.0 / 6.0);
    /// ```
    pub fn chance(&self) -> f64 {
        match self.candidates().len() {
            0 => 0.0,
            n => 1.0 / n as f64,
        }
    }
}

impl Task {
    /// Where the right answer stands among [`Question::candidates`]. `None` only for a
    /// user's own task whose answer does not fit its question.
    pub fn answer_index(&self) -> Option<usize> {
        self.question.candidates().iter().position(|candidate| *candidate == self.answer)
    }
}

/// The permutations of `n` parts in lexicographic order; none for zero or too many.
fn permutations(n: usize) -> impl Iterator<Item = Places> {
    let first: Option<Places> = (1..=MAX_PARTS).contains(&n).then(|| (0..n as u8).collect());
    std::iter::successors(first, |places| {
        let mut next = places.clone();
        next_permutation(&mut next).then_some(next)
    })
}

/// Steps to the next permutation in lexicographic order; `false` at the last one.
fn next_permutation(places: &mut [u8]) -> bool {
    let Some(pivot) = places.windows(2).rposition(|pair| pair[0] < pair[1]) else {
        return false;
    };
    if let Some(swap) = places.iter().rposition(|&place| place > places[pivot]) {
        places.swap(pivot, swap);
    }
    places[pivot + 1..].reverse();
    true
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::task::{Facing, Pixel, PositionRule, Rect};

    fn points(n: usize) -> Question {
        Question::OrderPoints { points: (0..n as u32).map(|i| Pixel { x: i, y: i }).collect() }
    }

    fn position() -> Question {
        Question::RelativePosition {
            observer: Pixel { x: 1, y: 1 },
            target: Pixel { x: 5, y: 5 },
            facing: Facing::Left,
            options: [Direction::Front, Direction::Left, Direction::Back, Direction::Right],
            rule: PositionRule::Pixel,
            intrinsics: None,
        }
    }

    #[test]
    fn candidates_are_distinct_complete_and_as_many_as_the_design_says() {
        let hole = Rect { x: 0, y: 0, width: 8, height: 8 };
        for (question, count) in [
            (Question::Arrange { rows: 2, cols: 2, blank: Some(1) }, 24),
            (Question::Arrange { rows: 1, cols: 3, blank: None }, 6),
            (Question::Arrange { rows: 4, cols: 1, blank: None }, 24),
            (Question::FindFlip { rows: 2, cols: 2 }, 8),
            (Question::FillHole { hole, options: 4 }, 4),
            (points(2), 2),
            (points(3), 6),
            (points(4), 24),
            (position(), 4),
        ] {
            let candidates = question.candidates();
            let distinct: HashSet<_> = candidates.iter().map(ToString::to_string).collect();
            assert_eq!(candidates.len(), count, "{question:?}");
            assert_eq!(distinct.len(), count, "{question:?}");
            assert!((question.chance() * count as f64 - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn candidates_are_written_as_published_and_stand_in_the_documented_order() {
        let written = |question: Question| -> Vec<String> {
            question.candidates().iter().map(ToString::to_string).collect()
        };
        let strips = Question::Arrange { rows: 1, cols: 3, blank: None };
        assert_eq!(written(strips), ["0-1-2", "0-2-1", "1-0-2", "1-2-0", "2-0-1", "2-1-0"]);
        assert_eq!(written(points(3)), ["1-2-3", "1-3-2", "2-1-3", "2-3-1", "3-1-2", "3-2-1"]);
        assert_eq!(written(position()), ["A", "B", "C", "D"]);
        let grid = written(Question::Arrange { rows: 2, cols: 2, blank: None });
        assert_eq!(
            (grid[0].as_str(), grid[3].as_str(), grid[23].as_str()),
            ("0-1-2-3", "0-2-3-1", "3-2-1-0")
        );
        assert!(grid.is_sorted());
    }

    #[test]
    fn malformed_questions_have_no_candidates() {
        for question in [
            Question::Arrange { rows: 3, cols: 3, blank: None },
            Question::Arrange { rows: 0, cols: 2, blank: None },
            Question::FindFlip { rows: 200, cols: 200 },
            points(0),
        ] {
            assert!(question.candidates().is_empty(), "{question:?}");
            assert_eq!(question.chance(), 0.0);
        }
    }
}
