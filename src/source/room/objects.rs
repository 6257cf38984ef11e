//! Things that stand on tables, shelves and floors. Each is built about the centre of its
//! foot, within the radius it was given.

use std::f32::consts::{PI, TAU};

use super::{
    builder::{Builder, Frame},
    canvas::hsv,
    household::{bottle, bowl, can, carton, fruit, jar, mug, pot, vase},
    math::{Rotation, Vec3, v3},
    print,
    shape::{FACES, Shape},
};

/// What can be put on a surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    Mug,
    Bottle,
    Can,
    Carton,
    Bowl,
    Ball,
    Fruit,
    Books,
    PenCup,
    Plant,
    Lamp,
    Blocks,
    Jar,
    Cone,
    Papers,
    Bear,
    Roll,
    Radio,
    Vase,
    Tool,
    Pot,
    Parcel,
    Bin,
}

impl Thing {
    /// What lies about in each kind of place.
    pub const DESK: [Thing; 12] = [
        Thing::Mug,
        Thing::Books,
        Thing::PenCup,
        Thing::Papers,
        Thing::Plant,
        Thing::Can,
        Thing::Bottle,
        Thing::Carton,
        Thing::Radio,
        Thing::Roll,
        Thing::Ball,
        Thing::Tool,
    ];
    pub const HOUSE: [Thing; 16] = [
        Thing::Mug,
        Thing::Bottle,
        Thing::Can,
        Thing::Carton,
        Thing::Bowl,
        Thing::Fruit,
        Thing::Jar,
        Thing::Vase,
        Thing::Pot,
        Thing::Books,
        Thing::Ball,
        Thing::Blocks,
        Thing::Bear,
        Thing::Roll,
        Thing::Plant,
        Thing::Carton,
    ];
    pub const WORK: [Thing; 10] = [
        Thing::Carton,
        Thing::Can,
        Thing::Tool,
        Thing::Roll,
        Thing::Cone,
        Thing::Jar,
        Thing::Parcel,
        Thing::Bottle,
        Thing::Blocks,
        Thing::Bin,
    ];

    /// A size drawn for it: the radius of its foot, metres.
    pub fn radius_m(self, b: &mut Builder) -> f32 {
        let [low, high] = match self {
            Thing::Mug => [0.036, 0.05],
            Thing::Bottle | Thing::Can | Thing::Jar => [0.028, 0.05],
            Thing::Carton => [0.05, 0.12],
            Thing::Bowl => [0.06, 0.11],
            Thing::Ball => [0.03, 0.11],
            Thing::Fruit => [0.06, 0.1],
            Thing::Books | Thing::Papers => [0.12, 0.17],
            Thing::PenCup | Thing::Cone => [0.035, 0.06],
            Thing::Plant => [0.07, 0.12],
            Thing::Lamp => [0.08, 0.11],
            Thing::Blocks | Thing::Bear => [0.06, 0.11],
            Thing::Roll => [0.03, 0.06],
            Thing::Radio => [0.08, 0.14],
            Thing::Vase => [0.04, 0.08],
            Thing::Tool => [0.08, 0.12],
            Thing::Pot => [0.08, 0.13],
            Thing::Parcel => [0.1, 0.2],
            Thing::Bin => [0.09, 0.15],
        };
        b.dice.range(low, high)
    }

