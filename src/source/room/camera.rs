//! A camera's way through a room: a smooth closed curve of two different laps, drifting and
//! shaking a little as a hand or a driving robot does. It comes back to the same places from
//! slightly other ones, and never gets near enough to anything to be inside it.

use std::f32::consts::{PI, TAU};

use super::{
    dice::Dice,
    layout::Plan,
    math::{Pose, Vec3, v3},
    scene::Scene,
};

/// The nearest that the curve may come to anything, metres.
const CLEAR_M: f32 = 0.30;
/// The farthest that drift and shake move the camera off the curve, metres.
const DRIFT_M: f32 = 0.10;
/// Knots of the curve, and curves tried for the best.
const KNOTS: usize = 18;
const TRIES: u64 = 14;
/// Places along the curve that are checked, and rays a side of each look.
const CHECKS: usize = 360;
const LOOKS: usize = 36;
const RAYS: i32 = 9;
/// Turning faster than this in a tenth of a second makes the whole way slower.
const TURN_RAD: f32 = 0.13;

#[derive(Clone, Copy, Debug)]
struct Knot {
    eye: Vec3,
    target: Vec3,
}

/// A sine of its own rate and phase.
#[derive(Clone, Copy, Debug)]
struct Sway {
    size: f32,
    rate_hz: f32,
    phase: f32,
}

impl Sway {
    fn at(&self, t_s: f32) -> f32 {
        self.size * (TAU * (self.rate_hz * t_s + self.phase)).sin()
    }
}

/// Where the camera is at each time.
#[derive(Clone, Debug)]
pub struct Camera {
    knots: Vec<Knot>,
    period_s: f32,
    /// Slow drift and quick shake of x, y and z.
    drift: [[Sway; 2]; 3],
    /// Of the look's target, and of the roll.
    gaze: [[Sway; 2]; 3],
    roll: [Sway; 2],
}

impl Camera {
    /// The best of several ways that the plan allows.
    pub(super) fn plan(scene: &Scene, size: Vec3, plan: &Plan, sights: &[Vec3], seed: u64) -> Self {
        let mut best: Option<(f32, Camera)> = None;
        for number in 0..TRIES {
            let mut dice = Dice::new(seed, 0xca0 + number);
            let Some(camera) = Camera::draw(scene, size, plan, sights, &mut dice) else { continue };
            let worth = camera.worth(scene);
            if best.as_ref().is_none_or(|(w, _)| worth > *w) {
                best = Some((worth, camera));
            }
        }
        best.map_or_else(|| Camera::standing(scene, size, sights, seed), |(_, camera)| camera)
    }

    /// The time after which the curve repeats, seconds.
    pub fn period_s(&self) -> f32 {
        self.period_s
    }

    /// The pose `t_s` seconds after the start.
    ///
    /// ```
    /// use spatial_ssrl::source::room::Room;
    /// let room = Room::new(3);
    /// let (a, b) = (room.camera().pose(1.0), room.camera().pose(1.1));
    /// // A tenth of a second later it has moved, but by far less than the room.
    /// let step = (a.position - b.position).length();
    /// assert!(step > 0.0 && step < 0.4);
    /// ```
    pub fn pose(&self, t_s: f64) -> Pose {
        // Phases in f64: an hour later the curve is as smooth as at the start.
        let lap = (t_s / f64::from(self.period_s)).rem_euclid(1.0) as f32;
        let knot = self.curve(lap);
        let t = (t_s.rem_euclid(100_000.0)) as f32;
        let sway = |s: &[[Sway; 2]; 3]| {
            let [x, y, z] = [0, 1, 2].map(|i| s[i].iter().map(|s| s.at(t)).sum::<f32>());
            v3(x, y, z)
        };
        let roll = self.roll.iter().map(|s| s.at(t)).sum();
        let eye = knot.eye + sway(&self.drift);
        let distance = (knot.target - knot.eye).length();
        Pose::look_at(eye, knot.target + sway(&self.gaze) * distance, roll)
    }

