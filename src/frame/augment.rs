//! Frames made from a frame: cropped, mirrored, resized, and with another light. What is
//! geometry stays true: depth and intrinsics change with the picture, and no depth is ever
//! interpolated across an edge.
//!
//! The stamp stays, the id changes with the parameters. Depth that is not registered to
//! colour cannot follow and is dropped.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, images::Image as Pixels,
    images::ImageRef,
};
use image::{Rgb, RgbImage};
use rand::{Rng, RngExt};

use super::{
    DepthMap, FrameId, RgbdFrame, Window,
    convert::{ConvertError, check_size},
};

/// Tells the changes apart in derived ids.
const CROPPED: u64 = 1;
const RESIZED: u64 = 2;
const JITTERED: u64 = 3;
const ROLLED: u64 = 4;
/// Mirroring flips these bits of the id, so that mirroring twice gives the id back.
const MIRRORED: u64 = 0xA5A5_0F0F_3C3C_9696;

/// Why a frame cannot be changed like that.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AugmentError {
    /// The rectangle is empty or reaches beyond the picture.
    #[error(
        "rectangle {width}x{height} at ({x}, {y}) is not inside the {picture_width}x\
         {picture_height} picture"
    )]
    Outside {
        /// Left edge.
        x: u32,
        /// Top edge.
        y: u32,
        /// Width.
        width: u32,
        /// Height.
        height: u32,
        /// Width of the picture.
        picture_width: u32,
        /// Height of the picture.
        picture_height: u32,
    },
    /// The new size is empty or too large, or the picture is empty.
    #[error(transparent)]
    Size(#[from] ConvertError),
    /// The filter refused the picture.
    #[error("resizing to {width}x{height}: {why}")]
    Filter {
        /// New width.
        width: u32,
        /// New height.
        height: u32,
        /// What the filter said.
        why: String,
    },
}

/// The part of a frame at column `x` and row `y`.
///
/// # Errors
/// [`AugmentError::Outside`].
///
/// ```
/// use spatial_ssrl::frame::{FrameId, Registration, RgbdFrame, augment};
/// # let frame = RgbdFrame {
/// #     id: FrameId(1), stamp_ns: 1, depth_stamp_ns: None,
/// #     color: image::RgbImage::new(64, 48), depth_m: None, intrinsics: None,
/// #     registration: Registration::Unregistered,
/// # };
/// let part = augment::crop(&frame, 10, 20, 30, 28)?;
/// assert_eq!((part.width(), part.height()), (30, 28));
/// assert!(augment::crop(&frame, 40, 0, 30, 28).is_err());
/// # Ok::<(), augment::AugmentError>(())
/// ```
pub fn crop(
    frame: &RgbdFrame,
    x: u32,
    y: u32,
    width: u32,
    height: u32,
) -> Result<RgbdFrame, AugmentError> {
    let (picture_width, picture_height) = frame.color.dimensions();
    let fits = |at: u32, side: u32, of: u32| side > 0 && at <= of && side <= of - at;
    if !fits(x, width, picture_width) || !fits(y, height, picture_height) {
        return Err(AugmentError::Outside { x, y, width, height, picture_width, picture_height });
    }
    let parameters = [CROPPED, x.into(), y.into(), width.into(), height.into()];
    Ok(RgbdFrame {
        id: frame.id.derived(&parameters),
        color: image::imageops::crop_imm(&frame.color, x, y, width, height).to_image(),
        depth_m: map_depth(frame, width, height, |u, v| (u + x as usize, v + y as usize)),
        intrinsics: frame.intrinsics.map(|k| k.cropped(x, y, width, height)),
        ..*frame
    })
}

/// A frame as a mirror shows it, left and right exchanged. Twice gives the frame back.
pub fn mirror(frame: &RgbdFrame) -> RgbdFrame {
    let (width, height) = frame.color.dimensions();
    let last = (width as usize).saturating_sub(1);
    RgbdFrame {
        id: FrameId(frame.id.0 ^ MIRRORED),
        color: image::imageops::flip_horizontal(&frame.color),
        depth_m: map_depth(frame, width, height, |u, v| (last - u, v)),
        intrinsics: frame.intrinsics.map(|k| k.mirrored()),
        ..*frame
    }
}

