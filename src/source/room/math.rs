//! Vectors, rotations and camera poses: metres, single precision. The world has z up; a
//! camera has x right, y down, z forward (the optical frame of ROS).

use std::ops::{Add, AddAssign, Mul, Neg, Sub};

/// A point or direction, metres.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vec3 {
    /// First coordinate.
    pub x: f32,
    /// Second coordinate.
    pub y: f32,
    /// Third coordinate (up, in the world).
    pub z: f32,
}

/// Short for the many literal points of a scene.
pub(super) const fn v3(x: f32, y: f32, z: f32) -> Vec3 {
    Vec3 { x, y, z }
}

impl Vec3 {
    /// Up in the world.
    pub(super) const UP: Vec3 = v3(0.0, 0.0, 1.0);

    /// The scalar product.
    #[inline]
    pub fn dot(self, o: Vec3) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }

    /// The vector product.
    #[inline]
    pub fn cross(self, o: Vec3) -> Vec3 {
        v3(self.y * o.z - self.z * o.y, self.z * o.x - self.x * o.z, self.x * o.y - self.y * o.x)
    }

    /// The Euclidean length.
    #[inline]
    pub fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// The same direction with length 1; the zero vector stays zero.
    #[inline]
    pub fn normalized(self) -> Vec3 {
        let length = self.length();
        if length > 0.0 { self * (1.0 / length) } else { self }
    }

    #[inline]
    pub(super) fn times(self, o: Vec3) -> Vec3 {
        v3(self.x * o.x, self.y * o.y, self.z * o.z)
    }

    #[inline]
    pub(super) fn min(self, o: Vec3) -> Vec3 {
        v3(self.x.min(o.x), self.y.min(o.y), self.z.min(o.z))
    }

    #[inline]
    pub(super) fn max(self, o: Vec3) -> Vec3 {
        v3(self.x.max(o.x), self.y.max(o.y), self.z.max(o.z))
    }

    #[inline]
    pub(super) fn abs(self) -> Vec3 {
        v3(self.x.abs(), self.y.abs(), self.z.abs())
    }

    /// This vector and `o` mixed, `t` = 0 to 1.
    #[inline]
    pub(super) fn lerp(self, o: Vec3, t: f32) -> Vec3 {
        self + (o - self) * t
    }
}

