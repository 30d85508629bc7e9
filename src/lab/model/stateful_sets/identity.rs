//! What makes a pod of a StatefulSet that very one: its name, its labels, and the names of its claims.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, Volume};

use super::Round;
use crate::lab::model::objects::{create_pod, owner_reference};
use crate::lab::store::Refused;

/// The label of a pod's revision.
const REVISION: &str = "controller-revision-hash";

/// Which one of a set a pod is, by its name.
pub(super) fn ordinal_of(set: &str, pod: &Pod) -> Option<i32> {
    let (parent, ordinal) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    let digits = !ordinal.is_empty() && ordinal.bytes().all(|digit| digit.is_ascii_digit());
    if parent == set && digits { ordinal.parse().ok() } else { None }
}

/// The name of the revision that a pod was made of.
pub(super) fn revision(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION)).map_or("", String::as_str)
}

impl Round<'_> {
    pub(super) fn pod_name(&self, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.set.metadata.name.as_deref().unwrap_or_default())
    }

    pub(super) fn namespace(&self) -> String {
        self.set.metadata.namespace.clone().unwrap_or_default()
    }

    /// Creates a pod of the revision that is its turn, and its storage before it.
    pub(super) fn create(&mut self, ordinal: i32) -> Result<(), Refused> {
        self.claim_storage(ordinal)?;
        let old = self.partition().is_some_and(|partition| ordinal < partition);
        let (template, revision) = if old {
            (self.before.clone(), self.current.clone())
        } else {
            (self.spec.template.clone(), self.update.clone())
        };
        let (set, name) = (Arc::clone(&self.set), self.pod_name(ordinal));
        let (volumes, service) = (self.volumes(&name), self.spec.service_name.clone());
        let namespace = self.namespace();
        create_pod(self.world, &namespace, &template, owner_reference(&*set), |pod| {
            let labels = pod.metadata.labels.get_or_insert_default();
            labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.clone());
            labels.insert("apps.kubernetes.io/pod-index".to_owned(), ordinal.to_string());
            labels.insert(REVISION.to_owned(), revision);
            pod.metadata.name = Some(name.clone());
            let spec = pod.spec.get_or_insert_default();
            spec.hostname = Some(name);
            spec.subdomain = service.filter(|service| !service.is_empty());
            let kept = spec.volumes.take().unwrap_or_default();
            let kept = kept.into_iter().filter(|volume| volumes.iter().all(|claimed| claimed.name != volume.name));
            let all: Vec<Volume> = volumes.iter().cloned().chain(kept).collect();
            spec.volumes = (!all.is_empty()).then_some(all);
        })?;
        Ok(())
    }

    fn volumes(&self, pod: &str) -> Vec<Volume> {
        let templates = self.spec.volume_claim_templates.iter().flatten();
        let names = templates.filter_map(|template| template.metadata.name.clone());
        let source = |name: &str| PersistentVolumeClaimVolumeSource {
            claim_name: format!("{name}-{pod}"),
            ..PersistentVolumeClaimVolumeSource::default()
        };
        names.map(|name| Volume { persistent_volume_claim: Some(source(&name)), name, ..Volume::default() }).collect()
    }
}
