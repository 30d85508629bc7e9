//! What a run may touch at most, and the count that holds it there: checked in the plan, and again at every mutation.
//!
//! A run's own limits stand in the experiment. The cluster's stand in the ConfigMap `limits` of the state namespace, whose keys are
//! `protectedNamespaces` (comma-separated), `maxPods` (a number) and `halt` (`true` or `false`). A key that is none of these is
//! refused: a misspelt limit must not pass for no limit.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, Serialize};

use super::{Plan, PlannedStep};
use crate::cluster::Cluster;
use crate::fault::{Refusal, is_for_the_cluster, refused, retried};
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
                "maxPods" => limits.max_pods = Some(value.parse().map_err(|_| wrong("a whole number"))?),
                "halt" => limits.halt = value.parse().map_err(|_| wrong("`true` or `false`"))?,
                other => {
                    return Err(Refusal::new(format!("ConfigMap `{LIMITS}` has an unknown key: `{other}`"))
                        .hint("it may have `protectedNamespaces`, `maxPods` and `halt`"));
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
    /// The cluster's limits.
    pub cluster: ClusterLimits,
    /// Where the runner runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<Runner>,
}

impl PlannedLimits {
    /// Resolves the limits of a file. `selectable` is how many pods the steps' selections match, the whole of a percentage, which
    /// rounds down and has no floor.
    #[must_use]
    pub fn resolve(limits: &Limits, selectable: usize, step_namespaces: &BTreeSet<String>) -> Self {
        // A percentage of nodes or groups needs to know how many the selections match; no fault selects either yet, so that it
        // comes to none.
        let count = |limit: Option<CountOrPercent>, default: usize, of: usize| match limit {
            None => default,
            Some(CountOrPercent::Count(count)) => count as usize,
            Some(CountOrPercent::Percent(percent)) => percent.of_rounded_down(of),
        };
        Self {
            pods: count(limits.pods, 1, selectable),
            nodes: count(limits.nodes, 0, 0),
            groups: count(limits.groups, 0, 0),
            namespaces: match &limits.namespaces {
                Some(named) => named.iter().map(ToString::to_string).collect(),
                None => step_namespaces.iter().cloned().collect(),
            },
            ..Self::default()
        }
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
        self.allows_count(step, target)
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
        let (limit, whose) = match self.limits.cluster.max_pods {
            Some(most) if most < self.limits.pods => (most, format!("`maxPods` in the ConfigMap `{LIMITS}`")),
            _ => (self.limits.pods, "`limits.pods`".to_owned()),
        };
        if others + pods > limit {
            return Err(Refusal::new(format!(
                "the run would take away {} pods, more than {whose} allows: {limit}",
                self.wanted.max(others + pods)
            ))
            .hint("choose fewer targets, or raise the limit"));
        }
        let (set, limit, key) = match target.kind.as_str() {
            "node" => (&mut self.nodes, self.limits.nodes, "nodes"),
            "group" => (&mut self.groups, self.limits.groups, "groups"),
            _ => {
                self.taken.insert(uid.clone(), pods);
                return Ok(());
            }
        };
        if !set.contains(uid) && set.len() >= limit {
            return Err(Refusal::new(format!("step `{}` goes beyond `limits.{key}`: {limit}", step.name))
                .hint(format!("{target} is one too many; choose fewer targets, or raise `limits.{key}`")));
        }
        set.insert(uid.clone());
        self.taken.insert(uid.clone(), pods);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{plan, pod, step};

    fn limited(limits: &str, selectable: usize) -> PlannedLimits {
        let limits: Limits = serde_json::from_str(limits).unwrap();
        let mut planned = PlannedLimits::resolve(&limits, selectable, &["shop".to_owned()].into());
        planned.deny("squall", Some(&Runner { namespace: "ci".into(), pod: "runner".into(), node: "n1".into() }));
        planned
    }

    fn allowance(steps: Vec<PlannedStep>, limits: PlannedLimits) -> (Plan, Allowance) {
        let plan = Plan { limits, ..plan(steps) };
        let allowance = Allowance::of(&plan);
        (plan, allowance)
    }

    #[test]
    fn limits_left_out_mean_one_pod_and_nothing_else() {
        let limits = limited("{}", 10);
        assert_eq!((limits.pods, limits.nodes, limits.groups), (1, 0, 0));
        assert_eq!(limits.namespaces, ["shop"]);
    }

    #[test]
    fn a_percentage_rounds_down_to_nothing() {
        assert_eq!(limited(r#"{"pods": "30%"}"#, 3).pods, 0);
        assert_eq!(limited(r#"{"pods": "34%"}"#, 3).pods, 1);
        assert_eq!(limited(r#"{"pods": "100%"}"#, 3).pods, 3);
        assert_eq!(limited(r#"{"nodes": "100%"}"#, 3).nodes, 0);
    }

    #[test]
    fn counts_each_object_once() {
        let (plan, mut allowance) = allowance(
            vec![
                step("a", 0, vec![pod("shop", "web-1")]),
                step("b", 9, vec![pod("shop", "web-1"), pod("shop", "web-2")]),
            ],
            limited("{}", 3),
        );
        let (a, b) = (&plan.steps[0], &plan.steps[1]);
        allowance.allows(a, &a.targets[0]).unwrap();
        allowance.allows(a, &a.targets[0]).unwrap();
        allowance.allows(b, &b.targets[0]).unwrap();
        let refusal = allowance.allows(b, &b.targets[1]).unwrap_err();
        assert_eq!(refusal.message, "the run would take away 2 pods, more than `limits.pods` allows: 1");
    }

    #[test]
    fn the_clusters_cap_is_the_lower_one() {
        let mut limits = limited(r#"{"pods": 5}"#, 3);
        limits.cluster.max_pods = Some(1);
        let (plan, mut allowance) =
            allowance(vec![step("a", 0, vec![pod("shop", "web-1"), pod("shop", "web-2")])], limits);
        let a = &plan.steps[0];
        allowance.allows(a, &a.targets[0]).unwrap();
        let refusal = allowance.allows(a, &a.targets[1]).unwrap_err();
        assert!(refusal.message.contains("`maxPods`"), "{}", refusal.message);
    }

    #[test]
    fn a_scaled_workload_counts_the_pods_that_go() {
        let mut scale = step("a", 0, vec![Target { kind: "deployment".into(), ..pod("shop", "web") }]);
        scale.pods = 3;
        let (plan, mut allowance) = allowance(vec![scale], limited(r#"{"pods": 2}"#, 3));
        assert!(allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).is_err());
    }

    #[test]
    fn nodes_and_groups_are_refused_by_default() {
        let node = Target { kind: "node".into(), ..pod("", "n2") };
        let (plan, mut allowance) = allowance(vec![step("a", 0, vec![node])], limited("{}", 3));
        let refusal = allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).unwrap_err();
        assert_eq!(refusal.message, "step `a` goes beyond `limits.nodes`: 0");
    }

    #[test]
    fn protected_places_are_refused() {
        let everywhere = r#"{"pods": 9, "nodes": 9, "namespaces": ["kube-system", "squall", "ci", "shop", "bank"]}"#;
        let refusal = |target: Target, cluster: ClusterLimits| {
            let mut limits = limited(everywhere, 3);
            limits.cluster = cluster;
            let (plan, mut allowance) = allowance(vec![step("a", 0, vec![target])], limits);
            allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).map_err(|r| r.message)
        };
        let none = ClusterLimits::default;
        assert_eq!(refusal(pod("shop", "web-1"), none()), Ok(()));
        assert!(refusal(pod("kube-system", "coredns"), none()).unwrap_err().contains("the cluster itself"));
        assert!(refusal(pod("squall", "x"), none()).unwrap_err().contains("the undo log"));
        assert!(refusal(pod("ci", "x"), none()).unwrap_err().contains("the runner itself"));
        assert!(refusal(pod("ci", "runner"), none()).unwrap_err().contains("the runner's own"));
        assert!(
            refusal(Target { kind: "node".into(), ..pod("", "n1") }, none()).unwrap_err().contains("the runner's own")
        );
        assert!(refusal(pod("other", "x"), none()).unwrap_err().contains("outside `limits.namespaces`"));
        let protected = ClusterLimits { protected_namespaces: vec!["bank".into()], ..none() };
        assert!(refusal(pod("bank", "x"), protected).unwrap_err().contains("this cluster protects"));
        assert!(refusal(pod("shop", "x"), ClusterLimits { halt: true, ..none() }).unwrap_err().contains("halt"));
    }

    #[test]
    fn what_is_made_for_the_cluster_may_touch_it_unless_it_is_protected_for_another_reason() {
        let refusal = |fault: &str, protected: bool, cluster: ClusterLimits| {
            let mut limits = PlannedLimits { pods: 1, namespaces: vec!["kube-system".into()], ..Default::default() };
            if protected {
                limits.denied.insert("kube-system".into(), "it is annotated".into());
            }
            limits.deny("squall", None);
            limits.cluster = cluster;
            let step = PlannedStep { fault: fault.into(), ..step("a", 0, vec![pod("kube-system", "coredns-1")]) };
            let (plan, mut allowance) = allowance(vec![step], limits);
            allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).map_err(|r| r.message)
        };
        assert_eq!(refusal("coreDns", false, ClusterLimits::default()), Ok(()));
        assert!(refusal("podKill", false, ClusterLimits::default()).unwrap_err().contains("the cluster itself"));
        assert!(refusal("coreDns", true, ClusterLimits::default()).unwrap_err().contains("it is annotated"));
        let protected = ClusterLimits { protected_namespaces: vec!["kube-system".into()], ..Default::default() };
        assert!(refusal("coreDns", false, protected).unwrap_err().contains("this cluster protects"));
    }

    #[test]
    fn a_target_that_the_plan_does_not_name_is_refused() {
        let (plan, mut allowance) = allowance(vec![step("a", 0, vec![pod("shop", "web-1")])], limited("{}", 3));
        let successor = Target { uid: "another".into(), ..plan.steps[0].targets[0].clone() };
        assert!(allowance.allows(&plan.steps[0], &successor).unwrap_err().message.contains("does not name"));
    }

    #[test]
    fn halt_takes_effect_on_a_leash_in_use() {
        let (plan, mut allowance) = allowance(vec![step("a", 0, vec![pod("shop", "web-1")])], limited("{}", 3));
        allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).unwrap();
        allowance.renew(ClusterLimits { halt: true, ..ClusterLimits::default() });
        assert!(allowance.halted());
        assert!(allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).is_err());
    }

    #[test]
    fn reads_the_clusters_config_map() {
        let read = |entries: &[(&str, &str)]| {
            ClusterLimits::read(&entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        let limits = read(&[("protectedNamespaces", "pay, bank,"), ("maxPods", "3"), ("halt", "true\n")]).unwrap();
        assert_eq!(limits.protected_namespaces, ["bank", "pay"]);
        assert_eq!((limits.max_pods, limits.halt), (Some(3), true));
        assert!(read(&[("maxpods", "3")]).unwrap_err().message.contains("unknown key: `maxpods`"));
        assert!(read(&[("maxPods", "3 pods")]).unwrap_err().message.contains("a whole number: `3 pods`"));
        assert!(read(&[("halt", "yes")]).unwrap_err().message.contains("`true` or `false`"));
    }
}
