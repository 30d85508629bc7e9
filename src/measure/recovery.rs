//! When a probe met its tolerances again after an injection.
//!
//! Windows of 5 s begin at the injection and at each slot after it. A window *misses* where it does not meet every tolerance
//! of the probe. Recovery is the start of the first window that meets them all after the first that misses; a fault whose
//! effect comes late is thereby not taken for recovered before it was felt.

use super::outage::windows;
use super::phase::Counts;
use super::series::{Row, Seen, Series, float};
use super::tolerance::{caps, latency_meets, meets};
use super::{distribution::seconds_of, stats};
use crate::probe::Nanos;
use crate::scalar::{Measure, Tolerance};

/// Length of the window that must meet every tolerance, in nanoseconds.
pub(super) const WINDOW: Nanos = 5_000_000_000;

/// How a probe's stream came back after an injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// No window fits between the injection and the end of what is settled.
    TooShort,
    /// No window missed: there was nothing to recover from.
    NoImpact {
        /// Whether each window was seen well enough to say so.
        seen: bool,
    },
    /// It came back.
    At {
        /// Start of the first window that met every tolerance.
        at: Nanos,
        /// Start of the first window that may have, had the probe seen enough of it; `at` where all was seen.
        earliest: Nanos,
    },
    /// It did not until the end.
    Never {
        /// Whether each window was seen well enough to say so.
        seen: bool,
    },
}

/// What a window says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Meets,
    Misses,
    Unclear,
}

/// A series prepared for asking about many windows: a window costs two searches.
///
/// `tolerances` are the probe's others than `recovery`, whatever their phases; the window stands in the place of an `over`.
/// `outage` is met where the window touches no outage that is too long. Without any, a window without a failure meets.
#[derive(Debug)]
pub struct Recoveries<'a> {
    series: &'a Series,
    rules: Vec<Rule>,
    totals: Vec<Counts>,
}

/// One tolerance, with the running count of slots on its side.
#[derive(Debug)]
struct Rule {
    tolerance: Tolerance,
    within: Vec<u64>,
    too_long: Vec<(Nanos, Nanos)>,
}

impl<'a> Recoveries<'a> {
    /// Prepares a series.
    #[must_use]
    pub fn new(series: &'a Series, tolerances: &[&Tolerance]) -> Self {
        let rows = series.rows();
        let mut totals = vec![Counts::default()];
        let mut sum = Counts::default();
        for row in rows {
            sum.add(row);
            totals.push(sum);
        }
        let asked = tolerances.iter().filter(|tolerance| tolerance.measure != Measure::Recovery);
        let rules = asked.map(|tolerance| Rule::of(tolerance, series)).collect();
        Self { series, rules, totals }
    }

    /// How the stream came back after an injection. Misses from `until` on (the next injection) are not its own: only windows
    /// that end by then can miss on its account, or a single shorter one where the next injection is less than 5 s away.
    #[must_use]
    pub fn after(&self, injected: Nanos, until: Nanos) -> Recovery {
        let Some(last) = self.series.settled_until().checked_sub(WINDOW).filter(|&last| last >= injected) else {
            return Recovery::TooShort;
        };
        let own = last.min(until.saturating_sub(WINDOW)).max(injected);
        let mut missed = None;
        let mut seen = true;
        for from in self.starts(injected, own) {
            match self.says(from, from.saturating_add(WINDOW).min(until)) {
                Says::Misses => {
                    missed = Some(from);
                    break;
                }
                Says::Unclear => seen = false,
                Says::Meets => {}
            }
        }
        let Some(missed) = missed else {
            return Recovery::NoImpact { seen };
        };
        let mut earliest = None;
        for from in self.starts(missed, last) {
            match self.says(from, from.saturating_add(WINDOW)) {
                Says::Meets => return Recovery::At { at: from, earliest: earliest.unwrap_or(from) },
                Says::Unclear => earliest = earliest.or(Some(from)),
                Says::Misses => {}
            }
        }
        Recovery::Never { seen: earliest.is_none() }
    }

