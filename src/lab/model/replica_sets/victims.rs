//! Which pods go first when there are too many.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::lab::model::objects::{is_active, is_ready, phase, ready_since};
use crate::lab::store::controller_of;
use crate::lab::world::World;

/// The annotation by which a pod says what its deletion costs.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// As many of these pods as are to go: first those whose end costs least.
pub(super) fn choose(world: &World, set: &ReplicaSet, pods: &[Arc<Pod>], surplus: usize) -> Vec<Arc<Pod>> {
    let mut pods = pods.to_vec();
    if surplus < pods.len() {
        let (crowds, now) = (crowds(world, set), world.wall());
        pods.sort_by_cached_key(|pod| rank(pod, &crowds, now));
        pods.truncate(surplus);
    }
    pods
}

/// How many replicas of the set, and of the others of its Deployment, each node has.
fn crowds(world: &World, set: &ReplicaSet) -> BTreeMap<String, usize> {
    let kin = match controller_of(set.metadata.owner_references.as_ref()) {
        Some(owner) => world.store.owned::<ReplicaSet>(&owner.uid),
        None => vec![Arc::new(set.clone())],
    };
    let mut crowds = BTreeMap::new();
    for uid in kin.iter().filter_map(|set| set.metadata.uid.as_deref()) {
        for pod in world.store.owned::<Pod>(uid).iter().filter(|pod| is_active(pod)) {
            *crowds.entry(node(pod).to_owned()).or_default() += 1;
        }
    }
    crowds
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// The smallest goes first. Ages count by their order of magnitude only; within one, where the real controller lets the uid decide, those
/// that were restarted more often go before it does.
type Rank = (bool, u8, bool, i32, Reverse<usize>, Option<i64>, Reverse<(i32, i32)>, i64, String);

fn rank(pod: &Pod, crowds: &BTreeMap<String, usize>, now: Timestamp) -> Rank {
    let phase = match phase(pod) {
        "Pending" => 0,
        "Running" => 2,
        _ => 1,
    };
    let cost = pod.metadata.annotations.as_ref().and_then(|all| all.get(COST)?.parse().ok()).unwrap_or(0);
    let crowd = crowds.get(node(pod)).copied().unwrap_or(0);
    let ready = ready_since(pod).map(|since| magnitude(since, now));
    let created = pod.metadata.creation_timestamp.as_ref().map_or(-1, |time| magnitude(time.0, now));
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    (!node(pod).is_empty(), phase, is_ready(pod), cost, Reverse(crowd), ready, Reverse(restarts(pod)), created, uid)
}

/// The most restarts of one of its containers, and of one of its sidecars.
fn restarts(pod: &Pod) -> (i32, i32) {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let starters = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    let sidecars: Vec<&str> = starters
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let containers = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let starters = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    let sidecars = starters.filter(|status| sidecars.contains(&status.name.as_str()));
    (
        containers.map(|status| status.restart_count).max().unwrap_or(0),
        sidecars.map(|status| status.restart_count).max().unwrap_or(0),
    )
}

/// The logarithm of an age.
fn magnitude(since: Timestamp, now: Timestamp) -> i64 {
    let age = now.duration_since(since).as_nanos();
    age.checked_ilog2().map_or(-1, i64::from)
}
