//! A task's pictures, for people and for vision-language models.
//!
//! Patches and options are the same renderings that a compact policy gets
//! ([`Piece::render`]); frames and numbers stand beside them, never on them, so not a
//! pixel of a patch is lost. Markers are rings around the point with a number beside.

use std::collections::HashMap;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use image::{Rgb, RgbImage};

use super::{
    MAX_PARTS, Piece, Pixel, Question, Rect, Task,
    piece::{RenderError, Scratch},
};
use crate::frame::RgbdFrame;

/// DejaVu Sans Bold, printable ASCII.
static FONT: &[u8] = include_bytes!("../../assets/labels.ttf");

/// The pictures of one task: one, or a picture and four options.
pub type Pictures = heapless::Vec<RgbImage, 5>;

const BACKGROUND: Rgb<u8> = Rgb([44, 46, 52]);
const FRAME_LINE: Rgb<u8> = Rgb([255, 176, 0]);
const WHITE: Rgb<u8> = Rgb([255, 255, 255]);
const BLACK: Rgb<u8> = Rgb([0, 0, 0]);

/// The colours of the markers 1 to 4, bright and far apart in hue, told apart by people
/// with the common colour blindnesses too (after Okabe and Ito 2008).
const MARKERS: [Rgb<u8>; MAX_PARTS] =
    [Rgb([213, 60, 0]), Rgb([0, 114, 218]), Rgb([0, 140, 90]), Rgb([170, 70, 150])];

/// Why a task's pictures cannot be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// The frame is not the one that the task was made from.
    #[error(
        "the task was made from a {task_width}x{task_height} frame, this one has {width}x{height}"
    )]
    OtherFrame {
        /// Width of the task's frame.
        task_width: u32,
        /// Height of the task's frame.
        task_height: u32,
        /// Width of the given frame.
        width: u32,
        /// Height of the given frame.
        height: u32,
    },
    /// A piece cannot be rendered.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// Draws pictures; keeps buffers and the glyphs that it has drawn. One a thread.
pub struct Painter {
    font: Option<FontRef<'static>>,
    glyphs: HashMap<(char, u32), Glyph>,
    scratch: Scratch,
}

/// One character at one size: how much of each pixel it covers.
#[derive(Clone, Default)]
struct Glyph {
    left: i32,
    top: i32,
    width: usize,
    advance: f32,
    coverage: Vec<u8>,
}

impl Default for Painter {
    fn default() -> Self {
        Painter {
            font: FontRef::try_from_slice(FONT).ok(),
            glyphs: HashMap::new(),
            scratch: Scratch::default(),
        }
    }
}

impl Task {
    /// What the task shows, in full resolution.
    ///
    /// | question | pictures |
    /// |---|---|
    /// | [`Question::Arrange`], [`Question::FindFlip`] | one: the patches, each framed, its number above it |
    /// | [`Question::FillHole`] | five: the picture with a black square, the options A to D |
    /// | [`Question::OrderPoints`] | one: the picture with numbered rings |
    /// | [`Question::RelativePosition`] | one: ring 1 where the observer stands, ring 2 around the target |
    ///
    /// # Errors
    /// [`DrawError::OtherFrame`] when the frame is not the task's.
    pub fn pictures(&self, frame: &RgbdFrame) -> Result<Pictures, DrawError> {
        Painter::default().pictures(self, frame)
    }
}

/// Where the parts of a grid stand in its drawn picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridLayout {
    /// Width and height of the drawn picture.
    pub size: (u32, u32),
    /// The pixels of each patch, by its number.
    pub patches: heapless::Vec<Rect, 8>,
    /// Height of the strip above each patch that holds its number.
    label_height: u32,
}

