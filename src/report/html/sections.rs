//! The words of the page: verdict, hypotheses, outages, steps, timeline, what to do, where it ran.

use super::numbers::{classes, fact};
use super::{Esc, Prose, put};
use crate::record::{Change, Event, Injection, Judgement, Phase, RunVerdict, UndoOutcome, Verdict, What};
use crate::report::format::{self, count, duration, instant, percent, plural, plural_of};
use crate::report::model::{Report, StepReport, TargetReport};
use crate::report::words;
use crate::scalar::EngineKind;

/// Most lines of the timeline: a reader who needs more reads `events.jsonl`.
const LINES: usize = 600;
/// Most outage windows in the table.
const WINDOWS: usize = 100;

/// The verdict, its reason, and the four numbers that people ask for first.
pub(super) fn banner(out: &mut String, report: &Report) {
    let (tone, glyph) = match report.verdict {
        Some(RunVerdict::Passed) => ("good", "✓"),
        Some(RunVerdict::Deviated) => ("bad", "✕"),
        Some(RunVerdict::UndoIncomplete | RunVerdict::Errored) | None => ("bad", "!"),
        Some(RunVerdict::Inconclusive) => ("notice", "?"),
        Some(RunVerdict::Aborted) => ("notice", "■"),
        Some(RunVerdict::Refused | RunVerdict::Unsteady) => ("calm", "⊘"),
    };
    let word = format::run_verdict(report.verdict);
    let word = word[..1].to_uppercase() + &word[1..];
    put!(out, "<header class=\"banner {tone}\">\n");
    if report.engine == EngineKind::Lab {
        put!(
            out,
            "<p class=\"rehearsal\"><b>A rehearsal</b> on an embedded cluster model: no real cluster was touched, and its latencies are \
             assumptions, not measurements.</p>\n"
        );
    }
    put!(out, "<h1><span class=\"glyph\" aria-hidden=\"true\">{glyph}</span>{word}");
    if let Some(code) = report.exit_code {
        put!(out, "<span class=\"code\">exit code {code}</span>");
    }
    put!(out, "</h1>\n<p class=\"reason\">{}.</p>\n", Prose(&sentence(&report.reason)));
    if let Some(aborted) = &report.aborted {
        let detail = aborted.detail.trim_end_matches('.');
        let detail = if report.reason.contains(detail) { String::new() } else { format!(": {detail}") };
        put!(
            out,
            "<p class=\"reason\">Ended early at {} ({}){}.</p>\n",
            instant(aborted.at),
            Esc(&aborted.by),
            Prose(&detail)
        );
    }
    if !report.left.is_empty() {
        put!(out, "<ul>");
        for left in &report.left {
            put!(out, "<li>Left behind: {}</li>", Prose(left));
        }
        put!(out, "</ul>\n");
    }
    if matches!(report.verdict, None | Some(RunVerdict::UndoIncomplete)) {
        put!(out, "<pre>{}</pre>\n", Esc(&report.recover_command()));
    }
    let by = match report.engine {
        EngineKind::Native | EngineKind::Lab => String::new(),
        EngineKind::Reqwest => format!(" · measured by the engine {}", report.engine),
    };
    let started = report.started.map(|t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()).unwrap_or_default();
    put!(
        out,
        "<p class=\"which\"><b>{}</b> on {} · run {} · {started} · took {}{by}</p>\n</header>\n",
        Esc(&report.experiment),
        Esc(&report.cluster.context),
        Esc(&report.run),
        duration(report.elapsed_us)
    );
    facts(out, report);
}

