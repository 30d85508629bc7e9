use serde_json::{Value, json};

use super::*;

const ZONE: &str = "topology.kubernetes.io/zone";

fn node(name: &str, zone: &str, cpu: &str) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {ZONE: zone, "kubernetes.io/hostname": name}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": cpu, "pods": "10"}},
    }))
    .unwrap()
}

pub(super) fn pod(name: &str, node: &str, owner: &str, cpu: &str, more: &Value) -> Pod {
    let mut spec = json!({
        "nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}],
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let owners = owner.split_once('/').map(
        |(kind, name)| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true}]),
    );
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": name, "labels": {"app": "web"}, "ownerReferences": owners.unwrap_or(Value::Null),
        },
        "spec": spec,
    }))
    .unwrap()
}

/// Three zones of one node each; the first is lost.
fn predicted_of(nodes: &[Node], stay: bool, pods: Vec<Pod>, volumes: Volumes) -> Vec<String> {
    let lost = BTreeSet::from(["n1".to_owned()]);
    let (displaced, others) = displaced(pods, &lost);
    let mut left = Left::new(nodes, &lost, stay, &others, volumes);
    words(&workloads::predicted(&displaced, &others, left.strand(&displaced)), stay)
}

fn predicted(stay: bool, pods: Vec<Pod>) -> Vec<String> {
    let nodes = [node("n1", "a", "4"), node("n2", "b", "4"), node("n3", "c", "4")];
    predicted_of(&nodes, stay, pods, Volumes::default())
}

/// One pod of a workload on each node.
fn each(owner: &str, cpu: &str, more: &Value) -> Vec<Pod> {
    ["n1", "n2", "n3"].map(|node| pod(&format!("web-{node}"), node, owner, cpu, more)).to_vec()
}

fn like() -> Value {
    json!({"matchLabels": {"app": "web"}})
}

#[test]
fn what_has_room_elsewhere_comes_back() {
    assert_eq!(predicted(false, each("ReplicaSet/web", "1", &json!({}))), [""; 0]);
    let daemon = pod("d", "n1", "DaemonSet/d", "1", &json!({}));
    assert_eq!(predicted(false, vec![daemon]), [""; 0], "it belongs to the node");
}

#[test]
fn what_asks_for_more_than_there_is_does_not() {
    let found = predicted(false, each("ReplicaSet/web", "3", &json!({})));
    let start = "predicted: 1 pod of replicaset/web in `shop` will not start elsewhere until the zone is back: ";
    assert_eq!(found, [format!("{start}no node that it may run on has enough cpu left for what it requests")]);
    let two = (0..2).map(|i| pod(&format!("p{i}"), "n1", "ReplicaSet/web", "3", &json!({})));
    let mut pods: Vec<Pod> = two.collect();
    assert_eq!(predicted(false, pods.clone()), [""; 0], "one on each of those that are left");
    pods.push(pod("p2", "n1", "ReplicaSet/web", "3", &json!({})));
    assert_eq!(predicted(false, pods).len(), 1, "the first two have taken the room");
}

#[test]
fn what_nothing_makes_again_does_not() {
    let found = predicted(false, vec![pod("alone", "n1", "", "1", &json!({}))]);
    assert!(
        found[0].contains("1 pod of pod/alone in `shop`") && found[0].ends_with("nothing makes it again"),
        "{found:?}"
    );
}

#[test]
fn a_stateful_pod_is_held_by_a_node_that_is_only_out_of_reach() {
    let set = || vec![pod("db-0", "n1", "StatefulSet/db", "1", &json!({}))];
    assert_eq!(predicted(false, set()), [""; 0], "its node's object goes, and it with it");
    assert!(predicted(true, set())[0].contains("a StatefulSet starts it again only when it is gone"));
}

