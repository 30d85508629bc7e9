//! The Job controller: pods that are to succeed so many times.
//!
//! What is left out: indexes, success and failure policies, and the clean-up of finished Jobs.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::objects::{
    count, create_pod, delete, finalize, is_active, is_finished, is_ready, key_of, notice_owners, owner_reference,
    phase, unless_zero,
};
use super::{Controller, Task};
use crate::lab::store::{Change, ObjectKey, controller_of, number_of};
use crate::lab::world::World;

/// What keeps a pod until it is counted.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// How long the next pod waits after a failure; twice as long after each further one.
const BACKOFF: Duration = Duration::from_secs(10);
/// The longest that it waits.
const MAX_BACKOFF: Duration = Duration::from_mins(10);
/// Failures that are borne where the Job says nothing.
const LIMIT: i32 = 6;
/// When a creation is tried again that failed.
const RETRY: Duration = Duration::from_secs(1);

pub(super) fn observe(world: &mut World, change: &Change) {
    if change.was::<Job>().is_some() || change.now::<Job>().is_some() {
        world.notice(Controller::Jobs, change.object().key.clone());
    }
    // A Job selects by its own uid: it takes in nobody else's pods.
    let nobody: fn(&Job) -> Option<&LabelSelector> = |_| None;
    notice_owners::<Pod, Job>(world, change, Controller::Jobs, nobody);
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let Some(job) = world.store.get::<Job>(&key.namespace, &key.name) else { return let_go(world, key) };
    let Some(spec) = job.spec.clone() else { return };
    let mut status = job.status.clone().unwrap_or_default();
    let mut pods = world.store.owned::<Pod>(job.metadata.uid.as_deref().unwrap_or_default());
    pods.retain(|pod| {
        controller_of(pod.metadata.owner_references.as_ref())
            .is_some_and(|owner| Some(&owner.uid) == job.metadata.uid.as_ref())
    });
    count_ended(world, &pods, &mut status);
    pods.retain(|pod| is_active(pod));
    let suspended = spec.suspend == Some(true);
    if status.start_time.is_none() && !suspended {
        status.start_time = Some(world.time());
    }
    if !has(&status, "Complete") && !has(&status, "Failed") {
        let end = verdict(world, key, &spec, &status, &pods);
        if end.is_some() || suspended || job.metadata.deletion_timestamp.is_some() {
            for pod in std::mem::take(&mut pods) {
                delete(world, number_of::<Pod>(), &key_of(&pod.metadata), None);
            }
        } else {
            manage(world, &job, &spec, &status, &pods);
        }
        if let Some(end) = end {
            conclude(world, &mut status, end);
        }
        suspend(world, &mut status, suspended);
    }
    status.active = unless_zero(count(&pods));
    status.ready = Some(count(pods.iter().filter(|pod| is_ready(pod))));
    if job.status.as_ref() != Some(&status) {
        world.store.update::<Job>(&key.namespace, &key.name, |job| job.status = Some(status));
    }
}

/// Counts pods that ended since, and lets go of them. One that is deleted before its end has failed.
fn count_ended(world: &mut World, pods: &[Arc<Pod>], status: &mut JobStatus) {
    for pod in pods {
        let tracked = pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING);
        let succeeded = phase(pod) == "Succeeded";
        if !tracked || (!is_finished(pod) && pod.metadata.deletion_timestamp.is_none()) {
            continue;
        }
        let number = if succeeded { &mut status.succeeded } else { &mut status.failed };
        *number = Some(number.unwrap_or(0) + 1);
        untrack(world, &key_of(&pod.metadata));
    }
}

fn untrack(world: &mut World, pod: &ObjectKey) {
    world.store.update::<Pod>(&pod.namespace, &pod.name, |pod| {
        let mut left = pod.metadata.finalizers.take().unwrap_or_default();
        left.retain(|finalizer| finalizer != TRACKING);
        pod.metadata.finalizers = (!left.is_empty()).then_some(left);
    });
    finalize(world, number_of::<Pod>(), pod);
}

/// Nobody counts the pods of a Job that is gone.
fn let_go(world: &mut World, job: &ObjectKey) {
    let label = [("batch.kubernetes.io/job-name".to_owned(), job.name.clone())].into();
    for pod in world.store.pods_with(&job.namespace, &label) {
        let owner = controller_of(pod.metadata.owner_references.as_ref());
        if owner.is_some_and(|owner| owner.kind == "Job" && owner.name == job.name) {
            untrack(world, &key_of(&pod.metadata));
        }
    }
}

