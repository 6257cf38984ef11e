//! Furniture: each piece stands on its frame's floor, x along its width, its back at y = 0
//! and its front toward +y, unless it says that it is centred.

use std::f32::consts::{PI, TAU};

use super::{
    builder::{Builder, Frame, Mat},
    math::{Rotation, Vec3, v3},
    objects::{Thing, book_row, plant},
    print,
    shape::{FACES, Shape},
};

/// Strews things over a surface without letting their feet meet. `f` is the surface's
/// centre; `taken` holds circles that are occupied (x, y, radius) and grows.
pub(super) fn strew(
    b: &mut Builder,
    f: &Frame,
    [hx, hy]: [f32; 2],
    things: &[Thing],
    count: u32,
    top: f32,
    taken: &mut Vec<[f32; 3]>,
) {
    for _ in 0..count {
        let n = things.len().saturating_sub(1) as u32;
        let Some(&thing) = things.get(b.dice.int(0, n) as usize) else { return };
        let r = thing.radius_m(b).min(0.9 * hx.min(hy));
        let slack = 0.9 + 0.2 * b.dice.unit();
        for _ in 0..40 {
            let (x, y) = (b.dice.range(-1.0, 1.0) * (hx - r), b.dice.range(-1.0, 1.0) * (hy - r));
            let free = taken.iter().all(|t| (t[0] - x).hypot(t[1] - y) > t[2] + slack * r);
            if free {
                taken.push([x, y, r]);
                let yaw = b.dice.range(0.0, TAU);
                thing.build(b, &f.child(v3(x, y, 0.0), yaw), r, top);
                break;
            }
        }
    }
    b.sights.push(f.point(v3(0.0, 0.0, 0.08)));
}

/// A table centred on its frame; returns the frame of its top.
pub(super) fn table(b: &mut Builder, f: &Frame, [w, d]: [f32; 2], h: f32) -> Frame {
    let top = b.wood();
    let legs = if b.dice.chance(0.5) { b.palette.metal } else { top };
    let t = b.dice.range(0.02, 0.045);
    b.brick(f, v3(0.0, 0.0, h - 0.5 * t), v3(w, d, t), top);
    let (x, y) = (0.5 * w - 0.05, 0.5 * d - 0.05);
    let leg = h - t;
    match b.dice.int(0, 3) {
        0 => {
            for s in [-1.0, 1.0] {
                b.brick(f, v3(s * x, 0.0, 0.5 * leg), v3(0.03, d - 0.06, leg), top);
            }
            b.brick(f, v3(0.0, -0.6 * y, 0.7 * leg), v3(2.0 * x, 0.02, 0.4 * leg), top);
        }
        1 => {
            for (sx, sy) in [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)] {
                b.tube(f, v3(sx * x, sy * y, 0.0), [0.018, 0.026], leg, legs);
            }
        }
        _ => {
            for (sx, sy) in [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)] {
                b.brick(f, v3(sx * x, sy * y, 0.5 * leg), v3(0.05, 0.05, leg), legs);
            }
            for sy in [-1.0, 1.0] {
                b.brick(f, v3(0.0, sy * y, leg - 0.05), v3(2.0 * x, 0.02, 0.08), legs);
            }
        }
    }
    f.child(v3(0.0, 0.0, h), 0.0)
}

/// A desk against the wall with screens, papers and the usual clutter.
pub(super) fn desk(b: &mut Builder, f: &Frame, w: f32, d: f32) {
    let h = b.dice.range(0.7, 0.78);
    let top = table(b, &f.child(v3(0.0, 0.5 * d + 0.02, 0.0), 0.0), [w, d], h);
    if b.dice.chance(0.6) {
        let side = b.dice.sign() * (0.5 * w - 0.28);
        drawers(b, &f.child(v3(side, 0.06, 0.0), 0.0), [0.4, d - 0.12, h - 0.08], 3, 1);
    }
    let mut taken = Vec::new();
    let screens = if w > 1.5 { b.dice.int(1, 2) } else { 1 };
    let x0 = b.dice.range(-0.2, 0.2) * w;
    for i in 0..screens {
        let x = x0 + (i as f32 - 0.5 * (screens - 1) as f32) * 0.62;
        let yaw = b.dice.range(-0.2, 0.2) - 0.25 * (x - x0) / 0.6;
        let y = -0.22 * d;
        monitor(b, &top.child(v3(x, y, 0.0), yaw));
        taken.extend([[x, y, 0.13], [x - 0.17, y, 0.1], [x + 0.17, y, 0.1]]);
    }
    let y = 0.22 * d;
    let yaw = PI + b.dice.range(-0.15, 0.15);
    keyboard(b, &top.child(v3(x0, y, 0.0), yaw));
    taken.extend([[x0 - 0.13, y, 0.11], [x0 + 0.13, y, 0.11], [x0 + 0.3, y, 0.05]]);
    if b.dice.chance(0.45) {
        let x = -x0.signum() * 0.3 * w;
        let yaw = b.dice.range(-0.5, 0.5);
        laptop(b, &top.child(v3(x, 0.1 * d, 0.0), yaw));
        taken.push([x, 0.1 * d, 0.2]);
    }
    if b.dice.chance(0.6) {
        let x = b.dice.sign() * (0.5 * w - 0.14);
        if taken.iter().all(|t| (t[0] - x).hypot(t[1] + 0.3 * d) > t[2] + 0.1) {
            Thing::Lamp.build(b, &top.child(v3(x, -0.3 * d, 0.0), 0.0), 0.1, 0.6);
            taken.push([x, -0.3 * d, 0.1]);
        }
    }
    let count = b.dice.int(9, 20);
    strew(b, &top, [0.5 * w - 0.02, 0.5 * d - 0.02], &Thing::DESK, count, 0.5, &mut taken);
}

