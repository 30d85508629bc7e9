//! `rehearse`: experiments on the embedded cluster, in its own time.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use tokio::task::LocalSet;

use super::predicted::{Prediction, command};
use super::run::{carry_out, experiment_files, load, write_junit};
use super::twin::Ground;
use super::{Global, Sets, World};
use crate::lab::{Assumed, Groups, Lab, Shape, Site};
use crate::plan::Source;
use crate::record::{Exit, volatile};
use crate::report::{self, Report};
use crate::run::signals::Aside;
use crate::run::{self, Request};
use crate::scalar::{Duration, EngineKind, Selector};
use crate::spec::{Aws, Experiment, Loaded};
use crate::term::{Rehearsed, Terminal};

/// The application of experiments/pod-kill.yaml: what a lab has when nobody says otherwise.
const SHOP: &str = include_str!("../../deploy/demo.yaml");

/// The default of `--node-monitor-grace-period`, which a report's name of the lab leaves out.
const NODE_GRACE: std::time::Duration = std::time::Duration::from_secs(50);

/// `squall rehearse`.
#[derive(Debug, Args)]
pub(super) struct Rehearse {
    /// Experiment files, and folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    furniture: Furniture,
    /// Rehearse on a twin that `squall twin save` wrote; with `--context`, on one that is read now
    #[arg(long, value_name = "FILE", conflicts_with_all = ["manifests", "nodes", "zones"])]
    twin: Option<PathBuf>,
    /// Only experiments whose labels match, as `kubectl -l` takes it
    #[arg(long, value_name = "SELECTOR")]
    select: Option<Selector>,
    /// Seed of every random choice, the lab's too; a new one each time when left out
    #[arg(long)]
    seed: Option<u64>,
    /// Rehearse so many times, with this seed and those after it, and tell how often it passed; keeps the records of what did not
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    seeds: u32,
    /// Write the outcome of all rehearsals as `JUnit` XML
    #[arg(long, value_name = "PATH")]
    junit: Option<PathBuf>,
    /// Folder for the run records
    #[arg(long, default_value = "reports", value_name = "DIR")]
    reports: PathBuf,
    #[command(flatten)]
    sets: Sets,
}

/// What a lab is made of.
#[derive(Debug, Args)]
pub(super) struct Furniture {
    /// What runs on the lab: Kubernetes manifests; without any, the shop of `make demo`
    #[arg(long = "manifest", value_name = "FILE")]
    manifests: Vec<PathBuf>,
    /// Nodes of the lab
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    nodes: u16,
    /// Zones that they lie in
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=26))]
    zones: u16,
    /// Auto Scaling groups of the nodes, where the experiment names an AWS account: one over all zones, one for each, or both
    #[arg(long, default_value = "across", value_name = "across|per-zone|both", value_parser = groups)]
    pub(super) groups: Groups,
    /// How long a node may be silent until it counts as unreachable: the controller manager's option of this name
    #[arg(long, default_value = "50s", value_name = "TIME")]
    node_monitor_grace_period: Duration,
    /// How long something takes there, if not what docs/lab.md says, where its name stands: `boot=90s`
    #[arg(long, value_name = "NAME=TIME")]
    assume: Vec<Assumed>,
}

fn groups(text: &str) -> Result<Groups, &'static str> {
    let known = Groups::NAMES.iter().find(|(name, _)| *name == text);
    known.map(|(_, groups)| *groups).ok_or("write `across`, `per-zone` or `both`")
}

/// The workloads of a lab: where each text came from, and the text.
pub(super) type Manifests = Vec<(String, String)>;

