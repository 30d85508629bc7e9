//! The dispatcher: the only one that talks to the outside, that decides, and that puts everything into one order.
//!
//! It is a straight line through the phases. Every wait in it is a [`Dispatcher::pump`], which meanwhile takes in signals, the lease's
//! news, the steps' events, the watches and the samples; so nothing ever waits for anything else in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::book::Book;
use super::executor::{Stage, Work};
use super::lease::{GIVE_UP, LeaseNews};
use super::roster::{Order, Roster, Turn};
use super::verdict::{Concluded, conclude, unsteady};
use super::watching::Seen;
use crate::plan::{ClusterLimits, LIMITS, Plan};
use crate::probe::{self, Batch, Engine, Instrument, ProbeConfig, StreamKind};
use crate::record::{Micros, Phase, Recorder, RunVerdict, What};
use crate::spec::Experiment;

/// How often stop conditions are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How long the watches may take to show what is there.
const SYNC: Duration = Duration::from_secs(10);
/// From the start of the engine to its first slot, so that the first requests are not late.
const LEAD: Duration = Duration::from_millis(20);
/// Endpoints that are tried at the same time before anything is measured.
const AT_ONCE: usize = 8;
/// How long *during* may last when the experiment does not say.
const DURING_MAX: Duration = Duration::from_mins(15);
/// How long the last requests may take beyond the longest timeout.
const DRAIN: Duration = Duration::from_secs(5);

/// Where the dispatcher's messages come from.
pub(super) struct Inputs {
    /// Signals.
    pub signals: mpsc::UnboundedReceiver<&'static str>,
    /// The lease.
    pub lease: mpsc::UnboundedReceiver<LeaseNews>,
    /// The steps.
    pub deeds: mpsc::UnboundedReceiver<(Micros, What)>,
    /// The watches.
    pub seen: mpsc::UnboundedReceiver<Seen>,
}

/// What the dispatcher tells the steps.
pub(super) struct Outputs {
    /// The run must end.
    pub stop: watch::Sender<bool>,
    /// The lease is confirmed.
    pub confirmed: watch::Sender<bool>,
    /// When steps without `for` end.
    pub end: watch::Sender<Option<Instant>>,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// What was waited for came.
    Done,
    /// The run must end.
    Abort,
    /// A third signal: nobody waits for the undo any more.
    GiveUp,
}

/// See the module's documentation.
pub(super) struct Dispatcher<'a> {
    pub recorder: &'a mut Recorder,
    pub experiment: &'a Experiment,
    pub plan: &'a Plan,
    pub stage: Rc<Stage>,
    pub book: Book,
    pub roster: Roster,
    pub probes: Vec<ProbeConfig>,
    pub inputs: Inputs,
    pub outputs: Outputs,
    pub instrument: Rc<dyn Instrument>,
    pub engine: Option<Engine>,
    /// Watches that have not yet shown what is there.
    pub unsynced: BTreeSet<String>,
    pub steps: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    pub signals_seen: u32,
    pub aborting: bool,
    pub unconfirmed_since: Option<Instant>,
    /// Called at every change of phase, so that a run that dies leaves a report of what it knew.
    pub refresh: Box<dyn FnMut(&mut Recorder)>,
}

