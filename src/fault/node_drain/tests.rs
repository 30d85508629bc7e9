//! Drains against a small API server that holds one node, its pods, and a budget that may refuse.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::fault::Ending;
use crate::record::ClusterId;

/// What the server holds.
struct World {
    node: Value,
    pods: Vec<Value>,
    /// Evictions that the budget refuses before it lets one pass.
    refusals: u32,
    /// Whether an evicted pod is gone at once, or terminates for ever.
    lingers: bool,
    evicted: Vec<String>,
}

#[derive(Clone)]
struct Server(Arc<Mutex<World>>);

fn pod(name: &str, owner: Option<(&str, &str)>) -> Value {
    let owners: Vec<Value> = owner
        .map(
            |(kind, name)| json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "x", "controller": true}),
        )
        .into_iter()
        .collect();
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": {"app": "web"}, "ownerReferences": owners},
        "spec": {"nodeName": "n1", "containers": []}, "status": {"phase": "Running"},
    })
}

fn web(name: &str) -> Value {
    pod(name, Some(("ReplicaSet", "web-5d4")))
}

fn node(name: &str, unschedulable: Option<bool>) -> Value {
    let mut node = json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "1", "annotations": {"team": "a"}},
        "spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    if let Some(unschedulable) = unschedulable {
        node["spec"]["unschedulable"] = json!(unschedulable);
    }
    node
}

impl Server {
    fn new(pods: Vec<Value>, refusals: u32) -> Self {
        let node = node("n1", None);
        Self(Arc::new(Mutex::new(World { node, pods, refusals, lingers: false, evicted: Vec::new() })))
    }

    fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn cluster(&self) -> Cluster {
        let server = self.clone();
        let service = tower::service_fn(move |request| server.clone().answer(request));
        Cluster::new(kube::Client::new(service, "default"), ClusterId::default())
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let dry_run = request.uri().query().is_some_and(|query| query.contains("dryRun=All"));
        let body = request.into_body().collect_bytes().await.map_err(std::io::Error::other)?;
        let (code, body) = self.with(|world| world.answer(&method, &path, dry_run, &body));
        let body = Body::from(body.to_string().into_bytes());
        Response::builder().status(code).body(body).map_err(std::io::Error::other)
    }
}

impl World {
    fn answer(&mut self, method: &Method, path: &str, dry_run: bool, body: &[u8]) -> (u16, Value) {
        let items = |items: Value| (200, json!({"metadata": {}, "items": items}));
        let last = path.rsplit('/').next().unwrap();
        match (method, last) {
            (&Method::GET, "n1") => (200, self.node.clone()),
            (&Method::PATCH, "n1") => {
                let change: json_patch::Patch = serde_json::from_slice(body).unwrap();
                match json_patch::patch(&mut self.node, &change) {
                    Ok(()) => (200, self.node.clone()),
                    Err(_) => (422, json!({"status": "Failure", "reason": "Invalid", "code": 422})),
                }
            }
            (&Method::GET, "nodes") => items(json!([self.node, node("n2", None)])),
            (&Method::GET, "pods") if path.contains("kube-system") => items(json!([])),
            (&Method::GET, "pods") => items(json!(self.pods)),
            (&Method::GET, "poddisruptionbudgets") => items(json!([{
                "metadata": {"name": "strict"}, "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}},
                "status": {"disruptionsAllowed": 0, "currentHealthy": 3, "desiredHealthy": 3, "expectedPods": 3},
            }])),
            (&Method::GET, "web-5d4") => {
                let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]);
                (200, json!({"metadata": {"name": "web-5d4", "ownerReferences": owner}}))
            }
            (&Method::GET, "web") => (
                200,
                json!({
                    "metadata": {"name": "web", "generation": 1},
                    "spec": {"replicas": 1, "selector": {}, "template": {}}, "status": {"observedGeneration": 1, "readyReplicas": 1},
                }),
            ),
            (&Method::POST, "eviction") => self.evict(path.rsplit('/').nth(1).unwrap(), dry_run),
            _ => panic!("{method} {path}"),
        }
    }

    fn evict(&mut self, name: &str, dry_run: bool) -> (u16, Value) {
        if self.refusals > 0 {
            self.refusals -= u32::from(!dry_run);
            let cause = json!([{"reason": "DisruptionBudget", "message": "The disruption budget strict needs 3 healthy pods and has 3 currently"}]);
            return (
                429,
                json!({"status": "Failure", "code": 429, "reason": "TooManyRequests", "details": {"causes": cause}}),
            );
        }
        if !dry_run {
            self.evicted.push(name.to_owned());
            if self.lingers {
                let pod = self.pods.iter_mut().find(|pod| pod["metadata"]["name"] == name).unwrap();
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            } else {
                self.pods.retain(|pod| pod["metadata"]["name"] != name);
            }
        }
        (201, json!({"status": "Success", "code": 201}))
    }
}

