//! The pinhole model of a camera, checked when it is made.

use serde::{Deserialize, Serialize};

/// Lens distortion as `CameraInfo` names it. Kept and shown; tasks work on the picture as
/// it is, whose distortion at the distances between two markers is far below their margins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model", content = "d", rename_all = "snake_case")]
pub enum Distortion {
    /// None given, or all coefficients zero.
    #[default]
    None,
    /// `plumb_bob`: k1, k2, p1, p2, k3.
    PlumbBob([f64; 5]),
    /// `rational_polynomial`: k1, k2, p1, p2, k3, k4, k5, k6.
    RationalPolynomial([f64; 8]),
    /// `equidistant` (fisheye): k1 to k4.
    Equidistant([f64; 4]),
}

/// Pinhole intrinsics in pixels, valid for a picture of `width` x `height`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intrinsics {
    /// Picture width in pixels.
    pub width: u32,
    /// Picture height in pixels.
    pub height: u32,
    /// Focal length along x, pixels.
    pub fx: f64,
    /// Focal length along y, pixels.
    pub fy: f64,
    /// Principal point, column.
    pub cx: f64,
    /// Principal point, row.
    pub cy: f64,
    /// Lens distortion.
    pub distortion: Distortion,
}

/// Why a camera matrix was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IntrinsicsError {
    /// A focal length is not a positive finite number, as in an uncalibrated `CameraInfo`.
    #[error("focal lengths fx={fx}, fy={fy} are not positive: the camera is not calibrated")]
    Focal {
        /// fx as given.
        fx: f64,
        /// fy as given.
        fy: f64,
    },
    /// The principal point lies far outside the picture.
    #[error("principal point ({cx}, {cy}) lies outside the {width}x{height} picture")]
    PrincipalPoint {
        /// cx as given.
        cx: f64,
        /// cy as given.
        cy: f64,
        /// Picture width.
        width: u32,
        /// Picture height.
        height: u32,
    },
    /// Another entry of K is not what a pinhole camera has.
    #[error("camera matrix K is not of the form [fx 0 cx; 0 fy cy; 0 0 1]: {k:?}")]
    Matrix {
        /// K, row by row.
        k: [f64; 9],
    },
    /// The distortion model is unknown or has the wrong number of coefficients.
    #[error(
        "distortion model {model:?} with {n} coefficients is not known: plumb_bob has 5, \
         rational_polynomial 8, equidistant 4"
    )]
    Distortion {
        /// The model's name as given, shortened when it is long.
        model: String,
        /// How many coefficients came with it.
        n: usize,
    },
    /// A side of the picture is zero.
    #[error("the camera info is for an empty picture: {width}x{height}")]
    Empty {
        /// Picture width.
        width: u32,
        /// Picture height.
        height: u32,
    },
    /// The picture cannot be the camera's, resized: its shape differs.
    #[error(
        "the camera info is for {width}x{height}, but the picture is \
         {picture_width}x{picture_height}: not the same shape, so it was cropped or the info \
         belongs to another stream"
    )]
    Shape {
        /// Width the camera info is for.
        width: u32,
        /// Height the camera info is for.
        height: u32,
        /// Width of the picture.
        picture_width: u32,
        /// Height of the picture.
        picture_height: u32,
    },
}

impl IntrinsicsError {
    /// The stable name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            IntrinsicsError::Focal { .. } => "uncalibrated_camera",
            IntrinsicsError::PrincipalPoint { .. } => "bad_principal_point",
            IntrinsicsError::Matrix { .. } => "bad_camera_matrix",
            IntrinsicsError::Distortion { .. } => "unknown_distortion",
            IntrinsicsError::Empty { .. } => "empty_camera_info",
            IntrinsicsError::Shape { .. } => "camera_info_of_other_size",
        }
    }
}

