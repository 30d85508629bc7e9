//! gRPC health checks: what a server of `grpc.health.v1.Health` can answer to `Check`, right and wrong.

use crate::catalogue::Step::{Fin, Frame, Hang, Reset};
use crate::catalogue::{Fault, Level, On, Step};
use crate::http2::{DATA, END_STREAM, HEADERS};

const END_HEADERS: u8 = 4;

/// `:status: 200` and `content-type: application/grpc`.
const HEAD: Step = Frame(HEADERS, END_HEADERS, On::Stream, b"\x88\0\x0ccontent-type\x10application/grpc");
const SERVING: Step = Frame(DATA, 0, On::Stream, b"\0\0\0\0\x02\x08\x01");

const fn fault(name: &'static str, steps: &'static [Step]) -> Fault {
    Fault { name, level: Level::Request, steps }
}

/// The headers that end a call.
const fn ends(trailers: &'static [u8]) -> Step {
    Frame(HEADERS, END_HEADERS | END_STREAM, On::Stream, trailers)
}

const OK: Step = ends(b"\0\x0bgrpc-status\x010");

/// What is done with a call.
pub(crate) const FAULTS: &[Fault] = &[
    fault("ok", &[HEAD, SERVING, OK]),
    fault(
        "ok-two-frames",
        &[HEAD, Frame(DATA, 0, On::Stream, b"\0\0\0"), Frame(DATA, 0, On::Stream, b"\0\x02\x08\x01"), OK],
    ),
    fault("health-unknown", &[HEAD, Frame(DATA, 0, On::Stream, b"\0\0\0\0\0"), OK]),
    fault("health-not-serving", &[HEAD, Frame(DATA, 0, On::Stream, b"\0\0\0\0\x02\x08\x02"), OK]),
    fault("health-service-unknown", &[HEAD, Frame(DATA, 0, On::Stream, b"\0\0\0\0\x02\x08\x03"), OK]),
    fault("status-deadline", &[ends(b"\x88\0\x0ccontent-type\x10application/grpc\0\x0bgrpc-status\x014")]),
    fault("status-not-found", &[ends(b"\x88\0\x0ccontent-type\x10application/grpc\0\x0bgrpc-status\x015")]),
    fault("status-unimplemented", &[ends(b"\x88\0\x0ccontent-type\x10application/grpc\0\x0bgrpc-status\x0212")]),
    fault("status-unavailable", &[ends(b"\x88\0\x0ccontent-type\x10application/grpc\0\x0bgrpc-status\x0214")]),
    fault("status-after-message", &[HEAD, SERVING, ends(b"\0\x0bgrpc-status\x0214")]),
    fault("status-none", &[HEAD, SERVING, ends(b"\0\x07x-after\x03all")]),
    fault("status-no-trailers", &[HEAD, Frame(DATA, END_STREAM, On::Stream, b"\0\0\0\0\x02\x08\x01")]),
    fault("status-no-number", &[HEAD, SERVING, ends(b"\0\x0bgrpc-status\x04fine")]),
    fault("http-503", &[ends(b"\x08\x03503")]),
    fault("http-404", &[ends(b"\x08\x03404")]),
    fault(
        "type-other",
        &[Frame(HEADERS, END_HEADERS, On::Stream, b"\x88\0\x0ccontent-type\x09text/html"), SERVING, OK],
    ),
    fault("message-cut", &[HEAD, Frame(DATA, 0, On::Stream, b"\0\0\0\0\x05\x08\x01"), OK]),
    fault("message-compressed", &[HEAD, Frame(DATA, 0, On::Stream, b"\x01\0\0\0\x02\x08\x01"), OK]),
    fault("message-none", &[HEAD, OK]),
    fault("message-twice", &[HEAD, SERVING, SERVING, OK]),
    fault("message-garbage", &[HEAD, Frame(DATA, 0, On::Stream, b"\0\0\0\0\x03\xff\xff\xff"), OK]),
    fault("message-fin", &[HEAD, Frame(DATA, 0, On::Stream, b"\0\0\0\0\x02\x08"), Fin]),
    fault("message-rst", &[HEAD, Frame(DATA, 0, On::Stream, b"\0\0\0\0\x02\x08"), Reset]),
    fault("message-hang", &[HEAD, SERVING, Hang]),
];