    /// The uniform cubic B-spline through the ring of knots.
    fn curve(&self, lap: f32) -> Knot {
        let n = self.knots.len().max(1);
        let x = lap * n as f32;
        let (i, t) = (x as usize, x.fract());
        let t2 = t * t;
        let t3 = t2 * t;
        let weights = [
            (1.0 - 3.0 * t + 3.0 * t2 - t3) / 6.0,
            (4.0 - 6.0 * t2 + 3.0 * t3) / 6.0,
            (1.0 + 3.0 * t + 3.0 * t2 - 3.0 * t3) / 6.0,
            t3 / 6.0,
        ];
        let mut sum = Knot { eye: Vec3::default(), target: Vec3::default() };
        for (k, w) in weights.into_iter().enumerate() {
            if let Some(knot) = self.knots.get((i + k) % n) {
                sum.eye += knot.eye * w;
                sum.target += knot.target * w;
            }
        }
        sum
    }

    fn draw(
        scene: &Scene,
        size: Vec3,
        plan: &Plan,
        sights: &[Vec3],
        dice: &mut Dice,
    ) -> Option<Self> {
        let mut knots = Vec::with_capacity(KNOTS);
        let start = dice.unit();
        for i in 0..KNOTS {
            // Two laps; the second at other distances and with other looks.
            let lap = (2.0 * i as f32 / KNOTS as f32 + start).fract();
            let mut knot = draw_knot(scene, size, plan, sights, lap, dice);
            let mut most = f32::NEG_INFINITY;
            let mut clear = 0;
            for _ in 0..24 {
                let other = draw_knot(scene, size, plan, sights, lap, dice);
                if scene.clearance_m(other.eye) > CLEAR_M + 0.05 {
                    let worth = look_worth(scene, &Pose::look_at(other.eye, other.target, 0.0));
                    if worth > most {
                        (knot, most) = (other, worth);
                    }
                    clear += 1;
                    if clear == 3 {
                        break;
                    }
                }
            }
            knots.push(knot);
        }
        let steady = dice.range(0.3, 1.0);
        let mut sway = |size: f32, low: f32, high: f32| Sway {
            size: size * steady,
            rate_hz: dice.range(low, high),
            phase: dice.unit(),
        };
        // Amplitudes of the three axes add up to less than DRIFT_M in length.
        let drift = [(); 3].map(|()| [sway(0.045, 0.03, 0.08), sway(0.008, 0.6, 1.9)]);
        let gaze = [(); 3].map(|()| [sway(0.06, 0.03, 0.09), sway(0.008, 0.5, 1.7)]);
        let roll = [sway(0.09, 0.05, 0.13), sway(0.012, 0.6, 1.5)];
        let walk = matches!(plan, Plan::Walk { .. });
        let period_s = if walk { dice.range(24.0, 28.0) } else { dice.range(20.0, 25.0) };
        let mut camera = Camera { knots, period_s, drift, gaze, roll };
        if !camera.clear(scene) {
            return None;
        }
        // Where it turns too quickly all of it goes slower.
        let fastest = camera.fastest_turn();
        camera.period_s *= (fastest / TURN_RAD).clamp(1.0, 1.4);
        Some(camera)
    }

    /// The most that the look turns in a tenth of a second, radians.
    fn fastest_turn(&self) -> f32 {
        let look = |i: usize| {
            let knot = self.curve((i as f32 / CHECKS as f32).fract());
            (knot.target - knot.eye).normalized()
        };
        let step = 0.1 * CHECKS as f32 / self.period_s;
        let turns = (0..CHECKS).map(|i| look(i).dot(look(i + 1)).clamp(-1.0, 1.0).acos() * step);
        turns.fold(0.0, f32::max)
    }

