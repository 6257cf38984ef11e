//! The analytic shapes of a scene in their own frame: where a ray meets them, which face
//! that is, and how a face is laid out for textures and light.

use std::f32::consts::{PI, TAU};

use super::math::{Vec3, v3};

/// The nearest hit that counts: keeps rays that start on a surface from meeting it again.
pub(super) const NEAR_M: f32 = 2e-4;

/// The most faces that a shape has.
pub(super) const FACES: usize = 6;

/// A shape about its own origin, metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// Faces 0 to 5: +x, -x, +y, -y, +z, -z.
    Brick { half: Vec3 },
    /// One face.
    Ellipsoid { radii: Vec3 },
    /// Along z, radius `r0` at the bottom and `r1` at the top; `open` has no lid. Faces:
    /// 0 side, 1 top, 2 bottom, 3 inner side, 4 inner floor.
    Frustum { r0: f32, r1: f32, half_h: f32, open: bool },
    /// Along z: a cylinder with half-spheres at both ends. One face.
    Capsule { r: f32, half_h: f32 },
    /// A brick seen from within: the shell of a room. Faces as a brick's.
    Inside { half: Vec3 },
}

/// Where a ray meets a shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ShapeHit {
    pub t: f32,
    pub face: u8,
}

/// The point of a surface as shading needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    /// Unit normal in the shape's frame, toward the side that can be seen.
    pub normal: Vec3,
    /// Place on the face, 0 to 1, u right and v up as seen from outside.
    pub uv: [f32; 2],
    /// The face's size along u and v, metres.
    pub size_m: [f32; 2],
    /// Place on the face in metres, for textures that repeat.
    pub along_m: [f32; 2],
}

impl Shape {
    /// The first hit of `origin + t direction` with `NEAR_M < t < t_max`, in the shape's
    /// frame. `direction` need not have length 1.
    #[inline]
    pub fn intersect(&self, origin: Vec3, direction: Vec3, t_max: f32) -> Option<ShapeHit> {
        let hit = match *self {
            Shape::Brick { half } => brick(origin, direction, half),
            Shape::Ellipsoid { radii } => ellipsoid(origin, direction, radii),
            Shape::Frustum { r0, r1, half_h, open } => {
                frustum(origin, direction, [r0, r1], half_h, open)
            }
            Shape::Capsule { r, half_h } => capsule(origin, direction, r, half_h),
            Shape::Inside { half } => inside(origin, direction, half),
        }?;
        (hit.t < t_max).then_some(hit)
    }

    /// Half the sides of the bounding box in the shape's frame.
    pub fn half_extent(&self) -> Vec3 {
        match *self {
            Shape::Brick { half } | Shape::Inside { half } => half,
            Shape::Ellipsoid { radii } => radii,
            Shape::Frustum { r0, r1, half_h, .. } => v3(r0.max(r1), r0.max(r1), half_h),
            Shape::Capsule { r, half_h } => v3(r, r, half_h + r),
        }
    }

    /// How many faces there are.
    pub fn faces(&self) -> u8 {
        match self {
            Shape::Brick { .. } | Shape::Inside { .. } => 6,
            Shape::Ellipsoid { .. } | Shape::Capsule { .. } => 1,
            Shape::Frustum { open: true, .. } => 5,
            Shape::Frustum { open: false, .. } => 3,
        }
    }

    /// The size of a face along u and v, metres.
    pub fn face_size_m(&self, face: u8) -> [f32; 2] {
        match *self {
            Shape::Brick { half } | Shape::Inside { half } => match face {
                0 | 1 => [2.0 * half.y, 2.0 * half.z],
                2 | 3 => [2.0 * half.x, 2.0 * half.z],
                _ => [2.0 * half.x, 2.0 * half.y],
            },
            Shape::Ellipsoid { radii } => [TAU * radii.x.max(radii.y), PI * radii.z],
            Shape::Frustum { r0, r1, half_h, .. } => match face {
                0 | 3 => [TAU * r0.max(r1), 2.0 * half_h],
                1 => [2.0 * r1; 2],
                _ => [2.0 * r0; 2],
            },
            Shape::Capsule { r, half_h } => [TAU * r, 2.0 * (half_h + r)],
        }
    }

