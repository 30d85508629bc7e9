//! What was predicted of the pods that a step displaced, and what came of them.

use super::{Esc, Prose, put};
use crate::record::{Foretold, Replaced};
use crate::report::model::Report;
use crate::report::words::{standing, urgency};

/// Most rows of the table: `report.json` has all.
const ROWS: usize = 200;

/// A row for each workload that lost pods: first those that came out otherwise than predicted.
pub(super) fn section(out: &mut String, report: &Report) {
    if report.replaced.is_empty() {
        return;
    }
    put!(
        out,
        "<section>\n<h2>Displaced pods</h2>\n<p class=\"lead\">Seen when the hold was over, before anything was taken back. A pod is placed when \
         another one of its workload has a node elsewhere; whether it works there, the hypotheses tell. One that is still bound to a lost node is \
         replaced only when the cluster removes it.</p>\n<div class=\"scroll\"><table>\n<thead><tr><th>Workload</th>"
    );
    for name in ["Displaced", "Predicted placed", "Placed", "Still bound"] {
        put!(out, "<th class=\"n\">{name}</th>");
    }
    put!(out, "<th>What happened</th></tr></thead>\n<tbody>\n");
    let mut rows: Vec<&Replaced> = report.replaced.iter().collect();
    rows.sort_by_key(|row| urgency(row));
    for one in rows.iter().take(ROWS) {
        row(out, one);
    }
    put!(out, "</tbody>\n</table></div>\n");
    if rows.len() > ROWS {
        put!(out, "<p class=\"soft\">{} more are in <code>report.json</code>.</p>\n", rows.len() - ROWS);
    }
    put!(out, "</section>\n");
}

fn row(out: &mut String, one: &Replaced) {
    let displaced = &one.displaced;
    let predicted = displaced.pods.saturating_sub(displaced.without_place());
    let tone = match one.standing {
        Foretold::FewerPlaced => " class=\"bad\"",
        Foretold::MorePlaced | Foretold::Open => " class=\"notice\"",
        Foretold::AsPredicted => "",
    };
    put!(out, "<tr><td>{}<small>{}</small></td>", Esc(&displaced.workload), Esc(&displaced.namespace));
    for number in [displaced.pods, predicted, one.placed, one.bound] {
        put!(out, "<td class=\"n\">{number}</td>");
    }
    put!(out, "<td><span{tone}>{}</span>", Esc(&standing(one)));
    for stranded in &displaced.stranded {
        put!(out, "<small>predicted without a place: {}, {}</small>", stranded.pods, Prose(&stranded.why));
    }
    if !one.detail.is_empty() {
        put!(out, "<small>{}</small>", Prose(&one.detail));
    }
    put!(out, "</td></tr>\n");
}
