//! What rehearsals had predicted, beside what was observed.

use super::{Esc, Prose, put};
use crate::record::Quantity;
use crate::report::beside::{Beside, BesideAssumption, BesideMeasure, Fit, Spread, words};
use crate::report::format::{plural, plural_of, run_verdict, seconds};
use crate::report::model::Report;

/// Two tables: what was measured, and what the model takes for granted; before them a sentence for each assumption that was wrong.
pub(super) fn section(out: &mut String, report: &Report) {
    let Some(beside) = &report.beside else { return };
    put!(
        out,
        "<section>\n<h2>Predicted beside observed</h2>\n<p class=\"lead\">{}. Within means in the range of the rehearsals, or beyond it by no more than \
         10 % or a second, whichever is more. Predicted on <code>{}</code>.</p>\n",
        Esc(&words::score(beside)),
        Esc(&beside.lab)
    );
    told(out, report, beside);
    put!(
        out,
        "<div class=\"scroll\"><table>\n<thead><tr><th>Measure</th><th>Predicted</th><th>Observed</th><th>Beside each other</th></tr></thead>\n<tbody>\n"
    );
    put!(
        out,
        "<tr><td>verdict<small>of {}</small></td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
        plural_of(beside.rehearsals.len(), "rehearsal"),
        Esc(&words::verdicts(beside)),
        run_verdict(report.verdict),
        mark(beside.verdict, if beside.verdict == Fit::Within { "as predicted" } else { "another one" })
    );
    for measure in beside.measures.iter().filter(|measure| !is_trivial(measure)) {
        row(out, measure);
    }
    put!(out, "</tbody>\n</table></div>\n");
    assumptions(out, &beside.assumptions);
    put!(out, "</section>\n");
}

/// What a person has to know before the numbers: what was assumed wrongly, and in what the two differed from the start.
fn told(out: &mut String, report: &Report, beside: &Beside) {
    let wrong: Vec<&str> = beside.wrong().map(|row| row.told.as_str()).collect();
    let ended = report.aborted.as_ref().map(|aborted| {
        format!("the run ended early ({}), and the rehearsals did not: what was to come later is missing", aborted.by)
    });
    let notes = ended.iter().chain(&beside.notes).map(String::as_str);
    let lines: Vec<(&str, &str)> =
        wrong.iter().map(|told| ("Assumed wrongly", *told)).chain(notes.map(|note| ("Mind", note))).collect();
    if lines.is_empty() {
        return;
    }
    put!(out, "<ul class=\"told\">\n");
    for (word, line) in lines {
        put!(out, "<li><b>{word}</b>: {}.</li>\n", Prose(line));
    }
    put!(out, "</ul>\n");
}

/// That nothing was refused says nothing where nothing was to be.
fn is_trivial(measure: &BesideMeasure) -> bool {
    let none = |value: Option<f64>| value.is_none_or(|value| value <= 0.0);
    measure.quantity == Quantity::Refusals
        && none(measure.observed)
        && none(measure.predicted.map(|spread| spread.most))
}

fn row(out: &mut String, measure: &BesideMeasure) {
    put!(
        out,
        "<tr><td>{}<small>{}</small></td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
        words::quantity(measure.quantity),
        Esc(&measure.of),
        Esc(&words::predicted(measure)),
        Esc(&words::observed(measure)),
        mark(measure.fit, &words::fit(measure))
    );
}

fn mark(fit: Fit, text: &str) -> String {
    let (tone, glyph) = match fit {
        Fit::Within => ("good", "✓"),
        Fit::Off => ("bad", "✕"),
        Fit::Open => ("notice", "?"),
    };
    format!("<span class=\"mark {tone}\">{glyph} {}</span>", Esc(text))
}

fn assumptions(out: &mut String, rows: &[BesideAssumption]) {
    if rows.is_empty() {
        return;
    }
    put!(
        out,
        "<h3>What the model takes for granted</h3>\n<p class=\"lead\">As the watches of both clusters showed it: medians, and between what they lie. What is off \
         by more than 10 % and a second is an assumption that was wrong.</p>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th>How long</th><th>Predicted</th><th>Observed</th><th>Beside each other</th></tr></thead>\n<tbody>\n"
    );
    for one in rows {
        let off = seconds((one.observed.median - one.predicted.median).abs());
        let than = if one.observed.median > one.predicted.median { "longer" } else { "shorter" };
        let text = if one.fit == Fit::Off { format!("{off} {than}") } else { "as predicted".to_owned() };
        let range = |spread: Spread| words::range(spread, seconds);
        put!(
            out,
            "<tr><td>{}<small>{}</small></td><td>{}</td><td>{}<small>seen {}</small></td><td>{}</td></tr>\n",
            words::assumption(one.what),
            Esc(&one.of),
            Esc(&range(one.predicted)),
            Esc(&range(one.observed)),
            plural(one.seen, "time"),
            mark(one.fit, &text)
        );
    }
    put!(out, "</tbody>\n</table></div>\n");
}
