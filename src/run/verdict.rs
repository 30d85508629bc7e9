//! The verdict on a run: a fold over its events, and nothing else.

use crate::record::{Event, Injection, Judgement, Phase, RunVerdict, Target, UndoOutcome, Verdict, What};

/// The verdict with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concluded {
    /// The verdict.
    pub verdict: RunVerdict,
    /// Why, in one sentence.
    pub reason: String,
    /// What is left behind; empty unless the undo is incomplete.
    pub left: Vec<String>,
}

impl Concluded {
    /// A verdict with its reason.
    pub fn new(verdict: RunVerdict, reason: impl Into<String>) -> Self {
        Self { verdict, reason: reason.into(), left: Vec::new() }
    }
}

/// Draws the verdict. `left` is what the undo log still has pending: it outweighs everything else.
pub fn conclude(events: &[Event], left: &[String]) -> Concluded {
    if !left.is_empty() {
        let reason = format!("{} could not be undone: a person is needed", plural(left.len(), "act"));
        return Concluded::new(RunVerdict::UndoIncomplete, reason);
    }
    let whats = || events.iter().map(|event| &event.what);
    for what in whats() {
        if let What::Aborting { by, detail } = what {
            let reason = if detail.is_empty() { format!("ended by {by}") } else { format!("ended by {by}: {detail}") };
            return Concluded::new(RunVerdict::Aborted, reason);
        }
    }
    let deviations: Vec<String> = whats().filter_map(deviation).collect();
    if let [first, others @ ..] = deviations.as_slice() {
        let more = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
        return Concluded::new(RunVerdict::Deviated, format!("{first}{more}"));
    }
    let unshown: Vec<String> = whats().filter_map(unshown).collect();
    if let [first, others @ ..] = unshown.as_slice() {
        let more = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
        return Concluded::new(RunVerdict::Inconclusive, format!("{first}{more}"));
    }
    let judged = whats().filter(|what| matches!(what, What::Judged(_))).count();
    let injected = whats().filter(|what| matches!(what, What::Injected { .. })).count();
    if judged == 0 || injected == 0 {
        return Concluded::new(RunVerdict::Inconclusive, "nothing was judged, or no fault was tried");
    }
    let effect = if injected == 1 { "the fault bit" } else { "every fault bit" };
    Concluded::new(RunVerdict::Passed, format!("{} held and {effect}", plural(judged, "judgement")))
}

/// Whether the phase before was not steady; the reason.
pub fn unsteady(judgements: &[Judgement]) -> Option<String> {
    let bad = |j: &&Judgement| j.phase == Some(Phase::Before) && j.verdict != Verdict::Held;
    judgements.iter().find(bad).map(|j| format!("{} was not steady before: `{}`: {}", j.subject, j.tolerance, told(j)))
}

fn told(judgement: &Judgement) -> String {
    if judgement.reason.is_empty() { format!("measured {}", judgement.measured) } else { judgement.reason.clone() }
}

fn deviation(what: &What) -> Option<String> {
    match what {
        What::Judged(j) if j.verdict == Verdict::Deviated => {
            let phase = j.phase.map_or_else(String::new, |p| format!(" ({})", p.label()));
            Some(format!("{} deviated from `{}`{phase}: {}", j.subject, j.tolerance, told(j)))
        }
        What::Injected {
            step,
            target,
            outcome: outcome @ (Injection::Injected | Injection::Refused),
            expected: false,
            detail,
            ..
        } => {
            let came = if *outcome == Injection::Refused {
                "was refused"
            } else {
                "was accepted, where a refusal was expected"
            };
            Some(format!("step `{step}` on {target} {came}: {detail}"))
        }
        What::Healed { step, target, healed: false, detail } => {
            Some(format!("the system did not heal after step `{step}` on {target}: {detail}"))
        }
        _ => None,
    }
}

fn unshown(what: &What) -> Option<String> {
    let on = |step: &str, target: &Target| format!("step `{step}` on {target}");
    match what {
        What::Judged(j) if j.verdict == Verdict::Unproven => {
            let phase = j.phase.map_or_else(String::new, |p| format!(" ({})", p.label()));
            Some(format!("`{}` on {}{phase} is unproven: {}", j.tolerance, j.subject, told(j)))
        }
        What::Injected {
            step,
            target,
            outcome: Injection::Gone | Injection::Failed | Injection::Skipped,
            detail,
            ..
        } => Some(format!("{} was not injected: {detail}", on(step, target))),
        What::Effect { step, target, seen: false, detail } => {
            Some(format!("{} had no visible effect: {detail}", on(step, target)))
        }
        // Only faults that are taken back say so: somebody else had ended it, and nobody knows when.
        What::Undone { step, target, outcome: UndoOutcome::Nothing, detail } => {
            Some(format!("{} was no longer in place when it was to be taken back: {detail}", on(step, target)))
        }
        What::Undone { step, target, outcome: UndoOutcome::Conflict, detail } => {
            Some(format!("{} was changed by somebody else meanwhile: {detail}", on(step, target)))
        }
        _ => None,
    }
}

