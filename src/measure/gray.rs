//! Where the probe and Kubernetes disagree: requests fail while every endpoint is called ready, or the other way round.
//!
//! Differential observability (Huang et al., *Gray Failure: The Achilles' Heel of Cloud-Scale Systems*, 2017): a fault
//! that the observer who acts does not see is not repaired.

use std::collections::BTreeMap;
use std::ops::Range;

use super::outage::windows;
use super::series::{Series, micros};
use crate::probe::Nanos;
use crate::record::GrayFailure;

/// What a watch told of the endpoints of one Service, by name.
///
/// Kubernetes calls the Service *whole* while it shows no endpoint that is not ready, and at least as many as when the probes
/// began. A change counts from the instant at which the watch told of it: what lies between the change and its arrival counts
/// for the state before.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    endpoints: BTreeMap<String, bool>,
    /// Since when, how many are ready, how many are not.
    states: Vec<(Nanos, u64, u64)>,
    blind: Vec<Range<Nanos>>,
}

impl Readiness {
    /// An endpoint is there, ready or not.
    pub fn shown(&mut self, at: Nanos, endpoint: &str, ready: bool) {
        self.endpoints.insert(endpoint.to_owned(), ready);
        self.changed(at);
    }

    /// An endpoint is no longer listed.
    pub fn gone(&mut self, at: Nanos, endpoint: &str) {
        self.endpoints.remove(endpoint);
        self.changed(at);
    }

    /// The endpoints could not be seen in this time.
    pub fn blind(&mut self, from: Nanos, to: Nanos) {
        self.blind.push(from..to);
    }

    fn changed(&mut self, at: Nanos) {
        let ready = self.endpoints.values().filter(|ready| **ready).count() as u64;
        self.states.push((at, ready, self.endpoints.len() as u64 - ready));
    }

    /// Where a stream of a probe of this Service disagreed with what was told. `None` where no endpoint was ready when its first
    /// request was planned: there is nothing to compare with. `service` is `namespace/name`.
    #[must_use]
    pub fn gray(&self, service: &str, series: &Series) -> Option<GrayFailure> {
        let start = series.rows().first()?.planned;
        let end = series.settled_until();
        let &(_, endpoints, _) = self.states.iter().rev().find(|(at, ..)| *at <= start)?;
        if endpoints == 0 {
            return None;
        }
        let blind = merged(&self.blind, start..end);
        let down: Vec<Range<Nanos>> = windows(series).iter().map(|window| window.from..window.end(end)).collect();
        let (mut bad_while_ready, mut good_while_not) = (0, 0);
        for (i, &(from, ready, not)) in self.states.iter().enumerate() {
            let to = self.states.get(i + 1).map_or(end, |next| next.0).min(end);
            let seen = without(from.max(start)..to, &blind);
            let bad: Nanos = seen.iter().flat_map(|seen| down.iter().map(|down| overlap(seen, down))).sum();
            if not == 0 && ready >= endpoints {
                bad_while_ready += bad;
            } else {
                good_while_not += seen.iter().map(length).sum::<Nanos>().saturating_sub(bad);
            }
        }
        Some(GrayFailure {
            service: service.to_owned(),
            endpoints,
            bad_while_ready_us: micros(bad_while_ready),
            good_while_not_ready_us: micros(good_while_not),
            blind_us: micros(blind.iter().map(length).sum()),
        })
    }
}

const fn length(time: &Range<Nanos>) -> Nanos {
    time.end.saturating_sub(time.start)
}

fn overlap(a: &Range<Nanos>, b: &Range<Nanos>) -> Nanos {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}

/// Ranges in order, cut to `within`, those that touch joined.
fn merged(ranges: &[Range<Nanos>], within: Range<Nanos>) -> Vec<Range<Nanos>> {
    let mut sorted: Vec<Range<Nanos>> =
        ranges.iter().map(|range| range.start.max(within.start)..range.end.min(within.end)).collect();
    sorted.retain(|range| range.start < range.end);
    sorted.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<Nanos>> = Vec::new();
    for range in sorted {
        match joined.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => joined.push(range),
        }
    }
    joined
}

/// A range without what lies in `holes`, which are in order and apart.
fn without(range: Range<Nanos>, holes: &[Range<Nanos>]) -> Vec<Range<Nanos>> {
    let mut rest = range;
    let mut parts = Vec::new();
    for hole in holes {
        if hole.start > rest.start {
            parts.push(rest.start..hole.start.min(rest.end));
        }
        rest.start = rest.start.max(hole.end);
    }
    parts.push(rest);
    parts.retain(|part| part.start < part.end);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::{MS, S, Script};

    /// Two endpoints from the start; the probe fails from 10 s until 14 s of 30 s.
    fn run() -> (Readiness, Series) {
        let mut readiness = Readiness::default();
        readiness.shown(0, "a", true);
        readiness.shown(0, "b", true);
        (readiness, Script::at("100/s").good(1_000).bad(400).good(1_600).finished())
    }

    /// Bad while ready, good while not, and blind, in milliseconds.
    fn times(readiness: &Readiness, series: &Series) -> [i64; 3] {
        let gray = readiness.gray("shop/web", series).unwrap();
        assert_eq!((gray.service.as_str(), gray.endpoints), ("shop/web", 2));
        [gray.bad_while_ready_us, gray.good_while_not_ready_us, gray.blind_us].map(|us| us / 1_000)
    }

    #[test]
    fn a_failure_that_kubernetes_never_sees_is_gray_from_end_to_end() {
        let (readiness, series) = run();
        assert_eq!(times(&readiness, &series), [4_000, 0, 0]);
    }

    #[test]
    fn the_gap_ends_when_the_watch_tells_and_the_reverse_until_it_is_whole_again() {
        let (mut readiness, series) = run();
        readiness.shown(11_500 * MS, "a", false);
        readiness.gone(12 * S, "a");
        // The new one is there, but not ready, and ready at last.
        readiness.shown(15 * S, "c", false);
        readiness.shown(20 * S, "c", true);
        assert_eq!(times(&readiness, &series), [1_500, 6_000, 0]);
        // More endpoints than at the start are whole as well.
        readiness.shown(25 * S, "d", true);
        assert_eq!(times(&readiness, &series), [1_500, 6_000, 0]);
    }

    #[test]
    fn time_in_which_the_endpoints_were_not_seen_is_in_neither() {
        let (mut readiness, series) = run();
        readiness.shown(14 * S, "a", false);
        readiness.shown(18 * S, "a", true);
        readiness.blind(12 * S, 13 * S);
        readiness.blind(12_500 * MS, 15 * S);
        readiness.blind(40 * S, 50 * S);
        assert_eq!(times(&readiness, &series), [2_000, 3_000, 3_000]);
    }

    #[test]
    fn without_a_ready_endpoint_at_the_start_there_is_nothing_to_compare_with() {
        let (_, series) = run();
        assert_eq!(Readiness::default().gray("shop/web", &series), None);
        let mut late = Readiness::default();
        late.shown(S, "a", true);
        assert_eq!(late.gray("shop/web", &series), None);
        let mut broken = Readiness::default();
        broken.shown(0, "a", false);
        assert_eq!(broken.gray("shop/web", &series), None);
    }
}
