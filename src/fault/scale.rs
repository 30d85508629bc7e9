//! `scale`: a Deployment or StatefulSet held at another number of replicas, then given its own back.

mod workload;

use std::time::Duration as Time;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::workload::{Kind, Workload};
use super::contract::{
    About, Acting, Effect, Fault, FaultError, Heal, Injected, Left, Permission, Planning, Refusal, Resolution, Undo,
};
use super::copies;
use super::held::{Field, Found, HeldNote, current, path, read};
use super::kube::{list, refused, workload_permissions, workload_ready};
use crate::cluster::Cluster;
use crate::record::Target;
use crate::scalar::Name;

/// How long the controller may take to reach the number: it creates and deletes pods in growing batches, within seconds.
const EFFECT_DEADLINE: Time = Time::from_mins(1);
/// What is changed and given back.
const REPLICAS: Field = Field {
    fault: Scale::ABOUT.key,
    pointer: "/spec/replicas",
    // The API server fills in its default of one.
    missing: || Value::from(1),
    words: |value| format!("{value} replicas"),
    done: |previous, injected| format!("scaled from {previous} to {injected}"),
    undone: |previous, injected| format!("scaled back from {injected} to {previous}"),
    part: None,
};

/// Scales a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scale {
    /// `deployment/NAME` or `statefulset/NAME`.
    pub workload: Workload,
    /// Its namespace.
    pub namespace: Name,
    /// How many replicas it is held at.
    pub replicas: u16,
    /// Needed where a HorizontalPodAutoscaler targets the workload: it may change the number meanwhile, and then keeps the last word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_hpa: bool,
}

impl Fault for Scale {
    const ABOUT: About = About {
        key: "scale",
        summary: "holds a Deployment or StatefulSet at another number of replicas",
        details: "`spec.replicas` is replaced, and given back after `for`, in one JSON patch each, which tests that nobody else changed \
                  the number meanwhile and carries the undo note (annotation `squall.dev/undo`) with the change: there is no instant at \
                  which the workload is scaled without saying how to mend it. To 0 it is a full outage of the workload; upwards it tests \
                  quota, capacity and start-up.\n\n\
                  **Scaling down bypasses PodDisruptionBudgets**: the controller deletes pods without asking them. A workload \
                  that a HorizontalPodAutoscaler targets is refused unless `allowHpa: true`; what the autoscaler writes meanwhile stays.",
        effect: "the controller has seen the change, and `status.replicas` has reached the number (pods that still terminate don't count)",
        ending: "`spec.replicas` is put back where it still is what we wrote; where somebody else changed it, theirs stays and only our note \
                 goes. Whole again when every wanted replica is ready",
        undoable: true,
        undoable_where: "",
        refusable: false,
        cannot: "scale anything but Deployments and StatefulSets; hold a number against an autoscaler, which with `allowHpa` may change it at once",
        unrehearsable: "",
        examples: &[
            ("a Deployment", "{workload: deployment/web, namespace: shop, replicas: 0}"),
            ("a StatefulSet", "{workload: statefulset/db, namespace: shop, replicas: 1}"),
        ],
    };

    type Note = HeldNote;

    fn namespaces(&self) -> Vec<String> {
        vec![self.namespace.to_string()]
    }

    fn permissions(&self) -> Vec<Permission> {
        let rule = |group, resource, verb, why| Permission {
            group,
            resource,
            verb,
            namespace: Some(self.namespace.to_string()),
            why,
            kind: None,
        };
        let resource = self.workload.kind.resource();
        let mut rules = vec![
            rule("apps", resource, "patch", "scale the workload, and give it its replicas back"),
            rule(
                "autoscaling",
                "horizontalpodautoscalers",
                "list",
                "see whether an autoscaler owns the number of replicas",
            ),
        ];
        if self.workload.kind == Kind::Deployment {
            rules.extend(copies::permissions(self.namespace.as_str()));
        }
        rules
            .extend(workload_permissions(Some(self.namespace.as_str())).into_iter().filter(|p| p.resource == resource));
        rules
    }

