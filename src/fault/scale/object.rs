//! The workload on the API: what is read of it, the patch that harms it with its undo note, and the decision what to take back.

use std::collections::BTreeMap;

use kube::api::ListParams;
use kube::core::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cluster::{Cluster, status_of};
use crate::fault::contract::{Acting, Effect, Fault as _, FaultError, Left, Undo};
use crate::fault::kube::{PAGE, retried, write};
use crate::record::Target;

/// Where the undo note stands on the object.
const NOTE: &str = "squall.dev/undo";
/// The same as a JSON pointer.
const NOTE_POINTER: &str = "/metadata/annotations/squall.dev~1undo";

/// What taking it back needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleNote {
    pub(super) previous: i64,
    pub(super) injected: i64,
}

/// The note on the object itself: any machine that finds it can tell what was done, by whom, and what to put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OnObject {
    pub(super) run: String,
    #[serde(default)]
    state: String,
    step: String,
    fault: String,
    previous: i64,
    injected: i64,
}

impl OnObject {
    pub(super) fn text(cx: &Acting<'_>, note: &ScaleNote) -> String {
        // A run id, a namespace and a step's name (63 bytes each) and two numbers: far below the 4 KiB that a note may take.
        json!({"run": cx.run, "state": cx.state, "step": cx.step, "fault": super::Scale::ABOUT.key, "previous": note.previous, "injected": note.injected})
            .to_string()
    }
}

