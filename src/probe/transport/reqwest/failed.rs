//! From an error of the library to the class that is written down, as far as its chain of causes lets one see.
//!
//! What the native engine tells apart and this one does not:
//!
//! | native | here | because |
//! | --- | --- | --- |
//! | [`Class::TlsTimeout`] | [`Class::ConnectTimeout`] | connection and handshake are one step of the library |
//! | [`Class::ResponseClosed`] or [`Class::ResponseReset`] within the head, on a reused connection | [`Class::ReusedClosed`] | the first bytes of a head that did not come to its end are not shown |
//! | [`Class::SendReset`] | [`Class::ResponseReset`] | what was written is not told |
//! | [`Class::ResponseReset`], [`Class::BodyReset`] over HTTP/2 | [`Class::ResponseClosed`], [`Class::BodyTruncated`] | reading and writing meet the end of a connection in either order, and one is told |
//! | [`Class::GoawayProcessed`] | as without the GOAWAY | only one that leaves the request out is told |
//! | [`Class::TlsOther`] behind the handshake, over HTTP/2 | [`Class::ResponseMalformed`] | the library drops what the TLS layer said |
//! | [`Class::ConnectTimeoutSamePort`] | [`Class::ConnectTimeout`] | the source port of a connection that did not open is not told |

use std::error::Error;
use std::{fmt, io, iter};

use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpInfo;

use super::opening::ends;
use crate::probe::config::HttpVersion;
use crate::probe::sample::{Class, Step};
use crate::probe::transport::Answer;
use crate::probe::transport::classify::{self, Cause, Failed, bad};
use crate::probe::transport::wire::Failure;

/// The request that failed.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) version: HttpVersion,
    /// How far it had come.
    pub(super) step: Step,
    /// Whether its connection had carried others.
    pub(super) reused: bool,
    /// The status, 0 before there was one.
    pub(super) status: u16,
}

/// A look-up that failed, on its way through the library.
#[derive(Debug)]
pub(super) struct LookUp(pub(super) Failed);

impl fmt::Display for LookUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.cause.fmt(f)
    }
}

impl Error for LookUp {}

impl Failed {
    /// A request that was not answered, or not to the end.
    pub(super) fn reqwest(error: reqwest::Error, request: Request) -> Self {
        let answer = answer(&error, request);
        Self { answer, cause: Cause::Reqwest(error.without_url()) }
    }
}

/// The connection on which a request failed, where it had one.
pub(super) fn connection(error: &reqwest::Error) -> Option<HttpInfo> {
    ends(cause::<legacy::Error>(error)?.connect_info()?)
}

/// The first of an error and its causes that is an `E`.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    iter::successors(Some(error), |error| Error::source(*error)).find_map(|error| error.downcast_ref())
}

fn answer(error: &reqwest::Error, request: Request) -> Answer {
    if let Some(LookUp(failed)) = cause(error) {
        return failed.answer;
    }
    let class = |class| Answer::Bad { class, status: request.status };
    let io = cause::<io::Error>(error);
    if let (Step::Dns | Step::Connect, Some(io)) = (request.step, io) {
        // The library wraps an error of the handshake once more, and one of the connection into an error of its own.
        return match io.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()) {
            Some(handshake) => classify::tls(handshake),
            None => classify::connect(io),
        };
    }
    if let Some(h2) = cause::<h2::Error>(error) {
        return http2(h2, request);
    }
    if let Some(io) = io {
        return broken(io, request);
    }
    match cause::<hyper::Error>(error) {
        Some(http) if http.is_incomplete_message() || http.is_canceled() || http.is_closed() => {
            closed(request, Class::ResponseClosed, Class::BodyTruncated)
        }
        Some(_) => class(Class::ResponseMalformed),
        None => bad(Class::ConnectOther),
    }
}

/// The connection ended: in the head, or in the body.
fn closed(request: Request, head: Class, body: Class) -> Answer {
    let class = match request.step {
        Step::Body => body,
        _ if request.reused => Class::ReusedClosed,
        _ => head,
    };
    Answer::Bad { class, status: request.status }
}

/// The connection broke.
fn broken(error: &io::Error, request: Request) -> Answer {
    match Failure::of(error) {
        Failure::Local(trouble) => Answer::Local(trouble),
        Failure::Closed => closed(request, Class::ResponseClosed, Class::BodyTruncated),
        // The library tells whichever it met first, reading or writing, and a write that meets a FIN is a reset.
        Failure::Reset if request.version == HttpVersion::Two => {
            closed(request, Class::ResponseClosed, Class::BodyTruncated)
        }
        // A frame that broke off has no kind of its own.
        Failure::Other if request.version == HttpVersion::Two && error.kind() == io::ErrorKind::Other => {
            closed(request, Class::ResponseClosed, Class::BodyTruncated)
        }
        Failure::Reset => closed(request, Class::ResponseReset, Class::BodyReset),
        Failure::TimedOut => Answer::Bad { class: classify::timeout_in(request.step), status: request.status },
        Failure::Tls => Answer::Bad { class: Class::TlsOther, status: request.status },
        Failure::Other => Answer::Bad { class: Class::ResponseMalformed, status: request.status },
    }
}

fn http2(error: &h2::Error, request: Request) -> Answer {
    if let Some(io) = error.get_io() {
        return broken(io, request);
    }
    let class = match (error.is_remote(), error.reason()) {
        (true, Some(h2::Reason::REFUSED_STREAM)) if error.is_reset() => Class::StreamRefused,
        (true, _) if error.is_reset() => Class::StreamReset,
        // A stream ends with this error only where the peer's last one lies below it.
        (true, _) if error.is_go_away() => Class::GoawayUnprocessed,
        _ => Class::ResponseMalformed,
    };
    Answer::Bad { class, status: request.status }
}
