//! Values of the document that are more than a derive can read: URLs, object references, and what may be a number or a text, one or many.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeSeq as _, Serializer};
use serde::{Deserialize, Serialize};

use super::{CountOrPercent, HttpUrl, ObjectRef, StatusSet};
use crate::scalar::{ScalarError, nearest, quoted, text_serde};

impl FromStr for HttpUrl {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        const FORM: &str = "write `http://host[:port]/path` or `https://…`";
        let Some((scheme, rest)) = text.split_once("://") else {
            let error = ScalarError::new(format!("{} is not an absolute URL", quoted(text)));
            let looks_like_host =
                text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.contains(char::is_whitespace);
            return Err(if looks_like_host { error.hint(format!("write `http://{text}`")) } else { error.hint(FORM) });
        };
        if !matches!(scheme, "http" | "https") {
            let hint = format!("write `http://{rest}` or `https://{rest}`");
            return Err(
                ScalarError::new(format!("an HTTP probe can't ask {}", quoted(&format!("{scheme}://")))).hint(hint)
            );
        }
        let start = scheme.len() + 3;
        // RFC 3986, 2: everything else is percent-encoded.
        let allowed = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
        if let Some((at, c)) = text.char_indices().find(|(_, c)| !allowed(*c)) {
            return Err(ScalarError::new(format!("a URL can't contain {}", quoted(&c.to_string())))
                .hint("percent-encode it, as `%20` for a space; write a host name in its ASCII form")
                .at(at));
        }
        let length = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        check_authority(&rest[..length]).map_err(|e| e.within(start))?;
        if let Some(at) = text.find('#') {
            return Err(ScalarError::new("the part behind `#` is never sent").hint("leave it out").at(at));
        }
        let uri = text
            .parse()
            .map_err(|e| ScalarError::new(format!("{} is not a URL: {e}", quoted(text))).hint(FORM).at(start))?;
        Ok(Self(uri))
    }
}

