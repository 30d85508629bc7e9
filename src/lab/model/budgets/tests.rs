use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use crate::lab::model::objects::delete;
use crate::lab::model::tests::{BRISK, active, edit, field, play, pod_spec, quiet, say_ready};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::testing::{create, pass};
use crate::lab::world::Shared;

const SECOND: Duration = Duration::from_secs(1);

fn workload(lab: &Shared, kind: &str, replicas: i32) {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec("web:1")},
        },
    });
    if kind != "DaemonSet" {
        object["spec"]["replicas"] = replicas.into();
    }
    create(lab, object);
}

fn budget(lab: &Shared, name: &str, mut spec: Value) {
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    create(
        lab,
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
        }),
    );
}

/// Expected pods, healthy ones that there are and that there must be, and how many may be evicted.
fn numbers(lab: &Shared, name: &str) -> [i64; 4] {
    let status = field::<PodDisruptionBudget>(lab, name, "/status");
    ["expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed"]
        .map(|field| status[field].as_i64().unwrap())
}

fn condition(lab: &Shared, name: &str) -> Value {
    field::<PodDisruptionBudget>(lab, name, "/status/conditions/0")
}

#[tokio::test(start_paused = true)]
async fn what_may_be_evicted_is_counted_as_the_budget_words_it() {
    for kind in ["Deployment", "ReplicaSet", "StatefulSet"] {
        let lab = quiet();
        play(&lab, BRISK);
        workload(&lab, kind, 5);
        pass(SECOND * 20).await;
        for (name, spec, expected) in [
            ("least", json!({"minAvailable": 3}), [5, 5, 3, 2]),
            ("least-too-many", json!({"minAvailable": 7}), [5, 5, 7, 0]),
            ("least-percent", json!({"minAvailable": "50%"}), [5, 5, 3, 2]),
            ("least-all", json!({"minAvailable": "100%"}), [5, 5, 5, 0]),
            ("most", json!({"maxUnavailable": 1}), [5, 5, 4, 1]),
            ("most-percent", json!({"maxUnavailable": "30%"}), [5, 5, 3, 2]),
            ("most-none", json!({"maxUnavailable": "0%"}), [5, 5, 5, 0]),
            ("most-too-many", json!({"maxUnavailable": 9}), [5, 5, 0, 5]),
        ] {
            budget(&lab, name, spec);
            pass(SECOND).await;
            assert_eq!(numbers(&lab, name), expected, "{kind} {name}");
            let reason = if expected[3] > 0 { "SufficientPods" } else { "InsufficientPods" };
            assert_eq!(condition(&lab, name)["reason"], reason);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_ready_or_leaves_is_not_healthy() {
    let lab = quiet();
    play(&lab, BRISK);
    workload(&lab, "ReplicaSet", 4);
    budget(&lab, "most", json!({"maxUnavailable": 2}));
    // Between two looks of who plays the kubelet.
    pass(SECOND * 5 + Duration::from_millis(30)).await;
    assert_eq!(numbers(&lab, "most"), [4, 4, 2, 2]);
    let names = active(&lab);
    let (one, other) = (ObjectKey::new("shop", names[0].clone()), ObjectKey::new("shop", names[1].clone()));
    lab.with(|world| say_ready(world, &one, false));
    lab.with(|world| delete(world, number_of::<Pod>(), &other, None));
    pass(Duration::from_millis(40)).await;
    assert_eq!(numbers(&lab, "most"), [4, 2, 2, 0]);
    assert_eq!(condition(&lab, "most")["reason"], "InsufficientPods");
    pass(SECOND * 5).await;
    assert_eq!(numbers(&lab, "most"), [4, 4, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_pod_is_not_counted_until_it_should_have_gone() {
    let lab = quiet();
    play(&lab, BRISK);
    workload(&lab, "ReplicaSet", 3);
    budget(&lab, "most", json!({"maxUnavailable": 1}));
    pass(SECOND * 5).await;
    let (name, now) = (active(&lab).remove(0), lab.read(crate::lab::world::World::time));
    edit::<PodDisruptionBudget>(&lab, "most", |budget| {
        budget["status"]["disruptionsAllowed"] = 0.into();
        budget["status"]["disruptedPods"] = json!({name.clone(): now, "gone": now});
    });
    pass(SECOND * 100).await;
    assert_eq!(numbers(&lab, "most"), [3, 2, 2, 0]);
    let left = field::<PodDisruptionBudget>(&lab, "most", "/status/disruptedPods");
    assert_eq!(left.as_object().unwrap().keys().collect::<Vec<_>>(), [&name]);
    pass(SECOND * 25).await;
    assert_eq!(numbers(&lab, "most"), [3, 3, 2, 1]);
    assert_eq!(field::<PodDisruptionBudget>(&lab, "most", "/status/disruptedPods"), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn pods_whose_number_nobody_says_are_not_counted_by_percent() {
    let lab = quiet();
    play(&lab, BRISK);
    let metadata = json!({"name": "naked", "namespace": "shop", "labels": {"app": "web"}});
    create(&lab, json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec("web:1")}));
    budget(&lab, "most", json!({"maxUnavailable": 1}));
    budget(&lab, "least", json!({"minAvailable": 0}));
    pass(SECOND * 3).await;
    assert_eq!(numbers(&lab, "most"), [0, 1, 0, 0]);
    assert_eq!(condition(&lab, "most")["reason"], "InsufficientPods");
    assert_eq!(numbers(&lab, "least"), [1, 1, 0, 1]);
    workload(&lab, "DaemonSet", 0);
    pass(SECOND * 3).await;
    assert_eq!(numbers(&lab, "most")[3], 0);
    let condition = condition(&lab, "most");
    assert_eq!((&condition["reason"], &condition["status"]), (&json!("SyncFailed"), &json!("False")));
    assert_eq!(condition["message"], "daemonsets.apps does not implement the scale subresource");
}
