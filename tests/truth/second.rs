//! The second engine, held to the same tables: as many requests and connections as its ledger says, and good and bad where the native
//! engine has them. A class may be coarser only where it is listed here.

use std::ops::RangeInclusive;
use std::time::Duration;

use squall::probe::{Ask, Class, HttpVersion, Outcome, ProbeConfig, Sample, StreamKind};
use squall::scalar::EngineKind;

use crate::harness::{Server, http_ask, now_on_both, probe, run};
use crate::http::{CLOSED, CUT, HTTP, HTTPS, MALFORMED, REUSED, STREAMS, asks};
use crate::http2::{H2, H2C};
use crate::matrix::Want::{Bad, OneOf};
use crate::matrix::{Coarser, Instrument, Want, hold};
use crate::script::{Listener, Protocol, Script, Trouble, Window};

const REQWEST: EngineKind = EngineKind::Reqwest;

/// That a connection carried others before is known, and not whether it brought a part of the head.
const BROKEN_HEAD: Coarser =
    Coarser { faults: &["head-fin", "head-rst", "continue-fin"], stream: StreamKind::KeptAlive, want: REUSED };

/// Connection and handshake are one step.
const HANDSHAKE: &[&str] = &["never-accepts", "accept-hang", "tls-hang", "tls-half-hang"];
const NOT_OPEN: Want = Bad(Class::ConnectTimeout, 0);
const FRESH_HANDSHAKE: Coarser = Coarser { faults: HANDSHAKE, stream: StreamKind::Fresh, want: NOT_OPEN };
const KEPT_HANDSHAKE: Coarser = Coarser { faults: HANDSHAKE, stream: StreamKind::KeptAlive, want: NOT_OPEN };

/// A GOAWAY that takes the request in is not told of: what is left is the end of the connection.
const GOAWAY: Coarser = Coarser {
    faults: &["goaway-with", "goaway-with-calm", "goaway-with-internal", "goaway-shutdown-fin"],
    stream: StreamKind::Fresh,
    want: CLOSED,
};
const GOAWAY_IN_BODY: Coarser = Coarser { faults: &["body-goaway"], stream: StreamKind::Fresh, want: CUT };
/// Reading and writing meet a reset in either order, and the library tells of one.
const RESET: Coarser = Coarser {
    faults: &["rst", "rst-unread", "goaway-with-rst", "preface-rst"],
    stream: StreamKind::Fresh,
    want: CLOSED,
};
const RESET_IN_BODY: Coarser = Coarser {
    faults: &["body-rst"],
    stream: StreamKind::Fresh,
    want: OneOf(&[Class::BodyTruncated, Class::ResponseClosed]),
};
const RESET_AT_ONCE: Coarser = Coarser {
    faults: &["accept-rst"],
    stream: StreamKind::Fresh,
    want: OneOf(&[Class::ConnectReset, Class::ResponseClosed]),
};
/// Without an agreement it asks all the same, over HTTP/2.
const UNAGREED: Coarser = Coarser { faults: &["alpn-none"], stream: StreamKind::Fresh, want: MALFORMED };
/// The library below takes a head without a status for a 200; it is the body that is not there.
const NO_STATUS: Coarser =
    Coarser { faults: &["status-none"], stream: StreamKind::Fresh, want: Bad(Class::BodyMismatch, 200) };
/// What the TLS layer said is lost below HTTP/2.
const BAD_RECORD: Coarser =
    Coarser { faults: &["tls-bad-record", "tls-bad-record-fin"], stream: StreamKind::Fresh, want: MALFORMED };

#[tokio::test]
async fn http_faults_come_to_the_same_over_both_engines() {
    let instrument = Instrument { engine: REQWEST, coarser: &[BROKEN_HEAD] };
    hold(&instrument, &HTTP, &STREAMS, |port| asks(HttpVersion::One, "http", port)).await;
}

#[tokio::test]
async fn https_faults_come_to_the_same_over_both_engines() {
    let instrument = Instrument { engine: REQWEST, coarser: &[BROKEN_HEAD, FRESH_HANDSHAKE, KEPT_HANDSHAKE] };
    hold(&instrument, &HTTPS, &STREAMS, |port| asks(HttpVersion::One, "https", port)).await;
}

#[tokio::test]
async fn h2c_faults_come_to_the_same_over_both_engines() {
    let instrument = Instrument {
        engine: REQWEST,
        coarser: &[GOAWAY, GOAWAY_IN_BODY, RESET, RESET_IN_BODY, RESET_AT_ONCE, NO_STATUS],
    };
    hold(&instrument, &H2C, &[StreamKind::Fresh], |port| asks(HttpVersion::Two, "http", port)).await;
}

