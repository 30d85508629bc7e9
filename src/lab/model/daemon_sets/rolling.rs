//! A DaemonSet's rolling update: old pods go first, or with a surge the new ones come first.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Round, hash_of, is_leaving};
use crate::lab::model::objects::{count, scaled};

/// The pods of a node: of the present template, and of another.
type Pair = (Option<Arc<Pod>>, Option<Arc<Pod>>);

impl Round<'_> {
    pub(super) fn is_rolling(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
    }

    fn max_surge(&self, nodes: i32) -> i32 {
        let strategy = self.spec.update_strategy.as_ref().filter(|_| self.is_rolling());
        let surge = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.max_surge.as_ref());
        surge.and_then(|surge| scaled(surge, nodes, true)).unwrap_or(0)
    }

    pub(super) fn surges(&self) -> bool {
        self.max_surge(1) > 0
    }

    fn max_unavailable(&self, nodes: i32) -> i32 {
        let strategy = self.spec.update_strategy.as_ref();
        let bound = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.max_unavailable.clone());
        let bound = scaled(&bound.unwrap_or(IntOrString::Int(1)), nodes, true).unwrap_or(1);
        // They can't both be none.
        if bound == 0 && self.max_surge(nodes) == 0 { 1 } else { bound }
    }

    /// One step of the update.
    pub(super) fn roll(&mut self) {
        let nodes = count(self.places.values().filter(|place| place.runs));
        if self.surges() { self.come_first(self.max_surge(nodes)) } else { self.go_first(self.max_unavailable(nodes)) }
    }

    /// The nodes that count, with their pods. `None`: it has several of a kind, which is put in order first.
    fn pairs(&self) -> Vec<(String, Option<Pair>)> {
        let wanted = self.places.iter().filter(|(_, place)| place.runs).map(|(node, _)| node);
        let others = self.pods.keys().filter(|node| self.places.get(*node).is_none_or(|place| !place.runs));
        let mut nodes: Vec<&String> = wanted.chain(others).collect();
        nodes.sort();
        nodes.into_iter().map(|node| (node.clone(), self.pair(node))).collect()
    }

    fn pair(&self, node: &str) -> Option<Pair> {
        let (mut new, mut old) = (None, None);
        for pod in self.pods.get(node).into_iter().flatten().filter(|pod| !is_leaving(pod)) {
            let place = if hash_of(pod) == self.hash { &mut new } else { &mut old };
            if place.replace(Arc::clone(pod)).is_some() {
                return None;
            }
        }
        Some((new, old))
    }

    fn go_first(&mut self, max_unavailable: i32) {
        let (mut unavailable, mut broken, mut serving) = (0, Vec::new(), Vec::new());
        for (_, pair) in self.pairs() {
            match pair {
                Some((Some(new), None)) => unavailable += i32::from(!self.is_available(&new)),
                Some((None, Some(old))) if self.is_available(&old) => serving.push(old),
                Some((None, Some(old))) => broken.push(old),
                _ => unavailable += 1,
            }
        }
        let allowed = usize::try_from(max_unavailable - unavailable).unwrap_or(0);
        broken.extend(serving.into_iter().take(allowed));
        self.act(&broken, &[]);
    }

    fn come_first(&mut self, max_surge: i32) {
        let (mut surge, mut gone, mut broken, mut serving) = (0, Vec::new(), Vec::new(), Vec::new());
        for (node, pair) in self.pairs() {
            match pair {
                Some((_, None)) => {}
                Some((None, Some(old))) if self.is_available(&old) => serving.push(node),
                Some((None, Some(_))) => broken.push(node),
                Some((Some(new), Some(old))) if self.is_available(&new) => gone.push(old),
                None | Some((Some(_), Some(_))) => surge += 1,
            }
        }
        let allowed = usize::try_from(max_surge - surge).unwrap_or(0);
        broken.extend(serving.into_iter().take(allowed));
        broken.retain(|node| self.places.get(node).is_some_and(|place| place.runs));
        self.act(&gone, &broken);
    }
}
