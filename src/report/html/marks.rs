//! What was done, as vertical lines over the whole chart: injected, effect, undone, healed, aborted.

use super::chart::{X0, X1};
use super::scale::{TimeScale, text_width};
use super::{Esc, put};
use crate::record::{Injection, Micros, UndoOutcome};
use crate::report::format;
use crate::report::model::{Report, StepReport, TargetReport};

/// Rows of labels; a label that finds no room in them is left to the tooltip of its line.
const ROWS: usize = 5;
const ROW: f64 = 16.0;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mark {
    pub(super) at: Micros,
    class: &'static str,
    label: String,
}

/// Every act of the run, in order. Acts of one kind and step within a second share a line.
pub(super) fn of(report: &Report) -> Vec<Mark> {
    let mut marks: Vec<(Mark, u64)> = Vec::new();
    let mut add = |at: Micros, class: &'static str, label: String| match marks
        .iter_mut()
        .find(|(m, _)| m.class == class && m.label == label && at - m.at < 1_000_000)
    {
        Some((_, n)) => *n += 1,
        None => marks.push((Mark { at, class, label }, 1)),
    };
    for (step, touched) in report.targets() {
        acts(step, touched, &mut add);
    }
    if let Some(aborted) = &report.aborted {
        add(aborted.at, "abort", format!("abort: {}", aborted.by));
    }
    let count = |(mark, n): (Mark, u64)| match n {
        1 => mark,
        n => Mark { label: format!("{} × {n}", mark.label), ..mark },
    };
    let mut marks: Vec<Mark> = marks.into_iter().map(count).collect();
    marks.sort_by_key(|m| m.at);
    marks
}

fn acts(step: &StepReport, touched: &TargetReport, add: &mut impl FnMut(Micros, &'static str, String)) {
    if let Some(injection) = &touched.injection {
        let label = match injection.outcome {
            Injection::Injected => format!("{}: {} injected", step.name, step.fault),
            other => format!("{}: {}", step.name, format::injection(other)),
        };
        add(injection.answered, "inject", label);
    }
    if let Some(effect) = &touched.effect {
        add(effect.at, "effect", if effect.seen { "effect seen" } else { "no effect" }.to_owned());
    }
    if let Some(undo) = touched.undo.as_ref().filter(|u| u.outcome != UndoOutcome::Nothing) {
        add(undo.at, "undo", format::undo(undo.outcome).to_owned());
    }
    if let Some(heal) = &touched.heal {
        add(heal.at, "heal", if heal.healed { "healed" } else { "not healed" }.to_owned());
    }
}

/// Where each label stands: its row, and whether it stands left of its line.
fn places(marks: &[Mark], time: &TimeScale) -> Vec<Option<(usize, bool)>> {
    let mut taken: Vec<Vec<(f64, f64)>> = vec![Vec::new(); ROWS];
    let mut places = Vec::with_capacity(marks.len());
    // From the last to the first: an earlier mark's label then stands above the later ones, and no line crosses a label.
    for mark in marks.iter().rev() {
        let (x, width) = (time.x(mark.at), text_width(&mark.label) + 12.0);
        let left = x + width > X1 + 30.0;
        let span = if left { (x - width, x + 2.0) } else { (x - 2.0, x + width) };
        // A label must also keep clear of the lines that rise through its row from marks already placed.
        let free = |row: &Vec<(f64, f64)>| row.iter().all(|(a, b)| span.1 < *a || span.0 > *b);
        let row = (0..ROWS).find(|r| free(&taken[*r])).filter(|_| span.0 >= X0 - 120.0);
        if let Some(row) = row {
            taken[row].push(span);
            // The line passes through every lower row.
            for below in taken.iter_mut().take(row) {
                below.push((x - 1.0, x + 1.0));
            }
        }
        places.push(row.map(|row| (row, left)));
    }
    places.reverse();
    places
}

/// Height that the labels need above the phases.
pub(super) fn height(marks: &[Mark], time: &TimeScale) -> f64 {
    let rows = places(marks, time).into_iter().flatten().map(|(row, _)| row + 1).max().unwrap_or(0);
    super::scale::unsigned(rows as u64) * ROW + 4.0
}

/// The lines with their labels; row 0 is next to the phases.
pub(super) fn draw(out: &mut String, marks: &[Mark], time: &TimeScale, bottom: f64) {
    let top = height(marks, time);
    for (mark, place) in marks.iter().zip(places(marks, time)) {
        let (x, class, label) = (time.x(mark.at), mark.class, Esc(&mark.label));
        let at = format::instant(mark.at);
        let y = place.map_or(top, |(row, _)| top - super::scale::unsigned(row as u64) * ROW - 4.0);
        put!(
            out,
            "<line class=\"mark-{class}\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"><title>{label} at {at}</title></line>",
            y - 10.0
        );
        if let Some((_, left)) = place {
            let (dx, anchor) = if left { (-5.0, "end") } else { (5.0, "start") };
            put!(
                out,
                "<text class=\"mark-{class}\" x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{label}</text>\n",
                x + dx
            );
        }
    }
}
