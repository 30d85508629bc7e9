//! What makes an object invalid, in the words that its writer is told.

mod pods;
mod workloads;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Map, Value};

use super::names;
use crate::lab::store::{Kind, Refused};
use crate::lab::world::World;

/// What the annotations of an object may take together.
const ANNOTATIONS: usize = 256 * 1024;
/// What the data of a ConfigMap or Secret may take.
const DATA: usize = 1024 * 1024;

/// Field and reason of everything that is wrong.
#[derive(Debug, Default)]
pub(super) struct Causes(Vec<(String, String)>);

impl Causes {
    fn add(&mut self, field: &str, why: impl Into<String>) {
        self.0.push((field.to_owned(), why.into()));
    }

    fn invalid(&mut self, field: &str, value: &Value, why: &str) {
        self.add(field, format!("Invalid value: {value}: {why}"));
    }

    fn required(&mut self, field: &str, why: &str) {
        self.add(field, if why.is_empty() { "Required value".to_owned() } else { format!("Required value: {why}") });
    }

    fn forbidden(&mut self, field: &str, why: &str) {
        self.add(field, format!("Forbidden: {why}"));
    }

    fn duplicate(&mut self, field: &str, value: &Value) {
        self.add(field, format!("Duplicate value: {value}"));
    }

    /// Has a text be one of those that there are.
    fn one_of(&mut self, field: &str, value: &Value, known: &[&str]) {
        if value.as_str().is_some_and(|value| known.contains(&value)) || value.is_null() {
            return;
        }
        let known: Vec<String> = known.iter().map(|known| format!("{known:?}")).collect();
        self.add(field, format!("Unsupported value: {value}: supported values: {}", known.join(", ")));
    }

    /// Has a number be no less than it may, where it is there.
    fn at_least(&mut self, field: &str, value: &Value, least: i64) {
        if value.as_i64().is_some_and(|number| number < least) {
            let why = if least == 1 {
                "must be greater than 0".to_owned()
            } else {
                format!("must be greater than or equal to {least}")
            };
            self.invalid(field, value, &why);
        }
    }

    fn port(&mut self, field: &str, value: &Value) {
        match value.as_i64() {
            Some(1..=65_535) => {}
            None | Some(0) => self.required(field, ""),
            Some(_) => self.invalid(field, value, "must be between 1 and 65535, inclusive"),
        }
    }

    fn verdict(self, kind: &Kind, name: &str) -> Result<(), Refused> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut refused = Refused::invalid(kind, name, &self.0);
        for (cause, (_, why)) in refused.details["causes"].as_array_mut().into_iter().flatten().zip(&self.0) {
            cause["reason"] = reason(why).into();
        }
        Err(refused)
    }
}

/// The machine's word for what a message begins with.
fn reason(why: &str) -> &'static str {
    match why.split(':').next().unwrap_or_default() {
        "Required value" => "FieldValueRequired",
        "Unsupported value" => "FieldValueNotSupported",
        "Duplicate value" => "FieldValueDuplicate",
        "Forbidden" => "FieldValueForbidden",
        "Not found" => "FieldValueNotFound",
        "Too long" => "FieldValueTooLong",
        _ => "FieldValueInvalid",
    }
}

/// Checks a new object.
///
/// # Errors
///
/// Invalid.
pub(super) fn created(world: &World, kind: &Kind, json: &Value) -> Result<(), Refused> {
    let mut causes = Causes::default();
    let text = |field: &str| json["metadata"][field].as_str().unwrap_or_default();
    let (name, prefix) = (text("name"), text("generateName"));
    if name.is_empty() && prefix.is_empty() {
        causes.required("metadata.name", "name or generateName is required");
    } else if name.is_empty() {
        if let Some(why) = names::object(kind.kind, &format!("{prefix}00000")) {
            causes.invalid("metadata.generateName", &prefix.into(), &why);
        }
    } else if let Some(why) = names::object(kind.kind, name) {
        causes.invalid("metadata.name", &name.into(), &why);
    }
    metadata(&mut causes, json);
    body(&mut causes, kind, json);
    if kind.kind == "Service" {
        address(&mut causes, world, json);
    }
    causes.verdict(kind, name)
}

/// Checks what is written in the place of an object.
///
/// # Errors
///
/// Invalid.
pub(super) fn updated(kind: &Kind, json: &Value, before: &Value) -> Result<(), Refused> {
    let mut causes = Causes::default();
    metadata(&mut causes, json);
    finalizers(&mut causes, json, before);
    body(&mut causes, kind, json);
    match kind.kind {
        "Pod" => pods::updated(&mut causes, &json["spec"], &before["spec"]),
        "ConfigMap" | "Secret" => immutable(&mut causes, json, before),
        "Service" => {
            let was = &before["spec"]["clusterIP"];
            let keeps = json["spec"]["type"] != "ExternalName" && !matches!(was.as_str(), None | Some(""));
            if keeps && json["spec"]["clusterIP"] != *was {
                causes.invalid("spec.clusterIPs[0]", &json["spec"]["clusterIP"], "may not change once set");
            }
        }
        _ => workloads::updated(&mut causes, kind.kind, &json["spec"], &before["spec"]),
    }
    let name = json["metadata"]["name"].as_str().unwrap_or_default();
    causes.verdict(kind, name)
}

/// Checks a number of replicas.
///
/// # Errors
///
/// Invalid.
pub(super) fn scale(name: &str, replicas: i32) -> Result<(), Refused> {
    if replicas >= 0 {
        return Ok(());
    }
    let why = format!("Invalid value: {replicas}: must be greater than or equal to 0");
    let details = serde_json::json!({
        "name": name, "group": "autoscaling", "kind": "Scale",
        "causes": [{"reason": "FieldValueInvalid", "message": why, "field": "spec.replicas"}],
    });
    let message = format!("Scale.autoscaling \"{name}\" is invalid: spec.replicas: {why}");
    Err(Refused { details, ..Refused::new(422, "Invalid", message) })
}

