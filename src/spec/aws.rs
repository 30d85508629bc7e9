//! The AWS account behind the cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scalar::{AccountId, Region};

/// The AWS account behind the cluster, for the faults that act on it. Nothing here has a default: the credentials that happen to be
/// at hand must not choose what is harmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Aws {
    /// The account; with credentials of any other the run is refused before anything else is asked.
    pub account: AccountId,
    /// The region.
    pub region: Region,
    /// Name of the cluster in the tag `kubernetes.io/cluster/NAME`: instances and groups without that tag are never touched.
    pub cluster: String,
}
