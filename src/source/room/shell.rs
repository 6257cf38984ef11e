//! The room itself: walls, floor and ceiling, doors, windows, pictures, lamps; and the
//! book-keeping of what floor and wall are still free.

use std::f32::consts::{FRAC_PI_2, TAU};

use super::{
    builder::{Builder, Frame, Mat},
    canvas::{Rgb, hsv},
    math::{Rotation, Vec3, v3},
    paint, print,
    scene::{Lamp, Lay, Material, Solid},
    shape::{FACES, Shape},
};

/// A room with its free places. The floor's centre is the origin.
pub(super) struct Hall {
    /// Width (x), depth (y) and height (z), metres.
    pub size: Vec3,
    pub shell: Solid,
    /// Floor rectangles in use: x0, y0, x1, y1.
    floor: Vec<[f32; 4]>,
    /// Wall rectangles in use: wall, along0, z0, along1, z1.
    walls: Vec<(usize, [f32; 4])>,
}

impl Hall {
    /// A shell of the given size with its own surfaces.
    pub fn new(b: &mut Builder, size: Vec3) -> Self {
        let ground = floor(b);
        let roof = {
            let tone = b.dice.range(0.78, 0.95);
            let map = if b.dice.chance(0.3) {
                paint::tiles([tone; 3], [tone * 0.96; 3], 2, &mut b.dice)
            } else {
                paint::plaster([tone, tone, tone * 0.98], 0.05, &mut b.dice)
            };
            b.tiled(map, 1.2, [0.05, 0.08], 0.0)
        };
        let base = wall_color(b);
        let common = wall(b, base);
        let mut sides = [common; 4];
        for side in &mut sides {
            if b.dice.chance(0.4) {
                let color = if b.dice.chance(0.5) { base } else { wall_color(b) };
                *side = wall(b, color);
            }
        }
        // Faces +x, -x, +y, -y; the walls count from y = -d/2 counter-clockwise.
        let faces = [sides[1], sides[3], sides[2], sides[0], roof, ground];
        let at = v3(0.0, 0.0, 0.5 * size.z);
        let shape = Shape::Inside { half: size * 0.5 };
        let shift = [b.dice.range(0.0, 3.0), b.dice.range(0.0, 3.0)];
        let shell = Solid { shape, turn: Rotation::IDENTITY, at, faces, shift };
        Hall { size, shell, floor: Vec::new(), walls: Vec::new() }
    }

    /// How long a wall is, 0 to 3.
    pub fn length(&self, wall: usize) -> f32 {
        if wall.is_multiple_of(2) { self.size.x } else { self.size.y }
    }

    /// A wall's frame: the middle of its foot, x along it, y into the room.
    pub fn wall(&self, wall: usize) -> Frame {
        let (x, y) = (0.5 * self.size.x, 0.5 * self.size.y);
        let at = match wall % 4 {
            0 => v3(0.0, -y, 0.0),
            1 => v3(x, 0.0, 0.0),
            2 => v3(0.0, y, 0.0),
            _ => v3(-x, 0.0, 0.0),
        };
        Frame::new(at, FRAC_PI_2 * (wall % 4) as f32)
    }

