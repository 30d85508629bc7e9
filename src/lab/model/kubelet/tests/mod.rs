//! Pods that are bound to a node by the test itself, on a lab where nothing else moves.

mod ending;
mod power;
mod probing;
mod restarting;
mod starting;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Process;
use crate::lab::model::objects;
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::testing::{create, lab, pass};
use crate::lab::world::{Shared, World};

/// A lab in which a pod's start always takes as long: its containers start 0.71 s after its creation. Its kubelet takes the first pod up at
/// 0.01, and from then on asks its runtime once a second what runs: it sees the start at 1.01, and says so in the status at 1.02.
fn still() -> Shared {
    let shared = lab();
    shared.with(|world| (world.settings.start_spread, world.settings.relist_spread) = Default::default());
    shared
}

/// An object with more fields, which come in the place of its own.
fn with(mut object: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more} is no object") };
    for (field, value) in more {
        object[field] = value;
    }
    object
}

/// A pod `web` on `node1` whose container is as said.
fn pod(annotations: Value, container: Value) -> Value {
    pod_with(annotations, container, json!({}))
}

/// The same with more in its spec.
fn pod_with(annotations: Value, container: Value, spec: Value) -> Value {
    let Value::Object(annotations) = annotations else { panic!("{annotations} is no object") };
    let annotations: serde_json::Map<String, Value> =
        annotations.into_iter().map(|(name, value)| (format!("lab.squall.dev/{name}"), value)).collect();
    let web = json!({"name": "web", "image": "web:1", "ports": [{"containerPort": 8080, "name": "http"}]});
    let web = with(web, container);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
        "spec": with(json!({"nodeName": "node1", "containers": [web]}), spec),
    })
}

fn http(more: Value) -> Value {
    with(json!({"httpGet": {"path": "/", "port": 8080}}), more)
}

fn get(world: &World) -> Option<Arc<Pod>> {
    world.store.get("shop", "web")
}

fn web(shared: &Shared) -> Arc<Pod> {
    shared.read(get).expect("the pod")
}

fn phase(shared: &Shared) -> String {
    objects::phase(&web(shared)).to_owned()
}

fn is_ready(world: &World) -> bool {
    get(world).is_some_and(|pod| objects::is_ready(&pod))
}

fn containers(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default()
}

fn container(pod: &Pod) -> ContainerStatus {
    containers(pod)[0].clone()
}

fn restarts(world: &World) -> i32 {
    get(world).and_then(|pod| containers(&pod).first().map(|container| container.restart_count)).unwrap_or(0)
}

/// Whether the first container is in a state that has this field.
fn is_in(world: &World, state: &str) -> bool {
    let state =
        get(world).and_then(|pod| serde_json::to_value(containers(&pod).first()?).ok()?["state"].get(state).cloned());
    state.is_some()
}

/// Why the first container waits.
fn waits(shared: &Shared) -> String {
    container(&web(shared)).state.unwrap().waiting.and_then(|waiting| waiting.reason).unwrap_or_default()
}

fn delete(shared: &Shared, grace: Option<i64>) {
    shared.with(|world| objects::delete(world, number_of::<Pod>(), &ObjectKey::new("shop", "web"), grace));
}

fn address(shared: &Shared) -> IpAddr {
    web(shared).status.as_ref().unwrap().pod_ip.as_ref().unwrap().parse().unwrap()
}

fn at(shared: &Shared, address: IpAddr, port: u16) -> Option<Process> {
    shared.read(|world| world.kubelets.at(address, port).cloned())
}

/// Seconds from now until something is so; infinity where it is not within the limit.
async fn until(shared: &Shared, limit: u64, so: impl Fn(&World) -> bool) -> f64 {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(limit) {
        if shared.read(&so) {
            return start.elapsed().as_secs_f64();
        }
        pass(Duration::from_millis(1)).await;
    }
    f64::INFINITY
}

/// Whether something took as long as arithmetic says: each step of the clock is a millisecond.
#[track_caller]
fn assert_near(measured: f64, expected: f64, what: &str) {
    let near = (measured - expected).abs() <= 0.006 || (measured.is_infinite() && expected.is_infinite());
    assert!(near, "{what}: {measured} s, not {expected} s");
}

async fn seconds(time: f64) {
    pass(Duration::from_secs_f64(time)).await;
}
