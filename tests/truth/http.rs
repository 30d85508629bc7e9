//! HTTP/1.1, plain and over TLS: what each fault has to come to.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use squall::probe::{Class, ProbeConfig, StreamKind};

use crate::harness;
use crate::matrix::Want::{Bad, Good, GoodThenGone, OneOf};
use crate::matrix::{Row, Strikes, Want, hold};
use crate::script::Protocol;

const CLOSED: Want = Bad(Class::ResponseClosed, 0);
const RESET: Want = Bad(Class::ResponseReset, 0);
const SILENT: Want = Bad(Class::ResponseTimeout, 0);
const MALFORMED: Want = Bad(Class::ResponseMalformed, 0);
/// The same, after the head.
const CHUNK_MALFORMED: Want = Bad(Class::ResponseMalformed, 200);
const CUT: Want = Bad(Class::BodyTruncated, 200);
const BODY_RESET: Want = Bad(Class::BodyReset, 200);
const BODY_SILENT: Want = Bad(Class::BodyTimeout, 200);
const REUSED: Want = Bad(Class::ReusedClosed, 0);
const TLS: Want = Bad(Class::TlsOther, 0);
const TLS_ALERT: Want = Bad(Class::TlsAlert, 0);
const TLS_CLOSED: Want = Bad(Class::TlsClosed, 0);
const TLS_SILENT: Want = Bad(Class::TlsTimeout, 0);
const CERTIFICATE: Want = Bad(Class::TlsCertificate, 0);

const fn status(status: u16) -> Want {
    Bad(Class::Status, status)
}

/// Both streams see the same.
const fn both(fault: &'static str, want: Want) -> Row {
    (fault, want, want)
}

const NO_CONNECTION: &[Row] =
    &[both("refused", Bad(Class::ConnectRefused, 0)), both("backlog-full", Bad(Class::ConnectTimeout, 0))];

/// A reset that comes with the connection may find it opening, idle, or with the request on it.
const ON_THE_WAY: Want = OneOf(&[Class::ConnectReset, Class::SendReset, Class::ResponseReset]);
const TLS_ON_THE_WAY: Want = OneOf(&[Class::ConnectReset, Class::TlsClosed]);

const CONNECTION: &[Row] = &[
    both("never-accepts", SILENT),
    both("accept-fin", CLOSED),
    both("accept-rst", ON_THE_WAY),
    both("accept-hang", SILENT),
];

const HANDSHAKE: &[Row] = &[
    both("never-accepts", TLS_SILENT),
    both("accept-fin", TLS_CLOSED),
    both("accept-rst", TLS_ON_THE_WAY),
    both("accept-hang", TLS_SILENT),
    both("tls-garbage", TLS),
    both("tls-plain-http", TLS),
    both("tls-alert-handshake-failure", TLS_ALERT),
    both("tls-alert-internal-error", TLS_ALERT),
    both("tls-alert-protocol-version", TLS_ALERT),
    both("tls-alert-unrecognized-name", TLS_ALERT),
    both("tls-fin", TLS_CLOSED),
    both("tls-rst", TLS_CLOSED),
    both("tls-hang", TLS_SILENT),
    both("tls-half-fin", TLS_CLOSED),
    both("tls-half-rst", TLS_CLOSED),
    both("tls-half-hang", TLS_SILENT),
    both("cert-expired", CERTIFICATE),
    both("cert-other-name", CERTIFICATE),
    both("cert-untrusted", CERTIFICATE),
];

