//! What makes volumes for claims, and claims for pods that bring their own.

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, Node, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec,
    PersistentVolumeStatus, Pod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::SELECTED;
use super::binding::reference;
use super::classes::{affinity, class_of, is_delayed, is_made_on};
use crate::lab::api::defaults;
use crate::lab::model::objects::owner_reference;
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::world::World;

/// Makes the volume of a claim, unless it has one by now.
pub(super) fn make(world: &mut World, key: &ObjectKey) {
    let claim = world.store.get::<PersistentVolumeClaim>(&key.namespace, &key.name);
    let Some(claim) = claim.filter(|claim| claim.metadata.deletion_timestamp.is_none()) else { return };
    let spec = claim.spec.clone().unwrap_or_default();
    let Some(class) = class_of(world, &claim) else { return };
    if spec.volume_name.as_ref().is_some_and(|name| !name.is_empty()) {
        return;
    }
    let selected = claim.metadata.annotations.as_ref().and_then(|marks| marks.get(SELECTED));
    let node = selected.and_then(|node| world.store.get::<Node>("", node));
    if is_delayed(world, &claim) && node.as_ref().is_none_or(|node| !is_made_on(&class, node)) {
        // The scheduler is to choose another.
        world.store.update::<PersistentVolumeClaim>(&key.namespace, &key.name, |claim| {
            claim.metadata.annotations.get_or_insert_default().remove(SELECTED);
        });
        return;
    }
    let uid = claim.metadata.uid.clone().unwrap_or_default();
    let csi = CSIPersistentVolumeSource {
        driver: class.provisioner.clone(),
        volume_handle: format!("lab-{uid}"),
        ..CSIPersistentVolumeSource::default()
    };
    let marks = [("pv.kubernetes.io/provisioned-by".to_owned(), class.provisioner.clone())];
    let metadata =
        ObjectMeta { name: Some(format!("pvc-{uid}")), annotations: Some(marks.into()), ..ObjectMeta::default() };
    let made = PersistentVolumeSpec {
        capacity: spec.resources.and_then(|resources| resources.requests),
        access_modes: spec.access_modes,
        volume_mode: spec.volume_mode,
        claim_ref: Some(reference(&claim)),
        persistent_volume_reclaim_policy: class.reclaim_policy.clone().or_else(|| Some("Delete".to_owned())),
        storage_class_name: class.metadata.name.clone(),
        mount_options: class.mount_options.clone(),
        node_affinity: affinity(world, &class, &key.name, node.as_deref()),
        csi: Some(csi),
        ..PersistentVolumeSpec::default()
    };
    let status = PersistentVolumeStatus { phase: Some("Pending".to_owned()), ..PersistentVolumeStatus::default() };
    let now = world.wall();
    // It is there already where an earlier try made it.
    drop(world.store.add(&PersistentVolume { metadata, spec: Some(made), status: Some(status) }, now));
}

/// Makes the claims that a pod brings along; they are its own, and go with it.
pub(super) fn claim_for(world: &mut World, key: &ObjectKey) {
    let Some(pod) = world.store.get::<Pod>(&key.namespace, &key.name) else { return };
    if pod.metadata.deletion_timestamp.is_some() {
        return;
    }
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let template = volume.ephemeral.as_ref().and_then(|own| own.volume_claim_template.clone());
        let Some(template) = template else { continue };
        let given = template.metadata.unwrap_or_default();
        let metadata = ObjectMeta {
            name: Some(format!("{}-{}", key.name, volume.name)),
            namespace: Some(key.namespace.clone()),
            labels: given.labels,
            annotations: given.annotations,
            owner_references: Some(vec![owner_reference(&*pod)]),
            ..ObjectMeta::default()
        };
        let claim = PersistentVolumeClaim { metadata, spec: Some(template.spec), status: None };
        let kind = number_of::<PersistentVolumeClaim>();
        let Ok(mut json) = serde_json::to_value(&claim) else { continue };
        defaults::apply(world, kind, &mut json);
        let now = world.wall();
        // One of that name is somebody else's, and the pod waits for ever: as it would.
        drop(world.store.create(kind, json, now));
    }
}
