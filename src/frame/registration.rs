//! Depth that a second camera took, moved into the colour picture; and the decision whether
//! it needs to be.

use super::{
    DepthMap, Distortion, Intrinsics, Registration,
    convert::{ConvertError, check_size, depth_map},
};

/// Two cameras that show every ray within this distance are the same camera.
const SAME_PX: f64 = 1.0;
/// One depth pixel is never painted over more than this many colour pixels a side.
const MAX_SPLAT_PX: f32 = 64.0;
/// Points nearer to the colour camera than this are noise, metres.
const MIN_DEPTH_M: f32 = 0.01;
/// No two cameras of one sensor are further apart, metres.
const MAX_BASELINE_M: f64 = 10.0;

/// A rigid motion: `point_color = rotation * point_depth + translation_m`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extrinsics {
    rotation: [f64; 9],
    translation_m: [f64; 3],
}

/// Why depth cannot be moved into the colour picture.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RegistrationError {
    /// The matrix is no rotation.
    #[error("extrinsics: {rotation:?} is not a rotation matrix, row by row")]
    Rotation {
        /// The matrix as given.
        rotation: [f64; 9],
    },
    /// The translation is not one between two cameras of a sensor.
    #[error(
        "extrinsics: the translation {translation_m:?} is not finite or beyond \
         {MAX_BASELINE_M} m; is it in millimetres?"
    )]
    Translation {
        /// The vector as given.
        translation_m: [f64; 3],
    },
    /// A picture that is empty or too large.
    #[error(transparent)]
    Size(#[from] ConvertError),
    /// The depth picture is not the one the intrinsics are for.
    #[error(
        "the depth picture is {got_width}x{got_height}, its intrinsics are for {width}x{height}"
    )]
    DepthSize {
        /// Columns of the depth picture.
        got_width: usize,
        /// Rows of the depth picture.
        got_height: usize,
        /// Width the intrinsics are for.
        width: u32,
        /// Height the intrinsics are for.
        height: u32,
    },
}

impl Extrinsics {
    /// Checked extrinsics `color_from_depth`: a rotation row by row, and metres.
    ///
    /// # Errors
    /// When the matrix is no rotation (within 0.001), or the translation not finite or
    /// larger than a sensor.
    pub fn new(rotation: [f64; 9], translation_m: [f64; 3]) -> Result<Self, RegistrationError> {
        let [a, b, c, d, e, f, g, h, i] = rotation;
        let dot = |u: [f64; 3], v: [f64; 3]| u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
        let (x, y, z) = ([a, b, c], [d, e, f], [g, h, i]);
        let determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
        let errors = [
            dot(x, x) - 1.0,
            dot(y, y) - 1.0,
            dot(z, z) - 1.0,
            dot(x, y),
            dot(y, z),
            dot(z, x),
            determinant - 1.0,
        ];
        // Written so that NaN fails.
        if !errors.iter().all(|error| error.abs() <= 1e-3) {
            return Err(RegistrationError::Rotation { rotation });
        }
        if !translation_m.iter().all(|t| t.abs() <= MAX_BASELINE_M) {
            return Err(RegistrationError::Translation { translation_m });
        }
        Ok(Extrinsics { rotation, translation_m })
    }

    fn rotated(&self, [x, y, z]: [f64; 3]) -> [f64; 3] {
        let [a, b, c, d, e, f, g, h, i] = self.rotation;
        [a * x + b * y + c * z, d * x + e * y + f * z, g * x + h * y + i * z]
    }
}

/// Moves depth pictures of one camera into the pictures of another.
///
/// The rays are computed once; a picture then costs a multiplication and a projection a
/// pixel. Of several depths that fall onto a colour pixel the nearest is kept. A depth
/// pixel covers as many colour pixels as it is large there, so that a larger colour picture
/// is not left with a grid of holes; holes of the depth picture itself stay holes.
#[derive(Clone, Debug)]
pub struct Registrar {
    depth: Intrinsics,
    color: Intrinsics,
    /// Direction of each depth pixel in the colour camera's frame, for depth 1 in the
    /// depth camera's. NaN where the lens has none.
    rays: Vec<[f32; 3]>,
    translation_m: [f32; 3],
}

