//! The kinds that the lab keeps, as the API knows them.

use std::any::Any;
use std::fmt::Debug;

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
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What every object is to the store, whatever its Rust type.
pub(in crate::lab) trait Stored: Any + Debug + Send + Sync {
    fn meta(&self) -> &ObjectMeta;
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    fn copied(&self) -> Box<dyn Stored>;
    /// Whether the other is of the same type, and in no way different.
    fn is_same(&self, other: &dyn Stored) -> bool;
    /// As the API writes it: JSON that begins with `apiVersion` and `kind`.
    ///
    /// # Errors
    ///
    /// None that is known: the types of the API can all be written.
    fn write(&self) -> Result<Vec<u8>, serde_json::Error>;
}

impl<K> Stored for K
where
    K: k8s_openapi::Metadata<Ty = ObjectMeta> + Any + Clone + Debug + PartialEq + Send + Sync + Serialize,
{
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.metadata_mut()
    }

    fn copied(&self) -> Box<dyn Stored> {
        Box::new(self.clone())
    }

    fn is_same(&self, other: &dyn Stored) -> bool {
        (other as &dyn Any).downcast_ref::<K>() == Some(self)
    }

    fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

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
    pub read: fn(Value) -> Result<Box<dyn Stored>, serde_json::Error>,
    /// Whether an object has a spec; false for all of a kind that knows none.
    pub has_spec: fn(&dyn Stored) -> bool,
    /// Whether two objects have the same spec.
    pub same_spec: fn(&dyn Stored, &dyn Stored) -> bool,
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

fn read<K: Stored + DeserializeOwned>(value: Value) -> Result<Box<dyn Stored>, serde_json::Error> {
    Ok(Box::new(serde_json::from_value::<K>(value)?))
}

fn typed<K: Stored>(object: &dyn Stored) -> Option<&K> {
    (object as &dyn Any).downcast_ref()
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
            has_spec: kinds!(@ has_spec $type $($sub)*),
            same_spec: kinds!(@ same_spec $type $($sub)*),
        },)+]
    };
    (@ namespaced) => { true };
    (@ global) => { false };
    (@ status status) => { true };
    (@ status $other:ident) => { false };
    (@ scale scale) => { true };
    (@ scale $other:ident) => { false };
    (@ has_spec $type:ident spec $($sub:ident)*) => {
        |object| typed::<$type>(object).is_some_and(|object| object.spec.is_some())
    };
    (@ has_spec $type:ident $($sub:ident)*) => { |_| false };
    (@ same_spec $type:ident spec $($sub:ident)*) => {
        |one, other| typed::<$type>(one).map(|one| &one.spec) == typed::<$type>(other).map(|other| &other.spec)
    };
    (@ same_spec $type:ident $($sub:ident)*) => { |_, _| true };
}

/// All of them. A kind's place in it is its number in the store.
pub(in crate::lab) const KINDS: &[Kind] = kinds! {
    Pod "pods" ["po"] namespaced spec status;
    Node "nodes" ["no"] global spec status;
    Namespace "namespaces" ["ns"] global spec status;
    Service "services" ["svc"] namespaced spec status;
    ServiceAccount "serviceaccounts" ["sa"] namespaced;
    ConfigMap "configmaps" ["cm"] namespaced;
    Secret "secrets" namespaced;
    Event "events" ["ev"] namespaced;
    PersistentVolume "persistentvolumes" ["pv"] global spec status;
    PersistentVolumeClaim "persistentvolumeclaims" ["pvc"] namespaced spec status;
    Deployment "deployments" ["deploy"] namespaced spec status scale;
    ReplicaSet "replicasets" ["rs"] namespaced spec status scale;
    StatefulSet "statefulsets" ["sts"] namespaced spec status scale;
    DaemonSet "daemonsets" ["ds"] namespaced spec status;
    ControllerRevision "controllerrevisions" namespaced;
    Job "jobs" namespaced spec status;
    CronJob "cronjobs" ["cj"] namespaced spec status;
    PodDisruptionBudget "poddisruptionbudgets" ["pdb"] namespaced spec status;
    EndpointSlice "endpointslices" namespaced;
    Lease "leases" namespaced spec;
    HorizontalPodAutoscaler "horizontalpodautoscalers" ["hpa"] namespaced spec status;
    PriorityClass "priorityclasses" ["pc"] global;
    StorageClass "storageclasses" ["sc"] global;
    NetworkPolicy "networkpolicies" ["netpol"] namespaced spec;
    Ingress "ingresses" ["ing"] namespaced spec status;
    Role "roles" namespaced;
    RoleBinding "rolebindings" namespaced;
    ClusterRole "clusterroles" global;
    ClusterRoleBinding "clusterrolebindings" global;
};

/// The number of a Rust type's kind, which the compiler looks up; one that the table lacks has a number that no object has.
pub(in crate::lab) const fn number_of<K: k8s_openapi::Resource>() -> usize {
    const { place(K::GROUP, K::KIND) }
}

const fn place(group: &str, kind: &str) -> usize {
    let mut number = 0;
    while number < KINDS.len() {
        if same(KINDS[number].kind, kind) && same(KINDS[number].group, group) {
            return number;
        }
        number += 1;
    }
    usize::MAX
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The number of the kind that a document names.
pub(in crate::lab) fn named(api_version: &str, kind: &str) -> Option<usize> {
    KINDS.iter().position(|known| known.kind == kind && known.api_version() == api_version)
}

/// The number of the kind that a path names.
pub(in crate::lab) fn at(group: &str, version: &str, plural: &str) -> Option<usize> {
    KINDS.iter().position(|known| known.plural == plural && known.group == group && known.version == version)
}