#[test]
fn a_volume_of_the_zone_holds_its_pod_there() {
    let rule = json!({"key": ZONE, "operator": "In", "values": ["a"]});
    let volume = |name: &str, affinity: &Value| {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"nodeAffinity": affinity}})).unwrap()
    };
    let claim = |name: &str, volume: &str| {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"volumeName": volume}}))
            .unwrap()
    };
    let zonal = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}});
    let of = |name: &str| {
        let volumes = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]});
        pod(name, "n1", "StatefulSet/db", "1", &volumes)
    };
    let nodes = [node("n1", "a", "4"), node("n2", "b", "4")];
    let known = Volumes::of(
        vec![claim("disk", "pv-disk"), claim("share", "pv-share")],
        vec![volume("pv-disk", &zonal), volume("pv-share", &Value::Null)],
    );
    let found = predicted_of(&nodes, false, vec![of("disk"), of("share")], known);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("volume pv-disk can't be used from any node that is left"), "{found:?}");
}

#[test]
fn an_even_spread_counts_the_lost_zone_as_long_as_its_nodes_are_there() {
    let rule = json!({"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": like()},
    ]});
    assert_eq!(predicted(false, each("ReplicaSet/web", "1", &rule)), [""; 0], "two zones are left, one has two then");
    let found = predicted(true, each("ReplicaSet/web", "1", &rule));
    assert!(found[0].contains("its spread over `topology.kubernetes.io/zone` (`maxSkew: 1`"), "{found:?}");
    let mut least = rule;
    least["topologySpreadConstraints"][0]["minDomains"] = 3.into();
    assert_eq!(predicted(false, each("ReplicaSet/web", "1", &least)).len(), 1, "two domains are fewer than three");
}

#[test]
fn one_of_a_kind_on_each_host_has_no_fourth_host() {
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": like()},
    ]}}});
    let found = predicted(false, each("ReplicaSet/web", "1", &apart));
    assert!(found[0].contains("by `kubernetes.io/hostname` every node that is left has a pod"), "{found:?}");
    let two = predicted(false, each("ReplicaSet/web", "1", &apart)[..2].to_vec());
    assert_eq!(two, [""; 0], "the third host is free");
}

#[test]
fn affinity_needs_its_pods_unless_it_is_the_first_of_them() {
    let near = |app: &str| {
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": app}}},
        ]}}})
    };
    assert_eq!(predicted(false, vec![pod("w", "n1", "ReplicaSet/web", "1", &near("web"))]), [""; 0]);
    let found = predicted(false, vec![pod("w", "n1", "ReplicaSet/web", "1", &near("cache"))]);
    assert!(found[0].contains("has by `topology.kubernetes.io/zone` the pods that its affinity needs"), "{found:?}");
}

#[test]
fn selectors_and_taints_leave_no_node() {
    let wanted = json!({"nodeSelector": {ZONE: "a"}});
    let found = predicted(false, vec![pod("w", "n1", "ReplicaSet/web", "1", &wanted)]);
    assert!(found[0].ends_with("no node that is left is one that its node selector or affinity takes"), "{found:?}");
    let mut tainted = node("n2", "b", "4");
    tainted.spec = serde_json::from_value(json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]})).unwrap();
    let nodes = [node("n1", "a", "4"), tainted];
    let web = vec![pod("w", "n1", "ReplicaSet/web", "1", &json!({}))];
    let found = predicted_of(&nodes, false, web, Volumes::default());
    assert!(found[0].ends_with("has a taint that it does not tolerate"), "{found:?}");
}

#[test]
fn a_pod_that_stands_keeps_others_away_by_its_anti_affinity_and_its_ports() {
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": ZONE, "labelSelector": like()},
    ]}}});
    let standing = |more: &Value| vec![pod("b", "n2", "", "1", more), pod("c", "n3", "", "1", more)];
    let mut pods = standing(&apart);
    pods.push(pod("w", "n1", "ReplicaSet/web", "1", &json!({})));
    let found = predicted(false, pods);
    assert!(found[0].ends_with("every node that is left has a pod whose anti-affinity rules it out"), "{found:?}");
    let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let mut pods = standing(&port);
    pods.push(pod("w", "n1", "ReplicaSet/web", "1", &port));
    let found = predicted(false, pods);
    assert!(found[0].ends_with("another pod has a host port that it wants"), "{found:?}");
}
