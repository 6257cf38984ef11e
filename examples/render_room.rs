//! Renders a few frames of a room to a folder: colour, and depth in millimetres as 16-bit
//! PNG, as recorded data sets have it.
//!
//! `cargo run --release --example render_room -- seed=7,frames=5,rate_hz=1 out`

use std::{error::Error, path::PathBuf};

use image::{ImageBuffer, Luma};
use spatial_ssrl::source::{
    FrameSource,
    room::{RoomSource, RoomSpec},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let text = arguments.next().unwrap_or_else(|| "frames=5,rate_hz=1".to_owned());
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "room".to_owned()));
    let mut source = RoomSource::new(RoomSpec::parse(&text)?);
    std::fs::create_dir_all(&folder)?;
    let mut number = 0;
    while let Some(frame) = source.next_frame()? {
        frame.color.save(folder.join(format!("{number:04}_color.png")))?;
        if let Some(depth_m) = &frame.depth_m {
            // 0 stands for "none", as cameras send it; a cast of NaN gives 0.
            let millimetres: Vec<u16> = depth_m.iter().map(|z| (z * 1000.0) as u16).collect();
            let picture: ImageBuffer<Luma<u16>, _> =
                ImageBuffer::from_raw(frame.width(), frame.height(), millimetres)
                    .ok_or("depth and colour differ in size")?;
            picture.save(folder.join(format!("{number:04}_depth.png")))?;
        }
        number += 1;
    }
    println!(
        "{number} frames of a {:?} room with {} solids in {}",
        source.room().kind(),
        source.room().solids(),
        folder.display()
    );
    Ok(())
}
