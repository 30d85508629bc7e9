//! The parts of the document whose type is chosen by a key. Written by hand, because an untagged or flattened derive reports mistakes
//! without their place.
//!
//! All of them are read as structs (`deserialize_struct`), so that our own deserialiser knows the fields: it reports unknown ones itself
//! and hands the others over in the order of the list. The arms for unknown fields here serve other formats, such as a plan's JSON.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};

use super::{Dns, Expected, Grpc, Http, Hypothesis, ObjectRef, Probe, Protocol, Step, Tcp, Timing};
use crate::fault::{AnyFault, CATALOGUE};
use crate::record::Phase;
use crate::scalar::{Duration, Name, PARTS, Predicate, Rate, Tolerance};

impl Default for Timing {
    fn default() -> Self {
        Self { before: Duration::seconds(20), during: None, after: Duration::seconds(30), heal: Duration::seconds(120) }
    }
}

/// Keys that do not go together, or of which one is missing. Its alternate form is read by our own deserialiser, as that of
/// [`ScalarError`](crate::scalar::ScalarError) is.
pub(super) struct ChoiceError {
    message: String,
    hint: String,
    /// Whether the place is the key of the value that is being read, rather than the mapping.
    at_key: bool,
}

/// What stands in the alternate form where a [`ScalarError`](crate::scalar::ScalarError) has its offset.
pub(super) const CHOICE: &str = "choice";
pub(super) const CHOICE_AT_KEY: &str = "key";

impl fmt::Display for ChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if f.alternate() {
            write!(f, "{PARTS}{}{PARTS}{}", self.hint, if self.at_key { CHOICE_AT_KEY } else { CHOICE })?;
        }
        Ok(())
    }
}

fn choice(message: impl Into<String>, hint: impl Into<String>) -> ChoiceError {
    ChoiceError { message: message.into(), hint: hint.into(), at_key: false }
}

/// Gives a type a `Deserialize` through a map visitor function.
macro_rules! from_map {
    ($type:ident, $expecting:literal, $fields:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct FromMap;
                impl<'de> Visitor<'de> for FromMap {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$type, A::Error> {
                        $type::from_map(map)
                    }
                }
                deserializer.deserialize_struct(stringify!($type), $fields, FromMap)
            }
        }
    };
}

fn required<T, E: de::Error>(value: Option<T>, field: &'static str) -> Result<T, E> {
    value.ok_or_else(|| E::missing_field(field))
}

const PROBE_FIELDS: &[&str] = &["name", "rate", "timeout", "http", "grpc", "tcp", "dns"];
from_map!(Probe, "a probe with `name`, `rate`, `timeout` and a protocol", PROBE_FIELDS);

impl Probe {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let (mut name, mut rate, mut timeout, mut protocol) = (None, None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => name = Some(map.next_value::<Name>()?),
                "rate" => rate = Some(map.next_value::<Rate>()?),
                "timeout" => timeout = Some(map.next_value::<Duration>()?),
                "http" | "grpc" | "tcp" | "dns" if protocol.is_some() => {
                    return Err(de::Error::custom(choice(
                        "a probe speaks one protocol, this one has two",
                        "write two probes",
                    )));
                }
                "http" => protocol = Some(Protocol::Http(map.next_value()?)),
                "grpc" => protocol = Some(Protocol::Grpc(map.next_value()?)),
                "tcp" => protocol = Some(Protocol::Tcp(map.next_value()?)),
                "dns" => protocol = Some(Protocol::Dns(map.next_value()?)),
                other => return Err(de::Error::unknown_field(other, PROBE_FIELDS)),
            }
        }
        let protocol = protocol.ok_or_else(|| {
            de::Error::custom(choice(
                "a probe needs a protocol",
                "add `http: {url: …}`, `grpc: {address: …}`, `tcp: {address: …}` or `dns: {name: …}`",
            ))
        });
        Ok(Self {
            name: required(name, "name")?,
            rate: required(rate, "rate")?,
            timeout: required(timeout, "timeout")?,
            protocol: protocol?,
        })
    }
}

impl Serialize for Probe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("rate", &self.rate)?;
        map.serialize_entry("timeout", &self.timeout)?;
        match &self.protocol {
            Protocol::Http(http) => map.serialize_entry("http", http)?,
            Protocol::Grpc(grpc) => map.serialize_entry("grpc", grpc)?,
            Protocol::Tcp(tcp) => map.serialize_entry("tcp", tcp)?,
            Protocol::Dns(dns) => map.serialize_entry("dns", dns)?,
        }
        map.end()
    }
}

