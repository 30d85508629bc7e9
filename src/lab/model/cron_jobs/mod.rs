//! The `CronJob` controller: a Job whenever its schedule comes round.

mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use self::schedule::Schedule;
use super::objects::{delete, key_of, notice_owners, owner_reference};
use super::{Controller, Task};
use crate::lab::api::defaults;
use crate::lab::store::{Change, ObjectKey, controller_of, number_of};
use crate::lab::world::World;

/// The controller looks so long after the moment, lest it looks too early (`nextScheduleDelta`).
const AFTER: Duration = Duration::from_millis(100);
/// Times that were missed and are looked through at most.
const MISSED: usize = 20_000;
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

pub(super) fn observe(world: &mut World, change: &Change) {
    if let Some(now) = change.now::<CronJob>() {
        let same = |was: Arc<CronJob>| was.spec == now.spec;
        if !change.was::<CronJob>().is_some_and(same) {
            world.notice(Controller::CronJobs, change.object().key.clone());
        }
    }
    // It takes in nobody else's Jobs.
    let nobody: fn(&CronJob) -> Option<&LabelSelector> = |_| None;
    notice_owners::<Job, CronJob>(world, change, Controller::CronJobs, nobody);
}

/// Whether a Job is one of a `CronJob`'s: it comes and goes with the time.
pub(in crate::lab) fn is_scheduled(job: &Job) -> bool {
    controller_of(job.metadata.owner_references.as_ref()).is_some_and(|owner| owner.kind == "CronJob")
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let Some(cron) = world.store.get::<CronJob>(&key.namespace, &key.name) else { return };
    let Some(spec) = cron.spec.clone() else { return };
    let uid = cron.metadata.uid.clone().unwrap_or_default();
    let jobs = world.store.owned::<Job>(&uid);
    let mut status = cron.status.clone().unwrap_or_default();
    status.active = active(&jobs);
    let done = jobs.iter().filter(|job| has(job, "Complete"));
    let ends = done.filter_map(|job| job.status.as_ref()?.completion_time.clone());
    status.last_successful_time = ends.chain(status.last_successful_time.take()).max_by_key(|time| time.0);
    forget(world, &spec, &jobs);
    let goes = spec.suspend != Some(true) && cron.metadata.deletion_timestamp.is_none();
    if goes && let (Ok(schedule), Some(zone)) = (Schedule::read(&spec.schedule), zone(&spec)) {
        begin(world, &cron, &spec, &mut status, &jobs, (&schedule, &zone));
        let now = world.wall();
        if let Some(next) = schedule.next(now, &zone) {
            let left = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            world.later(left + AFTER, Task::Reconcile(Controller::CronJobs, key.clone()));
        }
    }
    if cron.status.as_ref() != Some(&status) {
        world.store.update::<CronJob>(&key.namespace, &key.name, |cron| cron.status = Some(status));
    }
}

/// The zone that the schedule is meant in; the controller's own is UTC. `None`: there is none of that name.
fn zone(spec: &CronJobSpec) -> Option<TimeZone> {
    match spec.time_zone.as_deref() {
        None | Some("UTC" | "Etc/UTC") => Some(TimeZone::UTC),
        Some(name) => TimeZone::get(name).ok(),
    }
}

/// Begins the Job of the last time that the schedule came round, unless it was begun, or may not be.
fn begin(
    world: &mut World,
    cron: &CronJob,
    spec: &CronJobSpec,
    status: &mut CronJobStatus,
    jobs: &[Arc<Job>],
    (schedule, zone): (&Schedule, &TimeZone),
) {
    let now = world.wall();
    let last = status.last_schedule_time.as_ref().or(cron.metadata.creation_timestamp.as_ref());
    let mut from = last.map_or(now, |time| time.0);
    if let Some(deadline) = spec.starting_deadline_seconds {
        from = from.max(now.checked_sub(SignedDuration::from_secs(deadline)).unwrap_or(from));
    }
    let times = std::iter::successors(schedule.next(from, zone), |time| schedule.next(*time, zone));
    let Some(time) = times.take(MISSED).take_while(|time| *time <= now).last() else { return };
    let running: Vec<&Arc<Job>> = jobs.iter().filter(|job| !is_over(job)).collect();
    match spec.concurrency_policy.as_deref() {
        // What is skipped is caught up on once the other is over, unless it is too late by then.
        Some("Forbid") if !running.is_empty() => return,
        Some("Replace") => {
            for job in &running {
                delete(world, number_of::<Job>(), &key_of(&job.metadata), None);
            }
            status.active = None;
        }
        _ => {}
    }
    let created = create(world, cron, spec, time);
    if let Some(job) = created {
        status.active.get_or_insert_default().push(reference(&job));
    }
    status.last_schedule_time = Some(Time(time));
}

fn create(world: &mut World, cron: &CronJob, spec: &CronJobSpec, time: Timestamp) -> Option<Arc<Job>> {
    let template = spec.job_template.clone();
    let given = template.metadata.unwrap_or_default();
    let name = cron.metadata.name.clone().unwrap_or_default();
    let mut marks = given.annotations.unwrap_or_default();
    marks.insert(SCHEDULED.to_owned(), time.to_string());
    let metadata = ObjectMeta {
        name: Some(format!("{name}-{}", time.as_second().div_euclid(60))),
        namespace: cron.metadata.namespace.clone(),
        labels: given.labels,
        annotations: Some(marks),
        owner_references: Some(vec![owner_reference(cron)]),
        ..ObjectMeta::default()
    };
    let kind = number_of::<Job>();
    let mut json = serde_json::to_value(Job { metadata, spec: template.spec, status: None }).ok()?;
    defaults::apply(world, kind, &mut json);
    let now = world.wall();
    // One of that name was begun already.
    world.store.create(kind, json, now).ok()?.typed()
}

fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".to_owned()),
        kind: Some("Job".to_owned()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

fn active(jobs: &[Arc<Job>]) -> Option<Vec<ObjectReference>> {
    let all: Vec<_> = jobs.iter().filter(|job| !is_over(job)).map(|job| reference(job)).collect();
    (!all.is_empty()).then_some(all)
}

fn has(job: &Job, type_: &str) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|known| known.type_ == type_ && known.status == "True")
}

fn is_over(job: &Job) -> bool {
    has(job, "Complete") || has(job, "Failed")
}

/// Takes away the oldest of those that are over, as far as there are more than are to be kept.
fn forget(world: &mut World, spec: &CronJobSpec, jobs: &[Arc<Job>]) {
    let limits = [
        ("Complete", spec.successful_jobs_history_limit.unwrap_or(3)),
        ("Failed", spec.failed_jobs_history_limit.unwrap_or(1)),
    ];
    for (type_, limit) in limits {
        let mut over: Vec<&Arc<Job>> = jobs.iter().filter(|job| has(job, type_)).collect();
        over.sort_by_key(|job| {
            let started = job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
            (started, job.metadata.name.clone())
        });
        let many = over.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for job in over.into_iter().take(many) {
            delete(world, number_of::<Job>(), &key_of(&job.metadata), None);
        }
    }
}
