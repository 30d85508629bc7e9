//! What one planned request came to. The seam between the engine that sends and the code that judges.

use serde::{Deserialize, Serialize};

/// Nanoseconds since the run's zero, on the monotonic clock.
pub type Nanos = u64;

/// How a stream of a probe uses connections. Streams are measured and judged apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StreamKind {
    /// A new resolution and connection for every request.
    Fresh,
    /// Connections are kept and used again.
    KeptAlive,
}

impl StreamKind {
    /// The stream's name in reports: `fresh` or `kept-alive`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::KeptAlive => "kept-alive",
        }
    }
}

/// In which step of a request it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Resolving the name.
    Dns,
    /// Opening the TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Writing the request.
    Send,
    /// Waiting for the response's head.
    Response,
    /// Reading the response's body.
    Body,
}

/// Why a request was bad. The names are stable: they are written to run records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The name does not exist.
    DnsNxdomain,
    /// The name exists without an address.
    DnsNodata,
    /// The resolver answered SERVFAIL.
    DnsServfail,
    /// The resolver answered REFUSED.
    DnsRefused,
    /// The resolver did not answer in time.
    DnsTimeout,
    /// No resolver listens, or none can be reached.
    DnsUnreachable,
    /// Any other failure of the resolution.
    DnsOther,
    /// Connection refused.
    ConnectRefused,
    /// The connection was reset while it was opened.
    ConnectReset,
    /// The connection did not open in time.
    ConnectTimeout,
    /// The connection did not open in time, from a source port on which the last one did not either, within two minutes: most
    /// likely NAT on the way still sends that port to where the first one went.
    ConnectTimeoutSamePort,
    /// Host or network unreachable.
    ConnectUnreachable,
    /// Any other failure to connect.
    ConnectOther,
    /// The TLS handshake did not end in time.
    TlsTimeout,
    /// The certificate was not accepted: expired, another name, an unknown authority.
    TlsCertificate,
    /// The peer closed or reset the connection during the handshake.
    TlsClosed,
    /// Any other TLS failure.
    TlsOther,
    /// The connection was reset while the request was written.
    SendReset,
    /// A kept-alive connection closed before any byte of the response: the signature of a rolling update.
    ReusedClosed,
    /// A fresh connection closed (FIN) before the response's head was complete.
    ResponseClosed,
    /// The connection was reset before the response's head was complete.
    ResponseReset,
    /// No complete response head in time.
    ResponseTimeout,
    /// The response could not be parsed.
    ResponseMalformed,
    /// The body ended early.
    BodyTruncated,
    /// The connection was reset during the body.
    BodyReset,
    /// The body was not complete in time.
    BodyTimeout,
    /// The body is not what the experiment expects.
    BodyMismatch,
    /// The status is not what the experiment expects.
    Status,
    /// A header is missing or not what the experiment expects.
    HeaderMismatch,
}

impl Class {
    /// The step of the request in which this class arises.
    #[must_use]
    pub const fn step(self) -> Step {
        match self {
            Self::DnsNxdomain
            | Self::DnsNodata
            | Self::DnsServfail
            | Self::DnsRefused
            | Self::DnsTimeout
            | Self::DnsUnreachable
            | Self::DnsOther => Step::Dns,
            Self::ConnectRefused
            | Self::ConnectReset
            | Self::ConnectTimeout
            | Self::ConnectTimeoutSamePort
            | Self::ConnectUnreachable
            | Self::ConnectOther => Step::Connect,
            Self::TlsTimeout | Self::TlsCertificate | Self::TlsClosed | Self::TlsOther => Step::Tls,
            Self::SendReset => Step::Send,
            Self::ReusedClosed
            | Self::ResponseClosed
            | Self::ResponseReset
            | Self::ResponseTimeout
            | Self::ResponseMalformed
            | Self::Status
            | Self::HeaderMismatch => Step::Response,
            Self::BodyTruncated | Self::BodyReset | Self::BodyTimeout | Self::BodyMismatch => Step::Body,
        }
    }
}

/// What a planned slot came to. Every slot ends in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The expected answer within the timeout.
    Good,
    /// Any other answer, or none. `status` is the HTTP status where there was one, else 0.
    Bad {
        /// Why.
        class: Class,
        /// The HTTP status, 0 without one.
        status: u16,
    },
    /// The probe can't tell: it was itself stopped or out of resources (file descriptors, ports) when the slot fell due.
    Unknown,
    /// Sent so late that the request says nothing about its planned instant.
    ClientLate,
    /// Not sent, because the cap on requests in flight was reached. Counted, never queued.
    Capped,
}

/// One planned slot and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The slot's number within its stream, from 0, without gaps.
    pub slot: u64,
    /// When the request should have been sent.
    pub planned: Nanos,
    /// When it was sent; equals `planned` where nothing was sent.
    pub sent: Nanos,
    /// When its outcome was known.
    pub done: Nanos,
    /// What it came to.
    pub outcome: Outcome,
    /// Whether an already open connection carried it.
    pub reused: bool,
}

impl Sample {
    /// Latency from the planned instant, in nanoseconds: what a user who came at that instant felt.
    #[must_use]
    pub const fn response_time(&self) -> Nanos {
        self.done.saturating_sub(self.planned)
    }

    /// Latency from the send, in nanoseconds: what the service took.
    #[must_use]
    pub const fn service_time(&self) -> Nanos {
        self.done.saturating_sub(self.sent)
    }

    /// How late the probe itself was, in nanoseconds.
    #[must_use]
    pub const fn lateness(&self) -> Nanos {
        self.sent.saturating_sub(self.planned)
    }
}
