//! What the cluster does meanwhile: watches of the objects that explain an outage, boiled down to the few fields that matter.
//!
//! Every change is stamped when it arrives, on the run's clock; the server's own stamps have a grain of a second. A watch that breaks
//! says so, and says when it is back: what happened between is unknown, not quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Event as KubeEvent, Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;

use super::back_off::back_off;
use crate::cluster::Cluster;
use crate::plan::LIMITS;
use crate::record::{Change, Clock, Fields, Micros, What};
use crate::spec::ObjectRef;

/// A message of a watch, with its instant.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// An object changed.
    Object(Micros, Box<What>),
    /// The state of a hypothesis's object; `None` when it is gone.
    State(Micros, usize, Option<serde_json::Value>),
    /// What the cluster's own limits say now; empty without them.
    Limits(BTreeMap<String, String>),
    /// A watch broke.
    Blind(Micros, String),
    /// It is back.
    Back(Micros, String),
    /// Its first list is complete.
    Synced(String),
}

/// The fields of an object that matter, as text.
type State = Fields;

/// What an object is called on the timeline, and its fields. A slice of endpoints boils down to one of these per endpoint.
struct Line {
    kind: &'static str,
    name: String,
    state: State,
}

/// What is watched.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// Namespaces whose pods, endpoints, events and budgets are watched.
    pub namespaces: Vec<String>,
    /// Whether nodes may be watched.
    pub nodes: bool,
    /// State namespace, whose ConfigMap `limits` may say `halt`.
    pub state_namespace: String,
    /// Objects of hypotheses: index, object, namespace.
    pub objects: Vec<(usize, ObjectRef, String)>,
}

/// Starts every watch; they end when the receiver is dropped. Returns the names of the watches, each of which will send
/// [`Seen::Synced`] once.
pub(super) fn start(cluster: &Cluster, wanted: &Wanted, clock: Clock, to: &UnboundedSender<Seen>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for namespace in &wanted.namespaces {
        let mut follow_in = |kind: &str| {
            let name = format!("{kind} in {namespace}");
            names.insert(name.clone());
            Follow { name, clock, to: to.clone() }
        };
        tokio::spawn(follow_in("pods").run(cluster.api::<Pod>(namespace), watcher::Config::default(), pod));
        tokio::spawn(follow_in("endpoints").run(
            cluster.api::<EndpointSlice>(namespace),
            watcher::Config::default(),
            endpoints,
        ));
        tokio::spawn(follow_in("budgets").run(
            cluster.api::<PodDisruptionBudget>(namespace),
            watcher::Config::default(),
            budget,
        ));
        tokio::spawn(follow_in("events").run(cluster.api::<KubeEvent>(namespace), watcher::Config::default(), event));
    }
    if wanted.nodes {
        names.insert("nodes".to_owned());
        let follow = Follow { name: "nodes".to_owned(), clock, to: to.clone() };
        tokio::spawn(follow.run(cluster.all::<Node>(), watcher::Config::default(), node));
    }
    names.insert("limits".to_owned());
    let follow = Follow { name: "limits".to_owned(), clock, to: to.clone() };
    let limits = watcher::Config::default().fields(&format!("metadata.name={LIMITS}"));
    tokio::spawn(follow.one(cluster.api::<ConfigMap>(&wanted.state_namespace), limits, |map| {
        Seen::Limits(map.and_then(|map| map.data).unwrap_or_default())
    }));
    for (index, object, namespace) in &wanted.objects {
        let name = format!("{object} in {namespace}");
        let Some(resource) = resource_of(&object.kind) else { continue };
        names.insert(name.clone());
        let api: Api<DynamicObject> = if object.kind == "node" {
            Api::all_with(cluster.client(), &resource)
        } else {
            Api::namespaced_with(cluster.client(), namespace, &resource)
        };
        let config = watcher::Config::default().fields(&format!("metadata.name={}", object.name));
        let follow = Follow { name, clock, to: to.clone() };
        let index = *index;
        tokio::spawn(follow.one(api, config, move |object| {
            Seen::State(clock.now(), index, object.and_then(|object| serde_json::to_value(object).ok()))
        }));
    }
    names
}

