//! How available a stream was, and whether it is as good after as it was before. Lengths of time are in microseconds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Micros, Phase};
use crate::probe::StreamKind;

/// How available a stream was, in a phase or over the whole run. `docs/measures.md` says what each number means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// Probe name.
    pub probe: String,
    /// Stream.
    pub stream: StreamKind,
    /// Phase of the planned instants; absent for the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Bad requests ÷ rate: the full outage that would have failed as many. Of all endpoints together, the bad share of the time.
    pub downtime_us: Micros,
    /// The longest time without one good request between failures; absent when nothing failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_failure: Option<FailureRun>,
    /// Seconds with failures.
    pub seconds: BadSeconds,
    /// The worst window of each length, the shortest first. A window that the phase or the rate can't fill is absent.
    pub worst: Vec<WorstWindow>,
    /// What the downtime costs of common error budgets.
    pub budgets: Vec<BudgetBurn>,
    /// What Kubernetes said meanwhile; only over the whole run, and only where the probe's Service was watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gray: Option<GrayFailure>,
}

/// Bad requests in a row: from the first to the next good one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureRun {
    /// Planned instant of the first bad request.
    pub from: Micros,
    /// Planned instant of the first good one after it; absent when there was none.
    pub to: Option<Micros>,
    /// From `from` to `to` (or to the end), without the slots that say nothing.
    pub length_us: Micros,
    /// At least: from the first to the last bad request.
    pub least_us: Micros,
    /// At most: from the last good request before to the first good one after; absent where one of them was not seen.
    pub most_us: Option<Micros>,
    /// Bad requests in it.
    pub bad: u64,
}

/// Seconds by what failed in them, in the manner of ITU-T G.826.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BadSeconds {
    /// Seconds in which something was seen.
    pub measured: u64,
    /// Seconds with at least one bad request.
    pub errored: u64,
    /// Seconds in which at least `severe_ratio` of the requests were bad.
    pub severe: u64,
    /// Seconds from the first of `enter` severe ones in a row to the first of `leave` others in a row.
    pub unavailable: u64,
    /// The share of bad requests that makes a second severe.
    pub severe_ratio: f64,
    /// Severe seconds in a row that begin unavailable time.
    pub enter: u32,
    /// Other seconds in a row that end it.
    pub leave: u32,
}

/// The worst window of one length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorstWindow {
    /// Length of the window.
    pub window_us: Micros,
    /// Good ÷ (good + bad) in it.
    pub success: f64,
    /// Where it begins.
    pub from: Micros,
}

/// Downtime as a share of an error budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetBurn {
    /// The objective's share of good requests: `0.999`.
    pub objective: f64,
    /// Days that the budget is for.
    pub days: u32,
    /// The budget: the full outage that the objective allows in that time.
    pub budget_us: Micros,
    /// Downtime ÷ budget; 1 is all of it.
    pub share: f64,
}

/// Where the probe and Kubernetes disagreed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrayFailure {
    /// The Service, as `namespace/name`.
    pub service: String,
    /// Its endpoints that were ready when the probes began.
    pub endpoints: u64,
    /// Within outage windows while Kubernetes showed at least as many endpoints as at the start, all of them ready.
    pub bad_while_ready_us: Micros,
    /// Outside of outage windows while it showed fewer, or one that was not ready.
    pub good_while_not_ready_us: Micros,
    /// While its endpoints could not be seen; in neither of the two.
    pub blind_us: Micros,
}

/// *After* against *before*, of one stream: a test of non-inferiority. Informs; no verdict comes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Probe name.
    pub probe: String,
    /// Stream.
    pub stream: StreamKind,
    /// `success`, `p50`, `p90`, `p99` or `p99.9`: those that both phases have enough of to measure.
    pub measures: Vec<Shift>,
    /// What all of them come to: worse if one is, not worse if all are, else can't tell.
    pub standing: Standing,
    /// Length of the blocks that were drawn again and again, in seconds.
    pub block_seconds: u64,
    /// How often they were drawn.
    pub resamples: u64,
}

/// How one measure shifted from *before* to *after*: a ratio, or seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shift {
    /// The measure.
    pub measure: String,
    /// Its value before.
    pub before: f64,
    /// Its value after.
    pub after: f64,
    /// The 95 % interval of after − before; absent where the samples can't support one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// How much worse still counts as not worse, in the measure's unit.
    pub margin: f64,
    /// What it comes to.
    pub standing: Standing,
    /// Why it can't be told, where the samples are the reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What came of a test of non-inferiority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// Worse by no more than the margin.
    NotWorse,
    /// Worse by more than the margin.
    Worse,
    /// The samples are compatible with both.
    CantTell,
}

impl Standing {
    /// In words: `not worse`, `worse` or `can't tell`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotWorse => "not worse",
            Self::Worse => "worse",
            Self::CantTell => "can't tell",
        }
    }
}
