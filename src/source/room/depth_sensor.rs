//! A depth camera's faults on exact depth: noise that grows with distance, steps of
//! disparity, shadows beside near edges, and holes.

use rayon::prelude::*;

use super::{
    dice::{hash2, lattice_noise, normal, unit},
    render::Raw,
    spec::RoomSensor,
};
use crate::frame::{DepthMap, SensorModel};

/// What a depth sensor does to exact depth.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DepthSensor {
    pub noise: SensorModel,
    /// Distance of projector and camera, metres; 0: no shadows.
    pub baseline_m: f32,
    /// Smallest step of disparity, pixels; 0: continuous.
    pub disparity_step_px: f32,
    /// Readings outside this range are lost, metres.
    pub range_m: [f32; 2],
    /// Share of readings lost for no visible reason.
    pub dropout: f32,
    /// Multiplies the losses of dark, shiny and slanted surfaces.
    pub weakness: f32,
}

impl DepthSensor {
    pub fn of(kind: RoomSensor) -> Option<Self> {
        let noise = kind.noise()?;
        Some(match kind {
            RoomSensor::StructuredLight => DepthSensor {
                noise,
                baseline_m: 0.075,
                disparity_step_px: 0.125,
                range_m: [0.4, 6.5],
                dropout: 0.002,
                weakness: 1.0,
            },
            RoomSensor::ActiveStereo => DepthSensor {
                noise,
                baseline_m: 0.05,
                disparity_step_px: 1.0 / 32.0,
                range_m: [0.28, 8.0],
                dropout: 0.004,
                weakness: 0.7,
            },
            RoomSensor::TimeOfFlight | RoomSensor::Exact => DepthSensor {
                noise,
                baseline_m: 0.0,
                disparity_step_px: 0.0,
                range_m: [0.3, 5.5],
                dropout: 0.001,
                weakness: 0.6,
            },
        })
    }

    /// What the sensor reports, metres, NaN for none. `f_px`: the focal length along x.
    pub fn measure(&self, raw: &Raw, f_px: f32, seed: u32) -> DepthMap {
        let mut measured = raw.depth_m.clone();
        let width = raw.width.max(1);
        let shift_px_m = f_px * self.baseline_m;
        let exact = raw.depth_m.as_slice().unwrap_or_default();
        if let Some(out) = measured.as_slice_mut() {
            out.par_chunks_mut(width).enumerate().for_each(|(v, row)| {
                let line = |v: usize| exact.get(v * width..(v + 1) * width).unwrap_or_default();
                let next = line(v + 1);
                let lines = [
                    line(v.saturating_sub(1)),
                    line(v),
                    if next.is_empty() { line(v) } else { next },
                ];
                let lost = raw.lost.get(v * width..(v + 1) * width).unwrap_or_default();
                self.measure_row(row, lines, lost, shift_px_m, (v, seed));
            });
        }
        measured
    }

    fn measure_row(
        &self,
        row: &mut [f32],
        lines: [&[f32]; 3],
        lost: &[u8],
        shift_px_m: f32,
        (v, seed): (usize, u32),
    ) {
        let own = lines[1];
        // The projector stands to the left: along a row, what it reaches moves only to the
        // right, and all that a nearer thing already covered is in shadow.
        let mut covered = f32::NEG_INFINITY;
        for (u, out) in row.iter_mut().enumerate() {
            let h = hash2(hash2(seed, v as u32), u as u32);
            let Some(&exact) = own.get(u) else { continue };
            let reached = u as f32 + shift_px_m / exact;
            let shadow = shift_px_m > 0.0 && reached < covered - 0.75;
            covered = covered.max(if reached.is_nan() { covered } else { reached });
            // Edges are ragged: a reading may belong to a neighbouring pixel.
            let line = match h % 8 {
                0 => lines[0],
                1 => lines[2],
                _ => own,
            };
            let across = match (h >> 3) % 8 {
                0 => u.saturating_sub(1),
                1 => u + 1,
                _ => u,
            };
            let z = line.get(across).copied().unwrap_or(exact);
            let z = if (z - exact).abs() > 0.04 * exact { z } else { exact };
            *out = if shadow || self.is_lost(u, v, lost, h, seed) {
                f32::NAN
            } else {
                self.read(z, h, shift_px_m)
            };
        }
    }

    /// Holes come in blobs: a smooth field is compared with the surface's loss.
    fn is_lost(&self, u: usize, v: usize, lost: &[u8], h: u32, seed: u32) -> bool {
        let chance = self.weakness * f32::from(lost.get(u).copied().unwrap_or(0)) / 255.0;
        if unit(hash2(h, 11)) < self.dropout {
            return true;
        }
        if chance <= 0.02 {
            return false;
        }
        let blob = lattice_noise(u as f32 / 6.0, v as f32 / 6.0, 0, seed);
        // The lattice's values gather about a half: a logistic curve spreads them evenly.
        let even = 1.0 / (1.0 + (-8.5 * (blob - 0.5)).exp());
        let spread = even + 0.2 * (unit(hash2(h, 12)) - 0.5);
        spread < chance
    }

