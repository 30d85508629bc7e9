//! Verdicts on a probe's hypotheses.
//!
//! The measured value decides between held and deviated. *Held* must also be shown: by 99 % coverage and by a sample that is
//! large enough. *Deviated* must not: what was seen to deviate, whatever the unseen slots were, has deviated.

use std::ops::Range;

use super::outage::{Window, longest_gap, windows};
use super::phase::{self, Reading};
use super::recovery::{Recoveries, Recovery};
use super::series::{Phases, Row, Series, nanos, rows_within, seconds};
use super::tally::Tally;
use super::tolerance::{meets, miss_text, name, needed_samples, value_text};
use super::words::{count, counted, given_time, plain_time};
use crate::probe::{Nanos, StreamKind};
use crate::record::{Judgement, Phase, Verdict};
use crate::scalar::{Measure, Tolerance};

/// A hypothesis about a probe.
#[derive(Debug, Clone, Copy)]
pub struct Hypothesis<'a> {
    /// Position in `steadyState`, from 0.
    pub index: usize,
    /// Name of the probe.
    pub probe: &'a str,
    /// The tolerance.
    pub tolerance: &'a Tolerance,
    /// Phases; all of them when empty. An outage belongs to the phase in which it begins; `recovery` to no phase.
    pub when: &'a [Phase],
}

