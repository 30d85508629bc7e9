//! What a run may touch at most, and the count that holds it there: checked in the plan, and again at every mutation.
//!
//! A run's own limits stand in the experiment. The cluster's stand in the ConfigMap `limits` of the state namespace, whose keys are
//! `protectedNamespaces` (comma-separated), `maxPods`, `maxNodes`, `maxGroups` (numbers) and `halt` (`true` or `false`). A key that is
//! none of these is refused: a misspelt limit must not pass for no limit.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, Serialize};

use super::{Plan, PlannedStep};
use crate::cluster::Cluster;
use crate::fault::{PROTECTED, Refusal, Resolution, is_for_the_cluster, refused, retried};
use crate::record::Target;
use crate::spec::{CountOrPercent, Limits};

/// Name of the cluster's ConfigMap in the state namespace.
pub const LIMITS: &str = "limits";

/// Namespaces in which nothing is touched but by a fault that is made for the cluster itself.
const BUILT_IN: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];
/// Why.
const OF_THE_CLUSTER: &str = "it belongs to the cluster itself";

/// Where the runner itself runs, when it runs in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Runner {
    /// Its namespace.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Its node.
    pub node: String,
}

/// The limits that the cluster's owner sets for every run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterLimits {
    /// Namespaces in which no run may touch anything.
    pub protected_namespaces: Vec<String>,
    /// Most pods that one run may take away.
    pub max_pods: Option<usize>,
    /// Most nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_nodes: Option<usize>,
    /// Most Auto Scaling groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_groups: Option<usize>,
    /// Whether every run is stopped and none may start.
    pub halt: bool,
}

impl ClusterLimits {
    /// Reads the ConfigMap's data.
    ///
    /// # Errors
    ///
    /// When a key is unknown, or a value can't be read.
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let mut limits = Self::default();
        for (key, value) in data {
            let value = value.trim();
            let wrong =
                |wanted: &str| Refusal::new(format!("ConfigMap `{LIMITS}`: `{key}` must be {wanted}: `{value}`"));
            match key.as_str() {
                "protectedNamespaces" => {
                    let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                    limits.protected_namespaces = names.map(ToOwned::to_owned).collect();
                    limits.protected_namespaces.sort();
                }
                "maxPods" | "maxNodes" | "maxGroups" => {
                    let most = Some(value.parse().map_err(|_| wrong("a whole number"))?);
                    match key.as_str() {
                        "maxPods" => limits.max_pods = most,
                        "maxNodes" => limits.max_nodes = most,
                        _ => limits.max_groups = most,
                    }
                }
                "halt" => limits.halt = value.parse().map_err(|_| wrong("`true` or `false`"))?,
                other => {
                    return Err(Refusal::new(format!("ConfigMap `{LIMITS}` has an unknown key: `{other}`"))
                        .hint("it may have `protectedNamespaces`, `maxPods`, `maxNodes`, `maxGroups` and `halt`"));
                }
            }
        }
        Ok(limits)
    }

    /// Asks the cluster for its limits; there are none without the ConfigMap.
    ///
    /// # Errors
    ///
    /// When the ConfigMap can't be read.
    pub async fn fetch(cluster: &Cluster, state_namespace: &str) -> Result<Self, Refusal> {
        let api = cluster.api::<ConfigMap>(state_namespace);
        let found = retried(|| api.get_opt(LIMITS)).await;
        match found.map_err(|e| refused(&e, "get", "configmaps", state_namespace))? {
            Some(map) => Self::read(&map.data.unwrap_or_default()),
            None => Ok(Self::default()),
        }
    }
}

/// A run's limits as numbers, with the cluster's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedLimits {
    /// Pods that the run may take away.
    pub pods: usize,
    /// Nodes.
    pub nodes: usize,
    /// Auto Scaling groups.
    pub groups: usize,
    /// The only namespaces in which anything may be touched.
    pub namespaces: Vec<String>,
    /// Namespaces that are never touched: built in, the state namespace, the runner's own, and those annotated as protected.
    pub denied: BTreeMap<String, String>,
    /// Namespaces annotated as protected: not even pods that leave with a node may be of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub protected: BTreeSet<String>,
    /// The cluster's limits.
    pub cluster: ClusterLimits,
    /// Where the runner runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<Runner>,
}

/// How much the steps' selections match: the whole of a percentage in `limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Selectable {
    /// Pods.
    pub pods: usize,
    /// Nodes.
    pub nodes: usize,
    /// Auto Scaling groups.
    pub groups: usize,
}

