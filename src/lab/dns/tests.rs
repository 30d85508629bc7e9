use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use serde_json::{Value, json};

use super::message::{Data, reverse};
use super::*;
use crate::lab::model::objects;
use crate::lab::network::{CLIENT, Delivered, deliver};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::testing::{create, lab, pass};
use crate::lab::world::{Shared, World};
use crate::lab::{Lab, Shape};
use crate::probe::{RecordType, ResponseCode};

const S: Duration = Duration::from_secs(1);
/// What the tests' servers listen at.
const LOCAL: ([u8; 4], u16) = ([10, 244, 9, 9], 53);
/// The life of the tests' servers.
const LIFE: u64 = 4711;
/// The plugins of a CoreDNS that knows the cluster.
const CLUSTER: &str =
    "kubernetes cluster.local in-addr.arpa ip6.arpa {\n pods insecure\n fallthrough in-addr.arpa\n ttl 30\n }\n";

fn query(name: &str, kind: RecordType) -> Query<'_> {
    Query { name, kind, client: CLIENT, tcp: false }
}

fn remove<K: k8s_openapi::Resource>(lab: &Shared, namespace: &str, name: &str) {
    lab.with(|world| world.store.remove(number_of::<K>(), &ObjectKey::new(namespace, name)));
}

/// Has a CoreDNS run with a Corefile. Whether it stays.
fn run(lab: &Shared, corefile: &str) -> bool {
    lab.with(|world| world.dns = Dns::default());
    remove::<ConfigMap>(lab, "kube-system", "coredns");
    create(
        lab,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "coredns", "namespace": "kube-system"},
        "data": {"Corefile": corefile}}),
    );
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "dns", "namespace": "kube-system"},
        "spec": {"containers": [], "volumes": [{"name": "c", "configMap": {"name": "coredns"}}]}}))
    .unwrap();
    lab.with(|world| starts(world, &pod, "registry.k8s.io/coredns/coredns:v1.12.1", LIFE))
}

fn served(lab: &Shared, asked: Query<'_>) -> (Outcome, Duration) {
    let served = lab.with(|world| serve(world, LIFE, SocketAddr::from(LOCAL), asked).unwrap());
    (served.outcome, served.takes)
}

fn reply(lab: &Shared, name: &str, kind: RecordType) -> Reply {
    match served(lab, query(name, kind)).0 {
        Outcome::Reply(reply) => Reply::clone(&reply),
        other => panic!("{name}: {other:?}"),
    }
}

/// The code, and the addresses in their order.
fn addresses(lab: &Shared, name: &str) -> (ResponseCode, Vec<IpAddr>) {
    let reply = reply(lab, name, RecordType::A);
    let mut found: Vec<IpAddr> = reply.addresses().collect();
    found.sort_unstable();
    (reply.code, found)
}

fn service(name: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": address, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}})
}

fn slice(service: &str, addresses: &[(&str, bool)]) -> Value {
    let endpoint = |(address, ready): &(&str, bool)| json!({"addresses": [address], "conditions": {"ready": ready}});
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-x"), "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>()})
}

fn shop() -> Shared {
    let lab = lab();
    create(&lab, service("web", "10.96.0.7"));
    create(&lab, service("db", "None"));
    create(&lab, slice("db", &[("10.244.1.1", true), ("10.244.1.2", false), ("10.244.1.3", true)]));
    create(&lab, service("empty", "None"));
    create(
        &lab,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "alias", "namespace": "shop"},
        "spec": {"type": "ExternalName", "externalName": "web.shop.svc.cluster.local"}}),
    );
    lab
}

