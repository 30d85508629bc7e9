//! From what happened to the class that is written down.
//!
//! | seen | class |
//! | --- | --- |
//! | the deadline | the timeout class of the step it fell in |
//! | a reused connection ended without a byte of the response, be it by FIN or RST | [`Class::ReusedClosed`] |
//! | RST, or `EPIPE`, from writing | [`Class::SendReset`] |
//! | a TLS alert during the handshake | [`Class::TlsAlert`] |
//! | a TLS handshake that does not agree on the protocol | [`Class::TlsAlpn`] |
//! | FIN, RST before the head was complete | [`Class::ResponseClosed`], [`Class::ResponseReset`] |
//! | FIN, RST before the body was complete | [`Class::BodyTruncated`], [`Class::BodyReset`] |
//! | bytes that are not HTTP, in head or chunk | [`Class::ResponseMalformed`] |
//! | what HTTP/2 adds | [there](super::http2) |
//! | out of descriptors, ports or buffers at any step | not bad: [`Answer::Local`] |

use std::error::Error;
use std::fmt;
use std::io;
use std::iter;

use rustls::{AlertDescription, PeerMisbehaved};

use super::expiry::ExpiresSoon;
use super::wire::{Failure, Wire};
use super::{Answer, Trouble};
use crate::probe::sample::{Class, Step};

/// A request that did not get a complete response.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) answer: Answer,
    pub(crate) cause: Cause,
}

/// What the system or a library said; formatted only where a person reads it.
#[derive(Debug)]
pub(crate) enum Cause {
    Io(io::Error),
    Http(hyper::Error),
    Http2(h2::Error),
    Reqwest(reqwest::Error),
    Text(&'static str),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Http(error) => chain(error, f),
            Self::Reqwest(error) => chain(error, f),
            Self::Http2(error) => error.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// An error with all that lies below it.
fn chain(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    iter::successors(error.source(), |error| Error::source(*error)).try_for_each(|below| write!(f, ": {below}"))
}

impl Failed {
    pub(crate) fn bad(class: Class, cause: Cause) -> Self {
        Self { answer: bad(class), cause }
    }

    /// A connection that did not open.
    pub(crate) fn connect(error: io::Error) -> Self {
        Self { answer: connect(&error), cause: Cause::Io(error) }
    }

    /// A TLS handshake that did not succeed.
    pub(crate) fn tls(error: io::Error) -> Self {
        let answer = tls(&error);
        let soon = refusal(&error).and_then(ExpiresSoon::of);
        Self { answer, cause: Cause::Io(soon.map_or(error, io::Error::other)) }
    }

    /// A request that was answered by no complete head.
    pub(crate) fn response(error: hyper::Error, wire: &Wire, reused: bool) -> Self {
        let (read, write) = (wire.read_failure(), wire.write_failure());
        let local = [read, write].into_iter().flatten().find_map(|failure| match failure {
            Failure::Local(trouble) => Some(trouble),
            _ => None,
        });
        let answer = match (local, read, write) {
            (Some(trouble), ..) => Answer::Local(trouble),
            _ if error.is_parse() => bad(Class::ResponseMalformed),
            (None, Some(Failure::Tls), _) | (None, _, Some(Failure::Tls)) => bad(Class::TlsOther),
            (None, Some(Failure::TimedOut), _) | (None, _, Some(Failure::TimedOut)) => bad(Class::ResponseTimeout),
            _ if reused && !wire.answered() => bad(Class::ReusedClosed),
            (None, _, Some(_)) => bad(Class::SendReset),
            (None, Some(Failure::Reset), None) => bad(Class::ResponseReset),
            (None, Some(Failure::Closed), None) => bad(Class::ResponseClosed),
            // What is left is a connection on which bytes came that no request asked for.
            (None, Some(Failure::Other | Failure::Local(_)) | None, None) => bad(Class::ResponseMalformed),
        };
        Self { answer, cause: Cause::Http(error) }
    }

    /// A body that did not come to its end.
    pub(crate) fn body(error: hyper::Error, wire: &Wire, status: u16) -> Self {
        let class = match wire.read_failure() {
            Some(Failure::Local(trouble)) => return Self { answer: Answer::Local(trouble), cause: Cause::Http(error) },
            Some(Failure::Reset) => Class::BodyReset,
            Some(Failure::Closed) => Class::BodyTruncated,
            Some(Failure::TimedOut) => Class::BodyTimeout,
            Some(Failure::Tls) => Class::TlsOther,
            Some(Failure::Other) | None => Class::ResponseMalformed,
        };
        Self { answer: Answer::Bad { class, status }, cause: Cause::Http(error) }
    }
}

/// What a connection came to that did not open.
pub(super) fn connect(error: &io::Error) -> Answer {
    let class = match error.kind() {
        io::ErrorKind::ConnectionRefused => Class::ConnectRefused,
        // Not connected any more: it was reset before anything was asked of it.
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::NotConnected => {
            Class::ConnectReset
        }
        io::ErrorKind::TimedOut => Class::ConnectTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            Class::ConnectUnreachable
        }
        _ => Class::ConnectOther,
    };
    Trouble::of(error).map_or(bad(class), Answer::Local)
}

/// What a TLS handshake came to that did not succeed.
pub(super) fn tls(error: &io::Error) -> Answer {
    let class = match (refusal(error), error.kind()) {
        (Some(refused), _) if ExpiresSoon::of(refused).is_some() => Class::TlsExpiresSoon,
        (Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented), _) => {
            Class::TlsCertificate
        }
        (
            Some(
                rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)
                | rustls::Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol),
            ),
            _,
        ) => Class::TlsAlpn,
        (Some(rustls::Error::AlertReceived(_)), _) => Class::TlsAlert,
        (
            None,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe,
        ) => Class::TlsClosed,
        (None, io::ErrorKind::TimedOut) => Class::TlsTimeout,
        _ => Class::TlsOther,
    };
    Trouble::of(error).map_or(bad(class), Answer::Local)
}

/// What the TLS library had against the peer.
fn refusal(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// A bad answer without a status.
pub(crate) const fn bad(class: Class) -> Answer {
    Answer::Bad { class, status: 0 }
}

/// The class of a deadline that falls into `step`.
pub(crate) const fn timeout_in(step: Step) -> Class {
    match step {
        Step::Dns => Class::DnsTimeout,
        Step::Connect => Class::ConnectTimeout,
        Step::Tls => Class::TlsTimeout,
        Step::Send | Step::Response => Class::ResponseTimeout,
        Step::Body => Class::BodyTimeout,
    }
}
