//! The experiment as written: its types, and the way from a file to them.
//!
//! ```text
//! bytes ─source→ text ─yaml→ tree ─variables→ tree ─reader, de→ Experiment ─check→ Experiment, warnings
//!           │           │           │                  │                       │
//!           └───────────┴───────────┴──── Diagnostics ─┴───────────────────────┘
//! ```
//!
//! Every stage reports what it finds with its place and goes on, so that all mistakes of a file are known at once. Nothing here touches a
//! cluster; what an experiment comes to on one is [`crate::plan`]'s business.

mod ask;
mod aws;
mod check;
mod connection;
mod de;
mod diagnostic;
mod engine;
mod experiment;
mod failure;
mod foreign;
mod forms;
mod grpc;
mod header;
mod keyed;
mod load;
mod node;
mod reader;
mod render;
mod schema;
mod service;
mod source;
mod syntax;
#[cfg(test)]
mod tests;
mod variables;
mod yaml;

pub use ask::{
    Dns, DnsExpect, DnsName, DnsOver, HostPort, Rcode, RecordType, ServerAddress, Socket, Tcp, TcpConnection,
};
pub use aws::Aws;
pub use connection::{Connection, HttpVersion};
pub use diagnostic::{Code, Diagnostic, Diagnostics, Location, Severity};
pub use engine::{Unfit, unfit};
pub use experiment::*;
pub use grpc::{Grpc, GrpcExpect, HealthState};
pub use load::{Loaded, load, read};
pub use schema::schema;
pub use service::{ServicePort, service_of};
pub use source::{MAX_BYTES, Span};
pub use yaml::{MAX_ALIASES, MAX_DEPTH, MAX_NODES};
