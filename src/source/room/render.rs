//! One picture: a ray through each pixel's centre gives the exact depth and the colour;
//! pixels on outlines get three more rays so that edges are smooth, as a lens makes them.

use ndarray::Array2;
use rayon::prelude::*;

use super::{
    light::LightMap,
    math::{Pose, Vec3, v3},
    scene::{Scene, Surface},
    tiles::Tiles,
};
use crate::frame::{DepthMap, Intrinsics};

/// What reaches the sensor, before any camera effects.
pub(super) struct Raw {
    pub width: usize,
    /// Linear colour, row by row.
    pub linear: Vec<[f32; 3]>,
    /// Exact depth in metres, NaN where a ray leaves the scene.
    pub depth_m: DepthMap,
    /// Chance that the depth sensor gets no reading, in 255ths.
    pub lost: Vec<u8>,
}

/// The colour of rays that leave a scene without a shell.
const NOTHING: [f32; 3] = [0.02, 0.02, 0.025];
/// Names "no solid" in the outline search.
const NO_SOLID: u32 = u32::MAX;
/// Where the further rays of an outline pixel go, pixels from its centre.
const EXTRA: [[f32; 2]; 3] = [[0.32, 0.11], [-0.11, 0.32], [-0.26, -0.3]];

#[derive(Clone, Copy)]
struct Sample {
    color: [f32; 3],
    depth_m: f32,
    lost: u8,
    id: u32,
}

/// The camera's side of a ray: `direction_world(ray(u, v))` has z-depth 1 a unit of t.
struct View<'a> {
    scene: &'a Scene,
    light: &'a LightMap,
    tiles: Tiles,
    pose: Pose,
    inv_f: [f32; 2],
    center: [f32; 2],
}

/// Renders `scene` as a pinhole camera at `pose` sees it; the same on any number of threads.
pub(super) fn render(scene: &Scene, light: &LightMap, pose: &Pose, k: &Intrinsics) -> Raw {
    let (width, height) = (k.width as usize, k.height as usize);
    let view = View {
        scene,
        light,
        tiles: Tiles::new(scene, pose, k),
        pose: *pose,
        inv_f: [(1.0 / k.fx) as f32, (1.0 / k.fy) as f32],
        center: [k.cx as f32, k.cy as f32],
    };
    let pixels = width * height;
    let mut linear = vec![[0.0f32; 3]; pixels];
    let mut depth = vec![f32::NAN; pixels];
    let mut lost = vec![0u8; pixels];
    let mut ids = vec![NO_SOLID; pixels];
    let row_len = width.max(1);
    linear
        .par_chunks_mut(row_len)
        .zip(depth.par_chunks_mut(row_len))
        .zip(lost.par_chunks_mut(row_len))
        .zip(ids.par_chunks_mut(row_len))
        .enumerate()
        .for_each(|(v, (((linear, depth), lost), ids))| {
            let slots = linear.iter_mut().zip(depth).zip(lost).zip(ids);
            for (u, (((linear, depth), lost), id)) in slots.enumerate() {
                let s = view.sample([u, v], [0.0, 0.0]);
                (*linear, *depth, *lost, *id) = (s.color, s.depth_m, s.lost, s.id);
            }
        });
    smooth_outlines(&view, &ids, &mut linear, row_len);
    let depth_m = Array2::from_shape_vec((height, width), depth).unwrap_or_default();
    Raw { width, linear, depth_m, lost }
}

fn smooth_outlines(view: &View<'_>, ids: &[u32], linear: &mut [[f32; 3]], width: usize) {
    linear.par_chunks_mut(width).enumerate().for_each(|(v, row)| {
        let line = |v: usize| ids.get(v * width..(v + 1) * width).unwrap_or_default();
        let own = line(v);
        let (above, below) = (line(v.saturating_sub(1)), line(v + 1));
        for (u, pixel) in row.iter_mut().enumerate() {
            let Some(&id) = own.get(u) else { continue };
            let other = |line: &[u32], u: usize| line.get(u).is_some_and(|&o| o != id);
            if !(other(own, u.saturating_sub(1))
                || other(own, u + 1)
                || other(above, u)
                || other(below, u))
            {
                continue;
            }
            let mut sum = *pixel;
            for off in EXTRA {
                let s = view.sample([u, v], off);
                for (sum, c) in sum.iter_mut().zip(s.color) {
                    *sum += c;
                }
            }
            *pixel = sum.map(|c| 0.25 * c);
        }
    });
}

