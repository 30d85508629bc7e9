//! The HorizontalPodAutoscaler: as many replicas as their CPU asks for, looked at every 15 s.
//!
//! What a pod's CPU does follows from the load of its containers: one whose workers are all busy uses what it requests. Metrics that need
//! anything else, and memory, are not there, which the autoscaler says as it does where no metrics server runs.

mod limits;
mod metrics;
mod replicas;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerSpec,
    HorizontalPodAutoscalerStatus, MetricStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use tokio::time::Instant;

use self::metrics::Sample;
use super::{Controller, Task};
use crate::lab::store::{Change, KINDS, ObjectKey, number_of};
use crate::lab::world::World;

/// `--horizontal-pod-autoscaler-sync-period`, and the metrics server's `--metric-resolution`.
const PERIOD: Duration = Duration::from_secs(15);
/// When the metrics are looked at, as a key that no autoscaler has.
const SCRAPE: &str = "";

/// What the controller and the metrics server remember.
#[derive(Debug, Default)]
pub(in crate::lab) struct Autoscalers {
    of: BTreeMap<ObjectKey, Memory>,
    /// By the uids of pods.
    samples: BTreeMap<String, Sample>,
    scraping: bool,
}

/// Of one autoscaler.
#[derive(Debug, Default)]
struct Memory {
    /// What was recommended when.
    wanted: VecDeque<(Instant, i32)>,
    /// By how much it was changed when: up, and down.
    changes: VecDeque<(Instant, i32)>,
}

pub(super) fn observe(world: &mut World, change: &Change) {
    if KINDS[change.object().kind].kind != "HorizontalPodAutoscaler" {
        return;
    }
    let key = change.object().key.clone();
    if change.after.is_none() {
        world.autoscalers.of.remove(&key);
    } else if change.before.is_none() {
        world.autoscalers.of.insert(key.clone(), Memory::default());
        world.notice(Controller::Autoscalers, key);
        if !std::mem::replace(&mut world.autoscalers.scraping, true) {
            let first = world.up_to(PERIOD);
            world.later(first, Task::Reconcile(Controller::Autoscalers, ObjectKey::new("", SCRAPE)));
        }
    }
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    if key.namespace.is_empty() {
        world.autoscalers.scraping = !world.autoscalers.of.is_empty();
        if world.autoscalers.scraping {
            metrics::scrape(world);
            world.later(PERIOD, Task::Reconcile(Controller::Autoscalers, key.clone()));
        }
        return;
    }
    let Some(scaler) = world.store.get::<HorizontalPodAutoscaler>(&key.namespace, &key.name) else { return };
    world.later(PERIOD, Task::Reconcile(Controller::Autoscalers, key.clone()));
    let Some(spec) = scaler.spec.clone() else { return };
    let mut round = Round { key: key.clone(), status: scaler.status.clone().unwrap_or_default(), world, spec };
    round.status.observed_generation = scaler.metadata.generation;
    round.go();
    let status = round.status;
    if scaler.status.as_ref() != Some(&status) {
        world.store.update::<HorizontalPodAutoscaler>(&key.namespace, &key.name, |scaler| scaler.status = Some(status));
    }
}

/// What is scaled.
struct Target {
    kind: usize,
    replicas: i32,
    selector: LabelSelector,
}

/// What its metrics ask for.
struct Wanted {
    replicas: i32,
    /// The metric that asked for it.
    metric: String,
    seen: Vec<MetricStatus>,
}

/// One look at an autoscaler.
struct Round<'w> {
    world: &'w mut World,
    key: ObjectKey,
    spec: HorizontalPodAutoscalerSpec,
    status: HorizontalPodAutoscalerStatus,
}

