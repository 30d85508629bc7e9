//! Reading, creating and replacing objects.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, ListParams, PostParams};
use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn an_object_is_created_read_replaced_and_deleted() {
    let lab = quiet();
    let (maps, post) = (lab.maps(), PostParams::default());
    let made = maps.create(&post, &serde_json::from_value(map("a")).unwrap()).await.unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(maps.get("a").await.unwrap(), made);
    let mut changed = made.clone();
    changed.data = Some([("k".to_owned(), "v".to_owned())].into());
    let replaced = maps.replace("a", &post, &changed).await.unwrap();
    assert_ne!(replaced.metadata.resource_version, made.metadata.resource_version);
    let stale = maps.replace("a", &post, &changed).await.unwrap_err();
    let words = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the \
                 latest version and try again";
    assert!(matches!(stale, kube::Error::Api(status) if status.code == 409 && status.message == words));
    let gone = maps.delete("a", &DeleteParams::default()).await.unwrap().right().unwrap();
    assert!(gone.is_success());
    let details = gone.details.unwrap();
    assert_eq!((details.name.as_str(), details.kind.as_str()), ("a", "configmaps"));
    assert_eq!(Some(details.uid), made.metadata.uid);
    let missing = lab.get(&format!("{MAPS}/a")).await.unwrap_err();
    assert_eq!((missing.code, missing.reason.as_str()), (404, "NotFound"));
    assert_eq!(missing.message, "configmaps \"a\" not found");
    assert_eq!(maps.get_opt("a").await.unwrap(), None);
    assert_eq!(lab.put(&format!("{MAPS}/a"), &map("a")).await.unwrap_err().code, 404, "an update creates nothing");
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_as_long_as_the_server_needs_to_answer() {
    let lab = quiet();
    lab.shared.with(|world| world.settings.answer = Duration::from_millis(40));
    let before = Instant::now();
    lab.get(MAPS).await.unwrap();
    let took = before.elapsed().as_millis();
    assert!((40..44).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn what_a_body_says_of_itself_must_be_true() {
    let lab = quiet();
    let said = async |body: Value| lab.post(MAPS, &body).await.unwrap_err().message;
    let mut body = map("a");
    body["kind"] = "Secret".into();
    assert!(said(body.clone()).await.starts_with("Secret in version \"v1\" cannot be handled as a ConfigMap"));
    body["kind"] = "ConfigMap".into();
    body["apiVersion"] = "v2".into();
    let words = "the API version in the data (v2) does not match the expected API version (v1)";
    assert_eq!(said(body.clone()).await, words);
    let mut body = map("a");
    body["metadata"]["namespace"] = "other".into();
    let words = "the namespace of the provided object does not match the namespace sent on the request";
    assert_eq!(said(body).await, words);
    let words = "the name of the object (a) does not match the name on the URL (b)";
    assert_eq!(lab.put(&format!("{MAPS}/b"), &map("a")).await.unwrap_err().message, words);
    assert_eq!(lab.post(MAPS, &json!("text")).await.unwrap_err().code, 400);
    let mut typed = pod("a");
    typed["spec"]["containers"][0]["name"] = json!(7);
    let refused = lab.post(PODS, &typed).await.unwrap_err();
    assert!(refused.message.starts_with("Pod in version \"v1\" cannot be handled as a Pod: "), "{}", refused.message);
    let nowhere = lab.post("/api/v1/namespaces/nowhere/configmaps", &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(nowhere.unwrap_err().message, "namespaces \"nowhere\" not found");
    let mut numbered = map("a");
    numbered["metadata"]["resourceVersion"] = "5".into();
    assert_eq!(said(numbered).await, "resourceVersion should not be set on objects to be created");
}

#[tokio::test(start_paused = true)]
async fn methods_and_paths_that_are_not_there_are_told_apart() {
    let lab = quiet();
    let unknown = lab.post("/api/v1/namespaces/shop/carts", &json!({})).await.unwrap_err();
    assert_eq!((unknown.code, unknown.message.as_str()), (404, "the server could not find the requested resource"));
    let wrong = lab.post("/api/v1/pods", &pod("a")).await.unwrap_err();
    let words = "the server does not allow this method on the requested resource";
    assert_eq!((wrong.code, wrong.message.as_str()), (405, words));
    assert_eq!(lab.get(&format!("{PODS}/a/logs")).await.unwrap_err().code, 404);
    assert_eq!(lab.get(&format!("{PODS}/a/log")).await.unwrap_err().code, 501);
    assert_eq!(lab.get(&format!("{PODS}/a/eviction")).await.unwrap_err().code, 405);
}

#[tokio::test(start_paused = true)]
async fn lists_select_by_labels_and_fields() {
    let lab = quiet();
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        create(&lab.shared, labelled(name, app));
    }
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "other"}});
    create(&lab.shared, other);
    let list = async |query: &str| lab.get(&format!("{MAPS}?{query}")).await;
    assert_eq!(names(&list("labelSelector=app%3Dweb").await.unwrap()), ["a", "c"]);
    assert_eq!(names(&list("labelSelector=app+notin+(web)").await.unwrap()), ["b"]);
    assert_eq!(names(&list("fieldSelector=metadata.name%3Da").await.unwrap()), ["a"]);
    assert_eq!(names(&list("fieldSelector=metadata.name!%3Da").await.unwrap()), ["b", "c"]);
    assert_eq!(names(&lab.get("/api/v1/configmaps").await.unwrap()), ["a", "a", "b", "c"]);
    let whole = list("").await.unwrap();
    assert_eq!((whole["kind"].as_str(), whole["apiVersion"].as_str()), (Some("ConfigMapList"), Some("v1")));
    assert!(whole["items"][0].get("kind").is_none());
    let refused = list("fieldSelector=data.k%3Dv").await.unwrap_err();
    let words = "\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    assert_eq!((refused.code, refused.message.as_str()), (400, words));
    create(&lab.shared, running("on"));
    create(&lab.shared, pod("off"));
    let list = async |query: &str| lab.get(&format!("{PODS}?fieldSelector={query}")).await;
    assert_eq!(names(&list("spec.nodeName%3Dnode1,status.phase%3DRunning").await.unwrap()), ["on"]);
    assert_eq!(names(&list("spec.nodeName%3D").await.unwrap()), ["off"]);
    assert_eq!(list("spec.foo%3Dbar").await.unwrap_err().message, "field label not supported: spec.foo");
    let nodes = lab.get("/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse").await.unwrap();
    assert_eq!(names(&nodes), ["node1"]);
}

