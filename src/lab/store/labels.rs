//! Pods by their labels, and those that nobody controls: what lets controllers find theirs without looking at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::{KINDS, Object, ObjectKey, Store, number_of};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Labels {
    /// By namespace, label and value, the pods' names.
    named: BTreeMap<(String, String, String), BTreeSet<String>>,
    /// Pods without a controller.
    orphans: BTreeSet<ObjectKey>,
}

impl Labels {
    /// Takes an object in, if it is a pod.
    pub(super) fn add(&mut self, object: &Object) {
        for place in places(object) {
            self.named.entry(place).or_default().insert(object.key.name.clone());
        }
        if is_orphan(object) {
            self.orphans.insert(object.key.clone());
        }
    }

    /// Takes an object out.
    pub(super) fn forget(&mut self, object: &Object) {
        for place in places(object) {
            if let Some(names) = self.named.get_mut(&place) {
                names.remove(&object.key.name);
                if names.is_empty() {
                    self.named.remove(&place);
                }
            }
        }
        if is_orphan(object) {
            self.orphans.remove(&object.key);
        }
    }
}

fn places(object: &Object) -> impl Iterator<Item = (String, String, String)> {
    let labels = object.json.pointer("/metadata/labels").filter(|_| KINDS[object.kind].kind == "Pod");
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    labels.filter_map(|(label, value)| Some((object.key.namespace.clone(), label.clone(), value.as_str()?.to_owned())))
}

fn is_orphan(object: &Object) -> bool {
    let owners = object.json.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let controls = |owner: &Value| owner.get("controller").and_then(Value::as_bool) == Some(true);
    KINDS[object.kind].kind == "Pod" && !owners.into_iter().flatten().any(controls)
}

impl Store {
    /// The pods of a namespace that nobody controls, by their names.
    pub(in crate::lab) fn orphans(&self, namespace: &str) -> Vec<Arc<Pod>> {
        let from = self.labelled.orphans.range(ObjectKey::new(namespace, "")..);
        let keys = from.take_while(|key| key.namespace == namespace);
        keys.filter_map(|key| self.get(&key.namespace, &key.name)).collect()
    }

    /// The pods of a namespace that have all these labels, by their names.
    pub(in crate::lab) fn pods_with(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Arc<Pod>> {
        let none = BTreeSet::new();
        let named = |(label, value): (&String, &String)| {
            self.labelled.named.get(&(namespace.to_owned(), label.clone(), value.clone())).unwrap_or(&none)
        };
        let mut sets: Vec<&BTreeSet<String>> = labels.iter().map(named).collect();
        sets.sort_by_key(|names| names.len());
        let Some((fewest, others)) = sets.split_first() else { return self.list(Some(namespace)).collect() };
        let all = fewest.iter().filter(|name| others.iter().all(|names| names.contains(*name)));
        let pods = number_of::<Pod>();
        all.filter_map(|name| self.object(pods, &ObjectKey::new(namespace, name))?.typed()).collect()
    }
}
