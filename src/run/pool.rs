//! The requests of all endpoints of a probe as one stream: what a client that picks an endpoint at random would see.
//!
//! ```text
//!   10.0.0.1   ·    ·    ·    ·    ·                     put in order of their planned instants, as far
//!   10.0.0.2     ·    ·    ·    × gone                   as every endpoint's are known
//!   pooled     · ·  · ·  · ·  ·    ·   ?   ?   ?  ·  ·   unknown at the probe's rate while no endpoint is ready
//! ```

use std::collections::BTreeMap;

use crate::probe::{Batch, Nanos, Outcome, Sample, Steps, StreamKind};
use crate::scalar::Rate;

/// See the module's documentation.
pub(super) struct Pool {
    rate: Rate,
    /// The streams that are not over, and until when each is complete.
    streams: BTreeMap<StreamKind, Nanos>,
    /// Those of them that are ready.
    ready: usize,
    /// Samples received of each.
    received: BTreeMap<StreamKind, u64>,
    /// Samples whose turn has not come, by instant and arrival.
    waiting: BTreeMap<(Nanos, u64), Sample>,
    arrived: u64,
    /// The next slot of the pool.
    slot: u64,
    /// Everything before it has been given.
    until: Nanos,
    /// Since when requests are missing that nothing is sent for, and how many of them were counted: of no endpoint while none is
    /// ready, and of each that has no stream because there are too many.
    missing: BTreeMap<Option<StreamKind>, (Nanos, u64)>,
}

impl Pool {
    /// A pool without a stream; slot 0 is not planned before `start`.
    pub(super) fn new(rate: Rate, start: Nanos) -> Self {
        Self {
            rate,
            streams: BTreeMap::new(),
            ready: 0,
            received: BTreeMap::new(),
            waiting: BTreeMap::new(),
            arrived: 0,
            slot: 0,
            until: start,
            missing: BTreeMap::from([(None, (start, 0))]),
        }
    }

    /// An endpoint's stream begins. Gives the instant since which no endpoint was ready, if that was so.
    pub(super) fn join(&mut self, stream: StreamKind, start: Nanos) -> Option<Nanos> {
        self.fill(start);
        let since = self.without_endpoint(start);
        self.missing.remove(&None);
        self.ready += 1;
        self.streams.insert(stream, start);
        since
    }

    /// The instant since which no endpoint is ready, if that is so for any time until `now`.
    pub(super) fn without_endpoint(&self, now: Nanos) -> Option<Nanos> {
        self.missing.get(&None).map(|(since, _)| *since).filter(|since| *since < now)
    }

    /// An endpoint's stream has no more slots from `at` on; what it sent before is still to come.
    pub(super) fn leave(&mut self, at: Nanos) {
        self.ready = self.ready.saturating_sub(1);
        if self.ready == 0 {
            self.missing.insert(None, (at, 0));
        }
    }

    /// An endpoint is ready, but gets no stream.
    pub(super) fn turned_away(&mut self, stream: StreamKind, at: Nanos) {
        self.missing.insert(Some(stream), (at, 0));
    }

    /// It is no longer ready.
    pub(super) fn gone(&mut self, stream: StreamKind, at: Nanos) {
        self.fill(at);
        self.missing.remove(&Some(stream));
    }

    /// Takes in the samples of one endpoint.
    pub(super) fn take(&mut self, batch: &Batch) {
        for sample in &batch.samples {
            self.put(*sample);
        }
        let received = self.received.entry(batch.stream).or_default();
        *received += batch.samples.len() as u64;
        let lost = batch.counts.planned.saturating_sub(*received);
        if batch.complete_until < Nanos::MAX {
            self.streams.entry(batch.stream).and_modify(|until| *until = batch.complete_until);
        } else if self.streams.remove(&batch.stream).is_some() {
            // What was lost on the way lies somewhere before; that it says nothing must be counted all the same.
            for _ in 0..lost {
                self.put(unknown(self.until));
            }
        }
    }

    /// The samples whose turn has come, numbered anew, and until when everything is known. `now` is the present: no stream that
    /// joins later has a slot before it.
    pub(super) fn settle(&mut self, now: Nanos) -> (Vec<Sample>, Nanos) {
        let until = self.streams.values().copied().min().unwrap_or(now).min(now);
        self.fill(until);
        let later = self.waiting.split_off(&(until, 0));
        let due = std::mem::replace(&mut self.waiting, later);
        let samples: Vec<Sample> =
            (self.slot..).zip(due.into_values()).map(|(slot, sample)| Sample { slot, ..sample }).collect();
        self.slot += samples.len() as u64;
        self.until = self.until.max(until);
        (samples, self.until)
    }

