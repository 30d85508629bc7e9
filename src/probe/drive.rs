//! The loop: sends each slot at its planned instant, settles what comes back, hands samples over.
//!
//! It is open: nothing that the other side does delays a slot. It is one loop for real and for virtual time; only the pacer and the
//! transports differ. What it promises about every slot is in the [module's documentation](super).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ledger::{Counts, Ledger, Reason};
use super::pacer::Pacer;
use super::sample::{Nanos, Outcome, Sample};
use super::schedule::Schedule;
use super::stall::{PROMPT, Span, StallWatch};
use super::steps::Steps;
use super::stream::StreamKind;
use super::transport::{Answer, Exchange, Slot, Transport};

/// How often samples are handed over: a phase ends as soon as its last ones are known.
const FLUSH_EVERY: Duration = Duration::from_millis(20);
/// The bound on lateness while there is no stream: no stream has a larger one, and those that join bring their own.
const LATENESS_NONE: Duration = Duration::from_millis(100);
/// So many samples are handed over at once, without waiting for the next time.
const BATCH_FULL: usize = 8192;

/// What a stream came to since its last batch.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The probe's index in the list that the engine was started with.
    pub probe: usize,
    /// The stream.
    pub stream: StreamKind,
    /// Settled slots, in the order in which they were settled.
    pub samples: Vec<Sample>,
    /// The addresses that answered, with their numbers of answers; at most 256 are told apart in a batch.
    pub remotes: BTreeMap<SocketAddr, u64>,
    /// The stream's account up to now.
    pub counts: Counts,
    /// Samples dropped up to now because the receiver was slow. They are in `counts` all the same.
    pub lost: u64,
    /// Every slot planned before this instant has been handed over, in this batch or an earlier one.
    pub complete_until: Nanos,
}

/// The final account of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSummary {
    /// The probe's index in the list that the engine was started with.
    pub probe: usize,
    /// The stream.
    pub stream: StreamKind,
    /// What became of its slots. Nothing is in flight any more.
    pub counts: Counts,
    /// Samples that were dropped because the receiver was slow.
    pub lost: u64,
}

/// What the loop is told from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// No slot is planned from this instant on.
    Stop(Instant),
    /// Everything in flight is given up.
    Abort,
    /// Another stream of a probe begins.
    Join { probe: usize, stream: StreamKind, start: Instant },
    /// A stream ends.
    Leave { probe: usize, stream: StreamKind, instant: Instant },
}

/// One stream and what carries its requests.
pub(crate) struct Stream<T> {
    pub(crate) probe: usize,
    pub(crate) kind: StreamKind,
    pub(crate) schedule: Schedule,
    pub(crate) timeout: Duration,
    pub(crate) lateness_max: Duration,
    pub(crate) in_flight_max: usize,
    /// No slot of this stream is planned from here on.
    pub(crate) end: Nanos,
    /// It has ended, and everything of it is settled and handed over.
    pub(crate) over: bool,
    pub(crate) transport: T,
    pub(crate) ledger: Ledger,
}

/// What the loop begins with.
pub(crate) struct Drive<T, M> {
    pub(crate) streams: Vec<Stream<T>>,
    pub(crate) zero: Instant,
    /// Descriptors that all streams share.
    pub(crate) files: usize,
    /// Makes a stream that joins: probe, kind, start.
    pub(crate) make: M,
}

impl<T: Transport, M: FnMut(usize, StreamKind, Nanos) -> Option<Stream<T>>> Drive<T, M> {
    /// Runs the streams until they are stopped and everything is settled.
    pub(crate) async fn run(
        self,
        mut pacer: Pacer,
        mut orders: mpsc::UnboundedReceiver<Order>,
        batches: mpsc::Sender<Batch>,
    ) -> Vec<StreamSummary> {
        let Self { streams, zero, files, mut make } = self;
        let mut driver = Driver::new(streams, zero, files, batches);
        let mut flights = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            driver.turn(now);
            while let Some(flight) = driver.next_due(now) {
                flights.push(flight.fly());
            }
            if flights.is_empty() && driver.finished() {
                break;
            }
            let wake = driver.next_wake(now, !flights.is_empty());
            // Flights come first: the schedule is looked at on every turn of the loop anyway.
            tokio::select! {
                biased;
                Some(landing) = flights.next(), if !flights.is_empty() => driver.settle(&landing, Instant::now()),
                order = orders.recv() => match order {
                    // Without an order, nobody is left who could want the rest.
                    Some(Order::Abort) | None => {
                        driver.abort(Instant::now());
                        break;
                    }
                    Some(Order::Stop(instant)) => driver.end = Some(nanos(zero, instant)),
                    Some(Order::Join { probe, stream, start }) if driver.position(probe, stream).is_none() => {
                        driver.join(make(probe, stream, nanos(zero, start)));
                    }
                    Some(Order::Join { .. }) => {}
                    Some(Order::Leave { probe, stream, instant }) => driver.leave(probe, stream, nanos(zero, instant)),
                },
                () = pacer.until(wake) => {}
            }
        }
        drop(flights);
        driver.close().await
    }
}

