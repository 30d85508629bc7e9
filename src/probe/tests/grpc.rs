//! gRPC health checks against hand-written answers: what is good, and the class of everything else.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::super::{Answer, Ask, Class, Exchange, GrpcAsk, HealthState, ProbeConfig, StreamKind, preflight};
use super::http2::server::{Asked, Do, REFUSED_STREAM, data, goaway, head, reset, serve, settings};
use super::outcomes::{LONG, SHORT, ask, transport};

fn config(address: std::net::SocketAddr, expect: HealthState) -> ProbeConfig {
    ProbeConfig {
        name: "pay".to_owned(),
        rate: "1/s".parse().unwrap(),
        timeout: LONG,
        streams: vec![StreamKind::Fresh],
        engine: crate::scalar::EngineKind::Native,
        ask: Ask::Grpc(Box::new(GrpcAsk {
            host: address.ip().to_string(),
            port: address.port(),
            service: "shop.Pay".to_owned(),
            tls: false,
            ca_file: None,
            certificate_valid_for: None,
            headers: HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))]),
            expect,
        })),
        in_flight_max: None,
        late_after: Some(LONG / 10),
    }
}

async fn one(config: &ProbeConfig, stream: StreamKind, timeout: Duration) -> Exchange {
    LocalSet::new().run_until(async { ask(&transport(config, stream), timeout).await }).await
}

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc+proto")];
const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";
const NOT_SERVING: &[u8] = b"\0\0\0\0\x02\x08\x02";

/// A whole answer: head, message, trailers.
fn answer(stream: u32, message: &[u8], status: &str) -> Vec<u8> {
    let trailers = head(stream, 0, &[("grpc-status", status)], true);
    [head(stream, 200, GRPC, false), data(stream, message, false), trailers].concat()
}

/// An answer without a message: its trailers stand in the head.
fn trailers_only(status: &str) -> Vec<u8> {
    head(1, 200, &[GRPC[0], ("grpc-status", status), ("grpc-message", "no")], true)
}

fn bad(class: Class, status: u16) -> Answer {
    Answer::Bad { class, status }
}

#[tokio::test]
async fn an_answer_ends_in_the_class_of_what_is_wrong_with_it() {
    use HealthState::{NotServing, ServiceUnknown, Serving, Unknown};
    let malformed = bad(Class::GrpcMalformed, 200);
    let html = [head(1, 200, &[("content-type", "text/html")], false), data(1, b"<p>", true)].concat();
    let no_status = [head(1, 200, GRPC, false), data(1, SERVING, true)].concat();
    let odd_trailers = [head(1, 200, GRPC, false), data(1, SERVING, false), head(1, 0, &[("x", "y")], true)].concat();
    let cases = [
        (answer(1, SERVING, "0"), Serving, Answer::Good),
        (answer(1, NOT_SERVING, "0"), NotServing, Answer::Good),
        (answer(1, b"\0\0\0\0\0", "0"), Unknown, Answer::Good),
        (answer(1, NOT_SERVING, "0"), Serving, bad(Class::GrpcHealth, 200)),
        (answer(1, SERVING, "0"), ServiceUnknown, bad(Class::GrpcHealth, 200)),
        (trailers_only("5"), Serving, bad(Class::GrpcStatus, 5)),
        (trailers_only("5"), ServiceUnknown, Answer::Good),
        (trailers_only("12"), Serving, bad(Class::GrpcStatus, 12)),
        (answer(1, SERVING, "14"), Serving, bad(Class::GrpcStatus, 14)),
        (trailers_only("0"), Serving, malformed),
        (trailers_only("ok"), Serving, malformed),
        (no_status, Serving, malformed),
        (odd_trailers, Serving, malformed),
        (html, Serving, malformed),
        (head(1, 200, &[("grpc-status", "0")], true), Serving, malformed),
        (answer(1, b"\x01\0\0\0\x02\x08\x01", "0"), Serving, malformed),
        (answer(1, b"\0\0\0\0\x05\x08\x01", "0"), Serving, malformed),
        (answer(1, b"\0\0\0\0\x02\x08\x80", "0"), Serving, malformed),
        (head(1, 503, &[("content-type", "text/plain")], true), Serving, bad(Class::Status, 503)),
        (reset(1, REFUSED_STREAM), Serving, bad(Class::StreamRefused, 0)),
        (goaway(0, 0), Serving, bad(Class::GoawayUnprocessed, 0)),
    ];
    for (bytes, expect, expected) in cases {
        let script = vec![Do::Write(bytes.clone())];
        let (address, seen) = serve(settings(100), move |_| script.clone()).await;
        let got = one(&config(address, expect), StreamKind::Fresh, LONG).await;
        assert_eq!(got.answer, expected, "{:?}", bytes.escape_ascii().to_string());
        assert_eq!(seen.counts(), [1, 1]);
    }
    let (address, _) = serve(settings(100), |_| vec![Do::Write(head(1, 200, GRPC, false))]).await;
    assert_eq!(one(&config(address, Serving), StreamKind::Fresh, SHORT).await.answer, bad(Class::BodyTimeout, 200));
}

