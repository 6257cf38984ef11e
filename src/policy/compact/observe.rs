//! From a task and its frame to what the compact policy keeps of them: features along the
//! borders of patches, around a hole, and at marked points. Encoded features, never
//! pictures, go into the replay memory.

use std::{collections::HashMap, sync::Arc};

use half::f16;
use image::RgbImage;
use ndarray::{Array3, Axis};

use super::encoder::{Encoder, EncoderConfig, EncoderError, Maps, Size};
use crate::{
    frame::{FrameId, RgbdFrame},
    task::{
        Pixel, Question, Rect, Task, TaskKind,
        piece::{Piece, RenderError, Scratch},
    },
};

/// How far the context of a marked point reaches, in cells of the context output: what it
/// stands on, and what part of the room it belongs to. The whole picture's mean would name
/// the frame, and frames would be learnt by heart.
pub const CONTEXT_REACH: [usize; 2] = [2, 6];

/// Left, right, top, bottom.
pub const SIDES: usize = 4;

/// What is kept of one patch.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchFeatures {
    /// `[side, place, channel]`: features just inside each border, from top to bottom and
    /// from left to right.
    pub borders: Vec<f16>,
    /// Values at one place of a border.
    pub border_channels: usize,
    /// `[channel]`: the mean of the context output over the patch.
    pub context: Vec<f16>,
}

/// What is kept of a picture with a hole: the features just outside each side of the hole.
#[derive(Clone, Debug, PartialEq)]
pub struct RingFeatures {
    /// `[side, place, channel]`.
    pub borders: Vec<f16>,
    /// Whether the picture goes on beyond that side.
    pub open: [bool; SIDES],
}

/// What the policy looks at, by form of question.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// The shown patches in order; `None` for a white one.
    Patches(Vec<Option<Arc<PatchFeatures>>>),
    /// Around the hole, and the options from A.
    Hole {
        /// Around the hole.
        ring: RingFeatures,
        /// The options.
        options: Vec<Arc<PatchFeatures>>,
    },
    /// `[channel]` at each marked point: point outputs, context around, column and row in
    /// -1..1.
    Points(Vec<Vec<f16>>),
}

/// One task as the compact policy remembers it: what is asked and what is seen. The answer
/// is not here.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Width and height of the picture that is shown, in pixels.
    pub picture_size: (u32, u32),
    /// What is asked.
    pub question: Question,
    /// What is seen.
    pub evidence: Evidence,
}

impl Observation {
    /// Bytes held by the features, shared ones counted in full.
    pub fn feature_bytes(&self) -> usize {
        let patch = |patch: &PatchFeatures| 2 * (patch.borders.len() + patch.context.len());
        match &self.evidence {
            Evidence::Patches(patches) => patches.iter().flatten().map(|p| patch(p)).sum(),
            Evidence::Hole { ring, options } => {
                2 * ring.borders.len() + options.iter().map(|p| patch(p)).sum::<usize>()
            }
            Evidence::Points(points) => points.iter().map(|point| 2 * point.len()).sum(),
        }
    }
}

/// Why a task cannot be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The encoder failed.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A piece of the task does not lie in the frame.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The task shows other pieces than its question needs.
    #[error("task of kind {kind} shows {got} pieces where its question needs {needed}")]
    Pieces {
        /// Its kind.
        kind: TaskKind,
        /// Pieces shown.
        got: usize,
        /// Pieces needed.
        needed: usize,
    },
    /// The task was made from another frame.
    #[error("a task of frame {task:?} was given with frame {frame:?}")]
    Frame {
        /// The task's frame.
        task: FrameId,
        /// The given frame.
        frame: FrameId,
    },
}

/// Encodes the tasks of one frame, each distinct piece once.
pub struct Observer<'a> {
    encoder: &'a Encoder,
    frame: &'a RgbdFrame,
    scratch: Scratch,
    patches: HashMap<Piece, Arc<PatchFeatures>>,
    wholes: HashMap<Piece, Arc<Maps>>,
    holed: usize,
}

