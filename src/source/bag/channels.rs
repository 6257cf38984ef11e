//! What an MCAP file says about its channels: topics, types, and how many messages it
//! promises of each.

use std::collections::HashMap;

use super::{
    storage::StoredTopic,
    tlv::{number, op, string},
    unpack::MAX_MESSAGE_BYTES,
};
use crate::tally::Tally;

#[derive(Clone)]
struct Channel {
    topic: String,
    schema: u16,
    encoding: String,
    /// Index among the wanted topics.
    wanted: Option<usize>,
    /// Messages read, wanted or not.
    seen: u64,
}

/// All channels that are known so far.
#[derive(Default)]
pub struct Channels {
    schemas: HashMap<u16, String>,
    channels: HashMap<u16, Channel>,
    wanted: Vec<String>,
    /// Messages by channel as the summary has them.
    promised: HashMap<u16, u64>,
    times_ns: Option<(u64, u64)>,
}

impl Channels {
    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Whether a message may be of the channel of that number.
    pub fn may_be(&self, id: u16) -> bool {
        self.channels.is_empty() || self.channels.contains_key(&id)
    }

    /// The first definition of a number holds: a later one that differs is damage.
    pub fn define(&mut self, opcode: u8, body: &[u8]) -> Option<()> {
        let id = number::<2>(body, 0)? as u16;
        match opcode {
            op::SCHEMA => {
                let (name, _) = string(body, 2)?;
                self.schemas.entry(id).or_insert_with(|| name.to_owned());
            }
            op::CHANNEL => {
                let schema = number::<2>(body, 2)? as u16;
                let (topic, at) = string(body, 4)?;
                let (encoding, _) = string(body, at)?;
                let wanted = self.wanted.iter().position(|name| name == topic);
                self.channels.entry(id).or_insert_with(|| Channel {
                    topic: topic.to_owned(),
                    schema,
                    encoding: encoding.to_owned(),
                    wanted,
                    seen: 0,
                });
            }
            op::STATISTICS => {
                let total = number::<8>(body, 0)?;
                let times = (number::<8>(body, 26)?, number::<8>(body, 34)?);
                let entries = body.get(46..46 + number::<4>(body, 42)? as usize)?;
                let promised: HashMap<u16, u64> = entries
                    .chunks_exact(10)
                    .filter_map(|e| Some((number::<2>(e, 0)? as u16, number::<8>(e, 2)?)))
                    .collect();
                // Counts that do not add up are damaged themselves.
                let sum = promised.values().try_fold(0_u64, |sum, n| sum.checked_add(*n));
                if sum == Some(total) {
                    self.promised = promised;
                    self.times_ns = Some(times);
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Which wanted topic the message is of, and its log time, from its fixed part.
    pub fn route(&mut self, head: &[u8], size: u64, lost: &mut Tally) -> Option<(usize, i64)> {
        let id = number::<2>(head, 0)? as u16;
        let log_ns = i64::try_from(number::<8>(head, 6)?).unwrap_or(i64::MAX);
        let Some(channel) = self.channels.get_mut(&id) else {
            lost.add("unknown_channel");
            return None;
        };
        channel.seen += 1;
        let topic = channel.wanted?;
        if size > MAX_MESSAGE_BYTES as u64 {
            lost.add("message_too_large");
            return None;
        }
        Some((topic, log_ns))
    }

    /// From now on messages of `topics` are wanted; counts start again.
    pub fn want(&mut self, topics: &[String]) {
        self.wanted = topics.to_vec();
        for channel in self.channels.values_mut() {
            channel.wanted = topics.iter().position(|name| *name == channel.topic);
            channel.seen = 0;
        }
    }

    /// Wanted messages that the summary promises and that did not come.
    pub fn missing(&self) -> u64 {
        let missing = self.promised.iter().map(|(id, promised)| {
            let channel = self.channels.get(id).filter(|channel| channel.wanted.is_some());
            channel.map_or(0, |channel| promised.saturating_sub(channel.seen))
        });
        missing.fold(0, u64::saturating_add)
    }

    /// The time from the first to the last message in seconds, as the summary has it.
    pub fn duration_s(&self) -> Option<f64> {
        let (start, end) = self.times_ns?;
        Some(end.checked_sub(start)? as f64 * 1e-9).filter(|s| *s > 0.0)
    }

    /// All topics.
    pub fn topics(&self) -> Vec<StoredTopic> {
        let mut topics: Vec<StoredTopic> = Vec::new();
        let mut ids: Vec<&u16> = self.channels.keys().collect();
        ids.sort();
        for (id, channel) in ids.into_iter().filter_map(|id| self.channels.get_key_value(id)) {
            let messages = self.promised.get(id).copied();
            match topics.iter_mut().find(|topic| topic.name == channel.topic) {
                // Two publishers of one topic have a channel each.
                Some(topic) => {
                    topic.messages = topic.messages.zip(messages).map(|(a, b)| a.saturating_add(b));
                }
                None => topics.push(StoredTopic {
                    name: channel.topic.clone(),
                    ros_type: self.schemas.get(&channel.schema).cloned().unwrap_or_default(),
                    serialization: channel.encoding.clone(),
                    messages: (!self.promised.is_empty()).then(|| messages.unwrap_or(0)),
                }),
            }
        }
        topics
    }
}
