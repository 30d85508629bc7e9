//! HTTP through `reqwest`: a second engine, to cross-check the first.
//!
//! What measures is the library's own client, pool and connections. Only what would falsify a probe is switched off: redirects, proxies,
//! its retries of requests that the server refused, and a second address after one that did not answer. One retry can't be: a request that
//! was not written yet when its idle connection turned out to be closed goes over another. The server gets it once all the
//! same, and our own transport does as much.
//!
//! The library says little of what it does on the way, so a request has no steps, and some failures have a coarser class
//! ([`failed`]).

mod client;
mod failed;
mod opening;

use std::sync::Arc;

use hyper_util::client::legacy::connect::HttpInfo;
use tokio::time::Instant;

pub(crate) use self::client::Prepared;
use self::failed::Request;
use self::opening::{Opened, Way};
use super::Answer;
use super::attempt::Attempt;
use super::classify::{Cause, Failed, timeout_in};
use super::progress::Progress;
use crate::probe::config::BODY_LOOKED_AT;
use crate::probe::sample::{Class, Step};
use crate::probe::stream::StreamKind;

/// The transport of one stream.
#[derive(Clone)]
pub(crate) struct ReqwestTransport(Arc<Inner>);

struct Inner {
    prepared: Arc<Prepared>,
    stream: StreamKind,
    client: reqwest::Client,
    opened: Opened,
}

impl Inner {
    /// A request that failed where its progress stands.
    fn of(&self, progress: &Progress) -> Request {
        let (step, reused, status) = (progress.step(), progress.reused.get(), progress.status.get());
        Request { version: self.prepared.target.version, step, reused, status }
    }
}

/// Tells the progress how far a request has come, also when it is dropped on the way.
struct Telling<'a> {
    way: Arc<Way>,
    progress: &'a Progress,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.progress.reached_unseen(self.way.step());
        self.progress.reused.set(self.way.is_pooled());
    }
}

impl ReqwestTransport {
    async fn head(&self, progress: &Progress) -> Result<reqwest::Response, Failed> {
        let inner = &*self.0;
        let unsent = |error: reqwest::Error| Failed::bad(Class::ConnectOther, Cause::Reqwest(error.without_url()));
        let request = reqwest::Request::try_from(inner.prepared.request(inner.stream)).map_err(unsent)?;
        let way = Arc::<Way>::default();
        let told = Telling { way: Arc::clone(&way), progress };
        let result = opening::on(way, inner.client.execute(request)).await;
        drop(told);
        let used = match &result {
            Ok(response) => response.extensions().get::<HttpInfo>().cloned(),
            Err(error) => failed::connection(error),
        };
        if let Some(used) = used {
            progress.remote.set(Some(used.remote_addr()));
            // One that was opened for another request has carried none yet.
            progress.reused.set(progress.reused.get() && !inner.opened.claim(used.local_addr()));
        }
        result.map_err(|error| Failed::reqwest(error, inner.of(progress)))
    }
}

impl Attempt for ReqwestTransport {
    type Kept = ();

    async fn attempt(&self, progress: &Progress) -> Result<(Answer, ()), Failed> {
        let mut response = self.head(progress).await?;
        progress.reached_unseen(Step::Body);
        progress.head.set(Some(Instant::now()));
        let status = response.status().as_u16();
        progress.status.set(status);
        let expect = &self.0.prepared.target.expect;
        let wrong = expect.judge_head(response.status(), response.headers());
        let looked_at = expect.body_contains.is_some() && wrong.is_none();
        let beginning = match (read_to_end(&mut response, looked_at).await, wrong) {
            (Ok(beginning), _) => beginning,
            // The head has already told what the request came to.
            (Err(_), Some(_)) => Vec::new(),
            (Err(error), None) => return Err(Failed::reqwest(error, self.0.of(progress))),
        };
        let wrong = wrong.or_else(|| expect.judge_body(&beginning));
        Ok((wrong.map_or(Answer::Good, |class| Answer::Bad { class, status }), ()))
    }

    fn timed_out(&self, progress: &Progress, _: Instant) -> Answer {
        Answer::Bad { class: timeout_in(progress.step()), status: progress.status.get() }
    }

    /// The library keeps its connections itself.
    async fn keep(&self, (): (), _: Instant) {}
}

/// Reads a body to its end, so that the connection can be used again. Returns its beginning, if that is looked at.
async fn read_to_end(response: &mut reqwest::Response, looked_at: bool) -> Result<Vec<u8>, reqwest::Error> {
    let mut beginning = Vec::new();
    while let Some(data) = response.chunk().await? {
        if looked_at {
            let room = BODY_LOOKED_AT - beginning.len();
            beginning.extend_from_slice(data.get(..room).unwrap_or(&data));
        }
    }
    Ok(beginning)
}
