//! A run: phases, steps, measurement and undo, from a plan to a verdict.
//!
//! ```text
//!            ┌──────────────────────── dispatcher ─────────────────────────┐
//!  signals ─▶│  one order of events, phases, stop conditions, the verdict  │─▶ recorder ─▶ events.jsonl, terminal
//!  lease   ─▶│                                                             │
//!  watches ─▶│  polls: steps (executor) ─▶ undo log ─▶ fault               │
//!  samples ─▶│  feeds: book (series, timeline, live conditions, tracks)    │
//!            └─────────────────────────────────────────────────────────────┘
//! ```

mod back_off;
mod book;
mod claims;
mod convert;
mod dispatcher;
mod executor;
pub mod guard;
pub mod lease;
mod marks;
mod pool;
mod readiness;
pub mod recover;
mod roster;
pub mod signals;
pub mod state;
mod stops;
mod undo;
pub mod undo_log;
pub mod verdict;
mod watching;

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use self::book::Book;
use self::dispatcher::{Dispatcher, Inputs, Outputs};
use self::executor::Stage;
use self::guard::Guard;
use self::lease::{LeaseError, Place};
use self::roster::Roster;
use self::state::StateStore;
use self::undo::Undoer;
use self::undo_log::{Noted, Record, UNDO_LOG, UndoLog};
use self::verdict::{Concluded, conclude};
use self::watching::Wanted;
use crate::cluster::Cluster;
use crate::measure::HlogWriter;
use crate::plan::{Allowance, Plan, PlannedStep, UNDO_BUDGET, reach};
use crate::probe::{Instrument, ProbeConfig};
use crate::record::{Clock, Disk, Event, Exit, FORMAT, Open, Predicted, Recorder, RunDir, RunVerdict, What};
use crate::scalar::EngineKind;
use crate::spec::{Experiment, Hypothesis};

/// Everything that a run needs.
pub struct Request {
    /// The experiment.
    pub experiment: Experiment,
    /// Its plan, drawn for this cluster and without refusals.
    pub plan: Plan,
    /// The cluster.
    pub cluster: Cluster,
    /// What rehearsals of it came to, for the report to stand beside it.
    pub predicted: Option<Predicted>,
    /// Reports folder.
    pub reports: PathBuf,
    /// Where the run record is written: what outlives a power cut, or what need not.
    pub disk: Arc<dyn Disk>,
    /// Run id; see [`run_id`].
    pub run: String,
    /// What sends the probes' requests.
    pub engine: EngineKind,
    /// What they are sent with.
    pub instrument: Rc<dyn Instrument>,
    /// Who runs it, `user@host`.
    pub by: String,
    /// The wall clock now: an argument, so that a rehearsal is reproducible.
    pub wall: jiff::Timestamp,
    /// The process that takes back what this one leaves when it is killed; `None` for none.
    pub guard: Option<Command>,
    /// Where signals come from.
    pub signals: mpsc::UnboundedReceiver<&'static str>,
    /// Called at every change of phase with all events so far, so that a run that dies leaves a report of what it knew.
    pub refresh: Refresh,
}

/// Writes the files of a run record that are made from its events.
pub type Refresh = Box<dyn FnMut(&RunDir, &[Event]) -> std::io::Result<()>>;

/// How a run ended.
pub struct Ended {
    /// The verdict.
    pub verdict: RunVerdict,
    /// Its exit code.
    pub exit: Exit,
    /// The run record.
    pub dir: RunDir,
    /// Everything that was recorded.
    pub events: Vec<Event>,
    /// Why `events.jsonl` is not complete, if it is not.
    pub record_failure: Option<String>,
}

/// The id of a new run: when, what, and four hex digits of the seed: `20260131-142501-web-survives-3f9c`.
#[must_use]
pub fn run_id(wall: jiff::Timestamp, experiment: &str, seed: u64) -> String {
    let when = wall.strftime("%Y%m%d-%H%M%S");
    // Whole, the name of its ConfigMap must stay below 63 characters more than the 11 of `squall-run-`.
    let name: String = experiment.chars().take(30).collect();
    format!("{when}-{}-{:04x}", name.trim_end_matches('-'), seed & 0xffff)
}

/// The name by which a run holds the lease.
#[must_use]
pub fn holder(run: &str, by: &str) -> String {
    format!("{run} {by}")
}

