//! What a Deployment says of itself: its numbers, and whether it is available and gets on.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Rollout, has, reported};
use crate::lab::model::objects::{key_of, unless_zero};
use crate::lab::model::{Controller, Task};

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const FAILURE: &str = "ReplicaFailure";
/// The deadline where none is written, in seconds; the largest number means that there is none.
const DEADLINE: i32 = 600;

type Conditions = Option<Vec<DeploymentCondition>>;

/// How it stands with a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Found,
    Created,
    Refused,
    Updated,
    Done,
    TimedOut,
    Paused,
    Resumed,
}

impl Progress {
    const fn reason(self) -> &'static str {
        match self {
            Self::Found => "FoundNewReplicaSet",
            Self::Created => "NewReplicaSetCreated",
            Self::Refused => "ReplicaSetCreateError",
            Self::Updated => "ReplicaSetUpdated",
            Self::Done => "NewReplicaSetAvailable",
            Self::TimedOut => "ProgressDeadlineExceeded",
            Self::Paused => "DeploymentPaused",
            Self::Resumed => "DeploymentResumed",
        }
    }

    const fn status(self) -> &'static str {
        match self {
            Self::Refused | Self::TimedOut => "False",
            Self::Paused | Self::Resumed => "Unknown",
            _ => "True",
        }
    }

    fn is(self, condition: &DeploymentCondition) -> bool {
        condition.reason.as_deref() == Some(self.reason())
    }
}

pub(super) fn progressing(progress: Progress, message: String, now: Time) -> DeploymentCondition {
    made(PROGRESSING, progress.status(), progress.reason(), message, now)
}

fn made(type_: &str, status: &str, reason: &str, message: String, now: Time) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    }
}

/// The condition `Progressing`.
pub(super) fn get(status: &DeploymentStatus) -> Option<&DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == PROGRESSING)
}

/// Puts a condition in the place of the one of its type, unless that says the same for the same reason.
pub(super) fn set(all: &mut Conditions, mut condition: DeploymentCondition) {
    let before = all.iter().flatten().find(|before| before.type_ == condition.type_);
    if let Some(before) = before.filter(|before| before.status == condition.status) {
        if before.reason == condition.reason {
            return;
        }
        condition.last_transition_time.clone_from(&before.last_transition_time);
    }
    remove(all, &condition.type_);
    all.get_or_insert_default().push(condition);
}

fn remove(all: &mut Conditions, type_: &str) {
    if let Some(conditions) = all {
        conditions.retain(|condition| condition.type_ != type_);
        if conditions.is_empty() {
            *all = None;
        }
    }
}