/// Judges every hypothesis once the run is over: per stream and phase, `outage` and `recovery` once per stream.
///
/// A probe per endpoint is judged once, on all endpoints' requests together; by `outage`, on the endpoint that fared worst.
///
/// `series` are all streams of all probes, `injections` one instant for each step: when its first injection was acknowledged, or
/// began where it took long.
/// The order is that of the hypotheses, then of the series, then of the phases.
#[must_use]
pub fn judge(
    hypotheses: &[Hypothesis<'_>],
    series: &[Series],
    phases: &Phases,
    injections: &[Nanos],
) -> Vec<Judgement> {
    each(hypotheses, series, |hypothesis, series| {
        let wanted: Vec<Phase> = Phase::ALL.into_iter().filter(|phase| hypothesis.wants(*phase)).collect();
        match hypothesis.tolerance.measure {
            Measure::Outage => hypothesis.outage(series, phases, &wanted, None).into_iter().collect(),
            Measure::Recovery => vec![hypothesis.recovery(series, &others(hypotheses, hypothesis), phases, injections)],
            _ => wanted.into_iter().map(|phase| hypothesis.phase(series, phases, phase)).collect(),
        }
    })
}

/// Judges one phase by itself, as soon as it is over: whether the system is steady before anything is injected. An outage is
/// judged of this phase alone; `recovery` is not judged.
#[must_use]
pub fn judge_phase(hypotheses: &[Hypothesis<'_>], series: &[Series], phases: &Phases, phase: Phase) -> Vec<Judgement> {
    each(hypotheses, series, |hypothesis, series| match hypothesis.tolerance.measure {
        _ if !hypothesis.wants(phase) => Vec::new(),
        Measure::Outage => hypothesis.outage(series, phases, &[phase], Some(phase)).into_iter().collect(),
        Measure::Recovery => Vec::new(),
        _ => vec![hypothesis.phase(series, phases, phase)],
    })
}

fn each(
    hypotheses: &[Hypothesis<'_>],
    series: &[Series],
    judge: impl Fn(&Hypothesis<'_>, &Series) -> Vec<Judgement>,
) -> Vec<Judgement> {
    let mut judgements = Vec::new();
    for hypothesis in hypotheses {
        let streams: Vec<&Series> = series.iter().filter(|series| series.probe() == hypothesis.probe).collect();
        if streams.is_empty() {
            let nothing = hypothesis.judgement(None, None, 0);
            judgements.push(unproven(nothing, format!("probe `{}` sent nothing", hypothesis.probe)));
        }
        let per_endpoint = streams.iter().any(|series| series.stream() == StreamKind::PerEndpoint);
        let of_endpoints = hypothesis.tolerance.measure == Measure::Outage;
        let judged = streams.into_iter().filter(|series| of_endpoints || !series.stream().is_endpoint());
        let judged = judged.flat_map(|series| judge(hypothesis, series));
        if per_endpoint && of_endpoints {
            judgements.extend(judged.reduce(worse));
        } else {
            judgements.extend(judged);
        }
    }
    judgements
}

/// The worse of two judgements, the first of equal ones.
fn worse(a: Judgement, b: Judgement) -> Judgement {
    let severity = |judgement: &Judgement| match judgement.verdict {
        Verdict::Held => 0,
        Verdict::Unproven => 1,
        Verdict::Deviated => 2,
    };
    let (left, right) = (a.value.unwrap_or(f64::INFINITY), b.value.unwrap_or(f64::INFINITY));
    if severity(&a).cmp(&severity(&b)).then(left.total_cmp(&right)).is_lt() { b } else { a }
}

/// The other tolerances of the same probe.
fn others<'a>(hypotheses: &[Hypothesis<'a>], one: &Hypothesis<'_>) -> Vec<&'a Tolerance> {
    hypotheses.iter().filter(|other| other.probe == one.probe).map(|other| other.tolerance).collect()
}

fn unproven(judgement: Judgement, reason: String) -> Judgement {
    Judgement { verdict: Verdict::Unproven, reason, ..judgement }
}

fn deviated(judgement: Judgement, reason: String) -> Judgement {
    Judgement { verdict: Verdict::Deviated, reason, ..judgement }
}

/// Why coverage under 99 % shows nothing.
fn uncovered(tally: &Tally) -> String {
    let causes = [(tally.unknown, "unknown"), (tally.client_late, "client-late"), (tally.capped, "capped")];
    let causes: Vec<String> =
        causes.iter().filter(|(n, _)| *n > 0).map(|(n, cause)| format!("{} {cause}", count(*n))).collect();
    format!(
        "{} of {} could not be measured ({}): coverage is under 99 %",
        count(tally.unseen()),
        counted(tally.planned(), "request"),
        causes.join(", ")
    )
}

/// `1,203 of 5,000 failed (status-503 1,100, connect-refused 103)`, the commonest failure first.
fn failures(tally: &Tally) -> String {
    let mut classes: Vec<(String, u64)> = tally.classes().into_iter().collect();
    classes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let classes: Vec<String> = classes.iter().map(|(class, n)| format!("{class} {}", count(*n))).collect();
    let of = format!("{} of {} failed", count(tally.bad), count(tally.seen()));
    if classes.is_empty() { of } else { format!("{of} ({})", classes.join(", ")) }
}

/// An instant without what a reader would not look for.
const fn to_millis(at: Nanos) -> Nanos {
    at / 1_000_000 * 1_000_000
}

impl Hypothesis<'_> {
    fn wants(&self, phase: Phase) -> bool {
        self.when.is_empty() || self.when.contains(&phase)
    }

    fn judgement(&self, stream: Option<StreamKind>, phase: Option<Phase>, samples: u64) -> Judgement {
        Judgement {
            index: self.index,
            subject: format!("probe {}", self.probe),
            stream,
            tolerance: self.tolerance.text.clone(),
            phase,
            verdict: Verdict::Held,
            measured: String::new(),
            value: None,
            interval: None,
            samples,
            reason: String::new(),
        }
    }

    /// A measure of a phase.
    fn phase(&self, series: &Series, phases: &Phases, phase: Phase) -> Judgement {
        let bounds = phases.bounds(phase);
        let rows = series.within(bounds.clone());
        let reading = phase::read(self.tolerance, series.pace(), rows, &bounds);
        let mut judgement = self.judgement(Some(series.stream()), Some(phase), reading.counts.seen());
        let Some(value) = reading.value else {
            return unproven(judgement, self.nothing(&reading, &bounds, phase));
        };
        judgement.value = value.is_finite().then_some(value);
        judgement.interval = reading.interval;
        judgement.measured = if value.is_finite() {
            value_text(self.tolerance, value)
        } else {
            format!("above {}", given_time(series.timeout().as_secs_f64()))
        };
        let met = meets(self.tolerance, value);
        if !reading.tally.covered() {
            let (low, high) = reading.extremes;
            if met || meets(self.tolerance, low) || meets(self.tolerance, high) {
                return unproven(judgement, uncovered(&reading.tally));
            }
        } else if let Some(needed) = needed_samples(self.tolerance).filter(|&needed| reading.counts.seen() < needed)
            && (met || !phase::surely_misses(self.tolerance, &reading))
        {
            let place = if self.tolerance.over.is_some() { "in the window" } else { "in the phase" };
            let have = counted(reading.counts.seen(), "request");
            let reason = format!("{have} {place} can't show `{}`: it needs {}", self.tolerance.text, count(needed));
            return unproven(judgement, reason);
        }
        if met {
            return judgement;
        }
        let reason = self.missed(&reading, rows, value, &judgement.measured);
        deviated(judgement, reason)
    }

    fn nothing(&self, reading: &Reading, bounds: &Range<Nanos>, phase: Phase) -> String {
        let length = bounds.end.saturating_sub(bounds.start);
        match self.tolerance.over {
            Some(window) if reading.tally.seen() > 0 && window.as_nanos() > u128::from(length) => format!(
                "phase `{}` lasted {}, shorter than the window of {}",
                phase.label(),
                plain_time(seconds(length)),
                given_time(window.as_secs_f64())
            ),
            _ if reading.tally.planned() > 0 => uncovered(&reading.tally),
            _ => format!("nothing was measured in phase `{}`", phase.label()),
        }
    }

    /// What deviated, in words.
    fn missed(&self, reading: &Reading, rows: &[Row], value: f64, measured: &str) -> String {
        let inside = reading.window_from.zip(self.tolerance.over).map(|(from, over)| {
            let to = from.saturating_add(nanos(over));
            let tally = Tally::of(rows_within(rows, from..to));
            let from = plain_time(seconds(to_millis(from)));
            (tally, format!(" in the worst {}, from {from} into the run", given_time(over.as_secs_f64())))
        });
        let (tally, window) = inside.unwrap_or_else(|| (reading.tally.clone(), String::new()));
        let name = name(self.tolerance.measure);
        let miss = miss_text(self.tolerance);
        match self.tolerance.measure {
            Measure::Success | Measure::Downtime => {
                format!("{name} was {measured}, {miss}{window}: {}", failures(&tally))
            }
            _ if value.is_infinite() => format!("{name} falls on a failed request{window}: {}", failures(&tally)),
            _ => format!("{name} was {measured}, {miss}{window}"),
        }
    }

    /// The longest outage that begins in one of the phases. Nothing of an endpoint that there was not meanwhile. All endpoints together
    /// have no outages of their own, but gaps in which one could hide: no endpoint was ready, or none was seen.
    fn outage(&self, series: &Series, phases: &Phases, wanted: &[Phase], phase: Option<Phase>) -> Option<Judgement> {
        let mut tally = Tally::default();
        for &phase in wanted {
            tally.merge(&Tally::of(series.within(phases.bounds(phase))));
        }
        let mut judgement = self.judgement(Some(series.stream()), phase, tally.seen());
        if tally.planned() == 0 && series.stream().is_endpoint() {
            return None;
        }
        if tally.seen() == 0 {
            return Some(unproven(judgement, "nothing was measured".to_owned()));
        }
        let (slot, end) = (series.slot(), series.settled_until());
        let mut outages = if series.stream() == StreamKind::PerEndpoint { Vec::new() } else { windows(series) };
        outages.retain(|window| wanted.contains(&phases.phase_of(window.from)));
        let longest = outages.iter().max_by_key(|window| window.length(slot, end));
        let value = longest.map_or(0.0, |window| seconds(window.length(slot, end)));
        let possible = outages.iter().map(|window| window.longest(end)).max().unwrap_or(0).max(longest_gap(series));
        judgement.value = Some(value);
        judgement.measured = longest.map_or_else(|| "none".to_owned(), |_| value_text(self.tolerance, value));
        judgement.interval = longest.and_then(Window::edges).map(|(low, high)| (seconds(low), seconds(high)));
        let place =
            if series.stream().is_endpoint() { format!("at {}: ", series.stream().label()) } else { String::new() };
        Some(match (meets(self.tolerance, value), meets(self.tolerance, seconds(possible))) {
            (true, true) if tally.covered() => judgement,
            (true, true) => unproven(judgement, format!("{place}{}", uncovered(&tally))),
            (false, false) => {
                let reason = format!("{place}{}", self.outage_text(series, longest, value, &judgement.measured));
                deviated(judgement, reason)
            }
            _ => {
                let text = value_text(self.tolerance, seconds(possible));
                let reason = format!(
                    "{place}{} was seen, but it may have lasted {text}: the probe did not see the rest",
                    judgement.measured
                );
                unproven(judgement, reason)
            }
        })
    }

    fn outage_text(&self, series: &Series, longest: Option<&Window>, value: f64, measured: &str) -> String {
        let miss = miss_text(self.tolerance);
        let Some(window) = longest else {
            return format!("there was no outage: {measured}, {miss}");
        };
        let from = plain_time(seconds(to_millis(window.from)));
        let still = match (window.to.or(window.back), series.stream().is_endpoint()) {
            (Some(_), _) => "",
            (None, false) => " and had not ended when the run did",
            (None, true) => " and had not ended when its endpoint, or the run, did",
        };
        let length = value_text(self.tolerance, value);
        format!(
            "the longest outage lasted {length}, {miss}, from {from} into the run{still}: {}",
            failures(&window.tally)
        )
    }

    /// The slowest recovery over all injections.
    fn recovery(&self, series: &Series, others: &[&Tolerance], phases: &Phases, injections: &[Nanos]) -> Judgement {
        let mut injections = injections.to_vec();
        injections.sort_unstable();
        let Some(&first) = injections.first() else {
            let judgement = self.judgement(Some(series.stream()), None, 0);
            return unproven(judgement, "nothing was injected: there was nothing to recover from".to_owned());
        };
        let tally = Tally::of(series.within(first..phases.end));
        let judgement = self.judgement(Some(series.stream()), None, tally.seen());
        let recoveries = Recoveries::new(series, others);
        let nexts = injections.iter().skip(1).copied().chain([Nanos::MAX]);
        let each = injections.iter().zip(nexts).map(|(&injected, next)| {
            self.recovered(judgement.clone(), injected, recoveries.after(injected, next), &tally)
        });
        each.reduce(worse).unwrap_or(judgement)
    }

    fn recovered(&self, mut judgement: Judgement, injected: Nanos, recovery: Recovery, tally: &Tally) -> Judgement {
        let after = plain_time(seconds(to_millis(injected)));
        let unseen = || "the probe did not see enough after the injection to say".to_owned();
        let (least, most) = match recovery {
            Recovery::TooShort => {
                let reason = format!("less than 5 s were measured after the injection at {after}");
                return unproven(judgement, reason);
            }
            Recovery::Never { seen } => {
                "never".clone_into(&mut judgement.measured);
                let reason =
                    format!("not recovered from the injection at {after} when the run ended: {}", failures(tally));
                return if seen { deviated(judgement, reason) } else { unproven(judgement, unseen()) };
            }
            Recovery::NoImpact { seen } => (0.0, if seen { 0.0 } else { f64::INFINITY }),
            Recovery::At { at, earliest } => {
                (seconds(earliest.saturating_sub(injected)), seconds(at.saturating_sub(injected)))
            }
        };
        let value = if most.is_finite() { most } else { least };
        judgement.value = Some(value);
        judgement.measured = value_text(self.tolerance, value);
        match (meets(self.tolerance, least), meets(self.tolerance, most)) {
            (true, true) if tally.covered() => judgement,
            (true, true) => unproven(judgement, uncovered(tally)),
            (false, false) => {
                let measured = &judgement.measured;
                let reason =
                    format!("recovered {measured} after the injection at {after}, {}", miss_text(self.tolerance));
                deviated(judgement, reason)
            }
            _ => unproven(judgement, unseen()),
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
