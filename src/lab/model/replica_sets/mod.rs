//! The ReplicaSet controller: as many pods of a template as are asked for.

#[cfg(test)]
mod tests;
mod victims;

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::objects::{
    Selection, available_in, claim, count, create_pod, delete, is_active, is_available, is_ready, key_of,
    notice_owners, owner_reference, unless_zero,
};
use super::{Controller, Task};
use crate::lab::store::{Change, ObjectKey, Refused, number_of};
use crate::lab::world::World;

/// The most pods that are created or deleted at once.
const BURST: usize = 500;
/// When a creation is tried again that failed.
const RETRY: Duration = Duration::from_secs(1);

pub(super) fn observe(world: &mut World, change: &Change) {
    if let Some(set) = change.now::<ReplicaSet>() {
        // Its own writes of the status change nothing about what is to be done.
        let same = |was: &ReplicaSet| was.spec == set.spec && was.metadata.generation == set.metadata.generation;
        if change.was::<ReplicaSet>().is_none_or(|was| !same(&was)) {
            world.notice(Controller::ReplicaSets, change.object().key.clone());
        }
    }
    notice_owners::<Pod, ReplicaSet>(world, change, Controller::ReplicaSets, |set| Some(&set.spec.as_ref()?.selector));
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let Some(set) = world.store.get::<ReplicaSet>(&key.namespace, &key.name) else { return };
    let Some(spec) = &set.spec else { return };
    let others = world.store.orphans(&key.namespace);
    let mut pods = claim(world, &*set, &spec.selector, others, |_| true);
    pods.retain(|pod| is_active(pod));
    let failure = if set.metadata.deletion_timestamp.is_none() { manage(world, &set, spec, &pods) } else { None };
    if failure.is_some() {
        world.later(RETRY, Task::Reconcile(Controller::ReplicaSets, key.clone()));
    }
    report(world, &set, spec, &pods, failure);
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    if let Some(next) = available_in(&pods, min_ready, world.wall()) {
        world.later(next, Task::Reconcile(Controller::ReplicaSets, key.clone()));
    }
}

/// Creates what lacks and deletes what is too many. What the API server refused, with the condition's reason for it.
fn manage(
    world: &mut World,
    set: &ReplicaSet,
    spec: &ReplicaSetSpec,
    pods: &[Arc<Pod>],
) -> Option<(&'static str, Refused)> {
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    match pods.len().cmp(&wanted) {
        Ordering::Equal => {}
        Ordering::Less => {
            let lacking = (wanted - pods.len()).min(BURST);
            let refused = create(world, set, spec, lacking).err()?;
            return Some(("FailedCreate", refused));
        }
        Ordering::Greater => {
            let surplus = (pods.len() - wanted).min(BURST);
            for victim in victims::choose(world, set, pods, surplus) {
                delete(world, number_of::<Pod>(), &key_of(&victim.metadata), None);
            }
        }
    }
    None
}

/// In batches that double. All are sent within one of them; after one with a failure none follows.
fn create(world: &mut World, set: &ReplicaSet, spec: &ReplicaSetSpec, mut lacking: usize) -> Result<(), Refused> {
    let template = spec.template.clone().unwrap_or_default();
    let namespace = set.metadata.namespace.clone().unwrap_or_default();
    let mut batch = 1;
    while lacking > 0 {
        let size = batch.min(lacking);
        let tried: Vec<_> =
            (0..size).map(|_| create_pod(world, &namespace, &template, owner_reference(set), |_| ())).collect();
        for outcome in tried {
            match outcome {
                // Nothing can be created in a namespace that ends: that is no failure of this set.
                Err(refused) if !refused.message.contains("because it is being terminated") => return Err(refused),
                _ => {}
            }
        }
        lacking -= size;
        batch *= 2;
    }
    Ok(())
}

fn report(
    world: &mut World,
    set: &ReplicaSet,
    spec: &ReplicaSetSpec,
    pods: &[Arc<Pod>],
    failure: Option<(&'static str, Refused)>,
) {
    let (now, min_ready) = (world.wall(), spec.min_ready_seconds.unwrap_or(0));
    let labels = spec.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.clone());
    let full = Selection::of_labels(labels);
    let before = set.status.clone().unwrap_or_default();
    let status = ReplicaSetStatus {
        replicas: count(pods),
        fully_labeled_replicas: unless_zero(count(pods.iter().filter(|pod| full.takes(&pod.metadata)))),
        ready_replicas: unless_zero(count(pods.iter().filter(|pod| is_ready(pod)))),
        available_replicas: unless_zero(count(pods.iter().filter(|pod| is_available(pod, min_ready, now)))),
        observed_generation: set.metadata.generation,
        conditions: conditions(world, before.conditions.clone(), failure),
        terminating_replicas: None,
    };
    if set.status.as_ref() != Some(&status) {
        let key = key_of(&set.metadata);
        world.store.update::<ReplicaSet>(&key.namespace, &key.name, |set| set.status = Some(status));
    }
}

/// `ReplicaFailure` is there as long as creation fails; it is not written anew for every attempt.
fn conditions(
    world: &World,
    before: Option<Vec<ReplicaSetCondition>>,
    failure: Option<(&'static str, Refused)>,
) -> Option<Vec<ReplicaSetCondition>> {
    let (mut failures, mut others): (Vec<_>, Vec<_>) =
        before.into_iter().flatten().partition(|condition| condition.type_ == "ReplicaFailure");
    if let Some((reason, refused)) = failure {
        let condition = failures.pop().unwrap_or_else(|| ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(refused.message),
            last_transition_time: Some(world.time()),
        });
        others.push(condition);
    }
    (!others.is_empty()).then_some(others)
}