impl Rehearse {
    /// Rehearses each experiment, on a cluster of its own.
    pub(super) async fn run(&self, global: &Global, mut term: Terminal, world: &World) -> Exit {
        let files = match experiment_files(&self.paths) {
            Ok(files) => files,
            Err(e) => return term.usage(&e, None),
        };
        let jobs = match load(&files, self.select.as_ref(), &self.sets, EngineKind::Lab, &mut term) {
            Ok(jobs) => jobs,
            Err(exit) => return exit,
        };
        for (source, loaded) in &jobs {
            if let Some((step, why)) = unrehearsable(&loaded.experiment) {
                let text = format!("{source}: step `{step}` can't be rehearsed: {why}");
                return term.refused(&text, Some("`squall faults` says which faults can"));
            }
        }
        let ground = match self.ground(&jobs, global, world, &mut term) {
            Ok(ground) => ground,
            Err(exit) => return exit,
        };
        let in_cloud = |(_, loaded): &&(_, Loaded)| loaded.experiment.spec.aws.is_some();
        if let (Some(_), Some((source, _))) = (&ground, jobs.iter().find(in_cloud)) {
            let text = format!(
                "{source}: `spec.aws`: a twin holds no AWS account, so what acts on one can't be rehearsed on it"
            );
            return term.refused(&text, Some("leave `--twin` and `--context` out: the lab's own nodes are instances"));
        }
        let manifests = if ground.is_some() { Ok(Vec::new()) } else { self.furniture.manifests(&mut term) };
        let manifests = match manifests {
            Ok(manifests) => manifests,
            Err(exit) => return exit,
        };
        let term = Rc::new(RefCell::new(term));
        let signals = Aside::begin();
        let (mut exit, mut reports) = (Exit::Passed, Vec::new());
        for (source, loaded) in jobs {
            let (ground, manifests) = (ground.as_ref(), &manifests);
            let rehearsal =
                Rehearsal { verb: self, source, loaded, manifests, ground, global, world, signals: &signals };
            let local = LocalSet::new();
            let (ended, mut told) = local.run_until(rehearsal.all(&term)).await;
            exit = exit.worse(ended);
            reports.append(&mut told);
            if matches!(ended, Exit::Aborted | Exit::Errored) {
                // A signal, or our own mistake.
                break;
            }
        }
        if let Some(path) = &self.junit
            && let Err(e) = write_junit(path, &reports)
        {
            exit = exit.worse(term.borrow_mut().errored(&format!("can't write {}: {e}", path.display())));
        }
        exit
    }

    /// The twin to begin as, where one is named.
    fn ground(
        &self,
        jobs: &[(String, Loaded)],
        global: &Global,
        world: &World,
        term: &mut Terminal,
    ) -> Result<Option<Ground>, Exit> {
        if !global.names_cluster() {
            let read = self.twin.as_deref().map(Ground::of_file).transpose();
            return read.map_err(|(message, hint)| term.usage(&message, hint.as_deref()));
        }
        let other = [(self.twin.is_some(), "--twin"), (!self.furniture.manifests.is_empty(), "--manifest")];
        if let Some((_, other)) = other.into_iter().find(|(given, _)| *given) {
            let text = format!("`{other}` and a cluster can't both be rehearsed on");
            return Err(term.usage(&text, Some("leave out `--context` and `--kubeconfig`, or the other")));
        }
        let experiments: Vec<&Experiment> = jobs.iter().map(|(_, loaded)| &loaded.experiment).collect();
        let read = Ground::of_cluster(global, &experiments, world);
        read.map(Some).map_err(|(message, hint)| term.refused(&message, hint.as_deref()))
    }
}

impl Furniture {
    /// The manifests' texts.
    pub(super) fn manifests(&self, term: &mut Terminal) -> Result<Manifests, Exit> {
        if self.manifests.is_empty() {
            term.note("no `--manifest`: the lab runs the shop of `make demo` (deploy/demo.yaml)");
            return Ok(vec![("deploy/demo.yaml".to_owned(), SHOP.to_owned())]);
        }
        let read = |path: &PathBuf| match std::fs::read_to_string(path) {
            Ok(text) => Ok((path.display().to_string(), text)),
            Err(e) => Err(format!("can't read the manifest {}: {e}", path.display())),
        };
        self.manifests.iter().map(read).collect::<Result<_, _>>().map_err(|e| term.usage(&e, None))
    }

    /// The account that an experiment names, with these groups.
    fn site(&self, aws: &Aws) -> Site {
        Site {
            account: aws.account.to_string(),
            region: aws.region.to_string(),
            cluster: aws.cluster.clone(),
            groups: self.groups,
        }
    }

    /// A lab with these nodes, which are instances of an account where there is one.
    pub(super) fn lab(&self, seed: u64, wall: jiff::Timestamp, aws: Option<Site>) -> Lab {
        let (nodes, zones) = (self.nodes.into(), self.zones.into());
        // By its name a report tells the options that make the same lab again.
        let mut name = self.named(format!("lab --nodes {} --zones {}", self.nodes, self.zones));
        if self.groups != Groups::default() {
            write!(name, " --groups {}", self.groups.name()).unwrap_or_default();
        }
        name.extend(self.manifests.iter().map(|path| format!(" --manifest {}", path.display())));
        let lab = Lab::new(&Shape { nodes, zones, seed, wall, name, aws });
        self.tell(&lab);
        lab
    }

