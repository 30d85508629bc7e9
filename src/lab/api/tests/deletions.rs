//! Deletion of objects, of collections and of namespaces.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Preconditions};

use super::*;
use crate::lab::store::ObjectKey;

#[tokio::test(start_paused = true)]
async fn a_pod_on_a_node_leaves_within_its_grace() {
    let lab = quiet();
    create(&lab.shared, running("a"));
    let leaving = lab.pods().delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(leaving.metadata.deletion_grace_period_seconds, Some(30));
    assert_eq!(leaving.metadata.deletion_timestamp.clone().unwrap().0.as_second(), WALL + 30);
    let again = lab.pods().delete("a", &DeleteParams::default().grace_period(60)).await.unwrap().left().unwrap();
    assert_eq!(again.metadata, leaving.metadata, "a longer grace changes nothing");
    let shorter = lab.pods().delete("a", &DeleteParams::default().grace_period(5)).await.unwrap().left().unwrap();
    assert_eq!(shorter.metadata.deletion_grace_period_seconds, Some(5));
    assert_eq!(shorter.metadata.deletion_timestamp.unwrap().0.as_second(), WALL + 5);
    let last = lab.pods().delete("a", &DeleteParams::default().grace_period(0)).await.unwrap().left().unwrap();
    assert_eq!(last.metadata.uid, leaving.metadata.uid);
    assert_eq!(lab.pods().get_opt("a").await.unwrap(), None);
    assert_eq!(lab.delete(&format!("{PODS}/a"), &Value::Null).await.unwrap_err().code, 404);
}

