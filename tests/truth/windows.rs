//! A server that freezes, and one that dies: every slot is accounted for, and what is bad is exactly what the server did not answer, from
//! where it began by the server's own stamps to where it ended.

use std::time::Duration;

use squall::probe::{Ask, Class, Outcome, Sample, StreamKind};

use crate::harness::{Run, Seen, Seized, Server, http_ask, now_on_both, probe, run};
use crate::script::{Listener, Protocol, Script, Trouble, Window};

const RATE: &str = "500/s";
const LENGTH: Duration = Duration::from_secs(10);
const SLOTS: u64 = 5000;
const TIMEOUT: Duration = Duration::from_millis(400);
const STREAMS: [StreamKind; 2] = [StreamKind::Fresh, StreamKind::KeptAlive];

/// One stream beside what the server saw of it, all on the server's clock.
struct Told {
    stream: StreamKind,
    /// Those that were sent, in the order in which they were.
    sent: Vec<Sample>,
    seen: Seen,
    /// From when to when the window was asked for: a freeze keeps to that.
    asked: [u64; 2],
    /// Begun, complete, ending, ended.
    window: [u64; 4],
}

fn class(sample: &Sample) -> Option<Class> {
    if let Outcome::Bad { class, .. } = sample.outcome { Some(class) } else { None }
}

/// Probes for ten seconds a server that has trouble from the fourth to the fifth one.
async fn through(kind: Trouble) -> Vec<Told> {
    let window = Window { kind, from_ms: 4000, to_ms: 5000 };
    let listener = |stream: StreamKind| Listener {
        name: stream.label().into_owned(),
        protocol: Protocol::Http,
        rules: Vec::new(),
        otherwise: "ok".to_owned(),
        windows: vec![window],
        delay: None,
    };
    let server = Server::start(&Script { seed: 1, listeners: STREAMS.map(listener).to_vec() });
    let probes: Vec<_> = STREAMS
        .iter()
        .enumerate()
        .map(|(index, stream)| {
            let url = format!("http://127.0.0.1:{}/", server.port(index));
            probe(&stream.label(), RATE, TIMEOUT, *stream, Ask::Http(http_ask(&url).into()))
        })
        .collect();
    let (zero, clock) = now_on_both();
    let mut runs = run(&probes, zero, Duration::from_millis(100), LENGTH).await;
    let asked = [window.from_ms, window.to_ms].map(|ms| server.greeting.zero + ms * 1_000_000);
    let mut log = server.finish();
    STREAMS
        .iter()
        .enumerate()
        .map(|(index, stream)| {
            let Run { mut samples, counts } = runs.remove(&(index, *stream)).unwrap();
            assert_eq!((counts.planned, counts.settled()), (SLOTS, SLOTS), "{counts:?}");
            let unknown = counts.unknown;
            assert_eq!((unknown.total(), counts.capped), (unknown.stalled, 0), "this machine had run out: {counts:?}");
            for sample in &mut samples {
                (sample.planned, sample.sent, sample.done) =
                    (clock + sample.planned, clock + sample.sent, clock + sample.done);
            }
            // What is not sent has its planned instant there, and nothing is sent as early as that.
            samples.retain(|sample| sample.sent > sample.planned);
            samples.sort_by_key(|sample| sample.sent);
            let seen = log.remove(&*stream.label()).unwrap();
            let window = seen.windows[0];
            Told { stream: *stream, sent: samples, seen, asked, window }
        })
        .collect()
}

fn is_bad(sample: &Sample) -> bool {
    class(sample).is_some()
}