/// The layout of `rows` x `cols` patches of `width` x `height` pixels.
pub fn grid_layout(rows: u8, cols: u8, width: u32, height: u32) -> GridLayout {
    let label_height = (width.min(height) / 6).clamp(16, 30);
    let (step_x, step_y) = (width + 2 * LINE + GAP, height + 2 * LINE + GAP + label_height);
    let size = (u32::from(cols) * step_x + GAP, u32::from(rows) * step_y + GAP);
    let mut patches = heapless::Vec::new();
    for row in 0..u32::from(rows) {
        for col in 0..u32::from(cols) {
            let x = (GAP + LINE + col * step_x) as i32;
            let y = (GAP + LINE + label_height + row * step_y) as i32;
            let _ = patches.push(Rect { x, y, width, height });
        }
    }
    GridLayout { size, patches, label_height }
}

/// Width of a patch's frame and of the space between frames, in pixels.
const LINE: u32 = 2;
const GAP: u32 = 8;

impl Painter {
    /// As [`Task::pictures`], with this painter's buffers.
    ///
    /// # Errors
    /// [`DrawError::OtherFrame`] when the frame is not the task's.
    pub fn pictures(&mut self, task: &Task, frame: &RgbdFrame) -> Result<Pictures, DrawError> {
        let (width, height) = frame.color.dimensions();
        let (task_width, task_height) = task.picture_size;
        if (width, height) != task.picture_size {
            return Err(DrawError::OtherFrame { task_width, task_height, width, height });
        }
        let mut pictures = Pictures::new();
        match &task.question {
            &Question::Arrange { rows, cols, .. } | &Question::FindFlip { rows, cols } => {
                let _ = pictures.push(self.grid(task, frame, rows, cols)?);
            }
            Question::FillHole { .. } => {
                for piece in &task.pieces() {
                    let (w, h) = match piece {
                        Piece::Patch { .. } => option_size(task),
                        _ => piece.native_size((width, height)),
                    };
                    let _ = pictures.push(piece.render(frame, w, h, &mut self.scratch)?);
                }
            }
            Question::OrderPoints { points } => {
                let _ = pictures.push(self.marked(frame, points));
            }
            Question::RelativePosition { observer, target, .. } => {
                let _ = pictures.push(self.marked(frame, &[*observer, *target]));
            }
        }
        Ok(pictures)
    }

    fn grid(
        &mut self,
        task: &Task,
        frame: &RgbdFrame,
        rows: u8,
        cols: u8,
    ) -> Result<RgbImage, DrawError> {
        let pieces = task.pieces();
        if matches!(pieces.first(), Some(Piece::Whole)) {
            let (width, height) = task.picture_size;
            return Ok(Piece::Whole.render(frame, width, height, &mut self.scratch)?);
        }
        let (width, height) = (
            task.picture_size.0 / u32::from(cols.max(1)),
            task.picture_size.1 / u32::from(rows.max(1)),
        );
        let layout = grid_layout(rows, cols, width, height);
        let mut picture = RgbImage::from_pixel(layout.size.0, layout.size.1, BACKGROUND);
        for (number, (piece, place)) in pieces.iter().zip(&layout.patches).enumerate() {
            let line = LINE as i32;
            let around = Rect {
                x: place.x - line,
                y: place.y - line,
                width: width + 2 * LINE,
                height: height + 2 * LINE,
            };
            fill(&mut picture, around, FRAME_LINE);
            let patch = piece.render(frame, width, height, &mut self.scratch)?;
            paste(&mut picture, &patch, place.x, place.y);
            let middle =
                (place.x + width as i32 / 2, place.y - line - layout.label_height as i32 / 2);
            let px = layout.label_height.saturating_sub(4);
            self.centred(&mut picture, middle, px, WHITE, &number.to_string());
        }
        Ok(picture)
    }