    /// Takes the floor under a rectangle of a frame, if all of it is free and inside.
    pub fn take(&mut self, f: &Frame, [x0, y0, x1, y1]: [f32; 4]) -> bool {
        let corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)].map(|(x, y)| f.point(v3(x, y, 0.0)));
        let low = corners.iter().fold(v3(1e9, 1e9, 0.0), |m, &c| m.min(c));
        let high = corners.iter().fold(v3(-1e9, -1e9, 0.0), |m, &c| m.max(c));
        let (hx, hy) = (0.5 * self.size.x + 1e-3, 0.5 * self.size.y + 1e-3);
        let inside = low.x >= -hx && low.y >= -hy && high.x <= hx && high.y <= hy;
        let own = [low.x, low.y, high.x, high.y];
        let free = self.floor.iter().all(|o| !overlap(o, &own));
        if inside && free {
            self.floor.push(own);
        }
        inside && free
    }

    /// A free place against a wall for something `w` wide, `d` deep and `h` high, with
    /// `front` metres kept free before it.
    pub fn along(
        &mut self,
        b: &mut Builder,
        wall: usize,
        [w, d, h]: [f32; 3],
        front: f32,
    ) -> Option<Frame> {
        let length = self.length(wall);
        for _ in 0..16 {
            let reach = 0.5 * (length - w) - 0.02;
            if reach < 0.0 {
                return None;
            }
            let x = b.dice.range(-reach, reach);
            if let Some(f) = self.at_wall(wall, x, [w, d, h], front) {
                return Some(f);
            }
        }
        None
    }

    /// The place against a wall at `x` along it, if it is free.
    pub fn at_wall(
        &mut self,
        wall: usize,
        x: f32,
        [w, d, h]: [f32; 3],
        front: f32,
    ) -> Option<Frame> {
        let f = self.wall(wall).child(v3(x, 0.02, 0.0), 0.0);
        let (half, own) = (0.5 * w, [x - 0.5 * w, 0.0, x + 0.5 * w, h]);
        let clear = self.walls.iter().all(|(o, r)| *o != wall || !overlap(r, &own));
        if clear && self.take(&f, [-half, 0.0, half, d + front]) {
            self.walls.push((wall, own));
            return Some(f);
        }
        None
    }

    /// A free place on a wall for something hung up, its centre as frame.
    pub fn hang(
        &mut self,
        b: &mut Builder,
        wall: usize,
        [w, h]: [f32; 2],
        z: [f32; 2],
    ) -> Option<Frame> {
        for _ in 0..16 {
            let reach = 0.5 * (self.length(wall) - w) - 0.05;
            let z = b.dice.range(z[0], z[1]);
            if reach < 0.0 || z + 0.5 * h > self.size.z - 0.03 {
                return None;
            }
            let x = b.dice.range(-reach, reach);
            let own =
                [x - 0.5 * w - 0.03, z - 0.5 * h - 0.03, x + 0.5 * w + 0.03, z + 0.5 * h + 0.03];
            if self.walls.iter().all(|(o, r)| *o != wall || !overlap(r, &own)) {
                self.walls.push((wall, own));
                return Some(self.wall(wall).child(v3(x, 0.0, z), 0.0));
            }
        }
        None
    }

    /// Skirting, and now and then a rail or beams.
    pub fn trim(&self, b: &mut Builder) {
        let mat = if b.dice.chance(0.5) { b.palette.white } else { b.wood() };
        let h = b.dice.range(0.05, 0.14);
        let rail = b.dice.chance(0.2).then(|| b.dice.range(0.85, 1.1));
        for wall in 0..4 {
            let (f, length) = (self.wall(wall), self.length(wall));
            b.brick(&f, v3(0.0, 0.006, 0.5 * h), v3(length, 0.012, h), mat);
            if let Some(z) = rail {
                b.brick(&f, v3(0.0, 0.008, z), v3(length, 0.016, 0.06), mat);
            }
        }
        if b.dice.chance(0.2) {
            let wood = b.wood();
            let n = (self.size.x / 1.1) as i32;
            for i in 0..n {
                let x = (i as f32 - 0.5 * (n - 1) as f32) * 1.1;
                let at = v3(x, 0.0, self.size.z - 0.07);
                b.brick(&Frame::new(at, 0.0), Vec3::default(), v3(0.12, self.size.y, 0.14), wood);
            }
        }
    }

    /// A window that lights the room.
    pub fn window(&mut self, b: &mut Builder, wall: usize) {
        let (w, h) = (b.dice.range(0.9, 1.8), b.dice.range(0.9, 1.3));
        let Some(f) = self.hang(b, wall, [w, h], [1.35, 1.65]) else { return };
        let map = paint::outdoors(&mut b.dice);
        let glow = b.dice.range(1.6, 3.2);
        let (view, rim) = (b.lit(map, glow, 0.9), b.palette.white);
        b.plate(&f, Vec3::default(), [w, h], 0.008, view, rim);
        let t = 0.05;
        for s in [-1.0, 1.0] {
            b.brick(&f, v3(s * (0.5 * w - 0.5 * t), 0.03, 0.0), v3(t, 0.06, h), rim);
            b.brick(&f, v3(0.0, 0.03, s * (0.5 * h - 0.5 * t)), v3(w, 0.06, t), rim);
        }
        b.brick(&f, v3(0.0, 0.025, 0.0), v3(0.04, 0.05, h), rim);
        b.brick(&f, v3(0.0, 0.08, -0.5 * h - 0.015), v3(w + 0.1, 0.16, 0.03), rim);
        if b.dice.chance(0.45) {
            let color = b.color();
            let cloth = b.fabric(color);
            for s in [-1.0, 1.0] {
                for k in 0..4 {
                    let x = s * (0.5 * w + 0.12 - 0.07 * k as f32);
                    let f = f.child(v3(x, 0.1, -0.5 * h - 0.15), 0.0);
                    b.tube(&f, Vec3::default(), [0.045, 0.038], h + 0.3, cloth);
                }
            }
        }
        let warmth = b.dice.range(-0.12, 0.06);
        let power = b.dice.range(1.6, 3.4) * w * h;
        b.lamps.push(Lamp {
            at: f.point(v3(0.0, 0.12, 0.0)),
            half: (f.turn.x * (0.4 * w)).abs() + v3(0.0, 0.0, 0.4 * h),
            aim: (f.turn.y - Vec3::UP * 0.25).normalized(),
            color: [power * (1.0 + warmth), power, power * (1.0 - warmth)],
        });
    }

    /// A lamp under the ceiling.
    pub fn ceiling_lamp(&self, b: &mut Builder, x: f32, y: f32, power: f32) {
        let warm = b.dice.range(-0.02, 0.22);
        let glow: Rgb = [1.0, 1.0 - 0.4 * warm, 1.0 - warm];
        let map = paint::plaster(glow, 0.02, &mut b.dice);
        let light = b.lit(map, 2.2, 0.5);
        let (z, metal) = (self.size.z, b.palette.metal);
        let f = Frame::new(v3(x, y, z), 0.0);
        let half = match b.dice.int(0, 2) {
            0 => {
                b.brick(&f, v3(0.0, 0.0, -0.03), v3(1.24, 0.24, 0.06), metal);
                b.brick(&f, v3(0.0, 0.0, -0.065), v3(1.18, 0.18, 0.01), light);
                v3(0.58, 0.08, 0.005)
            }
            1 => {
                b.tube(&f, v3(0.0, 0.0, -0.07), [0.2, 0.24], 0.07, light);
                v3(0.18, 0.18, 0.01)
            }
            _ => {
                b.rod(&f, Vec3::default(), v3(0.0, 0.0, -0.3), 0.006, metal);
                b.ball(&f, v3(0.0, 0.0, -0.42), v3(0.14, 0.14, 0.12), light);
                v3(0.1, 0.1, 0.05)
            }
        };
        let down = if half.y > 0.15 || half.x > 0.4 { 0.12 } else { 0.6 };
        let color = glow.map(|c| c * power);
        let at = v3(x, y, z - down);
        b.lamps.push(Lamp { at, half, aim: -Vec3::UP, color });
    }

    /// A door with its frame and handle; the floor before it stays free.
    pub fn door(&mut self, b: &mut Builder, wall: usize) {
        let (w, h) = (b.dice.range(0.82, 0.98), b.dice.range(1.98, 2.12));
        let Some(f) = self.along(b, wall, [w + 0.16, 0.05, h + 0.08], 0.5) else { return };
        let color = b.color();
        let base = if b.dice.chance(0.6) { [0.78, 0.74, 0.66] } else { color };
        let (rows, columns) = (b.dice.int(1, 3), b.dice.int(1, 2));
        let map = print::panel(base, rows, columns, &mut b.dice);
        let (leaf, rim, metal) = (b.fitted(map, 0.15), b.wood(), b.palette.metal);
        b.plate(&f, v3(0.0, -0.02, 0.5 * h), [w, h], 0.05, leaf, rim);
        for s in [-1.0, 1.0] {
            b.brick(&f, v3(s * (0.5 * w + 0.04), 0.02, 0.5 * h), v3(0.08, 0.07, h), rim);
        }
        b.brick(&f, v3(0.0, 0.02, h + 0.03), v3(w + 0.16, 0.07, 0.06), rim);
        let x = 0.42 * w;
        b.rod(&f, v3(x, 0.07, 1.02), v3(x - 0.11, 0.07, 1.02), 0.011, metal);
        b.rod(&f, v3(x, 0.03, 1.02), v3(x, 0.07, 1.02), 0.011, metal);
    }

    /// Pictures, boards, clocks, little shelves, sockets on the walls.
    pub fn decorate(&mut self, b: &mut Builder, count: u32) {
        for _ in 0..count {
            let wall = b.dice.int(0, 3) as usize;
            match b.dice.weighted([0.55, 0.12, 0.1, 0.13, 0.1]) {
                0 => {
                    let size = [b.dice.range(0.25, 0.9), b.dice.range(0.25, 0.9)];
                    if let Some(f) = self.hang(b, wall, size, [1.1, 1.9]) {
                        let map = print::poster(&mut b.dice);
                        let (front, rim) = (b.fitted(map, 0.1), b.palette.dark);
                        let depth = b.dice.range(0.004, 0.03);
                        b.plate(&f, Vec3::default(), size, depth, front, rim);
                    }
                }
                1 => {
                    let r = b.dice.range(0.11, 0.18);
                    if let Some(f) = self.hang(b, wall, [2.0 * r, 2.0 * r], [1.7, 2.1]) {
                        clock(b, &f, r);
                    }
                }
                2 => {
                    let size = [b.dice.range(0.9, 1.6), b.dice.range(0.6, 0.95)];
                    if let Some(f) = self.hang(b, wall, size, [1.3, 1.6]) {
                        let mut map = super::canvas::Canvas::new(128, 128, [0.9, 0.91, 0.92]);
                        let ink = hsv(b.dice.unit(), 0.7, 0.5);
                        map.text([0.08, 0.1, 0.6, 0.6], 6, ink, &mut b.dice);
                        for _ in 0..4 {
                            let mut p = || [b.dice.range(0.1, 0.9), b.dice.range(0.2, 0.9)];
                            let (p, q) = (p(), p());
                            map.line(p, q, 0.012, ink);
                        }
                        let (front, rim) = (b.fitted(map.finish(), 0.5), b.palette.metal);
                        b.plate(&f, Vec3::default(), size, 0.02, front, rim);
                    }
                }
                3 => {
                    let w = b.dice.range(0.5, 1.0);
                    if let Some(f) = self.hang(b, wall, [w, 0.4], [1.3, 1.7]) {
                        let wood = b.wood();
                        b.brick(&f, v3(0.0, 0.1, -0.18), v3(w, 0.2, 0.025), wood);
                        let top = f.child(v3(0.0, 0.1, -0.167), 0.0);
                        let things = &super::objects::Thing::HOUSE;
                        let mut taken = Vec::new();
                        let n = b.dice.int(2, 5);
                        super::furniture::strew(
                            b,
                            &top,
                            [0.5 * w, 0.1],
                            things,
                            n,
                            0.35,
                            &mut taken,
                        );
                    }
                }
                _ => {
                    if let Some(f) = self.hang(b, wall, [0.09, 0.09], [0.3, 1.2]) {
                        let (white, dark) = (b.palette.white, b.palette.dark);
                        b.brick(&f, v3(0.0, 0.005, 0.0), v3(0.085, 0.01, 0.085), white);
                        b.brick(&f, v3(0.0, 0.011, 0.0), v3(0.03, 0.003, 0.03), dark);
                    }
                }
            }
        }
    }

    /// A carpet on the floor.
    pub fn rug(&self, b: &mut Builder, center: Vec3, size: [f32; 2]) {
        let (one, two) = (b.color(), b.color());
        let map = if b.dice.chance(0.5) {
            paint::cloth(one, two, &mut b.dice)
        } else {
            paint::wallpaper(one, two, &mut b.dice)
        };
        let tile = b.dice.range(0.5, 1.2);
        let (top, rim) = (b.tiled(map, tile, [0.3, 0.1], 0.0), b.fabric(two));
        let yaw = if b.dice.chance(0.3) { b.dice.range(-0.5, 0.5) } else { 0.0 };
        let f = Frame::new(v3(center.x, center.y, 0.006), yaw);
        b.brick(&f, Vec3::default(), v3(size[0], size[1], 0.012), rim);
        b.brick(&f, v3(0.0, 0.0, 0.002), v3(0.92 * size[0], 0.9 * size[1], 0.012), top);
    }
}

