//! The volumes that a pod brings along: whether they are there, and which are made only once its node is known.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use super::Assumed;
use crate::lab::model::volumes::{SELECTED, class_of, is_bound, is_delayed, is_for, is_made_on, matching};
use crate::lab::store::ObjectKey;
use crate::lab::world::World;
use crate::scheduling::reaches;

/// What is said of a node where a claim finds no volume and none can be made.
pub(super) const UNMET: &str = "node(s) didn't find available persistent volumes to bind";

/// What a pod's claims come to.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub volumes: Vec<Arc<PersistentVolume>>,
    /// Claims whose volumes are chosen, or made, for the node that the pod gets.
    pub delayed: Vec<Delayed>,
}

/// Such a claim.
#[derive(Debug)]
pub(super) struct Delayed {
    claim: Arc<PersistentVolumeClaim>,
    /// Its class, where volumes are made of it.
    class: Option<Arc<StorageClass>>,
    /// The volume that a node's pod would get, of those that are there.
    found: Vec<(String, String)>,
    /// A volume was set aside for it.
    reserved: bool,
}

impl Delayed {
    fn of(world: &World, claim: Arc<PersistentVolumeClaim>) -> Self {
        let class = class_of(world, &claim);
        let mut found = Vec::new();
        // Hardly ever is there a volume that nobody has.
        if world
            .store
            .list::<PersistentVolume>(None)
            .any(|volume| volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_none()))
        {
            for node in world.store.list::<Node>(None) {
                let volume = matching(world, &claim, Some(&node)).and_then(|volume| volume.metadata.name.clone());
                found.extend(Some(node.metadata.name.clone().unwrap_or_default()).zip(volume));
            }
        }
        let reserved = world.store.list::<PersistentVolume>(None).any(|volume| is_for(&volume, &claim.metadata));
        Self { claim, class, found, reserved }
    }

    pub(super) fn name(&self) -> String {
        self.claim.metadata.name.clone().unwrap_or_default()
    }

    /// The volume that is there for a pod on a node.
    pub(super) fn volume_on(&self, node: &Node) -> Option<String> {
        let name = node.metadata.name.as_deref();
        self.found.iter().find(|(node, _)| Some(node.as_str()) == name).map(|(_, volume)| volume.clone())
    }

    /// Who a volume that is set aside for it is for.
    pub(super) fn reference(&self) -> ObjectReference {
        let meta = &self.claim.metadata;
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            ..ObjectReference::default()
        }
    }

    fn selected(&self) -> Option<&str> {
        self.claim.metadata.annotations.as_ref()?.get(SELECTED).map(String::as_str)
    }

    fn can_be_met(&self, node: &Node) -> bool {
        if let Some(selected) = self.selected() {
            return node.metadata.name.as_deref() == Some(selected);
        }
        self.volume_on(node).is_some() || self.class.as_ref().is_some_and(|class| is_made_on(class, node))
    }
}

impl Claims {
    /// Whether the claims that wait for a node can be met on this one.
    pub(super) fn can_be_met(&self, world: &World, node: &str) -> bool {
        self.delayed.is_empty()
            || world
                .store
                .get::<Node>("", node)
                .is_some_and(|node| self.delayed.iter().all(|claim| claim.can_be_met(&node)))
    }
}

/// What has become of the node that a pod was to have.
pub(super) fn settled(world: &World, key: &ObjectKey, claims: &Claims) -> Assumed {
    let Some(name) = world.scheduler.assumed.get(key) else { return Assumed::No };
    let Some(node) = world.store.get::<Node>("", name) else { return Assumed::No };
    if !claims.volumes.iter().all(|volume| reaches(volume, &node)) {
        return Assumed::No;
    }
    if claims.delayed.is_empty() {
        return Assumed::Ready(name.clone());
    }
    let under_way = |claim: &Delayed| claim.reserved || claim.selected() == Some(name);
    if claims.delayed.iter().all(under_way) { Assumed::Waits } else { Assumed::No }
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
        if claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Lost")) {
            let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
            return Err(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
            ));
        }
        let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty());
        match named {
            Some(named) if is_bound(&claim) => match world.store.get::<PersistentVolume>("", named) {
                Some(volume) => claims.volumes.push(volume),
                None => {
                    return Err(format!(
                        "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{named}\""
                    ));
                }
            },
            None if is_delayed(world, &claim) => claims.delayed.push(Delayed::of(world, claim)),
            _ => waits = true,
        }
    }
    if waits { Err("pod has unbound immediate PersistentVolumeClaims".to_owned()) } else { Ok(claims) }
}
