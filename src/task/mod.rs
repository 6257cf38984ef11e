//! Frame and seed in, [`Task`] out, or a typed reason why not.
//!
//! A task carries its own answer. What a policy may see is the [`Question`] and the
//! pictures; how the pictures were made ([`Recipe`]) and the [`Answer`] stay hidden.
//! Making a task's metadata allocates nothing: regions, options and answers live in
//! fixed-size [`heapless`] containers.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::frame::{FrameId, Intrinsics};

pub(crate) mod alike;
mod bearing;
pub mod candidates;
pub mod depth_order;
pub mod draw;
pub mod factory;
pub mod flip;
pub mod foretold;
pub mod inpaint;
mod layout;
pub mod piece;
pub mod position;
pub mod prepared;
pub mod prompt;
pub mod regions;
pub mod reorder;
pub mod seed;
mod turn;
mod windows;

pub use factory::TaskSet;
pub use piece::Piece;
pub use prepared::PreparedFrame;
pub use turn::Turn;

/// The most patches, options or regions that one task has.
pub const MAX_PARTS: usize = 4;

/// A short list of part numbers.
pub type Places = heapless::Vec<u8, MAX_PARTS>;

/// A short name of a user's own kind.
pub type Label = heapless::String<24>;

/// The five tasks, and a user's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Shuffled patch reordering.
    Reorder,
    /// Flipped patch recognition.
    Flip,
    /// Cropped patch inpainting.
    Inpaint,
    /// Regional depth ordering.
    Depth,
    /// Relative 3D position.
    Position,
    /// A user's own task, by its name.
    Custom(Label),
}

impl TaskKind {
    /// The five built-in kinds in the order in which tables show them.
    pub const BUILTIN: [TaskKind; 5] =
        [TaskKind::Reorder, TaskKind::Flip, TaskKind::Inpaint, TaskKind::Depth, TaskKind::Position];

    /// The name in files, tables and on the command line.
    pub fn name(&self) -> &str {
        match self {
            TaskKind::Reorder => "reorder",
            TaskKind::Flip => "flip",
            TaskKind::Inpaint => "inpaint",
            TaskKind::Depth => "depth",
            TaskKind::Position => "position",
            TaskKind::Custom(name) => name,
        }
    }

    /// The built-in kind of that name.
    pub fn from_name(name: &str) -> Option<TaskKind> {
        Self::BUILTIN.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether the answer is read off depth.
    pub fn needs_depth(&self) -> bool {
        matches!(self, TaskKind::Depth | TaskKind::Position)
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which rules make the tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Shortcuts closed: rows do not give depth away, resampling does not give the
    /// missing patch away. The default.
    #[default]
    Balanced,
    /// As the published generators make them.
    Published,
}

/// An axis-aligned rectangle in pixels of the frame. Signed, because a region around a
/// hole may reach beyond the picture before it is clamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge.
    pub x: i32,
    /// Top edge.
    pub y: i32,
    /// Width, positive.
    pub width: u32,
    /// Height, positive.
    pub height: u32,
}

/// A pixel of the frame, column `x` and row `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pixel {
    /// Column.
    pub x: u32,
    /// Row.
    pub y: u32,
}

/// How a patch is flipped. The number in answers is the discriminant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlipDirection {
    /// Upside down.
    Vertical = 0,
    /// Mirrored.
    Horizontal = 1,
}

/// Where the observer looks, as seen by the viewer of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Facing {
    /// Toward the left edge of the picture.
    Left,
    /// Toward the right edge of the picture.
    Right,
    /// Out of the picture, toward the camera.
    TowardViewer,
    /// Into the picture, the way the camera looks.
    AwayFromViewer,
}

impl Facing {
    /// All four.
    pub const ALL: [Facing; 4] =
        [Facing::Left, Facing::Right, Facing::TowardViewer, Facing::AwayFromViewer];
}

/// A direction as the observer would say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Direction {
    Front,
    RightFront,
    Right,
    RightBack,
    Back,
    LeftBack,
    Left,
    LeftFront,
}