fn overlap(a: &[f32; 4], b: &[f32; 4]) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

fn clock(b: &mut Builder, f: &Frame, r: f32) {
    let (rim, white, dark) = (b.stuff(), b.palette.white, b.palette.dark);
    let face = Builder::lying(f, Vec3::default());
    b.tube(&face, Vec3::default(), [r, r], 0.03, rim);
    b.tube(&face, v3(0.0, 0.0, 0.03), [0.9 * r, 0.9 * r], 0.002, white);
    for (reach, width) in [(0.5, 0.02), (0.75, 0.012)] {
        let (s, c) = b.dice.range(0.0, TAU).sin_cos();
        let at = |k: f32| v3(k * r * s, 0.034, k * r * c);
        b.rod(f, at(-0.1), at(reach), width * r * 1.5, dark);
    }
}

fn wall_color(b: &mut Builder) -> Rgb {
    let d = &mut b.dice;
    match d.weighted([0.5, 0.35, 0.15]) {
        0 => hsv(d.range(0.05, 0.17), d.range(0.02, 0.14), d.range(0.75, 0.93)),
        1 => hsv(d.unit(), d.range(0.08, 0.3), d.range(0.6, 0.88)),
        _ => hsv(d.unit(), d.range(0.2, 0.5), d.range(0.35, 0.6)),
    }
}