impl<'a> Observer<'a> {
    /// Starts on a frame.
    pub fn new(encoder: &'a Encoder, frame: &'a RgbdFrame) -> Self {
        Observer {
            encoder,
            frame,
            scratch: Scratch::default(),
            patches: HashMap::new(),
            wholes: HashMap::new(),
            holed: 0,
        }
    }

    /// How many pictures have been encoded so far.
    pub fn encoded(&self) -> usize {
        self.patches.len() + self.wholes.len() + self.holed
    }

    /// What the policy keeps of `task`.
    ///
    /// # Errors
    /// [`ObserveError`] when the task does not fit the frame or the encoder fails.
    pub fn observe(&mut self, task: &Task) -> Result<Observation, ObserveError> {
        if task.frame_id != self.frame.id {
            return Err(ObserveError::Frame { task: task.frame_id, frame: self.frame.id });
        }
        let pieces = task.pieces();
        let need = |needed: usize| {
            let got = pieces.len();
            let kind = task.kind.clone();
            (got == needed).then_some(()).ok_or(ObserveError::Pieces { kind, got, needed })
        };
        let evidence = match &task.question {
            Question::Arrange { rows, cols, .. } | Question::FindFlip { rows, cols } => {
                need(usize::from(*rows) * usize::from(*cols))?;
                let patches = pieces.iter().map(|piece| match piece {
                    Piece::White => Ok(None),
                    piece => self.patch(piece).map(Some),
                });
                Evidence::Patches(patches.collect::<Result<_, _>>()?)
            }
            Question::FillHole { hole, options } => {
                need(1 + usize::from(*options))?;
                let maps = self.holed(&pieces[0])?;
                let ring = ring_features(self.encoder, &maps, *hole, task.shown_size());
                let options = pieces[1..].iter().map(|piece| self.patch(piece));
                Evidence::Hole { ring, options: options.collect::<Result<_, _>>()? }
            }
            Question::OrderPoints { points } => {
                need(1)?;
                let maps = self.whole(&pieces[0])?;
                Evidence::Points(points.iter().map(|&point| self.point(&maps, point)).collect())
            }
            Question::RelativePosition { observer, target, .. } => {
                need(1)?;
                let maps = self.whole(&pieces[0])?;
                Evidence::Points(vec![self.point(&maps, *observer), self.point(&maps, *target)])
            }
        };
        Ok(Observation {
            picture_size: task.shown_size(),
            question: task.question.clone(),
            evidence,
        })
    }

    /// What is known about points of the frame, `[points, channels]`: what
    /// [`super::served::Served::farness`] takes.
    ///
    /// # Errors
    /// [`ObserveError`] when the encoder fails.
    pub fn points(&mut self, points: &[Pixel]) -> Result<Vec<Vec<f16>>, ObserveError> {
        let maps = self.whole(&Piece::Whole)?;
        Ok(points.iter().map(|&point| self.point(&maps, point)).collect())
    }

    fn render(&mut self, piece: &Piece, [width, height]: Size) -> Result<RgbImage, RenderError> {
        piece.render(self.frame, width, height, &mut self.scratch)
    }

    fn whole(&mut self, piece: &Piece) -> Result<Arc<Maps>, ObserveError> {
        if let Some(known) = self.wholes.get(piece) {
            return Ok(known.clone());
        }
        let picture = self.render(piece, self.encoder.config().whole_size)?;
        let maps = Arc::new(self.encoder.encode(&picture)?);
        self.wholes.insert(*piece, maps.clone());
        Ok(maps)
    }

    /// A picture with a hole, as far as its borders are described: hardly ever is one asked
    /// about twice.
    fn holed(&mut self, piece: &Piece) -> Result<Maps, ObserveError> {
        let [width, height] = self.encoder.config().whole_size;
        // A picture that lies on its side is encoded on its side, or it would be stretched.
        let on_its_side = matches!(piece, Piece::Holed { turn, .. } if turn.swaps_sides());
        let size = if on_its_side { [height, width] } else { [width, height] };
        let picture = self.render(piece, size)?;
        self.holed += 1;
        Ok(self.encoder.encode_holed(&picture)?)
    }