impl Selectable {
    /// What one step's selection matches. A step on objects of several kinds takes all that it selects.
    #[must_use]
    pub fn of(resolution: &Resolution) -> Self {
        let targets = &resolution.targets;
        let count = |kind: &str| match targets.iter().filter(|target| target.kind == kind).count() {
            all if all == targets.len() && all > 0 => resolution.of,
            some => some,
        };
        let (nodes, groups) = (count("node"), count("group"));
        let pods = if nodes + groups > 0 { 0 } else { resolution.of };
        Self { pods: resolution.pods_of.unwrap_or(pods), nodes, groups }
    }

    /// The more of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            pods: self.pods.max(other.pods),
            nodes: self.nodes.max(other.nodes),
            groups: self.groups.max(other.groups),
        }
    }
}

impl PlannedLimits {
    /// Resolves the limits of a file. `selectable` is how much the steps' selections match, the whole of a percentage, which
    /// rounds down and has no floor.
    #[must_use]
    pub fn resolve(limits: &Limits, selectable: Selectable, step_namespaces: &BTreeSet<String>) -> Self {
        let count = |limit: Option<CountOrPercent>, default: usize, of: usize| match limit {
            None => default,
            Some(CountOrPercent::Count(count)) => count as usize,
            Some(CountOrPercent::Percent(percent)) => percent.of_rounded_down(of),
        };
        Self {
            pods: count(limits.pods, 1, selectable.pods),
            nodes: count(limits.nodes, 0, selectable.nodes),
            groups: count(limits.groups, 0, selectable.groups),
            namespaces: match &limits.namespaces {
                Some(named) => named.iter().map(ToString::to_string).collect(),
                None => step_namespaces.iter().cloned().collect(),
            },
            ..Self::default()
        }
    }

    /// Adds the namespaces that are annotated as protected.
    pub fn protect(&mut self, namespaces: BTreeSet<String>) {
        let why = format!("it is annotated `{PROTECTED}: \"true\"`");
        self.denied.extend(namespaces.iter().map(|namespace| (namespace.clone(), why.clone())));
        self.protected = namespaces;
    }

    /// Adds what is never touched.
    pub fn deny(&mut self, state_namespace: &str, runner: Option<&Runner>) {
        for namespace in BUILT_IN {
            // What is protected for another reason too is so for the faults that are made for the cluster itself.
            self.denied.entry(namespace.to_owned()).or_insert_with(|| OF_THE_CLUSTER.to_owned());
        }
        let mut deny = |namespace: &str, why: &str| self.denied.insert(namespace.to_owned(), why.to_owned());
        if let Some(runner) = runner {
            deny(&runner.namespace, "the runner itself is in it");
        }
        deny(state_namespace, "the lease and the undo log are in it");
        self.runner = runner.cloned();
    }
}

/// Holds a run within its limits. The executor asks it before every mutation; it counts what it allowed.
#[derive(Debug, Clone)]
pub struct Allowance {
    limits: PlannedLimits,
    named: BTreeSet<(String, String)>,
    /// Pods taken away by the target's UID: one for a pod, more for a workload that is scaled down.
    taken: BTreeMap<String, usize>,
    nodes: BTreeSet<String>,
    groups: BTreeSet<String>,
    wanted: usize,
}

