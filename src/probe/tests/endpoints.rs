//! Streams that join and leave while the loop runs, on tokio's paused clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::{
    Answer, Batch, Engine, Exchange, Outcome, Plan, Schedule, Slot, Steps, StreamKind, StreamSummary, Transport,
};
use super::probe;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(200);

/// Answers after 3 ms, and remembers what was sent when.
#[derive(Clone)]
struct Fake {
    stream: StreamKind,
    sent: Rc<RefCell<Vec<(StreamKind, Instant)>>>,
}

impl Transport for Fake {
    async fn send(self, _: Slot) -> Exchange {
        let sent = Instant::now();
        self.sent.borrow_mut().push((self.stream, sent));
        sleep(3 * MS).await;
        let (done, acted, remote) = (Instant::now(), None, None);
        Exchange { answer: Answer::Good, sent, done, acted, reused: false, steps: Steps::default(), remote }
    }
}

fn endpoint(address: &str, life: u32) -> StreamKind {
    StreamKind::Endpoint { address: address.parse().unwrap(), life }
}

/// A run of a probe per endpoint, and when it began.
struct Run {
    zero: Instant,
    sent: Vec<(StreamKind, Instant)>,
    batches: Vec<Batch>,
    accounts: BTreeMap<StreamKind, StreamSummary>,
}

impl Run {
    /// When requests were sent on a stream, from the beginning.
    fn sent(&self, stream: StreamKind) -> Vec<Duration> {
        self.sent.iter().filter(|(of, _)| *of == stream).map(|(_, at)| *at - self.zero).collect()
    }

    /// The instants that the schedule of a stream plans between two instants.
    fn planned(stream: StreamKind, from: Duration, to: Duration) -> Vec<Duration> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap();
        let schedule = Schedule::new("100/s".parse().unwrap(), nanos(from), 7, "web", stream);
        (0..schedule.slots_before(nanos(to))).map(|slot| Duration::from_nanos(schedule.planned(slot))).collect()
    }
}

/// Runs a probe without streams of its own for so long, under what `meanwhile` orders.
async fn run(length: Duration, meanwhile: impl AsyncFnOnce(&Engine, Instant)) -> Run {
    let sent = Rc::<RefCell<Vec<_>>>::default();
    let noted = Rc::clone(&sent);
    let config = probe("http://web.shop.svc/", "100/s", TIMEOUT, &[StreamKind::PerEndpoint]);
    let run = async {
        let zero = Instant::now();
        let plan = Plan { zero, offset: Duration::ZERO, seed: 7 };
        let (mut engine, driver) =
            Engine::inline(&[config], plan, move |_, stream| Fake { stream, sent: Rc::clone(&noted) });
        tokio::task::spawn_local(driver);
        meanwhile(&engine, zero).await;
        engine.stop_at(zero + length);
        let mut batches = Vec::new();
        while let Some(batch) = engine.next().await {
            batches.push(batch);
        }
        let accounts = engine.finish().await.unwrap();
        (zero, batches, accounts.into_iter().map(|account| (account.stream, account)).collect())
    };
    let (zero, batches, accounts) = LocalSet::new().run_until(run).await;
    let sent = sent.borrow().clone();
    Run { zero, sent, batches, accounts }
}

