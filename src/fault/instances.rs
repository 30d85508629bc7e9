//! The instances behind nodes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;

use super::contract::{FaultError, Permission, Refusal};
use super::kube::{list_all, retried};
use super::nodes::{ChosenNode, is_ready};
use crate::cluster::{Cloud, CloudError, Cluster, Instance};
use crate::record::Target;

/// The instance of a node, from `spec.providerID`: `aws:///us-east-1a/i-0abc`. A node's name says nothing reliable.
pub(super) fn instance_of(node: &Node) -> Option<String> {
    let provider = node.spec.as_ref()?.provider_id.as_ref()?;
    let id = provider.strip_prefix("aws://")?.rsplit('/').next()?;
    id.starts_with("i-").then(|| id.to_owned())
}

/// A node with the instance that it runs on.
#[derive(Debug, Clone)]
pub(super) struct Backed {
    pub(super) target: Target,
    pub(super) instance: Instance,
}

impl Backed {
    /// The instances of these nodes, in the nodes' order. A node without one, or whose instance AWS does not know, is refused.
    pub(super) async fn of(cloud: &Cloud, nodes: Vec<ChosenNode>) -> Result<Vec<Self>, Refusal> {
        let mut wanted = Vec::new();
        for ChosenNode { target, node } in nodes {
            let Some(id) = instance_of(&node) else {
                let provider = node.spec.and_then(|spec| spec.provider_id).unwrap_or_default();
                return Err(Refusal::new(format!(
                    "{target} is no EC2 instance: its `spec.providerID` is `{provider}`"
                ))
                .hint("is it the right cluster? Fargate and other clouds have no instance to terminate"));
            };
            wanted.push((target, id));
        }
        let ids: Vec<String> = wanted.iter().map(|(_, id)| id.clone()).collect();
        let found = cloud.instances(&ids).await.map_err(|e| Refusal::new(format!("can't read the instances: {e}")))?;
        let with_instance = |(target, id): (Target, String)| match found.iter().find(|instance| instance.id == id) {
            Some(instance) => Ok(Self { target, instance: instance.clone() }),
            None => Err(Refusal::new(format!(
                "AWS knows no instance {id} ({target}) in {} of account {}",
                cloud.id().region,
                cloud.id().account
            ))
            .hint("is `spec.aws` right for this cluster?")),
        };
        wanted.into_iter().map(with_instance).collect()
    }

    /// Why this instance may not be touched whatever anybody says: not the cluster's, not running, or operated by EKS itself.
    pub(super) fn wrong(&self, cloud: &Cloud) -> Option<String> {
        let Self { target, instance } = self;
        let (id, tag) = (&instance.id, cloud.id().tag());
        if !instance.tags.contains_key(&tag) {
            return Some(format!("instance {id} of {target} does not carry the cluster's tag `{tag}`"));
        }
        if let Some(operator) = &instance.operator {
            return Some(format!(
                "instance {id} of {target} is operated by {operator} (EKS Auto Mode), which lets nobody else end it"
            ));
        }
        (instance.state != "running").then(|| format!("instance {id} of {target} is {}, not running", instance.state))
    }

    /// How its owner has protected it, if so.
    pub(super) async fn protection(&self, cloud: &Cloud) -> Result<Option<String>, CloudError> {
        let Self { target, instance } = self;
        let id = &instance.id;
        if cloud.is_protected(id).await? {
            return Ok(Some(format!("instance {id} of {target} has termination protection")));
        }
        let Some(name) = instance.group() else { return Ok(None) };
        let group = cloud.group(name).await?;
        let held = group.is_some_and(|group| group.members.iter().any(|member| member.id == *id && member.protected));
        Ok(held.then(|| format!("instance {id} of {target} is protected from scale-in by group {name}")))
    }

    /// The target that stands for both.
    pub(super) fn into_target(self) -> Target {
        let owner = self.instance.group().map(|group| format!("group/{group}"));
        Target { owner, instance: Some(self.instance.id), ..self.target }
    }
}

/// The target's node; `None` when it is gone, or another of its name is there.
pub(super) async fn node_now(cluster: &Cluster, target: &Target) -> Result<Option<Node>, FaultError> {
    let api = cluster.all::<Node>();
    let found = retried(|| api.get_opt(&target.name)).await.map_err(FaultError::api(format!("get {target}")))?;
    Ok(found.filter(|node| node.metadata.uid.as_ref() == Some(&target.uid)))
}

/// Instances whose nodes are Ready.
pub(super) async fn ready(cluster: &Cluster) -> Result<BTreeSet<String>, FaultError> {
    Ok(nodes(cluster).await?.iter().filter(|node| is_ready(node)).filter_map(instance_of).collect())
}

/// Every node.
pub(super) async fn nodes(cluster: &Cluster) -> Result<Vec<Node>, FaultError> {
    list_all(&cluster.all(), ListParams::default()).await.map_err(FaultError::api("list the nodes"))
}

/// What [`nodes`] calls.
pub(super) const LISTS_NODES: Permission = Permission {
    group: "",
    resource: "nodes",
    verb: "list",
    namespace: None,
    why: "find the nodes of instances",
    kind: None,
};
