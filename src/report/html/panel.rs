//! One stream: its latency on a logarithmic axis, and beneath it its bad requests per second, stacked by class.

use std::collections::BTreeMap;

use super::chart::{X0, X1};
use super::scale::{LogScale, TimeScale, text_width, unsigned};
use super::series::{Bucket, Series};
use super::{Esc, put};
use crate::record::Outage;
use crate::report::format::{self, count, duration};
use crate::report::model::Report;
use crate::scalar::{Bound, Measure, Tolerance};

const LATENCY: f64 = 104.0;
const BARS: f64 = 40.0;
/// Room between a panel's two parts, so that the labels of their axes keep apart.
const GAP: f64 = 12.0;
/// Classes with a colour of their own; the rest share the last.
const COLOURS: usize = 6;

/// What all panels of a chart share.
pub(super) struct Look<'a> {
    pub(super) time: TimeScale,
    pub(super) latency: LogScale,
    /// Most bad requests per second in any stream.
    pub(super) tallest: f64,
    pub(super) palette: &'a Palette,
    pub(super) report: &'a Report,
}

/// The colour of each class, the most frequent first.
pub(super) struct Palette {
    classes: Vec<String>,
}

impl Palette {
    pub(super) fn of<'a>(all: impl Iterator<Item = &'a Series>) -> Self {
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for (class, n) in all.flat_map(|s| &s.buckets).flat_map(|b| &b.worst) {
            *sums.entry(class).or_default() += n;
        }
        let mut sorted: Vec<_> = sums.into_iter().collect();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        Self { classes: sorted.into_iter().map(|(class, _)| class.to_owned()).collect() }
    }

    fn colour(&self, class: &str) -> usize {
        self.classes.iter().position(|c| c == class).unwrap_or(COLOURS).min(COLOURS)
    }

    pub(super) fn legend(&self, out: &mut String) {
        if self.classes.is_empty() {
            return;
        }
        put!(out, "<ul class=\"legend\"><li>Bad requests:</li>");
        for (i, class) in self.classes.iter().take(COLOURS).enumerate() {
            swatch(out, &format!("c{i}"), class);
        }
        if self.classes.len() > COLOURS {
            swatch(out, &format!("c{COLOURS}"), "other");
        }
        put!(out, "</ul>\n");
    }
}

/// One entry of a legend.
pub(super) fn swatch(out: &mut String, class: &str, label: &str) {
    put!(
        out,
        "<li><svg viewBox=\"0 0 22 12\" aria-hidden=\"true\"><rect class=\"{class}\" x=\"4\" y=\"1\" width=\"14\" height=\"10\" rx=\"2\"/></svg>{}</li>",
        Esc(label)
    );
}

/// Draws a stream from `y` down and returns where it ends.
pub(super) fn draw(out: &mut String, stream: &Series, look: &Look<'_>, y: f64) -> f64 {
    let bars = if stream.bad > 0 { GAP + BARS } else { 0.0 };
    let base = y + LATENCY;
    title(out, stream, y);
    outages(out, stream, look, y, base + bars);
    for (value, label) in look.latency.ticks() {
        let at = base - look.latency.share(value) * LATENCY;
        put!(out, "<line class=\"grid\" x1=\"{X0}\" y1=\"{at:.1}\" x2=\"{X1}\" y2=\"{at:.1}\"/>");
        put!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n", X0 - 6.0, at + 4.0);
    }
    limit_lines(out, stream, look, base);
    lines(out, stream, look, base);
    put!(out, "<line class=\"axis\" x1=\"{X0}\" y1=\"{base:.1}\" x2=\"{X1}\" y2=\"{base:.1}\"/>\n");
    if stream.bad > 0 {
        stacked(out, stream, look, base + bars, BARS);
        put!(out, "<line class=\"axis\" x1=\"{X0}\" y1=\"{0:.1}\" x2=\"{X1}\" y2=\"{0:.1}\"/>", base + bars);
        let most = format!("{:.0}/s", look.tallest);
        put!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{most} bad</text>", X0 - 6.0, base + GAP + 10.0);
        put!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">0</text>\n", X0 - 6.0, base + bars + 1.0);
    }
    base + bars + 22.0
}

