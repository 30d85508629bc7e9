//! A byte stream that remembers what happened to it, so that a failed request is classified by facts and not by what the HTTP
//! library made of them.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stamped::Times;

/// What happened on a connection.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// Bytes read since the last request began.
    read: Cell<u64>,
    read_failure: Cell<Option<Failure>>,
    write_failure: Cell<Option<Failure>>,
    times: Rc<Times>,
}

/// How reading or writing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The peer closed its side.
    Closed,
    /// The connection was reset.
    Reset,
    /// The kernel gave up sending again and again.
    TimedOut,
    /// This machine had run out of something.
    Local(super::Trouble),
    /// The TLS layer refused what it read.
    Tls,
    /// Anything else.
    Other,
}

impl Failure {
    /// What an I/O error stands for.
    pub(crate) fn of(error: &io::Error) -> Self {
        if let Some(trouble) = super::Trouble::of(error) {
            return Self::Local(trouble);
        }
        if error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some() {
            return Self::Tls;
        }
        match error.kind() {
            // A TLS stream that ends without a `close_notify` reports its end like this.
            io::ErrorKind::UnexpectedEof => Self::Closed,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Reset
            }
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Other,
        }
    }
}

impl Wire {
    /// A new request begins.
    pub(crate) fn begin(&self) {
        self.read.set(0);
        self.times.begin();
    }

    /// What the connection below was seen to do, and when.
    pub(crate) fn times(&self) -> &Rc<Times> {
        &self.times
    }

    /// Whether any byte came since the request began.
    pub(crate) fn answered(&self) -> bool {
        self.read.get() > 0
    }

    /// Bytes read since the last request began; all that were ever read, where requests share the connection.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// How reading ended, if it did.
    pub(crate) fn read_failure(&self) -> Option<Failure> {
        self.read_failure.get()
    }

    /// How writing failed, if it did.
    pub(crate) fn write_failure(&self) -> Option<Failure> {
        self.write_failure.get()
    }
}

/// A stream whose fate is noted in a [`Wire`].
pub(crate) struct Watched<S> {
    inner: S,
    wire: Rc<Wire>,
    /// Whether the end is left to the socket's own close (a reset) instead of an orderly shutdown.
    abrupt: bool,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, wire: Rc<Wire>, abrupt: bool) -> Self {
        Self { inner, wire, abrupt }
    }

    fn written<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| self.wire.write_failure.set(Some(Failure::of(error))))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining() > 0;
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        match &result {
            Ok(()) => {
                let count = buf.filled().len() - before;
                self.wire.read.set(self.wire.read.get().saturating_add(count as u64));
                if count == 0 && room {
                    self.wire.read_failure.set(Some(Failure::Closed));
                }
            }
            Err(error) => self.wire.read_failure.set(Some(Failure::of(error))),
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        Poll::Ready(self.written(result))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs));
        Poll::Ready(self.written(result))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        Poll::Ready(self.written(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.abrupt {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
