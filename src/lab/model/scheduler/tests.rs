//! Tests of the scheduler: its words, its choices, and what has it try again.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use crate::lab::store::{ObjectKey, number_of};
use crate::lab::testing::{create, lab, node, pass};
use crate::lab::world::Shared;

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

/// A pod of `shop` that asks for so much CPU.
fn pod(name: &str, cpu: &str, more: &Value) -> Value {
    let resources = json!({"requests": {"cpu": cpu}});
    let mut spec = json!({"containers": [{"name": "c", "image": "c:1", "resources": resources}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let metadata = json!({"name": name, "namespace": "shop", "labels": {"app": "web"}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn find(shared: &Shared, name: &str) -> Pod {
    shared.read(|world| Pod::clone(&world.store.get::<Pod>("shop", name).unwrap()))
}

/// Its node; empty while it has none.
fn node_of(shared: &Shared, name: &str) -> String {
    find(shared, name).spec.unwrap().node_name.unwrap_or_default()
}

/// Status, reason and message of the condition that the scheduler writes.
fn said(shared: &Shared, name: &str) -> (String, String, String) {
    let all = find(shared, name).status.unwrap().conditions.unwrap();
    let found = all.into_iter().find(|condition| condition.type_ == "PodScheduled").unwrap();
    (found.status, found.reason.unwrap_or_default(), found.message.unwrap_or_default())
}

fn remove(shared: &Shared, name: &str) {
    shared.with(|world| world.store.remove(number_of::<Pod>(), &ObjectKey::new("shop", name)).unwrap());
}

fn change_node(shared: &Shared, name: &str, change: impl FnOnce(&mut Node)) {
    shared.with(|world| world.store.update::<Node>("", name, change).unwrap());
}

async fn while_it_looks() {
    pass(Duration::from_millis(50)).await;
}

fn like() -> Value {
    json!({"matchLabels": {"app": "web"}})
}

#[tokio::test(start_paused = true)]
async fn a_pod_gets_a_node_and_is_told_so() {
    let shared = lab();
    create(&shared, pod("a", "1", &json!({})));
    assert_eq!(node_of(&shared, "a"), "", "not before the scheduler has looked");
    while_it_looks().await;
    assert!(node_of(&shared, "a").starts_with("node"));
    assert_eq!(said(&shared, "a").0, "True");
    create(&shared, pod("b", "1", &json!({"schedulerName": "another"})));
    while_it_looks().await;
    assert_eq!(node_of(&shared, "b"), "", "it is another scheduler's");
}

#[tokio::test(start_paused = true)]
async fn what_fits_nowhere_is_told_why_in_the_schedulers_words() {
    let claim = |name: &str| json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]});
    let apart = |key: &str| {
        let terms = json!([{"topologyKey": key, "labelSelector": like()}]);
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
    };
    let near = json!([{"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "cache"}}}]);
    let named = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node1"]}]}]);
    let named = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": named}});
    let spread = |key: &str| {
        let rule = json!({
            "maxSkew": 1, "minDomains": 4, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": like(),
        });
        json!({"topologySpreadConstraints": [rule]})
    };
    let port = json!([{"name": "c", "image": "c:1", "ports": [{"containerPort": 80, "hostPort": 80}]}]);
    let table = [
        (pod("x", "9", &json!({})), "3 Insufficient cpu"),
        (pod("x", "1", &json!({"nodeSelector": {ZONE: "z"}})), "3 node(s) didn't match Pod's node affinity/selector"),
        (
            pod("x", "9", &json!({"affinity": {"nodeAffinity": named}})),
            "1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]",
        ),
        (pod("x", "1", &json!({"containers": port})), "3 node(s) didn't have free ports for the requested pod ports"),
        (pod("x", "1", &apart(HOST)), "3 node(s) didn't match pod anti-affinity rules"),
        (
            pod(
                "x",
                "1",
                &json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": near}}}),
            ),
            "3 node(s) didn't match pod affinity rules",
        ),
        (pod("x", "1", &spread(ZONE)), "3 node(s) didn't match pod topology spread constraints"),
        (
            pod("x", "1", &spread("rack")),
            "3 node(s) didn't match pod topology spread constraints (missing required label)",
        ),
        (pod("x", "1", &claim("none")), "persistentvolumeclaim \"none\" not found"),
        (pod("x", "1", &claim("waits")), "pod has unbound immediate PersistentVolumeClaims"),
        (pod("x", "1", &claim("far")), "3 node(s) didn't match PersistentVolume's node affinity"),
    ];
    for (wanted, words) in table {
        let shared = lab();
        let zone = json!([{"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["z"]}]}]);
        create(
            &shared,
            json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"},
                "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": zone}}},
            }),
        );
        for (name, volume) in [("waits", Value::Null), ("far", "pv".into())] {
            let metadata = json!({"name": name, "namespace": "shop"});
            let spec = json!({"volumeName": volume, "storageClassName": if name == "waits" { "none" } else { "" }});
            create(
                &shared,
                json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}),
            );
        }
        for name in ["node1", "node2", "node3"] {
            let standing = json!({"nodeName": name, "containers": port});
            create(&shared, pod(&format!("on-{name}"), "0", &standing));
        }
        create(&shared, wanted);
        while_it_looks().await;
        let why = format!("0/3 nodes are available: {words}.");
        assert_eq!(said(&shared, "x"), ("False".to_owned(), "Unschedulable".to_owned(), why));
    }
}

#[tokio::test(start_paused = true)]
async fn each_nodes_own_reason_is_counted() {
    let shared = lab();
    change_node(&shared, "node1", |node| {
        node.spec = serde_json::from_value(json!({"unschedulable": true})).unwrap();
    });
    change_node(&shared, "node2", |node| {
        node.spec = serde_json::from_value(json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]})).unwrap();
    });
    let apart = json!([{"topologyKey": HOST, "labelSelector": like()}]);
    let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": apart}});
    create(&shared, pod("there", "1", &json!({"nodeName": "node3", "affinity": apart})));
    create(&shared, pod("x", "1", &json!({})));
    while_it_looks().await;
    let why = "0/3 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules, \
               1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.";
    assert_eq!(said(&shared, "x").2, why);
}

