//! The DaemonSet controller: a pod on every node that may have one.

mod placement;
mod rolling;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use self::placement::{Place, pinned, places, target};
use super::objects::{
    available_in, claim, create_pod, delete, forget_old_revisions, is_available, is_ready, key_of, notice_owners,
    owner_reference, phase, revision_of, unless_zero,
};
use super::{Controller, Task};
use crate::lab::store::{Change, ObjectKey, number_of};
use crate::lab::world::World;

/// The most pods that are created or deleted at once.
const BURST: usize = 250;
/// When a creation is tried again that failed, and how old a pod must be that failed before it is replaced: a node may refuse it at once,
/// again and again.
const RETRY: Duration = Duration::from_secs(1);
/// The label of a pod's revision, and the revision's own.
const HASH: &str = "controller-revision-hash";

pub(super) fn observe(world: &mut World, change: &Change) {
    if let Some(set) = change.now::<DaemonSet>() {
        let same = |was: &DaemonSet| was.spec == set.spec && was.metadata.generation == set.metadata.generation;
        if change.was::<DaemonSet>().is_none_or(|was| !same(&was)) {
            world.notice(Controller::DaemonSets, change.object().key.clone());
        }
    }
    notice_owners::<Pod, DaemonSet>(world, change, Controller::DaemonSets, |set| Some(&set.spec.as_ref()?.selector));
    let (was, now) = (change.was::<Node>(), change.now::<Node>());
    let differ = match (&was, &now) {
        (None, None) => false,
        (Some(was), Some(now)) => {
            let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
            was.metadata.labels != now.metadata.labels || taints(was) != taints(now)
        }
        _ => true,
    };
    if differ {
        let keys: Vec<_> = world.store.list::<DaemonSet>(None).map(|set| key_of(&set.metadata)).collect();
        for key in keys {
            world.notice(Controller::DaemonSets, key);
        }
    }
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let Some(set) = world.store.get::<DaemonSet>(&key.namespace, &key.name) else { return };
    let Some(spec) = set.spec.clone() else { return };
    if set.metadata.deletion_timestamp.is_some() || spec.selector == LabelSelector::default() {
        return;
    }
    let Some((current, revisions)) = revision_of(world, &*set, &spec.template, HASH) else { return };
    let hash = current.metadata.labels.as_ref().and_then(|labels| labels.get(HASH).cloned()).unwrap_or_default();
    let others = world.store.orphans(&key.namespace);
    let all = claim(world, &*set, &spec.selector, others, |_| true);
    let mut round = Round { places: places(world, &spec), pods: BTreeMap::new(), world, set, spec, hash };
    round.group(&all);
    let acted = round.manage();
    if !acted && round.is_rolling() {
        round.roll();
    }
    let hashes: BTreeSet<&str> = all.iter().map(|pod| hash_of(pod)).collect();
    let is_live = |revision: &BTreeMap<String, String>| revision.get(HASH).is_some_and(|h| hashes.contains(h.as_str()));
    let live = revisions.iter().filter(|revision| revision.metadata.labels.as_ref().is_some_and(is_live));
    let mut live: BTreeSet<String> = live.filter_map(|revision| revision.metadata.name.clone()).collect();
    live.extend(current.metadata.name.clone());
    forget_old_revisions(round.world, &revisions, &live, round.spec.revision_history_limit);
    round.report();
    if let Some(next) = available_in(&all, round.min_ready(), round.world.wall()) {
        round.world.later(next, Task::Reconcile(Controller::DaemonSets, key.clone()));
    }
}

fn hash_of(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(HASH)).map_or("", String::as_str)
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_bound(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty())
}

/// A DaemonSet, the nodes and its pods, as they are at the moment.
struct Round<'w> {
    world: &'w mut World,
    set: Arc<DaemonSet>,
    spec: DaemonSetSpec,
    /// The hash of its present template.
    hash: String,
    /// By node.
    places: BTreeMap<String, Place>,
    /// By the node that they are on or meant for, bound ones first, then the oldest.
    pods: BTreeMap<String, Vec<Arc<Pod>>>,
}

