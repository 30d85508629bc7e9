//! `nodeDrain`: nodes cordoned and emptied through the Eviction API, as `kubectl drain` does it, then uncordoned.

mod evicting;
#[cfg(test)]
mod tests;

use std::time::Duration as Time;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Node;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::evicting::Drain;
use super::contract::{
    About, Acting, Complaint, Effect, Fault, FaultError, Heal, Injected, Left, Permission, Planning, Refusal,
    Resolution, Undo,
};
use super::eviction::{Rehearsed, path as eviction_path, rehearse};
use super::held::{Field, Found, HeldNote, current};
use super::kube::{refused, workload_permissions, workload_ready};
use super::leaving::{NodePod, pods_on, top_owners};
use super::nodes::{ChosenNode, NodeTargets, is_ready};
use super::pod_kill::{grace_seconds, whole_seconds};
use crate::cluster::Cluster;
use crate::record::Target;
use crate::scalar::{Duration, Selector};

/// How long the API may take to show what the drain itself has just seen.
const EFFECT_DEADLINE: Time = Time::from_secs(30);
/// Questions asked at the same time.
const ASKING: usize = 8;

/// What is changed and given back.
const CORDON: Field = Field {
    fault: NodeDrain::ABOUT.key,
    pointer: "/spec/unschedulable",
    missing: || Value::Bool(false),
    words: |value| format!("`unschedulable: {value}`"),
    done: |previous, _| if previous == true { "it was cordoned already" } else { "cordoned" }.to_owned(),
    undone: |previous, _| if previous == true { "it stays cordoned, as it was" } else { "uncordoned" }.to_owned(),
    part: None,
};

/// Drains nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeDrain {
    /// Which nodes.
    pub nodes: NodeTargets,
    /// Whole seconds between SIGTERM and SIGKILL; each pod's own `terminationGracePeriodSeconds` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Duration>,
    /// How long a node may take to become empty before the drain counts as blocked.
    #[serde(default = "five_minutes")]
    pub timeout: Duration,
    /// Needed where a pod has an `emptyDir` volume: its data is deleted with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_empty_dir_data: bool,
    /// Needed where a pod has no controller: nothing brings it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Whether the pods of a `DaemonSet`, which can't leave their node, stay; `false` refuses a node that has any.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub ignore_daemon_sets: bool,
    /// Only pods with these labels are evicted, as `kubectl -l` takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<Selector>,
}

const fn five_minutes() -> Duration {
    Duration::seconds(300)
}

const fn yes() -> bool {
    true
}

/// What uncordoning and healing need to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainNote {
    previous: bool,
    injected: bool,
    /// Whose pods leave, and that were whole before; a note on the node alone does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    workloads: Vec<Workload>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Workload {
    namespace: String,
    /// `deployment/web`.
    owner: String,
}

impl DrainNote {
    fn held(&self) -> HeldNote {
        HeldNote { previous: json!(self.previous), injected: json!(self.injected) }
    }
}

