use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::victims::choose;
use crate::lab::model::objects::delete;
use crate::lab::model::tests::{BRISK, active, edit, field, play, pod_spec, pods, quiet, say_phase};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::testing::{WALL, create, pass};
use crate::lab::world::Shared;

fn set(lab: &Shared, replicas: i32, min_ready: i32) -> ReplicaSet {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": pod_spec("web:1")});
    let created = create(
        lab,
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "replicas": replicas, "minReadySeconds": min_ready, "template": template,
                "selector": {"matchLabels": {"app": "web"}},
            },
        }),
    );
    ReplicaSet::clone(&created.typed().unwrap())
}

fn status(lab: &Shared) -> Value {
    field::<ReplicaSet>(lab, "web", "/status")
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn it_has_as_many_pods_as_are_asked_for_and_says_so() {
    let lab = quiet();
    play(&lab, BRISK);
    let set = set(&lab, 3, 0);
    pass(SECOND * 3).await;
    let all = pods(&lab);
    assert_eq!(all.len(), 3);
    for pod in all {
        let owner = &pod.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.uid.as_str(), owner.controller), (set.metadata.uid.as_deref().unwrap(), Some(true)));
        assert!(pod.metadata.name.as_ref().unwrap().starts_with("web-"));
    }
    let expected = json!({
        "replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 3, "availableReplicas": 3, "observedGeneration": 1,
    });
    assert_eq!(status(&lab), expected);
    edit::<ReplicaSet>(&lab, "web", |set| set["spec"]["replicas"] = 1.into());
    pass(SECOND * 3).await;
    assert_eq!((pods(&lab).len(), status(&lab)["replicas"].clone()), (1, json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_leaves_or_fails_is_replaced_at_once() {
    let lab = quiet();
    play(&lab, BRISK);
    set(&lab, 2, 0);
    pass(SECOND * 3).await;
    let before = active(&lab);
    lab.with(|world| delete(world, number_of::<Pod>(), &ObjectKey::new("shop", before[0].clone()), None));
    lab.with(|world| say_phase(world, &ObjectKey::new("shop", before[1].clone()), "Failed"));
    pass(Duration::from_millis(50)).await;
    let now = active(&lab);
    assert_eq!((now.len(), pods(&lab).len()), (2, 4));
    assert!(before.iter().all(|name| !now.contains(name)));
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_labels_change_is_let_go_and_replaced_and_comes_back_as_one_too_many() {
    let lab = quiet();
    play(&lab, BRISK);
    set(&lab, 2, 0);
    pass(SECOND * 3).await;
    let name = active(&lab).remove(0);
    edit::<Pod>(&lab, &name, |pod| pod["metadata"]["labels"]["app"] = "debug".into());
    pass(SECOND * 3).await;
    assert_eq!(active(&lab).len(), 3);
    assert_eq!(field::<Pod>(&lab, &name, "/metadata/ownerReferences"), Value::Null);
    assert_eq!(status(&lab)["replicas"], 2);
    edit::<Pod>(&lab, &name, |pod| pod["metadata"]["labels"]["app"] = "web".into());
    pass(SECOND * 5).await;
    assert_eq!(active(&lab).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn pods_are_available_after_their_minimum_time() {
    let lab = quiet();
    play(&lab, BRISK);
    set(&lab, 2, 20);
    pass(SECOND * 15).await;
    assert_eq!(
        (status(&lab)["readyReplicas"].clone(), status(&lab)["availableReplicas"].clone()),
        (json!(2), json!(null))
    );
    pass(SECOND * 8).await;
    assert_eq!(status(&lab)["availableReplicas"], 2);
}

/// A pod to choose from: what it is before the change is what is kept longest.
fn candidate(name: &str, change: impl FnOnce(&mut Value)) -> Arc<Pod> {
    let time = |ago: i64| k8s_openapi::jiff::Timestamp::from_second(WALL - ago).unwrap().to_string();
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": time(100_000)},
        "spec": {"containers": [], "nodeName": "node1"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time(100_000)}],
            "containerStatuses": [{"name": "web", "image": "", "imageID": "", "ready": true, "restartCount": 0}],
        },
    });
    change(&mut pod);
    Arc::new(serde_json::from_value(pod).unwrap())
}

#[tokio::test(start_paused = true)]
async fn those_go_first_that_are_least_worth() {
    let lab = quiet();
    let set = set(&lab, 0, 0);
    let young = k8s_openapi::jiff::Timestamp::from_second(WALL - 10).unwrap().to_string();
    let pods = vec![
        candidate("oldest", |_| ()),
        candidate("younger", |pod| pod["metadata"]["creationTimestamp"] = young.clone().into()),
        candidate("restarted", |pod| pod["status"]["containerStatuses"][0]["restartCount"] = 3.into()),
        candidate("fresh", |pod| pod["status"]["conditions"][0]["lastTransitionTime"] = young.clone().into()),
        candidate("cheap", |pod| {
            pod["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "-1"});
        }),
        candidate("unready", |pod| pod["status"]["conditions"][0]["status"] = "False".into()),
        candidate("unknown", |pod| pod["status"]["phase"] = "Unknown".into()),
        candidate("pending", |pod| pod["status"]["phase"] = "Pending".into()),
        candidate("unbound", |pod| pod["spec"]["nodeName"] = "".into()),
    ];
    let order = ["unbound", "pending", "unknown", "unready", "cheap", "fresh", "restarted", "younger", "oldest"];
    for surplus in 1..pods.len() {
        let victims = lab.read(|world| choose(world, &set, &pods, surplus));
        let names: Vec<_> = victims.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect();
        assert_eq!(names, order[..surplus]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_with_several_replicas_gives_one_up_first() {
    let lab = quiet();
    let set = set(&lab, 0, 0);
    let owner = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": set.metadata.uid, "controller": true,
    }]);
    // Past the controller, which would end them at once: none was asked for.
    let pods: Vec<Arc<Pod>> = lab.with(|world| {
        let now = world.wall();
        let made: Vec<Arc<Pod>> = [("a", "node1"), ("b", "node2"), ("c", "node2")]
            .map(|(name, node)| {
                let pod = candidate(name, |pod| {
                    pod["spec"]["nodeName"] = node.into();
                    pod["metadata"]["ownerReferences"] = owner.clone();
                });
                world.store.add(&*pod, now).unwrap()
            })
            .into();
        let victims = choose(world, &set, &made, 1);
        assert_eq!(victims[0].spec.as_ref().unwrap().node_name.as_deref(), Some("node2"));
        made
    });
    assert_eq!(pods.len(), 3);
}
