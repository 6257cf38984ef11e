//! Promises of the rendered room as a whole.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::{
    bitmap::Bitmap,
    light::LightMap,
    math::{Rotation, v3},
    render::{Raw, render},
    scene::{Lay, Material, Scene, Solid},
    shape::{FACES, Shape, off_surface_m},
    *,
};
use crate::{frame::RgbdFrame, source::FrameSource};

/// One recording of every kind of room, built once for all tests.
fn recordings() -> &'static [RoomSource] {
    static ALL: OnceLock<Vec<RoomSource>> = OnceLock::new();
    ALL.get_or_init(|| {
        let spec = |seed| RoomSpec { seed, width: 320, height: 240, ..RoomSpec::default() };
        (0..RoomKind::ALL.len() as u64).map(|seed| RoomSource::new(spec(seed))).collect()
    })
}

fn bare(shapes: &[(Shape, Rotation, Vec3)]) -> Scene {
    let material = Material {
        bitmap: 0,
        lay: Lay::Fit,
        tint: [1.0; 3],
        detail: 0.0,
        stain: 0.0,
        gloss: 0.0,
        sharp: 0,
        emission: 0.0,
        lost: 0.0,
    };
    let solids = shapes.iter().map(|&(shape, turn, at)| Solid {
        shape,
        turn,
        at,
        faces: [0; FACES],
        shift: [0.0; 2],
    });
    let grey = || Bitmap::new(1, 1, &[[0.5; 3]]);
    let materials = (vec![material], vec![grey()]);
    Scene::new(solids.collect(), None, materials, Vec::new(), [0.2; 3], grey())
}

fn look(scene: &Scene, pose: &Pose, k: &Intrinsics) -> Raw {
    render(scene, &LightMap::bake(scene), pose, k)
}

fn small_camera() -> Intrinsics {
    Intrinsics::new(64, 48, 55.0, 57.0, 30.5, 24.5).unwrap()
}