impl Fault for NodeDrain {
    const ABOUT: About = About {
        key: "nodeDrain",
        summary: "cordons nodes and evicts their pods, as `kubectl drain` does, then uncordons",
        details: "`spec.unschedulable` is set in one JSON patch with the undo note (annotation `squall.dev/undo`). Then every pod is evicted \
                  through the Eviction API, which asks PodDisruptionBudgets; a refused eviction is tried again every 5 s, or when the \
                  API asks to come back later, until `timeout`. The drain is over when the pods are gone. As with kubectl, pods of DaemonSets and mirror pods \
                  stay, finished pods go, pods that are being deleted are waited for, pods without a controller need `force: true`, \
                  and pods with an `emptyDir` need `deleteEmptyDirData: true`.\n\n\
                  A drain that a budget still blocks when `timeout` is over counts as refused, with the budget and how long it blocked: \
                  `expect: refused` makes that the wanted result. What was evicted by then comes back elsewhere; the node is uncordoned at once. `for` counts \
                  from the end of the drain.\n\n\
                  Several nodes of one step are cordoned and drained **at the same time**, unlike `kubectl drain`, which takes one after another: \
                  budgets then have to hold against all of them. For one after another write a step for each.\n\n\
                  `limits.nodes` counts the nodes. The pods that leave don't count in `limits.pods`, and may be of any namespace, kube-system too; \
                  but a pod that its owner protects, itself or by its workload or namespace, refuses the step. Without `allowLast: true` no step takes the last \
                  node that is Ready and schedulable, or every node on which the cluster's DNS runs: nothing could start, or nothing would find anything.",
        effect: "the node is unschedulable, and no pod that a drain evicts is left on it",
        ending: "uncordoned, if we cordoned it: a node that was cordoned before stays so, and where somebody else uncordoned it, theirs stays and only \
                 our note goes. Whole again when the node is Ready, and every workload whose pods left, and that was whole before, has all its replicas ready",
        undoable: true,
        undoable_where: "",
        refusable: true,
        cannot: "take pods past their budgets (there is no `disableEviction`: a deletion that asks no budget is `podKill`); end a machine, which is `nodeTerminate`",
        unrehearsable: "",
        examples: &[("a node", "{nodes: {selector: \"kubernetes.io/os=linux\", count: 1}, timeout: 3m}")],
    };

