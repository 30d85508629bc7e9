//! What a person or a CI sees of a run, as folds over its events and nothing else.
//!
//! ```text
//! events.jsonl ─▶ Report ─▶ report.json   what happened, with numbers, versioned
//!        │           ├────▶ junit.xml     one suite per run
//!        │           └────▶ the terminal  (`crate::term`)
//!        └───────────┴────▶ report.html   one page that stands alone: the Report plus the seconds between
//! ```
//!
//! Nothing here asks a cluster, a clock or a file: the same events give the same bytes, so that a run of yesterday renders with
//! the binary of today. A list of events that stops in the middle, as `kill -9` leaves it, gives a report without a verdict.

mod advice;
pub mod beside;
mod files;
mod fold;
pub mod format;
mod html;
mod junit;
mod model;
mod spans;
#[cfg(test)]
pub(crate) mod synthetic;
#[cfg(test)]
mod tests;
pub mod words;

pub use files::write_all;
pub use html::html;
pub use junit::{JunitError, junit};
pub use model::{
    Aborted, Advice, Blind, Effect, Healing, ImpactTimes, InjectionResult, PhaseSpan, Report, StepReport, TargetReport,
    Undoing, VERSION,
};
