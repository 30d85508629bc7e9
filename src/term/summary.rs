//! What came of the run, as lines: four a probe and stream and more where there is cause, one a hypothesis, the verdict, and what
//! to do next.

use std::collections::BTreeMap;
use std::path::Path;

use anstyle::Style;

use super::table::{Cell, table};
use super::{BAD, FAINT, GOOD, NOTICE, STRONG, paint};
use crate::probe::{Reach, StreamKind};
use crate::record::{
    Availability, Foretold, Judgement, Outage, Phase, Replaced, RunVerdict, Standing, Summary, Verdict,
};
use crate::report::Report;
use crate::report::format::{self, count, duration, latency, percent, plural, plural_of, run_verdict};
use crate::report::words::{came_of, outage_of_stream, urgency};

/// Most workloads with displaced pods: a page of them is in the report.
const WORKLOADS: usize = 10;

/// Everything.
pub(super) fn all(report: &Report, record: Option<&Path>) -> Vec<String> {
    let mut lines = probes(report);
    section(&mut lines, impact(report));
    section(&mut lines, displaced(report));
    section(&mut lines, super::beside::lines(report));
    section(&mut lines, hypotheses(report));
    section(&mut lines, verdict(report));
    section(&mut lines, next(report));
    if let Some(record) = record {
        section(&mut lines, vec![format!("report: {}", record.join("report.html").display())]);
    }
    lines
}

fn section(lines: &mut Vec<String>, more: Vec<String>) {
    if !lines.is_empty() && !more.is_empty() {
        lines.push(String::new());
    }
    lines.extend(more);
}

/// The verdict with its exit code and reason, and what is left behind.
pub(super) fn verdict(report: &Report) -> Vec<String> {
    let code = report.exit_code.map_or_else(String::new, |code| format!(" (exit {code})"));
    let word = format!("{}{code}:", run_verdict(report.verdict));
    let mut lines = vec![format!("{} {}", paint(verdict_style(report.verdict), &word), report.reason)];
    for left in &report.left {
        lines.push(format!("  left behind: {left}"));
    }
    if report.verdict.is_none() || report.verdict == Some(RunVerdict::UndoIncomplete) {
        lines.push(format!("  run `{}`", report.recover_command()));
    }
    lines
}

const fn verdict_style(verdict: Option<RunVerdict>) -> Style {
    match verdict {
        Some(RunVerdict::Passed) => GOOD,
        Some(RunVerdict::Deviated | RunVerdict::Errored | RunVerdict::UndoIncomplete) | None => BAD,
        Some(RunVerdict::Inconclusive | RunVerdict::Aborted | RunVerdict::Refused | RunVerdict::Unsteady) => NOTICE,
    }
}

/// Four lines a stream: before, during, after, outages. Of single endpoints only the one with the longest outage, if any.
fn probes(report: &Report) -> Vec<String> {
    let mut streams: Vec<(&str, StreamKind)> = report.summaries.iter().map(|s| (s.probe.as_str(), s.stream)).collect();
    streams.dedup();
    streams.retain(|(probe, stream)| {
        !stream.is_endpoint() || longest(report, probe, StreamKind::PerEndpoint).1.is_some_and(|o| o.stream == *stream)
    });
    let mut rows = Vec::new();
    for (probe, stream) in streams {
        let mut name = Some(format::stream(probe, stream));
        for phase in Phase::ALL {
            let of = |s: &&Summary| s.probe == probe && s.stream == stream && s.phase == phase;
            if let Some(summary) = report.summaries.iter().find(of) {
                rows.push(phase_row(&name.take().unwrap_or_default(), summary));
            }
        }
        let words = match longest(report, probe, stream) {
            (_, None) => "none".to_owned(),
            (outages, Some(longest)) => {
                let place =
                    if longest.stream == stream { String::new() } else { format!(" at {}", longest.stream.label()) };
                format!("{outages}; the longest{place} {}", outage_of_stream(longest))
            }
        };
        rows.push(vec![Cell::text(""), Cell::text("outages"), Cell::text(words)]);
        rows.extend(remarks(report, probe, stream));
    }
    table(&rows)
}

/// What else somebody has to know of a stream; nothing of one that gives no cause.
fn remarks(report: &Report, probe: &str, stream: StreamKind) -> Vec<Vec<Cell>> {
    let row = |name: &str, text: String| vec![Cell::text(""), Cell::text(name.to_owned()), Cell::text(text)];
    let mut rows = Vec::new();
    let mut reach: BTreeMap<Reach, u64> = BTreeMap::new();
    for summary in report.summaries.iter().filter(|s| s.probe == probe && s.stream == stream) {
        for (far, n) in &summary.reach {
            *reach.entry(*far).or_default() += n;
        }
    }
    if !reach.is_empty() {
        let parts: Vec<_> = reach.iter().map(|(far, n)| format!("{} {}", count(*n), far.label())).collect();
        rows.push(row("failed", parts.join("; ")));
    }
    let whole = |a: &&Availability| a.probe == probe && a.stream == stream && a.phase.is_none();
    let gray = report.availability.iter().find(whole).and_then(|a| a.gray.as_ref());
    if let Some(gray) = gray.filter(|gray| gray.bad_while_ready_us > 0) {
        let length = duration(gray.bad_while_ready_us);
        let (endpoints, service) = (count(gray.endpoints), &gray.service);
        rows.push(row("gray", format!("failing for {length} while {service} showed all of {endpoints} ready")));
    }
    let compared = report.comparisons.iter().find(|c| c.probe == probe && c.stream == stream);
    let worse = compared.into_iter().flat_map(|c| &c.measures).filter(|shift| shift.standing == Standing::Worse);
    let worse: Vec<_> = worse
        .map(|shift| {
            let [before, after] = [shift.before, shift.after].map(|value| format::measured(shift, value));
            format!("{} {before} before, {after} after", shift.measure)
        })
        .collect();
    if !worse.is_empty() {
        rows.push(row("worse", worse.join("; ")));
    }
    rows
}

