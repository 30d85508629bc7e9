//! Hypotheses about an object: judged on every state that the watch showed.

use std::ops::Range;

use serde_json::Value as Json;

use super::series::{Phases, seconds};
use super::words::plain_time;
use crate::probe::Nanos;
use crate::record::{Judgement, Phase, Verdict};
use crate::scalar::{Operator, Predicate, Subject, Value};

/// What became of one object's hypothesis. A state is in force from the instant at which it was seen until the next one.
///
/// Only whether a state meets the predicate is kept, not the state.
#[derive(Debug, Clone)]
pub struct ObjectTrack {
    subject: String,
    predicate: Predicate,
    states: Vec<State>,
    blind: Vec<Range<Nanos>>,
}

#[derive(Debug, Clone, PartialEq)]
struct State {
    at: Nanos,
    met: bool,
    shown: String,
}

impl ObjectTrack {
    /// A track without any state; `subject` is how reports name the object: `deployment/web`.
    #[must_use]
    pub fn new(subject: impl Into<String>, predicate: Predicate) -> Self {
        Self { subject: subject.into(), predicate, states: Vec::new(), blind: Vec::new() }
    }

    /// The object had this state from `at` on; `None`: it does not exist. Instants must not decrease.
    pub fn state(&mut self, at: Nanos, object: Option<&Json>) {
        let (met, shown) = check(&self.predicate, object);
        if self.states.last().is_none_or(|last| (last.met, &last.shown) != (met, &shown)) {
            self.states.push(State { at, met, shown });
        }
    }

    /// The API could not be seen from `from` until `to`; the end of the run when it never came back.
    pub fn blind(&mut self, from: Nanos, to: Nanos) {
        if from < to {
            self.blind.push(from..to);
        }
    }

    /// Judges the hypothesis in one phase. A phase without length is unproven: it never began.
    #[must_use]
    pub fn judge(&self, index: usize, phase: Phase, phases: &Phases) -> Judgement {
        let bounds = phases.bounds(phase);
        let first = self.states.partition_point(|state| state.at <= bounds.start).saturating_sub(1);
        let last = self.states.partition_point(|state| state.at < bounds.end);
        let states = self.states.get(first..last).unwrap_or_default();
        let (verdict, reason) = self.verdict(states, &bounds, phase);
        let worst = states.iter().find(|state| !state.met).or_else(|| states.last());
        Judgement {
            index,
            subject: self.subject.clone(),
            stream: None,
            tolerance: self.predicate.text.clone(),
            phase: Some(phase),
            verdict,
            measured: worst.map(|state| state.shown.clone()).unwrap_or_default(),
            value: worst.and_then(|state| state.shown.parse().ok()),
            interval: None,
            samples: states.len() as u64,
            reason,
        }
    }

    fn verdict(&self, states: &[State], bounds: &Range<Nanos>, phase: Phase) -> (Verdict, String) {
        if bounds.is_empty() {
            return (Verdict::Unproven, format!("phase `{}` never began", phase.label()));
        }
        if let Some(state) = states.iter().find(|state| !state.met) {
            let at = plain_time(seconds(state.at.max(bounds.start) / 1_000_000 * 1_000_000));
            let path = path(&self.predicate.subject);
            return (Verdict::Deviated, format!("`{path}` was {} at {at} into the run", state.shown));
        }
        let Some(first) = states.first() else {
            return (Verdict::Unproven, format!("{} was never seen", self.subject));
        };
        let dark = self.dark(bounds, first.at);
        if dark > 0 {
            let reason = format!("{} could not be seen for {}", self.subject, plain_time(seconds(dark)));
            return (Verdict::Unproven, reason);
        }
        (Verdict::Held, String::new())
    }

    /// How much of a phase was not seen; what lies before the first state was not.
    fn dark(&self, bounds: &Range<Nanos>, first: Nanos) -> Nanos {
        let mut blind: Vec<Range<Nanos>> = self.blind.clone();
        blind.push(0..first);
        blind.sort_by_key(|time| time.start);
        let mut dark = 0;
        let mut from = bounds.start;
        for time in blind {
            let end = time.end.min(bounds.end);
            dark += end.saturating_sub(time.start.max(from));
            from = from.max(end);
        }
        dark
    }
}

