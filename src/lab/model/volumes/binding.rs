//! Binding: a claim and a volume name each other, and neither goes while it is in use.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::classes::{class_of, default, is_delayed, is_made};
use super::matching::{COMPLETED, is_bound, is_for, matching, suits};
use super::{MADE, SELECTED, claim_of, named_by};
use crate::lab::model::objects::{delete, finalize};
use crate::lab::model::{Controller, Task};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::world::World;

/// What keeps a claim that a pod uses.
const OF_CLAIMS: &str = "kubernetes.io/pvc-protection";
/// What keeps a volume that is bound.
const OF_VOLUMES: &str = "kubernetes.io/pv-protection";
/// The controller chose the other; nobody had named it.
const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// Looks at a claim.
pub(super) fn claim(world: &mut World, key: &ObjectKey) {
    let Some(claim) = world.store.get::<PersistentVolumeClaim>(&key.namespace, &key.name) else { return };
    if claim.metadata.deletion_timestamp.is_some() {
        if !is_used(world, key) {
            world.store.update::<PersistentVolumeClaim>(&key.namespace, &key.name, |claim| {
                unprotect(&mut claim.metadata, OF_CLAIMS);
            });
            finalize(world, number_of::<PersistentVolumeClaim>(), key);
        }
        return;
    }
    let Some(claim) = completed(world, key) else { return };
    let spec = claim.spec.clone().unwrap_or_default();
    match spec.volume_name.as_deref().filter(|name| !name.is_empty()) {
        Some(volume) => named(world, &claim, &spec, volume),
        None => unnamed(world, key, &claim),
    }
}

/// The claim with its protection, and with the default class where it names none.
fn completed(world: &mut World, key: &ObjectKey) -> Option<Arc<PersistentVolumeClaim>> {
    let class = default(world).and_then(|class| class.metadata.name.clone());
    world.store.update::<PersistentVolumeClaim>(&key.namespace, &key.name, |claim| {
        protect(&mut claim.metadata, OF_CLAIMS);
        let bound = is_bound(claim);
        let spec = claim.spec.get_or_insert_default();
        if spec.storage_class_name.is_none() && !bound && spec.volume_name.as_ref().is_none_or(String::is_empty) {
            spec.storage_class_name = class;
        }
    })
}

/// A claim that names its volume.
fn named(world: &mut World, claim: &PersistentVolumeClaim, spec: &PersistentVolumeClaimSpec, volume: &str) {
    let Some(volume) = world.store.get::<PersistentVolume>("", volume) else {
        if is_bound(claim) {
            lost(world, claim);
        }
        return;
    };
    let free = volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none());
    match is_bound(claim) {
        true if free || is_for(&volume, &claim.metadata) => bind(world, claim, &volume),
        true => lost(world, claim),
        // One that is too small, or another's, leaves the claim waiting.
        false if (free || is_for(&volume, &claim.metadata)) && suits(&volume, spec) => bind(world, claim, &volume),
        false => {}
    }
}

/// Its volume is gone, with all that was on it.
fn lost(world: &mut World, claim: &PersistentVolumeClaim) {
    let meta = &claim.metadata;
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    world.store.update::<PersistentVolumeClaim>(namespace, name, |claim| {
        claim.status.get_or_insert_default().phase = Some("Lost".to_owned());
    });
}

/// A claim that takes what there is, or has a volume made.
fn unnamed(world: &mut World, key: &ObjectKey, claim: &PersistentVolumeClaim) {
    let selected = claim.metadata.annotations.as_ref().is_some_and(|marks| marks.contains_key(SELECTED));
    let found = matching(world, claim, None);
    let waits = is_delayed(world, claim) && !selected;
    // One that waits for its pod takes only what was set aside for it.
    if let Some(volume) = found.filter(|volume| !waits || is_for(volume, &claim.metadata)) {
        return bind(world, claim, &volume);
    }
    if !waits && class_of(world, claim).is_some_and(|class| is_made(&class)) {
        let made = ObjectKey::new(key.namespace.clone(), format!("{MADE}{}", key.name));
        world.later(world.settings.provision, Task::Reconcile(Controller::Volumes, made));
    }
}

