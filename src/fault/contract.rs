//! What a fault is: the contract between a fault's file and everything that loops over the catalogue.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use crate::cluster::{Cluster, CommandLine};
use crate::record::{Displaced, Replaced, Target};

/// What a fault says of itself. The reference, the CLI listing and the plan are written from it.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The key in a step: `podKill`.
    pub key: &'static str,
    /// One line, under 80 columns, no full stop.
    pub summary: &'static str,
    /// What it does, what it costs, what it bypasses: Markdown paragraphs.
    pub details: &'static str,
    /// How its effect is proved.
    pub effect: &'static str,
    /// How it ends: what the undo does, or what heals by itself.
    pub ending: &'static str,
    /// Whether we take it back (`for` is allowed in its step); of a fault of several modes, the default one.
    pub undoable: bool,
    /// With which arguments that is otherwise than [`About::undoable`] says, as the end of a sentence; empty for none.
    pub undoable_where: &'static str,
    /// Whether `expect: evicted | refused` makes sense in its step.
    pub refusable: bool,
    /// What somebody could expect of it and will not get, as the end of a sentence.
    pub cannot: &'static str,
    /// What the lab lacks to rehearse it, as the end of a sentence; empty where it can be rehearsed.
    pub unrehearsable: &'static str,
    /// Its arguments as they may be written, one for each mode that asks for other permissions: its name, and YAML.
    pub examples: &'static [(&'static str, &'static str)],
}

/// One rule that the run needs, as RBAC says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Permission {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, with its subresource behind a slash.
    pub resource: &'static str,
    /// Verb.
    pub verb: &'static str,
    /// Namespace; `None` for the whole cluster.
    pub namespace: Option<String>,
    /// What it is needed for.
    pub why: &'static str,
    /// Needed only where a target is of this kind, or owned by one of this kind; `None`: in any case.
    pub kind: Option<&'static str>,
}

impl Permission {
    /// Whether it is needed for these targets. Before they are resolved every permission is.
    #[must_use]
    pub fn is_for(&self, targets: &[&Target]) -> bool {
        let Some(kind) = self.kind else { return true };
        let owner =
            |target: &Target| target.owner.as_deref().and_then(|owner| owner.split_once('/')).map(|(k, _)| k == kind);
        targets.is_empty() || targets.iter().any(|target| target.kind == kind || owner(target) == Some(true))
    }
}

/// One action that the run needs of AWS, as IAM says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CloudPermission {
    /// `service:Action`.
    pub action: &'static str,
    /// What it is called on.
    pub on: CloudScope,
    /// What it is needed for.
    pub why: &'static str,
}

/// What an action of AWS is called on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloudScope {
    /// Everything: IAM can't say less of a list.
    All,
    /// Auto Scaling groups of the cluster.
    Group,
    /// Instances of the cluster.
    Instance,
    /// Instances too, but allowed by the group that they are in.
    Member,
    /// The network of the subnets.
    Vpc,
    /// The subnets that are targets.
    Subnet,
    /// A network ACL that is being made.
    NewAcl,
    /// Network ACLs, by way of the subnets under them.
    Acl,
}

/// What resolving a step's targets came to.
#[derive(Debug, Clone, Default)]
pub struct Resolution {
    /// The chosen targets, in the order in which they are touched.
    pub targets: Vec<Target>,
    /// How many there were to choose from.
    pub of: usize,
    /// How many pods the step takes away, for `limits.pods`.
    pub pods: usize,
    /// How many pods the selection covers, the whole of a percentage in `limits.pods`; [`Resolution::of`] where the targets are the
    /// pods themselves.
    pub pods_of: Option<usize>,
    /// Pods that leave with the targets without being targets: they don't count in `limits.pods`, but who owns them may protect them,
    /// and disruption budgets have to have room for them.
    pub leaving: Vec<Target>,
    /// Each call that the injection will make: `DELETE /api/v1/namespaces/shop/pods/web-1`.
    pub calls: Vec<String>,
    /// Each undo or healing, in words.
    pub undo: Vec<String>,
    /// The commands that the injection runs on this machine.
    pub commands: Vec<CommandLine>,
    /// The commands that the undo runs on this machine.
    pub undo_commands: Vec<CommandLine>,
    /// The workloads whose pods lose their nodes, with what is predicted of them; the warnings say it in words.
    pub displaced: Vec<Displaced>,
    /// What a person should know before it runs.
    pub warnings: Vec<String>,
}

/// What is wrong with a fault's arguments as they are written, before any cluster is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Keys that lead from the arguments to the place: `["pods", "count"]`. The last ones may be missing in the document.
    pub path: Vec<&'static str>,
    /// What is wrong, as a lower-case sentence fragment.
    pub message: String,
    /// What to type instead.
    pub hint: String,
}

