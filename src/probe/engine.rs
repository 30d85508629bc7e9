//! The probe loop as the runner sees it: start, take batches, stop, read the final account.

use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rustix::process::{Resource, getrlimit};
use thread_priority::unix::{RealtimeThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id};
use thread_priority::{ThreadPriority, ThreadSchedulePolicy};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::config::{ProbeConfig, SetupError};
use super::drive::{Batch, Control, Stream, StreamSummary, drive};
use super::ledger::Ledger;
use super::pacer::Pacer;
use super::sample::Nanos;
use super::schedule::Schedule;
use super::stream::StreamKind;
use super::transport::Transport;
use super::transport::real::Prepared;

/// Batches that wait for a slow receiver before samples stay behind in the engine.
const BATCHES_WAITING: usize = 256;
/// Descriptors left to the rest of the program.
const FILES_RESERVED: u64 = 256;

/// When the probes begin and what fixes their plan.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The instant that all times in samples are counted from.
    pub zero: Instant,
    /// How long after `zero` slot 0 of every stream begins. Slots whose instant is over before the engine runs are unknown, so
    /// leave it a few milliseconds.
    pub offset: Duration,
    /// Fixes the planned instants, together with the probes' names and rates.
    pub seed: u64,
}

/// Running probes.
///
/// Dropping the engine aborts it. Nothing that the holder does or fails to do delays a slot: if batches are not taken, samples are
/// kept, up to a bound, and then dropped and counted.
#[derive(Debug)]
pub struct Engine {
    batches: mpsc::Receiver<Batch>,
    control: watch::Sender<Control>,
    summary: oneshot::Receiver<Vec<StreamSummary>>,
}

/// The engine's thread ended without a final account: a bug in the engine.
#[derive(Debug, thiserror::Error)]
#[error("the probe engine died")]
pub struct EngineDied;

impl Engine {
    /// Starts the probes in real time, on a thread and a runtime of their own, so that the rest of the program can't delay them.
    ///
    /// Reads the system's DNS configuration and certificate authorities first; sends nothing before `plan.zero + plan.offset`.
    pub fn start(probes: &[ProbeConfig], plan: Plan) -> Result<Self, SetupError> {
        let targets = probes.iter().map(Prepared::of).collect::<Result<Vec<_>, _>>()?;
        let probes = probes.to_vec();
        let (engine, outlet) = Self::wire();
        on_own_thread("probes", move || async move {
            ahead_of_others();
            let probes = probes.iter().zip(targets).enumerate();
            let streams = probes.flat_map(|(index, (probe, target))| {
                streams_of(index, probe, plan, move |stream| target.transport(stream))
            });
            outlet.run(bounded(streams.collect()), plan.zero, Pacer::real_time()).await;
        })?;
        Ok(engine)
    }

    /// The same probes over other transports, on the caller's runtime: the returned future has to be polled for anything to
    /// happen. Under a paused tokio clock this runs in virtual time.
    ///
    /// `transport` is called once for each stream, with the probe's index.
    pub fn inline<T: Transport>(
        probes: &[ProbeConfig],
        plan: Plan,
        mut transport: impl FnMut(usize, StreamKind) -> T,
    ) -> (Self, LocalBoxFuture<'static, ()>) {
        let mut streams = Vec::new();
        for (index, probe) in probes.iter().enumerate() {
            streams.extend(streams_of(index, probe, plan, |stream| transport(index, stream)));
        }
        let (engine, outlet) = Self::wire();
        (engine, outlet.run(streams, plan.zero, Pacer::Tokio).boxed_local())
    }

    fn wire() -> (Self, Outlet) {
        let (batch_in, batches) = mpsc::channel(BATCHES_WAITING);
        let (control, told) = watch::channel(Control::default());
        let (summary_in, summary) = oneshot::channel();
        (Self { batches, control, summary }, Outlet { batches: batch_in, told, summary: summary_in })
    }

