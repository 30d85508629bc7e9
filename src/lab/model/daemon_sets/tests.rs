use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::placement::target;
use crate::lab::model::nodes::cut_power;
use crate::lab::model::objects::is_ready;
use crate::lab::model::tests::{BRISK, edit, field, images, play, pod_spec, pods, quiet, replay};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::testing::{create, node, pass};
use crate::lab::world::Shared;

const SECOND: Duration = Duration::from_secs(1);

fn set(lab: &Shared, change: impl FnOnce(&mut Value)) {
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {"metadata": {"labels": {"app": "agent"}}, "spec": pod_spec("agent:1")},
        },
    });
    change(&mut set);
    create(lab, set);
}

/// The nodes that pods are on or meant for that don't leave.
fn nodes(lab: &Shared) -> Vec<String> {
    let pods = pods(lab);
    let present = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let mut nodes: Vec<String> = present.map(|pod| target(pod).unwrap().to_owned()).collect();
    nodes.sort();
    nodes
}

fn taint(lab: &Shared, name: &str, taints: &Value) {
    lab.with(|world| {
        let key = ObjectKey::new("", name);
        let mut json = world.store.object(number_of::<Node>(), &key).unwrap().json();
        json["spec"] = json!({"taints": taints});
        world.store.replace(number_of::<Node>(), &key, json).unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn every_node_has_a_pod_also_one_that_comes_later_or_is_cordoned() {
    let lab = quiet();
    play(&lab, BRISK);
    taint(&lab, "node3", &json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]));
    set(&lab, |_| ());
    pass(SECOND * 3).await;
    assert_eq!(nodes(&lab), ["node1", "node2", "node3"]);
    create(&lab, node("node4", "a"));
    lab.with(|world| cut_power(world, "node4"));
    pass(SECOND * 3).await;
    assert_eq!(nodes(&lab), ["node1", "node2", "node3", "node4"]);
    let expected = json!({
        "desiredNumberScheduled": 4, "currentNumberScheduled": 4, "updatedNumberScheduled": 4, "numberReady": 4,
        "numberAvailable": 4, "numberMisscheduled": 0, "observedGeneration": 1,
    });
    assert_eq!(field::<DaemonSet>(&lab, "agent", "/status"), expected);
    let pod = pods(&lab).remove(0);
    let terms = &pod.spec.as_ref().unwrap().affinity.as_ref().unwrap().node_affinity.as_ref().unwrap();
    let terms = serde_json::to_value(terms).unwrap();
    let rule = &terms["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0]["matchFields"][0];
    assert_eq!((&rule["key"], &rule["operator"]), (&json!("metadata.name"), &json!("In")));
}

#[tokio::test(start_paused = true)]
async fn taints_keep_pods_away_and_drive_them_out_only_if_they_are_meant_to() {
    let lab = quiet();
    play(&lab, BRISK);
    taint(&lab, "node3", &json!([{"key": "gpu", "effect": "NoSchedule"}]));
    set(&lab, |_| ());
    pass(SECOND * 3).await;
    assert_eq!(nodes(&lab), ["node1", "node2"]);
    taint(&lab, "node1", &json!([{"key": "gpu", "effect": "NoSchedule"}]));
    pass(SECOND * 3).await;
    assert_eq!(nodes(&lab), ["node1", "node2"], "what runs may stay");
    assert_eq!(field::<DaemonSet>(&lab, "agent", "/status/numberMisscheduled"), 1);
    taint(&lab, "node1", &json!([{"key": "gpu", "effect": "NoExecute"}]));
    pass(SECOND * 3).await;
    assert_eq!(nodes(&lab), ["node2"]);
    taint(&lab, "node3", &json!([]));
    pass(SECOND * 3).await;
    assert_eq!(nodes(&lab), ["node2", "node3"]);
}

#[tokio::test(start_paused = true)]
async fn a_selector_chooses_nodes_and_a_pod_for_a_node_that_is_gone_goes_too() {
    let lab = quiet();
    set(&lab, |set| {
        set["spec"]["template"]["spec"]["nodeSelector"] = json!({"topology.kubernetes.io/zone": "b"});
    });
    pass(SECOND).await;
    assert_eq!(nodes(&lab), ["node2"]);
    lab.with(|world| world.store.remove(number_of::<Node>(), &ObjectKey::new("", "node2")));
    pass(SECOND).await;
    assert!(pods(&lab).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_goes_is_replaced_on_its_node() {
    let lab = quiet();
    play(&lab, BRISK);
    set(&lab, |_| ());
    pass(SECOND * 3).await;
    let gone = pods(&lab).remove(0).metadata.name.clone().unwrap();
    lab.with(|world| world.store.remove(number_of::<Pod>(), &ObjectKey::new("shop", gone.clone())));
    pass(SECOND * 3).await;
    assert_eq!(nodes(&lab), ["node1", "node2", "node3"]);
    assert!(pods(&lab).iter().all(|pod| pod.metadata.name.as_ref() != Some(&gone)));
}

#[tokio::test(start_paused = true)]
async fn an_update_leaves_all_but_so_many_nodes_with_a_pod_that_serves() {
    for (surge, unavailable, least, most) in [(0, 1, 2, 1), (0, 2, 1, 1), (1, 0, 3, 2)] {
        let lab = quiet();
        play(&lab, BRISK);
        set(&lab, |set| {
            let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
            set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        });
        pass(SECOND * 3).await;
        let before = lab.read(|world| world.store.version());
        edit::<DaemonSet>(&lab, "agent", |set| {
            set["spec"]["template"]["spec"]["containers"][0]["image"] = "agent:2".into();
        });
        pass(SECOND * 30).await;
        let (mut lowest, mut highest) = (100, 0);
        replay(&lab, before, |pods| {
            let present = || pods.values().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            lowest = lowest.min(present().filter(|pod| is_ready(pod)).count());
            let on = |node: &str| present().filter(|pod| target(pod) == Some(node)).count();
            highest = ["node1", "node2", "node3"].map(on).into_iter().chain([highest]).max().unwrap();
        });
        assert_eq!((lowest, highest), (least, most), "{surge}, {unavailable}");
        assert_eq!(images(pods(&lab).iter()).into_iter().collect::<Vec<_>>(), ["agent:2"]);
        assert_eq!(nodes(&lab), ["node1", "node2", "node3"]);
    }
}
