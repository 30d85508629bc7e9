//! What of an object gets into a twin: the fields that are named here, and nothing else.
//!
//! Each kind has a line in a small language: `name` keeps a field that is a scalar or a list of scalars, `name{…}` keeps of an object, or of
//! each object of a list, what is in the braces, and `name*` keeps it whole, which is said only of what can hold nothing but names and
//! amounts. `$` puts in what several kinds have in common. Annotations and finalizers are chosen by their names.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value, json};

/// What all objects have.
const META: &str = "apiVersion kind metadata{name namespace labels* annotations finalizers generation creationTimestamp deletionTimestamp \
                    ownerReferences{apiVersion kind name controller blockOwnerDeletion}}";
/// A pod's spec.
const POD: &str = "nodeName nodeSelector* affinity* topologySpreadConstraints* overhead* hostNetwork hostname subdomain \
                   tolerations{key operator value effect tolerationSeconds} containers{$C} initContainers{$C} restartPolicy \
                   terminationGracePeriodSeconds activeDeadlineSeconds priority priorityClassName preemptionPolicy schedulerName \
                   runtimeClassName schedulingGates{name} readinessGates{conditionType} \
                   volumes{name emptyDir{} persistentVolumeClaim{claimName} configMap{name} ephemeral{}}";
/// A container. Of a probe only whom it asks and when, of a hook only how long it takes.
const CONTAINER: &str = "name image ports{name containerPort hostPort protocol} resources{requests* limits*} restartPolicy \
                         readinessProbe{$P} livenessProbe{$P} startupProbe{$P} \
                         lifecycle{preStop{sleep{seconds} exec{} httpGet{port} tcpSocket{port}}}";
/// A kubelet's probe.
const PROBE: &str = "httpGet{port scheme} tcpSocket{port} grpc{port} exec{} initialDelaySeconds periodSeconds timeoutSeconds \
                     successThreshold failureThreshold terminationGracePeriodSeconds";
/// A template of pods.
const TEMPLATE: &str = "metadata{labels* annotations} spec{$S}";
/// A status of a container.
const STATUS: &str = "name ready started restartCount state{running{startedAt} waiting{reason} \
                      terminated{exitCode reason startedAt finishedAt}}";
/// Conditions, without what they say to people.
const CONDITIONS: &str = "conditions{type status reason lastTransitionTime}";

/// Annotations that the model reads, by name, or by prefix where it ends with a slash.
const ANNOTATIONS: [&str; 7] = [
    "lab.squall.dev/",
    "deployment.kubernetes.io/",
    "squall.dev/protected",
    "controller.kubernetes.io/pod-deletion-cost",
    "kubernetes.io/config.mirror",
    "storageclass.kubernetes.io/is-default-class",
    "volume.kubernetes.io/selected-node",
];
/// Finalizers that somebody in the lab takes off again.
const FINALIZERS: [&str; 1] = ["batch.kubernetes.io/job-tracking"];

/// What is kept of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, Kept)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    /// A scalar, or a list of scalars.
    Scalar,
    /// All of it.
    Whole,
    /// What is named.
    Of(Fields),
    /// Those annotations that the model reads.
    Annotations,
    /// Those finalizers that the model takes off.
    Finalizers,
}

impl Fields {
    /// Reads a kind's line; what all objects have is added.
    pub(super) fn of(line: &str) -> Self {
        let mut fields = parse(&mut META.chars().peekable());
        fields.0.extend(parse(&mut line.chars().peekable()).0);
        fields
    }

    /// What of an object is kept.
    pub(super) fn prune(&self, object: &Value) -> Value {
        let mut kept = Map::new();
        for (name, how) in &self.0 {
            if let Some(value) = object.get(name).and_then(|value| how.take(value)) {
                kept.insert(name.clone(), value);
            }
        }
        Value::Object(kept)
    }
}

impl Kept {
    fn take(&self, value: &Value) -> Option<Value> {
        let is_scalar = |value: &Value| !value.is_null() && !value.is_object() && !value.is_array();
        match (self, value) {
            (_, Value::Null) => None,
            (Self::Whole, value) => Some(value.clone()),
            (Self::Of(fields), Value::Array(all)) => {
                Some(all.iter().filter(|one| one.is_object()).map(|one| fields.prune(one)).collect())
            }
            (Self::Of(fields), value) => value.is_object().then(|| fields.prune(value)),
            (Self::Scalar, Value::Array(all)) => all.iter().all(is_scalar).then(|| value.clone()),
            (Self::Scalar, value) => is_scalar(value).then(|| value.clone()),
            (Self::Annotations, value) => annotations(value),
            (Self::Finalizers, value) => {
                let known = |one: &&Value| one.as_str().is_some_and(|one| FINALIZERS.contains(&one));
                let all: Vec<Value> = value.as_array()?.iter().filter(known).cloned().collect();
                (!all.is_empty()).then(|| all.into())
            }
        }
    }
}

fn annotations(all: &Value) -> Option<Value> {
    let known = |name: &str| {
        ANNOTATIONS.iter().any(|known| name == *known || (known.ends_with('/') && name.starts_with(known)))
    };
    let kept = all.as_object()?.iter().filter(|(name, _)| known(name)).map(|(name, value)| {
        // A hash of the pod's whole manifest: that it is there says all.
        let value = if name == "kubernetes.io/config.mirror" { json!("mirror") } else { value.clone() };
        (name.clone(), value)
    });
    let kept: Map<String, Value> = kept.filter(|(_, value)| value.is_string()).collect();
    (!kept.is_empty()).then(|| kept.into())
}