impl Direction {
    /// All eight, clockwise from the front.
    pub const ALL: [Direction; 8] = [
        Direction::Front,
        Direction::RightFront,
        Direction::Right,
        Direction::RightBack,
        Direction::Back,
        Direction::LeftBack,
        Direction::Left,
        Direction::LeftFront,
    ];

    /// The published wording: `Front`, `Right-Front`, ….
    pub fn name(self) -> &'static str {
        match self {
            Direction::Front => "Front",
            Direction::RightFront => "Right-Front",
            Direction::Right => "Right",
            Direction::RightBack => "Right-Back",
            Direction::Back => "Back",
            Direction::LeftBack => "Left-Back",
            Direction::Left => "Left",
            Direction::LeftFront => "Left-Front",
        }
    }
}

/// By which rule "left", "right", "nearer" and "farther" of a position task were decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionRule {
    /// By the metric 3D points: the direction is a sector of the ground-plane bearing.
    Metric,
    /// By pixel columns and normalised depth, as published.
    Pixel,
}

/// What a policy is asked, in a form that a machine reads. It never tells the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum Question {
    /// Patches of a `rows` x `cols` grid stand in shuffled places.
    Arrange {
        /// Rows of the grid.
        rows: u8,
        /// Columns of the grid.
        cols: u8,
        /// The shown place whose patch is painted white, if one is.
        blank: Option<u8>,
    },
    /// One patch of a `rows` x `cols` grid is flipped.
    FindFlip {
        /// Rows of the grid.
        rows: u8,
        /// Columns of the grid.
        cols: u8,
    },
    /// A square is missing; which of the options fills it?
    FillHole {
        /// The missing square, in pixels of the picture as it is shown
        /// ([`Task::shown_size`]): a balanced task turns picture and options together.
        hole: Rect,
        /// How many options are given.
        options: u8,
    },
    /// Marked points are to be ordered from nearest to farthest.
    OrderPoints {
        /// The marked points, in the order of their numbers.
        points: heapless::Vec<Pixel, MAX_PARTS>,
    },
    /// Where does the target lie for an observer who stands at a marked point?
    RelativePosition {
        /// Where the observer stands.
        observer: Pixel,
        /// What the observer is asked about.
        target: Pixel,
        /// Where the observer looks.
        facing: Facing,
        /// The four offered directions, A to D.
        options: [Direction; 4],
        /// By which rule directions were decided.
        rule: PositionRule,
        /// The camera's intrinsics, when known: they belong to the question.
        intrinsics: Option<Intrinsics>,
    },
}

/// An answer, right or wrong. [`fmt::Display`] writes the string that is scored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// For each original place in reading order, the label of the patch that belongs
    /// there (labels are the shown places): `0-2-3-1`.
    Arrangement(Places),
    /// Which patch is flipped and how: `3-0`.
    Flipped {
        /// The shown label of the patch.
        patch: u8,
        /// How it was flipped.
        direction: FlipDirection,
    },
    /// One of the lettered options, from 0: `A`.
    Choice(u8),
    /// Markers from nearest to farthest, held from 0, written from 1: `2-1-3`.
    Order(Places),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn joined(f: &mut fmt::Formatter<'_>, places: &Places, first: u8) -> fmt::Result {
            for (i, place) in places.iter().enumerate() {
                if i > 0 {
                    f.write_str("-")?;
                }
                write!(f, "{}", place + first)?;
            }
            Ok(())
        }
        match self {
            Answer::Arrangement(places) => joined(f, places, 0),
            Answer::Order(places) => joined(f, places, 1),
            Answer::Flipped { patch, direction } => write!(f, "{patch}-{}", *direction as u8),
            Answer::Choice(option) => write!(f, "{}", (b'A' + option) as char),
        }
    }
}

