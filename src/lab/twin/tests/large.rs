//! A large cluster, for its time and its size.

use std::time::Duration;

use serde_json::{Value, json};

use super::{begin, placement, wall};
use crate::lab::testing::pass;
use crate::lab::twin::Twin;

/// Two hundred nodes, and a hundred Deployments of fifty pods each, with a budget and a Service.
fn large() -> Twin {
    let ready = |kind: &str| json!([{"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}]);
    let mut objects = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "big"}})];
    for node in 0..200 {
        let name = format!("node{node}");
        let room = json!({"cpu": "16", "memory": "64Gi", "pods": "110"});
        let labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": (["a", "b", "c"][node % 3])});
        objects.push(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
            "status": {"capacity": room, "allocatable": room, "conditions": ready("Ready")}}));
    }
    for app in 0..100 {
        let name = format!("app{app}");
        let labels = json!({"app": name});
        let hashed = json!({"app": name, "pod-template-hash": "1"});
        let probe = json!({"httpGet": {"port": 8080}, "periodSeconds": 5});
        let spec = json!({"containers": [{"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}], "readinessProbe": probe,
            "livenessProbe": probe, "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}]});
        let meta = |name: &str, labels: &Value, owner: Option<(&str, &str)>| {
            let owners = owner
                .map(|(kind, name)| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true}]));
            json!({"name": name, "namespace": "big", "labels": labels, "ownerReferences": owners.unwrap_or_else(|| json!([])),
                "generation": 1, "annotations": {"deployment.kubernetes.io/revision": "1"}, "creationTimestamp": "2026-01-01T00:00:00Z"})
        };
        let of = |labels: &Value, hash: &Value| json!({"replicas": 50, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": hash}, "spec": spec}});
        let status = json!({"replicas": 50, "readyReplicas": 50, "availableReplicas": 50, "updatedReplicas": 50, "observedGeneration": 1});
        let set = format!("{name}-1");
        objects.push(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(&name, &labels, None),
            "spec": of(&labels, &labels), "status": status}));
        objects.push(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta(&set, &hashed, Some(("Deployment", &name))),
            "spec": of(&hashed, &hashed), "status": status}));
        objects.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(&name, &labels, None),
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}}));
        objects.push(
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta(&name, &labels, None),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}}}),
        );
        for pod in 0..50 {
            let mut spec = spec.clone();
            spec["nodeName"] = format!("node{}", (app * 50 + pod) % 200).into();
            objects.push(json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta(&format!("{set}-{pod}"), &hashed, Some(("ReplicaSet", &set))),
                "spec": spec, "status": {"phase": "Running", "conditions": ready("Ready"), "startTime": "2026-01-01T00:00:00Z",
                    "containerStatuses": [{"name": "app", "ready": true, "started": true, "restartCount": 0,
                        "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}}]}}));
        }
    }
    let head = json!({"apiVersion": crate::lab::twin::API_VERSION, "kind": crate::lab::twin::KIND, "squall": "0", "taken": wall().to_string(),
        "cluster": {"version": "v1.34.0"}, "count": objects.len(), "objects": objects});
    serde_json::from_value(head).unwrap()
}

/// An hour on a large cluster: `cargo test --release large_cluster -- --ignored`, with the time that it takes.
#[tokio::test(start_paused = true)]
#[ignore = "large: it is there to be timed"]
async fn a_large_cluster_is_written_read_and_lived_in_for_an_hour() {
    let document = large().write().unwrap();
    let twin = Twin::parse(&document).unwrap();
    let (lab, loaded) = begin(&twin);
    assert_eq!((loaded.adopted, loaded.anew), (5000, 0));
    lab.settled().await.unwrap();
    let before = placement(&lab);
    pass(Duration::from_hours(1)).await;
    assert_eq!(placement(&lab), before);
}
