//! The bench on which a room is put together: frames to build in, materials from the room's
//! palette, and the list of what has been placed.

use std::f32::consts::FRAC_PI_2;

use super::{
    bitmap::Bitmap,
    canvas::{Rgb, hsv, linear, scale},
    dice::Dice,
    math::{Rotation, Vec3, v3},
    paint, print,
    scene::{Lamp, Lay, Material, Solid},
    shape::{FACES, Shape},
};

/// A material's number.
pub(super) type Mat = u16;

/// Where something is built: its origin and how it is turned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub at: Vec3,
    pub turn: Rotation,
}

impl Frame {
    pub fn new(at: Vec3, yaw: f32) -> Self {
        Frame { at, turn: Rotation::yaw(yaw) }
    }

    /// A frame at `p` of this one, turned by `yaw` about its up.
    pub fn child(&self, p: Vec3, yaw: f32) -> Frame {
        self.turned(p, &Rotation::yaw(yaw))
    }

    pub fn turned(&self, p: Vec3, turn: &Rotation) -> Frame {
        Frame { at: self.at + self.turn.apply(p), turn: self.turn.then_inside(turn) }
    }

    pub fn point(&self, p: Vec3) -> Vec3 {
        self.at + self.turn.apply(p)
    }
}

/// Colours and materials that the things of one room share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    pub woods: [Mat; 3],
    pub metal: Mat,
    pub dark: Mat,
    pub white: Mat,
    /// Hues that come back in this room.
    pub hues: [f32; 3],
    plain: u16,
    brushed: u16,
    cloths: [u16; 3],
    pages: u16,
    leaves: Mat,
}

/// A room being built.
pub(super) struct Builder {
    pub dice: Dice,
    pub solids: Vec<Solid>,
    pub materials: Vec<Material>,
    pub bitmaps: Vec<Bitmap>,
    pub lamps: Vec<Lamp>,
    pub palette: Palette,
    /// Where there is something to look at.
    pub sights: Vec<Vec3>,
}

/// Hues as things are sold in: reds, oranges, yellows and blues rather than violets.
pub(super) fn real_hue(d: &mut Dice, s: [f32; 2], v: [f32; 2]) -> Rgb {
    let hue = match d.weighted([0.28, 0.2, 0.14, 0.26, 0.12]) {
        0 => d.range(-0.03, 0.04),
        1 => d.range(0.05, 0.15),
        2 => d.range(0.22, 0.42),
        3 => d.range(0.52, 0.66),
        _ => d.unit(),
    };
    hsv(hue, d.range(s[0], s[1]), d.range(v[0], v[1]))
}

const WOODS: [Rgb; 8] = [
    [0.72, 0.53, 0.33],
    [0.55, 0.36, 0.2],
    [0.82, 0.67, 0.47],
    [0.38, 0.24, 0.15],
    [0.86, 0.78, 0.64],
    [0.62, 0.4, 0.26],
    [0.48, 0.42, 0.36],
    [0.88, 0.87, 0.84],
];

impl Builder {
    pub fn new(seed: u64) -> Self {
        let dice = Dice::new(seed, 0x0b01);
        let palette = Palette {
            woods: [0; 3],
            metal: 0,
            dark: 0,
            white: 0,
            hues: [0.0; 3],
            plain: 0,
            brushed: 0,
            cloths: [0; 3],
            pages: 0,
            leaves: 0,
        };
        let mut b = Builder {
            dice,
            solids: Vec::new(),
            materials: Vec::new(),
            bitmaps: Vec::new(),
            lamps: Vec::new(),
            palette,
            sights: Vec::new(),
        };
        b.stock();
        b
    }

    fn stock(&mut self) {
        let hue = self.dice.unit();
        let step = self.dice.pick([0.08, 0.33, 0.5]);
        self.palette.hues = [hue, hue + step, hue + 0.5 * step + 0.45];
        let plain = paint::plaster([0.94; 3], 0.05, &mut self.dice);
        self.palette.plain = self.add_bitmap(plain);
        let brushed = paint::brushed([0.9; 3], 0.16, &mut self.dice);
        self.palette.brushed = self.add_bitmap(brushed);
        for i in 0..3 {
            let other = self.dice.range(0.35, 0.8);
            let cloth = paint::cloth([0.95; 3], [other; 3], &mut self.dice);
            let cloth = self.add_bitmap(cloth);
            if let Some(slot) = self.palette.cloths.get_mut(i) {
                *slot = cloth;
            }
        }
        let pages = paint::brushed([0.9, 0.87, 0.78], 0.35, &mut self.dice);
        self.palette.pages = self.add_bitmap(pages);
        for i in 0..3 {
            let base = self.dice.pick(WOODS);
            let base = scale(base, self.dice.range(0.85, 1.1));
            let map = paint::wood(base, 1, &mut self.dice);
            let gloss = self.dice.range(0.02, 0.3);
            let size = self.dice.range(0.7, 1.3);
            let wood = self.tiled(map, size, [0.12, 0.1], gloss);
            if let Some(slot) = self.palette.woods.get_mut(i) {
                *slot = wood;
            }
        }
        let grey = self.dice.range(0.45, 0.75);
        self.palette.metal = self.metal([grey; 3]);
        let dark = self.dice.range(0.16, 0.26);
        self.palette.dark = self.plastic([dark, dark, dark * 1.05], 0.3);
        self.palette.white = self.plastic([0.86, 0.85, 0.82], 0.15);
        let leaves = paint::foliage(&mut self.dice);
        self.palette.leaves = self.tiled(leaves, 0.3, [0.3, 0.2], 0.1);
    }

