//! A turned rectangle in a picture.

/// A rectangle in a picture, turned about its own middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Column and row of its middle; pixel centres are whole numbers.
    pub centre: [f64; 2],
    /// Width and height, pixels.
    pub size: (u32, u32),
    /// By how much its columns are turned from the picture's towards its rows: the roll of the
    /// camera about its optical axis that sees the window upright.
    pub roll_rad: f64,
}

impl Window {
    fn middle(&self) -> [f64; 2] {
        [f64::from(self.size.0) - 1.0, f64::from(self.size.1) - 1.0].map(|side| side / 2.0)
    }

    /// Where the window's pixel (column, row) lies in the picture. `aspect` is fx / fy: pixels
    /// that are not square are turned as rays, not as pixels.
    pub fn source(&self, aspect: f64, [u, v]: [f64; 2]) -> [f64; 2] {
        let (sin, cos) = self.roll_rad.sin_cos();
        let [x, y] = [u - self.middle()[0], (v - self.middle()[1]) * aspect];
        [self.centre[0] + cos * x - sin * y, self.centre[1] + (sin * x + cos * y) / aspect]
    }

    /// Where the picture's pixel (column, row) lies in the window: undoes [`Window::source`].
    pub fn of_source(&self, aspect: f64, [u, v]: [f64; 2]) -> [f64; 2] {
        let (sin, cos) = self.roll_rad.sin_cos();
        let [x, y] = [u - self.centre[0], (v - self.centre[1]) * aspect];
        [self.middle()[0] + cos * x + sin * y, self.middle()[1] + (cos * y - sin * x) / aspect]
    }

    /// Half the width and height of the upright rectangle that holds the window.
    pub fn reach(&self, aspect: f64) -> [f64; 2] {
        let (sin, cos) = self.roll_rad.sin_cos();
        let [x, y] = [self.middle()[0], self.middle()[1] * aspect];
        [cos.abs() * x + sin.abs() * y, (sin.abs() * x + cos.abs() * y) / aspect]
    }
}
