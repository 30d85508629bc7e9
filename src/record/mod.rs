//! The run record: what is written under `reports/<run-id>/`, and the events that everything is told from.

mod event;
mod exit;
mod store;

pub use event::*;
pub use exit::Exit;
pub use store::{Clock, Recorder, RunDir};
