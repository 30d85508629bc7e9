//! The life of nodes: their power, what the cluster hears of them, and what becomes of the pods of those that are lost.
//!
//! A node with power renews its [lease](leases) and says now and then how it is; when it loses power, its lease was last renewed at some
//! moment of the period before, and the controllers' timers count from there.

mod evictions;
mod health;
pub(in crate::lab) mod leases;
mod orphans;
mod taints;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use self::evictions::Eviction;
use self::health::Zone;
use super::{Controller, Task, kubelet};
use crate::lab::store::{Change, KINDS, ObjectKey};
use crate::lab::world::World;

/// What the controller looks at beside nodes, by names that no node has. Pods it looks at by their own key.
const TICK: &str = "";
const TAINTING: &str = "/tainting";
const ORPHANS: &str = "/orphans";
const HEARD: &str = "/heard/";
const LEASES: &str = "/leases";
const STATUS: &str = "/status/";
const MACHINES: &str = "/machines";
/// kubelet: how often a node says how it is where nothing changes (`nodeStatusReportFrequency`).
const REPORT: Duration = Duration::from_mins(5);
/// cloud-controller-manager: how often it looks for nodes whose machines are gone (its own `--node-monitor-period`).
const CLOUD_LOOKS: Duration = Duration::from_secs(5);

/// Which nodes have power, and what their controllers remember.
#[derive(Debug, Default)]
pub(in crate::lab) struct Nodes {
    /// Without power, and when they will have been silent for too long.
    down: BTreeMap<String, Timestamp>,
    /// With power, but without a network: since when, and the same.
    cut_off: BTreeMap<String, (Instant, Timestamp)>,
    /// Their machines are gone for good.
    gone: BTreeSet<String>,
    /// How long after a round time the cloud's controller looks: not when the other controller does.
    cloud_looks: Option<Duration>,
    /// When their leases are renewed.
    renewals: BTreeMap<String, leases::Renewals>,
    /// Until then somebody watches leases.
    leases_shown: Option<Timestamp>,
    /// Those that were not ready when they were looked at last.
    unready: BTreeSet<String>,
    zones: BTreeMap<(String, String), Zone>,
    /// Pods that a taint drives away, unless it goes before.
    evictions: BTreeMap<ObjectKey, Eviction>,
    /// Nodes that pods are bound to and that are not there, and when their pods go.
    missing: BTreeMap<String, Timestamp>,
}

impl Nodes {
    /// Whether the node has power. One that nobody has heard of has.
    pub(in crate::lab) fn is_up(&self, node: &str) -> bool {
        !self.down.contains_key(node)
    }

    /// Whether nothing from elsewhere reaches the node, and nothing of it elsewhere.
    pub(in crate::lab) fn is_cut_off(&self, node: &str) -> bool {
        self.cut_off.contains_key(node)
    }

    /// Since when that is so.
    pub(in crate::lab) fn cut_off_since(&self, node: &str) -> Option<Instant> {
        self.cut_off.get(node).map(|(since, _)| *since)
    }

    /// Whether there is such a node at all.
    pub(in crate::lab) fn any_cut_off(&self) -> bool {
        !self.cut_off.is_empty()
    }

    /// When a node of which nothing is heard will have been silent for too long.
    fn lost(&self, node: &str) -> Option<Timestamp> {
        let cut_off = self.cut_off.get(node).map(|(_, lost)| lost);
        self.down.get(node).into_iter().chain(cut_off).min().copied()
    }
}

/// Takes a node its power: what runs on it is gone, and nobody is told.
pub(in crate::lab) fn cut_power(world: &mut World, node: &str) {
    if !world.nodes.is_up(node) {
        return;
    }
    let lost = silent_from_now(world, node);
    world.nodes.down.insert(node.to_owned(), lost);
    kubelet::power_changed(world, node);
    at(world, lost, TICK);
}

