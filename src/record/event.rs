//! The events of a run: the only interface between what acts and what reports.
//!
//! A run appends each event as one JSON line to `events.jsonl`; the terminal, `report.json`, `report.html` and `junit.xml`
//! are folds over these lines, so that yesterday's run can be rendered by today's binary. Times are microseconds since
//! the run's zero on the monotonic clock; `wall` is for people. Fields may be added; none is renamed or given another
//! meaning without a new `FORMAT`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::availability::{Availability, Comparison};
use super::cluster::ClusterId;
use super::displaced::Replaced;
use super::fields::Fields;
use super::life::Life;
use super::predicted::Predicted;
use super::summary::Summary;
use crate::probe::StreamKind;
use crate::scalar::EngineKind;

/// Version of the event format, written into the first event.
pub const FORMAT: u32 = 1;

/// Microseconds since the run's zero; negative only for what happened before the clock was set.
pub type Micros = i64;

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Number of the event within its run, from 0, without gaps.
    pub seq: u64,
    /// When it happened, or became known.
    pub at: Micros,
    /// The wall clock at that instant, RFC 3339 in UTC.
    pub wall: jiff::Timestamp,
    /// What happened.
    pub what: What,
}

/// A phase of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Nothing is injected; the steady state must hold.
    Before,
    /// From the first step's instant until the last fault is undone and healed.
    During,
    /// The steady state must hold again.
    After,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];

    /// The phase's name: `before`, `during` or `after`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        }
    }
}

/// An object of the cluster that a step touches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Kind as kubectl prints it in lower case: `pod`, `deployment`, `statefulset`.
    pub kind: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID at planning time; a target with another UID is another object and is not touched.
    pub uid: String,
    /// Node that it runs on, where that applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Zone of that node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Controlling owner as `kind/name`, the top one that is known (a Deployment rather than its ReplicaSet). Of a node its Auto Scaling
    /// group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The cloud's instance behind a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// A verdict on one hypothesis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The measured value meets the tolerance.
    Held,
    /// It does not.
    Deviated,
    /// Too little was measured to say.
    Unproven,
}

/// The verdict on a run; the exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RunVerdict {
    /// Every hypothesis held and every fault bit.
    Passed,
    /// A hypothesis deviated, or a step did not come out as expected.
    Deviated,
    /// Nothing deviated, but something could not be shown.
    Inconclusive,
    /// Ended early by a stop condition, a signal or another machine; undone.
    Aborted,
    /// Refused before any act.
    Refused,
    /// Not steady before; nothing was injected.
    Unsteady,
    /// Squall's own fault.
    Errored,
    /// Something is left behind; a person is needed.
    UndoIncomplete,
}

/// How a step, or its undo, went on one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Injection {
    /// The API accepted the fault.
    Injected,
    /// The API refused it, as a disruption budget does.
    Refused,
    /// The target was gone before it could be touched.
    Gone,
    /// The call failed.
    Failed,
    /// Not tried: the run was ending, or a limit was reached.
    Skipped,
}

/// How an undo ended on one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UndoOutcome {
    /// Taken back by us.
    Undone,
    /// There was nothing to take back.
    Nothing,
    /// Somebody else changed it meanwhile: theirs stays, our note is gone.
    Conflict,
    /// It could not be taken back.
    Failed,
}

/// The kind of a watched object's change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It was there when the watch began.
    Seen,
    /// It was created.
    Added,
    /// It changed.
    Changed,
    /// It was deleted.
    Deleted,
}

/// What one second of one stream of a probe held. Its bounds are planned instants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// Probe name.
    pub probe: String,
    /// Stream.
    pub stream: StreamKind,
    /// First planned instant that belongs to it.
    pub from: Micros,
    /// First planned instant that no longer does.
    pub to: Micros,
    /// Slots planned; the sum of all the counts below.
    pub planned: u64,
    /// Good ones.
    pub good: u64,
    /// Bad ones by `class` or `status-503`.
    pub bad: BTreeMap<String, u64>,
    /// Slots about which nothing can be said.
    pub unknown: u64,
    /// Sent too late to count.
    pub client_late: u64,
    /// Not sent: too many in flight.
    pub capped: u64,
    /// Good latencies from the planned instant: median, in microseconds.
    pub p50_us: u64,
    /// The same, 99th percentile.
    pub p99_us: u64,
    /// The same, largest.
    pub max_us: u64,
    /// Largest lateness of the probe itself, in microseconds.
    pub late_max_us: u64,
}

