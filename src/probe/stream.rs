//! The streams of a probe, and their names.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How a stream of a probe uses connections. Streams are measured and judged apart.
///
/// In records a kind is one word: `fresh`, `keptAlive`, `reuse:10`, `perQuery`, `pinned`, `endpoint:10.0.0.1:8080`.
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
    /// A new connection for every request, to this address and no other: one endpoint of a Service, past its virtual address.
    Endpoint(SocketAddr),
}

impl StreamKind {
    /// The stream's name in reports: `fresh`, `kept-alive`, `reuse 10`, `per-query`, `pinned`, or the endpoint's address.
    #[must_use]
    pub fn label(self) -> Cow<'static, str> {
        match self {
            Self::Fresh => "fresh".into(),
            Self::KeptAlive => "kept-alive".into(),
            Self::Reuse(requests) => format!("reuse {requests}").into(),
            Self::PerQuery => "per-query".into(),
            Self::Pinned => "pinned".into(),
            Self::Endpoint(address) => address.to_string().into(),
        }
    }

    /// How many requests a connection carries at most.
    #[must_use]
    pub const fn requests_per_connection(self) -> u32 {
        match self {
            Self::Fresh | Self::PerQuery | Self::Endpoint(_) => 1,
            Self::Reuse(requests) => requests,
            Self::KeptAlive | Self::Pinned => u32::MAX,
        }
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
            Self::Endpoint(address) => write!(f, "endpoint:{address}"),
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
            (_, Some(("reuse", requests))) => Self::Reuse(requests.parse().map_err(|_| unknown())?),
            (_, Some(("endpoint", address))) => Self::Endpoint(address.parse().map_err(|_| unknown())?),
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
            "pattern": "^(fresh|keptAlive|reuse:[0-9]+|perQuery|pinned|endpoint:.+)$",
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
            (StreamKind::Endpoint("[::1]:8080".parse().unwrap()), "endpoint:[::1]:8080"),
        ];
        for (kind, word) in kinds {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{word}\""));
            assert_eq!(serde_json::from_str::<StreamKind>(&json).unwrap(), kind);
        }
        assert!(serde_json::from_str::<StreamKind>("\"reuse:-1\"").is_err());
    }
}