impl Distortion {
    /// Where the lens shows the ray through (`x`, `y`) of the plane at distance 1, as the
    /// OpenCV documentation's "Camera Calibration and 3D Reconstruction" defines it.
    ///
    /// ```
    /// use spatial_ssrl::frame::Distortion;
    /// let barrel = Distortion::PlumbBob([-0.1, 0.0, 0.0, 0.0, 0.0]);
    /// assert_eq!(barrel.distort([0.5, 0.0]), [0.4875, 0.0]);
    /// ```
    pub fn distort(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let r2 = x * x + y * y;
        let bent = |radial: f64, p1: f64, p2: f64| {
            [
                x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x),
                y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y,
            ]
        };
        match *self {
            Distortion::None => [x, y],
            Distortion::PlumbBob([k1, k2, p1, p2, k3]) => {
                bent(1.0 + r2 * (k1 + r2 * (k2 + r2 * k3)), p1, p2)
            }
            Distortion::RationalPolynomial([k1, k2, p1, p2, k3, k4, k5, k6]) => {
                let above = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3));
                let below = 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6));
                bent(above / below, p1, p2)
            }
            Distortion::Equidistant([k1, k2, k3, k4]) => {
                let r = r2.sqrt();
                let angle = r.atan();
                let a2 = angle * angle;
                let bent = angle * (1.0 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))));
                if r > 1e-9 { [x * bent / r, y * bent / r] } else { [x, y] }
            }
        }
    }

    /// The ray that the lens shows at (`x`, `y`): the inverse of [`Distortion::distort`].
    /// `None` where there is none, as in a fisheye's corners.
    pub fn undistort(&self, shown: [f64; 2]) -> Option<[f64; 2]> {
        let [mut x, mut y] = shown;
        // Secant steps with the identity as slope converge wherever a lens is mild enough
        // to be useful; whether they did is checked.
        for _ in 0..100 {
            let [u, v] = self.distort([x, y]);
            let [du, dv] = [shown[0] - u, shown[1] - v];
            if du.abs().max(dv.abs()) < 1e-9 {
                return Some([x, y]);
            }
            (x, y) = (x + du, y + dv);
        }
        None
    }

    /// The model that `CameraInfo` names, with its coefficients. No coefficients, or all
    /// zero, is no distortion whatever the name; coefficients beyond the model's must be
    /// zero; a fourth-order `plumb_bob` has k3 = 0.
    fn from_camera_info(model: &str, d: &[f64]) -> Result<Self, IntrinsicsError> {
        if d.iter().all(|k| *k == 0.0) {
            return Ok(Distortion::None);
        }
        let refused =
            || IntrinsicsError::Distortion { model: model.chars().take(64).collect(), n: d.len() };
        if !d.iter().all(|k| k.is_finite()) {
            return Err(refused());
        }
        match model {
            "plumb_bob" if d.len() >= 4 => padded(d).map(Distortion::PlumbBob),
            "rational_polynomial" if d.len() >= 8 => padded(d).map(Distortion::RationalPolynomial),
            "equidistant" | "kannala_brandt4" if d.len() >= 4 => {
                padded(d).map(Distortion::Equidistant)
            }
            _ => None,
        }
        .ok_or_else(refused)
    }
}

/// The first `N` coefficients, zeros where there are fewer; `None` when a later one is not
/// zero, because leaving it out would change the lens.
fn padded<const N: usize>(d: &[f64]) -> Option<[f64; N]> {
    let (used, beyond) = d.split_at(d.len().min(N));
    let mut out = [0.0; N];
    out.iter_mut().zip(used).for_each(|(to, from)| *to = *from);
    beyond.iter().all(|k| *k == 0.0).then_some(out)
}

impl Intrinsics {
    /// Checked pinhole intrinsics without distortion.
    ///
    /// # Errors
    /// [`IntrinsicsError::Focal`] or [`IntrinsicsError::PrincipalPoint`] with the numbers.
    ///
    /// ```
    /// use spatial_ssrl::frame::Intrinsics;
    /// let k = Intrinsics::new(640, 480, 525.0, 525.0, 319.5, 239.5)?;
    /// let [x, y, z] = k.point_m(319.5, 239.5, 2.0);
    /// assert_eq!([x, y, z], [0.0, 0.0, 2.0]);
    /// # Ok::<(), spatial_ssrl::frame::IntrinsicsError>(())
    /// ```
    pub fn new(
        width: u32,
        height: u32,
        fx: f64,
        fy: f64,
        cx: f64,
        cy: f64,
    ) -> Result<Self, IntrinsicsError> {
        let positive = |f: f64| f.is_finite() && f > 0.0;
        if !positive(fx) || !positive(fy) {
            return Err(IntrinsicsError::Focal { fx, fy });
        }
        let near = |c: f64, side: u32| {
            c.is_finite() && c > -0.5 * f64::from(side) && c < 1.5 * f64::from(side)
        };
        if !near(cx, width) || !near(cy, height) {
            return Err(IntrinsicsError::PrincipalPoint { cx, cy, width, height });
        }
        Ok(Intrinsics { width, height, fx, fy, cx, cy, distortion: Distortion::None })
    }

