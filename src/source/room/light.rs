//! Light on every surface, found once a room: lamps with soft shadows, then one bounce from
//! whatever surrounds a point, which also darkens corners and contacts. Rendering a frame
//! then only looks light up, and it is the same from wherever one looks.

use std::f32::consts::TAU;

use rayon::prelude::*;

use super::{
    dice::{floor, hash2, unit},
    math::{Vec3, v3},
    scene::{Lamp, Scene, Surface},
    shape::FACES,
};

/// Points of a room at which light is found, about.
const TEXELS: f32 = 60_000.0;
/// Shadow rays to all lamps together, and rays into the half-space, from each point.
const LAMP_RAYS: u32 = 12;
const BOUNCE_RAYS: u32 = 16;
/// How far off its surface a ray starts.
const OFF_M: f32 = 1.5e-3;

/// Light arriving at a point: linear colour, and the share of the lamps' light that is not
/// shadowed (for highlights).
pub(super) type Light = [f32; 4];

#[derive(Clone, Copy, Debug, Default)]
struct Grid {
    columns: u32,
    rows: u32,
    first: u32,
    wraps: bool,
}

/// Light on the faces of all solids.
#[derive(Debug)]
pub(super) struct LightMap {
    grids: Vec<[Grid; FACES]>,
    texels: Vec<Light>,
}

impl LightMap {
    /// Finds the light in a scene; the same on any number of threads.
    pub fn bake(scene: &Scene) -> LightMap {
        let mut map = LightMap::lay_out(scene);
        let places = map.places();
        map.texels = places
            .par_iter()
            .enumerate()
            .map(|(i, place)| direct(scene, place, hash2(i as u32, 0x1234)))
            .collect();
        map.smooth(1);
        let bounced: Vec<Light> = places
            .par_iter()
            .enumerate()
            .map(|(i, place)| bounce(scene, &map, place, hash2(i as u32, 0x9876)))
            .collect();
        let lamps = std::mem::replace(&mut map.texels, bounced);
        map.smooth(3);
        for (sum, lamp) in map.texels.iter_mut().zip(&lamps) {
            for (s, l) in sum.iter_mut().zip(lamp) {
                *s += l;
            }
        }
        map
    }

    fn lay_out(scene: &Scene) -> LightMap {
        let area = |solid: &super::scene::Solid| -> f32 {
            let face = |f| {
                let [w, h] = solid.shape.face_size_m(f);
                w * h
            };
            (0..solid.shape.faces()).map(face).sum()
        };
        let total: f32 = scene.solids.iter().map(area).sum();
        let coarse = (total / TEXELS).sqrt().clamp(0.004, 0.06);
        let mut grids = Vec::with_capacity(scene.solids.len());
        let mut first = 0;
        for solid in &scene.solids {
            let mut own = [Grid::default(); FACES];
            for (face, grid) in (0..solid.shape.faces()).zip(own.iter_mut()) {
                let size = solid.shape.face_size_m(face);
                let count = |side: f32| ((side / coarse).ceil() as u32).clamp(2, 160);
                let wraps = solid.shape.wraps(face);
                let columns = if wraps { count(size[0]).max(8) } else { count(size[0]) };
                *grid = Grid { columns, rows: count(size[1]), first, wraps };
                first += grid.columns * grid.rows;
            }
            grids.push(own);
        }
        LightMap { grids, texels: Vec::new() }
    }

    /// Solid, face and place of every texel, in order.
    fn places(&self) -> Vec<Place> {
        let mut all = Vec::new();
        for (solid, grids) in (0u32..).zip(&self.grids) {
            for (face, grid) in (0u8..).zip(grids) {
                for j in 0..grid.rows {
                    for i in 0..grid.columns {
                        let uv = [
                            (i as f32 + 0.5) / grid.columns as f32,
                            (j as f32 + 0.5) / grid.rows as f32,
                        ];
                        all.push(Place { solid, face, uv });
                    }
                }
            }
        }
        all
    }