/// Runs an experiment to its end. Whatever happens, also a panic, what was injected is undone before this returns, or the verdict
/// says what is left.
///
/// # Errors
///
/// When the run record can't be created: nothing was touched.
pub async fn run(request: Request, listener: impl FnMut(&Event) + 'static) -> std::io::Result<Ended> {
    let dir = RunDir::of(&request.reports, &request.run).on(Arc::clone(&request.disk));
    let clock = Clock::start(request.wall);
    let mut recorder = Recorder::create(&dir, clock)?;
    request.plan.write(&dir.file("plan.json")).map_err(std::io::Error::other)?;
    request.cluster.leash().shorten();
    request.cluster.commands().forget();
    let calls = dir.open("calls.jsonl", Open::Anew)?;
    let ledger = request.cluster.ledger().clone();
    ledger.write_to(calls, move |instant| clock.at(instant));
    recorder.listen(listener);
    recorder.record(started(&request));
    recorder.record(What::Planned { plan: serde_json::to_value(&request.plan)? });
    if let Some(predicted) = &request.predicted {
        recorder.record(What::Predicted(predicted.clone()));
    }
    let place = Place {
        cluster: request.cluster.clone(),
        namespace: request.plan.state_namespace.clone(),
        holder: holder(&request.run, &request.by),
    };
    let concluded = if let Some(refusal) = request.plan.refusals.first() {
        let more = request.plan.refusals.len() - 1;
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        Concluded::new(RunVerdict::Refused, format!("{}{more}", refusal.message))
    } else {
        let waiting = |holder: &str| {
            let seconds = lease::DURATION.as_secs();
            let text = format!("`{holder}` holds the lease; watching for up to {seconds} s whether it lives");
            recorder.record(What::Warning { text });
        };
        if let Err(e) = place.acquire(request.wall, false, waiting).await {
            Concluded::new(RunVerdict::Refused, refused(&e))
        } else {
            let concluded = Box::pin(hold(request, &dir, &mut recorder, &place)).await;
            if let Err(e) = place.release().await {
                let text = format!("the lease could not be given back; it runs out by itself: {e}");
                recorder.record(What::Warning { text });
            }
            concluded
        }
    };
    if let Some(why) = ledger.detach() {
        recorder.record(What::Warning { text: format!("`calls.jsonl` is not complete: {why}") });
    }
    let exit = Exit::from(concluded.verdict);
    let Concluded { verdict, reason, left } = concluded;
    recorder.record(What::RunFinished { verdict, exit_code: exit.code(), reason, left });
    let record_failure = recorder.failure().map(str::to_owned);
    Ok(Ended { verdict, exit, dir, events: recorder.events().to_vec(), record_failure })
}

fn started(request: &Request) -> What {
    What::RunStarted {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        run: request.run.clone(),
        experiment: request.plan.experiment.clone(),
        source: request.plan.source.clone(),
        seed: request.plan.seed,
        cluster: request.plan.cluster.clone(),
        engine: request.engine,
    }
}

fn refused(error: &LeaseError) -> String {
    match error {
        LeaseError::Held { .. } => format!("{error}: one run at a time; `squall abort` ends it"),
        LeaseError::NoNamespace { namespace } => format!("{error}: `kubectl create namespace {namespace}` makes it"),
        LeaseError::Api(_) => error.to_string(),
    }
}

