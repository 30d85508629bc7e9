//! How long the phases last, how many requests that makes, and which steps are in each other's way.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{PlannedStep, Refused};
use crate::fault::Refusal;
use crate::record::Phase;
use crate::spec::Experiment;

/// How long *during* may last when the experiment does not say.
pub const MAX_DURING: Duration = Duration::from_mins(15);

/// Most requests that one run may plan: each is kept with its outcome and latency, so that memory bounds them.
pub const MAX_REQUESTS: u64 = 5_000_000;

/// How long an undo is tried again before a person is asked.
pub const UNDO_BUDGET: Duration = Duration::from_mins(2);

/// How long the phases last, in milliseconds, and how many requests that makes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedTiming {
    /// *Before*.
    pub before_ms: u64,
    /// *During*, where the experiment says how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during_ms: Option<u64>,
    /// The end of the last step, undo excluded, where its injection takes no time: *during* lasts at least as long.
    pub steps_ms: u64,
    /// The longest that *during* may last, injections that wait and healing included.
    pub during_at_most_ms: u64,
    /// *After*.
    pub after_ms: u64,
    /// Requests over all probes and streams, when every phase lasts as long as it may.
    pub requests: u64,
}

impl PlannedTiming {
    /// The timing of an experiment.
    #[must_use]
    pub fn of(experiment: &Experiment) -> Self {
        let spec = &experiment.spec;
        let end = |step: &crate::spec::Step| {
            millis(step.at.get() + step.hold.map_or(Duration::ZERO, crate::scalar::Duration::get))
        };
        let steps_ms = spec.method.iter().map(end).max().unwrap_or(0);
        // A hold begins when the injection has come to its end.
        let late = |step: &crate::spec::Step| end(step).saturating_add(millis(step.fault.longest_injection()));
        let at_latest = spec.method.iter().map(late).max().unwrap_or(0);
        let during_ms = spec.timing.during.map(|during| millis(during.get()));
        let healed = at_latest.saturating_add(millis(spec.timing.heal.get()));
        let during_at_most_ms = match during_ms {
            Some(given) => given.max(healed),
            None => healed.min(millis(MAX_DURING)).max(at_latest),
        };
        let mut timing = Self {
            before_ms: millis(spec.timing.before.get()),
            during_ms,
            steps_ms,
            during_at_most_ms,
            after_ms: millis(spec.timing.after.get()),
            requests: 0,
        };
        let longest = timing.longest();
        timing.requests = spec
            .probes
            .iter()
            .map(|probe| probe.rate.slots_in(longest).saturating_mul(probe.protocol.streams().into()))
            .sum();
        timing
    }

    /// The longest that all phases can last together.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        Duration::from_millis(self.before_ms + self.during_at_most_ms + self.after_ms)
    }

    /// How long a phase lasts; `None` for a *during* of unknown length.
    #[must_use]
    pub fn length(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Before => Some(self.before_ms),
            Phase::During => self.during_ms,
            Phase::After => Some(self.after_ms),
        }
        .map(Duration::from_millis)
    }

    /// What refuses it: too many requests, too many per second, or a *during* that does not cover its steps.
    pub(super) fn refusals(&self, experiment: &Experiment) -> Vec<Refusal> {
        let spec = &experiment.spec;
        let mut refusals = Vec::new();
        if let Some(during) = self.during_ms
            && during < self.steps_ms
        {
            refusals.push(
                Refusal::new(format!(
                    "`timing.during` ends before the last step does: {} < {}",
                    time(during),
                    time(self.steps_ms)
                ))
                .hint(format!("write `during: {}` or more, or leave it out", time(self.steps_ms))),
            );
        }
        if self.requests > MAX_REQUESTS {
            let all: Vec<String> = spec
                .probes
                .iter()
                .map(|probe| {
                    format!("`{}` {} × {}", probe.name, probe.rate, count(probe.protocol.streams().into(), "stream"))
                })
                .collect();
            let lasts = time(self.before_ms + self.during_at_most_ms + self.after_ms);
            refusals.push(
                Refusal::new(format!(
                    "the run would plan {} requests, more than {MAX_REQUESTS}: {} over up to {lasts}",
                    self.requests,
                    all.join(" + ")
                ))
                .hint("lower the rates, or shorten `timing`"),
            );
        }
        let per_second: f64 =
            spec.probes.iter().map(|probe| probe.rate.per_second() * f64::from(probe.protocol.streams())).sum();
        if let Some(most) = spec.limits.requests_per_second
            && per_second > f64::from(most)
        {
            refusals.push(
                Refusal::new(format!(
                    "the probes send {per_second} requests per second, more than `limits.requestsPerSecond`: {most}"
                ))
                .hint("a `paired` probe counts twice; lower the rates, or raise the limit"),
            );
        }
        refusals
    }
}

fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn time(millis: u64) -> String {
    humantime::format_duration(Duration::from_millis(millis)).to_string()
}

/// Refuses steps that touch one object at the same time. A step without `for` whose fault we take back is held until *during* ends;
/// one that heals by itself acts at one instant.
pub(super) fn overlaps(steps: &[PlannedStep]) -> Vec<Refused> {
    let mut refusals = Vec::new();
    for (i, first) in steps.iter().enumerate() {
        for second in &steps[i + 1..] {
            if !meet(first, second) {
                continue;
            }
            for target in first.targets.iter().filter(|target| second.targets.iter().any(|t| t.uid == target.uid)) {
                refusals.push(Refused::of(
                    Some(&second.name),
                    Refusal::new(format!(
                        "steps `{}` and `{}` would touch {target}{} at the same time",
                        first.name,
                        second.name,
                        if target.namespace.is_empty() {
                            String::new()
                        } else {
                            format!(" in namespace `{}`", target.namespace)
                        }
                    ))
                    .hint("let one end before the other begins, or choose other targets"),
                ));
            }
        }
    }
    refusals
}

/// Warns of pods that an earlier step takes away: they don't come back under the same identity.
pub(super) fn taken_before(steps: &[PlannedStep]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, first) in steps.iter().enumerate() {
        for second in steps[i + 1..].iter().filter(|second| !meet(first, second)) {
            for target in
                first.targets.iter().filter(|t| t.kind == "pod" && second.targets.iter().any(|s| s.uid == t.uid))
            {
                warnings.push(format!(
                    "step `{}` takes {target} away before step `{}` touches it: that step will find it gone",
                    first.name, second.name
                ));
            }
        }
    }
    warnings
}

/// Whether two steps act at the same time, ends included: an undo at the instant of another injection is a race.
fn meet(a: &PlannedStep, b: &PlannedStep) -> bool {
    a.at_ms <= end(b) && b.at_ms <= end(a)
}

/// When a step acts last, in milliseconds after *during* has begun.
fn end(step: &PlannedStep) -> u64 {
    match step.hold_ms {
        Some(hold) => step.at_ms.saturating_add(hold),
        None if step.undoable => u64::MAX,
        None => step.at_ms,
    }
}

