use proptest::prelude::*;

use super::*;
use crate::measure::testing::{MS, S, Script};

fn of(script: &Script) -> Availability {
    let series = script.finished();
    let end = series.settled_until();
    availability(&series, None, &Phases { during: end, after: end, end }, SecondsRule::default()).unwrap()
}

#[test]
fn the_longest_failure_ends_with_one_good_request() {
    let failure = of(&Script::at("100/s").good(100).bad(20).good(1).bad(50).good(9).bad(49)).longest_failure.unwrap();
    assert_eq!((failure.from, failure.to, failure.bad), (1_210_000, Some(1_710_000), 50));
    assert_eq!((failure.length_us, failure.least_us, failure.most_us), (500_000, 490_000, Some(510_000)));
    assert_eq!(of(&Script::at("100/s").good(100)).longest_failure, None);
}

#[test]
fn what_was_not_seen_is_no_part_of_a_failure_and_an_open_one_has_no_end() {
    let failure = of(&Script::at("100/s").good(100).bad(20).unknown(30).bad(20)).longest_failure.unwrap();
    assert_eq!((failure.length_us, failure.to, failure.most_us), (400_000, None, None));
    // A gap that ends in the dark was not a failure for longer than it was seen.
    let failure = of(&Script::at("100/s").bad(20).unknown(30).good(20)).longest_failure.unwrap();
    assert_eq!((failure.length_us, failure.to), (200_000, Some(500_000)));
}

#[test]
fn seconds_are_errored_severe_and_unavailable() {
    let second = |script: Script, bad: usize| script.bad(bad).good(10 - bad);
    let seconds = |bads: &[usize]| {
        let seconds = of(&bads.iter().fold(Script::at("10/s"), |script, &bad| second(script, bad))).seconds;
        [seconds.measured, seconds.errored, seconds.severe, seconds.unavailable]
    };
    assert_eq!(seconds(&[0, 1, 2, 3, 3, 0]), [6, 4, 2, 0]);
    // Three severe seconds enter with effect from the first; the three that leave are not part of it.
    assert_eq!(seconds(&[0, 3, 9, 3, 0, 0, 0, 5]), [8, 4, 4, 3]);
    // Two good seconds do not leave: they lie inside.
    assert_eq!(seconds(&[0, 3, 9, 3, 0, 0, 5, 0, 0, 0]), [10, 4, 4, 6]);
    // Unavailable until the end of the run.
    assert_eq!(seconds(&[5, 5, 5, 0, 0]), [5, 3, 3, 5]);
}

#[test]
fn the_rule_of_the_standard_needs_ten_seconds() {
    let series = Script::at("10/s").good(50).bad(95).good(155).finished();
    let end = series.settled_until();
    let under = |rule| {
        let whole = Phases { during: end, after: end, end };
        availability(&series, None, &whole, rule).unwrap().seconds.unavailable
    };
    assert_eq!([under(SecondsRule::KUBERNETES), under(SecondsRule::G826)], [10, 10]);
    let series = Script::at("10/s").good(50).bad(40).good(210).finished();
    let whole = Phases { during: end, after: end, end };
    let seconds = |rule| availability(&series, None, &whole, rule).unwrap().seconds.unavailable;
    assert_eq!([seconds(SecondsRule::KUBERNETES), seconds(SecondsRule::G826)], [4, 0]);
}

#[test]
fn a_second_in_the_dark_is_neither_bad_nor_good() {
    // One bad request among eight unseen ones is 10 % of what was planned; nothing seen is no second at all.
    let seconds = of(&Script::at("10/s").good(10).bad(1).unknown(8).good(1).unknown(10).good(10)).seconds;
    assert_eq!([seconds.measured, seconds.errored, seconds.severe], [3, 1, 0]);
    let seconds = of(&Script::at("10/s").bad(20).unknown(30).bad(10).good(30)).seconds;
    assert_eq!([seconds.measured, seconds.unavailable], [6, 3]);
}

