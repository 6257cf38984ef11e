//! The skill that a policy has learnt, as answers about a colour picture: which pixels are
//! nearer, how far everything is, where one thing lies for an observer at another, whether the
//! picture is upside down, which crop fills a hole, and, with a few known depths, metres.
//!
//! A picture is encoded once ([`SpatialSense::look`]); any number of questions about it are
//! then cheap. Nothing here reads files, starts threads or looks at a clock.
//!
//! ```
//! use image::{Rgb, RgbImage};
//! use spatial_ssrl::{sense::SpatialSense, task::Pixel};
//! let sense = SpatialSense::builtin()?;
//! let picture = RgbImage::from_fn(320, 240, |x, y| Rgb([x as u8, y as u8, 90]));
//! let look = sense.look(&picture)?;
//! let order = look.order(&[Pixel { x: 40, y: 200 }, Pixel { x: 160, y: 30 }])?;
//! assert_eq!(order.nearest_first().len(), 2);
//! assert!((0.5..=1.0).contains(&order.probability()));
//! # Ok::<(), spatial_ssrl::sense::SenseError>(())
//! ```
//!
//! Distances are relative and come from one colour picture: nothing here may serve a safety
//! function.

use std::path::Path;

use burn::tensor::Device;
use image::RgbImage;

use crate::{
    frame::convert::{ConvertError, check_size},
    policy::compact::{
        CompactPolicy,
        encoder::{EncoderError, Maps},
        observe::PointReader,
    },
    task::{
        Pixel, Rect,
        piece::{RenderError, Scratch, scaled},
    },
};

mod hole;
mod map;
mod metric;
mod nearby;
mod order;
mod orient;
mod position;
mod skill;

pub use hole::Filled;
pub use map::FarnessMap;
pub use metric::{DepthFit, DepthSample, Distance, Distances, FitError};
pub use order::Order;
pub use orient::Orientation;
pub use position::Bearing;
pub use skill::{Skill, SkillError};

/// The shortest picture side that is looked at, pixels: what the tasks ask for too.
pub const MIN_SIDE_PX: u32 = 64;

/// The most places in one question.
pub const MAX_PLACES: usize = 65_536;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SenseError {
    /// A side of the picture is too short.
    #[error(
        "the picture is {width}x{height}; at least {MIN_SIDE_PX} pixels are needed on each side"
    )]
    PictureTooSmall {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// The picture is too large.
    #[error(transparent)]
    PictureTooLarge(#[from] ConvertError),
    /// A pixel lies outside the picture.
    #[error("pixel {x},{y} is not in the {width}x{height} picture (columns and rows count from 0)")]
    PixelOutside {
        /// Its column.
        x: u32,
        /// Its row.
        y: u32,
        /// Width of the picture.
        width: u32,
        /// Height of the picture.
        height: u32,
    },
    /// A question about too few or too many things.
    #[error("{what}: {got} given, {least} to {most} are needed")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many were given.
        got: usize,
        /// The fewest.
        least: usize,
        /// The most.
        most: usize,
    },
    /// Observer and target are one place.
    #[error("observer and target are both at {x},{y}: nothing lies in a direction of itself")]
    SamePlace {
        /// Column.
        x: u32,
        /// Row.
        y: u32,
    },
    /// The intrinsics belong to another picture.
    #[error(
        "the intrinsics are for {camera_width}x{camera_height}, the picture is {width}x{height}"
    )]
    Camera {
        /// Width the intrinsics are for.
        camera_width: u32,
        /// Height the intrinsics are for.
        camera_height: u32,
        /// Width of the picture.
        width: u32,
        /// Height of the picture.
        height: u32,
    },
    /// A hole that cannot be filled.
    #[error(
        "the hole {hole:?} must lie inside the {width}x{height} picture, have sides of at least \
         {least} pixels and leave something to look at around it"
    )]
    Hole {
        /// The hole.
        hole: Rect,
        /// Width of the picture.
        width: u32,
        /// Height of the picture.
        height: u32,
        /// The shortest side.
        least: u32,
    },
    /// The known depths do not tell distances.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The encoder failed.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A picture could not be resampled.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The policy failed.
    #[error("the policy failed: {0}")]
    Skill(#[source] SkillError),
}

/// Answers questions about pictures with the skill of a policy.
pub struct SpatialSense<S> {
    skill: S,
}