#[tokio::test(start_paused = true)]
async fn pods_without_rules_of_their_own_are_spread_by_their_service() {
    let shared = lab();
    create(&shared, node("node4", "a"));
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
    let metadata = json!({"name": "web", "namespace": "shop"});
    create(&shared, json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}));
    for index in 0..8 {
        create(&shared, pod(&format!("web-{index}"), "10m", &json!({})));
        while_it_looks().await;
    }
    let mut nodes: BTreeMap<String, usize> = BTreeMap::new();
    for index in 0..8 {
        *nodes.entry(node_of(&shared, &format!("web-{index}"))).or_default() += 1;
    }
    assert!(nodes.len() == 4 && nodes.values().all(|pods| (1..=3).contains(pods)), "{nodes:?}");
}

#[tokio::test(start_paused = true)]
async fn preferences_and_soft_taints_decide_among_nodes_that_fit() {
    let shared = lab();
    let prefers =
        json!([{"weight": 1, "preference": {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["b"]}]}}]);
    let prefers = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": prefers}}});
    create(&shared, pod("b", "1", &prefers));
    while_it_looks().await;
    assert_eq!(node_of(&shared, "b"), "node2");
    let near = json!([{"weight": 1, "podAffinityTerm": {"topologyKey": ZONE, "labelSelector": like()}}]);
    let with = |kind: &str| json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": near}}});
    create(&shared, pod("with", "10m", &with("podAffinity")));
    while_it_looks().await;
    assert_eq!(node_of(&shared, "with"), "node2", "though there is more room elsewhere");
    change_node(&shared, "node1", |node| {
        node.spec = serde_json::from_value(json!({"taints": [{"key": "old", "effect": "PreferNoSchedule"}]})).unwrap();
    });
    create(&shared, pod("away", "10m", &with("podAntiAffinity")));
    while_it_looks().await;
    assert_eq!(node_of(&shared, "away"), "node3");
    let mut big = pod("big", "2", &json!({"tolerations": [{"operator": "Exists"}]}));
    big["metadata"]["labels"] = json!({"app": "big"});
    create(&shared, big);
    while_it_looks().await;
    assert_eq!(node_of(&shared, "big"), "node1", "most is left there");
}