    /// Builds it on `f` within radius `r` and no higher than `top`, both metres.
    pub fn build(self, b: &mut Builder, f: &Frame, r: f32, top: f32) {
        match self {
            Thing::Mug => mug(b, f, r, top),
            Thing::Bottle => bottle(b, f, r, top),
            Thing::Can => can(b, f, r, top),
            Thing::Carton => carton(b, f, r, top),
            Thing::Bowl => bowl(b, f, r, top),
            Thing::Ball => ball(b, f, r.min(0.5 * top)),
            Thing::Fruit => fruit(b, f, r),
            Thing::Books => books(b, f, r, top),
            Thing::PenCup => pen_cup(b, f, r, top),
            Thing::Plant => plant(b, f, r, top),
            Thing::Lamp => lamp(b, f, r, top),
            Thing::Blocks => blocks(b, f, r, top),
            Thing::Jar => jar(b, f, r, top),
            Thing::Cone => cone(b, f, r, top),
            Thing::Papers => papers(b, f, r),
            Thing::Bear => bear(b, f, r, top),
            Thing::Roll => roll(b, f, r, top),
            Thing::Radio => radio(b, f, r, top),
            Thing::Vase => vase(b, f, r, top),
            Thing::Tool => tool(b, f, r),
            Thing::Pot => pot(b, f, r, top),
            Thing::Parcel => parcel(b, f, r, top),
            Thing::Bin => bin(b, f, [1.2 * r, 0.8 * r], (0.7 * r).min(top), 5),
        }
    }
}

fn ball(b: &mut Builder, f: &Frame, r: f32) {
    let mat = if b.dice.chance(0.5) {
        let (one, two) = (b.color(), b.color());
        let map = super::paint::wallpaper(one, two, &mut b.dice);
        b.tiled(map, 3.0 * r, [0.05, 0.05], 0.2)
    } else {
        b.stuff()
    };
    let tilt = Rotation::about_x(b.dice.range(0.0, PI));
    let shape = Shape::Ellipsoid { radii: v3(r, r, r) };
    b.put(&f.turned(v3(0.0, 0.0, r), &tilt), shape, [mat; FACES]);
}

fn books(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let mut z = 0.0;
    for _ in 0..b.dice.int(1, 6) {
        let thick = b.dice.range(0.012, 0.05);
        if z + thick > top {
            break;
        }
        let size = v3(r * b.dice.range(1.1, 1.6), r * b.dice.range(0.8, 1.15), thick);
        let yaw = b.dice.range(-0.35, 0.35);
        lying_book(b, &f.child(v3(0.0, 0.0, z + 0.5 * thick), yaw), size);
        z += thick;
    }
    if z < 0.5 * top && b.dice.chance(0.3) {
        mug(b, &f.child(v3(0.0, 0.0, z), 0.0), 0.04, top - z);
    }
}

/// A closed book about `f`, its spine toward -y.
fn lying_book(b: &mut Builder, f: &Frame, size: Vec3) {
    let color = b.color();
    let (cover, pages) = (b.plastic(color, 0.2), b.pages());
    let front = if b.dice.chance(0.6) {
        let map = print::label(color, &mut b.dice);
        b.fitted(map, 0.2)
    } else {
        cover
    };
    b.brick_faces(f, Vec3::default(), size, [pages, pages, pages, cover, front, cover]);
}

/// Upright books side by side along x from `x0` to `x1`, spines toward +y at `y`.
pub(super) fn book_row(
    b: &mut Builder,
    f: &Frame,
    [x0, x1]: [f32; 2],
    y: f32,
    depth: f32,
    top: f32,
) {
    let mut x = x0;
    let tall = top.min(0.32) * b.dice.range(0.75, 0.95);
    while x < x1 - 0.012 {
        let thick = b.dice.range(0.012, 0.055).min(x1 - x);
        let h = (tall * b.dice.range(0.72, 1.08)).min(top - 0.01);
        let deep = (depth * b.dice.range(0.7, 0.98)).min(0.26);
        let color = b.color();
        let (cover, pages) = (b.plastic(color, 0.15), b.pages());
        let map = print::spine(color, &mut b.dice);
        let spine = b.fitted(map, 0.15);
        let back = b.dice.range(0.0, 0.025);
        let lean = if b.dice.chance(0.06) && x + thick + 0.05 < x1 { 0.15 } else { 0.0 };
        let shift = 0.5 * h * f32::sin(lean);
        let frame = f.turned(
            v3(
                x + 0.5 * thick + shift,
                y - back - 0.5 * deep,
                0.5 * h * f32::cos(lean) + 0.5 * thick * f32::sin(lean),
            ),
            &Rotation::about_y(lean),
        );
        let faces = [cover, cover, spine, pages, pages, pages];
        b.brick_faces(&frame, Vec3::default(), v3(thick - 0.001, deep, h), faces);
        x += thick + 2.0 * shift + if b.dice.chance(0.04) { 0.04 } else { 0.0005 };
    }
}

