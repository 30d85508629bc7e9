//! What its owner has put out of reach: objects, the workloads behind them, and namespaces annotated as protected.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::Api;
use kube::core::ObjectMeta;

use super::{PlannedStep, Refused};
use crate::cluster::Cluster;
use crate::fault::{PROTECTED, Refusal, is_protected, refused, retried};

/// Questions asked at the same time.
const ASKING: usize = 8;

/// Of the namespaces, which are annotated as protected; a namespace that is not there is a refusal.
pub(super) async fn namespaces(cluster: &Cluster, names: &BTreeSet<String>) -> (BTreeSet<String>, Vec<Refusal>) {
    let api = cluster.all::<Namespace>();
    let answers: Vec<(String, Result<Option<Namespace>, kube::Error>)> = stream::iter(names.iter().cloned())
        .map(|name| {
            let api = api.clone();
            async move {
                let found = retried(|| api.get_opt(&name)).await;
                (name, found)
            }
        })
        .buffered(ASKING)
        .collect()
        .await;
    let (mut protected, mut refusals) = (BTreeSet::new(), Vec::new());
    for (name, answer) in answers {
        match answer {
            Ok(Some(found)) if is_protected(&found.metadata) => {
                protected.insert(name);
            }
            Ok(Some(_)) => {}
            Ok(None) => refusals.push(
                Refusal::new(format!("there is no namespace `{name}`")).hint("is the name right, and the cluster?"),
            ),
            Err(e) => refusals.push(refused(&e, "get", "namespaces", &name)),
        }
    }
    (protected, refusals)
}

/// Refuses every step one of whose targets, or of the pods that leave with them, or the workload behind it, is annotated as protected.
pub(super) async fn objects(cluster: &Cluster, steps: &[PlannedStep]) -> Vec<Refused> {
    let mut asked: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
    for step in steps {
        for target in step.touched() {
            let owner = target.owner.clone();
            for object in owner.into_iter().chain([target.to_string()]) {
                asked.entry((target.namespace.clone(), object)).or_default().insert(&step.name);
            }
        }
    }
    let answers: Vec<Vec<Refused>> = stream::iter(asked)
        .map(|((namespace, object), steps)| async move {
            let refusal = match meta(cluster, &namespace, &object).await {
                Ok(Some(meta)) if is_protected(&meta) => {
                    let place =
                        if namespace.is_empty() { String::new() } else { format!(" in namespace `{namespace}`") };
                    Refusal::new(format!("{object}{place} is protected by its owner"))
                        .hint(format!("it is annotated `{PROTECTED}: \"true\"`; choose other targets"))
                }
                Ok(_) => return Vec::new(),
                Err(refusal) => refusal,
            };
            steps.into_iter().map(|step| Refused::of(Some(step), refusal.clone())).collect()
        })
        .buffered(ASKING)
        .collect()
        .await;
    answers.into_iter().flatten().collect()
}

/// The metadata of `kind/name`; `None` when it is gone, or of a kind that Squall does not know.
async fn meta(cluster: &Cluster, namespace: &str, object: &str) -> Result<Option<ObjectMeta>, Refusal> {
    match object.split_once('/') {
        Some(("node", name)) => typed::<Node>(&cluster.all(), namespace, name, "nodes").await,
        Some(("pod", name)) => typed::<Pod>(&cluster.api(namespace), namespace, name, "pods").await,
        Some(("deployment", name)) => {
            typed::<Deployment>(&cluster.api(namespace), namespace, name, "deployments").await
        }
        Some(("statefulset", name)) => {
            typed::<StatefulSet>(&cluster.api(namespace), namespace, name, "statefulsets").await
        }
        Some(("daemonset", name)) => typed::<DaemonSet>(&cluster.api(namespace), namespace, name, "daemonsets").await,
        Some(("replicaset", name)) => {
            typed::<ReplicaSet>(&cluster.api(namespace), namespace, name, "replicasets").await
        }
        Some(("configmap", name)) => typed::<ConfigMap>(&cluster.api(namespace), namespace, name, "configmaps").await,
        _ => Ok(None),
    }
}

async fn typed<K>(api: &Api<K>, namespace: &str, name: &str, resource: &str) -> Result<Option<ObjectMeta>, Refusal>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    let found = retried(|| api.get_opt(name)).await.map_err(|e| refused(&e, "get", resource, namespace))?;
    Ok(found.map(|object| object.meta().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_protects() {
        let annotated = |value: &str| ObjectMeta {
            annotations: Some([(PROTECTED.to_owned(), value.to_owned())].into()),
            ..ObjectMeta::default()
        };
        assert!(is_protected(&annotated("true")));
        assert!(!is_protected(&annotated("false")));
        assert!(!is_protected(&ObjectMeta::default()));
    }
}
