//! The StatefulSet controller: pods with ordinals, one after the other.
//!
//! What is left out: `maxUnavailable` is 1, as it is where its feature is not switched on.

mod identity;
mod storage;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};

use self::identity::{ordinal_of, revision};
use super::objects::{
    available_in, claim, count, delete, forget_old_revisions, is_available, is_finished, is_ready, key_of,
    notice_owners, phase, revision_of, template_of, unless_zero,
};
use super::{Controller, Task};
use crate::lab::store::{Change, ObjectKey, Refused, number_of};
use crate::lab::world::World;

/// When a creation is tried again that failed.
const RETRY: Duration = Duration::from_secs(1);

pub(super) fn observe(world: &mut World, change: &Change) {
    if change.now::<StatefulSet>().is_some() {
        world.notice(Controller::StatefulSets, change.object().key.clone());
    }
    notice_owners::<Pod, StatefulSet>(world, change, Controller::StatefulSets, |set| {
        Some(&set.spec.as_ref()?.selector)
    });
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let Some(set) = world.store.get::<StatefulSet>(&key.namespace, &key.name) else { return };
    let Some(spec) = set.spec.clone() else { return };
    let others = world.store.orphans(&key.namespace);
    let pods = claim(world, &*set, &spec.selector, others, |pod| ordinal_of(&key.name, pod).is_some());
    let label = "controller.kubernetes.io/hash";
    let Some((update, revisions)) = revision_of(world, &*set, &spec.template, label) else { return };
    let named = set.status.as_ref().and_then(|status| status.current_revision.clone());
    let current = revisions.iter().find(|revision| revision.metadata.name == named).unwrap_or(&update);
    let name =
        |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| meta.name.clone().unwrap_or_default();
    let mut round = Round {
        current: name(&current.metadata),
        update: name(&update.metadata),
        before: template_of(current).unwrap_or_else(|| spec.template.clone()),
        pods: pods.iter().filter_map(|pod| Some((ordinal_of(&key.name, pod)?, Arc::clone(pod)))).collect(),
        world,
        set,
        spec,
    };
    let mut status = round.numbers();
    if round.set.metadata.deletion_timestamp.is_none() {
        match round.go_on() {
            Ok(Step::Updated) => {
                status.current_replicas = unless_zero(status.current_replicas.unwrap_or(0).saturating_sub(1));
            }
            Ok(_) => {}
            Err(_) => round.world.later(RETRY, Task::Reconcile(Controller::StatefulSets, key.clone())),
        }
    }
    round.report(status);
    let mut live: BTreeSet<String> = pods.iter().map(|pod| revision(pod).to_owned()).collect();
    live.extend([round.current, round.update]);
    forget_old_revisions(round.world, &revisions, &live, round.spec.revision_history_limit);
    if let Some(next) = available_in(&pods, round.spec.min_ready_seconds.unwrap_or(0), round.world.wall()) {
        round.world.later(next, Task::Reconcile(Controller::StatefulSets, key.clone()));
    }
}

/// What a part of a round came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The next part may go on.
    Done,
    /// Something must happen first.
    Wait,
    /// A pod goes because of its revision.
    Updated,
}

/// A StatefulSet and its pods, as they are at the moment.
struct Round<'w> {
    world: &'w mut World,
    set: Arc<StatefulSet>,
    spec: StatefulSetSpec,
    /// Names of the revisions.
    current: String,
    update: String,
    /// The current revision's template.
    before: PodTemplateSpec,
    /// By ordinal.
    pods: BTreeMap<i32, Arc<Pod>>,
}

