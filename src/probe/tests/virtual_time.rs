//! The loop over a made-up transport, on tokio's paused clock.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, advance, sleep, sleep_until};

use super::super::{
    Answer, Batch, Class, Counts, Engine, Exchange, Outcome, Plan, Sample, Schedule, Slot, Steps, StreamKind,
    Transport, Trouble,
};
use super::probe;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// Does with each slot what the test says, and remembers which slots it was given.
#[derive(Clone)]
struct Fake {
    script: fn(Slot) -> Script,
    sent: Rc<RefCell<Vec<u64>>>,
}

/// What becomes of one request.
enum Script {
    /// Good after so long.
    Good(Duration),
    /// Good after so long by the kernel's word, though the engine may have looked later.
    Dated(Duration),
    /// No answer until the deadline.
    Silence,
    /// Sent only after so long.
    Late(Duration),
    /// Not possible on this machine.
    Local(Trouble),
}

impl Fake {
    fn new(script: fn(Slot) -> Script) -> Self {
        Self { script, sent: Rc::default() }
    }
}

impl Transport for Fake {
    async fn send(self, slot: Slot) -> Exchange {
        self.sent.borrow_mut().push(slot.number);
        let mut sent = Instant::now();
        let (mut done, mut acted) = (None, None);
        let answer = match (self.script)(slot) {
            Script::Good(after) => {
                sleep(after).await;
                Answer::Good
            }
            Script::Dated(after) => {
                sleep(after).await;
                (done, acted) = (Some(sent + after), Some(sent));
                Answer::Good
            }
            Script::Silence => {
                sleep_until(slot.deadline).await;
                Answer::Bad { class: Class::ResponseTimeout, status: 0 }
            }
            Script::Late(by) => {
                sent += by;
                sleep(by).await;
                Answer::Good
            }
            Script::Local(trouble) => Answer::Local(trouble),
        };
        let done = done.unwrap_or_else(Instant::now);
        Exchange { sent, done, acted, answer, reused: false, remote: None, steps: Steps::default() }
    }
}

/// What a run gave.
struct Run {
    samples: Vec<Sample>,
    counts: Counts,
    lost: u64,
    sent: Vec<u64>,
    batches: Vec<Batch>,
}

/// Runs one fresh stream at 100/s with a timeout of 200 ms while `meanwhile` does its part, and stops it after `length`.
async fn run(script: fn(Slot) -> Script, length: Duration, meanwhile: impl AsyncFnOnce(&mut Engine)) -> Run {
    let config = probe("http://127.0.0.1/", "100/s", 200 * MS, &[StreamKind::Fresh]);
    run_probe(config, script, length, meanwhile).await
}

