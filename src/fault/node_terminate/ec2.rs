//! Machines that are EC2 instances: terminated, and replaced by their groups.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::asg_suspend::opened;
use super::super::contract::{
    Acting, CloudPermission, CloudScope, Effect, FaultError, Heal, Injected, Permission, Planning, Refusal, Resolution,
};
use super::super::groups::{self, cloud};
use super::super::hold;
use super::super::instances::{self, Backed, LISTS_NODES, instance_of, node_now};
use super::super::leaving::{loss_permissions, lost_with};
use super::super::nodes::{NodeTargets, is_ready};
use super::{SEES_NODES, TerminateMode};
use crate::cluster::{Cloud, CloudError, Instance};
use crate::record::Target;

/// What healing needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ec2Note {
    instance: String,
    /// Its group, as a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<Target>,
    /// Whether Karpenter started it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    karpenter: bool,
    /// Ready nodes before.
    ready: usize,
}

impl Ec2Note {
    pub(super) async fn effect(&self, cx: &Acting<'_>, target: &Target) -> Result<Effect, FaultError> {
        let id = &self.instance;
        let found = opened(cx.cluster)?.instances(std::slice::from_ref(id)).await?.pop();
        let state = found.map_or_else(|| "not known any more".to_owned(), |instance| instance.state);
        if !matches!(state.as_str(), "shutting-down" | "terminated" | "not known any more") {
            return Ok(Effect::NotYet(format!("instance {id} is {state}")));
        }
        Ok(match node_now(cx.cluster, target).await? {
            None => Effect::Seen(format!("instance {id} is {state}, and its node is gone")),
            Some(found) if !is_ready(&found) => {
                Effect::Seen(format!("instance {id} is {state}, and its node is not Ready"))
            }
            Some(_) => Effect::NotYet(format!("instance {id} is {state}, and its node still says Ready")),
        })
    }

    pub(super) async fn healed(&self, cx: &Acting<'_>, target: &Target) -> Result<Heal, FaultError> {
        if let Some(node) = node_now(cx.cluster, target).await?
            && is_ready(&node)
        {
            return Ok(Heal::NotYet(format!("{target} still says Ready")));
        }
        match &self.group {
            Some(group) => hold::whole(cx, opened(cx.cluster)?, group, Some(&self.instance)).await,
            None if self.karpenter => {
                let nodes = instances::nodes(cx.cluster).await?;
                let (ready, before) = (nodes.iter().filter(|node| is_ready(node)).count(), self.ready);
                let words = format!("{ready} nodes are Ready, {before} were before");
                Ok(if ready >= before { Heal::Healed(words) } else { Heal::NotYet(words) })
            }
            None => Ok(Heal::Healed("no group owns it, so that nothing replaces it".to_owned())),
        }
    }
}

/// Nodes whose instances end in one way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ec2<'a> {
    pub nodes: &'a NodeTargets,
    pub mode: TerminateMode,
}