    type Note = DrainNote;

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = self.nodes.check();
        complaints.extend(whole_seconds(self.grace_period));
        if self.timeout.is_zero() {
            let hint = "write `timeout: 5m`, or leave it out";
            complaints.push(Complaint::new(&["timeout"], "`timeout: 0s` gives no pod the time to leave", hint));
        }
        complaints
    }

    fn namespaces(&self) -> Vec<String> {
        Vec::new()
    }

    fn permissions(&self) -> Vec<Permission> {
        let rule = |group, resource, verb, why| Permission { group, resource, verb, namespace: None, why, kind: None };
        let mut rules = self.nodes.permissions();
        rules.extend([
            rule("", "nodes", "get", "see whether a node is cordoned, by whom, and whether it is Ready"),
            rule("", "nodes", "patch", "cordon the nodes, and uncordon them"),
            rule("", "pods", "list", "find the pods of a node"),
            rule("", "pods/eviction", "create", "evict the pods of a node"),
            rule("policy", "poddisruptionbudgets", "list", "name the budget that refuses an eviction"),
            rule("apps", "replicasets", "get", "find the workload that owns a pod"),
        ]);
        rules.extend(workload_permissions(None));
        rules
    }

    fn longest_injection(&self) -> Time {
        self.timeout.get()
    }

    fn effect_deadline(&self, _: &DrainNote) -> Time {
        EFFECT_DEADLINE
    }

    async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        let (chosen, of) = self.nodes.choose(cx).await?;
        let mut resolution = Resolution { of, pods: 0, ..Resolution::default() };
        for ChosenNode { target, node } in chosen {
            plan_cordon(&target, &node, &mut resolution)?;
            self.plan_evictions(cx.cluster, &target, &mut resolution).await?;
            resolution.targets.push(target);
        }
        Ok(resolution)
    }

    async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<DrainNote>, FaultError> {
        let Some(found) = current(cx, target).await? else { return Ok(None) };
        let held = CORDON.note(target, &found, json!(true))?;
        let doing = || format!("list the pods of {target}");
        let mut pods = self.pods(cx.cluster, target).await.map_err(FaultError::api(doing()))?;
        top_owners(cx.cluster, &mut pods).await.map_err(FaultError::api(doing()))?;
        let mut workloads: Vec<Workload> = pods
            .into_iter()
            .filter(|pod| !pod.is_finished())
            .filter_map(|pod| Some(Workload { namespace: pod.target.namespace, owner: pod.target.owner? }))
            .collect();
        workloads.sort();
        workloads.dedup();
        // What was not whole before can't be asked to be so afterwards.
        let whole: Vec<Result<Option<Workload>, FaultError>> = stream::iter(workloads)
            .map(|workload| async move {
                let now = whole_now(cx, &workload).await?;
                Ok(matches!(now, Heal::Healed(_)).then_some(workload))
            })
            .buffered(ASKING)
            .collect()
            .await;
        let workloads = whole.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>()?;
        Ok(Some(DrainNote { previous: held.previous == true, injected: true, workloads }))
    }

    async fn inject(&self, cx: &Acting<'_>, target: &Target, note: &DrainNote) -> Result<Injected, FaultError> {
        let cordoned = match CORDON.hold(cx, target, &note.held()).await? {
            Injected::Done(words) => words,
            other => return Ok(other),
        };
        Drain::new(self, cx, target).run(&cordoned).await
    }

    async fn effect(&self, cx: &Acting<'_>, target: &Target, _: &DrainNote) -> Result<Effect, FaultError> {
        let Some(found) = current(cx, target).await? else {
            return Ok(Effect::NotYet("it is gone".to_owned()));
        };
        if CORDON.value(&found) != true {
            return Ok(Effect::NotYet("somebody uncordoned it".to_owned()));
        }
        let doing = format!("list the pods of {target}");
        let left = self.pods(cx.cluster, target).await.map_err(FaultError::api(doing))?;
        Ok(if left.is_empty() {
            Effect::Seen("it is unschedulable, and no pod is left that a drain evicts".to_owned())
        } else {
            Effect::NotYet(format!("still there: {}", named(&left)))
        })
    }

    async fn undo(cx: &Acting<'_>, target: &Target, note: &DrainNote) -> Result<Undo, FaultError> {
        CORDON.give_back(cx, target, &note.held()).await
    }

    async fn left_on(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Left>, FaultError> {
        match namespace {
            // Nodes are in none.
            Some(_) => Ok(Vec::new()),
            None => CORDON.notes_on(cluster.all::<Node>(), "node").await,
        }
    }

    async fn healed(cx: &Acting<'_>, target: &Target, note: &DrainNote) -> Result<Heal, FaultError> {
        let Some(found) = current(cx, target).await? else {
            return Ok(Heal::NotYet(format!("{target} is gone")));
        };
        let now: Node = serde_json::from_value(found.0.clone())
            .map_err(|e| FaultError::State(format!("{target} can't be read: {e}")))?;
        if CORDON.value(&found) == true && !note.previous {
            return Ok(Heal::NotYet(format!("{target} is cordoned")));
        }
        if !is_ready(&now) {
            return Ok(Heal::NotYet(format!("{target} is not Ready")));
        }
        for workload in &note.workloads {
            if let Heal::NotYet(why) = whole_now(cx, workload).await? {
                return Ok(Heal::NotYet(format!("{why} (namespace `{}`)", workload.namespace)));
            }
        }
        let of = match note.workloads.len() {
            0 => String::new(),
            1 => ", and the workload whose pods left is whole".to_owned(),
            n => format!(", and the {n} workloads whose pods left are whole"),
        };
        Ok(Heal::Healed(format!("{target} is Ready{of}")))
    }
}

impl NodeDrain {
    /// The pods that have to go before the node is empty: all but those of a `DaemonSet` and the kubelet's own.
    async fn pods(&self, cluster: &Cluster, node: &Target) -> Result<Vec<NodePod>, kube::Error> {
        let pods = pods_on(cluster, &node.name, self.pod_selector.as_ref()).await?;
        Ok(pods.into_iter().filter(|pod| !pod.is_daemon() && !pod.is_mirror()).collect())
    }

    /// Why kubectl would not evict one of these pods, without being told to.
    fn balks(&self, pods: &[NodePod]) -> Option<Refusal> {
        let of = |wrong: fn(&NodePod) -> bool| {
            let pods: Vec<NodePod> =
                pods.iter().filter(|pod| !pod.is_finished() && !pod.is_ending() && wrong(pod)).cloned().collect();
            (!pods.is_empty()).then(|| named(&pods))
        };
        if let Some(pods) = of(|pod| pod.target.owner.is_none()).filter(|_| !self.force) {
            return Some(
                Refusal::new(format!(
                    "it would evict pods that declare no controller, which nothing brings back: {pods}"
                ))
                .hint("write `force: true` if they may go"),
            );
        }
        let pods = of(NodePod::has_empty_dir).filter(|_| !self.delete_empty_dir_data)?;
        Some(
            Refusal::new(format!(
                "it would evict pods with local storage (`emptyDir`), whose data goes with them: {pods}"
            ))
            .hint("write `deleteEmptyDirData: true` if it may go"),
        )
    }

