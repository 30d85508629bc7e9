//! Doing what a fault says, step by step, with stamps.

use std::io;

use crate::catalogue::Step;
use crate::clock;
use crate::wire::Wire;

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
            Step::Drip(bytes, pause) => bytes.chunks(1).try_for_each(|byte| {
                pause_for(pause);
                write(wire, stamps, |wire| wire.write(byte))
            }),
            Step::Pause(pause) => {
                pause_for(pause);
                Ok(())
            }
            Step::Notify => wire.notify(),
            // Both belong to the handshake, which sees to them itself.
            Step::HalfOfHandshake | Step::Certificate(_) => Ok(()),
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

fn pause_for(millis: u64) {
    clock::wait_until(clock::now() + millis * 1_000_000);
}
