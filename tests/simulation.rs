//! The runner under simulation: it dies within each of its calls, in fair weather and in foul, and recovery leaves the cluster as it was.
//!
//! Every case runs on a lab of its own, from one seed, on tokio's paused clock. What fails prints the case that shows it again:
//!
//! ```text
//! SQUALL_SEED=17 cargo test --test simulation seeds -- --nocapture
//! ```
//! `SQUALL_SEEDS` says how many seeds are tried, and `SQUALL_SIMULATION_PAGE` the page that the table of what they came to is written into
//! (`make simulate SEEDS=10000` says both).

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests: what fails in them fails the test")]

use std::collections::BTreeSet;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use squall::fault::CATALOGUE;
use squall::lab::{Death, Weather};
use squall::record::RunVerdict;

#[path = "simulation/case.rs"]
mod case;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/methods.rs"]
mod methods;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/scenario.rs"]
mod scenario;
#[path = "simulation/steps.rs"]
mod steps;
#[path = "simulation/table.rs"]
mod table;

use crate::case::{Case, Machine, folder, simulate};
use crate::methods::{METHODS, Method, experiment, numbered};
use crate::scenario::{Foul, Setting};

/// Seeds that are tried when nobody says how many.
const SEEDS: u64 = 128;
/// Of a method that makes hundreds of calls, the runner dies in one of so many of those that change nothing.
const OF_LONG: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds to try: the one that somebody names, or so many.
fn seeds(usual: u64) -> Range<u64> {
    match number("SQUALL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SQUALL_SEEDS").unwrap_or(usual),
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Does something for each number, on all cores. What it came to, in order.
fn each<T: Send>(numbers: Range<u64>, act: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let (next, done) = (AtomicU64::new(numbers.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return;
                    }
                    let came = act(number);
                    done.lock().unwrap().push((number, came));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, came)| came).collect()
}

