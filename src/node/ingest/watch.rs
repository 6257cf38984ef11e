//! Says when a subscription has stalled: its publisher is there, its messages are not.

use std::time::{Duration, Instant};

/// However patient somebody is, a stream gets so many times its usual time between two messages.
const PERIODS: u32 = 10;
/// A publisher that was never heard gets this long to be matched.
const FIRST: Duration = Duration::from_secs(3);
/// The longest wait between two attempts. Each one leaves an entry in the node's announcement
/// for good, and a publisher may be silent for days because it has nothing to say.
const LONGEST: Duration = Duration::from_secs(300);

/// Watches one stream.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    since: Option<Instant>,
    attempts: u32,
    next: Option<Instant>,
}

impl Watch {
    /// Whether the subscription is to be made anew now. `heard` is when the last message came,
    /// `period` the usual time between two, `publishers` how many are known, `patience` how
    /// long silence is no stall.
    pub fn stalled(
        &mut self,
        now: Instant,
        heard: Option<Instant>,
        period: Option<Duration>,
        publishers: usize,
        patience: Duration,
    ) -> bool {
        if publishers == 0 {
            *self = Watch::default();
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let patience = match period {
            Some(period) => patience.max(period.saturating_mul(PERIODS)),
            None => FIRST.max(patience),
        };
        let silent_since = heard.map_or(since, |heard| heard.max(since));
        if now.saturating_duration_since(silent_since) < patience {
            if heard.is_some_and(|heard| heard > since) {
                (self.attempts, self.next) = (0, None);
            }
            return false;
        }
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        let wait = Duration::from_secs(2).saturating_mul(1 << self.attempts.min(16)).min(LONGEST);
        self.next = Some(now + wait);
        self.attempts = self.attempts.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Duration = Duration::from_millis(1500);

    #[test]
    fn silence_with_a_publisher_is_a_stall_and_attempts_become_rare() {
        let start = Instant::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let period = Some(Duration::from_millis(33));
        let mut watch = Watch::default();
        assert!(!watch.stalled(at(0.0), None, None, 1, SILENT));
        assert!(!watch.stalled(at(2.9), None, None, 1, SILENT), "a match takes its time");
        assert!(watch.stalled(at(3.0), None, None, 1, SILENT));
        assert!(!watch.stalled(at(4.0), Some(at(3.9)), period, 1, SILENT));
        assert!(watch.stalled(at(5.5), Some(at(3.9)), period, 1, SILENT));
        let attempts = (55..7200)
            .filter(|i| watch.stalled(at(f64::from(*i) / 10.0), Some(at(3.9)), period, 1, SILENT));
        assert_eq!(attempts.count(), 8, "2, 4, 8, … 256, then 300 seconds apart");
        assert!(!watch.stalled(at(800.0), Some(at(3.9)), period, 0, SILENT), "nobody is there");
        assert!(!watch.stalled(at(801.0), Some(at(3.9)), period, 1, SILENT), "somebody came back");
        assert!(watch.stalled(at(802.6), Some(at(3.9)), period, 1, SILENT));
    }

    #[test]
    fn a_slow_stream_is_given_ten_of_its_periods() {
        let start = Instant::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut watch = Watch::default();
        let period = Some(Duration::from_millis(500));
        assert!(!watch.stalled(at(0.0), Some(at(0.0)), period, 1, SILENT));
        assert!(!watch.stalled(at(4.9), Some(at(0.0)), period, 1, SILENT));
        assert!(watch.stalled(at(5.0), Some(at(0.0)), period, 1, SILENT));
    }
}
