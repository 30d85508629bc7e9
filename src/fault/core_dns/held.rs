//! A value of an object that is held at another one: the patch that does it with the undo note, and the decision what to take back.

use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::corefile::{Removed, removed};
use super::{CoreDns, sha256};
use crate::cluster::{Cluster, status_of};
use crate::fault::contract::{Acting, Fault as _, FaultError, Injected, Left, Undo};
use crate::fault::kube::{PAGE, retried, write};
use crate::record::Target;

/// Where the undo note stands on the object.
const NOTE: &str = "squall.dev/undo";
/// The same as a JSON pointer.
const NOTE_POINTER: &str = "/metadata/annotations/squall.dev~1undo";
/// Tries of one patch whose tests failed because the object changed since it was read.
const PATCHES: u32 = 5;

/// What is held, by the kind of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Replicas,
    Corefile,
}

impl Held {
    pub(super) fn of(kind: &str) -> Self {
        if kind == "configmap" { Self::Corefile } else { Self::Replicas }
    }

    const fn pointer(self) -> &'static str {
        match self {
            Self::Replicas => "/spec/replicas",
            Self::Corefile => "/data/Corefile",
        }
    }
}

/// The path of an object.
pub(super) fn path(kind: &str, namespace: &str, name: &str) -> String {
    let base = if matches!(kind, "configmap" | "service") { "/api/v1" } else { "/apis/apps/v1" };
    format!("{base}/namespaces/{namespace}/{kind}s/{name}")
}

/// An object as it was read.
#[derive(Debug, Clone)]
pub(super) struct Found(pub(super) Value);

impl Found {
    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    pub(super) fn note(&self) -> Option<&str> {
        self.0.pointer(NOTE_POINTER).and_then(Value::as_str)
    }

    pub(super) fn corefile(&self) -> &str {
        self.text(Held::Corefile.pointer())
    }

    pub(super) fn replicas(&self) -> i64 {
        // The API server fills in its default of one.
        self.0.pointer(Held::Replicas.pointer()).and_then(Value::as_i64).unwrap_or(1)
    }

    /// What is still missing until the Deployment's controller reports this number; `None` when nothing is.
    pub(super) fn missing(&self, wanted: i64) -> Option<String> {
        let number = |pointer: &str| self.0.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
        if number("/status/observedGeneration") < number("/metadata/generation") {
            return Some("its controller has not seen the change".to_owned());
        }
        if self.replicas() != wanted {
            return Some(format!("somebody set it to {} replicas", self.replicas()));
        }
        let reported = number("/status/replicas");
        (reported != wanted).then(|| format!("it reports {reported} replicas"))
    }
}

/// Reads an object; `None` when there is none of this name.
pub(super) async fn read(cluster: &Cluster, path: &str) -> Result<Option<Found>, kube::Error> {
    let answer = retried(|| async {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        cluster.client().request::<Value>(request).await
    })
    .await;
    match answer {
        Ok(object) => Ok(Some(Found(object))),
        Err(e) if is_code(&e, &[404]) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads the target; `None` when it is gone or when another object has its name.
pub(super) async fn current(cx: &Acting<'_>, target: &Target) -> Result<Option<Found>, FaultError> {
    let place = path(&target.kind, &target.namespace, &target.name);
    let found = read(cx.cluster, &place).await.map_err(FaultError::api(format!("get {target}")))?;
    Ok(found.filter(|found| found.uid() == target.uid))
}

fn is_code(error: &kube::Error, codes: &[u16]) -> bool {
    status_of(error).is_some_and(|status| codes.contains(&status.code))
}

async fn send(cx: &Acting<'_>, target: &Target, patch: &Value) -> Result<(), kube::Error> {
    let place = path(&target.kind, &target.namespace, &target.name);
    let send = || async {
        write::<Value>(cx.cluster, http::Method::PATCH, &place, false, "application/json-patch+json", patch).await
    };
    retried(send).await.map(drop)
}

/// The note on the object itself, in the form that every fault's has: any machine that finds it can tell what was done, by whom, and
/// what to put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl OnObject {
    fn text(cx: &Acting<'_>, change: &Change) -> String {
        json!({"run": cx.run, "state": cx.state, "step": cx.step, "fault": CoreDns::ABOUT.key, "previous": change.previous, "injected": change.injected})
            .to_string()
    }

    /// Whether a note on an object is this step's.
    fn is_ours(cx: &Acting<'_>, text: &str) -> bool {
        serde_json::from_str::<Self>(text).is_ok_and(|note| note.run == cx.run && note.step == cx.step)
    }
}

/// What is changed, as the note says it: numbers of replicas; or the hash of the Corefile and the piece that goes into it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub(super) previous: Value,
    pub(super) injected: Value,
}

