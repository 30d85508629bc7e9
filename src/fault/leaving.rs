//! The pods of a node, and which of them `kubectl drain` would take, leave or balk at.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;

use super::contract::{Permission, Refusal};
use super::kube::{list_all, owner_of, refused, retried};
use crate::cluster::Cluster;
use crate::record::Target;
use crate::scalar::Selector;

/// Who reads a pod's manifest from a file of its node marks the copy that the API shows with this annotation.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Questions asked at the same time.
const ASKING: usize = 8;

/// A pod of a node.
#[derive(Debug, Clone)]
pub(super) struct NodePod {
    /// With its direct owner; see [`top_owners`].
    pub target: Target,
    pub pod: Pod,
}

impl NodePod {
    /// A pod that is on this node.
    pub(super) fn on(node: &str, pod: Pod) -> Option<Self> {
        let target = Target {
            kind: "pod".to_owned(),
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            node: Some(node.to_owned()),
            zone: None,
            owner: owner_of(&pod.metadata),
            instance: None,
        };
        Some(Self { target, pod })
    }

    /// Whether a `DaemonSet` owns it, which would put it back at once.
    pub(super) fn is_daemon(&self) -> bool {
        !self.is_finished() && self.target.owner.as_deref().is_some_and(|owner| owner.starts_with("daemonset/"))
    }

    /// Whether the kubelet runs it from a file: the API can't remove it.
    pub(super) fn is_mirror(&self) -> bool {
        self.pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR))
    }

    /// Whether it has ended by itself.
    pub(super) fn is_finished(&self) -> bool {
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    /// Whether it is being deleted.
    pub(super) fn is_ending(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Whether it has data that goes with it.
    pub(super) fn has_empty_dir(&self) -> bool {
        let volumes = self.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        volumes.is_some_and(|all| all.iter().any(|volume| volume.empty_dir.is_some()))
    }

    /// `namespace/name`, as kubectl names it.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.target.namespace, self.target.name)
    }
}

/// The pods of a node, in the order of their namespaces and names.
pub(super) async fn pods_on(
    cluster: &Cluster,
    node: &str,
    selector: Option<&Selector>,
) -> Result<Vec<NodePod>, kube::Error> {
    let mut params = ListParams::default().fields(&format!("spec.nodeName={node}"));
    if let Some(selector) = selector {
        params = params.labels(selector.as_str());
    }
    let pods = list_all::<Pod>(&cluster.all(), params).await?;
    let mut found: Vec<NodePod> = pods.into_iter().filter_map(|pod| NodePod::on(node, pod)).collect();
    found.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(found)
}

/// The pods that are lost with a node, with the workloads behind them: all but those that belong to the node itself, or have ended.
pub(super) async fn lost_with(cluster: &Cluster, node: &str) -> Result<Vec<Target>, Refusal> {
    let mut pods = pods_on(cluster, node, None).await.map_err(|e| refused(&e, "list", "pods", ""))?;
    pods.retain(|pod| !pod.is_daemon() && !pod.is_mirror() && !pod.is_finished() && !pod.is_ending());
    top_owners(cluster, &mut pods).await.map_err(|e| refused(&e, "get", "replicasets", ""))?;
    Ok(pods.into_iter().map(|pod| pod.target).collect())
}

/// What [`lost_with`] calls.
pub(super) fn loss_permissions() -> Vec<Permission> {
    let rule = |group, resource, verb, why| Permission { group, resource, verb, namespace: None, why, kind: None };
    vec![
        rule("", "pods", "list", "find the pods of a node"),
        rule("apps", "replicasets", "get", "find the workload that owns a pod"),
    ]
}

/// Puts the Deployment in the place of the `ReplicaSet`, where there is one.
pub(super) async fn top_owners(cluster: &Cluster, pods: &mut [NodePod]) -> Result<(), kube::Error> {
    let set = |target: &Target| {
        let name = target.owner.as_deref()?.strip_prefix("replicaset/")?;
        Some((target.namespace.clone(), name.to_owned()))
    };
    let sets: BTreeSet<(String, String)> = pods.iter().filter_map(|pod| set(&pod.target)).collect();
    let answers: Vec<Result<_, kube::Error>> = stream::iter(sets)
        .map(|(namespace, name)| async move {
            let api = cluster.api::<ReplicaSet>(&namespace);
            let found = retried(|| api.get_opt(&name)).await?;
            Ok(((namespace, name), found.and_then(|set| owner_of(&set.metadata))))
        })
        .buffered(ASKING)
        .collect()
        .await;
    let owners: BTreeMap<(String, String), Option<String>> = answers.into_iter().collect::<Result<_, _>>()?;
    for pod in pods {
        if let Some(Some(owner)) = set(&pod.target).and_then(|set| owners.get(&set)) {
            pod.target.owner = Some(owner.clone());
        }
    }
    Ok(())
}