/// The reason as the start of a sentence, without its full stop.
fn sentence(reason: &str) -> String {
    let mut letters = reason.trim_end_matches('.').chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn facts(out: &mut String, report: &Report) {
    put!(out, "<dl class=\"facts\">\n");
    let judged =
        format!("{} deviated, {} unproven", report.judged(Verdict::Deviated), report.judged(Verdict::Unproven));
    fact(out, "Judgements held", &format!("{} of {}", report.judged(Verdict::Held), report.hypotheses.len()), &judged);
    let (good, bad) = report.requests();
    if good + bad > 0 {
        let (length, of) = report.longest_outage().map_or_else(
            || ("none".to_owned(), "no window of failure".to_owned()),
            |(outage, length)| (duration(length), format::stream(&outage.probe, outage.stream)),
        );
        fact(out, "Longest outage", &length, &of);
        let share = format::ratio(bad, good + bad).map_or_else(String::new, percent);
        fact(out, "Failed requests", &count(bad), &format!("{share} of {}", count(good + bad)));
    }
    let touched = report
        .targets()
        .filter(|(_, t)| t.injection.as_ref().is_some_and(|i| i.outcome == Injection::Injected))
        .count();
    let targets = report.targets().count();
    fact(out, "Faults injected", &format!("{touched} of {targets}"), &plural_of(report.steps.len(), "step"));
    if let Some(recovery) = report.impacts.iter().filter_map(|i| i.to_recovery_us).max() {
        fact(out, "Time to recovery", &duration(recovery), "after the injection");
    }
    put!(out, "</dl>\n");
}

/// The hypotheses, a row for each subject and tolerance, a column for each phase; the worst first.
pub(super) fn hypotheses(out: &mut String, report: &Report) {
    put!(out, "<section>\n<h2>Hypotheses</h2>\n");
    if report.hypotheses.is_empty() {
        put!(out, "<p class=\"lead\">None was judged.</p>\n</section>\n");
        return;
    }
    let columns: Vec<Option<Phase>> = Phase::ALL
        .into_iter()
        .map(Some)
        .chain([None])
        .filter(|phase| report.hypotheses.iter().any(|h| h.phase == *phase))
        .collect();
    let mut rows: Vec<Vec<&Judgement>> = Vec::new();
    for judgement in &report.hypotheses {
        let key = |j: &Judgement| (j.index, j.subject.clone(), j.stream, j.tolerance.clone());
        match rows.iter_mut().find(|row| key(row[0]) == key(judgement)) {
            Some(row) => row.push(judgement),
            None => rows.push(vec![judgement]),
        }
    }
    rows.sort_by_key(|row| row.iter().map(|j| rank(j.verdict)).min());
    put!(
        out,
        "<p class=\"lead\">Held or deviated goes by the measured value; its 95 % interval stands beneath it.</p>\n"
    );
    put!(out, "<div class=\"scroll\"><table>\n<thead><tr><th>Tolerance</th>");
    for phase in &columns {
        put!(
            out,
            "<th>{}</th>",
            phase.map_or("Whole run", |p| match p {
                Phase::Before => "Before",
                Phase::During => "During",
                Phase::After => "After",
            })
        );
    }
    put!(out, "</tr></thead>\n<tbody>\n");
    for row in rows {
        let subject = format::subject(row[0]);
        put!(
            out,
            "<tr><td><code class=\"nowrap\">{}</code><small>{}</small></td>",
            Esc(&row[0].tolerance),
            Esc(&subject)
        );
        for phase in &columns {
            if let Some(judgement) = row.iter().find(|j| j.phase == *phase) {
                cell(out, judgement);
            } else {
                put!(out, "<td></td>");
            }
        }
        put!(out, "</tr>\n");
    }
    put!(out, "</tbody>\n</table></div>\n</section>\n");
}

const fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Deviated => 0,
        Verdict::Unproven => 1,
        Verdict::Held => 2,
    }
}

fn cell(out: &mut String, judgement: &Judgement) {
    let (tone, glyph) = match judgement.verdict {
        Verdict::Held => ("good", "✓"),
        Verdict::Deviated => ("bad", "✕"),
        Verdict::Unproven => ("notice", "?"),
    };
    put!(
        out,
        "<td class=\"judged\"><span class=\"mark {tone}\">{glyph} {}</span> <span class=\"nowrap\">{}</span>",
        format::verdict(judgement.verdict),
        Esc(&judgement.measured)
    );
    put!(out, "<small>");
    if let Some(interval) = format::interval(judgement) {
        put!(out, "{}<br/>", Esc(&interval));
    }
    if judgement.samples > 0 {
        put!(out, "{}", plural(judgement.samples, "sample"));
    }
    out.push_str("</small>");
    if !judgement.reason.is_empty() {
        put!(out, "<small class=\"why\">{}</small>", Prose(&judgement.reason));
    }
    put!(out, "</td>");
}

