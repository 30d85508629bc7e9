//! When the stream of an endpoint began and ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Micros;
use crate::probe::StreamKind;

/// The stream of one endpoint of a probe per endpoint: it begins when the watch shows its address as ready, and ends when it no longer
/// does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// Probe name.
    pub probe: String,
    /// Stream: `endpoint:10.0.0.1:8080`, the second time `endpoint:10.0.0.1:8080#2`.
    pub stream: StreamKind,
    /// First instant that is planned on it.
    pub from: Micros,
    /// First instant that is no longer; absent while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Micros>,
}
