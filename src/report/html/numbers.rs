//! The numbers: how long until what, and what every planned request came to.

use std::collections::BTreeMap;

use super::{Esc, put};
use crate::record::Summary;
use crate::report::format::{self, count, duration, latency, percent};
use crate::report::model::{ImpactTimes, Report};

/// How long until impact, detection, mitigation, heal and recovery, and the blast radius.
pub(super) fn impact(out: &mut String, report: &Report) {
    if report.impacts.is_empty() {
        return;
    }
    put!(
        out,
        "<section>\n<h2>Impact</h2>\n<p class=\"lead\">Each time counts from the first acknowledged injection of the step.</p>\n"
    );
    for impact in &report.impacts {
        put!(
            out,
            "<h3>{}, injected at {}</h3>\n<dl class=\"facts\">\n",
            Esc(&impact.step),
            format::instant(impact.injected)
        );
        times(out, impact);
        let radius = impact.blast_radius.map_or_else(|| "–".to_owned(), percent);
        let of = format!("{} of {} failed", count(impact.bad), format::plural(impact.judged, "request"));
        fact(out, "Blast radius on users", &radius, &of);
        put!(out, "</dl>\n");
    }
    put!(out, "</section>\n");
}

fn times(out: &mut String, impact: &ImpactTimes) {
    let rows: [(&str, Option<i64>, &str, &str); 5] = [
        ("Time to impact", impact.to_impact_us, "first bad request", "no bad request"),
        ("Time to detection", impact.to_detection_us, "target out of service", "not seen"),
        ("Time to mitigation", impact.to_mitigation_us, "last bad request", "no bad request"),
        ("Time to heal", impact.to_heal_us, "system whole again", "not seen"),
        ("Time to recovery", impact.to_recovery_us, "first 5 s within every tolerance", "not reached"),
    ];
    for (name, time, means, without) in rows {
        match time {
            Some(us) if name == "Time to detection" && !impact.detected_by.is_empty() => {
                fact(out, name, &duration(us), &format!("{means}, {}", impact.detected_by));
            }
            Some(us) => fact(out, name, &duration(us), means),
            None => fact(out, name, "–", without),
        }
    }
}

/// A number with its name above and its meaning below.
pub(super) fn fact(out: &mut String, name: &str, value: &str, meaning: &str) {
    put!(out, "<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>\n", Esc(name), Esc(value), Esc(meaning));
}

/// Every planned request, with sums that can be checked.
pub(super) fn probes(out: &mut String, report: &Report) {
    if report.summaries.is_empty() {
        return;
    }
    put!(
        out,
        "<section>\n<h2>Every planned request</h2>\n<p class=\"lead\">Planned = good + bad + unknown + client-late + capped. Unknown, \
               client-late and capped say nothing about the service: the runner could not ask, or asked too late.</p>\n"
    );
    put!(out, "<div class=\"scroll\"><table>\n<thead><tr><th>Probe, stream</th><th>Phase</th>");
    for name in ["Planned", "Good", "Bad", "Unknown", "Late", "Capped", "Success", "p50", "p90", "p99", "p99.9", "Max"]
    {
        put!(out, "<th class=\"n\">{name}</th>");
    }
    put!(out, "<th>Bad by class</th></tr></thead>\n<tbody>\n");
    for (i, summary) in report.summaries.iter().enumerate() {
        let last = report
            .summaries
            .get(i + 1)
            .is_none_or(|next| (&next.probe, next.stream) != (&summary.probe, summary.stream));
        let first = i == 0
            || (&report.summaries[i - 1].probe, report.summaries[i - 1].stream) != (&summary.probe, summary.stream);
        row(out, summary, first, last);
    }
    put!(out, "</tbody>\n</table></div>\n</section>\n");
}

fn row(out: &mut String, s: &Summary, first: bool, last: bool) {
    let name = if first { format::stream(&s.probe, s.stream) } else { String::new() };
    put!(
        out,
        "<tr{}><td class=\"nowrap\">{}</td><td>{}</td>",
        if last { " class=\"end\"" } else { "" },
        Esc(&name),
        s.phase.label()
    );
    put!(out, "<td class=\"n\">{}", count(s.planned));
    let sum = s.good + s.bad + s.unknown + s.client_late + s.capped;
    if sum != s.planned {
        put!(out, "<small class=\"bad\">the sum is {}</small>", count(sum));
    }
    put!(out, "</td><td class=\"n\">{}</td>", count(s.good));
    let bad = if s.bad > 0 { "n bad" } else { "n" };
    put!(out, "<td class=\"{bad}\">{}</td>", count(s.bad));
    for n in [s.unknown, s.client_late, s.capped] {
        put!(out, "<td class=\"n{}\">{}</td>", if n > 0 { " notice" } else { " soft" }, count(n));
    }
    put!(out, "<td class=\"n\">{}</td>", format::success(s.good, s.bad));
    for quantile in ["p50", "p90", "p99", "p99.9", "max"] {
        let value = s.good_us.get(quantile).map_or_else(|| "–".to_owned(), |us| latency(*us));
        put!(out, "<td class=\"n\">{value}</td>");
    }
    put!(out, "<td>");
    classes(out, &s.classes);
    if !s.reach.is_empty() {
        let reach: Vec<_> = s.reach.iter().map(|(reach, n)| format!("{} {}", count(*n), reach.label())).collect();
        put!(out, "<small>{}</small>", Esc(&reach.join("; ")));
    }
    put!(out, "</td></tr>\n");
}

/// Counts by class, none of them broken across lines.
pub(super) fn classes(out: &mut String, classes: &BTreeMap<String, u64>) {
    let text = format::classes(classes);
    for (i, part) in text.split(", ").filter(|part| !part.is_empty()).enumerate() {
        put!(out, "{}<span class=\"nowrap\">{}</span>", if i > 0 { ", " } else { "" }, Esc(part));
    }
}
