//! The runner under simulation: it dies within each of its calls, in fair weather and in foul, and recovery leaves the cluster as it was.
//!
//! Every case runs on a lab of its own, from one seed, on tokio's paused clock. What fails prints the case that shows it again:
//!
//! ```text
//! SQUALL_SEED=17 cargo test --test simulation foul
//! ```
//! `SQUALL_SEEDS` says how many seeds are tried (`make simulate SEEDS=10000`).

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    reason = "helpers of tests: what fails in them fails the test"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use squall::cluster::Cluster;
use squall::lab::{Death, Lab, Shape, Site, Watched, Weather};
use squall::plan::{self, Options, Plan, Source};
use squall::record::RunVerdict;
use squall::run::recover::{Recovered, Recovery, find};
use squall::run::state::StateStore;
use squall::run::{self, Request};
use squall::scalar::EngineKind;
use squall::spec::{self, Experiment};
use tokio::task::LocalSet;

/// Seeds that are tried when nobody says how many.
const SEEDS: u64 = 150;
/// Where the lease and the undo logs lie.
const STATE: &str = "squall";
/// How long a cluster may take to heal after a run or a recovery.
const HEALS: Duration = Duration::from_mins(15);
/// The application: three replicas that end at once, and a budget.
const SHOP: &str = include_str!("../deploy/demo.yaml");

/// Steps, one or more of each fault that the lab can rehearse, and whether Squall takes them back.
const METHODS: [(&str, &str); 10] = [
    ("kill", "{name: a, at: 0s, podKill: {pods: {namespace: shop, selector: app=web, count: 1}}}"),
    (
        "kill all",
        "{name: a, at: 0s, podKill: {pods: {namespace: shop, selector: app=web, all: true}, gracePeriod: 0s}}",
    ),
    ("evict", "{name: a, at: 0s, podEvict: {pods: {namespace: shop, selector: app=web, count: 1}}}"),
    (
        "drain",
        "{name: a, at: 0s, for: 3s, nodeDrain: {nodes: {selector: kubernetes.io/os=linux, count: 1}, timeout: 2m}}",
    ),
    ("scale", "{name: a, at: 0s, for: 3s, scale: {workload: deployment/web, namespace: shop, replicas: 1}}"),
    (
        "both",
        "{name: a, at: 0s, for: 4s, scale: {workload: deployment/web, namespace: shop, replicas: 0}}, \
         {name: b, at: 1s, for: 4s, nodeDrain: {nodes: {selector: kubernetes.io/os=linux, count: 1}, timeout: 2m}}",
    ),
    (
        "suspend",
        "{name: a, at: 0s, for: 3s, asgSuspend: {groups: {all: true}, processes: [Launch, Terminate, AZRebalance]}}",
    ),
    (
        "hold a zone",
        "{name: a, at: 0s, for: 3s, asgSuspend: {groups: {all: true}, processes: [Launch], zone: us-east-1b}}",
    ),
    ("kill DNS", "{name: a, at: 0s, coreDns: {mode: kill}}"),
    ("scale DNS", "{name: a, at: 0s, for: 3s, coreDns: {mode: scaleToZero, replicas: 1}}"),
];

/// The same of faults whose effect takes a minute to be seen: they make hundreds of calls, most of which only look.
const LONG: [(&str, &str); 4] = [
    ("terminate", "{name: a, at: 0s, nodeTerminate: {nodes: {zone: us-east-1b}, mode: powerLoss}}"),
    ("scale in", "{name: a, at: 0s, nodeTerminate: {nodes: {zone: us-east-1b}, mode: scaleIn}}"),
    ("zone", "{name: a, at: 0s, for: 70s, zoneOutage: {zone: us-east-1b}}"),
    ("isolate", "{name: a, at: 0s, for: 70s, zoneOutage: {zone: us-east-1b, mode: isolate}}"),
];

/// The cluster as it is before and after: every object that lasts, and how many of the others there are.
type Everything = BTreeMap<String, Value>;

