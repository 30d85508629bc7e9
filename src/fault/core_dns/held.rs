//! What of CoreDNS is held: its number of replicas, and our part of its Corefile.

use serde_json::{Value, json};

use super::corefile::{Removed, inserted, removed};
use super::{CoreDns, sha256};
use crate::fault::contract::{Fault as _, FaultError, Undo};
use crate::fault::held::{Back, Field, Found, HeldNote, Part};

pub(super) const REPLICAS: Field = Field {
    fault: CoreDns::ABOUT.key,
    pointer: "/spec/replicas",
    // The API server fills in its default of one.
    missing: || json!(1),
    words: |value| format!("{value} replicas"),
    done: |previous, injected| format!("scaled from {previous} to {injected}"),
    undone: |previous, injected| format!("scaled back from {injected} to {previous}"),
    part: None,
};

pub(super) const COREFILE: Field = Field {
    fault: CoreDns::ABOUT.key,
    pointer: "/data/Corefile",
    missing: || json!(""),
    words: |_| "a Corefile".to_owned(),
    done: |_, _| "our server block is in the Corefile".to_owned(),
    undone: |_, _| "our server block is out of the Corefile".to_owned(),
    part: Some(Part { kept: |text| sha256(text.as_str().unwrap_or_default()).into(), put_in, taken_out }),
};

/// What is held of an object of this kind.
pub(super) fn field(kind: &str) -> &'static Field {
    if kind == "configmap" { &COREFILE } else { &REPLICAS }
}

/// The Corefile of a ConfigMap.
pub(super) fn corefile(found: &Found) -> &str {
    found.text(COREFILE.pointer)
}

fn texts<'a>(note: &'a HeldNote, now: &'a Value) -> (&'a str, &'a str) {
    (note.injected.as_str().unwrap_or_default(), now.as_str().unwrap_or_default())
}

fn put_in(note: &HeldNote, now: &Value) -> Option<Value> {
    let (piece, text) = texts(note, now);
    (note.previous == sha256(text)).then(|| inserted(text, piece).into())
}

fn taken_out(note: &HeldNote, now: &Value, noted: bool) -> Result<Back, FaultError> {
    let is_previous = |text: &str| note.previous == sha256(text);
    let (piece, text) = texts(note, now);
    Ok(match removed(text, piece) {
        Removed::Rest(rest) => {
            let outcome = if is_previous(&rest) {
                Undo::Undone("the Corefile is what it was, to the byte".to_owned())
            } else {
                Undo::Conflict(
                    "somebody else edited the Corefile meanwhile: our block is out of it, theirs stays".to_owned(),
                )
            };
            (Some(rest.into()), outcome)
        }
        Removed::Absent if !noted && is_previous(text) => {
            (None, Undo::Nothing("the Corefile is what it was, and there is no note of ours".to_owned()))
        }
        Removed::Absent => {
            (None, Undo::Conflict("somebody else took our block out of the Corefile: theirs stays".to_owned()))
        }
        Removed::Torn(line) => {
            return Err(FaultError::State(format!(
                "somebody else edited our block in the Corefile, so that it can't be told from theirs: remove what is left of it by \
                 hand, from line {line} on, with its lines `squall.dev/undo`"
            )));
        }
    })
}

#[cfg(test)]
mod tests;
