//! Which cluster a run was made on.

use serde::{Deserialize, Serialize};

/// The context of a client that runs in its cluster and has no kubeconfig.
pub const IN_CLUSTER: &str = "in-cluster";

/// Which cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterId {
    /// Context of the kubeconfig, or `in-cluster`.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// UID of the namespace `kube-system`: the cluster's identity.
    pub uid: String,
    /// Version of the API server.
    #[serde(default)]
    pub version: String,
    /// The AWS account behind it, where the experiment acts on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsId>,
}

/// The AWS account behind a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsId {
    /// Account id.
    pub account: String,
    /// Region.
    pub region: String,
    /// Name of the cluster in the tag `kubernetes.io/cluster/NAME`, without which no instance and no group is touched.
    pub cluster: String,
    /// Who calls, as an ARN.
    #[serde(default)]
    pub caller: String,
    /// Endpoints that stand in the place of AWS's own, by environment or profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
}

impl AwsId {
    /// Key of the tag that every instance and group of the cluster carries.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("kubernetes.io/cluster/{}", self.cluster)
    }
}
