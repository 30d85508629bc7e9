//! The nodes with what stands on them, kept up as pods come and go.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::like::{Like, Namespaces};
use super::resources::Amounts;
use super::rules::{HostPort, label};

/// A node with what is on it.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// `None`: pods are bound to a node that is not there.
    node: Option<Arc<Node>>,
    /// What it lends to pods.
    pub(super) have: Amounts,
    /// What is left of that.
    pub(crate) free: Amounts,
    /// What its pods take, as nodes are compared.
    pub(super) usual: Amounts,
    pub(super) ports: BTreeMap<HostPort, usize>,
}

impl Place {
    /// The value of its node's label.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        label(self.node.as_ref()?, key)
    }

    /// The node's name.
    pub(crate) fn name(&self) -> &str {
        self.node.as_ref().and_then(|node| node.metadata.name.as_deref()).unwrap_or_default()
    }

    /// What a rule says of the node.
    pub(super) fn ask<T: Default>(&self, rule: impl FnOnce(&Node) -> T) -> T {
        self.node.as_deref().map(rule).unwrap_or_default()
    }
}

/// Where a pod stands.
#[derive(Debug)]
struct Standing {
    node: String,
    pod: Arc<Pod>,
}

/// What pods have in common that no rule tells apart. A cluster has few of these, however many pods it has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alike {
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    pub leaving: bool,
    /// What their affinity to other pods says, as the API writes it.
    terms: String,
}

impl Alike {
    fn of(pod: &Pod) -> Self {
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let terms = affinity.map(|affinity| (&affinity.pod_affinity, &affinity.pod_anti_affinity));
        let terms = terms.filter(|(near, apart)| near.is_some() || apart.is_some());
        Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            leaving: pod.metadata.deletion_timestamp.is_some(),
            terms: terms.and_then(|terms| serde_json::to_string(&terms).ok()).unwrap_or_default(),
        }
    }
}

/// How many pods that are alike stand where, and what they say of others that come.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    at: BTreeMap<String, usize>,
    /// These may not come near, by the key.
    pub apart: Vec<(String, Like)>,
    /// These are drawn near, by the key; or away, where the weight is negative.
    pub draws: Vec<(String, i32, Like)>,
}

impl Crowd {
    fn of(pod: &Pod) -> Self {
        let mut crowd = Self::default();
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let near = near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref());
        for term in near.into_iter().flatten() {
            crowd.draws.push((term.topology_key.clone(), 1, Like::of_term(term, pod)));
        }
        let apart = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let apart = apart.and_then(|apart| apart.required_during_scheduling_ignored_during_execution.as_ref());
        for term in apart.into_iter().flatten() {
            crowd.apart.push((term.topology_key.clone(), Like::of_term(term, pod)));
        }
        crowd.draws.extend(draws(pod));
        crowd
    }
}

/// What a pod would rather be near, or away from where the weight is negative.
pub(super) fn draws(pod: &Pod) -> Vec<(String, i32, Like)> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
    let near = near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref());
    let apart = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let apart = apart.and_then(|apart| apart.preferred_during_scheduling_ignored_during_execution.as_ref());
    let near = near.into_iter().flatten().map(|term| (term.weight, &term.pod_affinity_term));
    let apart = apart.into_iter().flatten().map(|term| (-term.weight, &term.pod_affinity_term));
    near.chain(apart).map(|(weight, term)| (term.topology_key.clone(), weight, Like::of_term(term, pod))).collect()
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Places {
    nodes: BTreeMap<String, Place>,
    standing: BTreeMap<(String, String), Standing>,
    crowds: BTreeMap<Alike, Crowd>,
    namespaces: Namespaces,
}

impl Places {
    /// Adds a node, or has it as it is now. Whether anything is new that a pod's place may depend on.
    pub(crate) fn put(&mut self, node: &Arc<Node>) -> bool {
        let place = self.nodes.entry(node.metadata.name.clone().unwrap_or_default()).or_default();
        let have = Amounts::of_node(node);
        let differs = |old: &Arc<Node>| old.metadata.labels != node.metadata.labels || old.spec != node.spec;
        let is_new = place.node.as_ref().is_none_or(differs) || place.have != have;
        place.free.add(&have);
        place.free.take(&place.have);
        place.have = have;
        place.node = Some(Arc::clone(node));
        is_new
    }

