//! A rendered room: analytic solids with procedural textures, light that is found once a
//! room, a moving camera, and a depth sensor's noise and holes.
//!
//! A seed goes in; out come [`RgbdFrame`](crate::frame::RgbdFrame)s like a hand-held RGB-D
//! camera's, whose depth is exactly known. It is the source at hand when there is no
//! recording, and what properties of depth are tested on.
//!
//! `layout` puts a room together from `shell`, `furniture`, `objects` and `household` (on the `builder`
//! bench, with textures from `paint` and `print`); `light` finds the light on every face;
//! `render` makes a picture, `develop` and `depth_sensor` give it a camera's faults;
//! `stream` turns it into a recording.

use image::RgbImage;

use crate::frame::{DepthMap, Intrinsics};

mod bitmap;
mod builder;
mod bvh;
mod camera;
mod canvas;
mod depth_sensor;
mod develop;
mod dice;
mod furniture;
mod household;
mod layout;
mod light;
mod many;
mod math;
mod objects;
mod paint;
mod print;
mod render;
mod scene;
mod shape;
mod shell;
mod spec;
mod stream;
#[cfg(test)]
mod tests;
mod tiles;

pub use camera::Camera;
pub use layout::RoomKind;
pub use many::{RoomsSource, RoomsSpec};
pub use math::{Pose, Vec3};
pub use spec::{RoomSensor, RoomSpec};
pub use stream::RoomSource;

/// A furnished room, lit and ready to be looked at.
///
/// ```
/// use spatial_ssrl::{frame::Intrinsics, source::room::Room};
/// let room = Room::new(7);
/// let camera = Intrinsics::new(64, 48, 57.0, 57.0, 31.5, 23.5)?;
/// let (color, depth_m) = room.render(&room.camera().pose(0.0), &camera);
/// assert_eq!(color.dimensions(), (64, 48));
/// // Walls all round: every pixel has its exact depth.
/// assert!(depth_m.iter().all(|z| z.is_finite() && *z > 0.0));
/// # Ok::<(), spatial_ssrl::frame::IntrinsicsError>(())
/// ```
pub struct Room {
    kind: RoomKind,
    scene: scene::Scene,
    light: light::LightMap,
    camera: Camera,
    color: develop::ColorCamera,
}

impl Room {
    /// The room of a seed; consecutive seeds go through the [`RoomKind`]s.
    pub fn new(seed: u64) -> Self {
        Self::of_kind(RoomKind::of_seed(seed), seed)
    }

    /// The room of a seed, of a chosen kind.
    pub fn of_kind(kind: RoomKind, seed: u64) -> Self {
        let mut b = builder::Builder::new(seed);
        let (hall, plan) = layout::furnish(&mut b, kind);
        let noise = paint::noise(&mut b.dice);
        let fill = b.dice.range(0.05, 0.18);
        let warm = b.dice.range(-0.06, 0.06);
        let scene = scene::Scene::new(
            b.solids,
            Some(hall.shell),
            (b.materials, b.bitmaps),
            b.lamps,
            [fill * (1.0 + warm), fill, fill * (1.0 - warm)],
            noise,
        );
        let light = light::LightMap::bake(&scene);
        let camera = Camera::plan(&scene, hall.size, &plan, &b.sights, seed);
        let color = develop::ColorCamera::new(&mut dice::Dice::new(seed, 0xc01));
        let mut room = Room { kind, scene, light, camera, color };
        room.color.room_mean = room.mean_light();
        room
    }

    /// What kind of room it is.
    pub fn kind(&self) -> RoomKind {
        self.kind
    }

    /// The camera's way through the room.
    pub fn camera(&self) -> &Camera {
        &self.camera
    }

    /// How many solids stand in the room, the shell not counted.
    pub fn solids(&self) -> usize {
        self.scene.solids.len().saturating_sub(1)
    }

    /// The distance from a point of the world to the nearest solid or wall, metres: a lower
    /// bound, 0 where the point may be inside of something.
    pub fn clearance_m(&self, point: Vec3) -> f32 {
        self.scene.clearance_m(point)
    }

    /// What a pinhole camera at `pose` sees: the colour picture without sensor noise, and
    /// the exact depth `[height, width]` in metres along the optical axis, of the pixels'
    /// centres. Lens distortion is not applied.
    pub fn render(&self, pose: &Pose, intrinsics: &Intrinsics) -> (RgbImage, DepthMap) {
        let raw = self.look(pose, intrinsics);
        (self.color.develop(&raw, None), raw.depth_m)
    }

    fn look(&self, pose: &Pose, intrinsics: &Intrinsics) -> render::Raw {
        render::render(&self.scene, &self.light, pose, intrinsics)
    }

    /// The mean light over the camera's way, from small pictures.
    fn mean_light(&self) -> f32 {
        let small = Intrinsics {
            width: 40,
            height: 30,
            fx: 36.0,
            fy: 36.0,
            cx: 19.5,
            cy: 14.5,
            distortion: crate::frame::Distortion::None,
        };
        let looks = 12;
        let sum: f32 = (0..looks)
            .map(|i| {
                let t_s = f64::from(self.camera.period_s()) * f64::from(i) / f64::from(looks);
                develop::mean_light(&self.look(&self.camera.pose(t_s), &small))
            })
            .sum();
        sum / looks as f32
    }
}