/// Whether an object's state meets a predicate, and what was found, in words: the value, `absent`, or `deleted`.
///
/// A path's segment is a field, or the position in a list. A field that is absent meets only `!=`, except that Kubernetes
/// leaves out counts that are 0: an absent `status` field whose name ends in `Replicas`, `replicas`, `Available`,
/// `Unavailable` or `Scheduled` counts as 0 when it is compared with a number. An object that does not exist meets nothing.
#[must_use]
pub fn check(predicate: &Predicate, object: Option<&Json>) -> (bool, String) {
    let Some(object) = object else {
        return (false, "deleted".to_owned());
    };
    let found = match &predicate.subject {
        Subject::Field(path) => field(object, path).cloned().or_else(|| left_out(path, &predicate.value)),
        Subject::Condition(kind) => condition(object, kind).cloned(),
    };
    match found {
        None => (predicate.operator == Operator::NotEqual, "absent".to_owned()),
        Some(found) => (compare(predicate, &found), shown(&found)),
    }
}

fn path(subject: &Subject) -> String {
    match subject {
        Subject::Field(path) => path.join("."),
        Subject::Condition(kind) => format!("condition {kind}"),
    }
}

fn field<'a>(object: &'a Json, path: &[String]) -> Option<&'a Json> {
    let found = path.iter().try_fold(object, |at, segment| match at {
        Json::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => at.get(segment),
    })?;
    (!found.is_null()).then_some(found)
}

/// The 0 that a Kubernetes API type leaves out (`omitempty`).
fn left_out(path: &[String], value: &Value) -> Option<Json> {
    const COUNTS: [&str; 5] = ["Replicas", "replicas", "Available", "Unavailable", "Scheduled"];
    let [status, name] = path else { return None };
    let count = status == "status" && COUNTS.iter().any(|end| name.ends_with(end));
    (count && matches!(value, Value::Number(_))).then(|| Json::from(0))
}

fn condition<'a>(object: &'a Json, kind: &str) -> Option<&'a Json> {
    let conditions = object.get("status")?.get("conditions")?.as_array()?;
    conditions.iter().find(|condition| condition.get("type").and_then(Json::as_str) == Some(kind))?.get("status")
}

fn shown(found: &Json) -> String {
    found.as_str().map_or_else(|| found.to_string(), ToOwned::to_owned)
}