fn pen_cup(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let h = (2.2 * r).min(top);
    let (cup, inner) = (b.stuff(), b.palette.dark);
    b.vessel(f, [r * 0.9, r * 0.9], h, cup, inner);
    for i in 0..b.dice.int(3, 7) {
        let color = hsv(b.dice.unit(), 0.8, 0.8);
        let pen = b.plastic(color, 0.3);
        let (s, c) = (i as f32 * 2.4).sin_cos();
        let k = b.dice.range(0.3, 0.7) * r;
        let tip = v3(-0.4 * k * c, -0.4 * k * s, 0.006);
        let end = v3(1.2 * k * c, 1.2 * k * s, (h * b.dice.range(1.3, 1.8)).min(top));
        b.rod(f, tip, end, 0.0042, pen);
    }
}

/// A potted plant.
pub(super) fn plant(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let h = (r * 1.3).min(0.4 * top);
    let color = b.color();
    let (pot, soil, leaf) = (b.plastic(color, 0.2), b.palette.dark, b.leaves());
    b.tube(f, Vec3::default(), [0.5 * r, 0.68 * r], h, pot);
    b.tube(f, v3(0.0, 0.0, h), [0.6 * r, 0.6 * r], 0.003, soil);
    let n = b.dice.int(7, 13);
    let reach = (top - h).min(b.dice.range(1.2, 3.2) * r);
    for i in 0..n {
        let angle = i as f32 * 2.4 + b.dice.range(-0.3, 0.3);
        let rise = b.dice.range(0.35, 1.0);
        let out = v3(angle.cos(), angle.sin(), 0.0) * (r * (1.2 - 0.8 * rise));
        let end = v3(out.x, out.y, h + reach * rise * 0.88);
        if i % 2 == 0 {
            b.rod(f, v3(0.0, 0.0, h), end, 0.04 * r, leaf);
        }
        let blade = r * b.dice.range(0.25, 0.45);
        let tilt = Rotation::yaw(angle).then_inside(&Rotation::about_y(b.dice.range(-0.7, 0.7)));
        let shape = Shape::Ellipsoid { radii: v3(blade, 0.55 * blade, 0.14 * blade) };
        b.put(&f.turned(end, &tilt), shape, [leaf; FACES]);
    }
}

fn lamp(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let h = (r * 4.5).min(top);
    let color = b.color();
    let (metal, shade, white) = (b.palette.metal, b.fabric(color), b.palette.white);
    b.tube(f, Vec3::default(), [r, 0.9 * r], 0.02, metal);
    b.rod(f, v3(0.0, 0.0, 0.02), v3(0.0, 0.0, 0.75 * h), 0.09 * r, metal);
    b.vessel(&f.child(v3(0.0, 0.0, 0.62 * h), 0.0), [r, 0.6 * r], 0.38 * h, shade, white);
}

fn blocks(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let side = r * b.dice.range(0.4, 0.6);
    let mut z = 0.0;
    for layer in 0..b.dice.int(1, 4) {
        if z + side > top {
            break;
        }
        for k in 0..(3 - layer.min(2)) {
            let color = hsv(b.dice.unit(), 0.8, 0.85);
            let mat = if b.dice.chance(0.4) { b.wood() } else { b.plastic(color, 0.2) };
            let angle = k as f32 * TAU / 3.0 + layer as f32;
            let off = if layer < 2 { 0.62 * r } else { 0.0 };
            let frame = f.child(
                v3(off * angle.cos(), off * angle.sin(), z + 0.5 * side),
                b.dice.range(0.0, 1.5),
            );
            b.brick(&frame, Vec3::default(), v3(side, side, side), mat);
        }
        z += side;
    }
}

