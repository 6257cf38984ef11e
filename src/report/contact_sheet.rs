//! Sample tasks of one kind on one picture, each with its right answer beneath: a person
//! checks by eye in a minute that questions make sense and answers are right.

use image::{Rgb, RgbImage};

use crate::frame::RgbdFrame;
use crate::task::{
    Answer, Facing, PositionRule, Question, Rect, Task, TaskKind,
    draw::{DrawError, Painter, fill, paste},
    piece::{Scratch, scaled},
};

/// The most tasks on one sheet: a person looks at no more, and the picture stays below 30
/// megapixels.
pub const MAX_CELLS: usize = 60;

const CELL_WIDTH: u32 = 432;
const PICTURE_HEIGHT: u32 = 300;
const LINE_HEIGHT: u32 = 20;
const LINES: u32 = 3;
const FORM_PX: u32 = 13;
const MARGIN: u32 = 10;
const TITLE_HEIGHT: u32 = 40;
const CELL_HEIGHT: u32 = PICTURE_HEIGHT + LINES * LINE_HEIGHT + 6;

const PAPER: Rgb<u8> = Rgb([250, 249, 246]);
const CARD: Rgb<u8> = Rgb([226, 228, 232]);
const INK: Rgb<u8> = Rgb([32, 34, 40]);
const RIGHT: Rgb<u8> = Rgb([0, 122, 60]);

/// A sheet that is being filled.
///
/// ```
/// use image::{Rgb, RgbImage};
/// use spatial_ssrl::{
///     frame::{FrameId, Registration, RgbdFrame, SensorModel},
///     report::contact_sheet::ContactSheet,
///     task::{PreparedFrame, Preset, TaskSource, flip::Flip},
/// };
/// let frame = RgbdFrame {
///     id: FrameId(1),
///     stamp_ns: 1,
///     depth_stamp_ns: None,
///     color: RgbImage::from_fn(96, 64, |x, y| Rgb([2 * x as u8, 4 * y as u8, 0])),
///     depth_m: None,
///     intrinsics: None,
///     registration: Registration::Unregistered,
/// };
/// let task = Flip::new(Preset::Balanced)
///     .make(&PreparedFrame::new(&frame, SensorModel::default()), 7)?;
/// let mut sheet = ContactSheet::new(3);
/// sheet.push(&task, &frame)?;
/// assert!(sheet.image().width() > 400);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ContactSheet {
    columns: u32,
    title: String,
    cells: Vec<RgbImage>,
    painter: Painter,
    scratch: Scratch,
}

impl ContactSheet {
    /// An empty sheet with so many tasks side by side (1 to 6).
    pub fn new(columns: u32) -> Self {
        ContactSheet {
            columns: columns.clamp(1, 6),
            title: String::new(),
            cells: Vec::new(),
            painter: Painter::default(),
            scratch: Scratch::default(),
        }
    }

    /// Whether there is room for no further task ([`MAX_CELLS`]).
    pub fn is_full(&self) -> bool {
        self.cells.len() >= MAX_CELLS
    }

