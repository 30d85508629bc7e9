//! A TCP connection, opened and reset: whether anything listens there, and how long the handshake takes.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::Answer;
use super::attempt::Attempt;
use super::classify::Failed;
use super::endpoint::Endpoint;
use super::progress::Progress;
use crate::probe::stream::StreamKind;

/// The transport of one stream of a TCP probe.
#[derive(Clone)]
pub(crate) struct TcpTransport(Rc<Inner>);

struct Inner {
    endpoint: Arc<Endpoint>,
    stream: StreamKind,
    turn: Cell<usize>,
}

impl TcpTransport {
    pub(crate) fn new(endpoint: Arc<Endpoint>, stream: StreamKind) -> Self {
        Self(Rc::new(Inner { endpoint, stream, turn: Cell::new(0) }))
    }
}

impl Attempt for TcpTransport {
    type Kept = ();

    async fn attempt(&self, progress: &Progress) -> Result<(Answer, ()), Failed> {
        let Inner { endpoint, stream, turn } = &*self.0;
        // Dropping it resets it: the port is free at once, and nothing lingers on either side.
        endpoint.open(*stream, turn, progress).await.map(|_opened| (Answer::Good, ()))
    }

    fn timed_out(&self, progress: &Progress, now: Instant) -> Answer {
        self.0.endpoint.timed_out(progress, now)
    }

    async fn keep(&self, (): (), _: Instant) {}
}