/// `host[:port]`, with an IPv6 address in brackets.
pub(super) fn check_authority(authority: &str) -> Result<(), ScalarError> {
    if let Some((_, host)) = authority.rsplit_once('@') {
        return Err(ScalarError::new("a URL can't hold a user or a password: it is printed in plans and reports")
            .hint(format!(
                "write only {}, and send `headers: {{authorization: {{valueFrom: {{env: NAME}}}}}}`",
                quoted(host)
            )));
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(ScalarError::new(format!("{} is not an IPv6 address", quoted(address))).at(1));
            }
            (address, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some("80")).unwrap_or("?"))
        }
        None if authority.matches(':').count() > 1 => {
            return Err(ScalarError::new(format!("an IPv6 address stands in brackets: {}", quoted(authority)))
                .hint("write `http://[ADDRESS]` or `http://[ADDRESS]:PORT`"));
        }
        None => authority.split_once(':').unwrap_or((authority, "80")),
    };
    if host.is_empty() {
        return Err(ScalarError::new("the URL names no host").hint("write `http://web.shop.svc/healthz`"));
    }
    match port.parse::<u16>() {
        Ok(1..) if !port.starts_with('+') => Ok(()),
        _ => Err(ScalarError::new(format!("{} is not a port", quoted(port)))
            .hint("a port is a number from 1 to 65535; without one it is 80, or 443 for https")
            .at(authority.len() - port.len().min(authority.len()))),
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_serde!(
    HttpUrl,
    deserialize_string,
    "a URL such as `http://web.shop.svc/healthz`",
    "An absolute http or https URL without user info and fragment.",
    r#"^https?://[^@/?# "<>\\^`{|}]+([/?][^# "<>\\^`{|}]*)?$"#,
    ["http://web.shop.svc/healthz"]
);

/// Kinds that a hypothesis can be about, with their short names.
const KINDS: [(&str, &[&str]); 6] = [
    ("deployment", &["deploy", "deployments"]),
    ("statefulset", &["sts", "statefulsets"]),
    ("daemonset", &["ds", "daemonsets"]),
    ("replicaset", &["rs", "replicasets"]),
    ("pod", &["po", "pods"]),
    ("poddisruptionbudget", &["pdb", "poddisruptionbudgets"]),
];

impl FromStr for ObjectRef {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let Some((kind, name)) = text.split_once('/') else {
            return Err(ScalarError::new(format!("{} is not `kind/name`", quoted(text)))
                .hint(format!("write `deployment/{}`", if text.is_empty() { "web" } else { text })));
        };
        if !KINDS.iter().any(|(known, _)| *known == kind) {
            let lower = kind.to_ascii_lowercase();
            let known = KINDS.iter().map(|(known, _)| *known);
            let alias = KINDS.iter().find(|(known, short)| *known == lower || short.contains(&lower.as_str()));
            let error = ScalarError::new(format!("a hypothesis can't be about the kind {}", quoted(kind)));
            return Err(match alias.map(|(known, _)| *known).or_else(|| nearest(kind, known.clone())) {
                Some(meant) => error.hint(format!("write `{meant}/{name}`")),
                None => error.hint(format!("kinds are `{}`", known.collect::<Vec<_>>().join("`, `"))),
            });
        }
        let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = name.len() <= 253 && name.chars().all(|c| is_end(c) || c == '-' || c == '.');
        if !fits || !name.starts_with(is_end) || !name.ends_with(is_end) {
            return Err(ScalarError::new(format!("{} is not the name of an object", quoted(name)))
                .hint("names have lower-case letters, digits, `-` and `.`, and begin and end with a letter or a digit")
                .at(kind.len() + 1));
        }
        Ok(Self { kind: kind.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

text_serde!(
    ObjectRef,
    deserialize_string,
    "an object such as `deployment/web`",
    "`kind/name` of an object.",
    "^(deployment|statefulset|daemonset|replicaset|pod|poddisruptionbudget)/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
    ["deployment/web"]
);

/// A visitor for a type that takes more than one form.
struct Form<T>(PhantomData<T>);

fn status<E: de::Error>(status: u64) -> Result<u16, E> {
    u16::try_from(status).ok().filter(|s| (100..=599).contains(s)).ok_or_else(|| {
        E::custom(ScalarError::new(format!("{status} is not an HTTP status")).hint("a status lies between 100 and 599"))
    })
}

/// One status in a list.
struct Status(u16);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        status(u64::from(u32::deserialize(deserializer)?)).map(Self)
    }
}

impl<'de> Visitor<'de> for Form<StatusSet> {
    type Value = StatusSet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an HTTP status such as `200`, or a list of them")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<StatusSet, E> {
        Ok(StatusSet(vec![status(number)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<StatusSet, A::Error> {
        let mut all = Vec::new();
        while let Some(Status(one)) = seq.next_element()? {
            all.push(one);
        }
        if all.is_empty() {
            return Err(de::Error::custom(
                ScalarError::new("an empty list of statuses accepts nothing")
                    .hint("leave it out for any of 200 to 299"),
            ));
        }
        Ok(StatusSet(all))
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form::<Self>(PhantomData))
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [one] = self.0.as_slice() {
            return serializer.serialize_u16(*one);
        }
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for status in &self.0 {
            seq.serialize_element(status)?;
        }
        seq.end()
    }
}

impl JsonSchema for StatusSet {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatusSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let status = serde_json::json!({ "type": "integer", "minimum": 100, "maximum": 599 });
        json_schema!({
            "description": "An HTTP status, or a list of them.",
            "oneOf": [status, { "type": "array", "items": status, "minItems": 1 }],
            "examples": [200, [200, 204]],
        })
    }
}

impl Visitor<'_> for Form<CountOrPercent> {
    type Value = CountOrPercent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number such as `3`, or a percentage such as `25%`")
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<CountOrPercent, E> {
        u32::try_from(count).map(CountOrPercent::Count).map_err(|_| E::custom(format!("{count} is too large")))
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<CountOrPercent, E> {
        u64::try_from(count)
            .map_err(|_| E::custom(format!("a limit can't be negative: `{count}`")))
            .and_then(|c| self.visit_u64(c))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<CountOrPercent, E> {
        if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            return Err(E::custom(
                ScalarError::new(format!("a count is a number, not the text {}", quoted(text)))
                    .hint(format!("write `{text}` without quotes, or `{text}%`")),
            ));
        }
        text.parse().map(CountOrPercent::Percent).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for CountOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form::<Self>(PhantomData))
    }
}

impl Serialize for CountOrPercent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(percent) => percent.serialize(serializer),
        }
    }
}