impl Registrar {
    /// For pictures of these two cameras.
    ///
    /// # Errors
    /// When a picture is empty or too large.
    ///
    /// ```
    /// use spatial_ssrl::frame::{DepthMap, Intrinsics, registration::{Extrinsics, Registrar}};
    /// let depth = Intrinsics::new(64, 48, 50.0, 50.0, 31.5, 23.5)?;
    /// let color = Intrinsics::new(128, 96, 100.0, 100.0, 63.5, 47.5)?;
    /// // The colour camera stands 2 cm to the left of the depth camera.
    /// let color_from_depth =
    ///     Extrinsics::new([1., 0., 0., 0., 1., 0., 0., 0., 1.], [0.02, 0.0, 0.0])?;
    /// let registrar = Registrar::new(&depth, &color, &color_from_depth)?;
    /// let depth_m = registrar.register(&DepthMap::from_elem((48, 64), 2.0))?;
    /// assert_eq!(depth_m.dim(), (96, 128));
    /// assert_eq!(depth_m[[40, 60]], 2.0);
    /// // The first column is seen by the colour camera alone.
    /// assert!(depth_m[[40, 0]].is_nan());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(
        depth: &Intrinsics,
        color: &Intrinsics,
        color_from_depth: &Extrinsics,
    ) -> Result<Self, RegistrationError> {
        check_size(depth.width, depth.height)?;
        check_size(color.width, color.height)?;
        let pixels = (0..depth.height).flat_map(|v| (0..depth.width).map(move |u| (u, v)));
        let rays = pixels
            .map(|(u, v)| {
                let [x, y, _] = depth.point_m(f64::from(u), f64::from(v), 1.0);
                depth.distortion.undistort([x, y]).map_or([f32::NAN; 3], |[x, y]| {
                    color_from_depth.rotated([x, y, 1.0]).map(|side| side as f32)
                })
            })
            .collect();
        let translation_m = color_from_depth.translation_m.map(|t| t as f32);
        Ok(Registrar { depth: *depth, color: *color, rays, translation_m })
    }

    /// A depth picture as the colour camera would have taken it: its size, metres along its
    /// optical axis, NaN where nothing falls.
    ///
    /// # Errors
    /// [`RegistrationError::DepthSize`].
    pub fn register(&self, depth_m: &DepthMap) -> Result<DepthMap, RegistrationError> {
        let (got_height, got_width) = depth_m.dim();
        let (width, height) = (self.depth.width, self.depth.height);
        if (got_width, got_height) != (width as usize, height as usize) {
            return Err(RegistrationError::DepthSize { got_width, got_height, width, height });
        }
        let color_width = self.color.width as usize;
        let mut out = vec![f32::NAN; color_width * self.color.height as usize];
        let [tx, ty, tz] = self.translation_m;
        for (z_m, [x, y, z]) in depth_m.iter().zip(&self.rays) {
            let point_m = [x * z_m + tx, y * z_m + ty, z * z_m + tz];
            // Fails for a hole and for a ray that the lens does not have.
            if *z_m > 0.0 && point_m[2] > MIN_DEPTH_M {
                self.splat(&mut out, *z_m, point_m);
            }
        }
        Ok(depth_map(self.color.width, self.color.height, out)?)
    }

    /// Paints one depth pixel, `point_m` in the colour camera's frame, where it is nearer
    /// than what is there.
    fn splat(&self, out: &mut [f32], depth_z_m: f32, [x_m, y_m, z_m]: [f32; 3]) {
        let (color, depth) = (&self.color, &self.depth);
        let inverse = 1.0 / z_m;
        let [x, y] = match color.distortion {
            Distortion::None => [x_m * inverse, y_m * inverse],
            lens => lens.distort([x_m * inverse, y_m * inverse].map(f64::from)).map(|s| s as f32),
        };
        let (u, v) = (x * color.fx as f32 + color.cx as f32, y * color.fy as f32 + color.cy as f32);
        // The side of the depth pixel, at its distance, in colour pixels.
        let grow = depth_z_m * inverse;
        let columns = covered(u, (color.fx / depth.fx) as f32 * grow, color.width);
        let rows = covered(v, (color.fy / depth.fy) as f32 * grow, color.height);
        for row in rows {
            let start = row * color.width as usize;
            let painted = out.get_mut(start + columns.start..start + columns.end);
            for there in painted.unwrap_or_default() {
                // NaN: nothing there yet.
                if there.is_nan() || z_m < *there {
                    *there = z_m;
                }
            }
        }
    }
}

