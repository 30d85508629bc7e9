//! HTTP/2 in clear text and over TLS, and gRPC on both: what each fault has to come to.
//!
//! A request that is refused, reset or left hanging costs no other one: the connection carries on.

use std::time::Duration;

use http::HeaderMap;
use squall::probe::{Ask, Class, GrpcAsk, HealthState, HttpVersion, StreamKind};
use tokio::time::Instant;

use crate::harness::{Server, probe, run};

use crate::http::{
    AUTHORITY, BODY_RESET, BODY_SILENT, CLOSED, CONNECTION, CUT, HANDSHAKE, MALFORMED, NO_CONNECTION, RESET, REUSED,
    SILENT, STREAMS, TLS, asks, status,
};
use crate::matrix::Want::{Bad, Good, GoodThenGone, OneOf};
use crate::matrix::{Faults, NATIVE, Row, Strikes, Want, both, hold};
use crate::script::{Listener, Protocol, Script};

const UNPROCESSED: Want = Bad(Class::GoawayUnprocessed, 0);
const PROCESSED: Want = Bad(Class::GoawayProcessed, 0);
const REFUSED: Want = Bad(Class::StreamRefused, 0);
const STREAM_RESET: Want = Bad(Class::StreamReset, 0);
/// What comes in pieces may be met by a reset before its last one.
const RESET_ON_THE_WAY: Want = OneOf(&[Class::SendReset, Class::ResponseReset]);

const NOT_AGREED: Want = Bad(Class::TlsAlpn, 0);

/// Handshakes that don't come to HTTP/2.
const ALPN: &[Row] = &[both("alpn-http1", NOT_AGREED), both("alpn-none", NOT_AGREED), both("alpn-alert", NOT_AGREED)];

/// Connections that are never ready for a request.
const PREFACE: &[Row] = &[
    both("preface-hang", SILENT),
    both("preface-fin", CLOSED),
    both("preface-rst", RESET_ON_THE_WAY),
    both("preface-http1", MALFORMED),
    both("preface-goaway", UNPROCESSED),
    both("preface-calm", UNPROCESSED),
    both("settings-bad", MALFORMED),
];

/// Struck with its first bytes: no later request ever gets that far.
const ARRIVAL: &[Row] = &[both("rst-unread", RESET_ON_THE_WAY)];

/// Whatever is asked, on its stream alone.
const ANY_ON_STREAM: &[Row] = &[
    both("stream-refused", REFUSED),
    both("stream-cancel", STREAM_RESET),
    both("stream-internal", STREAM_RESET),
    both("stream-calm", STREAM_RESET),
    both("stream-no-error", STREAM_RESET),
    both("stream-http1-required", STREAM_RESET),
    both("hang", SILENT),
];

/// Whatever is asked, and the connection with it.
const ANY_ON_CONNECTION: &[Row] = &[
    both("goaway-before", UNPROCESSED),
    both("goaway-before-calm", UNPROCESSED),
    both("goaway-before-hang", UNPROCESSED),
    both("goaway-with", PROCESSED),
    both("goaway-with-calm", PROCESSED),
    both("goaway-with-internal", PROCESSED),
    both("goaway-with-rst", PROCESSED),
    both("goaway-with-hang", SILENT),
    both("goaway-shutdown-fin", PROCESSED),
    ("fin", CLOSED, REUSED),
    ("rst", RESET, REUSED),
    both("frame-too-large", MALFORMED),
    both("frame-on-nothing", MALFORMED),
    both("frame-http1", MALFORMED),
    both("head-undecodable", MALFORMED),
    both("head-fin", CLOSED),
];

