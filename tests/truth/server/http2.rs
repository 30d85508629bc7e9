//! HTTP/2: frames written byte by byte, right and wrong.

use crate::catalogue::Step::{Fin, Frame, Goaway, Hang, Part, Pings, Reset, Write};
use crate::catalogue::{Fault, Last, Level, On, Step};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Flags.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` and `x-truth: yes`.
const OK: &[u8] = b"\x88\0\x07x-truth\x03yes";
const HEAD: Step = Frame(HEADERS, END_HEADERS, On::Stream, OK);
const BODY: Step = Frame(DATA, END_STREAM, On::Stream, b"truth");
const TRU: Step = Frame(DATA, 0, On::Stream, b"tru");
/// A frame of five bytes, of which three come.
const HALF_A_FRAME: Step = Part(DATA, 0, 5, b"tru");

const fn fault(name: &'static str, steps: &'static [Step]) -> Fault {
    Fault { name, level: Level::Request, steps }
}

const fn rst(code: &'static [u8]) -> Step {
    Frame(RST_STREAM, 0, On::Stream, code)
}

/// A whole answer that is only a head.
const fn only(head: &'static [u8]) -> Step {
    Frame(HEADERS, END_HEADERS | END_STREAM, On::Stream, head)
}

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Below any request, whatever it is about: of gRPC as well.
pub(crate) const CONNECTION: &[Fault] = &[
    Fault { name: "preface-hang", level: Level::Preface, steps: &[Hang] },
    Fault { name: "preface-fin", level: Level::Preface, steps: &[Fin] },
    Fault { name: "preface-rst", level: Level::Preface, steps: &[Reset] },
    Fault {
        name: "preface-http1",
        level: Level::Preface,
        steps: &[Write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), Fin],
    },
    Fault { name: "preface-goaway", level: Level::Preface, steps: &[SETTLED, Goaway(Last::None, NO_ERROR), Fin] },
    Fault {
        name: "preface-calm",
        level: Level::Preface,
        steps: &[SETTLED, Goaway(Last::None, ENHANCE_YOUR_CALM), Fin],
    },
    Fault {
        name: "settings-bad",
        level: Level::Preface,
        steps: &[Frame(SETTINGS, 0, On::Connection, b"\0\0\0"), Hang],
    },
    // `MAX_CONCURRENT_STREAMS`: 1.
    Fault {
        name: "settings-one-stream",
        level: Level::Settings,
        steps: &[Frame(SETTINGS, 0, On::Connection, b"\0\x03\0\0\0\x01")],
    },
    fault("goaway-before", &[Goaway(Last::None, NO_ERROR), Fin]),
    fault("goaway-before-calm", &[Goaway(Last::None, ENHANCE_YOUR_CALM), Fin]),
    fault("goaway-before-hang", &[Goaway(Last::None, NO_ERROR), Hang]),
    fault("goaway-with", &[Goaway(Last::This, NO_ERROR), Fin]),
    fault("goaway-with-calm", &[Goaway(Last::This, ENHANCE_YOUR_CALM), Fin]),
    fault("goaway-with-internal", &[Goaway(Last::This, INTERNAL_ERROR), Fin]),
    fault("goaway-with-rst", &[Goaway(Last::This, NO_ERROR), Reset]),
    fault("goaway-with-hang", &[Goaway(Last::This, NO_ERROR), Hang]),
    fault("goaway-shutdown-fin", &[Goaway(Last::All, NO_ERROR), Fin]),
    fault("stream-refused", &[rst(b"\0\0\0\x07")]),
    fault("stream-cancel", &[rst(b"\0\0\0\x08")]),
    fault("stream-internal", &[rst(b"\0\0\0\x02")]),
    fault("stream-calm", &[rst(b"\0\0\0\x0b")]),
    fault("stream-no-error", &[rst(b"\0\0\0\0")]),
    fault("stream-http1-required", &[rst(b"\0\0\0\x0d")]),
    fault("fin", &[Fin]),
    fault("rst", &[Reset]),
    fault("hang", &[Hang]),
    fault("frame-too-large", &[Write(b"\x7f\xff\xff\x01\x04\0\0\0\x01"), Hang]),
    fault("frame-on-nothing", &[Frame(HEADERS, END_HEADERS, On::Connection, OK), Hang]),
    fault("frame-http1", &[Write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntruth"), Hang]),
    fault("head-undecodable", &[Frame(HEADERS, END_HEADERS, On::Stream, b"\xff\xff\xff\xff\xff\xff"), Hang]),
    fault("head-fin", &[Part(HEADERS, END_HEADERS, 64, b"\x88"), Fin]),
];

/// The sound beginning of a connection.
pub(crate) const SETTLED: Step = Frame(SETTINGS, 0, On::Connection, b"");

/// Room for as much as any test sends.
pub(crate) const ROOM: Step = Frame(WINDOW_UPDATE, 0, On::Connection, b"\x7f\xff\0\0");

/// Of plain HTTP over it.
pub(crate) const FAULTS: &[Fault] = &[
    fault("ok", &[HEAD, BODY]),
    fault("ok-early-hints", &[Frame(HEADERS, END_HEADERS, On::Stream, b"\x08\x03103"), HEAD, BODY]),
    fault(
        "ok-continuation",
        &[
            Frame(HEADERS, 0, On::Stream, b"\x88"),
            Frame(CONTINUATION, END_HEADERS, On::Stream, b"\0\x07x-truth\x03yes"),
            BODY,
        ],
    ),
    fault("ok-trailers", &[HEAD, Frame(DATA, 0, On::Stream, b"truth"), only(b"\0\x07x-after\x03all")]),
    fault("ok-pings", &[Pings(200), HEAD, BODY]),
    fault("ok-unknown-frame", &[Frame(0x42, 0, On::Stream, b"of the future"), HEAD, BODY]),
    fault("ok-goaway-first", &[Goaway(Last::This, NO_ERROR), HEAD, BODY, Fin]),
    fault("ok-then-goaway", &[HEAD, BODY, Goaway(Last::This, NO_ERROR), Fin]),
    fault("ok-then-fin", &[HEAD, BODY, Fin]),
    fault("ok-then-rst", &[HEAD, BODY, Step::Pause(5), Reset]),
    fault("status-500", &[only(b"\x08\x03500")]),
    fault("status-503", &[only(b"\x08\x03503")]),
    fault("status-429", &[only(b"\x08\x03429")]),
    fault("status-404", &[only(b"\x08\x03404")]),
    fault("status-301", &[only(b"\x08\x03301")]),
    fault("status-none", &[only(b"\0\x07x-truth\x03yes")]),
    fault("header-other", &[Frame(HEADERS, END_HEADERS, On::Stream, b"\x88\0\x07x-truth\x02no"), BODY]),
    fault("body-other", &[HEAD, Frame(DATA, END_STREAM, On::Stream, b"lies")]),
    fault("body-none", &[only(OK)]),
    fault("body-fin", &[HEAD, TRU, Fin]),
    fault("body-rst", &[HEAD, TRU, Reset]),
    fault("body-hang", &[HEAD, TRU, Hang]),
    fault("body-frame-fin", &[HEAD, HALF_A_FRAME, Fin]),
    fault("body-stream-cancel", &[HEAD, TRU, rst(b"\0\0\0\x08")]),
    fault("body-stream-internal", &[HEAD, TRU, rst(b"\0\0\0\x02")]),
    fault("body-goaway", &[HEAD, TRU, Goaway(Last::This, INTERNAL_ERROR), Fin]),
    // `content-length: 9` over a body of five bytes.
    fault(
        "body-length-wrong",
        &[Frame(HEADERS, END_HEADERS, On::Stream, b"\x88\x0f\x0d\x019\0\x07x-truth\x03yes"), BODY],
    ),
    fault("data-first", &[Frame(DATA, 0, On::Stream, b"truth"), Hang]),
];

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A frame's kind, flags, stream and payload.
pub(crate) type Read = (u8, u8, u32, Vec<u8>);

/// The frame at the beginning of `bytes`, and its end; `None` while it is not complete.
pub(crate) fn frame_in(bytes: &[u8]) -> Option<(Read, usize)> {
    let head: [u8; 9] = *bytes.first_chunk()?;
    let end = 9 + usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).ok()?;
    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    Some(((head[3], head[4], stream, bytes.get(9..end)?.to_vec()), end))
}

/// The payload of a GOAWAY.
pub(crate) fn goaway(last: u32, code: u32) -> Vec<u8> {
    [last.to_be_bytes(), code.to_be_bytes()].concat()
}
