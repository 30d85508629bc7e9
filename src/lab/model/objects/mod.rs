//! What several controllers do to objects: deleting them gracefully, owning them, choosing them, and making pods of a template.

mod claims;
mod deletion;
mod history;
mod pods;
mod selection;
#[cfg(test)]
mod tests;

pub(in crate::lab) use self::claims::{claim, notice_owners, owner_reference};
pub(in crate::lab) use self::deletion::{Deleted, delete, delete_holding, finalize};
pub(in crate::lab) use self::history::{forget_old_revisions, hash, restore_revision, revision_of, template_of};
pub(in crate::lab) use self::pods::{
    available_in, condition, create_pod, is_active, is_available, is_finished, is_ready, phase, ready_since,
    set_condition,
};
pub(in crate::lab) use self::selection::{Selection, pods_selected, scaled, selects};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::lab::store::ObjectKey;

/// Namespace and name.
pub(in crate::lab) fn key_of(meta: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// As the API writes a number that it leaves out where it is zero.
pub(in crate::lab) fn unless_zero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// How many, in the type that the API counts in.
pub(in crate::lab) fn count<T>(of: impl IntoIterator<Item = T>) -> i32 {
    i32::try_from(of.into_iter().count()).unwrap_or(i32::MAX)
}