/// Has a claim and a volume name each other.
fn bind(world: &mut World, claim: &PersistentVolumeClaim, volume: &PersistentVolume) {
    let name = volume.metadata.name.clone().unwrap_or_default();
    let meta = &claim.metadata;
    world.store.update::<PersistentVolume>("", &name, |volume| {
        let spec = volume.spec.get_or_insert_default();
        if spec.claim_ref.is_none() {
            mark(&mut volume.metadata, BY_CONTROLLER);
        }
        if spec.claim_ref.as_ref().is_none_or(|claim| claim.uid.as_ref().is_none_or(String::is_empty)) {
            spec.claim_ref = Some(reference(claim));
        }
        volume.status.get_or_insert_default().phase = Some("Bound".to_owned());
    });
    let of = volume.spec.clone().unwrap_or_default();
    let (namespace, own) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    world.store.update::<PersistentVolumeClaim>(namespace, own, |claim| {
        let spec = claim.spec.get_or_insert_default();
        if spec.volume_name.as_ref().is_none_or(String::is_empty) {
            spec.volume_name = Some(name);
            mark(&mut claim.metadata, BY_CONTROLLER);
        }
        mark(&mut claim.metadata, COMPLETED);
        let status = claim.status.get_or_insert_default();
        status.phase = Some("Bound".to_owned());
        (status.access_modes, status.capacity) = (of.access_modes, of.capacity);
    });
}

/// A volume's reference to its claim.
pub(super) fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    let meta = &claim.metadata;
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// Looks at a volume.
pub(super) fn volume(world: &mut World, name: &str) {
    let key = ObjectKey::new("", name);
    let Some(volume) = world.store.get::<PersistentVolume>("", name) else { return };
    let spec = volume.spec.clone().unwrap_or_default();
    let phase = match &spec.claim_ref {
        None => "Available",
        Some(reference) if reference.uid.as_ref().is_none_or(String::is_empty) => {
            world.notice(Controller::Volumes, named_by(reference));
            "Available"
        }
        Some(reference) => {
            let place = named_by(reference);
            let claim = world.store.get::<PersistentVolumeClaim>(&place.namespace, &place.name);
            match claim.filter(|claim| is_for(&volume, &claim.metadata)) {
                Some(claim) if is_bound(&claim) => "Bound",
                Some(_) => {
                    world.notice(Controller::Volumes, place);
                    return;
                }
                None => "Released",
            }
        }
    };
    let leaves = volume.metadata.deletion_timestamp.is_some();
    world.store.update::<PersistentVolume>("", name, |volume| {
        volume.status.get_or_insert_default().phase = Some(phase.to_owned());
        if !leaves {
            protect(&mut volume.metadata, OF_VOLUMES);
        } else if phase != "Bound" {
            unprotect(&mut volume.metadata, OF_VOLUMES);
        }
    });
    let number = number_of::<PersistentVolume>();
    if leaves {
        finalize(world, number, &key);
    } else if phase == "Released" && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete") {
        delete(world, number, &key, None);
    }
}

/// Whether a pod that has a node uses a claim. One that has none could not start any more.
fn is_used(world: &World, key: &ObjectKey) -> bool {
    let uses = |pod: &Arc<Pod>| {
        let (spec, name) = (pod.spec.clone().unwrap_or_default(), pod.metadata.name.as_deref().unwrap_or_default());
        let mut claims = spec.volumes.iter().flatten().filter_map(|volume| claim_of(name, volume));
        spec.node_name.as_ref().is_some_and(|node| !node.is_empty()) && claims.any(|claim| claim == key.name)
    };
    world.store.list::<Pod>(Some(&key.namespace)).any(|pod| uses(&pod))
}

fn mark(meta: &mut ObjectMeta, name: &str) {
    meta.annotations.get_or_insert_default().insert(name.to_owned(), "yes".to_owned());
}

fn protect(meta: &mut ObjectMeta, by: &str) {
    let all = meta.finalizers.get_or_insert_default();
    if !all.iter().any(|finalizer| finalizer == by) {
        all.push(by.to_owned());
    }
}

fn unprotect(meta: &mut ObjectMeta, by: &str) {
    let mut all = meta.finalizers.take().unwrap_or_default();
    all.retain(|finalizer| finalizer != by);
    meta.finalizers = (!all.is_empty()).then_some(all);
}