#[tokio::test(start_paused = true)]
async fn the_pages_of_a_list_are_of_one_version() {
    let lab = quiet();
    for name in ["a", "b", "c", "d", "e"] {
        create(&lab.shared, map(name));
    }
    let params = ListParams::default().limit(2);
    let first = lab.maps().list(&params).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    let token = first.metadata.continue_.unwrap();
    lab.maps().delete("d", &DeleteParams::default()).await.unwrap();
    create(&lab.shared, map("f"));
    lab.merge(&format!("{MAPS}/c"), &json!({"data": {"new": "1"}})).await.unwrap();
    let second = lab.maps().list(&params.clone().continue_token(&token)).await.unwrap();
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    let third = lab.maps().list(&params.clone().continue_token(&second.metadata.continue_.unwrap())).await.unwrap();
    assert_eq!(third.metadata.continue_, None);
    assert!(second.items[0].data.is_none(), "as it was when the list began");
    let names: Vec<_> = first.items.into_iter().chain(second.items).chain(third.items).collect();
    let names: Vec<_> = names.iter().filter_map(|map| map.metadata.name.as_deref()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let wrong = lab.get(&format!("{MAPS}?limit=2&continue=x")).await.unwrap_err();
    assert_eq!((wrong.code, wrong.reason.as_str()), (400, "BadRequest"));
    lab.shared.with(|world| world.store.compact());
    let old = lab.get(&format!("{MAPS}?limit=2&continue={token}")).await.unwrap_err();
    assert_eq!((old.code, old.reason.as_str()), (410, "Expired"));
}

#[tokio::test(start_paused = true)]
async fn a_list_may_ask_for_its_version() {
    let lab = quiet();
    create(&lab.shared, map("a"));
    let version = lab.shared.read(|world| world.store.version());
    create(&lab.shared, map("b"));
    let list = async |query: String| lab.get(&format!("{MAPS}?{query}")).await;
    let exact = list(format!("resourceVersion={version}&resourceVersionMatch=Exact")).await.unwrap();
    assert_eq!(names(&exact), ["a"]);
    let newer = list(format!("resourceVersion={version}&resourceVersionMatch=NotOlderThan")).await.unwrap();
    assert_eq!(names(&newer), ["a", "b"]);
    assert_eq!(names(&list("resourceVersion=0&limit=1".to_owned()).await.unwrap()), ["a", "b"]);
    let large = list("resourceVersion=9999".to_owned()).await.unwrap_err();
    assert_eq!((large.code, large.reason.as_str()), (504, "Timeout"));
    assert_eq!(list("resourceVersion=x".to_owned()).await.unwrap_err().code, 400);
    assert_eq!(list("resourceVersionMatch=Exact".to_owned()).await.unwrap_err().code, 422);
}

#[tokio::test(start_paused = true)]
async fn metadata_can_be_had_alone() {
    let lab = quiet();
    create(&lab.shared, labelled("a", "web"));
    let one = lab.maps().get_metadata("a").await.unwrap();
    assert_eq!(one.types.unwrap().kind, "PartialObjectMetadata");
    assert_eq!(one.metadata.labels.unwrap()["app"], "web");
    let all = lab.maps().list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!((all.types.kind.as_str(), all.items.len()), ("PartialObjectMetadataList", 1));
    let table = Request::get(MAPS).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    let table: Value = lab.client.request(table.body(Vec::new()).unwrap()).await.unwrap();
    assert_eq!(table["kind"], "Table");
    let binary = Request::get(MAPS).header("accept", "application/vnd.kubernetes.protobuf").body(Vec::new()).unwrap();
    let refused = lab.client.request::<Value>(binary).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 406));
}

