//! Verdicts on synthetic runs: what each is, and why.

use std::time::Duration;

use super::*;
use crate::measure::testing::{MS, S, Script, at_most, bad, over, ratio};
use crate::probe::Outcome;
use crate::scalar::Comparison;

const PHASES: Phases = Phases { during: 40 * S, after: 80 * S, end: 120 * S };

fn one<'a>(tolerance: &'a Tolerance, when: &'a [Phase]) -> Hypothesis<'a> {
    Hypothesis { index: 3, probe: "web", tolerance, when }
}

/// 40 s before, a script during, 40 s after; 100 requests a second.
fn run(during: impl Fn(Script) -> Script) -> Series {
    let before = Script::at("100/s").good(4_000);
    let mut script = during(before);
    let left = 8_000 - script.samples().len();
    script = script.good(left);
    script.good(4_000).finished()
}

fn verdicts(tolerance: &Tolerance, series: Series) -> Vec<Judgement> {
    judge(&[one(tolerance, &[])], &[series], &PHASES, &[40 * S])
}

fn during(tolerance: &Tolerance, series: Series) -> Judgement {
    verdicts(tolerance, series)
        .into_iter()
        .find(|judgement| judgement.phase.is_none_or(|p| p == Phase::During))
        .unwrap()
}

#[test]
fn success_is_judged_per_phase_with_its_interval() {
    let tolerance = ratio(Comparison::AtLeast, 0.999);
    let found = verdicts(&tolerance, run(|script| script.bad(100).each(3, bad(503), MS)));
    assert_eq!(found.iter().map(|j| j.verdict).collect::<Vec<_>>(), [Verdict::Held, Verdict::Deviated, Verdict::Held]);
    assert_eq!((found[0].measured.as_str(), found[0].interval), ("100 %", Some((1.0 - 3.0 / 4_000.0, 1.0))));
    assert_eq!((found[1].measured.as_str(), found[1].samples, found[1].index), ("97.42 %", 4_000, 3));
    assert_eq!(
        found[1].reason,
        "success was 97.42 %, below 99.9 %: 103 of 4,000 failed (connect-refused 100, status-503 3)"
    );
    let (low, high) = found[1].interval.unwrap();
    // A hundred failures in a row are one sight of failing.
    assert!(low < 0.95 && 0.99 < high, "{low} {high}");
}

#[test]
fn a_quantile_that_falls_on_a_failure_deviates() {
    let p99 = at_most(Measure::Quantile(0.99), Duration::from_millis(100));
    let slow = during(&p99, run(|script| script.each(50, Outcome::Good, 812 * MS)));
    assert_eq!((slow.verdict, slow.value), (Verdict::Deviated, Some(0.812)));
    assert_eq!(slow.reason, "p99 was 812 ms, above 100 ms");
    let failed = during(&p99, run(|script| script.bad(50)));
    assert_eq!((failed.verdict, failed.value, failed.measured.as_str()), (Verdict::Deviated, None, "above 500 ms"));
    assert_eq!(failed.reason, "p99 falls on a failed request: 50 of 4,000 failed (connect-refused 50)");
    let held = during(&p99, run(|script| script.bad(40)));
    assert_eq!((held.verdict, held.value, held.interval), (Verdict::Held, Some(0.001), None));
}

#[test]
fn a_hypothesis_without_enough_samples_is_unproven_unless_it_surely_deviates() {
    let tolerance = ratio(Comparison::AtLeast, 0.999);
    let few = |script: Script| {
        let phases = Phases { during: 0, after: 100 * S, end: 100 * S };
        judge(&[one(&tolerance, &[Phase::During])], &[script.finished()], &phases, &[]).remove(0)
    };
    let good = few(Script::at("100/s").good(2_999));
    assert_eq!(good.verdict, Verdict::Unproven);
    assert!(good.reason.starts_with("2,999 requests in the phase can't show"), "{}", good.reason);
    assert!(good.reason.ends_with("it needs 3,000"), "{}", good.reason);
    assert_eq!(few(Script::at("100/s").good(3_000)).verdict, Verdict::Held);
    // 1 of 500 may happen to a service that fails 1 in 1,000; 50 of 500 do not.
    assert_eq!(few(Script::at("100/s").good(499).bad(1)).verdict, Verdict::Unproven);
    assert_eq!(few(Script::at("100/s").good(450).bad(50)).verdict, Verdict::Deviated);
}