#[tokio::test(start_paused = true)]
async fn what_no_kubelet_has_goes_at_once() {
    let lab = quiet();
    create(&lab.shared, pod("a"));
    lab.delete(&format!("{PODS}/a?gracePeriodSeconds=20"), &Value::Null).await.unwrap();
    assert_eq!(lab.pods().get_opt("a").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn another_object_than_was_meant_is_spared() {
    let lab = quiet();
    let made = create(&lab.shared, running("a"));
    let meant = |uid: Option<&str>, resource_version: Option<&str>| DeleteParams {
        preconditions: Some(Preconditions {
            uid: uid.map(ToOwned::to_owned),
            resource_version: resource_version.map(ToOwned::to_owned),
        }),
        ..DeleteParams::default()
    };
    let refused = async |params: DeleteParams| match lab.pods().delete("a", &params).await.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.message),
        other => panic!("{other}"),
    };
    let words = format!(
        "Operation cannot be fulfilled on Pod \"a\": the UID in the precondition (other) does not match the UID in record ({}). The \
         object might have been deleted and then recreated",
        made.uid()
    );
    assert_eq!(refused(meant(Some("other"), None)).await, (409, words));
    let (code, words) = refused(meant(None, Some("1"))).await;
    assert!(code == 409 && words.contains("The object might have been modified"), "{words}");
    let version = made.version();
    lab.pods().delete("a", &meant(Some(made.uid()), Some(version))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rehearsed_deletion_deletes_nothing() {
    let lab = quiet();
    create(&lab.shared, running("a"));
    create(&lab.shared, map("a"));
    lab.pods().delete("a", &DeleteParams::default().dry_run()).await.unwrap();
    lab.delete(&format!("{MAPS}/a?dryRun=All"), &Value::Null).await.unwrap();
    assert!(lab.pods().get("a").await.unwrap().metadata.deletion_timestamp.is_none());
    assert!(lab.maps().get_opt("a").await.unwrap().is_some());
    let wrong = lab.delete(&format!("{MAPS}/a"), &json!({"propagationPolicy": "Sideways"})).await.unwrap_err();
    assert_eq!(wrong.code, 422);
}

#[tokio::test(start_paused = true)]
async fn the_last_finalizer_holds_an_object() {
    let lab = quiet();
    let mut body = map("a");
    body["metadata"]["finalizers"] = json!(["example.com/x", "example.com/y"]);
    create(&lab.shared, body);
    let path = format!("{MAPS}/a");
    let leaving = lab.delete(&path, &Value::Null).await.unwrap();
    assert_eq!(leaving["kind"], "ConfigMap");
    assert!(leaving["metadata"].get("deletionTimestamp").is_some());
    let finalizers = |all: Value| json!({"metadata": {"finalizers": all}});
    let refused = lab.merge(&path, &finalizers(json!(["example.com/x", "example.com/z"]))).await.unwrap_err();
    assert!(refused.message.contains("no new finalizers can be added if the object is being deleted"));
    lab.merge(&path, &finalizers(json!(["example.com/y"]))).await.unwrap();
    assert!(lab.maps().get_opt("a").await.unwrap().is_some());
    lab.merge(&path, &finalizers(Value::Null)).await.unwrap();
    assert_eq!(lab.maps().get_opt("a").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_as_far_as_it_is_selected() {
    let lab = quiet();
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        create(&lab.shared, labelled(name, app));
    }
    let selected = ListParams::default().labels("app=web");
    let deleted = lab.maps().delete_collection(&DeleteParams::default(), &selected).await.unwrap().left().unwrap();
    assert_eq!(deleted.items.len(), 2);
    assert_eq!(names(&lab.get(MAPS).await.unwrap()), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn dependents_are_let_go_where_that_is_asked_for() {
    let lab = quiet();
    let owner = create(&lab.shared, map("owner"));
    let mut body = map("a");
    body["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid()}]);
    create(&lab.shared, body);
    let leaving = lab.delete(&format!("{MAPS}/owner"), &json!({"propagationPolicy": "Orphan"})).await.unwrap();
    assert_eq!(leaving["metadata"]["finalizers"], json!(["orphan"]));
    lab.controllers();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lab.maps().get_opt("owner").await.unwrap(), None);
    assert_eq!(lab.maps().get("a").await.unwrap().metadata.owner_references.unwrap_or_default(), []);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_takes_along_what_is_in_it() {
    let lab = quiet();
    create(&lab.shared, map("a"));
    create(&lab.shared, running("a"));
    let namespaces: Api<Namespace> = Api::all(lab.client.clone());
    let leaving = namespaces.delete("shop", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(leaving.status.unwrap().phase.as_deref(), Some("Terminating"));
    let refused = lab.post(MAPS, &map("b")).await.unwrap_err();
    assert_eq!(refused.code, 403);
    assert_eq!(refused.details.unwrap().causes[0].reason, "NamespaceTerminating");
    let words =
        "configmaps \"b\" is forbidden: unable to create new content in namespace shop because it is being terminated";
    assert_eq!(refused.message, words);
    lab.controllers();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(lab.maps().get_opt("a").await.unwrap(), None);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(namespaces.get_opt("shop").await.unwrap().is_none());
    let immortal = lab.delete("/api/v1/namespaces/default", &Value::Null).await.unwrap_err();
    assert_eq!(immortal.message, "namespaces \"default\" is forbidden: this namespace may not be deleted");
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_dependents_is_a_finalizer_until_it_is_done() {
    let lab = quiet();
    let finalizers = async |policy: Value| {
        create(&lab.shared, map("a"));
        let answer = lab.delete(&format!("{MAPS}/a"), &policy).await.unwrap();
        lab.shared.with(|world| {
            world.store.remove(crate::lab::store::number_of::<ConfigMap>(), &ObjectKey::new("shop", "a"))
        });
        answer["metadata"]["finalizers"].clone()
    };
    assert_eq!(finalizers(json!({"propagationPolicy": "Foreground"})).await, json!(["foregroundDeletion"]));
    assert_eq!(finalizers(json!({"orphanDependents": true})).await, json!(["orphan"]));
    assert_eq!(finalizers(json!({"propagationPolicy": "Background"})).await, Value::Null);
    assert_eq!(finalizers(Value::Null).await, Value::Null);
    let mut body = map("held");
    body["metadata"]["finalizers"] = json!(["example.com/x", "orphan"]);
    create(&lab.shared, body);
    let held = async |policy: Value| {
        lab.delete(&format!("{MAPS}/held"), &policy).await.unwrap()["metadata"]["finalizers"].clone()
    };
    assert_eq!(held(Value::Null).await, json!(["example.com/x", "orphan"]));
    assert_eq!(held(json!({"propagationPolicy": "Foreground"})).await, json!(["example.com/x", "foregroundDeletion"]));
    assert_eq!(held(json!({"propagationPolicy": "Background"})).await, json!(["example.com/x"]));
}

#[tokio::test(start_paused = true)]
async fn a_jobs_pods_stay_unless_the_deletion_says_otherwise() {
    let lab = quiet();
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a"}], "restartPolicy": "Never"}}},
    });
    create(&lab.shared, job);
    let path = "/apis/batch/v1/namespaces/shop/jobs/a";
    assert_eq!(lab.delete(path, &Value::Null).await.unwrap()["metadata"]["finalizers"], json!(["orphan"]));
    let gone = lab.delete(path, &json!({"propagationPolicy": "Background"})).await.unwrap();
    assert_eq!(gone["status"], "Success");
}
