//! Pairs colour with depth by stamp while both streams arrive: nearest first, each message
//! used once, with a bounded number of messages and bytes waiting.
//!
//! Bag times say when a message was recorded, which can be seconds late or another clock
//! altogether; pairs are made by the stamps in the headers. A pair is made as soon as no
//! message that is still to come could be nearer to either of the two, so the result is the
//! same as if all pairs within the tolerance were sorted by distance and taken greedily.

use heapless::Deque;

use crate::tally::Tally;

/// The most messages of one stream that wait for a partner.
pub const MAX_WAITING: usize = 512;

/// Which stream a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Colour pictures: their stamps name the frames.
    Color,
    /// Depth pictures.
    Depth,
}

/// How messages are paired.
#[derive(Clone, Copy, Debug)]
pub struct PairOptions {
    /// The most that the two stamps of a pair differ, nanoseconds.
    pub tolerance_ns: i64,
    /// How far behind its stream's newest stamp a message may arrive, nanoseconds.
    pub disorder_ns: i64,
    /// The most bytes of messages that wait.
    pub max_bytes: usize,
    /// Whether a colour without depth is given out alone instead of counted as unpaired.
    pub lone_color: bool,
    /// Whether a pair is given out as soon as it is certain, perhaps before an older one: for
    /// live frames, of which nobody wants to wait for the one that is late.
    pub eager: bool,
}

impl Default for PairOptions {
    fn default() -> Self {
        PairOptions {
            tolerance_ns: 20_000_000,
            disorder_ns: 100_000_000,
            // Seven seconds of raw 640x480 colour at 30 Hz.
            max_bytes: 192 << 20,
            lone_color: false,
            eager: false,
        }
    }
}

/// A stamp this much behind the newest is a clock that was set back (a bag played in a
/// loop, a simulation started again), not a late message.
const CLOCK_SET_BACK_NS: i64 = 1_000_000_000;

/// Colour and depth of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair<T> {
    /// Stamp of the colour picture.
    pub stamp_ns: i64,
    /// The colour message.
    pub color: T,
    /// Stamp of the depth picture and its message; none only with
    /// [`PairOptions::lone_color`].
    pub depth: Option<(i64, T)>,
}

struct Waiting<T> {
    stamp_ns: i64,
    bytes: usize,
    message: T,
    /// The depth that was found for a colour.
    mate: Option<(i64, usize, T)>,
}

/// Messages of one stream in the order of their stamps.
struct Queue<T> {
    waiting: Box<Deque<Waiting<T>, MAX_WAITING>>,
    newest_ns: Option<i64>,
    /// The stamp of the last message that left.
    left_ns: Option<i64>,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Queue { waiting: Box::new(Deque::new()), newest_ns: None, left_ns: None }
    }

    /// No message older than this is still to come.
    fn horizon_ns(&self, disorder_ns: i64, finished: bool) -> i64 {
        match self.newest_ns {
            _ if finished => i64::MAX,
            Some(newest) => newest.saturating_sub(disorder_ns),
            None => i64::MIN,
        }
    }

    /// The index of the first message at or after `stamp_ns`.
    fn at_or_after(&self, stamp_ns: i64) -> usize {
        let (front, back) = self.waiting.as_slices();
        let before = |waiting: &Waiting<T>| waiting.stamp_ns < stamp_ns;
        match front.partition_point(before) {
            all if all == front.len() => all + back.partition_point(before),
            some => some,
        }
    }

    /// The message without a mate that is nearest to `stamp_ns`, the older of two as near.
    fn nearest(&self, stamp_ns: i64) -> Option<(usize, i64)> {
        let split = self.at_or_after(stamp_ns);
        let free = |i: &usize| self.waiting.get(*i).is_some_and(|waiting| waiting.mate.is_none());
        let older = (0..split).rev().find(free);
        let newer = (split..self.waiting.len()).find(free);
        let stamp = |i: usize| self.waiting.get(i).map(|waiting| (i, waiting.stamp_ns));
        match (older.and_then(stamp), newer.and_then(stamp)) {
            (Some(older), Some(newer)) => {
                let newer_is_nearer = newer.1.abs_diff(stamp_ns) < older.1.abs_diff(stamp_ns);
                Some(if newer_is_nearer { newer } else { older })
            }
            (older, newer) => older.or(newer),
        }
    }
}