/// The windows of failure, with their edges and causes.
pub(super) fn outages(out: &mut String, report: &Report) {
    put!(out, "<section>\n<h2>Outages</h2>\n");
    if report.outages.is_empty() {
        put!(out, "<p class=\"lead\">None.</p>\n</section>\n");
        return;
    }
    put!(
        out,
        "<p class=\"lead\">From a first bad request to the next sustained good one. The bounds say how much shorter or longer it can have \
               been between two requests.</p>\n<div class=\"scroll\"><table>\n<thead><tr><th>Probe, stream</th><th class=\"n\">Length</th><th>Bounds</th>\
               <th class=\"n\">From</th><th class=\"n\">To</th><th>Cause</th><th class=\"n\">Bad</th><th class=\"n\">Good</th><th>By class</th></tr></thead>\n<tbody>\n"
    );
    let mut longest: Vec<_> = report.outages.iter().collect();
    longest.sort_by_key(|o| std::cmp::Reverse(report.outage_length(o)));
    for o in longest.iter().take(WINDOWS) {
        let least = duration(o.last_bad - o.from);
        let most = o.to.map_or_else(|| "not over".to_owned(), |to| duration(to - o.earliest.unwrap_or(o.from)));
        put!(
            out,
            "<tr><td class=\"nowrap\">{}</td><td class=\"n bad mark\">{}</td>",
            Esc(&format::stream(&o.probe, o.stream)),
            duration(report.outage_length(o))
        );
        put!(out, "<td class=\"nowrap soft\">{least} … {most}</td><td class=\"n\">{}", instant(o.from));
        if let Some(injected) = report.first_injection().filter(|at| *at <= o.from) {
            put!(out, "<small>{} after the injection</small>", duration(o.from - injected));
        }
        put!(out, "</td><td class=\"n\">{}</td>", o.to.map_or_else(|| "not over".to_owned(), instant));
        put!(out, "<td>{}</td>", Prose(o.cause.as_deref().unwrap_or("nothing on the timeline explains it")));
        put!(out, "<td class=\"n\">{}</td><td class=\"n\">{}", count(o.bad), count(o.good));
        if o.unseen > 0 {
            put!(out, "<small>{} unseen</small>", count(o.unseen));
        }
        put!(out, "</td><td>");
        classes(out, &o.classes);
        put!(out, "</td></tr>\n");
    }
    put!(out, "</tbody>\n</table></div>\n");
    if longest.len() > WINDOWS {
        put!(out, "<p class=\"lead\">And {} that were shorter.</p>\n", plural_of(longest.len() - WINDOWS, "outage"));
    }
    put!(out, "</section>\n");
}

/// The method and what it did to each target.
pub(super) fn steps(out: &mut String, report: &Report) {
    put!(out, "<section>\n<h2>Steps and targets</h2>\n");
    if report.steps.is_empty() {
        put!(out, "<p class=\"lead\">Nothing was to be injected.</p>\n</section>\n");
        return;
    }
    put!(
        out,
        "<div class=\"scroll\"><table>\n<thead><tr><th>Step</th><th>Target</th><th>Injection</th><th>Effect</th><th>Undo</th><th>Heal</th></tr></thead>\n<tbody>\n"
    );
    for step in &report.steps {
        if step.targets.is_empty() {
            put!(
                out,
                "<tr class=\"end\"><td>{}</td><td colspan=\"5\" class=\"notice\">no target</td></tr>\n",
                step_name(step)
            );
        }
        for (i, touched) in step.targets.iter().enumerate() {
            let name = if i == 0 { step_name(step) } else { String::new() };
            let end = if i + 1 == step.targets.len() { " class=\"end\"" } else { "" };
            put!(out, "<tr{end}><td>{name}</td>");
            target(out, touched);
            put!(out, "</tr>\n");
        }
    }
    put!(out, "</tbody>\n</table></div>\n</section>\n");
}

fn step_name(step: &StepReport) -> String {
    let mut name = format!("<b>{}</b><small>{}", Esc(&step.name), Esc(&step.fault));
    if let Some(at) = step.at_us {
        put!(name, " at {}", duration(at));
    }
    if let Some(hold) = step.hold_us {
        put!(name, " for {}", duration(hold));
    }
    if let Some(of) = step.of {
        put!(name, "<br/>{} of {}", step.targets.len(), count(of));
    }
    name.push_str("</small>");
    name
}

fn target(out: &mut String, touched: &TargetReport) {
    let t = &touched.target;
    put!(out, "<td>{}<small>", Esc(&t.to_string()));
    let place = [
        (&t.namespace, "in "),
        (t.owner.as_ref().unwrap_or(&String::new()), "of "),
        (t.node.as_ref().unwrap_or(&String::new()), "on "),
    ]
    .iter()
    .filter(|(value, _)| !value.is_empty())
    .map(|(value, word)| format!("{word}{value}"))
    .collect::<Vec<_>>()
    .join(", ");
    put!(out, "{}</small></td>", Esc(&place));
    if let Some(i) = &touched.injection {
        let took = format!("at {} in {}", instant(i.answered), duration(i.answered - i.sent));
        outcome(out, if i.expected { "good" } else { "bad" }, format::injection(i.outcome), &took, &i.detail);
    } else {
        put!(out, "<td class=\"soft\">not tried</td>");
    }
    let at = |at| format!("at {}", instant(at));
    let effect = touched.effect.as_ref().map(|e| {
        let (tone, word) = if e.seen { ("good", "seen") } else { ("notice", "no effect") };
        (tone, word, at(e.at), &e.detail)
    });
    let undo = touched.undo.as_ref().map(|u| {
        let tone = match u.outcome {
            UndoOutcome::Undone | UndoOutcome::Nothing => "good",
            UndoOutcome::Conflict => "notice",
            UndoOutcome::Failed => "bad",
        };
        (tone, format::undo(u.outcome), at(u.at), &u.detail)
    });
    let heal = touched.heal.as_ref().map(|h| {
        let (tone, word) = if h.healed { ("good", "healed") } else { ("bad", "not healed") };
        (tone, word, at(h.at), &h.detail)
    });
    for what in [effect, undo, heal] {
        if let Some((tone, word, when, detail)) = what {
            outcome(out, tone, word, &when, detail);
        } else {
            put!(out, "<td class=\"soft\">–</td>");
        }
    }
}

