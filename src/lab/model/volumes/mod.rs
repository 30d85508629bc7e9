//! Volumes for claims: the controller that binds the two, what makes volumes, and what keeps both while they are in use.
//!
//! What is left out: attaching volumes to nodes and mounting them there, growing them, and snapshots. A volume is made for the zone of its
//! pod, as disks of a cloud are.

mod binding;
mod classes;
mod making;
mod matching;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

pub(super) use self::classes::{class_of, is_delayed, is_made_on};
pub(super) use self::matching::{is_bound, is_for, matching};
use super::Controller;
use super::objects::key_of;
use crate::lab::store::{Change, KINDS, ObjectKey};
use crate::lab::world::World;

/// Says to who makes volumes for which node a claim's is to be.
pub(super) const SELECTED: &str = "volume.kubernetes.io/selected-node";
/// Keys of what is not a claim, by what no name contains.
const MADE: &str = "/made/";
const EPHEMERAL: &str = "/pod/";

pub(super) fn observe(world: &mut World, change: &Change) {
    let key = &change.object().key;
    match KINDS[change.object().kind].kind {
        "PersistentVolumeClaim" => {
            world.notice(Controller::Volumes, key.clone());
            let of = |claim: Arc<PersistentVolumeClaim>| claim.spec.clone()?.volume_name;
            let volume = change.now().and_then(of).or_else(|| change.was().and_then(of));
            if let Some(volume) = volume.filter(|volume| !volume.is_empty()) {
                world.notice(Controller::Volumes, ObjectKey::new("", volume));
            }
        }
        "PersistentVolume" => {
            world.notice(Controller::Volumes, key.clone());
            let of = |volume: Arc<PersistentVolume>| volume.spec.clone()?.claim_ref;
            match change.now().and_then(of).or_else(|| change.was().and_then(of)) {
                Some(claim) => world.notice(Controller::Volumes, named_by(&claim)),
                None => notice_open(world),
            }
        }
        "StorageClass" if change.now::<StorageClass>().is_some() => notice_open(world),
        "Pod" => observe_pod(world, change),
        _ => {}
    }
}

/// A claim may be kept by a pod only, and a pod may bring a claim of its own.
fn observe_pod(world: &mut World, change: &Change) {
    let key = &change.object().key;
    let volumes = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
    match (change.was::<Pod>(), change.now::<Pod>()) {
        (Some(gone), None) => {
            for claim in volumes(&gone).iter().filter_map(|volume| claim_of(&key.name, volume)) {
                let claim = ObjectKey::new(key.namespace.clone(), claim);
                let stored = world.store.get::<PersistentVolumeClaim>(&claim.namespace, &claim.name);
                if stored.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some()) {
                    world.notice(Controller::Volumes, claim);
                }
            }
        }
        (None, Some(new)) if volumes(&new).iter().any(|volume| volume.ephemeral.is_some()) => {
            let pod = ObjectKey::new(key.namespace.clone(), format!("{EPHEMERAL}{}", key.name));
            world.notice(Controller::Volumes, pod);
        }
        _ => {}
    }
}

/// The claim that a volume of a pod stands for.
fn claim_of(pod: &str, volume: &k8s_openapi::api::core::v1::Volume) -> Option<String> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{pod}-{}", volume.name)),
        (None, None) => None,
    }
}

/// Something came that claims may be waiting for.
fn notice_open(world: &mut World) {
    let open = world.store.list::<PersistentVolumeClaim>(None).filter(|claim| !is_bound(claim));
    let open: Vec<ObjectKey> = open.map(|claim| key_of(&claim.metadata)).collect();
    for key in open {
        world.notice(Controller::Volumes, key);
    }
}

fn named_by(claim: &ObjectReference) -> ObjectKey {
    ObjectKey::new(claim.namespace.clone().unwrap_or_default(), claim.name.clone().unwrap_or_default())
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    if key.namespace.is_empty() {
        binding::volume(world, &key.name);
    } else if let Some(claim) = key.name.strip_prefix(MADE) {
        making::make(world, &ObjectKey::new(key.namespace.clone(), claim));
    } else if let Some(pod) = key.name.strip_prefix(EPHEMERAL) {
        making::claim_for(world, &ObjectKey::new(key.namespace.clone(), pod));
    } else {
        binding::claim(world, key);
    }
}
