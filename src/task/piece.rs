//! The pieces of a picture that a policy looks at, each cut from the frame, turned and
//! resampled to the size that it asks for.

use super::Rect;

/// How a piece is turned after it is cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Turn {
    None,
    Rotate90,
    Rotate270,
    FlipVertical,
    FlipHorizontal,
}

/// One part of the picture(s) of a task: a recipe for pixels.
///
/// Two pieces that are equal show the same pixels of a frame, so an encoder may remember
/// what it made of one. A piece is *not* for a policy to look at: its place in the frame
/// tells the answer. Policies see what [`Piece::render`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Nothing but white.
    White,
    /// A rectangle of the frame.
    Patch {
        /// Which rectangle; it lies inside the frame.
        rect: Rect,
        /// How it is turned.
        turn: Turn,
        /// The side of the small square through which the patch is resampled, so that
        /// patches of different zoom carry the same detail; `None`: as it is.
        through: Option<u32>,
    },
    /// The whole frame with a black square.
    Holed {
        /// The square.
        hole: Rect,
    },
    /// The whole frame.
    Whole,
}
