//! Copies of an undo note that Kubernetes makes.
//!
//! A Deployment's controller copies all its annotations to its `ReplicaSets`, and never removes one. `kubectl rollout undo` copies them
//! back: a note that was taken off the Deployment would return, and keep later runs away. So it is taken off the `ReplicaSets` too.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{Api, PartialObjectMeta};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::contract::{Acting, FaultError, Permission};
use super::held::{Found, NOTE, NOTE_POINTER, current};
use super::kube::{metadata_by_page, retried, write};
use crate::cluster::status_of;
use crate::record::Target;

/// How long the controller may take to see that the note is gone: until then it would copy the note again.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// From one pass over the copies to the next: more than a watch of the controller is behind, unless it stands still.
const AGAIN: Duration = Duration::from_millis(500);
/// Passes at most: a controller that copies the note again each time is none that we can wait for.
const PASSES: u32 = 5;

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

/// What was found of the copies.
#[derive(Debug, Default)]
struct Copies {
    /// One was taken off.
    taken: bool,
    /// What stays, in words.
    kept: Option<String>,
}

/// Takes the note off the `ReplicaSets` of a Deployment from which it was taken. What stays, in words, where we may not.
/// `by_generation`: its spec changed with the note, so that its status tells when the controller has seen both.
pub(super) async fn remove(
    cx: &Acting<'_>,
    target: &Target,
    by_generation: bool,
) -> Result<Option<String>, FaultError> {
    if target.kind != "deployment" {
        return Ok(None);
    }
    seen(cx, target).await?;
    let mut copies = pass(cx, target).await?;
    // Where only the note went, no generation tells that the controller has seen it: it looks at what we just did to a ReplicaSet, and
    // may do so with an older Deployment in its cache. So another look follows, until one finds nothing.
    for _ in 1..PASSES {
        if by_generation || !copies.taken {
            break;
        }
        sleep(AGAIN).await;
        copies = pass(cx, target).await?;
    }
    let returns = || {
        (copies.taken && !by_generation)
            .then(|| "a copy of our undo note on a ReplicaSet comes back each time".to_owned())
    };
    Ok(copies.kept.or_else(returns))
}

/// Looks at each `ReplicaSet` of the Deployment once, and takes our note off.
async fn pass(cx: &Acting<'_>, target: &Target) -> Result<Copies, FaultError> {
    let sets: Api<ReplicaSet> = cx.cluster.api(&target.namespace);
    let (mut own, mut copies) = (Vec::new(), Copies::default());
    match metadata_by_page(&sets, |page| own.extend(page.into_iter().filter(|set| is_of(set, target)))).await {
        Ok(()) => {}
        Err(e) if is_forbidden(&e) => {
            copies.kept = Some("its ReplicaSets may not be listed".to_owned());
            return Ok(copies);
        }
        Err(e) => return Err(FaultError::api("list the replicasets")(e)),
    }
    for set in &own {
        take_off(cx, target, set, &mut copies).await?;
    }
    Ok(copies)
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
    copies: &mut Copies,
) -> Result<(), FaultError> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let Some(text) = set.metadata.annotations.as_ref().and_then(|all| all.get(NOTE)) else { return Ok(()) };
    let run: Option<Value> = serde_json::from_str(text).ok();
    if run.and_then(|note| Some(note.get("run")?.as_str()? == cx.run)) != Some(true) {
        return Ok(());
    }
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": set.metadata.uid},
        {"op": "test", "path": NOTE_POINTER, "value": text},
        {"op": "remove", "path": NOTE_POINTER},
    ]);
    let set_path = format!("/apis/apps/v1/namespaces/{}/replicasets/{name}", target.namespace);
    let kind = "application/json-patch+json";
    match retried(|| write::<Value>(cx.cluster, http::Method::PATCH, &set_path, false, kind, &patch)).await {
        Ok(_) => copies.taken = true,
        // Gone, or without our note by now. A conflict says neither: our note may still be there, and the undo tries again.
        Err(e) if status_of(&e).is_some_and(|status| matches!(status.code, 404 | 422)) => {}
        Err(e) if is_forbidden(&e) => {
            copies.kept = Some(format!("a copy of our undo note stays on replicaset/{name}"));
        }
        Err(e) => return Err(FaultError::api(format!("patch replicaset/{name}"))(e)),
    }
    Ok(())
}
