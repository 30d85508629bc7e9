//! The probe loop: sends requests on a schedule and says of every one what it came to.
//!
//! # What is promised
//! - **Open loop.** A request is sent at its planned instant, whatever became of those before it. Latency counts from the planned
//!   instant ([`Sample::response_time`]) and from the send ([`Sample::service_time`]).
//! - **One slot, one request.** At most one look-up, one connection and one request; no second try of any kind, no redirect.
//! - **One slot, one outcome.** Every planned slot is settled exactly once ([`Counts::balanced`]), also at the end: what is in flight
//!   is waited for until its deadline.
//! - **The client's own troubles are not the service's.** A slot that fell due while the engine stood still or could not keep up is
//!   not sent and is unknown: there is no burst after a stall. One that went out too late all the same is client-late. One
//!   that was in flight during a stall, or whose time was lost to many short ones, is unknown: its answer may have lain there
//!   unread. No descriptor, no port, no buffer: unknown, with the reason counted. "Too late" is more than a tenth of the
//!   timeout, between 1 and 100 ms.
//! - **Nothing queues.** Above the cap on requests in flight a slot is capped, and counted.
//!
//! # How it is built
//! ```text
//! Schedule ──▶ drive (one loop; pacer: timerfd or tokio's clock) ──▶ Transport (HTTP, or the lab's) ──▶ Exchange
//!                │                                                                                       │
//!                └──────────────────────────▶ Ledger ◀───────────── StallWatch ◀─────────────────────────┘
//!                                               └──▶ Batch (every 20 ms)
//! ```
//! [`Engine::start`] runs it in real time on a thread of its own; [`Engine::inline`] on the caller's runtime, over any transport, and
//! so in virtual time under tokio's paused clock.

mod config;
mod drive;
mod engine;
mod instrument;
mod ledger;
mod pacer;
mod preflight;
mod sample;
mod schedule;
mod stall;
mod steps;
mod stream;
mod transport;

pub use config::{
    Ask, BODY_LOOKED_AT, DnsAsk, DnsExpectation, DnsOver, Expectation, GrpcAsk, HealthState, HttpAsk, HttpVersion,
    ProbeConfig, RecordType, Request, ResponseCode, SetupError, TcpAsk,
};
pub use drive::{Batch, StreamSummary};
pub use engine::{Engine, EngineDied, Plan};
pub use instrument::{Instrument, ThisMachine};
pub use ledger::{Counts, UnknownCounts};
pub use preflight::{Preflight, preflight};
pub use sample::{Class, Nanos, Outcome, Reach, Sample, Step};
pub use schedule::Schedule;
pub use steps::{STEPS, Steps};
pub use stream::{StreamKind, UnknownStream};
pub(crate) use transport::TimedOut;
pub use transport::{Answer, Exchange, Slot, Transport, Trouble};

#[cfg(test)]
mod tests;
