//! What is as predicted, what is not, and what that says.

use super::*;
use crate::record::{Event, What};
use crate::report::synthetic;

fn measured(quantity: Quantity, of: &str, value: Option<f64>) -> Measured {
    Measured { quantity, of: of.to_owned(), value }
}

fn rehearsal(measures: &[Measured], spans: &[Span]) -> Outlook {
    Outlook {
        run: "20261121-010000-web-0001".to_owned(),
        seed: 1,
        lab: "lab --nodes 3 --zones 3".to_owned(),
        verdict: Some(RunVerdict::Deviated),
        measures: measures.to_vec(),
        spans: spans.to_vec(),
    }
}

/// The pod-kill run beside these rehearsals.
fn held_against(rehearsals: &[Outlook]) -> Beside {
    let predicted = Predicted { rehearsals: rehearsals.to_vec(), notes: Vec::new() };
    Report::from_events(&with(synthetic::pod_kill(), predicted)).beside.unwrap()
}

fn with(mut events: Vec<Event>, predicted: Predicted) -> Vec<Event> {
    let first = events[0].clone();
    events.insert(1, Event { what: What::Predicted(predicted), ..first });
    events
}

fn row(beside: &Beside, quantity: Quantity, of: &str) -> BesideMeasure {
    beside.measures.iter().find(|m| m.quantity == quantity && m.of == of).unwrap().clone()
}

#[test]
fn a_value_in_the_range_or_a_second_beyond_it_is_as_predicted() {
    // The run's outage of the fresh stream is 1.2 s.
    let outage = |lengths: &[f64]| {
        let all: Vec<_> =
            lengths.iter().map(|s| rehearsal(&[measured(Quantity::Outage, "web fresh", Some(*s))], &[])).collect();
        row(&held_against(&all), Quantity::Outage, "web fresh")
    };
    for lengths in [&[1.2][..], &[0.3], &[2.1], &[0.0, 4.0], &[0.25, 0.1]] {
        assert_eq!(outage(lengths).fit, Fit::Within, "{lengths:?}");
    }
    let none = outage(&[0.1, 0.0]);
    assert_eq!((none.fit, words::fit(&none).as_str()), (Fit::Off, "1.10 s more"));
    let far = outage(&[30.0]);
    assert_eq!((words::fit(&far).as_str(), words::predicted(&far).as_str()), ("28.8 s less", "30.0 s"));
    assert_eq!(words::predicted(&outage(&[3.0, 1.0, 2.0])), "2.00 s (1.00 s … 3.00 s)");
}

#[test]
fn a_share_is_held_to_what_a_second_of_outage_is_worth() {
    // The run's blast radius is 256 of 24,000, and 60 s of it come after the injection.
    let radius = |share: f64| {
        row(
            &held_against(&[rehearsal(&[measured(Quantity::BlastRadius, "kill-one", Some(share))], &[])]),
            Quantity::BlastRadius,
            "kill-one",
        )
    };
    assert_eq!(radius(0.0).fit, Fit::Within);
    assert_eq!(radius(0.03).fit, Fit::Off);
    assert_eq!(words::fit(&radius(0.03)), "1.93 pp less");
}

#[test]
fn what_did_not_happen_is_told_apart_from_what_was_not_told() {
    let to_heal = |values: &[Option<f64>]| {
        let all: Vec<_> =
            values.iter().map(|v| rehearsal(&[measured(Quantity::ToHeal, "kill-one", *v)], &[])).collect();
        row(&held_against(&all), Quantity::ToHeal, "kill-one")
    };
    assert_eq!(words::fit(&to_heal(&[None])), "was not predicted");
    let some = to_heal(&[None, Some(6.3)]);
    assert_eq!((some.fit, words::predicted(&some).as_str()), (Fit::Within, "6.30 s, in 1 of 2"));
    let beside = held_against(&[rehearsal(&[measured(Quantity::Refusals, "drain", Some(1.0))], &[])]);
    assert_eq!(row(&beside, Quantity::Refusals, "drain").fit, Fit::Open, "the run has no such step");
    assert_eq!(row(&beside, Quantity::Outage, "web fresh").fit, Fit::Open, "nobody predicted it");
    assert_eq!(beside.score(), (1, 1), "the verdict alone");
}

#[test]
fn refusals_are_counted_and_not_rounded() {
    let refusals = |count: f64| {
        row(
            &held_against(&[rehearsal(&[measured(Quantity::Refusals, "kill-one", Some(count))], &[])]),
            Quantity::Refusals,
            "kill-one",
        )
    };
    assert_eq!(refusals(0.0).fit, Fit::Within);
    assert_eq!(words::fit(&refusals(1.0)), "1 less");
}

#[test]
fn an_assumption_that_was_wrong_says_what_tells_the_lab_better() {
    let span = |what, median_us| Span {
        what,
        of: "shop/web-7c9f-abcde".to_owned(),
        seen: 1,
        least_us: median_us,
        median_us,
        most_us: median_us,
    };
    let beside = |median_us| held_against(&[rehearsal(&[], &[span(Assumption::Ending, median_us)])]);
    // The killed pod was gone 2.284 s after it began to end.
    assert_eq!(beside(1_300_000).wrong().count(), 0);
    let wrong = beside(200_000);
    let told: Vec<&str> = wrong.wrong().map(|row| row.told.as_str()).collect();
    assert_eq!(
        told,
        [
            "a pod of `shop/web-7c9f-abcde` took 2.28 s from its deletion until it was gone, and 200 ms in rehearsal: raise \
          `lab.squall.dev/stops-in`, or `serves-on` of one that serves on, by 2100ms, within its grace period"
        ]
    );
}

#[test]
fn a_run_that_did_nothing_is_held_against_nothing() {
    let predicted = Predicted { rehearsals: vec![rehearsal(&[], &[])], notes: Vec::new() };
    assert!(Report::from_events(&with(synthetic::refused(), predicted.clone())).beside.is_none());
    assert!(Report::from_events(&with(synthetic::killed(), predicted)).beside.is_none());
    assert!(Report::from_events(&synthetic::pod_kill()).beside.is_none());
}

#[test]
fn a_run_is_as_its_own_outlook_predicts() {
    let report = Report::from_events(&synthetic::pod_kill());
    let beside = held_against(&[outlook(&report)]);
    assert!(beside.measures.iter().all(|measure| measure.fit == Fit::Within), "{:?}", beside.measures);
    assert!(beside.measures.len() > 10 && !beside.assumptions.is_empty());
    assert_eq!((beside.verdict, beside.wrong().count()), (Fit::Within, 0));
}