    fn marked(&mut self, frame: &RgbdFrame, points: &[Pixel]) -> RgbImage {
        let mut picture = frame.color.clone();
        let radius = marker_radius(picture.width(), picture.height());
        let tags = tag_places(points, radius, picture.dimensions());
        for (point, color) in points.iter().zip(MARKERS) {
            let centre = (point.x as f32, point.y as f32);
            ring(&mut picture, centre, radius, 2.0 + radius / 8.0, color);
        }
        for (number, (tag, color)) in tags.iter().zip(MARKERS).enumerate() {
            let reach = tag_radius(radius);
            disc(&mut picture, *tag, reach, color);
            let middle = (tag.0.round() as i32, tag.1.round() as i32);
            let px = (reach * 1.6) as u32;
            self.centred(&mut picture, middle, px, WHITE, &(number + 1).to_string());
        }
        picture
    }

    /// Writes `text` with its baseline box's left top corner at (`x`, `y`), `px` pixels
    /// high; gives the width in pixels.
    pub fn text(
        &mut self,
        picture: &mut RgbImage,
        (x, y): (i32, i32),
        px: u32,
        color: Rgb<u8>,
        text: &str,
    ) -> u32 {
        let mut pen = x as f32;
        for character in text.chars() {
            let glyph = self.glyph(character, px);
            let (left, top) = (pen.round() as i32 + glyph.left, y + glyph.top);
            let rows = glyph.coverage.chunks(glyph.width.max(1));
            for (row, line) in rows.enumerate() {
                for (col, &coverage) in line.iter().enumerate() {
                    let alpha = f32::from(coverage) / 255.0;
                    blend(picture, left + col as i32, top + row as i32, color, alpha);
                }
            }
            pen += glyph.advance;
        }
        (pen - x as f32).ceil().max(0.0) as u32
    }

    /// The width of `text` at `px` pixels height.
    pub fn text_width(&mut self, px: u32, text: &str) -> u32 {
        text.chars().map(|c| self.glyph(c, px).advance).sum::<f32>().ceil().max(0.0) as u32
    }

    fn centred(
        &mut self,
        picture: &mut RgbImage,
        (x, y): (i32, i32),
        px: u32,
        color: Rgb<u8>,
        text: &str,
    ) {
        // Digits and capitals have no descender: their middle is 0.48 of the line's height
        // below its top in this font.
        let top = y - (px as f32 * 0.48).round() as i32;
        let left = x - self.text_width(px, text) as i32 / 2;
        self.text(picture, (left, top), px, color, text);
    }

    fn glyph(&mut self, character: char, px: u32) -> &Glyph {
        let font = self.font.as_ref();
        self.glyphs.entry((character, px)).or_insert_with(|| {
            font.map_or_else(Glyph::default, |font| rasterise(font, character, px))
        })
    }
}

fn rasterise(font: &FontRef<'_>, character: char, px: u32) -> Glyph {
    let scale = PxScale::from(px as f32);
    let scaled = font.as_scaled(scale);
    let id = font.glyph_id(character);
    let mut glyph = Glyph { advance: scaled.h_advance(id), ..Glyph::default() };
    let at = ab_glyph::point(0.0, scaled.ascent());
    let Some(outline) = font.outline_glyph(id.with_scale_and_position(scale, at)) else {
        return glyph;
    };
    let bounds = outline.px_bounds();
    (glyph.left, glyph.top) = (bounds.min.x as i32, bounds.min.y as i32);
    glyph.width = bounds.width() as usize;
    glyph.coverage = vec![0; glyph.width * bounds.height() as usize];
    outline.draw(|x, y, coverage| {
        if let Some(cell) = glyph.coverage.get_mut(y as usize * glyph.width + x as usize) {
            *cell = (coverage.clamp(0.0, 1.0) * 255.0).round() as u8;
        }
    });
    glyph
}

/// Options are shown as large as the hole.
fn option_size(task: &Task) -> (u32, u32) {
    match &task.question {
        Question::FillHole { hole, .. } => (hole.width, hole.height),
        _ => task.picture_size,
    }
}

/// The radius of a marker's ring in pixels for a picture of this size.
pub fn marker_radius(width: u32, height: u32) -> f32 {
    (width.min(height) as f32 / 44.0).clamp(4.0, 40.0)
}

fn tag_radius(ring: f32) -> f32 {
    (ring * 0.95).max(7.0)
}

