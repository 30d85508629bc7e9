//! Latency distributions: exact quantiles from the samples, and a histogram of fixed bounds for plotting and `.hlog`.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::series::float;
use super::stats;
use crate::probe::Nanos;

/// Smallest latency that the histogram tells apart, in nanoseconds.
const LOW: Nanos = 1_000;
/// Largest latency that the histogram holds, in nanoseconds: ten minutes.
const HIGH: Nanos = 600_000_000_000;
/// Significant decimal digits: a bucket is at most 0.1 % wide.
const DIGITS: u8 = 3;

/// A histogram from 1 µs to 10 min with three digits, and the count of what lay above.
///
/// The bounds are fixed because `saturating_record` on a histogram that resizes itself clamps to the size of the moment
/// without a word; here nothing is clamped, and what does not fit is counted.
#[derive(Debug, Clone)]
pub struct Distribution {
    histogram: Histogram<u64>,
    above: u64,
    largest: Nanos,
}

impl Distribution {
    /// An empty distribution.
    ///
    /// # Errors
    ///
    /// Never with the bounds above; they are the histogram's own to check.
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self { histogram: Histogram::new_with_bounds(LOW, HIGH, DIGITS)?, above: 0, largest: 0 })
    }

    /// Counts one latency.
    pub fn record(&mut self, latency: Nanos) {
        self.largest = self.largest.max(latency);
        if latency > HIGH || self.histogram.record(latency).is_err() {
            self.above += 1;
        }
    }

    /// Latencies above ten minutes.
    #[must_use]
    pub const fn above(&self) -> u64 {
        self.above
    }

    /// Everything counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.histogram.len() + self.above
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The histogram, in nanoseconds, without what lay above its bounds.
    #[must_use]
    pub const fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.histogram.reset();
        self.above = 0;
        self.largest = 0;
    }

    /// `(upper bound in µs, count)` of every bucket that holds something, ascending; what lay above ten minutes comes last,
    /// under the largest latency.
    #[must_use]
    pub fn buckets(&self) -> Vec<(u64, u64)> {
        let mut buckets: BTreeMap<u64, u64> = BTreeMap::new();
        for value in self.histogram.iter_recorded() {
            *buckets.entry(value.value_iterated_to().div_ceil(1_000)).or_default() += value.count_at_value();
        }
        if self.above > 0 {
            *buckets.entry(self.largest.div_ceil(1_000)).or_default() += self.above;
        }
        buckets.into_iter().collect()
    }
}

/// Quantiles that summaries name, besides `min`, `mean` and `max`.
const NAMED: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

/// The named quantiles of these latencies, exact, in whole microseconds, as a judgement writes them. A quantile that so few samples can't
/// support is left out; all of it is empty without samples.
#[must_use]
pub fn quantiles(mut latencies: Vec<Nanos>) -> BTreeMap<String, u64> {
    latencies.sort_unstable();
    let n = latencies.len() as u64;
    let mut named = BTreeMap::new();
    let (Some(&min), Some(&max)) = (latencies.first(), latencies.last()) else {
        return named;
    };
    let micros = |latency: Nanos| (latency + 500) / 1_000;
    named.insert("min".to_owned(), micros(min));
    named.insert("max".to_owned(), micros(max));
    let sum: u128 = latencies.iter().map(|&latency| u128::from(latency)).sum();
    named.insert("mean".to_owned(), u64::try_from(sum / u128::from(n) / 1_000).unwrap_or(u64::MAX));
    for (name, quantile) in NAMED {
        if stats::samples_for_quantile(quantile).is_some_and(|needed| n >= needed)
            && let Some(latency) = nth(&latencies, stats::rank(quantile, n))
        {
            named.insert(name.to_owned(), micros(latency));
        }
    }
    named
}

/// The value of a rank, from 1, among ascending values.
pub(super) fn nth(sorted: &[Nanos], rank: u64) -> Option<Nanos> {
    sorted.get(usize::try_from(rank).ok()?.checked_sub(1)?).copied()
}

/// Counts of values by rank, for the quantiles of a window that slides: adding, removing and looking up a rank take
/// logarithmic time. A Fenwick tree over the distinct values.
#[derive(Debug)]
pub(super) struct Ranks {
    values: Vec<Nanos>,
    tree: Vec<u64>,
}