#[tokio::test]
async fn h2_faults_come_to_the_same_over_both_engines() {
    let coarser = &[FRESH_HANDSHAKE, GOAWAY, GOAWAY_IN_BODY, RESET, RESET_IN_BODY, UNAGREED, BAD_RECORD, NO_STATUS];
    let instrument = Instrument { engine: REQWEST, coarser };
    hold(&instrument, &H2, &[StreamKind::Fresh], |port| asks(HttpVersion::Two, "https", port)).await;
}

const RATE: &str = "200/s";
const TIMEOUT: Duration = Duration::from_millis(400);
const WINDOW: Window = Window { kind: Trouble::Freeze, from_ms: 1500, to_ms: 2500 };
/// Four slots: what is asked or given up so near to an end of the freeze may come to either.
const EDGE: u64 = 20_000_000;

/// Whether a request was answered as expected, as far as the engine can tell.
fn is_good(sample: &Sample) -> Option<bool> {
    match sample.outcome {
        Outcome::Good => Some(true),
        Outcome::Bad { class, .. } => {
            // An answer may be on its way in when its deadline falls.
            assert!(matches!(class, Class::ResponseTimeout | Class::BodyTimeout), "a freeze is no {class:?}");
            Some(false)
        }
        Outcome::Unknown | Outcome::ClientLate | Outcome::Capped => None,
    }
}

/// Both engines at the same time, with the same planned instants, each on a port of its own.
#[tokio::test]
async fn a_freeze_costs_both_engines_the_same_slots() {
    for stream in STREAMS {
        let engines = [EngineKind::Native, REQWEST];
        let listener = |engine: EngineKind| Listener {
            name: engine.to_string(),
            protocol: Protocol::Http,
            rules: Vec::new(),
            otherwise: "ok".to_owned(),
            windows: vec![WINDOW],
            delay: None,
        };
        let server = Server::start(&Script { seed: 1, listeners: engines.map(listener).to_vec() });
        let probes: Vec<_> = (0..)
            .zip(engines)
            .map(|(index, engine)| {
                let ask = http_ask(&format!("http://127.0.0.1:{}/", server.port(index)));
                ProbeConfig { engine, ..probe("web", RATE, TIMEOUT, stream, Ask::Http(ask.into())) }
            })
            .collect();
        let (zero, clock) = now_on_both();
        let runs = run(&probes, zero, Duration::from_millis(100), Duration::from_secs(4)).await;
        let log = server.finish();
        // By the server's own stamps: each port freezes and thaws when its turn comes, and writes one answer after another then.
        let seen = || engines.iter().map(|engine| &log[&engine.to_string()]);
        let frozen = || seen().flat_map(|seen| &seen.requests).filter(|request| request.act == "frozen");
        let complete = seen().map(|seen| seen.windows[0][1]).max().unwrap();
        let from = frozen().map(|request| request.arrived).min().unwrap() - clock..=complete - clock;
        let thaws = || frozen().filter_map(|request| request.first);
        let to = thaws().min().unwrap() - clock..=thaws().max().unwrap() - clock;
        let near =
            |instant: u64, edge: &RangeInclusive<u64>| instant + EDGE >= *edge.start() && instant <= *edge.end() + EDGE;
        for (index, engine) in engines.iter().enumerate() {
            let sent = runs[&(index, stream)].samples.iter().filter(|sample| sample.sent > sample.planned).count();
            assert_eq!(log[&engine.to_string()].requests.len(), sent, "{engine}, {stream}: none twice");
        }
        let [native, other] = [0, 1].map(|index| &runs[&(index, stream)].samples);
        let (mut costs, mut edges) = ([0_usize; 2], 0);
        for (first, second) in native.iter().zip(other) {
            assert_eq!(first.planned, second.planned, "the same slots");
            let (Some(one), Some(two)) = (is_good(first), is_good(second)) else { continue };
            for (cost, good) in costs.iter_mut().zip([one, two]) {
                *cost += usize::from(!good);
            }
            let given_up = first.planned + u64::try_from(TIMEOUT.as_nanos()).unwrap();
            let at_an_edge = near(first.planned, &from) || near(given_up, &to);
            edges += usize::from(at_an_edge);
            assert!(one == two || at_an_edge, "{stream}: {first:?}, {second:?}, freeze {from:?} to {to:?}");
        }
        assert!(costs.iter().all(|cost| *cost > 0), "{stream}: {costs:?}");
        assert!(costs[0].abs_diff(costs[1]) <= edges, "{stream}: {costs:?} differ by more than {edges} slots");
    }
}
