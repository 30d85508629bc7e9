//! kube-scheduler: gives pods their nodes.
//!
//! It filters and scores nodes by the rules of `crate::scheduling`. Preemption is not modelled, and neither are the images that nodes have.

mod claims;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodCondition, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use tokio::time::Instant;

use self::claims::{Claims, Delayed};
use self::queue::{Event, Hints, Queue};
use super::objects::{is_finished, set_condition};
use super::volumes::SELECTED;
use super::{Controller, Task};
use crate::lab::store::{Change, KINDS, ObjectKey, controller_of};
use crate::lab::world::World;
use crate::scheduling::{Place, Places};

const ZONE: &str = "topology.kubernetes.io/zone";
/// Where there are more nodes that fit than this, the scheduler may have seen enough.
const FEW: usize = 100;

/// What the scheduler remembers.
#[derive(Debug, Default)]
pub(in crate::lab) struct SchedulerMemory {
    places: Places,
    queue: Queue,
    /// The nodes in turns through the zones, which is how they are looked at.
    order: Vec<String>,
    /// Where the next look begins.
    start: usize,
    /// Pods that have a node, and that are bound to it once their volumes are.
    assumed: BTreeMap<ObjectKey, String>,
}

impl SchedulerMemory {
    /// The nodes in their order: one of each zone, then the next of each.
    fn arrange(&mut self) {
        let mut zones: BTreeMap<String, usize> = BTreeMap::new();
        let mut order: Vec<(usize, String)> = Vec::new();
        for place in self.places.iter() {
            let turn = zones.entry(place.label(ZONE).unwrap_or_default().to_owned()).or_default();
            order.push((*turn, place.name().to_owned()));
            *turn += 1;
        }
        order.sort_by_key(|(turn, _)| *turn);
        self.order = order.into_iter().map(|(_, name)| name).collect();
    }

    /// How many nodes that fit are enough.
    fn enough(&self) -> usize {
        let all = self.order.len();
        let percent = 50_usize.saturating_sub(all / 125).max(5);
        if all < FEW { all } else { (all * percent / 100).max(FEW) }
    }
}

/// All pods that are due are tried together, in their order.
fn cycle() -> Task {
    Task::Reconcile(Controller::Scheduler, ObjectKey::new("", ""))
}

pub(super) fn observe(world: &mut World, change: &Change) {
    let key = &change.object().key;
    match KINDS[change.object().kind].kind {
        "Pod" => observe_pod(world, change),
        "Node" => {
            let is_new = if let Some(node) = change.now::<Node>() {
                world.scheduler.places.put(&node)
            } else {
                world.scheduler.places.remove(&key.name);
                true
            };
            if is_new {
                world.scheduler.arrange();
                wake(world, Event::Node);
            }
        }
        "Namespace" => {
            let labels = change.now::<Namespace>().and_then(|namespace| namespace.metadata.labels.clone());
            world.scheduler.places.label_namespace(&key.name, labels.unwrap_or_default());
        }
        "PersistentVolume" | "PersistentVolumeClaim" | "StorageClass" => wake(world, Event::Volume),
        _ => {}
    }
}

fn observe_pod(world: &mut World, change: &Change) {
    let key = &change.object().key;
    let pod = change.now::<Pod>();
    let placed = pod.as_ref().filter(|pod| !is_finished(pod)).and_then(|pod| Some((pod, node_of(pod)?)));
    let waits = || world.scheduler.assumed.contains_key(key) && pod.as_ref().is_some_and(|pod| is_ours(pod));
    if let Some((pod, node)) = placed {
        if world.scheduler.places.stand(node, pod) {
            wake(world, Event::Stands);
        }
    } else if !waits() {
        world.scheduler.assumed.remove(key);
        if world.scheduler.places.leave(&key.namespace, &key.name) {
            wake(world, Event::Goes);
        }
    }
    let Some(pod) = pod.filter(|pod| is_ours(pod)) else { return world.scheduler.queue.remove(key) };
    let differs = |was: Arc<Pod>| was.spec != pod.spec || was.metadata.labels != pod.metadata.labels;
    if !world.scheduler.queue.has(key) || change.was::<Pod>().is_some_and(differs) {
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
        let (now, after) = (Instant::now(), world.settings.schedule);
        world.scheduler.queue.add(key, priority, now, now + after);
        world.later(after, cycle());
    }
}