/// The part of a frame that a window shows: what the camera would see after a roll about its
/// optical axis, so that depth stays what it is. Colour is interpolated, depth is that of the
/// nearest pixel.
///
/// # Errors
/// [`AugmentError::Outside`], with the upright rectangle that holds the window.
///
/// ```
/// use spatial_ssrl::frame::{FrameId, Registration, RgbdFrame, Window, augment};
/// # let frame = RgbdFrame {
/// #     id: FrameId(1), stamp_ns: 1, depth_stamp_ns: None,
/// #     color: image::RgbImage::new(64, 48), depth_m: None, intrinsics: None,
/// #     registration: Registration::Unregistered,
/// # };
/// let window = Window { centre: [31.5, 23.5], size: (30, 20), roll_rad: 0.5 };
/// let rolled = augment::roll(&frame, &window)?;
/// assert_eq!((rolled.width(), rolled.height()), (30, 20));
/// assert!(augment::roll(&frame, &Window { size: (64, 48), ..window }).is_err());
/// # Ok::<(), augment::AugmentError>(())
/// ```
pub fn roll(frame: &RgbdFrame, window: &Window) -> Result<RgbdFrame, AugmentError> {
    let (picture_width, picture_height) = frame.color.dimensions();
    let aspect = frame.intrinsics.map_or(1.0, |k| k.fx / k.fy);
    let (width, height) = window.size;
    let reach = window.reach(aspect);
    let inside = |centre: f64, reach: f64, of: u32| {
        // What rounding may add.
        const SLACK: f64 = 1e-6;
        centre - reach >= -SLACK && centre + reach <= f64::from(of) - 1.0 + SLACK
    };
    if width == 0
        || height == 0
        || !inside(window.centre[0], reach[0], picture_width)
        || !inside(window.centre[1], reach[1], picture_height)
    {
        let [x, y] = [0, 1].map(|i| (window.centre[i] - reach[i]).max(0.0) as u32);
        let [width, height] = reach.map(|reach| ((2.0 * reach) as u32).saturating_add(1));
        return Err(AugmentError::Outside { x, y, width, height, picture_width, picture_height });
    }
    let source = |u: f64, v: f64| window.source(aspect, [u, v]);
    let color = RgbImage::from_fn(width, height, |u, v| {
        bilinear(&frame.color, source(f64::from(u), f64::from(v)))
    });
    let [x, y] = window.centre.map(f64::to_bits);
    let parameters = [ROLLED, x, y, width.into(), height.into(), window.roll_rad.to_bits()];
    Ok(RgbdFrame {
        id: frame.id.derived(&parameters),
        color,
        depth_m: map_depth(frame, width, height, |u, v| {
            // A float to integer cast keeps to what is not negative.
            let [u, v] = source(u as f64, v as f64).map(|at| at.round() as usize);
            (u.min(picture_width as usize - 1), v.min(picture_height as usize - 1))
        }),
        intrinsics: frame.intrinsics.map(|k| k.rolled(window)),
        ..*frame
    })
}

/// The colour between four pixels, in steps of 1/256.
fn bilinear(color: &RgbImage, [u, v]: [f64; 2]) -> Rgb<u8> {
    let split = |at: f64, side: u32| {
        let at = (at.max(0.0) * 256.0).round() as u32;
        let low = (at >> 8).min(side - 1);
        (low, (low + 1).min(side - 1), at & 255)
    };
    let (left, right, part_x) = split(u, color.width());
    let (top, bottom, part_y) = split(v, color.height());
    let [a, b] = [top, bottom].map(|v| [left, right].map(|u| color.get_pixel(u, v).0));
    Rgb(core::array::from_fn(|i| {
        let row = |[left, right]: [[u8; 3]; 2]| {
            u32::from(left[i]) * (256 - part_x) + u32::from(right[i]) * part_x
        };
        ((row(a) * (256 - part_y) + row(b) * part_y + (1 << 15)) >> 16) as u8
    }))
}

