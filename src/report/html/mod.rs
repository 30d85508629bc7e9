//! `report.html`: one page that stands alone. It asks for nothing (its policy forbids it), works from a file, without scripts, in the
//! dark and on paper. The verdict comes first, then what it rests on, then what to do, then everything else.

mod availability;
mod beside;
mod breakdown;
mod chart;
mod histogram;
mod lanes;
mod marks;
mod numbers;
mod panel;
mod replaced;
mod scale;
mod sections;
mod series;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use sha2::Digest as _;

use super::format;
use super::model::Report;
use crate::record::Event;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Appends formatted text; writing to a `String` can't fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        use std::fmt::Write as _;
        let _ = write!($out, $($arg)*);
    }};
}
use put;

/// A text that is safe between tags and within quoted attributes.
struct Esc<'a>(&'a str);

impl fmt::Display for Esc<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Not allowed in a document, and nothing that a person could read.
                c if c.is_control() && c != '\n' && c != '\t' => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A sentence in which `words in backticks` are set as code. Escaped.
struct Prose<'a>(&'a str);

impl fmt::Display for Prose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<&str> = self.0.split('`').collect();
        let paired = parts.len() % 2 == 1;
        for (i, part) in parts.iter().enumerate() {
            match (paired, i % 2) {
                (true, 1) => write!(f, "<code>{}</code>", Esc(part))?,
                (false, _) if i > 0 => write!(f, "`{}", Esc(part))?,
                _ => write!(f, "{}", Esc(part))?,
            }
        }
        Ok(())
    }
}

/// The page of a run, from its report and the events that the report was folded from (the chart and the list need each of them).
#[must_use]
pub fn html(report: &Report, events: &[Event]) -> String {
    let mut out = String::with_capacity(256 * 1024);
    let title = format!("{}: {}", format::run_verdict(report.verdict), report.experiment);
    put!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    put!(
        out,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; \
         base-uri 'none'; form-action 'none'\"/>\n",
        digest(STYLE),
        digest(SCRIPT)
    );
    put!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<meta name=\"referrer\" content=\"no-referrer\"/>\n"
    );
    put!(out, "<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n", Esc(&title));
    sections::banner(&mut out, report);
    sections::hypotheses(&mut out, report);
    chart::section(&mut out, report, events);
    sections::outages(&mut out, report);
    availability::section(&mut out, report);
    numbers::impact(&mut out, report);
    beside::section(&mut out, report);
    histogram::section(&mut out, report);
    availability::comparison(&mut out, report);
    replaced::section(&mut out, report);
    sections::steps(&mut out, report);
    numbers::probes(&mut out, report);
    breakdown::section(&mut out, report);
    sections::timeline(&mut out, events);
    sections::next(&mut out, report);
    sections::environment(&mut out, report);
    put!(
        out,
        "</main>\n<footer>Written by Squall {} from the events of the run and nothing else.</footer>\n",
        Esc(&report.squall)
    );
    put!(out, "<script>{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

/// The hash by which the page's policy knows its own style and script.
fn digest(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text.as_bytes()))
}