/// Planned instants as they are sent: tokio's timer counts in milliseconds.
fn close(sent: &[Duration], planned: &[Duration]) {
    assert_eq!(sent.len(), planned.len());
    for (sent, planned) in sent.iter().zip(planned) {
        assert!(sent >= planned && sent.saturating_sub(*planned) <= MS, "planned at {planned:?}, sent at {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_when_it_joins_and_has_no_slot_after_it_left() {
    let (stays, leaves) = (endpoint("10.0.0.1:80", 1), endpoint("10.0.0.2:80", 1));
    let run = run(3 * S, async |engine, zero| {
        engine.join(0, stays, zero);
        sleep_until(zero + S).await;
        engine.join(0, leaves, zero + S);
        sleep_until(zero + 2 * S).await;
        engine.leave(0, leaves, zero + 2 * S);
    })
    .await;
    close(&run.sent(stays), &Run::planned(stays, Duration::ZERO, 3 * S));
    close(&run.sent(leaves), &Run::planned(leaves, S, 2 * S));
    for (stream, slots) in [(stays, 300), (leaves, 100)] {
        let counts = run.accounts[&stream].counts;
        assert_eq!((counts.planned, counts.good, counts.in_flight), (slots, slots, 0), "{stream}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_comes_back_is_another_stream_with_a_plan_of_its_own() {
    let (first, second) = (endpoint("10.0.0.1:80", 1), endpoint("10.0.0.1:80", 2));
    let run = run(3 * S, async |engine, zero| {
        engine.join(0, first, zero);
        // A second word about the same stream changes nothing.
        engine.join(0, first, zero);
        sleep_until(zero + S).await;
        engine.leave(0, first, zero + S);
        sleep_until(zero + 2 * S).await;
        engine.join(0, first, zero + 2 * S);
        engine.join(0, second, zero + 2 * S);
    })
    .await;
    close(&run.sent(first), &Run::planned(first, Duration::ZERO, S));
    close(&run.sent(second), &Run::planned(second, 2 * S, 3 * S));
    let shape = |planned: Vec<Duration>, from: Duration| {
        planned.into_iter().map(|at| at.saturating_sub(from)).collect::<Vec<_>>()
    };
    let plans = [Run::planned(first, Duration::ZERO, S), shape(Run::planned(second, 2 * S, 3 * S), 2 * S)];
    assert_ne!(plans[0], plans[1]);
    assert_eq!(run.accounts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_batch_of_a_stream_that_left_says_so_and_has_everything() {
    let (stays, leaves) = (endpoint("10.0.0.1:80", 1), endpoint("10.0.0.2:80", 1));
    let run = run(2 * S, async |engine, zero| {
        engine.join(0, stays, zero);
        engine.join(0, leaves, zero);
        sleep_until(zero + S).await;
        engine.leave(0, leaves, zero + S);
    })
    .await;
    let of: Vec<&Batch> = run.batches.iter().filter(|batch| batch.stream == leaves).collect();
    let last = of.iter().position(|batch| batch.complete_until == u64::MAX).unwrap();
    let until: usize = of[..=last].iter().map(|batch| batch.samples.len()).sum();
    assert_eq!((until, of[last].counts.planned), (100, 100));
    // The other stream goes on, and nothing is said of this one until the final account.
    let after =
        run.batches.iter().position(|batch| batch.stream == leaves && batch.complete_until == u64::MAX).unwrap();
    assert!(run.batches[after..].iter().filter(|batch| batch.stream == stays).count() >= 40);
    assert!(of.len() - last <= 2, "{} batches after the last", of.len() - last - 1);
}

#[tokio::test(start_paused = true)]
async fn many_streams_share_a_small_channel_and_none_is_left_behind() {
    const STREAMS: u16 = 600;
    let run = run(S, async |engine, zero| {
        for port in 1..=STREAMS {
            engine.join(0, endpoint(&format!("10.0.0.1:{port}"), 1), zero);
        }
        // Nobody takes batches meanwhile.
        sleep_until(zero + S).await;
    })
    .await;
    assert_eq!(run.accounts.len(), usize::from(STREAMS));
    let mut samples: BTreeMap<StreamKind, u64> = BTreeMap::new();
    for batch in &run.batches {
        assert!(batch.samples.iter().all(|sample| sample.outcome == Outcome::Good));
        *samples.entry(batch.stream).or_default() += batch.samples.len() as u64;
    }
    for (stream, account) in &run.accounts {
        assert_eq!((samples[stream], account.counts.planned, account.lost), (100, 100, 0), "{stream}");
    }
}