/// A slot that is to be sent.
struct Flight<T> {
    stream: usize,
    slot: Slot,
    /// After this instant sending it would say nothing any more.
    latest: Instant,
    /// What the engine had lost before it.
    lost: Duration,
    transport: T,
}

/// A slot that came back: sent, or `None` when its turn came too late for that.
struct Landing {
    stream: usize,
    slot: Slot,
    lost: Duration,
    exchange: Option<Exchange>,
}

impl<T: Transport> Flight<T> {
    async fn fly(self) -> Landing {
        let Self { stream, slot, latest, lost, transport } = self;
        // Between the decision and this first step, an overloaded engine may lose much time. To send all the same would only
        // delay those behind.
        let exchange = if Instant::now() > latest { None } else { Some(transport.send(slot).await) };
        Landing { stream, slot, lost, exchange }
    }
}

/// Nanoseconds from `zero` to `at`.
fn nanos(zero: Instant, at: Instant) -> Nanos {
    u64::try_from(at.saturating_duration_since(zero).as_nanos()).unwrap_or(u64::MAX)
}

struct Driver<T> {
    streams: Vec<Stream<T>>,
    zero: Instant,
    /// The next planned instant of each stream, soonest first.
    next: BinaryHeap<Reverse<(Nanos, usize)>>,
    end: Option<Nanos>,
    stalls: StallWatch,
    timeout_max: Duration,
    /// Descriptors that all streams share, and what comes to each.
    files: usize,
    share: usize,
    /// The stream whose batch did not fit the last time: the next time begins with it, so that each has its turn.
    first: usize,
    beat: Instant,
    flush: Instant,
    batches: mpsc::Sender<Batch>,
}

impl<T: Transport> Driver<T> {
    fn new(streams: Vec<Stream<T>>, zero: Instant, files: usize, batches: mpsc::Sender<Batch>) -> Self {
        let now = Instant::now();
        let lateness_max = streams.iter().map(|stream| stream.lateness_max).min().unwrap_or(LATENESS_NONE);
        let mut driver = Self {
            next: streams.iter().enumerate().map(|(index, s)| Reverse((s.schedule.planned(0), index))).collect(),
            stalls: StallWatch::new(lateness_max, now),
            timeout_max: streams.iter().map(|stream| stream.timeout).max().unwrap_or_default(),
            end: None,
            beat: now,
            flush: now + FLUSH_EVERY,
            files,
            share: files,
            first: 0,
            streams,
            zero,
            batches,
        };
        driver.divide();
        driver
    }

    fn position(&self, probe: usize, kind: StreamKind) -> Option<usize> {
        self.streams.iter().position(|stream| stream.probe == probe && stream.kind == kind)
    }

    fn join(&mut self, stream: Option<Stream<T>>) {
        let Some(stream) = stream else { return };
        self.stalls.mind(stream.lateness_max);
        self.timeout_max = self.timeout_max.max(stream.timeout);
        self.next.push(Reverse((stream.schedule.planned(stream.ledger.counts().planned), self.streams.len())));
        self.streams.push(stream);
        self.divide();
    }

    fn leave(&mut self, probe: usize, kind: StreamKind, end: Nanos) {
        let Some(index) = self.position(probe, kind) else { return };
        let Some(stream) = self.streams.get_mut(index) else { return };
        stream.end = stream.end.min(end);
        let end = stream.end;
        self.next.retain(|Reverse((planned, of))| *of != index || *planned < end);
    }

    /// Shares the descriptors among the streams that may have requests in flight.
    fn divide(&mut self) {
        let streams = self.streams.iter().filter(|stream| !stream.over).count();
        self.share = (self.files / streams.max(1)).max(1);
    }

