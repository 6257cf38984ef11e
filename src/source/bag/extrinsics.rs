//! Where the depth camera stands relative to the colour camera, as bags tell it: in
//! `/tf_static`, or in RealSense's `extrinsics/depth_to_color`.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::Deserialize;

use super::message::{MessageError, cdr, text};
use crate::frame::registration::{Extrinsics, RegistrationError};

/// The most transforms that are kept.
const MAX_TRANSFORMS: usize = 10_000;

/// `p_parent = rotation * p_child + translation`, the rotation row by row.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Motion {
    rotation: [f64; 9],
    translation_m: [f64; 3],
}

impl Motion {
    const NONE: Motion =
        Motion { rotation: [1., 0., 0., 0., 1., 0., 0., 0., 1.], translation_m: [0.0; 3] };

    fn rotate(&self, [x, y, z]: [f64; 3]) -> [f64; 3] {
        let [a, b, c, d, e, f, g, h, i] = self.rotation;
        [a * x + b * y + c * z, d * x + e * y + f * z, g * x + h * y + i * z]
    }

    /// First `other`, then this.
    fn after(&self, other: &Motion) -> Motion {
        let [a, b, c, d, e, f, g, h, i] = other.rotation;
        let columns = [[a, d, g], [b, e, h], [c, f, i]].map(|column| self.rotate(column));
        let [[a, d, g], [b, e, h], [c, f, i]] = columns;
        let [x, y, z] = self.rotate(other.translation_m);
        let [tx, ty, tz] = self.translation_m;
        Motion {
            rotation: [a, b, c, d, e, f, g, h, i],
            translation_m: [x + tx, y + ty, z + tz],
        }
    }

    fn inverse(&self) -> Motion {
        let [a, b, c, d, e, f, g, h, i] = self.rotation;
        let turned = Motion { rotation: [a, d, g, b, e, h, c, f, i], translation_m: [0.0; 3] };
        let translation_m = turned.rotate(self.translation_m).map(|t| -t);
        Motion { translation_m, ..turned }
    }

    /// From a quaternion; `None` where it is not of unit length.
    fn from_quaternion([x, y, z, w]: [f64; 4], translation_m: [f64; 3]) -> Option<Motion> {
        let norm = x * x + y * y + z * z + w * w;
        let rotation = [
            1.0 - 2.0 * (y * y + z * z),
            2.0 * (x * y - z * w),
            2.0 * (x * z + y * w),
            2.0 * (x * y + z * w),
            1.0 - 2.0 * (x * x + z * z),
            2.0 * (y * z - x * w),
            2.0 * (x * z - y * w),
            2.0 * (y * z + x * w),
            1.0 - 2.0 * (x * x + y * y),
        ];
        ((norm - 1.0).abs() < 1e-3).then_some(Motion { rotation, translation_m })
    }
}

#[derive(Deserialize)]
struct CdrTransforms<'a> {
    #[serde(borrow)]
    transforms: Vec<CdrTransform<'a>>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct CdrTransform<'a> {
    sec: i32,
    nanosec: u32,
    frame_id: &'a [u8],
    child_frame_id: &'a [u8],
    translation_m: [f64; 3],
    rotation: [f64; 4],
}

#[derive(Deserialize)]
struct CdrExtrinsics {
    /// Column by column, as librealsense has it.
    rotation: [f64; 9],
    translation_m: [f64; 3],
}

/// Fixed transforms between frames, gathered from a bag.
#[derive(Clone, Debug, Default)]
pub struct Transforms {
    /// By child and parent: `parent_from_child`.
    known: HashMap<String, Vec<(String, Motion)>>,
    count: usize,
    depth_to_color: Option<Motion>,
}

impl Transforms {
    /// Takes in a `tf2_msgs/msg/TFMessage` of `/tf_static`.
    ///
    /// # Errors
    /// When the bytes do not hold one.
    pub fn take_tf(&mut self, message: &[u8]) -> Result<(), MessageError> {
        let message: CdrTransforms<'_> = cdr(message, "tf2_msgs/TFMessage")?;
        for transform in message.transforms {
            let (parent, child) = (text(transform.frame_id), text(transform.child_frame_id));
            let motion = Motion::from_quaternion(transform.rotation, transform.translation_m);
            if let Some(motion) = motion.filter(|_| self.count < MAX_TRANSFORMS) {
                self.count += 1;
                let mut add = |from: &str, to: &str, motion| {
                    let edges = self.known.entry(from.to_owned()).or_default();
                    edges.push((to.to_owned(), motion));
                };
                add(child, parent, motion);
                add(parent, child, motion.inverse());
            }
        }
        Ok(())
    }

    /// Takes in a `realsense2_camera_msgs/msg/Extrinsics` of `…/depth_to_color`.
    ///
    /// # Errors
    /// When the bytes do not hold one.
    pub fn take_depth_to_color(&mut self, message: &[u8]) -> Result<(), MessageError> {
        let CdrExtrinsics { rotation, translation_m } =
            cdr(message, "realsense2_camera_msgs/Extrinsics")?;
        let [a, b, c, d, e, f, g, h, i] = rotation;
        self.depth_to_color =
            Some(Motion { rotation: [a, d, g, b, e, h, c, f, i], translation_m });
        Ok(())
    }

    /// `color_from_depth` for two optical frames and where it stands in the bag; `None`
    /// where the bag does not tell.
    pub fn color_from_depth(
        &self,
        color_frame: &str,
        depth_frame: &str,
    ) -> Option<Result<(Extrinsics, &'static str), RegistrationError>> {
        let (motion, place) = match self.depth_to_color {
            Some(motion) => (motion, "extrinsics/depth_to_color"),
            None => (self.between(color_frame, depth_frame)?, "/tf_static"),
        };
        let extrinsics = Extrinsics::new(motion.rotation, motion.translation_m);
        Some(extrinsics.map(|extrinsics| (extrinsics, place)))
    }

    /// The motion that takes points of `from` to `to`, along the shortest way.
    fn between(&self, to: &str, from: &str) -> Option<Motion> {
        let mut seen = HashSet::from([from]);
        let mut next = VecDeque::from([(from, Motion::NONE)]);
        while let Some((frame, motion)) = next.pop_front() {
            if frame == to {
                return Some(motion);
            }
            for (neighbour, step) in self.known.get(frame).into_iter().flatten() {
                if seen.insert(neighbour) {
                    next.push_back((neighbour, step.after(&motion)));
                }
            }
        }
        None
    }
}