    /// Tells a lab the times that its user knows better.
    fn tell(&self, lab: &Lab) {
        lab.set_node_grace(self.node_monitor_grace_period.get());
        for assumed in &self.assume {
            lab.assume(*assumed);
        }
    }

    /// A lab's name with the options that hold for every lab.
    fn named(&self, mut name: String) -> String {
        let grace = self.node_monitor_grace_period;
        if grace.get() != NODE_GRACE {
            write!(name, " --node-monitor-grace-period {grace}").unwrap_or_default();
        }
        name.extend(self.assume.iter().map(|assumed| format!(" --assume {assumed}")));
        name
    }
}

/// The first step whose fault the lab has no model for, and what it lacks.
fn unrehearsable(experiment: &Experiment) -> Option<(String, &'static str)> {
    let why = |step: &crate::spec::Step| {
        let about = step.fault.about();
        (!about.unrehearsable.is_empty()).then(|| (step.name.to_string(), about.unrehearsable))
    };
    experiment.spec.method.iter().find_map(why)
}

/// One experiment, to be rehearsed once or many times.
struct Rehearsal<'a> {
    verb: &'a Rehearse,
    source: String,
    loaded: Loaded,
    manifests: &'a Manifests,
    ground: Option<&'a Ground>,
    global: &'a Global,
    world: &'a World,
    signals: &'a Aside,
}

impl Rehearsal<'_> {
    async fn all(&self, term: &Rc<RefCell<Terminal>>) -> (Exit, Vec<Report>) {
        let first = self.verb.seed.unwrap_or_else(rand::random);
        if self.verb.seeds == 1 {
            let (exit, report) = Box::pin(self.once(first, term, true)).await;
            let reports: Vec<Report> = report.into_iter().collect();
            self.tell_prediction(&reports, term);
            return (exit, reports);
        }
        let (mut exit, mut reports, mut told) = (Exit::Passed, Vec::new(), Rehearsed::default());
        for number in 0..self.verb.seeds {
            let seed = first.wrapping_add(u64::from(number));
            let (ended, report) = Box::pin(self.once(seed, term, false)).await;
            exit = exit.worse(ended);
            let Some(report) = report else { return (exit, reports) };
            told.add(seed, &report);
            let interrupted = report.aborted.as_ref().is_some_and(|aborted| aborted.by == "signal");
            reports.push(report);
            if interrupted {
                break;
            }
        }
        term.borrow_mut().rehearsed(&told);
        self.tell_prediction(&reports, term);
        (exit, reports)
    }

    /// Says how to run the experiment beside what its rehearsals came to. That of many is a file of its own.
    fn tell_prediction(&self, reports: &[Report], term: &Rc<RefCell<Terminal>>) {
        let Some(prediction) = Prediction::of(&self.loaded, reports) else { return };
        let written = match reports {
            [only] => Ok(self.verb.reports.join(&only.run)),
            _ => prediction.write(&self.verb.reports),
        };
        let text = match written {
            Ok(path) => format!("beside a real run: {}", command(&self.source, &self.verb.sets, &path)),
            Err(e) => format!("the prediction is lost: {e}"),
        };
        term.borrow_mut().note(&text);
    }

    /// One rehearsal, from an empty cluster. `shown`: told as it happens; else its record is kept only if it did not pass.
    async fn once(&self, seed: u64, term: &Rc<RefCell<Terminal>>, shown: bool) -> (Exit, Option<Report>) {
        let now = (self.world.wall)();
        // The lab's clock begins on a whole minute: controllers look every few seconds by it, and the same seed makes the same run.
        let wall = jiff::Timestamp::from_second(now.as_second() / 60 * 60).unwrap_or(now);
        let lab = match self.lab(seed, wall, term, shown) {
            Ok(lab) => lab,
            Err(exit) => return (exit, None),
        };
        if let Err(exit) = self.furnish(&lab, term, shown).await {
            return (exit, None);
        }
        let cluster = lab.cluster();
        let experiment = &self.loaded.experiment;
        let source = Source { name: self.source.clone(), sha256: Some(self.loaded.sha256.clone()) };
        let plan = super::plan::drawn(experiment, source, &cluster, self.global, (seed, false), self.world).await;
        let plan = match plan {
            Ok(plan) => plan,
            Err(e) => return (term.borrow_mut().refused(&e, None), None),
        };
        if shown && !term.borrow().wants_json() {
            term.borrow_mut().plan(&plan);
        }
        let run = free_id(&self.verb.reports, now, plan.experiment.as_str(), seed);
        let request = Request {
            experiment: experiment.clone(),
            plan,
            cluster,
            predicted: None,
            reports: self.verb.reports.clone(),
            disk: volatile(),
            run,
            engine: EngineKind::Lab,
            instrument: lab.instrument(),
            guard: None,
            by: self.world.by.clone(),
            wall,
            signals: self.signals.listen(),
            refresh: Box::new(|_, _| Ok(())),
        };
        if shown { carry_out(request, term).await } else { quietly(request, term).await }
    }

    /// The cluster to begin with: a twin, or one that is still empty.
    fn lab(&self, seed: u64, wall: jiff::Timestamp, term: &Rc<RefCell<Terminal>>, shown: bool) -> Result<Lab, Exit> {
        let Some(ground) = self.ground else {
            let furniture = &self.verb.furniture;
            let site = self.loaded.experiment.spec.aws.as_ref().map(|aws| furniture.site(aws));
            return Ok(furniture.lab(seed, wall, site));
        };
        let name = self.verb.furniture.named(ground.name.clone());
        let of_twin = Lab::of_twin(&ground.twin, seed, wall, &name);
        let (lab, loaded) = of_twin.map_err(|e| term.borrow_mut().usage(&e.message, e.hint.as_deref()))?;
        self.verb.furniture.tell(&lab);
        if shown {
            ground.tell(&loaded, &mut term.borrow_mut());
        }
        Ok(lab)
    }

    /// Applies the manifests and waits until all of it runs.
    async fn furnish(&self, lab: &Lab, term: &Rc<RefCell<Terminal>>, shown: bool) -> Result<(), Exit> {
        for (name, text) in self.manifests {
            let applied = lab.apply(text).await;
            let applied = applied.map_err(|e| term.borrow_mut().usage(&format!("{name}: {e}"), None))?;
            if shown && !applied.skipped.is_empty() {
                let kinds: Vec<_> = applied.skipped.into_iter().collect();
                term.borrow_mut()
                    .note(&format!("{name}: left out, as the lab has no model of it: {}", kinds.join(", ")));
            }
        }
        let namespace = lab.ensure_namespace(&self.global.state_namespace).await;
        namespace.map_err(|e| term.borrow_mut().usage(&e.to_string(), None))?;
        let hint = "is there room? `--nodes` gives more; docs/lab.md says what the lab models";
        let settled = lab.settled().await;
        settled.map_err(|e| term.borrow_mut().refused(&format!("the lab does not come up: {e}"), Some(hint)))
    }
}