fn experiment(steps: &str) -> Experiment {
    // A node that is lost is missed after some 50 s only.
    let during = if steps.contains("for: 70s") { 75 } else { 6 };
    let text = format!(
        "apiVersion: squall.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: simulated}}\nspec:\n  \
         aws: {{account: \"123456789012\", region: us-east-1, cluster: lab}}\n  probes:\n    \
         - {{name: web, rate: 20/s, timeout: 500ms, http: {{url: \"http://web.shop.svc/\"}}}}\n  steadyState:\n    \
         - {{probe: web, tolerance: \"outage <= 1m\"}}\n  method: [{steps}]\n  \
         timing: {{before: 1s, during: {during}s, after: 1s}}\n  limits: {{pods: 10, nodes: 1, groups: 1, namespaces: [shop, kube-system]}}\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("simulated.yaml");
    std::fs::write(&path, text).unwrap();
    match spec::read(&path.to_string_lossy(), &[]) {
        Ok(loaded) => loaded.experiment,
        Err(diagnostics) => panic!("{diagnostics:?}"),
    }
}

fn wall() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000).unwrap()
}

/// One case: a cluster with the shop on it, and what it was like before anything happened.
struct Case {
    lab: Lab,
    before: Everything,
    seed: u64,
    reports: tempfile::TempDir,
}

impl Case {
    async fn new(seed: u64) -> Self {
        let lab = Lab::new(&Shape {
            nodes: 3,
            zones: 3,
            seed,
            wall: wall(),
            name: "lab".to_owned(),
            aws: Some(Site::default()),
        });
        lab.apply(SHOP).await.unwrap();
        lab.settled().await.unwrap();
        let before = lab.everything();
        Self { lab, before, seed, reports: tempfile::tempdir().unwrap() }
    }

    async fn plan(&self, experiment: &Experiment, cluster: &Cluster) -> Plan {
        let options = Options { wall: wall(), ..Options::new(self.seed, STATE) };
        let source = Source { name: "simulated".to_owned(), sha256: None };
        let plan = plan::draw(experiment, &source, cluster, &options).await.unwrap();
        assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
        plan
    }

    /// Runs an experiment in this weather. `None`: the runner died.
    async fn run(&self, experiment: &Experiment, weather: Weather) -> (Option<RunVerdict>, Watched) {
        let plan = self.plan(experiment, &self.lab.cluster()).await;
        let (cluster, mut watched) = self.lab.cluster_in(weather);
        // The lab has no signals to send.
        let (_signals, signals) = tokio::sync::mpsc::unbounded_channel();
        let request = Request {
            experiment: experiment.clone(),
            plan,
            cluster,
            predicted: None,
            reports: self.reports.path().to_owned(),
            run: run::run_id(wall(), "simulated", self.seed),
            engine: EngineKind::Lab,
            instrument: self.lab.instrument(),
            guard: None,
            by: "somebody@somewhere".to_owned(),
            wall: wall(),
            signals,
            refresh: Box::new(|_, _| Ok(())),
        };
        let ended = tokio::select! {
            biased;
            ended = Box::pin(run::run(request, |_| {})) => Some(ended.unwrap().verdict),
            () = watched.death() => None,
        };
        (ended, watched)
    }

    /// Recovers from the files of this machine and the copies in the cluster, or from the copies alone.
    async fn recover(&self, reports: &Path) -> Vec<Recovered> {
        let cluster = self.lab.cluster();
        let store = StateStore::new(cluster.clone(), STATE);
        let found = find(&store, reports, None).await.unwrap();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        if found.leftovers.is_empty() {
            return Vec::new();
        }
        let recovery = Recovery {
            cluster: &cluster,
            store: &store,
            reports,
            holder: "recover somebody@somewhere 1".to_owned(),
            force: false,
            allow_exec: false,
            wall: wall(),
        };
        Box::pin(recovery.run(&found.leftovers, |_| {})).await.unwrap()
    }