    fn patch(&mut self, piece: &Piece) -> Result<Arc<PatchFeatures>, ObserveError> {
        if let Some(known) = self.patches.get(piece) {
            return Ok(known.clone());
        }
        let native = piece.native_size((self.frame.width(), self.frame.height()));
        let picture = self.render(piece, patch_size(self.encoder.config(), native))?;
        let maps = self.encoder.encode(&picture)?;
        let features = Arc::new(patch_features(self.encoder, &maps));
        self.patches.insert(*piece, features.clone());
        Ok(features)
    }

    /// Everything that is known about one marked point.
    fn point(&self, maps: &Maps, point: Pixel) -> Vec<f16> {
        let x = (point.x as f32 + 0.5) / self.frame.width() as f32;
        let y = (point.y as f32 + 0.5) / self.frame.height() as f32;
        PointReader::new(self.encoder, maps).read(x, y)
    }
}

/// The size at which a patch of `width` x `height` pixels is encoded.
pub fn patch_size(config: &EncoderConfig, (width, height): (u32, u32)) -> Size {
    if width > height.saturating_mul(2) {
        config.wide_size
    } else if height > width.saturating_mul(2) {
        config.tall_size
    } else {
        config.square_size
    }
}

/// What is kept of a patch that was encoded on its own, at [`patch_size`].
pub fn patch_features(encoder: &Encoder, maps: &Maps) -> PatchFeatures {
    PatchFeatures {
        borders: inner_borders(encoder, maps),
        border_channels: encoder.border_channels(),
        context: halves(mean(&maps.0[encoder.context_output()])),
    }
}

/// `[side, place, channel]` just inside the borders of the whole map.
fn inner_borders(encoder: &Encoder, maps: &Maps) -> Vec<f16> {
    borders(encoder, maps, |rows, cols, side, t| {
        let (along_rows, along_cols) = (t * rows - 0.5, t * cols - 0.5);
        match side {
            0 => (along_rows, 0.0),
            1 => (along_rows, cols - 1.0),
            2 => (0.0, along_cols),
            _ => (rows - 1.0, along_cols),
        }
    })
}

/// Features of the first map cells of an encoded picture that lie wholly outside `hole`, a
/// rectangle in pixels of the picture, which is `shown_size` wide and high.
pub fn ring_features(
    encoder: &Encoder,
    maps: &Maps,
    hole: Rect,
    shown_size: (u32, u32),
) -> RingFeatures {
    let (width, height) = (shown_size.0 as f32, shown_size.1 as f32);
    let left = hole.x as f32 / width;
    let right = (hole.x as f32 + hole.width as f32) / width;
    let top = hole.y as f32 / height;
    let bottom = (hole.y as f32 + hole.height as f32) / height;
    // Cell k covers k..k+1; its centre has index k.
    let before = |edge: f32, cells: f32| (edge * cells).floor() - 1.0;
    let after = |edge: f32, cells: f32| (edge * cells).ceil();
    let borders = borders(encoder, maps, |rows, cols, side, t| {
        let row = (top + t * (bottom - top)) * rows - 0.5;
        let col = (left + t * (right - left)) * cols - 0.5;
        match side {
            0 => (row, before(left, cols)),
            1 => (row, after(right, cols)),
            2 => (before(top, rows), col),
            _ => (after(bottom, rows), col),
        }
    });
    let open = encoder.border_outputs().iter().fold([true; SIDES], |open, &output| {
        let (_, rows, cols) = maps.0[output].dim();
        let (rows, cols) = (rows as f32, cols as f32);
        [
            open[0] && before(left, cols) >= 0.0,
            open[1] && after(right, cols) <= cols - 1.0,
            open[2] && before(top, rows) >= 0.0,
            open[3] && after(bottom, rows) <= rows - 1.0,
        ]
    });
    RingFeatures { borders, open }
}

