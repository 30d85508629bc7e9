//! The measures of a phase: `success`, quantiles, `max` and `downtime`, over the whole of it or its worst sliding window.

use std::ops::Range;

use super::distribution::{Ranks, nth, seconds_of};
use super::series::{Pace, Row, Seen, float, nanos, seconds};
use super::tolerance::{caps, latency_meets, meets};
use super::{stats, tally::Tally};
use crate::probe::Nanos;
use crate::scalar::{Measure, Tolerance};

/// What the slots that say nothing are taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unseen {
    /// Nothing: only what was seen counts.
    Left,
    /// Good, and answered at once.
    Good,
    /// Bad.
    Bad,
}

/// Good, bad and unseen slots of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) good: u64,
    pub(super) bad: u64,
    pub(super) unseen: u64,
}

impl Counts {
    pub(super) fn of(rows: &[Row]) -> Self {
        let mut counts = Self::default();
        for row in rows {
            counts.add(row);
        }
        counts
    }

    pub(super) fn add(&mut self, row: &Row) {
        *self.slot(row) += 1;
    }

    /// What was added since `earlier`.
    pub(super) const fn less(self, earlier: &Self) -> Self {
        Self { good: self.good - earlier.good, bad: self.bad - earlier.bad, unseen: self.unseen - earlier.unseen }
    }

    fn slot(&mut self, row: &Row) -> &mut u64 {
        match row.seen() {
            Seen::Good => &mut self.good,
            Seen::Bad => &mut self.bad,
            Seen::Unseen => &mut self.unseen,
        }
    }

    pub(super) const fn seen(self) -> u64 {
        self.good + self.bad
    }

    pub(super) const fn planned(self) -> u64 {
        self.seen() + self.unseen
    }

    /// Whether at most one slot in a hundred, or a single one, says nothing.
    pub(super) const fn covered(self) -> bool {
        self.unseen <= 1 && self.seen() > 0 || self.unseen * 100 <= self.planned()
    }
}

/// What a phase (or its worst window) came to.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// A ratio, or seconds; infinite where the rank falls on a bad request. `None` when nothing was seen.
    pub(super) value: Option<f64>,
    /// The value had every unseen slot been good, and had each been bad.
    pub(super) extremes: (f64, f64),
    /// Its 95 % interval, where the sample supports one.
    pub(super) interval: Option<(f64, f64)>,
    /// The slots of the whole phase.
    pub(super) tally: Tally,
    /// The slots that the value comes from: of the phase, or of its worst window.
    pub(super) counts: Counts,
    /// How many of the seen ones are on the tolerance's side by themselves.
    pub(super) within: u64,
    /// Where the worst window begins, with `over`.
    pub(super) window_from: Option<Nanos>,
}

/// Reads a phase. `bounds` are the phase's planned instants, `rows` the slots in it.
pub(super) fn read(tolerance: &Tolerance, pace: Pace, rows: &[Row], bounds: &Range<Nanos>) -> Reading {
    let tally = Tally::of(rows);
    let Some(window) = tolerance.over else {
        let whole = Whole::of(rows);
        let per_second = pace.per_second(whole.counts.planned(), bounds);
        let value = |unseen| whole.value(tolerance.measure, per_second, unseen);
        return Reading {
            value: (tally.seen() > 0).then(|| value(Unseen::Left)),
            extremes: (value(Unseen::Good), value(Unseen::Bad)),
            interval: whole.interval(tolerance.measure),
            counts: Counts::of(rows),
            within: within(tolerance, rows),
            tally,
            window_from: None,
        };
    };
    let worst = worst_window(tolerance, pace, rows, bounds, nanos(window), None);
    let extreme = |unseen| {
        let worst = worst_window(tolerance, pace, rows, bounds, nanos(window), Some(unseen));
        worst.map_or(f64::NAN, |worst| worst.value)
    };
    let inside = worst.as_ref().and_then(|worst| rows.get(worst.rows.clone())).unwrap_or_default();
    Reading {
        value: worst.as_ref().map(|worst| worst.value),
        extremes: (extreme(Unseen::Good), extreme(Unseen::Bad)),
        interval: None,
        counts: Counts::of(inside),
        within: within(tolerance, inside),
        tally,
        window_from: worst.map(|worst| worst.from),
    }
}