    /// One reading of `z` metres.
    fn read(&self, z: f32, h: u32, shift_px_m: f32) -> f32 {
        let noisy = z + self.noise.sigma_m(z) * normal(hash2(h, 13));
        let stepped = if self.disparity_step_px > 0.0 && shift_px_m > 0.0 {
            let steps = (shift_px_m / noisy / self.disparity_step_px).round();
            shift_px_m / (steps * self.disparity_step_px)
        } else {
            noisy
        };
        let [low, high] = self.range_m;
        if stepped >= low && stepped <= high { stepped } else { f32::NAN }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn flat(z: f32) -> Raw {
        let (w, h) = (320, 240);
        let depth_m = Array2::from_elem((h, w), z);
        Raw { width: w, linear: vec![[0.2; 3]; w * h], depth_m, lost: vec![0; w * h] }
    }

    fn statistics(map: &DepthMap) -> (f64, f64, f64) {
        let valid: Vec<f64> = map.iter().filter(|z| z.is_finite()).map(|&z| f64::from(z)).collect();
        let n = valid.len() as f64;
        let mean = valid.iter().sum::<f64>() / n;
        let variance = valid.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt(), n / map.len() as f64)
    }

    #[test]
    fn noise_has_the_deviation_that_the_model_says() {
        for kind in
            [RoomSensor::StructuredLight, RoomSensor::ActiveStereo, RoomSensor::TimeOfFlight]
        {
            let mut sensor = DepthSensor::of(kind).unwrap();
            sensor.disparity_step_px = 0.0;
            for z in [0.8f32, 2.0, 3.5] {
                let (mean, deviation, valid) = statistics(&sensor.measure(&flat(z), 550.0, 3));
                let model = f64::from(sensor.noise.sigma_m(z));
                assert!(
                    (deviation / model - 1.0).abs() < 0.03,
                    "{kind:?} {z}: {deviation} {model}"
                );
                assert!((mean - f64::from(z)).abs() < 0.02 * model.max(0.001) + 1e-4);
                assert!(valid > 0.99);
            }
        }
    }

    #[test]
    fn disparity_steps_grow_with_distance_and_add_their_share_of_noise() {
        let sensor = DepthSensor::of(RoomSensor::StructuredLight).unwrap();
        let f = 550.0f64;
        for z in [1.0f32, 3.0] {
            let map = sensor.measure(&flat(z), f as f32, 5);
            let mut values: Vec<f32> = map.iter().copied().filter(|z| z.is_finite()).collect();
            values.sort_by(f32::total_cmp);
            values.dedup();
            let step = f64::from(z).powi(2) * 0.125 / (f * 0.075);
            let gaps: Vec<f64> = values.windows(2).map(|w| f64::from(w[1] - w[0])).collect();
            let gap = gaps.iter().sum::<f64>() / gaps.len() as f64;
            assert!((gap / step - 1.0).abs() < 0.15, "{z}: {gap} {step}");
            let (_, deviation, _) = statistics(&map);
            let model = (f64::from(sensor.noise.sigma_m(z)).powi(2) + step * step / 12.0).sqrt();
            assert!((deviation / model - 1.0).abs() < 0.2, "{z}: {deviation} {model}");
        }
    }

    #[test]
    fn a_near_edge_casts_a_shadow_as_wide_as_the_geometry_says() {
        let mut raw = flat(2.0);
        for ((_, u), z) in raw.depth_m.indexed_iter_mut() {
            if (100..160).contains(&u) {
                *z = 1.0;
            }
        }
        let sensor = DepthSensor::of(RoomSensor::StructuredLight).unwrap();
        let map = sensor.measure(&raw, 550.0, 1);
        let holes = |from: usize, to: usize| {
            let part = || map.indexed_iter().filter(|((_, u), _)| (from..to).contains(u));
            part().filter(|(_, z)| z.is_nan()).count() as f64 / part().count() as f64
        };
        // 550 px x 0.075 m x (1/1 m - 1/2 m) = 20.6 px to the right of the near body.
        assert!(holes(161, 178) > 0.99);
        assert!(holes(184, 240) < 0.01);
        assert!(holes(20, 98) < 0.01 && holes(102, 158) < 0.01);
    }

    #[test]
    fn readings_out_of_range_are_none() {
        let sensor = DepthSensor::of(RoomSensor::StructuredLight).unwrap();
        for z in [0.2f32, 9.0, f32::NAN, f32::INFINITY] {
            assert!(sensor.measure(&flat(z), 550.0, 1).iter().all(|z| z.is_nan()), "{z}");
        }
    }

    #[test]
    fn a_surface_that_sends_nothing_back_is_a_hole_and_a_weak_one_has_some() {
        let sensor = DepthSensor::of(RoomSensor::StructuredLight).unwrap();
        let share = |level: u8| {
            let mut raw = flat(1.5);
            raw.lost.fill(level);
            1.0 - statistics(&sensor.measure(&raw, 550.0, 2)).2
        };
        assert!(share(255) > 0.97);
        assert!((0.05..0.6).contains(&share(90)), "{}", share(90));
        assert!(share(0) < 0.01);
    }
}