    /// What a `sensor_msgs/CameraInfo` says: picture size, distortion model with its
    /// coefficients `d`, and the camera matrix `k` row by row.
    ///
    /// # Errors
    /// A zero or wrong K, an empty picture, and a distortion that is not zero under a name
    /// that is not known, or with too few coefficients.
    ///
    /// ```
    /// use spatial_ssrl::frame::{Distortion, Intrinsics};
    /// let k = [525.0, 0.0, 319.5, 0.0, 525.0, 239.5, 0.0, 0.0, 1.0];
    /// let camera = Intrinsics::from_camera_info(640, 480, "plumb_bob", &[0.0; 5], &k)?;
    /// assert_eq!(camera.distortion, Distortion::None);
    /// // A camera that was never calibrated publishes zeros.
    /// assert!(Intrinsics::from_camera_info(640, 480, "", &[], &[0.0; 9]).is_err());
    /// # Ok::<(), spatial_ssrl::frame::IntrinsicsError>(())
    /// ```
    pub fn from_camera_info(
        width: u32,
        height: u32,
        distortion_model: &str,
        d: &[f64],
        k: &[f64; 9],
    ) -> Result<Self, IntrinsicsError> {
        let [fx, skew, cx, low_10, fy, cy, low_20, low_21, scale] = *k;
        if width == 0 || height == 0 {
            return Err(IntrinsicsError::Empty { width, height });
        }
        let camera = Intrinsics::new(width, height, fx, fy, cx, cy)?;
        // A skew this small is noise of a calibration, far below a pixel. NaN fails.
        let pinhole = skew.abs() <= 1e-3 * fx
            && low_10 == 0.0
            && low_20 == 0.0
            && low_21 == 0.0
            && scale == 1.0;
        if !pinhole {
            return Err(IntrinsicsError::Matrix { k: *k });
        }
        let distortion = Distortion::from_camera_info(distortion_model, d)?;
        Ok(Intrinsics { distortion, ..camera })
    }

    /// These intrinsics for a picture of `width` x `height`, which may be a resized version
    /// of the picture they were made for (drivers that scale a picture down often publish
    /// the full size's info).
    ///
    /// # Errors
    /// [`IntrinsicsError::Shape`] when the two shapes differ by more than rounding: then it
    /// is unknown what was cut away.
    ///
    /// ```
    /// use spatial_ssrl::frame::Intrinsics;
    /// let full = Intrinsics::new(1280, 720, 900.0, 900.0, 639.5, 359.5)?;
    /// assert_eq!(full.scaled_to(640, 360)?.fx, 450.0);
    /// assert!(full.scaled_to(640, 480).is_err());
    /// # Ok::<(), spatial_ssrl::frame::IntrinsicsError>(())
    /// ```
    pub fn scaled_to(&self, width: u32, height: u32) -> Result<Self, IntrinsicsError> {
        if (width, height) == (self.width, self.height) {
            return Ok(*self);
        }
        // Same shape: the height that the width's scale gives is right to within a pixel.
        let expected = f64::from(width) * f64::from(self.height) / f64::from(self.width.max(1));
        if width == 0 || height == 0 || (expected - f64::from(height)).abs() > 1.0 {
            return Err(IntrinsicsError::Shape {
                width: self.width,
                height: self.height,
                picture_width: width,
                picture_height: height,
            });
        }
        Ok(self.resized(width, height))
    }

    /// The pixel at which a point in metres in the camera's optical frame is seen; `None`
    /// when it is not in front of the camera. May lie outside the picture.
    pub fn pixel(&self, point_m: [f64; 3]) -> Option<[f64; 2]> {
        let [x, y, z] = point_m;
        (z > 0.0).then(|| [x / z * self.fx + self.cx, y / z * self.fy + self.cy])
    }

    /// The point in metres in the camera's optical frame (x right, y down, z forward) that
    /// is seen at pixel (`u`, `v`) at depth `z_m`.
    pub fn point_m(&self, u: f64, v: f64, z_m: f64) -> [f64; 3] {
        [(u - self.cx) / self.fx * z_m, (v - self.cy) / self.fy * z_m, z_m]
    }