/// The direction of a pixel's ray in the world, with depth 1.
fn ray(pose: &Pose, k: &Intrinsics, u: usize, v: usize) -> [f64; 3] {
    let p = k.point_m(u as f64, v as f64, 1.0);
    let axis = |a: Vec3| [f64::from(a.x), f64::from(a.y), f64::from(a.z)];
    let (r, d, f) = (axis(pose.right), axis(pose.down), axis(pose.forward));
    [0, 1, 2].map(|i| r[i] * p[0] + d[i] * p[1] + f[i] * p[2])
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn wide(p: Vec3) -> [f64; 3] {
    [f64::from(p.x), f64::from(p.y), f64::from(p.z)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_depth_of_a_plane_is_the_closed_form(
        eye in prop::array::uniform3(-1.0f32..1.0),
        tilt in -0.5f32..0.5,
        turn in -0.5f32..0.5,
        roll in -0.4f32..0.4,
    ) {
        let eye = v3(eye[0], eye[1] - 3.0, eye[2]);
        let rotation = Rotation::yaw(turn).then_inside(&Rotation::about_x(tilt));
        let half = v3(30.0, 0.05, 30.0);
        let scene = bare(&[(Shape::Brick { half }, rotation, Vec3::default())]);
        let pose = Pose::look_at(eye, v3(0.2, 0.0, -0.1), roll);
        let k = small_camera();
        let raw = look(&scene, &pose, &k);
        // The near face: n (p - q) = 0 with q on it.
        let n = wide(-rotation.y);
        let q = wide(rotation.apply(v3(0.0, -0.05, 0.0)));
        for ((v, u), &z) in raw.depth_m.indexed_iter() {
            let d = ray(&pose, &k, u, v);
            let e = wide(eye);
            let expected = dot(n, [q[0] - e[0], q[1] - e[1], q[2] - e[2]]) / dot(n, d);
            if expected > 0.0 && expected < 20.0 {
                prop_assert!((f64::from(z) - expected).abs() < 2e-5 * expected * expected.max(1.0),
                    "{z} {expected}");
            }
        }
    }

    #[test]
    fn the_depth_of_a_sphere_is_the_closed_form_and_around_it_there_is_none(
        eye in prop::array::uniform3(-0.6f32..0.6),
        r in 0.2f32..0.8,
    ) {
        let eye = v3(eye[0], eye[1] - 3.0, eye[2]);
        let shape = Shape::Ellipsoid { radii: v3(r, r, r) };
        let scene = bare(&[(shape, Rotation::IDENTITY, Vec3::default())]);
        let pose = Pose::look_at(eye, v3(0.1, 0.0, 0.0), 0.2);
        let k = small_camera();
        let raw = look(&scene, &pose, &k);
        for ((v, u), &z) in raw.depth_m.indexed_iter() {
            let (d, o) = (ray(&pose, &k, u, v), wide(eye));
            let (a, b) = (dot(d, d), dot(o, d));
            let disc = b * b - a * (dot(o, o) - f64::from(r * r));
            if disc > 1e-3 {
                let expected = (-b - disc.sqrt()) / a;
                prop_assert!((f64::from(z) - expected).abs() < 2e-4, "{z} {expected}");
            } else if disc < -1e-3 {
                prop_assert!(z.is_nan());
            }
        }
    }
}

#[test]
fn tiles_find_exactly_what_the_hierarchy_finds() {
    for source in recordings() {
        let scene = &source.room().scene;
        let k = Intrinsics::new(80, 60, 70.0, 70.0, 39.5, 29.5).unwrap();
        for t in [0.0, 4.3, 11.7] {
            let pose = source.room().camera.pose(t);
            let raw = source.room().look(&pose, &k);
            for ((v, u), &z) in raw.depth_m.indexed_iter() {
                let d = ray(&pose, &k, u, v).map(|d| d as f32);
                let hit = scene.trace(pose.position, v3(d[0], d[1], d[2]), f32::INFINITY).unwrap();
                // A ray along an edge may go either way.
                let near = (hit.t - z).abs() < 1e-3 * z;
                let edge = (-1i32..=1).any(|du| {
                    let at = (v, (u as i32 + du).clamp(0, 79) as usize);
                    (raw.depth_m[at] - hit.t).abs() < 0.02 * z
                });
                assert!(
                    near || edge,
                    "seed {} t {t} ({u}, {v}): {z} {}",
                    source.room().kind as u8,
                    hit.t
                );
            }
        }
    }
}

#[test]
fn unprojected_depth_lies_on_the_surfaces() {
    for source in recordings() {
        let k = source.intrinsics();
        let pose = source.room().camera.pose(2.0);
        let (_, depth_m) = source.room().render(&pose, k);
        for ((v, u), &z) in depth_m.indexed_iter().step_by(97) {
            let [x, y, z] = k.point_m(u as f64, v as f64, f64::from(z)).map(|c| c as f32);
            let p = pose.world_from_camera(v3(x, y, z));
            let off = source.room().scene.solids.iter().flat_map(|s| {
                (0..s.shape.faces()).map(move |face| off_surface_m(&s.shape, s.local(p), face))
            });
            let off = off.fold(f32::INFINITY, f32::min);
            assert!(off < 5e-4, "({u}, {v}) is {off} m off every surface");
        }
    }
}

#[test]
fn a_known_motion_moves_points_to_where_the_other_view_sees_them() {
    for source in recordings() {
        let k = source.intrinsics();
        let (a, b) = (source.room().camera.pose(5.0), source.room().camera.pose(5.4));
        let (depth_a, depth_b) = (source.room().render(&a, k).1, source.room().render(&b, k).1);
        let (mut seen, mut same, mut through) = (0, 0, 0);
        for ((v, u), &z) in depth_a.indexed_iter() {
            let p = k.point_m(u as f64, v as f64, f64::from(z)).map(|c| c as f32);
            let q = b.camera_from_world(a.world_from_camera(v3(p[0], p[1], p[2])));
            let (x, y) = (f64::from(q.x / q.z) * k.fx + k.cx, f64::from(q.y / q.z) * k.fy + k.cy);
            if q.z < 0.1 || x < 0.0 || y < 0.0 {
                continue;
            }
            let Some(&other) = depth_b.get((y.round() as usize, x.round() as usize)) else {
                continue;
            };
            seen += 1;
            same += u32::from((other - q.z).abs() < 0.02 * q.z);
            // Nothing that one view sees may be open air in the other.
            through += u32::from(other > 1.04 * q.z);
        }
        assert!(seen > 20_000, "views overlap too little: {seen}");
        // The rest is hidden in the other view, or lies on an outline.
        assert!(f64::from(same) > 0.65 * f64::from(seen), "{same} of {seen}");
        assert!(f64::from(through) < 0.03 * f64::from(seen), "{through} of {seen}");
    }
}

fn bytes(frame: &RgbdFrame) -> (Vec<u8>, Vec<u32>) {
    let depth = frame.depth_m.as_ref().unwrap().iter().map(|z| z.to_bits()).collect();
    (frame.color.as_raw().clone(), depth)
}

#[test]
fn one_and_four_threads_give_the_same_bytes() {
    let made = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let spec =
                RoomSpec { seed: 9, width: 160, height: 120, frames: 2, ..RoomSpec::default() };
            let mut source = RoomSource::new(spec);
            let frames: Vec<_> = std::iter::from_fn(|| source.next_frame().unwrap()).collect();
            frames.iter().map(bytes).collect::<Vec<_>>()
        })
    };
    let one = made(1);
    assert_eq!(one.len(), 2);
    assert!(one == made(4));
}

