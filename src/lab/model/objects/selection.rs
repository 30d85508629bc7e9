//! Choosing objects by their labels, and numbers by percent.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt as _};

use crate::lab::store::Store;

/// A selector that was read. One that can't be read takes nothing.
#[derive(Debug)]
pub(in crate::lab) struct Selection(Option<Selector>);

impl Selection {
    pub(in crate::lab) fn of(selector: &LabelSelector) -> Self {
        Self(Selector::try_from(selector.clone()).ok())
    }

    /// What has all these labels.
    pub(in crate::lab) fn of_labels(labels: Option<BTreeMap<String, String>>) -> Self {
        Self::of(&LabelSelector { match_labels: labels, match_expressions: None })
    }

    /// Whether it takes an object.
    pub(in crate::lab) fn takes(&self, meta: &ObjectMeta) -> bool {
        let none = BTreeMap::new();
        self.0.as_ref().is_some_and(|selector| selector.matches(meta.labels.as_ref().unwrap_or(&none)))
    }
}

/// The pods of a namespace that a selector takes, by their names.
pub(in crate::lab) fn pods_selected(store: &Store, namespace: &str, selector: &LabelSelector) -> Vec<Arc<Pod>> {
    let (none, selection) = (BTreeMap::new(), Selection::of(selector));
    let mut pods = store.pods_with(namespace, selector.match_labels.as_ref().unwrap_or(&none));
    pods.retain(|pod| selection.takes(&pod.metadata));
    pods
}

/// A number, or a percentage of a total; `None` where it is neither.
pub(in crate::lab) fn scaled(value: &IntOrString, total: i32, up: bool) -> Option<i32> {
    match value {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let hundredths = percent * i64::from(total);
            let rounding = if up { 99 } else { 0 };
            i32::try_from((hundredths + rounding).div_euclid(100)).ok()
        }
    }
}
