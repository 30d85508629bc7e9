//! What to do next: one sentence each, with the command where a command does it. Written from the report's own facts; a rule that
//! can't name its evidence does not speak.

use serde_json::Value;

use super::format::{self, duration, plural};
use super::model::{Advice, Blind, Report};
use crate::measure::needed_samples;
use crate::probe::StreamKind;
use crate::record::{Injection, Judgement, Micros, Outage, Phase, RunVerdict, UndoOutcome, Verdict};
use crate::scalar::Rate;

/// A detection slower than this is worth a word: three of the kubelet's default periods take up to 30 s.
const SLOW_DETECTION_US: i64 = 5_000_000;
/// A probe that lost more than this share of its slots measures the runner, not the service.
const LOST_SLOTS: f64 = 0.01;

/// Everything worth doing, most urgent first.
pub(super) fn advise(report: &Report, plan: Option<&Value>) -> Vec<Advice> {
    let mut next = Vec::new();
    verdict(report, plan, &mut next);
    targets(report, &mut next);
    outages(report, &mut next);
    detection(report, &mut next);
    for judgement in report.hypotheses.iter().filter(|h| h.verdict == Verdict::Unproven) {
        samples(judgement, plan, &mut next);
    }
    runner(report, &mut next);
    if next.is_empty() {
        let text = match report.verdict {
            Some(RunVerdict::Passed) => "Nothing needs doing. The same run again:",
            _ => "The same run again, once that has been looked at:",
        };
        say(&mut next, text, Some(report.repeat_command()));
    }
    next
}

fn say(next: &mut Vec<Advice>, text: impl Into<String>, command: Option<String>) {
    let advice = Advice { text: text.into(), command };
    if !next.contains(&advice) {
        next.push(advice);
    }
}

/// What follows from the run's verdict alone.
fn verdict(report: &Report, plan: Option<&Value>, next: &mut Vec<Advice>) {
    match report.verdict {
        None => say(
            next,
            "The run ended without finishing and may have left something behind. Finish its undo; that is harmless where nothing is left:",
            Some(report.recover_command()),
        ),
        Some(RunVerdict::UndoIncomplete) => say(
            next,
            "Something is left behind. Try the undo again; it prints what it can't take back:",
            Some(report.recover_command()),
        ),
        Some(RunVerdict::Refused) => {
            for refusal in plan.and_then(|p| p.get("refusals")).and_then(Value::as_array).into_iter().flatten() {
                let text = |key: &str| refusal.get(key).and_then(Value::as_str);
                let message = text("message").unwrap_or_default();
                let hint = text("hint").map(|hint| format!(": {hint}")).unwrap_or_default();
                say(next, format!("Refused because {message}{hint}."), None);
            }
            say(
                next,
                "Nothing was touched. See what the run would do:",
                Some(format!("squall plan {}", report.source)),
            );
        }
        Some(RunVerdict::Unsteady) => say(
            next,
            "The steady state did not hold before anything was injected, and nothing was. Look at the service first; if this is its \
             normal state, the tolerance is too tight.",
            None,
        ),
        Some(RunVerdict::Errored) => {
            say(
                next,
                "This is a fault of Squall's own. Keep the run's directory: `events.jsonl` holds what happened.",
                None,
            );
        }
        Some(RunVerdict::Aborted) => {
            let by = report.aborted.as_ref().map_or("somebody", |a| a.by.as_str());
            say(
                next,
                format!("The run ended early ({by}), and everything was taken back. Again from the start:"),
                Some(report.repeat_command()),
            );
        }
        Some(RunVerdict::Passed | RunVerdict::Deviated | RunVerdict::Inconclusive) => {}
    }
}

