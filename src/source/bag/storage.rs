//! What the two storage formats have in common: topics, and messages in recorded order.

use crate::tally::Tally;

/// A topic as the recording describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTopic {
    /// Name.
    pub name: String,
    /// ROS type, as written.
    pub ros_type: String,
    /// Serialisation, `cdr` where a message can be read here.
    pub serialization: String,
    /// How many messages the recording says there are, where it does.
    pub messages: Option<u64>,
}

/// One recorded message, not decoded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Which of the wanted topics.
    pub topic: usize,
    /// When it was recorded, nanoseconds. Not the time at which it was taken.
    pub log_ns: i64,
    /// Its CDR bytes.
    pub data: Vec<u8>,
}

/// One file of a bag.
pub trait Storage: Send {
    /// Its topics.
    fn topics(&self) -> Vec<StoredTopic>;

    /// Its length by bag time in seconds, where the file says it.
    fn duration_s(&self) -> Option<f64>;

    /// Goes back to the start; from now on only messages of `topics` come out.
    fn want(&mut self, topics: &[String]);

    /// The next wanted message, `None` at the end. What cannot be read is counted in `lost`.
    fn next(&mut self, lost: &mut Tally) -> Option<Recorded>;
}
