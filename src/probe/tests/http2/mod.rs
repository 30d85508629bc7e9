//! HTTP/2 over real sockets: each thing that a server can do has its class, and nothing is asked twice.

mod requests;
pub(super) mod server;
mod tls;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::LocalSet;

use self::server::{
    Asked, CANCEL, Do, INTERNAL_ERROR, LAST, REFUSED_STREAM, data, frame, goaway, head, ok, reset, serve, settings,
};
use super::super::transport::real::RealTransport;
use super::super::{Answer, Class, Engine, Exchange, HttpVersion, Outcome, Plan, ProbeConfig, StreamKind};
use super::outcomes::{LONG, SHORT, ask, transport};
use super::{http, probe};

const MANY: u32 = 100;

fn bad(class: Class, status: u16) -> Answer {
    Answer::Bad { class, status }
}

fn config(url: &str, stream: StreamKind) -> ProbeConfig {
    let mut config = probe(url, "1/s", LONG, &[stream]);
    http(&mut config).version = HttpVersion::Two;
    config
}

/// Runs `test` with a transport of the stream.
async fn with<T>(url: &str, stream: StreamKind, test: impl AsyncFnOnce(&RealTransport) -> T) -> T {
    let config = config(url, stream);
    LocalSet::new().run_until(async { test(&transport(&config, stream)).await }).await
}

/// The answers to `count` requests, one after the other, on one stream.
async fn answers(url: &str, stream: StreamKind, count: usize, timeout: Duration) -> Vec<Exchange> {
    with(url, stream, async |transport| {
        let mut answers = Vec::new();
        for _ in 0..count {
            answers.push(ask(transport, timeout).await);
        }
        answers
    })
    .await
}

/// `count` requests at a time.
async fn at_once(transport: &RealTransport, count: usize) -> Vec<Exchange> {
    futures::future::join_all((0..count).map(|_| ask(transport, LONG))).await
}

#[tokio::test]
async fn a_fresh_request_ends_in_the_class_of_what_the_server_did() {
    use Do::{Close, Reset, Write};
    let text = |text: &str| Write(text.as_bytes().to_vec());
    let some = || Write([head(1, 200, &[], false), data(1, b"some", false)].concat());
    let cases = [
        (vec![Write(ok(1))], Answer::Good),
        (vec![Write(head(1, 204, &[], true))], Answer::Good),
        (
            vec![Write([head(1, 200, &[], false), data(1, b"", false), head(1, 0, &[("x", "y")], true)].concat())],
            Answer::Good,
        ),
        (vec![Write(head(1, 503, &[], true))], bad(Class::Status, 503)),
        (vec![Write(head(1, 302, &[("location", "/")], true))], bad(Class::Status, 302)),
        (vec![Write(reset(1, REFUSED_STREAM))], bad(Class::StreamRefused, 0)),
        (vec![Write(reset(1, INTERNAL_ERROR))], bad(Class::StreamReset, 0)),
        (vec![some(), Write(reset(1, INTERNAL_ERROR))], bad(Class::StreamReset, 200)),
        (vec![Write(head(1, 500, &[], false)), Write(reset(1, INTERNAL_ERROR))], bad(Class::Status, 500)),
        (vec![Write(goaway(0, 0))], bad(Class::GoawayUnprocessed, 0)),
        (vec![Write(goaway(0, INTERNAL_ERROR)), Close], bad(Class::GoawayUnprocessed, 0)),
        (vec![Write(goaway(LAST, 0)), Write(goaway(0, 0)), Reset], bad(Class::GoawayUnprocessed, 0)),
        (vec![Write(goaway(1, 0)), Close], bad(Class::GoawayProcessed, 0)),
        (vec![Write(goaway(1, INTERNAL_ERROR)), Reset], bad(Class::GoawayProcessed, 0)),
        (vec![Write(goaway(LAST, 0)), Close], bad(Class::GoawayProcessed, 0)),
        (vec![some(), Write(goaway(1, 0)), Close], bad(Class::GoawayProcessed, 200)),
        (vec![Write(goaway(1, 0)), Write(ok(1)), Close], Answer::Good),
        (vec![Close], bad(Class::ResponseClosed, 0)),
        (vec![Reset], bad(Class::ResponseReset, 0)),
        (vec![Write(head(1, 200, &[], true)[..8].to_vec()), Close], bad(Class::ResponseClosed, 0)),
        (vec![some(), Close], bad(Class::BodyTruncated, 200)),
        (vec![some(), Reset], bad(Class::BodyReset, 200)),
        (vec![text("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")], bad(Class::ResponseMalformed, 0)),
        (vec![Write(data(1, b"ok", true))], bad(Class::ResponseMalformed, 0)),
        (vec![Write(head(1, 200, &[("X", "y")], true))], bad(Class::ResponseMalformed, 0)),
        (vec![Write(frame(1, 4, 1, &[0xff; 9]))], bad(Class::ResponseMalformed, 0)),
        (
            vec![Write([head(1, 200, &[("content-length", "9")], false), data(1, b"ok", true)].concat())],
            bad(Class::ResponseMalformed, 200),
        ),
    ];
    for (acts, expected) in cases {
        let script = acts.clone();
        let (address, seen) = serve(settings(MANY), move |_| script.clone()).await;
        let got = answers(&format!("http://{address}/"), StreamKind::Fresh, 1, LONG).await;
        assert_eq!(got[0].answer, expected, "{acts:?}");
        assert_eq!(got[0].remote, Some(address));
        assert!(!got[0].reused);
        assert_eq!(seen.counts(), [1, 1], "{acts:?}: exactly one connection and one request");
    }
}

