//! Events to a [`Report`]. One pass, in order; whatever is missing at the end is said, not guessed.

use serde_json::Value;

use super::model::{
    Aborted, Blind, Effect, Healing, ImpactTimes, InjectionResult, PhaseSpan, Report, StepReport, TargetReport,
    Undoing, VERSION,
};
use super::spans::Spans;
use super::{advice, beside};
use crate::record::{ClusterId, Event, Impact, Judgement, Micros, Predicted, Replaced, Target, Verdict, What};
use crate::scalar::EngineKind;

impl Report {
    /// Folds the events of one run, complete or not.
    #[must_use]
    pub fn from_events(events: &[Event]) -> Self {
        let mut fold = Fold::default();
        for event in events {
            fold.push(event);
        }
        fold.finish()
    }
}

/// What is known of a run so far.
struct Fold {
    report: Report,
    first: Option<Micros>,
    last: Micros,
    stopped: Option<Micros>,
    plan: Option<Value>,
    open_blind: Vec<(String, Micros)>,
    spans: Spans,
    predicted: Predicted,
}

impl Default for Fold {
    fn default() -> Self {
        let report = Report {
            version: VERSION,
            squall: String::new(),
            run: String::new(),
            experiment: String::new(),
            source: String::new(),
            seed: 0,
            cluster: ClusterId::default(),
            engine: EngineKind::default(),
            started: None,
            ended: None,
            elapsed_us: 0,
            verdict: None,
            exit_code: None,
            reason: String::new(),
            left: Vec::new(),
            aborted: None,
            phases: Vec::new(),
            hypotheses: Vec::new(),
            steps: Vec::new(),
            outages: Vec::new(),
            impacts: Vec::new(),
            summaries: Vec::new(),
            availability: Vec::new(),
            comparisons: Vec::new(),
            replaced: Vec::new(),
            spans: Vec::new(),
            beside: None,
            blind: Vec::new(),
            warnings: Vec::new(),
            next: Vec::new(),
        };
        Self {
            report,
            first: None,
            last: 0,
            stopped: None,
            plan: None,
            open_blind: Vec::new(),
            spans: Spans::default(),
            predicted: Predicted::default(),
        }
    }
}

impl Fold {
    fn push(&mut self, event: &Event) {
        self.first.get_or_insert(event.at);
        self.last = self.last.max(event.at);
        self.report.started.get_or_insert(event.wall);
        self.report.ended = Some(event.wall);
        self.spans.push(event.at, &event.what);
        match &event.what {
            What::RunStarted { version, run, experiment, source, seed, cluster, engine, .. } => {
                self.report.engine = *engine;
                self.report.squall.clone_from(version);
                self.report.run.clone_from(run);
                self.report.experiment.clone_from(experiment);
                self.report.source.clone_from(source);
                self.report.seed = *seed;
                self.report.cluster.clone_from(cluster);
            }
            What::Planned { plan } => self.planned(plan),
            What::Predicted(predicted) => self.predicted.clone_from(predicted),
            What::PhaseStarted { phase, from } => {
                self.report.phases.push(PhaseSpan { phase: *phase, from: *from, to: *from });
            }
            What::ProbesStopped { at } => self.stopped = Some(*at),
            What::Prepared { .. }
            | What::Injected { .. }
            | What::Effect { .. }
            | What::Undone { .. }
            | What::Healed { .. } => self.acted(event),
            What::Blind { what, from, to } => self.blind(what, *from, *to),
            // One second of a stream, its life, and one change of an object are for the page's chart and list, which read the events.
            What::Object { .. } | What::Interval(_) | What::Life(_) => {}
            What::Aborting { by, detail } => {
                // The first reason counts: what follows it is the ending.
                self.report.aborted.get_or_insert_with(|| Aborted {
                    at: event.at,
                    by: by.clone(),
                    detail: detail.clone(),
                });
            }
            What::Warning { text } => {
                if !self.report.warnings.contains(text) {
                    self.report.warnings.push(text.clone());
                }
            }
            What::Outage(outage) => upsert(&mut self.report.outages, outage, |o| (o.probe.clone(), o.stream, o.from)),
            What::Summary(summary) => {
                upsert(&mut self.report.summaries, summary, |s| (s.probe.clone(), s.stream, s.phase));
            }
            What::Availability(availability) => {
                upsert(&mut self.report.availability, availability, |a| (a.probe.clone(), a.stream, a.phase));
            }
            What::Compared(comparison) => {
                upsert(&mut self.report.comparisons, comparison, |c| (c.probe.clone(), c.stream));
            }
            What::Replaced(replaced) => {
                let key = |r: &Replaced| (r.step.clone(), r.displaced.namespace.clone(), r.displaced.workload.clone());
                upsert(&mut self.report.replaced, replaced, key);
            }
            What::Judged(judgement) => {
                upsert(&mut self.report.hypotheses, judgement, |j| (j.index, j.subject.clone(), j.stream, j.phase));
            }
            What::Impact(impact) => upsert(&mut self.report.impacts, &times(impact), |i| i.step.clone()),
            What::RunFinished { verdict, exit_code, reason, left } => {
                self.report.verdict = Some(*verdict);
                self.report.exit_code = Some(*exit_code);
                self.report.reason.clone_from(reason);
                self.report.left.clone_from(left);
            }
        }
    }

