//! What is asked of pods, and how one is made of a template.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::lab::api::defaults;
use crate::lab::store::{Refused, number_of};
use crate::lab::world::World;

/// Its phase; empty where none is written.
pub(in crate::lab) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether all its containers have ended for good.
pub(in crate::lab) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether it counts as a replica: it is neither over nor leaving.
pub(in crate::lab) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// A condition by its type.
pub(in crate::lab) fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    let all = pod.status.as_ref()?.conditions.as_ref()?;
    all.iter().find(|condition| condition.type_ == type_)
}

/// Puts a condition in the place of the one of its type. The time of its transition stays where its status does.
pub(in crate::lab) fn set_condition(pod: &mut Pod, mut condition: PodCondition, now: &Time) {
    let all = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let before = all.iter_mut().find(|before| before.type_ == condition.type_);
    let kept = before.as_ref().filter(|before| before.status == condition.status);
    let kept = kept.and_then(|before| before.last_transition_time.clone());
    condition.last_transition_time = Some(kept.unwrap_or_else(|| now.clone()));
    match before {
        Some(before) => *before = condition,
        None => all.push(condition),
    }
}

/// Whether it is ready to serve.
pub(in crate::lab) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when it is ready; `None` also where that is not written.
pub(in crate::lab) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether it has been ready for so many seconds.
pub(in crate::lab) fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod)
        && (min_ready_seconds <= 0 || (ready_since(pod).is_some() && left(pod, min_ready_seconds, now).is_none()))
}

/// When the next of these pods that is ready becomes available.
pub(in crate::lab) fn available_in(pods: &[Arc<Pod>], min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    pods.iter().filter_map(|pod| left(pod, min_ready_seconds, now)).min()
}

fn left(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    let available = ready_since(pod)?.checked_add(SignedDuration::from_secs(min_ready_seconds.into())).ok()?;
    Duration::try_from(available.duration_since(now)).ok().filter(|left| !left.is_zero())
}

/// Creates a pod of a template under its controller's name; `adjust` may change it before the API server sees it.
///
/// # Errors
///
/// What the API server says.
pub(in crate::lab) fn create_pod(
    world: &mut World,
    namespace: &str,
    template: &PodTemplateSpec,
    owner: OwnerReference,
    adjust: impl FnOnce(&mut Pod),
) -> Result<Arc<Pod>, Refused> {
    let of = template.metadata.clone().unwrap_or_default();
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-", owner.name)),
        namespace: Some(namespace.to_owned()),
        labels: of.labels,
        annotations: of.annotations,
        finalizers: of.finalizers,
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    let status = PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() };
    let mut pod = Pod { metadata, spec: template.spec.clone(), status: Some(status) };
    adjust(&mut pod);
    let mut json = serde_json::to_value(&pod).map_err(|e| Refused::bad_request(&e.to_string()))?;
    let kind = number_of::<Pod>();
    defaults::apply(world, kind, &mut json);
    let now = world.wall();
    let created = world.store.create(kind, json, now)?;
    created.typed().ok_or_else(|| Refused::bad_request("the type is another"))
}
