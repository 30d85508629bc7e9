//! `nodeTerminate`: the machines under nodes end, and their groups replace them.

use std::collections::BTreeSet;
use std::time::Duration as Time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asg_suspend::opened;
use super::contract::{
    About, Acting, CloudPermission, CloudScope, Complaint, Effect, Fault, FaultError, Heal, Injected, Permission,
    Planning, Refusal, Resolution, Undo,
};
use super::groups::cloud;
use super::hold;
use super::instances::{Backed, LISTS_NODES, instance_of, node_now};
use super::leaving::{loss_permissions, lost_with};
use super::nodes::{NodeTargets, is_ready};
use crate::cluster::{Cloud, CloudError, Instance};
use crate::record::Target;

/// A node that lost its power is silent; the cluster calls it `NotReady` only when it was not heard of for a while, 40 s by default.
pub(super) const EFFECT_DEADLINE: Time = Time::from_secs(150);

/// Terminates the instances of nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeTerminate {
    /// Which nodes.
    pub nodes: NodeTargets,
    /// How they end.
    #[serde(default)]
    pub mode: TerminateMode,
}

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TerminateMode {
    /// At once, as in a power cut: nothing on it can say goodbye.
    #[default]
    PowerLoss,
    /// Its operating system shuts down first, and with it, where that is configured, the kubelet its pods.
    Shutdown,
    /// Its Auto Scaling group takes it out: lifecycle hooks run, so that what listens to them may drain it.
    ScaleIn,
}

/// What healing needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TerminateNote {
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

impl Fault for NodeTerminate {
    const ABOUT: About = About {
        key: "nodeTerminate",
        summary: "terminates the EC2 instances of nodes",
        details: "The instance of a node is found by its `spec.providerID`, never by its name, and must carry the cluster's tag. By default it \
                  ends as in a power cut (`mode: powerLoss`, EC2's `SkipOsShutdown`): connections to it hang rather than break, and the cluster takes \
                  some 40 s to call it NotReady. With `mode: shutdown` its operating system goes down in order; with `mode: scaleIn` its Auto Scaling \
                  group takes it out, with lifecycle hooks.\n\n\
                  Instances that are protected (termination protection, or scale-in protection) are skipped and named, never unprotected; others are chosen \
                  in their place where a number says how many. Each instance is terminated by a call of its own, because one that is protected \
                  vetoes every other of its zone in the same call. The plan asks EC2 by dry run. `TerminateInstances` has no undo, and asks no \
                  PodDisruptionBudget.\n\n\
                  What it cannot do: instances that EKS Auto Mode operates, and nodes of other clouds.",
        effect: "the instance is shutting down or gone, and its node is no longer Ready, or gone",
        ending: "heals by itself: the instance's Auto Scaling group has its wanted size in service again, on Ready nodes; where it has not in time, the \
                 group's own scaling activities say what stood in the way. Where Karpenter started it, as many nodes are Ready as before",
        undoable: false,
        refusable: false,
    };

    type Note = TerminateNote;

    fn check(&self) -> Vec<Complaint> {
        self.nodes.check()
    }

    fn namespaces(&self) -> Vec<String> {
        Vec::new()
    }

    fn permissions(&self) -> Vec<Permission> {
        let mut rules = self.nodes.permissions();
        rules.extend(loss_permissions());
        rules.push(LISTS_NODES);
        rules.push(Permission { verb: "get", why: "see what a node says of itself", ..LISTS_NODES });
        rules
    }

    fn cloud_permissions(&self) -> Vec<CloudPermission> {
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

    fn effect_deadline(&self, _: &TerminateNote) -> Time {
        EFFECT_DEADLINE
    }

    async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        let (mut resolution, protected) = self.plan(cx).await?;
        resolution.warnings.extend(protected.iter().map(|why| format!("{why}: skipped")));
        Ok(resolution)
    }

    async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<TerminateNote>, FaultError> {
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
        let nodes = super::instances::nodes(cx.cluster).await?;
        Ok(Some(TerminateNote {
            karpenter: by_karpenter(&backed.instance),
            instance: id,
            group: group.as_ref().map(super::groups::target),
            ready: nodes.iter().filter(|node| is_ready(node)).count(),
        }))
    }

    async fn inject(&self, cx: &Acting<'_>, _: &Target, note: &TerminateNote) -> Result<Injected, FaultError> {
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

    async fn effect(&self, cx: &Acting<'_>, target: &Target, note: &TerminateNote) -> Result<Effect, FaultError> {
        let id = &note.instance;
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

    async fn undo(_: &Acting<'_>, _: &Target, _: &TerminateNote) -> Result<Undo, FaultError> {
        Ok(Undo::HealsItself)
    }

    async fn healed(cx: &Acting<'_>, target: &Target, note: &TerminateNote) -> Result<Heal, FaultError> {
        if let Some(node) = node_now(cx.cluster, target).await?
            && is_ready(&node)
        {
            return Ok(Heal::NotYet(format!("{target} still says Ready")));
        }
        match &note.group {
            Some(group) => hold::whole(cx, opened(cx.cluster)?, group, Some(&note.instance)).await,
            None if note.karpenter => {
                let nodes = super::instances::nodes(cx.cluster).await?;
                let (ready, before) = (nodes.iter().filter(|node| is_ready(node)).count(), note.ready);
                let words = format!("{ready} nodes are Ready, {before} were before");
                Ok(if ready >= before { Heal::Healed(words) } else { Heal::NotYet(words) })
            }
            None => Ok(Heal::Healed("no group owns it, so that nothing replaces it".to_owned())),
        }
    }
}

impl NodeTerminate {
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
            let planning = Planning { cluster: cx.cluster, seed: cx.seed, taken: &taken };
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