    /// Light at `uv` of a face, between the four nearest points.
    #[inline]
    pub fn at(&self, solid: u32, face: u8, uv: [f32; 2]) -> Light {
        let grid = self.grids.get(solid as usize).and_then(|g| g.get(usize::from(face)));
        let Some(grid) = grid.filter(|g| g.columns > 0) else { return [0.0; 4] };
        let (w, h) = (grid.columns as i32, grid.rows as i32);
        let (x, y) = (uv[0] * w as f32 - 0.5, uv[1] * h as f32 - 0.5);
        let (ix, iy) = (floor(x), floor(y));
        let (tx, ty) = (x - ix as f32, y - iy as f32);
        let column = |i: i32| {
            let i = if grid.wraps && i < 0 {
                i + w
            } else if grid.wraps && i >= w {
                i - w
            } else {
                i
            };
            i.clamp(0, w - 1)
        };
        let (x0, x1) = (column(ix), column(ix + 1));
        let (y0, y1) = (iy.clamp(0, h - 1), (iy + 1).clamp(0, h - 1));
        let get = |x: i32, y: i32| {
            let i = grid.first as usize + (y * w + x) as usize;
            self.texels.get(i).copied().unwrap_or_default()
        };
        let (a, b, c, d) = (get(x0, y0), get(x1, y0), get(x0, y1), get(x1, y1));
        let mix = |i: usize| {
            let low = a[i] + (b[i] - a[i]) * tx;
            let high = c[i] + (d[i] - c[i]) * tx;
            low + (high - low) * ty
        };
        [mix(0), mix(1), mix(2), mix(3)]
    }

    /// Averages neighbours (1 2 1 along both sides) within each face, `passes` times.
    fn smooth(&mut self, passes: u32) {
        for grids in &self.grids {
            for grid in grids.iter().filter(|g| g.columns > 0) {
                let (w, h) = (grid.columns as usize, grid.rows as usize);
                let first = grid.first as usize;
                let Some(texels) = self.texels.get_mut(first..first + w * h) else { continue };
                for _ in 0..passes {
                    for y in 0..h {
                        if let Some(row) = texels.get_mut(y * w..(y + 1) * w) {
                            let old = row.to_vec();
                            blur_line(row, &old, grid.wraps);
                        }
                    }
                    for x in 0..w {
                        let old: Vec<Light> = texels.iter().skip(x).step_by(w).copied().collect();
                        let mut new = old.clone();
                        blur_line(&mut new, &old, false);
                        for (slot, value) in texels.iter_mut().skip(x).step_by(w).zip(new) {
                            *slot = value;
                        }
                    }
                }
            }
        }
    }
}

fn blur_line(new: &mut [Light], old: &[Light], wraps: bool) {
    let n = old.len();
    for (i, slot) in new.iter_mut().enumerate() {
        let before = if i > 0 {
            i - 1
        } else if wraps {
            n - 1
        } else {
            0
        };
        let after = if i + 1 < n {
            i + 1
        } else if wraps {
            0
        } else {
            i
        };
        let get = |k: usize| old.get(k).copied().unwrap_or_default();
        let (a, b, c) = (get(before), get(i), get(after));
        for (k, s) in slot.iter_mut().enumerate() {
            *s = 0.25 * (a[k] + c[k]) + 0.5 * b[k];
        }
    }
}

struct Place {
    solid: u32,
    face: u8,
    uv: [f32; 2],
}

impl Place {
    /// The world point, a little off the surface, and its normal.
    fn point(&self, scene: &Scene) -> Option<(Vec3, Vec3)> {
        let solid = scene.solids.get(self.solid as usize)?;
        let p = solid.shape.point(self.face, self.uv);
        let normal = solid.turn.apply(solid.shape.patch(p, self.face).normal);
        Some((solid.world(p) + normal * OFF_M, normal))
    }
}