type Place = (f32, f32);

/// Where the number of each marker stands: beside its ring, inside the picture, on the
/// side that is farthest from other rings and numbers.
fn tag_places(
    points: &[Pixel],
    radius: f32,
    (width, height): (u32, u32),
) -> heapless::Vec<Place, MAX_PARTS> {
    let reach = tag_radius(radius);
    let away = (radius + reach + 3.0) * std::f32::consts::FRAC_1_SQRT_2;
    let mut tags: heapless::Vec<Place, MAX_PARTS> = heapless::Vec::new();
    for (i, point) in points.iter().enumerate() {
        let centre = (point.x as f32, point.y as f32);
        let mut best = (f32::NEG_INFINITY, centre);
        for (dx, dy) in [(1.0, -1.0), (1.0, 1.0), (-1.0, -1.0), (-1.0, 1.0)] {
            let place = (centre.0 + dx * away, centre.1 + dy * away);
            let edge =
                place.0.min(place.1).min(width as f32 - place.0).min(height as f32 - place.1);
            let others = points.iter().enumerate().filter(|(j, _)| *j != i);
            let rings = others.map(|(_, p)| distance(place, (p.x as f32, p.y as f32)));
            let clear = rings.chain(tags.iter().map(|tag| distance(place, *tag)));
            // Beyond a few radii more room is no better; the first side then wins.
            let room = clear.fold(3.0 * away, f32::min) + (edge - reach).min(0.0) * 100.0;
            if room > best.0 {
                best = (room, place);
            }
        }
        let _ = tags.push(best.1);
    }
    tags
}

fn distance(a: Place, b: Place) -> f32 {
    (a.0 - b.0).hypot(a.1 - b.1)
}

/// A ring in `color` between a white and a black line: readable on any background.
fn ring(picture: &mut RgbImage, centre: Place, radius: f32, thickness: f32, color: Rgb<u8>) {
    let half = thickness / 2.0;
    around(picture, centre, radius + half + 3.0, |picture, x, y, d| {
        let off = (d - radius).abs();
        blend(picture, x, y, BLACK, (half + 2.5 - off).clamp(0.0, 1.0));
        blend(picture, x, y, WHITE, (half + 1.5 - off).clamp(0.0, 1.0));
        blend(picture, x, y, color, (half + 0.5 - off).clamp(0.0, 1.0));
    });
}

fn disc(picture: &mut RgbImage, centre: Place, radius: f32, color: Rgb<u8>) {
    around(picture, centre, radius + 3.0, |picture, x, y, d| {
        blend(picture, x, y, BLACK, (radius + 2.5 - d).clamp(0.0, 1.0));
        blend(picture, x, y, WHITE, (radius + 1.5 - d).clamp(0.0, 1.0));
        blend(picture, x, y, color, (radius + 0.5 - d).clamp(0.0, 1.0));
    });
}

/// Calls `paint` for the pixels within `reach` of `centre` with their distance.
fn around(
    picture: &mut RgbImage,
    centre: Place,
    reach: f32,
    paint: impl Fn(&mut RgbImage, i32, i32, f32),
) {
    let span = reach.ceil() as i32;
    let (cx, cy) = (centre.0.round() as i32, centre.1.round() as i32);
    for y in cy - span..=cy + span {
        for x in cx - span..=cx + span {
            paint(picture, x, y, distance((x as f32, y as f32), centre));
        }
    }
}

fn blend(picture: &mut RgbImage, x: i32, y: i32, color: Rgb<u8>, alpha: f32) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    if alpha <= 0.0 {
        return;
    }
    if let Some(pixel) = picture.get_pixel_mut_checked(x, y) {
        for (old, new) in pixel.0.iter_mut().zip(color.0) {
            *old = (f32::from(*old) * (1.0 - alpha) + f32::from(new) * alpha).round() as u8;
        }
    }
}