/// When a node that is heard no more will have been silent for too long.
fn silent_from_now(world: &mut World, node: &str) -> Timestamp {
    let mut last = leases::stop(world, node);
    if let Some(every) = world.settings.reports {
        // Its status is news of it too.
        let ago = world.up_to(every);
        last = last.max(before(world.wall(), ago));
    }
    // The controller counts from when it saw the renewal, at its next look.
    let seen = tick_from(world, last, world.settings.node_monitor);
    tick_from(world, after(seen, world.settings.node_grace), world.settings.node_monitor)
}

/// Cuts a node off from everything else: what runs on it runs on, its kubelet hears of nothing, and nobody of it.
pub(in crate::lab) fn cut_network(world: &mut World, node: &str) {
    if world.nodes.is_cut_off(node) {
        return;
    }
    let lost = silent_from_now(world, node);
    world.nodes.cut_off.insert(node.to_owned(), (Instant::now(), lost));
    kubelet::network_changed(world, node);
    at(world, lost, TICK);
}

/// Lets a node hear and be heard again: its kubelet does what it has missed, and says so with its next heartbeat.
pub(in crate::lab) fn restore_network(world: &mut World, node: &str) {
    if world.nodes.cut_off.remove(node).is_none() {
        return;
    }
    if world.nodes.is_up(node) {
        leases::start(world, node);
    }
    kubelet::network_changed(world, node);
    let heartbeat = world.up_to(world.settings.heartbeat);
    world.later(heartbeat, Task::Reconcile(Controller::Nodes, ObjectKey::new("", format!("{HEARD}{node}"))));
}

/// Gives a node its power back: its kubelet starts, and says that it is ready.
pub(in crate::lab) fn restore_power(world: &mut World, node: &str) {
    if world.nodes.gone.contains(node) || world.nodes.down.remove(node).is_none() {
        return;
    }
    if !world.nodes.is_cut_off(node) {
        leases::start(world, node);
    }
    kubelet::power_changed(world, node);
    world.notice(Controller::Nodes, ObjectKey::new("", format!("{HEARD}{node}")));
}

/// Takes a node's machine away for good. Once the node is not ready, the cloud's controller sees that, and deletes its object.
pub(in crate::lab) fn remove(world: &mut World, node: &str) {
    cut_power(world, node);
    world.nodes.gone.insert(node.to_owned());
    let next = next_tick(world, world.settings.node_monitor);
    at(world, next, TICK);
}

pub(super) fn observe(world: &mut World, change: &Change) {
    match KINDS[change.object().kind].kind {
        "Node" => observe_node(world, change),
        "Pod" => observe_pod(world, change),
        _ => {}
    }
}

fn observe_node(world: &mut World, change: &Change) {
    let key = &change.object().key;
    let (was, now) = (change.was::<Node>(), change.now::<Node>());
    if was.is_none() {
        // Only a kubelet with power makes its node.
        world.nodes.down.remove(&key.name);
        world.nodes.cut_off.remove(&key.name);
        world.nodes.gone.remove(&key.name);
        world.nodes.missing.remove(&key.name);
        if let Some(now) = &now {
            leases::join(world, now);
            report_later(world, &key.name);
        }
    }
    let readiness = |node: &Option<std::sync::Arc<Node>>| node.as_deref().map(|node| ready(node).to_owned());
    if readiness(&was) != readiness(&now) {
        let next = next_tick(world, world.settings.node_monitor);
        at(world, next, TICK);
    }
    match now {
        None => {
            world.nodes.unready.remove(&key.name);
            world.nodes.cut_off.remove(&key.name);
            orphans::missed(world, &key.name);
        }
        Some(now) => {
            orphans::watch(world, &now);
            if was.is_none_or(|was| was.spec != now.spec || said(&was) != said(&now)) {
                world.notice(Controller::Nodes, key.clone());
            }
        }
    }
}

