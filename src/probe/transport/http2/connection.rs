//! One HTTP/2 connection, with its streams.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::Asked;
use super::frames::{Facts, Tapped};
use crate::probe::sample::{Class, Step};
use crate::probe::stream::StreamKind;
use crate::probe::transport::classify::{Cause, Failed};
use crate::probe::transport::progress::Progress;
use crate::probe::transport::stamped::Stamped;
use crate::probe::transport::wire::{Watched, Wire};

/// Bytes that the peer may send of one body, and of all bodies, ahead of what was read: the windows of common clients.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Streams at a time before the peer has said how many it takes: what RFC 9113, 6.5.2, asks of every server.
const STREAMS_AT_FIRST: usize = 100;
/// How many abandoned requests a connection remembers, and for how long: so long their late answers are expected, and dropped.
const ABANDONED_MAX: usize = 100_000;
const ABANDONED_FOR: Duration = Duration::from_mins(1);

/// An open connection. Dropping it resets it, with all that is under way on it.
pub(crate) struct Connection {
    sender: RefCell<SendRequest<Bytes>>,
    driver: AbortHandle,
    pub(super) wire: Rc<Wire>,
    pub(super) facts: Rc<Facts>,
    pub(super) remote: SocketAddr,
    /// Streams under way.
    open: Cell<usize>,
    /// Requests begun on it, and how many may be.
    carried: Cell<u32>,
    carries: u32,
    /// Whether a request was given up on it that the peer met with nothing, not even a window update.
    silent: Cell<bool>,
    /// Whether it was opened because the others had no room, and not because there was none.
    pub(super) overflow: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Opens a connection to the target's next address.
    pub(super) async fn open(
        asked: &Asked,
        stream: StreamKind,
        turn: &Cell<usize>,
        overflow: bool,
        progress: &Progress,
    ) -> Result<Self, Failed> {
        let (tcp, remote) = asked.endpoint().open(stream, turn, progress).await?;
        let wire = Rc::new(Wire::default());
        let tcp = Stamped::new(tcp, Rc::clone(wire.times()));
        let Some(tls) = asked.tls() else {
            progress.begin(Step::Send);
            return Self::start(Watched::new(tcp, Rc::clone(&wire), true), wire, remote, stream, overflow).await;
        };
        progress.begin(Step::Tls);
        let secured = tls.connector.connect(tls.server_name.clone(), tcp).await.map_err(Failed::tls)?;
        if secured.get_ref().1.alpn_protocol() != Some(b"h2") {
            let cause = Cause::Text("the server does not agree to HTTP/2 (ALPN `h2`)");
            return Err(Failed::bad(Class::TlsAlpn, cause));
        }
        progress.begin(Step::Send);
        Self::start(Watched::new(secured, Rc::clone(&wire), true), wire, remote, stream, overflow).await
    }

    async fn start<S>(
        io: Watched<S>,
        wire: Rc<Wire>,
        remote: SocketAddr,
        stream: StreamKind,
        overflow: bool,
    ) -> Result<Self, Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let facts = Rc::new(Facts::default());
        // The request goes out with the preface: to wait for the peer's settings would cost a round trip that clients don't wait.
        let (sender, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(STREAMS_AT_FIRST)
            .max_concurrent_reset_streams(ABANDONED_MAX)
            .reset_stream_duration(ABANDONED_FOR)
            // Bounds against hostile servers, which would end a connection that the server under test did not end.
            .max_local_error_reset_streams(None)
            .data_frame_budget(usize::MAX)
            .handshake(Tapped::new(io, Rc::clone(&facts)))
            .await
            .map_err(|error| Failed::http2(error, &wire, None))?;
        // How the connection ends is noted in `wire` and `facts`, and told to the requests that are under way.
        let driver = tokio::task::spawn_local(async move { drop(connection.await) }).abort_handle();
        Ok(Self {
            sender: RefCell::new(sender),
            driver,
            wire,
            facts,
            remote,
            open: Cell::new(0),
            carried: Cell::new(0),
            carries: stream.requests_per_connection(),
            silent: Cell::new(false),
            overflow,
        })
    }

    /// Whether it can ever carry another request. What is under way on it is not touched when it can't.
    pub(super) fn lasts(&self) -> bool {
        self.carried.get() < self.carries
            && !self.silent.get()
            && self.facts.last_stream().is_none()
            && self.wire.read_failure().is_none()
            && self.wire.write_failure().is_none()
            && !self.driver.is_finished()
    }

    /// Whether it can carry another request now. Before the peer has told its settings nobody knows how many it takes, so the
    /// request that it was opened for stays alone on it.
    pub(super) fn has_room(&self) -> bool {
        self.facts.settled() && self.open.get() < self.sender.borrow().current_max_send_streams()
    }

    /// Whether nothing is under way on it.
    pub(super) fn is_idle(&self) -> bool {
        self.open.get() == 0
    }

    /// Begins a request. An error means that nothing of it was written.
    pub(super) fn ask(
        self: &Rc<Self>,
        request: http::Request<()>,
        body: Bytes,
    ) -> Result<(Lease, ResponseFuture), h2::Error> {
        let (response, mut sending) = self.sender.borrow_mut().send_request(request, body.is_empty())?;
        if !body.is_empty() {
            // Kept back where the peer's window has no room for it yet. Its failure is the response's.
            drop(sending.send_data(body, true));
        }
        self.open.set(self.open.get() + 1);
        self.carried.set(self.carried.get().saturating_add(1));
        let stream = response.stream_id().as_u32();
        let connection = Rc::clone(self);
        let read_before = self.wire.bytes_read();
        Ok((Lease { connection, stream, read_before, settled: Cell::new(false) }, response))
    }
}

/// A stream of a connection, for as long as its request is under way.
pub(crate) struct Lease {
    pub(super) connection: Rc<Connection>,
    pub(super) stream: u32,
    read_before: u64,
    settled: Cell<bool>,
}

impl Lease {
    /// The request came to its end, one way or the other.
    pub(super) fn settle(&self) {
        self.settled.set(true);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Connection { open, facts, silent, wire, .. } = &*self.connection;
        open.set(open.get().saturating_sub(1));
        facts.forget(self.stream);
        if !self.settled.get() && wire.bytes_read() == self.read_before {
            silent.set(true);
        }
    }
}