fn cone(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let h = (r * b.dice.range(2.5, 4.5)).min(top);
    let color = hsv(b.dice.range(0.02, 0.1), 0.9, 0.9);
    let (orange, white) = (b.plastic(color, 0.1), b.palette.white);
    b.brick(f, v3(0.0, 0.0, 0.006), v3(1.9 * r, 1.9 * r, 0.012), orange);
    let at = |z: f32| 0.8 * r * (1.0 - 0.85 * z);
    for (low, high, mat) in [(0.0, 0.4, orange), (0.4, 0.62, white), (0.62, 1.0, orange)] {
        b.tube(f, v3(0.0, 0.0, 0.012 + low * h), [at(low), at(high)], (high - low) * h, mat);
    }
}

fn papers(b: &mut Builder, f: &Frame, r: f32) {
    for i in 0..b.dice.int(1, 4) {
        let map = print::sheet(&mut b.dice);
        let (sheet, rim) = (b.fitted(map, 0.0), b.palette.white);
        let frame = f.child(
            v3(b.dice.range(-0.3, 0.3) * r, b.dice.range(-0.3, 0.3) * r, 0.0015 + 0.002 * i as f32),
            b.dice.range(-0.6, 0.6),
        );
        let faces = [rim, rim, rim, rim, sheet, rim];
        b.brick_faces(&frame, Vec3::default(), v3(1.15 * r, 1.6 * r, 0.002), faces);
    }
}

fn bear(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let k = r.min(top / 2.6);
    let color = hsv(b.dice.range(0.03, 0.12), b.dice.range(0.2, 0.6), b.dice.range(0.4, 0.85));
    let (fur, dark) = (b.fabric(color), b.palette.dark);
    b.ball(f, v3(0.0, 0.0, 0.75 * k), v3(0.62 * k, 0.55 * k, 0.75 * k), fur);
    b.ball(f, v3(0.0, 0.0, 1.85 * k), v3(0.5 * k, 0.5 * k, 0.48 * k), fur);
    b.ball(f, v3(0.0, 0.45 * k, 1.75 * k), v3(0.2 * k, 0.2 * k, 0.16 * k), dark);
    for s in [-1.0, 1.0] {
        b.ball(f, v3(s * 0.4 * k, 0.0, 2.28 * k), v3(0.18 * k, 0.12 * k, 0.18 * k), fur);
        b.ball(f, v3(s * 0.66 * k, 0.15 * k, 1.05 * k), v3(0.18 * k, 0.2 * k, 0.42 * k), fur);
        b.ball(f, v3(s * 0.4 * k, 0.6 * k, 0.25 * k), v3(0.22 * k, 0.42 * k, 0.25 * k), fur);
    }
}

fn roll(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let (mat, inner) = (b.stuff(), b.palette.dark);
    if b.dice.chance(0.5) {
        let h = (r * b.dice.range(0.7, 2.4)).min(top);
        b.tube(f, Vec3::default(), [r, r], h, mat);
        b.tube(f, v3(0.0, 0.0, h), [0.35 * r, 0.35 * r], 0.002, inner);
    } else {
        let frame = Builder::lying(f, v3(0.0, -0.6 * r, r));
        b.tube(&frame, Vec3::default(), [r, r], 1.2 * r, mat);
        b.tube(&frame, v3(0.0, 0.0, -0.002), [0.35 * r, 0.35 * r], 1.2 * r + 0.004, inner);
    }
}

fn radio(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let size = v3(1.6 * r, 0.8 * r, (r * b.dice.range(0.9, 1.8)).min(top));
    let (body, dark, knob) = (b.stuff(), b.palette.dark, b.palette.metal);
    b.brick(f, v3(0.0, 0.0, 0.5 * size.z), size, body);
    let front = 0.4 * r;
    for s in [-0.42, 0.42] {
        let frame = Builder::lying(f, v3(s * r, front, 0.55 * size.z));
        let q = 0.3 * r.min(size.z);
        b.tube(&frame, Vec3::default(), [q, q], 0.006, dark);
        b.tube(&frame, Vec3::default(), [0.3 * q, 0.25 * q], 0.014, knob);
    }
}