impl Round<'_> {
    fn min_ready(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        is_available(pod, self.min_ready(), self.world.wall())
    }

    fn group(&mut self, all: &[Arc<Pod>]) {
        for pod in all {
            if let Some(node) = target(pod) {
                self.pods.entry(node.to_owned()).or_default().push(Arc::clone(pod));
            }
        }
        for pods in self.pods.values_mut() {
            pods.sort_by_key(|pod| {
                (!is_bound(pod), pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone())
            });
        }
    }

    /// Creates what lacks and deletes what is where it must not be. Whether there was anything to do.
    fn manage(&mut self) -> bool {
        let (mut create, mut delete) = (Vec::new(), Vec::new());
        for (node, place) in &self.places {
            match self.pods.get(node) {
                None if place.runs => create.push(node.clone()),
                Some(pods) if !place.stays => delete.extend(pods.iter().filter(|pod| !is_leaving(pod)).cloned()),
                Some(pods) => {
                    let (surplus, lacks) = self.prune(pods, *place);
                    delete.extend(surplus);
                    create.extend(lacks.then(|| node.clone()));
                }
                None => {}
            }
        }
        // A bound pod whose node is gone is garbage, which is not collected here.
        let astray = self.pods.iter().filter(|(node, _)| !self.places.contains_key(*node)).flat_map(|(_, pods)| pods);
        delete.extend(astray.filter(|pod| !is_bound(pod) && !is_leaving(pod)).cloned());
        self.look_at_failures();
        self.act(&delete, &create)
    }

    /// The pods of a node that are over or too many, and whether one lacks all the same.
    fn prune(&self, pods: &[Arc<Pod>], place: Place) -> (Vec<Arc<Pod>>, bool) {
        let present = || pods.iter().filter(|pod| !is_leaving(pod));
        let over = |pod: &&Arc<Pod>| match phase(pod) {
            "Failed" => self.retry_in(pod).is_none(),
            phase => phase == "Succeeded",
        };
        let mut delete: Vec<Arc<Pod>> = present().filter(over).cloned().collect();
        let running: Vec<&Arc<Pod>> = present().filter(|pod| !matches!(phase(pod), "Failed" | "Succeeded")).collect();
        if !self.surges() {
            delete.extend(running.into_iter().skip(1).cloned());
            return (delete, false);
        }
        if running.len() <= 1 {
            return (delete, running.is_empty() && place.runs);
        }
        let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|pod| hash_of(pod) == self.hash);
        delete.extend(new.iter().skip(1).chain(old.iter().skip(1)).map(|pod| Arc::clone(pod)));
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!is_ready(old) || self.is_available(new))
        {
            delete.push(Arc::clone(old));
        }
        (delete, false)
    }

    /// How long until a failed pod is replaced; `None`: it may be now.
    fn retry_in(&self, pod: &Pod) -> Option<Duration> {
        let created = pod.metadata.creation_timestamp.as_ref()?.0;
        let age = Duration::try_from(self.world.wall().duration_since(created)).unwrap_or_default();
        RETRY.checked_sub(age).filter(|left| !left.is_zero())
    }

    fn look_at_failures(&mut self) {
        let failed = self.pods.values().flatten().filter(|pod| !is_leaving(pod) && phase(pod) == "Failed");
        if let Some(next) = failed.filter_map(|pod| self.retry_in(pod)).min() {
            self.world.later(next, Task::Reconcile(Controller::DaemonSets, key_of(&self.set.metadata)));
        }
    }

    /// Deletes pods, and creates one on each of these nodes. Whether that was anything.
    fn act(&mut self, gone: &[Arc<Pod>], nodes: &[String]) -> bool {
        let key = key_of(&self.set.metadata);
        for node in nodes.iter().take(BURST) {
            let (template, owner) = (&self.spec.template, owner_reference(&*self.set));
            let created = create_pod(self.world, &key.namespace, template, owner, |pod| pinned(pod, node, &self.hash));
            if created.is_err() {
                self.world.later(RETRY, Task::Reconcile(Controller::DaemonSets, key.clone()));
                break;
            }
        }
        for pod in gone.iter().take(BURST) {
            delete(self.world, number_of::<Pod>(), &key_of(&pod.metadata), None);
        }
        !(gone.is_empty() && nodes.is_empty())
    }

    fn report(&mut self) {
        let mut status = DaemonSetStatus {
            observed_generation: self.set.metadata.generation,
            collision_count: self.set.status.as_ref().and_then(|status| status.collision_count),
            conditions: self.set.status.as_ref().and_then(|status| status.conditions.clone()),
            ..DaemonSetStatus::default()
        };
        let (mut updated, mut available) = (0, 0);
        for (node, place) in &self.places {
            let pod = self.pods.get(node).and_then(|pods| pods.first());
            if !place.runs {
                status.number_misscheduled += i32::from(pod.is_some());
                continue;
            }
            status.desired_number_scheduled += 1;
            let Some(pod) = pod else { continue };
            status.current_number_scheduled += 1;
            status.number_ready += i32::from(is_ready(pod));
            available += i32::from(self.is_available(pod));
            updated += i32::from(hash_of(pod) == self.hash);
        }
        status.updated_number_scheduled = unless_zero(updated);
        status.number_available = unless_zero(available);
        status.number_unavailable = unless_zero(status.desired_number_scheduled - available);
        if self.set.status.as_ref() != Some(&status) {
            let key = key_of(&self.set.metadata);
            self.world.store.update::<DaemonSet>(&key.namespace, &key.name, |set| set.status = Some(status));
        }
    }
}
