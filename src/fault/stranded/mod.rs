//! What can't start anywhere else while nodes are away: the scheduler's own rules over the nodes that are left.
//!
//! A pod that is named fails a rule on each of those nodes. That the others come back is no promise: images, quotas, other schedulers
//! and what happens meanwhile are not looked at, nor who would be preempted, nor nodes that an autoscaler would add.

mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};

use super::contract::{Permission, Refusal};
use super::instances::LISTS_NODES;
use super::kube::{list, refused};
use super::leaving::{NodePod, top_owners};
use super::nodes::{is_ready, is_schedulable};
use crate::cluster::Cluster;
use crate::record::Displaced;
use crate::scheduling::{Amounts, Place, Places, Unfit};
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
    /// It may not be where a pod is that keeps it away.
    Excluded(String),
    /// It has to be spread evenly.
    Spread(String, i32),
    /// Ports of its node.
    Ports,
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
            Self::Excluded(key) => write!(f, "by `{key}` every node that is left has a pod whose anti-affinity rules it out"),
            Self::Ports => f.write_str("on every node that it may run on another pod has a host port that it wants"),
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

/// The order in which rules are asked, so that the one is named that left no node; of rules of one kind, in the pod's order.
fn rank(unfit: &Unfit) -> (u8, usize) {
    match unfit {
        Unfit::Volume { rule, .. } => (0, *rule),
        Unfit::Elsewhere | Unfit::Unwanted => (1, 0),
        Unfit::Cordoned | Unfit::Tainted => (2, 0),
        Unfit::Far { rule, .. } => (3, *rule),
        Unfit::Near { rule, .. } => (4, *rule),
        Unfit::Excluded { .. } => (5, 0),
        Unfit::Unlabelled { rule, .. } | Unfit::Uneven { rule, .. } => (6, *rule),
        Unfit::Ports => (7, 0),
        Unfit::Lacks(_) => (8, 0),
    }
}

/// Why no node is left, from the first rule that rules out each.
fn why(unfits: &[Unfit]) -> Why {
    match unfits.iter().max_by_key(|unfit| rank(unfit)) {
        None | Some(Unfit::Elsewhere | Unfit::Unwanted) => Why::Unwanted,
        Some(Unfit::Cordoned | Unfit::Tainted) => Why::Taints,
        Some(Unfit::Volume { volume, .. }) => Why::Volume(volume.clone()),
        Some(Unfit::Far { key, .. }) => Why::Affinity(key.clone()),
        Some(Unfit::Near { key, .. }) => Why::AntiAffinity(key.clone()),
        Some(Unfit::Excluded { key }) => Why::Excluded(key.clone()),
        Some(Unfit::Unlabelled { key, skew, .. } | Unfit::Uneven { key, skew, .. }) => Why::Spread(key.clone(), *skew),
        Some(Unfit::Ports) => Why::Ports,
        Some(Unfit::Lacks(_)) => {
            let lacks =
                unfits.iter().filter_map(|unfit| if let Unfit::Lacks(what) = unfit { Some(what) } else { None });
            let lacking: BTreeSet<&str> = lacks.flatten().map(String::as_str).collect();
            Why::Capacity(lacking.into_iter().collect::<Vec<_>>().join(" or "))
        }
    }
}

/// What is left of the cluster.
struct Left {
    /// Nodes that are away and whose objects stay are among them: they count where pods are spread.
    places: Places,
    /// Those that take pods.
    serving: BTreeSet<String>,
    volumes: Volumes,
    stay: bool,
}

impl Left {
    fn new(nodes: &[Node], lost: &BTreeSet<String>, stay: bool, pods: &[NodePod], volumes: Volumes) -> Self {
        let (mut places, mut serving) = (Places::default(), BTreeSet::new());
        for node in nodes {
            let name = node.metadata.name.clone().unwrap_or_default();
            let is_lost = lost.contains(&name);
            let serves = !is_lost && is_ready(node) && is_schedulable(node);
            if serves || (is_lost && stay) {
                places.put(&Arc::new(node.clone()));
            }
            if serves {
                serving.insert(name);
            }
        }
        for found in pods {
            if let Some(node) = found.target.node.as_ref().filter(|node| serving.contains(*node)) {
                places.stand(node, &Arc::new(found.pod.clone()));
            }
        }
        Self { places, serving, volumes, stay }
    }

    /// Finds each pod a place, those that matter and ask most first, and answers which find none.
    fn strand<'b>(&mut self, displaced: &'b [NodePod]) -> Vec<(&'b NodePod, Why)> {
        let mut order: Vec<(&NodePod, Amounts)> =
            displaced.iter().map(|found| (found, Amounts::of_pod(&found.pod))).collect();
        order.sort_by_key(|(found, asked)| {
            let priority = found.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
            (std::cmp::Reverse((priority, asked.get("cpu"), asked.get("memory"))), found.target.clone())
        });
        let mut stranded = Vec::new();
        for (found, _) in order {
            match self.place(found) {
                Ok(node) => drop(self.places.stand(&node, &Arc::new(found.pod.clone()))),
                Err(why) => stranded.push((found, why)),
            }
        }
        stranded
    }

    /// The node that a pod finds, or the rule that left none.
    fn place(&self, found: &NodePod) -> Result<String, Why> {
        let owner = found.target.owner.as_deref().ok_or(Why::Bare)?;
        if self.stay && owner.starts_with("statefulset/") {
            return Err(Why::Held);
        }
        let fit = self.places.fit(&found.pod, self.volumes.of_pod(&found.pod));
        let (mut open, mut unfits) = (Vec::new(), Vec::new());
        for place in self.serving.iter().filter_map(|node| self.places.get(node)) {
            match fit.unfits(place).min_by_key(rank) {
                None => open.push(place),
                Some(unfit) => unfits.push(unfit),
            }
        }
        // Where there is most room for the next one too.
        let room = |place: &&Place| (place.free.get("cpu"), place.free.get("memory"));
        let best = open.into_iter().max_by_key(room);
        best.map(|place| place.name().to_owned()).ok_or_else(|| why(&unfits))
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
