//! What the server says of its own API, as far as clients look before they send something: which parameters a patch takes.
//!
//! The fields of the kinds are not described: `kubectl explain` finds none, and manifests are checked by the server, which is where they
//! should be (`fieldValidation`).

use serde_json::{Map, Value, json};

use super::discovery::groups;
use crate::lab::VERSION;
use crate::lab::store::{KINDS, Kind};

/// The parameters of a patch that clients ask for by name.
const PARAMETERS: [&str; 4] = ["dryRun", "fieldManager", "fieldValidation", "force"];

/// The group's versions, by their paths.
fn versions() -> Vec<String> {
    let groups = groups().into_iter().map(|(group, version)| format!("apis/{group}/{version}"));
    std::iter::once("api/v1".to_owned()).chain(groups).collect()
}

/// The paths at which something is served.
pub(super) fn paths() -> Vec<String> {
    let mut all = vec!["/api".to_owned(), "/apis".to_owned()];
    all.extend(versions().into_iter().map(|path| format!("/{path}")));
    all.extend(["/healthz", "/livez", "/metrics", "/openapi/v3", "/readyz", "/version"].map(ToOwned::to_owned));
    all.sort();
    all
}

/// What is described, and where.
pub(super) fn index() -> Value {
    let path = |path: String| {
        let at = format!("/openapi/v3/{path}?hash={VERSION}");
        (path, json!({"serverRelativeURL": at}))
    };
    json!({"paths": versions().into_iter().map(path).collect::<Map<_, _>>()})
}

/// The description of a group's version.
pub(super) fn of(group: &str, version: &str) -> Value {
    let kinds = KINDS.iter().filter(|kind| kind.group == group && kind.version == version);
    let paths: Map<String, Value> = kinds.map(|kind| (place(kind), patch(kind))).collect();
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": VERSION}, "paths": paths, "components": {"schemas": {}},
    })
}

fn place(kind: &Kind) -> String {
    let api = if kind.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", kind.api_version()) };
    let within = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    format!("{api}{within}/{}/{{name}}", kind.plural)
}

fn patch(kind: &Kind) -> Value {
    let parameter = |name: &&str| {
        let of = if *name == "force" { "boolean" } else { "string" };
        json!({"name": name, "in": "query", "schema": {"type": of, "uniqueItems": true}})
    };
    let parameters: Vec<Value> = PARAMETERS.iter().map(parameter).collect();
    json!({"patch": {
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}, "201": {"description": "Created"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    }})
}
