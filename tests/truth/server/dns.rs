//! DNS: messages written byte by byte, right and wrong.

use crate::catalogue::Step::{Elsewhere, Fin, Hang, Pause, Reply, Reset, Write};
use crate::catalogue::{Fault, Level, Step};

/// What is said to a question.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Say {
    /// The address, 192.0.2.1.
    Right,
    /// Another one.
    OtherAddress,
    /// An alias, and the address under it.
    Chain,
    /// An alias of itself.
    Loop,
    /// No record.
    Nodata,
    /// No record, and this code.
    Code(u8),
    /// No record, and a mark that there would be more.
    Truncated,
    /// The address, to a question with another number.
    OtherId,
    /// The address, of another name.
    OtherQuestion,
    /// The address, without the question that it is the answer to.
    NoQuestion,
    /// The right number, and nothing that could be read.
    Garbage,
    /// The right answer up to the middle of its record.
    Cut,
    /// The right answer up to the middle of its header.
    Short,
    /// The question as it came.
    Echo,
}

const fn fault(name: &'static str, steps: &'static [Step]) -> Fault {
    Fault { name, level: Level::Request, steps }
}

/// Over datagrams and TCP alike.
pub(crate) const FAULTS: &[Fault] = &[
    fault("ok", &[Reply(Say::Right)]),
    fault("ok-chain", &[Reply(Say::Chain)]),
    fault("ok-late", &[Pause(20), Reply(Say::Right)]),
    fault("address-other", &[Reply(Say::OtherAddress)]),
    fault("alias-loop", &[Reply(Say::Loop)]),
    fault("nodata", &[Reply(Say::Nodata)]),
    fault("code-formerr", &[Reply(Say::Code(1))]),
    fault("code-servfail", &[Reply(Say::Code(2))]),
    fault("code-nxdomain", &[Reply(Say::Code(3))]),
    fault("code-notimp", &[Reply(Say::Code(4))]),
    fault("code-refused", &[Reply(Say::Code(5))]),
    fault("code-notauth", &[Reply(Say::Code(9))]),
    fault("id-other", &[Reply(Say::OtherId)]),
    fault("question-other", &[Reply(Say::OtherQuestion)]),
    fault("question-none", &[Reply(Say::NoQuestion)]),
    fault("garbage", &[Reply(Say::Garbage)]),
    fault("cut", &[Reply(Say::Cut)]),
    fault("short", &[Reply(Say::Short)]),
    fault("echo", &[Reply(Say::Echo)]),
    fault("truncated", &[Reply(Say::Truncated)]),
    fault("hang", &[Hang]),
];

/// Over datagrams.
pub(crate) const UDP: &[Fault] = &[
    Fault { name: NOBODY, level: Level::Port, steps: &[] },
    fault("ok-twice", &[Reply(Say::Right), Reply(Say::Right)]),
    fault("ok-after-other-id", &[Reply(Say::OtherId), Reply(Say::Right)]),
    fault("elsewhere", &[Elsewhere]),
    fault("empty", &[Write(b"")]),
];

/// Over TCP.
pub(crate) const TCP: &[Fault] = &[
    fault("ok-drip", &[Step::DripReply(1)]),
    fault("fin", &[Fin]),
    fault("rst", &[Reset]),
    fault("length-fin", &[Write(b"\0"), Fin]),
    fault("length-rst", &[Write(b"\0"), Reset]),
    fault("message-fin", &[Write(b"\0\x40half of it"), Fin]),
    fault("message-rst", &[Write(b"\0\x40half of it"), Reset]),
    fault("message-hang", &[Write(b"\0\x40half of it"), Hang]),
    fault("length-none", &[Write(b"\0\0")]),
];

/// Nothing listens for datagrams, and the kernel says so.
pub(crate) const NOBODY: &str = "nobody";

const HEADER: usize = 12;

/// The answer to a question.
pub(crate) fn reply(say: Say, question: &[u8]) -> Vec<u8> {
    let id = question.get(..2).unwrap_or(&[0, 0]);
    // Length and name of the labels, type, class: the question as it was asked, without what may follow it.
    let labels = question.get(HEADER..).unwrap_or_default();
    let name = labels.iter().position(|byte| *byte == 0).map_or(labels.len(), |end| end + 1);
    let asked = labels.get(..name + 4).unwrap_or(labels);
    let address: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\xc0\0\x02\x01";
    let (code, cut, questions, records): (u8, u8, &[u8], Vec<&[u8]>) = match say {
        Say::Right | Say::OtherId | Say::Cut | Say::Short => (0, 0, asked, vec![address]),
        Say::OtherAddress => (0, 0, asked, vec![b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\xc0\0\x02\x09"]),
        // `alias`, then that name's address, pointing at the alias.
        Say::Chain => {
            let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x05\0\x07\x05alias\0";
            (0, 0, asked, vec![alias, b"\x05alias\0\0\x01\0\x01\0\0\0\x05\0\x04\xc0\0\x02\x01"])
        }
        Say::Loop => (0, 0, asked, vec![b"\xc0\x0c\0\x05\0\x01\0\0\0\x05\0\x02\xc0\x0c"]),
        Say::Nodata => (0, 0, asked, vec![]),
        Say::Code(code) => (code, 0, asked, vec![]),
        Say::Truncated => (0, 2, asked, vec![]),
        Say::OtherQuestion => (0, 0, b"\x05other\x07example\0\0\x01\0\x01", vec![address]),
        Say::NoQuestion => (0, 0, b"", vec![b"\x05truth\x07example\0\0\x01\0\x01\0\0\0\x05\0\x04\xc0\0\x02\x01"]),
        Say::Garbage => return [id, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff no message"].concat(),
        Say::Echo => return question.to_vec(),
    };
    let mut message = Vec::from(id);
    message.extend([0x81 | cut, 0x80 | code, 0, u8::from(!questions.is_empty()), 0]);
    message.extend([u8::try_from(records.len()).unwrap_or(0), 0, 0, 0, 0]);
    message.extend(questions);
    message.extend(records.concat());
    match (say, message.first_mut()) {
        (Say::OtherId, Some(first)) => *first ^= 0x55,
        (Say::Cut, _) => message.truncate(message.len() - 8),
        (Say::Short, _) => message.truncate(HEADER / 2),
        _ => {}
    }
    message
}

/// With its length before it, as over TCP.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], message].concat()
}

/// The message at the beginning of `bytes`, and its end; `None` while it is not complete.
pub(crate) fn message_in(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let length = usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
    Some((bytes.get(2..2 + length)?.to_vec(), 2 + length))
}
