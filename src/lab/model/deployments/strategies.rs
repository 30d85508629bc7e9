//! How the pods of one ReplicaSet are replaced by those of the next.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use super::{Rollout, has, is_recreate, reported, size};
use crate::lab::model::objects::is_finished;

impl Rollout<'_> {
    /// `RollingUpdate`: one step up or one down.
    pub(super) fn roll(&mut self) {
        if !self.find_new(true) {
            return;
        }
        if !self.step_up() && !self.step_down() && self.is_complete(&self.status()) {
            self.clean_up();
        }
        self.report(true);
    }

    /// `Recreate`: all old pods end before the first new one is created.
    pub(super) fn recreate(&mut self) {
        if self.shrink_all() || self.old_pods_run() {
            return self.report(true);
        }
        if !self.find_new(true) {
            return;
        }
        let replicas = self.replicas();
        self.scale_new(replicas);
        if self.is_complete(&self.status()) {
            self.clean_up();
        }
        self.report(true);
    }

    /// What the new ReplicaSet is to have that has so many.
    pub(super) fn next_size(&self, has: i32) -> i32 {
        let (replicas, total) = (self.replicas(), self.total());
        if is_recreate(&self.spec) {
            return replicas;
        }
        let most = replicas + self.max_surge();
        if total >= most { has } else { has + (most - total).min(replicas - has) }
    }

    fn step_up(&mut self) -> bool {
        let (has, replicas) = (self.new.as_ref().map_or(0, |set| size(set)), self.replicas());
        let next = if has > replicas { replicas } else { self.next_size(has) };
        has != replicas && self.scale_new(next)
    }

    fn step_down(&mut self) -> bool {
        if self.old.iter().all(|set| size(set) == 0) {
            return false;
        }
        let least = self.replicas() - self.max_unavailable();
        let missing = self.new.as_ref().map_or(0, |new| size(new) - available(new));
        let surplus = self.total() - least - missing;
        if surplus <= 0 {
            return false;
        }
        // What is not available is missed by nobody.
        let unhealthy = self.shrink(surplus, |set| size(set) - available(set));
        let surplus = self.available() - least;
        let healthy = if surplus > 0 { self.shrink(surplus, size) } else { false };
        unhealthy || healthy
    }

    /// Takes so many pods in all from the old `ReplicaSets`, the oldest first, and from each what may be taken of it.
    fn shrink(&mut self, mut surplus: i32, may: impl Fn(&ReplicaSet) -> i32) -> bool {
        let mut shrunk = false;
        for place in 0..self.old.len() {
            let set = Arc::clone(&self.old[place]);
            let taken = may(&set).min(surplus).min(size(&set));
            if taken > 0 {
                surplus -= taken;
                shrunk |= self.scale_old(place, size(&set) - taken);
            }
        }
        shrunk
    }

    fn shrink_all(&mut self) -> bool {
        self.shrink(i32::MAX, size)
    }

    fn old_pods_run(&self) -> bool {
        let runs = |set: &Arc<ReplicaSet>| {
            let pods = self.world.store.owned::<Pod>(set.metadata.uid.as_deref().unwrap_or_default());
            has(set) > 0 || pods.iter().any(|pod| !is_finished(pod))
        };
        self.old.iter().any(runs)
    }
}

fn available(set: &ReplicaSet) -> i32 {
    reported(set, |status| status.available_replicas)
}
