//! What the caller's policies say of actions that neither a call nor a dry run has shown to be allowed.

use std::collections::{BTreeMap, BTreeSet};

use super::iam::UNDO_TAG;
use super::{CloudRule, PlannedStep, Refused};
use crate::cluster::{Cluster, Group, Simulated};
use crate::fault::Refusal;
use crate::record::AwsId;

/// What stands before the name in a group's ARN.
const GROUP: &str = ":autoScalingGroupName/";

/// Asks for each action that is not verified, and marks what is allowed. Answers what is surely denied. Where the caller may not
/// simulate, or can't be simulated, everything stays as it was.
pub(super) async fn simulate(cluster: &Cluster, rules: &mut [CloudRule], steps: &[PlannedStep]) -> Vec<Refused> {
    let Some(cloud) = cluster.cloud() else { return Vec::new() };
    let open = || rules.iter().filter(|rule| !rule.verified).flat_map(|rule| &rule.resources);
    let groups = if open().any(|resource| resource.contains(GROUP)) { cloud.groups().await } else { Ok(Vec::new()) };
    let Ok(groups) = groups else { return Vec::new() };
    let mut refused = Vec::new();
    for rule in rules.iter_mut().filter(|rule| !rule.verified) {
        let (mut answers, mut complete) = (Vec::new(), true);
        for asked in questions(rule, &groups, steps) {
            match cloud.simulate(&rule.action, &asked.resources, &asked.context).await {
                Ok(Some(answer)) => answers.push((answer, asked.is_exact())),
                // What one action is told every other would be.
                Ok(None) => return refused,
                Err(error) if error.is_denied() || error.is_transient() => return refused,
                // Of a part of it nothing is known: what the others say is not enough.
                Err(_) => complete = false,
            }
        }
        rule.verified = complete && !answers.is_empty() && answers.iter().all(|(answer, _)| answer.allowed);
        let sure = answers.iter().find(|(answer, exact)| !answer.allowed && is_sure(answer, *exact));
        refused.extend(sure.map(|(answer, _)| denied(answer, cloud.id())));
    }
    refused
}

/// One simulation of an action: on resources that have the same tags.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    resources: BTreeSet<String>,
    /// The values of condition keys that a run's own request has.
    context: BTreeMap<String, String>,
}

impl Question {
    /// Whether these are exactly what the action is called on: what does not exist yet has no ARN.
    fn is_exact(&self) -> bool {
        self.resources.iter().all(|resource| resource == "*" || !resource.contains('*'))
    }
}

/// What has to be asked of one action. A group is named by its own ARN, as a policy may name the id in it, and has its own tags.
fn questions(rule: &CloudRule, groups: &[Group], steps: &[PlannedStep]) -> Vec<Question> {
    let instances = || steps.iter().flat_map(|step| &step.targets).filter_map(|target| target.instance.as_ref());
    let mut by_context: BTreeMap<BTreeMap<String, String>, BTreeSet<String>> = BTreeMap::new();
    let mut ask = |resource: String, tags: BTreeMap<String, String>| {
        let context = of_request(&rule.action).chain(tags).collect();
        by_context.entry(context).or_default().insert(resource);
    };
    for resource in &rule.resources {
        let named = resource.split_once(GROUP).map(|(_, name)| name);
        if let Some(group) = named.and_then(|name| groups.iter().find(|group| group.name == name)) {
            ask(group.arn.clone(), of_tags(group));
        } else if let Some(start) = resource.strip_suffix("instance/*") {
            instances().for_each(|id| ask(format!("{start}instance/{id}"), BTreeMap::new()));
        } else {
            ask(resource.clone(), BTreeMap::new());
        }
    }
    by_context.into_iter().map(|(context, resources)| Question { resources, context }).collect()
}

/// The keys by which a policy can look at a group's tags.
fn of_tags(group: &Group) -> BTreeMap<String, String> {
    let keys = |(tag, value): (&String, &String)| {
        ["aws", "autoscaling"].map(|service| (format!("{service}:ResourceTag/{tag}"), value.clone()))
    };
    group.tags.iter().flat_map(keys).collect()
}

/// The keys that the request itself brings, as our own policies name them.
fn of_request(action: &str) -> impl Iterator<Item = (String, String)> {
    let tags =
        [("aws:TagKeys".to_owned(), UNDO_TAG.to_owned()), (format!("aws:RequestTag/{UNDO_TAG}"), "x".to_owned())];
    let made = [("ec2:CreateAction".to_owned(), "CreateNetworkAcl".to_owned())];
    let (tags, made) = match action {
        "autoscaling:CreateOrUpdateTags" | "autoscaling:DeleteTags" | "ec2:CreateNetworkAcl" => (Some(tags), None),
        "ec2:CreateTags" => (Some(tags), Some(made)),
        _ => (None, None),
    };
    tags.into_iter().flatten().chain(made.into_iter().flatten())
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

    fn group(name: &str, cluster: &str) -> Group {
        Group {
            name: name.into(),
            arn: format!("arn:aws:autoscaling:r:1:autoScalingGroup:uuid:autoScalingGroupName/{name}"),
            tags: BTreeMap::from([("kubernetes.io/cluster/shop".into(), cluster.into())]),
            ..Group::default()
        }
    }

    #[test]
    fn groups_are_asked_for_by_their_own_arns_and_tags() {
        let groups = [group("workers-a", "owned"), group("workers-b", "owned"), group("workers-c", "shared")];
        let wild = |name: &str| format!("arn:aws:autoscaling:r:1:autoScalingGroup:*:autoScalingGroupName/{name}");
        let names = ["workers-a", "workers-b", "workers-c", "gone"].map(wild);
        let asked = questions(&rule(&names.each_ref().map(String::as_str)), &groups, &[]);
        let told: Vec<_> = asked
            .iter()
            .map(|it| (it.context.get("aws:ResourceTag/kubernetes.io/cluster/shop"), it.resources.len(), it.is_exact()))
            .collect();
        let (owned, shared) = ("owned".to_owned(), "shared".to_owned());
        assert_eq!(told, [(None, 1, false), (Some(&owned), 2, true), (Some(&shared), 1, true)]);
        assert!(asked[1].resources.contains(&groups[0].arn), "{asked:?}");
        assert!(asked.iter().all(|it| !it.context.contains_key("aws:TagKeys")), "suspending brings no tags");
    }

    #[test]
    fn what_does_not_exist_yet_is_not_exact_and_instances_are() {
        let asked = |resource: &str, steps: &[PlannedStep]| questions(&rule(&[resource]), &[], steps);
        assert!(asked("*", &[])[0].is_exact());
        assert!(!asked("arn:aws:ec2:r:1:network-acl/*", &[])[0].is_exact());
        let mut target = crate::plan::tests::pod("", "n1");
        target.instance = Some("i-1".into());
        let steps = [crate::plan::tests::step("kill", 0, vec![target])];
        let (any, one) = ("arn:aws:ec2:r:1:instance/*", BTreeSet::from(["arn:aws:ec2:r:1:instance/i-1".to_owned()]));
        assert_eq!(asked(any, &steps), [Question { resources: one, context: BTreeMap::new() }]);
        assert_eq!(asked(any, &[]), [], "nothing to ask, and nothing verified");
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
