//! Defaults of pods and of pod templates, and what admission adds to a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use super::{each, fill};
use crate::lab::api::quantity;
use crate::lab::world::World;

/// How long a pod stays on a node that is not ready or can't be reached, unless it says otherwise.
const TOLERATION_SECONDS: i64 = 300;
/// The classes that every cluster has.
const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
/// The lists of containers of a pod.
const CONTAINERS: [&str; 2] = ["initContainers", "containers"];

/// A pod's defaults, and what admission adds.
pub(super) fn pod(world: &World, json: &mut Value) {
    let Some(spec) = json.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    self::spec(spec);
    fill(spec, "enableServiceLinks", true);
    let account = spec.get("serviceAccount").and_then(Value::as_str).filter(|name| !name.is_empty());
    let account = account.unwrap_or("default").to_owned();
    fill(spec, "serviceAccountName", account);
    let account = spec["serviceAccountName"].clone();
    fill(spec, "serviceAccount", account);
    for list in CONTAINERS {
        each(spec, list).for_each(requests);
    }
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        host_ports(spec);
    }
    priority(world, spec);
    tolerate(spec);
    fill(json, "status", json!({}));
    fill(&mut json["status"], "phase", "Pending");
    let class = serde_json::from_value(json.clone()).map_or("BestEffort", |pod| quality(&pod));
    fill(&mut json["status"], "qosClass", class);
}

/// The defaults of a pod's spec, also of one in a template.
pub(super) fn spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    fill(spec, "restartPolicy", "Always");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "schedulerName", "default-scheduler");
    fill(spec, "securityContext", json!({}));
    for list in CONTAINERS {
        each(spec, list).for_each(container);
    }
    each(spec, "volumes").for_each(volume);
}

fn container(container: &mut Value) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let pull = if is_latest(image) { "Always" } else { "IfNotPresent" };
    fill(container, "imagePullPolicy", pull);
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    fill(container, "resources", json!({}));
    each(container, "ports").for_each(|port| fill(port, "protocol", "TCP"));
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name).filter(|probe| probe.is_object()) {
            self::probe(probe);
        }
    }
    for variable in each(container, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            fill(field, "apiVersion", "v1");
        }
    }
    for hook in ["/lifecycle/preStop/httpGet", "/lifecycle/postStart/httpGet"] {
        if let Some(get) = container.pointer_mut(hook) {
            http_get(get);
        }
    }
}

/// Whether an image's tag is `latest`, also where none is written; a digest is no tag.
fn is_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn probe(probe: &mut Value) {
    fill(probe, "timeoutSeconds", 1);
    fill(probe, "periodSeconds", 10);
    fill(probe, "successThreshold", 1);
    fill(probe, "failureThreshold", 3);
    if let Some(get) = probe.get_mut("httpGet") {
        http_get(get);
    }
    if let Some(grpc) = probe.get_mut("grpc") {
        fill(grpc, "service", "");
    }
}

fn http_get(get: &mut Value) {
    fill(get, "path", "/");
    fill(get, "scheme", "HTTP");
}

fn volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|fields| fields.len() == 1) {
        fill(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source) {
            fill(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        fill(path, "type", "");
    }
}

/// What a container may take at most is what it asks for, where it does not say.
fn requests(container: &mut Value) {
    let Some(resources) = container.get_mut("resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    fill(resources, "requests", json!({}));
    for (name, limit) in limits {
        fill(&mut resources["requests"], &name, limit);
    }
}

fn host_ports(spec: &mut Value) {
    for list in CONTAINERS {
        for container in each(spec, list) {
            for port in each(container, "ports") {
                let same = port.get("containerPort").cloned().unwrap_or_default();
                fill(port, "hostPort", same);
            }
        }
    }
}

/// The number behind the name of a pod's priority, or the one that holds for all.
fn priority(world: &World, spec: &mut Value) {
    let named = spec.get("priorityClassName").and_then(Value::as_str).unwrap_or_default().to_owned();
    let system = SYSTEM_CLASSES.iter().find(|(name, _)| *name == named);
    let class = if named.is_empty() {
        world.store.list::<PriorityClass>(None).find(|class| class.global_default == Some(true))
    } else {
        world.store.get::<PriorityClass>("", &named)
    };
    if let (Some(class), true) = (&class, named.is_empty()) {
        fill(spec, "priorityClassName", class.metadata.name.clone().unwrap_or_default());
    }
    let value = system.map(|(_, value)| *value).or_else(|| class.as_ref().map(|class| class.value));
    fill(spec, "priority", value.unwrap_or_default());
    let policy = class.and_then(|class| class.preemption_policy.clone());
    fill(spec, "preemptionPolicy", policy.unwrap_or_else(|| "PreemptLowerPriority".to_owned()));
}

/// Has a pod leave a broken node after five minutes, unless it says something of that itself.
fn tolerate(spec: &mut Value) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let text = |toleration: &Value, field: &str| -> String {
            toleration.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let covers = |toleration: &Value| {
            let (of, effect) = (text(toleration, "key"), text(toleration, "effect"));
            (of == key || of.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if each(spec, "tolerations").any(|toleration| covers(toleration)) {
            continue;
        }
        fill(spec, "tolerations", json!([]));
        if let Some(all) = spec["tolerations"].as_array_mut() {
            all.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS,
            }));
        }
    }
}

/// The quality of service that the kubelet gives a pod, by what its containers ask for and may take.
fn quality(pod: &Pod) -> &'static str {
    let Some(spec) = &pod.spec else { return "BestEffort" };
    let (mut any, mut guaranteed) = (false, true);
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let resources = container.resources.clone().unwrap_or_default();
        let (requests, limits) = (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default());
        for resource in ["cpu", "memory"] {
            let amount = |of: &BTreeMap<String, Quantity>| of.get(resource).and_then(|q| quantity::millionths(&q.0));
            let (request, limit) = (amount(&requests), amount(&limits));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