    fn effect_deadline(&self, _: &HeldNote) -> Time {
        EFFECT_DEADLINE
    }

    async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        let namespace = self.namespace.as_str();
        let workload = &self.workload;
        let path = path(workload.kind.label(), namespace, &workload.name);
        let found = match read(cx.cluster, &path).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                return Err(Refusal::new(format!("there is no {workload} in namespace `{namespace}`"))
                    .hint(format!("`kubectl -n {namespace} get {}` lists what is there", workload.kind.resource())));
            }
            Err(e) => return Err(refused(&e, "get", workload.kind.resource(), namespace)),
        };
        self.refuse(&found)?;
        let mut resolution = Resolution::default();
        self.ask_autoscalers(cx, &mut resolution).await?;
        let (now, wanted) = (replicas(&found), i64::from(self.replicas));
        let going = usize::try_from(now - wanted).unwrap_or(0);
        if going > 0 {
            resolution.warnings.push(format!(
                "scaling {workload} from {now} to {wanted} bypasses PodDisruptionBudgets: the controller asks none before it deletes pods"
            ));
        }
        resolution.calls.push(format!(
            "PATCH {path} (uid {}, /spec/replicas {now} → {wanted}, undo note in the same patch)",
            found.uid()
        ));
        resolution.undo.push(format!("put {workload} back to {now} replicas, unless somebody else changed them"));
        resolution.targets.push(Target {
            kind: workload.kind.label().to_owned(),
            namespace: namespace.to_owned(),
            name: workload.name.clone(),
            uid: found.uid().to_owned(),
            node: None,
            zone: None,
            owner: None,
            instance: None,
        });
        Ok(Resolution { of: 1, pods: going, pods_of: Some(usize::try_from(now).unwrap_or(0)), ..resolution })
    }

    async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<HeldNote>, FaultError> {
        let Some(found) = current(cx, target).await? else { return Ok(None) };
        REPLICAS.note(target, &found, self.replicas.into()).map(Some)
    }

    async fn inject(&self, cx: &Acting<'_>, target: &Target, note: &HeldNote) -> Result<Injected, FaultError> {
        REPLICAS.hold(cx, target, note).await
    }

    async fn effect(&self, cx: &Acting<'_>, target: &Target, _: &HeldNote) -> Result<Effect, FaultError> {
        let Some(found) = current(cx, target).await? else {
            return Ok(Effect::NotYet("it is gone".to_owned()));
        };
        Ok(reached(&found, self.replicas.into()))
    }

    async fn undo(cx: &Acting<'_>, target: &Target, note: &HeldNote) -> Result<Undo, FaultError> {
        REPLICAS.give_back(cx, target, note).await
    }

    async fn left_on(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Left>, FaultError> {
        let (deployments, statefulsets) = match namespace {
            Some(namespace) => (cluster.api::<Deployment>(namespace), cluster.api::<StatefulSet>(namespace)),
            None => (cluster.all(), cluster.all()),
        };
        let mut left = REPLICAS.notes_on(deployments, Kind::Deployment.label()).await?;
        left.extend(REPLICAS.notes_on(statefulsets, Kind::StatefulSet.label()).await?);
        Ok(left)
    }

    async fn healed(cx: &Acting<'_>, target: &Target, _: &HeldNote) -> Result<Heal, FaultError> {
        if current(cx, target).await?.is_none() {
            return Ok(Heal::NotYet(format!("{target} is gone")));
        }
        workload_ready(cx, &target.namespace, &target.to_string()).await
    }
}

impl Scale {
    /// Refuses what would change nothing, and what another run holds.
    fn refuse(&self, found: &Found) -> Result<(), Refusal> {
        let workload = &self.workload;
        found.refuse_held(workload)?;
        if replicas(found) == i64::from(self.replicas) {
            return Err(Refusal::new(format!(
                "{workload} has {} replicas already: nothing would change",
                self.replicas
            ))
            .hint("choose another number in `replicas`"));
        }
        Ok(())
    }

