//! Cropped patch inpainting: a square is missing; which of four options fills it?

use rand::RngExt;

use super::{
    Answer, Cutout, Piece, PreparedFrame, Preset, Question, Recipe, Rect, Skip, Task, TaskKind,
    TaskSource,
    alike::{Look, require_different, require_size},
    piece::Turn,
    seed::{self, Rng},
};

const MIN_SIDE: u32 = 64;

/// How often a hole is drawn anew when its options look alike.
const ATTEMPTS: u32 = 6;

/// The side of the small square through which all options of a balanced task go.
pub const THROUGH: u32 = 24;

/// The five distractors.
pub const DISTRACTORS: [Cutout; 5] =
    [Cutout::Rotated90, Cutout::Rotated270, Cutout::InnerHalf, Cutout::Outer1_5, Cutout::Outer2];

impl Cutout {
    /// The part of a `width` x `height` picture that this option of the hole shows.
    pub fn rect(self, hole: Rect, width: u32, height: u32) -> Rect {
        let side = match self {
            Cutout::Right | Cutout::Rotated90 | Cutout::Rotated270 => return hole,
            Cutout::InnerHalf => hole.width / 2,
            Cutout::Outer1_5 => hole.width.saturating_mul(3) / 2,
            Cutout::Outer2 => hole.width.saturating_mul(2),
        };
        hole.square_around(side, width, height)
    }

    /// How the part is turned.
    pub fn turn(self) -> Turn {
        match self {
            Cutout::Rotated90 => Turn::Rotate90,
            Cutout::Rotated270 => Turn::Rotate270,
            _ => Turn::None,
        }
    }

    /// The option as a piece.
    pub fn piece(self, hole: Rect, (width, height): (u32, u32), preset: Preset) -> Piece {
        let through = match preset {
            Preset::Balanced => Some(THROUGH),
            Preset::Published => None,
        };
        Piece::Patch { rect: self.rect(hole, width, height), turn: self.turn(), through }
    }
}

/// Makes inpainting tasks.
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
        let mut most = 0.0_f32;
        for _ in 0..ATTEMPTS {
            let hole = Rect {
                x: rng.random_range(0..=width - side) as i32,
                y: rng.random_range(0..=height - side) as i32,
                width: side,
                height: side,
            };
            let look = |option: Cutout| {
                Look::of(&frame.color, option.rect(hole, width, height)).turned(option.turn())
            };
            let right = look(Cutout::Right);
            let distractors = options.iter().filter(|&&option| option != Cutout::Right);
            let least =
                distractors.map(|&other| right.difference(&look(other))).fold(f32::MAX, f32::min);
            most = most.max(least);
            if require_different(least).is_err() {
                continue;
            }
            let answer = options.iter().position(|&option| option == Cutout::Right).unwrap_or(0);
            return Ok(Task {
                kind: TaskKind::Inpaint,
                frame_id: frame.id,
                stamp_ns: frame.stamp_ns,
                picture_size: (width, height),
                seed,
                preset: self.preset,
                question: Question::FillHole { hole, options: options.len() as u8 },
                answer: Answer::Choice(answer as u8),
                recipe: Recipe::Options { options },
            });
        }
        Err(Skip::PatchesAlike { difference: most, needed: super::alike::ALIKE_BELOW })
    }
}

impl Inpaint {
    /// The right one and three distractors in the order in which they are shown.
    fn draw_options(self, rng: &mut Rng) -> [Cutout; 4] {
        let mut five = DISTRACTORS;
        shuffle(&mut five, rng);
        let [a, b, c, ..] = five;
        let mut options = [Cutout::Right, a, b, c];
        shuffle(&mut options, rng);
        options
    }
}

fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last as u32) as usize);
    }
}
