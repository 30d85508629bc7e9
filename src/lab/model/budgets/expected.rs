//! How many pods a budget covers, and how many of them are to be healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::lab::model::objects::{count, scaled};
use crate::lab::store::{KINDS, Store, controller_of, named};

/// How many pods there should be, and how many of them healthy; or why that can't be said.
pub(super) fn expected(store: &Store, spec: &PodDisruptionBudgetSpec, pods: &[Arc<Pod>]) -> Result<(i32, i32), String> {
    let share = |bound: &IntOrString, of: i32| {
        scaled(bound, of, true)
            .ok_or_else(|| "invalid value for IntOrString: invalid type: string is not a percentage".to_owned())
    };
    if let Some(most) = &spec.max_unavailable {
        let expected = scale_of(store, pods)?;
        return Ok((expected, (expected - share(most, expected)?).max(0)));
    }
    match &spec.min_available {
        Some(IntOrString::Int(least)) => Ok((count(pods), *least)),
        Some(least) => {
            let expected = scale_of(store, pods)?;
            Ok((expected, share(least, expected)?))
        }
        None => Ok((0, 0)),
    }
}

/// The sum of what the pods' controllers are asked for. Pods without a controller count for nothing.
fn scale_of(store: &Store, pods: &[Arc<Pod>]) -> Result<i32, String> {
    let mut scales: BTreeMap<String, i32> = BTreeMap::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for pod in pods {
        let Some(owner) = controller_of(pod.metadata.owner_references.as_ref()) else { continue };
        if !known.insert(&owner.uid) {
            continue;
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let (uid, scale) =
            scale(store, namespace, owner)?.ok_or_else(|| format!("found no controllers for pod \"{name}\""))?;
        scales.insert(uid, scale);
    }
    Ok(scales.values().sum())
}

/// The controller that says how many there are to be, and how many.
fn scale(store: &Store, namespace: &str, owner: &OwnerReference) -> Result<Option<(String, i32)>, String> {
    let kind = named(&owner.api_version, &owner.kind).map(|number| &KINDS[number]);
    if let Some(kind) = kind.filter(|kind| !kind.scale) {
        return Err(format!("{} does not implement the scale subresource", kind.resource()));
    }
    let own = |replicas: Option<i32>| Some((owner.uid.clone(), replicas.unwrap_or(1)));
    let is_it = |uid: Option<&String>| uid == Some(&owner.uid);
    Ok(match owner.kind.as_str() {
        "StatefulSet" => {
            let set = store.get::<StatefulSet>(namespace, &owner.name).filter(|set| is_it(set.metadata.uid.as_ref()));
            set.and_then(|set| own(set.spec.as_ref()?.replicas))
        }
        "ReplicaSet" => {
            let set = store.get::<ReplicaSet>(namespace, &owner.name).filter(|set| is_it(set.metadata.uid.as_ref()));
            set.and_then(|set| deployment(store, namespace, &set).or_else(|| own(set.spec.as_ref()?.replicas)))
        }
        _ => None,
    })
}

/// The Deployment behind a ReplicaSet.
fn deployment(store: &Store, namespace: &str, set: &ReplicaSet) -> Option<(String, i32)> {
    let owner = controller_of(set.metadata.owner_references.as_ref()).filter(|owner| owner.kind == "Deployment")?;
    let deployment = store.get::<Deployment>(namespace, &owner.name)?;
    let same = deployment.metadata.uid.as_ref() == Some(&owner.uid);
    same.then(|| (owner.uid.clone(), deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)))
}
