//! The node lifecycle controller: which nodes are silent, and which of these drive their pods away, zone by zone and no faster than allowed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use k8s_openapi::jiff::Timestamp;

use super::taints::{NOT_READY, UNREACHABLE, drive_away, drives};
use super::{MACHINES, TAINTING, TICK, after, at, next_cloud_look, ready};
use crate::lab::model::objects::{condition, delete, key_of, set_condition};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::world::World;

/// A zone with more nodes than this counts as large (`--large-cluster-size-threshold`).
const LARGE: usize = 50;
/// `--node-eviction-rate` 0.1: a node in so long.
const USUAL: Duration = Duration::from_secs(10);
/// `--secondary-node-eviction-rate` 0.01.
const SLOW: Duration = Duration::from_secs(100);

/// How fast nodes of a zone may begin to drive their pods away.
#[derive(Debug, Default)]
pub(super) struct Zone {
    /// The nodes that are to, in order.
    waiting: Vec<String>,
    /// One in so long; `None`: none.
    every: Option<Duration>,
    last: Option<Timestamp>,
}

/// What a kubelet that posts its status says of these.
const HEALTHY: [(&str, &str, &str, &str); 4] = [
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
];

/// Looks at all nodes.
pub(super) fn tick(world: &mut World) {
    let now = world.wall();
    for node in world.store.list::<Node>(None).collect::<Vec<_>>() {
        let name = name_of(&node);
        if ready(&node) != "Unknown" && world.nodes.lost(name).is_some_and(|lost| lost <= now) {
            silence(world, name);
        }
    }
    let nodes: Vec<Arc<Node>> = world.store.list::<Node>(None).filter(|node| !ready(node).is_empty()).collect();
    for node in &nodes {
        let name = name_of(node);
        if ready(node) == "True" {
            world.nodes.unready.remove(name);
        } else if world.nodes.unready.insert(name.to_owned()) {
            unready_pods(world, name);
        }
    }
    // Where no zone is well, it is rather the controller that hears nothing: no node drives pods away.
    let stops = nodes.iter().all(|node| ready(node) != "True");
    weigh(world, &nodes);
    for node in &nodes {
        if stops { drive_away(world, name_of(node), None) } else { queue(world, node) }
    }
    if !stops {
        taint(world);
    }
    if nodes.iter().any(|node| is_left(world, node)) {
        let next = next_cloud_look(world);
        at(world, next, MACHINES);
    }
    // A node that is silent for too long later.
    let silent = |node: &&Arc<Node>| ready(node) != "Unknown";
    let lost = nodes.iter().filter(silent).filter_map(|node| world.nodes.lost(name_of(node)));
    if let Some(next) = lost.filter(|lost| *lost > now).min() {
        at(world, next, TICK);
    }
}

/// Whether a node that is not ready has no machine any more.
fn is_left(world: &World, node: &Node) -> bool {
    !matches!(ready(node), "True" | "") && world.nodes.gone.contains(name_of(node))
}

/// The cloud's controller: removes the nodes that are left of machines.
pub(super) fn collect(world: &mut World) {
    let left: Vec<_> = world.store.list::<Node>(None).filter(|node| is_left(world, node)).collect();
    for node in left {
        delete(world, number_of::<Node>(), &ObjectKey::new("", name_of(&node)), None);
    }
}

fn name_of(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// Nothing was heard of a node for too long.
fn silence(world: &mut World, node: &str) {
    let why = "Kubelet stopped posting node status.";
    say(world, node, |known| {
        HEALTHY.iter().any(|(kind, ..)| *kind == known.type_).then_some(("Unknown", "NodeStatusUnknown", why))
    });
}

/// A node that was not heard of posts its status again.
pub(super) fn heard(world: &mut World, node: &str) {
    if !world.nodes.is_up(node) || world.nodes.is_cut_off(node) {
        return;
    }
    say(world, node, |known| {
        let healthy = HEALTHY.iter().find(|(kind, ..)| *kind == known.type_ && known.status == "Unknown");
        healthy.map(|(_, status, reason, message)| (*status, *reason, *message))
    });
}

/// A node says how it is, though nothing changed.
pub(super) fn report(world: &mut World, node: &str) {
    if !world.nodes.is_up(node) {
        return;
    }
    let now = world.time();
    world.store.update::<Node>("", node, |node| {
        let conditions = node.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten());
        for known in conditions.filter(|known| HEALTHY.iter().any(|(kind, ..)| *kind == known.type_)) {
            known.last_heartbeat_time = Some(now.clone());
        }
    });
}

