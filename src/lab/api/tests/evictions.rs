//! Evictions and what budgets say to them.

use kube::api::{EvictParams, PostParams};

use super::*;

/// A budget over the pods of `web`, as its controller would have left it.
fn budget(name: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}, "status": status,
    })
}

fn status(allowed: i32, healthy: i32) -> Value {
    json!({
        "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": 2, "expectedPods": 3,
        "observedGeneration": 1,
        "conditions": [{
            "type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods", "message": "",
            "lastTransitionTime": "2027-01-15T07:00:00Z", "observedGeneration": 1,
        }],
    })
}

fn eviction(name: &str, options: &Value) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options})
}

impl Quiet {
    async fn evict(&self, name: &str, query: &str, options: &Value) -> Result<Value, Status> {
        self.post(&format!("{PODS}/{name}/eviction?{query}"), &eviction(name, options)).await
    }

    async fn is_leaving(&self, name: &str) -> bool {
        self.pods().get(name).await.unwrap().metadata.deletion_timestamp.is_some()
    }

    async fn budget(&self) -> Value {
        self.get("/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web").await.unwrap()["status"].take()
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_an_eviction_is_a_deletion_that_says_so() {
    let lab = quiet();
    create(&lab.shared, running("a"));
    let answer = lab.evict("a", "", &json!({"gracePeriodSeconds": 7})).await.unwrap();
    assert_eq!(
        (&answer["kind"], &answer["status"], &answer["code"]),
        (&json!("Status"), &json!("Success"), &json!(201))
    );
    let pod = lab.pods().get("a").await.unwrap();
    assert_eq!(pod.metadata.deletion_grace_period_seconds, Some(7));
    let conditions = pod.status.unwrap().conditions.unwrap();
    let target = conditions.iter().find(|condition| condition.type_ == "DisruptionTarget").unwrap();
    assert_eq!((target.status.as_str(), target.reason.as_deref()), ("True", Some("EvictionByEvictionAPI")));
    assert_eq!(lab.evict("none", "", &json!({})).await.unwrap_err().code, 404);
    create(&lab.shared, running("b"));
    let by_client = lab.pods().evict("b", &EvictParams::default()).await.unwrap();
    assert!(by_client.is_success() && lab.is_leaving("b").await);
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_spent_and_then_refuses() {
    let lab = quiet();
    create(&lab.shared, budget("web", &status(1, 3)));
    for name in ["a", "b"] {
        create(&lab.shared, running(name));
    }
    lab.evict("a", "dryRun=All", &json!({})).await.unwrap();
    assert!(!lab.is_leaving("a").await);
    assert_eq!(lab.budget().await["disruptionsAllowed"], 1, "a rehearsal spends nothing");
    lab.evict("a", "", &json!({})).await.unwrap();
    let spent = lab.budget().await;
    assert_eq!(spent["disruptionsAllowed"], 0);
    assert!(spent["disruptedPods"]["a"].is_string());
    assert_eq!(
        (&spent["conditions"][0]["status"], &spent["conditions"][0]["reason"]),
        (&json!("False"), &json!("InsufficientPods"))
    );
    let refused = lab.evict("b", "", &json!({})).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"));
    assert_eq!(refused.message, "Cannot evict pod as it would violate the pod's disruption budget.");
    let details = refused.details.unwrap();
    assert_eq!((details.retry_after_seconds, details.causes[0].reason.as_str()), (0, "DisruptionBudget"));
    assert_eq!(details.causes[0].message, "The disruption budget web needs 2 healthy pods and has 3 currently");
    assert!(!lab.is_leaving("b").await);
    assert_eq!(lab.evict("b", "dryRun=All", &json!({})).await.unwrap_err().code, 429);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_its_controller_has_not_seen_asks_to_come_again() {
    let lab = quiet();
    let mut unseen = status(5, 3);
    unseen["observedGeneration"] = 0.into();
    create(&lab.shared, budget("web", &unseen));
    create(&lab.shared, running("a"));
    let refused = lab.evict("a", "", &json!({})).await.unwrap_err();
    let details = refused.details.unwrap();
    assert_eq!((refused.code, details.retry_after_seconds), (429, 10));
    assert_eq!(details.causes[0].message, "The disruption budget web is still being processed by the server.");
}

#[tokio::test(start_paused = true)]
async fn two_budgets_are_one_too_many() {
    let lab = quiet();
    for name in ["web", "more"] {
        create(&lab.shared, budget(name, &status(1, 3)));
    }
    create(&lab.shared, running("a"));
    let answer = lab.evict("a", "", &json!({})).await.unwrap();
    let words = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    assert_eq!(
        (&answer["status"], &answer["code"], &answer["message"]),
        (&json!("Failure"), &json!(500), &json!(words))
    );
    assert!(!lab.is_leaving("a").await);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_serve_needs_no_budget() {
    let lab = quiet();
    create(&lab.shared, budget("web", &status(0, 2)));
    let mut pending = running("pending");
    pending["status"]["phase"] = "Pending".into();
    create(&lab.shared, pending);
    lab.evict("pending", "", &json!({})).await.unwrap();
    assert!(lab.is_leaving("pending").await);
    let mut unready = running("unready");
    unready["status"]["conditions"][0]["status"] = "False".into();
    create(&lab.shared, unready.clone());
    lab.evict("unready", "", &json!({})).await.unwrap();
    assert!(lab.is_leaving("unready").await, "the budget has as many healthy pods as it wants");
    assert_eq!(lab.budget().await["disruptionsAllowed"], 0);
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_pod_of_a_short_budget_stays_unless_it_may_always_go() {
    let lab = quiet();
    create(&lab.shared, budget("web", &status(0, 1)));
    let mut unready = running("a");
    unready["status"]["conditions"][0]["status"] = "False".into();
    create(&lab.shared, unready);
    assert_eq!(lab.evict("a", "", &json!({})).await.unwrap_err().code, 429);
    let path = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web";
    lab.merge(path, &json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}})).await.unwrap();
    lab.evict("a", "", &json!({})).await.unwrap();
    assert!(lab.is_leaving("a").await);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_is_of_the_pod_that_was_meant() {
    let lab = quiet();
    let made = create(&lab.shared, running("a"));
    let meant = |uid: &str| json!({"preconditions": {"uid": uid}});
    let refused = lab.evict("a", "fieldValidation=Strict", &meant("other")).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert_eq!(lab.evict("a", "dryRun=All", &meant("other")).await.unwrap_err().code, 409);
    let wrong = lab.post(&format!("{PODS}/a/eviction"), &eviction("b", &json!({}))).await.unwrap_err();
    assert_eq!(wrong.message, "name in URL does not match name in Eviction object");
    let strict =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}, "delete_options": {}});
    let path = format!("{PODS}/a/eviction?fieldValidation=Strict");
    assert!(lab.post(&path, &strict).await.unwrap_err().message.contains("unknown field \"delete_options\""));
    lab.evict("a", "fieldValidation=Strict", &meant(made.uid())).await.unwrap();
    assert!(lab.is_leaving("a").await);
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_labels_has_no_budget_and_one_without_a_selector_no_pods() {
    let lab = quiet();
    let mut all = budget("web", &status(0, 2));
    all["spec"]["selector"] = json!({});
    create(&lab.shared, all);
    let mut bare = running("bare");
    bare["metadata"]["labels"] = Value::Null;
    create(&lab.shared, bare);
    create(&lab.shared, running("a"));
    lab.evict("bare", "", &json!({})).await.unwrap();
    assert_eq!(lab.evict("a", "", &json!({})).await.unwrap_err().code, 429);
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_may_bind_a_pod_once() {
    let lab = quiet();
    lab.pods().create(&PostParams::default(), &serde_json::from_value(pod("a")).unwrap()).await.unwrap();
    let binding = json!({"target": {"kind": "Node", "name": "node1"}, "metadata": {"name": "a"}});
    let path = format!("{PODS}/a/binding");
    lab.post(&path, &binding).await.unwrap();
    assert_eq!(lab.pods().get("a").await.unwrap().spec.unwrap().node_name.as_deref(), Some("node1"));
    let refused = lab.post(&path, &binding).await.unwrap_err();
    let words = "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"node1\"";
    assert_eq!((refused.code, refused.message.as_str()), (409, words));
}
