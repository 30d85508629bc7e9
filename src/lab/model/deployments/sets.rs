//! Which of a Deployment's `ReplicaSets` is the new one, their revisions, and the end of old ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::status::{self, Progress};
use super::{DESIRED, HASH, HISTORY, MOST, REVISION, Rollout, annotation, has, number, size};
use crate::lab::model::objects::{delete, hash, key_of, owner_reference};
use crate::lab::store::number_of;

/// Annotations of a Deployment that are not its `ReplicaSets`'.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];
/// Old `ReplicaSets` kept where the Deployment says nothing.
const KEPT: i32 = 10;

impl Rollout<'_> {
    /// Finds the ReplicaSet of the present template, and brings revisions and annotations up to date. Where there is none it is created,
    /// if that is asked. Whether there is one then.
    pub(super) fn find_new(&mut self, create: bool) -> bool {
        if self.new.is_none() {
            let found = self.old.iter().position(|set| {
                set.spec
                    .as_ref()
                    .and_then(|spec| spec.template.as_ref())
                    .is_some_and(|of| is_same(of, &self.spec.template))
            });
            self.new = found.map(|place| self.old.remove(place));
        }
        let revision = self.old.iter().filter_map(|set| number::<i64>(set, REVISION)).max().unwrap_or(0) + 1;
        match self.new.clone() {
            Some(set) => self.refresh(&set, revision),
            None if create => self.create(revision),
            None => {}
        }
        self.new.is_some()
    }

    fn refresh(&mut self, set: &ReplicaSet, revision: i64) {
        let min_ready = self.spec.min_ready_seconds;
        let annotations = self.annotated(set, revision);
        let key = key_of(&set.metadata);
        let lags = set.spec.as_ref().is_some_and(|spec| spec.min_ready_seconds != min_ready);
        if lags || set.metadata.annotations.as_ref().is_none_or(|before| *before != annotations) {
            self.new = self.world.store.update::<ReplicaSet>(&key.namespace, &key.name, |set| {
                set.metadata.annotations = Some(annotations);
                set.spec.get_or_insert_default().min_ready_seconds = min_ready;
            });
            return;
        }
        let revision = number::<i64>(set, REVISION).unwrap_or(revision);
        self.record(revision, Progress::Found, &key.name);
    }

    /// The ReplicaSet's annotations: the Deployment's, its revision, and those that it was before when it comes back.
    fn annotated(&self, set: &ReplicaSet, revision: i64) -> BTreeMap<String, String> {
        let mut all = set.metadata.annotations.clone().unwrap_or_default();
        let copied = self.deployment.metadata.annotations.iter().flatten();
        all.extend(copied.filter(|(name, _)| !OWN.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())));
        let before = number::<i64>(set, REVISION);
        if before.is_none_or(|before| before < revision) {
            all.insert(REVISION.to_owned(), revision.to_string());
            if let Some(before) = before {
                let history = annotation(Some(&all), HISTORY).filter(|history| !history.is_empty());
                let history = history.map_or_else(|| before.to_string(), |history| format!("{history},{before}"));
                all.insert(HISTORY.to_owned(), history);
            }
        }
        all
    }

    fn create(&mut self, revision: i64) {
        let set = self.next_set(revision);
        let name = set.metadata.name.clone().unwrap_or_default();
        let now = self.world.wall();
        match self.world.store.add(&set, now) {
            Ok(set) => {
                self.new = Some(set);
                self.record(revision, Progress::Created, &name);
            }
            // Another template has the same hash: with the next count it has another.
            Err(refused) if refused.reason == "AlreadyExists" => self.change(|deployment| {
                let count = &mut deployment.status.get_or_insert_default().collision_count;
                *count = Some(count.unwrap_or(0) + 1);
            }),
            Err(refused) => {
                let (now, message) = (self.world.time(), refused.message);
                self.change(|deployment| {
                    let all = &mut deployment.status.get_or_insert_default().conditions;
                    status::set(all, status::progressing(Progress::Refused, message, now));
                });
            }
        }
    }

    fn next_set(&mut self, revision: i64) -> ReplicaSet {
        let mut template = self.spec.template.clone();
        let hash = hash(&template, self.status().collision_count.unwrap_or(0));
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(HASH.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut selector = self.spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(HASH.to_owned(), hash.clone());
        let name = self.deployment.metadata.name.clone().unwrap_or_default();
        let metadata = ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: self.deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owner_reference(&*self.deployment)]),
            ..ObjectMeta::default()
        };
        let spec = ReplicaSetSpec {
            replicas: Some(self.next_size(0)),
            min_ready_seconds: self.spec.min_ready_seconds,
            selector,
            template: Some(template),
        };
        let mut set = ReplicaSet { metadata, spec: Some(spec), status: None };
        let mut annotations = self.annotated(&set, revision);
        annotations.extend(self.sizes());
        set.metadata.annotations = Some(annotations);
        set
    }

    /// The annotations by which a ReplicaSet remembers how large the Deployment was.
    pub(super) fn sizes(&self) -> [(String, String); 2] {
        let replicas = self.replicas();
        [(DESIRED.to_owned(), replicas.to_string()), (MOST.to_owned(), (replicas + self.max_surge()).to_string())]
    }

    /// Writes the revision on the Deployment, and how it came to its ReplicaSet.
    fn record(&mut self, revision: i64, progress: Progress, set: &str) {
        let deployment = &self.deployment;
        let before = annotation(deployment.metadata.annotations.as_ref(), REVISION);
        let known = deployment.status.as_ref().is_some_and(|status| status::get(status).is_some());
        let revised = before != Some(revision.to_string().as_str());
        let told = self.has_deadline() && (!known || progress == Progress::Created);
        if !revised && !told {
            return;
        }
        let now = self.world.time();
        let message = match progress {
            Progress::Created => format!("Created new replica set \"{set}\""),
            _ => format!("Found new replica set \"{set}\""),
        };
        self.change(|deployment: &mut Deployment| {
            let annotations = deployment.metadata.annotations.get_or_insert_default();
            annotations.insert(REVISION.to_owned(), revision.to_string());
            if told {
                let all = &mut deployment.status.get_or_insert_default().conditions;
                status::set(all, status::progressing(progress, message, now));
            }
        });
    }

    /// Deletes old `ReplicaSets` that have no pods, but for as many as are to be kept.
    pub(super) fn clean_up(&mut self) {
        let limit = self.spec.revision_history_limit.unwrap_or(KEPT);
        let mut old: Vec<Arc<ReplicaSet>> = self.old.clone();
        old.retain(|set| set.metadata.deletion_timestamp.is_none());
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|set| number::<i64>(set, REVISION).unwrap_or(0));
        for set in old.iter().take(surplus) {
            let observed = set.status.as_ref().and_then(|status| status.observed_generation);
            if size(set) == 0 && has(set) == 0 && set.metadata.generation <= observed {
                delete(self.world, number_of::<ReplicaSet>(), &key_of(&set.metadata), None);
            }
        }
    }
}

/// Whether a ReplicaSet's template is this one but for the hash.
fn is_same(of: &PodTemplateSpec, template: &PodTemplateSpec) -> bool {
    let bare = |template: &PodTemplateSpec| {
        let mut meta = template.metadata.clone().unwrap_or_default();
        let mut labels = meta.labels.take().unwrap_or_default();
        labels.remove(HASH);
        (meta, labels)
    };
    of.spec == template.spec && bare(of) == bare(template)
}
