//! The Deployment controller: from one ReplicaSet to the next, within the bounds of its strategy.

mod scaling;
mod sets;
mod status;
mod strategies;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Controller;
use super::objects::{claim, key_of, notice_owners, scaled};
use crate::lab::store::{Change, ObjectKey, controller_of};
use crate::lab::world::World;

/// The ReplicaSet's and the Deployment's own number of a revision.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The revisions that a ReplicaSet was before.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many replicas the Deployment had when the ReplicaSet was last scaled.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The same and the surge.
const MOST: &str = "deployment.kubernetes.io/max-replicas";
/// The label by which `ReplicaSets` of one Deployment differ.
const HASH: &str = "pod-template-hash";

pub(super) fn observe(world: &mut World, change: &Change) {
    if change.now::<Deployment>().is_some() {
        world.notice(Controller::Deployments, change.object().key.clone());
    }
    notice_owners::<ReplicaSet, Deployment>(world, change, Controller::Deployments, |deployment| {
        Some(&deployment.spec.as_ref()?.selector)
    });
    if let (Some(pod), None) = (change.was::<Pod>(), &change.after) {
        notice_recreated(world, &pod);
    }
}

/// Where all pods are to end before the next begin, the end of each counts.
fn notice_recreated(world: &mut World, pod: &Pod) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let Some(owner) = controller_of(pod.metadata.owner_references.as_ref()) else { return };
    let Some(set) = world.store.get::<ReplicaSet>(namespace, &owner.name) else { return };
    let Some(owner) = controller_of(set.metadata.owner_references.as_ref()) else { return };
    let deployment = world.store.get::<Deployment>(namespace, &owner.name);
    if deployment.is_some_and(|deployment| deployment.spec.as_ref().is_some_and(is_recreate)) {
        world.notice(Controller::Deployments, ObjectKey::new(namespace, owner.name.clone()));
    }
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let Some(deployment) = world.store.get::<Deployment>(&key.namespace, &key.name) else { return };
    let Some(spec) = deployment.spec.clone() else { return };
    if spec.selector == LabelSelector::default() {
        // One that takes everything is left alone.
        let generation = deployment.metadata.generation;
        world.store.update::<Deployment>(&key.namespace, &key.name, |deployment| {
            deployment.status.get_or_insert_default().observed_generation = generation;
        });
        return;
    }
    let free = |set: &Arc<ReplicaSet>| controller_of(set.metadata.owner_references.as_ref()).is_none();
    let orphans: Vec<Arc<ReplicaSet>> = world.store.list(Some(&key.namespace)).filter(free).collect();
    let mut sets = claim(world, &*deployment, &spec.selector, orphans, |_| true);
    sets.sort_by_key(age);
    let mut rollout = Rollout { world, deployment, spec, new: None, old: sets };
    rollout.go_on();
}

/// A Deployment and its `ReplicaSets`, as they are at the moment.
struct Rollout<'w> {
    world: &'w mut World,
    deployment: Arc<Deployment>,
    spec: DeploymentSpec,
    /// The one of the Deployment's present template.
    new: Option<Arc<ReplicaSet>>,
    /// The others, the oldest first.
    old: Vec<Arc<ReplicaSet>>,
}

impl Rollout<'_> {
    fn go_on(&mut self) {
        if self.deployment.metadata.deletion_timestamp.is_some() {
            self.find_new(false);
            return self.report(false);
        }
        self.note_pause();
        let paused = self.spec.paused == Some(true);
        self.find_new(false);
        if paused || self.is_rescaled() {
            self.rescale();
            if paused {
                self.clean_up();
            }
            return self.report(false);
        }
        if is_recreate(&self.spec) { self.recreate() } else { self.roll() }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    /// The sum of what the `ReplicaSets` are asked to have.
    fn total(&self) -> i32 {
        self.all().map(|set| size(set)).sum()
    }

    fn available(&self) -> i32 {
        self.all().map(|set| reported(set, |status| status.available_replicas)).sum()
    }

    fn max_surge(&self) -> i32 {
        bounds(&self.spec).0
    }

    fn max_unavailable(&self) -> i32 {
        bounds(&self.spec).1.min(self.replicas())
    }

    fn status(&self) -> DeploymentStatus {
        self.deployment.status.clone().unwrap_or_default()
    }

    /// Changes the Deployment itself.
    fn change(&mut self, change: impl FnOnce(&mut Deployment)) {
        let key = key_of(&self.deployment.metadata);
        if let Some(changed) = self.world.store.update::<Deployment>(&key.namespace, &key.name, change) {
            self.deployment = changed;
        }
    }
}

fn is_recreate(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// How many pods there may be too many, and how many may be unavailable: they can't both be none.
fn bounds(spec: &DeploymentSpec) -> (i32, i32) {
    if is_recreate(spec) {
        return (0, 0);
    }
    let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let (quarter, replicas) = (IntOrString::String("25%".to_owned()), spec.replicas.unwrap_or(1));
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
    match (scaled(surge, replicas, true).unwrap_or(0), scaled(unavailable, replicas, false).unwrap_or(0)) {
        (0, 0) => (0, 1),
        bounds => bounds,
    }
}

/// How many pods a ReplicaSet is asked to have.
fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().map_or(0, |spec| spec.replicas.unwrap_or(1))
}

/// A number of a ReplicaSet's status.
fn reported(set: &ReplicaSet, number: impl Fn(&ReplicaSetStatus) -> Option<i32>) -> i32 {
    set.status.as_ref().and_then(number).unwrap_or(0)
}

/// The pods that a ReplicaSet says it has.
fn has(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

/// Its place in the order of creation.
fn age(set: &Arc<ReplicaSet>) -> impl Ord + use<> {
    (set.metadata.creation_timestamp.clone(), set.metadata.name.clone())
}

fn annotation<'a>(annotations: Option<&'a BTreeMap<String, String>>, name: &str) -> Option<&'a str> {
    annotations?.get(name).map(String::as_str)
}

/// A number in an annotation.
fn number<N: std::str::FromStr>(set: &ReplicaSet, name: &str) -> Option<N> {
    annotation(set.metadata.annotations.as_ref(), name)?.parse().ok()
}

/// The `ReplicaSets` that are asked for pods.
fn active<'a>(sets: impl Iterator<Item = &'a Arc<ReplicaSet>>) -> Vec<Arc<ReplicaSet>> {
    sets.filter(|set| size(set) > 0).cloned().collect()
}