    /// Takes over the planned steps, so that a step that was never reached stands in the report too.
    fn planned(&mut self, plan: &Value) {
        for step in plan.get("steps").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let micros = |key: &str| step.get(key).and_then(Value::as_i64).map(|ms| ms.saturating_mul(1_000));
            let targets = step.get("targets").and_then(Value::as_array).into_iter().flatten();
            self.report.steps.push(StepReport {
                name: text("name"),
                fault: text("fault"),
                at_us: micros("atMs"),
                hold_us: micros("holdMs"),
                of: step.get("of").and_then(Value::as_u64),
                targets: targets
                    .filter_map(|t| serde_json::from_value::<Target>(t.clone()).ok())
                    .map(untouched)
                    .collect(),
            });
        }
        self.plan = Some(plan.clone());
    }

    /// Notes what a step did to a target.
    fn acted(&mut self, event: &Event) {
        let at = event.at;
        match &event.what {
            What::Prepared { step, target } => self.target(step, target).prepared = Some(at),
            What::Injected { step, fault, target, outcome, sent, answered, detail, expected } => {
                self.target(step, target).injection = Some(InjectionResult {
                    outcome: *outcome,
                    sent: *sent,
                    answered: *answered,
                    detail: detail.clone(),
                    expected: *expected,
                });
                self.step(step).fault.clone_from(fault);
            }
            What::Effect { step, target, seen, detail } => {
                self.target(step, target).effect = Some(Effect { at, seen: *seen, detail: detail.clone() });
            }
            What::Undone { step, target, outcome, detail } => {
                self.target(step, target).undo = Some(Undoing { at, outcome: *outcome, detail: detail.clone() });
            }
            What::Healed { step, target, healed, detail } => {
                self.target(step, target).heal = Some(Healing { at, healed: *healed, detail: detail.clone() });
            }
            _ => {}
        }
    }

    fn step(&mut self, name: &str) -> &mut StepReport {
        let at = self.report.steps.iter().position(|s| s.name == name).unwrap_or_else(|| {
            self.report.steps.push(StepReport {
                name: name.to_owned(),
                fault: String::new(),
                at_us: None,
                hold_us: None,
                of: None,
                targets: Vec::new(),
            });
            self.report.steps.len() - 1
        });
        &mut self.report.steps[at]
    }

    fn target(&mut self, step: &str, target: &Target) -> &mut TargetReport {
        let targets = &mut self.step(step).targets;
        let at = targets.iter().position(|t| same(&t.target, target)).unwrap_or_else(|| {
            targets.push(untouched(target.clone()));
            targets.len() - 1
        });
        &mut targets[at]
    }

    /// A blind window is announced when it begins and again when it ends.
    fn blind(&mut self, what: &str, from: Micros, to: Option<Micros>) {
        self.open_blind.retain(|(w, f)| !(w == what && *f == from));
        match to {
            Some(to) => self.report.blind.push(Blind { what: what.to_owned(), from, to }),
            None => self.open_blind.push((what.to_owned(), from)),
        }
    }

    fn finish(mut self) -> Report {
        let report = &mut self.report;
        report.elapsed_us = self.last - self.first.unwrap_or(self.last);
        for (what, from) in self.open_blind {
            report.blind.push(Blind { what, from, to: self.last });
        }
        report.blind.sort_by_key(|b| b.from);
        report.outages.sort_by_key(|o| (o.from, o.probe.clone(), o.stream));
        let end = self.stopped.unwrap_or(self.last);
        for i in 0..report.phases.len() {
            let to = report.phases.get(i + 1).map_or(end, |next| next.from);
            report.phases[i].to = to.max(report.phases[i].from);
        }
        if report.verdict.is_none() {
            "the run ended without finishing".clone_into(&mut report.reason);
        }
        report.summaries.sort_by(|a, b| (&a.probe, a.stream, a.phase).cmp(&(&b.probe, b.stream, b.phase)));
        report.availability.sort_by(|a, b| (&a.probe, a.stream, a.phase).cmp(&(&b.probe, b.stream, b.phase)));
        report.comparisons.sort_by(|a, b| (&a.probe, a.stream).cmp(&(&b.probe, b.stream)));
        let missing = unjudged(report, self.plan.as_ref());
        report.hypotheses.extend(missing);
        report.hypotheses.sort_by_key(|h| (h.index, h.phase, h.stream));
        report.spans = self.spans.finish();
        report.beside = beside::beside(&self.predicted, report);
        report.next = advice::advise(report, self.plan.as_ref());
        self.report
    }
}

