//! A first look into a bag: one message of each topic that may be used.

use super::{
    decode,
    extrinsics::Transforms,
    files::BagFiles,
    storage::StoredTopic,
    topics::{First, Kind, Seen},
    unpack,
};
use crate::tally::Tally;

/// The most topics that are looked at.
const MAX_CANDIDATES: usize = 256;

/// How far a bag is read to see one message of each topic: so many messages without a new
/// topic, so many bytes at all.
const PROBE_MESSAGES: usize = 300;
const PROBE_BYTES: usize = 256 << 20;

/// The most messages of `/tf_static` that are waited for.
const MAX_TF_MESSAGES: u64 = 32;

/// Reads on until each topic that may be used has shown one message.
pub fn probe(
    files: &mut BagFiles,
    topics: Vec<StoredTopic>,
    transforms: &mut Transforms,
    damage: &mut Tally,
) -> Vec<Seen> {
    let mut seen: Vec<Seen> = topics
        .into_iter()
        .map(|topic| Seen { kind: Kind::of(&topic), topic, first: None })
        .collect();
    let places: Vec<usize> = (0..seen.len())
        .filter(|i| seen.get(*i).is_some_and(|s| s.kind.is_some() && s.topic.messages != Some(0)))
        .take(MAX_CANDIDATES)
        .collect();
    let names: Vec<String> =
        places.iter().filter_map(|i| seen.get(*i)).map(|seen| seen.topic.name.clone()).collect();
    files.want(&names);
    // Each node that publishes fixed transforms has a message of its own.
    let mut needed: Vec<u64> = places
        .iter()
        .filter_map(|i| seen.get(*i))
        .map(|seen| match seen.kind {
            Some(Kind::Transforms) => seen.topic.messages.unwrap_or(1).clamp(1, MAX_TF_MESSAGES),
            _ => 1,
        })
        .collect();
    let mut missing: u64 = needed.iter().sum();
    let (mut quiet, mut bytes) = (0, 0);
    while missing > 0 && quiet < PROBE_MESSAGES && bytes < PROBE_BYTES {
        let Some(message) = files.next(damage) else { break };
        quiet += 1;
        bytes += message.data.len();
        let place = places.get(message.topic).and_then(|place| seen.get_mut(*place));
        let Some((seen, kind)) = place.and_then(|seen| seen.kind.map(|kind| (seen, kind))) else {
            continue;
        };
        let Some(needed) = needed.get_mut(message.topic).filter(|needed| **needed > 0) else {
            continue;
        };
        let Ok(data) = unpack::message(message.data) else { continue };
        let first = match kind {
            Kind::Transforms => transforms.take_tf(&data).ok().map(|()| First::default()),
            Kind::DepthToColor => {
                transforms.take_depth_to_color(&data).ok().map(|()| First::default())
            }
            kind => decode::first(kind, &data),
        };
        if let Some(first) = first {
            seen.first = Some(first);
            *needed -= 1;
            missing -= 1;
            quiet = 0;
        }
    }
    seen
}