    /// The same camera after its picture was cropped to the rectangle at (`x`, `y`).
    pub fn cropped(&self, x: u32, y: u32, width: u32, height: u32) -> Self {
        Intrinsics {
            width,
            height,
            cx: self.cx - f64::from(x),
            cy: self.cy - f64::from(y),
            ..*self
        }
    }

    /// The same camera after its picture was mirrored left to right.
    pub fn mirrored(&self) -> Self {
        // The tangential term p2 shifts along x, so it changes sign with x.
        let distortion = match self.distortion {
            Distortion::PlumbBob([k1, k2, p1, p2, k3]) => {
                Distortion::PlumbBob([k1, k2, p1, -p2, k3])
            }
            Distortion::RationalPolynomial([k1, k2, p1, p2, k3, k4, k5, k6]) => {
                Distortion::RationalPolynomial([k1, k2, p1, -p2, k3, k4, k5, k6])
            }
            symmetric @ (Distortion::None | Distortion::Equidistant(_)) => symmetric,
        };
        Intrinsics { cx: f64::from(self.width) - 1.0 - self.cx, distortion, ..*self }
    }

    /// The same camera rolled about its optical axis, its picture cut out by `window`, as
    /// [`super::augment::roll`] does. Exact for lenses too: what is round stays, the tangential
    /// terms (p2, p1) turn like the vector that they are.
    pub fn rolled(&self, window: &super::Window) -> Self {
        let (sin, cos) = window.roll_rad.sin_cos();
        let turned = |p1: f64, p2: f64| [cos * p1 - sin * p2, cos * p2 + sin * p1];
        let distortion = match self.distortion {
            Distortion::PlumbBob([k1, k2, p1, p2, k3]) => {
                let [p1, p2] = turned(p1, p2);
                Distortion::PlumbBob([k1, k2, p1, p2, k3])
            }
            Distortion::RationalPolynomial([k1, k2, p1, p2, k3, k4, k5, k6]) => {
                let [p1, p2] = turned(p1, p2);
                Distortion::RationalPolynomial([k1, k2, p1, p2, k3, k4, k5, k6])
            }
            symmetric @ (Distortion::None | Distortion::Equidistant(_)) => symmetric,
        };
        let [cx, cy] = window.of_source(self.fx / self.fy, [self.cx, self.cy]);
        let (width, height) = window.size;
        Intrinsics { width, height, cx, cy, distortion, ..*self }
    }

