//! `nodeTerminate`: the machines under nodes end. Who ends them is its provider; what comes back, and how, differs with it.

mod docker;
mod ec2;
mod exec;
mod power;

use std::time::Duration as Time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contract::{
    About, Acting, CloudPermission, Complaint, Effect, Fault, FaultError, Heal, Injected, Permission, Planning,
    Refusal, Resolution, Undo,
};
use super::instances::LISTS_NODES;
use super::nodes::NodeTargets;
use crate::cluster::{CommandLine, Engine};
use crate::record::Target;
use docker::DockerNote;
use ec2::{Ec2, Ec2Note};
use exec::{Exec, ExecNote};

/// A node that lost its power is silent; the cluster calls it `NotReady` only when it was not heard of for a while, 40 s by default.
pub(super) const EFFECT_DEADLINE: Time = Time::from_secs(150);

/// What looking at one node calls.
const SEES_NODES: Permission = Permission { verb: "get", why: "see what a node says of itself", ..LISTS_NODES };

/// Takes the machines of nodes away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeTerminate {
    /// Which nodes.
    pub nodes: NodeTargets,
    /// Who ends the machines.
    #[serde(default)]
    pub provider: Provider,
    /// How they end; `powerLoss` when left out. With `provider: exec` the commands say how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<TerminateMode>,
    /// The commands of `provider: exec`. They run on the machine that Squall runs on, and only with `--allow-exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
}

/// Who ends machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Provider {
    /// AWS: the node's EC2 instance is terminated. Nothing takes that back; its group replaces it.
    #[default]
    Ec2,
    /// kind: the node's container is killed or stopped through the Docker Engine's API, and started again.
    Docker,
    /// Commands of yours, one that cuts a node's power and one that gives it back.
    Exec,
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

/// What undo and healing need to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TerminateNote {
    /// Of an EC2 instance.
    Ec2(Ec2Note),
    /// Of a container.
    Docker(DockerNote),
    /// Of a machine that commands switch off and on.
    Exec(ExecNote),
}

impl Fault for NodeTerminate {
    const ABOUT: About = About {
        key: "nodeTerminate",
        summary: "takes nodes' machines away: EC2 instances, containers, or by your commands",
        details: "`provider: ec2`, the default: the instance of a node is found by its `spec.providerID`, never by its name, and must carry the cluster's tag. By default it \
                  ends as in a power cut (`mode: powerLoss`, EC2's `SkipOsShutdown`): connections to it hang rather than break, and the cluster takes \
                  some 40 s to call it NotReady. With `mode: shutdown` its operating system goes down in order; with `mode: scaleIn` its Auto Scaling \
                  group takes it out, with lifecycle hooks.\n\n\
                  Instances that are protected (termination protection, or scale-in protection) are skipped and named, never unprotected; others are chosen \
                  in their place where a number says how many. Each instance is terminated by a call of its own, because one that is protected \
                  vetoes every other of its zone in the same call. The plan asks EC2 by dry run. `TerminateInstances` has no undo, and asks no \
                  PodDisruptionBudget.\n\n\
                  `provider: docker` is for clusters of kind: the node's container is found by the cluster and name in its `spec.providerID` \
                  (`kind://docker/CLUSTER/NODE`) and killed through the Docker Engine's API, or, with `mode: shutdown`, stopped (10 s, as Docker does by default); the undo starts it again. \
                  The engine is that of `DOCKER_HOST`, or this machine's: a Unix socket, or TCP without TLS. Squall has to run where it can be reached. Who recovers the run on another machine is \
                  told the container to start.\n\n\
                  `provider: exec` is for every other machine (libvirt, IPMI, another cloud's CLI): `exec: {off: [virsh, destroy, \"{node}\"], on: [virsh, start, \"{node}\"]}`. \
                  Both are a program and its arguments, without a shell; `{node}`, `{providerID}` and `{address}` (the node's internal one) stand for what the node's object says. Each may take \
                  `timeout` (60 s), after which it is ended with everything that it started. `off` is over when the power is; `on` is harmless where the power is on, because it runs \
                  wherever `off` may have run. They run on the machine that Squall runs on, with its environment, and only with `--allow-exec`: see \
                  [safety](safety.md#commands-of-yours).\n\n\
                  With `docker` and `exec` a node that is not Ready is refused. Give `for` at least 90 s: a cut that ends before the cluster misses the node is never seen.",
        effect: "the node is no longer Ready, or gone; with `ec2` its instance is shutting down or gone too",
        ending: "with `ec2` it heals by itself: the instance's Auto Scaling group has its wanted size in service again, on Ready nodes; where it has not in time, the \
                 group's own scaling activities say what stood in the way. Where Karpenter started it, as many nodes are Ready as before. With `docker` the container is started again, with `exec` the command `on` is run; whole again \
                 when the same node is Ready, and was not all the time",
        undoable: false,
        undoable_where: "with `provider: docker` or `exec`",
        refusable: false,
        cannot: "terminate instances that EKS Auto Mode operates; find nodes of k3d or minikube as containers (`exec` can)",
        unrehearsable: "",
        examples: &[
            ("provider: ec2", "{nodes: {zone: us-east-1a}, mode: powerLoss}"),
            ("mode: scaleIn", "{nodes: {zone: us-east-1a}, mode: scaleIn}"),
            ("provider: docker", "{nodes: {names: [kind-worker]}, provider: docker}"),
            (
                "provider: exec",
                "{nodes: {names: [node-1]}, provider: exec, exec: {off: [virsh, destroy, \"{node}\"], on: [virsh, start, \"{node}\"]}}",
            ),
        ],
    };

