//! What people see, in whole runs.

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use super::screen::Screen;
use super::{Output, Terminal};
use crate::plan::{BudgetRoom, Plan, PlannedLimits, PlannedStep, PlannedTiming, Refused, Rule, SampleCheck};
use crate::record::{Event, Phase, Target, What};
use crate::report::{Report, synthetic};
use crate::scalar::EngineKind;

/// Bytes that a test can read while a screen still writes them.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

/// Plays a run; gives stdout and stderr.
fn play(output: Output, events: &[Event], live: Option<usize>) -> (String, String) {
    let (out, err) = (Shared::default(), Shared::default());
    let screen = |to: &Shared, width| Screen::new(Box::new(to.clone()), false, width);
    let mut terminal = Terminal::new(output, screen(&out, None), screen(&err, live));
    for event in events {
        terminal.on_event(event);
    }
    terminal.summary(&Report::from_events(events), Some(Path::new("reports/run")));
    (out.text(), err.text())
}

fn whole(events: &[Event]) -> String {
    let (out, err) = play(Output::Text, events, None);
    format!("--- stderr\n{err}--- stdout\n{out}")
}

#[test]
fn a_deviated_run() {
    insta::assert_snapshot!(whole(&synthetic::pod_kill()));
}

#[test]
fn what_came_of_displaced_pods_is_told_where_it_is_not_plain() {
    let text = whole(&synthetic::zone_lost());
    let told: Vec<&str> = text.lines().filter(|line| line.contains("displaced pod")).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_gray_failure_is_told() {
    let mut events = synthetic::pod_kill();
    assert!(!whole(&events).contains("gray"));
    for event in &mut events {
        if let What::Availability(availability) = &mut event.what
            && let Some(gray) = &mut availability.gray
        {
            gray.bad_while_ready_us = 1_230_000;
        }
    }
    let text = whole(&events);
    assert!(text.contains("gray     failing for 1.23 s while shop/web showed all of 3 ready\n"), "{text}");
}

/// Whoever reads the line must not take one engine's numbers for the other's.
#[test]
fn another_engine_is_named() {
    let mut events = synthetic::passed();
    let What::RunStarted { engine, .. } = &mut events[0].what else { panic!("a run begins with its start") };
    *engine = EngineKind::Reqwest;
    let (_, err) = play(Output::Text, &events, None);
    assert!(err.lines().next().unwrap().ends_with(", engine reqwest"), "{err}");
    let report = Report::from_events(&events);
    assert_eq!(report.engine, EngineKind::Reqwest);
    assert!(report.repeat_command().ends_with(" --engine reqwest"), "{}", report.repeat_command());
    let page = crate::report::html(&report, &events);
    assert!(page.contains("measured by the engine reqwest") && page.contains("<dt>Probe engine</dt><dd>reqwest</dd>"));
    assert!(!whole(&synthetic::passed()).contains("engine"), "the native one is not worth a word");
}

#[test]
fn an_aborted_run() {
    insta::assert_snapshot!(whole(&synthetic::aborted()));
}

#[test]
fn an_incomplete_undo() {
    insta::assert_snapshot!(whole(&synthetic::undo_incomplete()));
}

#[test]
fn a_run_that_was_refused_and_one_that_was_killed() {
    insta::assert_snapshot!(whole(&synthetic::refused()) + &whole(&synthetic::killed()));
}

#[test]
fn json_is_the_events_and_nothing_else() {
    let events = synthetic::passed();
    let (out, err) = play(Output::Json, &events, None);
    let read: Vec<Event> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, events);
    assert_eq!(err, "");
}

#[test]
fn quiet_is_the_verdict_alone() {
    let (out, err) = play(Output::Quiet, &synthetic::undo_incomplete(), None);
    assert_eq!(err, "");
    insta::assert_snapshot!(out);
}