impl Change {
    pub(super) fn replicas(previous: i64, injected: i64) -> Self {
        Self { previous: previous.into(), injected: injected.into() }
    }

    pub(super) fn corefile(previous: &str, piece: &str) -> Self {
        Self { previous: sha256(previous).into(), injected: piece.into() }
    }

    pub(super) fn piece(&self) -> &str {
        self.injected.as_str().unwrap_or_default()
    }

    /// The value before and after the injection; `None` when the object is not what it was when the change was prepared.
    fn values(&self, held: Held, found: &Found) -> Option<(Value, Value)> {
        match held {
            Held::Replicas => {
                (self.previous == found.replicas()).then(|| (self.previous.clone(), self.injected.clone()))
            }
            Held::Corefile => {
                let text = found.corefile();
                let same = self.previous == sha256(text);
                same.then(|| (text.into(), super::corefile::inserted(text, self.piece()).into()))
            }
        }
    }
}

/// Makes the change, with the note in the same patch.
///
/// A JSON patch can add a key to `annotations` only where that map exists, and to add the map itself would wipe out annotations that
/// somebody else wrote since it was read. So, where the object has none, the patch also tests `resourceVersion`.
pub(super) async fn inject(cx: &Acting<'_>, target: &Target, change: &Change) -> Result<Injected, FaultError> {
    let (held, text) = (Held::of(&target.kind), OnObject::text(cx, change));
    let done = || match held {
        Held::Replicas => format!("scaled from {} to {}", change.previous, change.injected),
        Held::Corefile => "our server block is in the Corefile".to_owned(),
    };
    for _ in 0..PATCHES {
        let Some(found) = current(cx, target).await? else {
            return Ok(Injected::Gone("it is gone, or another has its name now".to_owned()));
        };
        if found.note() == Some(&text) {
            // The answer to an earlier try was lost, and the patch was not.
            return Ok(Injected::Done(done()));
        }
        let Some((old, new)) = change.values(held, &found).filter(|_| found.note().is_none()) else {
            return Err(FaultError::State(format!("{target} changed since it was prepared")));
        };
        match send(cx, target, &injection(held, &found, &old, &new, &text)).await {
            Ok(()) => return Ok(Injected::Done(done())),
            Err(e) if is_code(&e, &[409, 422]) => {}
            Err(e) if is_code(&e, &[404]) => return Ok(Injected::Gone("it is gone".to_owned())),
            Err(e) => return Err(FaultError::api(format!("change {target}"))(e)),
        }
    }
    Err(FaultError::State(format!("{target} changed each of the {PATCHES} times that it was about to be changed")))
}

fn injection(held: Held, found: &Found, old: &Value, new: &Value, text: &str) -> Value {
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": found.uid()}),
        json!({"op": "test", "path": held.pointer(), "value": old}),
    ];
    if found.0.pointer("/metadata/annotations").is_some_and(Value::is_object) {
        patch.push(json!({"op": "add", "path": NOTE_POINTER, "value": text}));
    } else {
        let version = found.text("/metadata/resourceVersion");
        patch.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}));
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": BTreeMap::from([(NOTE, text)])}));
    }
    patch.push(json!({"op": "replace", "path": held.pointer(), "value": new}));
    Value::Array(patch)
}

