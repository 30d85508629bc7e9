//! Finishing the undo of runs that died: from this machine's files, from the cluster's copies, or from whichever knows more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::lease::{self, LeaseError, Place};
use super::state::{StateError, StateStore};
use super::undo::Undoer;
use super::undo_log::{self, Act, ActId, Acts, Noted, Record, UNDO_LOG, UndoLog};
use crate::cluster::{Cluster, ConnectError, Wanted};
use crate::fault;
use crate::plan::{Plan, UNDO_BUDGET, reach_of_undo};
use crate::record::{Clock, Disk, RunDir, What};

/// How far two machines' wall clocks may be apart before one takes the other's run for overdue.
const SKEW: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// A run whose log says that something may be left.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// Run id.
    pub run: String,
    /// The longest copy of its log.
    pub text: String,
    /// What the log says.
    pub acts: Acts,
    /// Whether the cluster has a copy.
    pub in_cluster: bool,
}

/// Why nothing could be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The API refuses, or does not answer.
    #[error(transparent)]
    State(#[from] StateError),
    /// The lease can't be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The disk refuses.
    #[error("{doing}: {source}")]
    Disk {
        /// What was tried.
        doing: String,
        /// The error.
        #[source]
        source: std::io::Error,
    },
    /// A log breaks its own rules.
    #[error("the undo log of run `{run}` ({place}) is damaged: {source}")]
    Corrupt {
        /// Run id.
        run: String,
        /// Where it lies.
        place: String,
        /// What is wrong.
        #[source]
        source: undo_log::Corrupt,
    },
    /// The objects can't be searched for notes.
    #[error(transparent)]
    Scan(#[from] fault::FaultError),
    /// The run acted on another cluster.
    #[error("run `{run}` acted on cluster `{theirs}`, and this is `{ours}`")]
    OtherCluster {
        /// Run id.
        run: String,
        /// Context of the run's cluster.
        theirs: String,
        /// This context.
        ours: String,
    },
    /// The AWS account that the run acted on can't be opened.
    #[error("run `{run}` acted on AWS, which can't be reached as it did: {why}")]
    Cloud {
        /// Run id.
        run: String,
        /// Why not, with what to do.
        why: String,
    },
    /// There is no such run.
    #[error("no undo log of run `{run}` is left, neither in namespace `{namespace}` nor in `{reports}`")]
    Unknown {
        /// Run id.
        run: String,
        /// State namespace.
        namespace: String,
        /// Reports folder.
        reports: String,
    },
}

/// What was found of runs that may have left something.
#[derive(Debug, Default)]
pub struct Found {
    /// Runs with a log that can be followed.
    pub leftovers: Vec<Leftover>,
    /// Every run that has a log anywhere, readable or not, asked for or not.
    pub known: BTreeSet<String>,
    /// Logs that can't be followed. They keep nobody from taking back what the others say.
    pub problems: Vec<RecoverError>,
}

/// Runs that may have left something, from the cluster and from the reports folder of this machine. A run that is closed on either
/// side is not among them, unless it is asked for by name.
///
/// # Errors
///
/// When the API refuses, or the folder can't be read.
pub async fn find(store: &StateStore, reports: &Path, only: Option<&str>) -> Result<Found, RecoverError> {
    let mut found = Found::default();
    let mut by_run: BTreeMap<String, Leftover> = BTreeMap::new();
    let in_cluster = store.all().await?.into_iter().map(|(run, text)| {
        let place = format!("ConfigMap {}/{}", store.namespace(), StateStore::object_name(&run));
        (run, text, place, true)
    });
    let here = local_logs(reports)?.into_iter().map(|(run, text, place)| (run, text, place, false));
    for (run, text, place, in_cluster) in in_cluster.chain(here) {
        found.known.insert(run.clone());
        if only.is_some_and(|only| only != run) {
            continue;
        }
        let acts = match undo_log::read(&text) {
            Ok(acts) => acts,
            Err(source) => {
                found.problems.push(RecoverError::Corrupt { run, place, source });
                continue;
            }
        };
        match by_run.get_mut(&run) {
            // The file is written first, so it may know one line more; a recovery elsewhere makes the cluster's copy the longer one.
            Some(there) if acts.len() > there.acts.len() => {
                there.text = text;
                there.acts = acts;
            }
            Some(_) => {}
            // No copy in the cluster: a finished run's was removed when nothing was left.
            None if !in_cluster && acts.pending().is_empty() => {}
            None => {
                by_run.insert(run.clone(), Leftover { run, text, acts, in_cluster });
            }
        }
    }
    found.leftovers = by_run.into_values().collect();
    Ok(found)
}

fn local_logs(reports: &Path) -> Result<Vec<(String, String, String)>, RecoverError> {
    let disk = |doing: String| move |source| RecoverError::Disk { doing, source };
    let mut logs = Vec::new();
    let entries = match std::fs::read_dir(reports) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(logs),
        Err(e) => return Err(disk(format!("read {}", reports.display()))(e)),
    };
    for entry in entries {
        let entry = entry.map_err(disk(format!("read {}", reports.display())))?;
        let run = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path().join(UNDO_LOG);
        if !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(disk(format!("read {}", path.display())))?;
        logs.push((run, text, path.display().to_string()));
    }
    logs.sort();
    Ok(logs)
}

