//! The least RBAC that a plan needs, as YAML documents.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::core::ObjectMeta;
use serde::Serialize;

use super::{Plan, Rule};

/// Name of the ServiceAccount that the bindings name.
const ACCOUNT: &str = "squall";
/// API group of roles.
const GROUP: &str = "rbac.authorization.k8s.io";

/// A Role and RoleBinding for each namespace and a ClusterRole and ClusterRoleBinding for the rest: exactly what the plan needs, in
/// one order. The bindings name the ServiceAccount `squall` in the state namespace.
#[must_use]
pub fn rbac(plan: &Plan) -> String {
    let name = format!("squall-{}", plan.experiment);
    let account = Subject {
        kind: "ServiceAccount".to_owned(),
        name: ACCOUNT.to_owned(),
        namespace: Some(plan.state_namespace.clone()),
        ..Subject::default()
    };
    let mut places: BTreeMap<Option<&str>, Vec<&Rule>> = BTreeMap::new();
    for rule in &plan.permissions {
        places.entry(rule.namespace.as_deref()).or_default().push(rule);
    }
    let mut text = format!(
        "# The least that the experiment `{}` needs, undo included.\n\
         # The subject is a placeholder: `kubectl -n {} create serviceaccount {ACCOUNT}`, or put yours in its place.\n",
        plan.experiment, plan.state_namespace
    );
    for (namespace, rules) in places {
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            namespace: namespace.map(ToOwned::to_owned),
            ..ObjectMeta::default()
        };
        let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
        let role_ref = RoleRef { api_group: GROUP.to_owned(), kind: kind.to_owned(), name: name.clone() };
        let subjects = Some(vec![account.clone()]);
        let rules = Some(policy(&rules));
        if namespace.is_some() {
            document(&mut text, &Role { metadata: metadata.clone(), rules });
            document(&mut text, &RoleBinding { metadata, role_ref, subjects });
        } else {
            document(&mut text, &ClusterRole { metadata: metadata.clone(), rules, ..ClusterRole::default() });
            document(&mut text, &ClusterRoleBinding { metadata, role_ref, subjects });
        }
    }
    text
}

/// The fewest rules that say the same: resources of one group with the same verbs share one.
fn policy(rules: &[&Rule]) -> Vec<PolicyRule> {
    let mut verbs: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for rule in rules {
        verbs.entry((&rule.group, &rule.resource)).or_default().insert(&rule.verb);
    }
    let mut shared: BTreeMap<(&str, BTreeSet<&str>), Vec<&str>> = BTreeMap::new();
    for ((group, resource), verbs) in verbs {
        shared.entry((group, verbs)).or_default().push(resource);
    }
    let owned = |names: Vec<&str>| names.into_iter().map(ToOwned::to_owned).collect();
    shared
        .into_iter()
        .map(|((group, verbs), resources)| PolicyRule {
            api_groups: Some(vec![group.to_owned()]),
            resources: Some(owned(resources)),
            verbs: owned(verbs.into_iter().collect()),
            ..PolicyRule::default()
        })
        .collect()
}

fn document<T: Serialize>(text: &mut String, object: &T) {
    // Plain maps, lists and texts: there is nothing in a role that YAML could not say.
    if let Ok(yaml) = serde_yaml::to_string(object) {
        text.push_str("---\n");
        text.push_str(&yaml);
        if !yaml.ends_with('\n') {
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    fn rule(group: &str, resource: &str, verb: &str, namespace: Option<&str>) -> Rule {
        Rule {
            group: group.into(),
            resource: resource.into(),
            verb: verb.into(),
            namespace: namespace.map(Into::into),
            why: String::new(),
            optional: false,
        }
    }

    #[test]
    fn writes_a_role_per_namespace_and_one_for_the_cluster() {
        let mut plan = plan(Vec::new());
        plan.permissions = vec![
            rule("", "nodes", "list", None),
            rule("", "pods", "list", Some("shop")),
            rule("", "pods", "delete", Some("shop")),
            rule("apps", "deployments", "get", Some("shop")),
            rule("apps", "replicasets", "get", Some("shop")),
        ];
        insta::assert_snapshot!(rbac(&plan));
    }
}