/// Puts a later word on the same thing in the place of the earlier one.
fn upsert<T: Clone, K: PartialEq>(list: &mut Vec<T>, item: &T, key: impl Fn(&T) -> K) {
    match list.iter_mut().find(|known| key(known) == key(item)) {
        Some(known) => known.clone_from(item),
        None => list.push(item.clone()),
    }
}

/// Whether two targets are one object. A target without a UID (recovered from a note) is known by its name.
fn same(a: &Target, b: &Target) -> bool {
    (&a.kind, &a.namespace, &a.name) == (&b.kind, &b.namespace, &b.name)
        && (a.uid == b.uid || a.uid.is_empty() || b.uid.is_empty())
}

const fn untouched(target: Target) -> TargetReport {
    TargetReport { target, prepared: None, injection: None, effect: None, undo: None, heal: None }
}

fn times(impact: &Impact) -> ImpactTimes {
    let after = |at: Option<Micros>| at.map(|at| at - impact.injected);
    ImpactTimes {
        step: impact.step.clone(),
        injected: impact.injected,
        to_impact_us: after(impact.impact),
        to_detection_us: after(impact.detected),
        detected_by: impact.detected_by.clone(),
        to_mitigation_us: after(impact.mitigated),
        to_heal_us: after(impact.healed),
        to_recovery_us: after(impact.recovered),
        bad: impact.bad,
        judged: impact.judged,
        blast_radius: super::format::ratio(impact.bad, impact.judged),
    }
}

/// The hypotheses that the plan names and nobody judged: a refused run has them all.
fn unjudged(report: &Report, plan: Option<&Value>) -> Vec<Judgement> {
    let written = plan.and_then(|p| p.pointer("/document/spec/steadyState")).and_then(Value::as_array);
    let word = super::format::run_verdict(report.verdict);
    let reason = match report.verdict {
        None => "not judged: the run ended without finishing".to_owned(),
        Some(_) => format!("not judged: the run's verdict is {word}"),
    };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    written
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(index, _)| !report.hypotheses.iter().any(|h| h.index == *index))
        .map(|(index, hypothesis)| Judgement {
            index,
            subject: text(hypothesis, "probe")
                .map(|probe| format!("probe {probe}"))
                .or_else(|| text(hypothesis, "object"))
                .unwrap_or_default(),
            stream: None,
            tolerance: text(hypothesis, "tolerance").unwrap_or_default(),
            phase: None,
            verdict: Verdict::Unproven,
            measured: String::new(),
            value: None,
            interval: None,
            samples: 0,
            reason: reason.clone(),
        })
        .collect()
}