fn fault(more: &Value) -> NodeDrain {
    let mut arguments = json!({"nodes": {"names": ["n1"]}, "timeout": "30s"});
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(arguments).unwrap()
}

fn target() -> Target {
    Target {
        kind: "node".into(),
        namespace: String::new(),
        name: "n1".into(),
        uid: "uid-n1".into(),
        node: None,
        zone: None,
        owner: None,
        instance: None,
    }
}

/// Drains the node and takes it back; `ending` ends the run.
async fn drained(server: &Server, ending: Ending) -> (Result<Injected, FaultError>, Undo, Time) {
    let cluster = server.cluster();
    let cx = Acting { cluster: &cluster, run: "r1", state: "squall", step: "drain", ending };
    let (fault, target) = (fault(&json!({})), target());
    let note = fault.prepare(&cx, &target).await.unwrap().unwrap();
    let began = Instant::now();
    let injected = fault.inject(&cx, &target, &note).await;
    let took = began.elapsed();
    if matches!(injected, Ok(Injected::Done(_))) {
        assert!(matches!(fault.effect(&cx, &target, &note).await.unwrap(), Effect::Seen(_)));
        assert!(matches!(NodeDrain::healed(&cx, &target, &note).await.unwrap(), Heal::NotYet(_)) || note.previous);
    }
    let undone = NodeDrain::undo(&cx, &target, &note).await.unwrap();
    if matches!(undone, Undo::Undone(_)) {
        assert!(matches!(NodeDrain::healed(&cx, &target, &note).await.unwrap(), Heal::Healed(_)));
    }
    (injected, undone, took)
}

