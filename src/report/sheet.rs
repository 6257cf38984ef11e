//! Contact sheets: some tasks of each kind with their answers on one picture, for a person
//! to check by eye.

use std::collections::BTreeMap;

use fast_image_resize::{PixelType, Resizer, images::Image as FirImage};
use image::{Rgb, RgbImage, imageops};

use crate::task::{Task, draw::Painter, seed::mix};

/// Tasks on one sheet.
pub const TASKS_A_SHEET: usize = 12;
/// Tiles side by side.
const COLUMNS: u32 = 3;
/// The largest picture of a tile, pixels.
const PICTURE: (u32, u32) = (420, 300);
const CAPTION_PX: u32 = 15;
const LINE_PX: u32 = CAPTION_PX + 5;
const GAP: u32 = 10;
const TILE_WIDTH: u32 = PICTURE.0 + GAP;
const TILE_HEIGHT: u32 = 2 * LINE_PX + PICTURE.1 + GAP;
const BACKGROUND: Rgb<u8> = Rgb([250, 250, 248]);
const INK: Rgb<u8> = Rgb([20, 20, 24]);
const ANSWER: Rgb<u8> = Rgb([170, 30, 30]);

/// One task as it stands on a sheet.
#[derive(Clone, Debug)]
pub struct Tile {
    kind: String,
    rank: u64,
    picture: RgbImage,
}

/// Gathers tiles, as many of each kind as fit on its sheet.
///
/// Which tasks are shown depends on their seeds alone: an even choice over the whole data
/// set, the same on any number of threads, without keeping more than the sheets hold.
#[derive(Debug, Default)]
pub struct SheetMaker {
    kinds: BTreeMap<String, BTreeMap<u64, RgbImage>>,
}

impl SheetMaker {
    /// The tile of a task, if it may still find a place. Any thread may ask.
    pub fn tile(&self, painter: &mut Painter, task: &Task, pictures: &[RgbImage]) -> Option<Tile> {
        // Mixed with the frame, so that one seed on many frames is as even.
        let rank = mix(task.seed, task.frame_id.0 ^ 0x5eed);
        let tiles = self.kinds.get(task.kind.name());
        let full = tiles.filter(|tiles| tiles.len() >= TASKS_A_SHEET);
        if full.and_then(|tiles| tiles.last_key_value()).is_some_and(|(last, _)| rank >= *last) {
            return None;
        }
        let kind = task.kind.name().to_owned();
        Some(Tile { kind, rank, picture: draw_tile(painter, task, pictures) })
    }

    /// Gives a tile its place, if it still has one.
    pub fn take(&mut self, tile: Option<Tile>) {
        let Some(tile) = tile else { return };
        let tiles = self.kinds.entry(tile.kind).or_default();
        tiles.insert(tile.rank, tile.picture);
        while tiles.len() > TASKS_A_SHEET {
            tiles.pop_last();
        }
    }

    /// One sheet for each kind that has tasks, by its name.
    pub fn sheets(&self) -> impl Iterator<Item = (&str, RgbImage)> {
        self.kinds.iter().map(|(kind, tiles)| (kind.as_str(), draw_sheet(tiles.values())))
    }
}

fn draw_sheet<'a>(tiles: impl ExactSizeIterator<Item = &'a RgbImage>) -> RgbImage {
    let columns = COLUMNS.min(tiles.len().max(1) as u32);
    let rows = (tiles.len() as u32).div_ceil(COLUMNS).max(1);
    let size = (columns * TILE_WIDTH + GAP, rows * TILE_HEIGHT + GAP);
    let mut sheet = RgbImage::from_pixel(size.0, size.1, BACKGROUND);
    for (i, tile) in (0_u32..).zip(tiles) {
        let (x, y) = (GAP + i % COLUMNS * TILE_WIDTH, GAP + i / COLUMNS * TILE_HEIGHT);
        imageops::replace(&mut sheet, tile, i64::from(x), i64::from(y));
    }
    sheet
}

/// The answer, what makes the task again, and the pictures: the first one large, options in
/// a row below it.
fn draw_tile(painter: &mut Painter, task: &Task, pictures: &[RgbImage]) -> RgbImage {
    let mut tile = RgbImage::from_pixel(TILE_WIDTH - GAP, TILE_HEIGHT - GAP, BACKGROUND);
    let answer = format!("answer {}", task.answer);
    let width = painter.text(&mut tile, (0, 0), CAPTION_PX, ANSWER, &answer);
    let asks = format!("   {}", asked(task));
    painter.text(&mut tile, (width as i32, 0), CAPTION_PX, INK, &asks);
    let stamp_s = task.stamp_ns as f64 / 1e9;
    let made = format!("seed {:x}  stamp {stamp_s:.3}", task.seed);
    painter.text(&mut tile, (0, LINE_PX as i32), CAPTION_PX - 3, INK, &made);
    let top = 2 * LINE_PX;
    let Some((first, options)) = pictures.split_first() else { return tile };
    if options.is_empty() {
        place(&mut tile, first, (0, top), PICTURE);
        return tile;
    }
    let (large, small) = (PICTURE.1 * 6 / 10, PICTURE.1 * 4 / 10 - GAP);
    place(&mut tile, first, (0, top), (PICTURE.0, large));
    let each = PICTURE.0 / options.len() as u32;
    let size = each.saturating_sub(GAP).min(small - LINE_PX);
    for (i, option) in (0_u32..).zip(options) {
        let (x, y) = (i * each, top + large + GAP / 2);
        place(&mut tile, option, (x, y), (size, size));
        let letter = char::from(b'A'.saturating_add(i.min(25) as u8)).to_string();
        painter.text(&mut tile, (x as i32, (y + size) as i32), CAPTION_PX, INK, &letter);
    }
    tile
}

