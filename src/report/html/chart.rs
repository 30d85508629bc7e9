//! The main chart: each stream's latency and failures, the objects beneath, all on one time axis.
//!
//! ```text
//!            inject ▏  effect ▏      healed ▏           marks, in rows that don't collide
//!   before   │ during                     │ after       phases
//!   web      │ ~~~~~~~~/\~~~~~~~~~~~~~~~~~~~~~~         a panel per stream: latency, bad requests
//!   fresh    │         ▄▆▂                              
//!   pod a    │ ███████▒▒▒                               a lane per object
//!            └─────────────────────────────────         time
//! ```

use serde_json::json;

use super::lanes;
use super::marks::{self, Mark};
use super::panel::{self, Palette};
use super::scale::{LogScale, TimeScale};
use super::series::{Series, series};
use super::{Esc, put};
use crate::record::{Event, Micros};
use crate::report::format::{duration, plural_of};
use crate::report::model::Report;

/// Width of the drawing; names stand left of `X0`, labels of lines right of `X1`.
pub(super) const WIDTH: f64 = 1124.0;
pub(super) const X0: f64 = 176.0;
pub(super) const X1: f64 = 1088.0;
/// Streams that get a panel of their own; the rest, which fail least, get a thin row.
const PANELS: usize = 6;
/// A run this many times longer than what matters in it gets a second, closer chart.
const CLOSER: i64 = 3;
const SECOND: Micros = 1_000_000;

/// Both charts, or a sentence when nothing was measured.
pub(super) fn section(out: &mut String, report: &Report, events: &[Event]) {
    put!(out, "<section>\n<h2>What happened</h2>\n");
    let Some((from, to)) = bounds(report, events) else {
        put!(out, "<p class=\"lead\">Nothing was measured.</p>\n</section>\n");
        return;
    };
    let whole = draw(out, report, events, "whole", from, to);
    if !whole {
        put!(out, "<p class=\"lead\">No request was sent.</p>\n");
    }
    if let Some((near_from, near_to)) = interesting(report, from, to) {
        put!(
            out,
            "<h3>Around the fault</h3>\n<p class=\"lead\">The same between {} and {}, closer.</p>\n",
            duration(near_from),
            duration(near_to)
        );
        draw(out, report, events, "near", near_from, near_to);
    }
    put!(out, "</section>\n");
}

/// The time that the chart spans: all phases, and whatever was done after them.
fn bounds(report: &Report, events: &[Event]) -> Option<(Micros, Micros)> {
    let first = report.phases.first()?.from;
    let acts = marks::of(report);
    let last = report.phases.last()?.to.max(acts.iter().map(|m| m.at).max().unwrap_or(first));
    let to = last.max(events.last().map_or(last, |e| e.at.min(last + 5 * SECOND)));
    (to > first).then_some((first, to))
}

/// The part in which something happened, where it is a small part of the whole.
fn interesting(report: &Report, from: Micros, to: Micros) -> Option<(Micros, Micros)> {
    let acts = marks::of(report);
    let begins = acts.iter().map(|m| m.at).chain(report.outages.iter().map(|o| o.from)).min()?;
    let ends = acts.iter().map(|m| m.at).chain(report.outages.iter().map(|o| o.to.unwrap_or(o.last_bad))).max()?;
    let (near_from, near_to) = ((begins - 3 * SECOND).max(from), (ends + 5 * SECOND).min(to));
    (near_to > near_from && (to - from) > CLOSER * (near_to - near_from)).then_some((near_from, near_to))
}

/// One chart; says whether there were any requests in it.
fn draw(out: &mut String, report: &Report, events: &[Event], id: &str, from: Micros, to: Micros) -> bool {
    let time = TimeScale { from, to, x0: X0, x1: X1 };
    let (mut all, step) = series(events, from, to);
    all.sort_by(|a, b| b.bad.cmp(&a.bad).then_with(|| a.name().cmp(&b.name())));
    let rest = all.split_off(all.len().min(PANELS));
    all.sort_by_key(Series::name);
    let (rest, clean): (Vec<Series>, Vec<Series>) = rest.into_iter().partition(|s| s.bad > 0);
    let palette = Palette::of(all.iter().chain(&rest));
    let (lanes, hidden) = lanes::of(report, events, from, to);
    let marks: Vec<Mark> = marks::of(report).into_iter().filter(|m| time.shows(m.at)).collect();

    let mut body = String::with_capacity(64 * 1024);
    let top = marks::height(&marks, &time);
    let mut y = top + 24.0;
    let latency = latency_scale(&all, report);
    let tallest = all.iter().flat_map(|s| &s.buckets).map(super::series::Bucket::worst_rate).fold(1.0, f64::max);
    let look = panel::Look { time, latency, tallest, palette: &palette, report };
    for stream in &all {
        y = panel::draw(&mut body, stream, &look, y);
    }
    for stream in &rest {
        y = panel::thin(&mut body, stream, &look, y);
    }
    y = lanes::draw(&mut body, &lanes, hidden, &time, y);
    y = lanes::unseen(&mut body, report, &time, y);
    let bottom = y + 4.0;

    if id == "whole" {
        caption(out, step, &all, rest.len(), clean.len());
    }
    put!(
        out,
        "<div class=\"chart\" data-chart=\"chart-{id}\">\n<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"",
        bottom + 26.0
    );
    put!(out, "Latency, failures and objects over time\">\n");
    put!(
        out,
        "<defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">"
    );
    put!(out, "<line class=\"hatch-line\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\"/></pattern></defs>\n");
    phases(out, report, &time, top, bottom);
    axis(out, &time, top + 20.0, bottom);
    blind(out, report, &time, top + 20.0, bottom);
    out.push_str(&body);
    marks::draw(out, &marks, &time, bottom);
    put!(out, "</svg>\n");
    data(out, id, &time, (top + 20.0, bottom), all.iter().chain(&rest).take(12));
    put!(out, "</div>\n");
    palette.legend(out);
    lanes::legend(out, &lanes);
    !all.is_empty()
}

