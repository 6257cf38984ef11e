//! The pieces of a picture that a policy looks at, each cut from the frame, turned and
//! resampled to the size that it asks for.
//!
//! What people see ([`super::draw`]) is put together from the same pieces, so a compact
//! policy and a person are given the same information.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use image::RgbImage;

use super::{Question, Recipe, Rect, Task, Turn};
use crate::frame::{MAX_PIXELS, MAX_SIDE_PX, RgbdFrame};

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
        /// The square, in pixels of the frame.
        hole: Rect,
        /// How the frame is turned once the square is painted.
        turn: Turn,
    },
    /// The whole frame.
    Whole,
}

/// The pieces of a task: at most a picture and its options, or the patches of a grid.
pub type Pieces = heapless::Vec<Piece, 8>;

/// Why a piece cannot be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The rectangle reaches beyond the frame: the task belongs to another frame.
    #[error("{rect:?} does not lie inside the {width}x{height} frame: was the task made from it?")]
    Outside {
        /// The rectangle.
        rect: Rect,
        /// Width of the frame.
        width: u32,
        /// Height of the frame.
        height: u32,
    },
    /// The wanted size is zero or beyond [`MAX_SIDE_PX`] / [`MAX_PIXELS`].
    #[error(
        "cannot render {width}x{height} pixels: sides are 1 to {MAX_SIDE_PX}, at most {MAX_PIXELS} pixels"
    )]
    Size {
        /// The wanted width.
        width: u32,
        /// The wanted height.
        height: u32,
    },
    /// The caller's buffer has the wrong length.
    #[error("the buffer has {got} bytes, {expected} are needed (3 a pixel)")]
    Buffer {
        /// Bytes of the buffer.
        got: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// Resampling failed though sizes and rectangle are sound.
    #[error("resampling failed")]
    Resample,
}

/// Buffers that rendering reuses. One a thread; any number of pieces and frames.
#[derive(Default)]
pub struct Scratch {
    resizer: Resizer,
    straight: Vec<u8>,
    small: Vec<u8>,
    holed: Vec<u8>,
}

impl Rect {
    /// The square of side `side` around the middle of `self`, shifted to lie inside a
    /// `width` x `height` picture; no larger than the picture's shorter side.
    pub(crate) fn square_around(self, side: u32, width: u32, height: u32) -> Rect {
        let side = side.clamp(1, width.min(height).max(1));
        let shifted = |start: i32, length: u32, limit: u32| {
            let middle2 = 2 * i64::from(start) + i64::from(length);
            let start = (middle2 - i64::from(side)).div_euclid(2);
            start.clamp(0, i64::from(limit.saturating_sub(side))) as i32
        };
        let (x, y) = (shifted(self.x, self.width, width), shifted(self.y, self.height, height));
        Rect { x, y, width: side, height: side }
    }

    /// Left, top, width and height as unsigned pixels, if it lies inside the picture.
    pub(crate) fn inside(self, width: u32, height: u32) -> Option<(u32, u32, u32, u32)> {
        let (x, y) = (u32::try_from(self.x).ok()?, u32::try_from(self.y).ok()?);
        let fits = self.width > 0
            && self.height > 0
            && u64::from(x) + u64::from(self.width) <= u64::from(width)
            && u64::from(y) + u64::from(self.height) <= u64::from(height);
        fits.then_some((x, y, self.width, self.height))
    }
}

/// The rectangle of the patch at `place` (reading order) of a `rows` x `cols` grid over a
/// `width` x `height` picture. All patches have the same size; columns and rows left over
/// at the right and at the bottom belong to none. `None` if there is no such place or no
/// pixel for it.
///
/// ```
/// use spatial_ssrl::task::piece::patch_rect;
/// let last = patch_rect(641, 481, 2, 2, 3).unwrap();
/// assert_eq!((last.x, last.y, last.width, last.height), (320, 240, 320, 240));
/// assert!(patch_rect(641, 481, 2, 2, 4).is_none());
/// ```
pub fn patch_rect(width: u32, height: u32, rows: u8, cols: u8, place: u8) -> Option<Rect> {
    let patch_width = width.checked_div(u32::from(cols))?;
    let patch_height = height.checked_div(u32::from(rows))?;
    let (row, col) = (u32::from(place / cols), u32::from(place % cols));
    if row >= u32::from(rows) || patch_width == 0 || patch_height == 0 {
        return None;
    }
    let x = i32::try_from(col * patch_width).ok()?;
    let y = i32::try_from(row * patch_height).ok()?;
    Some(Rect { x, y, width: patch_width, height: patch_height })
}

