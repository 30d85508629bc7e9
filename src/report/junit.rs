//! `junit.xml`: one suite per run. A deviation is a *failure*; whatever could not be shown, or was left behind, is an *error*; nothing
//! is ever *skipped*, because CI shows skipped as green.

use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};

use super::beside::words;
use super::format::{self, duration, instant};
use super::model::{Report, StepReport, TargetReport};
use crate::record::{Injection, Judgement, RunVerdict, UndoOutcome, Verdict};

/// The document could not be written; carries the writer's message.
#[derive(Debug, thiserror::Error)]
#[error("`junit.xml` could not be written: {0}")]
pub struct JunitError(#[from] quick_junit::SerializeError);

/// The `JUnit` document of several runs.
///
/// # Errors
///
/// When the XML can't be serialised, which memory alone can cause.
pub fn junit(reports: &[Report]) -> Result<String, JunitError> {
    let mut document = quick_junit::Report::new("squall");
    for report in reports {
        document.add_test_suite(suite(report));
    }
    Ok(document.to_string()?)
}

fn suite(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new(report.experiment.as_str());
    suite.set_time(time(report.elapsed_us));
    suite.timestamp = report.started.and_then(|started| started.to_string().parse().ok());
    for (name, value) in [
        ("run", report.run.clone()),
        ("verdict", format::run_verdict(report.verdict).to_owned()),
        ("exit-code", report.exit_code.map_or_else(|| "none".to_owned(), |code| code.to_string())),
        ("seed", report.seed.to_string()),
        ("engine", report.engine.to_string()),
        ("source", report.source.clone()),
        ("cluster", report.cluster.context.clone()),
        ("cluster-uid", report.cluster.uid.clone()),
        ("squall", report.squall.clone()),
    ] {
        suite.add_property(Property::new(name, value));
    }
    if let Some(beside) = &report.beside {
        suite.add_property(Property::new("predicted", words::score(beside)));
    }
    suite.add_test_case(run_case(report));
    for judgement in &report.hypotheses {
        suite.add_test_case(hypothesis_case(report, judgement));
    }
    for (step, target) in report.targets() {
        suite.add_test_case(injection_case(report, step, target));
        suite.add_test_case(effect_case(report, step, target));
        undo_cases(&mut suite, report, step, target);
    }
    for step in report.steps.iter().filter(|s| s.targets.is_empty()) {
        let mut case =
            case(report, "steps", format!("{}: targets", step.name), failed(NonSuccessKind::Error, "no target"));
        case.set_time(time(0));
        suite.add_test_case(case);
    }
    suite
}

/// The cases of undo and healing, which exist only where something was touched.
fn undo_cases(suite: &mut TestSuite, report: &Report, step: &StepReport, touched: &TargetReport) {
    let name = |what: &str| format!("{}: {what} {}", step.name, touched.target);
    if let Some(undo) = &touched.undo {
        let status = match undo.outcome {
            UndoOutcome::Undone | UndoOutcome::Nothing => TestCaseStatus::success(),
            UndoOutcome::Conflict | UndoOutcome::Failed => {
                failed(NonSuccessKind::Error, format!("{}: {}", format::undo(undo.outcome), undo.detail))
            }
        };
        suite.add_test_case(case(report, "undo", name("undo"), status));
    } else if touched.prepared.is_some() && report.verdict.is_none() {
        let message = format!("not known to be undone; run `{}`", report.recover_command());
        suite.add_test_case(case(report, "undo", name("undo"), failed(NonSuccessKind::Error, message)));
    }
    if let Some(heal) = &touched.heal {
        let status = if heal.healed {
            TestCaseStatus::success()
        } else {
            failed(NonSuccessKind::Failure, format!("did not come back: {}", heal.detail))
        };
        suite.add_test_case(case(report, "undo", name("heal"), status));
    }
}

/// The run as a whole: there whatever happened, so that a run that never began is not an empty, green suite.
fn run_case(report: &Report) -> TestCase {
    let word = format::run_verdict(report.verdict);
    let code = report.exit_code.map_or_else(String::new, |code| format!(" (exit {code})"));
    let message = format!("{word}{code}: {}", report.reason);
    let status = match report.verdict {
        Some(RunVerdict::Passed) => TestCaseStatus::success(),
        Some(RunVerdict::Deviated) => failed(NonSuccessKind::Failure, message),
        _ => {
            let mut status = failed(NonSuccessKind::Error, message);
            let mut lines = report.left.clone();
            lines.extend(report.next.iter().map(|advice| match &advice.command {
                Some(command) => format!("{} `{command}`", advice.text),
                None => advice.text.clone(),
            }));
            status.set_description(lines.join("\n"));
            status
        }
    };
    let mut case = case(report, "run", "verdict".to_owned(), status);
    case.set_time(time(report.elapsed_us));
    case
}

fn hypothesis_case(report: &Report, judgement: &Judgement) -> TestCase {
    let name = format!("{}: {} ({})", format::subject(judgement), judgement.tolerance, format::phase(judgement));
    let mut message = match judgement.verdict {
        Verdict::Held => String::new(),
        Verdict::Deviated => format!("{} is outside `{}`", measured(judgement), judgement.tolerance),
        Verdict::Unproven => format!("`{}` is unproven", judgement.tolerance),
    };
    if !judgement.reason.is_empty() {
        message = format!("{message}: {}", judgement.reason);
    }
    let mut status = match judgement.verdict {
        Verdict::Held => TestCaseStatus::success(),
        Verdict::Deviated => failed(NonSuccessKind::Failure, message),
        Verdict::Unproven => failed(NonSuccessKind::Error, message),
    };
    if judgement.verdict == Verdict::Deviated {
        let outages = report.outages.iter().filter(|o| {
            judgement.subject == format!("probe {}", o.probe) && judgement.stream.is_none_or(|s| s.includes(o.stream))
        });
        let lines: Vec<_> = outages
            .map(|o| {
                let cause = o.cause.as_deref().unwrap_or("no cause found");
                let length = duration(report.outage_length(o));
                format!("outage of {length} from {}: {cause} ({})", instant(o.from), format::classes(&o.classes))
            })
            .collect();
        status.set_description(lines.join("\n"));
    }
    case(report, "steadyState", name, status)
}

/// The measured value, its interval and its samples in one line.
fn measured(judgement: &Judgement) -> String {
    let interval = format::interval(judgement).map(|i| format!(" {i}")).unwrap_or_default();
    format!("{}{interval} from {}", judgement.measured, format::plural(judgement.samples, "sample"))
}

fn injection_case(report: &Report, step: &StepReport, touched: &TargetReport) -> TestCase {
    let name = format!("{}: inject {} {}", step.name, step.fault, touched.target);
    let Some(injection) = &touched.injection else {
        let why = format!("not injected: {}", not_reached(report));
        return case(report, "steps", name, failed(NonSuccessKind::Error, why));
    };
    let status = if injection.expected {
        TestCaseStatus::success()
    } else {
        let kind = match injection.outcome {
            // The API did something, and it was the wrong thing: that is a result, not a mishap.
            Injection::Injected | Injection::Refused => NonSuccessKind::Failure,
            Injection::Gone | Injection::Failed | Injection::Skipped => NonSuccessKind::Error,
        };
        failed(kind, format!("{}: {}", format::injection(injection.outcome), injection.detail))
    };
    let mut case = case(report, "steps", name, status);
    case.set_time(time(injection.answered - injection.sent));
    case
}

fn effect_case(report: &Report, step: &StepReport, touched: &TargetReport) -> TestCase {
    let name = format!("{}: effect on {}", step.name, touched.target);
    let refused_as_wanted = touched.injection.as_ref().is_some_and(|i| i.expected && i.outcome == Injection::Refused);
    let status = match &touched.effect {
        Some(effect) if effect.seen => TestCaseStatus::success(),
        Some(effect) => failed(NonSuccessKind::Error, format!("no effect: {}", effect.detail)),
        None if refused_as_wanted => TestCaseStatus::success(),
        None => failed(NonSuccessKind::Error, "no effect was shown"),
    };
    let mut case = case(report, "steps", name, status);
    if let (Some(effect), Some(injection)) = (&touched.effect, &touched.injection) {
        case.set_time(time(effect.at - injection.answered));
    }
    case
}

/// Why a step was never reached.
fn not_reached(report: &Report) -> String {
    match &report.aborted {
        Some(aborted) => format!("the run ended early at {} ({})", instant(aborted.at), aborted.by),
        None => format!("{}: {}", format::run_verdict(report.verdict), report.reason),
    }
}

fn case(report: &Report, group: &str, name: String, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("{}.{group}", report.experiment));
    case
}

fn failed(kind: NonSuccessKind, message: impl Into<String>) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message.into());
    status
}

fn time(micros: i64) -> std::time::Duration {
    std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
