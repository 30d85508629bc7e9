//! The measures of a phase: `success`, quantiles, `max` and `downtime`, over the whole of it or its worst sliding window.

use std::ops::Range;

use super::blocks::{per_unit, worth};
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
    /// The 95 % interval of the share that is on the tolerance's side by itself. Where it can't be told how the requests come
    /// together, they are taken as independent: what was seen to deviate has deviated.
    pub(super) within: Option<(f64, f64)>,
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

/// The share of the seen slots that meet the tolerance by themselves: good ones for `success`, fast ones for a quantile.
fn within(tolerance: &Tolerance, rows: &[Row]) -> Option<(f64, f64)> {
    let on_its_side = |row: &Row| match (row.seen(), tolerance.measure) {
        (Seen::Good, Measure::Quantile(_) | Measure::Max) => latency_meets(tolerance, Some(row.response)),
        (Seen::Bad, Measure::Quantile(_) | Measure::Max) => latency_meets(tolerance, None),
        (seen, _) => seen == Seen::Good,
    };
    let units = per_unit(rows, on_its_side);
    let (hits, samples) = units.iter().fold((0, 0), |(hits, samples), unit| (hits + unit.0, samples + unit.1));
    stats::share_interval(hits, samples, worth(&[units]).unwrap_or(1.0))
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
struct Whole<'a> {
    rows: &'a [Row],
    counts: Counts,
    latencies: Vec<Nanos>,
}

impl<'a> Whole<'a> {
    fn of(rows: &'a [Row]) -> Self {
        Self { rows, counts: Counts::of(rows), latencies: latencies(rows) }
    }

    fn value(&self, measure: Measure, per_second: f64, unseen: Unseen) -> f64 {
        value_of(measure, per_second, self.counts, unseen, |rank| nth(&self.latencies, rank))
    }

    fn interval(&self, measure: Measure) -> Option<(f64, f64)> {
        let n = self.counts.seen();
        match measure {
            Measure::Success => {
                // Where all are alike there is nothing to come together, however short the phase.
                let alike = self.counts.good == 0 || self.counts.bad == 0;
                let worth = if alike { 1.0 } else { worth(&[per_unit(self.rows, is_good)])? };
                stats::share_interval(self.counts.good, n, worth)
            }
            Measure::Quantile(quantile) => {
                let value = nth(&self.latencies, stats::rank(quantile, n))?;
                let within = |row: &Row| row.seen() == Seen::Good && row.response <= value;
                let (low, high) = stats::quantile_ranks_of(n, quantile, worth(&[per_unit(self.rows, within)])?)?;
                // A bound among the bad requests has no number.
                Some((seconds(nth(&self.latencies, low)?), seconds(nth(&self.latencies, high)?)))
            }
            _ => None,
        }
    }
}

fn is_good(row: &Row) -> bool {
    row.seen() == Seen::Good
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
    let Some((low, high)) = reading.within else {
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
#[path = "phase_tests.rs"]
mod tests;