/// The undo notes of this fault on the objects of one kind. Reads their metadata only.
pub(super) async fn notes_on<K>(cluster: &Cluster, namespace: Option<&str>, kind: &str) -> Result<Vec<Left>, FaultError>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
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
fn note_on(meta: &ObjectMeta, kind: &str) -> Option<Left> {
    let note: OnObject = serde_json::from_str(meta.annotations.as_ref()?.get(NOTE)?).ok()?;
    (note.fault == super::Scale::ABOUT.key).then(|| Left {
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

/// What of the workload matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) generation: i64,
    pub(super) observed: i64,
    pub(super) replicas: i64,
    pub(super) reported: i64,
    pub(super) annotated: bool,
    pub(super) note: Option<String>,
}

impl Found {
    pub(super) fn of(object: &Value) -> Self {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |path: &str| object.pointer(path).and_then(Value::as_i64);
        Self {
            uid: text("/metadata/uid"),
            resource_version: text("/metadata/resourceVersion"),
            generation: number("/metadata/generation").unwrap_or(0),
            observed: number("/status/observedGeneration").unwrap_or(0),
            // The API server fills in its default of one.
            replicas: number("/spec/replicas").unwrap_or(1),
            reported: number("/status/replicas").unwrap_or(0),
            annotated: object.pointer("/metadata/annotations").is_some_and(Value::is_object),
            note: object.pointer(NOTE_POINTER).and_then(Value::as_str).map(ToOwned::to_owned),
        }
    }

    pub(super) fn reached(&self, wanted: i64) -> Effect {
        if self.observed < self.generation {
            return Effect::NotYet("its controller has not seen the change".to_owned());
        }
        if self.replicas != wanted {
            return Effect::NotYet(format!("somebody set it to {} replicas", self.replicas));
        }
        if self.reported == wanted {
            return Effect::Seen(format!("it reports {wanted} replicas"));
        }
        Effect::NotYet(format!("it reports {} replicas", self.reported))
    }
}

/// The path of a `kind/name`.
pub(super) fn path(workload: &str, namespace: &str) -> String {
    let (kind, name) = workload.split_once('/').unwrap_or_default();
    format!("/apis/apps/v1/namespaces/{namespace}/{kind}s/{name}")
}

/// Reads a workload; `None` when there is none of this name.
pub(super) async fn read(cluster: &Cluster, workload: &str, namespace: &str) -> Result<Option<Found>, kube::Error> {
    let path = path(workload, namespace);
    let answer = retried(|| async {
        let request = http::Request::get(&path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        cluster.client().request::<Value>(request).await
    })
    .await;
    match answer {
        Ok(object) => Ok(Some(Found::of(&object))),
        Err(e) if status_of(&e).is_some_and(|s| s.code == 404) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads the target; `None` when it is gone or when another object has its name.
pub(super) async fn current(cx: &Acting<'_>, target: &Target) -> Result<Option<Found>, FaultError> {
    let found = read(cx.cluster, &target.to_string(), &target.namespace)
        .await
        .map_err(FaultError::api(format!("get {target}")))?;
    Ok(found.filter(|found| found.uid == target.uid))
}

pub(super) async fn send(cx: &Acting<'_>, target: &Target, patch: &Value) -> Result<(), kube::Error> {
    let place = path(&target.to_string(), &target.namespace);
    write::<Value>(cx.cluster, http::Method::PATCH, &place, false, "application/json-patch+json", patch).await?;
    Ok(())
}

/// Whether a test of the patch failed: the object is no longer what was read.
pub(super) fn failed_test(error: &kube::Error) -> bool {
    status_of(error).is_some_and(|status| matches!(status.code, 409 | 422))
}

/// The harm and its note in one patch.
///
/// A JSON patch can add a key to `annotations` only where that map exists, and to add the map itself would wipe out annotations that
/// somebody else wrote since it was read. So, where the object has none, the patch also tests `resourceVersion`, which changes with
/// every write; a failed test means to read again. (A test for `null` would be shorter, but JSON patch leaves open whether a missing
/// field equals it.)
pub(super) fn injection(found: &Found, note: &ScaleNote, text: &str) -> Value {
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": found.uid}),
        json!({"op": "test", "path": "/spec/replicas", "value": note.previous}),
    ];
    if found.annotated {
        patch.push(json!({"op": "add", "path": NOTE_POINTER, "value": text}));
    } else {
        patch.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": found.resource_version}));
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": BTreeMap::from([(NOTE, text)])}));
    }
    patch.push(json!({"op": "replace", "path": "/spec/replicas", "value": note.injected}));
    Value::Array(patch)
}

/// What an undo does with what it finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing is written.
    Leave(Undo),
    /// This is written, and then that is the outcome.
    Patch(Value, Undo),
}

pub(super) fn decide(cx: &Acting<'_>, found: &Found, note: &ScaleNote) -> Decision {
    let (now, previous, injected) = (found.replicas, note.previous, note.injected);
    let Some(text) = &found.note else {
        return Decision::Leave(if now == previous {
            Undo::Nothing(format!("it has its {previous} replicas and no note of ours"))
        } else {
            Undo::Conflict(format!(
                "it has {now} replicas and no note of ours; it had {previous} before and we meant {injected}: {now} stays"
            ))
        });
    };
    let ours = serde_json::from_str::<OnObject>(text).is_ok_and(|n| n.run == cx.run && n.step == cx.step);
    if !ours {
        return Decision::Leave(Undo::Conflict(format!(
            "it carries the undo note of another run, which stays: {text}"
        )));
    }
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": found.uid}),
        json!({"op": "test", "path": NOTE_POINTER, "value": text}),
        json!({"op": "test", "path": "/spec/replicas", "value": now}),
        json!({"op": "remove", "path": NOTE_POINTER}),
    ];
    if now != injected {
        let words = format!(
            "somebody set it to {now} replicas after we had set it to {injected} from {previous}: {now} stays, our note is gone"
        );
        return Decision::Patch(Value::Array(patch), Undo::Conflict(words));
    }
    patch.push(json!({"op": "replace", "path": "/spec/replicas", "value": previous}));
    Decision::Patch(Value::Array(patch), Undo::Undone(format!("scaled back from {injected} to {previous}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(replicas: i64, note: Option<&str>) -> Value {
        let mut object = json!({
            "metadata": {"uid": "u", "resourceVersion": "7", "generation": 2, "annotations": {"team": "shop"}},
            "spec": {"replicas": replicas},
            "status": {"observedGeneration": 2, "replicas": replicas},
        });
        if let Some(note) = note {
            object["metadata"]["annotations"][NOTE] = json!(note);
        }
        object
    }

    fn apply(object: &Value, patch: &Value) -> Result<Value, json_patch::PatchError> {
        let mut object = object.clone();
        let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
        json_patch::patch(&mut object, &patch).map(|()| object)
    }

    const NOTED: ScaleNote = ScaleNote { previous: 3, injected: 0 };

    fn with_acting(run: &str, check: impl FnOnce(&Acting<'_>)) {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::empty()))
        });
        let client = kube::Client::new(service, "default");
        let cluster = Cluster::new(client, crate::record::ClusterId::default());
        check(&Acting { cluster: &cluster, run, state: "squall", step: "hold" });
    }

    #[tokio::test]
    async fn the_undo_puts_the_object_back_byte_by_byte() {
        with_acting("r1", |cx| {
            let before = object(3, None);
            let text = OnObject::text(cx, &NOTED);
            let harmed = apply(&before, &injection(&Found::of(&before), &NOTED, &text)).unwrap();
            assert_eq!(harmed["spec"]["replicas"], 0);
            assert_eq!(Found::of(&harmed).note.as_deref(), Some(text.as_str()));
            let Decision::Patch(patch, Undo::Undone(_)) = decide(cx, &Found::of(&harmed), &NOTED) else { panic!() };
            let after = apply(&harmed, &patch).unwrap();
            assert_eq!(after, before);
            assert!(
                matches!(decide(cx, &Found::of(&after), &NOTED), Decision::Leave(Undo::Nothing(_))),
                "twice is once"
            );
            assert!(apply(&after, &patch).is_err(), "the patch itself can't be applied twice");
        });
    }

    #[tokio::test]
    async fn a_change_between_reading_and_patching_fails_the_patch() {
        with_acting("r1", |cx| {
            let text = OnObject::text(cx, &NOTED);
            let patch = injection(&Found::of(&object(3, None)), &NOTED, &text);
            assert!(apply(&object(4, None), &patch).is_err());
            let mut other = object(3, None);
            other["metadata"]["uid"] = json!("another");
            assert!(apply(&other, &patch).is_err());
        });
    }

    #[tokio::test]
    async fn annotations_that_appear_meanwhile_are_not_wiped_out() {
        with_acting("r1", |cx| {
            let mut bare = object(3, None);
            bare["metadata"].as_object_mut().unwrap().remove("annotations");
            let text = OnObject::text(cx, &NOTED);
            let patch = injection(&Found::of(&bare), &NOTED, &text);
            assert_eq!(Found::of(&apply(&bare, &patch).unwrap()).note.as_deref(), Some(text.as_str()));
            let mut meanwhile = bare.clone();
            meanwhile["metadata"]["annotations"] = json!({"theirs": "1"});
            meanwhile["metadata"]["resourceVersion"] = json!("8");
            assert!(apply(&meanwhile, &patch).is_err());
        });
    }

    #[tokio::test]
    async fn theirs_stays_and_our_note_goes() {
        with_acting("r1", |cx| {
            let ours = object(5, Some(&OnObject::text(cx, &NOTED)));
            let Decision::Patch(patch, Undo::Conflict(words)) = decide(cx, &Found::of(&ours), &NOTED) else { panic!() };
            assert_eq!(apply(&ours, &patch).unwrap(), object(5, None));
            assert!(words.contains("set it to 5") && words.contains("to 0 from 3"), "{words}");
        });
    }

    #[tokio::test]
    async fn the_note_of_another_run_is_left_alone() {
        let mut text = String::new();
        with_acting("r2", |cx| text = OnObject::text(cx, &NOTED));
        with_acting("r1", |cx| {
            let found = Found::of(&object(0, Some(&text)));
            assert!(matches!(decide(cx, &found, &NOTED), Decision::Leave(Undo::Conflict(_))));
            let broken = Found::of(&object(0, Some("not ours")));
            assert!(matches!(decide(cx, &broken, &NOTED), Decision::Leave(Undo::Conflict(_))));
        });
    }

    #[tokio::test]
    async fn without_a_note_nothing_is_written() {
        with_acting("r1", |cx| {
            assert!(matches!(decide(cx, &Found::of(&object(3, None)), &NOTED), Decision::Leave(Undo::Nothing(_))));
            assert!(matches!(decide(cx, &Found::of(&object(5, None)), &NOTED), Decision::Leave(Undo::Conflict(_))));
        });
    }

    #[test]
    fn the_effect_is_the_controllers_word() {
        let mut found = Found::of(&object(0, None));
        assert!(matches!(found.reached(0), Effect::Seen(_)));
        found.reported = 2;
        assert!(matches!(found.reached(0), Effect::NotYet(_)));
        found.reported = 0;
        found.observed = 1;
        assert!(matches!(found.reached(0), Effect::NotYet(_)), "an older status says nothing");
    }
}
