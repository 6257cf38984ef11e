//! Printed and lit things: posters, labels, book spines, sheets, keyboards, screens. They
//! are stretched over one face each and do not repeat.

use super::{
    bitmap::Bitmap,
    builder::real_hue,
    canvas::{Canvas, Rgb, hsv, mix_rgb, scale},
    dice::{Dice, tiling_fractal},
};

/// A strong colour.
fn vivid(dice: &mut Dice) -> Rgb {
    real_hue(dice, [0.3, 0.92], [0.4, 0.95])
}

/// Black or white, whichever can be read on `ground`.
fn ink(ground: Rgb) -> Rgb {
    let bright = 0.3 * ground[0] + 0.6 * ground[1] + 0.1 * ground[2];
    if bright > 0.5 { [0.08, 0.08, 0.1] } else { [0.93, 0.92, 0.88] }
}

/// A framed picture or poster: shapes, a landscape, a page of print, a chart.
pub(super) fn poster(dice: &mut Dice) -> Bitmap {
    let ground = if dice.chance(0.4) { [0.9, 0.88, 0.82] } else { vivid(dice) };
    let mut c = Canvas::new(256, 256, ground);
    match dice.int(0, 4) {
        0 => shapes(&mut c, dice),
        1 => landscape(&mut c, dice),
        2 => {
            let color = vivid(dice);
            c.rect([0.08, 0.06, 0.92, 0.45], color);
            for _ in 0..6 {
                blob(&mut c, [0.1, 0.08, 0.9, 0.43], dice);
            }
            c.text([0.08, 0.5, 0.92, 0.62], 1, ink(ground), dice);
            c.text([0.08, 0.65, 0.92, 0.94], 7, ink(ground), dice);
        }
        3 => {
            c.text([0.1, 0.05, 0.9, 0.17], 1, ink(ground), dice);
            let n = dice.int(4, 8);
            for i in 0..n {
                let u = 0.12 + 0.76 * i as f32 / n as f32;
                let color = vivid(dice);
                c.rect([u, dice.range(0.25, 0.75), u + 0.5 / n as f32, 0.88], color);
            }
            c.rect([0.09, 0.88, 0.92, 0.9], ink(ground));
        }
        _ => {
            let n = dice.int(2, 4);
            for i in 0..n {
                for j in 0..n {
                    let (u, v) = (i as f32 / n as f32, j as f32 / n as f32);
                    let cell = [u, v, u + 1.0 / n as f32, v + 1.0 / n as f32];
                    c.rect(cell, vivid(dice));
                    blob(&mut c, cell, dice);
                }
            }
        }
    }
    if dice.chance(0.7) {
        let (frame, w) =
            (if dice.chance(0.5) { [0.1; 3] } else { vivid(dice) }, dice.range(0.02, 0.06));
        for side in [
            [0.0, 0.0, 1.0, w],
            [0.0, 1.0 - w, 1.0, 1.0],
            [0.0, 0.0, w, 1.0],
            [1.0 - w, 0.0, 1.0, 1.0],
        ] {
            c.rect(side, frame);
        }
    }
    c.mottle(16, 3, 0.06, dice.seed() as u32);
    c.finish()
}

fn shapes(c: &mut Canvas, dice: &mut Dice) {
    for _ in 0..dice.int(8, 22) {
        blob(c, [0.0, 0.0, 1.0, 1.0], dice);
    }
}

/// One shape somewhere in the rectangle.
fn blob(c: &mut Canvas, r: [f32; 4], dice: &mut Dice) {
    let at = [dice.range(r[0], r[2]), dice.range(r[1], r[3])];
    let size = 0.5 * (r[2] - r[0]).min(r[3] - r[1]);
    let mut arm = || [at[0] + dice.range(-size, size), at[1] + dice.range(-size, size)];
    let (p, q, s) = (arm(), arm(), arm());
    let color = vivid(dice);
    match dice.int(0, 4) {
        0 => {
            c.ellipse(at, [size * dice.range(0.15, 0.6), size * dice.range(0.15, 0.6)], color, None)
        }
        1 => c.ellipse(at, [size * 0.5; 2], color, Some(dice.range(0.15, 0.5))),
        2 => c.triangle([p, q, s], color),
        3 => c.line(p, q, size * dice.range(0.04, 0.2), color),
        _ => c.rect([p[0].min(q[0]), p[1].min(q[1]), p[0].max(q[0]), p[1].max(q[1])], color),
    }
}

