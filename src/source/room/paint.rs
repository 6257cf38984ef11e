//! Surfaces: wood, brick, tile, plaster, cloth, stone, … painted once a room with its own
//! colours. All of them repeat at their edges.

use std::f32::consts::TAU;

use super::{
    bitmap::Bitmap,
    canvas::{Canvas, Rgb, hsv, mix_rgb, scale},
    dice::{Dice, hash2, lattice_noise, tiling_fractal, unit},
};

const SIDE: usize = 256;

fn canvas(color: Rgb) -> Canvas {
    Canvas::new(SIDE, SIDE, color)
}

/// 1 ± `amount` from the dice: neighbours of a colour.
fn near(c: Rgb, amount: f32, dice: &mut Dice) -> Rgb {
    let k = 1.0 + dice.range(-amount, amount);
    [0, 1, 2].map(|i| (c[i] * k + dice.range(-0.3, 0.3) * amount * 0.3).clamp(0.0, 1.0))
}

/// Brightness noise for everything: red fine fractal, green coarse fractal, blue speckle.
pub(super) fn noise(dice: &mut Dice) -> Bitmap {
    let seed = dice.seed() as u32;
    let mut c = canvas([0.0; 3]);
    c.each(|u, v, _| {
        let fine = tiling_fractal(u, v, 12, 5, seed);
        let coarse = tiling_fractal(u, v, 4, 5, seed ^ 0x55);
        let (x, y) = ((u * SIDE as f32) as u32, (v * SIDE as f32) as u32);
        let grain = unit(hash2(hash2(seed, x / 2), y / 2));
        // Textures keep square roots of linear light: this makes the stored value the noise.
        [fine, coarse, grain].map(|n| n.powf(2.0 / 2.2))
    });
    c.finish()
}

/// Boards with grain along u; `boards` = 1 is one sheet (a table top).
pub(super) fn wood(base: Rgb, boards: u32, dice: &mut Dice) -> Bitmap {
    let seed = dice.seed() as u32;
    let rings = dice.int(2, 5) as f32;
    let warp = dice.range(0.3, 1.6);
    let strength = dice.range(0.1, 0.32);
    let dark = scale(base, dice.range(0.45, 0.7));
    let joints: Vec<f32> = (0..boards).map(|_| dice.unit()).collect();
    let tones: Vec<f32> = (0..boards * 2).map(|_| dice.range(0.82, 1.1)).collect();
    let mut c = canvas(base);
    c.each(|u, v, _| {
        let board = ((v * boards as f32) as usize).min(joints.len().saturating_sub(1));
        let joint = joints.get(board).copied().unwrap_or(0.0);
        let half = usize::from((u + 1.0 - joint).fract() > 0.5);
        let tone =
            if boards > 1 { tones.get(board * 2 + half).copied().unwrap_or(1.0) } else { 1.0 };
        let own = seed.wrapping_add((board * 2 + half) as u32 * 7919);
        let bend = tiling_fractal(u, v, 2, 3, own) - 0.5;
        let wave = (TAU * (v * rings * (boards as f32).max(1.0) + bend * warp * 3.0)).sin();
        let grain = lattice_noise(u * 6.0, v * 96.0, 0, own ^ 3) - 0.5;
        let pore = lattice_noise(u * 16.0, v * 160.0, 0, own ^ 9);
        let pore = if pore > 0.82 { 0.22 } else { 0.0 };
        let t = (0.5 + 0.5 * wave) * strength * 1.6 + grain * strength + pore * strength * 2.0;
        let mut out = scale(mix_rgb(base, dark, t.clamp(0.0, 1.0)), tone);
        if boards > 1 {
            let across = (v * boards as f32).fract();
            let along = (u + 1.0 - joint).fract();
            let along = (along - 0.5).abs().min(along.min(1.0 - along));
            if !(0.025..=0.975).contains(&across) || along < 0.004 {
                out = scale(out, 0.45);
            }
        }
        out
    });
    c.finish()
}

/// Bricks or stone blocks in running bond.
pub(super) fn brick(base: Rgb, rows: u32, dice: &mut Dice) -> Bitmap {
    let seed = dice.seed() as u32;
    let joint = near([0.7, 0.68, 0.64], 0.2, dice);
    let (rows, columns) = (rows.max(2) / 2 * 2, (rows / 2).max(2));
    let spread = dice.range(0.1, 0.35);
    let mut c = canvas(joint);
    c.each(|u, v, _| {
        let row = (v * rows as f32) as u32;
        let x = u * columns as f32 + 0.5 * (row % 2) as f32;
        let column = x as u32 % columns;
        let (fx, fy) = (x.fract(), (v * rows as f32).fract());
        let tone = 1.0 - spread + 2.0 * spread * unit(hash2(hash2(seed, row), column));
        let rough = tiling_fractal(u, v, 24, 3, seed);
        let edge = (fx.min(1.0 - fx) * 2.0).min(fy.min(1.0 - fy)) + 0.04 * (rough - 0.5);
        if edge < 0.06 {
            scale(joint, 0.75 + 0.4 * rough)
        } else {
            // Lit a little from above: the upper edge bright, the lower one dark.
            let bevel = if fy < 0.16 {
                1.12
            } else if fy > 0.86 {
                0.84
            } else {
                1.0
            };
            scale(base, tone * bevel * (0.72 + 0.56 * rough))
        }
    });
    c.finish()
}