/// Which region around a hole an option shows. It is always shown at the hole's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zoom {
    /// What was cut out.
    Same,
    /// Its inner half, enlarged.
    InnerHalf,
    /// A region 1.5 times as wide around it, shrunk.
    Outer1_5,
    /// A region twice as wide around it, shrunk.
    Outer2,
}

/// One option of an inpainting task, before it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cutout {
    /// Which region it shows.
    pub zoom: Zoom,
    /// How it is turned against the picture.
    pub turn: Turn,
}

/// How the pictures of a task are made from its frame. Hidden from policies: it gives
/// the answer away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "recipe", rename_all = "snake_case")]
pub enum Recipe {
    /// The frame as it is (points are marked on it).
    Whole,
    /// At shown place `i` stands the patch of source place `sources[i]`.
    Shuffle {
        /// Source place of each shown place, reading order.
        sources: Places,
    },
    /// The patch at `patch` is flipped.
    FlipOne {
        /// Which patch.
        patch: u8,
        /// How.
        direction: FlipDirection,
    },
    /// The options A to D of an inpainting task.
    Options {
        /// What each option shows.
        options: [Cutout; 4],
        /// How the picture and all options are turned together.
        turn: Turn,
    },
}

/// One question with its answer, made from one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Which task.
    pub kind: TaskKind,
    /// The frame it was made from.
    pub frame_id: FrameId,
    /// That frame's stamp.
    pub stamp_ns: i64,
    /// Width and height of that frame in pixels.
    pub picture_size: (u32, u32),
    /// The seed that makes this very task again from that frame.
    pub seed: u64,
    /// Which rules made it.
    pub preset: Preset,
    /// What is asked.
    pub question: Question,
    /// The right answer.
    pub answer: Answer,
    /// How the pictures are made. Hidden from policies.
    pub recipe: Recipe,
}

/// Why a frame and a seed make no task of a kind.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Skip {
    #[error("the frame has no depth")]
    NoDepth,
    #[error("the depth is not registered to the colour picture")]
    DepthUnregistered,
    #[error("the picture is {width}x{height}; this task needs at least {min} pixels on each side")]
    PictureTooSmall { width: u32, height: u32, min: u32 },
    #[error(
        "parts look alike: they differ by {difference:.2} grey levels on average, {needed:.2} are needed"
    )]
    PatchesAlike { difference: f32, needed: f32 },
    #[error("only {valid_percent:.1} % of the pixels have depth, {needed_percent:.1} % are needed")]
    TooLittleDepth { valid_percent: f32, needed_percent: f32 },
    #[error("the depth range is {range_m:.3} m, within the sensor's noise")]
    DepthRangeTooSmall { range_m: f32 },
    #[error("no region of even depth in each of the near, middle and far bands")]
    NoRegions,
    #[error("no regions whose rows and columns do not give the answer away")]
    NoBalancedRegions,
    #[error("{0}")]
    Custom(&'static str),
}

impl Skip {
    /// The stable name under which this reason is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Skip::NoDepth => "no_depth",
            Skip::DepthUnregistered => "depth_unregistered",
            Skip::PictureTooSmall { .. } => "picture_too_small",
            Skip::PatchesAlike { .. } => "patches_alike",
            Skip::TooLittleDepth { .. } => "too_little_depth",
            Skip::DepthRangeTooSmall { .. } => "depth_range_too_small",
            Skip::NoRegions => "no_regions",
            Skip::NoBalancedRegions => "no_balanced_regions",
            Skip::Custom(reason) => reason,
        }
    }
}

/// Makes tasks of one kind. Implement it to add a task of your own: whatever
/// [`Question`] form it asks, every policy here can answer and learn it.
pub trait TaskSource: Send + Sync {
    /// The kind under which tasks are counted.
    fn kind(&self) -> TaskKind;

    /// The task that this frame and this seed make. The same pair always gives the same
    /// task, on any thread.
    ///
    /// # Errors
    /// The typed reason why this frame and seed make no task.
    fn make(&self, frame: &PreparedFrame<'_>, seed: u64) -> Result<Task, Skip>;
}