    /// Bends the curve away from what it comes too near to; false when that fails.
    fn clear(&mut self, scene: &Scene) -> bool {
        for _ in 0..40 {
            let near = (0..CHECKS).find_map(|i| {
                let lap = i as f32 / CHECKS as f32;
                let eye = self.curve(lap).eye;
                (scene.clearance_m(eye) < CLEAR_M).then_some((lap, eye))
            });
            let Some((lap, eye)) = near else { return true };
            // The way out is where clearance grows.
            let clear = |p: Vec3| scene.clearance_m(p);
            let e = 0.05;
            let mut out = v3(
                clear(eye + v3(e, 0.0, 0.0)) - clear(eye - v3(e, 0.0, 0.0)),
                clear(eye + v3(0.0, e, 0.0)) - clear(eye - v3(0.0, e, 0.0)),
                clear(eye + v3(0.0, 0.0, e)) - clear(eye - v3(0.0, 0.0, e)),
            );
            if out.length() < 1e-4 {
                out = Vec3::UP;
            }
            let push = out.normalized() * 0.08;
            let n = self.knots.len();
            let middle = (lap * n as f32) as usize;
            for k in 0..4 {
                if let Some(knot) = self.knots.get_mut((middle + k) % n) {
                    knot.eye += push;
                }
            }
        }
        false
    }

    /// How much there is to see on the whole way, and at its dullest; quiet turning.
    fn worth(&self, scene: &Scene) -> f32 {
        let mut sum = 0.0;
        let mut worst = f32::INFINITY;
        for i in 0..LOOKS {
            let t = f64::from(self.period_s) * i as f64 / LOOKS as f64;
            let pose = self.pose(t);
            let next = self.pose(t + 0.1);
            let turn = pose.forward.dot(next.forward).clamp(-1.0, 1.0).acos();
            let hurry = (turn - 0.10).max(0.0) * 30.0;
            let look = look_worth(scene, &pose) - hurry;
            sum += look;
            worst = worst.min(look);
        }
        sum / LOOKS as f32 + worst
    }

    /// When no way is clear: turn on the spot at the clearest point of the room.
    fn standing(scene: &Scene, size: Vec3, sights: &[Vec3], seed: u64) -> Self {
        let mut dice = Dice::new(seed, 0x57a);
        let mut best = (0.0, v3(0.0, 0.0, 0.5 * size.z));
        for _ in 0..4000 {
            let p = v3(
                dice.range(-0.5, 0.5) * size.x,
                dice.range(-0.5, 0.5) * size.y,
                dice.range(0.4, 0.75) * size.z,
            );
            let clear = scene.clearance_m(p);
            if clear > best.0 {
                best = (clear, p);
            }
        }
        let eye = best.1;
        let knots = (0..KNOTS)
            .map(|i| {
                let (s, c) = (2.0 * TAU * i as f32 / KNOTS as f32).sin_cos();
                let around = eye + v3(c, s, -0.3);
                let sight = sights.get(i % sights.len().max(1)).copied().unwrap_or(around);
                Knot { eye, target: around.lerp(sight, 0.25) }
            })
            .collect();
        let still = Sway { size: 0.004, rate_hz: 0.7, phase: 0.0 };
        let still3 = [[still; 2]; 3];
        Camera { knots, period_s: 25.0, drift: still3, gaze: still3, roll: [still; 2] }
    }
}

/// How much one look has to show: near and far together, many things, nothing too close.
fn look_worth(scene: &Scene, pose: &Pose) -> f32 {
    let mut depths = Vec::new();
    let mut things = Vec::new();
    for v in 0..RAYS {
        for u in 0..RAYS {
            let at = |k: i32| 2.0 * (k as f32 + 0.5) / RAYS as f32 - 1.0;
            let d = pose.direction_world(v3(0.58 * at(u), 0.43 * at(v), 1.0));
            if let Some(hit) = scene.trace(pose.position, d, f32::INFINITY) {
                depths.push(hit.t);
                things.push(hit.solid);
            }
        }
    }
    depths.sort_unstable_by(f32::total_cmp);
    things.sort_unstable();
    things.dedup();
    let n = depths.len();
    let at = |share: f32| depths.get((share * n as f32) as usize).copied().unwrap_or(0.0);
    let spread = ((at(0.9) - at(0.1)) / at(0.5).max(0.1)).min(1.2);
    let clutter = (things.len() as f32 / 25.0).min(1.2);
    let bad = depths.iter().filter(|&&z| !(0.5..6.0).contains(&z)).count();
    let bad = (bad as f32 / n.max(1) as f32 - 0.12).max(0.0);
    // A look at a bare wall is worth less than its share.
    let flat = (0.35 - spread).max(0.0);
    spread + 1.5 * clutter - 6.0 * bad - 6.0 * flat
}

