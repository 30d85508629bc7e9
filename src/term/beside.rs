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
        rows.push(row("verdict", "", &words::verdicts(beside), run_verdict(report.verdict), "another one"));
    }
    for measure in beside.measures.iter().filter(|measure| measure.fit == Fit::Off) {
        let (predicted, observed) = (words::predicted(measure), words::observed(measure));
        rows.push(row(words::quantity(measure.quantity), &measure.of, &predicted, &observed, &words::fit(measure)));
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

fn row(what: &str, of: &str, predicted: &str, observed: &str, fit: &str) -> Vec<Cell> {
    vec![
        Cell::text("  "),
        Cell::text(what),
        Cell::text(of),
        Cell::painted(FAINT, format!("predicted {predicted}")),
        Cell::text(format!("observed {observed}")),
        Cell::painted(BAD, fit),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Event, Predicted, RunVerdict, What};
    use crate::report::beside::outlook;
    use crate::report::synthetic;

    fn told(change: impl FnOnce(&mut crate::record::Outlook)) -> Vec<String> {
        let mut events = synthetic::pod_kill();
        let mut rehearsal = outlook(&Report::from_events(&events));
        change(&mut rehearsal);
        let first = events[0].clone();
        let predicted = Predicted { rehearsals: vec![rehearsal], notes: vec!["the probe asked elsewhere".to_owned()] };
        events.insert(1, Event { what: What::Predicted(predicted), ..first });
        lines(&Report::from_events(&events))
    }

    #[test]
    fn what_came_as_predicted_is_one_line() {
        let lines = told(|_| {});
        assert!(lines[0].contains("as 1 rehearsal showed") && lines[1].contains("asked elsewhere"), "{lines:?}");
        assert_eq!(lines.len(), 2);
        assert!(super::lines(&Report::from_events(&synthetic::pod_kill())).is_empty());
    }

    #[test]
    fn what_came_otherwise_is_a_line_each() {
        let lines = told(|rehearsal| {
            rehearsal.verdict = Some(RunVerdict::Passed);
            rehearsal.measures[0].value = Some(30.0);
            for span in &mut rehearsal.spans {
                span.median_us = 0;
            }
        })
        .join("\n");
        for part in
            ["predicted passed", "observed deviated", "28.8 s less", "assumed wrongly:", "lab.squall.dev/stops-in"]
        {
            assert!(lines.contains(part), "{part}: {lines}");
        }
    }
}
