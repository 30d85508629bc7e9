//! What a run must be allowed to do, and whether it is: asked before the first act, for the injection and its undo alike.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;

use super::{Options, PlannedStep, Refused, Rule};
use crate::cluster::{Cluster, explain};
use crate::fault::{Refusal, retried};
use crate::record::Target;
use crate::spec::{Experiment, Hypothesis};

/// Questions asked at the same time.
const ASKING: usize = 8;

/// What a run of this experiment must be allowed: the faults' own permissions and the runner's, each once, in one order. `steps`
/// are the resolved ones: what is asked about a target depends on its kind and its owner's.
#[must_use]
pub fn needed_permissions(experiment: &Experiment, options: &Options, steps: &[PlannedStep]) -> Vec<Rule> {
    let mut rules = runners(&options.state_namespace);
    let mut touched = BTreeSet::new();
    let mut watched = BTreeSet::new();
    for step in &experiment.spec.method {
        touched.extend(step.fault.namespaces());
        let resolved = steps.iter().find(|planned| planned.name == step.name.as_str());
        let targets: Vec<&Target> = resolved.into_iter().flat_map(PlannedStep::touched).collect();
        rules.extend(step.fault.permissions().into_iter().filter(|p| p.is_for(&targets)).map(|p| Rule {
            group: p.group.to_owned(),
            resource: p.resource.to_owned(),
            verb: p.verb.to_owned(),
            namespace: p.namespace,
            why: p.why.to_owned(),
            optional: false,
        }));
    }
    watched.extend(touched.iter().cloned());
    for hypothesis in &experiment.spec.steady_state {
        if let Hypothesis::Object { object, namespace, .. } = hypothesis {
            watched.insert(namespace.to_string());
            rules.extend(objects(&object.kind, namespace.as_str()));
        }
    }
    for followed in experiment.spec.probes.iter().filter_map(|probe| probe.protocol.followed()) {
        let why = "find the port of a probe's endpoints";
        rules.push(rule("", "services", "get", Some(&followed.namespace), why));
        watched.insert(followed.namespace);
    }
    for namespace in &touched {
        rules.push(rule("", "namespaces", "get", Some(namespace), "see whether the namespace is protected"));
    }
    for target in steps.iter().flat_map(|step| &step.targets) {
        let namespace = Some(target.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        rules.extend(gets(target, namespace, "see whether a target is protected"));
    }
    for namespace in &watched {
        rules.extend(timeline(Some(namespace)));
    }
    rules.extend(leaving(steps));
    merge(rules)
}

/// What is asked about the pods that leave with nodes. They may be others tomorrow, of other namespaces: a role that names today's
/// would not last.
fn leaving(steps: &[PlannedStep]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for pod in steps.iter().flat_map(|step| &step.leaving) {
        rules.extend(gets(pod, None, "see whether a pod that leaves is protected"));
    }
    if !rules.is_empty() {
        rules.push(rule("", "namespaces", "get", None, "see whether a pod that leaves is protected"));
        rules.extend(timeline(None));
    }
    rules
}

/// Reading an object and its owner.
fn gets(target: &Target, namespace: Option<&str>, why: &str) -> Vec<Rule> {
    let owner = target.owner.as_deref().and_then(|owner| owner.split_once('/')).map(|(kind, _)| kind);
    let kinds = owner.into_iter().chain([target.kind.as_str()]).filter_map(resource_of);
    kinds.map(|(group, resource)| rule(group, resource, "get", namespace, why)).collect()
}

/// What is watched in a namespace, or in all.
fn timeline(namespace: Option<&str>) -> Vec<Rule> {
    [("", "pods"), ("", "events"), ("discovery.k8s.io", "endpointslices"), ("policy", "poddisruptionbudgets")]
        .into_iter()
        .flat_map(|(group, resource)| seen(group, resource, namespace, "tell what happened on one timeline"))
        .collect()
}

/// The runner's own, whatever the experiment: lease, undo log, limits, who the cluster is, and what it may do.
fn runners(state: &str) -> Vec<Rule> {
    let mut rules = vec![
        rule("", "namespaces", "get", Some("kube-system"), "know which cluster it is"),
        rule("", "namespaces", "get", Some(state), "see whether the state namespace is there"),
        rule(
            "authorization.k8s.io",
            "selfsubjectaccessreviews",
            "create",
            None,
            "ask what it may do before it does anything",
        ),
    ];
    for verb in ["get", "list", "watch", "create", "update", "patch"] {
        rules.push(rule("coordination.k8s.io", "leases", verb, Some(state), "one run at a time, and `squall abort`"));
    }
    for verb in ["get", "list", "watch", "create", "patch", "delete"] {
        rules.push(rule("", "configmaps", verb, Some(state), "the undo log of each run, and the cluster's limits"));
    }
    for mut seen in seen("", "nodes", None, "tell a node's failure from a pod's") {
        seen.optional = true;
        rules.push(seen);
    }
    rules
}

/// What a hypothesis about an object of this kind needs.
fn objects(kind: &str, namespace: &str) -> Vec<Rule> {
    let Some((group, resource)) = resource_of(kind) else { return Vec::new() };
    let namespace = Some(namespace).filter(|_| kind != "node");
    seen(group, resource, namespace, "judge the object's hypothesis")
}

/// The API group and resource of a kind in lower case.
fn resource_of(kind: &str) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        "deployment" => ("apps", "deployments"),
        "statefulset" => ("apps", "statefulsets"),
        "daemonset" => ("apps", "daemonsets"),
        "replicaset" => ("apps", "replicasets"),
        "poddisruptionbudget" => ("policy", "poddisruptionbudgets"),
        "pod" => ("", "pods"),
        "configmap" => ("", "configmaps"),
        "node" => ("", "nodes"),
        _ => return None,
    })
}

