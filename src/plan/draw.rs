//! Drawing the plan: targets resolved, limits checked, room and samples counted, permissions asked for. Nothing is changed, and
//! every refusal is collected, so that one look says all that stands in the way.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::simulate::simulate;
use super::{
    Allowance, CloudRule, ClusterLimits, Plan, PlannedLimits, PlannedStep, PlannedTiming, Refused, Runner, Selectable,
    UNDO_BUDGET, VERSION, budgets, check_permissions, endpoints, iam, needed_permissions, protection, samples, timing,
};
use crate::cluster::{Cluster, Expiry};
use crate::fault::{Planning, Refusal, Resolution};
use crate::record::IN_CLUSTER;
use crate::spec::{Experiment, Step};

/// Where the experiment came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Path of the file, or how else it came.
    pub name: String,
    /// SHA-256 of the file in lower-case hexadecimal digits, where there was one.
    pub sha256: Option<String>,
}

/// What the plan depends on beside the experiment and the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Seed of every random choice.
    pub seed: u64,
    /// Where lease and undo log live.
    pub state_namespace: String,
    /// Where the runner runs, when it runs in the cluster.
    pub runner: Option<Runner>,
    /// Whether steps may run commands on this machine.
    pub allow_exec: bool,
    /// The wall clock now: credentials must outlive the run.
    pub wall: jiff::Timestamp,
}

impl Options {
    /// Options of a runner outside the cluster.
    #[must_use]
    pub fn new(seed: u64, state_namespace: &str) -> Self {
        Self {
            seed,
            state_namespace: state_namespace.to_owned(),
            runner: None,
            allow_exec: false,
            wall: jiff::Timestamp::UNIX_EPOCH,
        }
    }
}

/// Why no plan could be drawn at all; what merely stands in the way of running it is in [`Plan::refusals`].
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The experiment can't be written as JSON.
    #[error("the experiment can't be written into the plan: {0}")]
    Document(#[from] serde_json::Error),
}

