//! What a room is made of: solids with materials, lamps, and the search for what a ray
//! meets first.

use super::{
    bitmap::Bitmap,
    bvh::{Bounds, Bvh},
    math::{Rotation, Vec3},
    shape::{FACES, Patch, Shape, clearance_m},
};

/// How a texture lies on a face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Lay {
    /// Repeats every `size_m` metres; `turned` swaps its sides (grain along v).
    Tile { size_m: f32, turned: bool },
    /// Stretched over the face once.
    Fit,
}

/// How a face looks to the colour camera and to the depth sensor.
#[derive(Clone, Debug)]
pub(super) struct Material {
    /// Which of [`Scene::bitmaps`].
    pub bitmap: u16,
    pub lay: Lay,
    /// Linear factor on the texture.
    pub tint: [f32; 3],
    /// Strength of fine and of coarse brightness noise.
    pub detail: f32,
    pub stain: f32,
    /// Highlight strength and its sharpness as a power of two.
    pub gloss: f32,
    pub sharp: u8,
    /// Light given off, in units of the texture's colour; 0 for most things.
    pub emission: f32,
    /// Share of depth readings lost on it: dark, shiny or see-through surfaces.
    pub lost: f32,
}

/// One body: a shape, where it stands, and the material of each face.
#[derive(Clone, Debug)]
pub(super) struct Solid {
    pub shape: Shape,
    pub turn: Rotation,
    pub at: Vec3,
    pub faces: [u16; FACES],
    /// Shifts repeating textures so that no two faces match.
    pub shift: [f32; 2],
}

impl Solid {
    /// The box around it in the world.
    pub fn bounds(&self) -> Bounds {
        let h = self.shape.half_extent();
        let reach = self.turn.x.abs() * h.x + self.turn.y.abs() * h.y + self.turn.z.abs() * h.z;
        Bounds { min: self.at - reach, max: self.at + reach }
    }

    pub fn local(&self, p: Vec3) -> Vec3 {
        self.turn.undo(p - self.at)
    }

    pub fn world(&self, p: Vec3) -> Vec3 {
        self.at + self.turn.apply(p)
    }

    /// A lower bound of the distance from `p`, metres; 0 when `p` may be within.
    pub fn clearance_m(&self, p: Vec3) -> f32 {
        clearance_m(&self.shape, self.local(p))
    }
}

/// An area that gives light downward or into the room: a box of points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lamp {
    pub at: Vec3,
    /// Half the sides of the box that light comes from.
    pub half: Vec3,
    /// Where it shines mostly; zero for all ways.
    pub aim: Vec3,
    /// Linear colour times power.
    pub color: [f32; 3],
}

/// The first thing that a ray meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hit {
    pub t: f32,
    pub solid: u32,
    pub face: u8,
}

/// A met point, in the world.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surface<'a> {
    pub solid: &'a Solid,
    pub face: u8,
    pub p: Vec3,
    pub normal: Vec3,
    pub patch: Patch,
}

/// Everything that can be seen.
#[derive(Debug)]
pub(super) struct Scene {
    /// In the order of the hierarchy; the shell, if any, comes last and is not in it.
    pub solids: Vec<Solid>,
    pub materials: Vec<Material>,
    pub bitmaps: Vec<Bitmap>,
    pub lamps: Vec<Lamp>,
    /// Light from everywhere, linear.
    pub ambient: [f32; 3],
    /// Brightness noise shared by all materials.
    pub noise: Bitmap,
    has_shell: bool,
    bvh: Bvh,
}

impl Scene {
    /// Sorts the solids into a hierarchy. A ray that no solid stops meets `shell`, or leaves
    /// where there is none.
    pub fn new(
        solids: Vec<Solid>,
        shell: Option<Solid>,
        (materials, bitmaps): (Vec<Material>, Vec<Bitmap>),
        lamps: Vec<Lamp>,
        ambient: [f32; 3],
        noise: Bitmap,
    ) -> Self {
        let bounds: Vec<Bounds> = solids.iter().map(Solid::bounds).collect();
        let (bvh, order) = Bvh::build(&bounds);
        let mut sorted: Vec<Solid> =
            order.iter().filter_map(|&i| solids.get(i as usize).cloned()).collect();
        let has_shell = shell.is_some();
        sorted.extend(shell);
        Scene { solids: sorted, materials, bitmaps, lamps, ambient, noise, has_shell, bvh }
    }

    /// The solids without the shell.
    pub fn inner(&self) -> &[Solid] {
        let n = self.solids.len() - usize::from(self.has_shell);
        self.solids.get(..n).unwrap_or_default()
    }

    /// Where the shell is met, if there is one.
    #[inline]
    pub fn meet_shell(&self, origin: Vec3, direction: Vec3, t_max: f32) -> Option<Hit> {
        let last = self.solids.len().checked_sub(1)?;
        if self.has_shell { self.meet(last as u32, origin, direction, t_max) } else { None }
    }