/// How many of the seen slots meet the tolerance by themselves: good ones for `success`, fast ones for a quantile.
fn within(tolerance: &Tolerance, rows: &[Row]) -> u64 {
    let on_its_side = |row: &&Row| match (row.seen(), tolerance.measure) {
        (Seen::Good, Measure::Quantile(_) | Measure::Max) => latency_meets(tolerance, Some(row.response)),
        (Seen::Bad, Measure::Quantile(_) | Measure::Max) => latency_meets(tolerance, None),
        (seen, _) => seen == Seen::Good,
    };
    rows.iter().filter(|row| row.seen() != Seen::Unseen).filter(on_its_side).count() as u64
}

/// The value of a measure from counts and from the latency of each rank among the good.
fn value_of(
    measure: Measure,
    per_second: f64,
    counts: Counts,
    unseen: Unseen,
    latency: impl Fn(u64) -> Option<Nanos>,
) -> f64 {
    let Counts { good, bad, unseen: unknown } = counts;
    let (good, bad, instant) = match unseen {
        Unseen::Left => (good, bad, 0),
        Unseen::Good => (good + unknown, bad, unknown),
        Unseen::Bad => (good, bad + unknown, 0),
    };
    let quantile = |q| {
        let rank = stats::rank(q, good + bad);
        if rank <= instant { 0.0 } else { latency(rank - instant).map_or(f64::INFINITY, seconds) }
    };
    match measure {
        Measure::Quantile(q) => quantile(q),
        Measure::Max => quantile(1.0),
        Measure::Downtime => seconds_of(bad, per_second),
        Measure::Success | Measure::Outage | Measure::Recovery => float(good) / float(good + bad),
    }
}

/// All slots of a phase, with the latencies of the good in ascending order.
struct Whole {
    counts: Counts,
    latencies: Vec<Nanos>,
}

impl Whole {
    fn of(rows: &[Row]) -> Self {
        Self { counts: Counts::of(rows), latencies: latencies(rows) }
    }

    fn value(&self, measure: Measure, per_second: f64, unseen: Unseen) -> f64 {
        value_of(measure, per_second, self.counts, unseen, |rank| nth(&self.latencies, rank))
    }

    fn interval(&self, measure: Measure) -> Option<(f64, f64)> {
        match measure {
            Measure::Success => stats::share_interval(self.counts.good, self.counts.seen()),
            Measure::Quantile(quantile) => {
                let (low, high) = stats::quantile_ranks(self.counts.seen(), quantile)?;
                // A bound among the bad requests has no number.
                Some((seconds(nth(&self.latencies, low)?), seconds(nth(&self.latencies, high)?)))
            }
            _ => None,
        }
    }
}

fn latencies(rows: &[Row]) -> Vec<Nanos> {
    let mut latencies: Vec<Nanos> =
        rows.iter().filter(|row| row.seen() == Seen::Good).map(|row| row.response).collect();
    latencies.sort_unstable();
    latencies
}

/// The worst window of a phase.
#[derive(Debug)]
struct Worst {
    value: f64,
    from: Nanos,
    rows: Range<usize>,
}

