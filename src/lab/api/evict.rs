//! Evictions: deletions that ask the pod's disruption budget first.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::api::policy::v1::{Eviction, PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::delete::Options;
use super::{Answer, Asked, fields, verbs};
use crate::lab::model::objects::{self, Deleted, Selection};
use crate::lab::store::{ObjectKey, Refused, number_of};
use crate::lab::world::World;

/// Pods that a budget may have on their way out before it takes no more.
const MAX_DISRUPTED: usize = 2000;
/// When a client may come again while a budget is not settled.
const COME_AGAIN: u32 = 10;

/// Evicts a pod.
///
/// # Errors
///
/// When its budget does not allow it, or a deletion would be refused.
pub(super) fn evict(world: &mut World, asked: &Asked) -> Result<Answer, Refused> {
    let place = &asked.place;
    let options = options(asked)?;
    verbs::admit(world, place, &place.name)?;
    let object = verbs::found(world, place)?;
    let pod = object.typed::<Pod>().ok_or_else(|| Refused::not_found(place.kind(), &place.name))?;
    if !needs_no_budget(&pod) {
        let mut budgets = covering(world, &place.namespace, &pod);
        let budget = budgets.pop();
        if !budgets.is_empty() {
            // The real server hands this out as the created object: the status of the answer itself is a success.
            return Ok(Answer::Json(
                201,
                json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 500,
                    "message": "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                }),
            ));
        }
        if let Some(budget) = budget.filter(|budget| !is_spare(&pod, budget)) {
            let left = checked(&budget)?;
            if !options.is_dry_run() {
                spend(world, &budget, &place.name, left);
            }
        }
    }
    take(world, &object.key, &options)?;
    let answer = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Answer::Json(201, answer))
}

/// How the pod is to be deleted, by the body of the request.
fn options(asked: &Asked) -> Result<Options, Refused> {
    let mut written = asked.object()?;
    for (field, wanted) in [("kind", "Eviction"), ("apiVersion", "policy/v1")] {
        let said = written[field].as_str().unwrap_or(wanted);
        if said != wanted {
            let kind = written["kind"].as_str().unwrap_or_default();
            let message = format!("{kind} cannot be handled as a Eviction: no kind {kind:?} is registered here");
            return Err(Refused::bad_request(&message));
        }
        written[field] = wanted.into();
    }
    let unfit =
        |why: &str| Refused::bad_request(&format!("Eviction in version \"v1\" cannot be handled as a Eviction: {why}"));
    let eviction: Eviction = serde_json::from_value(written.clone()).map_err(|e| unfit(&e.to_string()))?;
    let read = serde_json::to_value(&eviction).unwrap_or_default();
    let unknown = fields::unknown(&written, &read);
    if asked.query.strict()? && !unknown.is_empty() {
        return Err(unfit(&fields::in_words(&unknown)));
    }
    if eviction.metadata.name.as_deref() != Some(asked.place.name.as_str()) {
        return Err(Refused::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = read.get("deleteOptions").cloned().unwrap_or_else(|| json!({}));
    if asked.query.dry_run()? {
        options["dryRun"] = json!(["All"]);
    }
    Options::of(options)
}

/// Whether nothing is disrupted by its end, because it does not serve.
fn needs_no_budget(pod: &Pod) -> bool {
    matches!(objects::phase(pod), "Succeeded" | "Failed" | "Pending") || pod.metadata.deletion_timestamp.is_some()
}

/// The budgets that cover a pod: one without a selector covers none, one with an empty selector all; a pod without labels has none.
fn covering(world: &World, namespace: &str, pod: &Pod) -> Vec<Arc<PodDisruptionBudget>> {
    if pod.metadata.labels.as_ref().is_none_or(std::collections::BTreeMap::is_empty) {
        return Vec::new();
    }
    let covers = |budget: &Arc<PodDisruptionBudget>| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| Selection::of(selector).takes(&pod.metadata))
    };
    world.store.list::<PodDisruptionBudget>(Some(namespace)).filter(covers).collect()
}