impl Dispatcher<'_> {
    /// Goes through the phases. Everything that was injected is undone when this returns, or is still in the undo log.
    pub(super) async fn go(&mut self) -> Concluded {
        if let Some(concluded) = self.before().await {
            self.stop_probes().await;
            return concluded;
        }
        let flow = self.during().await;
        let flow = if flow == Flow::Done { self.after().await } else { flow };
        if flow == Flow::GiveUp {
            return self.conclude().await;
        }
        self.stop_probes().await;
        self.conclude().await
    }

    /// *Before*: the steady state must hold, or nothing is injected. `Some`: the run is over.
    async fn before(&mut self) -> Option<Concluded> {
        self.wait_for_watches().await;
        if self.aborting {
            return Some(self.conclude().await);
        }
        if let Some(concluded) = self.preflight().await {
            return Some(concluded);
        }
        let origin = Instant::now() + LEAD;
        self.enter(Phase::Before, origin);
        if let Some(concluded) = self.start_probes(origin) {
            return Some(concluded);
        }
        let until = origin + self.experiment.spec.timing.before.get();
        if self.pump(sleep_until(until), true).await != Flow::Done {
            return Some(self.conclude().await);
        }
        // The last requests of the phase are still on their way; the probes go on meanwhile, and those belong to *before* too.
        let patience = until + self.book.longest_timeout() + DRAIN;
        let planned = u64::try_from(self.recorder.clock().at(until)).unwrap_or(0) * 1_000;
        while self.book.settled_until() < planned && Instant::now() < patience {
            if self.pump(sleep(Duration::from_millis(20)), true).await != Flow::Done {
                return Some(self.conclude().await);
            }
        }
        let now = self.recorder.clock().now();
        let judgements = self.book.judge_before(now);
        let reason = unsteady(&judgements)?;
        for judgement in judgements {
            self.recorder.record(What::Judged(judgement));
        }
        Some(Concluded::new(RunVerdict::Unsteady, format!("{reason}; nothing was injected")))
    }

    /// *During*: the steps, until all of them are undone and healed.
    async fn during(&mut self) -> Flow {
        let origin = Instant::now();
        self.enter(Phase::During, origin);
        let timing = &self.experiment.spec.timing;
        let steps = Duration::from_millis(self.plan.timing.steps_ms);
        let end = origin + timing.during.map_or(steps, crate::scalar::Duration::get);
        self.outputs.end.send_replace(Some(end));
        let mut first_act = 0;
        for planned in &self.plan.steps {
            let named = self.experiment.spec.method.iter().find(|step| step.name.as_str() == planned.name);
            let Some(step) = named else { continue };
            let work = Work {
                step: step.clone(),
                planned: planned.clone(),
                first_act,
                due: origin + step.at.get(),
                heal: timing.heal.get(),
            };
            first_act += u32::try_from(planned.targets.len()).unwrap_or(u32::MAX);
            let stage = Rc::clone(&self.stage);
            self.steps.push(Box::pin(async move { stage.perform(&work).await }));
        }
        let flow = self.pump(sleep_until(end), true).await;
        let cap = DURING_MAX.max(Duration::from_millis(self.plan.timing.during_at_most_ms));
        let flow = if flow == Flow::Done { self.pump_steps(Some(origin + cap)).await } else { flow };
        if flow != Flow::Abort {
            return flow;
        }
        // The steps undo what they did; nothing but a third signal cuts that short.
        match self.pump_steps(None).await {
            Flow::GiveUp => Flow::GiveUp,
            _ => Flow::Abort,
        }
    }

    /// *After*: the steady state must hold again.
    async fn after(&mut self) -> Flow {
        let origin = Instant::now();
        self.enter(Phase::After, origin);
        self.pump(sleep_until(origin + self.experiment.spec.timing.after.get()), true).await
    }

    fn enter(&mut self, phase: Phase, from: Instant) {
        let from = self.recorder.clock().at(from);
        self.book.enter(phase, from);
        self.recorder.record_at(from, What::PhaseStarted { phase, from });
        (self.refresh)(self.recorder);
    }

    /// Waits until every step is over. A deadline ends the run; without one only a third signal does.
    async fn pump_steps(&mut self, deadline: Option<Instant>) -> Flow {
        while !self.steps.is_empty() {
            let flow = self.pump(sleep(Duration::from_millis(20)), deadline.is_some()).await;
            if flow != Flow::Done {
                return flow;
            }
            if let Some(deadline) = deadline
                && Instant::now() >= deadline
            {
                self.abort("deadline", "the steps were not over in time");
                return Flow::Abort;
            }
        }
        Flow::Done
    }

    async fn wait_for_watches(&mut self) {
        let deadline = Instant::now() + SYNC;
        while !self.unsynced.is_empty() && !self.aborting && Instant::now() < deadline {
            self.pump(sleep(Duration::from_millis(10)), true).await;
        }
        for what in std::mem::take(&mut self.unsynced) {
            let text = format!("{what} could not be watched: the timeline says nothing of them");
            self.recorder.record(What::Warning { text });
        }
    }

    /// Takes in whatever comes until `until` is over. With `interruptible`, also returns when the run must end.
    async fn pump(&mut self, until: impl Future<Output = ()>, interruptible: bool) -> Flow {
        let mut until = pin!(until);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.signals_seen >= 3 {
                return Flow::GiveUp;
            }
            if self.aborting && interruptible {
                return Flow::Abort;
            }
            tokio::select! {
                biased;
                Some(signal) = self.inputs.signals.recv() => self.on_signal(signal).await,
                Some(news) = self.inputs.lease.recv() => self.on_lease(news),
                Some((at, what)) = self.inputs.deeds.recv() => self.on_deed(at, what),
                Some(seen) = self.inputs.seen.recv() => self.on_seen(seen),
                Some(batch) = next(&mut self.engine) => self.on_samples(batch, self.recorder.clock().now()),
                Some(()) = self.steps.next(), if !self.steps.is_empty() => {}
                _ = tick.tick() => self.on_tick(),
                () = &mut until => return Flow::Done,
            }
        }
    }

    async fn on_signal(&mut self, signal: &'static str) {
        self.signals_seen += 1;
        match self.signals_seen {
            1 => self.abort("signal", signal),
            2 => {
                let left = super::left(&self.stage.undoer).await;
                let text = if left.is_empty() {
                    format!("{signal} again: nothing is left to undo")
                } else {
                    format!("{signal} again: still undoing {}; a third gives up", left.join("; "))
                };
                self.recorder.record(What::Warning { text });
            }
            _ => {}
        }
    }

    fn on_lease(&mut self, news: LeaseNews) {
        match news {
            LeaseNews::AbortAsked { by } => self.abort("squall abort", &by),
            LeaseNews::Lost { holder } => {
                self.outputs.confirmed.send_replace(false);
                self.abort("lease lost", &format!("`{holder}` holds it now"));
            }
            LeaseNews::Unconfirmed { since } => {
                self.unconfirmed_since = Some(since);
                self.outputs.confirmed.send_replace(false);
                self.on_seen(Seen::Blind(self.recorder.clock().at(since), "the API server".to_owned()));
            }
            LeaseNews::Confirmed => {
                self.unconfirmed_since = None;
                self.outputs.confirmed.send_replace(true);
                self.on_seen(Seen::Back(self.recorder.clock().now(), "the API server".to_owned()));
            }
        }
    }

    fn on_deed(&mut self, at: Micros, what: What) {
        self.book.deed(at, &what);
        self.recorder.record_at(at, what);
    }

    fn on_seen(&mut self, seen: Seen) {
        match &seen {
            Seen::Synced(what) => drop(self.unsynced.remove(what)),
            Seen::Limits(data) => self.on_limits(data),
            _ => {}
        }
        let orders = if let Seen::Object(_, what) = &seen { self.roster.seen(what) } else { Vec::new() };
        for (at, what) in self.book.seen(seen) {
            self.recorder.record_at(at, what);
        }
        let now = Instant::now();
        for order in orders {
            self.turn(order, now, now + LEAD);
        }
    }

    /// An endpoint of a probe begins or ends, once there are probes. Its first slot begins at `start`, and none is planned from `now`
    /// on when it ends.
    fn turn(&mut self, (probe, stream, turn): Order, now: Instant, start: Instant) {
        let (Some(engine), Some(config)) = (&self.engine, self.probes.get(probe)) else { return };
        let at = match turn {
            Turn::Join => {
                engine.join(probe, stream, start);
                start
            }
            Turn::Leave => {
                engine.leave(probe, stream, now);
                now
            }
            Turn::TurnedAway | Turn::Gone => now,
        };
        let since = u64::try_from(at.saturating_duration_since(self.recorder.clock().zero()).as_nanos());
        for what in self.book.turn(probe, config, stream, turn, since.unwrap_or(u64::MAX)) {
            self.recorder.record(what);
        }
    }

    /// The cluster's own limits changed: they count from now on, and `halt` ends every run.
    fn on_limits(&mut self, data: &BTreeMap<String, String>) {
        match ClusterLimits::read(data) {
            Ok(limits) => {
                let halted = limits.halt;
                self.stage.allowance.borrow_mut().renew(limits);
                if halted {
                    self.abort("halt switch", &format!("the ConfigMap `{LIMITS}` of this cluster says `halt: true`"));
                }
            }
            Err(e) => self.abort("halt switch", &format!("the cluster's limits can't be read: {e}")),
        }
    }

    /// Takes samples in; nothing is planned from `now` on that is not planned yet.
    fn on_samples(&mut self, batch: Batch, now: Micros) {
        for what in self.book.samples(batch, now) {
            self.recorder.record(what);
        }
    }

    fn on_tick(&mut self) {
        if let Some(since) = self.unconfirmed_since
            && since.elapsed() > GIVE_UP
        {
            self.abort("lease lost", &format!("it could not be confirmed for {} s", GIVE_UP.as_secs()));
        }
        let now = self.recorder.clock().now();
        for what in self.book.tick(now) {
            self.recorder.record(what);
        }
        if let Some(condition) = self.book.stop_condition(now) {
            self.abort("stop condition", &condition);
        }
    }

    fn abort(&mut self, by: &str, detail: &str) {
        if self.aborting {
            return;
        }
        self.aborting = true;
        self.recorder.record(What::Aborting { by: by.to_owned(), detail: detail.to_owned() });
        self.outputs.stop.send_replace(true);
    }

    /// One request of each probe, to tell a mistake or a dead endpoint before anything is measured.
    async fn preflight(&mut self) -> Option<Concluded> {
        for (index, probe) in self.probes.clone().iter().enumerate() {
            let tried = match self.roster.service(index) {
                None => self.instrument.preflight(probe, StreamKind::Fresh).await,
                Some(service) => match self.roster.ready(index).as_slice() {
                    [] => {
                        let reason = format!("Service `{service}` of probe `{}` has no ready endpoint", probe.name);
                        let (namespace, name) = service.split_once('/').unwrap_or_default();
                        let look =
                            format!("kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}");
                        let reason = format!("{reason} (`{look}` lists them); nothing was injected");
                        return Some(Concluded::new(RunVerdict::Unsteady, reason));
                    }
                    endpoints => any_endpoint(&*self.instrument, probe, endpoints).await,
                },
            };
            let Err(failed) = tried else { continue };
            let step = failed.step.map_or_else(String::new, |step| format!(" ({step:?})").to_lowercase());
            let hint = failed.hint.map_or_else(String::new, |hint| format!("; {hint}"));
            let reason = format!("probe `{}` has no good answer before{step}: {}{hint}", failed.probe, failed.detail);
            return Some(Concluded::new(RunVerdict::Unsteady, format!("{reason}; nothing was injected")));
        }
        None
    }

    /// Starts the probes; the first slot begins at `origin`.
    fn start_probes(&mut self, origin: Instant) -> Option<Concluded> {
        if self.probes.is_empty() {
            return None;
        }
        let zero = self.recorder.clock().zero();
        let plan = probe::Plan { zero, offset: origin.saturating_duration_since(zero), seed: self.plan.seed };
        self.book.begin(&self.probes, u64::try_from(plan.offset.as_nanos()).unwrap_or(u64::MAX));
        match self.instrument.start(&self.probes, plan) {
            Ok(engine) => {
                self.engine = Some(engine);
                for order in self.roster.now() {
                    self.turn(order, origin, origin);
                }
                None
            }
            Err(e) => {
                let hint = e.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
                Some(Concluded::new(RunVerdict::Refused, format!("{e}{hint}")))
            }
        }
    }

    /// Plans no more requests, and waits for those on their way.
    async fn stop_probes(&mut self) {
        let Some(mut engine) = self.engine.take() else { return };
        let now = Instant::now();
        let at = self.recorder.clock().at(now);
        engine.stop_at(now);
        self.recorder.record_at(at, What::ProbesStopped { at });
        let deadline = now + self.book.longest_timeout() + DRAIN;
        while let Ok(Some(batch)) = tokio::time::timeout_at(deadline, engine.next()).await {
            self.on_samples(batch, at);
        }
        match tokio::time::timeout_at(deadline, engine.finish()).await {
            Ok(Ok(accounts)) => self.book.finish(at, &accounts),
            _ => self.recorder.record(What::Warning { text: "the probe engine gave no final account".to_owned() }),
        }
        for what in self.book.completed() {
            self.recorder.record(what);
        }
    }

    /// Judges everything, and draws the verdict.
    async fn conclude(&mut self) -> Concluded {
        while let Ok((at, what)) = self.inputs.deeds.try_recv() {
            self.on_deed(at, what);
        }
        for what in self.book.conclude(self.recorder.clock().now()) {
            self.recorder.record(what);
        }
        let left = super::left(&self.stage.undoer).await;
        conclude(self.recorder.events(), &left)
    }
}

/// A request to one endpoint after another, until one has a good answer: one that is broken is what the phase before is to show, but
/// if none can be reached, nothing can be measured from here.
async fn any_endpoint(
    instrument: &dyn Instrument,
    probe: &ProbeConfig,
    endpoints: &[StreamKind],
) -> Result<(), probe::Preflight> {
    let tried = stream::iter(endpoints).map(|endpoint| instrument.preflight(probe, *endpoint)).buffered(AT_ONCE);
    let mut tried = pin!(tried);
    let mut failed = Ok(());
    while let Some(result) = tried.next().await {
        if result.is_ok() {
            return result;
        }
        failed = result;
    }
    failed
}

/// The next batch of a running engine; pending for ever without one.
async fn next(engine: &mut Option<Engine>) -> Option<Batch> {
    match engine {
        Some(engine) => engine.next().await,
        None => std::future::pending().await,
    }
}
