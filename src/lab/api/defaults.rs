//! What the API server adds to an object that leaves it open: the defaults of its kind, and what admission puts in.

mod pods;
mod services;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::lab::store::KINDS;
use crate::lab::world::World;

/// Adds what the object leaves open. What it says stays. Of a new object and of one that is written again alike.
pub(in crate::lab) fn apply(world: &mut World, kind: usize, json: &mut Value) {
    let kind = &KINDS[kind];
    match kind.kind {
        "Pod" => pods::pod(world, json),
        "Namespace" => namespace(json),
        "Service" => services::service(world, json),
        "Secret" => secret(json),
        "PersistentVolume" | "PersistentVolumeClaim" => volume(kind.kind, json),
        "PriorityClass" => fill(json, "preemptionPolicy", "PreemptLowerPriority"),
        "StorageClass" => {
            fill(json, "reclaimPolicy", "Delete");
            fill(json, "volumeBindingMode", "Immediate");
        }
        _ => {
            if let Some(spec) = json.get_mut("spec").filter(|spec| spec.is_object()) {
                spec_of(kind.kind, spec);
            }
        }
    }
}

/// The defaults that lie in the spec alone.
fn spec_of(kind: &str, spec: &mut Value) {
    match kind {
        "Deployment" => deployment(spec),
        "ReplicaSet" => fill(spec, "replicas", 1),
        "StatefulSet" => stateful_set(spec),
        "DaemonSet" => daemon_set(spec),
        "Job" => job(spec),
        "CronJob" => cron_job(spec),
        "HorizontalPodAutoscaler" => autoscaler(spec),
        "NetworkPolicy" => network_policy(spec),
        _ => {}
    }
    if let Some(template) = spec.pointer_mut("/template/spec") {
        pods::spec(template);
    }
}

/// Sets a field that is missing, or null.
fn fill(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Value::Object(fields) = object {
        let field = fields.entry(key).or_insert(Value::Null);
        if field.is_null() {
            *field = value.into();
        }
    }
}

/// The elements of a list of an object.
fn each<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

fn is_text(object: &Value, key: &str, text: &str) -> bool {
    object.get(key).and_then(Value::as_str) == Some(text)
}

fn deployment(spec: &mut Value) {
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
    fill(spec, "strategy", json!({}));
    fill(&mut spec["strategy"], "type", "RollingUpdate");
    if is_text(&spec["strategy"], "type", "RollingUpdate") {
        fill(&mut spec["strategy"], "rollingUpdate", json!({}));
        fill(&mut spec["strategy"]["rollingUpdate"], "maxUnavailable", "25%");
        fill(&mut spec["strategy"]["rollingUpdate"], "maxSurge", "25%");
    }
}

fn stateful_set(spec: &mut Value) {
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "podManagementPolicy", "OrderedReady");
    fill(spec, "updateStrategy", json!({}));
    fill(&mut spec["updateStrategy"], "type", "RollingUpdate");
    if is_text(&spec["updateStrategy"], "type", "RollingUpdate") {
        fill(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
        fill(&mut spec["updateStrategy"]["rollingUpdate"], "partition", 0);
    }
    fill(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    fill(&mut spec["persistentVolumeClaimRetentionPolicy"], "whenDeleted", "Retain");
    fill(&mut spec["persistentVolumeClaimRetentionPolicy"], "whenScaled", "Retain");
    for claim in each(spec, "volumeClaimTemplates") {
        volume("PersistentVolumeClaim", claim);
    }
}

fn daemon_set(spec: &mut Value) {
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "updateStrategy", json!({}));
    fill(&mut spec["updateStrategy"], "type", "RollingUpdate");
    if is_text(&spec["updateStrategy"], "type", "RollingUpdate") {
        fill(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
        fill(&mut spec["updateStrategy"]["rollingUpdate"], "maxUnavailable", 1);
        fill(&mut spec["updateStrategy"]["rollingUpdate"], "maxSurge", 0);
    }
}

fn job(spec: &mut Value) {
    let open = |key: &str| spec.get(key).is_none_or(Value::is_null);
    // A Job that only says how many may run at once ends with the first that succeeds.
    if open("completions") && open("parallelism") {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    fill(spec, "backoffLimit", 6);
    fill(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    fill(spec, "podReplacementPolicy", "TerminatingOrFailed");
}

fn cron_job(spec: &mut Value) {
    fill(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", false);
    fill(spec, "successfulJobsHistoryLimit", 3);
    fill(spec, "failedJobsHistoryLimit", 1);
    if let Some(template) = spec.pointer_mut("/jobTemplate/spec/template/spec") {
        pods::spec(template);
    }
}

fn autoscaler(spec: &mut Value) {
    fill(spec, "minReplicas", 1);
    let target = json!({"type": "Utilization", "averageUtilization": 80});
    fill(spec, "metrics", json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
}

fn network_policy(spec: &mut Value) {
    let has_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    fill(spec, "policyTypes", if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    for direction in ["ingress", "egress"] {
        for rule in each(spec, direction) {
            each(rule, "ports").for_each(|port| fill(port, "protocol", "TCP"));
        }
    }
}

fn namespace(json: &mut Value) {
    let name = json.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    fill(json, "spec", json!({}));
    fill(&mut json["spec"], "finalizers", json!(["kubernetes"]));
    fill(json, "status", json!({}));
    fill(&mut json["status"], "phase", "Active");
    fill(&mut json["metadata"], "labels", json!({}));
    // The label is the server's own: whatever a manifest says, it is the name.
    json["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
}

fn secret(json: &mut Value) {
    fill(json, "type", "Opaque");
    let plain = json.as_object_mut().and_then(|secret| secret.remove("stringData"));
    let Some(Value::Object(plain)) = plain else { return };
    fill(json, "data", Map::new());
    for (key, text) in plain {
        json["data"][key] = STANDARD.encode(text.as_str().unwrap_or_default()).into();
    }
}

fn volume(kind: &str, json: &mut Value) {
    if kind == "PersistentVolume" && json["spec"].is_object() {
        fill(&mut json["spec"], "persistentVolumeReclaimPolicy", "Retain");
    }
    if json["spec"].is_object() {
        fill(&mut json["spec"], "volumeMode", "Filesystem");
    }
    fill(json, "status", json!({}));
    fill(&mut json["status"], "phase", "Pending");
}
