use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use crate::lab::model::objects::{delete, is_ready};
use crate::lab::model::tests::{BRISK, Pace, active, edit, field, play, pod_spec, pods, quiet, replay, say_phase};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::testing::{create, pass};
use crate::lab::world::Shared;

const SECOND: Duration = Duration::from_secs(1);

fn set(lab: &Shared, replicas: i32, change: impl FnOnce(&mut Value)) {
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "shop"},
        "spec": {
            "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": pod_spec("db:1")},
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        },
    });
    change(&mut set);
    create(lab, set);
}

fn of(lab: &Shared, pointer: &str) -> Value {
    field::<StatefulSet>(lab, "db", pointer)
}

fn image_of(lab: &Shared, pod: &str) -> Value {
    field::<Pod>(lab, pod, "/spec/containers/0/image")
}

/// The names of pods in the order in which they came, or began to leave.
fn order(lab: &Shared, from: u64, leaving: bool) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    replay(lab, from, |pods| {
        let those = pods.iter().filter(|(_, pod)| !leaving || pod.metadata.deletion_timestamp.is_some());
        for (name, _) in those {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    });
    names
}

#[tokio::test(start_paused = true)]
async fn pods_come_one_after_the_other_with_names_and_storage_of_their_own() {
    let lab = quiet();
    play(&lab, BRISK);
    set(&lab, 3, |_| ());
    pass(SECOND * 10).await;
    assert_eq!(active(&lab), ["db-0", "db-1", "db-2"]);
    replay(&lab, 0, |pods| {
        let unready = pods.values().filter(|pod| !is_ready(pod)).count();
        assert!(unready <= 1, "the next came before the last was ready");
    });
    let pod = lab.read(|world| world.store.get::<Pod>("shop", "db-1").unwrap());
    let labels = pod.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "db-1");
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "1");
    assert_eq!(Value::from(labels["controller-revision-hash"].as_str()), of(&lab, "/status/updateRevision"));
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-1"), Some("db")));
    let claim = spec.volumes.as_ref().unwrap()[0].persistent_volume_claim.as_ref().unwrap();
    assert_eq!(claim.claim_name, "data-db-1");
    assert_eq!(field::<PersistentVolumeClaim>(&lab, "data-db-1", "/status/phase"), "Pending");
    for number in ["replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"] {
        assert_eq!(of(&lab, "/status")[number], 3, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn parallel_pods_come_and_go_all_at_once() {
    let lab = quiet();
    play(&lab, Pace { ready: None, ..BRISK });
    set(&lab, 3, |set| set["spec"]["podManagementPolicy"] = "Parallel".into());
    pass(SECOND).await;
    assert_eq!(active(&lab), ["db-0", "db-1", "db-2"]);
    edit::<StatefulSet>(&lab, "db", |set| set["spec"]["replicas"] = 1.into());
    pass(Duration::from_millis(50)).await;
    assert_eq!(active(&lab), ["db-0"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_replaced_only_when_it_is_gone() {
    let lab = quiet();
    play(&lab, BRISK);
    set(&lab, 2, |_| ());
    pass(SECOND * 8).await;
    let uid = |name: &str| field::<Pod>(&lab, name, "/metadata/uid");
    let before = uid("db-0");
    lab.with(|world| delete(world, number_of::<Pod>(), &ObjectKey::new("shop", "db-0"), None));
    pass(SECOND).await;
    assert_eq!((active(&lab), uid("db-0")), (vec!["db-1".to_owned()], before.clone()));
    pass(SECOND * 5).await;
    assert_eq!(active(&lab), ["db-0", "db-1"]);
    assert_ne!(uid("db-0"), before);
    assert_eq!(of(&lab, "/status/readyReplicas"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_failed_is_made_anew() {
    let lab = quiet();
    play(&lab, BRISK);
    set(&lab, 1, |_| ());
    pass(SECOND * 4).await;
    let before = field::<Pod>(&lab, "db-0", "/metadata/uid");
    lab.with(|world| say_phase(world, &ObjectKey::new("shop", "db-0"), "Failed"));
    pass(SECOND * 4).await;
    assert_ne!(field::<Pod>(&lab, "db-0", "/metadata/uid"), before);
    assert_eq!(of(&lab, "/status/readyReplicas"), 1);
}

#[tokio::test(start_paused = true)]
async fn scaled_down_the_highest_goes_first_and_storage_stays() {
    let lab = quiet();
    play(&lab, BRISK);
    set(&lab, 3, |_| ());
    pass(SECOND * 10).await;
    let before = lab.read(|world| world.store.version());
    edit::<StatefulSet>(&lab, "db", |set| set["spec"]["replicas"] = 1.into());
    pass(SECOND * 10).await;
    assert_eq!(order(&lab, before, true), ["db-2", "db-1"]);
    assert_eq!(active(&lab), ["db-0"]);
    assert_eq!(field::<PersistentVolumeClaim>(&lab, "data-db-2", "/status/phase"), "Pending");
}

#[tokio::test(start_paused = true)]
async fn an_update_goes_from_the_highest_down_to_the_partition_one_at_a_time() {
    let lab = quiet();
    play(&lab, BRISK);
    set(&lab, 4, |set| {
        set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
    });
    pass(SECOND * 15).await;
    let before = lab.read(|world| world.store.version());
    let old = of(&lab, "/status/currentRevision");
    edit::<StatefulSet>(&lab, "db", |set| set["spec"]["template"]["spec"]["containers"][0]["image"] = "db:2".into());
    pass(SECOND * 20).await;
    let images = |lab: &Shared| ["db-0", "db-1", "db-2", "db-3"].map(|pod| image_of(lab, pod));
    assert_eq!(images(&lab), ["db:1", "db:1", "db:2", "db:2"]);
    assert_eq!((of(&lab, "/status/currentRevision"), of(&lab, "/status/updatedReplicas")), (old.clone(), json!(2)));
    // One below the partition comes back as it was.
    lab.with(|world| delete(world, number_of::<Pod>(), &ObjectKey::new("shop", "db-0"), None));
    pass(SECOND * 6).await;
    assert_eq!(image_of(&lab, "db-0"), "db:1");
    edit::<StatefulSet>(&lab, "db", |set| set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0.into());
    pass(SECOND * 20).await;
    assert_eq!(images(&lab), ["db:2", "db:2", "db:2", "db:2"]);
    assert_eq!(order(&lab, before, true), ["db-3", "db-2", "db-0", "db-1"]);
    replay(&lab, before, |pods| {
        let ready = pods.values().filter(|pod| is_ready(pod) && pod.metadata.deletion_timestamp.is_none()).count();
        assert!(ready >= 3);
    });
    assert_ne!(of(&lab, "/status/currentRevision"), old);
    assert_eq!(of(&lab, "/status/currentRevision"), of(&lab, "/status/updateRevision"));
    assert_eq!(pods(&lab).len(), 4);
}
