//! The instances behind nodes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;

use super::contract::{FaultError, Permission};
use super::kube::{PAGE, retried};
use super::nodes::is_ready;
use crate::cluster::Cluster;

/// The instance of a node, from `spec.providerID`: `aws:///us-east-1a/i-0abc`. A node's name says nothing reliable.
pub(super) fn instance_of(node: &Node) -> Option<String> {
    let provider = node.spec.as_ref()?.provider_id.as_ref()?;
    let id = provider.strip_prefix("aws://")?.rsplit('/').next()?;
    id.starts_with("i-").then(|| id.to_owned())
}

/// Instances whose nodes are Ready.
pub(super) async fn ready(cluster: &Cluster) -> Result<BTreeSet<String>, FaultError> {
    Ok(nodes(cluster).await?.iter().filter(|node| is_ready(node)).filter_map(instance_of).collect())
}

/// Every node.
pub(super) async fn nodes(cluster: &Cluster) -> Result<Vec<Node>, FaultError> {
    let api = cluster.all::<Node>();
    let mut params = ListParams::default().limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = retried(|| api.list(&params)).await.map_err(FaultError::api("list the nodes"))?;
        all.extend(page.items);
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(all),
        }
    }
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
