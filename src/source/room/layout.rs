//! Which room a seed gives: one of several kinds, what stands in it, and how a camera would
//! move there.

use std::f32::consts::{FRAC_PI_2, PI, TAU};

use super::{
    builder::{Builder, Frame},
    furniture::{
        Stock, chair, desk, drawers, floor_lamp, floor_plant, kitchen, locker, office_chair,
        parcels, radiator, shelves, sofa, strew, table,
    },
    math::{Vec3, v3},
    objects::{Thing, bin},
    shell::{Hall, pillar},
};

/// The kinds of rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoomKind {
    /// A desk with screens, chairs and shelves around it.
    Office,
    /// A full shelf seen from half a metre to a metre and a half.
    Shelf,
    /// A table with household things.
    Tabletop,
    /// A living room that the camera walks through.
    Living,
    /// A long corridor or store room.
    Corridor,
    /// A work bench with open bins of parts, seen from close by.
    Bins,
}

impl RoomKind {
    /// All kinds, in the order in which consecutive seeds give them.
    pub const ALL: [RoomKind; 6] = [
        RoomKind::Office,
        RoomKind::Living,
        RoomKind::Tabletop,
        RoomKind::Shelf,
        RoomKind::Corridor,
        RoomKind::Bins,
    ];

    /// The kind that a seed gives.
    pub fn of_seed(seed: u64) -> Self {
        let index = (seed % Self::ALL.len() as u64) as usize;
        Self::ALL.get(index).copied().unwrap_or(RoomKind::Office)
    }
}

/// How a camera moves in a room.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    /// Around `focus`, from the side `toward` (azimuth) within ± `spread`.
    Orbit { focus: Vec3, extent: f32, toward: f32, spread: f32, radius: [f32; 2], height: [f32; 2] },
    /// Along the front of something flat: `width` and `z` across, `reach` before it.
    Slide { front: Frame, width: f32, z: [f32; 2], reach: [f32; 2] },
    /// Through the free part of the room.
    Walk { height: [f32; 2] },
}

/// Puts a room of `kind` together.
pub(super) fn furnish(b: &mut Builder, kind: RoomKind) -> (Hall, Plan) {
    match kind {
        RoomKind::Office => office(b),
        RoomKind::Living => living(b),
        RoomKind::Tabletop => tabletop(b),
        RoomKind::Shelf => shelf(b),
        RoomKind::Corridor => corridor(b),
        RoomKind::Bins => bins(b),
    }
}

fn hall(b: &mut Builder, w: [f32; 2], d: [f32; 2]) -> Hall {
    let size = v3(b.dice.range(w[0], w[1]), b.dice.range(d[0], d[1]), b.dice.range(2.4, 2.9));
    Hall::new(b, size)
}

/// Lamps, skirting, then what goes on the walls last.
fn finish(b: &mut Builder, hall: &mut Hall, pictures: [u32; 2]) {
    let (nx, ny) = ((hall.size.x / 4.0).ceil() as i32, (hall.size.y / 4.0).ceil() as i32);
    let power = b.dice.range(1.6, 3.2);
    for i in 0..nx {
        for j in 0..ny {
            let x = hall.size.x * ((i as f32 + 0.5) / nx as f32 - 0.5) + b.dice.range(-0.3, 0.3);
            let y = hall.size.y * ((j as f32 + 0.5) / ny as f32 - 0.5) + b.dice.range(-0.3, 0.3);
            if nx * ny < 3 || b.dice.chance(0.75) {
                hall.ceiling_lamp(b, x, y, power);
            }
        }
    }
    hall.trim(b);
    let n = b.dice.int(pictures[0], pictures[1]);
    hall.decorate(b, n);
}

