//! Scaling: of one ReplicaSet, and of several at once when the Deployment is scaled in the middle of a rollout.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::{DESIRED, MOST, Rollout, active, age, is_recreate, number, reported, size};
use crate::lab::model::objects::key_of;

impl Rollout<'_> {
    /// Whether the Deployment was scaled since its `ReplicaSets` were.
    pub(super) fn is_rescaled(&self) -> bool {
        let replicas = self.replicas();
        active(self.all()).iter().any(|set| number::<i32>(set, DESIRED).is_some_and(|desired| desired != replicas))
    }

    /// Brings the `ReplicaSets` to the Deployment's size, without a step of the rollout.
    pub(super) fn rescale(&mut self) {
        let (sets, replicas) = (active(self.all()), self.replicas());
        let only = match sets.as_slice() {
            [] => self.new.clone().or_else(|| self.old.last().cloned()),
            [only] => Some(Arc::clone(only)),
            _ => None,
        };
        if let Some(only) = only {
            if size(&only) != replicas {
                self.scale(&only, replicas);
            }
        } else if self.is_saturated() {
            for set in active(self.old.iter()) {
                self.scale(&set, 0);
            }
        } else if !sets.is_empty() && !is_recreate(&self.spec) {
            self.share(sets);
        }
    }

    /// Whether the new ReplicaSet is all that the Deployment needs.
    fn is_saturated(&self) -> bool {
        let replicas = self.replicas();
        self.new.as_ref().is_some_and(|set| {
            size(set) == replicas
                && number::<i32>(set, DESIRED) == Some(replicas)
                && reported(set, |status| status.available_replicas) == replicas
        })
    }

    /// Shares what is to be added or taken among the `ReplicaSets` in proportion to their sizes; the largest bears the rest.
    fn share(&mut self, mut sets: Vec<Arc<ReplicaSet>>) {
        let replicas = self.replicas();
        let allowed = if replicas > 0 { replicas + self.max_surge() } else { 0 };
        let difference = allowed - sets.iter().map(|set| size(set)).sum::<i32>();
        sets.sort_by_key(age);
        if difference > 0 {
            sets.reverse();
        }
        if difference != 0 {
            sets.sort_by_key(|set| Reverse(size(set)));
        }
        let mut shared = 0;
        let mut sizes = Vec::new();
        for set in &sets {
            let (part, left) = (self.part(set), difference - shared);
            let part = if left == 0 {
                0
            } else if difference > 0 {
                part.min(left)
            } else {
                part.max(left)
            };
            sizes.push(size(set) + part);
            shared += part;
        }
        if let Some(largest) = sizes.first_mut() {
            *largest = (*largest + difference - shared).max(0);
        }
        for (set, size) in sets.iter().zip(sizes) {
            self.scale(set, size);
        }
    }

    /// What a ReplicaSet gains or loses when the Deployment's size changes.
    fn part(&self, set: &ReplicaSet) -> i32 {
        let (replicas, has) = (self.replicas(), size(set));
        if replicas == 0 {
            return -has;
        }
        let before = number::<i32>(set, MOST).filter(|most| *most != 0);
        let before = i64::from(before.unwrap_or_else(|| self.status().replicas.unwrap_or(0)));
        if before <= 0 {
            return 0;
        }
        let product = i64::from(has) * i64::from(replicas + self.max_surge());
        let rounded = (2 * product + before).div_euclid(2 * before);
        i32::try_from(rounded).unwrap_or(i32::MAX) - has
    }

    pub(super) fn scale_new(&mut self, to: i32) -> bool {
        self.new.clone().is_some_and(|set| size(&set) != to && self.scale(&set, to))
    }

    pub(super) fn scale_old(&mut self, place: usize, to: i32) -> bool {
        let set = Arc::clone(&self.old[place]);
        self.scale(&set, to)
    }

    /// Gives a ReplicaSet its size, and has it remember the Deployment's. Whether its size changed.
    fn scale(&mut self, set: &Arc<ReplicaSet>, to: i32) -> bool {
        let (key, sizes) = (key_of(&set.metadata), self.sizes());
        let scaled = self.world.store.update::<ReplicaSet>(&key.namespace, &key.name, |set| {
            set.metadata.annotations.get_or_insert_default().extend(sizes);
            set.spec.get_or_insert_default().replicas = Some(to);
        });
        let Some(scaled) = scaled else { return false };
        let known = self.old.iter_mut().chain(&mut self.new).find(|known| known.metadata.uid == scaled.metadata.uid);
        if let Some(known) = known {
            *known = scaled;
        }
        size(set) != to
    }
}
