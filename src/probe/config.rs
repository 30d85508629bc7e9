//! What one probe asks, how often, and what a good answer is: the engine's own form, free of the experiment's.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
pub use hickory_resolver::proto::op::ResponseCode;
pub use hickory_resolver::proto::rr::RecordType;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::sample::Class;
use super::stream::StreamKind;
use crate::scalar::{EngineKind, Rate};

/// One probe, ready to be run.
///
/// Header values that came from the environment must be marked with [`HeaderValue::set_sensitive`]: that keeps them out of
/// `Debug` output, and nothing else here prints them.
#[derive(Debug, Clone)]
pub struct ProbeConfig {
    /// Name. Together with the seed it fixes the planned instants, so that adding a probe does not move another's.
    pub name: String,
    /// Requests per stream.
    pub rate: Rate,
    /// Deadline of one request, from its planned instant.
    pub timeout: Duration,
    /// The streams, each at the full rate. Both kinds make a paired probe. [`StreamKind::PerEndpoint`] sends nothing itself: its
    /// endpoints' streams begin and end with [`Engine::join`](super::Engine::join) and [`Engine::leave`](super::Engine::leave).
    pub streams: Vec<StreamKind>,
    /// What sends its requests.
    pub engine: EngineKind,
    /// What is asked, and what a good answer is.
    pub ask: Ask,
    /// Requests in flight at most, per stream. By default twice what the rate and the timeout can bring about.
    pub in_flight_max: Option<usize>,
    /// How late the engine may be before a request says nothing about its planned instant. By default a tenth of the timeout, but not
    /// less than a millisecond, and not more than 100: lateness is part of the latency from the planned instant, and with a long
    /// timeout a tenth of it would be sold as the service's own.
    pub late_after: Option<Duration>,
}

impl ProbeConfig {
    /// How late the engine may be before a request says nothing about its planned instant.
    #[must_use]
    pub fn lateness_max(&self) -> Duration {
        let usual = (self.timeout / 10).clamp(Duration::from_millis(1), Duration::from_millis(100));
        self.late_after.unwrap_or(usual)
    }
}

/// What a probe asks.
#[derive(Debug, Clone)]
pub enum Ask {
    /// An HTTP request.
    Http(Box<HttpAsk>),
    /// A TCP connection, opened and reset: good once it is open. No stream keeps one.
    Tcp(TcpAsk),
    /// A DNS query.
    Dns(DnsAsk),
    /// A health check over gRPC.
    Grpc(Box<GrpcAsk>),
}

impl Ask {
    /// The host that connections go to; none for DNS, whose name is the question.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Http(http) => http.request.uri.host(),
            Self::Tcp(tcp) => Some(&tcp.host),
            Self::Grpc(grpc) => Some(&grpc.host),
            Self::Dns(_) => None,
        }
    }
}

/// A request over HTTP, plain or in TLS.
#[derive(Debug, Clone)]
pub struct HttpAsk {
    /// The version that is spoken: no other is offered.
    pub version: HttpVersion,
    /// What is sent.
    pub request: Request,
    /// What a good answer looks like.
    pub expect: Expectation,
    /// PEM file with the authorities that may sign the server's certificate, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long the server's certificate has to be valid yet, at every handshake.
    pub certificate_valid_for: Option<Duration>,
}

/// A call of `grpc.health.v1.Health/Check`, and the state that is a good answer to it.
///
/// Header values that came from the environment must be marked as those of a [`ProbeConfig`] are.
#[derive(Debug, Clone)]
pub struct GrpcAsk {
    /// Name or address. A numeric one is never looked up.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The service that is asked for; the server as a whole when empty.
    pub service: String,
    /// Whether it goes over TLS, instead of HTTP/2 in clear text.
    pub tls: bool,
    /// PEM file with the authorities that may sign the server's certificate, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long the server's certificate has to be valid yet, at every handshake.
    pub certificate_valid_for: Option<Duration>,
    /// Metadata that is sent along.
    pub headers: HeaderMap,
    /// The wanted state.
    pub expect: HealthState,
}

/// The state that a health service reports (`grpc.health.v1`), with its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// Not known yet.
    Unknown = 0,
    /// In service.
    Serving = 1,
    /// Out of service.
    NotServing = 2,
    /// The server does not have this service.
    ServiceUnknown = 3,
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    One,
    /// HTTP/2: agreed on in the TLS handshake, or known beforehand in clear text.
    Two,
}

/// Where a TCP connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpAsk {
    /// Name or address. A numeric one is never looked up.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A DNS query, and what a good answer to it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsAsk {
    /// The name, as an application would give it to its resolver. Without a dot at its end, the search list and `ndots` of
    /// `/etc/resolv.conf` apply: each name of the list is one query, in turn, until one exists, all of them within the one timeout.
    pub name: String,
    /// The kind of record asked for.
    pub record: RecordType,
    /// The server; the first one of `/etc/resolv.conf` when left out.
    pub server: Option<SocketAddr>,
    /// What carries it.
    pub over: DnsOver,
    /// What a good answer looks like.
    pub expect: DnsExpectation,
}

