//! What makes the spec of a workload, or of what watches over workloads, invalid.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use serde_json::Value;

use super::{Causes, labels, pods};
use crate::lab::api::names;

/// The fields of a `StatefulSet`'s spec that may change.
const STATEFUL_SET_MAY: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Checks a spec.
pub(super) fn spec(causes: &mut Causes, kind: &str, spec: &Value) {
    match kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => workload(causes, kind, spec),
        "Job" => job(causes, "spec", spec),
        "CronJob" => {
            if spec["schedule"].as_str().is_none_or(str::is_empty) {
                causes.required("spec.schedule", "");
            }
            job(causes, "spec.jobTemplate.spec", &spec["jobTemplate"]["spec"]);
        }
        "PodDisruptionBudget" => budget(causes, spec),
        "HorizontalPodAutoscaler" => autoscaler(causes, spec),
        "Lease" => {
            causes.at_least("spec.leaseDurationSeconds", &spec["leaseDurationSeconds"], 1);
            causes.at_least("spec.leaseTransitions", &spec["leaseTransitions"], 0);
        }
        _ => {}
    }
}

/// Checks what changed of a spec.
pub(super) fn updated(causes: &mut Causes, kind: &str, spec: &Value, before: &Value) {
    let mut fixed = |field: &str| {
        if spec.get(field) != before.get(field) {
            causes.invalid(&format!("spec.{field}"), &spec[field], "field is immutable");
        }
    };
    match kind {
        "Deployment" | "ReplicaSet" | "DaemonSet" => fixed("selector"),
        "Job" => ["completions", "selector", "template", "completionMode"].into_iter().for_each(fixed),
        "StatefulSet" => {
            let rest = |spec: &Value| {
                let mut rest = spec.as_object().cloned().unwrap_or_default();
                rest.retain(|field, _| !STATEFUL_SET_MAY.contains(&field.as_str()));
                rest
            };
            if rest(spec) != rest(before) {
                causes.forbidden(
                    "spec",
                    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                     'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
                );
            }
        }
        _ => {}
    }
}

fn workload(causes: &mut Causes, kind: &str, spec: &Value) {
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        causes.at_least(&format!("spec.{field}"), &spec[field], 0);
    }
    selector(causes, spec);
    template(causes, "spec.template", &spec["template"], &["Always"]);
    match kind {
        "Deployment" => strategy(causes, spec),
        "StatefulSet" => {
            let policy = &spec["podManagementPolicy"];
            causes.one_of("spec.podManagementPolicy", policy, &["OrderedReady", "Parallel"]);
            causes.one_of("spec.updateStrategy", &spec["updateStrategy"]["type"], &["OnDelete", "RollingUpdate"]);
        }
        "DaemonSet" => {
            let strategy = &spec["updateStrategy"];
            causes.one_of("spec.updateStrategy.type", &strategy["type"], &["OnDelete", "RollingUpdate"]);
            let rolling = &strategy["rollingUpdate"];
            if is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) && rolling.is_object() {
                let field = "spec.updateStrategy.rollingUpdate.maxUnavailable";
                causes.required(field, "cannot be 0 when maxSurge is 0");
            }
        }
        _ => {}
    }
}

/// A selector must be there, and select what the template makes.
fn selector(causes: &mut Causes, spec: &Value) {
    let selector = &spec["selector"];
    let part = |name: &str| match &selector[name] {
        Value::Object(fields) => fields.len(),
        Value::Array(elements) => elements.len(),
        _ => 0,
    };
    if selector.is_null() {
        return causes.required("spec.selector", "");
    }
    if part("matchLabels") + part("matchExpressions") == 0 {
        return causes.invalid("spec.selector", selector, "empty selector is invalid for deployment");
    }
    let template = &spec["template"]["metadata"]["labels"];
    let labels: BTreeMap<String, String> = serde_json::from_value(template.clone()).unwrap_or_default();
    let read = serde_json::from_value::<LabelSelector>(selector.clone()).ok();
    let read = read.and_then(|selector| Selector::try_from(selector).ok());
    let selects = read.is_some_and(|selector| selector.matches(&labels));
    if !selects {
        let why = "`selector` does not match template `labels`";
        causes.invalid("spec.template.metadata.labels", template, why);
    }
}