impl View<'_> {
    #[inline]
    fn sample(&self, pixel: [usize; 2], off: [f32; 2]) -> Sample {
        let (u, v) = (pixel[0] as f32 + off[0], pixel[1] as f32 + off[1]);
        let ray =
            v3((u - self.center[0]) * self.inv_f[0], (v - self.center[1]) * self.inv_f[1], 1.0);
        let d = self.pose.direction_world(ray);
        let origin = self.pose.position;
        let hit = self.tiles.trace(pixel, [u, v], [ray.x, ray.y]);
        let hit = hit.or_else(|| self.scene.meet_shell(origin, d, f32::INFINITY));
        let met = hit.and_then(|hit| Some((hit, self.scene.surface(hit, origin, d)?)));
        let Some((hit, surface)) = met else {
            return Sample { color: NOTHING, depth_m: f32::NAN, lost: 255, id: NO_SOLID };
        };
        let stretch = ray.length();
        let to_eye = d * (-1.0 / stretch);
        let cos = surface.normal.dot(to_eye).clamp(0.0, 1.0);
        // One pixel's size on the surface; half the slant, or floors would blur away.
        let pixel_m = hit.t * stretch * self.inv_f[0] / (0.35 + 0.65 * cos);
        let (color, lost) = self.shade(&surface, hit.solid, to_eye, cos, pixel_m);
        let id = hit.solid * 8 + u32::from(hit.face);
        Sample { color, depth_m: hit.t, lost, id }
    }

    #[inline]
    fn shade(
        &self,
        s: &Surface<'_>,
        solid: u32,
        to_eye: Vec3,
        cos: f32,
        pixel_m: f32,
    ) -> ([f32; 3], u8) {
        let Some(m) = self.scene.material(s.solid, s.face) else { return (NOTHING, 255) };
        let albedo = self.scene.albedo(s, m, pixel_m);
        let light = self.light.at(solid, s.face, s.patch.uv);
        let mut c = [0, 1, 2].map(|i| albedo[i] * (light[i] + m.emission));
        let mut shine = 0.0;
        if m.gloss > 0.0 {
            let share = light[3];
            for lamp in &self.scene.lamps {
                let to = lamp.at - s.p;
                let distance2 = to.dot(to);
                let half = (to * (1.0 / distance2.sqrt().max(1e-3)) + to_eye).normalized();
                let mut power = s.normal.dot(half).max(0.0);
                for _ in 0..m.sharp {
                    power *= power;
                }
                let k = m.gloss * power * share / (distance2 + 0.35);
                shine += k;
                for (c, l) in c.iter_mut().zip(lamp.color) {
                    *c += k * l;
                }
            }
            // Seen at a slant, smooth surfaces mirror the light around.
            let slant = 1.0 - cos;
            let veil = 0.25 * m.gloss.min(1.0) * slant * slant * slant * slant;
            for (c, a) in c.iter_mut().zip(self.scene.ambient) {
                *c += veil * a;
            }
        }
        // Infrared comes back weakly from dark and slanted surfaces; highlights blind.
        let dark = (0.035 - (0.3 * albedo[0] + 0.6 * albedo[1] + 0.1 * albedo[2])).max(0.0) * 9.0;
        let grazing = ((0.24 - cos) * 5.5).clamp(0.0, 1.0);
        let lost = (m.lost + dark + grazing + (shine * 0.3).min(0.5)).clamp(0.0, 1.0);
        (c, (lost * 255.0) as u8)
    }
}