/// Takes the change back, where it still stands.
pub(super) async fn undo(cx: &Acting<'_>, target: &Target, change: &Change) -> Result<Undo, FaultError> {
    let held = Held::of(&target.kind);
    for _ in 0..PATCHES {
        let Some(found) = current(cx, target).await? else {
            return Ok(Undo::Nothing("it is gone, or another has its name now".to_owned()));
        };
        let note = found.note();
        let ours = note.filter(|text| OnObject::is_ours(cx, text));
        let (new, outcome) = match held {
            Held::Replicas => replicas_back(&found, change, ours.is_some()),
            Held::Corefile => corefile_back(&found, change, ours.is_some())?,
        };
        let mut patch = vec![json!({"op": "test", "path": "/metadata/uid", "value": found.uid()})];
        if let Some(text) = ours {
            patch.push(json!({"op": "test", "path": NOTE_POINTER, "value": text}));
            patch.push(json!({"op": "remove", "path": NOTE_POINTER}));
        }
        if let Some(old) = found.0.pointer(held.pointer()).filter(|_| new.is_some() || ours.is_some()) {
            patch.push(json!({"op": "test", "path": held.pointer(), "value": old}));
        }
        patch.extend(new.map(|new| json!({"op": "replace", "path": held.pointer(), "value": new})));
        if patch.len() == 1 {
            return Ok(outcome);
        }
        match send(cx, target, &Value::Array(patch)).await {
            Ok(()) => return Ok(outcome),
            Err(e) if is_code(&e, &[409, 422]) => {}
            Err(e) if is_code(&e, &[404]) => return Ok(Undo::Nothing("it is gone".to_owned())),
            Err(e) => return Err(FaultError::api(format!("give {target} its own back"))(e)),
        }
    }
    Err(FaultError::State(format!("{target} changed each of the {PATCHES} times that it was about to be changed back")))
}

/// The number of replicas to write, and what that comes to. Without our note nothing is written: nobody can tell whose a number is.
fn replicas_back(found: &Found, change: &Change, ours: bool) -> (Option<Value>, Undo) {
    let (now, previous, injected) = (found.replicas(), &change.previous, &change.injected);
    if ours && *injected == now {
        return (Some(previous.clone()), Undo::Undone(format!("scaled back from {injected} to {previous}")));
    }
    if !ours && *previous == now {
        return (None, Undo::Nothing(format!("it has its {previous} replicas and no note of ours")));
    }
    let words = if ours {
        format!(
            "somebody set it to {now} replicas after we had set it to {injected} from {previous}: {now} stays, our note is gone"
        )
    } else {
        format!(
            "it has {now} replicas and no note of ours; it had {previous} before and we meant {injected}: {now} stays"
        )
    };
    (None, Undo::Conflict(words))
}

/// The Corefile to write, and what that comes to. Our piece names its run, so that it is ours without a note too.
fn corefile_back(found: &Found, change: &Change, ours: bool) -> Result<(Option<Value>, Undo), FaultError> {
    let is_previous = |text: &str| change.previous == sha256(text);
    Ok(match removed(found.corefile(), change.piece()) {
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
        Removed::Absent if !ours && is_previous(found.corefile()) => {
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

/// The undo notes of this fault on the objects of one kind. Reads their metadata only.
pub(super) async fn notes_on<K>(
    cluster: &Cluster,
    namespace: Option<&str>,
    kind: &str,
) -> Result<Vec<(Left, Change)>, FaultError>
where
    K: kube::Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api = namespace.map_or_else(|| cluster.all::<K>(), |namespace| cluster.api::<K>(namespace));
    let mut params = ListParams::default().limit(PAGE);
    let mut left = Vec::new();
    loop {
        let page =
            retried(|| api.list_metadata(&params)).await.map_err(FaultError::api(format!("list the {kind}s")))?;
        left.extend(page.items.iter().filter_map(|object| note_on(&object.metadata, kind)));
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(left),
        }
    }
}

/// The note on one object; `None` without one, or when another fault left it.
fn note_on(meta: &kube::core::ObjectMeta, kind: &str) -> Option<(Left, Change)> {
    let note: OnObject = serde_json::from_str(meta.annotations.as_ref()?.get(NOTE)?).ok()?;
    let change = Change { previous: note.previous, injected: note.injected };
    (note.fault == CoreDns::ABOUT.key).then(|| {
        let target = Target {
            kind: kind.to_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            node: None,
            zone: None,
            owner: None,
            instance: None,
        };
        let left =
            Left { run: note.run, state: note.state, step: note.step, fault: note.fault, target, note: Value::Null };
        (left, change)
    })
}

#[cfg(test)]
mod tests;
