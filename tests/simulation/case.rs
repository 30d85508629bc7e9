//! One case: a cluster with an application on it, what is done to it, and what it was like before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use squall::cluster::Cluster;
use squall::lab::{Lab, Shape, Site, Watched, Weather};
use squall::plan::{self, Options, Plan, Source};
use squall::record::{Disk, RunVerdict, volatile};
use squall::run::recover::{Found, Recovered, Recovery, find};
use squall::run::state::StateStore;
use squall::run::{self, Request};
use squall::scalar::EngineKind;
use squall::spec::Experiment;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::steps::STATE;

/// How long a cluster may take to heal after a run or a recovery.
const HEALS: Duration = Duration::from_mins(15);
/// The application: three replicas that serve on for a while when they are ended, and a budget.
pub(crate) const SHOP: &str = include_str!("../../deploy/demo.yaml");

/// The cluster as it is before and after: every object that lasts, and how many of the others there are.
type Everything = BTreeMap<String, Value>;

/// The wall clock when a case begins.
pub(crate) fn wall() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000).unwrap()
}

/// A folder for one case; in memory where the machine has such a place.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Runs a case on a paused clock of its own.
pub(crate) fn simulate<T>(case: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, case)
}

/// What a runner has to do with, beside the cluster.
pub(crate) struct Machine {
    pub(crate) weather: Weather,
    pub(crate) disk: Arc<dyn Disk>,
    /// By how much its wall clock is wrong.
    pub(crate) clock: SignedDuration,
}

impl Machine {
    /// One on which all is well.
    pub(crate) fn fair() -> Self {
        Self::in_weather(Weather::default())
    }

    pub(crate) fn in_weather(weather: Weather) -> Self {
        Self { weather, disk: volatile(), clock: SignedDuration::ZERO }
    }

    fn wall(&self) -> jiff::Timestamp {
        wall().checked_add(self.clock).unwrap()
    }
}

pub(crate) struct Case {
    pub(crate) lab: Lab,
    before: Everything,
    seed: u64,
    pub(crate) reports: tempfile::TempDir,
}

impl Case {
    /// A cluster with these workloads on it, all of which run; `Err`: they do not come up.
    pub(crate) async fn with(seed: u64, manifests: &str) -> Result<Self, String> {
        let lab = Lab::new(&Shape {
            nodes: 3,
            zones: 3,
            seed,
            wall: wall(),
            name: "lab".to_owned(),
            aws: Some(Site::default()),
        });
        lab.apply(manifests).await.map_err(|e| e.to_string())?;
        lab.settled().await.map_err(|e| e.to_string())?;
        let before = lab.everything();
        Ok(Self { lab, before, seed, reports: folder() })
    }

    pub(crate) async fn new(seed: u64) -> Self {
        Self::with(seed, SHOP).await.unwrap()
    }

    /// The plan; `Err`: why there is none that may be run.
    pub(crate) async fn plan(&self, experiment: &Experiment, cluster: &Cluster) -> Result<Plan, String> {
        let options = Options { wall: wall(), ..Options::new(self.seed, STATE) };
        let source = Source { name: "simulated".to_owned(), sha256: None };
        let plan = plan::draw(experiment, &source, cluster, &options).await.map_err(|e| format!("{e:?}"))?;
        if plan.refusals.is_empty() { Ok(plan) } else { Err(format!("{:?}", plan.refusals)) }
    }

    /// Runs an experiment. `None`: the runner died.
    pub(crate) async fn run(&self, experiment: &Experiment, machine: &Machine) -> (Option<RunVerdict>, Watched) {
        let plan = self.plan(experiment, &self.lab.cluster()).await.unwrap();
        self.carry_out(experiment, plan, machine).await
    }

