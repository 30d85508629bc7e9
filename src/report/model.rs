//! The report as data: what `report.json` holds. Times are microseconds since the run's zero; lengths of time are microseconds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::beside::Beside;
use crate::record::{
    Availability, ClusterId, Comparison, IN_CLUSTER, Injection, Judgement, Micros, Outage, Phase, Replaced, RunVerdict,
    Span, Summary, Target, UndoOutcome, Verdict,
};
use crate::scalar::EngineKind;

/// Version of the report's format. Fields may be added; none is renamed or given another meaning without a new version.
pub const VERSION: u32 = 1;

/// One run, folded from its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Version of the binary that made the run.
    pub squall: String,
    /// Run id.
    pub run: String,
    /// Name of the experiment.
    pub experiment: String,
    /// Path of the experiment's file, or how else it came.
    pub source: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// Which cluster.
    pub cluster: ClusterId,
    /// What sent the probes' requests.
    #[serde(default)]
    pub engine: EngineKind,
    /// Wall clock at the first event, RFC 3339 in UTC.
    #[schemars(with = "Option<String>")]
    pub started: Option<jiff::Timestamp>,
    /// Wall clock at the last event.
    #[schemars(with = "Option<String>")]
    pub ended: Option<jiff::Timestamp>,
    /// Time between the first and the last event.
    pub elapsed_us: Micros,
    /// The verdict; absent when the run ended without finishing, as a killed process does.
    pub verdict: Option<RunVerdict>,
    /// The exit code; absent with the verdict.
    pub exit_code: Option<u8>,
    /// Why, in one sentence.
    pub reason: String,
    /// What is left behind and how to remove it; empty unless the undo is incomplete.
    pub left: Vec<String>,
    /// Who ended the run early, if anybody did.
    pub aborted: Option<Aborted>,
    /// The phases that began, in order.
    pub phases: Vec<PhaseSpan>,
    /// The hypotheses as judged. One that the plan names and that was never judged stands here as unproven.
    pub hypotheses: Vec<Judgement>,
    /// The method, with what it did to each target.
    pub steps: Vec<StepReport>,
    /// The windows of failure.
    pub outages: Vec<Outage>,
    /// Times after each step's injection.
    pub impacts: Vec<ImpactTimes>,
    /// Counts and latencies per probe, stream and phase.
    pub summaries: Vec<Summary>,
    /// How available each stream was, over the run and in each phase. Empty for records that do not have it.
    #[serde(default)]
    pub availability: Vec<Availability>,
    /// *After* against *before*, per stream. Empty for records that do not have it.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// What came of the pods that a step displaced, against what was predicted. Empty for faults that predict nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<Replaced>,
    /// How long the cluster took for what a lab takes for granted, as its watches saw it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
    /// What rehearsals had predicted, beside what was observed. Absent without a prediction, and where nothing was injected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    /// Windows in which the API server could not be seen.
    pub blind: Vec<Blind>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// What to do next.
    pub next: Vec<Advice>,
}

/// Who ended the run early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Aborted {
    /// When.
    pub at: Micros,
    /// `stop condition`, `signal`, `squall abort`, `lease lost` or `deadline`.
    pub by: String,
    /// In words.
    pub detail: String,
}

/// A phase and its bounds. Requests belong to the phase of their planned instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseSpan {
    /// Phase.
    pub phase: Phase,
    /// First planned instant that belongs to it.
    pub from: Micros,
    /// First planned instant that no longer does; the last event's instant where the run ended within the phase.
    pub to: Micros,
}

/// A step of the method and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// Name.
    pub name: String,
    /// Fault key.
    pub fault: String,
    /// Planned offset from the start of *during*; absent when the plan is not on record.
    pub at_us: Option<Micros>,
    /// How long it was to be held before its undo.
    pub hold_us: Option<Micros>,
    /// How many objects there were to choose the targets from.
    pub of: Option<u64>,
    /// Its targets.
    pub targets: Vec<TargetReport>,
}

/// What a step did to one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetReport {
    /// The target.
    pub target: Target,
    /// When its undo record was durable.
    pub prepared: Option<Micros>,
    /// The injection.
    pub injection: Option<InjectionResult>,
    /// The proof that it bit.
    pub effect: Option<Effect>,
    /// The undo.
    pub undo: Option<Undoing>,
    /// The healing.
    pub heal: Option<Healing>,
}

/// How the injection went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InjectionResult {
    /// How it went.
    pub outcome: Injection,
    /// When the call was sent.
    pub sent: Micros,
    /// When it was answered.
    pub answered: Micros,
    /// In words.
    pub detail: String,
    /// Whether that is what the step expects.
    pub expected: bool,
}

/// Whether the fault bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// When that was known.
    pub at: Micros,
    /// Whether the effect was seen.
    pub seen: bool,
    /// In words.
    pub detail: String,
}

/// How the undo ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Undoing {
    /// When that was known.
    pub at: Micros,
    /// How it ended.
    pub outcome: UndoOutcome,
    /// In words.
    pub detail: String,
}