/// Pairs two streams of messages of type `T`. After each [`Pairer::push`] take all pairs
/// with [`Pairer::pop`].
///
/// ```
/// use spatial_ssrl::source::pair::{PairOptions, Pairer, Stream};
/// let mut pairer = Pairer::new(PairOptions::default());
/// pairer.push(Stream::Color, 1_000_000_000, 8, "colour");
/// pairer.push(Stream::Depth, 1_005_000_000, 8, "depth");
/// pairer.finish();
/// let pair = pairer.pop().unwrap();
/// assert_eq!((pair.color, pair.depth), ("colour", Some((1_005_000_000, "depth"))));
/// assert!(pairer.pop().is_none() && pairer.unpaired().is_empty());
/// ```
pub struct Pairer<T> {
    options: PairOptions,
    color: Queue<T>,
    depth: Queue<T>,
    ready: std::collections::VecDeque<Pair<T>>,
    bytes: usize,
    finished: bool,
    unpaired: Tally,
}

impl<T> Pairer<T> {
    /// A pairer with nothing in it.
    pub fn new(options: PairOptions) -> Self {
        Pairer {
            options,
            color: Queue::new(),
            depth: Queue::new(),
            ready: std::collections::VecDeque::new(),
            bytes: 0,
            finished: false,
            unpaired: Tally::default(),
        }
    }

    /// Messages that became part of no pair, by reason.
    pub fn unpaired(&self) -> &Tally {
        &self.unpaired
    }

    /// Messages and bytes that wait.
    pub fn waiting(&self) -> (usize, usize) {
        (self.color.waiting.len() + self.depth.waiting.len(), self.bytes)
    }

    /// The next pair, in the order of colour stamps.
    pub fn pop(&mut self) -> Option<Pair<T>> {
        self.ready.pop_front()
    }

    /// Takes in a message that occupies `bytes`.
    pub fn push(&mut self, stream: Stream, stamp_ns: i64, bytes: usize, message: T) {
        let queue = self.queue(stream);
        if let Some(newest) = queue.newest_ns {
            let behind = newest.saturating_sub(stamp_ns);
            if behind > self.options.disorder_ns.saturating_mul(2).max(CLOCK_SET_BACK_NS) {
                self.start_again();
            } else if behind > self.options.disorder_ns {
                self.unpaired.add("out_of_order");
                return;
            }
        }
        let queue = self.queue(stream);
        let at = queue.at_or_after(stamp_ns);
        let twin = queue.waiting.get(at).is_some_and(|waiting| waiting.stamp_ns == stamp_ns);
        if twin || queue.left_ns == Some(stamp_ns) {
            self.unpaired.add("duplicate_stamp");
            return;
        }
        while self.queue(stream).waiting.is_full()
            || self.bytes.saturating_add(bytes) > self.options.max_bytes
        {
            if !self.make_room(stream) {
                break;
            }
        }
        let queue = self.queue_mut(stream);
        let waiting = Waiting { stamp_ns, bytes, message, mate: None };
        if queue.waiting.push_back(waiting).is_ok() {
            // To its place among the few that arrived before it though they are younger.
            let mut i = queue.waiting.len() - 1;
            while i > 0 && queue.waiting.get(i - 1).is_some_and(|w| w.stamp_ns > stamp_ns) {
                queue.waiting.swap(i - 1, i);
                i -= 1;
            }
            queue.newest_ns = Some(queue.newest_ns.map_or(stamp_ns, |newest| newest.max(stamp_ns)));
            self.bytes += bytes;
        }
        self.settle();
    }

    /// Says that nothing more will come: whatever can be paired now is.
    pub fn finish(&mut self) {
        self.finished = true;
        self.settle();
    }

    fn queue(&self, stream: Stream) -> &Queue<T> {
        match stream {
            Stream::Color => &self.color,
            Stream::Depth => &self.depth,
        }
    }