fn wake(world: &mut World, event: Event) {
    let after = world.settings.schedule;
    if world.scheduler.queue.wake(event, Instant::now() + after) {
        world.later(after, cycle());
    }
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

/// Whether a pod is one that this scheduler has to find a node for.
fn is_ours(pod: &Pod) -> bool {
    let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    node_of(pod).is_none()
        && pod.metadata.deletion_timestamp.is_none()
        && !is_finished(pod)
        && scheduler.is_none_or(|name| name == "default-scheduler")
}

pub(super) fn reconcile(world: &mut World, _key: &ObjectKey) {
    let now = Instant::now();
    for key in world.scheduler.queue.due(now) {
        attempt(world, &key);
    }
    if let Some(next) = world.scheduler.queue.next() {
        world.later(next.saturating_duration_since(now), cycle());
    }
}

/// Tries to find a pod a node.
fn attempt(world: &mut World, key: &ObjectKey) {
    let pod = world.store.get::<Pod>(&key.namespace, &key.name).filter(|pod| is_ours(pod));
    let Some(pod) = pod else { return world.scheduler.queue.remove(key) };
    if pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty())) {
        let why = "Scheduling is blocked due to non-empty scheduling gates";
        return put_off(world, key, "SchedulingGated", why, Hints::default());
    }
    let claims = match claims::claims(world, &pod) {
        Ok(claims) => claims,
        Err(why) => {
            forget(world, key);
            let said = format!("0/{} nodes are available: {why}.", world.scheduler.order.len());
            return put_off(world, key, "Unschedulable", &said, Hints::volumes());
        }
    };
    match claims::settled(world, key, &claims) {
        Assumed::Ready(node) => return bind(world, key, &node),
        Assumed::Waits => return world.scheduler.queue.failed(key, Hints::volumes(), Instant::now()),
        Assumed::No => forget(world, key),
    }
    match choose(world, &pod, &claims) {
        Ok(node) if claims.delayed.is_empty() => bind(world, key, &node),
        Ok(node) => {
            for claim in &claims.delayed {
                select(world, &key.namespace, claim, &node);
            }
            world.scheduler.assumed.insert(key.clone(), node.clone());
            world.scheduler.places.stand(&node, &pod);
            world.scheduler.queue.failed(key, Hints::volumes(), Instant::now());
        }
        Err((why, hints)) => put_off(world, key, "Unschedulable", &why, hints),
    }
}

/// What has become of the node that a pod was to have.
enum Assumed {
    /// Its volumes are bound, and can be used there.
    Ready(String),
    /// They are not bound yet.
    Waits,
    /// It has none, or not any more.
    No,
}

/// A pod is to have a node no more.
fn forget(world: &mut World, key: &ObjectKey) {
    if world.scheduler.assumed.remove(key).is_some() {
        world.scheduler.places.leave(&key.namespace, &key.name);
    }
}

/// Sets a volume that is there aside for a claim, or says for which node one is to be made.
fn select(world: &mut World, namespace: &str, claim: &Delayed, node: &str) {
    let found = world.store.get::<Node>("", node).and_then(|node| claim.volume_on(&node));
    if let Some(volume) = found {
        let reference = claim.reference();
        world.store.update::<PersistentVolume>("", &volume, |volume| {
            volume.spec.get_or_insert_default().claim_ref = Some(reference);
        });
        return;
    }
    world.store.update::<PersistentVolumeClaim>(namespace, &claim.name(), |claim| {
        claim.metadata.annotations.get_or_insert_default().insert(SELECTED.to_owned(), node.to_owned());
    });
}