/// A frame at another size: colour by a Catmull-Rom filter (widened when shrinking, so that
/// nothing aliases), depth from the nearest pixel.
///
/// # Errors
/// When a size is empty or too large.
pub fn resize(frame: &RgbdFrame, width: u32, height: u32) -> Result<RgbdFrame, AugmentError> {
    check_size(width, height)?;
    check_size(frame.width(), frame.height())?;
    let nearest = |at: usize, side: u32, of: u32| {
        // The source pixel under the new pixel's centre.
        (2 * at + 1) * of as usize / (2 * side as usize)
    };
    let (from_width, from_height) = frame.color.dimensions();
    Ok(RgbdFrame {
        id: frame.id.derived(&[RESIZED, width.into(), height.into()]),
        color: resize_color(&frame.color, width, height)?,
        depth_m: map_depth(frame, width, height, |u, v| {
            (nearest(u, width, from_width), nearest(v, height, from_height))
        }),
        intrinsics: frame.intrinsics.map(|k| k.resized(width, height)),
        ..*frame
    })
}

fn resize_color(color: &RgbImage, width: u32, height: u32) -> Result<RgbImage, AugmentError> {
    let failed = |why: String| AugmentError::Filter { width, height, why };
    let from = ImageRef::new(color.width(), color.height(), color.as_raw(), PixelType::U8x3)
        .map_err(|error| failed(error.to_string()))?;
    let mut to = Pixels::new(width, height, PixelType::U8x3);
    let filter = ResizeAlg::Convolution(FilterType::CatmullRom);
    Resizer::new()
        .resize(&from, &mut to, &ResizeOptions::new().resize_alg(filter))
        .map_err(|error| failed(error.to_string()))?;
    RgbImage::from_raw(width, height, to.into_vec())
        .ok_or_else(|| failed("the filter gave another size".to_owned()))
}

/// Depth whose pixel (column, row) is the frame's at `source(column, row)`.
fn map_depth(
    frame: &RgbdFrame,
    width: u32,
    height: u32,
    source: impl Fn(usize, usize) -> (usize, usize),
) -> Option<DepthMap> {
    let depth_m = frame.usable_depth_m()?;
    Some(DepthMap::from_shape_fn((height as usize, width as usize), |(v, u)| {
        let (u, v) = source(u, v);
        depth_m.get((v, u)).copied().unwrap_or(f32::NAN)
    }))
}

/// How far [`jitter`] may go in each way. Zero turns a change off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// Brightness is multiplied by 1 +- this.
    pub brightness: f32,
    /// Contrast about the middle grey is multiplied by 1 +- this.
    pub contrast: f32,
    /// Each of red, green and blue is multiplied by 1 +- this.
    pub color_balance: f32,
    /// The most that a pixel gives to its neighbours, 0 to 1: a 1-2-1 blur at 1.
    pub blur: f32,
    /// The largest standard deviation of a pixel's noise, grey levels.
    pub noise: f32,
}

impl Default for Jitter {
    fn default() -> Self {
        Jitter { brightness: 0.2, contrast: 0.2, color_balance: 0.08, blur: 0.5, noise: 3.0 }
    }
}

