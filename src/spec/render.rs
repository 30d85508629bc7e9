//! Diagnostics as a person reads them on a terminal.

use std::fmt::Write as _;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::source::{Source, Span};

/// Longest line that is shown whole, and how much of a longer one is shown before and behind the caret, in bytes.
const WIDE: usize = 400;
const AROUND: usize = 80;
/// Most bytes of source between two places that are shown in one snippet.
const FAR: usize = 64 * 1024;

pub(super) fn render(diagnostics: &Diagnostics, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics.list() {
        out.push_str(diagnostics.file());
        if let Some(location) = diagnostics.location(diagnostic) {
            // Writing to a String can't fail.
            let _ = write!(out, ":{}:{}", location.line, location.column);
        }
        out.push_str(": ");
        out.push_str(&one(&renderer, &diagnostics.source, diagnostic));
        out.push_str("\n\n");
    }
    if diagnostics.left_out > 0 {
        let _ = writeln!(out, "{}: {} more are not shown", diagnostics.file(), diagnostics.left_out);
    } else {
        // One empty line between diagnostics, none behind the last.
        out.pop();
    }
    out
}

fn one(renderer: &Renderer, source: &Source, diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.number());
    let help = diagnostic.hint.as_deref().map(|hint| Group::with_title(Level::HELP.secondary_title(hint)));
    match diagnostic.span {
        Some(span) => {
            let report: Vec<_> = std::iter::once(title.element(snippet(source, span, diagnostic.related.as_ref())))
                .chain(help)
                .collect();
            renderer.render(&report)
        }
        // Without a snippet there is nothing to hang the help on, and the renderer would draw a stump of its gutter.
        None => std::iter::once(Group::with_title(title))
            .chain(help)
            .map(|group| renderer.render(&[group]))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

/// The line of the span, and of the related place where that is not too far away. Only these lines are handed over, because the
/// renderer works through everything that it is given.
fn snippet<'a>(source: &'a Source, span: Span, related: Option<&'a (Span, String)>) -> Snippet<'a, Annotation<'a>> {
    let lines = |offset: usize| source.line(source.position(offset).0);
    let own = lines(span.start);
    if own.len() > WIDE {
        return windowed(source, span, own);
    }
    let other = related
        .map(|(place, label)| (place, label, lines(place.start)))
        .filter(|(_, _, line)| line.len() <= WIDE && line.start.abs_diff(own.start) <= FAR);
    let first = other.as_ref().map_or(own.start, |(_, _, line)| line.start.min(own.start));
    let last = other.as_ref().map_or(own.end, |(_, _, line)| line.end.max(own.end));
    // A caret marks one line: the rest of a longer construct says nothing.
    let within = |span: Span, line: &std::ops::Range<usize>| {
        span.start - first..span.end.clamp(span.start, line.end.max(span.start)) - first
    };
    let mut snippet = Snippet::source(&source.text[first..last])
        .line_start(source.position(first).0)
        .annotation(AnnotationKind::Primary.span(within(span, &own)));
    if let Some((place, label, line)) = other {
        snippet = snippet.annotation(AnnotationKind::Context.span(within(*place, &line)).label(label.as_str()));
    }
    snippet
}

/// A piece of a line that is too long to be shown.
fn windowed(source: &Source, span: Span, line: std::ops::Range<usize>) -> Snippet<'_, Annotation<'_>> {
    let from = source.clamp(Span::at(span.start.saturating_sub(AROUND).max(line.start))).start;
    let to = source.clamp(Span::at((span.start + AROUND).min(line.end))).start;
    Snippet::source(&source.text[from..to])
        .line_start(source.position(span.start).0)
        .annotation(AnnotationKind::Primary.span(span.start - from..span.end.clamp(span.start, to) - from))
}
