//! Why serde could not make a value of a node, until it is known where that was and how to say it.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::diagnostic::Code;
use super::keyed::{CHOICE, CHOICE_AT_KEY};
use super::node::NodeId;
use crate::scalar::{PARTS, quoted};

/// An error of our deserialiser. The innermost deserialiser that sees it says which node it is about.
#[derive(Debug)]
pub(super) struct Failure {
    pub node: Option<NodeId>,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// The value can't be read; `offset` is a byte of the scalar's text.
    Said { code: Code, message: String, hint: Option<String>, place: Place },
    /// The value is of another type than this one.
    Type(String),
    /// A field of the struct is missing.
    Missing { field: String, of: Option<&'static str> },
    /// A field that the struct does not have.
    Unknown { field: String, fields: &'static [&'static str] },
    /// A node that is only a placeholder: everything has been said.
    Broken,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// A byte within the scalar.
    Offset(usize),
    /// The node as a whole.
    Node,
    /// The key of the node.
    Key,
}

impl Failure {
    pub(super) const fn new(kind: Kind) -> Self {
        Self { node: None, kind }
    }

    pub(super) fn said(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Kind::Said { code, message: message.into(), hint: Some(hint.into()), place: Place::Node })
    }

    /// The value is not what this visitor reads.
    pub(super) fn wrong_type(expected: &dyn Expected) -> Self {
        Self::new(Kind::Type(plain_words(&expected.to_string())))
    }

    /// Says which node it is about, if nobody has.
    pub(super) fn at(mut self, node: NodeId) -> Self {
        self.node.get_or_insert(node);
        self
    }

    /// Says of which struct a field is missing.
    pub(super) fn of(mut self, name: &'static str) -> Self {
        if let (Kind::Missing { of: of @ None, .. }, None) = (&mut self.kind, self.node) {
            *of = Some(name);
        }
        self
    }
}

/// What serde's own visitors say they expect, in words for people who don't write Rust.
fn plain_words(expected: &str) -> String {
    match expected {
        "a string" => "a text",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "a map" => "a mapping of names to values",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" => "a whole number",
        other if other.starts_with("struct ") => "a mapping",
        other => other,
    }
    .to_owned()
}

impl de::Error for Failure {
    /// The alternate form of our own errors carries hint and place behind separators; every other message is what it says.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = format!("{message:#}");
        let mut parts = text.split(PARTS);
        let message = parts.next().unwrap_or_default().to_owned();
        let hint = parts.next().filter(|hint| !hint.is_empty()).map(str::to_owned);
        let (code, place) = match parts.next() {
            Some(CHOICE) => (Code::Choice, Place::Node),
            Some(CHOICE_AT_KEY) => (Code::Choice, Place::Key),
            Some(offset) => (Code::BadValue, Place::Offset(offset.parse().unwrap_or(0))),
            None => (Code::BadValue, Place::Node),
        };
        Self::new(Kind::Said { code, message, hint, place })
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong_type(expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match found {
            Unexpected::Signed(number) => Self::said(
                Code::BadValue,
                format!("`{number}` is out of range"),
                format!("expected {}, not below zero", plain_words(&expected.to_string())),
            ),
            Unexpected::Unsigned(number) => {
                Self::said(Code::BadValue, format!("`{number}` is out of range"), "write a smaller number")
            }
            _ => Self::wrong_type(expected),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::Missing { field: field.to_owned(), of: None })
    }

    fn unknown_field(field: &str, fields: &'static [&'static str]) -> Self {
        Self::new(Kind::Unknown { field: field.to_owned(), fields })
    }

    fn unknown_variant(variant: &str, variants: &'static [&'static str]) -> Self {
        super::reader::Reader::unknown_choice(variant, variants)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Said { message, .. } => f.write_str(message),
            Kind::Type(expected) => write!(f, "expected {expected}"),
            Kind::Missing { field, .. } => write!(f, "missing field `{field}`"),
            Kind::Unknown { field, .. } => write!(f, "unknown field {}", quoted(field)),
            Kind::Broken => f.write_str("not readable"),
        }
    }
}

impl std::error::Error for Failure {}