fn seen(group: &str, resource: &str, namespace: Option<&str>, why: &str) -> Vec<Rule> {
    vec![rule(group, resource, "list", namespace, why), rule(group, resource, "watch", namespace, why)]
}

fn rule(group: &str, resource: &str, verb: &str, namespace: Option<&str>, why: &str) -> Rule {
    Rule {
        group: group.to_owned(),
        resource: resource.to_owned(),
        verb: verb.to_owned(),
        namespace: namespace.map(ToOwned::to_owned),
        why: why.to_owned(),
        optional: false,
    }
}

/// Each permission once, with all its reasons; needed by one is needed.
fn merge(rules: Vec<Rule>) -> Vec<Rule> {
    let mut merged: BTreeMap<(String, String, String, Option<String>), Rule> = BTreeMap::new();
    for rule in rules {
        let key = (rule.group.clone(), rule.resource.clone(), rule.verb.clone(), rule.namespace.clone());
        match merged.get_mut(&key) {
            Some(known) => {
                known.optional &= rule.optional;
                if !known.why.split("; ").any(|why| why == rule.why) {
                    known.why = format!("{}; {}", known.why, rule.why);
                }
            }
            None => {
                merged.insert(key, rule);
            }
        }
    }
    merged.into_values().collect()
}

/// What asking came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// What must be allowed and is not.
    pub refusals: Vec<Refused>,
    /// What the run can do without.
    pub warnings: Vec<String>,
}

/// Asks the API server whether each rule is allowed to whoever runs this.
///
/// # Errors
///
/// When the question itself can't be asked.
pub async fn check_permissions(cluster: &Cluster, rules: &[Rule]) -> Result<Checked, Refusal> {
    let api = cluster.all::<SelfSubjectAccessReview>();
    let answers: Vec<Result<bool, kube::Error>> = stream::iter(rules)
        .map(|rule| {
            let (api, review) = (api.clone(), review(rule));
            async move {
                let params = PostParams::default();
                let answer = retried(|| api.create(&params, &review)).await?;
                Ok(answer.status.is_some_and(|status| status.allowed))
            }
        })
        .buffered(ASKING)
        .collect()
        .await;
    let mut checked = Checked::default();
    for (rule, answer) in rules.iter().zip(answers) {
        match answer {
            Ok(true) => {}
            Ok(false) if rule.optional => {
                checked.warnings.push(format!("{}; it is used to {}", denied(rule).message, rule.why));
            }
            Ok(false) => checked.refusals.push(denied(rule).into()),
            Err(e) => return Err(Refusal::new(format!("can't ask the API server what is allowed: {}", explain(&e)))),
        }
    }
    Ok(checked)
}

/// A missing permission in words: the same as when a call itself is forbidden.
fn denied(rule: &Rule) -> Refusal {
    let place =
        rule.namespace.as_ref().map_or_else(|| " in the whole cluster".to_owned(), |n| format!(" in namespace `{n}`"));
    Refusal::new(format!("not allowed to `{}` `{}`{place}", rule.verb, rule.resource))
        .hint("`squall plan FILE --rbac` prints the role that the run needs")
}