    /// Where windows begin: at `first`, at each slot after it, and at `last`, so that the last one ends where it must.
    fn starts(&self, first: Nanos, last: Nanos) -> impl Iterator<Item = Nanos> {
        let slots = self.series.within(first.saturating_add(1)..last);
        std::iter::once(first).chain(slots.iter().map(|row| row.planned)).chain((last > first).then_some(last))
    }

    fn says(&self, from: Nanos, to: Nanos) -> Says {
        let rows = self.series.rows();
        let first = rows.partition_point(|row| row.planned < from);
        let past = rows.partition_point(|row| row.planned < to);
        let (Some(before), Some(through)) = (self.totals.get(first), self.totals.get(past)) else {
            return Says::Unclear;
        };
        let mut counts = through.less(before);
        if counts.planned() == 0 && to < from.saturating_add(WINDOW) {
            // The next injection came before a single request: what follows is its own.
            return Says::Meets;
        }
        let covered = counts.covered() && counts.seen() > 0;
        if !covered {
            // What was not seen stands in the tolerance's favour: only what was seen can miss.
            counts.good += counts.unseen;
        }
        let favour = if covered { 0 } else { counts.unseen };
        let per_second = self.series.pace().per_second(counts.planned(), &(from..to));
        let met = match self.rules.as_slice() {
            [] => counts.bad == 0,
            rules => rules.iter().all(|rule| rule.met(first, past, counts, favour, per_second, from, to)),
        };
        match (met, covered) {
            (true, true) => Says::Meets,
            (true, false) => Says::Unclear,
            (false, _) => Says::Misses,
        }
    }
}

impl Rule {
    fn of(tolerance: &Tolerance, series: &Series) -> Self {
        let by_latency = matches!(tolerance.measure, Measure::Quantile(_) | Measure::Max);
        let side = |row: &Row| match row.seen() {
            Seen::Good => !by_latency || latency_meets(tolerance, Some(row.response)),
            Seen::Bad => by_latency && latency_meets(tolerance, None),
            Seen::Unseen => false,
        };
        let mut within = vec![0];
        let mut sum = 0;
        for row in series.rows() {
            sum += u64::from(side(row));
            within.push(sum);
        }
        let (slot, end) = (series.slot(), series.settled_until());
        let mut too_long = Vec::new();
        if tolerance.measure == Measure::Outage && caps(tolerance) {
            let outages = windows(series);
            let misses =
                outages.iter().filter(|window| !meets(tolerance, super::series::seconds(window.length(slot, end))));
            too_long.extend(misses.map(|window| (window.from, window.end(end))));
        }
        Self { tolerance: tolerance.clone(), within, too_long }
    }

