//! A task of your own: "which of two marked points is nearer?"
//!
//! ```text
//! cargo run --release --example custom_task [picture.png]
//! ```
//!
//! A source gives a question in one of the forms that the policies here know (this one asks
//! to order two points), so nothing else has to be written: candidates, chance, prompt,
//! pictures, reward and learning all follow from the form.

use std::sync::Arc;

use image::{Rgb, RgbImage};
use ndarray::Array2;
use rand::RngExt;
use spatial_ssrl::{
    frame::{FrameId, Registration, RgbdFrame, SensorModel},
    tally::Tally,
    task::{
        Answer, Label, Pixel, PreparedFrame, Preset, Question, Recipe, Skip, Task, TaskKind,
        TaskSet, TaskSource, seed,
    },
};

/// Two random points; the margin between their depths must exceed the sensor's noise.
struct NearerOfTwo;

impl TaskSource for NearerOfTwo {
    fn kind(&self) -> TaskKind {
        TaskKind::Custom(Label::try_from("nearer_of_two").unwrap_or_default())
    }

    fn make(&self, prepared: &PreparedFrame<'_>, seed: u64) -> Result<Task, Skip> {
        let frame = prepared.frame();
        let depth_m = frame.usable_depth_m().ok_or(Skip::NoDepth)?;
        let mut rng = seed::rng(seed);
        for _ in 0..50 {
            let mut draw = || Pixel {
                x: rng.random_range(0..frame.width()),
                y: rng.random_range(0..frame.height()),
            };
            let points = [draw(), draw()];
            let z_m = points.map(|p| depth_m[[p.y as usize, p.x as usize]]);
            let noise_m = prepared.sensor().sigma_m(z_m[0].max(z_m[1]));
            // A NaN (no depth) fails this comparison too.
            if (z_m[0] - z_m[1]).abs() > 0.1 + 6.0 * noise_m {
                let order = if z_m[0] < z_m[1] { [0, 1] } else { [1, 0] };
                return Ok(Task {
                    kind: self.kind(),
                    frame_id: frame.id,
                    stamp_ns: frame.stamp_ns,
                    picture_size: (frame.width(), frame.height()),
                    seed,
                    preset: Preset::Balanced,
                    question: Question::OrderPoints { points: points.into_iter().collect() },
                    answer: Answer::Order(order.into_iter().collect()),
                    recipe: Recipe::Whole,
                });
            }
        }
        Err(Skip::Custom("no_two_points_far_enough_apart_in_depth"))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let frame = floor_with_balls();
    let prepared = PreparedFrame::new(&frame, SensorModel::STRUCTURED_LIGHT);

    // It stands beside the built-in kinds, or alone.
    let set = TaskSet::default().with(Arc::new(NearerOfTwo)).only(&["nearer_of_two"])?;
    let mut skipped = Tally::default();
    let tasks = set.make_all(&prepared, 4, 7, &mut skipped);
    for task in &tasks {
        println!(
            "{}\n  answer {}, chance {}\n",
            task.prompt(),
            task.answer,
            task.question.chance()
        );
    }
    println!("{} tasks, {} skipped", tasks.len(), skipped.total());

    if let Some(first) = tasks.first() {
        let path = std::env::args().nth(1).map_or_else(
            || std::env::temp_dir().join("nearer_of_two.png"),
            std::path::PathBuf::from,
        );
        first.pictures(&frame)?[0].save(&path)?;
        println!("picture of the first: {}", path.display());
    }
    Ok(())
}

/// A checkered floor under a wall with three balls on it; the depth is known exactly.
fn floor_with_balls() -> RgbdFrame {
    let (width, height) = (320_u32, 240_u32);
    let (fx, cx, cy, camera_height_m, wall_m) = (260.0_f32, 160.0, 120.0, 0.6, 4.0);
    let balls = [([-0.5, 0.35, 1.6], 0.25), ([0.4, 0.4, 2.4], 0.2), ([0.1, 0.3, 3.3], 0.3)];
    let colors = [[200, 60, 50], [60, 90, 200], [230, 190, 60]];
    let mut color = RgbImage::new(width, height);
    let mut depth_m = Array2::from_elem((height as usize, width as usize), f32::NAN);
    for (x, y, pixel) in color.enumerate_pixels_mut() {
        let ray = [(x as f32 - cx) / fx, (y as f32 - cy) / fx, 1.0];
        let floor_m = if ray[1] > 0.0 { camera_height_m / ray[1] } else { f32::INFINITY };
        let mut z_m = floor_m.min(wall_m);
        let check = ((ray[0] * z_m * 4.0).floor() + (z_m * 4.0).floor()) as i32;
        let shade = if floor_m < wall_m { 120 + 60 * (check & 1) as u8 } else { 210 };
        let mut rgb = [shade, shade, shade];
        for (([bx, by, bz], radius), ball) in balls.iter().zip(colors) {
            let along =
                (ray[0] * bx + ray[1] * by + bz) / (ray[0] * ray[0] + ray[1] * ray[1] + 1.0);
            let off: f32 =
                [ray[0] * along - bx, ray[1] * along - by, along - bz].iter().map(|d| d * d).sum();
            let inside = radius * radius - off;
            if inside > 0.0 && along - inside.sqrt() < z_m {
                z_m = along - inside.sqrt();
                let light = 0.5 + 0.5 * inside.sqrt() / radius;
                rgb = ball.map(|c: u8| (f32::from(c) * light) as u8);
            }
        }
        *pixel = Rgb(rgb);
        depth_m[[y as usize, x as usize]] = z_m;
    }
    RgbdFrame {
        id: FrameId(1),
        stamp_ns: 1,
        depth_stamp_ns: None,
        color,
        depth_m: Some(depth_m),
        intrinsics: None,
        registration: Registration::Registered,
    }
}