const REQUEST: &[Row] = &[
    both("ok", Good),
    both("ok-chunked", Good),
    both("ok-trailers", Good),
    both("ok-continue", Good),
    both("ok-early-hints", Good),
    both("ok-drip", Good),
    both("ok-close", Good),
    both("ok-http-1.0", Good),
    both("ok-then-fin", GoodThenGone),
    both("ok-then-rst", GoodThenGone),
    both("ok-then-idle-fin", GoodThenGone),
    both("ok-then-idle-rst", GoodThenGone),
    both("ok-then-more", Good),
    both("ok-twice", Good),
    both("status-500", status(500)),
    both("status-503", status(503)),
    both("status-503-retry", status(503)),
    both("status-429", status(429)),
    both("status-404", status(404)),
    both("status-408-fin", status(408)),
    both("status-301", status(301)),
    both("status-307", status(307)),
    both("status-500-body-rst", status(500)),
    both("header-other", Bad(Class::HeaderMismatch, 200)),
    both("header-missing", Bad(Class::HeaderMismatch, 200)),
    both("body-other", Bad(Class::BodyMismatch, 200)),
    both("body-none", Bad(Class::BodyMismatch, 200)),
    ("rst-unread", RESET, REUSED),
    ("fin", CLOSED, REUSED),
    ("rst", RESET, REUSED),
    both("hang", SILENT),
    both("head-fin", CLOSED),
    both("head-rst", RESET),
    both("head-hang", SILENT),
    both("head-drip", SILENT),
    both("continue-fin", CLOSED),
    both("continue-hang", SILENT),
    both("status-line-garbage", MALFORMED),
    both("status-line-version", MALFORMED),
    both("status-line-number", MALFORMED),
    both("head-binary", MALFORMED),
    both("head-too-large", MALFORMED),
    both("head-length-no-number", MALFORMED),
    both("head-two-lengths", MALFORMED),
    both("head-name-bad", MALFORMED),
    both("body-fin", CUT),
    both("body-rst", BODY_RESET),
    both("body-hang", BODY_SILENT),
    both("body-drip", BODY_SILENT),
    both("body-never", BODY_SILENT),
    both("chunk-fin", CUT),
    both("chunk-rst", BODY_RESET),
    both("chunk-hang", BODY_SILENT),
    both("chunk-between-fin", CUT),
    both("chunk-end-fin", CUT),
    both("chunk-size-bad", CHUNK_MALFORMED),
    both("chunk-size-huge", CHUNK_MALFORMED),
    both("chunk-no-end", CHUNK_MALFORMED),
    both("until-end-rst", BODY_RESET),
    both("until-end-hang", BODY_SILENT),
];

const PLAIN: &[Row] = &[both("until-end", Good)];

const OVER_TLS: &[Row] = &[
    // TLS says when nothing follows. Without that, anybody could have cut off the rest.
    both("until-end", CUT),
    both("ok-until-notify", Good),
    both("body-notify", CUT),
    ("notify", CLOSED, REUSED),
    both("tls-bad-record", TLS),
    both("tls-bad-record-fin", TLS),
];

/// A probe that expects status, header and body of the server's right answer.
fn probe(scheme: &str, name: &str, port: u16, timeout: Duration, stream: StreamKind) -> ProbeConfig {
    let mut config = harness::probe(name, &format!("{scheme}://127.0.0.1:{port}/truth"), "10/s", timeout, stream);
    let header = (HeaderName::from_static("x-truth"), HeaderValue::from_static("yes"));
    let ask = harness::http_of(&mut config);
    ask.expect.headers.push(header);
    ask.expect.body_contains = Some("truth".into());
    ask.ca_file = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/truth/certificates/ca.pem").into());
    config
}

#[tokio::test]
async fn http_faults_have_their_classes_and_no_request_is_sent_twice() {
    let tables = [
        (Strikes::Connect, NO_CONNECTION),
        (Strikes::Connection, CONNECTION),
        (Strikes::Request, REQUEST),
        (Strikes::Request, PLAIN),
    ];
    hold(("http", Protocol::Http), &tables, |name, port, timeout, stream| probe("http", name, port, timeout, stream))
        .await;
}

#[tokio::test]
async fn https_faults_have_their_classes_and_no_request_is_sent_twice() {
    let tables = [
        (Strikes::Connect, NO_CONNECTION),
        (Strikes::Connection, HANDSHAKE),
        (Strikes::Request, REQUEST),
        (Strikes::Request, OVER_TLS),
    ];
    hold(("https", Protocol::Https), &tables, |name, port, timeout, stream| {
        probe("https", name, port, timeout, stream)
    })
    .await;
}