fn wall(b: &mut Builder, base: Rgb) -> Mat {
    let style = b.dice.weighted([0.56, 0.12, 0.14, 0.08, 0.1]);
    let (map, size, noise) = match style {
        0 => {
            let amount = b.dice.range(0.03, 0.12);
            (paint::plaster(base, amount, &mut b.dice), b.dice.range(0.8, 1.6), [0.1, 0.12])
        }
        1 => {
            let brick =
                hsv(b.dice.range(0.0, 0.08), b.dice.range(0.1, 0.55), b.dice.range(0.4, 0.8));
            let rows = b.dice.pick([8, 10, 12]);
            (paint::brick(brick, rows, &mut b.dice), b.dice.range(0.7, 1.1), [0.25, 0.15])
        }
        2 => {
            let k = b.dice.range(0.75, 1.15);
            let other = base.map(|c| (c * k).min(1.0));
            (paint::wallpaper(base, other, &mut b.dice), b.dice.range(0.5, 1.2), [0.08, 0.08])
        }
        3 => {
            let other = base.map(|c| c * 0.85);
            let n = b.dice.pick([4, 6]);
            (paint::tiles(base, other, n, &mut b.dice), b.dice.range(0.6, 1.0), [0.05, 0.06])
        }
        _ => (paint::wood(base, 8, &mut b.dice), b.dice.range(1.0, 1.6), [0.15, 0.1]),
    };
    let mat = b.tiled(map, size, noise, 0.02);
    // Bricks lie flat; only boards may also stand upright.
    if style != 4
        && let Some(Material { lay: Lay::Tile { turned, .. }, .. }) =
            b.materials.get_mut(usize::from(mat))
    {
        *turned = false;
    }
    mat
}