fn monitor(b: &mut Builder, f: &Frame) {
    let (w, lift) = (b.dice.range(0.44, 0.62), b.dice.range(0.08, 0.16));
    let h = w * 0.58;
    let dark = b.palette.dark;
    let body = if b.dice.chance(0.7) { dark } else { b.palette.metal };
    let map = print::screen(&mut b.dice);
    let glow = b.dice.range(0.3, 0.9);
    // Half of them are off: what is black and large is not always far.
    let screen =
        if glow > 0.6 { b.lit(map, glow, 0.35) } else { b.lit(print::dark_screen(), 0.0, 0.35) };
    b.brick(f, v3(0.0, 0.0, 0.008), v3(0.24, 0.18, 0.016), body);
    b.brick(f, v3(0.0, -0.03, 0.5 * lift + 0.05), v3(0.05, 0.03, lift + 0.1), body);
    let z = lift + 0.5 * h;
    b.brick(f, v3(0.0, 0.0, z), v3(w, 0.03, h), body);
    let face = [dark, dark, screen, dark, dark, dark];
    b.brick_faces(f, v3(0.0, 0.016, z), v3(w - 0.03, 0.004, h - 0.03), face);
}

fn keyboard(b: &mut Builder, f: &Frame) {
    let map = print::keyboard(&mut b.dice);
    let (keys, body) = (b.fitted(map, 0.1), b.palette.dark);
    let faces = [body, body, body, body, keys, body];
    b.brick_faces(f, v3(0.0, 0.0, 0.01), v3(0.43, 0.14, 0.02), faces);
    let mouse = b.stuff();
    let y = b.dice.range(-0.03, 0.03);
    b.ball(f, v3(-0.3, y, 0.012), v3(0.032, 0.052, 0.02), mouse);
}

fn laptop(b: &mut Builder, f: &Frame) {
    let map = print::screen(&mut b.dice);
    let (screen, keys) = (b.lit(map, 0.5, 0.3), print::keyboard(&mut b.dice));
    let (keys, body) = (b.fitted(keys, 0.1), b.palette.metal);
    let base = f.child(v3(0.0, 0.0, 0.009), PI);
    b.brick_faces(
        &base,
        Vec3::default(),
        v3(0.32, 0.22, 0.018),
        [body, body, body, body, keys, body],
    );
    let lid = f.turned(v3(0.0, -0.11, 0.018), &Rotation::about_x(b.dice.range(0.1, 0.4)));
    b.brick_faces(
        &lid,
        v3(0.0, 0.0, 0.105),
        v3(0.32, 0.01, 0.21),
        [body, body, screen, body, body, body],
    );
}

/// A cabinet of `rows` x `columns` drawers or doors, size x, y, z.
pub(super) fn drawers(b: &mut Builder, f: &Frame, size: [f32; 3], rows: u32, columns: u32) {
    let [w, d, h] = size;
    let (body, metal) = (b.wood(), b.palette.metal);
    let color = b.color();
    let front = if b.dice.chance(0.5) { body } else { b.plastic(color, 0.2) };
    b.brick(f, v3(0.0, 0.5 * d - 0.01, 0.5 * h), v3(w, d - 0.02, h), body);
    let (cw, ch) = (w / columns as f32, h / rows as f32);
    for i in 0..columns {
        for j in 0..rows {
            let (x, z) = ((i as f32 + 0.5) * cw - 0.5 * w, (j as f32 + 0.5) * ch);
            b.brick(f, v3(x, d - 0.01, z), v3(cw - 0.012, 0.022, ch - 0.012), front);
            let (hw, hh): (f32, f32) = if ch > cw { (0.012, 0.12) } else { (0.12, 0.012) };
            let dx = if ch > cw { 0.35 * cw } else { 0.0 };
            b.brick(f, v3(x + dx, d + 0.012, z + 0.1 * ch), v3(hw.min(0.5 * cw), 0.02, hh), metal);
        }
    }
}