/// Slides a window over a phase: one window begins at each slot, the last ends with the phase; a phase shorter than the window
/// has none. Without `unseen`, a window's unseen slots are left out where it is covered and stand in the tolerance's favour
/// where it is not: a stalled probe makes no deviation.
fn worst_window(
    tolerance: &Tolerance,
    pace: Pace,
    rows: &[Row],
    bounds: &Range<Nanos>,
    length: Nanos,
    unseen: Option<Unseen>,
) -> Option<Worst> {
    let last = bounds.end.checked_sub(length).filter(|&last| last >= bounds.start)?;
    let favour = if caps(tolerance) == (tolerance.measure == Measure::Success) { Unseen::Bad } else { Unseen::Good };
    let mut sliding = Sliding::over(rows);
    let mut worst: Option<Worst> = None;
    let starts = rows.iter().map(|row| row.planned).take_while(|&planned| planned < last).chain([last]);
    for from in starts {
        sliding.to(from, from + length);
        let counts = sliding.counts;
        if counts.planned() == 0 || (unseen.is_none() && counts.seen() == 0) {
            continue;
        }
        let taken = unseen.unwrap_or(if counts.covered() { Unseen::Left } else { favour });
        let per_second = pace.per_second(counts.planned(), &(from..from + length));
        let value = value_of(tolerance.measure, per_second, counts, taken, |rank| sliding.ranks.nth(rank));
        let beyond =
            worst.as_ref().is_none_or(|worst| if caps(tolerance) { value > worst.value } else { value < worst.value });
        if beyond {
            worst = Some(Worst { value, from, rows: sliding.range.clone() });
        }
    }
    worst
}

/// A window that moves forward over slots, and what is in it.
struct Sliding<'a> {
    rows: &'a [Row],
    range: Range<usize>,
    counts: Counts,
    ranks: Ranks,
}

impl<'a> Sliding<'a> {
    fn over(rows: &'a [Row]) -> Self {
        Self { rows, range: 0..0, counts: Counts::default(), ranks: Ranks::over(latencies(rows)) }
    }

    /// Moves on to the window that begins at `from` and ends before `to`; neither ever moves back.
    fn to(&mut self, from: Nanos, to: Nanos) {
        while let Some(row) = self.rows.get(self.range.end).filter(|row| row.planned < to) {
            self.counts.add(row);
            if row.seen() == Seen::Good {
                self.ranks.add(row.response);
            }
            self.range.end += 1;
        }
        while let Some(row) = self.rows.get(self.range.start).filter(|row| row.planned < from) {
            *self.counts.slot(row) -= 1;
            if row.seen() == Seen::Good {
                self.ranks.remove(row.response);
            }
            self.range.start += 1;
        }
    }
}