    /// Takes a node away. Its pods are still bound to its name.
    pub(crate) fn remove(&mut self, node: &str) {
        if let Some(place) = self.nodes.get_mut(node) {
            place.free.take(&place.have);
            place.have = Amounts::default();
            place.node = None;
        }
    }

    /// Has a namespace's labels as they are now.
    pub(crate) fn label_namespace(&mut self, namespace: &str, labels: BTreeMap<String, String>) {
        self.namespaces.insert(namespace.to_owned(), labels);
    }

    /// Puts a pod on a node, or has it as it is now. Whether anything is new that another pod's place may depend on.
    pub(crate) fn stand(&mut self, node: &str, pod: &Arc<Pod>) -> bool {
        let key = (pod.metadata.namespace.clone().unwrap_or_default(), pod.metadata.name.clone().unwrap_or_default());
        let is_leaving = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
        if let Some(old) = self.standing.get_mut(&key) {
            let same = old.node == node
                && old.pod.spec == pod.spec
                && old.pod.metadata.labels == pod.metadata.labels
                && is_leaving(&old.pod) == is_leaving(pod);
            if same {
                return false;
            }
            self.leave(&key.0, &key.1);
        }
        let place = self.nodes.entry(node.to_owned()).or_default();
        place.free.take(&Amounts::of_pod(pod));
        place.usual.add(&Amounts::usual_of_pod(pod));
        for port in HostPort::of_pod(pod) {
            *place.ports.entry(port).or_default() += 1;
        }
        let crowd = self.crowds.entry(Alike::of(pod)).or_insert_with(|| Crowd::of(pod));
        *crowd.at.entry(node.to_owned()).or_default() += 1;
        self.standing.insert(key, Standing { node: node.to_owned(), pod: Arc::clone(pod) });
        true
    }

    /// Takes a pod away. Whether it stood anywhere.
    pub(crate) fn leave(&mut self, namespace: &str, name: &str) -> bool {
        let Some(Standing { node, pod }) = self.standing.remove(&(namespace.to_owned(), name.to_owned())) else {
            return false;
        };
        if let Some(place) = self.nodes.get_mut(&node) {
            place.free.add(&Amounts::of_pod(&pod));
            place.usual.take(&Amounts::usual_of_pod(&pod));
            for port in HostPort::of_pod(&pod) {
                less(&mut place.ports, &port);
            }
        }
        let alike = Alike::of(&pod);
        if let Some(crowd) = self.crowds.get_mut(&alike) {
            less(&mut crowd.at, &node);
            if crowd.at.is_empty() {
                self.crowds.remove(&alike);
            }
        }
        true
    }

    /// The nodes that are there, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.nodes.values().filter(|place| place.node.is_some())
    }

    /// One of them.
    pub(crate) fn get(&self, node: &str) -> Option<&Place> {
        self.nodes.get(node).filter(|place| place.node.is_some())
    }

    /// Whether a pod is one that a rule is about.
    pub(super) fn is_like(&self, like: &Like, pod: &Pod) -> bool {
        let (namespace, none) = (pod.metadata.namespace.as_deref().unwrap_or_default(), BTreeMap::new());
        like.takes(namespace, pod.metadata.labels.as_ref().unwrap_or(&none), &self.namespaces)
    }

    /// Whether such pods are those that a rule is about.
    pub(super) fn is_of(&self, like: &Like, alike: &Alike) -> bool {
        like.takes(&alike.namespace, &alike.labels, &self.namespaces)
    }

    /// The pods that a rule is about.
    pub(super) fn crowds(&self, like: &Like) -> Vec<(&Alike, &Crowd)> {
        let taken = |alike: &Alike| self.is_of(like, alike);
        let Some(within) = like.within() else { return self.crowds.iter().filter(|(alike, _)| taken(alike)).collect() };
        let mut found = Vec::new();
        for namespace in within {
            let first =
                Alike { namespace: namespace.clone(), labels: BTreeMap::new(), leaving: false, terms: String::new() };
            let there = self.crowds.range(first..).take_while(|(alike, _)| alike.namespace == *namespace);
            found.extend(there.filter(|(alike, _)| taken(alike)));
        }
        found
    }

    /// All pods.
    pub(super) fn everyone(&self) -> impl Iterator<Item = &Crowd> {
        self.crowds.values()
    }

    /// Where a crowd stands: nodes that are there, and how many on each.
    pub(super) fn nodes_of<'a>(&'a self, crowd: &'a Crowd) -> impl Iterator<Item = (&'a Place, i32)> {
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        crowd.at.iter().filter_map(move |(node, pods)| Some((self.get(node)?, count(*pods))))
    }

    /// How many pods that a rule is about each node has, without those that leave.
    pub(super) fn counts(&self, like: &Like) -> BTreeMap<&str, i32> {
        let mut counts = BTreeMap::new();
        for (_, crowd) in self.crowds(like).into_iter().filter(|(alike, _)| !alike.leaving) {
            for (place, pods) in self.nodes_of(crowd) {
                *counts.entry(place.name()).or_default() += pods;
            }
        }
        counts
    }
}

