//! The standard health check of gRPC, `grpc.health.v1.Health/Check`, over HTTP/2. Its messages are two fields, so they are read and
//! written here.
//!
//! | seen | outcome |
//! | --- | --- |
//! | the expected state | good; `NOT_FOUND` too where `SERVICE_UNKNOWN` is expected: a server says so of a service it does not know |
//! | an HTTP status other than 200 | [`Class::Status`] |
//! | another state | [`Class::GrpcHealth`] |
//! | another status than OK | [`Class::GrpcStatus`] |
//! | another content type; no status; not exactly one message that is whole, not compressed and readable | [`Class::GrpcMalformed`] |

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::Answer;
use super::endpoint::Endpoint;
use super::target::USER_AGENT;
use super::tls::Tls;
use crate::probe::config::{GrpcAsk, HealthState, SetupError};
use crate::probe::sample::Class;

const METHOD: &str = "/grpc.health.v1.Health/Check";
const CONTENT_TYPE: &str = "application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Status codes of gRPC.
const OK: u16 = 0;
const NOT_FOUND: u16 = 5;
/// A message's prefix: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A health check made ready once.
pub(crate) struct GrpcTarget {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: Option<Tls>,
    uri: Uri,
    headers: HeaderMap,
    message: Bytes,
    timeout: Duration,
    expect: HealthState,
}

impl GrpcTarget {
    /// Checks and prepares; reads `/etc/resolv.conf`, `/etc/hosts` and the authorities, and sends nothing.
    pub(crate) fn prepare(probe: &str, ask: &GrpcAsk, timeout: Duration) -> Result<Self, SetupError> {
        let GrpcAsk { host, port, .. } = ask;
        let host_in_uri = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let uri = Uri::builder()
            .scheme(if ask.tls { "https" } else { "http" })
            .authority(format!("{host_in_uri}:{port}"))
            .path_and_query(METHOD)
            .build()
            .map_err(|error| SetupError::new(Some(probe), format!("not a host: `{host}`")).source(error))?;
        let tls = if ask.tls {
            Some(Tls::prepare(probe, host, ask.ca_file.as_deref(), b"h2", ask.certificate_valid_for)?)
        } else {
            None
        };
        let mut headers = ask.headers.clone();
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        Ok(Self {
            endpoint: Endpoint::prepare(probe, host, *port)?,
            tls,
            uri,
            headers,
            message: framed(&ask.service),
            timeout,
            expect: ask.expect,
        })
    }

    /// The request of a slot that was begun so long ago: the server is told how long its answer is of use.
    pub(crate) fn request(&self, elapsed: Duration) -> (http::Request<()>, Bytes) {
        let mut request = http::Request::new(());
        *request.version_mut() = http::Version::HTTP_2;
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.headers);
        request.headers_mut().insert(TIMEOUT, timeout(self.timeout.saturating_sub(elapsed)));
        (request, self.message.clone())
    }

    /// What a whole response comes to.
    pub(crate) fn judge(&self, head: &http::response::Parts, body: &[u8], trailers: Option<&HeaderMap>) -> Answer {
        let bad = |class| Answer::Bad { class, status: head.status.as_u16() };
        // Without a message the status may stand in the head.
        let status = trailers.unwrap_or(&head.headers).get(STATUS);
        let status = status.and_then(|status| status.to_str().ok()?.parse().ok());
        match status {
            None => bad(Class::GrpcMalformed),
            Some(NOT_FOUND) if self.expect == HealthState::ServiceUnknown => Answer::Good,
            Some(OK) => match message(body).and_then(state) {
                None => bad(Class::GrpcMalformed),
                Some(state) if state == self.expect as u64 => Answer::Good,
                Some(_) => bad(Class::GrpcHealth),
            },
            Some(status) => Answer::Bad { class: Class::GrpcStatus, status },
        }
    }
}

/// What a response's head alone says is wrong.
pub(crate) fn judge_head(head: &http::response::Parts) -> Option<Class> {
    if head.status != http::StatusCode::OK {
        return Some(Class::Status);
    }
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let rest = kind.and_then(|kind| kind.strip_prefix(CONTENT_TYPE));
    let is_grpc = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']));
    (!is_grpc).then_some(Class::GrpcMalformed)
}

/// `HealthCheckRequest { service = 1 }` with its prefix.
fn framed(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length > 0 {
            let [low, ..] = length.to_le_bytes();
            length >>= 7;
            message.push(if length > 0 { low | 0x80 } else { low });
        }
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

/// The one message of a body; `None` when it is not one, not whole, or compressed, which nobody asked for.
fn message(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_at_checked(PREFIX)?;
    let [0, length @ ..] = prefix else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (usize::try_from(length).ok()? == message.len()).then_some(message)
}

/// The state in a `HealthCheckResponse { status = 1 }`; 0 when it is left out. Fields of later versions are passed over.
fn state(mut message: &[u8]) -> Option<u64> {
    let mut state = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let skipped = match (tag >> 3, tag & 7) {
            (1, 0) => {
                state = varint(&mut message)?;
                0
            }
            // The status is a number and nothing else.
            (0 | 1, _) => return None,
            (_, 0) => varint(&mut message).map(|_| 0)?,
            (_, 1) => 8,
            (_, 2) => usize::try_from(varint(&mut message)?).ok()?,
            (_, 5) => 4,
            _ => return None,
        };
        message = message.get(skipped..)?;
    }
    Some(state)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A time as gRPC writes it: at most eight digits and a unit.
fn timeout(left: Duration) -> HeaderValue {
    let micros = left.as_micros().max(1);
    let text = if micros < 100_000_000 { format!("{micros}u") } else { format!("{}m", left.as_millis()) };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("1u"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_question_names_its_service() {
        assert_eq!(framed("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(framed("web")[..], *b"\0\0\0\0\x05\x0a\x03web");
        let long = framed(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
    }

    #[test]
    fn states_are_read_past_fields_that_nobody_knows() {
        for (bytes, expected) in [
            (&[][..], Some(0)),
            (&[8, 1], Some(1)),
            (&[8, 1, 8, 2], Some(2)),
            (&[0x12, 1, b'x', 8, 3], Some(3)),
            (&[0x10, 0x80, 1, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1], Some(1)),
            (&[8], None),
            (&[8, 0x80], None),
            (&[0x0a, 1, b'x'], None),
            (&[0x12, 9, b'x'], None),
            (&[0x0b], None),
            (&[0x80; 12], None),
        ] {
            assert_eq!(state(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_body_is_one_whole_message() {
        for (body, expected) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(&[8, 1][..])),
            (b"\0\0\0\0\0", Some(&[])),
            (b"", None),
            (b"\0\0\0", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x02\x08\x01\0\0\0\0\0", None),
            (b"\x01\0\0\0\x02\x08\x01", None),
        ] {
            assert_eq!(message(body), expected, "{body:?}");
        }
    }

    #[test]
    fn the_time_left_fits_into_eight_digits() {
        let left = |millis| timeout(Duration::from_millis(millis)).to_str().unwrap().to_owned();
        assert_eq!([left(500), left(99_999), left(100_000)], ["500000u", "99999000u", "100000m"]);
        assert_eq!(left(24 * 3_600_000), "86400000m");
        assert_eq!(left(0), "1u");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _read = (message(&bytes), state(&bytes));
        }
    }
}