/// The frame in another light and with another camera's blur and noise. Depth and geometry
/// stay as they are; the id depends on what `rng` gave.
///
/// ```
/// use rand::SeedableRng;
/// use spatial_ssrl::frame::{FrameId, Registration, RgbdFrame, augment};
/// # let frame = RgbdFrame {
/// #     id: FrameId(1), stamp_ns: 1, depth_stamp_ns: None,
/// #     color: image::RgbImage::from_pixel(64, 48, image::Rgb([90, 80, 70])), depth_m: None,
/// #     intrinsics: None, registration: Registration::Unregistered,
/// # };
/// let rng = || rand_pcg::Pcg64Mcg::seed_from_u64(7);
/// let a = augment::jitter(&frame, &augment::Jitter::default(), &mut rng());
/// let b = augment::jitter(&frame, &augment::Jitter::default(), &mut rng());
/// assert_eq!(a.color, b.color);
/// assert_ne!(a.color, frame.color);
/// ```
pub fn jitter(frame: &RgbdFrame, jitter: &Jitter, rng: &mut impl Rng) -> RgbdFrame {
    let name = rng.next_u64();
    let mut around_one = |reach: f32| 1.0 + reach * (2.0 * rng.random::<f32>() - 1.0);
    let brightness = around_one(jitter.brightness);
    let contrast = around_one(jitter.contrast);
    let tables = [(); 3].map(|()| {
        let balance = around_one(jitter.color_balance);
        tone_table(brightness * balance, contrast)
    });
    let blur = jitter.blur.clamp(0.0, 1.0) * rng.random::<f32>();
    let noise = jitter.noise.clamp(0.0, 64.0) * rng.random::<f32>();

    let mut color = frame.color.clone();
    for pixel in color.pixels_mut() {
        for (value, table) in pixel.0.iter_mut().zip(&tables) {
            *value = table.get(usize::from(*value)).copied().unwrap_or(*value);
        }
    }
    if blur > 0.0 {
        color = blurred(&color, blur);
    }
    if noise > 0.0 {
        for value in color.iter_mut() {
            *value = (f32::from(*value) + noise * normal(rng)).round() as u8;
        }
    }
    RgbdFrame { id: frame.id.derived(&[JITTERED, name]), color, ..frame.clone() }
}

/// What each of the 256 values becomes.
fn tone_table(gain: f32, contrast: f32) -> [u8; 256] {
    core::array::from_fn(|value| {
        // A float to integer cast keeps to 0..=255.
        ((value as f32 * gain - 128.0) * contrast + 128.0).round() as u8
    })
}

/// About normal with deviation 1: the sum of four bytes, which one draw gives.
#[inline]
fn normal(rng: &mut impl Rng) -> f32 {
    let sum: u32 = rng.next_u32().to_le_bytes().into_iter().map(u32::from).sum();
    // Mean 4 * 127.5, variance 4 * (256^2 - 1) / 12.
    (sum as f32 - 510.0) / 147.8
}

