//! What the caller's policies say of actions that neither a call nor a dry run has shown to be allowed.

use std::collections::{BTreeMap, BTreeSet};

use super::{CloudRule, PlannedStep, Refused};
use crate::cluster::{Cloud, CloudError, Cluster, Simulated};
use crate::fault::Refusal;
use crate::record::AwsId;

/// Asks for each action that is not verified, and marks what is allowed. Answers what is surely denied. Where the caller may not
/// simulate, or can't be simulated, everything stays as it was.
pub(super) async fn simulate(cluster: &Cluster, rules: &mut [CloudRule], steps: &[PlannedStep]) -> Vec<Refused> {
    let Some(cloud) = cluster.cloud() else { return Vec::new() };
    let Ok(arns) = arns(cloud).await else { return Vec::new() };
    let mut refused = Vec::new();
    for rule in rules.iter_mut().filter(|rule| !rule.verified) {
        let (resources, exact) = resources(rule, cloud.id(), &arns, steps);
        match cloud.simulate(&rule.action, &resources, &context(cloud.id())).await {
            Ok(Some(answer)) if answer.allowed => rule.verified = true,
            Ok(Some(answer)) if is_sure(&answer, exact) => refused.push(denied(&answer, cloud.id())),
            Ok(Some(_)) => {}
            // What one action is told every other would be.
            Ok(None) | Err(CloudError { .. }) => return refused,
        }
    }
    refused
}

/// The groups' own ARNs, by name: a policy may name the id in them.
async fn arns(cloud: &Cloud) -> Result<BTreeMap<String, String>, CloudError> {
    Ok(cloud.groups().await?.into_iter().map(|group| (group.name, group.arn)).collect())
}

/// What the action is called on, and whether that is all of it exactly: what does not exist yet has no ARN.
fn resources(
    rule: &CloudRule,
    aws: &AwsId,
    arns: &BTreeMap<String, String>,
    steps: &[PlannedStep],
) -> (BTreeSet<String>, bool) {
    let instances = || steps.iter().flat_map(|step| &step.targets).filter_map(|target| target.instance.as_ref());
    let mut found = BTreeSet::new();
    for resource in &rule.resources {
        if let Some((_, name)) = resource.split_once(":autoScalingGroupName/") {
            found.insert(arns.get(name).unwrap_or(resource).clone());
        } else if let Some(start) = resource.strip_suffix("instance/*") {
            found.extend(instances().map(|id| format!("{start}instance/{id}")));
        } else {
            found.insert(resource.clone());
        }
    }
    let _ = aws;
    let exact = !found.is_empty() && found.iter().all(|resource| resource == "*" || !resource.contains('*'));
    (found, exact)
}

/// The values of the conditions that our own policies name, as a run's requests have them.
fn context(aws: &AwsId) -> BTreeMap<String, String> {
    let pairs = [
        (format!("aws:ResourceTag/{}", aws.tag()), "owned"),
        ("aws:TagKeys".to_owned(), "squall.dev/undo"),
        ("aws:RequestTag/squall.dev/undo".to_owned(), "x"),
        ("aws:ResourceTag/squall.dev/undo".to_owned(), "x"),
        ("ec2:CreateAction".to_owned(), "CreateNetworkAcl"),
    ];
    pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect()
}

/// Whether the real call would be denied too: in so many words, or on exactly the resources and with every value that counts.
fn is_sure(answer: &Simulated, exact: bool) -> bool {
    answer.missing.is_empty() && (answer.denied || exact)
}

fn denied(answer: &Simulated, aws: &AwsId) -> Refused {
    let why = if answer.denied { "a policy denies" } else { "no policy allows" };
    let text = format!("{why} `{}` to {} (as simulated by IAM)", answer.action, aws.caller);
    Refusal::new(text).hint("`squall plan FILE --iam` prints the policy that the run needs").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(resources: &[&str]) -> CloudRule {
        CloudRule {
            action: "autoscaling:SuspendProcesses".into(),
            resources: resources.iter().map(|it| (*it).to_owned()).collect(),
            why: String::new(),
            verified: false,
        }
    }

    #[test]
    fn groups_and_instances_are_named_as_they_are() {
        let aws = AwsId::default();
        let arn = "arn:aws:autoscaling:r:1:autoScalingGroup:uuid:autoScalingGroupName/workers-a";
        let arns = BTreeMap::from([("workers-a".to_owned(), arn.to_owned())]);
        let group = "arn:aws:autoscaling:r:1:autoScalingGroup:*:autoScalingGroupName/workers-a";
        assert_eq!(resources(&rule(&[group]), &aws, &arns, &[]), (BTreeSet::from([arn.to_owned()]), true));
        let other = "arn:aws:autoscaling:r:1:autoScalingGroup:*:autoScalingGroupName/unknown";
        assert!(!resources(&rule(&[other]), &aws, &arns, &[]).1);
        assert!(resources(&rule(&["*"]), &aws, &arns, &[]).1);
        assert!(!resources(&rule(&["arn:aws:ec2:r:1:network-acl/*"]), &aws, &arns, &[]).1, "it does not exist yet");
        let mut target = crate::plan::tests::pod("", "n1");
        target.instance = Some("i-1".into());
        let steps = [crate::plan::tests::step("kill", 0, vec![target])];
        let (found, exact) = resources(&rule(&["arn:aws:ec2:r:1:instance/*"]), &aws, &arns, &steps);
        assert_eq!((found, exact), (BTreeSet::from(["arn:aws:ec2:r:1:instance/i-1".to_owned()]), true));
    }

    #[test]
    fn only_what_is_sure_refuses_a_run() {
        let answer = |denied, missing: &[&str]| Simulated {
            action: "a:b".into(),
            allowed: false,
            denied,
            missing: missing.iter().map(|it| (*it).to_owned()).collect(),
        };
        assert!(is_sure(&answer(true, &[]), false) && is_sure(&answer(false, &[]), true));
        assert!(!is_sure(&answer(false, &[]), false), "on other resources it may be allowed");
        assert!(!is_sure(&answer(true, &["aws:SourceIp"]), true), "from another place it may be allowed");
    }
}
