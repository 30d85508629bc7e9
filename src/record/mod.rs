//! The run record: what is written under `reports/<run-id>/`, and the events that everything is told from.

mod availability;
mod cluster;
mod disk;
mod displaced;
mod event;
mod exit;
mod fields;
mod life;
mod predicted;
mod step;
mod store;
mod summary;

pub use availability::*;
pub use cluster::{AwsId, ClusterId, IN_CLUSTER};
pub use disk::{Disk, Open, Sink, durable, volatile};
pub use displaced::{Displaced, Foretold, Replaced, Stranded};
pub use event::*;
pub use exit::Exit;
pub use fields::Fields;
pub use life::Life;
pub use predicted::{Assumption, Measured, Outlook, Predicted, Quantity, Span};
pub use step::StepTime;
pub use store::{Clock, Recorder, RunDir};
pub use summary::Summary;
