//! `run`: experiments, one after another, each waiting for the last to heal.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;

use super::predicted::Predictions;
use super::recover::Recover;
use super::{Global, Sets, World};
use crate::cluster::{Cluster, ConnectError};
use crate::plan::{Plan, Source, drift};
use crate::probe::ThisMachine;
use crate::record::{Exit, IN_CLUSTER, Predicted, durable};
use crate::report::{self, Report};
use crate::run::{self, Request, signals};
use crate::scalar::{EngineKind, Selector};
use crate::spec::{self, Experiment, Loaded};
use crate::term::Terminal;

/// `squall run`.
#[derive(Debug, Args)]
pub(super) struct RunVerb {
    /// Experiment files, and folders of them
    #[arg(required_unless_present = "plan", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Follow a plan that `squall plan --out` wrote; refused when cluster or targets have drifted
    #[arg(long, value_name = "PATH", conflicts_with_all = ["paths", "seed", "sets"])]
    plan: Option<PathBuf>,
    /// Only experiments whose labels match, as `kubectl -l` takes it
    #[arg(long, value_name = "SELECTOR")]
    select: Option<Selector>,
    /// Write the outcome of all experiments as `JUnit` XML
    #[arg(long, value_name = "PATH")]
    junit: Option<PathBuf>,
    /// A rehearsal of the same experiment: its run record, or what `squall rehearse --seeds N` wrote; may be repeated. The report sets
    /// what it predicted beside what was observed
    #[arg(long, value_name = "PATH")]
    predicted: Vec<PathBuf>,
    /// Folder for the run records
    #[arg(long, default_value = "reports", value_name = "DIR")]
    reports: PathBuf,
    /// Seed of every random choice; a new one each time when left out
    #[arg(long)]
    seed: Option<u64>,
    /// What sends the probes' requests
    #[arg(long, value_enum, default_value = "native", value_name = "NAME")]
    engine: Engine,
    /// Start no second process that takes back what this one leaves when it is killed
    #[arg(long)]
    no_guard: bool,
    /// Let steps run commands on this machine: read them in `squall plan` first
    #[arg(long)]
    allow_exec: bool,
    #[command(flatten)]
    sets: Sets,
}

/// What sends the probes' requests.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Engine {
    /// Squall's own: every protocol, every step timed
    Native,
    /// The HTTP client of that name, to cross-check the native one: HTTP only, no steps, some classes coarser
    Reqwest,
}

impl From<Engine> for EngineKind {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Native => Self::Native,
            Engine::Reqwest => Self::Reqwest,
        }
    }
}

/// What is to be run.
struct Job {
    experiment: Experiment,
    source: String,
    loaded: Option<Loaded>,
    old_plan: Option<Plan>,
    predicted: Option<Predicted>,
}

impl Job {
    /// SHA-256 of the experiment's file, where there was one.
    fn sha256(&self) -> Option<String> {
        match (&self.loaded, &self.old_plan) {
            (Some(loaded), _) => Some(loaded.sha256.clone()),
            (None, old) => old.as_ref().and_then(|old| old.source_sha256.clone()),
        }
    }
}

impl RunVerb {
    /// Loads everything first, so that a mistake in the last file keeps the first from running.
    pub(super) async fn run(&self, global: &Global, mut term: Terminal, world: &World) -> Exit {
        let jobs = match self.jobs(&mut term).and_then(|jobs| self.with_predictions(jobs, &mut term)) {
            Ok(jobs) => jobs,
            Err(exit) => return exit,
        };
        let cluster = match self.connect(global, &mut term, &jobs, world).await {
            Ok(cluster) => cluster,
            Err(e) => return term.refused(&e.message, e.hint.as_deref()),
        };
        let term = Rc::new(RefCell::new(term));
        let mut all = Vec::new();
        let mut exit = Exit::Passed;
        for job in jobs {
            let (ended, report) = Box::pin(self.one(job, &cluster, global, &term, world)).await;
            exit = exit.worse(ended);
            all.extend(report);
            if let Some(path) = &self.junit
                && let Err(e) = write_junit(path, &all)
            {
                exit = exit.worse(term.borrow_mut().errored(&format!("can't write {}: {e}", path.display())));
            }
            if matches!(ended, Exit::UndoIncomplete | Exit::Aborted | Exit::Errored) {
                // What follows must not act on a cluster that was left in an unknown state, or whose person said stop.
                break;
            }
        }
        exit
    }

