//! A field of an object held at another value: the patch that changes it with its undo note, and the decision what to take back.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kube::api::{Api, PartialObjectMeta};
use kube::core::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::contract::{Acting, FaultError, Injected, Left, Refusal, Undo};
use super::copies;
use super::kube::{metadata_by_page, retried, write};
use crate::cluster::{Cluster, status_of};
use crate::record::Target;

/// Where the undo note stands on the object.
pub(super) const NOTE: &str = "squall.dev/undo";
/// The same as a JSON pointer.
pub(super) const NOTE_POINTER: &str = "/metadata/annotations/squall.dev~1undo";
/// Tries of one patch whose tests failed because the object changed since it was read.
const PATCHES: u32 = 5;

/// A field that a fault changes and gives back.
pub(super) struct Field {
    /// Key of the fault.
    pub fault: &'static str,
    /// JSON pointer to the field.
    pub pointer: &'static str,
    /// What the API takes the field for where it is missing.
    pub missing: fn() -> Value,
    /// A value in words: `3 replicas`.
    pub words: fn(&Value) -> String,
    /// What was done, from the value before and the one after.
    pub done: fn(&Value, &Value) -> String,
    /// What was taken back, from the same two.
    pub undone: fn(&Value, &Value) -> String,
    /// How only a part of the value is ours; `None`: all of it is.
    pub part: Option<Part>,
}

/// A text of which a part is ours: put in, and taken out again, whatever stands around it by then. The part names its run, so that it
/// is ours without a note too.
pub(super) struct Part {
    /// What the note keeps of the text as it was, instead of all of it.
    pub kept: fn(&Value) -> Value,
    /// The text with our part in it; `None` when the text is not the one that the note is about.
    pub put_in: fn(&HeldNote, &Value) -> Option<Value>,
    /// The text without our part (`None`: it is not in there), and what that comes to. `noted`: our note is on the object.
    pub taken_out: fn(&HeldNote, &Value, noted: bool) -> Result<Back, FaultError>,
}

/// What taking it back needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldNote {
    pub(super) previous: Value,
    pub(super) injected: Value,
}

/// The note on the object itself: any machine that finds it can tell what was done, by whom, and what to put back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OnObject {
    run: String,
    #[serde(default)]
    state: String,
    step: String,
    fault: String,
    previous: Value,
    injected: Value,
}

/// An object as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found(pub(super) Value);

impl Found {
    /// A text in it; empty where there is none.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    /// The undo note on it.
    pub(super) fn note(&self) -> Option<&str> {
        self.0.pointer(NOTE_POINTER).and_then(Value::as_str)
    }

    /// Whether it has any annotations.
    fn is_annotated(&self) -> bool {
        self.0.pointer("/metadata/annotations").is_some_and(Value::is_object)
    }

    /// Refuses an object that another run holds.
    pub(super) fn refuse_held(&self, what: &dyn std::fmt::Display) -> Result<(), Refusal> {
        let Some(text) = self.note() else { return Ok(()) };
        let run = run_of(text);
        Err(Refusal::new(format!("{what} carries the undo note of another run: `{run}`"))
            .hint(format!("that run still acts, or died: `squall recover {run}` takes back what it left")))
    }
}

/// The value to write, if any, and what that comes to.
pub(super) type Back = (Option<Value>, Undo);

/// What an undo does with what it finds.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Nothing is written.
    Leave(Undo),
    /// This is written, and then that is the outcome.
    Patch(Value, Undo),
}

/// The run that left a note, for a message; the whole note where it names none.
fn run_of(text: &str) -> String {
    let note: Option<Value> = serde_json::from_str(text).ok();
    note.and_then(|note| Some(note.get("run")?.as_str()?.to_owned())).unwrap_or_else(|| text.to_owned())
}