impl Round<'_> {
    fn start(&self) -> i32 {
        self.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0)
    }

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    /// One past the last.
    fn end(&self) -> i32 {
        self.start().saturating_add(self.replicas())
    }

    /// Whether pods come and go one by one.
    fn in_order(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    /// The lowest ordinal that is updated; `None` where pods are not updated at all. Without `rollingUpdate` it is the first.
    fn partition(&self) -> Option<i32> {
        let strategy = self.spec.update_strategy.as_ref();
        let by_hand = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete");
        let partition = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.partition).unwrap_or(0);
        (!by_hand).then(|| self.start() + partition)
    }

    fn is_serving(&self, pod: &Pod) -> bool {
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        phase(pod) == "Running" && is_available(pod, min_ready, self.world.wall())
    }

    fn is_available(&self, pod: &Pod) -> bool {
        self.is_serving(pod) && pod.metadata.deletion_timestamp.is_none()
    }

    fn go_on(&mut self) -> Result<Step, Refused> {
        let first_bad = self.first_unavailable();
        self.keep_storage();
        for ordinal in self.start()..self.end() {
            if self.raise(ordinal)? == Step::Wait && self.in_order() {
                return Ok(Step::Wait);
            }
        }
        let condemned: Vec<i32> = self.pods.keys().copied().filter(|ordinal| !self.is_wanted(*ordinal)).collect();
        for ordinal in condemned.into_iter().rev() {
            if self.condemn(ordinal, first_bad) == Step::Wait && self.in_order() {
                return Ok(Step::Wait);
            }
        }
        Ok(self.update_next())
    }

    fn is_wanted(&self, ordinal: i32) -> bool {
        (self.start()..self.end()).contains(&ordinal)
    }

    /// The first of the wanted pods that is not available, or else of the others.
    fn first_unavailable(&self) -> Option<i32> {
        let bad = |ordinal: &i32| self.pods.get(ordinal).is_none_or(|pod| !self.is_available(pod));
        let others = self.pods.keys().copied().filter(|ordinal| !self.is_wanted(*ordinal));
        (self.start()..self.end()).chain(others).find(bad)
    }

    /// Creates a pod that lacks, replaces one that is over, and waits for one that does not serve.
    fn raise(&mut self, ordinal: i32) -> Result<Step, Refused> {
        let Some(pod) = self.pods.get(&ordinal).cloned() else {
            // Storage that goes with the pod before it has to be gone first.
            if !self.has_stale_storage(ordinal) {
                self.create(ordinal)?;
            }
            return Ok(Step::Wait);
        };
        if is_finished(&pod) {
            if pod.metadata.deletion_timestamp.is_none() {
                self.delete(&pod);
            }
            return Ok(Step::Wait);
        }
        if phase(&pod) == "Pending" {
            self.claim_storage(ordinal)?;
        }
        Ok(if self.is_available(&pod) { Step::Done } else { Step::Wait })
    }

    /// Ends a pod that is too many.
    fn condemn(&mut self, ordinal: i32, first_bad: Option<i32>) -> Step {
        let Some(pod) = self.pods.get(&ordinal).cloned() else { return Step::Done };
        let waits = self.in_order() && !self.is_serving(&pod) && first_bad != Some(ordinal);
        if pod.metadata.deletion_timestamp.is_none() && !waits {
            self.delete(&pod);
        }
        Step::Wait
    }

    /// Ends the highest pod of another revision, once those above it serve.
    fn update_next(&mut self) -> Step {
        let Some(partition) = self.partition() else { return Step::Done };
        for ordinal in (partition.max(self.start())..self.end()).rev() {
            let Some(pod) = self.pods.get(&ordinal).cloned() else { return Step::Wait };
            if revision(&pod) != self.update && pod.metadata.deletion_timestamp.is_none() {
                self.delete(&pod);
                return Step::Updated;
            }
            if !self.is_available(&pod) {
                return Step::Wait;
            }
        }
        Step::Done
    }

    fn delete(&mut self, pod: &Pod) {
        delete(self.world, number_of::<Pod>(), &key_of(&pod.metadata), None);
    }

    fn numbers(&self) -> StatefulSetStatus {
        let pods = || self.pods.values();
        let of =
            |name: &str| count(pods().filter(|pod| revision(pod) == name && pod.metadata.deletion_timestamp.is_none()));
        let before = self.set.status.as_ref();
        StatefulSetStatus {
            replicas: count(pods()),
            ready_replicas: unless_zero(count(pods().filter(|pod| phase(pod) == "Running" && is_ready(pod)))),
            available_replicas: Some(count(pods().filter(|pod| self.is_serving(pod)))),
            current_replicas: unless_zero(of(&self.current)),
            updated_replicas: unless_zero(of(&self.update)),
            current_revision: Some(self.current.clone()),
            update_revision: Some(self.update.clone()),
            observed_generation: self.set.metadata.generation,
            collision_count: Some(before.and_then(|status| status.collision_count).unwrap_or(0)),
            conditions: before.and_then(|status| status.conditions.clone()),
        }
    }

    fn report(&mut self, mut status: StatefulSetStatus) {
        let all = [Some(status.replicas), status.ready_replicas, status.updated_replicas];
        let complete = all.into_iter().all(|number| number.unwrap_or(0) == self.replicas());
        if self.partition().is_some() && complete {
            status.current_replicas = status.updated_replicas;
            status.current_revision.clone_from(&status.update_revision);
        }
        if self.set.status.as_ref() != Some(&status) {
            let key = key_of(&self.set.metadata);
            self.world.store.update::<StatefulSet>(&key.namespace, &key.name, |set| set.status = Some(status));
        }
    }
}