    fn queue_mut(&mut self, stream: Stream) -> &mut Queue<T> {
        match stream {
            Stream::Color => &mut self.color,
            Stream::Depth => &mut self.depth,
        }
    }

    /// Settles all that waits and forgets the clock.
    fn start_again(&mut self) {
        self.finished = true;
        self.settle();
        self.finished = false;
        for queue in [&mut self.color, &mut self.depth] {
            queue.newest_ns = None;
            queue.left_ns = None;
        }
    }

    /// Gives up the message that waited longest.
    fn make_room(&mut self, stream: Stream) -> bool {
        let front = |queue: &Queue<T>| queue.waiting.front().map(|waiting| waiting.stamp_ns);
        let stream = match (front(&self.color), front(&self.depth)) {
            _ if self.queue(stream).waiting.is_full() => stream,
            (Some(color), Some(depth)) if depth < color => Stream::Depth,
            (None, Some(_)) => Stream::Depth,
            (Some(_), _) => Stream::Color,
            (None, None) => return false,
        };
        let oldest_depth = front(&self.depth);
        // Better the nearest partner there is than none; a nearer one may never come.
        let color = match stream {
            Stream::Color => Some(0),
            Stream::Depth => {
                front(&self.depth).and_then(|at| self.color.nearest(at)).map(|(i, _)| i)
            }
        };
        if let Some(i) = color
            && let Some((at, ..)) = self.nearest_to_each_other(i)
        {
            self.join(i, at);
        }
        match stream {
            Stream::Color => self.release_front(stream, "no_depth_within_buffer"),
            Stream::Depth if front(&self.depth) == oldest_depth => {
                self.release_front(stream, "no_color_within_buffer");
            }
            Stream::Depth => {}
        }
        true
    }

    /// Lets the oldest message go: as a pair if it has a mate, else counted under `reason`.
    fn release_front(&mut self, stream: Stream, reason: &str) {
        self.release(stream, 0, reason);
    }

    /// The same for the message at `at`.
    fn release(&mut self, stream: Stream, at: usize, reason: &str) {
        let queue = self.queue_mut(stream);
        let Some(waiting) = remove(&mut queue.waiting, at) else { return };
        queue.left_ns = Some(waiting.stamp_ns);
        self.bytes = self.bytes.saturating_sub(waiting.bytes);
        let depth = waiting.mate.map(|(stamp_ns, bytes, depth)| {
            self.bytes = self.bytes.saturating_sub(bytes);
            (stamp_ns, depth)
        });
        let alone = self.options.lone_color && stream == Stream::Color;
        if depth.is_some() || alone {
            let (stamp_ns, color) = (waiting.stamp_ns, waiting.message);
            self.ready.push_back(Pair { stamp_ns, color, depth });
        } else {
            self.unpaired.add(reason);
        }
    }

    /// Makes every pair that is certain, then lets go what is settled.
    fn settle(&mut self) {
        let color_ns = self.color.horizon_ns(self.options.disorder_ns, self.finished);
        let depth_ns = self.depth.horizon_ns(self.options.disorder_ns, self.finished);
        if self.options.eager {
            self.make_exact_pairs();
        }
        while self.make_certain_pairs(color_ns, depth_ns) {}
        if self.options.eager {
            let mated = |waiting: &Waiting<T>| waiting.mate.is_some();
            while let Some(at) = self.color.waiting.iter().position(mated) {
                self.release(Stream::Color, at, "no_depth_within_tolerance");
            }
        }
        let tolerance_ns = self.options.tolerance_ns;
        while let Some(front) = self.color.waiting.front() {
            let stamp_ns = front.stamp_ns;
            let settled = match front.mate {
                Some(_) => color_ns >= stamp_ns,
                None => {
                    (self.finished || depth_ns > stamp_ns.saturating_add(tolerance_ns))
                        && !within(self.depth.nearest(stamp_ns), stamp_ns, tolerance_ns)
                }
            };
            if !settled {
                break;
            }
            self.release_front(Stream::Color, "no_depth_within_tolerance");
        }
        while let Some(front) = self.depth.waiting.front() {
            let stamp_ns = front.stamp_ns;
            if color_ns <= stamp_ns.saturating_add(tolerance_ns) && !self.finished
                || within(self.color.nearest(stamp_ns), stamp_ns, tolerance_ns)
            {
                break;
            }
            self.release_front(Stream::Depth, "no_color_within_tolerance");
        }
    }