fn floor(b: &mut Builder) -> Mat {
    let tone = b.dice.range(0.35, 0.85);
    let (map, size, noise, gloss) = match b.dice.weighted([0.38, 0.2, 0.22, 0.1, 0.1]) {
        0 => {
            let hue = b.dice.range(0.05, 0.1);
            let base = hsv(hue, b.dice.range(0.2, 0.6), tone);
            let boards = b.dice.pick([6, 8, 10]);
            (paint::wood(base, boards, &mut b.dice), b.dice.range(0.9, 1.5), [0.15, 0.12], 0.25)
        }
        1 => {
            let base = hsv(b.dice.unit(), b.dice.range(0.0, 0.2), tone);
            let other = base.map(|c| c * 0.55);
            let n = b.dice.pick([2, 4]);
            (paint::tiles(base, other, n, &mut b.dice), b.dice.range(0.6, 1.3), [0.1, 0.1], 0.4)
        }
        2 => {
            let base = hsv(b.dice.unit(), b.dice.range(0.05, 0.4), 0.8 * tone);
            (paint::speckle(base, 100, &mut b.dice), b.dice.range(0.3, 0.6), [0.5, 0.12], 0.0)
        }
        3 => {
            let base = [0.8 * tone; 3];
            (paint::plaster(base, 0.2, &mut b.dice), b.dice.range(1.0, 2.0), [0.2, 0.3], 0.1)
        }
        _ => {
            let (base, vein) = ([tone; 3], [0.6 * tone; 3]);
            (paint::marble(base, vein, &mut b.dice), b.dice.range(1.0, 1.8), [0.05, 0.1], 0.5)
        }
    };
    b.tiled(map, size, noise, gloss)
}

/// Puts all faces of one material on a free-standing pillar.
pub(super) fn pillar(b: &mut Builder, f: &Frame, side: f32, height: f32) {
    let color = wall_color(b);
    let mat = wall(b, color);
    let half = v3(0.5 * side, 0.5 * side, 0.5 * height);
    b.put(&f.child(v3(0.0, 0.0, half.z), 0.0), Shape::Brick { half }, [mat; FACES]);
}