/// Fails with all of these, where there are any.
fn none(failures: &[String]) {
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_fault_that_can_be_rehearsed_is_simulated() {
    let simulated: BTreeSet<&str> = METHODS.iter().flat_map(|method| method.faults).copied().collect();
    let rehearsable = CATALOGUE.iter().filter(|about| about.unrehearsable.is_empty()).map(|about| about.key);
    let missing: Vec<_> = rehearsable.filter(|key| !simulated.contains(key)).collect();
    assert!(missing.is_empty(), "these can be rehearsed, and no method here does them: {missing:?}");
}

#[test]
fn a_run_on_a_fair_day_passes_and_leaves_everything_as_it_was() {
    for Method { name, steps, .. } in METHODS {
        simulate(async {
            let case = Case::new(1).await;
            let (verdict, watched) = case.run(&experiment(steps).unwrap(), &Machine::fair()).await;
            assert_eq!(verdict, Some(RunVerdict::Passed), "{name}");
            steps::check(&watched.deeds()).unwrap();
            case.healed().await.unwrap();
            assert_eq!(case.recovered(case.reports.path()).await, Ok(0), "{name}");
        });
    }
}

/// A death in each call, before it arrived and after it was carried out, by turns recovered from this machine's files and from the cluster's
/// copy, and from both where the call is that of the copy: so also right after each record of the undo log, which is on this machine's disk
/// before it is copied.
#[test]
fn whichever_call_the_runner_dies_in_recovery_leaves_everything_as_it_was() {
    let (mut deaths, mut undone) = (0, 0);
    for Method { name, steps, long, .. } in METHODS {
        let experiment = experiment(steps).unwrap();
        let deeds = simulate(async { Case::new(1).await.run(&experiment, &Machine::fair()).await.1.deeds() });
        let mut cases = Vec::new();
        for (call, deed) in (1..).zip(&deeds) {
            // Of the long ones: by turns in each call that changes something, and in a few of the others.
            if long && !steps::changes(deed) && call % OF_LONG != 0 {
                continue;
            }
            if long {
                let number = cases.len();
                cases.push((call, number % 2 == 0, number % 4 < 2));
                continue;
            }
            let copies = deed.call.contains("/configmaps");
            for carried_out in [false, true] {
                let places = [false, true].into_iter().filter(|here| copies || *here == (call % 2 == 0));
                cases.extend(places.map(|here| (call, carried_out, here)));
            }
        }
        eprintln!("{name}: {} deaths in {} calls", cases.len(), deeds.len());
        let came = each(0..cases.len() as u64, |number| {
            let (call, carried_out, here) = cases[usize::try_from(number).unwrap()];
            let death = Some(Death { call, carried_out });
            let machine = Machine::in_weather(Weather { death, ..Weather::default() });
            let came = simulate(async {
                let case = Case::new(1).await;
                let (verdict, watched) = case.run(&experiment, &machine).await;
                assert_eq!(verdict, None, "{name}: the runner outlived call {call} of {}", deeds.len());
                steps::check(&watched.deeds())?;
                let elsewhere = folder();
                case.recovered(if here { case.reports.path() } else { elsewhere.path() }).await
            });
            let place = if here { "this machine's files" } else { "the cluster's copy" };
            came.map_err(|why| format!("{name}: dead in call {call} (carried out: {carried_out}), from {place}: {why}"))
        });
        let (runs, failures): (Vec<_>, Vec<_>) = came.into_iter().partition(Result::is_ok);
        none(&failures.into_iter().filter_map(Result::err).collect::<Vec<_>>());
        deaths += runs.len();
        undone += runs.into_iter().filter_map(Result::ok).sum::<usize>();
    }
    eprintln!("{deaths} deaths; {undone} of them left a log, which was followed");
    assert!(undone * 4 > deaths, "most deaths left nothing to follow: {undone} of {deaths}");
}

/// What only was announced is taken back by doing nothing.
#[test]
fn an_undo_with_nothing_injected_changes_nothing() {
    for Method { name, steps, .. } in METHODS {
        let experiment = experiment(steps).unwrap();
        let deeds = simulate(async { Case::new(1).await.run(&experiment, &Machine::fair()).await.1.deeds() });
        let announced = deeds.iter().position(|deed| String::from_utf8_lossy(&deed.body).contains("prepared"));
        let call = announced.unwrap() as u64 + 2;
        let machine =
            Machine::in_weather(Weather { death: Some(Death { call, carried_out: false }), ..Weather::default() });
        simulate(async {
            let case = Case::new(1).await;
            let (verdict, _) = case.run(&experiment, &machine).await;
            assert_eq!(verdict, None, "{name}");
            assert_eq!(case.recovered(case.reports.path()).await, Ok(1), "{name}");
        });
    }
}

/// Seeds that have shown a mistake of the runner's: a conflict that was taken for a note that is gone, and an older text of the undo log that
/// came after a newer one.
#[test]
fn what_once_went_wrong_goes_wrong_no_more() {
    let setting = Setting::new();
    for (seed, method, foul) in [(32, "scale", Foul::Slowness), (547, "kill all", Foul::Refusals)] {
        let outcome = setting.outcome_of(seed, numbered(method), foul);
        assert!(outcome.whole.is_ok(), "SQUALL_SEED={seed}: {:?}", outcome.whole);
    }
}

#[test]
fn whatever_the_weather_and_whoever_recovers_nothing_is_left_behind() {
    let setting = Setting::new();
    let began = tokio::time::Instant::now();
    let seeds = seeds(SEEDS);
    let outcomes = each(seeds.clone(), |seed| setting.outcome(seed));
    let tables = table::tables(&outcomes, began.elapsed(), threads());
    eprintln!("{tables}");
    let failed = seeds.zip(&outcomes).filter_map(|(seed, outcome)| {
        let why = outcome.whole.as_ref().err()?;
        Some(format!("SQUALL_SEED={seed} ({}, {}): {why}", METHODS[outcome.method].name, outcome.foul.name()))
    });
    none(&failed.collect::<Vec<_>>());
    if let Ok(path) = std::env::var("SQUALL_SIMULATION_PAGE") {
        let page = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, table::into_page(&page, &tables).unwrap()).unwrap();
    }
}