async fn run_probe(
    config: super::super::ProbeConfig,
    script: fn(Slot) -> Script,
    length: Duration,
    meanwhile: impl AsyncFnOnce(&mut Engine),
) -> Run {
    let fake = Fake::new(script);
    let transport = fake.clone();
    let local = LocalSet::new();
    let (batches, summary) = local
        .run_until(async {
            let zero = Instant::now();
            let plan = Plan { zero, offset: Duration::ZERO, seed: 7 };
            let (mut engine, driver) = Engine::inline(&[config], plan, move |_, _| transport.clone());
            tokio::task::spawn_local(driver);
            engine.stop_at(zero + length);
            meanwhile(&mut engine).await;
            let mut batches = Vec::new();
            while let Some(batch) = engine.next().await {
                batches.push(batch);
            }
            (batches, engine.finish().await.unwrap())
        })
        .await;
    let mut samples: Vec<_> = batches.iter().flat_map(|batch| batch.samples.clone()).collect();
    samples.sort_by_key(|sample| sample.slot);
    let sent = fake.sent.borrow().clone();
    Run { samples, counts: summary[0].counts, lost: summary[0].lost, sent, batches }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

/// Every slot up to the stop, each once, at its planned instant; and the account says the same as the samples.
fn check(run: &Run, length: Duration) {
    let schedule = Schedule::new("100/s".parse().unwrap(), 0, 7, "web", StreamKind::Fresh);
    let expected: Vec<_> =
        (0..schedule.slots_before(nanos(length))).map(|slot| (slot, schedule.planned(slot))).collect();
    let got: Vec<_> = run.samples.iter().map(|sample| (sample.slot, sample.planned)).collect();
    assert_eq!(got, expected);
    let count = |wanted: fn(&Outcome) -> bool| run.samples.iter().filter(|s| wanted(&s.outcome)).count() as u64;
    assert_eq!(run.counts.good, count(|o| matches!(o, Outcome::Good)));
    assert_eq!(run.counts.bad, count(|o| matches!(o, Outcome::Bad { .. })));
    assert_eq!(run.counts.unknown.total(), count(|o| matches!(o, Outcome::Unknown)));
    assert_eq!(run.counts.client_late, count(|o| matches!(o, Outcome::ClientLate)));
    assert_eq!(run.counts.capped, count(|o| matches!(o, Outcome::Capped)));
    assert!(run.counts.balanced() && run.counts.in_flight == 0);
    assert_eq!((run.counts.planned, run.lost), (expected.len() as u64, 0));
    let mut sent = run.sent.clone();
    sent.dedup();
    assert_eq!(sent, run.sent, "a slot was sent twice");
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_pass_in_no_time_and_every_slot_is_accounted_for() {
    let length = 600 * S;
    let run = run(|_| Script::Good(7 * MS), length, async |_| {}).await;
    check(&run, length);
    assert_eq!(run.counts.good, run.counts.planned);
    // The paused clock goes in whole milliseconds.
    assert!(run.samples.iter().all(|s| s.lateness() <= nanos(MS) && s.service_time() == nanos(7 * MS)));
}

#[tokio::test(start_paused = true)]
async fn two_runs_with_one_seed_are_equal() {
    let script = |slot: Slot| if slot.number.is_multiple_of(3) { Script::Silence } else { Script::Good(MS * 3) };
    let first = run(script, 5 * S, async |_| {}).await;
    let second = run(script, 5 * S, async |_| {}).await;
    assert_eq!(first.samples, second.samples);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_at_the_stop_is_waited_for() {
    let run = run(|_| Script::Silence, 2 * S, async |_| {}).await;
    check(&run, 2 * S);
    assert_eq!(run.counts.bad, run.counts.planned);
    assert!(run.samples.iter().all(|s| s.response_time() >= nanos(200 * MS)));
}

#[tokio::test(start_paused = true)]
async fn a_stall_makes_no_outage_and_no_burst() {
    let length = 6 * S;
    let run = run(
        |_| Script::Good(30 * MS),
        length,
        async |_| {
            sleep(2 * S).await;
            // Nothing runs while the clock jumps, like a process between SIGSTOP and SIGCONT.
            advance(S * 3 / 2).await;
        },
    )
    .await;
    check(&run, length);
    assert_eq!(run.counts.bad + run.counts.client_late, 0);
    let (begin, end) = (nanos(2 * S), nanos(S * 7 / 2));
    let bound = nanos(20 * MS);
    for sample in &run.samples {
        let swallowed = (begin..end - bound - nanos(MS)).contains(&sample.planned);
        let in_flight = (begin - nanos(29 * MS)..begin).contains(&sample.planned);
        if swallowed || in_flight {
            assert_eq!(sample.outcome, Outcome::Unknown, "{sample:?}");
        }
        if swallowed {
            assert!(!run.sent.contains(&sample.slot), "{sample:?} was sent after the stall");
        }
        if sample.planned < begin - nanos(40 * MS) || sample.planned > end {
            assert_eq!(sample.outcome, Outcome::Good, "{sample:?}");
        }
    }
    assert_eq!(run.counts.unknown.stalled, run.counts.unknown.total());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_in_a_stall_counts_where_the_kernel_dates_it() {
    let stalled = |script| async move {
        let run = run(script, S, async |_| {
            sleep(300 * MS).await;
            advance(200 * MS).await;
        })
        .await;
        check(&run, S);
        run
    };
    let dated = stalled(|_| Script::Dated(50 * MS)).await;
    let undated = stalled(|_| Script::Good(50 * MS)).await;
    let taken =
        |run: &Run| run.samples.iter().filter(|s| s.outcome == Outcome::Good && run.sent.contains(&s.slot)).count();
    assert_eq!(taken(&dated), dated.sent.len(), "all that was sent has its answer, and its time");
    assert!(dated.samples.iter().filter(|s| s.outcome == Outcome::Good).all(|s| s.service_time() == nanos(50 * MS)));
    assert!(taken(&undated) < undated.sent.len(), "nobody knows when these came");
    assert!(dated.counts.unknown.stalled > 0, "what the stall swallowed is unsent all the same");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_a_stall_is_not_held_against_the_service() {
    // Nobody ever answers: bad, but for what the stall makes unknown.
    let run = run(
        |_| Script::Silence,
        4 * S,
        async |_| {
            sleep(2 * S).await;
            advance(S).await;
        },
    )
    .await;
    check(&run, 4 * S);
    for sample in &run.samples {
        // The paused clock goes in whole milliseconds: what falls into the edges of the stall may go either way.
        let deadline = sample.planned + nanos(200 * MS);
        let inner = deadline > nanos(2 * S) && sample.planned < nanos(2999 * MS);
        let outer = deadline > nanos(1999 * MS) && sample.planned < nanos(3001 * MS);
        if inner == outer {
            assert_eq!(sample.outcome == Outcome::Unknown, inner, "{sample:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_send_says_nothing_about_its_instant() {
    let script = |slot: Slot| match slot.number % 10 {
        0 => Script::Late(50 * MS),
        // A tenth of the timeout is 20 ms.
        1 => Script::Late(10 * MS),
        _ => Script::Good(MS),
    };
    let run = run(script, 3 * S, async |_| {}).await;
    check(&run, 3 * S);
    assert_eq!(run.counts.client_late, run.counts.planned.div_ceil(10));
    assert_eq!(run.counts.good, run.counts.planned - run.counts.client_late);
}

#[tokio::test(start_paused = true)]
async fn the_machines_own_troubles_are_unknown_and_have_their_reason() {
    let script = |slot: Slot| match slot.number % 4 {
        0 => Script::Local(Trouble::Ports),
        1 => Script::Local(Trouble::Files),
        2 => Script::Local(Trouble::Memory),
        _ => Script::Good(MS),
    };
    let run = run(script, S, async |_| {}).await;
    check(&run, S);
    let unknown = run.counts.unknown;
    assert_eq!([unknown.ports, unknown.files, unknown.memory, unknown.stalled], [25, 25, 25, 0]);
}

#[tokio::test(start_paused = true)]
async fn above_the_cap_slots_are_counted_and_never_queued() {
    let mut config = probe("http://127.0.0.1/", "100/s", 200 * MS, &[StreamKind::Fresh]);
    config.in_flight_max = Some(5);
    let run = run_probe(config, |_| Script::Silence, 3 * S, async |_| {}).await;
    check(&run, 3 * S);
    assert_eq!(run.counts.bad, run.sent.len() as u64);
    assert!(run.counts.capped > run.counts.bad, "{:?}", run.counts);
    // Five at a time, each for 200 ms: never more than five planned within one timeout were sent.
    let sent: Vec<_> = run.samples.iter().filter(|s| s.outcome != Outcome::Capped).collect();
    for six in sent.windows(6) {
        assert!(six[5].sent >= six[0].done, "six in flight");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_settles_everything_at_once() {
    let run = run(
        |_| Script::Silence,
        600 * S,
        async |engine| {
            sleep(S).await;
            engine.abort();
        },
    )
    .await;
    assert!(run.counts.balanced() && run.counts.in_flight == 0);
    assert!((90..=110).contains(&run.counts.planned), "{:?}", run.counts);
    assert_eq!(run.counts.bad + run.counts.unknown.aborted, run.counts.planned);
    // At most 200 ms of slots were in flight.
    assert!((15..=22).contains(&run.counts.unknown.aborted), "{:?}", run.counts);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_sleeps_delays_nothing_and_loses_nothing_yet() {
    let length = 120 * S;
    let run = run(|_| Script::Good(MS), length, async |_| sleep(119 * S).await).await;
    check(&run, length);
    assert_eq!(run.counts.good, run.counts.planned);
}

#[tokio::test(start_paused = true)]
async fn a_batch_holds_everything_before_the_instant_that_it_names() {
    let script = |slot: Slot| if slot.number.is_multiple_of(17) { Script::Silence } else { Script::Good(MS) };
    let run = run(script, 3 * S, async |_| {}).await;
    let mut seen = Vec::new();
    for batch in &run.batches {
        seen.extend(batch.samples.iter().map(|sample| sample.slot));
        let complete = run.samples.iter().filter(|sample| sample.planned < batch.complete_until);
        assert!(complete.clone().all(|sample| seen.contains(&sample.slot)));
    }
    assert_eq!(run.batches.last().unwrap().complete_until, u64::MAX);
    assert!(run.batches.len() >= 30);
}