    /// Refuses a workload that an autoscaler targets, or warns where that is allowed.
    async fn ask_autoscalers(&self, cx: &Planning<'_>, resolution: &mut Resolution) -> Result<(), Refusal> {
        let namespace = self.namespace.as_str();
        let all: Vec<HorizontalPodAutoscaler> =
            list(cx.cluster.api(namespace), "horizontalpodautoscalers", namespace, None).await?;
        let Some(hpa) = all.iter().find(|hpa| self.is_target_of(hpa)) else { return Ok(()) };
        let hpa = hpa.metadata.name.as_deref().unwrap_or_default();
        if !self.allow_hpa {
            return Err(Refusal::new(format!(
                "horizontalpodautoscaler/{hpa} targets {}: it owns its replicas",
                self.workload
            ))
            .hint("add `allowHpa: true` if the two shall work against each other"));
        }
        resolution.warnings.push(format!(
            "horizontalpodautoscaler/{hpa} may change the replicas of {} meanwhile; what it writes stays",
            self.workload
        ));
        Ok(())
    }

    fn is_target_of(&self, hpa: &HorizontalPodAutoscaler) -> bool {
        let Some(target) = hpa.spec.as_ref().map(|spec| &spec.scale_target_ref) else { return false };
        let ours = target.api_version.as_deref().is_none_or(|version| version.starts_with("apps/"));
        ours && target.kind == self.workload.kind.api() && target.name == self.workload.name
    }
}

/// Its replicas; the API server fills in its default of one.
pub(super) fn replicas(found: &Found) -> i64 {
    REPLICAS.value(found).as_i64().unwrap_or(1)
}