    type Note = TerminateNote;

    fn about(&self) -> About {
        let unrehearsable = match self.provider {
            Provider::Ec2 => Self::ABOUT.unrehearsable,
            Provider::Docker => "the lab's nodes are no containers",
            Provider::Exec => "a rehearsal runs no commands",
        };
        About { undoable: self.provider != Provider::Ec2, unrehearsable, ..Self::ABOUT }
    }

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = self.nodes.check();
        match (self.provider, &self.exec) {
            (Provider::Exec, None) => complaints.push(Complaint::new(
                &["provider"],
                "`provider: exec` needs the commands that it runs",
                "add `exec: {off: [PROGRAM, \"{node}\"], on: [PROGRAM, \"{node}\"]}`",
            )),
            (Provider::Exec, Some(exec)) => complaints.extend(exec.check(&self.nodes)),
            (_, Some(_)) => complaints.push(Complaint::new(
                &["exec"],
                "nothing runs these commands",
                "add `provider: exec`, or remove `exec`",
            )),
            (_, None) => {}
        }
        if self.provider == Provider::Docker && self.mode == Some(TerminateMode::ScaleIn) {
            complaints.push(Complaint::new(
                &["mode"],
                "no Auto Scaling group takes a container out",
                "write `mode: powerLoss` or `mode: shutdown`",
            ));
        }
        if self.provider == Provider::Exec && self.mode.is_some() {
            complaints.push(Complaint::new(
                &["mode"],
                "`mode` says nothing with `provider: exec`: the commands say how a machine ends",
                "remove `mode`",
            ));
        }
        complaints
    }

    fn namespaces(&self) -> Vec<String> {
        Vec::new()
    }

    fn permissions(&self) -> Vec<Permission> {
        match self.provider {
            Provider::Ec2 => self.ec2().permissions(),
            Provider::Docker | Provider::Exec => power::permissions(&self.nodes),
        }
    }

    fn cloud_permissions(&self) -> Vec<CloudPermission> {
        match self.provider {
            Provider::Ec2 => self.ec2().cloud_permissions(),
            Provider::Docker | Provider::Exec => Vec::new(),
        }
    }

    fn longest_injection(&self) -> Time {
        match (self.provider, self.mode) {
            (Provider::Docker, Some(TerminateMode::Shutdown)) => Engine::GRACE,
            _ => self.exec.as_ref().map_or(Time::ZERO, |exec| exec.timeout.get()),
        }
    }

    fn effect_deadline(&self, _: &TerminateNote) -> Time {
        EFFECT_DEADLINE
    }

    async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        match (self.provider, &self.exec) {
            (Provider::Ec2, _) => self.ec2().resolve(cx).await,
            (Provider::Docker, _) => docker::resolve(&self.nodes, self.mode.unwrap_or_default(), cx).await,
            (Provider::Exec, Some(exec)) => exec.resolve(&self.nodes, cx).await,
            (Provider::Exec, None) => Err(Refusal::new(NO_COMMANDS)),
        }
    }

    async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<TerminateNote>, FaultError> {
        Ok(match (self.provider, &self.exec) {
            (Provider::Ec2, _) => self.ec2().prepare(cx, target).await?.map(TerminateNote::Ec2),
            (Provider::Docker, _) => docker::prepare(cx, target).await?.map(TerminateNote::Docker),
            (Provider::Exec, Some(exec)) => exec.prepare(cx, target).await?.map(TerminateNote::Exec),
            (Provider::Exec, None) => return Err(FaultError::State(NO_COMMANDS.to_owned())),
        })
    }

    async fn inject(&self, cx: &Acting<'_>, target: &Target, note: &TerminateNote) -> Result<Injected, FaultError> {
        match note {
            TerminateNote::Ec2(note) => self.ec2().inject(cx, note).await,
            TerminateNote::Docker(note) => note.inject(self.mode.unwrap_or_default()).await,
            TerminateNote::Exec(note) => note.inject(cx, target).await,
        }
    }

    async fn effect(&self, cx: &Acting<'_>, target: &Target, note: &TerminateNote) -> Result<Effect, FaultError> {
        match note {
            TerminateNote::Ec2(note) => note.effect(cx, target).await,
            TerminateNote::Docker(_) | TerminateNote::Exec(_) => power::effect(cx, target).await,
        }
    }

    async fn undo(cx: &Acting<'_>, target: &Target, note: &TerminateNote) -> Result<Undo, FaultError> {
        match note {
            TerminateNote::Ec2(_) => Ok(Undo::HealsItself),
            TerminateNote::Docker(note) => note.undo(cx, target).await,
            TerminateNote::Exec(note) => note.undo(cx, target).await,
        }
    }

    fn undo_commands(note: &TerminateNote) -> Vec<CommandLine> {
        match note {
            TerminateNote::Ec2(_) | TerminateNote::Docker(_) => Vec::new(),
            TerminateNote::Exec(note) => note.undo_commands(),
        }
    }

    async fn healed(cx: &Acting<'_>, target: &Target, note: &TerminateNote) -> Result<Heal, FaultError> {
        match note {
            TerminateNote::Ec2(note) => note.healed(cx, target).await,
            TerminateNote::Docker(note) => note.healed(cx, target).await,
            TerminateNote::Exec(note) => note.healed(cx, target).await,
        }
    }
}

