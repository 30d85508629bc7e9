//! Which pods a rule of a pod's is about.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Selector as Labels, SelectorExt as _};

/// Labels of namespaces, by name. One that is not here has none.
pub(super) type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// Pods by their labels, in namespaces.
#[derive(Debug)]
pub(crate) struct Like {
    /// `None`: no pod.
    selector: Option<Labels>,
    /// `None`: of all namespaces.
    namespaces: Option<BTreeSet<String>>,
    /// Of these namespaces too.
    chosen: Option<Labels>,
}

impl Like {
    /// The pods of its own namespace that a selector takes, and that have its own values of these labels.
    pub(crate) fn of_spread(rule: &TopologySpreadConstraint, pod: &Pod) -> Self {
        let keys = rule.match_label_keys.as_deref();
        let selector = with_keys(rule.label_selector.as_ref(), keys, None, pod);
        Self { selector, namespaces: Some(own(pod)), chosen: None }
    }

    /// The pods that a term of its affinity means.
    pub(crate) fn of_term(term: &PodAffinityTerm, pod: &Pod) -> Self {
        let named: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        let (namespaces, chosen) = match &term.namespace_selector {
            Some(all) if *all == LabelSelector::default() => (None, None),
            None if named.is_empty() => (Some(own(pod)), None),
            // The API has validated it.
            chosen => (Some(named), chosen.clone().and_then(|chosen| Labels::try_from(chosen).ok())),
        };
        let (same, other) = (term.match_label_keys.as_deref(), term.mismatch_label_keys.as_deref());
        Self { selector: with_keys(term.label_selector.as_ref(), same, other, pod), namespaces, chosen }
    }

    /// Whether a pod with such labels is one of them.
    pub(super) fn takes(&self, namespace: &str, labels: &BTreeMap<String, String>, known: &Namespaces) -> bool {
        let none = BTreeMap::new();
        let is_chosen =
            || self.chosen.as_ref().is_some_and(|chosen| chosen.matches(known.get(namespace).unwrap_or(&none)));
        let is_in = self.namespaces.as_ref().is_none_or(|all| all.contains(namespace) || is_chosen());
        is_in && self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }

    /// The namespaces that all of them are in, where that is known without asking for labels.
    pub(super) fn within(&self) -> Option<&BTreeSet<String>> {
        self.namespaces.as_ref().filter(|_| self.chosen.is_none())
    }
}

fn own(pod: &Pod) -> BTreeSet<String> {
    pod.metadata.namespace.iter().cloned().collect()
}

/// The selector, narrowed to the pod's own values of some labels and to other values than its own of others.
fn with_keys(
    selector: Option<&LabelSelector>,
    same: Option<&[String]>,
    other: Option<&[String]>,
    pod: &Pod,
) -> Option<Labels> {
    let mut selector = selector?.clone();
    let own = |key: &String| Some((key.clone(), pod.metadata.labels.as_ref()?.get(key)?.clone()));
    for (key, value) in same.into_iter().flatten().filter_map(own) {
        selector.match_labels.get_or_insert_default().insert(key, value);
    }
    for (key, value) in other.into_iter().flatten().filter_map(own) {
        let not = LabelSelectorRequirement { key, operator: "NotIn".to_owned(), values: Some(vec![value]) };
        selector.match_expressions.get_or_insert_default().push(not);
    }
    // The API has validated it.
    Labels::try_from(selector).ok()
}
