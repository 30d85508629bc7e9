//! A lab for tests: three nodes in three zones, the namespace `shop`, and time that passes.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::store::{Object, Refused, named};
use super::world::Shared;

/// When every test's lab begins.
pub(in crate::lab) const WALL: i64 = 1_800_000_000;

/// A lab whose controllers work as long as the test's runtime does. Call it with tokio's clock paused.
pub(in crate::lab) fn lab() -> Shared {
    let shared = Shared::new(1, Timestamp::from_second(WALL).unwrap());
    tokio::spawn(shared.clone().keep_going());
    for namespace in ["default", "kube-system", "shop"] {
        create(&shared, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
    }
    for (name, zone) in [("node1", "a"), ("node2", "b"), ("node3", "c")] {
        create(&shared, node(name, zone));
    }
    shared
}

/// A node with four cores that is ready.
pub(in crate::lab) fn node(name: &str, zone: &str) -> Value {
    let labels = json!({
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": zone,
    });
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "status": {"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// A Deployment `web` in `shop` whose one container listens at 8080.
pub(in crate::lab) fn deployment(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "web", "image": "web:1", "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
                }]},
            },
        },
    })
}

/// Creates an object as it is, past the API server's defaults.
pub(in crate::lab) fn try_create(shared: &Shared, object: Value) -> Result<std::sync::Arc<Object>, Refused> {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let kind = named(&text("apiVersion"), &text("kind")).expect("a kind that the lab keeps");
    shared.with(|world| {
        let wall = world.wall();
        world.store.create(kind, object, wall)
    })
}

/// The same where it must be possible.
pub(in crate::lab) fn create(shared: &Shared, object: Value) -> std::sync::Arc<Object> {
    try_create(shared, object).unwrap()
}

/// Lets so long pass.
pub(in crate::lab) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