    /// Adds a task made from this frame; does nothing when the sheet is full.
    ///
    /// # Errors
    /// [`DrawError`] when the frame is not the task's.
    pub fn push(&mut self, task: &Task, frame: &RgbdFrame) -> Result<(), DrawError> {
        if self.is_full() {
            return Ok(());
        }
        if self.cells.is_empty() {
            let preset = format!("{:?}", task.preset).to_lowercase();
            self.title = format!("{} ({preset})", title(&task.kind));
        }
        let pictures = self.painter.pictures(task, frame)?;
        let mut cell = RgbImage::from_pixel(CELL_WIDTH, CELL_HEIGHT, CARD);
        let area = Rect { x: 6, y: 6, width: CELL_WIDTH - 12, height: PICTURE_HEIGHT - 12 };
        match pictures.as_slice() {
            [whole, options @ ..] if !options.is_empty() => {
                let left = Rect { width: area.width * 11 / 20, ..area };
                self.fit(&mut cell, whole, left)?;
                let x = left.x + left.width as i32 + 6;
                let side = (area.width - left.width - 12) / 2;
                let right = match task.answer {
                    Answer::Choice(option) => usize::from(option),
                    _ => usize::MAX,
                };
                for (i, option) in options.iter().enumerate() {
                    let step = side as i32 + 30;
                    let place = Rect {
                        x: x + (i as i32 % 2) * (side as i32 + 6),
                        y: area.y + 34 + (i as i32 / 2) * step,
                        width: side,
                        height: side,
                    };
                    let letter = ((b'A' + i as u8) as char).to_string();
                    let ink = if i == right { RIGHT } else { INK };
                    self.painter.text(&mut cell, (place.x + 2, place.y - 19), 17, ink, &letter);
                    self.fit(&mut cell, option, place)?;
                }
            }
            [only, ..] => self.fit(&mut cell, only, area)?,
            [] => {}
        }
        let mut lines = form_lines(&task.question);
        lines.truncate(LINES as usize - 1);
        let mut y = PICTURE_HEIGHT as i32;
        for line in &lines {
            self.painter.text(&mut cell, (8, y), FORM_PX, INK, line);
            y += LINE_HEIGHT as i32;
        }
        let answer = format!("answer {}", task.answer);
        self.painter.text(&mut cell, (8, y), 17, RIGHT, &answer);
        let seed = format!("frame {}  seed {:016x}", task.stamp_ns, task.seed);
        let width = self.painter.text_width(10, &seed);
        let at = (CELL_WIDTH as i32 - 8 - width as i32, CELL_HEIGHT as i32 - 15);
        self.painter.text(&mut cell, at, 10, INK, &seed);
        self.cells.push(cell);
        Ok(())
    }

    /// The sheet as it is now.
    pub fn image(&mut self) -> RgbImage {
        let rows = (self.cells.len() as u32).div_ceil(self.columns).max(1);
        let columns = self.columns.min(self.cells.len().max(1) as u32);
        let width = columns * (CELL_WIDTH + MARGIN) + MARGIN;
        let height = rows * (CELL_HEIGHT + MARGIN) + MARGIN + TITLE_HEIGHT;
        let mut sheet = RgbImage::from_pixel(width, height, PAPER);
        let at = (MARGIN as i32, MARGIN as i32);
        self.painter.text(&mut sheet, at, 26, INK, &self.title);
        for (i, cell) in self.cells.iter().enumerate() {
            let (row, col) = (i as u32 / columns, i as u32 % columns);
            let x = MARGIN + col * (CELL_WIDTH + MARGIN);
            let y = TITLE_HEIGHT + MARGIN + row * (CELL_HEIGHT + MARGIN);
            paste(&mut sheet, cell, x as i32, y as i32);
        }
        sheet
    }

    /// Draws `picture` as large as it fits into `area`, in its middle.
    fn fit(
        &mut self,
        cell: &mut RgbImage,
        picture: &RgbImage,
        area: Rect,
    ) -> Result<(), DrawError> {
        let (from_width, from_height) = picture.dimensions();
        let scale = (f64::from(area.width) / f64::from(from_width.max(1)))
            .min(f64::from(area.height) / f64::from(from_height.max(1)));
        let size = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
        let (width, height) = (size(from_width), size(from_height));
        let small = scaled(picture, width, height, &mut self.scratch)?;
        let x = area.x + (area.width.saturating_sub(width) / 2) as i32;
        let y = area.y + (area.height.saturating_sub(height) / 2) as i32;
        fill(cell, Rect { x: x - 1, y: y - 1, width: width + 2, height: height + 2 }, INK);
        paste(cell, &small, x, y);
        Ok(())
    }
}

