//! Patches of each media type, strict fields, and scales.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams, PostParams};

use super::*;

const JSON: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

#[tokio::test(start_paused = true)]
async fn a_merge_patch_sets_and_removes() {
    let lab = quiet();
    let mut body = labelled("a", "web");
    body["data"] = json!({"k": "v", "l": "w"});
    create(&lab.shared, body);
    let patch = json!({"data": {"k": null, "m": "x"}, "metadata": {"labels": {"app": null}}});
    let patched = lab.merge(&format!("{MAPS}/a"), &patch).await.unwrap();
    assert_eq!(patched["data"], json!({"l": "w", "m": "x"}));
    assert!(patched["metadata"].get("labels").is_none(), "an empty map is not written: {patched}");
    let same = lab.merge(&format!("{MAPS}/a"), &patch).await.unwrap();
    assert_eq!(same["metadata"]["resourceVersion"], patched["metadata"]["resourceVersion"], "nothing changed");
    let refused = lab.merge(&format!("{MAPS}/a"), &json!([])).await.unwrap_err();
    assert_eq!(refused.code, 400);
    assert_eq!(lab.merge(&format!("{MAPS}/none"), &patch).await.unwrap_err().code, 404);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_only_by_its_holder() {
    let lab = quiet();
    let leases: Api<Lease> = Api::namespaced(lab.client.clone(), "shop");
    let lease = json!({"metadata": {"name": "squall"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}});
    let lease = leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    let renew = |holder: &str| {
        let operations = json!([
            {"op": "test", "path": "/spec/holderIdentity", "value": holder},
            {"op": "add", "path": "/spec/renewTime", "value": "2027-01-15T08:00:03.000000Z"},
        ]);
        Patch::<()>::Json(serde_json::from_value(operations).unwrap())
    };
    let strict = PatchParams::default().validation_strict();
    let renewed = leases.patch("squall", &strict, &renew("me")).await.unwrap();
    assert!(renewed.spec.unwrap().renew_time.is_some());
    let refused = leases.patch("squall", &strict, &renew("you")).await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert_eq!(status.message, "the server rejected our request due to an error in our request");
    let mut unread = lease;
    unread.metadata.resource_version = None;
    let refused = leases.replace("squall", &PostParams::default(), &unread).await.unwrap_err();
    assert!(refused.to_string().contains("must be specified for an update"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_json_patch_happens_as_a_whole_or_not_at_all() {
    let lab = quiet();
    let made = create(&lab.shared, labelled("a", "web"));
    let send = async |operations: Value| lab.send(Method::PATCH, &format!("{MAPS}/a"), JSON, &operations).await;
    let good = json!([
        {"op": "test", "path": "/metadata/uid", "value": made.uid()},
        {"op": "test", "path": "/metadata/resourceVersion", "value": made.version()},
        {"op": "add", "path": "/metadata/annotations", "value": {"squall.dev/undo": "x"}},
    ]);
    assert_eq!(send(good.clone()).await.unwrap()["metadata"]["annotations"]["squall.dev/undo"], "x");
    assert_eq!(send(good).await.unwrap_err().code, 422, "its version is another now");
    let partly = json!([
        {"op": "remove", "path": "/metadata/annotations/squall.dev~1undo"},
        {"op": "replace", "path": "/data/none", "value": "1"},
    ]);
    assert_eq!(send(partly).await.unwrap_err().code, 422);
    let kept = lab.get(&format!("{MAPS}/a")).await.unwrap();
    assert_eq!(kept["metadata"]["annotations"]["squall.dev/undo"], "x");
    assert_eq!(send(json!({"op": "add"})).await.unwrap_err().code, 400);
}

#[tokio::test(start_paused = true)]
async fn a_strategic_patch_knows_containers_by_their_names() {
    let lab = quiet();
    lab.post(DEPLOYMENTS, &deployment(1)).await.unwrap();
    let containers = json!([{"name": "web", "image": "web:2"}, {"name": "side", "image": "side:1"}]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let patched = lab.send(Method::PATCH, &format!("{DEPLOYMENTS}/web"), STRATEGIC, &patch).await.unwrap();
    let containers = &patched["spec"]["template"]["spec"]["containers"];
    assert_eq!((&containers[0]["image"], &containers[1]["image"]), (&json!("web:2"), &json!("side:1")));
    assert_eq!(containers[0]["ports"][0]["containerPort"], 8080, "the rest of it stays");
    assert_eq!(containers[1]["terminationMessagePolicy"], "File", "what is new gets defaults");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_modelled_says_so() {
    let lab = quiet();
    create(&lab.shared, map("a"));
    let path = format!("{MAPS}/a?fieldManager=me");
    let refused = lab.send(Method::PATCH, &path, "application/apply-patch+cbor", &map("a")).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (415, "UnsupportedMediaType"));
    assert!(refused.message.contains("the lab applies"), "{}", refused.message);
    assert_eq!(lab.send(Method::PATCH, &path, "text/plain", &json!({})).await.unwrap_err().code, 415);
    let protobuf = "application/vnd.kubernetes.protobuf";
    assert_eq!(lab.send(Method::POST, MAPS, protobuf, &map("b")).await.unwrap_err().code, 400, "it is none");
    assert_eq!(lab.send(Method::POST, MAPS, "application/cbor", &map("b")).await.unwrap_err().code, 415);
}

#[tokio::test(start_paused = true)]
async fn a_version_in_a_patch_is_a_precondition() {
    let lab = quiet();
    let version = create(&lab.shared, map("a")).version().parse::<u64>().unwrap();
    let patch = |version: u64| json!({"metadata": {"resourceVersion": version.to_string()}, "data": {"k": "v"}});
    let target = format!("{MAPS}/a");
    let refused = lab.merge(&target, &patch(version - 1)).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    lab.merge(&target, &patch(version)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_refused_where_that_is_asked_for_and_else_dropped() {
    let lab = quiet();
    let mut body = deployment(1);
    body["spec"]["foo"] = 1.into();
    body["spec"]["template"]["spec"]["containers"][0]["imge"] = "x".into();
    let refused = lab.post(&format!("{DEPLOYMENTS}?fieldValidation=Strict"), &body).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (400, "BadRequest"));
    let words = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.foo\", \
                 unknown field \"spec.template.spec.containers[0].imge\"";
    assert_eq!(refused.message, words);
    let made = lab.post(DEPLOYMENTS, &body).await.unwrap();
    assert!(made["spec"].get("foo").is_none());
    let path = format!("{DEPLOYMENTS}/web?fieldValidation=Strict");
    let refused = lab.merge(&path, &json!({"spec": {"bar": 1}})).await.unwrap_err();
    assert_eq!(refused.code, 422);
    assert!(refused.message.contains("strict decoding error: unknown field \"spec.bar\""), "{}", refused.message);
    lab.merge(&path, &json!({"spec": {"replicas": 2}})).await.unwrap();
    assert_eq!(lab.post(&format!("{MAPS}?fieldValidation=Hard"), &map("a")).await.unwrap_err().code, 422);
}

#[tokio::test(start_paused = true)]
async fn a_workload_is_scaled_by_its_subresource() {
    let lab = quiet();
    lab.post(DEPLOYMENTS, &deployment(2)).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(lab.client.clone(), "shop");
    let scale = deployments.get_scale("web").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=web"));
    let change = Patch::Merge(json!({"spec": {"replicas": 5}}));
    let scaled = deployments.patch_scale("web", &PatchParams::default(), &change).await.unwrap();
    assert_eq!(scaled.spec.clone().unwrap().replicas, Some(5));
    let whole = deployments.get("web").await.unwrap();
    assert_eq!((whole.spec.unwrap().replicas, whole.metadata.generation), (Some(5), Some(2)));
    let old = json!({"metadata": {"name": "web", "resourceVersion": "1"}, "spec": {"replicas": 1}});
    let target = format!("{DEPLOYMENTS}/web/scale");
    assert_eq!(lab.put(&target, &old).await.unwrap_err().code, 409);
    let refused = lab.merge(&target, &json!({"spec": {"replicas": -1}})).await.unwrap_err();
    let words =
        "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
    assert_eq!((refused.code, refused.message.as_str()), (422, words));
    let rehearsed = lab.merge(&format!("{target}?dryRun=All"), &json!({"spec": {"replicas": 9}})).await.unwrap();
    assert_eq!(rehearsed["spec"]["replicas"], 9);
    assert_eq!(lab.get(&target).await.unwrap()["spec"]["replicas"], 5);
    let missing = lab.get(&format!("{DEPLOYMENTS}/none/scale")).await.unwrap_err();
    assert_eq!((missing.code, missing.message.as_str()), (404, "deployments/scale.apps \"none\" not found"));
}
