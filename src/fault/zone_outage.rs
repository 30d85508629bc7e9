//! `zoneOutage`: the power cut of a zone, or the cut of its network, with its capacity held so that it stays lost.

use std::collections::BTreeSet;
use std::time::Duration as Time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asg_suspend::{AsgSuspend, opened};
use super::contract::{
    About, Acting, CloudPermission, CloudScope, Complaint, Effect, Fault, FaultError, Heal, Injected, Left, Permission,
    Planning, Refusal, Resolution, Undo,
};
use super::groups::{GroupTargets, cloud};
use super::hold::{HoldNote, Process};
use super::instances::{Backed, node_now};
use super::isolate::{self, CutNote, Leave};
use super::leaving::lost_with;
use super::node_terminate::{self, NodeTerminate, TerminateMode, TerminateNote};
use super::nodes::{NodeTargets, is_ready};
use super::stranded;
use crate::cluster::Cluster;
use crate::record::{Displaced, Replaced, Target};

/// Takes a zone away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a leave of its own, to be given in so many words")]
pub struct ZoneOutage {
    /// The zone, as the nodes' label `topology.kubernetes.io/zone` names it.
    pub zone: String,
    /// How it is lost.
    #[serde(default)]
    pub mode: ZoneMode,
    /// Needed to take the last zone with a node that can run pods, or every node on which the cluster's DNS runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_last: bool,
    /// Needed where instances in the zone are protected (termination protection, scale-in protection): they stay up, so that the zone is lost only
    /// in part. Plan and record name them. Not for `isolate`, which ends no instance and cuts off all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_protected: bool,
    /// Needed for `isolate` where the cluster's control plane (EKS) has interfaces in the zone's subnets: cut off, it can lose nodes of every zone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_control_plane: bool,
    /// Needed for `isolate` where instances that are not this cluster's have interfaces in the zone's subnets: they are cut off too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_others: bool,
}

/// How a zone is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ZoneMode {
    /// Its machines end at once, as in a power cut.
    #[default]
    PowerLoss,
    /// Its machines end after their operating systems have shut down.
    Shutdown,
    /// Its machines run on, and nothing comes in or out of their subnets.
    Isolate,
}

/// What a target's undo and healing need to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ZoneNote {
    /// A group that is held.
    Group(HoldNote),
    /// A node whose instance ends.
    Node(TerminateNote),
    /// A subnet that is cut off.
    Subnet(CutNote),
    /// A node that is cut off with the subnets of its interfaces.
    Cut {
        /// Them.
        subnets: Vec<String>,
    },
}

