//! Who may do what, and what the server says of itself.

use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::api::PostParams;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_forbidden_call_is_refused_in_the_authorisers_words() {
    let lab = quiet();
    create(&lab.shared, running("web"));
    lab.server.deny("delete", "pods", Some("shop"));
    lab.server.deny("list", "nodes", None);
    lab.server.deny("create", "pods/eviction", None);
    let refused = lab.delete(&format!("{PODS}/web"), &Value::Null).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (403, "Forbidden"));
    let words = "pods \"web\" is forbidden: User \"lab\" cannot delete resource \"pods\" in API group \"\" in the namespace \"shop\"";
    assert_eq!(refused.message, words);
    let words =
        "nodes is forbidden: User \"lab\" cannot list resource \"nodes\" in API group \"\" at the cluster scope";
    assert_eq!(lab.get("/api/v1/nodes").await.unwrap_err().message, words);
    let refused = lab.post(&format!("{PODS}/web/eviction"), &json!({})).await.unwrap_err();
    assert!(refused.message.contains("cannot create resource \"pods/eviction\""), "{}", refused.message);
    lab.get("/api/v1/nodes/node1").await.unwrap();
    let elsewhere = lab.delete("/api/v1/namespaces/other/pods/web", &Value::Null).await.unwrap_err();
    assert_eq!(elsewhere.code, 404, "forbidden in one namespace alone");
}

#[tokio::test(start_paused = true)]
async fn reviews_say_what_would_be_forbidden() {
    let lab = quiet();
    lab.server.deny("delete", "pods", Some("shop"));
    lab.server.deny("create", "pods/eviction", None);
    let reviews: Api<SelfSubjectAccessReview> = Api::all(lab.client.clone());
    let allowed = async |attributes: Value| {
        let review = serde_json::from_value(json!({"spec": {"resourceAttributes": attributes}})).unwrap();
        reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
    };
    assert!(!allowed(json!({"verb": "delete", "resource": "pods", "namespace": "shop"})).await);
    assert!(allowed(json!({"verb": "delete", "resource": "pods", "namespace": "other"})).await);
    assert!(!allowed(json!({"verb": "delete", "resource": "pods"})).await, "not in every namespace");
    let eviction = json!({"verb": "create", "resource": "pods", "subresource": "eviction", "namespace": "shop"});
    assert!(!allowed(eviction).await);
    assert!(allowed(json!({"verb": "get", "resource": "nodes"})).await);
    let who = lab.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.unwrap();
    assert_eq!(who["status"]["userInfo"]["username"], "lab");
    let rules = lab.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &json!({})).await.unwrap();
    assert_eq!(rules["status"]["resourceRules"][0]["verbs"][0], "*");
    assert_eq!(lab.post("/apis/authorization.k8s.io/v1/subjects", &json!({})).await.unwrap_err().code, 404);
}

#[tokio::test(start_paused = true)]
async fn the_server_says_what_it_serves() {
    let lab = quiet();
    let version = lab.client.apiserver_version().await.unwrap();
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "34"));
    let groups = lab.client.list_api_groups().await.unwrap();
    let apps = groups.groups.iter().find(|group| group.name == "apps").unwrap();
    assert_eq!(apps.preferred_version.as_ref().unwrap().group_version, "apps/v1");
    let core = lab.client.list_core_api_resources("v1").await.unwrap();
    let pods = core.resources.iter().find(|resource| resource.name == "pods").unwrap();
    assert_eq!((pods.namespaced, pods.kind.as_str(), &pods.short_names), (true, "Pod", &Some(vec!["po".to_owned()])));
    assert!(core.resources.iter().any(|resource| resource.name == "pods/eviction"));
    let apps = lab.client.list_api_group_resources("apps/v1").await.unwrap();
    assert!(apps.resources.iter().any(|resource| resource.name == "deployments/scale" && resource.kind == "Scale"));
    let deployment = kube::core::GroupVersionKind::gvk("apps", "v1", "Deployment");
    let found = kube::discovery::pinned_kind(&lab.client, &deployment);
    assert_eq!(found.await.unwrap().0.plural, "deployments");
    let all = kube::Discovery::new(lab.client.clone()).run().await.unwrap();
    assert!(all.has_group("policy") && all.has_group("coordination.k8s.io"));
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let request = Request::get("/apis").header("accept", aggregated).body(Vec::new()).unwrap();
    assert!(matches!(lab.client.request::<Value>(request).await, Err(kube::Error::Api(status)) if status.code == 406));
    let ready = Request::get("/readyz").body(Vec::new()).unwrap();
    assert_eq!(lab.client.request_text(ready).await.unwrap(), "ok");
}
