//! From what happened on an HTTP/2 connection to the class that is written down.
//!
//! | seen | class |
//! | --- | --- |
//! | `RST_STREAM` with `REFUSED_STREAM` | [`Class::StreamRefused`] |
//! | `RST_STREAM` with any other code, also within the body | [`Class::StreamReset`] |
//! | GOAWAY with a last stream below this one | [`Class::GoawayUnprocessed`] |
//! | the connection ended after a GOAWAY that had accepted this stream | [`Class::GoawayProcessed`] |
//! | frames that are against the protocol, or no frames | [`Class::ResponseMalformed`] |
//! | the connection ended without a GOAWAY | as over HTTP/1.1 |

use h2::Reason;

use super::connection::Lease;
use crate::probe::sample::Class;
use crate::probe::transport::Answer;
use crate::probe::transport::classify::{Cause, Failed};
use crate::probe::transport::wire::{Failure, Wire};

/// The request that failed.
pub(super) struct Request<'a> {
    pub(super) lease: &'a Lease,
    /// Whether others were carried on its connection before.
    pub(super) reused: bool,
    /// The status, where the response's head had come.
    pub(super) status: Option<u16>,
}

impl Failed {
    /// A request that was not answered, or not to the end; `None` when the connection failed before there was one.
    pub(super) fn http2(error: h2::Error, wire: &Wire, request: Option<&Request<'_>>) -> Self {
        let local =
            [wire.read_failure(), wire.write_failure()].into_iter().flatten().find_map(|failure| match failure {
                Failure::Local(trouble) => Some(trouble),
                _ => None,
            });
        let status = request.and_then(|request| request.status);
        let answer = match local {
            Some(trouble) => Answer::Local(trouble),
            None => Answer::Bad { class: class(&error, wire, request), status: status.unwrap_or(0) },
        };
        Self { answer, cause: Cause::Http2(error) }
    }
}

fn class(error: &h2::Error, wire: &Wire, request: Option<&Request<'_>>) -> Class {
    if error.is_reset() && error.is_remote() {
        return if error.reason() == Some(Reason::REFUSED_STREAM) { Class::StreamRefused } else { Class::StreamReset };
    }
    if error.is_reset() || error.is_go_away() && error.is_library() {
        return Class::ResponseMalformed;
    }
    let last = request.and_then(|request| request.lease.connection.facts.last_stream().zip(Some(request.lease.stream)));
    match last {
        Some((last, this)) if this > last => return Class::GoawayUnprocessed,
        Some(_) => return Class::GoawayProcessed,
        None => {}
    }
    // The peer has no use for what follows a request, like the acknowledgement of its settings; but that can be what meets the reset.
    let facts = request.map(|request| (&request.lease.connection.facts, request.lease.stream));
    let reset = facts.is_some_and(|(facts, _)| facts.reset());
    let sent = facts.is_some_and(|(facts, stream)| facts.sent(stream));
    let in_body = request.is_some_and(|request| request.status.is_some());
    let unanswered = |request: &Request<'_>| {
        let Request { lease, reused, .. } = request;
        *reused && !lease.connection.facts.answered(lease.stream)
    };
    match (wire.read_failure(), wire.write_failure()) {
        (Some(Failure::Tls), _) | (_, Some(Failure::Tls)) => Class::TlsOther,
        (Some(Failure::TimedOut), _) | (_, Some(Failure::TimedOut)) if in_body => Class::BodyTimeout,
        (Some(Failure::TimedOut), _) | (_, Some(Failure::TimedOut)) => Class::ResponseTimeout,
        (Some(Failure::Closed), _) if in_body && !reset => Class::BodyTruncated,
        (Some(Failure::Reset), _) | (_, Some(_)) if in_body => Class::BodyReset,
        _ if request.is_some_and(unanswered) => Class::ReusedClosed,
        (_, Some(_)) if sent => Class::ResponseReset,
        (_, Some(_)) => Class::SendReset,
        (Some(Failure::Reset), None) => Class::ResponseReset,
        (Some(Failure::Closed), None) => Class::ResponseClosed,
        (Some(Failure::Other | Failure::Local(_)) | None, None) => Class::ResponseMalformed,
    }
}