impl Fault for ZoneOutage {
    const ABOUT: About = About {
        key: "zoneOutage",
        summary: "takes every node of a zone away, and holds its capacity",
        details: "The loss of a zone, in its order. First every Auto Scaling group that launches in the zone is held there, as `asgSuspend` with \
                  `processes: [Launch]` and this zone does it: otherwise the zone would be back before anybody noticed. Only when all groups are held, the instance of every \
                  node in the zone is terminated at once, as `nodeTerminate` does it; if one group can't be held, no instance is touched. After `for`, the groups are given back, \
                  and launch what is missing.\n\n\
                  With `mode: isolate` no instance ends: the network is cut. Every subnet in which the zone's nodes have interfaces, those of pods included, is put \
                  under a network ACL that denies everything, made for it; its tags are the undo note, and it has them from its first instant. Connections hang, none is refused. \
                  Within a subnet everything goes on, and so do Amazon's DNS resolver and the instances' metadata, which no network ACL reaches: the zone is isolated, not down. \
                  The groups are held as before, and have HealthCheck and ReplaceUnhealthy suspended too, for all their zones: a group that listens to a load balancer would \
                  replace what is only cut off. Terminate goes on: a group that is told to be smaller may be. So instances that break elsewhere meanwhile are not replaced before \
                  the undo; a load balancer that still calls an instance unhealthy at the undo has it replaced after all; and the cluster autoscaler may end nodes that are not \
                  Ready for long (20 min by its defaults).\n\n\
                  Needs `limits.nodes` and `limits.groups`. Refused are the last zone with a node that can run pods, and one on whose nodes every ready pod of \
                  the cluster's DNS is, unless `allowLast: true`; a zone with Karpenter's nodes; the zone of the runner's own node. A zone of which a part stays up is not lost: where instances in it are \
                  protected, the step is refused and names them. With `allowProtected: true` they stay up, which plan and record then say; protection is never taken away. \
                  `isolate` is refused where the control plane or instances of others have interfaces in the subnets, unless `allowControlPlane: true` or `allowOthers: true`; \
                  what else is there (NAT gateways, load balancers, endpoints) is named in a warning.\n\n\
                  The plan predicts, by the scheduler's rules over the nodes that are left, which pods will not start elsewhere, and why: volumes of the zone, node \
                  selectors and taints, affinity, spread, room for their requests; and pods that nothing makes again. (The cluster removes the pods of a node that is gone within a \
                  minute, and those of one that is out of reach after five: before that none starts elsewhere.) Those that are not named are not promised to start: images, \
                  quotas, preemption and nodes that are added meanwhile are not looked at.\n\n\
                  When the hold is over, before anything is taken back, the prediction is held against what happened, which lists all pods and may keep the undo waiting for 5 s at most (not at all when the run ends early): the record and the report have, for each workload that lost \
                  pods, how many found a node elsewhere, and what the scheduler says of those that wait. Where pods are still bound to their old nodes, nothing can be said yet, \
                  and the report says that. A prediction that was wrong changes no verdict.",
        effect: "each group says that it launches nothing there, and each instance is shutting down or gone with its node no longer Ready; with `isolate`, \
                 each subnet is under the network ACL that lets nothing through, and each node is no longer Ready",
        ending: "each subnet that is still under our network ACL is put back under its own, or, where that was deleted, under the network's default, which is reported; ours is \
                 deleted. Where somebody else has changed it meanwhile, theirs stays, and the run is inconclusive. The groups are given back as `asgSuspend` does it; instances that \
                 were terminated stay so. Whole again when every group has its wanted size in service on Ready nodes, and the nodes that were cut off are Ready",
        undoable: true,
        undoable_where: "",
        refusable: false,
        cannot: "take away what the zone has in other subnets: load balancers, NAT gateways, databases",
        unrehearsable: "",
        examples: &[("mode: powerLoss", "{zone: us-east-1a}"), ("mode: isolate", "{zone: us-east-1a, mode: isolate}")],
    };

    type Note = ZoneNote;

    fn check(&self) -> Vec<Complaint> {
        let hint = "write it as AWS does: `us-east-1a`";
        let wrong = |complaint: Complaint| (complaint.path.last() == Some(&"zone")).then_some(complaint.message);
        let complaints = self.kill().check().into_iter().filter_map(wrong);
        let mut complaints: Vec<Complaint> =
            complaints.map(|message| Complaint::new(&["zone"], message, hint)).collect();
        let isolates = self.mode == ZoneMode::Isolate;
        let leaves = [
            ("allowProtected", self.allow_protected, !isolates),
            ("allowControlPlane", self.allow_control_plane, isolates),
            ("allowOthers", self.allow_others, isolates),
        ];
        for (key, _, _) in leaves.into_iter().filter(|(_, given, useful)| *given && !useful) {
            let text = format!("`{key}` does nothing in this mode");
            complaints.push(Complaint::new(&[key], text, "leave it out, or choose another `mode`"));
        }
        complaints
    }

    fn namespaces(&self) -> Vec<String> {
        Vec::new()
    }

    fn permissions(&self) -> Vec<Permission> {
        let mut rules = self.hold().permissions();
        rules.extend(self.kill().permissions());
        rules.extend(stranded::permissions());
        rules
    }

    fn cloud_permissions(&self) -> Vec<CloudPermission> {
        let mut rules = self.hold().cloud_permissions();
        if self.mode == ZoneMode::Isolate {
            rules.extend(isolate_permissions());
        } else {
            rules.extend(self.kill().cloud_permissions());
        }
        rules
    }

