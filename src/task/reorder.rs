//! Shuffled patch reordering: patches stand in shuffled places; which belongs where?

use rand::RngExt;

use super::{
    Answer, Places, PreparedFrame, Preset, Question, Recipe, Skip, Task, TaskKind, TaskSource,
    alike::{Look, require_different, require_size},
    piece::patch_rect,
    seed::{self, Rng},
};

/// The shortest picture side of which patches are still worth looking at, in pixels.
const MIN_SIDE: u32 = 64;

/// Variants with their published counts, which are the odds here: rows, columns and
/// whether one patch is painted white. Three and four strips share their count evenly.
const VARIANTS: [(Variant, u32); 6] = [
    (Variant { rows: 2, cols: 2, white: false }, 2 * 4000),
    (Variant { rows: 2, cols: 2, white: true }, 2 * 4028),
    (Variant { rows: 1, cols: 3, white: false }, 4991),
    (Variant { rows: 1, cols: 4, white: false }, 4991),
    (Variant { rows: 3, cols: 1, white: false }, 3009),
    (Variant { rows: 4, cols: 1, white: false }, 3009),
];

#[derive(Clone, Copy)]
struct Variant {
    rows: u8,
    cols: u8,
    white: bool,
}

/// Makes reordering tasks.
///
/// Four layouts with the published odds: 2x2; 2x2 with one patch white; three or four
/// strips side by side; three or four strips stacked. The answer is the inverse (argsort)
/// of the permutation that was applied. [`Preset::Balanced`] leaves the identity out, as a
/// picture that was not shuffled is the one answer that needs no looking;
/// [`Preset::Published`] lets it through.
///
/// ```
/// use image::{Rgb, RgbImage};
/// use spatial_ssrl::{
///     frame::{FrameId, Registration, RgbdFrame, SensorModel},
///     task::{Answer, PreparedFrame, Preset, Recipe, TaskSource, reorder::Reorder},
/// };
/// let frame = RgbdFrame {
///     id: FrameId(1),
///     stamp_ns: 1,
///     depth_stamp_ns: None,
///     color: RgbImage::from_fn(64, 64, |x, y| Rgb([4 * x as u8, 4 * y as u8, 0])),
///     depth_m: None,
///     intrinsics: None,
///     registration: Registration::Unregistered,
/// };
/// let task = Reorder::new(Preset::Balanced)
///     .make(&PreparedFrame::new(&frame, SensorModel::default()), 7)?;
/// let (Answer::Arrangement(answer), Recipe::Shuffle { sources }) = (task.answer, task.recipe)
/// else { unreachable!() };
/// for (place, &shown) in answer.iter().enumerate() {
///     assert_eq!(usize::from(sources[usize::from(shown)]), place);
/// }
/// # Ok::<(), spatial_ssrl::task::Skip>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Reorder {
    /// Which rules make the tasks.
    pub preset: Preset,
}

impl Reorder {
    /// A source under these rules.
    pub fn new(preset: Preset) -> Self {
        Reorder { preset }
    }
}

impl TaskSource for Reorder {
    fn kind(&self) -> TaskKind {
        TaskKind::Reorder
    }

    fn make(&self, frame: &PreparedFrame<'_>, seed: u64) -> Result<Task, Skip> {
        let frame = frame.frame();
        require_size(&frame.color, MIN_SIDE)?;
        let (width, height) = frame.color.dimensions();
        let mut rng = seed::rng(seed);
        let Variant { rows, cols, white } = draw_variant(&mut rng);
        let n = rows * cols;
        let sources = shuffled(n, self.preset == Preset::Balanced, &mut rng);
        let blank = white.then(|| rng.random_range(0..n));

        // Only patches that can be seen must differ: the white one is what is left over.
        let mut seen: heapless::Vec<Look, { super::MAX_PARTS }> = heapless::Vec::new();
        let mut least = f32::INFINITY;
        for (place, &source) in sources.iter().enumerate() {
            if blank.is_some_and(|blank| usize::from(blank) == place) {
                continue;
            }
            let Some(rect) = patch_rect(width, height, rows, cols, source) else { continue };
            let look = Look::of(&frame.color, rect);
            least = seen.iter().map(|other| look.difference(other)).fold(least, f32::min);
            let _ = seen.push(look);
        }
        require_different(least)?;

        Ok(Task {
            kind: TaskKind::Reorder,
            frame_id: frame.id,
            stamp_ns: frame.stamp_ns,
            picture_size: (width, height),
            seed,
            preset: self.preset,
            question: Question::Arrange { rows, cols, blank },
            answer: Answer::Arrangement(inverse(&sources)),
            recipe: Recipe::Shuffle { sources },
        })
    }
}

fn draw_variant(rng: &mut Rng) -> Variant {
    let total = VARIANTS.iter().map(|(_, odds)| odds).sum();
    let mut left = rng.random_range(0..total);
    for (variant, odds) in VARIANTS {
        if left < odds {
            return variant;
        }
        left -= odds;
    }
    VARIANTS[0].0
}

/// A permutation of `n` places, each equally likely (but the identity, if it is left out).
fn shuffled(n: u8, without_identity: bool, rng: &mut Rng) -> Places {
    loop {
        let mut places: Places = (0..n).collect();
        for last in (1..places.len()).rev() {
            let other = rng.random_range(0..=last as u32) as usize;
            places.swap(last, other);
        }
        let identity = places.is_sorted();
        if !(identity && without_identity) {
            return places;
        }
    }
}