/// The path of an object, by its kind as targets have it.
pub(super) fn path(kind: &str, namespace: &str, name: &str) -> String {
    match kind {
        "node" => format!("/api/v1/nodes/{name}"),
        "configmap" | "service" => format!("/api/v1/namespaces/{namespace}/{kind}s/{name}"),
        _ => format!("/apis/apps/v1/namespaces/{namespace}/{kind}s/{name}"),
    }
}

fn path_of(target: &Target) -> String {
    path(&target.kind, &target.namespace, &target.name)
}

async fn send(cx: &Acting<'_>, target: &Target, patch: &Value) -> Result<(), kube::Error> {
    let json = "application/json-patch+json";
    write::<Value>(cx.cluster, http::Method::PATCH, &path_of(target), false, json, patch).await?;
    Ok(())
}

/// Whether a test of the patch failed: the object is no longer what was read.
pub(super) fn failed_test(error: &kube::Error) -> bool {
    status_of(error).is_some_and(|status| matches!(status.code, 409 | 422))
}

/// Reads an object; `None` when there is none at this path.
pub(super) async fn read(cluster: &Cluster, path: &str) -> Result<Option<Found>, kube::Error> {
    let answer = retried(|| async {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        cluster.client().request::<Value>(request).await
    })
    .await;
    match answer {
        Ok(object) => Ok(Some(Found(object))),
        Err(e) if status_of(&e).is_some_and(|s| s.code == 404) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads the target; `None` when it is gone or when another object has its name.
pub(super) async fn current(cx: &Acting<'_>, target: &Target) -> Result<Option<Found>, FaultError> {
    let found = read(cx.cluster, &path_of(target)).await.map_err(FaultError::api(format!("get {target}")))?;
    Ok(found.filter(|found| found.uid() == target.uid))
}

impl Field {
    /// The field's value.
    pub(super) fn value(&self, found: &Found) -> Value {
        found.0.pointer(self.pointer).cloned().unwrap_or_else(self.missing)
    }

    /// What the undo will need; refused while another fault holds the object. `injected`: the value to hold, or the part to put in.
    pub(super) fn note(&self, target: &Target, found: &Found, injected: Value) -> Result<HeldNote, FaultError> {
        match found.note() {
            None => {
                let now = self.value(found);
                let previous = self.part.as_ref().map_or_else(|| now.clone(), |part| (part.kept)(&now));
                Ok(HeldNote { previous, injected })
            }
            Some(text) => Err(FaultError::State(format!("{target} carries an undo note already: {text}"))),
        }
    }

    /// Changes the field, its undo note with it. Harmless when called again.
    pub(super) async fn hold(&self, cx: &Acting<'_>, target: &Target, note: &HeldNote) -> Result<Injected, FaultError> {
        let text = self.text(cx, note);
        let done = || Injected::Done((self.done)(&note.previous, &note.injected));
        for _ in 0..PATCHES {
            let Some(found) = current(cx, target).await? else {
                return Ok(Injected::Gone("it is gone, or another has its name now".to_owned()));
            };
            if found.note() == Some(&text) {
                // The answer to an earlier try was lost, and the patch was not.
                return Ok(done());
            }
            let Some(new) = self.harmed(&found, note).filter(|_| found.note().is_none()) else {
                return Err(self.changed(target, &found, note));
            };
            let patch = self.injection(&found, &new, &text);
            match retried(|| send(cx, target, &patch)).await {
                Ok(()) => return Ok(done()),
                Err(e) if failed_test(&e) => {}
                Err(e) if status_of(&e).is_some_and(|s| s.code == 404) => {
                    return Ok(Injected::Gone("it is gone".to_owned()));
                }
                Err(e) => return Err(FaultError::api(format!("patch {target}"))(e)),
            }
        }
        Err(changing(target, "changed"))
    }

    /// Gives the field its value back where it still is what we wrote, and takes the note away, also where Kubernetes copied it to.
    /// Harmless when called again.
    pub(super) async fn give_back(
        &self,
        cx: &Acting<'_>,
        target: &Target,
        note: &HeldNote,
    ) -> Result<Undo, FaultError> {
        let outcome = self.give_value_back(cx, target, note).await?;
        let by_generation = matches!(outcome, Undo::Undone(_));
        Ok(match copies::remove(cx, target, by_generation).await? {
            None => outcome,
            Some(kept) => outcome.with(&kept),
        })
    }

    async fn give_value_back(&self, cx: &Acting<'_>, target: &Target, note: &HeldNote) -> Result<Undo, FaultError> {
        for _ in 0..PATCHES {
            let Some(found) = current(cx, target).await? else {
                return Ok(Undo::Nothing("it is gone, or another has its name now".to_owned()));
            };
            let (patch, then) = match self.decide(cx, &found, note)? {
                Decision::Leave(outcome) => return Ok(outcome),
                Decision::Patch(patch, then) => (patch, then),
            };
            match retried(|| send(cx, target, &patch)).await {
                Ok(()) => return Ok(then),
                Err(e) if failed_test(&e) => {}
                Err(e) if status_of(&e).is_some_and(|s| s.code == 404) => {
                    return Ok(Undo::Nothing("it is gone".to_owned()));
                }
                Err(e) => return Err(FaultError::api(format!("patch {target} back"))(e)),
            }
        }
        Err(changing(target, "changed back"))
    }

    fn text(&self, cx: &Acting<'_>, note: &HeldNote) -> String {
        // A run id, a namespace, a step's name (63 bytes each) and two values, the longest of them a server block for 16 names: some KiB
        // of the 256 that the annotations of an object may take.
        json!({"run": cx.run, "state": cx.state, "step": cx.step, "fault": self.fault, "previous": note.previous, "injected": note.injected})
            .to_string()
    }

    /// The value to write; `None` when the object is not what it was when the note was made.
    fn harmed(&self, found: &Found, note: &HeldNote) -> Option<Value> {
        let now = self.value(found);
        match &self.part {
            Some(part) => (part.put_in)(note, &now),
            None => (now == note.previous).then(|| note.injected.clone()),
        }
    }

    fn changed(&self, target: &Target, found: &Found, note: &HeldNote) -> FaultError {
        if let Some(text) = found.note() {
            return FaultError::State(format!(
                "{target} carries the undo note of run `{}` since it was prepared",
                run_of(text)
            ));
        }
        let [then, now] = [&note.previous, &self.value(found)].map(|value| (self.words)(value));
        let values = if self.part.is_none() { format!(": {then} then, {now} now") } else { String::new() };
        FaultError::State(format!("{target} changed since it was prepared{values}"))
    }

    /// The harm and its note in one patch.
    ///
    /// A JSON patch can add a key to `annotations` only where that map exists, and to add the map itself would wipe out annotations that
    /// somebody else wrote since it was read; nor can it test that a field is missing. So, where the object lacks either, the patch
    /// also tests `resourceVersion`, which changes with every write; a failed test means to read again. (A test for `null` would be
    /// shorter, but JSON patch leaves open whether a missing field equals it.)
    fn injection(&self, found: &Found, new: &Value, text: &str) -> Value {
        let mut patch = self.tests(found, !found.is_annotated());
        patch.push(if found.is_annotated() {
            json!({"op": "add", "path": NOTE_POINTER, "value": text})
        } else {
            json!({"op": "add", "path": "/metadata/annotations", "value": BTreeMap::from([(NOTE, text)])})
        });
        if *new != self.value(found) {
            // `add` replaces what is there.
            patch.push(json!({"op": "add", "path": self.pointer, "value": new}));
        }
        Value::Array(patch)
    }

    /// Tests that the object is still what was found.
    fn tests(&self, found: &Found, whole: bool) -> Vec<Value> {
        let test = |path: &str, value: &Value| json!({"op": "test", "path": path, "value": value});
        let value = found.0.pointer(self.pointer);
        let mut tests = vec![test("/metadata/uid", &json!(found.uid()))];
        tests.extend(value.map(|value| test(self.pointer, value)));
        if whole || value.is_none() {
            tests.push(test("/metadata/resourceVersion", &json!(found.text("/metadata/resourceVersion"))));
        }
        tests
    }

    fn decide(&self, cx: &Acting<'_>, found: &Found, note: &HeldNote) -> Result<Decision, FaultError> {
        let is_ours = |text: &&str| {
            serde_json::from_str::<OnObject>(text).is_ok_and(|note| note.run == cx.run && note.step == cx.step)
        };
        let ours = found.note().filter(is_ours);
        let (new, outcome) = match (&self.part, found.note()) {
            (Some(part), _) => (part.taken_out)(note, &self.value(found), ours.is_some())?,
            (None, Some(text)) if ours.is_none() => {
                return Ok(Decision::Leave(Undo::Conflict(format!(
                    "it carries the undo note of another run, which stays: {text}"
                ))));
            }
            (None, _) => self.whole_back(found, note, ours.is_some()),
        };
        if new.is_none() && ours.is_none() {
            return Ok(Decision::Leave(outcome));
        }
        let mut patch = self.tests(found, false);
        if let Some(text) = ours {
            patch.push(json!({"op": "test", "path": NOTE_POINTER, "value": text}));
            patch.push(json!({"op": "remove", "path": NOTE_POINTER}));
        }
        patch.extend(new.map(|new| json!({"op": "add", "path": self.pointer, "value": new})));
        Ok(Decision::Patch(Value::Array(patch), outcome))
    }

    /// The value to write where all of it is held, and what that comes to. Without our note nothing is written: nobody can tell whose a
    /// value is.
    fn whole_back(&self, found: &Found, note: &HeldNote, noted: bool) -> Back {
        let value = self.value(found);
        let [now, previous, injected] = [&value, &note.previous, &note.injected].map(|value| (self.words)(value));
        if !noted {
            let outcome = if value == note.previous {
                Undo::Nothing(format!("it is at {previous}, and has no note of ours"))
            } else {
                Undo::Conflict(format!(
                    "it is at {now}, and has no note of ours; it was at {previous} before, and we meant {injected}: {now} stays"
                ))
            };
            return (None, outcome);
        }
        if value != note.injected {
            let words = format!(
                "somebody set it to {now} after we had set it to {injected} from {previous}: {now} stays, our note is gone"
            );
            return (None, Undo::Conflict(words));
        }
        let back = (note.previous != note.injected).then(|| note.previous.clone());
        (back, Undo::Undone((self.undone)(&note.previous, &note.injected)))
    }

    /// The undo notes of this fault on the objects of one kind. Reads their metadata only.
    pub(super) async fn notes_on<K>(&self, api: Api<K>, kind: &str) -> Result<Vec<Left>, FaultError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut left = Vec::new();
        let take = |page: Vec<PartialObjectMeta<K>>| {
            left.extend(page.iter().filter_map(|object| self.note_on(&object.metadata, kind)));
        };
        metadata_by_page(&api, take).await.map_err(FaultError::api(format!("list the {kind}s")))?;
        Ok(left)
    }

    /// The note on one object; `None` without one, or when another fault left it.
    fn note_on(&self, meta: &ObjectMeta, kind: &str) -> Option<Left> {
        let note: OnObject = serde_json::from_str(meta.annotations.as_ref()?.get(NOTE)?).ok()?;
        (note.fault == self.fault).then(|| Left {
            run: note.run,
            state: note.state,
            step: note.step,
            fault: note.fault,
            target: Target {
                kind: kind.to_owned(),
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
                uid: meta.uid.clone().unwrap_or_default(),
                node: None,
                zone: None,
                owner: None,
                instance: None,
            },
            note: json!({"previous": note.previous, "injected": note.injected}),
        })
    }
}

fn changing(target: &Target, done: &str) -> FaultError {
    FaultError::State(format!("{target} changed each of the {PATCHES} times that it was about to be {done}"))
}
