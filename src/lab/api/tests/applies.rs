//! Server-side apply. What is expected here is what Kubernetes 1.34's own server answers.

use super::*;

const APPLY: &str = "application/apply-patch+yaml";
const D1: &str = "/apis/apps/v1/namespaces/shop/deployments/d1";

fn d1() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d1", "namespace": "shop"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "d1"}},
            "template": {"metadata": {"labels": {"app": "d1"}}, "spec": {"containers": [{
                "name": "c", "image": "c:1", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}],
            }]}},
        },
    })
}

async fn apply(lab: &Quiet, path: &str, query: &str, body: &Value) -> Result<Value, Status> {
    lab.send(Method::PATCH, &format!("{path}?{query}"), APPLY, body).await
}

/// Managers with their fields, and how they came by them.
fn managed(object: &Value) -> Vec<(String, Value)> {
    let entry = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        (
            format!("{} {} {}", text("manager"), text("operation"), text("subresource")).trim().to_owned(),
            entry["fieldsV1"].clone(),
        )
    };
    object["metadata"]["managedFields"].as_array().into_iter().flatten().map(entry).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_applied_is_created_and_its_fields_are_owned() {
    let lab = quiet();
    let made = apply(&lab, D1, "fieldManager=kubectl", &d1()).await.unwrap();
    let container = json!({
        ".": {}, "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}}, "f:image": {}, "f:name": {},
        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
    });
    let template = json!({
        "f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": container}},
    });
    let fields = json!({"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": template}});
    assert_eq!(managed(&made), [("kubectl Apply".to_owned(), fields)]);
    assert_eq!(made["spec"]["revisionHistoryLimit"], 10, "it has its defaults, which nobody owns");
    let again = apply(&lab, D1, "fieldManager=kubectl", &d1()).await.unwrap();
    assert_eq!(again, made, "nothing changed");
}

