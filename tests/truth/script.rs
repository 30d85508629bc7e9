//! What the fault server is told, and what it tells: the script, the line that it greets with, the lines of its log.
//!
//! Both sides compile this file; nothing else is shared between them.

use serde::{Deserialize, Serialize};

/// What the server does: its listeners, each with its acts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Script {
    /// Fixes everything that is drawn: the shares of rules and the delays.
    #[serde(default)]
    pub(crate) seed: u64,
    /// In the order of the ports in the greeting.
    pub(crate) listeners: Vec<Listener>,
}

/// One port.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Listener {
    /// Stands in the log.
    pub(crate) name: String,
    /// What is spoken on it.
    pub(crate) protocol: Protocol,
    /// The first rule that fits decides on a connection or request.
    #[serde(default)]
    pub(crate) rules: Vec<Rule>,
    /// What is done where no rule fits.
    #[serde(default = "fine")]
    pub(crate) otherwise: String,
    /// When the whole listener is frozen or dead.
    #[serde(default)]
    pub(crate) windows: Vec<Window>,
    /// How long each request is worked on before its answer.
    #[serde(default)]
    pub(crate) delay: Option<Delay>,
}

fn fine() -> String {
    "ok".to_owned()
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 without TLS, with prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    H2,
    /// gRPC health checks over HTTP/2 without TLS.
    Grpc,
    /// The same over TLS.
    Grpcs,
    /// Nothing but connections.
    Tcp,
    /// DNS over UDP; what is truncated is asked for again over TCP on the same port.
    DnsUdp,
    /// DNS over TCP.
    DnsTcp,
}

/// Which connections or requests an act is for: those that fit everything that is named.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Rule {
    /// The connection with this number on the listener, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connection: Option<u64>,
    /// The request with this number on the listener, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<u64>,
    /// The request with this number on its connection, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) turn: Option<u64>,
    /// So large a part of them, drawn by the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<f64>,
    /// The name of a fault of the protocol, or `ok`.
    pub(crate) act: String,
}

/// A time, from the greeting's zero, in which something is wrong with the whole listener.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Window {
    /// What is wrong.
    pub(crate) kind: Trouble,
    /// First millisecond.
    pub(crate) from_ms: u64,
    /// The millisecond in which it is over.
    pub(crate) to_ms: u64,
}

/// What is wrong in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Trouble {
    /// Requests are taken and not answered before the end of the window.
    Freeze,
    /// Connections are reset, and new ones refused.
    Kill,
}

/// How long the work on a request takes, in microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Delay {
    /// Always as long.
    Fixed { us: u64 },
    /// `slow` for that share of requests, `fast` for the others.
    Bimodal { fast: u64, slow: u64, share: f64 },
    /// Pareto: at least `scale`, the tail the longer the smaller `alpha`.
    Pareto { scale: u64, alpha: f64 },
}

/// The one line that the server prints, once every port is open.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Greeting {
    /// `CLOCK_MONOTONIC` at the zero of all windows, in nanoseconds.
    pub(crate) zero: u64,
    /// The ports, in the order of the script.
    pub(crate) ports: Vec<u16>,
}

/// One line of the log. Instants are `CLOCK_MONOTONIC` in nanoseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Event {
    /// A connection was accepted.
    Connection {
        /// Name of the listener.
        listener: String,
        /// Its number, from 0.
        connection: u64,
        /// The port that it came from.
        peer: u16,
        /// The act on the connection as a whole.
        act: String,
        /// When `accept` returned.
        accepted: u64,
        /// When the server was through with it.
        closed: Option<u64>,
    },
    /// A request arrived.
    Request {
        /// Name of the listener.
        listener: String,
        /// Its number, from 0.
        request: u64,
        /// Number of its connection; of a datagram, the port that it came from.
        connection: u64,
        /// Its number on its connection, from 0.
        turn: u64,
        /// What was done with it.
        act: String,
        /// When its last byte had been read.
        arrived: u64,
        /// Just before the first byte of the answer was written.
        first: Option<u64>,
        /// Just after the last byte of the answer was written; nothing where the act broke off or the peer had left.
        last: Option<u64>,
    },
    /// A window began and ended.
    Window {
        /// Name of the listener.
        listener: String,
        /// What was wrong.
        kind: Trouble,
        /// Before the first thing was done for it.
        begun: u64,
        /// When all was done: from here on every connection was refused, every answer held back.
        complete: u64,
        /// Before the first thing was done to end it.
        ending: Option<u64>,
        /// When it was over.
        ended: Option<u64>,
    },
}