impl JsonSchema for Probe {
    fn schema_name() -> Cow<'static, str> {
        "Probe".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "A loop that sends requests on a schedule and classifies each outcome. Its protocol is a key.",
            "properties": {
                "name": described(generator.subschema_for::<Name>(), "Name, by which hypotheses refer to it."),
                "rate": described(generator.subschema_for::<Rate>(), "Requests per stream."),
                "timeout": described(generator.subschema_for::<Duration>(), "Deadline of one request, from its planned instant."),
                "http": generator.subschema_for::<Http>(),
                "grpc": generator.subschema_for::<Grpc>(),
                "tcp": generator.subschema_for::<Tcp>(),
                "dns": generator.subschema_for::<Dns>(),
            },
            "required": ["name", "rate", "timeout"],
            "oneOf": [{ "required": ["http"] }, { "required": ["grpc"] }, { "required": ["tcp"] }, { "required": ["dns"] }],
            "additionalProperties": false,
        })
    }
}

/// A reference with a description of its own.
fn described(mut schema: Schema, description: &str) -> Schema {
    schema.insert("description".to_owned(), description.into());
    schema
}

/// `probe` and `object` come before `tolerance`: they say which kind of tolerance it is.
const HYPOTHESIS_FIELDS: &[&str] = &["probe", "object", "namespace", "when", "tolerance"];
from_map!(Hypothesis, "a hypothesis with `probe` or `object`, and a `tolerance`", HYPOTHESIS_FIELDS);

/// A tolerance of which kind the keys before it say.
enum AnyTolerance {
    OfProbe(Tolerance),
    OfObject(Predicate),
    Unknown(String),
}

impl Hypothesis {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let (mut probe, mut object, mut namespace, mut tolerance, mut when) = (None, None, None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "probe" => probe = Some(map.next_value::<Name>()?),
                "object" => object = Some(map.next_value::<ObjectRef>()?),
                "namespace" => namespace = Some(map.next_value::<Name>()?),
                "tolerance" => {
                    tolerance = Some(match (&probe, &object) {
                        (Some(_), None) => AnyTolerance::OfProbe(map.next_value()?),
                        (None, Some(_)) => AnyTolerance::OfObject(map.next_value()?),
                        _ => AnyTolerance::Unknown(map.next_value()?),
                    });
                }
                "when" => when = Some(map.next_value::<Vec<Phase>>()?),
                other => return Err(de::Error::unknown_field(other, HYPOTHESIS_FIELDS)),
            }
        }
        let when = when.unwrap_or_else(|| Phase::ALL.to_vec());
        match (probe, object) {
            (Some(probe), None) => {
                if namespace.is_some() {
                    return Err(de::Error::custom(choice(
                        "`namespace` belongs to a hypothesis about an `object`",
                        "remove it: a probe's URL says where it asks",
                    )));
                }
                Ok(Self::Probe { probe, tolerance: required(tolerance, "tolerance")?.of_probe()?, when })
            }
            (None, Some(object)) => Ok(Self::Object {
                object,
                namespace: required(namespace, "namespace")?,
                tolerance: required(tolerance, "tolerance")?.of_object()?,
                when,
            }),
            (Some(_), Some(_)) => Err(de::Error::custom(choice(
                "a hypothesis is about a `probe` or an `object`, not both",
                "write two hypotheses",
            ))),
            (None, None) => Err(de::Error::custom(choice(
                "a hypothesis needs a `probe` or an `object`",
                "write `probe: NAME`, or `object: deployment/NAME` with its `namespace`",
            ))),
        }
    }
}

impl AnyTolerance {
    fn of_probe<E: de::Error>(self) -> Result<Tolerance, E> {
        match self {
            Self::OfProbe(tolerance) => Ok(tolerance),
            Self::Unknown(text) => text.parse().map_err(E::custom),
            Self::OfObject(predicate) => predicate.text.parse().map_err(E::custom),
        }
    }

    fn of_object<E: de::Error>(self) -> Result<Predicate, E> {
        match self {
            Self::OfObject(predicate) => Ok(predicate),
            Self::Unknown(text) => text.parse().map_err(E::custom),
            Self::OfProbe(tolerance) => tolerance.text.parse().map_err(E::custom),
        }
    }
}

impl Serialize for Hypothesis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let when = match self {
            Self::Probe { probe, tolerance, when } => {
                map.serialize_entry("probe", probe)?;
                map.serialize_entry("tolerance", tolerance)?;
                when
            }
            Self::Object { object, namespace, tolerance, when } => {
                map.serialize_entry("object", object)?;
                map.serialize_entry("namespace", namespace)?;
                map.serialize_entry("tolerance", tolerance)?;
                when
            }
        };
        if *when != Phase::ALL {
            map.serialize_entry("when", when)?;
        }
        map.end()
    }
}

