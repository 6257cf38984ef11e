//! Asks a colour picture what a robot would ask: what is nearer, how far is everything, where
//! does one thing lie from another, and how many metres, given a few depths that are known.
//!
//! ```text
//! cargo run --release --example ask [picture.png [RUN/policy]]
//! ```
//!
//! `RUN/policy` is what `spatial-ssrl adapt --out RUN` wrote: a policy knows the room that it
//! has learnt in.

use std::{error::Error, path::Path};

use image::RgbImage;
use spatial_ssrl::{
    sense::{DepthSample, SpatialSense},
    source::{
        FrameSource,
        room::{RoomSource, RoomSpec},
    },
    task::{Facing, Pixel},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let picture: RgbImage = match arguments.next() {
        Some(path) => image::open(path)?.into_rgb8(),
        None => rendered()?,
    };
    let sense = match arguments.next() {
        Some(folder) => SpatialSense::load(Path::new(&folder))?,
        None => SpatialSense::builtin()?,
    };

    // The picture is encoded once; every question after that costs about a millisecond.
    let look = sense.look(&picture)?;
    let (width, height) = look.size();
    let [low, middle, high] = [9, 5, 2].map(|tenth| Pixel { x: width / 2, y: height * tenth / 10 });

    let order = look.order(&[low, middle, high])?;
    let names = ["low", "middle", "high"];
    let nearest: Vec<_> = order.nearest_first().iter().map(|&at| names[at]).collect();
    println!("nearest to farthest: {nearest:?}, {:.0} % sure", 100.0 * order.probability());

    let target = Pixel { x: width / 4, y: height / 2 };
    let (direction, probability) = look.position(low, target, Facing::AwayFromViewer, None)?.best();
    println!(
        "from the low pixel, facing away, the target lies {} ({:.0} % sure)",
        direction.name(),
        100.0 * probability
    );

    // Two depths that the robot knows, from a bumper or what is left of a depth camera.
    let known =
        [DepthSample { pixel: low, depth_m: 0.9 }, DepthSample { pixel: high, depth_m: 3.0 }];
    let distance = look.distance(&known, &[middle])?.at[0];
    println!("the middle is {:.2} m away, give or take {:.2}", distance.depth_m, distance.error_m);

    let orientation = look.orientation()?;
    println!("upside down: {:.0} %", 100.0 * orientation.upside_down);

    let path = std::env::temp_dir().join("farness.png");
    look.map()?.false_colour().save(&path)?;
    println!("red is near, blue far: {}", path.display());
    Ok(())
}

/// A picture of a room, so that nothing is needed to try this.
fn rendered() -> Result<RgbImage, Box<dyn Error>> {
    let mut room = RoomSource::new(RoomSpec { frames: 1, ..RoomSpec::default() });
    Ok(room.next_frame()?.ok_or("the room has no frame")?.color)
}