/// What went otherwise than planned on a target.
fn targets(report: &Report, next: &mut Vec<Advice>) {
    for (step, touched) in report.targets() {
        let target = &touched.target;
        if let Some(injection) = touched.injection.as_ref().filter(|i| !i.expected) {
            match injection.outcome {
                Injection::Refused => say(
                    next,
                    format!(
                        "{target} was protected: {}. If that is what you want to show, write `expect: refused` in step `{}`.",
                        injection.detail, step.name
                    ),
                    None,
                ),
                Injection::Gone => say(
                    next,
                    format!(
                        "{target} was gone before it could be touched: something else changes these objects. Run it when nothing is being rolled out."
                    ),
                    None,
                ),
                Injection::Injected | Injection::Failed | Injection::Skipped => {}
            }
        }
        if touched.effect.as_ref().is_some_and(|e| !e.seen) {
            say(
                next,
                format!("Step `{}` showed no effect on {target}: the run proves nothing about it.", step.name),
                None,
            );
        }
        if let Some(undo) = touched.undo.as_ref().filter(|u| u.outcome == UndoOutcome::Conflict) {
            say(next, format!("Somebody else changed {target} meanwhile; theirs stays: {}.", undo.detail), None);
        }
        if touched.heal.as_ref().is_some_and(|h| !h.healed) {
            let object = target.owner.clone().unwrap_or_else(|| target.to_string());
            let command = match (object.strip_prefix("group/"), target.namespace.as_str()) {
                (Some(group), _) => {
                    format!("aws autoscaling describe-scaling-activities --auto-scaling-group-name {group}")
                }
                (None, "") => format!("kubectl describe {object}"),
                (None, namespace) => format!("kubectl --namespace {namespace} describe {object}"),
            };
            say(next, format!("{object} had not come back when the run ended:"), Some(command));
        }
    }
}

/// What each kind of outage usually means; outages of one kind are told together.
fn outages(report: &Report, next: &mut Vec<Advice>) {
    let mut kinds: Vec<(String, Vec<String>)> = Vec::new();
    for outage in &report.outages {
        let Some(meaning) = meaning(outage) else { continue };
        let place =
            format!("{} ({})", format::stream(&outage.probe, outage.stream), duration(report.outage_length(outage)));
        match kinds.iter_mut().find(|(known, _)| *known == meaning) {
            Some((_, places)) => places.push(place),
            None => kinds.push((meaning, vec![place])),
        }
    }
    for (meaning, places) in kinds {
        let more = places.len().saturating_sub(PLACES);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let places: Vec<String> = places.into_iter().take(PLACES).collect();
        say(next, format!("{}{more}: {meaning}", places.join(", ")), None);
    }
}

/// Outages named in one piece of advice.
const PLACES: usize = 3;

fn meaning(outage: &Outage) -> Option<String> {
    let cause = outage.cause.as_deref().unwrap_or_default().to_lowercase();
    let share = |prefixes: &[&str]| {
        let n: u64 =
            outage.classes.iter().filter(|(c, _)| prefixes.iter().any(|p| c.starts_with(p))).map(|(_, n)| n).sum();
        n * 2 > outage.bad
    };
    let text = if share(&["dns-"]) {
        "the name did not resolve. Look at CoreDNS and its endpoints; a client-side cache would have covered it."
    } else if share(&["reused-closed", "send-reset"]) && outage.stream == StreamKind::KeptAlive {
        "kept-alive connections were cut. Let the server finish them on SIGTERM (`Connection: close`, a drain time), or let clients \
         retry idempotent requests on a new connection."
    } else if share(&["goaway-unprocessed", "stream-refused"]) {
        "the server said that it never looked at these requests: an HTTP/2 client may send every one of them again at once. See that yours \
         does."
    } else if share(&["connect-timeout-same-port"]) {
        "a client that opens connections as fast as the probe meets it as well, for two minutes after each dead endpoint. Kept-alive \
         connections avoid it; so does an address that answers for a dead pod (a reject instead of a drop)."
    } else if ["terminat", "gone", "removed", "(podkill)", "(podevict)"].iter().any(|word| cause.contains(word)) {
        "requests still reached a pod that was going away. A `preStop` sleep longer than the time to mitigation keeps it serving until \
         every client has learnt; check that the server keeps accepting after SIGTERM."
    } else if share(&["connect-timeout", "connect-unreachable"]) {
        "packets went to an address that no longer answered. Shorter connect timeouts and one retry on another endpoint hide this from \
         users."
    } else if cause.contains("not ready") || cause.contains("no longer ready") || share(&["status-5"]) {
        "a pod answered while it was not able to. Its readiness probe should fail before its users' requests do."
    } else if outage.cause.is_none() {
        let until = outage.to.unwrap_or(outage.last_bad);
        return Some(format!(
            "nothing on the timeline explains it. Read the logs between {} and {}.",
            format::instant(outage.from),
            format::instant(until)
        ));
    } else {
        return None;
    };
    Some(text.to_owned())
}

