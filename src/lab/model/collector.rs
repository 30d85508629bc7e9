//! Garbage collection: what was owned goes when its last owner is gone.
//!
//! An owner that is deleted in the foreground waits until what it owns, and would block it, is gone; one that is to leave orphans waits
//! until they have let go of it. Both are held by a finalizer meanwhile.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::Controller;
use super::objects::{delete_holding, finalize};
use crate::lab::store::{Change, KINDS, Object, ObjectKey, Store, named};
use crate::lab::world::World;

/// On an owner that waits for what it owns.
const FOREGROUND: &str = "foregroundDeletion";
/// On an owner that is to leave orphans.
const ORPHAN: &str = "orphan";

pub(super) fn observe(world: &mut World, change: &Change) {
    match (&change.before, &change.after) {
        (Some(gone), None) => {
            for orphan in world.store.dependents(gone.uid()) {
                world.notice(Controller::Collector, place(&orphan));
            }
            notice_waiting_owners(world, gone);
        }
        (before, Some(now)) => {
            if now.is_leaving() && (has(now, FOREGROUND) || has(now, ORPHAN)) {
                world.notice(Controller::Collector, place(now));
            }
            let same = before.as_ref().is_some_and(|before| before.owners() == now.owners());
            if same {
                return;
            }
            if now.owners().iter().any(|owner| life(&world.store, now, owner) != Life::Solid) {
                world.notice(Controller::Collector, place(now));
            }
            if let Some(before) = before {
                notice_waiting_owners(world, before);
            }
        }
        (None, None) => {}
    }
}

/// Lets owners look again that wait for this one of theirs.
fn notice_waiting_owners(world: &mut World, object: &Object) {
    for owner in object.owners() {
        if life(&world.store, object, owner) == Life::Waiting
            && let Some((kind, key)) = owner_of(object, owner)
        {
            world.notice(Controller::Collector, numbered(kind, &key));
        }
    }
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let Some((kind, name)) = key.name.split_once('/') else { return };
    let (Ok(kind), key) = (kind.parse(), ObjectKey::new(key.namespace.clone(), name)) else { return };
    let Some(object) = world.store.object(kind, &key).cloned() else { return };
    if !object.is_leaving() {
        collect(world, &object);
    } else if has(&object, ORPHAN) {
        for dependent in world.store.dependents(object.uid()) {
            disown(world, &dependent, |owner| owner.uid != object.uid());
        }
        release(world, &object, ORPHAN);
    } else if has(&object, FOREGROUND) {
        let dependents = world.store.dependents(object.uid());
        for dependent in dependents.iter().filter(|dependent| !dependent.is_leaving()) {
            world.notice(Controller::Collector, place(dependent));
        }
        let blocks = |owner: &OwnerReference| owner.uid == object.uid() && owner.block_owner_deletion == Some(true);
        if !dependents.iter().any(|dependent| dependent.owners().iter().any(blocks)) {
            release(world, &object, FOREGROUND);
        }
    }
}

/// Deletes an object whose owners are gone or going, or has it forget those of several that are.
fn collect(world: &mut World, object: &Object) {
    let lives: Vec<Life> = object.owners().iter().map(|owner| life(&world.store, object, owner)).collect();
    if lives.iter().all(|life| *life == Life::Solid) {
        return;
    }
    if lives.contains(&Life::Solid) {
        let alive: Vec<OwnerReference> = object
            .owners()
            .iter()
            .zip(lives)
            .filter(|(_, life)| *life == Life::Solid)
            .map(|(owner, _)| owner.clone())
            .collect();
        disown(world, object, |owner| alive.contains(owner));
        return;
    }
    let mut held_by = object.finalizers().to_vec();
    // What owns something itself goes as its owner does: not before that.
    let deep = lives.contains(&Life::Waiting) && !world.store.dependents(object.uid()).is_empty();
    if deep && !has(object, FOREGROUND) {
        held_by.retain(|finalizer| finalizer != ORPHAN);
        held_by.push(FOREGROUND.to_owned());
    }
    delete_holding(world, object.kind, &object.key, None, Some(&held_by));
}

/// Leaves an object those owners that are kept.
fn disown(world: &mut World, object: &Object, keep: impl Fn(&OwnerReference) -> bool) {
    world.store.update_meta(object, |meta| {
        let kept = meta.owner_references.take().unwrap_or_default().into_iter().filter(|owner| keep(owner)).collect();
        meta.owner_references = Some(kept).filter(|kept: &Vec<_>| !kept.is_empty());
    });
}