fn observe_pod(world: &mut World, change: &Change) {
    let key = &change.object().key;
    let Some(pod) = change.now::<Pod>() else {
        world.nodes.evictions.remove(key);
        return;
    };
    let Some(name) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else { return };
    let Some(node) = world.store.get::<Node>("", name) else { return orphans::missed(world, name) };
    if pod.metadata.deletion_timestamp.is_some() {
        orphans::watch(world, &node);
    }
    let bound = |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.node_name.clone(), spec.tolerations.clone()));
    if taints::driving(&node).next().is_some() && change.was::<Pod>().is_none_or(|was| bound(&was) != bound(&pod)) {
        world.notice(Controller::Nodes, key.clone());
    }
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    if !key.namespace.is_empty() {
        return evictions::reconcile(world, key);
    }
    match key.name.as_str() {
        TICK => health::tick(world),
        TAINTING => health::taint(world),
        MACHINES => health::collect(world),
        ORPHANS => orphans::collect(world),
        LEASES => leases::show(world, None),
        name => {
            if let Some(node) = name.strip_prefix(HEARD) {
                health::heard(world, node);
            } else if let Some(node) = name.strip_prefix(STATUS) {
                health::report(world, node);
                report_later(world, node);
            } else {
                taints::keep_away(world, name);
                evictions::of_node(world, name);
            }
        }
    }
}

/// What a node's conditions say, whenever they said it.
fn said(node: &Node) -> Vec<(&str, &str)> {
    let all = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    all.map(|known| (known.type_.as_str(), known.status.as_str())).collect()
}

/// Has a node say how it is at its next turn. Each has its own, by its name.
fn report_later(world: &mut World, name: &str) {
    if world.store.get::<Node>("", name).is_none() {
        return;
    }
    let hash = name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let turn = Duration::from_millis(u64::from(hash) * 7919 % 300_000);
    let next = after(tick_from(world, before(after(world.wall(), Duration::from_nanos(1)), turn), REPORT), turn);
    at(world, next, &format!("{STATUS}{name}"));
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// `True`, `False` or `Unknown`; empty where its kubelet has not said anything yet.
fn ready(node: &Node) -> &str {
    condition(node, "Ready").map_or("", |ready| ready.status.as_str())
}

/// Has the controller look at something at a time.
fn at(world: &mut World, time: Timestamp, name: &str) {
    let after = Duration::try_from(time.duration_since(world.wall())).unwrap_or_default();
    world.later(after, Task::Reconcile(Controller::Nodes, ObjectKey::new("", name)));
}

fn after(time: Timestamp, long: Duration) -> Timestamp {
    time.checked_add(SignedDuration::try_from(long).unwrap_or_default()).unwrap_or(time)
}

fn before(time: Timestamp, long: Duration) -> Timestamp {
    time.checked_sub(SignedDuration::try_from(long).unwrap_or_default()).unwrap_or(time)
}

/// When a controller that looks every so often looks first, from a time on.
///
/// It counts from the lab's own beginning: by the wall clock the same seed would make another run at another time of day.
fn tick_from(world: &World, time: Timestamp, every: Duration) -> Timestamp {
    let zero = world.began().as_nanosecond();
    let every = i128::try_from(every.as_nanos()).unwrap_or(i128::MAX).max(1);
    let since = time.as_nanosecond() - zero;
    let (ticks, rest) = (since.div_euclid(every), since.rem_euclid(every));
    Timestamp::from_nanosecond(zero + (ticks + i128::from(rest != 0)) * every).unwrap_or(time)
}

/// When the cloud's controller looks next.
fn next_cloud_look(world: &mut World) -> Timestamp {
    let looks = world.nodes.cloud_looks.unwrap_or_else(|| world.up_to(CLOUD_LOOKS));
    world.nodes.cloud_looks = Some(looks);
    let now = after(world.wall(), Duration::from_nanos(1));
    after(tick_from(world, before(now, looks), CLOUD_LOOKS), looks)
}

/// When such a controller looks next.
fn next_tick(world: &World, every: Duration) -> Timestamp {
    tick_from(world, after(world.wall(), Duration::from_nanos(1)), every)
}
