//! Why the API server does not do what it is asked, in its own words.

use serde_json::{Value, json};

use super::Kind;

/// An answer that is not a success: a `Status` of the API.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(in crate::lab) struct Refused {
    /// HTTP status.
    pub code: u16,
    /// `NotFound`, `Conflict`, …
    pub reason: &'static str,
    /// For a person.
    pub message: String,
    /// `details` of the status.
    pub details: Value,
}

impl Refused {
    pub(in crate::lab) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    fn of(code: u16, reason: &'static str, kind: &Kind, name: &str, message: String) -> Self {
        let details = json!({"name": name, "group": kind.group, "kind": kind.plural});
        Self { details, ..Self::new(code, reason, message) }
    }

    pub(in crate::lab) fn bad_request(message: &str) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(in crate::lab) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::of(404, "NotFound", kind, name, format!("{} \"{name}\" not found", kind.resource()))
    }

    pub(in crate::lab) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::of(409, "AlreadyExists", kind, name, format!("{} \"{name}\" already exists", kind.resource()))
    }

    pub(in crate::lab) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource());
        Self::of(409, "Conflict", kind, name, message)
    }

    pub(in crate::lab) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        Self::of(403, "Forbidden", kind, name, format!("{} \"{name}\" is forbidden: {why}", kind.resource()))
    }

    /// The object would not be valid: `causes` are field and message.
    pub(in crate::lab) fn invalid(kind: &Kind, name: &str, causes: &[(String, String)]) -> Self {
        let each: Vec<String> = causes.iter().map(|(field, why)| format!("{field}: {why}")).collect();
        let each = if each.len() == 1 { each.concat() } else { format!("[{}]", each.join(", ")) };
        let message = format!("{} \"{name}\" is invalid: {each}", kind_with_group(kind));
        let listed: Vec<Value> = causes
            .iter()
            .map(|(field, why)| json!({"reason": "FieldValueInvalid", "message": why, "field": field}))
            .collect();
        let mut refused = Self::of(422, "Invalid", kind, name, message);
        refused.details["kind"] = kind.kind.into();
        refused.details["causes"] = listed.into();
        refused
    }

    /// As the API writes it.
    pub(in crate::lab) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

fn kind_with_group(kind: &Kind) -> String {
    if kind.group.is_empty() { kind.kind.to_owned() } else { format!("{}.{}", kind.kind, kind.group) }
}