impl Complaint {
    /// A complaint about the place to which `path` leads.
    pub fn new(path: &[&'static str], message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { path: path.to_vec(), message: message.into(), hint: hint.into() }
    }
}

/// Why a step can't be planned; the run is refused with exit code 3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{message}")]
pub struct Refusal {
    /// What stands in the way.
    pub message: String,
    /// What to type or change.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Where the targets are chosen: read-only access and the seeded choice.
pub struct Planning<'a> {
    /// The cluster, to be read only.
    pub cluster: &'a Cluster,
    /// Seed of the step's choice: the run's seed mixed with the step's name.
    pub seed: u64,
    /// UIDs of the targets of the steps before: a choice takes others first, because those may be gone by then.
    pub taken: &'a BTreeSet<String>,
    /// UIDs of those of them that may still be away when this step acts.
    pub gone: &'a BTreeSet<String>,
}

/// Where a fault acts.
pub struct Acting<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The run that acts, written into undo notes.
    pub run: &'a str,
    /// Where its lease and undo log are, written into undo notes: its lease holds off others who look there.
    pub state: &'a str,
    /// The step's name.
    pub step: &'a str,
    /// When the run ends early: an injection that waits asks between its calls, and returns.
    pub ending: Ending,
}

/// The early end of a run, as who waits for something else sees it.
#[derive(Debug, Clone, Default)]
pub struct Ending(Option<watch::Receiver<bool>>);

impl Ending {
    /// It has come once `stop` is true.
    #[must_use]
    pub const fn of(stop: watch::Receiver<bool>) -> Self {
        Self(Some(stop))
    }

    /// Whether it has come.
    #[must_use]
    pub fn has_come(&self) -> bool {
        self.0.as_ref().is_some_and(|stop| *stop.borrow())
    }

    /// Waits until it comes; for ever where there is none, as when a dead run is recovered.
    pub async fn come(&self) {
        match self.0.clone() {
            Some(mut stop) => {
                let _closed = stop.wait_for(|stop| *stop).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// What an injection came to. Errors of the API are [`FaultError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Injected {
    /// Accepted.
    Done(String),
    /// Refused by something that is there to refuse, such as a disruption budget; with who and the numbers. Certainly nothing was done.
    Refused(String),
    /// The same, but only after part of it was done; with how long it was tried. What was done is taken back.
    Blocked(String),
    /// The target is gone, or is another object of the same name.
    Gone(String),
}

/// Whether the fault's effect is visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Proof, in words.
    Seen(String),
    /// What is still missing.
    NotYet(String),
}

/// What an undo came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// Taken back.
    Undone(String),
    /// Nothing to take back.
    Nothing(String),
    /// There never is anything to take back: it heals by itself.
    HealsItself,
    /// Somebody else changed it: theirs stays, our note is gone.
    Conflict(String),
    /// Only a person can take it back: why, and how. It is not tried again.
    ByHand(String),
}

impl Undo {
    /// The same, with something that a person should know beside it.
    #[must_use]
    pub(super) fn with(self, more: &str) -> Self {
        let and = |words: String| format!("{words}; {more}");
        match self {
            Self::Undone(words) => Self::Undone(and(words)),
            Self::Nothing(words) => Self::Nothing(and(words)),
            Self::Conflict(words) => Self::Conflict(and(words)),
            Self::ByHand(words) => Self::ByHand(and(words)),
            Self::HealsItself => Self::HealsItself,
        }
    }
}

/// Whether the system is whole again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heal {
    /// It is.
    Healed(String),
    /// What is still missing.
    NotYet(String),
}

/// An undo note found on an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Left {
    /// The run that left it.
    pub run: String,
    /// State namespace of that run; empty where the note does not say.
    pub state: String,
    /// Its step.
    pub step: String,
    /// Fault key.
    pub fault: String,
    /// The object.
    pub target: Target,
    /// What the undo needs, as the undo log has it.
    pub note: serde_json::Value,
}

/// Why a call of a fault failed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The API answered with an error, or did not answer.
    #[error("{doing}: {}", crate::cluster::explain(.source))]
    Api {
        /// What was tried.
        doing: String,
        /// The client's error.
        #[source]
        source: kube::Error,
    },
    /// The state found makes no sense for this fault.
    #[error("{0}")]
    State(String),
    /// The cloud answered with an error, or did not answer.
    #[error(transparent)]
    Cloud(#[from] crate::cluster::CloudError),
    /// A command of this machine did not do its work.
    #[error(transparent)]
    Command(#[from] crate::cluster::CommandError),
    /// A container engine answered with an error, or did not answer.
    #[error(transparent)]
    Engine(#[from] crate::cluster::EngineError),
}

impl FaultError {
    /// Wraps a client error with what was being done.
    pub fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Api { doing, source }
    }

    /// Whether the same call may be tried again with hope: throttling, unavailability, a broken connection.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Api { source, .. } => crate::cluster::is_transient(source),
            Self::State(_) | Self::Command(_) => false,
            Self::Cloud(error) => error.is_transient(),
            Self::Engine(error) => error.is_transient(),
        }
    }
}

