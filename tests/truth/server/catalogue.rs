//! What can go wrong, as data: a name, where it strikes, and what is done.

use crate::script::Protocol;
use crate::{dns, grpc, http1, http2};

/// One way to break.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) level: Level,
    pub(crate) steps: &'static [Step],
}

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The port as a whole, from its opening on.
    Port,
    /// A connection, as soon as it is accepted.
    Accept,
    /// A TLS handshake, once the client's hello is there.
    Handshake,
    /// A connection of HTTP/2, once the client has said that this is one; the server's own settings are left out.
    Preface,
    /// The settings that the server begins a connection of HTTP/2 with; its requests are answered.
    Settings,
    /// A request whose first byte has arrived and was not read.
    Arrival,
    /// A request that has been read.
    Request,
}

/// One thing to do. What follows [`Fin`](Self::Fin), [`Reset`](Self::Reset), [`Cut`](Self::Cut) or [`Hang`](Self::Hang) is never
/// reached; a list without one of them leaves the connection open for the next request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Writes these bytes.
    Write(&'static [u8]),
    /// Writes these bytes below TLS.
    Raw(&'static [u8]),
    /// Writes so many bytes.
    Fill(usize),
    /// Writes these bytes one at a time, with so many milliseconds before each.
    Drip(&'static [u8], u64),
    /// Waits so many milliseconds.
    Pause(u64),
    /// Says with TLS that nothing follows.
    Notify,
    /// Writes a frame of HTTP/2: type, flags, where, payload.
    Frame(u8, u8, On, &'static [u8]),
    /// Writes the beginning of a frame of the request's stream: type, flags, length of the whole payload, what there is of it.
    Part(u8, u8, u8, &'static [u8]),
    /// Says that the connection of HTTP/2 goes away: up to which stream requests were seen to, and the reason.
    Goaway(Last, u32),
    /// Asks so many times whether anybody is there.
    Pings(u8),
    /// Answers a question of DNS.
    Reply(dns::Say),
    /// Answers it rightly, one byte at a time, with so many milliseconds before each.
    DripReply(u64),
    /// Answers it rightly, from another port.
    Elsewhere,
    /// The first half of what a TLS server says to a hello.
    HalfOfHandshake,
    /// Handshakes with this certificate instead of the good one, and goes on if the client lets it.
    Certificate(&'static str),
    /// Handshakes without a word on what is to be spoken.
    Unagreed,
    /// Closes the sending side and reads on until the peer has left.
    Fin,
    /// Resets, having read what has come.
    Reset,
    /// Resets with what has come unread.
    Cut,
    /// Does nothing until the peer has left.
    Hang,
}

/// What a frame is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On {
    /// The request.
    Stream,
    /// The connection.
    Connection,
}

/// The last stream that a GOAWAY claims to have seen to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Last {
    /// None.
    None,
    /// The request's own.
    This,
    /// Any that may still come.
    All,
}

use Step::{Certificate, Cut, Fin, HalfOfHandshake, Hang, Raw, Reset, Unagreed, Write};

const fn fault(name: &'static str, level: Level, steps: &'static [Step]) -> Fault {
    Fault { name, level, steps }
}

/// Nothing listens: the port is held, so that nobody else gets it.
pub(crate) const REFUSED: &str = "refused";
/// The queue of connections is full, so that the kernel drops what comes.
pub(crate) const BACKLOG_FULL: &str = "backlog-full";
/// The kernel opens connections that nobody takes.
pub(crate) const NEVER_ACCEPTS: &str = "never-accepts";

/// For everything that runs over TCP.
const CONNECTION: &[Fault] = &[
    fault(REFUSED, Level::Port, &[]),
    fault(BACKLOG_FULL, Level::Port, &[]),
    fault(NEVER_ACCEPTS, Level::Port, &[]),
    fault("accept-fin", Level::Accept, &[Fin]),
    fault("accept-rst", Level::Accept, &[Reset]),
    fault("accept-hang", Level::Accept, &[Hang]),
    fault("rst-unread", Level::Arrival, &[Cut]),
];

/// For everything that runs over TLS.
const TLS: &[Fault] = &[
    fault("tls-garbage", Level::Handshake, &[Write(b"\x00\x01\x02 this is no TLS \xff\xfe\r\n"), Hang]),
    fault("tls-plain-http", Level::Handshake, &[Write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), Fin]),
    fault("tls-alert-handshake-failure", Level::Handshake, &[Write(b"\x15\x03\x03\x00\x02\x02\x28"), Fin]),
    fault("tls-alert-internal-error", Level::Handshake, &[Write(b"\x15\x03\x03\x00\x02\x02\x50"), Fin]),
    fault("tls-alert-protocol-version", Level::Handshake, &[Write(b"\x15\x03\x03\x00\x02\x02\x46"), Fin]),
    fault("tls-alert-unrecognized-name", Level::Handshake, &[Write(b"\x15\x03\x03\x00\x02\x02\x70"), Fin]),
    fault("tls-fin", Level::Handshake, &[Fin]),
    fault("tls-rst", Level::Handshake, &[Reset]),
    fault("tls-hang", Level::Handshake, &[Hang]),
    fault("tls-half-fin", Level::Handshake, &[HalfOfHandshake, Fin]),
    fault("tls-half-rst", Level::Handshake, &[HalfOfHandshake, Reset]),
    fault("tls-half-hang", Level::Handshake, &[HalfOfHandshake, Hang]),
    fault("cert-expired", Level::Handshake, &[Certificate("expired")]),
    fault("cert-other-name", Level::Handshake, &[Certificate("other-name")]),
    fault("cert-untrusted", Level::Handshake, &[Certificate("untrusted")]),
    // A record that was not encrypted with the session's keys: no receiver can tell what it was meant to be.
    fault("tls-bad-record", Level::Request, &[Raw(b"\x17\x03\x03\x00\x20 thirty-two bytes of no meaning..")]),
    fault("tls-bad-record-fin", Level::Request, &[Raw(b"\x17\x03\x03\x00\x20 thirty-two bytes of no meaning.."), Fin]),
];

/// A hello of TLS 1.2, where the choice of the protocol is not encrypted yet: `http/1.1`.
const HELLO_HTTP1: &[u8] =
    b"\x16\x03\x03\x00\x3b\x02\x00\x00\x37\x03\x03thirty-two bytes of no meaning..\x00\xc0\x2b\x00\
    \x00\x0f\x00\x10\x00\x0b\x00\x09\x08http/1.1";

/// For HTTP/2 over TLS, which both sides have to agree on (ALPN).
const ALPN: &[Fault] = &[
    fault("alpn-http1", Level::Handshake, &[Write(HELLO_HTTP1), Hang]),
    fault(
        "alpn-none",
        Level::Handshake,
        &[Unagreed, Write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), Fin],
    ),
    fault("alpn-alert", Level::Handshake, &[Write(b"\x15\x03\x03\x00\x02\x02\x78"), Fin]),
];

/// For a port where nothing is said.
const NOTHING_SAID: &[Fault] = &[fault("ok", Level::Accept, &[Hang])];

/// All faults of a protocol, and what it does when nothing is wrong.
pub(crate) fn faults(protocol: Protocol) -> Vec<&'static Fault> {
    let lists: &[&'static [Fault]] = match protocol {
        Protocol::Http => &[CONNECTION, http1::FAULTS],
        Protocol::Https => &[CONNECTION, TLS, http1::FAULTS, http1::OVER_TLS],
        Protocol::H2c => &[CONNECTION, http2::CONNECTION, http2::FAULTS],
        Protocol::H2 => &[CONNECTION, TLS, ALPN, http2::CONNECTION, http2::FAULTS],
        Protocol::Grpc => &[CONNECTION, http2::CONNECTION, grpc::FAULTS],
        Protocol::Grpcs => &[CONNECTION, TLS, ALPN, http2::CONNECTION, grpc::FAULTS],
        Protocol::Tcp => &[CONNECTION, NOTHING_SAID],
        Protocol::DnsUdp => &[dns::FAULTS, dns::UDP],
        Protocol::DnsTcp => &[CONNECTION, dns::FAULTS, dns::TCP],
    };
    lists.iter().flat_map(|list| list.iter()).collect()
}