    fn effect_deadline(&self, note: &ZoneNote) -> Time {
        match note {
            ZoneNote::Group(note) => self.hold().effect_deadline(note),
            ZoneNote::Node(note) => self.kill().effect_deadline(note),
            ZoneNote::Subnet(_) => isolate::EFFECT_DEADLINE,
            ZoneNote::Cut { .. } => node_terminate::EFFECT_DEADLINE,
        }
    }

    /// Its nodes heal by themselves.
    fn holds(&self, target: &Target) -> bool {
        matches!(target.kind.as_str(), "group" | "subnet")
    }

    /// The groups are held before the first subnet is cut or the first instance goes.
    fn wave(&self, target: &Target) -> u8 {
        match target.kind.as_str() {
            "group" => 0,
            "subnet" => 1,
            _ => 2,
        }
    }

    async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        let mut whole = self.hold().plan(cx).await?;
        if self.mode == ZoneMode::Isolate {
            self.cut_off(cx, &mut whole).await?;
        } else {
            self.switch_off(cx, &mut whole).await?;
        }
        let stay = self.mode == ZoneMode::Isolate;
        whole.displaced = stranded::predict(cx.cluster, &nodes_of(&whole.targets), stay).await?;
        whole.warnings.extend(stranded::words(&whole.displaced, stay));
        Ok(whole)
    }

    async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<ZoneNote>, FaultError> {
        Ok(match target.kind.as_str() {
            "group" => self.hold().prepare(cx, target).await?.map(ZoneNote::Group),
            "subnet" => isolate::prepare(opened(cx.cluster)?, target).await?.map(ZoneNote::Subnet),
            _ if self.mode == ZoneMode::Isolate => prepare_cut(cx, target).await?,
            _ => self.kill().prepare(cx, target).await?.map(ZoneNote::Node),
        })
    }

    async fn inject(&self, cx: &Acting<'_>, target: &Target, note: &ZoneNote) -> Result<Injected, FaultError> {
        match note {
            ZoneNote::Group(note) => self.hold().inject(cx, target, note).await,
            ZoneNote::Node(note) => self.kill().inject(cx, target, note).await,
            ZoneNote::Subnet(note) => isolate::cut(cx, opened(cx.cluster)?, Self::ABOUT.key, target, note).await,
            ZoneNote::Cut { subnets } => {
                let open = isolate::open(cx, opened(cx.cluster)?, subnets).await?;
                if open.is_empty() {
                    return Ok(Injected::Done(format!("cut off with {}", subnets.join(", "))));
                }
                // The plan cuts the subnets that it found; a node with an interface in another since then is cut off only in part.
                let open = open.join(", ");
                Err(FaultError::State(format!("{target} also has an interface in {open}, which is not cut off")))
            }
        }
    }

    async fn effect(&self, cx: &Acting<'_>, target: &Target, note: &ZoneNote) -> Result<Effect, FaultError> {
        match note {
            ZoneNote::Group(note) => self.hold().effect(cx, target, note).await,
            ZoneNote::Node(note) => self.kill().effect(cx, target, note).await,
            ZoneNote::Subnet(_) => isolate::effect(cx, opened(cx.cluster)?, target).await,
            ZoneNote::Cut { .. } => Ok(match node_now(cx.cluster, target).await? {
                Some(found) if is_ready(&found) => Effect::NotYet("the node still says Ready".to_owned()),
                Some(_) => Effect::Seen("the node is not Ready".to_owned()),
                None => Effect::NotYet("the node is gone, which no cut of its network does".to_owned()),
            }),
        }
    }

    async fn replaced(
        &self,
        cx: &Acting<'_>,
        targets: &[Target],
        displaced: &[Displaced],
    ) -> Result<Vec<Replaced>, FaultError> {
        stranded::replaced(cx, &nodes_of(targets), displaced).await
    }

    async fn undo(cx: &Acting<'_>, target: &Target, note: &ZoneNote) -> Result<Undo, FaultError> {
        match note {
            ZoneNote::Group(note) => AsgSuspend::undo(cx, target, note).await,
            ZoneNote::Subnet(note) => isolate::restore(cx, opened(cx.cluster)?, target, note).await,
            ZoneNote::Node(_) | ZoneNote::Cut { .. } => Ok(Undo::HealsItself),
        }
    }

    async fn left_on(cluster: &Cluster, _: Option<&str>) -> Result<Vec<Left>, FaultError> {
        isolate::left(cluster, Self::ABOUT.key, ZoneNote::Subnet).await
    }

    async fn healed(cx: &Acting<'_>, target: &Target, note: &ZoneNote) -> Result<Heal, FaultError> {
        match note {
            ZoneNote::Group(note) => AsgSuspend::healed(cx, target, note).await,
            ZoneNote::Node(note) => NodeTerminate::healed(cx, target, note).await,
            ZoneNote::Subnet(_) => isolate::healed(cx, opened(cx.cluster)?, target).await,
            ZoneNote::Cut { .. } => Ok(match node_now(cx.cluster, target).await? {
                Some(found) if is_ready(&found) => Heal::Healed("the node is Ready again".to_owned()),
                Some(_) => Heal::NotYet("the node is not Ready".to_owned()),
                None => Heal::NotYet("the node is gone".to_owned()),
            }),
        }
    }
}

