//! Looks at the frames of an HTTP/2 connection, beside the library that works on them: which streams were answered, and
//! what the peer said of its going away. The library tells a request that its connection ended, but not whether the peer had
//! accepted it: that is the last stream id of a GOAWAY, and what a client has to know before it asks again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::hpack::{self, lacks_status};
use crate::probe::transport::wire::Failure;

/// Frame types of RFC 9113, section 6, that are looked at.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
/// A frame's head: three bytes of length, type, flags, four bytes of stream id.
const HEAD: usize = 9;
/// Flag of the frame that ends a request.
const END_STREAM: u8 = 1;
/// Length of what a client says before its first frame.
const PREFACE: usize = 24;
/// The highest bit of a stream id is reserved.
const STREAM_ID: u32 = 0x7fff_ffff;

/// What the peer has said on a connection.
#[derive(Debug, Default)]
pub(super) struct Facts {
    settings: Cell<bool>,
    last_stream: Cell<Option<u32>>,
    answered: RefCell<BTreeSet<u32>>,
    /// Those of them whose head lacks a status.
    without_status: RefCell<BTreeSet<u32>>,
    sent: RefCell<BTreeSet<u32>>,
    reset: Cell<bool>,
}

impl Facts {
    /// Whether the peer has told its settings, and with them how many streams it takes at a time.
    pub(super) fn settled(&self) -> bool {
        self.settings.get()
    }

    /// The last stream that the peer has worked on or may still work on, once it is going away. A later GOAWAY replaces an earlier
    /// one: a graceful end begins with the highest possible id.
    pub(super) fn last_stream(&self) -> Option<u32> {
        self.last_stream.get()
    }

    /// Whether a response began on a stream.
    pub(super) fn answered(&self, stream: u32) -> bool {
        self.answered.borrow().contains(&stream)
    }

    /// Whether a response began with something else than its status.
    pub(super) fn lacks_status(&self, stream: u32) -> bool {
        self.without_status.borrow().contains(&stream)
    }

    /// Whether all of a request was written.
    pub(super) fn sent(&self, stream: u32) -> bool {
        self.sent.borrow().contains(&stream)
    }

    /// Whether a write met a reset while the peer's side was still open.
    pub(super) fn reset(&self) -> bool {
        self.reset.get()
    }

    /// Nobody will ask about a stream any more.
    pub(super) fn forget(&self, stream: u32) {
        self.sent.borrow_mut().remove(&stream);
        self.answered.borrow_mut().remove(&stream);
        self.without_status.borrow_mut().remove(&stream);
    }

    /// Tells whether the frame begins a response.
    fn frame_begins(&self, kind: u8, stream: u32) -> bool {
        match kind {
            HEADERS => return self.answered.borrow_mut().insert(stream),
            SETTINGS => self.settings.set(true),
            _ => {}
        }
        false
    }
}

/// Reads frame heads out of a stream of bytes that comes in pieces.
#[derive(Debug, Default)]
struct Reader {
    head: [u8; HEAD],
    have: usize,
    /// Payload of the frame under way that has not come yet.
    left: usize,
    /// Whether the frame under way begins a response.
    first: bool,
    /// The beginning of the payload of a frame that is looked into.
    beginning: [u8; hpack::ENOUGH],
    got: usize,
}

impl Reader {
    fn read(&mut self, mut bytes: &[u8], facts: &Facts) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let now = self.left.min(bytes.len());
                self.payload(bytes.get(..now).unwrap_or_default(), facts);
                self.left -= now;
                bytes = bytes.get(now..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.head.get_mut(self.have) {
                *place = first;
            }
            self.have += 1;
            bytes = rest;
            if self.have == HEAD {
                self.begin(facts);
            }
        }
    }

    fn begin(&mut self, facts: &Facts) {
        let [a, b, c, kind, _, id @ ..] = self.head;
        self.left = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        (self.have, self.got) = (0, 0);
        self.first = facts.frame_begins(kind, u32::from_be_bytes(id) & STREAM_ID);
    }

    fn payload(&mut self, bytes: &[u8], facts: &Facts) {
        let [_, _, _, kind, flags, id @ ..] = self.head;
        if kind != GOAWAY && !self.first || self.got == self.beginning.len() {
            return;
        }
        for (place, byte) in self.beginning.iter_mut().skip(self.got).zip(bytes) {
            *place = *byte;
        }
        self.got = self.beginning.len().min(self.got.saturating_add(bytes.len()));
        let beginning = self.beginning.get(..self.got).unwrap_or_default();
        if kind == GOAWAY {
            if let Some(last) = beginning.first_chunk() {
                facts.last_stream.set(Some(u32::from_be_bytes(*last) & STREAM_ID));
            }
        } else if lacks_status(flags, beginning) {
            facts.without_status.borrow_mut().insert(u32::from_be_bytes(id) & STREAM_ID);
        }
    }
}

