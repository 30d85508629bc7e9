//! What a run may change: the plan's targets, by the verbs that their faults declare. Told to the leash below the client.

use super::PlannedStep;
use crate::cluster::Let;
use crate::fault::{CloudPermission, CloudScope, Permission};
use crate::record::Target;
use crate::spec::Experiment;

/// Every change that carrying out these steps can ask for.
#[must_use]
pub fn reach(experiment: &Experiment, steps: &[PlannedStep]) -> Vec<Let> {
    let mut lets = Vec::new();
    for step in &experiment.spec.method {
        let planned = steps.iter().filter(|planned| planned.name == step.name.as_str());
        let (mut targets, mut leaving) = (Vec::new(), Vec::new());
        for planned in planned {
            targets.extend(&planned.targets);
            leaving.extend(&planned.leaving);
        }
        for permission in step.fault.permissions() {
            if matches!(permission.verb, "get" | "list" | "watch") {
                continue;
            }
            lets.extend(targets.iter().filter_map(|target| one(&permission, target)));
            lets.extend(leaving.iter().filter_map(|pod| in_place_of(&permission, pod)));
        }
        for permission in step.fault.cloud_permissions() {
            lets.extend(targets.iter().filter_map(|target| of_cloud(permission, target)));
        }
    }
    lets
}

/// Changes by which a target's fault is taken back, whichever they are.
#[must_use]
pub fn reach_of_undo(target: &Target) -> Let {
    if target.kind == "group" {
        return of_group("autoscaling", target);
    }
    Let {
        verb: None,
        group: None,
        resource: plural(target),
        namespace: target.namespace.clone(),
        name: Some(target.name.clone()),
    }
}

fn one(permission: &Permission, target: &Target) -> Option<Let> {
    let namespace = permission.namespace.clone().unwrap_or_default();
    let base = permission.resource.split('/').next().unwrap_or_default();
    // A permission on the target's own kind is used on the target alone, one on another kind on any object of its namespace.
    let own = base == plural(target);
    (!own || namespace == target.namespace).then(|| Let {
        verb: Some(permission.verb.to_owned()),
        group: Some(permission.group.to_owned()),
        resource: permission.resource.to_owned(),
        namespace,
        name: own.then(|| target.name.clone()),
    })
}

/// An action on the target itself. Reads need no leave.
fn of_cloud(permission: CloudPermission, target: &Target) -> Option<Let> {
    let (service, action) = permission.action.split_once(':')?;
    let verb = Some(action.to_owned());
    match permission.on {
        CloudScope::All => None,
        CloudScope::Group => (target.kind == "group").then(|| Let { verb, ..of_group(service, target) }),
        CloudScope::Instance | CloudScope::Member => target.instance.as_ref().map(|id| Let {
            verb,
            group: Some(format!("{service}.amazonaws.com")),
            resource: String::new(),
            namespace: String::new(),
            name: Some(id.clone()),
        }),
    }
}

/// Every change of an Auto Scaling group.
fn of_group(service: &str, target: &Target) -> Let {
    Let {
        verb: None,
        group: Some(format!("{service}.amazonaws.com")),
        resource: String::new(),
        namespace: String::new(),
        name: Some(target.name.clone()),
    }
}

/// What leaves with a target may have been replaced by another of its namespace by the time that it is its turn.
fn in_place_of(permission: &Permission, leaving: &Target) -> Option<Let> {
    let base = permission.resource.split('/').next().unwrap_or_default();
    (permission.namespace.is_none() && base == plural(leaving)).then(|| Let {
        verb: Some(permission.verb.to_owned()),
        group: Some(permission.group.to_owned()),
        resource: permission.resource.to_owned(),
        namespace: leaving.namespace.clone(),
        name: None,
    })
}

fn plural(target: &Target) -> String {
    format!("{}s", target.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{experiment, pod, step};

    #[test]
    fn a_run_reaches_its_targets_by_its_faults_verbs_only() {
        let kill = r#"[{"name": "k", "podKill": {"pods": {"namespace": "shop", "selector": "app=web"}}}]"#;
        let lets = reach(&experiment(kill), &[step("k", 0, vec![pod("shop", "web-1"), pod("shop", "web-2")])]);
        let seen: Vec<String> = lets
            .iter()
            .map(|l| {
                format!("{} {} {}/{}", l.verb.as_deref().unwrap(), l.resource, l.namespace, l.name.as_deref().unwrap())
            })
            .collect();
        assert_eq!(seen, ["delete pods shop/web-1", "delete pods shop/web-2"]);
        assert!(reach(&experiment(kill), &[step("k", 0, Vec::new())]).is_empty());
    }

    #[test]
    fn a_drain_reaches_its_nodes_and_evicts_in_the_namespaces_of_what_is_on_them() {
        let drain = r#"[{"name": "d", "nodeDrain": {"nodes": {"names": ["n1"]}}}]"#;
        let mut planned = step("d", 0, vec![Target { kind: "node".into(), ..pod("", "n1") }]);
        planned.leaving = vec![pod("shop", "web-1")];
        let lets = reach(&experiment(drain), &[planned]);
        let evict = Let {
            verb: Some("create".into()),
            group: Some(String::new()),
            resource: "pods/eviction".into(),
            namespace: "shop".into(),
            name: None,
        };
        let node = Let {
            verb: Some("patch".into()),
            resource: "nodes".into(),
            namespace: String::new(),
            name: Some("n1".into()),
            ..evict.clone()
        };
        assert!(lets.contains(&evict) && lets.contains(&node), "{lets:?}");
        assert!(
            lets.iter().all(|l| l.namespace == "shop" || l.name.is_some() || l.resource == "pods/eviction"),
            "{lets:?}"
        );
    }

    #[test]
    fn an_undo_reaches_its_target_only() {
        let back = reach_of_undo(&Target { kind: "deployment".into(), ..pod("shop", "web") });
        assert_eq!((back.resource.as_str(), back.name.as_deref()), ("deployments", Some("web")));
    }
}
