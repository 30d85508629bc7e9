//! Tables: objects as the columns in which `kubectl get` shows them.
//!
//! Which columns a kind has, and what stands in them, is the server's affair: programs print what they are given.

mod age;
mod columns;
mod pods;
mod storage;
mod workloads;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use self::columns::columns;
use super::query::Include;
use super::scale;
use crate::lab::store::{KINDS, Kind, Object, named};

/// Stands for what is not there.
const NONE: &str = "<none>";
const UNSET: &str = "<unset>";

/// An object of which a row is made.
struct Shown<'a> {
    json: &'a Value,
    now: Timestamp,
}

fn whole(rows: &[Value], columns: &Value, metadata: &Value) -> Value {
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows,
    })
}

/// A table of one object, of whatever kind it says that it is. `header`: with its columns, which a watch tells only once.
pub(super) fn of_one(json: &Value, include: Include, now: Timestamp, header: bool) -> Value {
    let text = |field: &str| json.get(field).and_then(Value::as_str).unwrap_or_default();
    let metadata = json!({"resourceVersion": json["metadata"]["resourceVersion"]});
    let Some(kind) = named(text("apiVersion"), text("kind")) else { return json.clone() };
    let kind = &KINDS[kind];
    let columns = if header { columns(kind) } else { Value::Null };
    whole(&[row(kind, json, include, now)], &columns, &metadata)
}

/// The objects of a list, in its order.
pub(super) fn of_list(
    kind: &Kind,
    objects: &[&std::sync::Arc<Object>],
    metadata: &Value,
    include: Include,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects.iter().map(|object| row(kind, &object.json(), include, now)).collect();
    whole(&rows, &columns(kind), metadata)
}

fn row(kind: &Kind, json: &Value, include: Include, now: Timestamp) -> Value {
    let shown = Shown { json, now };
    let mut row = json!({"cells": cells(kind, &shown)});
    match include {
        Include::Nothing => row["object"] = Value::Null,
        Include::Metadata => {
            row["object"] = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": json["metadata"],
            });
        }
        Include::Object => row["object"] = json.clone(),
    }
    if let Some(condition) = pods::over(kind, json) {
        row["conditions"] = json!([condition]);
    }
    row
}

fn cells(kind: &Kind, shown: &Shown<'_>) -> Value {
    match kind.kind {
        "Pod" => pods::cells(shown),
        "Deployment" => workloads::deployment(shown),
        "ReplicaSet" => workloads::replica_set(shown),
        "StatefulSet" => workloads::stateful_set(shown),
        "DaemonSet" => workloads::daemon_set(shown),
        "ControllerRevision" => workloads::revision(shown),
        "Job" => workloads::job(shown),
        "CronJob" => workloads::cron_job(shown),
        "PodDisruptionBudget" => workloads::budget(shown),
        "HorizontalPodAutoscaler" => workloads::autoscaler(shown),
        "PersistentVolume" => storage::volume(shown),
        "PersistentVolumeClaim" => storage::claim(shown),
        "StorageClass" => storage::class(shown),
        "Node" => node(shown),
        "Service" => service(shown),
        "EndpointSlice" => slice(shown),
        "Event" => event(shown),
        "Ingress" => ingress(shown),
        "Namespace" => json!([shown.name(), shown.text("/status/phase"), shown.age()]),
        "ConfigMap" => json!([shown.name(), shown.size("/data") + shown.size("/binaryData"), shown.age()]),
        "Secret" => json!([shown.name(), shown.text("/type"), shown.size("/data"), shown.age()]),
        "ServiceAccount" => json!([shown.name(), shown.size("/secrets"), shown.age()]),
        "Lease" => json!([shown.name(), shown.text("/spec/holderIdentity"), shown.age()]),
        "PriorityClass" => json!([
            shown.name(),
            shown.number("/value"),
            shown.flag("/globalDefault"),
            shown.age(),
            shown.text("/preemptionPolicy"),
        ]),
        "NetworkPolicy" => json!([shown.name(), shown.selector("/spec/podSelector"), shown.age()]),
        "Role" | "ClusterRole" => json!([shown.name(), shown.text("/metadata/creationTimestamp")]),
        "RoleBinding" | "ClusterRoleBinding" => binding(shown),
        _ => json!([shown.name(), shown.age()]),
    }
}