/// Furniture for what is left of the walls.
fn fill_walls(b: &mut Builder, hall: &mut Hall, pieces: u32, house: bool) {
    let first = b.dice.int(0, 3);
    for i in 0..pieces {
        let wall = (first + i) as usize % 4;
        match b.dice.int(0, 7) {
            0 | 1 => {
                let size =
                    [b.dice.range(0.6, 1.3), b.dice.range(0.24, 0.36), b.dice.range(1.2, 2.1)];
                if let Some(f) = hall.along(b, wall, size, 0.3) {
                    let stock = if house { Stock::House } else { Stock::Books };
                    let boards = (size[2] / 0.38) as u32;
                    shelves(b, &f, size, boards, stock);
                }
            }
            2 | 3 => {
                let size =
                    [b.dice.range(0.6, 1.4), b.dice.range(0.36, 0.5), b.dice.range(0.6, 1.0)];
                if let Some(f) = hall.along(b, wall, size, 0.3) {
                    let (rows, columns) = (b.dice.int(1, 4), b.dice.int(1, 3));
                    drawers(b, &f, size, rows, columns);
                    let top = f.child(v3(0.0, 0.5 * size[1], size[2] + 0.001), 0.0);
                    let n = b.dice.int(3, 7);
                    let half = [0.5 * size[0], 0.5 * size[1]];
                    strew(b, &top, half, &Thing::HOUSE, n, 0.5, &mut Vec::new());
                }
            }
            4 => {
                let size =
                    [b.dice.range(0.5, 0.75), b.dice.range(0.5, 0.65), b.dice.range(1.5, 1.95)];
                if let Some(f) = hall.along(b, wall, size, 0.3) {
                    locker(b, &f, size);
                }
            }
            5 => {
                if let Some(f) = hall.along(b, wall, [0.6, 0.6, 1.6], 0.0) {
                    let f = f.child(v3(0.0, 0.3, 0.0), 0.0);
                    if b.dice.chance(0.5) { floor_plant(b, &f) } else { floor_lamp(b, &f) }
                }
            }
            6 => {
                if let Some(f) = hall.along(b, wall, [0.7, 0.7, 0.8], 0.0) {
                    parcels(b, &f.child(v3(0.0, 0.35, 0.0), 0.0));
                }
            }
            _ => {
                if let Some(f) = hall.along(b, wall, [0.55, 0.6, 0.9], 0.1) {
                    chair(b, &f.child(v3(0.0, 0.3, 0.0), 0.0));
                }
            }
        }
    }
}

/// The azimuth of a frame's +y.
fn facing(f: &Frame) -> f32 {
    f.turn.y.y.atan2(f.turn.y.x)
}

fn office(b: &mut Builder) -> (Hall, Plan) {
    let mut hall = hall(b, [3.6, 5.2], [3.4, 4.6]);
    let (w, d) = (b.dice.range(1.3, 1.9), b.dice.range(0.65, 0.85));
    let wall = b.dice.int(0, 3) as usize;
    let x = b.dice.range(-0.2, 0.2) * (hall.length(wall) - w);
    let place = hall.at_wall(wall, x, [w, d + 0.05, 1.25], 0.2);
    let f = place.unwrap_or_else(|| hall.wall(wall));
    desk(b, &f, w, d);
    let focus = f.point(v3(0.0, 0.5 * d, 0.85));
    let seat = f.child(
        v3(b.dice.range(-0.5, 0.5) * w, d + b.dice.range(0.15, 0.5), 0.0),
        PI + b.dice.range(-1.2, 1.2),
    );
    if b.dice.chance(0.75) && hall.take(&seat, [-0.3, -0.3, 0.3, 0.3]) {
        if b.dice.chance(0.7) { office_chair(b, &seat) } else { chair(b, &seat) }
    }
    let opposite = (wall + 2) % 4;
    if b.dice.chance(0.5) {
        let side = (wall + 1) % 4;
        if let Some(f) = hall.along(b, side, [1.3, 0.7, 1.2], 0.2) {
            desk(b, &f, 1.3, 0.65);
        }
    }
    hall.door(b, opposite);
    if b.dice.chance(0.8) {
        let wall = b.dice.pick([wall, (wall + 1) % 4, (wall + 3) % 4]);
        hall.window(b, wall);
    }
    let n = b.dice.int(9, 14);
    fill_walls(b, &mut hall, n, false);
    if b.dice.chance(0.5) {
        hall.rug(b, v3(0.0, 0.0, 0.0), [1.8, 1.3]);
    }
    finish(b, &mut hall, [7, 14]);
    let plan = Plan::Orbit {
        focus,
        extent: 0.5 * w,
        toward: facing(&f),
        spread: 0.95,
        radius: [0.9, 2.1],
        height: [1.1, 1.7],
    };
    (hall, plan)
}

