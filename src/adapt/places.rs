//! Telling places apart by their pictures alone: a frame belongs to the first known sight
//! that it resembles, else it is a new one.

use serde::{Deserialize, Serialize};

use crate::frame::quality::Signature;

/// Sights farther apart than this ([`Signature::distance`]: 0 the same, about 1.4 unrelated)
/// are different places.
const APART: f32 = 1.0;

/// The most places that are told apart; later ones count to the nearest known.
pub const MAX_PLACES: usize = 64;

/// The places seen so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Places {
    first_sights: Vec<Signature>,
}

impl Places {
    /// The place that a frame shows, 0 for the first.
    pub fn place(&mut self, sight: &Signature) -> u16 {
        let near = self.first_sights.iter().map(|known| known.distance(sight)).enumerate();
        let nearest = near.min_by(|a, b| a.1.total_cmp(&b.1));
        match nearest {
            Some((at, distance)) if distance < APART || self.first_sights.len() >= MAX_PLACES => {
                at as u16
            }
            _ => {
                self.first_sights.push(*sight);
                (self.first_sights.len() - 1) as u16
            }
        }
    }

    /// How many places were told apart.
    pub fn len(&self) -> usize {
        self.first_sights.len()
    }

    /// Whether nothing was seen yet.
    pub fn is_empty(&self) -> bool {
        self.first_sights.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::quality::QualityMeter,
        source::{
            FrameSource,
            room::{RoomsSource, RoomsSpec},
        },
    };

    #[test]
    fn places_are_bounded_and_the_same_sight_is_the_same_place() {
        let mut source = RoomsSource::new(RoomsSpec { seeds: 1..=3, frames: 2 });
        let mut meter = QualityMeter::default();
        let mut places = Places::default();
        while let Some(frame) = source.next_frame().unwrap() {
            let sight = meter.measure(&frame).signature;
            let place = places.place(&sight);
            assert_eq!(places.place(&sight), place);
        }
        assert!((2..=6).contains(&places.len()), "{} places in three rooms", places.len());
    }
}
