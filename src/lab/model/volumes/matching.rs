//! Which volume suits a claim.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::lab::api::quantity::millionths;
use crate::lab::model::objects::Selection;
use crate::lab::world::World;
use crate::scheduling::reaches;

/// The controller has bound it.
pub(super) const COMPLETED: &str = "pv.kubernetes.io/bind-completed";

/// Whether a claim has been bound, and not only named a volume.
pub(in crate::lab::model) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).is_some_and(|name| !name.is_empty());
    named && claim.metadata.annotations.as_ref().is_some_and(|marks| marks.contains_key(COMPLETED))
}

/// Whether a volume is set aside for a claim.
pub(in crate::lab::model) fn is_for(volume: &PersistentVolume, claim: &ObjectMeta) -> bool {
    let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else { return false };
    let same = reference.name == claim.name && reference.namespace == claim.namespace;
    same && reference.uid.as_ref().is_none_or(|uid| uid.is_empty() || Some(uid) == claim.uid.as_ref())
}

/// The volume that suits a claim best: one set aside for it, or the smallest that is free and large enough. `None` of `node`: from
/// wherever it can be used.
pub(in crate::lab::model) fn matching(
    world: &World,
    claim: &PersistentVolumeClaim,
    node: Option<&Node>,
) -> Option<Arc<PersistentVolume>> {
    let spec = claim.spec.as_ref()?;
    let wanted = spec.selector.as_ref().map(Selection::of);
    let fits = |volume: &Arc<PersistentVolume>| {
        volume.metadata.deletion_timestamp.is_none()
            && suits(volume, spec)
            && node.is_none_or(|node| reaches(volume, node))
    };
    let all: Vec<_> = world.store.list::<PersistentVolume>(None).filter(fits).collect();
    if let Some(own) = all.iter().find(|volume| is_for(volume, &claim.metadata)) {
        return Some(Arc::clone(own));
    }
    let free = |volume: &&Arc<PersistentVolume>| {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        phase == Some("Available")
            && volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none())
            && wanted.as_ref().is_none_or(|wanted| wanted.takes(&volume.metadata))
    };
    let size = |volume: &&Arc<PersistentVolume>| amount(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()));
    all.iter().filter(free).min_by_key(size).cloned()
}

/// Whether a volume has what a claim asks for.
pub(super) fn suits(volume: &PersistentVolume, claim: &PersistentVolumeClaimSpec) -> bool {
    let Some(spec) = &volume.spec else { return false };
    let text = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.to_owned());
    let modes = spec.access_modes.clone().unwrap_or_default();
    let asked = claim.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    text(&spec.storage_class_name, "") == text(&claim.storage_class_name, "")
        && text(&spec.volume_mode, "Filesystem") == text(&claim.volume_mode, "Filesystem")
        && claim.access_modes.iter().flatten().all(|mode| modes.contains(mode))
        && amount(spec.capacity.as_ref()) >= amount(asked)
}

fn amount(of: Option<&std::collections::BTreeMap<String, Quantity>>) -> i128 {
    of.and_then(|of| millionths(&of.get("storage")?.0)).unwrap_or(0)
}