#[tokio::test]
async fn calls_share_a_connection() {
    let (address, seen) =
        serve(settings(100), |Asked { stream, .. }| vec![Do::Write(answer(stream, SERVING, "0"))]).await;
    let config = config(address, HealthState::Serving);
    LocalSet::new()
        .run_until(async {
            let transport = transport(&config, StreamKind::KeptAlive);
            for reused in [false, true, true] {
                let got = ask(&transport, LONG).await;
                assert_eq!((got.answer, got.reused), (Answer::Good, reused));
            }
        })
        .await;
    assert_eq!(seen.counts(), [1, 3]);
}

#[tokio::test]
async fn the_call_is_one_that_a_grpc_server_understands() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (out, read) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, _respond) = connection.accept().await.unwrap().unwrap();
        let (head, mut body) = request.into_parts();
        let reading = async move {
            let message = body.data().await.unwrap().unwrap();
            out.send((head, message)).unwrap();
        };
        tokio::select! { () = reading => {}, _ = connection.accept() => {} }
    });
    one(&config(address, HealthState::Serving), StreamKind::Fresh, LONG).await;
    let (head, message) = read.await.unwrap();
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/grpc.health.v1.Health/Check"));
    let header = |name: &str| head.headers[name].to_str().unwrap();
    assert_eq!(["content-type", "te", "authorization"].map(header), ["application/grpc", "trailers", "Bearer x"]);
    let left: u64 = header("grpc-timeout").strip_suffix('u').unwrap().parse().unwrap();
    assert!((1..=20_000_000).contains(&left), "{left}");
    assert_eq!(message[..], *b"\0\0\0\0\x0a\x0a\x08shop.Pay");
}

#[tokio::test]
async fn a_server_without_a_health_service_is_told_from_one_that_is_down() {
    let told = async |bytes: Vec<u8>| {
        let (address, _) = serve(settings(100), move |_| vec![Do::Write(bytes.clone())]).await;
        let said = preflight(&config(address, HealthState::Serving), StreamKind::Fresh).await.unwrap_err();
        (said.detail.replace(&address.to_string(), "ADDRESS"), said.hint.unwrap())
    };
    let (detail, hint) = told(trailers_only("12")).await;
    assert_eq!(detail, "answered at ADDRESS with the gRPC status 12");
    assert!(hint.starts_with("this server has no health service"), "{hint}");
    let (detail, _) = told(answer(1, NOT_SERVING, "0")).await;
    assert_eq!(detail, "answered at ADDRESS, but its health is not the expected one");
    let (detail, hint) = told(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    assert!(detail.starts_with("connected at ADDRESS, but got no usable answer: "), "{detail}");
    assert!(hint.ends_with("write `tls: true`"), "{hint}");
}
