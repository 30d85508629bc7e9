//! The probe loop as the runner sees it: start, take batches, stop, read the final account.

use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rustix::process::{Resource, getrlimit};
use thread_priority::unix::{RealtimeThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id};
use thread_priority::{ThreadPriority, ThreadSchedulePolicy};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::config::{ProbeConfig, SetupError};
use super::drive::{Batch, Drive, Order, Stream, StreamSummary};
use super::ledger::Ledger;
use super::pacer::Pacer;
use super::sample::Nanos;
use super::schedule::Schedule;
use super::stream::StreamKind;
use super::transport::Transport;
use super::transport::real::Prepared;
use super::transport::stamped::keep_stamping;

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
    orders: mpsc::UnboundedSender<Order>,
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
            let _stamping = keep_stamping();
            let transport = move |probe: usize, stream| targets.get(probe).map(|target| target.transport(stream));
            outlet.run(Maker { probes, plan, transport }, files(), Pacer::real_time()).await;
        })?;
        Ok(engine)
    }

    /// The same probes over other transports, on the caller's runtime: the returned future has to be polled for anything to
    /// happen. Under a paused tokio clock this runs in virtual time.
    ///
    /// `transport` is called once for each stream, with the probe's index: for those of endpoints when they join.
    pub fn inline<T: Transport>(
        probes: &[ProbeConfig],
        plan: Plan,
        mut transport: impl FnMut(usize, StreamKind) -> T + 'static,
    ) -> (Self, LocalBoxFuture<'static, ()>) {
        let (engine, outlet) = Self::wire();
        let transport = move |probe, stream| Some(transport(probe, stream));
        let maker = Maker { probes: probes.to_vec(), plan, transport };
        (engine, outlet.run(maker, usize::MAX, Pacer::tokio()).boxed_local())
    }

    fn wire() -> (Self, Outlet) {
        let (batch_in, batches) = mpsc::channel(BATCHES_WAITING);
        let (orders, told) = mpsc::unbounded_channel();
        let (summary_in, summary) = oneshot::channel();
        (Self { batches, orders, summary }, Outlet { batches: batch_in, told, summary: summary_in })
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
        self.order(Order::Stop(instant));
    }

    /// Begins another stream of a probe, whose slot 0 begins at `start`. A stream that there has been already is not begun again.
    pub fn join(&self, probe: usize, stream: StreamKind, start: Instant) {
        self.order(Order::Join { probe, stream, start });
    }

    /// Plans no slot of this stream from `instant` on. Its last batch is [`complete`](Batch::complete_until) for all time.
    pub fn leave(&self, probe: usize, stream: StreamKind, instant: Instant) {
        self.order(Order::Leave { probe, stream, instant });
    }

    /// Ends at once: what is in flight becomes unknown.
    pub fn abort(&self) {
        self.order(Order::Abort);
    }

    fn order(&self, order: Order) {
        // An engine that has ended needs no orders.
        let _ended = self.orders.send(order);
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
    told: mpsc::UnboundedReceiver<Order>,
    summary: oneshot::Sender<Vec<StreamSummary>>,
}

impl Outlet {
    async fn run<T, F>(self, mut maker: Maker<F>, files: usize, pacer: Pacer)
    where
        T: Transport,
        F: FnMut(usize, StreamKind) -> Option<T>,
    {
        let start = Nanos::try_from(maker.plan.offset.as_nanos()).unwrap_or(Nanos::MAX);
        let probes = maker.probes.clone();
        let kinds =
            probes.iter().enumerate().flat_map(|(probe, config)| config.streams.iter().map(move |kind| (probe, *kind)));
        let sent = kinds.filter(|(_, kind)| *kind != StreamKind::PerEndpoint);
        let streams = sent.filter_map(|(probe, kind)| maker.stream(probe, kind, start)).collect();
        let zero = maker.plan.zero;
        let make = move |probe, kind, start| maker.stream(probe, kind, start);
        let summary = Drive { streams, zero, files, make }.run(pacer, self.told, self.batches).await;
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

/// Makes streams, those of the beginning and those that join.
struct Maker<F> {
    probes: Vec<ProbeConfig>,
    plan: Plan,
    transport: F,
}

impl<F> Maker<F> {
    /// A stream of a probe, whose slot 0 begins at `start`.
    fn stream<T>(&mut self, probe: usize, kind: StreamKind, start: Nanos) -> Option<Stream<T>>
    where
        F: FnMut(usize, StreamKind) -> Option<T>,
    {
        let config = self.probes.get(probe)?;
        // The deadline alone bounds what is in flight: no more than the slots of one timeout. Twice that leaves room for its own
        // lateness, so that only a small configured cap or a small descriptor limit ever bites.
        let slots = config.rate.slots_in(config.timeout).saturating_mul(2).saturating_add(64);
        let possible = usize::try_from(slots).unwrap_or(usize::MAX);
        Some(Stream {
            probe,
            kind,
            schedule: Schedule::new(config.rate, start, self.plan.seed, &config.name, kind),
            timeout: config.timeout,
            lateness_max: config.lateness_max(),
            in_flight_max: config.in_flight_max.unwrap_or(possible),
            end: Nanos::MAX,
            over: false,
            transport: (self.transport)(probe, kind)?,
            ledger: Ledger::default(),
        })
    }
}

/// The descriptors that the streams may share: those that this process may open, without what the rest of it needs.
fn files() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit.saturating_sub(FILES_RESERVED)).unwrap_or(usize::MAX))
}
