//! Frames spread evenly over a stream whose length nobody knows, in bounded memory.

use super::shrunk;
use crate::frame::RgbdFrame;

/// Keeps at most so many frames; at least half as many once there were enough.
const KEPT: usize = 64;

/// Every n-th frame of a stream, small, with n growing as the stream goes on.
#[derive(Debug)]
pub struct EvenSample {
    frames: Vec<RgbdFrame>,
    seen: u64,
    every: u64,
}

impl Default for EvenSample {
    fn default() -> Self {
        EvenSample { frames: Vec::new(), seen: 0, every: 1 }
    }
}

impl EvenSample {
    /// Considers a frame. One that cannot be made small is left out: it could not be checked.
    pub fn offer(&mut self, frame: &RgbdFrame) {
        let due = self.seen.is_multiple_of(self.every);
        self.seen += 1;
        if !due {
            return;
        }
        match shrunk(frame) {
            Ok(small) => self.frames.push(small),
            Err(error) => tracing::debug!("frame {:?} is not checked: {error}", frame.id),
        }
        if self.frames.len() >= KEPT {
            let mut number = 0;
            self.frames.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.every *= 2;
        }
    }

    /// At most `count` of the kept frames, evenly, with those that `choose` wants.
    pub fn evenly(&self, count: usize, choose: impl Fn(&RgbdFrame) -> bool) -> Vec<&RgbdFrame> {
        let frames: Vec<&RgbdFrame> = self.frames.iter().filter(|frame| choose(frame)).collect();
        let count = count.min(frames.len());
        (0..count).map(|i| frames[i * frames.len() / count]).collect()
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::frame::{FrameId, Registration};

    #[test]
    fn a_long_stream_is_sampled_from_end_to_end() {
        for length in [1, 40, 64, 1000, 5000] {
            let mut sample = EvenSample::default();
            for stamp_ns in 0..length {
                sample.offer(&RgbdFrame {
                    id: FrameId(stamp_ns as u64),
                    stamp_ns,
                    depth_stamp_ns: None,
                    color: RgbImage::new(4, 3),
                    depth_m: None,
                    intrinsics: None,
                    registration: Registration::Unregistered,
                });
            }
            let stamps: Vec<i64> = sample.evenly(24, |_| true).iter().map(|f| f.stamp_ns).collect();
            assert!(stamps.len() == 24.min(length as usize), "{length}: {stamps:?}");
            assert!(stamps.is_sorted() && stamps[0] == 0);
            assert!(*stamps.last().unwrap() * 10 >= (length - 1) * 9, "{length}: {stamps:?}");
        }
    }
}
