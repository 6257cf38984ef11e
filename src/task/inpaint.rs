//! Cropped patch inpainting: a square is missing; which of four options fills it?
//!
//! The published task can be answered without the picture, from the options alone: an
//! enlarged option is blurred and a shrunk one crisp; whoever knows the room knows what
//! stands upright; and the right option is the one that all the others are made from. The
//! balanced preset makes the four options exchangeable:
//!
//! * Every option is averaged down to the same small square and enlarged again, so all
//!   carry the same detail and the same noise.
//! * Picture and options are turned together by a random quarter turn: what stands upright
//!   is no longer known.
//! * Two tasks in three offer the four turns of one region. Turned as they are, nothing but
//!   the picture tells them apart: without it, exactly one answer in four is right.
//! * One task in three offers the right region and a zoomed one, each also turned by 90
//!   degrees the same way. Each of the four has a turned twin and a zoomed twin, and the
//!   right region is the wider one as often as the tighter one. Only who knows how large
//!   things are in this room can exclude two options, and no one more than two.
//!
//! So no judge of options, whatever it has learnt, can pass 2/3 * 1/4 + 1/3 * 1/2 = 1/3.

use rand::RngExt;

use super::{
    Answer, Cutout, Piece, PreparedFrame, Preset, Question, Recipe, Rect, Skip, Task, TaskKind,
    TaskSource, Turn, Zoom,
    alike::{ALIKE_BELOW, Look, require_different, require_size},
    seed::{self, Rng},
};

/// The shortest picture side of which a quarter is still worth looking at, in pixels.
const MIN_SIDE: u32 = 64;

/// How often a hole is drawn anew when its options look alike.
const ATTEMPTS: u32 = 6;

/// The side in pixels of the small square through which all options of a balanced task go.
/// A camera's own blur and noise are below one of its pixels even in the enlarged option.
pub const THROUGH: u32 = 24;

/// The five published distractors.
pub const DISTRACTORS: [Cutout; 5] = [
    Cutout { zoom: Zoom::Same, turn: Turn::Rotate90 },
    Cutout { zoom: Zoom::Same, turn: Turn::Rotate270 },
    Cutout { zoom: Zoom::InnerHalf, turn: Turn::None },
    Cutout { zoom: Zoom::Outer1_5, turn: Turn::None },
    Cutout { zoom: Zoom::Outer2, turn: Turn::None },
];

impl Cutout {
    /// What was cut out, as it was.
    pub const RIGHT: Cutout = Cutout { zoom: Zoom::Same, turn: Turn::None };

    /// The part of a `width` x `height` picture that this option of the hole shows.
    pub fn rect(self, hole: Rect, width: u32, height: u32) -> Rect {
        let side = match self.zoom {
            Zoom::Same => return hole,
            Zoom::InnerHalf => hole.width / 2,
            Zoom::Outer1_5 => hole.width.saturating_mul(3) / 2,
            Zoom::Outer2 => hole.width.saturating_mul(2),
        };
        hole.square_around(side, width, height)
    }

    /// The option as a piece, turned with the whole task by `turn`. The hole is given in
    /// pixels of the frame.
    pub fn piece(
        self,
        hole: Rect,
        (width, height): (u32, u32),
        turn: Turn,
        preset: Preset,
    ) -> Piece {
        let through = match preset {
            Preset::Balanced => Some(THROUGH),
            Preset::Published => None,
        };
        let rect = self.rect(hole, width, height);
        Piece::Patch { rect, turn: self.turn.and_then(turn), through }
    }
}

/// Makes inpainting tasks.
///
/// The hole is a square of half the picture's shorter side, anywhere in the picture. The
/// distractors are three of five: the right part turned by 90 degrees either way, its inner
/// half enlarged, and the regions 1.5 and 2 times as wide around it shrunk (shifted to lie
/// inside the picture). [`Preset::Balanced`] turns and zooms in sets that cannot be told
/// apart without looking at the picture: see the [module's words](self).
#[derive(Clone, Copy, Debug, Default)]
pub struct Inpaint {
    /// Which rules make the tasks.
    pub preset: Preset,
}

