//! Outage windows: from a first bad request to the next sustained good one.
//!
//! ```text
//!   good good BAD BAD good BAD unknown BAD good good good …  N good ones in a row
//!         │    │                          │   │
//!   earliest  from                   last_bad to
//! ```
//!
//! *Sustained* is `max(3, slots in 1 s)` good requests in a row, see [`sustained`]. Slots that say nothing about the service
//! (unknown, client-late, capped) neither start, extend nor end a window: they are passed over, and counted.

use std::time::Duration;

use super::series::{Row, Seen, Series, micros};
use super::tally::Tally;
use crate::probe::Nanos;
use crate::record::Outage;
use crate::scalar::Rate;

/// How many good requests in a row end a window: a second's worth of slots, and three at least.
///
/// One good request does not: behind a service with one dead replica of three, two of three requests succeed, and each would
/// end the window. A second is the shortest time in which kube-proxy, a kubelet probe or a client's retry act.
#[must_use]
pub fn sustained(rate: Rate) -> u64 {
    rate.slots_in(Duration::from_secs(1)).max(3)
}

/// A window of failure. Instants are planned instants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The first bad request.
    pub from: Nanos,
    /// The first sustained good request; `None` when there was none until the end.
    pub to: Option<Nanos>,
    /// The first of the good requests that were there at the end, too few to be called sustained.
    pub back: Option<Nanos>,
    /// The last good request before it.
    pub earliest: Option<Nanos>,
    /// The first slot directly before the window that says nothing: the failure may have begun there.
    pub unseen_from: Option<Nanos>,
    /// The last bad request.
    pub last_bad: Nanos,
    /// Slots in it, by outcome: from `from` until `to` (or `back`, or the end).
    pub tally: Tally,
    /// What came after the last bad request, until it is known whether it belongs to the window.
    run: Tally,
}

impl Window {
    /// The end as far as it is known, when everything before `end` is settled.
    #[must_use]
    pub fn end(&self, end: Nanos) -> Nanos {
        self.to.or(self.back).unwrap_or(end)
    }

    /// How long the service was seen to be down: from the first bad request to the end, without the slots that say nothing.
    #[must_use]
    pub fn length(&self, slot: Nanos, end: Nanos) -> Nanos {
        let whole = self.end(end).saturating_sub(self.from);
        whole.saturating_sub(self.tally.unseen().saturating_mul(slot))
    }

    /// How long it can have been down at most, with everything unseen around and inside it, and without an end that was seen
    /// to last.
    #[must_use]
    pub fn longest(&self, end: Nanos) -> Nanos {
        self.to.unwrap_or(end).saturating_sub(self.unseen_from.unwrap_or(self.from))
    }

    /// The edge bounds of its length: from the first to the last bad request, and from the last good one before to the first
    /// sustained one after. `None` where an edge was not seen.
    #[must_use]
    pub fn edges(&self) -> Option<(Nanos, Nanos)> {
        let (to, earliest) = (self.to?, self.earliest?);
        Some((self.last_bad.saturating_sub(self.from), to.saturating_sub(earliest)))
    }

    fn record(&self, series: &Series) -> Outage {
        Outage {
            probe: series.probe().to_owned(),
            stream: series.stream(),
            from: micros(self.from),
            to: self.to.map(micros),
            earliest: self.earliest.map(micros),
            last_bad: micros(self.last_bad),
            bad: self.tally.bad,
            good: self.tally.good,
            unseen: self.tally.unseen(),
            classes: self.tally.classes(),
            cause: None,
        }
    }
}

/// Finds windows in a stream of settled slots.
#[derive(Debug, Clone)]
pub(super) struct Tracker {
    needed: u64,
    open: Option<Window>,
    last_good: Option<Nanos>,
    unseen_from: Option<Nanos>,
}

impl Tracker {
    pub(super) fn new(rate: Rate) -> Self {
        Self { needed: sustained(rate), open: None, last_good: None, unseen_from: None }
    }

    /// The window that has not ended yet.
    pub(super) const fn open(&self) -> Option<&Window> {
        self.open.as_ref()
    }

    /// Takes in the next slot; gives the window that it ends.
    pub(super) fn settle(&mut self, row: &Row) -> Option<Window> {
        let ended = match row.seen() {
            Seen::Bad => {
                self.fail(row);
                None
            }
            Seen::Good => self.succeed(row),
            Seen::Unseen => {
                if let Some(window) = &mut self.open {
                    let tally = if window.back.is_some() { &mut window.run } else { &mut window.tally };
                    tally.add(row.outcome);
                }
                self.unseen_from = self.unseen_from.or(Some(row.planned));
                return None;
            }
        };
        self.unseen_from = None;
        ended
    }

