//! One HTTP/1.1 connection: opened, secured, used, and reset at its end.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::classify::{Cause, Failed, bad};
use super::progress::Progress;
use super::target::Target;
use super::wire::{Watched, Wire};
use crate::probe::sample::{Class, Step};
use crate::probe::stream::StreamKind;

/// The request as it is sent.
pub(crate) type HttpRequest = http::Request<Full<Bytes>>;

/// An open connection. Dropping it resets it: no `TIME_WAIT` holds its port, and the peer learns at once that nobody listens.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    pub(crate) wire: Rc<Wire>,
    pub(crate) remote: SocketAddr,
    /// Requests that it has carried.
    pub(crate) carried: u32,
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
        let (tcp, remote) = target.endpoint.open(stream, turn, progress).await?;
        let wire = Rc::new(Wire::default());
        // A connection for one request ends with its response; a FIN of ours in front of the reset would be one packet for nothing.
        let abrupt = stream.requests_per_connection() == 1;
        let Some(tls) = &target.tls else {
            progress.begin(Step::Send);
            return Self::start(Watched::new(tcp, Rc::clone(&wire), abrupt), wire, remote).await;
        };
        progress.begin(Step::Tls);
        let secured = tls.connector.connect(tls.server_name.clone(), tcp).await.map_err(Failed::tls)?;
        progress.begin(Step::Send);
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
        Ok(Self { sender, driver, wire, remote, carried: 0 })
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
