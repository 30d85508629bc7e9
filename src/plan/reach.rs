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
pub fn reach_of_undo(target: &Target) -> Vec<Let> {
    let own = Let {
        verb: None,
        group: None,
        resource: plural(target),
        namespace: target.namespace.clone(),
        name: Some(target.name.clone()),
    };
    match target.kind.as_str() {
        "group" => vec![of_aws("autoscaling", &target.name)],
        "subnet" => vec![of_aws("ec2", &target.name)],
        // Its controller copies the undo note to its ReplicaSets, whose names nobody knows beforehand.
        "deployment" => {
            let (verb, resource) = (Some("patch".to_owned()), "replicasets".to_owned());
            vec![Let { verb, resource, name: None, ..own.clone() }, own]
        }
        _ => vec![own],
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
        // What is made gets its tags in the same call.
        CloudScope::All | CloudScope::NewAcl => None,
        CloudScope::Group => (target.kind == "group").then(|| Let { verb, ..of_aws(service, &target.name) }),
        CloudScope::Instance | CloudScope::Member => {
            target.instance.as_ref().map(|id| Let { verb, ..of_aws(service, id) })
        }
        CloudScope::Vpc => target.owner.as_ref()?.strip_prefix("vpc/").map(|id| Let { verb, ..of_aws(service, id) }),
        CloudScope::Subnet | CloudScope::Acl => {
            (target.kind == "subnet").then(|| Let { verb, ..of_aws(service, &target.name) })
        }
    }
}

/// Every change of something on AWS.
fn of_aws(service: &str, name: &str) -> Let {
    Let {
        verb: None,
        group: Some(format!("{service}.amazonaws.com")),
        resource: String::new(),
        namespace: String::new(),
        name: Some(name.to_owned()),
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
        let seen: Vec<_> = back.iter().map(|l| (l.verb.as_deref(), l.resource.as_str(), l.name.as_deref())).collect();
        assert_eq!(seen, [(Some("patch"), "replicasets", None), (None, "deployments", Some("web"))]);
        assert!(back.iter().all(|l| l.namespace == "shop"));
    }

    #[test]
    fn a_cut_reaches_its_subnets_and_makes_acls_in_their_network_only() {
        let cut = r#"[{"name": "c", "zoneOutage": {"zone": "a", "mode": "isolate"}}]"#;
        let subnet = Target { kind: "subnet".into(), owner: Some("vpc/vpc-1".into()), ..pod("", "subnet-1") };
        let lets = reach(&experiment(cut), &[step("c", 0, vec![subnet.clone()])]);
        let ec2 = lets.iter().filter(|l| l.group.as_deref() == Some("ec2.amazonaws.com"));
        let seen: Vec<(&str, &str)> = ec2.map(|l| (l.verb.as_deref().unwrap(), l.name.as_deref().unwrap())).collect();
        for expected in [
            ("CreateNetworkAcl", "vpc-1"),
            ("ReplaceNetworkAclAssociation", "subnet-1"),
            ("DeleteNetworkAcl", "subnet-1"),
        ] {
            assert!(seen.contains(&expected), "{seen:?}");
        }
        assert!(
            seen.iter().all(|(verb, _)| !verb.ends_with("Tags")),
            "what is tagged is tagged as it is made: {seen:?}"
        );
        let [back] = &reach_of_undo(&subnet)[..] else { panic!("one thing is let") };
        assert_eq!((back.group.as_deref(), back.name.as_deref()), (Some("ec2.amazonaws.com"), Some("subnet-1")));
    }
}
