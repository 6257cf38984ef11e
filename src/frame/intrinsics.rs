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
    #[error("distortion model {model:?} with {n} coefficients is not known")]
    Distortion {
        /// The model's name as given.
        model: String,
        /// How many coefficients came with it.
        n: usize,
    },
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
        Intrinsics { cx: f64::from(self.width) - 1.0 - self.cx, ..*self }
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
