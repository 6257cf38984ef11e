//! Is the picture upside down or mirrored?
//!
//! The picture is cut into patches, and the policy is asked, as in the reordering task, whether
//! they stand where they belong or in reverse, for the picture as it is and for the turned one.
//! Borders fit alike in both, so what differs is where a patch's look belongs: floors below,
//! left-hand things left. And what stands lower is mostly nearer: the slope of the farness map is
//! compared with that of the turned picture, because a policy finds the lower edge nearer in most
//! pictures, however they lie. All of it changes sign when the picture is turned, so an ambiguous
//! picture gets one half.

use std::sync::Arc;

use image::{RgbImage, imageops};
use serde::Serialize;

use super::{Look, SenseError, Skill, encode};
use crate::{
    policy::compact::{
        geometry::permutations,
        observe::{Evidence, Observation, patch_features, patch_size},
    },
    task::{Question, piece::patch_rect},
};

/// Log-odds of "upright" per nat by which patches fit the upright picture better, and the most
/// that patches alone may say. Hardly anything: in 14 real places never seen, `builtin` was right in
/// 7, wrong by up to 22 nats; adapted to a place it is right in 7 of 10 pictures of it.
const PER_NAT: f32 = 0.03;
const MOST: f32 = 0.5;
/// The same for left and right, which views mirrored at random teach a policy to ignore: right in
/// 57 % of the pictures.
const PER_NAT_SIDEWAYS: f32 = 0.05;
const MOST_SIDEWAYS: f32 = 0.28;
/// Log-odds of "upright" per log depth by which the upper edge is farther. In places never seen
/// 3 fits best, in known ones more than 6.
const PER_SLOPE: f32 = 4.0;
/// Rows and columns of places from which the slope is read.
const SLOPE_GRID: (usize, usize) = (18, 24);

/// How a picture lies, as probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Orientation {
    /// The picture is turned by 180 degrees, against being upright.
    pub upside_down: f32,
    /// The picture is mirrored, left and right exchanged. One picture of a scene rarely
    /// tells, and a policy that learnt from mirrored views (the default) hardly ever: expect
    /// values near one half.
    pub mirrored: f32,
    /// What the first rests on: nats by which patches fit the upright picture better.
    pub upright_nats: f32,
    /// And by how much farther the upper edge is than the lower, in log depth: half the
    /// difference to what the turned picture gives.
    pub upper_farther: f32,
    /// What the second rests on: nats by which patches fit the unmirrored picture better.
    pub unmirrored_nats: f32,
}

impl<S: Skill> Look<'_, S> {
    /// Whether the picture is upside down (as from a camera mounted so) or mirrored.
    ///
    /// # Errors
    /// [`SenseError::Encoder`] and [`SenseError::Skill`].
    pub fn orientation(&self) -> Result<Orientation, SenseError> {
        let turned = imageops::rotate180(self.picture);
        let mirrored = imageops::flip_horizontal(self.picture);
        let grid = self.grid(self.picture, 2, 2)?;
        let upright = [grid.clone(), self.grid(self.picture, 4, 1)?];
        let reversed = [self.grid(&turned, 2, 2)?, self.grid(&turned, 4, 1)?];
        let straight = [grid, self.grid(self.picture, 1, 4)?];
        let crossed = [self.grid(&mirrored, 2, 2)?, self.grid(&mirrored, 1, 4)?];
        let upright_nats = self.in_place(&upright, true)? - self.in_place(&reversed, true)?;
        let unmirrored_nats = self.in_place(&straight, false)? - self.in_place(&crossed, false)?;
        let maps = encode(self.skill, &turned, self.skill.encoder().config().whole_size)?;
        let turned = Look { skill: self.skill, picture: &turned, maps };
        let upper_farther = (self.upper_farther()? - turned.upper_farther()?) / 2.0;
        let odds = bounded(PER_NAT * upright_nats, MOST) + PER_SLOPE * upper_farther;
        Ok(Orientation {
            upside_down: logistic(-odds),
            mirrored: logistic(-bounded(PER_NAT_SIDEWAYS * unmirrored_nats, MOST_SIDEWAYS)),
            upright_nats,
            upper_farther,
            unmirrored_nats,
        })
    }

    /// A picture as a grid of patches in their places.
    fn grid(&self, picture: &RgbImage, rows: u8, cols: u8) -> Result<Observation, SenseError> {
        let encoder = self.skill.encoder();
        let (width, height) = picture.dimensions();
        let rects = (0..rows * cols).filter_map(|at| patch_rect(width, height, rows, cols, at));
        let patches = rects.map(|rect| {
            let corner = (rect.x.max(0) as u32, rect.y.max(0) as u32);
            let patch =
                imageops::crop_imm(picture, corner.0, corner.1, rect.width, rect.height).to_image();
            let size = patch_size(encoder.config(), (rect.width, rect.height));
            let maps = encode(self.skill, &patch, size)?;
            Ok(Some(Arc::new(patch_features(encoder, &maps))))
        });
        Ok(Observation {
            picture_size: (width, height),
            question: Question::Arrange { rows, cols, blank: None },
            evidence: Evidence::Patches(patches.collect::<Result<_, SenseError>>()?),
        })
    }

    /// By how many nats the patches stand rather where they are than in reverse: rows from
    /// bottom to top, or columns from right to left. Summed over the grids.
    fn in_place(&self, grids: &[Observation], vertically: bool) -> Result<f32, SenseError> {
        let grids: Vec<&Observation> = grids.iter().collect();
        let all = self.skill.log_probabilities(&grids).map_err(SenseError::Skill)?;
        let nats = grids.iter().zip(all).map(|(grid, logp)| {
            let Question::Arrange { rows, cols, .. } = grid.question else { return 0.0 };
            let (rows, cols) = (usize::from(rows), usize::from(cols));
            let reversed: Vec<usize> = (0..rows * cols)
                .map(|place| match vertically {
                    true => (rows - 1 - place / cols) * cols + place % cols,
                    false => place / cols * cols + cols - 1 - place % cols,
                })
                .collect();
            let at = permutations(rows * cols).iter().position(|order| *order == reversed);
            match (logp.first(), at.and_then(|at| logp.get(at))) {
                (Some(as_is), Some(reversed)) => as_is - reversed,
                _ => 0.0,
            }
        });
        Ok(nats.sum())
    }

    /// How much farther the upper edge is than the lower, from the straight line through
    /// places all over the picture.
    fn upper_farther(&self) -> Result<f32, SenseError> {
        let (rows, cols) = SLOPE_GRID;
        let at = |i: usize, cells: usize| (i as f32 + 0.5) / cells as f32;
        let places = (0..rows * cols).map(|i| (at(i % cols, cols), at(i / cols, rows)));
        Ok(upper_slope(&self.farness_at(places)?, SLOPE_GRID))
    }
}