    /// Pairs of one and the same stamp are certain whatever is still to come.
    fn make_exact_pairs(&mut self) {
        for i in 0..self.color.waiting.len() {
            let exact = self.nearest_to_each_other(i).filter(|(.., apart_ns)| *apart_ns == 0);
            if let Some((at, ..)) = exact {
                self.join(i, at);
            }
        }
    }

    /// One pass over the colours; true if a pair was made (so that others may now be).
    fn make_certain_pairs(&mut self, color_ns: i64, depth_ns: i64) -> bool {
        let mut made = false;
        for i in 0..self.color.waiting.len() {
            let Some(waiting) = self.color.waiting.get(i) else { break };
            let stamp_ns = waiting.stamp_ns;
            if stamp_ns > depth_ns || self.depth.waiting.is_empty() {
                break;
            }
            if let Some((at, depth_stamp_ns, apart_ns)) = self.nearest_to_each_other(i)
                && depth_ns >= stamp_ns.saturating_add(apart_ns)
                && color_ns >= depth_stamp_ns.saturating_add(apart_ns)
            {
                made |= self.join(i, at);
            }
        }
        made
    }

    /// The depth that is nearest to the `i`-th colour, if it is within the tolerance and no
    /// other colour is nearer to it: its place, its stamp and the distance.
    fn nearest_to_each_other(&self, i: usize) -> Option<(usize, i64, i64)> {
        let waiting = self.color.waiting.get(i).filter(|waiting| waiting.mate.is_none())?;
        let (at, depth_stamp_ns) = self.depth.nearest(waiting.stamp_ns)?;
        let apart_ns = i64::try_from(depth_stamp_ns.abs_diff(waiting.stamp_ns)).ok()?;
        let mutual = self.color.nearest(depth_stamp_ns).is_some_and(|(color, _)| color == i);
        (apart_ns <= self.options.tolerance_ns && mutual).then_some((at, depth_stamp_ns, apart_ns))
    }

    /// Gives the `i`-th colour the depth at `at`.
    fn join(&mut self, i: usize, at: usize) -> bool {
        let Some(waiting) = self.color.waiting.get_mut(i) else { return false };
        let Some(depth) = remove(&mut self.depth.waiting, at) else { return false };
        self.depth.left_ns = Some(depth.stamp_ns);
        waiting.mate = Some((depth.stamp_ns, depth.bytes, depth.message));
        true
    }
}

fn within(nearest: Option<(usize, i64)>, stamp_ns: i64, tolerance_ns: i64) -> bool {
    nearest.is_some_and(|(_, other_ns)| other_ns.abs_diff(stamp_ns) <= tolerance_ns.unsigned_abs())
}