/// The id of a rehearsal, which takes less than the second by which ids tell runs with one seed apart: the next that has no record yet.
fn free_id(reports: &Path, now: jiff::Timestamp, experiment: &str, seed: u64) -> String {
    let mut at = now;
    loop {
        let id = run::run_id(at, experiment, seed);
        match at.checked_add(jiff::SignedDuration::from_secs(1)) {
            Ok(later) if reports.join(&id).exists() => at = later,
            _ => return id,
        }
    }
}

/// A rehearsal that nobody watches: its record stays only where it did not pass.
async fn quietly(request: Request, term: &Rc<RefCell<Terminal>>) -> (Exit, Option<Report>) {
    let failed = |text: String| (term.borrow_mut().errored(&text), None);
    let ended = match Box::pin(run::run(request, |_| {})).await {
        Ok(ended) => ended,
        Err(e) => return failed(format!("the run record can't be written: {e}")),
    };
    let kept = if ended.exit == Exit::Passed {
        std::fs::remove_dir_all(ended.dir.path())
    } else {
        report::write_all(&ended.dir, &ended.events)
    };
    match kept {
        Ok(()) => (ended.exit, Some(Report::from_events(&ended.events))),
        Err(e) => failed(format!("{}: {e}", ended.dir.path().display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rehearsals_with_one_seed_in_one_second_have_two_records() {
        let reports = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let ids = [(); 3].map(|()| {
            let id = free_id(reports.path(), now, "web", 7);
            std::fs::create_dir(reports.path().join(&id)).unwrap();
            id
        });
        assert_eq!(ids, ["20270115-080000-web-0007", "20270115-080001-web-0007", "20270115-080002-web-0007"]);
    }
}