/// The seed of one step's choice: the run's seed mixed with the step's name (the first eight bytes of their SHA-256), so that adding
/// a step does not change what the others choose.
#[must_use]
pub fn step_seed(seed: u64, step: &str) -> u64 {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(step).finalize();
    digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

/// Draws the plan of an experiment on a cluster. Reads only; the dry runs that a fault asks the API for change nothing. Takes a few
/// API calls for each target and namespace, each bounded in time.
///
/// # Errors
///
/// When the experiment can't be written into the plan. Everything that the cluster has to say, an API that does not answer included,
/// is a refusal within the plan.
pub async fn draw(
    experiment: &Experiment,
    source: &Source,
    cluster: &Cluster,
    options: &Options,
) -> Result<Plan, PlanError> {
    let mut plan = Plan {
        version: VERSION,
        squall: env!("CARGO_PKG_VERSION").to_owned(),
        experiment: experiment.metadata.name.to_string(),
        source: source.name.clone(),
        source_sha256: source.sha256.clone(),
        document: serde_json::to_value(experiment)?,
        seed: options.seed,
        cluster: cluster.id().clone(),
        state_namespace: options.state_namespace.clone(),
        limits: PlannedLimits::default(),
        timing: PlannedTiming::of(experiment),
        steps: Vec::new(),
        endpoints: Vec::new(),
        budgets: Vec::new(),
        samples: Vec::new(),
        permissions: Vec::new(),
        cloud: Vec::new(),
        warnings: Vec::new(),
        refusals: Vec::new(),
    };
    plan.refusals.extend(plan.timing.refusals(experiment).into_iter().map(Refused::from));
    let (followed, refusals) = endpoints::find(cluster, experiment).await;
    plan.endpoints = followed;
    plan.refusals.extend(refusals);
    let selectable = resolve(&mut plan, experiment, cluster).await;
    limit(&mut plan, experiment, cluster, options, selectable).await;
    plan.refusals.extend(plan.steps.iter().filter_map(|step| commands(step, cluster, options)));
    plan.refusals.extend(timing::overlaps(&plan.steps));
    plan.warnings.extend(timing::taken_before(&plan.steps));
    look(&mut plan, cluster).await;
    let (checks, warnings) = samples::check(experiment, &plan.timing);
    plan.samples = checks;
    plan.warnings.extend(warnings);
    permit(&mut plan, experiment, cluster, options).await;
    plan.cloud = iam::needed(experiment, cluster, &plan.steps);
    plan.refusals.extend(simulate(cluster, &mut plan.cloud, &plan.steps).await);
    plan.warnings.extend(unverified(&plan.cloud));
    plan.refusals.extend(cluster.expiry().and_then(|expiry| outlived(expiry, &plan.timing, options.wall)));
    tidy(&mut plan);
    Ok(plan)
}

/// Resolves every step, in the order of their instants. Answers how much the selections match.
async fn resolve(plan: &mut Plan, experiment: &Experiment, cluster: &Cluster) -> Selectable {
    let mut steps: Vec<&Step> = experiment.spec.method.iter().collect();
    steps.sort_by_key(|step| step.at);
    // Two steps that choose from the same selection choose from the same objects, which count once.
    let mut selectable: BTreeMap<String, Selectable> = BTreeMap::new();
    for step in steps {
        let taken: BTreeSet<String> =
            plan.steps.iter().flat_map(|step| &step.targets).map(|target| target.uid.clone()).collect();
        let gone = timing::gone_by(&plan.steps, millis(step.at));
        let seed = step_seed(plan.seed, step.name.as_str());
        let planning = Planning { cluster, seed, taken: &taken, gone: &gone };
        match step.fault.resolve(&planning).await {
            Ok(resolution) => {
                let of = Selectable::of(&resolution);
                let known = selectable.entry(selection(step)).or_default();
                *known = known.max(of);
                plan.warnings.extend(resolution.warnings.iter().map(|text| format!("step `{}`: {text}", step.name)));
                if resolution.targets.is_empty() {
                    let refusal = Refusal::new("it would touch nothing").hint("is the selection right?");
                    plan.refusals.push(Refused::of(Some(step.name.as_str()), refusal));
                }
                plan.steps.push(planned(step, resolution));
            }
            Err(refusal) => plan.refusals.push(Refused::of(Some(step.name.as_str()), refusal)),
        }
    }
    let sum = |count: fn(&Selectable) -> usize| selectable.values().map(count).sum();
    Selectable { pods: sum(|of| of.pods), nodes: sum(|of| of.nodes), groups: sum(|of| of.groups) }
}

/// What a step selects from, whatever it takes of it.
fn selection(step: &Step) -> String {
    let mut arguments = step.fault.arguments().unwrap_or_default();
    for noun in ["pods", "nodes", "groups"] {
        if let Some(targets) = arguments.get_mut(noun).and_then(serde_json::Value::as_object_mut) {
            for how_many in ["count", "percent", "all", "allowLast"] {
                targets.remove(how_many);
            }
            return serde_json::json!({ noun: targets }).to_string();
        }
    }
    arguments.to_string()
}

fn planned(step: &Step, resolution: Resolution) -> PlannedStep {
    PlannedStep {
        name: step.name.to_string(),
        at_ms: millis(step.at),
        hold_ms: step.hold.map(millis),
        fault: step.fault.about().key.to_owned(),
        targets: resolution.targets,
        of: resolution.of,
        pods: resolution.pods,
        calls: resolution.calls,
        undo: resolution.undo,
        leaving: resolution.leaving,
        undoable: step.fault.about().undoable,
        commands: resolution.commands,
        undo_commands: resolution.undo_commands,
        displaced: resolution.displaced,
    }
}

fn millis(time: crate::scalar::Duration) -> u64 {
    u64::try_from(time.get().as_millis()).unwrap_or(u64::MAX)
}

/// Resolves the limits and holds the steps against them, as the executor will at every mutation.
async fn limit(plan: &mut Plan, experiment: &Experiment, cluster: &Cluster, options: &Options, selectable: Selectable) {
    let named: BTreeSet<String> = experiment.spec.method.iter().flat_map(|step| step.fault.namespaces()).collect();
    let mut limits = PlannedLimits::resolve(&experiment.spec.limits, selectable, &named);
    let left = plan.steps.iter().flat_map(|step| &step.leaving).map(|pod| pod.namespace.clone());
    let (protected, refusals) = protection::namespaces(cluster, &named.iter().cloned().chain(left).collect()).await;
    plan.refusals.extend(refusals.into_iter().map(Refused::from));
    limits.protect(protected);
    limits.deny(&options.state_namespace, options.runner.as_ref());
    state_namespace(plan, cluster).await;
    match ClusterLimits::fetch(cluster, &options.state_namespace).await {
        Ok(found) => limits.cluster = found,
        Err(refusal) => plan.refusals.push(refusal.into()),
    }
    plan.limits = limits;
    let mut allowance = Allowance::of(plan);
    for step in &plan.steps {
        for target in &step.targets {
            if let Err(refusal) = allowance.allows(step, target) {
                let concerned = Some(step.name.as_str()).filter(|_| !allowance.halted());
                plan.refusals.push(Refused::of(concerned, refusal));
            }
        }
    }
}

/// Refuses when the state namespace is missing.
async fn state_namespace(plan: &mut Plan, cluster: &Cluster) {
    let name = plan.state_namespace.clone();
    let (_, refusals) = protection::namespaces(cluster, &[name.clone()].into()).await;
    let missing = format!("there is no namespace `{name}`");
    plan.refusals.extend(refusals.into_iter().map(|refusal| {
        if refusal.message != missing {
            return refusal.into();
        }
        Refusal::new(format!("the state namespace `{name}` is missing: the lease and the undo log live there"))
            .hint(format!("`kubectl create namespace {name}` makes it; `--state-namespace` names another"))
            .into()
    }));
}

/// Refuses a step that would run commands where nobody allowed it. In the cluster nobody can: the document is in a ConfigMap there, and
/// who may write that must not thereby write commands.
fn commands(step: &PlannedStep, cluster: &Cluster, options: &Options) -> Option<Refused> {
    if step.commands.is_empty() && step.undo_commands.is_empty() {
        return None;
    }
    let refusal = if options.runner.is_some() || cluster.id().context == IN_CLUSTER {
        Refusal::new("it would run commands, and a runner inside the cluster runs none, whatever it is told")
            .hint("run it from a machine of yours")
    } else if options.allow_exec {
        return None;
    } else {
        Refusal::new("it would run commands on this machine, which nobody allowed")
            .hint("read them under `calls` and `undo`; with `--allow-exec` they are run")
    };
    Some(Refused::of(Some(&step.name), refusal))
}

/// Looks at the targets: who protects them, and what room their budgets have.
async fn look(plan: &mut Plan, cluster: &Cluster) {
    let protected = protection::objects(cluster, &plan.steps).await;
    plan.refusals.extend(protected);
    let places: BTreeSet<String> = plan
        .steps
        .iter()
        .flat_map(PlannedStep::touched)
        .map(|target| target.namespace.clone())
        .filter(|namespace| !namespace.is_empty())
        .collect();
    let mut read = Vec::new();
    for namespace in places {
        match budgets::read(cluster, &namespace).await {
            Ok(namespace) => read.push(namespace),
            Err(refusal) => plan.refusals.push(refusal.into()),
        }
    }
    let (rooms, warnings) = budgets::room(&read, &plan.steps);
    plan.budgets = rooms;
    plan.warnings.extend(warnings);
}

/// Lists what the run needs to be allowed, and asks whether it is.
async fn permit(plan: &mut Plan, experiment: &Experiment, cluster: &Cluster, options: &Options) {
    plan.permissions = needed_permissions(experiment, options, &plan.steps);
    match check_permissions(cluster, &plan.permissions).await {
        Ok(checked) => {
            plan.refusals.extend(checked.refusals);
            plan.warnings.extend(checked.warnings);
        }
        Err(refusal) => plan.refusals.push(refusal.into()),
    }
}

/// Credentials that end before the run and its undo can: the fault would stay.
fn outlived(expiry: &Expiry, timing: &PlannedTiming, wall: jiff::Timestamp) -> Option<Refused> {
    let longest = timing.longest() + UNDO_BUDGET;
    let end = jiff::SignedDuration::try_from(longest).ok().and_then(|longest| wall.checked_add(longest).ok());
    if end.is_some_and(|end| expiry.at >= end) {
        return None;
    }
    let minutes = longest.as_secs().div_ceil(60);
    let refusal =
        Refusal::new(format!("{}, and the run with its undo may take {minutes} min from now", expiry.in_words(wall)));
    Some(refusal.hint("log in again for longer, or make the run shorter").into())
}

/// Actions that neither a call of the plan's own, nor a dry run, nor a simulation has shown to be allowed.
fn unverified(rules: &[CloudRule]) -> Option<String> {
    let actions: Vec<&str> = rules.iter().filter(|rule| !rule.verified).map(|rule| rule.action.as_str()).collect();
    let text = || {
        format!(
            "unverified: nothing has told yet whether these are allowed (Auto Scaling has no dry run, what does not exist yet can't be tried, and IAM \
             did not say; it does to who may call iam:SimulatePrincipalPolicy): {}",
            actions.join(", ")
        )
    };
    (!actions.is_empty()).then(text)
}

/// Says each thing once: a call that was forbidden is also a missing permission.
fn tidy(plan: &mut Plan) {
    let whole: BTreeSet<String> =
        plan.refusals.iter().filter(|r| r.step.is_none()).map(|r| r.message.clone()).collect();
    let mut seen = BTreeSet::new();
    plan.refusals.retain(|refusal| {
        let said_for_all = refusal.step.is_some() && whole.contains(&refusal.message);
        !said_for_all && seen.insert((refusal.step.clone(), refusal.message.clone()))
    });
    let mut seen = BTreeSet::new();
    plan.warnings.retain(|warning| seen.insert(warning.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{experiment, plan, pod};
    use crate::record::Target;

    #[test]
    fn a_steps_seed_depends_on_its_name_alone() {
        assert_eq!(step_seed(7, "kill"), step_seed(7, "kill"));
        assert_ne!(step_seed(7, "kill"), step_seed(8, "kill"));
        assert_ne!(step_seed(7, "kill"), step_seed(7, "kill-2"));
        // Written into plans: it must not change from version to version.
        assert_eq!(step_seed(0, ""), u64::from_be_bytes(Sha256::digest([0; 8])[..8].try_into().unwrap()));
    }

    #[test]
    fn the_same_selection_counts_once_however_much_is_taken() {
        let experiment = experiment(
            r#"[{"name": "a", "podKill": {"pods": {"namespace": "shop", "selector": "app=web", "count": 1}}},
                {"name": "b", "podKill": {"pods": {"namespace": "shop", "selector": "app=web", "percent": "50%"}, "gracePeriod": "1s"}},
                {"name": "c", "podKill": {"pods": {"namespace": "shop", "selector": "app=api"}}}]"#,
        );
        let of = |i: usize| selection(&experiment.spec.method[i]);
        assert_eq!(of(0), of(1));
        assert_ne!(of(0), of(2));
    }

    #[test]
    fn what_matches_counts_as_what_it_is() {
        let of = |kind: &str, pods_of| {
            let targets = vec![Target { kind: kind.to_owned(), ..pod("shop", "x") }];
            let of = Selectable::of(&Resolution { targets, of: 4, pods_of, ..Resolution::default() });
            (of.pods, of.nodes, of.groups)
        };
        assert_eq!(of("pod", None), (4, 0, 0));
        assert_eq!(of("deployment", Some(3)), (3, 0, 0));
        assert_eq!(of("node", None), (0, 4, 0));
        assert_eq!(of("group", None), (0, 0, 4));
    }

    #[test]
    fn credentials_must_outlive_the_run_and_its_undo() {
        let wall = jiff::Timestamp::from_second(1_000_000).unwrap();
        let timing =
            PlannedTiming { before_ms: 60_000, during_at_most_ms: 120_000, after_ms: 60_000, ..Default::default() };
        let after =
            |seconds: i64| Expiry { what: "token", at: jiff::Timestamp::from_second(1_000_000 + seconds).unwrap() };
        assert_eq!(outlived(&after(360), &timing, wall), None);
        let refused = outlived(&after(359), &timing, wall).unwrap();
        assert_eq!(
            refused.message,
            "the token expires at 1970-01-12T13:52:39Z, and the run with its undo may take 6 min from now"
        );
    }

    #[test]
    fn says_each_thing_once() {
        let mut plan = plan(Vec::new());
        let refused = |step: Option<&str>, text: &str| Refused::of(step, Refusal::new(text));
        plan.refusals = vec![
            refused(Some("a"), "denied"),
            refused(Some("a"), "too many"),
            refused(Some("a"), "too many"),
            refused(Some("b"), "too many"),
            refused(None, "denied"),
        ];
        plan.warnings = vec!["w".into(), "w".into()];
        tidy(&mut plan);
        let left: Vec<_> = plan.refusals.iter().map(|r| (r.step.as_deref(), r.message.as_str())).collect();
        assert_eq!(left, [(Some("a"), "too many"), (Some("b"), "too many"), (None, "denied")]);
        assert_eq!(plan.warnings.len(), 1);
    }
}