/// What the checks of the document keep from happening.
const NO_COMMANDS: &str = "`provider: exec` has no commands";

impl NodeTerminate {
    /// These nodes, by their EC2 instances.
    pub(super) const fn ec2_of(nodes: NodeTargets, mode: TerminateMode) -> Self {
        Self { nodes, provider: Provider::Ec2, mode: Some(mode), exec: None }
    }

    /// What terminating their instances comes to, and why each of those that are protected is passed over.
    pub(super) async fn plan(&self, cx: &Planning<'_>) -> Result<(Resolution, Vec<String>), Refusal> {
        self.ec2().plan(cx).await
    }

    fn ec2(&self) -> Ec2<'_> {
        Ec2 { nodes: &self.nodes, mode: self.mode.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaints(more: &serde_json::Value) -> Vec<(Vec<&'static str>, String)> {
        let mut arguments = json!({"nodes": {"names": ["n1"]}});
        for (key, value) in more.as_object().unwrap() {
            arguments[key] = value.clone();
        }
        let fault: NodeTerminate = serde_json::from_value(arguments).unwrap();
        fault.check().into_iter().map(|complaint| (complaint.path, complaint.message)).collect()
    }

    #[test]
    fn provider_commands_and_mode_have_to_fit() {
        let exec = json!({"off": ["/bin/off", "{node}"], "on": ["/bin/on", "{node}"]});
        assert_eq!(complaints(&json!({})), []);
        assert_eq!(complaints(&json!({"provider": "exec", "exec": exec})), []);
        let at = |more| complaints(&more).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        assert_eq!(at(json!({"provider": "exec"})), [["provider"]]);
        assert_eq!(at(json!({"exec": exec})), [["exec"]]);
        assert_eq!(at(json!({"provider": "exec", "exec": exec, "mode": "shutdown"})), [["mode"]]);
        assert_eq!(complaints(&json!({"provider": "docker", "mode": "shutdown"})), []);
        assert_eq!(at(json!({"provider": "docker", "mode": "scaleIn"})), [["mode"]]);
        assert_eq!(at(json!({"provider": "docker", "exec": exec})), [["exec"]]);
    }

    #[test]
    fn only_what_has_power_to_give_back_is_taken_back_and_only_ec2_needs_aws() {
        let of = |more: serde_json::Value| {
            let fault: NodeTerminate = serde_json::from_value(more).unwrap();
            (fault.about().undoable, fault.cloud_permissions().is_empty(), fault.longest_injection().as_secs())
        };
        let nodes = json!({"names": ["n1"]});
        assert_eq!(of(json!({"nodes": nodes})), (false, false, 0));
        assert_eq!(of(json!({"nodes": nodes, "provider": "docker"})), (true, true, 0));
        let exec = json!({"off": ["a", "{node}"], "on": ["b", "{node}"], "timeout": "5s"});
        assert_eq!(of(json!({"nodes": nodes, "provider": "exec", "exec": exec})), (true, true, 5));
    }
}