    pub fn add_bitmap(&mut self, map: Bitmap) -> u16 {
        self.bitmaps.push(map);
        (self.bitmaps.len() - 1) as u16
    }

    pub fn material(&mut self, material: Material) -> Mat {
        self.materials.push(material);
        (self.materials.len() - 1) as u16
    }

    /// A repeating surface; `[detail, stain]` as in [`Material`].
    pub fn tiled(&mut self, map: Bitmap, size_m: f32, noise: [f32; 2], gloss: f32) -> Mat {
        let bitmap = self.add_bitmap(map);
        let turned = self.dice.chance(0.5);
        self.material(Material {
            bitmap,
            lay: Lay::Tile { size_m, turned },
            tint: [1.0; 3],
            detail: noise[0],
            stain: noise[1],
            gloss,
            sharp: 5,
            emission: 0.0,
            lost: 0.0,
        })
    }

    fn tinted(&mut self, bitmap: u16, color: Rgb, size_m: f32, detail: f32, gloss: f32) -> Mat {
        let stain = self.dice.range(0.03, 0.12);
        self.material(Material {
            bitmap,
            lay: Lay::Tile { size_m, turned: false },
            tint: linear(color),
            detail,
            stain,
            gloss,
            sharp: 6,
            emission: 0.0,
            lost: 0.05 * gloss,
        })
    }

    /// Moulded or painted, of one colour.
    pub fn plastic(&mut self, color: Rgb, gloss: f32) -> Mat {
        let plain = self.palette.plain;
        self.tinted(plain, color, 0.5, 0.06, gloss)
    }

    pub fn metal(&mut self, color: Rgb) -> Mat {
        let brushed = self.palette.brushed;
        let gloss = self.dice.range(0.4, 1.2);
        self.tinted(brushed, color, 0.35, 0.05, gloss)
    }

    pub fn fabric(&mut self, color: Rgb) -> Mat {
        let cloths = self.palette.cloths;
        let cloth = self.dice.pick(cloths);
        let size = self.dice.range(0.15, 0.4);
        let color = scale(color, 1.1);
        self.tinted(cloth, color, size, 0.2, 0.0)
    }

    /// Stretched over one face.
    pub fn fitted(&mut self, map: Bitmap, gloss: f32) -> Mat {
        let bitmap = self.add_bitmap(map);
        self.material(Material {
            bitmap,
            lay: Lay::Fit,
            tint: [1.0; 3],
            detail: 0.05,
            stain: 0.04,
            gloss,
            sharp: 6,
            emission: 0.0,
            lost: 0.0,
        })
    }

    /// Lit from behind; depth sensors see little of it.
    pub fn lit(&mut self, map: Bitmap, emission: f32, lost: f32) -> Mat {
        let mat = self.fitted(map, 0.3);
        if let Some(m) = self.materials.get_mut(usize::from(mat)) {
            (m.emission, m.lost, m.detail, m.stain) = (emission, lost, 0.0, 0.0);
        }
        mat
    }

    pub fn wood(&mut self) -> Mat {
        let woods = self.palette.woods;
        self.dice.pick(woods)
    }

    pub fn leaves(&self) -> Mat {
        self.palette.leaves
    }

    pub fn pages(&mut self) -> Mat {
        let (pages, shade) = (self.palette.pages, self.dice.range(0.8, 1.0));
        self.tinted(pages, [shade; 3], 0.12, 0.0, 0.0)
    }