fn living(b: &mut Builder) -> (Hall, Plan) {
    let mut hall = hall(b, [4.8, 7.0], [4.2, 6.0]);
    let wall = b.dice.int(0, 3) as usize;
    let w = b.dice.range(1.4, 2.2);
    if let Some(f) = hall.along(b, wall, [w, 0.9, 0.85], 0.5) {
        sofa(b, &f, w);
        let low = f.child(v3(0.0, 1.45, 0.0), b.dice.range(-0.2, 0.2));
        if hall.take(&low, [-0.55, -0.35, 0.55, 0.35]) {
            let h = b.dice.range(0.36, 0.46);
            let top = table(b, &low, [1.0, 0.6], h);
            let n = b.dice.int(3, 7);
            strew(b, &top, [0.48, 0.28], &Thing::HOUSE, n, 0.4, &mut Vec::new());
        }
        let at = low.at;
        hall.rug(b, v3(at.x, at.y, 0.0), [2.1, 1.6]);
    }
    dining(b, &mut hall);
    hall.door(b, (wall + 1) % 4);
    for _ in 0..b.dice.int(1, 2) {
        let side = b.dice.int(0, 3) as usize;
        hall.window(b, side);
        if let Some(f) = hall.along(b, side, [1.0, 0.16, 0.7], 0.2) {
            radiator(b, &f, 1.0);
        }
    }
    if b.dice.chance(0.4)
        && let Some(f) = hall.along(b, (wall + 2) % 4, [2.0, 0.62, 2.1], 0.4)
    {
        kitchen(b, &f, 2.0);
    }
    let n = b.dice.int(16, 24);
    fill_walls(b, &mut hall, n, true);
    finish(b, &mut hall, [9, 16]);
    let robot = b.dice.chance(0.5);
    let height = if robot { [0.45, 0.95] } else { [1.2, 1.65] };
    (hall, Plan::Walk { height })
}

/// A table with chairs somewhere on the free floor.
fn dining(b: &mut Builder, hall: &mut Hall) {
    let (w, d) = (b.dice.range(0.9, 1.5), b.dice.range(0.75, 0.95));
    for _ in 0..12 {
        let at =
            v3(b.dice.range(-0.3, 0.3) * hall.size.x, b.dice.range(-0.3, 0.3) * hall.size.y, 0.0);
        let f = Frame::new(at, if b.dice.chance(0.5) { 0.0 } else { FRAC_PI_2 });
        if !hall.take(&f, [-0.5 * w, -0.5 * d - 0.4, 0.5 * w, 0.5 * d + 0.4]) {
            continue;
        }
        let h = b.dice.range(0.71, 0.78);
        let top = table(b, &f, [w, d], h);
        let n = b.dice.int(5, 11);
        strew(b, &top, [0.48 * w, 0.48 * d], &Thing::HOUSE, n, 0.45, &mut Vec::new());
        for s in [-1.0, 1.0] {
            for k in [-0.25, 0.25] {
                if b.dice.chance(0.7) {
                    let y = s * (0.5 * d + b.dice.range(0.0, 0.2));
                    let yaw = if s < 0.0 { 0.0 } else { PI } + b.dice.range(-0.3, 0.3);
                    chair(b, &f.child(v3(k * w, y, 0.0), yaw));
                }
            }
        }
        return;
    }
}