    /// The next batch; a stream has one at least every 20 ms. `None` once the engine was stopped and everything is handed over.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }

    /// Plans no slot from `instant` on, in any stream. What is in flight is waited for until its deadline.
    ///
    /// Slots at or after `instant` that were already sent stay in the account. A later call replaces an earlier one.
    pub fn stop_at(&self, instant: Instant) {
        self.control.send_modify(|control| control.stop = Some(instant));
    }

    /// Ends at once: what is in flight becomes unknown.
    pub fn abort(&self) {
        self.control.send_modify(|control| control.abort = true);
    }

    /// Waits for the end, dropping batches that were not taken, and returns the final account of every stream. Without an earlier
    /// [`stop_at`](Self::stop_at) or [`abort`](Self::abort) this never returns.
    pub async fn finish(mut self) -> Result<Vec<StreamSummary>, EngineDied> {
        while self.next().await.is_some() {}
        self.summary.await.map_err(|_| EngineDied)
    }
}

/// The engine's end of the wires.
struct Outlet {
    batches: mpsc::Sender<Batch>,
    told: watch::Receiver<Control>,
    summary: oneshot::Sender<Vec<StreamSummary>>,
}

impl Outlet {
    async fn run<T: Transport>(self, streams: Vec<Stream<T>>, zero: Instant, pacer: Pacer) {
        let summary = drive(streams, zero, pacer, self.told, self.batches).await;
        // The holder may have left.
        drop(self.summary.send(summary));
    }
}

/// Asks for the lowest real-time priority: a request that leaves late because other processes were busy would say nothing of the
/// service. Only root and `CAP_SYS_NICE` are given it; without it, what is late is counted as late all the same. The kernel keeps a
/// share of the CPU for ordinary threads, and the loop sleeps between slots.
fn ahead_of_others() {
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let _refused = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, fifo);
}

/// Runs a future on a thread of its own, with a runtime that nothing else uses.
pub(crate) fn on_own_thread<F, R>(name: &str, main: F) -> Result<(), SetupError>
where
    F: FnOnce() -> R + Send + 'static,
    R: Future<Output = ()>,
{
    let fail = |error| SetupError::new(None, format!("no thread could be started for {name}")).source(error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
    let run = move || LocalSet::new().block_on(&runtime, async move { main().await });
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop).map_err(fail)
}

/// The streams of one probe.
fn streams_of<T>(
    probe: usize,
    config: &ProbeConfig,
    plan: Plan,
    mut transport: impl FnMut(StreamKind) -> T,
) -> impl Iterator<Item = Stream<T>> {
    let start = Nanos::try_from(plan.offset.as_nanos()).unwrap_or(Nanos::MAX);
    // The deadline alone bounds what is in flight: no more than the slots of one timeout. Twice that leaves room for its own
    // lateness, so that only a small configured cap or a small descriptor limit ever bites.
    let slots = config.rate.slots_in(config.timeout).saturating_mul(2).saturating_add(64);
    let possible = usize::try_from(slots).unwrap_or(usize::MAX);
    config.streams.iter().map(move |kind| Stream {
        probe,
        kind: *kind,
        schedule: Schedule::new(config.rate, start, plan.seed, &config.name, *kind),
        timeout: config.timeout,
        lateness_max: config.lateness_max(),
        in_flight_max: config.in_flight_max.unwrap_or(possible),
        transport: transport(*kind),
        ledger: Ledger::default(),
    })
}

/// Shares the descriptors that this process may open among the streams.
fn bounded<T>(mut streams: Vec<Stream<T>>) -> Vec<Stream<T>> {
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        let usable = usize::try_from(limit.saturating_sub(FILES_RESERVED)).unwrap_or(usize::MAX);
        let share = (usable / streams.len().max(1)).max(1);
        for stream in &mut streams {
            stream.in_flight_max = stream.in_flight_max.min(share);
        }
    }
    streams
}