    /// A colour for a thing: the room's hues, neutrals, darks, now and then anything.
    pub fn color(&mut self) -> Rgb {
        let hues = self.palette.hues;
        let d = &mut self.dice;
        match d.weighted([0.2, 0.24, 0.16, 0.2, 0.2]) {
            0 => {
                let hue = d.pick(hues) + d.range(-0.03, 0.03);
                hsv(hue, d.range(0.15, 0.75), d.range(0.35, 0.85))
            }
            1 => hsv(d.range(0.05, 0.17), d.range(0.02, 0.2), d.range(0.5, 0.95)),
            2 => hsv(d.unit(), d.range(0.0, 0.4), d.range(0.16, 0.32)),
            3 => real_hue(d, [0.15, 0.6], [0.35, 0.85]),
            _ => real_hue(d, [0.55, 0.92], [0.45, 0.9]),
        }
    }

    /// A material for a small thing.
    pub fn stuff(&mut self) -> Mat {
        let color = self.color();
        match self.dice.weighted([0.55, 0.12, 0.15, 0.18]) {
            0 => {
                let gloss = self.dice.range(0.0, 0.9);
                self.plastic(color, gloss)
            }
            1 => self.metal(color),
            2 => self.fabric(color),
            _ => self.wood(),
        }
    }

    pub fn label(&mut self) -> Mat {
        let color = self.color();
        let map = print::label(color, &mut self.dice);
        let gloss = self.dice.range(0.0, 0.4);
        self.fitted(map, gloss)
    }

    /// Puts a shape whose own frame is `frame`.
    pub fn put(&mut self, frame: &Frame, shape: Shape, faces: [Mat; FACES]) {
        let shift = [self.dice.range(0.0, 3.0), self.dice.range(0.0, 3.0)];
        let Frame { at, turn } = *frame;
        self.solids.push(Solid { shape, turn, at, faces, shift });
    }

    /// A box of the given full size about `center`.
    pub fn brick(&mut self, f: &Frame, center: Vec3, size: Vec3, mat: Mat) {
        self.brick_faces(f, center, size, [mat; FACES]);
    }

    pub fn brick_faces(&mut self, f: &Frame, center: Vec3, size: Vec3, faces: [Mat; FACES]) {
        let half = (size * 0.5).max(v3(5e-4, 5e-4, 5e-4));
        self.put(&f.child(center, 0.0), Shape::Brick { half }, faces);
    }

    /// An upright frustum standing on `base`.
    pub fn tube(&mut self, f: &Frame, base: Vec3, [r0, r1]: [f32; 2], height: f32, mat: Mat) {
        let shape = Shape::Frustum { r0, r1, half_h: 0.5 * height, open: false };
        self.put(&f.child(base + v3(0.0, 0.0, 0.5 * height), 0.0), shape, [mat; FACES]);
    }

    /// An upright vessel without a lid.
    pub fn vessel(&mut self, f: &Frame, [r0, r1]: [f32; 2], height: f32, outer: Mat, inner: Mat) {
        let shape = Shape::Frustum { r0, r1, half_h: 0.5 * height, open: true };
        let faces = [outer, outer, outer, inner, inner, inner];
        self.put(&f.child(v3(0.0, 0.0, 0.5 * height), 0.0), shape, faces);
    }

    /// A rod with round ends between two points.
    pub fn rod(&mut self, f: &Frame, a: Vec3, b: Vec3, r: f32, mat: Mat) {
        let along = b - a;
        let z = along.normalized();
        let side = if z.z.abs() > 0.9 { v3(1.0, 0.0, 0.0) } else { Vec3::UP };
        let x = side.cross(z).normalized();
        let turn = Rotation { x, y: z.cross(x), z };
        let shape = Shape::Capsule { r, half_h: 0.5 * along.length() };
        self.put(&f.turned((a + b) * 0.5, &turn), shape, [mat; FACES]);
    }

    pub fn ball(&mut self, f: &Frame, center: Vec3, radii: Vec3, mat: Mat) {
        self.put(&f.child(center, 0.0), Shape::Ellipsoid { radii }, [mat; FACES]);
    }

    /// A sheet on a wall whose frame has x along it and y into the room: a box of `depth`
    /// with `front` on the side that is seen.
    pub fn plate(
        &mut self,
        f: &Frame,
        center: Vec3,
        [w, h]: [f32; 2],
        depth: f32,
        front: Mat,
        rim: Mat,
    ) {
        let faces = [rim, rim, front, rim, rim, rim];
        let center = center + v3(0.0, 0.5 * depth, 0.0);
        self.brick_faces(f, center, v3(w, depth, h), faces);
    }

    /// A frame lying down: what stood up along z now points along y.
    pub fn lying(f: &Frame, p: Vec3) -> Frame {
        f.turned(p, &Rotation::about_x(-FRAC_PI_2))
    }
}
