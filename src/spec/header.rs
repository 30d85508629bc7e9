//! The value of a header: a text, or the name of an environment variable.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::HeaderValue;

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Env(name) => write!(f, "(from {name})"),
        }
    }
}

/// The long form of a header's value.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ValueFrom {
    value_from: FromEnv,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromEnv {
    env: String,
}

impl Serialize for HeaderValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Env(env) => ValueFrom { value_from: FromEnv { env: env.clone() } }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for HeaderValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = HeaderValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or `valueFrom: {env: NAME}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HeaderValue, E> {
                Ok(HeaderValue::Text(text.to_owned()))
            }

            /// Whole numbers print as they were written, so that `x-count: 5` needs no quotes.
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HeaderValue, E> {
                Ok(HeaderValue::Text(number.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HeaderValue, A::Error> {
                let long = ValueFrom::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(HeaderValue::Env(long.value_from.env))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for HeaderValue {
    fn schema_name() -> Cow<'static, str> {
        "HeaderValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let from_env = serde_json::json!({
            "type": "object", "properties": { "env": { "type": "string", "minLength": 1 } },
            "required": ["env"], "additionalProperties": false,
        });
        json_schema!({
            "description": "A text, or the name of an environment variable of the runner. Values are redacted everywhere.",
            "oneOf": [
                { "type": "string" },
                { "type": "integer", "minimum": 0 },
                { "type": "object", "properties": { "valueFrom": from_env }, "required": ["valueFrom"], "additionalProperties": false },
            ],
            "examples": ["text/plain", { "valueFrom": { "env": "API_TOKEN" } }],
        })
    }
}
