//! The scheduler's rules on which node a pod may run, as it words them itself.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Container, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, Pod, Taint, Toleration,
};

/// The label that every node has of itself.
const NAME: &str = "metadata.name";
/// The taint of a node that is cordoned.
pub(crate) const CORDONED: &str = "node.kubernetes.io/unschedulable";
/// Every address of a node.
const EVERY: &str = "0.0.0.0";

/// The value of a node's label.
pub(crate) fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// Whether the pod's own node selector and required node affinity take the node.
pub(crate) fn is_wanted(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| label(node, key) == Some(value));
    selected && required(pod).is_none_or(|required| any(&required.node_selector_terms, node))
}

fn required(pod: &Pod) -> Option<&NodeSelector> {
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    affinity.required_during_scheduling_ignored_during_execution.as_ref()
}

/// The nodes that its affinity names, where it does not take others: so it is with the pods of a `DaemonSet`.
pub(super) fn named(pod: &Pod) -> Option<BTreeSet<&str>> {
    let mut names = BTreeSet::new();
    for term in &required(pod)?.node_selector_terms {
        let rules = term.match_fields.iter().flatten().filter(|rule| rule.key == NAME && rule.operator == "In");
        let listed = rules.map(|rule| rule.values.iter().flatten().map(String::as_str).collect::<BTreeSet<_>>());
        names.extend(listed.reduce(|some, others| some.intersection(&others).copied().collect())?);
    }
    Some(names)
}

/// How much its preferences speak for the node.
pub(super) fn preferred(pod: &Pod, node: &Node) -> i32 {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let terms = affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
    terms.into_iter().flatten().filter(|term| takes(&term.preference, node)).map(|term| term.weight).sum()
}

fn tolerations(pod: &Pod) -> impl Iterator<Item = &Toleration> {
    pod.spec.iter().filter_map(|spec| spec.tolerations.as_ref()).flatten()
}

/// The taints of a node.
pub(crate) fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().filter_map(|spec| spec.taints.as_ref()).flatten()
}

/// Whether every taint that keeps pods away is tolerated.
pub(crate) fn is_tolerated(pod: &Pod, node: &Node) -> bool {
    taints(node)
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        .all(|taint| tolerations(pod).any(|toleration| tolerates(toleration, taint)))
}

/// How many taints that it does not tolerate ask for its staying away.
pub(super) fn disliked(pod: &Pod, node: &Node) -> usize {
    let soft = taints(node).filter(|taint| taint.effect == "PreferNoSchedule");
    soft.filter(|taint| !tolerations(pod).any(|toleration| tolerates(toleration, taint))).count()
}

/// Whether the node is cordoned, and the pod does not care.
pub(super) fn is_cordoned(pod: &Pod, node: &Node) -> bool {
    let cordon = || Taint { key: CORDONED.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true))
        && !tolerations(pod).any(|toleration| tolerates(toleration, &cordon()))
}

/// Whether a toleration is one of this taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
    let effect = empty(&toleration.effect) || toleration.effect.as_ref() == Some(&taint.effect);
    let key = empty(&toleration.key) || toleration.key.as_ref() == Some(&taint.key);
    let exists = toleration.operator.as_deref() == Some("Exists");
    // Without a key only `Exists` says anything.
    let value = exists
        || (!empty(&toleration.key)
            && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default());
    effect && key && value
}

/// Whether a volume can be used from the node.
pub(crate) fn reaches(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    affinity
        .and_then(|affinity| affinity.required.as_ref())
        .is_none_or(|required| any(&required.node_selector_terms, node))
}

fn any(terms: &[NodeSelectorTerm], node: &Node) -> bool {
    terms.iter().any(|term| takes(term, node))
}

fn takes(term: &NodeSelectorTerm, node: &Node) -> bool {
    let (labels, fields) = (term.match_expressions.iter().flatten(), term.match_fields.iter().flatten());
    // A term that says nothing takes nothing.
    let says = labels.clone().next().is_some() || fields.clone().next().is_some();
    let name = node.metadata.name.as_deref();
    says && labels.clone().all(|rule| meets(rule, label(node, &rule.key)))
        && fields.clone().all(|rule| rule.key == NAME && meets(rule, name))
}

/// A port of its node that a pod takes: protocol, address and number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostPort {
    protocol: String,
    address: String,
    number: i32,
}

