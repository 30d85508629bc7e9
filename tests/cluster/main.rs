//! Squall against a real cluster: the test bed, or any context named by `SQUALL_E2E_CONTEXT`.
//!
//! Each test has a namespace and a state namespace of its own, so that they run side by side, and each asserts the verdict, the exit
//! code and the cluster's state afterwards. They are ignored by a plain `cargo test`; `make e2e` runs them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "helpers of tests: what fails in them fails the test, and a real cluster has a real clock"
)]

mod aws;
mod bed;
mod catalogue;
mod dns;
mod job;
mod nodes;
mod pods;
mod power;
mod protocols;
#[path = "../hlog/reader.rs"]
mod reader;
mod safety;
mod scale;
mod stranded;
mod support;
mod zone;
