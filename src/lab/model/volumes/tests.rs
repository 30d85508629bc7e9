use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use crate::lab::model::objects::{condition, delete, is_ready};
use crate::lab::model::tests::{edit, field};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::testing::{create, lab, pass};
use crate::lab::world::Shared;

const SECOND: Duration = Duration::from_secs(1);
const ZONE: &str = "topology.kubernetes.io/zone";

fn class(lab: &Shared, name: &str, more: Value) {
    let mut class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "disks", "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    });
    let Value::Object(more) = more else { panic!("{more}") };
    for (field, value) in more {
        class[field] = value;
    }
    create(lab, class);
}

fn set(lab: &Shared, replicas: i32, more: Value) {
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "shop"},
        "spec": {
            "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "db:1"}]}},
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        },
    });
    let Value::Object(more) = more else { panic!("{more}") };
    for (field, value) in more {
        set["spec"][field] = value;
    }
    create(lab, set);
}

fn claim(lab: &Shared, name: &str, spec: Value) {
    let mut all = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let Value::Object(spec) = spec else { panic!("{spec}") };
    for (field, value) in spec {
        all[field] = value;
    }
    let metadata = json!({"name": name, "namespace": "shop"});
    create(lab, json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": all}));
}

fn volume(lab: &Shared, name: &str, size: &str, more: Value) {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}});
    let Value::Object(more) = more else { panic!("{more}") };
    for (field, value) in more {
        spec[field] = value;
    }
    create(lab, json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}));
}

fn pod(lab: &Shared, name: &str, claim: &str) {
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    let spec = json!({"containers": [{"name": "c", "image": "c:1"}], "volumes": volumes});
    create(
        lab,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}),
    );
}

fn phase(lab: &Shared, claim: &str) -> String {
    field::<PersistentVolumeClaim>(lab, claim, "/status/phase").as_str().unwrap_or("none").to_owned()
}

fn volume_of(lab: &Shared, claim: &str) -> String {
    field::<PersistentVolumeClaim>(lab, claim, "/spec/volumeName").as_str().unwrap_or_default().to_owned()
}

fn stored(lab: &Shared, volume: &str) -> Option<PersistentVolume> {
    lab.read(|world| world.store.get::<PersistentVolume>("", volume).map(|volume| PersistentVolume::clone(&volume)))
}

fn zone_of_volume(lab: &Shared, claim: &str) -> String {
    let volume = stored(lab, &volume_of(lab, claim)).unwrap();
    let terms = volume.spec.unwrap().node_affinity.unwrap().required.unwrap().node_selector_terms;
    let rule = terms[0].match_expressions.as_ref().unwrap()[0].clone();
    assert_eq!((rule.key.as_str(), rule.operator.as_str()), (ZONE, "In"));
    rule.values.unwrap().remove(0)
}

fn zone_of_pod(lab: &Shared, pod: &str) -> String {
    let node = field::<Pod>(lab, pod, "/spec/nodeName");
    let node = lab.read(|world| world.store.get::<Node>("", node.as_str().unwrap()).unwrap());
    node.metadata.labels.as_ref().unwrap()[ZONE].clone()
}

fn ready(lab: &Shared, pod: &str) -> bool {
    lab.read(|world| world.store.get::<Pod>("shop", pod).is_some_and(|pod| is_ready(&pod)))
}

fn why_unscheduled(lab: &Shared, pod: &str) -> String {
    let pod = lab.read(|world| world.store.get::<Pod>("shop", pod).unwrap());
    condition(&pod, "PodScheduled").and_then(|condition| condition.message.clone()).unwrap_or_default()
}

fn remove<K: k8s_openapi::Resource>(lab: &Shared, namespace: &str, name: &str) {
    lab.with(|world| delete(world, number_of::<K>(), &ObjectKey::new(namespace, name), None));
}

