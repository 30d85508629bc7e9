//! What rehearsals of an experiment came to, for its run to be held against.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Micros, RunVerdict};

/// Rehearsals of the same experiment: together they are a prediction.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicted {
    /// What each came to.
    pub rehearsals: Vec<Outlook>,
    /// In what the rehearsed experiment was another one and may be, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What one rehearsal came to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// Its run id.
    pub run: String,
    /// Its seed.
    pub seed: u64,
    /// The lab that it ran on, as its options.
    pub lab: String,
    /// Its verdict.
    pub verdict: Option<RunVerdict>,
    /// What it measured.
    pub measures: Vec<Measured>,
    /// How long the modelled cluster took.
    pub spans: Vec<Span>,
}

/// What is compared of a run and its rehearsals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Quantity {
    /// The longest outage of a stream, in seconds; 0 without one.
    Outage,
    /// The full outage that would have failed as many requests of a stream, in seconds: what it costs of the error budget.
    Downtime,
    /// The bad share of a stream's judged requests.
    BadShare,
    /// Seconds from a step's injection to the first bad request.
    ToImpact,
    /// Seconds until the cluster took a target out of service.
    ToDetection,
    /// Seconds until the last bad request.
    ToMitigation,
    /// Seconds until the heal condition was met.
    ToHeal,
    /// Seconds until every tolerance was met again.
    ToRecovery,
    /// The share of all requests after a step's injection that failed: the blast radius on users.
    BlastRadius,
    /// Targets of a step that the API refused to give, as a disruption budget does.
    Refusals,
}

/// One value. Absent: what it is about did not happen, or was not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// What was measured.
    pub quantity: Quantity,
    /// Of which stream, or step.
    pub of: String,
    /// Seconds, a share, or a count, as the quantity says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// What the lab takes for granted of a cluster and its applications, as far as a watch of any cluster shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Assumption {
    /// From a pod's creation until it has a node.
    Scheduling,
    /// From there until a container of it runs.
    Start,
    /// From there until it is Ready.
    Readiness,
    /// From there until its endpoint is.
    EndpointAdded,
    /// From a pod's deletion until its endpoint is no longer ready.
    EndpointRemoved,
    /// From a pod's deletion until it is gone.
    Ending,
    /// From an injection on a node until it is no longer Ready.
    NodeDetection,
}

/// How long something took each time it was seen. Lengths are in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// What took so long.
    pub what: Assumption,
    /// Of the pods of which workload, as `namespace/name`, as far as their names tell; of nodes `nodes`.
    pub of: String,
    /// How often it was seen.
    pub seen: u64,
    /// The shortest.
    pub least_us: Micros,
    /// The median.
    pub median_us: Micros,
    /// The longest.
    pub most_us: Micros,
}