/// Finds the ends of requests in what is written.
#[derive(Debug)]
struct Writer {
    head: [u8; HEAD],
    have: usize,
    /// What is still to be written of the preface or of the frame under way.
    left: usize,
}

impl Writer {
    fn wrote(&mut self, bytes: &[u8], facts: &Facts) {
        for byte in bytes {
            if self.left > 0 {
                self.left -= 1;
            } else if let Some(place) = self.head.get_mut(self.have) {
                *place = *byte;
                self.have += 1;
            }
            let [a, b, c, kind, flags, id @ ..] = self.head;
            if self.have == HEAD {
                self.left = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
                self.have = HEAD + 1;
            }
            if self.have > HEAD && self.left == 0 {
                self.have = 0;
                if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                    facts.sent.borrow_mut().insert(u32::from_be_bytes(id) & STREAM_ID);
                }
            }
        }
    }
}

/// A byte stream whose frames are noted.
pub(super) struct Tapped<S> {
    inner: S,
    reader: Reader,
    writer: Writer,
    ended: bool,
    facts: Rc<Facts>,
}

impl<S> Tapped<S> {
    pub(super) fn new(inner: S, facts: Rc<Facts>) -> Self {
        let writer = Writer { head: [0; HEAD], have: 0, left: PREFACE };
        Self { inner, reader: Reader::default(), writer, ended: false, facts }
    }

    /// A write that meets a reset counts as done: what the peer said before that is still to be read, and says what became of the
    /// requests. The end of reading then ends the connection.
    fn past_reset(&self, result: io::Result<usize>, all: usize) -> io::Result<usize> {
        match result {
            Err(error) if !self.ended && Failure::of(&error) == Failure::Reset => {
                self.facts.reset.set(true);
                Ok(all)
            }
            result => result,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let Self { reader, facts, ended, .. } = &mut *self;
        *ended = buf.filled().len() == before;
        reader.read(buf.filled().get(before..).unwrap_or_default(), facts);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.facts.reset() {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        let Self { writer, facts, .. } = &mut *self;
        writer.wrote(result.as_ref().ok().and_then(|count| buf.get(..*count)).unwrap_or_default(), facts);
        Poll::Ready(self.past_reset(result, buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if self.facts.reset() {
            return Poll::Ready(Ok(all));
        }
        let result = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs));
        let Self { writer, facts, .. } = &mut *self;
        let mut left = result.as_ref().map_or(0, |count| *count);
        for buf in bufs {
            let count = left.min(buf.len());
            writer.wrote(buf.get(..count).unwrap_or_default(), facts);
            left -= count;
        }
        Poll::Ready(self.past_reset(result, all))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.facts.reset() {
            return Poll::Ready(Ok(()));
        }
        let result = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        Poll::Ready(self.past_reset(result.map(|()| 0), 0).map(drop))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// SETTINGS, HEADERS on stream 3 with five bytes, GOAWAY up to stream 5 with debug data.
    const BYTES: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
        \0\0\x05\x01\x04\0\0\0\x03abcde\
        \0\0\x0a\x07\0\0\0\0\0\x80\0\0\x05\0\0\0\0no";

    #[test]
    fn frames_are_noted_as_soon_as_they_are_there() {
        let (mut reader, facts) = (Reader::default(), Facts::default());
        reader.read(&BYTES[..8], &facts);
        assert!(!facts.settled());
        reader.read(&BYTES[8..18], &facts);
        assert!(facts.settled() && facts.answered(3) && !facts.answered(1));
        reader.read(&BYTES[18..35], &facts);
        assert_eq!(facts.last_stream(), None);
        reader.read(&BYTES[35..36], &facts);
        assert_eq!(facts.last_stream(), Some(5), "the reserved bit is not part of it");
        facts.forget(3);
        assert!(!facts.answered(3));
    }

    #[test]
    fn a_request_is_sent_with_its_last_byte() {
        let facts = Facts::default();
        let mut writer = Writer { head: [0; HEAD], have: 0, left: PREFACE };
        writer.wrote(&[0; PREFACE], &facts);
        writer.wrote(b"\0\0\0\x04\0\0\0\0\0\0\0\x02\x01\x05\0\0\0\x01a", &facts);
        assert!(!facts.sent(1));
        writer.wrote(b"b\0\0\x01\x01\x04\0\0\0\x03c\0\0\0\0\x01\0\0\0\x03", &facts);
        assert!(facts.sent(1) && facts.sent(3));
        facts.forget(3);
        assert!(!facts.sent(3));
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_say_the_same(sizes in proptest::collection::vec(1_usize..9, 1..60)) {
            let (mut reader, facts) = (Reader::default(), Facts::default());
            let mut rest = BYTES;
            for size in sizes.iter().cycle() {
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                reader.read(piece, &facts);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert!(facts.settled() && facts.answered(3));
            prop_assert_eq!(facts.last_stream(), Some(5));
        }
    }
}
