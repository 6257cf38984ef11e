//! Things of kitchen and table: vessels, jars, boxes, fruit. Each is built about the centre
//! of its foot, within the radius it was given and no higher than `top`.

use std::f32::consts::TAU;

use super::{
    builder::{Builder, Frame},
    canvas::hsv,
    math::{Vec3, v3},
    shape::Shape,
};

pub(super) fn mug(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let h = (r * b.dice.range(1.8, 2.6)).min(top);
    let color = b.color();
    let outer = if b.dice.chance(0.3) { b.label() } else { b.plastic(color, 0.6) };
    let inner = b.palette.white;
    let slim = r * 0.82;
    let foot = slim * b.dice.range(0.8, 1.0);
    b.vessel(f, [foot, slim], h, outer, inner);
    let angle = b.dice.range(0.0, TAU);
    let out = v3(angle.cos(), angle.sin(), 0.0);
    let at = |k: f32, z: f32| out * (slim * k) + v3(0.0, 0.0, h * z);
    let t = r * 0.13;
    for (p, q) in [((0.9, 0.75), (1.5, 0.7)), ((1.5, 0.7), (1.45, 0.3)), ((1.45, 0.3), (0.9, 0.25))]
    {
        b.rod(f, at(p.0, p.1), at(q.0, q.1), t, outer);
    }
}

pub(super) fn bottle(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let h = (r * b.dice.range(4.0, 6.5)).min(top);
    let color = b.color();
    let gloss = b.dice.range(0.3, 1.2);
    let body = b.plastic(color, gloss);
    let wrap = b.label();
    let cap_color = b.color();
    let cap = b.plastic(cap_color, 0.2);
    let neck = r * b.dice.range(0.3, 0.5);
    b.tube(f, v3(0.0, 0.0, 0.0), [r, r], 0.16 * h, body);
    b.tube(f, v3(0.0, 0.0, 0.16 * h), [r, r], 0.4 * h, wrap);
    b.tube(f, v3(0.0, 0.0, 0.56 * h), [r, neck], 0.24 * h, body);
    b.tube(f, v3(0.0, 0.0, 0.8 * h), [neck, neck], 0.12 * h, body);
    b.tube(f, v3(0.0, 0.0, 0.9 * h), [neck * 1.15, neck * 1.1], 0.1 * h, cap);
}

pub(super) fn can(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let h = (r * b.dice.range(1.6, 3.8)).min(top);
    let (wrap, lid) = (b.label(), b.palette.metal);
    let shape = Shape::Frustum { r0: r, r1: r, half_h: 0.5 * h, open: false };
    let yaw = b.dice.range(0.0, TAU);
    b.put(&f.child(v3(0.0, 0.0, 0.5 * h), yaw), shape, [wrap, lid, lid, wrap, wrap, wrap]);
    b.tube(f, v3(0.0, 0.0, h), [r * 0.93, r * 0.9], 0.004, lid);
}

pub(super) fn carton(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let angle = b.dice.range(0.35, 1.2);
    let size =
        v3(2.0 * r * angle.cos(), 2.0 * r * angle.sin(), (r * b.dice.range(0.5, 3.2)).min(top));
    let (front, side) = (b.label(), b.label());
    let faces = [side, side, front, front, side, side];
    b.brick_faces(f, v3(0.0, 0.0, 0.5 * size.z), size, faces);
    if b.dice.chance(0.25) && size.z < 0.5 * top {
        let (over, yaw) = (b.label(), b.dice.range(-0.4, 0.4));
        let z = size.z;
        let size = size * b.dice.range(0.6, 0.95);
        let f = f.child(v3(0.0, 0.0, z + 0.5 * size.z), yaw);
        b.brick_faces(&f, Vec3::default(), size, [over, over, over, over, front, front]);
    }
}

