//! The taint eviction controller: pods that do not tolerate a `NoExecute` taint go, at once or after a while.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Toleration};
use tokio::time::Instant;

use super::taints::driving;
use crate::lab::model::objects::{delete, key_of, set_condition};
use crate::lab::model::{Controller, Task};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::world::World;
use crate::scheduling::tolerates;

/// When a pod goes.
#[derive(Debug)]
pub(super) struct Eviction {
    due: Instant,
}

/// How long a pod stays on a node.
enum Stays {
    Forever,
    For(Duration),
    /// There is a taint that it does not tolerate at all.
    No,
}

fn stays(pod: &Pod, node: &Node) -> Stays {
    let tolerations: Vec<&Toleration> =
        pod.spec.iter().filter_map(|spec| spec.tolerations.as_ref()).flatten().collect();
    let mut least: Option<i64> = None;
    for taint in driving(node) {
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
            return Stays::No;
        };
        if let Some(seconds) = toleration.toleration_seconds {
            least = Some(least.map_or(seconds, |least| least.min(seconds)));
        }
    }
    least.map_or(Stays::Forever, |seconds| Stays::For(Duration::from_secs(u64::try_from(seconds).unwrap_or_default())))
}

/// Looks at the pods of a node whose taints may have changed.
pub(super) fn of_node(world: &mut World, name: &str) {
    let Some(node) = world.store.get::<Node>("", name) else { return };
    if driving(&node).next().is_none() && world.nodes.evictions.is_empty() {
        return;
    }
    for pod in world.store.pods_on(name) {
        look(world, &pod, &node);
    }
}

/// Looks at a pod: when its time has come, or when it is new to its node.
pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let pod = world.store.get::<Pod>(&key.namespace, &key.name);
    let node = pod.as_ref().and_then(|pod| world.store.get::<Node>("", pod.spec.as_ref()?.node_name.as_deref()?));
    if let (Some(pod), Some(node)) = (pod, node) {
        look(world, &pod, &node);
    } else {
        world.nodes.evictions.remove(key);
    }
}

fn look(world: &mut World, pod: &Arc<Pod>, node: &Node) {
    let (key, now) = (key_of(&pod.metadata), Instant::now());
    let due = match stays(pod, node) {
        Stays::Forever => {
            world.nodes.evictions.remove(&key);
            return;
        }
        Stays::No => now,
        // What is due keeps its time, whatever other taint comes.
        Stays::For(long) => world.nodes.evictions.get(&key).map_or(now + long, |eviction| eviction.due),
    };
    if due > now {
        world.nodes.evictions.insert(key.clone(), Eviction { due });
        return world.later(due - now, Task::Reconcile(Controller::Nodes, key));
    }
    world.nodes.evictions.remove(&key);
    if pod.metadata.deletion_timestamp.is_none() {
        disrupt(world, &key, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
        delete(world, number_of::<Pod>(), &key, None);
    }
}

/// Writes into a pod's status that it goes because something happened to its node.
pub(super) fn disrupt(world: &mut World, key: &ObjectKey, reason: &str, why: &str) {
    let now = world.time();
    world.store.update::<Pod>(&key.namespace, &key.name, |pod| {
        let condition = PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(why.to_owned()),
            ..PodCondition::default()
        };
        set_condition(pod, condition, &now);
    });
}
