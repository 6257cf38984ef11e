//! What textures are painted on: a small picture that repeats at its edges, with the few
//! strokes that the painters need. Colours are as on a screen (sRGB-like), 0 to 1.

use super::{
    bitmap::Bitmap,
    dice::{Dice, tiling_fractal},
};

/// A colour as on a screen, 0 to 1.
pub(super) type Rgb = [f32; 3];

pub(super) fn mix_rgb(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t]
}

pub(super) fn scale(a: Rgb, s: f32) -> Rgb {
    a.map(|c| (c * s).clamp(0.0, 1.0))
}

/// Hue (turns), saturation and value to a colour.
pub(super) fn hsv(h: f32, s: f32, v: f32) -> Rgb {
    let channel = |offset: f32| {
        let k = (offset + h * 6.0).rem_euclid(6.0);
        v - v * s * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// Screen value to linear light.
pub(super) fn linear(c: Rgb) -> [f32; 3] {
    c.map(|c| c.max(0.0).powf(2.2))
}

/// A picture to paint on; u to the right, v down here, both 0 to 1.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
}

impl Canvas {
    pub fn new(width: usize, height: usize, color: Rgb) -> Self {
        Canvas { width, height, pixels: vec![color; width * height] }
    }

    /// Replaces each pixel by `paint(u, v, old)`.
    pub fn each(&mut self, mut paint: impl FnMut(f32, f32, Rgb) -> Rgb) {
        let (w, h) = (self.width.max(1), self.height as f32);
        for (y, row) in self.pixels.chunks_mut(w).enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = paint((x as f32 + 0.5) / w as f32, (y as f32 + 0.5) / h, *pixel);
            }
        }
    }

    /// Paints `color` where `cover(u, v)` (0 to 1) says, looking only inside the rectangle
    /// `[u0, v0, u1, v1]`; what lies outside the canvas is cut off.
    pub fn stroke(
        &mut self,
        [u0, v0, u1, v1]: [f32; 4],
        color: Rgb,
        cover: impl Fn(f32, f32) -> f32,
    ) {
        let (w, h) = (self.width as f32, self.height as f32);
        let pixel = |c: f32, side: f32| (c * side).clamp(0.0, side) as usize;
        let (x0, x1) = (pixel(u0, w), pixel(u1 + 1.0 / w, w));
        let (y0, y1) = (pixel(v0, h), pixel(v1 + 1.0 / h, h));
        for y in y0..y1 {
            for x in x0..x1 {
                let c = cover((x as f32 + 0.5) / w, (y as f32 + 0.5) / h).clamp(0.0, 1.0);
                if let Some(p) = self.pixels.get_mut(y * self.width + x) {
                    *p = mix_rgb(*p, color, c);
                }
            }
        }
    }

    pub fn rect(&mut self, r: [f32; 4], color: Rgb) {
        self.stroke(r, color, |u, v| {
            f32::from(u8::from(u >= r[0] && u <= r[2] && v >= r[1] && v <= r[3]))
        });
    }

    /// An upright ellipse; `ring`: only its rim, as a share of its radius.
    pub fn ellipse(&mut self, [u, v]: [f32; 2], [a, b]: [f32; 2], color: Rgb, ring: Option<f32>) {
        let soft = a.min(b) * self.height as f32;
        self.stroke([u - a, v - b, u + a, v + b], color, |x, y| {
            let d = (((x - u) / a).powi(2) + ((y - v) / b).powi(2)).sqrt();
            let outer = (1.0 - d) * soft + 0.5;
            match ring {
                Some(width) => outer.min((d - 1.0 + width) * soft + 0.5),
                None => outer,
            }
        });
    }

    /// A straight line of the given width.
    pub fn line(&mut self, a: [f32; 2], b: [f32; 2], width: f32, color: Rgb) {
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let length2 = (dx * dx + dy * dy).max(1e-9);
        let half = width * 0.5;
        let soft = self.width.min(self.height) as f32;
        let bounds = [
            a[0].min(b[0]) - half,
            a[1].min(b[1]) - half,
            a[0].max(b[0]) + half,
            a[1].max(b[1]) + half,
        ];
        self.stroke(bounds, color, |u, v| {
            let t = (((u - a[0]) * dx + (v - a[1]) * dy) / length2).clamp(0.0, 1.0);
            let d = (u - a[0] - t * dx).hypot(v - a[1] - t * dy);
            (half - d) * soft + 0.5
        });
    }

    /// A filled triangle.
    pub fn triangle(&mut self, p: [[f32; 2]; 3], color: Rgb) {
        let bounds = [
            p[0][0].min(p[1][0]).min(p[2][0]),
            p[0][1].min(p[1][1]).min(p[2][1]),
            p[0][0].max(p[1][0]).max(p[2][0]),
            p[0][1].max(p[1][1]).max(p[2][1]),
        ];
        let edge = |a: [f32; 2], b: [f32; 2], u: f32, v: f32| {
            (b[0] - a[0]) * (v - a[1]) - (b[1] - a[1]) * (u - a[0])
        };
        self.stroke(bounds, color, |u, v| {
            let e = [edge(p[0], p[1], u, v), edge(p[1], p[2], u, v), edge(p[2], p[0], u, v)];
            let same = e.iter().all(|&e| e >= 0.0) || e.iter().all(|&e| e <= 0.0);
            f32::from(u8::from(same))
        });
    }

    /// Lines of print in the rectangle: rows of small dark blocks of word lengths.
    pub fn text(&mut self, r: [f32; 4], rows: u32, color: Rgb, dice: &mut Dice) {
        let rows = rows.max(1);
        let pitch = (r[3] - r[1]) / rows as f32;
        let em = pitch * self.height as f32 / self.width as f32 * 0.5;
        for row in 0..rows {
            let v = r[1] + pitch * row as f32;
            let end = if dice.chance(0.25) { dice.range(0.4, 0.9) } else { 1.0 };
            let end = r[0] + (r[2] - r[0]) * end;
            let mut u = r[0];
            while u < end {
                for _ in 0..dice.int(2, 8) {
                    // A letter: an upright, often a bar, now and then above the line.
                    let tall = if dice.chance(0.3) { 0.12 } else { 0.32 };
                    let wide = em * dice.range(0.45, 0.85);
                    if u + wide < end {
                        let ink = dice.range(0.55, 1.0);
                        let (top, low) = (v + pitch * tall, v + pitch * 0.78);
                        self.stroke([u, top, u + wide * 0.45, low], color, |_, _| ink);
                        let bar = v + pitch * dice.range(0.35, 0.7);
                        self.stroke([u, bar, u + wide, bar + pitch * 0.12], color, |_, _| ink);
                    }
                    u += em;
                }
                u += em * 0.9;
            }
        }
    }

    /// Multiplies by fractal noise of `cells` cells a side: 1 ± `amount`.
    pub fn mottle(&mut self, cells: i32, octaves: u32, amount: f32, seed: u32) {
        self.each(|u, v, c| {
            let n = tiling_fractal(u, v, cells, octaves, seed) - 0.5;
            scale(c, 1.0 + 2.0 * amount * n)
        });
    }

    /// The finished texture.
    pub fn finish(self) -> Bitmap {
        let rows: Vec<[f32; 3]> = self.pixels.iter().map(|&c| linear(c)).collect();
        Bitmap::new(self.width, self.height, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_hues_are_pure() {
        assert_eq!(hsv(0.0, 1.0, 1.0), [1.0, 0.0, 0.0]);
        let green = hsv(1.0 / 3.0, 1.0, 1.0);
        assert!(green[1] == 1.0 && green[0] < 1e-5 && green[2] < 1e-5);
        assert_eq!(hsv(0.3, 0.0, 0.5), [0.5; 3]);
    }

    #[test]
    fn strokes_outside_the_canvas_are_cut_off() {
        let mut canvas = Canvas::new(16, 16, [0.0; 3]);
        canvas.rect([-3.0, -3.0, 5.0, 5.0], [1.0; 3]);
        canvas.ellipse([2.0, 2.0], [0.5, 0.5], [0.0; 3], None);
        canvas.line([-1.0, 0.5], [2.0, 0.5], 0.1, [0.5; 3]);
        let map = canvas.finish();
        assert!(map.sample(0.5, 0.5, 1e6)[0] > 0.8);
    }
}