#[test]
fn low_coverage_can_show_a_deviation_but_never_that_it_held() {
    let tolerance = ratio(Comparison::AtLeast, 0.99);
    let blind = during(&tolerance, run(|script| script.unknown(41)));
    assert_eq!(blind.verdict, Verdict::Unproven);
    assert_eq!(blind.reason, "41 of 4,000 requests could not be measured (41 unknown): coverage is under 99 %");
    assert_eq!(during(&tolerance, run(|script| script.unknown(40))).verdict, Verdict::Held);
    // 39 of 3,000 failed: 98.7 %. Had the unseen thousand been good, 99.03 %: it may have held.
    assert_eq!(during(&tolerance, run(|script| script.unknown(1_000).bad(39))).verdict, Verdict::Unproven);
    assert_eq!(during(&tolerance, run(|script| script.unknown(1_000).bad(41))).verdict, Verdict::Deviated);
}

#[test]
fn nothing_measured_is_unproven() {
    let tolerance = ratio(Comparison::AtLeast, 0.99);
    let never = Phases { during: 120 * S, after: 120 * S, end: 120 * S };
    let found = judge(&[one(&tolerance, &[])], &[run(|script| script)], &never, &[]);
    assert_eq!(found.iter().map(|j| j.verdict).collect::<Vec<_>>()[1..], [Verdict::Unproven; 2]);
    assert_eq!(found[1].reason, "nothing was measured in phase `during`");
    let stranger = Hypothesis { probe: "api", ..one(&tolerance, &[]) };
    let found = judge(&[stranger], &[run(|script| script)], &PHASES, &[]);
    assert_eq!(
        (found.len(), found[0].verdict, found[0].reason.as_str()),
        (1, Verdict::Unproven, "probe `api` sent nothing")
    );
}

#[test]
fn the_longest_outage_decides_once_per_run() {
    let tolerance = at_most(Measure::Outage, Duration::from_secs(2));
    let found = verdicts(&tolerance, run(|script| script.bad(100).good(500).bad(250)));
    assert_eq!(found.len(), 1);
    let outage = &found[0];
    assert_eq!((outage.verdict, outage.phase, outage.value), (Verdict::Deviated, None, Some(2.5)));
    assert_eq!(outage.interval, Some((2.49, 2.51)));
    assert_eq!(
        outage.reason,
        "the longest outage lasted 2.50 s, above 2 s, from 46.0 s into the run: 250 of 250 failed (connect-refused 250)"
    );
    assert_eq!(during(&tolerance, run(|script| script.bad(200))).verdict, Verdict::Held);
    assert_eq!(during(&tolerance, run(|script| script)).measured, "none");
    let before_only = judge(&[one(&tolerance, &[Phase::Before])], &[run(|script| script.bad(900))], &PHASES, &[]);
    assert_eq!((before_only[0].verdict, before_only[0].value), (Verdict::Held, Some(0.0)));
}

#[test]
fn an_outage_in_the_dark_is_unproven_and_one_that_was_seen_is_not() {
    let tolerance = at_most(Measure::Outage, Duration::from_secs(2));
    // 1 s seen, then 1.5 s in the dark.
    let dark = during(&tolerance, run(|script| script.bad(100).unknown(150)));
    assert_eq!((dark.verdict, dark.value), (Verdict::Unproven, Some(1.0)));
    assert_eq!(dark.reason, "1.00 s was seen, but it may have lasted 2.50 s: the probe did not see the rest");
    let seen = during(&tolerance, run(|script| script.bad(201).unknown(1_500)));
    assert_eq!((seen.verdict, seen.value), (Verdict::Deviated, Some(2.01)));
    // Nothing failed, but 2.1 s were not seen: an outage could hide there.
    assert_eq!(during(&tolerance, run(|script| script.unknown(210))).verdict, Verdict::Unproven);
    assert_eq!(during(&tolerance, run(|script| script.unknown(60))).verdict, Verdict::Held);
}