#[tokio::test]
async fn silence_is_a_timeout_of_the_step_that_it_falls_into() {
    let cases = [
        (vec![], bad(Class::ResponseTimeout, 0)),
        (vec![Do::Write(head(1, 200, &[], false))], bad(Class::BodyTimeout, 200)),
    ];
    for (acts, expected) in cases {
        let script = acts.clone();
        let (address, seen) = serve(settings(MANY), move |_| script.clone()).await;
        let got = answers(&format!("http://{address}/"), StreamKind::Fresh, 1, SHORT).await;
        assert_eq!(got[0].answer, expected, "{acts:?}");
        assert_eq!(seen.counts(), [1, 1], "{acts:?}");
    }
}

#[tokio::test]
async fn a_kept_alive_connection_is_used_again_and_its_end_has_a_class_of_its_own() {
    use Do::{Close, Reset, Write};
    // What happens to the second of three requests, on stream 3, and whether its connection carries the third.
    let cases = [
        (vec![Write(ok(3))], Answer::Good, true),
        (vec![Close], bad(Class::ReusedClosed, 0), false),
        (vec![Reset], bad(Class::ReusedClosed, 0), false),
        (vec![Write(goaway(1, 0))], bad(Class::GoawayUnprocessed, 0), false),
        (vec![Write(goaway(3, 0)), Close], bad(Class::GoawayProcessed, 0), false),
        (vec![Write(goaway(3, 0)), Write(ok(3))], Answer::Good, false),
        (vec![Write(reset(3, REFUSED_STREAM))], bad(Class::StreamRefused, 0), true),
        (vec![Write(reset(3, INTERNAL_ERROR))], bad(Class::StreamReset, 0), true),
        (vec![Write(head(3, 200, &[], false)), Reset], bad(Class::BodyReset, 200), false),
        (vec![Write(frame(1, 4, 3, &[0xff; 9]))], bad(Class::ResponseMalformed, 0), false),
    ];
    for (acts, expected, kept) in cases {
        let script = acts.clone();
        let (address, seen) =
            serve(
                settings(MANY),
                move |asked| {
                    if asked.request == 1 { script.clone() } else { vec![Write(ok(asked.stream))] }
                },
            )
            .await;
        let got = answers(&format!("http://{address}/"), StreamKind::KeptAlive, 3, LONG).await;
        let classes: Vec<_> = got.iter().map(|got| got.answer).collect();
        assert_eq!(classes, [Answer::Good, expected, Answer::Good], "{acts:?}");
        assert_eq!(got.iter().map(|got| got.reused).collect::<Vec<_>>(), [false, true, kept], "{acts:?}");
        assert_eq!(seen.counts(), [if kept { 1 } else { 2 }, 3], "{acts:?}: three requests, none twice");
    }
}

#[tokio::test]
async fn a_connection_that_goes_away_while_it_is_idle_is_not_used_again_and_costs_no_request() {
    for last in [LAST, 1] {
        let (address, seen) =
            serve(settings(MANY), move |Asked { stream, .. }| vec![Do::Write([ok(stream), goaway(last, 0)].concat())])
                .await;
        let got = answers(&format!("http://{address}/"), StreamKind::KeptAlive, 4, LONG).await;
        assert!(got.iter().all(|got| got.answer == Answer::Good && !got.reused), "{last}: {got:?}");
        assert_eq!(seen.counts(), [4, 4], "{last}");
    }
}