fn landscape(c: &mut Canvas, dice: &mut Dice) {
    let seed = dice.seed() as u32;
    let hue = dice.unit();
    let (sky, low) = (hsv(hue, 0.4, 0.9), hsv(hue + 0.4, 0.35, 0.95));
    c.each(|_, v, _| mix_rgb(sky, low, v));
    c.ellipse([dice.range(0.2, 0.8), dice.range(0.15, 0.4)], [0.08, 0.08], [1.0, 0.95, 0.7], None);
    for ridge in 0..4u32 {
        let base = 0.4 + 0.15 * ridge as f32;
        let color = hsv(hue + 0.3 + 0.06 * ridge as f32, 0.5, 0.75 - 0.16 * ridge as f32);
        c.stroke([0.0, 0.0, 1.0, 1.0], color, |u, v| {
            let height = 0.35 * (tiling_fractal(u, 0.5, 3, 5, seed.wrapping_add(ridge)) - 0.5);
            (v - base - height) * 256.0
        });
    }
}

/// The wrap of a box, can or jar: brand bar, picture, small print, bar code.
pub(super) fn label(ground: Rgb, dice: &mut Dice) -> Bitmap {
    let mut c = Canvas::new(128, 128, ground);
    let accent = vivid(dice);
    let v = dice.range(0.05, 0.4);
    c.rect([0.0, v, 1.0, v + dice.range(0.15, 0.3)], accent);
    c.text([0.1, v + 0.02, 0.9, v + 0.16], 1, ink(accent), dice);
    for _ in 0..dice.int(2, 5) {
        blob(&mut c, [0.15, 0.45, 0.85, 0.9], dice);
    }
    if dice.chance(0.6) {
        c.text([0.08, 0.78, 0.55, 0.96], 4, ink(ground), dice);
        c.rect([0.62, 0.8, 0.94, 0.95], [0.95; 3]);
        let mut u = 0.64;
        while u < 0.92 {
            c.rect([u, 0.82, u + dice.range(0.004, 0.012), 0.93], [0.05; 3]);
            u += 0.02;
        }
    }
    c.mottle(8, 3, 0.08, dice.seed() as u32);
    c.finish()
}

/// A parcel: cardboard with tape and an address label.
pub(super) fn parcel(base: Rgb, dice: &mut Dice) -> Bitmap {
    let mut c = Canvas::new(128, 128, base);
    c.mottle(4, 5, 0.16, dice.seed() as u32);
    let v = dice.range(0.42, 0.52);
    c.stroke([0.0, v, 1.0, v + 0.1], scale(base, 1.25), |_, _| 0.7);
    if dice.chance(0.7) {
        let (u, v) = (dice.range(0.05, 0.5), dice.range(0.08, 0.55));
        c.rect([u, v, u + 0.38, v + 0.3], [0.92, 0.92, 0.9]);
        c.text([u + 0.03, v + 0.04, u + 0.35, v + 0.27], 5, [0.1; 3], dice);
    }
    if dice.chance(0.4) {
        c.text([0.1, 0.8, 0.7, 0.94], 1, scale(base, 0.4), dice);
    }
    c.finish()
}

/// The spine of a book, bands and title across u (read sideways).
pub(super) fn spine(ground: Rgb, dice: &mut Dice) -> Bitmap {
    let mut c = Canvas::new(32, 128, ground);
    let accent = if dice.chance(0.5) { ink(ground) } else { vivid(dice) };
    for v in [dice.range(0.04, 0.12), dice.range(0.82, 0.92)] {
        c.rect([0.0, v, 1.0, v + dice.range(0.015, 0.06)], accent);
    }
    let (mut v, end) = (dice.range(0.18, 0.28), dice.range(0.55, 0.8));
    while v < end {
        let step = dice.range(0.015, 0.035);
        c.rect([dice.range(0.2, 0.4), v, dice.range(0.55, 0.8), v + step * 0.65], ink(ground));
        v += if dice.chance(0.2) { 2.2 * step } else { step };
    }
    c.mottle(4, 4, 0.1, dice.seed() as u32);
    c.finish()
}

