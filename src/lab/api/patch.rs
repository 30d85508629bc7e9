//! Patches: of each media type, what becomes of an object.

use serde_json::{Value, json};

use super::strategic;
use crate::lab::store::Refused;

/// Applies a patch to an object.
///
/// # Errors
///
/// When it can't be read, does not fit, or is of a kind that is not modelled.
pub(super) fn apply(content: &str, body: &[u8], object: &Value) -> Result<Value, Refused> {
    match content {
        "application/json-patch+json" => operations(body, object),
        "application/merge-patch+json" => {
            let mut patched = object.clone();
            json_patch::merge(&mut patched, &map(body)?);
            Ok(patched)
        }
        "application/strategic-merge-patch+json" => {
            let mut patched = object.clone();
            strategic::merge(&mut patched, &map(body)?)?;
            Ok(patched)
        }
        "application/apply-patch+yaml" | "application/apply-patch+cbor" => Err(Refused::new(
            415,
            "UnsupportedMediaType",
            "the lab applies whole objects only, written in YAML or JSON: send a JSON, merge or strategic merge patch",
        )),
        _ => Err(Refused::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json",
        )),
    }
}

fn map(body: &[u8]) -> Result<Value, Refused> {
    let patch: Value = serde_json::from_slice(body).map_err(|e| unread(&e.to_string()))?;
    if patch.is_object() {
        Ok(patch)
    } else {
        Err(unread("json: cannot unmarshal into Go value of type map[string]interface {}"))
    }
}

fn unread(why: &str) -> Refused {
    Refused::bad_request(&format!("error decoding patch: {why}"))
}

fn operations(body: &[u8], object: &Value) -> Result<Value, Refused> {
    let patch: json_patch::Patch =
        serde_json::from_slice(body).map_err(|e| unread(&format!("json: cannot unmarshal into Patch: {e}")))?;
    let mut patched = object.clone();
    match json_patch::patch(&mut patched, &patch) {
        Ok(()) if patched.is_object() => Ok(patched),
        // A test that failed, or a path that is not there. The real server says no more either.
        _ => Err(Refused {
            details: json!({}),
            ..Refused::new(422, "Invalid", "the server rejected our request due to an error in our request")
        }),
    }
}

/// What a patch makes of an object is no object of its kind.
pub(super) fn unfit(patched: &Value, why: &str) -> Refused {
    let why = format!("Invalid value: {:?}: {why}", patched.to_string());
    Refused {
        details: json!({"causes": [{"reason": "FieldValueInvalid", "message": why, "field": "patch"}]}),
        ..Refused::new(422, "Invalid", format!(" \"\" is invalid: patch: {why}"))
    }
}
