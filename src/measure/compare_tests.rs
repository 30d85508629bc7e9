use rand::RngExt as _;

use super::*;
use crate::measure::testing::{MS, S, Script, bad, latency, normal, simulated};
use crate::probe::Outcome;

/// Of simulated runs without a shift: the share of intervals that hold 0, and of runs that have one, for a quantile.
struct Found {
    covered: f64,
    printed: f64,
}

/// 1,000 simulated runs: phases of a minute at 50/s, drawn 200 times.
fn simulate(seed: u64, burst: f64) -> impl Fn(&str) -> Found {
    const SETS: u32 = 1_000;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut shifts = Vec::new();
    for _ in 0..SETS {
        let old = latencies(&mut rng, 60, 50, burst);
        shifts.extend(quantiles(&old, &latencies(&mut rng, 60, 50, burst), 200));
    }
    move |name: &str| {
        let printed: Vec<(f64, f64)> = shifts.iter().filter(|s| s.measure == name).filter_map(|s| s.interval).collect();
        let covered = printed.iter().filter(|(low, high)| *low <= 0.0 && 0.0 <= *high).count();
        let share = |part: usize, of: u32| float(part as u64) / f64::from(of);
        Found { covered: share(covered, u32::try_from(printed.len()).unwrap()), printed: share(printed.len(), SETS) }
    }
}

/// Log-normal latencies around 5 ms. With `burst`, what lies within the same second, cut anywhere, shares a part of its fate.
fn latencies(rng: &mut ChaCha8Rng, secs: u64, rate: u64, burst: f64) -> Part {
    let rows = simulated(rng, (rate, secs), normal, |rng, shared| (Outcome::Good, latency(rng, burst, shared)));
    Part::of(&rows, &(0..secs * S))
}

#[test]
fn shift_intervals_cover_independent_samples() {
    let found = simulate(1, 0.0);
    for name in ["p50", "p90", "p99"] {
        let Found { covered, printed } = found(name);
        assert!((0.94..=0.98).contains(&covered) && printed > 0.99, "{name}: {covered} of {printed}");
    }
}

#[test]
fn shift_intervals_cover_what_is_slow_together_for_a_second() {
    let found = simulate(1, 0.3);
    for name in ["p50", "p90"] {
        let Found { covered, printed } = found(name);
        assert!(covered >= 0.93 && printed > 0.99, "{name}: {covered} of {printed}");
    }
    // Where few seconds hold the slowest requests there is no interval; the ones that are printed are right.
    let Found { covered, printed } = found("p99");
    assert!(printed < 0.9 && covered >= 0.93 && (1.0 - covered) * printed <= 0.05, "{covered} of {printed}");
}

#[test]
fn differences_of_success_cover_failures_that_come_together() {
    // A minute at 50/s before and after; every request of a second, cut anywhere, fails with a chance of its own.
    let mut rng = ChaCha8Rng::seed_from_u64(53);
    let mut phase = |failing: f64, together: bool| {
        // One second in five has all the failures.
        let chance = |rng: &mut ChaCha8Rng| match rng.random::<f64>() < 0.2 {
            _ if !together => failing,
            true => 5.0 * failing,
            false => 0.0,
        };
        simulated(&mut rng, (50, 60), chance, |rng, chance| {
            (if rng.random::<f64>() < chance { bad(0) } else { Outcome::Good }, 0)
        })
    };
    for (together, band) in [(false, 0.94..=0.965), (true, 0.93..=0.985)] {
        let mut covered = 0;
        for _ in 0..1_000 {
            let (old, new) = (phase(0.02, together), phase(0.05, together));
            let (low, high) = success(&old, &new).unwrap().interval.unwrap();
            covered += u32::from(low <= -0.03 && -0.03 <= high);
        }
        let covered = f64::from(covered) / 1_000.0;
        assert!(band.contains(&covered), "together {together}: {covered}");
    }
}