impl Add for Vec3 {
    type Output = Vec3;
    #[inline]
    fn add(self, o: Vec3) -> Vec3 {
        v3(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}

impl AddAssign for Vec3 {
    #[inline]
    fn add_assign(&mut self, o: Vec3) {
        *self = *self + o;
    }
}

impl Sub for Vec3 {
    type Output = Vec3;
    #[inline]
    fn sub(self, o: Vec3) -> Vec3 {
        v3(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}

impl Mul<f32> for Vec3 {
    type Output = Vec3;
    #[inline]
    fn mul(self, s: f32) -> Vec3 {
        v3(self.x * s, self.y * s, self.z * s)
    }
}

impl Neg for Vec3 {
    type Output = Vec3;
    #[inline]
    fn neg(self) -> Vec3 {
        v3(-self.x, -self.y, -self.z)
    }
}

/// A rotation: the axes of a body seen from its parent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rotation {
    pub x: Vec3,
    pub y: Vec3,
    pub z: Vec3,
}

impl Rotation {
    pub const IDENTITY: Rotation =
        Rotation { x: v3(1.0, 0.0, 0.0), y: v3(0.0, 1.0, 0.0), z: v3(0.0, 0.0, 1.0) };

    /// About z (up), radians, counter-clockwise from above.
    pub fn yaw(angle: f32) -> Self {
        let (s, c) = angle.sin_cos();
        Rotation { x: v3(c, s, 0.0), y: v3(-s, c, 0.0), z: Vec3::UP }
    }

    /// About x, radians.
    pub fn about_x(angle: f32) -> Self {
        let (s, c) = angle.sin_cos();
        Rotation { x: v3(1.0, 0.0, 0.0), y: v3(0.0, c, s), z: v3(0.0, -s, c) }
    }

    /// About y, radians.
    pub fn about_y(angle: f32) -> Self {
        let (s, c) = angle.sin_cos();
        Rotation { x: v3(c, 0.0, -s), y: v3(0.0, 1.0, 0.0), z: v3(s, 0.0, c) }
    }

    /// Body to parent.
    #[inline]
    pub fn apply(&self, v: Vec3) -> Vec3 {
        self.x * v.x + self.y * v.y + self.z * v.z
    }

    /// Parent to body.
    #[inline]
    pub fn undo(&self, v: Vec3) -> Vec3 {
        v3(self.x.dot(v), self.y.dot(v), self.z.dot(v))
    }

    /// First `inner`, then this one.
    pub fn then_inside(&self, inner: &Rotation) -> Rotation {
        Rotation { x: self.apply(inner.x), y: self.apply(inner.y), z: self.apply(inner.z) }
    }
}

/// Where a camera stands and how it is turned: the transform `world_from_camera`.
///
/// ```
/// use spatial_ssrl::source::room::{Pose, Vec3};
/// let eye = Vec3 { x: 1.0, y: 2.0, z: 1.5 };
/// let target = Vec3 { x: 1.0, y: 5.0, z: 1.5 };
/// let pose = Pose::look_at(eye, target, 0.0);
/// let seen = pose.camera_from_world(target);
/// assert!(seen.x.abs() < 1e-6 && seen.y.abs() < 1e-6 && (seen.z - 3.0).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// The camera's centre in the world, metres.
    pub position: Vec3,
    /// The picture's right in the world, length 1.
    pub right: Vec3,
    /// The picture's down in the world, length 1.
    pub down: Vec3,
    /// The optical axis in the world, length 1.
    pub forward: Vec3,
}

impl Pose {
    /// A camera at `eye` that looks at `target`, rolled by `roll_rad` about its optical axis
    /// (positive turns the picture's content counter-clockwise). Looking straight up or down
    /// is allowed; its right is then the world's x.
    pub fn look_at(eye: Vec3, target: Vec3, roll_rad: f32) -> Self {
        let mut forward = (target - eye).normalized();
        if forward == Vec3::default() {
            forward = v3(0.0, 1.0, 0.0);
        }
        let mut level = forward.cross(Vec3::UP);
        if level.length() < 1e-4 {
            level = v3(1.0, 0.0, 0.0);
        }
        let level = level.normalized();
        let below = forward.cross(level);
        let (s, c) = roll_rad.sin_cos();
        Pose { position: eye, right: level * c + below * s, down: below * c - level * s, forward }
    }

    /// A point of the camera's optical frame in the world.
    #[inline]
    pub fn world_from_camera(&self, p: Vec3) -> Vec3 {
        self.position + self.direction_world(p)
    }

    /// A point of the world in the camera's optical frame; its z is the depth.
    #[inline]
    pub fn camera_from_world(&self, p: Vec3) -> Vec3 {
        let d = p - self.position;
        v3(self.right.dot(d), self.down.dot(d), self.forward.dot(d))
    }

    /// A direction of the camera's optical frame in the world.
    #[inline]
    pub fn direction_world(&self, d: Vec3) -> Vec3 {
        self.right * d.x + self.down * d.y + self.forward * d.z
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pose_undoes_itself(
            eye in prop::array::uniform3(-5.0f32..5.0),
            target in prop::array::uniform3(-5.0f32..5.0),
            point in prop::array::uniform3(-5.0f32..5.0),
            roll in -3.0f32..3.0,
        ) {
            let [eye, target, point] = [eye, target, point].map(|[x, y, z]| v3(x, y, z));
            prop_assume!((target - eye).length() > 0.01);
            let pose = Pose::look_at(eye, target, roll);
            let back = pose.world_from_camera(pose.camera_from_world(point));
            prop_assert!((back - point).length() < 1e-4);
            prop_assert!((pose.right.cross(pose.down) - pose.forward).length() < 1e-5);
        }

        #[test]
        fn a_rotation_undoes_itself(a in -3.0f32..3.0, b in -3.0f32..3.0, c in -3.0f32..3.0) {
            let turn = Rotation::yaw(a)
                .then_inside(&Rotation::about_x(b))
                .then_inside(&Rotation::about_y(c));
            let p = v3(0.3, -1.2, 2.0);
            prop_assert!((turn.undo(turn.apply(p)) - p).length() < 1e-5);
        }
    }

    #[test]
    fn a_level_camera_sees_up_at_the_top() {
        let pose = Pose::look_at(v3(0.0, 0.0, 1.0), v3(2.0, 0.0, 1.0), 0.0);
        assert!(pose.camera_from_world(v3(2.0, 0.0, 2.0)).y < 0.0);
        assert!(pose.camera_from_world(v3(2.0, -1.0, 1.0)).x > 0.0);
    }
}