impl JsonSchema for Hypothesis {
    fn schema_name() -> Cow<'static, str> {
        "Hypothesis".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let when = serde_json::json!({
            "description": "Phases in which it is judged; all of them when left out.",
            "type": "array", "items": generator.subschema_for::<Phase>(), "minItems": 1, "uniqueItems": true,
        });
        json_schema!({
            "description": "What must hold: about a probe's samples, or about an object of the cluster.",
            "type": "object",
            "properties": {
                "probe": described(generator.subschema_for::<Name>(), "Name of the probe."),
                "object": generator.subschema_for::<ObjectRef>(),
                "namespace": described(generator.subschema_for::<Name>(), "Namespace of the object."),
                "tolerance": { "type": "string", "examples": ["success >= 99.9%", "status.availableReplicas >= 2"] },
                "when": when,
            },
            "required": ["tolerance"],
            "oneOf": [
                {
                    "required": ["probe"],
                    "properties": { "tolerance": generator.subschema_for::<Tolerance>(), "object": false, "namespace": false },
                },
                {
                    "required": ["object", "namespace"],
                    "properties": { "tolerance": generator.subschema_for::<Predicate>(), "probe": false },
                },
            ],
            "additionalProperties": false,
        })
    }
}

/// The keys that every step may have, and those of the faults.
static STEP_FIELDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    ["name", "at", "for", "expect"].into_iter().chain(CATALOGUE.iter().map(|about| about.key)).collect()
});
from_map!(Step, "a step with `name`, `at` and one fault", STEP_FIELDS.as_slice());

/// A fault's arguments, read as the type that their key chooses. `first` is the fault that the step already has.
struct FaultSeed<'k> {
    key: &'k str,
    first: Option<&'static str>,
}

impl<'de> DeserializeSeed<'de> for FaultSeed<'_> {
    type Value = AnyFault;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<AnyFault, D::Error> {
        let unknown = || de::Error::custom(format!("there is no fault `{}`", self.key));
        if let Some(first) = self.first {
            return Err(de::Error::custom(ChoiceError {
                message: format!("a step has one fault, this one has `{first}` and `{}`", self.key),
                hint: "write two steps; they may have the same `at`".to_owned(),
                at_key: true,
            }));
        }
        AnyFault::read(self.key, deserializer).unwrap_or_else(|| Err(unknown()))
    }
}

impl Step {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let (mut name, mut at, mut hold, mut expect) = (None, None, None, None);
        let mut fault: Option<AnyFault> = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => name = Some(map.next_value::<Name>()?),
                "at" => at = Some(map.next_value::<Duration>()?),
                "for" => hold = Some(map.next_value::<Duration>()?),
                "expect" => expect = Some(map.next_value::<Expected>()?),
                key if CATALOGUE.iter().any(|about| about.key == key) => {
                    let first = fault.as_ref().map(|fault| fault.about().key);
                    fault = Some(map.next_value_seed(FaultSeed { key, first })?);
                }
                other => return Err(de::Error::unknown_field(other, STEP_FIELDS.as_slice())),
            }
        }
        let name = required(name, "name")?;
        let fault = fault.ok_or_else(|| {
            let keys: Vec<_> = CATALOGUE.iter().map(|about| about.key).collect();
            de::Error::custom(choice(
                "a step needs one fault, this one has none",
                format!("add one of `{}`; `squall faults` explains them", keys.join("`, `")),
            ))
        })?;
        Ok(Self { name, at: at.unwrap_or(Duration::seconds(0)), hold, expect, fault })
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("at", &self.at)?;
        if let Some(hold) = &self.hold {
            map.serialize_entry("for", hold)?;
        }
        if let Some(expect) = &self.expect {
            map.serialize_entry("expect", expect)?;
        }
        map.serialize_entry(self.fault.about().key, &self.fault.arguments().map_err(serde::ser::Error::custom)?)?;
        map.end()
    }
}

impl JsonSchema for Step {
    fn schema_name() -> Cow<'static, str> {
        "Step".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties = serde_json::Map::new();
        let mut add = |key: &str, schema: Schema, description: &str| {
            properties.insert(key.into(), described(schema, description).into());
        };
        add("name", generator.subschema_for::<Name>(), "Name of the step, unique in the method.");
        add("at", generator.subschema_for::<Duration>(), "Offset from the start of *during*; `0s` when left out.");
        add(
            "for",
            generator.subschema_for::<Duration>(),
            "Held this long, then undone; only for faults that have an undo.",
        );
        add(
            "expect",
            generator.subschema_for::<Expected>(),
            "What the step counts as success, where a refusal can be wanted.",
        );
        let mut one_of = Vec::new();
        for (key, schema) in AnyFault::schemas(generator) {
            let summary = crate::fault::about(key).map(|about| about.summary).unwrap_or_default();
            properties.insert(key.into(), described(schema, summary).into());
            one_of.push(serde_json::json!({ "required": [key] }));
        }
        json_schema!({
            "type": "object",
            "description": "One step of the method: when, how long, and exactly one fault.",
            "properties": properties,
            "required": ["name"],
            "oneOf": one_of,
            "additionalProperties": false,
        })
    }
}
