//! A stream's phase in numbers.

use super::distribution::{Distribution, quantiles};
use super::series::{Phases, Row, Seen, Series};
use super::tally::Tally;
use crate::probe::{Nanos, Outcome};
use crate::record::{Phase, Summary};

/// The numbers of one stream in one phase: counts by outcome and class, quantiles of latency (good, service, bad) and of the
/// probe's own lateness, and the distribution of good latencies.
///
/// `bad_us` counts from the planned instant until the failure was known; `late_us` is over everything that was sent. The steps come
/// from a [`Breakdown`](super::Breakdown).
#[must_use]
pub fn summary(series: &Series, phase: Phase, phases: &Phases) -> Summary {
    let rows = series.within(phases.bounds(phase));
    let tally = Tally::of(rows);
    let of = |seen: Seen, value: fn(&Row) -> u64| {
        quantiles(rows.iter().filter(|row| row.seen() == seen).map(value).collect())
    };
    let sent = || rows.iter().filter(|row| !matches!(row.outcome, Outcome::Unknown | Outcome::Capped));
    Summary {
        probe: series.probe().to_owned(),
        stream: series.stream(),
        phase,
        planned: tally.planned(),
        good: tally.good,
        bad: tally.bad,
        classes: tally.classes(),
        reach: tally.reach(),
        unknown: tally.unknown,
        client_late: tally.client_late,
        capped: tally.capped,
        good_us: of(Seen::Good, |row| row.response),
        service_us: of(Seen::Good, Row::service),
        bad_us: of(Seen::Bad, |row| row.response),
        late_us: quantiles(sent().map(Row::lateness).collect()),
        steps: Vec::new(),
        late_histogram: histogram(sent().map(Row::lateness)),
        histogram: histogram(rows.iter().filter(|row| row.seen() == Seen::Good).map(|row| row.response)),
    }
}

fn histogram(times: impl Iterator<Item = Nanos>) -> Vec<(u64, u64)> {
    let Ok(mut distribution) = Distribution::new() else {
        return Vec::new();
    };
    times.for_each(|time| distribution.record(time));
    distribution.buckets()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measure::testing::{MS, S, Script, bad};
    use crate::probe::StreamKind;

    const PHASES: Phases = Phases { during: 5 * S, after: 10 * S, end: 20 * S };

    #[test]
    fn failures_never_touch_the_latency_of_the_good() {
        let calm = Script::at("100/s").good(1_000);
        let broken = calm.clone().bad(500).each(500, bad(503), 400 * MS).finished();
        let during = summary(&calm.finished(), Phase::During, &PHASES);
        let after = summary(&broken, Phase::After, &PHASES);
        assert_eq!((during.good, during.bad, during.good_us["p99"]), (500, 0, 1_000));
        assert_eq!((after.good, after.bad, after.planned), (0, 1_000, 1_000));
        assert!(after.good_us.is_empty() && after.histogram.is_empty());
        assert_eq!(after.classes, [("connect-refused".to_owned(), 500), ("status-503".to_owned(), 500)].into());
        assert_eq!((after.bad_us["min"], after.bad_us["max"]), (100, 400_000));
        assert_eq!(after.stream, StreamKind::Fresh);
    }

    #[test]
    fn a_freeze_of_a_second_shows_in_the_quantiles_as_it_was_felt() {
        // 10 s at 500/s, frozen for 1 s: those planned in the freeze wait for its end. Truth: p95 0.50 s, p99 0.90 s.
        let mut script = Script::at("500/s").good(2_000);
        for waiting in 0..500 {
            script = script.each(1, Outcome::Good, S - waiting * 2 * MS);
        }
        let series = script.good(2_500).finished();
        let whole = Phases { during: 0, after: 10 * S, end: 10 * S };
        let during = summary(&series, Phase::During, &whole);
        assert!(during.good_us["p95"].abs_diff(500_000) <= 2_000, "{:?}", during.good_us);
        assert!(during.good_us["p99"].abs_diff(900_000) <= 2_000, "{:?}", during.good_us);
        assert_eq!(during.histogram.iter().map(|(_, count)| count).sum::<u64>(), 5_000);
    }

    proptest! {
        #[test]
        fn every_planned_slot_is_in_one_phase_and_one_outcome(
            outcomes in prop::collection::vec(0u8..5, 1..2_000),
            cuts in (0u64..20, 0u64..20),
        ) {
            let mut script = Script::at("100/s");
            for &kind in &outcomes {
                script = match kind {
                    0 => script.bad(1),
                    1 => script.unknown(1),
                    2 => script.each(1, Outcome::ClientLate, MS),
                    3 => script.each(1, Outcome::Capped, 0),
                    _ => script.good(1),
                };
            }
            let (during, after) = (cuts.0.min(cuts.1) * S, cuts.0.max(cuts.1) * S);
            let series = script.finished();
            let phases = Phases { during, after, end: 20 * S };
            let mut planned = 0;
            for phase in Phase::ALL {
                let s = summary(&series, phase, &phases);
                prop_assert_eq!(s.planned, s.good + s.bad + s.unknown + s.client_late + s.capped);
                prop_assert_eq!(s.bad, s.classes.values().sum::<u64>());
                prop_assert_eq!(s.bad, s.reach.values().sum::<u64>());
                prop_assert_eq!(s.planned - s.unknown - s.capped, s.late_histogram.iter().map(|(_, n)| n).sum::<u64>());
                prop_assert_eq!(s.good, s.histogram.iter().map(|(_, count)| count).sum::<u64>());
                planned += s.planned;
            }
            prop_assert_eq!(planned, outcomes.len() as u64);
        }
    }
}