fn template(causes: &mut Causes, field: &str, template: &Value, policies: &[&str]) {
    labels(causes, &format!("{field}.metadata.labels"), &template["metadata"]["labels"]);
    pods::spec(causes, &format!("{field}.spec"), &template["spec"]);
    let policy = &template["spec"]["restartPolicy"];
    if policies.len() > 1 && policy == "Always" {
        let known: Vec<String> = policies.iter().map(|known| format!("{known:?}")).collect();
        causes.required(&format!("{field}.spec.restartPolicy"), &format!("valid values: {}", known.join(", ")));
    } else {
        causes.one_of(&format!("{field}.spec.restartPolicy"), policy, policies);
    }
}

fn strategy(causes: &mut Causes, spec: &Value) {
    let (strategy, rolling) = (&spec["strategy"], &spec["strategy"]["rollingUpdate"]);
    causes.one_of("spec.strategy.type", &strategy["type"], &["Recreate", "RollingUpdate"]);
    if strategy["type"] == "Recreate" && !rolling.is_null() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        causes.forbidden("spec.strategy.rollingUpdate", why);
    }
    for name in ["maxUnavailable", "maxSurge"] {
        amount(causes, &format!("spec.strategy.rollingUpdate.{name}"), &rolling[name]);
    }
    if rolling.is_object() && is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
        let field = "spec.strategy.rollingUpdate.maxUnavailable";
        causes.invalid(field, &rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0");
    }
    let (deadline, least) = (spec["progressDeadlineSeconds"].as_i64(), spec["minReadySeconds"].as_i64().unwrap_or(0));
    if deadline.is_some_and(|deadline| deadline <= least) {
        let field = "spec.progressDeadlineSeconds";
        causes.invalid(field, &spec["progressDeadlineSeconds"], "must be greater than minReadySeconds");
    }
}

/// Has a value be a number that is not negative, or a percentage.
fn amount(causes: &mut Causes, field: &str, value: &Value) {
    causes.at_least(field, value, 0);
    let Some(text) = value.as_str() else { return };
    let digits =
        text.strip_suffix('%').filter(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()));
    if digits.is_none() {
        let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for \
                   validation is '[0-9]+%')";
        causes.invalid(field, value, why);
    }
}

fn is_zero(value: &Value) -> bool {
    value.is_null() || *value == 0 || *value == "0%"
}

fn job(causes: &mut Causes, field: &str, spec: &Value) {
    for name in ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"] {
        causes.at_least(&format!("{field}.{name}"), &spec[name], 0);
    }
    template(causes, &format!("{field}.template"), &spec["template"], &["OnFailure", "Never"]);
}

fn budget(causes: &mut Causes, spec: &Value) {
    let (least, most) = (&spec["minAvailable"], &spec["maxUnavailable"]);
    if !least.is_null() && !most.is_null() {
        causes.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for (name, value) in [("minAvailable", least), ("maxUnavailable", most)] {
        let field = format!("spec.{name}");
        amount(causes, &field, value);
        let percent = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<i64>().ok());
        if percent.is_some_and(|percent| percent > 100) {
            causes.invalid(&field, value, "must not be greater than 100%");
        }
    }
    let policy = &spec["unhealthyPodEvictionPolicy"];
    causes.one_of("spec.unhealthyPodEvictionPolicy", policy, &["AlwaysAllow", "IfHealthyBudget"]);
    labels(causes, "spec.selector.matchLabels", &spec["selector"]["matchLabels"]);
}

fn autoscaler(causes: &mut Causes, spec: &Value) {
    causes.at_least("spec.minReplicas", &spec["minReplicas"], 1);
    let (least, most) = (spec["minReplicas"].as_i64().unwrap_or(1), spec["maxReplicas"].as_i64().unwrap_or(0));
    if most < 1 {
        causes.invalid("spec.maxReplicas", &most.into(), "must be greater than 0");
    } else if most < least {
        causes.invalid("spec.maxReplicas", &most.into(), "must be greater than or equal to `minReplicas`");
    }
    for field in ["kind", "name"] {
        let text = spec["scaleTargetRef"][field].as_str().unwrap_or_default();
        if text.is_empty() {
            causes.required(&format!("spec.scaleTargetRef.{field}"), "");
        } else if let Some(why) = names::segment(text) {
            causes.invalid(&format!("spec.scaleTargetRef.{field}"), &text.into(), &why);
        }
    }
}
