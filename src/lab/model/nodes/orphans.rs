//! Pod garbage collection, as far as nodes go: pods of nodes that are not there any more, or that somebody has written off.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::evictions::disrupt;
use super::taints::OUT_OF_SERVICE;
use super::{ORPHANS, after, at, next_tick, ready};
use crate::lab::model::objects::{delete, is_finished, key_of};
use crate::lab::store::number_of;
use crate::lab::world::World;
use crate::scheduling::taints;

/// How often the collector looks.
const EVERY: Duration = Duration::from_secs(20);
/// How long it has seen a node missing before it takes its pods.
const QUARANTINE: Duration = Duration::from_secs(40);

/// A node that pods may be bound to is not there.
pub(super) fn missed(world: &mut World, node: &str) {
    if node.is_empty() || world.nodes.missing.contains_key(node) {
        return;
    }
    let due = after(next_tick(world, EVERY), QUARANTINE);
    world.nodes.missing.insert(node.to_owned(), due);
    at(world, due, ORPHANS);
}

/// Has the collector look if the node was written off.
pub(super) fn watch(world: &mut World, node: &Node) {
    if is_written_off(node) {
        let next = next_tick(world, EVERY);
        at(world, next, ORPHANS);
    }
}

fn is_written_off(node: &Node) -> bool {
    ready(node) != "True" && taints(node).any(|taint| taint.key == OUT_OF_SERVICE)
}

pub(super) fn collect(world: &mut World) {
    let now = world.wall();
    let due = world.nodes.missing.iter().filter(|(_, due)| **due <= now).map(|(node, _)| node.clone());
    for node in due.collect::<Vec<_>>() {
        world.nodes.missing.remove(&node);
        for pod in world.store.pods_on(&node) {
            take(world, &pod, true);
        }
    }
    let written_off: Vec<_> = world.store.list::<Node>(None).filter(|node| is_written_off(node)).collect();
    for name in written_off.into_iter().filter_map(|node| node.metadata.name.clone()) {
        for pod in world.store.pods_on(&name).into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
            take(world, &pod, false);
        }
    }
    if let Some(next) = world.nodes.missing.values().min().copied() {
        at(world, next, ORPHANS);
    }
}

/// Takes a pod away without waiting for its kubelet.
fn take(world: &mut World, pod: &Pod, is_orphan: bool) {
    let key = key_of(&pod.metadata);
    if is_orphan {
        disrupt(world, &key, "DeletionByPodGC", "PodGC: node no longer exists");
    }
    world.store.update::<Pod>(&key.namespace, &key.name, |pod| {
        if !is_finished(pod) {
            pod.status.get_or_insert_default().phase = Some("Failed".to_owned());
        }
    });
    delete(world, number_of::<Pod>(), &key, Some(0));
}
