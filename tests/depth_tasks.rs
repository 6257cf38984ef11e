//! Depth tasks on depth that is known exactly: answers are true by the promised margins, and
//! what cannot make a task says why.

use proptest::prelude::*;
use spatial_ssrl::{
    frame::{DepthMap, FrameId, Intrinsics, Registration, RgbdFrame, SensorModel, augment},
    task::{
        Answer, Direction, Pixel, PositionRule, PreparedFrame, Preset, Question, Skip, TaskKind,
        TaskSet, TaskSource,
        depth_order::DepthOrder,
        position::{Position, sector, turned},
        regions::RegionIndex,
    },
};

const SIZE: (u32, u32) = (320, 240);

fn frame(depth_m: DepthMap) -> RgbdFrame {
    let (height, width) = depth_m.dim();
    let (width, height) = (width as u32, height as u32);
    let f = f64::from(width) * 0.8;
    let (cx, cy) = (f64::from(width) / 2.0 - 0.5, f64::from(height) / 2.0 - 0.5);
    RgbdFrame {
        id: FrameId(5),
        stamp_ns: 5,
        depth_stamp_ns: Some(5),
        color: image::RgbImage::new(width, height),
        depth_m: Some(depth_m),
        intrinsics: Intrinsics::new(width, height, f, f, cx, cy).ok(),
        registration: Registration::Registered,
    }
}

/// A hash in 0..1 of a place and a seed.
fn chance(a: usize, b: usize, seed: u64) -> f32 {
    let mixed = spatial_ssrl::task::seed::mix(seed, (a * 7919 + b) as u64);
    (mixed >> 40) as f32 / (1_u64 << 24) as f32
}

/// Blocks at random depths in front of a sloping floor, with holes and one per mille noise.
fn scene(seed: u64, slope: f32, holes: f32) -> DepthMap {
    DepthMap::from_shape_fn((SIZE.1 as usize, SIZE.0 as usize), |(y, x)| {
        let (row, col) = (y / 30, x / 32);
        if chance(row + 100, col, seed) < holes {
            return f32::NAN;
        }
        let floor = 1.0 + slope * (SIZE.1 as usize - y) as f32 / SIZE.1 as f32;
        let clean =
            if chance(row, col, seed) < 0.7 { 0.8 + 2.4 * chance(col, row, seed) } else { floor };
        clean * (1.0 + 0.002 * (chance(x, y, seed + 1) - 0.5))
    })
}

/// Nearest, mean and farthest reading within `half` pixels, and how many are missing.
fn around(depth_m: &DepthMap, at: Pixel, half: u32) -> (f32, f32, f32, usize) {
    let (mut least, mut most, mut sum, mut n, mut none) = (f32::MAX, 0.0_f32, 0.0, 0, 0);
    for y in at.y - half..=at.y + half {
        for x in at.x - half..=at.x + half {
            let z = depth_m[(y as usize, x as usize)];
            if z.is_nan() {
                none += 1;
            } else {
                (least, most, sum, n) = (least.min(z), most.max(z), sum + z, n + 1);
            }
        }
    }
    (least, sum / n as f32, most, none)
}

