//! `asgSuspend`: processes of Auto Scaling groups suspended, or a zone taken out of them, then given back.

use std::collections::BTreeSet;
use std::time::Duration as Time;

use k8s_openapi::api::core::v1::Node;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contract::{
    About, Acting, CloudPermission, CloudScope, Complaint, Effect, Fault, FaultError, Heal, Injected, Left, Permission,
    Planning, Refusal, Resolution, Undo,
};
use super::groups::{CHOOSES, GroupTargets, cloud, target};
use super::hold::{self, HoldNote, Process, Strategy, TAG};
use super::instances::LISTS_NODES;
use super::kube::list;
use crate::cluster::{Cloud, Cluster, Group};
use crate::record::Target;

/// The service answers with the new state at once, or after a few reads.
const EFFECT_DEADLINE: Time = Time::from_secs(30);

/// Suspends processes of Auto Scaling groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AsgSuspend {
    /// Which groups.
    pub groups: GroupTargets,
    /// Which processes. Never empty: to AWS an empty list means all of them.
    #[schemars(length(min = 1))]
    pub processes: Vec<Process>,
    /// Only in this zone. A group of this zone alone is suspended; one of several zones, which can't be suspended for one of them, has the
    /// zone's subnets taken out instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Processes suspended besides, for the whole of each group: how a fault that is built on this one keeps a group from ending what it did.
    #[serde(skip)]
    pub(super) also: Vec<Process>,
}

impl Fault for AsgSuspend {
    const ABOUT: About = About {
        key: "asgSuspend",
        summary: "suspends processes of Auto Scaling groups, or holds one zone of them",
        details: "`autoscaling:SuspendProcesses` for the named processes, on groups that carry the cluster's tag. What somebody else had \
                  suspended before stays suspended afterwards: only what this run suspended is resumed.\n\n\
                  Suspension has no zone. With `zone`, a group of that zone alone is suspended; a group of several zones has \
                  AZRebalance suspended and then the zone's subnets taken out of it, so that it launches nothing there, moves nothing away, \
                  and goes on elsewhere. That stands for `processes: [Launch]` only; any other process is refused there, and so is a zone in which Karpenter \
                  runs nodes, because Karpenter asks no Auto Scaling group. The plan prints which of the two was chosen.\n\n\
                  The undo note is in the run's log and on the group, in the tags `squall.dev/undo`, `squall.dev/undo-processes` and \
                  `squall.dev/undo-subnets`, which are written before the group is touched. A group that carries another run's note is refused.",
        effect: "the group itself says that the processes are suspended, and that it launches in no subnet of the zone",
        ending: "resumes what we suspended and adds back the subnets that we took out to whatever the list is by then; what others changed \
                 meanwhile stays, is reported, and makes the run inconclusive. Whole again when the group has its wanted size in service on Ready nodes, \
                 spread over its zones as evenly as before: giving AZRebalance back may move instances once more",
        undoable: true,
        undoable_where: "",
        refusable: false,
        cannot: "take capacity away by itself; save scheduled actions that fall due meanwhile, which are lost; start by and by what is missing when Launch is resumed; be tried by dry run, which Auto Scaling has not: the plan has IAM simulate the caller's policies, and calls the permissions unverified where it may not",
        unrehearsable: "",
        examples: &[
            ("processes of a group", "{groups: {names: [workers-a]}, processes: [Launch, AZRebalance]}"),
            ("a zone", "{groups: {zone: us-east-1a, all: true}, processes: [Launch], zone: us-east-1a}"),
        ],
    };