    fn jobs(&self, term: &mut Terminal) -> Result<Vec<Job>, Exit> {
        if let Some(path) = &self.plan {
            return self.planned(path, term).map(|job| vec![job]);
        }
        let files = match experiment_files(&self.paths) {
            Ok(files) => files,
            Err(e) => return Err(term.usage(&e, None)),
        };
        let loaded = load(&files, self.select.as_ref(), &self.sets, self.engine.into(), term)?;
        let job = |(source, loaded): (String, Loaded)| Job {
            experiment: loaded.experiment.clone(),
            source,
            loaded: Some(loaded),
            old_plan: None,
            predicted: None,
        };
        Ok(loaded.into_iter().map(job).collect())
    }

    /// Gives each experiment what its rehearsals predicted. A prediction of another experiment is a mistake.
    fn with_predictions(&self, mut jobs: Vec<Job>, term: &mut Terminal) -> Result<Vec<Job>, Exit> {
        let names: Vec<String> = jobs.iter().map(|job| job.experiment.metadata.name.to_string()).collect();
        let predictions = Predictions::read(&self.predicted, &names);
        let given = predictions.and_then(|predictions| {
            for job in &mut jobs {
                job.predicted = predictions.of(&job.experiment, job.sha256().as_deref())?;
            }
            Ok(())
        });
        given.map(|()| jobs).map_err(|unfit| term.usage(&unfit.message, unfit.hint.as_deref()))
    }

    fn planned(&self, path: &Path, term: &mut Terminal) -> Result<Job, Exit> {
        let plan = Plan::read(path).map_err(|e| term.refused(&format!("{}: {e}", path.display()), None))?;
        let experiment = serde_json::from_value(plan.document.clone()).map_err(|e| {
            term.refused(&format!("{}: the plan's experiment can't be read: {e}", path.display()), None)
        })?;
        if let Some(unfit) = spec::unfit(&experiment, self.engine.into()).first() {
            return Err(term.usage(&format!("{}: {}", path.display(), unfit.message), Some(&unfit.hint)));
        }
        Ok(Job { experiment, source: plan.source.clone(), loaded: None, old_plan: Some(plan), predicted: None })
    }

    /// The named cluster; a plan names its own, and on a terminal a person may.
    async fn connect(
        &self,
        global: &Global,
        term: &mut Terminal,
        jobs: &[Job],
        world: &World,
    ) -> Result<Cluster, ConnectError> {
        let planned = jobs.iter().find_map(|job| job.old_plan.as_ref()).map(|plan| plan.cluster.context.clone());
        if let (None, Some(context)) = (&global.context, planned) {
            return global.connect_to(Some(context).filter(|c| c != IN_CLUSTER), false, world).await;
        }
        match global.connect(false, world).await {
            Err(e) if e.implicit.is_some() => {
                let current = e.implicit.clone().unwrap_or_default();
                if term.confirms_context(&current) {
                    global.connect_to(Some(current), false, world).await
                } else {
                    Err(e)
                }
            }
            answer => answer,
        }
    }

    async fn one(
        &self,
        job: Job,
        cluster: &Cluster,
        global: &Global,
        term: &Rc<RefCell<Terminal>>,
        world: &World,
    ) -> (Exit, Option<Report>) {
        let cluster = &match super::with_cloud(cluster, &job.experiment).await {
            Ok(cluster) => cluster,
            Err(e) => return (term.borrow_mut().refused(&e.message, e.hint.as_deref()), None),
        };
        let plan = match self.plan_of(&job, cluster, global, world).await {
            Ok(plan) => plan,
            Err(e) => return (term.borrow_mut().refused(&e, None), None),
        };
        if job.old_plan.is_none() && !term.borrow().wants_json() {
            term.borrow_mut().plan(&plan);
        }
        let run = run::run_id((world.wall)(), plan.experiment.as_str(), plan.seed);
        let guard = if self.no_guard {
            None
        } else {
            match Recover::guard_of(&run, &self.reports, self.allow_exec, cluster, global) {
                Ok(guard) => Some(guard),
                Err(e) => return (term.borrow_mut().errored(&format!("can't find this program itself: {e}")), None),
            }
        };
        let request = Request {
            experiment: job.experiment,
            plan,
            cluster: cluster.clone(),
            predicted: job.predicted,
            reports: self.reports.clone(),
            disk: durable(),
            run,
            engine: self.engine.into(),
            instrument: Rc::new(ThisMachine),
            guard,
            by: world.by.clone(),
            wall: (world.wall)(),
            signals: signals::listen(),
            refresh: Box::new(report::write_all),
        };
        carry_out(request, term).await
    }