impl Rollout<'_> {
    pub(super) fn has_deadline(&self) -> bool {
        self.spec.progress_deadline_seconds != Some(i32::MAX)
    }

    fn deadline(&self, from: &DeploymentCondition) -> Option<Timestamp> {
        let seconds = self.spec.progress_deadline_seconds.unwrap_or(DEADLINE);
        from.last_update_time.as_ref()?.0.checked_add(SignedDuration::from_secs(seconds.into())).ok()
    }

    /// Stops the clock of the deadline while the Deployment is paused.
    pub(super) fn note_pause(&mut self) {
        let (paused, status) = (self.spec.paused == Some(true), self.status());
        let condition = get(&status);
        let was = condition.is_some_and(|condition| Progress::Paused.is(condition));
        let timed_out = condition.is_some_and(|condition| Progress::TimedOut.is(condition));
        if !self.has_deadline() || timed_out || was == paused {
            return;
        }
        let (progress, message) = if paused {
            (Progress::Paused, "Deployment is paused")
        } else {
            (Progress::Resumed, "Deployment is resumed")
        };
        let condition = progressing(progress, message.to_owned(), self.world.time());
        self.change(|deployment| set(&mut deployment.status.get_or_insert_default().conditions, condition));
    }

    /// Whether every pod is a new one and available.
    pub(super) fn is_complete(&self, status: &DeploymentStatus) -> bool {
        let all = [status.updated_replicas, status.replicas, status.available_replicas];
        let observed = status.observed_generation >= self.deployment.metadata.generation;
        observed && all.into_iter().all(|number| number.unwrap_or(0) == self.replicas())
    }

    /// Writes the status; in a rollout also how it gets on.
    pub(super) fn report(&mut self, rolling: bool) {
        let mut status = self.numbers();
        if rolling {
            self.judge(&mut status);
            self.pass_failures_on(&mut status.conditions);
        }
        if self.deployment.status.as_ref() != Some(&status) {
            let written = status.clone();
            self.change(|deployment| deployment.status = Some(written));
        }
        if rolling {
            self.look_again(&status);
        }
    }

    fn numbers(&mut self) -> DeploymentStatus {
        let now = self.world.time();
        let (total, available) = (self.total(), self.available());
        let mut conditions = self.status().conditions;
        let enough = available >= self.replicas() - self.max_unavailable();
        let (answer, reason, message) = if enough {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        set(&mut conditions, made(AVAILABLE, answer, reason, message.to_owned(), now));
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: unless_zero(self.all().map(|set| has(set)).sum()),
            updated_replicas: unless_zero(self.new.as_ref().map_or(0, |set| has(set))),
            ready_replicas: unless_zero(self.all().map(|set| reported(set, |status| status.ready_replicas)).sum()),
            available_replicas: unless_zero(available),
            unavailable_replicas: unless_zero((total - available).max(0)),
            terminating_replicas: None,
            collision_count: self.status().collision_count,
            conditions,
        }
    }

    /// The condition `Progressing` of a rollout.
    fn judge(&mut self, status: &mut DeploymentStatus) {
        if !self.has_deadline() {
            return remove(&mut status.conditions, PROGRESSING);
        }
        let before = self.status();
        let condition = get(&before).cloned();
        let done = condition.as_ref().is_some_and(|condition| Progress::Done.is(condition));
        if done && status.replicas == status.updated_replicas {
            return;
        }
        let now = self.world.time();
        let name = self.deployment.metadata.name.clone().unwrap_or_default();
        let set_name = self.new.as_ref().and_then(|set| set.metadata.name.clone());
        let what = set_name.map_or_else(|| format!("Deployment \"{name}\""), |set| format!("ReplicaSet \"{set}\""));
        if self.is_complete(status) {
            let message = format!("{what} has successfully progressed.");
            set(&mut status.conditions, progressing(Progress::Done, message, now));
        } else if has_progressed(&before, status) {
            let mut made = progressing(Progress::Updated, format!("{what} is progressing."), now);
            // Its time of update is what the deadline counts from: it is written even if nothing else changes.
            if let Some(condition) = condition.filter(|condition| condition.status == "True") {
                made.last_transition_time = condition.last_transition_time;
            }
            remove(&mut status.conditions, PROGRESSING);
            status.conditions.get_or_insert_default().push(made);
        } else if condition.is_some_and(|condition| self.is_late(&condition)) {
            let message = format!("{what} has timed out progressing.");
            set(&mut status.conditions, progressing(Progress::TimedOut, message, now));
        }
    }

    fn is_late(&self, condition: &DeploymentCondition) -> bool {
        let over = self.deadline(condition).is_some_and(|deadline| deadline < self.world.wall());
        !Progress::Done.is(condition) && (Progress::TimedOut.is(condition) || over)
    }

    /// The new ReplicaSet's failure to create pods, or else an old one's.
    fn pass_failures_on(&self, conditions: &mut Conditions) {
        let failure = |set: &ReplicaSet| {
            let all = set.status.as_ref().and_then(|status| status.conditions.clone());
            all.into_iter().flatten().find(|condition| condition.type_ == FAILURE)
        };
        let failed = self.new.iter().chain(&self.old).find_map(|set| failure(set));
        match failed {
            Some(ReplicaSetCondition { status, reason, message, last_transition_time, .. }) => {
                let since = last_transition_time.unwrap_or_else(|| self.world.time());
                let (reason, message) = (reason.unwrap_or_default(), message.unwrap_or_default());
                set(conditions, made(FAILURE, &status, &reason, message, since));
            }
            None => remove(conditions, FAILURE),
        }
    }

    /// Looks again when the deadline is over, if it can be missed.
    fn look_again(&mut self, status: &DeploymentStatus) {
        let Some(condition) = get(status) else { return };
        let over = Progress::TimedOut.is(condition) || Progress::Done.is(condition);
        if !self.has_deadline() || over || self.is_complete(status) {
            return;
        }
        let Some(deadline) = self.deadline(condition) else { return };
        let left = Duration::try_from(deadline.duration_since(self.world.wall())).unwrap_or_default();
        let key = key_of(&self.deployment.metadata);
        self.world.later(left + Duration::from_secs(1), Task::Reconcile(Controller::Deployments, key));
    }
}

fn has_progressed(before: &DeploymentStatus, now: &DeploymentStatus) -> bool {
    let number = |number: Option<i32>| number.unwrap_or(0);
    let old = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(now.updated_replicas) > number(before.updated_replicas)
        || old(now) < old(before)
        || number(now.ready_replicas) > number(before.ready_replicas)
        || number(now.available_replicas) > number(before.available_replicas)
}
