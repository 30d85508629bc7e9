//! HTTP/1.1, plain and over TLS: what each fault has to come to.

use http::{HeaderName, HeaderValue};
use squall::probe::{Ask, Class, HttpVersion, StreamKind};

use crate::harness::http_ask;
use crate::matrix::Want::{Bad, Good, GoodThenGone, OneOf};
use crate::matrix::{Faults, NATIVE, Row, Strikes, Want, both, hold};
use crate::script::Protocol;

pub(crate) const CLOSED: Want = Bad(Class::ResponseClosed, 0);
pub(crate) const RESET: Want = Bad(Class::ResponseReset, 0);
pub(crate) const SILENT: Want = Bad(Class::ResponseTimeout, 0);
pub(crate) const MALFORMED: Want = Bad(Class::ResponseMalformed, 0);
/// The same, after the head.
const CHUNK_MALFORMED: Want = Bad(Class::ResponseMalformed, 200);
pub(crate) const CUT: Want = Bad(Class::BodyTruncated, 200);
pub(crate) const BODY_RESET: Want = Bad(Class::BodyReset, 200);
pub(crate) const BODY_SILENT: Want = Bad(Class::BodyTimeout, 200);
pub(crate) const REUSED: Want = Bad(Class::ReusedClosed, 0);
pub(crate) const TLS: Want = Bad(Class::TlsOther, 0);
const ALERT: Want = Bad(Class::TlsAlert, 0);
const TLS_CLOSED: Want = Bad(Class::TlsClosed, 0);
const TLS_SILENT: Want = Bad(Class::TlsTimeout, 0);
const CERTIFICATE: Want = Bad(Class::TlsCertificate, 0);

pub(crate) const fn status(status: u16) -> Want {
    Bad(Class::Status, status)
}

pub(crate) const NO_CONNECTION: &[Row] =
    &[both("refused", Bad(Class::ConnectRefused, 0)), both("backlog-full", Bad(Class::ConnectTimeout, 0))];

/// A reset that comes with the connection may find it opening, idle, or with the request on it.
const ON_THE_WAY: Want = OneOf(&[Class::ConnectReset, Class::SendReset, Class::ResponseReset]);
const TLS_ON_THE_WAY: Want = OneOf(&[Class::ConnectReset, Class::TlsClosed]);

pub(crate) const CONNECTION: &[Row] = &[
    both("never-accepts", SILENT),
    both("accept-fin", CLOSED),
    both("accept-rst", ON_THE_WAY),
    both("accept-hang", SILENT),
];

pub(crate) const HANDSHAKE: &[Row] = &[
    both("never-accepts", TLS_SILENT),
    both("accept-fin", TLS_CLOSED),
    both("accept-rst", TLS_ON_THE_WAY),
    both("accept-hang", TLS_SILENT),
    both("tls-garbage", TLS),
    both("tls-plain-http", TLS),
    both("tls-alert-handshake-failure", ALERT),
    both("tls-alert-internal-error", ALERT),
    both("tls-alert-protocol-version", ALERT),
    both("tls-alert-unrecognized-name", ALERT),
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

/// Who signed the server's certificates.
pub(crate) const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/truth/certificates/ca.pem");

/// Expects status, header and body of the server's right answer.
pub(crate) fn asks(version: HttpVersion, scheme: &str, port: u16) -> Ask {
    let mut ask = http_ask(&format!("{scheme}://127.0.0.1:{port}/truth"));
    ask.version = version;
    let header = (HeaderName::from_static("x-truth"), HeaderValue::from_static("yes"));
    ask.expect.headers.push(header);
    ask.expect.body_contains = Some("truth".into());
    ask.ca_file = Some(AUTHORITY.into());
    Ask::Http(ask.into())
}

/// A connection for each request, and connections that are kept.
pub(crate) const STREAMS: [StreamKind; 2] = [StreamKind::Fresh, StreamKind::KeptAlive];

pub(crate) const HTTP: Faults = Faults {
    name: "http",
    protocol: Protocol::Http,
    tables: &[
        (Strikes::Connect, NO_CONNECTION),
        (Strikes::Connection, CONNECTION),
        (Strikes::Request, REQUEST),
        (Strikes::Request, PLAIN),
    ],
};

pub(crate) const HTTPS: Faults = Faults {
    name: "https",
    protocol: Protocol::Https,
    tables: &[
        (Strikes::Connect, NO_CONNECTION),
        (Strikes::Connection, HANDSHAKE),
        (Strikes::Request, REQUEST),
        (Strikes::Request, OVER_TLS),
    ],
};

#[tokio::test]
async fn http_faults_have_their_classes_and_no_request_is_sent_twice() {
    hold(&NATIVE, &HTTP, &STREAMS, |port| asks(HttpVersion::One, "http", port)).await;
}

#[tokio::test]
async fn https_faults_have_their_classes_and_no_request_is_sent_twice() {
    hold(&NATIVE, &HTTPS, &STREAMS, |port| asks(HttpVersion::One, "https", port)).await;
}