fn title(kind: &TaskKind) -> &str {
    match kind {
        TaskKind::Reorder => "Shuffled patch reordering",
        TaskKind::Flip => "Flipped patch recognition",
        TaskKind::Inpaint => "Cropped patch inpainting",
        TaskKind::Depth => "Regional depth ordering",
        TaskKind::Position => "Relative 3D position",
        TaskKind::Custom(name) => name,
    }
}

/// What is asked, in a line or two.
fn form_lines(question: &Question) -> Vec<String> {
    match question {
        Question::Arrange { rows, cols, blank } => {
            let white = blank.map_or_else(String::new, |label| format!(", patch {label} is white"));
            vec![format!("Which patch belongs where? {rows} x {cols}{white}")]
        }
        Question::FindFlip { .. } => {
            vec!["Which patch is flipped?".to_owned(), "(0 upside down, 1 mirrored)".to_owned()]
        }
        Question::FillHole { .. } => vec!["Which option fills the hole?".to_owned()],
        Question::OrderPoints { .. } => vec!["From nearest to farthest?".to_owned()],
        Question::RelativePosition { facing, options, rule, .. } => {
            let faces = match facing {
                Facing::Left => "left",
                Facing::Right => "right",
                Facing::TowardViewer => "the viewer",
                Facing::AwayFromViewer => "away from the viewer",
            };
            let rule = match rule {
                PositionRule::Metric => "(metric)",
                PositionRule::Pixel => "(pixels)",
            };
            let listed: Vec<String> = ('A'..)
                .zip(options)
                .map(|(letter, option)| format!("{letter} {}", option.name()))
                .collect();
            vec![format!("At 1, facing {faces}: where is 2? {rule}"), listed.join("  ")]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::SensorModel,
        task::{
            PreparedFrame, TaskSource, alike::test_frames::textured, inpaint::Inpaint,
            reorder::Reorder,
        },
    };

    #[test]
    fn a_sheet_shows_every_task_and_never_grows_beyond_its_bound() {
        let frame = textured(1, 160, 120);
        let prepared = PreparedFrame::new(&frame, SensorModel::default());
        for source in [&Reorder::default() as &dyn TaskSource, &Inpaint::default()] {
            let mut sheet = ContactSheet::new(4);
            let mut heights = Vec::new();
            for seed in 0..MAX_CELLS as u64 + 5 {
                let task = source.make(&prepared, seed).unwrap();
                sheet.push(&task, &frame).unwrap();
                heights.push(sheet.cells.len());
            }
            assert_eq!(heights[4], 5);
            assert_eq!(*heights.last().unwrap(), MAX_CELLS);
            let image = sheet.image();
            assert!(u64::from(image.width()) * u64::from(image.height()) < 30_000_000);
        }
    }

    #[test]
    fn an_empty_sheet_and_a_foreign_frame_do_no_harm() {
        let mut sheet = ContactSheet::new(0);
        assert!(sheet.image().width() > 0);
        let frame = textured(1, 160, 120);
        let prepared = PreparedFrame::new(&frame, SensorModel::default());
        let task = Reorder::default().make(&prepared, 1).unwrap();
        assert!(sheet.push(&task, &textured(1, 161, 120)).is_err());
    }

    #[test]
    fn captions_fit_into_their_cell() {
        use crate::task::{Direction, Pixel};
        let mut painter = Painter::default();
        let question = Question::RelativePosition {
            observer: Pixel { x: 0, y: 0 },
            target: Pixel { x: 0, y: 0 },
            facing: Facing::AwayFromViewer,
            options: [
                Direction::RightFront,
                Direction::RightBack,
                Direction::LeftFront,
                Direction::LeftBack,
            ],
            rule: PositionRule::Pixel,
            intrinsics: None,
        };
        for line in form_lines(&question) {
            assert!(painter.text_width(FORM_PX, &line) < CELL_WIDTH - 16, "{line}");
        }
    }
}