    fn put(&mut self, sample: Sample) {
        self.waiting.insert((sample.planned, self.arrived), sample);
        self.arrived += 1;
    }

    /// Counts what was missing before `until`.
    fn fill(&mut self, until: Nanos) {
        let mut planned = Vec::new();
        for (since, counted) in self.missing.values_mut() {
            let at = |slot| {
                since.saturating_add(Nanos::try_from(self.rate.length_of(slot).as_nanos()).unwrap_or(Nanos::MAX))
            };
            while at(*counted) < until {
                planned.push(at(*counted));
                *counted += 1;
            }
        }
        for planned in planned {
            self.put(unknown(planned));
        }
    }
}

fn unknown(planned: Nanos) -> Sample {
    let outcome = Outcome::Unknown;
    Sample { slot: 0, planned, sent: planned, done: planned, outcome, reused: false, steps: Steps::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Counts;

    const S: Nanos = 1_000_000_000;

    fn endpoint(last: u8) -> StreamKind {
        StreamKind::Endpoint { address: ([10, 0, 0, last], 80).into(), life: 1 }
    }

    /// Good samples of an endpoint at these instants, in tenths of a second, of so many that were planned.
    fn batch(stream: StreamKind, tenths: &[u64], planned: u64, complete_until: Nanos) -> Batch {
        let samples =
            tenths.iter().zip(0..).map(|(at, slot)| Sample { slot, outcome: Outcome::Good, ..unknown(at * S / 10) });
        let counts = Counts { planned, ..Counts::default() };
        let samples = samples.collect();
        Batch { probe: 0, stream, samples, remotes: BTreeMap::new(), counts, lost: 0, complete_until }
    }

    fn shown(samples: &[Sample]) -> Vec<(u64, u64, bool)> {
        samples.iter().map(|s| (s.slot, s.planned / (S / 10), s.outcome == Outcome::Good)).collect()
    }

    #[test]
    fn requests_come_in_the_order_of_their_instants_once_every_endpoints_are_known() {
        let mut pool = Pool::new("1/s".parse().unwrap(), 0);
        pool.join(endpoint(1), 0);
        pool.join(endpoint(2), 0);
        pool.take(&batch(endpoint(1), &[1, 11, 21], 3, 3 * S));
        assert_eq!(pool.settle(10 * S), (Vec::new(), 0));
        pool.take(&batch(endpoint(2), &[5, 15], 2, 2 * S));
        let (samples, until) = pool.settle(10 * S);
        assert_eq!(shown(&samples), [(0, 1, true), (1, 5, true), (2, 11, true), (3, 15, true)]);
        assert_eq!(until, 2 * S);
        // What is not over yet may still bring a stream.
        pool.take(&batch(endpoint(2), &[25], 3, 9 * S));
        pool.take(&batch(endpoint(1), &[], 3, 9 * S));
        let (samples, until) = pool.settle(22 * S / 10);
        assert_eq!((shown(&samples), until), (vec![(4, 21, true)], 22 * S / 10));
    }

    #[test]
    fn without_an_endpoint_requests_are_unknown_at_the_probes_rate() {
        let mut pool = Pool::new("2/s".parse().unwrap(), 0);
        assert_eq!(pool.join(endpoint(1), 0), None);
        pool.leave(S);
        // Its last request is still on its way: nobody knows yet what comes first.
        assert_eq!(pool.settle(3 * S).1, 0);
        pool.take(&batch(endpoint(1), &[4, 9], 2, Nanos::MAX));
        let (samples, until) = pool.settle(3 * S);
        let expected = [(0, 4, true), (1, 9, true), (2, 10, false), (3, 15, false), (4, 20, false), (5, 25, false)];
        assert_eq!((shown(&samples), until), (expected.to_vec(), 3 * S));
        assert_eq!(pool.without_endpoint(3 * S), Some(S));
        assert_eq!(pool.join(endpoint(2), 35 * S / 10), Some(S));
        assert_eq!(pool.without_endpoint(4 * S), None);
        pool.take(&batch(endpoint(2), &[37], 1, 4 * S));
        assert_eq!(shown(&pool.settle(5 * S).0), [(6, 30, false), (7, 37, true)]);
    }

    #[test]
    fn what_was_lost_or_turned_away_is_unknown() {
        let mut pool = Pool::new("1/s".parse().unwrap(), 0);
        pool.join(endpoint(1), 0);
        pool.turned_away(endpoint(2), 0);
        pool.take(&batch(endpoint(1), &[5], 3, Nanos::MAX));
        pool.gone(endpoint(2), 2 * S);
        let (samples, _) = pool.settle(3 * S);
        assert_eq!(samples.iter().filter(|sample| sample.outcome == Outcome::Good).count(), 1);
        assert_eq!(samples.len(), 3 + 2);
    }
}
