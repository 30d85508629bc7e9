//! Where the time of good requests went, step by step.

use super::{Esc, put};
use crate::probe::{STEPS, Step};
use crate::record::StepTime;
use crate::report::format::{self, count, latency};
use crate::report::model::Report;

/// What a step is called where people read it.
const fn name(step: Step) -> &'static str {
    match step {
        Step::Dns => "Look-up",
        Step::Connect => "Connect",
        Step::Tls => "TLS",
        Step::Send => "Send",
        Step::Response => "First byte",
        Step::Body => "Transfer",
    }
}

/// A row for each stream and phase, a column for each step that any request took.
pub(super) fn section(out: &mut String, report: &Report) {
    let rows: Vec<_> = report.summaries.iter().filter(|summary| !summary.steps.is_empty()).collect();
    let taken = |step: &Step| rows.iter().any(|summary| summary.steps.iter().any(|time| time.step == *step));
    let columns: Vec<Step> = STEPS.into_iter().filter(taken).collect();
    if columns.is_empty() {
        return;
    }
    put!(
        out,
        "<section>\n<h2>Where the time went</h2>\n<p class=\"lead\">Each step of good requests, median and p99. The steps of one request \
         add up to its time; these numbers do not, because each step has other requests at its top. Connections that are kept take \
         the first steps seldom: the number of requests that did stands below.</p>\n"
    );
    put!(out, "<div class=\"scroll\"><table>\n<thead><tr><th>Probe, stream</th><th>Phase</th>");
    for step in &columns {
        put!(out, "<th class=\"n\">{}</th>", name(*step));
    }
    put!(out, "</tr></thead>\n<tbody>\n");
    for summary in &rows {
        put!(
            out,
            "<tr><td class=\"nowrap\">{}</td><td>{}</td>",
            Esc(&format::stream(&summary.probe, summary.stream)),
            summary.phase.label()
        );
        for step in &columns {
            cell(out, summary.steps.iter().find(|time| time.step == *step), summary.good);
        }
        put!(out, "</tr>\n");
    }
    put!(out, "</tbody>\n</table></div>\n</section>\n");
}

fn cell(out: &mut String, time: Option<&StepTime>, good: u64) {
    let Some(time) = time else {
        put!(out, "<td class=\"n soft\">–</td>");
        return;
    };
    put!(out, "<td class=\"n\">{} / {}", latency(time.p50_us), latency(time.p99_us));
    if time.requests < good {
        put!(out, "<small>{} of {}</small>", count(time.requests), count(good));
    }
    put!(out, "</td>");
}