/// The node that suits a pod best, or why there is none.
fn choose(world: &mut World, pod: &Pod, claims: &Claims) -> Result<String, (String, Hints)> {
    let memory = &world.scheduler;
    let all = memory.order.len();
    let fit = memory.places.fit(pod, claims.volumes.iter().map(Arc::as_ref).collect());
    let (mut open, mut reasons, mut hints) = (Vec::<&Place>::new(), BTreeMap::<String, usize>::new(), Hints::default());
    let mut seen = 0;
    for name in memory.order.iter().cycle().skip(memory.start).take(all) {
        if open.len() == memory.enough() {
            break;
        }
        seen += 1;
        let Some(place) = memory.places.get(name) else { continue };
        match fit.unfit(place) {
            None if claims.can_be_met(world, name) => open.push(place),
            None => {
                hints.merge(&Hints::volumes());
                *reasons.entry(claims::UNMET.to_owned()).or_default() += 1;
            }
            Some(unfit) => {
                hints.add(&unfit);
                for words in unfit.words() {
                    *reasons.entry(words).or_default() += 1;
                }
            }
        }
    }
    let found = match open.as_slice() {
        [] => Err((said(all, &reasons), hints)),
        [only] => Ok(vec![only.name().to_owned()]),
        _ => {
            let scores = fit.scores(&open, even(world, pod).as_ref());
            let best = scores.iter().copied().fold(f64::MIN, f64::max);
            let best = open.iter().zip(&scores).filter(|(_, score)| score.total_cmp(&best).is_eq());
            Ok(best.map(|(place, _)| place.name().to_owned()).collect())
        }
    };
    world.scheduler.start = (world.scheduler.start + seen) % all.max(1);
    let mut best = found?;
    let pick = if best.len() > 1 { world.pick(best.len()) } else { 0 };
    Ok(best.swap_remove(pick))
}

/// What kube-scheduler says when no node fits.
fn said(all: usize, reasons: &BTreeMap<String, usize>) -> String {
    if all == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut each: Vec<String> = reasons.iter().map(|(words, nodes)| format!("{nodes} {words}")).collect();
    each.sort();
    format!("0/{all} nodes are available: {}.", each.join(", "))
}

/// The pods that a pod without rules of its own is spread among: those of its services and of its controller.
fn even(world: &World, pod: &Pod) -> Option<LabelSelector> {
    let labels = pod.metadata.labels.as_ref()?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut even = LabelSelector::default();
    for service in world.store.list::<Service>(Some(namespace)) {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let selector =
            selector.filter(|all| !all.is_empty() && all.iter().all(|(key, value)| labels.get(key) == Some(value)));
        even.match_labels.get_or_insert_default().extend(selector.cloned().unwrap_or_default());
    }
    let owned = controller_of(pod.metadata.owner_references.as_ref()).and_then(|owner| match owner.kind.as_str() {
        "ReplicaSet" => Some(world.store.get::<ReplicaSet>(namespace, &owner.name)?.spec.as_ref()?.selector.clone()),
        "StatefulSet" => Some(world.store.get::<StatefulSet>(namespace, &owner.name)?.spec.as_ref()?.selector.clone()),
        _ => None,
    });
    let owned = owned.unwrap_or_default();
    even.match_labels.get_or_insert_default().extend(owned.match_labels.unwrap_or_default());
    even.match_expressions = owned.match_expressions.filter(|all| !all.is_empty());
    let says = even.match_expressions.is_some() || even.match_labels.as_ref().is_some_and(|all| !all.is_empty());
    says.then_some(even)
}

fn bind(world: &mut World, key: &ObjectKey, node: &str) {
    let now = world.time();
    let bound = world.store.update::<Pod>(&key.namespace, &key.name, |pod| {
        pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
        let scheduled =
            PodCondition { type_: "PodScheduled".to_owned(), status: "True".to_owned(), ..PodCondition::default() };
        set_condition(pod, scheduled, &now);
    });
    world.scheduler.queue.remove(key);
    world.scheduler.assumed.remove(key);
    if let Some(pod) = bound
        && world.scheduler.places.stand(node, &pod)
    {
        wake(world, Event::Stands);
    }
}

/// Says why a pod gets no node now.
fn put_off(world: &mut World, key: &ObjectKey, reason: &str, why: &str, hints: Hints) {
    let now = world.time();
    world.store.update::<Pod>(&key.namespace, &key.name, |pod| {
        let waits = PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(why.to_owned()),
            ..PodCondition::default()
        };
        set_condition(pod, waits, &now);
    });
    world.scheduler.queue.failed(key, hints, Instant::now());
}