fn cordon(lab: &Shared, zone: &str) {
    lab.with(|world| {
        let all: Vec<_> = world.store.list::<Node>(None).collect();
        for node in all.iter().filter(|node| node.metadata.labels.as_ref().unwrap()[ZONE] == zone) {
            let name = node.metadata.name.as_deref().unwrap();
            world.store.update::<Node>("", name, |node| {
                node.spec.get_or_insert_default().unschedulable = Some(true);
            });
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_set_with_storage_comes_up_and_a_pod_comes_back_to_its_zone_only() {
    let lab = lab();
    class(&lab, "disk", json!({}));
    set(&lab, 3, json!({}));
    pass(60 * SECOND).await;
    for ordinal in 0..3 {
        let (pod, claim) = (format!("db-{ordinal}"), format!("data-db-{ordinal}"));
        assert!(ready(&lab, &pod), "{pod}: {}", why_unscheduled(&lab, &pod));
        assert_eq!(phase(&lab, &claim), "Bound");
        assert_eq!(zone_of_volume(&lab, &claim), zone_of_pod(&lab, &pod));
        assert_eq!(field::<PersistentVolumeClaim>(&lab, &claim, "/spec/storageClassName"), "disk");
        assert_eq!(field::<PersistentVolumeClaim>(&lab, &claim, "/status/capacity/storage"), "1Gi");
    }
    let (zone, volume) = (zone_of_pod(&lab, "db-1"), volume_of(&lab, "data-db-1"));
    remove::<Pod>(&lab, "shop", "db-1");
    pass(20 * SECOND).await;
    assert!(ready(&lab, "db-1"));
    assert_eq!((zone_of_pod(&lab, "db-1"), volume_of(&lab, "data-db-1")), (zone.clone(), volume));
    // Where its zone takes none, it waits, though other zones have room.
    cordon(&lab, &zone);
    remove::<Pod>(&lab, "shop", "db-1");
    pass(20 * SECOND).await;
    assert!(!ready(&lab, "db-1"));
    let why = "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match PersistentVolume's node \
               affinity.";
    assert_eq!(why_unscheduled(&lab, "db-1"), why);
}

#[tokio::test(start_paused = true)]
async fn a_volume_takes_its_time_and_is_made_only_where_its_class_allows() {
    let lab = lab();
    let allowed = json!([{"matchLabelExpressions": [{"key": ZONE, "values": ["b"]}]}]);
    class(&lab, "disk", json!({"allowedTopologies": allowed}));
    claim(&lab, "data", json!({}));
    pass(10 * SECOND).await;
    assert_eq!(phase(&lab, "data"), "none", "nobody needs it yet");
    pod(&lab, "x", "data");
    pass(2 * SECOND).await;
    assert_eq!(phase(&lab, "data"), "none");
    pass(SECOND / 10).await;
    assert_eq!((phase(&lab, "data").as_str(), zone_of_pod(&lab, "x").as_str()), ("Bound", "b"));
    cordon(&lab, "b");
    claim(&lab, "more", json!({}));
    pod(&lab, "y", "more");
    pass(10 * SECOND).await;
    let why = "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't find available persistent volumes \
               to bind.";
    assert_eq!(why_unscheduled(&lab, "y"), why);
}

#[tokio::test(start_paused = true)]
async fn volumes_that_are_made_at_once_take_turns_in_the_zones() {
    let lab = lab();
    class(&lab, "disk", json!({"volumeBindingMode": "Immediate"}));
    for ordinal in 0..3 {
        claim(&lab, &format!("data-db-{ordinal}"), json!({}));
    }
    pass(3 * SECOND).await;
    let zones: BTreeSet<String> = (0..3).map(|ordinal| zone_of_volume(&lab, &format!("data-db-{ordinal}"))).collect();
    assert_eq!(zones.len(), 3, "{zones:?}");
    pod(&lab, "x", "data-db-2");
    pass(5 * SECOND).await;
    assert!(ready(&lab, "x"));
    assert_eq!(zone_of_pod(&lab, "x"), zone_of_volume(&lab, "data-db-2"));
}

#[tokio::test(start_paused = true)]
async fn volumes_that_are_there_are_bound_by_name_and_by_fit() {
    let lab = lab();
    volume(&lab, "small", "500Mi", json!({}));
    volume(&lab, "large", "10Gi", json!({}));
    volume(&lab, "right", "2Gi", json!({}));
    volume(&lab, "other", "2Gi", json!({"storageClassName": "other"}));
    volume(&lab, "kept", "5Gi", json!({"claimRef": {"namespace": "shop", "name": "late"}}));
    pass(SECOND).await;
    claim(&lab, "fits", json!({"storageClassName": ""}));
    pass(SECOND).await;
    claim(&lab, "named", json!({"storageClassName": "", "volumeName": "large"}));
    claim(&lab, "unfit", json!({"storageClassName": "", "volumeName": "small"}));
    claim(&lab, "late", json!({"storageClassName": ""}));
    claim(&lab, "many", json!({"storageClassName": "", "accessModes": ["ReadWriteMany"]}));
    pass(SECOND).await;
    let all = ["fits", "named", "late"].map(|name| (phase(&lab, name), volume_of(&lab, name)));
    let bound = |volume: &str| ("Bound".to_owned(), volume.to_owned());
    assert_eq!(all, [bound("right"), bound("large"), bound("kept")]);
    for waits in ["unfit", "many"] {
        assert_eq!(phase(&lab, waits), "none", "{waits}");
    }
    // What is gone takes the claim's content along.
    lab.with(|world| world.store.remove(number_of::<PersistentVolume>(), &ObjectKey::new("", "right")));
    pass(SECOND).await;
    assert_eq!(phase(&lab, "fits"), "Lost");
    pod(&lab, "x", "fits");
    pass(SECOND).await;
    let why = "persistentvolumeclaim \"fits\" bound to non-existent persistentvolume \"right\"";
    assert!(why_unscheduled(&lab, "x").contains(why), "{}", why_unscheduled(&lab, "x"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_goes_where_a_local_volume_is() {
    let lab = lab();
    class(&lab, "local", json!({"provisioner": "kubernetes.io/no-provisioner"}));
    let here =
        json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node3"]}]}]);
    let affinity = json!({"required": {"nodeSelectorTerms": here}});
    volume(&lab, "disk", "2Gi", json!({"storageClassName": "local", "nodeAffinity": affinity}));
    for name in ["one", "two"] {
        claim(&lab, name, json!({}));
        pod(&lab, name, name);
        pass(5 * SECOND).await;
    }
    assert_eq!((field::<Pod>(&lab, "one", "/spec/nodeName"), volume_of(&lab, "one")), (json!("node3"), "disk".into()));
    let why = "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.";
    assert_eq!(why_unscheduled(&lab, "two"), why);
}

#[tokio::test(start_paused = true)]
async fn a_claim_in_use_stays_and_what_becomes_of_its_volume_is_its_class_say() {
    for (policy, expected) in [("Delete", None), ("Retain", Some("Released"))] {
        let lab = lab();
        class(&lab, "disk", json!({"reclaimPolicy": policy}));
        claim(&lab, "data", json!({}));
        pod(&lab, "x", "data");
        pass(10 * SECOND).await;
        assert!(ready(&lab, "x"));
        let volume = volume_of(&lab, "data");
        remove::<PersistentVolume>(&lab, "", &volume);
        remove::<PersistentVolumeClaim>(&lab, "shop", "data");
        pass(60 * SECOND).await;
        assert_eq!(phase(&lab, "data"), "Bound", "a pod uses it");
        pod(&lab, "late", "data");
        pass(SECOND).await;
        assert!(why_unscheduled(&lab, "late").contains("is being deleted"));
        if policy == "Retain" {
            // Nobody asked for this one's deletion before.
            lab.with(|world| {
                world.store.update::<PersistentVolume>("", &volume, |volume| {
                    volume.metadata.deletion_timestamp = None;
                    volume.metadata.deletion_grace_period_seconds = None;
                })
            });
        }
        remove::<Pod>(&lab, "shop", "x");
        pass(5 * SECOND).await;
        assert_eq!(phase(&lab, "data"), "none");
        let left = stored(&lab, &volume).and_then(|volume| volume.status?.phase);
        assert_eq!(left.as_deref(), expected, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_keeps_its_storage_unless_it_says_otherwise() {
    let cases = [
        (json!({}), 3, 3),
        (json!({"whenScaled": "Delete", "whenDeleted": "Retain"}), 1, 1),
        (json!({"whenScaled": "Retain", "whenDeleted": "Delete"}), 3, 0),
        (json!({"whenScaled": "Delete", "whenDeleted": "Delete"}), 1, 0),
    ];
    for (policy, scaled, deleted) in cases {
        let lab = lab();
        class(&lab, "disk", json!({}));
        let retention = json!({"persistentVolumeClaimRetentionPolicy": policy, "podManagementPolicy": "Parallel"});
        set(&lab, 3, retention);
        pass(30 * SECOND).await;
        assert!(ready(&lab, "db-2"));
        let there = || {
            let named = |ordinal: &i32| phase(&lab, &format!("data-db-{ordinal}")) == "Bound";
            let volumes = lab.read(|world| world.store.list::<PersistentVolume>(None).count());
            ((0..3).filter(named).count(), volumes)
        };
        assert_eq!(there(), (3, 3));
        edit::<StatefulSet>(&lab, "db", |set| set["spec"]["replicas"] = 1.into());
        pass(40 * SECOND).await;
        assert_eq!(there(), (scaled, scaled), "{policy}");
        // A pod that comes back has its storage, old or new.
        edit::<StatefulSet>(&lab, "db", |set| set["spec"]["replicas"] = 3.into());
        pass(30 * SECOND).await;
        assert_eq!(there(), (3, 3), "{policy}");
        assert!(ready(&lab, "db-2"));
        edit::<StatefulSet>(&lab, "db", |set| set["spec"]["replicas"] = 1.into());
        pass(40 * SECOND).await;
        remove::<StatefulSet>(&lab, "shop", "db");
        pass(40 * SECOND).await;
        assert_eq!(there(), (deleted, deleted), "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_may_bring_a_claim_of_its_own_that_goes_with_it() {
    let lab = lab();
    class(&lab, "disk", json!({}));
    let template = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let volumes = json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]);
    let spec = json!({"containers": [{"name": "c", "image": "c:1"}], "volumes": volumes});
    create(
        &lab,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "shop"}, "spec": spec}),
    );
    pass(10 * SECOND).await;
    assert!(ready(&lab, "x"), "{}", why_unscheduled(&lab, "x"));
    assert_eq!(phase(&lab, "x-scratch"), "Bound");
    remove::<Pod>(&lab, "shop", "x");
    pass(5 * SECOND).await;
    assert_eq!(phase(&lab, "x-scratch"), "none");
    assert_eq!(lab.read(|world| world.store.list::<PersistentVolume>(None).count()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_node_goes_is_given_another() {
    let lab = lab();
    class(&lab, "disk", json!({}));
    claim(&lab, "data", json!({}));
    pod(&lab, "x", "data");
    pass(SECOND).await;
    let node =
        field::<PersistentVolumeClaim>(&lab, "data", "/metadata/annotations/volume.kubernetes.io~1selected-node");
    let node = node.as_str().unwrap().to_owned();
    remove::<Node>(&lab, "", &node);
    pass(20 * SECOND).await;
    assert!(ready(&lab, "x"), "{}", why_unscheduled(&lab, "x"));
    assert_ne!(field::<Pod>(&lab, "x", "/spec/nodeName"), node.as_str());
}
