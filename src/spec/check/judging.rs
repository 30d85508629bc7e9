//! Hypotheses and stop conditions: that they say something, and the thing that was meant.

use super::{Part, Parts};
use crate::record::Phase;
use crate::scalar::{Bound, Measure, Tolerance};
use crate::spec::diagnostic::{Code, Diagnostic};
use crate::spec::node::Body;
use crate::spec::{Hypothesis, StopCondition};

pub(super) fn check(parts: &Parts<'_>, found: &mut Vec<Diagnostic>) {
    if let Some(list) = parts.spec.entry("steadyState")
        && matches!(&list.value.body, Body::List(items) if items.is_empty())
    {
        found.push(
            Diagnostic::error(
                Code::MissingField,
                list.value.span,
                "a steady state needs a hypothesis, nothing would be judged",
            )
            .hint("write `[{probe: NAME, tolerance: \"outage <= 2s\"}]`"),
        );
    }
    for hypothesis in &parts.hypotheses {
        phases(hypothesis, found);
        if let Hypothesis::Probe { tolerance, .. } = &hypothesis.value {
            direction(hypothesis, tolerance, found);
        }
    }
    diluted(parts, found);
    for stop in &parts.stops {
        stop_condition(stop, found);
    }
}

/// `when` names each phase once, and only where phases are judged apart.
fn phases(hypothesis: &Part<'_, Hypothesis>, found: &mut Vec<Diagnostic>) {
    let (Hypothesis::Probe { when, .. } | Hypothesis::Object { when, .. }) = &hypothesis.value;
    if when.is_empty() {
        found.push(
            Diagnostic::error(Code::BadValue, hypothesis.place("when"), "an empty `when` judges in no phase")
                .hint("leave it out for all phases"),
        );
    }
    let nodes = hypothesis.node.get("when").map(crate::spec::node::Node::items).unwrap_or_default();
    for (i, node) in nodes.iter().enumerate() {
        if nodes[..i].iter().any(|earlier| earlier.text() == node.text()) {
            let message = format!("the phase `{}` is named twice", node.text().unwrap_or_default());
            found.push(Diagnostic::error(Code::BadValue, node.place(), message).hint("name each phase once"));
        }
    }
    if let Hypothesis::Probe { tolerance, .. } = &hypothesis.value
        && tolerance.measure.is_once_per_run()
        && hypothesis.node.get("when").is_some()
    {
        let message = "`outage` and `recovery` are measured once per run, so `when` has no effect";
        found.push(Diagnostic::warning(Code::NoEffect, hypothesis.key("when"), message).hint("remove `when`"));
    }
}

/// Whether the tolerance is met by a good service: a share that is high, or a time that is short.
fn is_met_by_good(tolerance: &Tolerance) -> bool {
    (tolerance.measure == Measure::Success) != tolerance.comparison.is_upper()
}

/// The comparison the other way round.
fn turned(tolerance: &Tolerance) -> String {
    let text = &tolerance.text;
    if text.contains('<') { text.replacen('<', ">", 1) } else { text.replacen('>', "<", 1) }
}

/// What holds exactly when the tolerance does not.
fn opposite(tolerance: &Tolerance) -> String {
    let text = &tolerance.text;
    [("<=", ">"), (">=", "<"), ("<", ">="), (">", "<=")]
        .iter()
        .find(|(sign, _)| text.contains(sign))
        .map_or_else(|| text.clone(), |(sign, other)| text.replacen(sign, other, 1))
}

fn direction(hypothesis: &Part<'_, Hypothesis>, tolerance: &Tolerance, found: &mut Vec<Diagnostic>) {
    if !is_met_by_good(tolerance) {
        let message = format!("this holds when the service is bad: `{tolerance}`");
        found.push(
            Diagnostic::warning(Code::Inverted, hypothesis.place("tolerance"), message)
                .hint(format!("did you mean `{}`?", turned(tolerance))),
        );
    }
}

