//! The scheduler's rules on which node a pod may run, as it words them itself.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, Pod, PodAffinityTerm, Taint, Toleration,
    TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector as Labels, SelectorExt as _};

use super::super::nodes::label;

/// The label that every node has of itself.
const NAME: &str = "metadata.name";

/// Whether the pod's own node selector and required node affinity take the node.
pub(super) fn is_wanted(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| label(node, key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| any(&required.node_selector_terms, node))
}

/// Whether every taint that keeps pods away is tolerated.
pub(super) fn is_tolerated(pod: &Pod, node: &Node) -> bool {
    let tolerations: Vec<&Toleration> =
        pod.spec.iter().filter_map(|spec| spec.tolerations.as_ref()).flatten().collect();
    let taints = node.spec.iter().filter_map(|spec| spec.taints.as_ref()).flatten();
    taints
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"))
        .all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
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
pub(super) fn reaches(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    affinity
        .and_then(|affinity| affinity.required.as_ref())
        .is_none_or(|required| any(&required.node_selector_terms, node))
}

fn any(terms: &[NodeSelectorTerm], node: &Node) -> bool {
    terms.iter().any(|term| {
        let (labels, fields) = (term.match_expressions.iter().flatten(), term.match_fields.iter().flatten());
        // A term that says nothing takes nothing.
        let says = labels.clone().next().is_some() || fields.clone().next().is_some();
        let name = node.metadata.name.as_deref();
        says && labels.clone().all(|rule| meets(rule, label(node, &rule.key)))
            && fields.clone().all(|rule| rule.key == NAME && meets(rule, name))
    })
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

/// Which pods a rule of a pod's is about.
pub(super) struct Like {
    /// `None`: no pod.
    selector: Option<Labels>,
    /// `None`: of all namespaces.
    namespaces: Option<BTreeSet<String>>,
}

impl Like {
    /// The pods of its own namespace that a selector takes, and that have its own values of these labels.
    pub(super) fn of_spread(rule: &TopologySpreadConstraint, pod: &Pod) -> Self {
        let keys = rule.match_label_keys.as_deref();
        Self { selector: with_keys(rule.label_selector.as_ref(), keys, pod), namespaces: Some(own(pod)) }
    }

    /// The pods that a term of its affinity means. A term that chooses namespaces by their labels is taken to mean none more: what
    /// labels they have is not known here.
    pub(super) fn of_term(term: &PodAffinityTerm, pod: &Pod) -> Self {
        let keys = term.match_label_keys.as_deref();
        let named: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        let namespaces = match &term.namespace_selector {
            Some(all) if *all == LabelSelector::default() => None,
            None if named.is_empty() => Some(own(pod)),
            _ => Some(named),
        };
        Self { selector: with_keys(term.label_selector.as_ref(), keys, pod), namespaces }
    }

    pub(super) fn takes(&self, pod: &Pod) -> bool {
        let (namespace, none) = (pod.metadata.namespace.as_ref(), BTreeMap::new());
        let known = self.namespaces.as_ref().is_none_or(|all| namespace.is_some_and(|name| all.contains(name)));
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        known && self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

fn own(pod: &Pod) -> BTreeSet<String> {
    pod.metadata.namespace.iter().cloned().collect()
}

fn with_keys(selector: Option<&LabelSelector>, keys: Option<&[String]>, pod: &Pod) -> Option<Labels> {
    let mut selector = selector?.clone();
    let labels = pod.metadata.labels.as_ref();
    for key in keys.into_iter().flatten() {
        if let Some(value) = labels.and_then(|labels| labels.get(key)) {
            selector.match_labels.get_or_insert_default().insert(key.clone(), value.clone());
        }
    }
    // The API has validated it.
    Labels::try_from(selector).ok()
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
