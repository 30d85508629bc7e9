//! What is computed from a run's samples. Pure functions over data: no cluster, no files, no clock.
//!
//! ```text
//! Sample ─▶ Series ─┬─▶ Timeline ─▶ Interval          every second, live
//!                   ├─▶ Outages  ─▶ Outage ◀─ cause   when a window ends
//!                   ├─▶ summary  ─▶ Summary           per phase
//!                   ├─▶ availability ─▶ Availability  per phase, and over the run
//!                   ├─▶ compare  ─▶ Comparison        after against before
//!                   └─▶ judge    ─▶ Judgement         per hypothesis, stream and phase
//! ```
//!
//! `docs/measures.md` says in words what each number means and what it can't see.

mod alarm;
mod availability;
mod blocks;
mod breakdown;
mod cause;
mod compare;
mod distribution;
mod gray;
mod hlog;
mod impact;
mod judge;
mod live;
mod object;
mod outage;
mod payload;
mod phase;
mod recovery;
mod sequential;
mod series;
pub mod stats;
mod summary;
mod tally;
#[cfg(test)]
mod testing;
mod timeline;
mod tolerance;
mod words;

pub use alarm::{Alarm, Stream, allowed};
pub use availability::{SecondsRule, availability};
pub use breakdown::Breakdown;
pub use cause::{Mark, MarkKind, cause};
pub use compare::compare;
pub use distribution::{Distribution, quantiles};
pub use gray::Readiness;
pub use hlog::HlogWriter;
pub use impact::{StepTimes, impact};
pub use judge::{Hypothesis, judge, judge_phase};
pub use live::{Live, Standing};
pub use object::{ObjectTrack, check};
pub use outage::{Outages, Window, longest_gap, outages, sustained, windows};
pub use recovery::{Recoveries, Recovery};
pub use series::{Phases, Row, Seen, Series};
pub use summary::summary;
pub use tally::{Tally, failure};
pub use timeline::Timeline;
pub use tolerance::needed_samples;