impl Shown<'_> {
    fn at(&self, pointer: &str) -> &Value {
        self.json.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    /// The same, or what stands for nothing.
    fn text_or<'a>(&'a self, pointer: &str, none: &'a str) -> &'a str {
        Some(self.text(pointer)).filter(|text| !text.is_empty()).unwrap_or(none)
    }

    fn number(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or(0)
    }

    fn flag(&self, pointer: &str) -> bool {
        self.at(pointer).as_bool().unwrap_or(false)
    }

    fn list(&self, pointer: &str) -> &[Value] {
        self.at(pointer).as_array().map_or(&[], Vec::as_slice)
    }

    /// How many entries a map or a list has.
    fn size(&self, pointer: &str) -> usize {
        let value = self.at(pointer);
        value.as_object().map_or(0, serde_json::Map::len) + value.as_array().map_or(0, Vec::len)
    }

    fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    fn age(&self) -> String {
        age::since(self.text("/metadata/creationTimestamp"), self.now)
    }

    fn is_leaving(&self) -> bool {
        !self.at("/metadata/deletionTimestamp").is_null()
    }

    /// Labels as `key=value,…`.
    fn labels(&self, pointer: &str) -> String {
        let labels = self.at(pointer).as_object().into_iter().flatten();
        let labels: Vec<String> =
            labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
        if labels.is_empty() { NONE.to_owned() } else { labels.join(",") }
    }

    /// A selector of labels as `kubectl -l` takes it.
    fn selector(&self, pointer: &str) -> String {
        let selector = serde_json::from_value(self.at(pointer).clone()).unwrap_or_default();
        scale::in_words(selector).filter(|text| !text.is_empty()).unwrap_or_else(|| NONE.to_owned())
    }

    /// Names and images of the containers of a pod's spec.
    fn containers(&self, spec: &str) -> [String; 2] {
        let containers = self.list(&format!("{spec}/containers"));
        ["name", "image"].map(|field| {
            containers
                .iter()
                .map(|container| container[field].as_str().unwrap_or_default())
                .collect::<Vec<_>>()
                .join(",")
        })
    }

    /// Whether a condition is true.
    fn is(&self, condition: &str) -> bool {
        self.list("/status/conditions").iter().any(|is| is["type"] == condition && is["status"] == "True")
    }
}

/// The first so many of a list, and how many more there are.
fn some_of(all: &[String], most: usize) -> String {
    let shown = all.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(",");
    if all.len() > most { format!("{shown} + {} more...", all.len() - most) } else { shown }
}

