use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::*;
use crate::lab::model::tests::{bind, pod_spec, quiet, run, say_phase, say_ready};
use crate::lab::store::number_of;
use crate::lab::testing::{create, pass};
use crate::lab::world::{Shared, World};

fn pod(lab: &Shared, name: &str) -> ObjectKey {
    let metadata = json!({"name": name, "namespace": "shop", "labels": {"app": "web", "name": name}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec("web:1")});
    create(lab, pod).key.clone()
}

fn get(lab: &Shared, key: &ObjectKey) -> Option<Arc<Pod>> {
    lab.read(|world| world.store.get::<Pod>(&key.namespace, &key.name))
}

#[tokio::test(start_paused = true)]
async fn a_running_pod_leaves_gracefully_and_what_does_not_run_goes_at_once() {
    let lab = quiet();
    let pods = number_of::<Pod>();
    let (running, unbound, over) = (pod(&lab, "running"), pod(&lab, "unbound"), pod(&lab, "over"));
    lab.with(|world| {
        for key in [&running, &over] {
            bind(world, key, "node1");
            run(world, key);
        }
        say_phase(world, &over, "Succeeded");
        assert!(matches!(delete(world, pods, &running, None), Deleted::Leaving(_)));
        assert!(matches!(delete(world, pods, &unbound, None), Deleted::Gone(_)));
        assert!(matches!(delete(world, pods, &over, None), Deleted::Gone(_)));
        assert!(matches!(delete(world, pods, &over, None), Deleted::NotFound));
    });
    let leaving = get(&lab, &running).unwrap();
    let until = leaving.metadata.deletion_timestamp.clone().unwrap();
    let now = lab.read(World::time);
    assert_eq!(until.0.duration_since(now.0).as_secs(), 30);
    assert_eq!(leaving.metadata.deletion_grace_period_seconds, Some(30));
}