/// The run while it holds the lease.
async fn hold(mut request: Request, dir: &RunDir, recorder: &mut Recorder, place: &Place) -> Concluded {
    let clock = recorder.clock();
    let store = StateStore::new(request.cluster.clone(), &request.plan.state_namespace);
    let probes = match probes(&request) {
        Ok(probes) => probes,
        Err(why) => return Concluded::new(RunVerdict::Refused, why),
    };
    if let Some(refused) = left_by_others(&store).await {
        return refused;
    }
    let hlog = match dir.open("probes.hlog", Open::Anew).and_then(|file| HlogWriter::begin(file, clock.wall(0))) {
        Ok(hlog) => Some(hlog),
        Err(e) => return Concluded::new(RunVerdict::Refused, format!("can't write probes.hlog: {e}")),
    };
    let log = match open_log(&request, dir, &store, clock).await {
        Ok(log) => log,
        Err(why) => return Concluded::new(RunVerdict::Refused, why),
    };
    let guard = guarded(&mut request, dir, recorder);
    let (events, deeds) = mpsc::unbounded_channel();
    let undoer = Undoer::new(request.cluster.clone(), &request.run, clock, log, store, events);
    let_act(&request);
    let (stop, stopped) = watch::channel(false);
    let (confirmed, sure) = watch::channel(true);
    let (end, ends) = watch::channel(None);
    let allowance = RefCell::new(Allowance::of(&request.plan));
    let claims = claims::Claims::default();
    let stage = Rc::new(Stage { undoer, allowance, claims, stop: stopped, confirmed: sure, end: ends });
    let (keeper, news) = mpsc::unbounded_channel();
    tokio::spawn(place.clone().keep(move || clock.wall(clock.now()), keeper));
    let (from_watches, seen) = mpsc::unbounded_channel();
    let unsynced = watching::start(&request.cluster, &wanted(&request), clock, &from_watches);
    let mut dispatcher = Dispatcher {
        recorder,
        experiment: &request.experiment,
        plan: &request.plan,
        stage: Rc::clone(&stage),
        book: Book::new(&request.experiment, hlog),
        roster: Roster::new(&request.plan.endpoints, &probes, &request.experiment.spec.limits),
        probes,
        inputs: Inputs { signals: request.signals, lease: news, deeds, seen },
        outputs: Outputs { stop, confirmed, end },
        instrument: request.instrument,
        engine: None,
        unsynced,
        steps: FuturesUnordered::new(),
        signals_seen: 0,
        aborting: false,
        unconfirmed_since: None,
        refresh: refreshing(request.refresh, dir.clone()),
    };
    let concluded = AssertUnwindSafe(dispatcher.go()).catch_unwind().await;
    drop(dispatcher);
    let mut concluded = match concluded {
        Ok(concluded) => concluded,
        Err(panic) => after_panic(&stage.undoer, panic.as_ref()).await,
    };
    close(&stage.undoer, recorder, &mut concluded).await;
    if guard.is_some_and(|guard| !guard.dismiss()) {
        let text = "the guard was gone before the run ended (see guard.log): nobody would have taken back what a kill had left";
        recorder.record(What::Warning { text: text.to_owned() });
    }
    concluded
}

/// The probes as they are sent.
fn probes(request: &Request) -> Result<Vec<ProbeConfig>, String> {
    request.experiment.spec.probes.iter().map(|probe| convert::probe(probe, request.engine)).collect()
}

/// Lets the run change what its plan names, and run the commands that it names.
fn let_act(request: &Request) {
    let steps = &request.plan.steps;
    request.cluster.leash().let_through(reach(&request.experiment, steps));
    let commands = steps.iter().flat_map(|step| step.commands.iter().chain(&step.undo_commands));
    request.cluster.commands().let_run(commands.cloned());
}

fn refreshing(mut refresh: Refresh, dir: RunDir) -> Box<dyn FnMut(&mut Recorder)> {
    Box::new(move |recorder| {
        if let Err(e) = refresh(&dir, recorder.events()) {
            recorder.record(What::Warning { text: format!("the report can't be written: {e}") });
        }
    })
}

/// Starts the guard, if there is anything that it could take back.
fn guarded(request: &mut Request, dir: &RunDir, recorder: &mut Recorder) -> Option<Guard> {
    let command = request.guard.take()?;
    if !request.experiment.spec.method.iter().any(|step| step.fault.about().undoable) {
        return None;
    }
    match File::create(dir.file("guard.log")).and_then(|log| Guard::start(command, log)) {
        Ok(guard) => Some(guard),
        Err(e) => {
            let text = format!(
                "no guard could be started ({e}): if this process is killed, its fault stays until `squall recover`"
            );
            recorder.record(What::Warning { text });
            None
        }
    }
}

/// A run that died may have left its fault in place: measuring on top of that would tell nothing, and its undo must come first.
async fn left_by_others(store: &StateStore) -> Option<Concluded> {
    let runs = match store.all().await {
        Ok(runs) => runs,
        Err(e) => return Some(Concluded::new(RunVerdict::Refused, e.to_string())),
    };
    let unfinished = |text: &str| undo_log::read(text).map_or(true, |acts| !acts.pending().is_empty());
    let (run, _) = runs.into_iter().find(|(_, text)| unfinished(text))?;
    let reason = format!("run `{run}` died and may have left something behind; `squall recover {run}` first");
    Some(Concluded::new(RunVerdict::Refused, reason))
}

