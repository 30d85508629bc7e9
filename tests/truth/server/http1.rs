//! HTTP/1.1: what can be answered to a request, right and wrong.

use crate::catalogue::Step::{Drip, Fill, Fin, Hang, Notify, Pause, Reset, Write};
use crate::catalogue::{Fault, Level, Step};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nx-truth: yes\r\ncontent-length: 5\r\n\r\ntruth";
/// In one piece, so that it is there before the next request is.
const OK_AND_MORE: &[u8] =
    b"HTTP/1.1 200 OK\r\nx-truth: yes\r\ncontent-length: 5\r\n\r\ntruth and more than was asked for";
const OK_TWICE: &[u8] = b"HTTP/1.1 200 OK\r\nx-truth: yes\r\ncontent-length: 5\r\n\r\ntruth\
    HTTP/1.1 200 OK\r\nx-truth: yes\r\ncontent-length: 5\r\n\r\ntruth";
/// A head with a length that no body here reaches.
const LONG: &[u8] = b"HTTP/1.1 200 OK\r\nx-truth: yes\r\ncontent-length: 200\r\n\r\ntruth";
const UNTIL_THE_END: &[u8] = b"HTTP/1.1 200 OK\r\nx-truth: yes\r\n\r\ntruth";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nx-truth: yes\r\ntransfer-encoding: chunked\r\n\r\n";
/// A chunk of five bytes, whole.
const CHUNK: &[u8] = b"5\r\ntruth\r\n";
/// A chunk of 32 bytes, of which five come.
const HALF_A_CHUNK: &[u8] = b"20\r\ntruth";
const HALF_A_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nx-truth: y";

const fn fault(name: &'static str, steps: &'static [Step]) -> Fault {
    Fault { name, level: Level::Request, steps }
}

