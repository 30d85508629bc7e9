//! What the controllers' tests share: a lab in which the test plays scheduler and kubelet, and questions about what happened in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, PodIP};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::nodes::cut_power;
use super::objects::{delete, is_active, is_finished, is_ready, key_of, phase, set_condition};
use crate::lab::store::{Object, ObjectKey, number_of};
use crate::lab::testing::lab;
use crate::lab::world::{Shared, World};

/// A lab in which nothing is scheduled that is made by [`pod_spec`], and no kubelet works: the test does their work.
pub(super) fn quiet() -> Shared {
    let lab = lab();
    lab.with(|world| {
        world.settings.node_grace = Duration::from_secs(1_000_000_000);
        for node in ["node1", "node2", "node3"] {
            cut_power(world, node);
        }
    });
    lab
}

/// A pod of one container that the lab's scheduler leaves alone.
pub(super) fn pod_spec(image: &str) -> Value {
    json!({
        "schedulerName": "nobody",
        "containers": [{"name": "web", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}],
    })
}

/// How long pods take that the test runs.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// From their binding until they are ready; `None`: they never are.
    pub ready: Option<Duration>,
    /// From their deletion until they are gone.
    pub end: Duration,
}

/// A second to be ready, and two to end.
pub(super) const BRISK: Pace = Pace { ready: Some(Duration::from_secs(1)), end: Duration::from_secs(2) };

/// Binds pods, runs them, and takes them away when they were deleted, for as long as the test lasts. Pods of the image `broken` never get
/// ready.
pub(super) fn play(lab: &Shared, pace: Pace) {
    let lab = lab.clone();
    tokio::spawn(async move {
        let mut since: BTreeMap<(String, bool), Instant> = BTreeMap::new();
        loop {
            lab.with(|world| {
                let pods: Vec<_> = world.store.list::<Pod>(None).collect();
                for pod in pods {
                    let leaving = pod.metadata.deletion_timestamp.is_some();
                    let which = (pod.metadata.uid.clone().unwrap(), leaving);
                    let elapsed = since.entry(which).or_insert_with(Instant::now).elapsed();
                    step(world, &pod, pace, elapsed);
                }
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

fn step(world: &mut World, pod: &Arc<Pod>, pace: Pace, elapsed: Duration) {
    let spec = pod.spec.as_ref().unwrap();
    if pod.metadata.deletion_timestamp.is_some() {
        if elapsed >= pace.end {
            delete(world, number_of::<Pod>(), &key_of(&pod.metadata), Some(0));
        }
    } else if spec.node_name.is_none() {
        let node = pinned_to(pod).unwrap_or_else(|| emptiest(world));
        bind(world, &key_of(&pod.metadata), &node);
    } else if matches!(phase(pod), "" | "Pending") {
        run(world, &key_of(&pod.metadata));
    } else if phase(pod) == "Running" && !is_ready(pod) {
        let works = spec.containers.iter().all(|container| container.image.as_deref() != Some("broken"));
        if works && pace.ready.is_some_and(|after| elapsed >= after) {
            say_ready(world, &key_of(&pod.metadata), true);
        }
    }
}

fn pinned_to(pod: &Pod) -> Option<String> {
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    terms.first()?.match_fields.as_ref()?.first()?.values.as_ref()?.first().cloned()
}

fn emptiest(world: &World) -> String {
    let nodes = world.store.list::<Node>(None).map(|node| node.metadata.name.clone().unwrap());
    nodes.min_by_key(|node| world.store.pods_on(node).len()).unwrap()
}

pub(super) fn bind(world: &mut World, key: &ObjectKey, node: &str) {
    world.store.update::<Pod>(&key.namespace, &key.name, |pod| {
        pod.spec.as_mut().unwrap().node_name = Some(node.to_owned());
    });
}

/// Has a pod's containers run, at an address of its own.
pub(super) fn run(world: &mut World, key: &ObjectKey) {
    let version = world.store.version();
    world.store.update::<Pod>(&key.namespace, &key.name, |pod| {
        let status = pod.status.get_or_insert_default();
        let ip = format!("10.1.{}.{}", version / 256 % 256, version % 256);
        status.phase = Some("Running".to_owned());
        status.pod_ips = Some(vec![PodIP { ip: ip.clone() }]);
        status.pod_ip = Some(ip);
    });
}

pub(super) fn say_ready(world: &mut World, key: &ObjectKey, ready: bool) {
    let now = world.time();
    let condition = PodCondition {
        type_: "Ready".to_owned(),
        status: if ready { "True" } else { "False" }.to_owned(),
        ..PodCondition::default()
    };
    world.store.update::<Pod>(&key.namespace, &key.name, |pod| set_condition(pod, condition, &now));
}

pub(super) fn say_phase(world: &mut World, key: &ObjectKey, phase: &str) {
    world.store.update::<Pod>(&key.namespace, &key.name, |pod| {
        pod.status.get_or_insert_default().phase = Some(phase.to_owned());
    });
}

/// The names of the pods of `shop` that count as replicas.
pub(super) fn active(lab: &Shared) -> Vec<String> {
    let pods = pods(lab);
    pods.iter().filter(|pod| is_active(pod)).map(|pod| pod.metadata.name.clone().unwrap()).collect()
}

pub(super) fn pods(lab: &Shared) -> Vec<Arc<Pod>> {
    lab.read(|world| world.store.list::<Pod>(Some("shop")).collect())
}

/// What a field of an object is by now, by kind, name in `shop`, and JSON pointer.
pub(super) fn field<K: k8s_openapi::Resource>(lab: &Shared, name: &str, pointer: &str) -> Value {
    lab.read(|world| {
        let object = world.store.object(number_of::<K>(), &ObjectKey::new("shop", name));
        object.and_then(|object| object.json().pointer(pointer).cloned()).unwrap_or_default()
    })
}

/// Changes an object of `shop` as JSON.
pub(super) fn edit<K: k8s_openapi::Resource>(lab: &Shared, name: &str, change: impl FnOnce(&mut Value)) {
    lab.with(|world| {
        let key = ObjectKey::new("shop", name);
        let mut json = world.store.object(number_of::<K>(), &key).unwrap().json();
        change(&mut json);
        world.store.replace(number_of::<K>(), &key, json).unwrap();
    });
}

/// The pods of `shop` as they were after each change since a version.
pub(super) fn replay(lab: &Shared, from: u64, mut each: impl FnMut(&BTreeMap<String, Arc<Pod>>)) {
    lab.read(|world| {
        let mut pods: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
        let (kind, mut started) = (number_of::<Pod>(), false);
        for change in world.store.since(1).unwrap() {
            let object: &Arc<Object> = change.object();
            if object.kind == kind && object.key.namespace == "shop" {
                match change.now::<Pod>() {
                    Some(pod) => drop(pods.insert(object.key.name.clone(), pod)),
                    None => drop(pods.remove(&object.key.name)),
                }
            }
            if change.version > from {
                each(&pods);
                started = true;
            }
        }
        assert!(started, "nothing happened");
    });
}

/// How many of them count as replicas, and how many of these are ready.
pub(super) fn numbers<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> (usize, usize) {
    let active: Vec<_> = pods.filter(|pod| is_active(pod)).collect();
    (active.len(), active.iter().filter(|pod| is_ready(pod)).count())
}

/// The images of those that are not over.
pub(super) fn images<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> BTreeSet<String> {
    let running = pods.filter(|pod| !is_finished(pod));
    running.map(|pod| pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap()).collect()
}