/// The inverse permutation.
fn inverse(permutation: &Places) -> Places {
    let mut inverse = permutation.clone();
    for (i, &p) in permutation.iter().enumerate() {
        if let Some(slot) = inverse.get_mut(usize::from(p)) {
            *slot = i as u8;
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use image::RgbImage;

    use super::*;
    use crate::{
        frame::{RgbdFrame, SensorModel},
        task::{
            Piece,
            alike::test_frames::{flat, textured},
            piece::Scratch,
        },
    };

    fn make(frame: &RgbdFrame, preset: Preset, seed: u64) -> Result<Task, Skip> {
        Reorder::new(preset).make(&PreparedFrame::new(frame, SensorModel::default()), seed)
    }

    #[test]
    fn rearranging_the_shown_patches_by_the_answer_gives_back_the_picture() {
        let frame = textured(11, 131, 97);
        let mut scratch = Scratch::default();
        for seed in 0..200 {
            let task = make(&frame, Preset::Balanced, seed).unwrap();
            let Question::Arrange { rows, cols, blank } = task.question else { unreachable!() };
            let Answer::Arrangement(answer) = &task.answer else { unreachable!() };
            let shown = task.pieces();
            let mut rebuilt = RgbImage::new(
                131 / u32::from(cols) * u32::from(cols),
                97 / u32::from(rows) * u32::from(rows),
            );
            for (place, &label) in answer.iter().enumerate() {
                let rect = patch_rect(131, 97, rows, cols, place as u8).unwrap();
                let piece = shown[usize::from(label)];
                assert_eq!(piece == Piece::White, blank == Some(label));
                let patch = if piece == Piece::White {
                    // What is missing is what no other patch shows.
                    Piece::plain(rect)
                } else {
                    piece
                };
                let patch = patch.render(&frame, rect.width, rect.height, &mut scratch).unwrap();
                image::imageops::replace(&mut rebuilt, &patch, rect.x.into(), rect.y.into());
            }
            let original =
                image::imageops::crop_imm(&frame.color, 0, 0, rebuilt.width(), rebuilt.height());
            assert_eq!(rebuilt, original.to_image(), "seed {seed}");
        }
    }

    #[test]
    fn every_layout_occurs_with_the_published_odds() {
        let frame = textured(1, 64, 64);
        let total = 8000;
        let mut counts = BTreeMap::new();
        for seed in 0..total {
            let task = make(&frame, Preset::Balanced, seed).unwrap();
            let Question::Arrange { rows, cols, blank } = task.question else { unreachable!() };
            *counts.entry((rows, cols, blank.is_some())).or_insert(0_u32) += 1;
        }
        let mut chi2 = 0.0;
        for (Variant { rows, cols, white }, odds) in VARIANTS {
            let expected = f64::from(odds) / 32056.0 * total as f64;
            let got = f64::from(counts[&(rows, cols, white)]);
            chi2 += (got - expected).powi(2) / expected;
        }
        // Five degrees of freedom: 20.5 is passed once in a thousand.
        assert!(chi2 < 20.5, "chi2 {chi2}: {counts:?}");
    }

    #[test]
    fn every_answer_is_equally_likely_and_only_published_tasks_may_be_unshuffled() {
        let frame = textured(2, 64, 64);
        for (preset, answers) in [(Preset::Balanced, 23), (Preset::Published, 24)] {
            let mut counts = BTreeMap::new();
            for seed in 0..24_000 {
                let task = make(&frame, preset, seed).unwrap();
                if let Answer::Arrangement(places) = &task.answer
                    && places.len() == 4
                {
                    *counts.entry(task.answer.to_string()).or_insert(0_u32) += 1;
                }
            }
            assert_eq!(counts.len(), answers, "{preset:?}");
            assert_eq!(counts.contains_key("0-1-2-3"), preset == Preset::Published);
            let expected = f64::from(counts.values().sum::<u32>()) / answers as f64;
            let chi2: f64 =
                counts.values().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
            assert!(chi2 < 52.0, "{preset:?}: chi2 {chi2}");
        }
    }

    #[test]
    fn every_place_can_be_the_white_one() {
        let frame = textured(2, 64, 64);
        let mut blanks = [0; 4];
        for seed in 0..400 {
            let task = make(&frame, Preset::Balanced, seed).unwrap();
            if let Question::Arrange { blank: Some(blank), .. } = task.question {
                blanks[usize::from(blank)] += 1;
            }
        }
        assert!(blanks.iter().all(|&n| n > 10), "{blanks:?}");
    }

    #[test]
    fn constant_saturated_and_tiny_pictures_are_refused_with_the_numbers() {
        for (grey, noise) in [(0, 0), (255, 0), (128, 10)] {
            for seed in 0..20 {
                let skip = make(&flat(seed, grey, noise, 160, 120), Preset::Balanced, seed);
                assert!(matches!(skip, Err(Skip::PatchesAlike { .. })), "{skip:?}");
            }
        }
        let skip = make(&textured(1, 64, 63), Preset::Balanced, 1).unwrap_err();
        assert_eq!(skip, Skip::PictureTooSmall { width: 64, height: 63, min: 64 });
    }

    #[test]
    fn a_half_plain_picture_is_refused_unless_its_plain_patches_can_be_told_apart() {
        let mut frame = textured(6, 128, 128);
        for (_, y, pixel) in frame.color.enumerate_pixels_mut() {
            if y < 64 {
                pixel.0 = [200; 3];
            }
        }
        for seed in 0..100 {
            let Ok(task) = make(&frame, Preset::Balanced, seed) else { continue };
            let Question::Arrange { rows, cols, blank } = task.question else { unreachable!() };
            let one_plain_is_white = matches!(
                (&task.recipe, blank),
                (Recipe::Shuffle { sources }, Some(b)) if sources[usize::from(b)] < 2
            );
            assert!(rows == 1 || rows == 3 || one_plain_is_white, "{rows}x{cols} {blank:?}");
        }
    }
}