    /// Runs a plan. `None`: the runner died.
    pub(crate) async fn carry_out(
        &self,
        experiment: &Experiment,
        plan: Plan,
        machine: &Machine,
    ) -> (Option<RunVerdict>, Watched) {
        let (cluster, mut watched) = self.lab.cluster_in(machine.weather.clone());
        // The lab has no signals to send.
        let (_signals, signals) = tokio::sync::mpsc::unbounded_channel();
        let request = Request {
            experiment: experiment.clone(),
            plan,
            cluster,
            predicted: None,
            reports: self.reports.path().to_owned(),
            disk: Arc::clone(&machine.disk),
            run: run::run_id(wall(), "simulated", self.seed),
            engine: EngineKind::Lab,
            instrument: self.lab.instrument(),
            guard: None,
            by: "somebody@somewhere".to_owned(),
            wall: machine.wall(),
            signals,
            refresh: Box::new(|_, _| Ok(())),
        };
        let ended = tokio::select! {
            biased;
            // Without a place for its record nothing is touched, and that is no verdict of a run.
            ended = Box::pin(run::run(request, |_| {})) => Some(ended.map_or(RunVerdict::Refused, |ended| ended.verdict)),
            () = watched.death() => None,
        };
        (ended, watched)
    }

    /// What `squall recover` would find.
    pub(crate) async fn find(&self, cluster: &Cluster, reports: &Path) -> Result<Found, String> {
        let store = StateStore::new(cluster.clone(), STATE);
        let found = find(&store, reports, None).await.map_err(|e| e.to_string())?;
        if found.problems.is_empty() { Ok(found) } else { Err(format!("{:?}", found.problems)) }
    }

    /// Takes back what was found, as this process of somebody's.
    pub(crate) async fn follow(
        &self,
        cluster: &Cluster,
        found: &Found,
        reports: &Path,
        process: u32,
    ) -> Result<Vec<Recovered>, String> {
        if found.leftovers.is_empty() {
            return Ok(Vec::new());
        }
        let recovery = Recovery {
            cluster,
            store: &StateStore::new(cluster.clone(), STATE),
            reports,
            disk: volatile(),
            holder: format!("recover somebody@somewhere {process}"),
            force: false,
            allow_exec: false,
            wall: wall(),
        };
        Box::pin(recovery.run(&found.leftovers, |_| {})).await.map_err(|e| e.to_string())
    }

    /// Recovers once; `Ok`: how many runs were followed, and nothing of them is left.
    pub(crate) async fn recover(&self, cluster: &Cluster, reports: &Path, process: u32) -> Result<usize, String> {
        let found = self.find(cluster, reports).await?;
        let recovered = self.follow(cluster, &found, reports, process).await?;
        let left: Vec<_> = recovered.iter().flat_map(|run| &run.left).collect();
        let problems: Vec<_> = recovered.iter().filter_map(|run| run.problem.as_ref()).collect();
        if left.is_empty() && problems.is_empty() {
            Ok(recovered.len())
        } else {
            Err(format!("left after recovery: {left:?} {problems:?}"))
        }
    }

    /// Waits until the cluster is as it was: how long that took. What differs, if it does not become so.
    pub(crate) async fn healed(&self) -> Result<Duration, String> {
        let began = Instant::now();
        loop {
            let now = self.lab.everything();
            if now == self.before {
                return Ok(began.elapsed());
            }
            if began.elapsed() >= HEALS {
                return Err(difference(&self.before, &now));
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Recovers until nothing is found any more, which must be the case after the first time, and compares.
    pub(crate) async fn recovered(&self, reports: &Path) -> Result<usize, String> {
        let cluster = self.lab.cluster();
        let recovered = self.recover(&cluster, reports, 1).await?;
        self.healed().await?;
        match self.recover(&cluster, reports, 1).await? {
            0 => Ok(recovered),
            again => Err(format!("a second recovery finds {again} runs")),
        }
    }
}

fn difference(before: &Everything, now: &Everything) -> String {
    let keys = before.keys().chain(now.keys()).collect::<BTreeSet<_>>();
    let differ = keys.into_iter().filter(|key| before.get(*key) != now.get(*key));
    let show = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    let lines: Vec<_> = differ
        .map(|key| format!("{key}:\n    was {}\n    is  {}", show(before.get(key)), show(now.get(key))))
        .collect();
    format!("the cluster is not as it was:\n  {}", lines.join("\n  "))
}
