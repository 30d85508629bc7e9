//! The least of AWS that a plan needs, as an IAM policy.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Plan, PlannedStep};
use crate::cluster::Cluster;
use crate::fault::CloudScope;
use crate::record::AwsId;
use crate::spec::Experiment;

/// Keys of the tags that undo notes are made of: nothing else may be tagged.
const OUR_TAGS: &str = "squall.dev/*";
/// The tag that a network ACL of ours has from its first instant.
pub(super) const UNDO_TAG: &str = "squall.dev/undo";

/// One action of AWS with its reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudRule {
    /// `service:Action`.
    pub action: String,
    /// What it is called on, as ARNs.
    pub resources: BTreeSet<String>,
    /// What it is needed for.
    pub why: String,
    /// Whether the plan could find out that it is allowed: by calling it, by a dry run, or by a simulation of the caller's policies.
    pub verified: bool,
}

/// What a run of this experiment calls of AWS, each action once. `steps` are the resolved ones, and `cluster` the one that resolved them.
pub(super) fn needed(experiment: &Experiment, cluster: &Cluster, steps: &[PlannedStep]) -> Vec<CloudRule> {
    let Some(aws) = &cluster.id().aws else { return Vec::new() };
    let mut rules: BTreeMap<&str, CloudRule> = BTreeMap::new();
    for step in &experiment.spec.method {
        let planned = steps.iter().find(|planned| planned.name == step.name.as_str());
        for permission in step.fault.cloud_permissions() {
            let rule = rules.entry(permission.action).or_insert_with(|| CloudRule {
                action: permission.action.to_owned(),
                resources: BTreeSet::new(),
                why: permission.why.to_owned(),
                verified: was_allowed(cluster, permission.action),
            });
            rule.resources.extend(resources(permission.on, aws, planned));
            if !rule.why.split("; ").any(|why| why == permission.why) {
                rule.why = format!("{}; {}", rule.why, permission.why);
            }
        }
    }
    rules.into_values().collect()
}

/// Whether the plan itself has made the call, or its dry run, and was let.
fn was_allowed(cluster: &Cluster, action: &str) -> bool {
    action
        .split_once(':')
        .is_some_and(|(service, action)| cluster.ledger().has_been_allowed(&format!("{service}.amazonaws.com"), action))
}

fn resources(on: CloudScope, aws: &AwsId, planned: Option<&PlannedStep>) -> Vec<String> {
    let AwsId { account, region, .. } = aws;
    // `aws`, `aws-cn`, `aws-us-gov`: the caller's own ARN says in which of them this is.
    let partition = aws.caller.split(':').nth(1).unwrap_or("aws");
    let targets = planned.map_or(&[][..], |step| &step.targets);
    // A group's ARN holds an id that nobody knows beforehand.
    let group = |name: &str| {
        format!("arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{name}")
    };
    let ec2 = |what: &str| format!("arn:{partition}:ec2:{region}:{account}:{what}");
    match on {
        CloudScope::All => vec!["*".to_owned()],
        CloudScope::Group => targets.iter().filter(|t| t.kind == "group").map(|t| group(&t.name)).collect(),
        CloudScope::Member => {
            targets.iter().filter_map(|t| t.owner.as_ref()?.strip_prefix("group/")).map(group).collect()
        }
        // Instances are replaced between the policy and the run: which ones is said by the condition on their tag.
        CloudScope::Instance => vec![ec2("instance/*")],
        CloudScope::Vpc => targets
            .iter()
            .filter_map(|t| t.owner.as_ref()?.strip_prefix("vpc/"))
            .map(|id| ec2(&format!("vpc/{id}")))
            .collect(),
        CloudScope::Subnet => {
            targets.iter().filter(|t| t.kind == "subnet").map(|t| ec2(&format!("subnet/{}", t.name))).collect()
        }
        // Which one is said by conditions: ours don't exist yet, and what a subnet was under may be another's tomorrow.
        CloudScope::NewAcl | CloudScope::Acl => vec![ec2("network-acl/*")],
    }
}

/// The policy document: reads on everything, because IAM can't say less of a list, and each change on the plan's own groups, or on
/// instances that carry the cluster's tag.
#[must_use]
pub fn iam(plan: &Plan) -> String {
    let mut statements: BTreeMap<(BTreeSet<String>, String), Vec<&CloudRule>> = BTreeMap::new();
    for rule in &plan.cloud {
        // Resources of several kinds have conditions of their own.
        let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for resource in &rule.resources {
            let condition = condition(&rule.action, resource, plan.cluster.aws.as_ref());
            parts.entry(condition.to_string()).or_default().insert(resource.clone());
        }
        for (condition, resources) in parts {
            statements.entry((resources, condition)).or_default().push(rule);
        }
    }
    let statements: Vec<Value> = statements
        .into_iter()
        .map(|((resources, condition), rules)| {
            let actions: Vec<&str> = rules.iter().map(|rule| rule.action.as_str()).collect();
            let mut statement = json!({"Effect": "Allow", "Action": actions, "Resource": resources});
            let condition: Value = serde_json::from_str(&condition).unwrap_or_default();
            if condition.as_object().is_some_and(|condition| !condition.is_empty()) {
                statement["Condition"] = condition;
            }
            statement
        })
        .collect();
    let policy = json!({"Version": "2012-10-17", "Statement": statements});
    // A value of texts, lists and maps can always be written.
    serde_json::to_string_pretty(&policy).unwrap_or_default()
}

