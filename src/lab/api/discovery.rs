//! What the server says of itself: its health, its version, and what it serves.

use std::collections::BTreeMap;

use http::header::ACCEPT;
use http::request::Parts;
use serde_json::{Value, json};

use super::path::{REVIEWS, Route};
use super::{Answer, no_such_path, openapi};
use crate::lab::VERSION;
use crate::lab::store::{KINDS, Kind, Refused};

/// The verbs of a kind's objects.
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// What `kubectl get all` shows.
const ALL: [&str; 9] = [
    "Pod",
    "Service",
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "DaemonSet",
    "HorizontalPodAutoscaler",
    "Job",
    "CronJob",
];

/// Answers about the server.
///
/// # Errors
///
/// When the answer is wanted in a form that there is not.
pub(super) fn answer(route: &Route, parts: &Parts) -> Result<Answer, Refused> {
    let accept = parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = |one: &str| !one.contains("as=") && ["application/json", "*/*"].iter().any(|is| one.contains(is));
    if !accept.is_empty() && !accept.split(',').any(plain) {
        let message = "only the following media types are accepted: application/json";
        return Err(Refused::new(406, "NotAcceptable", message));
    }
    let json = match route {
        Route::Root => json!({"paths": openapi::paths()}),
        Route::Descriptions => openapi::index(),
        Route::Description(group, version) => openapi::of(group, version),
        Route::Health => return Ok(Answer::Text("ok".to_owned())),
        Route::Version => version(),
        Route::Versions => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "lab"}],
        }),
        Route::Groups => {
            let groups: Vec<Value> = groups().iter().map(|(group, version)| self::group(group, version)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        Route::Group(name) => {
            let all = groups();
            let version = all.get(name.as_str()).ok_or_else(no_such_path)?;
            let mut group = group(name, version);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        Route::Resources(group, version) => resources(group, version),
        Route::Metrics | Route::Review(..) | Route::Place(_) => return Err(no_such_path()),
    };
    Ok(Answer::Json(200, json))
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean", "buildDate": "",
        "goVersion": "", "compiler": "", "platform": "linux/amd64",
    })
}

/// The groups beside the core, with their versions.
pub(super) fn groups() -> BTreeMap<&'static str, &'static str> {
    let kept = KINDS.iter().filter(|kind| !kind.group.is_empty()).map(|kind| (kind.group, kind.version));
    kept.chain(REVIEWS.map(|group| (group, "v1"))).collect()
}

fn group(name: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resources(group: &str, version: &str) -> Value {
    let kinds = KINDS.iter().filter(|kind| kind.group == group && kind.version == version);
    let mut resources: Vec<Value> = kinds.flat_map(of_kind).collect();
    let reviews: &[&str] = match group {
        "authorization.k8s.io" => &["SelfSubjectAccessReview", "SelfSubjectRulesReview"],
        "authentication.k8s.io" => &["SelfSubjectReview"],
        _ => &[],
    };
    resources.extend(reviews.iter().map(|kind| {
        json!({
            "name": format!("{}s", kind.to_lowercase()), "singularName": kind.to_lowercase(), "namespaced": false,
            "kind": kind, "verbs": ["create"],
        })
    }));
    let whole = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": whole, "resources": resources})
}

fn of_kind(kind: &Kind) -> Vec<Value> {
    let mut resource = json!({
        "name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": VERBS,
    });
    if !kind.short.is_empty() {
        resource["shortNames"] = json!(kind.short);
    }
    if ALL.contains(&kind.kind) {
        resource["categories"] = json!(["all"]);
    }
    let part = |name: &str, group: &str, version: &str, of: &str, verbs: &[&str]| {
        let name = format!("{}/{name}", kind.plural);
        let mut part =
            json!({"name": name, "singularName": "", "namespaced": kind.namespaced, "kind": of, "verbs": verbs});
        if !group.is_empty() {
            part["group"] = group.into();
            part["version"] = version.into();
        }
        part
    };
    let mut all = vec![resource];
    if kind.kind == "Pod" {
        all.push(part("binding", "", "", "Binding", &["create"]));
        all.push(part("eviction", "policy", "v1", "Eviction", &["create"]));
    }
    let written = ["get", "patch", "update"];
    if kind.scale {
        all.push(part("scale", "autoscaling", "v1", "Scale", &written));
    }
    if kind.status {
        all.push(part("status", "", "", kind.kind, &written));
    }
    all
}
