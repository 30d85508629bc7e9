//! What the library's pool does for a request, seen from its connector: whether it opened a connection for it, and how far that came.
//!
//! The pool opens a connection for a request, and takes one that becomes idle meanwhile all the same; the new one is then finished by
//! a task of its own and kept for another request. So a connection belongs to the request inside of which it was completed, and
//! one that was completed elsewhere to the first that is seen on it.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection, HttpInfo};
use tower::{Layer, Service};

use crate::probe::sample::Step;

tokio::task_local! {
    static WAY: Arc<Way>;
}

/// How far the connection of one request has come.
#[derive(Debug, Default)]
pub(super) struct Way(Mutex<Stage>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// None was opened for it: it waits for one of the pool, or has one.
    #[default]
    Pooled,
    LookUp,
    Connect,
    /// One was opened for it.
    Opened,
}

impl Way {
    fn reached(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn stage(&self) -> Stage {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The step that is under way. Where the TLS handshake begins is not seen.
    pub(super) fn step(&self) -> Step {
        match self.stage() {
            Stage::LookUp => Step::Dns,
            Stage::Connect => Step::Connect,
            Stage::Pooled | Stage::Opened => Step::Response,
        }
    }

    /// Whether no connection was opened for the request.
    pub(super) fn is_pooled(&self) -> bool {
        self.stage() == Stage::Pooled
    }
}

/// Runs a request, and lets `way` know of what is opened for it.
pub(super) async fn on<F: Future>(way: Arc<Way>, request: F) -> F::Output {
    WAY.scope(way, request).await
}

/// The request inside of which this is called.
fn current() -> Option<Arc<Way>> {
    WAY.try_with(Arc::clone).ok()
}

/// Does the work of a look-up for the request that needs it.
pub(super) fn looking_up<F: Future>(look_up: F) -> impl Future<Output = F::Output> {
    let way = current();
    if let Some(way) = &way {
        way.reached(Stage::LookUp);
    }
    async move {
        let result = look_up.await;
        if let Some(way) = way.filter(|_| current().is_some()) {
            way.reached(Stage::Connect);
        }
        result
    }
}

/// Connections that were opened and that no request has been seen on, by their local addresses.
#[derive(Debug, Clone, Default)]
pub(super) struct Opened(Arc<Mutex<BTreeSet<SocketAddr>>>);

impl Opened {
    /// Whether the connection is one of them; no longer, from now on.
    pub(super) fn claim(&self, local: SocketAddr) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&local)
    }

    fn add(&self, local: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(local);
    }
}

/// Both ends of a connection.
pub(super) fn ends(connected: &Connected) -> Option<HttpInfo> {
    let mut extras = http::Extensions::new();
    connected.get_extras(&mut extras);
    extras.remove()
}

impl<S> Layer<S> for Opened {
    type Service = Watched<S>;

    fn layer(&self, connector: S) -> Watched<S> {
        Watched { connector, opened: self.clone() }
    }
}

/// A connector that tells of what it opens.
#[derive(Debug, Clone)]
pub(super) struct Watched<S> {
    connector: S,
    opened: Opened,
}

impl<S, To> Service<To> for Watched<S>
where
    S: Service<To>,
    S::Response: Connection,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, to: To) -> Self::Future {
        let way = current();
        if let Some(way) = &way {
            way.reached(Stage::Connect);
        }
        let opening = self.connector.call(to);
        let opened = self.opened.clone();
        Box::pin(async move {
            let mut opening = pin!(opening);
            let result = poll_fn(|cx| {
                if let Some(way) = way.as_ref().filter(|_| current().is_none()) {
                    // The request went over another one, and left this to a task.
                    way.reached(Stage::Pooled);
                }
                opening.as_mut().poll(cx)
            })
            .await;
            match (current(), &result) {
                (Some(way), Ok(_)) => way.reached(Stage::Opened),
                (None, Ok(connection)) => {
                    if let Some(ends) = ends(&connection.connected()) {
                        opened.add(ends.local_addr());
                    }
                }
                (_, Err(_)) => {}
            }
            result
        })
    }
}