impl SpatialSense<CompactPolicy> {
    /// With the policy that ships with the crate.
    ///
    /// # Errors
    /// [`SenseError::Skill`]; the shipped policy is tested.
    pub fn builtin() -> Result<Self, SenseError> {
        let policy = CompactPolicy::builtin(Device::flex());
        Ok(SpatialSense::new(policy.map_err(|e| SenseError::Skill(Box::new(e)))?))
    }

    /// With the policy that `adapt` wrote into `folder` (`RUN/policy`).
    ///
    /// # Errors
    /// [`SenseError::Skill`] when the files are damaged or not there.
    pub fn load(folder: &Path) -> Result<Self, SenseError> {
        let policy = CompactPolicy::load(folder, Device::flex());
        Ok(SpatialSense::new(policy.map_err(|e| SenseError::Skill(Box::new(e)))?))
    }
}

impl<S: Skill> SpatialSense<S> {
    /// With this skill: a policy, a reference to one, or an `Arc` of one.
    pub fn new(skill: S) -> Self {
        SpatialSense { skill }
    }

    /// The skill.
    pub fn skill(&self) -> &S {
        &self.skill
    }

    /// Encodes a picture, so that questions about it can be asked. Pictures of any shape are
    /// brought to the size that the policy learnt with; pixels in questions and answers are
    /// those of `picture`.
    ///
    /// # Errors
    /// [`SenseError::PictureTooSmall`] and [`SenseError::PictureTooLarge`] with the sizes;
    /// [`SenseError::Encoder`] when the encoder fails.
    pub fn look<'a>(&'a self, picture: &'a RgbImage) -> Result<Look<'a, S>, SenseError> {
        let (width, height) = picture.dimensions();
        if width.min(height) < MIN_SIDE_PX {
            return Err(SenseError::PictureTooSmall { width, height });
        }
        check_size(width, height)?;
        Ok(Look { skill: &self.skill, picture, maps: self.encode(picture)? })
    }

    /// The feature maps of a whole picture.
    pub(crate) fn encode(&self, picture: &RgbImage) -> Result<Maps, SenseError> {
        encode(&self.skill, picture, self.skill.encoder().config().whole_size)
    }
}

/// A picture that has been encoded.
pub struct Look<'a, S> {
    skill: &'a S,
    picture: &'a RgbImage,
    maps: Maps,
}

impl<S: Skill> Look<'_, S> {
    /// Width and height of the picture in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.picture.dimensions()
    }

    pub(crate) fn maps(&self) -> &Maps {
        &self.maps
    }

    /// How far these pixels are, in units of log depth up to one offset a picture: larger is
    /// farther. Differences within one picture mean something, single values do not.
    ///
    /// # Errors
    /// [`SenseError::PixelOutside`], [`SenseError::Count`] beyond [`MAX_PLACES`] pixels,
    /// [`SenseError::Skill`].
    pub fn farness(&self, pixels: &[Pixel]) -> Result<Vec<f32>, SenseError> {
        let (width, height) = self.size();
        for &Pixel { x, y } in pixels {
            if x >= width || y >= height {
                return Err(SenseError::PixelOutside { x, y, width, height });
            }
        }
        let place = |at: u32, side: u32| (at as f32 + 0.5) / side as f32;
        self.farness_at(pixels.iter().map(|pixel| (place(pixel.x, width), place(pixel.y, height))))
    }

    /// As [`Look::farness`] at places in 0..1 of the picture's width and height.
    fn farness_at(&self, places: impl Iterator<Item = (f32, f32)>) -> Result<Vec<f32>, SenseError> {
        let mut reader = PointReader::new(self.skill.encoder(), &self.maps);
        let mut points = Vec::new();
        for (x, y) in places {
            if points.len() == MAX_PLACES {
                let (got, least, most) = (MAX_PLACES + 1, 1, MAX_PLACES);
                return Err(SenseError::Count { what: "places", got, least, most });
            }
            points.push(reader.read(x, y));
        }
        self.skill.farness(&points).map_err(SenseError::Skill)
    }
}

/// Encodes a picture, brought to this size.
fn encode<S: Skill>(
    skill: &S,
    picture: &RgbImage,
    [width, height]: [u32; 2],
) -> Result<Maps, SenseError> {
    let resized = scaled(picture, width, height, &mut Scratch::default())?;
    Ok(skill.encoder().encode(&resized)?)
}
