//! Tests of what becomes of nodes without power, and of their pods.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use serde_json::{Value, json};

use super::{after, cut_power, leases, remove, restore_power, tick_from};
use crate::lab::model::objects::{condition, is_ready};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::testing::{create, lab, node, pass};
use crate::lab::world::Shared;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A pod on a node that is ready.
fn pod(name: &str, node: &str, tolerations: &Value) -> Value {
    let spec = json!({
        "nodeName": node, "tolerations": tolerations, "terminationGracePeriodSeconds": 30, "containers": [{"name": "c"}],
    });
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// Those that the API server gives every pod.
fn usual(seconds: i64) -> Value {
    let one = |key: &str| {
        let key = format!("node.kubernetes.io/{key}");
        json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
    };
    json!([one("not-ready"), one("unreachable")])
}

fn find(shared: &Shared, name: &str) -> Option<Pod> {
    shared.read(|world| world.store.get::<Pod>("shop", name).map(|pod| Pod::clone(&pod)))
}

fn is_leaving(shared: &Shared, name: &str) -> bool {
    find(shared, name).unwrap().metadata.deletion_timestamp.is_some()
}

fn ready(shared: &Shared, name: &str) -> String {
    shared.read(|world| super::ready(&world.store.get::<Node>("", name).unwrap()).to_owned())
}

/// The node's taints: the last part of their keys, and their effects.
fn taints(shared: &Shared, name: &str) -> Vec<String> {
    let node = shared.read(|world| world.store.get::<Node>("", name).unwrap());
    let one = |taint: &Taint| format!("{}:{}", taint.key.rsplit('/').next().unwrap_or_default(), taint.effect);
    crate::scheduling::taints(&node).map(one).collect()
}

fn cut(shared: &Shared, names: &[&str]) {
    shared.with(|world| names.iter().for_each(|name| cut_power(world, name)));
}

fn taint(shared: &Shared, name: &str, key: &str) {
    shared.with(|world| {
        world.store.update::<Node>("", name, |node| {
            let all = node.spec.get_or_insert_default().taints.get_or_insert_default();
            all.push(Taint { key: key.to_owned(), effect: "NoExecute".to_owned(), ..Taint::default() });
        })
    });
}

#[tokio::test(start_paused = true)]
async fn a_controller_looks_at_whole_periods_since_the_lab_began() {
    let every = Duration::from_millis(5_030);
    lab().read(|world| {
        let looks = |ms| {
            let seen = tick_from(world, after(world.began(), Duration::from_millis(ms)), every);
            seen.duration_since(world.began()).as_millis()
        };
        assert_eq!([looks(10_060), looks(10_061)], [10_060, 15_090]);
    });
}

#[tokio::test(start_paused = true)]
async fn a_node_without_power_is_unknown_after_the_grace_and_its_pods_are_not_ready() {
    let shared = lab();
    create(&shared, pod("web", "node1", &usual(300)));
    pass(secs(10)).await;
    cut(&shared, &["node1"]);
    pass(secs(39)).await;
    assert_eq!((ready(&shared, "node1").as_str(), is_ready(&find(&shared, "web").unwrap())), ("True", true));
    pass(secs(16)).await;
    assert_eq!((ready(&shared, "node1").as_str(), is_ready(&find(&shared, "web").unwrap())), ("Unknown", false));
    assert_eq!(taints(&shared, "node1"), ["unreachable:NoExecute", "unreachable:NoSchedule"]);
    let said = shared.read(|world| world.store.get::<Node>("", "node1").unwrap());
    let said = super::condition(&said, "Ready").unwrap();
    assert_eq!(said.reason.as_deref(), Some("NodeStatusUnknown"));
    assert_eq!(said.message.as_deref(), Some("Kubelet stopped posting node status."));
    assert!(!is_leaving(&shared, "web"));
}

#[tokio::test(start_paused = true)]
async fn its_pods_go_once_they_do_not_tolerate_it_any_longer() {
    let shared = lab();
    create(&shared, pod("web", "node1", &usual(300)));
    create(&shared, pod("impatient", "node1", &usual(60)));
    create(&shared, pod("daemon", "node1", &json!([{"operator": "Exists"}])));
    cut(&shared, &["node1"]);
    pass(secs(56)).await;
    assert!(!is_leaving(&shared, "impatient"));
    pass(secs(60)).await;
    assert!(is_leaving(&shared, "impatient") && !is_leaving(&shared, "web"));
    let gone = find(&shared, "impatient").unwrap();
    let why = condition(&gone, "DisruptionTarget").unwrap();
    assert_eq!((why.status.as_str(), why.reason.as_deref()), ("True", Some("DeletionByTaintManager")));
    pass(secs(245)).await;
    assert!(is_leaving(&shared, "web"));
    pass(secs(3600)).await;
    assert!(!is_leaving(&shared, "daemon"), "it tolerates it for ever");
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_again_in_time_loses_nothing() {
    let shared = lab();
    create(&shared, pod("web", "node1", &usual(300)));
    cut(&shared, &["node1"]);
    pass(secs(200)).await;
    assert_eq!(ready(&shared, "node1"), "Unknown");
    shared.with(|world| restore_power(world, "node1"));
    pass(secs(1)).await;
    assert_eq!(ready(&shared, "node1"), "True");
    pass(secs(5)).await;
    assert_eq!(taints(&shared, "node1"), [""; 0]);
    pass(secs(600)).await;
    assert!(!is_leaving(&shared, "web"));
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_is_not_seen() {
    let shared = lab();
    cut(&shared, &["node1"]);
    pass(secs(30)).await;
    shared.with(|world| restore_power(world, "node1"));
    pass(secs(100)).await;
    assert_eq!((ready(&shared, "node1").as_str(), taints(&shared, "node1")), ("True", Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_taint_by_hand_drives_away_at_once_what_does_not_tolerate_it() {
    let shared = lab();
    create(&shared, pod("web", "node1", &usual(300)));
    create(&shared, pod("tolerant", "node1", &json!([{"key": "drain", "operator": "Exists"}])));
    create(&shared, pod("elsewhere", "node2", &usual(300)));
    pass(secs(1)).await;
    taint(&shared, "node1", "drain");
    pass(Duration::from_millis(50)).await;
    let leaving = ["web", "tolerant", "elsewhere"].map(|name| is_leaving(&shared, name));
    assert_eq!(leaving, [true, false, false]);
    create(&shared, pod("late", "node1", &usual(300)));
    pass(Duration::from_millis(50)).await;
    assert!(is_leaving(&shared, "late"), "it came when the taint was there");
}

#[tokio::test(start_paused = true)]
async fn a_cordon_and_conditions_are_taints_too() {
    let shared = lab();
    let cordon = |is: bool| {
        shared.with(|world| {
            world.store.update::<Node>("", "node1", |node| node.spec.get_or_insert_default().unschedulable = Some(is))
        });
    };
    cordon(true);
    pass(secs(1)).await;
    assert_eq!(taints(&shared, "node1"), ["unschedulable:NoSchedule"]);
    cordon(false);
    pass(secs(1)).await;
    assert_eq!(taints(&shared, "node1"), [""; 0]);
    shared.with(|world| {
        world.store.update::<Node>("", "node1", |node| {
            let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
            "False".clone_into(&mut conditions[0].status);
        })
    });
    pass(secs(6)).await;
    assert_eq!(taints(&shared, "node1"), ["not-ready:NoSchedule", "not-ready:NoExecute"]);
}

#[tokio::test(start_paused = true)]
async fn nodes_of_a_zone_drive_their_pods_away_one_after_the_other() {
    let shared = lab();
    for name in ["node4", "node5", "node6", "node7"] {
        create(&shared, node(name, "a"));
    }
    pass(secs(1)).await;
    let drive = |names: &[&str]| {
        let has = |name: &&&str| taints(&shared, name).contains(&"unreachable:NoExecute".to_owned());
        names.iter().filter(has).count()
    };
    cut(&shared, &["node4", "node5"]);
    let mut driven = Vec::new();
    for second in 0..70 {
        pass(secs(1)).await;
        driven.resize(drive(&["node4", "node5"]), second);
    }
    // Each is missed at some look: from 40 s on, and before 56 s have passed. The second waits for its turn.
    assert!(matches!(driven[..], [first, second] if (39..56).contains(&first) && second >= first + 10), "{driven:?}");
}

#[tokio::test(start_paused = true)]
async fn a_small_zone_that_is_mostly_lost_drives_nothing_away_and_neither_does_a_lost_cluster() {
    let shared = lab();
    for name in ["node4", "node5", "node6"] {
        create(&shared, node(name, "a"));
    }
    pass(secs(1)).await;
    let drives = |name: &str| taints(&shared, name).contains(&"unreachable:NoExecute".to_owned());
    // One of four is left: some tick sees the first of them first, and one may begin.
    cut(&shared, &["node4", "node5", "node6"]);
    pass(secs(600)).await;
    assert!(["node4", "node5", "node6"].into_iter().filter(|name| drives(name)).count() <= 1);
    cut(&shared, &["node1", "node2", "node3"]);
    pass(secs(600)).await;
    let all = ["node1", "node2", "node3", "node4", "node5", "node6"];
    assert!(all.iter().all(|name| ready(&shared, name) == "Unknown" && !drives(name)));
    shared.with(|world| restore_power(world, "node3"));
    pass(secs(30)).await;
    assert!(drives("node1") && drives("node2") && !drives("node3"), "one zone is well again");
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_node_that_is_not_there_are_collected() {
    let shared = lab();
    create(&shared, pod("web", "node1", &usual(300)));
    pass(secs(1)).await;
    shared.with(|world| world.store.remove(number_of::<Node>(), &ObjectKey::new("", "node1")).unwrap());
    pass(secs(39)).await;
    assert!(find(&shared, "web").is_some());
    pass(secs(22)).await;
    assert!(find(&shared, "web").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_gone_takes_its_nodes_object_along() {
    let shared = lab();
    create(&shared, pod("web", "node1", &usual(300)));
    shared.with(|world| remove(world, "node1"));
    shared.with(|world| restore_power(world, "node1"));
    assert!(!shared.read(|world| world.nodes.is_up("node1")), "it is gone for good");
    pass(secs(61)).await;
    assert!(shared.read(|world| world.store.get::<Node>("", "node1").is_none()));
    pass(secs(61)).await;
    assert!(find(&shared, "web").is_none());
    create(&shared, node("node1", "a"));
    assert!(shared.read(|world| world.nodes.is_up("node1")), "a new machine of the same name");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_written_off_lets_its_leaving_pods_go() {
    let shared = lab();
    create(&shared, pod("web", "node1", &usual(0)));
    cut(&shared, &["node1"]);
    pass(secs(60)).await;
    assert!(is_leaving(&shared, "web"), "nobody confirms its end");
    taint(&shared, "node1", "node.kubernetes.io/out-of-service");
    pass(secs(21)).await;
    assert!(find(&shared, "web").is_none());
}

fn lease(shared: &Shared, node: &str) -> Option<Lease> {
    shared.read(|world| world.store.get::<Lease>("kube-node-lease", node).map(|lease| Lease::clone(&lease)))
}

/// A lab with a node whose lease can be kept.
fn leased() -> Shared {
    let shared = lab();
    let metadata = json!({"name": "kube-node-lease"});
    create(&shared, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
    create(&shared, node("node9", "a"));
    shared
}

#[tokio::test(start_paused = true)]
async fn a_node_renews_its_lease_until_its_power_is_cut() {
    let shared = leased();
    let client = kube::Client::new(crate::lab::api::Server::new(shared.clone()), "default");
    let leases: kube::Api<Lease> = kube::Api::namespaced(client, "kube-node-lease");
    pass(secs(1)).await;
    let age = async || {
        let lease = leases.get("node9").await.unwrap();
        let spec = lease.spec.unwrap();
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_duration_seconds), (Some("node9"), Some(40)));
        shared.read(|world| world.wall().duration_since(spec.renew_time.unwrap().0).as_secs_f64())
    };
    for _ in 0..50 {
        pass(Duration::from_millis(3700)).await;
        let age = age().await;
        assert!((0.0..10.01).contains(&age), "{age}");
    }
    let before = age().await;
    cut(&shared, &["node9"]);
    pass(secs(30)).await;
    assert!((age().await - before - 30.0).abs() < 0.1, "{before}");
    // The node counts as lost a grace after its last renewal was seen, to the controller's tick.
    pass(Duration::from_secs_f64(50.0 - age().await)).await;
    assert_eq!(ready(&shared, "node9"), "True");
    pass(secs(10)).await;
    assert_eq!(ready(&shared, "node9"), "Unknown");
    shared.with(|world| restore_power(world, "node9"));
    pass(secs(9)).await;
    assert!(age().await < 9.1, "it is renewed at once");
    shared.with(|world| world.store.remove(number_of::<Node>(), &ObjectKey::new("", "node9")));
    pass(secs(1)).await;
    assert_eq!(lease(&shared, "node9"), None);
}

#[tokio::test(start_paused = true)]
async fn renewals_are_written_while_somebody_watches_them() {
    let shared = leased();
    let changes = |from: u64| {
        shared.read(|world| {
            let all = world.store.since(from).unwrap();
            all.filter(|change| change.object().kind == number_of::<Lease>()).count()
        })
    };
    let version = || shared.read(|world| world.store.version());
    let before = version();
    pass(secs(60)).await;
    assert_eq!(changes(before), 0, "nobody looks");
    shared.with(|world| leases::show(world, Some(secs(60))));
    let before = version();
    pass(secs(60)).await;
    assert!((5..=6).contains(&changes(before)), "{}", changes(before));
    pass(secs(10)).await;
    let before = version();
    pass(secs(60)).await;
    assert_eq!(changes(before), 0, "the watch is over");
}

#[tokio::test(start_paused = true)]
async fn a_node_says_how_it_is_every_five_minutes() {
    let shared = lab();
    let heard = || {
        let node = shared.read(|world| world.store.get::<Node>("", "node1").unwrap());
        super::condition(&node, "Ready").unwrap().last_heartbeat_time.clone().map(|time| time.0)
    };
    pass(secs(300)).await;
    let first = heard().unwrap();
    pass(secs(300)).await;
    assert_eq!(heard().unwrap().duration_since(first).as_secs(), 300);
    cut(&shared, &["node1"]);
    let last = heard();
    pass(secs(600)).await;
    assert_eq!(heard(), last);
}