#[tokio::test(start_paused = true)]
async fn rehearsed_writes_are_answered_and_not_kept() {
    let lab = quiet();
    let version = || lab.shared.read(|world| world.store.version());
    let before = version();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let made = lab.maps().create(&params, &serde_json::from_value(map("a")).unwrap()).await.unwrap();
    assert!(made.metadata.uid.is_some());
    assert_eq!(version(), before);
    create(&lab.shared, map("a"));
    let before = version();
    let taken = lab.post(&format!("{MAPS}?dryRun=All"), &map("a")).await.unwrap_err();
    assert_eq!((taken.code, taken.reason.as_str()), (409, "AlreadyExists"));
    let changed = lab.merge(&format!("{MAPS}/a?dryRun=All"), &json!({"data": {"k": "v"}})).await.unwrap();
    assert_eq!(changed["data"]["k"], "v");
    assert_eq!(lab.merge(&format!("{MAPS}/a?dryRun=Some"), &json!({})).await.unwrap_err().code, 422);
    assert_eq!(version(), before);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_apart_from_the_rest() {
    let lab = quiet();
    let mut body = deployment(2);
    body["status"] = json!({"replicas": 7});
    let made = lab.post(DEPLOYMENTS, &body).await.unwrap();
    assert!(made.get("status").is_none(), "{made}");
    let target = format!("{DEPLOYMENTS}/web");
    let patch = json!({"status": {"replicas": 3}, "spec": {"replicas": 9}, "metadata": {"labels": {"a": "b"}}});
    let written = lab.merge(&format!("{target}/status"), &patch).await.unwrap();
    assert_eq!((&written["status"]["replicas"], &written["spec"]["replicas"]), (&json!(3), &json!(2)));
    assert_eq!(written["metadata"]["generation"], 1);
    let written = lab.merge(&target, &json!({"status": {"replicas": 4}, "spec": {"replicas": 5}})).await.unwrap();
    assert_eq!((&written["status"]["replicas"], &written["spec"]["replicas"]), (&json!(3), &json!(5)));
    assert_eq!(written["metadata"]["generation"], 2);
    let deployments: Api<Deployment> = Api::namespaced(lab.client.clone(), "shop");
    let mut whole = deployments.get("web").await.unwrap();
    whole.status.get_or_insert_default().ready_replicas = Some(1);
    let replaced = deployments.replace_status("web", &PostParams::default(), &whole).await.unwrap();
    assert_eq!(replaced.status.unwrap().ready_replicas, Some(1));
}

#[tokio::test(start_paused = true)]
async fn names_are_given_where_they_are_asked_for() {
    let lab = quiet();
    let body = json!({"metadata": {"generateName": "a-"}});
    let made = lab.post(MAPS, &body).await.unwrap();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("a-") && name.len() == 7, "{name}");
    let rehearsed = lab.post(&format!("{MAPS}?dryRun=All"), &body).await.unwrap();
    assert_ne!(rehearsed["metadata"]["name"], made["metadata"]["name"]);
}

#[tokio::test(start_paused = true)]
async fn what_clients_may_not_say_is_the_servers_own() {
    let lab = quiet();
    let mut body = map("a");
    body["metadata"]["uid"] = "mine".into();
    body["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z".into();
    let made = lab.post(MAPS, &body).await.unwrap();
    assert_ne!(made["metadata"]["uid"], "mine");
    assert!(made["metadata"].get("deletionTimestamp").is_none());
    let target = format!("{MAPS}/a");
    let patch = json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z", "creationTimestamp": null}});
    let patched = lab.merge(&target, &patch).await.unwrap();
    assert_eq!(patched["metadata"], made["metadata"]);
    let other = lab.merge(&target, &json!({"metadata": {"uid": "other"}})).await.unwrap_err();
    assert!(other.code == 409 && other.message.contains("Precondition failed: UID in precondition: other"));
}

#[tokio::test(start_paused = true)]
async fn nodes_are_cordoned_as_kubectl_does_it() {
    let lab = quiet();
    let nodes: Api<Node> = Api::all(lab.client.clone());
    assert_eq!(nodes.cordon("node1").await.unwrap().spec.unwrap().unschedulable, Some(true));
    assert_eq!(nodes.uncordon("node1").await.unwrap().spec.unwrap_or_default().unschedulable, None);
    assert_eq!(nodes.get_status("node1").await.unwrap().status.unwrap().allocatable.unwrap()["cpu"].0, "4");
}