/// Whether the budget does without the pod, which is not healthy anyway.
fn is_spare(pod: &Pod, budget: &PodDisruptionBudget) -> bool {
    if objects::is_ready(pod) {
        return false;
    }
    let policy = budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
    let status = budget.status.clone().unwrap_or_default();
    policy == Some("AlwaysAllow") || (status.desired_healthy > 0 && status.current_healthy >= status.desired_healthy)
}

/// What of its disruptions a budget has left after one more.
fn checked(budget: &PodDisruptionBudget) -> Result<i32, Refused> {
    let status = budget.status.clone().unwrap_or_default();
    let name = budget.metadata.name.clone().unwrap_or_default();
    let forbidden = |why: &str| {
        let message = format!("poddisruptionbudget.policy \"{name}\" is forbidden: {why}");
        let details = json!({"name": name, "group": "policy", "kind": "poddisruptionbudget"});
        Err(Refused { details, ..Refused::new(403, "Forbidden", message) })
    };
    if status.observed_generation.unwrap_or(0) < budget.metadata.generation.unwrap_or(0) {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(too_many(&cause, COME_AGAIN));
    }
    if status.disruptions_allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status.disrupted_pods.as_ref().is_some_and(|pods| pods.len() > MAX_DISRUPTED) {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if status.disruptions_allowed == 0 {
        return Err(too_many(&why_none(&name, &status), 0));
    }
    Ok(status.disruptions_allowed - 1)
}

fn why_none(name: &str, status: &PodDisruptionBudgetStatus) -> String {
    let mut conditions = status.conditions.iter().flatten();
    match conditions.find(|c| c.type_ == "DisruptionAllowed" && c.status == "False" && c.reason == "SyncFailed") {
        Some(failed) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            failed.message
        ),
        None => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            status.desired_healthy, status.current_healthy
        ),
    }
}

fn too_many(cause: &str, retry_after: u32) -> Refused {
    let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": cause}]});
    if retry_after > 0 {
        details["retryAfterSeconds"] = retry_after.into();
    }
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Refused { details, ..Refused::new(429, "TooManyRequests", message) }
}

/// Writes an eviction down in the pod's budget, so that the next does not count the pod as healthy before its controller has looked.
fn spend(world: &mut World, budget: &PodDisruptionBudget, pod: &str, left: i32) {
    let key = objects::key_of(&budget.metadata);
    let now = world.time();
    let generation = budget.metadata.generation;
    world.store.update::<PodDisruptionBudget>(&key.namespace, &key.name, |budget| {
        let status = budget.status.get_or_insert_default();
        status.disruptions_allowed = left;
        status.disrupted_pods.get_or_insert_default().insert(pod.to_owned(), now.clone());
        if left == 0 {
            no_more(status, generation, &now);
        }
    });
}

/// The condition that tells that a budget allows nothing now.
fn no_more(status: &mut PodDisruptionBudgetStatus, generation: Option<i64>, now: &Time) {
    for condition in status.conditions.iter_mut().flatten().filter(|c| c.type_ == "DisruptionAllowed") {
        if condition.status != "False" {
            condition.last_transition_time = now.clone();
        }
        "False".clone_into(&mut condition.status);
        "InsufficientPods".clone_into(&mut condition.reason);
        condition.observed_generation = generation;
    }
}

/// Marks the pod as evicted, and deletes it.
fn take(world: &mut World, key: &ObjectKey, options: &Options) -> Result<(), Refused> {
    let kind = number_of::<Pod>();
    let not_found = || Refused::not_found(&crate::lab::store::KINDS[kind], &key.name);
    let object = world.store.object(kind, key).cloned().ok_or_else(not_found)?;
    options.check_object(&object)?;
    if options.is_dry_run() {
        return Ok(());
    }
    let now = world.time();
    world.store.update::<Pod>(&key.namespace, &key.name, |pod| {
        let condition: PodCondition = PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some("EvictionByEvictionAPI".to_owned()),
            message: Some("Eviction API: evicting".to_owned()),
            ..PodCondition::default()
        };
        objects::set_condition(pod, condition, &now);
    });
    match objects::delete(world, kind, key, options.grace_period_seconds) {
        Deleted::NotFound => Err(not_found()),
        Deleted::Gone(_) | Deleted::Leaving(_) => Ok(()),
    }
}