    /// The pods that leave one node, and what the API says to each eviction now.
    async fn plan_evictions(
        &self,
        cluster: &Cluster,
        node: &Target,
        resolution: &mut Resolution,
    ) -> Result<(), Refusal> {
        let all = pods_on(cluster, &node.name, self.pod_selector.as_ref()).await;
        let all = all.map_err(|e| refused(&e, "list", "pods", ""))?;
        let (daemons, mut pods): (Vec<_>, Vec<_>) =
            all.into_iter().filter(|pod| !pod.is_mirror() && !pod.is_ending()).partition(NodePod::is_daemon);
        if !self.ignore_daemon_sets && !daemons.is_empty() {
            return Err(Refusal::new(format!(
                "{node} has pods of DaemonSets, which can't leave it: {}",
                named(&daemons)
            ))
            .hint("leave out `ignoreDaemonSets: false`, and they stay"));
        }
        if let Some(refusal) = self.balks(&pods) {
            return Err(Refusal { message: format!("{node}: {}", refusal.message), ..refusal });
        }
        top_owners(cluster, &mut pods).await.map_err(|e| refused(&e, "get", "replicasets", ""))?;
        let answers: Vec<Result<Rehearsed, Refusal>> = stream::iter(&pods)
            .map(|pod| rehearse(cluster, &pod.target, self.grace_period))
            .buffered(ASKING)
            .collect()
            .await;
        for (pod, now) in pods.into_iter().zip(answers) {
            let (now, name) = (now?, pod.name());
            if let Rehearsed::Refused(why) = &now {
                resolution.warnings.push(format!("pod {name} on {node} can't be evicted now: {why}"));
            }
            if pod.target.owner.is_none() && !pod.is_finished() {
                resolution.warnings.push(format!("pod {name} on {node} has no owner: nothing will bring it back"));
            }
            resolution.calls.push(format!(
                "POST {} (uid {}, grace {} s); by dry run the API {now} now",
                eviction_path(&pod.target),
                pod.target.uid,
                grace_seconds(self.grace_period, &pod.pod),
            ));
            resolution.leaving.push(pod.target);
        }
        Ok(())
    }
}

/// What cordoning a node comes to.
fn plan_cordon(target: &Target, node: &Node, resolution: &mut Resolution) -> Result<(), Refusal> {
    let found = Found(serde_json::to_value(node).map_err(|e| Refusal::new(e.to_string()))?);
    found.refuse_held(target)?;
    let now = CORDON.value(&found);
    resolution.calls.push(format!(
        "PATCH /api/v1/nodes/{} (uid {}, /spec/unschedulable {now} → true, undo note in the same patch)",
        target.name, target.uid
    ));
    resolution.undo.push(if now == true {
        format!("none: {target} is cordoned already, and stays so; only our note goes")
    } else {
        format!("uncordon {target}, unless somebody else has done so")
    });
    Ok(())
}

/// Whether a workload has every replica that it wants ready; one that is gone wants none.
async fn whole_now(cx: &Acting<'_>, workload: &Workload) -> Result<Heal, FaultError> {
    match workload_ready(cx, &workload.namespace, &workload.owner).await {
        Err(FaultError::Api { source: kube::Error::Api(status), .. }) if status.code == 404 => {
            Ok(Heal::Healed(format!("{} is gone", workload.owner)))
        }
        answer => answer,
    }
}

/// The first few of them by name.
fn named(pods: &[NodePod]) -> String {
    const SHOWN: usize = 5;
    let names: Vec<String> = pods.iter().take(SHOWN).map(NodePod::name).collect();
    let more = pods.len().saturating_sub(SHOWN);
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}
