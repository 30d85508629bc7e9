//! What rehearsals had predicted, beside what was observed: a line for each measure that came otherwise, and for each assumption that was
//! wrong.

use super::table::{Cell, table};
use super::{BAD, FAINT, GOOD, NOTICE, paint};
use crate::report::Report;
use crate::report::beside::{Fit, words};
use crate::report::format::run_verdict;

/// Nothing without a prediction.
pub(super) fn lines(report: &Report) -> Vec<String> {
    let Some(beside) = &report.beside else { return Vec::new() };
    let (within, of) = beside.score();
    let style = if within == of { GOOD } else { NOTICE };
    let mut lines = vec![format!("{} {}", paint(style, "predicted:"), words::score(beside))];
    let mut rows = Vec::new();
    if beside.verdict == Fit::Off {
        rows.push(row("verdict", "", words::verdicts(beside), run_verdict(report.verdict).to_owned(), "another one"));
    }
    for measure in beside.measures.iter().filter(|measure| measure.fit == Fit::Off) {
        let (predicted, observed) = (words::predicted(measure), words::observed(measure));
        rows.push(row(words::quantity(measure.quantity), &measure.of, predicted, observed, &words::fit(measure)));
    }
    lines.extend(table(&rows));
    for wrong in beside.wrong() {
        lines.push(format!("  {} {}", paint(NOTICE, "assumed wrongly:"), wrong.told));
    }
    for note in &beside.notes {
        lines.push(format!("  {} {note}", paint(FAINT, "mind:")));
    }
    lines
}

fn row(what: &str, of: &str, predicted: String, observed: String, fit: &str) -> Vec<Cell> {
    vec![
        Cell::text("  "),
        Cell::text(what),
        Cell::text(of),
        Cell::painted(FAINT, format!("predicted {predicted}")),
        Cell::text(format!("observed {observed}")),
        Cell::painted(BAD, fit),
    ]
}