/// One less of it; none is no entry.
fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(cpu: &str) -> Arc<Node> {
        let node = json!({"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": cpu, "pods": "10"}}});
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn pod(name: &str, namespace: &str, more: &Value) -> Arc<Pod> {
        let resources = json!({"requests": {"cpu": "1"}});
        let ports = json!([{"containerPort": 80, "hostPort": 80}]);
        let mut spec = json!({"containers": [{"name": "c", "resources": resources, "ports": ports}]});
        spec["affinity"] = more.clone();
        let metadata = json!({"name": name, "namespace": namespace, "labels": {"app": "web"}});
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
    }

    #[test]
    fn what_comes_and_goes_leaves_nothing_behind() {
        let mut places = Places::default();
        assert!(places.put(&node("4")) && !places.put(&node("4")), "nothing is new");
        assert!(places.stand("n1", &pod("a", "shop", &Value::Null)));
        assert!(!places.stand("n1", &pod("a", "shop", &Value::Null)), "it stands there");
        assert_eq!(places.get("n1").unwrap().free.get("cpu"), 3000);
        assert!(places.put(&node("8")));
        assert_eq!(places.get("n1").unwrap().free.get("cpu"), 7000);
        places.remove("n1");
        assert!(places.get("n1").is_none());
        places.put(&node("4"));
        assert_eq!(places.get("n1").unwrap().free.get("cpu"), 3000, "its pod is still bound to it");
        assert!(places.leave("shop", "a") && !places.leave("shop", "a"));
        let place = places.get("n1").unwrap();
        assert_eq!((place.free.get("cpu"), place.usual.get("cpu"), place.ports.len()), (4000, 0, 0));
        assert_eq!(places.everyone().count(), 0);
    }

    #[test]
    fn a_term_means_the_namespaces_that_it_names_or_chooses() {
        let mut places = Places::default();
        places.label_namespace("shop", BTreeMap::from([("team".to_owned(), "a".to_owned())]));
        let takes = |term: Value, namespace: &str| {
            let mut whole = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}});
            for (key, value) in term.as_object().unwrap() {
                whole[key] = value.clone();
            }
            let term = serde_json::from_value(whole).unwrap();
            places.is_like(&Like::of_term(&term, &pod("own", "own", &Value::Null)), &pod("p", namespace, &Value::Null))
        };
        assert!(takes(json!({}), "own") && !takes(json!({}), "shop"));
        assert!(takes(json!({"namespaces": ["shop"]}), "shop") && !takes(json!({"namespaces": ["shop"]}), "own"));
        assert!(takes(json!({"namespaceSelector": {}}), "any"));
        let chosen = json!({"namespaceSelector": {"matchLabels": {"team": "a"}}});
        assert!(takes(chosen.clone(), "shop") && !takes(chosen, "own"));
        assert!(
            takes(json!({"matchLabelKeys": ["app"]}), "own") && !takes(json!({"mismatchLabelKeys": ["app"]}), "own")
        );
    }
}