/// Square tiles in two colours, plain or as a chessboard, with grout.
pub(super) fn tiles(a: Rgb, b: Rgb, count: u32, dice: &mut Dice) -> Bitmap {
    let seed = dice.seed() as u32;
    let count = count.max(2) / 2 * 2;
    let grout = near([0.5, 0.49, 0.47], 0.3, dice);
    let (chess, marble) = (dice.chance(0.45), dice.chance(0.5));
    let mut c = canvas(grout);
    c.each(|u, v, _| {
        let (x, y) = (u * count as f32, v * count as f32);
        let (i, j) = (x as u32, y as u32);
        let edge = x.fract().min(1.0 - x.fract()).min(y.fract()).min(1.0 - y.fract());
        if edge < 0.025 {
            return grout;
        }
        let own = hash2(hash2(seed, i), j);
        let base = if chess && (i + j) % 2 == 1 { b } else { a };
        let n = tiling_fractal(u, v, if marble { 6 } else { 20 }, 4, own);
        let vein = if marble { 1.0 - 0.25 * (1.0 - (n - 0.5).abs() * 14.0).max(0.0) } else { 1.0 };
        scale(base, (0.93 + 0.14 * unit(own)) * vein * (0.92 + 0.16 * n))
    });
    c.finish()
}

/// Painted plaster, concrete, cardboard: blotches at several scales.
pub(super) fn plaster(base: Rgb, amount: f32, dice: &mut Dice) -> Bitmap {
    let seed = dice.seed() as u32;
    let pits = dice.range(0.0, 0.35) * amount;
    let mut c = canvas(base);
    c.mottle(3, 6, amount, seed);
    c.each(|u, v, old| {
        let pit = lattice_noise(u * 64.0, v * 64.0, 64, seed ^ 77);
        if pit > 0.86 { scale(old, 1.0 - 2.0 * pits) } else { old }
    });
    c.finish()
}

/// Patterned wallpaper: stripes, dots, diamonds or a trellis.
pub(super) fn wallpaper(a: Rgb, b: Rgb, dice: &mut Dice) -> Bitmap {
    let seed = dice.seed() as u32;
    let (style, n) = (dice.int(0, 4), dice.int(3, 8) as f32);
    let thin = dice.range(0.15, 0.6);
    let mut c = canvas(a);
    c.each(|u, v, _| {
        let (x, y) = ((u * n).fract() - 0.5, (v * n).fract() - 0.5);
        let on = match style {
            0 => (x.abs() < thin * 0.5) || (x.abs() - 0.42).abs() < 0.02,
            1 => {
                let shift = if ((v * n) as u32).is_multiple_of(2) { 0.0 } else { 0.5 };
                let x = (u * n + shift).fract() - 0.5;
                x.hypot(y) < 0.12 + 0.25 * thin
            }
            2 => (x.abs() + y.abs() - 0.38).abs() < 0.04 + 0.06 * thin,
            3 => {
                let petals = (y.atan2(x) * 5.0).cos() * 0.12 + 0.22;
                x.hypot(y) < petals
            }
            _ => x.abs() < 0.05 || y.abs() < 0.05,
        };
        let old = if on { b } else { a };
        scale(old, 0.94 + 0.12 * tiling_fractal(u, v, 16, 3, seed))
    });
    c.finish()
}

/// Woven cloth, plain, striped or plaid.
pub(super) fn cloth(a: Rgb, b: Rgb, dice: &mut Dice) -> Bitmap {
    let seed = dice.seed() as u32;
    let (style, n) = (dice.int(0, 3), dice.int(2, 6) as f32);
    let threads = dice.pick([40.0, 56.0, 64.0]);
    let width = dice.range(0.2, 0.5);
    let mut c = canvas(a);
    c.each(|u, v, _| {
        let band = |t: f32| f32::from(u8::from((t * n).fract() < width));
        let t = match style {
            0 => 0.0,
            1 => band(v),
            2 => 0.5 * (band(u) + band(v)),
            _ => {
                0.35 * band(u) + 0.65 * f32::from(u8::from(tiling_fractal(u, v, 5, 3, seed) > 0.55))
            }
        };
        let weave = (u * threads * TAU).sin() * (v * threads * TAU).sin();
        let fuzz = tiling_fractal(u, v, 32, 3, seed ^ 5) - 0.5;
        scale(mix_rgb(a, b, t), 1.0 + 0.14 * weave + 0.4 * fuzz)
    });
    c.finish()
}