/// A run with this *before* and *after*, and nothing between.
fn compared(before: Script, after: impl Fn(Script) -> Script) -> Option<Comparison> {
    let during = before.samples().len() as u64 * 10 * MS;
    let series = after(before).finished();
    compare(&series, &Phases { during, after: during, end: series.settled_until() })
}

/// Good requests of 5 to 7 ms, whose latencies no second holds alone.
fn calm(script: Script, n: usize, more: Nanos) -> Script {
    (0..n).fold(script, |script, i| script.each(1, Outcome::Good, 5 * MS + (i as u64 * 37 % 100) * MS / 50 + more))
}

fn words(comparison: &Comparison) -> Vec<(&str, Standing)> {
    comparison.measures.iter().map(|shift| (shift.measure.as_str(), shift.standing)).collect()
}

#[test]
fn the_three_words() {
    let same = compared(calm(Script::at("100/s"), 4_500, 0), |s| calm(s, 4_500, 0)).unwrap();
    assert!(words(&same).iter().all(|(_, standing)| *standing == Standing::NotWorse), "{same:?}");
    assert_eq!(same.standing, Standing::NotWorse);
    assert_eq!(words(&same).iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["success", "p50", "p90", "p99"]);
    let slower = compared(calm(Script::at("100/s"), 4_500, 0), |s| calm(s, 4_500, 3 * MS)).unwrap();
    assert!(words(&slower)[1..].iter().all(|(_, standing)| *standing == Standing::Worse), "{slower:?}");
    assert_eq!((slower.measures[0].standing, slower.standing), (Standing::NotWorse, Standing::Worse));
    // Half a millisecond is within the margin, and is told.
    let little = compared(calm(Script::at("100/s"), 4_500, 0), |s| calm(s, 4_500, MS / 2)).unwrap();
    assert_eq!(little.standing, Standing::NotWorse);
    let (low, high) = little.measures[1].interval.unwrap();
    assert!((0.000_4..=0.000_5).contains(&low) && (0.000_5..0.000_6).contains(&high), "{low} {high}");
}

#[test]
fn failures_are_worse_and_few_samples_tell_nothing() {
    let failing = compared(calm(Script::at("100/s"), 4_500, 0), |s| (0..100).fold(s, |s, _| calm(s, 57, 0).bad(3)));
    assert_eq!(words(&failing.unwrap())[0], ("success", Standing::Worse));
    let few = compared(calm(Script::at("100/s"), 300, 0), |s| calm(s, 300, 0)).unwrap();
    assert_eq!(
        words(&few),
        [("success", Standing::CantTell), ("p50", Standing::CantTell), ("p90", Standing::CantTell)]
    );
    assert_eq!((few.measures[1].interval, few.measures[1].reason.as_str()), (None, "it needs 10 s in each phase"));
    assert_eq!(compared(Script::at("100/s").unknown(100), |s| s.good(100)), None);
}

#[test]
fn a_few_slow_seconds_support_no_interval() {
    let slow = |script: Script| {
        let script = (0..3).fold(script, |s, _| calm(s, 1_900, 0).each(100, Outcome::Good, 80 * MS));
        calm(script, 0, 0)
    };
    let comparison = compared(slow(Script::at("100/s")), slow).unwrap();
    let p99 = comparison.measures.iter().find(|shift| shift.measure == "p99").unwrap();
    assert_eq!((p99.interval, p99.standing), (None, Standing::CantTell));
    assert_eq!(p99.reason, "too few seconds hold its slowest requests");
}

#[test]
fn the_same_samples_give_the_same_interval() {
    let once = || compared(calm(Script::at("100/s"), 3_000, 0), |s| calm(s, 3_000, MS)).unwrap();
    assert_eq!(once(), once());
}

#[test]
fn holm_stops_at_the_first_that_is_not_rejected() {
    assert_eq!(holm(&[0.02, 0.001, 0.009]), [true, true, true]);
    assert_eq!(holm(&[0.02, 0.001, 0.02]), [false, true, false]);
    assert_eq!(holm(&[0.2, 0.03]), [false, false]);
}