/// Takes a finalizer off an object, which goes if it was the last.
fn release(world: &mut World, object: &Object, finalizer: &str) {
    world.store.update_meta(object, |meta| {
        let rest = meta.finalizers.take().unwrap_or_default().into_iter().filter(|other| other != finalizer).collect();
        meta.finalizers = Some(rest).filter(|rest: &Vec<_>| !rest.is_empty());
    });
    finalize(world, object.kind, &object.key);
}

fn has(object: &Object, finalizer: &str) -> bool {
    object.finalizers().iter().any(|other| other == finalizer)
}

/// An object of any kind, as the agenda's key: with its kind's number before its name, which no name contains a slash to confuse.
fn place(object: &Object) -> ObjectKey {
    numbered(object.kind, &object.key)
}

fn numbered(kind: usize, key: &ObjectKey) -> ObjectKey {
    ObjectKey::new(key.namespace.clone(), format!("{kind}/{}", key.name))
}

/// What an owner is to what it owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It is there.
    Solid,
    /// It waits for what it owns to go.
    Waiting,
    /// It is gone.
    Gone,
}

/// The kind and the key of an owner; `None`: it is of a kind that the lab does not keep.
fn owner_of(object: &Object, owner: &OwnerReference) -> Option<(usize, ObjectKey)> {
    let kind = named(&owner.api_version, &owner.kind)?;
    let namespace = if KINDS[kind].namespaced { object.key.namespace.as_str() } else { "" };
    Some((kind, ObjectKey::new(namespace, owner.name.as_str())))
}

/// Whether an owner is there. One of a kind that the lab does not keep is taken to be.
fn life(store: &Store, object: &Object, owner: &OwnerReference) -> Life {
    let Some((kind, key)) = owner_of(object, owner) else { return Life::Solid };
    match store.object(kind, &key).filter(|found| owner.uid == found.uid()) {
        None => Life::Gone,
        Some(found) if found.is_leaving() && has(found, FOREGROUND) => Life::Waiting,
        Some(_) => Life::Solid,
    }
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

    fn owned(name: &str, owner: (&str, &str), blocks: bool) -> Value {
        let mut map = map(name, &[owner]);
        map["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = blocks.into();
        map
    }

    fn names(lab: &crate::lab::world::Shared) -> Vec<String> {
        lab.read(|world| {
            let all = world.store.objects(number_of::<ConfigMap>(), Some("shop"));
            all.map(|object| object.key.name.clone()).collect()
        })
    }

    fn delete_with(lab: &crate::lab::world::Shared, name: &str, finalizer: &str) {
        let key = ObjectKey::new("shop", name);
        lab.with(|world| {
            super::delete_holding(world, number_of::<ConfigMap>(), &key, None, Some(&[finalizer.to_owned()]));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_deleted_in_the_foreground_goes_after_what_would_block_it() {
        let lab = lab();
        let root = create(&lab, map("root", &[]));
        let child = create(&lab, owned("child", ("root", root.uid()), true));
        let mut held = owned("grandchild", ("child", child.uid()), true);
        held["metadata"]["finalizers"] = json!(["example.com/wait"]);
        create(&lab, held);
        create(&lab, owned("loose", ("root", root.uid()), false));
        delete_with(&lab, "root", super::FOREGROUND);
        pass(Duration::from_secs(1)).await;
        assert_eq!(names(&lab), ["child", "grandchild", "root"], "each waits for what it owns");
        let finalizers = |name: &str| {
            lab.read(|world| world.store.get::<ConfigMap>("shop", name).unwrap().metadata.finalizers.clone())
        };
        assert_eq!(finalizers("child").unwrap(), [super::FOREGROUND]);
        lab.with(|world| world.store.remove(number_of::<ConfigMap>(), &ObjectKey::new("shop", "grandchild")));
        pass(Duration::from_secs(1)).await;
        assert_eq!(names(&lab), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_that_leaves_orphans_goes_once_they_let_go_of_it() {
        let lab = lab();
        let root = create(&lab, map("root", &[]));
        create(&lab, owned("child", ("root", root.uid()), true));
        delete_with(&lab, "root", super::ORPHAN);
        assert_eq!(names(&lab), ["child", "root"]);
        pass(Duration::from_secs(1)).await;
        assert_eq!(names(&lab), ["child"]);
        let owners =
            lab.read(|world| world.store.get::<ConfigMap>("shop", "child").unwrap().metadata.owner_references.clone());
        assert_eq!(owners.unwrap_or_default(), []);
    }
}