    /// The first solid that `origin + t direction` meets before `t_max`.
    #[inline]
    pub fn trace(&self, origin: Vec3, direction: Vec3, t_max: f32) -> Option<Hit> {
        let mut hit = None;
        self.bvh.walk(origin, direction, t_max, |item, best| {
            match self.meet(item, origin, direction, best) {
                Some(found) => {
                    hit = Some(found);
                    found.t
                }
                None => best,
            }
        });
        hit.or_else(|| self.meet_shell(origin, direction, t_max))
    }

    /// Whether anything stands between `origin` and `origin + t_max direction`.
    pub fn blocked(&self, origin: Vec3, direction: Vec3, t_max: f32) -> bool {
        let mut blocked = false;
        self.bvh.walk(origin, direction, t_max, |item, best| {
            blocked = self.meet(item, origin, direction, best).is_some();
            if blocked { -1.0 } else { best }
        });
        blocked
    }

    #[inline]
    fn meet(&self, item: u32, origin: Vec3, direction: Vec3, t_max: f32) -> Option<Hit> {
        let solid = self.solids.get(item as usize)?;
        let (o, d) = (solid.local(origin), solid.turn.undo(direction));
        let found = solid.shape.intersect(o, d, t_max)?;
        Some(Hit { t: found.t, solid: item, face: found.face })
    }

    /// What stands at a hit of that ray.
    #[inline]
    pub fn surface(&self, hit: Hit, origin: Vec3, direction: Vec3) -> Option<Surface<'_>> {
        let solid = self.solids.get(hit.solid as usize)?;
        let p = origin + direction * hit.t;
        let patch = solid.shape.patch(solid.local(p), hit.face);
        let normal = solid.turn.apply(patch.normal);
        Some(Surface { solid, face: hit.face, p, normal, patch })
    }

    /// The material of a face.
    #[inline]
    pub fn material(&self, solid: &Solid, face: u8) -> Option<&Material> {
        let index = solid.faces.get(usize::from(face)).copied().unwrap_or(0);
        self.materials.get(usize::from(index))
    }

    /// The linear colour of a surface where one pixel covers `pixel_m` metres of it.
    #[inline]
    pub fn albedo(&self, s: &Surface<'_>, m: &Material, pixel_m: f32) -> [f32; 3] {
        let [u, v] = s.patch.uv;
        let [w, h] = s.patch.size_m;
        let [um, vm] = s.patch.along_m;
        let (um, vm) = (um + s.solid.shift[0], vm + s.solid.shift[1]);
        let Some(map) = self.bitmaps.get(usize::from(m.bitmap)) else { return m.tint };
        let mut c = match m.lay {
            Lay::Fit => {
                // The edge texels would mix with those of the other side: keep off them.
                let texels = pixel_m * (map.width() as f32 / w).max(map.height() as f32 / h);
                map.sample(u.clamp(0.004, 0.996), v.clamp(0.004, 0.996), texels)
            }
            Lay::Tile { size_m, turned } => {
                let texels = pixel_m * map.width() as f32 / size_m;
                let (a, b) = if turned { (vm, um) } else { (um, vm) };
                map.sample(a / size_m, b / size_m, texels)
            }
        };
        if m.detail > 0.0 || m.stain > 0.0 {
            // Fine grain repeats every 23 cm, blotches every 3.1 m and askew, so that the
            // repeats of the texture do not show.
            let side = self.noise.width() as f32;
            let fine = self.noise.grain(um / 0.23, vm / 0.23, pixel_m * side / 0.23);
            let broad = self.noise.grain(
                (um + 0.31 * vm) / 3.1,
                (vm - 0.27 * um) / 3.1,
                pixel_m * side / 3.1,
            );
            let k = 1.0
                + m.detail * (fine[0] + 0.5 * fine[2] - 0.75)
                + 2.0 * m.stain * (broad[1] - 0.5);
            c = c.map(|c| c * k.max(0.05));
        }
        [c[0] * m.tint[0], c[1] * m.tint[1], c[2] * m.tint[2]]
    }

    /// A material's mean colour, linear.
    pub fn mean_color(&self, m: &Material) -> [f32; 3] {
        let mean = self.bitmaps.get(usize::from(m.bitmap)).map_or([0.5; 3], Bitmap::mean);
        [mean[0] * m.tint[0], mean[1] * m.tint[1], mean[2] * m.tint[2]]
    }

    /// The distance from `p` to the nearest solid or wall, at least, metres.
    pub fn clearance_m(&self, p: Vec3) -> f32 {
        self.solids.iter().map(|s| s.clearance_m(p)).fold(f32::INFINITY, f32::min)
    }
}