/// Takes out the message at `at`; the others keep their order.
fn remove<T>(waiting: &mut Deque<Waiting<T>, MAX_WAITING>, at: usize) -> Option<Waiting<T>> {
    for i in (1..=at).rev() {
        waiting.swap(i - 1, i);
    }
    waiting.pop_front()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: i64 = 1_000_000;

    /// Obviously right: all pairs within the tolerance, nearest first, each message once.
    fn reference(colors: &[i64], depths: &[i64], tolerance_ns: i64) -> Vec<(i64, i64)> {
        let mut all: Vec<(i64, i64, i64)> = Vec::new();
        for c in colors {
            for d in depths {
                if (c - d).abs() <= tolerance_ns {
                    all.push(((c - d).abs(), *c, *d));
                }
            }
        }
        all.sort_unstable();
        let mut pairs: Vec<(i64, i64)> = Vec::new();
        for (_, c, d) in all {
            if pairs.iter().all(|pair| pair.0 != c && pair.1 != d) {
                pairs.push((c, d));
            }
        }
        pairs.sort_unstable();
        pairs
    }

    fn run(options: PairOptions, arrivals: &[(Stream, i64)]) -> (Vec<(i64, i64)>, Tally, usize) {
        let mut pairer = Pairer::new(options);
        let (mut pairs, mut most) = (Vec::new(), 0);
        for (stream, stamp_ns) in arrivals {
            pairer.push(*stream, *stamp_ns, 10, *stamp_ns);
            most = most.max(pairer.waiting().0);
            assert!(pairer.waiting().1 <= options.max_bytes, "bytes {:?}", pairer.waiting());
            while let Some(pair) = pairer.pop() {
                let (depth_stamp_ns, depth) = pair.depth.unwrap();
                assert_eq!((pair.color, depth), (pair.stamp_ns, depth_stamp_ns));
                pairs.push((pair.stamp_ns, depth_stamp_ns));
            }
        }
        pairer.finish();
        pairs.extend(std::iter::from_fn(|| pairer.pop()).map(|p| (p.stamp_ns, p.depth.unwrap().0)));
        assert_eq!(pairer.waiting(), (0, 0));
        (pairs, pairer.unpaired().clone(), most)
    }

    /// Two streams with their stamps in any distance, each message recorded up to `late` ms
    /// after its stamp, one stream `lag` ms later than the other.
    fn arrivals(colors: &[i64], depths: &[i64], late: &[i64], lag: i64) -> Vec<(Stream, i64)> {
        let mut all: Vec<(i64, usize, Stream, i64)> = Vec::new();
        for (stream, stamps, lag) in [(Stream::Color, colors, 0), (Stream::Depth, depths, lag)] {
            for stamp in stamps {
                let late = late.get(all.len() % late.len().max(1)).copied().unwrap_or(0);
                all.push((stamp + late + lag, all.len(), stream, *stamp));
            }
        }
        all.sort_unstable_by_key(|(at, i, ..)| (*at, *i));
        all.into_iter().map(|(_, _, stream, stamp)| (stream, stamp)).collect()
    }

    fn stamps() -> impl Strategy<Value = Vec<i64>> {
        prop::collection::vec(1_i64..60, 0..80).prop_map(|gaps| {
            gaps.iter()
                .scan(0, |at, gap| {
                    *at += gap * MS;
                    Some(*at)
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn pairs_are_those_of_the_quadratic_reference_whatever_the_recorder_did(
            colors in stamps(),
            depths in stamps(),
            late in prop::collection::vec((0_i64..90).prop_map(|ms| ms * MS), 1..20),
            lag in (-2000_i64..2000).prop_map(|ms| ms * MS),
            tolerance_ns in (0_i64..70).prop_map(|ms| ms * MS),
        ) {
            let options = PairOptions { tolerance_ns, ..PairOptions::default() };
            let arrivals = arrivals(&colors, &depths, &late, lag);
            let (pairs, unpaired, _) = run(options, &arrivals);
            prop_assert!(pairs.is_sorted(), "not in order of colour stamps");
            prop_assert_eq!(&pairs, &reference(&colors, &depths, tolerance_ns));
            prop_assert_eq!(
                unpaired.total() as usize,
                colors.len() + depths.len() - 2 * pairs.len()
            );
        }

        #[test]
        fn eager_pairs_are_the_same_ones_and_those_of_one_stamp_come_at_once(
            colors in stamps(),
            depths in stamps(),
            late in prop::collection::vec((0_i64..90).prop_map(|ms| ms * MS), 1..20),
            tolerance_ns in (0_i64..70).prop_map(|ms| ms * MS),
        ) {
            let options = PairOptions { tolerance_ns, eager: true, ..PairOptions::default() };
            let arrivals = arrivals(&colors, &depths, &late, 0);
            let (mut pairs, unpaired, _) = run(options, &arrivals);
            pairs.sort_unstable();
            prop_assert_eq!(&pairs, &reference(&colors, &depths, tolerance_ns));
            prop_assert_eq!(
                unpaired.total() as usize,
                colors.len() + depths.len() - 2 * pairs.len()
            );
            let mut pairer = Pairer::new(options);
            let mut seen = std::collections::BTreeSet::new();
            for (stream, stamp_ns) in arrivals {
                pairer.push(stream, stamp_ns, 10, stamp_ns);
                let at_once = std::iter::from_fn(|| pairer.pop()).any(|p| p.stamp_ns == stamp_ns);
                prop_assert!(at_once || seen.insert(stamp_ns), "{} waits", stamp_ns);
            }
        }

        #[test]
        fn any_arrivals_keep_the_bounds_count_every_message_and_use_none_twice(
            arrivals in prop::collection::vec(
                (any::<bool>(), prop_oneof![0..2_000 * MS, any::<i64>()]), 0..400),
            max_bytes in 10_usize..400,
            eager: bool,
        ) {
            let arrivals: Vec<(Stream, i64)> = arrivals
                .into_iter()
                .map(|(color, at)| (if color { Stream::Color } else { Stream::Depth }, at))
                .collect();
            let options = PairOptions { max_bytes, eager, ..PairOptions::default() };
            let (pairs, unpaired, most) = run(options, &arrivals);
            prop_assert!(most <= max_bytes / 10);
            prop_assert_eq!(unpaired.total() as usize + 2 * pairs.len(), arrivals.len());
            let count = |stream, stamp| {
                arrivals.iter().filter(|arrival| **arrival == (stream, stamp)).count()
            };
            for (c, d) in &pairs {
                prop_assert!(c.abs_diff(*d) <= 20 * MS as u64);
                let used = pairs.iter().filter(|pair| pair.0 == *c).count();
                prop_assert!(used <= count(Stream::Color, *c));
                let used = pairs.iter().filter(|pair| pair.1 == *d).count();
                prop_assert!(used <= count(Stream::Depth, *d));
            }
        }
    }

    #[test]
    fn colours_are_given_out_alone_and_in_order_where_that_is_wanted() {
        let options = PairOptions { lone_color: true, ..PairOptions::default() };
        let mut pairer = Pairer::new(options);
        for i in 0..50 {
            pairer.push(Stream::Color, i * 100 * MS, 1, i);
            if i % 3 == 0 {
                pairer.push(Stream::Depth, i * 100 * MS + MS, 1, i);
            }
        }
        pairer.finish();
        let all: Vec<(i64, bool)> =
            std::iter::from_fn(|| pairer.pop()).map(|p| (p.color, p.depth.is_some())).collect();
        assert_eq!(all, (0..50).map(|i| (i, i % 3 == 0)).collect::<Vec<_>>());
        assert!(pairer.unpaired().is_empty());
    }

    #[test]
    fn a_stream_recorded_seconds_late_loses_nothing() {
        let colors: Vec<i64> = (0..600).map(|i| i * 33 * MS).collect();
        let depths: Vec<i64> = colors.iter().map(|c| c + 2 * MS).collect();
        let arrivals = arrivals(&colors, &depths, &[0], 10_000 * MS);
        let (pairs, unpaired, most) = run(PairOptions::default(), &arrivals);
        assert_eq!(pairs.len(), 600);
        assert!(unpaired.is_empty() && most <= MAX_WAITING, "{unpaired:?} {most}");
    }

    #[test]
    fn a_stream_that_stops_costs_a_bounded_number_of_waiting_messages() {
        let colors: Vec<i64> = (0..5000).map(|i| i * 33 * MS).collect();
        let depths = &colors[..100];
        let (pairs, unpaired, most) =
            run(PairOptions::default(), &arrivals(&colors, depths, &[0], 0));
        assert_eq!(pairs.len(), 100);
        assert_eq!(unpaired.total(), 4900);
        assert!(most <= 2 * MAX_WAITING);
    }

    #[test]
    fn a_clock_that_is_set_back_and_a_wild_stamp_cost_only_a_few_frames() {
        let mut stamps: Vec<i64> = (0..100).map(|i| i * 100 * MS).collect();
        stamps.extend((0..100).map(|i| i * 100 * MS));
        stamps.insert(50, 1 << 60);
        let arrivals: Vec<(Stream, i64)> =
            stamps.iter().flat_map(|at| [(Stream::Color, *at), (Stream::Depth, *at)]).collect();
        let (pairs, ..) = run(PairOptions::default(), &arrivals);
        assert!(pairs.len() >= 195, "{}", pairs.len());
    }
}