/// The pixels whose centres a span of `size` about `centre` covers, at least the nearest
/// one, inside a picture of `side` pixels.
fn covered(centre: f32, size: f32, side: u32) -> core::ops::Range<usize> {
    // A little more, so that rounding opens no gap between neighbours.
    let half = size.clamp(1.0, MAX_SPLAT_PX) / 2.0 + 1e-3;
    // A cast rounds down what is not negative, and makes 0 of NaN. Rounding functions are
    // library calls on the oldest processors that this is built for.
    let above = |edge: f32| (edge + 1.0).clamp(0.0, side as f32) as usize;
    above(centre - half)..above(centre + half)
}

/// One of the two streams, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Width of its pictures in pixels.
    pub width: u32,
    /// Height of its pictures in pixels.
    pub height: u32,
    /// What its camera info says.
    pub intrinsics: Option<Intrinsics>,
}

/// Whether depth is aligned with colour, judged by sizes and intrinsics alone, and why in
/// words. Depth is aligned when both pictures have one size and both cameras show every ray
/// within a pixel. Where a camera info is missing it is not taken as aligned: the caller
/// may know better, by the topic's name or because the user says so.
///
/// ```
/// use spatial_ssrl::frame::{Intrinsics, Registration, registration::{View, registration_of}};
/// let view = |fx| Intrinsics::new(640, 480, fx, fx, 319.5, 239.5)
///     .map(|k| View { width: 640, height: 480, intrinsics: Some(k) });
/// let (registration, why) = registration_of(&view(615.0)?, &view(385.0)?);
/// assert_eq!(registration, Registration::Unregistered);
/// assert_eq!(why, "colour and depth have different intrinsics (fx 615.0 and 385.0)");
/// # Ok::<(), spatial_ssrl::frame::IntrinsicsError>(())
/// ```
pub fn registration_of(color: &View, depth: &View) -> (Registration, String) {
    let unregistered = |why: String| (Registration::Unregistered, why);
    if (color.width, color.height) != (depth.width, depth.height) {
        return unregistered(format!(
            "colour is {}x{}, depth is {}x{}",
            color.width, color.height, depth.width, depth.height
        ));
    }
    let missing = |which| {
        unregistered(format!("one size, but the {which} camera's intrinsics are not known"))
    };
    let (color_k, depth_k) = match (color.intrinsics, depth.intrinsics) {
        (Some(color_k), Some(depth_k)) => (color_k, depth_k),
        (None, Some(_)) => return missing("colour"),
        (_, None) => return missing("depth"),
    };
    let scaled = |k: Intrinsics| k.scaled_to(color.width, color.height);
    let (color_k, depth_k) = match (scaled(color_k), scaled(depth_k)) {
        (Ok(color_k), Ok(depth_k)) => (color_k, depth_k),
        (Err(error), _) | (_, Err(error)) => return unregistered(error.to_string()),
    };
    // How far apart the two show the ray of a picture's edge.
    let apart_px = |f: f64, f2: f64, c: f64, c2: f64, side: u32| {
        let reach = c.abs().max((f64::from(side) - c).abs());
        (f2 / f - 1.0).abs() * reach + (c - c2).abs()
    };
    let x = apart_px(color_k.fx, depth_k.fx, color_k.cx, depth_k.cx, color.width);
    let y = apart_px(color_k.fy, depth_k.fy, color_k.cy, depth_k.cy, color.height);
    if x <= SAME_PX && y <= SAME_PX {
        return (Registration::Registered, "one size and one set of intrinsics".to_owned());
    }
    let (what, a, b) = [
        ("cy", color_k.cy, depth_k.cy),
        ("cx", color_k.cx, depth_k.cx),
        ("fy", color_k.fy, depth_k.fy),
        ("fx", color_k.fx, depth_k.fx),
    ]
    .into_iter()
    // Of several that differ by the same, the last.
    .max_by(|a, b| (a.1 - a.2).abs().total_cmp(&(b.1 - b.2).abs()))
    .unwrap_or(("fx", color_k.fx, depth_k.fx));
    unregistered(format!("colour and depth have different intrinsics ({what} {a:.1} and {b:.1})"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNIT: [f64; 9] = [1., 0., 0., 0., 1., 0., 0., 0., 1.];

    fn camera(width: u32, height: u32, f: f64) -> Intrinsics {
        let (cx, cy) = (f64::from(width) / 2.0 - 0.5, f64::from(height) / 2.0 - 0.5);
        Intrinsics::new(width, height, f, f, cx, cy).unwrap()
    }

    fn view(k: Intrinsics) -> View {
        View { width: k.width, height: k.height, intrinsics: Some(k) }
    }

    fn registrar(depth: &Intrinsics, color: &Intrinsics, t: [f64; 3]) -> Registrar {
        Registrar::new(depth, color, &Extrinsics::new(UNIT, t).unwrap()).unwrap()
    }

    /// Pixels of the colour picture that the depth picture sees, with a pixel to spare.
    fn inner(depth_m: &DepthMap, border: usize) -> impl Iterator<Item = f32> {
        let (height, width) = depth_m.dim();
        (border..height - border)
            .flat_map(move |v| (border..width - border).map(move |u| depth_m[[v, u]]))
    }

    #[test]
    fn the_same_camera_keeps_every_pixel() {
        let k = camera(40, 30, 35.0);
        let depth_m = DepthMap::from_shape_fn((30, 40), |(v, u)| {
            if (u + v) % 5 == 0 { f32::NAN } else { 1.0 + u as f32 * 0.1 }
        });
        let moved_m = registrar(&k, &k, [0.0; 3]).register(&depth_m).unwrap();
        for (a, b) in moved_m.iter().zip(&depth_m) {
            assert!((a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn a_larger_colour_picture_has_no_grid_of_holes_and_no_invented_depth() {
        // A wall parallel to both cameras at 2 m, with one hole of 6x6 pixels.
        let depth_k = camera(64, 48, 40.0);
        let wall_m = DepthMap::from_shape_fn((48, 64), |(v, u)| {
            if (20..26).contains(&v) && (30..36).contains(&u) { f32::NAN } else { 2.0 }
        });
        for scale in [1.29, 2.0, 3.7] {
            let side = |n: f64| (n * scale) as u32;
            let color_k = camera(side(64.0), side(48.0), 40.0 * scale);
            let moved_m = registrar(&depth_k, &color_k, [0.0; 3]).register(&wall_m).unwrap();
            let holes = inner(&moved_m, 4).filter(|z_m| z_m.is_nan()).count() as f64;
            let hole = (6.0 * scale).powi(2);
            assert!((holes - hole).abs() <= 2.5 * 6.0 * scale, "{scale}: {holes} of {hole}");
            assert!(moved_m.iter().all(|z_m| z_m.is_nan() || *z_m == 2.0));
        }
    }

    #[test]
    fn the_nearest_surface_hides_what_is_behind_it() {
        // A post at 1 m before a wall at 3 m; the colour camera stands 20 cm to the right,
        // so that the post covers wall which the depth camera saw.
        let k = camera(200, 20, 100.0);
        let depth_m =
            DepthMap::from_shape_fn(
                (20, 200),
                |(_, u)| if (95..105).contains(&u) { 1.0 } else { 3.0 },
            );
        let moved_m = registrar(&k, &k, [-0.2, 0.0, 0.0]).register(&depth_m).unwrap();
        // The post moves by f * b / z = 20 pixels, the wall by 6.7.
        assert!((75..85).all(|u| moved_m[[10, u]] == 1.0));
        assert_eq!(moved_m[[10, 60]], 3.0);
        // Behind the post's old place the depth camera saw no wall: a hole, not a guess.
        assert!((90..97).all(|u| moved_m[[10, u]].is_nan()), "{:?}", moved_m.row(10));
    }

    #[test]
    fn rotation_and_translation_move_points_as_the_formula_says() {
        let (depth_k, color_k) = (camera(64, 48, 60.0), camera(96, 72, 90.0));
        let (sin, cos) = 0.1_f64.sin_cos();
        let rotation = [cos, 0.0, sin, 0.0, 1.0, 0.0, -sin, 0.0, cos];
        let extrinsics = Extrinsics::new(rotation, [0.03, -0.01, 0.02]).unwrap();
        let registrar = Registrar::new(&depth_k, &color_k, &extrinsics).unwrap();
        for (u, v, z_m) in [(20, 10, 1.0), (40, 30, 2.5), (10, 44, 0.7)] {
            let mut depth_m = DepthMap::from_elem((48, 64), f32::NAN);
            depth_m[[v, u]] = z_m;
            let moved_m = registrar.register(&depth_m).unwrap();
            let point = depth_k.point_m(u as f64, v as f64, f64::from(z_m));
            let [x, y, z] = extrinsics.rotated(point);
            let expected = [x + 0.03, y - 0.01, z + 0.02];
            let [eu, ev] = color_k.pixel(expected).unwrap();
            let got = moved_m[[ev.round() as usize, eu.round() as usize]];
            assert!((f64::from(got) - expected[2]).abs() < 1e-5, "{got} {expected:?}");
            assert!(moved_m.iter().filter(|z_m| !z_m.is_nan()).count() <= 4);
        }
    }

    #[test]
    fn lens_distortion_of_either_camera_is_honoured() {
        let bent = Distortion::RationalPolynomial([-0.2, 0.05, 0.001, -0.002, 0.0, 0.01, 0.0, 0.0]);
        let plain = camera(160, 120, 120.0);
        let curved = Intrinsics { distortion: bent, ..plain };
        // The same point through both lenses.
        let (u, v) = (130, 100);
        let mut depth_m = DepthMap::from_elem((120, 160), f32::NAN);
        depth_m[[v, u]] = 2.0;
        let [x, y, _] = plain.point_m(u as f64, v as f64, 1.0);
        let [xd, yd] = bent.distort([x, y]);
        let there =
            ((yd * 120.0 + plain.cy).round() as usize, (xd * 120.0 + plain.cx).round() as usize);
        assert!(there.1 + 2 < u, "the test's lens is strong enough to tell");
        let moved_m = registrar(&plain, &curved, [0.0; 3]).register(&depth_m).unwrap();
        assert!((moved_m[there] - 2.0).abs() < 1e-5);

        let mut depth_m = DepthMap::from_elem((120, 160), f32::NAN);
        depth_m[there] = 2.0;
        let back_m = registrar(&curved, &plain, [0.0; 3]).register(&depth_m).unwrap();
        let found = back_m.indexed_iter().find(|(_, z_m)| !z_m.is_nan()).unwrap().0;
        assert!(found.0.abs_diff(v) <= 1 && found.1.abs_diff(u) <= 1, "{found:?}");
    }

    #[test]
    fn what_cannot_be_registered_is_refused() {
        let mut mirror = UNIT;
        mirror[0] = -1.0;
        for rotation in [[0.0; 9], [f64::NAN; 9], mirror, UNIT.map(|r| r * 1.01)] {
            assert!(matches!(
                Extrinsics::new(rotation, [0.0; 3]),
                Err(RegistrationError::Rotation { .. })
            ));
        }
        for t in [25.7, f64::NAN, f64::INFINITY] {
            let error = Extrinsics::new(UNIT, [t, 0.0, 0.0]).unwrap_err();
            assert!(error.to_string().contains("millimetres"), "{error}");
        }
        let k = camera(40, 30, 35.0);
        let other = DepthMap::from_elem((40, 30), 1.0);
        let error = registrar(&k, &k, [0.0; 3]).register(&other).unwrap_err();
        assert!(error.to_string().contains("30x40"), "{error}");
    }

    #[test]
    fn alignment_is_judged_by_size_and_intrinsics() {
        let k = camera(640, 480, 600.0);
        let registered = |color: View, depth: View| registration_of(&color, &depth).0;
        assert_eq!(registered(view(k), view(k)), Registration::Registered);
        let near = Intrinsics { cx: k.cx + 0.3, fx: k.fx * 1.001, ..k };
        assert_eq!(registered(view(k), view(near)), Registration::Registered);
        // An aligned depth picture that is published with the info of the larger size.
        let half = View { intrinsics: Some(camera(1280, 960, 1200.0)), ..view(k) };
        assert_eq!(registered(view(k), half), Registration::Registered);

        for (depth, says) in [
            (view(camera(640, 480, 385.0)), "fx 600.0 and 385.0"),
            (view(Intrinsics { cy: k.cy + 8.0, ..k }), "cy 239.5 and 247.5"),
            (view(camera(848, 480, 600.0)), "depth is 848x480"),
            (View { intrinsics: None, ..view(k) }, "depth camera's intrinsics are not known"),
            (View { intrinsics: Some(camera(640, 640, 600.0)), ..view(k) }, "not the same shape"),
        ] {
            let (registration, why) = registration_of(&view(k), &depth);
            assert_eq!(registration, Registration::Unregistered);
            assert!(why.contains(says), "{why}");
        }
    }

    proptest! {
        #[test]
        fn any_depth_gives_a_map_of_the_colour_size_with_depths_or_nothing(
            values in prop::collection::vec(prop_oneof![any::<f32>(), 0.1_f32..5.0], 12),
            t in prop::array::uniform3(-10.0_f64..10.0),
            f in 0.01_f64..1e5,
        ) {
            let depth_m = DepthMap::from_shape_vec((3, 4), values).unwrap();
            let moved_m = registrar(&camera(4, 3, f), &camera(9, 7, 8.0), t).register(&depth_m).unwrap();
            prop_assert_eq!(moved_m.dim(), (7, 9));
            prop_assert!(moved_m.iter().all(|z_m| z_m.is_nan() || *z_m > 0.0));
        }

        #[test]
        fn undistort_inverts_distort(x in -0.6_f64..0.6, y in -0.48_f64..0.48) {
            // The second is a real Kinect's colour camera, to its corners.
            for lens in [
                Distortion::None,
                Distortion::PlumbBob([0.2624, -0.9531, -0.0054, 0.0026, 1.1633]),
                Distortion::Equidistant([-0.01, 0.02, -0.01, 0.003]),
            ] {
                let [x2, y2] = lens.undistort(lens.distort([x, y])).unwrap();
                prop_assert!((x2 - x).abs() < 1e-6 && (y2 - y).abs() < 1e-6);
            }
        }
    }
}
