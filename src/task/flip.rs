//! Flipped patch recognition: one patch of a grid is upside down or mirrored; which, and
//! how?

use rand::RngExt;

use super::{
    Answer, FlipDirection, PreparedFrame, Preset, Question, Recipe, Skip, Task, TaskKind,
    TaskSource, Turn,
    alike::{Look, require_different, require_size},
    piece::patch_rect,
    seed,
};

const MIN_SIDE: u32 = 64;
const ROWS: u8 = 2;
const COLS: u8 = 2;

impl FlipDirection {
    /// How the patch is turned.
    pub fn turn(self) -> Turn {
        match self {
            FlipDirection::Vertical => Turn::FlipVertical,
            FlipDirection::Horizontal => Turn::FlipHorizontal,
        }
    }
}

/// Makes flip tasks on a 2x2 grid. Patch and direction are drawn evenly; a patch that
/// looks the same flipped (a bare wall) gives way to the next one that does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flip {
    /// Which rules make the tasks; both presets make the same ones.
    pub preset: Preset,
}

impl Flip {
    /// A source under these rules.
    pub fn new(preset: Preset) -> Self {
        Flip { preset }
    }
}

impl TaskSource for Flip {
    fn kind(&self) -> TaskKind {
        TaskKind::Flip
    }

    fn make(&self, frame: &PreparedFrame<'_>, seed: u64) -> Result<Task, Skip> {
        let frame = frame.frame();
        require_size(&frame.color, MIN_SIDE)?;
        let (width, height) = frame.color.dimensions();
        let mut rng = seed::rng(seed);
        let direction =
            if rng.random() { FlipDirection::Vertical } else { FlipDirection::Horizontal };
        let first = rng.random_range(0..ROWS * COLS);
        let mut most = 0.0_f32;
        let mut chosen = None;
        for step in 0..ROWS * COLS {
            let patch = (first + step) % (ROWS * COLS);
            let Some(rect) = patch_rect(width, height, ROWS, COLS, patch) else { continue };
            let look = Look::of(&frame.color, rect);
            let difference = look.difference(&look.turned(direction.turn()));
            most = most.max(difference);
            if require_different(difference).is_ok() {
                chosen = Some(patch);
                break;
            }
        }
        let Some(patch) = chosen else {
            require_different(most)?;
            return Err(Skip::PatchesAlike { difference: most, needed: super::alike::ALIKE_BELOW });
        };
        Ok(Task {
            kind: TaskKind::Flip,
            frame_id: frame.id,
            stamp_ns: frame.stamp_ns,
            picture_size: (width, height),
            seed,
            preset: self.preset,
            question: Question::FindFlip { rows: ROWS, cols: COLS },
            answer: Answer::Flipped { patch, direction },
            recipe: Recipe::FlipOne { patch, direction },
        })
    }
}

#[cfg(test)]
mod tests {
    use image::{RgbImage, imageops};

    use super::*;
    use crate::{
        frame::{RgbdFrame, SensorModel},
        task::{
            alike::test_frames::{flat, textured},
            piece::Scratch,
        },
    };

    fn make(frame: &RgbdFrame, seed: u64) -> Result<Task, Skip> {
        Flip::default().make(&PreparedFrame::new(frame, SensorModel::default()), seed)
    }

    #[test]
    fn unflipping_the_patch_of_the_answer_gives_back_the_picture() {
        let frame = textured(21, 131, 97);
        let mut scratch = Scratch::default();
        for seed in 0..100 {
            let task = make(&frame, seed).unwrap();
            let Answer::Flipped { patch, direction } = task.answer else { unreachable!() };
            let mut rebuilt = RgbImage::new(130, 96);
            let mut differs = false;
            for (place, piece) in task.pieces().iter().enumerate() {
                let rect = patch_rect(131, 97, 2, 2, place as u8).unwrap();
                let shown = piece.render(&frame, rect.width, rect.height, &mut scratch).unwrap();
                let mut straight = shown.clone();
                if place == usize::from(patch) {
                    match direction {
                        FlipDirection::Vertical => imageops::flip_vertical_in_place(&mut straight),
                        FlipDirection::Horizontal => {
                            imageops::flip_horizontal_in_place(&mut straight);
                        }
                    }
                    differs = shown != straight;
                }
                imageops::replace(&mut rebuilt, &straight, rect.x.into(), rect.y.into());
            }
            assert!(differs, "seed {seed}: the flip must be visible");
            assert_eq!(rebuilt, imageops::crop_imm(&frame.color, 0, 0, 130, 96).to_image());
        }
    }

    #[test]
    fn all_eight_answers_are_equally_likely() {
        let frame = textured(22, 96, 96);
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..4000 {
            let answer = make(&frame, seed).unwrap().answer.to_string();
            *counts.entry(answer).or_insert(0_i32) += 1;
        }
        assert_eq!(counts.len(), 8);
        let chi2: f64 = counts.values().map(|&n| f64::from(n - 500).powi(2) / 500.0).sum();
        assert!(chi2 < 24.3, "seven degrees of freedom, once in a thousand: {chi2} {counts:?}");
    }

    #[test]
    fn a_patch_that_looks_the_same_flipped_is_never_asked_for() {
        let mut frame = textured(23, 128, 128);
        for (x, y, pixel) in frame.color.enumerate_pixels_mut() {
            if x < 64 && y < 64 {
                pixel.0 = [180; 3];
            }
        }
        for seed in 0..200 {
            let Answer::Flipped { patch, .. } = make(&frame, seed).unwrap().answer else {
                unreachable!()
            };
            assert_ne!(patch, 0);
        }
        for (grey, noise) in [(255, 0), (90, 10)] {
            let skip = make(&flat(1, grey, noise, 128, 128), 5).unwrap_err();
            assert!(matches!(skip, Skip::PatchesAlike { difference, .. } if difference < 2.0));
        }
        assert_eq!(
            make(&textured(1, 40, 90), 0).unwrap_err(),
            Skip::PictureTooSmall { width: 40, height: 90, min: 64 }
        );
    }
}
