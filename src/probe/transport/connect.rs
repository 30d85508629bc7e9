//! Opening one connection: one look-up, one address, one try.
//!
//! Where a name has several addresses they take turns, connection by connection. A request never tries a second address: with
//! one of three endpoints dead, a third of the fresh requests are bad, and that is what is reported.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::classify::{Cause, Failed, bad};
use super::ports::dial;
use super::target::{Host, Target};
use super::wire::{Watched, Wire};
use crate::probe::sample::{Class, Step, StreamKind};

/// The request as it is sent.
pub(crate) type HttpRequest = http::Request<Full<Bytes>>;

/// How far a request has come: what its deadline reads when it falls.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) step: Cell<Step>,
    pub(crate) reused: Cell<bool>,
    pub(crate) status: Cell<u16>,
    pub(crate) remote: Cell<Option<SocketAddr>>,
    /// Source port of the connection that was opened for it, 0 before.
    pub(crate) port: Cell<u16>,
    /// When the response's head was complete.
    pub(crate) head: Cell<Option<Instant>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            step: Cell::new(Step::Dns),
            reused: Cell::new(false),
            status: Cell::new(0),
            remote: Cell::new(None),
            port: Cell::new(0),
            head: Cell::new(None),
        }
    }
}

/// An open connection. Dropping it resets it: no `TIME_WAIT` holds its port, and the peer learns at once that nobody listens.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    pub(crate) wire: Rc<Wire>,
    pub(crate) remote: SocketAddr,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Opens a connection to the target's next address.
    pub(crate) async fn open(
        target: &Target,
        stream: StreamKind,
        turn: &Cell<usize>,
        progress: &Progress,
    ) -> Result<Self, Failed> {
        progress.step.set(Step::Dns);
        progress.reused.set(false);
        let remote = SocketAddr::new(next_address(target, turn).await?, target.port);
        progress.remote.set(Some(remote));
        progress.step.set(Step::Connect);
        let tcp = dial(remote, |port| progress.port.set(port)).await.map_err(Failed::connect)?;
        target.timed_out.opened(remote, progress.port.get(), Instant::now());
        tcp.set_nodelay(true).and_then(|()| tcp.set_zero_linger()).map_err(Failed::connect)?;
        let wire = Rc::new(Wire::default());
        // A fresh connection ends with its response; a FIN of ours in front of the reset would be one packet for nothing.
        let abrupt = stream == StreamKind::Fresh;
        let Some(tls) = &target.tls else {
            progress.step.set(Step::Send);
            return Self::start(Watched::new(tcp, Rc::clone(&wire), abrupt), wire, remote).await;
        };
        progress.step.set(Step::Tls);
        let secured = tls.connector.connect(tls.server_name.clone(), tcp).await.map_err(Failed::tls)?;
        progress.step.set(Step::Send);
        Self::start(Watched::new(secured, Rc::clone(&wire), abrupt), wire, remote).await
    }

    async fn start<S>(stream: S, wire: Rc<Wire>, remote: SocketAddr) -> Result<Self, Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failed { answer: bad(Class::ConnectOther), cause: Cause::Http(error) })?;
        // How the connection ends is noted in `wire`, and told to the request that was under way.
        let driver = tokio::task::spawn_local(async move { drop(connection.await) }).abort_handle();
        Ok(Self { sender, driver, wire, remote })
    }

    /// Sends the request and waits for the response's head.
    pub(crate) async fn request(
        &mut self,
        request: HttpRequest,
    ) -> Result<http::Response<Incoming>, TrySendError<HttpRequest>> {
        self.wire.begin();
        self.sender.try_send_request(request).await
    }

    /// Waits until the connection can carry another request; false when it never will.
    pub(crate) async fn reusable(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Whether the connection, idle until now, can carry a request.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }
}

async fn next_address(target: &Target, turn: &Cell<usize>) -> Result<IpAddr, Failed> {
    let (name, resolver) = match &target.host {
        Host::Address(address) => return Ok(*address),
        Host::Name(name, resolver) => (name, resolver),
    };
    let addresses = resolver.addresses(name).await?;
    let this = turn.get();
    turn.set(this.wrapping_add(1));
    let address = this.checked_rem(addresses.len()).and_then(|index| addresses.get(index));
    address.copied().ok_or_else(|| Failed::bad(Class::DnsNodata, Cause::Text("the name exists, but has no address")))
}