fn metadata(causes: &mut Causes, json: &Value) {
    let meta = &json["metadata"];
    labels(causes, "metadata.labels", &meta["labels"]);
    let none = Map::new();
    let annotations = meta["annotations"].as_object().unwrap_or(&none);
    let mut size = 0;
    for (key, value) in annotations {
        size += key.len() + value.as_str().unwrap_or_default().len();
        if let Some(why) = names::qualified(&key.to_lowercase()) {
            causes.invalid("metadata.annotations", &key.as_str().into(), &why);
        }
    }
    if size > ANNOTATIONS {
        causes.add("metadata.annotations", format!("Too long: may not be more than {ANNOTATIONS} bytes"));
    }
    for finalizer in meta["finalizers"].as_array().into_iter().flatten() {
        if let Some(why) = names::qualified(finalizer.as_str().unwrap_or_default()) {
            causes.invalid("metadata.finalizers", finalizer, &why);
        }
    }
}

/// Checks labels, of an object or of a template.
fn labels(causes: &mut Causes, field: &str, labels: &Value) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(why) = names::qualified(key) {
            causes.invalid(field, &key.as_str().into(), &why);
        }
        if let Some(why) = names::label_value(value.as_str().unwrap_or_default()) {
            causes.invalid(field, value, &why);
        }
    }
}

fn finalizers(causes: &mut Causes, json: &Value, before: &Value) {
    if before["metadata"].get("deletionTimestamp").is_none() {
        return;
    }
    let all = |json: &Value| json["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let old = all(before);
    let new: Vec<String> =
        all(json).iter().filter(|finalizer| !old.contains(finalizer)).map(ToString::to_string).collect();
    if !new.is_empty() {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            new.join(", ")
        );
        causes.forbidden("metadata.finalizers", &why);
    }
}

fn body(causes: &mut Causes, kind: &Kind, json: &Value) {
    let spec = &json["spec"];
    match kind.kind {
        "Pod" => pods::spec(causes, "spec", spec),
        "Service" => service(causes, spec),
        "ConfigMap" | "Secret" => data(causes, json),
        "Node" => taints(causes, spec),
        _ => workloads::spec(causes, kind.kind, spec),
    }
}

fn data(causes: &mut Causes, json: &Value) {
    let mut size = 0;
    for part in ["data", "binaryData"] {
        for (key, value) in json[part].as_object().into_iter().flatten() {
            size += value.as_str().unwrap_or_default().len();
            if let Some(why) = names::config_key(key) {
                causes.invalid(&format!("{part}[{key}]"), &key.as_str().into(), &why);
            }
        }
    }
    if size > DATA {
        causes.add("", format!("Too long: may not be more than {DATA} bytes"));
    }
}

fn immutable(causes: &mut Causes, json: &Value, before: &Value) {
    if before["immutable"] != true {
        return;
    }
    for field in ["immutable", "data", "binaryData"] {
        if json.get(field) != before.get(field) {
            causes.forbidden(field, "field is immutable when `immutable` is set");
        }
    }
}

fn service(causes: &mut Causes, spec: &Value) {
    causes.one_of("spec.type", &spec["type"], &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    causes.one_of("spec.sessionAffinity", &spec["sessionAffinity"], &["ClientIP", "None"]);
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let headless = spec["clusterIP"] == "None";
    if ports.is_empty() && !headless && spec["type"] != "ExternalName" {
        causes.required("spec.ports", "");
    }
    for (number, port) in ports.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{number}].{name}");
        causes.port(&field("port"), &port["port"]);
        causes.one_of(&field("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        if port["targetPort"].is_i64() {
            causes.port(&field("targetPort"), &port["targetPort"]);
        }
        match port["name"].as_str() {
            None | Some("") if ports.len() > 1 => causes.required(&field("name"), ""),
            Some(name) if !name.is_empty() => {
                if let Some(why) = names::label(name) {
                    causes.invalid(&field("name"), &port["name"], &why);
                }
                if ports[..number].iter().any(|other| other["name"] == port["name"]) {
                    causes.duplicate(&field("name"), &port["name"]);
                }
            }
            _ => {}
        }
    }
    if spec["type"] == "ExternalName" && spec["externalName"].as_str().is_none_or(str::is_empty) {
        causes.required("spec.externalName", "");
    }
}

/// Refuses an address that another Service has.
fn address(causes: &mut Causes, world: &World, json: &Value) {
    let wanted = json["spec"]["clusterIP"].as_str().unwrap_or_default();
    let has = |service: &Service| service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some(wanted);
    if !matches!(wanted, "" | "None") && world.store.list::<Service>(None).any(|service| has(&service)) {
        let why = format!("failed to allocate IP {wanted}: provided IP is already allocated");
        causes.invalid("spec.clusterIPs", &json["spec"]["clusterIPs"], &why);
    }
}

fn taints(causes: &mut Causes, spec: &Value) {
    let taints = spec["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (number, taint) in taints.iter().enumerate() {
        let field = format!("metadata.taints[{number}]");
        if let Some(why) = names::qualified(taint["key"].as_str().unwrap_or_default()) {
            causes.invalid(&format!("{field}.key"), &taint["key"], &why);
        }
        causes.one_of(&format!("{field}.effect"), &taint["effect"], &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        let mut before = taints[..number].iter();
        if before.any(|other| other["key"] == taint["key"] && other["effect"] == taint["effect"]) {
            causes.duplicate(&field, taint);
        }
    }
}