/// What is done with a request over plain TCP, and over TLS as well.
pub(crate) const FAULTS: &[Fault] = &[
    // Right, in one way or another.
    fault("ok", &[Write(OK)]),
    fault("ok-chunked", &[Write(CHUNKED), Write(CHUNK), Write(b"0\r\n\r\n")]),
    fault("ok-trailers", &[Write(CHUNKED), Write(CHUNK), Write(b"0\r\nx-after: all\r\n\r\n")]),
    fault("ok-continue", &[Write(b"HTTP/1.1 100 Continue\r\n\r\n"), Write(OK)]),
    fault("ok-early-hints", &[Write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"), Write(OK)]),
    fault("ok-drip", &[Drip(OK, 1)]),
    fault(
        "ok-close",
        &[Write(b"HTTP/1.1 200 OK\r\nx-truth: yes\r\nconnection: close\r\ncontent-length: 5\r\n\r\ntruth"), Fin],
    ),
    fault("ok-http-1.0", &[Write(b"HTTP/1.0 200 OK\r\nx-truth: yes\r\ncontent-length: 5\r\n\r\ntruth"), Fin]),
    // Right, and then the connection is not what it seemed.
    fault("ok-then-fin", &[Write(OK), Fin]),
    fault("ok-then-rst", &[Write(OK), Pause(5), Reset]),
    fault("ok-then-idle-fin", &[Write(OK), Pause(20), Fin]),
    fault("ok-then-idle-rst", &[Write(OK), Pause(20), Reset]),
    fault("ok-then-more", &[Write(OK_AND_MORE)]),
    fault("ok-twice", &[Write(OK_TWICE)]),
    // Another answer than the expected one.
    fault("status-500", &[Write(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")]),
    fault("status-503", &[Write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy")]),
    fault(
        "status-503-retry",
        &[Write(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n")],
    ),
    fault("status-429", &[Write(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n")]),
    fault("status-404", &[Write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")]),
    fault(
        "status-408-fin",
        &[Write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), Fin],
    ),
    fault("status-301", &[Write(b"HTTP/1.1 301 Moved Permanently\r\nlocation: /\r\ncontent-length: 0\r\n\r\n")]),
    fault("status-307", &[Write(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /\r\ncontent-length: 0\r\n\r\n")]),
    fault("status-500-body-rst", &[Write(b"HTTP/1.1 500 No\r\ncontent-length: 200\r\n\r\nhalf"), Reset]),
    fault("header-other", &[Write(b"HTTP/1.1 200 OK\r\nx-truth: no\r\ncontent-length: 5\r\n\r\ntruth")]),
    fault("header-missing", &[Write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntruth")]),
    fault("body-other", &[Write(b"HTTP/1.1 200 OK\r\nx-truth: yes\r\ncontent-length: 4\r\n\r\nlies")]),
    fault("body-none", &[Write(b"HTTP/1.1 200 OK\r\nx-truth: yes\r\ncontent-length: 0\r\n\r\n")]),
    // No complete head.
    fault("fin", &[Fin]),
    fault("rst", &[Reset]),
    fault("hang", &[Hang]),
    fault("head-fin", &[Write(HALF_A_HEAD), Fin]),
    fault("head-rst", &[Write(HALF_A_HEAD), Reset]),
    fault("head-hang", &[Write(HALF_A_HEAD), Hang]),
    fault("head-drip", &[Drip(b"HTTP/1.1 200 OK\r\nx-truth: yes\r\n", 200), Hang]),
    fault("continue-fin", &[Write(b"HTTP/1.1 100 Continue\r\n\r\n"), Fin]),
    fault("continue-hang", &[Write(b"HTTP/1.1 100 Continue\r\n\r\n"), Hang]),
    // A head that is none.
    fault("status-line-garbage", &[Write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), Hang]),
    fault("status-line-version", &[Write(b"HTTP/3.7 200 OK\r\ncontent-length: 0\r\n\r\n"), Hang]),
    fault("status-line-number", &[Write(b"HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n"), Hang]),
    fault("head-binary", &[Write(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80"), Hang]),
    fault("head-too-large", &[Write(b"HTTP/1.1 200 OK\r\nx-truth: "), Fill(2 << 20), Hang]),
    fault("head-length-no-number", &[Write(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"), Hang]),
    fault(
        "head-two-lengths",
        &[Write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\ntruth!"), Hang],
    ),
    fault("head-name-bad", &[Write(b"HTTP/1.1 200 OK\r\nx truth: yes\r\ncontent-length: 0\r\n\r\n"), Hang]),
    // No complete body.
    fault("body-fin", &[Write(LONG), Fin]),
    fault("body-rst", &[Write(LONG), Reset]),
    fault("body-hang", &[Write(LONG), Hang]),
    fault("body-drip", &[Write(LONG), Drip(b"so slow that it has no end in time", 200), Hang]),
    fault("body-never", &[Write(b"HTTP/1.1 200 OK\r\nx-truth: yes\r\ncontent-length: 5\r\n\r\n"), Hang]),
    fault("chunk-fin", &[Write(CHUNKED), Write(HALF_A_CHUNK), Fin]),
    fault("chunk-rst", &[Write(CHUNKED), Write(HALF_A_CHUNK), Reset]),
    fault("chunk-hang", &[Write(CHUNKED), Write(HALF_A_CHUNK), Hang]),
    fault("chunk-between-fin", &[Write(CHUNKED), Write(CHUNK), Fin]),
    fault("chunk-end-fin", &[Write(CHUNKED), Write(CHUNK), Write(b"0\r\n"), Fin]),
    fault("chunk-size-bad", &[Write(CHUNKED), Write(b"five\r\ntruth\r\n"), Hang]),
    fault("chunk-size-huge", &[Write(CHUNKED), Write(b"fffffffffffffffffff\r\n"), Hang]),
    fault("chunk-no-end", &[Write(CHUNKED), Write(b"5\r\ntruth!!"), Hang]),
    fault("until-end", &[Write(UNTIL_THE_END), Fin]),
    fault("until-end-rst", &[Write(UNTIL_THE_END), Pause(5), Reset]),
    fault("until-end-hang", &[Write(UNTIL_THE_END), Hang]),
];

/// Ends that are told apart over TLS only, which has one of its own above TCP's.
pub(crate) const OVER_TLS: &[Fault] = &[
    fault("ok-until-notify", &[Write(UNTIL_THE_END), Notify, Fin]),
    fault("notify", &[Notify, Fin]),
    fault("body-notify", &[Write(LONG), Notify, Fin]),
];

/// The end of the request at the beginning of `bytes`; `None` while it is not complete.
pub(crate) fn end_of_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(bytes.get(..head)?).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let end = head + length.unwrap_or(0);
    (bytes.len() >= end).then_some(end)
}

/// How many whole requests there are in these bytes.
pub(crate) fn requests_in(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(rest) = end_of_request(bytes).and_then(|end| bytes.get(end..)) {
        count += 1;
        bytes = rest;
    }
    count
}
