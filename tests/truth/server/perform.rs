//! Doing what a fault says, step by step, with stamps.

use std::io;

use crate::catalogue::{Last, On, Step};
use crate::wire::Wire;
use crate::{clock, dns, http2};

/// When an answer went out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stamps {
    /// Just before the first byte was written.
    pub(crate) first: Option<u64>,
    /// Just after the last one was.
    pub(crate) last: Option<u64>,
}

/// What becomes of the connection.
pub(crate) enum Next {
    /// It carries on.
    Keep,
    /// It is over, and this came in the meantime.
    Over(Vec<u8>),
}

/// What to write after so many bytes `x` of a head that has no end.
const FILL: [u8; 8192] = [b'x'; 8192];

/// Performs the steps.
pub(crate) fn perform(steps: &[Step], wire: &mut Wire, stamps: &mut Stamps) -> Next {
    for step in steps {
        let done = match *step {
            Step::Write(bytes) => write(wire, stamps, |wire| wire.write(bytes)),
            Step::Raw(bytes) => write(wire, stamps, |wire| wire.write_raw(bytes)),
            Step::Fill(count) => {
                write(wire, stamps, |wire| (0..count.div_ceil(FILL.len())).try_for_each(|_| wire.write(&FILL)))
            }
            Step::Drip(bytes, pause) => drip(wire, stamps, bytes, pause),
            Step::Pause(pause) => {
                pause_for(pause);
                Ok(())
            }
            Step::Frame(kind, flags, on, payload) => {
                let stream = if let On::Stream = on { wire.asked.stream } else { 0 };
                write(wire, stamps, |wire| wire.write(&http2::frame(kind, flags, stream, payload)))
            }
            Step::Part(kind, flags, length, payload) => {
                let mut bytes = http2::frame(kind, flags, wire.asked.stream, payload);
                bytes[2] = length;
                write(wire, stamps, |wire| wire.write(&bytes))
            }
            Step::Goaway(last, code) => {
                let last = match last {
                    Last::None => 0,
                    Last::This => wire.asked.stream,
                    Last::All => u32::MAX >> 1,
                };
                let payload = http2::goaway(last, code);
                write(wire, stamps, |wire| wire.write(&http2::frame(http2::GOAWAY, 0, 0, &payload)))
            }
            Step::Pings(count) => {
                let pings = (0..count).flat_map(|n| http2::frame(http2::PING, 0, 0, &[n; 8])).collect::<Vec<_>>();
                write(wire, stamps, |wire| wire.write(&pings))
            }
            Step::Reply(say) => {
                let message = dns::framed(&dns::reply(say, &wire.asked.question));
                write(wire, stamps, |wire| wire.write(&message))
            }
            Step::DripReply(pause) => {
                let message = dns::framed(&dns::reply(dns::Say::Right, &wire.asked.question));
                drip(wire, stamps, &message, pause)
            }
            Step::Notify => wire.notify(),
            // Those of the handshake are seen to there; a connection has no other port.
            Step::HalfOfHandshake | Step::Certificate(_) | Step::Unagreed | Step::Elsewhere => Ok(()),
            Step::Fin => return Next::Over(wire.fin()),
            Step::Reset => return Next::Over(wire.reset()),
            Step::Cut => {
                wire.cut();
                return Next::Over(Vec::new());
            }
            Step::Hang => {
                clock::wait_for(&*wire.tcp, false, None);
                return Next::Over(Vec::new());
            }
        };
        if done.is_err() {
            stamps.last = None;
            return Next::Over(Vec::new());
        }
    }
    Next::Keep
}

fn write(wire: &mut Wire, stamps: &mut Stamps, bytes: impl FnOnce(&mut Wire) -> io::Result<()>) -> io::Result<()> {
    let before = clock::now();
    let written = bytes(wire);
    stamps.first.get_or_insert(before);
    stamps.last = Some(clock::now());
    written
}

fn drip(wire: &mut Wire, stamps: &mut Stamps, bytes: &[u8], pause: u64) -> io::Result<()> {
    bytes.chunks(1).try_for_each(|byte| {
        pause_for(pause);
        write(wire, stamps, |wire| wire.write(byte))
    })
}

pub(crate) fn pause_for(millis: u64) {
    clock::wait_until(clock::now() + millis * 1_000_000);
}