fn tool(b: &mut Builder, f: &Frame, r: f32) {
    let color = hsv(b.dice.unit(), 0.85, 0.8);
    let (grip, metal) = (b.plastic(color, 0.2), b.palette.metal);
    let q = 0.12 * r;
    b.rod(f, v3(-0.8 * r, 0.0, q), v3(-0.1 * r, 0.0, q), q, grip);
    b.rod(f, v3(-0.1 * r, 0.0, q), v3(0.85 * r, 0.0, q), 0.4 * q, metal);
    if b.dice.chance(0.5) {
        b.brick(f, v3(0.8 * r, 0.0, q), v3(0.25 * r, 0.8 * r, 2.0 * q), metal);
    }
}

fn parcel(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let tone = b.dice.range(0.75, 1.1);
    let base = [0.62 * tone, 0.47 * tone, 0.31 * tone];
    let mut side = || {
        let map = print::parcel(base, &mut b.dice);
        b.fitted(map, 0.0)
    };
    let (one, two) = (side(), side());
    let angle = b.dice.range(0.5, 1.1);
    let size =
        v3(2.0 * r * angle.cos(), 2.0 * r * angle.sin(), (r * b.dice.range(0.7, 1.7)).min(top));
    b.brick_faces(f, v3(0.0, 0.0, 0.5 * size.z), size, [one, one, two, two, one, one]);
}

/// An open box with small things heaped in it.
pub(super) fn bin(b: &mut Builder, f: &Frame, [w, d]: [f32; 2], h: f32, heap: u32) {
    let color = b.color();
    let mat = b.plastic(color, 0.3);
    let t = 0.05 * w.min(d) + 0.002;
    b.brick(f, v3(0.0, 0.0, 0.5 * t), v3(2.0 * w, 2.0 * d, t), mat);
    for s in [-1.0, 1.0] {
        b.brick(f, v3(s * (w - 0.5 * t), 0.0, 0.5 * h), v3(t, 2.0 * d, h), mat);
        b.brick(f, v3(0.0, s * (d - 0.5 * t), 0.5 * h), v3(2.0 * w - 2.0 * t, t, h), mat);
    }
    let q = (0.3 * w.min(d)).min(0.6 * h);
    for i in 0..heap {
        let layer = (i / 5) as f32;
        let at = v3(
            b.dice.range(-1.0, 1.0) * (w - t - q).max(0.0),
            b.dice.range(-1.0, 1.0) * (d - t - q).max(0.0),
            t + q * (0.6 + 0.9 * layer),
        );
        part(b, f, at, q);
    }
}

/// One small part in a heap, turned any way.
fn part(b: &mut Builder, f: &Frame, at: Vec3, q: f32) {
    let turn = Rotation::yaw(b.dice.range(0.0, TAU))
        .then_inside(&Rotation::about_x(b.dice.range(-0.7, 0.7)))
        .then_inside(&Rotation::about_y(b.dice.range(-0.7, 0.7)));
    let frame = f.turned(at, &turn);
    let mat = if b.dice.chance(0.4) { b.label() } else { b.stuff() };
    let mut side = || b.dice.range(0.35, 0.8) * q;
    let (x, y, z) = (side(), side(), side());
    let shape = match b.dice.int(0, 4) {
        0 | 1 => Shape::Brick { half: v3(x, y, z) },
        2 => Shape::Frustum { r0: x, r1: x, half_h: z, open: false },
        3 => Shape::Capsule { r: 0.5 * x, half_h: z },
        _ => Shape::Ellipsoid { radii: v3(x, y, z) },
    };
    b.put(&frame, shape, [mat; FACES]);
}