/// How a shelf is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stock {
    Books,
    House,
    Work,
}

/// Shelves of size `w`, `d`, `h` with things on every board.
pub(super) fn shelves(b: &mut Builder, f: &Frame, [w, d, h]: [f32; 3], boards: u32, stock: Stock) {
    let t = 0.02;
    let body = if stock == Stock::Work { b.palette.metal } else { b.wood() };
    let back = if b.dice.chance(0.5) { body } else { b.wood() };
    if stock == Stock::Work {
        for (sx, y) in [(-1.0, t), (-1.0, d - t), (1.0, t), (1.0, d - t)] {
            b.brick(f, v3(sx * (0.5 * w - 0.5 * t), y, 0.5 * h), v3(0.035, 0.035, h), body);
        }
    } else {
        for sx in [-1.0, 1.0] {
            b.brick(f, v3(sx * (0.5 * w - 0.5 * t), 0.5 * d, 0.5 * h), v3(t, d, h), body);
        }
        b.brick(f, v3(0.0, 0.006, 0.5 * h), v3(w - 2.0 * t, 0.01, h), back);
    }
    let pitch = (h - t) / boards as f32;
    let split = stock != Stock::Work && w > 1.1;
    for i in 0..=boards {
        let z = 0.5 * t + pitch * i as f32;
        b.brick(f, v3(0.0, 0.5 * d, z), v3(w - 2.0 * t, d - 0.01, t), body);
        if i == boards && h > 1.7 {
            break;
        }
        let room = if i == boards { 0.35 } else { pitch - t - 0.02 };
        let bays: &[[f32; 2]] = if split { &[[-0.5, -0.01], [0.01, 0.5]] } else { &[[-0.5, 0.5]] };
        for bay in bays {
            let (x0, x1) = (bay[0] * w + 0.03, bay[1] * w - 0.03);
            fill(b, &f.child(v3(0.0, 0.0, z + 0.5 * t), 0.0), [x0, x1], d, room, stock);
        }
        if split && i < boards {
            b.brick(f, v3(0.0, 0.5 * d, z + 0.5 * pitch), v3(t, d - 0.02, pitch - t), body);
        }
    }
}

/// Fills a board from `x0` to `x1` with runs of books, things and gaps.
fn fill(b: &mut Builder, f: &Frame, [x0, x1]: [f32; 2], d: f32, room: f32, stock: Stock) {
    let mut x = x0;
    let books = match stock {
        Stock::Books => 0.75,
        Stock::House => 0.25,
        Stock::Work => 0.0,
    };
    while x < x1 - 0.08 {
        if b.dice.chance(books) {
            let end = (x + b.dice.range(0.15, 0.6)).min(x1);
            book_row(b, f, [x, end], 0.88 * d, 0.85 * d, room);
            x = end + 0.01;
        } else if b.dice.chance(0.12) {
            x += b.dice.range(0.05, 0.2);
        } else {
            let thing = if stock == Stock::Work {
                b.dice.pick(Thing::WORK)
            } else {
                b.dice.pick(Thing::HOUSE)
            };
            let r = thing.radius_m(b).min(0.46 * d).min(0.5 * (x1 - x));
            let front = (d - 2.0 * r - 0.02).max(0.0);
            let y = r + front * b.dice.range(0.4, 1.0);
            let yaw = b.dice.range(-0.3, 0.3);
            thing.build(b, &f.child(v3(x + r, y, 0.0), yaw), r, room);
            x += 2.0 * r + b.dice.range(0.005, 0.05);
        }
    }
    b.sights.push(f.point(v3(0.5 * (x0 + x1), d, 0.4 * room)));
}