/// Half the fallback window at this picture size.
const HALF: u32 = 2;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn depth_orders_are_true_by_more_than_band_gap_and_noise(
        seed in 0_u64..1000, slope in 0.0_f32..3.0, published in any::<bool>(),
    ) {
        let frame = frame(scene(seed, slope, 0.1));
        let preset = if published { Preset::Published } else { Preset::Balanced };
        let sensor = SensorModel::default();
        let prepared = PreparedFrame::new(&frame, sensor);
        let depth_m = frame.depth_m.as_ref().unwrap();
        for number in 0..20 {
            let Ok(task) = DepthOrder::new(preset).make(&prepared, number) else { continue };
            let (_, range_m) = prepared.regions().unwrap().range_m();
            let (Question::OrderPoints { points }, Answer::Order(order)) =
                (&task.question, &task.answer) else { panic!("{task:?}") };
            let of: Vec<_> =
                order.iter().map(|&i| around(depth_m, points[usize::from(i)], HALF)).collect();
            for pair in of.windows(2) {
                let gap = pair[1].0 - pair[0].2;
                prop_assert!(gap >= 0.0499 * range_m, "gap {gap} in a range of {range_m}");
                prop_assert!(gap > 5.0 * sensor.sigma_m(pair[1].1), "gap {gap} within noise");
            }
        }
    }

    #[test]
    fn positions_name_the_sector_of_the_3d_points(seed in 0_u64..1000, slope in 0.0_f32..3.0) {
        let frame = frame(scene(seed, slope, 0.05));
        let prepared = PreparedFrame::new(&frame, SensorModel::default());
        let (depth_m, camera) = (frame.depth_m.as_ref().unwrap(), frame.intrinsics.unwrap());
        for number in 0..20 {
            let Ok(task) = Position::new(Preset::Balanced).make(&prepared, number) else { continue };
            let Question::RelativePosition { observer, target, facing, options, rule, .. } =
                task.question else { panic!("{task:?}") };
            prop_assert_eq!(rule, PositionRule::Metric);
            let point = |p: Pixel| {
                let z = f64::from(around(depth_m, p, HALF).1);
                camera.point_m(f64::from(p.x), f64::from(p.y), z)
            };
            let (o, t) = (point(observer), point(target));
            let seen = sector((t[0] - o[0]) as f32, (t[2] - o[2]) as f32).unwrap();
            let Answer::Choice(right) = task.answer else { panic!("{task:?}") };
            prop_assert_eq!(options[usize::from(right)], turned(seen, facing));
            prop_assert!((t[0] - o[0]).hypot(t[2] - o[2]) > 0.09);
            let different: std::collections::BTreeSet<Direction> = options.into_iter().collect();
            prop_assert_eq!(different.len(), 4);
        }
    }

    #[test]
    fn no_region_holds_a_hole_or_an_edge(seed in 0_u64..1000) {
        let depth_m = scene(seed, 1.0, 0.25);
        let Ok(index) = RegionIndex::build(&depth_m, SensorModel::default()) else { return Ok(()) };
        let (_, range_m) = index.range_m();
        let (cols, rows) = index.grid_size();
        for at in 0..2 {
            let level = index.level(at);
            let half = level.window_px() / 2;
            // A hole may reach in by a quarter of a ninth of the window, no farther.
            let inner = half - level.window_px().div_ceil(12).min(half);
            for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
                let Some(region) = level.region(row, col, &index) else { continue };
                let (least, _, most, _) = around(&depth_m, region.pixel, half);
                prop_assert_eq!((least, most), (region.nearest_m, region.farthest_m));
                prop_assert!(most - least < 0.2 * range_m);
                prop_assert_eq!(around(&depth_m, region.pixel, inner).3, 0);
            }
        }
    }

    #[test]
    fn the_same_frame_and_seed_give_the_same_task(seed in 0_u64..1000, number in any::<u64>()) {
        let frame = frame(scene(seed, 1.5, 0.1));
        for preset in [Preset::Balanced, Preset::Published] {
            for source in [
                &DepthOrder::new(preset) as &dyn TaskSource, &Position::new(preset),
            ] {
                let one = PreparedFrame::new(&frame, SensorModel::default());
                let other = PreparedFrame::new(&frame, SensorModel::default());
                let first = source.make(&one, number);
                prop_assert_eq!(&first, &source.make(&one, number));
                prop_assert_eq!(&first, &source.make(&other, number));
            }
        }
    }
}

#[test]
fn seeds_make_enough_tasks_for_the_properties_to_mean_something() {
    let mut made = [0; 2];
    for seed in 0..10 {
        let frame = frame(scene(seed, 1.5, 0.1));
        let prepared = PreparedFrame::new(&frame, SensorModel::default());
        let set = TaskSet::new(Preset::Balanced);
        for (made, kind) in made.iter_mut().zip([TaskKind::Depth, TaskKind::Position]) {
            *made += (0..20).filter(|&n| set.make(&prepared, &kind, 1, n).is_ok()).count();
        }
    }
    assert!(made.iter().all(|&made| made > 60), "{made:?} of 200");
}

