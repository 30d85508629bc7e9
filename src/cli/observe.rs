//! `report`: an old run record, rendered by this binary.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::record::{Exit, RunDir};
use crate::report::{self, Report};
use crate::term::Terminal;

/// `squall report`.
#[derive(Debug, Args)]
pub(super) struct ReportVerb {
    /// Run id, or the folder of a run record
    run: String,
    /// What to print; without it, every file of the record is written again
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Folder of the run records
    #[arg(long, default_value = "reports", value_name = "DIR")]
    reports: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
    Html,
    Junit,
}

impl ReportVerb {
    /// Reads the events and renders them.
    pub(super) fn run(&self, term: &mut Terminal) -> Exit {
        let as_path = RunDir::at(&self.run);
        let dir = if as_path.file("events.jsonl").is_file() { as_path } else { RunDir::of(&self.reports, &self.run) };
        let events = match dir.events() {
            Ok(events) => events,
            Err(e) => {
                return term.usage(
                    &format!("can't read the run record {}: {e}", dir.path().display()),
                    Some("pass a run id, with `--reports DIR` where it is not in `reports`, or the record's folder"),
                );
            }
        };
        let report = Report::from_events(&events);
        let rendered = match self.format {
            None => {
                return match report::write_all(&dir, &events) {
                    Ok(()) => {
                        term.say(&format!("written again: {}", dir.file("report.html").display()));
                        Exit::Passed
                    }
                    Err(e) => term.errored(&format!("can't write {}: {e}", dir.path().display())),
                };
            }
            Some(Format::Text) => {
                for event in &events {
                    term.on_event(event);
                }
                term.summary(&report, Some(dir.path()));
                return Exit::Passed;
            }
            Some(Format::Json) => report.json().map_err(|e| e.to_string()),
            Some(Format::Html) => Ok(report::html(&report, &events)),
            Some(Format::Junit) => report::junit(&[report]).map_err(|e| e.to_string()),
        };
        match rendered {
            Ok(text) => {
                term.say(text.trim_end());
                Exit::Passed
            }
            Err(e) => term.errored(&e),
        }
    }
}