/// A stream without room for its latency: its failures alone.
pub(super) fn thin(out: &mut String, stream: &Series, look: &Look<'_>, y: f64) -> f64 {
    put!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
        X0 - 6.0,
        y + 10.0,
        Esc(&super::lanes::tail(&stream.name(), super::lanes::LETTERS))
    );
    put!(out, "<line class=\"grid\" x1=\"{X0}\" y1=\"{:.1}\" x2=\"{X1}\" y2=\"{:.1}\"/>\n", y + 13.0, y + 13.0);
    stacked(out, stream, look, y + 13.0, 12.0);
    y + 17.0
}

/// A text of at most so many letters.
pub(super) fn shorten(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(letters.saturating_sub(1)).collect();
    short.push('…');
    short
}

fn title(out: &mut String, stream: &Series, y: f64) {
    put!(out, "<text class=\"name\" x=\"0\" y=\"{:.1}\">{}</text>", y + 11.0, Esc(&shorten(&stream.probe, 15)));
    put!(out, "<text x=\"0\" y=\"{:.1}\">{}</text>", y + 27.0, stream.stream.label());
    let (class, words) = match stream.bad {
        0 => ("", "none bad".to_owned()),
        bad => ("bad", format!("{} bad", count(bad))),
    };
    put!(out, "<text class=\"{class}\" x=\"0\" y=\"{:.1}\">{words}</text>", y + 43.0);
    put!(out, "<text x=\"0\" y=\"{:.1}\">of {}</text>\n", y + 58.0, count(stream.good + stream.bad));
}

/// Room for the text of a tolerance.
const TOLERANCE_ROOM: f64 = 100.0;

fn outages(out: &mut String, stream: &Series, look: &Look<'_>, top: f64, bottom: f64) {
    let own = |o: &&Outage| o.probe == stream.probe && stream.stream.includes(o.stream);
    let mut all: Vec<(&Outage, i64)> =
        look.report.outages.iter().filter(own).map(|outage| (outage, look.report.outage_length(outage))).collect();
    // The longest are named first; one for whose name no room is left has it in its title alone.
    all.sort_by_key(|(_, length)| -length);
    // The tolerances are written at the right end.
    let mut taken: Vec<(f64, f64)> = vec![(X1 - TOLERANCE_ROOM, X1)];
    for (outage, length) in all {
        let end = outage.from + length;
        if end < look.time.from || outage.from > look.time.to {
            continue;
        }
        let (x0, x1) = (look.time.x(outage.from), look.time.x(end));
        let width = (x1 - x0).max(2.0);
        let words = format!("outage {}", duration(length));
        put!(
            out,
            "<rect class=\"outage\" x=\"{x0:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\">",
            bottom - top
        );
        put!(out, "<title>{words} from {}</title></rect>", format::instant(outage.from));
        put!(
            out,
            "<line class=\"outage-line\" x1=\"{x0:.1}\" y1=\"{top:.1}\" x2=\"{:.1}\" y2=\"{top:.1}\"/>",
            x0 + width
        );
        let room = text_width(&words);
        let right = x0 + width + 5.0;
        let (x, anchor, span) = if right + room > X1 {
            (x0 - 5.0, "end", (x0 - 5.0 - room, x0))
        } else {
            (right, "start", (x0, right + room))
        };
        if taken.iter().all(|(from, to)| span.1 < *from || span.0 > *to) {
            taken.push(span);
            put!(
                out,
                "<text class=\"bad\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{words}</text>\n",
                top + 11.0
            );
        }
    }
}

/// The latency tolerances of a stream, in microseconds, with their text.
pub(super) fn limits(report: &Report, stream: &Series) -> Vec<(u64, String)> {
    let subject = format!("probe {}", stream.probe);
    let own = report.hypotheses.iter().filter(|h| h.subject == subject && h.stream.is_none_or(|s| s == stream.stream));
    let mut limits: Vec<(u64, String)> = own
        .filter_map(|h| {
            let tolerance: Tolerance = h.tolerance.parse().ok()?;
            match (tolerance.measure, tolerance.bound) {
                (Measure::Quantile(_) | Measure::Max, Bound::Time(time)) => {
                    Some((u64::try_from(time.as_micros()).ok()?, tolerance.text))
                }
                _ => None,
            }
        })
        .collect();
    limits.sort();
    limits.dedup();
    limits
}