/// A window in which a stream was down: from a first bad request to the next sustained good one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    /// Probe name.
    pub probe: String,
    /// Stream.
    pub stream: StreamKind,
    /// Planned instant of the first bad request.
    pub from: Micros,
    /// Planned instant of the first sustained good request, or when the endpoint was gone; absent when it lasted to the end of the run.
    pub to: Option<Micros>,
    /// Planned instant of the last good request before it: the earliest that it can have begun.
    pub earliest: Option<Micros>,
    /// Planned instant of the last bad request: the window lasted at least until then.
    pub last_bad: Micros,
    /// Bad requests in it.
    pub bad: u64,
    /// Good requests in it (flapping).
    pub good: u64,
    /// Slots in it that say nothing: not part of its length.
    #[serde(default)]
    pub unseen: u64,
    /// Bad ones by class.
    pub classes: BTreeMap<String, u64>,
    /// Likeliest cause, in words; absent when nothing on the timeline explains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// One judged hypothesis in one phase (or over the run, for `outage` and `recovery`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// Position in `steadyState`, from 0.
    pub index: usize,
    /// What is judged: `probe web` or `deployment/web`.
    pub subject: String,
    /// Stream, for a probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamKind>,
    /// The tolerance as written.
    pub tolerance: String,
    /// Phase; absent for a measure of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The verdict.
    pub verdict: Verdict,
    /// The measured value as people read it (`99.95 %`, `1.2 s`); empty when nothing was measured.
    pub measured: String,
    /// The measured value as a number: a ratio, or seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Its 95 % interval in the same unit, where the sample supports one; for `outage` the bounds that its edges set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// Samples that it rests on.
    pub samples: u64,
    /// Why it is unproven, or what deviated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Times that matter after an injection, in microseconds since the run's zero.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Impact {
    /// Step name.
    pub step: String,
    /// The first injection was acknowledged, or began where it took longer than a second.
    pub injected: Micros,
    /// First bad request afterwards.
    pub impact: Option<Micros>,
    /// The cluster took a target out of service: its endpoint no longer `ready`, or the pod NotReady.
    pub detected: Option<Micros>,
    /// Where the detection was seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detected_by: String,
    /// Last bad request.
    pub mitigated: Option<Micros>,
    /// The system was whole again: heal condition met.
    pub healed: Option<Micros>,
    /// Start of the first 5 s window that met every tolerance.
    pub recovered: Option<Micros>,
    /// Requests that failed afterwards, and all that were judged: the blast radius on users.
    pub bad: u64,
    /// All judged requests afterwards.
    pub judged: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum What {
    /// First event of every run.
    RunStarted {
        /// `FORMAT`.
        format: u32,
        /// Version of the binary.
        version: String,
        /// Run id.
        run: String,
        /// Name of the experiment.
        experiment: String,
        /// Path of the file, or how else it came.
        source: String,
        /// Seed of every random choice.
        seed: u64,
        /// Context, server and cluster UID.
        cluster: ClusterId,
        /// What sent the probes' requests.
        #[serde(default)]
        engine: EngineKind,
    },
    /// The plan that the run follows, as `squall plan --out` writes it.
    Planned {
        /// The plan document.
        plan: serde_json::Value,
    },
    /// What rehearsals of the experiment came to, where somebody gave them.
    Predicted(Predicted),
    /// A phase begins. Requests belong to the phase of their planned instant.
    PhaseStarted {
        /// Phase.
        phase: Phase,
        /// First planned instant that belongs to it.
        from: Micros,
    },
    /// The run stopped planning requests.
    ProbesStopped {
        /// First instant that is no longer planned.
        at: Micros,
    },
    /// A fault is about to be injected: its undo record is durable.
    Prepared {
        /// Step.
        step: String,
        /// Target.
        target: Target,
    },
    /// A fault was tried on one target.
    Injected {
        /// Step.
        step: String,
        /// Fault key.
        fault: String,
        /// Target.
        target: Target,
        /// How it went.
        outcome: Injection,
        /// When the call was sent.
        sent: Micros,
        /// When it was answered.
        answered: Micros,
        /// In words.
        detail: String,
        /// Whether that is what the step expects.
        expected: bool,
    },
    /// The proof that the fault bit, or that it did not within its deadline.
    Effect {
        /// Step.
        step: String,
        /// Target.
        target: Target,
        /// Whether the effect was seen.
        seen: bool,
        /// In words.
        detail: String,
    },
    /// A fault was taken back on one target, or not.
    Undone {
        /// Step.
        step: String,
        /// Target.
        target: Target,
        /// How it went.
        outcome: UndoOutcome,
        /// In words.
        detail: String,
    },
    /// The system came back by itself, or did not within its deadline.
    Healed {
        /// Step.
        step: String,
        /// Target.
        target: Target,
        /// Whether it did.
        healed: bool,
        /// In words.
        detail: String,
    },
    /// What came of a workload's pods that a step displaced, against what was predicted.
    Replaced(Replaced),
    /// A watched object changed.
    Object {
        /// How.
        change: Change,
        /// Kind in lower case: `pod`, `endpointslice`, `node`, `event`, `poddisruptionbudget`, `deployment`.
        kind: String,
        /// Namespace; empty for cluster-scoped objects.
        namespace: String,
        /// Name.
        name: String,
        /// What changed, in words: `ready true → false`.
        detail: String,
        /// The state that the detail comes from, as short fields (`ready`, `node`, `terminating` …).
        state: Fields,
    },
    /// The API server could not be seen for a while: what happened meanwhile is unknown.
    Blind {
        /// What could not be seen.
        what: String,
        /// Since when.
        from: Micros,
        /// Until when; absent while it lasts.
        to: Option<Micros>,
    },
    /// The stream of an endpoint began, or ended.
    Life(Life),
    /// One second of one stream.
    Interval(Interval),
    /// A window of failure, once it is over or the run ended.
    Outage(Outage),
    /// A stop condition was met, or a person, a signal or a lost lease ended the run.
    Aborting {
        /// Who: `stop condition`, `signal`, `squall abort`, `lease lost`, `deadline`.
        by: String,
        /// In words.
        detail: String,
    },
    /// A warning that a reader of the report should see.
    Warning {
        /// In words.
        text: String,
    },
    /// A probe, stream and phase in numbers.
    Summary(Summary),
    /// A judged hypothesis.
    Judged(Judgement),
    /// Times after an injection.
    Impact(Impact),
    /// How available a stream was, in a phase or over the run.
    Availability(Availability),
    /// *After* against *before*, of one stream.
    Compared(Comparison),
    /// Last event of every run.
    RunFinished {
        /// Verdict.
        verdict: RunVerdict,
        /// Exit code.
        exit_code: u8,
        /// Why, in one sentence.
        reason: String,
        /// What is left behind and how to remove it; empty unless the undo is incomplete.
        left: Vec<String>,
    },
}
