//! How a probe uses connections, and which version of HTTP it speaks: values with more than one form.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};

use crate::scalar::{ScalarError, quoted};

/// How a probe uses connections. Deserialised by hand: a word, or `{reuse: 100}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Connection {
    /// Two streams side by side, one of each kind below; the worse decides.
    #[default]
    Paired,
    /// A new resolution and connection for every request.
    Fresh,
    /// Connections are kept and used again.
    KeepAlive,
    /// Connections are kept for so many requests, then closed.
    Reuse(Requests),
    /// One stream for each ready address in the `EndpointSlice`s of the Service that the host names, past its virtual address, with a new
    /// connection for every request. Streams begin and end as addresses become ready and stop being so.
    PerEndpoint,
}

/// Requests of one connection, at least two: a connection for one is a fresh one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests(u32);

impl Requests {
    /// As a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

const FORMS: &[&str] = &["paired", "fresh", "keepAlive", "perEndpoint", "{reuse: 100}"];

/// What `perEndpoint` means, in the schema.
const PER_ENDPOINT: &str = "One stream for each ready address in the EndpointSlices of the Service that the host names \
    (`web.shop.svc`), past its virtual address; a new connection for every request, at the probe's rate for each address. Judged on \
    all of them together, but for `outage`, where the worst address decides.";

/// The key of the long form.
const REUSE: &str = "reuse";

impl<'de> Deserialize<'de> for Requests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        let wrong = |message: &str, hint: &str| Err(de::Error::custom(ScalarError::new(message).hint(hint)));
        match number {
            0 => wrong("a connection carries at least one request", "write `connection: {reuse: 100}`"),
            1 => wrong("a connection for one request is a fresh one", "write `connection: fresh`"),
            number => Ok(Self(number)),
        }
    }
}

impl Serialize for Requests {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.get())
    }
}

impl<'de> Deserialize<'de> for Connection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Connection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`paired`, `fresh`, `keepAlive`, `perEndpoint` or `{reuse: 100}`")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Connection, E> {
                match word {
                    "paired" => Ok(Connection::Paired),
                    "fresh" => Ok(Connection::Fresh),
                    "keepAlive" => Ok(Connection::KeepAlive),
                    "perEndpoint" => Ok(Connection::PerEndpoint),
                    other => Err(E::unknown_variant(other, FORMS)),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Connection, E> {
                let hint = format!("write `connection: {{reuse: {number}}}`");
                Err(E::custom(ScalarError::new("a number alone does not say how connections are used").hint(hint)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Connection, A::Error> {
                let mut reuse = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key != REUSE {
                        let message = format!("connections can't be used by {}", quoted(&key));
                        return Err(de::Error::custom(ScalarError::new(message).hint("write `{reuse: 100}`")));
                    }
                    reuse = Some(map.next_value()?);
                }
                reuse.map(Connection::Reuse).ok_or_else(|| de::Error::missing_field(REUSE))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for Connection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Paired => serializer.serialize_str("paired"),
            Self::Fresh => serializer.serialize_str("fresh"),
            Self::KeepAlive => serializer.serialize_str("keepAlive"),
            Self::PerEndpoint => serializer.serialize_str("perEndpoint"),
            Self::Reuse(requests) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(REUSE, requests)?;
                map.end()
            }
        }
    }
}

impl JsonSchema for Connection {
    fn schema_name() -> Cow<'static, str> {
        "Connection".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let reuse = serde_json::json!({
            "description": "Connections are kept for so many requests, then closed.",
            "type": "integer", "minimum": 2, "maximum": u32::MAX,
        });
        let word = |word: &str, description: &str| serde_json::json!({ "const": word, "description": description });
        json_schema!({
            "description": "How a probe uses connections.",
            "oneOf": [
                word("paired", "Two streams side by side, one fresh and one kept alive; the worse decides."),
                word("fresh", "A new resolution and connection for every request."),
                word("keepAlive", "Connections are kept and used again."),
                word("perEndpoint", PER_ENDPOINT),
                { "type": "object", "properties": { "reuse": reuse }, "required": ["reuse"], "additionalProperties": false },
            ],
            "examples": ["paired", { "reuse": 100 }],
        })
    }
}

/// Version of HTTP. Deserialised by hand: `1` or `2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    One,
    /// HTTP/2.
    Two,
}

impl<'de> Deserialize<'de> for HttpVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = HttpVersion;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`1` or `2`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HttpVersion, E> {
                match number {
                    1 => Ok(HttpVersion::One),
                    2 => Ok(HttpVersion::Two),
                    other => Err(no_version(&other.to_string())),
                }
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<HttpVersion, E> {
                Err(no_version(&number.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HttpVersion, E> {
                Err(no_version(text))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

fn no_version<E: de::Error>(text: &str) -> E {
    let hint = match text.trim_start_matches(|c: char| !c.is_ascii_digit()).chars().next() {
        Some('1') => "write `version: 1`: it stands for HTTP/1.1",
        Some('2') => "write `version: 2`",
        _ => "write `version: 1` or `version: 2`",
    };
    E::custom(ScalarError::new(format!("{} is not a version of HTTP that a probe speaks", quoted(text))).hint(hint))
}

impl Serialize for HttpVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match self {
            Self::One => 1,
            Self::Two => 2,
        })
    }
}

impl JsonSchema for HttpVersion {
    fn schema_name() -> Cow<'static, str> {
        "HttpVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "Version of HTTP; 1 stands for HTTP/1.1.", "enum": [1, 2] })
    }
}