/// Light of the lamps at a place.
fn direct(scene: &Scene, place: &Place, seed: u32) -> Light {
    let mut sum = [0.0f32; 4];
    let Some((p, normal)) = place.point(scene) else { return sum };
    let mut possible = 0.0;
    let rays = (LAMP_RAYS / scene.lamps.len().max(1) as u32).max(4);
    for (lamp, number) in scene.lamps.iter().zip(0u32..) {
        let full = lamp_power(lamp, p);
        possible += full;
        let mut seen = 0.0;
        for ray in 0..rays {
            let h = hash2(seed, number * 64 + ray);
            // One ray a stratum along the lamp's longer side.
            let a = 2.0 * (ray as f32 + unit(h)) / rays as f32 - 1.0;
            let b = 2.0 * unit(hash2(h, 1)) - 1.0;
            let c = 2.0 * unit(hash2(h, 2)) - 1.0;
            let spread = if lamp.half.x >= lamp.half.y { v3(a, b, c) } else { v3(b, a, c) };
            let to = lamp.at + lamp.half.times(spread) - p;
            let distance = to.length();
            let d = to * (1.0 / distance.max(1e-3));
            let cos = normal.dot(d);
            if cos > 0.0 && !scene.blocked(p, d, distance) {
                seen += cos / rays as f32;
            }
        }
        for (s, c) in sum.iter_mut().zip(lamp.color) {
            *s += c * full * seen;
        }
        if let Some(share) = sum.get_mut(3) {
            *share += full * seen;
        }
    }
    if let Some(share) = sum.get_mut(3) {
        *share /= f32::max(possible, 1e-6);
    }
    sum
}

/// What falls off with distance and direction, the same for all of a lamp.
fn lamp_power(lamp: &Lamp, p: Vec3) -> f32 {
    let to = p - lamp.at;
    let distance2 = to.dot(to);
    let along = if lamp.aim == Vec3::default() {
        1.0
    } else {
        (to.normalized().dot(lamp.aim) * 0.85 + 0.15).max(0.0)
    };
    along / (distance2 + 0.35)
}

/// Light that surfaces around a place send to it, and the ambient light from gaps.
fn bounce(scene: &Scene, lit: &LightMap, place: &Place, seed: u32) -> Light {
    let mut sum = [0.0f32; 4];
    let Some((p, normal)) = place.point(scene) else { return sum };
    let side = if normal.z.abs() < 0.9 { Vec3::UP } else { v3(1.0, 0.0, 0.0) };
    let tangent = side.cross(normal).normalized();
    let other = normal.cross(tangent);
    let turn = unit(seed);
    for ray in 0..BOUNCE_RAYS {
        // Cosine-weighted, evenly spread by the golden angle and turned at random.
        let r2 = (ray as f32 + unit(hash2(seed, ray + 1))) / BOUNCE_RAYS as f32;
        let (s, c) = (TAU * (ray as f32 * 0.618_034 + turn)).sin_cos();
        let r = r2.sqrt();
        let d = tangent * (r * c) + other * (r * s) + normal * (1.0 - r2).max(0.0).sqrt();
        let came = match scene.trace(p, d, 100.0) {
            Some(hit) => match scene.surface(hit, p, d) {
                Some(surface) => sent(scene, lit, hit.solid, &surface, hit.t),
                None => scene.ambient,
            },
            None => scene.ambient,
        };
        for (s, c) in sum.iter_mut().zip(came) {
            *s += c / BOUNCE_RAYS as f32;
        }
    }
    sum
}

/// What a met surface sends back: its lamps' light and a share of the ambient light that
/// falls with nearness, which stands for further bounces.
fn sent(scene: &Scene, lit: &LightMap, solid: u32, s: &Surface<'_>, t: f32) -> [f32; 3] {
    let Some(m) = scene.material(s.solid, s.face) else { return [0.0; 3] };
    let color = scene.mean_color(m);
    let light = lit.at(solid, s.face, s.patch.uv);
    let open = t / (t + 0.25);
    [0, 1, 2].map(|i| {
        color[i] * (light[i] + scene.ambient[i] * open + m.emission)
            + 0.35 * scene.ambient[i] * open
    })
}
