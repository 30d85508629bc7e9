//! HTTP/2 over connections of our own, in TLS or in clear text with prior knowledge: no pool of a library, no hidden second try.
//!
//! A fresh stream opens a connection for every request. A kept-alive one has **one** connection, as HTTP/2 clients do, and as many
//! requests under way on it as fall due. Nothing waits for a place on it: a request opens a connection of its own when
//!
//! - there is none, or the peer has not yet told its settings on the one that was just opened;
//! - the peer's `MAX_CONCURRENT_STREAMS` is reached. Such a connection is kept beside the first, for the next time.
//!
//! Of several, the oldest with room carries the next request. One that was opened only because another was not ready yet is
//! closed when nothing is under way on it any more, so that after an outage there is one again.
//!
//! A connection takes no further request, and is closed once those under way have ended, after a GOAWAY, after as many requests as
//! its stream allows, and when a request was given up during which the peer sent nothing at all: what a client with keep-alive
//! pings finds out. What was written is never written again.

mod connection;
mod failed;
mod frames;
mod hpack;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::HeaderMap;
use tokio::time::Instant;

use self::connection::{Connection, Lease};
use self::failed::Request;
use super::Answer;
use super::attempt::Attempt;
use super::classify::Failed;
use super::endpoint::Endpoint;
use super::grpc::{self, GrpcTarget};
use super::progress::Progress;
use super::target::Target;
use super::tls::Tls;
use crate::probe::config::BODY_LOOKED_AT;
use crate::probe::sample::{Class, Step};
use crate::probe::stream::StreamKind;

/// What is asked over HTTP/2.
#[derive(Clone)]
pub(crate) enum Asked {
    Http(Arc<Target>),
    Grpc(Arc<GrpcTarget>),
}

/// A body that came to its end.
struct Body {
    /// The beginning of it, where it is looked at.
    beginning: Vec<u8>,
    /// What followed it.
    trailers: Option<HeaderMap>,
}

impl Asked {
    fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Http(target) => &target.endpoint,
            Self::Grpc(target) => &target.endpoint,
        }
    }

    fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Http(target) => target.tls.as_ref(),
            Self::Grpc(target) => target.tls.as_ref(),
        }
    }

    /// The request of a slot that was begun so long ago.
    fn request(&self, elapsed: Duration) -> (http::Request<()>, Bytes) {
        match self {
            Self::Http(target) => target.request2(),
            Self::Grpc(target) => target.request(elapsed),
        }
    }

    /// What the head alone says is wrong.
    fn judge_head(&self, head: &http::response::Parts) -> Option<Class> {
        match self {
            Self::Http(target) => target.expect.judge_head(head.status, &head.headers),
            Self::Grpc(_) => grpc::judge_head(head),
        }
    }

    fn looks_at_body(&self) -> bool {
        match self {
            Self::Http(target) => target.expect.body_contains.is_some(),
            Self::Grpc(_) => true,
        }
    }

    /// What a whole response comes to whose head is as it should be.
    fn judge(&self, head: &http::response::Parts, body: &Body) -> Answer {
        match self {
            Self::Http(target) => {
                let wrong = target.expect.judge_body(&body.beginning);
                wrong.map_or(Answer::Good, |class| Answer::Bad { class, status: head.status.as_u16() })
            }
            Self::Grpc(target) => target.judge(head, &body.beginning, body.trailers.as_ref()),
        }
    }
}

/// The transport of one stream of a probe over HTTP/2. Needs a `LocalSet` around it.
#[derive(Clone)]
pub(crate) struct Http2Transport(Rc<Inner>);

struct Inner {
    asked: Asked,
    stream: StreamKind,
    /// Open connections that later requests may use, the oldest first.
    pool: RefCell<Vec<Rc<Connection>>>,
    turn: Cell<usize>,
}

impl Http2Transport {
    pub(crate) fn new(asked: Asked, stream: StreamKind) -> Self {
        Self(Rc::new(Inner { asked, stream, pool: RefCell::default(), turn: Cell::new(0) }))
    }
}

impl Attempt for Http2Transport {
    type Kept = Lease;