    #[expect(clippy::too_many_arguments, reason = "a window is all of these, and only `says` calls it")]
    fn met(
        &self,
        first: usize,
        past: usize,
        counts: Counts,
        favour: u64,
        per_second: f64,
        from: Nanos,
        to: Nanos,
    ) -> bool {
        let upto = |at: usize| self.within.get(at).copied().unwrap_or(0);
        let within = upto(past) - upto(first) + favour;
        let n = counts.seen();
        let quantile = |q| {
            let rank = stats::rank(q, n);
            // The rank-th latency is on the tolerance's side if so many are, counted from that side.
            if caps(&self.tolerance) { within >= rank } else { within > n - rank }
        };
        match self.tolerance.measure {
            Measure::Success => meets(&self.tolerance, float(counts.good) / float(n)),
            Measure::Quantile(q) => quantile(q),
            Measure::Max => quantile(1.0),
            Measure::Downtime => meets(&self.tolerance, seconds_of(counts.bad, per_second)),
            Measure::Outage => !self.too_long.iter().any(|&(start, end)| start < to && from < end),
            Measure::Recovery => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::testing::{MS, S, Script, at_most, ratio};
    use crate::probe::Outcome;
    use crate::scalar::Comparison;

    fn after(script: &Script, tolerances: &[&Tolerance], injected: Nanos) -> Recovery {
        Recoveries::new(&script.finished(), tolerances).after(injected, Nanos::MAX)
    }

    #[test]
    fn recovery_is_the_first_good_slot_after_the_outage() {
        let script = Script::at("100/s").good(1_000).bad(300).good(1_000);
        let success = ratio(Comparison::AtLeast, 0.999);
        let at = 13 * S;
        assert_eq!(after(&script, &[&success], 10 * S), Recovery::At { at, earliest: at });
        assert_eq!(after(&script, &[], 10 * S), Recovery::At { at, earliest: at });
        // One failure in 500 is within 99 %: the first window that meets holds the last five.
        let loose = ratio(Comparison::AtLeast, 0.99);
        let at = 12_950 * MS;
        assert_eq!(after(&script, &[&loose], 10 * S), Recovery::At { at, earliest: at });
    }

    #[test]
    fn a_late_impact_is_not_taken_for_recovered_at_once() {
        let script = Script::at("100/s").good(4_000).bad(300).good(1_000);
        let at = 43 * S;
        assert_eq!(after(&script, &[], 10 * S), Recovery::At { at, earliest: at });
        let quiet = Script::at("100/s").good(4_000);
        assert_eq!(after(&quiet, &[], 10 * S), Recovery::NoImpact { seen: true });
        let recoveries = script.finished();
        let recoveries = Recoveries::new(&recoveries, &[]);
        assert_eq!(recoveries.after(10 * S, 20 * S), Recovery::NoImpact { seen: true });
        assert_eq!(recoveries.after(20 * S, Nanos::MAX), Recovery::At { at, earliest: at });
        // The next injection comes with the failures, or a moment before them.
        assert_eq!(recoveries.after(38 * S, 40 * S), Recovery::NoImpact { seen: true });
        assert_eq!(recoveries.after(38 * S, 40 * S + 20 * MS), Recovery::At { at, earliest: at });
        assert_eq!(recoveries.after(40 * S - 1, 40 * S), Recovery::NoImpact { seen: true });
    }

    #[test]
    fn slow_answers_are_not_recovered_either() {
        let script = Script::at("100/s").good(1_000).bad(100).each(400, Outcome::Good, 300 * MS).good(1_000);
        let p99 = at_most(Measure::Quantile(0.99), Duration::from_millis(100));
        let at = 14_950 * MS;
        assert_eq!(after(&script, &[&p99], 10 * S), Recovery::At { at, earliest: at });
    }

    #[test]
    fn an_outage_that_is_too_long_must_be_over() {
        let script = Script::at("100/s").good(1_000).bad(300).good(1_000);
        let outage = at_most(Measure::Outage, Duration::from_secs(2));
        assert_eq!(after(&script, &[&outage], 10 * S), Recovery::At { at: 13 * S, earliest: 13 * S });
        let tolerant = at_most(Measure::Outage, Duration::from_secs(3));
        assert_eq!(after(&script, &[&tolerant], 10 * S), Recovery::NoImpact { seen: true });
    }

    #[test]
    fn it_may_never_come_back_or_not_be_seen_to() {
        let never = Script::at("100/s").good(1_000).bad(900).good(100);
        assert_eq!(after(&never, &[], 10 * S), Recovery::Never { seen: true });
        assert_eq!(after(&never, &[], 16 * S), Recovery::TooShort);
        let dark = Script::at("100/s").good(1_000).bad(100).unknown(300).good(600);
        assert_eq!(after(&dark, &[], 10 * S), Recovery::At { at: 13_950 * MS, earliest: 11 * S });
        let blind = Script::at("100/s").good(1_000).unknown(900);
        assert_eq!(after(&blind, &[], 10 * S), Recovery::NoImpact { seen: false });
    }
}