/// How many outages a stream had, and the longest; of all endpoints together, those of each.
fn longest<'a>(report: &'a Report, probe: &str, stream: StreamKind) -> (usize, Option<&'a Outage>) {
    let of = |o: &&Outage| o.probe == probe && stream.includes(o.stream);
    let outages = || report.outages.iter().filter(of);
    (outages().count(), outages().max_by_key(|o| report.outage_length(o)))
}

fn phase_row(name: &str, summary: &Summary) -> Vec<Cell> {
    let quantile = |q: &str| summary.good_us.get(q).map_or_else(|| "–".to_owned(), |us| latency(*us));
    let bad = format!("{} bad", count(summary.bad));
    let lost = summary.unknown + summary.client_late + summary.capped;
    vec![
        Cell::painted(STRONG, name),
        Cell::text(summary.phase.label()),
        Cell::number(format!("{} good", count(summary.good))),
        if summary.bad > 0 { Cell::painted(BAD, bad).on_the_right() } else { Cell::number(bad) },
        Cell::number(format::success(summary.good, summary.bad)),
        Cell::text(format!("p50 {}", quantile("p50"))),
        Cell::text(format!("p99 {}", quantile("p99"))),
        Cell::text(format!("max {}", quantile("max"))),
        Cell::text(if lost > 0 { format!("{} not measured", count(lost)) } else { String::new() }),
    ]
}

/// One line per step: how long until what.
fn impact(report: &Report) -> Vec<String> {
    let lines = report.impacts.iter().map(|impact| {
        let times = [
            ("impact", impact.to_impact_us),
            ("detection", impact.to_detection_us),
            ("mitigation", impact.to_mitigation_us),
            ("heal", impact.to_heal_us),
            ("recovery", impact.to_recovery_us),
        ];
        let known: Vec<_> =
            times.iter().filter_map(|(name, us)| us.map(|us| format!("{name} {}", duration(us)))).collect();
        let radius = impact.blast_radius.map_or_else(String::new, |share| {
            format!("; {} of {} failed ({})", count(impact.bad), plural(impact.judged, "request"), percent(share))
        });
        let known = if known.is_empty() { "no impact".to_owned() } else { known.join(", ") };
        format!("{}: after the injection {known}{radius}", paint(STRONG, &impact.step))
    });
    lines.collect()
}

/// A line for each workload whose displaced pods came out otherwise than predicted, or were predicted to find no place.
fn displaced(report: &Report) -> Vec<String> {
    let is_plain = |one: &Replaced| one.standing == Foretold::AsPredicted && one.displaced.without_place() == 0;
    let (plain, mut told): (Vec<&Replaced>, Vec<_>) = report.replaced.iter().partition(|one| is_plain(one));
    told.sort_by_key(|one| urgency(one));
    let line = |one: &&Replaced| {
        let style = match one.standing {
            Foretold::AsPredicted => FAINT,
            Foretold::MorePlaced | Foretold::Open => NOTICE,
            Foretold::FewerPlaced => BAD,
        };
        let name = format!("{} in `{}`:", one.displaced.workload, one.displaced.namespace);
        format!("{} {}", paint(style, &name), came_of(one))
    };
    let mut lines: Vec<String> = told.iter().take(WORKLOADS).map(line).collect();
    let more = told.len().saturating_sub(WORKLOADS);
    if more > 0 {
        lines.push(format!("{more} more in the report"));
    }
    if !plain.is_empty() {
        let workloads = plural_of(plain.len(), "workload");
        lines.push(paint(FAINT, &format!("the displaced pods of {workloads} were all placed elsewhere, as predicted")));
    }
    lines
}

/// One line a judgement; what held stands first, so that what did not is nearest to the verdict.
fn hypotheses(report: &Report) -> Vec<String> {
    let mut judged: Vec<&Judgement> = report.hypotheses.iter().collect();
    judged.sort_by_key(|j| match j.verdict {
        Verdict::Held => 0,
        Verdict::Unproven => 1,
        Verdict::Deviated => 2,
    });
    let rows: Vec<_> = judged
        .into_iter()
        .map(|j| {
            let style = match j.verdict {
                Verdict::Held => GOOD,
                Verdict::Deviated => BAD,
                Verdict::Unproven => NOTICE,
            };
            let interval = format::interval(j).map(|i| format!(" {i}")).unwrap_or_default();
            let measured = if j.measured.is_empty() { "–".to_owned() } else { format!("{}{interval}", j.measured) };
            vec![
                Cell::painted(style, format::verdict(j.verdict)),
                Cell::text(&j.tolerance),
                Cell::text(format::subject(j)),
                Cell::text(format::phase(j)),
                Cell::text(measured),
                Cell::number(plural(j.samples, "sample")),
                Cell::text(&j.reason),
            ]
        })
        .collect();
    let mut lines = table(&rows);
    if !report.hypotheses.is_empty() {
        let unproven = report.judged(Verdict::Unproven);
        let sum = format!(
            "{}: {} held, {} deviated, {unproven} unproven",
            plural_of(report.hypotheses.len(), "judgement"),
            report.judged(Verdict::Held),
            report.judged(Verdict::Deviated)
        );
        lines.push(paint(FAINT, &sum));
    }
    lines
}

fn next(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for advice in &report.next {
        lines.push(format!("{} {}", paint(NOTICE, "next:"), advice.text));
        if let Some(command) = &advice.command {
            lines.push(format!("      {command}"));
        }
    }
    lines
}