impl Piece {
    /// A part of the frame as it is.
    pub(crate) fn plain(rect: Rect) -> Piece {
        Piece::Patch { rect, turn: Turn::None, through: None }
    }

    /// Width and height at which this piece shows the frame's own pixels.
    pub fn native_size(&self, frame_size: (u32, u32)) -> (u32, u32) {
        match self {
            Piece::Patch { rect, turn, .. } => turn.size((rect.width, rect.height)),
            Piece::Holed { turn, .. } => turn.size(frame_size),
            Piece::White | Piece::Whole => frame_size,
        }
    }

    /// Cut, turned and resampled to exactly `width` x `height`.
    ///
    /// At [`Piece::native_size`] (and without `through`) the frame's own pixels come back.
    /// Smaller, every pixel of the frame takes part (a triangle filter as wide as the
    /// reduction), so nothing aliases. Turning and rendering commute exactly: a turned
    /// piece is the turned rendering of the straight one.
    ///
    /// # Errors
    /// [`RenderError`] when the piece does not lie in this frame or the size is absurd.
    ///
    /// ```
    /// use image::{Rgb, RgbImage};
    /// use spatial_ssrl::{
    ///     frame::{FrameId, Registration, RgbdFrame},
    ///     task::piece::{Piece, Scratch},
    /// };
    /// let frame = RgbdFrame {
    ///     id: FrameId(1),
    ///     stamp_ns: 1,
    ///     depth_stamp_ns: None,
    ///     color: RgbImage::from_pixel(64, 48, Rgb([10, 20, 30])),
    ///     depth_m: None,
    ///     intrinsics: None,
    ///     registration: Registration::Unregistered,
    /// };
    /// let small = Piece::Whole.render(&frame, 16, 16, &mut Scratch::default())?;
    /// assert_eq!(small.dimensions(), (16, 16));
    /// assert_eq!(small.get_pixel(8, 8).0, [10, 20, 30]);
    /// # Ok::<(), spatial_ssrl::task::piece::RenderError>(())
    /// ```
    pub fn render(
        &self,
        frame: &RgbdFrame,
        width: u32,
        height: u32,
        scratch: &mut Scratch,
    ) -> Result<RgbImage, RenderError> {
        checked_len(width, height)?;
        let mut picture = RgbImage::new(width, height);
        self.render_into(frame, width, height, scratch, &mut picture)?;
        Ok(picture)
    }

    /// As [`Piece::render`], into the caller's buffer of `height * width * 3` bytes, rows
    /// from the top, red first.
    ///
    /// # Errors
    /// As [`Piece::render`], and [`RenderError::Buffer`] for a wrong length.
    pub fn render_into(
        &self,
        frame: &RgbdFrame,
        width: u32,
        height: u32,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<(), RenderError> {
        let expected = checked_len(width, height)?;
        if out.len() != expected {
            return Err(RenderError::Buffer { got: out.len(), expected });
        }
        let source = Pixels { bytes: &frame.color, width: frame.width(), height: frame.height() };
        match *self {
            Piece::White => {
                out.fill(255);
                Ok(())
            }
            Piece::Whole => source.resample(source.full(), width, height, scratch, out),
            Piece::Holed { hole, turn } => {
                let (x, y, hole_width, hole_height) = source.check(hole)?;
                // The hole is painted before resampling: a person who scales the picture
                // down sees the same mixture at its edge.
                let mut holed = std::mem::take(&mut scratch.holed);
                holed.clear();
                holed.extend_from_slice(source.bytes);
                for row in y..y + hole_height {
                    let start = (row as usize * source.width as usize + x as usize) * 3;
                    holed[start..start + hole_width as usize * 3].fill(0);
                }
                let picture = Pixels { bytes: &holed, ..source };
                let view = View { rect: picture.full(), through: None, turn };
                let done = picture.turned(view, (width, height), scratch, out);
                scratch.holed = holed;
                done
            }
            Piece::Patch { rect, turn, through } => {
                let view = View { rect: source.check(rect)?, through, turn };
                source.turned(view, (width, height), scratch, out)
            }
        }
    }
}

/// A whole picture at another size, by the filter that pieces are rendered with.
pub(crate) fn scaled(
    picture: &RgbImage,
    width: u32,
    height: u32,
    scratch: &mut Scratch,
) -> Result<RgbImage, RenderError> {
    checked_len(width, height)?;
    let mut out = RgbImage::new(width, height);
    let source = Pixels { bytes: picture, width: picture.width(), height: picture.height() };
    source.resample(source.full(), width, height, scratch, &mut out)?;
    Ok(out)
}

fn checked_len(width: u32, height: u32) -> Result<usize, RenderError> {
    let sound = |side| (1..=MAX_SIDE_PX).contains(&side);
    if !sound(width) || !sound(height) || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(RenderError::Size { width, height });
    }
    Ok(width as usize * height as usize * 3)
}