fn outcome(out: &mut String, tone: &str, word: &str, when: &str, detail: &str) {
    put!(
        out,
        "<td><span class=\"mark {tone}\">{word}</span> <span class=\"nowrap\">{when}</span><small>{}</small></td>",
        Prose(detail)
    );
}

/// Every event that says something, in the order of its instant; folded away, because it is long.
pub(super) fn timeline(out: &mut String, events: &[Event]) {
    let seen = |e: &&Event| matches!(&e.what, What::Object { change: Change::Seen, .. });
    let mut lines: Vec<(i64, words::Words)> = events
        .iter()
        .filter(|e| !seen(e))
        .filter_map(|e| words::describe(&e.what).map(|words| (words::when(e.at, &e.what), words)))
        .collect();
    lines.sort_by_key(|(at, _)| *at);
    let all = lines.len();
    if all > LINES {
        // What the run did must not be lost in what a busy namespace did.
        let background = lines.iter().filter(|(_, w)| w.tone == words::Tone::Faint).count();
        let mut drop = (all - LINES).min(background);
        lines.reverse();
        lines.retain(|(_, w)| {
            let goes = drop > 0 && w.tone == words::Tone::Faint;
            drop -= usize::from(goes);
            !goes
        });
        lines.reverse();
        lines.truncate(LINES);
    }
    put!(out, "<section>\n<h2>Timeline</h2>\n<details><summary>{}</summary>\n", plural_of(all, "event"));
    if all > lines.len() {
        put!(
            out,
            "<p class=\"lead\">Shortened to {}; <code>events.jsonl</code> has all.</p>\n",
            plural_of(lines.len(), "event")
        );
    }
    put!(out, "<div class=\"scroll\"><table>\n<tbody>\n");
    for (at, line) in &lines {
        put!(
            out,
            "<tr><td class=\"n\">{}</td><td class=\"mark {}\">{}</td><td>{}</td></tr>\n",
            instant(*at),
            line.tone.name(),
            Esc(&line.word),
            Prose(&line.text)
        );
    }
    put!(out, "</tbody>\n</table></div>\n</details>\n</section>\n");
}

/// What to do next, and the warnings.
pub(super) fn next(out: &mut String, report: &Report) {
    put!(out, "<section>\n<h2>What to do next</h2>\n<ol class=\"next\">\n");
    for advice in &report.next {
        put!(out, "<li>{}", Prose(&advice.text));
        if let Some(command) = &advice.command {
            put!(out, "<pre>{}</pre>", Esc(command));
        }
        put!(out, "</li>\n");
    }
    put!(out, "</ol>\n");
    if !report.warnings.is_empty() {
        put!(out, "<h3>Warnings</h3>\n<ul>\n");
        for warning in &report.warnings {
            put!(out, "<li>{}</li>\n", Prose(warning));
        }
        put!(out, "</ul>\n");
    }
    put!(out, "</section>\n");
}

/// Where it ran, and how to run it again.
pub(super) fn environment(out: &mut String, report: &Report) {
    let cluster = &report.cluster;
    let seed = report.seed.to_string();
    put!(out, "<section>\n<h2>Environment</h2>\n<dl class=\"where\">\n");
    let version = |v: &String| if v.is_empty() { "unknown".to_owned() } else { v.clone() };
    let rows = [
        ("Experiment", report.source.clone()),
        ("Seed", seed),
        ("Cluster", format!("{} at {}", cluster.context, cluster.server)),
        ("Cluster's identity", format!("kube-system {}", cluster.uid)),
        ("Kubernetes", version(&cluster.version)),
        ("Squall", version(&report.squall)),
        ("Probe engine", report.engine.to_string()),
    ];
    for (name, value) in rows {
        put!(out, "<dt>{name}</dt><dd>{}</dd>\n", Esc(&value));
    }
    put!(
        out,
        "</dl>\n<p class=\"again\">The same run again:</p>\n<pre>{}</pre>\n</section>\n",
        Esc(&report.repeat_command())
    );
}