fn node(shown: &Shown<'_>) -> Value {
    const ROLE: &str = "node-role.kubernetes.io/";
    let ready = shown.list("/status/conditions").iter().find(|condition| condition["type"] == "Ready");
    let mut status = match ready {
        None => "Unknown".to_owned(),
        Some(ready) if ready["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
    };
    if shown.flag("/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let labels = shown.at("/metadata/labels").as_object().into_iter().flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(key, value)| match key.as_str() {
            "kubernetes.io/role" => value.as_str(),
            key => key.strip_prefix(ROLE),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    let roles = if roles.is_empty() { NONE.to_owned() } else { roles.join(",") };
    let address = |of: &str| {
        let found = shown.list("/status/addresses").iter().find(|address| address["type"] == of);
        found.and_then(|address| address["address"].as_str()).unwrap_or(NONE)
    };
    let info = |field: &str| shown.text_or(&format!("/status/nodeInfo/{field}"), "<unknown>").to_owned();
    json!([
        shown.name(),
        status,
        roles,
        shown.age(),
        shown.text("/status/nodeInfo/kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ])
}

fn service(shown: &Shown<'_>) -> Value {
    let words = |pointer: &str, field: &str| -> Vec<String> {
        let of = |one: &Value| if field.is_empty() { one.as_str() } else { one[field].as_str() }.map(ToOwned::to_owned);
        shown.list(pointer).iter().filter_map(of).collect()
    };
    let kind = shown.text("/spec/type");
    let mut external = words("/spec/externalIPs", "");
    let none = if kind == "LoadBalancer" { "<pending>" } else { NONE };
    if kind == "LoadBalancer" {
        let balancers = shown.list("/status/loadBalancer/ingress");
        let first = |one: &Value| one["ip"].as_str().or_else(|| one["hostname"].as_str()).map(ToOwned::to_owned);
        external.splice(0..0, balancers.iter().filter_map(first));
    }
    let external = match (kind, external.is_empty()) {
        ("ExternalName", _) => shown.text("/spec/externalName").to_owned(),
        (_, true) => none.to_owned(),
        (_, false) => external.join(","),
    };
    let port = |port: &Value| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        match port["nodePort"].as_i64().filter(|node_port| *node_port > 0) {
            Some(node_port) => format!("{}:{node_port}/{protocol}", port["port"]),
            None => format!("{}/{protocol}", port["port"]),
        }
    };
    let ports: Vec<String> = shown.list("/spec/ports").iter().map(port).collect();
    let ports = if ports.is_empty() { NONE.to_owned() } else { ports.join(",") };
    let internal = shown.text_or("/spec/clusterIP", NONE);
    json!([shown.name(), kind, internal, external, ports, shown.age(), shown.labels("/spec/selector")])
}

fn slice(shown: &Shown<'_>) -> Value {
    let port = |port: &Value| port["port"].as_i64().map_or_else(|| "*".to_owned(), |port| port.to_string());
    let ports: Vec<String> = shown.list("/ports").iter().map(port).collect();
    let addresses = shown.list("/endpoints").iter().filter_map(|endpoint| endpoint["addresses"].as_array()).flatten();
    let addresses: Vec<String> = addresses.filter_map(|address| address.as_str().map(ToOwned::to_owned)).collect();
    let of = |all: &[String]| if all.is_empty() { UNSET.to_owned() } else { some_of(all, 3) };
    json!([shown.name(), shown.text("/addressType"), of(&ports), of(&addresses), shown.age()])
}

fn event(shown: &Shown<'_>) -> Value {
    let since = |pointer: &str| age::since(shown.text(pointer), shown.now);
    let has = |pointer: &str| !shown.text(pointer).is_empty();
    let first = since(if has("/firstTimestamp") { "/firstTimestamp" } else { "/eventTime" });
    let last = if has("/lastTimestamp") { since("/lastTimestamp") } else { first.clone() };
    let (last, count) = match shown.number("/series/count") {
        0 => (last, shown.number("/count").max(1)),
        count => (since("/series/lastObservedTime"), count),
    };
    let kind = shown.text("/involvedObject/kind").to_lowercase();
    let object = match shown.text("/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let component = shown.text_or("/source/component", shown.text("/reportingComponent"));
    let host = shown.text_or("/source/host", shown.text("/reportingInstance"));
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    json!([
        last,
        shown.text("/type"),
        shown.text("/reason"),
        object,
        shown.text("/involvedObject/fieldPath"),
        source,
        shown.text("/message").trim(),
        first,
        count,
        shown.name(),
    ])
}

fn ingress(shown: &Shown<'_>) -> Value {
    let hosts = shown.list("/spec/rules").iter().filter_map(|rule| rule["host"].as_str());
    let hosts: Vec<String> = hosts.filter(|host| !host.is_empty()).map(ToOwned::to_owned).collect();
    let hosts = if hosts.is_empty() { "*".to_owned() } else { some_of(&hosts, 3) };
    let address = |one: &Value| one["ip"].as_str().or_else(|| one["hostname"].as_str()).map(ToOwned::to_owned);
    let addresses: Vec<String> = shown.list("/status/loadBalancer/ingress").iter().filter_map(address).collect();
    let ports = if shown.list("/spec/tls").is_empty() { "80" } else { "80, 443" };
    let class = shown.text_or("/spec/ingressClassName", NONE);
    json!([shown.name(), class, hosts, addresses.join(","), ports, shown.age()])
}

fn binding(shown: &Shown<'_>) -> Value {
    let role = format!("{}/{}", shown.text("/roleRef/kind"), shown.text("/roleRef/name"));
    let subjects = |kind: &str| {
        let all = shown.list("/subjects").iter().filter(|subject| subject["kind"] == kind);
        let text = |subject: &Value, field: &str| subject[field].as_str().unwrap_or_default().to_owned();
        let names = all.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", text(subject, "namespace"), text(subject, "name")),
            _ => text(subject, "name"),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    json!([shown.name(), role, shown.age(), subjects("User"), subjects("Group"), subjects("ServiceAccount")])
}