impl Allowance {
    /// The allowance of a plan: nothing but the plan's targets, within the plan's limits.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut allowance = Self {
            limits: plan.limits.clone(),
            named: BTreeSet::new(),
            taken: BTreeMap::new(),
            nodes: BTreeSet::new(),
            groups: BTreeSet::new(),
            wanted: 0,
        };
        let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
        for step in &plan.steps {
            for target in &step.targets {
                allowance.named.insert((step.name.clone(), target.uid.clone()));
                let most = wanted.entry(&target.uid).or_default();
                *most = pods_of(step, target).max(*most);
            }
        }
        allowance.wanted = wanted.values().sum();
        allowance
    }

    /// Takes over the cluster's limits as they are now, `halt` included.
    pub fn renew(&mut self, cluster: ClusterLimits) {
        self.limits.cluster = cluster;
    }

    /// Whether every run is stopped.
    #[must_use]
    pub const fn halted(&self) -> bool {
        self.limits.cluster.halt
    }

    /// Whether the step may touch the target now; counts it when it may. Asking twice counts once.
    ///
    /// # Errors
    ///
    /// When it may not: the cluster is halted, the namespace or object is protected, the plan does not name the target, or the limit
    /// is reached. Nothing is counted then.
    pub fn allows(&mut self, step: &PlannedStep, target: &Target) -> Result<(), Refusal> {
        if self.halted() {
            return Err(Refusal::new(format!(
                "the ConfigMap `{LIMITS}` of this cluster says `halt: true`: no run may act"
            ))
            .hint("ask who set it; runs may start again when it says `false`"));
        }
        if !self.named.contains(&(step.name.clone(), target.uid.clone())) {
            return Err(Refusal::new(format!(
                "the plan does not name {target} (uid {}) in step `{}`",
                target.uid, step.name
            )));
        }
        self.allows_place(step, target)?;
        self.allows_leaving(step, target)?;
        self.allows_count(step, target)
    }

    /// What leaves with a node may be of any namespace but those that somebody protects: the others would make every node untouchable.
    fn allows_leaving(&self, step: &PlannedStep, target: &Target) -> Result<(), Refusal> {
        let limits = &self.limits;
        for pod in step.leaving.iter().filter(|pod| pod.node.as_ref() == Some(&target.name)) {
            let namespace = &pod.namespace;
            let whose = if limits.protected.contains(namespace) {
                format!("it is annotated `{PROTECTED}: \"true\"`")
            } else if limits.cluster.protected_namespaces.contains(namespace) {
                format!("it is among `protectedNamespaces` in the ConfigMap `{LIMITS}` of the state namespace")
            } else {
                continue;
            };
            return Err(Refusal::new(format!(
                "{target} carries {pod} of namespace `{namespace}`, which is protected: {whose}"
            ))
            .hint("choose other nodes"));
        }
        Ok(())
    }

    fn allows_place(&self, step: &PlannedStep, target: &Target) -> Result<(), Refusal> {
        let limits = &self.limits;
        if let Some(runner) = &limits.runner {
            let own_pod = target.kind == "pod" && target.namespace == runner.namespace && target.name == runner.pod;
            let own_node = target.kind == "node" && target.name == runner.node;
            if own_pod || own_node {
                return Err(Refusal::new(format!("{target} is the runner's own"))
                    .hint("choose other targets, or run from elsewhere"));
            }
        }
        let namespace = &target.namespace;
        if namespace.is_empty() {
            return Ok(());
        }
        let made_for_it = |why: &str| why == OF_THE_CLUSTER && is_for_the_cluster(&step.fault);
        if let Some(why) = limits.denied.get(namespace).filter(|why| !made_for_it(why)) {
            return Err(Refusal::new(format!("nothing in namespace `{namespace}` may be touched: {why}")));
        }
        if limits.cluster.protected_namespaces.contains(namespace) {
            return Err(Refusal::new(format!("this cluster protects namespace `{namespace}`"))
                .hint(format!("see `protectedNamespaces` in the ConfigMap `{LIMITS}` of the state namespace")));
        }
        if !limits.namespaces.contains(namespace) {
            return Err(Refusal::new(format!("namespace `{namespace}` is outside `limits.namespaces`"))
                .hint(format!("it allows: {}", list_or_none(&limits.namespaces))));
        }
        Ok(())
    }

    fn allows_count(&mut self, step: &PlannedStep, target: &Target) -> Result<(), Refusal> {
        let uid = &target.uid;
        let pods = pods_of(step, target).max(self.taken.get(uid).copied().unwrap_or(0));
        let others: usize = self.taken.iter().filter(|(taken, _)| *taken != uid).map(|(_, pods)| pods).sum();
        let (limit, whose) = lower((self.limits.pods, "pods"), (self.limits.cluster.max_pods, "maxPods"));
        if others + pods > limit {
            return Err(Refusal::new(format!(
                "the run would take away {} pods, more than {whose} allows: {limit}",
                self.wanted.max(others + pods)
            ))
            .hint("choose fewer targets, or raise the limit"));
        }
        let cluster = &self.limits.cluster;
        let (set, (limit, whose)) = match target.kind.as_str() {
            "node" => (&mut self.nodes, lower((self.limits.nodes, "nodes"), (cluster.max_nodes, "maxNodes"))),
            "group" => (&mut self.groups, lower((self.limits.groups, "groups"), (cluster.max_groups, "maxGroups"))),
            _ => {
                self.taken.insert(uid.clone(), pods);
                return Ok(());
            }
        };
        if !set.contains(uid) && set.len() >= limit {
            return Err(Refusal::new(format!("step `{}` goes beyond {whose}: {limit}", step.name))
                .hint(format!("{target} is one too many; choose fewer targets, or raise the limit")));
        }
        set.insert(uid.clone());
        self.taken.insert(uid.clone(), pods);
        Ok(())
    }
}

/// The lower one of the run's own limit and the cluster's, with its name.
fn lower((own, key): (usize, &str), (cluster, cluster_key): (Option<usize>, &str)) -> (usize, String) {
    match cluster {
        Some(most) if most < own => (most, format!("`{cluster_key}` in the ConfigMap `{LIMITS}`")),
        _ => (own, format!("`limits.{key}`")),
    }
}

/// How many pods a step takes away by touching a target. Those of a step on something else than pods count with its first target.
fn pods_of(step: &PlannedStep, target: &Target) -> usize {
    match target.kind.as_str() {
        "pod" => 1,
        _ if step.targets.first() == Some(target) => step.pods,
        _ => 0,
    }
}

fn list_or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