    /// Everything that is due on each turn of the loop, but for the slots.
    fn turn(&mut self, now: Instant) {
        self.stalls.woke(now);
        if now >= self.flush {
            // What was in flight during a stall has ended a timeout later; the rest is the timer's own lateness.
            self.stalls.forget(now.checked_sub(self.timeout_max * 2 + FLUSH_EVERY).unwrap_or(self.zero));
            self.hand_over_all();
            self.flush = now + FLUSH_EVERY;
        }
    }

    /// Enters the next slot that is due into its ledger. Returns one that is to be sent; settles those that are not.
    fn next_due(&mut self, now: Instant) -> Option<Flight<T>> {
        loop {
            let &Reverse((planned, index)) = self.next.peek()?;
            if planned > nanos(self.zero, now) || self.end.is_some_and(|end| planned >= end) {
                return None;
            }
            self.next.pop();
            let stream = self.streams.get_mut(index)?;
            let number = stream.ledger.plan(planned);
            let following = stream.schedule.planned(number + 1);
            if following < stream.end {
                self.next.push(Reverse((following, index)));
            }
            let in_flight = stream.ledger.counts().in_flight;
            let at = self.zero + Duration::from_nanos(planned);
            // No burst after a stall: what it swallowed stays unsent, and nobody claims to know what it would have met.
            let late = now.saturating_duration_since(at) > stream.lateness_max;
            let outcome = if late || self.stalls.swallowed(at, stream.lateness_max) {
                Outcome::Unknown
            } else if in_flight > stream.in_flight_max.min(self.share) as u64 {
                Outcome::Capped
            } else {
                let slot = Slot { number, planned: at, deadline: at + stream.timeout };
                let latest = at + stream.lateness_max;
                let (lost, transport) = (self.stalls.lost(), stream.transport.clone());
                return Some(Flight { stream: index, slot, latest, lost, transport });
            };
            self.settle_unsent(index, number, planned, outcome, now);
        }
    }

