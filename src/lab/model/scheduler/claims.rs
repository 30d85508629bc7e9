//! The volumes that a pod brings along: whether they are there, and which are made only once its node is known.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::lab::world::World;

/// Says to who makes volumes for which node a claim's is to be.
pub(super) const SELECTED: &str = "volume.kubernetes.io/selected-node";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// What a pod's claims come to.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub volumes: Vec<Arc<PersistentVolume>>,
    /// Claims whose volumes are made for the node that the pod gets.
    pub delayed: Vec<String>,
}

/// Looks at the claims of a pod.
///
/// # Errors
///
/// Why it has to wait for them, in kube-scheduler's words.
pub(super) fn claims(world: &World, pod: &Pod) -> Result<Claims, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let (mut claims, mut waits) = (Claims::default(), false);
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let (name, is_own) = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => (claim.claim_name.clone(), false),
            (None, Some(_)) => (format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name), true),
            (None, None) => continue,
        };
        let Some(claim) = world.store.get::<PersistentVolumeClaim>(namespace, &name) else {
            let nobody = format!("persistentvolumeclaim \"{name}\" not found");
            let waits =
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\"");
            return Err(if is_own { waits } else { nobody });
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty());
        match bound {
            Some(bound) => match world.store.get::<PersistentVolume>("", bound) {
                Some(volume) => claims.volumes.push(volume),
                None => {
                    return Err(format!(
                        "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{bound}\""
                    ));
                }
            },
            None if is_delayed(world, &claim) => claims.delayed.push(name),
            None => waits = true,
        }
    }
    if waits { Err("pod has unbound immediate PersistentVolumeClaims".to_owned()) } else { Ok(claims) }
}

/// Whether a claim's volume is made only for a pod.
fn is_delayed(world: &World, claim: &PersistentVolumeClaim) -> bool {
    let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    let is_default = |class: &Arc<StorageClass>| {
        let marks = class.metadata.annotations.as_ref();
        marks.and_then(|marks| marks.get(DEFAULT_CLASS)).is_some_and(|is| is == "true")
    };
    let class = match named {
        Some(name) => world.store.get::<StorageClass>("", name),
        None => world.store.list::<StorageClass>(None).find(is_default),
    };
    class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}