/// Writes status, reason and message of those conditions of a node that change.
fn say(
    world: &mut World,
    node: &str,
    said: impl Fn(&NodeCondition) -> Option<(&'static str, &'static str, &'static str)>,
) {
    let now = world.time();
    world.store.update::<Node>("", node, |node| {
        let conditions = node.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten());
        for known in conditions {
            if let Some((status, reason, message)) = said(known).filter(|(status, ..)| known.status != *status) {
                known.status = status.to_owned();
                known.reason = Some(reason.to_owned());
                known.message = Some(message.to_owned());
                known.last_transition_time = Some(now.clone());
                if status != "Unknown" {
                    known.last_heartbeat_time = Some(now.clone());
                }
            }
        }
    });
}

/// No pod of a node that is not ready counts as ready, so that services send nothing there.
fn unready_pods(world: &mut World, node: &str) {
    let now = world.time();
    for pod in world.store.pods_on(node) {
        let Some(mut ready) = condition(&pod, "Ready").filter(|ready| ready.status == "True").cloned() else {
            continue;
        };
        "False".clone_into(&mut ready.status);
        let key = key_of(&pod.metadata);
        world.store.update::<Pod>(&key.namespace, &key.name, |pod| set_condition(pod, ready, &now));
    }
}

/// Sets how fast each zone may go, by how much of it is well.
fn weigh(world: &mut World, nodes: &[Arc<Node>]) {
    for zone in world.nodes.zones.values_mut() {
        zone.every = None;
    }
    let mut sizes = BTreeMap::<(String, String), (usize, usize)>::new();
    for node in nodes {
        let (well, ill) = sizes.entry(zone_of(node)).or_default();
        let count = if ready(node) == "True" { well } else { ill };
        *count += 1;
    }
    for (zone, (well, ill)) in sizes {
        let is_partly_ill = well > 0 && ill > 2 && ill * 100 >= (well + ill) * 55;
        let slow = (well + ill > LARGE).then_some(SLOW);
        world.nodes.zones.entry(zone).or_default().every = if is_partly_ill { slow } else { Some(USUAL) };
    }
}

fn zone_of(node: &Node) -> (String, String) {
    let label = |key: &str| crate::scheduling::label(node, key).unwrap_or_default().to_owned();
    (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

/// Which of the two taints a node is to have, if any.
fn deserved(node: &Node) -> Option<&'static str> {
    match ready(node) {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    }
}

/// Has a node wait for its turn to drive pods away, or not any more.
fn queue(world: &mut World, node: &Node) {
    let (name, deserved) = (name_of(node), deserved(node));
    let has = [NOT_READY, UNREACHABLE].into_iter().any(|key| drives(node, key));
    // A taint that is there already changes its key at once, and goes at once.
    if has || deserved.is_none() {
        drive_away(world, name, deserved);
    }
    let waits = deserved.is_some() && !has;
    let zone = world.nodes.zones.entry(zone_of(node)).or_default();
    match zone.waiting.iter().position(|waiting| waiting == name) {
        Some(at) if !waits => drop(zone.waiting.remove(at)),
        None if waits => zone.waiting.push(name.to_owned()),
        _ => {}
    }
}

/// Has those nodes drive their pods away whose turn it is.
pub(super) fn taint(world: &mut World) {
    let now = world.wall();
    let mut zones = std::mem::take(&mut world.nodes.zones);
    let mut next: Option<Timestamp> = None;
    for zone in zones.values_mut() {
        let Some(every) = zone.every else { continue };
        while !zone.waiting.is_empty() {
            if let Some(turn) = zone.last.map(|last| after(last, every)).filter(|turn| *turn > now) {
                next = Some(next.map_or(turn, |next| next.min(turn)));
                break;
            }
            let node = zone.waiting.remove(0);
            if let Some(deserved) = world.store.get::<Node>("", &node).as_deref().and_then(deserved) {
                drive_away(world, &node, Some(deserved));
                zone.last = Some(now);
            }
        }
    }
    world.nodes.zones = zones;
    if let Some(next) = next {
        at(world, next, TAINTING);
    }
}