/// Whether the workload's controller has brought it to the wanted number.
pub(super) fn reached(found: &Found, wanted: i64) -> Effect {
    let number = |path: &str| found.0.pointer(path).and_then(Value::as_i64);
    if number("/status/observedGeneration").unwrap_or(0) < number("/metadata/generation").unwrap_or(0) {
        return Effect::NotYet("its controller has not seen the change".to_owned());
    }
    let (set, reported) = (number("/spec/replicas").unwrap_or(1), number("/status/replicas").unwrap_or(0));
    if set != wanted {
        return Effect::NotYet(format!("somebody set it to {set} replicas"));
    }
    if reported == wanted {
        return Effect::Seen(format!("it reports {wanted} replicas"));
    }
    Effect::NotYet(format!("it reports {reported} replicas"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::fault::Ending;

    fn scale(workload: &str) -> Scale {
        serde_json::from_value(json!({"workload": workload, "namespace": "shop", "replicas": 0})).unwrap()
    }

    #[test]
    fn refuses_what_changes_nothing_and_what_another_run_holds() {
        let refusal = |replicas: i64, note: Option<&str>| {
            let object =
                json!({"metadata": {"annotations": {"squall.dev/undo": note}}, "spec": {"replicas": replicas}});
            scale("deployment/web").refuse(&Found(object)).map_err(|r| r.message)
        };
        assert_eq!(refusal(3, None), Ok(()));
        assert!(refusal(0, None).unwrap_err().contains("0 replicas already"));
        let note = r#"{"run":"r9","step":"s","fault":"scale","previous":3,"injected":0}"#;
        assert!(refusal(3, Some(note)).unwrap_err().ends_with("of another run: `r9`"));
    }

    #[test]
    fn finds_its_autoscaler_by_kind_and_name() {
        let hpa = |kind: &str, name: &str, api: &str| -> HorizontalPodAutoscaler {
            serde_json::from_value(
                json!({"spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": kind, "name": name, "apiVersion": api}}}),
            )
            .unwrap()
        };
        let web = scale("deployment/web");
        assert!(web.is_target_of(&hpa("Deployment", "web", "apps/v1")));
        assert!(!web.is_target_of(&hpa("StatefulSet", "web", "apps/v1")));
        assert!(!web.is_target_of(&hpa("Deployment", "api", "apps/v1")));
        assert!(!web.is_target_of(&hpa("Deployment", "web", "example.com/v1")));
    }

    #[test]
    fn the_effect_is_the_controllers_word() {
        let object = |observed, reported| json!({"metadata": {"generation": 2}, "spec": {"replicas": 0}, "status": {"observedGeneration": observed, "replicas": reported}});
        assert!(matches!(reached(&Found(object(2, 0)), 0), Effect::Seen(_)));
        assert!(matches!(reached(&Found(object(2, 2)), 0), Effect::NotYet(_)));
        assert!(matches!(reached(&Found(object(1, 0)), 0), Effect::NotYet(_)), "an older status says nothing");
        assert!(matches!(reached(&Found(object(2, 0)), 3), Effect::NotYet(_)), "somebody scaled it");
    }

    type Change = fn(&mut Value);

    /// A small API server that holds one Deployment and its ReplicaSet, applies JSON patches, counts up the resource version, and copies
    /// annotations from the one to the other as the controller does: it never removes one.
    #[derive(Clone)]
    struct Server {
        object: Arc<Mutex<Value>>,
        set: Arc<Mutex<Value>>,
        /// Called once, before the first patch is applied: what somebody else does meanwhile.
        meanwhile: Arc<Mutex<Option<Change>>>,
        /// Called between the injection and the undo.
        held: Arc<Mutex<Option<Change>>>,
        /// How many answers to patches are lost on their way.
        lost: Arc<Mutex<u32>>,
        /// How often the controller, behind with its cache, copies the note once more after a patch of the set.
        stale: Arc<Mutex<u32>>,
    }

    impl Server {
        fn new(annotations: Value) -> Self {
            let mut object = json!({
                "metadata": {"uid": "u", "resourceVersion": "1", "generation": 1},
                "spec": {"replicas": 3}, "status": {"observedGeneration": 1, "replicas": 3, "readyReplicas": 3},
            });
            if annotations.is_object() {
                object["metadata"]["annotations"] = annotations;
            }
            let set = json!({"metadata": {
                "name": "web-1", "uid": "s", "annotations": {}, "ownerReferences":
                    [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u", "controller": true}],
            }});
            let (object, set) = (Arc::new(Mutex::new(object)), Arc::new(Mutex::new(set)));
            let (meanwhile, held) = Default::default();
            Self { object, set, meanwhile, held, lost: Arc::default(), stale: Arc::default() }
        }

        fn on_set(&self, method: &http::Method, body: &[u8]) -> Value {
            let mut set = self.set.lock().unwrap();
            if *method == http::Method::GET {
                return json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {},
                    "items": [*set]});
            }
            let patch: json_patch::Patch = serde_json::from_slice(body).unwrap();
            let before = set["metadata"]["annotations"].clone();
            json_patch::patch(&mut set, &patch).unwrap();
            let mut stale = self.stale.lock().unwrap();
            if *stale > 0 {
                *stale -= 1;
                set["metadata"]["annotations"] = before;
            }
            set.clone()
        }

        fn object(&self) -> Value {
            self.object.lock().unwrap().clone()
        }

        async fn answer(self, request: http::Request<Body>) -> Result<http::Response<Body>, std::io::Error> {
            let method = request.method().clone();
            let of_set = request.uri().path().contains("/replicasets");
            let body = request.into_body().collect_bytes().await.map_err(std::io::Error::other)?;
            let respond = |code: u16, body: &Value| {
                let body = Body::from(body.to_string().into_bytes());
                http::Response::builder().status(code).body(body).map_err(std::io::Error::other)
            };
            if of_set {
                return respond(200, &self.on_set(&method, &body));
            }
            let mut object = self.object.lock().unwrap();
            if method == http::Method::GET {
                return respond(200, &object);
            }
            if let Some(change) = self.meanwhile.lock().unwrap().take() {
                change(&mut object);
            }
            let patch: json_patch::Patch = serde_json::from_slice(&body)?;
            if json_patch::patch(&mut object, &patch).is_err() {
                return respond(422, &json!({"status": "Failure", "reason": "Invalid", "code": 422}));
            }
            let version: u32 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            object["metadata"]["resourceVersion"] = json!((version + 1).to_string());
            for (key, value) in object["metadata"]["annotations"].as_object().into_iter().flatten() {
                self.set.lock().unwrap()["metadata"]["annotations"][key] = value.clone();
            }
            let mut lost = self.lost.lock().unwrap();
            if *lost > 0 {
                *lost -= 1;
                return Err(std::io::Error::other("the connection broke"));
            }
            respond(200, &object)
        }

        /// Prepares, injects and takes back; answers what came of the injection and of the undo.
        async fn run(&self) -> (Result<Injected, FaultError>, Undo) {
            let server = self.clone();
            let service = tower::service_fn(move |request| server.clone().answer(request));
            let client = kube::Client::new(service, "shop");
            let cluster = Cluster::new(client, crate::record::ClusterId::default());
            let cx = Acting { cluster: &cluster, run: "r1", state: "squall", step: "hold", ending: Ending::default() };
            let target = Target {
                kind: "deployment".into(),
                namespace: "shop".into(),
                name: "web".into(),
                uid: "u".into(),
                node: None,
                zone: None,
                owner: None,
                instance: None,
            };
            let fault = scale("deployment/web");
            let note = fault.prepare(&cx, &target).await.unwrap().unwrap();
            let injected = fault.inject(&cx, &target, &note).await;
            if let Some(change) = self.held.lock().unwrap().take() {
                change(&mut self.object.lock().unwrap());
            }
            (injected, Scale::undo(&cx, &target, &note).await.unwrap())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn holds_and_gives_back() {
        let server = Server::new(json!({"team": "shop"}));
        let (injected, undone) = server.run().await;
        assert_eq!(injected.unwrap(), Injected::Done("scaled from 3 to 0".into()));
        assert_eq!(undone, Undo::Undone("scaled back from 0 to 3".into()));
        assert_eq!(server.object()["metadata"]["annotations"], json!({"team": "shop"}));
        let set = server.set.lock().unwrap().clone();
        assert_eq!(set["metadata"]["annotations"], json!({"team": "shop"}), "the copy of the note is gone too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_comes_back_is_taken_off_again_or_named() {
        for (stale, gone) in [(1, true), (u32::MAX, false)] {
            let server = Server::new(json!({"team": "shop"}));
            *server.stale.lock().unwrap() = stale;
            *server.held.lock().unwrap() = Some(|object| object["spec"]["replicas"] = json!(5));
            let (_, undone) = server.run().await;
            let Undo::Conflict(told) = undone else { panic!("{undone:?}") };
            let set = server.set.lock().unwrap().clone();
            assert_eq!(set["metadata"]["annotations"] == json!({"team": "shop"}), gone, "{set}");
            assert_eq!(told.contains("comes back"), !gone, "{told}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_annotation_that_appears_meanwhile_stays() {
        let server = Server::new(Value::Null);
        *server.meanwhile.lock().unwrap() = Some(|object| {
            object["metadata"]["annotations"] = json!({"theirs": "1"});
            object["metadata"]["resourceVersion"] = json!("2");
        });
        let (injected, undone) = server.run().await;
        assert!(matches!((injected.unwrap(), undone), (Injected::Done(_), Undo::Undone(_))));
        assert_eq!(server.object()["metadata"]["annotations"], json!({"theirs": "1"}));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_is_neither_a_second_fault_nor_a_failure() {
        let server = Server::new(json!({}));
        *server.lost.lock().unwrap() = 1;
        let (injected, undone) = server.run().await;
        assert!(matches!((injected.unwrap(), undone), (Injected::Done(_), Undo::Undone(_))));
        assert_eq!(server.object()["spec"]["replicas"], 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_that_changed_since_it_was_prepared_is_left_alone() {
        let server = Server::new(json!({}));
        *server.meanwhile.lock().unwrap() = Some(|object| object["spec"]["replicas"] = json!(5));
        let (injected, undone) = server.run().await;
        assert!(matches!((injected, undone), (Err(FaultError::State(_)), Undo::Conflict(_))));
        assert_eq!(server.object()["spec"]["replicas"], 5);
    }
}