fn detection(report: &Report, next: &mut Vec<Advice>) {
    for impact in &report.impacts {
        if let (Some(took), Some(_)) = (impact.to_detection_us.filter(|t| *t > SLOW_DETECTION_US), impact.to_impact_us)
        {
            say(
                next,
                format!(
                    "The cluster needed {} to take the target out of service ({}). `periodSeconds` × `failureThreshold` of the readiness \
                     probe sets that time.",
                    duration(took),
                    impact.detected_by
                ),
                None,
            );
        }
    }
}

/// An unproven hypothesis that lacks samples: how many more, and the two ways to get them.
fn samples(judgement: &Judgement, plan: Option<&Value>, next: &mut Vec<Advice>) {
    let need = judgement.tolerance.parse().ok().and_then(|tolerance| needed_samples(&tolerance));
    let Some(need) = need.filter(|need| judgement.samples > 0 && *need > judgement.samples) else { return };
    let is_open = judgement.phase == Some(Phase::During)
        && plan.is_some_and(|plan| plan.pointer("/document/spec/timing/during").is_none());
    if let (true, Some(rate)) = (is_open, rate_of(judgement, plan)) {
        #[expect(clippy::cast_precision_loss, reason = "a number of requests that a run can have")]
        let seconds = format::seconds((need as f64 / rate).ceil());
        let subject = format::subject(judgement);
        let text = format!(
            "`{}` of {subject} rests on {}, and needs {}: *during* ended with its last step; give it `timing.during` of {seconds} or more.",
            judgement.tolerance,
            plural(judgement.samples, "sample"),
            format::count(need),
        );
        return say(next, text, None);
    }
    let more = need.div_ceil(judgement.samples);
    let rate = rate_of(judgement, plan).map(|now| {
        // The next round number that is surely enough: a rate of 7.5/s is nobody's choice.
        let needed = format::ratio(need, judgement.samples).map_or(now, |times| now * times).ceil();
        format!("raise its rate from {} to {}", format::rate(now), format::rate(needed))
    });
    let rate = rate.unwrap_or_else(|| format!("raise its rate {more}-fold"));
    say(
        next,
        format!(
            "`{}` of {} rests on {} in *{}*, and needs {}: {rate}, or make the phase {more} times as long.",
            judgement.tolerance,
            format::subject(judgement),
            plural(judgement.samples, "sample"),
            format::phase(judgement),
            format::count(need),
        ),
        None,
    );
}

fn rate_of(judgement: &Judgement, plan: Option<&Value>) -> Option<f64> {
    let name = judgement.subject.strip_prefix("probe ")?;
    let probes = plan?.pointer("/document/spec/probes")?.as_array()?;
    let probe = probes.iter().find(|p| p.get("name").and_then(Value::as_str) == Some(name))?;
    Some(probe.get("rate")?.as_str()?.parse::<Rate>().ok()?.per_second())
}

/// What the runner itself could not do.
fn runner(report: &Report, next: &mut Vec<Advice>) {
    // What all endpoints together lack while none is ready is no fault of the runner's; each by itself says what is.
    let sent = || report.summaries.iter().filter(|s| s.stream != StreamKind::PerEndpoint);
    let planned: u64 = sent().map(|s| s.planned).sum();
    let lost: u64 = sent().map(|s| s.unknown + s.client_late + s.capped).sum();
    if format::ratio(lost, planned).is_some_and(|share| share > LOST_SLOTS) {
        say(
            next,
            format!(
                "{} of {} planned requests say nothing: the runner could not keep up. Lower the rate, or give it more processor time.",
                format::count(lost),
                format::count(planned)
            ),
            None,
        );
    }
    if !report.blind.is_empty() {
        let text = format!(
            "The cluster could not be seen, in whole or in part, for {}: what its objects did meanwhile is unknown.",
            duration(blind_for(&report.blind))
        );
        say(next, text, None);
    }
}

/// How long anything at all could not be seen: each watch has windows of its own, which overlap.
fn blind_for(windows: &[Blind]) -> Micros {
    let mut windows: Vec<(Micros, Micros)> = windows.iter().map(|window| (window.from, window.to)).collect();
    windows.sort_unstable();
    let (mut total, mut seen_to) = (0, Micros::MIN);
    for (from, to) in windows {
        total += (to - from.max(seen_to)).max(0);
        seen_to = seen_to.max(to);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_overlap_count_once() {
        let window = |from, to| Blind { what: "nodes".into(), from, to };
        assert_eq!(blind_for(&[window(50, 60), window(10, 30), window(12, 20), window(25, 40)]), 40);
        assert_eq!(blind_for(&[]), 0);
    }
}
