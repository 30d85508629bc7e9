//! Values that only this fault's arguments have: a domain, and how many replicas.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::scalar::{Percent, ScalarError, quoted};

/// A domain name without the dot at its end: it stands for itself and for everything below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Domain(String);

impl Domain {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Domain {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Some(below) = name.strip_prefix("*.") {
            return Err(ScalarError::new(format!("a domain stands for everything below it: {}", quoted(text)))
                .hint(format!("write `{below}`")));
        }
        let fits = |label: &str| {
            let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(allowed)
        };
        if name.len() > 253 || !name.split('.').all(fits) {
            return Err(ScalarError::new(format!("{} is not a domain name", quoted(text)))
                .hint("write it in full and in lower case, such as `web.shop.svc.cluster.local`"));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

crate::scalar::text_serde!(
    Domain,
    deserialize_string,
    "a domain name such as `web.shop.svc.cluster.local`",
    "A domain name in full, in lower case: it stands for itself and for everything below it.",
    r"^[a-z0-9_-]{1,63}([.][a-z0-9_-]{1,63})*[.]?$",
    ["web.shop.svc.cluster.local"]
);

/// How many replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Count(u32),
    /// That share, rounded down but at least one.
    Percent(Percent),
    /// Every one.
    All,
}

impl Share {
    /// Of so many.
    pub(super) fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::Percent(percent) => percent.of_rounded_down(all).max(1),
            Self::All => all,
        }
    }

    pub(super) fn is_none(self) -> bool {
        matches!(self, Self::Count(0)) || matches!(self, Self::Percent(percent) if percent.is_zero())
    }
}

struct ShareVisitor;

impl Visitor<'_> for ShareVisitor {
    type Value = Share;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number such as `1`, a percentage such as `50%`, or `all`")
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Share, E> {
        u32::try_from(count).map(Share::Count).map_err(|_| E::custom(format!("{count} is too large")))
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<Share, E> {
        u64::try_from(count)
            .map_err(|_| E::custom(format!("a number of replicas can't be negative: `{count}`")))
            .and_then(|count| self.visit_u64(count))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Share, E> {
        if text == "all" {
            return Ok(Share::All);
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(E::custom(
                ScalarError::new(format!("a count is a number, not the text {}", quoted(text)))
                    .hint(format!("write `{text}` without quotes, or `{text}%`")),
            ));
        }
        text.parse().map(Share::Percent).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShareVisitor)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(percent) => percent.serialize(serializer),
            Self::All => serializer.serialize_str("all"),
        }
    }
}

impl JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number, a percentage with its sign, or `all`.",
            "oneOf": [
                { "type": "integer", "minimum": 1, "maximum": u32::MAX },
                { "const": "all" },
                generator.subschema_for::<Percent>(),
            ],
            "examples": [1, "50%", "all"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_written_in_full() {
        assert_eq!("web.shop.svc.cluster.local.".parse::<Domain>().unwrap().to_string(), "web.shop.svc.cluster.local");
        assert_eq!("*.corp".parse::<Domain>().unwrap_err().hint.unwrap(), "write `corp`");
        for wrong in ["", ".", "a..b", "Web.shop", "a b", "a{", "x\"", &"a.".repeat(140)] {
            assert!(wrong.parse::<Domain>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_a_number_a_percentage_or_all() {
        let share =
            |text: &str| serde_json::from_str::<Share>(text).map(|share| share.of(3)).map_err(|e| e.to_string());
        assert_eq!((share("2"), share("\"50%\""), share("\"1%\""), share("\"all\"")), (Ok(2), Ok(1), Ok(1), Ok(3)));
        assert!(share("\"2\"").unwrap_err().contains("a count is a number"));
        assert!(share("-1").unwrap_err().contains("can't be negative"));
        for same in ["2", "\"50%\"", "\"all\""] {
            assert_eq!(serde_json::to_string(&serde_json::from_str::<Share>(same).unwrap()).unwrap(), same);
        }
    }
}