const ON_STREAM: &[Row] = &[
    both("ok", Good),
    both("ok-early-hints", Good),
    both("ok-continuation", Good),
    both("ok-trailers", Good),
    both("ok-pings", Good),
    both("ok-unknown-frame", Good),
    both("status-500", status(500)),
    both("status-503", status(503)),
    both("status-429", status(429)),
    both("status-404", status(404)),
    both("status-301", status(301)),
    // RFC 9113, 8.3.2, calls this malformed; the library takes it for a 200 and says nothing.
    both("status-none", Bad(Class::BodyMismatch, 200)),
    both("header-other", Bad(Class::HeaderMismatch, 200)),
    both("body-other", Bad(Class::BodyMismatch, 200)),
    both("body-none", Bad(Class::BodyMismatch, 200)),
    both("body-hang", BODY_SILENT),
    both("body-stream-cancel", Bad(Class::StreamReset, 200)),
    both("body-stream-internal", Bad(Class::StreamReset, 200)),
    both("body-length-wrong", Bad(Class::ResponseMalformed, 200)),
];

const ON_CONNECTION: &[Row] = &[
    both("ok-goaway-first", Good),
    both("ok-then-goaway", Good),
    both("ok-then-fin", GoodThenGone),
    both("ok-then-rst", GoodThenGone),
    both("body-fin", CUT),
    both("body-rst", BODY_RESET),
    both("body-frame-fin", CUT),
    both("body-goaway", Bad(Class::GoawayProcessed, 200)),
    both("data-first", MALFORMED),
];

const OVER_TLS: &[Row] = &[both("tls-bad-record", TLS), both("tls-bad-record-fin", TLS)];

const HEALTH: Want = Bad(Class::GrpcHealth, 200);
const NO_ANSWER: Want = Bad(Class::GrpcMalformed, 200);

const fn grpc_status(status: u16) -> Want {
    Bad(Class::GrpcStatus, status)
}

const CALL_ON_STREAM: &[Row] = &[
    both("ok", Good),
    both("ok-two-frames", Good),
    both("health-unknown", HEALTH),
    both("health-not-serving", HEALTH),
    both("health-service-unknown", HEALTH),
    both("status-deadline", grpc_status(4)),
    both("status-not-found", grpc_status(5)),
    both("status-unimplemented", grpc_status(12)),
    both("status-unavailable", grpc_status(14)),
    both("status-after-message", grpc_status(14)),
    both("status-none", NO_ANSWER),
    both("status-no-trailers", NO_ANSWER),
    both("status-no-number", NO_ANSWER),
    both("http-503", status(503)),
    both("http-404", status(404)),
    both("type-other", NO_ANSWER),
    both("message-cut", NO_ANSWER),
    both("message-compressed", NO_ANSWER),
    both("message-none", NO_ANSWER),
    both("message-twice", NO_ANSWER),
    both("message-garbage", NO_ANSWER),
    both("message-hang", BODY_SILENT),
];

const CALL_ON_CONNECTION: &[Row] = &[both("message-fin", CUT), both("message-rst", BODY_RESET)];

/// Expects that the server serves.
fn calls(tls: bool) -> impl Fn(u16) -> Ask {
    move |port| {
        let ask = GrpcAsk {
            host: "127.0.0.1".to_owned(),
            port,
            service: String::new(),
            tls,
            ca_file: tls.then(|| AUTHORITY.into()),
            certificate_valid_for: None,
            headers: HeaderMap::new(),
            expect: HealthState::Serving,
        };
        Ask::Grpc(ask.into())
    }
}

pub(crate) const H2C: Faults = Faults {
    name: "h2c",
    protocol: Protocol::H2c,
    tables: &[
        (Strikes::Connect, NO_CONNECTION),
        (Strikes::Connection, CONNECTION),
        (Strikes::Connection, PREFACE),
        (Strikes::Arrival, ARRIVAL),
        (Strikes::Stream, ANY_ON_STREAM),
        (Strikes::Last, ANY_ON_CONNECTION),
        (Strikes::Stream, ON_STREAM),
        (Strikes::Last, ON_CONNECTION),
    ],
};

pub(crate) const H2: Faults = Faults {
    name: "h2",
    protocol: Protocol::H2,
    tables: &[
        (Strikes::Connect, NO_CONNECTION),
        (Strikes::Connection, HANDSHAKE),
        (Strikes::Connection, ALPN),
        (Strikes::Connection, PREFACE),
        (Strikes::Arrival, ARRIVAL),
        (Strikes::Stream, ANY_ON_STREAM),
        (Strikes::Last, ANY_ON_CONNECTION),
        (Strikes::Stream, ON_STREAM),
        (Strikes::Last, ON_CONNECTION),
        (Strikes::Last, OVER_TLS),
    ],
};