/// The slope from the lower edge to the upper of values in rows from the upper edge.
fn upper_slope(values: &[f32], (rows, cols): (usize, usize)) -> f32 {
    // Heights run from 1/2 at the upper edge to -1/2; their variance over the picture is 1/12.
    let height = |i: usize| 0.5 - ((i / cols) as f32 + 0.5) / rows as f32;
    let sum: f32 = values.iter().enumerate().map(|(i, value)| value * height(i)).sum();
    12.0 * sum / (rows * cols) as f32
}

/// `odds`, bent so that they never pass `most` either way.
fn bounded(odds: f32, most: f32) -> f32 {
    most * (odds / most).tanh()
}

fn logistic(odds: f32) -> f32 {
    1.0 / (1.0 + (-odds).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sense::SpatialSense;

    #[test]
    fn odds_are_kept_when_small_and_bounded_when_blown_up() {
        assert!((bounded(0.1, MOST) - 0.1).abs() < 2e-3);
        assert!((logistic(bounded(90.0, MOST)) - 0.62).abs() < 3e-3);
        assert!((logistic(-bounded(57.0, MOST_SIDEWAYS)) - 0.43).abs() < 2e-3);
        assert!(bounded(f32::MAX, MOST) <= MOST && bounded(-9.0, MOST) >= -MOST);
    }

    #[test]
    fn a_turned_picture_gets_the_opposite_answer() {
        let sense = SpatialSense::builtin().unwrap();
        let picture = RgbImage::from_fn(160, 120, |x, y| {
            image::Rgb([(x * 255 / 160) as u8, (y * 2) as u8, ((x ^ y) & 255) as u8])
        });
        let turned = imageops::rotate180(&picture);
        let ask = |picture: &RgbImage| sense.look(picture).unwrap().orientation().unwrap();
        let (a, b) = (ask(&picture), ask(&turned));
        // Whatever a policy finds of every picture says nothing of how this one lies.
        assert!((a.upright_nats + b.upright_nats).abs() < 1e-2, "{a:?} {b:?}");
        assert!((a.upper_farther + b.upper_farther).abs() < 1e-3, "{a:?} {b:?}");
        assert!((a.upside_down + b.upside_down - 1.0).abs() < 1e-3, "{a:?} {b:?}");
        assert!((0.0..=1.0).contains(&a.mirrored));
    }

    #[test]
    fn the_upper_edge_of_a_floor_is_farther() {
        let rows: Vec<f32> = (0..40 * 30).map(|i| -((i / 30) as f32 + 0.5) / 40.0).collect();
        let slope = upper_slope(&rows, (40, 30));
        assert!((slope - 1.0).abs() < 1e-2, "{slope}");
    }
}
