//! The seconds of each stream, gathered so that an hour fits on a page.

use std::collections::BTreeMap;

use crate::probe::StreamKind;
use crate::record::{Event, Interval, Micros, What};
use crate::report::format;

/// Most points that one stream gets in one chart: more than a pixel each can't be seen.
const POINTS: i64 = 430;
const SECOND: Micros = 1_000_000;

/// Seconds of one stream, gathered. Of several seconds the worst is shown, so that gathering never hides a peak.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bucket {
    pub(super) from: Micros,
    pub(super) to: Micros,
    /// Largest of the seconds' medians, in microseconds; 0 when no request was good.
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
    pub(super) good: u64,
    /// Bad requests of all its seconds.
    pub(super) bad: u64,
    /// Bad requests per second by class, of the worst second.
    pub(super) worst: BTreeMap<String, f64>,
}

impl Bucket {
    /// Bad requests per second, in the worst second.
    pub(super) fn worst_rate(&self) -> f64 {
        self.worst.values().sum()
    }
}

/// One stream of one probe.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) probe: String,
    pub(super) stream: StreamKind,
    pub(super) buckets: Vec<Bucket>,
    pub(super) planned: u64,
    pub(super) good: u64,
    pub(super) bad: u64,
}

impl Series {
    pub(super) fn name(&self) -> String {
        format::stream(&self.probe, self.stream)
    }

    fn new(probe: &str, stream: StreamKind) -> Self {
        Self { probe: probe.to_owned(), stream, buckets: Vec::new(), planned: 0, good: 0, bad: 0 }
    }

    fn push(&mut self, interval: &Interval, width: Micros) {
        let bad: u64 = interval.bad.values().sum();
        self.planned += interval.planned;
        self.good += interval.good;
        self.bad += bad;
        let bucket = match self.buckets.last_mut() {
            Some(last) if interval.from.div_euclid(width) == last.from.div_euclid(width) => last,
            _ => {
                self.buckets.push(Bucket {
                    from: interval.from,
                    to: interval.to,
                    p50: 0,
                    p99: 0,
                    max: 0,
                    good: 0,
                    bad: 0,
                    worst: BTreeMap::new(),
                });
                let end = self.buckets.len() - 1;
                &mut self.buckets[end]
            }
        };
        bucket.to = bucket.to.max(interval.to);
        bucket.p50 = bucket.p50.max(interval.p50_us);
        bucket.p99 = bucket.p99.max(interval.p99_us);
        bucket.max = bucket.max.max(interval.max_us);
        bucket.good += interval.good;
        bucket.bad += bad;
        let length = u64::try_from(interval.to - interval.from).unwrap_or(0);
        let per_second = |n: u64| format::ratio(n * 1_000_000, length).unwrap_or(0.0);
        if per_second(bad) > bucket.worst_rate() {
            bucket.worst = interval
                .bad
                .iter()
                .filter(|(_, n)| **n > 0)
                .map(|(class, n)| (class.clone(), per_second(*n)))
                .collect();
        }
    }
}

/// The streams' seconds between two instants, by probe and stream, and how many seconds one point stands for.
pub(super) fn series(events: &[Event], from: Micros, to: Micros) -> (Vec<Series>, i64) {
    let seconds = ((to - from) / SECOND).max(1);
    let step = (seconds + POINTS - 1) / POINTS;
    let mut all: BTreeMap<(&str, StreamKind), Series> = BTreeMap::new();
    for event in events {
        let What::Interval(interval) = &event.what else { continue };
        if interval.from < to && interval.to > from {
            all.entry((&interval.probe, interval.stream))
                .or_insert_with(|| Series::new(&interval.probe, interval.stream))
                .push(interval, step * SECOND);
        }
    }
    (all.into_values().collect(), step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn an_hour_is_gathered_and_its_worst_second_still_stands() {
        let events = synthetic::hour();
        let (all, step) = series(&events, 0, 3_600 * SECOND);
        assert_eq!((all.len(), step), (4, 9));
        let fresh = all.iter().find(|s| s.name() == "web fresh").unwrap();
        assert_eq!(fresh.buckets.len(), 400);
        assert_eq!(fresh.bad, 30);
        let peak = fresh.buckets.iter().map(Bucket::worst_rate).fold(0.0, f64::max);
        assert!((peak - 10.0).abs() < 1e-9, "{peak}");
    }
}
