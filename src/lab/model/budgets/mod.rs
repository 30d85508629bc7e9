//! The disruption controller: how many pods of a budget may be evicted.

mod expected;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use self::expected::expected;
use super::objects::{count, is_ready, key_of, pods_selected, selects};
use super::{Controller, Task};
use crate::lab::store::{Change, ObjectKey};
use crate::lab::world::World;

/// How long an evicted pod may take until it leaves; then it counts again.
const EVICTION: SignedDuration = SignedDuration::from_mins(2);

pub(super) fn observe(world: &mut World, change: &Change) {
    if change.now::<PodDisruptionBudget>().is_some() {
        world.notice(Controller::Budgets, change.object().key.clone());
    }
    let (was, now) = (change.was::<Pod>(), change.now::<Pod>());
    if (was.is_none() && now.is_none())
        || (change.before.is_some() && change.after.is_some() && was.as_deref().map(seen) == now.as_deref().map(seen))
    {
        return;
    }
    let pods: Vec<&Arc<Pod>> = was.iter().chain(&now).collect();
    let takes = |budget: &Arc<PodDisruptionBudget>| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| pods.iter().any(|pod| selects(selector, &pod.metadata)))
    };
    let namespace = change.object().key.namespace.as_str();
    let budgets: Vec<_> = world.store.list::<PodDisruptionBudget>(Some(namespace)).filter(takes).collect();
    for budget in budgets {
        world.notice(Controller::Budgets, key_of(&budget.metadata));
    }
}

/// What of a pod a budget depends on.
fn seen(pod: &Pod) -> impl PartialEq {
    let meta = &pod.metadata;
    (&meta.labels, &meta.owner_references, meta.deletion_timestamp.is_some(), is_ready(pod))
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let Some(budget) = world.store.get::<PodDisruptionBudget>(&key.namespace, &key.name) else { return };
    let Some(spec) = budget.spec.clone() else { return };
    let pods = spec.selector.as_ref().map(|selector| pods_selected(&world.store, &key.namespace, selector));
    let pods = pods.unwrap_or_default();
    let now = world.wall();
    let mut status = budget.status.clone().unwrap_or_default();
    let disrupted = disrupted(&status, &pods, now);
    match expected(&world.store, &spec, &pods) {
        Ok((expected_pods, desired_healthy)) => {
            let current_healthy = count(pods.iter().filter(|pod| is_healthy(pod, &disrupted)));
            let allowed = if expected_pods > 0 { (current_healthy - desired_healthy).max(0) } else { 0 };
            status = PodDisruptionBudgetStatus {
                current_healthy,
                desired_healthy,
                expected_pods,
                disruptions_allowed: allowed,
                disrupted_pods: (!disrupted.is_empty()).then(|| disrupted.clone()),
                observed_generation: budget.metadata.generation,
                conditions: status.conditions,
            };
            let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
            say(&mut status, reason, String::new(), world.time());
        }
        Err(why) => {
            // Nothing is allowed that could not be counted.
            status.disruptions_allowed = 0;
            say(&mut status, "SyncFailed", why, world.time());
        }
    }
    if budget.status.as_ref() != Some(&status) {
        world.store.update::<PodDisruptionBudget>(&key.namespace, &key.name, |budget| budget.status = Some(status));
    }
    if let Some(first) = disrupted.values().filter_map(|time| time.0.checked_add(EVICTION).ok()).min() {
        let left = Duration::try_from(first.duration_since(now)).unwrap_or_default() + Duration::from_millis(1);
        world.later(left, Task::Reconcile(Controller::Budgets, key.clone()));
    }
}

/// The pods that were evicted and are not leaving yet, as far as they still may.
fn disrupted(status: &PodDisruptionBudgetStatus, pods: &[Arc<Pod>], now: Timestamp) -> BTreeMap<String, Time> {
    let there = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let named = there.filter_map(|pod| pod.metadata.name.clone());
    let all = status.disrupted_pods.as_ref();
    let timed = named.filter_map(|name| Some((all?.get(&name)?.clone(), name)));
    let waits = |time: &Time| time.0.checked_add(EVICTION).is_ok_and(|end| end >= now);
    timed.filter(|(time, _)| waits(time)).map(|(time, name)| (name, time)).collect()
}

fn is_healthy(pod: &Pod, disrupted: &BTreeMap<String, Time>) -> bool {
    let evicted = pod.metadata.name.as_ref().is_some_and(|name| disrupted.contains_key(name));
    pod.metadata.deletion_timestamp.is_none() && !evicted && is_ready(pod)
}

/// Sets the condition `DisruptionAllowed`.
fn say(status: &mut PodDisruptionBudgetStatus, reason: &str, message: String, now: Time) {
    let answer = if reason == "SufficientPods" { "True" } else { "False" };
    let all = status.conditions.get_or_insert_default();
    let before = all.iter_mut().find(|condition| condition.type_ == "DisruptionAllowed");
    let since = before.as_ref().filter(|before| before.status == answer);
    let condition = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: answer.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: status.observed_generation,
        last_transition_time: since.map_or(now, |before| before.last_transition_time.clone()),
    };
    match before {
        Some(before) => *before = condition,
        None => all.push(condition),
    }
}