/// Samples the border outputs at `place(rows, cols, side, t) -> (row, col)`, where `t`
/// in 0..1 goes along the side.
fn borders(
    encoder: &Encoder,
    maps: &Maps,
    place: impl Fn(f32, f32, usize, f32) -> (f32, f32),
) -> Vec<f16> {
    let places = encoder.config().border_places;
    let mut values = Vec::with_capacity(SIDES * places * encoder.border_channels());
    for side in 0..SIDES {
        for at in 0..places {
            let t = (at as f32 + 0.5) / places as f32;
            for &output in encoder.border_outputs() {
                let map = &maps.0[output];
                let (_, rows, cols) = map.dim();
                let (row, col) = place(rows as f32, cols as f32, side, t);
                sample(map, row, col, &mut values);
            }
        }
    }
    halves(values)
}

/// Reads what is known about places of one encoded picture. The context of a place is
/// averaged once for all places of a cell, so that a whole map of places stays cheap.
pub struct PointReader<'a> {
    encoder: &'a Encoder,
    maps: &'a Maps,
    contexts: HashMap<(usize, usize), Vec<f32>>,
}

impl<'a> PointReader<'a> {
    /// For the maps of one picture.
    pub fn new(encoder: &'a Encoder, maps: &'a Maps) -> Self {
        PointReader { encoder, maps, contexts: HashMap::new() }
    }

    /// `[channel]` at a place in 0..1 of the picture's width and height: point outputs,
    /// context around, column and row in -1..1.
    pub fn read(&mut self, x: f32, y: f32) -> Vec<f16> {
        let mut values = Vec::with_capacity(self.encoder.point_channels());
        for &output in self.encoder.point_outputs() {
            let map = &self.maps.0[output];
            let (_, rows, cols) = map.dim();
            sample(map, y * rows as f32 - 0.5, x * cols as f32 - 0.5, &mut values);
        }
        let context = &self.maps.0[self.encoder.context_output()];
        let (_, rows, cols) = context.dim();
        let cell = (cell_of(y, rows), cell_of(x, cols));
        let around = self.contexts.entry(cell).or_insert_with(|| {
            CONTEXT_REACH.iter().flat_map(|&reach| mean_around(context, cell, reach)).collect()
        });
        values.extend_from_slice(around);
        values.extend([2.0 * x - 1.0, 2.0 * y - 1.0]);
        halves(values)
    }
}

fn halves(values: Vec<f32>) -> Vec<f16> {
    // Clamped, so that an outlier of a user's encoder does not become infinite.
    values.into_iter().map(|v| f16::from_f32(v.clamp(-60_000.0, 60_000.0))).collect()
}

/// Bilinear sample of every channel at fractional cell indices, clamped to the map.
fn sample(map: &Array3<f32>, row: f32, col: f32, out: &mut Vec<f32>) {
    let (_, rows, cols) = map.dim();
    let split = |at: f32, cells: usize| {
        let at = at.clamp(0.0, (cells - 1) as f32);
        let low = at as usize;
        (low, (low + 1).min(cells - 1), at - low as f32)
    };
    let (r0, r1, fr) = split(row, rows);
    let (c0, c1, fc) = split(col, cols);
    out.extend(map.axis_iter(Axis(0)).map(|channel| {
        let upper = channel[[r0, c0]] * (1.0 - fc) + channel[[r0, c1]] * fc;
        let lower = channel[[r1, c0]] * (1.0 - fc) + channel[[r1, c1]] * fc;
        upper * (1.0 - fr) + lower * fr
    }));
}

/// Mean of each channel over the map.
fn mean(map: &Array3<f32>) -> Vec<f32> {
    map.axis_iter(Axis(0)).map(|channel| channel.mean().unwrap_or(0.0)).collect()
}

/// The cell of a row of `cells` that holds a place in 0..1.
fn cell_of(at: f32, cells: usize) -> usize {
    ((at * cells as f32) as usize).min(cells.saturating_sub(1))
}

/// Mean of each channel over the cells at most `reach` from this one.
fn mean_around(map: &Array3<f32>, (row, col): (usize, usize), reach: usize) -> Vec<f32> {
    let (_, rows, cols) = map.dim();
    let window = |at: usize, cells: usize| at.saturating_sub(reach)..(at + reach + 1).min(cells);
    let (rows, cols) = (window(row, rows), window(col, cols));
    let part = map.slice(ndarray::s![.., rows, cols]);
    part.axis_iter(Axis(0)).map(|channel| channel.mean().unwrap_or(0.0)).collect()
}