    async fn attempt(&self, progress: &Progress) -> Result<(Answer, Lease), Failed> {
        let inner = &*self.0;
        let (lease, response) = match inner.over_open(progress) {
            Some(begun) => begun,
            None => inner.over_new(progress).await?,
        };
        let reused = progress.reused.get();
        let failed = |error, lease: &Lease, status| {
            lease.settle();
            Failed::http2(error, &lease.connection.wire, Some(&Request { lease, reused, status }))
        };
        progress.begin(Step::Response);
        let (head, body) = response.await.map_err(|error| failed(error, &lease, None))?.into_parts();
        // The last bytes that were read are not older than this response's.
        let times = lease.connection.wire.times();
        let head_at = times.arrived().unwrap_or_else(Instant::now);
        progress.begin_at(Step::Body, head_at);
        progress.head.set(Some(head_at));
        let (status, wrong) = if lease.connection.facts.lacks_status(lease.stream) {
            (0, Some(Class::ResponseMalformed))
        } else {
            (head.status.as_u16(), inner.asked.judge_head(&head))
        };
        progress.status.set(status);
        let body = read_to_end(body, wrong.is_none() && inner.asked.looks_at_body()).await;
        if body.is_ok() {
            progress.complete(times);
        }
        lease.settle();
        let answer = match (wrong, body) {
            // The head has already told what the request came to.
            (Some(class), _) => Answer::Bad { class, status },
            (None, Ok(body)) => inner.asked.judge(&head, &body),
            (None, Err(error)) => return Err(failed(error, &lease, Some(status))),
        };
        Ok((answer, lease))
    }

    fn timed_out(&self, progress: &Progress, now: Instant) -> Answer {
        self.0.asked.endpoint().timed_out(progress, now)
    }

    async fn keep(&self, lease: Lease, _: Instant) {
        let connection = Rc::clone(&lease.connection);
        drop(lease);
        self.0.let_go_if_spare(&connection);
    }
}

impl Inner {
    /// Begins the request on an open connection, if one has room for it.
    fn over_open(&self, progress: &Progress) -> Option<(Lease, ResponseFuture)> {
        let mut pool = self.pool.borrow_mut();
        pool.retain(|connection| connection.lasts());
        let (lease, response) = pool.iter().filter(|connection| connection.has_room()).find_map(|connection| {
            let (request, body) = self.asked.request(progress.elapsed());
            // What this connection can't begin was not written: the next one may.
            connection.ask(request, body).ok()
        })?;
        progress.over_open(lease.connection.remote);
        Some((lease, response))
    }

    async fn over_new(&self, progress: &Progress) -> Result<(Lease, ResponseFuture), Failed> {
        let overflow = self.pool.borrow().iter().any(|connection| connection.facts.settled());
        let connection = Connection::open(&self.asked, self.stream, &self.turn, overflow, progress).await?;
        let connection = Rc::new(connection);
        let (request, body) = self.asked.request(progress.elapsed());
        let begun = connection.ask(request, body).map_err(|error| Failed::http2(error, &connection.wire, None))?;
        if self.stream.requests_per_connection() > 1 {
            self.pool.borrow_mut().push(connection);
        }
        Ok(begun)
    }

    /// Closes a connection that is idle and was opened only because an older one was not ready yet.
    fn let_go_if_spare(&self, connection: &Rc<Connection>) {
        if connection.overflow || !connection.is_idle() {
            return;
        }
        let mut pool = self.pool.borrow_mut();
        let ready = |other: &Rc<Connection>| other.lasts() && other.facts.settled();
        if let Some(place) = pool.iter().position(|other| Rc::ptr_eq(other, connection))
            && pool.iter().take(place).any(ready)
        {
            pool.remove(place);
        }
    }
}

/// Reads a body to its end. Keeps its beginning, if that is looked at.
async fn read_to_end(mut body: RecvStream, looked_at: bool) -> Result<Body, h2::Error> {
    let mut beginning = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if looked_at {
            let room = BODY_LOOKED_AT - beginning.len();
            beginning.extend_from_slice(data.get(..room).unwrap_or(&data));
        }
    }
    Ok(Body { beginning, trailers: body.trailers().await? })
}
