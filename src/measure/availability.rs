//! How available a stream was: the longest failure, bad seconds, worst windows, and what it costs of an error budget.
//!
//! Each of these numbers has a blind spot that another one sees: one dead replica of three gives no long failure, but severe
//! seconds; one short outage gives no severe seconds in an hour, but a bad worst window.

use std::ops::Range;

use super::phase::Counts;
use super::series::{Phases, Row, Seen, Series, float, micros, rows_within};
use super::timeline::SECOND;
use crate::probe::Nanos;
use crate::record::{Availability, BadSeconds, BudgetBurn, FailureRun, Micros, Phase, WorstWindow};

/// Lengths of the windows of the worst-window curve; the whole phase or run is the last one.
const WINDOWS: [Nanos; 5] = [SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND, 60 * SECOND];
/// Slots that a window must have room for: the share of fewer says nothing.
const LEAST_SLOTS: u64 = 3;
/// Error budgets: objective, and days that it is for. 99.9 % of 30 days leave 2,592 s.
const BUDGETS: [(f64, u32); 3] = [(0.99, 30), (0.999, 30), (0.9999, 30)];

/// When a second is severe, and when severe seconds add up to unavailable time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SecondsRule {
    /// The share of bad requests from which on a second is severe.
    pub severe: f64,
    /// Severe seconds in a row that begin unavailable time; they belong to it.
    pub enter: u32,
    /// Other seconds in a row that end it; they do not belong to it.
    pub leave: u32,
}

impl SecondsRule {
    /// ITU-T G.826: 30 % make a severely errored second, ten in a row begin or end unavailable time. Made for links that
    /// fail for hours; a killed pod is replaced before it enters.
    pub const G826: Self = Self { severe: 0.3, enter: 10, leave: 10 };
    /// The same with three seconds: as long as the shortest kubelet probes take to act (period 1 s, threshold 3).
    pub const KUBERNETES: Self = Self { severe: 0.3, enter: 3, leave: 3 };
}

impl Default for SecondsRule {
    fn default() -> Self {
        Self::KUBERNETES
    }
}

/// How available a stream was in a phase, or over the whole run without one. `None` where nothing was seen.
///
/// Seconds count from the begin of the phase; a last one that is cut short counts as one. Slots that say nothing about the
/// service are left out; in a second or window with more than 1 % (and more than one) of them they count as good, so that a
/// stalled probe makes no failure.
#[must_use]
pub fn availability(series: &Series, phase: Option<Phase>, phases: &Phases, rule: SecondsRule) -> Option<Availability> {
    let bounds = phase.map_or(0..phases.end, |phase| phases.bounds(phase));
    let rows = series.within(bounds.clone());
    let counts = Counts::of(rows);
    if counts.seen() == 0 {
        return None;
    }
    let downtime = float(counts.bad) / series.pace().per_second(counts.planned(), &bounds);
    let windows = WINDOWS.into_iter().filter(|&window| window >= LEAST_SLOTS * series.slot());
    let whole = bounds.end.saturating_sub(bounds.start);
    let windows = windows.filter(|&window| window < whole).chain([whole]);
    Some(Availability {
        probe: series.probe().to_owned(),
        stream: series.stream(),
        phase,
        downtime_us: to_micros(downtime),
        longest_failure: longest_failure(rows, series.slot(), bounds.end),
        seconds: bad_seconds(rows, &bounds, rule),
        worst: windows.filter_map(|window| worst_window(rows, &bounds, window)).collect(),
        budgets: BUDGETS.iter().map(|&(objective, days)| burn(downtime, objective, days)).collect(),
        gray: None,
    })
}

/// Seconds as whole microseconds.
#[expect(clippy::cast_possible_truncation, reason = "lengths of one run in microseconds lie far below 2^53")]
fn to_micros(seconds: f64) -> Micros {
    (seconds * 1e6).round() as Micros
}

fn burn(downtime: f64, objective: f64, days: u32) -> BudgetBurn {
    let budget = f64::from(days) * 86_400.0 * (1.0 - objective);
    BudgetBurn { objective, days, budget_us: to_micros(budget), share: downtime / budget }
}

/// The longest run of bad requests, unseen slots passed over; the earlier of two equal ones.
fn longest_failure(rows: &[Row], slot: Nanos, end: Nanos) -> Option<FailureRun> {
    let mut longest: Option<FailureRun> = None;
    let mut keep = |run: Run, to: Option<Nanos>| {
        let run = run.record(slot, to, end);
        if longest.as_ref().is_none_or(|longest| run.length_us > longest.length_us) {
            longest = Some(run);
        }
    };
    let mut open: Option<Run> = None;
    let mut last_good = None;
    for row in rows {
        match row.seen() {
            Seen::Unseen => {
                if let Some(run) = &mut open {
                    run.unseen += 1;
                }
            }
            Seen::Bad => {
                let fresh = Run { from: row.planned, earliest: last_good, last_bad: row.planned, bad: 0, unseen: 0 };
                let run = open.get_or_insert(fresh);
                run.last_bad = row.planned;
                run.bad += 1;
            }
            Seen::Good => {
                if let Some(run) = open.take() {
                    keep(run, Some(row.planned));
                }
                last_good = Some(row.planned);
            }
        }
    }
    if let Some(run) = open {
        keep(run, None);
    }
    longest
}