    fn fail(&mut self, row: &Row) {
        let window = self.open.get_or_insert_with(|| Window {
            from: row.planned,
            to: None,
            back: None,
            earliest: self.last_good,
            unseen_from: self.unseen_from,
            last_bad: row.planned,
            tally: Tally::default(),
            run: Tally::default(),
        });
        window.last_bad = row.planned;
        window.back = None;
        // The good ones since the last failure were not sustained: they lie inside the window.
        window.tally.merge(&std::mem::take(&mut window.run));
        window.tally.add(row.outcome);
    }

    fn succeed(&mut self, row: &Row) -> Option<Window> {
        self.last_good = Some(row.planned);
        let window = self.open.as_mut()?;
        window.back = window.back.or(Some(row.planned));
        window.run.add(row.outcome);
        if window.run.good < self.needed {
            return None;
        }
        let mut window = self.open.take()?;
        window.to = window.back.take();
        Some(window)
    }
}

/// Follows a series and hands out its windows as they end, for `events.jsonl` and the live view.
#[derive(Debug, Clone)]
pub struct Outages {
    rows: usize,
    tracker: Tracker,
}

impl Outages {
    /// Nothing followed yet.
    #[must_use]
    pub fn new(series: &Series) -> Self {
        Self { rows: 0, tracker: Tracker::new(series.rate()) }
    }

    /// The windows that ended since the last call; once the series is finished, also the one that did not. The same series
    /// must be given each time.
    pub fn advance(&mut self, series: &Series) -> Vec<Outage> {
        let mut ended: Vec<Outage> = self.follow(series).iter().map(|window| window.record(series)).collect();
        if series.is_finished() {
            ended.extend(self.tracker.open.take().map(|window| window.record(series)));
        }
        ended
    }

    /// The window that is open now, as far as it is settled.
    #[must_use]
    pub fn open(&self, series: &Series) -> Option<Outage> {
        self.tracker.open().map(|window| window.record(series))
    }

    fn follow(&mut self, series: &Series) -> Vec<Window> {
        let rows = series.rows().get(self.rows..).unwrap_or_default();
        self.rows += rows.len();
        rows.iter().filter_map(|row| self.tracker.settle(row)).collect()
    }
}

/// All windows of a series, the last one without an end if it has none.
#[must_use]
pub fn windows(series: &Series) -> Vec<Window> {
    let mut outages = Outages::new(series);
    let mut windows = outages.follow(series);
    windows.extend(outages.tracker.open);
    windows
}

/// The same as records. Exact to one slot at each edge: the first failure lies between `earliest` and `from`.
#[must_use]
pub fn outages(series: &Series) -> Vec<Outage> {
    windows(series).iter().map(|window| window.record(series)).collect()
}

