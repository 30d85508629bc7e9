//! What one planned request came to. The seam between the engine that sends and the code that judges.

use serde::{Deserialize, Serialize};

use super::steps::Steps;

/// Nanoseconds since the run's zero, on the monotonic clock.
pub type Nanos = u64;

/// A step of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// The server could not read the question: FORMERR.
    DnsFormerr,
    /// The server does not do this kind of query: NOTIMP.
    DnsNotimp,
    /// The answer did not fit into a datagram, and the whole of it could not be had.
    DnsTruncated,
    /// The answer could not be parsed, or its connection ended before it was complete.
    DnsMalformed,
    /// The answer is a sound one, but not what the experiment expects.
    DnsMismatch,
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
    /// The certificate is valid, but not for as long as the experiment expects.
    TlsExpiresSoon,
    /// The peer closed or reset the connection during the handshake.
    TlsClosed,
    /// The peer refused the handshake with an alert.
    TlsAlert,
    /// The peer does not speak the wanted protocol: it did not agree to HTTP/2 in the handshake (ALPN).
    TlsAlpn,
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
    /// HTTP/2: the connection went away (GOAWAY) and the peer says that it never looked at this request.
    GoawayUnprocessed,
    /// HTTP/2: the connection went away (GOAWAY) while the request was being worked on.
    GoawayProcessed,
    /// HTTP/2: the stream was refused before any work was done (`REFUSED_STREAM`).
    StreamRefused,
    /// HTTP/2: the stream was reset for any other reason.
    StreamReset,
    /// gRPC: a status other than OK.
    GrpcStatus,
    /// gRPC: the health service answers, but not with the expected state.
    GrpcHealth,
    /// gRPC: an answer without status, of another content type, or with a broken message.
    GrpcMalformed,
}

/// Whether the other side may have worked on a request that failed: what a client has to know before it asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// No byte of the request was written.
    NotSent,
    /// It was written, and the peer says that it did not work on it.
    NotProcessed,
    /// It was written, all of it or a part; nobody knows what became of it.
    Unknown,
    /// It was answered.
    Answered,
}

impl Reach {
    /// In words, of failed requests.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotSent => "never sent",
            Self::NotProcessed => "sent, not worked on",
            Self::Unknown => "sent, nobody knows whether worked on",
            Self::Answered => "answered",
        }
    }
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
            | Self::DnsFormerr
            | Self::DnsNotimp
            | Self::DnsTruncated
            | Self::DnsMalformed
            | Self::DnsMismatch
            | Self::DnsOther => Step::Dns,
            Self::ConnectRefused
            | Self::ConnectReset
            | Self::ConnectTimeout
            | Self::ConnectTimeoutSamePort
            | Self::ConnectUnreachable
            | Self::ConnectOther => Step::Connect,
            Self::TlsTimeout
            | Self::TlsCertificate
            | Self::TlsExpiresSoon
            | Self::TlsClosed
            | Self::TlsAlert
            | Self::TlsAlpn
            | Self::TlsOther => Step::Tls,
            Self::SendReset => Step::Send,
            Self::ReusedClosed
            | Self::ResponseClosed
            | Self::ResponseReset
            | Self::ResponseTimeout
            | Self::ResponseMalformed
            | Self::Status
            | Self::HeaderMismatch
            | Self::GoawayUnprocessed
            | Self::GoawayProcessed
            | Self::StreamRefused
            | Self::StreamReset
            | Self::GrpcStatus
            | Self::GrpcMalformed => Step::Response,
            Self::BodyTruncated | Self::BodyReset | Self::BodyTimeout | Self::BodyMismatch | Self::GrpcHealth => {
                Step::Body
            }
        }
    }

    /// Whether the other side may have worked on the request.
    #[must_use]
    pub const fn reach(self) -> Reach {
        match self {
            Self::GoawayUnprocessed | Self::StreamRefused => Reach::NotProcessed,
            Self::Status
            | Self::HeaderMismatch
            | Self::BodyMismatch
            | Self::GrpcStatus
            | Self::GrpcHealth
            | Self::GrpcMalformed => Reach::Answered,
            _ => match self.step() {
                Step::Dns | Step::Connect | Step::Tls => Reach::NotSent,
                Step::Send | Step::Response | Step::Body => Reach::Unknown,
            },
        }
    }
}

/// What a planned slot came to. Every slot ends in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The expected answer within the timeout.
    Good,
    /// Any other answer, or none.
    Bad {
        /// Why.
        class: Class,
        /// The HTTP status, 0 without one; with [`Class::GrpcStatus`] that of gRPC.
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
    /// Where its time went.
    pub steps: Steps,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every class, as serde tells them to someone who names a wrong one.
    fn classes() -> Vec<Class> {
        let error = serde_json::from_str::<Class>("\"none\"").unwrap_err().to_string();
        let names = error.split('`').skip(3).step_by(2);
        names.map(|name| serde_json::from_str(&format!("\"{name}\"")).unwrap()).collect()
    }

    #[test]
    fn the_page_of_classes_has_each_of_them_with_its_step_and_reach() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/classes.md")).unwrap();
        let word = |value: serde_json::Value| value.as_str().unwrap().to_owned();
        let rows: Vec<String> = page.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
        let expected = classes();
        assert!(expected.len() > 40, "{expected:?}");
        for class in &expected {
            let name = word(serde_json::to_value(class).unwrap());
            let (step, reach) =
                (serde_json::to_value(class.step()).unwrap(), serde_json::to_value(class.reach()).unwrap());
            let row = format!("| `{name}` | {} | {} | ", word(step), word(reach));
            assert_eq!(
                rows.iter().filter(|line| line.starts_with(&row)).count(),
                1,
                "docs/classes.md needs one row `{row}…`"
            );
        }
        assert_eq!(rows.len(), expected.len(), "docs/classes.md has a row too many");
    }
}