/// The end of a Job: the type of its condition, its reason and its message.
type End = (&'static str, &'static str, &'static str);

/// Whether it is over.
fn verdict(world: &mut World, key: &ObjectKey, spec: &JobSpec, status: &JobStatus, pods: &[Arc<Pod>]) -> Option<End> {
    let limit = spec.backoff_limit.unwrap_or(LIMIT);
    let in_place = spec.template.spec.as_ref().and_then(|pod| pod.restart_policy.as_deref()) == Some("OnFailure");
    let restarts: i32 = if in_place { pods.iter().map(|pod| restarts(pod)).sum() } else { 0 };
    if status.failed.unwrap_or(0) > limit || (in_place && restarts > 0 && restarts >= limit) {
        return Some(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if let (Some(seconds), Some(start)) = (spec.active_deadline_seconds, &status.start_time) {
        let end = start.0.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(start.0);
        match Duration::try_from(end.duration_since(world.wall())) {
            Ok(left) if !left.is_zero() => world.later(left, Task::Reconcile(Controller::Jobs, key.clone())),
            _ => return Some(("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")),
        }
    }
    let succeeded = status.succeeded.unwrap_or(0);
    // Without a number of completions one success ends it, once no other pod runs.
    let complete = spec.completions.map_or(succeeded > 0 && pods.is_empty(), |wanted| succeeded >= wanted);
    complete.then_some(("Complete", "CompletionsReached", "Reached expected number of succeeded pods"))
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|container| container.restart_count).sum()
}

/// Creates the pods that lack, or ends those that are too many.
fn manage(world: &mut World, job: &Job, spec: &JobSpec, status: &JobStatus, pods: &[Arc<Pod>]) {
    let (parallel, succeeded) = (spec.parallelism.unwrap_or(1), status.succeeded.unwrap_or(0));
    let active = count(pods);
    let wanted = match spec.completions {
        Some(completions) => parallel.min(completions - succeeded),
        None if succeeded > 0 => active,
        None => parallel,
    };
    let key = key_of(&job.metadata);
    for pod in pods.iter().rev().take(usize::try_from(active - wanted).unwrap_or(0)) {
        delete(world, number_of::<Pod>(), &key_of(&pod.metadata), None);
    }
    let lacking = usize::try_from(wanted - active).unwrap_or(0);
    if lacking == 0 {
        return;
    }
    if let Some(wait) = backoff(world, job) {
        return world.later(wait, Task::Reconcile(Controller::Jobs, key));
    }
    for _ in 0..lacking {
        let created = create_pod(world, &key.namespace, &spec.template, owner_reference(job), |pod| adorn(pod, job));
        if created.is_err() {
            return world.later(RETRY, Task::Reconcile(Controller::Jobs, key));
        }
    }
}

fn adorn(pod: &mut Pod, job: &Job) {
    let (name, uid) = (job.metadata.name.clone().unwrap_or_default(), job.metadata.uid.clone().unwrap_or_default());
    let labels = pod.metadata.labels.get_or_insert_default();
    for prefix in ["", "batch.kubernetes.io/"] {
        labels.insert(format!("{prefix}job-name"), name.clone());
        labels.insert(format!("{prefix}controller-uid"), uid.clone());
    }
    pod.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
}

/// How long the next pod has to wait for those that failed since the last success.
fn backoff(world: &World, job: &Job) -> Option<Duration> {
    let pods = world.store.owned::<Pod>(job.metadata.uid.as_deref().unwrap_or_default());
    let ends = |phase_: &str| {
        let ended: Vec<Timestamp> =
            pods.iter().filter(|pod| phase(pod) == phase_).filter_map(|pod| ended(pod)).collect();
        ended
    };
    let success = ends("Succeeded").into_iter().max();
    let failures: Vec<Timestamp> =
        ends("Failed").into_iter().filter(|end| success.is_none_or(|success| *end > success)).collect();
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
    let wait = (BACKOFF * 2_u32.pow(doublings)).min(MAX_BACKOFF);
    let since = Duration::try_from(world.wall().duration_since(*last)).unwrap_or_default();
    wait.checked_sub(since).filter(|left| !left.is_zero())
}

/// When its last container ended, or else when its phase was first seen to be over.
fn ended(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten().filter_map(|container| container.state.as_ref());
    let ends = containers.filter_map(|state| Some(state.terminated.as_ref()?.finished_at.as_ref()?.0));
    let changes =
        status.conditions.iter().flatten().filter_map(|condition| Some(condition.last_transition_time.as_ref()?.0));
    ends.max().or_else(|| changes.max()).or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

fn has(status: &JobStatus, type_: &str) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == type_ && condition.status == "True")
}

fn conclude(world: &World, status: &mut JobStatus, (type_, reason, message): End) {
    let now = world.time();
    let first = if type_ == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
    for type_ in [first, type_] {
        status.conditions.get_or_insert_default().push(JobCondition {
            type_: type_.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: Some(now.clone()),
            last_transition_time: Some(now.clone()),
        });
    }
    if type_ == "Complete" {
        status.completion_time = Some(now);
    }
}

/// The condition `Suspended`, and the time that starts anew after it.
fn suspend(world: &World, status: &mut JobStatus, suspended: bool) {
    let (answer, reason, message) =
        if suspended { ("True", "JobSuspended", "Job suspended") } else { ("False", "JobResumed", "Job resumed") };
    let before = status.conditions.iter_mut().flatten().find(|condition| condition.type_ == "Suspended");
    let is = before.as_ref().is_some_and(|condition| condition.status == "True");
    if is == suspended {
        return;
    }
    let now = world.time();
    status.start_time = (!suspended).then(|| now.clone());
    let condition = JobCondition {
        type_: "Suspended".to_owned(),
        status: answer.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(now.clone()),
        last_transition_time: Some(now),
    };
    match before {
        Some(before) => *before = condition,
        None => status.conditions.get_or_insert_default().push(condition),
    }
}