/// A chair centred on its frame, looking toward +y.
pub(super) fn chair(b: &mut Builder, f: &Frame) {
    let color = b.color();
    let frame = b.wood();
    let seat = if b.dice.chance(0.5) { frame } else { b.fabric(color) };
    let (w, h) = (b.dice.range(0.38, 0.46), b.dice.range(0.43, 0.48));
    let back = b.dice.range(0.36, 0.55);
    b.brick(f, v3(0.0, 0.0, h), v3(w, w, 0.045), seat);
    let x = 0.5 * w - 0.025;
    for (sx, sy) in [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)] {
        let tall = if sy < 0.0 { h + back } else { h };
        b.brick(f, v3(sx * x, sy * x, 0.5 * tall), v3(0.035, 0.035, tall), frame);
    }
    match b.dice.int(0, 2) {
        0 => b.brick(f, v3(0.0, -x, h + 0.6 * back), v3(w - 0.06, 0.02, 0.55 * back), seat),
        1 => {
            for k in 0..3 {
                let z = h + back * (0.3 + 0.3 * k as f32);
                b.brick(f, v3(0.0, -x, z), v3(w - 0.06, 0.018, 0.12 * back), frame);
            }
        }
        _ => {
            for k in -1..=1 {
                let at = v3(0.26 * w * k as f32, -x, h + 0.5 * back);
                b.brick(f, at, v3(0.03, 0.018, back), frame);
            }
            b.brick(f, v3(0.0, -x, h + 0.93 * back), v3(w - 0.05, 0.025, 0.14 * back), frame);
        }
    }
}

/// A swivel chair centred on its frame, looking toward +y.
pub(super) fn office_chair(b: &mut Builder, f: &Frame) {
    let color = b.color();
    let (cloth, metal, dark) = (b.fabric(color), b.palette.metal, b.palette.dark);
    for k in 0..5 {
        let (s, c) = (k as f32 * TAU / 5.0).sin_cos();
        let foot = v3(0.28 * c, 0.28 * s, 0.05);
        b.rod(f, v3(0.0, 0.0, 0.09), foot, 0.016, metal);
        b.ball(f, foot - v3(0.0, 0.0, 0.02), v3(0.03, 0.03, 0.03), dark);
    }
    b.tube(f, v3(0.0, 0.0, 0.08), [0.03, 0.022], 0.34, metal);
    b.ball(f, v3(0.0, 0.0, 0.46), v3(0.26, 0.25, 0.055), cloth);
    b.brick(f, v3(0.0, -0.25, 0.58), v3(0.06, 0.03, 0.3), dark);
    b.ball(f, v3(0.0, -0.22, 0.82), v3(0.22, 0.06, 0.3), cloth);
    if b.dice.chance(0.6) {
        for s in [-1.0, 1.0] {
            b.brick(f, v3(s * 0.28, -0.02, 0.66), v3(0.05, 0.24, 0.03), dark);
            b.brick(f, v3(s * 0.28, -0.02, 0.56), v3(0.02, 0.03, 0.2), metal);
        }
    }
}

/// A couch `w` wide.
pub(super) fn sofa(b: &mut Builder, f: &Frame, w: f32) {
    let color = b.color();
    let (cloth, d) = (b.fabric(color), 0.85);
    b.brick(f, v3(0.0, 0.5 * d, 0.12), v3(w - 0.1, d - 0.06, 0.2), cloth);
    b.brick(f, v3(0.0, 0.13, 0.5), v3(w - 0.1, 0.24, 0.65), cloth);
    for s in [-1.0, 1.0] {
        b.brick(f, v3(s * (0.5 * w - 0.09), 0.5 * d, 0.33), v3(0.18, d, 0.6), cloth);
    }
    let n = if w > 1.6 { 3 } else { 2 };
    let cw = (w - 0.4) / n as f32;
    for i in 0..n {
        let x = (i as f32 - 0.5 * (n - 1) as f32) * cw;
        b.ball(f, v3(x, 0.55, 0.27), v3(0.56 * cw, 0.38, 0.16), cloth);
        if b.dice.chance(0.7) {
            let color = b.color();
            let pillow = b.fabric(color);
            let tilt = Rotation::about_x(-1.2).then_inside(&Rotation::yaw(b.dice.range(-0.5, 0.5)));
            let frame = f.turned(v3(x + b.dice.range(-0.1, 0.1), 0.36, 0.56), &tilt);
            let shape = Shape::Ellipsoid { radii: v3(0.2, 0.2, 0.075) };
            b.put(&frame, shape, [pillow; FACES]);
        }
    }
    b.sights.push(f.point(v3(0.0, 0.5, 0.5)));
}