#[tokio::test]
async fn a_freeze_costs_what_it_kept_from_being_answered_in_time() {
    /// A client that gives up as the answer is written may be told of by either side.
    const EDGE: u64 = 5_000_000;
    for Told { stream, sent, seen, asked: [from, to], .. } in through(Trouble::Freeze).await {
        let (name, requests) = (stream.label(), &seen.requests);
        assert_eq!(requests.len(), sent.len(), "{name}: as many requests as were sent, none twice");
        let bad: Vec<_> = sent.iter().filter(|sample| is_bad(sample)).collect();
        assert!(bad.iter().all(|sample| class(sample) == Some(Class::ResponseTimeout)), "{name}: {bad:?}");
        assert!(bad.iter().all(|s| s.done >= from && s.sent < to), "{name}: {bad:?} not in {from}..{to}");

        // Who had given up was not there to be answered, and nobody else.
        let unanswered = |request: &Seized| request.last.is_none();
        let missed = requests.iter().filter(|request| unanswered(request)).count();
        let thawed = requests.iter().filter(|r| r.act == "frozen").filter_map(|r| r.first).min().unwrap();
        let edge = bad.iter().filter(|sample| sample.done + EDGE >= thawed).count();
        let unknown = sent.iter().filter(|sample| !is_bad(sample) && sample.outcome != Outcome::Good).count();
        assert!(
            missed > 0 && requests.iter().all(|r| !unanswered(r) || r.act == "frozen"),
            "{name}: {missed} unanswered"
        );
        assert!(
            missed <= bad.len() + unknown && bad.len() <= missed + edge,
            "{name}: {missed} of {}, {edge}",
            bad.len()
        );

        // The ends of the outage, to the slot: what was sent and given up inside of the freeze is bad.
        for sample in &sent {
            let deadline = sample.planned + u64::try_from(TIMEOUT.as_nanos()).unwrap();
            let swallowed = sample.sent >= from && deadline < to;
            assert!(!swallowed || sample.outcome != Outcome::Good, "{name}: {sample:?} is good inside of {from}..{to}");
        }
    }
}

#[tokio::test]
async fn a_kill_costs_what_was_refused_and_what_was_under_way() {
    for Told { stream, sent, seen, window: [begun, complete, ending, ended], .. } in through(Trouble::Kill).await {
        let name = stream.label();
        let answered = seen.requests.iter().filter(|request| request.last.is_some()).count();
        let good = sent.iter().filter(|sample| sample.outcome == Outcome::Good).count();
        let unknown = sent.iter().filter(|sample| !is_bad(sample)).count() - good;
        assert!(
            (good..=good + unknown).contains(&answered),
            "{name}: {answered} answered, {good} good, {unknown} unknown"
        );

        let connected = |sample: &Sample| class(sample) != Some(Class::ConnectRefused);
        for sample in &sent {
            let (within, outside) =
                (sample.sent > complete && sample.done < ending, sample.done < begun || sample.sent > ended);
            match sample.outcome {
                Outcome::Good => assert!(!within, "{name}: {sample:?} is good within {complete}..{ending}"),
                // Reset under way, or refused; on a kept-alive stream also reset before the engine knew of it.
                Outcome::Bad { class, status } => {
                    assert!(!outside, "{name}: {sample:?} is bad outside of {begun}..{ended}");
                    let refused = if sample.reused { Class::ReusedClosed } else { Class::ConnectRefused };
                    let cut = matches!(class, Class::ConnectReset | Class::SendReset | Class::ResponseReset);
                    assert!(status == 0 && (class == refused || (cut && !within)), "{name}: {sample:?}");
                }
                Outcome::Unknown | Outcome::ClientLate | Outcome::Capped => {}
            }
        }
        // What got as far as a request is one at the server, and what opened a connection is one there; the kernel reset those that
        // it had not handed over yet.
        let opened = sent.iter().filter(|sample| !sample.reused && connected(sample)).count();
        let cut = sent.iter().filter(|sample| is_bad(sample) && connected(sample)).count();
        assert!(
            (opened - cut..=opened).contains(&(seen.connections)),
            "{name}: {opened} opened, {} seen",
            seen.connections
        );
        assert!((answered..=answered + cut).contains(&seen.requests.len()), "{name}: {cut}, {}", seen.requests.len());
        assert!(sent.iter().filter(|sample| !connected(sample)).count() > 0, "{name}: nothing was refused");
    }
}