#[tokio::test(start_paused = true)]
async fn names_of_the_cluster_are_answered_by_kubernetes_rules() {
    let lab = shop();
    assert!(run(&lab, &format!(".:53 {{\n {CLUSTER} }}\n")));
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    for (name, code, expected) in [
        ("web.shop.svc.cluster.local", ResponseCode::NoError, vec!["10.96.0.7"]),
        ("db.shop.svc.cluster.local", ResponseCode::NoError, vec!["10.244.1.1", "10.244.1.3"]),
        ("10-244-1-3.db.shop.svc.cluster.local", ResponseCode::NoError, vec!["10.244.1.3"]),
        ("10-244-1-2.db.shop.svc.cluster.local", ResponseCode::NXDomain, vec![]),
        ("empty.shop.svc.cluster.local", ResponseCode::NXDomain, vec![]),
        ("gone.shop.svc.cluster.local", ResponseCode::NXDomain, vec![]),
        ("web.bank.svc.cluster.local", ResponseCode::NXDomain, vec![]),
        ("shop.svc.cluster.local", ResponseCode::NoError, vec![]),
        ("svc.cluster.local", ResponseCode::NoError, vec![]),
        ("nonsense.cluster.local", ResponseCode::NXDomain, vec![]),
        ("10-1-2-3.shop.pod.cluster.local", ResponseCode::NoError, vec!["10.1.2.3"]),
        ("a.b.c.web.shop.svc.cluster.local", ResponseCode::NXDomain, vec![]),
        ("alias.shop.svc.cluster.local", ResponseCode::NoError, vec!["10.96.0.7"]),
        ("example.com", ResponseCode::ServFail, vec![]),
    ] {
        assert_eq!(addresses(&lab, name), (code, expected.into_iter().map(ip).collect()), "{name}");
    }
    let v6 = reply(&lab, "web.shop.svc.cluster.local", RecordType::AAAA);
    assert_eq!((v6.code, v6.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(v6.authority.unwrap().data, Data::Authority { minimum: 30 });
}

#[tokio::test(start_paused = true)]
async fn services_have_ports_and_addresses_have_names() {
    let lab = shop();
    assert!(run(&lab, &format!(".:53 {{\n {CLUSTER} }}\n")));
    let srv = |name: &str| -> Vec<Data> {
        reply(&lab, name, RecordType::SRV).answers.into_iter().map(|record| record.data).collect()
    };
    let target = "web.shop.svc.cluster.local".to_owned();
    assert_eq!(srv("_http._tcp.web.shop.svc.cluster.local"), [Data::Service { port: 80, target }]);
    let db = srv("_http._tcp.db.shop.svc.cluster.local");
    assert_eq!(db[0], Data::Service { port: 8080, target: "10-244-1-1.db.shop.svc.cluster.local".to_owned() });
    assert_eq!(db.len(), 2);
    assert_eq!(reply(&lab, "_grpc._tcp.web.shop.svc.cluster.local", RecordType::SRV).code, ResponseCode::NXDomain);
    let name = |address: &str| reply(&lab, &reverse(address.parse().unwrap()), RecordType::PTR).answers;
    assert_eq!(name("10.96.0.7")[0].data, Data::Pointer("web.shop.svc.cluster.local".to_owned()));
    assert_eq!(name("10.244.1.3")[0].data, Data::Pointer("10-244-1-3.db.shop.svc.cluster.local".to_owned()));
    let version = reply(&lab, "dns-version.cluster.local", RecordType::TXT);
    assert_eq!(version.answers[0].data, Data::Text("1.1.0".to_owned()));
}

/// The Corefile of kubeadm behind a block of the fault's.
fn broken(views: &str, plugin: &str) -> String {
    format!(
        "web.shop.svc.cluster.local:53 {{\n view squall{views}\n {plugin}\n}}\n.:53 {{\n errors\n {CLUSTER} cache 30\n reload\n}}\n"
    )
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_known_until_an_object_changes() {
    let lab = shop();
    assert!(run(&lab, &format!(".:53 {{\n {CLUSTER} }}\n")));
    let addresses = || addresses(&lab, "late.shop.svc.cluster.local");
    assert_eq!((addresses().0, addresses().0), (ResponseCode::NXDomain, ResponseCode::NXDomain));
    create(&lab, service("late", "10.96.0.8"));
    let there = (ResponseCode::NoError, vec!["10.96.0.8".parse().unwrap()]);
    assert_eq!((addresses(), addresses()), (there.clone(), there));
    remove::<Service>(&lab, "shop", "late");
    assert_eq!(addresses().0, ResponseCode::NXDomain);
}

#[tokio::test(start_paused = true)]
async fn what_the_fault_writes_bites_for_its_names_and_no_others() {
    let lab = shop();
    let silent = Outcome::Silence { idle: 10 * S };
    let told = |code| Outcome::Reply(Arc::new(Reply::of(code)));
    for (plugin, expected) in [
        ("template ANY ANY {\n rcode NXDOMAIN\n }", told(ResponseCode::NXDomain)),
        ("template ANY ANY {\n rcode SERVFAIL\n }", told(ResponseCode::ServFail)),
        ("acl {\n block\n }", told(ResponseCode::Refused)),
        ("acl {\n drop\n }", silent),
    ] {
        assert!(run(&lab, &broken("", plugin)), "{plugin}");
        for name in ["web.shop.svc.cluster.local", "a.web.shop.svc.cluster.local"] {
            assert_eq!(served(&lab, query(name, RecordType::A)).0, expected, "{plugin}");
        }
        assert_eq!(addresses(&lab, "db.shop.svc.cluster.local").0, ResponseCode::NoError, "{plugin}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_made_of_silent_upstreams_and_ends_in_the_true_answer() {
    let lab = shop();
    for (hops, idle, late) in [(1, 1500, 1500), (2, 1950, 3900)] {
        let slow = " 127.0.0.1:10053".repeat(hops);
        let forward = format!("forward .{slow} 127.0.0.1:53 {{\n force_tcp\n policy sequential\n max_fails 0\n }}");
        let views = " {\n expr \"client_ip() != '127.0.0.1'\"\n }";
        let silent =
            format!(".:10053 {{\n bind 127.0.0.1\n acl {{\n drop\n }}\n timeouts {{\n idle {idle}ms\n }}\n}}\n");
        assert!(run(&lab, &(silent + &broken(views, &forward))));
        let (outcome, takes) = served(&lab, query("web.shop.svc.cluster.local", RecordType::A));
        let Outcome::Reply(answer) = outcome else { panic!("{outcome:?}") };
        assert_eq!(answer.addresses().collect::<Vec<_>>(), ["10.96.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(takes, Duration::from_millis(late));
        assert_eq!(served(&lab, query("db.shop.svc.cluster.local", RecordType::A)).1, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_queries_is_met_by_chance() {
    let lab = shop();
    let views = " {\n expr \"now().Nanosecond() % 100000 < 30000\"\n }";
    assert!(run(&lab, &broken(views, "template ANY ANY {\n rcode SERVFAIL\n }")));
    let met = (0..1000).filter(|_| addresses(&lab, "web.shop.svc.cluster.local").0 == ResponseCode::ServFail).count();
    assert!((250..350).contains(&met), "{met}");
}

#[tokio::test(start_paused = true)]
async fn a_cache_gives_what_holds_and_stale_answers_only_where_it_is_told_to() {
    let lab = shop();
    let name = "web.shop.svc.cluster.local";
    for (cache, first, later) in
        [("cache 30", "10.96.0.7", "10.96.0.8"), ("cache 30 {\n serve_stale\n }", "10.96.0.7", "10.96.0.7")]
    {
        assert!(run(&lab, &format!(".:53 {{\n {CLUSTER} {cache}\n}}\n")));
        let asked = || addresses(&lab, name).1[0].to_string();
        let before = asked();
        assert_eq!(before, first);
        remove::<Service>(&lab, "shop", "web");
        create(&lab, service("web", "10.96.0.8"));
        pass(29 * S).await;
        assert_eq!(asked(), first, "{cache}: it still holds");
        pass(2 * S).await;
        assert_eq!(asked(), later, "{cache}: it is over");
        assert_eq!(asked(), "10.96.0.8", "{cache}: refreshed");
        remove::<Service>(&lab, "shop", "web");
        create(&lab, service("web", "10.96.0.7"));
    }
    // Denials are kept too, unless that is disabled.
    for (cache, kept) in [("cache 30", true), ("cache 30 {\n disable denial cluster.local\n }", false)] {
        assert!(run(&lab, &format!(".:53 {{\n {CLUSTER} {cache}\n}}\n")));
        assert_eq!(addresses(&lab, "new.shop.svc.cluster.local").0, ResponseCode::NXDomain);
        create(&lab, service("new", "10.96.0.9"));
        assert_eq!(addresses(&lab, "new.shop.svc.cluster.local").0 == ResponseCode::NXDomain, kept, "{cache}");
        remove::<Service>(&lab, "shop", "new");
    }
}

#[tokio::test(start_paused = true)]
async fn rewrites_hosts_and_erratic_answers() {
    let lab = shop();
    assert!(run(
        &lab,
        &format!(".:53 {{\n rewrite name suffix .shop.example .shop.svc.cluster.local\n {CLUSTER} }}\n")
    ));
    let found = reply(&lab, "web.shop.example", RecordType::A);
    assert_eq!((found.answers.len(), found.answers[0].name.as_str()), (1, "web.shop.example"));
    assert!(run(
        &lab,
        ".:53 {\n hosts {\n 10.1.1.1 api.example\n fallthrough\n }\n erratic {\n drop 3\n delay 2 50ms\n }\n}\n"
    ));
    assert_eq!(addresses(&lab, "api.example").1, ["10.1.1.1".parse::<IpAddr>().unwrap()]);
    let told: Vec<(bool, u128)> = (0..6)
        .map(|_| served(&lab, query("other.example", RecordType::A)))
        .map(|(outcome, takes)| (matches!(outcome, Outcome::Reply(_)), takes.as_millis()))
        .collect();
    assert_eq!(told, [(false, 0), (true, 0), (true, 50), (false, 0), (true, 50), (true, 0)]);
}

#[tokio::test(start_paused = true)]
async fn names_from_beyond_the_cluster_do_not_exist_and_a_server_that_is_not_named_refuses() {
    let lab = shop();
    assert!(run(&lab, &format!("cluster.local:53 {{\n {CLUSTER} }}\n")));
    assert_eq!(addresses(&lab, "example.com").0, ResponseCode::Refused);
    assert!(run(&lab, ".:53 {\n forward . /etc/resolv.conf\n}\n"));
    assert_eq!(addresses(&lab, "example.com").0, ResponseCode::NXDomain);
    let elsewhere = SocketAddr::from((LOCAL.0, 54));
    let served = lab.with(|world| serve(world, LIFE, elsewhere, query("a", RecordType::A)).unwrap());
    assert_eq!(served.outcome, Outcome::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_core_dns_does_not_start_with_a_corefile_that_it_can_t_use() {
    let lab = shop();
    assert!(!run(&lab, ". {\n nonsense\n}\n") && !run(&lab, ". {\n"));
    assert!(lab.with(|world| serve(world, LIFE, SocketAddr::from(LOCAL), query("a", RecordType::A))).is_none());
}

/// A whole lab with its DNS up.
async fn up() -> Lab {
    let wall = k8s_openapi::jiff::Timestamp::from_second(crate::lab::testing::WALL).unwrap();
    let lab = Lab::new(&Shape { nodes: 3, zones: 3, seed: 1, wall, name: "lab".to_owned(), aws: None });
    lab.settled().await.unwrap();
    lab
}

fn corefile(lab: &Lab) -> String {
    lab.shared.read(|world| {
        let map = world.store.get::<ConfigMap>("kube-system", "coredns").unwrap();
        map.data.as_ref().unwrap()["Corefile"].clone()
    })
}

fn write(lab: &Lab, corefile: &str) {
    let change =
        |map: &mut ConfigMap| drop(map.data.as_mut().unwrap().insert("Corefile".to_owned(), corefile.to_owned()));
    lab.shared.with(|world| world.store.update("kube-system", "coredns", change)).unwrap();
}

/// What each pod of CoreDNS answers.
fn codes(lab: &Lab) -> Vec<ResponseCode> {
    lab.shared.with(|world| {
        let pods: Vec<IpAddr> = world
            .store
            .list::<Pod>(Some("kube-system"))
            .filter_map(|pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok())
            .collect();
        let asked = query("kubernetes.default.svc.cluster.local", RecordType::A);
        let told = |world: &mut World, pod: &IpAddr| match deliver(world, SocketAddr::new(*pod, 53), asked, None) {
            Delivered::Answered { reply, .. } => reply.code,
            other => panic!("{other:?}"),
        };
        pods.iter().map(|pod| told(world, pod)).collect()
    })
}

const NX: &str = ".:53 {\n view squall\n template ANY ANY {\n rcode NXDOMAIN\n }\n}\n";

#[tokio::test(start_paused = true)]
async fn a_changed_corefile_bites_when_kubelet_and_reload_have_seen_it() {
    let lab = up().await;
    let before = corefile(&lab);
    assert_eq!(codes(&lab), [ResponseCode::NoError; 2]);
    write(&lab, &(NX.to_owned() + &before));
    let mut after = Vec::new();
    for second in 0..128 {
        pass(S).await;
        let codes = codes(&lab);
        while after.len() < codes.iter().filter(|code| **code == ResponseCode::NXDomain).count() {
            after.push(second);
        }
    }
    // Each pod at a time of its own; never at once, and within what the fault promises.
    assert_eq!(after.len(), 2, "{after:?}");
    assert!(after[1] > 5 && after[1] <= 127, "{after:?}");
    // One that CoreDNS would not start with changes nothing.
    write(&lab, "nonsense {\n nonsense\n}\n");
    pass(130 * S).await;
    assert_eq!(codes(&lab), [ResponseCode::NXDomain; 2]);
    write(&lab, &before);
    pass(130 * S).await;
    assert_eq!(codes(&lab), [ResponseCode::NoError; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_changes_has_its_volumes_looked_after_at_once() {
    let lab = up().await;
    write(&lab, &(NX.to_owned() + &corefile(&lab)));
    lab.shared.with(|world| {
        let pods: Vec<_> =
            world.store.list::<Pod>(Some("kube-system")).map(|p| p.metadata.name.clone().unwrap()).collect();
        for name in pods {
            let change = |pod: &mut Pod| {
                let annotations = pod.metadata.annotations.get_or_insert_default();
                annotations.insert("looked-at".to_owned(), "now".to_owned());
            };
            world.store.update("kube-system", &name, change).unwrap();
        }
    });
    // `reload` looks every 30 s, give or take 7.5 s.
    pass(38 * S).await;
    assert_eq!(codes(&lab), [ResponseCode::NXDomain; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_core_dns_that_is_told_to_end_goes_on_as_a_lame_duck() {
    let lab = up().await;
    let (address, life) = lab.shared.with(|world| {
        let pod = world.store.list::<Pod>(Some("kube-system")).next().unwrap();
        let address: IpAddr = pod.status.as_ref().unwrap().pod_ip.as_ref().unwrap().parse().unwrap();
        let life = world.kubelets.at(address, 53).unwrap().life;
        let name = pod.metadata.name.clone().unwrap();
        let key = ObjectKey::new("kube-system", name);
        objects::delete(world, number_of::<Pod>(), &key, None);
        (address, life)
    });
    let ended = || lab.shared.read(|world| world.kubelets.life(life).is_none_or(|process| process.ended.is_some()));
    pass(4 * S).await;
    assert!(!ended(), "it serves on for `lameduck 5s`");
    let asked = query("kubernetes.default.svc.cluster.local", RecordType::A);
    let told = lab.shared.with(|world| deliver(world, SocketAddr::new(address, 53), asked, None));
    assert!(matches!(told, Delivered::Answered { .. }), "{told:?}");
    pass(2 * S).await;
    assert!(ended());
}

#[tokio::test(start_paused = true)]
async fn a_restart_with_a_corefile_that_can_t_be_used_ends_in_crashes() {
    let lab = up().await;
    write(&lab, "nonsense {\n nonsense\n}\n");
    lab.shared.with(|world| {
        let pods: Vec<_> =
            world.store.list::<Pod>(Some("kube-system")).map(|p| p.metadata.name.clone().unwrap()).collect();
        for name in pods {
            let key = ObjectKey::new("kube-system", name);
            objects::delete(world, number_of::<Pod>(), &key, Some(0));
        }
    });
    pass(60 * S).await;
    let restarts = lab.shared.read(|world| {
        let pods = world.store.list::<Pod>(Some("kube-system"));
        pods.filter_map(|pod| Some(pod.status.as_ref()?.container_statuses.as_ref()?.first()?.restart_count))
            .sum::<i32>()
    });
    assert!(restarts >= 2, "{restarts}");
}
