//! The kinds that the lab keeps, as the API knows them.

use std::any::Any;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::StorageClass;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An object in its Rust type, and as the API writes that.
pub(in crate::lab) type Read = (Arc<dyn Any + Send + Sync>, Value);

/// One kind of object.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the API's own word")]
pub(in crate::lab) struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version of the group.
    pub version: &'static str,
    /// `Pod`.
    pub kind: &'static str,
    /// `pods`.
    pub plural: &'static str,
    /// Names that kubectl also takes.
    pub short: &'static [&'static str],
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
    /// Whether its status is written apart from the rest.
    pub status: bool,
    /// Whether it has a number of replicas.
    pub scale: bool,
    /// Reads an object, dropping what its type has no field for.
    pub read: fn(Value) -> Result<Read, serde_json::Error>,
}

impl Kind {
    /// `apps/v1`, or `v1`.
    pub(in crate::lab) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`, as errors name it.
    pub(in crate::lab) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}

fn read<K: Serialize + DeserializeOwned + Send + Sync + 'static>(value: Value) -> Result<Read, serde_json::Error> {
    let object: K = serde_json::from_value(value)?;
    let written = serde_json::to_value(&object)?;
    Ok((Arc::new(object), written))
}

/// Makes the table's rows.
macro_rules! kinds {
    ($($type:ident $plural:literal $([$($short:literal),*])? $scope:ident $($sub:ident)*;)+) => {
        &[$(Kind {
            group: <$type as k8s_openapi::Resource>::GROUP,
            version: <$type as k8s_openapi::Resource>::VERSION,
            kind: <$type as k8s_openapi::Resource>::KIND,
            plural: $plural,
            short: &[$($($short),*)?],
            namespaced: kinds!(@ $scope),
            status: false $(|| kinds!(@ status $sub))*,
            scale: false $(|| kinds!(@ scale $sub))*,
            read: read::<$type>,
        },)+]
    };
    (@ namespaced) => { true };
    (@ global) => { false };
    (@ status status) => { true };
    (@ status scale) => { false };
    (@ scale status) => { false };
    (@ scale scale) => { true };
}

/// All of them. A kind's place in it is its number in the store.
pub(in crate::lab) const KINDS: &[Kind] = kinds! {
    Pod "pods" ["po"] namespaced status;
    Node "nodes" ["no"] global status;
    Namespace "namespaces" ["ns"] global status;
    Service "services" ["svc"] namespaced status;
    ServiceAccount "serviceaccounts" ["sa"] namespaced;
    ConfigMap "configmaps" ["cm"] namespaced;
    Secret "secrets" namespaced;
    Event "events" ["ev"] namespaced;
    PersistentVolume "persistentvolumes" ["pv"] global status;
    PersistentVolumeClaim "persistentvolumeclaims" ["pvc"] namespaced status;
    Deployment "deployments" ["deploy"] namespaced status scale;
    ReplicaSet "replicasets" ["rs"] namespaced status scale;
    StatefulSet "statefulsets" ["sts"] namespaced status scale;
    DaemonSet "daemonsets" ["ds"] namespaced status;
    ControllerRevision "controllerrevisions" namespaced;
    Job "jobs" namespaced status;
    CronJob "cronjobs" ["cj"] namespaced status;
    PodDisruptionBudget "poddisruptionbudgets" ["pdb"] namespaced status;
    EndpointSlice "endpointslices" namespaced;
    Lease "leases" namespaced;
    HorizontalPodAutoscaler "horizontalpodautoscalers" ["hpa"] namespaced status;
    PriorityClass "priorityclasses" ["pc"] global;
    StorageClass "storageclasses" ["sc"] global;
    NetworkPolicy "networkpolicies" ["netpol"] namespaced;
    Ingress "ingresses" ["ing"] namespaced status;
    Role "roles" namespaced;
    RoleBinding "rolebindings" namespaced;
    ClusterRole "clusterroles" global;
    ClusterRoleBinding "clusterrolebindings" global;
};

/// The number of a Rust type's kind.
///
/// # Panics
///
/// When the table lacks it: a mistake of the lab's own, which the first use shows.
pub(in crate::lab) fn number_of<K: k8s_openapi::Resource>() -> usize {
    let found = KINDS.iter().position(|kind| kind.kind == K::KIND && kind.group == K::GROUP);
    found.unwrap_or(usize::MAX)
}

/// The number of the kind that a document names.
pub(in crate::lab) fn named(api_version: &str, kind: &str) -> Option<usize> {
    KINDS.iter().position(|known| known.kind == kind && known.api_version() == api_version)
}

/// The number of the kind that a path names.
pub(in crate::lab) fn at(group: &str, version: &str, plural: &str) -> Option<usize> {
    KINDS.iter().position(|known| known.plural == plural && known.group == group && known.version == version)
}
