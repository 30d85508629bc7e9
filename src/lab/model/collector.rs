//! Garbage collection: what was owned goes when its last owner is gone.
//!
//! Only in the background: an owner that waits for its dependents, or that lets go of them, is the API server's affair.

use serde_json::Value;

use super::Controller;
use super::objects::delete;
use crate::lab::store::{Change, KINDS, Object, ObjectKey, Store, named};
use crate::lab::world::World;

pub(super) fn observe(world: &mut World, change: &Change) {
    match (&change.before, &change.after) {
        (Some(gone), None) => {
            let orphans: Vec<_> = world.store.dependents(gone.uid()).iter().map(|orphan| place(orphan)).collect();
            for key in orphans {
                world.notice(Controller::Collector, key);
            }
        }
        (before, Some(now)) => {
            let same = before.as_ref().is_some_and(|before| owners(before) == owners(now));
            if !same && owners(now).iter().any(|owner| !lives(&world.store, now, owner)) {
                world.notice(Controller::Collector, place(now));
            }
        }
        (None, None) => {}
    }
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let Some((kind, name)) = key.name.split_once('/') else { return };
    let (Ok(kind), key) = (kind.parse(), ObjectKey::new(key.namespace.clone(), name)) else { return };
    let Some(object) = world.store.object(kind, &key).filter(|object| !object.is_leaving()).cloned() else { return };
    let all = owners(&object);
    let alive: Vec<Value> = all.iter().filter(|owner| lives(&world.store, &object, owner)).cloned().collect();
    if alive.len() == all.len() {
        return;
    }
    if alive.is_empty() {
        delete(world, kind, &key, None);
        return;
    }
    let mut json = object.json.clone();
    json["metadata"]["ownerReferences"] = alive.into();
    // It was read a moment ago and is still of its kind.
    drop(world.store.replace(kind, &key, json));
}

/// An object of any kind, as the agenda's key: with its kind's number before its name, which no name contains a slash to confuse.
fn place(object: &Object) -> ObjectKey {
    ObjectKey::new(object.key.namespace.clone(), format!("{}/{}", object.kind, object.key.name))
}

fn owners(object: &Object) -> &[Value] {
    let owners = object.json.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.map_or(&[], Vec::as_slice)
}

/// Whether an owner is there. One of a kind that the lab does not keep is taken to be.
fn lives(store: &Store, object: &Object, owner: &Value) -> bool {
    let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
    let Some(kind) = named(text("apiVersion"), text("kind")) else { return true };
    let namespace = if KINDS[kind].namespaced { object.key.namespace.as_str() } else { "" };
    let found = store.object(kind, &ObjectKey::new(namespace, text("name")));
    found.is_some_and(|found| found.uid() == text("uid"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::lab::store::{ObjectKey, number_of};
    use crate::lab::testing::{create, lab, pass};
    use k8s_openapi::api::core::v1::ConfigMap;

    fn map(name: &str, owners: &[(&str, &str)]) -> Value {
        let owners: Vec<Value> = owners
            .iter()
            .map(|(name, uid)| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid}))
            .collect();
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "shop", "ownerReferences": owners},
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_owned_goes_with_its_owner_down_to_the_last_generation() {
        let lab = lab();
        let root = create(&lab, map("root", &[]));
        let child = create(&lab, map("child", &[("root", root.uid())]));
        create(&lab, map("grandchild", &[("child", child.uid())]));
        pass(Duration::from_secs(1)).await;
        let names = || -> Vec<String> {
            lab.read(|world| {
                let all = world.store.objects(number_of::<ConfigMap>(), Some("shop"));
                all.map(|object| object.key.name.clone()).collect()
            })
        };
        assert_eq!(names(), ["child", "grandchild", "root"]);
        lab.with(|world| world.store.remove(number_of::<ConfigMap>(), &root.key));
        pass(Duration::from_secs(1)).await;
        assert_eq!(names(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_another_owner_stays_and_forgets_the_dead_one() {
        let lab = lab();
        let (one, other) = (create(&lab, map("one", &[])), create(&lab, map("other", &[])));
        create(&lab, map("child", &[("one", one.uid()), ("other", other.uid())]));
        lab.with(|world| world.store.remove(number_of::<ConfigMap>(), &one.key));
        pass(Duration::from_secs(1)).await;
        let owners = lab.read(|world| {
            let child = world.store.get::<ConfigMap>("shop", "child").unwrap();
            child.metadata.owner_references.clone().unwrap()
        });
        assert_eq!(owners.iter().map(|owner| owner.name.as_str()).collect::<Vec<_>>(), ["other"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_created_with_a_dead_owner_goes_and_with_an_unknown_kind_of_owner_it_stays() {
        let lab = lab();
        create(&lab, map("late", &[("gone", "00000000-0000-4000-8000-000000000000")]));
        let mut foreign = map("foreign", &[("gone", "00000000-0000-4000-8000-000000000000")]);
        foreign["metadata"]["ownerReferences"][0]["kind"] = "Widget".into();
        create(&lab, foreign);
        pass(Duration::from_secs(1)).await;
        let there = |name: &str| {
            lab.read(|world| world.store.object(number_of::<ConfigMap>(), &ObjectKey::new("shop", name)).is_some())
        };
        assert!(!there("late") && there("foreign"));
    }
}