/// Each pixel gives `amount` / 4 to each neighbour, along x and then along y.
fn blurred(color: &RgbImage, amount: f32) -> RgbImage {
    let side = (amount * 64.0) as u32;
    let mix = |before: u8, here: u8, after: u8| {
        let sum =
            side * (u32::from(before) + u32::from(after)) + (256 - 2 * side) * u32::from(here);
        ((sum + 128) >> 8) as u8
    };
    let row_bytes = color.width() as usize * 3;
    let mut rows = color.clone();
    for (to, from) in
        rows.chunks_exact_mut(row_bytes.max(1)).zip(color.chunks_exact(row_bytes.max(1)))
    {
        for (to, window) in to.iter_mut().skip(3).zip(from.windows(7)) {
            if let [before, _, _, here, _, _, after] = *window {
                *to = mix(before, here, after);
            }
        }
    }
    let mut out = rows.clone();
    let from = rows.as_raw();
    let (here, after) = (from.iter().skip(row_bytes), from.iter().skip(2 * row_bytes));
    for (((to, before), here), after) in
        out.iter_mut().skip(row_bytes).zip(from).zip(here).zip(after)
    {
        *to = mix(*before, *here, *after);
    }
    out
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;
    use crate::frame::{Distortion, Intrinsics, Registration};

    /// A frame in which every pixel tells where it was: colour (u, v, 7), depth 1 + u + 100 v.
    fn frame(width: u32, height: u32) -> RgbdFrame {
        let size = (height as usize, width as usize);
        let (w, h) = (f64::from(width), f64::from(height));
        let lens = Distortion::PlumbBob([0.1, 0.2, 0.01, 0.02, 0.3]);
        let k = Intrinsics::new(width, height, w, 1.1 * w, 0.45 * w, 0.52 * h).unwrap();
        RgbdFrame {
            id: FrameId(77),
            stamp_ns: 5,
            depth_stamp_ns: Some(6),
            color: RgbImage::from_fn(width, height, |u, v| Rgb([u as u8, v as u8, 7])),
            depth_m: Some(DepthMap::from_shape_fn(size, |(v, u)| (1 + u + 100 * v) as f32)),
            intrinsics: Some(Intrinsics { distortion: lens, ..k }),
            registration: Registration::Registered,
        }
    }

    fn same(a: &RgbdFrame, b: &RgbdFrame) -> bool {
        let (ka, kb) = (a.intrinsics.unwrap(), b.intrinsics.unwrap());
        (a.id, a.stamp_ns, &a.color, &a.depth_m) == (b.id, b.stamp_ns, &b.color, &b.depth_m)
            && (ka.cx - kb.cx).abs() < 1e-9
            && ka.distortion == kb.distortion
    }

    #[test]
    fn every_change_keeps_the_stamp_and_gives_its_own_id() {
        let frame = frame(40, 30);
        let rng = |seed| Pcg64Mcg::seed_from_u64(seed);
        let changed = [
            crop(&frame, 0, 0, 20, 10).unwrap(),
            crop(&frame, 0, 0, 10, 20).unwrap(),
            resize(&frame, 20, 10).unwrap(),
            mirror(&frame),
            roll(&frame, &window(0.5)).unwrap(),
            roll(&frame, &window(-0.5)).unwrap(),
            jitter(&frame, &Jitter::default(), &mut rng(1)),
            jitter(&frame, &Jitter::default(), &mut rng(2)),
        ];
        let mut ids = vec![frame.id];
        for changed in changed {
            assert_eq!((changed.stamp_ns, changed.depth_stamp_ns), (5, Some(6)));
            assert!(!ids.contains(&changed.id));
            ids.push(changed.id);
        }
        assert_eq!(crop(&frame, 0, 0, 20, 10).unwrap().id, ids[1], "the same change, the same id");
    }

    fn window(roll_rad: f64) -> Window {
        Window { centre: [20.0, 15.0], size: (20, 10), roll_rad }
    }

    #[test]
    fn an_upright_window_is_a_crop_and_one_that_leaves_the_picture_is_refused() {
        let frame = frame(40, 30);
        let upright = Window { centre: [19.5, 14.5], ..window(0.0) };
        let rolled = roll(&frame, &upright).unwrap();
        let cropped = crop(&frame, 10, 10, 20, 10).unwrap();
        assert_eq!((&rolled.color, &rolled.depth_m), (&cropped.color, &cropped.depth_m));
        let far = Window { centre: [9.0, 15.0], ..window(0.0) };
        let error = roll(&frame, &far).unwrap_err().to_string();
        assert!(error.contains("20x10") && error.contains("40x30"), "{error}");
        assert!(roll(&frame, &Window { size: (0, 10), ..upright }).is_err());
        assert!(roll(&frame, &Window { centre: [f64::NAN, 15.0], ..upright }).is_err());
        assert!(roll(&frame, &window(f64::INFINITY)).is_err());
    }

    #[test]
    fn a_mirrored_point_has_its_x_negated_through_the_lens() {
        let frame = frame(40, 30);
        let (k, m) = (frame.intrinsics.unwrap(), mirror(&frame).intrinsics.unwrap());
        let [x, y] = [0.2, -0.1];
        let seen = |k: Intrinsics, x| {
            let [x, y] = k.distortion.distort([x, y]);
            [x * k.fx + k.cx, y * k.fy + k.cy]
        };
        let ([u, v], [um, vm]) = (seen(k, x), seen(m, -x));
        assert!((u + um - 39.0).abs() < 1e-9 && (v - vm).abs() < 1e-9);
    }

    #[test]
    fn depth_that_is_not_registered_is_dropped_not_misplaced() {
        let unregistered = RgbdFrame { registration: Registration::Unregistered, ..frame(40, 30) };
        for changed in [
            crop(&unregistered, 1, 1, 9, 9).unwrap(),
            mirror(&unregistered),
            resize(&unregistered, 20, 15).unwrap(),
        ] {
            assert_eq!(changed.depth_m, None);
            assert_eq!(changed.registration, Registration::Unregistered);
        }
    }

    #[test]
    fn a_resized_picture_is_smooth_and_its_depth_is_not() {
        let size = (60, 80);
        let edge = RgbdFrame {
            color: RgbImage::from_fn(80, 60, |u, _| Rgb([if u < 41 { 0 } else { 200 }; 3])),
            depth_m: Some(DepthMap::from_shape_fn(size, |(_, u)| if u < 41 { 1.0 } else { 4.0 })),
            ..frame(80, 60)
        };
        let small = resize(&edge, 40, 30).unwrap();
        let [middle, ..] = small.color.get_pixel(20, 15).0;
        assert!((60..140).contains(&middle), "{middle}");
        let depth_m = small.depth_m.unwrap();
        assert!(depth_m.iter().all(|z_m| *z_m == 1.0 || *z_m == 4.0));
        assert!(resize(&edge, 0, 10).is_err() && resize(&edge, 9000, 10).is_err());
        assert!(resize(&RgbdFrame { color: RgbImage::new(0, 0), ..edge }, 9, 9).is_err());
    }

    #[test]
    fn jitter_changes_light_within_its_reach_and_nothing_when_off() {
        let grey = RgbdFrame {
            color: RgbImage::from_pixel(64, 48, Rgb([120, 120, 120])),
            ..frame(64, 48)
        };
        let off =
            Jitter { brightness: 0.0, contrast: 0.0, color_balance: 0.0, blur: 0.0, noise: 0.0 };
        let mut rng = Pcg64Mcg::seed_from_u64(3);
        let mut means = Vec::new();
        for _ in 0..50 {
            assert_eq!(jitter(&grey, &off, &mut rng).color, grey.color);
            let changed = jitter(&grey, &Jitter::default(), &mut rng);
            assert_eq!(changed.depth_m, grey.depth_m);
            let sum: u64 = changed.color.iter().map(|c| u64::from(*c)).sum();
            means.push(sum as f64 / changed.color.len() as f64);
        }
        let (low, high) =
            means.iter().fold((255.0_f64, 0.0_f64), |(l, h), m| (l.min(*m), h.max(*m)));
        assert!(low > 75.0 && high < 170.0 && high - low > 20.0, "{low} {high}");
    }

    #[test]
    fn noise_has_the_deviation_that_is_asked_for() {
        let mut rng = Pcg64Mcg::seed_from_u64(4);
        let draws: Vec<f32> = (0..40_000).map(|_| normal(&mut rng)).collect();
        let mean = draws.iter().sum::<f32>() / draws.len() as f32;
        let variance = draws.iter().map(|d| d * d).sum::<f32>() / draws.len() as f32;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn blur_keeps_light_and_spreads_a_point_one_two_one() {
        let mut point = RgbImage::new(9, 9);
        point.put_pixel(4, 4, Rgb([160, 80, 16]));
        let soft = blurred(&point, 1.0);
        assert_eq!(soft.get_pixel(4, 4).0, [40, 20, 4]);
        assert_eq!(soft.get_pixel(3, 4).0, [20, 10, 2]);
        assert_eq!(soft.get_pixel(5, 5).0, [10, 5, 1]);
        assert_eq!(soft.get_pixel(6, 4).0, [0, 0, 0]);
        assert_eq!(blurred(&point, 0.0), point);
    }

    proptest! {
        #[test]
        fn mirroring_twice_is_the_frame_itself(width in 1_u32..50, height in 1_u32..50) {
            let frame = frame(width, height);
            prop_assert!(same(&mirror(&mirror(&frame)), &frame));
        }

        #[test]
        fn a_rolled_view_is_what_the_camera_sees_after_turning_about_its_optical_axis(
            roll_rad in -3.2_f64..3.2,
            (width, height) in (1_u32..20, 1_u32..16),
            (at_u, at_v) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let frame = frame(60, 40);
            let window = Window { centre: [29.3, 19.6], size: (width, height), roll_rad };
            let rolled = roll(&frame, &window).unwrap();
            let (u, v) = (at_u.index(width as usize), at_v.index(height as usize));
            let k = frame.intrinsics.unwrap();
            let [from_u, from_v] = window.source(k.fx / k.fy, [u as f64, v as f64]);
            // Colour tells where it was, between pixels too; depth is that of the nearest.
            let [red, green, _] = rolled.color.get_pixel(u as u32, v as u32).0;
            prop_assert!((f64::from(red) - from_u).abs() < 0.51, "{red} {from_u}");
            prop_assert!((f64::from(green) - from_v).abs() < 0.51, "{green} {from_v}");
            let z_m = rolled.depth_m.as_ref().unwrap()[[v, u]];
            let nearest = [from_v.round() as usize, from_u.round() as usize];
            prop_assert_eq!(z_m, frame.depth_m.as_ref().unwrap()[nearest]);
            // The same point in space, seen by a camera turned by `roll_rad`.
            let turned = |[x, y]: [f64; 2]| {
                let (sin, cos) = roll_rad.sin_cos();
                [cos * x - sin * y, sin * x + cos * y]
            };
            let z = f64::from(z_m);
            let [x, y, _] = rolled.intrinsics.unwrap().point_m(u as f64, v as f64, z);
            let [want_x, want_y, _] = k.point_m(from_u, from_v, z);
            let [got_x, got_y] = turned([x, y]);
            prop_assert!((got_x - want_x).abs() < 1e-6 * z && (got_y - want_y).abs() < 1e-6 * z);
            // Through the lens too.
            let ray = [x / z, y / z];
            let shown = turned(rolled.intrinsics.unwrap().distortion.distort(ray));
            let want = k.distortion.distort(turned(ray));
            prop_assert!((shown[0] - want[0]).abs() < 1e-9 && (shown[1] - want[1]).abs() < 1e-9);
        }

        #[test]
        fn a_crop_keeps_every_pixels_colour_depth_and_point_in_space(
            (x, y, width, height) in (0_u32..30, 0_u32..20, 1_u32..30, 1_u32..20),
            (at_u, at_v) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let frame = frame(60, 40);
            let part = crop(&frame, x, y, width, height).unwrap();
            let (u, v) = (at_u.index(width as usize), at_v.index(height as usize));
            let (pu, pv) = (u + x as usize, v + y as usize);
            prop_assert_eq!(part.color.get_pixel(u as u32, v as u32).0, [pu as u8, pv as u8, 7]);
            let z_m = part.depth_m.as_ref().unwrap()[[v, u]];
            prop_assert_eq!(z_m, frame.depth_m.as_ref().unwrap()[[pv, pu]]);
            let point = |f: &RgbdFrame, u: usize, v: usize| {
                f.intrinsics.unwrap().point_m(u as f64, v as f64, f64::from(z_m))
            };
            prop_assert_eq!(point(&part, u, v), point(&frame, pu, pv));
        }

        #[test]
        fn a_resized_frame_shows_the_same_points_within_half_a_pixel(
            (width, height) in (1_u32..90, 1_u32..90),
            (at_u, at_v) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let frame = frame(60, 40);
            let resized = resize(&frame, width, height).unwrap();
            let (u, v) = (at_u.index(width as usize), at_v.index(height as usize));
            let z_m = resized.depth_m.unwrap()[[v, u]];
            // Which pixel the depth came from is written in it.
            let (su, sv) = ((z_m as u32 - 1) % 100, (z_m as u32 - 1) / 100);
            let (k, rk) = (frame.intrinsics.unwrap(), resized.intrinsics.unwrap());
            let [x, y, _] = rk.point_m(u as f64, v as f64, 1.0);
            let [pu, pv] = k.pixel([x, y, 1.0]).unwrap();
            prop_assert!((pu - f64::from(su)).abs() <= 0.5 + 1e-6, "{pu} {su}");
            prop_assert!((pv - f64::from(sv)).abs() <= 0.5 + 1e-6, "{pv} {sv}");
        }

        #[test]
        fn a_rectangle_that_is_not_inside_is_refused(x: u32, y: u32, width: u32, height: u32) {
            let inside = u64::from(x) + u64::from(width) <= 60
                && u64::from(y) + u64::from(height) <= 40
                && width > 0
                && height > 0;
            prop_assert_eq!(crop(&frame(60, 40), x, y, width, height).is_ok(), inside);
        }
    }
}