impl JsonSchema for CountOrPercent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CountOrPercent".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number, or a percentage with its sign.",
            "oneOf": [
                { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                generator.subschema_for::<crate::scalar::Percent>(),
            ],
            "examples": [1, "25%"],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> (String, usize) {
        let error = text.parse::<HttpUrl>().unwrap_err();
        (error.message, error.offset)
    }

    #[test]
    fn urls_that_can_be_asked() {
        for good in ["http://web.shop.svc/healthz", "https://[::1]:8443/x?y=1", "http://10.0.0.1:80", "http://web"] {
            let url = good.parse::<HttpUrl>().unwrap();
            assert_eq!(url.to_string().trim_end_matches('/'), good.trim_end_matches('/'));
            assert_eq!(url.to_string().parse::<HttpUrl>().unwrap(), url);
        }
    }

    #[test]
    fn urls_point_at_the_part_that_is_wrong() {
        assert_eq!(url("http://user:secret@web/").1, 7);
        assert!(!url("http://user:secret@web/").0.contains("secret"));
        assert_eq!(url("http:///x"), ("the URL names no host".into(), 7));
        assert_eq!(url("http://::1/"), ("an IPv6 address stands in brackets: `::1`".into(), 7));
        assert_eq!(url("http://[::x]/").1, 8);
        assert_eq!(url("ftp://web/").0, "an HTTP probe can't ask `ftp://`");
        assert_eq!(url("web.shop.svc/healthz").0, "`web.shop.svc/healthz` is not an absolute URL");
        assert_eq!(url("http://web:0/"), ("`0` is not a port".into(), 11));
        assert_eq!(url("http://web:99999/").1, 11);
        assert_eq!(url("http://web:/").1, 11);
        assert_eq!(url("http://[::1]x/").0, "`?` is not a port");
        assert_eq!(url("http://web/a b"), ("a URL can't contain ` `".into(), 12));
        assert_eq!(url("http://web/#top").1, 11);
    }

    #[test]
    fn objects_have_known_kinds() {
        assert_eq!("deployment/web".parse::<ObjectRef>().unwrap().to_string(), "deployment/web");
        for (bad, hint) in [
            ("web", "write `deployment/web`"),
            ("Deployment/web", "write `deployment/web`"),
            ("sts/db", "write `statefulset/db`"),
            ("deploymnt/web", "write `deployment/web`"),
        ] {
            assert_eq!(bad.parse::<ObjectRef>().unwrap_err().hint.unwrap(), hint);
        }
        assert_eq!("pod/Web".parse::<ObjectRef>().unwrap_err().offset, 4);
    }

    proptest! {
        #[test]
        fn never_panics_and_points_inside(text in "\\PC{0,20}|(http://|[:/@\\[\\]#?a1 é]){0,12}|(pod/|[a-zA-Z/.]){0,6}") {
            for offset in [text.parse::<HttpUrl>().err().map(|e| e.offset), text.parse::<ObjectRef>().err().map(|e| e.offset)].into_iter().flatten() {
                prop_assert!(offset <= text.len() && text.is_char_boundary(offset), "{offset}");
            }
        }
    }
}