#[test]
fn different_seeds_give_different_rooms() {
    let a = Room::of_kind(RoomKind::Tabletop, 21);
    let b = Room::of_kind(RoomKind::Tabletop, 27);
    assert_ne!(a.solids(), b.solids());
    let k = small_camera();
    let (one, two) = (a.render(&a.camera.pose(0.0), &k), b.render(&b.camera.pose(0.0), &k));
    let differing = one.0.as_raw().iter().zip(two.0.as_raw()).filter(|(a, b)| a.abs_diff(**b) > 12);
    assert!(differing.count() > one.0.as_raw().len() / 2);
    assert_ne!(one.1, two.1);
}

#[test]
fn every_frame_is_bright_deep_and_mostly_measured() {
    for source in recordings() {
        let kind = source.room().kind();
        for number in (0..300).step_by(15) {
            let frame = source.frame(number);
            let depth_m = frame.usable_depth_m().unwrap();
            let mut valid: Vec<f32> = depth_m.iter().copied().filter(|z| z.is_finite()).collect();
            valid.sort_unstable_by(f32::total_cmp);
            let share = valid.len() as f32 / depth_m.len() as f32;
            assert!(share > 0.5, "{kind:?} {number}: {share} of the depth is there");
            let at = |k: f32| valid[(k * valid.len() as f32) as usize];
            assert!(at(0.95) / at(0.05) > 1.2, "{kind:?} {number}: {} to {}", at(0.05), at(0.95));
            let pixels = frame.color.as_raw();
            let share = |test: fn(u8) -> bool| {
                pixels.iter().filter(|&&b| test(b)).count() as f32 / pixels.len() as f32
            };
            let mean = pixels.iter().map(|&b| f32::from(b)).sum::<f32>() / pixels.len() as f32;
            assert!((60.0..190.0).contains(&mean), "{kind:?} {number}: mean {mean}");
            assert!(share(|b| b > 250) < 0.25, "{kind:?} {number}: {} white", share(|b| b > 250));
            assert!(share(|b| b < 12) < 0.35, "{kind:?} {number}: {} black", share(|b| b < 12));
        }
    }
}

#[test]
fn measured_depth_deviates_from_the_exact_as_the_sensor_model_says() {
    let spec = RoomSpec {
        seed: 1,
        width: 320,
        height: 240,
        sensor: RoomSensor::TimeOfFlight,
        ..RoomSpec::default()
    };
    let source = RoomSource::new(spec);
    let noise = RoomSensor::TimeOfFlight.noise().unwrap();
    let (mut n, mut squares, mut sum) = (0.0f64, 0.0f64, 0.0f64);
    for number in [0, 70, 140] {
        let exact = source
            .room()
            .look(&source.room().camera.pose(source.time_s(number)), source.intrinsics());
        let measured = source.frame(number).depth_m.unwrap();
        for (&z, &m) in exact.depth_m.iter().zip(&measured) {
            let off = f64::from((m - z) / noise.sigma_m(z));
            // Beyond 6 sigma stand the ragged edges, which the model does not speak of.
            if off.abs() < 6.0 {
                n += 1.0;
                sum += off;
                squares += off * off;
            }
        }
    }
    assert!(n > 100_000.0);
    assert!((sum / n).abs() < 0.02, "bias {}", sum / n);
    assert!(((squares / n).sqrt() - 1.0).abs() < 0.03, "deviation {}", (squares / n).sqrt());
}