    /// What shading needs at the point `p` of face `face`.
    #[inline]
    pub fn patch(&self, p: Vec3, face: u8) -> Patch {
        let size_m = self.face_size_m(face);
        let (normal, uv) = match *self {
            Shape::Brick { half } => brick_patch(p, half, face, 1.0),
            Shape::Inside { half } => brick_patch(p, half, face, -1.0),
            Shape::Ellipsoid { radii } => {
                let q = v3(p.x / radii.x, p.y / radii.y, p.z / radii.z);
                let n = v3(q.x / radii.x, q.y / radii.y, q.z / radii.z).normalized();
                let v = 0.5 + q.z.clamp(-1.0, 1.0).asin() / PI;
                (n, [turn(q.x, q.y), v])
            }
            Shape::Frustum { r0, r1, half_h, .. } => match face {
                0 | 3 => {
                    let across = (p.x * p.x + p.y * p.y).sqrt().max(1e-9);
                    let lean = (r0 - r1) / (2.0 * half_h);
                    let out = v3(p.x / across, p.y / across, lean).normalized();
                    let n = if face == 0 { out } else { -out };
                    (n, [turn(p.x, p.y), 0.5 + 0.5 * p.z / half_h])
                }
                _ => {
                    let r = if face == 1 { r1 } else { r0 }.max(1e-6);
                    let n = if face == 2 { -Vec3::UP } else { Vec3::UP };
                    (n, [0.5 + 0.5 * p.x / r, 0.5 + 0.5 * p.y / r])
                }
            },
            Shape::Capsule { r, half_h } => {
                let core = v3(0.0, 0.0, p.z.clamp(-half_h, half_h));
                let v = 0.5 + 0.5 * p.z / (half_h + r);
                ((p - core).normalized(), [turn(p.x, p.y), v])
            }
        };
        let along_m = match *self {
            // Cushions and leaves: straight through, or cloth would run together at the poles.
            Shape::Ellipsoid { radii } if radii.z < 0.7 * radii.x.max(radii.y) => [p.x, p.y],
            _ => [uv[0] * size_m[0], uv[1] * size_m[1]],
        };
        Patch { normal, uv, size_m, along_m }
    }

    /// The surface point at `uv` of `face`, the inverse of [`Shape::patch`].
    pub fn point(&self, face: u8, uv: [f32; 2]) -> Vec3 {
        let [u, v] = uv;
        let (a, b) = (2.0 * u - 1.0, 2.0 * v - 1.0);
        match *self {
            Shape::Brick { half } => brick_point(half, face, a, b),
            Shape::Inside { half } => brick_point(half, face, -a, b),
            Shape::Ellipsoid { radii } => {
                let (sin_u, cos_u) = ((u - 0.5) * TAU).sin_cos();
                let (sin_v, cos_v) = ((v - 0.5) * PI).sin_cos();
                v3(cos_v * cos_u, cos_v * sin_u, sin_v).times(radii)
            }
            Shape::Frustum { r0, r1, half_h, .. } => match face {
                0 | 3 => {
                    let r = r0 + (r1 - r0) * v;
                    let (s, c) = ((u - 0.5) * TAU).sin_cos();
                    v3(r * c, r * s, b * half_h)
                }
                1 => v3(a * r1, b * r1, half_h),
                _ => v3(a * r0, b * r0, -half_h),
            },
            Shape::Capsule { r, half_h } => {
                let z = b * (half_h + r);
                let over = (z.abs() - half_h).max(0.0);
                let across = (r * r - over * over).max(0.0).sqrt();
                let (s, c) = ((u - 0.5) * TAU).sin_cos();
                v3(across * c, across * s, z)
            }
        }
    }

    /// Whether the face wraps round along u.
    pub fn wraps(&self, face: u8) -> bool {
        match self {
            Shape::Brick { .. } | Shape::Inside { .. } => false,
            Shape::Ellipsoid { .. } | Shape::Capsule { .. } => true,
            Shape::Frustum { .. } => matches!(face, 0 | 3),
        }
    }
}

