//! What makes a pod's spec invalid, also one in a template, and what of it may not change.

use serde_json::{Map, Value};

use super::Causes;
use crate::lab::api::{fields, names, quantity, verbs};

/// Checks a spec.
pub(super) fn spec(causes: &mut Causes, field: &str, spec: &Value) {
    causes.at_least(&format!("{field}.terminationGracePeriodSeconds"), &spec["terminationGracePeriodSeconds"], 0);
    causes.at_least(&format!("{field}.activeDeadlineSeconds"), &spec["activeDeadlineSeconds"], 1);
    causes.one_of(&format!("{field}.restartPolicy"), &spec["restartPolicy"], &["Always", "Never", "OnFailure"]);
    let volumes = volumes(causes, field, spec);
    let containers = list(spec, "containers");
    if containers.is_empty() {
        causes.required(&format!("{field}.containers"), "");
    }
    let mut taken = Vec::new();
    for name in ["initContainers", "containers"] {
        for (number, container) in list(spec, name).iter().enumerate() {
            let at = format!("{field}.{name}[{number}]");
            let init = name == "initContainers" && container["restartPolicy"] != "Always";
            self::container(causes, &at, container, &volumes, init);
            if taken.contains(&&container["name"]) {
                causes.duplicate(&format!("{at}.name"), &container["name"]);
            }
            taken.push(&container["name"]);
        }
    }
    tolerations(causes, field, spec);
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn volumes<'a>(causes: &mut Causes, field: &str, spec: &'a Value) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (number, volume) in list(spec, "volumes").iter().enumerate() {
        let at = format!("{field}.volumes[{number}].name");
        match volume["name"].as_str() {
            None | Some("") => causes.required(&at, ""),
            Some(name) => {
                if let Some(why) = names::label(name) {
                    causes.invalid(&at, &volume["name"], &why);
                }
                if names.contains(&name) {
                    causes.duplicate(&at, &volume["name"]);
                }
                names.push(name);
            }
        }
    }
    names
}

fn container(causes: &mut Causes, at: &str, container: &Value, volumes: &[&str], init: bool) {
    match container["name"].as_str() {
        None | Some("") => causes.required(&format!("{at}.name"), ""),
        Some(name) => {
            if let Some(why) = names::label(name) {
                causes.invalid(&format!("{at}.name"), &container["name"], &why);
            }
        }
    }
    match container["image"].as_str() {
        None | Some("") => causes.required(&format!("{at}.image"), ""),
        Some(image) if image != image.trim() => {
            causes.invalid(&format!("{at}.image"), &container["image"], "must not have leading or trailing whitespace");
        }
        Some(_) => {}
    }
    let policy = &container["imagePullPolicy"];
    causes.one_of(&format!("{at}.imagePullPolicy"), policy, &["Always", "IfNotPresent", "Never"]);
    ports(causes, at, container);
    for (number, mount) in list(container, "volumeMounts").iter().enumerate() {
        let at = format!("{at}.volumeMounts[{number}]");
        let name = mount["name"].as_str().unwrap_or_default();
        if !volumes.contains(&name) {
            causes.add(&format!("{at}.name"), format!("Not found: {name:?}"));
        }
        if mount["mountPath"].as_str().is_none_or(str::is_empty) {
            causes.required(&format!("{at}.mountPath"), "");
        }
    }
    for (number, variable) in list(container, "env").iter().enumerate() {
        if variable["name"].as_str().is_none_or(str::is_empty) {
            causes.required(&format!("{at}.env[{number}].name"), "");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = &container[name];
        if init && !probe.is_null() {
            causes
                .forbidden(&format!("{at}.{name}"), "may not be set for init containers without restartPolicy=Always");
        }
        self::probe(causes, &format!("{at}.{name}"), probe, name != "readinessProbe");
    }
    resources(causes, &format!("{at}.resources"), &container["resources"]);
}

fn ports(causes: &mut Causes, at: &str, container: &Value) {
    let ports = list(container, "ports");
    for (number, port) in ports.iter().enumerate() {
        let at = format!("{at}.ports[{number}]");
        causes.port(&format!("{at}.containerPort"), &port["containerPort"]);
        causes.one_of(&format!("{at}.protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        if port["hostPort"].as_i64().is_some_and(|port| port != 0) {
            causes.port(&format!("{at}.hostPort"), &port["hostPort"]);
        }
        let Some(name) = port["name"].as_str() else { continue };
        let fits = names::label(name).is_none() && name.len() <= 15 && name.contains(|c: char| c.is_ascii_lowercase());
        if !fits {
            let why = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), at least one letter, and no more than 15 \
                       characters";
            causes.invalid(&format!("{at}.name"), &port["name"], why);
        }
        if ports[..number].iter().any(|other| other["name"] == port["name"]) {
            causes.duplicate(&format!("{at}.name"), &port["name"]);
        }
    }
}

fn probe(causes: &mut Causes, at: &str, probe: &Value, once: bool) {
    if probe.is_null() {
        return;
    }
    let handlers = ["httpGet", "tcpSocket", "exec", "grpc"].iter().filter(|name| probe[**name].is_object()).count();
    match handlers {
        0 => causes.required(at, "must specify a handler type"),
        1 => {}
        _ => causes.forbidden(at, "may not specify more than 1 handler type"),
    }
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        causes.at_least(&format!("{at}.{field}"), &probe[field], 0);
    }
    if once && probe["successThreshold"].as_i64().is_some_and(|threshold| threshold > 1) {
        causes.invalid(&format!("{at}.successThreshold"), &probe["successThreshold"], "must be 1");
    }
    for handler in ["httpGet", "tcpSocket", "grpc"] {
        let port = &probe[handler]["port"];
        if probe[handler].is_object() && !port.is_string() {
            causes.port(&format!("{at}.{handler}.port"), port);
        }
    }
}

