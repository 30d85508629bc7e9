//! What can't start anywhere else while nodes are away: the scheduler's own rules over the nodes that are left.
//!
//! A pod that is named fails a rule on each of those nodes. That the others come back is no promise: images, quotas, ports, other
//! schedulers and what happens meanwhile are not looked at, and neither are anti-affinities of pods that are there already, nor who
//! would be preempted, nor nodes that an autoscaler would add.

mod resources;
mod rules;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, TopologySpreadConstraint};

use super::contract::{Permission, Refusal};
use super::instances::LISTS_NODES;
use super::kube::{list, refused};
use super::leaving::{NodePod, top_owners};
use super::nodes::{is_ready, is_schedulable, label};
use crate::cluster::Cluster;
use crate::record::Displaced;
use resources::Amounts;
use rules::{Like, is_tolerated, is_wanted, reaches};
pub(super) use workloads::replaced;

/// What [`predict`] and [`replaced`] call.
pub(super) fn permissions() -> Vec<Permission> {
    let rule = |group, resource, verb, why| Permission { group, resource, verb, namespace: None, why, kind: None };
    let back = "say what can't start elsewhere";
    vec![
        LISTS_NODES,
        rule("", "pods", "list", back),
        rule("", "persistentvolumeclaims", "list", back),
        rule("", "persistentvolumes", "list", back),
        rule("apps", "replicasets", "get", "find the workload that owns a pod"),
    ]
}

/// The workloads whose pods lose their places with these nodes, and what of them will not start elsewhere while the nodes are away.
/// `stay`: their objects stay, as those of nodes that are only out of reach.
pub(super) async fn predict(cluster: &Cluster, lost: &BTreeSet<String>, stay: bool) -> Result<Vec<Displaced>, Refusal> {
    let (nodes, pods, claims, volumes) = futures::try_join!(
        list::<Node>(cluster.all(), "nodes", "", None),
        list::<Pod>(cluster.all(), "pods", "", None),
        list::<PersistentVolumeClaim>(cluster.all(), "persistentvolumeclaims", "", None),
        list::<PersistentVolume>(cluster.all(), "persistentvolumes", "", None),
    )?;
    let (mut displaced, others) = displaced(pods, lost);
    let asked = |e: kube::Error| refused(&e, "get", "replicasets", "");
    top_owners(cluster, &mut displaced).await.map_err(asked)?;
    let kin = workloads::kin(cluster, others.iter(), &workloads::workloads_of(&displaced)).await.map_err(asked)?;
    let mut left = Left::new(&nodes, lost, stay, &others, Volumes::of(claims, volumes));
    Ok(workloads::predicted(&displaced, &kin, left.strand(&displaced)))
}

/// The pods that need a new place, and the others: those that keep theirs, and those that wait for one already.
fn displaced(pods: Vec<Pod>, lost: &BTreeSet<String>) -> (Vec<NodePod>, Vec<NodePod>) {
    let (mut displaced, mut others) = (Vec::new(), Vec::new());
    for pod in pods {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let Some(found) = NodePod::on(&node, pod) else { continue };
        if found.is_finished() || found.is_ending() {
            continue;
        }
        if !lost.contains(&node) {
            others.push(found);
        } else if !found.is_daemon() && !found.is_mirror() {
            displaced.push(found);
        }
    }
    (displaced, others)
}

/// Why a pod starts nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Nobody owns it.
    Bare,
    /// Its StatefulSet makes it again only when it is gone, and the object of a node that is out of reach keeps it.
    Held,
    /// A volume of it is somewhere else: the volume, and where it can be used from.
    Volume(String),
    /// Its node selector or node affinity.
    Unwanted,
    /// Taints.
    Taints,
    /// It has to be near a pod that is not there.
    Affinity(String),
    /// It may not be where one of its like is.
    AntiAffinity(String),
    /// It has to be spread evenly.
    Spread(String, i32),
    /// What it asks for.
    Capacity(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare => f.write_str("no controller owns it, so that nothing makes it again"),
            Self::Held => f.write_str(
                "a StatefulSet starts it again only when it is gone, and it is not as long as its node is there, out of reach",
            ),
            Self::Volume(volume) => write!(f, "volume {volume} can't be used from any node that is left"),
            Self::Unwanted => f.write_str("no node that is left is one that its node selector or affinity takes"),
            Self::Taints => f.write_str("every node that it may run on has a taint that it does not tolerate"),
            Self::Affinity(key) => write!(f, "no node that is left has by `{key}` the pods that its affinity needs"),
            Self::AntiAffinity(key) => write!(f, "by `{key}` every node that is left has a pod that its anti-affinity rules out"),
            Self::Spread(key, skew) => {
                write!(f, "its spread over `{key}` (`maxSkew: {skew}`, `DoNotSchedule`) allows none of the nodes that are left")
            }
            Self::Capacity(what) => write!(f, "no node that it may run on has enough {what} left for what it requests"),
        }
    }
}