#[tokio::test(start_paused = true)]
async fn a_leaving_pod_takes_a_shorter_deadline_and_no_longer_one() {
    let lab = quiet();
    let (pods, key) = (number_of::<Pod>(), pod(&lab, "web"));
    let until = |lab: &Shared| get(lab, &key).unwrap().metadata.deletion_timestamp.clone().unwrap().0;
    lab.with(|world| {
        bind(world, &key, "node1");
        delete(world, pods, &key, Some(60));
    });
    let first = until(&lab);
    pass(Duration::from_secs(5)).await;
    lab.with(|world| delete(world, pods, &key, Some(90)));
    lab.with(|world| delete(world, pods, &key, None));
    assert_eq!(until(&lab), first);
    lab.with(|world| delete(world, pods, &key, Some(10)));
    assert_eq!(first.duration_since(until(&lab)).as_secs(), 50, "counted from the first request");
    let gone = lab.with(|world| delete(world, pods, &key, Some(0)));
    assert!(matches!(gone, Deleted::Gone(_)) && get(&lab, &key).is_none());
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let lab = quiet();
    let maps = number_of::<ConfigMap>();
    let metadata = json!({"name": "held", "namespace": "shop", "finalizers": ["squall.dev/hold"]});
    let key = create(&lab, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).key.clone();
    lab.with(|world| {
        assert!(matches!(delete(world, maps, &key, None), Deleted::Leaving(_)));
        assert!(matches!(delete(world, maps, &key, None), Deleted::Leaving(_)));
        finalize(world, maps, &key);
        assert!(world.store.object(maps, &key).unwrap().is_leaving());
        world.store.update::<ConfigMap>("shop", "held", |map| map.metadata.finalizers = None);
        finalize(world, maps, &key);
        assert!(world.store.object(maps, &key).is_none());
    });
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_held_by_what_is_in_it() {
    let lab = quiet();
    let (kind, key) = (number_of::<Namespace>(), ObjectKey::new("", "shop"));
    let pod = pod(&lab, "web");
    lab.with(|world| {
        let Deleted::Leaving(left) = delete(world, kind, &key, None) else { panic!("it is gone") };
        assert_eq!(left.json()["status"]["phase"], "Terminating");
        delete(world, number_of::<Pod>(), &pod, None);
        finalize(world, kind, &key);
        assert!(world.store.object(kind, &key).is_none());
    });
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_available_once_it_has_been_ready_for_long_enough() {
    let lab = quiet();
    let key = pod(&lab, "web");
    let look = |lab: &Shared| {
        let (pod, now) = (get(lab, &key).unwrap(), lab.read(World::wall));
        (is_ready(&pod), is_available(&pod, 10, now), available_in(&[pod], 10, now))
    };
    assert_eq!(look(&lab), (false, false, None));
    lab.with(|world| say_ready(world, &key, true));
    assert_eq!(look(&lab), (true, false, Some(Duration::from_secs(10))));
    pass(Duration::from_secs(10)).await;
    assert_eq!(look(&lab), (true, true, None));
    lab.with(|world| say_ready(world, &key, true));
    assert!(look(&lab).1, "the time of the transition stays");
}

#[tokio::test(start_paused = true)]
async fn owners_take_in_orphans_that_match_and_let_go_of_what_does_not() {
    let lab = quiet();
    let (stays, other) = (pod(&lab, "stays"), pod(&lab, "other"));
    let selector: LabelSelector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
    let owner: ReplicaSet = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
    }))
    .unwrap();
    lab.with(|world| {
        let claimed = |world: &mut World| -> Vec<String> {
            let others = world.store.orphans("shop");
            let mine = claim(world, &owner, &selector, others, |_: &Pod| true);
            mine.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
        };
        assert_eq!(claimed(world), ["other", "stays"]);
        world.store.update::<Pod>("shop", &other.name, |pod| {
            pod.metadata.labels.as_mut().unwrap().insert("app".to_owned(), "else".to_owned());
        });
        assert_eq!(claimed(world), ["stays"]);
        let released = world.store.get::<Pod>("shop", &other.name).unwrap();
        let kept = world.store.get::<Pod>("shop", &stays.name).unwrap();
        assert_eq!(released.metadata.owner_references, None);
        let free: Vec<_> = world.store.orphans("shop").iter().map(|pod| pod.metadata.name.clone().unwrap()).collect();
        assert_eq!(free, ["other"]);
        assert_eq!(kept.metadata.owner_references.as_ref().unwrap()[0].uid, "u1");
    });
}

#[tokio::test(start_paused = true)]
async fn pods_are_found_by_all_their_labels_as_these_change() {
    let lab = quiet();
    for name in ["a", "b"] {
        pod(&lab, name);
    }
    let found = |labels: &[(&str, &str)]| -> Vec<String> {
        let labels: BTreeMap<String, String> = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let pods = lab.read(|world| world.store.pods_with("shop", &labels));
        pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
    };
    assert_eq!(found(&[("app", "web")]), ["a", "b"]);
    assert_eq!(found(&[]), ["a", "b"]);
    assert_eq!(found(&[("app", "web"), ("name", "b")]), ["b"]);
    assert_eq!(found(&[("app", "web"), ("name", "c")]), [""; 0]);
    lab.with(|world| {
        world.store.update::<Pod>("shop", "a", |pod| pod.metadata.labels = None);
        world.store.remove(number_of::<Pod>(), &ObjectKey::new("shop", "b"));
    });
    assert_eq!(found(&[("app", "web")]), [""; 0]);
    assert_eq!(found(&[]), ["a"]);
}

#[test]
fn percentages_are_rounded_as_asked() {
    let percent = |text: &str, up: bool| scaled(&IntOrString::String(text.to_owned()), 10, up);
    assert_eq!((percent("25%", true), percent("25%", false)), (Some(3), Some(2)));
    assert_eq!((percent("20%", true), percent("100%", false)), (Some(2), Some(10)));
    assert_eq!((percent("3", true), scaled(&IntOrString::Int(3), 10, true)), (None, Some(3)));
}
