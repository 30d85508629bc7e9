//! The plan: what an experiment comes to on one cluster. Drawn by reading only; refused here means that nothing was touched.

mod budgets;
mod draw;
mod endpoints;
mod file;
mod iam;
mod limits;
mod permissions;
mod protection;
mod rbac;
mod reach;
mod samples;
mod simulate;
#[cfg(test)]
mod tests;
mod timing;

use serde::{Deserialize, Serialize};

pub use draw::{Options, PlanError, Source, draw, step_seed};
pub use endpoints::PlannedEndpoints;
pub use file::{PlanFileError, drift};
pub use iam::{CloudRule, iam};
pub use limits::{Allowance, ClusterLimits, LIMITS, PlannedLimits, Runner, Selectable};
pub use permissions::{Checked, check_permissions, needed_permissions};
pub use rbac::rbac;
pub use reach::{reach, reach_of_undo};
pub use timing::{MAX_DURING, MAX_REQUESTS, PlannedTiming, UNDO_BUDGET};

use crate::cluster::CommandLine;
use crate::fault::Refusal;
use crate::record::{ClusterId, Displaced, Phase, Target};

/// Version of the plan format.
pub const VERSION: u32 = 1;

/// Everything that a run will do, resolved. `squall plan --out` writes it, `squall run --plan` follows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// Version of the binary that drew it.
    #[serde(default)]
    pub squall: String,
    /// Name of the experiment.
    pub experiment: String,
    /// Path of the file, or how else it came.
    pub source: String,
    /// SHA-256 of the file in lower-case hexadecimal digits, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_sha256: Option<String>,
    /// The experiment after its variables were replaced, as JSON.
    pub document: serde_json::Value,
    /// Seed of every random choice.
    pub seed: u64,
    /// Which cluster.
    pub cluster: ClusterId,
    /// Where lease and undo log live.
    pub state_namespace: String,
    /// What it may touch at most, as numbers.
    #[serde(default)]
    pub limits: PlannedLimits,
    /// How long the phases last, and how many requests that makes.
    #[serde(default)]
    pub timing: PlannedTiming,
    /// Whose endpoints the probes with `connection: perEndpoint` ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<PlannedEndpoints>,
    /// The steps, in the order of their instants.
    pub steps: Vec<PlannedStep>,
    /// Room under each disruption budget that covers a target.
    pub budgets: Vec<BudgetRoom>,
    /// Whether each hypothesis can be shown with the samples that the run will have.
    pub samples: Vec<SampleCheck>,
    /// What the run needs to be allowed, as RBAC rules.
    pub permissions: Vec<Rule>,
    /// What the run calls of AWS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cloud: Vec<CloudRule>,
    /// What a person should know before it runs.
    pub warnings: Vec<String>,
    /// What refuses it; empty when it may run.
    pub refusals: Vec<Refused>,
}

/// One step with its targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// Name.
    pub name: String,
    /// Milliseconds from the start of *during*.
    pub at_ms: u64,
    /// Milliseconds held, then undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// Fault key.
    pub fault: String,
    /// Chosen targets.
    pub targets: Vec<Target>,
    /// How many there were to choose from.
    pub of: usize,
    /// Pods that the step takes away.
    pub pods: usize,
    /// Each call.
    pub calls: Vec<String>,
    /// Each undo or healing.
    pub undo: Vec<String>,
    /// Pods that leave with the targets without being targets; they are only evicted, and don't count in `limits.pods`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<Target>,
    /// Whether it is taken back: without `for` it is held until *during* ends.
    #[serde(default)]
    pub undoable: bool,
    /// The commands that the injection runs on this machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CommandLine>,
    /// The commands that the undo runs on this machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo_commands: Vec<CommandLine>,
    /// The workloads whose pods lose their nodes, with what is predicted of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub displaced: Vec<Displaced>,
}

impl PlannedStep {
    /// The targets, and what leaves with them.
    pub fn touched(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().chain(&self.leaving)
    }
}

/// Room under a disruption budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetRoom {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Disruptions that it allows now.
    pub allowed: i32,
    /// Healthy pods now.
    pub healthy: i32,
    /// Healthy pods that it wants at least.
    pub desired: i32,
    /// Pods that it covers and that the run takes away.
    pub targets: usize,
    /// What is wrong with it, if anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// Whether a hypothesis can be shown with the samples of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleCheck {
    /// Position in `steadyState`.
    pub index: usize,
    /// Name of the probe; empty in plans of before it was told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub probe: String,
    /// The tolerance as written.
    pub tolerance: String,
    /// Phase.
    pub phase: Phase,
    /// Samples that the phase will have, per stream.
    pub have: u64,
    /// Samples that are needed.
    pub need: u64,
}

/// One RBAC rule with its reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// API group; empty for the core group.
    pub group: String,
    /// Resource with its subresource.
    pub resource: String,
    /// Verb.
    pub verb: String,
    /// Namespace; `None` for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What it is needed for.
    pub why: String,
    /// Whether the run can do without it, at the price of a warning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// A reason not to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The step, where it concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What stands in the way.
    pub message: String,
    /// What to type or change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Refused {
    /// A refusal of the whole run, or of one step.
    #[must_use]
    pub fn of(step: Option<&str>, refusal: Refusal) -> Self {
        Self { step: step.map(ToOwned::to_owned), message: refusal.message, hint: refusal.hint }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::of(None, refusal)
    }
}