fn limit_lines(out: &mut String, stream: &Series, look: &Look<'_>, base: f64) {
    for (us, text) in limits(look.report, stream) {
        let y = base - look.latency.share(unsigned(us)) * LATENCY;
        put!(out, "<line class=\"limit\" x1=\"{X0}\" y1=\"{y:.1}\" x2=\"{X1}\" y2=\"{y:.1}\"/>");
        // Above its line, unless what stands above the panel is there.
        let label = if y < base - LATENCY + 16.0 { y + 13.0 } else { y - 4.0 };
        put!(
            out,
            "<text class=\"limit\" x=\"{:.1}\" y=\"{label:.1}\" text-anchor=\"end\">{}</text>\n",
            X1 - 4.0,
            Esc(&text)
        );
    }
}

/// One of a bucket's latencies.
type Quantile = fn(&Bucket) -> u64;

/// The three lines, with gaps where no request was good, and their names at the right end.
fn lines(out: &mut String, stream: &Series, look: &Look<'_>, base: f64) {
    let place = |us: u64| base - look.latency.share(unsigned(us)) * LATENCY;
    let pieces: Vec<&[Bucket]> = stream.buckets.split(|b| b.p50 == 0).filter(|piece| !piece.is_empty()).collect();
    let x = |b: &Bucket| look.time.x(i64::midpoint(b.from, b.to));
    for piece in &pieces {
        put!(out, "<path class=\"band\" d=\"");
        points(out, piece.iter().map(|b| (x(b), place(b.p99))));
        points(out, piece.iter().rev().map(|b| (x(b), place(b.p50))));
        out.push_str("Z\"/>\n");
    }
    let lines: [(&str, Quantile); 3] = [("max", |b| b.max), ("p99", |b| b.p99), ("p50", |b| b.p50)];
    for (class, value) in lines {
        for piece in &pieces {
            put!(out, "<path class=\"{class}\" d=\"");
            points(out, piece.iter().map(|b| (x(b), place(value(b)))));
            out.push_str("\"/>\n");
        }
    }
    if let Some(last) = stream.buckets.iter().rev().find(|b| b.p50 > 0) {
        // Names keep a line's height apart, from the bottom up.
        let mut lowest = base + 4.0;
        for (class, us) in [("p50", last.p50), ("p99", last.p99), ("max", last.max)] {
            lowest = (place(us) + 4.0).min(lowest);
            put!(out, "<text class=\"{class}\" x=\"{:.1}\" y=\"{lowest:.1}\">{class}</text>", X1 + 5.0);
            lowest -= 13.0;
        }
        out.push('\n');
    }
}

/// The points of a path. A band is drawn there and back: its second half goes on from the first.
fn points(out: &mut String, points: impl Iterator<Item = (f64, f64)>) {
    let begun = !out.ends_with('"');
    for (i, (x, y)) in points.enumerate() {
        put!(out, "{}{x:.1} {y:.1}", if i == 0 && !begun { 'M' } else { 'L' });
    }
}

fn stacked(out: &mut String, stream: &Series, look: &Look<'_>, base: f64, height: f64) {
    for bucket in stream.buckets.iter().filter(|b| b.bad > 0) {
        let (x0, x1) = (look.time.x(bucket.from), look.time.x(bucket.to));
        let width = (x1 - x0 - 0.6).max(1.4);
        let mut y = base;
        let mut classes: Vec<_> = bucket.worst.iter().collect();
        classes.sort_by_key(|(class, _)| look.palette.colour(class));
        for (class, n) in classes {
            let tall = (n / look.tallest * height).max(1.0);
            y -= tall;
            put!(
                out,
                "<rect class=\"c{}\" x=\"{x0:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{tall:.1}\">",
                look.palette.colour(class)
            );
            put!(out, "<title>{} {n:.0}/s at {}</title></rect>", Esc(class), format::instant(bucket.from));
        }
    }
    out.push('\n');
}