/// What is asked, in a few words.
fn asked(task: &Task) -> String {
    use crate::task::Question;
    match &task.question {
        Question::RelativePosition { facing, options, .. } => {
            let facing = match facing {
                crate::task::Facing::Left => "left",
                crate::task::Facing::Right => "right",
                crate::task::Facing::TowardViewer => "to viewer",
                crate::task::Facing::AwayFromViewer => "away",
            };
            let options: Vec<&str> = options.iter().map(|option| option.name()).collect();
            format!("1 faces {facing}: {}", options.join(" / "))
        }
        _ => crate::export::row::variant(task),
    }
}

/// Scales a picture into a box, its sides in proportion, and puts it at the box's corner.
fn place(tile: &mut RgbImage, picture: &RgbImage, at: (u32, u32), within: (u32, u32)) {
    let (width, height) = picture.dimensions();
    if width == 0 || height == 0 {
        return;
    }
    let scale = (f64::from(within.0) / f64::from(width))
        .min(f64::from(within.1) / f64::from(height))
        .min(1.0);
    let side = |pixels: u32| ((f64::from(pixels) * scale) as u32).max(1);
    let (w, h) = (side(width), side(height));
    let source =
        fast_image_resize::images::ImageRef::new(width, height, picture.as_raw(), PixelType::U8x3);
    let mut small = FirImage::new(w, h, PixelType::U8x3);
    // Sizes are not zero and the types are the same: there is nothing left to fail.
    let resized =
        source.is_ok_and(|source| Resizer::new().resize(&source, &mut small, None).is_ok());
    if let (true, Some(small)) = (resized, RgbImage::from_raw(w, h, small.into_vec())) {
        imageops::replace(tile, &small, i64::from(at.0), i64::from(at.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::FrameId,
        task::{Answer, FlipDirection, Preset, Question, Recipe, TaskKind},
    };

    fn task(seed: u64) -> Task {
        Task {
            kind: TaskKind::Flip,
            frame_id: FrameId(1),
            stamp_ns: 1,
            picture_size: (64, 48),
            seed,
            preset: Preset::Balanced,
            question: Question::FindFlip { rows: 2, cols: 2 },
            answer: Answer::Flipped { patch: 3, direction: FlipDirection::Vertical },
            recipe: Recipe::FlipOne { patch: 3, direction: FlipDirection::Vertical },
        }
    }

    fn sheet(order: impl Iterator<Item = u64>) -> RgbImage {
        let mut maker = SheetMaker::default();
        let mut painter = Painter::default();
        for seed in order {
            let picture = RgbImage::from_pixel(64, 48, Rgb([seed as u8, 99, 0]));
            let tile = maker.tile(&mut painter, &task(seed), &[picture]);
            maker.take(tile);
        }
        let mut sheets = maker.sheets();
        let (kind, sheet) = sheets.next().unwrap();
        assert_eq!(kind, "flip");
        assert!(sheets.next().is_none());
        sheet
    }

    #[test]
    fn a_sheet_shows_the_same_tasks_in_whatever_order_they_are_made() {
        let forward = sheet(0..200);
        assert_eq!(forward, sheet((0..200).rev()));
        assert_ne!(forward, sheet(0..150), "an even choice over all of them");
        let shown = (0..200_u8)
            .filter(|seed| forward.pixels().any(|pixel| pixel.0 == [*seed, 99, 0]))
            .count();
        assert_eq!(shown, TASKS_A_SHEET);
    }

    #[test]
    fn pictures_of_any_size_and_number_fit_their_tile() {
        let mut painter = Painter::default();
        for (pictures, size) in [(0, (1, 1)), (1, (4000, 10)), (5, (1, 3000)), (5, (640, 480))] {
            let pictures = vec![RgbImage::from_pixel(size.0, size.1, Rgb([1, 2, 3])); pictures];
            let tile = draw_tile(&mut painter, &task(1), &pictures);
            assert_eq!(tile.dimensions(), (PICTURE.0, 2 * LINE_PX + PICTURE.1));
            assert_eq!(tile.pixels().any(|p| p.0 == [1, 2, 3]), !pictures.is_empty());
        }
    }
}
