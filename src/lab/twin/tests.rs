//! Twins of labs: what gets into them, what does not, and whether a lab that begins as one goes on where the other was.

mod large;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{Objects, Scope, Twin, text};
use crate::cluster::Cluster;
use crate::lab::api::Server;
use crate::lab::dns::Query;
use crate::lab::model::objects;
use crate::lab::network::{CLIENT, Delivered, deliver};
use crate::lab::store::{ObjectKey, named, number_of};
use crate::lab::testing::{WALL, pass};
use crate::lab::{Lab, Shape};
use crate::probe::RecordType;

/// The objects of a twin, with something changed in some of them.
fn changed(twin: &Twin, mut change: impl FnMut(&mut Value)) -> Objects {
    let one = |mut object: Value| {
        change(&mut object);
        object
    };
    twin.objects.iter().map(one).collect()
}

const SHOP: &str = include_str!("../../../deploy/demo.yaml");
/// What else a cluster has: pods on every node, pods with ordinals, one that nobody replaces.
const MORE: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: kube-system}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, image: "agent:1"}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: bank}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}, annotations: {lab.squall.dev/db.starts-in: 7s}}
    spec:
      containers: [{name: db, image: "db:1", ports: [{containerPort: 5432}], readinessProbe: {tcpSocket: {port: 5432}, periodSeconds: 2}}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: bank}
spec: {selector: {app: db}, ports: [{port: 5432}]}
"#;

fn wall() -> Timestamp {
    Timestamp::from_second(WALL).unwrap()
}

/// A lab where all of it runs.
async fn original() -> Lab {
    let shape = Shape { nodes: 3, zones: 3, seed: 5, wall: wall(), name: "original".to_owned(), aws: None };
    let lab = Lab::new(&shape);
    lab.apply(SHOP).await.unwrap();
    lab.apply(MORE).await.unwrap();
    lab.settled().await.unwrap();
    lab
}

async fn read(lab: &Lab) -> Twin {
    Twin::read(&lab.cluster(), &Scope::default(), lab.shared.read(crate::lab::world::World::wall)).await.unwrap()
}

/// A lab that begins as a twin.
fn begin(twin: &Twin) -> (Lab, super::Loaded) {
    Lab::of_twin(twin, 9, wall(), "lab --twin x").unwrap()
}

/// Pods by namespace and name: their nodes, whether they are ready, and how often they were restarted.
fn placement(lab: &Lab) -> BTreeMap<String, (String, bool, i32)> {
    let of = |pod: &Pod| {
        let meta = objects::key_of(&pod.metadata);
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let restarts = statuses.into_iter().flatten().map(|status| status.restart_count).sum();
        (format!("{}/{}", meta.namespace, meta.name), (node, objects::is_ready(pod), restarts))
    };
    lab.shared.read(|world| world.store.list::<Pod>(None).map(|pod| of(&pod)).collect())
}