fn compare(predicate: &Predicate, found: &Json) -> bool {
    match &predicate.value {
        Value::Number(bound) => match found.as_f64().or_else(|| found.as_str()?.parse().ok()) {
            Some(number) => match predicate.operator {
                Operator::Less => number < *bound,
                Operator::AtMost => number <= *bound,
                Operator::More => number > *bound,
                Operator::AtLeast => number >= *bound,
                Operator::Equal => super::tolerance::same(number, *bound),
                Operator::NotEqual => !super::tolerance::same(number, *bound),
            },
            None => predicate.operator == Operator::NotEqual,
        },
        Value::Text(text) => match predicate.operator {
            Operator::Equal => shown(found) == *text,
            Operator::NotEqual => shown(found) != *text,
            // Texts have no order that an experiment could mean.
            Operator::Less | Operator::AtMost | Operator::More | Operator::AtLeast => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::measure::testing::S;

    const PHASES: Phases = Phases { during: 10 * S, after: 20 * S, end: 30 * S };

    fn predicate(path: &str, operator: Operator, value: Value) -> Predicate {
        let text = format!("{path} {operator:?} {value:?}");
        let subject = Subject::Field(path.split('.').map(ToOwned::to_owned).collect());
        Predicate { subject, operator, value, text }
    }

    fn replicas() -> Predicate {
        predicate("status.availableReplicas", Operator::AtLeast, Value::Number(2.0))
    }

    fn web(available: u32) -> Json {
        if available == 0 { json!({"status": {}}) } else { json!({"status": {"availableReplicas": available}}) }
    }

    fn verdicts(track: &ObjectTrack) -> Vec<Verdict> {
        Phase::ALL.iter().map(|&phase| track.judge(0, phase, &PHASES).verdict).collect()
    }

    #[test]
    fn every_state_must_meet_it_and_the_last_one_stays_in_force() {
        let mut track = ObjectTrack::new("deployment/web", replicas());
        track.state(0, Some(&web(3)));
        track.state(12 * S, Some(&web(1)));
        track.state(15 * S, Some(&web(3)));
        assert_eq!(verdicts(&track), [Verdict::Held, Verdict::Deviated, Verdict::Held]);
        let during = track.judge(4, Phase::During, &PHASES);
        assert_eq!((during.measured.as_str(), during.value, during.index), ("1", Some(1.0), 4));
        assert_eq!(during.reason, "`status.availableReplicas` was 1 at 12.0 s into the run");
        // A state from before that still holds violates the phase from its first instant.
        let mut track = ObjectTrack::new("deployment/web", replicas());
        track.state(0, Some(&web(1)));
        track.state(15 * S, Some(&web(2)));
        let during = track.judge(0, Phase::During, &PHASES);
        assert_eq!(during.reason, "`status.availableReplicas` was 1 at 10.0 s into the run");
    }

    #[test]
    fn what_was_not_seen_is_unproven_but_a_violation_stands() {
        assert_eq!(verdicts(&ObjectTrack::new("deployment/web", replicas())), [Verdict::Unproven; 3]);
        let mut track = ObjectTrack::new("deployment/web", replicas());
        track.state(S, Some(&web(3)));
        track.blind(18 * S, 22 * S);
        track.blind(19 * S, 21 * S);
        assert_eq!(verdicts(&track), [Verdict::Unproven; 3]);
        let after = track.judge(0, Phase::After, &PHASES);
        assert_eq!(after.reason, "deployment/web could not be seen for 2.00 s");
        track.state(22 * S, Some(&web(0)));
        assert_eq!(verdicts(&track), [Verdict::Unproven, Verdict::Unproven, Verdict::Deviated]);
        assert_eq!(track.judge(0, Phase::After, &PHASES).measured, "0");
    }

    #[test]
    fn a_deleted_object_and_a_phase_that_never_began() {
        let mut track =
            ObjectTrack::new("pod/db-0", predicate("status.phase", Operator::NotEqual, Value::Text("Failed".into())));
        track.state(0, Some(&json!({"status": {"phase": "Running"}})));
        track.state(11 * S, None);
        assert_eq!(verdicts(&track)[..2], [Verdict::Held, Verdict::Deviated]);
        let aborted = Phases { during: 10 * S, after: 10 * S, end: 10 * S };
        assert_eq!(track.judge(0, Phase::During, &aborted).verdict, Verdict::Unproven);
    }

    #[test]
    fn paths_conditions_and_counts_that_are_left_out() {
        let node = json!({
            "spec": {"unschedulable": true, "taints": [{"key": "a"}, {"key": "b"}]},
            "status": {"conditions": [{"type": "Ready", "status": "False"}], "observed": "7"}
        });
        let met = |predicate: &Predicate| check(predicate, Some(&node));
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(met(&predicate("spec.taints.1.key", Operator::Equal, text("b"))), (true, "b".into()));
        assert_eq!(met(&predicate("spec.taints.2.key", Operator::Equal, text("b"))), (false, "absent".into()));
        assert_eq!(met(&predicate("spec.unschedulable", Operator::Equal, text("true"))), (true, "true".into()));
        assert_eq!(met(&predicate("status.observed", Operator::More, Value::Number(6.0))), (true, "7".into()));
        assert_eq!(met(&predicate("status.observed", Operator::More, text("6"))), (false, "7".into()));
        assert_eq!(met(&predicate("status.numberAvailable", Operator::Less, Value::Number(1.0))), (true, "0".into()));
        assert_eq!(met(&predicate("spec.replicas", Operator::Less, Value::Number(1.0))), (false, "absent".into()));
        let ready = |status: &str| Predicate {
            subject: Subject::Condition("Ready".into()),
            ..predicate("x", Operator::Equal, text(status))
        };
        assert_eq!(met(&ready("True")), (false, "False".into()));
        assert_eq!(met(&ready("False")), (true, "False".into()));
    }
}
