//! HTTP/1.1 over connections of our own: no pool of a library, no hidden second try.
//!
//! A fresh stream opens a connection for every request. A kept-alive stream uses the connection that became idle last, as the pools
//! of most clients do, and opens a new one when none is idle. An idle connection that its peer has closed is thrown away
//! before anything is written to it; what is written is never written again, so that a close that crosses the request is
//! reported as [`ReusedClosed`](crate::probe::Class::ReusedClosed).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::Answer;
use super::attempt::Attempt;
use super::classify::Failed;
use super::connect::{Connection, HttpRequest};
use super::progress::Progress;
use super::target::Target;
use crate::probe::config::BODY_LOOKED_AT;
use crate::probe::sample::Step;
use crate::probe::stream::StreamKind;

/// The transport of one stream of an HTTP/1.1 probe. Needs a `LocalSet` around it.
#[derive(Clone)]
pub(crate) struct HttpTransport(Rc<Inner>);

struct Inner {
    target: Arc<Target>,
    stream: StreamKind,
    idle: RefCell<Vec<Connection>>,
    turn: Cell<usize>,
}

impl HttpTransport {
    pub(crate) fn new(target: Arc<Target>, stream: StreamKind) -> Self {
        Self(Rc::new(Inner { target, stream, idle: RefCell::default(), turn: Cell::new(0) }))
    }
}

impl Attempt for HttpTransport {
    type Kept = Connection;

    async fn attempt(&self, progress: &Progress) -> Result<(Answer, Connection), Failed> {
        let inner = &*self.0;
        let request = inner.target.request(inner.stream);
        let (connection, response) = match inner.take_idle() {
            Some(idle) => inner.over_idle(idle, request, progress).await?,
            None => inner.over_new(request, progress).await?,
        };
        let head_at = connection.wire.times().arrived().unwrap_or_else(Instant::now);
        progress.begin_at(Step::Body, head_at);
        progress.head.set(Some(head_at));
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        progress.status.set(status);
        let expect = &inner.target.expect;
        let wrong = expect.judge_head(head.status, &head.headers);
        let looked_at = expect.body_contains.is_some() && wrong.is_none();
        let beginning = read_to_end(body, looked_at).await;
        let beginning = match (beginning, wrong) {
            (Ok(beginning), _) => {
                progress.complete(connection.wire.times());
                beginning
            }
            // The head has already told what the request came to.
            (Err(_), Some(_)) => Vec::new(),
            (Err(error), None) => return Err(Failed::body(error, &connection.wire, status)),
        };
        let wrong = wrong.or_else(|| expect.judge_body(&beginning));
        let answer = wrong.map_or(Answer::Good, |class| Answer::Bad { class, status });
        Ok((answer, connection))
    }

    fn timed_out(&self, progress: &Progress, now: Instant) -> Answer {
        self.0.target.endpoint.timed_out(progress, now)
    }

    async fn keep(&self, mut connection: Connection, deadline: Instant) {
        connection.carried += 1;
        let more = connection.carried < self.0.stream.requests_per_connection();
        // It has to settle down first.
        if more && timeout_at(deadline, connection.reusable()).await == Ok(true) {
            self.0.idle.borrow_mut().push(connection);
        }
    }
}

impl Inner {
    /// The connection that became idle last and is still open.
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).find(Connection::is_ready)
    }

    async fn over_idle(
        &self,
        mut idle: Connection,
        request: HttpRequest,
        progress: &Progress,
    ) -> Result<(Connection, http::Response<Incoming>), Failed> {
        progress.over_open(idle.remote);
        progress.begin(Step::Response);
        match idle.request(request).await {
            Ok(response) => Ok((idle, response)),
            Err(mut error) => match error.take_message() {
                // The peer had closed it while it was idle: nothing was written, and the slot still has its one request.
                Some(unsent) => self.over_new(unsent, progress).await,
                None => Err(Failed::response(error.into_error(), &idle.wire, true)),
            },
        }
    }

    async fn over_new(
        &self,
        request: HttpRequest,
        progress: &Progress,
    ) -> Result<(Connection, http::Response<Incoming>), Failed> {
        let mut connection = Connection::open(&self.target, self.stream, &self.turn, progress).await?;
        progress.begin(Step::Response);
        match connection.request(request).await {
            Ok(response) => Ok((connection, response)),
            Err(error) => Err(Failed::response(error.into_error(), &connection.wire, false)),
        }
    }
}

/// Reads a body to its end, so that the connection can be used again. Returns its beginning, if that is looked at.
async fn read_to_end(mut body: Incoming, looked_at: bool) -> Result<Vec<u8>, hyper::Error> {
    let mut beginning = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref()
            && looked_at
        {
            let room = BODY_LOOKED_AT - beginning.len();
            beginning.extend_from_slice(data.get(..room).unwrap_or(data));
        }
    }
    Ok(beginning)
}