fn endpoints(lab: &Lab) -> BTreeMap<String, Value> {
    lab.everything().into_iter().filter(|(key, _)| key.starts_with("endpoints of")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lab_goes_on_where_its_twin_was() {
    let original = original().await;
    let twin = read(&original).await;
    assert_eq!(Twin::parse(&twin.write().unwrap()).unwrap(), twin);
    let (lab, loaded) = begin(&twin);
    let pods = placement(&original);
    // From the first instant, before anything could have been started or placed.
    assert_eq!(placement(&lab), pods);
    assert_eq!((loaded.adopted, loaded.anew), (pods.len(), 0));
    assert!(loaded.unsettled.is_empty() && loaded.skipped.is_empty() && loaded.dark.is_empty(), "{loaded:?}");
    lab.settled().await.unwrap();
    assert_eq!(endpoints(&lab), endpoints(&original));
    let asked = lab.shared.act(|world| {
        let query = Query { name: "web.shop.svc.cluster.local", kind: RecordType::A, client: CLIENT, tcp: false };
        deliver(world, ([10, 96, 0, 10], 53).into(), query, None)
    });
    let Delivered::Answered { reply, .. } = asked else { panic!("the cluster's DNS: {asked:?}") };
    assert_eq!(reply.addresses().count(), 1, "{reply:?}");
    pass(Duration::from_hours(1)).await;
    assert_eq!(placement(&lab), pods, "nothing is replaced, restarted or moved");
}

#[tokio::test(start_paused = true)]
async fn what_is_killed_in_it_comes_back_as_in_any_lab() {
    let (lab, _) = begin(&read(&original().await).await);
    lab.settled().await.unwrap();
    let before = placement(&lab);
    for victim in before.keys() {
        let (namespace, name) = victim.split_once('/').unwrap();
        let key = ObjectKey::new(namespace, name);
        lab.shared.with(|world| objects::delete(world, number_of::<Pod>(), &key, None));
        pass(Duration::from_mins(2)).await;
        let after = placement(&lab);
        assert_eq!(after.len(), before.len(), "after the end of {victim}");
        assert!(after.values().all(|(_, ready, _)| *ready), "after the end of {victim}: {after:?}");
        let ordinal = victim.starts_with("bank/");
        assert_eq!(after.contains_key(victim), ordinal, "{victim}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_is_concluded_from_what_was_seen() {
    let original = original().await;
    let mut twin = read(&original).await;
    // It was said there: so it is not concluded.
    assert!(twin.assumptions.iter().all(|one| one.workload != "statefulset/db in bank"), "{:?}", twin.assumptions);
    original.shared.with(|world| {
        let pods: Vec<_> = world.store.list::<Pod>(Some("bank")).collect();
        for pod in pods {
            let key = objects::key_of(&pod.metadata);
            world.store.update::<Pod>(&key.namespace, &key.name, |pod| pod.metadata.annotations = None);
        }
    });
    twin = read(&original).await;
    let found = twin.assumptions.iter().find(|one| one.workload == "statefulset/db in bank").unwrap();
    assert_eq!(found.annotation, "lab.squall.dev/db.starts-in");
    let value: f64 = found.value.trim_end_matches("ms").parse().unwrap();
    // The truth is 7 s; the probe asks every 2 s, and times are whole seconds.
    assert!((value - 7000.0).abs() <= 2000.0, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn foreign_revisions_replace_nothing() {
    let mut twin = read(&original().await).await;
    twin.objects = changed(&twin, |object| {
        let ours = ["agent", "db"].contains(&text(object, "/metadata/labels/app")) && object["kind"] == "Pod";
        if ours {
            let hash = if text(object, "/metadata/labels/app") == "db" { "db-6f5" } else { "6f5" };
            object["metadata"]["labels"]["controller-revision-hash"] = hash.into();
        }
        if object["kind"] == "StatefulSet" {
            object["status"]["currentRevision"] = "db-6f5".into();
            object["status"]["updateRevision"] = "db-6f5".into();
        }
    });
    let (lab, _) = begin(&twin);
    let before = placement(&lab);
    pass(Duration::from_mins(5)).await;
    assert_eq!(placement(&lab), before);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_ready_starts_anew_and_a_node_that_was_not_has_no_power() {
    let mut twin = read(&original().await).await;
    let mut lost = String::new();
    twin.objects = changed(&twin, |object| {
        if object["kind"] == "Pod" && text(object, "/metadata/labels/app") == "db" && lost.is_empty() {
            text(object, "/metadata/name").clone_into(&mut lost);
            for condition in object["status"]["conditions"].as_array_mut().unwrap() {
                condition["status"] = "False".into();
            }
        }
        if object["kind"] == "StatefulSet" {
            object["status"]["availableReplicas"] = 1.into();
        }
        if object["kind"] == "Node" && object["metadata"]["name"] == "node3" {
            for condition in object["status"]["conditions"].as_array_mut().unwrap() {
                condition["status"] = "Unknown".into();
            }
        }
    });
    let (lab, loaded) = begin(&twin);
    assert_eq!(loaded.dark, ["node3"]);
    assert_eq!(loaded.unsettled, ["statefulset/db in bank"]);
    assert!(loaded.anew >= 1);
    pass(Duration::from_secs(30)).await;
    let now = placement(&lab);
    let on_dark = |key: &str| now[key].0 == "node3";
    let key = format!("bank/{lost}");
    assert!(on_dark(&key) || now[&key].1, "{key} has started: {:?}", now[&key]);
    // Nothing runs where there is no power.
    let has_power = lab.shared.read(|world| world.nodes.is_up("node3"));
    assert!(!has_power);
}

/// A text that must never get into a twin.
const POISON: &str = "hunter2";

fn poisoned_pod() -> Value {
    let probe = |port: u16| {
        json!({"httpGet": {"path": format!("/?token={POISON}"), "port": port, "host": POISON,
            "httpHeaders": [{"name": "Authorization", "value": POISON}]}})
    };
    json!({
        "containers": [{
            "name": "web", "image": "web:1", "command": ["sh", POISON], "args": [POISON], "workingDir": POISON,
            "env": [{"name": "PASSWORD", "value": POISON},
                {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": POISON, "key": POISON}}}],
            "envFrom": [{"secretRef": {"name": POISON}}, {"configMapRef": {"name": POISON}}],
            "volumeMounts": [{"name": "v", "mountPath": POISON, "subPath": POISON}],
            "readinessProbe": probe(80), "startupProbe": probe(80),
            "livenessProbe": {"exec": {"command": ["check", POISON]}},
            "lifecycle": {"preStop": {"exec": {"command": ["deregister", POISON]}}, "postStart": {"exec": {"command": [POISON]}}},
            "terminationMessagePath": POISON, "securityContext": {"seLinuxOptions": {"user": POISON}},
            "ports": [{"containerPort": 80, "hostIP": POISON}],
        }],
        "initContainers": [{"name": "init", "image": "init:1", "env": [{"name": "P", "value": POISON}], "args": [POISON]}],
        "volumes": [
            {"name": "s", "secret": {"secretName": POISON}}, {"name": "c", "configMap": {"name": "app", "items": [{"key": POISON, "path": POISON}]}},
            {"name": "h", "hostPath": {"path": POISON}}, {"name": "n", "nfs": {"server": POISON, "path": POISON}},
            {"name": "p", "projected": {"sources": [{"secret": {"name": POISON}}]}}, {"name": "csi", "csi": {"driver": POISON, "volumeAttributes": {"k": POISON}}},
            {"name": "i", "iscsi": {"targetPortal": POISON, "iqn": POISON, "lun": 0}}, {"name": "e", "emptyDir": {"medium": POISON}},
        ],
        "imagePullSecrets": [{"name": POISON}], "serviceAccountName": POISON, "serviceAccount": POISON,
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": [POISON]}], "dnsConfig": {"searches": [POISON]},
        "securityContext": {"sysctls": [{"name": "x", "value": POISON}]},
    })
}

fn poisoned() -> Vec<Value> {
    let meta = |name: &str| {
        json!({"name": name, "namespace": "shop", "labels": {"app": "web"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": POISON, "acme.com/token": POISON},
            "managedFields": [{"manager": POISON}], "finalizers": [format!("acme.com/{POISON}")], "selfLink": POISON,
            "ownerReferences": [{"apiVersion": "acme.com/v1", "kind": "App", "name": "app", "uid": POISON}]})
    };
    let template = || json!({"metadata": {"labels": {"app": "web"}, "annotations": {"vault/secret": POISON}}, "spec": poisoned_pod()});
    let workload = |kind: &str| {
        json!({"apiVersion": "apps/v1", "kind": kind, "metadata": meta(&kind.to_lowercase()),
            "spec": {"replicas": 0, "serviceName": "s", "selector": {"matchLabels": {"app": "web"}}, "template": template()},
            "status": {"replicas": 0, "conditions": [{"type": "X", "status": "True", "message": POISON}]}})
    };
    let core = |kind: &str, name: &str, more: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": meta(name)});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    vec![
        workload("Deployment"),
        workload("StatefulSet"),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta("job"), "spec": {"suspend": true, "template": template()}}),
        core(
            "Pod",
            "bare",
            json!({"spec": poisoned_pod(), "status": {"phase": "Pending", "message": POISON,
            "containerStatuses": [{"name": "web", "image": POISON, "imageID": POISON, "containerID": POISON, "ready": false, "restartCount": 1,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": POISON}},
                "lastState": {"terminated": {"exitCode": 1, "message": POISON}}}]}}),
        ),
        core("Secret", "secret", json!({"stringData": {"password": POISON}})),
        core("ConfigMap", "coredns", json!({"data": {"Corefile": POISON}})),
        core(
            "Service",
            "svc",
            json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}], "loadBalancerSourceRanges": [POISON]}}),
        ),
        core(
            "Node",
            "node9",
            json!({"spec": {"configSource": {"configMap": {"name": POISON, "namespace": "x", "kubeletConfigKey": "x"}}},
            "status": {"nodeInfo": {"machineID": POISON, "systemUUID": POISON, "bootID": POISON, "kernelVersion": POISON},
                "conditions": [{"type": "Ready", "status": "True", "message": POISON}], "addresses": [{"type": "InternalIP", "address": POISON}],
                "images": [{"names": [POISON]}]}}),
        ),
        core(
            "PersistentVolume",
            "pv",
            json!({"spec": {"csi": {"driver": "x", "volumeHandle": POISON, "volumeAttributes": {"key": POISON},
            "nodePublishSecretRef": {"name": POISON}}, "claimRef": {"name": "c", "namespace": "shop", "uid": POISON}, "mountOptions": [POISON]}}),
        ),
        core("PersistentVolumeClaim", "claim", json!({"spec": {"dataSource": {"kind": "X", "name": POISON}}})),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta("class"), "provisioner": "x",
            "parameters": {"secret": POISON}, "mountOptions": [POISON]}),
    ]
}

