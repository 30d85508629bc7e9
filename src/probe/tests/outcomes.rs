//! One request at a time, over real sockets: each thing that a server can do has its class.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::super::transport::real::{Prepared, RealTransport};
use super::super::{Answer, Class, Exchange, ProbeConfig, Slot, StreamKind, Transport};
use super::server::{Act, OK, serve};
use super::{http, probe};

/// No test waits for this long unless it is broken.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// Long enough for a connection over loopback on a loaded machine, short enough to wait for.
pub(super) const SHORT: Duration = Duration::from_millis(300);

pub(super) async fn ask(transport: &RealTransport, timeout: Duration) -> Exchange {
    let planned = Instant::now();
    transport.clone().send(Slot { number: 0, planned, deadline: planned + timeout }).await
}

pub(super) fn transport(config: &ProbeConfig, stream: StreamKind) -> RealTransport {
    Prepared::of(config).unwrap().transport(stream)
}

/// The answers to `count` requests, one after the other, on one stream.
async fn answers(url: &str, stream: StreamKind, count: usize, timeout: Duration) -> Vec<Exchange> {
    let config = probe(url, "1/s", timeout, &[stream]);
    LocalSet::new()
        .run_until(async {
            let transport = transport(&config, stream);
            let mut answers = Vec::new();
            for _ in 0..count {
                answers.push(ask(&transport, timeout).await);
            }
            answers
        })
        .await
}

fn bad(class: Class, status: u16) -> Answer {
    Answer::Bad { class, status }
}

#[tokio::test]
async fn a_fresh_request_ends_in_the_class_of_what_the_server_did() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\nsome";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n";
    let cases = [
        (Act::Answer(OK), Answer::Good),
        (Act::AnswerAndClose("HTTP/1.1 200 OK\r\n\r\nuntil the end"), Answer::Good),
        (Act::Answer("HTTP/1.1 204 No Content\r\n\r\n"), Answer::Good),
        (Act::Answer("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"), bad(Class::Status, 503)),
        (Act::Answer("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"), bad(Class::Status, 302)),
        (Act::AnswerAndReset(""), bad(Class::ResponseReset, 0)),
        (Act::AnswerAndReset("HTTP/1.1 200"), bad(Class::ResponseReset, 0)),
        (Act::AnswerAndClose(""), bad(Class::ResponseClosed, 0)),
        (Act::AnswerAndClose("HTTP/1.1 200 OK\r\n"), bad(Class::ResponseClosed, 0)),
        (Act::Answer("SSH-2.0-OpenSSH_9.6\r\n\r\n"), bad(Class::ResponseMalformed, 0)),
        (Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"), bad(Class::ResponseMalformed, 0)),
        (Act::AnswerAndClose(HEAD), bad(Class::BodyTruncated, 200)),
        (Act::AnswerAndReset(HEAD), bad(Class::BodyReset, 200)),
        (Act::AnswerAndClose(CHUNKED), bad(Class::BodyTruncated, 200)),
        (
            Act::Answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"),
            bad(Class::ResponseMalformed, 200),
        ),
        (Act::AnswerAndReset("HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\n"), bad(Class::Status, 500)),
    ];
    for (act, expected) in cases {
        let (address, seen) = serve(move |_, _| act).await;
        let got = answers(&format!("http://{address}/"), StreamKind::Fresh, 1, LONG).await;
        assert_eq!(got[0].answer, expected, "{act:?}");
        assert_eq!(got[0].remote, Some(address));
        assert!(!got[0].reused);
        assert_eq!(seen.counts()[..2], [1, 1], "{act:?}: exactly one connection and one request");
    }
}

