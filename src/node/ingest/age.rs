//! How old a message is, though its sender's clock may be any other.
//!
//! What counts is how much later than the fastest of the last messages it came: a constant
//! difference of the two clocks cancels out.

use std::time::{Duration, Instant};

/// Messages after which the fastest one is looked for anew. More than can lie in a socket's
/// buffer, so that a backlog cannot make itself the measure; few enough that a clock that was
/// set is forgiven within seconds.
const WINDOW: u32 = 64;

/// Judges the messages of one stream in the order in which they come.
#[derive(Clone, Debug, Default)]
pub struct Transit {
    /// The least difference of the clocks, nanoseconds, in this window and in the last.
    least_ns: [Option<i64>; 2],
    in_window: u32,
}

impl Transit {
    /// When the message was as good as sent, on this machine's steady clock. `sent_ns` is the
    /// sender's wall clock, `arrived_ns` this machine's, `arrived` the same moment.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use spatial_ssrl::node::ingest::age::Transit;
    /// let mut transit = Transit::default();
    /// let now = Instant::now();
    /// // The sender's clock is an hour ahead, and the message took as long as ever.
    /// assert_eq!(transit.born(Some(3_600_000_000_000), 5_000_000, now), now);
    /// // The next one came 40 ms later than that.
    /// let born = transit.born(Some(3_600_033_000_000), 78_000_000, now);
    /// assert_eq!(now - born, Duration::from_millis(40));
    /// ```
    pub fn born(&mut self, sent_ns: Option<i64>, arrived_ns: i64, arrived: Instant) -> Instant {
        let Some(sent_ns) = sent_ns else { return arrived };
        let took_ns = arrived_ns.saturating_sub(sent_ns);
        self.in_window += 1;
        if self.in_window > WINDOW {
            self.least_ns = [None, self.least_ns[0]];
            self.in_window = 1;
        }
        self.least_ns[0] = Some(self.least_ns[0].map_or(took_ns, |least| least.min(took_ns)));
        let least_ns = self.least_ns.into_iter().flatten().min().unwrap_or(took_ns);
        let late = Duration::from_nanos(took_ns.saturating_sub(least_ns).unsigned_abs());
        // A moment before the machine was started cannot be said.
        arrived.checked_sub(late).unwrap_or(arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn a_backlog_is_old_however_large_and_what_follows_is_not() {
        let mut transit = Transit::default();
        let now = Instant::now() + Duration::from_secs(100);
        for i in 0..200 {
            assert_eq!(transit.born(Some(i * 33 * MS), i * 33 * MS + 2 * MS, now), now);
        }
        // Nothing for five seconds, then all at once.
        let at = 200 * 33 * MS + 5_000 * MS;
        for i in 200..260 {
            let age = now - transit.born(Some(i * 33 * MS), at, now);
            assert!(age > Duration::from_secs(3), "{age:?}");
        }
        let age = now - transit.born(Some(at), at + 3 * MS, now);
        assert_eq!(age, Duration::from_millis(1));
    }

    #[test]
    fn a_sender_whose_clock_was_set_back_is_believed_again() {
        let mut transit = Transit::default();
        let now = Instant::now() + Duration::from_secs(10_000);
        let mut old = 0;
        for i in 0..400 {
            let sent = if i < 100 { i * 33 * MS } else { i * 33 * MS - 3_600_000 * MS };
            let age = now - transit.born(Some(sent), i * 33 * MS, now);
            old += u32::from(age > Duration::from_secs(1));
        }
        assert!((1..=2 * WINDOW).contains(&old), "{old} messages were taken for old ones");
    }
}
