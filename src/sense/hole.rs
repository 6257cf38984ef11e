//! Which crop completes a hole.

use std::sync::Arc;

use image::{Rgb, RgbImage};
use serde::Serialize;

use super::{Look, SenseError, Skill, encode};
use crate::{
    policy::compact::observe::{
        Evidence, Observation, PatchFeatures, patch_features, patch_size, ring_features,
    },
    task::{
        Question, Rect,
        inpaint::THROUGH,
        piece::{Scratch, scaled},
    },
};

/// The shortest side of a hole, pixels.
const MIN_HOLE_PX: u32 = 16;
/// The most crops to choose from.
const MAX_CROPS: usize = 64;

/// How well crops complete a hole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Filled {
    probabilities: Vec<f32>,
}

impl Filled {
    /// The crop that fits best, from 0, and its probability.
    pub fn best(&self) -> (usize, f32) {
        let all = self.probabilities.iter().copied().enumerate();
        all.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
    }

    /// The probability of each crop, in the order of the question; they add up to 1.
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }
}

impl<S: Skill> Look<'_, S> {
    /// Which of some crops belongs into `hole`, given that one of them does. What the picture
    /// shows inside the hole is not looked at. Crops may have any size; each is stretched over
    /// the hole, and its fine detail does not count: all are brought to the same sharpness.
    ///
    /// # Errors
    /// [`SenseError::Hole`], [`SenseError::Count`] for fewer than 2 or more than 64 crops,
    /// [`SenseError::Render`] for an empty crop, [`SenseError::Encoder`],
    /// [`SenseError::Skill`].
    pub fn hole(&self, hole: Rect, crops: &[RgbImage]) -> Result<Filled, SenseError> {
        let (width, height) = self.size();
        let (got, least, most) = (crops.len(), 2, MAX_CROPS);
        if !(least..=most).contains(&got) {
            return Err(SenseError::Count { what: "crops", got, least, most });
        }
        let refused = || SenseError::Hole { hole, width, height, least: MIN_HOLE_PX };
        let inside = hole.inside(width, height).filter(|&(_, _, w, h)| w.min(h) >= MIN_HOLE_PX);
        let (x, y, hole_width, hole_height) = inside.ok_or_else(refused)?;
        let encoder = self.skill.encoder();
        let mut holed = self.picture.clone();
        for row in y..y + hole_height {
            (x..x + hole_width).for_each(|column| holed.put_pixel(column, row, Rgb([0; 3])));
        }
        let maps = encode(self.skill, &holed, encoder.config().whole_size)?;
        let ring = ring_features(encoder, &maps, hole, (width, height));
        if ring.open == [false; 4] {
            return Err(refused());
        }
        let options = crops.iter().map(|crop| self.option(crop, (hole_width, hole_height)));
        let observation = Observation {
            picture_size: (width, height),
            question: Question::FillHole { hole, options: crops.len() as u8 },
            evidence: Evidence::Hole { ring, options: options.collect::<Result<_, _>>()? },
        };
        let all = self.skill.log_probabilities(&[&observation]).map_err(SenseError::Skill)?;
        let probabilities = all.into_iter().flatten().map(f32::exp).collect();
        Ok(Filled { probabilities })
    }

    /// A crop as the policy learnt to see options: averaged down first, at the hole's shape.
    fn option(
        &self,
        crop: &RgbImage,
        hole_size: (u32, u32),
    ) -> Result<Arc<PatchFeatures>, SenseError> {
        let encoder = self.skill.encoder();
        let side = |own: u32, other: u32| {
            let longer = u64::from(THROUGH) * u64::from(own) / u64::from(other.max(1));
            longer.clamp(u64::from(THROUGH), 8 * u64::from(THROUGH)) as u32
        };
        let (width, height) = (side(hole_size.0, hole_size.1), side(hole_size.1, hole_size.0));
        let small = scaled(crop, width, height, &mut Scratch::default())?;
        let maps = encode(self.skill, &small, patch_size(encoder.config(), hole_size))?;
        Ok(Arc::new(patch_features(encoder, &maps)))
    }
}