/// `1 act`, `2 acts`.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(whats: Vec<What>) -> Vec<Event> {
        (0..).zip(whats).map(|(seq, what)| Event { seq, at: 0, wall: jiff::Timestamp::UNIX_EPOCH, what }).collect()
    }

    fn target() -> Target {
        Target {
            kind: "pod".to_owned(),
            namespace: "shop".to_owned(),
            name: "web-1".to_owned(),
            uid: "u".to_owned(),
            node: None,
            zone: None,
            owner: None,
            instance: None,
        }
    }

    fn injected(outcome: Injection, expected: bool) -> What {
        What::Injected {
            step: "kill".to_owned(),
            fault: "podKill".to_owned(),
            target: target(),
            outcome,
            sent: 0,
            answered: 1,
            detail: "d".to_owned(),
            expected,
        }
    }

    fn judged(verdict: Verdict) -> What {
        What::Judged(Judgement {
            index: 0,
            subject: "probe web".to_owned(),
            stream: None,
            tolerance: "success >= 99%".to_owned(),
            phase: Some(Phase::During),
            verdict,
            measured: "98 %".to_owned(),
            value: Some(0.98),
            interval: None,
            samples: 100,
            reason: String::new(),
        })
    }

    fn effect(seen: bool) -> What {
        What::Effect { step: "kill".to_owned(), target: target(), seen, detail: "d".to_owned() }
    }

    fn undone(outcome: UndoOutcome) -> What {
        What::Undone { step: "kill".to_owned(), target: target(), outcome, detail: "d".to_owned() }
    }

    #[test]
    fn each_verdict_from_the_events_that_make_it() {
        let good = || vec![injected(Injection::Injected, true), effect(true), judged(Verdict::Held)];
        let with = |more: What| good().into_iter().chain([more]).collect::<Vec<_>>();
        let aborting = What::Aborting { by: "signal".to_owned(), detail: String::new() };
        let healed = What::Healed { step: "kill".to_owned(), target: target(), healed: false, detail: "d".to_owned() };
        let cases = [
            (good(), RunVerdict::Passed),
            (with(judged(Verdict::Deviated)), RunVerdict::Deviated),
            (with(judged(Verdict::Unproven)), RunVerdict::Inconclusive),
            (with(effect(false)), RunVerdict::Inconclusive),
            (with(injected(Injection::Refused, false)), RunVerdict::Deviated),
            (with(injected(Injection::Injected, false)), RunVerdict::Deviated),
            (with(injected(Injection::Refused, true)), RunVerdict::Passed),
            (with(injected(Injection::Gone, false)), RunVerdict::Inconclusive),
            (with(injected(Injection::Failed, false)), RunVerdict::Inconclusive),
            (with(undone(UndoOutcome::Conflict)), RunVerdict::Inconclusive),
            (with(undone(UndoOutcome::Undone)), RunVerdict::Passed),
            (with(undone(UndoOutcome::Nothing)), RunVerdict::Inconclusive),
            (with(healed), RunVerdict::Deviated),
            (with(aborting), RunVerdict::Aborted),
        ];
        for (whats, expected) in cases {
            assert_eq!(conclude(&events(whats.clone()), &[]).verdict, expected, "{whats:?}");
        }
    }

    #[test]
    fn what_is_left_outweighs_everything_and_a_run_that_tested_nothing_is_not_green() {
        let left = ["deployment/web".to_owned()];
        assert_eq!(conclude(&events(vec![judged(Verdict::Deviated)]), &left).verdict, RunVerdict::UndoIncomplete);
        assert_eq!(conclude(&[], &[]).verdict, RunVerdict::Inconclusive);
        assert_eq!(conclude(&events(vec![judged(Verdict::Held)]), &[]).verdict, RunVerdict::Inconclusive);
        assert_eq!(conclude(&events(vec![injected(Injection::Injected, true)]), &[]).verdict, RunVerdict::Inconclusive);
    }
}