/// API group and version of the kinds that a hypothesis may name.
pub(super) fn resource_of(kind: &str) -> Option<ApiResource> {
    let (group, version, kind, plural) = match kind {
        "deployment" => ("apps", "v1", "Deployment", "deployments"),
        "statefulset" => ("apps", "v1", "StatefulSet", "statefulsets"),
        "daemonset" => ("apps", "v1", "DaemonSet", "daemonsets"),
        "replicaset" => ("apps", "v1", "ReplicaSet", "replicasets"),
        "pod" => ("", "v1", "Pod", "pods"),
        "node" => ("", "v1", "Node", "nodes"),
        "poddisruptionbudget" => ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
        _ => return None,
    };
    Some(ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural))
}

struct Follow {
    name: String,
    clock: Clock,
    to: UnboundedSender<Seen>,
}

impl Follow {
    /// Follows a kind of object and sends what changed in the fields that `boil` keeps.
    async fn run<K>(self, api: Api<K>, config: watcher::Config, boil: fn(&K) -> Vec<Line>)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
        K::DynamicType: Default,
    {
        let mut stream = std::pin::pin!(watcher(api, config).backoff(back_off()));
        let mut known = Known::default();
        let mut blind = false;
        loop {
            let next = tokio::select! {
                biased;
                next = stream.next() => next,
                () = self.to.closed() => return,
            };
            let Some(next) = next else { return };
            let at = self.clock.now();
            let lines = match next {
                Err(_) => {
                    self.broke(at, &mut blind);
                    continue;
                }
                Ok(watcher::Event::Init) => {
                    known.relist = Some(BTreeSet::new());
                    Vec::new()
                }
                Ok(watcher::Event::InitDone) => {
                    let gone = known.listed();
                    if !known.synced {
                        known.synced = true;
                        self.send(Seen::Synced(self.name.clone()));
                    }
                    gone
                }
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                    known.apply(&object, boil(&object))
                }
                Ok(watcher::Event::Delete(object)) => known.delete(&object.uid().unwrap_or_default()),
            };
            self.back(at, &mut blind);
            for what in lines {
                self.send(Seen::Object(at, Box::new(what)));
            }
        }
    }

    /// Follows one object and sends what `told` makes of each of its states; of `None` when it is not there.
    async fn one<K>(self, api: Api<K>, config: watcher::Config, told: impl Fn(Option<K>) -> Seen)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let mut stream = std::pin::pin!(watcher(api, config).backoff(back_off()));
        let (mut blind, mut synced, mut found) = (false, false, false);
        loop {
            let next = tokio::select! {
                biased;
                next = stream.next() => next,
                () = self.to.closed() => return,
            };
            let Some(next) = next else { return };
            let at = self.clock.now();
            match next {
                Err(_) => {
                    self.broke(at, &mut blind);
                    continue;
                }
                Ok(watcher::Event::Init) => found = false,
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                    found = true;
                    self.send(told(Some(object)));
                }
                Ok(watcher::Event::InitDone) => {
                    if !found {
                        self.send(told(None));
                    }
                    if !synced {
                        synced = true;
                        self.send(Seen::Synced(self.name.clone()));
                    }
                }
                Ok(watcher::Event::Delete(_)) => self.send(told(None)),
            }
            self.back(at, &mut blind);
        }
    }

    fn broke(&self, at: Micros, blind: &mut bool) {
        if !*blind {
            *blind = true;
            self.send(Seen::Blind(at, self.name.clone()));
        }
    }

    fn back(&self, at: Micros, blind: &mut bool) {
        if *blind {
            *blind = false;
            self.send(Seen::Back(at, self.name.clone()));
        }
    }

    fn send(&self, seen: Seen) {
        // The receiver is gone when the run is over.
        let _closed = self.to.send(seen);
    }
}