#[test]
fn the_live_block_is_taken_away_before_the_end_and_never_wraps() {
    let (_, err) = play(Output::Text, &synthetic::crowded(), Some(60));
    let last = err.rsplit("\u{1b}[J").next().unwrap();
    assert!(!last.contains("p99"), "{last}");
    for line in err.lines().filter(|l| l.contains("p50 ")) {
        let bare = anstream::adapter::strip_str(line).to_string();
        assert!(bare.trim_start_matches('\r').chars().count() <= 60, "{bare}");
    }
    assert!(err.contains("and 32 streams that fail less"));
}

#[test]
fn an_error_has_its_hint_after_a_blank_line() {
    let text = super::error("no such context `prod`", Some("name one with `--context`"));
    assert_eq!(
        anstream::adapter::strip_str(&text).to_string(),
        "error: no such context `prod`\n\nhint: name one with `--context`"
    );
}

/// Pods that leave two nodes.
fn leaving() -> Vec<Target> {
    [("node2", "shop"), ("node2", "kube-system"), ("node2", "shop"), ("node3", "shop")]
        .map(|(node, namespace)| Target {
            kind: "pod".to_owned(),
            namespace: namespace.to_owned(),
            name: "x".to_owned(),
            uid: String::new(),
            node: Some(node.to_owned()),
            zone: None,
            owner: None,
            instance: None,
        })
        .to_vec()
}

fn step(targets: Vec<Target>) -> PlannedStep {
    PlannedStep {
        name: "kill-one".to_owned(),
        at_ms: 0,
        hold_ms: Some(30_000),
        fault: "podKill".to_owned(),
        targets,
        of: 3,
        pods: 1,
        calls: vec!["DELETE /api/v1/namespaces/shop/pods/web-7c9f-abcde".to_owned()],
        undo: vec!["none: deployment/web replaces it".to_owned()],
        leaving: leaving(),
        undoable: false,
        commands: Vec::new(),
        undo_commands: Vec::new(),
        displaced: Vec::new(),
    }
}

#[test]
fn a_plan_with_everything_in_it() {
    let report = Report::from_events(&synthetic::pod_kill());
    let targets = report.steps[0].targets.iter().map(|t| t.target.clone()).collect();
    let plan = Plan {
        endpoints: Vec::new(),
        version: 1,
        squall: report.squall,
        source_sha256: None,
        limits: PlannedLimits { pods: 1, namespaces: vec!["shop".to_owned()], ..PlannedLimits::default() },
        timing: PlannedTiming {
            before_ms: 20_000,
            during_ms: None,
            steps_ms: 30_000,
            during_at_most_ms: 900_000,
            after_ms: 20_000,
            requests: 376_000,
        },
        experiment: report.experiment,
        source: report.source,
        document: serde_json::Value::Null,
        seed: 42,
        cluster: report.cluster,
        state_namespace: "squall".to_owned(),
        steps: vec![step(targets)],
        budgets: vec![BudgetRoom {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            allowed: 0,
            healthy: 3,
            desired: 3,
            targets: 1,
            problem: "allows no disruption at all".to_owned(),
        }],
        samples: [(Phase::Before, 4_000), (Phase::During, 12)]
            .map(|(phase, have)| SampleCheck {
                index: 0,
                probe: "web".to_owned(),
                tolerance: "success >= 99.9%".to_owned(),
                phase,
                have,
                need: 3_000,
            })
            .to_vec(),
        cloud: Vec::new(),
        permissions: vec![Rule {
            group: String::new(),
            resource: "pods".to_owned(),
            verb: "delete".to_owned(),
            namespace: Some("shop".to_owned()),
            why: "kill the targets".to_owned(),
            optional: false,
        }],
        warnings: vec!["a deletion bypasses PodDisruptionBudgets".to_owned()],
        refusals: vec![Refused {
            step: Some("kill-one".to_owned()),
            message: "it takes 1 pod, and `limits.pods` is 0".to_owned(),
            hint: Some("raise `limits.pods`".to_owned()),
        }],
    };
    insta::assert_snapshot!(anstream::adapter::strip_str(&super::plan(&plan)).to_string());
}