/// Whether the system came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Healing {
    /// When that was known.
    pub at: Micros,
    /// Whether it did.
    pub healed: bool,
    /// In words.
    pub detail: String,
}

/// How long it took, each counted from the first acknowledged injection of the step, and how many users it hit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImpactTimes {
    /// Step name.
    pub step: String,
    /// The first injection was acknowledged.
    pub injected: Micros,
    /// Until the first bad request.
    pub to_impact_us: Option<Micros>,
    /// Until the cluster took a target out of service.
    pub to_detection_us: Option<Micros>,
    /// Where the detection was seen.
    pub detected_by: String,
    /// Until the last bad request.
    pub to_mitigation_us: Option<Micros>,
    /// Until the heal condition was met.
    pub to_heal_us: Option<Micros>,
    /// Until the start of the first 5 s window that met every tolerance.
    pub to_recovery_us: Option<Micros>,
    /// Requests that failed afterwards.
    pub bad: u64,
    /// All requests that were judged afterwards.
    pub judged: u64,
    /// `bad` ÷ `judged`: the blast radius on users; absent when nothing was judged.
    pub blast_radius: Option<f64>,
}

/// A window in which the API server could not be seen: what happened meanwhile is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blind {
    /// What could not be seen.
    pub what: String,
    /// Since when.
    pub from: Micros,
    /// Until when; the last event's instant where it never ended.
    pub to: Micros,
}

/// Something to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// What and why, as a sentence.
    pub text: String,
    /// What to type, where a command does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Report {
    /// The content of `report.json`: pretty-printed, with a newline at its end.
    ///
    /// # Errors
    ///
    /// Never for a report that was folded from events; a float that is not a number is written as `null`.
    pub fn json(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }

    /// The JSON schema of `report.json`, as `schema/report.json` holds it.
    ///
    /// # Errors
    ///
    /// Never in practice: the schema is a JSON value.
    pub fn schema() -> serde_json::Result<String> {
        let mut text = serde_json::to_string_pretty(&schemars::schema_for!(Self))?;
        text.push('\n');
        Ok(text)
    }

    /// The command that takes back what a run may have left.
    #[must_use]
    pub fn recover_command(&self) -> String {
        let mut command = format!("squall recover {}", self.run);
        if !self.cluster.context.is_empty() && self.cluster.context != IN_CLUSTER {
            command.push_str(" --context ");
            command.push_str(&self.cluster.context);
        }
        command
    }

    /// The command that makes the same run again.
    #[must_use]
    pub fn repeat_command(&self) -> String {
        if self.engine == EngineKind::Lab {
            let options = self.cluster.server.strip_prefix(&self.cluster.context).unwrap_or_default();
            return format!("squall rehearse {} --seed {}{options}", self.source, self.seed);
        }
        let mut command = format!("squall run {} --seed {}", self.source, self.seed);
        if !self.cluster.context.is_empty() && self.cluster.context != IN_CLUSTER {
            command.push_str(" --context ");
            command.push_str(&self.cluster.context);
        }
        if !self.engine.is_native() {
            command.push_str(" --engine ");
            command.push_str(self.engine.word());
        }
        command
    }

    /// When the first fault was acknowledged; absent when nothing was injected.
    #[must_use]
    pub fn first_injection(&self) -> Option<Micros> {
        self.targets()
            .filter_map(|(_, target)| target.injection.as_ref())
            .filter(|i| i.outcome == Injection::Injected)
            .map(|i| i.answered)
            .min()
    }

    /// Every target with the step that touched it.
    pub fn targets(&self) -> impl Iterator<Item = (&StepReport, &TargetReport)> {
        self.steps.iter().flat_map(|step| step.targets.iter().map(move |target| (step, target)))
    }

    /// How many hypotheses came out so.
    #[must_use]
    pub fn judged(&self, verdict: Verdict) -> usize {
        self.hypotheses.iter().filter(|h| h.verdict == verdict).count()
    }

    /// Good and bad requests of the whole run.
    #[must_use]
    pub fn requests(&self) -> (u64, u64) {
        // Those of single endpoints stand among all endpoints' together.
        let summaries = self.summaries.iter().filter(|s| !s.stream.is_endpoint());
        summaries.fold((0, 0), |(good, bad), s| (good + s.good, bad + s.bad))
    }

    /// The longest window of failure, with its length; one that never closed counts until the end of the run.
    #[must_use]
    pub fn longest_outage(&self) -> Option<(&Outage, Micros)> {
        self.outages.iter().map(|o| (o, self.outage_length(o))).max_by_key(|(_, length)| *length)
    }

    /// Length of a window of failure; one that never closed counts until the last planned instant.
    #[must_use]
    pub fn outage_length(&self, outage: &Outage) -> Micros {
        let end = outage.to.unwrap_or_else(|| self.phases.last().map_or(outage.last_bad, |p| p.to));
        (end - outage.from).max(0)
    }
}