#[test]
fn recovery_is_from_the_injection_to_the_first_window_that_meets_the_rest() {
    let (success, recovery) = (ratio(Comparison::AtLeast, 0.999), at_most(Measure::Recovery, Duration::from_secs(30)));
    let hypotheses = [one(&success, &[Phase::Before]), Hypothesis { index: 4, ..one(&recovery, &[]) }];
    let judged = |series: Series, injections: &[Nanos]| {
        judge(&hypotheses, &[series], &PHASES, injections).into_iter().find(|j| j.index == 4).unwrap()
    };
    let fast = judged(run(|script| script.good(100).bad(700)), &[40 * S]);
    assert_eq!((fast.verdict, fast.value, fast.measured.as_str()), (Verdict::Held, Some(8.0), "8.00 s"));
    assert_eq!((fast.phase, judged(run(|s| s), &[40 * S]).value), (None, Some(0.0)));
    assert_eq!(judged(run(|s| s), &[]).verdict, Verdict::Unproven);
    let slow = judged(run(|script| script.bad(3_500)), &[40 * S]);
    assert_eq!(slow.reason, "recovered 35.0 s after the injection at 40.0 s, above 30 s");
    // Two injections: the slower one decides.
    let two = run(|script| script.bad(100).good(1_900).bad(600));
    assert_eq!(judged(two, &[60 * S, 40 * S]).value, Some(6.0));
    let never = Script::at("100/s").good(4_000).bad(8_000).finished();
    let never = judged(never, &[40 * S]);
    assert_eq!((never.verdict, never.value, never.measured.as_str()), (Verdict::Deviated, None, "never"));
    assert!(never.reason.starts_with("not recovered from the injection at 40.0 s"), "{}", never.reason);
}

#[test]
fn a_window_judges_the_worst_of_it() {
    let tolerance = over(ratio(Comparison::AtLeast, 0.5), Duration::from_secs(10));
    let found = during(&tolerance, run(|script| script.good(1_000).bad(600)));
    assert_eq!((found.verdict, found.value, found.samples), (Verdict::Deviated, Some(0.4), 1_000));
    assert_eq!(
        found.reason,
        "success was 40.00 %, below 50 % in the worst 10 s, from 46.0 s into the run: 600 of 1,000 failed (connect-refused 600)"
    );
    let long = over(ratio(Comparison::AtLeast, 0.5), Duration::from_mins(1));
    assert_eq!(
        during(&long, run(|script| script)).reason,
        "phase `during` lasted 40.0 s, shorter than the window of 60 s"
    );
}

#[test]
fn downtime_adds_up() {
    let tolerance = at_most(Measure::Downtime, Duration::from_secs(1));
    let found = during(&tolerance, run(|script| script.bad(60).good(900).bad(60)));
    assert_eq!(found.reason, "downtime was 1.20 s, above 1 s: 120 of 4,000 failed (connect-refused 120)");
    assert_eq!(during(&tolerance, run(|script| script.bad(100))).verdict, Verdict::Held);
}

#[test]
fn a_phase_is_judged_by_itself_when_it_is_over() {
    let (success, outage) = (ratio(Comparison::AtLeast, 0.99), at_most(Measure::Outage, Duration::from_secs(1)));
    let recovery = at_most(Measure::Recovery, Duration::from_secs(1));
    let hypotheses = [one(&success, &[]), one(&outage, &[]), one(&recovery, &[]), one(&success, &[Phase::After])];
    let series = Script::at("100/s").good(3_000).bad(200).good(800).series();
    let found = judge_phase(&hypotheses, &[series], &PHASES, Phase::Before);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|j| j.verdict == Verdict::Deviated && j.phase == Some(Phase::Before)));
}

#[test]
fn streams_are_judged_apart() {
    let tolerance = ratio(Comparison::AtLeast, 0.999);
    let fresh = run(|script| script.bad(100));
    let mut kept = Series::new("web", StreamKind::KeptAlive, fresh.rate(), fresh.timeout(), 0);
    kept.extend(Script::at("100/s").good(12_000).samples());
    let found = judge(&[one(&tolerance, &[Phase::During])], &[fresh, kept], &PHASES, &[]);
    let streams: Vec<_> = found.iter().map(|j| (j.stream.unwrap(), j.verdict)).collect();
    assert_eq!(streams, [(StreamKind::Fresh, Verdict::Deviated), (StreamKind::KeptAlive, Verdict::Held)]);
}