fn tabletop(b: &mut Builder) -> (Hall, Plan) {
    let mut hall = hall(b, [3.4, 4.8], [3.2, 4.4]);
    let (w, d) = (b.dice.range(1.0, 1.5), b.dice.range(0.7, 0.95));
    let wall = b.dice.int(0, 3) as usize;
    let against = b.dice.chance(0.5);
    let f = if against {
        let place = hall.at_wall(wall, b.dice.range(-0.5, 0.5), [w, d, 0.9], 0.3);
        place.unwrap_or_else(|| hall.wall(wall)).child(v3(0.0, 0.5 * d + 0.02, 0.0), 0.0)
    } else {
        let f = Frame::new(
            v3(b.dice.range(-0.3, 0.3), b.dice.range(-0.3, 0.3), 0.0),
            b.dice.range(0.0, TAU),
        );
        hall.take(&f, [-0.5 * w - 0.3, -0.5 * d - 0.3, 0.5 * w + 0.3, 0.5 * d + 0.3]);
        f
    };
    let h = b.dice.range(0.68, 0.9);
    let top = table(b, &f, [w, d], h);
    let mut taken = Vec::new();
    if b.dice.chance(0.4) {
        let color = b.color();
        let mat = b.fabric(color);
        b.brick(&top, v3(0.0, 0.0, 0.0015), v3(0.85 * w, 0.8 * d, 0.003), mat);
    }
    let n = b.dice.int(14, 26);
    let things: &[Thing] = if b.dice.chance(0.75) { &Thing::HOUSE } else { &Thing::WORK };
    strew(b, &top, [0.48 * w, 0.48 * d], things, n, 0.45, &mut taken);
    let other = (wall + 2) % 4;
    if b.dice.chance(0.6)
        && let Some(f) = hall.along(b, other, [1.8, 0.62, 2.1], 0.3)
    {
        kitchen(b, &f, 1.8);
    }
    hall.door(b, (wall + 1) % 4);
    if b.dice.chance(0.7) {
        hall.window(b, (wall + 3) % 4);
    }
    let n = b.dice.int(10, 15);
    fill_walls(b, &mut hall, n, true);
    finish(b, &mut hall, [7, 14]);
    let spread = if against { 1.0 } else { PI };
    let plan = Plan::Orbit {
        focus: top.point(v3(0.0, 0.0, 0.06)),
        extent: 0.35 * w,
        toward: facing(&f),
        spread,
        radius: [0.75, 1.5],
        height: [h + 0.3, h + 0.85],
    };
    (hall, plan)
}

fn shelf(b: &mut Builder) -> (Hall, Plan) {
    let mut hall = hall(b, [3.2, 4.6], [3.0, 4.2]);
    let wall = b.dice.int(0, 3) as usize;
    let size = [b.dice.range(1.3, 2.2), b.dice.range(0.28, 0.42), b.dice.range(1.7, 2.1)];
    let x = b.dice.range(-0.3, 0.3);
    let place = hall.at_wall(wall, x, size, 0.6);
    let f = place.unwrap_or_else(|| hall.wall(wall));
    let stock = b.dice.pick([Stock::Books, Stock::House, Stock::House, Stock::Work, Stock::Work]);
    let boards = b.dice.int(4, 5);
    shelves(b, &f, size, boards, stock);
    hall.door(b, (wall + 2) % 4);
    if b.dice.chance(0.6) {
        hall.window(b, (wall + 1) % 4);
    }
    let n = b.dice.int(9, 13);
    fill_walls(b, &mut hall, n, stock != Stock::Books);
    finish(b, &mut hall, [5, 10]);
    let plan = Plan::Slide {
        front: f.child(v3(0.0, size[1], 0.0), 0.0),
        width: size[0],
        z: [0.7, 1.6],
        reach: [0.6, 1.3],
    };
    (hall, plan)
}