impl Inpaint {
    /// A source under these rules.
    pub fn new(preset: Preset) -> Self {
        Inpaint { preset }
    }
}

impl TaskSource for Inpaint {
    fn kind(&self) -> TaskKind {
        TaskKind::Inpaint
    }

    fn make(&self, frame: &PreparedFrame<'_>, seed: u64) -> Result<Task, Skip> {
        let frame = frame.frame();
        require_size(&frame.color, MIN_SIDE)?;
        let (width, height) = frame.color.dimensions();
        let side = width.min(height) / 2;
        let mut rng = seed::rng(seed);
        let options = self.draw_options(&mut rng);
        let turn = match self.preset {
            Preset::Balanced => Turn::ROTATIONS[rng.random_range(0..4_u32) as usize],
            Preset::Published => Turn::None,
        };
        let mut most = 0.0_f32;
        for _ in 0..ATTEMPTS {
            let hole = Rect {
                x: rng.random_range(0..=width - side) as i32,
                y: rng.random_range(0..=height - side) as i32,
                width: side,
                height: side,
            };
            let look = |option: Cutout| {
                Look::of(&frame.color, option.rect(hole, width, height)).turned(option.turn)
            };
            let right = look(Cutout::RIGHT);
            let distractors = options.iter().filter(|&&option| option != Cutout::RIGHT);
            let least =
                distractors.map(|&other| right.difference(&look(other))).fold(f32::MAX, f32::min);
            most = most.max(least);
            if require_different(least).is_err() {
                continue;
            }
            let answer = options.iter().position(|&option| option == Cutout::RIGHT).unwrap_or(0);
            return Ok(Task {
                kind: TaskKind::Inpaint,
                frame_id: frame.id,
                stamp_ns: frame.stamp_ns,
                picture_size: (width, height),
                seed,
                preset: self.preset,
                question: Question::FillHole {
                    hole: turn.rect(hole, (width, height)),
                    options: options.len() as u8,
                },
                answer: Answer::Choice(answer as u8),
                recipe: Recipe::Options { options, turn },
            });
        }
        Err(Skip::PatchesAlike { difference: most, needed: ALIKE_BELOW })
    }
}

impl Inpaint {
    /// The right one and three distractors in the order in which they are shown.
    fn draw_options(self, rng: &mut Rng) -> [Cutout; 4] {
        let mut options = match self.preset {
            Preset::Published => {
                let mut five = DISTRACTORS;
                shuffle(&mut five, rng);
                let [a, b, c, ..] = five;
                [Cutout::RIGHT, a, b, c]
            }
            Preset::Balanced if rng.random_ratio(2, 3) => {
                Turn::ROTATIONS.map(|turn| Cutout { zoom: Zoom::Same, turn })
            }
            Preset::Balanced => {
                let zooms = [Zoom::InnerHalf, Zoom::InnerHalf, Zoom::Outer1_5, Zoom::Outer2];
                let zoom = zooms[rng.random_range(0..4_u32) as usize];
                let turn = if rng.random() { Turn::Rotate90 } else { Turn::Rotate270 };
                [
                    Cutout::RIGHT,
                    Cutout { turn, ..Cutout::RIGHT },
                    Cutout { zoom, ..Cutout::RIGHT },
                    Cutout { zoom, turn },
                ]
            }
        };
        shuffle(&mut options, rng);
        options
    }
}

fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last as u32) as usize);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use image::{RgbImage, imageops};

    use super::*;
    use crate::{
        frame::{RgbdFrame, SensorModel},
        task::{
            alike::test_frames::{flat, textured},
            piece::Scratch,
        },
    };

    fn make(frame: &RgbdFrame, preset: Preset, seed: u64) -> Result<Task, Skip> {
        Inpaint::new(preset).make(&PreparedFrame::new(frame, SensorModel::default()), seed)
    }

    fn parts(task: &Task) -> (Rect, [Cutout; 4], Turn, usize) {
        let Question::FillHole { hole, .. } = task.question else { unreachable!() };
        let Recipe::Options { options, turn } = task.recipe else { unreachable!() };
        let Answer::Choice(right) = task.answer else { unreachable!() };
        (hole, options, turn, usize::from(right))
    }

    fn turned(picture: &RgbImage, turn: Turn) -> RgbImage {
        match turn {
            Turn::Rotate90 => imageops::rotate90(picture),
            Turn::Rotate180 => imageops::rotate180(picture),
            Turn::Rotate270 => imageops::rotate270(picture),
            _ => picture.clone(),
        }
    }

    #[test]
    fn the_right_option_put_into_the_hole_gives_back_the_picture() {
        let frame = textured(41, 163, 121);
        let mut scratch = Scratch::default();
        for seed in 0..60 {
            let task = make(&frame, Preset::Published, seed).unwrap();
            let (hole, _, _, right) = parts(&task);
            let mut pictures = task.pictures(&frame).unwrap();
            let filler = pictures.swap_remove(1 + right);
            let mut holed = pictures.swap_remove(0);
            assert_ne!(holed, frame.color);
            imageops::replace(&mut holed, &filler, hole.x.into(), hole.y.into());
            assert_eq!(holed, frame.color, "published, seed {seed}");

            let task = make(&frame, Preset::Balanced, seed).unwrap();
            let (hole, _, turn, right) = parts(&task);
            let mut shown = turned(&frame.color, turn);
            assert_eq!(shown.dimensions(), task.shown_size());
            let cut = turn.back().rect(hole, task.shown_size());
            let through = Piece::Patch { rect: cut, turn, through: Some(THROUGH) };
            let through = through.render(&frame, hole.width, hole.height, &mut scratch).unwrap();
            let pictures = task.pictures(&frame).unwrap();
            assert_eq!(pictures[1 + right], through, "balanced, seed {seed}");
            let black = RgbImage::new(hole.width, hole.height);
            imageops::replace(&mut shown, &black, hole.x.into(), hole.y.into());
            assert_eq!(pictures[0], shown, "balanced, seed {seed}");
        }
    }

    #[test]
    fn the_hole_has_half_the_shorter_side_and_lies_anywhere_inside() {
        let frame = textured(42, 150, 100);
        for preset in [Preset::Balanced, Preset::Published] {
            let mut corners = [i32::MAX, i32::MAX, 0, 0];
            for seed in 0..400 {
                let task = make(&frame, preset, seed).unwrap();
                let (hole, _, turn, _) = parts(&task);
                let hole = turn.back().rect(hole, task.shown_size());
                assert_eq!((hole.width, hole.height), (50, 50));
                corners = [
                    corners[0].min(hole.x),
                    corners[1].min(hole.y),
                    corners[2].max(hole.x),
                    corners[3].max(hole.y),
                ];
                assert!(hole.inside(150, 100).is_some(), "{hole:?}");
            }
            assert!(corners[0] < 3 && corners[1] < 3, "{corners:?}");
            assert!(corners[2] > 97 && corners[3] > 47, "{corners:?}");
        }
    }

    #[test]
    fn published_tasks_draw_all_ten_sets_of_the_five_distractors() {
        let frame = textured(43, 96, 96);
        let (mut sets, mut rights) = (BTreeMap::new(), [0_u32; 4]);
        for seed in 0..2000 {
            let task = make(&frame, Preset::Published, seed).unwrap();
            let (_, options, turn, right) = parts(&task);
            assert_eq!((options[right], turn), (Cutout::RIGHT, Turn::None));
            assert!(options.iter().all(|o| *o == Cutout::RIGHT || DISTRACTORS.contains(o)));
            let mut set = options.map(|option| format!("{option:?}"));
            set.sort();
            *sets.entry(set).or_insert(0_u32) += 1;
            rights[right] += 1;
        }
        assert!(rights.iter().all(|&n| n.abs_diff(500) < 90), "{rights:?}");
        assert_eq!(sets.len(), 10);
        assert!(sets.values().all(|n| n.abs_diff(200) < 60), "{sets:?}");
    }

    #[test]
    fn options_of_a_balanced_task_are_exchangeable() {
        let frame = textured(44, 96, 96);
        let total = 6000;
        // Shown turns of the right option, and for each distractor how often it occurs.
        let (mut shown, mut zooms, mut turns) = (BTreeMap::new(), BTreeMap::new(), 0_u32);
        let mut senses = BTreeMap::new();
        let mut places = [0_u32; 4];
        for seed in 0..total {
            let task = make(&frame, Preset::Balanced, seed).unwrap();
            let (_, options, turn, right) = parts(&task);
            assert_eq!(options[right], Cutout::RIGHT);
            places[right] += 1;
            *shown.entry(format!("{turn:?}")).or_insert(0_u32) += 1;
            let zoomed: Vec<_> = options.iter().filter(|o| o.zoom != Zoom::Same).collect();
            if zoomed.is_empty() {
                turns += 1;
                assert!(Turn::ROTATIONS.iter().all(|t| options.iter().any(|o| o.turn == *t)));
                continue;
            }
            // A square: two regions of one zoom each, both straight and turned alike.
            assert_eq!((zoomed.len(), zoomed[0].zoom), (2, zoomed[1].zoom));
            let of = |zoom: Zoom| {
                let mut turns: Vec<_> =
                    options.iter().filter(|o| o.zoom == zoom).map(|o| o.turn).collect();
                turns.sort_by_key(|turn| *turn != Turn::None);
                turns
            };
            assert_eq!(of(Zoom::Same), of(zoomed[0].zoom));
            assert_eq!(of(Zoom::Same)[0], Turn::None);
            *senses.entry(format!("{:?}", of(Zoom::Same)[1])).or_insert(0_u32) += 1;
            *zooms.entry(format!("{:?}", zoomed[0].zoom)).or_insert(0_u32) += 1;
        }
        assert!(turns.abs_diff(4000) < 130, "{turns}");
        assert!(places.iter().all(|n| n.abs_diff(1500) < 130), "{places:?}");
        assert!(shown.len() == 4 && shown.values().all(|n| n.abs_diff(1500) < 130), "{shown:?}");
        assert!(senses.len() == 2 && senses.values().all(|n| n.abs_diff(1000) < 130), "{senses:?}");
        assert!(zooms["InnerHalf"].abs_diff(1000) < 130, "wider as often as tighter: {zooms:?}");
        assert!(zooms["Outer1_5"].abs_diff(500) < 100 && zooms["Outer2"].abs_diff(500) < 100);
    }

    #[test]
    fn four_turned_options_are_turned_copies_of_each_other_to_the_pixel() {
        let frame = textured(45, 150, 120);
        let mut seen = 0;
        for seed in 0..40 {
            let task = make(&frame, Preset::Balanced, seed).unwrap();
            let (_, options, _, right) = parts(&task);
            if options.iter().any(|option| option.zoom != Zoom::Same) {
                continue;
            }
            seen += 1;
            let pictures = task.pictures(&frame).unwrap();
            for (option, picture) in options.iter().zip(&pictures[1..]) {
                assert_eq!(*picture, turned(&pictures[1 + right], option.turn));
            }
        }
        assert!(seen > 10);
    }

    #[test]
    fn options_that_look_alike_are_refused() {
        for preset in [Preset::Balanced, Preset::Published] {
            for (grey, noise) in [(255, 0), (90, 10)] {
                let skip = make(&flat(1, grey, noise, 128, 128), preset, 5).unwrap_err();
                assert!(matches!(skip, Skip::PatchesAlike { .. }), "{skip:?}");
            }
            let skip = make(&textured(1, 80, 63), preset, 5).unwrap_err();
            assert_eq!(skip, Skip::PictureTooSmall { width: 80, height: 63, min: 64 });
        }
    }
}