/// Carpet, granite, terrazzo: grains of several colours.
pub(super) fn speckle(base: Rgb, grains: u32, dice: &mut Dice) -> Bitmap {
    let seed = dice.seed() as u32;
    let spread = dice.range(0.12, 0.5);
    let tones: Vec<Rgb> = (0..5).map(|_| near(base, spread, dice)).collect();
    let chips = dice.chance(0.35);
    let cells = grains.clamp(16, 128) as f32;
    let mut c = canvas(base);
    c.each(|u, v, _| {
        let bend = if chips { 0.8 } else { 0.0 };
        let x = u * cells + bend * (lattice_noise(u * cells, v * cells, cells as i32, seed) - 0.5);
        let y = v * cells + bend * (lattice_noise(v * cells, u * cells, cells as i32, seed) - 0.5);
        let wrap = |t: f32| (t.floor() as i32).rem_euclid(cells as i32) as u32;
        let cell = hash2(hash2(seed, wrap(x)), wrap(y));
        let tone = tones.get(cell as usize % 5).copied().unwrap_or(base);
        scale(tone, 0.9 + 0.2 * tiling_fractal(u, v, 6, 4, seed ^ 8))
    });
    c.finish()
}

/// Brushed metal or plain moulded plastic: fine lines along u.
pub(super) fn brushed(base: Rgb, amount: f32, dice: &mut Dice) -> Bitmap {
    let seed = dice.seed() as u32;
    let mut c = canvas(base);
    c.each(|u, v, old| {
        let line = lattice_noise(u * 3.0, v * 128.0, 0, seed) - 0.5;
        let broad = tiling_fractal(u, v, 3, 4, seed ^ 4) - 0.5;
        scale(old, 1.0 + amount * (line + broad))
    });
    c.finish()
}

/// Veined stone.
pub(super) fn marble(base: Rgb, vein: Rgb, dice: &mut Dice) -> Bitmap {
    let seed = dice.seed() as u32;
    let mut c = canvas(base);
    c.each(|u, v, _| {
        let n = tiling_fractal(u, v, 3, 6, seed);
        let m = tiling_fractal(u, v, 5, 5, seed ^ 31);
        let thin = (1.0 - (n - 0.5).abs() * 22.0).max(0.0);
        mix_rgb(scale(base, 0.85 + 0.3 * m), vein, thin * 0.8)
    });
    c.finish()
}

/// Leaves or grass: overlapping strokes of greens.
pub(super) fn foliage(dice: &mut Dice) -> Bitmap {
    let hue = dice.range(0.22, 0.4);
    let mut c = canvas(hsv(hue, 0.6, 0.22));
    for _ in 0..160 {
        let at = [dice.unit(), dice.unit()];
        let color =
            hsv(hue + dice.range(-0.04, 0.04), dice.range(0.4, 0.8), dice.range(0.25, 0.65));
        let size = [dice.range(0.02, 0.07), dice.range(0.02, 0.1)];
        c.ellipse(at, size, color, None);
        c.line([at[0], at[1] - size[1]], [at[0], at[1] + size[1]], 0.008, scale(color, 1.3));
    }
    c.finish()
}

/// What stands outside a window: sky over a skyline or trees.
pub(super) fn outdoors(dice: &mut Dice) -> Bitmap {
    let seed = dice.seed() as u32;
    let (top, low) = (hsv(dice.range(0.55, 0.62), dice.range(0.1, 0.5), 1.0), [0.95, 0.95, 0.92]);
    let horizon = dice.range(0.45, 0.8);
    let town = dice.chance(0.5);
    let mut c = canvas(top);
    c.each(|u, v, _| {
        let cloud = (tiling_fractal(u, v, 3, 5, seed) - 0.45).max(0.0) * 2.5;
        let sky = mix_rgb(mix_rgb(top, low, v), [1.0; 3], cloud.min(1.0));
        let step = if town {
            0.28 * unit(hash2(seed, (u * 9.0) as u32)) - 0.12
        } else {
            0.3 * tiling_fractal(u, 0.3, 9, 4, seed ^ 6) - 0.15
        };
        if v < horizon + step {
            return sky;
        }
        if town {
            let pane = (u * 54.0).fract() > 0.4 && (v * 40.0).fract() > 0.5;
            let wall = 0.35 + 0.3 * unit(hash2(seed ^ 9, (u * 9.0) as u32));
            return [wall; 3].map(|c| if pane { c * 0.6 } else { c });
        }
        let leaf = tiling_fractal(u, v, 20, 4, seed ^ 12);
        [0.18 + 0.3 * leaf, 0.3 + 0.4 * leaf, 0.12 + 0.15 * leaf]
    });
    c.finish()
}
