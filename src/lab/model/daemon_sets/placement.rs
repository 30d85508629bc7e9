//! On which nodes a DaemonSet's pods run, and how a pod is tied to its node.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DaemonSetSpec;
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};

use super::HASH;
use crate::lab::world::World;
use crate::scheduling::{is_tolerated, is_wanted};

/// The taints that a daemon's pod bears besides its own tolerations.
const BORNE: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// What one on the node's own network bears too.
const NO_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");
/// The field by which a pod names its node.
const NAME: &str = "metadata.name";

/// What a node is to a DaemonSet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// A pod is to run there.
    pub runs: bool,
    /// One that runs there may stay.
    pub stays: bool,
}

/// Every node, by its name.
pub(super) fn places(world: &World, spec: &DaemonSetSpec) -> BTreeMap<String, Place> {
    let mut pod = Pod { spec: spec.template.spec.clone(), ..Pod::default() };
    tolerate(pod.spec.get_or_insert_default());
    let nodes = world.store.list::<Node>(None);
    nodes.map(|node| (node.metadata.name.clone().unwrap_or_default(), place(&pod, &node))).collect()
}

fn place(pod: &Pod, node: &Node) -> Place {
    let only = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()).filter(|name| !name.is_empty());
    let fits = only.is_none_or(|only| node.metadata.name.as_ref() == Some(only)) && is_wanted(pod, node);
    let evicts = || {
        // Only the taints that drive running pods away.
        let mut node = node.clone();
        if let Some(taints) = node.spec.as_mut().and_then(|spec| spec.taints.as_mut()) {
            taints.retain(|taint| taint.effect == "NoExecute");
        }
        !is_tolerated(pod, &node)
    };
    let runs = fits && is_tolerated(pod, node);
    Place { runs, stays: runs || (fits && !evicts()) }
}

fn tolerate(spec: &mut PodSpec) {
    let network = spec.host_network == Some(true);
    let borne = BORNE.into_iter().chain(network.then_some(NO_NETWORK));
    let all = spec.tolerations.get_or_insert_default();
    for (key, effect) in borne {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
}

/// Makes a pod one of a revision that the scheduler can only put on this node.
pub(super) fn pinned(pod: &mut Pod, node: &str, hash: &str) {
    pod.metadata.labels.get_or_insert_default().insert(HASH.to_owned(), hash.to_owned());
    let spec = pod.spec.get_or_insert_default();
    tolerate(spec);
    let rule = NodeSelectorRequirement {
        key: NAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![rule]), match_expressions: None };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node that a pod is on or meant for.
pub(super) fn target(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let mut named = fields.filter(|rule| rule.key == NAME && rule.operator == "In");
    named.find_map(|rule| rule.values.as_ref()?.first().map(String::as_str))
}