/// The volumes behind claims, by namespace and claim.
#[derive(Default)]
struct Volumes(BTreeMap<(String, String), PersistentVolume>);

impl Volumes {
    fn of(claims: Vec<PersistentVolumeClaim>, volumes: Vec<PersistentVolume>) -> Self {
        let volumes: BTreeMap<String, PersistentVolume> =
            volumes.into_iter().filter_map(|volume| Some((volume.metadata.name.clone()?, volume))).collect();
        let of = |claim: PersistentVolumeClaim| {
            let volume = volumes.get(&claim.spec?.volume_name?)?.clone();
            Some(((claim.metadata.namespace?, claim.metadata.name?), volume))
        };
        Self(claims.into_iter().filter_map(of).collect())
    }

    /// Those that a pod brings along. A generic ephemeral volume goes with its pod: the next one gets its own.
    fn of_pod(&self, pod: &Pod) -> Vec<&PersistentVolume> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let claims = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        claims
            .filter_map(|volume| volume.persistent_volume_claim.as_ref())
            .filter_map(|claim| self.0.get(&(namespace.clone(), claim.claim_name.clone())))
            .collect()
    }
}

/// A node with what is on it.
struct Place<'a> {
    node: &'a Node,
    free: Amounts,
    pods: Vec<&'a Pod>,
}

/// What is left of the cluster.
struct Left<'a> {
    places: Vec<Place<'a>>,
    /// Nodes that are away, and whose objects stay: they count where pods are spread.
    shadows: Vec<&'a Node>,
    volumes: Volumes,
    stay: bool,
}

