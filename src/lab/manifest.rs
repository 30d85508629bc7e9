//! Manifests, applied through the API server as `kubectl create` would.

use std::collections::BTreeSet;

use http::{Method, Request};
use serde_json::{Value, json};

use super::store::{KINDS, named};
use super::{Lab, api::Server};
use crate::cluster::explain;

/// What came of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Objects that are there now.
    pub objects: usize,
    /// Kinds that the lab has no model of, left out.
    pub skipped: BTreeSet<String>,
}

/// Why a manifest can't be applied.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(String);

impl Lab {
    /// Creates every object of a manifest: one or more YAML documents, `List`s too. Namespaces that it uses and does not bring are made.
    ///
    /// # Errors
    ///
    /// When it is no YAML, or the API server refuses an object: the objects before it are there then.
    pub async fn apply(&self, manifest: &str) -> Result<Applied, ManifestError> {
        let documents: Vec<Value> = serde_yaml::from_multiple(manifest).map_err(|e| ManifestError(e.to_string()))?;
        let mut objects = Vec::new();
        for document in documents {
            flatten(document, &mut objects);
        }
        // What others lie in, and what others are made for, comes first; the rest stays in its order.
        objects.sort_by_key(|object| match object["kind"].as_str() {
            Some("Namespace") => 0,
            Some("PriorityClass" | "StorageClass" | "PersistentVolume" | "ServiceAccount") => 1,
            _ => 2,
        });
        let client = kube::Client::new(Server::new(self.shared.clone()), "default");
        let mut applied = Applied::default();
        for object in objects {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (version, kind) = (text("/apiVersion"), text("/kind"));
            let Some(number) = named(&version, &kind) else {
                applied.skipped.insert(format!("{kind} ({version})"));
                continue;
            };
            let mut namespace = text("/metadata/namespace");
            if KINDS[number].namespaced {
                if namespace.is_empty() {
                    "default".clone_into(&mut namespace);
                }
                self.ensure_namespace(&namespace).await?;
            }
            create(&client, number, &namespace, &object).await?;
            applied.objects += 1;
        }
        Ok(applied)
    }

    /// Makes a namespace unless it is there.
    ///
    /// # Errors
    ///
    /// When its name is none.
    pub async fn ensure_namespace(&self, name: &str) -> Result<(), ManifestError> {
        let there =
            self.shared.read(|world| world.store.get::<k8s_openapi::api::core::v1::Namespace>("", name).is_some());
        if there {
            return Ok(());
        }
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let client = kube::Client::new(Server::new(self.shared.clone()), "default");
        let number = named("v1", "Namespace").unwrap_or_default();
        create(&client, number, "", &namespace).await
    }
}

fn flatten(document: Value, objects: &mut Vec<Value>) {
    if document.is_null() {
        return;
    }
    let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && document["items"].is_array();
    if is_list && let Some(items) = document["items"].as_array() {
        for item in items {
            flatten(item.clone(), objects);
        }
    } else {
        objects.push(document);
    }
}

async fn create(client: &kube::Client, number: usize, namespace: &str, object: &Value) -> Result<(), ManifestError> {
    let kind = &KINDS[number];
    let api = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    let place = if kind.namespaced { format!("/namespaces/{namespace}") } else { String::new() };
    let path = format!("{api}/{}{place}/{}?fieldValidation=Strict", kind.version, kind.plural);
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let which = format!("{}/{name}", kind.kind.to_lowercase());
    let failed = |why: String| ManifestError(format!("{which}: {why}"));
    let body = serde_json::to_vec(object).map_err(|e| failed(e.to_string()))?;
    let request = Request::builder().method(Method::POST).uri(path).header("content-type", "application/json");
    let request = request.body(body).map_err(|e| failed(e.to_string()))?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if kind.kind == "Namespace" && status.reason == "AlreadyExists" => Ok(()),
        Err(e) => Err(failed(explain(&e))),
    }
}
