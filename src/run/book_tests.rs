//! A probe per endpoint in the book: streams that come and go, and what is told of them; and when an injection counts from.

use std::collections::BTreeMap;

use super::*;
use crate::probe::{Ask, Class, Counts, Outcome, Steps, TcpAsk};
use crate::record::{Change, Fields, Target, Verdict};
use crate::scalar::EngineKind;

const S: Nanos = 1_000_000_000;

fn endpoint(last: u8, life: u32) -> StreamKind {
    StreamKind::Endpoint { address: ([10, 0, 0, last], 80).into(), life }
}

fn config() -> ProbeConfig {
    ProbeConfig {
        name: "web".to_owned(),
        rate: "10/s".parse().unwrap(),
        timeout: Duration::from_millis(500),
        streams: vec![StreamKind::PerEndpoint],
        ask: Ask::Tcp(TcpAsk { host: "web.shop".to_owned(), port: 80 }),
        in_flight_max: None,
        late_after: None,
        engine: EngineKind::Native,
    }
}

fn book() -> Book {
    let experiment = r#"{"apiVersion": "squall.dev/v1alpha1", "kind": "Experiment", "metadata": {"name": "test"}, "spec": {
        "probes": [{"name": "web", "rate": "10/s", "timeout": "500ms", "tcp": {"address": "web.shop:80", "connection": "perEndpoint"}}],
        "steadyState": [{"probe": "web", "tolerance": "success >= 50%"}, {"probe": "web", "tolerance": "outage <= 1s"}],
        "method": []}}"#;
    let mut book = Book::new(&serde_json::from_str(experiment).unwrap(), None);
    book.begin(&[config()], 0);
    book
}

/// Every slot of an endpoint's stream that begins at one second and ends at another, the last ones bad.
fn batch(stream: StreamKind, from: u64, to: u64, bad: u64, over: bool) -> Batch {
    let slots = (to - from) * 10;
    let sample = |slot| {
        let planned = from * S + slot * S / 10;
        let failed = Outcome::Bad { class: Class::ConnectRefused, status: 0 };
        let outcome = if slot + bad >= slots { failed } else { Outcome::Good };
        let (sent, done) = (planned, planned + 1_000_000);
        Sample { slot, planned, sent, done, outcome, reused: false, steps: Steps::default() }
    };
    let samples = (0..slots).map(sample).collect();
    let counts = Counts { planned: slots, ..Counts::default() };
    let complete_until = if over { NEVER } else { to * S };
    Batch { probe: 0, stream, samples, remotes: BTreeMap::new(), counts, lost: 0, complete_until }
}

fn seconds(seconds: u64) -> Micros {
    micros(seconds * S)
}