/// A fault: its arguments as written in a step, and what it does with them.
///
/// One file per fault implements this; the list in `fault/mod.rs` names them, and everything else loops over the list.
#[expect(async_fn_in_trait, reason = "faults are used through the catalogue's enum, on one thread")]
pub trait Fault: Clone + std::fmt::Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema {
    /// What the fault says of itself.
    const ABOUT: About;

    /// Whether it is made for what belongs to the cluster itself: then its targets may be in `kube-system` and its like, which are
    /// closed to every other fault. It has to resolve to nothing but what it is made for.
    const FOR_THE_CLUSTER: bool = false;

    /// What must be known to take it back; written to the undo log before the first mutation.
    type Note: Serialize + DeserializeOwned + Clone + std::fmt::Debug;

    /// What the fault says of itself with these arguments: [`Fault::ABOUT`], but where one of its modes differs.
    fn about(&self) -> About {
        Self::ABOUT
    }

    /// What is wrong with the arguments that their types alone don't say: two that contradict each other, or one that does nothing.
    fn check(&self) -> Vec<Complaint> {
        Vec::new()
    }

    /// Namespaces that the arguments name.
    fn namespaces(&self) -> Vec<String>;

    /// Everything that `resolve`, `prepare`, `inject`, `effect`, `replaced`, `undo` and `healed` call.
    fn permissions(&self) -> Vec<Permission>;

    /// What `resolve`, `prepare`, `inject`, `effect`, `undo` and `healed` call of AWS; empty for a fault that has nothing to do with it.
    /// A fault that needs any needs `spec.aws` too.
    fn cloud_permissions(&self) -> Vec<CloudPermission> {
        Vec::new()
    }

    /// How long an injection may take at most, beyond a few calls.
    fn longest_injection(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// How long the effect may take to show once the injection was acknowledged.
    fn effect_deadline(&self, note: &Self::Note) -> std::time::Duration;

    /// Whether the fault holds a target, which no other step may hold meanwhile: it gives back what it found.
    fn holds(&self, target: &Target) -> bool {
        let _ = target;
        self.about().undoable
    }

    /// Which wave a target belongs to, from 0: those of a later wave are injected when every one of the earlier is, and not at all when
    /// one could not be.
    fn wave(&self, target: &Target) -> u8 {
        let _ = target;
        0
    }

    /// Chooses the targets. Reads only.
    async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal>;

    /// Reads what the undo will need. Reads only; may be called again. `Ok(None)`: the target is gone or is another object.
    async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<Self::Note>, FaultError>;

    /// Injects. The note is durable when this is called, and the call is made at most once per target. Where it waits for more than
    /// the answer to a call, it returns early when the run is [`ending`](Acting::ending): with an error, as what it did is unfinished.
    async fn inject(&self, cx: &Acting<'_>, target: &Target, note: &Self::Note) -> Result<Injected, FaultError>;

    /// Whether the effect can be seen. Called again and again until it is, or its deadline passes.
    async fn effect(&self, cx: &Acting<'_>, target: &Target, note: &Self::Note) -> Result<Effect, FaultError>;

    /// What came of the pods that the plan calls displaced. Called once, when the hold is over and nothing is taken back yet; only for
    /// a fault that predicts.
    async fn replaced(
        &self,
        cx: &Acting<'_>,
        targets: &[Target],
        displaced: &[Displaced],
    ) -> Result<Vec<Replaced>, FaultError> {
        let _ = (cx, targets, displaced);
        Ok(Vec::new())
    }

    /// Takes it back, from the note alone. Idempotent, and harmless where nothing was injected.
    async fn undo(cx: &Acting<'_>, target: &Target, note: &Self::Note) -> Result<Undo, FaultError>;

    /// The commands of this machine that [`Fault::undo`] would run, for a person to see before they are.
    fn undo_commands(note: &Self::Note) -> Vec<CommandLine> {
        let _ = note;
        Vec::new()
    }

    /// Undo notes that stand on objects, in one namespace or in all: what `recover --scan` finds where no log is left. A fault that
    /// leaves none on objects has none to find.
    async fn left_on(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Left>, FaultError> {
        let _ = (cluster, namespace);
        Ok(Vec::new())
    }

    /// Whether the system is whole again after the undo, or by itself. Called again and again.
    async fn healed(cx: &Acting<'_>, target: &Target, note: &Self::Note) -> Result<Heal, FaultError>;
}