#[test]
fn a_mirrored_frame_has_the_same_depths_at_mirrored_regions() {
    let frame = frame(scene(3, 1.5, 0.1));
    let mirrored = augment::mirror(&frame);
    let index = |frame: &RgbdFrame| {
        RegionIndex::build(frame.depth_m.as_ref().unwrap(), SensorModel::default()).unwrap()
    };
    let (here, there) = (index(&frame), index(&mirrored));
    let (a, b) = (here.range_m(), there.range_m());
    // Percentiles are read off a sample, which is another one in the mirrored picture.
    assert!((a.0 - b.0).abs() < 0.05 && (a.1 - b.1).abs() < 0.05, "{a:?} {b:?}");
    let (cols, rows) = here.grid_size();
    let last = SIZE.0 - 1;
    let mut compared = 0;
    for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
        let there = there.level(1).region(row, cols - 1 - col, &there);
        let (Some(one), Some(two)) = (here.level(1).region(row, col, &here), there) else {
            continue;
        };
        // A grid that cannot be centred is off by a pixel.
        if one.pixel.x == last - two.pixel.x {
            assert!((one.depth_m - two.depth_m).abs() < 1e-4);
            compared += 1;
        }
    }
    let grid_is_centred = here.pixel(0, 0).x == last - there.pixel(0, cols - 1).x;
    assert!(compared > 100 || !grid_is_centred, "{compared} regions compared");
}

fn reason(depth_m: DepthMap, kind: &TaskKind) -> &'static str {
    let frame = frame(depth_m);
    let prepared = PreparedFrame::new(&frame, SensorModel::default());
    let set = TaskSet::new(Preset::Balanced);
    set.make(&prepared, kind, 1, 0).map_or_else(|skip| skip.name(), |_| "a task")
}

#[test]
fn what_makes_no_task_says_why() {
    let flat = |value: f32| DepthMap::from_elem((240, 320), value);
    let steps = DepthMap::from_shape_fn((240, 320), |(_, x)| if x < 160 { 1.0 } else { 3.0 });
    for kind in [TaskKind::Depth, TaskKind::Position] {
        assert_eq!(reason(flat(f32::NAN), &kind), "too_little_depth");
        assert_eq!(reason(flat(-1.0), &kind), "too_little_depth");
        assert_eq!(reason(flat(f32::INFINITY), &kind), "too_little_depth");
        assert_eq!(reason(flat(2.0), &kind), "depth_range_too_small");
        assert_eq!(reason(DepthMap::from_elem((40, 320), 1.0), &kind), "picture_too_small");
    }
    // Two flat levels have no middle.
    assert_eq!(reason(steps, &TaskKind::Depth), "no_regions");
}

#[test]
fn depth_that_cannot_be_used_is_named() {
    let mut frame = frame(scene(1, 1.5, 0.1));
    frame.registration = Registration::Unregistered;
    let regions = |frame: &RgbdFrame| {
        PreparedFrame::new(frame, SensorModel::default()).regions().map(|_| ()).unwrap_err()
    };
    assert_eq!(regions(&frame), Skip::DepthUnregistered);
    frame.depth_m = None;
    assert_eq!(regions(&frame), Skip::NoDepth);
}

#[test]
fn a_huge_picture_is_indexed_with_a_grid_of_bounded_size() {
    let depth_m =
        DepthMap::from_shape_fn((1500, 4000), |(y, x)| 1.0 + (x / 400 + y / 300) as f32 * 0.3);
    let index = RegionIndex::build(&depth_m, SensorModel::default()).unwrap();
    let (cols, rows) = index.grid_size();
    assert!(cols <= 128 && rows <= 128, "{cols}x{rows}");
    assert!(index.level(0).even_rows() != 0);
}

#[test]
fn a_sensor_with_a_regular_grid_of_holes_still_has_regions() {
    // Three of ten pixels are valid, as with some depth cameras registered to colour.
    let depth_m = DepthMap::from_shape_fn((480, 640), |(y, x)| {
        if (3 * x + 2 * y) % 10 < 3 { 0.5 + (x / 160) as f32 * 0.2 } else { f32::NAN }
    });
    let index = RegionIndex::build(&depth_m, SensorModel::default()).unwrap();
    let (cols, rows) = index.grid_size();
    let regions: u32 = (0..rows).map(|row| index.level(0).even(row).count_ones()).sum();
    assert!(regions as usize > cols * rows / 4, "{regions} of {}", cols * rows);
}