/// The angle about z as a share of a turn, 0 to 1, a half on +x.
#[inline]
fn turn(x: f32, y: f32) -> f32 {
    0.5 + y.atan2(x) * (1.0 / TAU)
}

#[inline]
fn brick_patch(p: Vec3, half: Vec3, face: u8, outward: f32) -> (Vec3, [f32; 2]) {
    let (x, y, z) = (p.x / half.x, p.y / half.y, p.z / half.z);
    let (normal, u, v) = match face {
        0 => (v3(1.0, 0.0, 0.0), y, z),
        1 => (v3(-1.0, 0.0, 0.0), -y, z),
        2 => (v3(0.0, 1.0, 0.0), -x, z),
        3 => (v3(0.0, -1.0, 0.0), x, z),
        4 => (v3(0.0, 0.0, 1.0), x, y),
        _ => (v3(0.0, 0.0, -1.0), -x, y),
    };
    (normal * outward, [0.5 + 0.5 * u * outward, 0.5 + 0.5 * v])
}

fn brick_point(half: Vec3, face: u8, a: f32, b: f32) -> Vec3 {
    let unit = match face {
        0 => v3(1.0, a, b),
        1 => v3(-1.0, -a, b),
        2 => v3(-a, 1.0, b),
        3 => v3(a, -1.0, b),
        4 => v3(a, b, 1.0),
        _ => v3(-a, b, -1.0),
    };
    unit.times(half)
}

/// Per axis: where the ray enters and leaves the slab. A zero direction gives infinities
/// that order rightly, and NaN (origin on the slab's face) loses every `max`/`min`.
#[inline]
fn slabs(o: Vec3, d: Vec3, half: Vec3) -> ([f32; 3], [f32; 3]) {
    let axis = |o: f32, d: f32, h: f32| {
        let inv = 1.0 / d;
        let (a, b) = ((-h - o) * inv, (h - o) * inv);
        (a.min(b), a.max(b))
    };
    let (x, y, z) = (axis(o.x, d.x, half.x), axis(o.y, d.y, half.y), axis(o.z, d.z, half.z));
    ([x.0, y.0, z.0], [x.1, y.1, z.1])
}

#[inline]
fn brick(o: Vec3, d: Vec3, half: Vec3) -> Option<ShapeHit> {
    let (enter, leave) = slabs(o, d, half);
    let t = enter[0].max(enter[1]).max(enter[2]);
    let out = leave[0].min(leave[1]).min(leave[2]);
    if !(t <= out && t > NEAR_M) {
        return None;
    }
    let face = if t == enter[0] {
        u8::from(d.x > 0.0)
    } else if t == enter[1] {
        2 + u8::from(d.y > 0.0)
    } else {
        4 + u8::from(d.z > 0.0)
    };
    Some(ShapeHit { t, face })
}

#[inline]
fn inside(o: Vec3, d: Vec3, half: Vec3) -> Option<ShapeHit> {
    let (_, leave) = slabs(o, d, half);
    let t = leave[0].min(leave[1]).min(leave[2]);
    if !(t > NEAR_M && t.is_finite()) {
        return None;
    }
    let face = if t == leave[0] {
        u8::from(d.x < 0.0)
    } else if t == leave[1] {
        2 + u8::from(d.y < 0.0)
    } else {
        4 + u8::from(d.z < 0.0)
    };
    Some(ShapeHit { t, face })
}

/// The first root beyond [`NEAR_M`] of `a t^2 + 2 b t + c`.
#[inline]
fn first_root(a: f32, b: f32, c: f32) -> Option<f32> {
    let disc = b * b - a * c;
    if disc < 0.0 || a <= 0.0 {
        return None;
    }
    let root = disc.sqrt();
    // The stable pair of roots: no difference of nearly equal numbers.
    let q = if b > 0.0 { -b - root } else { -b + root };
    let (r0, r1) = (q / a, c / q);
    let (near, far) = (r0.min(r1), r0.max(r1));
    if near > NEAR_M {
        Some(near)
    } else if far > NEAR_M {
        Some(far)
    } else {
        None
    }
}