const GRPC: Faults = Faults {
    name: "grpc",
    protocol: Protocol::Grpc,
    tables: &[
        (Strikes::Connect, NO_CONNECTION),
        (Strikes::Connection, CONNECTION),
        (Strikes::Connection, PREFACE),
        (Strikes::Arrival, ARRIVAL),
        (Strikes::Stream, ANY_ON_STREAM),
        (Strikes::Last, ANY_ON_CONNECTION),
        (Strikes::Stream, CALL_ON_STREAM),
        (Strikes::Last, CALL_ON_CONNECTION),
    ],
};

const GRPCS: Faults = Faults {
    name: "grpcs",
    protocol: Protocol::Grpcs,
    tables: &[
        (Strikes::Connect, NO_CONNECTION),
        (Strikes::Connection, HANDSHAKE),
        (Strikes::Connection, ALPN),
        (Strikes::Connection, PREFACE),
        (Strikes::Arrival, ARRIVAL),
        (Strikes::Stream, ANY_ON_STREAM),
        (Strikes::Last, ANY_ON_CONNECTION),
        (Strikes::Stream, CALL_ON_STREAM),
        (Strikes::Last, CALL_ON_CONNECTION),
        (Strikes::Last, OVER_TLS),
    ],
};

#[tokio::test]
async fn h2c_faults_have_their_classes_and_no_request_is_sent_twice() {
    hold(&NATIVE, &H2C, &STREAMS, |port| asks(HttpVersion::Two, "http", port)).await;
}

#[tokio::test]
async fn h2_faults_have_their_classes_and_no_request_is_sent_twice() {
    hold(&NATIVE, &H2, &STREAMS, |port| asks(HttpVersion::Two, "https", port)).await;
}

#[tokio::test]
async fn grpc_faults_have_their_classes_and_no_call_is_made_twice() {
    hold(&NATIVE, &GRPC, &STREAMS, calls(false)).await;
}

#[tokio::test]
async fn grpc_faults_over_tls_have_their_classes_and_no_call_is_made_twice() {
    hold(&NATIVE, &GRPCS, &STREAMS, calls(true)).await;
}

#[tokio::test]
async fn a_connection_that_is_left_after_three_requests_carries_three() {
    const PROTOCOLS: [(Protocol, &str); 2] = [(Protocol::H2c, "http"), (Protocol::H2, "https")];
    let stream = StreamKind::Reuse(3);
    let listener = |(protocol, name): (Protocol, &str)| Listener {
        name: name.to_owned(),
        protocol,
        rules: Vec::new(),
        otherwise: "ok".to_owned(),
        windows: Vec::new(),
        delay: None,
    };
    let server = Server::start(&Script { seed: 1, listeners: PROTOCOLS.map(listener).to_vec() });
    let probes: Vec<_> = (0..)
        .zip(PROTOCOLS)
        .map(|(index, (_, scheme))| {
            let ask = asks(HttpVersion::Two, scheme, server.port(index));
            probe(scheme, "10/s", Duration::from_secs(20), stream, ask)
        })
        .collect();
    let runs = run(&probes, Instant::now(), Duration::from_millis(200), Duration::from_secs(1)).await;
    let log = server.finish();
    for (index, (_, name)) in PROTOCOLS.iter().enumerate() {
        let (run, seen) = (&runs[&(index, stream)], &log[*name]);
        let opened = run.samples.iter().filter(|sample| !sample.reused).count();
        assert_eq!((run.counts.good, seen.requests.len()), (10, 10), "{name}: {:?}", run.counts);
        assert_eq!(opened, seen.connections, "{name}");
        // Requests that overlap, on a machine that stands still for so long, may need one more.
        let apart = run.samples.windows(2).all(|pair| pair[0].done < pair[1].sent);
        let needed = 10_usize.div_ceil(3);
        assert!(opened == needed || !apart && opened > needed, "{name}: {opened} connections");
        assert!(seen.requests.iter().all(|request| request.turn < 3), "{name}: {:?}", seen.requests);
    }
}
