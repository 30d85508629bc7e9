//! The files of a run record that are made from its events.

use std::io;

use super::{Report, html, junit};
use crate::record::{Event, RunDir};

/// Writes `report.json`, `report.html` and `junit.xml`, each in one piece.
///
/// # Errors
///
/// When a file can't be written.
pub fn write_all(dir: &RunDir, events: &[Event]) -> io::Result<()> {
    let report = Report::from_events(events);
    dir.write("report.json", report.json().map_err(io::Error::other)?.as_bytes())?;
    dir.write("report.html", html(&report, events).as_bytes())?;
    dir.write("junit.xml", junit(std::slice::from_ref(&report)).map_err(io::Error::other)?.as_bytes())
}
