//! One line per second and stream, as soon as the second is complete.

use std::ops::Range;

use super::distribution::nth;
use super::series::{Row, Seen, Series, micros};
use super::stats;
use super::tally::Tally;
use crate::probe::Nanos;
use crate::record::Interval;

/// Length of an interval in nanoseconds.
pub(super) const SECOND: Nanos = 1_000_000_000;

/// Cuts one series into seconds. A second is handed out once, when every slot that can be planned in it is settled; a slow
/// request holds its second back for at most the probe's timeout.
#[derive(Debug, Clone, Default)]
pub(super) struct Seconds {
    rows: usize,
    next: Option<Nanos>,
}

impl Seconds {
    /// The next complete second, in order and without gaps: where it begins, and the positions of its rows. The same series
    /// must be given each time.
    pub(super) fn next(&mut self, series: &Series) -> Option<(Nanos, Range<usize>)> {
        let left = series.rows().get(self.rows..).unwrap_or_default();
        let from = self.next.or_else(|| left.first().map(|row| row.planned / SECOND * SECOND))?;
        let to = from.saturating_add(SECOND);
        let settled = series.settled_until();
        let complete = settled >= to || (series.is_finished() && (settled > from || !left.is_empty()));
        if !complete {
            return None;
        }
        let rows = self.rows..self.rows + left.iter().take_while(|row| row.planned < to).count();
        self.rows = rows.end;
        self.next = Some(to);
        Some((from, rows))
    }
}

/// The seconds of one series as records.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    seconds: Seconds,
}

impl Timeline {
    /// A timeline that has handed out nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The seconds that have become complete since the last call, in order and without gaps: a second without a slot is
    /// there with nothing planned. The same series must be given each time.
    pub fn advance(&mut self, series: &Series) -> Vec<Interval> {
        let seconds = std::iter::from_fn(|| self.seconds.next(series));
        seconds.map(|(from, rows)| interval(series, series.rows().get(rows).unwrap_or_default(), from)).collect()
    }
}

fn interval(series: &Series, rows: &[Row], from: Nanos) -> Interval {
    let tally = Tally::of(rows);
    let mut good: Vec<Nanos> = rows.iter().filter(|row| row.seen() == Seen::Good).map(|row| row.response).collect();
    good.sort_unstable();
    let quantile = |q| nth(&good, stats::rank(q, good.len() as u64)).unwrap_or(0) / 1_000;
    Interval {
        probe: series.probe().to_owned(),
        stream: series.stream(),
        from: micros(from),
        to: micros(from.saturating_add(SECOND)),
        planned: tally.planned(),
        good: tally.good,
        bad: tally.classes(),
        unknown: tally.unknown,
        client_late: tally.client_late,
        capped: tally.capped,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        max_us: quantile(1.0),
        late_max_us: rows.iter().map(Row::lateness).max().unwrap_or(0) / 1_000,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measure::testing::{MS, Script};
    use crate::probe::Outcome;

    #[test]
    fn a_second_comes_out_once_when_its_last_slot_is_settled() {
        let samples = Script::at("4/s").good(4).bad(2).unknown(1).good(5).samples();
        let mut series = Script::at("4/s").series();
        let mut timeline = Timeline::new();
        series.extend(samples[..3].iter().copied());
        assert!(timeline.advance(&series).is_empty());
        series.extend(samples[3..7].iter().copied());
        let first = timeline.advance(&series);
        assert_eq!(first.len(), 1);
        assert_eq!((first[0].from, first[0].to, first[0].planned, first[0].good), (0, 1_000_000, 4, 4));
        assert_eq!((first[0].p50_us, first[0].max_us), (1_000, 1_000));
        series.extend(samples[7..].iter().copied());
        series.finish(12);
        let rest = timeline.advance(&series);
        assert_eq!(rest.len(), 2);
        assert_eq!((rest[0].good, rest[0].bad["connect-refused"], rest[0].unknown), (1, 2, 1));
        assert!(timeline.advance(&series).is_empty());
    }

    #[test]
    fn a_slow_request_holds_its_second_back_and_counts_there() {
        let samples = Script::at("2/s").good(1).each(1, Outcome::Good, 1_900 * MS).good(4).samples();
        let mut series = Script::at("2/s").series();
        let mut timeline = Timeline::new();
        series.extend(samples.iter().copied().filter(|s| s.slot != 1));
        assert!(timeline.advance(&series).is_empty());
        series.push(samples[1]);
        let seconds = timeline.advance(&series);
        assert_eq!(seconds.iter().map(|s| s.max_us).collect::<Vec<_>>(), [1_900_000, 1_000, 1_000]);
    }

    #[test]
    fn a_slow_rate_leaves_empty_seconds_in_place() {
        let series = Script::at("30/m").good(3).finished();
        let planned: Vec<u64> = Timeline::new().advance(&series).iter().map(|s| s.planned).collect();
        assert_eq!(planned, [1, 0, 1, 0, 1, 0]);
    }

    proptest! {
        #[test]
        fn seconds_add_up_whatever_the_batches(
            outcomes in prop::collection::vec((0u8..5, 0u64..900), 1..400),
            chunk in 1usize..50,
            rate in prop::sample::select(vec!["7/s", "50/s", "90/m"]),
        ) {
            let mut script = Script::at(rate);
            for &(kind, after) in &outcomes {
                script = match kind {
                    0 => script.bad(1),
                    1 => script.unknown(1),
                    2 => script.each(1, Outcome::ClientLate, after),
                    3 => script.each(1, Outcome::Capped, 0),
                    _ => script.each(1, Outcome::Good, after * MS),
                };
            }
            let mut series = Script::at(rate).series();
            let mut timeline = Timeline::new();
            let mut piecewise = Vec::new();
            for batch in script.samples().chunks(chunk) {
                series.extend(batch.iter().rev().copied());
                piecewise.extend(timeline.advance(&series));
            }
            series.finish(outcomes.len() as u64);
            piecewise.extend(timeline.advance(&series));
            prop_assert_eq!(&piecewise, &Timeline::new().advance(&script.finished()));
            let mut sum = 0;
            for s in &piecewise {
                prop_assert_eq!(s.planned, s.good + s.bad.values().sum::<u64>() + s.unknown + s.client_late + s.capped);
                sum += s.planned;
            }
            prop_assert_eq!(sum, outcomes.len() as u64);
        }
    }
}