#[tokio::test(start_paused = true)]
async fn who_matters_more_is_first() {
    let shared = lab();
    for name in ["node1", "node2", "node3"] {
        create(&shared, pod(&format!("on-{name}"), "3", &json!({"nodeName": name})));
    }
    create(&shared, pod("low", "1", &json!({"nodeSelector": {ZONE: "a"}})));
    create(&shared, pod("high", "1", &json!({"nodeSelector": {ZONE: "a"}, "priority": 10})));
    while_it_looks().await;
    assert_eq!((node_of(&shared, "low"), node_of(&shared, "high")), (String::new(), "node1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_is_tried_again_once_something_that_matters_changes() {
    let shared = lab();
    for name in ["node1", "node2", "node3"] {
        create(&shared, pod(&format!("on-{name}"), "4", &json!({"nodeName": name})));
    }
    create(&shared, pod("x", "1", &json!({})));
    create(&shared, pod("y", "1", &json!({})));
    while_it_looks().await;
    assert_eq!(said(&shared, "x").0, "False");
    remove(&shared, "on-node2");
    while_it_looks().await;
    assert_eq!((node_of(&shared, "x"), node_of(&shared, "y")), ("node2".to_owned(), "node2".to_owned()));
    create(&shared, pod("z", "4", &json!({})));
    while_it_looks().await;
    assert_eq!(node_of(&shared, "z"), "");
    create(&shared, node("node4", "a"));
    while_it_looks().await;
    assert_eq!(node_of(&shared, "z"), "node4");
}

#[tokio::test(start_paused = true)]
async fn a_finished_pod_takes_no_room() {
    let shared = lab();
    for name in ["node1", "node2", "node3"] {
        let mut standing = pod(&format!("on-{name}"), "4", &json!({"nodeName": name}));
        standing["status"] = json!({"phase": if name == "node3" { "Succeeded" } else { "Pending" }});
        create(&shared, standing);
    }
    create(&shared, pod("x", "1", &json!({})));
    while_it_looks().await;
    assert_eq!(node_of(&shared, "x"), "node3");
}

#[tokio::test(start_paused = true)]
async fn gates_hold_a_pod_back() {
    let shared = lab();
    create(&shared, pod("x", "1", &json!({"schedulingGates": [{"name": "wait"}]})));
    while_it_looks().await;
    assert_eq!(said(&shared, "x").1, "SchedulingGated");
    shared.with(|world| {
        world.store.update::<Pod>("shop", "x", |pod| pod.spec.get_or_insert_default().scheduling_gates = None)
    });
    while_it_looks().await;
    assert!(node_of(&shared, "x").starts_with("node"));
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_waits_for_its_pod_is_told_the_node_and_a_bound_one_decides_it() {
    let shared = lab();
    create(
        &shared,
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "disk"}, "provisioner": "disks",
            "volumeBindingMode": "WaitForFirstConsumer",
        }),
    );
    let metadata = json!({"name": "data", "namespace": "shop"});
    create(
        &shared,
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {"storageClassName": "disk"},
        }),
    );
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
    create(&shared, pod("x", "3", &json!({"nodeSelector": {ZONE: "b"}, "volumes": volumes})));
    while_it_looks().await;
    assert_eq!(node_of(&shared, "x"), "", "its volume is not made yet");
    let claim = shared.read(|world| world.store.get::<PersistentVolumeClaim>("shop", "data").unwrap());
    assert_eq!(claim.metadata.annotations.as_ref().unwrap()["volume.kubernetes.io/selected-node"], "node2");
    // Its place is kept meanwhile.
    create(&shared, pod("late", "3", &json!({"nodeSelector": {ZONE: "b"}})));
    pass(Duration::from_secs(3)).await;
    assert_eq!((node_of(&shared, "x").as_str(), node_of(&shared, "late").as_str()), ("node2", ""));
    create(&shared, pod("y", "1", &json!({"volumes": volumes})));
    while_it_looks().await;
    assert_eq!(node_of(&shared, "y"), "node2", "the disk is in its zone");
}

#[tokio::test(start_paused = true)]
async fn many_pods_find_their_places_on_more_nodes_than_are_looked_at() {
    let shared = lab();
    for index in 0..147 {
        create(&shared, node(&format!("worker{index}"), ["a", "b", "c"][index % 3]));
    }
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
    let metadata = json!({"name": "web", "namespace": "shop"});
    create(&shared, json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}));
    for index in 0..1500 {
        create(&shared, pod(&format!("web-{index}"), "100m", &json!({})));
    }
    while_it_looks().await;
    let counts = shared.read(|world| {
        let nodes = world.store.list::<Node>(None).map(|node| node.metadata.name.clone().unwrap());
        nodes.map(|node| world.store.pods_on(&node).len()).collect::<Vec<_>>()
    });
    assert_eq!(counts.iter().sum::<usize>(), 1500);
    assert!(counts.iter().all(|pods| (7..=13).contains(pods)), "{counts:?}");
}