/// A printed sheet, an open book or a note.
pub(super) fn sheet(dice: &mut Dice) -> Bitmap {
    let ground = if dice.chance(0.8) { [0.93, 0.92, 0.89] } else { hsv(dice.unit(), 0.35, 0.95) };
    let mut c = Canvas::new(128, 128, ground);
    c.text([0.1, 0.06, 0.7, 0.13], 1, [0.12; 3], dice);
    if dice.chance(0.5) {
        let color = vivid(dice);
        c.rect([0.1, 0.18, 0.9, 0.45], color);
        blob(&mut c, [0.15, 0.2, 0.85, 0.43], dice);
        c.text([0.1, 0.5, 0.9, 0.95], 9, [0.15; 3], dice);
    } else {
        c.text([0.1, 0.18, 0.9, 0.95], 15, [0.15; 3], dice);
    }
    c.finish()
}

/// A lit screen: windows, text, a picture, a terminal.
pub(super) fn screen(dice: &mut Dice) -> Bitmap {
    let ground = hsv(dice.range(0.5, 0.75), dice.range(0.2, 0.8), dice.range(0.15, 0.7));
    let mut c = Canvas::new(256, 128, ground);
    if dice.chance(0.35) {
        landscape(&mut c, dice);
    }
    for _ in 0..dice.int(1, 4) {
        let (u, v) = (dice.range(0.0, 0.5), dice.range(0.02, 0.4));
        let (u1, v1) = (u + dice.range(0.3, 0.5), v + dice.range(0.3, 0.55));
        let dark = dice.chance(0.5);
        c.rect([u, v, u1, v1], if dark { [0.09, 0.1, 0.12] } else { [0.94; 3] });
        c.rect([u, v, u1, v + 0.05], if dark { [0.3; 3] } else { [0.7, 0.75, 0.82] });
        let letters = if dark { hsv(dice.unit(), 0.5, 0.9) } else { [0.15; 3] };
        let rows = dice.int(6, 12);
        c.text([u + 0.02, v + 0.08, u1 - 0.02, v1 - 0.02], rows, letters, dice);
        if dice.chance(0.4) {
            blob(&mut c, [u + 0.1, v + 0.15, u1, v1], dice);
        }
    }
    c.rect([0.0, 0.95, 1.0, 1.0], [0.12, 0.13, 0.16]);
    c.finish()
}

/// A screen that is off.
pub(super) fn dark_screen() -> Bitmap {
    Canvas::new(4, 4, [0.08, 0.08, 0.09]).finish()
}

/// The keys of a keyboard.
pub(super) fn keyboard(dice: &mut Dice) -> Bitmap {
    let dark = dice.chance(0.7);
    let (ground, key) = if dark { ([0.1; 3], [0.2; 3]) } else { ([0.7; 3], [0.88; 3]) };
    let mut c = Canvas::new(256, 64, ground);
    for row in 0..5 {
        let mut u = 0.01f32;
        while u < 0.96 {
            let wide = if row == 4 && (0.2..0.3).contains(&u) { 0.3 } else { 0.045 };
            let wide = wide * dice.pick([1.0, 1.0, 1.0, 1.0, 1.4]);
            let v = 0.06 + 0.18 * row as f32;
            let end = (u + wide).min(0.98);
            c.rect([u, v, end, v + 0.15], key);
            c.rect([u + 0.012, v + 0.03, u + 0.022, v + 0.09], ink(key));
            u = end + 0.008;
        }
    }
    c.finish()
}

/// Drawers, doors and panels: a bevelled rectangle or two over the surface colour.
pub(super) fn panel(base: Rgb, rows: u32, columns: u32, dice: &mut Dice) -> Bitmap {
    let mut c = Canvas::new(128, 128, base);
    c.mottle(4, 5, 0.1, dice.seed() as u32);
    let (dark, light) = (scale(base, 0.6), scale(base, 1.2));
    let inset = dice.range(0.05, 0.14);
    for i in 0..columns.max(1) {
        for j in 0..rows.max(1) {
            let (w, h) = (1.0 / columns.max(1) as f32, 1.0 / rows.max(1) as f32);
            let (u, v) = (i as f32 * w + inset * w, j as f32 * h + inset * h);
            let (u1, v1) = (u + w * (1.0 - 2.0 * inset), v + h * (1.0 - 2.0 * inset));
            let t = 0.012;
            c.rect([u, v, u1, v + t], dark);
            c.rect([u, v, u + t, v1], dark);
            c.rect([u, v1 - t, u1, v1], light);
            c.rect([u1 - t, v, u1, v1], light);
        }
    }
    c.finish()
}