fn review(rule: &Rule) -> SelfSubjectAccessReview {
    let (resource, subresource) = match rule.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (rule.resource.as_str(), None),
    };
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(rule.group.clone()),
                resource: Some(resource.to_owned()),
                subresource,
                verb: Some(rule.verb.clone()),
                namespace: rule.namespace.clone(),
                // A namespace's name stands in its own request, as the authoriser sees it.
                name: rule.namespace.clone().filter(|_| resource == "namespaces"),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{experiment, pod, step};

    fn needed(steps: &str) -> Vec<Rule> {
        needed_permissions(&experiment(steps), &Options::new(1, "squall"), &[])
    }

    fn has(rules: &[Rule], verb: &str, resource: &str, namespace: Option<&str>) -> bool {
        rules.iter().any(|r| r.verb == verb && r.resource == resource && r.namespace.as_deref() == namespace)
    }

    #[test]
    fn unites_the_faults_and_the_runners_own() {
        let rules = needed(r#"[{"name": "k", "podKill": {"pods": {"namespace": "shop", "selector": "app=web"}}}]"#);
        assert!(has(&rules, "delete", "pods", Some("shop")));
        assert!(has(&rules, "watch", "endpointslices", Some("shop")));
        assert!(has(&rules, "update", "leases", Some("squall")));
        assert!(has(&rules, "get", "namespaces", Some("kube-system")));
        assert!(!has(&rules, "delete", "pods", Some("squall")));
        assert!(!has(&rules, "create", "pods/eviction", Some("shop")));
    }

    #[test]
    fn a_probe_per_endpoint_reads_its_service_and_watches_beside_it() {
        let mut experiment = experiment("[]");
        let rules = |experiment: &Experiment| needed_permissions(experiment, &Options::new(1, "squall"), &[]);
        assert!(!has(&rules(&experiment), "get", "services", Some("shop")));
        let probe = r#"{"name": "web", "rate": "1/s", "timeout": "1s", "tcp": {"address": "web.shop:80", "connection": "perEndpoint"}}"#;
        experiment.spec.probes = vec![serde_json::from_str(probe).unwrap()];
        assert!(has(&rules(&experiment), "get", "services", Some("shop")));
        assert!(has(&rules(&experiment), "watch", "endpointslices", Some("shop")));
    }

    #[test]
    fn names_each_permission_once_with_every_reason() {
        let rules = needed(r#"[{"name": "k", "podKill": {"pods": {"namespace": "shop", "selector": "app=web"}}}]"#);
        let listed: Vec<&Rule> = rules.iter().filter(|r| r.verb == "list" && r.resource == "pods").collect();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].why, "choose the targets; tell what happened on one timeline");
    }

    #[test]
    fn asks_about_the_targets_own_kinds() {
        let web = Target { owner: Some("deployment/web".into()), ..pod("shop", "web-1") };
        let rules = needed_permissions(&experiment("[]"), &Options::new(1, "squall"), &[step("k", 0, vec![web])]);
        assert!(has(&rules, "get", "pods", Some("shop")));
        assert!(has(&rules, "get", "deployments", Some("shop")));
        assert!(!has(&rules, "get", "statefulsets", Some("shop")));
    }

    #[test]
    fn what_is_asked_about_pods_that_leave_is_asked_of_the_whole_cluster() {
        let web = Target { owner: Some("deployment/web".into()), ..pod("shop", "web-1") };
        let mut drain = step("d", 0, vec![Target { kind: "node".into(), ..pod("", "n1") }]);
        drain.leaving = vec![web];
        let rules = needed_permissions(&experiment("[]"), &Options::new(1, "squall"), &[drain]);
        assert!(has(&rules, "get", "nodes", None));
        assert!(has(&rules, "get", "deployments", None) && has(&rules, "get", "namespaces", None));
        assert!(has(&rules, "watch", "endpointslices", None) && !has(&rules, "watch", "endpointslices", Some("shop")));
    }

    #[test]
    fn leaves_out_the_kinds_that_no_target_has() {
        let kill = r#"[{"name": "k", "podKill": {"pods": {"namespace": "shop", "selector": "app=web"}}}]"#;
        let web = Target { owner: Some("deployment/web".into()), ..pod("shop", "web-1") };
        let options = Options::new(1, "squall");
        let rules = needed_permissions(&experiment(kill), &options, &[step("k", 0, vec![web])]);
        assert!(has(&rules, "get", "deployments", Some("shop")));
        assert!(!has(&rules, "get", "daemonsets", Some("shop")));
        assert!(has(&needed(kill), "get", "daemonsets", Some("shop")), "as long as the targets are unknown");
    }

    #[test]
    fn nodes_are_optional_until_a_step_needs_them() {
        let nodes = |rules: Vec<Rule>| rules.into_iter().find(|r| r.resource == "nodes" && r.verb == "list").unwrap();
        let by_label = r#"[{"name": "k", "podKill": {"pods": {"namespace": "shop", "selector": "app=web"}}}]"#;
        let by_zone = r#"[{"name": "k", "podKill": {"pods": {"namespace": "shop", "zone": "a"}}}]"#;
        assert!(nodes(needed(by_label)).optional);
        assert!(!nodes(needed(by_zone)).optional);
    }

    #[test]
    fn asks_for_a_subresource_as_the_api_does() {
        let attributes = |r: &Rule| review(r).spec.resource_attributes.unwrap();
        let asked = attributes(&rule("", "pods/eviction", "create", Some("shop"), ""));
        assert_eq!((asked.resource.as_deref(), asked.subresource.as_deref()), (Some("pods"), Some("eviction")));
        assert_eq!(asked.name, None);
        let asked = attributes(&rule("", "namespaces", "get", Some("shop"), ""));
        assert_eq!(asked.name.as_deref(), Some("shop"));
    }

    #[test]
    fn a_missing_permission_names_verb_resource_and_namespace() {
        let missing = denied(&rule("apps", "deployments", "patch", Some("shop"), ""));
        assert_eq!(missing.message, "not allowed to `patch` `deployments` in namespace `shop`");
        assert!(missing.hint.unwrap().contains("--rbac"));
    }
}
