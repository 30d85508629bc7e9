use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::{Value, json};

use crate::lab::model::tests::{
    BRISK, Pace, active, edit, field, images, numbers, play, pod_spec, pods, quiet, replay,
};
use crate::lab::store::number_of;
use crate::lab::testing::{create, pass};
use crate::lab::world::Shared;

const SECOND: Duration = Duration::from_secs(1);

fn deployment(lab: &Shared, replicas: i32, change: impl FnOnce(&mut Value)) {
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec("web:1")},
        },
    });
    change(&mut deployment);
    create(lab, deployment);
}

fn set_image(lab: &Shared, image: &str) {
    edit::<Deployment>(lab, "web", |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
    });
}

fn of(lab: &Shared, pointer: &str) -> Value {
    field::<Deployment>(lab, "web", pointer)
}

fn condition(lab: &Shared, type_: &str) -> (String, String) {
    let all = of(lab, "/status/conditions");
    let all = all.as_array().unwrap().iter();
    let found = all.filter(|condition| condition["type"] == type_).collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{type_}");
    (found[0]["status"].as_str().unwrap().to_owned(), found[0]["reason"].as_str().unwrap().to_owned())
}

/// Of each ReplicaSet its image, and how many pods it is asked for.
fn sizes(lab: &Shared) -> BTreeMap<String, i32> {
    lab.read(|world| {
        let sets = world.store.list::<ReplicaSet>(Some("shop"));
        let size = |set: &ReplicaSet| {
            let spec = set.spec.as_ref().unwrap();
            let image = spec.template.as_ref().unwrap().spec.as_ref().unwrap().containers[0].image.clone();
            (image.unwrap(), spec.replicas.unwrap())
        };
        sets.map(|set| size(&set)).collect()
    })
}

fn expect(pairs: &[(&str, i32)]) -> BTreeMap<String, i32> {
    pairs.iter().map(|(image, size)| ((*image).to_owned(), *size)).collect()
}

/// The most pods that all `ReplicaSets` were asked for together since a version. There may be more for a moment: each makes and ends its own.
fn most_asked_for(lab: &Shared, from: u64) -> i32 {
    lab.read(|world| {
        let (mut sizes, mut most) = (BTreeMap::new(), 0);
        for change in world.store.since(1).unwrap() {
            if let Some(set) = change.now::<ReplicaSet>() {
                sizes.insert(set.metadata.name.clone(), set.spec.as_ref().unwrap().replicas.unwrap());
            }
            if change.version > from {
                most = most.max(sizes.values().sum());
            }
        }
        most
    })
}