/// A kitchen counter with cupboards below and above.
pub(super) fn kitchen(b: &mut Builder, f: &Frame, w: f32) {
    let columns = (w / 0.55).round().max(1.0) as u32;
    drawers(b, f, [w, 0.58, 0.86], 1, columns);
    let stone = [b.dice.range(0.3, 0.85); 3];
    let map = super::paint::speckle(stone, 110, &mut b.dice);
    let stone = b.tiled(map, 0.5, [0.2, 0.05], 0.5);
    b.brick(f, v3(0.0, 0.3, 0.88), v3(w + 0.02, 0.62, 0.035), stone);
    let top = f.child(v3(0.0, 0.3, 0.898), 0.0);
    let mut taken = vec![[0.25 * w, 0.0, 0.24]];
    let (metal, dark) = (b.palette.metal, b.palette.dark);
    b.brick(&top, v3(0.25 * w, 0.0, 0.002), v3(0.46, 0.4, 0.004), dark);
    b.rod(&top, v3(0.25 * w, -0.22, 0.0), v3(0.25 * w, -0.22, 0.26), 0.014, metal);
    b.rod(&top, v3(0.25 * w, -0.22, 0.26), v3(0.25 * w, -0.06, 0.24), 0.012, metal);
    let count = b.dice.int(5, 10);
    strew(b, &top, [0.5 * w - 0.03, 0.27], &Thing::HOUSE, count, 0.4, &mut taken);
    if b.dice.chance(0.7) {
        drawers(b, &f.child(v3(0.0, 0.0, 1.42), 0.0), [w, 0.34, 0.62], 1, columns);
    }
}

/// A tall fridge or locker.
pub(super) fn locker(b: &mut Builder, f: &Frame, [w, d, h]: [f32; 3]) {
    let color = b.color();
    let (body, metal) = (b.plastic(color, 0.4), b.palette.metal);
    b.brick(f, v3(0.0, 0.5 * d - 0.02, 0.5 * h), v3(w, d - 0.04, h), body);
    let cut = b.dice.range(0.35, 0.7) * h;
    for (z0, z1) in [(0.03, cut - 0.01), (cut, h - 0.005)] {
        b.brick(f, v3(0.0, d - 0.015, 0.5 * (z0 + z1)), v3(w - 0.01, 0.05, z1 - z0), body);
        let at = v3(-0.4 * w, d + 0.03, 0.5 * (z0 + z1));
        b.rod(f, at - v3(0.0, 0.0, 0.15), at + v3(0.0, 0.0, 0.15), 0.012, metal);
    }
    for _ in 0..b.dice.int(0, 4) {
        let map = print::sheet(&mut b.dice);
        let (note, white) = (b.fitted(map, 0.0), b.palette.white);
        let at = v3(b.dice.range(-0.3, 0.3) * w, d + 0.01, b.dice.range(0.5, 0.9) * h);
        b.plate(f, at, [0.15, 0.2], 0.003, note, white);
    }
}

/// A standing lamp, centred.
pub(super) fn floor_lamp(b: &mut Builder, f: &Frame) {
    let color = b.color();
    let (metal, shade, inner) = (b.palette.metal, b.fabric(color), b.palette.white);
    b.tube(f, Vec3::default(), [0.15, 0.14], 0.025, metal);
    b.rod(f, v3(0.0, 0.0, 0.02), v3(0.0, 0.0, 1.45), 0.014, metal);
    b.vessel(&f.child(v3(0.0, 0.0, 1.35), 0.0), [0.2, 0.13], 0.28, shade, inner);
}

/// A big potted plant, centred.
pub(super) fn floor_plant(b: &mut Builder, f: &Frame) {
    let (r, top) = (b.dice.range(0.2, 0.3), b.dice.range(0.8, 1.5));
    plant(b, f, r, top);
}

/// A heap of parcels, centred.
pub(super) fn parcels(b: &mut Builder, f: &Frame) {
    let mut z = 0.0;
    for _ in 0..b.dice.int(1, 4) {
        let r = b.dice.range(0.17, 0.3);
        let before = b.solids.len();
        let frame = f.child(
            v3(b.dice.range(-0.05, 0.05), b.dice.range(-0.05, 0.05), z),
            b.dice.range(-0.4, 0.4),
        );
        Thing::Parcel.build(b, &frame, r, 0.6);
        let height = b.solids.get(before).map_or(0.3, |s| 2.0 * s.shape.half_extent().z);
        z += height;
    }
    b.sights.push(f.point(v3(0.0, 0.0, 0.4)));
}

/// A slatted or boxy thing under a window: a radiator.
pub(super) fn radiator(b: &mut Builder, f: &Frame, w: f32) {
    let white: Mat = b.palette.white;
    let n = (w / 0.09) as u32;
    for i in 0..n {
        let x = (i as f32 - 0.5 * (n.saturating_sub(1)) as f32) * 0.09;
        b.brick(f, v3(x, 0.08, 0.4), v3(0.065, 0.09, 0.56), white);
    }
    b.brick(f, v3(0.0, 0.06, 0.4), v3(w, 0.03, 0.5), white);
}
