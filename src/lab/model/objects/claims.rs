//! Ownership: who controls an object, who takes in what nobody controls, and who lets go what it no longer selects.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

use super::{Selection, key_of, selects};
use crate::lab::model::Controller;
use crate::lab::store::{Change, ObjectKey, Stored, controller_of};
use crate::lab::world::World;

/// A reference to an object as what controls another.
pub(in crate::lab) fn owner_reference<O: Metadata<Ty = ObjectMeta>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::API_VERSION.to_owned(),
        kind: O::KIND.to_owned(),
        name: owner.metadata().name.clone().unwrap_or_default(),
        uid: owner.metadata().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Has a controller look at its objects that control what changed or did so before; where nobody does, at all that would take it.
pub(in crate::lab) fn notice_owners<C, O>(
    world: &mut World,
    change: &Change,
    controller: Controller,
    selector: fn(&O) -> Option<&LabelSelector>,
) where
    C: Metadata<Ty = ObjectMeta> + Any + Send + Sync,
    O: Metadata<Ty = ObjectMeta> + Any + Send + Sync,
{
    let (was, now) = (change.was::<C>(), change.now::<C>());
    let both = [was.as_deref(), now.as_deref()].into_iter().flatten();
    let mut keys: BTreeSet<ObjectKey> = both.filter_map(|child| controlled_by::<O>(child.metadata())).collect();
    if let Some(now) = now
        && is_new_orphan(was.as_deref().map(Metadata::metadata), now.metadata())
    {
        let namespace = change.object().key.namespace.as_str();
        let takes = |owner: &Arc<O>| selector(owner).is_some_and(|all| selects(all, now.metadata()));
        let owners = world.store.list::<O>(Some(namespace)).filter(takes);
        keys.extend(owners.map(|owner| key_of(owner.metadata())));
    }
    for key in keys {
        world.notice(controller, key);
    }
}

fn controlled_by<O: Metadata<Ty = ObjectMeta>>(meta: &ObjectMeta) -> Option<ObjectKey> {
    let owner = controller_of(meta.owner_references.as_ref())?;
    let own = owner.kind == O::KIND && owner.api_version == O::API_VERSION;
    own.then(|| ObjectKey::new(meta.namespace.clone().unwrap_or_default(), owner.name.clone()))
}

/// Whether an object that nobody controls came to be so, or may be taken by others than before.
fn is_new_orphan(was: Option<&ObjectMeta>, now: &ObjectMeta) -> bool {
    let changed = was.is_none_or(|was| was.labels != now.labels || was.owner_references != now.owner_references);
    changed && controller_of(now.owner_references.as_ref()).is_none()
}

/// The objects that an owner controls. It lets go those that it no longer takes, and takes in fitting ones of `others` that nobody
/// controls; an owner that is leaving does neither.
pub(in crate::lab) fn claim<C, O>(
    world: &mut World,
    owner: &O,
    selector: &LabelSelector,
    others: Vec<Arc<C>>,
    fits: impl Fn(&C) -> bool,
) -> Vec<Arc<C>>
where
    C: Metadata<Ty = ObjectMeta> + Stored + Clone,
    O: Metadata<Ty = ObjectMeta>,
{
    let selection = Selection::of(selector);
    let (meta, own) = (owner.metadata(), owner_reference(owner));
    let leaving = meta.deletion_timestamp.is_some();
    let taken = |child: &C| selection.takes(child.metadata()) && fits(child);
    let controls = |child: &Arc<C>| {
        controller_of(child.metadata().owner_references.as_ref()).is_some_and(|owner| owner.uid == own.uid)
    };
    let controlled = world.store.owned::<C>(&own.uid).into_iter().filter(controls);
    let (mut kept, lost): (Vec<_>, Vec<_>) = controlled.partition(|child| taken(child));
    if leaving {
        return kept;
    }
    for child in lost {
        release(world, &*child, &own.uid);
    }
    for child in others {
        let meta = child.metadata();
        let free = controller_of(meta.owner_references.as_ref()).is_none() && meta.deletion_timestamp.is_none();
        if free && taken(&child) {
            kept.extend(adopt(world, &*child, &own));
        }
    }
    kept
}

fn adopt<C>(world: &mut World, child: &C, own: &OwnerReference) -> Option<Arc<C>>
where
    C: Metadata<Ty = ObjectMeta> + Stored + Clone,
{
    let key = key_of(child.metadata());
    world.store.update::<C>(&key.namespace, &key.name, |child| {
        let owners = child.metadata_mut().owner_references.get_or_insert_default();
        owners.retain(|owner| owner.uid != own.uid);
        owners.push(own.clone());
    })
}

fn release<C>(world: &mut World, child: &C, uid: &str)
where
    C: Metadata<Ty = ObjectMeta> + Stored + Clone,
{
    let key = key_of(child.metadata());
    world.store.update::<C>(&key.namespace, &key.name, |child| {
        let meta = child.metadata_mut();
        let mut owners = meta.owner_references.take().unwrap_or_default();
        owners.retain(|owner| owner.uid != uid);
        meta.owner_references = (!owners.is_empty()).then_some(owners);
    });
}