    /// The same camera after its picture was resized.
    pub fn resized(&self, width: u32, height: u32) -> Self {
        let sx = f64::from(width) / f64::from(self.width);
        let sy = f64::from(height) / f64::from(self.height);
        Intrinsics {
            width,
            height,
            fx: self.fx * sx,
            fy: self.fy * sy,
            cx: (self.cx + 0.5) * sx - 0.5,
            cy: (self.cy + 0.5) * sy - 0.5,
            distortion: self.distortion,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const K: [f64; 9] = [525.0, 0.0, 319.5, 0.0, 520.0, 239.5, 0.0, 0.0, 1.0];

    fn with_distortion(model: &str, d: &[f64]) -> Result<Distortion, IntrinsicsError> {
        Intrinsics::from_camera_info(640, 480, model, d, &K).map(|camera| camera.distortion)
    }

    #[test]
    fn a_zero_or_wrong_camera_matrix_is_refused() {
        let camera = |k: [f64; 9]| Intrinsics::from_camera_info(640, 480, "plumb_bob", &[], &k);
        assert!(camera(K).is_ok());
        assert_eq!(camera([0.0; 9]).unwrap_err().name(), "uncalibrated_camera");
        for (entry, value, name) in [
            (0, -525.0, "uncalibrated_camera"),
            (4, f64::NAN, "uncalibrated_camera"),
            (2, 5000.0, "bad_principal_point"),
            (5, f64::INFINITY, "bad_principal_point"),
            (1, 12.0, "bad_camera_matrix"),
            (1, f64::NAN, "bad_camera_matrix"),
            (3, 1.0, "bad_camera_matrix"),
            (6, 1.0, "bad_camera_matrix"),
            (8, 0.0, "bad_camera_matrix"),
        ] {
            let mut k = K;
            k[entry] = value;
            assert_eq!(camera(k).unwrap_err().name(), name, "K[{entry}] = {value}");
        }
        let empty = Intrinsics::from_camera_info(0, 480, "", &[], &K);
        assert_eq!(empty.unwrap_err().name(), "empty_camera_info");
        // K given column by column, a mistake that occurs in the wild.
        let columns = [525.0, 0.0, 0.0, 0.0, 520.0, 0.0, 319.5, 239.5, 1.0];
        assert_eq!(camera(columns).unwrap_err().name(), "bad_camera_matrix");
    }

    #[test]
    fn each_distortion_model_keeps_its_coefficients() {
        let d = [0.1, -0.2, 0.003, 0.004, 0.5, 0.6, 0.7, 0.8];
        let plumb_bob = [0.1, -0.2, 0.003, 0.004, 0.5];
        assert_eq!(with_distortion("plumb_bob", &d[..5]), Ok(Distortion::PlumbBob(plumb_bob)));
        let four = [0.1, -0.2, 0.003, 0.004, 0.0];
        assert_eq!(with_distortion("plumb_bob", &d[..4]), Ok(Distortion::PlumbBob(four)));
        assert_eq!(
            with_distortion("rational_polynomial", &d),
            Ok(Distortion::RationalPolynomial(d))
        );
        let fisheye = Distortion::Equidistant([0.1, -0.2, 0.003, 0.004]);
        assert_eq!(with_distortion("equidistant", &d[..4]), Ok(fisheye));
        assert_eq!(with_distortion("kannala_brandt4", &d[..4]), Ok(fisheye));
    }

    #[test]
    fn no_coefficients_or_zeros_are_no_distortion_under_any_name() {
        for model in ["plumb_bob", "equidistant", "", "my_lens"] {
            for d in [&[][..], &[0.0; 4], &[0.0; 5], &[-0.0; 14]] {
                assert_eq!(with_distortion(model, d), Ok(Distortion::None), "{model} {d:?}");
            }
        }
    }

    #[test]
    fn a_distortion_that_cannot_be_kept_whole_is_refused() {
        for (model, d) in [
            ("my_lens", &[0.1][..]),
            ("", &[0.1; 5]),
            ("plumb_bob", &[0.1; 3]),
            ("plumb_bob", &[0.1; 8]),
            ("plumb_bob", &[f64::NAN; 5]),
            ("rational_polynomial", &[0.1; 5]),
            ("equidistant", &[0.1; 5]),
        ] {
            let error = with_distortion(model, d).unwrap_err();
            assert_eq!(error.name(), "unknown_distortion", "{model} {d:?}");
            assert!(error.to_string().contains(&d.len().to_string()));
        }
    }

    #[test]
    fn intrinsics_follow_a_resized_picture_but_not_a_cropped_one() {
        let full = Intrinsics::new(1920, 1080, 1000.0, 1000.0, 960.0, 540.0).unwrap();
        let half = full.scaled_to(960, 540).unwrap();
        assert_eq!((half.width, half.height, half.fx), (960, 540, 500.0));
        assert!(full.scaled_to(427, 240).is_ok(), "a rounded width is the same shape");
        for (width, height) in [(1440, 1080), (0, 0), (1920, 1200)] {
            let error = full.scaled_to(width, height).unwrap_err();
            assert_eq!(error.name(), "camera_info_of_other_size");
        }
    }

    proptest! {
        #[test]
        fn pixel_inverts_point(u in 0.0..640.0, v in 0.0..480.0, z_m in 0.1..20.0) {
            let camera = Intrinsics::from_camera_info(640, 480, "", &[], &K).unwrap();
            let [u2, v2] = camera.pixel(camera.point_m(u, v, z_m)).unwrap();
            prop_assert!((u2 - u).abs() < 1e-9 && (v2 - v).abs() < 1e-9);
        }

        #[test]
        fn any_numbers_are_kept_or_refused_but_never_panic(
            width: u32,
            height: u32,
            model in "[a-z_0-9]{0,80}",
            d in prop::collection::vec(any::<f64>(), 0..20),
            k: [f64; 9],
        ) {
            if let Ok(camera) = Intrinsics::from_camera_info(width, height, &model, &d, &k) {
                prop_assert!(camera.fx > 0.0 && camera.fy.is_finite());
                let _ = camera.scaled_to(height, width);
            }
        }
    }
}
