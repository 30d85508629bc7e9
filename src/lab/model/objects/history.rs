//! The templates that a workload had: their hashes, and the `ControllerRevisions` that keep them.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde::Serialize;
use serde_json::{Value, json};

use super::{delete, key_of, owner_reference};
use crate::lab::store::number_of;
use crate::lab::world::World;

/// The letters that a hash is written in, as Kubernetes has it.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Revisions kept where the workload says nothing.
const KEPT: i32 = 10;

/// A hash of a template, as it stands in names and labels.
pub(in crate::lab) fn hash(template: &impl Serialize, collisions: i32) -> String {
    let text = serde_json::to_string(template).unwrap_or_default();
    let salt = if collisions > 0 { collisions.to_string() } else { String::new() };
    // FNV-1a.
    let sum = text
        .bytes()
        .chain(salt.bytes())
        .fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    sum.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// The revision that stands for a template, made where there is none, and all revisions of its owner from old to new. `label` is where a
/// revision keeps its hash.
pub(in crate::lab) fn revision_of<O: Metadata<Ty = ObjectMeta>>(
    world: &mut World,
    owner: &O,
    template: &PodTemplateSpec,
    label: &str,
) -> Option<(Arc<ControllerRevision>, Vec<Arc<ControllerRevision>>)> {
    let uid = owner.metadata().uid.clone().unwrap_or_default();
    let mut all = world.store.owned::<ControllerRevision>(&uid);
    all.sort_by_key(|revision| revision.revision);
    let next = all.last().map_or(1, |last| last.revision + 1);
    let data = data_of(template);
    let equal = all.iter().rposition(|revision| revision.data.as_ref().is_some_and(|kept| kept.0 == data));
    let current = match equal {
        Some(newest) if newest + 1 == all.len() => return Some((Arc::clone(&all[newest]), all)),
        // Back to a template that there was.
        Some(older) => {
            let key = key_of(&all.remove(older).metadata);
            world.store.update::<ControllerRevision>(&key.namespace, &key.name, |kept| kept.revision = next)?
        }
        None => create(world, owner, template, (data, next), label)?,
    };
    all.push(Arc::clone(&current));
    Some((current, all))
}

fn create<O: Metadata<Ty = ObjectMeta>>(
    world: &mut World,
    owner: &O,
    template: &PodTemplateSpec,
    (data, revision): (Value, i64),
    label: &str,
) -> Option<Arc<ControllerRevision>> {
    let mut labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    let now = world.wall();
    // Another's object may have the name.
    (0..10).find_map(|collisions| {
        let hash = hash(template, collisions);
        labels.insert(label.to_owned(), hash.clone());
        let metadata = ObjectMeta {
            name: Some(format!("{}-{hash}", owner.metadata().name.clone().unwrap_or_default())),
            namespace: owner.metadata().namespace.clone(),
            labels: Some(labels.clone()),
            owner_references: Some(vec![owner_reference(owner)]),
            ..ObjectMeta::default()
        };
        world.store.add(&ControllerRevision { data: Some(RawExtension(data.clone())), metadata, revision }, now).ok()
    })
}

/// Puts a revision in under a name and hash that it had elsewhere, so that pods that carry them are of it.
pub(in crate::lab) fn restore_revision<O: Metadata<Ty = ObjectMeta>>(
    world: &mut World,
    owner: &O,
    template: &PodTemplateSpec,
    (label, hash): (&str, &str),
    revision: i64,
) {
    let mut labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(label.to_owned(), hash.to_owned());
    let metadata = ObjectMeta {
        name: Some(format!("{}-{hash}", owner.metadata().name.clone().unwrap_or_default())),
        namespace: owner.metadata().namespace.clone(),
        labels: Some(labels),
        owner_references: Some(vec![owner_reference(owner)]),
        ..ObjectMeta::default()
    };
    let (data, now) = (Some(RawExtension(data_of(template))), world.wall());
    // Two owners can't have the same name.
    drop(world.store.add(&ControllerRevision { data, metadata, revision }, now));
}

fn data_of(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// The template that a revision keeps.
pub(in crate::lab) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let template = revision.data.as_ref()?.0.pointer("/spec/template")?;
    serde_json::from_value(template.clone()).ok()
}

/// Deletes the oldest revisions that no pod has and that are not in `live`, but for so many.
pub(in crate::lab) fn forget_old_revisions(
    world: &mut World,
    all: &[Arc<ControllerRevision>],
    live: &BTreeSet<String>,
    limit: Option<i32>,
) {
    let is_live =
        |revision: &ControllerRevision| revision.metadata.name.as_ref().is_some_and(|name| live.contains(name));
    let old: Vec<_> = all.iter().filter(|revision| !is_live(revision)).collect();
    let kept = usize::try_from(limit.unwrap_or(KEPT)).unwrap_or(usize::MAX);
    for revision in old.iter().take(old.len().saturating_sub(kept)) {
        delete(world, number_of::<ControllerRevision>(), &key_of(&revision.metadata), None);
    }
}
