use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use serde_json::json;

use super::*;

fn store() -> (Store, Timestamp) {
    let (mut store, now) = (Store::new(1), Timestamp::from_second(1_800_000_000).unwrap());
    store.create(number_of::<Namespace>(), json!({"metadata": {"name": "shop"}}), now).unwrap();
    (store, now)
}

/// Reading what was written must give the same again, or the store would keep what no client can see.
pub(super) fn assert_keeps_what_it_writes(object: &Object) {
    let read = (KINDS[object.kind].read)(object.json()).unwrap();
    assert!(read.is_same(&*object.typed), "kept: {:?}\nread: {read:?}", object.typed);
    let kind = &KINDS[object.kind];
    assert_eq!(object.json()["apiVersion"], kind.api_version());
    let item: Value = serde_json::from_slice(&[b"{", &object.fields()[..]].concat()).unwrap();
    assert!(item["kind"].is_null() && item["apiVersion"].is_null() && item["metadata"].is_object(), "{item}");
}

#[test]
fn every_kind_is_found_by_its_type_its_name_and_its_path() {
    for (number, kind) in KINDS.iter().enumerate() {
        assert_eq!(named(&kind.api_version(), kind.kind), Some(number));
        assert_eq!(at(kind.group, kind.version, kind.plural), Some(number));
    }
    assert_eq!(KINDS[number_of::<Pod>()].plural, "pods");
}

#[test]
fn a_write_that_changes_nothing_makes_no_version_and_one_of_the_spec_makes_a_generation() {
    let (mut store, now) = store();
    let pods = number_of::<Pod>();
    let pod = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"containers": [{"name": "c"}]}});
    let pod = store.create(pods, pod, now).unwrap();
    let same = store.replace(pods, &pod.key, pod.json()).unwrap();
    assert_eq!(same.json()["metadata"]["resourceVersion"], pod.json()["metadata"]["resourceVersion"]);
    let labelled = store.update::<Pod>("shop", "web", |pod| {
        pod.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    });
    assert_eq!(labelled.unwrap().metadata.generation, Some(1));
    let bound = store.update::<Pod>("shop", "web", |pod| {
        pod.spec.as_mut().unwrap().node_name = Some("n1".to_owned());
    });
    assert_eq!(bound.unwrap().metadata.generation, Some(2));
    assert_eq!(store.pods_on("n1").len(), 1);
    store.remove(pods, &pod.key);
    assert!(store.pods_on("n1").is_empty() && store.get::<Pod>("shop", "web").is_none());
}

#[test]
fn changes_are_told_in_order_until_they_are_compacted() {
    let (mut store, now) = store();
    let start = store.version();
    for name in ["a", "b"] {
        let map = json!({"metadata": {"name": name, "namespace": "shop"}});
        store.create(number_of::<ConfigMap>(), map, now).unwrap();
    }
    let names: Vec<_> = store.since(start).unwrap().map(|change| change.object().key.name.clone()).collect();
    assert_eq!(names, ["a", "b"]);
    store.compact();
    assert!(store.since(start).is_none());
    assert_eq!(store.since(store.version()).unwrap().count(), 0);
}

#[test]
fn refusals_are_worded_as_the_api_words_them() {
    let (mut store, now) = store();
    let maps = number_of::<ConfigMap>();
    let map = json!({"metadata": {"name": "a", "namespace": "shop"}});
    store.create(maps, map.clone(), now).unwrap();
    assert_eq!(store.create(maps, map, now).unwrap_err().message, "configmaps \"a\" already exists");
    let nowhere = json!({"metadata": {"name": "a", "namespace": "nowhere"}});
    assert_eq!(store.create(maps, nowhere, now).unwrap_err().message, "namespaces \"nowhere\" not found");
}