/// One place and look that the plan has at `lap` (0 to 1) of its round.
fn draw_knot(
    scene: &Scene,
    size: Vec3,
    plan: &Plan,
    sights: &[Vec3],
    lap: f32,
    dice: &mut Dice,
) -> Knot {
    let hold = |p: Vec3| {
        let (x, y) = (0.5 * size.x - CLEAR_M - DRIFT_M, 0.5 * size.y - CLEAR_M - DRIFT_M);
        v3(p.x.clamp(-x, x), p.y.clamp(-y, y), p.z.clamp(0.35, size.z - CLEAR_M - DRIFT_M))
    };
    match *plan {
        Plan::Orbit { focus, extent, toward, spread, radius, height } => {
            let sweep = if spread > 2.5 { TAU * lap } else { spread * (TAU * lap).sin() };
            let azimuth = toward + sweep + dice.range(-0.12, 0.12);
            let r = dice.range(radius[0], radius[1]);
            let eye = v3(azimuth.cos() * r, azimuth.sin() * r, 0.0) + focus;
            let eye = hold(v3(eye.x, eye.y, dice.range(height[0], height[1])));
            let mut any = || dice.range(-1.0, 1.0) * extent;
            let near = focus + v3(any(), any(), 0.3 * any());
            let target = match glance(eye, focus, sights, dice) {
                Some(far) => near.lerp(far, 0.7),
                None => near,
            };
            Knot { eye, target }
        }
        Plan::Slide { front, width, z, reach } => {
            let x = 0.42 * width * (TAU * lap).sin() + dice.range(-0.1, 0.1);
            let eye = v3(x, dice.range(reach[0], reach[1]), dice.range(z[0], z[1]));
            let eye = hold(front.point(eye));
            let aim = v3(0.75 * x + dice.range(-0.3, 0.3), 0.0, dice.range(0.5, 1.6));
            let target = front.point(aim);
            let target = match glance(eye, target, sights, dice) {
                Some(far) => target.lerp(far, 0.6),
                None => target,
            };
            Knot { eye, target }
        }
        Plan::Walk { height } => {
            // An ellipse in the room, as wide as what stands there allows.
            let (s, c) = (TAU * lap).sin_cos();
            let mut eye = Vec3::default();
            for _ in 0..30 {
                let k = dice.range(0.1, 0.85);
                let p = v3(
                    0.5 * k * size.x * c,
                    0.5 * k * size.y * s,
                    dice.range(height[0], height[1]),
                );
                eye = hold(p);
                if scene.clearance_m(eye) > CLEAR_M + 0.1 {
                    break;
                }
            }
            // Look on along the way, to what lies there.
            let ahead = PI * 0.5 + dice.range(-0.5, 0.5);
            let way = v3(-s * size.x, c * size.y, 0.0).normalized();
            let out = v3(c, s, 0.0);
            let look = way * ahead.sin() + out * dice.range(-0.6, 0.7);
            let mut target = eye + look * 2.5 + v3(0.0, 0.0, dice.range(-0.9, 0.0));
            let toward = |p: &&Vec3| {
                let d = **p - eye;
                let distance = d.length();
                (0.7..4.5).contains(&distance) && d.normalized().dot(look.normalized()) > 0.6
            };
            let fit: Vec<&Vec3> = sights.iter().filter(toward).collect();
            if !fit.is_empty() {
                let i = dice.int(0, fit.len() as u32 - 1) as usize;
                if let Some(&&sight) = fit.get(i) {
                    target = target.lerp(sight, 0.9);
                }
            }
            Knot { eye, target }
        }
    }
}

/// Now and then something else in about the same direction.
fn glance(eye: Vec3, target: Vec3, sights: &[Vec3], dice: &mut Dice) -> Option<Vec3> {
    if sights.is_empty() || !dice.chance(0.4) {
        return None;
    }
    let i = dice.int(0, sights.len() as u32 - 1) as usize;
    let sight = *sights.get(i)?;
    let (a, b) = ((target - eye).normalized(), (sight - eye).normalized());
    ((sight - eye).length() > 0.6 && a.dot(b) > 0.35).then_some(sight)
}