#[tokio::test(start_paused = true)]
async fn no_secret_gets_into_a_twin_wherever_it_stands() {
    let original = original().await;
    let whole = |lab: &Lab| -> String {
        let json = |number: usize| {
            lab.shared.read(|world| {
                world.store.objects(number, None).map(|object| object.json().to_string()).collect::<String>()
            })
        };
        (0..crate::lab::store::KINDS.len()).map(json).collect()
    };
    for object in poisoned() {
        let kind = named(text(&object, "/apiVersion"), text(&object, "/kind")).unwrap();
        original.shared.with(|world| {
            let now = world.wall();
            world.store.create(kind, object.clone(), now).unwrap();
        });
    }
    let places = whole(&original).matches(POISON).count();
    assert!(places > 100, "only {places} places are poisoned");
    let twin = read(&original).await;
    let document = twin.write().unwrap();
    let at = document.find(POISON).map(|at| document[at.saturating_sub(200)..at + POISON.len()].to_owned());
    assert_eq!(at, None);
    // They are there all the same.
    for kind in ["Deployment", "StatefulSet", "Job", "PersistentVolume", "StorageClass"] {
        assert!(twin.objects.iter().any(|object| object["kind"] == kind), "{kind}");
    }
    assert!(!document.contains("\"Secret\"") && !document.contains("stringData"));
    begin(&twin);
}