fn resources(causes: &mut Causes, at: &str, resources: &Value) {
    let none = Map::new();
    let limits = resources["limits"].as_object().unwrap_or(&none);
    let amount = |value: &Value| value.as_str().and_then(quantity::millionths);
    for (part, amounts) in [("limits", limits), ("requests", resources["requests"].as_object().unwrap_or(&none))] {
        for (name, value) in amounts {
            let field = format!("{at}.{part}[{name}]");
            match amount(value) {
                None => causes.invalid(
                    &field,
                    value,
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                ),
                Some(amount) if amount < 0 => causes.invalid(&field, value, "must be greater than or equal to 0"),
                Some(asked) => {
                    let limit = limits.get(name).filter(|_| part == "requests");
                    if let Some(limit) = limit.filter(|limit| amount(limit).is_some_and(|limit| limit < asked)) {
                        let limit = limit.as_str().unwrap_or_default();
                        let why = format!("must be less than or equal to {name} limit of {limit}");
                        causes.invalid(&format!("{at}.requests"), value, &why);
                    }
                }
            }
        }
    }
}

fn tolerations(causes: &mut Causes, field: &str, spec: &Value) {
    for (number, toleration) in list(spec, "tolerations").iter().enumerate() {
        let at = format!("{field}.tolerations[{number}]");
        let exists = toleration["operator"] == "Exists";
        causes.one_of(&format!("{at}.operator"), &toleration["operator"], &["Equal", "Exists"]);
        causes.one_of(
            &format!("{at}.effect"),
            &toleration["effect"],
            &["NoExecute", "NoSchedule", "PreferNoSchedule", ""],
        );
        if toleration["key"].as_str().is_none_or(str::is_empty) && !exists {
            let value = &toleration["operator"];
            causes.invalid(
                &format!("{at}.operator"),
                value,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if exists && toleration["value"].as_str().is_some_and(|value| !value.is_empty()) {
            let why = "value must be empty when `operator` is 'Exists'";
            causes.invalid(&format!("{at}.operator"), &toleration["value"], why);
        }
        if toleration["tolerationSeconds"].is_i64() && toleration["effect"] != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            causes.invalid(&format!("{at}.effect"), &toleration["effect"], why);
        }
    }
}

/// Checks what changed of a pod: next to nothing may.
pub(super) fn updated(causes: &mut Causes, spec: &Value, before: &Value) {
    for name in ["containers", "initContainers"] {
        if list(spec, name).len() != list(before, name).len() {
            causes.forbidden(&format!("spec.{name}"), "pod updates may not add or remove containers");
            return;
        }
    }
    let old = list(before, "tolerations");
    if !old.iter().all(|toleration| list(spec, "tolerations").contains(toleration)) {
        causes.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds");
    }
    let mut same = spec.clone();
    for name in ["containers", "initContainers"] {
        let images = list(before, name).iter().map(|container| container["image"].clone());
        let containers = same[name].as_array_mut().into_iter().flatten();
        for (container, image) in containers.zip(images) {
            container["image"] = image;
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations"] {
        verbs::put(&mut same, field, before.get(field));
    }
    if before["terminationGracePeriodSeconds"].as_i64().is_some_and(|grace| grace < 0) {
        same["terminationGracePeriodSeconds"] = before["terminationGracePeriodSeconds"].clone();
    }
    if list(before, "schedulingGates").len() > list(spec, "schedulingGates").len() {
        verbs::put(&mut same, "schedulingGates", before.get("schedulingGates"));
    }
    // A missing list of init containers became `null` above.
    let tidied = |mut spec: Value| {
        fields::tidy(&mut spec);
        spec
    };
    if tidied(same) != tidied(before.clone()) {
        causes.forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
             `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
             `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        );
    }
}