impl<'a> Left<'a> {
    fn new(nodes: &'a [Node], lost: &BTreeSet<String>, stay: bool, pods: &'a [NodePod], volumes: Volumes) -> Self {
        let is_lost = |node: &&Node| node.metadata.name.as_ref().is_some_and(|name| lost.contains(name));
        let place = |node: &'a Node| {
            let is_here = |found: &&NodePod| found.target.node == node.metadata.name;
            let pods: Vec<&Pod> = pods.iter().filter(is_here).map(|found| &found.pod).collect();
            let mut free = Amounts::of_node(node);
            for pod in &pods {
                free.take(&Amounts::of_pod(pod));
            }
            Place { node, free, pods }
        };
        let serves = |node: &&Node| !is_lost(node) && is_ready(node) && is_schedulable(node);
        Self {
            places: nodes.iter().filter(serves).map(place).collect(),
            shadows: nodes.iter().filter(is_lost).filter(|_| stay).collect(),
            volumes,
            stay,
        }
    }

    /// Finds each pod a place, those that matter and ask most first, and answers which find none.
    fn strand<'b: 'a>(&mut self, displaced: &'b [NodePod]) -> Vec<(&'b NodePod, Why)> {
        let mut order: Vec<(&NodePod, Amounts)> =
            displaced.iter().map(|found| (found, Amounts::of_pod(&found.pod))).collect();
        order.sort_by_key(|(found, asked)| {
            let priority = found.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
            (std::cmp::Reverse((priority, asked.get("cpu"), asked.get("memory"))), found.target.clone())
        });
        let mut stranded = Vec::new();
        for (found, asked) in order {
            match self.place(found, &asked) {
                Ok(place) => {
                    self.places[place].free.take(&asked);
                    self.places[place].pods.push(&found.pod);
                }
                Err(why) => stranded.push((found, why)),
            }
        }
        stranded
    }

    /// The place that a pod finds, or the rule that left none.
    fn place(&self, found: &NodePod, asked: &Amounts) -> Result<usize, Why> {
        let pod = &found.pod;
        let owner = found.target.owner.as_deref().ok_or(Why::Bare)?;
        if self.stay && owner.starts_with("statefulset/") {
            return Err(Why::Held);
        }
        let mut open: Vec<usize> = (0..self.places.len()).collect();
        let keep = |open: &mut Vec<usize>, why: Why, rule: &dyn Fn(&Place<'_>) -> bool| {
            open.retain(|&place| rule(&self.places[place]));
            if open.is_empty() { Err(why) } else { Ok(()) }
        };
        for volume in self.volumes.of_pod(pod) {
            keep(&mut open, Why::Volume(volume.metadata.name.clone().unwrap_or_default()), &|place| {
                reaches(volume, place.node)
            })?;
        }
        keep(&mut open, Why::Unwanted, &|place| is_wanted(pod, place.node))?;
        keep(&mut open, Why::Taints, &|place| is_tolerated(pod, place.node))?;
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        for term in
            near.iter().flat_map(|near| near.required_during_scheduling_ignored_during_execution.iter().flatten())
        {
            let like = Like::of_term(term, pod);
            let domains = self.domains(&term.topology_key, &like);
            // The first of its kind may be anywhere.
            if !domains.is_empty() || !like.takes(pod) {
                let within =
                    |place: &Place<'_>| label(place.node, &term.topology_key).is_some_and(|it| domains.contains(it));
                keep(&mut open, Why::Affinity(term.topology_key.clone()), &within)?;
            }
        }
        let apart = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        for term in
            apart.iter().flat_map(|apart| apart.required_during_scheduling_ignored_during_execution.iter().flatten())
        {
            let domains = self.domains(&term.topology_key, &Like::of_term(term, pod));
            let without =
                |place: &Place<'_>| label(place.node, &term.topology_key).is_none_or(|it| !domains.contains(it));
            keep(&mut open, Why::AntiAffinity(term.topology_key.clone()), &without)?;
        }
        for rule in pod.spec.iter().flat_map(|spec| spec.topology_spread_constraints.iter().flatten()) {
            if rule.when_unsatisfiable == "DoNotSchedule" {
                let why = Why::Spread(rule.topology_key.clone(), rule.max_skew);
                let counts = self.spread(rule, pod);
                keep(&mut open, why, &|place| counts.allows(rule, place.node))?;
            }
        }
        let lacking: BTreeSet<&str> = open.iter().flat_map(|&place| self.places[place].free.lacks(asked)).collect();
        let lacking = lacking.into_iter().collect::<Vec<_>>().join(" or ");
        keep(&mut open, Why::Capacity(lacking), &|place| place.free.lacks(asked).next().is_none())?;
        // Where there is most room for the next one too.
        let room = |&place: &usize| (self.places[place].free.get("cpu"), self.places[place].free.get("memory"));
        open.into_iter().max_by_key(room).ok_or(Why::Unwanted)
    }

    /// The domains in which there is such a pod.
    fn domains(&self, key: &str, like: &Like) -> BTreeSet<&str> {
        let has = |place: &&Place<'_>| place.pods.iter().any(|pod| like.takes(pod));
        self.places.iter().filter(has).filter_map(|place| label(place.node, key)).collect()
    }

    /// How many pods of the kind each domain has.
    fn spread(&self, rule: &TopologySpreadConstraint, pod: &Pod) -> Counts {
        let kind = Like::of_spread(rule, pod);
        let honours = |policy: &Option<String>, default: &str| policy.as_deref().unwrap_or(default) == "Honor";
        let counts = |node: &Node| {
            (!honours(&rule.node_affinity_policy, "Honor") || is_wanted(pod, node))
                && (!honours(&rule.node_taints_policy, "Ignore") || is_tolerated(pod, node))
        };
        let mut found = BTreeMap::new();
        let places = self.places.iter().map(|place| (place.node, place.pods.as_slice()));
        let shadows = self.shadows.iter().map(|node| (*node, &[] as &[&Pod]));
        for (node, pods) in places.chain(shadows).filter(|(node, _)| counts(node)) {
            if let Some(domain) = label(node, &rule.topology_key) {
                let like = pods.iter().filter(|other| kind.takes(other));
                *found.entry(domain.to_owned()).or_default() += i32::try_from(like.count()).unwrap_or(i32::MAX);
            }
        }
        Counts { found, own: i32::from(kind.takes(pod)) }
    }
}

/// Pods of a kind by domain.
struct Counts {
    found: BTreeMap<String, i32>,
    /// One more where the pod is of the kind itself.
    own: i32,
}

impl Counts {
    fn allows(&self, rule: &TopologySpreadConstraint, node: &Node) -> bool {
        let Some(here) = label(node, &rule.topology_key).and_then(|domain| self.found.get(domain)) else {
            return false;
        };
        let few = rule.min_domains.is_some_and(|least| self.found.len() < usize::try_from(least).unwrap_or_default());
        let least = if few { 0 } else { self.found.values().min().copied().unwrap_or_default() };
        here + self.own - least <= rule.max_skew
    }
}

/// One line for each workload and reason.
pub(super) fn words(displaced: &[Displaced], stay: bool) -> Vec<String> {
    let until = if stay { "while its node is out of reach" } else { "until the zone is back" };
    let lines = displaced.iter().flat_map(|one| {
        one.stranded.iter().map(move |stranded| {
            let pods = if stranded.pods == 1 { "1 pod".to_owned() } else { format!("{} pods", stranded.pods) };
            let (workload, namespace, why) = (&one.workload, &one.namespace, &stranded.why);
            format!("predicted: {pods} of {workload} in `{namespace}` will not start elsewhere {until}: {why}")
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests;