/// Whether a sample that is too small to show that the tolerance holds still shows that it does not: the whole 95 % interval
/// of the share on the tolerance's side lies beyond what the tolerance asks.
pub(super) fn surely_misses(tolerance: &Tolerance, reading: &Reading) -> bool {
    let Some((low, high)) = stats::share_interval(reading.within, reading.counts.seen()) else {
        return false;
    };
    match tolerance.measure {
        Measure::Success => !meets(tolerance, low) && !meets(tolerance, high),
        Measure::Quantile(quantile) if caps(tolerance) => high < quantile,
        // Above the bound lies at least what lies above the quantile: `1 - q` of the samples.
        Measure::Quantile(quantile) => high < 1.0 - quantile,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::measure::testing::{MS, S, Script, at_most, over, ratio};
    use crate::probe::Outcome;
    use crate::scalar::Comparison;

    fn pace() -> Pace {
        Pace::Steady("100/s".parse().unwrap())
    }

    fn whole(tolerance: &Tolerance, script: &Script) -> Reading {
        let series = script.finished();
        read(tolerance, pace(), series.rows(), &(0..series.settled_until()))
    }

    #[test]
    fn a_bad_request_ranks_above_every_latency() {
        let p99 = at_most(Measure::Quantile(0.99), Duration::from_millis(100));
        let script = Script::at("100/s").each(980, Outcome::Good, 50 * MS).each(10, Outcome::Good, 400 * MS);
        assert_eq!(whole(&p99, &script.clone().bad(10)).value, Some(0.4));
        assert_eq!(whole(&p99, &script.clone().bad(20)).value, Some(f64::INFINITY));
        assert_eq!(whole(&at_most(Measure::Max, Duration::ZERO), &script).value, Some(0.4));
    }

    #[test]
    fn a_quantile_has_its_interval_and_refuses_one_among_the_bad() {
        let p90 = at_most(Measure::Quantile(0.9), Duration::ZERO);
        let mut script = Script::at("100/s");
        for i in 1..=1_000 {
            script = script.each(1, Outcome::Good, i * MS);
        }
        let reading = whole(&p90, &script);
        assert_eq!(reading.value, Some(0.9));
        assert_eq!(reading.interval, Some((0.881, 0.919)));
        assert_eq!(whole(&p90, &script.bad(100)).interval, None);
    }

    #[test]
    fn downtime_is_the_bad_share_of_the_rate() {
        let downtime = at_most(Measure::Downtime, Duration::ZERO);
        let reading = whole(&downtime, &Script::at("100/s").good(300).bad(50).unknown(10));
        assert_eq!((reading.value, reading.extremes), (Some(0.5), (0.5, 0.6)));
    }

    #[test]
    fn the_worst_window_is_found_where_it_is() {
        let tolerance = over(ratio(Comparison::AtLeast, 0.9), Duration::from_secs(1));
        let reading = whole(&tolerance, &Script::at("100/s").good(333).bad(60).good(307));
        assert_eq!(reading.value, Some(0.4));
        assert_eq!(reading.window_from, Some(2_930 * MS));
        // The last window ends with the phase.
        assert_eq!(whole(&tolerance, &Script::at("100/s").good(500).bad(30)).value, Some(0.7));
        // No window fits.
        assert_eq!(whole(&tolerance, &Script::at("100/s").good(99)).value, None);
    }

    #[test]
    fn a_window_with_a_stalled_probe_makes_no_deviation() {
        let tolerance = over(ratio(Comparison::AtLeast, 0.9), Duration::from_secs(1));
        let reading = whole(&tolerance, &Script::at("100/s").good(500).bad(1).unknown(99).good(9_400));
        // The one failure among the 98 good ones before it and the first slot in the dark.
        assert_eq!(reading.value, Some(98.0 / 99.0));
        assert!(reading.tally.covered());
    }

    #[test]
    fn a_small_sample_can_still_show_a_miss() {
        let success = ratio(Comparison::AtLeast, 0.99);
        assert!(surely_misses(&success, &whole(&success, &Script::at("100/s").good(10).bad(10))));
        assert!(!surely_misses(&success, &whole(&success, &Script::at("100/s").good(19).bad(1))));
        let p99 = at_most(Measure::Quantile(0.99), Duration::from_millis(100));
        let slow = |n| Script::at("100/s").good(50).each(n, Outcome::Good, 200 * MS);
        assert!(surely_misses(&p99, &whole(&p99, &slow(10))));
        assert!(!surely_misses(&p99, &whole(&p99, &slow(1))));
    }

    proptest! {
        #[test]
        fn sliding_agrees_with_looking_at_every_window(
            outcomes in prop::collection::vec((0u8..6, 1u64..50), 30..150),
            window in 50u64..900,
            q in prop::sample::select(vec![0.5, 0.9, 0.99]),
        ) {
            let mut script = Script::at("100/s");
            for &(kind, after) in &outcomes {
                script = if kind == 0 { script.bad(1) } else { script.each(1, Outcome::Good, after * MS) };
            }
            let series = script.finished();
            let (end, length) = (series.settled_until(), window * MS);
            let Some(last) = end.checked_sub(length) else { return Ok(()) };
            let starts: Vec<Nanos> =
                series.rows().iter().map(|row| row.planned).filter(|&from| from < last).chain([last]).collect();
            for tolerance in [
                over(at_most(Measure::Quantile(q), Duration::ZERO), Duration::from_millis(window)),
                over(at_most(Measure::Downtime, Duration::ZERO), Duration::from_millis(window)),
            ] {
                let plain = Tolerance { over: None, ..tolerance.clone() };
                let worst = starts.iter().map(|&from| {
                    let time = from..from + length;
                    read(&plain, pace(), series.within(time.clone()), &time).value.unwrap()
                }).fold(0.0, f64::max);
                let reading = read(&tolerance, pace(), series.rows(), &(0..end));
                prop_assert_eq!(reading.value, Some(worst));
                prop_assert_eq!(reading.extremes, (worst, worst));
            }
            prop_assert!(end <= 2 * S);
        }
    }
}