/// Kind and name of a line.
type Key = (&'static str, Box<str>);

/// An object as last seen: its namespace, and its lines by their keys.
type Lines = (Box<str>, Box<[(Key, State)]>);

/// Each object as last seen, by UID.
#[derive(Default)]
struct Known {
    objects: BTreeMap<String, Lines>,
    /// UIDs seen in the list that is going on.
    relist: Option<BTreeSet<String>>,
    synced: bool,
}

impl Known {
    fn apply<K: Resource>(&mut self, object: &K, lines: Vec<Line>) -> Vec<What> {
        let uid = object.meta().uid.clone().unwrap_or_default();
        let namespace = object.meta().namespace.clone().unwrap_or_default();
        let first_list = !self.synced;
        if let Some(relist) = &mut self.relist {
            relist.insert(uid.clone());
        }
        let (_, mut before) = self.objects.remove(&uid).unzip();
        let new_object = before.is_none();
        let before: Box<[(Key, State)]> = before.take().unwrap_or_default();
        let (mut now, mut changes) = (BTreeMap::new(), Vec::new());
        for Line { kind, name, state } in lines {
            let key: Key = (kind, name.as_str().into());
            let place = before.binary_search_by(|(known, _)| known.cmp(&key)).ok();
            now.insert(key, state.clone());
            let was = place.and_then(|place| before.get(place)).map(|(_, was)| was);
            let change = match was {
                None if first_list && new_object => Change::Seen,
                None => Change::Added,
                Some(was) if *was == state => continue,
                Some(_) => Change::Changed,
            };
            let detail = describe(was, &state);
            changes.push(What::Object {
                change,
                kind: kind.to_owned(),
                namespace: namespace.clone(),
                name,
                detail,
                state,
            });
        }
        let left = before.into_iter().filter(|(key, _)| !now.contains_key(key));
        changes.extend(left.map(|(key, state)| deleted(key, &namespace, state)));
        self.objects.insert(uid, (namespace.into(), now.into_iter().collect()));
        changes
    }

    fn delete(&mut self, uid: &str) -> Vec<What> {
        let Some((namespace, lines)) = self.objects.remove(uid) else { return Vec::new() };
        lines.into_iter().map(|(key, state)| deleted(key, &namespace, state)).collect()
    }

    /// A list is complete: what it did not show was deleted while nobody looked.
    fn listed(&mut self) -> Vec<What> {
        let Some(seen) = self.relist.take() else { return Vec::new() };
        let gone: Vec<String> = self.objects.keys().filter(|uid| !seen.contains(*uid)).cloned().collect();
        gone.iter().flat_map(|uid| self.delete(uid)).collect()
    }
}

fn deleted((kind, name): Key, namespace: &str, state: State) -> What {
    What::Object {
        change: Change::Deleted,
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.into(),
        detail: "deleted".to_owned(),
        state,
    }
}

/// What changed, in words: `ready true → false`; all fields where there was nothing before.
fn describe(before: Option<&State>, now: &State) -> String {
    if let (None, Some(reason), Some(message)) = (before, now.get("reason"), now.get("message")) {
        return format!("{reason}: {message}");
    }
    let field = |(key, value): (&str, &str)| match before.map(|b| b.get(key)) {
        None | Some(None) => Some(format!("{key} {value}")),
        Some(Some(old)) if old == value => None,
        Some(Some(old)) => Some(format!("{key} {old} → {value}")),
    };
    let mut parts: Vec<String> = now.iter().filter_map(field).collect();
    if let Some(before) = before {
        parts.extend(
            before.iter().filter(|(key, _)| now.get(key).is_none()).map(|(key, old)| format!("{key} {old} → none")),
        );
    }
    parts.join(", ")
}

fn state<const N: usize>(fields: [(&'static str, Option<String>); N]) -> State {
    fields.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn pod(pod: &Pod) -> Vec<Line> {
    let status = pod.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    let containers = status.container_statuses.unwrap_or_default();
    let restarts: i32 = containers.iter().map(|c| c.restart_count).sum();
    let waiting = containers.iter().find_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let fields = state([
        ("phase", status.phase),
        ("ready", Some(ready.to_string())),
        ("terminating", Some(pod.metadata.deletion_timestamp.is_some().to_string())),
        ("restarts", Some(restarts.to_string())),
        ("waiting", waiting),
        ("node", pod.spec.as_ref().and_then(|s| s.node_name.clone())),
    ]);
    vec![Line { kind: "pod", name: pod.name_any(), state: fields }]
}

fn endpoints(slice: &EndpointSlice) -> Vec<Line> {
    let ports = slice.ports.iter().flatten().filter(|port| port.protocol.as_deref().is_none_or(|p| p == "TCP"));
    let ports = ports.filter_map(|port| Some(format!("{}:{}", port.name.as_deref().unwrap_or_default(), port.port?)));
    let ports = ports.collect::<Vec<_>>().join(" ");
    let service = slice.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/service-name")).cloned();
    slice
        .endpoints
        .iter()
        .map(|endpoint| {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let address = endpoint.addresses.first().cloned().unwrap_or_default();
            let name = endpoint.target_ref.as_ref().and_then(|r| r.name.clone()).unwrap_or_else(|| address.clone());
            let fields = state([
                ("ready", conditions.ready.map(|c| c.to_string())),
                ("serving", conditions.serving.map(|c| c.to_string())),
                ("terminating", conditions.terminating.map(|c| c.to_string())),
                ("address", Some(address)),
                ("service", service.clone()),
                ("slice", slice.metadata.name.clone()),
                ("ports", Some(ports.clone())),
                ("node", endpoint.node_name.clone()),
            ]);
            Line { kind: "endpoint", name, state: fields }
        })
        .collect()
}

fn budget(budget: &PodDisruptionBudget) -> Vec<Line> {
    let status = budget.status.clone().unwrap_or_default();
    let fields = state([
        ("allowed", Some(status.disruptions_allowed.to_string())),
        ("healthy", Some(status.current_healthy.to_string())),
        ("desired", Some(status.desired_healthy.to_string())),
    ]);
    vec![Line { kind: "poddisruptionbudget", name: budget.name_any(), state: fields }]
}

fn event(event: &KubeEvent) -> Vec<Line> {
    let object = &event.involved_object;
    let about = format!(
        "{}/{}",
        object.kind.clone().unwrap_or_default().to_lowercase(),
        object.name.clone().unwrap_or_default()
    );
    let fields = state([
        ("reason", event.reason.clone()),
        ("type", event.type_.clone()),
        ("object", Some(about)),
        ("message", event.message.clone()),
    ]);
    vec![Line { kind: "event", name: event.name_any(), state: fields }]
}

fn node(node: &Node) -> Vec<Line> {
    let ready = node.status.iter().flat_map(|s| s.conditions.iter().flatten()).find(|c| c.type_ == "Ready");
    let spec = node.spec.clone().unwrap_or_default();
    let taints: Vec<String> = spec.taints.iter().flatten().map(|t| format!("{}:{}", t.key, t.effect)).collect();
    let fields = state([
        ("ready", ready.map(|c| c.status.clone())),
        ("cordoned", Some(spec.unschedulable.unwrap_or(false).to_string())),
        ("taints", (!taints.is_empty()).then(|| taints.join(" "))),
        ("zone", node.metadata.labels.as_ref().and_then(|l| l.get("topology.kubernetes.io/zone")).cloned()),
    ]);
    vec![Line { kind: "node", name: node.name_any(), state: fields }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_pod(uid: &str, ready: bool) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": "web-1", "namespace": "shop", "uid": uid },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
        }))
        .unwrap()
    }

    fn changes(whats: &[What]) -> Vec<(Change, String)> {
        whats
            .iter()
            .map(|what| match what {
                What::Object { change, detail, .. } => (*change, detail.clone()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn only_a_change_of_the_fields_that_matter_is_told() {
        let mut known = Known { synced: true, ..Known::default() };
        let first = a_pod("u1", true);
        assert_eq!(changes(&known.apply(&first, pod(&first)))[0].0, Change::Added);
        assert!(known.apply(&first, pod(&first)).is_empty());
        let second = a_pod("u1", false);
        assert_eq!(changes(&known.apply(&second, pod(&second))), [(Change::Changed, "ready true → false".to_owned())]);
    }

    #[test]
    fn what_a_new_list_does_not_show_was_deleted_meanwhile() {
        let mut known = Known::default();
        let (one, two) = (a_pod("u1", true), a_pod("u2", true));
        known.relist = Some(BTreeSet::new());
        assert_eq!(changes(&known.apply(&one, pod(&one)))[0].0, Change::Seen);
        known.apply(&two, pod(&two));
        assert!(known.listed().is_empty());
        known.synced = true;
        known.relist = Some(BTreeSet::new());
        known.apply(&two, pod(&two));
        assert_eq!(changes(&known.listed()), [(Change::Deleted, "deleted".to_owned())]);
    }

    #[test]
    fn an_endpoint_that_leaves_its_slice_is_deleted() {
        let slice = |addresses: &[&str]| -> EndpointSlice {
            let endpoints: Vec<_> = addresses
                .iter()
                .map(|a| serde_json::json!({ "addresses": [a], "conditions": { "ready": true, "serving": true, "terminating": false } }))
                .collect();
            serde_json::from_value(serde_json::json!({
                "metadata": { "name": "web-abc", "namespace": "shop", "uid": "s1", "labels": { "kubernetes.io/service-name": "web" } },
                "addressType": "IPv4", "endpoints": endpoints,
            }))
            .unwrap()
        };
        let mut known = Known { synced: true, ..Known::default() };
        let both = slice(&["10.0.0.1", "10.0.0.2"]);
        assert_eq!(known.apply(&both, endpoints(&both)).len(), 2);
        let one = slice(&["10.0.0.2"]);
        assert_eq!(changes(&known.apply(&one, endpoints(&one))), [(Change::Deleted, "deleted".to_owned())]);
    }
}