impl Ec2<'_> {
    pub(super) fn permissions(&self) -> Vec<Permission> {
        let mut rules = self.nodes.permissions();
        rules.extend(loss_permissions());
        rules.push(LISTS_NODES);
        rules.push(SEES_NODES);
        rules
    }

    pub(super) fn cloud_permissions(&self) -> Vec<CloudPermission> {
        let rule = |action, on, why| CloudPermission { action, on, why };
        vec![
            rule(
                "ec2:DescribeInstances",
                CloudScope::All,
                "see whether an instance is the cluster's, and whether it is gone",
            ),
            rule("ec2:DescribeInstanceAttribute", CloudScope::Instance, "leave protected instances alone"),
            rule("autoscaling:DescribeAutoScalingGroups", CloudScope::All, "see whether the group has replaced it"),
            rule(
                "autoscaling:DescribeScalingActivities",
                CloudScope::All,
                "say what keeps a group from its wanted size",
            ),
            match self.mode {
                TerminateMode::ScaleIn => rule(
                    "autoscaling:TerminateInstanceInAutoScalingGroup",
                    CloudScope::Member,
                    "have its group take an instance out",
                ),
                _ => rule("ec2:TerminateInstances", CloudScope::Instance, "terminate the targets"),
            },
        ]
    }

    pub(super) async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        let (mut resolution, protected) = self.plan(cx).await?;
        resolution.warnings.extend(protected.iter().map(|why| format!("{why}: skipped")));
        Ok(resolution)
    }

    /// What terminating the nodes comes to, and why each of those that are protected is passed over.
    pub(super) async fn plan(&self, cx: &Planning<'_>) -> Result<(Resolution, Vec<String>), Refusal> {
        let cloud = cloud(cx.cluster)?;
        let mut resolution = Resolution::default();
        let (chosen, protected) = self.choose(cx, cloud, &mut resolution).await?;
        for found in chosen {
            self.rehearse(cloud, &found).await?;
            resolution.leaving.extend(lost_with(cx.cluster, &found.target.name).await?);
            self.describe(cloud, found, &mut resolution).await?;
        }
        Ok((resolution, protected))
    }

    pub(super) async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<Ec2Note>, FaultError> {
        let cloud = opened(cx.cluster)?;
        let Some(node) = node_now(cx.cluster, target).await? else { return Ok(None) };
        let id = instance_of(&node).unwrap_or_default();
        if target.instance.as_ref() != Some(&id) {
            return Ok(None);
        }
        let Some(instance) = cloud.instances(std::slice::from_ref(&id)).await?.pop() else { return Ok(None) };
        let backed = Backed { target: target.clone(), instance };
        if let Some(why) = backed.wrong(cloud) {
            return Err(FaultError::State(why));
        }
        if let Some(why) = backed.protection(cloud).await? {
            return Err(FaultError::State(why));
        }
        let group = match backed.instance.group() {
            Some(name) => cloud.group(name).await?,
            None => None,
        };
        let nodes = instances::nodes(cx.cluster).await?;
        Ok(Some(Ec2Note {
            karpenter: by_karpenter(&backed.instance),
            instance: id,
            group: group.as_ref().map(groups::target),
            ready: nodes.iter().filter(|node| is_ready(node)).count(),
        }))
    }

    pub(super) async fn inject(&self, cx: &Acting<'_>, note: &Ec2Note) -> Result<Injected, FaultError> {
        let cloud = opened(cx.cluster)?;
        let id = &note.instance;
        let answer = match self.mode {
            TerminateMode::ScaleIn => cloud.scale_in(id).await,
            mode => cloud.terminate(id, mode == TerminateMode::PowerLoss, false).await,
        };
        match answer {
            Ok(()) => Ok(Injected::Done(format!("{} accepted for {id}", self.mode.call()))),
            Err(e) if is_unknown(&e) => Ok(Injected::Gone(format!("there is no instance {id} any more"))),
            Err(e) => Err(e.into()),
        }
    }

    /// Chooses nodes whose instances may be terminated. A protected one is passed over for another that matches, as far as there are
    /// any; also why each of those was.
    async fn choose(
        &self,
        cx: &Planning<'_>,
        cloud: &Cloud,
        resolution: &mut Resolution,
    ) -> Result<(Vec<Backed>, Vec<String>), Refusal> {
        let mut skipped = Vec::new();
        let mut protected: BTreeSet<String> = BTreeSet::new();
        loop {
            let taken = cx.taken.union(&protected).cloned().collect();
            let planning = Planning { taken: &taken, ..*cx };
            let (chosen, of) = self.nodes.choose(&planning).await?;
            resolution.of = of;
            let mut found = Vec::new();
            let known = protected.len();
            for backed in Backed::of(cloud, chosen).await? {
                if let Some(why) = backed.wrong(cloud) {
                    return Err(Refusal::new(why));
                }
                if protected.contains(&backed.target.uid) {
                    continue;
                }
                let protection = backed.protection(cloud).await;
                match protection
                    .map_err(|e| Refusal::new(format!("can't see whether {} is protected: {e}", backed.target)))?
                {
                    Some(why) => {
                        skipped.push(why);
                        protected.insert(backed.target.uid);
                    }
                    None => found.push(backed),
                }
            }
            if protected.len() > known {
                continue;
            }
            if found.is_empty() {
                return Err(Refusal::new("every node that matches is protected from termination")
                    .hint("protection is never taken away: choose other nodes"));
            }
            return Ok((found, skipped));
        }
    }

    /// Asks EC2 by dry run what it would answer now. Auto Scaling has no dry run.
    async fn rehearse(&self, cloud: &Cloud, backed: &Backed) -> Result<(), Refusal> {
        let id = &backed.instance.id;
        let error = match self.mode {
            TerminateMode::ScaleIn if backed.instance.group().is_none() => {
                return Err(Refusal::new(format!(
                    "instance {id} of {} belongs to no Auto Scaling group that could scale in",
                    backed.target
                )));
            }
            TerminateMode::ScaleIn => return Ok(()),
            mode => match cloud.terminate(id, mode == TerminateMode::PowerLoss, true).await {
                Err(error) => error,
                Ok(()) => return Err(Refusal::new(format!("EC2 answered a dry run on {id} as if it were none"))),
            },
        };
        if error.would_succeed() {
            return Ok(());
        }
        let refusal = Refusal::new(format!("EC2 would not terminate {id}: {error}"));
        Err(if error.is_denied() {
            refusal.hint("`squall plan FILE --iam` prints the policy that the run needs")
        } else {
            refusal
        })
    }

    async fn describe(&self, cloud: &Cloud, backed: Backed, resolution: &mut Resolution) -> Result<(), Refusal> {
        let Backed { target, instance } = &backed;
        let id = &instance.id;
        let tried = match self.mode {
            TerminateMode::ScaleIn => "",
            _ => "; by dry run EC2 accepts it now",
        };
        resolution.calls.push(format!("{} {id} ({target}, {}{tried})", self.mode.call(), instance.zone));
        match instance.group() {
            Some(name) => {
                resolution.undo.push(format!("none: group {name} replaces it"));
                let group =
                    cloud.group(name).await.map_err(|e| Refusal::new(format!("can't read group `{name}`: {e}")))?;
                let stopped: BTreeSet<String> = group.map(|group| group.suspended).unwrap_or_default();
                let needed = ["Launch", "Terminate", "HealthCheck", "ReplaceUnhealthy"];
                for process in needed.into_iter().filter(|process| stopped.contains(*process)) {
                    let text = format!("group `{name}` has {process} suspended: without it nothing replaces {target}");
                    resolution.warnings.push(text);
                }
            }
            None if by_karpenter(instance) => {
                resolution.undo.push(format!("none: Karpenter replaces {target} if its pods need it"));
            }
            None => {
                resolution.undo.push(format!("none: {target} stays away"));
                resolution
                    .warnings
                    .push(format!("{target} belongs to no Auto Scaling group: nothing will bring it back"));
            }
        }
        resolution.targets.push(backed.into_target());
        Ok(())
    }
}

impl TerminateMode {
    const fn call(self) -> &'static str {
        match self {
            Self::PowerLoss => "ec2:TerminateInstances SkipOsShutdown",
            Self::Shutdown => "ec2:TerminateInstances",
            Self::ScaleIn => "autoscaling:TerminateInstanceInAutoScalingGroup",
        }
    }
}

fn by_karpenter(instance: &Instance) -> bool {
    instance.tags.keys().any(|key| key.starts_with("karpenter.sh/"))
}

fn is_unknown(error: &CloudError) -> bool {
    error.code.as_deref() == Some("InvalidInstanceID.NotFound")
}
