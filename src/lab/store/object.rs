//! An object, in its Rust type and as the API writes it.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::{Buf as _, Bytes};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

use super::{KINDS, ObjectKey, Stored};

/// An object as it was at one version.
#[derive(Debug)]
pub(in crate::lab) struct Object {
    /// Its kind's number in [`KINDS`].
    pub kind: usize,
    pub key: ObjectKey,
    pub(super) typed: Arc<dyn Stored>,
    written: OnceLock<Bytes>,
}

impl Object {
    pub(super) fn new(kind: usize, key: ObjectKey, typed: Box<dyn Stored>) -> Self {
        Self { kind, key, typed: typed.into(), written: OnceLock::new() }
    }

    /// In its Rust type. `None`: it is of another kind.
    pub(in crate::lab) fn typed<K: Any + Send + Sync>(&self) -> Option<Arc<K>> {
        let any: Arc<dyn Any + Send + Sync> = Arc::clone(&self.typed) as _;
        any.downcast().ok()
    }

    /// The same, for a look.
    pub(in crate::lab) fn seen<K: Any>(&self) -> Option<&K> {
        (&*self.typed as &dyn Any).downcast_ref()
    }

    pub(in crate::lab) fn meta(&self) -> &ObjectMeta {
        self.typed.meta()
    }

    /// As the API writes it, `apiVersion` and `kind` first. It is written when it is first asked for, which of most versions nobody does, and
    /// then kept for whoever watches too.
    pub(in crate::lab) fn written(&self) -> &Bytes {
        self.written.get_or_init(|| self.write())
    }

    fn write(&self) -> Bytes {
        // Types of the API can all be written.
        self.typed.write().map(Vec::into_boxed_slice).unwrap_or_default().into()
    }

    /// The same, not kept: of thousands of objects in a list it would be megabytes.
    fn once(&self) -> Bytes {
        self.written.get().map_or_else(|| self.write(), Bytes::clone)
    }

    /// The same without its beginning: what comes after `apiVersion` and `kind`, as items of lists are written, up to the closing brace.
    pub(in crate::lab) fn fields(&self) -> Bytes {
        let kind = &KINDS[self.kind];
        // As much of it as `{"apiVersion":"…","kind":"…",` is long.
        let start = r#"{"apiVersion":"","kind":"","#.len() + kind.api_version().len() + kind.kind.len();
        let mut fields = self.once();
        fields.advance(start.min(fields.len()));
        fields
    }

    /// The same, read: it costs time, and is for what knows no types.
    pub(in crate::lab) fn json(&self) -> Value {
        serde_json::from_slice(&self.once()).unwrap_or_default()
    }

    pub(in crate::lab) fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    /// The version at which it became so, as the API writes it.
    pub(in crate::lab) fn version(&self) -> &str {
        self.meta().resource_version.as_deref().unwrap_or_default()
    }

    /// Whether somebody asked for its deletion.
    pub(in crate::lab) fn is_leaving(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }

    pub(in crate::lab) fn owners(&self) -> &[OwnerReference] {
        self.meta().owner_references.as_deref().unwrap_or_default()
    }

    pub(in crate::lab) fn finalizers(&self) -> &[String] {
        self.meta().finalizers.as_deref().unwrap_or_default()
    }

    /// The node that it is bound to, if it is a pod and is.
    pub(in crate::lab) fn node(&self) -> Option<&str> {
        self.seen::<Pod>()?.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
    }
}