impl Leftover {
    /// Whether the run should be over by now. One that does not say when is.
    #[must_use]
    pub fn is_overdue(&self, wall: jiff::Timestamp) -> bool {
        let until = self.acts.opened().and_then(|opened| opened.until);
        let end = until.map(|until| until.checked_add(SKEW).unwrap_or(until));
        end.is_none_or(|end| end <= wall)
    }
}

/// Undo notes on objects whose run left no log at all, neither here nor in the cluster, as leftovers of their own. Reads every
/// object that can carry a note, in one namespace or in all. Notes of runs with another state namespace are theirs: the lease here
/// says nothing of whether those runs live.
///
/// # Errors
///
/// When the API refuses, or a note can't be read.
pub async fn scan(
    store: &StateStore,
    namespace: Option<&str>,
    known: &BTreeSet<String>,
    wall: jiff::Timestamp,
) -> Result<Vec<Leftover>, RecoverError> {
    let cluster = store.cluster();
    let mut by_run: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for left in fault::left_on(cluster, namespace).await? {
        if known.contains(&left.run) || (!left.state.is_empty() && left.state != store.namespace()) {
            continue;
        }
        let records = by_run.entry(left.run).or_insert_with(|| {
            let (experiment, by) = (String::new(), "found on an object".to_owned());
            vec![Record::Opened { experiment, cluster: cluster.id().clone(), by, until: None }]
        });
        let act = ActId::try_from(records.len() - 1).unwrap_or(ActId::MAX);
        let fault::Left { step, fault, target, note, .. } = left;
        records.push(Record::Prepared { act, step, fault, target, note });
    }
    let leftover = |(run, records): (String, Vec<Record>)| {
        let bug = |source| RecoverError::Disk { doing: format!("write a log for run {run}"), source };
        let text = UndoLog::anew(&run, wall, records).map_err(bug)?;
        let place = "made from what the objects say".to_owned();
        let acts = undo_log::read(&text).map_err(|source| RecoverError::Corrupt { run: run.clone(), place, source })?;
        Ok(Leftover { run, text, acts, in_cluster: false })
    };
    by_run.into_iter().map(leftover).collect()
}

/// What a recovery came to, for one run.
#[derive(Debug)]
pub struct Recovered {
    /// Run id.
    pub run: String,
    /// What was done, as events.
    pub events: Vec<What>,
    /// What is still left.
    pub left: Vec<Act>,
    /// Why the recovery could not even go through the log, or close it.
    pub problem: Option<RecoverError>,
}

/// How to recover.
pub struct Recovery<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its state.
    pub store: &'a StateStore,
    /// Reports folder.
    pub reports: &'a Path,
    /// Where it is written.
    pub disk: Arc<dyn Disk>,
    /// Who recovers, as the lease names a holder: no two that live may have one name. A guard takes its dead runner's, whose lease
    /// then is its own.
    pub holder: String,
    /// Take the lease of a run that still renews it.
    pub force: bool,
    /// Run the commands of an undo, as far as the run's own record on this machine names them.
    pub allow_exec: bool,
    /// The wall clock now.
    pub wall: jiff::Timestamp,
}