impl ZoneOutage {
    /// The first half: no capacity comes back.
    fn hold(&self) -> AsgSuspend {
        let zone = Some(self.zone.clone());
        let groups = GroupTargets { names: Vec::new(), zone: zone.clone(), count: None, percent: None, all: true };
        let also = match self.mode {
            ZoneMode::Isolate => vec![Process::HealthCheck, Process::ReplaceUnhealthy],
            ZoneMode::PowerLoss | ZoneMode::Shutdown => Vec::new(),
        };
        AsgSuspend { groups, processes: vec![Process::Launch], zone, also }
    }

    /// The second half: every machine ends. Cutting them off asks the API the same of its nodes and pods.
    fn kill(&self) -> NodeTerminate {
        let mode = match self.mode {
            ZoneMode::PowerLoss | ZoneMode::Isolate => TerminateMode::PowerLoss,
            ZoneMode::Shutdown => TerminateMode::Shutdown,
        };
        NodeTerminate::ec2_of(self.nodes(), mode)
    }

    fn nodes(&self) -> NodeTargets {
        NodeTargets {
            selector: None,
            zone: Some(self.zone.clone()),
            node_group: None,
            names: Vec::new(),
            count: None,
            percent: None,
            all: true,
            allow_last: self.allow_last,
        }
    }

    /// The second half: every instance of the zone ends.
    async fn switch_off(&self, cx: &Planning<'_>, whole: &mut Resolution) -> Result<(), Refusal> {
        let (nodes, protected) = self.kill().plan(cx).await?;
        if !self.allow_protected {
            refuse_protected(&self.zone, &protected)?;
        }
        whole.of += nodes.of;
        whole.targets.extend(nodes.targets);
        whole.leaving.extend(nodes.leaving);
        whole.calls.extend(nodes.calls);
        whole.undo.extend(nodes.undo);
        whole.warnings.extend(nodes.warnings);
        whole.warnings.extend(protected.iter().map(|why| format!("{why}: it stays up")));
        Ok(())
    }

    /// The other second half: every subnet of the zone's nodes is cut off.
    async fn cut_off(&self, cx: &Planning<'_>, whole: &mut Resolution) -> Result<(), Refusal> {
        let cloud = cloud(cx.cluster)?;
        let (chosen, of) = self.nodes().choose(cx).await?;
        let nodes = Backed::of(cloud, chosen).await?;
        if let Some(why) = nodes.iter().find_map(|backed| backed.wrong(cloud)) {
            return Err(Refusal::new(why));
        }
        let leave = Leave { control_plane: self.allow_control_plane, others: self.allow_others };
        isolate::survey(cloud, &self.zone, &nodes, leave, whole).await?;
        whole.of += of;
        for target in nodes.into_iter().map(Backed::into_target) {
            whole.leaving.extend(lost_with(cx.cluster, &target.name).await?);
            whole.undo.push(format!("none: {target} is Ready again by itself"));
            whole.targets.push(target);
        }
        // The subnets are targets too, and all of them are taken.
        whole.of = whole.targets.len().max(whole.of);
        Ok(())
    }
}