    async fn plan_of(&self, job: &Job, cluster: &Cluster, global: &Global, world: &World) -> Result<Plan, String> {
        let seed = job.old_plan.as_ref().map(|old| old.seed).or(self.seed).unwrap_or_else(rand::random);
        let experiment = &job.experiment;
        let source = Source { name: job.source.clone(), sha256: job.sha256() };
        let mut plan = super::plan::drawn(experiment, source, cluster, global, (seed, self.allow_exec), world).await?;
        if let Some(old) = &job.old_plan {
            let drifted = drift(old, &plan);
            plan.refusals.extend(drifted.into_iter().map(|message| crate::plan::Refused {
                step: None,
                message: format!("drifted since it was planned: {message}"),
                hint: Some("draw the plan again and look at it".to_owned()),
            }));
        }
        Ok(plan)
    }
}

/// Loads the experiments of these files that are selected: all of them, or none where one has a mistake, or a probe that the engine can't
/// measure.
pub(super) fn load(
    files: &[PathBuf],
    select: Option<&Selector>,
    sets: &Sets,
    engine: EngineKind,
    term: &mut Terminal,
) -> Result<Vec<(String, Loaded)>, Exit> {
    let loaded = super::document::load_all(files, sets, term);
    if loaded.iter().any(Option::is_none) {
        return Err(Exit::Usage);
    }
    let chosen: Vec<(String, Loaded)> = files
        .iter()
        .zip(loaded.into_iter().flatten())
        .filter(|(_, loaded)| select.is_none_or(|s| s.matches(&loaded.experiment.metadata.labels)))
        .map(|(file, loaded)| (file.display().to_string(), loaded))
        .collect();
    let unfit: Vec<_> = chosen.iter().filter_map(|(_, loaded)| loaded.fits(engine).err()).collect();
    if !unfit.is_empty() {
        for diagnostics in &unfit {
            term.diagnostics(diagnostics);
        }
        return Err(Exit::Usage);
    }
    if chosen.is_empty() {
        let what = select.map_or("there is no experiment in these paths".to_owned(), |s| {
            format!("`--select {s}` selects none of the {} experiments", files.len())
        });
        return Err(term.refused(&what, Some("a run of nothing is never green")));
    }
    Ok(chosen)
}

/// Carries out a run, writes its report, and prints what came of it.
pub(super) async fn carry_out(request: Request, term: &Rc<RefCell<Terminal>>) -> (Exit, Option<Report>) {
    let (listener, reports) = (Rc::clone(term), request.reports.clone());
    let running = Box::pin(run::run(request, move |event| listener.borrow_mut().on_event(event)));
    let ended = match running.await {
        Ok(ended) => ended,
        Err(e) => {
            let text = format!("the run record can't be written in {}: {e}", reports.display());
            return (term.borrow_mut().refused(&text, None), None);
        }
    };
    let mut exit = ended.exit;
    if let Some(failure) = &ended.record_failure {
        let text = format!("`events.jsonl` is not complete: {failure}");
        exit = exit.worse(term.borrow_mut().errored(&text));
    }
    if let Err(e) = report::write_all(&ended.dir, &ended.events) {
        let text = format!("can't write the report to {}: {e}", ended.dir.path().display());
        exit = exit.worse(term.borrow_mut().errored(&text));
    }
    let report = Report::from_events(&ended.events);
    term.borrow_mut().summary(&report, Some(ended.dir.path()));
    (exit, Some(report))
}

/// The files themselves, and every `.yaml` and `.yml` of the folders, in order.
pub(super) fn experiment_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|e| format!("can't read the folder {}: {e}", path.display()))?;
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml") && p.is_file())
            .collect();
        if found.is_empty() {
            return Err(format!("the folder {} has no .yaml file", path.display()));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

pub(super) fn write_junit(path: &Path, reports: &[Report]) -> Result<(), String> {
    let text = report::junit(reports).map_err(|e| e.to_string())?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    }
    std::fs::write(path, text).map_err(|e| e.to_string())
}
