//! A layer under the client that records every call: the run record's `calls.jsonl`, and the proof that the declared permissions are
//! the calls made.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::client::Body;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::Call;

/// Calls kept until somebody takes them; later ones are dropped, and counted.
const KEPT_MAX: usize = 10_000;

/// A call that is over: answered, failed or given up.
#[derive(Debug, Clone)]
pub struct Made {
    /// The call.
    pub call: Call,
    /// When it was sent.
    pub sent: Instant,
    /// When it was answered: for a list or a watch, when the answer began.
    pub ended: Instant,
    /// The HTTP status; `None` without an answer: the connection failed, or the caller gave up.
    pub status: Option<u16>,
}

/// One line of `calls.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallLine {
    /// Microseconds since the run's zero.
    pub at: i64,
    /// Microseconds until the answer began.
    pub took: i64,
    /// The call.
    #[serde(flatten)]
    pub call: Call,
    /// The HTTP status; `null` without an answer.
    pub status: Option<u16>,
}

/// Where each call is written.
type Sink = Box<dyn FnMut(&Made) -> io::Result<()> + Send>;

#[derive(Default)]
struct Inner {
    waiting: Vec<Made>,
    dropped: u64,
    sink: Option<Sink>,
    /// Why the record of calls is not complete.
    failure: Option<String>,
}

impl Inner {
    /// Hands a call to the sink; one that fails is not asked again, because losing the record must not stop an undo.
    fn write(&mut self, made: &Made) {
        if let Some(Err(e)) = self.sink.as_mut().map(|sink| sink(made)) {
            self.failure = Some(e.to_string());
            self.sink = Some(Box::new(|_| Ok(())));
        }
    }
}

/// Every call made through a client. Cheap to clone; clones share the list.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Inner>>);

impl Ledger {
    /// Writes every call to `file` as a [`CallLine`] from now on, those that waited first. `micros` says when something was on the
    /// run's clock. Ends with [`detach`](Self::detach), or when the file can't be written.
    pub fn write_to(&self, mut file: impl Write + Send + 'static, micros: impl Fn(Instant) -> i64 + Send + 'static) {
        self.attach(Box::new(move |made| {
            let line = CallLine {
                at: micros(made.sent),
                took: micros(made.ended) - micros(made.sent),
                call: made.call.clone(),
                status: made.status,
            };
            let mut line = serde_json::to_vec(&line)?;
            line.push(b'\n');
            file.write_all(&line)
        }));
    }

    /// Ends the record: later calls wait for the next one. Why the record is not complete, if it is not.
    #[must_use]
    pub fn detach(&self) -> Option<String> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sink = None;
        let dropped = std::mem::take(&mut inner.dropped);
        let dropped = (dropped > 0).then(|| format!("{dropped} calls came before it began"));
        inner.failure.take().or(dropped)
    }

    /// Whether one of the calls that wait for a record was of this kind and allowed: answered with success, or as a dry run with "it
    /// would have been done", which AWS says with 412.
    #[must_use]
    pub fn has_been_allowed(&self, group: &str, verb: &str) -> bool {
        let allowed = |made: &Made| made.status == Some(200) || (made.call.dry_run && made.status == Some(412));
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.waiting.iter().any(|made| made.call.group == group && made.call.verb == verb && allowed(made))
    }

    fn attach(&self, sink: Sink) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sink = Some(sink);
        for made in std::mem::take(&mut inner.waiting) {
            inner.write(&made);
        }
    }

    pub(crate) fn record(&self, made: Made) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.sink.is_some() {
            inner.write(&made);
        } else if inner.waiting.len() < KEPT_MAX {
            inner.waiting.push(made);
        } else {
            inner.dropped += 1;
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Ledger").field("waiting", &inner.waiting.len()).field("dropped", &inner.dropped).finish()
    }
}

/// Records its call when it is dropped, so that one whose caller gave up is there too.
struct Going {
    ledger: Ledger,
    call: Option<Call>,
    sent: Instant,
    status: Option<u16>,
}

impl Drop for Going {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.ledger.record(Made { call, sent: self.sent, ended: Instant::now(), status: self.status });
        }
    }
}

impl<S> Layer<S> for Ledger {
    type Service = Recorded<S>;

    fn layer(&self, inner: S) -> Recorded<S> {
        Recorded { inner, ledger: self.clone() }
    }
}

/// A client service whose calls are recorded.
#[derive(Debug, Clone)]
pub struct Recorded<S> {
    inner: S,
    ledger: Ledger,
}

impl<S, B> Service<Request<Body>> for Recorded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = Call::read(request.method(), request.uri());
        let going = Going { ledger: self.ledger.clone(), call, sent: Instant::now(), status: None };
        let answer = self.inner.call(request);
        async move {
            // The whole of it moves in, so that it is dropped with the call and not with this function.
            let mut going = going;
            let answer = answer.await;
            going.status = answer.as_ref().ok().map(|response| response.status().as_u16());
            answer
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_call_is_written_whether_it_is_answered_or_given_up() {
        let ledger = Ledger::default();
        let server = tower::service_fn(|request: Request<Body>| async move {
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            if request.uri().path().ends_with("/silent") {
                std::future::pending::<()>().await;
            }
            Ok::<_, std::io::Error>(Response::builder().status(201).body(Body::empty()).unwrap())
        });
        let client = ledger.layer(server);
        let zero = Instant::now();
        let get =
            |path: &str| Request::get(format!("/api/v1/namespaces/shop/pods/{path}")).body(Body::empty()).unwrap();
        client.clone().oneshot(get("early")).await.unwrap();
        let lines = Lines::default();
        ledger.write_to(lines.clone(), move |at| i64::try_from((at - zero).as_micros()).unwrap());
        client.clone().oneshot(get("late")).await.unwrap();
        let silent = client.oneshot(get("silent"));
        tokio::time::timeout(std::time::Duration::from_millis(10), silent).await.unwrap_err();

        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<CallLine> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let seen: Vec<_> = lines.iter().map(|l| (l.call.name.as_str(), l.at, l.took, l.status)).collect();
        let wanted =
            [("early", 0, 3_000, Some(201)), ("late", 3_000, 3_000, Some(201)), ("silent", 6_000, 10_000, None)];
        assert_eq!(seen, wanted);
        assert_eq!(ledger.detach(), None);
    }

    #[tokio::test]
    async fn a_record_that_can_not_be_written_is_told_and_stops_no_call() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("no space left"))
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let ledger = Ledger::default();
        ledger.write_to(Full, |_| 0);
        let server =
            tower::service_fn(|_: Request<Body>| async { Ok::<_, std::io::Error>(Response::new(Body::empty())) });
        let get = Request::get("/api/v1/nodes").body(Body::empty()).unwrap();
        ledger.layer(server).oneshot(get).await.unwrap();
        assert_eq!(ledger.detach().as_deref(), Some("no space left"));
        assert_eq!(ledger.detach(), None, "told once");
    }
}