#[test]
fn the_camera_keeps_clear_of_everything_and_moves_smoothly() {
    for source in recordings() {
        let (room, kind) = (source.room(), source.room().kind());
        let mut last: Option<Pose> = None;
        for step in 0..1200 {
            let pose = room.camera.pose(f64::from(step) * 0.1);
            let clear = room.clearance_m(pose.position);
            assert!(clear > 0.1, "{kind:?} step {step}: {clear} m");
            if let Some(last) = last.replace(pose) {
                let moved = (pose.position - last.position).length();
                let turned = pose.forward.dot(last.forward).clamp(-1.0, 1.0).acos();
                assert!(moved < 0.2, "{kind:?} step {step}: moved {moved} m");
                assert!(turned < 0.25, "{kind:?} step {step}: turned {turned} rad");
            }
        }
    }
}

#[test]
fn the_last_quarter_of_a_recording_revisits_what_the_first_part_saw_from_elsewhere() {
    for source in recordings() {
        let kind = source.room().kind();
        let poses: Vec<Pose> =
            (0..300).map(|i| source.room().camera.pose(source.time_s(i))).collect();
        let (first, rest) = poses.split_at(210);
        let held_out = &rest[15..];
        let known = |pose: &&Pose| {
            first.iter().any(|p| {
                let near = (p.position - pose.position).length() < 0.8;
                near && p.forward.dot(pose.forward) > 0.8
            })
        };
        let revisited = held_out.iter().filter(known).count();
        assert!(revisited > held_out.len() * 7 / 10, "{kind:?}: {revisited} of {}", held_out.len());
        let copied = held_out
            .iter()
            .filter(|pose| first.iter().any(|p| (p.position - pose.position).length() < 0.004));
        assert!(copied.count() < held_out.len() / 4, "{kind:?}: the same pictures again");
        // And the whole is more than one look.
        let turned = poses.iter().any(|p| p.forward.dot(poses[0].forward) < 0.75);
        let moved = poses.iter().any(|p| (p.position - poses[0].position).length() > 0.5);
        assert!(turned && moved, "{kind:?}: the camera stands still");
    }
}

#[test]
fn a_recording_ends_after_its_frames_and_reports_them() {
    let spec = RoomSpec { frames: 3, width: 64, height: 48, rate_hz: 20.0, ..RoomSpec::default() };
    let mut source = RoomSource::new(spec);
    let frames: Vec<RgbdFrame> = std::iter::from_fn(|| source.next_frame().unwrap()).collect();
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[2].stamp_ns - frames[0].stamp_ns, 100_000_000);
    let report = source.report();
    assert_eq!((report.frames, report.color_read, report.depth_read), (3, 3, 3));
    assert!(report.lost.is_empty() && report.unpaired.is_empty());
    assert_eq!(report.stamps_ns, Some((frames[0].stamp_ns, frames[2].stamp_ns)));
    assert_eq!(report.intrinsics, frames[0].intrinsics);
}

#[test]
fn rooms_of_many_seeds_have_things_and_a_camera_that_moves() {
    for seed in 100..112 {
        let mut b = builder::Builder::new(seed);
        let (hall, _) = layout::furnish(&mut b, RoomKind::of_seed(seed));
        assert!(b.solids.len() > 60, "seed {seed}: {} solids", b.solids.len());
        assert!(b.materials.len() < usize::from(u16::MAX) && !b.lamps.is_empty());
        let half = hall.size * 0.5 + v3(0.2, 0.2, 0.2);
        let middle = v3(0.0, 0.0, 0.5 * hall.size.z);
        for solid in &b.solids {
            let off = (solid.at - middle).abs() - half;
            assert!(off.x < 0.0 && off.y < 0.0 && off.z < 0.0, "seed {seed}: {solid:?} is outside");
        }
    }
}