/// Fills a rectangle, as far as it lies in the picture.
pub(crate) fn fill(picture: &mut RgbImage, rect: Rect, color: Rgb<u8>) {
    let (width, height) = (picture.width() as i64, picture.height() as i64);
    let clamp = |start: i32, length: u32, limit: i64| {
        let start = i64::from(start);
        (start.clamp(0, limit) as u32, (start + i64::from(length)).clamp(0, limit) as u32)
    };
    let ((x0, x1), (y0, y1)) =
        (clamp(rect.x, rect.width, width), clamp(rect.y, rect.height, height));
    for y in y0..y1 {
        for x in x0..x1 {
            picture.put_pixel(x, y, color);
        }
    }
}

/// Copies `part` into `picture` with its left top corner at (`x`, `y`); what would stand
/// outside is left out.
pub(crate) fn paste(picture: &mut RgbImage, part: &RgbImage, x: i32, y: i32) {
    let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
    let stride = picture.width() as usize * 3;
    let bytes = (part.width() as usize).min((picture.width() as usize).saturating_sub(x)) * 3;
    if bytes == 0 {
        return;
    }
    let target: &mut [u8] = picture;
    let lines = target.chunks_exact_mut(stride).skip(y);
    let part_bytes: &[u8] = part;
    for (to, from) in lines.zip(part_bytes.chunks_exact(part.width() as usize * 3)) {
        to[x * 3..x * 3 + bytes].copy_from_slice(&from[..bytes]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::SensorModel,
        task::{
            Answer, PreparedFrame, Preset, Recipe, TaskKind, TaskSource,
            alike::test_frames::{flat, textured},
            flip::Flip,
            inpaint::Inpaint,
            reorder::Reorder,
        },
    };

    fn marked_task(frame: &RgbdFrame, points: &[(u32, u32)]) -> Task {
        let points: heapless::Vec<Pixel, MAX_PARTS> =
            points.iter().map(|&(x, y)| Pixel { x, y }).collect();
        Task {
            kind: TaskKind::Depth,
            frame_id: frame.id,
            stamp_ns: 0,
            picture_size: frame.color.dimensions(),
            seed: 0,
            preset: Preset::Balanced,
            answer: Answer::Order((0..points.len() as u8).collect()),
            question: Question::OrderPoints { points },
            recipe: Recipe::Whole,
        }
    }

    fn crop(picture: &RgbImage, rect: Rect) -> RgbImage {
        let (x, y) = (rect.x as u32, rect.y as u32);
        image::imageops::crop_imm(picture, x, y, rect.width, rect.height).to_image()
    }

    #[test]
    fn the_font_that_ships_holds_every_printable_ascii_character() {
        let mut painter = Painter::default();
        for character in '!'..='~' {
            let glyph = painter.glyph(character, 24);
            assert!(glyph.coverage.iter().any(|&c| c > 200), "{character:?} is not drawn");
        }
        assert!(painter.text_width(24, " ") > 2);
    }

    #[test]
    fn a_drawn_grid_holds_every_patch_pixel_for_pixel_and_a_number_above_it() {
        let frame = textured(31, 161, 121);
        let prepared = PreparedFrame::new(&frame, SensorModel::default());
        for seed in 0..40 {
            for source in [&Reorder::default() as &dyn TaskSource, &Flip::default()] {
                let task = source.make(&prepared, seed).unwrap();
                let (&Question::Arrange { rows, cols, .. } | &Question::FindFlip { rows, cols }) =
                    &task.question
                else {
                    unreachable!()
                };
                let pictures = task.pictures(&frame).unwrap();
                let (w, h) = (161 / u32::from(cols), 121 / u32::from(rows));
                let layout = grid_layout(rows, cols, w, h);
                assert_eq!(pictures[0].dimensions(), layout.size);
                for (piece, place) in task.pieces().iter().zip(&layout.patches) {
                    let patch = piece.render(&frame, w, h, &mut Scratch::default()).unwrap();
                    assert_eq!(crop(&pictures[0], *place), patch, "{piece:?}");
                    let above = Rect {
                        y: place.y - (LINE + layout.label_height) as i32,
                        height: layout.label_height,
                        ..*place
                    };
                    let label = crop(&pictures[0], above);
                    assert!(label.pixels().any(|pixel| *pixel == WHITE), "no number");
                }
            }
        }
    }

    #[test]
    fn an_inpainting_task_is_a_holed_picture_and_four_options_of_the_holes_size() {
        let frame = textured(32, 161, 121);
        let prepared = PreparedFrame::new(&frame, SensorModel::default());
        let task = Inpaint::default().make(&prepared, 3).unwrap();
        let pictures = task.pictures(&frame).unwrap();
        assert_eq!(pictures.len(), 5);
        assert_eq!(pictures[0].dimensions(), task.shown_size());
        for option in &pictures[1..] {
            assert_eq!(option.dimensions(), (60, 60));
        }
    }

    #[test]
    fn marks_are_readable_on_any_background_and_leave_what_they_mark_visible() {
        for grey in [0, 60, 128, 200, 255] {
            let frame = flat(1, grey, 0, 640, 480);
            let points = [(100, 100), (320, 240), (500, 400)];
            let picture = &marked_task(&frame, &points).pictures(&frame).unwrap()[0];
            for (x, y) in points {
                assert_eq!(picture.get_pixel(x, y).0, [grey; 3], "the middle stays visible");
                let reach = marker_radius(640, 480) as u32 + 8;
                let around = Rect {
                    x: (x - reach) as i32,
                    y: (y - reach) as i32,
                    width: 2 * reach,
                    height: 2 * reach,
                };
                let around = crop(picture, around);
                let far = |pixel: &Rgb<u8>| {
                    pixel.0.iter().map(|&v| i32::from(v.abs_diff(grey))).max().unwrap_or(0) > 100
                };
                assert!(around.pixels().filter(|pixel| far(pixel)).count() > 60, "grey {grey}");
            }
        }
    }

    #[test]
    fn numbers_stand_inside_the_picture_even_in_its_corners() {
        let frame = flat(1, 128, 0, 320, 240);
        let radius = marker_radius(320, 240);
        let reach = tag_radius(radius);
        let corners = [(0, 0), (319, 0), (0, 239), (319, 239)];
        let points: Vec<Pixel> = corners.iter().map(|&(x, y)| Pixel { x, y }).collect();
        for tag in tag_places(&points, radius, (320, 240)) {
            assert!(tag.0 >= reach && tag.0 <= 320.0 - reach, "{tag:?}");
            assert!(tag.1 >= reach && tag.1 <= 240.0 - reach, "{tag:?}");
        }
        assert!(marked_task(&frame, &corners).pictures(&frame).is_ok());
        let outside = marked_task(&frame, &[(5000, 5000), (1, 1)]);
        assert!(outside.pictures(&frame).is_ok(), "a foreign point draws nothing, and no panic");
    }

    #[test]
    fn numbers_of_near_points_do_not_cover_other_marks() {
        let points = [Pixel { x: 100, y: 100 }, Pixel { x: 130, y: 75 }, Pixel { x: 128, y: 128 }];
        let radius = marker_radius(640, 480);
        let tags = tag_places(&points, radius, (640, 480));
        for (i, tag) in tags.iter().enumerate() {
            for (j, point) in points.iter().enumerate() {
                let d = distance(*tag, (point.x as f32, point.y as f32));
                assert!(i == j || d > tag_radius(radius), "{i} covers the middle of {j}");
            }
        }
    }

    #[test]
    fn another_frames_task_is_refused_with_both_sizes() {
        let task = marked_task(&flat(1, 9, 0, 64, 48), &[(1, 1), (2, 2)]);
        let error = task.pictures(&flat(1, 9, 0, 48, 64)).unwrap_err();
        assert_eq!(
            error,
            DrawError::OtherFrame { task_width: 64, task_height: 48, width: 48, height: 64 }
        );
    }
}