fn caption(out: &mut String, step: i64, all: &[Series], thin: usize, clean: usize) {
    if all.is_empty() {
        return;
    }
    put!(
        out,
        "<p class=\"lead\">Latency of good requests from their planned instant, on a logarithmic axis; beneath it the bad requests per second. "
    );
    if step > 1 {
        put!(out, "Each point is the worst of {step} seconds. ");
    }
    if thin > 0 {
        put!(
            out,
            "{} failed less and {} shown without latency. ",
            plural_of(thin, "stream"),
            if thin == 1 { "is" } else { "are" }
        );
    }
    if clean > 0 {
        put!(
            out,
            "{} without a bad request {} left out. ",
            plural_of(clean, "stream"),
            if clean == 1 { "is" } else { "are" }
        );
    }
    put!(out, "</p>\n");
}

/// One axis for every panel, so that streams can be compared; wide enough for the tolerances.
fn latency_scale(all: &[Series], report: &Report) -> LogScale {
    let buckets = || all.iter().flat_map(|s| &s.buckets).filter(|b| b.p50 > 0);
    let limits = || all.iter().flat_map(|s| panel::limits(report, s));
    let smallest = buckets().map(|b| b.p50).chain(limits().map(|(us, _)| us)).min().unwrap_or(1_000);
    let largest = buckets().map(|b| b.max).chain(limits().map(|(us, _)| us)).max().unwrap_or(10_000);
    LogScale::around(smallest, largest)
}

fn phases(out: &mut String, report: &Report, time: &TimeScale, top: f64, bottom: f64) {
    for span in report.phases.iter().filter(|p| p.to > time.from && p.from < time.to) {
        let (x0, x1) = (time.x(span.from), time.x(span.to));
        if span.phase == crate::record::Phase::During {
            put!(
                out,
                "<rect class=\"phase\" x=\"{x0:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\n",
                x1 - x0,
                bottom - top
            );
        }
        put!(out, "<line class=\"axis\" x1=\"{x0:.1}\" y1=\"{top:.1}\" x2=\"{x0:.1}\" y2=\"{bottom:.1}\"/>");
        let words = format!("{} {}", span.phase.label(), duration(span.to - span.from));
        let words = if x1 - x0 > 110.0 { words } else { span.phase.label().to_owned() };
        if x1 - x0 > 44.0 {
            put!(out, "<text class=\"ink\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n", x0 + 6.0, top + 14.0, Esc(&words));
        }
    }
}

fn axis(out: &mut String, time: &TimeScale, top: f64, bottom: f64) {
    put!(out, "<line class=\"axis\" x1=\"{X0}\" y1=\"{bottom:.1}\" x2=\"{X1}\" y2=\"{bottom:.1}\"/>\n");
    for (at, label) in time.ticks() {
        let x = time.x(at);
        put!(out, "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>");
        put!(out, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>\n", bottom + 17.0);
    }
}

fn blind(out: &mut String, report: &Report, time: &TimeScale, top: f64, bottom: f64) {
    for window in report.blind.iter().filter(|b| b.to > time.from && b.from < time.to) {
        let (x0, x1) = (time.x(window.from), time.x(window.to));
        put!(
            out,
            "<rect class=\"blind\" x=\"{x0:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\">",
            (x1 - x0).max(2.0),
            bottom - top
        );
        put!(out, "<title>{} could not be seen</title></rect>", Esc(&window.what));
    }
}

/// The numbers for the script that shows them under the pointer. `<` is written as an escape, so that no name can end the element.
fn data<'a>(
    out: &mut String,
    id: &str,
    time: &TimeScale,
    (top, bottom): (f64, f64),
    all: impl Iterator<Item = &'a Series>,
) {
    let streams: Vec<_> = all
        .map(|s| {
            let buckets: Vec<_> =
                s.buckets.iter().map(|b| json!([b.from, b.to, b.p50, b.p99, b.max, b.good, b.bad])).collect();
            json!({"name": s.name(), "buckets": buckets})
        })
        .collect();
    let data = json!({"width": WIDTH, "x0": X0, "x1": X1, "from": time.from, "to": time.to, "top": top, "bottom": bottom, "streams": streams});
    let text = data.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    put!(out, "<script type=\"application/json\" id=\"chart-{id}\">{text}</script>\n");
}