#[test]
fn the_curve_finds_the_worst_window_of_each_length() {
    let found = of(&Script::at("100/s").good(1_050).bad(200).good(4_750));
    let curve: Vec<(Micros, f64)> = found.worst.iter().map(|w| (w.window_us / 1_000_000, w.success)).collect();
    assert_eq!(curve, [(1, 0.0), (5, 0.6), (10, 0.8), (30, 1.0 - 200.0 / 3_000.0), (60, 1.0 - 200.0 / 6_000.0)]);
    assert_eq!(found.worst[0].from, 10_500_000);
    // A second is no window for a probe that asks every two seconds.
    let slow = of(&Script::at("30/m").good(30));
    assert_eq!(slow.worst.iter().map(|w| w.window_us / 1_000_000).collect::<Vec<_>>(), [10, 30, 60]);
}

#[test]
fn downtime_is_weighed_against_budgets() {
    let found = of(&Script::at("100/s").good(1_000).bad(2_592).good(1_000));
    assert_eq!(found.downtime_us, 25_920_000);
    let budget = &found.budgets[1];
    assert_eq!((budget.objective, budget.days, budget.budget_us), (0.999, 30, 2_592_000_000));
    assert!((budget.share - 0.01).abs() < 1e-9, "{budget:?}");
}

#[test]
fn a_phase_is_measured_by_itself() {
    let series = Script::at("100/s").good(500).bad(100).good(400).finished();
    let phases = Phases { during: 5_500 * MS, after: 8 * S, end: 10 * S };
    let of = |phase| availability(&series, Some(phase), &phases, SecondsRule::default()).unwrap();
    assert_eq!(of(Phase::Before).longest_failure.unwrap().length_us, 500_000);
    let during = of(Phase::During);
    assert_eq!(during.longest_failure.unwrap().most_us, None);
    assert_eq!([during.seconds.measured, during.seconds.errored, during.seconds.severe], [3, 1, 1]);
    assert_eq!(of(Phase::After).seconds.errored, 0);
    let nothing = Phases { during: 10 * S, after: 10 * S, end: 10 * S };
    assert_eq!(availability(&series, Some(Phase::During), &nothing, SecondsRule::default()), None);
}

proptest! {
    #[test]
    fn the_curve_agrees_with_looking_at_every_window(
        outcomes in prop::collection::vec(prop::bool::weighted(0.2), 40..400),
        unseen in prop::collection::vec(0usize..400, 0..2),
    ) {
        let mut script = Script::at("20/s");
        for (i, &bad) in outcomes.iter().enumerate() {
            script = if unseen.contains(&i) { script.unknown(1) } else if bad { script.bad(1) } else { script.good(1) };
        }
        let series = script.finished();
        let end = series.settled_until();
        for worst in of(&script).worst {
            let length = u64::try_from(worst.window_us).unwrap() * 1_000;
            let starts = series.rows().iter().map(|row| row.planned).filter(|from| from + length < end);
            let least = starts.chain([end - length]).filter_map(|from| {
                let counts = Counts::of(series.within(from..from + length));
                bad_share(counts).map(|share| 1.0 - share)
            });
            prop_assert!((worst.success - least.fold(1.0, f64::min)).abs() < 1e-12);
        }
    }

    #[test]
    fn seconds_contain_each_other(bads in prop::collection::vec(0usize..=10, 1..60), enter in 1u32..6, leave in 1u32..6) {
        let script = bads.iter().fold(Script::at("10/s"), |script, &bad| script.bad(bad).good(10 - bad));
        let series = script.finished();
        let end = series.settled_until();
        let rule = SecondsRule { severe: 0.3, enter, leave };
        let whole = Phases { during: end, after: end, end };
        let seconds = availability(&series, None, &whole, rule).unwrap().seconds;
        prop_assert!(seconds.severe <= seconds.errored && seconds.errored <= seconds.measured);
        prop_assert!(seconds.unavailable <= seconds.measured);
        // By the definition, second by second.
        let severe: Vec<bool> = bads.iter().map(|&bad| bad >= 3).collect();
        let mut inside = false;
        let mut expected = 0;
        for at in 0..severe.len() {
            let turns = |n: u32, to: bool| {
                let run = severe.get(at..at + usize::try_from(n).unwrap());
                run.is_some_and(|run| run.iter().all(|&s| s == to))
            };
            inside = if inside { !turns(leave, false) } else { turns(enter, true) };
            expected += u64::from(inside);
        }
        prop_assert_eq!(seconds.unavailable, expected);
    }
}