#[test]
fn endpoints_that_come_and_go_are_told_together_and_apart() {
    let mut book = book();
    for last in [1, 2] {
        let whats = book.turn(0, &config(), endpoint(last, 1), Turn::Join, 0);
        assert!(matches!(whats.as_slice(), [What::Life(Life { from: 0, to: None, .. })]), "{whats:?}");
    }
    book.samples(batch(endpoint(1, 1), 0, 60, 0, false), seconds(60));
    // The other one fails for 3 s until it is taken away, and comes back 10 s later.
    let whats = book.turn(0, &config(), endpoint(2, 1), Turn::Leave, 20 * S);
    assert!(matches!(whats.as_slice(), [What::Life(Life { from: 0, to: Some(20_000_000), .. })]), "{whats:?}");
    let whats = book.samples(batch(endpoint(2, 1), 0, 20, 30, true), seconds(20));
    let outages: Vec<_> =
        whats.iter().filter_map(|what| if let What::Outage(o) = what { Some(o) } else { None }).collect();
    assert_eq!(
        outages.iter().map(|o| (o.stream, o.from, o.to)).collect::<Vec<_>>(),
        [(endpoint(2, 1), seconds(17), Some(seconds(20)))]
    );
    book.turn(0, &config(), endpoint(2, 2), Turn::Join, 30 * S);
    book.samples(batch(endpoint(2, 2), 30, 60, 0, false), seconds(60));
    assert_eq!(book.settled_until(), 60 * S, "what ended holds nothing back");
    book.finish(seconds(60), &[]);
    let whats = book.conclude(seconds(60));
    let summaries: Vec<_> = whats
        .iter()
        .filter_map(|what| if let What::Summary(s) = what { Some((s.stream, s.planned, s.bad)) } else { None })
        .collect();
    let of = |stream| {
        summaries.iter().filter(|s| s.0 == stream).map(|s| (s.1, s.2)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    assert_eq!(of(StreamKind::PerEndpoint), (600 + 200 + 300, 30));
    assert_eq!([of(endpoint(1, 1)), of(endpoint(2, 1)), of(endpoint(2, 2))], [(600, 0), (200, 30), (300, 0)]);
    let judged: Vec<_> = whats
        .iter()
        .filter_map(|what| if let What::Judged(j) = what { Some((j.index, j.stream, j.verdict)) } else { None })
        .collect();
    assert!(judged.contains(&(0, Some(StreamKind::PerEndpoint), Verdict::Held)), "{judged:?}");
    assert!(judged.contains(&(1, Some(endpoint(2, 1)), Verdict::Deviated)), "{judged:?}");
    let streams = whats.iter().filter_map(|what| if let What::Availability(a) = what { Some(a.stream) } else { None });
    assert!(streams.clone().count() > 0 && streams.into_iter().all(|stream| stream == StreamKind::PerEndpoint));
}

#[test]
fn time_goes_on_while_no_endpoint_is_ready() {
    let mut book = book();
    book.turn(0, &config(), endpoint(1, 1), Turn::Join, 0);
    book.turn(0, &config(), endpoint(1, 1), Turn::Leave, 10 * S);
    book.samples(batch(endpoint(1, 1), 0, 10, 0, true), seconds(10));
    let whats = book.tick(seconds(20));
    assert_eq!(book.settled_until(), 20 * S);
    let unknown: u64 = whats.iter().map(|what| if let What::Interval(i) = what { i.unknown } else { 0 }).sum();
    assert_eq!(unknown, 100);
    let judged = book.judge_before(seconds(20));
    assert!(judged.iter().all(|judgement| judgement.verdict == Verdict::Unproven) && judged.len() == 2, "{judged:?}");
    let gap = "no ready endpoint from 10.0 s to 20.0 s";
    let said = |whats: &[What]| whats.iter().any(|what| matches!(what, What::Warning { text } if text.contains(gap)));
    let whats = book.turn(0, &config(), endpoint(1, 2), Turn::Join, 20 * S);
    assert!(said(&whats), "{whats:?}");
}

#[test]
fn too_many_endpoints_are_said_once() {
    let mut book = book();
    let mut turn = |last| book.turn(0, &config(), endpoint(last, 1), Turn::TurnedAway, 0);
    assert!(matches!(turn(1).as_slice(), [What::Warning { .. }]));
    assert_eq!(turn(2), []);
}

fn injected(step: &str, kind: &str, sent: Micros, answered: Micros) -> What {
    let target = Target {
        kind: kind.to_owned(),
        namespace: String::new(),
        name: "n1".to_owned(),
        uid: "u".to_owned(),
        node: None,
        zone: None,
        owner: None,
        instance: None,
    };
    What::Injected {
        step: step.to_owned(),
        fault: "f".to_owned(),
        target,
        outcome: Injection::Injected,
        sent,
        answered,
        detail: String::new(),
        expected: true,
    }
}

#[test]
fn an_injection_that_waits_bites_from_its_beginning() {
    let mut book = book();
    let mut bites = |step: &str, sent, answered| {
        book.deed(answered, &injected(step, "node", sent, answered));
        book.steps[step].injected
    };
    assert_eq!(bites("call", seconds(5), seconds(5) + 4_000), Some(5_004_000_000));
    assert_eq!(bites("drain", seconds(5), seconds(65)), Some(5_000_000_000));
}

#[test]
fn what_a_watch_tells_before_the_call_is_answered_is_detected_with_the_answer() {
    let gone = |book: &mut Book, at| {
        let what = What::Object {
            change: Change::Deleted,
            kind: "pod".to_owned(),
            namespace: String::new(),
            name: "n1".to_owned(),
            detail: String::new(),
            state: Fields::default(),
        };
        book.seen(Seen::Object(at, Box::new(what)));
    };
    let detected = |seen: &[Micros]| {
        let mut book = book();
        let (sent, answered) = (seconds(5), seconds(5) + 4_000);
        seen.iter().filter(|at| **at < answered).for_each(|at| gone(&mut book, *at));
        book.deed(answered, &injected("kill", "pod", sent, answered));
        seen.iter().filter(|at| **at >= answered).for_each(|at| gone(&mut book, *at));
        book.steps["kill"].detected.as_ref().map(|(at, _)| micros(*at))
    };
    assert_eq!(detected(&[seconds(5) + 3_000, seconds(6)]), Some(seconds(5) + 4_000));
    assert_eq!(detected(&[seconds(4), seconds(6)]), Some(seconds(6)), "what was before the call is not its doing");
}
