//! How latencies were distributed before, during and after, one drawing per stream.

use super::panel::shorten;
use super::scale::{LogScale, text_width, unsigned};
use super::{Esc, put};
use crate::probe::StreamKind;
use crate::record::{Phase, Summary};
use crate::report::format::{self, count, plural_of};
use crate::report::model::Report;

const WIDTH: f64 = 540.0;
const X0: f64 = 22.0;
const X1: f64 = 518.0;
const TOP: f64 = 44.0;
const BASE: f64 = 176.0;
/// Steps of the outline: fine enough to show two humps, coarse enough to be calm.
const BINS: usize = 64;
/// Most drawings; the table has the numbers of every stream.
const STREAMS: usize = 8;

/// The section, left out when there is no distribution.
pub(super) fn section(out: &mut String, report: &Report) {
    let mut streams: Vec<(&str, StreamKind)> = Vec::new();
    for s in report.summaries.iter().filter(|s| !s.histogram.is_empty()) {
        if !streams.contains(&(s.probe.as_str(), s.stream)) {
            streams.push((&s.probe, s.stream));
        }
    }
    if streams.is_empty() {
        return;
    }
    let bad = |(probe, stream): &(&str, StreamKind)| -> u64 {
        report.summaries.iter().filter(|s| s.probe == *probe && s.stream == *stream).map(|s| s.bad).sum()
    };
    streams.sort_by_key(|s| std::cmp::Reverse(bad(s)));
    let hidden = streams.len().saturating_sub(STREAMS);
    streams.truncate(STREAMS);
    put!(
        out,
        "<section>\n<h2>Latency before, during and after</h2>\n<p class=\"lead\">Good requests, by latency from their planned instant. The \
               height is a square root, so that a tail of one in a thousand can be seen. "
    );
    if hidden > 0 {
        put!(out, "{} without a drawing failed least; the table below has them. ", plural_of(hidden, "stream"));
    }
    put!(out, "</p>\n<div class=\"multiples\">\n");
    for (probe, stream) in streams {
        let own: Vec<&Summary> = report.summaries.iter().filter(|s| s.probe == probe && s.stream == stream).collect();
        draw(out, &format::stream(probe, stream), &own);
    }
    put!(out, "</div>\n</section>\n");
}

fn draw(out: &mut String, name: &str, own: &[&Summary]) {
    let bounds = || own.iter().flat_map(|s| s.histogram.iter().map(|(us, _)| *us));
    let scale = LogScale::around(bounds().min().unwrap_or(1_000), bounds().max().unwrap_or(10_000));
    let shares: Vec<(Phase, Vec<f64>)> = own.iter().map(|s| (s.phase, bins(s, &scale))).collect();
    let tallest = shares.iter().flat_map(|(_, bins)| bins).copied().fold(1e-9, f64::max).sqrt();
    put!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} 200\" role=\"img\" aria-label=\"Distribution of latencies of {}\">\n",
        Esc(name)
    );
    put!(out, "<text class=\"name\" x=\"{X0}\" y=\"14\">{}</text>\n", Esc(&shorten(name, 60)));
    let mut last_label = f64::NEG_INFINITY;
    for (value, label) in scale.ticks() {
        let x = X0 + scale.share(value) * (X1 - X0);
        put!(out, "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{BASE}\"/>");
        if x - last_label > text_width(&label) + 6.0 {
            put!(out, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>\n", BASE + 17.0);
            last_label = x;
        }
    }
    for (phase, bins) in &shares {
        put!(out, "<path class=\"{}\" d=\"M{X0} {BASE}", phase.label());
        for (i, share) in bins.iter().enumerate() {
            let y = BASE - share.sqrt() / tallest * (BASE - TOP);
            let x = |i: usize| X0 + unsigned(i as u64) / unsigned(BINS as u64) * (X1 - X0);
            put!(out, "L{:.1} {y:.1}L{:.1} {y:.1}", x(i), x(i + 1));
        }
        put!(out, "L{X1} {BASE}\"/>\n");
    }
    put!(out, "<line class=\"axis\" x1=\"{X0}\" y1=\"{BASE}\" x2=\"{X1}\" y2=\"{BASE}\"/>\n");
    key(out, own);
    put!(out, "</svg>\n");
}

/// The names of the outlines, with how many requests stand behind each.
fn key(out: &mut String, own: &[&Summary]) {
    let mut x = X0;
    for summary in own {
        let phase = summary.phase.label();
        put!(out, "<path class=\"{phase}\" d=\"M{x:.1} 32L{:.1} 32L{:.1} 24L{x:.1} 24Z\"/>", x + 16.0, x + 16.0);
        let bad = if summary.bad > 0 { format!(" (+ {} bad)", count(summary.bad)) } else { String::new() };
        let words = format!("{phase} {}{bad}", count(summary.good));
        put!(out, "<text x=\"{:.1}\" y=\"32\">{words}</text>\n", x + 21.0);
        x += 21.0 + text_width(&words) + 10.0;
    }
}

/// The share of a phase's good requests in each bin. A bucket that spans several bins is spread over them, so that coarse buckets
/// leave no comb.
fn bins(summary: &Summary, scale: &LogScale) -> Vec<f64> {
    let mut bins = vec![0.0; BINS];
    let total = unsigned(summary.histogram.iter().map(|(_, n)| n).sum::<u64>().max(1));
    let place = |us: u64| scale.share(unsigned(us)) * unsigned(BINS as u64);
    let mut before: Option<u64> = None;
    for (upper, n) in &summary.histogram {
        // The lower bound isn't on record; a bucket is never wider than an eighth of its value.
        let lower = before.unwrap_or(0).max(upper - upper / 8);
        let (from, to) = (place(lower), place(*upper).max(place(lower) + 0.5));
        for (i, bin) in bins.iter_mut().enumerate() {
            let (left, right) = (unsigned(i as u64), unsigned(i as u64 + 1));
            let overlap = (to.min(right) - from.max(left)).max(0.0);
            *bin += unsigned(*n) / total * overlap / (to - from);
        }
        before = Some(*upper);
    }
    bins
}