fn corridor(b: &mut Builder) -> (Hall, Plan) {
    let store = b.dice.chance(0.45);
    let width = if store { [3.0, 4.0] } else { [2.2, 3.0] };
    let mut hall = hall(b, [7.0, 9.5], width);
    let aisle = Frame::new(Vec3::default(), 0.0);
    let half = 0.5 * hall.size.x;
    hall.take(&aisle, [-half, -0.5, half, 0.5]);
    if store {
        for wall in [0, 2] {
            for _ in 0..4 {
                let size =
                    [b.dice.range(1.2, 2.0), b.dice.range(0.35, 0.5), b.dice.range(1.7, 2.2)];
                if let Some(f) = hall.along(b, wall, size, 0.0) {
                    let boards = b.dice.int(3, 5);
                    shelves(b, &f, size, boards, Stock::Work);
                }
            }
        }
    } else {
        for wall in [0, 2, 0, 2, 1] {
            hall.door(b, wall);
        }
        if b.dice.chance(0.5) {
            let s = b.dice.sign();
            for k in -1..=1 {
                let f = Frame::new(
                    v3(k as f32 * 0.3 * hall.size.x, s * (0.5 * hall.size.y - 0.12), 0.0),
                    0.0,
                );
                if hall.take(&f, [-0.12, -0.12, 0.12, 0.12]) {
                    pillar(b, &f, 0.24, hall.size.z);
                }
            }
        }
    }
    for wall in [1, 3, 0, 2] {
        if b.dice.chance(0.4) {
            hall.window(b, wall);
        }
    }
    let n = b.dice.int(18, 28);
    let house = b.dice.chance(0.5);
    fill_walls(b, &mut hall, n, house);
    finish(b, &mut hall, [12, 22]);
    let height = if b.dice.chance(0.5) { [0.4, 0.9] } else { [1.2, 1.6] };
    (hall, Plan::Walk { height })
}

fn bins(b: &mut Builder) -> (Hall, Plan) {
    let mut hall = hall(b, [3.2, 4.4], [3.0, 4.0]);
    let wall = b.dice.int(0, 3) as usize;
    let (w, d) = (b.dice.range(1.3, 1.8), b.dice.range(0.7, 0.85));
    let place = hall.at_wall(wall, b.dice.range(-0.3, 0.3), [w, d, 1.0], 0.4);
    let f = place.unwrap_or_else(|| hall.wall(wall));
    let h = b.dice.range(0.75, 0.92);
    let top = table(b, &f.child(v3(0.0, 0.5 * d + 0.02, 0.0), 0.0), [w, d], h);
    let mut taken = Vec::new();
    let n = b.dice.int(2, 3);
    let pitch = 0.9 * w / n as f32;
    for i in 0..n {
        let x = (i as f32 - 0.5 * (n - 1) as f32) * pitch;
        let half = [0.5 * pitch * b.dice.range(0.75, 0.92), b.dice.range(0.17, 0.25)];
        let y = b.dice.range(-0.1, 0.0);
        let tall = b.dice.range(0.09, 0.2);
        let heap = b.dice.int(9, 16);
        let yaw = b.dice.range(-0.1, 0.1);
        bin(b, &top.child(v3(x, y, 0.0), yaw), half, tall, heap);
        taken.push([x - 0.45 * half[0], y, half[1] + 0.03]);
        taken.push([x + 0.45 * half[0], y, half[1] + 0.03]);
    }
    let n = b.dice.int(5, 10);
    strew(b, &top, [0.49 * w, 0.49 * d], &Thing::WORK, n, 0.3, &mut taken);
    if let Some(f) = hall.along(b, (wall + 1) % 4, [1.2, 0.4, 1.9], 0.3) {
        shelves(b, &f, [1.2, 0.4, 1.9], 4, Stock::Work);
    }
    hall.door(b, (wall + 2) % 4);
    let n = b.dice.int(8, 12);
    fill_walls(b, &mut hall, n, false);
    if b.dice.chance(0.5) {
        hall.window(b, (wall + 3) % 4);
    }
    finish(b, &mut hall, [5, 11]);
    let plan = Plan::Orbit {
        focus: top.point(v3(0.0, -0.05, 0.08)),
        extent: 0.4 * w,
        toward: facing(&f),
        spread: 0.9,
        radius: [0.55, 1.15],
        height: [h + 0.4, h + 0.9],
    };
    (hall, plan)
}