#[tokio::test(start_paused = true)]
async fn reading_changes_nothing_and_asks_for_no_more_than_it_says() {
    let original = original().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    let cluster = original.cluster();
    cluster.ledger().write_to(std::fs::File::create(&path).unwrap(), |_| 0);
    Twin::read(&cluster, &Scope::default(), wall()).await.unwrap();
    drop(cluster.ledger().detach());
    let calls = std::fs::read_to_string(&path).unwrap();
    let made: BTreeSet<(String, String, String)> = calls
        .lines()
        .map(|line| {
            let call: Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
            (field("group"), field("resource"), field("verb"))
        })
        .collect();
    let said = super::needed()
        .into_iter()
        .map(|(group, resource, verb)| (group.to_owned(), resource.to_owned(), verb.to_owned()));
    assert_eq!(made, said.collect::<BTreeSet<_>>());
    assert!(!calls.contains("secrets"));
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_is_named_and_refuses_only_where_nothing_goes_without_it() {
    let original = original().await;
    let server = Server::new(original.shared.clone());
    let cluster = Cluster::over(server.clone(), original.cluster().id().clone());
    server.deny("list", "poddisruptionbudgets", None);
    server.deny("list", "pods", Some("kube-system"));
    let scope = Scope { namespaces: Vec::new(), fallback: ["shop".to_owned()].into() };
    let twin = Twin::read(&cluster, &scope, wall()).await.unwrap();
    let what: Vec<&str> = twin.missing.iter().map(|missing| missing.what.as_str()).collect();
    assert_eq!(
        what,
        ["poddisruptionbudgets.policy in shop", "poddisruptionbudgets.policy outside shop", "pods outside shop"]
    );
    assert!(twin.missing[0].why.contains("forbidden"), "{:?}", twin.missing[0]);
    let pods: Vec<Value> = twin.objects.iter().filter(|object| object["kind"] == "Pod").collect();
    assert!(pods.len() == 3 && pods.iter().all(|pod| pod["metadata"]["namespace"] == "shop"));
    let (lab, _) = begin(&twin);
    lab.settled().await.unwrap();
    let refused = Twin::read(&cluster, &Scope::default(), wall()).await.unwrap_err();
    assert!(
        refused.message.contains("pods: ") && refused.message.contains("poddisruptionbudgets.policy: "),
        "{refused}"
    );
    server.deny("list", "nodes", None);
    let refused = Twin::read(&cluster, &scope, wall()).await.unwrap_err();
    assert!(refused.message.contains("nodes: "), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn named_namespaces_alone_are_read() {
    let original = original().await;
    let scope = Scope { namespaces: vec!["bank".to_owned()], fallback: BTreeSet::new() };
    let twin = Twin::read(&original.cluster(), &scope, wall()).await.unwrap();
    let within: BTreeSet<String> =
        twin.objects.iter().map(|object| text(&object, "/metadata/namespace").to_owned()).collect();
    // The DNS's Corefile is the cluster's, not a namespace's own; the lab's shop has none.
    assert_eq!(
        within.into_iter().filter(|namespace| !namespace.is_empty() && *namespace != "kube-system").collect::<Vec<_>>(),
        ["bank"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_redacted_twin_names_nobody_and_is_the_same_cluster() {
    let original = original().await;
    let twin = read(&original).await;
    let (redacted, names) = twin.redact(&[]);
    let document = redacted.write().unwrap();
    for name in ["shop", "bank", "agent", "node1", "lab-1a", "web", "\"db", "db:1", "db-", "original"] {
        let at = document.find(name).map(|at| document[at.saturating_sub(150)..at + name.len()].to_owned());
        assert_eq!(at, None, "{name}");
    }
    let shop = names.of("shop").to_owned();
    assert_ne!(shop, "shop");
    let (lab, loaded) = begin(&Twin::parse(&document).unwrap());
    assert_eq!(loaded.anew, 0);
    lab.settled().await.unwrap();
    let of = |lab: &Lab| -> Vec<u64> {
        let mut all: Vec<u64> = endpoints(lab).values().map(|one| one["ready"].as_u64().unwrap()).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(of(&lab), of(&original));
    let before = placement(&lab);
    assert_eq!(before.keys().filter(|key| key.starts_with(&format!("{shop}/"))).count(), 3);
    pass(Duration::from_mins(5)).await;
    assert_eq!(placement(&lab), before);
    // What stays is said.
    let (kept, names) = twin.redact(&["shop".to_owned(), "web".to_owned()]);
    let kept = kept.write().unwrap();
    assert!(kept.contains("\"namespace\":\"shop\"") && kept.contains("\"app\":\"web\"") && !kept.contains("bank"));
    assert!(!names.map().contains_key("shop"));
}

#[test]
fn what_is_no_twin_is_told_apart() {
    let told = |text: &str| Twin::parse(text).unwrap_err().message;
    assert!(told("kind: Deployment\napiVersion: apps/v1\n").contains("it is a `Deployment`"));
    assert!(told("a: 1\n").contains("it does not say `kind: Twin`"));
    assert!(told("kind: Twin\napiVersion: twin.squall.dev/v9\n").contains("of version `twin.squall.dev/v9`"));
    let cut =
        told("apiVersion: twin.squall.dev/v1alpha1\nkind: Twin\nobjects:\n- {\"kind\": \"Pod\", \"metadata\": {\"na\n");
    assert!(cut.contains("line") && cut.contains("column"), "{cut}");
}

#[tokio::test(start_paused = true)]
async fn one_that_was_cut_off_between_two_objects_is_told_too() {
    let document = read(&original().await).await.write().unwrap();
    let (cut, _) = document.trim_end().rsplit_once('\n').unwrap();
    assert!(Twin::parse(cut).unwrap_err().message.contains("it was cut off, or changed"));
}
