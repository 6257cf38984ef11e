//! Rotary positions: along the text and over pictures (M-RoPE), and over the patches of one
//! picture in the vision tower.

use burn::{
    Tensor,
    tensor::{Device, FloatDType, TensorData},
};

use super::QwenError;

/// The position of a token along time, height and width; a text token has three equal ones.
pub type Position = [u32; 3];

/// The tokens and picture grids from which positions are made.
#[derive(Clone, Copy, Debug)]
pub struct PositionRule {
    /// The token that stands for one merged patch of a picture.
    pub image_token: u32,
    /// Patches a side that are merged into one token.
    pub merge: usize,
}

impl PositionRule {
    /// Positions of a prompt's tokens (M-RoPE, Qwen2-VL report, section 2.1), and the first
    /// position after them. `grids` are the pictures' patches along time, height and width.
    ///
    /// # Errors
    /// When image tokens and grids disagree, or a grid is no picture's.
    pub fn positions(
        &self,
        ids: &[u32],
        grids: &[[usize; 3]],
    ) -> Result<(Vec<Position>, u32), QwenError> {
        let mut positions: Vec<Position> = Vec::with_capacity(ids.len());
        let mut pictures = grids.iter().enumerate();
        let mut next = 0_u32;
        let mut at = 0;
        while let Some(&id) = ids.get(at) {
            if id != self.image_token {
                positions.push([next; 3]);
                next += 1;
                at += 1;
                continue;
            }
            let rest = &ids[at..];
            let run = rest.iter().take_while(|&&id| id == self.image_token).count();
            let Some((picture, grid)) = pictures.next() else {
                return Err(QwenError::TooManyImageTokens { at, run, pictures: grids.len() });
            };
            let [rows, cols] = self.merged(picture, grid)?;
            if run < rows * cols {
                return Err(QwenError::CutPicture { picture, needed: rows * cols, got: run });
            }
            for cell in 0..rows * cols {
                positions.push([next, next + (cell / cols) as u32, next + (cell % cols) as u32]);
            }
            next += rows.max(cols) as u32;
            at += rows * cols;
        }
        match pictures.next() {
            None => Ok((positions, next)),
            Some((picture, grid)) => {
                let [rows, cols] = self.merged(picture, grid)?;
                Err(QwenError::CutPicture { picture, needed: rows * cols, got: 0 })
            }
        }
    }

    /// Rows and columns of a picture's tokens.
    ///
    /// # Errors
    /// When the grid cannot be merged.
    pub fn merged(&self, picture: usize, grid: &[usize; 3]) -> Result<[usize; 2], QwenError> {
        let [time, rows, cols] = *grid;
        let whole = |side: usize| side > 0 && side.is_multiple_of(self.merge) && side < 1 << 14;
        if time == 1 && whole(rows) && whole(cols) {
            return Ok([rows / self.merge, cols / self.merge]);
        }
        Err(QwenError::Grid { picture, grid: *grid, merge: self.merge })
    }
}

/// The rotation of each row's queries and keys.
#[derive(Clone, Debug)]
pub struct Rope {
    /// `[rows, 1, head_dim]`.
    cos: Tensor<3>,
    /// `[rows, 1, head_dim]`.
    sin: Tensor<3>,
}

impl Rope {
    /// Of text positions: `sections` says how many frequencies follow time, height and width.
    pub fn text(
        positions: &[Position],
        sections: [usize; 3],
        theta: f64,
        device: &Device,
        dtype: FloatDType,
    ) -> Self {
        let axes: Vec<usize> =
            (0..3).flat_map(|axis| std::iter::repeat_n(axis, sections[axis])).collect();
        let frequencies = frequencies(axes.len(), theta);
        let angles = positions.iter().flat_map(|position| {
            axes.iter().zip(&frequencies).map(|(&axis, f)| position[axis] as f32 * f)
        });
        Self::of_angles(angles.collect(), positions.len(), axes.len(), device, dtype)
    }

    /// Of patches: the first half of the frequencies follows the row, the second the column.
    pub fn patches(places: &[[u32; 2]], head_dim: usize, device: &Device) -> Self {
        let frequencies = frequencies(head_dim / 4, 10_000.0);
        let angles = places.iter().flat_map(|place| {
            place.iter().flat_map(|&p| frequencies.iter().map(move |f| p as f32 * f))
        });
        // In float32 whatever the model computes in, as the reference does.
        let dtype = FloatDType::F32;
        Self::of_angles(angles.collect(), places.len(), head_dim / 2, device, dtype)
    }

    /// From angles `[rows, half]`, each of which turns two of the `2 * half` values.
    fn of_angles(
        angles: Vec<f32>,
        rows: usize,
        half: usize,
        device: &Device,
        dtype: FloatDType,
    ) -> Self {
        let table = |of: fn(f32) -> f32| {
            let values: Vec<f32> = angles
                .chunks_exact(half.max(1))
                .flat_map(|row| row.iter().chain(row).map(|&angle| of(angle)))
                .collect();
            let data = TensorData::new(values, [rows, 1, 2 * half]);
            Tensor::<3>::from_data(data, (device, FloatDType::F32.into())).cast(dtype)
        };
        Rope { cos: table(f32::cos), sin: table(f32::sin) }
    }

    /// The rotation of some of the rows.
    pub fn rows(&self, start: usize, count: usize) -> Rope {
        Rope {
            cos: self.cos.clone().narrow(0, start, count),
            sin: self.sin.clone().narrow(0, start, count),
        }
    }

    /// Turns queries or keys `[rows, heads, head_dim]`.
    pub fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        let given = FloatDType::from(x.dtype());
        let x = x.cast(FloatDType::from(self.cos.dtype()));
        let half = x.dims()[2] / 2;
        let first = x.clone().narrow(2, 0, half);
        let second = x.clone().narrow(2, half, half);
        let turned = Tensor::cat(vec![second.neg(), first], 2);
        (x * self.cos.clone() + turned * self.sin.clone()).cast(given)
    }
}

/// `theta^(-i / count)`, in float32 like the reference.
fn frequencies(count: usize, theta: f64) -> Vec<f32> {
    (0..count).map(|i| 1.0 / (theta as f32).powf(i as f32 / count as f32)).collect()
}
