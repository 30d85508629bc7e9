//! How available each stream was, and whether it is as good after as it was before.

use super::{Esc, put};
use crate::record::{Availability, Comparison, Shift, Standing};
use crate::report::format::{self, count, duration, percent, plural_of};
use crate::report::model::Report;

/// The objective whose budget the page shows; `report.json` has the others.
const OBJECTIVE: f64 = 0.999;

/// Over the whole run, a row for each stream that failed.
pub(super) fn section(out: &mut String, report: &Report) {
    let runs: Vec<&Availability> = report.availability.iter().filter(|a| a.phase.is_none()).collect();
    if runs.is_empty() {
        return;
    }
    put!(out, "<section>\n<h2>Availability</h2>\n");
    let (failed, well): (Vec<&Availability>, Vec<_>) = runs.into_iter().partition(|a| a.longest_failure.is_some());
    let Some(first) = failed.first() else {
        put!(out, "<p class=\"lead\">No stream had a bad request.</p>\n</section>\n");
        return;
    };
    let rule = &first.seconds;
    put!(
        out,
        "<p class=\"lead\">Over the whole run. A second is severe from {:.0} % bad on; {} in a row begin unavailable time, {} others end it.",
        rule.severe_ratio * 100.0,
        rule.enter,
        rule.leave
    );
    if !well.is_empty() {
        put!(out, " {} without a bad request are left out.", plural_of(well.len(), "stream"));
    }
    put!(out, "</p>\n<div class=\"scroll\"><table>\n<thead><tr><th>Probe, stream</th>");
    for name in ["Longest failure", "Bad seconds", "Downtime"] {
        put!(out, "<th class=\"n\">{name}</th>");
    }
    let windows = windows(&failed);
    for window in &windows {
        put!(out, "<th class=\"n\">Worst {}</th>", length(*window));
    }
    put!(out, "<th>Gray failure</th></tr></thead>\n<tbody>\n");
    for availability in failed {
        row(out, availability, &windows);
    }
    put!(out, "</tbody>\n</table></div>\n</section>\n");
}

/// Lengths of window that more than one stream can have: not that of the whole run, which the table of requests tells.
fn windows(of: &[&Availability]) -> Vec<i64> {
    let mut windows: Vec<i64> =
        of.iter().flat_map(|a| a.worst.iter().rev().skip(1).map(|worst| worst.window_us)).collect();
    windows.sort_unstable();
    windows.dedup();
    windows
}

/// A length that somebody chose, without the zeros that a measured one has.
fn length(micros: i64) -> String {
    format!("{} s", micros / 1_000_000)
}

fn row(out: &mut String, a: &Availability, windows: &[i64]) {
    put!(out, "<tr><td class=\"nowrap\">{}</td><td class=\"n\">", Esc(&format::stream(&a.probe, a.stream)));
    if let Some(failure) = &a.longest_failure {
        let most = failure.most_us.map_or_else(|| "not seen".to_owned(), duration);
        put!(
            out,
            "<span class=\"bad mark\">{}</span><small>{} … {most}</small>",
            duration(failure.length_us),
            duration(failure.least_us)
        );
    }
    let s = &a.seconds;
    put!(out, "</td><td class=\"n\">{} of {}", count(s.errored), count(s.measured));
    put!(out, "<small>{} severe<br/>{} unavailable</small></td>", count(s.severe), count(s.unavailable));
    put!(out, "<td class=\"n\">{}", duration(a.downtime_us));
    if let Some(burn) = a.budgets.iter().find(|b| (b.objective - OBJECTIVE).abs() < 1e-9) {
        let of = format!(
            "{} of what {}<br/>allows in {} days",
            percent(burn.share.min(1.0)),
            percent(burn.objective),
            burn.days
        );
        let over = if burn.share > 1.0 { "more than " } else { "" };
        put!(out, "<small>{over}{of}</small>");
    }
    put!(out, "</td>");
    for window in windows {
        let worst = a.worst.iter().find(|worst| worst.window_us == *window);
        put!(out, "<td class=\"n\">{}</td>", worst.map_or_else(|| "–".to_owned(), |worst| percent(worst.success)));
    }
    match &a.gray {
        None => put!(out, "<td class=\"soft\">not watched</td></tr>\n"),
        Some(gray) => {
            let tone = if gray.bad_while_ready_us > 0 { " class=\"notice mark\"" } else { "" };
            put!(
                out,
                "<td><span{tone}>{}</span><small>all of {} ready;",
                duration(gray.bad_while_ready_us),
                count(gray.endpoints)
            );
            put!(out, " not all, but no failure: {}", duration(gray.good_while_not_ready_us));
            if gray.blind_us > 0 {
                put!(out, "; not seen: {}", duration(gray.blind_us));
            }
            put!(out, "</small></td></tr>\n");
        }
    }
}

/// *After* against *before*: a row for each stream, a column for each measure.
pub(super) fn comparison(out: &mut String, report: &Report) {
    let Some(first) = report.comparisons.first() else { return };
    put!(
        out,
        "<section>\n<h2>After against before</h2>\n<p class=\"lead\">How each measure shifted, with the 95 % interval of the shift: worse only by more than \
         the margin, not worse only if surely within it. No verdict comes of it. {} of {} s were drawn again {} times.</p>\n",
        "Blocks",
        first.block_seconds,
        count(first.resamples)
    );
    let mut names: Vec<&str> = Vec::new();
    for shift in report.comparisons.iter().flat_map(|c| &c.measures) {
        if !names.contains(&shift.measure.as_str()) {
            names.push(&shift.measure);
        }
    }
    put!(out, "<div class=\"scroll\"><table>\n<thead><tr><th>Probe, stream</th><th>Together</th>");
    for name in &names {
        put!(out, "<th>{}</th>", Esc(name));
    }
    put!(out, "</tr></thead>\n<tbody>\n");
    for comparison in &report.comparisons {
        compared(out, comparison, &names);
    }
    put!(out, "</tbody>\n</table></div>\n</section>\n");
}

fn compared(out: &mut String, comparison: &Comparison, names: &[&str]) {
    let name = format::stream(&comparison.probe, comparison.stream);
    put!(out, "<tr><td class=\"nowrap\">{}</td><td>{}</td>", Esc(&name), mark(comparison.standing));
    for name in names {
        match comparison.measures.iter().find(|shift| shift.measure == *name) {
            None => put!(out, "<td class=\"soft\">–</td>"),
            Some(shift) => {
                put!(
                    out,
                    "<td>{}<small>{}</small></td>",
                    mark(shift.standing),
                    Esc(&told(shift)).to_string().replace('\n', "<br/>")
                );
            }
        }
    }
    put!(out, "</tr>\n");
}

fn mark(standing: Standing) -> String {
    let (tone, glyph) = match standing {
        Standing::NotWorse => ("good", "✓"),
        Standing::Worse => ("bad", "✕"),
        Standing::CantTell => ("notice", "?"),
    };
    format!("<span class=\"mark {tone}\">{glyph} {}</span>", standing.label())
}

/// `1.40 ms → 1.43 ms`, then the interval of the shift, then why it can't be told.
fn told(shift: &Shift) -> String {
    let mut lines =
        vec![format!("{} → {}", format::measured(shift, shift.before), format::measured(shift, shift.after))];
    lines.extend(format::shifted(shift));
    if !shift.reason.is_empty() {
        lines.push(shift.reason.clone());
    }
    lines.join("\n")
}
