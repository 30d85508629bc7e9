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

/// Whether a selector takes an object: for one look, where reading the selector would cost more.
pub(in crate::lab) fn selects(selector: &LabelSelector, meta: &ObjectMeta) -> bool {
    let has = |(label, value)| meta.labels.as_ref().is_some_and(|labels| labels.get(label) == Some(value));
    selector.match_labels.iter().flatten().all(has) && (is_plain(selector) || Selection::of(selector).takes(meta))
}

/// Whether it names labels with their values alone.
fn is_plain(selector: &LabelSelector) -> bool {
    selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// The pods of a namespace that a selector takes, by their names.
pub(in crate::lab) fn pods_selected(store: &Store, namespace: &str, selector: &LabelSelector) -> Vec<Arc<Pod>> {
    let none = BTreeMap::new();
    let mut pods = store.pods_with(namespace, selector.match_labels.as_ref().unwrap_or(&none));
    if !is_plain(selector) {
        let selection = Selection::of(selector);
        pods.retain(|pod| selection.takes(&pod.metadata));
    }
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
