//! The streams of a probe, and their names.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How a stream of a probe uses connections. Streams are measured and judged apart.
///
/// In records a kind is one word: `fresh`, `keptAlive`, `reuse:10`, `perQuery`, `pinned`, `perEndpoint`, and `endpoint:10.0.0.1:8080`, in
/// its second life `endpoint:10.0.0.1:8080#2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "Cow<'_, str>")]
pub enum StreamKind {
    /// A new resolution and connection for every request.
    Fresh,
    /// Connections are kept and used again.
    KeptAlive,
    /// Connections are kept for so many requests, then closed.
    Reuse(u32),
    /// DNS: a new socket, and so a new source port, for every query.
    PerQuery,
    /// DNS: one socket for all queries, as a resolver that keeps its port.
    Pinned,
    /// All endpoints of a Service together: what a client that picks one at random would see. Nothing is sent on it: its requests
    /// are those of its endpoints' own streams, which begin and end as the endpoints do.
    PerEndpoint,
    /// A new connection for every request, to this address and no other: one endpoint of a Service, past its virtual address.
    Endpoint {
        /// The address of the endpoint, with the port that stands behind the Service's.
        address: SocketAddr,
        /// How often the address has become ready: 1 for the first time. Another life is another stream, as it may be another pod.
        life: u32,
    },
}

impl StreamKind {
    /// The stream's name in reports: `fresh`, `kept-alive`, `reuse 10`, `per-query`, `pinned`, `per endpoint`, or the endpoint's address, with
    /// `#2` in its second life.
    #[must_use]
    pub fn label(self) -> Cow<'static, str> {
        match self {
            Self::Fresh => "fresh".into(),
            Self::KeptAlive => "kept-alive".into(),
            Self::Reuse(requests) => format!("reuse {requests}").into(),
            Self::PerQuery => "per-query".into(),
            Self::Pinned => "pinned".into(),
            Self::PerEndpoint => "per endpoint".into(),
            Self::Endpoint { address, life: 1 } => address.to_string().into(),
            Self::Endpoint { address, life } => format!("{address} #{life}").into(),
        }
    }

    /// How many requests a connection carries at most.
    #[must_use]
    pub const fn requests_per_connection(self) -> u32 {
        match self {
            Self::Fresh | Self::PerQuery | Self::PerEndpoint | Self::Endpoint { .. } => 1,
            Self::Reuse(requests) => requests,
            Self::KeptAlive | Self::Pinned => u32::MAX,
        }
    }

    /// Whether the requests of another stream of the same probe are counted in this one: its own, and those of each endpoint in
    /// [`PerEndpoint`](Self::PerEndpoint).
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == other || self == Self::PerEndpoint && other.is_endpoint()
    }

    /// Whether it is one endpoint's, whose requests count in the [`PerEndpoint`](Self::PerEndpoint) stream of its probe.
    #[must_use]
    pub const fn is_endpoint(self) -> bool {
        matches!(self, Self::Endpoint { .. })
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh => f.write_str("fresh"),
            Self::KeptAlive => f.write_str("keptAlive"),
            Self::Reuse(requests) => write!(f, "reuse:{requests}"),
            Self::PerQuery => f.write_str("perQuery"),
            Self::Pinned => f.write_str("pinned"),
            Self::PerEndpoint => f.write_str("perEndpoint"),
            Self::Endpoint { address, life: 1 } => write!(f, "endpoint:{address}"),
            Self::Endpoint { address, life } => write!(f, "endpoint:{address}#{life}"),
        }
    }
}

impl From<StreamKind> for String {
    fn from(kind: StreamKind) -> Self {
        kind.to_string()
    }
}

impl FromStr for StreamKind {
    type Err = UnknownStream;

    fn from_str(text: &str) -> Result<Self, UnknownStream> {
        let unknown = || UnknownStream(text.to_owned());
        Ok(match (text, text.split_once(':')) {
            ("fresh", _) => Self::Fresh,
            ("keptAlive", _) => Self::KeptAlive,
            ("perQuery", _) => Self::PerQuery,
            ("pinned", _) => Self::Pinned,
            ("perEndpoint", _) => Self::PerEndpoint,
            (_, Some(("reuse", requests))) => Self::Reuse(requests.parse().map_err(|_| unknown())?),
            (_, Some(("endpoint", endpoint))) => {
                let (address, life) = endpoint.split_once('#').unwrap_or((endpoint, "1"));
                let life = life.parse().ok().filter(|life| *life > 0).ok_or_else(unknown)?;
                Self::Endpoint { address: address.parse().map_err(|_| unknown())?, life }
            }
            _ => return Err(unknown()),
        })
    }
}

impl TryFrom<Cow<'_, str>> for StreamKind {
    type Error = UnknownStream;

    fn try_from(text: Cow<'_, str>) -> Result<Self, UnknownStream> {
        text.parse()
    }
}

/// A word that names no kind of stream.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no kind of stream")]
pub struct UnknownStream(String);

impl JsonSchema for StreamKind {
    fn schema_name() -> Cow<'static, str> {
        "StreamKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How a stream of a probe uses connections. Streams are measured and judged apart.",
            "type": "string",
            "pattern": "^(fresh|keptAlive|reuse:[0-9]+|perQuery|pinned|perEndpoint|endpoint:.+)$",
            "examples": ["fresh", "keptAlive", "reuse:10"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_back_from_its_word() {
        let kinds = [
            (StreamKind::Fresh, "fresh"),
            (StreamKind::KeptAlive, "keptAlive"),
            (StreamKind::Reuse(10), "reuse:10"),
            (StreamKind::PerQuery, "perQuery"),
            (StreamKind::Pinned, "pinned"),
            (StreamKind::PerEndpoint, "perEndpoint"),
            (StreamKind::Endpoint { address: "[::1]:8080".parse().unwrap(), life: 1 }, "endpoint:[::1]:8080"),
            (StreamKind::Endpoint { address: "10.0.0.1:80".parse().unwrap(), life: 2 }, "endpoint:10.0.0.1:80#2"),
        ];
        for (kind, word) in kinds {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{word}\""));
            assert_eq!(serde_json::from_str::<StreamKind>(&json).unwrap(), kind);
        }
        for wrong in ["reuse:-1", "endpoint:web:80", "endpoint:10.0.0.1:80#0", "endpoint:10.0.0.1:80#"] {
            assert!(wrong.parse::<StreamKind>().is_err(), "{wrong}");
        }
    }
}