fn words(injected: Result<Injected, FaultError>) -> String {
    match injected.unwrap() {
        Injected::Done(words) => format!("done: {words}"),
        Injected::Blocked(words) => format!("blocked: {words}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn takes_what_kubectl_takes_and_leaves_the_rest() {
    let mut mirror = pod("etcd-n1", Some(("Node", "n1")));
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "1"});
    let mut finished = pod("once", None);
    finished["status"]["phase"] = json!("Succeeded");
    let proxy = pod("proxy", Some(("DaemonSet", "proxy")));
    let server = Server::new(vec![web("web-1"), mirror, finished, proxy], 0);
    let (injected, undone, _) = drained(&server, Ending::default()).await;
    assert_eq!(words(injected), "done: cordoned, 2 pods evicted in 1 s");
    assert_eq!(undone, Undo::Undone("uncordoned".into()));
    server.with(|world| {
        assert_eq!(world.evicted, ["once", "web-1"]);
        assert_eq!(world.node["spec"]["unschedulable"], false);
        assert_eq!(world.node["metadata"]["annotations"], json!({"team": "a"}));
    });
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_gives_way_only_delays() {
    let server = Server::new(vec![web("web-1")], 2);
    let (injected, _, took) = drained(&server, Ending::default()).await;
    assert_eq!(words(injected), "done: cordoned, 1 pod evicted in 11 s; a budget held up pod shop/web-1 for 10 s");
    assert_eq!(took.as_secs(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_does_not_blocks_until_the_time_is_over_and_is_named() {
    let server = Server::new(vec![web("web-1")], u32::MAX);
    let (injected, undone, took) = drained(&server, Ending::default()).await;
    let words = words(injected);
    assert!(
        words.starts_with("blocked: blocked until its `timeout` of 30s: pod shop/web-1 was refused for 30 s"),
        "{words}"
    );
    assert!(words.contains("poddisruptionbudget/strict: 0 disruptions allowed"), "{words}");
    assert_eq!((undone, took.as_secs()), (Undo::Undone("uncordoned".into()), 30));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_never_goes_is_no_budgets_refusal() {
    let server = Server::new(vec![web("web-1")], 0);
    server.with(|world| world.lingers = true);
    let (injected, undone, _) = drained(&server, Ending::default()).await;
    let why = injected.unwrap_err().to_string();
    assert!(why.starts_with("not empty after 30s, and no budget is in the way; still there: shop/web-1"), "{why}");
    assert_eq!(undone, Undo::Undone("uncordoned".into()));
    server.with(|world| assert_eq!(world.evicted, ["web-1"], "sent once"));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_run_ends_the_drain() {
    let server = Server::new(vec![web("web-1")], u32::MAX);
    let (stop, stopped) = watch::channel(false);
    let stopping = async {
        tokio::time::sleep(Time::from_millis(2_300)).await;
        stop.send_replace(true);
    };
    let ((injected, undone, took), ()) = tokio::join!(drained(&server, Ending::of(stopped)), stopping);
    assert!(injected.unwrap_err().to_string().starts_with("the run was ending: cordoned, 0 pods evicted"));
    assert!(matches!(undone, Undo::Undone(_)));
    assert!(took < Time::from_millis(2_500), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cordoned_before_stays_so() {
    let server = Server::new(vec![web("web-1")], 0);
    server.with(|world| world.node = node("n1", Some(true)));
    let (injected, undone, _) = drained(&server, Ending::default()).await;
    assert!(words(injected).starts_with("done: it was cordoned already, 1 pod"));
    assert_eq!(undone, Undo::Undone("it stays cordoned, as it was".into()));
    server.with(|world| assert_eq!(world.node, node("n1", Some(true)), "as it was"));
}

#[tokio::test(start_paused = true)]
async fn who_uncordoned_it_meanwhile_has_the_last_word() {
    let server = Server::new(Vec::new(), 0);
    let cluster = server.cluster();
    let cx = Acting { cluster: &cluster, run: "r1", state: "squall", step: "drain", ending: Ending::default() };
    let (fault, target) = (fault(&json!({})), target());
    let note = fault.prepare(&cx, &target).await.unwrap().unwrap();
    fault.inject(&cx, &target, &note).await.unwrap();
    assert!(fault.prepare(&cx, &target).await.is_err(), "it carries a note now");
    server.with(|world| world.node["spec"].as_object_mut().unwrap().remove("unschedulable"));
    assert!(matches!(fault.effect(&cx, &target, &note).await.unwrap(), Effect::NotYet(_)));
    assert!(matches!(NodeDrain::undo(&cx, &target, &note).await.unwrap(), Undo::Conflict(_)));
    server.with(|world| assert_eq!(world.node, node("n1", None)));
}

async fn planned(server: &Server, more: Value) -> Result<Resolution, String> {
    let (cluster, taken) = (server.cluster(), BTreeSet::new());
    let fault = fault(&more);
    assert_eq!(fault.check(), []);
    let resolution = fault.resolve(&Planning { cluster: &cluster, seed: 1, taken: &taken, gone: &taken }).await;
    resolution.map_err(|r| format!("{} / {}", r.message, r.hint.unwrap_or_default()))
}

#[tokio::test(start_paused = true)]
async fn the_plan_balks_at_what_kubectl_balks_at() {
    let mut scratch = web("web-1");
    scratch["spec"]["volumes"] = json!([{"name": "tmp", "emptyDir": {}}]);
    let server = Server::new(vec![scratch, pod("bare", None), pod("proxy", Some(("DaemonSet", "proxy")))], 0);
    let refused = planned(&server, json!({})).await.unwrap_err();
    assert!(
        refused.contains("declare no controller") && refused.contains("shop/bare") && refused.contains("`force: true`"),
        "{refused}"
    );
    let refused = planned(&server, json!({"force": true})).await.unwrap_err();
    assert!(refused.contains("shop/web-1") && refused.contains("`deleteEmptyDirData: true`"), "{refused}");
    let allowed = json!({"force": true, "deleteEmptyDirData": true});
    let plan = planned(&server, allowed.clone()).await.unwrap();
    assert_eq!(plan.leaving.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["bare", "web-1"]);
    assert_eq!(plan.leaving[1].owner.as_deref(), Some("deployment/web"));
    assert_eq!((plan.pods, plan.targets.len()), (0, 1));
    let refused = planned(&server, json!({"ignoreDaemonSets": false})).await.unwrap_err();
    assert!(refused.contains("pods of DaemonSets") && refused.contains("shop/proxy"), "{refused}");
    server.with(|world| assert!(world.evicted.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn the_plan_says_what_would_block_now_and_refuses_a_node_that_another_run_holds() {
    let server = Server::new(vec![web("web-1")], 1);
    let plan = planned(&server, json!({})).await.unwrap();
    assert!(plan.warnings[0].contains("shop/web-1 on node/n1 can't be evicted now: 429"), "{:?}", plan.warnings);
    assert!(
        plan.calls[0].contains("unschedulable false → true") && plan.calls[1].contains("refuses it"),
        "{:?}",
        plan.calls
    );
    server.with(|world| {
        world.node["metadata"]["annotations"]["squall.dev/undo"] =
            json!(r#"{"run":"r9","step":"s","fault":"nodeDrain","previous":false,"injected":true}"#);
    });
    let refused = planned(&server, json!({})).await.unwrap_err();
    assert!(refused.contains("the undo note of another run: `r9`"), "{refused}");
}

#[test]
fn a_drain_without_time_is_a_mistake() {
    let wrong = fault(&json!({"timeout": "0s", "gracePeriod": "500ms"})).check();
    assert_eq!(wrong.iter().map(|c| c.path[0]).collect::<Vec<_>>(), ["gracePeriod", "timeout"]);
    let written = serde_json::to_value(fault(&json!({}))).unwrap();
    assert_eq!(written, json!({"nodes": {"names": ["n1"]}, "timeout": "30s"}));
}
