//! Deletion as the API server does it: gracefully where it concerns a pod, and not before the last finalizer is gone.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::is_finished;
use crate::lab::store::{KINDS, Object, ObjectKey, Store, number_of};
use crate::lab::world::World;

/// How long a pod has to end that says nothing of it, in seconds.
const GRACE: i64 = 30;

/// What became of a deletion.
#[derive(Debug, Clone)]
pub(in crate::lab) enum Deleted {
    /// It is gone; this is what it last was.
    Gone(Arc<Object>),
    /// It goes as soon as its kubelet or its finalizers let it.
    Leaving(Arc<Object>),
    /// There is none.
    NotFound,
}

/// Deletes an object; what it owns is left to garbage collection. `grace` in seconds counts for pods only: `None` is the pod's own.
pub(in crate::lab) fn delete(world: &mut World, kind: usize, key: &ObjectKey, grace: Option<i64>) -> Deleted {
    delete_holding(world, kind, key, grace, None)
}

/// The same where the deletion also says which finalizers the object has from then on.
pub(in crate::lab) fn delete_holding(
    world: &mut World,
    kind: usize,
    key: &ObjectKey,
    grace: Option<i64>,
    finalizers: Option<&[String]>,
) -> Deleted {
    let Some(object) = world.store.object(kind, key).cloned() else { return Deleted::NotFound };
    if let Some(pod) = object.typed::<Pod>() {
        return delete_pod(world, &object, &pod, grace, finalizers);
    }
    if !is_held(&world.store, &object, finalizers) {
        return world.store.remove(kind, key).map_or(Deleted::NotFound, Deleted::Gone);
    }
    let now = world.time();
    let until = if object.is_leaving() { None } else { Some((&now, 0)) };
    Deleted::Leaving(mark(&mut world.store, &object, until, finalizers))
}

/// Takes an object away that was asked to leave, once nothing holds it any more; of a pod also its kubelet must have let it go.
pub(in crate::lab) fn finalize(world: &mut World, kind: usize, key: &ObjectKey) {
    let Some(object) = world.store.object(kind, key) else { return };
    let grace = object.meta().deletion_grace_period_seconds.unwrap_or(0);
    if object.is_leaving() && grace == 0 && !is_held(&world.store, object, None) {
        world.store.remove(kind, key);
    }
}

fn delete_pod(
    world: &mut World,
    object: &Arc<Object>,
    pod: &Pod,
    grace: Option<i64>,
    finalizers: Option<&[String]>,
) -> Deleted {
    let object = match deadline(pod, grace, world.time().0) {
        Asked::Before => return Deleted::Leaving(mark(&mut world.store, object, None, finalizers)),
        Asked::Now(deadline, seconds) => mark(&mut world.store, object, Some((&Time(deadline), seconds)), finalizers),
        Asked::Over => mark(&mut world.store, object, None, finalizers),
    };
    let seconds = object.meta().deletion_grace_period_seconds;
    if seconds.is_some_and(|seconds| seconds > 0) || is_held(&world.store, &object, None) {
        return Deleted::Leaving(object);
    }
    world.store.remove(object.kind, &object.key).map_or(Deleted::NotFound, Deleted::Gone)
}

/// What a request to delete a pod comes to.
enum Asked {
    /// Nothing: it is leaving, and no later than asked.
    Before,
    /// It leaves until then, after so many seconds.
    Now(Timestamp, i64),
    /// Its time is over.
    Over,
}

fn deadline(pod: &Pod, grace: Option<i64>, now: Timestamp) -> Asked {
    let after = |time: Timestamp, seconds: i64| time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(time);
    if let Some(Time(until)) = pod.metadata.deletion_timestamp {
        let before = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        return match grace {
            _ if before == 0 => Asked::Over,
            Some(shorter) if shorter < before => Asked::Now(after(until, shorter - before), shorter),
            _ => Asked::Before,
        };
    }
    let spec = pod.spec.as_ref();
    let own = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(GRACE);
    let bound = spec.and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty());
    let seconds = match grace.unwrap_or(own) {
        // Nothing runs that could end.
        _ if !bound || is_finished(pod) => 0,
        negative if negative < 0 => 1,
        seconds => seconds,
    };
    Asked::Now(after(now, seconds), seconds)
}

/// Writes down that an object is to leave, after so many seconds at a time, and what holds it until then.
fn mark(
    store: &mut Store,
    object: &Arc<Object>,
    until: Option<(&Time, i64)>,
    finalizers: Option<&[String]>,
) -> Arc<Object> {
    let change = |meta: &mut ObjectMeta| {
        if let Some(finalizers) = finalizers {
            meta.finalizers = Some(finalizers.to_vec()).filter(|finalizers| !finalizers.is_empty());
        }
        if let Some((until, seconds)) = until {
            meta.deletion_timestamp = Some(until.clone());
            meta.deletion_grace_period_seconds = Some(seconds);
        }
    };
    if object.kind == number_of::<Namespace>() && until.is_some() {
        store.update::<Namespace>("", &object.key.name, |namespace| {
            change(&mut namespace.metadata);
            namespace.status.get_or_insert_default().phase = Some("Terminating".to_owned());
        });
    } else {
        store.update_meta(object, change);
    }
    Arc::clone(store.object(object.kind, &object.key).unwrap_or(object))
}

/// Whether finalizers keep an object, its own or those that it is to have, or, of a namespace, what is in it.
fn is_held(store: &Store, object: &Object, finalizers: Option<&[String]>) -> bool {
    let inside = || {
        let mut kinds = KINDS.iter().enumerate().filter(|(_, kind)| kind.namespaced);
        kinds.any(|(number, _)| store.objects(number, Some(&object.key.name)).next().is_some())
    };
    !finalizers.unwrap_or(object.finalizers()).is_empty() || (object.kind == number_of::<Namespace>() && inside())
}