type Corner = (u32, u32, u32, u32);

/// What of a picture is shown, and how.
#[derive(Clone, Copy)]
struct View {
    rect: Corner,
    through: Option<u32>,
    turn: Turn,
}

/// A picture's bytes, `[height, width, 3]`.
#[derive(Clone, Copy)]
struct Pixels<'a> {
    bytes: &'a [u8],
    width: u32,
    height: u32,
}

impl Pixels<'_> {
    fn full(&self) -> Corner {
        (0, 0, self.width, self.height)
    }

    fn check(&self, rect: Rect) -> Result<Corner, RenderError> {
        let (width, height) = (self.width, self.height);
        rect.inside(width, height).ok_or(RenderError::Outside { rect, width, height })
    }

    /// A view is resampled first and turned then, so both orders give the same pixels
    /// though a filter's rounding is not quite symmetric.
    fn turned(
        &self,
        view: View,
        (width, height): (u32, u32),
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<(), RenderError> {
        if view.turn == Turn::None {
            return self.patch(view.rect, view.through, width, height, scratch, out);
        }
        let (w, h) = view.turn.back().size((width, height));
        let mut straight = std::mem::take(&mut scratch.straight);
        straight.resize(out.len(), 0);
        let done = self.patch(view.rect, view.through, w, h, scratch, &mut straight);
        if done.is_ok() {
            view.turn.apply(&straight, w, h, out);
        }
        scratch.straight = straight;
        done
    }

    /// A rectangle, first averaged down to `through` x `through` if that is asked for.
    fn patch(
        &self,
        rect: Corner,
        through: Option<u32>,
        width: u32,
        height: u32,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<(), RenderError> {
        let Some(side) = through else {
            return self.resample(rect, width, height, scratch, out);
        };
        let mut small = std::mem::take(&mut scratch.small);
        small.resize(checked_len(side, side)?, 0);
        let averaged = self.resample(rect, side, side, scratch, &mut small);
        let done = averaged.and_then(|()| {
            let square = Pixels { bytes: &small, width: side, height: side };
            square.resample(square.full(), width, height, scratch, out)
        });
        scratch.small = small;
        done
    }

    fn resample(
        &self,
        (x, y, from_width, from_height): Corner,
        width: u32,
        height: u32,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<(), RenderError> {
        if (from_width, from_height) == (width, height) {
            let stride = self.width as usize * 3;
            let start = y as usize * stride + x as usize * 3;
            let rows = self.bytes[start..].chunks(stride);
            let row_bytes = width as usize * 3;
            for (from, to) in rows.zip(out.chunks_exact_mut(row_bytes)) {
                to.copy_from_slice(&from[..row_bytes]);
            }
            return Ok(());
        }
        let source = ImageRef::new(self.width, self.height, self.bytes, PixelType::U8x3)
            .map_err(|_| RenderError::Resample)?;
        let mut target = Image::from_slice_u8(width, height, out, PixelType::U8x3)
            .map_err(|_| RenderError::Resample)?;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .crop(f64::from(x), f64::from(y), f64::from(from_width), f64::from(from_height));
        scratch.resizer.resize(&source, &mut target, &options).map_err(|_| RenderError::Resample)
    }
}

impl Task {
    /// Width and height in pixels of the picture that points and holes of the question
    /// refer to: the frame's, but with sides swapped when the recipe turns it on its side.
    pub fn shown_size(&self) -> (u32, u32) {
        match self.recipe {
            Recipe::Options { turn, .. } => turn.size(self.picture_size),
            _ => self.picture_size,
        }
    }

    /// What there is to look at, in the order in which it is shown.
    ///
    /// | question | pieces |
    /// |---|---|
    /// | [`Question::Arrange`] | the patches in their shown places, [`Piece::White`] for the blank |
    /// | [`Question::FindFlip`] | the patches in reading order, one of them turned |
    /// | [`Question::FillHole`] | [`Piece::Holed`], then the options from A |
    /// | [`Question::OrderPoints`], [`Question::RelativePosition`] | [`Piece::Whole`] |
    ///
    /// A user's own task whose recipe is [`Recipe::Whole`] shows [`Piece::Whole`] whatever
    /// it asks. Parts that do not exist in the picture are left out.
    pub fn pieces(&self) -> Pieces {
        let (width, height) = self.picture_size;
        let mut pieces = Pieces::new();
        let mut add = |piece| {
            // Eight places always suffice: a grid has at most four sources.
            let _ = pieces.push(piece);
        };
        match (&self.question, &self.recipe) {
            (&Question::Arrange { rows, cols, blank }, Recipe::Shuffle { sources }) => {
                for (place, &source) in sources.iter().enumerate() {
                    if blank.is_some_and(|blank| usize::from(blank) == place) {
                        add(Piece::White);
                    } else if let Some(rect) = patch_rect(width, height, rows, cols, source) {
                        add(Piece::plain(rect));
                    }
                }
            }
            (&Question::FindFlip { rows, cols }, &Recipe::FlipOne { patch, direction }) => {
                for place in 0..rows.saturating_mul(cols).min(8) {
                    let turn = if place == patch { direction.turn() } else { Turn::None };
                    if let Some(rect) = patch_rect(width, height, rows, cols, place) {
                        add(Piece::Patch { rect, turn, through: None });
                    }
                }
            }
            (&Question::FillHole { hole, .. }, &Recipe::Options { options, turn }) => {
                let hole = turn.back().rect(hole, self.shown_size());
                add(Piece::Holed { hole, turn });
                for option in options {
                    add(option.piece(hole, self.picture_size, turn, self.preset));
                }
            }
            _ => add(Piece::Whole),
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::task::alike::test_frames::textured;

    const TURNS: [Turn; 6] = [
        Turn::None,
        Turn::Rotate90,
        Turn::Rotate180,
        Turn::Rotate270,
        Turn::FlipVertical,
        Turn::FlipHorizontal,
    ];

    fn turned(picture: &RgbImage, turn: Turn) -> RgbImage {
        use image::imageops;
        match turn {
            Turn::None => picture.clone(),
            Turn::Rotate90 => imageops::rotate90(picture),
            Turn::Rotate180 => imageops::rotate180(picture),
            Turn::Rotate270 => imageops::rotate270(picture),
            Turn::FlipVertical => imageops::flip_vertical(picture),
            Turn::FlipHorizontal => imageops::flip_horizontal(picture),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_turned_piece_is_the_turned_rendering_of_the_straight_piece(
            seed in any::<u64>(), x in 0_i32..40, y in 0_i32..30,
            w in 1_u32..50, h in 1_u32..40, out_w in 1_u32..70, out_h in 1_u32..70,
            turn in 0_usize..6, through in prop::option::of(1_u32..24),
        ) {
            let frame = textured(seed, 91, 71);
            let turn = TURNS[turn];
            let rect = Rect { x, y, width: w, height: h };
            let mut scratch = Scratch::default();
            let piece = Piece::Patch { rect, turn, through };
            let got = piece.render(&frame, out_w, out_h, &mut scratch).unwrap();
            let (sw, sh) = if turn.swaps_sides() { (out_h, out_w) } else { (out_w, out_h) };
            let straight = Piece::Patch { rect, turn: Turn::None, through }
                .render(&frame, sw, sh, &mut scratch)
                .unwrap();
            prop_assert_eq!(&got, &turned(&straight, turn));
            let again = piece.render(&frame, out_w, out_h, &mut Scratch::default()).unwrap();
            prop_assert_eq!(got, again, "what the scratch held before must not matter");
        }
    }

    #[test]
    fn at_its_native_size_a_piece_is_the_frames_own_pixels() {
        let frame = textured(3, 90, 70);
        let rect = Rect { x: 13, y: 7, width: 31, height: 22 };
        for turn in TURNS {
            let piece = Piece::Patch { rect, turn, through: None };
            let (w, h) = piece.native_size((90, 70));
            let got = piece.render(&frame, w, h, &mut Scratch::default()).unwrap();
            let cut = image::imageops::crop_imm(&frame.color, 13, 7, 31, 22).to_image();
            assert_eq!(got, turned(&cut, turn), "{turn:?}");
        }
    }

    #[test]
    fn shrinking_does_not_alias() {
        let mut frame = textured(1, 256, 256);
        for (x, y, pixel) in frame.color.enumerate_pixels_mut() {
            pixel.0 = [if (x + y) % 2 == 0 { 0 } else { 254 }; 3];
        }
        let small = Piece::Whole.render(&frame, 33, 29, &mut Scratch::default()).unwrap();
        for pixel in small.pixels() {
            assert!((120..=134).contains(&pixel.0[0]), "a checkerboard turns grey: {pixel:?}");
        }
    }

    #[test]
    fn the_hole_is_black_and_its_surroundings_are_untouched_however_it_is_turned() {
        let frame = textured(9, 80, 60);
        let hole = Rect { x: 20, y: 10, width: 30, height: 30 };
        for turn in TURNS {
            let piece = Piece::Holed { hole, turn };
            let (width, height) = piece.native_size((80, 60));
            let got = piece.render(&frame, width, height, &mut Scratch::default()).unwrap();
            let shown = turn.rect(hole, (80, 60));
            let whole = turned(&frame.color, turn);
            assert_eq!(turn.back().rect(shown, (width, height)), hole);
            for (x, y, pixel) in got.enumerate_pixels() {
                let inside = (shown.x..shown.x + 30).contains(&(x as i32))
                    && (shown.y..shown.y + 30).contains(&(y as i32));
                let expected = if inside { [0; 3] } else { whole.get_pixel(x, y).0 };
                assert_eq!(pixel.0, expected, "{turn:?} {x} {y}");
            }
        }
    }

    #[test]
    fn rotations_add_up() {
        let picture = textured(2, 30, 20).color;
        for first in Turn::ROTATIONS {
            for then in Turn::ROTATIONS {
                let both = turned(&turned(&picture, first), then);
                assert_eq!(turned(&picture, first.and_then(then)), both, "{first:?} {then:?}");
            }
            assert_eq!(first.and_then(first.back()), Turn::None);
        }
    }

    #[test]
    fn a_piece_of_another_frame_and_absurd_sizes_are_refused() {
        let frame = textured(5, 64, 48);
        let mut scratch = Scratch::default();
        for rect in [
            Rect { x: -1, y: 0, width: 4, height: 4 },
            Rect { x: 61, y: 0, width: 4, height: 4 },
            Rect { x: 0, y: 0, width: 0, height: 4 },
            Rect { x: i32::MAX, y: 0, width: u32::MAX, height: 4 },
        ] {
            let error = Piece::plain(rect).render(&frame, 8, 8, &mut scratch).unwrap_err();
            assert_eq!(error, RenderError::Outside { rect, width: 64, height: 48 });
            assert!(
                Piece::Holed { hole: rect, turn: Turn::None }
                    .render(&frame, 8, 8, &mut scratch)
                    .is_err()
            );
        }
        for (w, h) in [(0, 8), (8, 0), (u32::MAX, u32::MAX), (8192, 8192)] {
            let error = Piece::Whole.render(&frame, w, h, &mut scratch).unwrap_err();
            assert_eq!(error, RenderError::Size { width: w, height: h });
        }
        let error = Piece::Whole.render_into(&frame, 8, 8, &mut scratch, &mut [0; 5]).unwrap_err();
        assert_eq!(error, RenderError::Buffer { got: 5, expected: 192 });
    }

    #[test]
    fn outer_squares_are_shifted_inside_the_picture() {
        let hole = Rect { x: 0, y: 100, width: 240, height: 240 };
        let outer = hole.square_around(360, 640, 480);
        assert_eq!(outer, Rect { x: 0, y: 40, width: 360, height: 360 });
        let all = hole.square_around(480, 640, 480);
        assert_eq!(all, Rect { x: 0, y: 0, width: 480, height: 480 });
        let inner = hole.square_around(120, 640, 480);
        assert_eq!(inner, Rect { x: 60, y: 160, width: 120, height: 120 });
    }
}
