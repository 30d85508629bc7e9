//! What the folds make of whole runs.

use super::{Report, junit, synthetic};
use crate::record::{RunVerdict, Verdict};

fn report(events: &[crate::record::Event]) -> Report {
    Report::from_events(events)
}

#[test]
fn json_of_a_deviated_run() {
    let mut report = report(&synthetic::pod_kill());
    for summary in &mut report.summaries {
        // The distribution has hundreds of buckets; that it is there is enough here.
        assert!(summary.histogram.len() > 10);
        summary.histogram.truncate(1);
    }
    report.summaries.truncate(2);
    insta::assert_snapshot!(report.json().unwrap());
}

#[test]
fn a_report_reads_back_as_written() {
    let report = report(&synthetic::pod_kill());
    let again: Report = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(again, report);
}

#[test]
fn a_report_of_an_older_version_still_reads() {
    let mut json: serde_json::Value = serde_json::from_str(&report(&synthetic::pod_kill()).json().unwrap()).unwrap();
    for newer in ["availability", "comparisons"] {
        assert!(json.as_object_mut().unwrap().remove(newer).is_some(), "{newer}");
    }
    let report: Report = serde_json::from_value(json).unwrap();
    assert!(report.availability.is_empty() && report.comparisons.is_empty() && !report.summaries.is_empty());
}

#[test]
fn a_run_that_never_finished_has_no_verdict_and_names_the_command() {
    let report = report(&synthetic::killed());
    assert_eq!((report.verdict, report.exit_code), (None, None));
    assert_eq!(report.reason, "the run ended without finishing");
    assert_eq!(
        report.next[0].command.as_deref(),
        Some("squall recover 20261121-020000-web-7k2m --context kind-squall")
    );
    assert!(report.hypotheses.iter().all(|h| h.verdict == Verdict::Unproven));
    let during = report.phases[1];
    assert_eq!(during.from, 20_000_000);
    assert!(during.to > during.from && during.to < 23_000_000);
}

#[test]
fn no_events_at_all_is_a_run_without_a_verdict() {
    let report = report(&[]);
    assert_eq!(report.verdict, None);
    assert!(report.phases.is_empty() && report.hypotheses.is_empty());
}

#[test]
fn a_refused_run_has_its_hypotheses_and_steps_all_the_same() {
    let report = report(&synthetic::refused());
    assert_eq!(report.verdict, Some(RunVerdict::Refused));
    assert_eq!(report.hypotheses.len(), 4);
    assert_eq!(report.steps[0].targets.len(), 1);
    assert!(report.hypotheses.iter().all(|h| h.reason == "not judged: the run's verdict is refused"));
}

#[test]
fn impact_is_counted_from_the_acknowledged_injection() {
    let report = report(&synthetic::pod_kill());
    let impact = &report.impacts[0];
    assert_eq!(impact.to_impact_us, Some(336_000));
    assert_eq!(impact.to_detection_us, Some(76_000));
    assert_eq!(impact.to_mitigation_us, Some(1_531_000));
    assert!((impact.blast_radius.unwrap() - 256.0 / 24_000.0).abs() < 1e-12);
    assert_eq!(report.longest_outage().map(|(_, length)| length), Some(1_200_000));
}

#[test]
fn an_unproven_quantile_says_which_rate_would_prove_it() {
    let report = report(&synthetic::unproven());
    let text = &report.next[0].text;
    assert!(text.contains("raise its rate from 2/s to 19/s, or make the phase 10 times as long"), "{text}");
}

#[test]
fn a_blind_window_that_was_announced_twice_stands_once() {
    let report = report(&synthetic::aborted());
    assert_eq!(report.blind.len(), 1);
    assert_eq!(report.blind[0].to - report.blind[0].from, 4_000_000);
}

#[test]
fn junit_of_every_kind_of_run() {
    let runs = [
        synthetic::pod_kill(),
        synthetic::aborted(),
        synthetic::undo_incomplete(),
        synthetic::refused(),
        synthetic::killed(),
    ];
    let reports: Vec<_> = runs.iter().map(|events| report(events)).collect();
    let xml = junit(&reports).unwrap();
    assert!(!xml.contains("<skipped"));
    insta::assert_snapshot!(xml);
}

#[test]
fn the_schema_on_disk_is_the_schema_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/report.json");
    let schema = Report::schema().unwrap();
    if std::env::var_os("SQUALL_UPDATE_SCHEMA").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), schema, "run the tests with SQUALL_UPDATE_SCHEMA=1");
}