/// Reads up to the closing brace, or the end.
fn parse(line: &mut Peekable<Chars<'_>>) -> Fields {
    let mut fields = Fields::default();
    while let Some(&next) = line.peek() {
        match next {
            '}' => break,
            '$' => {
                line.next();
                fields.0.extend(shared(line.next()).0);
            }
            _ if next.is_alphanumeric() => {
                let mut name = String::new();
                while let Some(letter) = line.next_if(|letter| letter.is_alphanumeric()) {
                    name.push(letter);
                }
                let how = match line.peek() {
                    Some('*') => Kept::Whole,
                    Some('{') => {
                        line.next();
                        Kept::Of(parse(line))
                    }
                    _ if name == "annotations" => Kept::Annotations,
                    _ if name == "finalizers" => Kept::Finalizers,
                    _ => Kept::Scalar,
                };
                if how == Kept::Whole || matches!(how, Kept::Of(_)) {
                    line.next();
                }
                fields.0.push((name, how));
            }
            _ => {
                line.next();
            }
        }
    }
    fields
}

/// What a letter after `$` stands for.
fn shared(letter: Option<char>) -> Fields {
    let line = match letter {
        Some('S') => POD,
        Some('C') => CONTAINER,
        Some('P') => PROBE,
        Some('T') => TEMPLATE,
        Some('Q') => STATUS,
        Some('Z') => CONDITIONS,
        _ => "",
    };
    parse(&mut line.chars().peekable())
}

/// Prunes an object, and takes out what pruning leaves without a meaning: volumes of which only the name is left.
pub(super) fn prune(fields: &Fields, object: &Value) -> Value {
    let mut whole = object.clone();
    for spec in ["/spec", "/spec/template/spec"] {
        if let Some(spec) = whole.pointer_mut(spec) {
            for list in ["containers", "initContainers"] {
                spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(time_of_hook);
            }
        }
    }
    let mut kept = fields.prune(&whole);
    for spec in ["/spec", "/spec/template/spec"] {
        if let Some(volumes) = kept.pointer_mut(spec).and_then(|spec| spec.get_mut("volumes")?.as_array_mut()) {
            volumes.retain(|volume| volume.as_object().is_some_and(|volume| volume.len() > 1));
        }
    }
    kept
}

/// Of a command that a hook runs the model knows only its `sleep`: that stands in its place, and the command does not get into the twin.
fn time_of_hook(container: &mut Value) {
    let Some(hook) = container.pointer("/lifecycle/preStop") else { return };
    if hook.get("exec").is_none() {
        return;
    }
    let Ok(typed) = serde_json::from_value(container.clone()) else { return };
    let takes = crate::lab::model::hook(&typed).unwrap_or_default();
    if !takes.is_zero() {
        let seconds = takes.as_secs() + u64::from(takes.subsec_nanos() > 0);
        container["lifecycle"]["preStop"] = json!({"sleep": {"seconds": seconds}});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_kept() {
        let fields = Fields::of("spec{a b* c{d e{}} list{name}} status{$Z}");
        let object = json!({
            "kind": "Thing", "metadata": {"name": "x", "managedFields": [1], "uid": "u", "annotations": {
                "lab.squall.dev/starts-in": "2s", "kubectl.kubernetes.io/last-applied-configuration": "secret",
                "kubernetes.io/config.mirror": "0af3",
            }, "finalizers": ["acme.com/hold", "batch.kubernetes.io/job-tracking"]},
            "spec": {
                "a": {"nested": "secret"}, "b": {"whole": [1, {"x": 2}]}, "c": {"d": [1, 2], "e": {"x": "secret"}, "f": 1},
                "list": [{"name": "one", "value": "secret"}, "text"], "other": "secret",
            },
            "status": {"conditions": [{"type": "Ready", "status": "True", "message": "secret"}]},
            "data": {"key": "secret"},
        });
        let kept = fields.prune(&object);
        assert_eq!(
            kept,
            json!({
                "kind": "Thing", "metadata": {"name": "x", "annotations": {
                    "lab.squall.dev/starts-in": "2s", "kubernetes.io/config.mirror": "mirror",
                }, "finalizers": ["batch.kubernetes.io/job-tracking"]},
                "spec": {"b": {"whole": [1, {"x": 2}]}, "c": {"d": [1, 2], "e": {}}, "list": [{"name": "one"}]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            })
        );
    }

    #[test]
    fn of_a_hooks_command_its_sleep_is_kept_and_nothing_else() {
        let fields = Fields::of("spec{$S}");
        let pod = |command: Value| json!({"spec": {"containers": [{"name": "web", "lifecycle": {"preStop": {"exec": {"command": command}}}}]}});
        let hook =
            |command: Value| prune(&fields, &pod(command))["spec"]["containers"][0]["lifecycle"]["preStop"].clone();
        assert_eq!(hook(json!(["sh", "-c", "curl -H token:hunter2 x; sleep 2.5"])), json!({"sleep": {"seconds": 3}}));
        assert_eq!(hook(json!(["deregister", "hunter2"])), json!({"exec": {}}));
    }
}
