//! The engine against a server that breaks by a script and writes down what it saw: every fault has its class, every count is the
//! server's own, every outage has its edges where the server had them. See the README beside this file.

#![expect(clippy::unwrap_used, reason = "helpers of tests: what fails in them fails the test")]
#![expect(clippy::print_stderr, reason = "a test that tried something again says so")]

mod dns;
mod frames;
mod harness;
mod http;
mod http2;
mod intervals;
mod matrix;
#[path = "../hlog/reader.rs"]
mod reader;
mod script;
mod second;
mod stall;
mod tcp;
mod windows;