#[inline]
fn ellipsoid(o: Vec3, d: Vec3, radii: Vec3) -> Option<ShapeHit> {
    let inv = v3(1.0 / radii.x, 1.0 / radii.y, 1.0 / radii.z);
    let (o, d) = (o.times(inv), d.times(inv));
    let t = first_root(d.dot(d), o.dot(d), o.dot(o) - 1.0)?;
    Some(ShapeHit { t, face: 0 })
}

#[inline]
fn frustum(o: Vec3, d: Vec3, [r0, r1]: [f32; 2], h: f32, open: bool) -> Option<ShapeHit> {
    let mut best = ShapeHit { t: f32::INFINITY, face: 0 };
    let slope = (r1 - r0) / (2.0 * h);
    let middle = 0.5 * (r0 + r1) + slope * o.z;
    let a = d.x * d.x + d.y * d.y - slope * slope * d.z * d.z;
    let b = o.x * d.x + o.y * d.y - slope * d.z * middle;
    let c = o.x * o.x + o.y * o.y - middle * middle;
    let mut side = |t: f32| {
        let z = o.z + t * d.z;
        if t > NEAR_M && t < best.t && z.abs() <= h && middle + slope * t * d.z >= 0.0 {
            // Going outward means that the inner side is seen.
            let going = (o.x + t * d.x) * d.x + (o.y + t * d.y) * d.y
                - slope * d.z * (middle + slope * t * d.z);
            if going <= 0.0 {
                best = ShapeHit { t, face: 0 };
            } else if open {
                best = ShapeHit { t, face: 3 };
            }
        }
    };
    let disc = b * b - a * c;
    if a.abs() < 1e-9 {
        if b.abs() > 1e-12 {
            side(-c / (2.0 * b));
        }
    } else if disc >= 0.0 {
        let root = disc.sqrt();
        side((-b - root) / a);
        side((-b + root) / a);
    }
    if d.z.abs() > 1e-12 {
        let mut cap = |z: f32, r: f32, face: u8| {
            let t = (z - o.z) / d.z;
            let (x, y) = (o.x + t * d.x, o.y + t * d.y);
            if t > NEAR_M && t < best.t && x * x + y * y <= r * r {
                best = ShapeHit { t, face };
            }
        };
        if d.z < 0.0 && !open {
            cap(h, r1, 1);
        }
        if d.z > 0.0 {
            cap(-h, r0, 2);
        } else if open {
            cap(-h, r0, 4);
        }
    }
    best.t.is_finite().then_some(best)
}

#[inline]
fn capsule(o: Vec3, d: Vec3, r: f32, h: f32) -> Option<ShapeHit> {
    let mut best = f32::INFINITY;
    let a = d.x * d.x + d.y * d.y;
    if let Some(t) = first_root(a, o.x * d.x + o.y * d.y, o.x * o.x + o.y * o.y - r * r)
        && (o.z + t * d.z).abs() <= h
    {
        best = t;
    }
    for end in [-h, h] {
        let e = v3(o.x, o.y, o.z - end);
        if let Some(t) = first_root(d.dot(d), e.dot(d), e.dot(e) - r * r)
            && t < best
            && (e.z + t * d.z) * end >= 0.0
        {
            best = t;
        }
    }
    best.is_finite().then_some(ShapeHit { t: best, face: 0 })
}

/// How far `p` is outside the shape's bounding box, metres; 0 within. A lower bound of the
/// distance to the shape itself.
pub(super) fn clearance_m(shape: &Shape, p: Vec3) -> f32 {
    match *shape {
        Shape::Inside { half } => {
            let room = half - p.abs();
            room.x.min(room.y).min(room.z).max(0.0)
        }
        _ => (p.abs() - shape.half_extent()).max(Vec3::default()).length(),
    }
}

/// The outward sign of a brick's face along its axis.
#[cfg(test)]
fn axis_sign(face: u8) -> f32 {
    if face.is_multiple_of(2) { 1.0 } else { -1.0 }
}