/// The longest time in which nothing at all was seen, in nanoseconds: an outage of that length could hide there.
#[must_use]
pub fn longest_gap(series: &Series) -> Nanos {
    let slot = series.slot();
    let unseen = series.rows().chunk_by(|a, b| a.seen() == Seen::Unseen && b.seen() == Seen::Unseen);
    let ends = unseen.filter_map(|rows| rows.first().zip(rows.last()));
    let gaps = ends.filter(|(first, _)| first.seen() == Seen::Unseen);
    gaps.map(|(first, last)| (last.planned - first.planned).saturating_add(slot)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measure::testing::{MS, S, Script};
    use crate::probe::Outcome;

    #[test]
    fn the_edges_of_a_kill_are_exact() {
        let series = Script::at("500/s").good(1_000).bad(500).good(1_000).finished();
        let found = outages(&series);
        assert_eq!(found.len(), 1);
        let outage = &found[0];
        assert_eq!((outage.from, outage.to), (2_000_000, Some(3_000_000)));
        assert_eq!((outage.earliest, outage.last_bad), (Some(1_998_000), 2_998_000));
        assert_eq!((outage.bad, outage.good, outage.unseen), (500, 0, 0));
        assert_eq!(windows(&series)[0].edges(), Some((998 * MS, 1_002 * MS)));
    }

    #[test]
    fn a_freeze_is_as_long_as_the_requests_that_timed_out() {
        // Frozen for 1 s with a timeout of 0.5 s: those planned in the first half time out, the rest are answered late.
        let mut script = Script::at("100/s").good(200).bad(50);
        for waiting in 0..50 {
            script = script.each(1, Outcome::Good, 500 * MS - waiting * 10 * MS);
        }
        let found = outages(&script.good(200).finished());
        assert_eq!((found[0].from, found[0].to), (2_000_000, Some(2_500_000)));
    }

    #[test]
    fn flapping_stays_inside_one_window() {
        let mut script = Script::at("100/s").good(100);
        for _ in 0..20 {
            script = script.bad(1).good(9);
        }
        let found = outages(&script.good(200).finished());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].from, found[0].to), (1_000_000, Some(2_910_000)));
        assert_eq!((found[0].bad, found[0].good), (20, 171));
    }

    #[test]
    fn good_for_a_second_ends_it_and_one_less_does_not() {
        let twice = |between| outages(&Script::at("100/s").good(9).bad(1).good(between).bad(1).good(100).finished());
        assert_eq!(twice(99).len(), 1);
        assert_eq!(twice(100).len(), 2);
        let slow = |between| outages(&Script::at("30/m").good(9).bad(1).good(between).bad(1).good(3).finished());
        assert_eq!(slow(2).len(), 1);
        assert_eq!(slow(3).len(), 2);
    }

    #[test]
    fn what_says_nothing_neither_starts_nor_extends_nor_ends_a_window() {
        assert!(outages(&Script::at("100/s").good(100).unknown(300).good(100).finished()).is_empty());
        let series = Script::at("100/s").good(100).bad(50).unknown(200).good(300).finished();
        let found = windows(&series);
        assert_eq!((found[0].from, found[0].to), (S, Some(3_500 * MS)));
        assert_eq!(found[0].length(series.slot(), series.settled_until()), 500 * MS);
        assert_eq!(found[0].longest(series.settled_until()), 2_500 * MS);
        // A second without sight is not a second of good answers.
        let blind = Script::at("100/s").good(100).bad(50).good(50).unknown(200).bad(50).good(100).finished();
        assert_eq!(outages(&blind).len(), 1);
        assert_eq!(longest_gap(&blind), 2 * S);
    }

    #[test]
    fn a_window_may_have_begun_in_the_dark_before_it() {
        let series = Script::at("100/s").good(100).unknown(100).bad(50).good(100).finished();
        let window = &windows(&series)[0];
        assert_eq!((window.earliest, window.unseen_from, window.from), (Some(990 * MS), Some(S), 2 * S));
        assert_eq!(window.longest(series.settled_until()), 1_500 * MS);
    }

    #[test]
    fn the_end_of_the_run_ends_no_window() {
        let series = Script::at("100/s").good(100).bad(50).finished();
        assert_eq!(outages(&series)[0].to, None);
        let almost = Script::at("100/s").good(100).bad(50).good(99).finished();
        let window = &windows(&almost)[0];
        assert_eq!((window.to, window.back), (None, Some(1_500 * MS)));
        assert_eq!(window.length(10 * MS, almost.settled_until()), 500 * MS);
        assert_eq!(window.longest(almost.settled_until()), 1_490 * MS);
    }

    #[test]
    fn windows_come_out_as_they_end() {
        let samples = Script::at("100/s").good(100).bad(50).good(100).bad(1).good(50).samples();
        let mut series = Script::at("100/s").series();
        let mut live = Outages::new(&series);
        series.extend(samples[..200].iter().copied());
        assert!(live.advance(&series).is_empty());
        assert_eq!(live.open(&series).unwrap().from, 1_000_000);
        series.extend(samples[200..].iter().copied());
        assert_eq!(live.advance(&series).len(), 1);
        series.finish(301);
        assert_eq!(live.advance(&series)[0].to, None);
        assert!(live.advance(&series).is_empty());
    }

    proptest! {
        #[test]
        fn batches_do_not_matter_and_every_failure_lies_in_one_window(
            outcomes in prop::collection::vec((0u8..8, 1usize..40), 1..40),
            chunk in 1usize..60,
        ) {
            let mut script = Script::at("20/s");
            for &(kind, n) in &outcomes {
                script = match kind { 0 | 1 => script.bad(n), 2 => script.unknown(n), _ => script.good(n) };
            }
            let whole = script.finished();
            let mut series = Script::at("20/s").series();
            let mut live = Outages::new(&series);
            let mut piecewise = Vec::new();
            for batch in script.samples().chunks(chunk) {
                series.extend(batch.iter().rev().copied());
                piecewise.extend(live.advance(&series));
            }
            series.finish(script.samples().len() as u64);
            piecewise.extend(live.advance(&series));
            prop_assert_eq!(&piecewise, &outages(&whole));
            prop_assert_eq!(piecewise.iter().map(|o| o.bad).sum::<u64>(), Tally::of(whole.rows()).bad);
            for pair in windows(&whole).windows(2) {
                prop_assert!(pair[0].to.unwrap() + S - 50 * MS <= pair[1].from);
            }
        }
    }
}
