//! Copies of an undo note that Kubernetes makes.
//!
//! A Deployment's controller copies all its annotations to its `ReplicaSets`, and never removes one. `kubectl rollout undo` copies them
//! back: a note that was taken off the Deployment would return, and keep later runs away. So it is taken off the `ReplicaSets` too.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{Api, ListParams, PartialObjectMeta};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::contract::{Acting, FaultError, Permission};
use super::held::{Found, NOTE, NOTE_POINTER, current, failed_test};
use super::kube::{PAGE, retried, write};
use crate::cluster::status_of;
use crate::record::Target;

/// How long the controller may take to see that the note is gone: until then it would copy the note again.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// What taking the copies away needs, in the Deployment's namespace.
pub(super) fn permissions(namespace: &str) -> [Permission; 2] {
    ["list", "patch"].map(|verb| Permission {
        group: "apps",
        resource: "replicasets",
        verb,
        namespace: Some(namespace.to_owned()),
        why: "take off the copies of our undo note that the Deployment's controller makes",
        kind: None,
    })
}

/// Takes the note off the `ReplicaSets` of a Deployment from which it was taken. What stays, in words, where we may not.
pub(super) async fn remove(cx: &Acting<'_>, target: &Target) -> Result<Option<String>, FaultError> {
    if target.kind != "deployment" {
        return Ok(None);
    }
    seen(cx, target).await?;
    let sets: Api<ReplicaSet> = cx.cluster.api(&target.namespace);
    let mut params = ListParams::default().limit(PAGE);
    let mut kept = None;
    loop {
        let page = match retried(|| sets.list_metadata(&params)).await {
            Ok(page) => page,
            Err(e) if is_forbidden(&e) => return Ok(Some("its ReplicaSets may not be listed".to_owned())),
            Err(e) => return Err(FaultError::api("list the replicasets")(e)),
        };
        for set in page.items.iter().filter(|set| is_of(set, target)) {
            kept = take_off(cx, target, set).await?.or(kept);
        }
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(kept),
        }
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    status_of(error).is_some_and(|status| status.code == 403)
}

fn is_of(set: &PartialObjectMeta<ReplicaSet>, target: &Target) -> bool {
    set.metadata.owner_references.iter().flatten().any(|owner| owner.uid == target.uid)
}

/// Waits until the controller has seen the Deployment as it is.
async fn seen(cx: &Acting<'_>, target: &Target) -> Result<(), FaultError> {
    let has_seen = |found: &Found| {
        let number = |path: &str| found.0.pointer(path).and_then(Value::as_i64).unwrap_or(0);
        number("/status/observedGeneration") >= number("/metadata/generation")
    };
    let wait = async {
        loop {
            match current(cx, target).await? {
                Some(found) if !has_seen(&found) => sleep(LOOK).await,
                _ => return Ok(()),
            }
        }
    };
    // A controller that stands still copies nothing either, and must not keep the undo from ending.
    tokio::time::timeout(SEEN_WITHIN, wait).await.unwrap_or(Ok(()))
}

/// Takes our note off one ReplicaSet, if it is there.
async fn take_off(
    cx: &Acting<'_>,
    target: &Target,
    set: &PartialObjectMeta<ReplicaSet>,
) -> Result<Option<String>, FaultError> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let Some(text) = set.metadata.annotations.as_ref().and_then(|all| all.get(NOTE)) else { return Ok(None) };
    let run: Option<Value> = serde_json::from_str(text).ok();
    if run.and_then(|note| Some(note.get("run")?.as_str()? == cx.run)) != Some(true) {
        return Ok(None);
    }
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": set.metadata.uid},
        {"op": "test", "path": NOTE_POINTER, "value": text},
        {"op": "remove", "path": NOTE_POINTER},
    ]);
    let set_path = format!("/apis/apps/v1/namespaces/{}/replicasets/{name}", target.namespace);
    let kind = "application/json-patch+json";
    match retried(|| write::<Value>(cx.cluster, http::Method::PATCH, &set_path, false, kind, &patch)).await {
        Ok(_) => Ok(None),
        // Gone, or without our note by now.
        Err(e) if failed_test(&e) || status_of(&e).is_some_and(|status| status.code == 404) => Ok(None),
        Err(e) if is_forbidden(&e) => Ok(Some(format!("a copy of our undo note stays on replicaset/{name}"))),
        Err(e) => Err(FaultError::api(format!("patch replicaset/{name}"))(e)),
    }
}