/// A probe per endpoint at 10/s, from the scripts of its endpoints: all together first, then each.
fn per_endpoint(scripts: &[Script]) -> Vec<Series> {
    let shape = Script::at("10/s").series();
    let new = |stream| Series::new("web", stream, shape.rate(), shape.timeout(), 0);
    let (mut pooled, mut all) = (new(StreamKind::PerEndpoint), Vec::new());
    let mut endpoints = Vec::new();
    for (script, last) in scripts.iter().zip(1..) {
        let address = std::net::SocketAddr::from(([10, 0, 0, last], 8080));
        let mut series = new(StreamKind::Endpoint { address, life: 1 });
        series.extend(script.samples());
        series.finish(script.samples().len() as u64);
        all.extend(script.samples());
        endpoints.push(series);
    }
    all.sort_by_key(|sample| sample.planned);
    pooled.settle_until(all.last().unwrap().planned + shape.slot());
    pooled.extend(all.into_iter().zip(0..).map(|(sample, slot)| crate::probe::Sample { slot, ..sample }));
    pooled.finish(pooled.rows().len() as u64);
    std::iter::once(pooled).chain(endpoints).collect()
}

fn judged(tolerance: &Tolerance, series: &[Series]) -> Judgement {
    let hypotheses = [Hypothesis { index: 0, probe: "web", tolerance, when: &[Phase::After] }];
    let phases = Phases { during: 0, after: 0, end: 60 * S };
    let mut judgements = judge(&hypotheses, series, &phases, &[]);
    assert_eq!(judgements.len(), 1, "{judgements:?}");
    judgements.remove(0)
}

#[test]
fn endpoints_are_judged_together_but_an_outage_is_the_worst_ones() {
    let endpoint = |last| StreamKind::Endpoint { address: ([10, 0, 0, last], 8080).into(), life: 1 };
    let series = per_endpoint(&[
        Script::at("10/s").good(600),
        Script::at("10/s").good(100).bad(10).good(90),
        Script::at("10/s").good(100).bad(30),
    ]);
    let success = judged(&ratio(Comparison::AtLeast, 0.9), &series);
    assert_eq!((success.stream, success.verdict), (Some(StreamKind::PerEndpoint), Verdict::Held));
    assert_eq!((success.samples, success.value), (930, Some(890.0 / 930.0)));
    // The share of bad requests, times 60 s: a client that picks at random would have lost so much.
    let downtime = judged(&at_most(Measure::Downtime, Duration::from_secs(3)), &series);
    assert!((downtime.value.unwrap() - 60.0 * 40.0 / 930.0).abs() < 1e-9, "{downtime:?}");
    // The last one failed until it was gone.
    let outage = judged(&at_most(Measure::Outage, Duration::from_secs(2)), &series);
    assert_eq!((outage.stream, outage.verdict, outage.value), (Some(endpoint(3)), Verdict::Deviated, Some(3.0)));
    assert!(outage.reason.starts_with("at 10.0.0.3:8080: the longest outage lasted"), "{}", outage.reason);
    let none =
        judged(&at_most(Measure::Outage, Duration::from_secs(2)), &per_endpoint(&[Script::at("10/s").good(600)]));
    assert_eq!((none.stream, none.verdict), (Some(StreamKind::PerEndpoint), Verdict::Held));
}

#[test]
fn time_without_an_endpoint_is_not_green() {
    let gap = per_endpoint(&[Script::at("10/s").good(300).unknown(50).good(250)]);
    for tolerance in [ratio(Comparison::AtLeast, 0.9), at_most(Measure::Outage, Duration::from_secs(2))] {
        assert_eq!(judged(&tolerance, &gap[..1]).verdict, Verdict::Unproven, "{}", tolerance.text);
    }
    let never = Series::new("web", StreamKind::PerEndpoint, gap[0].rate(), gap[0].timeout(), 0);
    for tolerance in [ratio(Comparison::AtLeast, 0.9), at_most(Measure::Outage, Duration::from_secs(2))] {
        assert_eq!(judged(&tolerance, std::slice::from_ref(&never)).verdict, Verdict::Unproven, "{}", tolerance.text);
    }
}