impl Recovery<'_> {
    /// Takes back what each run left; one that can't be followed keeps nobody from the others. `tell` is told what a person should
    /// know: a lease that must be waited out, a disk that refuses.
    ///
    /// # Errors
    ///
    /// When the lease is held by a run that lives: then nothing was touched.
    pub async fn run(
        &self,
        leftovers: &[Leftover],
        mut tell: impl FnMut(String),
    ) -> Result<Vec<Recovered>, RecoverError> {
        let place = Place {
            cluster: self.cluster.clone(),
            namespace: self.store.namespace().to_owned(),
            holder: self.holder.clone(),
        };
        let waiting = |holder: &str| {
            let seconds = lease::DURATION.as_secs();
            tell(format!(
                "`{holder}` holds the lease; waiting {seconds} s to see whether it still lives (`--force` does not wait)"
            ));
        };
        place.acquire(self.wall, self.force, waiting).await?;
        let (news, mut told) = mpsc::unbounded_channel();
        let clock = Clock::start(self.wall);
        let keeper = tokio::spawn(place.clone().keep(move || clock.wall(clock.now()), news));
        let mut recovered = Vec::new();
        for leftover in leftovers {
            let answer = match self.foreign(leftover) {
                Some(problem) => Err(problem),
                None => self.one(leftover, clock, &mut tell).await,
            };
            recovered.push(answer.unwrap_or_else(|problem| Recovered {
                run: leftover.run.clone(),
                events: Vec::new(),
                left: Vec::new(),
                problem: Some(problem),
            }));
        }
        told.close();
        keeper.abort();
        if let Err(e) = place.release().await {
            tell(format!("the lease could not be given back; it runs out by itself: {e}"));
        }
        Ok(recovered)
    }

    fn foreign(&self, leftover: &Leftover) -> Option<RecoverError> {
        let theirs = &leftover.acts.opened()?.cluster;
        (theirs.uid != self.cluster.id().uid).then(|| RecoverError::OtherCluster {
            run: leftover.run.clone(),
            theirs: theirs.context.clone(),
            ours: self.cluster.id().context.clone(),
        })
    }

    /// Lets the commands be run that the run's plan names, if that is allowed. The plan is the one in its record on this machine: who may
    /// write the log in the cluster must not thereby write commands.
    fn let_run(&self, dir: &RunDir, tell: &mut impl FnMut(String)) {
        self.cluster.commands().forget();
        let path = dir.file("plan.json");
        if !self.allow_exec || !path.exists() {
            return;
        }
        match Plan::read(&path) {
            Ok(plan) => self.cluster.commands().let_run(plan.steps.into_iter().flat_map(|step| step.undo_commands)),
            Err(e) => tell(format!("no command is run: {e}")),
        }
    }

    /// The cluster with the cloud that the run acted on: by its log, so that no file of the experiment is needed.
    async fn behind(&self, leftover: &Leftover) -> Result<Cluster, RecoverError> {
        let Some(aws) = leftover.acts.opened().and_then(|opened| opened.cluster.aws.clone()) else {
            return Ok(self.cluster.clone());
        };
        let wanted = Wanted { account: aws.account, region: aws.region, cluster: aws.cluster };
        let hint = |e: &ConnectError| e.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        self.cluster
            .with_cloud(&wanted)
            .await
            .map_err(|e| RecoverError::Cloud { run: leftover.run.clone(), why: format!("{}{}", e.message, hint(&e)) })
    }

    async fn one(
        &self,
        leftover: &Leftover,
        clock: Clock,
        tell: &mut impl FnMut(String),
    ) -> Result<Recovered, RecoverError> {
        let cluster = self.behind(leftover).await?;
        let dir = RunDir::of(self.reports, &leftover.run).on(Arc::clone(&self.disk));
        let path = dir.file(UNDO_LOG);
        let disk = |source| RecoverError::Disk { doing: format!("write {}", path.display()), source };
        let resume = || UndoLog::resume(&dir, &leftover.run, &leftover.text);
        let log = match std::fs::create_dir_all(dir.path()).and_then(|()| resume()) {
            // A disk that refuses must not keep a fault in place where the cluster has the log as well.
            Err(e) if leftover.in_cluster => {
                tell(format!("{}: {}; going on with the cluster's copy alone", leftover.run, disk(e)));
                UndoLog::in_memory(&leftover.run, &leftover.text).map_err(disk)?
            }
            log => log.map_err(disk)?,
        };
        if !leftover.in_cluster {
            self.store.create(&leftover.run, log.text()).await?;
        }
        let (events, mut told) = mpsc::unbounded_channel();
        let undoer = Undoer::new(cluster, &leftover.run, clock, log, self.store.clone(), events);
        self.let_run(&dir, tell);
        for act in leftover.acts.pending() {
            for command in fault::undo_commands(&act.fault, &act.note) {
                if self.cluster.commands().may_run(&command) {
                    tell(format!("{}: step `{}` on {}: running `{command}`", leftover.run, act.step, act.target));
                }
            }
            self.cluster.leash().let_through(reach_of_undo(&act.target));
            undoer.undo(&act.step, &act.fault, act.id, &act.target, &act.note, UNDO_BUDGET).await;
        }
        let mut log = undoer.log.into_inner();
        let left = log.acts().pending();
        if left.is_empty() {
            if let Noted::Elsewhere(e) = log.note(clock.wall(clock.now()), Record::Closed).map_err(disk)? {
                tell(format!("{}: {}; nothing is left all the same", leftover.run, disk(e)));
            }
            self.store.delete(&leftover.run).await?;
        } else {
            self.store.write(&leftover.run, log.text()).await?;
        }
        told.close();
        let mut events = Vec::new();
        while let Some((_, what)) = told.recv().await {
            events.push(what);
        }
        Ok(Recovered { run: leftover.run.clone(), events, left, problem: None })
    }
}