fn nodes_of(targets: &[Target]) -> BTreeSet<String> {
    targets.iter().filter(|target| target.kind == "node").map(|node| node.name.clone()).collect()
}

/// A node that is to be cut off, with the subnets of its interfaces as they are now.
async fn prepare_cut(cx: &Acting<'_>, target: &Target) -> Result<Option<ZoneNote>, FaultError> {
    let cloud = opened(cx.cluster)?;
    if node_now(cx.cluster, target).await?.is_none() {
        return Ok(None);
    }
    let ids: Vec<String> = target.instance.iter().cloned().collect();
    let Some(instance) = cloud.instances(&ids).await?.pop() else { return Ok(None) };
    let backed = Backed { target: target.clone(), instance };
    if let Some(why) = backed.wrong(cloud) {
        return Err(FaultError::State(why));
    }
    Ok(Some(ZoneNote::Cut { subnets: backed.instance.subnets.into_iter().collect() }))
}

/// What cutting subnets off and taking it back calls.
fn isolate_permissions() -> Vec<CloudPermission> {
    let rule = |action, on, why| CloudPermission { action, on, why };
    let make = "make the network ACL that denies everything";
    let cut = "put each subnet under it, and back";
    vec![
        rule(
            "ec2:DescribeInstances",
            CloudScope::All,
            "see whether an instance is the cluster's, and in which subnets",
        ),
        rule("ec2:DescribeNetworkInterfaces", CloudScope::All, "see what else would be cut off"),
        rule("ec2:DescribeNetworkAcls", CloudScope::All, "find what each subnet is under, and what of it is ours"),
        rule("ec2:CreateNetworkAcl", CloudScope::Vpc, make),
        rule("ec2:CreateNetworkAcl", CloudScope::NewAcl, make),
        rule("ec2:CreateTags", CloudScope::NewAcl, "make it with its undo note; never called by itself"),
        rule("ec2:ReplaceNetworkAclAssociation", CloudScope::Subnet, cut),
        rule("ec2:ReplaceNetworkAclAssociation", CloudScope::Acl, cut),
        rule("ec2:DeleteNetworkAcl", CloudScope::Acl, "delete it"),
    ]
}

/// What is left up in a zone makes its outage a smaller one than was asked for.
fn refuse_protected(zone: &str, protected: &[String]) -> Result<(), Refusal> {
    if protected.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(format!("zone `{zone}` would stay up in part: {}", protected.join("; "))).hint(
        "choose another zone, or write `allowProtected: true` if the outage may leave these up; protection is never taken away",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_both_faults_on_the_same_zone() {
        let outage: ZoneOutage = serde_json::from_value(json!({"zone": "us-east-1a", "mode": "shutdown"})).unwrap();
        let hold =
            json!({"groups": {"zone": "us-east-1a", "all": true}, "processes": ["Launch"], "zone": "us-east-1a"});
        assert_eq!(outage.hold(), serde_json::from_value(hold).unwrap());
        let kill = json!({"nodes": {"zone": "us-east-1a", "all": true}, "mode": "shutdown"});
        assert_eq!(outage.kill(), serde_json::from_value(kill).unwrap());
        assert_eq!(outage.check(), []);
        assert!(!outage.allow_protected, "what stays up has to be allowed in so many words");
        let wrong = ZoneOutage { zone: "../x".into(), ..outage }.check();
        assert_eq!((wrong[0].path.as_slice(), wrong.len()), (["zone"].as_slice(), 1));
    }

    #[test]
    fn every_protected_instance_is_named_before_the_zone_is_refused() {
        assert_eq!(refuse_protected("a", &[]), Ok(()));
        let why = [
            "instance i-1 of node/n1 has termination protection",
            "instance i-2 of node/n2 is protected from scale-in by group g",
        ];
        let refusal = refuse_protected("a", &why.map(ToOwned::to_owned)).unwrap_err();
        assert_eq!(refusal.message, format!("zone `a` would stay up in part: {}; {}", why[0], why[1]));
        assert!(refusal.hint.unwrap().contains("`allowProtected: true`"));
    }
}
