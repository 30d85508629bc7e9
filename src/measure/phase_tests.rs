use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::measure::testing::{MS, S, Script, at_most, bad, latency, normal, over, ratio, simulated};
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
    let spread = |n: u64| {
        (0..n).fold(Script::at("100/s"), |script, i| script.each(1, Outcome::Good, (1 + i * 387 % 1_000) * MS))
    };
    let reading = whole(&p90, &spread(1_000));
    assert_eq!(reading.value, Some(0.9));
    let (low, high) = reading.interval.unwrap();
    assert!(0.87 < low && low < 0.9 && 0.9 < high && high < 0.93, "{low} {high}");
    assert_eq!(whole(&p90, &spread(1_000).bad(100)).interval, None);
    assert_eq!(whole(&p90, &spread(899)).interval, None, "nine seconds don't tell what comes together");
    let ramp = (1..=1_000).fold(Script::at("100/s"), |script, i| script.each(1, Outcome::Good, i * MS));
    assert_eq!(whole(&p90, &ramp).interval, None, "all slow ones in one second are one sight of slowness");
}

#[test]
fn failures_that_come_together_widen_the_interval() {
    let success = ratio(Comparison::AtLeast, 0.9);
    let apart = (0..60).fold(Script::at("100/s"), |script, _| script.good(48).bad(1).good(49).bad(2));
    let together = Script::at("100/s").good(3_000).bad(180).good(2_820);
    let (apart, together) = (whole(&success, &apart), whole(&success, &together));
    assert_eq!(apart.value, together.value);
    let width = |reading: &Reading| reading.interval.map(|(low, high)| high - low).unwrap();
    assert!(width(&together) > 5.0 * width(&apart), "{together:?} {apart:?}");
    // Without a failure nothing comes together; with one, nine seconds are too few to see it.
    assert_eq!(whole(&success, &Script::at("100/s").good(300)).interval, Some((0.99, 1.0)));
    assert_eq!(whole(&success, &Script::at("100/s").good(898).bad(1)).interval, None);
}

/// Share of 4,000 simulated phases whose interval holds the truth, and of phases that have one.
fn coverage(
    seed: u64,
    tolerance: &Tolerance,
    truth: f64,
    mut rows: impl FnMut(&mut ChaCha8Rng) -> Vec<Row>,
) -> (f64, f64) {
    const SETS: u32 = 4_000;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut held, mut printed) = (0, 0);
    for _ in 0..SETS {
        let rows = rows(&mut rng);
        let end = rows.last().map_or(0, |row| row.planned + 1);
        let interval = read(tolerance, pace(), &rows, &(0..end)).interval;
        printed += u32::from(interval.is_some());
        held += u32::from(interval.is_some_and(|(low, high)| low <= truth && truth <= high));
    }
    (f64::from(held) / f64::from(printed), f64::from(printed) / f64::from(SETS))
}

#[test]
fn intervals_of_success_cover_the_truth_however_failures_come() {
    let success = ratio(Comparison::AtLeast, 0.9);
    for (seed, place, burst, band) in [
        (1, (50, 30), 0.0, 0.94..=0.96),
        (2, (50, 60), 0.0, 0.94..=0.96),
        (3, (20, 300), 0.0, 0.94..=0.96),
        (4, (50, 60), 0.05, 0.93..=0.96),
        (5, (20, 300), 0.2, 0.93..=0.96),
    ] {
        let (covered, printed) = coverage(seed, &success, 0.9, |rng| {
            // With this chance all of a second's requests meet the same fate.
            let shared = |rng: &mut ChaCha8Rng| (rng.random::<f64>() < burst, rng.random::<f64>() < 0.9);
            simulated(rng, place, shared, |rng, (together, fate)| {
                let good = if together { fate } else { rng.random::<f64>() < 0.9 };
                (if good { Outcome::Good } else { bad(0) }, MS)
            })
        });
        assert!(band.contains(&covered) && printed > 0.99, "{place:?} {burst}: {covered} of {printed}");
    }
}

#[test]
fn intervals_of_quantiles_cover_the_truth_however_slowness_comes() {
    // The quantiles of a log-normal latency around 5 ms: 0.4 deviations of the logarithm.
    for (seed, q, deviate, burst, band) in [
        (6, 0.5, 0.0, 0.0, 0.94..=0.965),
        (7, 0.9, 1.281_552, 0.0, 0.94..=0.965),
        (8, 0.99, 2.326_348, 0.0, 0.94..=0.975),
        (9, 0.5, 0.0, 0.3, 0.93..=0.96),
        (10, 0.9, 1.281_552, 0.3, 0.93..=0.96),
    ] {
        let quantile = at_most(Measure::Quantile(q), Duration::ZERO);
        let truth = 0.005 * (0.4_f64 * deviate).exp();
        let (covered, printed) = coverage(seed, &quantile, truth, |rng| {
            simulated(rng, (50, 60), normal, |rng, shared| (Outcome::Good, latency(rng, burst, shared)))
        });
        assert!(band.contains(&covered) && printed > 0.98, "{q} {burst}: {covered} of {printed}");
    }
}

#[test]
fn downtime_is_the_bad_share_of_the_pace() {
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
