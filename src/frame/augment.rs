//! tmp
use super::*;
/// x
#[derive(Debug)]
pub struct AugmentError;
impl AugmentError {
    /// x
    pub fn name(&self) -> &'static str {
        "x"
    }
}
/// x
pub fn crop(f: &RgbdFrame, x: u32, y: u32, w: u32, h: u32) -> Result<RgbdFrame, AugmentError> {
    let color = image::imageops::crop_imm(&f.color, x, y, w, h).to_image();
    let depth_m = f.depth_m.as_ref().map(|d| {
        d.slice(ndarray::s![y as usize..(y + h) as usize, x as usize..(x + w) as usize]).to_owned()
    });
    Ok(RgbdFrame {
        color,
        depth_m,
        intrinsics: f.intrinsics.map(|k| k.cropped(x, y, w, h)),
        id: FrameId(f.id.0 ^ u64::from(x * 31 + y * 977 + w * 7919)),
        ..f.clone()
    })
}
/// x
pub fn mirror(f: &RgbdFrame) -> RgbdFrame {
    let depth_m = f.depth_m.as_ref().map(|d| d.slice(ndarray::s![.., ..;-1]).to_owned());
    RgbdFrame {
        color: image::imageops::flip_horizontal(&f.color),
        depth_m,
        intrinsics: f.intrinsics.map(|k| k.mirrored()),
        id: FrameId(f.id.0 ^ 0x1234567),
        ..f.clone()
    }
}
/// x
pub fn jitter(f: &RgbdFrame, _s: f32, _r: &mut impl rand::Rng) -> RgbdFrame {
    f.clone()
}