/// What carries a DNS query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsOver {
    /// Datagrams; an answer that is cut short is bad.
    Udp,
    /// A TCP connection.
    Tcp,
}

/// What a good answer to a DNS query looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsExpectation {
    /// The response code. With [`ResponseCode::NoError`] there must also be a record of the kind asked for.
    pub rcode: ResponseCode,
    /// Addresses that must be among the answers.
    pub addresses: Vec<IpAddr>,
}

/// An HTTP request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Absolute `http` or `https` URI. A numeric host is never looked up.
    pub uri: Uri,
    /// Method.
    pub method: Method,
    /// Headers, beside `host`, `user-agent` and `connection`, which the engine sets where they are missing. Over HTTP/2 there is no
    /// `connection`, and `host` is sent as `:authority`.
    pub headers: HeaderMap,
    /// Body, sent as it stands.
    pub body: Bytes,
}

/// What a good answer looks like.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    /// The wanted statuses; any of 200 to 299 when empty. Redirects are never followed.
    pub statuses: Vec<u16>,
    /// Headers that must be there with this value.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Text that the first [`BODY_LOOKED_AT`] bytes of the body must contain.
    pub body_contains: Option<Bytes>,
}

/// How much of a body is looked at; the rest is read and dropped.
pub const BODY_LOOKED_AT: usize = 64 * 1024;

impl Expectation {
    /// What is wrong with a response's head, if anything.
    pub(crate) fn judge_head(&self, status: StatusCode, sent: &HeaderMap) -> Option<Class> {
        let wanted = match &*self.statuses {
            [] => status.is_success(),
            statuses => statuses.contains(&status.as_u16()),
        };
        if !wanted {
            return Some(Class::Status);
        }
        let headers = self.headers.iter().all(|(name, value)| sent.get_all(name).iter().any(|v| v == value));
        (!headers).then_some(Class::HeaderMismatch)
    }

    /// What is wrong with the beginning of a body, if anything.
    pub(crate) fn judge_body(&self, beginning: &[u8]) -> Option<Class> {
        let text = self.body_contains.as_deref()?;
        let found = text.is_empty() || beginning.windows(text.len()).any(|window| window == text);
        (!found).then_some(Class::BodyMismatch)
    }
}

/// Why a probe can't even be set up: a mistake in the experiment or on this machine, never data.
#[derive(Debug, thiserror::Error)]
#[error("{}{message}", of_probe(self.probe.as_deref()))]
pub struct SetupError {
    /// The probe's name, unless it is about all of them.
    pub probe: Option<String>,
    /// What is wrong, as a lower-case sentence fragment.
    pub message: String,
    /// What to do about it, where there is a likely answer.
    pub hint: Option<String>,
    /// What the system said.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The beginning of a message about a probe.
pub(crate) fn of_probe(name: Option<&str>) -> String {
    name.map_or(String::new(), |name| format!("probe `{name}`: "))
}

impl SetupError {
    pub(crate) fn new(probe: Option<&str>, message: impl Into<String>) -> Self {
        Self { probe: probe.map(str::to_owned), message: message.into(), hint: None, source: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_from_the_environment_is_not_shown() {
        let mut secret = HeaderValue::from_static("Bearer abc");
        secret.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", secret);
        headers.insert("accept", HeaderValue::from_static("text/plain"));
        let request =
            Request { uri: Uri::from_static("http://web/"), method: Method::GET, headers, body: Bytes::new() };
        let shown = format!("{request:?}");
        assert!(shown.contains("text/plain") && !shown.contains("abc"), "{shown}");
    }

    #[test]
    fn lateness_is_bounded_by_a_tenth_of_the_timeout_between_1_and_100_milliseconds() {
        let bound = |timeout| {
            let (name, rate) = ("web".to_owned(), "1/s".parse().unwrap());
            let timeout = Duration::from_millis(timeout);
            let ask = Ask::Tcp(TcpAsk { host: "web".to_owned(), port: 80 });
            let (streams, engine) = (Vec::new(), EngineKind::Native);
            let config =
                ProbeConfig { name, rate, timeout, streams, engine, ask, in_flight_max: None, late_after: None };
            config.lateness_max().as_millis()
        };
        assert_eq!([bound(3_000), bound(500), bound(10), bound(2)], [100, 50, 1, 1]);
    }

    #[test]
    fn text_is_found_wherever_it_is_in_what_is_looked_at() {
        let expect = Expectation { body_contains: Some(Bytes::from_static(b"ok")), ..Expectation::default() };
        for (body, found) in [("ok", true), ("is ok!", true), ("o k", false), ("", false)] {
            assert_eq!(expect.judge_body(body.as_bytes()).is_none(), found, "{body:?}");
        }
    }
}