#[tokio::test]
async fn silence_is_a_timeout_of_the_step_that_it_falls_into() {
    let cases = [
        (Act::Hang, bad(Class::ResponseTimeout, 0)),
        (Act::Answer("HTTP/1.1 200 OK\r\n"), bad(Class::ResponseTimeout, 0)),
        (Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\nsome"), bad(Class::BodyTimeout, 200)),
    ];
    for (act, expected) in cases {
        let (address, seen) = serve(move |_, _| act).await;
        let begun = Instant::now();
        let got = answers(&format!("http://{address}/"), StreamKind::Fresh, 1, SHORT).await;
        assert_eq!(got[0].answer, expected, "{act:?}");
        assert!(got[0].done >= begun + SHORT);
        assert_eq!(seen.counts()[..2], [1, 1], "{act:?}");
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_refused() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let got = answers(&format!("http://{free}/"), StreamKind::Fresh, 1, LONG).await;
    assert_eq!(got[0].answer, bad(Class::ConnectRefused, 0));
}

#[tokio::test]
async fn a_listener_that_does_not_accept_lets_the_connect_time_out() {
    // A full backlog drops the SYN, like a firewall that drops.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let config = probe(&format!("http://{address}/"), "1/s", SHORT, &[StreamKind::Fresh]);
    LocalSet::new()
        .run_until(async {
            let transport = transport(&config, StreamKind::Fresh);
            let asked = futures::future::join_all((0..16).map(|_| ask(&transport, SHORT))).await;
            assert!(asked.iter().any(|exchange| exchange.answer == bad(Class::ConnectTimeout, 0)), "{asked:?}");
            // Those that the backlog held were connected, and nobody answered them.
            let connected = |exchange: &&Exchange| exchange.answer != bad(Class::ConnectTimeout, 0);
            assert!(
                asked.iter().filter(connected).all(|got| got.answer == bad(Class::ResponseTimeout, 0)),
                "{asked:?}"
            );
        })
        .await;
}

#[tokio::test]
async fn a_kept_alive_connection_is_used_again_and_its_end_has_a_class_of_its_own() {
    let cases = [
        (Act::Answer(OK), Answer::Good),
        (Act::AnswerAndClose(""), bad(Class::ReusedClosed, 0)),
        (Act::AnswerAndReset(""), bad(Class::ReusedClosed, 0)),
        (Act::AnswerAndClose("HTTP/1.1 2"), bad(Class::ResponseClosed, 0)),
        (Act::AnswerAndReset("HTTP/1.1 2"), bad(Class::ResponseReset, 0)),
        (Act::AnswerAndReset("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"), bad(Class::BodyReset, 200)),
    ];
    for (act, expected) in cases {
        let (address, seen) = serve(move |_, request| if request == 1 { act } else { Act::Answer(OK) }).await;
        let got = answers(&format!("http://{address}/"), StreamKind::KeptAlive, 3, LONG).await;
        assert_eq!(
            got.iter().map(|got| got.answer).collect::<Vec<_>>(),
            [Answer::Good, expected, Answer::Good],
            "{act:?}"
        );
        let kept = expected == Answer::Good;
        assert_eq!(got.iter().map(|got| got.reused).collect::<Vec<_>>(), [false, true, kept], "{act:?}");
        assert_eq!(seen.counts()[..2], [if kept { 1 } else { 2 }, 3], "{act:?}: three requests, none twice");
    }
}

#[tokio::test]
async fn a_connection_is_left_after_as_many_requests_as_its_stream_allows() {
    let (address, seen) = serve(|_, _| Act::Answer(OK)).await;
    let got = answers(&format!("http://{address}/"), StreamKind::Reuse(2), 5, LONG).await;
    assert!(got.iter().all(|got| got.answer == Answer::Good), "{got:?}");
    assert_eq!(got.iter().map(|got| got.reused).collect::<Vec<_>>(), [false, true, false, true, false]);
    assert_eq!(seen.counts()[..2], [3, 5]);
}

#[tokio::test]
async fn a_connection_closed_after_its_response_is_not_used_again_and_costs_no_request() {
    let close = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    for act in
        [Act::Answer(close), Act::AnswerAndClose(close), Act::AnswerAndClose("HTTP/1.0 200 OK\r\n\r\nuntil the end")]
    {
        let (address, seen) = serve(move |_, _| act).await;
        let got = answers(&format!("http://{address}/"), StreamKind::KeptAlive, 4, LONG).await;
        assert!(got.iter().all(|got| got.answer == Answer::Good && !got.reused), "{act:?}: {got:?}");
        assert_eq!(seen.counts()[..2], [4, 4], "{act:?}");
    }
}

#[tokio::test]
async fn a_request_that_timed_out_takes_its_connection_along() {
    let (address, seen) = serve(|connection, _| if connection == 0 { Act::Hang } else { Act::Answer(OK) }).await;
    let got = answers(&format!("http://{address}/"), StreamKind::KeptAlive, 3, SHORT).await;
    assert_eq!(got.iter().map(|got| got.reused).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(got[0].answer, bad(Class::ResponseTimeout, 0));
    assert_eq!(seen.counts()[..2], [2, 3]);
}

#[tokio::test]
async fn expectations_are_checked_in_the_order_status_headers_body() {
    const ANSWER: &str = "HTTP/1.1 201 Created\r\nx-zone: a\r\ncontent-length: 11\r\n\r\nhello world";
    let (address, _) = serve(|_, _| Act::Answer(ANSWER)).await;
    let url = format!("http://{address}/");
    let zone = |value: &'static str| (HeaderName::from_static("x-zone"), HeaderValue::from_static(value));
    let cases = [
        (vec![], None, None, Answer::Good),
        (vec![200, 201], Some(zone("a")), Some("lo wo"), Answer::Good),
        (vec![200], Some(zone("b")), Some("absent"), bad(Class::Status, 201)),
        (vec![201], Some(zone("b")), Some("absent"), bad(Class::HeaderMismatch, 201)),
        (vec![201], Some(zone("a")), Some("absent"), bad(Class::BodyMismatch, 201)),
    ];
    for (statuses, header, text, expected) in cases {
        let mut config = probe(&url, "1/s", LONG, &[StreamKind::Fresh]);
        let expect = &mut http(&mut config).expect;
        expect.statuses = statuses;
        expect.headers.extend(header);
        expect.body_contains = text.map(|text| Bytes::from_static(text.as_bytes()));
        let got = LocalSet::new().run_until(async { ask(&transport(&config, StreamKind::Fresh), LONG).await }).await;
        assert_eq!(got.answer, expected, "{:?}", config.ask);
    }
}

#[tokio::test]
async fn requests_say_where_they_go_and_whether_another_will_follow() {
    for (stream, close) in [(StreamKind::Fresh, true), (StreamKind::KeptAlive, false)] {
        let (address, seen) = serve(|_, _| Act::Answer(OK)).await;
        answers(&format!("http://{address}/healthz?deep=1"), stream, 1, LONG).await;
        let head = seen.head.lock().unwrap().clone();
        assert!(head.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
        assert_eq!(head.contains("connection: close\r\n"), close, "{head}");
    }
}