    /// Settles a slot for which nothing was sent.
    fn settle_unsent(&mut self, index: usize, slot: u64, planned: Nanos, outcome: Outcome, now: Instant) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        let done = nanos(self.zero, now);
        let reason = (outcome == Outcome::Unknown).then_some(Reason::Stalled);
        stream.ledger.settle(
            Sample { slot, planned, sent: planned, done, outcome, reused: false, steps: Steps::default() },
            reason,
        );
        self.hand_over_if_full(index);
    }

    fn settle(&mut self, landing: &Landing, now: Instant) {
        self.stalls.woke(now);
        let Landing { stream: index, slot, lost, exchange } = landing;
        let Some(exchange) = exchange else {
            return self.settle_unsent(*index, slot.number, nanos(self.zero, slot.planned), Outcome::Unknown, now);
        };
        let Some(stream) = self.streams.get_mut(*index) else { return };
        let late = exchange.sent.saturating_duration_since(slot.planned) > stream.lateness_max;
        let span = Span { sent: exchange.sent, done: exchange.done, lost_before: *lost };
        // What the kernel dated came by itself once this end had done its part: standing still from then on did no harm.
        let dated = exchange.acted.is_some_and(|acted| acted.saturating_duration_since(exchange.sent) <= PROMPT);
        let stalled = || !dated && self.stalls.spoils(span, stream.lateness_max);
        let (outcome, reason) = match exchange.answer {
            _ if late => (Outcome::ClientLate, None),
            Answer::Local(trouble) => (Outcome::Unknown, Some(Reason::Local(trouble))),
            _ if stalled() => (Outcome::Unknown, Some(Reason::Stalled)),
            Answer::Good => (Outcome::Good, None),
            Answer::Bad { class, status } => (Outcome::Bad { class, status }, None),
        };
        let answered = matches!(exchange.answer, Answer::Good | Answer::Bad { status: 1.., .. });
        if let (Some(remote), true) = (exchange.remote, answered) {
            stream.ledger.answered_by(remote);
        }
        let sample = Sample {
            slot: slot.number,
            planned: nanos(self.zero, slot.planned),
            sent: nanos(self.zero, exchange.sent),
            done: nanos(self.zero, exchange.done),
            outcome,
            reused: exchange.reused,
            steps: exchange.steps,
        };
        stream.ledger.settle(sample, reason);
        self.hand_over_if_full(*index);
    }

    /// Settles everything in flight as unknown.
    fn abort(&mut self, now: Instant) {
        let done = nanos(self.zero, now);
        for stream in &mut self.streams {
            for (slot, planned) in stream.ledger.in_flight() {
                let outcome = Outcome::Unknown;
                let sample =
                    Sample { slot, planned, sent: planned, done, outcome, reused: false, steps: Steps::default() };
                stream.ledger.settle(sample, Some(Reason::Aborted));
            }
        }
        self.end = Some(0);
    }

    /// Whether no slot is left to be planned.
    fn finished(&self) -> bool {
        // Without an end, a stream may still join.
        self.end.is_some_and(|end| self.next.peek().is_none_or(|Reverse((planned, _))| *planned >= end))
    }

    fn next_wake(&mut self, now: Instant, in_flight: bool) -> Instant {
        let planned = self.next.peek().map(|Reverse((planned, _))| *planned);
        let planned = planned.filter(|planned| self.end.is_none_or(|end| *planned < end));
        let mut wake = self.flush;
        if let Some(planned) = planned {
            wake = wake.min(self.zero + Duration::from_nanos(planned));
        }
        if in_flight {
            if self.beat <= now {
                self.beat = self.stalls.next_beat(now);
            }
            wake = wake.min(self.beat);
        }
        self.stalls.sleeps_until(wake);
        wake
    }

    fn hand_over_if_full(&mut self, index: usize) {
        if self.streams.get(index).is_some_and(|stream| stream.ledger.kept() % BATCH_FULL == 0) {
            let _later = !self.hand_over(index);
        }
    }

    /// Hands over of each stream that is not over, as far as there is room.
    fn hand_over_all(&mut self) {
        let (first, streams) = (self.first, self.streams.len());
        for index in (0..streams).map(|offset| (first + offset) % streams) {
            if !self.hand_over(index) {
                self.first = index;
                return;
            }
        }
    }

    /// Hands over without waiting: what does not fit stays in the ledger until the next time, which is then told by `false`.
    fn hand_over(&mut self, index: usize) -> bool {
        if self.streams.get(index).is_none_or(|stream| stream.over) {
            return true;
        }
        let Some(batch) = self.batch(index) else { return true };
        let complete = batch.complete_until == Nanos::MAX;
        let refused = self.batches.try_send(batch);
        let Some(stream) = self.streams.get_mut(index) else { return true };
        if let Err(mpsc::error::TrySendError::Full(batch)) = refused {
            stream.ledger.put_back(batch.samples, batch.remotes);
            return false;
        }
        stream.over = complete && stream.end < Nanos::MAX;
        if stream.over {
            self.divide();
        }
        true
    }

    fn batch(&mut self, index: usize) -> Option<Batch> {
        let finished = self.finished();
        let stream = self.streams.get_mut(index)?;
        let counts = stream.ledger.counts();
        let next = stream.schedule.planned(counts.planned);
        let next = if finished || next >= stream.end { Nanos::MAX } else { next };
        let (samples, remotes) = stream.ledger.take();
        Some(Batch {
            probe: stream.probe,
            stream: stream.kind,
            samples,
            remotes,
            counts,
            lost: stream.ledger.lost(),
            complete_until: stream.ledger.oldest_open().unwrap_or(next),
        })
    }

    /// Hands over the rest. Nothing has to be on time any more, so a slow receiver is waited for.
    async fn close(mut self) -> Vec<StreamSummary> {
        for index in 0..self.streams.len() {
            if let Some(batch) = self.batch(index)
                && self.batches.send(batch).await.is_err()
            {
                break;
            }
        }
        let summary = |stream: &Stream<T>| StreamSummary {
            probe: stream.probe,
            stream: stream.kind,
            counts: stream.ledger.counts(),
            lost: stream.ledger.lost(),
        };
        self.streams.iter().map(summary).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Never;

    impl Transport for Never {
        async fn send(self, slot: Slot) -> Exchange {
            panic!("slot {} was sent", slot.number)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_whose_turn_comes_too_late_is_not_sent() {
        let planned = Instant::now();
        let slot = Slot { number: 4, planned, deadline: planned + FLUSH_EVERY };
        let latest = planned + FLUSH_EVERY / 10;
        let flight = Flight { stream: 0, slot, latest, lost: Duration::ZERO, transport: Never };
        tokio::time::advance(FLUSH_EVERY / 5).await;
        assert!(flight.fly().await.exchange.is_none());
    }
}
