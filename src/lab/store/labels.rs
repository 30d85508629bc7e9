//! Pods by their labels, and those that nobody controls: what lets controllers find theirs without looking at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::{Object, ObjectKey, Store, controller_of, number_of};

/// Pods by their names.
type Named = BTreeMap<String, Arc<Object>>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Labels {
    /// By namespace, label and value.
    named: BTreeMap<String, BTreeMap<String, BTreeMap<String, Named>>>,
    /// Pods without a controller.
    orphans: BTreeSet<ObjectKey>,
}

impl Labels {
    /// Takes a pod in, in the place of what it was before.
    pub(super) fn add(&mut self, pod: &Arc<Object>) {
        let here = self.named.entry(pod.key.namespace.clone()).or_default();
        for (label, value) in pod.meta().labels.iter().flatten() {
            let values = entry(here, label);
            entry(values, value).insert(pod.key.name.clone(), Arc::clone(pod));
        }
        if controller_of(pod.meta().owner_references.as_ref()).is_none() {
            self.orphans.insert(pod.key.clone());
        }
    }

    /// Takes a pod out.
    pub(super) fn forget(&mut self, pod: &Object) {
        self.orphans.remove(&pod.key);
        let Some(here) = self.named.get_mut(&pod.key.namespace) else { return };
        for (label, value) in pod.meta().labels.iter().flatten() {
            let Some(values) = here.get_mut(label) else { continue };
            let Some(names) = values.get_mut(value) else { continue };
            names.remove(&pod.key.name);
            if names.is_empty() {
                values.remove(value);
            }
        }
    }

    fn with(&self, namespace: &str, label: &str, value: &str) -> Option<&Named> {
        self.named.get(namespace)?.get(label)?.get(value)
    }
}

/// What a map has under a key, which is copied only where it is new.
fn entry<'a, V: Default>(map: &'a mut BTreeMap<String, V>, key: &str) -> &'a mut V {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), V::default());
    }
    map.get_mut(key).unwrap_or_else(|| unreachable!("it was put there a moment ago"))
}

/// Whether a pod stands elsewhere here than it did.
pub(super) fn moved(was: &Object, is: &Object) -> bool {
    let (was, is) = (was.meta(), is.meta());
    was.labels != is.labels || was.owner_references != is.owner_references
}

impl Store {
    /// The pods of a namespace that nobody controls, by their names.
    pub(in crate::lab) fn orphans(&self, namespace: &str) -> Vec<Arc<Pod>> {
        let from = self.labelled.orphans.range(ObjectKey::new(namespace, "")..);
        let keys = from.take_while(|key| key.namespace == namespace);
        keys.filter_map(|key| self.object(number_of::<Pod>(), key)?.typed()).collect()
    }

    /// The pods of a namespace that have all these labels, by their names.
    pub(in crate::lab) fn pods_with(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Arc<Pod>> {
        let none = Named::new();
        let with = |(label, value): (&String, &String)| self.labelled.with(namespace, label, value).unwrap_or(&none);
        let mut sets: Vec<&Named> = labels.iter().map(with).collect();
        sets.sort_by_key(|names| names.len());
        let Some((fewest, others)) = sets.split_first() else { return self.list(Some(namespace)).collect() };
        let all = fewest.iter().filter(|(name, _)| others.iter().all(|names| names.contains_key(*name)));
        all.filter_map(|(_, object)| object.typed()).collect()
    }
}