#[tokio::test]
async fn requests_share_one_connection_at_the_same_time() {
    // The first request makes the connection ready; the other three are answered when the last of them is there.
    let (address, seen) = serve(settings(MANY), |Asked { request, .. }| match request {
        0 => vec![Do::Write(ok(1))],
        3 => vec![Do::Write([ok(7), ok(3), ok(5)].concat())],
        _ => vec![],
    })
    .await;
    with(&format!("http://{address}/"), StreamKind::KeptAlive, async |transport| {
        assert_eq!(ask(transport, LONG).await.answer, Answer::Good);
        let got = at_once(transport, 3).await;
        assert!(got.iter().all(|got| got.answer == Answer::Good && got.reused), "{got:?}");
    })
    .await;
    assert_eq!(seen.counts(), [1, 4]);
    assert_eq!(seen.at_a_time.load(std::sync::atomic::Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_connection_that_ends_takes_all_its_requests_along_each_with_its_own_class() {
    // The second of three is the last that the peer accepted.
    let (address, seen) = serve(settings(MANY), |Asked { request, .. }| match request {
        0 => vec![Do::Write(ok(1))],
        3 => vec![Do::Write(head(3, 200, &[], false)), Do::Write(goaway(5, 0)), Do::Close],
        _ => vec![],
    })
    .await;
    with(&format!("http://{address}/"), StreamKind::KeptAlive, async |transport| {
        assert_eq!(ask(transport, LONG).await.answer, Answer::Good);
        let got: Vec<_> = at_once(transport, 3).await.iter().map(|got| got.answer).collect();
        let expected =
            [bad(Class::GoawayProcessed, 200), bad(Class::GoawayProcessed, 0), bad(Class::GoawayUnprocessed, 0)];
        assert_eq!(got, expected);
    })
    .await;
    assert_eq!(seen.counts(), [1, 4]);
}

#[tokio::test]
async fn what_does_not_fit_on_a_connection_opens_another_which_stays() {
    let (address, seen) = serve(settings(2), |Asked { connection, request, stream }| match (connection, request) {
        (0, 1) => vec![],
        (0, 2) => vec![Do::Write([ok(3), ok(5)].concat())],
        _ => vec![Do::Write(ok(stream))],
    })
    .await;
    with(&format!("http://{address}/"), StreamKind::KeptAlive, async |transport| {
        assert_eq!(ask(transport, LONG).await.answer, Answer::Good);
        let got = at_once(transport, 3).await;
        assert!(got.iter().all(|got| got.answer == Answer::Good), "{got:?}");
        assert_eq!(got.iter().map(|got| got.reused).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(seen.counts(), [2, 4]);
        let got = at_once(transport, 3).await;
        assert!(got.iter().all(|got| got.answer == Answer::Good && got.reused), "{got:?}");
    })
    .await;
    assert_eq!(seen.counts(), [2, 7]);
    assert_eq!(seen.at_a_time.load(std::sync::atomic::Ordering::SeqCst), 2, "the peer's limit is honoured");
}

#[tokio::test]
async fn requests_that_fall_due_before_a_connection_is_ready_open_their_own_and_one_stays() {
    let (address, seen) = serve(settings(MANY), |Asked { stream, .. }| vec![Do::Write(ok(stream))]).await;
    with(&format!("http://{address}/"), StreamKind::KeptAlive, async |transport| {
        let got = at_once(transport, 5).await;
        assert!(got.iter().all(|got| got.answer == Answer::Good), "{got:?}");
        let opened = seen.counts()[0];
        assert_eq!(got.iter().filter(|got| !got.reused).count(), opened);
        let got = at_once(transport, 5).await;
        assert!(got.iter().all(|got| got.answer == Answer::Good && got.reused), "{got:?}");
        assert_eq!(seen.counts(), [opened, 10]);
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_left_after_as_many_requests_as_its_stream_allows() {
    let (address, seen) = serve(settings(MANY), |Asked { stream, .. }| vec![Do::Write(ok(stream))]).await;
    let got = answers(&format!("http://{address}/"), StreamKind::Reuse(2), 5, LONG).await;
    assert!(got.iter().all(|got| got.answer == Answer::Good), "{got:?}");
    assert_eq!(got.iter().map(|got| got.reused).collect::<Vec<_>>(), [false, true, false, true, false]);
    assert_eq!(seen.counts(), [3, 5]);
}

#[tokio::test]
async fn requests_under_way_on_a_connection_that_is_full_are_waited_for() {
    // The second request of the connection is its last one; the first is answered after it.
    let (address, seen) = serve(settings(MANY), |Asked { connection, request, stream }| match (connection, request) {
        (0, 1) => vec![],
        (0, 2) => vec![Do::Write(ok(5)), Do::Write(ok(3))],
        _ => vec![Do::Write(ok(stream))],
    })
    .await;
    with(&format!("http://{address}/"), StreamKind::Reuse(3), async |transport| {
        assert_eq!(ask(transport, LONG).await.answer, Answer::Good);
        let got = at_once(transport, 3).await;
        assert!(got.iter().all(|got| got.answer == Answer::Good), "{got:?}");
        assert_eq!(got.iter().map(|got| got.reused).collect::<Vec<_>>(), [true, true, false]);
    })
    .await;
    assert_eq!(seen.counts(), [2, 4]);
}

#[tokio::test]
async fn a_request_that_met_nothing_but_silence_takes_its_connection_along() {
    let (address, seen) =
        serve(
            settings(MANY),
            |Asked { connection, request, stream }| {
                if (connection, request) == (0, 1) { vec![] } else { vec![Do::Write(ok(stream))] }
            },
        )
        .await;
    with(&format!("http://{address}/"), StreamKind::KeptAlive, async |transport| {
        assert_eq!(ask(transport, LONG).await.answer, Answer::Good);
        assert_eq!(ask(transport, SHORT).await.answer, bad(Class::ResponseTimeout, 0));
        let next = ask(transport, LONG).await;
        assert_eq!((next.answer, next.reused), (Answer::Good, false));
    })
    .await;
    assert_eq!(seen.counts(), [2, 3]);
}

#[tokio::test]
async fn a_request_that_is_given_up_on_a_live_connection_is_cancelled_alone() {
    // The second request gets its head only; the third is answered.
    let (address, seen) = serve(settings(MANY), |Asked { request, stream, .. }| match request {
        1 => vec![Do::Write(head(stream, 200, &[], false))],
        _ => vec![Do::Write(ok(stream))],
    })
    .await;
    with(&format!("http://{address}/"), StreamKind::KeptAlive, async |transport| {
        assert_eq!(ask(transport, LONG).await.answer, Answer::Good);
        assert_eq!(ask(transport, SHORT).await.answer, bad(Class::BodyTimeout, 200));
        let next = ask(transport, LONG).await;
        assert_eq!((next.answer, next.reused), (Answer::Good, true));
    })
    .await;
    assert_eq!(seen.counts(), [1, 3]);
    assert_eq!(*seen.given_up.lock().unwrap(), [CANCEL]);
}

#[tokio::test]
async fn the_server_counts_what_the_ledger_counts() {
    // Each connection goes away at its tenth request, which it does not accept.
    static SENT_AWAY: AtomicUsize = AtomicUsize::new(0);
    let (address, seen) = serve(settings(MANY), |Asked { request, stream, .. }| match request {
        9 => {
            SENT_AWAY.fetch_add(1, Ordering::SeqCst);
            vec![Do::Write(goaway(stream - 2, 0))]
        }
        _ => vec![Do::Write(ok(stream))],
    })
    .await;
    let both = [StreamKind::Fresh, StreamKind::KeptAlive, StreamKind::Reuse(4)];
    let mut probe = probe(&format!("http://{address}/"), "200/s", LONG, &both);
    http(&mut probe).version = HttpVersion::Two;
    let zero = tokio::time::Instant::now();
    let mut engine = Engine::start(&[probe], Plan { zero, offset: Duration::from_millis(50), seed: 1 }).unwrap();
    engine.stop_at(zero + Duration::from_millis(550));
    let mut samples = Vec::new();
    while let Some(batch) = engine.next().await {
        samples.extend(batch.samples.into_iter().map(|sample| (batch.stream, sample)));
    }
    let unprocessed = Outcome::Bad { class: Class::GoawayUnprocessed, status: 0 };
    let refused = samples.iter().filter(|(_, sample)| sample.outcome == unprocessed).count();
    assert!(samples.iter().all(|(_, s)| s.outcome == Outcome::Good || s.outcome == unprocessed), "{samples:?}");
    assert!(refused > 0);
    let opened = samples.iter().filter(|(_, sample)| !sample.reused).count();
    let [connections, requests] = seen.counts();
    assert_eq!(connections, opened);
    assert_eq!(samples.len(), 300);
    // Those that made a connection go away were read. Any other that was refused was on its way then, and may never have been.
    let crossed = refused - SENT_AWAY.load(Ordering::SeqCst);
    assert!((300 - crossed..=300).contains(&requests), "{requests} of 300 were read, {crossed} crossed");
    let fresh = |(stream, _): &&(StreamKind, _)| *stream == StreamKind::Fresh;
    assert!(samples.iter().filter(fresh).all(|(_, sample)| !sample.reused));
}
