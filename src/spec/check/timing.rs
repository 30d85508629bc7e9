//! Times: that the phases hold what happens in them.

use std::time::Duration as Time;

use super::Parts;
use crate::record::Phase;
use crate::scalar::Duration;
use crate::spec::diagnostic::{Code, Diagnostic};
use crate::spec::{Hypothesis, Timing};

/// How long *during* may last when it is left out.
const OPEN_END: Time = Time::from_mins(15);
/// Longest run.
const LONGEST: Time = Time::from_hours(24);

pub(super) fn check(parts: &Parts<'_>, found: &mut Vec<Diagnostic>) {
    let Some(timing) = &parts.timing else { return };
    let phases =
        [("before", Some(timing.value.before)), ("during", timing.value.during), ("after", Some(timing.value.after))];
    for (phase, _) in phases.iter().filter(|(_, time)| time.is_some_and(Duration::is_zero)) {
        let message = format!("`{phase}: 0s` leaves nothing to judge");
        let hint = "a phase is judged by what is measured in it; `20s` is a good start";
        found.push(Diagnostic::error(Code::Timing, timing.place(phase), message).hint(hint));
    }
    let total: Time = phases.iter().filter_map(|(_, time)| *time).map(Duration::get).sum();
    if total > LONGEST {
        let sum: Vec<String> =
            phases.iter().filter_map(|(name, time)| time.map(|time| format!("{name} {time}"))).collect();
        let message = format!("{} = {} is longer than the limit of 24h", sum.join(" + "), Duration::new(total));
        found.push(Diagnostic::error(Code::Timing, timing.node.place(), message).hint("shorten a phase"));
    }
    during(parts, timing.value.during, found);
    windows(parts, &timing.value, found);
    stops(parts, &timing.value, found);
}

/// *during* covers the last `at` + `for`.
fn during(parts: &Parts<'_>, during: Option<Duration>, found: &mut Vec<Diagnostic>) {
    let end = |step: &super::Part<'_, crate::spec::Step>| {
        step.value.at.get() + step.value.hold.map_or(Time::ZERO, Duration::get)
    };
    let Some(last) = parts.steps.iter().max_by_key(|step| end(step)) else { return };
    let (step, at, needed) = (&last.value.name, last.value.at, Duration::new(end(last)));
    let arithmetic = match last.value.hold {
        Some(hold) => format!("`at` {at} + `for` {hold} = {needed}"),
        None => format!("`at` {at}"),
    };
    match during {
        Some(during) if during < needed => {
            let message = format!("`during: {during}` is over before the step `{step}` is: {arithmetic}");
            let place = parts.timing.as_ref().map_or_else(|| last.place("at"), |timing| timing.place("during"));
            found.push(
                Diagnostic::error(Code::Timing, place, message)
                    .hint(format!("write `during: {needed}` or more, or leave it out"))
                    .related(last.place("at"), "the last step"),
            );
        }
        None if needed.get() > OPEN_END => {
            let message =
                format!("without `during` a run waits at most 15m, and the step `{step}` needs longer: {arithmetic}");
            found.push(
                Diagnostic::error(Code::Timing, last.place("at"), message)
                    .hint(format!("write `timing: {{during: {needed}}}` or more")),
            );
        }
        _ => {}
    }
}

fn length(timing: &Timing, phase: Phase) -> Time {
    match phase {
        Phase::Before => timing.before.get(),
        Phase::During => timing.during.map_or(OPEN_END, Duration::get),
        Phase::After => timing.after.get(),
    }
}

/// A window of `over` fits into each phase in which it is judged.
fn windows(parts: &Parts<'_>, timing: &Timing, found: &mut Vec<Diagnostic>) {
    for hypothesis in &parts.hypotheses {
        let Hypothesis::Probe { tolerance, when, .. } = &hypothesis.value else { continue };
        let Some(window) = tolerance.over else { continue };
        if let Some(phase) = when.iter().find(|phase| window > length(timing, **phase)) {
            let message = format!(
                "the window of {} is longer than the phase *{}* of {}",
                Duration::new(window),
                phase.label(),
                Duration::new(length(timing, *phase)),
            );
            found.push(
                Diagnostic::error(Code::Timing, hypothesis.place("tolerance"), message)
                    .hint("shorten the window, lengthen the phase, or name other phases with `when`"),
            );
        }
    }
}

/// A stop condition can hold as long as it must within the run.
fn stops(parts: &Parts<'_>, timing: &Timing, found: &mut Vec<Diagnostic>) {
    let run: Time = Phase::ALL.iter().map(|phase| length(timing, *phase)).sum();
    for stop in &parts.stops {
        let Some(hold) = stop.value.hold else { continue };
        if hold.get() > run {
            let message = format!("it can never hold for {hold}: the run lasts {}", Duration::new(run));
            found.push(Diagnostic::error(Code::StopCondition, stop.place("for"), message).hint("write `for: 10s`"));
        } else if hold.is_zero() {
            let message = "`for: 0s` ends the run at its first instant: no data counts as met";
            found.push(Diagnostic::error(Code::StopCondition, stop.place("for"), message).hint("write `for: 10s`"));
        }
    }
}
