//! Depth that was taken at another moment of a turn is brought to where colour is; depth that lies
//! well stays as it is.

use spatial_ssrl::{
    adapt::{
        gate::{Gate, GateConfig, GateReason},
        summary::FrameCounts,
    },
    frame::{DepthMap, FrameId, Registration, RgbdFrame, align, displaced},
    source::{
        self,
        room::{Pose, RoomSource, RoomSpec, Vec3},
    },
};

mod common;

/// Where a camera looks after a turn: yaw, pitch and roll, degrees.
type Turn = [f32; 3];

/// A view of a rendered room: colour from one pose, depth from the same eye after a turn, 12 ms
/// later; and the depth that belongs to colour.
fn view(room: &RoomSource, number: u32, turn: Turn) -> (RgbdFrame, DepthMap) {
    let pose = room.room().camera().pose(room.time_s(number));
    let eye = pose.world_from_camera(Vec3 { x: 0.0, y: 0.0, z: 0.0 });
    let turned = |[yaw, pitch, roll]: Turn| {
        let [x, y] = [yaw, pitch].map(|angle| angle.to_radians().tan());
        let ahead = pose.direction_world(Vec3 { x, y, z: 1.0 });
        let target = Vec3 { x: eye.x + ahead.x, y: eye.y + ahead.y, z: eye.z + ahead.z };
        Pose::look_at(eye, target, roll.to_radians())
    };
    let (color, truth_m) = room.room().render(&turned([0.0; 3]), room.intrinsics());
    let (_, depth_m) = room.room().render(&turned(turn), room.intrinsics());
    let stamp_ns = room.frame_stamp_ns(number);
    let frame = RgbdFrame {
        id: FrameId::from_stamp(stamp_ns),
        stamp_ns,
        depth_stamp_ns: Some(stamp_ns + 12_000_000),
        color,
        depth_m: Some(depth_m),
        intrinsics: Some(*room.intrinsics()),
        registration: Registration::Registered,
    };
    (frame, truth_m)
}

fn rooms() -> impl Iterator<Item = RoomSource> {
    (0..4).map(|seed| RoomSource::new(RoomSpec { seed: 40 + seed, ..RoomSpec::default() }))
}

/// Part of the pixels whose depth is off by more than a twentieth.
fn wrong(depth_m: &DepthMap, truth_m: &DepthMap) -> f64 {
    let both = || depth_m.iter().zip(truth_m).filter(|(a, b)| a.is_finite() && b.is_finite());
    let off = both().filter(|(a, b)| (**a / **b).ln().abs() > 0.05).count();
    off as f64 / both().count() as f64
}

#[test]
fn what_a_turn_did_to_depth_is_found_and_undone() {
    let turns: [Turn; 5] =
        [[1.5, 0.0, 0.0], [-2.0, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, -1.5, -2.0], [0.5, 2.5, 4.0]];
    let (mut before, mut after, mut seen, mut certain) = (0.0, 0.0, 0, 0);
    for room in rooms() {
        for (number, turn) in (0..).step_by(40).zip(turns) {
            let (frame, truth_m) = view(&room, number, turn);
            let found = displaced::displacement(&frame).unwrap();
            let depth_m = frame.depth_m.unwrap();
            seen += 1;
            certain += u32::from(found.is_certain(true) && !found.out_of_reach);
            before += wrong(&depth_m, &truth_m);
            after += wrong(&displaced::brought_back(&depth_m, &found), &truth_m);
        }
    }
    assert!(certain >= seen - 2, "{certain} of {seen}");
    assert!(after < before / 5.0, "wrong pixels of {seen} views: {before} before, {after} after");
}

#[test]
fn depth_that_lies_well_is_left_where_it_is() {
    for room in rooms() {
        for number in (0..200).step_by(40) {
            let (frame, truth_m) = view(&room, number, [0.0; 3]);
            let found = displaced::displacement(&frame).unwrap();
            let far_px = found.right_px.hypot(found.down_px);
            assert!(!found.is_certain(true) || far_px < 5.0, "{found:?}");
            let no_stamp = RgbdFrame { depth_stamp_ns: None, ..frame.clone() };
            for frame in [frame, no_stamp] {
                let admitted = Gate::default().admit(frame).unwrap();
                assert!(wrong(&admitted.frame.depth_m.unwrap(), &truth_m) < 0.05);
            }
        }
    }
}

#[test]
fn what_was_or_may_have_been_taken_at_another_moment_is_moved_and_counted() {
    let room = rooms().next().unwrap();
    let (frame, truth_m) = view(&room, 0, [-2.0, 1.0, 0.0]);
    let mut counts = FrameCounts::default();
    let no_stamp = RgbdFrame { depth_stamp_ns: None, ..frame.clone() };
    let as_it_was = frame.depth_m.clone().unwrap();
    for frame in [frame.clone(), no_stamp] {
        let moved = counts.admit(&mut Gate::default(), frame).unwrap();
        assert!(wrong(&moved.depth_m.unwrap(), &truth_m) < wrong(&as_it_was, &truth_m) / 2.0);
    }
    assert_eq!((counts.depth_moved, counts.used), (2, 2));

    let one_moment = RgbdFrame { depth_stamp_ns: Some(frame.stamp_ns), ..frame.clone() };
    let off = GateConfig { bring_back_depth: false, ..GateConfig::default() };
    for (frame, config) in [(one_moment, GateConfig::default()), (frame, off)] {
        let kept = counts.admit(&mut Gate::new(config).unwrap(), frame).unwrap();
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        assert!(kept.depth_m.unwrap().iter().zip(&as_it_was).all(same));
    }
    assert_eq!((counts.depth_moved, counts.used), (2, 4));
}

#[test]
fn a_turn_beyond_what_is_looked_for_makes_nothing_worse() {
    for room in rooms() {
        let (frame, truth_m) = view(&room, 0, [7.0, 0.0, 0.0]);
        let before = wrong(frame.depth_m.as_ref().unwrap(), &truth_m);
        let admitted = Gate::default().admit(frame).unwrap();
        if let Some(reason) = admitted.color_only {
            assert_eq!(reason, GateReason::DisplacedDepth);
            assert_eq!(admitted.frame.registration, Registration::Unregistered);
        } else {
            // Not seen, but not made worse.
            assert!(wrong(&admitted.frame.depth_m.unwrap(), &truth_m) <= before + 0.02);
        }
    }
}

#[test]
fn edges_of_a_recorded_turn_meet_better_after_the_gate() {
    let Some(bag) = common::shared("data/tum-fr1-rpy-10hz") else { return };
    let mut source = source::open(&bag.to_string_lossy(), &Default::default()).unwrap();
    let all = std::iter::from_fn(|| source.next_frame().unwrap());
    let frames: Vec<RgbdFrame> = all.step_by(6).take(36).collect();
    let mut gate = Gate::default();
    let admitted: Vec<_> =
        frames.iter().filter_map(|frame| gate.admit(frame.clone()).ok()).collect();
    let moved = admitted.iter().filter(|admitted| admitted.depth_moved).count();
    assert!(moved > admitted.len() / 2, "{moved} of {} moved", admitted.len());
    let meets = |alignment: align::Alignment| (alignment.means[0], alignment.peak());
    let before = meets(align::over_frames(frames).unwrap());
    let after = meets(align::over_frames(admitted.into_iter().map(|a| a.frame)).unwrap());
    println!("rank of colour's gradient and peak: {before:?} before, {after:?} after");
    assert!(after.0 > before.0 + 0.03 && after.1 > before.1 + 1.0, "{before:?} {after:?}");
}
