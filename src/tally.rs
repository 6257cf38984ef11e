//! Counting by typed reason: nothing is lost silently.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How often each reason occurred. Reasons are the stable snake_case names of typed
/// errors (`Skip::name`, `GateReason::name`, …), so the map stays small and bounded.
///
/// ```
/// let mut tally = spatial_ssrl::tally::Tally::default();
/// tally.add("blurred");
/// tally.add_n("blurred", 2);
/// assert_eq!(tally.get("blurred"), 3);
/// assert_eq!(tally.total(), 3);
/// tally.take_back("blurred", 3);
/// assert!(tally.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// Counts one occurrence.
    pub fn add(&mut self, reason: &str) {
        self.add_n(reason, 1);
    }

    /// Counts `n` occurrences; nothing is stored for `n == 0`.
    pub fn add_n(&mut self, reason: &str, n: u64) {
        if n == 0 {
            return;
        }
        match self.0.get_mut(reason) {
            Some(count) => *count += n,
            None => {
                self.0.insert(reason.to_owned(), n);
            }
        }
    }

    /// Takes `n` occurrences back that turned out to be none.
    pub fn take_back(&mut self, reason: &str, n: u64) {
        if let Some(count) = self.0.get_mut(reason) {
            *count = count.saturating_sub(n);
        }
        self.0.retain(|_, count| *count > 0);
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Tally) {
        for (reason, n) in &other.0 {
            self.add_n(reason, *n);
        }
    }

    /// How often `reason` occurred.
    pub fn get(&self, reason: &str) -> u64 {
        self.0.get(reason).copied().unwrap_or(0)
    }

    /// The sum over all reasons.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reasons in alphabetical order with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(reason, n)| (reason.as_str(), *n))
    }
}
