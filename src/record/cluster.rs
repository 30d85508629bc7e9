//! Which cluster a run was made on.

use serde::{Deserialize, Serialize};

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
}
