//! A stream's phase in numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::Phase;
use super::step::StepTime;
use crate::probe::{Reach, StreamKind};

/// A probe, stream and phase in numbers. Latencies are in microseconds from the planned instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Probe name.
    pub probe: String,
    /// Stream.
    pub stream: StreamKind,
    /// Phase of the planned instants.
    pub phase: Phase,
    /// Slots planned: the sum of good, bad, unknown, client-late and capped.
    pub planned: u64,
    /// Good ones.
    pub good: u64,
    /// Bad ones.
    pub bad: u64,
    /// Bad ones by class.
    pub classes: BTreeMap<String, u64>,
    /// Bad ones by how far they came: what a client has to know before it asks again. Absent in records of before it was told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reach: BTreeMap<Reach, u64>,
    /// Slots about which nothing can be said.
    pub unknown: u64,
    /// Sent too late to count.
    pub client_late: u64,
    /// Not sent: too many in flight.
    pub capped: u64,
    /// Latencies of good requests by quantile name (`p50`, `p90`, `p95`, `p99`, `p99.9`, `max`, `min`, `mean`); a quantile that the
    /// sample can't support is absent.
    pub good_us: BTreeMap<String, u64>,
    /// The same for the time since the send.
    pub service_us: BTreeMap<String, u64>,
    /// The same for bad requests, from the planned instant until the failure was known.
    pub bad_us: BTreeMap<String, u64>,
    /// Lateness of the probe itself.
    pub late_us: BTreeMap<String, u64>,
    /// Where the time of good requests went. Absent in records of before it was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepTime>,
    /// Full distribution of the probe's own lateness over everything that was sent, in the form of `histogram`: so that nobody takes it
    /// for latency. Absent in records of before it was told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late_histogram: Vec<(u64, u64)>,
    /// Full latency distribution of good requests, as `(upper bound in µs, count)`, empty buckets left out.
    pub histogram: Vec<(u64, u64)>,
}