    type Note = HoldNote;

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = self.groups.check();
        if self.processes.is_empty() {
            complaints.push(Complaint::new(
                &["processes"],
                "an empty list of processes means all of them to AWS",
                "name them: `processes: [Launch]`",
            ));
        }
        let distinct: BTreeSet<Process> = self.processes.iter().copied().collect();
        if distinct.len() < self.processes.len() {
            complaints.push(Complaint::new(&["processes"], "a process is named twice", "name each once"));
        }
        complaints
    }

    fn namespaces(&self) -> Vec<String> {
        Vec::new()
    }

    fn permissions(&self) -> Vec<Permission> {
        vec![LISTS_NODES]
    }

    fn cloud_permissions(&self) -> Vec<CloudPermission> {
        let mut rules = hold_permissions();
        if self.zone.is_none() {
            rules.retain(|rule| !matches!(rule.action, "autoscaling:UpdateAutoScalingGroup" | "ec2:DescribeSubnets"));
        }
        rules
    }

    fn effect_deadline(&self, _: &HoldNote) -> Time {
        EFFECT_DEADLINE
    }

    async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        let resolution = self.plan(cx).await?;
        // What gives nothing back takes nothing: the run would be green over what somebody else did.
        if resolution.undo.is_empty() {
            return Err(Refusal::new("everything that this step would suspend is suspended already")
                .hint("resume it first, if it is not meant to be, or choose other groups or processes"));
        }
        Ok(resolution)
    }

    async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<HoldNote>, FaultError> {
        let cloud = opened(cx.cluster)?;
        let Some(group) = hold::current(cloud, target).await? else { return Ok(None) };
        if let Some(run) = hold::marked_by(&group) {
            return Err(FaultError::State(format!("{target} carries the undo note of run `{run}` already")));
        }
        let strategy = self.strategy(cloud, &group).await.map_err(|refusal| FaultError::State(refusal.message))?;
        Ok(Some(strategy.note))
    }

    async fn inject(&self, cx: &Acting<'_>, target: &Target, note: &HoldNote) -> Result<Injected, FaultError> {
        let cloud = opened(cx.cluster)?;
        let Some(group) = hold::current(cloud, target).await? else {
            return Ok(Injected::Gone("the group is gone".to_owned()));
        };
        Ok(Injected::Done(hold::hold(cx, cloud, Self::ABOUT.key, &group, note).await?))
    }

    async fn effect(&self, cx: &Acting<'_>, target: &Target, note: &HoldNote) -> Result<Effect, FaultError> {
        let group = hold::current(opened(cx.cluster)?, target).await?;
        Ok(group.map_or_else(|| Effect::NotYet("the group is gone".to_owned()), |group| hold::held(&group, note)))
    }

    async fn undo(cx: &Acting<'_>, target: &Target, note: &HoldNote) -> Result<Undo, FaultError> {
        hold::release(cx, opened(cx.cluster)?, target, note).await
    }

    async fn left_on(cluster: &Cluster, _: Option<&str>) -> Result<Vec<Left>, FaultError> {
        hold::left(cluster, Self::ABOUT.key).await
    }

    async fn healed(cx: &Acting<'_>, target: &Target, note: &HoldNote) -> Result<Heal, FaultError> {
        hold::settled(cx, opened(cx.cluster)?, target, note).await
    }
}

impl AsgSuspend {
    /// What holding the groups comes to, whether or not somebody else holds them already.
    pub(super) async fn plan(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        let cloud = cloud(cx.cluster)?;
        let (chosen, of) = self.groups.choose(cx).await?;
        if let Some(zone) = &self.zone {
            refuse_karpenter(cx.cluster, zone).await?;
        }
        let mut resolution = Resolution { of, ..Resolution::default() };
        for group in &chosen {
            let strategy = self.strategy(cloud, group).await?;
            describe(cloud, group, &strategy, &mut resolution).await?;
        }
        Ok(resolution)
    }

    async fn strategy(&self, cloud: &Cloud, group: &Group) -> Result<Strategy, Refusal> {
        let subnets = if self.zone.is_some() && group.zones.len() > 1 {
            let ids: Vec<String> = group.subnets.iter().cloned().collect();
            cloud
                .subnets(&ids)
                .await
                .map_err(|e| Refusal::new(format!("can't read the subnets of group `{}`: {e}", group.name)))?
        } else {
            Vec::new()
        };
        Ok(hold::decide(group, &self.processes, self.zone.as_deref(), &subnets)?.and(group, &self.also))
    }
}

/// Everything that holding a group and giving it back calls.
pub(super) fn hold_permissions() -> Vec<CloudPermission> {
    let rule = |action, on, why| CloudPermission { action, on, why };
    vec![
        CHOOSES,
        rule(
            "autoscaling:DescribeInstanceRefreshes",
            CloudScope::All,
            "leave a group alone whose instances are being refreshed",
        ),
        rule("autoscaling:DescribeScalingActivities", CloudScope::All, "say what keeps a group from its wanted size"),
        rule("autoscaling:CreateOrUpdateTags", CloudScope::Group, "leave the undo note on the group"),
        rule("autoscaling:DeleteTags", CloudScope::Group, "remove the undo note"),
        rule("autoscaling:SuspendProcesses", CloudScope::Group, "hold the group"),
        rule("autoscaling:ResumeProcesses", CloudScope::Group, "give the processes back"),
        rule("autoscaling:UpdateAutoScalingGroup", CloudScope::Group, "take a zone's subnets out, and give them back"),
        rule("ec2:DescribeSubnets", CloudScope::All, "tell which subnets are the zone's"),
    ]
}