/// Makes the undo log, here and in the cluster: without both, nothing is injected.
async fn open_log(request: &Request, dir: &RunDir, store: &StateStore, clock: Clock) -> Result<UndoLog, String> {
    let path = dir.file(UNDO_LOG);
    let failed = |e: std::io::Error| format!("no undo log, no fault: can't write {}: {e}", path.display());
    let mut log = UndoLog::create(dir, &request.run).map_err(failed)?;
    let opened = Record::Opened {
        experiment: request.plan.experiment.clone(),
        cluster: request.plan.cluster.clone(),
        by: request.by.clone(),
        until: jiff::SignedDuration::try_from(request.plan.timing.longest() + UNDO_BUDGET)
            .ok()
            .and_then(|longest| request.wall.checked_add(longest).ok()),
    };
    log.append(clock.wall(clock.now()), vec![opened]).map_err(failed)?;
    store.create(&request.run, log.text()).await.map_err(|e| format!("no undo log, no fault: can't {e}"))?;
    Ok(log)
}

/// What the watches are to look at: the namespaces of the targets, of the pods that leave with them and of the Services whose endpoints are asked, and the objects of
/// the hypotheses.
fn wanted(request: &Request) -> Wanted {
    let targets = request.plan.steps.iter().flat_map(PlannedStep::touched);
    let followed = request.plan.endpoints.iter().map(|endpoints| endpoints.namespace.clone());
    let namespaces: BTreeSet<String> =
        targets.map(|target| target.namespace.clone()).filter(|n| !n.is_empty()).chain(followed).collect();
    let objects = request.experiment.spec.steady_state.iter().enumerate();
    Wanted {
        namespaces: namespaces.into_iter().collect(),
        nodes: true,
        state_namespace: request.plan.state_namespace.clone(),
        objects: objects
            .filter_map(|(index, hypothesis)| match hypothesis {
                Hypothesis::Object { object, namespace, .. } => Some((index, object.clone(), namespace.to_string())),
                Hypothesis::Probe { .. } => None,
            })
            .collect(),
    }
}

/// Our own mistake must not leave a fault behind.
async fn after_panic(undoer: &Undoer, panic: &(dyn Any + Send)) -> Concluded {
    let pending = undoer.log.lock().await.acts().pending();
    for act in pending {
        undoer.undo(&act.step, &act.fault, act.id, &act.target, &act.note, UNDO_BUDGET).await;
    }
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Concluded::new(RunVerdict::Errored, format!("Squall's own error: {}", words.unwrap_or("a panic")))
}

/// Closes the undo log and removes its copy when nothing is left; else the verdict says what is.
async fn close(undoer: &Undoer, recorder: &mut Recorder, concluded: &mut Concluded) {
    let left = left(undoer).await;
    if !left.is_empty() {
        *concluded = conclude(recorder.events(), &left);
        concluded.left = left;
        return;
    }
    let mut log = undoer.log.lock().await;
    if let Err(e) | Ok(Noted::Elsewhere(e)) = log.note(undoer.clock.wall(undoer.clock.now()), Record::Closed) {
        recorder.record(What::Warning { text: format!("the undo log could not be closed: {e}") });
    }
    if let Err(e) = undoer.store.delete(&undoer.run).await {
        let text = format!(
            "the cluster's copy of the undo log is left, though nothing else is: {e}; `squall recover` removes it"
        );
        recorder.record(What::Warning { text });
    }
}

/// What is still to be taken back, each with the reason why it has not been.
async fn left(undoer: &Undoer) -> Vec<String> {
    let pending = undoer.log.lock().await.acts().pending();
    pending
        .iter()
        .map(|act| {
            let why = if act.why.is_empty() { String::new() } else { format!(": {}", act.why) };
            let place = if act.target.namespace.is_empty() {
                String::new()
            } else {
                format!(" in namespace `{}`", act.target.namespace)
            };
            format!("step `{}` ({}) on {}{place}{why}", act.step, act.fault, act.target)
        })
        .collect()
}