impl HostPort {
    /// The ports that a pod takes as long as it stands.
    pub(super) fn of_pod(pod: &Pod) -> Vec<Self> {
        let Some(spec) = &pod.spec else { return Vec::new() };
        let stays = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
        let along = spec.init_containers.iter().flatten().filter(stays);
        let ports = spec.containers.iter().chain(along).flat_map(|container| container.ports.iter().flatten());
        let host = spec.host_network == Some(true);
        ports
            .filter_map(|port| {
                let number =
                    port.host_port.filter(|number| *number > 0).or_else(|| host.then_some(port.container_port))?;
                let text =
                    |text: &Option<String>, or: &str| text.clone().filter(|t| !t.is_empty()).unwrap_or(or.to_owned());
                Some(Self { protocol: text(&port.protocol, "TCP"), address: text(&port.host_ip, EVERY), number })
            })
            .collect()
    }

    /// Whether not both can be had.
    pub(super) fn collides(&self, other: &Self) -> bool {
        let address = self.address == other.address || self.address == EVERY || other.address == EVERY;
        self.number == other.number && self.protocol == other.protocol && address
    }
}

fn meets(rule: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = rule.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compared = |holds: fn(i64, i64) -> bool| {
        let read = |text: &str| text.parse::<i64>().ok();
        matches!((value.and_then(read), values.first().and_then(|text| read(text))), (Some(a), Some(b)) if holds(a, b))
    };
    match rule.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(|a, b| a > b),
        "Lt" => compared(|a, b| a < b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(labels: &Value, taints: &Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n1", "labels": labels}, "spec": {"taints": taints}}))
            .unwrap()
    }

    fn pod(spec: Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = json!([]);
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    #[test]
    fn affinity_takes_the_nodes_that_the_scheduler_would() {
        let here = node(&json!({"zone": "a", "cores": "8"}), &json!([]));
        let wanted = |terms: Value| {
            let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
            is_wanted(&pod(json!({"affinity": {"nodeAffinity": required}})), &here)
        };
        let rule =
            |key: &str, operator: &str, values: Value| json!({"key": key, "operator": operator, "values": values});
        let one = |rule: Value| wanted(json!([{"matchExpressions": [rule]}]));
        assert!(one(rule("zone", "In", json!(["b", "a"]))) && !one(rule("zone", "In", json!(["b"]))));
        assert!(one(rule("zone", "NotIn", json!(["b"]))) && one(rule("none", "NotIn", json!(["b"]))));
        assert!(one(rule("zone", "Exists", json!([]))) && !one(rule("zone", "DoesNotExist", json!([]))));
        assert!(one(rule("cores", "Gt", json!(["7"]))) && !one(rule("cores", "Lt", json!(["8"]))));
        assert!(!one(rule("zone", "Gt", json!(["7"]))), "a is no number");
        assert!(wanted(json!([{"matchFields": [rule("metadata.name", "In", json!(["n1"]))]}])));
        assert!(!wanted(json!([{}])), "a term that says nothing takes nothing");
        assert!(!is_wanted(&pod(json!({"nodeSelector": {"zone": "b"}})), &here));
        assert!(is_wanted(&pod(json!({"nodeSelector": {"zone": "a"}})), &here));
    }

    #[test]
    fn taints_keep_away_what_does_not_tolerate_them() {
        let tainted = |effect: &str| node(&json!({}), &json!([{"key": "gpu", "value": "yes", "effect": effect}]));
        let tolerated = |toleration: Value, effect: &str| {
            is_tolerated(&pod(json!({"tolerations": [toleration]})), &tainted(effect))
        };
        assert!(!is_tolerated(&pod(json!({})), &tainted("NoSchedule")));
        assert!(is_tolerated(&pod(json!({})), &tainted("PreferNoSchedule")));
        assert!(tolerated(json!({"operator": "Exists"}), "NoExecute"));
        assert!(tolerated(json!({"key": "gpu", "value": "yes"}), "NoSchedule"));
        assert!(!tolerated(json!({"key": "gpu", "value": "no"}), "NoSchedule"));
        assert!(!tolerated(json!({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}), "NoExecute"));
    }

    #[test]
    fn a_zonal_volume_is_reached_from_its_zone_only() {
        let volume = |zone: &str| -> PersistentVolume {
            let rule = json!({"key": "zone", "operator": "In", "values": [zone]});
            let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}});
            serde_json::from_value(json!({"spec": {"nodeAffinity": affinity}})).unwrap()
        };
        let here = node(&json!({"zone": "a"}), &json!([]));
        assert!(reaches(&volume("a"), &here) && !reaches(&volume("b"), &here));
        assert!(reaches(&PersistentVolume::default(), &here), "a network file system is everywhere");
    }
}
