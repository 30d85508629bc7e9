//! The claims of a set's pods: made before their pods, and kept or not as `persistentVolumeClaimRetentionPolicy` says.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::sync::Arc;

use super::Round;
use crate::lab::api::defaults;
use crate::lab::model::objects::owner_reference;
use crate::lab::store::{Refused, number_of};

impl Round<'_> {
    /// The names of a pod's claims.
    fn claims_of(&self, ordinal: i32) -> Vec<String> {
        let pod = self.pod_name(ordinal);
        let templates = self.spec.volume_claim_templates.iter().flatten();
        templates.map(|of| format!("{}-{pod}", of.metadata.name.as_deref().unwrap_or_default())).collect()
    }

    /// Creates the claims that a pod lacks.
    ///
    /// # Errors
    ///
    /// What the API server says; one that is being deleted has to be gone first.
    pub(super) fn claim_storage(&mut self, ordinal: i32) -> Result<(), Refused> {
        let (kind, namespace) = (number_of::<PersistentVolumeClaim>(), self.namespace());
        let names = self.claims_of(ordinal);
        let templates = self.spec.volume_claim_templates.clone().into_iter().flatten();
        for (template, name) in templates.zip(names) {
            if let Some(there) = self.world.store.get::<PersistentVolumeClaim>(&namespace, &name) {
                if there.metadata.deletion_timestamp.is_some() {
                    return Err(Refused::new(409, "Conflict", format!("pvc {name} is being deleted")));
                }
                continue;
            }
            let mut labels = template.metadata.labels.unwrap_or_default();
            labels.extend(self.spec.selector.match_labels.clone().unwrap_or_default());
            let metadata = ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.clone()),
                labels: Some(labels),
                annotations: template.metadata.annotations,
                ..ObjectMeta::default()
            };
            let status = PersistentVolumeClaimStatus {
                phase: Some("Pending".to_owned()),
                ..PersistentVolumeClaimStatus::default()
            };
            let claim = PersistentVolumeClaim { metadata, spec: template.spec, status: Some(status) };
            let mut json = serde_json::to_value(&claim).map_err(|e| Refused::bad_request(&e.to_string()))?;
            defaults::apply(self.world, kind, &mut json);
            let now = self.world.wall();
            self.world.store.create(kind, json, now)?;
        }
        Ok(())
    }

    /// What is deleted of the claims when the set is, and when it is scaled down.
    fn deletes(&self) -> (bool, bool) {
        let policy = self.spec.persistent_volume_claim_retention_policy.as_ref();
        let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
        (
            deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
            deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
        )
    }

    /// Has the claims of all pods owned by whoever takes them along: by the set, or by a pod that is too many.
    pub(super) fn keep_storage(&mut self) {
        let (with_set, with_pod) = self.deletes();
        let pods: Vec<(i32, Arc<Pod>)> = self.pods.iter().map(|(ordinal, pod)| (*ordinal, Arc::clone(pod))).collect();
        for (ordinal, pod) in pods {
            let goes = with_pod && !self.is_wanted(ordinal);
            let of_pod = goes.then(|| OwnerReference { block_owner_deletion: Some(true), ..owner_reference(&*pod) });
            let of_set = (with_set && !goes).then(|| owner_reference(&*self.set));
            let wanted: Vec<OwnerReference> = of_pod.into_iter().chain(of_set).collect();
            let ours = [self.set.metadata.uid.clone(), pod.metadata.uid.clone()];
            for name in self.claims_of(ordinal) {
                self.world.store.update::<PersistentVolumeClaim>(
                    &self.set.metadata.namespace.clone().unwrap_or_default(),
                    &name,
                    |claim| {
                        let mut owners = claim.metadata.owner_references.take().unwrap_or_default();
                        owners.retain(|owner| !ours.contains(&Some(owner.uid.clone())));
                        owners.extend(wanted.clone());
                        claim.metadata.owner_references = (!owners.is_empty()).then_some(owners);
                    },
                );
            }
        }
    }

    /// Whether a claim for a pod that is to come goes with the one before it.
    pub(super) fn has_stale_storage(&self, ordinal: i32) -> bool {
        let (_, with_pod) = self.deletes();
        let (namespace, pod) = (self.namespace(), self.pod_name(ordinal));
        with_pod
            && self.claims_of(ordinal).iter().any(|name| {
                let claim = self.world.store.get::<PersistentVolumeClaim>(&namespace, name);
                let owners = claim.and_then(|claim| claim.metadata.owner_references.clone()).unwrap_or_default();
                owners.iter().any(|owner| owner.kind == "Pod" && owner.name == pod)
            })
    }
}