impl Round<'_> {
    fn go(&mut self) {
        let name = self.spec.scale_target_ref.name.clone();
        let Some(target) = self.target() else {
            let (kind, of) = (&self.spec.scale_target_ref.kind, plural(&self.spec.scale_target_ref.kind));
            let why =
                format!("the HPA controller was unable to get the target's current scale: {of} \"{name}\" not found");
            let why = if of.is_empty() { format!("no matches for kind \"{kind}\"") } else { why };
            return self.say("AbleToScale", false, "FailedGetScale", &why);
        };
        self.say(
            "AbleToScale",
            true,
            "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        );
        let current = target.replicas;
        self.status.current_replicas = Some(current);
        let (least, most) = (self.spec.min_replicas.unwrap_or(1), self.spec.max_replicas);
        let desired = match () {
            () if current == 0 && least != 0 => {
                let why = "scaling is disabled since the replica count of the target is zero";
                self.say("ScalingActive", false, "ScalingDisabled", why);
                0
            }
            () if current > most => most,
            () if current < least => least,
            () => match self.wanted(&target) {
                Ok(wanted) => self.settle(current, &wanted),
                Err((reason, why)) => {
                    self.status.desired_replicas = current;
                    let why = format!("the HPA was unable to compute the replica count: {why}");
                    return self.say("ScalingActive", false, reason, &why);
                }
            },
        };
        self.status.desired_replicas = desired;
        if desired != current {
            self.scale(&target, &name, desired);
        }
    }

    fn target(&self) -> Option<Target> {
        let of = &self.spec.scale_target_ref;
        let (namespace, name) = (self.key.namespace.as_str(), of.name.as_str());
        let store = &self.world.store;
        let (kind, replicas, selector) = match of.kind.as_str() {
            "Deployment" => {
                let spec = store.get::<Deployment>(namespace, name)?.spec.clone()?;
                (number_of::<Deployment>(), spec.replicas, spec.selector)
            }
            "ReplicaSet" => {
                let spec = store.get::<ReplicaSet>(namespace, name)?.spec.clone()?;
                (number_of::<ReplicaSet>(), spec.replicas, spec.selector)
            }
            "StatefulSet" => {
                let spec = store.get::<StatefulSet>(namespace, name)?.spec.clone()?;
                (number_of::<StatefulSet>(), spec.replicas, spec.selector)
            }
            _ => return None,
        };
        Some(Target { kind, replicas: replicas.unwrap_or(1), selector })
    }

    /// The most that any metric asks for. One that can't be read forbids to scale down.
    fn wanted(&self, target: &Target) -> Result<Wanted, (&'static str, String)> {
        let (mut best, mut failed) = (None::<Wanted>, None);
        let mut seen = Vec::new();
        for metric in self.spec.metrics.iter().flatten() {
            match replicas::of_metric(self.world, &self.key.namespace, target, metric) {
                Ok((replicas, metric, status)) => {
                    seen.push(status);
                    if best.as_ref().is_none_or(|best| replicas > best.replicas) {
                        best = Some(Wanted { replicas, metric, seen: Vec::new() });
                    }
                }
                Err(why) => failed = failed.or(Some(why)),
            }
        }
        match (best, failed) {
            (None, failed) => Err(failed.unwrap_or(("InvalidMetricSourceType", "no metrics".to_owned()))),
            (Some(best), Some(why)) if best.replicas < target.replicas => Err(why),
            (Some(best), _) => Ok(Wanted { seen, ..best }),
        }
    }

    /// What is wanted, calmed down, and no more of it at a time than is allowed.
    fn settle(&mut self, current: i32, wanted: &Wanted) -> i32 {
        let why = format!("the HPA was able to successfully calculate a replica count from {}", wanted.metric);
        self.say("ScalingActive", true, "ValidMetricFound", &why);
        self.status.current_metrics = Some(wanted.seen.clone());
        let memory = self.world.autoscalers.of.entry(self.key.clone()).or_default();
        let settled = limits::settle(memory, &self.spec, current, wanted.replicas, Instant::now());
        let (able, limited) = (settled.able, settled.limited);
        self.say("AbleToScale", true, able.0, able.1);
        self.say("ScalingLimited", limited.0 != "DesiredWithinRange", limited.0, &limited.1);
        settled.replicas
    }

    fn scale(&mut self, target: &Target, name: &str, desired: i32) {
        let place = ObjectKey::new(self.key.namespace.clone(), name);
        let Some(object) = self.world.store.object(target.kind, &place) else { return };
        let mut json = object.json();
        json["spec"]["replicas"] = desired.into();
        if self.world.store.replace(target.kind, &place, json).is_err() {
            return;
        }
        let why = format!("the HPA controller was able to update the target scale to {desired}");
        self.say("AbleToScale", true, "SucceededRescale", &why);
        self.status.last_scale_time = Some(self.world.time());
        let memory = self.world.autoscalers.of.entry(self.key.clone()).or_default();
        memory.changes.push_back((Instant::now(), desired - target.replicas));
    }

    /// Sets a condition.
    fn say(&mut self, type_: &str, holds: bool, reason: &str, message: &str) {
        let now = self.world.time();
        let all = self.status.conditions.get_or_insert_default();
        let status = if holds { "True" } else { "False" };
        let before = all.iter().position(|known| known.type_ == type_).map(|at| all.remove(at));
        let since = before.filter(|known| known.status == status).and_then(|known| known.last_transition_time);
        all.push(HorizontalPodAutoscalerCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(since.unwrap_or(now)),
        });
        all.sort_by(|a, b| a.type_.cmp(&b.type_));
    }
}

fn plural(kind: &str) -> &'static str {
    match kind {
        "Deployment" => "deployments.apps",
        "ReplicaSet" => "replicasets.apps",
        "StatefulSet" => "statefulsets.apps",
        _ => "",
    }
}

/// The pods of a target.
fn pods_of(world: &World, namespace: &str, target: &Target) -> Vec<Arc<k8s_openapi::api::core::v1::Pod>> {
    super::objects::pods_selected(&world.store, namespace, &target.selector)
}