/// A share over all of *during* says less the longer the phase is; something else has to say how long it was bad.
fn diluted(parts: &Parts<'_>, found: &mut Vec<Diagnostic>) {
    let tolerances = |name: &crate::scalar::Name| {
        parts
            .hypotheses
            .iter()
            .filter_map(move |h| match &h.value {
                Hypothesis::Probe { probe, tolerance, .. } if *probe == *name => Some(tolerance.clone()),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    for hypothesis in &parts.hypotheses {
        let Hypothesis::Probe { probe, tolerance, when } = &hypothesis.value else { continue };
        let whole = tolerance.measure == Measure::Success && tolerance.over.is_none() && when.contains(&Phase::During);
        let bounded = tolerances(probe).iter().any(|t| {
            matches!(t.measure, Measure::Outage | Measure::Downtime)
                || (t.measure == Measure::Success && t.over.is_some())
        });
        if whole && !bounded && parts.is_whole {
            let message = "a share over the whole phase allows a longer outage the longer the phase is";
            found.push(
                Diagnostic::warning(Code::Diluted, hypothesis.place("tolerance"), message)
                    .hint(format!("add `{{probe: {probe}, tolerance: \"outage <= 2s\"}}`, or judge the worst window: `{tolerance} over 10s`")),
            );
        }
    }
}

fn stop_condition(stop: &Part<'_, StopCondition>, found: &mut Vec<Diagnostic>) {
    let tolerance = &stop.value.tolerance;
    rule(stop, found);
    if tolerance.measure == Measure::Recovery {
        found.push(
            Diagnostic::error(
                Code::StopCondition,
                stop.place("tolerance"),
                "`recovery` is known only afterwards, so it can't stop a run",
            )
            .hint("write `success < 50%` or `outage > 30s`"),
        );
    } else if is_met_by_good(tolerance) {
        let message = format!("a good service meets `{tolerance}`: the run would end at once");
        found.push(
            Diagnostic::error(Code::StopCondition, stop.place("tolerance"), message)
                .hint(format!("a stop condition says when to stop: did you mean `{}`?", opposite(tolerance))),
        );
    }
}

/// One of `for` and `falseAlarms`, and the second only where "false" means something: for shares of requests.
fn rule(stop: &Part<'_, StopCondition>, found: &mut Vec<Diagnostic>) {
    let tolerance = &stop.value.tolerance;
    match (stop.value.hold, stop.value.false_alarms) {
        (None, None) => found.push(
            Diagnostic::error(
                Code::MissingField,
                stop.node.place(),
                "a stop condition needs `for` or `falseAlarms`, this one has neither",
            )
            .hint("write `for: 10s`, or `falseAlarms: \"1 in 1000h\"` for `success` and quantiles"),
        ),
        (Some(_), Some(_)) => found.push(
            Diagnostic::error(
                Code::StopCondition,
                stop.key("falseAlarms"),
                "`for` and `falseAlarms` are two rules: one waits, the other weighs the evidence",
            )
            .hint("keep one of them; a run may have several stop conditions"),
        ),
        (None, Some(_)) if !matches!(tolerance.measure, Measure::Success | Measure::Quantile(_)) => found.push(
            Diagnostic::error(
                Code::StopCondition,
                stop.place("tolerance"),
                format!("a rate of false alarms is known only for shares of requests, not for `{tolerance}`"),
            )
            .hint("compare `success` or a quantile, or write `for: 10s` instead of `falseAlarms`"),
        ),
        (None, Some(_)) if matches!(tolerance.bound, Bound::Ratio(share) if share >= 1.0) => found.push(
            Diagnostic::error(
                Code::StopCondition,
                stop.place("tolerance"),
                format!("one failure is proof enough of `{tolerance}`: there is nothing to weigh"),
            )
            .hint("allow some failures, such as `success < 99.9%`, or write `for: 1s` instead of `falseAlarms`"),
        ),
        _ => {}
    }
}
