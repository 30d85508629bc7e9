//! `zoneOutage`: the power cut of a zone, with its capacity held so that it stays lost.

use std::time::Duration as Time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asg_suspend::AsgSuspend;
use super::contract::{
    About, Acting, CloudPermission, Complaint, Effect, Fault, FaultError, Heal, Injected, Permission, Planning,
    Refusal, Resolution, Undo,
};
use super::groups::GroupTargets;
use super::hold::{HoldNote, Process};
use super::node_terminate::{NodeTerminate, TerminateMode, TerminateNote};
use super::nodes::NodeTargets;
use crate::record::Target;

/// Takes a zone away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ZoneOutage {
    /// The zone, as the nodes' label `topology.kubernetes.io/zone` names it.
    pub zone: String,
    /// How its machines end.
    #[serde(default)]
    pub mode: ZoneMode,
    /// Needed to take the last zone with a node that can run pods, or every node on which the cluster's DNS runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_last: bool,
    /// Needed where instances in the zone are protected (termination protection, scale-in protection): they stay up, so that the zone is lost only
    /// in part. Plan and record name them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_protected: bool,
}

/// How the machines of a zone end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ZoneMode {
    /// At once, as in a power cut.
    #[default]
    PowerLoss,
    /// Their operating systems shut down first.
    Shutdown,
}

/// What a target's undo and healing need to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ZoneNote {
    /// A group that is held.
    Group(HoldNote),
    /// A node whose instance ends.
    Node(TerminateNote),
}

impl Fault for ZoneOutage {
    const ABOUT: About = About {
        key: "zoneOutage",
        summary: "takes every node of a zone away, and holds its capacity",
        details: "The power cut of a zone, in its order. First every Auto Scaling group that launches in the zone is held there, as `asgSuspend` with \
                  `processes: [Launch]` and this zone does it: otherwise the zone would be back before anybody noticed. Only when all groups are held, the instance of every \
                  node in the zone is terminated at once, as `nodeTerminate` does it; if one group can't be held, no instance is touched. After `for`, the groups are given back, \
                  and launch what is missing.\n\n\
                  Needs `limits.nodes` and `limits.groups`. Refused are the last zone with a node that can run pods, and one on whose nodes every ready pod of \
                  the cluster's DNS is, unless `allowLast: true`; a zone with Karpenter's nodes; the zone of the runner's own node. A zone of which a part stays up is not lost: where instances in it are \
                  protected, the step is refused and names them. With `allowProtected: true` they stay up, which plan and record then say; protection is never taken away.\n\n\
                  What it cannot do: cut the zone's network. Volumes of the zone stay, but only an instance in it can use them, so that a pod with such a volume \
                  stays Pending until the zone is back; nothing predicts that. What else the zone has (load balancers, NAT gateways, databases) goes on.",
        effect: "each group says that it launches nothing there, and each instance is shutting down or gone with its node no longer Ready",
        ending: "the groups are given back as `asgSuspend` does it; the instances stay terminated. Whole again when every group has its wanted size in service on Ready nodes",
        undoable: true,
        refusable: false,
    };

    type Note = ZoneNote;

    fn check(&self) -> Vec<Complaint> {
        let hint = "write it as AWS does: `us-east-1a`";
        let wrong = |complaint: Complaint| (complaint.path.last() == Some(&"zone")).then_some(complaint.message);
        self.kill()
            .check()
            .into_iter()
            .filter_map(wrong)
            .map(|message| Complaint::new(&["zone"], message, hint))
            .collect()
    }

    fn namespaces(&self) -> Vec<String> {
        Vec::new()
    }

    fn permissions(&self) -> Vec<Permission> {
        let mut rules = self.hold().permissions();
        rules.extend(self.kill().permissions());
        rules
    }

    fn cloud_permissions(&self) -> Vec<CloudPermission> {
        let mut rules = self.hold().cloud_permissions();
        rules.extend(self.kill().cloud_permissions());
        rules
    }

    fn effect_deadline(&self, note: &ZoneNote) -> Time {
        match note {
            ZoneNote::Group(note) => self.hold().effect_deadline(note),
            ZoneNote::Node(note) => self.kill().effect_deadline(note),
        }
    }

    /// The groups are held before the first instance goes.
    fn wave(&self, target: &Target) -> u8 {
        u8::from(target.kind == "node")
    }

    async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        let mut whole = self.hold().plan(cx).await?;
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
        Ok(whole)
    }

    async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<ZoneNote>, FaultError> {
        Ok(match target.kind.as_str() {
            "group" => self.hold().prepare(cx, target).await?.map(ZoneNote::Group),
            _ => self.kill().prepare(cx, target).await?.map(ZoneNote::Node),
        })
    }

    async fn inject(&self, cx: &Acting<'_>, target: &Target, note: &ZoneNote) -> Result<Injected, FaultError> {
        match note {
            ZoneNote::Group(note) => self.hold().inject(cx, target, note).await,
            ZoneNote::Node(note) => self.kill().inject(cx, target, note).await,
        }
    }

    async fn effect(&self, cx: &Acting<'_>, target: &Target, note: &ZoneNote) -> Result<Effect, FaultError> {
        match note {
            ZoneNote::Group(note) => self.hold().effect(cx, target, note).await,
            ZoneNote::Node(note) => self.kill().effect(cx, target, note).await,
        }
    }

    async fn undo(cx: &Acting<'_>, target: &Target, note: &ZoneNote) -> Result<Undo, FaultError> {
        match note {
            ZoneNote::Group(note) => AsgSuspend::undo(cx, target, note).await,
            ZoneNote::Node(_) => Ok(Undo::HealsItself),
        }
    }

    async fn healed(cx: &Acting<'_>, target: &Target, note: &ZoneNote) -> Result<Heal, FaultError> {
        match note {
            ZoneNote::Group(note) => AsgSuspend::healed(cx, target, note).await,
            ZoneNote::Node(note) => NodeTerminate::healed(cx, target, note).await,
        }
    }
}

impl ZoneOutage {
    /// The first half: no capacity comes back.
    fn hold(&self) -> AsgSuspend {
        let zone = Some(self.zone.clone());
        let groups = GroupTargets { names: Vec::new(), zone: zone.clone(), count: None, percent: None, all: true };
        AsgSuspend { groups, processes: vec![Process::Launch], zone }
    }

    /// The second half: every machine ends.
    fn kill(&self) -> NodeTerminate {
        let mode = match self.mode {
            ZoneMode::PowerLoss => TerminateMode::PowerLoss,
            ZoneMode::Shutdown => TerminateMode::Shutdown,
        };
        let nodes = NodeTargets {
            selector: None,
            zone: Some(self.zone.clone()),
            node_group: None,
            names: Vec::new(),
            count: None,
            percent: None,
            all: true,
            allow_last: self.allow_last,
        };
        NodeTerminate { nodes, mode }
    }
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