/// UIDs of what these steps may still have away at an instant: what is held then, and what heals by itself, for nobody knows when.
pub(super) fn gone_by(steps: &[PlannedStep], at_ms: u64) -> BTreeSet<String> {
    let away = steps.iter().filter(|step| !step.undoable || end(step) >= at_ms);
    away.flat_map(|step| &step.targets).map(|target| target.uid.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{experiment, pod, step};

    #[test]
    fn two_steps_on_one_object_at_one_time_are_refused_by_name() {
        let held = |name, at, hold| PlannedStep { hold_ms: Some(hold), ..step(name, at, vec![pod("shop", "web-1")]) };
        let refused = overlaps(&[held("a", 0, 10), held("b", 5, 10)]);
        assert_eq!(refused[0].message, "steps `a` and `b` would touch pod/web-1 in namespace `shop` at the same time");
        assert_eq!(overlaps(&[held("a", 0, 10), held("b", 10, 1)]).len(), 1, "the undo races the injection");
        assert_eq!(overlaps(&[held("a", 0, 10), held("b", 11, 1)]).len(), 0);
        let open = PlannedStep { undoable: true, ..step("a", 0, vec![pod("shop", "web-1")]) };
        assert_eq!(overlaps(&[open.clone(), held("b", 900, 1)]).len(), 1, "held until `during` ends");
        let elsewhere = step("b", 0, vec![pod("shop", "web-2")]);
        assert_eq!(overlaps(&[open, elsewhere]).len(), 0);
    }

    #[test]
    fn what_was_given_back_before_is_not_away_any_more() {
        let held = PlannedStep { hold_ms: Some(10), undoable: true, ..step("a", 0, vec![pod("shop", "web-1")]) };
        let healing = step("b", 0, vec![pod("shop", "web-2")]);
        let uid = |name| pod("shop", name).uid;
        let steps = [held, healing];
        assert_eq!(gone_by(&steps, 10), BTreeSet::from([uid("web-1"), uid("web-2")]));
        assert_eq!(gone_by(&steps, 11), BTreeSet::from([uid("web-2")]));
    }

    #[test]
    fn a_pod_that_is_gone_by_then_is_a_warning() {
        let steps = [step("a", 0, vec![pod("shop", "web-1")]), step("b", 5000, vec![pod("shop", "web-1")])];
        assert!(overlaps(&steps).is_empty());
        assert!(taken_before(&steps)[0].contains("will find it gone"));
    }

    #[test]
    fn counts_every_stream_over_the_longest_run() {
        let mut experiment =
            experiment(r#"[{"name": "k", "at": "5s", "podKill": {"pods": {"namespace": "shop", "all": true}}}]"#);
        let timing = PlannedTiming::of(&experiment);
        // 20 s before, 5 s and 120 s of healing, 30 s after; 100/s on two streams.
        assert_eq!((timing.steps_ms, timing.during_at_most_ms, timing.requests), (5_000, 125_000, 35_000));
        assert_eq!(timing.length(Phase::During), None);
        experiment.spec.timing.during = Some(crate::scalar::Duration::seconds(200));
        let timing = PlannedTiming::of(&experiment);
        assert_eq!((timing.during_at_most_ms, timing.requests), (200_000, 50_000));
        assert!(timing.refusals(&experiment).is_empty());
    }

    #[test]
    fn an_injection_that_waits_makes_the_run_longer_and_no_step_later() {
        let drain = experiment(
            r#"[{"name": "d", "at": "5s", "for": "10s", "nodeDrain": {"nodes": {"names": ["n1"]}, "timeout": "1m"}}]"#,
        );
        let timing = PlannedTiming::of(&drain);
        assert_eq!((timing.steps_ms, timing.during_at_most_ms), (15_000, 15_000 + 60_000 + 120_000));
    }

    #[test]
    fn refuses_more_requests_than_it_can_keep() {
        let mut experiment = experiment("[]");
        experiment.spec.probes[0].rate = "100000/s".parse().unwrap();
        let refusals = PlannedTiming::of(&experiment).refusals(&experiment);
        assert!(refusals[0].message.contains("`web` 100000/s × 2 streams"), "{}", refusals[0].message);
        experiment.spec.probes[0].rate = "100/s".parse().unwrap();
        experiment.spec.limits.requests_per_second = Some(199);
        let refusals = PlannedTiming::of(&experiment).refusals(&experiment);
        assert!(refusals[0].message.contains("200 requests per second"), "{}", refusals[0].message);
    }

    #[test]
    fn during_covers_its_steps() {
        let mut experiment = experiment(
            r#"[{"name": "k", "at": "50s", "for": "20s", "podKill": {"pods": {"namespace": "shop", "all": true}}}]"#,
        );
        experiment.spec.timing.during = Some(crate::scalar::Duration::seconds(60));
        let refusals = PlannedTiming::of(&experiment).refusals(&experiment);
        assert!(refusals[0].message.ends_with("1m < 1m 10s"), "{}", refusals[0].message);
    }
}
