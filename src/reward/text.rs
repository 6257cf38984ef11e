//! The published text scorer: `<think>…</think>` first, the last `\boxed{…}` is the answer.
//!
//! The rules, in the order in which they apply:
//! 1. White space around `<`, `>` and `/` is dropped, so `< think >` is a tag.
//! 2. Format: the response starts with `<think>`, later comes `</think>`, after that a
//!    `\boxed{` and after that a `}`. Anything may stand between and behind.
//! 3. Answer: what the *last* `\boxed{` holds up to the brace that closes it, nested braces
//!    counted, white space at its ends dropped. A last box that is never closed holds
//!    nothing, even if an earlier one was sound.
//! 4. Accuracy: the answer equals the right one, character by character.
//!
//! Each step is one pass over the text, so a response of any length and nesting takes linear
//! time; the published regular expressions backtrack on long runs of white space.

use super::{RewardWeights, Score};

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";
const BOX: &str = "\\boxed{";

/// Scores the text of one response against the right answer.
///
/// A response without a closed box is never right, whatever the right answer is. (The
/// published scorer reads it as the word `None`.)
///
/// ```
/// use spatial_ssrl::reward::{RewardWeights, score_text};
/// let weights = RewardWeights::default();
/// let score = score_text("<think>2 is nearer</think>\\boxed{2-1-3}", "2-1-3", weights);
/// assert_eq!((score.overall, score.accuracy, score.format), (1.0, 1.0, 1.0));
/// assert_eq!(score_text("\\boxed{2-1-3}", "2-1-3", weights).overall, 0.9);
/// ```
pub fn score_text(response: &str, right: &str, weights: RewardWeights) -> Score {
    let text = without_space_around_tags(response);
    let accuracy = f64::from(u8::from(last_box(&text) == Some(right)));
    let format = f64::from(u8::from(has_format(&text)));
    Score { overall: weights.accuracy() * accuracy + weights.format() * format, accuracy, format }
}

/// The answer that a response gives: the content of its last box, if that is closed.
///
/// ```
/// use spatial_ssrl::reward::boxed;
/// assert_eq!(boxed("\\boxed{A} or \\boxed{ B }").as_deref(), Some("B"));
/// assert_eq!(boxed("the answer is B"), None);
/// ```
pub fn boxed(response: &str) -> Option<String> {
    last_box(&without_space_around_tags(response)).map(str::to_owned)
}

/// White space as the published scorer's language has it: Unicode's, and the four
/// information separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn without_space_around_tags(response: &str) -> String {
    let mut text = String::with_capacity(response.len());
    // Where the white space that may turn out to stand before a tag character began.
    let mut kept = 0;
    let mut after_tag = false;
    for c in response.chars() {
        if matches!(c, '<' | '>' | '/') {
            text.truncate(kept);
            text.push(c);
            kept = text.len();
            after_tag = true;
        } else if is_space(c) {
            if !after_tag {
                text.push(c);
            }
        } else {
            text.push(c);
            kept = text.len();
            after_tag = false;
        }
    }
    text
}

fn has_format(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(OPEN) else { return false };
    let Some((_, rest)) = rest.split_once(CLOSE) else { return false };
    let Some((_, rest)) = rest.split_once(BOX) else { return false };
    rest.contains('}')
}

fn last_box(text: &str) -> Option<&str> {
    let (_, content) = text.rsplit_once(BOX)?;
    let mut depth = 0_usize;
    for (at, byte) in content.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => {
                return content.get(..at).map(|inner| inner.trim_matches(is_space));
            }
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn score(response: &str, right: &str) -> (f64, f64) {
        let score = score_text(response, right, RewardWeights::default());
        (score.accuracy, score.format)
    }

    #[test]
    fn the_last_box_counts_even_when_it_is_never_closed() {
        assert_eq!(score("<think>x</think>\\boxed{A} \\boxed{B", "A"), (0.0, 1.0));
        assert_eq!(score("\\boxed{\\boxed{A}}", "A"), (1.0, 0.0));
    }

    #[test]
    fn braces_outside_the_box_do_not_count() {
        assert_eq!(score("<think>}{</think>\\boxed{A}}}", "A"), (1.0, 1.0));
        assert_eq!(score("<think>x</think>}\\boxed{{A}", "A"), (0.0, 1.0));
    }

    #[test]
    fn a_response_without_a_box_is_wrong_whatever_the_answer() {
        for right in ["", "None", "A"] {
            assert_eq!(score("<think>x</think>A", right).0, 0.0, "{right:?}");
        }
    }

    #[test]
    fn space_beside_tag_characters_is_dropped_inside_the_box_too() {
        assert_eq!(score("\\boxed{1 / 2}", "1/2").0, 1.0);
        assert_eq!(score("\u{1c}<think>x</think>\\boxed{A\u{a0}}", "A"), (1.0, 1.0));
        assert_eq!(score(" x\u{3000}y ", ""), (0.0, 0.0));
    }

    #[test]
    fn ten_times_the_text_takes_about_ten_times_as_long() {
        let hostile = |n: usize| {
            [
                "<think>".repeat(n),
                "\\boxed{".repeat(n),
                format!("<think></think>\\boxed{}", "{".repeat(6 * n)),
                " ".repeat(7 * n),
                format!("<think>{}", " <".repeat(3 * n)),
                format!("<think>{}", "</think".repeat(n)),
                format!("<think></think>{}", "\\boxed".repeat(n)),
            ]
        };
        let took = |n: usize| {
            let responses = hostile(n);
            let fastest = (0..3).map(|_| {
                let start = Instant::now();
                for response in &responses {
                    std::hint::black_box(score(response, "A"));
                }
                start.elapsed()
            });
            fastest.min().unwrap()
        };
        let (short, long) = (took(20_000), took(200_000));
        // Quadratic time would be 100 times as long; the rest is room for a busy machine.
        assert!(long < short * 40, "{short:?} for 1x, {long:?} for 10x");
    }

    /// The pieces that matter, so that random strings hit the rules.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("<think>".to_owned()),
            Just("</think>".to_owned()),
            Just("\\boxed{".to_owned()),
            Just("}".to_owned()),
            Just("{".to_owned()),
            Just(" ".to_owned()),
            Just("\u{a0}".to_owned()),
            Just("A".to_owned()),
            Just("é日".to_owned()),
            any::<String>(),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_text_scores_without_panic_and_within_bounds(response in pieces(), right in ".{0,4}") {
            let score = score_text(&response, &right, RewardWeights::default());
            prop_assert!(score.accuracy == 0.0 || score.accuracy == 1.0);
            prop_assert!(score.format == 0.0 || score.format == 1.0);
            prop_assert!((0.0..=1.0).contains(&score.overall));
            prop_assert_eq!(score.accuracy == 1.0, boxed(&response).as_deref() == Some(&*right));
        }

        #[test]
        fn space_around_tags_changes_no_score(response in pieces()) {
            let spaced = response.replace('<', " \n<\t").replace('>', "\u{a0}> ");
            prop_assert_eq!(score(&response, "A"), score(&spaced, "A"));
        }

        #[test]
        fn a_well_formed_response_earns_everything(thought in "[^<>{}]*", answer in "[A-D]|[0-3](-[0-3]){1,3}") {
            let response = format!("<think>{thought}</think> So \\boxed{{{answer}}}.");
            prop_assert_eq!(score(&response, &answer), (1.0, 1.0));
        }
    }
}
