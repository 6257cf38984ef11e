//! Rotations and flips of pictures and of rectangles in them.

use serde::{Deserialize, Serialize};

use super::Rect;

/// How a piece is turned after it is cut out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// Not at all.
    #[default]
    None,
    /// By 90 degrees clockwise.
    Rotate90,
    /// By 180 degrees.
    Rotate180,
    /// By 90 degrees counter-clockwise.
    Rotate270,
    /// Upside down.
    FlipVertical,
    /// Mirrored left to right.
    FlipHorizontal,
}

impl Turn {
    /// Whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        matches!(self, Turn::Rotate90 | Turn::Rotate270)
    }

    /// The rotations in steps of 90 degrees clockwise.
    pub const ROTATIONS: [Turn; 4] = [Turn::None, Turn::Rotate90, Turn::Rotate180, Turn::Rotate270];

    /// This rotation, and then `then`. A flip is left as it is: pieces are flipped or
    /// rotated, never both.
    pub fn and_then(self, then: Turn) -> Turn {
        let quarters = |turn| Self::ROTATIONS.iter().position(|rotation| *rotation == turn);
        match (quarters(self), quarters(then)) {
            (Some(a), Some(b)) => Self::ROTATIONS[(a + b) % 4],
            _ => self,
        }
    }

    /// The size of a `width` x `height` picture after turning.
    pub fn size(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.swaps_sides() { (height, width) } else { (width, height) }
    }

    /// Where a rectangle of a `width` x `height` picture lies after the picture is turned.
    ///
    /// ```
    /// use spatial_ssrl::task::{Rect, Turn};
    /// let corner = Rect { x: 0, y: 0, width: 10, height: 20 };
    /// let turned = Turn::Rotate90.rect(corner, (640, 480));
    /// assert_eq!(turned, Rect { x: 460, y: 0, width: 20, height: 10 });
    /// assert_eq!(Turn::Rotate270.rect(turned, (480, 640)), corner);
    /// ```
    pub fn rect(self, rect: Rect, (width, height): (u32, u32)) -> Rect {
        let Rect { x, y, width: w, height: h } = rect;
        let right = (width as i32).wrapping_sub(x).wrapping_sub(w as i32);
        let below = (height as i32).wrapping_sub(y).wrapping_sub(h as i32);
        match self {
            Turn::None => rect,
            Turn::Rotate90 => Rect { x: below, y: x, width: h, height: w },
            Turn::Rotate180 => Rect { x: right, y: below, ..rect },
            Turn::Rotate270 => Rect { x: y, y: right, width: h, height: w },
            Turn::FlipVertical => Rect { y: below, ..rect },
            Turn::FlipHorizontal => Rect { x: right, ..rect },
        }
    }

    /// The rotation or flip that takes this one back.
    pub fn back(self) -> Turn {
        match self {
            Turn::Rotate90 => Turn::Rotate270,
            Turn::Rotate270 => Turn::Rotate90,
            other => other,
        }
    }

    /// Turns `[height, width, 3]` bytes into `out`, which has the same length.
    pub(super) fn apply(self, pixels: &[u8], width: u32, height: u32, out: &mut [u8]) {
        let (width, height) = (width as usize, height as usize);
        let rows = pixels.chunks_exact(width * 3);
        match self {
            Turn::None => out.copy_from_slice(pixels),
            Turn::FlipVertical => {
                for (from, to) in rows.rev().zip(out.chunks_exact_mut(width * 3)) {
                    to.copy_from_slice(from);
                }
            }
            Turn::FlipHorizontal => {
                for (from, to) in rows.zip(out.chunks_exact_mut(width * 3)) {
                    for (a, b) in from.chunks_exact(3).rev().zip(to.chunks_exact_mut(3)) {
                        b.copy_from_slice(a);
                    }
                }
            }
            Turn::Rotate180 => {
                for (a, b) in pixels.chunks_exact(3).rev().zip(out.chunks_exact_mut(3)) {
                    b.copy_from_slice(a);
                }
            }
            Turn::Rotate90 | Turn::Rotate270 => {
                for (row, from) in rows.enumerate() {
                    for (col, a) in from.chunks_exact(3).enumerate() {
                        let (to_row, to_col) = match self {
                            Turn::Rotate90 => (col, height - 1 - row),
                            _ => (width - 1 - col, row),
                        };
                        let at = (to_row * height + to_col) * 3;
                        out[at..at + 3].copy_from_slice(a);
                    }
                }
            }
        }
    }
}