/// How far a point is off the surface, by each shape's own equation.
#[cfg(test)]
pub(super) fn off_surface_m(shape: &Shape, p: Vec3, face: u8) -> f32 {
    match *shape {
        Shape::Brick { half } | Shape::Inside { half } => {
            let rel = [p.x, p.y, p.z][usize::from(face / 2)];
            (rel - axis_sign(face) * [half.x, half.y, half.z][usize::from(face / 2)]).abs()
        }
        Shape::Ellipsoid { radii } => {
            let off = (v3(p.x / radii.x, p.y / radii.y, p.z / radii.z).length() - 1.0).abs();
            off * radii.x.min(radii.y).min(radii.z)
        }
        Shape::Frustum { r0, r1, half_h, .. } => match face {
            0 | 3 => {
                let r = r0 + (r1 - r0) * (0.5 + 0.5 * p.z / half_h);
                ((p.x * p.x + p.y * p.y).sqrt() - r).abs()
            }
            1 => (p.z - half_h).abs(),
            _ => (p.z + half_h).abs(),
        },
        Shape::Capsule { r, half_h } => {
            let core = v3(0.0, 0.0, p.z.clamp(-half_h, half_h));
            ((p - core).length() - r).abs()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shapes() -> [Shape; 7] {
        [
            Shape::Brick { half: v3(0.3, 0.5, 0.2) },
            Shape::Ellipsoid { radii: v3(0.3, 0.5, 0.2) },
            Shape::Ellipsoid { radii: v3(0.4, 0.4, 0.4) },
            Shape::Frustum { r0: 0.3, r1: 0.3, half_h: 0.4, open: false },
            Shape::Frustum { r0: 0.4, r1: 0.1, half_h: 0.3, open: false },
            Shape::Frustum { r0: 0.2, r1: 0.35, half_h: 0.3, open: true },
            Shape::Capsule { r: 0.2, half_h: 0.3 },
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_hit_lies_on_the_surface_and_faces_the_ray(
            from in prop::array::uniform3(-2.0f32..2.0),
            to in prop::array::uniform3(-0.3f32..0.3),
            which in 0usize..7,
        ) {
            let shape = shapes()[which];
            let from = v3(from[0], from[1], from[2]);
            let d = (v3(to[0], to[1], to[2]) - from).normalized();
            prop_assume!((from.abs() - shape.half_extent()).max(Vec3::default()).length() > 0.05);
            if let Some(hit) = shape.intersect(from, d, f32::INFINITY) {
                let p = from + d * hit.t;
                prop_assert!(off_surface_m(&shape, p, hit.face) < 1e-4);
                let patch = shape.patch(p, hit.face);
                prop_assert!(patch.normal.dot(d) < 1e-3, "{:?}", patch);
                let back = shape.point(hit.face, patch.uv);
                prop_assert!((back - p).length() < 2e-3, "{:?} {:?}", back, p);
            }
        }

        #[test]
        fn a_ray_through_the_middle_meets_every_closed_shape(
            from in prop::array::uniform3(-2.0f32..2.0),
            which in 0usize..5,
        ) {
            let shape = shapes()[which];
            let from = v3(from[0], from[1], from[2]);
            prop_assume!((from.abs() - shape.half_extent()).max(Vec3::default()).length() > 0.05);
            let d = (-from).normalized();
            let hit = shape.intersect(from, d, f32::INFINITY);
            prop_assert!(hit.is_some_and(|h| h.t < from.length()));
        }

        #[test]
        fn a_ray_inside_a_shell_always_meets_it(
            from in prop::array::uniform3(-0.9f32..0.9),
            d in prop::array::uniform3(-1.0f32..1.0),
        ) {
            let shell = Shape::Inside { half: v3(1.0, 1.0, 1.0) };
            let d = v3(d[0], d[1], d[2]);
            prop_assume!(d.length() > 0.1);
            let hit = shell.intersect(v3(from[0], from[1], from[2]), d, f32::INFINITY);
            prop_assert!(hit.is_some());
        }
    }

    #[test]
    fn an_open_frustum_shows_its_inner_floor() {
        let mug = Shape::Frustum { r0: 0.04, r1: 0.04, half_h: 0.05, open: true };
        let down = mug.intersect(v3(0.0, 0.0, 1.0), v3(0.0, 0.0, -1.0), 10.0).unwrap();
        assert_eq!(down.face, 4);
        assert!((down.t - 1.05).abs() < 1e-5);
    }
}
