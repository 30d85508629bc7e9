//! Where requests spent their time.

use serde::{Deserialize, Serialize};

use crate::probe::Step;

/// How long one step of good requests took, in one phase; exact to 1 %.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepTime {
    /// The step.
    pub step: Step,
    /// Good requests that took it.
    pub requests: u64,
    /// Median, in microseconds.
    pub p50_us: u64,
    /// 99th percentile, in microseconds.
    pub p99_us: u64,
    /// The longest, in microseconds.
    pub max_us: u64,
}
