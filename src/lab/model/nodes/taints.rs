//! The taints that the node controller keeps in step with what nodes say of themselves.

use k8s_openapi::api::core::v1::{Node, Taint};

use super::condition;
use crate::lab::world::World;
use crate::scheduling::{CORDONED, taints};

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Somebody says that the node will not come back.
pub(super) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
const KEEPS_AWAY: &str = "NoSchedule";
const DRIVES_AWAY: &str = "NoExecute";

/// Which condition, being so, means which taint.
const MEANINGS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// The taints of a node that drive pods away.
pub(super) fn driving(node: &Node) -> impl Iterator<Item = &Taint> {
    taints(node).filter(|taint| taint.effect == DRIVES_AWAY)
}

/// Whether one of a node's taints that drive pods away has this key.
pub(super) fn drives(node: &Node, key: &str) -> bool {
    driving(node).any(|taint| taint.key == key)
}

/// Has a node drive pods away by this key, and by none of these others.
pub(super) fn drive_away(world: &mut World, node: &str, key: Option<&str>) {
    change(world, node, DRIVES_AWAY, &[NOT_READY, UNREACHABLE], &key.into_iter().collect::<Vec<_>>());
}

/// Has a node keep pods away as its conditions and its cordon say.
pub(super) fn keep_away(world: &mut World, name: &str) {
    let Some(node) = world.store.get::<Node>("", name) else { return };
    let ours: Vec<&str> = MEANINGS.iter().map(|(_, _, key)| *key).chain([CORDONED]).collect();
    let is = |kind: &str, status: &str| condition(&node, kind).is_some_and(|condition| condition.status == status);
    let meant = MEANINGS.iter().filter(|(kind, status, _)| is(kind, status)).map(|(_, _, key)| *key);
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let wanted: Vec<&str> = meant.chain(cordoned.then_some(CORDONED)).collect();
    change(world, name, KEEPS_AWAY, &ours, &wanted);
}

/// Of the taints with these keys and this effect a node gets the wanted ones, and keeps no other.
fn change(world: &mut World, node: &str, effect: &str, ours: &[&str], wanted: &[&str]) {
    let now = world.time();
    world.store.update::<Node>("", node, |node| {
        if wanted.is_empty() && taints(node).next().is_none() {
            return;
        }
        let all = node.spec.get_or_insert_default().taints.get_or_insert_default();
        let is_ours = |taint: &Taint| taint.effect == effect && ours.contains(&taint.key.as_str());
        all.retain(|taint| !is_ours(taint) || wanted.contains(&taint.key.as_str()));
        for key in wanted {
            if !all.iter().any(|taint| taint.effect == effect && taint.key == *key) {
                let time_added = Some(now.clone());
                all.push(Taint { key: (*key).to_owned(), effect: effect.to_owned(), value: None, time_added });
            }
        }
        if all.is_empty() {
            node.spec.get_or_insert_default().taints = None;
        }
    });
}
