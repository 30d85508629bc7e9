//! What of a report is compared: the same of a run and of its rehearsals.

use crate::probe::StreamKind;
use crate::record::{Injection, Measured, Micros, Outlook, Quantity, Summary};
use crate::report::format;
use crate::report::model::{ImpactTimes, Report, StepReport};

/// What a run came to, as far as it is compared.
#[must_use]
pub fn outlook(report: &Report) -> Outlook {
    let mut measures = Vec::new();
    for (probe, stream) in streams(report) {
        of_stream(report, probe, stream, &mut measures);
    }
    for step in &report.steps {
        of_step(report, step, &mut measures);
    }
    Outlook {
        run: report.run.clone(),
        seed: report.seed,
        lab: report.cluster.server.clone(),
        verdict: report.verdict,
        measures,
        spans: report.spans.clone(),
    }
}

/// The streams that were told of; a single endpoint's address is another one in each cluster.
fn streams(report: &Report) -> Vec<(&str, StreamKind)> {
    let told = report.summaries.iter().filter(|s| !s.stream.is_endpoint());
    let mut streams: Vec<_> = told.map(|s| (s.probe.as_str(), s.stream)).collect();
    streams.dedup();
    streams
}

fn of_stream(report: &Report, probe: &str, stream: StreamKind, measures: &mut Vec<Measured>) {
    let mut add = |quantity, value| {
        measures.push(Measured { quantity, of: format::stream(probe, stream), value });
    };
    let outages = report.outages.iter().filter(|o| o.probe == probe && stream.includes(o.stream));
    let longest = outages.map(|outage| report.outage_length(outage)).max().unwrap_or(0);
    add(Quantity::Outage, Some(seconds(longest)));
    let whole = report.availability.iter().find(|a| a.probe == probe && a.stream == stream && a.phase.is_none());
    if let Some(whole) = whole {
        add(Quantity::Downtime, Some(seconds(whole.downtime_us)));
    }
    let of = |s: &&Summary| s.probe == probe && s.stream == stream;
    let (good, bad) = report.summaries.iter().filter(of).fold((0, 0), |(good, bad), s| (good + s.good, bad + s.bad));
    add(Quantity::BadShare, format::ratio(bad, good + bad));
}

fn of_step(report: &Report, step: &StepReport, measures: &mut Vec<Measured>) {
    let mut add = |quantity, value| measures.push(Measured { quantity, of: step.name.clone(), value });
    if let Some(impact) = report.impacts.iter().find(|impact| impact.step == step.name) {
        for (quantity, time) in times(impact) {
            add(quantity, time.map(seconds));
        }
        add(Quantity::BlastRadius, impact.blast_radius);
    }
    let refused = |outcome| outcome == Injection::Refused;
    let outcomes = || step.targets.iter().filter_map(|t| t.injection.as_ref()).map(|injection| injection.outcome);
    if outcomes().next().is_some() {
        let refusals = u32::try_from(outcomes().filter(|outcome| refused(*outcome)).count()).unwrap_or(u32::MAX);
        add(Quantity::Refusals, Some(f64::from(refusals)));
    }
}

const fn times(impact: &ImpactTimes) -> [(Quantity, Option<Micros>); 5] {
    [
        (Quantity::ToImpact, impact.to_impact_us),
        (Quantity::ToDetection, impact.to_detection_us),
        (Quantity::ToMitigation, impact.to_mitigation_us),
        (Quantity::ToHeal, impact.to_heal_us),
        (Quantity::ToRecovery, impact.to_recovery_us),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "lengths of time that a run can have")]
pub(super) fn seconds(micros: Micros) -> f64 {
    micros as f64 / 1e6
}