#[tokio::test(start_paused = true)]
async fn it_makes_a_replica_set_that_makes_the_pods() {
    let lab = quiet();
    play(&lab, BRISK);
    deployment(&lab, 3, |object| {
        object["metadata"]["annotations"] =
            json!({"team": "shop", "kubectl.kubernetes.io/last-applied-configuration": "{}"});
    });
    pass(SECOND * 3).await;
    assert_eq!(active(&lab).len(), 3);
    let status = of(&lab, "/status");
    for number in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        assert_eq!(status[number], 3, "{number}");
    }
    assert_eq!((&status["unavailableReplicas"], &status["observedGeneration"]), (&Value::Null, &json!(1)));
    assert_eq!(condition(&lab, "Available"), ("True".into(), "MinimumReplicasAvailable".into()));
    assert_eq!(condition(&lab, "Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
    assert_eq!(of(&lab, "/metadata/annotations/deployment.kubernetes.io~1revision"), "1");
    let set = lab.read(|world| world.store.list::<ReplicaSet>(Some("shop")).next().unwrap());
    let hash = set.metadata.labels.as_ref().unwrap()["pod-template-hash"].clone();
    assert_eq!(set.metadata.name, Some(format!("web-{hash}")));
    assert!(hash.chars().all(|letter| "bcdfghjklmnpqrstvwxz2456789".contains(letter)));
    let annotations: Vec<_> =
        set.metadata.annotations.as_ref().unwrap().iter().map(|(n, v)| format!("{n}={v}")).collect();
    let expected = ["desired-replicas=3", "max-replicas=4", "revision=1"];
    let expected: Vec<_> =
        expected.iter().map(|a| format!("deployment.kubernetes.io/{a}")).chain(["team=shop".to_owned()]).collect();
    assert_eq!(annotations, expected);
    let name = format!("web-{hash}-");
    assert!(pods(&lab).iter().all(|pod| pod.metadata.name.as_ref().unwrap().starts_with(&name)));
}

#[tokio::test(start_paused = true)]
async fn a_rollout_keeps_within_its_bounds_at_every_version() {
    for (surge, unavailable, most, least) in [("25%", "25%", 5, 3), ("0", "50%", 4, 2), ("100%", "0", 8, 4)] {
        let bound = |text: &str| text.parse::<i32>().map_or_else(|_| json!(text), |number| json!(number));
        let lab = quiet();
        play(&lab, BRISK);
        deployment(&lab, 4, |object| {
            let rolling = json!({"maxSurge": bound(surge), "maxUnavailable": bound(unavailable)});
            object["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        });
        pass(SECOND * 5).await;
        let before = lab.read(|world| world.store.version());
        set_image(&lab, "web:2");
        pass(SECOND * 30).await;
        let mut lowest = 100;
        replay(&lab, before, |pods| lowest = lowest.min(numbers(pods.values()).1));
        assert_eq!((most_asked_for(&lab, before), lowest), (most, least), "{surge}, {unavailable}");
        assert_eq!(sizes(&lab), expect(&[("web:1", 0), ("web:2", 4)]));
        assert_eq!(images(pods(&lab).iter()).into_iter().collect::<Vec<_>>(), ["web:2"]);
        assert_eq!(condition(&lab, "Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_never_gets_ready_stops_at_its_bounds_and_misses_its_deadline() {
    let lab = quiet();
    play(&lab, BRISK);
    deployment(&lab, 10, |object| object["spec"]["progressDeadlineSeconds"] = 60.into());
    pass(SECOND * 5).await;
    set_image(&lab, "broken");
    pass(SECOND * 30).await;
    // Surge is rounded up, what may be unavailable down.
    assert_eq!(sizes(&lab), expect(&[("web:1", 8), ("broken", 5)]));
    assert_eq!(condition(&lab, "Progressing"), ("True".into(), "ReplicaSetUpdated".into()));
    assert_eq!(of(&lab, "/status/unavailableReplicas"), 5);
    pass(SECOND * 45).await;
    assert_eq!(condition(&lab, "Progressing"), ("False".into(), "ProgressDeadlineExceeded".into()));
    assert_eq!(condition(&lab, "Available"), ("True".into(), "MinimumReplicasAvailable".into()));
    set_image(&lab, "web:1");
    pass(SECOND * 20).await;
    assert_eq!(sizes(&lab), expect(&[("web:1", 10), ("broken", 0)]));
    assert_eq!(condition(&lab, "Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
    assert_eq!(of(&lab, "/metadata/annotations/deployment.kubernetes.io~1revision"), "3");
    let revived = lab.read(|world| {
        let mut sets = world.store.list::<ReplicaSet>(Some("shop"));
        sets.find(|set| set.spec.as_ref().unwrap().replicas == Some(10)).unwrap()
    });
    assert_eq!(revived.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision-history"], "1");
}

#[tokio::test(start_paused = true)]
async fn scaled_in_the_middle_of_a_rollout_each_replica_set_gets_its_share() {
    let lab = quiet();
    play(&lab, BRISK);
    deployment(&lab, 10, |_| ());
    pass(SECOND * 5).await;
    set_image(&lab, "broken");
    pass(SECOND * 10).await;
    assert_eq!(sizes(&lab), expect(&[("web:1", 8), ("broken", 5)]));
    edit::<Deployment>(&lab, "web", |object| object["spec"]["replicas"] = 20.into());
    pass(Duration::from_millis(15)).await;
    // Of 25 in all, 8/13 and 5/13.
    assert_eq!(sizes(&lab), expect(&[("web:1", 15), ("broken", 10)]));
}

#[tokio::test(start_paused = true)]
async fn paused_it_is_scaled_and_not_rolled_out() {
    let lab = quiet();
    play(&lab, BRISK);
    deployment(&lab, 2, |_| ());
    pass(SECOND * 5).await;
    edit::<Deployment>(&lab, "web", |object| object["spec"]["paused"] = true.into());
    set_image(&lab, "web:2");
    edit::<Deployment>(&lab, "web", |object| object["spec"]["replicas"] = 4.into());
    pass(SECOND * 10).await;
    assert_eq!(sizes(&lab), expect(&[("web:1", 4)]));
    assert_eq!(condition(&lab, "Progressing"), ("Unknown".into(), "DeploymentPaused".into()));
    edit::<Deployment>(&lab, "web", |object| object["spec"]["paused"] = false.into());
    pass(SECOND * 20).await;
    assert_eq!(sizes(&lab), expect(&[("web:1", 0), ("web:2", 4)]));
}

#[tokio::test(start_paused = true)]
async fn recreate_ends_all_old_pods_before_the_first_new_one() {
    let lab = quiet();
    play(&lab, BRISK);
    deployment(&lab, 3, |object| object["spec"]["strategy"] = json!({"type": "Recreate"}));
    pass(SECOND * 5).await;
    let before = lab.read(|world| world.store.version());
    set_image(&lab, "web:2");
    pass(SECOND * 15).await;
    let mut none = false;
    replay(&lab, before, |pods| {
        let images = images(pods.values());
        assert!(images.len() <= 1, "{images:?}");
        none |= images.is_empty();
    });
    assert!(none, "there was no moment between");
    assert_eq!(sizes(&lab), expect(&[("web:1", 0), ("web:2", 3)]));
    assert_eq!(of(&lab, "/status/availableReplicas"), 3);
}

#[tokio::test(start_paused = true)]
async fn old_replica_sets_are_kept_as_far_as_asked() {
    let lab = quiet();
    play(&lab, BRISK);
    deployment(&lab, 1, |object| object["spec"]["revisionHistoryLimit"] = 1.into());
    for image in ["web:2", "web:3", "web:4"] {
        pass(SECOND * 10).await;
        set_image(&lab, image);
    }
    pass(SECOND * 10).await;
    assert_eq!(sizes(&lab), expect(&[("web:3", 0), ("web:4", 1)]));
}

#[tokio::test(start_paused = true)]
async fn new_pods_count_once_they_have_been_ready_for_long_enough() {
    let lab = quiet();
    play(&lab, Pace { end: Duration::ZERO, ..BRISK });
    deployment(&lab, 1, |object| object["spec"]["minReadySeconds"] = 30.into());
    pass(SECOND * 40).await;
    let before = lab.read(|world| world.store.version());
    set_image(&lab, "web:2");
    pass(SECOND * 25).await;
    assert_eq!(sizes(&lab), expect(&[("web:1", 1), ("web:2", 1)]));
    pass(SECOND * 10).await;
    assert_eq!(sizes(&lab), expect(&[("web:1", 0), ("web:2", 1)]));
    replay(&lab, before, |pods| assert!(numbers(pods.values()).1 >= 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_takes_its_replica_sets_and_pods_along() {
    let lab = quiet();
    play(&lab, BRISK);
    deployment(&lab, 2, |_| ());
    pass(SECOND * 5).await;
    lab.with(|world| {
        let key = crate::lab::store::ObjectKey::new("shop", "web");
        world.store.remove(number_of::<Deployment>(), &key);
    });
    pass(SECOND * 5).await;
    assert!(pods(&lab).is_empty() && sizes(&lab).is_empty());
}