#[tokio::test(start_paused = true)]
async fn what_another_manages_is_a_conflict_unless_it_is_forced() {
    let lab = quiet();
    apply(&lab, D1, "fieldManager=kubectl", &d1()).await.unwrap();
    lab.merge(&format!("{D1}/scale?fieldManager=kubectl"), &json!({"spec": {"replicas": 5}})).await.unwrap();
    let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "c:9"}]);
    let patched =
        lab.send(Method::PATCH, &format!("{D1}?fieldManager=kubectl-set"), "application/json-patch+json", &image).await;
    let patched = managed(&patched.unwrap());
    assert_eq!(patched[1], ("kubectl Update scale".to_owned(), json!({"f:spec": {"f:replicas": {}}})));
    assert!(
        !patched[0].1.to_string().contains("f:image") && patched[2].1.to_string().contains("f:image"),
        "{patched:?}"
    );
    let refused = apply(&lab, D1, "fieldManager=kubectl", &d1()).await.unwrap_err();
    let words = "Apply failed with 2 conflicts: conflicts with \"kubectl\" with subresource \"scale\" using apps/v1:\n- .spec.replicas\n\
                 conflicts with \"kubectl-set\" using apps/v1:\n- .spec.template.spec.containers[name=\"c\"].image";
    assert_eq!((refused.code, refused.message.as_str()), (409, words));
    let one =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d1"}, "spec": {"replicas": 3}});
    let refused = apply(&lab, D1, "fieldManager=me", &one).await.unwrap_err();
    let words = "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas";
    assert_eq!((refused.code, refused.message.as_str()), (409, words));
    let causes = refused.details.unwrap().causes;
    assert_eq!((causes[0].reason.as_str(), causes[0].field.as_str()), ("FieldManagerConflict", ".spec.replicas"));
    assert_eq!(lab.get(D1).await.unwrap()["spec"]["replicas"], 5, "nothing was done");
    let forced = apply(&lab, D1, "fieldManager=me&force=true", &one).await.unwrap();
    assert_eq!(forced["spec"]["replicas"], 3);
    assert!(!managed(&forced).iter().any(|(owner, _)| owner == "kubectl Update scale"), "it owns nothing more");
    let refused = apply(&lab, D1, "fieldManager=kubectl", &d1()).await.unwrap_err();
    assert!(refused.message.contains("conflicts with \"me\":\n- .spec.replicas"), "{}", refused.message);
    let mut same = d1();
    same["spec"]["replicas"] = 3.into();
    same["spec"]["template"]["spec"]["containers"][0]["image"] = "c:9".into();
    apply(&lab, D1, "fieldManager=kubectl", &same).await.expect("who agrees shares what the other manages");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_applied_goes_unless_another_owns_it() {
    let lab = quiet();
    let mut body = d1();
    body["metadata"]["labels"] = json!({"a": "1", "b": "2"});
    body["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = json!({"httpGet": {"port": 80}});
    body["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    apply(&lab, D1, "fieldManager=kubectl", &body).await.unwrap();
    let other =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d1", "labels": {"b": "2"}}});
    apply(&lab, D1, "fieldManager=other", &other).await.unwrap();
    lab.merge(D1, &json!({"metadata": {"labels": {"c": "3"}}})).await.unwrap();
    let after = apply(&lab, D1, "fieldManager=kubectl", &d1()).await.unwrap();
    assert_eq!(after["metadata"]["labels"], json!({"b": "2", "c": "3"}));
    let container = &after["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"], json!([{"name": "A", "value": "1"}]));
    assert!(container.get("livenessProbe").is_none(), "with its defaults: {container}");
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_the_first_apply_belongs_to_somebody() {
    let lab = quiet();
    let mut body = d1();
    create(&lab.shared, body.clone());
    body["spec"]["replicas"] = 4.into();
    let refused = apply(&lab, D1, "fieldManager=kubectl", &body).await.unwrap_err();
    let words = "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas";
    assert_eq!(refused.message, words);
    // What kubectl applied by itself before is its own.
    let last =
        json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": d1().to_string()}}});
    lab.merge(D1, &last).await.unwrap();
    let refused = apply(&lab, D1, "fieldManager=me", &body).await.unwrap_err();
    assert_eq!(refused.message, words, "but nobody else's");
    assert_eq!(apply(&lab, D1, "fieldManager=kubectl", &body).await.unwrap()["spec"]["replicas"], 4);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_applied_is_refused_in_the_servers_words() {
    let lab = quiet();
    apply(&lab, D1, "fieldManager=kubectl", &d1()).await.unwrap();
    let with = |field: &str, value: Value| {
        let mut body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d1"}});
        body[field] = value;
        body
    };
    let why = async |query: &str, body: &Value| {
        let refused = apply(&lab, D1, query, body).await.unwrap_err();
        (refused.code, refused.message)
    };
    let told = |code: u16, text: &str| (code, text.to_owned());
    let typed = "failed to create typed patch object (/d1; apps/v1, Kind=Deployment): ";
    let me = "fieldManager=me";
    assert_eq!(
        why(me, &with("spec", json!({"foo": 2}))).await,
        told(500, &format!("{typed}.spec.foo: field not declared in schema"))
    );
    let twice = json!({"template": {"spec": {"containers": [{"name": "x"}, {"name": "x"}]}}});
    let words = format!("{typed}.spec.template.spec.containers: duplicate entries for key [name=\"x\"]");
    assert_eq!(why(me, &with("spec", twice)).await, told(500, &words));
    let managed = json!({"name": "d1", "managedFields": []});
    assert_eq!(why(me, &with("metadata", managed)).await, told(400, "metadata.managedFields must be nil"));
    assert_eq!(why(me, &json!({"kind": "Deployment"})).await, told(400, "invalid object type: /, Kind=Deployment"));
    let words = "the name of the object (d2) does not match the name on the URL (d1)";
    assert_eq!(why(me, &with("metadata", json!({"name": "d2"}))).await, told(400, words));
    let words = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
    assert_eq!(why("", &d1()).await, told(422, words));
    let forced = lab.merge(&format!("{D1}?force=true"), &json!({})).await.unwrap_err();
    assert_eq!(
        forced.message,
        "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
    );
    let status = apply(&lab, &format!("{D1}/status"), me, &with("status", json!({"replicas": 1}))).await.unwrap_err();
    assert_eq!(status.code, 415);
    let rehearsed = apply(&lab, D1, "fieldManager=kubectl&dryRun=All", &with("spec", json!({"replicas": 7}))).await;
    assert_eq!(rehearsed.unwrap_err().code, 422, "without its template it is no Deployment any more");
}