impl Ranks {
    /// An empty set over the values that will ever be in it.
    pub(super) fn over(mut values: Vec<Nanos>) -> Self {
        values.sort_unstable();
        values.dedup();
        let tree = vec![0; values.len() + 1];
        Self { values, tree }
    }

    /// Puts a value in.
    pub(super) fn add(&mut self, value: Nanos) {
        self.change(value, |count| count + 1);
    }

    /// Takes a value out that was put in.
    pub(super) fn remove(&mut self, value: Nanos) {
        self.change(value, |count| count.saturating_sub(1));
    }

    fn change(&mut self, value: Nanos, to: impl Fn(u64) -> u64) {
        let mut at = self.values.partition_point(|&v| v < value) + 1;
        while let Some(count) = self.tree.get_mut(at) {
            *count = to(*count);
            at += at & at.wrapping_neg();
        }
    }

    /// The value of a rank, from 1.
    pub(super) fn nth(&self, rank: u64) -> Option<Nanos> {
        let mut left = rank.checked_sub(1)?;
        let mut at = 0;
        let mut step = self.tree.len().next_power_of_two();
        while step > 0 {
            if let Some(&count) = self.tree.get(at + step)
                && count <= left
            {
                left -= count;
                at += step;
            }
            step /= 2;
        }
        self.values.get(at).copied()
    }
}

/// The share of a rate that a number of requests makes up, in seconds of it.
pub(super) fn seconds_of(requests: u64, per_second: f64) -> f64 {
    float(requests) / per_second
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_clamped_and_overflow_is_counted() {
        let mut distribution = Distribution::new().unwrap();
        for latency in [0, 700, 50_000_000, 50_010_000, HIGH, HIGH + 1, 2 * HIGH] {
            distribution.record(latency);
        }
        assert_eq!((distribution.len(), distribution.above()), (7, 2));
        let buckets = distribution.buckets();
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 7);
        assert_eq!(*buckets.last().unwrap(), (1_200_000_000, 2));
        assert!(buckets.is_sorted_by_key(|(upper, _)| *upper));
        distribution.clear();
        assert!(distribution.is_empty());
    }

    #[test]
    fn a_quantile_without_support_is_left_out() {
        let named = quantiles((1..=369).map(|ms| ms * 1_000_000).collect());
        assert_eq!(named.keys().collect::<Vec<_>>(), ["max", "mean", "min", "p50", "p90", "p95"]);
        let named = quantiles((1..=1_000).rev().map(|ms| ms * 1_000_000).collect());
        assert_eq!((named["p50"], named["p99"], named["max"], named["mean"]), (500_000, 990_000, 1_000_000, 500_500));
        assert!(!named.contains_key("p99.9"));
        assert!(quantiles(Vec::new()).is_empty());
    }

    proptest! {
        #[test]
        fn ranks_agree_with_sorting(values in prop::collection::vec(0u64..50, 1..200), cut in 0usize..200) {
            let mut ranks = Ranks::over(values.clone());
            for &value in &values {
                ranks.add(value);
            }
            let cut = cut.min(values.len() - 1);
            for &value in &values[..cut] {
                ranks.remove(value);
            }
            let mut rest = values[cut..].to_vec();
            rest.sort_unstable();
            for (i, &value) in rest.iter().enumerate() {
                prop_assert_eq!(ranks.nth(i as u64 + 1), Some(value));
            }
            prop_assert_eq!(ranks.nth(0), None);
        }

        #[test]
        fn buckets_hold_every_value_within_their_width(values in prop::collection::vec(0u64..HIGH, 1..100)) {
            let mut distribution = Distribution::new().unwrap();
            for &value in &values {
                distribution.record(value);
            }
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let mut below = 0;
            for (upper, count) in distribution.buckets() {
                below += count;
                let value = nth(&sorted, below).unwrap();
                prop_assert!(value <= upper * 1_000);
                prop_assert!(float(upper * 1_000) <= float(value) * 1.001 + 2_000.0);
            }
            prop_assert_eq!(below, values.len() as u64);
        }
    }
}