/// The open cloud at the time of an act or its undo.
pub(super) fn opened(cluster: &Cluster) -> Result<&Cloud, FaultError> {
    cluster.cloud().ok_or_else(|| FaultError::State("no AWS account is open for this cluster".to_owned()))
}

/// Refuses groups that something else is at work on, and writes the others into the plan.
async fn describe(
    cloud: &Cloud,
    group: &Group,
    strategy: &Strategy,
    resolution: &mut Resolution,
) -> Result<(), Refusal> {
    let name = &group.name;
    if let Some(run) = hold::marked_by(group) {
        return Err(Refusal::new(format!("group `{name}` carries the undo note of run `{run}` (tag `{TAG}`): that run left something behind"))
            .hint(format!("`squall recover {run}` takes it back; `squall recover --scan --aws ACCOUNT/REGION/CLUSTER` where its log is lost")));
    }
    let refreshing = cloud.is_refreshing(name).await;
    if refreshing.map_err(|e| Refusal::new(format!("can't see whether group `{name}` is being refreshed: {e}")))? {
        return Err(Refusal::new(format!("the instances of group `{name}` are being refreshed"))
            .hint("wait until the instance refresh is over, or cancel it"));
    }
    let note = &strategy.note;
    let theirs: BTreeSet<String> = note.held.difference(&note.suspend).cloned().collect();
    if !theirs.is_empty() {
        resolution
            .warnings
            .push(format!("group `{name}`: {} is suspended already, and stays so afterwards", hold::list(&theirs)));
    }
    if note.suspend.is_empty() && note.remove.is_empty() {
        resolution
            .warnings
            .push(format!("group `{name}`: everything that this step would suspend is suspended already"));
    }
    if !note.remove.is_empty() && group.tags.contains_key("eks:nodegroup-name") {
        resolution.warnings.push(format!(
            "group `{name}` belongs to an EKS managed node group, which may report the missing subnets as degraded"
        ));
    }
    resolution.calls.push(format!("group {name}: {}", strategy.why));
    resolution.calls.push(format!("autoscaling:CreateOrUpdateTags {name} (undo note, before anything else)"));
    if !note.suspend.is_empty() {
        resolution.calls.push(format!("autoscaling:SuspendProcesses {name} [{}]", hold::list(&note.suspend)));
        resolution.undo.push(format!("resume {} of group {name}", hold::list(&note.suspend)));
    }
    if !note.remove.is_empty() {
        let left: BTreeSet<String> = note.subnets.difference(&note.remove).cloned().collect();
        resolution.calls.push(format!(
            "autoscaling:UpdateAutoScalingGroup {name} (subnets {} → {})",
            hold::list(&note.subnets),
            hold::list(&left)
        ));
        resolution.undo.push(format!("add {} to the subnets that group {name} has by then", hold::list(&note.remove)));
    }
    resolution.targets.push(target(group));
    Ok(())
}

/// Karpenter starts instances by itself: holding groups would hold nothing.
async fn refuse_karpenter(cluster: &Cluster, zone: &str) -> Result<(), Refusal> {
    let nodes = list::<Node>(cluster.all(), "nodes", "", None).await?;
    let label = |node: &Node, key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key).cloned());
    let by_karpenter = nodes.iter().find(|node| {
        label(node, "topology.kubernetes.io/zone").as_deref() == Some(zone)
            && label(node, "karpenter.sh/nodepool").is_some()
    });
    let Some(node) = by_karpenter else { return Ok(()) };
    Err(Refusal::new(format!(
        "node `{}` in zone `{zone}` is Karpenter's, which asks no Auto Scaling group: capacity can't be held there",
        node.metadata.name.as_deref().unwrap_or_default()
    ))
    .hint("hold named groups without `zone`, if that is what you mean"))
}