/// Under which condition an action is needed on a resource.
fn condition(action: &str, resource: &str, aws: Option<&AwsId>) -> Value {
    let mut condition = Map::new();
    let (Some(aws), false) = (aws, resource == "*") else { return Value::Object(condition) };
    let mut has = |key: String| condition.insert("Null".to_owned(), json!({ key: "false" }));
    if resource.ends_with(":network-acl/*") {
        match action {
            "ec2:CreateNetworkAcl" => has(format!("aws:RequestTag/{UNDO_TAG}")),
            "ec2:DeleteNetworkAcl" => has(format!("aws:ResourceTag/{UNDO_TAG}")),
            "ec2:CreateTags" => {
                condition.insert("StringEquals".to_owned(), json!({"ec2:CreateAction": "CreateNetworkAcl"}))
            }
            // The one that a subnet goes back to is not ours, and has no tag of ours.
            _ => None,
        };
    } else if !resource.contains(":vpc/") && !resource.contains(":subnet/") {
        has(format!("aws:ResourceTag/{}", aws.tag()));
    }
    if matches!(action, "autoscaling:CreateOrUpdateTags" | "autoscaling:DeleteTags" | "ec2:CreateTags") {
        condition.insert("ForAllValues:StringLike".to_owned(), json!({"aws:TagKeys": OUR_TAGS}));
    }
    Value::Object(condition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Call, Made};
    use crate::plan::tests::{experiment, pod, step};
    use crate::record::Target;

    #[tokio::test]
    async fn a_policy_names_the_plans_groups_and_nothing_wider() {
        let held = r#"[{"name": "h", "asgSuspend": {"groups": {"names": ["workers-a"]}, "processes": ["Launch"]}}]"#;
        let aws = AwsId {
            account: "123456789012".into(),
            region: "eu-west-1".into(),
            cluster: "shop".into(),
            caller: "arn:aws-cn:sts::123456789012:assumed-role/ci/x".into(),
            endpoints: Vec::new(),
        };
        let group = Target { kind: "group".into(), namespace: String::new(), ..pod("", "workers-a") };
        let steps = vec![step("h", 0, vec![group])];
        let mut plan = crate::plan::tests::plan(steps.clone());
        plan.cluster.aws = Some(aws);
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::empty()))
        });
        let cluster = Cluster::new(kube::Client::new(service, "default"), plan.cluster.clone());
        let made = |verb: &str, status| {
            let call = Call { group: "autoscaling.amazonaws.com".into(), verb: verb.into(), ..Call::default() };
            let now = tokio::time::Instant::now();
            cluster.ledger().record(Made { call, sent: now, ended: now, status: Some(status) });
        };
        made("DescribeAutoScalingGroups", 200);
        made("DescribeInstanceRefreshes", 200);
        made("DescribeScalingActivities", 403);
        plan.cloud = needed(&experiment(held), &cluster, &steps);
        insta::assert_snapshot!(iam(&plan));
        let unverified: Vec<&str> = plan.cloud.iter().filter(|r| !r.verified).map(|r| r.action.as_str()).collect();
        // Four changes, and a read that was refused.
        assert_eq!(unverified.len(), 5, "{unverified:?}");
        assert!(unverified.contains(&"autoscaling:DescribeScalingActivities"));
    }
    #[tokio::test]
    async fn a_network_acl_may_be_made_with_our_tag_and_deleted_with_it_and_nothing_else_of_it_changed() {
        let cut = r#"[{"name": "h", "zoneOutage": {"zone": "eu-west-1a", "mode": "isolate"}}]"#;
        let aws = AwsId {
            account: "123456789012".into(),
            region: "eu-west-1".into(),
            cluster: "shop".into(),
            ..AwsId::default()
        };
        let of = |kind: &str, name: &str| Target { kind: kind.into(), namespace: String::new(), ..pod("", name) };
        let subnet = Target { owner: Some("vpc/vpc-1".into()), ..of("subnet", "subnet-1") };
        let steps = vec![step("h", 0, vec![of("group", "workers-a"), subnet])];
        let mut plan = crate::plan::tests::plan(steps.clone());
        plan.cluster.aws = Some(aws);
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::empty()))
        });
        let cluster = Cluster::new(kube::Client::new(service, "default"), plan.cluster.clone());
        plan.cloud = needed(&experiment(cut), &cluster, &steps);
        insta::assert_snapshot!(iam(&plan));
    }
}