pub(super) fn bowl(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let h = (r * b.dice.range(0.4, 0.9)).min(top);
    let (one, two) = (b.color(), b.color());
    let (outer, inner) = (b.plastic(one, 0.5), b.plastic(two, 0.4));
    b.vessel(f, [r * 0.55, r], h, outer, inner);
    if b.dice.chance(0.5) {
        for i in 0..b.dice.int(2, 5) {
            let color = hsv(b.dice.range(0.0, 0.35), 0.75, 0.85);
            let mat = b.plastic(color, 0.3);
            let (s, c) = (i as f32 * 2.4).sin_cos();
            let q = r * b.dice.range(0.26, 0.36);
            b.ball(f, v3(0.3 * r * c, 0.3 * r * s, q + 0.2 * h), v3(q, q, q), mat);
        }
    }
}

pub(super) fn fruit(b: &mut Builder, f: &Frame, r: f32) {
    for i in 0..b.dice.int(2, 5) {
        let color = hsv(b.dice.range(-0.02, 0.32), b.dice.range(0.6, 0.9), b.dice.range(0.6, 0.95));
        let mat = b.plastic(color, 0.3);
        let q = r * b.dice.range(0.32, 0.48);
        let (s, c) = (i as f32 * TAU / 4.0 + b.dice.range(-0.2, 0.2)).sin_cos();
        let long = b.dice.range(0.85, 1.5);
        b.ball(f, v3(0.55 * r * c, 0.55 * r * s, q), v3(q, q * long, q), mat);
    }
}

pub(super) fn jar(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let h = (r * b.dice.range(2.0, 3.4)).min(top);
    let (body, lid) = (b.label(), b.stuff());
    b.tube(f, Vec3::default(), [r, r], 0.8 * h, body);
    b.tube(f, v3(0.0, 0.0, 0.8 * h), [0.85 * r, 0.85 * r], 0.2 * h, lid);
}

pub(super) fn vase(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let h = (r * b.dice.range(2.2, 4.0)).min(0.75 * top);
    let color = b.color();
    let (body, inner) = (b.plastic(color, 0.8), b.palette.dark);
    let (foot, mouth) = (r * b.dice.range(0.45, 0.7), r * b.dice.range(0.35, 0.9));
    b.tube(f, Vec3::default(), [foot, r], 0.45 * h, body);
    b.vessel(&f.child(v3(0.0, 0.0, 0.45 * h), 0.0), [r, mouth], 0.55 * h, body, inner);
    if b.dice.chance(0.5) {
        for i in 0..4 {
            let hue = b.dice.unit();
            let flower = b.plastic(hsv(hue, 0.6, 0.9), 0.0);
            let leaf = b.leaves();
            let (s, c) = (i as f32 * 1.7).sin_cos();
            let tip = v3(r * c, r * s, (h * b.dice.range(1.15, 1.5)).min(top - 0.3 * r));
            b.rod(f, v3(0.0, 0.0, 0.7 * h), tip, 0.04 * r, leaf);
            b.ball(f, tip, v3(0.3 * r, 0.3 * r, 0.22 * r), flower);
        }
    }
}

pub(super) fn pot(b: &mut Builder, f: &Frame, r: f32, top: f32) {
    let h = (r * b.dice.range(0.8, 1.4)).min(0.85 * top);
    let color = b.color();
    let (body, inner) = (b.metal(color), b.palette.dark);
    b.vessel(f, [0.8 * r, 0.8 * r], h, body, inner);
    if b.dice.chance(0.6) {
        b.tube(f, v3(0.0, 0.0, h), [0.82 * r, 0.6 * r], 0.1 * h, body);
        b.ball(f, v3(0.0, 0.0, 1.13 * h), v3(0.12 * r, 0.12 * r, 0.08 * r), inner);
    }
    for s in [-1.0, 1.0] {
        b.brick(f, v3(s * 0.88 * r, 0.0, 0.75 * h), v3(0.2 * r, 0.4 * r, 0.06 * h), inner);
    }
}