/// A run of bad requests.
#[derive(Debug, Clone, Copy)]
struct Run {
    from: Nanos,
    earliest: Option<Nanos>,
    last_bad: Nanos,
    bad: u64,
    unseen: u64,
}

impl Run {
    fn record(&self, slot: Nanos, to: Option<Nanos>, end: Nanos) -> FailureRun {
        let whole = to.unwrap_or(end).saturating_sub(self.from);
        FailureRun {
            from: micros(self.from),
            to: to.map(micros),
            length_us: micros(whole.saturating_sub(self.unseen.saturating_mul(slot))),
            least_us: micros(self.last_bad.saturating_sub(self.from)),
            most_us: to.zip(self.earliest).map(|(to, earliest)| micros(to.saturating_sub(earliest))),
            bad: self.bad,
        }
    }
}

/// The share of bad requests; where too much was not seen, that counts as good. `None` where nothing was seen.
fn bad_share(counts: Counts) -> Option<f64> {
    let of = if counts.covered() { counts.seen() } else { counts.planned() };
    (counts.seen() > 0).then(|| float(counts.bad) / float(of))
}

fn bad_seconds(rows: &[Row], bounds: &Range<Nanos>, rule: SecondsRule) -> BadSeconds {
    let mut seconds = BadSeconds {
        measured: 0,
        errored: 0,
        severe: 0,
        unavailable: 0,
        severe_ratio: rule.severe,
        enter: rule.enter,
        leave: rule.leave,
    };
    let mut time = Unavailable::default();
    let mut rest = rows;
    while let Some(first) = rest.first() {
        // A second in which nothing was planned or seen is passed over: it neither begins nor ends unavailable time.
        let to = bounds.start + ((first.planned - bounds.start) / SECOND + 1) * SECOND;
        let (second, later) = rest.split_at(rest.partition_point(|row| row.planned < to));
        rest = later;
        let Some(share) = bad_share(Counts::of(second)) else { continue };
        let severe = share >= rule.severe;
        seconds.measured += 1;
        seconds.errored += u64::from(share > 0.0);
        seconds.severe += u64::from(severe);
        time.second(severe, rule);
    }
    seconds.unavailable = time.total;
    seconds
}

/// Counts unavailable seconds.
#[derive(Debug, Default)]
struct Unavailable {
    inside: bool,
    /// Seconds in a row that speak for a change.
    streak: u32,
    total: u64,
}

impl Unavailable {
    fn second(&mut self, severe: bool, rule: SecondsRule) {
        self.streak = if severe == self.inside { 0 } else { self.streak + 1 };
        self.total += u64::from(self.inside);
        let needed = if self.inside { rule.leave } else { rule.enter };
        if self.streak < needed.max(1) {
            return;
        }
        // The seconds that made the change lie on its far side.
        if self.inside {
            self.total -= u64::from(self.streak);
        } else {
            self.total += u64::from(self.streak);
        }
        self.inside = !self.inside;
        self.streak = 0;
    }
}

/// The window of this length with the smallest share of good requests: one begins at each slot, one ends with the phase. The
/// counts of a window are the difference of two running sums, so that the whole costs two passes.
fn worst_window(rows: &[Row], bounds: &Range<Nanos>, length: Nanos) -> Option<WorstWindow> {
    let last = bounds.end.checked_sub(length).filter(|&last| last >= bounds.start)?;
    let (mut before, mut until) = (Counts::default(), Counts::default());
    let (mut first, mut end) = (0, 0);
    let mut worst: Option<(f64, Nanos)> = None;
    let starts = rows_within(rows, bounds.start..last).iter().map(|row| row.planned).chain([last]);
    for from in starts {
        while let Some(row) = rows.get(end).filter(|row| row.planned < from + length) {
            until.add(row);
            end += 1;
        }
        while let Some(row) = rows.get(first).filter(|row| row.planned < from) {
            before.add(row);
            first += 1;
        }
        let Some(share) = bad_share(until.less(&before)) else { continue };
        if worst.is_none_or(|(worst, _)| share > worst) {
            worst = Some((share, from));
        }
    }
    worst.map(|(share, from)| WorstWindow { window_us: micros(length), success: 1.0 - share, from: micros(from) })
}

#[cfg(test)]
#[path = "availability_tests.rs"]
mod tests;