    /// Waits until the cluster is as it was. What differs, if it does not become so.
    async fn healed(&self) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + HEALS;
        loop {
            let now = self.lab.everything();
            if now == self.before {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(difference(&self.before, &now));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Recovers twice, and compares: the second time nothing is left to be taken back.
    async fn recovered(&self, reports: &Path) -> Result<usize, String> {
        let recovered = self.recover(reports).await;
        let left: Vec<_> = recovered.iter().flat_map(|run| &run.left).collect();
        let problems: Vec<_> = recovered.iter().filter_map(|run| run.problem.as_ref()).collect();
        if !left.is_empty() || !problems.is_empty() {
            return Err(format!("left after recovery: {left:?} {problems:?}"));
        }
        self.healed().await?;
        let again = self.recover(reports).await;
        if !again.is_empty() {
            return Err(format!("a second recovery finds {again:?}"));
        }
        Ok(recovered.len())
    }
}

fn difference(before: &Everything, now: &Everything) -> String {
    let keys = before.keys().chain(now.keys()).collect::<std::collections::BTreeSet<_>>();
    let differ = keys.into_iter().filter(|key| before.get(*key) != now.get(*key));
    let show = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    let lines: Vec<_> = differ
        .map(|key| format!("{key}:\n    was {}\n    is  {}", show(before.get(key)), show(now.get(key))))
        .collect();
    format!("the cluster is not as it was:\n  {}", lines.join("\n  "))
}

/// Runs a case on a paused clock of its own.
fn simulate<T>(case: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, case)
}

#[test]
fn a_run_on_a_fair_day_passes_and_leaves_everything_as_it_was() {
    for (name, steps) in METHODS.into_iter().chain(LONG) {
        simulate(async {
            let case = Case::new(1).await;
            let (verdict, _) = case.run(&experiment(steps), Weather::default()).await;
            assert_eq!(verdict, Some(RunVerdict::Passed), "{name}");
            case.healed().await.unwrap();
            assert!(case.recover(case.reports.path()).await.is_empty(), "{name}");
        });
    }
}

#[test]
fn whichever_call_the_runner_dies_in_recovery_leaves_everything_as_it_was() {
    let (mut deaths, mut undone) = (0, 0);
    for (name, steps) in METHODS.into_iter().chain(LONG) {
        let experiment = experiment(steps);
        let calls = simulate(async {
            let case = Case::new(1).await;
            case.run(&experiment, Weather::default()).await.1.calls()
        });
        // Each call until the harm is done; then, where there are hundreds, every sixtieth.
        for call in (1..=calls).filter(|call| *call <= 80 || call % 60 == 0) {
            for carried_out in [false, true] {
                simulate(async {
                    let case = Case::new(1).await;
                    let weather = Weather { death: Some(Death { call, carried_out }), ..Weather::default() };
                    let (verdict, _) = case.run(&experiment, weather).await;
                    assert_eq!(verdict, None, "{name}: the runner outlived call {call} of {calls}");
                    deaths += 1;
                    // By turns from what this machine knows, and from what the cluster does.
                    let elsewhere = tempfile::tempdir().unwrap();
                    let reports = if call % 2 == 0 { case.reports.path() } else { elsewhere.path() };
                    match case.recovered(reports).await {
                        Ok(runs) => undone += runs,
                        Err(why) => panic!("{name}: dead in call {call} (carried out: {carried_out}): {why}"),
                    }
                });
            }
        }
    }
    eprintln!("{deaths} deaths; {undone} of them left a log, which was followed");
    assert!(undone * 4 > deaths, "most deaths left nothing to follow: {undone} of {deaths}");
}

#[test]
fn in_foul_weather_nothing_is_left_behind() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SQUALL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SQUALL_SEEDS").unwrap_or(SEEDS),
    };
    let methods: Vec<_> = METHODS.into_iter().chain(LONG).collect();
    for seed in seeds {
        let (name, steps) = methods[usize::try_from(seed).unwrap() % methods.len()];
        let result = simulate(async {
            let case = Case::new(seed).await;
            let rough = f64::from(u32::try_from(seed % 7).unwrap()) / 100.0;
            let death = (seed % 3 == 0).then_some(Death { call: 1 + seed * 7919 % 90, carried_out: seed % 2 == 0 });
            let late = Duration::from_millis(seed % 5 * 100);
            let weather = Weather { seed, refused: rough, unsent: rough, lost: rough, late, death };
            // Refused, aborted, inconclusive: all of it may be right in such weather, as long as nothing is left.
            let _verdict = case.run(&experiment(steps), weather).await;
            case.recovered(case.reports.path()).await
        });
        if let Err(why) = result {
            panic!("SQUALL_SEED={seed} ({name}): {why}");
        }
    }
}
